/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How blocks die: the functions for brackets and stores. */
#ifndef PGL_CODE_KILL_INTERNAL_H
#define PGL_CODE_KILL_INTERNAL_H

#include <pagelock/tb.h>

/**
 * pgl_page_kill_local - kill the blocks of one page that meet a range, if none of them is on another page
 * @killed: out: how many died
 *
 * Returns false when another page is needed; then no block has died.
 *
 * Locks:    entry and exit: the page.
 */
bool pgl_page_kill_local(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index, uint64_t first_addr,
                         uint64_t last_addr, size_t *killed);

/*
 * Kill the blocks on members in the set's range that meet it. Their other pages are members (C3). Returns whether any
 * died.
 */
bool pgl_kill_in_set(struct pgl_collection *set);

/**
 * pgl_kill_range - kill the blocks that meet a byte range
 * @is_store: count the store as a miss of its page if no block dies, and add an exact map after many misses
 *
 * The caller has passed a full fence since the bytes were stored, or needs none (answer_stores() in bracket.c). Returns
 * PGL_HIT or 0.
 *
 * Locks:    entry and exit: this thread holds no page.
 */
int pgl_kill_range(struct pgl_table *table, uint64_t first_addr, uint64_t last_addr, bool is_store);

/* Add PGL_RUNNING_DEAD to @result if the block that the caller runs is dead. */
static inline int pgl_with_running(int result, const struct pgl_tb *running)
{
    return running && !pgl_tb_is_live(running) ? result | PGL_RUNNING_DEAD : result;
}

#endif
