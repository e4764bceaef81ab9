"""A cache, and beside it the keys and values that it should keep."""

from __future__ import annotations

import numpy as np

import attn
import reference

H, HKV, E, EV = 4, 2, 16, 24
TYPES = ["float32", "float16", "bfloat16", "int8"]


def new(sequences=3, capacity=64, **options):
    return attn.KVCache(sequences, HKV, E, EV, capacity=capacity, **options)


class Beside:
    """What the keys and values of each sequence should be."""

    def __init__(self, sequences=3):
        self.keys = [np.zeros((1, HKV, 0, E), np.float32)] * sequences
        self.values = [np.zeros((1, HKV, 0, EV), np.float32)] * sequences

    def append(self, key, value, sequences):
        for i, b in enumerate(sequences):
            self.keys[b] = np.concatenate([self.keys[b], key[i : i + 1]], 2)
            self.values[b] = np.concatenate([self.values[b], value[i : i + 1]], 2)

    def check(self, got, query, sequences, close, kept=None, **options):
        """Compares outputs (n, ...) of sequences, which keep that many keys."""
        for i, b in enumerate(sequences):
            key, value = self.keys[b], self.values[b]
            if kept is not None:
                key, value = key[:, :, -kept:], value[:, :, -kept:]
            wanted = reference.attention(
                query[i : i + 1], key, value, causal="bottom_right", **options
            )
            close(got[i], wanted["out"][0])
