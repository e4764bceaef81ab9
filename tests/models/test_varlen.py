"""Packed sequences against torch's own function, a sequence at a time in float64."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention as torch_sdpa

import attn
from rounded import with_exact_weights

LENGTHS = [1, 33, 257, 64, 2, 150]
ROUNDING = {torch.float32: 2e-6, torch.float16: 2.0**-10, torch.bfloat16: 2.0**-7}


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("causal", [None, "top_left"])
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (8, 2), (6, 1)])
def test_a_loop_over_sequences(dtype, causal, heads, kv_heads):
    generator = torch.Generator().manual_seed(4)
    starts = torch.tensor([0, *LENGTHS]).cumsum(0, dtype=torch.int32)
    query, key, value = (
        torch.randn(sum(LENGTHS), count, 64, generator=generator).to(dtype)
        for count in (heads, kv_heads, kv_heads)
    )
    got = attn.varlen_attention(
        query, key, value, starts, starts, causal=causal, enable_gqa=True
    )
    assert got.dtype is dtype
    for first, end in zip(starts, starts[1:]):
        arrays = [a[first:end].transpose(0, 1) for a in (query, key, value)]
        options = {"is_causal": causal is not None, "enable_gqa": True}
        wanted = torch_sdpa(*(a.double() for a in arrays), **options)
        torch.testing.assert_close(
            with_exact_weights(got[first:end].transpose(0, 1), wanted, arrays, options),
            wanted,
            rtol=ROUNDING[dtype],
            atol=2e-6,
        )
