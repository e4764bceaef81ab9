"""The table that people read and the JSON that programs read."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

import attn
from compare.calls import LIBRARIES, OURS, THEIRS, Pair


@dataclass(frozen=True)
class Ratio:
    """How often faster: the median of the rounds, the least and the greatest."""

    median: float
    least: float
    most: float


def ratio(slow: list[float], fast: list[float]) -> Ratio:
    """Of times, round by round."""
    ratios = [a / b for a, b in zip(slow, fast)]
    return Ratio(median(ratios), min(ratios), max(ratios))


def _rate(pair: Pair, name: str, count: int) -> float:
    """Operations per second."""
    return pair.problem.operations / median(pair.seconds[name, count])


def _many(count: int, word: str) -> str:
    return f"{count} {word}{'s' if count > 1 else ''}"


def _row(pair: Pair, count: int, first: int) -> str:
    times = [1e3 * median(pair.seconds[name, count]) for name in LIBRARIES]
    rates = [_rate(pair, name, count) / 1e9 for name in LIBRARIES]
    speed = ratio(pair.seconds[THEIRS, count], pair.seconds[OURS, count])
    scaling = ratio(pair.seconds[OURS, first], pair.seconds[OURS, count]).median
    return (
        "".join(f"{milliseconds:10.4g}" for milliseconds in times)
        + "".join(f"{gflops:10.1f}" for gflops in rates)
        + f"{speed.median:8.2f}  {speed.least:5.2f} to {speed.most:5.2f}"
        + (f"{scaling:8.2f}" if count != first else "")
        + f"  {pair.problem.title}"
    )


def _head(count: int, first: int) -> str:
    names = "".join(f"{name:>10}" for name in (*LIBRARIES, *LIBRARIES))
    scaling = f"{'x ' + str(first):>8}" if count != first else ""
    units = "".join(f"{unit:>10}" for unit in ("ms", "ms", "GFLOP/s", "GFLOP/s"))
    return (
        f"{_many(count, 'thread')}\n"
        f"{names}{'faster':>8}{'in the rounds':>16}{scaling}\n{units}"
    )


def table(pairs: list[Pair], threads: list[int], rounds: int) -> str:
    """A row for each problem, a table for each number of threads."""
    info = attn.info()
    names = ("version", "isa", "blas", "blas policy")
    lines = [
        "libattn " + ", ".join(str(info[name]) for name in names),
        f"PyTorch {torch.__version__}, {_torch_isa()}",
    ]
    for count in threads:
        lines += ["", _head(count, threads[0])]
        lines += [_row(pair, count, threads[0]) for pair in pairs]
        ratios = [
            ratio(pair.seconds[THEIRS, count], pair.seconds[OURS, count]).median
            for pair in pairs
        ]
        mean = math.exp(sum(math.log(one) for one in ratios) / len(ratios))
        slower = sum(one < 1 for one in ratios)
        lines.append(
            f"libattn is {mean:.2f} times as fast in the geometric mean, "
            f"and slower in {slower} of {len(ratios)}."
        )
    lines += [
        "",
        f"Medians of {_many(rounds, 'round')}. GFLOP/s counts the products in full, "
        "whatever masks leave out:",
        "2 forward and 5 backward, of 2 b h q k d each, and those of a layer with its",
        "parameters. faster: the time of PyTorch over that of libattn, the median of",
        "the rounds and its range.",
    ]
    if len(threads) > 1:
        first = threads[0]
        lines.append(
            f"x {first}: speed of libattn over that with {_many(first, 'thread')}."
        )
    return "\n".join(lines)


def _torch_isa() -> str:
    return str(torch.backends.cpu.get_cpu_capability())


def _case(pair: Pair, count: int) -> dict[str, Any]:
    speed = ratio(pair.seconds[THEIRS, count], pair.seconds[OURS, count])
    case: dict[str, Any] = {
        "name": pair.problem.name,
        "problem": pair.problem.text,
        "threads": count,
        "operations": pair.problem.operations,
        "faster": speed.median,
        "faster_least": speed.least,
        "faster_most": speed.most,
    }
    for name in LIBRARIES:
        case[name.lower()] = {
            "median": median(pair.seconds[name, count]),
            "flops": _rate(pair, name, count),
            "samples": pair.seconds[name, count],
        }
    return case


def write_json(pairs: list[Pair], threads: list[int], rounds: int, path: Path) -> None:
    """Everything measured, in seconds and FLOP/s. "format" counts changes."""
    everything = {
        "format": 1,
        "libattn": attn.info(),
        "pytorch": {
            "version": torch.__version__,
            "isa": _torch_isa(),
            "configuration": torch.__config__.show(),
        },
        "rounds": rounds,
        "cases": [_case(pair, count) for count in threads for pair in pairs],
    }
    path.write_text(json.dumps(everything, indent=2) + "\n", encoding="utf-8")
