"""What a caller asks of a layer: arrays by name, options, and numbers of the call.

A layer passes on what ``scaled_dot_product_attention`` takes, by the same names; what a
stack's attention to its memory gets has ``memory_`` before its name.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

from ._errors import invalid
from ._inputs import REQUIRED
from ._layer_kinds import Kind, Multihead, size
from ._options import int64, parts
from ._request import Request, request

MEMORY = "memory_"

# What a layer decides itself, and no call may say.
_RELATIVE = ("relative_keys", "content_bias", "position_bias")
_SEGMENTS = ("segment_keys", "segment_bias")

# The options of attention that layers take, in the order of ``request``.
_ARRAYS = (
    "alibi_slopes",
    "sinks",
    "q_lengths",
    "kv_lengths",
    "query_offsets",
    "q_documents",
    "k_documents",
    "prefix_lengths",
)
_GROUPS = (
    ("relative_bias", *_RELATIVE),
    ("q_segments", "k_segments", *_SEGMENTS),
    ("q_ranks", "k_ranks", "ranks"),
)
_NAMES = frozenset(
    ("attn_mask", "is_causal", "scale", "causal", "window", "softcap", "block_mask")
).union(_ARRAYS, ["rng_indices"], *_GROUPS)


# What else a call may say of positions: rotary and relative ones, and those of rows.
_POSITIONS = (
    "position_ids",
    "offsets",
    "cos",
    "sin",
    "key_position_ids",
    "key_offsets",
    "positions",
    "targets",
    "query_length",
)


class Numbers(NamedTuple):
    """The numbers of a call: seed and zero of relative_keys of each attention."""

    seed: int
    relative_zero: int
    memory_seed: int
    memory_relative_zero: int
    positions_zero: int


NO_NUMBERS = Numbers(0, 0, 0, 0, 0)


class Form(NamedTuple):
    """What calls have in common that differ in what their arrays hold."""

    kind: Kind
    names: tuple[str, ...]  # of the arrays
    options: tuple[Any, ...]  # those of Options, in its order
    memory_options: tuple[Any, ...] | None
    query_length: int | None  # with targets
    seq_first: bool  # sequences are (length, batch, features)


class LayerRequest(NamedTuple):
    """One call of a layer."""

    form: Form
    arrays: tuple[Any, ...]
    numbers: Numbers


def split_positions(
    options: dict[str, Any],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Positions that are given, and the other options."""
    positions = {
        name: options[name] for name in _POSITIONS if options.get(name) is not None
    }
    rest = {name: option for name, option in options.items() if name not in _POSITIONS}
    return positions, rest


def attention(
    given: dict[str, Any],
    layer: Multihead,
    dropout_p: float,
    dropout_seed: int,
    prefix: str = "",
) -> Request:
    """The part of a call that goes to the attention, whose options have this prefix."""
    causal = given.get("is_causal")
    plain = len(given) == 1 and (dropout_p, dropout_seed) == (0.0, 0)
    if plain and type(causal) is bool:
        return _usual(causal)
    for name in given:
        if name not in _NAMES:
            raise invalid(f"forward has no option {prefix}{name}")
    if layer.relative:
        for name in (*_RELATIVE, *_SEGMENTS):
            if given.get(name) is not None:
                raise invalid(f"{name} is given, but relative=True has its own")
    return _request_of(given, dropout_p, dropout_seed)


@functools.lru_cache(maxsize=2)
def _usual(is_causal: bool) -> Request:
    """Of a call without any other option."""
    return _request_of({"is_causal": is_causal}, 0.0, 0)


def _request_of(given: dict[str, Any], dropout_p: float, dropout_seed: int) -> Request:
    arguments: list[Any] = [
        *(None, None, None, given.get("attn_mask"), dropout_p),
        *(given.get("is_causal", False), given.get("scale"), False),
        *(given.get("causal"), given.get("window"), given.get("softcap", 0.0)),
        *(given.get(name) for name in (*_ARRAYS, "block_mask")),
        *(dropout_seed, given.get("rng_indices")),
        *(tuple(given.get(name) for name in names) for names in _GROUPS),
    ]
    return request(*arguments)


def layer_request(
    kind: Kind,
    sequences: dict[str, Any],
    positions: dict[str, Any],
    attention: Request,
    memory: Request | None = None,
    *,
    seq_first: bool = False,
) -> LayerRequest:
    """The call with these sequences, positions and attention, and to the memory."""
    arrays = {**sequences, **positions}
    query_length = arrays.pop("query_length", None)
    if query_length is not None:
        query_length = size(query_length, "query_length")
    zero = 0
    if "positions" in positions:
        meaning = "(encodings, zero), zero the row for a key where the query stands"
        arrays["positions"], zero = parts(
            positions["positions"], "positions", 2, meaning
        )
        zero = int64(zero, "zero of positions")
    count = len(REQUIRED)
    arrays.update(zip(attention.names[count:], attention.arrays[count:]))
    numbers = Numbers(attention.dropout_seed, attention.relative_zero, 0, 0, zero)
    if memory is not None:
        names = (MEMORY + name for name in memory.names[count:])
        arrays.update(zip(names, memory.arrays[count:]))
        numbers = numbers._replace(
            memory_seed=memory.dropout_seed, memory_relative_zero=memory.relative_zero
        )
    form = Form(
        kind,
        tuple(arrays),
        attention.options,
        None if memory is None else memory.options,
        query_length,
        seq_first,
    )
    return LayerRequest(form, tuple(arrays.values()), numbers)
