"""Plans: which attention, for which sizes, made ready by the library and kept.

Making a plan takes longer than a small call, so plans are kept, found by the facts they
were made from. Their bounds are rounded up to powers of two: a sequence that grows by
a token at a time finds a plan nearly every time. Bounds have no influence on results.
"""

from __future__ import annotations

import ctypes
import functools
from typing import NamedTuple

from ._context import Context, forget, owned
from ._errors import invalid, unsupported
from ._inputs import REQUIRED, Input
from ._library import check, lib, text_of
from ._options import Options
from ._shapes import Sizes
from ._structs import BOOL, F32, SCORE_ADDITIVE, SCORE_DOT, Bounds

# A few models' worth of distinct layers. A plan is small, but not nothing.
_PLANS = 64

# Beyond this a call takes so long that making its plan does not matter.
_EXACT_BOUND = 1 << 20


class Facts(NamedTuple):
    """What a descriptor says."""

    heads: int
    kv_heads: int
    key_dim: int
    value_dim: int
    scale: float | None
    softcap: float
    causal: bool
    alignment: int
    window: tuple[int, int]
    blocks: tuple[int, int]
    dropout: float
    buckets: int  # of relative_bias, like the next two
    max_distance: int
    bidirectional: bool
    ranks: int
    inputs: frozenset[str]  # members of attn_forward_args that calls bring


def facts_of(
    problem: Sizes,
    chosen: Options,
    inputs: list[Input],
    parameters: frozenset[str] = frozenset(),
) -> Facts:
    """What a descriptor says of a call with these options and inputs.

    parameters are members that are no inputs, because a layer has them.
    """
    slots = {input.member: input.slot for input in inputs}
    members = frozenset(slots) - set(REQUIRED)
    buckets = slots["relative_bias"].shape[0] if "relative_bias" in slots else 0
    return Facts(
        heads=problem.heads,
        kv_heads=problem.kv_heads,
        key_dim=problem.key_dim,
        value_dim=problem.value_dim,
        scale=chosen.scale,
        softcap=chosen.softcap,
        causal=chosen.is_causal,
        alignment=chosen.alignment(members),
        window=chosen.window or (-1, -1),
        blocks=chosen.blocks if "block_mask" in members else (0, 0),
        dropout=chosen.dropout_p,
        buckets=buckets,
        max_distance=chosen.buckets[0],
        bidirectional=chosen.buckets[1],
        ranks=chosen.rule_of_ranks(members),
        inputs=members | parameters,
    )


class Plan:
    """An ``attn_plan``."""

    def __init__(self, context: Context, facts: Facts, bounds: Bounds) -> None:
        self.handle = ctypes.c_void_p()
        desc = ctypes.c_void_p()
        check(lib.attn_desc_create(ctypes.byref(desc)))
        try:
            describe(desc, facts)
            check(
                lib.attn_plan_create(
                    ctypes.byref(self.handle),
                    context.handle,
                    desc,
                    ctypes.byref(bounds),
                )
            )
        finally:
            lib.attn_desc_destroy(desc)
        owned(self, lib.attn_plan_destroy, self.handle)

    @functools.cached_property
    def words(self) -> str:
        """The text of ``attn_plan_explain``."""
        return text_of(lib.attn_plan_explain, self.handle)


def plan_for(
    context: Context, facts: Facts, batch: int, q_length: int, kv_length: int
) -> Plan:
    """A plan, new or kept, for calls of these sizes."""
    rounded = (round_up(n) for n in (batch, q_length, kv_length))
    return _plan_for(context, facts, *rounded)


@functools.lru_cache(maxsize=_PLANS)
def _plan_for(
    context: Context, facts: Facts, batch: int, q_length: int, kv_length: int
) -> Plan:
    bounds = Bounds(ctypes.sizeof(Bounds), batch, q_length, kv_length)
    return Plan(context, facts, bounds)


forget.append(_plan_for.cache_clear)


def round_up(n: int) -> int:
    """The next power of two, up to where exactness pays."""
    return 1 << (n - 1).bit_length() if 0 < n <= _EXACT_BOUND else n


def describe(desc: ctypes.c_void_p, facts: Facts) -> None:
    """Says the facts to a new descriptor."""
    given = facts.inputs
    for name, size in facts._asdict().items():
        if name.endswith(("heads", "dim", "buckets")) and size > 0x7FFFFFFF:
            raise unsupported(f"{name} is {size}: more than a 32-bit integer holds")
    check(lib.attn_desc_set_heads(desc, facts.heads, facts.kv_heads))
    check(lib.attn_desc_set_dims(desc, facts.key_dim, facts.value_dim))
    additive = "score_vector" in given
    check(lib.attn_desc_set_score(desc, SCORE_ADDITIVE if additive else SCORE_DOT))
    if facts.scale is not None:
        check(lib.attn_desc_set_scale(desc, facts.scale))
    check(lib.attn_desc_set_softcap(desc, facts.softcap))
    check(lib.attn_desc_set_causal(desc, facts.causal))
    check(lib.attn_desc_set_alignment(desc, facts.alignment))
    if not all(-(1 << 63) <= bound < 1 << 63 for bound in facts.window):
        raise invalid(f"window is {facts.window}: more than a 64-bit integer holds")
    check(lib.attn_desc_set_window(desc, *facts.window))
    check(lib.attn_desc_set_lengths(desc, "q_lengths" in given, "kv_lengths" in given))
    check(lib.attn_desc_set_packed(desc, "q_starts" in given, "k_starts" in given))
    documents = not given.isdisjoint(("q_documents", "k_documents"))
    check(lib.attn_desc_set_documents(desc, documents))
    check(lib.attn_desc_set_prefix(desc, "prefix_lengths" in given))
    check(lib.attn_desc_set_block_mask(desc, *facts.blocks))
    check(lib.attn_desc_set_mask(desc, BOOL if "mask" in given else 0))
    check(lib.attn_desc_set_bias(desc, F32 if "bias" in given else 0))
    check(lib.attn_desc_set_alibi(desc, "alibi_slopes" in given))
    check(lib.attn_desc_set_sinks(desc, "sinks" in given))
    check(lib.attn_desc_set_dropout(desc, facts.dropout))
    buckets = (facts.buckets, facts.max_distance, facts.bidirectional)
    check(lib.attn_desc_set_relative_bias(desc, *buckets))
    check(lib.attn_desc_set_relative_keys(desc, "relative_keys" in given))
    biases = ("content_bias" in given, "position_bias" in given)
    check(lib.attn_desc_set_query_biases(desc, *biases))
    segments = ("q_segments", "k_segments", "segment_keys", "segment_bias")
    check(lib.attn_desc_set_segments(desc, not given.isdisjoint(segments)))
    check(lib.attn_desc_set_ranks(desc, facts.ranks))
