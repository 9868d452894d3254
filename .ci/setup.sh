# SPDX-License-Identifier: LGPL-2.1-or-later
# Sourced by tests/run, bench/run, .ci/run and others, which set $top to the checkout: packages and build directories.

die() {
    echo "$0: $*" >&2
    exit 2
}

# The comment at the top of the script.
say_usage() {
    sed -n '3,/^[^#]/s/^# //p' "$0"
}

# names_only NAMES ARGUMENT...: of a script that takes these names, any where NAMES is *, and no option but --help
names_only() {
    names=$1
    shift
    for argument; do
        case $argument in
        -*) other_option "$argument" ;;
        esac
        known_name "$names" "$argument"
    done
}

# other_option OPTION: one that the script has not: --help, or a mistake
other_option() {
    case $1 in
    --help | -h)
        say_usage
        exit 0
        ;;
    esac
    echo "$0: unknown option: $1" >&2
    say_usage >&2
    exit 2
}

known_name() {
    case " $1 " in
    " * " | *" $2 "*) ;;
    *) die "unknown name: $2 (${1:+there are: }${1:-there are none})" ;;
    esac
}

# number OPTION VALUE
number() {
    case ${2-} in
    '' | *[!0-9]*) die "$1 wants a number, not '${2-}'" ;;
    esac
}

# need PACKAGE COMMAND...: note that PACKAGE is missing unless the command succeeds
need() {
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}

needs_to_build() {
    need gcc command -v cc
    need libc6-dev test -e /usr/include/stdio.h
    need meson command -v meson
    need ninja-build command -v ninja
    need pkg-config command -v pkg-config
    need dpkg-dev command -v dpkg-architecture # by which meson knows where Debian looks for libraries
    need libglib2.0-dev pkg-config --exists 'glib-2.0 >= 2.68'
    need libjson-glib-dev pkg-config --exists json-glib-1.0
    need zlib1g-dev pkg-config --exists zlib
}

needs_to_measure() {
    needs_to_build
    need libck-dev pkg-config --exists ck
}

needs_to_test() {
    needs_to_build
    need g++ command -v c++
    need libcmocka-dev pkg-config --exists 'cmocka >= 1.1.0'
    need libzstd-dev pkg-config --exists libzstd
    need libnbd-dev pkg-config --exists libnbd
    need nbdkit command -v nbdkit
    need gnuplot-nox command -v gnuplot
    need sqlite3 command -v sqlite3
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

apt_get() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" \
        </dev/null >&2
}

# install_missing NEEDS: install what the function NEEDS finds missing; neither apt nor the network when that is nothing
install_missing() {
    missing=
    "$1"
    [ -n "$missing" ] || return 0
    command -v apt-get >/dev/null || die "these Debian packages, or what they hold, are missing:$missing"
    [ "$(id -u)" = 0 ] || command -v sudo >/dev/null ||
        die "packages are missing, and there is no sudo. As root: apt-get install$missing"
    echo "Installing$missing" >&2
    apt_get update || true # one source out of reach need not matter
    apt_get -y --no-install-recommends install $missing || die "cannot install$missing"
    missing=
    "$1"
    [ -z "$missing" ] || die "installed, but still not found:$missing"
}

# Whether DIR was set up for this checkout by this meson.
is_ours() {
    [ -f "$1/build.ninja" ] && python3 - "$1/meson-info/meson-info.json" "$top" "$(meson --version)" 2>/dev/null <<'END'
import json, sys
info = json.load(open(sys.argv[1]))
sys.exit([info["directories"]["source"], info["meson_version"]["full"]] != sys.argv[2:])
END
}

# build DIR [MESON OPTION...]: set the build directory up unless it is (its options are kept then), and build
build() {
    dir=$1
    shift
    if ! is_ours "$dir"; then
        [ ! -d "$dir/meson-private" ] || rm -rf "$dir" # of another checkout or meson, or half made
        meson setup "$@" "$dir" "$top" >&2 || die "meson setup $dir failed"
    fi
    ninja -C "$dir" >&2 || die "the build in $dir failed"
}
