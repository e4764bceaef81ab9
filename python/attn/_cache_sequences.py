"""The sequences of a cache: how long they are, and what is done to them as a whole."""

from __future__ import annotations

import ctypes
import os
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ._arrays import address, as_numpy, look
from ._cache_structs import STORED, CacheOptions
from ._context import current, owned
from ._errors import invalid
from ._layout import fit, view
from ._library import check, lib
from ._options import int64
from ._shapes import integer_type

_Self = TypeVar("_Self")


class Kind(NamedTuple):
    """What a cache is for, as the calls on it need to know it."""

    sequences: int
    kv_heads: int
    key_dim: int
    value_dim: int
    capacity: int
    layers: int


class CachedSequences:
    """What ``KVCache`` is without its calls on keys, values and queries."""

    def __init__(
        self, kind: Kind, dtype: str, ring: bool, page_size: int, pages: int
    ) -> None:
        if dtype not in STORED:
            raise invalid(f"dtype is {dtype!r}: expected one of {', '.join(STORED)}")
        self._kind = kind
        self.dtype = dtype
        options = CacheOptions()
        size = ctypes.sizeof(options)
        check(lib.attn_cache_options_init(ctypes.byref(options), size))
        numbers = {**kind._asdict(), "page_keys": page_size, "pages": pages}
        for name, value in numbers.items():
            setattr(options, name, _fitting(options, name, value))
        options.dtype, options.ring = STORED[dtype], bool(ring)
        handle = ctypes.c_void_p()
        check(
            lib.attn_cache_create(
                ctypes.byref(handle), current().handle, ctypes.byref(options)
            )
        )
        self._handle = handle.value
        self._destroy = owned(self, lib.attn_cache_destroy, handle)

    def close(self) -> None:
        """Frees the memory, which otherwise stays until the cache is collected.

        No call may be under way. Whatever is asked of the cache later is an error. A
        cache in a with statement is closed at its end.
        """
        self._handle = None
        self._destroy()

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _live(self) -> int:
        """The handle; an error once the cache is closed."""
        if self._handle is None:
            raise invalid("the cache is closed")
        return self._handle

    def length(self, sequence: int, layer: int = 0) -> int:
        """How many tokens were appended to a sequence, forgotten ones included."""
        return self._ask(lib.attn_cache_length, sequence, layer)

    def first(self, sequence: int, layer: int = 0) -> int:
        """The position of the oldest key that is kept; the length if none is."""
        return self._ask(lib.attn_cache_first, sequence, layer)

    def _ask(self, function: Any, sequence: int, layer: int) -> int:
        layer = self._checked_layer(layer)
        found = int(function(self._live(), layer, int64(sequence, "sequence")))
        if found < 0:
            raise invalid(
                f"sequence is {sequence}, but the cache has {self._kind.sequences}"
            )
        return found

    def _checked_layer(self, layer: int) -> int:
        """The layer, if there is one of this number."""
        if type(layer) is not int:
            layer = int64(layer, "layer")
        if not 0 <= layer < self._kind.layers:
            raise invalid(f"layer is {layer}, but the cache has {self._kind.layers}")
        return layer

    def truncate(self, sequence: int, length: int) -> None:
        """Takes back the last tokens, so that none of the layers has more than length.

        Tokens before first() stay forgotten: length is no less, or 0 for an empty
        sequence.
        """
        numbers = int64(sequence, "sequence"), int64(length, "length")
        check(lib.attn_cache_truncate(self._live(), *numbers))

    def evict(self, sequence: int, first: int) -> None:
        """Forgets the keys before this position, in all layers."""
        numbers = int64(sequence, "sequence"), int64(first, "first")
        check(lib.attn_cache_evict(self._live(), *numbers))

    def fork(self, source: int, target: int) -> None:
        """Makes sequence target what sequence source is; nothing is copied yet.

        They share pages until one of them writes there. What target was is forgotten.
        """
        numbers = int64(source, "source"), int64(target, "target")
        check(lib.attn_cache_fork(self._live(), *numbers))

    def reorder(self, parents: Any) -> None:
        """Makes sequence i what sequence parents[i] was, for all at once: beam search.

        parents: an integer for each sequence of the cache.
        """
        array, where, facts = look(parents, "parents")
        there = view(facts)
        slot = fit(there, there.shape, 0, integer_type("parents", there))
        if slot.copies:
            array = slot.copied(as_numpy(array))
            where = address(array)
        tensor = slot.tensor(where)
        check(lib.attn_cache_reorder(self._live(), ctypes.byref(tensor)))

    def clear(self, sequence: int | None = None) -> None:
        """Makes a sequence empty, and as new; None: all of them."""
        every = range(self._kind.sequences)
        for each in every if sequence is None else (sequence,):
            self.truncate(each, 0)

    def save(self, sequence: int, path: str | os.PathLike[str]) -> None:
        """Writes what is kept of a sequence to a file: the state after a prompt, say.

        The file is there whole or not at all. All layers must have the same length.
        """
        number = int64(sequence, "sequence")
        check(lib.attn_cache_save(self._live(), number, _encoded(path)))

    def load(self, sequence: int, path: str | os.PathLike[str]) -> None:
        """Reads such a file into a sequence that is empty.

        Layers, heads, dims and dtype must be those of the cache that wrote it. A file
        that is torn or was changed is an error.
        """
        number = int64(sequence, "sequence")
        check(lib.attn_cache_load(self._live(), number, _encoded(path)))

    @property
    def bytes(self) -> int:
        """Bytes of keys, values and scales that there is room for."""
        return int(lib.attn_cache_bytes(self._live(), None))

    @property
    def used_bytes(self) -> int:
        """Of them, those of pages that hold something."""
        used = ctypes.c_size_t()
        lib.attn_cache_bytes(self._live(), ctypes.byref(used))
        return used.value

    @property
    def free_pages(self) -> int:
        """Pages that no sequence has; without page_size, a sequence is one page."""
        return int(lib.attn_cache_free_pages(self._live()))


def dtype_name(dtype: Any) -> str:
    """The name of a type that is given as text, of numpy or of torch."""
    try:
        return str(np.dtype(dtype).name)
    except TypeError:
        return str(dtype).rpartition(".")[2]


def _fitting(options: CacheOptions, name: str, value: int) -> int:
    """The value, if the member of this name holds it."""
    value = int64(value, name)
    bits = 8 * getattr(CacheOptions, name).size
    if not -1 << (bits - 1) <= value < 1 << (bits - 1):
        raise invalid(f"{name} is {value}: more than a {bits}-bit integer holds")
    return value


def _encoded(path: str | os.PathLike[str]) -> bytes:
    name = os.fsencode(path)
    if b"\0" in name:
        raise invalid("path has a null character in it")
    return name
