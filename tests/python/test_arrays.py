"""Arrays go to the library as they lie in memory, whatever kind they are."""

from __future__ import annotations

import gc
import pickle
import sys
import weakref

import numpy as np
import pytest

import attn


def at(array):
    """Where an array is."""
    return array.__array_interface__["data"][0]


def test_contiguous_arrays_are_not_copied(normal, calls):
    q, k, v = normal(2, 4, 3, 8), normal(2, 4, 5, 8), normal(2, 4, 5, 6)
    out = attn.scaled_dot_product_attention(q, k, v)
    (call,) = calls
    assert [call.query.data, call.key.data, call.value.data] == [at(q), at(k), at(v)]
    assert call.out.data == at(out)
    assert call.value.shape == (2, 4, 5, 6)
    assert call.value.stride == (120, 30, 6, 1)


def test_any_order_of_the_first_three_dimensions(normal, calls, close):
    """(batch, length, heads, dim) is a matter of strides."""
    q, k = normal(2, 3, 4, 8), normal(2, 5, 4, 8)
    got = attn.scaled_dot_product_attention(*(a.swapaxes(1, 2) for a in (q, k, k)))
    assert calls[0].query.data == at(q)
    assert calls[0].query.stride == (96, 8, 32, 1)
    assert calls[0].key.data == calls[0].value.data == at(k)
    q, k = (np.ascontiguousarray(a.swapaxes(1, 2)) for a in (q, k))
    close(got, attn.scaled_dot_product_attention(q, k, k))


def test_slices_and_read_only_arrays_are_not_copied(normal, calls):
    q, k = normal(2, 4, 9, 16), normal(2, 4, 30, 16)
    q.flags.writeable = False
    key, value = k[:, ::2, :, 8:], k[:, ::2, :, 8:12]
    attn.scaled_dot_product_attention(q[:, :, 2:5, :8], key, value, enable_gqa=True)
    (call,) = calls
    assert call.query.data == at(q) + 4 * 2 * 16
    assert call.query.stride == (576, 144, 16, 1)
    assert call.key.data == at(k) + 4 * 8
    assert call.key.stride == (1920, 960, 16, 1)


def test_broadcasting_is_not_copied(normal, calls):
    q, k = normal(6, 2, 8, 3, 4), normal(8, 5, 4)
    mask = np.broadcast_to(normal(6, 2, 1, 1, 5), (6, 2, 8, 3, 5))
    attn.scaled_dot_product_attention(q, k, k, mask)
    (call,) = calls
    assert call.query.data == at(q)
    assert call.query.shape == (12, 8, 3, 4)
    assert call.key.data == at(k)
    assert call.key.shape == (12, 8, 5, 4)
    assert call.key.stride == (0, 20, 4, 1)
    assert call.bias.data == at(mask)
    assert call.bias.shape == (12, 8, 3, 5)
    assert call.bias.stride == (5, 0, 0, 1)


def test_shared_key_heads_are_grouped(normal, calls):
    """One key head for all is multi-query attention, with or without enable_gqa."""
    q, k = normal(2, 8, 3, 4), normal(2, 1, 5, 4)
    attn.scaled_dot_product_attention(q, k, k)
    assert calls[0].key.shape == (2, 1, 5, 4)


def test_small_inputs_are_not_copied(normal, calls):
    q, k = normal(2, 4, 3, 8), normal(2, 4, 5, 8)
    lengths, documents = np.array([3, 5]), np.zeros((2, 5), np.int32)
    sinks, slopes = normal(4), normal(2, 4)
    mask = np.ones((2, 1, 3, 5), bool)
    attn.scaled_dot_product_attention(
        q,
        k,
        k,
        mask,
        kv_lengths=lengths,
        q_documents=documents[:, :3],
        k_documents=documents,
        sinks=sinks,
        alibi_slopes=slopes,
    )
    (call,) = calls
    assert call.kv_lengths.data == at(lengths)
    assert call.q_documents.data == call.k_documents.data == at(documents)
    assert call.q_documents.stride == (5, 1)
    assert call.sinks.data == at(sinks)
    assert call.alibi_slopes.data == at(slopes)
    assert call.mask.data == at(mask)


def unaligned(array):
    """The same values at an odd address."""
    raw = np.empty(array.nbytes + 1, np.uint8)
    view = raw[1:].view(np.float32).reshape(array.shape)
    view[...] = array
    assert not view.flags.aligned
    return view


