"""The ctypes structs have the layout that a C compiler gives them."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from attn import _cache_structs, _layer_structs, _structs

INCLUDE = Path(__file__).resolve().parents[2] / "include"
COMPILER = next(
    filter(None, map(shutil.which, (os.environ.get("CC") or "cc", "gcc"))), None
)

STRUCTS = {
    "attn_tensor": _structs.Tensor,
    "attn_bounds": _structs.Bounds,
    "attn_forward_args": _structs.ForwardArgs,
    "attn_backward_args": _structs.BackwardArgs,
    "attn_profile": _structs.Profile,
    "attn_rotary_args": _structs.RotaryArgs,
    "attn_cache_options": _cache_structs.CacheOptions,
    "attn_append_args": _cache_structs.AppendArgs,
    "attn_multihead_options": _layer_structs.MultiheadOptions,
    "attn_stack_options": _layer_structs.StackOptions,
    "attn_layer_args": _layer_structs.LayerArgs,
    "attn_layer_backward_args": _layer_structs.LayerBackwardArgs,
}

CONSTANTS = {
    "ATTN_F32": _structs.F32,
    "ATTN_F16": _structs.F16,
    "ATTN_BF16": _structs.BF16,
    "ATTN_BOOL": _structs.BOOL,
    "ATTN_I32": _structs.I32,
    "ATTN_I64": _structs.I64,
    "ATTN_I8": _structs.I8,
    "ATTN_SCORE_DOT": _structs.SCORE_DOT,
    "ATTN_SCORE_ADDITIVE": _structs.SCORE_ADDITIVE,
    "ATTN_ALIGN_TOP_LEFT": _structs.ALIGN_TOP_LEFT,
    "ATTN_ALIGN_BOTTOM_RIGHT": _structs.ALIGN_BOTTOM_RIGHT,
    "ATTN_ALIGN_OFFSETS": _structs.ALIGN_OFFSETS,
    "ATTN_RANKS_OFF": _structs.RANKS_OFF,
    "ATTN_RANKS_UP_TO": _structs.RANKS_UP_TO,
    "ATTN_RANKS_BELOW": _structs.RANKS_BELOW,
}
CONSTANTS |= {
    f"ATTN_{kind}_{name.upper()}": value
    for kind, values in (
        ("COMBINE", _layer_structs.COMBINE),
        ("PROJECT", _layer_structs.PROJECT),
        ("NORM", _layer_structs.NORMS),
        ("ACTIVATION", _layer_structs.ACTIVATIONS),
    )
    for name, value in values.items()
}

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
needs_headers = pytest.mark.skipif(
    not INCLUDE.is_dir(), reason="the headers are not beside the tests"
)


def run_c(folder, lines):
    """What a C program of these lines prints."""
    source = folder / "layout.c"
    body = "\n".join(f"    {line}" for line in lines)
    source.write_text(
        "#include <attn.h>\n#include <stdio.h>\n"
        f"int main(void)\n{{\n{body}\n    return 0;\n}}\n"
    )
    program = folder / "layout"
    subprocess.run(
        [COMPILER, "-I", INCLUDE, source, "-o", program], check=True, timeout=120
    )
    return subprocess.run(
        [program], check=True, timeout=60, capture_output=True, text=True
    ).stdout


@needs_compiler
@needs_headers
def test_sizes_and_offsets(tmp_path):
    lines, wanted = [], []
    for name, struct in STRUCTS.items():
        lines.append(f'printf("{name} %zu\\n", sizeof({name}));')
        wanted.append(f"{name} {ctypes.sizeof(struct)}")
        for member, kind in struct._fields_:
            if member.startswith("pad_"):
                continue
            c_member = f"(({name} *)0)->{member}"
            lines.append(
                f'printf("{name}.{member} %zu %zu\\n",'
                f" offsetof({name}, {member}), sizeof({c_member}));"
            )
            offset = getattr(struct, member).offset
            wanted.append(f"{name}.{member} {offset} {ctypes.sizeof(kind)}")
    assert run_c(tmp_path, lines).splitlines() == wanted


@needs_compiler
@needs_headers
def test_constants(tmp_path):
    lines = [f'printf("%d\\n", (int){name});' for name in CONSTANTS]
    assert run_c(tmp_path, lines).split() == [str(v) for v in CONSTANTS.values()]


@needs_headers
@pytest.mark.parametrize("name", STRUCTS)
def test_no_member_is_missing(name):
    """The members of each struct are those of the header, in its order."""
    text = "".join(path.read_text() for path in sorted(INCLUDE.glob("attn/*.h")))
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    text = re.sub(r"ATTN_PAD_POINTER\(\d+\)", "", text)
    body = re.search(rf"typedef struct {name} \{{(.*?)\}} {name};", text, re.DOTALL)
    members = re.findall(r"(\w+)(?:\[\d+\])?;", body[1])
    fields = [n for n, _ in STRUCTS[name]._fields_ if not n.startswith("pad_")]
    assert fields == members
