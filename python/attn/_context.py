"""The context that all calls of this process run in, and what is known about it.

A context of the C library holds the threads. Its number of threads is fixed once a
plan exists, so ``set_num_threads`` replaces the context; what runs in the old one
finishes there. A child made by fork starts with a context of its own: its parent's
other threads, and whatever locks they held, did not come along.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from typing import Callable

from ._library import check, lib, path, text_of
from ._options import whole_number


def owned(
    owner: object, destroy: Callable[[ctypes.c_void_p], None], handle: ctypes.c_void_p
) -> Callable[[], object]:
    """Destroys a handle of the library when owner is collected; returns what does it.

    Not at exit, where threads may still be computing; and not in a child that
    inherited the handle by fork, where destroying may wait for a lock whose holder
    does not exist. Called earlier, what it returns destroys the handle there and then.
    """
    process = os.getpid()

    def finish() -> None:
        if os.getpid() == process:
            destroy(handle)

    finalizer = weakref.finalize(owner, finish)
    finalizer.atexit = False
    return finalizer


class Context:
    """An ``attn_context``."""

    def __init__(self, threads: int) -> None:
        self.handle = ctypes.c_void_p()
        check(lib.attn_context_create(ctypes.byref(self.handle)))
        owned(self, lib.attn_context_destroy, self.handle)
        check(lib.attn_context_set_threads(self.handle, threads))

    def explain(self) -> dict[str, str]:
        """The lines of ``attn_context_explain``: threads, isa, blas ..."""
        lines = text_of(lib.attn_context_explain, self.handle).splitlines()
        pairs = (line.partition(":") for line in lines)
        return {name.strip(): value.strip() for name, _, value in pairs}

    def tuning(self) -> str:
        """The text of ``attn_context_tuning_export``."""
        return text_of(lib.attn_context_tuning_export, self.handle)

    def tune(self, tuning: str) -> None:
        """Takes such a text, unless it is empty."""
        if tuning:
            check(lib.attn_context_tuning_import(self.handle, tuning.encode()))


_lock = threading.Lock()
_changing = threading.Lock()  # held from reading what follows to replacing it
_threads = 0  # 0: one per processor that the process may run on
_tuning = ""  # what contexts to come are tuned to, as text; empty: nothing
_context: Context | None = None

# Called when the context is replaced: they drop what was made with the old one.
forget: list[Callable[[], None]] = []


def current() -> Context:
    """The context of this process, made when first needed."""
    return _context or _create()


def _create() -> Context:
    global _context  # noqa: PLW0603
    with _lock:
        if _context is None:
            context = Context(_threads)
            context.tune(_tuning)
            _context = context
        return _context


def set_num_threads(n: int) -> None:
    """Uses at most n threads for each call, the caller's included.

    n is 1 to 1024, or 0 for one per processor that the process may run on, which is
    how it starts. The number of threads never changes a bit of any result.

        >>> attn.set_num_threads(2)
        >>> attn.get_num_threads()
        2
    """
    n = whole_number(n, "n")
    # The range is checked here because c_int32 wraps silently.
    replace(lambda _: None, n if -1 <= n <= 1 << 30 else -1)


def replace(change: Callable[[Context], None], threads: int | None = None) -> None:
    """Makes a context like the current one, changes it, and uses it from then on.

    threads None: as many as before. Changes wait for each other, so that none is lost.
    """
    global _context, _threads, _tuning
    with _changing:
        if threads is None:
            threads = _threads
        context = Context(threads)
        context.tune(_tuning)
        change(context)
        with _lock:
            _context, _threads, _tuning = context, threads, context.tuning()
    for function in forget:
        function()


def get_num_threads() -> int:
    """How many threads a call may use, the caller's included."""
    return int(current().explain()["threads"])


def info() -> dict[str, str | int]:
    """Which library this is and how it runs, for people and for bug reports.

    Always there are ``version``, ``abi_version``, ``build``, ``library`` (the name it
    was loaded by), ``threads``, ``isa`` and ``blas``; the library may add more.

        >>> attn.info()["version"]
        '0.1.0'
    """
    explained = current().explain()
    return {
        "version": lib.attn_version_string().decode(),
        "abi_version": lib.attn_abi_version(),
        "build": lib.attn_build_info().decode(),
        "library": path,
        **explained,
        "threads": int(explained["threads"]),
    }


def _start_anew_after_fork() -> None:
    global _changing, _context, _lock  # noqa: PLW0603
    _changing = threading.Lock()
    _lock = threading.Lock()
    _context = None
    for function in forget:
        function()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew_after_fork)
