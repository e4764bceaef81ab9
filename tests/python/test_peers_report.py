"""What ./dev peers says of times: ratios, means, limits, and the order of rounds."""

from __future__ import annotations

import json

import pytest

from compare.limits import Limits, least_seconds
from compare.problem import parse
from compare.ratios import best_ratio, limit_ratio, peer_ratio, summary
from compare.report import table, write_json
from compare.rounds import Measured, turned

VERSIONS = {"libattn": "1", "fast": "2", "slow": "3"}
PEERS = ["fast", "slow"]


def measured(text, ours, fast, slow=None):
    """A problem with the times of three rounds on one thread."""
    one = Measured(parse(text), Limits({1: [1e9, 2e9, 1e9]}, {1: [1e9, 1e9, 5e8]}))
    one.seconds["libattn", 1] = ours
    one.seconds["fast", 1] = fast
    if slow is not None:
        one.seconds["slow", 1] = slow
    return one


@pytest.fixture
def two():
    return [
        measured("one: h2 q100 d50", [1, 2, 4], [0.5, 1, 4], [4, 8, 16]),
        measured("other: h2 q100 d50 causal", [1, 1, 1], [2, 2, 2]),
    ]


def test_ratios_are_of_the_same_round(two):
    found = peer_ratio(two[0], "fast", 1)
    assert (found.median, found.least, found.most) == (0.5, 0.5, 1)
    assert peer_ratio(two[1], "slow", 1) is None


def test_the_best_peer_has_the_least_ratio(two):
    assert best_ratio(two[0], PEERS, 1) == 0.5
    assert best_ratio(two[1], ["slow"], 1) is None


def test_summary(two):
    found = summary(two, "fast", 1)
    assert (found.count, found.slower) == (2, 1)
    assert found.mean == pytest.approx(1)
    assert (found.worst, found.worst_problem) == (0.5, "one: h2 q100 d50")
    assert summary(two[1:], "slow", 1) is None


def test_the_limit_of_many_queries_is_the_products(two):
    operations = 2 * 2 * 100 * 100 * (50 + 50)
    times = [operations / rate for rate in (1e9, 2e9, 1e9)]
    assert least_seconds(two[0].problem, two[0].limits, 1) == times
    assert limit_ratio(two[0], 1) == pytest.approx(times[1] / 2)


def test_the_limit_of_few_queries_is_the_slower_of_both():
    one = measured("h2 q1 k1000 d50", [1, 1, 1], [1, 1, 1])
    read = 4 * 2 * 1000 * 100
    products = 2 * 2 * 1000 * 100
    assert read / 1e9 > products / 1e9
    assert least_seconds(one.problem, one.limits, 1) == [
        read / 1e9,
        read / 1e9,
        read / 5e8,
    ]


def test_no_limit_for_masks_nor_without_one(two):
    assert limit_ratio(two[1], 1) is None
    two[0].limits.flops.clear()
    assert limit_ratio(two[0], 1) is None


def test_everyone_is_first_once():
    rounds = [turned(["a", "b", "c"], number) for number in range(4)]
    assert rounds == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["a", "b", "c"],
    ]


def test_table(two):
    lines = table(two, VERSIONS, [1], 3).splitlines()
    assert lines[:3] == ["libattn 1", "fast 2", "slow 3"]
    assert lines[4] == "1 thread, 1 GFLOP/s at the FMA peak, 1.0 GB/s read"
    rows = [line.split() for line in lines if line.endswith(("d50", "causal"))][:2]
    assert rows[0][:4] == ["2000", "0.50", "4.00", "0.50"]
    assert rows[1][:5] == ["1000", "2.00", "-", "2.00", "-"]
    assert "fast: 1.00 in the geometric mean of 2 problems; " in "\n".join(lines)


def test_json(two, tmp_path):
    path = tmp_path / "out.json"
    write_json(two, VERSIONS, [1], 3, path)
    everything = json.loads(path.read_text())
    assert (everything["format"], everything["rounds"]) == (2, 3)
    one, other = everything["cases"]
    assert one["libattn"] == {"median": 2, "samples": [1, 2, 4]}
    assert one["peers"]["slow"]["samples"] == [4, 8, 16]
    assert one["peers"]["fast"]["ratio"] == one["best"] == 0.5
    assert list(other["peers"]) == ["fast"]
