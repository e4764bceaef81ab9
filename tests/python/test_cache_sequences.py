"""Sequences of a cache: how long, how large, forgotten, forked, saved and closed."""

from __future__ import annotations

import gc
import multiprocessing
import os
import weakref

import numpy as np
import pytest

from attn import AttnError, Status
from cached import EV, HKV, TYPES, Beside, E, H, new


def test_pages_and_bytes(rows):
    cache = new(capacity=64, page_size=8, pages=5, dtype="float16")
    assert cache.free_pages == 5
    assert cache.used_bytes == 0
    page = 8 * HKV * (E + EV) * 2
    assert 5 * page <= cache.bytes < 5 * (page + 256)
    cache.append(rows(2, HKV, 9, E), rows(2, HKV, 9, EV), sequences=[0, 2])
    assert cache.free_pages == 1
    assert cache.used_bytes == cache.bytes // 5 * 4
    with pytest.raises(AttnError, match="pages"):
        cache.append(rows(2, HKV, 9, E), rows(2, HKV, 9, EV), sequences=[0, 1])
    cache.clear(0)
    assert [cache.length(b) for b in range(3)] == [0, 0, 9]
    assert cache.free_pages == 3
    cache.clear()
    assert cache.free_pages == 5


def test_capacity(rows):
    cache = new(capacity=8)
    cache.append(rows(3, HKV, 8, E), rows(3, HKV, 8, EV))
    with pytest.raises(AttnError, match="8") as caught:
        cache.append(rows(3, HKV, 1, E), rows(3, HKV, 1, EV))
    assert caught.value.status is Status.INVALID
    assert cache.length(0) == 8


@pytest.mark.parametrize("page_size", [None, 4])
def test_lives(rows, normal, close, page_size):
    """Truncate, evict, fork and reorder."""
    cache, model = new(page_size=page_size), Beside()
    key, value = rows(3, HKV, 20, E), rows(3, HKV, 20, EV)
    cache.append(key, value)
    model.append(key, value, range(3))
    query = normal(3, H, 2, E)

    def check(**options):
        model.check(cache.attend(query), query, range(3), close, **options)

    cache.truncate(1, 13)
    model.keys[1], model.values[1] = (
        a[:, :, :13] for a in (model.keys[1], model.values[1])
    )
    assert cache.length(1) == 13
    check()
    cache.fork(1, 2)
    model.keys[2], model.values[2] = model.keys[1], model.values[1]
    check()
    cache.append(key[:2, :, :3], value[:2, :, :3], sequences=[2, 0])
    model.append(key[:2, :, :3], value[:2, :, :3], [2, 0])
    check()
    for parents in ([2, 2, 0], np.array([1, 0, 2], np.uint8)[::-1]):
        cache.reorder(parents)
        model.keys = [model.keys[b] for b in parents]
        model.values = [model.values[b] for b in parents]
        check()
    length = cache.length(0)
    cache.evict(0, 6)
    assert cache.length(0) == length
    assert 0 < cache.first(0) <= 6
    kept = length - cache.first(0)
    got = cache.attend(query[:1], sequences=0)
    model.check(got, query, [0], close, kept=kept)


@pytest.mark.parametrize("page_size", [None, 8])
def test_a_ring_forgets(rows, normal, close, page_size):
    cache, model = new(capacity=16, ring=True, page_size=page_size), Beside()
    for step in range(30):
        key, value = rows(3, HKV, 1, E), rows(3, HKV, 1, EV)
        cache.append(key, value)
        model.append(key, value, range(3))
        query = normal(3, H, 1, E)
        kept = cache.length(0) - cache.first(0)
        assert cache.length(0) == step + 1
        assert min(step + 1, 9) <= kept <= 16
        model.check(cache.attend(query), query, range(3), close, kept=kept)


@pytest.mark.parametrize("dtype", TYPES)
def test_files(rows, normal, tmp_path, dtype):
    one, two = new(dtype=dtype), new(dtype=dtype, page_size=4)
    one.append(rows(3, HKV, 9, E), rows(3, HKV, 9, EV))
    path = tmp_path / "prompt"
    one.save(2, path)
    two.load(1, str(path))
    assert two.length(1) == 9
    query = normal(1, H, 3, E)
    np.testing.assert_allclose(
        two.attend(query, sequences=[1]),
        one.attend(query, sequences=[2]),
        rtol=1e-5,
        atol=1e-6,
    )
    with pytest.raises(AttnError) as caught:
        two.load(0, tmp_path / "none")
    assert caught.value.status is Status.IO
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(AttnError) as caught:
        two.load(0, path)
    assert caught.value.status is Status.IO
    assert two.length(0) == 0
    with pytest.raises(AttnError, match="null character"):
        two.load(0, "a\0b")


def test_closing(rows, normal):
    with new() as cache:
        cache.append(rows(3, HKV, 2, E), rows(3, HKV, 2, EV))
    for use in (
        lambda c: c.append(rows(3, HKV, 2, E), rows(3, HKV, 2, EV)),
        lambda c: c.attend(normal(3, H, 1, E)),
        lambda c: c.length(0),
        lambda c: c.bytes,
    ):
        with pytest.raises(AttnError, match="the cache is closed"):
            use(cache)
    cache.close()
    cache = new()
    gone = weakref.ref(cache)
    del cache
    gc.collect()
    assert gone() is None


def _child(cache, query, wanted):
    """What a child does with the cache of its parent; exits with 0 if all is well."""
    same = np.array_equal(cache.attend(query), wanted)
    cache.append(query[:, :HKV], np.ones((3, HKV, 2, EV), np.float32))
    os._exit(0 if same and cache.length(0) == 4 else 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)
def test_a_forked_child_has_a_copy(rows, normal):
    cache, query = new(), normal(3, H, 2, E)
    cache.append(rows(3, HKV, 2, E), rows(3, HKV, 2, EV))
    wanted = cache.attend(query)
    fork = multiprocessing.get_context("fork")
    child = fork.Process(target=_child, args=(cache, query, wanted))
    child.start()
    try:
        child.join(60)
        assert child.exitcode == 0
    finally:
        child.kill()
    assert cache.length(0) == 2
    np.testing.assert_array_equal(cache.attend(query), wanted)
