"""Mistakes with relative positions, segments and ranks get an AttnError, too."""

from __future__ import annotations

import numpy as np
import pytest

import attn
from attn import AttnError, Status


def zeros(*shape, dtype=np.float32):
    """An array to make mistakes with."""
    return np.zeros(shape, dtype)


Q, K, V = zeros(2, 8, 3, 4), zeros(2, 8, 5, 4), zeros(2, 8, 5, 6)
BUCKETS, ROWS, SEGMENT_KEYS = zeros(32, 8), zeros(9, 4), zeros(2, 8, 4)
OF_QUERIES, OF_KEYS = zeros(2, 3, dtype=int), zeros(2, 5, dtype=int)
SEGMENTS = {"q_segments": OF_QUERIES, "k_segments": OF_KEYS}
RANKS = {"q_ranks": OF_QUERIES, "k_ranks": OF_KEYS}

INVALID = [
    # options, what the message says
    ({"relative_bias": BUCKETS}, r"is a ndarray: expected \(table, max_distance, bid"),
    ({"relative_bias": (BUCKETS, 128)}, "relative_bias is a tuple of 2: expected"),
    ({"relative_bias": (None, 128, True)}, "relative_bias begins with None: expected"),
    ({"relative_bias": ([[0.0]], 128, True)}, "relative_bias is of type list"),
    ({"relative_bias": (zeros(8), 128, True)}, r"has shape \(8,\): expected \(buckets"),
    ({"relative_bias": (zeros(0, 8), 128, True)}, r"relative_bias has shape \(0, 8\)"),
    (
        {"relative_bias": (zeros(32, 7), 128, True)},
        r"\(32, 7\).* to \(32, 8\)",
    ),
    ({"relative_bias": (zeros(3, 8), 128, True)}, "buckets is 3, .* 4 to 65536.* even"),
    ({"relative_bias": (zeros(1, 8), 128, False)}, "buckets is 1, .* 2 to 65536"),
    ({"relative_bias": (BUCKETS, 8, True)}, "max_distance is 8, .* more than 8"),
    ({"relative_bias": (BUCKETS, 16, False)}, "max_distance is 16, .* more than 16"),
    ({"relative_bias": (BUCKETS, 1 << 31, True)}, "max_distance is 2147483648"),
    (
        {"relative_bias": (BUCKETS, 1 << 63, True)},
        "max_distance .* 9223372036854775808",
    ),
    ({"relative_bias": (BUCKETS, 12.5, True)}, "max_distance .* is 12.5"),
    ({"relative_bias": (BUCKETS, True, 128)}, "bidirectional .* is 128: expected True"),
    ({"relative_keys": ROWS}, r"relative_keys is a ndarray: expected \(table, zero\)"),
    ({"relative_keys": (ROWS, 0, 0)}, "relative_keys is a tuple of 3: expected"),
    ({"relative_keys": (None, 0)}, "relative_keys begins with None: expected"),
    ({"relative_keys": (zeros(4), 0)}, r"shape \(4,\): expected \(heads, rows, dim\)"),
    ({"relative_keys": (zeros(9, 5), 0)}, r"shape \(9, 5\): .* with 8 heads and dim 4"),
    ({"relative_keys": (zeros(7, 9, 4), 0)}, r"relative_keys has shape \(7, 9, 4\)"),
    (
        {"relative_keys": (zeros(1, 8, 9, 4), 0)},
        r"has shape \(1, 8, 9, 4\): exp",
    ),
    ({"relative_keys": (zeros(0, 4), 0)}, "relative_keys has 0 rows"),
    ({"relative_keys": (ROWS, 9)}, "relative_zero is 9, .* no row .* it has 9"),
    ({"relative_keys": (ROWS, -1)}, "relative_zero is -1"),
    ({"relative_keys": (ROWS, (1 << 63) + 1)}, "zero .* is 9223372036854775809"),
    ({"relative_keys": (ROWS, 0.5)}, "zero of relative_keys is 0.5"),
    ({"position_bias": zeros(8, 4)}, "position bias without relative keys"),
    ({"content_bias": zeros(8, 5)}, r"content_bias has shape \(8, 5\).* to \(8, 4\)"),
    ({"content_bias": zeros(2, 8, 4)}, r"content_bias has shape \(2, 8, 4\)"),
    ({"q_segments": OF_QUERIES}, "k_segments is missing"),
    (SEGMENTS, "segment_keys is missing"),
    ({"segment_keys": SEGMENT_KEYS}, "q_segments is missing"),
    ({"segment_bias": zeros(8, 4)}, "q_segments is missing"),
    ({**SEGMENTS, "k_segments": OF_QUERIES}, r"k_segments has shape \(2, 3\)"),
    (
        {**SEGMENTS, "segment_keys": zeros(8, 4)},
        r"shape \(8, 4\): exp.*\(2, 8, 4\)",
    ),
    ({**SEGMENTS, "segment_keys": zeros(1, 8, 4)}, r"segment_keys has shape \(1, 8, 4"),
    ({**SEGMENTS, "segment_keys": zeros(2, 3, 4)}, r"segment_keys has shape \(2, 3, 4"),
    ({"q_ranks": OF_QUERIES}, "k_ranks is missing"),
    ({"k_ranks": OF_KEYS}, "q_ranks is missing"),
    ({"ranks": "below"}, "ranks='below', but no q_ranks"),
    ({**RANKS, "ranks": "above"}, "ranks is 'above': expected 'up_to' or 'below'"),
    ({**RANKS, "q_ranks": OF_KEYS}, r"q_ranks has shape \(2, 5\).*\(2, 3\)"),
]

