"""MultiheadAttention through numpy, against the reference in float64."""

from __future__ import annotations

import numpy as np
import pytest

import attn
import layers

N, L, S, E, H = 2, 7, 9, 16, 4

KINDS = {
    "plain": {},
    "without biases": {"bias": False},
    "other inputs": {"kdim": 12, "vdim": 20},
    "grouped heads": {"num_kv_heads": 2},
    "one head of keys": {"num_kv_heads": 1, "head_dim": 6, "value_dim": 10},
    "wide heads": {"head_dim": 24},
    "added keys": {"add_bias_kv": True, "add_zero_attn": True},
    "an added bias": {"add_bias_kv": True, "num_kv_heads": 2},
    "an added zero": {"add_zero_attn": True, "bias": False},
    "mean of heads": {"combine": "mean", "value_dim": 10},
    "slices": {"project": "slices", "head_dim": 6},
    "slices of other inputs": {"project": "slices", "kdim": 12, "vdim": 20},
    "slices, mean": {"project": "slices", "combine": "mean", "num_kv_heads": 2},
    "rotary": {"rotary_dim": 4},
    "rotary, interleaved": {
        "rotary_dim": 2,
        "rotary_interleaved": True,
        "rotary_base": 50.0,
    },
    "reproducible": {"reproducible": True},
}
# What the reference has to know of a layer.
KNOWN = ("num_kv_heads", "combine", "add_zero_attn", "head_dim", "rotary_dim")
KNOWN += ("rotary_interleaved", "rotary_base")

