#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Usage: test_record.sh PAGELOCK-BENCH MAPPED: which pages of a program's files are recorded, and that the program finds
# them right. MAPPED is the program of mapped.c.
set -u
. "$(dirname -- "$0")/command.sh"
mapped=$(realpath "$2") || exit 1
head -c 409600 /dev/urandom >"$dir/file"

# record ARGUMENT...: record MAPPED with these, into trace and set
record() {
    "$bench" record --trace "$dir/trace.gz" --workset "$dir/set" -- "$mapped" "$dir/file" "$@" >"$dir/out" 2>"$dir/err"
}

# touches: the pages of the trace, in order
touches() {
    gzip -dc "$dir/trace.gz" | sed '/^#/d' | cut -d ' ' -f 3 | tr '\n' ' '
}

# recorded EXPECTED ARGUMENT...: the program ends well, and these pages were touched in this order
recorded() {
    expected=$1
    shift
    record "$@" || fail "$*: $(cat "$dir/err")"
    [ "$(touches)" = "$expected" ] || fail "$*: touched $(touches)"
    [ -s "$dir/err" ] && fail "$* said: $(cat "$dir/err")"
}

each_page_is_recorded_at_its_first_touch() {
    recorded '5 3 99 0 ' 5 3 99 3 0 5
    gzip -dc "$dir/trace.gz" | grep -qx "# object 0 100 $dir/file" || fail "the object is not named"
    gzip -dc "$dir/trace.gz" | grep -qx '# entry 0 0 100' || fail "the entry is not there"
    [ "$(cat "$dir/out")" = "         4 of        100 pages of $dir/file" ] || fail "it printed: $(cat "$dir/out")"
}

# However the program ends.
a_program_that_does_not_return_is_recorded() {
    recorded '7 ' 7 x
    record 8 k && fail "a program that was killed is good"
    [ "$(touches)" = '8 ' ] || fail "killed: touched $(touches)"
    grep -q 'was ended by signal 9' "$dir/err" || fail "killed: it said $(cat "$dir/err")"
    record 9 ? && fail "a program that fails is good"
    grep -q 'ended with status 1' "$dir/err" || fail "failed: it said $(cat "$dir/err")"
}

# The child has its file, but is not recorded. A program that replaces itself is another process with the same files.
children_have_their_files() {
    recorded '5 ' 5 f 5 6 99
    recorded '5 5 6 ' 5 e 5 6
}

# Processes that the program leaves behind map files and touch pages while the results are written.
a_program_may_leave_processes_behind() {
    "$bench" record --trace "$dir/trace.gz" --workset "$dir/set" -- sh -c '
        (for i in 1 2 3 4 5 6 7 8 9 10; do "$0" "$1" 5 6; done >"$1.left" 2>&1; echo ended >>"$1.left") &
        exec "$0" "$1" 3' "$mapped" "$dir/file" >"$dir/out" 2>"$dir/err" || fail "processes left behind: $(cat "$dir/err")"
    "$bench" replay --policy none --format=json "$dir/trace.gz" >"$dir/out" || fail "their trace: $(cat "$dir/out")"
    until grep -q ended "$dir/file.left"; do
        sleep 0.1
    done
    [ "$(cat "$dir/file.left")" = ended ] || fail "processes left behind: $(cat "$dir/file.left")"
}

changes_of_the_mapping_are_followed() {
    recorded '5 60 ' 5 u 5 60 6
    recorded '5 5 6 ' 5 s 5 6
    recorded '5 5 ' 5 s w 5
    recorded '5 6 ' 5 g 6
    recorded '5 6 ' 5 i 6
    recorded '5 6 ' 5 h 6
}

# A child maps the file where it was, and nowhere else.
children_have_what_was_written() {
    recorded '5 6 ' 5 m 6
    recorded '5 6 ' 5 c 6
    recorded '5 6 ' 5 v 6
    recorded '5 6 ' 5 a 6
    recorded '5 ' 5 p 6
}

# More of them than there were slots once, and when there is no descriptor for another one.
children_have_the_parts_of_what_was_cut() {
    recorded '5 ' 5 n 5
    recorded '5 ' 5 o 5 49 51 99
}

