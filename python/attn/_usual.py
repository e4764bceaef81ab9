"""The short way through attention, for the arguments that calls have most often.

A call of a small problem takes less time than sorting forty arguments that are not
given. So calls with nothing but arrays, is_causal, scale and enable_gqa are prepared
right away.
"""

from __future__ import annotations

import functools
import sys
from typing import Any, Callable, TypeVar, cast

import numpy as np

from ._arrays import Look, look, plain_address
from ._context import current
from ._inputs import REQUIRED
from ._options import Asked
from ._prepare import prepare

_Function = TypeVar("_Function", bound=Callable[..., Any])

_OUT = tuple(Asked())

Arrays = tuple[Any, Any, Any]


def usual(
    looks_of: Callable[[Arrays], list[Look] | None],
) -> Callable[[_Function], _Function]:
    """Sends to the decorated function, an sdpa function, what is not usual.

    looks_of returns what ``look`` says of query, key and value, or None if they are
    not of the kind that needs no further thought.
    """

    def decorate(attention: _Function) -> _Function:
        return cast(_Function, _shortened(attention, looks_of))

    return decorate


def _shortened(
    attention: Callable[..., Any], looks_of: Callable[[Arrays], list[Look] | None]
) -> Callable[..., Any]:
    @functools.wraps(attention)
    def scaled_dot_product_attention(
        query: Any,
        key: Any,
        value: Any,
        attn_mask: Any = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
        **others: Any,
    ) -> Any:
        if (
            not others
            and attn_mask is None
            and type(dropout_p) is float
            and dropout_p == 0
            and type(is_causal) is bool
            and (scale is None or type(scale) is float)
            and type(enable_gqa) is bool
        ):
            looks = looks_of((query, key, value))
            if looks is not None:
                facts = (looks[0][2], looks[1][2], looks[2][2])
                # In the order of Options.
                options = (
                    *(0.0, is_causal, scale, enable_gqa, None),
                    *(None, 0.0, (0, 0), (0, False), None),
                )
                return prepare(current(), REQUIRED, facts, options, _OUT).run(looks)
        return attention(
            query,
            key,
            value,
            attn_mask,
            dropout_p,
            is_causal,
            scale,
            enable_gqa,
            **others,
        )

    return scaled_dot_product_attention


def looks_of_tensors(arrays: Arrays) -> list[Look] | None:
    """The looks of torch tensors that need no gradients."""
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    looks = []
    for array in arrays:
        if type(array) is not torch.Tensor:
            return None
        where = plain_address(array, torch)
        if not where:
            return None
        looks.append((array, where, (array.dtype, array.shape, array.stride())))
    return looks


def looks_of_arrays(arrays: Arrays) -> list[Look] | None:
    """The looks of numpy arrays, or of such tensors."""
    for array in arrays:
        if type(array) is not np.ndarray:
            return looks_of_tensors(arrays)
    return list(map(look, arrays, REQUIRED))
