"""One problem with grouped heads, and every option that it can be given."""

from __future__ import annotations

import numpy as np

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


def _normal(*shape):
    return _fixed.standard_normal(shape).astype(np.float32)


BUCKETS = _normal(12, H)
ROWS = _normal(H, 15, E)
CONTENT, POSITION = _normal(2, H, E)
# What is done to scores, whatever makes them.
SCORES = {
    "scale": 0.4,
    "softcap": 2.0,
    "is_causal": True,
    "query_offsets": np.array([12, 9]),
    "window": (20, 0),
    "attn_mask": BIAS,
    "alibi_slopes": SLOPES,
    "sinks": SINKS,
}

SEGMENTS = {
    "q_segments": _fixed.integers(0, 3, (B, L)),
    "k_segments": _fixed.integers(0, 3, (B, S)),
    "segment_keys": _normal(2, H, E),
}
SEGMENT_BIAS = _normal(H, E)
RANKS = {
    "q_ranks": _fixed.integers(0, 20, (B, L)),
    "k_ranks": _fixed.integers(-1, 20, (B, S)),
}
VECTOR = _normal(H, E)

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
    "dropout": {"dropout_p": 0.3, "dropout_seed": 99},
    "dropout of all": {"dropout_p": 1.0, "dropout_seed": 99},
    "dropout, rng indices": {
        "dropout_p": 0.25,
        "dropout_seed": -5,
        "rng_indices": np.array([7, (1 << 32) - 1]),
    },
    "relative bias": {"relative_bias": (BUCKETS, 20, False)},
    "relative bias, both ways": {"relative_bias": (BUCKETS, 20, True)},
    "relative bias at offsets": {
        "relative_bias": (BUCKETS, 13, True),
        "query_offsets": np.array([7, 30]),
    },
    "relative bias of all heads": {"relative_bias": (BUCKETS[:, :1], 20, True)},
    "relative keys": {"relative_keys": (ROWS, 9)},
    "relative keys, bottom right": {
        "relative_keys": (ROWS, 14),
        "causal": "bottom_right",
    },
    "relative keys of all heads": {"relative_keys": (ROWS[0], 9)},
    "relative keys, heads 1": {"relative_keys": (ROWS[:1], 0)},
    "relative keys, one row": {"relative_keys": (ROWS[:, :1], 0)},
    "position bias": {"relative_keys": (ROWS, 9), "position_bias": POSITION},
    "content bias": {"content_bias": CONTENT},
    "content bias, softcap": {"content_bias": CONTENT, "softcap": 1.5},
    "content bias of all heads": {"content_bias": CONTENT[0]},
    "segments": SEGMENTS,
    "segments of all": {**SEGMENTS, "q_segments": SEGMENTS["q_segments"][0]},
    "segment bias": {**SEGMENTS, "segment_bias": SEGMENT_BIAS},
    "relative terms": {
        "softcap": 3.0,
        "query_offsets": np.array([16, 3]),
        "relative_bias": (BUCKETS, 20, True),
        "relative_keys": (ROWS, 9),
        "content_bias": CONTENT,
        "position_bias": POSITION,
        **SEGMENTS,
        "segment_bias": SEGMENT_BIAS,
    },
    "ranks": RANKS,
    "ranks below": {**RANKS, "ranks": "below"},
    "ranks of all": {**RANKS, "q_ranks": np.arange(L)},
    "additive": {"score_vector": VECTOR},
    "additive, scale": {"score_vector": VECTOR, "scale": -0.3},
    "additive, one vector": {"score_vector": VECTOR[0]},
    "additive, heads 1": {"score_vector": VECTOR[1:2]},
    "additive, softcap": {"score_vector": VECTOR, "softcap": 1.5},
    "additive, lengths": {
        "score_vector": VECTOR,
        "q_lengths": np.array([13, 5]),
        "kv_lengths": np.array([0, 21]),
    },
    "additive terms": {
        "score_vector": VECTOR,
        **SCORES,
        "kv_lengths": np.array([29, 21]),
        "prefix_lengths": np.array([3, 5]),
        "block_mask": (BLOCKS, 4, 8),
        "dropout_p": 0.2,
        "dropout_seed": 3,
        "relative_bias": (BUCKETS, 17, True),
        "q_ranks": RANKS["q_ranks"] + 12,
        "k_ranks": RANKS["k_ranks"],
    },
    "everything": {
        **SCORES,
        "q_lengths": np.array([13, 9]),
        "kv_lengths": np.array([29, 21]),
        "q_documents": Q_DOCUMENTS,
        "k_documents": K_DOCUMENTS,
        "prefix_lengths": np.array([3, 5]),
        "block_mask": (BLOCKS, 4, 8),
        "dropout_p": 0.2,
        "dropout_seed": (1 << 63) + 12345,
        "rng_indices": np.array([3, 1]),
        "relative_bias": (BUCKETS, 17, True),
        "relative_keys": (ROWS, 11),
        "content_bias": CONTENT,
        "position_bias": POSITION,
        **SEGMENTS,
        "segment_bias": SEGMENT_BIAS,
        "q_ranks": RANKS["q_ranks"] + 12,
        "k_ranks": RANKS["k_ranks"],
    },
}
