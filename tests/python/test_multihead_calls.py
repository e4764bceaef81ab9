"""Calls of MultiheadAttention through numpy: masks, shapes, weights, dropout."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

import attn
import layers
from attn import AttnError, _layer_call
from attn._layer_structs import LayerArgs

N, L, S, E, H = 2, 7, 9, 16, 4


def made(options, **more):
    """A layer whose every parameter has a say, and its parameters in float64."""
    return layers.with_a_say(
        attn.MultiheadAttention(E, H, batch_first=True, seed=1, **options, **more)
    )


def added(mask):
    """A mask of torch as what is added to the scores."""
    return np.where(mask, -np.inf, 0) if mask.dtype == bool else mask


PADDING = np.arange(S) >= np.array([[9], [4]])


@pytest.mark.parametrize("pairs", ["none", "bool", "bool of heads", "float"])
@pytest.mark.parametrize("keys", ["none", "bool", "float"])
def test_masks_of_torch(normal, rng, close, pairs, keys):
    """True masks out, numbers are added, and both masks hold."""
    layer, state = made({})
    inputs = normal(N, L, E), normal(N, S, E), normal(N, S, E)
    attn_mask = {
        "none": None,
        "bool": rng.random((L, S)) < 0.3,
        "bool of heads": rng.random((N * H, L, S)) < 0.3,
        "float": normal(N * H, L, S),
    }[pairs]
    padding = {"none": None, "bool": PADDING, "float": normal(N, S)}[keys]
    bias = np.zeros((N, H, L, S))
    if attn_mask is not None:
        heads = (N, H) if attn_mask.ndim == 3 else (1, 1)
        bias = bias + added(attn_mask).reshape(*heads, L, S)
    if padding is not None:
        bias = bias + added(padding).reshape(N, 1, 1, S)
    before = [None if m is None else m.copy() for m in (attn_mask, padding)]
    got, _ = layer(*inputs, attn_mask=attn_mask, key_padding_mask=padding)
    close(got, layers.multihead(state, *inputs, H, attn_mask=bias)[0])
    for mask, old in zip((attn_mask, padding), before):
        np.testing.assert_array_equal(mask, old)


def test_shapes(normal):
    """With the length first, with the batch first, and without a batch."""
    layer, _ = made({})
    x, y = normal(N, L, E), normal(N, S, E)
    first, weights = layer(x, y, y, key_padding_mask=PADDING)
    grads = layer.backward(np.ones_like(first))
    assert first.shape == (N, L, E)
    assert weights.shape == (N, L, S)
    layer.batch_first = False
    turned = y.swapaxes(0, 1)
    second, same = layer(x.swapaxes(0, 1), turned, turned, PADDING)
    assert second.shape == (L, N, E)
    np.testing.assert_array_equal(same, weights)
    np.testing.assert_allclose(second.swapaxes(0, 1), first, atol=1e-6)
    for one, two in zip(layer.backward(np.ones_like(second)), grads):
        assert two is None or np.allclose(one.swapaxes(0, 1), two, atol=1e-5)
    for n in range(N):
        third, alone = layer(x[n], y[n], y[n], PADDING[n], average_attn_weights=False)
        np.testing.assert_allclose(third, first[n], atol=1e-6)
        assert alone.shape == (H, L, S)
        assert layer.backward(np.ones_like(third)).grad_query.shape == (L, E)


def test_empty_sequences(normal):
    layer, _ = made({})
    for n, length, keys in ((0, L, S), (N, 0, S), (N, L, 0)):
        x, y = normal(n, length, E), normal(n, keys, E)
        output, weights = layer(x, y, y)
        assert output.shape == (n, length, E)
        assert weights.shape == (n, length, keys)
        found = layer.backward(output)
        assert found.grad_query.shape == x.shape
        assert found.grad_key.shape == y.shape
    bias = layer.parameters["out_proj.bias"]
    np.testing.assert_array_equal(output, np.broadcast_to(bias, output.shape))


def test_a_query_without_keys_gets_the_bias(normal):
    layer, _ = made({})
    x = normal(N, L, E)
    mask = np.zeros((L, L), bool)
    mask[3] = True
    output, weights = layer(x, x, x, attn_mask=mask)
    assert not weights[:, 3].any()
    np.testing.assert_allclose(
        output[:, 3], np.tile(layer.parameters["out_proj.bias"], (N, 1)), atol=1e-7
    )


def test_asking_for_weights_changes_no_bit(normal):
    layer, _ = made({"add_zero_attn": True}, dropout=0.2)
    x = normal(N, L, E)
    outputs = [
        layer(x, x, x, need_weights=need, average_attn_weights=mean, dropout_seed=1)
        for need, mean in ((False, True), (True, True), (True, False))
    ]
    assert outputs[0][1] is None
    for output, _ in outputs[1:]:
        np.testing.assert_array_equal(output, outputs[0][0])


@pytest.fixture
def seen(monkeypatch):
    """For each forward call: the addresses of input, key and value, or None."""
    found = []
    real = _layer_call._forward

    def forward(handle, reference):
        args = ctypes.cast(reference, ctypes.POINTER(LayerArgs)).contents
        pointers = (args.input, args.key, args.value)
        found.append([p.contents.data if p else None for p in pointers])
        return real(handle, reference)

    monkeypatch.setattr(_layer_call, "_forward", forward)
    return found


def test_the_same_object_is_projected_once(normal, seen, close):
    layer, _ = made({})
    x, y = normal(N, L, E), normal(N, L, E)
    one, _ = layer(x, x, x)
    two, _ = layer(x, x.copy(), x.copy())
    layer(x, y, y)
    assert [[p is not None for p in call] for call in seen] == [
        [True, False, False],
        [True, True, True],
        [True, True, False],
    ]
    assert seen[0][0] == x.ctypes.data
    close(one, two)


def test_strides(normal, close):
    """Sequences that are no rows of one block, and gradients of such."""
    layer, state = made({})
    base = normal(N, 2 * L, 2 * E)
    x = base[:, ::2, :E]
    cases = [x, x.swapaxes(1, 2).copy().swapaxes(1, 2), x[::-1]]
    cases.append(np.broadcast_to(x[:1, :1], x.shape))
    for case in cases:
        output, _ = layer(case, case, case)
        close(output, layers.multihead(state, *[np.float64(case)] * 3, H)[0])
        grad = np.broadcast_to(np.float32(1), output.shape)
        one = layer.backward(grad).grad_query
        layer(*[case.copy()] * 3)
        close(one, layer.backward(np.ones_like(output)).grad_query)


def test_dropout_is_for_training(normal):
    layer, _ = made({}, dropout=0.5)
    x = normal(N, L, E)
    one, two = (layer(x, x, x)[0] for _ in range(2))
    assert not np.array_equal(one, two)
    three, four = (layer(x, x, x, dropout_seed=7)[0] for _ in range(2))
    np.testing.assert_array_equal(three, four)
    assert layer.eval() is layer
    assert not layer.training
    five, six = (layer(x, x, x, dropout_seed=seed)[0] for seed in (7, 8))
    np.testing.assert_array_equal(five, six)
    assert layer.train().training


def test_the_seed_of_a_layer_decides_what_is_dropped(normal):
    x = normal(N, L, E)
    runs = []
    for seed in (5, 5, 6):
        layer = attn.MultiheadAttention(E, H, dropout=0.5, seed=seed)
        runs.append([layer(x, x, x)[0] for _ in range(2)])
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_reproducible_sequences(normal):
    """The bits of a sequence do not depend on its company."""
    layer = attn.MultiheadAttention(64, 4, batch_first=True, reproducible=True, seed=1)
    x = normal(33, 5, 64)
    every, _ = layer(x, x, x)
    for part in (slice(0, 1), slice(7, 12), slice(32, 33)):
        some = x[part]
        alone, _ = layer(some, some, some)
        np.testing.assert_array_equal(alone, every[part])


def test_gradients_of_masks_are_for_torch(normal):
    layer, _ = made({})
    x = normal(N, L, E)
    layer(x, x, x, attn_mask=normal(L, L))
    with pytest.raises(AttnError, match=r"gradient of attn_mask is for attn\.torch"):
        layer.backward(x, wanted=["attn_mask"])
