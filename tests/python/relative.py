"""Relative positions and segments by their definitions, for the reference; in float64.

All three terms look something up in a table, by a number of each pair of a query and a
key: the bucket of their distance, the row of their distance, whether their segments
differ. The contract is ``include/attn/desc.h``.
"""

from __future__ import annotations

import numpy as np

# Tables of vectors, and the bias of the query that meets them.
VECTORS = {"relative_keys": "position_bias", "segment_keys": "segment_bias"}


def bucket(distance, buckets, max_distance, bidirectional):
    """T5's bucket of a distance p - j, decided in whole numbers."""
    n = buckets // 2 if bidirectional else buckets
    if distance < 0:
        return n + bucket(-distance, n, max_distance, False) if bidirectional else 0
    e = n // 2
    if distance < e:
        return distance
    # k up to log(distance / e) / log(max_distance / e) (n - e), without logarithms
    least = distance ** (n - e)
    found = (k for k in range(n - e) if max_distance**k * e ** (n - e - k) <= least)
    return e + max(found)


def reduced(array, shape):
    """The sum of array over the dimensions that are missing or 1 in shape."""
    padded = (1,) * (array.ndim - len(shape)) + tuple(shape)
    axes = tuple(i for i in range(array.ndim) if padded[i] != array.shape[i])
    return array.sum(axis=axes).reshape(shape)


class Terms:
    """The tables of a call, and what is looked up in them for each pair."""

    def __init__(self, options, position, keys, scale):
        self.scale = scale
        self.tables, self.rows = {}, {}
        for name in ("relative_bias", "relative_keys"):
            if options.get(name) is not None:
                self.tables[name] = np.asarray(options[name][0], np.float64)
        for name in ("segment_keys", "content_bias", "position_bias", "segment_bias"):
            if options.get(name) is not None:
                self.tables[name] = np.asarray(options[name], np.float64)
        distance = np.arange(keys) - position
        if "relative_bias" in self.tables:
            table, *rule = options["relative_bias"]
            values, which = np.unique(distance, return_inverse=True)
            buckets = np.array([bucket(-int(d), len(table), *rule) for d in values])
            self.rows["relative_bias"] = buckets[which].reshape(distance.shape)
        if "relative_keys" in self.tables:
            table, zero = options["relative_keys"]
            row = np.clip(distance + zero, 0, table.shape[-2] - 1)
            self.rows["relative_keys"] = row
        if "segment_keys" in self.tables:
            of_queries = np.atleast_2d(options["q_segments"])[:, None, :, None]
            of_keys = np.atleast_2d(options["k_segments"])[:, None, None, :]
            self.rows["segment_keys"] = (of_queries != of_keys).astype(int)

    def make_absolute(self):
        """Takes the absolute of all numbers, to find out how large the terms are."""
        self.scale = abs(self.scale)
        self.tables = {name: np.abs(table) for name, table in self.tables.items()}

    def content(self, query):
        """What meets the keys."""
        return self._biased(query, "content_bias")

    def scores(self, query):
        """What is added to the scores."""
        total = np.zeros(())
        if "relative_bias" in self.tables:
            table = self.tables["relative_bias"]
            table = np.broadcast_to(table, (len(table), query.shape[1]))
            total = np.moveaxis(table[self.rows["relative_bias"][:, 0]], -1, 1)
        for name, vectors, biased in self._vectors(query):
            products = self.scale * np.einsum("bhid,hrd->bhir", biased, vectors)
            rows = self.rows[name]
            rows = np.broadcast_to(rows, (*query.shape[:3], rows.shape[3]))
            total = total + np.take_along_axis(products, rows, axis=3)
        return total

    def gradients(self, of_scores, query, of_content):
        """Those of the tables by name, and what the terms add to that of query.

        From those of the scores, and of what meets the keys.
        """
        found, of_query = {}, np.zeros(query.shape)
        if "content_bias" in self.tables:
            found["content_bias"] = of_content.sum(axis=(0, 2))
        if "relative_bias" in self.tables:
            sums = self._sums(of_scores, "relative_bias")
            found["relative_bias"] = sums.sum(axis=(0, 2)).T
        for name, vectors, biased in self._vectors(query):
            sums = self.scale * self._sums(of_scores, name)
            of_query += np.einsum("bhir,hrd->bhid", sums, vectors)
            grad = np.einsum("bhir,bhid->hrd", sums, biased)
            found[name] = grad.swapaxes(0, 1) if name == "segment_keys" else grad
            if VECTORS[name] in self.tables:
                found[VECTORS[name]] = np.einsum("bhir,hrd->hd", sums, vectors)
        shapes = {name: table.shape for name, table in self.tables.items()}
        return {name: reduced(g, shapes[name]) for name, g in found.items()}, of_query

    def _vectors(self, query):
        """The tables of vectors, (heads, rows, dim), and the query that meets them."""
        for name, bias in VECTORS.items():
            if name in self.tables:
                table = self.tables[name]
                if name == "segment_keys":
                    table = table.swapaxes(0, 1)
                wide = np.broadcast_to(table, (query.shape[1], *table.shape[-2:]))
                yield name, wide, self._biased(query, bias)

    def _biased(self, query, name):
        """The query with the bias of this name, if there is one."""
        return query + self.tables[name][..., None, :] if name in self.tables else query

    def _sums(self, of_scores, name):
        """For each query and row of a table, the sum over the pairs that look it up."""
        count = {"segment_keys": 2, "relative_bias": len(self.tables[name])}
        rows = range(count.get(name, self.tables[name].shape[-2]))
        which = self.rows[name]
        return np.stack([np.sum(of_scores * (which == r), axis=3) for r in rows], 3)
