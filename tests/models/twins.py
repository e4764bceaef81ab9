"""Layers of attn beside models of transformers: the same parameters, the same inputs.

A twin is a model of transformers with random weights, in float64 to be the judge, and
what it comes to as a stack of attn.torch. Its blocks are compared from what the first
one reads to what the last one writes, forwards and backwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

import attn.torch


@dataclass
class Parameter:
    """One of attn's parameters as those of a model, one below the other."""

    parts: tuple[torch.nn.Parameter, ...]
    turned: bool = False  # the model has (inputs, outputs)

    def of(self, tensors: list[torch.Tensor]) -> torch.Tensor:
        """What these tensors, parameters or gradients, come to."""
        together = [tensor.T if self.turned else tensor for tensor in tensors]
        return torch.cat(together) if len(together) > 1 else together[0]

    @property
    def value(self) -> torch.Tensor:
        return self.of([part.detach() for part in self.parts])

    @property
    def grad(self) -> torch.Tensor:
        return self.of([part.grad for part in self.parts])


def linear(*modules: Any, turned: bool = False) -> dict[str, Parameter]:
    """The weight and, if there is one, the bias of linear modules or norms."""
    found = {}
    for name in ("weight", "bias"):
        parts = tuple(getattr(module, name, None) for module in modules)
        if all(part is not None for part in parts):
            found[name] = Parameter(parts, turned and parts[0].ndim == 2)
    return found


def block(
    query: Any,
    key: Any,
    value: Any,
    output: Any,
    name: str = "self_attn",
    *,
    turned: bool = False,
) -> dict[str, Parameter]:
    """An attention of a block; key and value None: query has all three."""
    inputs = [module for module in (query, key, value) if module is not None]
    found = {}
    for what, parameter in linear(*inputs, turned=turned).items():
        found[f"{name}.in_proj_{what}"] = parameter
    for what, parameter in linear(output, turned=turned).items():
        found[f"{name}.out_proj.{what}"] = parameter
    return found


def named(turned: bool = False, **modules: Any) -> dict[str, Parameter]:
    """Linear modules and norms of a block by the names that attn gives them."""
    return {
        f"{name}.{what}": parameter
        for name, module in modules.items()
        for what, parameter in linear(module, turned=turned).items()
    }


@dataclass
class Twin:
    """A model and how to build its stack."""

    model: torch.nn.Module
    run: Callable[[], torch.Tensor]  # the model, to the output of the blocks
    first: torch.nn.Module  # the first block, whose input is that of the stack
    blocks: list[dict[str, Parameter]]  # parameters of each group of blocks
    options: dict[str, Any]  # of the stack
    call: dict[str, Any] = field(default_factory=dict)  # of its forward call
    final: dict[str, Parameter] = field(default_factory=dict)
    # arrays of the call that get gradients too: theirs, by the name of the option
    tables: dict[str, torch.nn.Parameter] = field(default_factory=dict)

    def parameters(self) -> dict[str, Parameter]:
        found = {
            f"layers.{g}.{name}": parameter
            for g, group in enumerate(self.blocks)
            for name, parameter in group.items()
        }
        return {**found, **self.final}


def far(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The distance, relative to the size of theirs."""
    return float((ours.double() - theirs).norm() / theirs.norm())


def _input_of(module: torch.nn.Module, run: Callable[[], torch.Tensor]) -> Any:
    """What run() returns, and the sequences that the module got on the way."""
    seen = []

    def note(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        hidden.retain_grad()
        seen.append(hidden)

    handle = module.register_forward_pre_hook(note, with_kwargs=True)
    output = run()
    handle.remove()
    return output, seen[0]


def compare(twin: Twin, memory: torch.Tensor | None = None) -> dict[str, float]:
    """Runs both forwards and backwards; returns how far apart everything is.

    memory: what the blocks of a decoder attend to, a leaf that gets a gradient.
    """
    theirs, hidden = _input_of(twin.first, twin.run)
    generator = torch.Generator().manual_seed(7)
    grad_output = torch.randn(theirs.shape, generator=generator, dtype=torch.float64)
    theirs.backward(grad_output)

    stack = attn.torch.TransformerStack(**twin.options)
    parameters = twin.parameters()
    stack.load_state_dict({name: p.value.float() for name, p in parameters.items()})
    ours_in = hidden.detach().float().requires_grad_()
    leaves = {"input": (ours_in, hidden.grad)}
    arguments = dict(twin.call)
    if memory is not None:
        ours_memory = memory.detach().float().requires_grad_()
        arguments["memory"] = ours_memory
        leaves["memory"] = (ours_memory, memory.grad)
    for option, table in twin.tables.items():
        ours_table = table.detach().float().requires_grad_()
        arguments[option] = (ours_table, *arguments[option])
        leaves[option] = (ours_table, table.grad)
    ours = stack(ours_in, **arguments)
    ours.backward(grad_output.float())

    distances = {"output": far(ours.detach(), theirs.detach())}
    for name, (leaf, grad) in leaves.items():
        distances[f"grad of {name}"] = far(leaf.grad, grad)
    for name, parameter in stack.named_parameters():
        distances[f"grad of {name}"] = far(parameter.grad, parameters[name].grad)
    return distances


def check(distances: dict[str, float]) -> None:
    """Outputs within 1e-5, gradients within 1e-4."""
    for name, distance in distances.items():
        bound = 1e-4 if name.startswith("grad") else 1e-5
        assert distance <= bound, f"{name} is off by {distance:.2g}, more than {bound}"
