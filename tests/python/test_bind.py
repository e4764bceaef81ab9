"""bind: the bits of ordinary calls, from what arrays hold at each call."""

import copy
import gc
import os
import pickle
import threading

import numpy as np
import pytest

import attn
from attn import AttnError
from needs import torch_or_skip
from problems import OPTIONS

SDPA = attn.scaled_dot_product_attention


@pytest.fixture(autouse=True)
def all_threads():
    """Leaves the number of threads as it was at the start."""
    yield
    attn.set_num_threads(0)


def parts(result):
    """The arrays of a result, of which there may be one or several."""
    return result if isinstance(result, tuple) else (result,)


def same_bits(got, wanted):
    assert type(got) is type(wanted)
    for one, other in zip(parts(got), parts(wanted), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_bits_are_those_of_the_function(qkv, normal, options):
    q, k, v = qkv
    call = attn.bind(SDPA, q, k, v, enable_gqa=True, **options)
    first = call.result
    same_bits(first, SDPA(q, k, v, enable_gqa=True, **options))
    for array in (q, k, v):
        array[...] = normal(*array.shape)
    again = call()
    assert again is first
    same_bits(again, SDPA(q, k, v, enable_gqa=True, **options))


def test_ordinary_calls_leave_its_result_alone(normal):
    q, other = normal(1, 2, 9, 8), normal(1, 2, 9, 8)
    call = attn.bind(SDPA, q, q, q)
    before = call().copy()
    SDPA(other, other, other)
    bound = attn.bind(SDPA, other, other, other)
    np.testing.assert_array_equal(call.result, before)
    bound()
    np.testing.assert_array_equal(call.result, before)
    np.testing.assert_array_equal(call(), before)


def test_what_has_to_be_copied_is_copied_each_time(normal):
    q, wide = normal(2, 3, 5, 8), normal(2, 3, 7, 16)
    k = wide[..., ::2]
    lengths = np.array([7, 3], np.int16)
    call = attn.bind(SDPA, q, k, k, kv_lengths=lengths)
    for _ in range(3):
        wide[...] = normal(*wide.shape)
        lengths[...] = lengths[::-1].copy()
        gc.collect()
        same_bits(call(), SDPA(q, k, k, kv_lengths=lengths))


def test_lists_stay_as_they_were(normal):
    q = normal(2, 3, 5, 8)
    lengths = [5, 2]
    call = attn.bind(SDPA, q, q, q, kv_lengths=lengths)
    lengths[0] = 1
    same_bits(call(), SDPA(q, q, q, kv_lengths=[5, 2]))


def test_arrays_live_as_long_as_the_call(normal):
    wanted = SDPA(*3 * [np.full((1, 2, 300, 64), 0.5, np.float32)])
    call = attn.bind(SDPA, *(np.full((1, 2, 300, 64), 0.5, np.float32) for _ in "qkv"))
    gc.collect()
    junk = [normal(1, 2, 300, 64) for _ in range(8)]
    same_bits(call(), wanted)
    assert junk


def test_no_heads_are_nothing_to_compute():
    q = np.zeros((2, 0, 3, 4), np.float32)
    assert attn.bind(SDPA, q, q, q)().shape == q.shape


def test_dropout_drops_the_same(normal):
    q = normal(1, 2, 30, 8)
    call = attn.bind(SDPA, q, q, q, dropout_p=0.5, dropout_seed=7)
    same_bits(call(), SDPA(q, q, q, dropout_p=0.5, dropout_seed=7))


def test_it_outlives_its_context(normal):
    q = normal(1, 4, 300, 64)
    call = attn.bind(SDPA, q, q, q)
    wanted = call().copy()
    attn.set_num_threads(1)
    gc.collect()
    call.result[...] = 0
    np.testing.assert_array_equal(call(), wanted)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_child_may_make_it(normal):
    q = normal(2, 8, 300, 64)
    call = attn.bind(SDPA, q, q, q)
    wanted = call().copy()
    call.result[...] = 0
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(call(), wanted) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_threads_have_calls_of_their_own(normal):
    """Binding in one thread is nothing to calls in another."""
    q = normal(1, 2, 17, 16)
    wanted = SDPA(q, q, q)
    stop, wrong = threading.Event(), []

    def others():
        while not stop.is_set():
            if not np.array_equal(SDPA(q, q, q), wanted):
                wrong.append(1)

    thread = threading.Thread(target=others)
    thread.start()
    try:
        calls = [attn.bind(SDPA, q, q, q) for _ in range(200)]
        assert len({id(call.result) for call in calls}) == 200
        for call in calls:
            np.testing.assert_array_equal(call(), wanted)
    finally:
        stop.set()
        thread.join()
    assert not wrong


def test_profiles_count_them(normal):
    q = normal(1, 2, 40, 8)
    with attn.Profile() as times:
        call = attn.bind(SDPA, q, q, q)
        call()
    call()
    assert times.calls == 2
    with times:
        call()
    call()
    assert times.calls == 3 and list(times.plans.values()) == [3]


@pytest.mark.parametrize("ring", [False, True])
def test_steps_with_a_cache(normal, ring):
    k, v, q = normal(2, 2, 1, 16), normal(2, 2, 1, 24), normal(2, 4, 1, 16)
    cache, other = (
        attn.KVCache(2, 2, 16, 24, capacity=20, layers=2, ring=ring) for _ in range(2)
    )
    append = attn.bind(cache.append, k, v, layer=1)
    attend = attn.bind(cache.attend, q, layer=1, window=(5, 0), return_lse=True)
    other.append(k, v, layer=1)
    assert append.result is None
    for _ in range(25 if ring else 19):
        for array in (q, k, v):
            array[...] = normal(*array.shape)
        assert append() is None
        other.append(k, v, layer=1)
        same_bits(attend(), other.attend(q, layer=1, window=(5, 0), return_lse=True))
    assert cache.length(0, 1) == (26 if ring else 20) and cache.length(0) == 0


def test_what_is_appended_may_have_to_be_copied(normal):
    wide, q = normal(1, 2, 1, 32), normal(1, 2, 1, 16)
    k = wide[..., ::2]
    cache, other = (attn.KVCache(1, 2, 16, capacity=9) for _ in range(2))
    append = attn.bind(cache.append, k, k)
    other.append(k, k)
    wide[...] = normal(*wide.shape)
    gc.collect()
    append()
    other.append(k, k)
    same_bits(cache.attend(q), other.attend(q))


def test_other_appends_leave_a_bound_one_alone(normal):
    k = normal(1, 2, 300, 64)
    cache = attn.KVCache(1, 2, 64, capacity=900)
    append = attn.bind(cache.append, k.copy(), k.copy())
    gc.collect()
    junk = [normal(1, 2, 300, 64) for _ in range(8)]
    cache.append(junk[0], junk[1])
    append()
    once = attn.KVCache(1, 2, 64, capacity=900)
    for key, value in ((k, k), junk[:2], (k, k)):
        once.append(key, value)
    same_bits(cache.attend(k), once.attend(k))


def test_a_full_cache_is_an_error_each_time(normal):
    k = normal(1, 2, 3, 8)
    cache = attn.KVCache(1, 2, 8, capacity=7)
    append = attn.bind(cache.append, k, k)
    append()
    for _ in range(2):
        with pytest.raises(AttnError, match="7"):
            append()
    assert cache.length(0) == 6
    cache.truncate(0, 3)
    append()
    assert cache.length(0) == 6


def test_a_closed_cache_is_an_error(normal):
    k = normal(1, 2, 3, 8)
    cache = attn.KVCache(1, 2, 8, capacity=100)
    calls = [attn.bind(cache.append, k, k), attn.bind(cache.attend, k)]
    cache.close()
    for call in calls:
        with pytest.raises(AttnError, match="closed"):
            call()


def test_a_cache_lives_as_long_as_its_calls(normal):
    k = normal(1, 2, 3, 8)
    attend = attn.bind(attn.KVCache(1, 2, 8, capacity=100).attend, k)
    gc.collect()
    np.testing.assert_array_equal(attend(), 0)  # nothing was appended


def test_packed_queries_of_a_cache_cannot_be_bound(normal):
    cache = attn.KVCache(2, 2, 8, capacity=9)
    with pytest.raises(AttnError, match="cu_seqlens_q"):
        attn.bind(cache.attend, normal(3, 2, 8), cu_seqlens_q=[0, 1, 3])


def test_other_errors_are_those_of_the_function(normal):
    x = normal(2, 9, 32)
    with pytest.raises(TypeError, match="no_such"):
        attn.bind(SDPA, x, x, x, no_such=1)
    same_bits(SDPA(x, x, x), SDPA(x, x, x))


def test_a_bound_call_is_not_copied(normal):
    q = normal(1, 1, 2, 4)
    call = attn.bind(SDPA, q, q, q)
    for copying in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="bound"):
            copying(call)