UNSUPPORTED = [
    (
        {"relative_bias": (zeros(32, 8, dtype=float), 99, True)},
        "relative_bias is float64",
    ),
    (
        {"relative_bias": (np.broadcast_to(BUCKETS[0], (1 << 32, 8)), 99, True)},
        "buckets is 4294967296",
    ),
    ({"relative_keys": (ROWS.astype(int), 0)}, "relative_keys is int64"),
    ({"content_bias": zeros(8, 4, dtype=float)}, "content_bias is float64"),
    ({**SEGMENTS, "q_segments": zeros(2, 3)}, "q_segments is float32"),
    ({**RANKS, "k_ranks": zeros(2, 5)}, "k_ranks is float32"),
]


def attend(options):
    return attn.scaled_dot_product_attention(Q, K, V, **options)


@pytest.mark.parametrize(("options", "message"), INVALID)
def test_invalid(options, message):
    with pytest.raises(AttnError, match=message) as caught:
        attend(options)
    assert caught.value.status is Status.INVALID


@pytest.mark.parametrize(("options", "message"), UNSUPPORTED)
def test_unsupported(options, message):
    with pytest.raises(AttnError, match=message) as caught:
        attend(options)
    assert caught.value.status is Status.UNSUPPORTED


@pytest.mark.parametrize(
    "name",
    [
        "relative_bias",
        "relative_keys",
        "content_bias",
        "position_bias",
        "segment_keys",
        "segment_bias",
    ],
)
def test_gradients_of_what_is_not_given(name):
    out, lse = zeros(2, 8, 3, 6), zeros(2, 8, 3)
    with pytest.raises(AttnError, match=f"{name}_grad=True, but no {name} is given"):
        attn.scaled_dot_product_attention_backward(
            out, Q, K, V, out, lse, **{f"{name}_grad": True}
        )


def test_a_failed_call_leaves_no_trace():
    """A zero is of one call, though all calls of these shapes are prepared as one."""
    good = attend({"relative_keys": (ROWS + 1, 8)})
    for _ in range(3):
        with pytest.raises(AttnError, match="relative_zero is 9"):
            attend({"relative_keys": (ROWS + 1, 9)})
        np.testing.assert_array_equal(attend({"relative_keys": (ROWS + 1, 8)}), good)
