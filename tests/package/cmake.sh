#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Usage: cmake.sh C++-COMPILER C-COMPILER..., with MESON_SOURCE_ROOT and MESON_BUILD_ROOT: the project of docs/linking.md
# finds an installed library, also one that was moved, as C and as C++, shared and static; and versions that the library
# does not serve are refused.
set -eu
cxx=$1
shift
cc=$*
command -v cmake >/dev/null || { echo "SKIP: there is no cmake"; exit 77; }
. "$(dirname "$0")/installed.sh"
example=$MESON_SOURCE_ROOT/tests/package/example.sh
prefix=$(dirname "$(dirname "$(find "$dir/root" -name pagelock -path '*/include/*')")")
sed -n '/^```cmake$/,/^```$/{/^```/!p}' "$MESON_SOURCE_ROOT/docs/linking.md" >CMakeLists.txt
[ -s CMakeLists.txt ] || fail "docs/linking.md has no project for CMake"
# The other ways, in the document's words.
sed 's/ C)/ CXX)/; s/one-block\.c)/program.cpp)/; s/^find/set(CMAKE_CXX_STANDARD 17)\n&/' CMakeLists.txt >cxx.txt
sed 's/pagelock::pagelock/pagelock::static/' CMakeLists.txt >static.txt
sed 's/pagelock::pagelock/pagelock::static/' cxx.txt >cxx-static.txt

# configure NAME [OPTION...]: NAME/build, of NAME/CMakeLists.txt
configure() {
    name=$1
    shift
    env -u PKG_CONFIG_PATH -u LD_LIBRARY_PATH CC="$cc" CXX="$cxx" \
        cmake -G Ninja -S "$name" -B "$name/build" -DCMAKE_PREFIX_PATH="$prefix" "$@"
}

for way in CMakeLists cxx static cxx-static; do
    mkdir $way.d
    cp $way.txt $way.d/CMakeLists.txt
    cp "$MESON_SOURCE_ROOT/docs/examples/one-block.c" program.cpp $way.d
    run configure.log configure $way.d
    run build.log ninja -C $way.d/build
    program=$way.d/build/one-block
    case $way in
    cxx*) prints_version env -u LD_LIBRARY_PATH $program ;;
    *) run example.log env -u LD_LIBRARY_PATH "$example" $way.d/one-block.c $program ;;
    esac
    case $way in
    *static) needs_nothing $program ;;
    *) needs_soname $program ;;
    esac
done

# refused VERSION, served VERSION
refused() {
    wants "$1"
    ! configure wants >configure.log 2>&1 || fail "version $version serves those who ask for $1"
    grep -q 'compatible with requested version\|not accepted' configure.log || { cat configure.log; fail "$1"; }
}
served() {
    wants "$1"
    run configure.log configure wants
}
wants() {
    rm -rf wants
    mkdir wants
    printf 'cmake_minimum_required(VERSION 3.13)\nproject(wants C)\nfind_package(pagelock %s REQUIRED)\n' "$1" \
        >wants/CMakeLists.txt
}
served "$version"
served "$version EXACT"
served "${version%.*}"
refused "${version%.*}.$((${version##*.} + 1))"
refused "$((${version%%.*} + 1)).0"
refused "0.0.9"

# A tree that was moved is found as well.
mv root moved
prefix=$dir/moved${prefix#"$dir/root"}
rm -rf CMakeLists.d/build
run configure.log configure CMakeLists.d
run build.log ninja -C CMakeLists.d/build
run example.log "$example" CMakeLists.d/one-block.c CMakeLists.d/build/one-block
