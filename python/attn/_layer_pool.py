"""C layers that are kept, found by what they were made for, and lent to calls.

A C layer holds views of parameters, which calls of other threads must not change under
way. So each call borrows one of its own: whoever finds none free makes another.
"""

from __future__ import annotations

import ctypes
import functools

from ._context import Context, forget
from ._layer_handle import Handle
from ._layer_kinds import Kind
from ._plan import Facts, round_up
from ._structs import Bounds

# Combinations of a kind, its attention and bounds that are kept.
_POOLS = 64


class Pool:
    """The C layers of one kind, attention and bounds."""

    def __init__(
        self,
        context: Context,
        kind: Kind,
        attention: Facts,
        cross: Facts | None,
        bounds: tuple[int, int, int],
    ) -> None:
        self._recipe = (context, kind, attention, cross)
        self._bounds = bounds
        # Those not in use. Appending and popping are atomic, so this needs no lock.
        self._free: list[Handle] = []

    def take(self) -> Handle:
        """One for the caller alone."""
        try:
            return self._free.pop()
        except IndexError:
            bounds = Bounds(ctypes.sizeof(Bounds), *self._bounds)
            return Handle(*self._recipe, bounds)

    def put(self, handle: Handle) -> None:
        """Takes back one that was taken; not after an error."""
        self._free.append(handle)


def pool_for(
    context: Context,
    kind: Kind,
    attention: Facts,
    cross: Facts | None,
    sizes: tuple[int, int, int],
) -> Pool:
    """A pool, new or kept, for calls of (batch, q_length, kv_length) up to these."""
    batch, q_length, kv_length = map(round_up, sizes)
    return _pool_for(context, kind, attention, cross, (batch, q_length, kv_length))


@functools.lru_cache(maxsize=_POOLS)
def _pool_for(
    context: Context,
    kind: Kind,
    attention: Facts,
    cross: Facts | None,
    bounds: tuple[int, int, int],
) -> Pool:
    return Pool(context, kind, attention, cross, bounds)


forget.append(_pool_for.cache_clear)
