"""Relative positions of models beside the models' own formulas, and torch's autograd.

The formulas build the whole matrix of scores, in float64, as the models do it: tables
are gathered for each pair, or products with all rows are shifted.
"""

from __future__ import annotations

import math

import pytest

from needs import torch_or_skip

torch = torch_or_skip()

import attn.torch  # noqa: E402
from gradients import parameters, same_gradients, widened  # noqa: E402

B, H, D = 2, 4, 16

sdpa = attn.torch.scaled_dot_product_attention


def tensors(*shapes):
    """Random parameters, the same in every run."""
    return parameters(17, *shapes)


def same(ours, theirs, inputs):
    """Compares results of the inputs, and gradients of a loss that weighs each number.

    ours gets the inputs as they are, theirs gets them in float64.
    """
    wide = widened(inputs)
    same_gradients(ours(*inputs), theirs(*wide), inputs, wide)


def softmax(scores, allowed, value):
    """The rest of attention."""
    scores = scores.masked_fill(~allowed, -torch.inf)
    return torch.softmax(scores, dim=-1) @ value


def causal(queries, keys):
    """True where a key is not behind the query, the last query beside the last key."""
    return torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)


# ------------------------------------------------------------------------- T5


def t5_buckets(distance, bidirectional, buckets, max_distance):
    """Of j - p, as T5's code has it: logarithms in float32."""
    first = torch.zeros_like(distance)
    if bidirectional:
        buckets //= 2
        first = buckets * (distance > 0)
        far = distance.abs()
    else:
        far = (-distance).clamp(min=0)
    exact = buckets // 2
    logs = torch.log(far.float() / exact) / math.log(max_distance / exact)
    spread = exact + (logs * (buckets - exact)).to(torch.long)
    spread = spread.clamp(max=buckets - 1)
    return first + torch.where(far < exact, far, spread)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(
    ("buckets", "max_distance"), [(32, 128), (32, 64), (16, 256), (320, 800)]
)
def test_t5_buckets(buckets, max_distance, bidirectional):
    """A table that tells its own row; T5's sizes, and those of models made after it."""
    keys = torch.zeros(4001, 4)
    table = torch.arange(float(buckets))[:, None]
    found = attn.scaled_dot_product_attention(
        keys[:1],
        keys,
        keys,
        query_offsets=2000,
        relative_bias=(table, max_distance, bidirectional),
        return_scores="biased",
    )
    distance = torch.arange(4001) - 2000
    wanted = t5_buckets(distance, bidirectional, buckets, max_distance)
    assert torch.equal(found.scores[0].long(), wanted)
    assert wanted.max() == buckets - 1


@pytest.mark.parametrize(
    ("queries", "keys", "bidirectional"),
    [(50, 50, True), (150, 300, True), (50, 50, False), (1, 200, False)],
)
def test_t5(queries, keys, bidirectional):
    """An encoder, attention to an encoder, a decoder, and one step of it."""
    shapes = (B, H, queries, D), (B, H, keys, D), (B, H, keys, D), (32, H)
    inputs = tensors(*shapes)
    inputs[0] = (inputs[0].detach() / 4).requires_grad_()  # T5 does not scale
    first = 0 if bidirectional else keys - queries
    seen = torch.ones(queries, keys, dtype=torch.bool)
    seen = seen if bidirectional else causal(queries, keys)

    def t5(query, key, value, table):
        positions = first + torch.arange(queries)[:, None]
        distance = torch.arange(keys) - positions
        rows = t5_buckets(distance, bidirectional, 32, 128)
        bias = table[rows].permute(2, 0, 1)
        return softmax(query @ key.transpose(-1, -2) + bias, seen, value)

    def ours(query, key, value, table):
        return sdpa(
            query,
            key,
            value,
            scale=1.0,
            causal=None if bidirectional else "bottom_right",
            relative_bias=(table, 128, bidirectional),
        )

    same(ours, t5, inputs)


# ----------------------------------------------------------------- Shaw et al.


