"""Attention by torch's operations: the judge in float64, the rival in float32.

It builds the whole matrix of scores and knows every option; torch's autograd gives the
gradients. Which query may attend which key, and where it looks into tables of relative
positions, comes from the reference of tests/python, which shares nothing with attn.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention

import reference
from random_problems import arguments
from relative import VECTORS, Terms


def attention(inputs, options):
    """Outputs by name, for inputs of (batch, heads, length, dim) of one float type.

    inputs holds query, key and value, and those of attn_mask (a bias), alibi_slopes,
    sinks, relative positions and score_vector that there are; options the others as in
    Problem, numpy arrays and numbers, and under "keep" the dropout mask.
    """
    query = inputs["query"]
    batch, heads, queries, _ = query.shape
    group = heads // inputs["key"].shape[1]
    key = inputs["key"].repeat_interleave(group, dim=1)
    value = inputs["value"].repeat_interleave(group, dim=1)
    ok, term = _mask_and_term(inputs, options, (batch, heads, queries, key.shape[2]))

    scores = _products(inputs, key) * _scale(inputs, options)
    if options.get("softcap"):
        scores = options["softcap"] * torch.tanh(scores / options["softcap"])
    scores = torch.where(ok, scores + term, -torch.inf)
    sinks = torch.full((heads, 1, 1), -torch.inf, dtype=query.dtype)
    if "sinks" in inputs:
        sinks = inputs["sinks"].reshape(heads, 1, 1)
    everything = torch.cat([scores, sinks.expand(batch, heads, queries, 1)], dim=-1)
    largest = everything.detach().amax(dim=-1, keepdim=True)
    # Where nothing is attended there is nothing to subtract, and no logarithm.
    largest = torch.where(largest > -torch.inf, largest, 0)
    exps = torch.exp(everything - largest)
    total = exps.sum(dim=-1, keepdim=True)
    some = total > 0
    weights = exps[..., :-1] / torch.where(some, total, 1)
    lse = torch.where(
        some, torch.log(torch.where(some, total, 1)) + largest, -torch.inf
    )
    dropped = weights
    if "keep" in options:
        probability = options["dropout_p"]
        dropped = weights * options["keep"] / (1 - probability)
    return {
        "out": dropped @ value,
        "lse": lse[..., 0],
        "weights": weights,
        "key_sums": weights.sum(dim=2),
    }


def out_of_torch(inputs, options):
    """Out by torch's own function, or None where it has no such option.

    What it has no option for, but can be said by a mask, is said by a mask.
    """
    if options.get("softcap") or "keep" in options:
        return None
    if "sinks" in inputs or "score_vector" in inputs:
        return None
    query, key = inputs["query"], inputs["key"]
    shape = (*query.shape[:3], key.shape[2])
    ok, term = _mask_and_term(inputs, options, shape)
    if not ok.any(dim=-1).all():
        return None  # NaN, in some of its backends
    return scaled_dot_product_attention(
        _content(inputs),
        key,
        inputs["value"],
        None if ok.all() and not term.any() else torch.where(ok, term, -torch.inf),
        scale=_scale(inputs, options),
        enable_gqa=True,
    )


def _mask_and_term(inputs, options, shape):
    """Which query may attend which key, and what is added to the scores."""
    masks = dict(options)
    if "attn_mask" in inputs:
        masks["attn_mask"] = inputs["attn_mask"].detach().numpy()
    allowed, position = reference.allowed(shape, masks)
    ok = torch.from_numpy(allowed)
    term = torch.zeros((), dtype=inputs["query"].dtype)
    if "attn_mask" in inputs:
        # Masked pairs are left out, so that no -inf meets a 0 on the way back.
        term = term + torch.where(ok, inputs["attn_mask"], 0)
    if "alibi_slopes" in inputs:
        distance = abs(position - np.arange(shape[3]))
        distance = torch.from_numpy(distance).to(inputs["query"].dtype)
        slopes = inputs["alibi_slopes"]
        slopes = slopes if slopes.dim() == 2 else slopes[None]
        term = term - slopes[:, :, None, None] * distance
    return ok, term + _relative_term(inputs, options, shape, position)


def _relative_term(inputs, options, shape, position):
    """What is looked up by the distance of query and key, or by their segments."""
    scale = _scale(inputs, options)
    arrays = {name: x.detach().numpy() for name, x in inputs.items()}
    rows = {
        name: torch.from_numpy(row)
        for name, row in Terms(
            arguments(arrays, options), position, shape[3], scale
        ).rows.items()
    }
    term = torch.zeros((), dtype=inputs["query"].dtype)
    if "relative_bias" in rows:
        term = inputs["relative_bias"][rows["relative_bias"][:, 0]].movedim(-1, 1)
    for name, bias in VECTORS.items():
        if name in rows:
            query = inputs["query"]
            if bias in inputs:
                query = query + inputs[bias][:, None]
            table = inputs[name]
            if name == "segment_keys":
                table = table.transpose(0, 1)
            products = query @ table.transpose(-1, -2) * scale
            term = term + products.gather(3, rows[name].expand(shape))
    return term


def _products(inputs, key):
    """What the scale multiplies: products of queries and keys, or additive scores."""
    if "score_vector" not in inputs:
        return _content(inputs) @ key.transpose(-1, -2)
    sums = inputs["query"][:, :, :, None] + key[:, :, None]
    return sums.tanh().mul(inputs["score_vector"][:, None, None]).sum(dim=-1)


def _content(inputs):
    """What meets the keys."""
    if "content_bias" not in inputs:
        return inputs["query"]
    return inputs["query"] + inputs["content_bias"][:, None]


def _scale(inputs, options):
    default = 1.0 if "score_vector" in inputs else inputs["query"].shape[-1] ** -0.5
    return options.get("scale", default)
