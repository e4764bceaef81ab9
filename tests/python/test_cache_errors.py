"""Mistakes with caches are named, with the numbers, and change nothing."""

from __future__ import annotations

import numpy as np
import pytest

import attn
from attn import AttnError, Status


def zeros(*shape, dtype=np.float32):
    """An array to make mistakes with."""
    return np.zeros(shape, dtype)


GOOD = {"sequences": 2, "kv_heads": 4, "key_dim": 8, "value_dim": 6, "capacity": 9}
OPTIONS = [
    ({"sequences": 0}, "sequences is 0"),
    ({"kv_heads": 0}, "kv_heads is 0"),
    ({"key_dim": 1 << 20}, "key_dim is 1048576"),
    ({"value_dim": -1}, "value_dim is -1"),
    ({"capacity": 0}, "capacity is 0"),
    ({"layers": 0}, "layers is 0"),
    ({"layers": 1 << 33}, "layers is 8589934592: more than a 32-bit"),
    ({"kv_heads": 1.5}, "kv_heads is 1.5"),
    ({"dtype": "float64"}, "dtype is 'float64': expected one of float32"),
    ({"dtype": np.int16}, "dtype is 'int16'"),
    ({"page_size": 0}, "page_size is 0"),
    ({"page_size": 10}, "10"),
    ({"pages": 3}, "pages is 3, but there is no page_size"),
    ({"page_size": 3, "pages": 0}, "pages is 0"),
]


@pytest.mark.parametrize(("wrong", "message"), OPTIONS)
def test_options(wrong, message):
    with pytest.raises(AttnError, match=message) as caught:
        attn.KVCache(**{**GOOD, **wrong})
    assert caught.value.status is Status.INVALID


K, V, PACKED_K, PACKED_V = (
    zeros(2, 4, 3, 8),
    zeros(2, 4, 3, 6),
    zeros(5, 4, 8),
    zeros(5, 4, 6),
)
APPEND = [
    ((K[0], V), {}, r"key has shape \(4, 3, 8\): expected \(sequences, heads"),
    ((K, V[:, 0]), {}, "value has shape"),
    ((K[:, :3], V), {}, "key has 3 heads of dim 8, the cache 4 of dim 8"),
    ((K, K), {}, "value has 4 heads of dim 8, the cache 4 of dim 6"),
    ((K[:, :, :2], V), {}, "key has shape .* value .* match but for the dim"),
    ((K, V), {"cu_seqlens": [0, 3]}, r"key has shape .*: expected \(total, heads"),
    ((PACKED_K, PACKED_V), {}, r"expected \(sequences, heads, length, dim\)"),
    ((PACKED_K, PACKED_V), {"cu_seqlens": [0, 6]}, "6"),
    ((PACKED_K, PACKED_V), {"cu_seqlens": [3, 2]}, "2"),
    ((PACKED_K, PACKED_V), {"cu_seqlens": []}, r"cu_seqlens has shape \(0,\)"),
    ((PACKED_K, PACKED_V), {"cu_seqlens": [0, 2, 3, 5]}, "3"),
    ((K, V), {"sequences": [0, 2]}, "2"),
    ((K, V), {"sequences": [1, 1]}, "1"),
    ((K, V), {"sequences": [0]}, "0"),
    ((K, V), {"sequences": [0, 1, 2]}, r"sequences has shape \(3,\)"),
    ((K, V), {"lengths": [1, 4]}, "4"),
    ((K, V), {"layer": 1}, "layer is 1, but the cache has 1"),
    ((K, V), {"layer": -1}, "layer is -1"),
    ((K, V), {"layer": "first"}, "layer is 'first'"),
    ((np.repeat(K, 2, 0), np.repeat(V, 2, 0)), {}, "4"),
    (("key", V), {}, "key is of type str"),
]


