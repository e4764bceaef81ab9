"""The structs and constants of ``attn/layer.h``, as ctypes sees them.

``tests/python/test_structs.py`` compares them with the header, like those of
``_structs.py``.
"""

from __future__ import annotations

import ctypes

from ._structs import (
    BackwardArgs,
    ForwardArgs,
    TensorPointer,
    padded,
    should_stop_function,
)

# How the outputs of heads become one.
COMBINE = {"concat": 0, "mean": 1}

# What a head's query, key and value are projected from.
PROJECT = {"all": 0, "slices": 1}

NORMS = {"layer": 0, "rms": 1}

ACTIVATIONS = {"relu": 0, "gelu": 1, "gelu_tanh": 2, "silu": 3}


class MultiheadOptions(ctypes.Structure):
    """``attn_multihead_options``: what a layer of multi-head attention is."""

    _fields_ = padded(
        ("size", ctypes.c_int64),
        ("embed_dim", ctypes.c_int64),
        ("heads", ctypes.c_int64),
        ("kv_heads", ctypes.c_int64),
        ("key_dim", ctypes.c_int64),
        ("value_dim", ctypes.c_int64),
        ("key_embed_dim", ctypes.c_int64),
        ("value_embed_dim", ctypes.c_int64),
        ("separate", ctypes.c_int64),
        ("input_bias", ctypes.c_int64),
        ("output_bias", ctypes.c_int64),
        ("key_value_bias", ctypes.c_int64),
        ("zero_attention", ctypes.c_int64),
        ("combine", ctypes.c_int64),
        ("project", ctypes.c_int64),
        ("rotary_dim", ctypes.c_int64),
        ("rotary_interleaved", ctypes.c_int64),
        ("rotary_base", ctypes.c_double),
        ("relative", ctypes.c_int64),
        ("targets", ctypes.c_int64),
    )


class StackOptions(ctypes.Structure):
    """``attn_stack_options``: what a stack of blocks is."""

    _fields_ = padded(
        ("size", ctypes.c_int64),
        ("layers", ctypes.c_int64),
        ("groups", ctypes.c_int64),
        ("feed_forward_dim", ctypes.c_int64),
        ("activation", ctypes.c_int64),
        ("gated", ctypes.c_int64),
        ("feed_forward_bias", ctypes.c_int64),
        ("norm", ctypes.c_int64),
        ("norm_bias", ctypes.c_int64),
        ("norm_first", ctypes.c_int64),
        ("final_norm", ctypes.c_int64),
        ("recompute", ctypes.c_int64),
        ("epsilon", ctypes.c_double),
        ("self_attention", ctypes.POINTER(MultiheadOptions)),
        ("cross_attention", ctypes.POINTER(MultiheadOptions)),
    )


class LayerArgs(ctypes.Structure):
    """``attn_layer_args``: what one call of a layer works on."""

    _fields_ = padded(
        ("size", ctypes.c_int64),
        # Sequences.
        ("input", TensorPointer),
        ("key", TensorPointer),
        ("value", TensorPointer),
        ("output", TensorPointer),
        # What the attention gets.
        ("attention", ctypes.POINTER(ForwardArgs)),
        ("cross_attention", ctypes.POINTER(ForwardArgs)),
        # Rotary positions.
        ("position_ids", TensorPointer),
        ("offsets", TensorPointer),
        ("cosines", TensorPointer),
        ("sines", TensorPointer),
        ("key_position_ids", TensorPointer),
        ("key_offsets", TensorPointer),
        # Relative positions.
        ("positions", TensorPointer),
        ("relative_zero", ctypes.c_int64),
        # Outputs of a stack.
        ("weights", TensorPointer),
        ("mean_weights", TensorPointer),
        ("cross_weights", TensorPointer),
        ("cross_mean_weights", TensorPointer),
        # Which queries the rows of input are.
        ("targets", TensorPointer),
        ("query_length", ctypes.c_int64),
        # How to run.
        ("state", ctypes.c_void_p),
        ("state_size", ctypes.c_int64),
        ("workspace", ctypes.c_void_p),
        ("workspace_size", ctypes.c_int64),
        ("should_stop", should_stop_function),
        ("should_stop_user", ctypes.c_void_p),
    )


class LayerBackwardArgs(ctypes.Structure):
    """``attn_layer_backward_args``: what one call for gradients works on."""

    _fields_ = padded(
        ("size", ctypes.c_int64),
        ("forward", ctypes.POINTER(LayerArgs)),
        ("grad_output", TensorPointer),
        # Gradients of the inputs, written.
        ("grad_input", TensorPointer),
        ("grad_key", TensorPointer),
        ("grad_value", TensorPointer),
        ("grad_positions", TensorPointer),
        # Gradients of what the attention gets.
        ("attention", ctypes.POINTER(BackwardArgs)),
        ("cross_attention", ctypes.POINTER(BackwardArgs)),
        # How to run.
        ("workspace", ctypes.c_void_p),
        ("workspace_size", ctypes.c_int64),
        ("should_stop", should_stop_function),
        ("should_stop_user", ctypes.c_void_p),
    )
