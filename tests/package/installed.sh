# SPDX-License-Identifier: LGPL-2.1-or-later
# Sourced by tests of the installation, with MESON_SOURCE_ROOT and MESON_BUILD_ROOT: a directory for the test, and in it
# program.c, the same program as C++, and root/, into which the library is installed. pkg-config finds it there.
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

fail() {
    echo "FAILED: $*"
    exit 1
}

# run LOG COMMAND...: what it says is shown if it fails
run() {
    log=$1
    shift
    "$@" >"$log" 2>&1 || { cat "$log"; fail "$*"; }
}

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
    [ "$("$@")" = "$version" ] || fail "$*"
}

# needs_soname PROGRAM: it is linked with the shared library
needs_soname() {
    readelf -d "$1" | grep -q "NEEDED.*\[$soname\]" || fail "$1 does not need $soname"
}

needs_nothing() {
    ! readelf -d "$1" | grep 'NEEDED.*libpagelock' || fail "$1 needs the shared library"
}

run install.log meson install -C "$MESON_BUILD_ROOT" --no-rebuild --quiet --destdir "$dir/root"
libdir=$(dirname "$(find "$dir/root" -name libpagelock.a)")
export PKG_CONFIG_SYSROOT_DIR="$dir/root" PKG_CONFIG_PATH="$libdir/pkgconfig" LD_LIBRARY_PATH="$libdir"

version=$(pkg-config --modversion pagelock)
soname=$(readelf -d "$libdir/libpagelock.so" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')
