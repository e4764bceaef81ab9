"""The process in which JAX runs with a number of threads; peer_jax.py asks it.

A question is a name and an argument: ("prepare", problem) is answered with the number
of the call; ("results", number) and ("sample", number) with what the call of that
number gives; ("forget", None) with None. The answer comes as (answer, None) or, after
an error, as (None, its text).
"""

from __future__ import annotations

import signal
from multiprocessing.connection import Connection
from typing import Any

import torch

from compare.inputs import LayerInputs, make_inputs
from compare.jax_calls import attention_call, layer_call
from compare.peer import LocalCall
from compare.problem import Problem


def serve(pipe: Connection) -> None:
    """Answers until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # that is for the one who asks
    torch.set_num_threads(1)
    calls: list[LocalCall] = []
    while True:
        try:
            question, argument = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send((_answer(calls, question, argument), None))
        except Exception as error:  # of whatever kind: who asked is to know
            pipe.send((None, f"{type(error).__name__}: {error}"))


def _answer(calls: list[LocalCall], question: str, argument: Any) -> Any:
    if question == "prepare":
        calls.append(_prepare(argument))
        return len(calls) - 1
    if question == "results":
        every = calls[argument].results()
        return [one.float().contiguous().numpy() for one in every]
    if question == "sample":
        return calls[argument].sample()
    calls.clear()
    return None


def _prepare(problem: Problem) -> LocalCall:
    inputs = make_inputs(problem)
    if isinstance(inputs, LayerInputs):
        return layer_call(problem, inputs)
    return attention_call(problem, inputs)
