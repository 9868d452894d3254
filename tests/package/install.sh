#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Usage: install.sh C++-COMPILER C-COMPILER..., with MESON_SOURCE_ROOT and MESON_BUILD_ROOT: install into an empty root, and
# link a program with what is there: shared, static, as C++, and with the library as a meson subproject, of either kind.
# Each example of docs/examples, by the command in its first comment, without a warning, and run.
# Then the README's own line for installing, without GLib, on a machine that has nothing but meson, ninja and a C compiler.
set -eu
cxx=$1
shift
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

cat >program.c <<'END'
#include <stdio.h>
#include <pagelock/pagelock.h>

int main(void)
{
    struct pgl_table_config config = {};
    struct pgl_table *table;

    config.page_bits = 12;
    config.addr_bits = 48;
    table = pgl_table_new(&config);
    if (!table || pgl_page_find(table, 5) || !pgl_page_get(table, 5) || pgl_table_check(table, NULL, NULL))
        return 1;
    pgl_table_free(table);
    puts(pgl_version());
    return 0;
}
END
cp program.c program.cpp

# prints_version PROGRAM
prints_version() {
    [ "$("$@")" = "$(pkg-config --modversion pagelock)" ] || { echo "FAILED: $*"; exit 1; }
}

meson install -C "$MESON_BUILD_ROOT" --no-rebuild --quiet --destdir "$dir/root" >install.log
libdir=$(dirname "$(find "$dir/root" -name libpagelock.a)")
export PKG_CONFIG_SYSROOT_DIR="$dir/root" PKG_CONFIG_PATH="$libdir/pkgconfig" LD_LIBRARY_PATH="$libdir"

"$@" -std=c11 -o shared program.c $(pkg-config --cflags --libs pagelock)
prints_version ./shared
readelf -d shared | grep -q 'NEEDED.*libpagelock\.so\.0'
"$cxx" -std=c++17 -o cplusplus program.cpp $(pkg-config --cflags --libs pagelock)
prints_version ./cplusplus
"$@" -std=c11 -static -o static program.c $(pkg-config --static --cflags --libs pagelock)
prints_version env LD_LIBRARY_PATH= ./static

cp -R "$MESON_SOURCE_ROOT/docs/examples" examples
for source in examples/*.c examples/*.cpp examples/*/*.c; do
    command=$(sed -nE 's/^ \*     (cc|c\+\+) (.*-o .*)$/\2/p' "$source")
    packages=$(echo "$command" | sed -n 's/.*pkg-config --cflags --libs \([^)]*\)).*/\1/p')
    pkg-config --exists $packages || { echo "$source is left out: there is no $packages"; continue; }
    case $source in
    *.cpp) compiler=$cxx ;;
    *) compiler=$* ;;
    esac
    (
        cd "${source%/*}"
        eval "$compiler -Wall -Wextra -Werror $command"
        "$MESON_SOURCE_ROOT/tests/package/example.sh" "${source##*/}" "./$(expr "$command" : '.*-o \([^ ]*\)')" || [ $? -eq 77 ]
    ) || { echo "FAILED: $source"; exit 1; }
done

mkdir -p project/subprojects
ln -s "$MESON_SOURCE_ROOT" project/subprojects/libpagelock
cp program.c project
cat >project/meson.build <<'END'
project('program', 'c', default_options: ['c_std=c11'])
pagelock = dependency('pagelock', fallback: 'libpagelock')
executable('program', 'program.c', dependencies: pagelock)
END
for kind in shared static; do
    env -u PKG_CONFIG_PATH -u PKG_CONFIG_SYSROOT_DIR CC="$*" meson setup -Ddefault_library=$kind project/$kind project >setup.log ||
        { cat setup.log; exit 1; }
    ninja -C project/$kind >build.log || { cat build.log; exit 1; }
    prints_version env -u LD_LIBRARY_PATH project/$kind/program
    needed=$(readelf -d project/$kind/program | sed -n 's/.*NEEDED.*\[\(libpagelock[^]]*\)\]/\1/p')
    case $kind$needed in
    sharedlibpagelock.so.0 | static) ;;
    *) echo "FAILED: a subproject with default_library=$kind needs: $needed"; exit 1 ;;
    esac
done

# No pkg-config, so no library but the C library, which is enough without GLib.
line=$(sed -n 's/^    meson setup build-release \(.*\)$/\1/p' "$MESON_SOURCE_ROOT/README.md")
[ -n "$line" ] || { echo "FAILED: the README has no line to install by"; exit 1; }
env PKG_CONFIG=/nonexistent PKG_CONFIG_LIBDIR=/nonexistent CC="$*" \
    meson setup $line -Dglib=disabled bare-build "$MESON_SOURCE_ROOT" >setup.log || { cat setup.log; exit 1; }
meson install -C bare-build --destdir "$dir/bare" >build.log || { cat build.log; exit 1; }
libdir=$(dirname "$(find "$dir/bare" -name libpagelock.a)")
export PKG_CONFIG_SYSROOT_DIR="$dir/bare" PKG_CONFIG_PATH="$libdir/pkgconfig" LD_LIBRARY_PATH="$libdir"
"$@" -std=c11 -o bare-program program.c $(pkg-config --cflags --libs pagelock)
prints_version ./bare-program
