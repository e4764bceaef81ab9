"""What the times say: how much longer peers take, and how near the limit is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median

from compare.limits import least_seconds
from compare.rounds import Measured

OURS = "libattn"


@dataclass(frozen=True)
class Ratio:
    """Of two times: the median over the rounds, the least and the greatest."""

    median: float
    least: float
    most: float


def ratio(over: list[float], under: list[float]) -> Ratio:
    """Of times, round by round: what slows both down in a round cancels."""
    ratios = [a / b for a, b in zip(over, under)]
    return Ratio(median(ratios), min(ratios), max(ratios))


def peer_ratio(one: Measured, peer: str, threads: int) -> Ratio | None:
    """The time of a peer over that of libattn; None if it cannot do the problem."""
    seconds = one.seconds.get((peer, threads))
    return None if seconds is None else ratio(seconds, one.seconds[OURS, threads])


def best_ratio(one: Measured, peers: list[str], threads: int) -> float | None:
    """That of the fastest peer."""
    every = [peer_ratio(one, peer, threads) for peer in peers]
    medians = [each.median for each in every if each is not None]
    return min(medians) if medians else None


def limit_ratio(one: Measured, threads: int) -> float | None:
    """What the machine would take at its limit over what libattn takes."""
    least = least_seconds(one.problem, one.limits, threads)
    return ratio(least, one.seconds[OURS, threads]).median if least else None


@dataclass(frozen=True)
class Summary:
    """A peer over all problems that it can do."""

    count: int
    mean: float  # geometric, of the ratios
    slower: int  # how often libattn is
    worst: float
    worst_problem: str


def summary(measured: list[Measured], peer: str, threads: int) -> Summary | None:
    """None if it can do none of them."""
    found = [
        (each.median, one.problem.title)
        for one in measured
        if (each := peer_ratio(one, peer, threads)) is not None
    ]
    if not found:
        return None
    worst, title = min(found)
    mean = math.exp(sum(math.log(each) for each, _ in found) / len(found))
    slower = sum(each < 1 for each, _ in found)
    return Summary(len(found), mean, slower, worst, title)
