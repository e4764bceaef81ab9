#!/bin/sh
# check_needed.sh SOURCE_ROOT BUILD_DIR - what the shared library asks of a system.
#
# Its SONAME carries the ABI version of version.h. It needs the C library, the
# mathematical library and a BLAS, and where the distribution offers a generic
# BLAS that the administrator can switch, it needs that name and no provider's.
# No search path is baked in.
set -eu
root=$1
build=$2
[ "$(uname -s)" = Linux ] || exit 77
status=0
shared=$build/libattn.so
[ -e "$shared" ] || {
    echo "there is no $shared"
    exit 1
}
abi=$(sed -n 's/^#define ATTN_ABI_VERSION *//p' "$root/include/attn/version.h")
dynamic=$(LC_ALL=C readelf -d "$shared")

offence() {
    echo "$shared: $1"
    status=1
}

# field NAME: the bracketed values of that entry of the dynamic section
field() {
    printf '%s\n' "$dynamic" | sed -n "s/.*($1).*\[\(.*\)\].*/\1/p"
}

[ "$(field SONAME)" = "libattn.so.$abi" ] ||
    offence "SONAME is '$(field SONAME)', not libattn.so.$abi"

path=$(field RPATH; field RUNPATH)
[ -z "$path" ] || offence "search path baked in: $path"

# Debian's alternatives give the generic name one place in the library folder;
# elsewhere FlexiBLAS is the name that can be switched.
generic=
for folder in /usr/lib /usr/lib64 /usr/lib/*-linux-*; do
    if [ -e "$folder/libblas.so.3" ] && [ -e "$folder/libblas.so" ]; then
        generic=libblas.so.3
    fi
done
blas=$(field NEEDED | grep -iE 'blas|blis|mkl|atlas|armpl|nvpl' || true)
case $blas in
'') offence "needs no BLAS library: $(field NEEDED | tr '\n' ' ')" ;;
*[!a-zA-Z0-9_.+-]*) offence "needs more than one BLAS library: $blas" ;;
"${generic:-$blas}") ;;
*) offence "needs $blas where the system's generic name is $generic" ;;
esac

others=$(field NEEDED | grep -vxF "$blas" |
    grep -vE '^(libc|libm|libpthread|libdl)\.so|^ld-linux|^libc\.musl|^lib[aut]san' || true)
[ -z "$others" ] || offence "needs libraries it should not: $others"
[ "$status" -ne 0 ] || echo "$shared: libattn.so.$abi needs $(field NEEDED | tr '\n' ' ')"
exit "$status"
