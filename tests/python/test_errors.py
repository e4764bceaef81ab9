"""Every mistake gets an AttnError that names it, with the numbers."""

from __future__ import annotations

import pickle
import re

import numpy as np
import pytest

import attn
from attn import AttnError, Status


def zeros(*shape, dtype=np.float32):
    """An array to make mistakes with."""
    return np.zeros(shape, dtype)


Q, K, V = zeros(2, 8, 3, 4), zeros(2, 8, 5, 4), zeros(2, 8, 5, 6)

INVALID = [
    # arrays, options, what the message says
    ((zeros(4), K, V), {}, r"query has 1 dimensions, shape \(4,\)"),
    ((Q, K, zeros()), {}, "value has 0 dimensions"),
    (([[1.0]], K, V), {}, "query is of type list"),
    ((Q, "key", V), {}, "key is of type str"),
    ((Q, zeros(2, 8, 5, 7), V), {}, "query has dim 4, key 7"),
    ((Q, K, zeros(2, 8, 6, 6)), {}, "key has length 5, value 6"),
    ((Q, zeros(3, 8, 5, 4), V), {}, r"batch dimensions .* \(2,\), \(3,\), \(2,\)"),
    ((Q, zeros(2, 2, 5, 4), zeros(2, 2, 5, 6)), {}, "8 heads, key 2.*enable_gqa=True"),
    ((Q, zeros(2, 3, 5, 4), zeros(2, 3, 5, 6)), {}, "8 heads, key 3, value 3"),
    (
        (Q, zeros(2, 3, 5, 4), zeros(2, 3, 5, 6)),
        {"enable_gqa": True},
        "8 is not a multiple of 3",
    ),
    (
        (Q, zeros(2, 4, 5, 4), zeros(2, 2, 5, 6)),
        {"enable_gqa": True},
        "key has 4 heads, value 2",
    ),
    ((zeros(3, 0), zeros(5, 0), zeros(5, 6)), {}, "dim"),
    ((Q, K, V), {"attn_mask": zeros(3, 6)}, r"\(3, 6\).*\(2, 8, 3, 5\)"),
    ((Q, K, V), {"attn_mask": zeros(1, 2, 8, 3, 5)}, r"\(1, 2, 8, 3, 5\)"),
    ((Q, K, V), {"is_causal": True, "causal": "top_left"}, "is_causal=True and causal"),
    ((Q, K, V), {"causal": "left"}, "causal is 'left'"),
    (
        (Q, K, V),
        {"causal": "bottom_right", "query_offsets": [1, 2]},
        "bottom_right.*query_offsets",
    ),
    ((Q, K, V), {"window": 3}, "window is 3"),
    ((Q, K, V), {"window": (1, 2.5)}, "window is"),
    ((Q, K, V), {"window": (-2, 0)}, "-2"),
    ((Q, K, V), {"window": (1 << 64, 0)}, "window is"),
    ((Q, K, V), {"softcap": -1.0}, "softcap"),
    ((Q, K, V), {"softcap": float("inf")}, "softcap"),
    ((Q, K, V), {"scale": float("nan")}, "scale"),
    ((Q, K, V), {"scale": 1e300}, "scale"),
    ((Q, K, V), {"scale": "big"}, "scale is 'big'"),
    ((Q, K, V), {"dropout_p": 1.5}, "dropout_p is 1.5"),
    ((Q, K, V), {"dropout_p": -0.5}, "dropout_p is -0.5"),
    ((Q, K, V), {"dropout_p": float("nan")}, "dropout_p is nan"),
    ((Q, K, V), {"dropout_p": "some"}, "dropout_p is 'some'"),
    ((Q, K, V), {"dropout_seed": 1.5}, "dropout_seed is 1.5"),
    ((Q, K, V), {"dropout_seed": 1 << 64}, "dropout_seed is 18446744073709551616"),
    ((Q, K, V), {"rng_indices": [0, 1, 2]}, r"rng_indices has shape \(3,\)"),
    ((Q, K, V), {"dropout_p": 0.5, "rng_indices": [0, -1]}, r"rng_indices\[1\] is -1"),
    ((Q, K, V), {"return_scores": "all"}, "return_scores is 'all'"),
    ((Q, K, V), {"q_lengths": [3]}, None),  # broadcasts: no mistake
    ((Q, K, V), {"q_lengths": [3, 3, 3]}, r"q_lengths has shape \(3,\)"),
    ((Q, K, V), {"q_lengths": [[3], [1, 2]]}, "q_lengths cannot be read"),
    ((Q, K, V), {"q_lengths": [3, 4]}, "4"),
    ((Q, K, V), {"kv_lengths": [-1, 4]}, "-1"),
    ((Q, K, V), {"query_offsets": [0, 1 << 60]}, "offset"),
    ((Q, K, V), {"prefix_lengths": [0, 1]}, "causal"),
    ((Q, K, V), {"prefix_lengths": [0, 6], "is_causal": True}, "6"),
    ((Q, K, V), {"q_documents": zeros(2, 3, dtype=int)}, "documents"),
    (
        (Q, K, V),
        {"q_documents": zeros(2, 4, dtype=int), "k_documents": zeros(5, dtype=int)},
        r"q_documents has shape \(2, 4\)",
    ),
    ((Q, K.astype(np.int8), V), {}, "key_scales is missing"),
    ((Q, K, V.astype(np.int8)), {"value_scales": zeros(6)}, r"value_scales .*\(6,\)"),
    ((Q, K, V), {"value_scales": zeros(1)}, "value_scales is given, but there is no"),
    ((Q, K, V), {"sinks": [1.0] * 7}, r"sinks has shape \(7,\)"),
    ((Q, K, V), {"alibi_slopes": zeros(3, 8)}, r"alibi_slopes has shape \(3, 8\)"),
    ((Q, K, V), {"block_mask": zeros(1, 2, dtype=bool)}, "block_mask is a ndarray"),
    ((Q, K, V), {"block_mask": (zeros(1, 2, dtype=bool), 4)}, "is a tuple of 2"),
    ((Q, K, V), {"block_mask": (None, 2, 4)}, "block_mask begins with None"),
    ((Q, K, V), {"block_mask": (zeros(1, 2, dtype=bool), 0, 4)}, r"\(0, 4\)"),
    ((Q, K, V), {"block_mask": (zeros(3, 2, dtype=bool), 2, 4)}, r"\(2, 8, 2, 2\)"),
]

