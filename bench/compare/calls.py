"""One problem as a call of libattn and a call of PyTorch.

Both take the same torch tensors and allocate what they return, as their users call
them. With backward, both go through autograd: the forward call, then .backward().
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Callable

import torch

import attn.torch
from compare.inputs import Inputs, make_inputs
from compare.layers import layer_calls
from compare.problem import Problem

OURS, THEIRS = "libattn", "PyTorch"
LIBRARIES = (OURS, THEIRS)

# Of the largest number: far more than rounding does to either, far less than a mistake.
TOLERANCE = {"f32": 1e-4, "f16": 5e-3, "bf16": 4e-2}


class DisagreementError(Exception):
    """The two libraries do not compute the same."""


@dataclass
class Pair:
    """The calls of a problem, by library, and what they return together."""

    problem: Problem
    call: dict[str, Callable[[], Any]]
    seconds: dict[tuple[str, int], list[float]] = field(default_factory=dict)


def make_pair(problem: Problem) -> Pair:
    """Makes the tensors of a problem and checks that both libraries agree on it."""
    if problem.layer:
        calls = layer_calls(problem, OURS, THEIRS)
        _compare_layers(problem, calls)
        return Pair(problem, calls)
    inputs = make_inputs(problem)
    options = {
        "dropout_p": problem.dropout,
        "scale": problem.scale,
        "enable_gqa": problem.q_heads != problem.kv_heads,
    }
    functions: dict[str, Callable[..., torch.Tensor]] = {
        OURS: attn.torch.scaled_dot_product_attention,
        THEIRS: torch.nn.functional.scaled_dot_product_attention,
    }
    masks = {OURS: inputs.masks.ours, THEIRS: inputs.masks.theirs}
    calls = {}
    for name, function in functions.items():
        call = _train if problem.backward else _infer
        calls[name] = call(function, {**options, **masks[name]}, inputs)
    if problem.dropout == 0:
        _compare(problem, inputs, calls)
    return Pair(problem, calls)


def _infer(
    function: Callable[..., torch.Tensor], options: dict[str, Any], inputs: Inputs
) -> Callable[[], tuple[torch.Tensor, ...]]:
    """The call that computes out."""
    turns = itertools.cycle(inputs.keys_values)

    def call() -> tuple[torch.Tensor, ...]:
        key, value = next(turns)
        with torch.no_grad():
            return (function(inputs.query, key, value, **options),)

    return call


def _train(
    function: Callable[..., torch.Tensor], options: dict[str, Any], inputs: Inputs
) -> Callable[[], tuple[torch.Tensor, ...]]:
    """The call that computes out and the gradients of query, key and value."""

    def leaves(tensors: Iterable[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        return tuple(tensor.detach().requires_grad_() for tensor in tensors)

    turns = itertools.cycle([leaves((inputs.query, *kv)) for kv in inputs.keys_values])

    def call() -> tuple[torch.Tensor, ...]:
        tensors = next(turns)
        for tensor in tensors:
            tensor.grad = None
        out = function(*tensors, **options)
        out.backward(inputs.grad_out)
        return (out.detach(), *(tensor.grad for tensor in tensors))

    return call


def _compare(
    problem: Problem, inputs: Inputs, calls: dict[str, Callable[[], Any]]
) -> None:
    """Runs both once. Where a query attends nothing, PyTorch promises no number."""
    got, wanted = list(calls[OURS]()), list(calls[THEIRS]())
    attending = inputs.masks.attending
    names = ["the result", "grad_query", "grad_key", "grad_value"]
    if attending is not None and not attending.all():
        del names[1:]
        for results in (got, wanted):
            results[0] = torch.where(attending[..., None], results[0], 0)
    for name, ours, theirs in zip(names, got, wanted):
        _compare_one(problem, name, ours, theirs)


def _compare_layers(problem: Problem, calls: dict[str, Callable[[], Any]]) -> None:
    """Runs both once."""
    for number, (ours, theirs) in enumerate(zip(calls[OURS](), calls[THEIRS]())):
        _compare_one(problem, f"result {number}", ours, theirs)


def _compare_one(
    problem: Problem, name: str, ours: torch.Tensor, theirs: torch.Tensor
) -> None:
    if theirs.numel() == 0:
        return
    worst = float((ours.float() - theirs.float()).abs().max())
    if not worst <= TOLERANCE[problem.stored] * float(theirs.abs().max()):
        raise DisagreementError(
            f"{problem.title}: libattn and PyTorch differ in {name} by {worst:.2g}"
        )
