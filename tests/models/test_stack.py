"""Stacks beside torch's encoders and decoders, with their state dicts as they are."""

from __future__ import annotations

import pytest

from needs import torch_or_skip

torch = torch_or_skip()

import attn.torch  # noqa: E402
from layer_judge import compare, distance, exact, randomise, sequences  # noqa: E402

N, L, S, E, H, F, BLOCKS = 3, 19, 23, 32, 4, 56, 3

NORMS = pytest.mark.parametrize(
    ("norm_first", "final"), [(False, False), (False, True), (True, True)]
)
ACTIVATION = pytest.mark.parametrize("activation", ["relu", "gelu"])
RECOMPUTE = pytest.mark.parametrize("recompute", [False, True])

CAUSAL = torch.ones(L, L, dtype=torch.bool).triu(1)
LENGTHS = torch.tensor([L, 7, 12])
PADDING = torch.arange(L) >= LENGTHS[:, None]
_generator = torch.Generator().manual_seed(3)
OF_PAIRS = torch.rand(L, S, generator=_generator) < 0.3
OF_MEMORY = torch.rand(N, S, generator=_generator) < 0.3
OF_PAIRS[:, 0] = OF_MEMORY[:, 0] = False


def encoder(activation, norm_first, final, bias=True):
    layer = torch.nn.TransformerEncoderLayer(
        E, H, F, 0.0, activation, norm_first=norm_first, batch_first=True, bias=bias
    )
    norm = torch.nn.LayerNorm(E, bias=bias) if final else None
    model = torch.nn.TransformerEncoder(layer, BLOCKS, norm, enable_nested_tensor=False)
    return randomise(model)


def decoder(activation, norm_first, final, bias=True):
    layer = torch.nn.TransformerDecoderLayer(
        E, H, F, 0.0, activation, norm_first=norm_first, batch_first=True, bias=bias
    )
    norm = torch.nn.LayerNorm(E, bias=bias) if final else None
    return randomise(torch.nn.TransformerDecoder(layer, BLOCKS, norm))


def stack_of(model, **options):
    """The stack with the parameters of a model of torch."""
    stack = attn.torch.TransformerStack(BLOCKS, E, H, F, **options)
    stack.load_state_dict(model.state_dict())
    return stack


@NORMS
@ACTIVATION
@RECOMPUTE
@pytest.mark.parametrize("masked", [False, True])
def test_encoders(norm_first, final, activation, recompute, masked):
    model = encoder(activation, norm_first, final)
    stack = stack_of(
        model,
        activation=activation,
        norm_first=norm_first,
        final_norm=final,
        recompute=recompute,
    )
    judge = exact(model)
    mine = {"is_causal": True, "kv_lengths": LENGTHS} if masked else {}
    theirs = {"mask": CAUSAL, "src_key_padding_mask": PADDING} if masked else {}
    compare(
        lambda x: stack(x, **mine),
        lambda x: judge(x, **theirs),
        sequences((N, L, E)),
        stack,
        judge,
    )


@NORMS
@ACTIVATION
@RECOMPUTE
@pytest.mark.parametrize("masked", [False, True])
def test_decoders(norm_first, final, activation, recompute, masked):
    """Causal, padding and cross masks together."""
    model = decoder(activation, norm_first, final)
    stack = stack_of(
        model,
        activation=activation,
        norm_first=norm_first,
        final_norm=final,
        recompute=recompute,
        cross=True,
    )
    judge = exact(model)
    mine, theirs = {}, {}
    if masked:
        mine = {
            "is_causal": True,
            "kv_lengths": LENGTHS,
            "memory_attn_mask": ~OF_PAIRS,
            "memory_block_mask": (~OF_MEMORY[:, None, None], L, 1),
        }
        theirs = {
            "tgt_mask": CAUSAL,
            "tgt_key_padding_mask": PADDING,
            "memory_mask": OF_PAIRS,
            "memory_key_padding_mask": OF_MEMORY,
        }
    compare(
        lambda x, memory: stack(x, memory, **mine),
        lambda x, memory: judge(x, memory, **theirs),
        sequences((N, L, E), (N, S, E)),
        stack,
        judge,
    )


