#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Usage: summary.sh SUMMARY.PY: the last lines of tests/run name each test that did not run, and why; a skip without
# a reason is a failure.
set -u
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
failed=0

# summarised STATUS EXPECTED: what the program makes of left-out and log.json
summarised() {
    python3 "$program" "$dir/left-out" "$dir/log.json" >"$dir/out" 2>&1
    status=$?
    [ "$status" = "$1" ] && [ "$(cat "$dir/out")" = "$2" ] ||
        { echo "FAILED: status $status, wanted $1 and <$2>:"; cat "$dir/out"; failed=1; }
}

program=$1
printf 'witness: a reason\n\n' >"$dir/left-out"
cat >"$dir/log.json" <<'END_OF_LOG'
{"name": "p:unit / whole", "stdout": "SKIP: no privilege\n", "result": "SKIP"}
{"name": "p:unit / part", "stdout": "[ RUN ]\nSKIP: test_a: no such call\n[  SKIPPED ] test_a\n", "result": "OK"}
{"name": "p:unit / loud", "stdout": "said\nSKIP: test_b: on standard output\n", "stderr": "x\nSKIP: test_c: on the other\n", "result": "OK"}
{"name": "p:unit / fine", "stdout": "not SKIP: at the start of a line\n[  SKIPPED ] 1 test(s), listed below:\n", "result": "OK"}
{"name": "p:unit / as expected", "result": "EXPECTEDFAIL"}
{"name": "p:unit / slow", "stdout": "", "result": "TIMEOUT"}
{"name": "p:unit / bad", "stdout": "", "result": "FAIL"}
END_OF_LOG
summarised 0 'not in this build: witness: a reason
skipped: whole: no privilege
skipped: part: test_a: no such call
skipped: loud: test_b: on standard output
skipped: loud: test_c: on the other
failed: slow: TIMEOUT
failed: bad: FAIL
4 passed, 2 failed, 1 skipped'

: >"$dir/left-out"
cat >"$dir/log.json" <<'END_OF_LOG'
{"name": "p:unit / whole", "stdout": "no privilege\n", "result": "SKIP"}
{"name": "p:unit / part", "stdout": "SKIP: test_a: why\n[  SKIPPED ] test_a\n", "stderr": "[  SKIPPED ] test_b\n[  SKIPPED ] test_b\n", "result": "OK"}
END_OF_LOG
summarised 1 'skipped: whole: FAILED: the test gives no reason
skipped: part: test_a: why
skipped: part: FAILED: test_b gives no reason
1 passed, 0 failed, 1 skipped'
exit $failed
