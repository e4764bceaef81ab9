"""How an array of any number of dimensions becomes a tensor of the library.

The library wants fixed ranks, (batch, heads, length, dim) and the like; the caller has
any number of batch dimensions, or none, and leaves some of them to broadcasting. Both
are bookkeeping on strides: a dimension that repeats has stride 0, and neighbouring
dimensions become one where one stride is a multiple of the other. Only where no
strides say it is the data copied.

Here everything is worked out from shapes and strides alone, once for each combination
that occurs. ``Slot.copied`` then does per call what is left to do per call.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from ._arrays import Facts
from ._structs import BF16, BOOL, F16, F32, I8, I32, I64, Tensor

_CODES = {
    "float32": F32,
    "float16": F16,
    "bfloat16": BF16,
    "bool": BOOL,
    "int8": I8,
    "int32": I32,
    "int64": I64,
}


class View(NamedTuple):
    """How an array lies in memory: strides in elements."""

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Slot(NamedTuple):
    """A tensor as the library will see it, and how to get there."""

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    copies: bool  # copy first: the memory does not allow these strides
    repeats: tuple[int, ...] | None  # and then write out the broadcast to this shape

    def copied(self, array: Any) -> Any:
        """The data of array, from ``as_numpy``, laid out as this slot says."""
        bits = "int16" if self.dtype == "bfloat16" else self.dtype
        array = np.ascontiguousarray(array, bits)
        if self.repeats is not None:
            array = np.ascontiguousarray(np.broadcast_to(array, self.repeats))
        return array

    def describe(self, tensor: Tensor) -> None:
        """Fills in all of tensor but its address."""
        tensor.dtype = _CODES[self.dtype]
        tensor.rank = len(self.shape)
        tensor.shape[: len(self.shape)] = list(self.shape)
        tensor.stride[: len(self.strides)] = list(self.strides)

    def tensor(self, address: int) -> Tensor:
        """The tensor at this address."""
        tensor = Tensor.from_buffer_copy(_described(self))
        tensor.data = address
        return tensor


@functools.lru_cache(maxsize=1024)
def _described(slot: Slot) -> bytes:
    tensor = Tensor()
    slot.describe(tensor)
    return bytes(tensor)


def view(facts: Facts) -> View:
    """What ``look`` found, in words that do not depend on the kind of array."""
    dtype, shape, strides = facts
    if not isinstance(dtype, np.dtype):
        return View(str(dtype).rpartition(".")[2], tuple(shape), tuple(strides))
    name = dtype.name if dtype.isnative else f"byte-swapped {dtype.name}"
    if strides is None:
        return View(name, shape, contiguous(shape))
    # A stride that is no whole number of elements is as useless as a negative one.
    size = dtype.itemsize
    return View(name, shape, tuple(-1 if s % size else s // size for s in strides))


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of a contiguous array, the last dimension fastest."""
    strides = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def new(shape: tuple[int, ...], dtype: str) -> Slot:
    """The slot of a new contiguous array."""
    return Slot(dtype, shape, contiguous(shape), False, None)


def fit(
    array: View,
    wide: tuple[int, ...],
    merged: int,
    dtype: str,
    *,
    last_stride_0: bool = False,
) -> Slot:
    """The slot for array, broadcast to wide, its first merged dimensions made one.

    merged 0 leaves the dimensions alone. The strides of the array itself are tried
    first, then those of a contiguous copy; if both fail, every repetition is written
    out.

    >>> fit(View("float32", (5, 4), (4, 1)), (2, 3, 5, 4), 2, "float32")[1:]
    ((6, 5, 4), (0, 4, 1), False, None)
    """
    last = (0, 1) if last_stride_0 else (1,)
    shape = _merge_shape(wide, merged)
    for strides, copies in ((array.strides, False), (contiguous(array.shape), True)):
        if not copies and array.dtype != dtype:
            continue
        fitted = _merge_strides(_repeat(array.shape, strides, wide), wide, merged)
        if fitted is None or any(
            stride < 0 for size, stride in zip(shape, fitted) if size > 1
        ):
            continue
        if shape[-1] <= 1 or fitted[-1] in last:
            return Slot(dtype, shape, fitted, copies, None)
    return Slot(dtype, shape, contiguous(shape), True, wide)


def _repeat(
    shape: tuple[int, ...], strides: tuple[int, ...], wide: tuple[int, ...]
) -> tuple[int, ...]:
    """Strides of an array of this shape seen as one of shape wide."""
    missing = len(wide) - len(shape)
    kept = tuple(
        stride if size == new else 0
        for size, stride, new in zip(shape, strides, wide[missing:])
    )
    return (0,) * missing + kept


def _merge_shape(shape: tuple[int, ...], merged: int) -> tuple[int, ...]:
    if merged == 0:
        return shape
    return (math.prod(shape[:merged]), *shape[merged:])


def _merge_strides(
    strides: tuple[int, ...], shape: tuple[int, ...], merged: int
) -> tuple[int, ...] | None:
    """Strides once the first dimensions are one, or None where none would say it."""
    if merged == 0:
        return strides
    if 0 in shape[:merged]:
        return (0, *strides[merged:])
    count, step = 1, 0
    for size, stride in zip(reversed(shape[:merged]), reversed(strides[:merged])):
        if size == 1:
            continue
        if count == 1:
            step = stride
        elif stride != count * step:
            return None
        count *= size
    return (step, *strides[merged:])
