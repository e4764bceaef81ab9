"""Rounds in which both libraries have a turn at every problem, one after the other.

A machine that slows down for a while does so for both, so the ratio within a round
stays true. Who goes first changes from round to round.
"""

from __future__ import annotations

import gc
import sys
import time
from typing import Any, Callable

import torch

import attn
from compare.calls import LIBRARIES, THEIRS, Pair
from compare.layers import set_blas_threads

SAMPLE_SECONDS = 0.05  # that the calls of a sample last together, at least
LONG_SECONDS = 0.5  # a call that lasts so long needs no other to warm up
PAUSE_SECONDS = 0.05  # in which the threads that PyTorch leaves spinning fall asleep


class Progress:
    """What is being done, on one line of a terminal; elsewhere a line a round."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()

    def show(self, text: str) -> None:
        """Replaces the line."""
        if self._terminal:
            print(f"\r\033[K{text[:100]}", end="", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """A line that stays, where lines cannot be replaced."""
        if not self._terminal:
            print(text, file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Takes the line away."""
        self.show("")


def _time(call: Callable[[], Any], count: int) -> float:
    """Seconds of a call."""
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count


def _sample(call: Callable[[], Any]) -> float:
    """Seconds of a call, of as many as make a sample, after one that is not counted."""
    seconds = _time(call, 1)
    if seconds >= LONG_SECONDS:
        return seconds
    seconds = _time(call, 1)
    return _time(call, max(1, int(SAMPLE_SECONDS / max(seconds, 1e-7))))


def _set_threads(threads: int) -> None:
    torch.set_num_threads(threads)
    attn.set_num_threads(threads)
    set_blas_threads(threads)


def run_rounds(
    pairs: list[Pair], threads: list[int], rounds: int, progress: Progress
) -> None:
    """Fills the seconds of each pair, by library and number of threads."""
    gc.collect()
    gc.disable()
    start = time.perf_counter()
    for number in range(rounds):
        order = LIBRARIES if number % 2 == 0 else LIBRARIES[::-1]
        for count in threads:
            _set_threads(count)
            for pair in pairs:
                progress.show(
                    f"round {number + 1} of {rounds}, threads {count}: "
                    f"{pair.problem.title}"
                )
                for name in order:
                    seconds = _sample(pair.call[name])
                    pair.seconds.setdefault((name, count), []).append(seconds)
                    if name == THEIRS and count > 1:
                        time.sleep(PAUSE_SECONDS)
        spent = time.perf_counter() - start
        left = spent / (number + 1) * (rounds - number - 1)
        progress.note(f"round {number + 1} of {rounds} done, {left:.0f} s to go")
    gc.enable()
    progress.clear()
