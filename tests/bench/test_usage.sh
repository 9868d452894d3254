#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Usage: test_usage.sh PAGELOCK-BENCH: each option of each command, with values that it cannot have, is wrong usage.
# The options are those that --help lists.
set -u
. "$(dirname -- "$0")/command.sh"

# refused ARGUMENT...: status 2, one line on standard error that has the program's name, nothing on standard output
refused() {
    timeout 60 "$bench" "$@" >"$dir/out" 2>"$dir/err" </dev/null
    got=$?
    [ $got -eq 2 ] && [ ! -s "$dir/out" ] && [ "$(wc -l <"$dir/err")" -eq 1 ] &&
        grep -q '^pagelock-bench: .' "$dir/err" ||
        fail "status $got, said: $(cat "$dir/err" "$dir/out"): $*"
}

# options COMMAND KIND...: the options of a command whose value has one of these names in its help
options() {
    command=$1
    shift
    for kind in "$@"; do
        "$bench" "$command" --help | sed -n "s/^  \(--[a-z-]*\)=$kind .*/\1/p"
    done
}

commands=$("$bench" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p')
values='FILE NAME\[,...\] HOW FORMAT N NS MS MIB SECONDS'
numbers='N NS MS MIB SECONDS'
noptions=0

for command in $commands; do
    # What makes the command complete.
    case $command in
    replay) rest=$dir/none.gz ;;
    draw) rest="--plot $dir/x.svg $dir/none.json" ;;
    record) rest="--trace $dir/x.gz -- true" ;;
    workset) rest=$dir/none.gz ;;
    list | machine | latency) rest= ;;
    micro) rest=link ;;
    pager) rest=random ;;
    *) fail "no line for the command $command here" ;;
    esac
    refused "$command" --nosuch
    refused "$command" --nosuch=1
    refused "$command" -q
    case $command in
    list | machine | latency) refused "$command" extra ;;
    micro) refused "$command" link extra ;;
    esac
    # shellcheck disable=SC2086
    refused "$command" --format xml $rest
    # shellcheck disable=SC2086
    for option in $(options "$command" $values); do
        refused "$command" "$option"
        noptions=$((noptions + 1))
    done
    # shellcheck disable=SC2086
    for option in $(options "$command" $numbers); do
        for value in '' x 1x -1 2147483648 99999999999999999999 1e999 nan inf -inf; do
            refused "$command" "$option=$value" $rest
        done
    done
    # shellcheck disable=SC2086
    [ "$("$bench" "$command" --help | grep -c '^  --[a-z-]*=')" -eq "$(options "$command" $values | wc -l)" ] ||
        fail "an option of $command has a value of an unknown kind"
done
[ $noptions -ge 30 ] || fail "only $noptions options were tried"

for alone in --help -h --version; do
    refused "$alone" extra
    refused "$alone" --nosuch
done
refused nosuch
refused --nosuch
refused ''
exit $failed
