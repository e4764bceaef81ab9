"""The layers of this package as modules of torch, with gradients by autograd."""

from __future__ import annotations

import functools
import operator
from typing import Any, NamedTuple

import torch

from ._entered import made_once
from ._errors import invalid
from ._layer_handle import Packed
from ._layer_kinds import Kind, multihead_kind
from ._layer_parameters import first_value, pack, shapes_of
from ._layer_request import LayerRequest
from ._multihead_request import (
    asked_weights,
    inputs_of,
    multihead_request,
    usual_request,
    weights_of,
)
from ._options import number
from ._results import result_type
from ._stack_kinds import stack_kind
from ._stack_request import stack_request
from ._torch_run import Places, run
from ._torch_tools import as_tensor, draw_seed


class _PackedOf(NamedTuple):
    """Packed weights, and the parameters that they are a copy of, as they were.

    Their memory is held on to, lest other values come to lie there.
    """

    packed: Packed
    parameters: list[torch.Tensor]
    held: list[Any]
    versions: list[int]

    def __reduce__(self) -> Any:
        """For copy and pickle: packed weights have none."""
        return type(None), ()


class _Layer(torch.nn.Module):
    """A layer whose parameters are those of a module."""

    def __init__(self, kind: Kind, dropout: float) -> None:
        super().__init__()
        dropout = number(dropout, "dropout")
        if not 0 <= dropout <= 1:
            raise invalid(f"dropout is {dropout}: expected 0 to 1")
        self._kind = kind
        self._dropout = dropout
        self._shapes = shapes_of(kind)
        self._paths = [name.split(".") for name in self._shapes]
        for (*path, last), shape in zip(self._paths, self._shapes.values()):
            module = functools.reduce(_child, path, self)
            module.register_parameter(last, torch.nn.Parameter(torch.empty(shape)))
        self._places = Places(self._shapes)
        self._packed: _PackedOf | None = None
        self.reset_parameters()

    def pack_weights(self, packed: bool = True) -> Any:
        """Keeps a copy of the weights for products; returns the layer.

        Calls without gradients read the copy, which spares them the packing, until
        train(), or until a parameter is moved, replaced or written to as itself, as
        load_state_dict() does; call it again then. Outside training, writes past
        torch's count of them are not noticed, and outputs then come from old weights
        and new biases: those of fused optimisers, to parameter.data, to memory shared
        with numpy or with the flat tensor that vector_to_parameters() was given, and to
        parameters made in inference mode. packed=False drops the copy.
        """
        self._packed = None
        if packed:
            parameters = self._parameters_now()
            held, where = self._places.find(parameters)
            packs = pack(self._kind, where)
            # other tensors of the same memory: a parameter may be given other memory
            held = [x.detach() if isinstance(x, torch.Tensor) else x for x in held]
            versions = list(map(_version, parameters))
            self._packed = _PackedOf(packs, parameters, held, versions)
        return self

    def train(self, mode: bool = True) -> Any:
        """As in torch; training drops packed weights."""
        if mode:
            self._packed = None
        return super().train(mode)

    def _parameters_now(self) -> list[torch.Tensor]:
        """The parameters, in the order of shapes."""
        try:
            return [_registered(self, path) for path in self._paths]
        except KeyError:  # something else has taken a parameter's place
            made_once("parameters may be computed from others")
            return [functools.reduce(getattr, path, self) for path in self._paths]

    def _packed_now(self, parameters: list[torch.Tensor]) -> Packed | None:
        """The packed weights, if these parameters are what was packed."""
        last = self._packed  # which another thread may drop
        if last is None:
            return None
        packed, known, _, versions = last
        if all(map(operator.is_, parameters, known)) and versions == list(
            map(_version, parameters)
        ):
            return packed
        return None

    def reset_parameters(self) -> None:
        """New first values, from torch's generator, as torch's modules draw them."""
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                first = first_value(name, self._shapes[name], self._shapes)
                if first.noise == "uniform":
                    parameter.uniform_(
                        first.mean - first.scale, first.mean + first.scale
                    )
                elif first.noise == "normal":
                    parameter.normal_(first.mean, first.scale)
                else:
                    parameter.fill_(first.mean)

    def _drop(self, dropout_seed: int | None) -> tuple[float, int]:
        """The probability and the seed of a call's dropout."""
        if not self.training or self._dropout == 0:
            return 0.0, 0
        return self._dropout, draw_seed() if dropout_seed is None else dropout_seed

    def _run(self, request: LayerRequest, asked: tuple[str, ...]) -> dict[str, Any]:
        """The outputs of a call, by name."""
        parameters = self._parameters_now()
        packed = self._packed_now(parameters)
        return run(request, self._places, parameters, asked, packed)


