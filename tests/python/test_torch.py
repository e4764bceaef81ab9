"""torch tensors: in and out, without a copy, and without attn importing torch."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import attn
from attn import AttnError
from needs import torch_or_skip

torch = torch_or_skip()
sdpa = torch.nn.functional.scaled_dot_product_attention


def tensors(q=(2, 4, 3, 8), k=(2, 4, 5, 8), v=(2, 4, 5, 6)):
    """A query, key and value."""
    generator = torch.Generator().manual_seed(11)
    return [torch.randn(shape, generator=generator) for shape in (q, k, v)]


def test_tensors_in_tensors_out_without_a_copy(calls):
    q, k, v = tensors()
    got = attn.scaled_dot_product_attention(q, k, v, return_lse=True)
    assert type(got.out) is type(got.lse) is torch.Tensor
    assert calls[0].query.data == q.data_ptr()
    assert calls[0].key.data == k.data_ptr()
    assert calls[0].value.data == v.data_ptr()
    assert calls[0].out.data == got.out.data_ptr()
    assert calls[0].lse.data == got.lse.data_ptr()
    torch.testing.assert_close(got.out, sdpa(q, k, v))


def test_the_query_decides_what_comes_out():
    q, k, v = tensors()
    wanted = attn.scaled_dot_product_attention(q, k, v).numpy()
    mixed = attn.scaled_dot_product_attention(q.numpy(), k, v)
    assert type(mixed) is np.ndarray
    np.testing.assert_array_equal(mixed, wanted)
    mixed = attn.scaled_dot_product_attention(q, k.numpy(), v)
    assert type(mixed) is torch.Tensor
    np.testing.assert_array_equal(mixed.numpy(), wanted)


@pytest.mark.parametrize(
    "options",
    [
        {"is_causal": True},
        {"scale": 0.2},
        {"attn_mask": (torch.arange(5) < 3).reshape(1, 5)},
        {"attn_mask": torch.linspace(-1, 1, 15).reshape(3, 5)},
        {"attn_mask": torch.linspace(-1, 1, 30).reshape(2, 1, 3, 5)},
    ],
)
def test_same_as_torch(options):
    q, k, v = tensors()
    got = attn.scaled_dot_product_attention(q, k, v, **options)
    torch.testing.assert_close(got, sdpa(q, k, v, **options))


def test_grouped_heads_are_those_of_torch():
    q, k, v = tensors(k=(2, 2, 5, 8), v=(2, 2, 5, 6))
    got = attn.scaled_dot_product_attention(q, k, v, enable_gqa=True)
    torch.testing.assert_close(got, sdpa(q, k, v, enable_gqa=True))


def test_strides(calls):
    """A transposed and expanded tensor is used as it lies."""
    q, k, v = tensors(k=(2, 5, 4, 8), v=(1, 4, 5, 6))
    got = attn.scaled_dot_product_attention(
        q, k.transpose(1, 2), v.expand(2, -1, -1, -1)
    )
    assert calls[0].key.data == k.data_ptr()
    assert calls[0].key.stride == (160, 8, 32, 1)
    assert calls[0].value.stride == (0, 30, 6, 1)
    torch.testing.assert_close(got, sdpa(q, k.transpose(1, 2), v))


def test_layouts_that_must_be_copied():
    q, k, v = tensors(k=(2, 4, 8, 5))
    got = attn.scaled_dot_product_attention(q, k.transpose(2, 3), v)
    torch.testing.assert_close(got, sdpa(q, k.transpose(2, 3), v))


def test_other_inputs_as_tensors():
    q, k, v = tensors()
    got = attn.scaled_dot_product_attention(
        q, k, v, kv_lengths=torch.tensor([3, 5]), sinks=torch.arange(4.0)
    )
    wanted = attn.scaled_dot_product_attention(
        *(t.numpy() for t in (q, k, v)), kv_lengths=[3, 5], sinks=[0, 1, 2, 3]
    )
    np.testing.assert_array_equal(got.numpy(), wanted)
    small = attn.scaled_dot_product_attention(
        q, k, v, kv_lengths=torch.tensor([3, 5], dtype=torch.uint8), sinks=[0, 1, 2, 3]
    )
    assert torch.equal(small, got)


def test_a_lazy_negation_is_seen():
    """The memory of such a tensor holds the opposite of its values."""
    q, k, v = tensors()
    lazy = torch.complex(torch.zeros_like(q), -q).conj().imag
    assert lazy.is_neg()
    assert torch.equal(lazy, q)
    got = attn.scaled_dot_product_attention(lazy, k, v)
    torch.testing.assert_close(got, sdpa(q, k, v))


def test_a_tensor_that_is_not_aligned_is_copied():
    q, k, v = tensors()
    raw = torch.zeros(q.numel() * 4 + 1, dtype=torch.uint8)
    raw[1:] = q.reshape(-1).view(torch.uint8)
    odd = torch.frombuffer(raw.numpy(), dtype=torch.float32, offset=1).reshape(q.shape)
    assert odd.data_ptr() % 4 == 1
    got = attn.scaled_dot_product_attention(odd, k, v)
    torch.testing.assert_close(got, sdpa(q, k, v))


def test_gradients_are_not_dropped_silently():
    q, k, v = tensors()
    k.requires_grad_()
    with pytest.raises(AttnError, match="key requires a gradient"):
        attn.scaled_dot_product_attention(q, k, v)
    with torch.no_grad():
        got = attn.scaled_dot_product_attention(q, k, v)
    assert not got.requires_grad
    got = attn.scaled_dot_product_attention(torch.nn.Parameter(q).detach(), q, q)
    assert type(got) is torch.Tensor


@pytest.mark.parametrize("dtype", ["float64", "float8_e5m2"])
def test_other_float_types_are_named(dtype):
    q, k, v = (t.to(getattr(torch, dtype)) for t in tensors())
    with pytest.raises(AttnError, match=f"query is {dtype}"):
        attn.scaled_dot_product_attention(q, k, v)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bits_without_a_copy(dtype, calls):
    q, k, v = (t.to(dtype) for t in tensors())
    got = attn.scaled_dot_product_attention(q, k, v, return_lse=True)
    assert got.out.dtype is dtype
    assert got.lse.dtype is torch.float32
    for name, tensor in (("query", q), ("key", k), ("value", v), ("out", got.out)):
        assert getattr(calls[0], name).data == tensor.data_ptr()
    wanted = sdpa(*(t.double() for t in (q, k, v)))
    torch.testing.assert_close(got.out, wanted.to(dtype))


def test_16_bits_that_must_be_copied():
    """numpy itself knows no bfloat16."""
    q, k, v = (t.bfloat16() for t in tensors(k=(2, 4, 8, 5)))
    got = attn.scaled_dot_product_attention(q, k.transpose(2, 3), v)
    plain = k.transpose(2, 3).contiguous()
    assert torch.equal(got, attn.scaled_dot_product_attention(q, plain, v))


def test_each_tensor_has_a_type_of_its_own():
    q, k, v = tensors()
    got = attn.scaled_dot_product_attention(q.bfloat16(), k.half().numpy(), v)
    assert got.dtype is torch.bfloat16
    wanted = sdpa(q.bfloat16().double(), k.half().double(), v.double())
    torch.testing.assert_close(got, wanted.bfloat16())
    got = attn.scaled_dot_product_attention(q.half().numpy(), k.bfloat16(), v)
    assert got.dtype == np.float16


def test_other_devices_and_layouts_are_named():
    q, k, v = tensors()
    with pytest.raises(AttnError, match="key is on device meta"):
        attn.scaled_dot_product_attention(q, k.to("meta"), v)
    with pytest.raises(AttnError, match=r"value has layout torch\.sparse"):
        attn.scaled_dot_product_attention(q, k, v.to_sparse())


def test_empty_tensors():
    q, k, v = tensors(q=(2, 4, 0, 8))
    assert attn.scaled_dot_product_attention(q, k, v).shape == (2, 4, 0, 6)


def test_tensors_are_released():
    q, k, v = tensors()
    attn.scaled_dot_product_attention(q, k, v)
    before = [sys.getrefcount(t) for t in (q, k, v)]
    for _ in range(20):
        attn.scaled_dot_product_attention(q, k, v)
    assert [sys.getrefcount(t) for t in (q, k, v)] == before
