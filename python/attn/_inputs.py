"""Which shapes and types each input may have, and where it goes in the call.

``slot`` has one branch for each kind of input. To add an input, add its name to
``OPTIONAL``, its rule here, and its member to the descriptor in ``_plan.py``.
"""

from __future__ import annotations

from typing import NamedTuple

from ._errors import invalid, unsupported
from ._layout import Slot, View, fit
from ._relative import TABLES, shape
from ._shapes import Sizes, broadcasts, check_float32, integer_type, widen

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
    "rng_indices",
    "relative_bias",
    "relative_keys",
    "content_bias",
    "position_bias",
    "q_segments",
    "k_segments",
    "segment_keys",
    "segment_bias",
    "q_ranks",
    "k_ranks",
    "key_scales",
    "value_scales",
    "score_vector",
)
# Where packed sequences start.
STARTS = {
    "cu_seqlens_q": "q_starts",
    "cu_seqlens_k": "k_starts",
    "cu_seqlens": "starts",
}
# A number for each token.
_OF_QUERIES = ("q_documents", "q_segments", "q_ranks")
_OF_KEYS = ("k_documents", "k_segments", "k_ranks")
# What a call for gradients gets besides: results of the forward call, and the gradients
# of some of them.
RESULTS = ("out", "lse", "row_max", "row_sum")
GRADIENTS = ("grad_out", "grad_lse", "grad_weights", "grad_key_sums")


class Input(NamedTuple):
    """A slot and the member of the library's struct it belongs to."""

    member: str
    slot: Slot
    wide: tuple[int, ...]  # the slot's shape before batch dimensions become one


def place(
    name: str, array: View, sizes: Sizes, blocks: tuple[int, int] = (0, 0)
) -> Input:
    """Where and how the input of this name goes into a call of these sizes."""
    batches = sizes.batches
    member, dtype, merged, last_stride_0 = name, "float32", len(batches), False

    if name in REQUIRED:
        heads = sizes.heads if name == "query" else sizes.kv_heads
        wide = (*batches, heads, *array.shape[-2:])
        dtype = array.dtype
    elif name in ("key_scales", "value_scales"):
        check_float32(name, array)
        wide = (*batches, sizes.kv_heads, sizes.kv_length)
        widen(name, array, wide, "(batch, heads of key and value, length)")
        wide = _own_sizes(array, batches, 2)
    elif name == "attn_mask":
        if array.dtype not in ("bool", "float32"):
            raise unsupported(
                f"attn_mask is {array.dtype}: bool (True: attend) and float32 (added to"
                " the scores) are supported so far"
            )
        wide = _mask_shape(name, array, sizes, (sizes.q_length, sizes.kv_length))
        member = "mask" if array.dtype == "bool" else "bias"
        dtype, last_stride_0 = array.dtype, True
    elif name == "block_mask":
        if array.dtype != "bool":
            raise unsupported(f"block_mask is {array.dtype}: only bool is supported")
        target = (-(-sizes.q_length // blocks[0]), -(-sizes.kv_length // blocks[1]))
        wide = _mask_shape(name, array, sizes, target)
        dtype = "bool"
    elif name == "sinks" or (name == "alibi_slopes" and len(array.shape) < 2):
        check_float32(name, array)
        wide = widen(name, array, (sizes.heads,), "(heads)")
        merged = 0
    elif name == "alibi_slopes":
        check_float32(name, array)
        wide = widen(name, array, (*batches, sizes.heads), "(batch, heads)")
    elif name in RESULTS or name in GRADIENTS:
        check_float32(name, array)
        wide = _result_shape(name, array, sizes)
    elif name in TABLES:
        wide = shape(name, array, sizes)
        merged = 0
    elif name in STARTS:
        member, merged = STARTS[name], 0
        wide = (sizes.batch + 1,)
        dtype = integer_type(name, array)
    elif name in _OF_QUERIES or name in _OF_KEYS:
        length = sizes.q_length if name in _OF_QUERIES else sizes.kv_length
        wide = widen(name, array, (*batches, length), "(batch, length)")
        dtype = integer_type(name, array)
    else:  # a number for each batch element
        wide = widen(name, array, batches, "(batch)")
        dtype = integer_type(name, array)

    slot = fit(array, wide, merged, dtype, last_stride_0=last_stride_0)
    return Input(member, slot, wide)


def _mask_shape(
    name: str, array: View, sizes: Sizes, target: tuple[int, int]
) -> tuple[int, ...]:
    """The shape of a mask with all batch dimensions; it keeps its other ones."""
    full = (*sizes.leading, *target)
    if not broadcasts(array.shape, full):
        raise invalid(
            f"{name} has shape {array.shape}, which does not broadcast to {full}"
        )
    return _own_sizes(array, sizes.batches, 3)


def _own_sizes(array: View, batches: tuple[int, ...], others: int) -> tuple[int, ...]:
    """The shape of array with all batch dimensions before so many others of its own.

    The library repeats dimensions of size 1 itself. Only where some batch dimensions
    repeat and others do not must they be written out, to become one.
    """
    shape = (1,) * (len(batches) + others - len(array.shape)) + array.shape
    if all(size == 1 for size in shape[:-others]):
        return shape
    return (*batches, *shape[-others:])


def _result_shape(name: str, array: View, sizes: Sizes) -> tuple[int, ...]:
    """The shape of a result of the forward call, with all batch dimensions."""
    tail = sizes.tail(name.removeprefix("grad_"))
    if array.shape != (*sizes.leading, *tail):
        raise invalid(
            f"{name} has shape {array.shape}: expected {(*sizes.leading, *tail)}"
        )
    return (*sizes.batches, sizes.heads, *tail)
