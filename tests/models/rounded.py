"""What weights that are rounded to 16 bits cost, where they are.

So they are where query, key, value and out are bfloat16 and tiles of AMX multiply
(attn/sdpa.h): by 2^-16 of each at the most, and so the result by that part of what
values add up to without their signs.
"""

from __future__ import annotations

import torch
from torch.nn.functional import scaled_dot_product_attention as torch_sdpa

import attn


def with_exact_weights(got, wanted, tensors, options):
    """What was got, nearer to what was wanted by what rounding weights may cost."""
    got = got.double()
    by_tiles = attn.info()["isa"] in ("amx", "pieces")
    if not by_tiles or any(tensor.dtype is not torch.bfloat16 for tensor in tensors):
        return got
    query, key, value = (tensor.detach().double() for tensor in tensors)
    room = 2.0**-16 * torch_sdpa(query, key, value.abs(), **options)
    return got - (got - wanted).clamp(-room, room)
