"""A multi-head layer as a call of attn.torch and a call of PyTorch.

Self-attention with its projections, of heads times dim features, (batch, length,
features), with the same parameters on both sides.
"""

from __future__ import annotations

import ctypes
from typing import Any, Callable

import torch

import attn.torch
from compare.problem import Problem

# Where the BLAS that libattn uses may be found, to give it as many threads as the rest.
_BLAS = ("libblas.so.3", "libopenblas.so.0")


def layer_calls(
    problem: Problem, ours: str, theirs: str
) -> dict[str, Callable[[], Any]]:
    """The calls by library; with backward they return gradients too."""
    torch.manual_seed(problem.seed)
    features = problem.q_heads * problem.key_dim
    heads = problem.q_heads
    layers: dict[str, Any] = {
        theirs: torch.nn.MultiheadAttention(features, heads, batch_first=True),
        ours: attn.torch.MultiheadAttention(features, heads, batch_first=True),
    }
    layers[ours].load_state_dict(layers[theirs].state_dict())
    x = torch.randn(problem.batch, problem.q_length, features)
    grad = torch.randn_like(x)
    calls = {}
    for name, layer in layers.items():
        options: dict[str, Any] = {"need_weights": False}
        if problem.causal:
            options["is_causal"] = True
            if name == theirs:
                size = problem.q_length
                options["attn_mask"] = torch.ones(size, size).triu(1).bool()
        train = problem.backward
        layer.train(train)
        call = _train if train else _infer
        calls[name] = call(layer, x, grad, options)
    return calls


def _infer(
    layer: Any, x: torch.Tensor, _: torch.Tensor, options: dict[str, Any]
) -> Callable[[], tuple[torch.Tensor, ...]]:
    def call() -> tuple[torch.Tensor, ...]:
        with torch.no_grad():
            return (layer(x, x, x, **options)[0],)

    return call


def _train(
    layer: Any, x: torch.Tensor, grad: torch.Tensor, options: dict[str, Any]
) -> Callable[[], tuple[torch.Tensor, ...]]:
    parameters = [parameter for _, parameter in sorted(layer.named_parameters())]
    leaf = x.clone().requires_grad_()

    def call() -> tuple[torch.Tensor, ...]:
        for tensor in (leaf, *parameters):
            tensor.grad = None
        output = layer(leaf, leaf, leaf, **options)[0]
        output.backward(grad)
        return (output.detach(), *(tensor.grad for tensor in (leaf, *parameters)))

    return call


def set_blas_threads(threads: int) -> None:
    """Gives OpenBLAS this many threads, if it is what libattn uses."""
    for name in _BLAS:
        try:
            ctypes.CDLL(name).openblas_set_num_threads(threads)
        except (OSError, AttributeError):
            continue
        return
