"""Runs a layer: lends its structs and a C layer to a call, returns arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._arrays import Look, address, as_numpy, empty_like_kind, look, memory_of
from ._call import sum_to
from ._context import current
from ._entered import Step, entered, made_once
from ._layer_frame import Frame
from ._layer_handle import ALIGNMENT, Packed, Parameters
from ._layer_prepare import ready, ready_back
from ._layer_request import LayerRequest
from ._library import check, lib

# Called by name, so that tests can look at what goes by.
_forward = lib.attn_layer_forward
_backward = lib.attn_layer_backward


def forward(
    request: LayerRequest,
    parameters: Parameters,
    asked: tuple[str, ...] = (),
    *,
    training: bool = False,
    packed: Packed | None = None,
) -> tuple[dict[str, Any], Any]:
    """The outputs by name, "output" and those of asked, and the state if training.

    The state is an array of bytes, of the kind of the first array. Whoever calls holds
    on to the parameters. packed: those weights once more, None: they are not.
    """
    looks = list(map(look, request.arrays, request.form.names))
    like = looks[0][0]
    call = ready(current(), request.form, _facts(looks), asked)
    frame, results, _, copies = call.begin(looks, request.numbers)
    layer = call.pool.take()
    state = None
    if training:
        made_once("a call in training makes a state", ": eval(), or torch.no_grad()")
        size = lib.attn_layer_state_size(
            layer.handle, call.sizes.batch, call.sizes.q_length, call.sizes.kv_length
        )
        state = _put_state(frame, _aligned(like, size))
    else:
        frame.layer.state, frame.layer.state_size = None, 0
    layer.give(parameters, packed)
    status = _forward(layer.handle, frame.reference)
    if status:
        check(status)
    if entered.steps is None:
        call.pool.put(layer)
        call.end(frame)
    else:
        arrays = (*(array for array, _, _ in looks), *results.values())
        held = (layer, packed, memory_of(arrays))
        reference = frame.reference
        step = Step(_forward, layer.handle, reference, None, None, copies, held)
        entered.steps.append(step)
    return results, state


def backward(
    request: LayerRequest,
    parameters: Parameters,
    state: Any,
    gradients: dict[str, Any],
    wanted: tuple[str, ...],
    of_parameters: Parameters,
) -> dict[str, Any]:
    """The gradients of the wanted arrays by name.

    gradients: those of outputs, "output" first. of_parameters: where those of
    parameters are added. What the parameters hold now is what counts.
    """
    looks = list(map(look, request.arrays, request.form.names))
    looks += [look(array, f"grad_{name}") for name, array in gradients.items()]
    call = ready_back(current(), request.form, _facts(looks), tuple(gradients), wanted)
    frame, results, sums, _ = call.begin(looks, request.numbers)
    state = _put_state(frame, state)
    layer = call.pool.take()
    layer.give(parameters)
    layer.give_gradients(of_parameters)
    check(_backward(layer.handle, frame.reference))
    layer.take_gradients(of_parameters)
    call.pool.put(layer)
    call.end(frame)
    for array, result in sums:
        sum_to(array, result)
    del state
    return results


def _facts(looks: list[Look]) -> tuple[Any, ...]:
    return tuple([facts for _, _, facts in looks])


def _put_state(frame: Frame, state: Any) -> Any:
    """The memory between a forward and a backward call, as it is used."""
    where = address(as_numpy(state))
    if where % ALIGNMENT:  # it was away and has come back elsewhere
        array = state
        state = _aligned(array, array.shape[0])
        state[:] = array
        where = address(as_numpy(state))
    frame.layer.state, frame.layer.state_size = where, state.shape[0]
    return state


def _aligned(like: Any, size: int) -> Any:
    """An array of so many bytes, of the kind of like, where the library wants it."""
    shape = (size + ALIGNMENT,)
    array, where = empty_like_kind(like, shape, np.dtype(np.uint8))
    return array[-where % ALIGNMENT :][:size]
