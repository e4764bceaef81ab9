"""Stacks beside models of transformers with random weights: BERT and its like."""

from __future__ import annotations

import pytest

from needs import torch_or_skip

torch = torch_or_skip()
transformers = pytest.importorskip("transformers")

from twins import Twin, block, check, compare, linear, named  # noqa: E402

BATCH, LENGTH, DIM, HEADS, FEED, LAYERS = 3, 21, 64, 4, 112, 3
MEMORY = 17


def ids(length=LENGTH, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, 50, (BATCH, length), generator=generator)


def padding(length=LENGTH, seed=1):
    """Lengths, and the mask that models take: 1 where there is a token."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, length + 1, (BATCH,), generator=generator)
    lengths[0] = length
    return lengths, (torch.arange(length) < lengths[:, None]).long()


def made(kind, config):
    """A model with weights large enough that everything has a say, as judge."""
    torch.manual_seed(5)
    model = kind(config).double().eval()
    for name, parameter in model.named_parameters():
        if "norm" not in name.lower() and "ln_" not in name:
            torch.nn.init.normal_(parameter, std=0.15)
        else:
            torch.nn.init.normal_(parameter, mean=1 if "weight" in name else 0, std=0.1)
    return model


def shape(**more):
    return {
        "embed_dim": DIM,
        "num_heads": HEADS,
        "dim_feedforward": FEED,
        "layers": LAYERS,
        **more,
    }


def bert_options(**more):
    return shape(activation="gelu", eps=1e-12, **more)


def bert():
    config = transformers.BertConfig(
        hidden_size=DIM,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=FEED,
        vocab_size=50,
    )
    model = made(transformers.BertModel, config)
    lengths, mask = padding()
    layers = model.encoder.layer

    def run():
        return model(input_ids=ids(), attention_mask=mask).last_hidden_state

    blocks = [
        {
            **block(
                layer.attention.self.query,
                layer.attention.self.key,
                layer.attention.self.value,
                layer.attention.output.dense,
            ),
            **named(
                linear1=layer.intermediate.dense,
                linear2=layer.output.dense,
                norm1=layer.attention.output.LayerNorm,
                norm2=layer.output.LayerNorm,
            ),
        }
        for layer in layers
    ]
    call = {"kv_lengths": lengths}
    return Twin(model, run, layers[0], blocks, bert_options(), call)


def albert():
    config = transformers.AlbertConfig(
        hidden_size=DIM,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=FEED,
        embedding_size=16,
        vocab_size=50,
    )
    model = made(transformers.AlbertModel, config)
    lengths, mask = padding()
    layer = model.encoder.albert_layer_groups[0].albert_layers[0]

    def run():
        return model(input_ids=ids(), attention_mask=mask).last_hidden_state

    blocks = [
        {
            **block(
                layer.attention.query,
                layer.attention.key,
                layer.attention.value,
                layer.attention.dense,
            ),
            **named(
                linear1=layer.ffn,
                linear2=layer.ffn_output,
                norm1=layer.attention.LayerNorm,
                norm2=layer.full_layer_layer_norm,
            ),
        }
    ]
    options = shape(activation="gelu_tanh", eps=1e-12, groups=1)
    return Twin(model, run, layer, blocks, options, {"kv_lengths": lengths})


def gpt2():
    config = transformers.GPT2Config(
        n_embd=DIM, n_layer=LAYERS, n_head=HEADS, n_inner=FEED, vocab_size=50
    )
    model = made(transformers.GPT2Model, config)

    def run():
        return model(input_ids=ids()).last_hidden_state

    blocks = [
        {
            **block(layer.attn.c_attn, None, None, layer.attn.c_proj, turned=True),
            **named(linear1=layer.mlp.c_fc, linear2=layer.mlp.c_proj, turned=True),
            **named(norm1=layer.ln_1, norm2=layer.ln_2),
        }
        for layer in model.h
    ]
    options = shape(activation="gelu_tanh", norm_first=True, final_norm=True)
    return Twin(
        model,
        run,
        model.h[0],
        blocks,
        options,
        {"is_causal": True},
        final=named(norm=model.ln_f),
    )


def vit():
    """Patches of 16 x 16 and a class token: 197 tokens."""
    config = transformers.ViTConfig(
        hidden_size=DIM,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=FEED,
    )
    model = made(transformers.ViTModel, config)
    generator = torch.Generator().manual_seed(2)
    pixels = torch.randn(2, 3, 224, 224, generator=generator, dtype=torch.float64)

    def run():
        output = model(pixel_values=pixels).last_hidden_state
        assert output.shape[1] == 197
        return output

    blocks = [
        {
            **block(
                layer.attention.q_proj,
                layer.attention.k_proj,
                layer.attention.v_proj,
                layer.attention.o_proj,
            ),
            **named(
                linear1=layer.mlp.fc1,
                linear2=layer.mlp.fc2,
                norm1=layer.layernorm_before,
                norm2=layer.layernorm_after,
            ),
        }
        for layer in model.layers
    ]
    options = bert_options(norm_first=True, final_norm=True)
    final = named(norm=model.layernorm)
    return Twin(model, run, model.layers[0], blocks, options, final=final)


def llama():
    """Grouped heads, rotary positions, RMS norms, a gate."""
    config = transformers.LlamaConfig(
        hidden_size=DIM,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=2,
        intermediate_size=FEED,
        vocab_size=50,
    )
    model = made(transformers.LlamaModel, config)

    def run():
        return model(input_ids=ids()).last_hidden_state

    blocks = [
        {
            **block(
                layer.self_attn.q_proj,
                layer.self_attn.k_proj,
                layer.self_attn.v_proj,
                layer.self_attn.o_proj,
            ),
            **named(
                gate=layer.mlp.gate_proj,
                linear1=layer.mlp.up_proj,
                linear2=layer.mlp.down_proj,
                norm1=layer.input_layernorm,
                norm2=layer.post_attention_layernorm,
            ),
        }
        for layer in model.layers
    ]
    options = shape(
        num_kv_heads=2,
        rotary_dim=DIM // HEADS,
        bias=False,
        activation="silu",
        gated=True,
        norm="rms",
        norm_first=True,
        final_norm=True,
        eps=config.rms_norm_eps,
    )
    return Twin(
        model,
        run,
        model.layers[0],
        blocks,
        options,
        {"is_causal": True},
        final=named(norm=model.norm),
    )


@pytest.mark.parametrize("make", [bert, albert, gpt2, vit, llama])
def test_blocks_and_their_gradients(make):
    check(compare(make()))


@pytest.mark.parametrize("make", [bert, albert, gpt2, llama])
def test_the_same_with_recomputation(make):
    twin = make()
    twin.options["recompute"] = True
    check(compare(twin))


# ------------------------------------------------------------ encoder and decoder


def bart_block(layer, decoder):
    def attention(module, name="self_attn"):
        return block(module.q_proj, module.k_proj, module.v_proj, module.out_proj, name)

    found = {
        **attention(layer.self_attn),
        **named(linear1=layer.fc1, linear2=layer.fc2, norm1=layer.self_attn_layer_norm),
    }
    if decoder:
        found |= attention(layer.encoder_attn, "multihead_attn")
        return found | named(
            norm2=layer.encoder_attn_layer_norm, norm3=layer.final_layer_norm
        )
    return found | named(norm2=layer.final_layer_norm)


def bart():
    config = transformers.BartConfig(
        d_model=DIM,
        encoder_layers=LAYERS,
        decoder_layers=LAYERS,
        encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS,
        encoder_ffn_dim=FEED,
        decoder_ffn_dim=FEED,
        vocab_size=50,
    )
    return made(transformers.BartModel, config)


def test_the_encoder_of_bart():
    encoder = bart().encoder
    lengths, mask = padding()

    def run():
        return encoder(input_ids=ids(), attention_mask=mask).last_hidden_state

    blocks = [bart_block(layer, decoder=False) for layer in encoder.layers]
    options = shape(activation="gelu")
    call = {"kv_lengths": lengths}
    check(compare(Twin(encoder, run, encoder.layers[0], blocks, options, call)))


def test_the_decoder_of_bart():
    decoder = bart().decoder
    lengths, mask = padding(MEMORY)
    generator = torch.Generator().manual_seed(3)
    memory = torch.randn(BATCH, MEMORY, DIM, generator=generator, dtype=torch.float64)
    memory.requires_grad_()

    def run():
        return decoder(
            input_ids=ids(),
            encoder_hidden_states=memory,
            encoder_attention_mask=mask,
        ).last_hidden_state

    blocks = [bart_block(layer, decoder=True) for layer in decoder.layers]
    options = shape(activation="gelu", cross=True)
    call = {"is_causal": True, "memory_kv_lengths": lengths}
    twin = Twin(decoder, run, decoder.layers[0], blocks, options, call)
    check(compare(twin, memory))


def t5(gated):
    config = transformers.T5Config(
        d_model=DIM,
        d_kv=DIM // HEADS,
        num_heads=HEADS,
        d_ff=FEED,
        num_layers=LAYERS,
        num_decoder_layers=LAYERS,
        vocab_size=50,
        feed_forward_proj="gated-gelu" if gated else "relu",
    )
    model = made(transformers.T5Model, config)
    options = shape(
        bias=False,
        activation="gelu_tanh" if gated else "relu",
        gated=gated,
        norm="rms",
        norm_first=True,
        final_norm=True,
        eps=config.layer_norm_epsilon,
    )
    return model, options


def t5_block(layer, gated, decoder):
    def attention(module, name="self_attn"):
        return block(module.q, module.k, module.v, module.o, name)

    feed = layer.layer[-1]
    found = attention(layer.layer[0].SelfAttention) | named(
        norm1=layer.layer[0].layer_norm
    )
    if decoder:
        found |= attention(layer.layer[1].EncDecAttention, "multihead_attn")
        found |= named(norm2=layer.layer[1].layer_norm, norm3=feed.layer_norm)
    else:
        found |= named(norm2=feed.layer_norm)
    dense = feed.DenseReluDense
    if gated:
        return found | named(gate=dense.wi_0, linear1=dense.wi_1, linear2=dense.wo)
    return found | named(linear1=dense.wi, linear2=dense.wo)


def t5_twin(stack, options, gated, decoder, run, call, bidirectional):
    blocks = [t5_block(layer, gated, decoder) for layer in stack.block]
    attention = stack.block[0].layer[0].SelfAttention
    # one table for all blocks, whose gradient is the sum over them
    table = attention.relative_attention_bias.weight
    return Twin(
        stack,
        run,
        stack.block[0],
        blocks,
        options,
        {"scale": 1.0, "relative_bias": (128, bidirectional), **call},
        final=named(norm=stack.final_layer_norm),
        tables={"relative_bias": table},
    )


@pytest.mark.parametrize("gated", [False, True])
def test_the_encoder_of_t5(gated):
    model, options = t5(gated)
    lengths, mask = padding(60)

    def run():
        output = model.encoder(input_ids=ids(60), attention_mask=mask)
        return output.last_hidden_state

    call = {"kv_lengths": lengths}
    check(compare(t5_twin(model.encoder, options, gated, False, run, call, True)))


def test_the_decoder_of_t5():
    model, options = t5(False)
    lengths, mask = padding(MEMORY)
    generator = torch.Generator().manual_seed(4)
    memory = torch.randn(BATCH, MEMORY, DIM, generator=generator, dtype=torch.float64)
    memory.requires_grad_()

    def run():
        return model.decoder(
            input_ids=ids(60),
            encoder_hidden_states=memory,
            encoder_attention_mask=mask,
        ).last_hidden_state

    options = {**options, "cross": True}
    call = {"is_causal": True, "memory_scale": 1.0, "memory_kv_lengths": lengths}
    twin = t5_twin(model.decoder, options, False, True, run, call, False)
    check(compare(twin, memory))


def test_what_a_twin_is_made_of():
    """The helpers put weights where they belong."""
    layer = torch.nn.Linear(3, 2)
    turned = transformers.pytorch_utils.Conv1D(2, 3)
    assert linear(layer)["weight"].value.shape == (2, 3)
    assert linear(turned, turned=True)["weight"].value.shape == (2, 3)
    assert linear(layer, layer)["bias"].value.shape == (4,)
