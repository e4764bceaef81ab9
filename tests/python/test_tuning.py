"""tune, tuning_export, tuning_import."""

import threading
import time

import numpy as np
import pytest

import attn


@pytest.fixture(autouse=True)
def as_before():
    text = attn.tuning_export()
    yield
    attn.tuning_import(text)


def test_calls_follow_what_was_measured():
    rng = np.random.default_rng(1)
    q, k, v = rng.standard_normal((3, 2, 4, 70, 24), dtype=np.float32)
    before = attn.scaled_dot_product_attention(q, k, v, is_causal=True)
    attn.tune(4, 4, 70, 70, 24, is_causal=True, milliseconds=2)
    text = attn.tuning_export()
    assert "\nentry 24 24 1 " in text
    after = attn.scaled_dot_product_attention(q, k, v, is_causal=True)
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-5)
    attn.tune(4, 2, 3, 70, 8, 16, milliseconds=2)
    assert "\nentry 8 16 2 " in attn.tuning_export()
    assert "\nentry 24 24 1 " in attn.tuning_export()


def test_tiles_come_from_the_text():
    rng = np.random.default_rng(2)
    q = rng.standard_normal((1, 2, 300, 40), dtype=np.float32)
    before = attn.scaled_dot_product_attention(q, q, q)
    facts = attn.tuning_export().split("entry")[0].removesuffix("end\n")
    attn.tuning_import(f"{facts}entry 40 40 1 32 48 16 16 0 4 1 0 1 1 1 1\nend\n")
    after = attn.scaled_dot_product_attention(q, q, q)
    assert not np.array_equal(after, before)
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-5)


def test_the_number_of_threads_keeps_the_tuning():
    attn.tune(1, 1, 20, 30, 12, milliseconds=2)
    text = attn.tuning_export()
    threads = attn.get_num_threads()
    attn.set_num_threads(1)
    assert attn.tuning_export() == text
    attn.set_num_threads(threads)
    assert attn.tuning_export() == text


def test_changes_meanwhile_are_kept():
    threads = attn.get_num_threads()
    tunings = [
        threading.Thread(
            target=attn.tune, args=(2, 2, 90, 90, dim), kwargs={"milliseconds": 200}
        )
        for dim in (20, 28)
    ]
    for tuning in tunings:
        tuning.start()
    time.sleep(0.1)  # while one of them measures
    attn.set_num_threads(threads + 2)
    for tuning in tunings:
        tuning.join()
    assert attn.get_num_threads() == threads + 2
    attn.set_num_threads(threads)
    text = attn.tuning_export()
    assert "\nentry 20 20 1 " in text and "\nentry 28 28 1 " in text


def test_refusals_change_nothing():
    attn.tune(1, 1, 20, 30, 12, milliseconds=2)
    text = attn.tuning_export()
    with pytest.raises(attn.AttnError, match="isa other"):
        attn.tuning_import(text.replace("\nisa ", "\nisa other "))
    with pytest.raises(attn.AttnError, match="no export"):
        attn.tuning_import("what")
    for other in (text + "\0x", text.encode(), None, "\ud800"):
        with pytest.raises(attn.AttnError, match="no export"):
            attn.tuning_import(other)
    with pytest.raises(attn.AttnError, match="q_length is 18446744073709551680"):
        attn.tune(1, 1, 2**64 + 64, 30, 12)
    with pytest.raises(attn.AttnError, match="kv_length is 9223372036854775808"):
        attn.tune(1, 1, 20, 2**63, 12)
    with pytest.raises(attn.AttnError, match=r"heads is 1\.5"):
        attn.tune(1.5, 1, 20, 30, 12)
    with pytest.raises(attn.AttnError, match="milliseconds is -1"):
        attn.tune(1, 1, 20, 30, 12, milliseconds=2**40)
    with pytest.raises(attn.AttnError, match="not a multiple"):
        attn.tune(3, 2, 20, 30, 12)
    assert attn.tuning_export() == text
