"""From the arguments of multi-head attention to a call, for numpy and torch."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ._entered import made_once
from ._errors import invalid
from ._layer_inputs import LayerSizes, layer_sizes
from ._layer_kinds import Kind
from ._layer_request import (
    NO_NUMBERS,
    Form,
    LayerRequest,
    attention,
    layer_request,
    split_positions,
)
from ._layout import View, contiguous
from ._multihead_masks import attention_masks, dtype_of

SEQUENCES = ("query", "key", "value")
MASKS = ("attn_mask", "key_padding_mask")


def usual_request(
    kind: Kind,
    batch_first: bool,
    given: tuple[Any, ...],
    options: dict[str, Any],
    is_causal: Any,
    dropout_p: float,
) -> LayerRequest | None:
    """The short way to a call without masks, options and dropout; None: it has some."""
    query, key, value, attn_mask, padding = given
    masked = attn_mask is not None or padding is not None
    if masked or options or dropout_p or type(is_causal) is not bool:
        return None
    count = 3 if value is not key else 2 if key is not query else 1
    form = _usual_form(kind, batch_first, is_causal, count)
    return LayerRequest(form, given[:count], NO_NUMBERS)


@functools.lru_cache(maxsize=256)
def _usual_form(kind: Kind, batch_first: bool, is_causal: bool, count: int) -> Form:
    sequences = dict.fromkeys(SEQUENCES[:count])
    plain = attention({"is_causal": is_causal}, kind.attention, 0.0, 0)
    return layer_request(kind, sequences, {}, plain, seq_first=not batch_first).form


def inputs_of(
    given: tuple[Any, ...], import_array: Callable[[Any, str], Any]
) -> dict[str, Any]:
    """What is given of query, key, value and the masks, by name.

    A key or value that is the same object as the one before is left out.
    """
    named = dict(zip((*SEQUENCES, *MASKS), given))
    if named["value"] is named["key"]:
        del named["value"]
        if named["key"] is named["query"]:
            del named["key"]
    return {
        name: import_array(array, name)
        for name, array in named.items()
        if array is not None or name in SEQUENCES
    }


def multihead_request(
    kind: Kind,
    batch_first: bool,
    given: dict[str, Any],
    options: dict[str, Any],
    dropout: tuple[float, int],
) -> LayerRequest:
    """A call on numpy arrays or tensors, as ``inputs_of`` returns them.

    options are positions and what goes on to the attention; dropout is its probability
    and seed.
    """
    positions, options = split_positions(options)
    sequences = {name: given[name] for name in SEQUENCES if name in given}
    masks = [given.get(name) for name in MASKS]
    if any(mask is not None for mask in masks):
        query_length = positions.get("query_length")
        sizes = _sizes(kind, sequences, batch_first, query_length)
        found = attention_masks(masks[0], masks[1], kind.attention.heads, sizes)
        for name in found:
            if options.get(name) is not None:
                raise invalid(f"{name} cannot go together with two bool masks")
        if "key_padding_mask" in found:
            sequences["key_padding_mask"] = found.pop("key_padding_mask")
        options = {**options, **found}
    request = attention(options, kind.attention, *dropout)
    return layer_request(kind, sequences, positions, request, seq_first=not batch_first)


def _sizes(
    kind: Kind, sequences: dict[str, Any], batch_first: bool, query_length: int | None
) -> LayerSizes:
    """The sizes that the masks of a call must fit."""
    views = {
        name: View(dtype_of(array), tuple(array.shape), contiguous(array.shape))
        for name, array in sequences.items()
    }
    return layer_sizes(kind, views, not batch_first, query_length)


def asked_weights(kind: Kind, need: bool, average: bool) -> tuple[str, ...]:
    """The outputs to ask for where a caller needs weights."""
    if not need:
        return ()
    # With extra keys the library does not average.
    averaged = average and kind.attention.extra_keys == 0
    return ("mean_weights",) if averaged else ("weights",)


def weights_of(results: dict[str, Any], average: bool) -> Any:
    """The weights that the caller gets, or None."""
    if "weights" in results and average:
        made_once("weights with added keys are averaged")
        return results["weights"].mean(-3)
    return results.get("weights", results.get("mean_weights"))
