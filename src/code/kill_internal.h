/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How blocks die, for brackets and stores. */
#ifndef PGL_CODE_KILL_INTERNAL_H
#define PGL_CODE_KILL_INTERNAL_H

#include <pagelock/tb.h>

/**
 * pgl_page_kill_local - kill the blocks of one page that meet a range, if none of them is on another page
 *
 * Returns false, with nothing killed, when another page is needed. *@killed says how many died.
 */
bool pgl_page_kill_local(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index, uint64_t first_addr,
                         uint64_t last_addr, size_t *killed);

/* Kill the blocks on members in the set's range that meet it. Their other pages are members (C3). */
bool pgl_kill_in_set(struct pgl_collection *set);

/**
 * pgl_kill_range - kill what meets a byte range; the caller has fenced since it stored
 * @is_store: count the page's misses, and give it an exact map when there are many
 *
 * Returns PGL_HIT or 0.
 *
 * Locks:    entry and exit: this thread holds no page.
 */
int pgl_kill_range(struct pgl_table *table, uint64_t first_addr, uint64_t last_addr, bool is_store);

static inline int pgl_with_running(int result, const struct pgl_tb *running)
{
    return running && !pgl_tb_is_live(running) ? result | PGL_RUNNING_DEAD : result;
}

#endif
