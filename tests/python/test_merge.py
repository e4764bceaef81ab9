"""Merging of attention states through numpy, against float64 and whole calls."""

from __future__ import annotations

import numpy as np
import pytest

import attn
from attn import AttnError, Status
from needs import torch_or_skip


@pytest.fixture
def states(normal):
    """states(n, *shape): the arrays of n states whose out has this shape."""

    def make(n, *shape):
        arrays = []
        for _ in range(n):
            arrays += [normal(*shape), 3 * normal(*shape[:-1])]
        return arrays

    return make


def merged(arrays):
    """The formula."""
    outs, lses = (np.stack(arrays[first::2]).astype(np.float64) for first in (0, 1))
    lse = np.logaddexp.reduce(lses, axis=0)
    weights = np.exp(lses - np.where(np.isinf(lse), 0, lse))
    outs[weights == 0] = 0
    return (weights[..., None] * outs).sum(axis=0), lse


@pytest.mark.parametrize("shape", [(7, 6), (3, 7, 6), (2, 3, 7, 6), (4, 2, 3, 7, 6)])
@pytest.mark.parametrize("n", [2, 3, 7, 40])
def test_shapes(states, close, shape, n):
    arrays = states(n, *shape)
    kept = [a.copy() for a in arrays]
    got = attn.merge_states(*arrays)
    assert got.out.shape == shape
    assert got.lse.shape == shape[:-1]
    assert got.out.dtype == got.lse.dtype == np.float32
    out, lse = merged(arrays)
    close(got.out, out)
    close(got.lse, lse)
    for array, before in zip(arrays, kept):
        np.testing.assert_array_equal(array, before)


def test_empty_states(states, close):
    arrays = states(3, 2, 4, 5, 6)
    for i, rows in enumerate((np.s_[0], np.s_[0, 1:], np.s_[:, 1])):
        arrays[2 * i][rows] = np.nan
        arrays[2 * i + 1][rows] = -np.inf
    got = attn.merge_states(*arrays)
    out, lse = merged(arrays)
    close(got.out, out)
    close(got.lse, lse)
    assert (got.out[0, 1] == 0).all()
    assert (got.lse[0, 1] == -np.inf).all()


@pytest.mark.parametrize("places", [(), (17,), (0, 9, 9, 30, 50), range(1, 50)])
def test_any_split_of_the_keys(normal, close, places):
    q, k, v = normal(2, 4, 20, 8), normal(2, 2, 50, 8), normal(2, 2, 50, 6)
    sinks = normal(4)
    options = {"enable_gqa": True, "return_lse": True}
    parts = []
    ends = (*places, 50)
    for first, end in zip((0, *ends), ends):
        parts += attn.scaled_dot_product_attention(
            q,
            k[:, :, first:end],
            v[:, :, first:end],
            is_causal=True,
            query_offsets=[25 - first, 30 - first],
            sinks=sinks if first == 0 < end or len(ends) == 1 else None,
            **options,
        )
    whole = attn.scaled_dot_product_attention(
        q, k, v, is_causal=True, query_offsets=[25, 30], sinks=sinks, **options
    )
    nothing = (
        np.full((2, 4, 20, 6), np.nan, np.float32),
        np.full((2, 4, 20), -np.inf, np.float32),
    )
    got = attn.merge_states(*parts, *(() if len(ends) > 1 else nothing))
    close(got.out, whole.out)
    close(got.lse, whole.lse)


def test_any_bracketing(states, close):
    a, b, c = (tuple(states(1, 2, 3, 5, 4)) for _ in range(3))
    wanted = attn.merge_states(*a, *b, *c)
    for got in (
        attn.merge_states(*attn.merge_states(*a, *b), *c),
        attn.merge_states(*a, *attn.merge_states(*b, *c)),
        attn.merge_states(*c, *attn.merge_states(*a, *b)),
    ):
        close(got.out, wanted.out)
        close(got.lse, wanted.lse)


def test_strides(states):
    """Transposed, repeated and reversed arrays give what their copies give."""
    arrays = states(3, 2, 5, 5, 8)
    plain = list(map(np.ascontiguousarray, arrays))
    for odd in (
        lambda a: a.swapaxes(1, 2),
        lambda a: np.broadcast_to(a[:1], a.shape),
        lambda a: a[:, ::-1],
        lambda a: a[:, ::2],
        np.asfortranarray,
    ):
        got = attn.merge_states(*map(odd, arrays))
        wanted = attn.merge_states(*map(np.ascontiguousarray, map(odd, plain)))
        np.testing.assert_array_equal(got.out, wanted.out)
        np.testing.assert_array_equal(got.lse, wanted.lse)


