# packages.sh - what ./dev installs: finds out what is there, knows what the package
# managers call it, and installs what is missing. dev reads it.
# shellcheck shell=sh

manager=
for one in brew apk pacman dnf apt-get; do
    if have "$one"; then manager=$one; fi
done

# What each need is called by the package managers; several are joined by commas, -
# is none.
#    need         apt-get                  dnf                 pacman           apk               brew
packages_table='
    cc           gcc,libc6-dev            gcc                 gcc              gcc,musl-dev      gcc
    c++          g++                      gcc-c++             gcc              g++               gcc
    cmake        cmake                    cmake               cmake            cmake             cmake
    ninja        ninja-build              ninja-build         ninja            samurai           ninja
    pkg-config   pkg-config               pkgconf-pkg-config  pkgconf          pkgconf           pkgconf
    blas         libopenblas-dev          openblas-devel      blas-openblas    openblas-dev      openblas
    cmocka       libcmocka-dev            libcmocka-devel     cmocka           cmocka-dev        cmocka
    png          libpng-dev               libpng-devel        libpng           libpng-dev        libpng
    python       python3,python3-venv     python3             python           python3           python3
    numpy        python3-numpy            python3-numpy       python-numpy     py3-numpy         numpy
    pytest       python3-pytest           python3-pytest      python-pytest    py3-pytest        pytest
    clang        clang                    clang               clang            clang             llvm
    clang-tidy   clang-tidy               clang-tools-extra   clang            clang-extra-tools llvm
    cppcheck     cppcheck                 cppcheck            cppcheck         cppcheck          cppcheck
    shellcheck   shellcheck               ShellCheck          shellcheck       shellcheck        shellcheck
    cross        gcc-aarch64-linux-gnu,libc6-dev-arm64-cross - - - -
    qemu         qemu-user                -                   -                -                 -
'

# compiles LANGUAGE PROGRAM OPTIONS...: whether the program compiles and links
compiles() {
    language=$1
    program=$2
    shift 2
    compiler=${CC:-cc}
    [ "$language" = c ] || compiler=${CXX:-c++}
    have "$compiler" || return 1
    mkdir -p build
    printf '%s\n' "$program" |
        "$compiler" -x "$language" - -o build/probe "$@" >/dev/null 2>&1
}

# present NEED: whether it is there, found out by using it
present() {
    case $1 in
    cc) compiles c '#include <stdio.h>
        int main(void) { return puts("") < 0; }' ;;
    c++) compiles c++ '#include <cstdint>
        int main() { return 0; }' ;;
    cmake) have cmake && cmake --list-presets >/dev/null 2>&1 ;;
    ninja) have ninja || have make ;;
    blas)
        for library in -lblas -lopenblas -lflexiblas '-framework Accelerate'; do
            # shellcheck disable=SC2086 # one of them is two words
            ! compiles c 'void cblas_sgemm(void);
                int main(void) { cblas_sgemm(); return 0; }' $library || return 0
        done
        return 1
        ;;
    cmocka) have pkg-config && pkg-config --exists cmocka ;;
    png) have pkg-config && pkg-config --exists libpng ;;
    python) python3 -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 9))' 2>/dev/null ;;
    numpy | pytest) /usr/bin/python3 -c "import $1" 2>/dev/null ;;
    cross) have aarch64-linux-gnu-gcc ;;
    qemu) have qemu-aarch64 ;;
    *) have "$1" ;;
    esac
}

# packages_for NEED: its packages on this system, one word each
packages_for() {
    while read -r need apt dnf pacman apk brew; do
        [ "$need" = "$1" ] || continue
        case $manager in
        apt-get) names=$apt ;;
        dnf) names=$dnf ;;
        pacman) names=$pacman ;;
        apk) names=$apk ;;
        brew) names=$brew ;;
        esac
        [ "$names" != - ] || return 1
        say "$names" | tr ',' ' '
        return 0
    done <<TABLE
$packages_table
TABLE
    return 1
}

as_root() {
    if [ "$(id -u)" -eq 0 ] || [ "$manager" = brew ]; then
        "$@"
    elif [ -t 2 ]; then
        sudo "$@"
    else
        sudo -n "$@"
    fi
}

# A package list that is missing or out of date shows as a failed installation: then
# it is brought up to date, once.
apt_install() {
    set -- env DEBIAN_FRONTEND=noninteractive apt-get install -y -q \
        --no-install-recommends -o DPkg::Lock::Timeout=300 "$@"
    as_root "$@" || {
        as_root apt-get update -q
        as_root "$@"
    }
}

install_packages() {
    case $manager in
    apt-get) apt_install "$@" ;;
    dnf) as_root dnf install -y "$@" ;;
    pacman) as_root pacman -Sy --needed --noconfirm "$@" ;;
    apk) as_root apk add "$@" ;;
    brew) brew install "$@" ;;
    esac
}

# need NEED...: installs those that are missing
need() {
    missing=
    for one in "$@"; do
        present "$one" || missing="$missing $one"
    done
    [ -n "$missing" ] || return 0
    [ -n "$manager" ] || die "missing:$missing; and no package manager that I know to install it"
    packages=
    for one in $missing; do
        packages="$packages $(packages_for "$one")" ||
            die "$one is missing, and I do not know its package for $manager"
    done
    say "Missing:$missing"
    [ "$(id -u)" -eq 0 ] || [ "$manager" = brew ] || have sudo ||
        die "neither root nor sudo: please install$packages"
    # shellcheck disable=SC2086 # a list of words
    step "Installing with $manager:$packages" install install_packages $packages || exit 1
    for one in $missing; do
        present "$one" || die "$one is still missing or too old after installing$packages"
    done
}
