#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Usage: wrap.sh C++-COMPILER C-COMPILER..., with MESON_SOURCE_ROOT: the project of docs/linking.md builds the library that
# docs/pagelock.wrap names, from a repository with these sources, as C and as C++.
set -eu
cxx=$1
shift
command -v git >/dev/null || { echo "SKIP: there is no git"; exit 77; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
fail() {
    echo "FAILED: $*"
    exit 1
}

# The files of this checkout as they are, in a repository of their own.
mkdir repository project project/subprojects
(cd "$MESON_SOURCE_ROOT" && tar -c --exclude='./build*' --exclude=./.git --exclude=./bench/traces --exclude=./tests .) |
    tar -x -C repository
git -C repository init -q
git -C repository add -A
git -C repository -c user.name=test -c user.email=test@localhost commit -q -m test

sed -n '/^```meson$/,/^```$/{/^```/!p}' "$MESON_SOURCE_ROOT/docs/linking.md" >project/meson.build
[ -s project/meson.build ] || fail "docs/linking.md has no project for meson"
cat >>project/meson.build <<'END'
add_languages('cpp', native: false)
executable('cplusplus', 'program.cpp', dependencies: pagelock, override_options: 'cpp_std=c++17')
END
sed "s|^url = .*|url = $dir/repository|" "$MESON_SOURCE_ROOT/docs/pagelock.wrap" >project/subprojects/pagelock.wrap
cp "$MESON_SOURCE_ROOT/docs/examples/one-block.c" project
printf '%s\n' '#include <pagelock/pagelock.h>' 'int main() { return !pgl_version(); }' >project/program.cpp

CC="$*" CXX="$cxx" meson setup --force-fallback-for=pagelock -Ddefault_library=static project/build project >log 2>&1 &&
    ninja -C project/build >>log 2>&1 || { cat log; fail "meson cannot build the project"; }
[ -d project/subprojects/pagelock/src ] || fail "the library was not taken from the repository"
"$MESON_SOURCE_ROOT/tests/package/example.sh" project/one-block.c project/build/one-block
project/build/cplusplus || fail "the program in C++"
