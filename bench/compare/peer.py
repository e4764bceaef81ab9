"""What a library that is measured looks like to the rest.

peer_torch.py is an example. Another peer is a file like it and a line in libraries.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable, Protocol

import torch

from compare.inputs import Inputs, LayerInputs
from compare.problem import Problem
from compare.timing import mean_seconds, sample

Results = tuple[torch.Tensor, ...]
TRIALS = 3


class Call(Protocol):
    """A problem that a library is ready to compute."""

    how: str  # by which of several ways, where there are several

    def results(self) -> Results:
        """Computes, and returns what PyTorch returns: out, and gradients if asked for.

        Of a layer: out, the gradient of x, those of parameters in the order of names.
        """

    def sample(self) -> float:
        """Seconds of a call."""


class Peer(Protocol):
    """A library; its constructor raises ImportError where it is not installed."""

    name: str

    def version(self) -> str:
        """Of the library, and what else one has to know to compare numbers."""

    def set_threads(self, count: int) -> None:
        """For calls that are prepared and measured from now on."""

    def prepare(self, problem: Problem, inputs: Inputs | LayerInputs) -> Call | None:
        """The call, or None if the library has none for this problem."""

    def forget(self) -> None:
        """No call that was prepared is needed any more."""


@dataclass
class LocalCall:
    """A call in this process: what is timed, and what makes PyTorch's results of it."""

    run: Callable[[], Any]
    read: Callable[[Any], Results]
    how: str = ""

    def results(self) -> Results:
        """Runs it once."""
        return self.read(self.run())

    def sample(self) -> float:
        """Seconds of what is run, without the reading."""
        return sample(self.run)


def fastest(ways: Sequence[Callable[[], LocalCall]]) -> LocalCall:
    """The call to measure, where a library has several ways to compute the same.

    Ways that fail are passed over, unless all do.
    """
    if len(ways) == 1:
        return ways[0]()
    best, least = None, float("inf")
    error: Exception | None = None
    for way in ways:
        try:
            call = way()
            call.run()
            seconds = min(mean_seconds(call.run, 1) for _ in range(TRIALS))
        except Exception as caught:  # of whatever kind the library raises
            error = caught
            continue
        if seconds < least:
            best, least = call, seconds
    if best is None:
        raise error or ValueError("there is no way")
    return best
