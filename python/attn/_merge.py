"""Merging attention over parts of the keys into attention over all of them."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import numpy as np

from ._arrays import address, as_numpy, empty_like_kind, look
from ._context import current
from ._errors import invalid
from ._layout import Slot, fit, new, view
from ._library import check, lib
from ._results import result_type
from ._shapes import check_float32
from ._structs import Tensor

# Combinations of shapes that are remembered.
_CALLS = 256

_State = result_type("State", ("out", "lse"))
_TensorPointer = ctypes.POINTER(Tensor)


def merge_states(out_a: Any, lse_a: Any, out_b: Any, lse_b: Any, *more: Any) -> Any:
    """Attention over all keys, from attention of the same queries over parts of them.

    A state is the out (..., heads, L, Ev) and the lse (..., heads, L) of a part, as
    scaled_dot_product_attention returns them with return_lse=True; (L, Ev) and (L) are
    one head; all are float32. Of packed results, out (total, heads, Ev), give
    out.swapaxes(0, 1) with lse (heads, total). more is further states: out_c, lse_c and
    so on; merge_states(*a, *b) takes two named tuples. Returns a named tuple (out,
    lse), which is a state itself: in any order, or some at a time, the result is the
    same up to rounding.

        >>> prompt, answer = np.random.rand(2, 1, 8, 100, 64).astype(np.float32)
        >>> part = lambda k, **options: attn.scaled_dot_product_attention(
        ...     answer, k, k, return_lse=True, **options)
        >>> merged = attn.merge_states(*part(prompt), *part(answer, is_causal=True))
        >>> whole = part(np.concatenate([prompt, answer], 2), causal="bottom_right")
        >>> np.allclose(merged.out, whole.out, atol=1e-5)
        True

    Every key must be in one part, and positions are those of the whole: query_offsets
    less the first key of the part. sinks go with exactly one of the parts, or each
    would count them again. Where the lse of a state is -inf, a part with nothing to
    attend to, its out is not looked at; if all are, out is 0.
    """
    if len(more) % 2:
        raise invalid(f"more has {len(more)} arrays: expected pairs of out and lse")
    arrays = (out_a, lse_a, out_b, lse_b, *more)
    looks = [look(array, _name(i)) for i, array in enumerate(arrays)]
    shape, slots = _slots(tuple([facts for _, _, facts in looks]))

    tensors, kept = [], []  # copies live as long as the call
    for slot, (array, where, _) in zip(slots, looks):
        if slot.copies:
            kept.append(slot.copied(as_numpy(array)))
        tensors.append(slot.tensor(address(kept[-1]) if slot.copies else where))
    results, written = [], []
    for size, slot in zip((shape, shape[:-1]), slots):
        result, where = empty_like_kind(looks[0][0], size, np.dtype(np.float32))
        results.append(result)
        written.append(ctypes.byref(new(slot.shape, "float32").tensor(where)))
    states = [
        (_TensorPointer * (len(tensors) // 2))(*map(ctypes.pointer, tensors[first::2]))
        for first in (0, 1)
    ]
    check(lib.attn_merge(current().handle, len(tensors) // 2, *states, *written))
    return _State(*results)


def _name(i: int) -> str:
    """What array number i is called in messages."""
    return ("out_a", "lse_a", "out_b", "lse_b")[i] if i < 4 else f"more[{i - 4}]"


@functools.lru_cache(maxsize=_CALLS)
def _slots(arrays: tuple[Any, ...]) -> tuple[tuple[int, ...], list[Slot]]:
    """The shape of out, and where each array goes."""
    views = list(map(view, arrays))
    shape = views[0].shape
    if len(shape) < 2:
        raise invalid(
            f"out_a has {len(shape)} dimensions, shape {shape}: expected (..., heads,"
            " length, dim) or (length, dim)"
        )
    batches = shape[:-3] or (1,)
    wide = (*batches, shape[-3] if len(shape) > 2 else 1, *shape[-2:])
    slots = []
    for i, array in enumerate(views):
        size = shape[: len(shape) - i % 2]
        check_float32(_name(i), array)
        if array.shape != size:
            raise invalid(f"{_name(i)} has shape {array.shape}: expected {size}")
        slots.append(fit(array, wide[: len(wide) - i % 2], len(batches), "float32"))
    return shape, slots