COPIES = {
    "last dimension not contiguous": lambda a: (
        a.swapaxes(-1, -2).copy().swapaxes(-1, -2)
    ),
    "every other element": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "backwards": lambda a: a[..., ::-1].copy()[..., ::-1],
    "heads backwards": lambda a: a[:, ::-1].copy()[:, ::-1],
    "Fortran order": np.asfortranarray,
    "not aligned": unaligned,
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("which", range(4))
def test_other_layouts_are_copied_for_the_call(normal, how, which):
    arrays = [normal(2, 4, 3, 8), normal(2, 4, 5, 8), normal(2, 4, 5, 8)]
    arrays.append(normal(2, 4, 3, 5))
    wanted = attn.scaled_dot_product_attention(*arrays)
    arrays[which] = COPIES[how](arrays[which])
    kept = arrays[which].copy()
    # Twice: the second call finds a prepared one, and must copy the new values.
    got = attn.scaled_dot_product_attention(*arrays)
    np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(arrays[which], kept)
    arrays[which] *= 2
    other = attn.scaled_dot_product_attention(*arrays)
    assert not np.array_equal(other, wanted)


def test_a_copy_repeats_no_more_than_it_must(normal, calls, close):
    """A key for all batches with bad strides is copied once, not once per batch."""
    q = normal(16, 4, 3, 8)
    k = np.asfortranarray(normal(1, 4, 5, 8))
    got = attn.scaled_dot_product_attention(q, k, k)
    assert calls[0].key.stride == (0, 40, 8, 1)
    wanted = attn.scaled_dot_product_attention(q, *[np.repeat(k, 16, axis=0)] * 2)
    close(got, wanted)


def test_batches_that_no_strides_describe(normal, close):
    """Batches (4, 1) and (1, 3) make 12 that are no regular walk through memory."""
    q, k, v = normal(4, 1, 2, 3, 8), normal(1, 3, 2, 5, 8), normal(4, 3, 2, 5, 8)
    got = attn.scaled_dot_product_attention(q, k, v)
    for a in range(4):
        for b in range(3):
            alone = attn.scaled_dot_product_attention(q[a, 0], k[0, b], v[a, b])
            close(got[a, b], alone)


def test_array_interface(normal, calls):
    class Holder:
        def __init__(self, array):
            self.array = array
            self.__array_interface__ = array.__array_interface__

    q = normal(2, 3, 4)
    got = attn.scaled_dot_product_attention(Holder(q), Holder(q), Holder(q))
    assert calls[0].query.data == at(q)
    np.testing.assert_array_equal(got, attn.scaled_dot_product_attention(q, q, q))


def test_dlpack(normal, calls):
    class Holder:
        def __init__(self, array):
            self.array = array

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

        def __dlpack__(self, **options):
            return self.array.__dlpack__(**options)

    q = normal(2, 3, 4)
    got = attn.scaled_dot_product_attention(Holder(q), Holder(q), Holder(q))
    assert calls[0].query.data == at(q)
    np.testing.assert_array_equal(got, attn.scaled_dot_product_attention(q, q, q))


def test_subclasses_give_plain_arrays(normal):
    class Sub(np.ndarray):
        pass

    q = normal(2, 3, 4)
    got = attn.scaled_dot_product_attention(q.view(Sub), q, q)
    assert type(got) is np.ndarray


def test_inputs_are_released(normal):
    """Nothing that is kept for the next call holds on to the arrays of this one."""
    q, k = normal(2, 4, 3, 8), np.asfortranarray(normal(2, 4, 5, 8))
    lengths = np.array([3, 5])

    def run():
        return attn.scaled_dot_product_attention(
            q, k, k, kv_lengths=lengths, return_lse=True
        )

    run()
    before = [sys.getrefcount(a) for a in (q, k, lengths)]
    for _ in range(20):
        run()
    assert [sys.getrefcount(a) for a in (q, k, lengths)] == before
    out = weakref.ref(run().out)
    gc.collect()
    assert out() is None


def test_results_own_their_memory_and_pickle(normal):
    q = normal(2, 3, 4)
    one = attn.scaled_dot_product_attention(q, q, q, return_lse=True)
    kept = one.out.copy()
    assert one.out.flags.owndata
    assert one.out.flags.c_contiguous
    two = attn.scaled_dot_product_attention(q, q, q * 2, return_lse=True)
    np.testing.assert_array_equal(one.out, kept)
    assert not np.array_equal(two.out, kept)
    back = pickle.loads(pickle.dumps(one))
    assert type(back) is type(one)
    np.testing.assert_array_equal(back.lse, one.lse)
