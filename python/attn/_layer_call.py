"""Runs a layer: fills in the structs of the library, calls it, returns arrays."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from ._arrays import Look, address, as_numpy, empty_like_kind, look
from ._call import sum_to
from ._context import current
from ._layer_handle import ALIGNMENT, Packed, Parameters
from ._layer_inputs import Placed
from ._layer_prepare import Target, ready, ready_back
from ._layer_request import LayerRequest
from ._layer_structs import LayerArgs, LayerBackwardArgs
from ._layout import Slot
from ._library import check, lib
from ._structs import BackwardArgs, ForwardArgs

# Called by name, so that tests can look at what goes by.
_forward = lib.attn_layer_forward
_backward = lib.attn_layer_backward

_INIT = {
    LayerArgs: lib.attn_layer_args_init,
    LayerBackwardArgs: lib.attn_layer_backward_args_init,
    ForwardArgs: lib.attn_forward_args_init,
    BackwardArgs: lib.attn_backward_args_init,
}
_initial: dict[type[Any], bytes] = {}


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
    looks = _looks(request)
    call = ready(current(), request.form, _facts(looks), asked)
    args = _Arguments(request)
    kept = args.put_inputs(call.inputs, looks)
    like = looks[0][0]
    results = args.put_outputs(call.outputs, like)
    state = None
    with call.pool.lend() as layer:
        if training:
            sizes = call.sizes
            size = lib.attn_layer_state_size(
                layer.handle, sizes.batch, sizes.q_length, sizes.kv_length
            )
            state = args.put_state(_aligned(like, size))
        layer.give(parameters, packed)
        check(_forward(layer.handle, ctypes.byref(args.layer)))
    del kept
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
    looks = _looks(request)
    looks += [look(array, f"grad_{name}") for name, array in gradients.items()]
    call = ready_back(current(), request.form, _facts(looks), tuple(gradients), wanted)
    args = _Arguments(request, back=True)
    kept = args.put_inputs(call.inputs, looks)
    state = args.put_state(state)
    results = args.put_outputs(call.outputs, looks[0][0])
    with call.pool.lend() as layer:
        layer.give(parameters)
        layer.give_gradients(of_parameters)
        check(_backward(layer.handle, ctypes.byref(args.structs["layer back"])))
        layer.take_gradients(of_parameters)
    for array, result in args.sums:
        sum_to(array, result)
    del kept, state
    return results


def _looks(request: LayerRequest) -> list[Look]:
    return [
        look(array, name) for array, name in zip(request.arrays, request.form.names)
    ]


def _facts(looks: list[Look]) -> tuple[Any, ...]:
    return tuple([facts for _, _, facts in looks])


class _Arguments:
    """The structs of one call, which hold on to each other."""

    def __init__(self, request: LayerRequest, *, back: bool = False) -> None:
        self.layer = _new(LayerArgs)
        self.structs: dict[str, Any] = {"layer": self.layer}
        self.sums: list[tuple[Any, Any]] = []
        numbers = request.numbers
        self.layer.relative_zero = numbers.positions_zero
        self.layer.query_length = request.form.query_length or 0
        self._add("layer", "attention", "attention", ForwardArgs)
        self.structs["attention"].dropout_seed = numbers.seed
        self.structs["attention"].relative_zero = numbers.relative_zero
        if request.form.memory_options is not None:
            self._add("layer", "cross_attention", "memory", ForwardArgs)
            self.structs["memory"].dropout_seed = numbers.memory_seed
            self.structs["memory"].relative_zero = numbers.memory_relative_zero
        if back:
            self._add_back(request)

    def _add_back(self, request: LayerRequest) -> None:
        args = _new(LayerBackwardArgs)
        args.forward = ctypes.pointer(self.layer)
        self.structs["layer back"] = args
        self._add("layer back", "attention", "attention back", BackwardArgs)
        if request.form.memory_options is not None:
            self._add("layer back", "cross_attention", "memory back", BackwardArgs)

    def _add(self, outer: str, member: str, name: str, kind: type[Any]) -> None:
        """Another struct, which a member of outer points to."""
        args = _new(kind)
        setattr(self.structs[outer], member, ctypes.pointer(args))
        self.structs[name] = args

    def put(self, struct: str, member: str, slot: Slot, where: int) -> None:
        """A tensor at an address."""
        setattr(self.structs[struct], member, ctypes.pointer(slot.tensor(where)))

    def put_inputs(self, inputs: tuple[Placed, ...], looks: list[Look]) -> list[Any]:
        """All inputs; returns copies, which must live as long as the call."""
        copies = []
        for (struct, input), (array, where, _) in zip(inputs, looks):
            at = where
            if input.slot.copies:
                copies.append(input.slot.copied(as_numpy(array)))
                at = address(copies[-1])
            self.put(struct, input.member, input.slot, at)
        return copies

    def put_outputs(self, outputs: tuple[Target, ...], like: Any) -> dict[str, Any]:
        """New arrays for all outputs, of the kind of like, by name."""
        results = {}
        for struct, output in outputs:
            dtype = np.dtype(output.slot.dtype)
            result, where = empty_like_kind(like, output.shape, dtype)
            if output.summed is not None:
                wide = np.zeros(output.summed, np.float32)
                where = address(wide)
                self.sums.append((wide, result))
            elif output.member == "grad_positions":  # which is added to
                result[...] = 0
            self.put(struct, output.member, output.slot, where)
            results[output.field] = result
        return results

    def put_state(self, state: Any) -> Any:
        """The memory between a forward and a backward call, as it is used."""
        where = address(as_numpy(state))
        if where % ALIGNMENT:  # it was away and has come back elsewhere
            array = state
            state = _aligned(array, array.shape[0])
            state[:] = array
            where = address(as_numpy(state))
        self.layer.state, self.layer.state_size = where, state.shape[0]
        return state


def _aligned(like: Any, size: int) -> Any:
    """An array of so many bytes, of the kind of like, where the library wants it."""
    shape = (size + ALIGNMENT,)
    array, where = empty_like_kind(like, shape, np.dtype(np.uint8))
    return array[-where % ALIGNMENT :][:size]


def _new(kind: type[Any]) -> Any:
    """A struct as the library's init function leaves it."""
    if kind not in _initial:
        args = kind()
        check(_INIT[kind](ctypes.byref(args), ctypes.sizeof(args)))
        _initial[kind] = bytes(args)
    return kind.from_buffer_copy(_initial[kind])
