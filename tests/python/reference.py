"""Attention by the textbook, in float64, with every option; shares nothing with attn.

It works on (batch, heads, length, dim) and builds the whole matrix of scores. Each
option is one line of the contract in ``include/attn/sdpa.h``, each gradient one line of
that in ``include/attn/backward.h``.
"""

from __future__ import annotations

import numpy as np

from relative import Terms, reduced
from scores import scale_of, score_gradients, scores


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

    def tokens(name):
        of_queries = np.broadcast_to(masks[f"q_{name}"], (batch, queries))
        of_keys = np.broadcast_to(masks[f"k_{name}"], (batch, keys))
        return of_queries[:, None, :, None], of_keys[:, None, None, :]

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
        of_queries, of_keys = tokens("documents")
        ok &= of_keys == of_queries
    if masks.get("q_ranks") is not None:
        of_queries, of_keys = tokens("ranks")
        below = masks.get("ranks") == "below"
        ok &= of_keys < of_queries if below else of_keys <= of_queries
    if masks.get("block_mask") is not None:
        blocks, q_block, k_block = masks["block_mask"]
        written_out = np.repeat(np.repeat(blocks, q_block, -2), k_block, -1)
        ok &= written_out[..., :queries, :keys]
    mask = masks.get("attn_mask")
    if mask is not None:
        ok &= mask if mask.dtype == bool else mask > -np.inf
    return ok, position


def philox(key, counter):
    """Philox 4x32-10: four words for each counter, from two words of key."""
    words = [np.asarray(word, np.uint64) for word in counter]
    low, high = key
    mask, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    for _ in range(10):
        a = np.uint64(0xD2511F53) * words[0]
        b = np.uint64(0xCD9E8D57) * words[2]
        words = [
            (b >> shift) ^ words[1] ^ np.uint64(low),
            b & mask,
            (a >> shift) ^ words[3] ^ np.uint64(high),
            a & mask,
        ]
        low, high = (low + 0x9E3779B9) & 0xFFFFFFFF, (high + 0xBB67AE85) & 0xFFFFFFFF
    return words


