#!/bin/sh
# check_headers.sh SOURCE_ROOT [BUILD_DIR] - each public header stands alone.
#
# Every header is included first, on its own and twice, by a C99 and a C11 program
# and by a C++98, a C++11 and a C++17 one, with -pedantic and warnings as errors.
# Skipped (77) where there is no C++ compiler.
set -eu
root=$1
cc=${CC:-cc}
cxx=${CXX:-c++}
status=0
for compiler in "$cc" "$cxx"; do
    command -v "$compiler" >/dev/null || {
        echo "no compiler called $compiler"
        exit 77
    }
done

count=0

# alone LANGUAGE STANDARD HEADER COMPILER OPTIONS...
alone() {
    language=$1 standard=$2 header=$3
    shift 3
    count=$((count + 1))
    printf '#include "%s"\n#include "%s"\nint main(void);\nint main(void) { return ATTN_VERSION < 0; }\n' \
        "$header" "$header" |
        "$@" -x "$language" -std="$standard" -pedantic -Wall -Wextra -Wshadow -Wundef -Werror \
            -I "$root/include" -fsyntax-only - || {
        echo "$header does not stand alone as $standard"
        status=1
    }
}

for path in "$root"/include/attn.h "$root"/include/attn/*.h; do
    header=${path#"$root"/include/}
    for standard in c99 c11; do
        alone c "$standard" "$header" "$cc" -Wstrict-prototypes -Wold-style-definition
    done
    for standard in c++98 c++11 c++17; do
        alone c++ "$standard" "$header" "$cxx" -Wold-style-cast
    done
done
[ "$status" -ne 0 ] || echo "$count programs of one header each compile"
exit "$status"
