"""libattn, as its users call it from Python: on torch tensors, allocating results."""

from __future__ import annotations

import ctypes
import itertools
from typing import Any, Callable

import torch

import attn.torch
from compare.inputs import DTYPES, Inputs, LayerInputs, Packed, unpack_rows
from compare.layers import layer_call
from compare.peer import Call, LocalCall, Results
from compare.problem import Problem
from compare.training import train_call

# Where the BLAS that libattn uses may be found, to give it as many threads as the rest.
_BLAS = ("libblas.so.3", "libopenblas.so.0")


class Libattn:
    """The library that all others are compared with."""

    name = "libattn"

    def version(self) -> str:
        """With what decides how fast it is."""
        info = attn.info()
        return ", ".join(
            str(info[name]) for name in ("version", "isa", "blas", "blas policy")
        )

    def set_threads(self, count: int) -> None:
        """Also those of OpenBLAS, if that is what libattn uses."""
        attn.set_num_threads(count)
        for name in _BLAS:
            try:
                ctypes.CDLL(name).openblas_set_num_threads(count)
            except (OSError, AttributeError):
                continue
            return

    def prepare(self, problem: Problem, inputs: Inputs | LayerInputs) -> Call:
        """It can do all of them."""
        if isinstance(inputs, LayerInputs):
            return layer_call(problem, inputs, attn.torch.MultiheadAttention)
        options: dict[str, Any] = {
            **inputs.masks.ours,
            "dropout_p": problem.dropout,
            "scale": problem.scale,
            "enable_gqa": problem.q_heads != problem.kv_heads,
        }
        if inputs.packed is not None:
            return _packed(problem, inputs.packed, options)
        if problem.cache:
            return LocalCall(_cached(problem, inputs), lambda out: (out,))
        if options.get("causal") == "top_left":  # as it is asked for most often
            del options["causal"]
            options["is_causal"] = True
        if problem.bound:
            return LocalCall(_bound(inputs, options), lambda out: (out,))
        function = attn.torch.scaled_dot_product_attention
        if inputs.vector is not None:
            options["score_vector"] = inputs.vector
        if problem.backward:
            return train_call(function, options, inputs)
        turns = itertools.cycle(inputs.keys_values)

        def call() -> torch.Tensor:
            with torch.no_grad():
                out: torch.Tensor = function(inputs.query, *next(turns), **options)
            return out

        return LocalCall(call, lambda out: (out,))

    def forget(self) -> None:
        """Nothing is kept."""


def _bound(inputs: Inputs, options: dict[str, Any]) -> Callable[[], torch.Tensor]:
    """Calls that are bound to the query and one each of the copies of keys."""
    function = attn.scaled_dot_product_attention
    return _in_turns(
        [
            attn.bind(function, inputs.query, *one, **options)
            for one in inputs.keys_values
        ]
    )


def _in_turns(calls: list[attn.BoundCall]) -> Callable[[], torch.Tensor]:
    """Makes one of the calls after the other."""
    turns = itertools.cycle(calls)

    def call() -> torch.Tensor:
        out: torch.Tensor = next(turns)()
        return out

    return call


def _packed(problem: Problem, packed: Packed, options: dict[str, Any]) -> LocalCall:
    """The rows alone, without padding."""
    del options["attn_mask"]

    def call() -> torch.Tensor:
        out: torch.Tensor = attn.varlen_attention(
            packed.query,
            packed.key,
            packed.value,
            packed.q_starts,
            packed.k_starts,
            **options,
        )
        return out

    def read(out: torch.Tensor) -> Results:
        return (unpack_rows(out, packed.q_starts, problem.q_length),)

    return LocalCall(call, read)


def _cached(problem: Problem, inputs: Inputs) -> Callable[[], torch.Tensor]:
    """From a cache that has the keys and values already.

    Copies that take turns are sequences of the same cache.
    """
    p, masks = problem, inputs.masks
    cache = attn.KVCache(
        p.batch * len(inputs.keys_values),
        p.kv_heads,
        p.key_dim,
        p.value_dim,
        capacity=p.kv_length,
        dtype=str(DTYPES[p.stored]).rpartition(".")[2],
        page_size=p.page_size,
    )
    every = [
        torch.arange(p.batch) + p.batch * number
        for number in range(len(inputs.keys_values))
    ]
    for sequences, (key, value) in zip(every, inputs.keys_values):
        cache.append(key, value, sequences=sequences, lengths=masks.kv_lengths)
    options: dict[str, Any] = {"causal": p.causal, "scale": p.scale}
    for name in ("window", "softcap", "alibi_slopes", "attn_mask"):
        if masks.ours.get(name) is not None:
            options[name] = masks.ours[name]
    if not p.bottom_right and (p.causal or p.alibi or p.window != (-1, -1)):
        # A cache takes queries to be its last tokens.
        options["query_offsets"] = torch.zeros(p.batch, dtype=torch.int64)
    if problem.bound:
        return _in_turns(
            [
                attn.bind(cache.attend, inputs.query, sequences=one, **options)
                for one in every
            ]
        )
    turns = itertools.cycle(every)

    def call() -> torch.Tensor:
        out: torch.Tensor = cache.attend(inputs.query, sequences=next(turns), **options)
        return out

    return call
