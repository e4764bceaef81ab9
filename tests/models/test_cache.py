"""Decoding with a cache against torch's function on all keys, step by step."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention as torch_sdpa

import attn

LAYERS, BATCH, DIM = 2, 3, 64
STEPS = [37, 1, 1, 1, 4, 1, 90, 1]  # a prompt, tokens, tokens that were guessed, ...
ROUNDING = {torch.float32: 2e-6, torch.float16: 2.0**-10, torch.bfloat16: 2.0**-7}


def full(query, key, value):
    """The last queries of all keys, in float64."""
    queries, keys = query.shape[2], key.shape[2]
    ok = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)
    arrays = (query.double(), key.double(), value.double())
    return torch_sdpa(*arrays, attn_mask=ok, enable_gqa=True)


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("page_size", [None, 16])
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (8, 2), (8, 1)])
def test_step_by_step(dtype, page_size, heads, kv_heads):
    generator = torch.Generator().manual_seed(6)
    cache = attn.KVCache(
        BATCH,
        kv_heads,
        DIM,
        capacity=sum(STEPS),
        layers=LAYERS,
        dtype=dtype,
        page_size=page_size,
    )
    shape = (2, LAYERS, BATCH, kv_heads, sum(STEPS), DIM)
    keys, values = torch.randn(shape, generator=generator).to(dtype)
    end = 0
    for length in STEPS:
        end += length
        for layer in range(LAYERS):
            query = torch.randn(BATCH, heads, length, DIM, generator=generator)
            query = query.to(dtype)
            key, value = keys[layer, :, :, :end], values[layer, :, :, :end]
            cache.append(key[:, :, -length:], value[:, :, -length:], layer=layer)
            got = cache.attend(query, layer=layer)
            assert got.dtype is dtype
            torch.testing.assert_close(
                got.double(), full(query, key, value), rtol=ROUNDING[dtype], atol=2e-6
            )
    assert cache.length(BATCH - 1, LAYERS - 1) == sum(STEPS)


def test_bytes_are_near():
    """A scale for each row: the error of a number is up to 1/254 of its largest."""
    generator = torch.Generator().manual_seed(7)
    cache = attn.KVCache(BATCH, 2, DIM, capacity=200, dtype="int8")
    key, value = torch.randn(2, BATCH, 2, 150, DIM, generator=generator)
    query = torch.randn(BATCH, 8, 5, DIM, generator=generator)
    cache.append(key, value)
    wanted = full(query, key, value)
    error = (cache.attend(query).double() - wanted).square().mean().sqrt()
    assert error < 0.02 * wanted.square().mean().sqrt()
