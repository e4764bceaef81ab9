"""Additive attention as it is written with torch, by its users.

The sums of all queries and keys are a tensor of queries times keys times features,
which torch also keeps for the gradients.
"""

from __future__ import annotations

import torch


def additive_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    *,
    score_vector: torch.Tensor,
    is_causal: bool = False,
    scale: float | None = None,
) -> torch.Tensor:
    """The arguments are those of attn.torch.additive_attention that are given here."""
    sums = query[:, :, :, None] + key[:, :, None]
    scores = (sums.tanh() @ score_vector[:, None, :, None])[..., 0]
    if scale is not None:
        scores = scores * scale
    if is_causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(later, -torch.inf)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -torch.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return scores.softmax(-1) @ value
