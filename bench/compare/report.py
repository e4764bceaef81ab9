"""The table that people read and the JSON that programs read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from statistics import median
from typing import Any

from compare.ratios import (
    OURS,
    best_ratio,
    limit_ratio,
    peer_ratio,
    summary,
)
from compare.rounds import Measured

FORMAT = 2  # of the JSON; counts changes
LEGEND = """\
Medians of {rounds}. Under a peer: its time over that of libattn, so above 1 libattn
is faster; - where it has nothing for the problem. best: the same for the fastest peer.
limit: the time that the machine would take at its limit over that of libattn. That is
all products at the FMA peak or, with fewer than 16 queries, reading keys and values at
the read bandwidth, whichever takes longer; - where masks leave out products."""


def many(count: int, word: str) -> str:
    """1 round, 2 rounds."""
    return f"{count} {word}{'s' if count > 1 else ''}"


def table(
    measured: list[Measured], versions: dict[str, str], threads: list[int], rounds: int
) -> str:
    """A row for each problem, a table for each number of threads.

    versions: of libattn and of the peers, in the order of their columns.
    """
    peers = [name for name in versions if name != OURS]
    lines = [f"{name} {version}" for name, version in versions.items()]
    for count in threads:
        lines += ["", many(count, "thread") + _limits(measured, count), _head(peers)]
        lines += [_row(one, peers, count) for one in measured]
        lines.append("")
        lines += [_summary(measured, peer, count) for peer in peers]
    lines += ["", LEGEND.format(rounds=many(rounds, "round"))]
    return "\n".join(lines)


def _limits(measured: list[Measured], count: int) -> str:
    """Medians over all rounds."""
    every = {id(one.limits): one.limits for one in measured}.values()
    flops = [rate for one in every for rate in one.flops.get(count, [])]
    read = [rate for one in every for rate in one.bytes.get(count, [])]
    if not flops:
        return ""
    peak, bandwidth = median(flops) / 1e9, median(read) / 1e9
    return f", {peak:.0f} GFLOP/s at the FMA peak, {bandwidth:.1f} GB/s read"


def _head(peers: list[str]) -> str:
    names = "".join(f"{peer:>13}" for peer in peers)
    return f"{OURS + ' ms':>11}{names}{'best':>8}{'limit':>8}  problem"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _row(one: Measured, peers: list[str], count: int) -> str:
    milliseconds = 1e3 * median(one.seconds[OURS, count])
    ratios = [peer_ratio(one, peer, count) for peer in peers]
    columns = [None if each is None else each.median for each in ratios]
    return (
        f"{milliseconds:11.4g}"
        + "".join(f"{_number(each):>13}" for each in columns)
        + f"{_number(best_ratio(one, peers, count)):>8}"
        + f"{_number(limit_ratio(one, count)):>8}"
        + f"  {one.problem.title}"
    )


def _summary(measured: list[Measured], peer: str, count: int) -> str:
    found = summary(measured, peer, count)
    if found is None:
        return f"{peer}: nothing measured"
    return (
        f"{peer}: {found.mean:.2f} in the geometric mean of "
        f"{many(found.count, 'problem')}; libattn is slower in {found.slower}; "
        f"least {found.worst:.2f}, {found.worst_problem}"
    )


def _case(one: Measured, peers: list[str], count: int) -> dict[str, Any]:
    ours = one.seconds[OURS, count]
    case: dict[str, Any] = {
        "name": one.problem.name,
        "problem": one.problem.text,
        "threads": count,
        "operations": one.problem.operations,
        "kv_bytes": one.problem.kv_bytes,
        "best": best_ratio(one, peers, count),
        "limit": limit_ratio(one, count),
        "fma_samples": one.limits.flops.get(count, []),
        "read_samples": one.limits.bytes.get(count, []),
        OURS: {"median": median(ours), "samples": ours},
        "peers": {},
    }
    for peer in peers:
        each = peer_ratio(one, peer, count)
        if each is not None:
            samples = one.seconds[peer, count]
            case["peers"][peer] = {
                "median": median(samples),
                "ratio": each.median,
                "ratio_least": each.least,
                "ratio_most": each.most,
                "how": one.how.get((peer, count), ""),
                "samples": samples,
            }
    return case


def write_json(
    measured: list[Measured],
    versions: dict[str, str],
    threads: list[int],
    rounds: int,
    path: Path,
) -> None:
    """Everything measured, in seconds, FLOP/s and bytes/s."""
    peers = [name for name in versions if name != OURS]
    everything = {
        "format": FORMAT,
        "versions": versions,
        "processors": os.cpu_count(),
        "rounds": rounds,
        "cases": [_case(one, peers, count) for count in threads for one in measured],
    }
    path.write_text(json.dumps(everything, indent=2) + "\n", encoding="utf-8")
