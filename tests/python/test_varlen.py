"""Packed sequences: each is what it would be alone."""

from __future__ import annotations

import numpy as np
import pytest

import attn
import reference
from attn import AttnError, Status
from needs import torch_or_skip
from problems import EV, HKV, SINKS, SLOPES, VECTOR, E, H

# The lengths of queries and keys of each sequence.
LENGTHS = [(3, 5), (0, 4), (70, 80), (1, 0), (1, 300), (20, 7)]
COUNT = len(LENGTHS)
STARTS, KEY_STARTS = (np.cumsum([0, *lengths]) for lengths in zip(*LENGTHS))
OPTIONS = {
    "plain": {},
    "top left": {"causal": "top_left"},
    "bottom right": {"causal": "bottom_right"},
    "window": {"window": (6, 2), "causal": "bottom_right"},
    "softcap": {"softcap": 1.5, "scale": 0.4},
    "alibi": {"alibi_slopes": SLOPES, "causal": "bottom_right"},
    "sinks": {"sinks": SINKS},
    "dropout": {"dropout_p": 0.3, "dropout_seed": 5},
    "additive": {"score_vector": VECTOR, "causal": "bottom_right"},
}


@pytest.fixture
def packed(normal):
    """Query, key and value of all sequences."""
    total, keys = STARTS[-1], KEY_STARTS[-1]
    return normal(total, H, E), normal(keys, HKV, E), normal(keys, HKV, EV)


def alone(packed, b):
    """Query, key and value of one sequence, (1, heads, length, dim)."""
    rows = slice(STARTS[b], STARTS[b + 1])
    keys = slice(KEY_STARTS[b], KEY_STARTS[b + 1])
    query, key, value = packed
    return [a.swapaxes(0, 1)[None] for a in (query[rows], key[keys], value[keys])]


def run(packed, starts=STARTS, key_starts=KEY_STARTS, **options):
    return attn.varlen_attention(
        *packed, starts, key_starts, enable_gqa=True, **options
    )


@pytest.mark.parametrize("options", OPTIONS)
def test_each_sequence(packed, close, options):
    options = OPTIONS[options]
    got = run(packed, **options, return_lse=True)
    assert got.out.shape == (STARTS[-1], H, EV)
    assert got.lse.shape == (H, STARTS[-1])
    for b in range(COUNT):
        wanted = reference.attention(*alone(packed, b), **options, rng_indices=[b])
        rows = slice(STARTS[b], STARTS[b + 1])
        close(got.out[rows].swapaxes(0, 1), wanted["out"][0])
        close(got.lse[:, rows], wanted["lse"][0])


def test_slopes_of_each_sequence(packed, close):
    slopes = np.linspace(0.01, 0.5, COUNT * H, dtype=np.float32).reshape(COUNT, H)
    got = run(packed, alibi_slopes=slopes, causal="bottom_right")
    for b in range(COUNT):
        wanted = reference.attention(
            *alone(packed, b), alibi_slopes=slopes[b], causal="bottom_right"
        )
        close(got[STARTS[b] : STARTS[b + 1]].swapaxes(0, 1), wanted["out"][0])


def test_the_company_changes_no_bit(packed):
    got = run(packed, causal="bottom_right")
    for b in range(COUNT):
        one = attn.scaled_dot_product_attention(
            *alone(packed, b), causal="bottom_right", enable_gqa=True
        )
        np.testing.assert_array_equal(
            got[STARTS[b] : STARTS[b + 1]], one[0].swapaxes(0, 1)
        )