def test_batches_that_no_strides_describe(states):
    """Batches (4, 1, 3) with strides of their own make no regular walk."""
    arrays = states(2, 4, 6, 2, 5, 8)
    got = attn.merge_states(*[a[:, ::2] for a in arrays])
    wanted = attn.merge_states(*arrays)
    np.testing.assert_array_equal(got.out, wanted.out[:, ::2])
    np.testing.assert_array_equal(got.lse, wanted.lse[:, ::2])


def test_sizes_of_0(states):
    for shape in ((0, 2, 5, 8), (2, 0, 5, 8), (2, 2, 0, 8), (2, 2, 5, 0)):
        got = attn.merge_states(*states(2, *shape))
        assert got.out.shape == shape
        assert got.lse.shape == shape[:-1]
        assert np.isfinite(got.lse).all()


def test_threads_change_nothing(states):
    arrays = states(4, 4, 16, 300, 64)
    whole = attn.merge_states(*arrays)
    try:
        attn.set_num_threads(1)
        alone = attn.merge_states(*arrays)
    finally:
        attn.set_num_threads(0)
    np.testing.assert_array_equal(alone.out, whole.out)
    np.testing.assert_array_equal(alone.lse, whole.lse)


@pytest.mark.parametrize(
    ("which", "to", "says"),
    [
        (0, lambda a: a[0, 0, 0], r"out_a has 1 dimensions, shape \(8,\)"),
        (1, lambda a: a[..., 0], r"lse_a has shape \(2, 3\): expected \(2, 3, 5\)"),
        (
            2,
            lambda a: a[1:],
            r"out_b has shape \(1, 3, 5, 8\): expected \(2, 3, 5, 8\)",
        ),
        (3, lambda a: a[..., None], r"lse_b has shape \(2, 3, 5, 1\)"),
        (4, lambda a: a[..., 1:], r"more\[0\] has shape \(2, 3, 5, 7\)"),
        (5, lambda a: a.astype(np.float64), r"more\[1\] is float64"),
        (0, lambda a: a.astype(np.float16), "out_a is float16"),
        (5, lambda a: 1.0, r"more\[1\] is of type float"),
        (3, lambda a: a.tolist(), "lse_b is of type list"),
    ],
)
def test_refusals(states, which, to, says):
    arrays = states(3, 2, 3, 5, 8)
    arrays[which] = to(arrays[which])
    with pytest.raises(AttnError, match=says) as error:
        attn.merge_states(*arrays)
    assert error.value.status in (Status.INVALID, Status.UNSUPPORTED)


def test_half_a_state(states):
    with pytest.raises(AttnError, match="more has 1 arrays: expected pairs"):
        attn.merge_states(*states(2, 3, 5, 8), np.ones((3, 5, 8), np.float32))


def test_dlpack(states):
    class Holder:
        def __init__(self, array):
            self.array = array

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

        def __dlpack__(self, **options):
            return self.array.__dlpack__(**options)

    arrays = states(2, 2, 3, 5, 8)
    wanted = attn.merge_states(*arrays)
    got = attn.merge_states(*map(Holder, arrays))
    assert type(got.out) is np.ndarray
    np.testing.assert_array_equal(got.out, wanted.out)
    np.testing.assert_array_equal(got.lse, wanted.lse)


def test_torch_in_torch_out(states):
    torch = torch_or_skip()
    arrays = states(3, 2, 3, 5, 8)
    wanted = attn.merge_states(*arrays)
    got = attn.merge_states(*map(torch.from_numpy, arrays))
    assert type(got.out) is type(got.lse) is torch.Tensor
    np.testing.assert_array_equal(got.out.numpy(), wanted.out)
    np.testing.assert_array_equal(got.lse.numpy(), wanted.lse)
    arrays = list(map(torch.from_numpy, arrays))
    arrays[0].requires_grad_()
    with pytest.raises(AttnError, match="out_a requires a gradient"):
        attn.merge_states(*arrays)
