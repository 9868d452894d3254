# SPDX-License-Identifier: LGPL-2.1-or-later
# Sourced by tests of pagelock-bench, with its path as their first argument: bench, a directory, and what fails.
bench=$(realpath "$1") || exit 1
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
failed=0

fail() {
    echo "FAILED: $*"
    failed=1
}
