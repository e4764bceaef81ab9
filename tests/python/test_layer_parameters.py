"""The parameters of layers: names, first values, views of the caller's, copies."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import attn
from attn import AttnError, Status
from needs import torch_or_skip

E, H, F = 8, 2, 12


def names(layer):
    return {name: array.shape for name, array in layer.parameters.items()}


def test_names_are_those_of_torch():
    assert names(attn.MultiheadAttention(E, H)) == {
        "in_proj_weight": (24, 8),
        "in_proj_bias": (24,),
        "out_proj.weight": (8, 8),
        "out_proj.bias": (8,),
    }
    layer = attn.MultiheadAttention(E, H, bias=False, add_bias_kv=True, kdim=5, vdim=6)
    assert names(layer) == {
        "q_proj_weight": (8, 8),
        "k_proj_weight": (8, 5),
        "v_proj_weight": (8, 6),
        "bias_k": (1, 1, 8),
        "bias_v": (1, 1, 8),
        "out_proj.weight": (8, 8),
    }
    stack = attn.TransformerStack(2, E, H, F, groups=1, cross=True, final_norm=True)
    parts = {name.rpartition(".")[0] for name in names(stack)}
    assert parts == {
        "norm",
        *(
            f"layers.0.{name}"
            for name in (
                "self_attn",
                "self_attn.out_proj",
                "multihead_attn",
                "multihead_attn.out_proj",
                "linear1",
                "linear2",
                "norm1",
                "norm2",
                "norm3",
            )
        ),
    }


def test_first_values():
    """Uniform and normal within what torch draws them from; biases 0, norms 1."""
    layer = attn.MultiheadAttention(256, 4, add_bias_kv=True, seed=3)
    p = layer.parameters
    for name, bound in (
        ("in_proj_weight", (6 / 1024) ** 0.5),
        ("out_proj.weight", 1 / 16),
    ):
        assert 0.99 * bound < np.abs(p[name]).max() <= bound
        assert abs(p[name].std() - bound / 3**0.5) < 0.02 * bound
    for name in ("bias_k", "bias_v"):
        assert abs(p[name].std() * 16 - 1) < 0.2
    for name in ("in_proj_bias", "out_proj.bias"):
        assert not p[name].any()
    stack = attn.TransformerStack(1, 64, 4, 256, gated=True, final_norm=True, seed=3)
    p = stack.parameters
    for name, inputs in (("linear1", 64), ("gate", 64), ("linear2", 256)):
        for what in ("weight", "bias"):
            array = p[f"layers.0.{name}.{what}"]
            assert 0.9 < np.abs(array).max() * inputs**0.5 <= 1
    for name in ("layers.0.norm1", "layers.0.norm2", "norm"):
        assert (p[f"{name}.weight"] == 1).all()
        assert not p[f"{name}.bias"].any()


def test_a_seed_decides_first_values():
    one, two, three, four = (
        attn.MultiheadAttention(E, H, seed=seed).parameters["in_proj_weight"]
        for seed in (1, 1, None, None)
    )
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(three, four)


def test_transposed_vectors_are_copied(normal):
    """Of weights alone the library takes the transpose."""
    layer = attn.MultiheadAttention(E, H, relative=True, seed=1).eval()
    x, positions = normal(3, 1, E), (normal(6, E), 3)
    expected = layer(x, x, x, positions=positions)[0]
    state = {
        name: np.asfortranarray(array) if array.ndim == 2 else array
        for name, array in layer.state_dict().items()
    }
    layer.load_state_dict(state)
    found = layer(x, x, x, positions=positions)[0]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_step_of_training(normal):
    """As one would write it; other arrays cannot be put in by assignment."""
    layer = attn.MultiheadAttention(E, H, seed=1)
    x = normal(3, 2, E)
    before = {name: array.copy() for name, array in layer.parameters.items()}
    arrays = dict(layer.parameters)
    layer.backward(layer(x, x, x)[0])
    for name in layer.parameters:
        layer.parameters[name] -= 0.1 * layer.grads[name]
        layer.grads[name] *= 0
    for name, array in layer.parameters.items():
        assert array is arrays[name]
        assert not layer.grads[name].any()
        assert not np.array_equal(array, before[name])
    with pytest.raises(TypeError, match="load_state_dict"):
        layer.parameters["in_proj_bias"] = before["in_proj_bias"]
    with pytest.raises(KeyError):
        layer.grads["other"] = x


def test_values_of_a_state_dict_are_used_where_they_are(normal):
    layer = attn.MultiheadAttention(E, H, seed=1).eval()
    big = normal(30, 20)
    state = {
        **layer.state_dict(),
        "in_proj_weight": big[2:26, 4:12],
        "out_proj.weight": normal(E, E).T,  # transposed, which BLAS knows
    }
    x = normal(3, 1, E)
    assert layer.load_state_dict(state) == ([], [])
    for name, array in state.items():
        assert np.shares_memory(layer.parameters[name], array)
        assert np.shares_memory(layer.state_dict()[name], array)
    one, _ = layer(x, x, x)
    copied = attn.MultiheadAttention(E, H).eval()
    copied.load_state_dict({n: np.ascontiguousarray(a) for n, a in state.items()})
    np.testing.assert_allclose(copied(x, x, x)[0], one, atol=1e-6)
    big *= 2
    two, _ = layer(x, x, x)
    assert not np.allclose(one, two)


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.astype(np.float64),
        lambda a: a.astype(np.float16).astype(np.float64),
        lambda a: np.repeat(a, 2, axis=1)[:, ::2],
        lambda a: a[::-1].copy()[::-1],
        lambda a: a.astype(">f4"),
    ],
)
def test_other_types_and_strides_are_copied(normal, change):
    layer = attn.MultiheadAttention(E, H, seed=1)
    value = change(normal(24, E))
    layer.load_state_dict({**layer.state_dict(), "in_proj_weight": value})
    found = layer.parameters["in_proj_weight"]
    assert found.dtype == np.float32
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, value.astype(np.float32))
    x = normal(3, 1, E)
    layer(x, x, x)


def test_rows_that_share_memory_are_copied(normal):
    layer = attn.MultiheadAttention(E, H, seed=1)
    row = normal(1, E)
    value = np.broadcast_to(row, (24, E))
    layer.load_state_dict({"in_proj_weight": value}, strict=False)
    assert not np.shares_memory(layer.parameters["in_proj_weight"], row)
    np.testing.assert_array_equal(layer.parameters["in_proj_weight"], value)


def test_tensors_of_torch(normal):
    torch = torch_or_skip()
    layer = attn.MultiheadAttention(E, H, seed=1).eval()
    weight = torch.nn.Parameter(torch.from_numpy(normal(24, E)))
    bias = torch.from_numpy(normal(24)).bfloat16()
    layer.load_state_dict(
        {"in_proj_weight": weight, "in_proj_bias": bias}, strict=False
    )
    assert np.shares_memory(layer.parameters["in_proj_weight"], weight.detach().numpy())
    np.testing.assert_array_equal(
        layer.parameters["in_proj_bias"], bias.float().numpy()
    )
    x = torch.from_numpy(normal(3, 2, E))
    output, weights = layer(x, x, x)
    assert isinstance(output, torch.Tensor)
    assert isinstance(weights, torch.Tensor)
    layer.train()
    layer(x, x, x)
    assert isinstance(layer.backward(output).grad_query, torch.Tensor)
    with pytest.raises(AttnError, match=r"query requires a gradient.*attn\.torch"):
        layer(x.requires_grad_(), x, x)


def test_missing_unknown_and_misshaped_names(normal):
    layer = attn.MultiheadAttention(E, H, seed=1)
    state = layer.state_dict()
    before = {name: array.copy() for name, array in state.items()}
    wrong = {**state, "other": 1, "more": 2}
    del wrong["in_proj_bias"], wrong["out_proj.bias"]
    with pytest.raises(
        AttnError,
        match=r"missing: in_proj_bias, out_proj\.bias; unknown: other, more$",
    ) as error:
        layer.load_state_dict(wrong)
    assert error.value.status is Status.INVALID
    result = layer.load_state_dict(wrong, strict=False)
    assert result.missing_keys == ["in_proj_bias", "out_proj.bias"]
    assert result.unexpected_keys == ["other", "more"]
    for value, reason in (
        (normal(8, 24), r"in_proj_weight has shape \(8, 24\): expected \(24, 8\)"),
        (np.zeros((24, 8), int), "in_proj_weight is int64"),
        ([1.0], "in_proj_weight is of type list"),
    ):
        for strict in (True, False):
            with pytest.raises(AttnError, match=reason):
                layer.load_state_dict({**state, "in_proj_weight": value}, strict)
    for name, array in before.items():
        np.testing.assert_array_equal(layer.parameters[name], array)


def test_parameters_cannot_be_put_in_place_by_hand():
    layer = attn.MultiheadAttention(E, H)
    for mapping in (layer.parameters, layer.grads):
        with pytest.raises(TypeError):
            mapping["in_proj_bias"] = np.zeros(24, np.float32)


def test_gradients_add_up(normal):
    layer = attn.MultiheadAttention(E, H, seed=1)
    x, grad = normal(3, 2, E), normal(3, 2, E)
    assert not any(array.any() for array in layer.grads.values())
    layer(x, x, x)
    layer.backward(grad)
    once = {name: array.copy() for name, array in layer.grads.items()}
    assert all(array.any() for name, array in once.items())
    layer(x, x, x)
    layer.backward(grad)
    for name, array in layer.grads.items():
        np.testing.assert_allclose(array, 2 * once[name], rtol=1e-5, atol=1e-6)
    layer.zero_grad()
    assert not any(array.any() for array in layer.grads.values())


def test_a_step_of_an_optimiser(normal):
    """What is written to a parameter counts in the next call."""
    stack = attn.TransformerStack(2, E, H, F, seed=1)
    x, wanted = normal(4, 5, E), normal(4, 5, E)
    losses = []
    for _ in range(40):
        difference = stack(x) - wanted
        losses.append(np.square(difference).mean())
        stack.zero_grad()
        stack.backward(2 * difference / difference.size)
        for name, array in stack.parameters.items():
            np.subtract(array, 0.5 * stack.grads[name], out=array)
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda a: pickle.loads(pickle.dumps(a))]
)
def test_copies_have_parameters_of_their_own(normal, duplicate):
    layer = attn.MultiheadAttention(E, H, batch_first=True, dropout=0.5, seed=1)
    x = normal(2, 3, E)
    layer(x, x, x)
    other = duplicate(layer)
    with pytest.raises(AttnError, match="no forward call"):
        other.backward(x)
    layer.backward(x)
    one, two = (a(x, x, x, dropout_seed=1)[0] for a in (layer, other))
    np.testing.assert_array_equal(one, two)
    other.parameters["in_proj_weight"][...] = 0
    assert layer.parameters["in_proj_weight"].any()
    np.testing.assert_array_equal(layer(x, x, x, dropout_seed=1)[0], one)
