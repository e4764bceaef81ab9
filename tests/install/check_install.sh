#!/bin/sh
# check_install.sh SOURCE_ROOT BUILD_DIR - an installed copy can be found and used.
#
# Installs the build below a temporary DESTDIR, so nothing on the system changes, and
# uses that copy as a stranger would: through pkg-config, shared and static, through
# find_package(attn), and through import attn. What is installed must name no file of
# the source tree, the build tree or the stage, and no particular BLAS library.
#
# CC chooses the compiler, PYTHON the Python; one without numpy skips that part.
set -eu
root=$(cd "$1" && pwd)
build=$(cd "$2" && pwd)
cc=${CC:-cc}
python=${PYTHON:-python3}
consumer=$root/tests/install/consumer
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
stage=$scratch/stage

fail() {
    echo "check_install: $*" >&2
    exit 1
}

# cached NAME: a variable of the build
cached() {
    sed -n "s/^$1:[A-Z]*=//p" "$build/CMakeCache.txt"
}

DESTDIR=$stage cmake --install "$build" >"$scratch/install.log" 2>&1 || {
    cat "$scratch/install.log"
    fail "cmake --install failed"
}
prefix=$(cached CMAKE_INSTALL_PREFIX)
module=$(find "$stage" -name attention.pc)
[ -n "$module" ] || fail "attention.pc was not installed"
config=$(find "$stage" -name 'attn*onfig.cmake')
[ -n "$config" ] || fail "the CMake package attn was not installed"
[ -f "$stage$prefix/include/attn.h" ] || fail "attn.h is not in $prefix/include"
libraries=$(dirname "$(find "$stage" -name 'libattn.*' | head -n 1)")

# ------------------------------------------------------------ nothing baked in

generic=no
echo 'void cblas_sgemm(void); int main(void) { cblas_sgemm(); return 0; }' |
    "$cc" -x c - -o "$scratch/probe" -lblas 2>/dev/null && generic=yes
texts="$module $(find "$stage" -path '*/cmake/*' -name '*.cmake')"
for text in $texts; do
    if grep -nF -e "$root" -e "$build" -e "$stage" "$text"; then
        fail "$text names a folder of this build"
    fi
    if grep -niE '/[^ ;"]*(blas|blis|mkl|atlas)' "$text"; then
        fail "$text names the path of a BLAS library"
    fi
    # Systems without a generic name have to be told the provider's.
    if [ "$generic" = yes ] && grep -niE '(openblas|blis|mkl|atlas)' "$text"; then
        fail "$text names one provider of BLAS"
    fi
done
grep -qx "prefix=$prefix" "$module" || fail "attention.pc does not say prefix=$prefix"

# ------------------------------------------------------------------ pkg-config

# attention OPTION...: what pkg-config says, for the stage instead of the prefix
attention() {
    PKG_CONFIG_PATH=$(dirname "$module") pkg-config --define-variable=prefix="$stage$prefix" \
        "$@" attention
}

runs() {
    LD_LIBRARY_PATH=$libraries:${LD_LIBRARY_PATH:-} "$1" || fail "$2: the program failed"
    echo "ok: $2"
}

version=$(sed -n 's/^#define ATTN_VERSION_\(MAJOR\|MINOR\|PATCH\) *//p' \
    "$root/include/attn/version.h" | paste -s -d . -)
[ "$(attention --modversion)" = "$version" ] ||
    fail "pkg-config says $(attention --modversion), version.h says $version"

if [ -e "$libraries/libattn.so" ]; then
    # shellcheck disable=SC2046 # flags are words
    "$cc" -Wall -Werror "$consumer/program.c" -o "$scratch/shared" $(attention --cflags --libs)
    runs "$scratch/shared" "pkg-config --cflags --libs attention"
    if attention --libs | grep -iE 'blas|blis'; then
        fail "pkg-config --libs makes programs of the shared library link BLAS as well"
    fi
fi

if [ -e "$libraries/libattn.a" ]; then
    # Where only the archive is, -lattn means the archive.
    mkdir "$scratch/archive"
    cp "$libraries/libattn.a" "$scratch/archive"
    # shellcheck disable=SC2046
    "$cc" -Wall -Werror "$consumer/program.c" -o "$scratch/static" $(attention --cflags) \
        -L"$scratch/archive" $(attention --static --libs-only-l --libs-only-other)
    if LC_ALL=C readelf -d "$scratch/static" | grep NEEDED | grep libattn; then
        fail "the static program needs the shared library"
    fi
    runs "$scratch/static" "pkg-config --static with libattn.a"
fi

# ----------------------------------------------------------------------- CMake

# consume NAME OPTION...: a build of the consumer that finds the stage
consume() {
    name=$1
    shift
    if ! { cmake -S "$consumer" -B "$scratch/$name" -DCMAKE_PREFIX_PATH="$stage$prefix" \
        -DCMAKE_C_COMPILER="$cc" "$@" && cmake --build "$scratch/$name"; } >"$scratch/log" 2>&1; then
        tail -n 30 "$scratch/log"
        fail "$name: the consumer did not build"
    fi
    runs "$scratch/$name/program" "$name"
}
consume "find_package(attn)"
consume "find_package(attn), static" -DTARGET=attn::attn_static
if LC_ALL=C readelf -d "$scratch/find_package(attn), static/program" | grep NEEDED | grep libattn; then
    fail "attn::attn_static led to the shared library"
fi

# ---------------------------------------------------------------------- Python

if ! "$python" -c 'import numpy' 2>/dev/null; then
    echo "skipped: import attn, since $python has no numpy"
elif [ -e "$libraries/libattn.so" ]; then
    LIBATTN_LIBRARY=$(find "$libraries" -name 'libattn.so.[0-9]*' -type l | head -n 1)
    export LIBATTN_LIBRARY
    PYTHONPATH=$root/python PYTHONDONTWRITEBYTECODE=1 "$python" - <<'PROGRAM' || fail "import attn failed"
import numpy as np
import attn

query, key = np.ones((1, 1, 2, 4), np.float32), np.ones((1, 1, 3, 4), np.float32)
value = np.arange(3, dtype=np.float32).reshape(1, 1, 3, 1)
np.testing.assert_allclose(attn.scaled_dot_product_attention(query, key, value), 1.0, rtol=1e-6)
PROGRAM
    echo "ok: import attn"
fi
