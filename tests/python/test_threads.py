"""Threads of the library and of the program, fork, and the life of plans."""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import attn
from attn import AttnError, _call, _context, _plan, _prepare


@pytest.fixture(autouse=True)
def all_threads():
    """Leaves the number of threads as it was at the start."""
    yield
    attn.set_num_threads(0)


def test_set_and_get():
    attn.set_num_threads(3)
    assert attn.get_num_threads() == attn.info()["threads"] == 3
    attn.set_num_threads(0)
    assert 1 <= attn.get_num_threads() <= (os.cpu_count() or 1)


@pytest.mark.parametrize("n", [-1, 1025, 1 << 32, (1 << 32) + 2, -(1 << 40)])
def test_bad_numbers_change_nothing(n):
    attn.set_num_threads(2)
    with pytest.raises(AttnError, match="1024"):
        attn.set_num_threads(n)
    assert attn.get_num_threads() == 2


def test_threads_never_change_a_bit(normal):
    q, k = normal(2, 4, 200, 64), normal(2, 4, 333, 64)
    outs = []
    for n in (1, 2, 3, 8):
        attn.set_num_threads(n)
        outs.append(attn.scaled_dot_product_attention(q, k, k, causal="bottom_right"))
    for out in outs[1:]:
        np.testing.assert_array_equal(out, outs[0])


def test_many_threads_share_prepared_calls(normal):
    """Each thread gets its own result, also where all of them use one prepared call."""
    work = []
    for index in range(8):
        length = 17 + 3 * (index % 2)
        q, k = normal(2, 2, length, 16), normal(2, 2, 40, 16)
        work.append((q, k, attn.scaled_dot_product_attention(q, k, k)))
    start = threading.Barrier(8)

    def run(index):
        start.wait()
        q, k, wanted = work[index]
        return all(
            np.array_equal(attn.scaled_dot_product_attention(q, k, k), wanted)
            for _ in range(200)
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(run, range(8)))


def test_set_num_threads_while_others_compute(normal):
    q = normal(1, 4, 100, 32)
    wanted = attn.scaled_dot_product_attention(q, q, q)
    stop = threading.Event()

    def run():
        good = True
        while not stop.is_set():
            got = attn.scaled_dot_product_attention(q, q, q)
            good = good and np.array_equal(got, wanted)
        return good

    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(run) for _ in range(3)]
        for n in (1, 2, 3, 1, 2, 3, 1, 2, 3):
            attn.set_num_threads(n)
        stop.set()
        assert all(future.result(timeout=60) for future in futures)


def test_the_same_call_is_prepared_once(normal, monkeypatch):
    frames = []
    make = _call.Frame

    def counted(*args):
        frames.append(make(*args))
        return frames[-1]

    monkeypatch.setattr(_call, "Frame", counted)
    q = normal(1, 3, 11, 7)
    attn.scaled_dot_product_attention(q, q, q, scale=0.777)
    before = _prepare.prepare.cache_info()
    for _ in range(5):
        attn.scaled_dot_product_attention(q.copy(), q, q, scale=0.777)
    after = _prepare.prepare.cache_info()
    assert after.hits - before.hits == 5
    assert after.misses == before.misses
    assert len(frames) == 1


def test_old_plans_and_contexts_are_destroyed(normal, monkeypatch):
    destroyed = []
    for module in (_plan, _context):
        real = module.owned

        def spy(owner, destroy, handle, real=real):
            name = destroy.__name__

            def noted(handle):
                destroyed.append(name)
                destroy(handle)

            real(owner, noted, handle)

        monkeypatch.setattr(module, "owned", spy)
    attn.set_num_threads(2)
    q = normal(1, 2, 5, 8)
    attn.scaled_dot_product_attention(q, q, q)
    r = attn.scaled_dot_product_attention(q, q, q, is_causal=True, return_lse=True)
    attn.scaled_dot_product_attention_backward(
        r.out, q, q, q, r.out, r.lse, is_causal=True
    )
    context = weakref.ref(_context.current())
    attn.set_num_threads(1)
    gc.collect()
    assert sorted(destroyed) == [
        "attn_context_destroy",
        "attn_plan_destroy",
        "attn_plan_destroy",
    ]
    assert context() is None


def test_the_number_of_kept_plans_is_bounded(normal):
    for dim in range(1, _plan._PLANS + 20):
        q = normal(1, 1, 2, dim)
        attn.scaled_dot_product_attention(q, q, q)
    assert _plan._plan_for.cache_info().currsize <= _plan._PLANS
    for length in range(1, _prepare._CALLS + 20):
        q = normal(1, 1, length, 2)
        attn.scaled_dot_product_attention(q, q, q)
    assert _prepare.prepare.cache_info().currsize <= _prepare._CALLS


def _child(q, wanted, inherited, queue):
    same = np.array_equal(attn.scaled_dot_product_attention(q, q, q), wanted)
    own = _context.current().handle.value != inherited
    queue.put((same, own, attn.get_num_threads()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)
def test_a_forked_child_computes(normal):
    """Also while another thread of the parent is in the middle of a call."""
    attn.set_num_threads(2)
    q = normal(2, 4, 300, 64)
    wanted = attn.scaled_dot_product_attention(q, q, q)
    inherited = _context.current().handle.value
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            attn.scaled_dot_product_attention(q, q, q)

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        fork = multiprocessing.get_context("fork")
        for _ in range(3):
            queue = fork.Queue()
            child = fork.Process(target=_child, args=(q, wanted, inherited, queue))
            child.start()
            try:
                assert queue.get(timeout=60) == (True, True, 2)
                child.join(60)
                assert child.exitcode == 0
            finally:
                child.kill()  # one that hangs would hang the end of this process too
    finally:
        stop.set()
        thread.join()
    np.testing.assert_array_equal(attn.scaled_dot_product_attention(q, q, q), wanted)


def test_a_child_leaves_the_handles_of_its_parent_alone(monkeypatch):
    destroyed = []

    class Owner:
        pass

    mine, inherited = Owner(), Owner()
    _context.owned(mine, destroyed.append, "mine")
    _context.owned(inherited, destroyed.append, "inherited")
    del mine
    monkeypatch.setattr(os, "getpid", lambda: -1)
    del inherited
    gc.collect()
    assert destroyed == ["mine"]
