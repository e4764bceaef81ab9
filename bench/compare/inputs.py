"""The tensors of a problem.

They are made as attn_bench makes its own (``attn_bench --help``), of other numbers.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from compare.masks import Masks, make_masks
from compare.problem import Problem

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
FEW_QUERIES = 16  # with fewer, reading keys and values is what a call costs


@dataclass
class Inputs:
    """What both calls read."""

    query: torch.Tensor
    keys_values: list[tuple[torch.Tensor, torch.Tensor]]  # one or, to take turns, more
    masks: Masks
    grad_out: torch.Tensor | None  # with backward


def make_inputs(problem: Problem) -> Inputs:
    """The same tensors for the same problem."""
    torch.manual_seed(problem.seed)
    p = problem
    query = _tensor(p, p.q_heads, p.q_length, p.key_dim)
    key = _tensor(p, p.kv_heads, p.kv_length, p.key_dim)
    value = _tensor(p, p.kv_heads, p.kv_length, p.value_dim)
    grad_out = None
    if p.backward:
        grad_out = _tensor(p, p.q_heads, p.q_length, p.value_dim)
    keys_values = [(key, value)]
    size = key.element_size() * (key.numel() + value.numel())
    for _ in range(_copies(p, size)):
        keys_values.append((key.clone(), value.clone()))
    return Inputs(query, keys_values, make_masks(p), grad_out)


def _tensor(p: Problem, heads: int, length: int, dim: int) -> torch.Tensor:
    dtype = DTYPES[p.stored]
    if p.bshd:
        return torch.randn(p.batch, length, heads, dim).to(dtype).transpose(1, 2)
    return torch.randn(p.batch, heads, length, dim).to(dtype)


def _copies(p: Problem, size: int) -> int:
    """How many more keys and values of so many bytes it takes to leave every cache."""
    if p.q_length >= FEW_QUERIES or size < 1 << 20:
        return 0
    names = getattr(os, "sysconf_names", {})
    cache = os.sysconf("SC_LEVEL3_CACHE_SIZE") if "SC_LEVEL3_CACHE_SIZE" in names else 0
    return min(max(4 * cache, 1 << 27), 1 << 30) // size
