#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Usage: test_workset.sh PAGELOCK-BENCH TRACES: what recorded working sets save on runs that were recorded apart from
# them. The traces named held-* were recorded by pagelock-bench record, and no constant was chosen on them.
set -u
. "$(dirname -- "$0")/command.sh"
traces=$(realpath "$2") || exit 1

# cost TRACE NAME ARGUMENT...: the cost of a policy or of a yardstick, over that of the best fixed window
cost() {
    trace=$1
    name=$2
    shift 2
    # shellcheck disable=SC2086
    "$bench" replay --format=json --yardstick --policy adaptive $costs "$@" "$traces/held-$trace.trace.gz" |
        sed -n 's/.*"\(policy\|window\)":"'"$name"'".*"to_best":\([0-9.e-]*\).*/\2/p'
}

# less A B FACTOR: whether A <= B * FACTOR
less() {
    awk -v a="$1" -v b="$2" -v factor="$3" 'BEGIN { exit !(a != "" && b != "" && a <= b * factor) }'
}

# learn TRACE...: the set of these runs
learn() {
    set -- $(for name; do echo "$traces/held-$name.trace.gz"; done)
    "$bench" workset --output "$dir/set" "$@" >/dev/null || fail "no set of $*"
}

# similar TRACE RUNS: the set of other runs of the program saves a part of the best fixed window's cost, and comes near
# the clairvoyant
similar() {
    # shellcheck disable=SC2086
    learn $2
    with=$(cost "$1" adaptive --workset "$dir/set")
    least=$(cost "$1" clairvoyant)
    echo "$1 after $2: $with of the best fixed window; the clairvoyant $least"
    less "$with" 1 "$part" && less "$with" "$least" "$near" || fail "$1 after $2: $with, where the clairvoyant takes $least"
}

# dissimilar TRACE RUNS: a set of another program's runs costs little
dissimilar() {
    # shellcheck disable=SC2086
    learn $2
    with=$(cost "$1" adaptive --workset "$dir/set")
    without=$(cost "$1" adaptive)
    echo "$1 after $2: $with of the best fixed window; without the set $without"
    less "$with" "$without" "$more" || fail "$1 after $2: $with, without the set $without"
}

# costs FAULT PAGE PART NEAR MORE: similar runs take at most these parts of the best fixed window and of the
# clairvoyant, and others this part of what they take without a set
costs() {
    costs="--fault-ns $1 --page-ns $2"
    part=$3
    near=$4
    more=$5
    similar java-start-json 'java-start-hello java-start-words java-start-sort'
    similar java-service-md5 java-service-sha
    similar javac-words javac-service
    similar javac-service javac-words
    dissimilar java-service-sha java-jdeps
    dissimilar java-service-sha javac-words
    dissimilar java-jdeps java-service-sha
    dissimilar javac-words java-service-sha
    dissimilar javac-words 'java-start-hello java-start-words java-start-sort'
    dissimilar clang-pch-query clang-pch-map
}

costs 110000 2600 0.80 1.15 1.04
costs 88000 7600 0.80 1.15 1.08
costs 3200 1130 0.80 1.15 1.05
exit $failed
