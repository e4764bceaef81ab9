"""A call, prepared: everything that does not depend on what the arrays hold.

Programs call attention again and again with arrays of the same shapes. ``prepare``
checks a combination of shapes, strides, types and options once, and remembers it as a
``Call``; running that again comes to writing a few addresses into structs that are
filled in already.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any, NamedTuple

from ._arrays import Facts as ArrayFacts
from ._arrays import Look, address, as_numpy, empty_like_kind
from ._context import Context, forget
from ._inputs import REQUIRED, Input, place
from ._layout import Slot, contiguous, view
from ._library import check, lib
from ._options import Options
from ._plan import Facts, Plan, plan_for
from ._results import result_type
from ._shapes import Sizes, sizes
from ._structs import ForwardArgs, Tensor

# Prepared calls that are kept. One takes about 3 KiB.
_CALLS = 256

_forward = lib.attn_plan_forward


class Output(NamedTuple):
    """An output: what the caller calls it, where it goes, and its shape."""

    field: str
    member: str
    shape: tuple[int, ...]  # for the caller
    slot: Slot  # for the library


class Frame:
    """The structs of one running call. Several threads need several."""

    __slots__ = ("args", "inputs", "outputs", "reference")

    def __init__(self, inputs: list[Input], outputs: list[Output]) -> None:
        self.args = ForwardArgs()
        self.reference = ctypes.byref(self.args)
        check(lib.attn_forward_args_init(self.reference, ctypes.sizeof(self.args)))
        self.inputs = [self._tensor(input.member, input.slot) for input in inputs]
        self.outputs = [self._tensor(output.member, output.slot) for output in outputs]

    def _tensor(self, member: str, slot: Slot) -> Tensor:
        tensor = Tensor()
        slot.describe(tensor)
        setattr(self.args, member, ctypes.pointer(tensor))
        return tensor


class Call:
    """A call of given shapes and options, which can be run on any data."""

    def __init__(
        self, plan: Plan | None, inputs: list[Input], outputs: list[Output]
    ) -> None:
        self._plan = plan  # None: every output is empty
        self._handle = plan.handle if plan else None
        self._inputs = inputs
        self._outputs = outputs
        self._shapes = [output.shape for output in outputs]
        self._copied = [
            (index, input.slot)
            for index, input in enumerate(inputs)
            if input.slot.copies
        ]
        self._result = (
            result_type(tuple(output.field for output in outputs))
            if len(outputs) > 1
            else None
        )
        # Frames not in use. Appending and popping are atomic, so this needs no lock.
        self._frames: list[Frame] = []

    def run(self, looks: list[Look]) -> Any:
        """Computes, from what ``look`` said of each input, in order."""
        like = looks[0][0]
        for index, slot in self._copied:
            array = slot.copied(as_numpy(looks[index][0]))
            looks[index] = (array, address(array), looks[index][2])

        results = []
        try:
            frame = self._frames.pop()
        except IndexError:
            frame = Frame(self._inputs, self._outputs)
        for tensor, (_, where, _) in zip(frame.inputs, looks):
            tensor.data = where
        for tensor, shape in zip(frame.outputs, self._shapes):
            result, tensor.data = empty_like_kind(like, shape)
            results.append(result)

        if self._plan is not None:
            status = _forward(self._handle, frame.reference)
            if status:
                check(status)
        self._frames.append(frame)
        return results[0] if self._result is None else self._result(*results)


@functools.lru_cache(maxsize=_CALLS)
def prepare(
    context: Context,
    names: tuple[str, ...],
    arrays: tuple[ArrayFacts, ...],
    options: tuple[Any, ...],
) -> Call:
    """The call with inputs of these names and facts, or the error it deserves."""
    views = [view(facts) for facts in arrays]
    chosen = Options(*options).checked(frozenset(names))
    query, key, value = views[: len(REQUIRED)]
    problem = sizes(query, key, value, chosen.enable_gqa)
    inputs = [
        place(name, array, problem, chosen.blocks) for name, array in zip(names, views)
    ]
    outputs = _outputs(problem, chosen)
    plan = None
    if problem.heads > 0:  # the library knows no attention without heads
        members = frozenset(input.member for input in inputs) - set(REQUIRED)
        facts = Facts(
            heads=problem.heads,
            kv_heads=problem.kv_heads,
            key_dim=problem.key_dim,
            value_dim=problem.value_dim,
            scale=chosen.scale,
            softcap=chosen.softcap,
            causal=chosen.is_causal,
            alignment=chosen.alignment(members),
            window=chosen.window or (-1, -1),
            blocks=chosen.blocks if "block_mask" in members else (0, 0),
            inputs=members,
        )
        plan = plan_for(
            context, facts, problem.batch, problem.q_length, problem.kv_length
        )
    return Call(plan, inputs, outputs)


forget.append(prepare.cache_clear)


def _outputs(problem: Sizes, options: Options) -> list[Output]:
    """The outputs that the options ask for, in the order they are returned."""
    rows, keys = problem.q_length, problem.kv_length
    asked: list[tuple[str, str, tuple[int, ...]]] = [
        ("out", "out", (rows, problem.value_dim))
    ]
    if options.return_lse:
        asked.append(("lse", "lse", (rows,)))
    if options.return_weights:
        asked.append(("weights", "weights", (rows, keys)))
    if options.return_scores is not None:
        asked.append(("scores", f"{options.return_scores}_scores", (rows, keys)))
    if options.return_key_sums:
        asked.append(("key_sums", "key_sums", (keys,)))
    outputs = []
    for field, member, tail in asked:
        shape = (problem.batch, problem.heads, *tail)
        slot = Slot("float32", shape, contiguous(shape), False, None)
        outputs.append(Output(field, member, (*problem.leading, *tail), slot))
    return outputs
