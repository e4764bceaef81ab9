"""The named tuples that calls with several results return."""

from __future__ import annotations

import functools
from collections import namedtuple
from typing import Any


@functools.cache
def result_type(name: str, fields: tuple[str, ...]) -> Any:
    """A named tuple of this name and these fields.

    >>> result_type("Attention", ("out", "lse"))(out=1, lse=2)
    Attention(out=1, lse=2)
    """
    make: Any = namedtuple  # its type stub wants the fields spelled out
    kind = make(name, fields)
    # Which fields there are is decided at run time, so no module can hold the class
    # for pickle to find: the fields travel with the values instead.
    kind.__reduce__ = lambda self: (_rebuild, (name, fields, tuple(self)))
    return kind


def _rebuild(name: str, fields: tuple[str, ...], values: tuple[Any, ...]) -> Any:
    return result_type(name, fields)(*values)
