"""attn.torch is a good citizen of torch's autograd."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from needs import torch_or_skip

torch = torch_or_skip()

import attn.torch  # noqa: E402
from attn import AttnError  # noqa: E402

sdpa = attn.torch.scaled_dot_product_attention
torch_sdpa = torch.nn.functional.scaled_dot_product_attention


def tensors(*shapes, grad=True):
    """Random tensors, the same in every run."""
    generator = torch.Generator().manual_seed(5)
    made = [torch.randn(shape, generator=generator) for shape in shapes]
    return [tensor.requires_grad_(grad) for tensor in made]


def gradients(function, inputs, **options):
    """Gradients of a loss that weighs each number of out differently."""
    out = function(*inputs, **options)
    weights = torch.linspace(-1, 1, out.numel()).reshape(out.shape)
    return torch.autograd.grad((out * weights).sum(), inputs)


def test_the_module_torch_is_torch():
    assert attn.torch.torch is torch
    assert attn.torch is not torch


# query, key, value, enable_gqa
RANKS = [
    ((3, 4), (5, 4), (5, 6), False),
    ((2, 3, 4), (2, 5, 4), (2, 5, 6), False),
    ((2, 3, 4), (5, 4), (5, 6), False),
    ((3, 4), (2, 5, 4), (2, 5, 6), False),
    ((2, 8, 3, 4), (2, 8, 5, 4), (2, 8, 5, 6), False),
    ((2, 8, 3, 4), (2, 1, 5, 4), (2, 1, 5, 6), False),
    ((2, 8, 3, 4), (8, 5, 4), (1, 8, 5, 6), False),
    ((2, 8, 3, 4), (2, 1, 5, 4), (2, 8, 5, 6), False),
    ((1, 8, 3, 4), (2, 8, 5, 4), (2, 1, 5, 6), False),
    ((2, 8, 3, 4), (2, 2, 5, 4), (2, 2, 5, 6), True),
    ((8, 3, 4), (2, 5, 4), (2, 5, 6), True),
    ((7, 2, 8, 3, 4), (7, 2, 2, 5, 4), (7, 2, 2, 5, 6), True),
    ((7, 2, 8, 3, 4), (7, 1, 8, 5, 4), (1, 2, 8, 5, 6), False),
    ((2, 1, 3, 8, 3, 4), (8, 5, 4), (3, 1, 5, 6), False),
]


@pytest.mark.parametrize(("q", "k", "v", "gqa"), RANKS)
def test_shapes_are_those_of_torch(q, k, v, gqa):
    inputs = tensors(q, k, v)
    wanted = gradients(torch_sdpa, inputs, enable_gqa=gqa)
    got = gradients(sdpa, inputs, enable_gqa=gqa)
    for one, two in zip(got, wanted):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "shape",
    [(), (5,), (3, 1), (3, 5), (4, 1, 5), (4, 3, 5), (1, 4, 3, 5), (2, 4, 3, 5)],
)
def test_a_bias_that_is_learnt(shape):
    inputs = tensors((2, 4, 3, 8), (2, 4, 5, 8), (2, 4, 5, 6), shape)
    for one, two in zip(gradients(sdpa, inputs), gradients(torch_sdpa, inputs)):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("needed", range(1, 64))
def test_gradients_of_some_inputs(needed):
    """Those that require it get what they get when all do; the others get none."""
    names = ("query", "key", "value", "attn_mask", "alibi_slopes", "sinks")
    shapes = ((1, 2, 9, 8), (1, 2, 7, 8), (1, 2, 7, 8), (9, 7), (2,), (2,))
    inputs = dict(zip(names, tensors(*shapes)))
    sdpa(**inputs).sum().backward()
    copies = {
        name: tensor.detach().clone().requires_grad_(bool(needed >> i & 1))
        for i, (name, tensor) in enumerate(inputs.items())
    }
    sdpa(**copies).sum().backward()
    for name, tensor in copies.items():
        if tensor.requires_grad:
            assert torch.equal(tensor.grad, inputs[name].grad)
        else:
            assert tensor.grad is None


def test_gradients_of_some_outputs():
    inputs = tensors((2, 4, 9, 8), (2, 4, 7, 8), (2, 4, 7, 8))
    names = ("out", "lse", "weights", "key_sums")
    asked = {f"return_{name}": True for name in names[1:]}
    grads = {}
    for count in range(1, 5):
        for chosen in itertools.combinations(names, count):
            results = sdpa(*inputs, **asked)
            assert results._fields == names
            loss = sum(getattr(results, name).square().sum() for name in chosen)
            grads[chosen] = torch.autograd.grad(loss, inputs, allow_unused=True)
    for chosen, found in grads.items():
        parts = [grads[(name,)] for name in chosen]
        for one, *others in zip(found, *parts):
            torch.testing.assert_close(one, sum(others), rtol=1e-4, atol=1e-4)


def test_the_named_tuple_is_that_of_the_other_function():
    inputs = tensors((2, 4, 9, 8), (2, 4, 7, 8), (2, 4, 7, 8))
    asked = {"return_lse": True, "return_dropout_mask": True, "dropout_p": 0.5}
    recorded = sdpa(*inputs, **asked, dropout_seed=3)
    with torch.no_grad():
        plain = attn.scaled_dot_product_attention(*inputs, **asked, dropout_seed=3)
        same = sdpa(*inputs, **asked, dropout_seed=3)
    assert type(recorded) is type(plain) is type(same)
    assert recorded.lse.requires_grad
    assert not recorded.dropout_mask.requires_grad
    for one, two, three in zip(recorded, plain, same):
        assert torch.equal(one, two)
        assert torch.equal(one, three)
        assert not three.requires_grad


def test_nothing_is_recorded_where_nothing_is_asked_for(monkeypatch):
    inputs = tensors((2, 4, 9, 8), (2, 4, 7, 8), (2, 4, 7, 8))
    assert sdpa(*inputs).grad_fn is not None
    monkeypatch.setattr(attn.torch._Attention, "apply", None)
    with torch.no_grad():
        assert sdpa(*inputs).grad_fn is None
    with torch.inference_mode():
        assert sdpa(*inputs).grad_fn is None
    assert sdpa(*(tensor.detach() for tensor in inputs)).grad_fn is None


def test_what_is_kept_for_the_gradients():
    """The inputs and out themselves, and two numbers for each query."""
    inputs = tensors((2, 4, 9, 8), (2, 4, 7, 8), (2, 4, 7, 8))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.append(tensor.data_ptr()) or tensor, lambda tensor: tensor
    ):
        out = sdpa(*inputs)
    known = [tensor.data_ptr() for tensor in (*inputs, out)]
    assert kept[:4] == known
    assert len(kept) == 6
    out.sum().backward()


def test_gradients_of_gradients_are_refused():
    inputs = tensors((2, 4, 9, 8), (2, 4, 7, 8), (2, 4, 7, 8))
    (grad,) = torch.autograd.grad(
        sdpa(*inputs).square().sum(), inputs[0], create_graph=True
    )
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_a_graph_that_is_kept_gives_the_same_again():
    inputs = tensors((2, 4, 9, 8), (2, 4, 7, 8), (2, 4, 7, 8))
    out = sdpa(*inputs, dropout_p=0.5)
    one = torch.autograd.grad(out.sum(), inputs, retain_graph=True)
    two = torch.autograd.grad(out.sum(), inputs)
    for a, b in zip(one, two):
        assert torch.equal(a, b)


@pytest.mark.parametrize("which", ["query", "kv_lengths", "block_mask", "out"])
def test_what_was_overwritten_is_noticed(which):
    query, key, value = tensors((2, 4, 9, 8), (2, 4, 7, 8), (2, 4, 7, 8), grad=False)
    value.requires_grad_()
    lengths, blocks = torch.tensor([3, 7]), torch.ones(3, 2, dtype=torch.bool)
    out = sdpa(query, key, value, kv_lengths=lengths, block_mask=(blocks, 4, 4))
    overwritten = {
        "query": query,
        "kv_lengths": lengths,
        "block_mask": blocks,
        "out": out.detach(),
    }
    overwritten[which].zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


def test_what_is_no_tensor_may_be_overwritten():
    """Lists and numpy arrays were copied."""
    inputs = tensors((2, 4, 9, 8), (2, 4, 7, 8), (2, 4, 7, 8))
    lengths, mask = np.array([3, 7]), np.ones((9, 7), bool)
    wanted = torch.autograd.grad(
        sdpa(*inputs, mask, kv_lengths=[3, 7], sinks=[0, 1, 2, 3]).sum(), inputs
    )
    out = sdpa(*inputs, mask, kv_lengths=lengths, sinks=[0, 1, 2, 3])
    lengths[:], mask[:] = 0, False
    for one, two in zip(torch.autograd.grad(out.sum(), inputs), wanted):
        assert torch.equal(one, two)


def test_strides():
    """Transposed, expanded and sliced inputs, and the gradient that .sum() makes."""
    (packed,) = tensors((2, 9, 3, 4, 8))
    (one_key,) = tensors((2, 1, 9, 8))
    wide = one_key.expand(2, 4, 9, 8)

    def run(function):
        query, value = (packed[:, :, i].transpose(1, 2) for i in (0, 2))
        odd = wide.transpose(2, 3).contiguous().transpose(2, 3)
        out = function(query, odd, value, is_causal=True) + function(query, wide, value)
        return torch.autograd.grad(out.sum(), (packed, one_key))

    for one, two in zip(run(sdpa), run(torch_sdpa)):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.int16])
def test_other_float_types_are_named(dtype):
    query, key, value = tensors((2, 4, 9, 8), (2, 4, 7, 8), (2, 4, 7, 8))
    with pytest.raises(AttnError, match=f"key is {str(dtype).split('.')[1]}"):
        sdpa(query, key.to(dtype), value)


def test_gradcheck():
    """torch's own check: numerical gradients, undefined ones, the same ones again."""
    inputs = tensors((1, 2, 3, 4), (1, 1, 4, 4), (1, 1, 4, 3), (3, 4), (2,), (2,))

    def run(query, key, value, bias, slopes, sinks):
        return sdpa(
            query,
            key,
            value,
            bias,
            enable_gqa=True,
            softcap=3.0,
            causal="bottom_right",
            alibi_slopes=slopes,
            sinks=sinks,
            return_lse=True,
            return_weights=True,
            return_key_sums=True,
        )

    with pytest.warns(UserWarning, match="double precision"):
        assert torch.autograd.gradcheck(run, inputs, eps=5e-3, atol=5e-3, rtol=5e-3)


