"""Dropout: which weights go, how many, and that the seed alone decides."""

from __future__ import annotations

import numpy as np
import pytest

import attn
import reference


def masks(q, k, probability, **options):
    """The dropout mask of a call."""
    return attn.scaled_dot_product_attention(
        q, k, k, dropout_p=probability, return_dropout_mask=True, **options
    ).dropout_mask


def test_philox_of_the_reference():
    """The known answers of Random123, the generator's home."""
    ones = 0xFFFFFFFF
    answers = {
        (0, 0): (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
        (ones, ones): (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    }
    for key, words in answers.items():
        counter = [key[0]] * 4
        assert tuple(map(int, reference.philox(key, counter))) == words


@pytest.mark.parametrize("probability", [0.0, 1e-7, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("seed", [0, 1, -1, 1 << 32, (1 << 64) - 1])
def test_the_mask_is_the_one_of_the_contract(normal, probability, seed):
    q, k = normal(2, 3, 21, 8), normal(2, 3, 150, 8)
    got = masks(q, k, probability, dropout_seed=seed)
    wanted = reference.dropout_mask((2, 3, 21, 150), probability, seed)
    np.testing.assert_array_equal(got, wanted)


def test_the_share_that_is_kept(normal):
    q, k = normal(4, 4, 128, 8), normal(4, 4, 128, 8)
    kept = masks(q, k, 0.3, dropout_seed=3)
    n = kept.size
    assert abs(kept.sum() - 0.7 * n) < 5 * np.sqrt(n * 0.3 * 0.7)
    assert not np.array_equal(kept, masks(q, k, 0.3, dropout_seed=4))


def test_the_mask_does_not_depend_on_what_else_is_there(normal):
    """Not on masks, lengths, batch, threads, nor on the sizes of the tensors."""
    q, k = normal(3, 2, 40, 8), normal(3, 2, 130, 8)
    whole = masks(q, k, 0.4, dropout_seed=9)
    masked = masks(q, k, 0.4, dropout_seed=9, is_causal=True, kv_lengths=[5, 0, 130])
    np.testing.assert_array_equal(masked, whole)
    part = masks(q[:, :, :7], k[:, :, :33], 0.4, dropout_seed=9)
    np.testing.assert_array_equal(part, whole[:, :, :7, :33])
    alone = masks(q[2:], k[2:], 0.4, dropout_seed=9, rng_indices=2)
    np.testing.assert_array_equal(alone, whole[2:])
    try:
        attn.set_num_threads(1)
        np.testing.assert_array_equal(masks(q, k, 0.4, dropout_seed=9), whole)
    finally:
        attn.set_num_threads(0)


def test_probability_0_and_1(normal):
    q, k = normal(2, 3, 21, 8), normal(2, 3, 50, 8)
    plain = attn.scaled_dot_product_attention(q, k, k)
    none = attn.scaled_dot_product_attention(
        q, k, k, dropout_p=0, dropout_seed=5, rng_indices=[4, 5]
    )
    np.testing.assert_array_equal(none, plain)
    everything = attn.scaled_dot_product_attention(
        q, k, k, dropout_p=1.0, return_weights=True
    )
    assert not everything.out.any()
    assert everything.weights.any()


def test_seeds_of_other_kinds(normal):
    """A seed that numpy drew has numpy's type."""
    q = normal(1, 2, 9, 8)
    wanted = masks(q, q, 0.5, dropout_seed=77)
    np.testing.assert_array_equal(masks(q, q, 0.5, dropout_seed=np.uint8(77)), wanted)


def test_negative_seeds_are_the_upper_half(normal):
    q = normal(1, 2, 9, 8)
    upper = masks(q, q, 0.5, dropout_seed=(1 << 64) - 77)
    np.testing.assert_array_equal(masks(q, q, 0.5, dropout_seed=-77), upper)
