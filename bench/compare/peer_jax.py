"""JAX: jax.nn.dot_product_attention, compiled.

XLA has as many threads as it found processors when it started, or as the variable NPROC
says, and no way to change that. So there is a process for each number of threads, which
makes the same inputs, and measures when it is asked to.
"""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import jax
import torch

from compare.inputs import Inputs, LayerInputs
from compare.jax_worker import serve
from compare.peer import Call, Results
from compare.problem import Problem


class Jax:
    """Forward and backward calls."""

    name = "jax"

    def __init__(self) -> None:
        self._threads = 1
        self._workers: dict[int, Connection] = {}

    def version(self) -> str:
        """Of the package."""
        return str(jax.__version__)

    def set_threads(self, count: int) -> None:
        """Of the process that is asked from now on."""
        self._threads = count
        if count not in self._workers:
            self._workers[count] = _start(count)

    def prepare(self, problem: Problem, inputs: Inputs | LayerInputs) -> Call | None:
        """Its function has no dropout and no softcap, and values as wide as keys.

        Of float16 it computes nothing on processors.
        """
        del inputs  # made anew, of the same numbers
        p = problem
        if p.dropout != 0 or p.softcap != 0 or p.key_dim != p.value_dim:
            return None
        if p.stored == "f16":
            return None
        worker = self._workers[self._threads]
        return _RemoteCall(worker, _ask(worker, "prepare", problem))

    def forget(self) -> None:
        """Frees the inputs of all processes."""
        for worker in self._workers.values():
            _ask(worker, "forget", None)


@dataclass
class _RemoteCall:
    """A call in another process, by its number there."""

    worker: Connection
    number: int
    how: str = ""

    def results(self) -> Results:
        return tuple(map(torch.from_numpy, _ask(self.worker, "results", self.number)))

    def sample(self) -> float:
        return float(_ask(self.worker, "sample", self.number))


def _start(threads: int) -> Connection:
    """A process that ends with this one."""
    before = os.environ.get("NPROC")
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["NPROC"] = str(threads)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    context.Process(target=serve, args=(theirs,), daemon=True).start()
    theirs.close()
    if before is None:
        del os.environ["NPROC"]
    else:
        os.environ["NPROC"] = before
    return ours


def _ask(worker: Connection, question: str, argument: Any) -> Any:
    worker.send((question, argument))
    try:
        answer, error = worker.recv()
    except EOFError:
        raise RuntimeError("the process of JAX has ended") from None
    if error is not None:
        raise RuntimeError(error)
    return answer
