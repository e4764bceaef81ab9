"""Graphs of OpenVINO around ScaledDotProductAttention, and the tensors they read."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino
import torch
from openvino import opset13

from compare.inputs import LayerInputs
from compare.problem import Problem

TYPES = {
    torch.float32: openvino.Type.f32,
    torch.float16: openvino.Type.f16,
    torch.bfloat16: openvino.Type.bf16,
    torch.bool: openvino.Type.boolean,
}


def shared(tensor: torch.Tensor) -> Any:
    """A tensor in the same memory."""
    raw = tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor
    shape = openvino.Shape(list(tensor.shape))
    return openvino.Tensor(raw.numpy(), shape, TYPES[tensor.dtype])


def read(out: Any, dtype: torch.dtype) -> torch.Tensor:
    """A copy."""
    numbers = np.array(out.data)
    if dtype == torch.bfloat16:
        return torch.from_numpy(numbers.view(np.int16)).view(dtype)
    return torch.from_numpy(numbers)


def constant(*numbers: int) -> Any:
    return opset13.constant(np.array(numbers, np.int64))


def attend(
    key: Any,
    value: Any,
    query: Any,
    mask: Any = None,
    *,
    causal: bool = False,
    scale: float | None = None,
) -> Any:
    factor = None
    if scale is not None:
        factor = opset13.constant(np.float32(scale))
        if mask is None:
            mask = opset13.constant(np.float32(0))  # no scale without a mask
    return opset13.scaled_dot_product_attention(
        query, key, value, mask, factor, causal=causal
    )


def attend_repeated(
    p: Problem, key: Any, value: Any, *others: Any, **options: Any
) -> Any:
    """Each key and value as often as there are heads in its group."""
    group = p.q_heads // p.kv_heads

    def repeated(rows: Any, dim: int) -> Any:
        apart = opset13.unsqueeze(rows, constant(2))
        sizes = (p.batch, p.kv_heads, group, p.kv_length, dim)
        many = opset13.broadcast(apart, constant(*sizes))
        together = constant(p.batch, p.q_heads, p.kv_length, dim)
        return opset13.reshape(many, together, special_zero=False)

    return attend(
        repeated(key, p.key_dim), repeated(value, p.value_dim), *others, **options
    )


def attend_folded(p: Problem, key: Any, value: Any, query: Any, **options: Any) -> Any:
    """The heads of a group as so many queries more of one head."""
    rows = p.q_heads // p.kv_heads * p.q_length
    folded = constant(p.batch, p.kv_heads, rows, p.key_dim)
    whole = constant(p.batch, p.q_heads, p.q_length, p.value_dim)
    query = opset13.reshape(query, folded, special_zero=False)
    out = attend(key, value, query, **options)
    return opset13.reshape(out, whole, special_zero=False)


def layer(p: Problem, inputs: LayerInputs, x: Any) -> Any:
    """Projections, attention and a projection."""
    weights = {name: one.numpy() for name, one in inputs.parameters.items()}

    def project(rows: Any, weight: Any, bias: Any) -> Any:
        product = opset13.matmul(rows, opset13.constant(weight), False, True)
        return opset13.add(product, opset13.constant(bias))

    features = p.q_heads * p.key_dim
    apart = constant(p.batch, p.q_length, p.q_heads, p.key_dim)
    heads = []
    for number in range(3):
        part = slice(number * features, (number + 1) * features)
        bias = weights["in_proj_bias"][part]
        rows = project(x, weights["in_proj_weight"][part], bias)
        rows = opset13.reshape(rows, apart, special_zero=False)
        heads.append(opset13.transpose(rows, constant(0, 2, 1, 3)))
    query, key, value = heads
    out = opset13.transpose(
        attend(key, value, query, causal=p.causal), constant(0, 2, 1, 3)
    )
    whole = constant(p.batch, p.q_length, features)
    out = opset13.reshape(out, whole, special_zero=False)
    return project(out, weights["out_proj.weight"], weights["out_proj.bias"])
