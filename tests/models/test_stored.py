"""16-bit tensors against torch's own function in float64, and in 16 bits."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention as torch_sdpa

import attn.torch
from rounded import with_exact_weights

SHAPES = {
    # query, key, value
    "a head": ((1, 1, 33, 64), (1, 1, 33, 64), (1, 1, 33, 64)),
    "grouped heads": ((2, 8, 150, 64), (2, 2, 257, 64), (2, 2, 257, 64)),
    "one query": ((3, 8, 1, 128), (3, 2, 700, 128), (3, 2, 700, 128)),
    "other dims": ((2, 3, 65, 40), (2, 3, 70, 40), (2, 3, 70, 24)),
}
OPTIONS = {
    "plain": {},
    "causal": {"is_causal": True},
    "scale": {"scale": 0.2},
    "mask": {"attn_mask": True},
}
SPACING = {torch.float16: 2.0**-10, torch.bfloat16: 2.0**-7}
both_types = pytest.mark.parametrize("dtype", SPACING)
all_shapes = pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
all_options = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


def problem(shapes, options, dtype):
    """Query, key and value of this type, and options."""
    generator = torch.Generator().manual_seed(8)
    tensors = [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]
    options = {**options, "enable_gqa": True}
    if "attn_mask" in options:
        scores = (shapes[0][2], shapes[1][2])
        options["attn_mask"] = torch.rand(scores, generator=generator) < 0.7
        options["attn_mask"][:, 0] = True
    return tensors, options


def rms(tensor):
    return tensor.square().mean().sqrt()


def doubles(tensors):
    return [tensor.detach().double().requires_grad_() for tensor in tensors]


@both_types
@all_shapes
@all_options
def test_as_exact_as_its_type(shapes, options, dtype):
    """One rounding of the result, beside what float32 arithmetic costs."""
    tensors, options = problem(shapes, options, dtype)
    got = attn.scaled_dot_product_attention(*tensors, **options)
    wanted = torch_sdpa(*doubles(tensors), **options).detach()
    assert got.dtype is dtype
    torch.testing.assert_close(
        with_exact_weights(got, wanted, tensors, options),
        wanted,
        rtol=SPACING[dtype] / 2 + 1e-5,
        atol=1e-6,
    )
    rival = torch_sdpa(*tensors, **options).double()
    assert rms(got.double() - wanted) <= 1.01 * rms(rival - wanted)


@both_types
@all_shapes
@all_options
def test_gradients(shapes, options, dtype):
    """Out is rounded where the gradients of the scores are taken from, as in torch."""
    tensors, options = problem(shapes, options, dtype)
    tensors = [tensor.requires_grad_() for tensor in tensors]
    out = attn.torch.scaled_dot_product_attention(*tensors, **options)
    assert out.dtype is dtype
    exact = doubles(tensors)
    wanted = torch_sdpa(*exact, **options)
    grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(3)).to(dtype)
    got = torch.autograd.grad(out, tensors, grad)
    wanted = torch.autograd.grad(wanted, exact, grad.double())
    rival = torch.autograd.grad(torch_sdpa(*tensors, **options), tensors, grad)
    for one, two, other in zip(got, wanted, rival):
        assert one.dtype is dtype
        error = rms(one.double() - two)
        assert error <= 2 * SPACING[dtype] * rms(two) + 1e-6
        assert error <= 1.5 * rms(other.double() - two) + 1e-6


def test_types_of_gradients_are_those_of_their_tensors():
    tensors, _ = problem(SHAPES["a head"], {}, torch.float32)
    types = (torch.bfloat16, torch.float16, torch.float32)
    tensors = [tensor.to(kind).requires_grad_() for tensor, kind in zip(tensors, types)]
    out = attn.torch.scaled_dot_product_attention(*tensors)
    assert out.dtype is types[0]
    got = torch.autograd.grad(out.float().square().sum(), tensors)
    exact = doubles(tensors)
    wanted = torch.autograd.grad(torch_sdpa(*exact).square().sum(), exact)
    for one, two, kind in zip(got, wanted, types):
        assert one.dtype is kind
        torch.testing.assert_close(one.double(), two, rtol=0.02, atol=0.02)


@both_types
def test_a_float32_bias_gets_its_gradient(dtype):
    tensors, _ = problem(SHAPES["other dims"], {}, dtype)
    bias = torch.zeros(65, 70, requires_grad=True)
    attn.torch.scaled_dot_product_attention(*tensors, bias).float().sum().backward()
    exact = bias.detach().double().requires_grad_()
    torch_sdpa(*doubles(tensors), exact).sum().backward()
    assert bias.grad.dtype is torch.float32
    torch.testing.assert_close(bias.grad.double(), exact.grad, rtol=0.05, atol=0.05)
