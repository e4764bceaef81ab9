"""A problem as a function that JAX compiles, and the arrays that it is called with.

jax.nn.dot_product_attention takes (batch, length, heads, dim), so arrays lie that way.
It builds the masks of causality, windows and lengths itself; others it gets as arrays.
"""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any, Callable

import jax
import jax.numpy as jnp
import torch

from compare.inputs import Inputs, LayerInputs
from compare.masks import full_mask
from compare.peer import LocalCall, Results
from compare.problem import Problem


def attention_call(p: Problem, inputs: Inputs) -> LocalCall:
    """Out; with backward also the gradients of query, key and value."""
    options, arrays = _masks(p, inputs)
    if inputs.vector is not None:
        arrays = _additive_arrays(inputs)

    def attend(query: Any, key: Any, value: Any, arrays: dict[str, Any]) -> Any:
        if inputs.vector is not None:
            return _additive(p, query, key, value, **arrays)
        return jax.nn.dot_product_attention(
            query, key, value, scale=p.scale, **options, **arrays
        )

    def train(
        query: Any, key: Any, value: Any, grad: Any, arrays: dict[str, Any]
    ) -> Any:
        out, pull = jax.vjp(partial(attend, arrays=arrays), query, key, value)
        return (out, *pull(grad))

    query = _array(inputs.query)
    others: tuple[Any, ...] = (arrays,)
    if inputs.grad_out is not None:
        others = (_array(inputs.grad_out), arrays)
    turns = [
        (query, _array(key), _array(value), *others)
        for key, value in inputs.keys_values
    ]
    return _call(train if p.backward else attend, turns, heads_first=True)


def _additive_arrays(inputs: Inputs) -> dict[str, Any]:
    """What the formula is handed over beside query, key and value."""
    assert inputs.vector is not None
    mask = inputs.masks.theirs["attn_mask"]
    arrays = {"vector": jnp.asarray(inputs.vector.numpy())}
    if mask is not None:
        arrays["mask"] = jnp.asarray(mask.numpy())
    return arrays


def _additive(
    p: Problem, query: Any, key: Any, value: Any, vector: Any, mask: Any = None
) -> Any:
    """The formula as it stands, for XLA to make the best of."""
    sums = query[:, :, None] + key[:, None]  # (batch, queries, keys, heads, dim)
    scores = (jnp.tanh(sums) * vector).sum(-1).transpose(0, 3, 1, 2)
    scores = scores if p.scale is None else scores * p.scale
    if p.causal:
        later = jnp.triu(jnp.ones(scores.shape[-2:], bool), 1)
        scores = jnp.where(later, -jnp.inf, scores)
    if mask is not None and mask.dtype == bool:
        scores = jnp.where(mask, scores, -jnp.inf)
    elif mask is not None:
        scores = scores + mask
    weights = jax.nn.softmax(scores, axis=-1)
    return jnp.einsum("bhqk,bkhd->bqhd", weights, value)


def _masks(p: Problem, inputs: Inputs) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is compiled in, and what is handed over."""
    masks = inputs.masks
    given = p.documents or p.mask or p.bias or p.alibi or p.block != (0, 0)
    if not given and not masks.shifted:
        options: dict[str, Any] = {"is_causal": p.causal}
        if p.window != (-1, -1):
            left, right = (size if size >= 0 else p.kv_length for size in p.window)
            options["local_window_size"] = (left, right)
        if masks.kv_lengths is None:
            return options, {}
        lengths = masks.kv_lengths.to(torch.int32)
        return options, {"key_value_seq_lengths": jnp.asarray(lengths.numpy())}
    mask = masks.theirs["attn_mask"]
    options = {"is_causal": masks.theirs["is_causal"]}
    if mask is None:
        return options, {}
    name = "mask" if mask.dtype == torch.bool else "bias"
    return options, {name: jnp.asarray(full_mask(mask, p).numpy())}


def layer_call(p: Problem, inputs: LayerInputs) -> LocalCall:
    """Out; with backward also the gradients of x and of the parameters."""
    parameters = {
        name: jnp.asarray(one.numpy()) for name, one in inputs.parameters.items()
    }

    def forward(x: Any, weights: dict[str, Any]) -> Any:
        rows = x @ weights["in_proj_weight"].T + weights["in_proj_bias"]
        heads = rows.reshape(p.batch, p.q_length, 3, p.q_heads, p.key_dim)
        query, key, value = (heads[:, :, number] for number in range(3))
        out = jax.nn.dot_product_attention(query, key, value, is_causal=p.causal)
        rows = out.reshape(x.shape)
        return rows @ weights["out_proj.weight"].T + weights["out_proj.bias"]

    def train(x: Any, weights: dict[str, Any], grad: Any) -> Any:
        out, pull = jax.vjp(forward, x, weights)
        grad_x, grads = pull(grad)
        return (out, grad_x, *(grads[name] for name in sorted(grads)))

    x, grad = jnp.asarray(inputs.x.numpy()), jnp.asarray(inputs.grad.numpy())
    if p.backward:
        return _call(train, [(x, parameters, grad)], heads_first=False)
    return _call(forward, [(x, parameters)], heads_first=False)


def _array(tensor: torch.Tensor) -> Any:
    return jnp.array(jax.dlpack.from_dlpack(tensor.transpose(1, 2).contiguous()))


def _call(
    function: Callable[..., Any], turns: list[tuple[Any, ...]], *, heads_first: bool
) -> LocalCall:
    compiled = jax.jit(function)
    cycle = itertools.cycle(turns)

    def run() -> Any:
        return jax.block_until_ready(compiled(*next(cycle)))

    def read(results: Any) -> Results:
        every = results if isinstance(results, tuple) else (results,)
        tensors = (torch.from_dlpack(one) for one in every)
        if heads_first:
            return tuple(one.transpose(1, 2) for one in tensors)
        return tuple(tensors)

    return LocalCall(run, read)
