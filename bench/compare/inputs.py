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


@dataclass
class Packed:
    """The rows of all sequences, one after the other, and where each one starts."""

    query: torch.Tensor  # (total, heads, dim)
    key: torch.Tensor
    value: torch.Tensor
    q_starts: torch.Tensor  # one more than there are sequences
    k_starts: torch.Tensor


@dataclass
class Inputs:
    """What all calls read."""

    query: torch.Tensor
    keys_values: list[tuple[torch.Tensor, torch.Tensor]]  # one or, to take turns, more
    masks: Masks
    grad_out: torch.Tensor | None  # with backward
    packed: Packed | None  # the rows within their lengths
    vector: torch.Tensor | None = None  # of additive scores, (heads, dim)


@dataclass
class LayerInputs:
    """What the calls of a layer read: self-attention of x, with these parameters."""

    x: torch.Tensor  # (batch, length, features)
    grad: torch.Tensor  # of the result
    parameters: dict[str, torch.Tensor]  # by the names of torch.nn.MultiheadAttention


def make_inputs(problem: Problem) -> Inputs | LayerInputs:
    """The same tensors for the same problem."""
    torch.manual_seed(problem.seed)
    if problem.layer:
        return _make_layer(problem)
    p = problem
    query = _tensor(p, p.q_heads, p.q_length, p.key_dim)
    key = _tensor(p, p.kv_heads, p.kv_length, p.key_dim)
    value = _tensor(p, p.kv_heads, p.kv_length, p.value_dim)
    grad_out = None
    if p.backward:
        grad_out = _tensor(p, p.q_heads, p.q_length, p.value_dim)
    keys_values = [(key, value)]
    for _ in range(copies(p)):
        keys_values.append((key.clone(), value.clone()))
    masks = make_masks(p)
    packed = _pack(query, key, value, masks) if p.packed else None
    vector = torch.randn(p.q_heads, p.key_dim) if p.additive else None
    return Inputs(query, keys_values, masks, grad_out, packed, vector)


def copies(p: Problem) -> int:
    """How many more keys and values it takes to leave every cache."""
    size = p.kv_bytes
    if not p.few_queries or size < 1 << 20:
        return 0
    names = getattr(os, "sysconf_names", {})
    cache = os.sysconf("SC_LEVEL3_CACHE_SIZE") if "SC_LEVEL3_CACHE_SIZE" in names else 0
    return min(max(4 * cache, 1 << 27), 1 << 30) // size


def input_bytes(p: Problem) -> int:
    """About how much memory the tensors take."""
    pairs = p.q_heads * p.q_length * p.kv_length if p.masked or p.bias or p.alibi else 0
    rows = p.batch * p.q_heads * p.q_length
    if p.additive:  # the sums of all queries and keys, and their tanh
        pairs += 2 * rows * p.kv_length * p.key_dim
    return p.kv_bytes * (1 + copies(p)) + 4 * (pairs + 2 * rows * p.key_dim)


def _make_layer(p: Problem) -> LayerInputs:
    features = p.q_heads * p.key_dim
    layer = torch.nn.MultiheadAttention(features, p.q_heads, batch_first=True)
    parameters = {name: one.detach() for name, one in layer.named_parameters()}
    for name in ("in_proj_bias", "out_proj.bias"):  # that start as zeros
        parameters[name].normal_(std=0.1)
    x = torch.randn(p.batch, p.q_length, features)
    return LayerInputs(x, torch.randn_like(x), parameters)


def _tensor(p: Problem, heads: int, length: int, dim: int) -> torch.Tensor:
    dtype = DTYPES[p.stored]
    if p.bshd:
        return torch.randn(p.batch, length, heads, dim).to(dtype).transpose(1, 2)
    return torch.randn(p.batch, heads, length, dim).to(dtype)


def _pack(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, masks: Masks
) -> Packed:
    """Takes the lengths out of the masks: packed rows need none."""
    q_lengths, k_lengths = (masks.ours.pop(f"{one}_lengths") for one in ("q", "kv"))
    return Packed(
        pack_rows(query, q_lengths),
        pack_rows(key, k_lengths),
        pack_rows(value, k_lengths),
        _starts(q_lengths),
        _starts(k_lengths),
    )


def pack_rows(padded: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """The first rows of each sequence, (batch, heads, rows, dim), one after another."""
    rows = [one[:, :length] for one, length in zip(padded, lengths.tolist())]
    return torch.cat([row.transpose(0, 1) for row in rows])


def unpack_rows(
    packed: torch.Tensor, starts: torch.Tensor, length: int
) -> torch.Tensor:
    """The opposite, with zeros for rows that are not there."""
    bounds = starts.tolist()
    padded = packed.new_zeros(len(bounds) - 1, packed.shape[1], length, packed.shape[2])
    for one, first, end in zip(padded, bounds, bounds[1:]):
        one[:, : end - first] = packed[first:end].transpose(0, 1)
    return padded


def _starts(lengths: torch.Tensor) -> torch.Tensor:
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
