"""The example llama beside transformers: a model of theirs in a file of llama2.c.

ATTN_LLAMA names the program. What it finds likeliest must be what transformers does,
token by token, with the cache in float32.
"""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

from needs import torch_or_skip

torch = torch_or_skip()
transformers = pytest.importorskip("transformers")

PROGRAM = os.environ.get("ATTN_LLAMA")
if PROGRAM is None:
    pytest.skip("ATTN_LLAMA does not name the program", allow_module_level=True)

NEW = 60
CONTEXT = 140
PROMPTS = [
    [1],
    [1, 17, 3, 99, 127, 2, 44],
    [int(i) for i in np.random.default_rng(3).integers(3, 128, 41)],
    [int(i) for i in np.random.default_rng(4).integers(3, 128, 80)],
]
SHAPES = {
    "grouped": {"num_hidden_layers": 3, "num_key_value_heads": 2},
    "one": {"num_hidden_layers": 2, "num_key_value_heads": 1},
    "own classifier": {
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "tie_word_embeddings": False,
    },
}


def made(shape):
    """A random model in float64, whose layers say more than the embedding does."""
    config = transformers.LlamaConfig(
        vocab_size=128,
        hidden_size=64,
        intermediate_size=172,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT,
        rms_norm_eps=1e-5,
        **{"tie_word_embeddings": True, **shape},
    )
    torch.manual_seed(1)
    model = transformers.LlamaForCausalLM(config).double().eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 1:
                weight.uniform_(0.7, 1.3)
            else:
                size = 0.1 if "embed" in name else 1.5 * weight.shape[1] ** -0.5
                weight.normal_(std=size)
    return model


def neighbours(weight, heads):
    """Rows so that pairs that turn together are neighbours, not half a head apart."""
    rows, columns = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, columns)
    return halves.transpose(1, 2).reshape(rows, columns)


def write(model, path):
    """Version 0 of llama2.c's files."""
    config = model.config
    shared = config.tie_word_embeddings
    kinds = config.vocab_size if shared else -config.vocab_size
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    layers = model.model.layers
    head_dim = config.hidden_size // heads
    tables = torch.full((2, CONTEXT, head_dim // 2), float("nan"))  # to be skipped
    parts = [
        model.model.embed_tokens.weight,
        *(layer.input_layernorm.weight for layer in layers),
        *(neighbours(layer.self_attn.q_proj.weight, heads) for layer in layers),
        *(neighbours(layer.self_attn.k_proj.weight, kv_heads) for layer in layers),
        *(layer.self_attn.v_proj.weight for layer in layers),
        *(layer.self_attn.o_proj.weight for layer in layers),
        *(layer.post_attention_layernorm.weight for layer in layers),
        *(layer.mlp.gate_proj.weight for layer in layers),
        *(layer.mlp.down_proj.weight for layer in layers),
        *(layer.mlp.up_proj.weight for layer in layers),
        model.model.norm.weight,
        tables,
        *([] if shared else [model.lm_head.weight]),
    ]
    with path.open("wb") as file:
        file.write(
            struct.pack(
                "<7i",
                config.hidden_size,
                config.intermediate_size,
                len(layers),
                heads,
                kv_heads,
                kinds,
                CONTEXT,
            )
        )
        for part in parts:
            file.write(part.detach().numpy().astype("<f4").tobytes())


def rounded(model):
    """The model whose weights are those of the file, which has float32."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.float())
    return model


def theirs(model, prompt):
    """The likeliest tokens, and how far each was ahead of the next."""
    out = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt)),
        max_new_tokens=NEW,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
        return_dict_in_generate=True,
        output_scores=True,
    )
    top = torch.stack([score[0].topk(2).values for score in out.scores])
    return out.sequences[0].tolist(), (top[:, 0] - top[:, 1]).tolist()


def ours(path, prompt, *options):
    """What the program writes."""
    ids = ",".join(map(str, prompt))
    command = [PROGRAM, path, f"--ids={ids}", "--tokens", "--go-on", f"--length={NEW}"]
    command += ["--temperature=0", *options]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [int(word) for word in done.stdout.split()]


@pytest.fixture(scope="module", params=SHAPES)
def known(request, tmp_path_factory):
    """A model's file, and for each prompt what transformers finds."""
    model = rounded(made(SHAPES[request.param]))
    path: Path = tmp_path_factory.mktemp("llama") / "model.bin"
    write(model, path)
    return path, [theirs(model, prompt) for prompt in PROMPTS]


@pytest.mark.parametrize("number", range(len(PROMPTS)))
def test_likeliest_tokens(known, number):
    path, found = known
    prompt = PROMPTS[number]
    wanted, ahead = found[number]
    assert len(wanted) == len(prompt) + NEW
    assert len(set(wanted[len(prompt) :])) > 8  # a loop of few would show nothing
    assert min(ahead) > 1e-4  # nor may rounding decide
    assert ours(path, prompt) == wanted
    assert ours(path, prompt, "--chunk=3") == wanted


@pytest.mark.parametrize(
    ("cache", "error"), [("f16", 0.005), ("bf16", 0.05), ("i8", 0.05)]
)
def test_smaller_caches(known, cache, error):
    """Up to the first choice that is closer than what rounding may move."""
    path, found = known
    compared = 0
    for prompt, (wanted, ahead) in zip(PROMPTS, found):
        clear = next((i for i, gap in enumerate(ahead) if gap < error), NEW)
        end = len(prompt) + clear
        assert ours(path, prompt, f"--cache={cache}")[:end] == wanted[:end]
        compared += clear
    assert compared >= 10
