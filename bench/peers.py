"""peers: how fast libattn is beside other libraries, on the same inputs in one run.

``./dev peers`` installs what this needs and runs it; ``./dev peers --help`` explains.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Callable, NoReturn

from compare.agree import DisagreementError
from compare.libraries import PEERS, open_peers
from compare.limits import MODULE
from compare.measure import Run, measure
from compare.peer_libattn import Libattn
from compare.problem import (
    CASES,
    PeersLackError,
    Problem,
    ProblemError,
    parse,
    read_cases,
)
from compare.progress import Progress
from compare.report import table, write_json

USUAL = ("prefill", "causal", "train")

ABOUT = """\
Measures libattn beside PyTorch, ONNX Runtime, OpenVINO and JAX, as far as they are
installed, and beside what the machine allows.
"""

MORE = """\
Problems are written as for attn_bench, whose --help has all words (./dev bench --help):
sizes b batch, h heads (/ kv heads), q and k lengths, d dim, then what masks, and
  backward      also the gradients of query, key and value
  cache         keys and values lie in a cache of libattn; cache=N: in pages of N
  packed        sequences of a sixteenth of q to all of it, in even steps, whose rows
                lie one after the other; peers get a padded batch, or PyTorch a call for
                each of them, if that is faster
  skewed        lengths not in even steps: each the same factor longer than the next
  layer         a multi-head layer of heads times dim features, with its projections
  constant      its parameters never change, so that libattn too may pack them once
  bound         inputs and outputs stay where they are, so that libattn too may bind its
                call to them, by attn.bind
  additive      scores are a vector times tanh(query + key); PyTorch and JAX compute
                the formula as it stands
Without problems and --cases: the cases of prefill, causal and train.

Examples:
  ./dev peers                                     the usual shapes
  ./dev peers 'h12 q512 d64' 'h12 q512 d64 causal backward'
  ./dev peers --cases=decode --threads=1 --peers=onnxruntime
  ./dev peers --cases=all --json=all.json --plot=all.png

How it measures: all libraries get the same numbers, in tensors that lie as each likes
them. Before any time is taken each must agree with libattn on the result, or the run
ends (not with dropout, where each draws other numbers). Then rounds: for each number of
threads the FMA peak and the read bandwidth, then each problem by one library after the
other, each as many calls as last 0.05 s after one that is not counted, who goes first
changing with the round. With fewer than 16 queries, calls take turns with copies of key
and value that no cache holds. Times are medians over the rounds, ratios medians of the
ratios of each round.

What the peers do:
  pytorch       its function and autograd. Masks that it has no argument for (a window,
                lengths, documents, blocks, ALiBi) are the tensor that its users would
                make; making it is not counted
  onnxruntime   a model of one operator with inputs and outputs bound to memory: of
                Attention (opset 24), MultiHeadAttention and GroupQueryAttention, the
                fastest that can. With cache: GroupQueryAttention in place, which also
                appends the keys and values of the queries' own tokens
  openvino      a model of one ScaledDotProductAttention on shared tensors, computing in
                their type. With cache, for one query: a model that keeps keys and
                values, to which it appends the query's own
  jax           jax.nn.dot_product_attention, compiled, and its gradients. XLA cannot
                change its number of threads, so there is a process for each number,
                started with NPROC; it makes the same inputs and times its own calls

Exit status: 0 measured, 1 libraries disagree or libattn failed, 2 bad arguments.
"""


def _processors() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _counts(text: str) -> list[int]:
    counts = [_positive(number) for number in text.split(",")]
    if len(set(counts)) < len(counts):
        raise argparse.ArgumentTypeError(f"{text}: a number twice")
    return counts


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def _names(text: str) -> list[str]:
    names = list(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in PEERS:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(PEERS)}")
    return names


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="peers",
        description=ABOUT,
        epilog=MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("problems", nargs="*", metavar="problem", help="see below")
    parser.add_argument(
        "-c",
        "--cases",
        action="append",
        default=[],
        metavar="FILE",
        help="problems from FILE, or from one of bench/cases: "
        f"{', '.join(_case_files())}; all: from all of these; may be repeated",
    )
    parser.add_argument(
        "-p",
        "--peers",
        type=_names,
        default=list(PEERS),
        metavar="NAME,...",
        help=f"beside which ({','.join(PEERS)})",
    )
    parser.add_argument(
        "-t",
        "--threads",
        type=_counts,
        default=list(dict.fromkeys([1, _processors()])),
        metavar="N,...",
        help="numbers of threads, for all libraries (1 and all)",
    )
    parser.add_argument(
        "-r",
        "--rounds",
        type=_positive,
        default=7,
        metavar="N",
        help="how often each is measured (7)",
    )
    parser.add_argument(
        "-j",
        "--json",
        type=Path,
        metavar="FILE",
        help="also write everything measured to FILE",
    )
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE.png",
        help="also draw the ratios, by matplotlib",
    )
    return parser.parse_args()


def _case_files() -> list[str]:
    return sorted(path.stem for path in CASES.glob("*.txt"))


def _problems(arguments: argparse.Namespace) -> list[Problem]:
    names = arguments.cases
    if not names and not arguments.problems:
        names = USUAL
    if "all" in names:
        names = [*names, *_case_files()]
    problems = [one for name in names if name != "all" for one in read_cases(name)]
    problems += [parse(text) for text in arguments.problems]
    unique: dict[str, Problem] = {}
    for problem in problems:
        unique.setdefault(problem.text, problem)
    return list(unique.values())


def _fail(status: int, error: object) -> NoReturn:
    print(f"peers: {error}", file=sys.stderr)
    sys.exit(status)


def _plotter() -> Callable[..., None]:
    """What draws, which needs matplotlib."""
    try:
        from compare.plot import plot  # noqa: PLC0415
    except ImportError as error:
        _fail(1, f"--plot: {error}")
    return plot


def main() -> None:
    """The command line, from its arguments to the table."""
    arguments = _arguments()
    try:
        problems = _problems(arguments)
    except (ProblemError, PeersLackError) as error:
        _fail(2, error)
    for path in filter(None, (arguments.json, arguments.plot)):
        try:
            path.touch()
        except OSError as error:
            _fail(1, f"cannot write {path}: {error.strerror}")
    plot = _plotter() if arguments.plot else None
    progress = Progress()
    if not Path(os.environ.get(MODULE, "")).is_file():
        os.environ.pop(MODULE, None)
        progress.say(f"left out: the limit: no attn_limits.so where {MODULE} says")
    libattn, threads, rounds = Libattn(), arguments.threads, arguments.rounds
    peers = open_peers(arguments.peers, progress)
    try:
        measured = measure(Run(libattn, peers, threads, rounds), problems, progress)
    except (DisagreementError, RuntimeError) as error:
        progress.clear()
        _fail(1, error)
    if not measured:
        _fail(1, "nothing to measure: no peer is here that can do it")
    versions = {one.name: one.version() for one in [libattn, *peers]}
    print(table(measured, versions, threads, rounds))
    if arguments.json:
        write_json(measured, versions, threads, rounds, arguments.json)
    if plot is not None:
        plot(measured, versions, threads, arguments.plot)


if __name__ == "__main__":
    main()
