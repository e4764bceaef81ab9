"""Rotary embeddings beside the formulas that models use, and torch's autograd."""

from __future__ import annotations

import numpy as np
import pytest

from needs import torch_or_skip

torch = torch_or_skip()

import attn.torch  # noqa: E402
from attn import AttnError, Status  # noqa: E402

B, H, S, D = 2, 4, 33, 64

rope = attn.torch.rotary_embedding


def made(*shape, seed=3):
    """A random tensor, the same in every run."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def angles(positions, dim, base, dtype=torch.float64):
    """(..., length, dim / 2), as every model starts."""
    inverse = 1.0 / base ** (torch.arange(0, dim, 2, dtype=dtype) / dim)
    return positions.to(dtype)[..., None] * inverse


def llama(x, positions, base=10000.0):
    """The halves are exchanged, the first negated."""
    a = angles(positions, x.shape[-1], base).to(x.dtype)
    a = torch.cat((a, a), dim=-1)
    half = x.shape[-1] // 2
    turned = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
    return x * a.cos() + turned * a.sin()


def gpt_j(x, positions, rotary_dim, base=10000.0):
    """Neighbours are exchanged, the even ones negated; the other features pass."""
    rotary, rest = x[..., :rotary_dim], x[..., rotary_dim:]
    a = angles(positions, rotary_dim, base).to(x.dtype).repeat_interleave(2, dim=-1)
    turned = torch.stack((-rotary[..., 1::2], rotary[..., ::2]), dim=-1).flatten(-2)
    return torch.cat((rotary * a.cos() + turned * a.sin(), rest), dim=-1)


def gpt_neox(x, positions, share=0.25, base=10000.0):
    """Llama's halves, of the first quarter of the features."""
    rotary_dim = int(x.shape[-1] * share)
    rotary = llama(x[..., :rotary_dim], positions, base)
    return torch.cat((rotary, x[..., rotary_dim:]), dim=-1)


MODELS = {
    "llama": (llama, {}),
    "llama3": (lambda x, p: llama(x, p, 500000.0), {"base": 500000.0}),
    "gpt_j": (
        lambda x, p: gpt_j(x, p, 32),
        {"interleaved": True, "rotary_dim": 32},
    ),
    "gpt_neox": (gpt_neox, {"rotary_dim": 16}),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("start", [0, 1, 4000])
def test_models(name, start):
    """float64 is the judge; the models' own float32 tables are further off."""
    model, options = MODELS[name]
    x = made(B, H, S, D)
    positions = start + torch.arange(S)
    wanted = model(x.double(), positions)
    got = rope(x, offsets=start, **options)
    torch.testing.assert_close(got.double(), wanted, rtol=0, atol=2e-6)
    ids = positions.expand(B, S)
    assert torch.equal(rope(x, position_ids=ids, **options), got)


@pytest.mark.parametrize("name", MODELS)
def test_gradients(name):
    model, options = MODELS[name]
    x, grad = made(B, H, S, D).requires_grad_(), made(B, H, S, D, seed=4)
    ids = torch.randint(0, 900, (B, S), generator=torch.Generator().manual_seed(5))
    (got,) = torch.autograd.grad(rope(x, position_ids=ids, **options), x, grad)
    wide = x.detach().double().requires_grad_()
    (wanted,) = torch.autograd.grad(model(wide, ids[:, None]), wide, grad.double())
    torch.testing.assert_close(got.double(), wanted, rtol=0, atol=2e-6)


def test_gradients_of_given_cosines():
    x, grad = made(B, H, S, D).requires_grad_(), made(B, H, S, D, seed=4)
    a = angles(torch.arange(S), D, 10000.0).float()
    (got,) = torch.autograd.grad(rope(x, cos=a.cos(), sin=a.sin()), x, grad)
    (wanted,) = torch.autograd.grad(llama(x, torch.arange(S)), x, grad)
    torch.testing.assert_close(got, wanted, rtol=0, atol=5e-6)


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("inverse", [False, True])
def test_gradcheck(interleaved, inverse):
    x = made(1, 2, 3, 8).requires_grad_()

    def run(x):
        return rope(
            x, rotary_dim=6, interleaved=interleaved, inverse=inverse, offsets=2
        )

    with pytest.warns(UserWarning, match="double precision"):
        assert torch.autograd.gradcheck(run, (x,), eps=1e-2, atol=1e-3, rtol=1e-3)


def test_gradients_of_gradients():
    x = made(1, 2, 3, 8).requires_grad_()
    (first,) = torch.autograd.grad(rope(x).pow(3).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    wide = x.detach().double().requires_grad_()
    out = llama(wide, torch.arange(3)).pow(3).sum()
    (first,) = torch.autograd.grad(out, wide, create_graph=True)
    (wanted,) = torch.autograd.grad(first.sum(), wide)
    torch.testing.assert_close(second.double(), wanted, rtol=1e-5, atol=1e-4)


def test_attention_with_rotated_heads():
    """A layer's use of it: rotate, attend, and train the query."""
    q, k, v = (made(1, 2, 12, 16, seed=seed) for seed in range(3))
    q.requires_grad_()
    out = attn.torch.scaled_dot_product_attention(rope(q), rope(k), v, is_causal=True)
    out.square().sum().backward()
    got, q.grad = q.grad, None
    positions = torch.arange(12)
    out = torch.nn.functional.scaled_dot_product_attention(
        llama(q, positions), llama(k, positions), v, is_causal=True
    )
    out.square().sum().backward()
    torch.testing.assert_close(got, q.grad, rtol=1e-4, atol=1e-5)


def test_nothing_is_recorded_where_nothing_is_asked_for():
    x = made(1, 2, 3, 8)
    assert rope(x).grad_fn is None
    x.requires_grad_()
    assert rope(x).grad_fn is not None
    with torch.no_grad():
        assert rope(x).grad_fn is None


def test_what_was_overwritten_is_noticed():
    x, ids = made(1, 2, 3, 8).requires_grad_(), torch.arange(3)
    out = rope(x, position_ids=ids)
    ids.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()
    copied = np.arange(3)
    out = rope(x, position_ids=copied)
    copied[:] = 0
    (got,) = torch.autograd.grad(out.sum(), x)
    (wanted,) = torch.autograd.grad(rope(x).sum(), x)
    assert torch.equal(got, wanted)


def test_learnt_cosines_are_refused():
    x = made(1, 2, 3, 8)
    cos, sin = made(3, 4, seed=1).requires_grad_(), made(3, 4, seed=2)
    with pytest.raises(AttnError, match="cos requires a gradient") as error:
        rope(x, cos=cos, sin=sin)
    assert error.value.status is Status.NOT_DIFFERENTIABLE
    with torch.no_grad():
        rope(x, cos=cos, sin=sin)
