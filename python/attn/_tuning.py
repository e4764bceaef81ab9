"""Tiles chosen by measuring: ``attn_context_tune`` and its text.

The C functions want the context alone. So they work on a new one, which then takes the
place of the old, as when the number of threads changes.
"""

from __future__ import annotations

import ctypes

from ._context import Context, current, replace
from ._library import check, lib
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
    one thread. Results may differ from those before by rounding. value_dim is key_dim
    if not given.

        >>> attn.tune(12, 12, 512, 512, 64)
    """
    desc = ctypes.c_void_p()
    check(lib.attn_desc_create(ctypes.byref(desc)))
    try:
        dims = _small(key_dim), _small(key_dim if value_dim is None else value_dim)
        check(lib.attn_desc_set_heads(desc, _small(heads), _small(kv_heads)))
        check(lib.attn_desc_set_dims(desc, *dims))
        check(lib.attn_desc_set_causal(desc, is_causal))
        bounds = Bounds(ctypes.sizeof(Bounds), 1, q_length, kv_length)

        def measure(context: Context) -> None:
            check(
                lib.attn_context_tune(
                    context.handle, desc, ctypes.byref(bounds), _small(milliseconds)
                )
            )

        replace(measure)
    finally:
        lib.attn_desc_destroy(desc)


def _small(number: int) -> int:
    """A number that c_int32 holds, which wraps silently: what it cannot is -1."""
    return number if -MOST <= number <= MOST else -1


def tuning_export() -> str:
    """What ``tune`` has found so far, to be kept, for ``tuning_import``."""
    return current().tuning()


def tuning_import(text: str) -> None:
    """Takes what ``tuning_export`` gave on a machine of the same kind.

    AttnError says what differs: the version of libattn, the processor, the kernels or
    the BLAS library.
    """

    def take(context: Context) -> None:
        check(lib.attn_context_tuning_import(context.handle, text.encode()))

    replace(take)
