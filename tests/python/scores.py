"""Scores before softcap by their definitions, for the reference; in float64.

They are products of queries and keys, or additive. The contract is
``include/attn/desc.h`` and ``include/attn/backward.h``.
"""

from __future__ import annotations

import numpy as np

from relative import reduced


def scale_of(options, scale, dim):
    """The scale of a call, given or not."""
    if scale is None:
        return 1 if options.get("score_vector") is not None else 1 / np.sqrt(dim)
    return scale


def scores(options, query, key):
    """Scores of scale 1; query has as many heads as key."""
    vector = _vector(options, query)
    if vector is None:
        return np.einsum("bhid,bhjd->bhij", query, key)
    total = 0
    for c, t in _tanhs(query, key):
        total = total + vector[:, None, None, c] * t
    return total


def score_gradients(options, of_scores, query, key, magnitudes=False):
    """What scores of scale 1 hand on to query and key, and to the vector by name.

    With magnitudes, what bounds them: tanh is computed to so many digits after the
    point, and 1 - tanh^2 is as far off where it is small.
    """
    vector = _vector(options, query)
    if vector is None:
        of_query = np.einsum("bhij,bhjd->bhid", of_scores, key)
        return of_query, np.einsum("bhij,bhid->bhjd", of_scores, query), {}
    vector = np.abs(vector) if magnitudes else vector
    of_query, of_key = np.empty(query.shape), np.empty(key.shape)
    of_vector = np.empty(vector.shape)
    for c, t in _tanhs(query, key):
        slope = np.ones(t.shape) if magnitudes else (1 - t) * (1 + t)
        size = np.ones(t.shape) if magnitudes else t
        of_sums = vector[:, None, None, c] * slope * of_scores
        of_query[..., c], of_key[..., c] = of_sums.sum(axis=3), of_sums.sum(axis=2)
        of_vector[:, c] = np.sum(of_scores * size, (0, 2, 3))
    shape = np.shape(options["score_vector"])
    return of_query, of_key, {"score_vector": reduced(of_vector, shape)}


def _vector(options, query):
    """The score vector of each head, or None."""
    vector = options.get("score_vector")
    if vector is None:
        return None
    shape = (query.shape[1], query.shape[3])
    return np.broadcast_to(np.asarray(vector, np.float64), shape)


def _tanhs(query, key):
    """tanh(query + key) of all pairs, one feature at a time."""
    for c in range(query.shape[3]):
        yield c, np.tanh(query[..., :, None, c] + key[..., None, :, c])
