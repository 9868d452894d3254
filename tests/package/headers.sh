#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Usage: headers.sh C++-COMPILER HEADER... C-COMPILER...: each header compiles alone, as C11 and as C++17, with the
# warnings that strict programs ask for.
set -u
cxx=$1
shift
headers=
while [ "${1%.h}" != "$1" ]; do
    headers="$headers pagelock/${1##*/pagelock/}"
    include=${1%/pagelock/*}
    shift
done
failed=0

# alone HEADER LANGUAGE COMPILER...: twice in one unit, which tries its guard, with a declaration in case it has none
alone() {
    header=$1
    language=$2
    shift 2
    printf '#include <%s>\n#include <%s>\nextern int declared;\n' "$header" "$header" |
        "$@" -Wall -Wextra -Wpedantic -Wconversion -Wcast-qual -Wshadow -Werror -I"$include" -x "$language" -fsyntax-only - ||
        { echo "FAILED: $header as $language"; failed=1; }
}

[ -n "$headers" ] || exit 1
for header in $headers; do
    alone "$header" c "$@" -std=c11
    alone "$header" c++ "$cxx" -std=c++17
done
exit $failed
