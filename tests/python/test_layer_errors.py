"""Every mistake with a layer gets an AttnError that names it, with the numbers."""

from __future__ import annotations

import numpy as np
import pytest

import attn
from attn import AttnError

E, H, N, L, S = 8, 2, 3, 5, 6


def zeros(*shape, dtype=np.float32):
    """An array to make mistakes with."""
    return np.zeros(shape, dtype)


@pytest.mark.parametrize(
    ("arguments", "options", "reason"),
    [
        ((0, 2), {}, "embed_dim is 0: expected 1 or more"),
        ((8, -2), {}, "num_heads is -2"),
        ((8, 2.0), {}, "num_heads is 2.0: expected an integer"),
        ((8, 3), {}, "embed_dim is 8, which is not a multiple of 3 num_heads"),
        ((8, 4), {"num_kv_heads": 3}, "num_heads is 4, .* of 3 num_kv_heads"),
        ((8, 2), {"head_dim": 0}, "head_dim is 0"),
        ((8, 2), {"value_dim": 1 << 40}, "value_dim"),
        ((8, 2), {"combine": "sum"}, "combine is 'sum': expected one of 'concat'"),
        ((8, 2), {"project": 1}, "project is 1: expected one of 'all', 'slices'"),
        ((8, 2), {"project": "slices", "kdim": 5}, "5 does not fall into 2 slices"),
        ((8, 2), {"rotary_dim": 3}, "rotary_dim is 3"),
        ((8, 2), {"rotary_dim": 6}, "rotary_dim is 6"),
        ((8, 2), {"rotary_base": 2.0}, "rotary_base is 2.0, but rotary_dim is 0"),
        ((8, 2), {"dropout": -0.1}, "dropout is -0.1: expected 0 to 1"),
        ((8, 2), {"dropout": "no"}, "dropout is 'no'"),
        ((8, 2), {"segments": True}, "segments=True, but relative is False"),
    ],
)
def test_what_a_layer_may_not_be(arguments, options, reason):
    with pytest.raises(AttnError, match=reason):
        attn.MultiheadAttention(*arguments, **options)


Q, K = zeros(N, L, E), zeros(N, S, E)
CALLS = [
    # query, key, value, options, what the message says
    (zeros(E), K, K, {}, r"query has shape \(8,\): expected \(batch, length, 8\)"),
    (zeros(N, L, 7), K, K, {}, r"query has shape \(3, 5, 7\)"),
    (Q, zeros(N, S, 7), K, {}, r"key has shape \(3, 6, 7\)"),
    (Q, zeros(2, S, E), K, {}, "query has a batch of 3, key of 2"),
    (Q, zeros(S, E), zeros(S, E), {}, "query has 3 dimensions, key 2"),
    (Q, K, zeros(N, 4, E), {}, "key has length 6, value 4"),
    (Q, K, zeros(N, S, E, dtype=np.float64), {}, "value is float64"),
    (Q, [[1.0]], K, {}, "key is of type list"),
    (Q, None, K, {}, "key is of type NoneType"),
    (Q, K, K, {"attn_mask": zeros(S, L)}, r"attn_mask has shape \(6, 5\): .*\(5, 6\)"),
    (Q, K, K, {"attn_mask": zeros(N, L, S)}, r"or \(6, 5, 6\)"),
    (Q, K, K, {"attn_mask": zeros(L, S, dtype=int)}, "attn_mask is int64: bool"),
    (Q, K, K, {"key_padding_mask": zeros(N, L)}, r"\(3, 5\): expected \(3, 6\)"),
    (Q, K, K, {"key_padding_mask": zeros(S)}, r"\(6,\): expected \(3, 6\)"),
    (Q, K, K, {"is_causal": True, "causal": "top_left"}, "is_causal=True and causal"),
    (Q, K, K, {"windows": 1}, "forward has no option windows"),
    (Q, K, K, {"query": 1}, "multiple values"),
    (Q, K, K, {"position_ids": [0]}, "position_ids is given, but rotary_dim is 0"),
    (Q, K, K, {"positions": (zeros(3, E), 0)}, "not relative"),
    (Q, K, K, {"positions": zeros(3, E)}, "positions is a ndarray: expected"),
    (Q, K, K, {"targets": [0]}, "targets is of type list"),
    (Q, K, K, {"query_length": 3}, "query_length is 3"),
    (Q, K, K, {"kv_lengths": [1, 2]}, r"kv_lengths has shape \(2,\)"),
    (Q, K, K, {"kv_lengths": [1, 2, 9]}, "kv_lengths"),
    (Q, K, K, {"sinks": zeros(3)}, r"sinks has shape \(3,\)"),
]


