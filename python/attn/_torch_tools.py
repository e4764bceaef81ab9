"""What the parts of ``attn.torch`` share."""

from __future__ import annotations

from typing import Any

import torch

from ._arrays import as_numpy, look
from ._entered import made_once


def as_tensor(array: Any, name: str) -> torch.Tensor:
    """The array if it is a tensor, else its values."""
    if isinstance(array, torch.Tensor):
        return array
    if not isinstance(array, (int, float, list, tuple)):
        made_once(f"{name} is no tensor and has to be copied")
    array = look(array, name)[0]
    values = torch.from_numpy(as_numpy(array).copy())
    return values.view(torch.bfloat16) if array.dtype.name == "bfloat16" else values


def widened(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor; float32 if it is stored in 16 bits."""
    halves = (torch.float16, torch.bfloat16)
    return tensor.float() if tensor.dtype in halves else tensor


def draw_seed() -> int:
    """A number from 0 to 2^63 - 1, from torch's generator."""
    return int(torch.empty((), dtype=torch.int64).random_())
