"""Tables of relative positions and segments in torch's autograd."""

from __future__ import annotations

import pytest

from needs import torch_or_skip

torch = torch_or_skip()

import attn.torch  # noqa: E402

sdpa = attn.torch.scaled_dot_product_attention


def tensors(*shapes):
    """Random parameters, the same in every run."""
    generator = torch.Generator().manual_seed(17)
    made = [torch.randn(shape, generator=generator) for shape in shapes]
    return [tensor.requires_grad_() for tensor in made]


# query, key, value, then the tables of all options
TABLES = {
    "relative_bias": (6, 2),
    "relative_keys": (2, 5, 4),
    "content_bias": (2, 4),
    "position_bias": (2, 4),
    "segment_keys": (2, 2, 4),
    "segment_bias": (2, 4),
}
NAMES = ("query", "key", "value", *TABLES)


def everything(**inputs):
    """Attention with all tables."""
    bias, keys = inputs.pop("relative_bias"), inputs.pop("relative_keys")
    return sdpa(
        **inputs,
        relative_bias=(bias, 5, True),
        relative_keys=(keys, 2),
        q_segments=torch.tensor([0, 1, 1]),
        k_segments=torch.tensor([0, 1, 2, 1]),
        q_ranks=torch.tensor([5, 1, 2]),
        k_ranks=torch.tensor([0, 1, 2, 3]),
    )


def all_inputs():
    shapes = ((1, 2, 3, 4), (1, 2, 4, 4), (1, 2, 4, 3), *TABLES.values())
    return dict(zip(NAMES, tensors(*shapes)))


def test_gradcheck():
    """torch's own check: numerical gradients, undefined ones, the same ones again."""

    def run(*inputs):
        return everything(**dict(zip(NAMES, inputs)))

    with pytest.warns(UserWarning, match="double precision"):
        assert torch.autograd.gradcheck(
            run, tuple(all_inputs().values()), eps=5e-3, atol=5e-3, rtol=5e-3
        )


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_of_some_inputs(name, alone):
    """One alone, or all but one: they get what they get when all do."""
    inputs = all_inputs()
    everything(**inputs).square().sum().backward()
    copies = {
        one: tensor.detach().clone().requires_grad_((one == name) == alone)
        for one, tensor in inputs.items()
    }
    everything(**copies).square().sum().backward()
    for one, tensor in copies.items():
        if tensor.requires_grad:
            assert torch.equal(tensor.grad, inputs[one].grad)
        else:
            assert tensor.grad is None


@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_was_overwritten_is_noticed(name):
    inputs = all_inputs()
    out = everything(**inputs)
    with torch.no_grad():
        inputs[name].zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


def test_a_table_that_requires_a_gradient_is_for_autograd():
    q = torch.zeros(1, 2, 3, 4)
    (table,) = tensors((5, 4))
    with pytest.raises(attn.AttnError, match="relative_keys requires a gradient"):
        attn.scaled_dot_product_attention(q, q, q, relative_keys=(table, 2))