class CallsOthers:
    """An array that makes a call when it is looked at."""

    def __init__(self, array, other):
        self.array, self.other = array, other

    @property
    def __array_interface__(self):
        self.other()
        return self.array.__array_interface__


def test_another_call_meanwhile_is_an_error(normal):
    q = normal(1, 1, 2, 4)
    array = CallsOthers(q, lambda: SDPA(q, q, q))
    with pytest.raises(AttnError, match="calls were made"):
        attn.bind(SDPA, array, q, q)
    inner = CallsOthers(q, lambda: attn.bind(SDPA, q, q, q))
    same_bits(attn.bind(SDPA, inner, q, q)(), SDPA(q, q, q))


def other_data(torch, tensor):
    tensor.data = torch.zeros(1)


def other_memory(torch, tensor):
    tensor.set_(torch.zeros(1))


@pytest.mark.parametrize("change", [other_data, other_memory])
def test_memory_that_a_tensor_no_longer_has_is_kept(change):
    torch = torch_or_skip()
    q, k, v, key, value = (torch.randn(1, 8, 512, 64) for _ in range(5))
    call = attn.bind(SDPA, q, k, v)
    cache, other = (attn.KVCache(1, 8, 64, capacity=1024) for _ in range(2))
    append = attn.bind(cache.append, key, value)
    other.append(key, value)
    other.append(key, value)
    wanted = call().clone()
    for tensor in (q, k, v, key, value):
        change(torch, tensor)
    gc.collect()
    junk = [torch.randn(1, 8, 512, 64) for _ in range(12)]
    assert torch.equal(call(), wanted)
    append()
    assert torch.equal(cache.attend(wanted), other.attend(wanted))
    change(torch, call.result)
    gc.collect()
    call()
    assert junk


