"""Layers by the textbook, in float64: projections around ``reference.attention``.

Parameters are a dict by name, as the state dict of a layer; sequences are (batch,
length, features). Gradients are checked by differences of these functions.
"""

from __future__ import annotations

import math

import numpy as np

import reference


def rotated(x, positions, rotary_dim, *, interleaved=False, base=10000.0):
    """Rotary embedding of x (batch, heads, length, dim) at positions (length)."""
    half = rotary_dim // 2
    angle = np.asarray(positions)[..., None] / base ** (np.arange(half) / half)
    first = slice(0, rotary_dim, 2) if interleaved else slice(0, half)
    second = slice(1, rotary_dim, 2) if interleaved else slice(half, rotary_dim)
    cos, sin = np.cos(angle), np.sin(angle)
    out = x.copy()
    out[..., first] = x[..., first] * cos - x[..., second] * sin
    out[..., second] = x[..., first] * sin + x[..., second] * cos
    return out


def project(x, weight, bias, heads):
    """(batch, heads, length, dim); weights of three dimensions are those of slices."""
    batch, length, _ = x.shape
    if weight.ndim == 3:
        slices = x.reshape(batch, length, heads, -1)
        y = np.einsum("blhe,hde->blhd", slices, weight).reshape(batch, length, -1)
    else:
        y = x @ weight.T
    y = y if bias is None else y + bias
    return y.reshape(batch, length, heads, -1).transpose(0, 2, 1, 3)


def multihead(state, query, key, value, heads, **options):
    """(output, weights of each head); options: of the layer and of its attention."""
    kv_heads = options.pop("num_kv_heads", None) or heads
    combine = options.pop("combine", "concat")
    zero = options.pop("add_zero_attn", False)
    dim = options.pop("head_dim", None) or query.shape[-1] // heads
    rotary = {
        name.removeprefix("rotary_"): options.pop(name)
        for name in ("rotary_interleaved", "rotary_base")
        if name in options
    }
    rotary_dim = options.pop("rotary_dim", 0)
    offset = options.pop("offsets", 0)
    bounds = [heads * dim, (heads + kv_heads) * dim]
    if "in_proj_weight" in state:
        weights = np.split(state["in_proj_weight"], bounds)
    else:
        weights = [state[f"{name}_proj_weight"] for name in "qkv"]
    biases = [None] * 3
    if "in_proj_bias" in state:
        biases = np.split(state["in_proj_bias"], bounds)
    q, k, v = (
        project(x, weight, bias, count)
        for x, weight, bias, count in zip(
            (query, key, value), weights, biases, (heads, kv_heads, kv_heads)
        )
    )
    if rotary_dim:
        q, k = (
            rotated(x, np.arange(x.shape[2]) + offset, rotary_dim, **rotary)
            for x in (q, k)
        )
    batch, keys = query.shape[0], k.shape[2]
    extra = []
    if "bias_k" in state:
        extra.append([state[f"bias_{name}"] for name in "kv"])
    if zero:
        extra.append([np.zeros((1, 1, kv_heads * x.shape[3])) for x in (k, v)])
    for rows in extra:
        k, v = (
            np.concatenate(
                [
                    x,
                    np.broadcast_to(
                        row.reshape(1, kv_heads, 1, -1),
                        (batch, kv_heads, 1, x.shape[3]),
                    ),
                ],
                axis=2,
            )
            for x, row in zip((k, v), rows)
        )
    mask = options.get("attn_mask")
    if extra and mask is not None:
        pad = [(0, 0)] * (mask.ndim - 1) + [(0, k.shape[2] - keys)]
        options["attn_mask"] = np.pad(mask, pad, constant_values=mask.dtype == bool)
    results = reference.attention(q, k, v, **options)
    out = results["out"]
    if combine == "mean":
        out = out.mean(axis=1)
    else:
        out = out.transpose(0, 2, 1, 3).reshape(*query.shape[:2], -1)
    out = out @ state["out_proj.weight"].T + state.get("out_proj.bias", 0.0)
    return out, results["weights"]


