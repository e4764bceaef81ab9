"""ONNX Runtime: a model of one operator, its inputs and outputs bound to memory.

Where several operators can compute a problem, the fastest is measured. Nothing is
allocated for results in the calls that are timed.
"""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any, Callable

import onnx
import onnxruntime
import torch

from compare.inputs import Inputs, LayerInputs
from compare.onnx_models import Model, layer_model, models
from compare.peer import Call, LocalCall, Results, fastest
from compare.problem import Problem

IR_VERSION = 10
OPSETS = (("", 24), ("com.microsoft", 1))
TYPES = {
    torch.float32: onnx.TensorProto.FLOAT,
    torch.float16: onnx.TensorProto.FLOAT16,
    torch.int32: onnx.TensorProto.INT32,
    torch.bool: onnx.TensorProto.BOOL,
}


class OnnxRuntime:
    """Forward calls of float32 and float16."""

    name = "onnxruntime"

    def __init__(self) -> None:
        self._threads = 1
        # One arena for all sessions: each would keep the largest scores it ever had.
        memory = onnxruntime.OrtMemoryInfo(
            "Cpu",
            onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR,
            0,
            onnxruntime.OrtMemType.DEFAULT,
        )
        onnxruntime.create_and_register_allocator(memory, None)

    def version(self) -> str:
        """Of the package."""
        return str(onnxruntime.__version__)

    def set_threads(self, count: int) -> None:
        """For sessions that are made from now on."""
        self._threads = count

    def prepare(self, problem: Problem, inputs: Inputs | LayerInputs) -> Call | None:
        """The fastest of the operators that can."""
        if problem.backward or problem.dropout != 0 or problem.stored == "bf16":
            return None
        if problem.additive:
            return None
        if isinstance(inputs, LayerInputs):
            return self._call(layer_model(problem, inputs), lambda out: (out.clone(),))
        heads = (problem.q_heads, problem.value_dim)

        def read(out: torch.Tensor) -> Results:
            if out.dim() == 3:
                out = out.unflatten(2, heads).transpose(1, 2)
            return (out.clone(),)

        every = models(problem, inputs)
        return fastest([partial(self._call, model, read) for model in every])

    def forget(self) -> None:
        """Sessions end with their calls."""

    def _call(self, model: Model, read: Callable[[Any], Results]) -> LocalCall:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what fails is raised, too
        options.add_session_config_entry("session.use_env_allocators", "1")
        session = onnxruntime.InferenceSession(
            _serialized(model), options, providers=["CPUExecutionProvider"]
        )
        bindings = itertools.cycle(
            [_bound(session, model, turn) for turn in model.turns]
        )

        def run() -> torch.Tensor:
            session.run_with_iobinding(next(bindings))
            return model.outputs["out"]

        return LocalCall(run, read, model.nodes[0].operator)


def _serialized(model: Model) -> bytes:
    def described(tensors: dict[str, torch.Tensor]) -> list[Any]:
        return [
            onnx.helper.make_tensor_value_info(name, TYPES[one.dtype], list(one.shape))
            for name, one in tensors.items()
        ]

    nodes = [
        onnx.helper.make_node(
            node.operator,
            node.inputs,
            node.outputs,
            domain=node.domain,
            **node.attributes,
        )
        for node in model.nodes
    ]
    constants = [
        onnx.numpy_helper.from_array(one.numpy(), name)
        for name, one in model.constants.items()
    ]
    inputs, outputs = described(model.inputs), described(model.outputs)
    graph = onnx.helper.make_graph(nodes, "problem", inputs, outputs, constants)
    opsets = [onnx.helper.make_opsetid(*opset) for opset in OPSETS]
    whole = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    return bytes(whole.SerializeToString())


def _bound(session: Any, model: Model, turn: dict[str, torch.Tensor]) -> Any:
    """Bound to the memory of tensors, which are contiguous and live in the model."""
    binding = session.io_binding()
    for tensors, bind in (
        (model.inputs, binding.bind_input),
        (model.outputs, binding.bind_output),
    ):
        for name, tensor in tensors.items():
            one = turn.get(name, tensor)
            kind = onnx.helper.tensor_dtype_to_np_dtype(TYPES[one.dtype])
            bind(name, "cpu", 0, kind, list(one.shape), one.data_ptr())
    return binding
