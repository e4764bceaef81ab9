"""Caches: keys and values that stay give what whole arrays of them would."""

from __future__ import annotations

import numpy as np
import pytest

import attn
import reference
from attn import AttnError, _plan
from cached import EV, HKV, TYPES, Beside, E, H, new
from needs import torch_or_skip
from problems import SINKS, SLOPES

KINDS = {
    "contiguous": {},
    "paged": {"page_size": 4},
    "large pages": {"page_size": 64, "pages": 6},
    "ring": {"ring": True},
    "paged ring": {"ring": True, "page_size": 8},
}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


@every_kind
@pytest.mark.parametrize("dtype", TYPES)
def test_a_prompt_and_then_a_token_at_a_time(rows, normal, close, kind, dtype):
    cache, model = new(dtype=dtype, **kind), Beside()
    assert cache.dtype == dtype
    for length in (20, 1, 1, 1, 5, 1):
        key, value = rows(3, HKV, length, E), rows(3, HKV, length, EV)
        cache.append(key, value)
        model.append(key, value, range(3))
        query = normal(3, H, length, E)
        got = cache.attend(query)
        assert got.shape == (3, H, length, EV)
        model.check(got, query, range(3), close)
    assert [cache.length(b) for b in range(3)] == [29] * 3


OPTIONS = {
    "window": {"window": (6, 0)},
    "softcap": {"softcap": 1.5, "scale": 0.4},
    "alibi": {"alibi_slopes": SLOPES},
    "alibi of each": {"alibi_slopes": np.stack([SLOPES, -SLOPES, 2 * SLOPES])},
    "sinks": {"sinks": SINKS},
}


@every_kind
@pytest.mark.parametrize("options", OPTIONS)
def test_options(rows, normal, close, kind, options):
    options = OPTIONS[options]
    cache, model = new(**kind), Beside()
    key, value = rows(3, HKV, 30, E), rows(3, HKV, 30, EV)
    cache.append(key, value)
    model.append(key, value, range(3))
    for length in (1, 7, 30):
        query = normal(3, H, length, E)
        got = cache.attend(query, **options)
        for b in range(3):
            each = dict(options)
            if np.ndim(each.get("alibi_slopes")) == 2:
                each["alibi_slopes"] = each["alibi_slopes"][b]
            model.check(got[b : b + 1], query[b : b + 1], [b], close, **each)


def test_masks_offsets_and_no_causality(rows, normal, close):
    cache = new()
    key, value = rows(3, HKV, 30, E), rows(3, HKV, 30, EV)
    cache.append(key, value)
    query = normal(3, H, 7, E)
    mask = normal(3, 1, 7, 30)
    for options in (
        {"causal": False},
        {"causal": False, "attn_mask": mask},
        {"causal": False, "attn_mask": mask > 0},
        {"causal": False, "attn_mask": mask[:, :, :1, :1]},
        {"query_offsets": np.array([3, 23, -2])},
        {"query_offsets": 11, "window": (4, 2)},
    ):
        got = cache.attend(query, **options, return_lse=True)
        wanted = reference.attention(
            query,
            key,
            value,
            **{"is_causal": options.get("causal", True), **options, "causal": None},
        )
        close(got.out, wanted["out"])
        close(got.lse, wanted["lse"])


def test_sequences_in_any_order_and_of_any_length(rows, normal, close):
    cache, model = new(sequences=4, page_size=4, pages=20), Beside(4)
    for sequences, length in (([2], 9), ([3, 0], 3), ([0, 2, 3], 5), ([1], 1)):
        key = rows(len(sequences), HKV, length, E)
        value = rows(len(sequences), HKV, length, EV)
        cache.append(key, value, sequences=sequences)
        model.append(key, value, sequences)
    assert [cache.length(b) for b in range(4)] == [8, 1, 14, 8]
    for sequences in ([0, 1, 2, 3], [2], [3, 1], [1, 1, 0]):
        query = normal(len(sequences), H, 1, E)
        got = cache.attend(query, sequences=np.array(sequences, np.int32))
        model.check(got, query, sequences, close)


def test_rows_that_do_not_count(rows, normal, close):
    cache, model = new(), Beside()
    key, value = rows(3, HKV, 6, E), rows(3, HKV, 6, EV)
    for b, length in enumerate((6, 0, 2)):
        model.append(key[b : b + 1, :, :length], value[b : b + 1, :, :length], [b])
    key[1], value[1], key[2, :, 2:], value[2, :, 2:] = [np.nan] * 4
    cache.append(key, value, lengths=[6, 0, 2])
    assert [cache.length(b) for b in range(3)] == [6, 0, 2]
    query = normal(3, H, 1, E)
    model.check(cache.attend(query), query, range(3), close)
    assert not cache.attend(query)[1].any()
    query = normal(3, H, 6, E)
    got = cache.attend(query, lengths=[6, 0, 2])
    assert not got[1].any() and not got[2, :, 2:].any()
    model.check(got[:1], query[:1], [0], close)
    model.check(got[2:, :, :2], query[2:, :, :2], [2], close)


