"""Kinds of layers that torch has no module for, beside formulas in torch's operations.

The formulas are modules with the same parameters, in float64; torch's autograd gives
their gradients.
"""

from __future__ import annotations

import math

import pytest

from needs import torch_or_skip

torch = torch_or_skip()

import attn.torch  # noqa: E402
from layer_judge import compare, distance, exact, randomise, sequences  # noqa: E402

N, L, S, E, H, F = 3, 11, 14, 32, 4, 56


def rotated(x, base=10000.0):
    """Llama's rotary embedding of all features, x (batch, heads, length, dim)."""
    half = x.shape[-1] // 2
    powers = base ** (torch.arange(half, dtype=x.dtype) / half)
    angle = torch.arange(x.shape[-2], dtype=x.dtype)[:, None] / powers
    angle = torch.cat([angle, angle], dim=-1)
    turned = torch.cat([-x[..., half:], x[..., :half]], dim=-1)
    return x * angle.cos() + turned * angle.sin()


class Formula(torch.nn.Module):
    """A layer's parameters, which its formula reads by their names."""

    def __init__(self, layer):
        super().__init__()
        self.layer = exact(layer)

    def __getattr__(self, name):
        if name == "layer":
            return super().__getattr__(name)
        return getattr(self.layer, name)

    def named_parameters(self):
        return self.layer.named_parameters()


def split(x, heads):
    return x.unflatten(-1, (heads, -1)).transpose(-2, -3)


def softmax(query, key, value, allowed=None):
    """Attention; heads of keys are repeated for the heads of queries."""
    group = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(group, dim=1) for x in (key, value))
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -torch.inf)
    return torch.softmax(scores, dim=-1) @ value


class Grouped(Formula):
    """Fewer heads of keys and values than of queries, of dims of their own."""

    def forward(self, query, key, value, heads, kv_heads, dim, rotary=False):
        bounds = [heads * dim, (heads + kv_heads) * dim]
        parts = zip(
            (query, key, value),
            self.in_proj_weight.tensor_split(bounds),
            self.in_proj_bias.tensor_split(bounds),
            (heads, kv_heads, kv_heads),
        )
        q, k, v = (split(x @ w.T + b, count) for x, w, b, count in parts)
        if rotary:
            q, k = rotated(q), rotated(k)
        out = softmax(q, k, v).transpose(1, 2).flatten(2)
        return self.out_proj(out)

    def out_proj(self, x):
        out = self.layer.out_proj
        return x @ out.weight.T + out.bias


@pytest.mark.parametrize(
    ("kv_heads", "dim", "value_dim"), [(2, 8, 8), (1, 8, 8), (2, 12, 20), (4, 40, 4)]
)
@pytest.mark.parametrize("rotary", [False, True])
def test_grouped_heads(kv_heads, dim, value_dim, rotary):
    options = {"num_kv_heads": kv_heads, "head_dim": dim, "value_dim": value_dim}
    layer = attn.torch.MultiheadAttention(
        E, H, batch_first=True, rotary_dim=dim if rotary else 0, **options
    )
    formula = Grouped(randomise(layer))
    inputs = sequences((N, L, E), (N, S, E), (N, S, E))
    compare(
        lambda *x: layer(*x, need_weights=False)[0],
        lambda *x: formula(*x, H, kv_heads, dim, rotary),
        inputs,
        layer,
        formula,
    )


class Mean(Grouped):
    """The average of heads, not one beside the other."""

    def out_proj(self, x):
        return super().out_proj(x.unflatten(-1, (H, -1)).mean(dim=-2))


