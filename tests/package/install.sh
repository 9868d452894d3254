#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Usage: install.sh C++-COMPILER C-COMPILER..., with MESON_SOURCE_ROOT and MESON_BUILD_ROOT: install into an empty root, and
# link a program with what is there: shared, static, as C++, and with the library as a meson subproject, of either kind.
# Each example of docs/examples, by the command in its first comment, without a warning, and run.
# Then the README's own line for installing, without GLib, on a machine that has nothing but meson, ninja and a C compiler.
set -eu
cxx=$1
shift
. "$(dirname "$0")/installed.sh"

"$@" -std=c11 -o shared program.c $(pkg-config --cflags --libs pagelock)
prints_version ./shared
needs_soname shared
"$cxx" -std=c++17 -o cplusplus program.cpp $(pkg-config --cflags --libs pagelock)
prints_version ./cplusplus
"$@" -std=c11 -static -o static program.c $(pkg-config --static --cflags --libs pagelock)
prints_version env LD_LIBRARY_PATH= ./static
"$cxx" -std=c++17 -static -o static-cplusplus program.cpp $(pkg-config --static --cflags --libs pagelock)
prints_version env LD_LIBRARY_PATH= ./static-cplusplus
# A machine without GLib's headers and files compiles and links with the shared library.
flags=$(env -u PKG_CONFIG_PATH PKG_CONFIG_LIBDIR="$PKG_CONFIG_PATH" pkg-config --cflags --libs pagelock)
[ "$(echo $flags)" = "-I$(dirname "$(find "$dir/root" -name pagelock -path '*/include/*')") -L$libdir -lpagelock" ] ||
    fail "pkg-config wants more than the library: $flags"

cp -R "$MESON_SOURCE_ROOT/docs/examples" examples
for source in examples/*.c examples/*.cpp examples/*/*.c; do
    command=$(sed -nE 's/^ \*     (cc|c\+\+) (.*-o .*)$/\2/p' "$source")
    packages=$(echo "$command" | sed -n 's/.*pkg-config --cflags --libs \([^)]*\)).*/\1/p')
    pkg-config --exists $packages || { echo "$source is left out: there is no $packages"; continue; }
    ! grep -q pgl_uffd_ "$source" || nm -D "$libdir/libpagelock.so" | grep -q pgl_uffd_new || continue
    case $source in
    *.cpp) compiler=$cxx ;;
    *) compiler=$* ;;
    esac
    (
        cd "${source%/*}"
        # PKG_CONFIG_SYSROOT_DIR leads to the folders of other packages, too, where nothing is.
        CPATH=$(env -u PKG_CONFIG_SYSROOT_DIR pkg-config --cflags-only-I $packages | sed 's/-I//g; s/ *$//; s/  */:/g')
        export CPATH
        eval "$compiler -Wall -Wextra -Werror $command"
        "$MESON_SOURCE_ROOT/tests/package/example.sh" "${source##*/}" "./$(expr "$command" : '.*-o \([^ ]*\)')" || [ $? -eq 77 ]
    ) || { echo "FAILED: $source"; exit 1; }
done

mkdir -p project/subprojects
ln -s "$MESON_SOURCE_ROOT" project/subprojects/libpagelock
cp program.c program.cpp project
cat >project/meson.build <<'END'
project('program', 'c', 'cpp', default_options: ['c_std=c11', 'cpp_std=c++17'])
pagelock = dependency('pagelock', fallback: 'libpagelock')
executable('program', 'program.c', dependencies: pagelock)
executable('cplusplus', 'program.cpp', dependencies: pagelock)
END
for kind in shared static; do
    run setup.log env -u PKG_CONFIG_PATH -u PKG_CONFIG_SYSROOT_DIR CC="$*" CXX="$cxx" \
        meson setup -Ddefault_library=$kind project/$kind project
    run build.log ninja -C project/$kind
    for program in program cplusplus; do
        prints_version env -u LD_LIBRARY_PATH project/$kind/$program
        case $kind in
        shared) needs_soname project/$kind/$program ;;
        static) needs_nothing project/$kind/$program ;;
        esac
    done
done

# No pkg-config, so no library but the C library, which is enough without GLib.
line=$(sed -n 's/^    meson setup build-release \(.*\)$/\1/p' "$MESON_SOURCE_ROOT/README.md")
[ -n "$line" ] || fail "the README has no line to install by"
run setup.log env PKG_CONFIG=/nonexistent PKG_CONFIG_LIBDIR=/nonexistent CC="$*" \
    meson setup $line -Dglib=disabled bare-build "$MESON_SOURCE_ROOT"
run build.log meson install -C bare-build --destdir "$dir/bare"
libdir=$(dirname "$(find "$dir/bare" -name libpagelock.a)")
export PKG_CONFIG_SYSROOT_DIR="$dir/bare" PKG_CONFIG_PATH="$libdir/pkgconfig" LD_LIBRARY_PATH="$libdir"
"$@" -std=c11 -o bare-program program.c $(pkg-config --cflags --libs pagelock)
prints_version ./bare-program
