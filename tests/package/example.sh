#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Usage: example.sh SOURCE PROGRAM: the program succeeds, and prints what the first comment of its source says. One that
# says "SKIP: reason", or that may not use userfaultfd here, is skipped.
set -u
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
sed -n '/^ \* prints:$/,/^ \*\/$/s/^ \*     //p' "$1" >"$dir/promised"
[ -s "$dir/promised" ] || { echo "FAILED: the first comment of $1 does not say what it prints"; exit 1; }
"$2" >"$dir/printed" 2>"$dir/errors"
status=$?
if [ $status -eq 77 ] && grep '^SKIP: ' "$dir/printed"; then
    exit 77
fi
if [ $status -ne 0 ] && grep -q 'userfaultfd' "$dir/errors"; then
    sed 's/^[^:]*: /SKIP: /' "$dir/errors"
    exit 77
fi
cat "$dir/errors"
[ $status -eq 0 ] || { echo "FAILED: $2 ended with $status"; cat "$dir/printed"; exit 1; }
diff "$dir/promised" "$dir/printed" || { echo "FAILED: (<) is what $1 says, and (>) is what it prints"; exit 1; }
