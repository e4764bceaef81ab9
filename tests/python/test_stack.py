"""TransformerStack and attention_rollout through numpy, against float64."""

from __future__ import annotations

import numpy as np
import pytest

import attn
import layers
from attn import AttnError

N, L, S, E, H, F, BLOCKS = 2, 7, 9, 16, 4, 24, 3

KINDS = {
    "encoder": {},
    "norm first": {"norm_first": True, "final_norm": True},
    "gelu": {"activation": "gelu", "eps": 1e-3},
    "gelu by tanh": {"activation": "gelu_tanh", "norm_first": True},
    "one group": {"groups": 1},
    "two groups": {"groups": 2, "final_norm": True},
    "without biases": {"bias": False},
    "some biases": {"bias": False, "input_bias": True, "norm_bias": True},
    "other biases": {"output_bias": False, "feed_forward_bias": False},
    "llama": {
        "activation": "silu",
        "gated": True,
        "norm": "rms",
        "norm_first": True,
        "final_norm": True,
        "bias": False,
        "num_kv_heads": 2,
        "rotary_dim": 4,
    },
    "gated, with biases": {"activation": "gelu", "gated": True},
    "rms with biases": {"norm": "rms", "norm_bias": True},
    "decoder": {"cross": True, "final_norm": True},
    "decoder, norm first": {"cross": True, "norm_first": True, "memory_dim": 10},
    "decoder of groups": {"cross": True, "groups": 2, "num_kv_heads": 1},
    "mean of heads": {"combine": "mean", "value_dim": 6},
    "slices": {"project": "slices", "head_dim": 6},
}

LENGTHS = np.array([L, 4])
PADDING = np.arange(S) < np.array([[9], [5]])


def made(options, **more):
    """A stack whose every parameter has a say, and its parameters in float64."""
    return layers.with_a_say(
        attn.TransformerStack(BLOCKS, E, H, F, seed=1, **options, **more)
    )


def exact(state, x, memory, options, own=None, memory_options=None):
    """The reference of a stack with these options."""
    of_stack = ("groups", "activation", "norm_first", "eps")
    of_heads = ("num_kv_heads", "combine", "head_dim")
    return layers.stack(
        state,
        np.float64(x),
        None if memory is None else np.float64(memory),
        H,
        BLOCKS,
        kind=options.get("norm", "layer"),
        shared={name: options[name] for name in of_heads if name in options},
        own={"rotary_dim": options.get("rotary_dim", 0), **(own or {})},
        memory_options=memory_options,
        **{name: options[name] for name in of_stack if name in options},
    )


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("recompute", [False, True])
def test_kinds_of_stacks(normal, rng, close, name, masked, recompute):
    options = KINDS[name]
    stack, state = made(options, recompute=recompute)
    leaves = {"input": normal(N, L, E)}
    if options.get("cross"):
        leaves["memory"] = normal(N, S, options.get("memory_dim", E))
    own, of_memory = {}, {}
    if masked:
        own = {"is_causal": True, "kv_lengths": LENGTHS}
        if options.get("cross"):
            of_memory = {"attn_mask": PADDING[:, None, None], "scale": 0.4}

    def run(p):
        p = {**state, **leaves, **p}
        x, memory = p.pop("input"), p.pop("memory", None)
        return exact(p, x, memory, options, own, of_memory)

    asked = {"return_weights": True, "return_mean_weights": True}
    if options.get("cross"):
        asked |= {"return_memory_weights": True, "return_memory_mean_weights": True}
    told = {**own, **{f"memory_{option}": x for option, x in of_memory.items()}}
    r = stack(**leaves, **told, **asked)
    wanted, weights, memory_weights = run({})
    close(r.output, wanted)
    close(r.weights, np.stack(weights))
    close(r.mean_weights, np.stack(weights).mean(axis=2))
    if options.get("cross"):
        close(r.memory_weights, np.stack(memory_weights))
        close(r.memory_mean_weights, np.stack(memory_weights).mean(axis=2))

    grad = normal(*r.output.shape)
    found = stack.backward(grad)
    assert found._fields == ("grad_input", "grad_memory")
    grads = {**stack.grads, **dict(zip(leaves, found))}
    layers.check_gradients(lambda p: run(p)[0], {**state, **leaves}, grads, grad, rng)


