"""The options of a call that are not arrays, and which of them go together."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

from ._errors import invalid, unsupported
from ._structs import ALIGN_BOTTOM_RIGHT, ALIGN_OFFSETS, ALIGN_TOP_LEFT


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
    return_lse: bool
    return_weights: bool
    return_scores: str | None
    return_key_sums: bool

    def checked(self, inputs: frozenset[str]) -> Options:
        """The same, once every rule is kept; is_causal then covers causal too."""
        if self.dropout_p != 0:
            raise unsupported(f"dropout_p is {self.dropout_p}: only 0 is supported yet")
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
        if self.return_scores not in (None, "raw", "capped", "biased"):
            raise invalid(
                f"return_scores is {self.return_scores!r}: expected None, 'raw',"
                " 'capped' or 'biased'"
            )
        return self._replace(is_causal=self.is_causal or self.causal is not None)

    def alignment(self, inputs: frozenset[str]) -> int:
        """Where the library shall take the first query to be."""
        if "query_offsets" in inputs:
            return ALIGN_OFFSETS
        if self.causal == "bottom_right":
            return ALIGN_BOTTOM_RIGHT
        return ALIGN_TOP_LEFT


def number(value: Any, name: str) -> float:
    """A number of Python's own, from whatever kind of number value is."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise invalid(f"{name} is {value!r}: expected a number") from None


def pair(value: Any, name: str, meaning: str) -> tuple[int, int]:
    """Two integers, from a tuple or list of two."""
    try:
        first, second = value
        return operator.index(first), operator.index(second)
    except (TypeError, ValueError):
        raise invalid(f"{name} is {value!r}: expected {meaning}") from None