UNSUPPORTED = [
    ((Q.astype(np.float64), K, V), {}, "query is float64"),
    ((Q.astype(np.int8), K, V), {}, "query is int8: float32, float16 and bfloat16 are"),
    ((Q, K.astype(np.int16), V), {}, "key is int16: .* int8 with scales"),
    ((Q, K, V.astype(int)), {}, "value is int64"),
    ((Q.astype(">f4"), K, V), {}, "query is byte-swapped float32"),
    ((np.ma.masked_array(Q), K, V), {}, "query is a masked array"),
    ((Q, K, V), {"attn_mask": zeros(3, 5, dtype=float)}, "attn_mask is float64"),
    ((Q, K, V), {"attn_mask": zeros(3, 5, dtype=int)}, "attn_mask is int64"),
    ((Q, K, V), {"q_lengths": [2.0, 3.0]}, "q_lengths is float64"),
    ((Q, K, V), {"q_lengths": [True, False]}, "q_lengths is bool"),
    ((Q, K, V), {"rng_indices": zeros(2)}, "rng_indices is float32"),
    ((Q, K, V), {"kv_lengths": zeros(2, dtype=np.uint64)}, "kv_lengths is uint64"),
    ((Q, K, V), {"sinks": zeros(8, dtype=float)}, "sinks is float64"),
    ((Q, K, V), {"alibi_slopes": zeros(8, dtype=np.float16)}, "slopes is float16"),
    ((Q, K, V), {"block_mask": (zeros(2, 2), 2, 4)}, "block_mask is float32"),
    (
        (
            np.broadcast_to(np.float32(0), ((1 << 32) + 1, 1, 4)),
            zeros(1, 5, 4),
            zeros(1, 5, 6),
        ),
        {},
        "heads is 4294967297",
    ),
]


@pytest.mark.parametrize(("arrays", "options", "message"), INVALID)
def test_invalid(arrays, options, message):
    if message is None:
        attn.scaled_dot_product_attention(*arrays, **options)
        return
    with pytest.raises(AttnError, match=message) as caught:
        attn.scaled_dot_product_attention(*arrays, **options)
    assert caught.value.status is Status.INVALID


@pytest.mark.parametrize(("arrays", "options", "message"), UNSUPPORTED)
def test_unsupported(arrays, options, message):
    with pytest.raises(AttnError, match=message) as caught:
        attn.scaled_dot_product_attention(*arrays, **options)
    assert caught.value.status is Status.UNSUPPORTED


