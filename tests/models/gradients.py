"""Random parameters, and gradients that are compared."""

from __future__ import annotations

from needs import torch_or_skip

torch = torch_or_skip()


def parameters(seed, *shapes):
    """Random ones, the same in every run."""
    generator = torch.Generator().manual_seed(seed)
    made = [torch.randn(shape, generator=generator) for shape in shapes]
    return [tensor.requires_grad_() for tensor in made]


def widened(inputs):
    """The same in float64."""
    return [tensor.detach().double().requires_grad_() for tensor in inputs]


def same_gradients(got, wanted, inputs, wide):
    """Compares results, and gradients of a loss that weighs each number."""
    torch.testing.assert_close(got.double(), wanted, rtol=1e-4, atol=1e-5)
    weights = torch.linspace(-1, 1, wanted.numel()).reshape(wanted.shape)
    got = torch.autograd.grad((got * weights).sum(), inputs)
    wanted = torch.autograd.grad((wanted * weights).sum(), wide)
    for one, two in zip(got, wanted):
        assert two.any()
        torch.testing.assert_close(one.double(), two, rtol=1e-4, atol=2e-5)
