"""Relative positions, segments and ranks: their tables as arrays, and what they mean.

That every option computes what it should, alone and with others, is for test_options.py
and test_backward.py.
"""

from __future__ import annotations

import numpy as np
import pytest

import attn
import reference
from attn import _plan, _prepare
from relative import bucket

BIASES = ("content_bias", "position_bias", "segment_bias")


def attend(*arrays, **options):
    return attn.scaled_dot_product_attention(*arrays, **options)


@pytest.fixture
def options(normal, rng):
    """All of them, for 3 heads of dim 8, 70 queries and 90 keys."""
    return {
        "relative_bias": (normal(12, 3), 50, True),
        "relative_keys": (normal(3, 33, 8), 20),
        **{name: normal(3, 8) for name in BIASES},
        "q_segments": rng.integers(0, 3, 70),
        "k_segments": rng.integers(0, 3, 90),
        "segment_keys": normal(2, 3, 8),
        "q_ranks": rng.integers(10, 70, (2, 70)),
        "k_ranks": rng.integers(0, 70, (2, 90)),
        "causal": "bottom_right",
    }


@pytest.fixture
def qkv(normal):
    return normal(2, 3, 70, 8), normal(2, 3, 90, 8), normal(2, 3, 90, 6)


def differentiate(qkv, options, grad_out):
    """The forward and the backward call, with the gradients of all tables."""
    stats = attend(*qkv, **options, return_row_stats=True)
    wanted = [name for name in _prepare._GRADIENTS if name in options]
    return attn.scaled_dot_product_attention_backward(
        grad_out,
        *qkv,
        stats.out,
        None,
        **options,
        row_max=stats.row_max,
        row_sum=stats.row_sum,
        **{f"{name}_grad": True for name in wanted},
    )


def test_fields_of_the_gradients(qkv, options, normal):
    got = differentiate(qkv, options, normal(2, 3, 70, 6))
    assert got._fields[3:] == (
        "grad_relative_bias",
        "grad_relative_keys",
        "grad_content_bias",
        "grad_position_bias",
        "grad_segment_keys",
        "grad_segment_bias",
    )


def test_tables_go_where_they_lie(qkv, options, normal, gradient_calls):
    got = differentiate(qkv, options, normal(2, 3, 70, 6))
    (call,) = gradient_calls
    for name in ("relative_bias", "relative_keys", "segment_keys", *BIASES):
        table = options[name]
        table = table[0] if isinstance(table, tuple) else table
        assert getattr(call.forward, name).data == table.ctypes.data
        assert getattr(call.forward, name).shape == table.shape
        grad = getattr(got, f"grad_{name}")
        assert getattr(call, f"grad_{name}").data == grad.ctypes.data
        assert grad.shape == table.shape


def test_tables_of_any_strides(qkv, options, normal):
    grad_out = normal(2, 3, 70, 6)
    other = {}
    for name, value in options.items():
        if isinstance(value, tuple):
            other[name] = (np.asfortranarray(value[0]), *value[1:])
        elif isinstance(value, np.ndarray):
            other[name] = np.asfortranarray(value)
        else:
            other[name] = value
    same = attend(*qkv, **options)
    np.testing.assert_array_equal(attend(*qkv, **other), same)
    for one, two in zip(
        differentiate(qkv, options, grad_out), differentiate(qkv, other, grad_out)
    ):
        np.testing.assert_array_equal(one, two)
        assert two.flags.c_contiguous


SHARED = {
    "relative_bias": (12, 1),
    "relative_keys": (33, 8),
    "content_bias": (8,),
    "position_bias": (1, 8),
    "segment_keys": (2, 1, 8),
    "segment_bias": (3, 1),
}
WHOLE = {
    "relative_bias": (12, 3),
    "relative_keys": (3, 33, 8),
    "segment_keys": (2, 3, 8),
}


@pytest.mark.parametrize("name", SHARED)
def test_what_heads_share(qkv, options, normal, name):
    """It does what it does when written out, and gets the sum of the gradients."""
    small = normal(*SHARED[name])
    full = np.ascontiguousarray(np.broadcast_to(small, WHOLE.get(name, (3, 8))))
    rule = options[name][1:] if isinstance(options[name], tuple) else None
    grad_out = normal(2, 3, 70, 6)

    def run(table):
        with_table = {**options, name: table if rule is None else (table, *rule)}
        grads = differentiate(qkv, with_table, grad_out)
        return attend(*qkv, **with_table), getattr(grads, f"grad_{name}")

    (out, grad), (wanted, of_full) = run(small), run(full)
    np.testing.assert_array_equal(out, wanted)
    assert grad.shape == small.shape
    wanted = reference.reduced(of_full.astype(np.float64), small.shape)
    np.testing.assert_allclose(grad, wanted, rtol=1e-4, atol=1e-4)


