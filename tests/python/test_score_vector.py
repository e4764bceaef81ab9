"""Additive scores: the score vector as an array, and mistakes with it.

That they compute what they should, alone and with other options, is for test_options.py
and test_backward.py.
"""

from __future__ import annotations

import numpy as np
import pytest

import attn
import reference
from attn import AttnError, Status

B, H, L, S, E, EV = 2, 3, 70, 90, 8, 6
OUT = (B, H, L, EV)


@pytest.fixture
def qkv(normal):
    return normal(B, H, L, E), normal(B, H, S, E), normal(B, H, S, EV)


@pytest.fixture
def vector(normal):
    return normal(H, E)


def differentiate(qkv, vector, grad_out, **options):
    """The forward and the backward call, with the gradient of the vector."""
    stats = attn.additive_attention(*qkv, vector, **options, return_row_stats=True)
    return attn.scaled_dot_product_attention_backward(
        grad_out,
        *qkv,
        stats.out,
        None,
        **options,
        score_vector=vector,
        row_max=stats.row_max,
        row_sum=stats.row_sum,
        score_vector_grad=True,
    )


def test_it_is_the_formula(qkv, vector, close):
    query, key, value = (array.astype(np.float64) for array in qkv)
    tanhs = np.tanh(query[:, :, :, None] + key[:, :, None])
    exps = np.exp(np.einsum("bhijd,hd->bhij", tanhs, vector))
    weights = exps / exps.sum(axis=-1, keepdims=True)
    got = attn.additive_attention(*qkv, vector, return_weights=True)
    close(got.weights, weights)
    close(got.out, weights @ value)
    same = attn.scaled_dot_product_attention(*qkv, score_vector=vector)
    np.testing.assert_array_equal(got.out, same)


def test_the_vector_goes_where_it_lies(qkv, vector, normal, gradient_calls):
    got = differentiate(qkv, vector, normal(*OUT))
    assert got._fields == ("grad_query", "grad_key", "grad_value", "grad_score_vector")
    (call,) = gradient_calls
    assert call.forward.score_vector.data == vector.ctypes.data
    assert call.forward.score_vector.shape == call.grad_score_vector.shape == (H, E)
    assert call.grad_score_vector.data == got.grad_score_vector.ctypes.data


@pytest.mark.parametrize("shape", [(E,), (1, E), (H, 1), ()])
def test_what_heads_share(qkv, normal, shape):
    """It does what it does when written out, and gets the sum of the gradients."""
    small, grad_out = normal(*shape), normal(*OUT)
    if shape == ():
        small = np.float32(small).reshape(())
    full = np.ascontiguousarray(np.broadcast_to(small, (H, E)))
    np.testing.assert_array_equal(
        attn.additive_attention(*qkv, small), attn.additive_attention(*qkv, full)
    )
    got = differentiate(qkv, small, grad_out).grad_score_vector
    wanted = differentiate(qkv, full, grad_out).grad_score_vector
    wanted = reference.reduced(wanted.astype(np.float64), shape)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


def test_vectors_of_any_strides(qkv, vector, normal):
    grad_out = normal(*OUT)
    other = np.asfortranarray(vector)
    for one, two in zip(
        differentiate(qkv, vector, grad_out), differentiate(qkv, other, grad_out)
    ):
        np.testing.assert_array_equal(one, two)
        assert two.flags.c_contiguous


def test_few_dimensions(normal, close):
    """(length, dim) is one head; and (batch, length, dim) will do without heads."""
    q, k, v, vector = normal(9, E), normal(11, E), normal(11, EV), normal(E)
    wanted = reference.attention(
        q[None, None], k[None, None], v[None, None], score_vector=vector
    )["out"][0, 0]
    close(attn.additive_attention(q, k, v, vector), wanted)
    several = attn.additive_attention(q[None], np.stack([k, -k]), v, vector)
    close(several[0], wanted)


def test_no_heads_and_no_keys(vector):
    none = np.zeros((2, 0, 4, E), np.float32)
    assert attn.additive_attention(none, none, none, vector[0]).shape == none.shape
    query, key = np.ones((H, 5, E), np.float32), np.ones((H, 0, E), np.float32)
    assert not attn.additive_attention(query, key, key, vector).any()


def test_plans_with_and_without_it_are_different(qkv, vector):
    plain = attn.scaled_dot_product_attention(*qkv)
    assert (attn.additive_attention(*qkv, vector) != plain).any()
    np.testing.assert_array_equal(attn.scaled_dot_product_attention(*qkv), plain)


