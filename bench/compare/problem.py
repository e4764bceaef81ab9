"""Problems as lines of text, in the words of attn_bench and of the tests.

What the words mean stands in tests/support/problem.h and in ``attn_bench --help``;
layer, constant, bound, packed, skewed and, here, additive are words of ./dev peers
alone. Some have no counterpart in any peer; threads, isa and engine are no words here.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

CASES = Path(__file__).resolve().parent.parent / "cases"

FLAGS = {
    "causal": "causal",
    "qlens": "q_lengths",
    "kvlens": "kv_lengths",
    "docs": "documents",
    "mask": "mask",
    "bias": "bias",
    "alibi": "alibi",
    "backward": "backward",
    "layer": "layer",
    "constant": "constant",
    "bound": "bound",
    "packed": "packed",
    "skewed": "skewed",
    "cache": "cache",
    "additive": "additive",
}
NOT_IN_PEERS = {"prefix", "sinks", "align=offsets", "align=kvlens"}
FEW_QUERIES = 16
TENSORS = ("query", "key", "value", "out")
TYPES = {"f32", "f16", "bf16"}
# What does not go with a word that says how a problem is called.
EXCLUDED = {
    "cache": ("backward", "layer", "packed", "qlens", "docs", "block", "dropout"),
    "packed": ("backward", "layer", "qlens", "kvlens", "docs", "block", "mask", "bias"),
    "constant": ("backward",),
    "bound": ("backward", "packed"),
    "additive": ("cache", "layer", "packed", "bound", "softcap", "dropout", *TENSORS),
    "layer": (
        *("qlens", "kvlens", "docs", "block", "window", "mask", "bias", "alibi"),
        *("softcap", "scale", "dropout"),
        *TENSORS,
    ),
}
SIZE = re.compile(r"([bhqkd])(\d+)(?:/(\d+))?")


class ProblemError(ValueError):
    """The text cannot be understood."""


class PeersLackError(ValueError):
    """The text asks for what no peer has."""


@dataclass
class Problem:
    """One call of attention; the members are called as in tests/support/problem.h."""

    name: str = ""
    text: str = ""
    batch: int = 1
    q_heads: int = 1
    kv_heads: int = 1
    q_length: int = 1
    kv_length: int = -1
    key_dim: int = 1
    value_dim: int = 1
    causal: bool = False
    bottom_right: bool = False
    window: tuple[int, int] = (-1, -1)
    q_lengths: bool = False
    kv_lengths: bool = False
    documents: bool = False
    block: tuple[int, int] = (0, 0)
    mask: bool = False
    bias: bool = False
    alibi: bool = False
    dropout: float = 0.0
    softcap: float = 0.0
    scale: float | None = None
    bshd: bool = False
    seed: int = 0
    types: dict[str, str] = field(default_factory=dict)  # of those that say one
    backward: bool = False
    layer: bool = False
    constant: bool = False  # parameters, which libattn may pack once
    bound: bool = False  # buffers, to which libattn may bind its call
    packed: bool = False
    skewed: bool = False  # lengths fall by a factor, not a step
    cache: bool = False
    page_size: int | None = None  # of the cache, where it has pages
    additive: bool = False

    @property
    def title(self) -> str:
        """The name, if there is one, and the text."""
        return f"{self.name}: {self.text}" if self.name else self.text

    @property
    def stored(self) -> str:
        """The type of query, key, value and out, which peers want to be one."""
        return self.types.get("query", "f32")

    @property
    def masked(self) -> bool:
        """Whether some pairs are left out."""
        last = self.bottom_right and self.q_length == 1  # that attends all
        lengths = self.packed or self.q_lengths or self.kv_lengths
        sparse = self.window != (-1, -1) or self.block != (0, 0)
        others = self.documents or self.mask
        return (self.causal and not last) or lengths or sparse or others

    @property
    def few_queries(self) -> bool:
        """Whether reading keys and values is what a call costs, not the products."""
        return self.q_length < FEW_QUERIES and not self.layer

    @property
    def kv_bytes(self) -> int:
        """Of all keys and values."""
        rows = self.batch * self.kv_heads * self.kv_length
        size = 4 if self.stored == "f32" else 2
        return size * rows * (self.key_dim + self.value_dim)

    @property
    def operations(self) -> int:
        """Of the products, whatever masks leave out: two forward, five backward.

        A layer has four products with parameters besides, and twice as many backward.
        """
        pairs = self.batch * self.q_heads * self.q_length * self.kv_length
        forward = 2 * pairs * (self.key_dim + self.value_dim)
        backward = 2 * pairs * (3 * self.key_dim + 2 * self.value_dim)
        if self.layer:
            features = self.q_heads * self.key_dim
            projections = 2 * self.batch * self.q_length * 4 * features * features
            forward, backward = forward + projections, backward + 2 * projections
        return forward + backward if self.backward else forward


def parse(line: str) -> Problem:
    """The problem of a line, "name: problem" or only "problem"."""
    name, colon, text = line.rpartition(":")
    words = text.split()
    problem = Problem(name=name.strip() if colon else "", text=" ".join(words))
    for word in words:
        lacking = word.endswith("=i8") or word in NOT_IN_PEERS
        if lacking:
            raise PeersLackError(f"{problem.title}: no peer has {word}")
        try:
            known = _take(problem, word)
        except (KeyError, ValueError):
            raise ProblemError(f"{problem.title}: {word}: a bad value") from None
        if not known:
            raise ProblemError(f"{problem.title}: {word}: an unknown word")
    if len({problem.types.get(name, "f32") for name in TENSORS}) > 1:
        raise PeersLackError(f"{problem.title}: peers want tensors of one type")
    if problem.kv_length < 0:
        problem.kv_length = problem.q_length
    _check(problem, {word.partition("=")[0] for word in words})
    return problem


def _check(problem: Problem, words: set[str]) -> None:
    """Words that need others, or exclude them."""
    for word, others in EXCLUDED.items():
        for other in others:
            if {word, other} <= words:
                raise ProblemError(f"{problem.title}: no {word} with {other}")
    if "layer" in words and problem.kv_heads != problem.q_heads:
        raise ProblemError(f"{problem.title}: layers have no groups of heads")
    if "additive" in words and problem.kv_heads != problem.q_heads:
        raise ProblemError(f"{problem.title}: additive scores without groups of heads")
    if "constant" in words and "layer" not in words:
        raise ProblemError(f"{problem.title}: constant without layer")
    if "skewed" in words and not {"packed", "qlens", "kvlens"} & words:
        raise ProblemError(f"{problem.title}: skewed without lengths")
    shifted = problem.bottom_right and problem.q_length != problem.kv_length
    if {"packed", "window"} <= words and shifted and not problem.causal:
        raise ProblemError(f"{problem.title}: a window of packed rows is top left")


def _take(problem: Problem, word: str) -> bool:
    """Sets what the word says. Returns whether it is known."""
    key, _, value = word.partition("=")
    size = SIZE.fullmatch(word)
    if size:
        _take_size(problem, size[1], int(size[2]), size[3])
    elif word in FLAGS:
        setattr(problem, FLAGS[word], True)
    elif key in {"dropout", "scale", "softcap"}:
        setattr(problem, key, float(value))
    elif key in TENSORS:
        if value not in TYPES:
            raise ValueError
        problem.types[key] = value
    elif key == "cache":
        problem.cache, problem.page_size = True, _positive(value)
    elif key == "seed":
        problem.seed = int(value)
    elif key == "align":
        problem.bottom_right = {"tl": False, "br": True}[value]
    elif key == "layout":
        problem.bshd = {"bhsd": False, "bshd": True}[value]
    elif key == "window":
        left, right = value.split(",")
        problem.window = int(left), int(right)
    elif key == "block":
        rows, columns = value.split("x")
        problem.block = int(rows), int(columns)
    else:
        return False
    return True


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _take_size(problem: Problem, letter: str, first: int, other: str | None) -> None:
    second = first if other is None else int(other)
    if letter == "h":
        if second == 0 or first % second:
            raise ValueError
        problem.q_heads, problem.kv_heads = first, second
    elif letter == "d":
        problem.key_dim, problem.value_dim = first, second
    elif other is not None:
        raise ValueError
    else:
        setattr(
            problem, {"b": "batch", "q": "q_length", "k": "kv_length"}[letter], first
        )


def read_cases(name: str) -> list[Problem]:
    """The problems of a case file, or of the one of that name in bench/cases.

    Lines that no peer can do are left out, and named on standard error.
    """
    path = Path(name)
    if not path.exists() and "/" not in name:
        path = CASES / f"{name}.txt"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ProblemError(
            f"cannot read the cases in {name}: {error.strerror}"
        ) from None
    problems = []
    for line in lines:
        text = line.partition("#")[0].strip()
        if not text:
            continue
        try:
            problems.append(parse(text))
        except PeersLackError as error:
            print(f"left out: {error}", file=sys.stderr)
    if not problems:
        raise ProblemError(f"{name} holds no problem")
    return problems