def _version(tensor: torch.Tensor) -> int:
    """Changes with each write that torch knows of; it counts none in inference mode."""
    return 0 if tensor.is_inference() else tensor._version


def _registered(module: Any, path: list[str]) -> torch.Tensor:
    """The parameter at a path, quicker than by attributes; KeyError: it is none."""
    for name in path[:-1]:
        module = module._modules[name]
    parameter: torch.Tensor = module._parameters[path[-1]]
    return parameter


def _child(module: torch.nn.Module, name: str) -> torch.nn.Module:
    """The module of this name, made if it is not there."""
    if name not in module._modules:
        kind = torch.nn.ModuleList if name == "layers" else torch.nn.Module
        module.add_module(name, kind())
    return module._modules[name]


class MultiheadAttention(_Layer):
    """attn.MultiheadAttention as a module, with gradients by torch's autograd.

    Its arguments are those of that class; the names and shapes of its parameters are
    those of torch.nn.MultiheadAttention.

        >>> layer = attn.torch.MultiheadAttention(64, 4, batch_first=True)
        >>> x = torch.rand(2, 10, 64)
        >>> output, weights = layer(x, x, x, is_causal=True)
        >>> output.square().sum().backward()
        >>> layer.in_proj_weight.grad.shape
        torch.Size([192, 64])
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        **options: Any,
    ) -> None:
        kind = multihead_kind(
            embed_dim,
            num_heads,
            bias=bias,
            add_bias_kv=add_bias_kv,
            add_zero_attn=add_zero_attn,
            kdim=kdim,
            vdim=vdim,
            **options,
        )
        super().__init__(kind, dropout)
        self.embed_dim, self.num_heads = kind.attention[:2]
        self.batch_first = bool(batch_first)

    def forward(
        self,
        query: Any,
        key: Any,
        value: Any,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
        *,
        dropout_seed: int | None = None,
        **options: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """As attn.MultiheadAttention.forward.

        Gradients flow to all arguments of float32 but cos and sin, from the output and
        the weights; with add_bias_kv or add_zero_attn from the output alone.
        dropout_seed None: drawn from torch's generator.
        """
        given = (query, key, value, attn_mask, key_padding_mask)
        dropout = self._drop(dropout_seed)
        request = usual_request(
            self._kind, self.batch_first, given, options, is_causal, dropout[0]
        ) or multihead_request(
            self._kind,
            self.batch_first,
            inputs_of(given, as_tensor),
            {**options, "is_causal": is_causal},
            dropout,
        )
        asked = asked_weights(self._kind, need_weights, average_attn_weights)
        results = self._run(request, asked)
        return results["output"], weights_of(results, average_attn_weights)


class TransformerStack(_Layer):
    """attn.TransformerStack as a module, with gradients by torch's autograd.

    Its arguments are those of that class; the names and shapes of its parameters are
    those of torch.nn.TransformerEncoder or, with cross, torch.nn.TransformerDecoder.

        >>> stack = attn.torch.TransformerStack(2, 64, 4, 256, activation="gelu")
        >>> stack(torch.rand(2, 10, 64), is_causal=True).square().sum().backward()
        >>> stack.layers[1].linear1.weight.grad.shape
        torch.Size([256, 64])
    """

    def __init__(
        self,
        layers: int,
        embed_dim: int,
        num_heads: int,
        dim_feedforward: int,
        *,
        attention_dropout: float = 0.0,
        **options: Any,
    ) -> None:
        kind = stack_kind(layers, embed_dim, num_heads, dim_feedforward, **options)
        super().__init__(kind, attention_dropout)

    def forward(
        self,
        input: Any,
        memory: Any = None,
        *,
        dropout_seed: int | None = None,
        return_weights: bool = False,
        return_mean_weights: bool = False,
        return_memory_weights: bool = False,
        return_memory_mean_weights: bool = False,
        **options: Any,
    ) -> Any:
        """As attn.TransformerStack.forward.

        Gradients flow from the output to all arguments of float32 but cos and sin;
        weights have none. dropout_seed None: drawn from torch's generator.
        """
        asked = {
            "weights": return_weights,
            "mean_weights": return_mean_weights,
            "memory_weights": return_memory_weights,
            "memory_mean_weights": return_memory_mean_weights,
        }
        sequences = {"input": input, "memory": memory}
        request = stack_request(
            self._kind,
            {
                name: array if array is None else as_tensor(array, name)
                for name, array in sequences.items()
            },
            options,
            self._drop(dropout_seed),
        )
        results = self._run(request, tuple(name for name in asked if asked[name]))
        if len(results) == 1:
            return results["output"]
        return result_type("Stack", tuple(results))(**results)
