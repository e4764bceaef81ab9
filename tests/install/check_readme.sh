#!/bin/sh
# check_readme.sh SOURCE_ROOT BUILD_DIR - the programs in README.md do what they say.
#
# Each block of C is compiled by itself, warnings as errors; one with a main is linked
# to the library in the build tree and run. Each block of Python is run. CC chooses the compiler, PYTHON
# the Python; one without numpy skips the Python.
set -eu
root=$(cd "$1" && pwd)
build=$(cd "$2" && pwd)
cc=${CC:-cc}
python=${PYTHON:-python3}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

library=
for name in "$build"/libattn.so.[0-9] "$build"/libattn.[0-9].dylib; do
    if [ -e "$name" ]; then library=$name; fi
done
[ -n "$library" ] || {
    echo "no shared library in $build"
    exit 1
}

# Block number n of a language goes to n.c or n.py.
awk -v folder="$scratch" '
    /^```(c|python)$/ { n++; file = folder "/" n (/python/ ? ".py" : ".c"); next }
    /^```/ { file = ""; next }
    file != "" { print > file }
' "$root/README.md"

programs=0
for source in "$scratch"/*.c; do
    [ -e "$source" ] || break
    set -- -std=c11 -Wall -Wextra -Werror "$source" -I "$root/include"
    if grep -q '^int main' "$source"; then
        "$cc" "$@" -o "$scratch/program" "$library"
        LD_LIBRARY_PATH=$(dirname "$library") "$scratch/program"
        programs=$((programs + 1))
    else
        "$cc" "$@" -fsyntax-only
    fi
done
[ "$programs" -ge 1 ] || {
    echo "README.md has no C program"
    exit 1
}
echo "ok: $programs C programs"

"$python" -c 'import numpy' 2>/dev/null || {
    echo "skipped: the Python programs, since $python has no numpy"
    exit 0
}
programs=0
for source in "$scratch"/*.py; do
    [ -e "$source" ] || break
    LIBATTN_LIBRARY=$library PYTHONPATH=$root/python PYTHONDONTWRITEBYTECODE=1 "$python" "$source"
    programs=$((programs + 1))
done
[ "$programs" -ge 1 ] || {
    echo "README.md has no Python program"
    exit 1
}
echo "ok: $programs Python programs"
