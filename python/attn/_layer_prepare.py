"""Prepares calls of layers: shapes, types and options are checked once and remembered.

As in ``_prepare.py``, which does this for single calls of attention.
"""

from __future__ import annotations

import functools

from ._arrays import Facts as ArrayFacts
from ._call import Output
from ._context import Context, forget
from ._errors import AttnError, Status, invalid
from ._inputs import Input
from ._layer_frame import Ready, Target
from ._layer_inputs import (
    SEQUENCES,
    LayerSizes,
    Placed,
    layer_sizes,
    place_in_layer,
    rows,
    sequence,
)
from ._layer_kinds import Kind
from ._layer_pool import pool_for
from ._layer_request import MEMORY, Form
from ._layout import Slot, View, contiguous, fit, new, view
from ._options import Options
from ._plan import facts_of
from ._prepare import gradient_of
from ._shapes import check_float32

# Prepared calls of each kind that are kept. One takes some 5 KiB.
_CALLS = 256


@functools.lru_cache(maxsize=_CALLS)
def ready(
    context: Context,
    form: Form,
    arrays: tuple[ArrayFacts, ...],
    asked: tuple[str, ...],
) -> Ready:
    """The call with arrays of these facts.

    asked are outputs beside "output": "weights" and "mean_weights", of a stack also
    "memory_weights" and "memory_mean_weights".
    """
    kind = form.kind
    views = dict(zip(form.names, map(view, arrays)))
    sizes = layer_sizes(kind, views, form.seq_first, form.query_length)
    others = frozenset(name for name in views if name.startswith(MEMORY))
    chosen = Options(*form.options).checked(frozenset(views) - others)
    memory = chosen
    if form.memory_options is not None:
        bare = frozenset(name.removeprefix(MEMORY) for name in others)
        memory = Options(*form.memory_options).checked(bare)
    inputs = tuple(
        place_in_layer(
            name, array, kind, sizes, form.seq_first, (chosen.blocks, memory.blocks)
        )
        for name, array in views.items()
    )

    def of(struct: str) -> list[Input]:
        return [placed.input for placed in inputs if placed.struct == struct]

    problem = sizes.of_attention(kind.attention, sizes.self_length(kind))
    attention = facts_of(problem, chosen, of("attention"), kind.parameters)
    cross = None
    if kind.cross is not None:
        problem = sizes.of_attention(kind.cross, sizes.kv_length)
        cross = facts_of(problem, memory, of("memory"))
    bounds = (sizes.batch, sizes.q_length, sizes.kv_length)
    first = next(iter(views.values()))
    slot = _like(first, form.seq_first)
    same = contiguous(first.shape) == first.strides
    output = Output("output", "output", first.shape, slot, same=same)
    outputs = [Target("layer", output)]
    outputs += [_weights(name, kind, sizes) for name in asked]
    pool = pool_for(context, kind, attention, cross, bounds)
    return Ready(form, pool, sizes, inputs, tuple(outputs))


@functools.lru_cache(maxsize=_CALLS)
def ready_back(
    context: Context,
    form: Form,
    arrays: tuple[ArrayFacts, ...],
    given: tuple[str, ...],
    wanted: tuple[str, ...],
) -> Ready:
    """The call for the gradients of the wanted arrays of that call.

    given are the outputs whose gradients follow the arrays: "output", "weights".
    """
    count = len(form.names)
    forward = ready(context, form, arrays[:count], given[1:])
    views = dict(zip(form.names, map(view, arrays)))
    inputs = dict(zip(form.names, forward.inputs))
    incoming = tuple(
        _gradient_in(target, view(facts), form)
        for target, facts in zip(forward.outputs, arrays[count:])
    )
    outputs = []
    for name in wanted:
        if name not in views:
            raise invalid(f"the gradient of {name} is wanted, but no {name} is given")
        array, (struct, input) = views[name], inputs[name]
        if array.dtype != "float32" or name in ("cos", "sin"):
            raise AttnError(
                Status.NOT_DIFFERENTIABLE, f"{name}, {array.dtype}, has no gradient"
            )
        output = gradient_of(name, array, input)
        if name in SEQUENCES:
            output = output._replace(slot=_like(array, form.seq_first), summed=None)
        outputs.append(Target(f"{struct} back", output))
    everything = forward.inputs + incoming
    return Ready(
        form, forward.pool, forward.sizes, everything, tuple(outputs), backward=True
    )


forget.append(ready.cache_clear)
forget.append(ready_back.cache_clear)


def _like(array: View, seq_first: bool) -> Slot:
    """The slot of a new sequence that lies as the caller's do."""
    there = View("float32", array.shape, contiguous(array.shape))
    _, shape, strides = rows(there, seq_first)
    return Slot("float32", shape, strides, False, None)


def _weights(name: str, kind: Kind, sizes: LayerSizes) -> Target:
    """Where weights go: those of a stack lie one block behind the other."""
    bare = name.removeprefix("memory_")
    layer, keys = kind.attention, sizes.self_length(kind)
    if bare != name:
        if kind.cross is None:
            raise invalid(f"{name} are asked for, but the stack has cross=False")
        layer, keys = kind.cross, sizes.kv_length
    heads = () if bare == "mean_weights" else (layer.heads,)
    tail = (*heads, sizes.q_length, keys + layer.extra_keys)
    first = () if kind.stack is None else (kind.stack.layers,)
    return Target(
        "attention" if kind.stack is None else "layer",
        Output(
            name,
            name.replace("memory_", "cross_"),
            (*first, *sizes.leading, *tail),
            new((*first, sizes.batch, *tail), "float32"),
        ),
    )


def _gradient_in(target: Target, array: View, form: Form) -> Placed:
    """Where the gradient of an output goes, which the caller gives.

    That of mean_weights is divided by the heads already.
    """
    struct, output = target
    name = "grad_output" if output.field == "output" else "grad_weights"
    check_float32(name, array)
    if array.shape != output.shape:
        raise invalid(f"{name} has shape {array.shape}: expected {output.shape}")
    member, wide = f"grad_{output.member}", output.slot.shape
    if output.field == "output":
        slot = sequence(array, form.seq_first)
    elif output.field == "mean_weights":
        # The same for all heads, each of which has its part in the mean.
        member, wide = "grad_weights", (wide[0], form.kind.attention.heads, *wide[1:])
        shape, strides = array.shape, array.strides
        shape, strides = (
            (*shape[:-2], 1, *shape[-2:]),
            (*strides[:-2], 0, *strides[-2:]),
        )
        slot = fit(View(array.dtype, shape, strides), wide, 0, "float32")
    else:
        slot = fit(array, wide, 0, "float32")
    return Placed(f"{struct} back", Input(member, slot, slot.shape))
