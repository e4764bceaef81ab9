"""Whether two libraries compute the same."""

from __future__ import annotations

import torch

from compare.inputs import Inputs, LayerInputs
from compare.peer import Results
from compare.problem import Problem

# Of the largest number: far more than rounding does to either, far less than a mistake.
TOLERANCE = {"f32": 1e-4, "f16": 5e-3, "bf16": 4e-2}


class DisagreementError(Exception):
    """Two libraries do not compute the same."""


def compare(
    problem: Problem,
    inputs: Inputs | LayerInputs,
    ours: Results,
    theirs: Results,
    name: str,
) -> None:
    """Raises if they differ. name: whose results theirs are.

    Where a query attends nothing, peers promise no number, nor gradients of others.
    """
    titles = ["the result", "grad_query", "grad_key", "grad_value"]
    if isinstance(inputs, LayerInputs):
        titles = [f"result {number}" for number in range(len(ours))]
    elif (attending := inputs.masks.attending) is not None and not attending.all():
        ours, theirs = (
            (torch.where(attending[..., None], results[0], 0),)
            for results in (ours, theirs)
        )
    if len(ours) != len(theirs):
        raise DisagreementError(f"{problem.title}: {name} has {len(theirs)} results")
    for title, one, other in zip(titles, ours, theirs):
        worst = _worst(one, other, TOLERANCE[problem.stored])
        if worst is not None:
            raise DisagreementError(
                f"{problem.title}: libattn and {name} differ in {title} by {worst}"
            )


def _worst(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float) -> str | None:
    """By how much they differ, if that is too much."""
    if ours.shape != theirs.shape:
        return f"their shapes, {tuple(ours.shape)} and {tuple(theirs.shape)}"
    if ours.numel() == 0:
        return None
    ours, theirs = ours.float(), theirs.float()
    worst = float((ours - theirs).abs().max())
    within = worst <= tolerance * float(ours.abs().max())  # not where there is a NaN
    return None if within else f"{worst:.2g}"
