#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The soak run with a mistake must say so. Usage: mistakes.sh SOAK
set -u
fails() {
    what=$1
    shift
    last=$("$@" 2>/dev/null | tail -n 1)
    case $last in
    *$what*) ;;
    *) echo "$*: $last" && exit 1 ;;
    esac
}
fails 'hangs=1 violations=0' "$1" --mistake hang --patience 1 --seconds 60
fails 'hangs=0 violations=[1-9]' "$1" --mistake stale --seconds 3
