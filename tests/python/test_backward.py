"""Gradients of every option, alone and together, against the float64 reference."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import attn
import reference
from attn import _call, _prepare
from problems import BIAS, BOOL, EV, HKV, OPTIONS, SINKS, B, E, H, L, S

SHAPES = {
    "out": (B, H, L, EV),
    "lse": (B, H, L),
    "weights": (B, H, L, S),
    "key_sums": (B, H, S),
}
ASKED = {
    "attn_mask": "mask_grad",
    "alibi_slopes": "alibi_slopes_grad",
    "sinks": "sinks_grad",
    "relative_bias": "relative_bias_grad",
    "relative_keys": "relative_keys_grad",
    "content_bias": "content_bias_grad",
    "position_bias": "position_bias_grad",
    "segment_keys": "segment_keys_grad",
    "segment_bias": "segment_bias_grad",
    "score_vector": "score_vector_grad",
}
FIELDS = {"attn_mask": "grad_mask"}


def field(name):
    """What the gradient of this input is called."""
    return FIELDS.get(name, f"grad_{name}")


def near(got, wanted, magnitude):
    """Equal, but for what rounding may do to terms of this size.

    The terms of these sums are products of a weight and a few other numbers. Weights
    have the largest error, of some ten units in the last place.
    """
    assert got.shape == wanted.shape
    assert got.dtype == np.float32
    assert np.isfinite(wanted).all()
    assert np.all(np.abs(got - wanted) <= 128 * 2.0**-24 * magnitude)


def check(got, grads, qkv, options):
    """Compares all gradients with the reference."""
    wanted = reference.gradients(grads, *qkv, **options)
    magnitudes = reference.gradients(grads, *qkv, **options, magnitudes=True)
    assert got._fields == tuple(map(field, differentiable(options)))
    assert wanted.keys() == set(differentiable(options))
    for name in wanted:
        near(getattr(got, field(name)), wanted[name], magnitudes[name])


def differentiable(options):
    """Which inputs have a gradient under these options."""
    names = ["query", "key", "value"]
    names += [name for name in ASKED if options.get(name) is not None]
    if "attn_mask" in names and options["attn_mask"].dtype == bool:
        names.remove("attn_mask")
    return names


def run(qkv, grads, options, by_stats=True, **more):
    """The forward call and then the backward call, with all gradients there are."""
    asked = {"return_row_stats": True} if by_stats else {"return_lse": True}
    options = {"enable_gqa": True, **options}
    forward = attn.scaled_dot_product_attention(*qkv, **options, **asked)
    stats = {}
    if by_stats:
        stats = {"row_max": forward.row_max, "row_sum": forward.row_sum}
    wanted = {ASKED[name]: True for name in differentiable(options)[3:]}
    return attn.scaled_dot_product_attention_backward(
        grads.get("out"),
        *qkv,
        forward.out,
        None if by_stats else forward.lse,
        **options,
        **stats,
        **{f"grad_{name}": grad for name, grad in grads.items() if name != "out"},
        **wanted,
        **more,
    )


@pytest.mark.parametrize("name", OPTIONS)
def test_gradients_of_out(qkv, normal, name):
    options = OPTIONS[name]
    grads = {"out": normal(*SHAPES["out"])}
    check(run(qkv, grads, options), grads, qkv, options)


@pytest.mark.parametrize("name", OPTIONS)
def test_gradients_of_all_outputs(qkv, normal, name):
    options = OPTIONS[name]
    grads = {one: normal(*shape) for one, shape in SHAPES.items()}
    check(run(qkv, grads, options), grads, qkv, options)


@pytest.mark.parametrize("output", SHAPES)
@pytest.mark.parametrize("name", ["plain", "everything"])
def test_one_output_alone(qkv, normal, output, name):
    """The gradient of one output; those of the others are not there at all."""
    grads = {output: normal(*SHAPES[output])}
    check(run(qkv, grads, OPTIONS[name]), grads, qkv, OPTIONS[name])


@pytest.mark.parametrize("name", ["plain", "sinks", "no keys", "everything"])
def test_lse_in_place_of_the_row_stats(qkv, normal, name):
    grads = {"out": normal(*SHAPES["out"]), "lse": normal(*SHAPES["lse"])}
    check(run(qkv, grads, OPTIONS[name], by_stats=False), grads, qkv, OPTIONS[name])


def test_out_is_not_needed_without_its_gradient(qkv, normal):
    grads = {"lse": normal(*SHAPES["lse"])}
    lse = reference.attention(*qkv)["lse"].astype(np.float32)
    got = attn.scaled_dot_product_attention_backward(
        None, *qkv, None, lse, enable_gqa=True, grad_lse=grads["lse"]
    )
    check(got, grads, qkv, {})


@pytest.mark.parametrize("gqa", [1, 2, 4])
@pytest.mark.parametrize("causal", [None, "top_left", "bottom_right"])
def test_several_tiles(normal, gqa, causal):
    """Lengths beyond one tile of the library, in both directions."""
    q, k = normal(2, 4, 300, 48), normal(2, 4 // gqa, 391, 48)
    v = normal(2, 4 // gqa, 391, 40)
    grads = {"out": normal(2, 4, 300, 40)}
    options = {"causal": causal}
    check(run((q, k, v), grads, options), grads, (q, k, v), options)


def test_a_query_with_nothing_to_attend_to(qkv, normal):
    """It has gradient 0 and adds nothing to others, even if its grad_out is NaN."""
    mask = BOOL.copy()
    mask[:, :, 5] = False
    grads = {one: normal(*shape) for one, shape in SHAPES.items()}
    grads["weights"][:, :, 5] = 0
    options = {"attn_mask": mask, "sinks": SINKS}
    clean = run(qkv, grads, options)
    assert not clean.grad_query[:, :, 5].any()
    for one in ("grad_query", "grad_key", "grad_value"):
        assert np.isfinite(getattr(clean, one)).all()
    grads["out"][:, :, 5] = np.nan
    poisoned = run(qkv, grads, {"attn_mask": mask})
    clean = run(qkv, {**grads, "out": np.nan_to_num(grads["out"])}, {"attn_mask": mask})
    for one, other in zip(poisoned, clean):
        np.testing.assert_array_equal(one, other)


def test_what_is_masked_never_arrives(qkv, normal):
    query, key, value = qkv
    grads = {"out": normal(*SHAPES["out"])}
    options = {"q_lengths": 9, "attn_mask": np.arange(S) < 20}
    clean = run(qkv, grads, options)
    assert not clean.grad_key[:, :, 20:].any()
    assert not clean.grad_value[:, :, 20:].any()
    assert not clean.grad_query[:, :, 9:].any()
    for array, first in ((query, 9), (key, 20), (value, 20), (grads["out"], 9)):
        array[:, :, first:] = np.nan
    value[:, :, 25:] = np.inf
    poisoned = run(qkv, grads, options)
    for one, other in zip(poisoned, clean):
        np.testing.assert_array_equal(one, other)


def test_the_number_of_threads_changes_no_bit(normal):
    q, k = normal(2, 4, 200, 32), normal(2, 2, 333, 32)
    bias, slopes = normal(4, 200, 333), normal(4)
    grads = {"out": normal(2, 4, 200, 32)}
    options = {"attn_mask": bias, "alibi_slopes": slopes, "dropout_p": 0.1}
    results = []
    try:
        for n in (1, 2, 3):
            attn.set_num_threads(n)
            results.append(run((q, k, k), grads, options))
    finally:
        attn.set_num_threads(0)
    for other in results[1:]:
        for one, two in zip(results[0], other):
            np.testing.assert_array_equal(one, two)


# query, key, value, attn_mask, alibi_slopes, sinks; batches (4, 2), 3 heads
BROADCASTS = {
    "written out": ((4, 2, 3), (4, 2, 3), (4, 2, 3), (4, 2, 3, 5, 7), (4, 2, 3), (3,)),
    "one for all": ((4, 2, 3), (), (), (), (), ()),
    "keys of all": ((4, 2, 3), (3,), (1, 3), (5, 7), (3,), (1,)),
    "queries of all": ((1, 2, 1), (4, 2, 3), (4, 1, 3), (3, 1, 7), (1,), (3,)),
    "two and none": ((3,), (4, 1, 3), (1, 2, 1), (4, 1, 1, 5, 1), (4, 1, 3), (3,)),
    "one key head": ((4, 2, 3), (4, 2, 1), (2, 1), (1, 2, 3, 1, 1), (2, 1), (3,)),
    "one mask": ((4, 2, 3), (4, 2, 3), (4, 2, 3), (1, 1, 3, 5, 7), (1, 1, 3), (3,)),
}


@pytest.mark.parametrize("name", BROADCASTS)
def test_what_broadcasts_gets_the_sum(normal, name):
    q, k, v, *shapes = BROADCASTS[name]
    q, k, v = normal(*q, 5, 8), normal(*k, 7, 8), normal(*v, 7, 6)
    small = dict(zip(ASKED, (normal(*shape) for shape in shapes)))
    grad_out = normal(4, 2, 3, 5, 6)

    def wide(array, *shape):
        return np.broadcast_to(array, (4, 2, *shape)).reshape(8, *shape)

    def narrow(array, like):
        if array.shape[0] == 8:
            array = array.reshape(4, 2, *array.shape[1:])
        return reference.reduced(array, like.shape)

    full = {
        "attn_mask": wide(small["attn_mask"], 3, 5, 7),
        "alibi_slopes": wide(small["alibi_slopes"], 3),
        "sinks": np.broadcast_to(small["sinks"], (3,)),
    }
    arrays = (wide(q, 3, 5, 8), wide(k, 3, 7, 8), wide(v, 3, 7, 6))
    grads = {"out": grad_out.reshape(8, 3, 5, 6)}
    wanted = reference.gradients(grads, *arrays, **full)
    magnitudes = reference.gradients(grads, *arrays, **full, magnitudes=True)
    got = run((q, k, v), {"out": grad_out}, {**small, "enable_gqa": False})
    for one, array in (("query", q), ("key", k), ("value", v), *small.items()):
        near(
            getattr(got, field(one)),
            narrow(wanted[one], array),
            narrow(magnitudes[one], array),
        )


@pytest.mark.parametrize(
    ("q", "k", "out"),
    [
        ((2, 4, 0, 8), (2, 4, 5, 8), (2, 4, 0, 8)),
        ((2, 4, 3, 8), (2, 4, 0, 8), (2, 4, 3, 8)),
        ((0, 4, 3, 8), (1, 4, 5, 8), (0, 4, 3, 8)),
        ((2, 0, 3, 8), (2, 0, 5, 8), (2, 0, 3, 8)),
        ((3, 8), (5, 8), (3, 8)),
        ((4, 3, 8), (4, 5, 8), (4, 3, 8)),
    ],
)
def test_no_rows_and_few_dimensions(normal, monkeypatch, q, k, out):
    """Where nothing is computed the gradients are 0, not what memory held."""

    def dirty(*args, make=_call.empty_like_kind):
        new, where = make(*args)
        new[...] = 77
        return new, where

    monkeypatch.setattr(_call, "empty_like_kind", dirty)
    q, k, bias = normal(*q), normal(*k), normal(q[-2], k[-2])
    options = {"attn_mask": bias, "enable_gqa": False}
    got = run((q, k, k), {"out": normal(*out)}, options)
    for one, array in zip(got, (q, k, k, bias)):
        assert one.shape == array.shape
        assert not (one == 77).any()
        if 0 in out or 0 in k.shape:
            assert not one.any()


def test_layouts(qkv, normal):
    """Arrays of any strides; in particular a gradient that is one number, repeated."""
    dense = np.full(SHAPES["out"], 0.5, np.float32)
    plain = run(qkv, {"out": dense}, {})
    repeated = np.broadcast_to(np.float32(0.5), SHAPES["out"])
    swapped = np.ascontiguousarray(dense.swapaxes(1, 2)).swapaxes(1, 2)
    turned = [np.asfortranarray(array) for array in qkv]
    for other in (run(qkv, {"out": repeated}, {}), run(qkv, {"out": swapped}, {})):
        for one, two in zip(plain, other):
            np.testing.assert_array_equal(one, two)
    for one, two in zip(plain, run(turned, {"out": dense}, {})):
        assert two.flags.c_contiguous
        np.testing.assert_array_equal(one, two)


def test_gradients_go_where_they_lie(qkv, normal, gradient_calls):
    """Nothing is copied on the way in, nor on the way out unless it must be summed."""
    grad_out = normal(*SHAPES["out"])
    got = run(qkv, {"out": grad_out}, {"attn_mask": BIAS[:1]})
    (call,) = gradient_calls
    for name, array in zip(("query", "key", "value"), qkv):
        assert getattr(call.forward, name).data == array.ctypes.data
    assert call.grad_out.data == grad_out.ctypes.data
    for name in ("query", "key", "value", "bias"):
        array = getattr(got, "grad_mask" if name == "bias" else f"grad_{name}")
        assert getattr(call, f"grad_{name}").data == array.ctypes.data
    assert call.grad_bias.shape == (1, H, L, S)


def test_the_same_call_is_prepared_once(qkv, normal):
    grads = {"out": normal(*SHAPES["out"])}
    run(qkv, grads, {"scale": 0.765})
    before = _prepare.prepare_backward.cache_info()
    for _ in range(3):
        run([array.copy() for array in qkv], grads, {"scale": 0.765})
    after = _prepare.prepare_backward.cache_info()
    assert (after.hits - before.hits, after.misses - before.misses) == (3, 0)


def test_the_named_tuple(qkv, normal):
    got = run(qkv, {"out": normal(*SHAPES["out"])}, {})
    assert repr(got).startswith("Gradients(grad_query=array(")
    back = pickle.loads(pickle.dumps(got))
    assert type(back) is type(got)
    np.testing.assert_array_equal(back.grad_key, got.grad_key)


@pytest.mark.parametrize(
    "name", ["softcap", "relative terms", "everything", "additive terms"]
)
def test_the_reference_itself(name):
    """Its gradients are the differences of its outputs."""
    rng = np.random.default_rng(3)
    shapes = ((B, H, L, E), (B, HKV, S, E), (B, HKV, S, EV))
    inputs = dict(zip(("query", "key", "value"), map(rng.standard_normal, shapes)))
    options = {**OPTIONS[name]}
    rules = {}  # what comes in a tuple with a table
    for one in differentiable(options)[3:]:
        table = options.pop(one)
        if isinstance(table, tuple):
            table, *rules[one] = table
        inputs[one] = np.asarray(table, np.float64)
    grads = {one: rng.standard_normal(shape) for one, shape in SHAPES.items()}
    for b, length in enumerate(options.get("q_lengths", ())):
        grads["lse"][b, :, length:] = 0  # not looked at, though lse is the sink there

    def with_rules(inputs):
        return {**inputs, **{one: (inputs[one], *rules[one]) for one in rules}}

    def loss(inputs):
        got = reference.attention(**with_rules(inputs), **options)
        return sum(
            np.sum(np.where(np.isfinite(got[one]), got[one], 0) * grad)
            for one, grad in grads.items()
        )

    wanted = reference.gradients(grads, **with_rules(inputs), **options)
    assert wanted.keys() == inputs.keys()
    for one, array in inputs.items():
        step = 1e-6 * rng.standard_normal(array.shape)
        ahead = loss({**inputs, one: array + step})
        behind = loss({**inputs, one: array - step})
        np.testing.assert_allclose(
            (ahead - behind) / 2, np.sum(wanted[one] * step), rtol=1e-6
        )


def test_slopes_of_one_number(qkv, normal):
    """A slope for all heads, as a plain number, has a gradient without dimensions."""
    grads = {"out": normal(*SHAPES["out"])}
    got = run(qkv, grads, {"alibi_slopes": 0.5})
    all_heads = run(qkv, grads, {"alibi_slopes": np.full(H, 0.5, np.float32)})
    assert got.grad_alibi_slopes.shape == ()
    assert got.grad_alibi_slopes == all_heads.grad_alibi_slopes.sum()
