"""What a call asks for besides its arrays, and which options go together."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

from ._errors import invalid
from ._structs import (
    ALIGN_BOTTOM_RIGHT,
    ALIGN_OFFSETS,
    ALIGN_TOP_LEFT,
    RANKS_BELOW,
    RANKS_OFF,
    RANKS_UP_TO,
)


class Options(NamedTuple):
    """The options, in the order in which a call lists them."""

    dropout_p: float
    is_causal: bool
    scale: float | None
    enable_gqa: bool
    causal: str | None
    window: tuple[int, int] | None
    softcap: float
    blocks: tuple[int, int]
    buckets: tuple[int, bool]  # max_distance and bidirectional, of relative_bias
    ranks: str | None

    def checked(self, inputs: frozenset[str]) -> Options:
        """The same, once every rule is kept; is_causal then covers causal too."""
        if not 0 <= self.dropout_p <= 1:
            raise invalid(f"dropout_p is {self.dropout_p}: expected 0 to 1")
        if self.causal not in (None, "top_left", "bottom_right"):
            raise invalid(
                f"causal is {self.causal!r}: expected None, 'top_left' or"
                " 'bottom_right'"
            )
        if self.is_causal and self.causal is not None:
            raise invalid(
                f"is_causal=True and causal={self.causal!r} are both given: is_causal"
                " means causal='top_left'"
            )
        if self.causal == "bottom_right" and "query_offsets" in inputs:
            raise invalid(
                "causal='bottom_right' and query_offsets both say where the queries"
                " are: use causal='top_left' with query_offsets"
            )
        if self.ranks not in (None, "up_to", "below"):
            raise invalid(f"ranks is {self.ranks!r}: expected 'up_to' or 'below'")
        if self.ranks is not None and inputs.isdisjoint(("q_ranks", "k_ranks")):
            raise invalid(f"ranks={self.ranks!r}, but no q_ranks and k_ranks are given")
        return self._replace(is_causal=self.is_causal or self.causal is not None)

    def rule_of_ranks(self, inputs: frozenset[str]) -> int:
        """Which ranks the library shall let a query attend."""
        if inputs.isdisjoint(("q_ranks", "k_ranks")):
            return RANKS_OFF
        return RANKS_BELOW if self.ranks == "below" else RANKS_UP_TO

    def alignment(self, inputs: frozenset[str]) -> int:
        """Where the library shall take the first query to be."""
        if "query_offsets" in inputs:
            return ALIGN_OFFSETS
        if self.causal == "bottom_right":
            return ALIGN_BOTTOM_RIGHT
        return ALIGN_TOP_LEFT


class Asked(NamedTuple):
    """Which results besides out a call returns; fields in the order they come in."""

    lse: bool = False
    weights: bool = False
    scores: str | None = None
    key_sums: bool = False
    row_stats: bool = False
    dropout_mask: bool = False

    def results(self) -> dict[str, str]:
        """The results by name, and the members of ``attn_forward_args`` they fill."""
        if self.scores not in (None, "raw", "capped", "biased"):
            raise invalid(
                f"return_scores is {self.scores!r}: expected None, 'raw', 'capped' or"
                " 'biased'"
            )
        found = {"out": "out"}
        if self.lse:
            found["lse"] = "lse"
        if self.weights:
            found["weights"] = "weights"
        if self.scores is not None:
            found["scores"] = f"{self.scores}_scores"
        if self.key_sums:
            found["key_sums"] = "key_sums"
        if self.row_stats:
            found["row_max"] = "row_max"
            found["row_sum"] = "row_sum"
        if self.dropout_mask:
            found["dropout_mask"] = "dropout_mask"
        return found


def number(value: Any, name: str) -> float:
    """A number of Python's own, from whatever kind of number value is."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise invalid(f"{name} is {value!r}: expected a number") from None


def whole_number(value: Any, name: str) -> int:
    """An integer that 64 bits hold, with a sign or without."""
    try:
        result = operator.index(value)
    except TypeError:
        raise invalid(f"{name} is {value!r}: expected an integer") from None
    if not -(1 << 63) <= result < 1 << 64:
        raise invalid(f"{name} is {result}: more than a 64-bit integer holds")
    return result


def int64(value: Any, name: str) -> int:
    """An integer that 64 bits with a sign hold."""
    result = whole_number(value, name)
    if result >= 1 << 63:
        raise invalid(f"{name} is {result}: more than a 64-bit integer holds")
    return result


def pair(value: Any, name: str, meaning: str) -> tuple[int, int]:
    """Two integers, from a tuple or list of two."""
    try:
        first, second = value
        return operator.index(first), operator.index(second)
    except (TypeError, ValueError):
        raise invalid(f"{name} is {value!r}: expected {meaning}") from None


def parts(value: Any, name: str, count: int, meaning: str) -> tuple[Any, ...]:
    """The value, if it is a tuple of so many, an array first."""
    if not isinstance(value, tuple):
        raise invalid(f"{name} is a {type(value).__name__}: expected {meaning}")
    if len(value) != count:
        raise invalid(f"{name} is a tuple of {len(value)}: expected {meaning}")
    if value[0] is None:
        raise invalid(f"{name} begins with None: expected {meaning}")
    return value
