"""The short way through attention: which calls take it, and where it leads."""

import importlib

import numpy as np
import pytest

import attn
import attn._sdpa as sdpa
from needs import torch_or_skip

USUAL = [
    {},
    {"is_causal": True},
    {"scale": 0.3},
    {"enable_gqa": True},
    {"is_causal": True, "scale": -1.5, "enable_gqa": True},
]


@pytest.fixture
def sorted_calls(monkeypatch):
    """Counts the calls whose arguments are sorted."""
    calls = []

    def count(*args):
        calls.append(args)
        return request(*args)

    request = sdpa.request
    monkeypatch.setattr(sdpa, "request", count)
    return calls


@pytest.mark.parametrize("options", USUAL)
def test_both_ways_give_the_same_bits(normal, sorted_calls, options):
    q, k, v = normal(2, 4, 9, 16), normal(2, 4, 12, 16), normal(2, 4, 12, 8)
    if "enable_gqa" in options:
        k, v = k[:, :2], v[:, :2]
    short = attn.scaled_dot_product_attention(q, k, v, **options)
    assert not sorted_calls
    long = attn.scaled_dot_product_attention(q, k, v, **options, return_lse=True)
    assert len(sorted_calls) == 1
    np.testing.assert_array_equal(short, long.out)


def test_kinds_of_numbers_do_not_matter(normal, sorted_calls):
    x = normal(1, 2, 5, 8)
    usual = attn.scaled_dot_product_attention(x, x, x, scale=0.5, is_causal=True)
    for scale, causal in ((np.float32(0.5), True), (0.5, np.True_), (0.5, 1)):
        out = attn.scaled_dot_product_attention(x, x, x, scale=scale, is_causal=causal)
        np.testing.assert_array_equal(out, usual)
    assert len(sorted_calls) == 3


def test_a_query_that_is_not_contiguous_gets_a_contiguous_result(normal):
    q = normal(1, 5, 2, 8).swapaxes(1, 2)
    out = attn.scaled_dot_product_attention(q, q, q)
    assert out.flags.c_contiguous
    assert out.base is None
    same = np.ascontiguousarray(q)
    np.testing.assert_array_equal(out, attn.scaled_dot_product_attention(same, q, q))


def test_tensors(normal, sorted_calls):
    torch = torch_or_skip()
    x = normal(1, 2, 5, 8)
    t = torch.from_numpy(x)
    out = attn.scaled_dot_product_attention(t, t, t)
    assert type(out) is torch.Tensor
    assert not sorted_calls
    attn.scaled_dot_product_attention(t, t, x)
    attn.scaled_dot_product_attention(torch.nn.Parameter(t, False), t, t)
    assert len(sorted_calls) == 2


def test_arrays_become_tensors_in_attn_torch(normal):
    torch = torch_or_skip()
    torch_attention = importlib.import_module("attn.torch")
    x = normal(1, 2, 5, 8)
    assert type(torch_attention.scaled_dot_product_attention(x, x, x)) is torch.Tensor


def test_errors_are_the_same(normal):
    q, k = normal(1, 2, 5, 8), normal(1, 2, 5, 9)
    with pytest.raises(attn.AttnError) as short:
        attn.scaled_dot_product_attention(q, k, k)
    with pytest.raises(attn.AttnError) as long:
        attn.scaled_dot_product_attention(q, k, k, return_lse=True)
    assert str(short.value) == str(long.value)
    assert short.value.status == long.value.status
