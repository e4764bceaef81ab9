"""Where the time of calls goes: ``attn_profile``."""

from __future__ import annotations

import ctypes
from typing import Any

from ._entered import entered
from ._library import check, lib
from ._structs import Profile as Struct

_STAGES = (
    "copies",
    "scores",
    "terms",
    "softmax",
    "values",
    "gradients",
    "outputs",
    "other",
)

_NUMBERS = ("calls", "elapsed", *_STAGES)


class Profile:
    """Times of the attention calls that a thread makes in a ``with`` block.

    ``calls`` counts them and ``elapsed`` is their time in nanoseconds, start to end.
    ``copies`` (reading and transposing query, key and value), ``scores`` (products of
    query and key), ``terms`` (biases, masks, dropout), ``softmax``, ``values``
    (products of weights and value), ``gradients``, ``outputs`` (writing results) and
    ``other`` are the time of threads, in nanoseconds too. What Python itself takes is
    not among them. Layers and caches' appends add nothing, nor do calls that fail;
    within another, the inner profile counts. Two threads must not be in one profile at
    the same time. Bits of results stay the same.

        >>> q = np.random.rand(1, 8, 512, 64).astype(np.float32)
        >>> with attn.Profile() as times:
        ...     out = attn.scaled_dot_product_attention(q, q, q)
        >>> times.calls
        1
        >>> times.softmax < times.elapsed * attn.get_num_threads()
        True

    ``print(times)`` shows them as a table. ``plans`` says how the calls were computed:
    the words of ``attn_plan_explain`` for each plan that they had, and how many calls
    had it.

        >>> [(words, calls)] = times.plans.items()
        >>> calls, "tiles: " in words
        (1, True)
    """

    def __init__(self) -> None:
        self.plans: dict[str, int] = {}
        self._struct = Struct()
        size = ctypes.sizeof(self._struct)
        check(lib.attn_profile_init(ctypes.byref(self._struct), size))

    @property
    def address(self) -> int:
        """Of what the library adds to."""
        return ctypes.addressof(self._struct)

    def note(self, words: str) -> None:
        """Counts a call with a plan of these words."""
        self.plans[words] = self.plans.get(words, 0) + 1

    def __enter__(self) -> Profile:
        entered.profiles.append(self)
        return self

    def __exit__(self, *exception: object) -> None:
        profiles = entered.profiles
        del profiles[len(profiles) - 1 - profiles[::-1].index(self)]

    def __getattr__(self, name: str) -> Any:
        if name in _NUMBERS:
            return getattr(self._struct, name)
        raise AttributeError(f"{type(self).__name__!r} object has no {name!r}")

    def __str__(self) -> str:
        """A line for each stage: milliseconds, and percent of the time of threads."""
        total = sum(getattr(self, stage) for stage in _STAGES)
        lines = [f"{self.calls} calls, {self.elapsed / 1e6:.3f} ms"]
        for stage in _STAGES:
            time = getattr(self, stage)
            percent = 100 * time / total if total else 0.0
            lines.append(f"{stage:10}{time / 1e6:10.3f} ms{percent:6.1f} %")
        return "\n".join(lines)