@every_kind
def test_packed(rows, normal, close, kind):
    """A prompt beside single tokens, all in one array."""
    cache, model = new(**kind), Beside()
    for lengths in ([5, 1, 9], [1, 12, 1], [0, 1, 1]):
        starts = np.cumsum([0, *lengths])
        key, value = rows(starts[-1], HKV, 1, E), rows(starts[-1], HKV, 1, EV)
        key, value = key[:, :, 0], value[:, :, 0]
        cache.append(key, value, sequences=[2, 0, 1], cu_seqlens=starts)
        query = normal(starts[-1], H, E)
        got = cache.attend(
            query, sequences=[2, 0, 1], cu_seqlens_q=starts, return_lse=True
        )
        assert got.out.shape == (starts[-1], H, EV)
        assert got.lse.shape == (H, starts[-1])
        for i, b in enumerate([2, 0, 1]):
            part = slice(starts[i], starts[i + 1])
            each = [a[part].swapaxes(0, 1)[None] for a in (key, value, query)]
            model.append(*each[:2], [b])
            out = got.out[part].swapaxes(0, 1)[None]
            model.check(out, each[2], [b], close)


def test_packed_rows_of_no_sequence(rows, normal):
    cache = new(sequences=1)
    cache.append(rows(1, HKV, 4, E), rows(1, HKV, 4, EV))
    query = normal(9, H, E)
    got = cache.attend(query, cu_seqlens_q=[2, 5], return_lse=True)
    alone = cache.attend(query[2:5], cu_seqlens_q=[0, 3], return_lse=True)
    np.testing.assert_array_equal(got.out[2:5], alone.out)
    for others in (slice(0, 2), slice(5, 9)):
        assert not got.out[others].any()
        assert (got.lse[:, others] == -np.inf).all()


def test_layers_have_keys_of_their_own(rows, normal, close):
    cache, models = new(layers=2), [Beside(), Beside()]
    for layer, model in enumerate(models):
        for length in (7, 2 + layer):
            key, value = rows(3, HKV, length, E), rows(3, HKV, length, EV)
            cache.append(key, value, layer=layer)
            model.append(key, value, range(3))
    assert [cache.length(1, layer) for layer in range(2)] == [9, 10]
    query = normal(3, H, 2, E)
    for layer, model in enumerate(models):
        model.check(cache.attend(query, layer=layer), query, range(3), close)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_16_bit_queries(rows, normal, name):
    ml_dtypes = None
    if name == "bfloat16":
        ml_dtypes = pytest.importorskip(
            "ml_dtypes", reason="ml_dtypes is not installed"
        )
    dtype = np.dtype(getattr(ml_dtypes or np, name))
    cache, wide = new(dtype=dtype), new()
    key, value = rows(3, HKV, 9, E), rows(3, HKV, 9, EV)
    cache.append(key.astype(dtype), value.astype(dtype))
    wide.append(key, value)
    query = normal(3, H, 2, E).astype(dtype)
    got = cache.attend(query, return_lse=True)
    assert got.out.dtype == dtype
    assert got.lse.dtype == np.float32
    wanted = wide.attend(query.astype(np.float32))
    np.testing.assert_allclose(
        got.out.astype(np.float32), wanted, rtol=2.0**-7, atol=1e-5
    )


@pytest.mark.parametrize(
    "odd",
    [
        np.asfortranarray,
        lambda a: a[..., ::-1].copy()[..., ::-1],
        lambda a: a.swapaxes(1, 2).copy().swapaxes(1, 2),
    ],
)
def test_strides(rows, normal, odd):
    key, value, query = rows(3, HKV, 9, E), rows(3, HKV, 9, EV), normal(3, H, 2, E)
    plain, other = new(), new()
    plain.append(key, value)
    other.append(odd(key), odd(value), sequences=np.arange(6)[::2] // 2)
    np.testing.assert_array_equal(other.attend(odd(query)), plain.attend(query))
    total = [a.swapaxes(1, 2).reshape(-1, *a.shape[1::2]) for a in (key, value)]
    other.clear()
    other.append(*map(odd, (a[:9] for a in total)), cu_seqlens=[0, 9])
    np.testing.assert_array_equal(other.attend(query[:1]), plain.attend(query[:1]))


def test_steps_share_a_plan(rows, normal, calls):
    cache = new(capacity=512)
    query = normal(3, H, 1, E)
    made = None
    for _ in range(300):
        cache.append(rows(3, HKV, 1, E), rows(3, HKV, 1, EV))
        cache.attend(query)
        made = made or _plan._plan_for.cache_info().misses
    assert _plan._plan_for.cache_info().misses == made
    assert {call.handle for call in calls} == {calls[0].handle}
    assert calls[0].query.data == query.__array_interface__["data"][0]


def test_threads_change_nothing(rows, normal):
    cache = new(capacity=600)
    cache.append(rows(3, HKV, 600, E), rows(3, HKV, 600, EV))
    query = normal(3, H, 4, E)
    wanted = cache.attend(query)
    try:
        attn.set_num_threads(1)
        np.testing.assert_array_equal(cache.attend(query), wanted)
    finally:
        attn.set_num_threads(0)
    np.testing.assert_array_equal(cache.attend(query), wanted)


def test_torch_in_torch_out(rows, normal):
    torch = torch_or_skip()
    cache, plain = new(dtype=torch.bfloat16), new(dtype="bfloat16")
    key, value, query = rows(3, HKV, 9, E), rows(3, HKV, 9, EV), normal(3, H, 2, E)
    plain.append(key, value)
    cache.append(torch.from_numpy(key).bfloat16(), torch.from_numpy(value))
    got = cache.attend(torch.from_numpy(query), sequences=torch.arange(3))
    assert type(got) is torch.Tensor
    np.testing.assert_array_equal(got.numpy(), plain.attend(query))
    half = cache.attend(torch.from_numpy(query).bfloat16())
    assert half.dtype is torch.bfloat16
    with pytest.raises(AttnError, match="key requires a gradient"):
        cache.append(torch.from_numpy(key).requires_grad_(), value)
