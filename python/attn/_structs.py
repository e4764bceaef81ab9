"""The structs and constants of the C headers, as ctypes sees them.

The layouts are those of ``attn/common.h``, ``attn/sdpa.h``, ``attn/backward.h`` and
``attn/rotary.h``, the constants also those of ``attn/desc.h``. A pointer takes 8 bytes
there on every platform; where a pointer has 4, a padding word follows it.
``tests/python/test_structs.py`` compares every offset with what a C compiler says.
"""

from __future__ import annotations

import ctypes
from typing import Any

# Element types.
F32 = 1
F16 = 2
BF16 = 3
BOOL = 4
I32 = 5
I64 = 6
I8 = 7

# What makes a score of a query and a key.
SCORE_DOT = 0
SCORE_ADDITIVE = 1

# Positions of the queries.
ALIGN_TOP_LEFT = 0
ALIGN_BOTTOM_RIGHT = 1
ALIGN_OFFSETS = 2

# Which ranks a query attends.
RANKS_OFF = 0
RANKS_UP_TO = 1
RANKS_BELOW = 2


def padded(*members: tuple[str, Any]) -> list[tuple[str, Any]]:
    """Members of a struct, each pointer followed by its padding where it is short."""
    fields: list[tuple[str, Any]] = []
    for name, ctype in members:
        fields.append((name, ctype))
        if ctypes.sizeof(ctype) == 4 and ctype is not ctypes.c_int32:
            fields.append((f"pad_{name}", ctypes.c_uint32))
    return fields


class Tensor(ctypes.Structure):
    """``attn_tensor``: a view of memory that somebody else owns."""

    data: int | None
    shape: ctypes.Array[ctypes.c_int64]
    stride: ctypes.Array[ctypes.c_int64]
    dtype: int
    rank: int

    _fields_ = padded(
        ("data", ctypes.c_void_p),
        ("shape", ctypes.c_int64 * 6),
        ("stride", ctypes.c_int64 * 6),
        ("dtype", ctypes.c_int32),
        ("rank", ctypes.c_int32),
        ("reserved", ctypes.c_int64 * 2),
    )


class Bounds(ctypes.Structure):
    """``attn_bounds``: the largest sizes that a plan will be called with."""

    _fields_ = padded(
        ("size", ctypes.c_int64),
        ("batch", ctypes.c_int64),
        ("q_length", ctypes.c_int64),
        ("kv_length", ctypes.c_int64),
    )


TensorPointer = ctypes.POINTER(Tensor)

should_stop_function = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)


class ForwardArgs(ctypes.Structure):
    """``attn_forward_args``: what one call works on."""

    _fields_ = padded(
        ("size", ctypes.c_int64),
        # Inputs.
        ("query", TensorPointer),
        ("key", TensorPointer),
        ("value", TensorPointer),
        ("out", TensorPointer),
        ("q_lengths", TensorPointer),
        ("kv_lengths", TensorPointer),
        ("query_offsets", TensorPointer),
        ("prefix_lengths", TensorPointer),
        ("q_documents", TensorPointer),
        ("k_documents", TensorPointer),
        ("block_mask", TensorPointer),
        ("mask", TensorPointer),
        ("bias", TensorPointer),
        ("alibi_slopes", TensorPointer),
        ("sinks", TensorPointer),
        # Outputs.
        ("lse", TensorPointer),
        ("row_max", TensorPointer),
        ("row_sum", TensorPointer),
        ("weights", TensorPointer),
        ("mean_weights", TensorPointer),
        ("key_sums", TensorPointer),
        ("raw_scores", TensorPointer),
        ("capped_scores", TensorPointer),
        ("biased_scores", TensorPointer),
        # Workspace and cancellation.
        ("workspace", ctypes.c_void_p),
        ("workspace_size", ctypes.c_int64),
        ("should_stop", should_stop_function),
        ("should_stop_user", ctypes.c_void_p),
        # Dropout.
        ("dropout_seed", ctypes.c_int64),
        ("rng_indices", TensorPointer),
        ("dropout_mask", TensorPointer),
        # Relative positions, segments and ranks.
        ("relative_bias", TensorPointer),
        ("relative_keys", TensorPointer),
        ("relative_zero", ctypes.c_int64),
        ("content_bias", TensorPointer),
        ("position_bias", TensorPointer),
        ("q_segments", TensorPointer),
        ("k_segments", TensorPointer),
        ("segment_keys", TensorPointer),
        ("segment_bias", TensorPointer),
        ("q_ranks", TensorPointer),
        ("k_ranks", TensorPointer),
        # Of keys and values in bytes.
        ("key_scales", TensorPointer),
        ("value_scales", TensorPointer),
        # Packed sequences.
        ("q_starts", TensorPointer),
        ("k_starts", TensorPointer),
        # A cache in place of key and value.
        ("cache", ctypes.c_void_p),
        ("cache_layer", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
        ("sequences", TensorPointer),
        ("profile", ctypes.c_void_p),
        # Additive scores.
        ("score_vector", TensorPointer),
    )


class Profile(ctypes.Structure):
    """``attn_profile``: where the time of calls goes."""

    _fields_ = padded(
        ("size", ctypes.c_int64),
        ("calls", ctypes.c_int64),
        ("elapsed", ctypes.c_int64),
        ("copies", ctypes.c_int64),
        ("scores", ctypes.c_int64),
        ("terms", ctypes.c_int64),
        ("softmax", ctypes.c_int64),
        ("values", ctypes.c_int64),
        ("gradients", ctypes.c_int64),
        ("outputs", ctypes.c_int64),
        ("other", ctypes.c_int64),
    )


class BackwardArgs(ctypes.Structure):
    """``attn_backward_args``: what one call for gradients works on."""

    _fields_ = padded(
        ("size", ctypes.c_int64),
        ("forward", ctypes.POINTER(ForwardArgs)),
        # Gradients of the outputs, read.
        ("grad_out", TensorPointer),
        ("grad_lse", TensorPointer),
        ("grad_weights", TensorPointer),
        ("grad_key_sums", TensorPointer),
        # Gradients of the inputs, written.
        ("grad_query", TensorPointer),
        ("grad_key", TensorPointer),
        ("grad_value", TensorPointer),
        ("grad_bias", TensorPointer),
        ("grad_alibi_slopes", TensorPointer),
        ("grad_sinks", TensorPointer),
        # How to run.
        ("accumulate", ctypes.c_int64),
        ("workspace", ctypes.c_void_p),
        ("workspace_size", ctypes.c_int64),
        ("should_stop", should_stop_function),
        ("should_stop_user", ctypes.c_void_p),
        # More gradients of the inputs.
        ("grad_relative_bias", TensorPointer),
        ("grad_relative_keys", TensorPointer),
        ("grad_content_bias", TensorPointer),
        ("grad_position_bias", TensorPointer),
        ("grad_segment_keys", TensorPointer),
        ("grad_segment_bias", TensorPointer),
        ("grad_score_vector", TensorPointer),
    )


class RotaryArgs(ctypes.Structure):
    """``attn_rotary_args``: what one rotation works on."""

    _fields_ = padded(
        ("size", ctypes.c_int64),
        ("input", TensorPointer),
        ("output", TensorPointer),
        ("rotary_dim", ctypes.c_int64),
        ("interleaved", ctypes.c_int64),
        ("inverse", ctypes.c_int64),
        ("base", ctypes.c_double),
        ("position_ids", TensorPointer),
        ("offsets", TensorPointer),
        ("cosines", TensorPointer),
        ("sines", TensorPointer),
    )
