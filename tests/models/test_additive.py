"""Additive attention beside the formula by torch's operations, a decoder, and Keras.

The formula makes a tanh of each feature of each pair, in float64.
"""

from __future__ import annotations

import pytest

from needs import torch_or_skip

torch = torch_or_skip()

import attn.torch  # noqa: E402
from gradients import parameters, same_gradients, widened  # noqa: E402

UNITS = 32  # of the alignment model

additive = attn.torch.additive_attention


def tensors(*shapes):
    """Random parameters, the same in every run."""
    return parameters(23, *shapes)


def formula(query, key, value, vector, allowed=None, scale=1.0):
    """Out and weights; query has as many heads as key."""
    tanhs = (query[..., :, None, :] + key[..., None, :, :]).tanh()
    scores = scale * (tanhs @ vector[..., None, :, None]).squeeze(-1)
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -torch.inf)
    weights = scores.softmax(dim=-1)
    return weights @ value, weights


# batch, heads, queries, keys, dim, dim of values
SIZES = [(2, 4, 1, 50, 32, 24), (2, 3, 33, 65, 16, 16), (1, 2, 150, 200, 40, 8)]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("masks", ["none", "causal", "padding", "both"])
def test_the_formula(sizes, masks):
    batch, heads, queries, keys, dim, value_dim = sizes
    inputs = tensors(
        (batch, heads, queries, dim),
        (batch, heads, keys, dim),
        (batch, heads, keys, value_dim),
        (heads, dim),
    )
    options = {}
    allowed = torch.ones(batch, 1, queries, keys, dtype=torch.bool)
    if masks in ("causal", "both"):
        options.update(is_causal=True, query_offsets=20)
        allowed = allowed.tril(20)
    if masks in ("padding", "both"):
        options["kv_lengths"] = torch.arange(keys, keys - 7 * batch, -7)
        allowed = allowed & (
            torch.arange(keys) < options["kv_lengths"][:, None, None, None]
        )
    wide = widened(inputs)
    got = additive(*inputs, **options, return_weights=True)
    wanted, weights = formula(*wide, allowed)
    torch.testing.assert_close(got.weights.double(), weights, rtol=1e-4, atol=1e-5)
    same_gradients(got.out, wanted, inputs, wide)


def test_grouped_heads_one_vector_and_a_scale():
    inputs = tensors((2, 6, 20, 16), (2, 2, 30, 16), (2, 2, 30, 8), (16,))
    wide = widened(inputs)
    query, *pairs, vector = wide
    pairs = [x.repeat_interleave(3, dim=1) for x in pairs]
    wanted, _ = formula(query, *pairs, vector[None], scale=0.7)
    got = additive(*inputs, scale=0.7, enable_gqa=True)
    same_gradients(got, wanted, inputs, wide)


def test_gradcheck():
    """torch's own check: numerical gradients, undefined ones, the same ones again."""
    inputs = tensors((1, 2, 3, 4), (1, 2, 5, 4), (1, 2, 5, 3), (2, 4))
    with pytest.warns(UserWarning, match="double precision"):
        assert torch.autograd.gradcheck(
            additive, inputs, eps=5e-3, atol=5e-3, rtol=5e-3
        )


def test_gradients_of_some_inputs():
    """The vector alone, or all but it: they get what they get when all do."""
    inputs = tensors((1, 2, 3, 4), (1, 2, 5, 4), (1, 2, 5, 3), (2, 4))
    all_of_them = torch.autograd.grad(additive(*inputs).square().sum(), inputs)
    for alone in (True, False):
        copies = [
            tensor.detach().clone().requires_grad_((tensor is inputs[3]) == alone)
            for tensor in inputs
        ]
        additive(*copies).square().sum().backward()
        for copy, wanted in zip(copies, all_of_them):
            if copy.requires_grad:
                assert torch.equal(copy.grad, wanted)
            else:
                assert copy.grad is None


def test_a_vector_that_requires_a_gradient_is_for_autograd():
    query = torch.zeros(1, 2, 3, 4)
    (vector,) = tensors((2, 4))
    with pytest.raises(attn.AttnError, match="score_vector requires a gradient"):
        attn.additive_attention(query, query, query, vector)
    with pytest.raises(attn.AttnError, match="score_vector is None"):
        additive(query, query, query, None)


# ---------------------------------------------------------------- Bahdanau et al.


