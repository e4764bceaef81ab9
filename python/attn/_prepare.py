"""Prepares calls: checks a combination of shapes, strides, types and options once.

What comes out is a ``Call``, which is remembered: the same combination, or the error
that it deserves, costs a look-up from then on (an error is found anew each time).
"""

from __future__ import annotations

import functools
from typing import Any

from ._arrays import Facts as ArrayFacts
from ._call import Call, Output, single
from ._context import Context, forget
from ._errors import AttnError, Status, invalid
from ._inputs import REQUIRED, Input, place
from ._layout import View, contiguous, new, view
from ._options import Asked, Options
from ._plan import Plan, facts_of, plan_for
from ._relative import TABLES
from ._results import result_type
from ._shapes import Sizes, check_float32, sizes

# Prepared calls of each kind that are kept. One takes about 3 KiB.
_CALLS = 256

# What the caller calls the gradient of an input, and the option that asks for it.
_GRADIENTS = {
    "query": ("grad_query", ""),
    "key": ("grad_key", ""),
    "value": ("grad_value", ""),
    "attn_mask": ("grad_mask", "mask_grad"),
    "alibi_slopes": ("grad_alibi_slopes", "alibi_slopes_grad"),
    "sinks": ("grad_sinks", "sinks_grad"),
    **{name: (f"grad_{name}", f"{name}_grad") for name in TABLES},
}


@functools.lru_cache(maxsize=_CALLS)
def prepare(
    context: Context,
    names: tuple[str, ...],
    arrays: tuple[ArrayFacts, ...],
    options: tuple[Any, ...],
    asked: tuple[Any, ...],
) -> Call:
    """The call with inputs of these names and facts, of these Options and Asked."""
    views = [view(facts) for facts in arrays]
    problem, plan, inputs = _problem(context, names, views, Options(*options))
    outputs = []
    for field, member in Asked(*asked).results().items():
        tail = problem.tail(field)
        dtype = {"out": views[0].dtype, "dropout_mask": "bool"}.get(field, "float32")
        slot = new((problem.batch, problem.heads, *tail), dtype)
        shape = (*problem.leading, *tail)
        own = field == "out"
        same = own and (shape, contiguous(shape)) == views[0][1:]
        outputs.append(Output(field, member, shape, slot, like_query=own, same=same))
    fields = tuple(output.field for output in outputs)
    result = result_type("Attention", fields) if len(fields) > 1 else single
    return Call(plan, inputs, outputs, result, backward=False)


@functools.lru_cache(maxsize=_CALLS)
def prepare_backward(
    context: Context,
    names: tuple[str, ...],
    given: tuple[str, ...],
    arrays: tuple[ArrayFacts, ...],
    options: tuple[Any, ...],
    wanted: tuple[str, ...],
) -> Call:
    """The call for the gradients of the wanted inputs of that call.

    given are the results of the forward call and the gradients of results that follow
    the inputs in arrays.
    """
    views = [view(facts) for facts in arrays]
    for name, array in zip(REQUIRED, views):
        check_float32(name, array)
    problem, plan, inputs = _problem(context, names, views, Options(*options))
    by_name = {name: (array, input) for name, array, input in zip(names, views, inputs)}
    outputs = []
    for name in wanted:
        field, option = _GRADIENTS[name]
        if name not in by_name:
            raise invalid(f"{option}=True, but no {name} is given")
        array, input = by_name[name]
        if input.slot.dtype != "float32":
            raise AttnError(
                Status.NOT_DIFFERENTIABLE,
                f"{option}=True, but {name} is {array.dtype}, which has no gradient",
            )
        outputs.append(gradient_of(field, array, input))
    results = [
        place(name, array, problem) for name, array in zip(given, views[len(names) :])
    ]
    result = result_type("Gradients", tuple(output.field for output in outputs))
    return Call(plan, inputs + results, outputs, result, backward=True)


forget.append(prepare.cache_clear)
forget.append(prepare_backward.cache_clear)


def _problem(
    context: Context, names: tuple[str, ...], views: list[View], options: Options
) -> tuple[Sizes, Plan | None, list[Input]]:
    """Sizes and inputs of a forward call, and a plan for it and its gradients."""
    chosen = options.checked(frozenset(names))
    query, key, value = views[: len(REQUIRED)]
    problem = sizes(query, key, value, chosen.enable_gqa)
    inputs = [
        place(name, array, problem, chosen.blocks) for name, array in zip(names, views)
    ]
    if problem.heads == 0:  # the library knows no attention without heads
        return problem, None, inputs
    facts = facts_of(problem, chosen, inputs)
    plan = plan_for(context, facts, problem.batch, problem.q_length, problem.kv_length)
    return problem, plan, inputs


def gradient_of(field: str, array: View, input: Input) -> Output:
    """Where the gradient of an input of float32 goes, called field."""
    ones = (1,) * (len(input.wide) - len(array.shape))
    summed = None if (*ones, *array.shape) == input.wide else input.wide
    slot = new(input.slot.shape, "float32")
    return Output(field, f"grad_{input.member}", array.shape, slot, summed)
