"""What a caller asks of a layer: arrays by name, options, and numbers of the call.

A layer passes on what ``scaled_dot_product_attention`` takes, by the same names; what a
stack's attention to its memory gets has ``memory.`` before its name here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ._errors import invalid
from ._inputs import REQUIRED
from ._layer_kinds import Kind, Multihead
from ._options import int64, parts
from ._request import Request, request

MEMORY = "memory."

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


class Form(NamedTuple):
    """What calls have in common that differ in what their arrays hold."""

    kind: Kind
    names: tuple[str, ...]  # of the arrays
    options: tuple[Any, ...]  # those of Options, in its order
    memory_options: tuple[Any, ...] | None
    seq_first: bool  # sequences are (length, batch, features)


class LayerRequest(NamedTuple):
    """One call of a layer."""

    form: Form
    arrays: tuple[Any, ...]
    numbers: tuple[int, ...]  # see ``layer_request``


def attention(
    given: dict[str, Any],
    layer: Multihead,
    dropout_p: float,
    dropout_seed: int,
    what: str = "forward",
) -> Request:
    """The part of a call that goes to the attention; what is for error messages."""
    for name in given:
        if name not in _NAMES:
            raise invalid(f"{what} has no option {name}")
    if layer.relative:
        for name in (*_RELATIVE, *_SEGMENTS):
            if given.get(name) is not None:
                raise invalid(f"{name} is given, but relative=True has its own")
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
    others: dict[str, Any],
    attention: Request,
    memory: Request | None = None,
    *,
    seq_first: bool = False,
) -> LayerRequest:
    """The call with these sequences, rotary and relative positions, and attention.

    The numbers of a call: seed and zero of relative_keys, of the attention and of that
    to the memory, and the zero of positions.
    """
    arrays = dict(sequences)
    zero = 0
    for name, array in others.items():
        if name == "positions" and array is not None:
            meaning = "(encodings, zero), zero the row for a key where the query stands"
            arrays[name], zero = parts(array, name, 2, meaning)
            zero = int64(zero, "zero of positions")
        elif array is not None:
            arrays[name] = array
    count = len(REQUIRED)
    arrays.update(zip(attention.names[count:], attention.arrays[count:]))
    numbers = (attention.dropout_seed, attention.relative_zero, 0, 0, zero)
    if memory is not None:
        names = (MEMORY + name for name in memory.names[count:])
        arrays.update(zip(names, memory.arrays[count:]))
        numbers = (*numbers[:2], memory.dropout_seed, memory.relative_zero, zero)
    memory_options = None if memory is None else memory.options
    form = Form(kind, tuple(arrays), attention.options, memory_options, seq_first)
    return LayerRequest(form, tuple(arrays.values()), numbers)
