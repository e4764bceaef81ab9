"""What a stack is: the options of its constructor, checked, with defaults filled in."""

from __future__ import annotations

import math
from typing import Any

from ._errors import invalid
from ._layer_kinds import Kind, Stack, choice, multihead, multihead_kind, size
from ._layer_structs import ACTIVATIONS, NORMS
from ._options import number

# What the attention to a memory shares with that of the sequence to itself.
_SHARED = (
    "bias",
    "input_bias",
    "output_bias",
    "num_kv_heads",
    "head_dim",
    "value_dim",
    "combine",
    "project",
)


# The options of the blocks that are none of their attention.
_BLOCKS = (
    "groups",
    "activation",
    "gated",
    "feed_forward_bias",
    "norm",
    "norm_bias",
    "norm_first",
    "final_norm",
    "eps",
    "recompute",
)


def stack_kind(
    layers: int,
    embed_dim: int,
    num_heads: int,
    dim_feedforward: int,
    *,
    cross: bool = False,
    memory_dim: int | None = None,
    **options: Any,
) -> Kind:
    """A stack; options are those of ``stack`` and of ``multihead_kind``."""
    if memory_dim is not None and not cross:
        raise invalid(f"memory_dim is {memory_dim}, but cross is False")
    of_blocks = {name: options.pop(name) for name in _BLOCKS if name in options}
    bias = options.get("bias", True)
    blocks = stack(layers, dim_feedforward, bias=bias, **of_blocks)
    kind = multihead_kind(embed_dim, num_heads, **options)
    memory = None
    if cross:
        dim = size(memory_dim, "memory_dim", kind.attention.embed_dim)
        shared = {name: options[name] for name in _SHARED if name in options}
        memory = multihead(embed_dim, num_heads, kdim=dim, vdim=dim, **shared)
    return kind._replace(stack=blocks, cross=memory)


def stack(
    layers: int,
    dim_feedforward: int,
    *,
    groups: int | None = None,
    activation: str = "relu",
    gated: bool = False,
    bias: bool = True,
    feed_forward_bias: bool | None = None,
    norm: str = "layer",
    norm_bias: bool | None = None,
    norm_first: bool = False,
    final_norm: bool = False,
    eps: float = 1e-5,
    recompute: bool = False,
) -> Stack:
    """A stack with these arguments of a constructor."""
    layers = size(layers, "layers")
    eps = number(eps, "eps")
    if not 0 < eps < math.inf:
        raise invalid(f"eps is {eps}: it must be more than 0 and finite")
    chosen = choice(norm, "norm", NORMS)
    if norm_bias is None:
        norm_bias = bias and chosen == NORMS["layer"]
    return Stack(
        layers=layers,
        groups=size(groups, "groups", layers),
        feed_forward_dim=size(dim_feedforward, "dim_feedforward"),
        activation=choice(activation, "activation", ACTIVATIONS),
        gated=bool(gated),
        feed_forward_bias=bool(
            bias if feed_forward_bias is None else feed_forward_bias
        ),
        norm=chosen,
        norm_bias=bool(norm_bias),
        norm_first=bool(norm_first),
        final_norm=bool(final_norm),
        recompute=bool(recompute),
        epsilon=eps,
    )
