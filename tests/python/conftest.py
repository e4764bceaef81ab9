"""What the Python tests share: random arrays, a comparison, a look at the C call."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from attn import _call
from attn._structs import BackwardArgs, ForwardArgs, Tensor
from problems import EV, HKV, B, E, H, L, S

# what ./dev peers is made of: the package compare
sys.path.append(str(Path(__file__).resolve().parents[2] / "bench"))


@pytest.fixture
def rng():
    """A generator of numbers, the same in every run."""
    return np.random.default_rng(20260)


@pytest.fixture
def normal(rng):
    """normal(2, 3): a float32 array of this shape."""
    return lambda *shape: rng.standard_normal(shape).astype(np.float32)


@pytest.fixture
def rows(rng):
    """rows(2, 3): such an array of numbers that every type of a cache holds exactly."""

    def make(*shape):
        numbers = rng.integers(-127, 128, shape)
        numbers[..., 0] = 127
        return (numbers / 128).astype(np.float32)

    return make


@pytest.fixture
def qkv(normal):
    """A query, key and value with grouped heads, of the sizes in problems.py."""
    return normal(B, H, L, E), normal(B, HKV, S, E), normal(B, HKV, S, EV)


@pytest.fixture
def close():
    """close(got, wanted): equal up to what float32 arithmetic may cost."""

    def compare(got, wanted):
        np.testing.assert_allclose(got, wanted, rtol=5e-5, atol=5e-6)

    return compare


def tensors(args):
    """The tensors of a struct of arguments, by member."""

    def tensor(pointer):
        t = pointer.contents
        return SimpleNamespace(
            data=t.data,
            shape=tuple(t.shape[: t.rank]),
            stride=tuple(t.stride[: t.rank]),
        )

    return {
        name: tensor(getattr(args, name))
        for name, kind in args._fields_
        if kind is ctypes.POINTER(Tensor) and getattr(args, name)
    }


@pytest.fixture
def calls(monkeypatch):
    """Forward calls that reach the library: for each, its tensors by member."""
    seen = []
    real = _call._forward

    def forward(handle, reference):
        args = ctypes.cast(reference, ctypes.POINTER(ForwardArgs)).contents
        seen.append(SimpleNamespace(handle=handle.value, **tensors(args)))
        return real(handle, reference)

    monkeypatch.setattr(_call, "_forward", forward)
    return seen


@pytest.fixture
def gradient_calls(monkeypatch):
    """Backward calls that reach the library, likewise."""
    seen = []
    real = _call._backward

    def backward(handle, reference):
        args = ctypes.cast(reference, ctypes.POINTER(BackwardArgs)).contents
        forward = SimpleNamespace(**tensors(args.forward.contents))
        seen.append(
            SimpleNamespace(handle=handle.value, forward=forward, **tensors(args))
        )
        return real(handle, reference)

    monkeypatch.setattr(_call, "_backward", backward)
    return seen