# Neither the trace nor a table is broken by it, and the set has the file's own name.
a_path_may_have_any_bytes() {
    odd=$(printf 'odd\nname\r\377')
    cp "$dir/file" "$dir/$odd"
    "$bench" record --trace "$dir/trace.gz" --workset "$dir/odd" -- "$mapped" "$dir/$odd" 5 6 >"$dir/out" 2>"$dir/err" ||
        fail "a path of two lines: $(cat "$dir/err")"
    [ "$(wc -l <"$dir/out")" -eq 1 ] || fail "a path of two lines: it printed: $(cat "$dir/out")"
    [ "$(gzip -dc "$dir/trace.gz" | grep -c '^# object')" -eq 1 ] || fail "a path of two lines: $(gzip -dc "$dir/trace.gz")"
    "$bench" replay --policy none --format=json "$dir/trace.gz" | grep -q '"faults":2,' || fail "its trace cannot be replayed"
    [ "$("$bench" workset "$dir/odd" | wc -l)" -eq 2 ] || fail "its set: $("$bench" workset "$dir/odd")"
    "$bench" record --trace "$dir/trace.gz" --replay "$dir/odd" --format=json -- "$mapped" "$dir/$odd" 5 6 >"$dir/out" &&
        python3 -c 'import json, sys; json.loads(sys.stdin.read())' <"$dir/out" || fail "its JSON: $(cat "$dir/out")"
    [ "$(touches)" = '5 ' ] || fail "its set was not found: touched $(touches)"
}

what_cannot_be_written_is_said_before_the_program_runs() {
    says "cannot write $dir/none/trace: No such file" 1 record --trace "$dir/none/trace" -- touch "$dir/ran"
    says "cannot write $dir: Is a directory" 1 record --trace "$dir/new" --workset "$dir" -- touch "$dir/ran"
    [ ! -e "$dir/ran" ] || fail "a program ran whose touches could not be written"
    [ ! -e "$dir/new" ] || fail "a trace was made of a program that did not run"
}

a_page_that_is_touched_again_counts_once() {
    recorded '5 5 6 ' 5 s 5 6
    [ "$(cat "$dir/out")" = "         2 of        100 pages of $dir/file" ] || fail "it printed: $(cat "$dir/out")"
}

the_trace_and_the_set_are_what_the_commands_read() {
    recorded '5 6 7 50 ' 5 6 7 50
    "$bench" replay --policy none --format=json "$dir/trace.gz" | grep -q '"faults":4,' || fail "the trace has no four faults"
    "$bench" replay --policy none --workset "$dir/set" --format=json "$dir/trace.gz" | grep -q '"requests":2,' ||
        fail "a replay with the set does not take two requests"
    [ "$("$bench" workset --format=json "$dir/set")" = \
        '{"bench":"workset","name":"'"$dir"'/file","runs":1,"pages":4,"clusters":2,"cluster_pages":4}' ] ||
        fail "the set is $("$bench" workset --format=json "$dir/set")"
    cp "$dir/set" "$dir/first"
    recorded '6 90 ' 6 90
    "$bench" workset --output "$dir/both" "$dir/first" "$dir/trace.gz" >/dev/null || fail "the sets cannot be combined"
    "$bench" workset --format=json "$dir/both" | grep -q '"runs":2,"pages":5,' || fail "combined: $("$bench" workset "$dir/both")"
    "$bench" workset --least 2 --format=json "$dir/both" | grep -q '"pages":1,' || fail "touched twice: $("$bench" workset "$dir/both")"
}

# Pages that come with a cluster of the set are no faults.
a_program_runs_with_the_sets_of_another_run() {
    recorded '5 6 7 50 ' 5 6 7 50
    cp "$dir/set" "$dir/first"
    "$bench" record --trace "$dir/trace.gz" --replay "$dir/first" -- "$mapped" "$dir/file" 5 6 7 50 8 >"$dir/out" 2>&1 ||
        fail "with its set: $(cat "$dir/out")"
    [ "$(touches)" = '5 50 8 ' ] || fail "with its set: touched $(touches)"
}

# A file may have sets of several runs of one program, as cat makes it.
sets_of_one_file_are_followed_together() {
    recorded '5 6 7 ' 5 6 7
    cp "$dir/set" "$dir/one"
    recorded '60 61 ' 60 61
    cat "$dir/one" "$dir/set" >"$dir/runs"
    recorded '5 6 7 60 61 ' 5 6 7 60 61
    "$bench" replay --policy none --workset "$dir/runs" --format=json "$dir/trace.gz" | grep -q '"requests":2,' ||
        fail "a replay with the sets of two runs does not take two requests"
    "$bench" record --trace "$dir/trace.gz" --replay "$dir/runs" -- "$mapped" "$dir/file" 5 6 7 60 61 >"$dir/out" 2>&1
    [ "$(touches)" = '5 60 ' ] || fail "with the sets of two runs: touched $(touches)"
}

