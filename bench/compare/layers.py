"""A multi-head layer with its projections as a module of torch.

Self-attention of heads times dim features, (batch, length, features). libattn and
PyTorch have the same module, with the same parameters. Those of ONNX Runtime and
OpenVINO never change; of libattn neither, where a problem says that they are constant.
Nor do the buffers of ONNX Runtime and OpenVINO; of libattn where a problem is bound.
"""

from __future__ import annotations

from typing import Any

import torch

import attn
from compare.inputs import LayerInputs
from compare.peer import LocalCall, Results
from compare.problem import Problem
from compare.training import gradients


def layer_call(
    problem: Problem, inputs: LayerInputs, module: Any, **causal: Any
) -> LocalCall:
    """The forward call; with backward also the gradients, of parameters too.

    causal: what the module is told besides, if the problem is causal.
    """
    x = inputs.x
    layer = module(x.shape[-1], problem.q_heads, batch_first=True)
    layer.load_state_dict(inputs.parameters)
    layer.train(problem.backward).requires_grad_(problem.backward)
    if problem.constant and hasattr(layer, "pack_weights"):
        layer.pack_weights()
    options: dict[str, Any] = {"need_weights": False}
    if problem.causal:
        options.update(causal, is_causal=True)
    if problem.backward:
        return _train(layer, inputs, options)

    if problem.bound and layer.__module__.startswith("attn."):
        bound = attn.bind(layer, x, x, x, **options)
        return LocalCall(bound, lambda result: result[:1])

    def call() -> torch.Tensor:
        out: torch.Tensor = layer(x, x, x, **options)[0]
        return out

    return LocalCall(call, lambda out: (out,))


def _train(layer: Any, inputs: LayerInputs, options: dict[str, Any]) -> LocalCall:
    leaf = inputs.x.clone().requires_grad_()
    leaves = [leaf, *(one for _, one in sorted(layer.named_parameters()))]

    def call() -> Results:
        for tensor in leaves:
            tensor.grad = None
        output = layer(leaf, leaf, leaf, **options)[0]
        output.backward(inputs.grad)
        return (output.detach(), *gradients(leaves))

    return LocalCall(call, lambda results: results)
