"""Models of one operator of ONNX for a problem, and the tensors that they read.

Attention of ONNX, opset 24, takes every problem. Of com.microsoft, MultiHeadAttention
takes those without groups of heads, and GroupQueryAttention causal ones and caches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from compare.inputs import Inputs, LayerInputs
from compare.masks import full_mask
from compare.problem import Problem

MICROSOFT = "com.microsoft"


@dataclass
class Node:
    """An operator; inputs of no name are left out."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    domain: str = ""


@dataclass
class Model:
    """Operators, and the tensors that they read and write; "out" is the result."""

    nodes: list[Node]
    inputs: dict[str, torch.Tensor]
    outputs: dict[str, torch.Tensor]
    constants: dict[str, torch.Tensor] = field(default_factory=dict)
    # tensors that stand in for those of the same name, call by call
    turns: list[dict[str, torch.Tensor]] = field(default_factory=lambda: [{}])


def models(problem: Problem, inputs: Inputs) -> Iterator[Model]:
    """Every way to compute it."""
    p = problem
    if p.cache and _appended(p):
        yield _cached(p, inputs)
    yield _attention(p, inputs)
    ungrouped = p.q_heads == p.kv_heads
    if ungrouped and p.softcap == 0 and p.stored == "f32":
        yield _multi_head(p, inputs)
    if p.causal and p.q_length == p.kv_length and _grouped(p):
        yield _group_query(p, inputs)


def _attention(p: Problem, inputs: Inputs) -> Model:
    """Attention of ONNX, on tensors as PyTorch's: (batch, heads, length, dim)."""
    given = {"query": inputs.query.contiguous()}
    mask = inputs.masks.theirs["attn_mask"]
    if mask is not None:
        given["mask"] = full_mask(mask, p)
        if mask.dtype != torch.bool:
            given["mask"] = given["mask"].to(inputs.query.dtype)
    attributes: dict[str, Any] = {"is_causal": int(inputs.masks.theirs["is_causal"])}
    if p.scale is not None:
        attributes["scale"] = p.scale
    if p.softcap != 0:
        attributes["softcap"] = p.softcap
    names = ("query", "key", "value", "mask" if mask is not None else "")
    out = inputs.query.new_empty(p.batch, p.q_heads, p.q_length, p.value_dim)
    turns = [
        {"key": key.contiguous(), "value": value.contiguous()}
        for key, value in inputs.keys_values
    ]
    node = Node("Attention", names, ("out",), attributes)
    return Model([node], {**given, **turns[0]}, {"out": out}, turns=turns)


def _multi_head(p: Problem, inputs: Inputs) -> Model:
    """Heads lie side by side in each row: (batch, length, heads * dim)."""
    masks = inputs.masks
    given = {"query": _rows(inputs.query)}
    attributes: dict[str, Any] = {"num_heads": p.q_heads}
    if p.scale is not None:
        attributes["scale"] = p.scale
    lengths, bias = "", ""
    if masks.kv_lengths is not None and _only_lengths(p) and not masks.shifted:
        lengths = "lengths"
        given[lengths] = masks.kv_lengths.to(torch.int32)
        attributes["unidirectional"] = int(p.causal)
    else:
        attributes["unidirectional"] = int(masks.theirs["is_causal"])
        mask = masks.theirs["attn_mask"]
        if mask is not None:
            bias = "bias"
            given[bias] = _added(full_mask(mask, p))
    names = ("query", "key", "value", "", lengths, bias)
    turns = [{"key": _rows(k), "value": _rows(v)} for k, v in inputs.keys_values]
    node = Node("MultiHeadAttention", names, ("out",), attributes, MICROSOFT)
    out = _out_rows(p, inputs)
    return Model([node], {**given, **turns[0]}, {"out": out}, turns=turns)


def _group_query(p: Problem, inputs: Inputs) -> Model:
    """A prompt, whose keys and values it also copies into its cache."""
    lengths = inputs.masks.kv_lengths
    if lengths is None:
        lengths = torch.full((p.batch,), p.kv_length)
    key, value = inputs.keys_values[0]
    given = {
        "query": _rows(inputs.query),
        "key": _rows(key),
        "value": _rows(value),
        "last": (lengths - 1).to(torch.int32),
        "total": torch.tensor([p.kv_length], dtype=torch.int32),
    }
    outputs = {
        "out": _out_rows(p, inputs),
        "present_key": torch.empty_like(key).contiguous(),
        "present_value": torch.empty_like(value).contiguous(),
    }
    names = ("query", "key", "value", "", "", "last", "total")
    return Model([_group_query_node(p, names)], given, outputs)


