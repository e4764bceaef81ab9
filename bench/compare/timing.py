"""How long a call takes."""

from __future__ import annotations

import time
from typing import Any, Callable

SAMPLE_SECONDS = 0.05  # that the calls of a sample last together, at least
LONG_SECONDS = 0.5  # a call that lasts so long needs no other to warm up


def mean_seconds(call: Callable[[], Any], count: int) -> float:
    """Seconds of a call, over so many."""
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count


def sample(call: Callable[[], Any]) -> float:
    """Seconds of a call, of as many as make a sample, after one that is not counted."""
    seconds = mean_seconds(call, 1)
    if seconds >= LONG_SECONDS:
        return seconds
    seconds = mean_seconds(call, 1)
    return mean_seconds(call, max(1, int(SAMPLE_SECONDS / max(seconds, 1e-7))))