def test_asking_for_weights_changes_no_bit(normal):
    stack, _ = made({})
    x = normal(N, L, E)
    one = stack(x)
    assert isinstance(one, np.ndarray)
    two = stack(x, return_weights=True)
    assert two._fields == ("output", "weights")
    np.testing.assert_array_equal(two.output, one)


def test_recomputation_gives_the_same_bits(normal):
    x, grad = normal(N, L, E), normal(N, L, E)
    found = []
    for recompute in (False, True):
        stack, _ = made({}, recompute=recompute, attention_dropout=0.3)
        output = stack(x, dropout_seed=3)
        found.append((output, stack.backward(grad).grad_input, *stack.grads.values()))
    for one, two in zip(*found):
        np.testing.assert_array_equal(one, two)


def test_a_table_for_all_blocks(normal, rng, close):
    """The gradient of what blocks share is the sum over them."""
    stack, state = made({"cross": True})
    x, memory, table = normal(N, L, E), normal(N, S, E), normal(8, H)
    mask = normal(L, S)

    def run(p):
        table = (p["relative_bias"], 16, True)
        own, of_memory = {"relative_bias": table}, {"attn_mask": p["memory_attn_mask"]}
        return exact(state, x, memory, {}, own, of_memory)[0]

    leaves = {"relative_bias": table, "memory_attn_mask": mask}
    output = stack(x, memory, relative_bias=(table, 16, True), memory_attn_mask=mask)
    close(output, run(leaves))
    grad = normal(*output.shape)
    found = stack.backward(grad, wanted=leaves)
    assert found._fields[2:] == ("grad_relative_bias", "grad_memory_attn_mask")
    layers.check_gradients(run, leaves, dict(zip(leaves, found[2:])), grad, rng)


