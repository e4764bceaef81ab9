"""Scaled dot-product attention: the function that programs call."""

from __future__ import annotations

from typing import Any

from ._arrays import look
from ._call import prepare
from ._context import current
from ._errors import invalid
from ._inputs import OPTIONAL, REQUIRED
from ._options import number, pair


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
    return_lse: bool = False,
    return_weights: bool = False,
    return_scores: str | None = None,
    return_key_sums: bool = False,
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
        query (..., Hq, L, E), key (..., H, S, E), value (..., H, S, Ev), float32: numpy
        arrays, torch tensors on the CPU, or anything with ``__array_interface__`` or
        ``__dlpack__``. Any strides do; a last dimension that is not contiguous is
        copied. Two dimensions are one head, three are (heads, length, dim). The others
        are the batch; batch and heads broadcast as in numpy.
        enable_gqa: Hq may be a multiple of H; query head h reads key head h // (Hq/H).

    Scores, in this order
        scale: factor of query.key; None: 1 / sqrt(E).
        softcap: limits scores to (-softcap, softcap) by tanh; 0: off.
        attn_mask of float32: added; broadcasts to (..., Hq, L, S).
        alibi_slopes (Hq) or (batch, Hq): adds -slope |p - j|.
        sinks (Hq): one more logit in each softmax, without a value.

    Masks: a query attends a key if all that are given allow it
        attn_mask of bool: True attends; broadcasts to (..., Hq, L, S).
        is_causal: query i attends keys j <= p. With causal="top_left", the same, the
        position p of query i is i. With causal="bottom_right" the last query stands
        beside the last key. query_offsets (batch): p = i + offset instead, for causal,
        window and alibi_slopes alike.
        window (left, right): keys p - left to p + right, both included; -1: no bound.
        q_lengths, kv_lengths (batch): what lies beyond is not there.
        q_documents (batch, L), k_documents (batch, S): equal numbers attend.
        prefix_lengths (batch), with causal: all queries attend keys before it.
        block_mask (mask, q_block, k_block): a bool for each block of so many queries by
        so many keys; broadcasts to (..., Hq, ceil(L / q_block), ceil(S / k_block)).
        What is given for each batch element broadcasts, so a single number will do.

    dropout_p must be 0 so far; dropout_seed is its seed.

    Returns out (..., Hq, L, Ev), as a torch tensor if query is one, else as a numpy
    array. With any return_ option, a named tuple of what was asked for, in this order:
        out
        lse (..., Hq, L): logarithm of the sum of exp(score), sinks included
        weights (..., Hq, L, S): what multiplies the values
        scores (..., Hq, L, S): "raw", before softcap and mask; "capped"; or "biased",
        with everything added and -inf where masked
        key_sums (..., Hq, S): weights summed over the queries
    Asking for more never changes out. A query with nothing to attend to gives 0. What
    is masked cannot influence the result, even if it is NaN.

    Raises AttnError, which says what is wrong. Safe to call from several threads; the
    interpreter lock is released while it computes.
    """
    blocks = (0, 0)
    blocked = None
    if block_mask is not None:
        blocked, blocks = _blocks(block_mask)
    if window is not None:
        window = pair(window, "window", "(left, right)")
    # A number of another kind, an array of one element say, may not be hashable.
    if scale is not None and type(scale) is not float:
        scale = number(scale, "scale")
    if type(softcap) is not float:
        softcap = number(softcap, "softcap")

    looks = [look(query, "query"), look(key, "key"), look(value, "value")]
    names: tuple[str, ...] = REQUIRED
    optional = (
        attn_mask,
        q_lengths,
        kv_lengths,
        query_offsets,
        prefix_lengths,
        q_documents,
        k_documents,
        blocked,
        alibi_slopes,
        sinks,
    )
    for name, array in zip(OPTIONAL, optional):
        if array is not None:
            looks.append(look(array, name))
            names = (*names, name)

    call = prepare(
        current(),
        names,
        tuple([facts for _, _, facts in looks]),
        (
            dropout_p,
            is_causal,
            scale,
            enable_gqa,
            causal,
            window,
            softcap,
            blocks,
            return_lse,
            return_weights,
            return_scores,
            return_key_sums,
        ),
    )
    return call.run(looks)


def _blocks(block_mask: Any) -> tuple[Any, tuple[int, int]]:
    """The array of a block mask, and its block sizes."""
    meaning = "(mask, q_block, k_block), two block sizes of 1 or more"
    if not isinstance(block_mask, tuple) or len(block_mask) != 3:
        raise invalid(
            f"block_mask is a {type(block_mask).__name__}: expected {meaning}"
        )
    sizes = pair(block_mask[1:], "block_mask", meaning)
    if min(sizes) < 1 or max(sizes) >= 1 << 63:
        raise invalid(f"block_mask has blocks of {sizes}: expected {meaning}")
    return block_mask[0], sizes
