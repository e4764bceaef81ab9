"""The masks of torch's MultiheadAttention, as the attention of the library has them.

There True masks out, and a mask of numbers is added. Both masks of a call together
become one mask and one bias, or a mask and a mask of blocks: an L x S array is copied
where a bool one is turned round, and made where two of numbers become one.
"""

from __future__ import annotations

from typing import Any

from ._arrays import as_numpy
from ._entered import made_once
from ._errors import invalid, unsupported
from ._layer_inputs import LayerSizes
from ._plan import round_up


def attention_masks(
    attn_mask: Any, key_padding_mask: Any, heads: int, sizes: LayerSizes
) -> dict[str, Any]:
    """Inputs of the attention, by name, for numpy arrays or tensors, or None.

    Where there are two of them, one of bool and one of numbers, the second is called
    key_padding_mask.
    """
    made_once(
        "masks are turned into those of the library",
        ": give causal, kv_lengths or documents",
    )
    if attn_mask is not None:
        attn_mask = _of_pairs(attn_mask, heads, sizes)
    if key_padding_mask is not None:
        key_padding_mask = _of_keys(key_padding_mask, sizes)
    if attn_mask is None or key_padding_mask is None:
        both = key_padding_mask if attn_mask is None else attn_mask
        return {} if both is None else {"attn_mask": both}
    of_keys = dtype_of(key_padding_mask)
    if of_keys != dtype_of(attn_mask):
        return {"attn_mask": attn_mask, "key_padding_mask": key_padding_mask}
    if of_keys == "bool":
        # One row of blocks, as high as there are queries. That they may be higher
        # spares making another layer for each number of queries.
        blocks = (key_padding_mask, round_up(max(sizes.q_length, 1)), 1)
        return {"attn_mask": attn_mask, "block_mask": blocks}
    if type(attn_mask) is not type(key_padding_mask):
        attn_mask, key_padding_mask = map(as_numpy, (attn_mask, key_padding_mask))
    return {"attn_mask": attn_mask + key_padding_mask}


def dtype_of(array: Any) -> str:
    """The name of the type of a numpy array or a tensor."""
    return str(array.dtype).rpartition(".")[2]


def _of_pairs(mask: Any, heads: int, sizes: LayerSizes) -> Any:
    """attn_mask: (L, S), or (batch * heads, L, S)."""
    lengths = (sizes.q_length, sizes.kv_length)
    shapes = (lengths, (sizes.batch * heads, *lengths))
    if tuple(mask.shape) not in shapes:
        raise invalid(
            f"attn_mask has shape {tuple(mask.shape)}: expected {shapes[0]} or"
            f" {shapes[1]}"
        )
    if len(mask.shape) == 3:
        mask = mask.reshape(*sizes.leading, heads, *lengths)
    return _turned(mask, "attn_mask")


def _of_keys(mask: Any, sizes: LayerSizes) -> Any:
    """key_padding_mask: (batch, S), or (S) without a batch."""
    shape = (*sizes.leading, sizes.kv_length)
    if tuple(mask.shape) != shape:
        raise invalid(
            f"key_padding_mask has shape {tuple(mask.shape)}: expected {shape}"
        )
    wide = (*sizes.leading, 1, 1, sizes.kv_length)
    return _turned(mask, "key_padding_mask").reshape(wide)


def _turned(mask: Any, name: str) -> Any:
    """With True for what may be attended."""
    dtype = dtype_of(mask)
    if dtype not in ("bool", "float32"):
        raise unsupported(
            f"{name} is {dtype}: bool (True: masked out) and float32 (added to the"
            " scores) are supported so far"
        )
    return ~mask if dtype == "bool" else mask
