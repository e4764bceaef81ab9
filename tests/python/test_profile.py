"""Profile: what calls add to it, and which."""

import copy
import threading

import numpy as np
import pytest

import attn

STAGES = (
    *("copies", "scores", "terms", "softmax", "values"),
    *("gradients", "outputs", "other"),
)


def of_threads(times):
    return sum(getattr(times, stage) for stage in STAGES)


def test_calls_of_a_block_are_added_up(normal):
    q, k = normal(2, 4, 70, 16), normal(2, 4, 90, 16)
    before = attn.scaled_dot_product_attention(q, k, k)
    with attn.Profile() as times:
        assert times.calls == 0 and times.elapsed == 0
        same = attn.scaled_dot_product_attention(q, k, k)
        one = times.elapsed
        attn.scaled_dot_product_attention(q, k, k, is_causal=True, return_lse=True)
    attn.scaled_dot_product_attention(q, k, k)
    np.testing.assert_array_equal(before, same)
    assert times.calls == 2
    assert 0 < one < times.elapsed
    assert times.scores > 0 and times.softmax > 0 and times.values > 0
    assert times.gradients == 0
    assert 0 < of_threads(times) <= times.elapsed * attn.get_num_threads()


def test_backward_calls_count(normal):
    q = normal(1, 2, 40, 8)
    out, lse = attn.scaled_dot_product_attention(q, q, q, return_lse=True)
    with attn.Profile() as times:
        attn.scaled_dot_product_attention_backward(q, q, q, q, out, lse)
    assert times.calls == 1 and times.gradients > 0 and times.values == 0


def test_the_inner_of_two_counts(normal):
    q = normal(1, 2, 9, 8)
    with attn.Profile() as outer:
        attn.scaled_dot_product_attention(q, q, q)
        with attn.Profile() as inner:
            attn.scaled_dot_product_attention(q, q, q)
            attn.scaled_dot_product_attention(q, q, q)
        attn.scaled_dot_product_attention(q, q, q)
    assert (outer.calls, inner.calls) == (2, 2)
    with inner:
        attn.scaled_dot_product_attention(q, q, q)
    assert (outer.calls, inner.calls) == (2, 3)
    with inner, outer:
        with inner:
            attn.scaled_dot_product_attention(q, q, q)
        attn.scaled_dot_product_attention(q, q, q)
    assert (outer.calls, inner.calls) == (3, 4)


def test_a_copy_counts_for_itself(normal):
    q = normal(1, 2, 9, 8)
    with attn.Profile() as times:
        attn.scaled_dot_product_attention(q, q, q)
    with copy.deepcopy(times) as more:
        attn.scaled_dot_product_attention(q, q, q)
    assert (times.calls, more.calls) == (1, 2)


def test_each_thread_has_its_own(normal):
    q = normal(1, 2, 9, 8)

    def run():
        attn.scaled_dot_product_attention(q, q, q)

    with attn.Profile() as times:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        run()
    assert times.calls == 1


def test_plans_are_told(normal):
    q, k = normal(2, 4, 70, 16), normal(2, 4, 90, 16)
    with attn.Profile() as times:
        assert times.plans == {}
        out, lse = attn.scaled_dot_product_attention(q, k, k, return_lse=True)
        attn.scaled_dot_product_attention(q, k, k)
        attn.scaled_dot_product_attention_backward(q, q, k, k, out, lse)
        attn.scaled_dot_product_attention(q, k, k, window=(5, 5), softcap=2.0)
    (plain, calls), (windowed, one) = times.plans.items()
    assert (calls, one) == (3, 1)
    assert "masks: none\n" in plain and "tiles: " in plain and "tuned: no" in plain
    assert "window" in windowed and "softcap" in windowed
    with pytest.raises(attn.AttnError), times:
        attn.scaled_dot_product_attention(q, k, k, dropout_p=2.0)
    assert sum(times.plans.values()) == times.calls == 4


def test_calls_that_fail_add_nothing(normal):
    q = normal(1, 2, 9, 8)
    times = attn.Profile()
    with pytest.raises(attn.AttnError), times:
        attn.scaled_dot_product_attention(q, q[..., :7], q)
    attn.scaled_dot_product_attention(q, q, q)
    assert times.calls == 0


def test_words(normal):
    q = normal(1, 2, 100, 8)
    with attn.Profile() as times:
        assert str(times).splitlines()[1].endswith("0.0 %")
        attn.scaled_dot_product_attention(q, q, q)
    first, *stages = str(times).splitlines()
    assert first == f"1 calls, {times.elapsed / 1e6:.3f} ms"
    assert [line.split()[0] for line in stages] == list(STAGES)
    assert sum(float(line.split()[3]) for line in stages) == pytest.approx(100, abs=0.5)
    with pytest.raises(AttributeError, match="'seconds'"):
        times.seconds  # noqa: B018
