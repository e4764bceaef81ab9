"""A cache of OpenVINO: a model that keeps keys and values, and attends to them.

The CPU plugin makes one operator of the whole if keys and values are read, reordered by
sequence, joined with new ones, and written back. So each call appends a token.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import openvino
from openvino import opset13
from openvino.op import util

from compare.inputs import DTYPES, Inputs
from compare.openvino_models import TYPES, attend, constant, read, shared
from compare.peer import Results
from compare.problem import Problem
from compare.timing import SAMPLE_SECONDS, mean_seconds

GROWTH = 0.02  # of the cache, before it is set back to what it was


def cache_model(p: Problem) -> Any:
    """Parameters: the query, the new key and value, the order of sequences."""
    dtype = TYPES[DTYPES[p.stored]]
    query = opset13.parameter([p.batch, p.q_heads, -1, p.key_dim], dtype)
    order = opset13.parameter([p.batch], openvino.Type.i32)
    parameters, assigned, kept = [query], [], []
    for name, dim in (("key", p.key_dim), ("value", p.value_dim)):
        new = opset13.parameter([p.batch, p.kv_heads, -1, dim], dtype)
        info = util.VariableInfo()
        info.variable_id = name
        info.data_shape = openvino.PartialShape([-1, p.kv_heads, -1, dim])
        info.data_type = dtype
        variable = util.Variable(info)
        zero = opset13.constant(0.0, dtype)
        empty = opset13.broadcast(zero, constant(p.batch, p.kv_heads, 0, dim))
        past = opset13.gather(opset13.read_value(empty, variable), order, constant(0))
        whole = opset13.concat([past, new], 2)
        assigned.append(opset13.assign(whole, variable))
        parameters.append(new)
        kept.append(_repeated(p, whole, dim, dtype))
    out = opset13.result(attend(kept[0], kept[1], query, scale=p.scale))
    return openvino.Model([out], assigned, [*parameters, order], "cache")


def _repeated(p: Problem, rows: Any, dim: int, dtype: Any) -> Any:
    """As often as there are heads in a group, in the way that the plugin knows."""
    group = p.q_heads // p.kv_heads
    if group == 1:
        return rows
    ones = opset13.constant(np.ones((1, 1, group, 1, 1)), dtype)
    many = opset13.multiply(opset13.unsqueeze(rows, constant(2)), ones)
    return opset13.reshape(many, constant(0, p.q_heads, -1, dim), special_zero=True)


class CacheCall:
    """Appends the last keys and values to those before, and attends."""

    how = "its own cache"

    def __init__(self, problem: Problem, inputs: Inputs, model: Any) -> None:
        self._query = inputs.query.contiguous()
        self._kept = inputs.keys_values
        self._requests = [model.create_infer_request() for _ in self._kept]
        self._steady = max(1, int(GROWTH * problem.kv_length)) * len(self._kept)
        self._turns = itertools.cycle(self._requests)
        key, value = self._kept[0]
        self._last = [one[:, :, -1:].contiguous() for one in (key, value)]
        order = openvino.Tensor(np.arange(problem.batch, dtype=np.int32))
        for request in self._requests:
            for number, tensor in enumerate((self._query, *self._last)):
                request.set_input_tensor(number, shared(tensor))
            request.set_input_tensor(3, order)

    def results(self) -> Results:
        """Of a call after which the cache has all keys and values."""
        self._set_back()
        request = self._requests[0]
        request.infer()
        return (read(request.get_output_tensor(0), self._query.dtype),)

    def sample(self) -> float:
        """Setting the cache back is not counted, nor the first call after it."""
        spent, calls = 0.0, 0
        while spent < SAMPLE_SECONDS:
            self._set_back()
            for request in self._requests:
                request.infer()
            for _ in range(self._steady):
                spent += mean_seconds(self._run, 1)
                calls += 1
                if spent >= SAMPLE_SECONDS:
                    break
        return spent / calls

    def _run(self) -> None:
        next(self._turns).infer()

    def _set_back(self) -> None:
        """Every request keeps all but the last key and value."""
        for request, (key, value) in zip(self._requests, self._kept):
            for state in request.query_state():
                rows = key if state.name == "key" else value
                state.state = shared(rows[:, :, :-1].contiguous())
