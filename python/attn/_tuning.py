"""Tiles chosen by measuring: ``attn_context_tune`` and its text.

The C functions want the context alone. So they work on a new one, which then takes the
place of the old, as when the number of threads changes.
"""

from __future__ import annotations

import ctypes

from ._context import Context, current, replace
from ._errors import invalid
from ._library import check, lib
from ._options import int64, whole_number
from ._structs import Bounds

MOST = 2**31 - 1


def tune(
    heads: int,
    kv_heads: int,
    q_length: int,
    kv_length: int,
    key_dim: int,
    value_dim: int | None = None,
    *,
    is_causal: bool = False,
    milliseconds: int = 0,
) -> None:
    """Measures which tiles are fastest for such attention, and uses them from then on.

    They serve all calls with the same dims and as many query heads to a key-value head.
    Most find the defaults to be as fast. It takes milliseconds, 0 stands for 200, and
    one thread; other calls go on meanwhile, but ``set_num_threads`` waits. Results may
    differ from those before by rounding. value_dim is key_dim if not given.

        >>> attn.tune(12, 12, 512, 512, 64)
    """
    desc = ctypes.c_void_p()
    check(lib.attn_desc_create(ctypes.byref(desc)))
    try:
        if value_dim is None:
            value_dim = key_dim
        numbers = _small(heads, "heads"), _small(kv_heads, "kv_heads")
        check(lib.attn_desc_set_heads(desc, *numbers))
        numbers = _small(key_dim, "key_dim"), _small(value_dim, "value_dim")
        check(lib.attn_desc_set_dims(desc, *numbers))
        check(lib.attn_desc_set_causal(desc, is_causal))
        lengths = int64(q_length, "q_length"), int64(kv_length, "kv_length")
        bounds = Bounds(ctypes.sizeof(Bounds), 1, *lengths)
        time = _small(milliseconds, "milliseconds")

        def measure(context: Context) -> None:
            check(
                lib.attn_context_tune(context.handle, desc, ctypes.byref(bounds), time)
            )

        replace(measure)
    finally:
        lib.attn_desc_destroy(desc)


def _small(value: int, name: str) -> int:
    """An integer that c_int32 holds, which wraps silently: what it cannot is -1."""
    number = whole_number(value, name)
    return number if -MOST <= number <= MOST else -1


def tuning_export() -> str:
    """What ``tune`` has found so far, to be kept, for ``tuning_import``."""
    return current().tuning()


def tuning_import(text: str) -> None:
    """Takes what ``tuning_export`` gave on a machine of the same kind.

    AttnError says what differs: the version of libattn, the processor, the kernels or
    the BLAS library.
    """
    if not isinstance(text, str) or "\0" in text:
        raise invalid("text is no export of a tuning: expected what tuning_export gave")
    words = text.encode(errors="replace")

    def take(context: Context) -> None:
        check(lib.attn_context_tuning_import(context.handle, words))

    replace(take)
