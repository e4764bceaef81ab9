"""peers: how fast libattn is beside PyTorch, on the same tensors in the same process.

``./dev peers`` installs what this needs and runs it; ``./dev peers --help`` explains.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from compare.calls import DisagreementError, make_pair
from compare.problem import Problem, ProblemError, TorchLacksError, parse, read_cases
from compare.report import table, write_json
from compare.rounds import Progress, run_rounds

CASES = ("prefill", "causal", "train")

ABOUT = "Measures libattn beside PyTorch's scaled_dot_product_attention."

MORE = """\
Problems are written as for attn_bench, whose --help has all words (./dev bench --help):
sizes b batch, h heads (/ kv heads), q and k lengths, d dim, then what masks, and
  backward      also the gradients of query, key and value, through autograd
  layer         a multi-head layer of heads times dim features, with its projections
Without problems and --cases: the cases of prefill, causal and train.

Examples:
  ./dev peers                                     the usual shapes, on 1 and 2 threads
  ./dev peers 'h12 q512 d64' 'h12 q512 d64 causal backward'
  ./dev peers --cases=decode --threads=1          one token against a cache
  ./dev peers --cases=masks --rounds=3 --json=masks.json

How it measures: both libraries get the same float32 tensors and allocate what they
return. Before any time is taken they must agree on the result, or the run ends
(not with dropout, where they draw other numbers). Then rounds: for each number of
threads, each problem by one library and at once by the other, each as many calls as
last 0.05 s after one that is not counted, who goes first changing with the round.
Masks that PyTorch has no argument for (a window, lengths, documents, blocks, ALiBi)
are handed to it as the tensor that its users would make; making it is not counted.
With fewer than 16 queries, calls take turns with copies of key and value that no cache
holds. Times are medians over the rounds, ratios medians of the ratios of each round.

Exit status: 0 measured, 1 the libraries disagree or one failed, 2 bad arguments.
"""


def _counts(text: str) -> list[int]:
    counts = [_positive(number) for number in text.split(",")]
    if len(set(counts)) < len(counts):
        raise argparse.ArgumentTypeError(f"{text}: a number twice")
    return counts


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


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
        help="problems from FILE, or from one of bench/cases: prefill, causal, masks, "
        "decode, train, small, layer; may be repeated",
    )
    parser.add_argument(
        "-t",
        "--threads",
        type=_counts,
        default=[1, 2],
        metavar="N,...",
        help="numbers of threads, for both libraries (1,2)",
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
    return parser.parse_args()


def _problems(arguments: argparse.Namespace) -> list[Problem]:
    problems = [one for name in arguments.cases for one in read_cases(name)]
    problems += [parse(text) for text in arguments.problems]
    if not problems:
        problems = [one for name in CASES for one in read_cases(name)]
    unique: dict[str, Problem] = {}
    for problem in problems:
        unique.setdefault(problem.text, problem)
    return list(unique.values())


def _fail(status: int, error: object) -> NoReturn:
    print(f"peers: {error}", file=sys.stderr)
    sys.exit(status)


def main() -> None:
    """The command line, from its arguments to the table."""
    arguments = _arguments()
    try:
        problems = _problems(arguments)
    except (ProblemError, TorchLacksError) as error:
        _fail(2, error)
    if arguments.json:
        try:
            arguments.json.touch()
        except OSError as error:
            _fail(1, f"cannot write {arguments.json}: {error.strerror}")
    progress = Progress()
    pairs = []
    for number, problem in enumerate(problems, 1):
        progress.show(f"preparing {number} of {len(problems)}: {problem.title}")
        try:
            pairs.append(make_pair(problem))
        except (DisagreementError, RuntimeError) as error:
            progress.clear()
            _fail(1, error)
    progress.note(f"{len(pairs)} problems agree")
    run_rounds(pairs, arguments.threads, arguments.rounds, progress)
    print(table(pairs, arguments.threads, arguments.rounds))
    if arguments.json:
        write_json(pairs, arguments.threads, arguments.rounds, arguments.json)


if __name__ == "__main__":
    main()