@pytest.mark.parametrize("value_dim", [8, 20])
def test_the_mean_of_heads(value_dim):
    layer = attn.torch.MultiheadAttention(
        E, H, batch_first=True, combine="mean", value_dim=value_dim
    )
    formula = Mean(randomise(layer))
    assert layer.out_proj.weight.shape == (E, value_dim)
    inputs = sequences((N, L, E), (N, S, E), (N, S, E))
    compare(
        lambda *x: layer(*x, need_weights=False)[0],
        lambda *x: formula(*x, H, H, E // H),
        inputs,
        layer,
        formula,
    )


class Slices(Formula):
    """Each head projects a slice of the features."""

    def forward(self, query, key, value):
        weights = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        bounds = [len(weights[0].flatten(0, 1)), len(weights[0].flatten(0, 1)) * 2]
        parts = zip(
            (query, key, value), weights, self.in_proj_bias.tensor_split(bounds)
        )
        q, k, v = (
            torch.einsum("blhe,hde->bhld", x.unflatten(-1, (H, -1)), w)
            + b.reshape(H, 1, -1)
            for x, w, b in parts
        )
        out = softmax(q, k, v).transpose(1, 2).flatten(2)
        return out @ self.layer.out_proj.weight.T + self.layer.out_proj.bias


@pytest.mark.parametrize(("kdim", "vdim"), [(None, None), (20, 12)])
def test_slices(kdim, vdim):
    layer = attn.torch.MultiheadAttention(
        E, H, batch_first=True, project="slices", kdim=kdim, vdim=vdim, head_dim=6
    )
    formula = Slices(randomise(layer))
    inputs = sequences((N, L, E), (N, S, kdim or E), (N, S, vdim or E))
    compare(
        lambda *x: layer(*x, need_weights=False)[0], formula, inputs, layer, formula
    )


# ----------------------------------------------------------------- stacks


class Llama(Formula):
    """Llama's block: RMS norms first, grouped heads, rotary positions, SwiGLU."""

    def forward(self, x, lengths, blocks, groups, kv_heads):
        eps = 1e-6
        dim = E // H
        allowed = torch.ones(L, L, dtype=torch.bool).tril()
        allowed = allowed & (torch.arange(L) < lengths[:, None, None, None])
        for number in range(blocks):
            block = self.layer.layers[number * groups // blocks]
            y = torch.nn.functional.rms_norm(x, (E,), block.norm1.weight, eps)
            bounds = [E, E + kv_heads * dim]
            weights = block.self_attn.in_proj_weight.tensor_split(bounds)
            q, k, v = (
                split(y @ w.T, heads)
                for w, heads in zip(weights, (H, kv_heads, kv_heads))
            )
            y = softmax(rotated(q), rotated(k), v, allowed).transpose(1, 2).flatten(2)
            x = x + y @ block.self_attn.out_proj.weight.T
            y = torch.nn.functional.rms_norm(x, (E,), block.norm2.weight, eps)
            y = torch.nn.functional.silu(y @ block.gate.weight.T) * (
                y @ block.linear1.weight.T
            )
            x = x + y @ block.linear2.weight.T
        return torch.nn.functional.rms_norm(x, (E,), self.layer.norm.weight, eps)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("groups", [3, 2, 1])
def test_llama(recompute, groups):
    options = {
        "activation": "silu",
        "gated": True,
        "norm": "rms",
        "norm_first": True,
        "final_norm": True,
        "eps": 1e-6,
        "bias": False,
        "num_kv_heads": 2,
        "rotary_dim": E // H,
    }
    stack = attn.torch.TransformerStack(
        3, E, H, F, groups=groups, recompute=recompute, **options
    )
    formula = Llama(randomise(stack))
    lengths = torch.tensor([L, 1, 5])
    compare(
        lambda x: stack(x, is_causal=True, kv_lengths=lengths),
        lambda x: formula(x, lengths, 3, groups, 2),
        sequences((N, L, E)),
        stack,
        formula,
    )


class Albert(torch.nn.Module):
    """torch's blocks, of which some are the same."""

    def __init__(self, groups, blocks):
        super().__init__()
        options = {"activation": "gelu", "dropout": 0.0, "batch_first": True}
        self.layers = torch.nn.ModuleList(
            torch.nn.TransformerEncoderLayer(E, H, F, **options) for _ in range(groups)
        )
        self.blocks = blocks

    def forward(self, x):
        for number in range(self.blocks):
            x = self.layers[number * len(self.layers) // self.blocks](x)
        return x


@pytest.mark.parametrize(("groups", "blocks"), [(1, 4), (2, 5), (3, 4)])
@pytest.mark.parametrize("recompute", [False, True])
def test_blocks_that_share_parameters(groups, blocks, recompute):
    theirs = randomise(Albert(groups, blocks))
    stack = attn.torch.TransformerStack(
        blocks, E, H, F, groups=groups, activation="gelu", recompute=recompute
    )
    stack.load_state_dict(theirs.state_dict())
    judge = exact(theirs)
    compare(stack, judge, sequences((N, L, E)), stack, judge)


@pytest.mark.parametrize("activation", ["relu", "gelu", "gelu_tanh", "silu"])
@pytest.mark.parametrize("gated", [False, True])
def test_activations(activation, gated):
    """One block after torch's norms, so that only the network is looked at."""
    stack = randomise(
        attn.torch.TransformerStack(1, E, H, F, activation=activation, gated=gated)
    )
    judge = exact(stack)
    functions = {"gelu_tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh")}
    f = functions.get(activation) or getattr(torch.nn.functional, activation)

    def linear(name, x):
        part = getattr(judge.layers[0], name)
        return x @ part.weight.T + part.bias

    def norm(name, x):
        part = getattr(judge.layers[0], name)
        return torch.nn.functional.layer_norm(x, (E,), part.weight, part.bias)

    def formula(x):
        attention = judge.layers[0].self_attn
        parts = (x @ attention.in_proj_weight.T + attention.in_proj_bias).chunk(3, -1)
        y = softmax(*(split(part, H) for part in parts)).transpose(1, 2).flatten(2)
        y = y @ attention.out_proj.weight.T + attention.out_proj.bias
        x = norm("norm1", x + y)
        if gated:
            y = f(linear("gate", x)) * linear("linear1", x)
        else:
            y = f(linear("linear1", x))
        return norm("norm2", x + linear("linear2", y))

    compare(stack, formula, sequences((N, L, E)), stack, judge)


def test_recomputation_gives_the_same_bits():
    found = []
    for recompute in (False, True):
        stack = randomise(
            attn.torch.TransformerStack(
                3, E, H, F, recompute=recompute, attention_dropout=0.3, cross=True
            )
        )
        x, memory = sequences((N, L, E), (N, S, E))
        output = stack(x, memory, dropout_seed=9)
        leaves = [x, memory, *stack.parameters()]
        found.append((output, *torch.autograd.grad(output.square().sum(), leaves)))
    for one, two in zip(*found):
        assert torch.equal(one, two)


@pytest.mark.parametrize("kind", ["layer", "stack"])
def test_reproducible_sequences(kind):
    """The bits of a sequence do not depend on its company, also when trained."""
    if kind == "layer":
        layer = randomise(
            attn.torch.MultiheadAttention(E, H, batch_first=True, reproducible=True)
        )

        def run(x):
            return layer(x, x, x, need_weights=False)[0]
    else:
        run = randomise(attn.torch.TransformerStack(2, E, H, F, reproducible=True))

    (x,) = sequences((40, 7, E))

    def results(part):
        output = run(part)
        (grad,) = torch.autograd.grad(output.square().sum(), part)
        return output, grad

    every = results(x)
    for part in (slice(0, 1), slice(5, 8), slice(39, 40)):
        alone = results(x[part].detach().requires_grad_())
        for one, two in zip(alone, every):
            assert torch.equal(one, two[part])


def test_rollout():
    """Abnar and Zuidema's product, from the weights of a stack."""
    stack = randomise(attn.torch.TransformerStack(4, E, H, F))
    (x,) = sequences((N, L, E))
    with torch.no_grad():
        r = stack(x, return_mean_weights=True)
    got = attn.attention_rollout(r.mean_weights)
    wanted = torch.eye(L, dtype=torch.float64)
    for matrix in r.mean_weights.double():
        wanted = (matrix + torch.eye(L)) / 2 @ wanted
    assert isinstance(got, torch.Tensor)
    assert distance(got, wanted) <= 1e-6
