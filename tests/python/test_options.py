"""Every option, alone and together, against the float64 reference."""

from __future__ import annotations

import numpy as np
import pytest

import attn
import reference
from problems import OPTIONS, H, S


@pytest.mark.parametrize("scores", ["raw", "capped", "biased"])
@pytest.mark.parametrize("name", OPTIONS)
def test_all_outputs(qkv, close, name, scores):
    options = OPTIONS[name]
    wanted = reference.attention(*qkv, **options)
    out = attn.scaled_dot_product_attention(*qkv, enable_gqa=True, **options)
    assert out.dtype == np.float32
    close(out, wanted["out"])
    full = attn.scaled_dot_product_attention(
        *qkv,
        enable_gqa=True,
        **options,
        return_lse=True,
        return_weights=True,
        return_scores=scores,
        return_key_sums=True,
        return_row_stats=True,
        return_dropout_mask=True,
    )
    assert full._fields == (
        "out",
        "lse",
        "weights",
        "scores",
        "key_sums",
        "row_max",
        "row_sum",
        "dropout_mask",
    )
    close(full.lse, wanted["lse"])
    close(full.weights, wanted["weights"])
    close(full.scores, wanted[scores])
    close(full.key_sums, wanted["key_sums"])
    close(full.row_max, wanted["row_max"])
    close(full.row_sum, wanted["row_sum"])
    assert full.dropout_mask.dtype == bool
    np.testing.assert_array_equal(full.dropout_mask, wanted["dropout_mask"])
    # Asking for more never changes the output, not by a bit.
    np.testing.assert_array_equal(full.out, out)


def test_each_option_matters(qkv):
    """No two entries above compute the same, but for the two names of top left."""
    outs = {
        name: attn.scaled_dot_product_attention(
            *qkv, enable_gqa=True, **options
        ).tobytes()
        for name, options in OPTIONS.items()
    }
    assert outs.pop("is_causal") == outs.pop("causal top left")
    assert len(set(outs.values())) == len(outs)


@pytest.mark.parametrize(
    ("asked", "fields"),
    [
        ({"return_lse": True}, ("out", "lse")),
        ({"return_key_sums": True}, ("out", "key_sums")),
        ({"return_scores": "raw", "return_lse": True}, ("out", "lse", "scores")),
        ({"return_weights": True}, ("out", "weights")),
        ({"return_row_stats": True}, ("out", "row_max", "row_sum")),
        ({"return_dropout_mask": True}, ("out", "dropout_mask")),
    ],
)
def test_only_what_was_asked(qkv, asked, fields):
    got = attn.scaled_dot_product_attention(*qkv, enable_gqa=True, **asked)
    assert got._fields == fields
    for name, array in zip(fields, got):
        assert getattr(got, name) is array


def test_what_is_masked_never_arrives(qkv, close):
    query, key, value = qkv
    wanted = attn.scaled_dot_product_attention(
        query, key[:, :, :20], value[:, :, :20], enable_gqa=True
    )
    key[:, :, 20:] = np.nan
    value[:, :, 20:] = np.inf
    got = attn.scaled_dot_product_attention(
        query, key, value, enable_gqa=True, kv_lengths=20
    )
    np.testing.assert_array_equal(got, wanted)
    keys = np.arange(S) < 20
    got = attn.scaled_dot_product_attention(
        query, key, value, enable_gqa=True, attn_mask=keys
    )
    close(got, wanted)


def test_small_inputs_may_be_lists_and_numbers(qkv):
    def run(**options):
        return attn.scaled_dot_product_attention(*qkv, enable_gqa=True, **options)

    lists = {"kv_lengths": [7, 20], "sinks": [1, 2, 3, 4.5], "alibi_slopes": [0.5]}
    arrays = {
        "kv_lengths": np.array([7, 20]),
        "sinks": np.array([1, 2, 3, 4.5], np.float32),
        "alibi_slopes": np.full(H, 0.5, np.float32),
    }
    np.testing.assert_array_equal(run(**lists), run(**arrays))
    np.testing.assert_array_equal(run(q_lengths=3), run(q_lengths=np.array([3, 3])))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.uint32])
def test_other_integers_are_converted(qkv, dtype):
    def run(lengths):
        return attn.scaled_dot_product_attention(
            *qkv, enable_gqa=True, kv_lengths=lengths
        )

    got = run(np.array([9, 27], dtype))
    np.testing.assert_array_equal(got, run(np.array([9, 27])))


def test_numbers_of_other_kinds(qkv):
    """A scale that was computed with numpy has numpy's type."""

    def run(scale, softcap):
        return attn.scaled_dot_product_attention(
            *qkv, enable_gqa=True, scale=scale, softcap=softcap
        )

    wanted = run(0.25, 2.0)
    np.testing.assert_array_equal(run(np.float32(0.25), 2), wanted)
    np.testing.assert_array_equal(run(np.array(0.25), np.array(2.0)), wanted)
