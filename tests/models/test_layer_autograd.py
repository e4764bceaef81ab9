"""Layers of attn.torch are good citizens among torch's modules."""

from __future__ import annotations

import copy
import io
import itertools

import numpy as np
import pytest

from needs import torch_or_skip

torch = torch_or_skip()

import attn.torch  # noqa: E402
from attn import AttnError, _layer_call  # noqa: E402
from layer_judge import randomise, sequences  # noqa: E402

N, L, S, E, H, F = 2, 7, 9, 16, 4, 24

# With packed weights sums may run in another order.
ROUNDING = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture
def layer():
    return randomise(attn.torch.MultiheadAttention(E, H, batch_first=True))


@pytest.fixture
def stack():
    return randomise(attn.torch.TransformerStack(2, E, H, F, cross=True))


@pytest.fixture
def states(monkeypatch):
    """Whether each forward call kept a state."""
    seen = []
    real = _layer_call._put_state

    def put_state(frame, state):
        seen.append(True)
        return real(frame, state)

    monkeypatch.setattr(_layer_call, "_put_state", put_state)
    return seen


def test_nothing_is_kept_where_nothing_is_asked_for(layer, states):
    x = torch.randn(N, L, E)
    with torch.no_grad():
        assert layer(x, x, x)[0].grad_fn is None
    with torch.inference_mode():
        assert layer(x, x, x)[0].grad_fn is None
    layer.requires_grad_(False)
    assert layer(x, x, x)[0].grad_fn is None
    assert not states
    assert layer(x.requires_grad_(), x, x)[0].grad_fn is not None
    assert states


def test_packed_weights_until_a_parameter_is_written():
    """Of so many features and rows that they are read with every BLAS."""
    wide, rows = 128, 9
    layer = randomise(attn.torch.MultiheadAttention(wide, H, batch_first=True))
    x = torch.randn(N, rows, wide)
    with torch.no_grad():
        expected = layer(x, x, x)[0]
        layer.pack_weights()
        torch.testing.assert_close(layer(x, x, x)[0], expected, **ROUNDING)
        if layer._packed.packed.memory[1] == 0:
            pytest.skip("kernels that have no use for packed weights")
        layer.in_proj_weight.numpy()[...] = np.nan  # which torch does not see
        unseen = layer(x, x, x)[0]
        torch.testing.assert_close(unseen, expected, **ROUNDING)
        copied = copy.deepcopy(layer)
        assert copied(x, x, x)[0].isnan().all()
        layer.out_proj.weight.mul_(2)
        assert layer(x, x, x)[0].isnan().all()
        layer.in_proj_weight.fill_(0.5)
        layer.pack_weights()
        packed = layer(x, x, x)[0]
        layer.in_proj_weight.numpy()[...] = np.nan
        torch.testing.assert_close(layer(x, x, x)[0], packed)
        layer.in_proj_weight = torch.nn.Parameter(torch.full((3 * wide, wide), 0.5))
        torch.testing.assert_close(layer(x, x, x)[0], packed, **ROUNDING)
        layer.pack_weights(False)
        layer.in_proj_weight.fill_(np.nan)
        assert layer(x, x, x)[0].isnan().all()


