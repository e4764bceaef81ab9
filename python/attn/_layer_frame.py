"""A call of a layer, prepared: as in ``_call.py``, running it writes a few addresses.

``_layer_prepare.py`` makes them, ``_layer_call.py`` runs them.
"""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import numpy as np

from ._arrays import Look, address, empty_like_kind
from ._call import Output, copy_inputs
from ._entered import Copy
from ._layer_inputs import LayerSizes, Placed
from ._layer_pool import Pool
from ._layer_request import Form, Numbers
from ._layer_structs import LayerArgs, LayerBackwardArgs
from ._layout import Slot
from ._library import check, lib
from ._structs import BackwardArgs, ForwardArgs, Tensor


class Target(NamedTuple):
    """An output, and the struct it goes to."""

    struct: str
    output: Output


class Frame:
    """The structs of one running call, which hold on to each other.

    Several threads need several.
    """

    def __init__(
        self,
        form: Form,
        inputs: tuple[Placed, ...],
        outputs: tuple[Target, ...],
        backward: bool,
    ) -> None:
        self.layer = LayerArgs()
        _start(self.layer, lib.attn_layer_args_init)
        self.layer.query_length = form.query_length or 0
        self.numbers: Numbers | None = None
        self._structs: dict[str, Any] = {"layer": self.layer}
        self.reference: Any = ctypes.byref(self.layer)
        if backward:
            back = LayerBackwardArgs()
            _start(back, lib.attn_layer_backward_args_init)
            back.forward = ctypes.pointer(self.layer)
            self._structs["layer back"] = back
            self.reference = ctypes.byref(back)
        self._add("attention", "attention", backward)
        if form.memory_options is not None:
            self._add("cross_attention", "memory", backward)
        self.inputs = [
            self._tensor(struct, input.member, input.slot) for struct, input in inputs
        ]
        self.outputs = [
            self._tensor(struct, output.member, output.slot)
            for struct, output in outputs
        ]

    def _add(self, member: str, name: str, backward: bool) -> None:
        """The structs of an attention, which those of the layer point to."""
        kinds: list[tuple[str, Any, Any]] = [
            ("", ForwardArgs, lib.attn_forward_args_init)
        ]
        if backward:
            kinds.append((" back", BackwardArgs, lib.attn_backward_args_init))
        for which, kind, init in kinds:
            args = kind()
            _start(args, init)
            setattr(self._structs["layer" + which], member, ctypes.pointer(args))
            self._structs[name + which] = args

    def _tensor(self, struct: str, member: str, slot: Slot) -> Tensor:
        tensor = Tensor()
        slot.describe(tensor)
        setattr(self._structs[struct], member, ctypes.pointer(tensor))
        return tensor

    def set(self, numbers: Numbers) -> None:
        """Writes the numbers that a call has of its own."""
        self.layer.relative_zero = numbers.positions_zero
        attention = self._structs["attention"]
        attention.dropout_seed = numbers.seed
        attention.relative_zero = numbers.relative_zero
        memory = self._structs.get("memory")
        if memory is not None:
            memory.dropout_seed = numbers.memory_seed
            memory.relative_zero = numbers.memory_relative_zero
        self.numbers = numbers


class Ready:
    """A call whose every array has its place."""

    def __init__(
        self,
        form: Form,
        pool: Pool,
        sizes: LayerSizes,
        inputs: tuple[Placed, ...],
        outputs: tuple[Target, ...],
        *,
        backward: bool = False,
    ) -> None:
        self.pool = pool
        self.sizes = sizes
        self.inputs = inputs
        self.outputs = outputs
        self._form = form
        self._backward = backward
        # Names, shapes and types; shape None: shape and type of the first array.
        self._results = [
            (
                output.field,
                None if output.same else output.shape,
                np.dtype(output.slot.dtype),
            )
            for _, output in outputs
        ]
        self._copied = [
            (index, placed.input.slot)
            for index, placed in enumerate(inputs)
            if placed.input.slot.copies
        ]
        self._summed = [
            (index, output.field, output.summed)
            for index, (_, output) in enumerate(outputs)
            if output.summed is not None
        ]
        self._added = [  # to what is there
            output.field for _, output in outputs if output.member == "grad_positions"
        ]
        # Frames not in use. Appending and popping are atomic, so this needs no lock.
        self._frames: list[Frame] = []

    def begin(
        self, looks: list[Look], numbers: Numbers
    ) -> tuple[Frame, dict[str, Any], list[tuple[Any, Any]], list[Copy]]:
        """A frame for these arrays, new arrays for the outputs by name, sums, copies.

        Of sums each is an array and the output that it is to be summed to. Copies take
        the place of what is copied in looks, which must live as long as the call.
        """
        like = looks[0][0]
        try:
            frame = self._frames.pop()
        except IndexError:
            frame = Frame(self._form, self.inputs, self.outputs, self._backward)
        if frame.numbers != numbers:
            frame.set(numbers)
        copies = copy_inputs(self._copied, frame.inputs, looks) if self._copied else []
        for tensor, (_, where, _) in zip(frame.inputs, looks):
            tensor.data = where
        results = {}
        for tensor, (name, shape, dtype) in zip(frame.outputs, self._results):
            results[name], tensor.data = empty_like_kind(like, shape, dtype)
        sums = []
        for index, name, wide in self._summed:
            array = np.zeros(wide, np.float32)
            frame.outputs[index].data = address(array)
            sums.append((array, results[name]))
        for name in self._added:
            results[name][...] = 0
        return frame, results, sums, copies

    def end(self, frame: Frame) -> None:
        """Takes back the frame of a call that went well."""
        self._frames.append(frame)


def _start(args: Any, init: Any) -> None:
    check(init(ctypes.byref(args), ctypes.sizeof(args)))