@pytest.mark.parametrize("most", [1, 4, 16, 100])
@pytest.mark.parametrize(("queries", "keys"), [(40, 40), (33, 150)])
def test_shaw(most, queries, keys):
    """A vector for each distance up to most, the same for all heads."""
    shapes = (B, H, queries, D), (B, H, keys, D), (B, H, keys, D), (2 * most + 1, D)

    def shaw(query, key, value, table):
        distance = torch.arange(keys) - torch.arange(queries)[:, None]
        vectors = table[distance.clamp(-most, most) + most]
        scores = query @ key.transpose(-1, -2)
        scores = scores + torch.einsum("bhid,ijd->bhij", query, vectors)
        return torch.softmax(scores / math.sqrt(D), dim=-1) @ value

    def ours(query, key, value, table):
        return sdpa(query, key, value, relative_keys=(table, most))

    same(ours, shaw, tensors(*shapes))


# -------------------------------------------------- Transformer-XL and XLNet


def shifted(products, keys):
    """Row i moved i steps to the left, so that columns of distances become keys."""
    batch, heads, queries, rows = products.shape
    turned = products.reshape(batch, heads, rows, queries)[:, :, 1:]
    return turned.reshape(batch, heads, queries, rows - 1)[..., :keys]


@pytest.mark.parametrize(("queries", "memory"), [(30, 0), (30, 45), (1, 90)])
def test_transformer_xl(queries, memory):
    """Queries after a memory; a row for each distance back, the farthest first."""
    keys = memory + queries
    shapes = [(B, H, queries, D), (B, H, keys, D), (B, H, keys, D)]
    shapes += [(keys, H, D), (H, D), (H, D)]

    def transformer_xl(query, key, value, rows, u, v):
        products = torch.einsum("bhid,rhd->bhir", query + v[:, None], rows)
        padded = torch.nn.functional.pad(products, (1, 0))
        scores = (query + u[:, None]) @ key.transpose(-1, -2) + shifted(padded, keys)
        return softmax(scores / math.sqrt(D), causal(queries, keys), value)

    def ours(query, key, value, rows, u, v):
        return sdpa(
            query,
            key,
            value,
            causal="bottom_right",
            relative_keys=(rows.transpose(0, 1), keys - 1),
            content_bias=u,
            position_bias=v,
        )

    same(ours, transformer_xl, tensors(*shapes))


@pytest.mark.parametrize(
    ("stream", "queries", "memory"),
    [("content", 30, 0), ("content", 70, 130), ("query", 30, 45), ("query", 70, 130)],
)
def test_xlnet(stream, queries, memory):
    """scale [(q + u) k + (q + v) r + (q + s) e], of what comes before in an order.

    Rows are of the distances keys, keys - 1, ... down to 1 - queries: the row of a key
    beside the query is number keys. The query stream does not see the token itself.
    """
    keys = memory + queries
    shapes = [(B, H, queries, D), (B, H, keys, D), (B, H, keys, D)]
    shapes += [(keys + queries, H, D), (2, H, D), (H, D), (H, D), (H, D)]
    generator = torch.Generator().manual_seed(3)
    order = torch.stack(
        [torch.randperm(queries, generator=generator) for _ in range(B)]
    )
    of_memory = torch.full((B, memory), -1)
    of_keys = torch.cat((of_memory, order), dim=1)
    segments = torch.randint(0, 2, (B, keys), generator=generator)
    own = segments[:, memory:]
    before = torch.lt if stream == "query" else torch.le
    seen = before(of_keys[:, None], order[:, :, None])

    def xlnet(query, key, value, rows, e, u, v, s):
        scores = (query + u[:, None]) @ key.transpose(-1, -2)
        products = torch.einsum("bhid,rhd->bhir", query + v[:, None], rows)
        scores = scores + shifted(products, keys)
        of_segments = torch.einsum("bhid,nhd->bhin", query + s[:, None], e)
        differ = (own[:, :, None] != segments[:, None])[:, None]
        same_segment, other = of_segments.split(1, dim=-1)
        scores = scores + torch.where(differ, other, same_segment)
        return softmax(scores / math.sqrt(D), seen[:, None], value)

    def ours(query, key, value, rows, e, u, v, s):
        return sdpa(
            query,
            key,
            value,
            query_offsets=memory,
            relative_keys=(rows.transpose(0, 1), keys),
            content_bias=u,
            position_bias=v,
            q_segments=own,
            k_segments=segments,
            segment_keys=e,
            segment_bias=s,
            q_ranks=order,
            k_ranks=of_keys,
            ranks="below" if stream == "query" else "up_to",
        )

    same(ours, xlnet, tensors(*shapes))