_fixed = np.random.default_rng(3)
CALLS = {
    "plain": {},
    "causal": {"is_causal": True},
    "bottom right": {"causal": "bottom_right"},
    "window": {"window": (2, 1)},
    "scale and softcap": {"scale": 0.4, "softcap": 1.5},
    "lengths": {"q_lengths": np.array([7, 4]), "kv_lengths": np.array([5, 9])},
    "alibi and sinks": {
        "alibi_slopes": np.float32([0.5, 0.25, 0.125, 0.1]),
        "sinks": np.float32([0, 1, -1, 2]),
    },
    "documents": {
        "q_documents": _fixed.integers(0, 2, (N, L)),
        "k_documents": _fixed.integers(0, 2, (N, S)),
    },
    "ranks": {
        "q_ranks": _fixed.integers(1, 5, (N, L)),
        "k_ranks": _fixed.integers(0, 5, (N, S)),
        "ranks": "below",
    },
    "relative bias": {
        "relative_bias": (_fixed.standard_normal((8, H), np.float32), 16, True)
    },
    "relative keys": {
        "relative_keys": (_fixed.standard_normal((9, E // H), np.float32), 4)
    },
    "dropout": {"dropout_seed": 11},
}


def made(options, **more):
    """A layer whose every parameter has a say, and its parameters in float64."""
    return layers.with_a_say(
        attn.MultiheadAttention(E, H, batch_first=True, seed=1, **options, **more)
    )


def wide(arrays):
    return {name: np.float64(array) for name, array in arrays.items()}


def known(options):
    return {name: options[name] for name in KNOWN if name in options}


@pytest.fixture
def qkv(normal):
    def make(options):
        kdim, vdim = options.get("kdim", E), options.get("vdim", E)
        return normal(N, L, E), normal(N, S, kdim), normal(N, S, vdim)

    return make


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("masked", [False, True])
def test_kinds_of_layers(normal, rng, qkv, close, name, masked):
    options = KINDS[name]
    layer, state = made(options)
    inputs = dict(zip(("query", "key", "value"), qkv(options)))
    mask = rng.random((N * H, L, S)) < 0.4 if masked else None
    told = {**known(options)}
    if masked:
        told["attn_mask"] = ~mask.reshape(N, H, L, S)

    def exact(leaves):
        leaves = {**state, **wide(inputs), **leaves}
        sequences = [leaves.pop(name) for name in ("query", "key", "value")]
        return layers.multihead(leaves, *sequences, H, **told)

    output, weights = layer(**inputs, attn_mask=mask, average_attn_weights=False)
    wanted, wanted_weights = exact({})
    close(output, wanted)
    close(weights, wanted_weights)
    grad = normal(*output.shape)
    found = layer.backward(grad)
    grads = {**layer.grads, **dict(zip(inputs, found))}
    layers.check_gradients(lambda x: exact(x)[0], {**state, **inputs}, grads, grad, rng)


@pytest.mark.parametrize("rows", [1, 3, 8, 9])
def test_few_rows_of_many_features(normal, rng, close, rows):
    """BLAS computes them in parts of the features."""
    features = 1040
    layer = attn.MultiheadAttention(features, H, kdim=50, vdim=20, seed=1)
    inputs = {
        "query": normal(rows, features),
        "key": normal(S, 50),
        "value": normal(S, 20),
    }
    leaves = {**wide(layer.parameters), **wide(inputs)}

    def exact(given):
        given = dict(given)
        sequences = [given.pop(name)[None] for name in inputs]
        return layers.multihead(given, *sequences, H)[0][0]

    output, _ = layer(**inputs)
    close(output, exact(leaves))
    grad = normal(rows, features)
    grads = {**dict(zip(inputs, layer.backward(grad))), **layer.grads}
    layers.check_gradients(exact, leaves, grads, grad, rng)


@pytest.mark.parametrize("name", CALLS)
def test_options_of_attention(normal, rng, qkv, close, name):
    options = CALLS[name]
    dropout = 0.3 if name == "dropout" else 0.0
    layer, state = made({}, dropout=dropout)
    inputs = qkv({})
    told = {**options, "dropout_p": dropout}
    output, weights = layer(*inputs, **options)
    wanted, wanted_weights = layers.multihead(
        state, *map(np.float64, inputs), H, **told
    )
    close(output, wanted)
    close(weights, wanted_weights.mean(axis=1))
    grad = normal(*output.shape)
    layer.backward(grad)
    layers.check_gradients(
        lambda x: layers.multihead({**state, **x}, *inputs, H, **told)[0],
        state,
        layer.grads,
        grad,
        rng,
    )


def test_gradients_of_the_same_object_are_summed(normal, close):
    layer, _ = made({})
    x = normal(N, L, E)
    output, _ = layer(x, x, x)
    grad = normal(*output.shape)
    one = layer.backward(grad)
    assert one.grad_key is one.grad_value is None
    layer(x, x.copy(), x.copy())
    close(one.grad_query, sum(layer.backward(grad)))
    layer(x.copy(), x, x)
    two = layer.backward(grad)
    assert two.grad_value is None
    close(one.grad_query, two.grad_query + two.grad_key)


def test_gradients_of_weights(normal, rng):
    layer, state = made({})
    x, y = normal(N, L, E), normal(N, S, E)
    grad, of_weights = normal(N, L, E), normal(N, L, S)
    layer(x, y, y)
    layer.backward(np.zeros_like(grad), of_weights)
    layers.check_gradients(
        lambda p: layers.multihead({**state, **p}, x, y, y, H)[1].mean(axis=1),
        {"in_proj_weight": state["in_proj_weight"]},
        layer.grads,
        of_weights,
        rng,
    )


def test_wanted_gradients(normal, rng):
    """Of what goes on to the attention, and of positions."""
    layer, state = made({})
    x = normal(N, L, E)
    tables = {"alibi_slopes": normal(H), "sinks": normal(H)}
    output, _ = layer(x, x, x, **tables)
    grad = normal(*output.shape)
    found = layer.backward(grad, wanted=tables)
    assert found._fields[3:] == ("grad_alibi_slopes", "grad_sinks")
    layers.check_gradients(
        lambda t: layers.multihead(state, x, x, x, H, **t)[0],
        tables,
        dict(zip(tables, found[3:])),
        grad,
        rng,
    )


def test_relative_positions(normal, rng, close):
    """Transformer-XL's term, by the relative keys of the call of attention."""
    options = {"relative": True, "segments": True, "bias": False}
    layer, state = made(options)
    x = normal(N, L, E)
    segments = rng.integers(0, 2, (N, L))
    encodings = normal(2 * L, E)
    output, _ = layer(
        x, x, x, positions=(encodings, L), q_segments=segments, k_segments=segments
    )

    def exact(leaves):
        p = {**state, "positions": encodings, **leaves}
        keys = (p["positions"] @ p["r_proj_weight"].T).reshape(-1, H, E // H)
        return layers.multihead(
            p,
            *(x, x, x, H),
            relative_keys=(keys.swapaxes(0, 1), L),
            content_bias=p["r_w_bias"],
            position_bias=p["r_r_bias"],
            q_segments=segments,
            k_segments=segments,
            segment_keys=p["seg_embed"],
            segment_bias=p["r_s_bias"],
        )[0]

    close(output, exact({}))
    grad = normal(*output.shape)
    found = layer.backward(grad, wanted=["positions"])
    grads = {**layer.grads, "positions": found.grad_positions}
    layers.check_gradients(exact, {**state, "positions": encodings}, grads, grad, rng)


def test_targets(normal, close):
    """Rows of query stand for some of the queries."""
    layer, state = made({"targets": True})
    query, key = normal(N, 3, E), normal(N, S, E)
    targets = np.array([[6, 0, 2], [1, 2, 5]])
    output, weights = layer(
        query, key, key, targets=targets, query_length=L, is_causal=True
    )
    everything = np.zeros((N, L, E))
    for n in range(N):
        everything[n, targets[n]] = query[n]
    wanted, _ = layers.multihead(state, everything, key, key, H, is_causal=True)
    close(output, np.take_along_axis(wanted, targets[..., None], axis=1))
    assert weights.shape == (N, L, S)
