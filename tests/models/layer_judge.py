"""Compares layers with modules of torch that have the same parameters, in float64."""

from __future__ import annotations

import copy

import torch


def randomise(module, std=0.2):
    """Gives every parameter a say; norms stay around 1."""
    generator = torch.Generator().manual_seed(23)
    for name, parameter in module.named_parameters():
        middle = 1.0 if ".norm" in f".{name}" and name.endswith("weight") else 0.0
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data = middle + std * noise
    return module


def sequences(*shapes, seed=31):
    """Random leaves, the same in every run."""
    generator = torch.Generator().manual_seed(seed)
    made = [torch.randn(shape, generator=generator) for shape in shapes]
    return [tensor.requires_grad_() for tensor in made]


def exact(module):
    """The module in float64."""
    return copy.deepcopy(module).double()


def doubled(tensors):
    """Leaves in float64, one for each tensor: the same one where it is the same."""
    made = {id(x): x.detach().double().requires_grad_() for x in tensors}
    return [made[id(x)] for x in tensors]


def distance(got, wanted):
    """Relative to the size of wanted."""
    return float((got.double() - wanted).norm() / wanted.norm().clamp_min(1e-30))


def unique(tensors):
    """Each tensor once."""
    return list({id(tensor): tensor for tensor in tensors}.values())


def compare(ours, theirs, inputs, module, judge):
    """ours(*inputs) and the judge's theirs(*inputs in float64): outputs and gradients.

    module and judge hold the parameters, which go by the same names. Both functions
    return one tensor or a tuple, whose gradients are weighed with random numbers.
    """
    wide = doubled(inputs)
    got, wanted = ours(*inputs), theirs(*wide)
    if isinstance(got, torch.Tensor):
        got, wanted = (got,), (wanted,)
    for one, two in zip(got, wanted):
        assert one.shape == two.shape
        assert distance(one.detach(), two.detach()) <= 1e-5
    generator = torch.Generator().manual_seed(37)
    grads = [torch.randn(x.shape, generator=generator) for x in got]
    names = dict(module.named_parameters())
    expected = dict(judge.named_parameters())
    assert names.keys() == expected.keys()
    found = torch.autograd.grad(got, [*unique(inputs), *names.values()], grads)
    right = torch.autograd.grad(
        wanted,
        [*unique(wide), *(expected[name] for name in names)],
        [grad.double() for grad in grads],
    )
    for name, one, two in zip(
        [*(f"input {n}" for n in range(len(unique(inputs)))), *names], found, right
    ):
        assert one.shape == two.shape, name
        # The gradient of what the softmax takes away, the bias of keys, is rounding.
        if two.norm() > 1e-12 * two.numel():
            assert distance(one, two) <= 1e-4, name
