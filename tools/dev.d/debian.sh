# debian.sh - the commands of ./dev that take libraries from Debian's archive: blas and
# port. dev reads it; it uses dev's variables and functions.
# shellcheck shell=sh disable=SC2154

# fetch FOLDER PACKAGE...: unpacks Debian packages there. The system stays as it is,
# and so does the BLAS that its alternatives have chosen.
fetch() {
    folder=$1
    shift
    mkdir -p "$folder/archives"
    (
        cd "$folder/archives"
        apt-get download "$@" || { as_root apt-get update -q && apt-get download "$@"; }
    ) || return
    for archive in "$folder"/archives/*.deb; do
        dpkg-deb -x "$archive" "$folder" || return
    done
}

# flavour_folder NAME: where that BLAS has its libblas.so.3: on the system, or unpacked
# in build/blas; nothing if it has none
flavour_folder() {
    for base in "" "$root/build/blas"; do
        folder=$base/usr/lib/$(cc -print-multiarch)/$1
        if [ -e "$folder/libblas.so.3" ]; then
            say "$folder"
            return
        fi
    done
}

blas() {
    [ "$manager" = apt-get ] || die "blas knows the libraries of Debian only"
    need cc c++ cmake ninja pkg-config blas cmocka png
    build test
    before=${LD_LIBRARY_PATH:-}
    for pair in openblas-pthread:libopenblas0-pthread openblas-openmp:libopenblas0-openmp \
        openblas-serial:libopenblas0-serial blis-openmp:libblis4-openmp blas:libblas3; do
        flavour=${pair%:*}
        [ -n "$(flavour_folder "$flavour")" ] ||
            step "Unpacking in build/blas: ${pair#*:}" "fetch-$flavour" fetch build/blas "${pair#*:}"
        LD_LIBRARY_PATH=$(flavour_folder "$flavour")
        export LD_LIBRARY_PATH
        ldd "$(library test)" | grep -qF "$LD_LIBRARY_PATH/libblas.so.3" ||
            die "with LD_LIBRARY_PATH=$LD_LIBRARY_PATH libattn still loads another BLAS"
        say "With $flavour:"
        run_ctest test --label-exclude 'slow|style|install'
        LD_LIBRARY_PATH=$before
    done
    totals
}

private_apt() { APT_CONFIG=$state/apt.conf apt-get -y -q "$@"; }

arm64_packages="libc6-dev libopenblas-pthread-dev libcmocka-dev libpng-dev"

# A folder with what Debian's arm64 has of the C library, BLAS, CMocka and libpng,
# brought by an apt with a configuration and a state of its own: neither root nor a
# foreign architecture on this system is needed. It is complete when it says of what.
arm64_sysroot() {
    state=$root/build/aarch64-apt
    rm -rf "$sysroot" "$state"
    # Packages hold lib/ or usr/lib/; here, as on Debian, both are one.
    mkdir -p "$state/lists/partial" "$state/archives/partial" "$sysroot/usr/lib"
    ln -s usr/lib "$sysroot/lib"
    : >"$state/status"
    cat >"$state/apt.conf" <<CONFIGURATION
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Install-Recommends "false";
APT::Sandbox::User "$(id -un)";
Dir::State "$state";
Dir::State::status "$state/status";
Dir::Cache "$state";
CONFIGURATION
    # shellcheck disable=SC2086 # a list of words
    private_apt update &&
        private_apt install --download-only $arm64_packages || return
    for archive in "$state"/archives/*.deb; do
        dpkg-deb -x "$archive" "$sysroot" || return
    done
    # The names that the alternatives would set up.
    for name in libblas.so libblas.so.3 libopenblas.so.0; do
        ln -sf "openblas-pthread/$name" "$sysroot/usr/lib/aarch64-linux-gnu/$name"
    done
    rm -rf "$state"
    say "$arm64_packages" >"$sysroot/complete"
}

port() {
    [ "${1:-}" = aarch64 ] || die "usage: ./dev port aarch64"
    [ "$manager" = apt-get ] || die "port works on Debian only"
    need cc cmake ninja pkg-config cross qemu
    sysroot=$root/build/aarch64-sysroot
    [ "$(cat "$sysroot/complete" 2>/dev/null)" = "$arm64_packages" ] ||
        step "Unpacking Debian's arm64 libraries in build/aarch64-sysroot" sysroot arm64_sysroot
    build aarch64
    run_ctest aarch64 --label-exclude 'style|install|example'
    totals
}
