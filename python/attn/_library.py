"""Finds libattn, checks that it is the right one, and declares its functions.

The library is looked for in three places, in this order: the file that the
environment variable ``LIBATTN_LIBRARY`` names (if it is set, nothing else is tried),
beside this package (where a wheel puts it), and by its SONAME wherever the system's
loader looks. ``ctypes.util.find_library`` is never asked: it runs compilers to guess
a path, and may answer with a library of another ABI version.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Callable

from ._cache_structs import AppendArgs, CacheOptions
from ._errors import AttnError
from ._layer_structs import (
    LayerArgs,
    LayerBackwardArgs,
    MultiheadOptions,
    StackOptions,
)
from ._structs import (
    BackwardArgs,
    Bounds,
    ForwardArgs,
    Profile,
    RotaryArgs,
    Tensor,
    should_stop_function,
)

ABI_VERSION = 0
SONAME = (
    f"libattn.{ABI_VERSION}.dylib"
    if sys.platform == "darwin"
    else f"libattn.so.{ABI_VERSION}"
)

_i32, _i64 = ctypes.c_int32, ctypes.c_int64
_float, _size, _text = ctypes.c_float, ctypes.c_size_t, ctypes.c_char_p
_handle = ctypes.c_void_p  # of a context, a descriptor, a plan, a cache or a layer
_new_handle = ctypes.POINTER(ctypes.c_void_p)
_address = ctypes.c_void_p

_task = ctypes.CFUNCTYPE(None, _address, _i32)
_parallel_for = ctypes.CFUNCTYPE(None, _address, _i32, _task, _address)
_allocate = ctypes.CFUNCTYPE(_address, _address, _size, _size)
_release = ctypes.CFUNCTYPE(None, _address, _address)

# Every function of the headers: (what it returns, what it takes).
PROTOTYPES = {
    "attn_version": (_i32, []),
    "attn_version_string": (_text, []),
    "attn_abi_version": (_i32, []),
    "attn_build_info": (_text, []),
    "attn_status_string": (_text, [_i32]),
    "attn_last_error": (_text, []),
    "attn_tensor_init": (
        _i32,
        [ctypes.POINTER(Tensor), _i32, _i32, ctypes.POINTER(_i64), _address],
    ),
    "attn_context_create": (_i32, [_new_handle]),
    "attn_context_destroy": (None, [_handle]),
    "attn_context_set_threads": (_i32, [_handle, _i32]),
    "attn_context_set_parallel_for": (_i32, [_handle, _parallel_for, _address]),
    "attn_context_set_allocator": (_i32, [_handle, _allocate, _release, _address]),
    "attn_context_set_isa": (_i32, [_handle, _i32]),
    "attn_context_set_blas_policy": (_i32, [_handle, _i32]),
    "attn_context_explain": (_size, [_handle, _address, _size]),
    "attn_context_tune": (_i32, [_handle, _handle, ctypes.POINTER(Bounds), _i32]),
    "attn_context_tuning_export": (_size, [_handle, _address, _size]),
    "attn_context_tuning_import": (_i32, [_handle, ctypes.c_char_p]),
    "attn_sdpa": (_i32, [_handle, *[_i64] * 7, _i32, *[_address] * 4]),
    "attn_desc_create": (_i32, [_new_handle]),
    "attn_desc_destroy": (None, [_handle]),
    "attn_desc_set_heads": (_i32, [_handle, _i32, _i32]),
    "attn_desc_set_dims": (_i32, [_handle, _i32, _i32]),
    "attn_desc_set_score": (_i32, [_handle, _i32]),
    "attn_desc_set_scale": (_i32, [_handle, _float]),
    "attn_desc_set_softcap": (_i32, [_handle, _float]),
    "attn_desc_set_causal": (_i32, [_handle, _i32]),
    "attn_desc_set_alignment": (_i32, [_handle, _i32]),
    "attn_desc_set_window": (_i32, [_handle, _i64, _i64]),
    "attn_desc_set_lengths": (_i32, [_handle, _i32, _i32]),
    "attn_desc_set_packed": (_i32, [_handle, _i32, _i32]),
    "attn_desc_set_documents": (_i32, [_handle, _i32]),
    "attn_desc_set_prefix": (_i32, [_handle, _i32]),
    "attn_desc_set_block_mask": (_i32, [_handle, _i64, _i64]),
    "attn_desc_set_mask": (_i32, [_handle, _i32]),
    "attn_desc_set_bias": (_i32, [_handle, _i32]),
    "attn_desc_set_alibi": (_i32, [_handle, _i32]),
    "attn_desc_set_sinks": (_i32, [_handle, _i32]),
    "attn_desc_set_dropout": (_i32, [_handle, _float]),
    "attn_desc_set_relative_bias": (_i32, [_handle, _i32, _i64, _i32]),
    "attn_desc_set_relative_keys": (_i32, [_handle, _i32]),
    "attn_desc_set_query_biases": (_i32, [_handle, _i32, _i32]),
    "attn_desc_set_segments": (_i32, [_handle, _i32]),
    "attn_desc_set_ranks": (_i32, [_handle, _i32]),
    "attn_desc_set_convention": (_i32, [_handle, _i32]),
    "attn_desc_set_engine": (_i32, [_handle, _i32]),
    "attn_plan_create": (
        _i32,
        [_new_handle, _handle, _handle, ctypes.POINTER(Bounds)],
    ),
    "attn_plan_destroy": (None, [_handle]),
    "attn_plan_workspace_size": (_size, [_handle]),
    "attn_plan_explain": (_size, [_handle, _address, _size]),
    "attn_forward_args_init": (_i32, [ctypes.POINTER(ForwardArgs), _size]),
    "attn_plan_forward": (_i32, [_handle, ctypes.POINTER(ForwardArgs)]),
    "attn_profile_init": (_i32, [ctypes.POINTER(Profile), _size]),
    "attn_backward_args_init": (_i32, [ctypes.POINTER(BackwardArgs), _size]),
    "attn_plan_backward_workspace_size": (_size, [_handle]),
    "attn_plan_backward": (_i32, [_handle, ctypes.POINTER(BackwardArgs)]),
    "attn_cache_options_init": (_i32, [ctypes.POINTER(CacheOptions), _size]),
    "attn_cache_create": (
        _i32,
        [_new_handle, _handle, ctypes.POINTER(CacheOptions)],
    ),
    "attn_cache_destroy": (None, [_handle]),
    "attn_append_args_init": (_i32, [ctypes.POINTER(AppendArgs), _size]),
    "attn_cache_append": (_i32, [_handle, ctypes.POINTER(AppendArgs)]),
    "attn_cache_length": (_i64, [_handle, _i32, _i64]),
    "attn_cache_first": (_i64, [_handle, _i32, _i64]),
    "attn_cache_truncate": (_i32, [_handle, _i64, _i64]),
    "attn_cache_evict": (_i32, [_handle, _i64, _i64]),
    "attn_cache_fork": (_i32, [_handle, _i64, _i64]),
    "attn_cache_reorder": (_i32, [_handle, ctypes.POINTER(Tensor)]),
    "attn_cache_bytes": (_size, [_handle, ctypes.POINTER(_size)]),
    "attn_cache_free_pages": (_i64, [_handle]),
    "attn_cache_save": (_i32, [_handle, _i64, _text]),
    "attn_cache_load": (_i32, [_handle, _i64, _text]),
    "attn_rotary_args_init": (_i32, [ctypes.POINTER(RotaryArgs), _size]),
    "attn_rotary": (_i32, [_handle, ctypes.POINTER(RotaryArgs)]),
    "attn_merge": (
        _i32,
        [
            _handle,
            _i32,
            *[ctypes.POINTER(ctypes.POINTER(Tensor))] * 2,
            *[ctypes.POINTER(Tensor)] * 2,
        ],
    ),
    "attn_multihead_options_init": (
        _i32,
        [ctypes.POINTER(MultiheadOptions), _size],
    ),
    "attn_stack_options_init": (_i32, [ctypes.POINTER(StackOptions), _size]),
    "attn_layer_create_multihead": (
        _i32,
        [
            _new_handle,
            _handle,
            ctypes.POINTER(MultiheadOptions),
            _handle,
            ctypes.POINTER(Bounds),
        ],
    ),
    "attn_layer_create_stack": (
        _i32,
        [
            _new_handle,
            _handle,
            ctypes.POINTER(StackOptions),
            _handle,
            _handle,
            ctypes.POINTER(Bounds),
        ],
    ),
    "attn_layer_destroy": (None, [_handle]),
    "attn_layer_parameter_count": (_i64, [_handle]),
    "attn_layer_parameter": (
        _i32,
        [
            _handle,
            _i64,
            ctypes.POINTER(_text),
            ctypes.POINTER(_i32),
            ctypes.POINTER(_i64),
        ],
    ),
    "attn_layer_set_parameter": (_i32, [_handle, _text, ctypes.POINTER(Tensor)]),
    "attn_layer_set_gradient": (_i32, [_handle, _text, ctypes.POINTER(Tensor)]),
    "attn_layer_packed_size": (_size, [_handle]),
    "attn_layer_pack": (_i32, [_handle, _address, _i64]),
    "attn_layer_set_packed": (_i32, [_handle, _address, _i64]),
    "attn_layer_set_reproducible": (_i32, [_handle, _i32]),
    "attn_layer_args_init": (_i32, [ctypes.POINTER(LayerArgs), _size]),
    "attn_layer_workspace_size": (_size, [_handle]),
    "attn_layer_backward_workspace_size": (_size, [_handle]),
    "attn_layer_state_size": (_size, [_handle, _i64, _i64, _i64]),
    "attn_layer_explain": (_size, [_handle, _address, _size]),
    "attn_layer_forward": (_i32, [_handle, ctypes.POINTER(LayerArgs)]),
    "attn_layer_backward_args_init": (
        _i32,
        [ctypes.POINTER(LayerBackwardArgs), _size],
    ),
    "attn_layer_backward": (_i32, [_handle, ctypes.POINTER(LayerBackwardArgs)]),
    "attn_rollout": (_i32, [_handle, ctypes.POINTER(Tensor), ctypes.POINTER(Tensor)]),
}

# The callback types. The structs hold one of them; the others are here with it.
CALLBACKS = {
    "attn_task": _task,
    "attn_parallel_for": _parallel_for,
    "attn_allocate": _allocate,
    "attn_release": _release,
    "attn_should_stop": should_stop_function,
}


def _open(path: str) -> ctypes.CDLL:
    """The library at path with its functions declared; OSError if it will not do."""
    library = ctypes.CDLL(path)
    try:
        abi_version = library.attn_abi_version()
        if abi_version != ABI_VERSION:
            raise OSError(f"its ABI version is {abi_version}, not {ABI_VERSION}")
        for name, (result, arguments) in PROTOTYPES.items():
            function = getattr(library, name)
            function.restype = result
            function.argtypes = arguments
    except AttributeError as error:
        raise OSError(f"it is not libattn, or an older one: {error}") from None
    return library


def load() -> tuple[ctypes.CDLL, str]:
    """The library, and the name it was found by."""
    named = os.environ.get("LIBATTN_LIBRARY")
    if named:
        paths = [named]
    else:
        paths = [str(Path(__file__).resolve().parent / SONAME), SONAME]
    reasons = []
    for path in paths:
        try:
            return _open(path), path
        except OSError as error:
            # The loader's own messages start with the path.
            reason = str(error).removeprefix(f"{path}: ")
            reasons.append(f"  {path}: {reason}")
    raise ImportError(
        "libattn was not found. Tried\n"
        + "\n".join(reasons)
        + "\nInstall libattn, or set LIBATTN_LIBRARY to the path of "
        + SONAME
    )


lib, path = load()


def text_of(function: Callable[..., int], handle: ctypes.c_void_p) -> str:
    """What a function like snprintf writes of a handle."""
    text = ctypes.create_string_buffer(function(handle, None, 0) + 1)
    function(handle, text, len(text))
    return text.value.decode()


def check(status: int) -> None:
    """Raises the library's own words unless status is ATTN_OK."""
    if status:
        raise AttnError(status, lib.attn_last_error().decode())
