"""Attention rollout: how much each position takes part in the last layer."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from ._arrays import address, as_numpy, empty_like_kind, look
from ._context import current
from ._errors import invalid
from ._layout import View, fit, new, view
from ._library import check, lib
from ._shapes import check_float32


def attention_rollout(mean_weights: Any) -> Any:
    """Attention rollout (Abnar and Zuidema 2020).

    mean_weights (layers, N, S, S) or (layers, S, S), float32, of self-attention,
    averaged over heads, as TransformerStack returns them. Returns (N, S, S) or (S, S):
    the product of the layers' matrices, the last one first, each half the weights and
    half the identity, for what goes past attention. Row i says how much each input
    position takes part in position i of the last layer.

        >>> stack = attn.TransformerStack(3, 16, 2, 32, seed=1).eval()
        >>> x = np.random.rand(2, 5, 16).astype(np.float32)
        >>> r = stack(x, return_mean_weights=True)
        >>> rollout = attn.attention_rollout(r.mean_weights)
        >>> rollout.shape, np.allclose(rollout.sum(-1), 1)
        ((2, 5, 5), True)
    """
    array, where, facts = look(mean_weights, "mean_weights")
    there = view(facts)
    check_float32("mean_weights", there)
    shape = there.shape
    if len(shape) not in (3, 4) or shape[-1] != shape[-2]:
        raise invalid(
            f"mean_weights has shape {shape}: expected (layers, batch, length, length)"
            " or (layers, length, length)"
        )
    wide, strides = shape, there.strides
    if len(shape) == 3:
        wide, strides = (shape[0], 1, *shape[1:]), (strides[0], 0, *strides[1:])
    slot = fit(View("float32", wide, strides), wide, 0, "float32")
    result, to = empty_like_kind(array, shape[1:], np.dtype(np.float32))
    if slot.copies:
        array = slot.copied(as_numpy(array))
        where = address(array)
    tensors = slot.tensor(where), new(wide[1:], "float32").tensor(to)
    check(lib.attn_rollout(current().handle, *map(ctypes.byref, tensors)))
    return result
