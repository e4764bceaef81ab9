#!/bin/sh
# check_sizes.sh SOURCE_ROOT [BUILD_DIR] - files stay small and have a name of their own.
#
# No source, script or build file has more than 450 lines, and no two files of
# src/ share a name, so that a name in a message or a debugger says which file it is.
set -eu
cd "$1"
cap=450
status=0

# Tables of constants may be longer; they are listed here by path.
tables=

long() {
    find . \( -name .git -o -path ./build -o -path ./debian \) -prune -o -type f \
        \( -name '*.[ch]' -o -name '*.sh' -o -name '*.py' -o -name '*.cmake' \
        -o -name CMakeLists.txt -o -path ./dev -o -path './.ci/*' -o -path './tests/mutate*' \) \
        -exec wc -l {} + | while read -r lines file; do
        case " $tables total " in *" ${file#./} "*) continue ;; esac
        [ "$lines" -le "$cap" ] || echo "$file has $lines lines; the cap is $cap"
    done
}

found=$(long)
[ -z "$found" ] || {
    echo "$found"
    status=1
}

twins=$(find src -type f -name '*.[ch]' | sed 's|.*/||' | sort | uniq -d)
for name in $twins; do
    echo "several files are called $name:" "$(find src -name "$name" | sort | tr '\n' ' ')"
    status=1
done

[ "$(find src -type f -name '*.c' | wc -l)" -gt 0 ] || {
    echo "no source under src/: is $1 the source root?"
    status=1
}
[ "$status" -ne 0 ] || echo "no file over $cap lines, no name used twice"
exit "$status"
