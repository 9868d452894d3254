/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An allocator that counts, and fails when a test says so. Programs that link it are linked with --wrap for malloc,
 * calloc, posix_memalign and free.
 */
#ifndef PGL_TESTS_CODE_ALLOCATOR_H
#define PGL_TESTS_CODE_ALLOCATOR_H

#include <stdbool.h>

extern unsigned n_allocations;    /* since the last count_from_here() */
extern unsigned n_living;         /* allocated and not freed */
extern unsigned n_overruns;       /* pieces that were freed with the bytes behind them overwritten */
extern void (*before_leaf)(void); /* called once, before the next posix_memalign() */
extern void (*at_malloc)(void);   /* called at each malloc() */

/* Count allocations from now on, and have the one with this number fail; 0: none. */
void count_from_here(unsigned fail);

/* Stop failing. Whether the allocation that was to fail was reached. */
bool did_fail(void);

#endif
