"""What the parts of ``attn.torch`` share."""

from __future__ import annotations

from typing import Any

import torch

from ._arrays import look


def as_tensor(array: Any, name: str) -> torch.Tensor:
    """The array if it is a tensor, else its values."""
    if isinstance(array, torch.Tensor):
        return array
    return torch.from_numpy(look(array, name)[0].copy())


def draw_seed() -> int:
    """A number from 0 to 2^63 - 1, from torch's generator."""
    return int(torch.empty((), dtype=torch.int64).random_())
