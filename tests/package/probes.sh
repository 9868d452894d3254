#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Usage: probes.sh LIBRARY DOCUMENT yes|no: the notes of the library name the probes that the document lists, each with a
# place, or there are none.
set -eu
export LC_ALL=C
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
readelf -n "$1" | sed -n 's/^ *Provider: //p' | sort -u >"$dir/provider"
readelf -n "$1" | sed -n 's/^ *Name: //p' | sort -u >"$dir/library"
case $3 in
yes)
    sed -n 's/^| `pagelock:\([a-z_]*\)` .*/\1/p' "$2" | sort >"$dir/document"
    [ -s "$dir/document" ]
    diff "$dir/library" "$dir/document"
    [ "$(cat "$dir/provider")" = pagelock ]
    ! readelf -n "$1" | grep -q 'Location: 0x0*,'
    ;;
no) [ ! -s "$dir/library" ] ;;
esac