def dropout_mask(shape, probability, seed=0, rng_indices=None):
    """Which weights, of (batch, heads, queries, keys), dropout keeps."""
    batch, heads, queries, keys = shape
    sequences = np.arange(batch) if rng_indices is None else np.asarray(rng_indices)
    b, h, i, block = np.meshgrid(
        np.broadcast_to(sequences, (batch,)),
        np.arange(heads),
        np.arange(queries),
        np.arange(-(-keys // 4)),
        indexing="ij",
    )
    seed %= 1 << 64
    words = np.stack(philox((seed & 0xFFFFFFFF, seed >> 32), (b, h, i, block)), -1)
    words = words.reshape(batch, heads, queries, 4 * words.shape[3])[..., :keys]
    return (words >> np.uint64(8)) / 2.0**24 >= np.float32(probability)


def drop_factors(shape, options):
    """What dropout multiplies the weights by."""
    probability = options.get("dropout_p", 0.0)
    if probability == 0:
        return np.ones(shape)
    seed, indices = options.get("dropout_seed", 0), options.get("rng_indices")
    keep = dropout_mask(shape, probability, seed, indices)
    return keep / (1 - np.float64(np.float32(probability))) if probability < 1 else keep


def attention(query, key, value, scale=None, softcap=0.0, **options):
    """All outputs by name; options are those of the function under test."""
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    batch, heads, queries, dim = query.shape
    keys = key.shape[2]
    key, value = (np.repeat(x, heads // x.shape[1], axis=1) for x in (key, value))
    scale = scale_of(options, scale, dim)

    ok, position = allowed((batch, heads, queries, keys), options)
    terms = Terms(options, position, keys, scale)
    raw = scale * scores(options, terms.content(query), key)
    capped = softcap * np.tanh(raw / softcap) if softcap else raw
    biased = capped + terms.scores(query)
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
    drop = drop_factors(raw.shape, options)

    beyond = np.zeros((batch, 1, queries, keys), bool)
    for name, axis, count in (("q_lengths", 2, queries), ("kv_lengths", 3, keys)):
        if options.get(name) is not None:
            index = np.arange(count).reshape([-1 if a == axis else 1 for a in range(4)])
            lengths = np.broadcast_to(np.asarray(options[name]), (batch,))
            beyond |= index >= lengths[:, None, None, None]
    return {
        "out": np.einsum("bhij,bhjd->bhid", drop * weights, value),
        "lse": lse,
        "row_max": np.where(total > 0, largest, -np.inf)[..., 0],
        "row_sum": total[..., 0],
        "weights": weights,
        "raw": np.where(beyond, -np.inf, raw),
        "capped": np.where(beyond, -np.inf, capped),
        "biased": biased,
        "key_sums": weights.sum(axis=2),
        "dropout_mask": drop > 0,
    }


def gradients(
    grads, query, key, value, scale=None, softcap=0.0, magnitudes=False, **options
):
    """Gradients by the name of the input, from those of the outputs by name.

    With magnitudes, what they would be if no two terms of any sum had different signs:
    what rounding errors are measured by.
    """
    results = attention(query, key, value, scale, softcap, **options)
    weights, lse = results["weights"], results["lse"]
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    batch, heads, queries, dim = query.shape
    group = heads // key.shape[1]
    keys, values = (np.repeat(x, group, axis=1) for x in (key, value))
    scale = scale_of(options, scale, dim)
    drop = drop_factors(weights.shape, options)
    _, position = allowed(weights.shape, options)
    terms = Terms(options, position, keys.shape[2], scale)
    slope_of_cap = 1.0
    if softcap:
        t = np.tanh(results["raw"] / softcap)
        slope_of_cap = (1 - t) * (1 + t)
    minus = -1
    if magnitudes:
        minus = 1
        slope_of_cap = 1.0  # 1 - t is as far off where it is small
        query, keys, values, scale = map(np.abs, (query, keys, values, scale))
        grads = {name: np.abs(grad) for name, grad in grads.items()}
        terms.make_absolute()

    out = np.einsum("bhij,bhjd->bhid", drop * weights, values)
    grad_out = grads.get("out", np.zeros(out.shape))
    grad_lse = grads.get("lse", np.zeros(lse.shape))
    direct = grads.get("weights", np.zeros(weights.shape))
    direct = (
        direct + grads.get("key_sums", np.zeros(weights[:, :, 0].shape))[:, :, None]
    )
    of_weights = drop * np.einsum("bhid,bhjd->bhij", grad_out, values) + direct
    delta = np.sum(grad_out * out, -1) + np.sum(weights * direct, -1)
    row = (grad_lse + minus * delta)[..., None]
    if options.get("q_lengths") is not None:  # what lies beyond is not looked at
        lengths = np.broadcast_to(np.asarray(options["q_lengths"]), (batch,))
        row = row * (np.arange(queries) < lengths[:, None])[:, None, :, None]
    of_scores = weights * (of_weights + row)
    of_products = of_scores * slope_of_cap

    def grouped(array):
        return array.reshape(batch, -1, group, *array.shape[2:]).sum(axis=2)

    of_content, of_key, of_vector = score_gradients(
        options, scale * of_products, terms.content(query), keys, magnitudes
    )
    of_terms, of_query = terms.gradients(of_scores, query, of_content)
    found = {
        "query": of_content + of_query,
        "key": grouped(of_key),
        "value": grouped(np.einsum("bhij,bhid->bhjd", drop * weights, grad_out)),
        **of_terms,
        **of_vector,
    }
    mask = options.get("attn_mask")
    if mask is not None and mask.dtype != bool:
        found["attn_mask"] = reduced(of_scores, mask.shape)
    if options.get("alibi_slopes") is not None:
        distance = np.abs(position - np.arange(keys.shape[2]))
        shape = np.shape(options["alibi_slopes"])
        found["alibi_slopes"] = minus * reduced(
            np.sum(distance * of_scores, (2, 3)), shape
        )
    if options.get("sinks") is not None:
        sinks = np.asarray(options["sinks"], np.float64).reshape(heads, 1)
        found["sinks"] = np.sum(np.exp(sinks - lse) * row[..., 0], (0, 2))
    return found
