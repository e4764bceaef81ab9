"""The parameters of layers: names and shapes, first values, and views of the caller's.

Names are those of torch's modules, and first values are drawn from the distributions
that torch draws them from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ._arrays import address, as_numpy, look
from ._context import current
from ._errors import invalid, unsupported
from ._layer_handle import Packed, Parameter, Parameters
from ._layer_inputs import LayerSizes
from ._layer_kinds import Kind
from ._layer_pool import Pool, pool_for
from ._layer_request import attention
from ._layout import View, view
from ._options import Options
from ._plan import facts_of


class First(NamedTuple):
    """What a parameter starts with: noise around mean, "uniform" or "normal"."""

    noise: str | None
    mean: float
    scale: float = 0.0  # the largest deviation, or the standard deviation


def shapes_of(kind: Kind) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the parameters of a layer, in the library's order."""
    pool = _smallest(kind)
    layer = pool.take()
    pool.put(layer)
    return layer.shapes


def pack(kind: Kind, parameters: Parameters) -> Packed:
    """Packed weights, for all layers of this kind."""
    pool = _smallest(kind)
    layer = pool.take()
    packed = layer.pack(parameters)
    pool.put(layer)
    return packed


def _smallest(kind: Kind) -> Pool:
    """Layers of this kind for the smallest calls."""
    sizes = LayerSizes((1,), 1, 1, 1)
    plain = Options(*attention({}, kind.attention, 0.0, 0).options).checked(frozenset())
    problem = sizes.of_attention(kind.attention, 1)
    facts = facts_of(problem, plain, [], kind.parameters)
    cross = None
    if kind.cross is not None:
        cross = facts_of(sizes.of_attention(kind.cross, 1), plain, [])
    return pool_for(current(), kind, facts, cross, (1, 1, 1))


def first_value(
    name: str, shape: tuple[int, ...], shapes: Mapping[str, tuple[int, ...]]
) -> First:
    """What torch's modules start with; biases that torch lacks start with 0."""
    scope, _, last = name.rpartition(".")
    outer = scope.rpartition(".")[2]
    if last in ("bias_k", "bias_v"):
        return First("normal", 0.0, shape[-1] ** -0.5)
    if outer.startswith("norm"):
        return First(None, 1.0 if last == "weight" else 0.0)
    if outer.startswith("linear") or outer == "gate" or name.endswith("proj.weight"):
        inputs = shapes[f"{scope}.weight"][-1]
        return First("uniform", 0.0, inputs**-0.5)
    if last.endswith("proj_weight"):
        return First("uniform", 0.0, math.sqrt(6 / (shape[-1] + shape[-2])))
    return First(None, 0.0)


def first_values(
    shapes: Mapping[str, tuple[int, ...]], seed: int | None
) -> dict[str, Any]:
    """New arrays with first values, drawn from a seed."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, shape in shapes.items():
        noise, mean, scale = first_value(name, shape, shapes)
        array = np.full(shape, mean, np.float32)
        if noise == "uniform":
            array += rng.uniform(-scale, scale, shape)
        elif noise == "normal":
            array += rng.normal(0.0, scale, shape)
        found[name] = array
    return found


def as_parameter(value: Any, name: str, shape: tuple[int, ...]) -> Any:
    """The value as a numpy array that the library can use.

    It shares the value's memory if that is float32 with strides that will do.
    """
    if hasattr(value, "detach"):
        value = value.detach()
    array, _, facts = look(value, name)
    there = view(facts)
    if there.shape != shape:
        raise invalid(f"{name} has shape {there.shape}: expected {shape}")
    dtype = there.dtype.removeprefix("byte-swapped ")
    if dtype not in ("float32", "float64", "float16", "bfloat16"):
        raise unsupported(f"{name} is {there.dtype}: expected float32")
    if dtype == "bfloat16" and hasattr(array, "float"):  # unknown to numpy
        array = array.float()
    array = as_numpy(array)
    if there.dtype == "float32" and suits(there, name):
        return array
    return np.ascontiguousarray(array, np.float32)


def locate(arrays: Mapping[str, Any]) -> Parameters:
    """Where arrays that ``as_parameter`` returned are."""
    return tuple(
        Parameter(
            name, address(array), tuple(s // array.itemsize for s in array.strides)
        )
        for name, array in arrays.items()
    )


def suits(array: View, name: str) -> bool:
    """Whether rows lie apart and their elements side by side, or a transpose's do.

    Only weights of two dimensions may be transposed.
    """
    _, shape, strides = array
    weight = len(shape) == 2 and name.endswith("weight")
    if weight and strides[0] == 1 and min(shape) > 1:
        shape, strides = shape[::-1], strides[::-1]
    if shape[-1] > 1 and strides[-1] != 1:
        return False
    return all(
        stride >= inner or size <= 1
        for size, stride, inner in zip(shape, strides, shape[1:])
    )
