/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Operations on code pages: kinds of a mix. */
#ifndef PGL_TESTS_SOAK_CODE_H
#define PGL_TESTS_SOAK_CODE_H

#include "soak.h"

extern const struct half code_half;

/* Locks (code_lock.c). */
void code_collection(struct worker *w);      /* lock a range, and look at its lists */
void code_collection_wide(struct worker *w); /* lock a range of more than four leaves: the set allocates */
void code_leaf(struct worker *w);            /* ask for a leaf of a new table, as other threads do */
void code_lock(struct worker *w);            /* lock a page */
void code_lock_block(struct worker *w);      /* lock the pages of a block */
void code_pair(struct worker *w);            /* lock two pages */
void code_starve(struct worker *w);          /* lock a page as a waiter that starves does */
void code_trylock(struct worker *w);         /* try three pages in any order */

/* Blocks and stores (code.c). */
void code_abort(struct worker *w);         /* begin a bracket, cross, store, abort */
void code_cache(struct worker *w);         /* find a block, and cache it without a lock */
void code_choose(struct worker *w);        /* write some pages, and invalidate their old blocks by a predicate */
void code_evict(struct worker *w);         /* invalidate an array of blocks */
void code_find(struct worker *w);          /* look at a block and at all leaves without a lock */
void code_flush(struct worker *w);         /* write all pages, and flush */
void code_kill(struct worker *w);          /* invalidate a block */
void code_link(struct worker *w);          /* make a block of any key, if none can be found */
void code_link_higher(struct worker *w);   /* make a block on two pages, the second the higher one */
void code_link_lower(struct worker *w);    /* the same with the second page lower */
void code_link_super(struct worker *w);    /* of three extents and more, on any pages */
void code_link_one(struct worker *w);      /* make a block with one extent */
void code_link_same(struct worker *w);     /* make a block with two extents on one page */
void code_link_storing(struct worker *w);  /* make a block, and store while its first decoding runs */
void code_page(struct worker *w);          /* write a page, and invalidate it */
void code_range(struct worker *w);         /* write some pages, and invalidate them by one call */
void code_reset(struct worker *w);         /* forget all blocks while the other workers are stopped */
void code_store(struct worker *w);         /* store, and check */
void code_store_bracket(struct worker *w); /* store inside a store bracket */
void code_trim(struct worker *w);          /* flush, or not, and trim the table while the other workers are stopped */
void code_unlisted(struct worker *w);      /* make a block on no page, and invalidate it */

#endif
