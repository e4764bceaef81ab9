"""A call of a layer in torch's graph."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any

import torch

from ._arrays import memory_of
from ._entered import entered, made_once
from ._layer_call import backward, forward
from ._layer_handle import Packed, Parameter, Parameters
from ._layer_parameters import as_parameter, locate, suits
from ._layer_request import LayerRequest
from ._layout import view
from ._shapes import check_float32
from ._torch_tools import as_tensor

# Names and shapes of parameters.
Shapes = dict[str, tuple[int, ...]]


class Places:
    """Where the parameters of a module are: looked up again only if one has moved."""

    def __init__(self, shapes: Shapes) -> None:
        self.shapes = shapes
        self._last: tuple[Any, Parameters] = None, ()

    def find(
        self, parameters: Sequence[torch.Tensor]
    ) -> tuple[Sequence[Any], Parameters]:
        """The parameters' memory, to be held on to during the call, and where it is."""
        facts, where = self._last
        now = [
            (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
            if _is_plain(tensor)
            else None
            for tensor in parameters
        ]
        if facts == now:
            return parameters, where
        held, where = held_of(parameters, self.shapes)
        if all(map(operator.is_, held, parameters)):
            self._last = now, where
        return held, where

    def __reduce__(self) -> Any:
        """For copy and pickle: copies of the parameters lie elsewhere."""
        return Places, (self.shapes,)


def run(
    request: LayerRequest,
    places: Places,
    parameters: Sequence[torch.Tensor],
    asked: tuple[str, ...],
    packed: Packed | None = None,
) -> dict[str, torch.Tensor]:
    """The outputs of a call by name, with what their gradients need, if they need any.

    packed: a copy of the parameters' weights, as long as they lie where they lay.
    """
    form, given, numbers = request
    arrays = tuple(map(as_tensor, given, form.names))
    tensors = (*arrays, *parameters)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        bare = request._replace(arrays=())
        results = _Run.apply(bare, places.shapes, asked, *tensors)
        return dict(zip(("output", *asked), results))
    held, where = places.find(parameters)
    if packed is not None and packed.parameters != where:
        packed = None
    results, _ = forward(
        LayerRequest(form, arrays, numbers), where, asked, packed=packed
    )
    if entered.steps is not None:
        if not all(map(operator.is_, held, parameters)):
            made_once("parameters are no plain float32 and have to be converted")
        entered.hold(memory_of(parameters))
    return results


class _Run(torch.autograd.Function):
    """A call of a layer as a node of torch's graph."""

    @staticmethod
    def forward(
        ctx: Any,
        request: LayerRequest,
        shapes: dict[str, tuple[int, ...]],
        asked: tuple[str, ...],
        *tensors: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        count = len(request.form.names)
        held, where = held_of(tensors[count:], shapes)
        request = request._replace(arrays=tensors[:count])
        results, state = forward(request, where, asked, training=True)
        del held
        ctx.request, ctx.shapes, ctx.asked = request._replace(arrays=()), shapes, asked
        ctx.save_for_backward(*tensors, state)
        ctx.set_materialize_grads(False)
        if request.form.kind.stack is not None:
            ctx.mark_non_differentiable(*(results[name] for name in asked))
        return tuple(results.values())

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor | None) -> tuple[Any, ...]:
        *tensors, state = ctx.saved_tensors
        names = ctx.request.form.names
        count = len(names)
        arrays, parameters = tensors[:count], tensors[count:]
        given = {
            name: grad
            for name, grad in zip(("output", *ctx.asked), grads)
            if grad is not None
        }
        if not given:
            return (None,) * (3 + len(tensors))
        if "output" not in given:
            given = {"output": torch.zeros_like(arrays[0]), **given}
        if "mean_weights" in given:
            heads = ctx.request.form.kind.attention.heads
            given["mean_weights"] = given["mean_weights"] / heads
        needed = ctx.needs_input_grad[3:]
        wanted = tuple(name for name, need in zip(names, needed) if need)
        of_parameters = {
            name: torch.zeros(shape, dtype=torch.float32)
            for (name, shape), need in zip(ctx.shapes.items(), needed[count:])
            if need
        }
        held, where = held_of(parameters, ctx.shapes)
        found = backward(
            ctx.request._replace(arrays=tuple(arrays)),
            where,
            state,
            given,
            wanted,
            tuple(
                Parameter(name, tensor.data_ptr(), tensor.stride())
                for name, tensor in of_parameters.items()
            ),
        )
        del held
        of_arrays = (found.get(name) for name in names)
        return (None, None, None, *of_arrays, *map(of_parameters.get, ctx.shapes))


def held_of(
    parameters: Sequence[torch.Tensor], shapes: Shapes
) -> tuple[list[Any], Parameters]:
    """The parameters' memory, to be held on to during the call, and where it is."""
    held: list[Any] = []
    where = []
    for (name, shape), tensor in zip(shapes.items(), parameters):
        if _is_plain(tensor) and _usable(
            name, shape, tensor.dtype, tensor.shape, tensor.stride()
        ):
            held.append(tensor)
            where.append(Parameter(name, tensor.data_ptr(), tensor.stride()))
        else:
            held.append(as_parameter(tensor, name, shape))
            where += locate({name: held[-1]})
    return held, tuple(where)


def _is_plain(tensor: torch.Tensor) -> bool:
    """Whether it is elements in memory, and nothing that stands for them."""
    return tensor.is_cpu and tensor.layout is torch.strided and not tensor.is_neg()


@functools.lru_cache(maxsize=4096)
def _usable(
    name: str,
    shape: tuple[int, ...],
    dtype: Any,
    has_shape: tuple[int, ...],
    strides: tuple[int, ...],
) -> bool:
    """Whether the library can use a tensor as it lies; an error for other types."""
    there = view((dtype, has_shape, strides))
    check_float32(name, there)
    return there.shape == shape and suits(there, name)
