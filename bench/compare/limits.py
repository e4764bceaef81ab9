"""What the machine allows, measured by the C code that attn_bench has for it."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass, field

from compare.problem import Problem

MODULE = "ATTN_LIMITS"  # the variable that says where attn_limits.so is


@dataclass
class Limits:
    """FLOP/s and bytes read per second, by number of threads, one number a round."""

    flops: dict[int, list[float]] = field(default_factory=dict)
    bytes: dict[int, list[float]] = field(default_factory=dict)


def measure(limits: Limits, threads: int) -> None:
    """Adds a number to each; nothing where there is no module."""
    path = os.environ.get(MODULE)
    if path is None:
        return
    flops, read = ctypes.c_double(), ctypes.c_double()
    function = ctypes.CDLL(path).attn_limits_measure
    function(ctypes.c_int32(threads), ctypes.byref(flops), ctypes.byref(read))
    limits.flops.setdefault(threads, []).append(flops.value)
    limits.bytes.setdefault(threads, []).append(read.value)


def least_seconds(problem: Problem, limits: Limits, threads: int) -> list[float]:
    """What the problem takes at the limit, round by round.

    Its products at the peak of multiply-adds; with few queries also reading keys and
    values, if that takes longer. Empty where masks leave out some of it, or nothing was
    measured.
    """
    if problem.masked or threads not in limits.flops:
        return []
    times = [problem.operations / rate for rate in limits.flops[threads]]
    if not problem.few_queries:
        return times
    reads = [problem.kv_bytes / rate for rate in limits.bytes[threads]]
    return [max(both) for both in zip(times, reads)]
