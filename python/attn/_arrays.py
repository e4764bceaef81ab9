"""Looks at the caller's arrays: where they are, and how they lie in memory.

``look`` is on the path of every call, so it asks each kind of array for three things
only and judges nothing: what dtypes, shapes and strides mean is decided once for each
combination, in ``_call.py``. Nothing is copied here, but for data that is not aligned
to its own elements, which no C code may touch.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np

from ._entered import made_once
from ._errors import invalid, unsupported

# dtype, shape, strides: a numpy dtype with strides in bytes (None: contiguous), or a
# torch dtype with strides in elements. Hashable: prepared calls are found by it.
Facts = tuple[Any, tuple[int, ...], Any]

# The array (which owns the memory), the address of its first element, its facts.
Look = tuple[Any, int, Facts]

# These may also be plain Python numbers or lists of them.
_SMALL_INTEGERS = {
    "q_lengths",
    "kv_lengths",
    "query_offsets",
    "prefix_lengths",
    "rng_indices",
    "cu_seqlens_q",
    "cu_seqlens_k",
    "cu_seqlens",
    "sequences",
    "lengths",
    "parents",
    "position_ids",
    "offsets",
    "key_position_ids",
    "key_offsets",
}
_SMALL_FLOATS = {"alibi_slopes", "sinks"}

# Device types of DLPack that the processor reads: its own memory, and memory that is
# pinned for CUDA or ROCm.
_CPU_DEVICES = (1, 3, 11)

_first_byte = ctypes.c_char.from_buffer
_address_of = ctypes.addressof


def look(array: Any, name: str) -> Look:
    """The array, its address, its facts; name is for error messages."""
    if type(array) is not np.ndarray:
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(array, torch.Tensor):
            return _look_torch(array, name, torch)
        array = _import(array, name)
    if array.flags.carray:
        return array, address(array), (array.dtype, array.shape, None)
    if not array.flags.aligned:
        made_once(f"{name} is not aligned and has to be copied")
        array = array.copy()
    return array, address(array), (array.dtype, array.shape, array.strides)


def address(array: Any) -> int:
    """Where the first element of a numpy array is."""
    if array.flags.carray:
        # Three times as fast as the array interface, which builds a dictionary.
        try:
            return _address_of(_first_byte(array))
        except (ValueError, BufferError):
            pass  # nothing in it, or a dtype that buffers do not know
    return int(array.__array_interface__["data"][0])


def as_numpy(array: Any) -> Any:
    """The memory of an array that ``look`` returned, as a numpy array.

    bfloat16, which numpy itself does not know, comes as int16: the same bits.
    """
    if type(array) is np.ndarray:
        return array.view(np.int16) if array.dtype.name == "bfloat16" else array
    array = array.detach()
    torch = sys.modules["torch"]
    if array.dtype is torch.bfloat16:
        array = array.view(torch.int16)
    return array.numpy()


def memory_of(arrays: Iterable[Any]) -> list[Any]:
    """What keeps the memory of such arrays alive, and where it is.

    A torch tensor may be given other memory, or its own be resized, but not what numpy
    looks at.
    """
    return list(map(as_numpy, arrays))


def empty_like_kind(
    array: Any, shape: tuple[int, ...] | None, dtype: np.dtype[Any] | None
) -> tuple[Any, int]:
    """A new contiguous array of array's kind, and its address.

    dtype None: array's own. shape None: array is contiguous, and the new one has its
    shape and dtype, which is quicker to say than to write out.
    """
    if type(array) is np.ndarray:
        if shape is None:
            new = np.empty_like(array)
        else:
            new = np.empty(shape, array.dtype if dtype is None else dtype)
        return new, address(new)
    if shape is None:
        new = _torch().empty_like(array)
    else:
        own = array.dtype if dtype is None else _torch_dtype(dtype)
        new = array.new_empty(shape, dtype=own)
    return new, new.data_ptr()


@functools.cache
def _torch() -> Any:
    return sys.modules["torch"]


@functools.cache
def _torch_dtype(dtype: np.dtype[Any]) -> Any:
    """Torch's name for a dtype; numpy takes longer to say its own than to look up."""
    return getattr(sys.modules["torch"], dtype.name)


def plain_address(tensor: Any, torch: Any) -> int:
    """Where the elements of a torch tensor are; 0: perhaps nowhere one can read them.

    So it is for any tensor that is more than elements in memory: it records gradients,
    or is somewhere else, sparse, the negative of its memory, empty or not aligned.
    """
    if (
        not tensor.is_cpu
        or tensor.layout is not torch.strided
        or tensor.requires_grad
        or tensor.is_neg()
    ):
        return 0
    where: int = tensor.data_ptr()
    return 0 if where & 7 else where


def _look_torch(tensor: Any, name: str, torch: Any) -> Look:
    """``look`` for a torch tensor, without a detour through numpy."""
    where = plain_address(tensor, torch)
    if where:
        return tensor, where, (tensor.dtype, tensor.shape, tensor.stride())
    if not tensor.is_cpu:
        raise unsupported(f"{name} is on device {tensor.device}: only the CPU will do")
    if tensor.layout is not torch.strided:
        raise unsupported(f"{name} has layout {tensor.layout}: only strided will do")
    if tensor.requires_grad and torch.is_grad_enabled():
        raise unsupported(
            f"{name} requires a gradient, which this call does not record: use"
            f" {name}.detach() or torch.no_grad(), or attn.torch if it has this"
            " function, which then does"
        )
    if tensor.is_neg():
        # The memory holds the negative of what the tensor says.
        made_once(f"{name} is the negative of its memory and has to be copied")
        tensor = tensor.resolve_neg()
    where = tensor.data_ptr()
    if where & 7 and where % tensor.element_size():
        made_once(f"{name} is not aligned and has to be copied")
        tensor = tensor.clone()
        where = tensor.data_ptr()
    return tensor, where, (tensor.dtype, tensor.shape, tensor.stride())


def _import(array: Any, name: str) -> Any:
    """A numpy array on the memory of anything that shares memory."""
    if isinstance(array, np.ma.MaskedArray):
        raise unsupported(
            f"{name} is a masked array, whose mask would be ignored: pass its data,"
            " and the mask as attn_mask"
        )
    if hasattr(array, "__array_interface__"):
        return np.asarray(array)
    if hasattr(array, "__dlpack__") and hasattr(array, "__dlpack_device__"):
        device = int(array.__dlpack_device__()[0])
        if device not in _CPU_DEVICES:
            raise unsupported(
                f"{name} is on a device (DLPack type {device}): only the CPU will do"
            )
        try:
            return np.from_dlpack(array)
        except (BufferError, RuntimeError, TypeError, ValueError) as error:
            raise unsupported(f"{name} cannot be read: {error}") from error
    if isinstance(array, (int, float, list, tuple)):
        bare = name.removeprefix("memory_")
        if bare in _SMALL_INTEGERS:
            return _from_list(array, name, None)
        if bare in _SMALL_FLOATS:
            return _from_list(array, name, np.float32)
    raise invalid(
        f"{name} is of type {type(array).__name__}: expected a numpy array, a torch"
        " tensor, or another array with __dlpack__ or __array_interface__"
    )


def _from_list(numbers: Any, name: str, dtype: Any) -> Any:
    try:
        return np.asarray(numbers, dtype)
    except (OverflowError, TypeError, ValueError) as error:
        raise invalid(f"{name} cannot be read: {error}") from error
