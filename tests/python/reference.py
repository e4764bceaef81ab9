"""Attention by the textbook, in float64, with every option; shares nothing with attn.

It works on (batch, heads, length, dim) and builds the whole matrix of scores. Each
option is one line of the contract in ``include/attn/sdpa.h``.
"""

from __future__ import annotations

import numpy as np


def allowed(shape, masks):
    """Which query may attend which key, of (batch, heads, queries, keys)."""
    batch, _, queries, keys = shape
    ok = np.ones(shape, bool)
    i = np.arange(queries)[None, None, :, None]
    j = np.arange(keys)[None, None, None, :]

    def each(name, default):
        values = masks.get(name)
        values = default if values is None else values
        return np.broadcast_to(np.asarray(values), (batch,))[:, None, None, None]

    q_lengths = each("q_lengths", queries)
    kv_lengths = each("kv_lengths", keys)
    position = i + each("query_offsets", 0)
    if masks.get("causal") == "bottom_right":
        position = i + kv_lengths - q_lengths
    ok &= (i < q_lengths) & (j < kv_lengths)
    if masks.get("is_causal") or masks.get("causal"):
        ok &= (j <= position) | (j < each("prefix_lengths", 0))
    if masks.get("window"):
        left, right = masks["window"]
        ok &= (left < 0) | (j >= position - left)
        ok &= (right < 0) | (j <= position + right)
    if masks.get("q_documents") is not None:
        ok &= (
            np.broadcast_to(masks["q_documents"], (batch, queries))[:, None, :, None]
            == np.broadcast_to(masks["k_documents"], (batch, keys))[:, None, None, :]
        )
    if masks.get("block_mask") is not None:
        blocks, q_block, k_block = masks["block_mask"]
        written_out = np.repeat(np.repeat(blocks, q_block, -2), k_block, -1)
        ok &= written_out[..., :queries, :keys]
    mask = masks.get("attn_mask")
    if mask is not None:
        ok &= mask if mask.dtype == bool else mask > -np.inf
    return ok, position


def attention(query, key, value, scale=None, softcap=0.0, **options):
    """All outputs by name; options are those of the function under test."""
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    batch, heads, queries, dim = query.shape
    keys = key.shape[2]
    key, value = (np.repeat(x, heads // x.shape[1], axis=1) for x in (key, value))
    scale = 1 / np.sqrt(dim) if scale is None else scale

    raw = scale * np.einsum("bhid,bhjd->bhij", query, key)
    capped = softcap * np.tanh(raw / softcap) if softcap else raw
    ok, position = allowed(raw.shape, options)
    biased = capped
    mask = options.get("attn_mask")
    if mask is not None and mask.dtype != bool:
        biased = biased + mask
    if options.get("alibi_slopes") is not None:
        slopes = np.asarray(options["alibi_slopes"], np.float64)
        slopes = np.broadcast_to(slopes, (batch, heads))[:, :, None, None]
        biased = biased - slopes * np.abs(position - np.arange(keys))
    biased = np.where(ok, biased, -np.inf)

    largest = biased.max(axis=-1, keepdims=True, initial=-np.inf)
    sinks = np.full((heads, 1, 1), -np.inf)
    if options.get("sinks") is not None:
        sinks = np.asarray(options["sinks"], np.float64).reshape(heads, 1, 1)
    largest = np.maximum(largest, sinks)
    largest = np.where(largest > -np.inf, largest, 0)
    exps = np.exp(biased - largest)
    total = exps.sum(axis=-1, keepdims=True) + np.exp(sinks - largest)
    weights = exps / np.where(total > 0, total, 1)
    with np.errstate(divide="ignore"):
        lse = (np.log(total) + largest)[..., 0]

    beyond = np.zeros((batch, 1, queries, keys), bool)
    for name, axis, count in (("q_lengths", 2, queries), ("kv_lengths", 3, keys)):
        if options.get(name) is not None:
            index = np.arange(count).reshape([-1 if a == axis else 1 for a in range(4)])
            lengths = np.broadcast_to(np.asarray(options[name]), (batch,))
            beyond |= index >= lengths[:, None, None, None]
    return {
        "out": np.einsum("bhij,bhjd->bhid", weights, value),
        "lse": lse,
        "weights": weights,
        "raw": np.where(beyond, -np.inf, raw),
        "capped": np.where(beyond, -np.inf, capped),
        "biased": biased,
        "key_sums": weights.sum(axis=2),
    }