def _cached(p: Problem, inputs: Inputs) -> Model:
    """From a cache, which it reads and writes in place.

    Beyond attention, it appends the keys and values of the queries' own tokens. They
    are the last ones of the tensors, so appending them again changes nothing.
    """
    lengths = inputs.masks.kv_lengths
    if lengths is None:
        lengths = torch.full((p.batch,), p.kv_length)
    new = lengths[:, None] + torch.arange(-p.q_length, 0)
    key, value = inputs.keys_values[0]

    def rows_of(tensor: torch.Tensor) -> torch.Tensor:
        index = new[:, None, :, None].expand(-1, p.kv_heads, -1, tensor.shape[-1])
        return _rows(tensor.gather(2, index))

    given = {
        "query": _rows(inputs.query),
        "key": rows_of(key),
        "value": rows_of(value),
        "last": (lengths - 1).to(torch.int32),
        "total": torch.tensor([p.kv_length], dtype=torch.int32),
    }
    turns = []
    for one_key, one_value in inputs.keys_values:
        keys, values = one_key.contiguous(), one_value.contiguous()
        past = {"past_key": keys, "past_value": values}
        turns.append({**past, "present_key": keys, "present_value": values})
    caches = {name: turns[0][name] for name in ("past_key", "past_value")}
    outputs = {"out": _out_rows(p, inputs)}
    outputs.update(present_key=turns[0]["past_key"])
    outputs.update(present_value=turns[0]["past_value"])
    names = ("query", "key", "value", "past_key", "past_value", "last", "total")
    node = _group_query_node(p, names)
    return Model([node], {**given, **caches}, outputs, turns=turns)


def _group_query_node(p: Problem, names: tuple[str, ...]) -> Node:
    attributes: dict[str, Any] = {"num_heads": p.q_heads, "kv_num_heads": p.kv_heads}
    if p.scale is not None:
        attributes["scale"] = p.scale
    if p.softcap != 0:
        attributes["softcap"] = p.softcap
    if p.window[0] >= 0:
        attributes["local_window_size"] = p.window[0] + 1  # the query's own with them
    outputs = ("out", "present_key", "present_value")
    return Node("GroupQueryAttention", names, outputs, attributes, MICROSOFT)


def layer_model(p: Problem, inputs: LayerInputs) -> Model:
    """Attention of com.microsoft has the first projection in it."""
    weights = inputs.parameters
    constants = {
        "in_weight": weights["in_proj_weight"].T.contiguous(),
        "in_bias": weights["in_proj_bias"],
        "out_weight": weights["out_proj.weight"].T.contiguous(),
        "out_bias": weights["out_proj.bias"],
    }
    attributes = {"num_heads": p.q_heads, "unidirectional": int(p.causal)}
    names = ("x", "in_weight", "in_bias")
    nodes = [
        Node("Attention", names, ("heads",), attributes, MICROSOFT),
        Node("MatMul", ("heads", "out_weight"), ("product",)),
        Node("Add", ("product", "out_bias"), ("out",)),
    ]
    return Model(nodes, {"x": inputs.x}, {"out": torch.empty_like(inputs.x)}, constants)


def _only_lengths(p: Problem) -> bool:
    """Whether nothing is masked or added but by lengths and causality."""
    others = (p.documents, p.mask, p.bias, p.alibi)
    return not any(others) and p.block == (0, 0) and p.window == (-1, -1)


def _grouped(p: Problem) -> bool:
    """Whether GroupQueryAttention has what it takes: windows that end at the query."""
    others = (p.documents, p.mask, p.bias, p.alibi)
    lengths = p.packed or p.q_lengths == p.kv_lengths
    plain = not any(others) and p.block == (0, 0)
    return plain and lengths and p.key_dim == p.value_dim


def _appended(p: Problem) -> bool:
    """Whether the queries can be taken for the last tokens of GroupQueryAttention."""
    if p.key_dim != p.value_dim or not _only_lengths(p):
        return False
    if p.q_length == 1:
        return p.bottom_right or not p.causal
    return p.batch == 1 and p.causal and p.bottom_right


def _rows(tensor: torch.Tensor) -> torch.Tensor:
    """As (batch, length, heads * dim)."""
    return tensor.transpose(1, 2).flatten(2).contiguous()


def _out_rows(p: Problem, inputs: Inputs) -> torch.Tensor:
    return inputs.query.new_empty(p.batch, p.q_length, p.q_heads * p.value_dim)


def _added(mask: torch.Tensor) -> torch.Tensor:
    """As numbers to add to the scores."""
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)
