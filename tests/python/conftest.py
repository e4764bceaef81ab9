"""What the Python tests share: random arrays, a comparison, a look at the C call."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

import numpy as np
import pytest

from attn import _call
from attn._structs import ForwardArgs


@pytest.fixture
def rng():
    """A generator of numbers, the same in every run."""
    return np.random.default_rng(20260)


@pytest.fixture
def normal(rng):
    """normal(2, 3): a float32 array of this shape."""
    return lambda *shape: rng.standard_normal(shape).astype(np.float32)


@pytest.fixture
def close():
    """close(got, wanted): equal up to what float32 arithmetic may cost."""

    def compare(got, wanted):
        np.testing.assert_allclose(got, wanted, rtol=5e-5, atol=5e-6)

    return compare


@pytest.fixture
def calls(monkeypatch):
    """Calls that reach the library: for each, its tensors by member."""
    seen = []
    real = _call._forward

    def tensor(pointer):
        t = pointer.contents
        return SimpleNamespace(
            data=t.data,
            shape=tuple(t.shape[: t.rank]),
            stride=tuple(t.stride[: t.rank]),
        )

    def forward(handle, reference):
        args = ctypes.cast(reference, ctypes.POINTER(ForwardArgs)).contents
        members = {}
        for name, kind in ForwardArgs._fields_:
            pointer = getattr(args, name)
            if hasattr(kind, "contents") and pointer:
                members[name] = tensor(pointer)
        seen.append(SimpleNamespace(handle=handle.value, **members))
        return real(handle, reference)

    monkeypatch.setattr(_call, "_forward", forward)
    return seen
