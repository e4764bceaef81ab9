"""From problems to what was measured of them.

Problems are measured in groups that share their rounds: as many as memory has room for,
since all inputs of a group are there at once.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from dataclasses import dataclass

from compare.agree import compare
from compare.inputs import Inputs, LayerInputs, input_bytes, make_inputs
from compare.libraries import first_line
from compare.limits import Limits
from compare.peer import Peer, Results
from compare.problem import Problem
from compare.progress import Progress
from compare.report import many
from compare.rounds import Measured, run_rounds

ROOM = 1 / 16  # of the memory, for the inputs of a group: some peers have copies


@dataclass
class Run:
    """How to measure."""

    libattn: Peer
    peers: list[Peer]
    threads: list[int]
    rounds: int

    @property
    def libraries(self) -> list[Peer]:
        """All of them, libattn first."""
        return [self.libattn, *self.peers]


def measure(run: Run, problems: list[Problem], progress: Progress) -> list[Measured]:
    """Every problem that at least one peer can do."""
    measured: list[Measured] = []
    groups = list(_groups(problems))
    for number, group in enumerate(groups, 1):
        if len(groups) > 1:
            progress.note(f"problems of group {number} of {len(groups)}")
        limits = Limits()
        ready = [_prepare(run, problem, limits, progress) for problem in group]
        able = [one for one in ready if len({name for name, _ in one.calls}) > 1]
        progress.note(f"{many(len(able), 'problem')} on which all agree")
        if able:
            run_rounds(able, run.libraries, run.threads, run.rounds, progress)
        for one in ready:
            one.calls.clear()
        for library in run.libraries:
            library.forget()
        gc.collect()
        measured += able
    return measured


def _groups(problems: list[Problem]) -> Iterator[list[Problem]]:
    room = ROOM * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    group: list[Problem] = []
    size = 0
    for problem in problems:
        needed = input_bytes(problem)
        if group and size + needed > room:
            yield group
            group, size = [], 0
        group.append(problem)
        size += needed
    if group:
        yield group


def _prepare(
    run: Run, problem: Problem, limits: Limits, progress: Progress
) -> Measured:
    """Makes the tensors, and checks that every peer agrees with libattn."""
    inputs = make_inputs(problem)
    one = Measured(problem, limits)
    unable = {peer.name for peer in run.peers}
    for count in run.threads:
        for library in run.libraries:
            library.set_threads(count)
        progress.show(f"preparing for {count} threads: {problem.title}")
        call = run.libattn.prepare(problem, inputs)
        if call is None:
            raise RuntimeError(f"{problem.title}: libattn cannot do it")
        one.calls[run.libattn.name, count] = call
        ours = call.results()
        for peer in run.peers:
            if _add_peer(one, peer, count, (inputs, ours), progress):
                unable.discard(peer.name)
    if len(unable) == len(run.peers):
        progress.say(f"left out: {problem.title}: no peer that is here can do it")
    return one


def _add_peer(
    one: Measured,
    peer: Peer,
    count: int,
    made: tuple[Inputs | LayerInputs, Results],
    progress: Progress,
) -> bool:
    """The call of a peer; one that fails is named and left out. Returns if it can."""
    inputs, ours = made
    try:
        call = peer.prepare(one.problem, inputs)
        if call is None:
            return False
        theirs = call.results()
    except Exception as error:  # of whatever kind the library raises
        progress.say(f"left out: {one.problem.title}: {peer.name}: {first_line(error)}")
        return False
    if one.problem.dropout == 0:  # else they draw other numbers
        compare(one.problem, inputs, ours, theirs, peer.name)
    one.calls[peer.name, count] = call
    one.how[peer.name, count] = call.how
    return True
