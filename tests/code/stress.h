/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest whose memory is versions: each granule of 16 bytes has a number that every store to it raises. A block notes
 * the versions it was made from. Once a store check has returned, a block that can still be found with an older number
 * is stale, and a bug. Many threads translate, find, store and kill on a few pages that lie badly.
 */
#ifndef PGL_TESTS_STRESS_H
#define PGL_TESTS_STRESS_H

/* What the threads do: how often each, in shares. */
struct stress_mix {
    const char *name;
    unsigned translate;     /* make a block in a bracket, if none can be found */
    unsigned abort;         /* begin a bracket, cross, abort */
    unsigned store_inside;  /* make a block, and store while translating */
    unsigned find;          /* find a block, cache it, run it */
    unsigned store;         /* store, check */
    unsigned store_bracket; /* store within a store bracket */
    unsigned kill;          /* invalidate one block that was found */
    unsigned range;         /* write and invalidate a range, a page, or everything */
    unsigned collection;    /* lock a range, look at its lists */
    unsigned operations;    /* all threads' together */
};

/*
 * Run a mix with 2, 4, 8 and 16 threads and check the end state exactly. PGL_SEED repeats a run's choices (not its
 * schedule), PGL_STRESS multiplies its length, PGL_THREADS replaces the numbers of threads by one.
 *
 * Returns main()'s status.
 */
int stress_main(const struct stress_mix *mix);

#endif
