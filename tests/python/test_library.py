"""Finding the library, refusing the wrong one, and declaring every function."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import attn
from attn import _library

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(attn.__file__).resolve().parent
COMPILER = shutil.which("cc") or shutil.which("gcc")

NO_LIBRARY = {
    "LIBATTN_LIBRARY": None,
    "LD_LIBRARY_PATH": None,
    "DYLD_LIBRARY_PATH": None,
}


def python(code, package=PACKAGE.parent, **environment):
    """Runs code in a new interpreter; a variable that is None is removed."""
    env = {**os.environ, "PYTHONPATH": str(package), **environment}
    env = {name: value for name, value in env.items() if value is not None}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def failure(*args, **options):
    """The last error of a program that must fail with an ImportError."""
    done = python("import attn", *args, **options)
    assert done.returncode != 0
    assert "ImportError" in done.stderr
    return done.stderr


def test_the_named_library_and_no_other():
    error = failure(LIBATTN_LIBRARY="/nonexistent/libattn.so.0")
    assert "/nonexistent/libattn.so.0" in error
    assert error.count("cannot open") + error.count("no such file") == 1


def test_the_error_lists_every_path(tmp_path):
    """Without a library beside the package, and none that the loader knows."""
    if _installed():
        pytest.skip("a libattn is installed on this system")
    shutil.copytree(PACKAGE, tmp_path / "attn", ignore=shutil.ignore_patterns("lib*"))
    error = failure(tmp_path, **NO_LIBRARY)
    assert str(tmp_path / "attn" / _library.SONAME) in error
    assert f"  {_library.SONAME}: " in error
    assert "set LIBATTN_LIBRARY" in error


def _installed():
    code = f"import ctypes; ctypes.CDLL({_library.SONAME!r})"
    return python(code, **NO_LIBRARY).returncode == 0


def test_a_library_beside_the_package_is_found(tmp_path):
    if not Path(_library.path).is_file():
        pytest.skip("the library in use was found by name: its file is not known")
    shutil.copytree(PACKAGE, tmp_path / "attn")
    beside = tmp_path / "attn" / _library.SONAME
    beside.unlink(missing_ok=True)
    beside.symlink_to(Path(_library.path).resolve())
    done = python(
        "import attn; print(attn.info()['library'])", tmp_path, LIBATTN_LIBRARY=None
    )
    assert done.stdout.strip() == str(beside), done.stderr


@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")
@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("int attn_abi_version(void) { return 7; }", "its ABI version is 7, not 0"),
        ("int attn_abi_version(void) { return 0; }", "not libattn, or an older one"),
        ("int something_else;", "not libattn, or an older one"),
    ],
)
def test_the_wrong_library_is_refused(tmp_path, source, reason):
    (tmp_path / "fake.c").write_text(source + "\n")
    fake = tmp_path / "libfake.so"
    subprocess.run(
        [COMPILER, "-shared", "-fPIC", tmp_path / "fake.c", "-o", fake],
        check=True,
        timeout=120,
    )
    error = failure(LIBATTN_LIBRARY=str(fake))
    assert reason in error
    assert str(fake) in error


def test_import_does_not_import_torch():
    done = python("import attn, sys; print('torch' in sys.modules)")
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.skipif(not (ROOT / "include").is_dir(), reason="there are no headers")
def test_every_function_and_callback_is_declared():
    """Names, number of arguments and result, as the headers have them."""
    text = "".join(p.read_text() for p in sorted((ROOT / "include/attn").glob("*.h")))
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    found = re.findall(
        r"ATTN_API\s+([\w *]+?)\s*\*?\b(attn_\w+)\((.*?)\);", text, re.DOTALL
    )
    results = {
        "attn_status": ctypes.c_int32,
        "int32_t": ctypes.c_int32,
        "int64_t": ctypes.c_int64,
        "size_t": ctypes.c_size_t,
        "const char": ctypes.c_char_p,
        "void": None,
    }
    declared = {
        name: (results[result], 0 if arguments == "void" else arguments.count(",") + 1)
        for result, name, arguments in found
    }
    assert len(declared) > 30
    assert declared == {
        name: (result, len(arguments))
        for name, (result, arguments) in _library.PROTOTYPES.items()
    }
    callbacks = re.findall(r"typedef [\w *]+?\*?\b(attn_\w+)\(", text)
    assert sorted(callbacks) == sorted(_library.CALLBACKS)


@pytest.mark.skipif(not (ROOT / "include").is_dir(), reason="there are no headers")
def test_versions_agree():
    header = (ROOT / "include/attn/version.h").read_text()
    numbers = dict(re.findall(r"#define ATTN_(\w+)\s+(\d+)", header))
    version = ".".join(
        numbers[f"VERSION_{part}"] for part in ("MAJOR", "MINOR", "PATCH")
    )
    assert attn.__version__ == version == attn.info()["version"]
    assert f'version = "{version}"' in (ROOT / "python/pyproject.toml").read_text()
    assert int(numbers["ABI_VERSION"]) == _library.ABI_VERSION


def test_info():
    info = attn.info()
    assert info["abi_version"] == _library.ABI_VERSION
    assert info["library"] == _library.path
    assert info["isa"] in ("scalar", "avx2", "avx512", "neon", "amx", "pieces")
    assert info["blas"]
    assert info["build"]
    assert info["threads"] == attn.get_num_threads() >= 1


def test_info_obeys_the_environment():
    done = python("import attn; print(attn.info()['isa'])", ATTN_ISA="scalar")
    assert done.stdout.strip() == "scalar", done.stderr
