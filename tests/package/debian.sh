#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Build the Debian packages of docs/debian, let lintian look at them and at their source, and link a program
# with what they contain, in C, in C++, and statically. Usage: tests/package/debian.sh
# Needs dpkg-dev, debhelper, lintian and what docs/debian/control wants. It takes about a minute.
set -eu
[ $# = 0 ] || { sed -n '3,/^[^#]/s/^# //p' "$0"; [ "$1" = --help ]; exit; }
top=$(CDPATH= cd -- "$(dirname -- "$0")/../.." && pwd -P)
for tool in dpkg-buildpackage dh lintian; do
    command -v $tool >/dev/null || { echo "SKIP: there is no $tool"; exit 77; }
done
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export LC_ALL=C.UTF-8

fail() {
    echo "FAILED: $*"
    exit 1
}

version=$(sed -n 's/^#define PGL_VERSION_[A-Z]* //p' "$top/include/pagelock/version.h" | paste -sd .)
packaged=$(dpkg-parsechangelog -l "$top/docs/debian/changelog" -S Version)
[ "${packaged%-*}" = "$version" ] || fail "docs/debian/changelog has version $packaged, and the headers have $version"

# The files of this checkout as they are: the source that was released, and its packaging.
mkdir "$dir/root" "$dir/libpagelock-$version"
cd "$dir/libpagelock-$version"
git -C "$top" ls-files -z | (cd "$top" && tar -c --null -T -) | tar -x
tar -C .. -czf "../libpagelock_$version.orig.tar.gz" "libpagelock-$version"
mv docs/debian debian
DEB_BUILD_OPTIONS="nocheck parallel=2" dpkg-buildpackage -us -uc >"$dir/log" 2>&1 ||
    { tail -n 50 "$dir/log"; fail "the build"; }
cd "$dir"
lintian --allow-root --fail-on error,warning ./*.changes || fail "lintian"

for package in ./*.deb; do
    dpkg-deb -x "$package" root
done
libdir=$(dirname "$(find "$dir/root" -name libpagelock.a)")
export PKG_CONFIG_SYSROOT_DIR="$dir/root" PKG_CONFIG_PATH="$libdir/pkgconfig" LD_LIBRARY_PATH="$libdir"
cp "$top/docs/examples/one-block.c" .
printf '%s\n' '#include <pagelock/pagelock.h>' 'int main() { return !pgl_version(); }' >program.cpp
cc -o one-block one-block.c $(pkg-config --cflags --libs pagelock)
"$top/tests/package/example.sh" one-block.c ./one-block
cc -static -o static one-block.c $(pkg-config --static --cflags --libs pagelock)
"$top/tests/package/example.sh" one-block.c ./static
c++ -std=c++17 -o cplusplus program.cpp $(pkg-config --cflags --libs pagelock)
./cplusplus || fail "the program in C++"
root/usr/bin/pagelock-bench --version >/dev/null || fail "pagelock-bench"
echo "packages: $(ls ./*.deb | wc -l) built, 0 errors and 0 warnings of lintian"
