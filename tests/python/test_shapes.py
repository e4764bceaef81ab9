"""Which shapes are accepted, and what comes out: the rules of torch's function."""

from __future__ import annotations

import numpy as np
import pytest

import attn
import reference

# query, key, value, enable_gqa -> out
SHAPES = [
    ((3, 4), (5, 4), (5, 6), False, (3, 6)),
    ((2, 3, 4), (2, 5, 4), (2, 5, 6), False, (2, 3, 6)),
    ((2, 3, 4), (5, 4), (5, 6), False, (2, 3, 6)),
    ((3, 4), (2, 5, 4), (2, 5, 6), False, (2, 3, 6)),
    ((2, 3, 4), (1, 5, 4), (1, 5, 6), False, (2, 3, 6)),
    ((1, 3, 4), (2, 5, 4), (2, 5, 6), False, (2, 3, 6)),
    ((2, 8, 3, 4), (2, 8, 5, 4), (2, 8, 5, 6), False, (2, 8, 3, 6)),
    ((2, 8, 3, 4), (2, 1, 5, 4), (2, 1, 5, 6), False, (2, 8, 3, 6)),
    ((2, 8, 3, 4), (1, 8, 5, 4), (1, 8, 5, 6), False, (2, 8, 3, 6)),
    ((2, 8, 3, 4), (2, 1, 5, 4), (2, 8, 5, 6), False, (2, 8, 3, 6)),
    ((2, 8, 3, 4), (8, 5, 4), (8, 5, 6), False, (2, 8, 3, 6)),
    ((1, 8, 3, 4), (2, 8, 5, 4), (2, 1, 5, 6), False, (2, 8, 3, 6)),
    ((2, 8, 3, 4), (2, 2, 5, 4), (2, 2, 5, 6), True, (2, 8, 3, 6)),
    ((2, 8, 3, 4), (2, 1, 5, 4), (2, 1, 5, 6), True, (2, 8, 3, 6)),
    ((2, 8, 3, 4), (1, 2, 5, 4), (1, 2, 5, 6), True, (2, 8, 3, 6)),
    ((2, 8, 3, 4), (2, 8, 5, 4), (2, 8, 5, 6), True, (2, 8, 3, 6)),
    ((8, 3, 4), (2, 5, 4), (2, 5, 6), True, (8, 3, 6)),
    ((7, 2, 8, 3, 4), (7, 2, 2, 5, 4), (7, 2, 2, 5, 6), True, (7, 2, 8, 3, 6)),
    ((7, 2, 8, 3, 4), (7, 1, 8, 5, 4), (1, 2, 8, 5, 6), False, (7, 2, 8, 3, 6)),
    ((2, 1, 3, 8, 3, 4), (8, 5, 4), (3, 1, 5, 6), False, (2, 1, 3, 8, 3, 6)),
    ((2, 8, 0, 4), (2, 8, 5, 4), (2, 8, 5, 6), False, (2, 8, 0, 6)),
    ((2, 8, 3, 4), (2, 8, 0, 4), (2, 8, 0, 6), False, (2, 8, 3, 6)),
    ((0, 8, 3, 4), (0, 8, 5, 4), (1, 8, 5, 6), False, (0, 8, 3, 6)),
    ((2, 0, 3, 4), (2, 0, 5, 4), (2, 0, 5, 6), False, (2, 0, 3, 6)),
]


