"""Rounds in which every library has a turn at every problem, one after the other.

A machine that slows down for a while does so for all, so the ratio within a round stays
true. Who goes first changes from round to round.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from compare import limits
from compare.limits import Limits
from compare.problem import Problem
from compare.progress import Progress

if TYPE_CHECKING:
    from compare.peer import Call, Peer

PAUSE_SECONDS = 0.3  # in which the threads that a peer leaves spinning fall asleep


@dataclass
class Measured:
    """A problem, the calls that compute it, and how long they took.

    By name of the library and number of threads; where a library cannot do it there is
    no call.
    """

    problem: Problem
    limits: Limits  # in the same rounds
    calls: dict[tuple[str, int], Call] = field(default_factory=dict)
    how: dict[tuple[str, int], str] = field(default_factory=dict)
    seconds: dict[tuple[str, int], list[float]] = field(default_factory=dict)


def turned(names: Sequence[str], number: int) -> list[str]:
    """The order of a round: all of them, another one first."""
    first = number % len(names)
    return [*names[first:], *names[:first]]


def run_rounds(
    group: list[Measured],
    libraries: list[Peer],
    threads: list[int],
    rounds: int,
    progress: Progress,
) -> None:
    """Fills the seconds of problems that share their rounds, and the limits."""
    gc.collect()
    gc.disable()
    start = time.perf_counter()
    for number in range(rounds):
        for count in threads:
            for library in libraries:
                library.set_threads(count)
            limits.measure(group[0].limits, count)
            for one in group:
                where = f"round {number + 1} of {rounds}, threads {count}"
                progress.show(f"{where}: {one.problem.title}")
                _turns(one, turned([one.name for one in libraries], number), count)
        spent = time.perf_counter() - start
        left = spent / (number + 1) * (rounds - number - 1)
        progress.note(f"round {number + 1} of {rounds} done, {left:.0f} s to go")
    gc.enable()
    progress.clear()


def _turns(one: Measured, names: list[str], count: int) -> None:
    for name in names:
        call = one.calls.get((name, count))
        if call is None:
            continue
        one.seconds.setdefault((name, count), []).append(call.sample())
        if count > 1:
            time.sleep(PAUSE_SECONDS)
