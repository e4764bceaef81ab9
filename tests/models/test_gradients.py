"""Results and gradients over all options, beside those of torch's autograd.

The judge is torch in float64. Two things are asked of attn.torch: that each number lies
within what rounding may do to it, and that errors are no larger than those that torch
itself makes in float32. torch's own function is the rival where it has the options, by
a mask if need be; else the formula, by torch's operations.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
import pytest

import reference
from needs import torch_or_skip

torch = torch_or_skip()

import attn.torch  # noqa: E402
import judge  # noqa: E402
from random_problems import arguments, random_problem  # noqa: E402

PROBLEMS = range(150)
UNIT = 2.0**-24


class Outcome(NamedTuple):
    """Out and the gradients of one problem, by name, in float64."""

    ours: dict[str, np.ndarray]
    exact: dict[str, np.ndarray]
    rival: dict[str, np.ndarray]
    magnitudes: dict[str, np.ndarray]
    attended: np.ndarray  # by each query: how many keys


def gradients(run, problem, dtype):
    """Out and the gradients of the inputs, by what run(inputs) computes."""
    inputs = {
        name: x.to(dtype, copy=True).requires_grad_()
        for name, x in problem.inputs.items()
    }
    results = run(inputs)
    grads = torch.autograd.grad(
        [results[name] for name in problem.grads],
        list(inputs.values()),
        [grad.to(dtype) for grad in problem.grads.values()],
    )
    found = {"out": results["out"], **dict(zip(inputs, grads))}
    return {name: tensor.detach().double().numpy() for name, tensor in found.items()}


@functools.cache
def outcome(number):
    """All there is to say of a problem."""
    problem = random_problem(number)
    options = dict(problem.options)
    if "lse" in problem.grads and "q_lengths" in options:
        # Gradients of rows beyond the lengths are not looked at; the judge would.
        for b, length in enumerate(options["q_lengths"]):
            problem.grads["lse"][b, :, length:] = 0

    def ours(inputs):
        return attn.torch.scaled_dot_product_attention(
            **arguments(inputs, options),
            enable_gqa=True,
            return_dropout_mask=True,
            **{f"return_{name}": True for name in problem.grads if name != "out"},
        )._asdict()

    if options.get("dropout_p"):
        keep = ours(problem.inputs)["dropout_mask"]
    found = gradients(ours, problem, torch.float32)
    if options.get("dropout_p"):
        options["keep"] = keep

    def rival(inputs):
        out = judge.out_of_torch(inputs, options) if len(problem.grads) == 1 else None
        return judge.attention(inputs, options) if out is None else {"out": out}

    arrays = {name: tensor.numpy() for name, tensor in problem.inputs.items()}
    of_results = {name: tensor.numpy() for name, tensor in problem.grads.items()}
    everything = arguments(arrays, problem.options)
    absolute = {**everything, "value": np.abs(arrays["value"])}
    shape = (*arrays["query"].shape[:3], arrays["key"].shape[2])
    return Outcome(
        ours=found,
        exact=gradients(lambda x: judge.attention(x, options), problem, torch.float64),
        rival=gradients(rival, problem, torch.float32),
        magnitudes={
            "out": reference.attention(**absolute)["out"],
            **reference.gradients(of_results, **everything, magnitudes=True),
        },
        attended=reference.allowed(shape, everything)[0].sum(axis=-1),
    )


@pytest.mark.parametrize("number", PROBLEMS)
def test_errors_are_rounding_errors(number):
    ours, exact, _, magnitudes, _ = outcome(number)
    assert ours.keys() == exact.keys() == magnitudes.keys()
    for name, wanted in exact.items():
        assert ours[name].shape == wanted.shape
        bound = 128 * UNIT * magnitudes[name]
        # Where there is nothing to round, zero is zero.
        wrong = ~(np.abs(ours[name] - wanted) <= bound)
        assert not wrong.any(), f"{name} of {random_problem(number)}"


def norm(array):
    """Root mean square."""
    return math.sqrt(np.mean(np.square(array)))


def error(found, exact):
    """Half a unit in the last place is as good as none."""
    return norm(found - exact) + UNIT / 2 * norm(exact)


def comparable(result, name):
    """Whether errors here are more than luck: of many numbers, and not of zeros.

    The gradient that comes through a query with a single key, or that is summed over
    all keys, is 0: a difference of equal numbers, of which rounding errors are left.
    """
    few = np.mean((result.attended > 0) & (result.attended < 8))
    many = np.sum(result.attended >= 8) > 32 and result.exact[name].size >= 1000
    size = 0.01 * norm(result.magnitudes[name])
    return few < 0.05 and many and norm(result.exact[name]) > size


def ratios(additive):
    """Errors over torch's, by problem and name, of problems with such scores or not."""
    found = {}
    for number in PROBLEMS:
        result = outcome(number)
        if ("score_vector" in result.exact) != additive:
            continue
        for name, exact in result.exact.items():
            if comparable(result, name):
                ours = error(result.ours[name], exact)
                theirs = error(result.rival[name], exact)
                found[number, name] = ours / theirs
    return found


def mean_of(found):
    """Geometric mean."""
    return math.exp(np.mean(np.log(list(found.values()))))


def test_errors_are_not_above_those_of_torch():
    found = ratios(additive=False)
    assert len(found) > len(PROBLEMS)
    assert {name for _, name in found} >= {"out", "query", "key", "value", "attn_mask"}
    mean = mean_of(found)
    assert mean <= 1, f"geometric mean of {len(found)} errors over torch's: {mean:.3f}"
    # On average no larger, and hardly any by half. Rows whose terms cancel can make
    # much of one error; which they are differs by processor, for torch too.
    above = {name: ratio for name, ratio in found.items() if ratio > 1.5}
    assert len(above) <= len(found) / 100, f"above 1.5 times torch's error: {above}"
    worst = max(found, key=found.get)
    assert found[worst] <= 2, f"{worst}: {found[worst]:.2f} times torch's error"


def test_errors_of_additive_scores_are_near_those_of_torch():
    """A tanh that is made of powers has more rounding errors than torch's."""
    found = ratios(additive=True)
    assert len(found) > 30
    assert {name for _, name in found} >= {"out", "query", "key", "value"}
    mean = mean_of(found)
    assert mean <= 1.35, f"geometric mean of {len(found)} errors: {mean:.3f}"
    worst = max(found, key=found.get)
    assert found[worst] <= 2.3, f"{worst}: {found[worst]:.2f} times torch's error"


def test_the_problems_have_all_options():
    """Each option and each input, some thirty times; and empty rows."""
    counts = {}
    for number in PROBLEMS:
        problem = random_problem(number)
        for name in {*problem.inputs, *problem.options, *problem.grads} - {"rules"}:
            counts[name] = counts.get(name, 0) + 1
        if (outcome(number).attended == 0).any():
            counts["empty rows"] = counts.get("empty rows", 0) + 1
    assert len(counts) == 36
    assert min(counts.values()) > 10, counts