def written_out(array, leading):
    """The array with all leading dimensions of the result, and batches made one."""
    batches, heads = leading[:-1], leading[-1] if leading else 1
    if array.ndim > 2 and array.shape[-3] not in (1, heads):
        array = np.repeat(array, heads // array.shape[-3], axis=-3)
    wide = np.broadcast_to(array, (*batches, heads, *array.shape[-2:]))
    return wide.reshape(int(np.prod(batches)), heads, *array.shape[-2:])


@pytest.mark.parametrize(("q", "k", "v", "gqa", "shape"), SHAPES)
def test_shape_and_values(normal, close, q, k, v, gqa, shape):
    arrays = [normal(*s) for s in (q, k, v)]
    got = attn.scaled_dot_product_attention(
        *arrays,
        enable_gqa=gqa,
        return_lse=True,
        return_weights=True,
        return_scores="raw",
        return_key_sums=True,
    )
    leading = shape[:-2]
    assert got.out.shape == shape
    assert got.lse.shape == (*leading, q[-2])
    assert got.weights.shape == got.scores.shape == (*leading, q[-2], k[-2])
    assert got.key_sums.shape == (*leading, k[-2])
    if 0 in leading:
        return
    wanted = reference.attention(*(written_out(a, leading) for a in arrays))
    close(got.out, wanted["out"].reshape(shape))
    close(got.weights, wanted["weights"].reshape(got.weights.shape))
    close(got.key_sums, wanted["key_sums"].reshape(got.key_sums.shape))


@pytest.mark.parametrize(("q", "k", "v", "gqa", "shape"), SHAPES)
def test_torch_agrees(normal, close, q, k, v, gqa, shape):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    arrays = [torch.from_numpy(normal(*s)) for s in (q, k, v)]
    wanted = torch.nn.functional.scaled_dot_product_attention(*arrays, enable_gqa=gqa)
    got = attn.scaled_dot_product_attention(*arrays, enable_gqa=gqa)
    assert tuple(wanted.shape) == shape == tuple(got.shape)
    if k[-2] > 0:  # without keys torch gives 0 or NaN, by its backend
        close(got.numpy(), wanted.numpy())


@pytest.mark.parametrize(
    ("leading", "mask"),
    [
        ((), (3, 5)),
        ((), (1, 5)),
        ((), (5,)),
        ((), ()),
        ((8,), (8, 3, 5)),
        ((8,), (3, 1)),
        ((2, 8), (2, 1, 1, 5)),
        ((2, 8), (8, 3, 5)),
        ((2, 8), (1, 8, 1, 1)),
        ((4, 2, 8), (4, 2, 8, 3, 5)),
        ((4, 2, 8), (4, 1, 1, 3, 5)),
        ((4, 2, 8), (2, 8, 3, 5)),
        ((4, 2, 8), (1, 1, 8, 1, 5)),
        ((4, 2, 8), (3, 5)),
    ],
)
@pytest.mark.parametrize("kind", ["bool", "float32"])
def test_masks_broadcast(normal, rng, leading, mask, kind):
    """A mask that broadcasts does what it does when it is written out."""
    q, k = normal(*leading, 3, 4), normal(*leading, 5, 4)
    array = rng.random(mask) < 0.7 if kind == "bool" else normal(*mask)
    array = np.asarray(array, kind)
    full = np.ascontiguousarray(np.broadcast_to(array, (*leading, 3, 5)))
    got = attn.scaled_dot_product_attention(q, k, k, array)
    wanted = attn.scaled_dot_product_attention(q, k, k, full)
    np.testing.assert_array_equal(got, wanted)


def test_per_batch_inputs_with_several_batch_dimensions(normal):
    """(4, 2) batches are the 8 batches that they are in memory."""
    q, k = normal(4, 2, 3, 5, 8), normal(4, 2, 3, 9, 8)
    lengths = np.arange(1, 9).reshape(4, 2)
    documents = np.arange(4 * 2 * 9).reshape(4, 2, 9) % 3
    slopes = normal(4, 2, 3)
    got = attn.scaled_dot_product_attention(
        q,
        k,
        k,
        kv_lengths=lengths,
        q_documents=documents[..., :5],
        k_documents=documents,
        alibi_slopes=slopes,
    )
    wanted = attn.scaled_dot_product_attention(
        q.reshape(8, 3, 5, 8),
        k.reshape(8, 3, 9, 8),
        k.reshape(8, 3, 9, 8),
        kv_lengths=lengths.reshape(8),
        q_documents=np.ascontiguousarray(documents[..., :5]).reshape(8, 5),
        k_documents=documents.reshape(8, 9),
        alibi_slopes=slopes.reshape(8, 3),
    )
    np.testing.assert_array_equal(got.reshape(wanted.shape), wanted)
    one_for_all = attn.scaled_dot_product_attention(
        q, k, k, kv_lengths=np.array([[2], [4], [6], [9]])
    )
    alone = attn.scaled_dot_product_attention(q[1, 0], k[1, 0], k[1, 0], kv_lengths=4)
    np.testing.assert_array_equal(one_for_all[1, 0], alone)


def test_a_growing_sequence_keeps_its_plan(normal, calls):
    """Decoding makes a new plan when the length passes a power of two, no oftener."""
    q, k = normal(1, 2, 1, 8), normal(1, 2, 64, 8)
    for length in range(33, 65):
        kv = k[:, :, :length]
        attn.scaled_dot_product_attention(q, kv, kv, scale=0.123)
    assert len({call.handle for call in calls}) == 1
