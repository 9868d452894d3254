#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Usage: annotations.sh INCLUDE: what clang's thread-safety analysis says of good and of bad uses of the page lock.
set -u
command -v clang >/dev/null || { echo "SKIP: there is no clang, whose analysis it is"; exit 77; }
include=$1
failed=0

# body VERDICT NAME: compile the function body on standard input; VERDICT: good, or a word of the warning
body() {
    {
        echo '#include <pagelock/pagelock.h>'
        echo 'void f(struct pgl_table *t, struct pgl_page *p, struct pgl_collection *c, bool b);'
        echo 'void f(struct pgl_table *t, struct pgl_page *p, struct pgl_collection *c, bool b)'
        echo '{ uint64_t i = 0; (void)t, (void)p, (void)c, (void)b, (void)i;'
        cat
        echo '}'
    } >"$work/body.c"
    said=$(clang -std=c11 -Wall -Wextra -Werror=thread-safety -I"$include" -fsyntax-only "$work/body.c" 2>&1)
    status=$?
    case $1 in
        good) [ "$status" = 0 ] ;;
        *) [ "$status" != 0 ] && echo "$said" | grep -q "$1" ;;
    esac || { echo "FAILED: $2: wanted $1, got status $status: $said"; failed=1; }
}

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
echo 'pgl_page_lock(t, p); pgl_page_unlock(t, p);' | body good "lock and unlock"
echo 'if (pgl_page_trylock(t, p)) pgl_page_unlock(t, p);' | body good "try and unlock"
echo 'if (pgl_collection_lock(c, t, 0, 1)) { pgl_collection_next(c, &i); pgl_collection_unlock(c); }' |
    body good "a collection"
echo 'pgl_page_lock(t, p);' | body "still held" "no unlock"
echo 'pgl_page_lock(t, p); if (b) pgl_page_unlock(t, p);' | body "not held on every path" "no unlock on a path"
echo 'pgl_page_unlock(t, p);' | body "was not held" "no lock"
echo 'pgl_page_lock(t, p); pgl_page_lock(t, p); pgl_page_unlock(t, p);' | body "already held" "locked twice"
echo 'pgl_page_foreach_tb(t, p, 0, 0);' | body "requires holding" "a list without its lock"
echo 'pgl_collection_next(c, &i);' | body "requires holding" "a set that is not locked"
exit $failed