@pytest.mark.parametrize(("query", "key", "value", "options", "reason"), CALLS)
def test_what_a_call_may_not_have(query, key, value, options, reason):
    layer = attn.MultiheadAttention(E, H, batch_first=True)
    with pytest.raises((AttnError, TypeError), match=reason):
        layer(query, key, value, **options)


def test_two_masks_of_blocks():
    layer = attn.MultiheadAttention(E, H, batch_first=True)
    masks = {"attn_mask": zeros(L, S) > 0, "key_padding_mask": zeros(N, S) > 0}
    with pytest.raises(AttnError, match="block_mask cannot go together with two bool"):
        layer(Q, K, K, **masks, block_mask=(zeros(L, S) > 0, 1, 1))


def test_what_a_relative_layer_has_itself():
    layer = attn.MultiheadAttention(E, H, relative=True)
    with pytest.raises(AttnError, match="content_bias is given, but relative=True"):
        layer(Q, Q, Q, positions=(zeros(10, E), 5), content_bias=zeros(H, 4))
    with pytest.raises(AttnError, match="positions is missing"):
        layer(Q, Q, Q)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((zeros(N, L, 7),), r"grad_output has shape \(3, 5, 7\): expected \(3, 5, 8\)"),
        ((zeros(N, L, E, dtype=int),), "grad_output is int64"),
        ((Q, zeros(N, L, L)), r"grad_weights has shape .*: expected \(3, 5, 6\)"),
        ((Q, None, ["alibi_slopes"]), "gradient of alibi_slopes is wanted, but no"),
        ((Q, None, ["kv_lengths"]), "kv_lengths, int64, has no gradient"),
    ],
)
def test_what_backward_may_not_have(arguments, reason):
    layer = attn.MultiheadAttention(E, H, batch_first=True)
    layer(Q, K, K, kv_lengths=np.array([1, 2, 3]))
    with pytest.raises(AttnError, match=reason):
        layer.backward(*arguments)
    layer.backward(Q)  # the mistake can be made good


def test_gradients_of_weights_that_were_not_returned():
    layer = attn.MultiheadAttention(E, H, batch_first=True)
    layer(Q, K, K, need_weights=False)
    with pytest.raises(AttnError, match="forward returned no weights"):
        layer.backward(Q, zeros(N, L, S))
    layer = attn.MultiheadAttention(E, H, batch_first=True, add_zero_attn=True)
    layer(Q, K, K)
    with pytest.raises(AttnError, match="zero_attention"):
        layer.backward(Q, zeros(N, H, L, S + 1))


def test_backward_comes_once_after_a_forward_call_in_training():
    layer = attn.MultiheadAttention(E, H, batch_first=True)
    with pytest.raises(AttnError, match="there was no forward call in training"):
        layer.backward(Q)
    layer(Q, K, K)
    layer.backward(Q)
    with pytest.raises(AttnError, match="backward has been called for it"):
        layer.backward(Q)
    layer(Q, K, K)
    layer.eval()
    layer(Q, K, K)
    with pytest.raises(AttnError, match="there was no forward call in training"):
        layer.backward(Q)