@pytest.mark.parametrize(("arrays", "options", "message"), APPEND)
def test_append(arrays, options, message):
    cache = attn.KVCache(**GOOD)
    for _ in range(2):
        with pytest.raises(AttnError, match=message) as caught:
            cache.append(*arrays, **options)
        assert caught.value.status is Status.INVALID
    assert cache.used_bytes == 0
    cache.append(K, V)
    assert cache.length(0) == 3


@pytest.mark.parametrize("dtype", ["float64", "int8"])
def test_types(dtype):
    cache = attn.KVCache(**GOOD)
    for arrays in ((K.astype(dtype), V), (K, V.astype(dtype))):
        with pytest.raises(AttnError, match=f"is {dtype}: float32, float16") as caught:
            cache.append(*arrays)
        assert caught.value.status is Status.UNSUPPORTED
    with pytest.raises(AttnError, match=f"query is {dtype}: float32, float16"):
        cache.attend(K.astype(dtype))


Q = zeros(2, 8, 1, 8)
ATTEND = [
    (Q[0], {}, "query has 3 dimensions"),
    (Q, {"cu_seqlens_q": [0, 1]}, r"query has 4 dimensions.*\(total, heads, dim\)"),
    (Q[:, :6], {}, "query has 6 heads, the cache 4: 6 is not a multiple of 4"),
    (Q[:, :0], {}, "query has 0 heads"),
    (Q[..., :7], {}, "query has dim 7, the keys of the cache 8"),
    (Q, {"layer": 1}, "layer is 1, but the cache has 1"),
    (Q, {"sequences": [0, 5]}, "5"),
    (np.repeat(Q, 2, 0), {}, "4"),
    (Q, {"causal": "bottom_right"}, "causal is 'bottom_right': expected True or False"),
    (Q, {"window": 3}, "window is 3"),
    (Q, {"softcap": -1}, "softcap"),
    (Q, {"scale": "big"}, "scale is 'big'"),
    (Q, {"sinks": zeros(3)}, "sinks has shape"),
    (Q, {"alibi_slopes": zeros(3, 8)}, "alibi_slopes has shape"),
    (Q, {"attn_mask": zeros(1, 4)}, "mask|bias"),
    (Q, {"attn_mask": zeros(2, 3)}, "attn_mask has shape"),
    (Q, {"lengths": [1, 2]}, r"q_lengths\[1\] is 2"),
    (Q, {"lengths": [1, 1, 1]}, "lengths has shape"),
    (Q, {"query_offsets": [0, 1, 2]}, "query_offsets has shape"),
]


@pytest.mark.parametrize(("query", "options", "message"), ATTEND)
def test_attend(query, options, message):
    cache = attn.KVCache(**GOOD)
    cache.append(K, V)
    with pytest.raises(AttnError, match=message) as caught:
        cache.attend(query, **options)
    assert caught.value.status is Status.INVALID
    assert cache.attend(Q).shape == (2, 8, 1, 6)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda c: c.length(2), "sequence is 2, but the cache has 2"),
        (lambda c: c.length(-1), "sequence is -1"),
        (lambda c: c.length(0, 1), "layer is 1"),
        (lambda c: c.first(0.5), "sequence is 0.5"),
        (lambda c: c.truncate(0, 4), "4"),
        (lambda c: c.truncate(5, 0), "5"),
        (lambda c: c.evict(0, 4), "4"),
        (lambda c: c.fork(0, 2), "2"),
        (lambda c: c.fork(-1, 0), "-1"),
        (lambda c: c.reorder([0, 2]), "2"),
        (lambda c: c.reorder([0]), "parents"),
        (lambda c: c.save(7, "x"), "7"),
        (lambda c: c.load(7, "x"), "7"),
        (lambda c: c.truncate(1 << 70, 0), "more than a 64-bit integer"),
    ],
)
def test_sequences(use, message):
    cache = attn.KVCache(**GOOD)
    cache.append(K, V)
    with pytest.raises(AttnError, match=message) as caught:
        use(cache)
    assert caught.value.status is Status.INVALID
    assert [cache.length(b) for b in range(2)] == [3, 3]
