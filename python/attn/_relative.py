"""Relative positions, segments, score vectors: what a caller says, and their shapes.

Two of them are tuples of a table and what it means. What is a fact of the plan goes
into the options; the zero of relative_keys, which often is the number of keys, is a
number of each call.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._errors import invalid
from ._layout import View
from ._options import int64, parts
from ._shapes import Sizes, check_float32, widen

# The inputs that have a shape from ``shape``.
TABLES = (
    "relative_bias",
    "relative_keys",
    "content_bias",
    "position_bias",
    "segment_keys",
    "segment_bias",
    "score_vector",
)


def split_bias(relative_bias: Any) -> tuple[Any, tuple[int, bool]]:
    """The table of a relative bias, and max_distance and bidirectional."""
    meaning = "(table, max_distance, bidirectional)"
    table, most, bidirectional = parts(relative_bias, "relative_bias", 3, meaning)
    max_distance = int64(most, "max_distance of relative_bias")
    if not isinstance(bidirectional, (bool, np.bool_)):
        raise invalid(
            f"bidirectional of relative_bias is {bidirectional!r}: expected True or"
            " False"
        )
    return table, (max_distance, bool(bidirectional))


def split_keys(relative_keys: Any) -> tuple[Any, int]:
    """The table of relative keys, and the row for a key where the query stands."""
    meaning = "(table, zero), zero the row for a key where the query stands"
    table, zero = parts(relative_keys, "relative_keys", 2, meaning)
    return table, int64(zero, "zero of relative_keys")


def shape(name: str, array: View, sizes: Sizes) -> tuple[int, ...]:
    """The shape in which the library gets the table of this name."""
    check_float32(name, array)
    rank, heads, dim = len(array.shape), sizes.heads, sizes.key_dim
    if name == "relative_bias":
        if rank != 2 or array.shape[0] == 0:
            raise invalid(f"{name} has shape {array.shape}: expected (buckets, heads)")
        return widen(name, array, (array.shape[0], heads), "(buckets, heads)")
    if name == "relative_keys":
        # The library knows tables for all heads itself, and sums their gradients.
        if (
            rank not in (2, 3)
            or array.shape[-1] != dim
            or (rank == 3 and array.shape[0] not in (1, heads))
        ):
            raise invalid(
                f"{name} has shape {array.shape}: expected (heads, rows, dim),"
                f" (1, rows, dim) or (rows, dim) with {heads} heads and dim {dim}"
            )
        return array.shape
    if name == "segment_keys":
        if rank != 3 or array.shape[0] != 2:
            raise invalid(
                f"{name} has shape {array.shape}: expected {(2, heads, dim)},"
                " (2, heads, dim)"
            )
        return widen(name, array, (2, heads, dim), "(2, heads, dim)")
    return widen(name, array, (heads, dim), "(heads, dim)")