def test_memory_of_tensors_is_not_resized():
    torch = torch_or_skip()
    q = torch.randn(1, 1, 20, 64)
    call = attn.bind(SDPA, q, q, q)
    for tensor in (q, call.result):
        with pytest.raises(RuntimeError, match="resiz"):
            tensor.resize_(1, 1, 20000, 64)
        with pytest.raises(RuntimeError, match="resiz"):
            tensor.untyped_storage().resize_(0)


def test_torch_notices_that_results_are_written_to():
    torch = torch_or_skip()
    q, w = torch.randn(1, 2, 9, 8), torch.ones(1, requires_grad=True)
    call = attn.bind(SDPA, q, q, q)
    loss = (w * call()).sum()
    call()
    with pytest.raises(RuntimeError, match="inplace"):
        loss.backward()


def test_tensors():
    torch = torch_or_skip()
    q, k, v = torch.randn(3, 1, 4, 16, 32)
    call = attn.bind(SDPA, q, k, v, is_causal=True)
    q.normal_()
    assert torch.equal(call(), SDPA(q, k, v, is_causal=True))
    assert call() is call.result
    negative = torch.randn(1, 4, 16, 32, dtype=torch.cfloat).conj().imag
    with pytest.raises(AttnError, match="query is the negative"):
        attn.bind(SDPA, negative, k, v)
