"""Multi-head layers beside torch.nn.MultiheadAttention, over all of its options."""

from __future__ import annotations

import itertools
import warnings

import pytest

from needs import torch_or_skip

torch = torch_or_skip()

import attn.torch  # noqa: E402
from layer_judge import compare, distance, exact, randomise, sequences  # noqa: E402

N, L, S, E, H = 3, 11, 14, 32, 4

LAYERS = {
    "plain": {},
    "without biases": {"bias": False},
    "add_bias_kv": {"add_bias_kv": True},
    "add_zero_attn": {"add_zero_attn": True},
    "both, without biases": {
        "add_bias_kv": True,
        "add_zero_attn": True,
        "bias": False,
    },
    "kdim": {"kdim": 20},
    "kdim and vdim": {"kdim": 20, "vdim": 12, "add_bias_kv": True},
}
PAIRS = ("none", "bool", "bool of heads", "float", "float of heads")
KEYS = ("none", "bool", "float")

pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched")


def pair(options, **more):
    """The same layer of attn and of torch, the one of torch in float64."""
    theirs = randomise(torch.nn.MultiheadAttention(E, H, **options, **more))
    ours = attn.torch.MultiheadAttention(E, H, **options, **more)
    ours.load_state_dict(theirs.state_dict())
    return ours, exact(theirs)


def inputs_of(options, batch_first, same="none"):
    """query, key and value; same: which of them are one object."""
    features = (E, options.get("kdim", E), options.get("vdim", E))
    lengths = (L, L if same == "all" else S, L if same == "all" else S)
    shapes = [
        (N, length, dim) if batch_first else (length, N, dim)
        for length, dim in zip(lengths, features)
    ]
    query, key, value = sequences(*shapes)
    if same == "all":
        return [query] * 3
    return [query, key, key if same == "key" else value]


def mask_of(kind, *shapes, dtype=torch.float32):
    """A mask of torch, with a key left to every query."""
    if kind == "none":
        return None
    generator = torch.Generator().manual_seed(3)
    shape = shapes[-1] if kind.endswith("heads") else shapes[0]
    if kind.startswith("bool"):
        mask = torch.rand(shape, generator=generator) < 0.4
        mask[..., 0] = False
        return mask
    return torch.randn(shape, generator=generator).to(dtype)


def masks_of(pairs, keys, lengths, dtype=torch.float32):
    return {
        "attn_mask": mask_of(pairs, lengths, (N * H, *lengths), dtype=dtype),
        "key_padding_mask": mask_of(keys, (N, lengths[1]), dtype=dtype),
    }


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(
    ("pairs", "keys"),
    [("none", "none"), ("bool", "bool"), ("float of heads", "none"), ("none", "bool")],
)
def test_layers(name, batch_first, pairs, keys):
    options = LAYERS[name]
    ours, theirs = pair(options, batch_first=batch_first)
    inputs = inputs_of(options, batch_first)

    def run(layer, *inputs):
        masks = masks_of(pairs, keys, (L, S), inputs[0].dtype)
        return layer(*inputs, **masks, need_weights=False)[0]

    compare(lambda *x: run(ours, *x), lambda *x: run(theirs, *x), inputs, ours, theirs)


@pytest.mark.parametrize(("pairs", "keys"), [*itertools.product(PAIRS, KEYS)])
@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("same", ["none", "key", "all"])
def test_masks_and_weights(pairs, keys, average, same):
    """Weights are compared too, and the gradients that come from them."""
    ours, theirs = pair({}, batch_first=True)
    inputs = inputs_of({}, True, same)
    lengths = (L, inputs[1].shape[1])

    def run(layer, *inputs):
        masks = masks_of(pairs, keys, lengths, inputs[0].dtype)
        return layer(*inputs, **masks, average_attn_weights=average)

    compare(lambda *x: run(ours, *x), lambda *x: run(theirs, *x), inputs, ours, theirs)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("average", [True, False])
def test_weights_of_layers(name, average):
    """Those of added keys have columns at the end."""
    options = LAYERS[name]
    ours, theirs = pair(options, batch_first=True)
    inputs = [x.detach() for x in inputs_of(options, True)]
    masks = masks_of("bool of heads", "bool", (L, S))
    got = ours(*inputs, **masks, average_attn_weights=average)[1]
    wide = [x.double() for x in inputs]
    wanted = theirs(*wide, **masks, average_attn_weights=average)[1]
    assert got.shape == wanted.shape
    assert distance(got.detach(), wanted.detach()) <= 1e-5