def test_nothing_is_copied(normal, calls):
    """The usual (total, 3, heads, dim) is used as it lies."""
    array = normal(10, 3, 4, 8)
    starts = np.array([0, 4, 10], np.int32)
    out = attn.varlen_attention(*array.transpose(1, 0, 2, 3), starts, starts)
    (call,) = calls
    base = array.__array_interface__["data"][0]
    assert [call.query.data, call.key.data, call.value.data] == [
        base + 4 * 32 * i for i in range(3)
    ]
    assert call.query.shape == (1, 4, 10, 8)
    assert call.query.stride[1:] == (8, 96, 1)
    assert call.q_starts.data == starts.__array_interface__["data"][0]
    assert call.out.data == out.__array_interface__["data"][0]


@pytest.mark.parametrize(
    "odd",
    [
        np.asfortranarray,
        lambda a: a[..., ::-1].copy()[..., ::-1],
        lambda a: a[::-1].copy()[::-1],
        lambda a: a.swapaxes(0, 1).copy().swapaxes(0, 1),
    ],
)
@pytest.mark.parametrize("which", range(3))
def test_strides(packed, odd, which):
    wanted = run(packed)
    arrays = list(packed)
    arrays[which] = odd(arrays[which])
    for _ in range(2):
        np.testing.assert_array_equal(run(arrays), wanted)


def test_heads_broadcast(normal):
    q, k = normal(9, 4, 8), normal(9, 1, 8)
    starts = [0, 2, 9]
    one = attn.varlen_attention(q, k, k, starts, starts)
    for arrays in ((q, np.repeat(k, 4, 1), k), (q, np.asfortranarray(k), k)):
        got = attn.varlen_attention(*arrays, starts, starts)
        np.testing.assert_allclose(got, one, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [list, tuple, np.int32, np.uint8, np.int64])
def test_kinds_of_starts(normal, kind):
    q = normal(9, 4, 8)
    starts = np.array([0, 2, 9])
    wanted = attn.varlen_attention(q, q, q, starts, starts)
    if isinstance(kind, type) and issubclass(kind, (list, tuple)):
        odd = kind(starts.tolist())
    else:
        odd = starts.astype(kind)
    got = attn.varlen_attention(q, q, q, odd, odd)
    np.testing.assert_array_equal(got, wanted)


def test_rows_of_no_sequence(packed):
    """They are not read; their results are those of queries without keys."""
    query, key, value = (a.copy() for a in packed)
    wanted = run(packed, return_lse=True)
    query[:3] = query[-20:] = key[:5] = value[-7:] = np.nan
    got = run((query, key, value), STARTS[1:-1], KEY_STARTS[1:-1], return_lse=True)
    inner = slice(3, -20)
    np.testing.assert_array_equal(got.out[inner], wanted.out[inner])
    np.testing.assert_array_equal(got.lse[:, inner], wanted.lse[:, inner])
    for others in (slice(0, 3), slice(-20, None)):
        assert not got.out[others].any()
        assert (got.lse[:, others] == -np.inf).all()
    none = run(packed, [0], [0])
    assert not none.any()


def test_sizes_of_0(normal):
    for shape in ((0, 2, 8), (5, 0, 8)):
        q = normal(*shape)
        got = attn.varlen_attention(q, q, q, [0, len(q)], [0, len(q)], return_lse=True)
        assert got.out.shape == shape
        assert got.lse.shape == (shape[1], shape[0])
    q, none = normal(3, 2, 8), normal(0, 2, 8)
    got = attn.varlen_attention(q, none, none, [0, 3], [0, 0])
    assert not got.any()


def test_16_bits(packed, close):
    half = [a.astype(np.float16) for a in packed]
    got = run(half, causal="bottom_right", return_lse=True)
    exact = [a.astype(np.float32) for a in half]
    wanted = run(exact, causal="bottom_right", return_lse=True)
    assert got.out.dtype == np.float16
    assert got.lse.dtype == np.float32
    np.testing.assert_allclose(got.out, wanted.out, rtol=2.0**-10, atol=1e-5)
    close(got.lse, wanted.lse)


