"""Layers called from several threads, and the life of the C layers behind them."""

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
from attn import _context, _layer_handle, _layer_pool, _layer_prepare

E, H = 32, 4


@pytest.fixture(autouse=True)
def all_threads():
    """Leaves the number of threads as it was at the start."""
    yield
    attn.set_num_threads(0)


@pytest.fixture
def layer():
    return attn.MultiheadAttention(E, H, batch_first=True, reproducible=True, seed=1)


def test_threads_share_a_layer(normal, layer):
    """Each goes back through its own forward call; parameters' gradients add up."""
    grad = normal(2, 9, E)
    work = []
    for _ in range(6):
        x = normal(2, 9, E)
        output, _ = layer(x, x, x)
        work.append((x, output, layer.backward(grad).grad_query))
    once = {name: array.copy() for name, array in layer.grads.items()}
    layer.zero_grad()
    start = threading.Barrier(6)

    def run(index):
        x, output, wanted = work[index]
        start.wait()
        good = True
        for _ in range(30):
            good &= np.array_equal(layer(x, x, x)[0], output)
            good &= np.array_equal(layer.backward(grad).grad_query, wanted)
        return good

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(run, range(6)))
    for name, array in layer.grads.items():
        np.testing.assert_allclose(array, 30 * once[name], rtol=1e-4, atol=1e-3)


def test_layers_of_one_kind_share_c_layers(normal):
    """One thread needs one C layer, whatever the parameters and the lengths."""
    made = []
    real = _layer_pool.Handle

    class Counted(real):
        def __init__(self, *args):
            made.append(args)
            super().__init__(*args)

    layers = [attn.MultiheadAttention(E, H, batch_first=True, seed=s) for s in (1, 2)]
    _layer_pool._pool_for.cache_clear()
    _layer_prepare.ready.cache_clear()
    x = normal(4, 16, E)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_layer_pool, "Handle", Counted)
        for length in (9, 16, 12):
            for layer in layers:
                for part in (x[:3, :length], x[:, :length]):
                    layer(
                        part,
                        part,
                        part,
                        key_padding_mask=np.zeros(part.shape[:2], bool),
                    )
                    layer.backward(part)
    assert len(made) == 1
    one, two = (layer(x, x, x)[0] for layer in layers)
    assert not np.allclose(one, two)


def test_parameters_change_while_others_compute(normal, layer):
    """Every call sees the one state dict or the other."""
    x = normal(2, 9, E)
    states = [attn.MultiheadAttention(E, H, seed=s).state_dict() for s in (1, 2)]
    wanted = []
    for state in states:
        layer.load_state_dict(state)
        wanted.append(layer(x, x, x)[0])
    stop = threading.Event()

    def run():
        good = True
        while not stop.is_set():
            got = layer(x, x, x)[0]
            good = good and any(np.array_equal(got, one) for one in wanted)
        return good

    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(run) for _ in range(3)]
        for number in range(200):
            layer.load_state_dict(states[number % 2])
        stop.set()
        assert all(future.result(timeout=60) for future in futures)


def test_the_number_of_threads_changes_between_forward_and_backward(normal, layer):
    x = normal(2, 9, E)
    layer(x, x, x)
    wanted = layer.backward(x).grad_query
    for n in (1, 3, 2):
        layer(x, x, x)
        attn.set_num_threads(n)
        np.testing.assert_allclose(layer.backward(x).grad_query, wanted, atol=1e-5)


def test_c_layers_are_destroyed(normal, monkeypatch, layer):
    destroyed = []
    real = _layer_handle.owned

    def spy(owner, destroy, handle):
        real(owner, lambda handle: (destroyed.append(1), destroy(handle)), handle)

    monkeypatch.setattr(_layer_handle, "owned", spy)
    attn.set_num_threads(2)
    x = normal(2, 9, E)
    layer(x, x, x)
    layer(x, x, x, is_causal=True)
    context = weakref.ref(_context.current())
    attn.set_num_threads(1)
    gc.collect()
    assert len(destroyed) == 2
    assert context() is None


def test_a_layer_keeps_no_array_alive(normal, layer):
    """Once another call has been made, nothing of the one before is kept."""
    x = normal(2, 9, E)
    layer(x, x, x)
    before = weakref.ref(x)
    x = normal(2, 9, E)
    layer(x, x, x)
    gc.collect()
    assert before() is None
    other = attn.MultiheadAttention(E, H)
    other(x, x, x)
    parameter = weakref.ref(other.parameters["in_proj_bias"])
    del other
    gc.collect()
    assert parameter() is None


def test_the_number_of_kept_c_layers_is_bounded(normal):
    layer = attn.MultiheadAttention(4, 1)
    for window in range(_layer_pool._POOLS + 10):
        x = normal(2, 1, 4)
        layer(x, x, x, window=(window, 0))
    assert _layer_pool._pool_for.cache_info().currsize <= _layer_pool._POOLS
    assert _layer_prepare.ready.cache_info().currsize <= _layer_prepare._CALLS


def _child(layer, x, wanted, queue):
    queue.put(np.array_equal(layer(x, x, x)[0], wanted))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)
def test_a_forked_child_computes(normal, layer):
    """Also while another thread of the parent is in the middle of a call."""
    attn.set_num_threads(2)
    x = normal(4, 60, E)
    wanted = layer(x, x, x)[0]
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            layer(x, x, x)

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        fork = multiprocessing.get_context("fork")
        for _ in range(3):
            queue = fork.Queue()
            child = fork.Process(target=_child, args=(layer, x, wanted, queue))
            child.start()
            try:
                assert queue.get(timeout=60)
                child.join(60)
                assert child.exitcode == 0
            finally:
                child.kill()  # one that hangs would hang the end of this process too
    finally:
        stop.set()
        thread.join()