def test_a_failed_call_leaves_no_trace():
    """The same shapes with good data work after bad data, and the other way round."""
    good = attn.scaled_dot_product_attention(Q, K, V, kv_lengths=[5, 4])
    for _ in range(3):
        with pytest.raises(AttnError, match="6"):
            attn.scaled_dot_product_attention(Q, K, V, kv_lengths=[5, 6])
        again = attn.scaled_dot_product_attention(Q, K, V, kv_lengths=[5, 4])
        np.testing.assert_array_equal(again, good)


def test_the_device_must_be_the_cpu():
    class OnGpu:
        def __dlpack_device__(self):
            return (2, 0)

        def __dlpack__(self, **_):
            raise AssertionError("must not be asked")

    with pytest.raises(
        AttnError, match=re.escape("key is on a device (DLPack type 2)")
    ):
        attn.scaled_dot_product_attention(Q, OnGpu(), V)


def test_the_error_survives_pickling():
    with pytest.raises(AttnError) as caught:
        attn.scaled_dot_product_attention(Q, K, V, scale=float("nan"))
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.status, str(copy)) == (Status.INVALID, str(caught.value))
    assert isinstance(copy, RuntimeError)


OUT, LSE = zeros(2, 8, 3, 6), zeros(2, 8, 3)
BACKWARD = [
    # grad_out, out, lse, options, what the message says
    (
        zeros(2, 8, 3, 4),
        OUT,
        LSE,
        {},
        r"grad_out has shape \(2, 8, 3, 4\): expected .*6",
    ),
    (zeros(8, 3, 6), OUT, LSE, {}, r"grad_out has shape \(8, 3, 6\)"),
    (OUT, zeros(2, 8, 6, 3), LSE, {}, r"out has shape \(2, 8, 6, 3\)"),
    (OUT, OUT, zeros(2, 8, 3, 1), {}, r"lse has shape .*: expected \(2, 8, 3\)"),
    (OUT, None, LSE, {}, "out is missing"),
    (OUT, OUT, None, {}, "lse is missing"),
    (OUT, OUT, None, {"row_max": LSE}, "lse is missing, and so is row_sum"),
    (OUT, OUT, None, {"row_max": LSE, "row_sum": OUT}, "row_sum has shape"),
    (None, OUT, LSE, {}, "none of grad_out, grad_lse"),
    (None, None, LSE, {"grad_weights": LSE}, "grad_weights has shape"),
    (None, None, LSE, {"grad_key_sums": LSE}, r"grad_key_sums .* expected \(2, 8, 5\)"),
    (OUT, OUT, LSE, {"mask_grad": True}, "mask_grad=True, but no attn_mask"),
    (OUT, OUT, LSE, {"sinks_grad": True}, "sinks_grad=True, but no sinks"),
    (OUT, OUT, LSE, {"alibi_slopes_grad": True}, "alibi_slopes_grad=True, but no"),
    (OUT, OUT, LSE, {"causal": "left"}, "causal is 'left'"),
    ("out", OUT, LSE, {}, "grad_out is of type str"),
]


@pytest.mark.parametrize(("grad_out", "out", "lse", "options", "message"), BACKWARD)
def test_invalid_backward(grad_out, out, lse, options, message):
    with pytest.raises(AttnError, match=message) as caught:
        attn.scaled_dot_product_attention_backward(
            grad_out, Q, K, V, out, lse, **options
        )
    assert caught.value.status is Status.INVALID


def test_a_boolean_mask_has_no_gradient():
    mask = zeros(3, 5, dtype=bool)
    with pytest.raises(
        AttnError, match="attn_mask is bool, which has no gra"
    ) as caught:
        attn.scaled_dot_product_attention_backward(
            OUT, Q, K, V, OUT, LSE, mask, mask_grad=True
        )
    assert caught.value.status is Status.NOT_DIFFERENTIABLE


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8"])
@pytest.mark.parametrize("which", range(6))
def test_other_types_in_a_backward_call(which, dtype):
    arrays = [OUT, Q, K, V, OUT, LSE]
    arrays[which] = arrays[which].astype(dtype)
    with pytest.raises(AttnError, match=f"is {dtype}: ") as caught:
        attn.scaled_dot_product_attention_backward(*arrays)
    assert caught.value.status is Status.UNSUPPORTED


def test_a_failed_backward_call_leaves_no_trace():
    def run(lengths):
        return attn.scaled_dot_product_attention_backward(
            OUT + 1, Q, K, V, OUT, LSE, kv_lengths=lengths
        )

    good = run([5, 4])
    for _ in range(3):
        with pytest.raises(AttnError, match="6"):
            run([5, 6])
        for one, two in zip(good, run([5, 4])):
            np.testing.assert_array_equal(one, two)
