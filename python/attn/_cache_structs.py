"""The structs of ``attn/cache.h``, as ctypes sees them."""

from __future__ import annotations

import ctypes

from ._structs import BF16, F16, F32, I8, TensorPointer, padded

# How a cache may store numbers.
STORED = {"float32": F32, "float16": F16, "bfloat16": BF16, "int8": I8}


class CacheOptions(ctypes.Structure):
    """``attn_cache_options``: what a cache is for."""

    _fields_ = padded(
        ("size", ctypes.c_int64),
        ("layers", ctypes.c_int32),
        ("kv_heads", ctypes.c_int32),
        ("key_dim", ctypes.c_int32),
        ("value_dim", ctypes.c_int32),
        ("dtype", ctypes.c_int32),
        ("ring", ctypes.c_int32),
        ("sequences", ctypes.c_int64),
        ("capacity", ctypes.c_int64),
        ("page_keys", ctypes.c_int64),
        ("pages", ctypes.c_int64),
    )


class AppendArgs(ctypes.Structure):
    """``attn_append_args``: what one call appends."""

    _fields_ = padded(
        ("size", ctypes.c_int64),
        ("layer", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
        ("key", TensorPointer),
        ("value", TensorPointer),
        ("sequences", TensorPointer),
        ("lengths", TensorPointer),
        ("starts", TensorPointer),
    )
