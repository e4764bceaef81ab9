"""Rotary embeddings through numpy, against the formula in float64."""

from __future__ import annotations

import numpy as np
import pytest

import attn
from attn import AttnError, Status
from needs import torch_or_skip


def rotated(x, positions, *, rotary_dim=0, interleaved=False, inverse=False, **angles):
    """The formula, for x of (..., length, dim) and positions of (..., length)."""
    base, cos, sin = (angles.get(name) for name in ("base", "cos", "sin"))
    x = np.asarray(x, np.float64)
    dim = rotary_dim or x.shape[-1]
    half = dim // 2
    if cos is None:
        powers = (base or 10000.0) ** (2 * np.arange(half) / dim)
        angle = np.asarray(positions, np.float64)[..., None] / powers
        cos, sin = np.cos(angle), np.sin(angle)
    if inverse:
        sin = -sin
    first = slice(0, dim, 2) if interleaved else slice(0, half)
    second = slice(1, dim, 2) if interleaved else slice(half, dim)
    out = x.copy()
    out[..., first] = x[..., first] * cos - x[..., second] * sin
    out[..., second] = x[..., first] * sin + x[..., second] * cos
    return out


@pytest.fixture
def near():
    """near(got, wanted): float32 rounding of numbers of size 1."""
    return lambda got, wanted: np.testing.assert_allclose(got, wanted, atol=3e-6)


@pytest.mark.parametrize("shape", [(7, 6), (3, 7, 6), (2, 3, 7, 6), (4, 2, 3, 7, 6)])
@pytest.mark.parametrize("interleaved", [False, True])
def test_shapes(normal, near, shape, interleaved):
    x = normal(*shape)
    before = x.copy()
    got = attn.rotary_embedding(x, interleaved=interleaved)
    assert got.shape == shape
    assert got.dtype == np.float32
    near(got, rotated(x, np.arange(7), interleaved=interleaved))
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rotary_dim": 4},
        {"rotary_dim": np.int64(10), "interleaved": True},
        {"base": 500000.0},
        {"base": 1},
        {"inverse": True},
        {"inverse": True, "interleaved": True, "rotary_dim": 6, "base": 3.5},
    ],
)
def test_options(normal, near, options):
    x = normal(2, 3, 9, 12)
    near(attn.rotary_embedding(x, **options), rotated(x, np.arange(9), **options))


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64, np.uint16])
@pytest.mark.parametrize("shape", [(5,), (1, 5), (3, 5), (3, 1)])
def test_position_ids(rng, normal, near, shape, dtype):
    x = normal(3, 2, 5, 8)
    ids = rng.integers(0, 100, shape).astype(dtype)
    wide = np.broadcast_to(ids, (3, 5))[:, None]
    near(attn.rotary_embedding(x, position_ids=ids), rotated(x, wide))
    near(attn.rotary_embedding(x, position_ids=ids.tolist()), rotated(x, wide))


@pytest.mark.parametrize("offsets", [7, [7], [1, 2, 3], np.array([0, 50, 2], np.int32)])
def test_offsets(normal, near, offsets):
    x = normal(3, 2, 5, 8)
    starts = np.broadcast_to(offsets, 3)[:, None, None]
    near(attn.rotary_embedding(x, offsets=offsets), rotated(x, starts + np.arange(5)))


def test_batches_of_several_dimensions(rng, normal, near):
    x = normal(2, 3, 4, 5, 8)
    ids = rng.integers(0, 100, (3, 5))
    wide = np.broadcast_to(ids, (2, 3, 5))[:, :, None]
    near(attn.rotary_embedding(x, position_ids=ids), rotated(x, wide))
    offsets = rng.integers(0, 100, (2, 1))
    wide = np.broadcast_to(offsets, (2, 3))[..., None, None] + np.arange(5)
    near(attn.rotary_embedding(x, offsets=offsets), rotated(x, wide))


def test_given_cosines(rng, normal, near):
    x, cos, sin = normal(3, 2, 5, 8), normal(50, 3), normal(50, 3)
    ids = rng.integers(0, 50, (3, 5))
    got = attn.rotary_embedding(x, rotary_dim=6, position_ids=ids, cos=cos, sin=sin)
    rows = {"cos": cos[ids], "sin": sin[ids]}
    wide = {name: array[:, None] for name, array in rows.items()}
    near(got, rotated(x, ids, rotary_dim=6, **wide))
    by_row = attn.rotary_embedding(x, rotary_dim=6, **rows)
    np.testing.assert_array_equal(by_row, got)
    shared = {name: array[:1] for name, array in rows.items()}
    got = attn.rotary_embedding(x, rotary_dim=6, **shared)
    near(got, rotated(x, ids, rotary_dim=6, cos=cos[ids[0]], sin=sin[ids[0]]))
    got = attn.rotary_embedding(x, rotary_dim=6, offsets=[0, 3, 45], cos=cos, sin=sin)
    ids = np.array([[0], [3], [45]]) + np.arange(5)
    wide = {"cos": cos[ids][:, None], "sin": sin[ids][:, None]}
    near(got, rotated(x, ids, rotary_dim=6, **wide))