class Decoder(torch.nn.Module):
    """RNNsearch: each step attends the annotations of a bidirectional encoder."""

    def __init__(self, attention, words=20, size=24):
        super().__init__()
        self.attention = attention
        self.embedding = torch.nn.Embedding(words, size)
        self.encoder = torch.nn.GRU(size, size, batch_first=True, bidirectional=True)
        self.start = torch.nn.Linear(size, size)
        self.of_states = torch.nn.Linear(size, UNITS)
        self.of_annotations = torch.nn.Linear(2 * size, UNITS, bias=False)
        self.vector = torch.nn.Parameter(torch.randn(UNITS) / UNITS**0.5)
        self.cell = torch.nn.GRUCell(3 * size, size)
        self.words = torch.nn.Linear(3 * size, words)

    def forward(self, source, lengths, target):
        """Logits of the next words, and alignments (batch, steps, source)."""
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            self.embedding(source), lengths, batch_first=True, enforce_sorted=False
        )
        annotations, _ = torch.nn.utils.rnn.pad_packed_sequence(
            self.encoder(packed)[0], batch_first=True, total_length=source.shape[1]
        )
        state = self.start(annotations[:, 0, annotations.shape[2] // 2 :]).tanh()
        keys = self.of_annotations(annotations)  # once for all steps
        logits, alignments = [], []
        for word in self.embedding(target).unbind(1):
            context, weights = self.attention(
                self.of_states(state)[:, None], keys, annotations, self.vector, lengths
            )
            state = self.cell(torch.cat([word, context[:, 0]], dim=-1), state)
            logits.append(self.words(torch.cat([state, context[:, 0]], dim=-1)))
            alignments.append(weights[:, 0])
        return torch.stack(logits, dim=1), torch.stack(alignments, dim=1)


def by_attn(query, key, value, vector, lengths):
    """(batch, length, dim) are one head each."""
    heads = (x[:, None] for x in (query, key, value))
    result = additive(*heads, vector, kv_lengths=lengths, return_weights=True)
    return result.out[:, 0], result.weights[:, 0]


def by_torch(query, key, value, vector, lengths):
    allowed = torch.arange(key.shape[1]) < lengths[:, None, None]
    return formula(query, key, value, vector[None], allowed)


def test_a_decoder_aligns_and_learns_as_with_torch():
    torch.manual_seed(4)
    ours = Decoder(by_attn)
    exact = Decoder(by_torch).double()
    exact.load_state_dict(ours.state_dict())
    source, target = torch.randint(0, 20, (3, 17)), torch.randint(0, 20, (3, 9))
    lengths = torch.tensor([17, 5, 11])
    results = []
    for model in (ours, exact):
        logits, alignments = model(source, lengths, target)
        # Alignments have a part in the loss, as where they are supervised.
        loss = torch.nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1), target[:, 1:].flatten()
        )
        (loss + alignments.square().sum()).backward()
        results.append((logits.double(), alignments.double()))
    (logits, alignments), (wanted, weights) = results
    torch.testing.assert_close(alignments, weights, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(logits, wanted, rtol=1e-4, atol=1e-5)
    assert not alignments[1, :, 5:].any()
    for (name, one), two in zip(ours.named_parameters(), exact.parameters()):
        assert two.grad.any(), name
        torch.testing.assert_close(
            one.grad.double(), two.grad, rtol=1e-4, atol=1e-5, msg=name
        )


# --------------------------------------------------------------------------- Keras


@pytest.fixture
def keras(monkeypatch, tmp_path):
    """Keras on torch, without what it writes into the home directory."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    keras = pytest.importorskip("keras", reason="keras is not installed")
    assert keras.backend.backend() == "torch"
    return keras


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("use_scale", [False, True])
def test_keras(keras, use_scale, causal):
    """Its scale is the score vector, its masks are bool masks and is_causal."""
    query, value, key, scale = (
        tensor.detach() for tensor in tensors((2, 9, 16), (2, 12, 24), (2, 12, 16), 16)
    )
    mask = torch.arange(12) < torch.tensor([[12], [7]])
    layer = keras.layers.AdditiveAttention(use_scale=use_scale)
    layer.build([query.shape, value.shape, key.shape])
    if use_scale:
        layer.scale.assign(scale)
    wanted, weights = layer(
        [query, value, key],
        mask=[None, mask],
        return_attention_scores=True,
        use_causal_mask=causal,
    )
    got = attn.additive_attention(
        query[:, None],
        key[:, None],
        value[:, None],
        scale if use_scale else torch.ones(16),
        attn_mask=mask[:, None, None],
        is_causal=causal,
        return_weights=True,
    )
    torch.testing.assert_close(got.out[:, 0], wanted.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        got.weights[:, 0], weights.detach(), rtol=1e-4, atol=1e-6
    )
