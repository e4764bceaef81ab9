"""bind: calls of layers, and what cannot be bound."""

import gc
import importlib

import numpy as np
import pytest

import attn
from attn import AttnError
from needs import torch_or_skip

SDPA = attn.scaled_dot_product_attention


def same_bits(got, wanted):
    for one, other in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("packed", [False, True])
def test_layers(normal, packed):
    layer = attn.MultiheadAttention(32, 4, batch_first=True, seed=1)
    layer.eval().pack_weights(packed)
    x = normal(2, 9, 32)
    call = attn.bind(layer, x, x, x, kv_lengths=[9, 4])
    x[...] = normal(*x.shape)
    same_bits(call(), layer(x, x, x, kv_lengths=[9, 4]))
    if not packed:
        layer.parameters["out_proj.bias"][...] = 3
        same_bits(call(), layer(x, x, x, kv_lengths=[9, 4]))
    SDPA(*3 * [normal(1, 1, 5, 8)])
    other = normal(2, 9, 32)
    before = call()[0].copy()
    layer(other, other, other, kv_lengths=[9, 4])
    np.testing.assert_array_equal(call.result[0], before)


def test_stacks(normal):
    stack = attn.TransformerStack(2, 32, 4, 64, seed=1).eval()
    x = normal(2, 9, 32)
    call = attn.bind(stack, x, is_causal=True, return_mean_weights=True)
    x[...] = normal(*x.shape)
    same_bits(call(), stack(x, is_causal=True, return_mean_weights=True))


def test_a_layer_keeps_its_parameters_alive(normal):
    layer = attn.MultiheadAttention(256, 4, batch_first=True, seed=1).eval()
    x = normal(1, 3, 256)
    call = attn.bind(layer, x, x, x)
    wanted = call()[0].copy()
    layer.load_state_dict(
        attn.MultiheadAttention(256, 4, batch_first=True, seed=2).state_dict()
    )
    gc.collect()
    junk = [normal(3 * 256, 256) for _ in range(8)]
    np.testing.assert_array_equal(call()[0], wanted)
    assert junk


def bool_mask(layer, x):
    return attn.bind(layer, x, x, x, key_padding_mask=np.zeros((2, 9), bool))


def training(layer, x):
    return attn.bind(layer.train(), x, x, x)


def unaligned(layer, x):
    del layer
    q = np.frombuffer(b"0" * 41, np.uint8)[1:].view(np.float32).reshape(1, 1, 5, 2)
    return attn.bind(SDPA, q, x[:1, None, :, :2], x[:1, None, :, :2])


def own_forward(layer, x):
    layer.forward = lambda *_: 3
    try:
        return attn.bind(layer, x, x, x)
    finally:
        del layer.forward


def added_keys(layer, x):
    del layer
    layer = attn.MultiheadAttention(32, 4, add_zero_attn=True, batch_first=True)
    return attn.bind(layer.eval(), x, x, x)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (bool_mask, "kv_lengths"),
        (training, "training"),
        (unaligned, "query is not aligned"),
        (added_keys, "averaged"),
        (own_forward, "its own forward"),
        (lambda _, x: attn.bind(attn.varlen_attention, x, x, x), "varlen_attention"),
        (lambda _, x: attn.bind(attn.KVCache.attend, x), "KVCache.attend"),
        (lambda layer, x: attn.bind(layer.forward, x, x, x), "forward"),
        (lambda _, x: attn.bind(3, x), "3 cannot be bound"),
        (lambda _, x: attn.bind(SDPA, x, x[..., :4], x), "query has dim 32, key 4"),
    ],
)
def test_what_cannot_be_bound(normal, make, words):
    layer = attn.MultiheadAttention(32, 4, batch_first=True, seed=1).eval()
    x = normal(2, 9, 32)
    with pytest.raises(AttnError, match=words):
        make(layer, x)
    layer.eval()
    # and nothing is left of the attempt
    same_bits(layer(x, x, x), layer(x, x, x))
    layer(x, x, x, key_padding_mask=np.zeros((2, 9), bool))


@pytest.fixture
def torch():
    torch = torch_or_skip()
    importlib.import_module("attn.torch")
    return torch


@pytest.mark.parametrize("packed", [False, True])
def test_modules_of_torch(torch, packed):
    layer = attn.torch.MultiheadAttention(256, 4, batch_first=True).eval()
    x = torch.randn(2, 40, 256)
    with torch.no_grad():
        layer.pack_weights(packed)
        call = attn.bind(layer, x, x, x, kv_lengths=[40, 7])
        x.normal_()
        wanted = layer(x, x, x, kv_lengths=[40, 7])[0].clone()
        assert torch.equal(call()[0], wanted)
        # memory that a parameter no longer has is held on to
        for parameter in layer.parameters():
            parameter.data = torch.zeros_like(parameter)
        x.data = torch.zeros_like(x)
        gc.collect()
        junk = [torch.randn(3 * 256, 256) for _ in range(8)]
        assert torch.equal(call()[0], wanted)
        assert junk


def test_a_stack_of_torch(torch):
    stack = attn.torch.TransformerStack(2, 32, 4, 64)
    x = torch.randn(2, 9, 32)
    with torch.no_grad():
        call = attn.bind(stack, x, return_weights=True)
        x.normal_()
        for parameter in stack.parameters():
            parameter.normal_()
        for got, wanted in zip(call(), stack(x, return_weights=True)):
            assert torch.equal(got, wanted)


def test_modules_that_cannot_be_bound(torch):
    layer = attn.torch.MultiheadAttention(32, 4, batch_first=True)
    x = torch.randn(2, 9, 32)
    with pytest.raises(AttnError, match="no_grad"):
        attn.bind(layer, x, x, x)
    layer.requires_grad_(False)
    call = attn.bind(layer, x, x, x)
    assert torch.equal(call()[0], layer(x, x, x)[0])
    with pytest.raises(AttnError, match="query is no tensor"):
        attn.bind(layer, x.numpy(), x, x)
    every = importlib.import_module("torch.nn.modules.module")
    for register in (
        layer.register_forward_hook,
        layer.register_forward_pre_hook,
        every.register_module_forward_hook,
        every.register_module_forward_pre_hook,
    ):
        hook = register(lambda *_: None)
        try:
            with pytest.raises(AttnError, match="hooks"):
                attn.bind(layer, x, x, x)
        finally:
            hook.remove()
    attn.bind(layer, x, x, x)
    with pytest.raises(AttnError, match="cannot be bound"):
        attn.bind(attn.torch.scaled_dot_product_attention, x, x, x)
    torch.nn.utils.parametrizations.weight_norm(layer.out_proj, "weight")
    with pytest.raises(AttnError, match="computed"):
        attn.bind(layer, x, x, x)
    layer = attn.torch.MultiheadAttention(32, 4, batch_first=True).requires_grad_(False)
    layer.in_proj_weight.data = torch.randn(96, 64)[:, ::2]
    with pytest.raises(AttnError, match="converted"):
        attn.bind(layer, x, x, x)
