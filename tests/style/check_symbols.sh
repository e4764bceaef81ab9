#!/bin/sh
# check_symbols.sh SOURCE_ROOT BUILD_DIR - the library exports its contract, no more.
#
# Four lists must be the same: tests/style/symbols.txt, the version script, the
# ATTN_API declarations of the public headers, and what the shared library really
# exports. Every external symbol of the static library starts with "attn", so that
# linking it into a program cannot collide; and the library imports nothing that
# prints, ends the process or changes its environment.
set -eu
root=$1
build=$2
[ "$(uname -s)" = Linux ] || exit 77
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
status=0
shared=$build/libattn.so
archive=$build/libattn.a
for library in "$shared" "$archive"; do
    [ -e "$library" ] || {
        echo "there is no $library"
        exit 1
    }
done
want=$scratch/want
LC_ALL=C sort -u "$root/tests/style/symbols.txt" >"$want"
LC_ALL=C sort -c "$root/tests/style/symbols.txt" || status=1

# same TITLE FILE: FILE has the lines of symbols.txt
same() {
    if ! diff -u "$want" "$2" >"$scratch/diff"; then
        echo "$1 differs from tests/style/symbols.txt (-):"
        grep -E '^[+-][^+-]' "$scratch/diff"
        status=1
    fi
}

# The names between "global:" and "local:" of every node.
sed 's|/\*.*\*/||; /\/\*/,/\*\//d' "$root/cmake/libattn.map" | tr '\n;' ' \n' |
    sed 's/.*global://; s/.*local:.*//; s/[{} ]//g' | grep . |
    LC_ALL=C sort >"$scratch/map"
same "cmake/libattn.map" "$scratch/map"

# The identifier before the first parenthesis after each ATTN_API.
grep -hv '^#' "$root"/include/attn.h "$root"/include/attn/*.h | tr '\n' ' ' |
    grep -oE 'ATTN_API [^(;]*\(' | sed 's/(//; s/.*[ *]//' |
    LC_ALL=C sort >"$scratch/headers"
same "The declarations in include/" "$scratch/headers"

nm -D --defined-only "$shared" >"$scratch/nm"
awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' "$scratch/nm" |
    LC_ALL=C sort >"$scratch/exported"
same "What $shared exports" "$scratch/exported"

banned='exit _exit _Exit quick_exit abort printf fprintf vprintf vfprintf puts fputs
    putchar perror setenv putenv unsetenv __printf_chk __fprintf_chk __vprintf_chk
    __vfprintf_chk openblas_set_num_threads omp_set_num_threads'
nm -D --undefined-only "$shared" | awk '{ sub(/@.*/, "", $NF); print $NF }' >"$scratch/imported"
for name in $banned; do
    if grep -qx "$name" "$scratch/imported"; then
        echo "$shared calls $name"
        status=1
    fi
done

nm -g --defined-only "$archive" | awk 'NF == 3 && $3 !~ /^attn/ { print $3 }' >"$scratch/foreign"
if [ -s "$scratch/foreign" ]; then
    echo "$archive has external symbols that do not start with attn:"
    cat "$scratch/foreign"
    status=1
fi
[ "$status" -ne 0 ] || echo "$(wc -l <"$want") exported functions, the same in all four lists"
exit "$status"
