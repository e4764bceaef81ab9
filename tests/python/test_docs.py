"""The examples in the docstrings do what they say."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import attn
from needs import torch_or_skip

MODULES = ["attn", *(f"attn.{m.name}" for m in pkgutil.iter_modules(attn.__path__))]
WITH_EXAMPLES = {
    "attn",
    "attn._additive",
    "attn._backward",
    "attn._bind",
    "attn._cache",
    "attn._context",
    "attn._errors",
    "attn._layout",
    "attn._merge",
    "attn._multihead",
    "attn._profile",
    "attn._results",
    "attn._rollout",
    "attn._rotary",
    "attn._sdpa",
    "attn._stack",
    "attn._torch_layers",
    "attn._tuning",
    "attn._varlen",
    "attn.torch",
}


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    if name.startswith(("attn.torch", "attn._torch")):
        torch_or_skip()
        importlib.import_module("attn.torch")
    module = importlib.import_module(name)
    q = np.zeros((1, 1, 2, 4), np.float32)
    names = {"attn": attn, "np": np, "q": q, "k": q, "v": q}
    try:
        result = doctest.testmod(module, extraglobs=names)
    finally:
        attn.set_num_threads(0)
    assert result.failed == 0
    assert (result.attempted > 0) == (name in WITH_EXAMPLES)


def test_the_public_names_are_documented():
    for name in attn.__all__:
        assert getattr(attn, name).__doc__
