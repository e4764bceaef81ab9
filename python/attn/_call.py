"""A call, prepared: everything that does not depend on what the arrays hold.

Programs call attention again and again with arrays of the same shapes. Once such a
combination is checked (``_prepare.py``), running it comes to writing a few addresses
into structs that are filled in already.
"""

from __future__ import annotations

import ctypes
from typing import Any, Callable, NamedTuple

import numpy as np

from ._arrays import Look, address, as_numpy, empty_like_kind, memory_of
from ._entered import Copy, Step, entered
from ._inputs import Input
from ._layout import Slot
from ._library import check, lib
from ._plan import Plan
from ._structs import BackwardArgs, ForwardArgs, Tensor

# Called by name, so that tests can look at what goes by.
_forward = lib.attn_plan_forward
_backward = lib.attn_plan_backward


class Output(NamedTuple):
    """An output: what the caller calls it, where it goes, and its shape."""

    field: str
    member: str
    shape: tuple[int, ...]  # for the caller
    slot: Slot  # for the library
    # The gradient of an input that broadcasts: the library's output has this shape
    # (once its batch is written as dimensions), and is summed to the caller's.
    summed: tuple[int, ...] | None = None
    like_query: bool = False  # its type is that of the query
    same: bool = False  # and its shape, and the query is contiguous


class Frame:
    """The structs of one running call. Several threads need several."""

    __slots__ = ("args", "backward", "inputs", "numbers", "outputs", "reference")

    def __init__(
        self, inputs: list[Input], outputs: list[Output], backward: bool
    ) -> None:
        self.args = ForwardArgs()
        self.numbers: tuple[Any, ...] = (0, 0, None, 0, None)
        self.reference: Any = ctypes.byref(self.args)
        check(lib.attn_forward_args_init(self.reference, ctypes.sizeof(self.args)))
        if backward:
            self.backward = BackwardArgs()
            self.reference = ctypes.byref(self.backward)
            size = ctypes.sizeof(self.backward)
            check(lib.attn_backward_args_init(self.reference, size))
            self.backward.forward = ctypes.pointer(self.args)
        self.inputs = [self._tensor(input.member, input.slot) for input in inputs]
        self.outputs = [self._tensor(output.member, output.slot) for output in outputs]

    def set(
        self,
        seed: int,
        zero: int,
        cache: int | None,
        layer: int,
        profile: int | None,
    ) -> None:
        """Writes the numbers that a call has of its own."""
        self.args.dropout_seed = seed
        self.args.relative_zero = zero
        self.args.cache = cache
        self.args.cache_layer = layer
        self.args.profile = profile
        self.numbers = (seed, zero, cache, layer, profile)

    def _tensor(self, member: str, slot: Slot) -> Tensor:
        tensor = Tensor()
        slot.describe(tensor)
        args = self.backward if member.startswith("grad_") else self.args
        setattr(args, member, ctypes.pointer(tensor))
        return tensor


class Call:
    """A call of given shapes and options, which can be run on any data."""

    def __init__(
        self,
        plan: Plan | None,
        inputs: list[Input],
        outputs: list[Output],
        result: Callable[..., Any],
        *,
        backward: bool,
    ) -> None:
        self._plan = plan  # None: there are no heads to compute
        self._handle = plan.handle if plan else None
        self._inputs = inputs
        self._outputs = outputs
        self._result = result
        self._is_backward = backward
        # None: the shape or type of the query.
        self._results = [
            (
                None if output.same else output.shape,
                None if output.like_query else np.dtype(output.slot.dtype),
            )
            for output in outputs
        ]
        self._copied = [
            (index, input.slot)
            for index, input in enumerate(inputs)
            if input.slot.copies
        ]
        self._summed = [
            (index, output.summed)
            for index, output in enumerate(outputs)
            if output.summed is not None
        ]
        # Frames not in use. Appending and popping are atomic, so this needs no lock.
        self._frames: list[Frame] = []

    def run(
        self,
        looks: list[Look],
        dropout_seed: int = 0,
        relative_zero: int = 0,
        cache: int | None = None,
        layer: int = 0,
    ) -> Any:
        """Computes, from what ``look`` said of each input, in order.

        cache is the handle of one that has the keys and values.
        """
        like = looks[0][0]
        results = []
        try:
            frame = self._frames.pop()
        except IndexError:
            frame = Frame(self._inputs, self._outputs, self._is_backward)
        profiles = entered.profiles
        profile = profiles[-1].address if profiles else None
        numbers = (dropout_seed, relative_zero, cache, layer, profile)
        if numbers != frame.numbers:
            frame.set(*numbers)
        copies = copy_inputs(self._copied, frame.inputs, looks) if self._copied else []
        for tensor, (_, where, _) in zip(frame.inputs, looks):
            tensor.data = where
        for tensor, (shape, dtype) in zip(frame.outputs, self._results):
            result, tensor.data = empty_like_kind(like, shape, dtype)
            results.append(result)
        sums = []
        for index, wide in self._summed:
            array = np.zeros(wide, np.float32)
            frame.outputs[index].data = address(array)
            sums.append((array, results[index]))

        if self._plan is not None:
            run = _backward if self._is_backward else _forward
            status = run(self._handle, frame.reference)
            if status:
                check(status)
            if profiles:
                profiles[-1].note(self._plan.words)
        else:
            for result in results:
                result[...] = 0
        for array, result in sums:
            sum_to(array, result)
        if entered.steps is None:
            self._frames.append(frame)
        else:
            held = memory_of((*(array for array, _, _ in looks), *results))
            entered.steps.append(self._step(frame, copies, held))
        return self._result(*results)

    def _step(self, frame: Frame, copies: list[Copy], held: Any) -> Step:
        """The call of the library that was just made with this frame."""
        plan, reference, args = self._plan, frame.reference, frame.args
        function = _forward if plan is not None else _nothing
        return Step(function, self._handle, reference, args, plan, copies, held)


def copy_inputs(
    copied: list[tuple[int, Slot]], tensors: list[Tensor], looks: list[Look]
) -> list[Copy]:
    """Copies inputs, by index, which take the place of what they copy in looks."""
    copies = []
    for index, slot in copied:
        copy = Copy(tensors[index], slot, as_numpy(looks[index][0]))
        copies.append(copy)
        array = slot.copied(copy.array)
        looks[index] = (array, address(array), looks[index][2])
    return copies


def _nothing(*_: Any) -> int:
    """Computes what has no heads."""
    return 0


def single(out: Any) -> Any:
    """The result of a call that has one."""
    return out


def sum_to(array: Any, result: Any) -> None:
    """Writes the sums of array over the dimensions that result lacks or has 1 of."""
    total = as_numpy(result)
    total = total.reshape((1,) * (array.ndim - total.ndim) + total.shape)
    axes = tuple(i for i in range(array.ndim) if array.shape[i] != total.shape[i])
    np.sum(array, axis=axes, keepdims=True, out=total)
