"""Random problems over all options, by number: the same number is the same problem."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch


class Problem(NamedTuple):
    """Float inputs by name, other options, and gradients of outputs by name.

    What comes in a tuple with a table is an option under "rules", by the table's name.
    """

    inputs: dict[str, torch.Tensor]
    options: dict[str, Any]
    grads: dict[str, torch.Tensor]

    def __str__(self):
        query, value = self.inputs["query"], self.inputs["value"]
        return (
            f"query {tuple(query.shape)}, value {tuple(value.shape)},"
            f" inputs {list(self.inputs)[3:]}, options {list(self.options)},"
            f" gradients of {list(self.grads)}"
        )


class Sizes(NamedTuple):
    """Sizes of a problem."""

    batch: int
    kv_heads: int
    heads: int
    queries: int
    keys: int
    dim: int
    value_dim: int

    @property
    def scores(self):
        return self.batch, self.heads, self.queries, self.keys


def random_problem(number):
    """Problem number; about every fourth option is there."""
    rng = np.random.default_rng((2026, number))
    kv_heads, group = rng.integers(1, 4, 2)
    queries = rng.choice([1, 7, 64, 65, 150, 257])
    keys = rng.choice([7, 33, 64, 65, 150, 257])
    dims = rng.choice([8, 16, 40, 64, 80], 2)
    numbers = (rng.integers(1, 4), kv_heads, kv_heads * group, queries, keys, *dims)
    sizes = Sizes(*map(int, numbers))
    options = {**_positions(rng, sizes), **_masks(rng, sizes), **_others(rng)}
    inputs = _inputs(rng, sizes, with_bias="attn_mask" not in options)
    grads = _grads(rng, sizes)
    tables, rules = _relative(rng, sizes)
    if _is_small(sizes) and rng.random() < 0.3:
        tables, rules = _additive(rng, sizes, tables, rules)
    return Problem({**inputs, **tables}, {**options, **rules}, grads)


def arguments(inputs, options):
    """Inputs and options as attn takes them."""
    options = dict(options)
    tuples = {
        name: (inputs[name], *rule) for name, rule in options.pop("rules").items()
    }
    return {**inputs, **tuples, **options}


def _maybe(rng):
    return rng.random() < 0.25


def _normal(rng, *shape):
    return torch.from_numpy(rng.standard_normal(shape).astype(np.float32))


def _some_of(rng, shape):
    """The shape of a mask that repeats some of the dimensions."""
    return [size if rng.random() < 0.6 else 1 for size in shape]


def _inputs(rng, sizes, with_bias):
    batch, kv_heads, heads, queries, keys, dim, value_dim = sizes
    inputs = {
        "query": _normal(rng, batch, heads, queries, dim),
        "key": _normal(rng, batch, kv_heads, keys, dim),
        "value": _normal(rng, batch, kv_heads, keys, value_dim),
    }
    if with_bias and rng.random() < 0.4:
        bias = _normal(rng, *_some_of(rng, sizes.scores))
        bias[torch.from_numpy(rng.random(bias.shape)) < 0.1] = -torch.inf
        inputs["attn_mask"] = bias
    if _maybe(rng):
        shape = [heads] if _maybe(rng) else [batch, heads]
        inputs["alibi_slopes"] = _normal(rng, *shape) / 10
    if _maybe(rng):
        inputs["sinks"] = _normal(rng, heads)
    return inputs


def _positions(rng, sizes):
    """Masks that go by the positions of queries and keys."""
    options: dict[str, Any] = {}
    batch, queries, keys = sizes.batch, sizes.queries, sizes.keys
    if rng.random() < 0.4:
        options["causal"] = str(rng.choice(["top_left", "bottom_right"]))
        if _maybe(rng):
            options["prefix_lengths"] = rng.integers(0, keys + 1, batch)
    if options.get("causal") != "bottom_right" and _maybe(rng):
        options["query_offsets"] = rng.integers(-queries, keys + 1, batch)
    if _maybe(rng):
        options["window"] = tuple(map(int, rng.integers(-1, keys, 2)))
    if _maybe(rng):
        options["q_lengths"] = rng.integers(0, queries + 1, batch)
    if _maybe(rng):
        options["kv_lengths"] = rng.integers(0, keys + 1, batch)
    return options


def _masks(rng, sizes):
    """Masks of numbers for tokens, blocks and pairs."""
    options: dict[str, Any] = {}
    batch, queries, keys = sizes.batch, sizes.queries, sizes.keys
    if _maybe(rng):
        options["q_documents"] = np.sort(rng.integers(0, 3, (batch, queries)))
        options["k_documents"] = np.sort(rng.integers(0, 3, (batch, keys)))
    if _maybe(rng):
        q_block, k_block = map(int, rng.integers(1, 70, 2))
        blocks = (batch, sizes.heads, -(-queries // q_block), -(-keys // k_block))
        options["block_mask"] = (rng.random(blocks) < 0.7, q_block, k_block)
    if _maybe(rng):
        options["attn_mask"] = rng.random(_some_of(rng, sizes.scores)) < 0.7
    return options


def _others(rng):
    options: dict[str, Any] = {}
    if _maybe(rng):
        options["scale"] = float(rng.uniform(0.02, 0.3))
    if _maybe(rng):
        options["softcap"] = float(rng.uniform(0.5, 5))
    if _maybe(rng):
        options["dropout_p"] = float(np.float32(rng.uniform(0.05, 0.6)))
        options["dropout_seed"] = int(rng.integers(0, 1 << 63))
    return options


def _grads(rng, sizes):
    batch, heads, queries, keys = sizes.scores
    grads = {"out": _normal(rng, batch, heads, queries, sizes.value_dim)}
    if _maybe(rng):
        grads["lse"] = _normal(rng, batch, heads, queries)
    if _maybe(rng):
        grads["weights"] = _normal(rng, *sizes.scores)
    if _maybe(rng):
        grads["key_sums"] = _normal(rng, batch, heads, keys)
    return grads


def _relative(rng, sizes):
    """Tables of relative positions and segments, and the options that go with them."""
    tables, rules = {}, {}
    options: dict[str, Any] = {"rules": rules}
    heads, dim = sizes.heads, sizes.dim
    if _maybe(rng):
        both = bool(rng.random() < 0.5)
        buckets = int(rng.choice([4, 12, 32]))
        tables["relative_bias"] = _normal(rng, buckets, heads)
        rules["relative_bias"] = (buckets + int(rng.integers(0, 150)), both)
    if rng.random() < 0.4:
        rows = int(rng.choice([1, 9, 64, 200, 500]))
        shared = [(), (1,), (heads,)][int(rng.integers(3))]
        tables["relative_keys"] = _normal(rng, *shared, rows, dim)
        rules["relative_keys"] = (int(rng.integers(0, rows)),)
        if rng.random() < 0.5:
            tables["position_bias"] = _normal(rng, heads, dim)
    if _maybe(rng):
        tables["content_bias"] = _normal(rng, heads, dim)
    if rng.random() < 0.4:
        tables["segment_keys"] = _normal(rng, 2, heads, dim)
        options["q_segments"] = rng.integers(0, 3, (sizes.batch, sizes.queries))
        options["k_segments"] = rng.integers(0, 3, (sizes.batch, sizes.keys))
        if rng.random() < 0.5:
            tables["segment_bias"] = _normal(rng, heads, dim)
    if _maybe(rng):
        options["q_ranks"] = rng.integers(0, 90, (sizes.batch, sizes.queries))
        options["k_ranks"] = rng.integers(-9, 60, (sizes.batch, sizes.keys))
        options["ranks"] = str(rng.choice(["up_to", "below"]))
    return tables, options


def _is_small(sizes):
    """Whether the judge has the memory for a tanh of each feature of each pair."""
    return math.prod(sizes.scores) * sizes.dim <= 10_000_000


def _additive(rng, sizes, tables, options):
    """The same with additive scores, and without what does not go with them."""
    products = {"relative_keys", "position_bias", "content_bias", "segment_keys"}
    products |= {"segment_bias", "q_segments", "k_segments"}
    tables, options, rules = (
        {name: one for name, one in some.items() if name not in products}
        for some in (tables, options, options["rules"])
    )
    # Scores of a few units, as products have them.
    vector = _normal(rng, sizes.heads, sizes.dim) * 2 / sizes.dim**0.5
    return {**tables, "score_vector": vector}, {**options, "rules": rules}
