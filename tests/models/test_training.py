"""A small Transformer learns with attn.torch what it learns with torch's attention."""

from __future__ import annotations

import pytest

from needs import torch_or_skip

torch = torch_or_skip()

import attn.torch  # noqa: E402

WORDS, LENGTH, DIM, HEADS, KV_HEADS = 40, 48, 32, 4, 2


class Block(torch.nn.Module):
    """Attention with grouped heads and a learnt bias, then two layers."""

    def __init__(self, attention):
        super().__init__()
        self.attention = attention
        size = DIM // HEADS
        self.norms = torch.nn.ModuleList([torch.nn.LayerNorm(DIM) for _ in range(2)])
        self.query = torch.nn.Linear(DIM, HEADS * size)
        self.key_value = torch.nn.Linear(DIM, 2 * KV_HEADS * size)
        self.out = torch.nn.Linear(HEADS * size, DIM)
        self.bias = torch.nn.Parameter(torch.zeros(HEADS, LENGTH, LENGTH))
        self.hidden = torch.nn.Sequential(
            torch.nn.Linear(DIM, 4 * DIM),
            torch.nn.GELU(),
            torch.nn.Linear(4 * DIM, DIM),
        )

    def forward(self, x):
        def heads(y, n):
            return y.unflatten(-1, (n, -1)).transpose(1, 2)

        y = self.norms[0](x)
        query = heads(self.query(y), HEADS)
        key, value = (heads(z, KV_HEADS) for z in self.key_value(y).chunk(2, dim=-1))
        y = self.attention(query, key, value, self.bias)
        x = x + self.out(y.transpose(1, 2).flatten(2))
        return x + self.hidden(self.norms[1](x))


class Model(torch.nn.Module):
    """Two blocks that predict the next word."""

    def __init__(self, attention):
        super().__init__()
        self.embedding = torch.nn.Embedding(WORDS, DIM)
        self.positions = torch.nn.Parameter(torch.randn(LENGTH, DIM) / 10)
        self.blocks = torch.nn.Sequential(Block(attention), Block(attention))

    def loss(self, words):
        x = self.blocks(self.embedding(words) + self.positions)
        scores = x @ self.embedding.weight.T
        return torch.nn.functional.cross_entropy(
            scores[:, :-1].flatten(0, 1), words[:, 1:].flatten()
        )


def train(attention, steps, seed=3):
    """The loss of each step, from the same start and on the same words."""
    torch.manual_seed(seed)
    model = Model(attention)
    words = torch.randint(WORDS, (4, LENGTH))
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(steps):
        loss = model.loss(words)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses, model


def with_attn(query, key, value, bias, **options):
    return attn.torch.scaled_dot_product_attention(
        query, key, value, bias, is_causal=True, enable_gqa=True, **options
    )


def with_torch(query, key, value, bias):
    allowed = torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril()
    return torch.nn.functional.scaled_dot_product_attention(
        query, key, value, bias.masked_fill(~allowed, -torch.inf), enable_gqa=True
    )


def test_the_losses_are_those_of_torch():
    ours, model = train(with_attn, 20)
    theirs, rival = train(with_torch, 20)
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert ours[-1] < 0.6 * ours[0]
    for block, other in zip(model.blocks, rival.blocks):
        # Not those of query 0: it attends one key, its gradient is 0 but for rounding
        # errors, and AdamW makes steps out of whatever it gets.
        one, two = block.bias[:, 1:], other.bias[:, 1:]
        torch.testing.assert_close(one, two, rtol=1e-2, atol=1e-3)
        assert one.abs().max() > 0.01


def test_training_with_dropout_repeats_itself():
    def attention(*inputs):
        return with_attn(*inputs, dropout_p=0.2)

    one, _ = train(attention, 10)
    two, _ = train(attention, 10)
    other, _ = train(attention, 10, seed=4)
    assert one == two
    assert one != other
    assert one[-1] < 0.8 * one[0]
