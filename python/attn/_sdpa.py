"""Scaled dot-product attention: the function that programs call."""

from __future__ import annotations

from typing import Any

from ._request import attend, request
from ._usual import looks_of_arrays, usual


@usual(looks_of_arrays)
def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    causal: str | None = None,
    window: tuple[int, int] | None = None,
    softcap: float = 0.0,
    alibi_slopes: Any = None,
    sinks: Any = None,
    q_lengths: Any = None,
    kv_lengths: Any = None,
    query_offsets: Any = None,
    q_documents: Any = None,
    k_documents: Any = None,
    prefix_lengths: Any = None,
    block_mask: tuple[Any, int, int] | None = None,
    dropout_seed: int = 0,
    rng_indices: Any = None,
    relative_bias: tuple[Any, int, bool] | None = None,
    relative_keys: tuple[Any, int] | None = None,
    content_bias: Any = None,
    position_bias: Any = None,
    q_segments: Any = None,
    k_segments: Any = None,
    segment_keys: Any = None,
    segment_bias: Any = None,
    q_ranks: Any = None,
    k_ranks: Any = None,
    ranks: str | None = None,
    key_scales: Any = None,
    value_scales: Any = None,
    score_vector: Any = None,
    return_lse: bool = False,
    return_weights: bool = False,
    return_scores: str | None = None,
    return_key_sums: bool = False,
    return_row_stats: bool = False,
    return_dropout_mask: bool = False,
) -> Any:
    """softmax(scale query key^T + mask) value, for every head of every batch element.

    The first eight arguments are those of torch's function of the same name. Memory is
    linear in the sequence lengths, whatever the masks are.

        >>> q = np.random.rand(2, 8, 10, 64).astype(np.float32)
        >>> k = np.random.rand(2, 2, 99, 64).astype(np.float32)
        >>> r = attn.scaled_dot_product_attention(
        ...     q, k, k, enable_gqa=True, causal="bottom_right", return_lse=True)
        >>> r.out.shape, r.lse.shape
        ((2, 8, 10, 64), (2, 8, 10))

    Arrays
        query (..., Hq, L, E), key (..., H, S, E), value (..., H, S, Ev): numpy arrays,
        torch tensors on the CPU, or anything with ``__array_interface__`` or
        ``__dlpack__``. Any strides do; a last dimension that is not contiguous is
        copied. Two dimensions are one head, three are (heads, length, dim). The others
        are the batch; batch and heads broadcast as in numpy.
        Each is float32, float16 or bfloat16 (of torch or ml_dtypes): what is stored in
        16 bits is read as it lies, and computed with in float32. key and value may be
        int8, with scales: the numbers are then key * key_scales[..., None], and
        likewise value * value_scales[..., None]; scales are float32 and broadcast to
        (..., H, S).
        enable_gqa: Hq may be a multiple of H; query head h reads key head h // (Hq/H).

    Scores, in this order
        score_vector (Hq, E), or (E) for all heads: a score is scale
        score_vector.tanh(query + key), as in additive_attention, not scale query.key.
        scale: factor of query.key; None: 1 / sqrt(E), or 1 with score_vector.
        softcap: limits scores to (-softcap, softcap) by tanh; 0: off.
        attn_mask of float32: added; broadcasts to (..., Hq, L, S).
        alibi_slopes (Hq) or (batch, Hq): adds -slope |p - j|.
        sinks (Hq): one more logit in each softmax, without a value.

    Relative positions and segments: terms that are added too, here for query head h
        relative_bias (table, max_distance, bidirectional), as in T5: table[n, h] where
        the distance j - p falls into bucket n. table (buckets, Hq). Which bucket, says
        attn_desc_set_relative_bias() in the C header.
        relative_keys (table, zero), as in Transformer-XL and by Shaw et al.: scale
        (query + position_bias) . table[h, j - p + zero]; what is beyond the table takes
        its first or last row. table (Hq, rows, E), or (rows, E) for all heads.
        content_bias, position_bias (Hq, E): added to the query where it meets the key,
        and where it meets relative_keys.
        segment_keys (2, Hq, E), as in XLNet: scale (query + segment_bias) .
        segment_keys[n, h], n 0 where q_segments (batch, L) and k_segments (batch, S)
        are equal, else 1. segment_bias (Hq, E) may be left out.

            >>> table = np.random.rand(32, 8).astype(np.float32)
            >>> t5 = attn.scaled_dot_product_attention(
            ...     q, q, q, scale=1.0, relative_bias=(table, 128, True))
            >>> rows = np.random.rand(2 * 16 + 1, 64).astype(np.float32)
            >>> shaw = attn.scaled_dot_product_attention(
            ...     q, q, q, relative_keys=(rows, 16))

    Masks: a query attends a key if all that are given allow it
        attn_mask of bool: True attends; broadcasts to (..., Hq, L, S).
        is_causal: query i attends keys j <= p. With causal="top_left", the same, the
        position p of query i is i. With causal="bottom_right" the last query stands
        beside the last key. query_offsets (batch): p = i + offset instead, for causal,
        window, alibi_slopes and relative positions alike.
        window (left, right): keys p - left to p + right, both included; -1: no bound.
        q_lengths, kv_lengths (batch): what lies beyond is not there.
        q_documents (batch, L), k_documents (batch, S): equal numbers attend.
        prefix_lengths (batch), with causal: all queries attend keys before it.
        q_ranks (batch, L), k_ranks (batch, S): keys of a rank up to the query's attend;
        with ranks="below", below it. The order of a permutation, say.
        block_mask (mask, q_block, k_block): a bool for each block of so many queries by
        so many keys; broadcasts to (..., Hq, ceil(L / q_block), ceil(S / k_block)).
        What is given for each batch element broadcasts, so a single number will do.

    Dropout
        dropout_p: each weight is set to 0 with this probability, else multiplied by
        1 / (1 - dropout_p), before it multiplies a value. 0: off.
        dropout_seed: an integer; the same one drops the same weights, whatever the
        number of threads. Which, says attn_desc_set_dropout() in the
        C header: it depends on the seed, the head, the query, the key, and the
        rng_indices (batch), 0 to 2^32 - 1: what stands for a batch element there, its
        index unless given.

    Returns out (..., Hq, L, Ev) of query's type, as a torch tensor if query is one,
    else as a numpy array. With any return_ option, a named tuple of what was asked for,
    in this order:
        out, and as float32:
        lse (..., Hq, L): logarithm of the sum of exp(score), sinks included
        weights (..., Hq, L, S): what multiplies the values, before dropout
        scores (..., Hq, L, S): "raw", before softcap and mask; "capped"; or "biased",
        with everything added and -inf where masked
        key_sums (..., Hq, S): weights summed over the queries
        row_max, row_sum (..., Hq, L), with return_row_stats: the largest score of each
        query and the sum of exp(score - row_max), sinks included in both
        dropout_mask (..., Hq, L, S), bool: True where dropout keeps a weight
    Asking for more never changes out. A query with nothing to attend to gives 0. What
    is masked cannot influence the result, even if it is NaN.

    Gradients: scaled_dot_product_attention_backward, and attn.torch for torch's
    autograd.

    Raises AttnError, which says what is wrong. Safe to call from several threads; the
    interpreter lock is released while it computes.
    """
    problem = request(
        query,
        key,
        value,
        attn_mask,
        dropout_p,
        is_causal,
        scale,
        enable_gqa,
        causal,
        window,
        softcap,
        alibi_slopes,
        sinks,
        q_lengths,
        kv_lengths,
        query_offsets,
        q_documents,
        k_documents,
        prefix_lengths,
        block_mask,
        dropout_seed,
        rng_indices,
        (relative_bias, relative_keys, content_bias, position_bias),
        (q_segments, k_segments, segment_keys, segment_bias),
        (q_ranks, k_ranks, ranks),
        (key_scales, value_scales),
        score_vector,
    )
    asked = (
        return_lse,
        return_weights,
        return_scores,
        return_key_sums,
        return_row_stats,
        return_dropout_mask,
    )
    return attend(problem, asked)
