#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Usage: one_version.sh VERSION SOURCES: VERSION, which meson has, is that of the header. No other file repeats it, but for
# those that tell what happened to which version.
set -u
export LC_ALL=C
version=$1
cd "$2" || exit 1
failed=0

parts=$(sed -n 's/^#define PGL_VERSION_\(MAJOR\|MINOR\|MICRO\) \([0-9]*\)$/\2/p' include/pagelock/version.h)
[ "$version" = "$(echo $parts | tr ' ' .)" ] || { echo "FAILED: meson has $version, and the header" $parts; failed=1; }

# repeats FILE...: those of the files that have the version
repeats() {
    grep -lE "(^|[^0-9.])$(echo "$version" | sed 's/\./\\./g')([^0-9.]|\.?$)" -- "$@"
}

files=$(git ls-files 2>/dev/null |
    grep -E '(^|/)(meson\.build|CMakeLists\.txt)$|^(README\.md|docs/[^/]*|include/.*)$|\.(in|cmake|wrap|yml|toml|py|sh)$' |
    grep -v '^docs/CHANGELOG\.md$')
for file in $(repeats ${files:-README.md}); do
    echo "FAILED: $file repeats the version $version; include/pagelock/version.h has it"
    failed=1
done
[ "$(printf 'x = "%s",\n' "$version" | repeats -)" ] || { echo "FAILED: a repeated version was not found"; failed=1; }
[ ! "$(printf '1%s %s.1\n' "$version" "$version" | repeats -)" ] || { echo "FAILED: other numbers were taken for it"; failed=1; }
exit $failed
