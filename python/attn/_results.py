"""The named tuples that a call with extra outputs returns."""

from __future__ import annotations

import functools
from collections import namedtuple
from typing import Any


@functools.cache
def result_type(fields: tuple[str, ...]) -> Any:
    """A named tuple of these fields.

    >>> result_type(("out", "lse"))(out=1, lse=2)
    Attention(out=1, lse=2)
    """
    make: Any = namedtuple  # its type stub wants the fields spelled out
    kind = make("Attention", fields)
    # Which fields there are is decided at run time, so no module can hold the class
    # for pickle to find: the fields travel with the values instead.
    kind.__reduce__ = lambda self: (_rebuild, (fields, tuple(self)))
    return kind


def _rebuild(fields: tuple[str, ...], values: tuple[Any, ...]) -> Any:
    return result_type(fields)(*values)