def test_relative_positions(normal, close):
    """Transformer-XL: each block projects the encodings by its own weight."""
    stack, state = made({"relative": True})
    x, encodings = normal(N, L, E), normal(2 * L, E)
    output = stack(x, positions=(encodings, L))
    keys = {
        number: (encodings @ state[f"layers.{number}.self_attn.r_proj_weight"].T)
        .reshape(-1, H, E // H)
        .swapaxes(0, 1)
        for number in range(BLOCKS)
    }
    wanted = np.float64(x)
    for number in range(BLOCKS):
        one = {
            name.replace(f"layers.{number}.", "layers.0."): value
            for name, value in state.items()
            if name.startswith(f"layers.{number}.")
        }
        own = {
            "relative_keys": (keys[number], L),
            "content_bias": one["layers.0.self_attn.r_w_bias"],
            "position_bias": one["layers.0.self_attn.r_r_bias"],
        }
        wanted, _, _ = layers.stack(one, wanted, None, H, 1, own=own)
    close(output, wanted)


def test_a_sequence_without_a_batch(normal):
    stack, _ = made({"cross": True})
    x, memory = normal(N, L, E), normal(N, S, E)
    every = stack(x, memory, is_causal=True)
    r = stack(x[1], memory[1], is_causal=True, return_weights=True)
    np.testing.assert_allclose(r.output, every[1], atol=1e-5)
    assert r.weights.shape == (BLOCKS, H, L, L)
    found = stack.backward(r.output)
    assert found.grad_input.shape == (L, E)
    assert found.grad_memory.shape == (S, E)


def test_dropout_differs_from_block_to_block(normal):
    stack, _ = made({"groups": 1}, attention_dropout=0.5)
    x = normal(N, L, E)
    one, two = (stack(x, dropout_seed=5) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(stack(x), stack(x))
    stack.eval()
    np.testing.assert_array_equal(stack(x), stack(x))


def test_reproducible_sequences(normal):
    options = {"norm_first": True, "gated": True, "activation": "silu"}
    stack = attn.TransformerStack(2, 64, 4, 96, reproducible=True, seed=1, **options)
    x = normal(17, 5, 64)
    every = stack(x)
    for part in (slice(0, 1), slice(3, 9)):
        np.testing.assert_array_equal(stack(x[part]), every[part])


@pytest.mark.parametrize(
    ("options", "call", "reason"),
    [
        ({}, {"memory": np.zeros((N, S, E), np.float32)}, "cross=False"),
        ({"cross": True}, {}, "memory is missing"),
        ({}, {"memory_kv_lengths": [1, 2]}, "memory_kv_lengths is given, but cross"),
        ({}, {"window_size": 3}, "forward has no option window_size"),
        ({}, {"return_memory_weights": True}, "memory_weights are asked for"),
        ({}, {"offsets": 3}, "offsets is given, but rotary_dim is 0"),
        ({}, {"positions": (np.zeros((3, E), np.float32), 0)}, "not relative"),
    ],
)
def test_what_a_call_may_not_have(normal, options, call, reason):
    stack, _ = made(options)
    with pytest.raises(AttnError, match=reason):
        stack(normal(N, L, E), **call)


def test_errors_of_memory_name_it(normal):
    stack, _ = made({"cross": True})
    with pytest.raises(AttnError, match=r"^memory_kv_lengths has shape \(3,\)"):
        stack(normal(N, L, E), normal(N, S, E), memory_kv_lengths=[1, 2, 3])
    with pytest.raises(AttnError, match="forward has no option memory_window_size"):
        stack(normal(N, L, E), normal(N, S, E), memory_window_size=3)


@pytest.mark.parametrize(
    ("arguments", "options", "reason"),
    [
        ((0, E, H, F), {}, "layers is 0"),
        ((2, E, H, 0), {}, "dim_feedforward is 0"),
        ((2, 15, H, F), {}, "embed_dim is 15"),
        ((2, E, H, F), {"groups": 3}, "groups is 3"),
        ((2, E, H, F), {"activation": "tanh"}, "activation is 'tanh': expected"),
        ((2, E, H, F), {"norm": None}, "norm is None: expected one of 'layer', 'rms'"),
        ((2, E, H, F), {"eps": 0}, "eps is 0"),
        ((2, E, H, F), {"memory_dim": 4}, "memory_dim is 4, but cross is False"),
        ((2, E, H, F), {"attention_dropout": 1.5}, "dropout is 1.5"),
        ((2, E, H, F), {"segments": True}, "segments=True, but relative is False"),
    ],
)
def test_what_a_stack_may_not_be(arguments, options, reason):
    with pytest.raises(AttnError, match=reason):
        attn.TransformerStack(*arguments, **options)


# ---------------------------------------------------------------- rollout


def test_rollout(rng):
    weights = rng.random((5, 3, 40, 40)).astype(np.float32)
    weights /= weights.sum(axis=-1, keepdims=True)
    got = attn.attention_rollout(weights)
    wanted = np.broadcast_to(np.eye(40), (3, 40, 40))
    for matrix in np.float64(weights):
        wanted = (matrix + np.eye(40)) / 2 @ wanted
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-8)
    np.testing.assert_array_equal(attn.attention_rollout(weights[:, 1]), got[1])
    turned = np.ascontiguousarray(weights.swapaxes(2, 3)).swapaxes(2, 3)
    np.testing.assert_array_equal(attn.attention_rollout(turned), got)


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        (np.zeros((3, 4), np.float32), r"shape \(3, 4\)"),
        (np.zeros((3, 4, 5), np.float32), r"shape \(3, 4, 5\)"),
        (np.zeros((3, 4, 4)), "mean_weights is float64"),
    ],
)
def test_what_has_no_rollout(weights, reason):
    with pytest.raises(AttnError, match=reason):
        attn.attention_rollout(weights)