def test_torch_decides_what_is_dropped():
    inputs = tensors((2, 4, 9, 8), (2, 4, 7, 8), (2, 4, 7, 8))
    torch.manual_seed(1)
    one, two = (sdpa(*inputs, dropout_p=0.5) for _ in range(2))
    torch.manual_seed(1)
    three, four = (sdpa(*inputs, dropout_p=0.5) for _ in range(2))
    assert torch.equal(one, three)
    assert torch.equal(two, four)
    assert not torch.equal(one, two)
    before = torch.get_rng_state()
    sdpa(*inputs)
    sdpa(*inputs, dropout_p=0.5, dropout_seed=7)
    assert torch.equal(torch.get_rng_state(), before)


def test_checkpoints():
    """What is computed again for the gradients drops the same weights."""
    inputs = tensors((2, 4, 9, 8), (2, 4, 7, 8), (2, 4, 7, 8))

    def run(*inputs):
        return sdpa(*inputs, dropout_p=0.5)

    found = []
    for again in (False, True):
        torch.manual_seed(2)
        if again:
            out = torch.utils.checkpoint.checkpoint(run, *inputs, use_reentrant=False)
        else:
            out = run(*inputs)
        found.append(torch.autograd.grad(out.square().sum(), inputs))
    for one, two in zip(*found):
        assert torch.equal(one, two)


