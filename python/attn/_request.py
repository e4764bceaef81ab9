"""What a caller asks of attention: the same for a call, for its gradients, for torch.

``request`` sorts the arguments of the public functions into arrays, options and the
numbers that each call has of its own; ``attend`` and ``differentiate`` run what came
out of it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ._arrays import look
from ._context import current
from ._errors import invalid
from ._inputs import OPTIONAL, REQUIRED
from ._options import number, pair, parts, whole_number
from ._prepare import prepare, prepare_backward
from ._relative import split_bias, split_keys


class Request(NamedTuple):
    """One attention problem."""

    names: tuple[str, ...]  # of the arrays: query, key, value, then those given
    arrays: tuple[Any, ...]
    options: tuple[Any, ...]  # those of Options, in its order
    dropout_seed: int
    relative_zero: int


def request(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any,
    dropout_p: float,
    is_causal: bool,
    scale: float | None,
    enable_gqa: bool,
    causal: str | None,
    window: tuple[int, int] | None,
    softcap: float,
    alibi_slopes: Any,
    sinks: Any,
    q_lengths: Any,
    kv_lengths: Any,
    query_offsets: Any,
    q_documents: Any,
    k_documents: Any,
    prefix_lengths: Any,
    block_mask: tuple[Any, int, int] | None,
    dropout_seed: int,
    rng_indices: Any,
    relative: tuple[Any, Any, Any, Any],
    segments: tuple[Any, Any, Any, Any],
    ranking: tuple[Any, Any, str | None],
    scales: tuple[Any, Any] = (None, None),
    score_vector: Any = None,
) -> Request:
    """The problem that these arguments of a public function describe.

    relative is (relative_bias, relative_keys, content_bias, position_bias); segments
    (q_segments, k_segments, segment_keys, segment_bias); ranking (q_ranks, k_ranks,
    ranks); scales (key_scales, value_scales).
    """
    blocks = (0, 0)
    blocked = None
    if block_mask is not None:
        blocked, blocks = _blocks(block_mask)
    bias, keys, content_bias, position_bias = relative
    buckets = (0, False)
    if bias is not None:
        bias, buckets = split_bias(bias)
    relative_zero = 0
    if keys is not None:
        keys, relative_zero = split_keys(keys)
    q_ranks, k_ranks, ranks = ranking
    if window is not None:
        window = pair(window, "window", "(left, right)")
    # A number of another kind, an array of one element say, may not be hashable.
    if type(dropout_p) is not float:
        dropout_p = number(dropout_p, "dropout_p")
    if scale is not None and type(scale) is not float:
        scale = number(scale, "scale")
    if type(softcap) is not float:
        softcap = number(softcap, "softcap")
    dropout_seed = whole_number(dropout_seed, "dropout_seed")

    names: tuple[str, ...] = REQUIRED
    arrays: tuple[Any, ...] = (query, key, value)
    optional = (
        attn_mask,
        q_lengths,
        kv_lengths,
        query_offsets,
        prefix_lengths,
        q_documents,
        k_documents,
        blocked,
        alibi_slopes,
        sinks,
        rng_indices,
        bias,
        keys,
        content_bias,
        position_bias,
        *segments,
        q_ranks,
        k_ranks,
        *scales,
        score_vector,
    )
    for name, array in zip(OPTIONAL, optional):
        if array is not None:
            names = (*names, name)
            arrays = (*arrays, array)
    options = (
        dropout_p,
        is_causal,
        scale,
        enable_gqa,
        causal,
        window,
        softcap,
        blocks,
        buckets,
        ranks,
    )
    return Request(names, arrays, options, dropout_seed, relative_zero)


def attend(problem: Request, asked: tuple[Any, ...]) -> Any:
    """The output, or a named tuple of it and what else is asked for, as in Asked."""
    names, arrays, options, *numbers = problem
    looks = list(map(look, arrays, names))
    facts = tuple([what for _, _, what in looks])
    call = prepare(current(), names, facts, options, asked)
    return call.run(looks, *numbers)


def differentiate(
    problem: Request, given: dict[str, Any], wanted: tuple[str, ...]
) -> Any:
    """A named tuple of the gradients of the wanted inputs.

    given: results of ``attend`` and gradients of results, by name.
    """
    names, arrays, options, *numbers = problem
    looks = [look(array, name) for array, name in zip(arrays, names)]
    looks += [look(array, name) for name, array in given.items()]
    facts = tuple([what for _, _, what in looks])
    call = prepare_backward(current(), names, tuple(given), facts, options, wanted)
    return call.run(looks, *numbers)


def _blocks(block_mask: Any) -> tuple[Any, tuple[int, int]]:
    """The array of a block mask, and its block sizes."""
    meaning = "(mask, q_block, k_block), two block sizes of 1 or more"
    mask, *sides = parts(block_mask, "block_mask", 3, meaning)
    sizes = pair(sides, "block_mask", meaning)
    if min(sizes) < 1 or max(sizes) >= 1 << 63:
        raise invalid(f"block_mask has blocks of {sizes}: expected {meaning}")
    return mask, sizes
