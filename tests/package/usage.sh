#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Usage: usage.sh SOURCES: scripts that take names say what they do when they are asked to, and do nothing else; a wrong
# argument is named before anything is installed or built.
set -u
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
failed=0

# refused MESSAGE SCRIPT ARGUMENT...
refused() {
    message=$1
    script=$2
    shift 2
    timeout 10 "$top/$script" "$@" >out 2>err
    [ $? -eq 2 ] && grep -q -- "$message" err && [ ! -s out ] || { echo "FAILED: $script $*"; cat out err; failed=1; }
}

top=$1
for script in .ci/run bench/draw bench/figures docs/pictures/draw tests/checkers/run tests/cross/run tests/fresh/run tests/fuzz/run \
    tests/long tests/model/run tests/mutants/run tests/qemu/run; do
    timeout 10 "$1/$script" --help >out 2>err
    [ $? -eq 0 ] && grep -q "Usage: .*$script" out && [ ! -s err ] || { echo "FAILED: $script --help"; failed=1; }
    timeout 10 "$1/$script" --frobnicate >out 2>err
    [ $? -eq 2 ] && grep -q "unknown option: --frobnicate" err && grep -q "Usage: .*$script" err && [ ! -s out ] ||
        { echo "FAILED: $script --frobnicate"; failed=1; }
done
timeout 10 "$1/tests/run" --help >out 2>err
[ $? -eq 0 ] && grep -q "Usage: .*tests/run" out && [ ! -s err ] || { echo "FAILED: tests/run --help"; failed=1; }
for script in .ci/run tests/checkers/run tests/cross/run tests/fuzz/run tests/long tests/model/run; do
    refused 'unknown name: nosuch (there are: ' $script nosuch
done
for script in bench/draw docs/pictures/draw; do
    refused 'unknown name: nosuch (there are none)' $script nosuch
done
refused 'unknown name: nosuch (there are: bookworm trixie)' tests/fresh/run nosuch
refused 'unknown name: nosuch (there are: root user short links)' tests/fresh/run bookworm nosuch
refused 'name a release: bookworm trixie' tests/fresh/run
refused '--mirror wants a URL' tests/fresh/run --mirror
refused 'no such mutant: nosuch' tests/mutants/run claim-twice nosuch
refused 'unknown name: nosuch (there are: ' tests/mutants/run --kind nosuch
refused 'unknown name:  (there are: ' tests/mutants/run --kind
refused 'unknown argument: nosuch' tests/qemu/run nosuch
refused 'unknown name: nosuch (there are: stock port)' tests/qemu/run --only nosuch
for option in --boots --smp --tb-size --deadline; do
    refused "$option wants a number, not 'x'" tests/qemu/run $option x
    refused "$option wants a number above 0" tests/qemu/run $option 0
done
refused "--seconds wants a number, not 'x'" tests/mutants/run --seconds x
for option in --seconds --jobs; do
    refused "$option wants a number, not ''" tests/fuzz/run $option
    refused "$option wants a number, not '-1'" tests/fuzz/run $option -1
done
[ "$(ls)" = "$(printf 'err\nout')" ] || { echo "FAILED: something was made: $(ls)"; failed=1; }
exit $failed
