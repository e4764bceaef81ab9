"""Every option, alone and together, against the float64 reference."""

from __future__ import annotations

import numpy as np
import pytest

import attn
import reference

B, H, HKV, L, S, E, EV = 2, 4, 2, 13, 29, 16, 24

_fixed = np.random.default_rng(7)
BOOL = _fixed.random((B, H, L, S)) < 0.6
BOOL[0, 1, 3] = False  # a query with nothing to attend to
BIAS = _fixed.standard_normal((B, H, L, S)).astype(np.float32)
BIAS[_fixed.random(BIAS.shape) < 0.3] = -np.inf
BLOCKS = _fixed.random((B, H, 4, 4)) < 0.6
Q_DOCUMENTS = np.sort(_fixed.integers(0, 3, (B, L)))
K_DOCUMENTS = np.sort(_fixed.integers(0, 3, (B, S)))
SLOPES = np.array([0.5, 0.25, 0.125, 0.0625], np.float32)
SINKS = np.array([-1.0, 0.0, 2.0, 30.0], np.float32)

OPTIONS = {
    "plain": {},
    "scale": {"scale": 0.3},
    "scale 0": {"scale": 0},
    "negative scale": {"scale": -0.5},
    "softcap": {"softcap": 1.5},
    "is_causal": {"is_causal": True},
    "causal top left": {"causal": "top_left"},
    "causal bottom right": {"causal": "bottom_right"},
    "causal with offsets": {"is_causal": True, "query_offsets": np.array([5, -3])},
    "window": {"window": (3, 2)},
    "window, left open": {"window": (-1, 2)},
    "window, right open": {"window": (3, -1)},
    "window at offsets": {"window": (3, 1), "query_offsets": np.array([9, 0])},
    "window, bottom right": {"window": (4, 0), "causal": "bottom_right"},
    "bool mask": {"attn_mask": BOOL},
    "bool mask for keys": {"attn_mask": BOOL[:, :1, :1]},
    "bool mask for queries": {"attn_mask": BOOL[:1, :, :, :1]},
    "bool mask of rank 2": {"attn_mask": BOOL[0, 0]},
    "bool mask of rank 1": {"attn_mask": BOOL[0, 0, 0]},
    "float mask": {"attn_mask": BIAS},
    "float mask of rank 3": {"attn_mask": BIAS[0]},
    "float mask for batches": {"attn_mask": BIAS[:, :1, :1]},
    "mask and causal": {"attn_mask": BOOL, "is_causal": True},
    "bias and causal": {"attn_mask": BIAS, "causal": "bottom_right"},
    "alibi": {"alibi_slopes": SLOPES},
    "alibi for batches": {"alibi_slopes": np.stack([SLOPES, -SLOPES])},
    "alibi at offsets": {"alibi_slopes": SLOPES, "query_offsets": np.array([16, 3])},
    "sinks": {"sinks": SINKS},
    "sinks of an empty row": {"sinks": SINKS, "attn_mask": BOOL},
    "q lengths": {"q_lengths": np.array([13, 5])},
    "kv lengths": {"kv_lengths": np.array([7, 29], np.int32)},
    "no keys": {"kv_lengths": np.array([0, 29])},
    "lengths, bottom right": {
        "q_lengths": np.array([4, 13]),
        "kv_lengths": np.array([20, 11]),
        "causal": "bottom_right",
    },
    "documents": {"q_documents": Q_DOCUMENTS, "k_documents": K_DOCUMENTS},
    "documents of all": {
        "q_documents": Q_DOCUMENTS[0],
        "k_documents": K_DOCUMENTS[:1].astype(np.int32),
    },
    "prefix": {"is_causal": True, "prefix_lengths": np.array([6, 0])},
    "blocks": {"block_mask": (BLOCKS, 4, 8)},
    "blocks of all heads": {"block_mask": (BLOCKS[:, :1], 4, 8)},
    "everything": {
        "scale": 0.4,
        "softcap": 2.0,
        "is_causal": True,
        "query_offsets": np.array([12, 9]),
        "window": (20, 0),
        "attn_mask": BIAS,
        "alibi_slopes": SLOPES,
        "sinks": SINKS,
        "q_lengths": np.array([13, 9]),
        "kv_lengths": np.array([29, 21]),
        "q_documents": Q_DOCUMENTS,
        "k_documents": K_DOCUMENTS,
        "prefix_lengths": np.array([3, 5]),
        "block_mask": (BLOCKS, 4, 8),
    },
}


@pytest.fixture
def qkv(normal):
    """A query, key and value with grouped heads."""
    return normal(B, H, L, E), normal(B, HKV, S, E), normal(B, HKV, S, EV)


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
    )
    assert full._fields == ("out", "lse", "weights", "scores", "key_sums")
    close(full.lse, wanted["lse"])
    close(full.weights, wanted["weights"])
    close(full.scores, wanted[scores])
    close(full.key_sums, wanted["key_sums"])
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