def test_dropout_is_torchs_given_the_mask():
    """Autograd through the formula, with the mask that was returned."""
    inputs = tensors((2, 4, 65, 16), (2, 4, 130, 16), (2, 4, 130, 16))
    probability = 0.3
    got = sdpa(*inputs, dropout_p=probability, return_dropout_mask=True)
    query, key, value = inputs
    weights = torch.softmax(query @ key.transpose(-1, -2) / 4, dim=-1)
    wanted = (weights * got.dropout_mask / (1 - probability)) @ value
    torch.testing.assert_close(got.out, wanted, rtol=1e-5, atol=1e-5)
    grad = torch.linspace(-1, 1, wanted.numel()).reshape(wanted.shape)
    found = torch.autograd.grad(got.out, inputs, grad)
    for one, two in zip(found, torch.autograd.grad(wanted, inputs, grad)):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)


def test_the_backward_function_takes_tensors():
    """Without autograd: tensors in, tensors out, the same bits."""
    inputs = tensors((2, 4, 9, 8), (2, 4, 7, 8), (2, 4, 7, 8), (9, 7))
    wanted = torch.autograd.grad(sdpa(*inputs).sum(), inputs)
    query, key, value, bias = (tensor.detach() for tensor in inputs)
    r = attn.scaled_dot_product_attention(
        query, key, value, bias, return_row_stats=True
    )
    got = attn.scaled_dot_product_attention_backward(
        torch.ones_like(r.out),
        query,
        key,
        value,
        r.out,
        None,
        bias,
        row_max=r.row_max,
        row_sum=r.row_sum,
        mask_grad=True,
    )
    for one, two in zip(got, wanted):
        assert type(one) is torch.Tensor
        assert torch.equal(one, two)