def test_packed_weights_until_training_or_other_memory(layer):
    """No new memory can lie where that of before lay, which is not freed."""
    x = torch.randn(N, L, E)
    with torch.no_grad():
        layer.pack_weights()
        packed = [parameter.data_ptr() for parameter in layer.parameters()]
        for _ in range(2):
            for parameter in layer.parameters():
                parameter.data = parameter.data * 1.5
            expected = copy.deepcopy(layer)(x, x, x)[0]
            torch.testing.assert_close(layer(x, x, x)[0], expected)
        # nothing new can lie there
        assert {tensor.data_ptr() for tensor in layer._packed.held} == set(packed)
        layer.pack_weights().train()
        for parameter in layer.parameters():
            parameter.data.mul_(1.5)  # as fused optimisers do, past torch's count
        expected = copy.deepcopy(layer.eval())(x, x, x)[0]
        torch.testing.assert_close(layer(x, x, x)[0], expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_gradients_with_another_default_dtype(layer, dtype):
    x = torch.randn(N, L, E)
    layer(x, x, x)[0].square().sum().backward()
    wanted = {name: one.grad for name, one in layer.named_parameters()}
    layer.zero_grad()
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(dtype)
        layer(x, x, x)[0].square().sum().backward()
    finally:
        torch.set_default_dtype(before)
    for name, parameter in layer.named_parameters():
        torch.testing.assert_close(parameter.grad, wanted[name])


def test_parameters_that_are_the_negative_of_their_memory(layer):
    x = torch.randn(N, L, E)
    weight = layer.in_proj_weight.detach()
    with torch.no_grad():
        negative = {"in_proj_weight": torch._neg_view(weight)}
        found = torch.func.functional_call(layer, negative, (x, x, x))[0]
        plain = {"in_proj_weight": -weight}
        expected = torch.func.functional_call(layer, plain, (x, x, x))[0]
        torch.testing.assert_close(found, expected)


class _Twice(torch.nn.Module):
    def forward(self, weight):
        return 2 * weight


def test_parameters_are_where_they_are_now(layer):
    """Those that were moved, replaced, or are computed."""
    x = torch.randn(N, L, E)
    weight = layer.out_proj.weight.detach()

    def results(weight):
        fresh = copy.deepcopy(layer)
        fresh.out_proj = torch.nn.Linear(E, E)
        fresh.out_proj.weight, fresh.out_proj.bias = (
            torch.nn.Parameter(weight.clone()),
            layer.out_proj.bias,
        )
        return layer(x, x, x)[0], fresh(x, x, x)[0]

    with torch.no_grad():
        before = layer.pack_weights()(x, x, x)[0]
        layer.out_proj.weight.data = weight.t()
        torch.testing.assert_close(*results(weight.t()))
        layer.out_proj.weight.data = weight.clone()
        torch.testing.assert_close(layer(x, x, x)[0], before)
        layer.out_proj = torch.nn.Linear(E, E)
        torch.testing.assert_close(*results(layer.out_proj.weight))
        plain = layer.out_proj.weight.clone()
        torch.nn.utils.parametrize.register_parametrization(
            layer.out_proj, "weight", _Twice()
        )
        torch.testing.assert_close(*results(2 * plain))


def test_packed_weights_of_inference_tensors():
    with torch.inference_mode():
        layer = attn.torch.MultiheadAttention(E, H, batch_first=True)
        x = torch.randn(N, L, E)
        expected = layer(x, x, x)[0]
        torch.testing.assert_close(layer.pack_weights()(x, x, x)[0], expected)


def test_training_reads_the_parameters_themselves(layer):
    x = torch.randn(N, L, E)
    layer.pack_weights().in_proj_weight.detach().numpy()[...] = np.nan
    assert layer(x, x, x)[0].isnan().all()


def test_what_is_trained(layer):
    """Parameters and inputs that require a gradient get what they get when all do."""
    query, key, value = sequences((N, L, E), (N, S, E), (N, S, E))
    leaves = {"query": query, "key": key, "value": value}
    leaves.update(layer.named_parameters())
    layer(query, key, value)[0].square().sum().backward()
    wanted = {name: leaf.grad for name, leaf in leaves.items()}
    for chosen in itertools.combinations(leaves, 2):
        for name, leaf in leaves.items():
            leaf.grad = None
            leaf.requires_grad_(name in chosen)
        layer(query, key, value)[0].square().sum().backward()
        for name, leaf in leaves.items():
            if name in chosen:
                assert torch.equal(leaf.grad, wanted[name])
            else:
                assert leaf.grad is None


def test_gradients_of_weights_alone(layer):
    query, key, value = sequences((N, L, E), (N, S, E), (N, S, E))
    output, weights = layer(query, key, value)
    found = torch.autograd.grad(weights[..., 0].sum(), [query, key], retain_graph=True)
    both = torch.autograd.grad(
        [output, weights],
        [query, key],
        [
            torch.zeros_like(output),
            torch.zeros_like(weights).index_fill_(2, torch.tensor(0), 1),
        ],
    )
    for one, two in zip(found, both):
        assert one.any()
        assert torch.equal(one, two)


def test_a_graph_that_is_kept_gives_the_same_again(stack):
    x, memory = sequences((N, L, E), (N, S, E))
    leaves = [x, memory, *stack.parameters()]
    output = stack(x, memory).square().sum()
    one = torch.autograd.grad(output, leaves, retain_graph=True)
    for a, b in zip(one, torch.autograd.grad(output, leaves)):
        assert torch.equal(a, b)


def test_gradients_of_gradients_are_refused(layer):
    (x,) = sequences((N, L, E))
    output, _ = layer(x, x, x)
    (grad,) = torch.autograd.grad(output.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_what_was_overwritten_is_noticed(layer):
    (x,) = sequences((N, L, E))
    for victim in (x.detach(), layer.in_proj_weight.detach()):
        output, _ = layer(x, x, x)
        victim.mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            output.sum().backward()


def test_states_may_go_away_and_come_back(stack):
    """As torch's hooks for saved tensors do that offload them, to any address."""
    x, memory = sequences((N, L, E), (N, S, E))
    leaves = [x, memory, *stack.parameters()]
    wanted = torch.autograd.grad(stack(x, memory).square().sum(), leaves)

    def unpack(tensor):
        room = torch.empty(tensor.numel() + 1, dtype=tensor.dtype)
        moved = room[1:].view(tensor.shape)
        moved.copy_(tensor)
        return moved

    with torch.autograd.graph.saved_tensors_hooks(lambda x: x.clone(), unpack):
        output = stack(x, memory).square().sum()
    for one, two in zip(torch.autograd.grad(output, leaves), wanted):
        assert torch.equal(one, two)


@pytest.mark.parametrize("kind", ["layer", "stack"])
def test_torch_decides_what_is_dropped(kind):
    x = torch.randn(N, L, E)
    if kind == "layer":
        module = attn.torch.MultiheadAttention(E, H, dropout=0.5)

        def run(**options):
            return module(x, x, x, **options)[0]
    else:
        module = attn.torch.TransformerStack(2, E, H, F, attention_dropout=0.5)

        def run(**options):
            return module(x, **options)

    torch.manual_seed(1)
    one, two = run(), run()
    torch.manual_seed(1)
    assert torch.equal(run(), one)
    assert torch.equal(run(), two)
    assert not torch.equal(one, two)
    before = torch.get_rng_state()
    assert torch.equal(run(dropout_seed=7), run(dropout_seed=7))
    module.eval()
    assert torch.equal(run(), run())
    assert torch.equal(torch.get_rng_state(), before)


def test_checkpoints():
    """What is computed again for the gradients drops the same weights."""
    stack = randomise(attn.torch.TransformerStack(2, E, H, F, attention_dropout=0.5))
    (x,) = sequences((N, L, E))
    found = []
    for again in (False, True):
        torch.manual_seed(2)
        if again:
            output = torch.utils.checkpoint.checkpoint(stack, x, use_reentrant=False)
        else:
            output = stack(x)
        leaves = [x, *stack.parameters()]
        found.append(torch.autograd.grad(output.square().sum(), leaves))
    for one, two in zip(*found):
        assert torch.equal(one, two)


def test_copies_and_files(stack):
    x, memory = (a.detach() for a in sequences((N, L, E), (N, S, E)))
    wanted = stack(x, memory)
    file = io.BytesIO()
    torch.save(stack, file)
    file.seek(0)
    for other in (copy.deepcopy(stack), torch.load(file, weights_only=False)):
        assert torch.equal(other(x, memory), wanted)
        next(other.parameters()).data.zero_()
        assert not torch.equal(other(x, memory), wanted)
    assert torch.equal(stack(x, memory), wanted)


def test_first_values_are_drawn_as_torch_draws_them():
    torch.manual_seed(4)
    theirs = torch.nn.MultiheadAttention(256, 4, add_bias_kv=True)
    torch.manual_seed(4)
    ours = attn.torch.MultiheadAttention(256, 4, add_bias_kv=True)
    torch.manual_seed(4)
    again = attn.torch.MultiheadAttention(256, 4, add_bias_kv=True)
    for name, parameter in theirs.named_parameters():
        found = ours.get_parameter(name)
        assert torch.equal(found, again.get_parameter(name))
        spread = parameter.std()
        assert abs(found.std() - spread) <= 0.1 * spread
        assert abs(found.abs().max() - parameter.abs().max()) <= 0.3 * spread * 3
    layer = torch.nn.TransformerEncoderLayer(256, 4, 512)
    block = attn.torch.TransformerStack(1, 256, 4, 512).layers[0]
    for name, parameter in layer.named_parameters():
        spread = parameter.std()
        assert abs(block.get_parameter(name).std() - spread) <= 0.2 * spread


def test_parameters_that_are_shared():
    """Two layers with the same weights: the gradient is the sum."""
    one, two = (randomise(attn.torch.TransformerStack(1, E, H, F)) for _ in range(2))
    one.layers[0].linear1.weight = two.layers[0].linear1.weight
    apart = copy.deepcopy(one), copy.deepcopy(two)
    (x,) = sequences((N, L, E))
    for first, second in ((one, two), apart):
        second(first(x)).square().sum().backward()
    shared, mine, others = (s.layers[0].linear1.weight for s in (one, *apart))
    torch.testing.assert_close(shared.grad, mine.grad + others.grad)


def test_other_ways_to_give_parameters(layer):
    x = torch.randn(N, L, E)
    wanted = layer(x, x, x)[0]
    other = {name: 2 * p.detach() for name, p in layer.named_parameters()}
    doubled = torch.func.functional_call(layer, other, (x, x, x))[0]
    assert not torch.allclose(doubled, wanted)
    assert torch.equal(layer(x, x, x)[0], wanted)
    transposed = layer.out_proj.weight.detach().T.contiguous().T
    turned = {**dict(layer.named_parameters()), "out_proj.weight": transposed}
    same = torch.func.functional_call(layer, turned, (x, x, x))[0]
    torch.testing.assert_close(same, wanted)
    torch.nn.utils.parametrizations.weight_norm(layer.out_proj, "weight")
    torch.testing.assert_close(layer(x, x, x)[0], wanted)
    layer(x, x, x)[0].sum().backward()
    assert all(p.grad is not None for p in layer.parameters())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_are_named(layer, dtype):
    x = torch.randn(N, L, E)
    with pytest.raises(AttnError, match=f"query is {str(dtype)[6:]}"):
        layer(x.to(dtype), x, x)
    layer.to(dtype)
    with pytest.raises(AttnError, match=f"in_proj_weight is {str(dtype)[6:]}"):
        layer(x, x, x)


def test_what_is_no_tensor():
    """Numpy arrays and lists are copied, as for the functions of attn.torch."""
    stack = randomise(attn.torch.TransformerStack(2, E, H, F, cross=True))
    x, memory = sequences((N, L, E), (N, S, E))
    mask = np.tril(np.ones((L, L), bool))
    one = stack(x, memory, attn_mask=mask, memory_kv_lengths=[3, 9])
    two = stack(
        x,
        memory,
        attn_mask=torch.from_numpy(mask),
        memory_kv_lengths=torch.tensor([3, 9]),
    )
    assert torch.equal(one, two)
    wanted = torch.autograd.grad(two.sum(), x)
    mask[...] = False
    assert torch.equal(torch.autograd.grad(one.sum(), x)[0], wanted[0])


def test_learning():
    """A stack and torch's encoder, from the same start, lose the same."""
    theirs = torch.nn.TransformerEncoder(
        torch.nn.TransformerEncoderLayer(E, H, F, 0.0, batch_first=True),
        2,
        enable_nested_tensor=False,
    )
    ours = attn.torch.TransformerStack(2, E, H, F)
    ours.load_state_dict(theirs.state_dict())
    generator = torch.Generator().manual_seed(8)
    x, wanted = (torch.randn(8, L, E, generator=generator) for _ in range(2))
    losses = []
    for model in (ours, theirs):
        optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
        found = []
        for _ in range(60):
            loss = (model(x) - wanted).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            found.append(loss.item())
        losses.append(found)
    assert losses[0][-1] < 0.7 * losses[0][0]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)