@pytest.mark.parametrize("make", [encoder, decoder])
def test_without_biases(make):
    model = make("relu", False, True, bias=False)
    cross = make is decoder
    stack = stack_of(model, bias=False, final_norm=True, cross=cross)
    judge = exact(model)
    shapes = [(N, L, E), (N, S, E)] if cross else [(N, L, E)]
    compare(stack, judge, sequences(*shapes), stack, judge)


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_one_block(kind):
    """The state dict of a layer of torch is that of layers.0."""
    make = {"encoder": encoder, "decoder": decoder}[kind]
    layer = exact(make("gelu", False, False).layers[0])
    stack = attn.torch.TransformerStack(
        1, E, H, F, activation="gelu", cross=kind == "decoder"
    )
    state = {f"layers.0.{name}": x.float() for name, x in layer.state_dict().items()}
    stack.load_state_dict(state)
    inputs = [x.detach() for x in sequences((N, L, E), (N, S, E))]
    inputs = inputs[: 2 if kind == "decoder" else 1]
    got, wanted = stack(*inputs), layer(*(x.double() for x in inputs))
    assert distance(got.detach(), wanted.detach()) <= 1e-5


def test_a_whole_transformer():
    """torch.nn.Transformer: its encoder, and its decoder on what that makes."""
    model = randomise(
        torch.nn.Transformer(E, H, BLOCKS, BLOCKS, F, 0.0, batch_first=True)
    )
    parts = [
        stack_of(part, final_norm=True, cross=cross)
        for part, cross in ((model.encoder, False), (model.decoder, True))
    ]
    ours = torch.nn.ModuleDict(dict(zip(("encoder", "decoder"), parts)))
    judge = exact(model)

    def run(source, target):
        memory = ours.encoder(source)
        return ours.decoder(target, memory, is_causal=True)

    compare(
        run,
        lambda source, target: judge(source, target, tgt_mask=CAUSAL),
        sequences((N, S, E), (N, L, E)),
        ours,
        judge,
    )


def test_a_float_mask_for_all_blocks():
    """Its gradient is the sum over the blocks."""
    model = encoder("gelu", True, True)
    stack = stack_of(model, activation="gelu", norm_first=True, final_norm=True)
    judge = exact(model)
    compare(
        lambda x, mask: stack(x, attn_mask=mask),
        lambda x, mask: judge(x, mask=mask),
        sequences((N, L, E), (L, L)),
        stack,
        judge,
    )


def test_weights_are_those_of_the_blocks():
    model = decoder("relu", False, False)
    stack = stack_of(model, cross=True).eval()
    judge = exact(model).eval()
    x, memory = (a.detach() for a in sequences((N, L, E), (N, S, E)))
    r = stack(
        x,
        memory,
        is_causal=True,
        return_weights=True,
        return_mean_weights=True,
        return_memory_weights=True,
        return_memory_mean_weights=True,
    )
    seen = []

    def wanting_weights(module, args, kwargs):
        return args, {**kwargs, "need_weights": True, "average_attn_weights": False}

    for layer in judge.layers:
        for module in (layer.self_attn, layer.multihead_attn):
            module.register_forward_pre_hook(wanting_weights, with_kwargs=True)
            module.register_forward_hook(lambda m, a, output: seen.append(output[1]))
    judge(x.double(), memory.double(), tgt_mask=CAUSAL)
    for found, wanted in (
        (r.weights, torch.stack(seen[::2])),
        (r.memory_weights, torch.stack(seen[1::2])),
    ):
        assert found.shape == wanted.shape
        assert distance(found, wanted.detach()) <= 1e-5
    assert distance(r.mean_weights, torch.stack(seen[::2]).mean(2).detach()) <= 1e-5
    wanted = torch.stack(seen[1::2]).mean(2).detach()
    assert distance(r.memory_mean_weights, wanted) <= 1e-5
    assert not any(x.requires_grad for x in r[1:])


def test_the_class_for_numpy_takes_the_same_state_dict():
    model = decoder("gelu", True, True)
    options = {"activation": "gelu", "norm_first": True, "final_norm": True}
    stack = attn.TransformerStack(BLOCKS, E, H, F, cross=True, **options)
    stack.load_state_dict(model.state_dict())
    module = stack_of(model, cross=True, **options)
    x, memory = sequences((N, L, E), (N, S, E))
    grad = torch.linspace(-1, 1, N * L * E).reshape(N, L, E)
    with torch.no_grad():
        output = stack(x, memory, is_causal=True)
        found = stack.backward(grad)
    ours = module(x, memory, is_causal=True)
    assert torch.equal(output, ours)
    wanted = torch.autograd.grad(ours, [x, memory], grad)
    for one, two in zip(found, wanted):
        assert torch.equal(one, two)
