#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Usage: usage.sh SOURCES: scripts that take names say what they do when they are asked to, and do nothing else.
set -u
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
failed=0

for script in bench/figures tests/checkers/run tests/cross/run tests/long tests/model/run; do
    timeout 10 "$1/$script" --help >out 2>err
    [ $? -eq 0 ] && grep -q "Usage: .*$script" out && [ ! -s err ] || { echo "FAILED: $script --help"; failed=1; }
    timeout 10 "$1/$script" --frobnicate >out 2>err
    [ $? -eq 2 ] && grep -q "unknown option: --frobnicate" err && grep -q "Usage: .*$script" err && [ ! -s out ] ||
        { echo "FAILED: $script --frobnicate"; failed=1; }
done
[ "$(ls)" = "$(printf 'err\nout')" ] || { echo "FAILED: something was made: $(ls)"; failed=1; }
exit $failed
