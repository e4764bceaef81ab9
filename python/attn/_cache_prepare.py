"""Prepares calls on a cache, as ``_prepare.py`` does those on arrays."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

from ._arrays import Facts as ArrayFacts
from ._arrays import Look, address, as_numpy, memory_of
from ._cache_sequences import Kind
from ._cache_structs import AppendArgs
from ._call import Call, Output, single
from ._context import Context, forget
from ._entered import Copy, Step, entered
from ._errors import invalid
from ._inputs import Input, place
from ._layout import View, new, view
from ._library import check, lib
from ._options import Asked, Options
from ._packed import check_rank, count, packed_outputs, place_packed
from ._plan import facts_of, plan_for
from ._results import result_type
from ._shapes import Sizes, check_stored

# Prepared calls of each kind that are kept.
_CALLS = 256


@functools.lru_cache(maxsize=_CALLS)
def prepare_cached(
    context: Context,
    kind: Kind,
    names: tuple[str, ...],
    arrays: tuple[ArrayFacts, ...],
    options: tuple[Any, ...],
    return_lse: bool,
) -> Call:
    """The call of queries that attend a cache: inputs of these names and facts.

    It serves as long as the cache grows: the bound of its plan is the capacity.
    """
    views = dict(zip(names, map(view, arrays)))
    chosen = Options(*options).checked(frozenset(names))
    problem = _sizes(kind, views)
    asked = Asked(lse=return_lse)
    if "cu_seqlens_q" in views:
        rows = problem._replace(batches=(1,))
        query = place_packed("query", views["query"], rows)
        outputs = packed_outputs(rows, asked, views["query"].dtype)
    else:
        query = place("query", views["query"], problem)
        outputs = _outputs(problem, asked, views["query"].dtype)
    others = {name: array for name, array in views.items() if name != "query"}
    inputs = [query, *(place(name, array, problem) for name, array in others.items())]
    facts = facts_of(problem, chosen, inputs)
    plan = plan_for(context, facts, problem.batch, problem.q_length, kind.capacity)
    fields = tuple(output.field for output in outputs)
    result = result_type("Attention", fields) if len(fields) > 1 else single
    return Call(plan, inputs, outputs, result, backward=False)


forget.append(prepare_cached.cache_clear)


def _sizes(kind: Kind, views: dict[str, View]) -> Sizes:
    """The sizes of a call with this query."""
    query = views["query"]
    check_stored("query", query)
    if "cu_seqlens_q" in views:
        check_rank("query", query)
        (length, heads, dim), batch = query.shape, count(views, "cu_seqlens_q")
    elif len(query.shape) == 4:
        batch, heads, length, dim = query.shape
    else:
        raise invalid(
            f"query has {len(query.shape)} dimensions, shape {query.shape}: expected"
            " (sequences, heads, length, dim)"
        )
    if heads == 0 or heads % kind.kv_heads:
        raise invalid(
            f"query has {heads} heads, the cache {kind.kv_heads}: {heads} is not a"
            f" multiple of {kind.kv_heads}"
        )
    if dim != kind.key_dim:
        raise invalid(f"query has dim {dim}, the keys of the cache {kind.key_dim}")
    mask = views.get("attn_mask")
    # How many keys there are now, only the cache knows: it checks the mask.
    keys = mask.shape[-1] if mask is not None and mask.shape else kind.capacity
    return Sizes(
        leading=(batch, heads),
        batches=(batch,),
        heads=heads,
        kv_heads=kind.kv_heads,
        q_length=length,
        kv_length=keys,
        key_dim=dim,
        value_dim=kind.value_dim,
    )


def _outputs(problem: Sizes, asked: Asked, dtype: str) -> list[Output]:
    outputs = []
    for field, member in asked.results().items():
        shape = (*problem.leading, *problem.tail(field))
        slot = new(shape, dtype if field == "out" else "float32")
        outputs.append(Output(field, member, shape, slot, like_query=field == "out"))
    return outputs


class Append:
    """Keys and values of given shapes, which can be appended again and again."""

    def __init__(self, inputs: list[Input]) -> None:
        self._inputs = inputs
        self._frames: list[tuple[AppendArgs, list[Any]]] = []

    def _frame(self) -> tuple[AppendArgs, list[Any]]:
        """Structs of one running call; several threads need several."""
        try:
            return self._frames.pop()
        except IndexError:
            args = AppendArgs()
            size = ctypes.sizeof(args)
            check(lib.attn_append_args_init(ctypes.byref(args), size))
            tensors = [input.slot.tensor(0) for input in self._inputs]
            for input, tensor in zip(self._inputs, tensors):
                setattr(args, input.member, ctypes.pointer(tensor))
            return args, tensors

    def run(self, cache: int, layer: int, looks: list[Look]) -> None:
        """Appends what ``look`` found."""
        frame = args, tensors = self._frame()
        kept, copies = [], []  # what is copied lives as long as the call
        for input, tensor, (array, where, _) in zip(self._inputs, tensors, looks):
            tensor.data = where
            if input.slot.copies:
                copies.append(Copy(tensor, input.slot, as_numpy(array)))
                kept.append(input.slot.copied(copies[-1].array))
                tensor.data = address(kept[-1])
        args.layer = layer
        reference = ctypes.byref(args)
        check(lib.attn_cache_append(cache, reference))
        if entered.steps is None:
            self._frames.append(frame)
        else:
            held = (tensors, kept, memory_of(array for array, _, _ in looks))
            append = lib.attn_cache_append
            step = Step(append, cache, reference, args, None, copies, held)
            entered.steps.append(step)


@functools.lru_cache(maxsize=_CALLS)
def prepare_append(
    kind: Kind, names: tuple[str, ...], arrays: tuple[ArrayFacts, ...]
) -> Append:
    """The call that appends inputs of these names and facts."""
    views = dict(zip(names, map(view, arrays)))
    packed = "cu_seqlens" in views
    key, value = views["key"], views["value"]
    expected = "(total, heads, dim)" if packed else "(sequences, heads, length, dim)"
    dims = {"key": kind.key_dim, "value": kind.value_dim}
    for name, dim in dims.items():
        array = views[name]
        check_stored(name, array)
        shape = array.shape
        if len(shape) != (3 if packed else 4):
            raise invalid(f"{name} has shape {shape}: expected {expected}")
        if (shape[1], shape[-1]) != (kind.kv_heads, dim):
            raise invalid(
                f"{name} has {shape[1]} heads of dim {shape[-1]}, the cache"
                f" {kind.kv_heads} of dim {dim}"
            )
    if key.shape[:-1] != value.shape[:-1]:
        raise invalid(
            f"key has shape {key.shape}, value {value.shape}: they must match but for"
            " the dim"
        )
    batch = count(views, "cu_seqlens") if packed else key.shape[0]
    length = key.shape[0 if packed else 2]
    heads, (key_dim, value_dim) = kind.kv_heads, dims.values()
    sizes = Sizes((), (batch,), heads, heads, length, length, key_dim, value_dim)
    inputs = []
    for name, array in views.items():
        if packed and name in dims:
            inputs.append(place_packed(name, array, sizes._replace(batches=(1,))))
        else:
            inputs.append(place(name, array, sizes))
    return Append(inputs)
