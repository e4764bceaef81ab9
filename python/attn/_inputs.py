"""Which shapes and types each input may have, and where it goes in the call.

``slot`` has one branch for each kind of input. To add an input, add its name to
``OPTIONAL``, its rule here, and its member to the descriptor in ``_plan.py``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ._errors import invalid, unsupported
from ._layout import Slot, View, fit
from ._shapes import Sizes, check_float32

# The order in which a call lists its inputs.
REQUIRED = ("query", "key", "value")
OPTIONAL = (
    "attn_mask",
    "q_lengths",
    "kv_lengths",
    "query_offsets",
    "prefix_lengths",
    "q_documents",
    "k_documents",
    "block_mask",
    "alibi_slopes",
    "sinks",
)


class Input(NamedTuple):
    """A slot and the member of ``attn_forward_args`` it belongs to."""

    member: str
    slot: Slot


def place(name: str, array: View, sizes: Sizes, blocks: tuple[int, int]) -> Input:
    """Where and how the input of this name goes into a call of these sizes."""
    batches, merged = sizes.batches, len(sizes.batches)
    lengths = {"q": sizes.q_length, "k": sizes.kv_length}

    if name in REQUIRED:
        heads = sizes.heads if name == "query" else sizes.kv_heads
        wide = (*batches, heads, *array.shape[-2:])
        return Input(name, fit(array, wide, merged, "float32"))

    if name == "attn_mask":
        if array.dtype not in ("bool", "float32"):
            raise unsupported(
                f"attn_mask is {array.dtype}: bool (True: attend) and float32 (added to"
                " the scores) are supported so far"
            )
        target = (sizes.q_length, sizes.kv_length)
        wide = _mask_shape(name, array, sizes, target)
        member = "mask" if array.dtype == "bool" else "bias"
        slot = fit(array, wide, merged, array.dtype, last_stride_0=True)
        return Input(member, slot)

    if name == "block_mask":
        if array.dtype != "bool":
            raise unsupported(f"block_mask is {array.dtype}: only bool is supported")
        target = (-(-sizes.q_length // blocks[0]), -(-sizes.kv_length // blocks[1]))
        wide = _mask_shape(name, array, sizes, target)
        return Input(name, fit(array, wide, merged, "bool"))

    if name == "sinks":
        check_float32(name, array)
        wide = _widen(name, array, (sizes.heads,), "(heads)")
        return Input(name, fit(array, wide, 0, "float32"))

    if name == "alibi_slopes":
        check_float32(name, array)
        if len(array.shape) < 2:
            wide = _widen(name, array, (sizes.heads,), "(heads)")
            return Input(name, fit(array, wide, 0, "float32"))
        wide = _widen(name, array, (*batches, sizes.heads), "(batch, heads)")
        return Input(name, fit(array, wide, merged, "float32"))

    if name in ("q_documents", "k_documents"):
        wide = _widen(name, array, (*batches, lengths[name[0]]), "(batch, length)")
        return Input(name, fit(array, wide, merged, _integer(name, array)))

    # Lengths, offsets and prefixes: a number for each batch element.
    wide = _widen(name, array, batches, "(batch)")
    return Input(name, fit(array, wide, merged, _integer(name, array)))


def _integer(name: str, array: View) -> str:
    """The type that the library gets the integers in."""
    if array.dtype in ("int32", "int64"):
        return array.dtype
    if array.dtype in ("int8", "int16", "uint8", "uint16", "uint32"):
        return "int64"
    raise unsupported(f"{name} is {array.dtype}: expected integers, int32 or int64")


def _widen(
    name: str, array: View, wide: tuple[int, ...], meaning: str
) -> tuple[int, ...]:
    """Wide, if array broadcasts to it."""
    if not _broadcasts(array.shape, wide):
        raise invalid(
            f"{name} has shape {array.shape}, which does not broadcast to {wide},"
            f" {meaning}"
        )
    return wide


def _mask_shape(
    name: str, array: View, sizes: Sizes, target: tuple[int, int]
) -> tuple[int, ...]:
    """The shape of a mask with all batch dimensions; it keeps its other ones.

    The library repeats dimensions of size 1 itself; only the batch dimensions must be
    written out, to become one.
    """
    full = (*sizes.leading, *target)
    if not _broadcasts(array.shape, full):
        raise invalid(
            f"{name} has shape {array.shape}, which does not broadcast to {full}"
        )
    rank = len(sizes.batches) + 3
    shape = (1,) * (rank - len(array.shape)) + array.shape
    return (*sizes.batches, *shape[-3:])


def _broadcasts(shape: tuple[int, ...], wide: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, wide) == wide
    except ValueError:
        return False
