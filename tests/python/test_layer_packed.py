"""Packed weights: what calls read, and until when."""

from __future__ import annotations

import copy
import gc
import pickle

import numpy as np
import pytest

import attn
from attn import _layer_handle

# So many features and ROWS that every product reads packed weights, whichever way the
# BLAS at hand makes it go.
E, H, F = 256, 2, 192
ROWS = 9


@pytest.fixture(params=["multihead", "slices", "stack"])
def layer(request):
    """A layer for inference, called with one array."""
    if request.param == "stack":
        return attn.TransformerStack(2, E, H, F, seed=1).eval()
    project = "slices" if request.param == "slices" else "all"
    return attn.MultiheadAttention(E, H, project=project, seed=1).eval()


def call(layer, x):
    return layer(x) if isinstance(layer, attn.TransformerStack) else layer(x, x, x)[0]


def spoil(layer):
    """Spoils the weights where they lie."""
    for name, array in layer.parameters.items():
        if array.ndim > 1 and "weight" in name:
            array[...] = np.nan


@pytest.fixture
def packed(layer):
    """The layer, its weights packed and then spoilt: only calls that read the copy
    find numbers."""
    layer.pack_weights()
    if layer._held.packed.memory[1] == 0:
        pytest.skip("kernels that have no use for packed weights")
    layer.whole = {name: one.copy() for name, one in layer.parameters.items()}
    spoil(layer)
    return layer


def test_results_are_the_same(layer, normal):
    for rows in (1, 5, 17, 150):
        x = normal(1, rows, E)
        expected = call(layer, x)
        np.testing.assert_allclose(
            call(layer.pack_weights(), x), expected, rtol=1e-4, atol=1e-5
        )
        layer.pack_weights(False)


def test_calls_read_the_copy_until_it_is_dropped(packed, normal):
    x = normal(2, ROWS, E)
    assert np.isfinite(call(packed, x)).all()
    assert np.isnan(call(packed.pack_weights(False), x)).any()
    packed.load_state_dict(packed.whole)
    assert np.isfinite(call(packed, x)).all()
    packed.pack_weights()
    packed.load_state_dict(packed.whole)
    spoil(packed)
    assert np.isnan(call(packed, x)).any()


def test_training_reads_the_parameters_and_drops_the_copy(packed, normal):
    x = normal(2, ROWS, E)
    packed.training = True
    assert np.isnan(call(packed, x)).any()
    assert np.isfinite(call(packed.eval(), x)).all()
    assert np.isnan(call(packed.train(), x)).any()
    assert np.isnan(call(packed.eval(), x)).any()


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_a_copy_has_parameters_of_its_own(packed, normal, duplicate):
    other = duplicate(packed)
    x = normal(2, ROWS, E)
    assert np.isnan(call(other, x)).any()
    assert np.isfinite(call(packed, x)).all()


def test_layers_of_one_kind_are_not_mixed_up(packed, normal):
    """They share C layers, which are told anew."""
    x = normal(2, ROWS, E)
    mine = call(packed, x)
    other = pickle.loads(pickle.dumps(packed))
    other.load_state_dict({name: 2 * one for name, one in packed.whole.items()})
    theirs = call(other, x)
    packs = call(other.pack_weights(), x)
    np.testing.assert_allclose(packs, theirs, rtol=1e-4, atol=1e-4)
    for _ in range(2):
        np.testing.assert_array_equal(call(packed, x), mine)
        np.testing.assert_array_equal(call(other, x), packs)
    del other
    gc.collect()
    np.testing.assert_array_equal(call(packed, x), mine)
    spoil(packed)
    packed.load_state_dict(packed.whole)
    np.testing.assert_allclose(call(packed, x), mine, rtol=1e-4, atol=1e-4)


def test_packed_weights_are_given_once(packed, normal, monkeypatch):
    x = normal(2, ROWS, E)
    call(packed, x)
    told = []
    real = _layer_handle.lib.attn_layer_set_packed
    monkeypatch.setattr(
        _layer_handle.lib,
        "attn_layer_set_packed",
        lambda *args: told.append(args) or real(*args),
    )
    call(packed, x)
    assert not told
    packed.pack_weights(False)
    call(packed, x)
    assert [args[1] for args in told] == [None]