@pytest.mark.parametrize("keys", KEYS)
def test_without_a_batch(keys):
    ours, theirs = pair({})
    inputs = sequences((L, E), (S, E), (S, E))

    def run(layer, *inputs):
        mask = mask_of("bool of heads", (L, S), (H, L, S))
        padding = mask_of(keys, (S,), dtype=inputs[0].dtype)
        return layer(*inputs, attn_mask=mask, key_padding_mask=padding)

    compare(lambda *x: run(ours, *x), lambda *x: run(theirs, *x), inputs, ours, theirs)


@pytest.mark.parametrize("keys", ["none", "bool"])
def test_causal(keys):
    """is_causal alone is what torch needs a mask for; with the mask it is the same."""
    ours, theirs = pair({}, batch_first=True)
    inputs = inputs_of({}, True, "all")
    causal = torch.ones(L, L, dtype=torch.bool).triu(1)
    padding = mask_of(keys, (N, L))
    both = {"key_padding_mask": padding, "need_weights": False}

    def run(layer, **more):
        return lambda *x: layer(*x, **both, **more)[0]

    wanted = run(theirs, attn_mask=causal, is_causal=True)
    compare(run(ours, is_causal=True), wanted, inputs, ours, theirs)
    compare(run(ours, attn_mask=causal, is_causal=True), wanted, inputs, ours, theirs)
    compare(run(ours, attn_mask=causal), wanted, inputs, ours, theirs)


def test_masks_that_are_learnt():
    """Gradients of masks of numbers, alone and where two become one."""
    ours, theirs = pair({}, batch_first=True)
    query, key, value = inputs_of({}, True)
    pairs, of_heads, keys = sequences((L, S), (N * H, L, S), (N, S), seed=5)

    def run(layer):
        def call(mask, padding):
            x = [a.to(mask.dtype) for a in (query, key, value)]
            output, _ = layer(*x, attn_mask=mask, key_padding_mask=padding)
            return output

        return call

    padding = mask_of("bool", (N, S))
    for mask in (pairs, of_heads):
        compare(run(ours), run(theirs), [mask, keys], ours, theirs)
        compare(
            lambda x: run(ours)(x, padding),
            lambda x: run(theirs)(x, padding),
            [mask],
            ours,
            theirs,
        )


def test_rows_without_keys_are_zero():
    """torch makes them NaN, and all gradients with them."""
    ours, theirs = pair({}, batch_first=True)
    inputs = inputs_of({}, True)
    mask = mask_of("bool", (L, S))
    mask[4] = True
    output, weights = ours(*inputs, attn_mask=mask)
    bias = ours.out_proj.bias.expand(N, E)
    torch.testing.assert_close(output[:, 4], bias)
    assert not weights[:, 4].any()
    found = torch.autograd.grad(output.sum(), inputs)
    assert all(grad.isfinite().all() for grad in found)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = theirs(*(x.double() for x in inputs), attn_mask=mask)[0]
    assert theirs[:, 4].isnan().all()
    rest = [n for n in range(L) if n != 4]
    assert distance(output[:, rest].detach(), theirs[:, rest].detach()) <= 1e-5


def test_the_classes_for_numpy_and_torch_agree():
    """The same bits, forwards and backwards, and torch's state dict in both."""
    options = {"add_bias_kv": True}
    module, theirs = pair(options, batch_first=True)
    layer = attn.MultiheadAttention(E, H, batch_first=True, **options)
    layer.load_state_dict({name: x.float() for name, x in theirs.state_dict().items()})
    inputs = inputs_of({}, True)
    grad = torch.linspace(-1, 1, N * L * E).reshape(N, L, E)
    with torch.no_grad():
        output, weights = layer(*inputs, average_attn_weights=False)
        found = layer.backward(grad)
    ours, same = module(*inputs, average_attn_weights=False)
    assert torch.equal(output, ours)
    assert torch.equal(weights, same)
    names = dict(module.named_parameters())
    wanted = torch.autograd.grad(ours, [*inputs, *names.values()], grad)
    for one, two in zip(found, wanted):
        assert torch.equal(one, two)
    for name, two in zip(names, wanted[3:]):
        assert torch.equal(torch.from_numpy(layer.grads[name]), two)
