"""The masks of a problem, for libattn and for its peers.

libattn has an argument for each. PyTorch's function has is_causal; all others become
the one mask that its users would build, which other peers take, too. Making it is not
measured.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from compare.problem import Problem

NO_BOUND = 1 << 60


@dataclass
class Masks:
    """Arguments for both functions, and which queries are worth comparing.

    ours: of attn.scaled_dot_product_attention; theirs: of PyTorch's function.
    """

    ours: dict[str, Any] = field(default_factory=dict)
    theirs: dict[str, Any] = field(default_factory=dict)
    attending: torch.Tensor | None = None  # queries that attend something; None: all
    kv_lengths: torch.Tensor | None = None  # of each sequence, for peers that take them
    shifted: bool = False  # whether first queries do not stand beside first keys


@dataclass
class _Terms:
    """What PyTorch's mask is made of: booleans, all to hold, and what is added."""

    keeps: list[torch.Tensor] = field(default_factory=list)
    bias: torch.Tensor | None = None

    def keep(self) -> torch.Tensor | None:
        """All booleans as one."""
        whole: torch.Tensor | None = None
        for part in self.keeps:
            whole = part if whole is None else whole & part
        return whole


def make_masks(p: Problem) -> Masks:
    """The same for the same state of torch's generator."""
    masks, terms = Masks(), _Terms()
    within = _lengths(p, masks, terms)
    offsets = _offsets(p, masks)
    masks.shifted = bool(offsets.any())
    _positions(p, offsets, masks, terms)
    _documents(p, masks, terms)
    _blocks(p, masks, terms)
    _whole(p, masks, terms)
    plain = not terms.keeps and terms.bias is None and not masks.shifted
    masks.theirs["is_causal"] = p.causal and plain
    if p.causal:
        masks.ours["causal"] = "bottom_right" if p.bottom_right else "top_left"
        past = _distance(p, offsets) >= 0
        if not plain and not past.all():  # as for a last query, which attends all
            terms.keeps.append(past)
    if p.softcap != 0:
        masks.ours["softcap"] = p.softcap
    keep = terms.keep()
    masks.theirs["attn_mask"] = _one_mask(keep, terms.bias)
    if keep is not None:
        masks.attending = keep.any(-1) if within is None else keep.any(-1) & within
    else:
        masks.attending = within
    return masks


def _steps(p: Problem, size: int, order: torch.Tensor) -> torch.Tensor:
    """Lengths in even steps, or skewed, from a sixteenth of size to all of it."""
    steps = max(p.batch - 1, 1)
    if p.skewed:
        return torch.ceil(size * 16.0 ** (-order / steps)).to(torch.int64)
    least = (size + 15) // 16
    return size - (size - least) * order // steps


def _lengths(p: Problem, masks: Masks, terms: _Terms) -> torch.Tensor | None:
    """Returns which queries are within their lengths."""
    order = torch.randperm(p.batch)
    within = None
    if p.q_lengths or p.packed:
        masks.ours["q_lengths"] = lengths = _steps(p, p.q_length, order)
        within = (torch.arange(p.q_length) < lengths[:, None])[:, None]
    if p.kv_lengths or p.packed:
        masks.ours["kv_lengths"] = lengths = _steps(p, p.kv_length, order)
        masks.kv_lengths = lengths
        inside = torch.arange(p.kv_length) < lengths[:, None]
        terms.keeps.append(inside[:, None, None])
    return within


def _offsets(p: Problem, masks: Masks) -> torch.Tensor:
    """How far each batch element's first query stands from its first key."""
    sizes = torch.zeros(p.batch, dtype=torch.int64)
    if not p.bottom_right:
        return sizes
    queries = masks.ours.get("q_lengths", sizes + p.q_length)
    keys = masks.ours.get("kv_lengths", sizes + p.kv_length)
    return keys - queries


def _distance(p: Problem, offsets: torch.Tensor) -> torch.Tensor:
    """Position of each query less that of each key."""
    offsets = offsets if offsets.any() else offsets[:1]
    queries = torch.arange(p.q_length) + offsets[:, None]
    return (queries[:, :, None] - torch.arange(p.kv_length))[:, None]


def _positions(p: Problem, offsets: torch.Tensor, masks: Masks, terms: _Terms) -> None:
    """Window and ALiBi."""
    if p.window == (-1, -1) and not p.alibi:
        return
    distance = _distance(p, offsets)
    if not p.causal and offsets.any():
        masks.ours["query_offsets"] = offsets
    if p.window != (-1, -1):
        left, right = (bound if bound >= 0 else NO_BOUND for bound in p.window)
        masks.ours["window"] = p.window
        terms.keeps.append((distance <= left) & (-distance <= right))
    if p.alibi:
        heads = torch.arange(1, p.q_heads + 1)
        masks.ours["alibi_slopes"] = slopes = torch.exp2(-8.0 * heads / p.q_heads)
        terms.bias = -slopes[:, None, None] * distance.abs()


def _documents(p: Problem, masks: Masks, terms: _Terms) -> None:
    """Each sequence is cut into eight at random places."""
    if not p.documents:
        return
    cuts = torch.rand(p.batch, 7, 1)

    def documents(size: int) -> torch.Tensor:
        return (torch.arange(size) >= cuts * size).sum(1)

    masks.ours["q_documents"] = queries = documents(p.q_length)
    masks.ours["k_documents"] = keys = documents(p.kv_length)
    terms.keeps.append((queries[:, :, None] == keys[:, None, :])[:, None])


def _blocks(p: Problem, masks: Masks, terms: _Terms) -> None:
    """A quarter of the blocks of each head, and those on the diagonal."""
    if p.block == (0, 0):
        return
    rows, columns = -(-p.q_length // p.block[0]), -(-p.kv_length // p.block[1])
    diagonal = torch.arange(rows)[:, None] * columns // rows == torch.arange(columns)
    blocks = (torch.rand(p.q_heads, rows, columns) < 0.25) | diagonal
    masks.ours["block_mask"] = (blocks, *p.block)
    tall = blocks.repeat_interleave(p.block[0], 1)[:, : p.q_length]
    terms.keeps.append(tall.repeat_interleave(p.block[1], 2)[:, :, : p.kv_length])


def _whole(p: Problem, masks: Masks, terms: _Terms) -> None:
    """A mask (q, k) that keeps 7 of 8 pairs, and a bias (heads, q, k)."""
    mask = torch.rand(p.q_length, p.kv_length) < 0.875 if p.mask else None
    bias = torch.randn(p.q_heads, p.q_length, p.kv_length) if p.bias else None
    masks.ours["attn_mask"] = _one_mask(mask, bias)
    if mask is not None:
        terms.keeps.append(mask)
    if bias is not None:
        terms.bias = bias if terms.bias is None else terms.bias + bias


def _one_mask(
    keep: torch.Tensor | None, bias: torch.Tensor | None
) -> torch.Tensor | None:
    """What either function takes as attn_mask: booleans, or numbers and -inf."""
    if keep is None or bias is None:
        return keep if bias is None else bias
    return torch.where(keep, bias, -torch.inf)


def full_mask(mask: torch.Tensor, p: Problem) -> torch.Tensor:
    """With four dimensions, the first two of one or all; some peers want it so."""
    while mask.dim() < 4:
        mask = mask[None]
    return mask.expand(-1, -1, p.q_length, p.kv_length).contiguous()
