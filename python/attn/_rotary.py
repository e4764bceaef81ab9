"""Rotary position embeddings.

What a combination of shapes comes to is worked out once and remembered, as for
attention (``_prepare.py``); a call then fills in addresses.
"""

from __future__ import annotations

import ctypes
import functools
import math
from typing import Any, NamedTuple

import numpy as np

from ._arrays import Look, address, as_numpy, empty_like_kind, look
from ._context import current
from ._errors import invalid
from ._layout import Slot, View, fit, new, view
from ._library import check, lib
from ._options import int64, number
from ._shapes import check_float32, integer_type, widen
from ._structs import RotaryArgs

DEFAULT_BASE = 10000.0

# The arrays beside input, and their members of the library's struct.
ARRAYS = {
    "position_ids": "position_ids",
    "offsets": "offsets",
    "cos": "cosines",
    "sin": "sines",
}

# Combinations of shapes that are remembered.
_CALLS = 256


class Facts(NamedTuple):
    """What is asked of a rotation beside its arrays."""

    rotary_dim: int
    interleaved: bool
    inverse: bool
    base: float  # 0 with cos and sin


def rotary_embedding(
    input: Any,
    *,
    rotary_dim: int = 0,
    interleaved: bool = False,
    inverse: bool = False,
    base: float = DEFAULT_BASE,
    position_ids: Any = None,
    offsets: Any = None,
    cos: Any = None,
    sin: Any = None,
) -> Any:
    """Rotates pairs of features by angles that grow with the position (RoPE).

    input is (..., heads, length, dim), float32, as query and key are; (length, dim) is
    one head. Each pair (x, y) of the first rotary_dim features (0: of all) becomes

        (x cos a - y sin a, x sin a + y cos a),  a = position / base**(2 k / rotary_dim)

    for pair k: features k and k + rotary_dim/2 (Llama, GPT-NeoX) or, interleaved, 2 k
    and 2 k + 1 (GPT-J). The other features are copied. Angles are computed in float64.

    The position of a row is position_ids, (length) or (batch, length), or its index
    plus offsets, a number or one for each batch element: how many rows came before.

    cos and sin, if given, are used instead of base: (positions, rotary_dim/2), which
    positions index, or (batch, length, rotary_dim/2). ONNX RotaryEmbedding is this with
    its cos_cache and sin_cache.

    inverse=True rotates back, which is also the gradient: what ``grad_out`` is for the
    result, ``rotary_embedding(grad_out, inverse=True)`` is for input. ``attn.torch``
    has the same function with that as its gradient.

        >>> q = np.ones((1, 2, 5, 8), np.float32)
        >>> rotated = attn.rotary_embedding(q, offsets=7)
        >>> back = attn.rotary_embedding(rotated, offsets=7, inverse=True)
        >>> np.allclose(back, q, atol=1e-6)
        True
    """
    facts, arrays = sort_arguments(
        rotary_dim, interleaved, inverse, base, position_ids, offsets, cos, sin
    )
    return rotate(input, facts, arrays)


def sort_arguments(
    rotary_dim: int,
    interleaved: bool,
    inverse: bool,
    base: float,
    position_ids: Any,
    offsets: Any,
    cos: Any,
    sin: Any,
) -> tuple[Facts, dict[str, Any]]:
    """The facts, and the arrays that are given, by name."""
    values = (position_ids, offsets, cos, sin)
    arrays = {name: array for name, array in zip(ARRAYS, values) if array is not None}
    base = number(base, "base")
    if cos is None:
        if not 0 < base < math.inf:
            raise invalid(f"base is {base}: it must be more than 0 and finite")
    elif base != DEFAULT_BASE:
        raise invalid(f"base is {base}, but cos is given, which is used instead")
    facts = Facts(
        int64(rotary_dim, "rotary_dim"),
        bool(interleaved),
        bool(inverse),
        base if cos is None else 0.0,
    )
    return facts, arrays


def rotate(input: Any, facts: Facts, arrays: dict[str, Any]) -> Any:
    """The rotated input, a new array of its kind."""
    looks = [look(input, "input")]
    looks += [look(array, name) for name, array in arrays.items()]
    shape, slots = _slots(("input", *arrays), tuple([what for _, _, what in looks]))

    args = RotaryArgs()
    check(lib.attn_rotary_args_init(ctypes.byref(args), ctypes.sizeof(args)))
    args.rotary_dim, args.interleaved, args.inverse, args.base = facts
    kept = []  # copies live as long as the call
    for name, slot, found in zip(("input", *arrays), slots, looks):
        array, where = _copied(slot, found)
        kept.append(array)
        member = ARRAYS.get(name, "input")
        setattr(args, member, ctypes.pointer(slot.tensor(where)))
    result, where = empty_like_kind(looks[0][0], shape, np.dtype(np.float32))
    output = new(slots[0].shape, "float32")
    args.output = ctypes.pointer(output.tensor(where))
    check(lib.attn_rotary(current().handle, ctypes.byref(args)))
    return result


def _copied(slot: Slot, found: Look) -> tuple[Any, int]:
    """The array laid out as its slot says, and its address."""
    array, where, _ = found
    if not slot.copies:
        return array, where
    copy = slot.copied(as_numpy(array))
    return copy, address(copy)


@functools.lru_cache(maxsize=_CALLS)
def _slots(
    names: tuple[str, ...], arrays: tuple[Any, ...]
) -> tuple[tuple[int, ...], list[Slot]]:
    """The shape of input, and where each array goes."""
    input, *others = map(view, arrays)
    if len(input.shape) < 2:
        raise invalid(
            f"input has {len(input.shape)} dimensions, shape {input.shape}: expected"
            " (..., heads, length, dim) or (length, dim)"
        )
    check_float32("input", input)
    batches = input.shape[:-3] or (1,)
    heads = input.shape[-3] if len(input.shape) > 2 else 1
    length, dim = input.shape[-2:]
    wide = (*batches, heads, length, dim)
    slots = [fit(input, wide, len(batches), "float32")]
    for name, array in zip(names[1:], others):
        slots.append(place_rotary(name, array, batches, length))
    return input.shape, slots


def place_rotary(name: str, array: View, batches: tuple[int, ...], length: int) -> Slot:
    """Where and how the array of this name goes into a call of these sizes."""
    merged = len(batches)
    if name == "position_ids":
        dtype = integer_type(name, array)
        wide = widen(name, array, (*batches, length), "(batch, length)")
    elif name == "offsets":
        dtype = integer_type(name, array)
        wide = widen(name, array, batches, "(batch)")
    else:
        check_float32(name, array)
        dtype = "float32"
        if len(array.shape) < 2:
            raise invalid(
                f"{name} has shape {array.shape}: expected (positions, rotary_dim/2)"
                " or (batch, length, rotary_dim/2)"
            )
        if len(array.shape) == 2:
            return fit(array, array.shape, 0, dtype)
        wide = (*batches, length, array.shape[-1])
        widen(name, array, wide, "(batch, length, rotary_dim/2)")
    return fit(array, wide, merged, dtype)