# says MESSAGE STATUS ARGUMENT...
says() {
    message=$1
    status=$2
    shift 2
    "$bench" "$@" >"$dir/out" 2>"$dir/err"
    [ $? -eq "$status" ] && grep -qF "$message" "$dir/err" || fail "$* said: $(cat "$dir/err")"
}

sets_of_other_files_are_named() {
    of_object="no set is of an object of"
    of_file="no set is of a file that the program maps"
    cp "$dir/file" "$dir/other"
    "$bench" record --trace "$dir/other.gz" --workset "$dir/others" -- "$mapped" "$dir/other" 5 >"$dir/out"
    says "$of_object" 0 replay --policy none --workset "$dir/set" "$dir/other.gz"
    "$bench" replay --policy none --workset "$dir/others" "$dir/other.gz" >"$dir/out" 2>"$dir/err"
    grep -F "$of_object" "$dir/err" && fail "a warning about the set of the trace's object"
    says "$of_file" 0 record --trace "$dir/x" --replay "$dir/others" -- "$mapped" "$dir/file" 5
    "$bench" record --trace "$dir/x" --replay "$dir/others" -- "$mapped" "$dir/other" 5 >"$dir/out" 2>"$dir/err"
    grep -F "$of_file" "$dir/err" && fail "a warning about the set of the program's file"
}

# sets N FILE: sets of N files
sets() {
    awk -v n="$1" 'BEGIN {
        print "# pagelock-trace 1 kind=fault page_bits=12"
        for (i = 0; i < n; i++) { print "# object " i " 1 file" i }
        for (i = 0; i < n; i++) { print i " " i " 0 r" }
    }' | gzip >"$dir/files.gz"
    "$bench" workset --output "$2" "$dir/files.gz" >"$dir/out" || fail "no sets of $1 files: $(cat "$dir/out")"
}

more_sets_than_there_is_room_for_are_refused() {
    sets 256 "$dir/files"
    says "no set is of a file" 0 record --trace "$dir/x" --replay "$dir/files" -- "$mapped" "$dir/file" 5
    sets 257 "$dir/files"
    says "more than 256" 2 record --trace "$dir/x" --replay "$dir/files" -- "$mapped" "$dir/file" 5
}

wrong_usage_and_damage_are_named() {
    says 'record wants a program' 2 record --trace x
    says 'record wants --trace or --workset' 2 record -- true
    says '/nowhere/x' 1 record --trace "$dir/x" -- /nowhere/x
    says 'mapped no file' 1 record --trace "$dir/x" -- true
    says 'workset wants a trace' 2 workset
    says 'No such file' 2 record --trace "$dir/x" --replay "$dir/nothing" -- true
    head -c 40 "$dir/first" >"$dir/cut"
    says "$dir/cut: set 1: it is cut short" 2 workset "$dir/cut"
    says "$dir/cut: set 1: it is cut short" 2 replay --workset "$dir/cut" "$dir/trace.gz"
    cat "$dir/first" "$dir/cut" >"$dir/second"
    says "set 2: it is cut short" 2 workset "$dir/second"
    tr '\005' '\004' <"$dir/first" >"$dir/changed"
    says "its checksum is wrong" 2 workset "$dir/changed"
}

if ! record 0 && grep -q 'userfaultfd is not permitted' "$dir/err"; then
    echo "SKIP: $(cat "$dir/err")"
    exit 77
fi
if [ "$(getconf PAGESIZE)" != 4096 ]; then
    echo "SKIP: this test is for pages of 4096 bytes"
    exit 77
fi
each_page_is_recorded_at_its_first_touch
a_program_that_does_not_return_is_recorded
children_have_their_files
a_program_may_leave_processes_behind
changes_of_the_mapping_are_followed
children_have_what_was_written
children_have_the_parts_of_what_was_cut
a_path_may_have_any_bytes
what_cannot_be_written_is_said_before_the_program_runs
a_page_that_is_touched_again_counts_once
the_trace_and_the_set_are_what_the_commands_read
a_program_runs_with_the_sets_of_another_run
sets_of_one_file_are_followed_together
sets_of_other_files_are_named
more_sets_than_there_is_room_for_are_refused
wrong_usage_and_damage_are_named
exit $failed