def test_one_head_and_no_batch(normal, close):
    """(length, dim) arrays take tables of one head."""
    q, k = normal(9, 8), normal(11, 8)
    options = {
        "relative_bias": (normal(6, 1), 20, True),
        "relative_keys": (normal(5, 8), 2),
        "content_bias": normal(8),
        "position_bias": normal(1, 8),
        "q_segments": np.arange(9) // 3,
        "k_segments": np.arange(11) // 3,
        "segment_keys": normal(2, 1, 8),
        "q_ranks": np.arange(9),
        "k_ranks": np.arange(11),
    }
    wanted = reference.attention(q[None, None], k[None, None], k[None, None], **options)
    close(attend(q, k, k, **options), wanted["out"][0, 0])


def test_several_batch_dimensions(normal):
    """(4, 2) batches are the 8 batches that they are in memory."""
    q, k = normal(4, 2, 3, 5, 8), normal(4, 2, 3, 9, 8)
    tokens = np.arange(4 * 2 * 9).reshape(4, 2, 9) % 5
    tables = {"segment_keys": normal(2, 3, 8), "relative_keys": (normal(3, 7, 8), 2)}

    def run(q, k, *batches):
        of_keys = tokens.reshape(*batches, 9)
        of_queries = np.ascontiguousarray(of_keys[..., 3:8])
        numbers = {"q_segments": of_queries, "k_segments": of_keys}
        numbers.update(q_ranks=of_queries, k_ranks=of_keys)
        return attend(q, k, k, **tables, **numbers)

    got = run(q, k, 4, 2)
    wanted = run(q.reshape(8, 3, 5, 8), k.reshape(8, 3, 9, 8), 8)
    np.testing.assert_array_equal(got.reshape(wanted.shape), wanted)


def test_a_zero_for_each_call(normal, close):
    """The zero may grow with the number of keys; neither plan nor call is made anew."""
    q, rows = normal(1, 2, 1, 8), normal(2, 80, 8)
    keys = [normal(1, 2, 64, 8)[:, :, :length] for length in range(33, 65)]

    def run(k, zero):
        return attend(q, k, k, causal="bottom_right", relative_keys=(rows, zero))

    run(keys[0], 0)
    plans, calls = _plan._plan_for.cache_info(), _prepare.prepare.cache_info()
    for zero in range(1, 80):
        got = run(keys[0], zero)
        wanted = reference.attention(
            q, keys[0], keys[0], causal="bottom_right", relative_keys=(rows, zero)
        )
        close(got, wanted["out"])
    assert _prepare.prepare.cache_info().misses == calls.misses
    for k in keys:
        run(k, np.int32(k.shape[2]))
    assert _plan._plan_for.cache_info().misses == plans.misses


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(
    ("buckets", "max_distance"), [(32, 128), (32, 64), (8, 1000), (4, 3), (64, 33)]
)
def test_buckets(normal, buckets, max_distance, bidirectional):
    """Each distance falls where whole numbers say, also where logarithms are whole."""
    table = np.arange(buckets, dtype=np.float32)[:, None]
    q, k = normal(1, 1, 4), normal(3001, 4)
    offset = 1500
    got = attend(
        0 * q,
        k,
        k,
        query_offsets=offset,
        relative_bias=(table, max_distance, np.bool_(bidirectional)),
        return_scores="biased",
    ).scores[0, 0]
    rule = (buckets, max_distance, bidirectional)
    wanted = [bucket(offset - j, *rule) for j in range(3001)]
    assert max(wanted) == buckets - 1
    np.testing.assert_array_equal(got, np.array(wanted))


def test_rows_that_nobody_reaches_may_hold_anything(qkv, options, normal):
    """Tables are looked up for pairs that attend, and no others."""
    grad_out = normal(2, 3, 70, 6)
    options = {**options, "window": (5, 3)}
    del options["relative_bias"]
    rows, zero = options["relative_keys"]
    clean = attend(*qkv, **options)
    grads = differentiate(qkv, options, grad_out)
    rows = rows.copy()
    rows[:, : zero - 5] = np.nan
    rows[:, zero + 1 :] = np.inf
    options["relative_keys"] = (rows, zero)
    np.testing.assert_array_equal(attend(*qkv, **options), clean)
    for one, two in zip(differentiate(qkv, options, grad_out), grads):
        np.testing.assert_array_equal(one, two)
    assert not grads.grad_relative_keys[:, : zero - 5].any()
    assert not grads.grad_relative_keys[:, zero + 1 :].any()
    assert grads.grad_relative_keys[:, zero - 5 : zero + 1].all()


def test_the_number_of_threads_changes_no_bit(options, normal, rng):
    qkv = normal(2, 3, 300, 8), normal(2, 3, 391, 8), normal(2, 3, 391, 6)
    for one, length in (("q", 300), ("k", 391)):
        options[f"{one}_segments"] = rng.integers(0, 3, length)
        options[f"{one}_ranks"] = rng.integers(0, 391, (2, length))
    grad_out = normal(2, 3, 300, 6)
    results = []
    try:
        for n in (1, 2, 3):
            attn.set_num_threads(n)
            grads = differentiate(qkv, options, grad_out)
            results.append((attend(*qkv, **options), *grads))
    finally:
        attn.set_num_threads(0)
    for other in results[1:]:
        for one, two in zip(results[0], other):
            np.testing.assert_array_equal(one, two)