def test_what_is_masked_never_arrives(qkv, vector, normal):
    query, key, value = qkv
    grad_out = normal(*OUT)
    options = {"kv_lengths": 60, "q_lengths": 40}
    clean = differentiate(qkv, vector, grad_out, **options)
    out = attn.additive_attention(*qkv, vector, **options)
    key[:, :, 60:] = np.nan
    value[:, :, 60:] = np.inf
    query[:, :, 40:] = np.nan
    np.testing.assert_array_equal(attn.additive_attention(*qkv, vector, **options), out)
    for one, two in zip(differentiate(qkv, vector, grad_out, **options), clean):
        np.testing.assert_array_equal(one, two)


def test_numbers_without_bounds(normal, vector):
    """tanh has a bound: infinite numbers are as good as large ones."""
    q, k, v = normal(H, 5, E), normal(H, 40, E), normal(H, 40, EV)
    large, infinite = k.copy(), k.copy()
    large[:, 3, 2], infinite[:, 3, 2] = 1e30, np.inf
    large[:, 7, 1], infinite[:, 7, 1] = -1e30, -np.inf
    np.testing.assert_allclose(
        attn.additive_attention(q, infinite, v, vector),
        attn.additive_attention(q, large, v, vector),
        rtol=1e-6,
    )


def test_the_number_of_threads_changes_no_bit(normal, vector):
    qkv = normal(2, H, 300, E), normal(2, H, 391, E), normal(2, H, 391, EV)
    grad_out = normal(2, H, 300, EV)
    results = []
    try:
        for n in (1, 2, 3):
            attn.set_num_threads(n)
            grads = differentiate(qkv, vector, grad_out, causal="bottom_right")
            results.append((attn.additive_attention(*qkv, vector), *grads))
    finally:
        attn.set_num_threads(0)
    for other in results[1:]:
        for one, two in zip(results[0], other):
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_keys_of_a_cache(rows, vector, close, dtype):
    """The keys of a cache are those of a step of a decoder, too."""
    cache = attn.KVCache(B, H, E, EV, capacity=64, dtype=dtype)
    key, value, query = rows(B, H, 50, E), rows(B, H, 50, EV), rows(B, H, 2, E)
    cache.append(key, value)
    got = cache.attend(query, score_vector=vector)
    wanted = reference.attention(
        query, key, value, score_vector=vector, causal="bottom_right"
    )
    close(got, wanted["out"])


def test_a_bound_call(qkv, vector):
    call = attn.bind(attn.additive_attention, *qkv, vector)
    first = call.result.copy()
    vector *= 2
    out = call()
    assert out is call.result
    assert (out != first).any()
    np.testing.assert_array_equal(out, attn.additive_attention(*qkv, vector))


def zeros(*shape, dtype=np.float32):
    """An array to make mistakes with."""
    return np.zeros(shape, dtype)


SEGMENTS = {
    "q_segments": zeros(L, dtype=int),
    "k_segments": zeros(S, dtype=int),
    "segment_keys": zeros(2, H, E),
}
INVALID = [
    (None, r"score_vector is None: expected \(heads, dim\) or \(dim\)"),
    (zeros(E + 1), rf"score_vector has shape \(9,\).* to \({H}, {E}\), \(heads, dim\)"),
    (zeros(H + 1, E), r"score_vector has shape \(4, 8\)"),
    (zeros(B, H, E), r"score_vector has shape \(2, 3, 8\)"),
]
UNSUPPORTED = [
    ({"score_vector": zeros(E, dtype=float)}, "score_vector is float64: only float32"),
    ({"score_vector": zeros(E, dtype=np.float16)}, "score_vector is float16"),
    ({"relative_keys": (zeros(9, E), 4)}, "additive scores with relative keys"),
    ({"content_bias": zeros(H, E)}, "additive scores with .*bias"),
    (
        {"relative_keys": (zeros(9, E), 4), "position_bias": zeros(E)},
        "additive scores with",
    ),
    (SEGMENTS, "additive scores with segments"),
]


@pytest.mark.parametrize(("bad", "message"), INVALID)
def test_invalid(qkv, bad, message):
    with pytest.raises(AttnError, match=message) as caught:
        attn.additive_attention(*qkv, bad)
    assert caught.value.status is Status.INVALID


@pytest.mark.parametrize(("options", "message"), UNSUPPORTED)
def test_unsupported(qkv, vector, options, message):
    with pytest.raises(AttnError, match=message) as caught:
        attn.additive_attention(*qkv, **{"score_vector": vector, **options})
    assert caught.value.status is Status.UNSUPPORTED


def test_the_gradient_of_what_is_not_given(qkv):
    out, lse = zeros(*OUT), zeros(B, H, L)
    message = "score_vector_grad=True, but no score_vector is given"
    with pytest.raises(AttnError, match=message):
        attn.scaled_dot_product_attention_backward(
            out, *qkv, out, lse, score_vector_grad=True
        )


def test_layers_do_not_take_it():
    layer = attn.MultiheadAttention(8, 2)
    x = zeros(1, 3, 8)
    with pytest.raises(AttnError, match="no option score_vector"):
        layer(x, x, x, score_vector=zeros(4))
