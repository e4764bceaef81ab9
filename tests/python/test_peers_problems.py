"""The problems of ./dev peers: what the words say, and which do not go together."""

from __future__ import annotations

import importlib

import pytest

from compare.problem import CASES, PeersLackError, ProblemError, parse, read_cases
from needs import torch_or_skip


def test_sizes_and_name():
    problem = parse("a name: b2 h8/2 q3 k50 d16/24 scale=0.5 softcap=30")
    assert problem.title == "a name: b2 h8/2 q3 k50 d16/24 scale=0.5 softcap=30"
    sizes = (problem.batch, problem.q_heads, problem.kv_heads, problem.q_length)
    assert sizes == (2, 8, 2, 3)
    assert (problem.kv_length, problem.key_dim, problem.value_dim) == (50, 16, 24)
    assert (problem.scale, problem.softcap) == (0.5, 30)


def test_keys_are_as_many_as_queries():
    assert parse("q7 d4").kv_length == 7


def test_cache_with_and_without_pages():
    plain, paged = parse("q1 k9 d4 cache"), parse("q1 k9 d4 cache=16")
    assert (plain.cache, plain.page_size) == (True, None)
    assert (paged.cache, paged.page_size) == (True, 16)


@pytest.mark.parametrize(
    "text",
    [
        "q4 d4 nonsense",
        "q4 d4 cache=0",
        "q4 d4 cache=x",
        "h8/3 q4 d4",
        "q4 d4 cache backward",
        "q4 d4 cache qlens",
        "q4 d4 cache block=2x2",
        "q4 d4 packed cache",
        "q4 d4 packed kvlens",
        "b2 q4 k8 d4 packed align=br window=2,2",
        "b4 q8 d4 causal skewed",
        "h2 q8 d4 additive cache",
        "q8 d4 additive query=f16 key=f16 value=f16 out=f16",
        "h4/2 q8 d4 additive",
        "h8/2 q4 d4 layer",
        "q4 d4 layer dropout=0.1",
        "q4 d4 constant",
        "q4 d4 layer backward constant",
        "q4 d4 backward bound",
        "b4 q8 d4 packed bound",
        "q4 d4 layer query=f16 key=f16 value=f16 out=f16",
    ],
)
def test_refused(text):
    with pytest.raises(ProblemError):
        parse(text)


@pytest.mark.parametrize(
    "text", ["q4 d4 sinks", "q1 k4 d4 key=i8 value=i8", "q4 d4 key=f16"]
)
def test_what_no_peer_has(text):
    with pytest.raises(PeersLackError):
        parse(text)


@pytest.mark.parametrize(
    ("words", "masked"),
    [
        ("", False),
        ("bias", False),
        ("alibi softcap=3", False),
        ("causal", True),
        ("window=3,-1", True),
        ("kvlens", True),
        ("packed", True),
        ("causal align=br", True),
    ],
)
def test_masked(words, masked):
    assert parse(f"b2 h2 q4 k8 d4 {words}").masked is masked


def test_a_last_query_is_not_masked():
    assert not parse("q1 k8 d4 causal align=br").masked


def test_operations_and_bytes():
    problem = parse("b2 h8/4 q3 k5 d6/7")
    assert problem.operations == 2 * 2 * 8 * 3 * 5 * (6 + 7)
    assert problem.kv_bytes == 4 * 2 * 4 * 5 * (6 + 7)
    narrow = parse("b2 h8/4 q3 k5 d6/7 query=f16 key=f16 value=f16 out=f16")
    assert narrow.kv_bytes == problem.kv_bytes // 2


@pytest.mark.parametrize("name", sorted(path.stem for path in CASES.glob("*.txt")))
def test_case_files(name):
    problems = read_cases(name)
    assert len({problem.text for problem in problems}) == len(problems)


@pytest.mark.parametrize(
    ("words", "lengths"),
    [("", [8, 38, 68, 98, 128]), ("skewed", [8, 16, 32, 64, 128])],
)
def test_lengths(words, lengths):
    torch_or_skip()
    masks = importlib.import_module("compare.masks")
    made = masks.make_masks(parse(f"b5 h2 q128 d4 qlens kvlens {words}")).ours
    for name in ("q_lengths", "kv_lengths"):
        assert sorted(made[name].tolist()) == lengths
