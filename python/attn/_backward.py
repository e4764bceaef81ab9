"""Gradients of scaled dot-product attention: the function that programs call."""

from __future__ import annotations

from typing import Any

from ._inputs import REQUIRED
from ._request import differentiate, request


def scaled_dot_product_attention_backward(
    grad_out: Any,
    query: Any,
    key: Any,
    value: Any,
    out: Any,
    lse: Any,
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
    score_vector: Any = None,
    row_max: Any = None,
    row_sum: Any = None,
    grad_lse: Any = None,
    grad_weights: Any = None,
    grad_key_sums: Any = None,
    mask_grad: bool = False,
    alibi_slopes_grad: bool = False,
    sinks_grad: bool = False,
    relative_bias_grad: bool = False,
    relative_keys_grad: bool = False,
    content_bias_grad: bool = False,
    position_bias_grad: bool = False,
    segment_keys_grad: bool = False,
    segment_bias_grad: bool = False,
    score_vector_grad: bool = False,
) -> Any:
    """Gradients of a call of scaled_dot_product_attention.

    Memory is linear in the sequence lengths here too. The names of the arguments are
    those of the forward call, and so are the shapes: the gradient of an array has the
    shape of the array.

        >>> q = np.random.rand(2, 8, 10, 64).astype(np.float32)
        >>> k = np.random.rand(2, 2, 99, 64).astype(np.float32)
        >>> options = {"enable_gqa": True, "causal": "bottom_right"}
        >>> r = attn.scaled_dot_product_attention(
        ...     q, k, k, **options, return_lse=True)
        >>> grad_out = np.ones_like(r.out)  # of the loss out.sum()
        >>> g = attn.scaled_dot_product_attention_backward(
        ...     grad_out, q, k, k, r.out, r.lse, **options)
        >>> g.grad_query.shape, g.grad_key.shape, g.grad_value.shape
        ((2, 8, 10, 64), (2, 2, 99, 64), (2, 2, 99, 64))

    The forward call
        query, key, value and all options up to score_vector: as they were there, but
        float32.
        out, lse: what it returned; or, in place of lse (None), row_max and row_sum, of
        return_row_stats. They are the better choice: with lse alone the relative error
        of a weight is larger by abs(lse) 2^-24.

    Gradients of the loss with respect to what it returned, at least one
        grad_out; it may be None, and then out may be too
        grad_lse, grad_weights, grad_key_sums; None: 0

    Gradients asked for besides those of query, key and value
        mask_grad: of attn_mask, which must be float32
        alibi_slopes_grad, sinks_grad, content_bias_grad, position_bias_grad,
        segment_keys_grad, segment_bias_grad, score_vector_grad: of alibi_slopes, and so
        on
        relative_bias_grad, relative_keys_grad: of the tables

    Returns a named tuple (grad_query, grad_key, grad_value) and then, where asked for,
    grad_mask, grad_alibi_slopes, grad_sinks, grad_relative_bias, grad_relative_keys,
    grad_content_bias, grad_position_bias, grad_segment_keys, grad_segment_bias,
    grad_score_vector: torch tensors if query is one, else numpy arrays. What broadcasts
    gets the sum over what it was broadcast to. What is masked has gradient 0 and cannot
    influence the others, even if it is NaN.

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
        score_vector=score_vector,
    )
    given = {
        "out": out,
        "lse": lse,
        "row_max": row_max,
        "row_sum": row_sum,
        "grad_out": grad_out,
        "grad_lse": grad_lse,
        "grad_weights": grad_weights,
        "grad_key_sums": grad_key_sums,
    }
    given = {name: array for name, array in given.items() if array is not None}
    asked = {
        "attn_mask": mask_grad,
        "alibi_slopes": alibi_slopes_grad,
        "sinks": sinks_grad,
        "relative_bias": relative_bias_grad,
        "relative_keys": relative_keys_grad,
        "content_bias": content_bias_grad,
        "position_bias": position_bias_grad,
        "segment_keys": segment_keys_grad,
        "segment_bias": segment_bias_grad,
        "score_vector": score_vector_grad,
    }
    wanted = (*REQUIRED, *(name for name, grad in asked.items() if grad))
    return differentiate(problem, given, wanted)
