#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Usage: same_output.sh EXPECTED PROGRAM: the program succeeds and prints what the file says, which is not nothing.
set -eu
out=$(mktemp)
trap 'rm -f "$out"' EXIT
"$2" >"$out"
[ -s "$1" ]
diff "$1" "$out"
