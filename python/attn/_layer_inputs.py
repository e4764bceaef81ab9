"""Where the arrays of a layer's call go, and what shapes they may have.

As in ``_inputs.py``, whose rules hold for what goes on to the attention.
"""

from __future__ import annotations

from typing import NamedTuple

from ._errors import AttnError, invalid
from ._inputs import Input, place
from ._layer_kinds import Kind, Multihead
from ._layer_request import MEMORY
from ._layout import Slot, View, contiguous, fit
from ._rotary import place_rotary
from ._shapes import Sizes, check_float32, integer_type, widen

# What callers call the sequences, and the members of attn_layer_args.
SEQUENCES = {
    "query": "input",
    "input": "input",
    "key": "key",
    "memory": "key",
    "value": "value",
}
_ROTARY = {
    "position_ids": "position_ids",
    "offsets": "offsets",
    "cos": "cosines",
    "sin": "sines",
    "key_position_ids": "key_position_ids",
    "key_offsets": "key_offsets",
}


class Placed(NamedTuple):
    """An input, and the struct it goes to: "layer", "attention" or "memory"."""

    struct: str
    input: Input


class LayerSizes(NamedTuple):
    """All sizes of one call."""

    leading: tuple[int, ...]  # (batch,), or nothing
    rows: int  # of the input: q_length, but with targets
    q_length: int
    kv_length: int  # of a stack: that of the memory, or 0

    @property
    def batch(self) -> int:
        """Sequences of a call; one, if there is no batch."""
        return self.leading[0] if self.leading else 1

    def self_length(self, kind: Kind) -> int:
        """Keys of the attention that is no attention to a memory."""
        return self.kv_length if kind.stack is None else self.q_length

    def of_attention(self, layer: Multihead, kv_length: int) -> Sizes:
        """The problem that the attention of a layer has to solve."""
        return Sizes(
            leading=(*self.leading, layer.heads),
            batches=self.leading or (1,),
            heads=layer.heads,
            kv_heads=layer.kv_heads,
            q_length=self.q_length,
            kv_length=kv_length,
            key_dim=layer.key_dim,
            value_dim=layer.value_dim,
        )


def layer_sizes(
    kind: Kind, views: dict[str, View], seq_first: bool, query_length: int | None
) -> LayerSizes:
    """The sizes of a call, or an error that says which two do not match."""
    first = "query" if kind.stack is None else "input"
    if kind.stack is not None and ("memory" in views) != (kind.cross is not None):
        raise invalid(
            "memory is missing, to which the stack attends"
            if kind.cross is not None
            else "memory is given, but the stack has cross=False"
        )
    found = {}
    keys = kind.cross or kind.attention
    features = {
        first: kind.attention.embed_dim,
        "key": keys.key_embed_dim,
        "memory": keys.key_embed_dim,
        "value": keys.value_embed_dim,
    }
    for name, dim in features.items():
        if name in views:
            array = views[name]
            check_float32(name, array)
            order = "(length, batch" if seq_first else "(batch, length"
            if len(array.shape) not in (2, 3) or array.shape[-1] != dim:
                raise invalid(
                    f"{name} has shape {array.shape}: expected {order}, {dim}) or"
                    f" (length, {dim})"
                )
            found[name] = rows(array, seq_first).shape
            if len(array.shape) != len(views[first].shape):
                raise invalid(
                    f"{first} has {len(views[first].shape)} dimensions, {name}"
                    f" {len(array.shape)}: they must match"
                )
            if found[name][0] != found[first][0]:
                raise invalid(
                    f"{first} has a batch of {found[first][0]}, {name} of"
                    f" {found[name][0]}: they must match"
                )
    if "value" in found and found["value"][1] != found["key"][1]:
        raise invalid(
            f"key has length {found['key'][1]}, value {found['value'][1]}: they must"
            " match"
        )
    batch, length, _ = found[first]
    others = found.get("key") or found.get("memory")
    none = 0 if kind.stack is not None else length
    return LayerSizes(
        leading=(batch,) if len(views[first].shape) == 3 else (),
        rows=length,
        q_length=length if query_length is None else query_length,
        kv_length=others[1] if others else none,
    )


def rows(array: View, seq_first: bool) -> View:
    """A sequence as the library wants it, (batch, length, features)."""
    shape, strides = array.shape, array.strides
    if len(shape) == 2:
        return View(array.dtype, (1, *shape), (shape[0] * shape[1], *strides))
    if seq_first:
        shape = (shape[1], shape[0], shape[2])
        strides = (strides[1], strides[0], strides[2])
    return View(array.dtype, shape, strides)


def sequence(array: View, seq_first: bool) -> Slot:
    """The slot of a sequence: that of a copy, where its strides will not do."""
    there = rows(array, seq_first)
    slot = fit(there, there.shape, 0, "float32")
    if not slot.copies:
        return slot
    # What is contiguous is the copy as the caller has it.
    there = rows(View(array.dtype, array.shape, contiguous(array.shape)), seq_first)
    return slot._replace(strides=there.strides)


def place_in_layer(
    name: str,
    array: View,
    kind: Kind,
    sizes: LayerSizes,
    seq_first: bool,
    blocks: tuple[tuple[int, int], tuple[int, int]],
) -> Placed:
    """Where and how the array of this name goes into a call of these sizes.

    blocks are the block sizes of the two attentions.
    """
    if name in SEQUENCES:
        slot = sequence(array, seq_first)
        return Placed("layer", Input(SEQUENCES[name], slot, slot.shape))
    self_length = sizes.self_length(kind)
    if name in _ROTARY:
        if kind.attention.rotary_dim == 0:
            raise invalid(f"{name} is given, but rotary_dim is 0")
        length = self_length if name.startswith("key_") else sizes.q_length
        batches = sizes.leading or (1,)
        slot = place_rotary(name.removeprefix("key_"), array, batches, length)
        return Placed("layer", Input(_ROTARY[name], slot, slot.shape))
    if name == "positions":
        check_float32(name, array)
        if len(array.shape) != 2:
            raise invalid(f"positions has shape {array.shape}: expected (rows, dim)")
        slot = fit(array, array.shape, 0, "float32")
        return Placed("layer", Input(name, slot, slot.shape))
    if name == "targets":
        wide = (*(sizes.leading or (1,)), sizes.rows)
        widen(name, array, wide, "(batch, rows of query)")
        slot = fit(array, wide, 0, integer_type(name, array))
        return Placed("layer", Input(name, slot, wide))
    if name.startswith(MEMORY):
        assert kind.cross is not None
        problem = sizes.of_attention(kind.cross, sizes.kv_length)
        try:
            bare = name.removeprefix(MEMORY)
            return Placed("memory", place(bare, array, problem, blocks[1]))
        except AttnError as error:
            # The messages of place() start with the name.
            raise AttnError(error.status, MEMORY + error.message) from None
    problem = sizes.of_attention(kind.attention, self_length)
    # Of the two masks of torch, one is a mask and the other a bias.
    rule = "attn_mask" if name == "key_padding_mask" else name
    return Placed("attention", place(rule, array, problem, blocks[0]))
