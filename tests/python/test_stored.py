"""Query, key and value in 16 bits and in bytes, against float64 on the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

import attn
import reference
from problems import OPTIONS

# How far apart numbers of a type are, relative to their size.
SPACING = {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


def dtype_of(name):
    """The dtype of this name; without ml_dtypes there is no bfloat16."""
    if name != "bfloat16":
        return np.dtype(name)
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    return np.dtype(ml_dtypes.bfloat16)


@pytest.fixture
def stored(qkv):
    """stored("float16", ...): query, key and value, each of the type named."""

    def convert(*names):
        return [array.astype(dtype_of(name)) for array, name in zip(qkv, names)]

    return convert


@pytest.fixture
def bytes_and_scales(rng):
    """Keys or values of a shape in bytes, the scale of each row, and the numbers."""

    def make(*shape):
        rows = rng.integers(-127, 128, shape).astype(np.int8)
        scales = (rng.random(shape[:-1]) / 50 + 0.001).astype(np.float32)
        return rows, scales, rows * np.float64(scales[..., None])

    return make


def check(got, wanted, name):
    """Equal up to the rounding of a result to this type."""
    np.testing.assert_allclose(
        got.astype(np.float64), wanted, rtol=5e-5 + SPACING[name] / 2, atol=5e-6
    )


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
@pytest.mark.parametrize("options", OPTIONS)
def test_options(stored, close, options, name):
    q, k, v = stored(name, name, name)
    options = OPTIONS[options]
    got = attn.scaled_dot_product_attention(
        q, k, v, enable_gqa=True, **options, return_lse=True
    )
    wanted = reference.attention(q, k, v, **options)
    assert got.out.dtype == q.dtype
    assert got.lse.dtype == np.float32
    check(got.out, wanted["out"], name)
    close(got.lse, wanted["lse"])


@pytest.mark.parametrize(
    "names",
    [
        ("float32", "float16", "float16"),
        ("float16", "float32", "float32"),
        ("float16", "float32", "float16"),
        ("bfloat16", "float16", "float32"),
        ("float32", "bfloat16", "float16"),
    ],
)
def test_a_type_each(stored, calls, names):
    """Each array is read where it lies, and the result has the type of the query."""
    arrays = stored(*names)
    out = attn.scaled_dot_product_attention(*arrays, enable_gqa=True, is_causal=True)
    assert out.dtype == arrays[0].dtype
    for member, array in zip(("query", "key", "value", "out"), (*arrays, out)):
        there = array.__array_interface__["data"][0]
        assert getattr(calls[0], member).data == there
    wanted = reference.attention(*arrays, is_causal=True)["out"]
    check(out, wanted, names[0])


def test_all_results_beside_out_are_float32(stored):
    got = attn.scaled_dot_product_attention(
        *stored("float16", "float16", "float16"),
        enable_gqa=True,
        return_lse=True,
        return_weights=True,
        return_scores="raw",
        return_key_sums=True,
        return_row_stats=True,
    )
    assert got.out.dtype == np.float16
    assert all(array.dtype == np.float32 for array in got[1:])


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
@pytest.mark.parametrize(
    "odd",
    [
        np.asfortranarray,
        lambda a: a[..., ::-1].copy()[..., ::-1],
        lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
        lambda a: a.swapaxes(1, 2).copy().swapaxes(1, 2),
    ],
)
def test_strides(stored, odd, name):
    arrays = stored(name, name, name)
    wanted = attn.scaled_dot_product_attention(*arrays, enable_gqa=True)
    got = attn.scaled_dot_product_attention(*map(odd, arrays), enable_gqa=True)
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_sizes_of_0(name):
    dtype = dtype_of(name)
    for heads, queries, keys in ((0, 3, 5), (2, 0, 5), (2, 3, 0)):
        q, k = np.ones((heads, queries, 8), dtype), np.ones((heads, keys, 8), dtype)
        out = attn.scaled_dot_product_attention(q, k, k)
        assert out.dtype == dtype
        assert out.shape == (heads, queries, 8)
        assert not out.any()


@pytest.mark.parametrize("name", ["float32", "float16"])
def test_bytes(normal, bytes_and_scales, calls, name):
    """Any kind of query meets keys and values in bytes; neither is copied."""
    q = normal(2, 4, 7, 16).astype(name)
    k, key_scales, keys = bytes_and_scales(2, 2, 29, 16)
    v, value_scales, values = bytes_and_scales(2, 2, 29, 24)
    options = {"causal": "bottom_right", "window": (20, 0)}
    got = attn.scaled_dot_product_attention(
        q,
        k,
        v,
        enable_gqa=True,
        key_scales=key_scales,
        value_scales=value_scales,
        **options,
    )
    assert got.dtype == q.dtype
    check(got, reference.attention(q, keys, values, **options)["out"], name)
    assert calls[0].key.data == k.__array_interface__["data"][0]
    assert calls[0].key_scales.data == key_scales.__array_interface__["data"][0]


def test_values_alone_in_bytes(qkv, bytes_and_scales):
    q, k, _ = qkv
    v, scales, values = bytes_and_scales(*k.shape)
    got = attn.scaled_dot_product_attention(
        q, k, v, enable_gqa=True, value_scales=scales
    )
    check(got, reference.attention(q, k, values)["out"], "float32")


@pytest.mark.parametrize(
    "shape", [(1,), (29,), (2, 1), (2, 29), (1, 1, 29), (3, 1, 1), (3, 2, 29)]
)
def test_scales_broadcast(normal, bytes_and_scales, shape):
    q = normal(3, 2, 7, 16)
    k, *_ = bytes_and_scales(3, 2, 29, 16)
    scales = np.abs(normal(*shape)) / 50
    wide = np.broadcast_to(scales, (3, 2, 29))
    got = attn.scaled_dot_product_attention(
        q, k, k, key_scales=scales, value_scales=wide
    )
    numbers = k * np.float64(wide[..., None])
    check(got, reference.attention(q, numbers, numbers)["out"], "float32")


def test_batches_of_bytes_that_no_strides_describe(normal, bytes_and_scales):
    q = normal(3, 5, 2, 7, 16)
    k, scales, numbers = bytes_and_scales(5, 2, 29, 16)
    one = {"key_scales": scales, "value_scales": scales[:, :1, :1]}
    got = attn.scaled_dot_product_attention(q, k, k, **one)
    values = k * np.float64(scales[:, :1, :1, None])
    for i in range(3):
        wanted = reference.attention(q[i], numbers, values)["out"]
        check(got[i], wanted, "float32")