def test_strides(normal):
    """Transposed, repeated and reversed arrays give what their copies give."""
    x = normal(2, 5, 3, 8)
    for odd in (
        x.transpose(0, 2, 1, 3),
        np.broadcast_to(x[:1], x.shape),
        x[:, :, ::-1],
        x[..., ::-1],
        x[..., ::2],
    ):
        np.testing.assert_array_equal(
            attn.rotary_embedding(odd), attn.rotary_embedding(np.ascontiguousarray(odd))
        )


def test_sizes_of_0(normal):
    for shape in ((0, 2, 5, 8), (2, 0, 5, 8), (2, 2, 0, 8), (2, 2, 5, 0)):
        assert attn.rotary_embedding(normal(*shape)).shape == shape


def test_threads_change_nothing(normal):
    x = normal(4, 16, 300, 64)
    whole = attn.rotary_embedding(x, interleaved=True)
    try:
        attn.set_num_threads(1)
        np.testing.assert_array_equal(attn.rotary_embedding(x, interleaved=True), whole)
    finally:
        attn.set_num_threads(0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rotary_dim": 7}, "rotary_dim is 7, should be even"),
        ({"rotary_dim": 10}, "rotary_dim is 10, not within 0 to .* 8"),
        ({"rotary_dim": 1 << 64}, "rotary_dim is 18446744073709551616"),
        ({"base": 0}, r"base is 0(\.0)?: it must be more than 0"),
        ({"base": float("nan")}, "base is nan"),
        ({"position_ids": [0, 1, 2], "offsets": 1}, "both given"),
        ({"position_ids": [0, 1]}, r"position_ids has shape \(2,\)"),
        ({"position_ids": [0, -1, 2]}, r"position_ids\[0?\]?\[?1\] is -1"),
        ({"position_ids": [0.0, 1.0, 2.0]}, "position_ids is float64"),
        ({"offsets": [1, 2, 3]}, r"offsets has shape \(3,\)"),
        ({"offsets": -1}, r"offsets\[0\] is -1"),
        (
            {"cos": np.ones((3, 4), np.float32)},
            "cosines is given, but sines is missing",
        ),
        ({"cos": 1, "sin": 1}, "cos is of type int"),
        (
            {name: np.ones((2, 4), np.float32) for name in ("cos", "sin")},
            "input has 3 rows, but there are 2 positions in cosines",
        ),
        (
            {name: np.ones((3, 5), np.float32) for name in ("cos", "sin")},
            "cosines has size 5 in dimension 1, should be 4: half of rotary_dim",
        ),
        (
            {name: np.ones((9, 3, 4), np.float32) for name in ("cos", "sin")},
            r"cos has shape \(9, 3, 4\)",
        ),
        (
            {name: np.ones(4, np.float32) for name in ("cos", "sin")},
            r"cos has shape \(4,\)",
        ),
        (
            {name: np.ones((3, 4), np.float32) for name in ("cos", "sin")}
            | {"base": 500.0},
            "base is 500.0, but cos is given",
        ),
    ],
)
def test_refusals(normal, options, says):
    with pytest.raises(AttnError, match=says) as error:
        attn.rotary_embedding(normal(2, 2, 3, 8), **options)
    assert error.value.status in (Status.INVALID, Status.UNSUPPORTED)


def test_refusals_of_inputs(normal):
    with pytest.raises(AttnError, match="input is float64") as error:
        attn.rotary_embedding(np.ones((2, 4)))
    assert error.value.status is Status.UNSUPPORTED
    with pytest.raises(AttnError, match=r"input has 1 dimensions, shape \(4,\)"):
        attn.rotary_embedding(normal(4))
    with pytest.raises(AttnError, match=r"stands for the dim of input.* 5"):
        attn.rotary_embedding(normal(2, 5))


def test_torch_in_torch_out(normal):
    torch = torch_or_skip()
    x = normal(2, 3, 5, 8)
    wanted = attn.rotary_embedding(x, offsets=4)
    got = attn.rotary_embedding(torch.from_numpy(x), offsets=torch.tensor([4, 4]))
    assert type(got) is torch.Tensor
    np.testing.assert_array_equal(got.numpy(), wanted)
