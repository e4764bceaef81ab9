"""The shape rules of torch's ``scaled_dot_product_attention``.

query is (..., Hq, L, E), key (..., H, S, E), value (..., H, S, Ev). The third dimension
from the end is the heads; those before it, none or one or more, are the batch. Both
may be missing: (L, E) is one head. Batch dimensions broadcast as in numpy, and so do
heads; with enable_gqa, Hq may also be a multiple of H.

And rules for one array, which other inputs follow too.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ._errors import invalid, unsupported
from ._layout import View


class Sizes(NamedTuple):
    """All sizes of one problem."""

    leading: tuple[int, ...]  # dimensions of the result before (L, Ev)
    batches: tuple[int, ...]  # the batch dimensions; (1,) if there are none
    heads: int
    kv_heads: int
    q_length: int
    kv_length: int
    key_dim: int
    value_dim: int

    @property
    def batch(self) -> int:
        """Batch dimensions taken together."""
        return math.prod(self.batches)

    def tail(self, result: str) -> tuple[int, ...]:
        """The dimensions of a result after those of the heads."""
        if result == "out":
            return self.q_length, self.value_dim
        if result in ("lse", "row_max", "row_sum"):
            return (self.q_length,)
        if result == "key_sums":
            return (self.kv_length,)
        return self.q_length, self.kv_length  # weights, scores, dropout_mask


def sizes(query: View, key: View, value: View, enable_gqa: bool) -> Sizes:
    """The sizes of a problem, or an error that says which two do not match."""
    named = (("query", query), ("key", key), ("value", value))
    for name, array in named:
        if len(array.shape) < 2:
            raise invalid(
                f"{name} has {len(array.shape)} dimensions, shape {array.shape}:"
                " expected (..., heads, length, dim) or (length, dim)"
            )
        check_stored(name, array, bytes_too=name != "query")
    if query.shape[-1] != key.shape[-1]:
        raise invalid(
            f"query has dim {query.shape[-1]}, key {key.shape[-1]}: they must match"
        )
    if key.shape[-2] != value.shape[-2]:
        raise invalid(
            f"key has length {key.shape[-2]}, value {value.shape[-2]}: they must match"
        )
    try:
        batches = np.broadcast_shapes(*(array.shape[:-3] for _, array in named))
    except ValueError:
        raise invalid(
            "the batch dimensions of query, key and value do not broadcast: "
            + ", ".join(str(array.shape[:-3]) for _, array in named)
        ) from None
    rank = max(len(array.shape) for _, array in named)
    heads, kv_heads = _heads(query, key, value, enable_gqa)
    return Sizes(
        leading=() if rank == 2 else (*batches, heads),
        batches=batches or (1,),
        heads=heads,
        kv_heads=kv_heads,
        q_length=query.shape[-2],
        kv_length=key.shape[-2],
        key_dim=query.shape[-1],
        value_dim=value.shape[-1],
    )


def check_stored(name: str, array: View, *, bytes_too: bool = False) -> None:
    """An error unless this is a type that query, key and value may be stored in."""
    if array.dtype in ("float32", "float16", "bfloat16"):
        return
    if array.dtype != "int8" or not bytes_too:
        also = ", and int8 with scales," if bytes_too else ""
        raise unsupported(
            f"{name} is {array.dtype}: float32, float16 and bfloat16{also} are"
            " supported"
        )


def check_float32(name: str, array: View) -> None:
    """An error that says which other type it is."""
    if array.dtype != "float32":
        raise unsupported(f"{name} is {array.dtype}: only float32 is supported so far")


def integer_type(name: str, array: View) -> str:
    """The type that the library gets the integers in."""
    if array.dtype in ("int32", "int64"):
        return array.dtype
    if array.dtype in ("int8", "int16", "uint8", "uint16", "uint32"):
        return "int64"
    raise unsupported(f"{name} is {array.dtype}: expected integers, int32 or int64")


def widen(
    name: str, array: View, wide: tuple[int, ...], meaning: str
) -> tuple[int, ...]:
    """Wide, if array broadcasts to it."""
    if not broadcasts(array.shape, wide):
        raise invalid(
            f"{name} has shape {array.shape}, which does not broadcast to {wide},"
            f" {meaning}"
        )
    return wide


def broadcasts(shape: tuple[int, ...], wide: tuple[int, ...]) -> bool:
    """Whether an array of this shape broadcasts to wide, and wide stays as it is."""
    try:
        return np.broadcast_shapes(shape, wide) == wide
    except ValueError:
        return False


def _heads(query: View, key: View, value: View, enable_gqa: bool) -> tuple[int, int]:
    """Heads of the result, and heads of key and value as the library sees them."""
    q, k, v = (
        array.shape[-3] if len(array.shape) > 2 else 1 for array in (query, key, value)
    )
    if enable_gqa:
        if k != v:
            raise invalid(f"key has {k} heads, value {v}: enable_gqa wants as many")
        if q != k and (k == 0 or q % k):
            raise invalid(f"query has {q} heads, key {k}: {q} is not a multiple of {k}")
        return q, k
    several = {q, k, v} - {1}
    if len(several) > 1:
        hint = ""
        if k == v > 1 and q % k == 0:
            hint = "; enable_gqa=True lets several query heads share a key head"
        raise invalid(
            f"query has {q} heads, key {k}, value {v}: they do not broadcast{hint}"
        )
    heads = several.pop() if several else 1
    # One key head for all query heads is read once; with strides of 0 it would be
    # read for each of them.
    return heads, 1 if k == v == 1 else heads
