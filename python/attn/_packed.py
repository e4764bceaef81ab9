"""Packed sequences: they lie one after the other in one array, without padding.

An array is (total, heads, dim) for the caller and (1, heads, total, dim) for the
library, which is a matter of strides.
"""

from __future__ import annotations

import functools
import math
from typing import Any

from ._arrays import Facts as ArrayFacts
from ._call import Call, Output, single
from ._context import Context, forget
from ._errors import invalid
from ._inputs import REQUIRED, Input, place
from ._layout import Slot, View, contiguous, new, view
from ._options import Asked, Options
from ._plan import facts_of, plan_for
from ._results import result_type
from ._shapes import Sizes, sizes

# Prepared calls that are kept.
_CALLS = 256


@functools.lru_cache(maxsize=_CALLS)
def prepare_packed(
    context: Context,
    names: tuple[str, ...],
    arrays: tuple[ArrayFacts, ...],
    options: tuple[Any, ...],
    asked: tuple[Any, ...],
) -> Call:
    """The call with inputs of these names and facts, of these Options and Asked."""
    views = dict(zip(names, map(view, arrays)))
    chosen = Options(*options).checked(frozenset(names))
    for name in REQUIRED:
        check_rank(name, views[name])
    query, key, value = (by_heads(views[name]) for name in REQUIRED)
    rows = sizes(query, key, value, chosen.enable_gqa)
    batch = count(views, "cu_seqlens_q")
    if count(views, "cu_seqlens_k") != batch:
        raise invalid(
            f"cu_seqlens_q has shape {views['cu_seqlens_q'].shape}, cu_seqlens_k"
            f" {views['cu_seqlens_k'].shape}: they must match"
        )
    problem = rows._replace(batches=(batch,))
    inputs = [
        place_packed(name, array, rows)
        if name in REQUIRED
        else place(name, array, problem)
        for name, array in views.items()
    ]
    outputs = packed_outputs(rows, Asked(*asked), query.dtype)
    plan = None
    if rows.heads > 0:  # the library knows no attention without heads
        facts = facts_of(rows, chosen, inputs)
        plan = plan_for(context, facts, batch, rows.q_length, rows.kv_length)
    fields = tuple(output.field for output in outputs)
    result = result_type("Attention", fields) if len(fields) > 1 else single
    return Call(plan, inputs, outputs, result, backward=False)


forget.append(prepare_packed.cache_clear)


def count(views: dict[str, View], starts: str) -> int:
    """How many sequences there are, by where they start."""
    shape = views[starts].shape
    if len(shape) != 1 or shape[0] == 0:
        raise invalid(
            f"{starts} has shape {shape}: expected (sequences + 1), where each"
            " starts and the last one ends"
        )
    return shape[0] - 1


def check_rank(name: str, array: View) -> None:
    """An error for an array that is not (total, heads, dim)."""
    if len(array.shape) != 3:
        raise invalid(
            f"{name} has {len(array.shape)} dimensions, shape {array.shape}: expected"
            " (total, heads, dim)"
        )


def by_heads(array: View) -> View:
    """(total, heads, dim) seen as (heads, total, dim)."""
    (total, heads, dim), strides = array.shape, array.strides
    return View(array.dtype, (heads, total, dim), (strides[1], strides[0], strides[2]))


def place_packed(name: str, array: View, rows: Sizes) -> Input:
    """Where and how a query, key or value goes into a call; rows is of batch 1."""
    input = place(name, by_heads(array), rows)
    if input.slot.copies:
        # What is contiguous is the copy as the caller has it.
        plain = array._replace(strides=contiguous(array.shape))
        slot = place(name, by_heads(plain), rows).slot
        input = input._replace(slot=slot._replace(copies=True))
    return input


def packed_outputs(rows: Sizes, asked: Asked, dtype: str) -> list[Output]:
    """The outputs: out (total, heads, dim), lse (heads, total)."""
    total, heads, dim = rows.q_length, rows.heads, rows.value_dim
    strides = by_heads(
        View(dtype, (total, heads, dim), contiguous((total, heads, dim)))
    )
    slot = Slot(dtype, (1, heads, total, dim), (0, *strides.strides), False, None)
    outputs = [Output("out", "out", (total, heads, dim), slot, like_query=True)]
    if asked.lse:
        slot = new((1, heads, total), "float32")
        outputs.append(Output("lse", "lse", (heads, total), slot))
    return outputs


def clear_others(result: Any, starts: Any, total: int) -> None:
    """Makes the rows before the first sequence and after the last those of no keys."""
    first, end = int(starts[0]), int(starts[-1])
    if first > 0 or end < total:
        out, lse = result if isinstance(result, tuple) else (result, None)
        for others in (slice(0, first), slice(end, total)):
            out[others] = 0
            if lse is not None:
                lse[:, others] = -math.inf
