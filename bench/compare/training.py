"""Calls that compute out and gradients, through torch's autograd."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, Callable

import torch

from compare.inputs import Inputs
from compare.peer import LocalCall, Results


def train_call(
    function: Callable[..., torch.Tensor], options: dict[str, Any], inputs: Inputs
) -> LocalCall:
    """Out and the gradients of query, key and value."""

    def leaves(tensors: Iterable[torch.Tensor]) -> Results:
        return tuple(tensor.detach().requires_grad_() for tensor in tensors)

    turns = itertools.cycle([leaves((inputs.query, *kv)) for kv in inputs.keys_values])

    def call() -> Results:
        tensors = next(turns)
        for tensor in tensors:
            tensor.grad = None
        out = function(*tensors, **options)
        out.backward(inputs.grad_out)
        return (out.detach(), *gradients(tensors))

    return LocalCall(call, lambda results: results)


def gradients(tensors: Iterable[torch.Tensor]) -> Results:
    """Of leaves that have one."""
    return tuple(tensor.grad for tensor in tensors if tensor.grad is not None)
