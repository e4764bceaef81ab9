"""PyTorch: torch.nn.functional.scaled_dot_product_attention, and its modules.

Masks that it has no argument for are handed to it as the tensor that its users would
make. Packed sequences are a padded batch with a mask, or a call for each of them,
whichever is faster; its nested tensors are slower than either on processors, and take
no is_causal there.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch

from compare.additive import additive_attention
from compare.inputs import Inputs, LayerInputs, Packed, unpack_rows
from compare.layers import layer_call
from compare.peer import Call, LocalCall, Results, fastest
from compare.problem import Problem
from compare.training import train_call


class PyTorch:
    """The peer that must be there: its tensors are what all are given."""

    name = "pytorch"

    def version(self) -> str:
        """With the instructions that it uses."""
        return f"{torch.__version__}, {torch.backends.cpu.get_cpu_capability()}"

    def set_threads(self, count: int) -> None:
        """Of the whole process."""
        torch.set_num_threads(count)

    def prepare(self, problem: Problem, inputs: Inputs | LayerInputs) -> Call | None:
        """All but softcap, which its function does not have."""
        if isinstance(inputs, LayerInputs):
            size = problem.q_length
            mask = torch.ones(size, size).triu(1).bool()
            module = torch.nn.MultiheadAttention
            return layer_call(problem, inputs, module, attn_mask=mask)
        if problem.softcap != 0:
            return None
        options: dict[str, Any] = {
            "dropout_p": problem.dropout,
            "scale": problem.scale,
            "enable_gqa": problem.q_heads != problem.kv_heads,
        }
        masks = inputs.masks.theirs
        if inputs.vector is not None:
            return _additive(problem, inputs, inputs.vector)
        function = torch.nn.functional.scaled_dot_product_attention
        if problem.backward:
            return train_call(function, {**options, **masks}, inputs)
        turns = itertools.cycle(inputs.keys_values)

        def call() -> torch.Tensor:
            with torch.no_grad():
                return function(inputs.query, *next(turns), **options, **masks)

        packed = inputs.packed
        if packed is None or _needs_mask(problem):
            return LocalCall(call, lambda out: (out,))
        return fastest(
            [
                lambda: LocalCall(call, lambda out: (out,), "a padded batch"),
                lambda: _one_by_one(problem, packed, options),
            ]
        )

    def forget(self) -> None:
        """Nothing is kept."""


def _additive(problem: Problem, inputs: Inputs, vector: torch.Tensor) -> LocalCall:
    """The formula as it stands."""
    options = {**inputs.masks.theirs, "score_vector": vector, "scale": problem.scale}
    if problem.backward:
        return train_call(additive_attention, options, inputs)
    turns = itertools.cycle(inputs.keys_values)

    def call() -> torch.Tensor:
        with torch.no_grad():
            return additive_attention(inputs.query, *next(turns), **options)

    return LocalCall(call, lambda out: (out,))


def _needs_mask(problem: Problem) -> bool:
    """Whether a sequence alone would need a mask, too."""
    shifted = problem.bottom_right and problem.q_length != problem.kv_length
    return problem.window != (-1, -1) or problem.alibi or (problem.causal and shifted)


def _one_by_one(problem: Problem, packed: Packed, options: dict[str, Any]) -> LocalCall:
    """A call for each sequence, on its packed rows."""

    def sequences(rows: torch.Tensor, starts: torch.Tensor) -> list[torch.Tensor]:
        lengths = starts.diff().tolist()
        return [one.transpose(0, 1)[None] for one in rows.split(lengths)]

    every = list(
        zip(
            sequences(packed.query, packed.q_starts),
            sequences(packed.key, packed.k_starts),
            sequences(packed.value, packed.k_starts),
        )
    )
    function = torch.nn.functional.scaled_dot_product_attention

    def call() -> list[torch.Tensor]:
        with torch.no_grad():
            return [
                function(*tensors, is_causal=problem.causal, **options)
                for tensors in every
            ]

    def read(outs: list[torch.Tensor]) -> Results:
        rows = torch.cat([out[0].transpose(0, 1) for out in outs])
        return (unpack_rows(rows, packed.q_starts, problem.q_length),)

    return LocalCall(call, read, "a call for each sequence")