def test_longest_lengths_are_checked(packed):
    wanted = run(packed)
    got = run(packed, max_seqlen_q=70, max_seqlen_k=1000)
    np.testing.assert_array_equal(got, wanted)
    with pytest.raises(
        AttnError, match=r"max_seqlen_q is 69, but a sequence .* has 70"
    ):
        run(packed, max_seqlen_q=69)
    with pytest.raises(AttnError, match="max_seqlen_k is 299, but a sequence"):
        run(packed, max_seqlen_k=299)


INVALID = [
    # options that replace those of a good call, what the message says
    ({"query": np.zeros((1, 5, 2, 8), "f")}, "query has 4 dimensions.*total, heads"),
    ({"key": np.zeros((5, 8), "f")}, "key has 2 dimensions"),
    ({"value": np.zeros((6, 2, 8), "f")}, "key has length 5, value 6"),
    ({"query": np.zeros((5, 3, 8), "f")}, "query has 3 heads, key 2"),
    ({"query": np.zeros((5, 4, 8), "f")}, "enable_gqa=True"),
    ({"cu_seqlens_q": [[0, 5]]}, r"cu_seqlens_q has shape \(1, 2\)"),
    ({"cu_seqlens_k": []}, r"cu_seqlens_k has shape \(0,\)"),
    ({"cu_seqlens_k": [0, 2, 5]}, "cu_seqlens_q has shape .* cu_seqlens_k .* match"),
    ({"cu_seqlens_q": [0, 6]}, r"q_starts\[1\] is 6"),
    ({"cu_seqlens_k": [3, 2]}, r"k_starts\[1\] is 2"),
    ({"cu_seqlens_q": [-1, 5]}, r"q_starts\[0\] is -1"),
    ({"causal": "left"}, "causal is 'left'"),
    ({"window": 3}, "window is 3"),
    ({"softcap": -1.0}, "softcap"),
    ({"dropout_p": 2}, "dropout_p is 2"),
    ({"sinks": [1.0]}, None),
    ({"sinks": [1.0, 2.0, 3.0]}, "sinks has shape"),
    ({"alibi_slopes": np.zeros((2, 2), "f")}, "alibi_slopes has shape"),
    ({"max_seqlen_q": 1.5}, "max_seqlen_q is 1.5"),
]


@pytest.mark.parametrize(("wrong", "message"), INVALID)
def test_invalid(wrong, message):
    x = np.zeros((5, 2, 8), np.float32)
    good = {"query": x, "key": x, "value": x, "cu_seqlens_q": [0, 5]}
    good["cu_seqlens_k"] = [0, 5]
    if message is None:
        attn.varlen_attention(**{**good, **wrong})
        return
    with pytest.raises(AttnError, match=message) as caught:
        attn.varlen_attention(**{**good, **wrong})
    assert caught.value.status is Status.INVALID


def test_types_that_will_not_do():
    x = np.zeros((5, 2, 8), np.float32)
    with pytest.raises(AttnError, match="cu_seqlens_q is float32") as caught:
        attn.varlen_attention(x, x, x, np.zeros(2, np.float32), [0, 5])
    assert caught.value.status is Status.UNSUPPORTED
    with pytest.raises(AttnError, match="query is float64"):
        attn.varlen_attention(x.astype(float), x, x, [0, 5], [0, 5])


def test_torch_in_torch_out(packed):
    torch = torch_or_skip()
    wanted = run(packed, return_lse=True)
    tensors = [torch.from_numpy(a) for a in packed]
    starts = torch.from_numpy(STARTS).int()
    got = run(tensors, starts[1:-1], KEY_STARTS[1:-1], return_lse=True)
    assert type(got.out) is type(got.lse) is torch.Tensor
    np.testing.assert_array_equal(got.out[3:-20].numpy(), wanted.out[3:-20])
    assert not got.out[:3].any()
    assert (got.lse[:, :3] == -torch.inf).all()
    tensors[0].requires_grad_()
    with pytest.raises(AttnError, match="query requires a gradient"):
        run(tensors)