def norm(state, name, x, kind, eps):
    """A norm over the last dimension; without parameters of this name the identity."""
    if kind == "layer":
        x = x - x.mean(axis=-1, keepdims=True)
    x = x / np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + eps)
    return x * state[f"{name}.weight"] + state.get(f"{name}.bias", 0.0)


ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2,
    "gelu_tanh": lambda x: (
        x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2
    ),
    "silu": lambda x: x / (1 + np.exp(-x)),
}


def inner(state, prefix):
    """The parameters whose names have this prefix, without it."""
    return {
        name.removeprefix(prefix): value
        for name, value in state.items()
        if name.startswith(prefix)
    }


def feed_forward(state, x, activation):
    """The network of a block, with a gate if there is one."""

    def linear(name, x):
        return x @ state[f"{name}.weight"].T + state.get(f"{name}.bias", 0.0)

    if "gate.weight" in state:
        return linear("linear2", activation(linear("gate", x)) * linear("linear1", x))
    return linear("linear2", activation(linear("linear1", x)))


def stack(
    state,
    x,
    memory,
    heads,
    layers,
    *,
    groups=None,
    activation="relu",
    kind="layer",
    norm_first=False,
    eps=1e-5,
    shared=None,
    own=None,
    memory_options=None,
):
    """(output, weights, weights of memory) of a stack.

    shared: options of both attentions, own: those of self-attention.
    """

    weights, of_memory = [], []

    def attend(state, x, to, options, found):
        options = {**(shared or {}), **(options or {})}
        out, one = multihead(state, x, to, to, heads, **options)
        found.append(one)
        return out

    def part(state, which, x):
        if which == "self_attn":
            return attend(inner(state, "self_attn."), x, x, own, weights)
        if which == "multihead_attn":
            inputs = (inner(state, "multihead_attn."), x, memory)
            return attend(*inputs, memory_options, of_memory)
        return feed_forward(state, x, ACTIVATIONS[activation])

    for number in range(layers):
        block = inner(state, f"layers.{number * (groups or layers) // layers}.")
        parts = ["self_attn", "feed_forward"]
        if memory is not None:
            parts.insert(1, "multihead_attn")
        for index, which in enumerate(parts):
            name = f"norm{index + 1}"
            if norm_first:
                x = x + part(block, which, norm(block, name, x, kind, eps))
            else:
                x = norm(block, name, x + part(block, which, x), kind, eps)
    if "norm.weight" in state:
        x = norm(state, "norm", x, kind, eps)
    return x, weights, of_memory


def with_a_say(layer):
    """The layer with values that all count, and its parameters in float64."""
    rng = np.random.default_rng(2)
    for name, array in layer.parameters.items():
        middle = 1.0 if ".norm" in f".{name}" and name.endswith("weight") else 0.0
        array[...] = middle + 0.3 * rng.standard_normal(array.shape)
    return layer, {name: np.float64(a) for name, a in layer.parameters.items()}


def check_gradients(function, leaves, grads, grad_output, rng):
    """Compares gradients with the slope of function along random directions.

    function maps a dict of float64 arrays to an output, grads has the gradients of the
    leaves by name.
    """
    leaves = {name: np.asarray(x, np.float64) for name, x in leaves.items()}
    step = 1e-7  # so small that hardly a relu turns on the way
    for name, x in leaves.items():
        direction = rng.standard_normal(x.shape)
        ends = [
            np.sum(
                grad_output * function({**leaves, name: x + sign * step * direction})
            )
            for sign in (1, -1)
        ]
        slope = (ends[0] - ends[1]) / (2 * step)
        size = np.linalg.norm(grads[name]) * np.sqrt(x.size)
        found = np.sum(np.float64(grads[name]) * direction)
        assert abs(found - slope) <= 2e-5 * max(size, 1e-3), name
