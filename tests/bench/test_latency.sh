#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Usage: test_latency.sh PAGELOCK-BENCH: what the subcommand latency prints and returns, for right and for wrong usage.
set -u
. "$(dirname -- "$0")/command.sh"

# Each kind of call was made, and the quantiles grow.
rows_have_the_keys_in_order() {
    for blocks in 1 40 41 2000; do
        "$bench" latency --seconds 0.2 --threads 2 --blocks $blocks --format=json >"$dir/out" 2>"$dir/err" ||
            fail "latency with $blocks blocks: $(cat "$dir/err")"
        python3 - $blocks "$dir/out" <<'END' || fail "rows with $blocks blocks: $(cat "$dir/out")"
import json, sys
rows = [json.loads(line) for line in open(sys.argv[2])]
figures = rows.pop()
assert [row["op"] for row in rows] == ["clock", "check", "bracket", "kill"]
for row in rows:
    assert list(row) == ["bench", "op", "threads", "blocks", "calls", "ns_p50", "ns_p99", "ns_p999", "ns_max"]
    assert row["bench"] == "latency" and row["threads"] == 2 and row["blocks"] == int(sys.argv[1])
    assert row["calls"] > 0 and 0 < row["ns_p50"] <= row["ns_p99"] <= row["ns_p999"] <= row["ns_max"]
assert list(figures) == ["bench", "kills", "hits", "false_alarms", "contended", "slept", "slept_ns_max"]
assert figures["kills"] >= figures["hits"] == rows[3]["calls"]
END
    done
}

table_has_a_line_for_each_kind() {
    "$bench" latency --seconds 0.1 --threads 1 >"$dir/out" 2>"$dir/err" || fail "latency: $(cat "$dir/err")"
    [ "$(grep -Ec '^  (clock|check|bracket|kill) +[0-9]+ +[0-9]+ +[0-9]+ +[0-9]+ +[0-9]+   ' "$dir/out")" -eq 4 ] &&
        grep -q '^figures of the table: ' "$dir/out" || fail "the table: $(cat "$dir/out")"
}

# expect MESSAGE ARGUMENT...
expect() {
    message=$1
    shift
    "$bench" latency "$@" >"$dir/out" 2>"$dir/err"
    [ $? -eq 2 ] && [ "$(cat "$dir/err")" = "pagelock-bench: $message" ] && [ ! -s "$dir/out" ] ||
        fail "$* said: $(cat "$dir/err")"
}

wrong_usage_is_named() {
    expect '--threads is not in 1..64: 0' --threads 0
    expect '--threads is not in 1..64: 65' --threads 65
    expect '--blocks is not in 1..10000000: 0' --blocks 0
    expect '--seconds is not above 0 and at most 3600: 0' --seconds 0
    expect '--seconds is not above 0 and at most 3600: 3601' --seconds 3601
    expect '--seconds is not above 0 and at most 3600: nan' --seconds nan
    expect 'latency takes no argument: x' x
    "$bench" latency --help | grep -q -- '--seconds=' || fail "latency --help"
}

rows_have_the_keys_in_order
table_has_a_line_for_each_kind
wrong_usage_is_named
exit $failed
