"""Additive attention, of Bahdanau et al.: the function that programs call."""

from __future__ import annotations

from typing import Any

from ._errors import invalid
from ._sdpa import scaled_dot_product_attention


def additive_attention(
    query: Any, key: Any, value: Any, score_vector: Any, **options: Any
) -> Any:
    """softmax(scale score_vector.tanh(query + key) + mask) value, for every head.

    The attention of Bahdanau et al., "Neural Machine Translation by Jointly Learning to
    Align and Translate" (2015): score[i, j] = scale sum_c score_vector[c]
    tanh(query[i, c] + key[j, c]). query is W s of their decoder states s, key U h of
    the annotations h, value h itself. Keys are the same in every step of a decoder, so
    they are projected once.

        >>> rng = np.random.default_rng(0)
        >>> W, U, v = rng.random((16, 32)), rng.random((24, 32)), rng.random(32)
        >>> W, U, v = (x.astype(np.float32) for x in (W, U, v))
        >>> h = rng.random((2, 1, 9, 24)).astype(np.float32)  # of 2 sentences
        >>> keys = h @ U
        >>> s = rng.random((2, 1, 1, 16)).astype(np.float32)  # in one step
        >>> step = attn.additive_attention(
        ...     s @ W, keys, h, v, kv_lengths=[9, 6], return_weights=True)
        >>> step.out.shape, step.weights.shape
        ((2, 1, 1, 24), (2, 1, 1, 9))

    query (..., Hq, L, E), key (..., H, S, E), value (..., H, S, Ev), as in
    scaled_dot_product_attention. Three dimensions are (heads, length, dim), so what has
    no heads may come as (batch, length, dim) as long as no option is given for each
    batch element.
    score_vector (Hq, E), or (E) for all heads, float32. Keras' AdditiveAttention is
    sum(scale * tanh(query + key)): its scale is the score_vector, ones without.

    The options are those of scaled_dot_product_attention, by keyword, but for
    relative_keys, content_bias, position_bias and segments, which are about products.
    scale is 1 unless given. So are the results, and the rules about masks.

    Memory is linear in the sequence lengths: no array of (L, S) is made, nor one of
    (L, S, E), which the formula as it stands takes. Gradients:
    scaled_dot_product_attention_backward with score_vector and score_vector_grad, and
    attn.torch.additive_attention for torch's autograd.
    """
    given = {**options, "score_vector": vector_of(score_vector)}
    return scaled_dot_product_attention(query, key, value, **given)


def vector_of(score_vector: Any) -> Any:
    """The score vector, which there has to be: without, scores are products."""
    if score_vector is None:
        raise invalid("score_vector is None: expected (heads, dim) or (dim)")
    return score_vector
