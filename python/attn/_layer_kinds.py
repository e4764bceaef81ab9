"""What a layer is: the options of its constructor, checked, with defaults filled in.

A kind is a tuple of plain numbers, so that layers of the same kind find each other's
C layers; ``_layer_handle.py`` writes it into the structs of the library.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ._errors import invalid
from ._layer_structs import COMBINE, PROJECT
from ._options import int64, number


class Multihead(NamedTuple):
    """The members of ``attn_multihead_options`` after size."""

    embed_dim: int
    heads: int
    kv_heads: int
    key_dim: int
    value_dim: int
    key_embed_dim: int
    value_embed_dim: int
    separate: bool
    input_bias: bool
    output_bias: bool
    key_value_bias: bool
    zero_attention: bool
    combine: int
    project: int
    rotary_dim: int
    rotary_interleaved: bool
    rotary_base: float  # 0: the usual one
    relative: bool
    targets: bool

    @property
    def extra_keys(self) -> int:
        """Keys that are no part of the key input."""
        return self.key_value_bias + self.zero_attention


class Stack(NamedTuple):
    """The members of ``attn_stack_options`` between size and the attentions."""

    layers: int
    groups: int
    feed_forward_dim: int
    activation: int
    gated: bool
    feed_forward_bias: bool
    norm: int
    norm_bias: bool
    norm_first: bool
    final_norm: bool
    recompute: bool
    epsilon: float


class Kind(NamedTuple):
    """A layer: multi-head attention, or with stack a stack of blocks."""

    attention: Multihead
    cross: Multihead | None = None
    stack: Stack | None = None
    segments: bool = False  # relative keys have segment keys beside them
    reproducible: bool = False

    @property
    def parameters(self) -> frozenset[str]:
        """Members of ``attn_forward_args`` that are parameters of the layer."""
        if not self.attention.relative:
            return frozenset()
        names = {"content_bias", "position_bias"}
        return frozenset(
            names | {"segment_keys", "segment_bias"} if self.segments else names
        )


def multihead(
    embed_dim: int,
    num_heads: int,
    *,
    bias: bool = True,
    input_bias: bool | None = None,
    output_bias: bool | None = None,
    add_bias_kv: bool = False,
    add_zero_attn: bool = False,
    kdim: int | None = None,
    vdim: int | None = None,
    num_kv_heads: int | None = None,
    head_dim: int | None = None,
    value_dim: int | None = None,
    combine: str = "concat",
    project: str = "all",
    rotary_dim: int = 0,
    rotary_interleaved: bool = False,
    rotary_base: float | None = None,
    relative: bool = False,
    targets: bool = False,
) -> Multihead:
    """Multi-head attention with these arguments of a constructor."""
    embed_dim = size(embed_dim, "embed_dim")
    heads = size(num_heads, "num_heads")
    if head_dim is None and embed_dim % heads:
        raise invalid(
            f"embed_dim is {embed_dim}, which is not a multiple of {heads} num_heads:"
            " say head_dim"
        )
    key_dim = size(head_dim, "head_dim", embed_dim // heads)
    key_embed_dim = size(kdim, "kdim", embed_dim)
    value_embed_dim = size(vdim, "vdim", embed_dim)
    kv_heads = size(num_kv_heads, "num_kv_heads", heads)
    if heads % kv_heads:
        raise invalid(
            f"num_heads is {heads}, which is not a multiple of {kv_heads} num_kv_heads"
        )
    slices = choice(project, "project", PROJECT)
    if rotary_base is not None and rotary_dim == 0:
        raise invalid(f"rotary_base is {rotary_base}, but rotary_dim is 0")
    return Multihead(
        embed_dim=embed_dim,
        heads=heads,
        kv_heads=kv_heads,
        key_dim=key_dim,
        value_dim=size(value_dim, "value_dim", key_dim),
        key_embed_dim=key_embed_dim,
        value_embed_dim=value_embed_dim,
        separate=bool(slices or key_embed_dim != embed_dim)
        or value_embed_dim != embed_dim,
        input_bias=bool(bias if input_bias is None else input_bias),
        output_bias=bool(bias if output_bias is None else output_bias),
        key_value_bias=bool(add_bias_kv),
        zero_attention=bool(add_zero_attn),
        combine=choice(combine, "combine", COMBINE),
        project=slices,
        rotary_dim=int64(rotary_dim, "rotary_dim"),
        rotary_interleaved=bool(rotary_interleaved),
        rotary_base=0.0 if rotary_base is None else number(rotary_base, "rotary_base"),
        relative=bool(relative),
        targets=bool(targets),
    )


def multihead_kind(
    embed_dim: int,
    num_heads: int,
    *,
    segments: bool = False,
    reproducible: bool = False,
    **options: Any,
) -> Kind:
    """A layer of multi-head attention; options are those of ``multihead``."""
    attention = multihead(embed_dim, num_heads, **options)
    if segments and not attention.relative:
        raise invalid("segments=True, but relative is False")
    return Kind(attention, segments=bool(segments), reproducible=bool(reproducible))


def size(value: Any, name: str, otherwise: int | None = None) -> int:
    """A number of 1 or more; otherwise stands for None."""
    if value is None and otherwise is not None:
        return otherwise
    result = int64(value, name)
    if result < 1:
        raise invalid(f"{name} is {result}: expected 1 or more")
    return result


def choice(value: Any, name: str, choices: dict[str, int]) -> int:
    """The number of one of several words."""
    if not isinstance(value, str) or value not in choices:
        words = ", ".join(repr(word) for word in choices)
        raise invalid(f"{name} is {value!r}: expected one of {words}")
    return choices[value]
