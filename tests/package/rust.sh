#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Usage: rust.sh PROGRAM.c PROGRAM.rs LIBRARY: compile the program with rustc and without a warning, link it with the
# shared library, and run it: it prints what the comment of the same program in C says.
set -eu
command -v rustc >/dev/null || { echo "SKIP: there is no rustc"; exit 77; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
rustc --edition 2021 -D warnings -L "$(dirname "$3")" -o "$dir/program" "$2"
LD_LIBRARY_PATH=$(dirname "$3") "$(dirname "$0")/example.sh" "$1" "$dir/program"
