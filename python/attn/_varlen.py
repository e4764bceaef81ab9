"""Attention of packed sequences: the function that programs call."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._arrays import as_numpy, look
from ._context import current
from ._errors import invalid
from ._inputs import REQUIRED
from ._options import int64, number, pair, whole_number
from ._packed import clear_others, prepare_packed


def varlen_attention(
    query: Any,
    key: Any,
    value: Any,
    cu_seqlens_q: Any,
    cu_seqlens_k: Any,
    max_seqlen_q: int | None = None,
    max_seqlen_k: int | None = None,
    dropout_p: float = 0.0,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
    causal: str | None = None,
    window: tuple[int, int] | None = None,
    softcap: float = 0.0,
    alibi_slopes: Any = None,
    sinks: Any = None,
    dropout_seed: int = 0,
    score_vector: Any = None,
    return_lse: bool = False,
) -> Any:
    """Attention of many sequences of any lengths, which lie one after the other.

    As flash_attn_varlen_func of FlashAttention: no padding, and nothing is computed for
    what is not there.

        >>> lengths = [3, 100, 1]
        >>> starts = np.cumsum([0, *lengths])
        >>> x = np.random.rand(sum(lengths), 8, 64).astype(np.float32)
        >>> attn.varlen_attention(x, x, x, starts, starts, causal="top_left").shape
        (104, 8, 64)

    query (total_q, Hq, E), key (total_k, H, E), value (total_k, H, Ev): the kinds and
    types of arrays that scaled_dot_product_attention takes, but for int8.
    cu_seqlens_q, cu_seqlens_k (sequences + 1): sequence b is queries cu_seqlens_q[b] to
    cu_seqlens_q[b + 1], without the last, and keys likewise.
    max_seqlen_q, max_seqlen_k: the largest lengths; not needed, but checked if given.

    The other arguments are those of scaled_dot_product_attention. Positions start anew
    with each sequence: causal="bottom_right", what FlashAttention calls causal, puts
    the last query of each beside its last key. alibi_slopes (Hq) or (sequences, Hq).

    Returns out (total_q, Hq, Ev) of query's kind and type; with return_lse a named
    tuple of it and lse (Hq, total_q). Rows that no sequence has are 0, their lse -inf.
    merge_states() wants out.swapaxes(0, 1) with that lse.
    There are no gradients yet.
    """
    if window is not None:
        window = pair(window, "window", "(left, right)")
    if scale is not None:
        scale = number(scale, "scale")
    options = (
        number(dropout_p, "dropout_p"),
        False,
        scale,
        enable_gqa,
        causal,
        window,
        number(softcap, "softcap"),
        (0, 0),
        (0, False),
        None,
    )
    names: tuple[str, ...] = (*REQUIRED, "cu_seqlens_q", "cu_seqlens_k")
    arrays: tuple[Any, ...] = (query, key, value, cu_seqlens_q, cu_seqlens_k)
    for name, array in (
        ("alibi_slopes", alibi_slopes),
        ("sinks", sinks),
        ("score_vector", score_vector),
    ):
        if array is not None:
            names, arrays = (*names, name), (*arrays, array)
    looks = [look(array, name) for array, name in zip(arrays, names)]
    facts = tuple([what for _, _, what in looks])
    call = prepare_packed(current(), names, facts, options, (return_lse,))
    starts = as_numpy(looks[3][0])
    _check_longest(starts, max_seqlen_q, "q")
    _check_longest(as_numpy(looks[4][0]), max_seqlen_k, "k")
    seed = whole_number(dropout_seed, "dropout_seed")
    result = call.run(looks, seed)
    clear_others(result, starts, looks[0][0].shape[0])
    return result


def _check_longest(starts: Any, longest: int | None, which: str) -> None:
    if longest is not None and len(starts) > 1:
        found = int(np.diff(starts.astype(np.int64)).max())
        if found > int64(longest, f"max_seqlen_{which}"):
            raise invalid(
                f"max_seqlen_{which} is {longest}, but a sequence of"
                f" cu_seqlens_{which} has {found}"
            )
