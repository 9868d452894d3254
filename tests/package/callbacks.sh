#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Usage: callbacks.sh C++-COMPILER HEADER...: in C++17 each callback of the public headers is noexcept, so that none can
# throw through the library and leave its locks taken.
set -u
cxx=$1
shift
include=${1%/pagelock/*}
failed=0

# compiles STANDARD: whether the program on standard input does
compiles() {
    "$cxx" -std="$1" -Wall -Wextra -Werror -I"$include" -x c++ -fsyntax-only - 2>/dev/null
}

program() {
    echo "#include <pagelock/pagelock.h>
static void retired(pgl_tb *, void *) $1 {}
pgl_tb_ops ops = {nullptr, nullptr, nullptr, retired};"
}

# A callback that may throw is refused where its type says so.
program noexcept | compiles c++17 || { echo "FAILED: a noexcept callback is refused"; failed=1; }
program "" | compiles c++17 && { echo "FAILED: a callback that may throw is accepted"; failed=1; }
program "" | compiles c++14 || { echo "FAILED: before C++17 the type says nothing of exceptions"; failed=1; }

# Every pointer to a function in the headers, a member or a parameter, which may take more than one line.
pointers=$(cat "$@" | tr '\n' ' ' | grep -oE '\(\*[a-z_]+\)\([^()]*\) *[A-Za-z_;,)]+')
[ "$(echo "$pointers" | wc -l)" -ge 20 ] || { echo "FAILED: only these callbacks were found: $pointers"; failed=1; }
throwing=$(echo "$pointers" | grep -v 'PGL_NOEXCEPT[;,)]*$') && { echo "FAILED: without PGL_NOEXCEPT: $throwing"; failed=1; }
exit $failed
