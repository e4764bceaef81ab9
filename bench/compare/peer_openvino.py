"""OpenVINO: a model of one ScaledDotProductAttention, on tensors where they lie.

It computes in the type of the tensors, as the others do: without being told, it would
take bfloat16 for float32 on processors that multiply it. One query of each sequence has
the cache of OpenVINO, other problems with a cache have tensors.
"""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any, Callable

import openvino
import torch
from openvino import opset13

from compare.inputs import Inputs, LayerInputs
from compare.masks import full_mask
from compare.openvino_cache import CacheCall, cache_model
from compare.openvino_models import (
    TYPES,
    attend,
    attend_folded,
    attend_repeated,
    layer,
    read,
    shared,
)
from compare.peer import Call, LocalCall, Results, fastest
from compare.problem import Problem


class OpenVino:
    """Forward calls."""

    name = "openvino"

    def __init__(self) -> None:
        self._threads = 1
        self._core = openvino.Core()

    def version(self) -> str:
        """Of the package."""
        return str(openvino.get_version()).partition("-")[0]

    def set_threads(self, count: int) -> None:
        """For models that are compiled from now on."""
        self._threads = count

    def prepare(self, problem: Problem, inputs: Inputs | LayerInputs) -> Call | None:
        """Groups of heads become queries of one head, or have their keys repeated."""
        p = problem
        if p.backward or p.dropout != 0 or p.softcap != 0:
            return None
        if p.additive:
            return None
        if isinstance(inputs, LayerInputs):
            return self._call(partial(layer, p, inputs), [[inputs.x]], "")
        mask = inputs.masks.theirs["attn_mask"]
        if mask is not None and mask.dtype != torch.bool:
            mask = mask.to(inputs.query.dtype)
        options = {"causal": inputs.masks.theirs["is_causal"], "scale": p.scale}
        if p.cache and p.q_length == 1 and mask is None and not options["causal"]:
            model = self._compiled(cache_model(p), inputs.query.dtype)
            return CacheCall(p, inputs, model)
        turns = _turns(inputs, mask)
        if p.q_heads == p.kv_heads:
            return self._call(partial(attend, **options), turns, "")
        repeat = partial(attend_repeated, p, **options)
        ways = [partial(self._call, repeat, turns, "repeated keys")]
        if not options["causal"] and (mask is None or full_mask(mask, p).shape[1] == 1):
            if mask is not None:
                group = p.q_heads // p.kv_heads
                turns = _turns(inputs, full_mask(mask, p).repeat(1, 1, group, 1))
            fold = partial(attend_folded, p, **options)
            ways.append(partial(self._call, fold, turns, "folded heads"))
        return fastest(ways)

    def forget(self) -> None:
        """Models end with their calls."""

    def _call(
        self, graph: Callable[..., Any], turns: list[list[torch.Tensor]], how: str
    ) -> LocalCall:
        """graph: the result, made of parameters that are like the tensors of a turn.

        Only the first two differ from turn to turn.
        """
        turns = [[tensor.contiguous() for tensor in turn] for turn in turns]
        parameters = [
            opset13.parameter(list(tensor.shape), TYPES[tensor.dtype])
            for tensor in turns[0]
        ]
        model = openvino.Model([graph(*parameters)], parameters, "problem")
        dtype = turns[0][0].dtype
        request = self._compiled(model, dtype).create_infer_request()
        tensors = [[shared(tensor) for tensor in turn] for turn in turns]
        for number, tensor in enumerate(tensors[0]):
            request.set_input_tensor(number, tensor)
        cycle = itertools.cycle(tensors)

        def run() -> list[list[torch.Tensor]]:
            if len(tensors) > 1:
                key, value, *_ = next(cycle)
                request.set_input_tensor(0, key)
                request.set_input_tensor(1, value)
            request.infer()
            return turns  # whose memory is read: they live as long as this function

        def results(_: Any) -> Results:
            return (read(request.get_output_tensor(0), dtype),)

        return LocalCall(run, results, how)

    def _compiled(self, model: Any, dtype: torch.dtype) -> Any:
        kind = TYPES[dtype].to_string()
        options = {
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "bf16" if kind == "bf16" else "f32",
            "KV_CACHE_PRECISION": kind,
            "ENABLE_CPU_PINNING": False,  # as nobody else is
        }
        return self._core.compile_model(model, "CPU", options)


def _turns(inputs: Inputs, mask: torch.Tensor | None) -> list[list[torch.Tensor]]:
    """The tensors of each turn, in the order of the parameters of attend()."""
    others = [inputs.query] if mask is None else [inputs.query, mask]
    return [[key, value, *others] for key, value in inputs.keys_values]
