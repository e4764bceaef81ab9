"""From the arguments of a stack to a call, for numpy and torch."""

from __future__ import annotations

from typing import Any

from ._errors import invalid
from ._layer_kinds import Kind
from ._layer_request import (
    MEMORY,
    LayerRequest,
    attention,
    layer_request,
    split_positions,
)


def stack_request(
    kind: Kind,
    sequences: dict[str, Any],
    options: dict[str, Any],
    dropout: tuple[float, int],
) -> LayerRequest:
    """A call: sequences, positions and what goes on to the two attentions.

    dropout is its probability and seed.
    """
    given = {name: array for name, array in sequences.items() if array is not None}
    positions, options = split_positions(options)
    of_memory = {name: x for name, x in options.items() if name.startswith(MEMORY)}
    if kind.cross is None and of_memory:
        raise invalid(f"{next(iter(of_memory))} is given, but cross is False")
    for name in of_memory:
        del options[name]
    request = attention(options, kind.attention, *dropout)
    memory = None
    if kind.cross is not None:
        # Other weights than those of self-attention are to be dropped.
        probability, seed = dropout
        seed = (1 << 63) - 1 - (seed & ((1 << 63) - 1))
        of_memory = {name.removeprefix(MEMORY): x for name, x in of_memory.items()}
        memory = attention(of_memory, kind.cross, probability, seed, MEMORY)
    return layer_request(kind, given, positions, request, memory)
