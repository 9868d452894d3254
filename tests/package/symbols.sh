#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Usage: symbols.sh LIBRARY ARCHIVE MAP HEADER...: what the library exports, its version script and its headers'
# prototypes agree; its symbols have the version of its soname; each operation that the headers document is exported
# under its own name; and nothing global in the archive can be taken for a name of its user's.
set -u
export LC_ALL=C
library=$1
archive=$2
map=$3
shift 3
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
failed=0

same() {
    diff "$dir/$1" "$dir/$2" || { echo "FAILED: $1 (<) is not what the $2 (>) says"; failed=1; }
}

nm -D --defined-only "$library" | sed -n 's/^.* [^A] \([^@]*\).*/\1/p' | sort >"$dir/library"
sed -n 's/^    \(pgl_[a-z0-9_]*\);$/\1/p' "$map" >"$dir/map"
sed -nE 's/^PGL_(API|INLINE) .*[ *](pgl_[a-z0-9_]*)[(;[].*/\2/p' "$@" | sort -u >"$dir/headers"

[ -s "$dir/library" ] || { echo "FAILED: no symbol in $library"; failed=1; }
sort -cu "$dir/map" || { echo "FAILED: $map is not sorted"; failed=1; }
# A program that was linked with another interface does not start: the soname and the symbols' version say which it is.
soname=$(readelf -d "$library" | sed -n 's/.*SONAME.*\[libpagelock\.so\.\(.*\)\]/\1/p')
versions=$(nm -D --defined-only "$library" | sed -n 's/.*@//p' | sort -u)
[ -n "$soname" ] && [ "$versions" = "PAGELOCK_$soname" ] ||
    { echo "FAILED: the soname ends in .so.$soname, and the symbols have the versions: $versions"; failed=1; }

same library map
same map headers

# Headers' comments: "pgl_x - ..." and "pgl_x(a, b) - ..." name operations.
sed -nE 's/^ \* (pgl_[a-z0-9_]*)(\([^)]*\))? - .*/\1/p' "$@" | sort >"$dir/documented"
[ -s "$dir/documented" ] || { echo "FAILED: no operation is documented"; failed=1; }
comm -23 "$dir/documented" "$dir/library" >"$dir/missing"
[ ! -s "$dir/missing" ] || { echo "FAILED: documented, but not exported:"; cat "$dir/missing"; failed=1; }

nm -g --defined-only "$archive" 2>/dev/null | sed -n 's/^[0-9a-f]* [A-Z] //p' >"$dir/archive"
grep -q '^pgl_' "$dir/archive" || { echo "FAILED: no symbol in $archive"; failed=1; }
grep -v '^pgl_\|^__\|^_\.stapsdt\.base$' "$dir/archive" && { echo "FAILED: these of $archive do not begin with pgl_"; failed=1; }
exit $failed
