#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Usage: symbols.sh LIBRARY MAP HEADER...: what the library exports, its version script and its headers'
# prototypes agree.
set -u
export LC_ALL=C
library=$1
map=$2
shift 2
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
failed=0

same() {
    diff "$dir/$1" "$dir/$2" || { echo "FAILED: $1 (<) is not what the $2 (>) says"; failed=1; }
}

nm -D --defined-only "$library" | sed -n 's/^.* [^A] \([^@]*\).*/\1/p' | sort >"$dir/library"
sed -n 's/^    \(pgl_[a-z0-9_]*\);$/\1/p' "$map" >"$dir/map"
sed -n 's/^PGL_API .*[ *]\(pgl_[a-z0-9_]*\)(.*/\1/p' "$@" | sort >"$dir/headers"

[ -s "$dir/library" ] || { echo "FAILED: no symbol in $library"; failed=1; }
sort -cu "$dir/map" || { echo "FAILED: $map is not sorted"; failed=1; }
same library map
same map headers
exit $failed
