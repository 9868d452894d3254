/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How blocks die: the functions for brackets, stores and invalidations. */
#ifndef PGL_CODE_KILL_INTERNAL_H
#define PGL_CODE_KILL_INTERNAL_H

#include <pagelock/tb.h>

/*
 * Mark a block dead. The caller holds its pages; for a block on no page, the lock in the table's `unlisted`. Its
 * buckets on hot pages are marked as well, so that pgl_kill_marked() looks at no others.
 */
void pgl_tb_mark_dead(struct pgl_table *table, struct pgl_tb *tb);

/* Whether a block is dead. The caller holds what pgl_tb_mark_dead() needs. */
static inline bool pgl_tb_is_dead(const struct pgl_tb *tb)
{
    return __atomic_load_n(&tb->state, __ATOMIC_RELAXED) == PGL_TB_DEAD;
}

/* Dead blocks that are on no list any more, for `retired`. */
struct pgl_chain {
    struct pgl_tb *first;
    uint64_t n; /* of blocks that were on pages */
};

/* Count the blocks of a chain, fence, and call `retired`. */
void pgl_kill_retire(struct pgl_table *table, struct pgl_chain chain);

/**
 * pgl_page_kill_local - kill the blocks of one page that meet a range, if none of them is on another page
 * @killed: out: not 0 when a block died
 * @is_slow: out: blocks were killed, and a list was walked that is so long that the page should become hot
 *
 * Returns false when another page is needed; then no block has died.
 *
 * Locks:    entry and exit: the page.
 */
bool pgl_page_kill_local(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index, uint64_t first_addr,
                         uint64_t last_addr, size_t *killed, bool *is_slow);

/*
 * Kill the blocks on members in the set's range that meet it. Their other pages are members (C3). Returns whether any
 * died. *@slow becomes a member that pgl_filter_add_hot() should make hot after the unlock, or UINT64_MAX.
 */
bool pgl_kill_in_set(struct pgl_collection *set, uint64_t *slow);

/**
 * struct pgl_refs - the extents of the blocks that a portion marked dead
 * @first, @end: the pages [@first, @end) lose their last blocks that are about to die
 * @rest: the page that the next portion begins with and narrows, if it lists no more of them; or UINT64_MAX
 * @wide: NULL, or a set in which to note other pages, which the caller narrows later
 * @on: for each page the number of its extents, or more, because pages of several leaves may share an entry
 */
struct pgl_refs {
    uint64_t first, end, rest;
    struct pgl_collection *wide;
    uint32_t on[PGL_LEVEL_SIZE];
};

/*
 * Unlink the blocks that are marked dead from all members' lists, retire them, and narrow the members that changed, and
 * those without blocks. All pages of the dead are members. With @dead, which may be NULL, a list is followed no
 * further than to its last dead block, and members that list others may stay wide. With @slow, which may be NULL, walks
 * of long lists are counted, and *@slow becomes a member that should become hot, if there is one. Returns whether there
 * were any dead.
 */
bool pgl_kill_marked(struct pgl_collection *set, const struct pgl_refs *dead, uint64_t *slow);

/*
 * Fit a page's filters and its crossing flag to its list, when the offsets of the dead blocks are unknown. If it has no
 * blocks, call pgl_page_drop_code(). Returns how many extents it looked at, none for a hot page.
 *
 * Locks:    entry and exit: the page.
 */
size_t pgl_page_narrow(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index);

/* In a lock_debug build, check the lists of all members, before any of them is walked to kill. */
void pgl_witness_set_lists(struct pgl_collection *set);

/* Kill a block that is on no page. Returns whether this call killed it; `retired` has returned in any case. */
bool pgl_kill_unlisted(struct pgl_table *table, struct pgl_tb *tb);

/**
 * pgl_kill_store - kill the blocks that a store has met
 *
 * If no block dies, count the store as a miss of its page, and add an exact map after many misses. The caller counts
 * the hits of its store as one. It has passed a full fence since the bytes were stored, or needs none (answer_stores()
 * in bracket.c). Returns PGL_HIT or 0.
 *
 * Locks:    entry and exit: this thread holds no page.
 */
int pgl_kill_store(struct pgl_table *table, uint64_t first_addr, uint64_t last_addr);

/* Add PGL_RUNNING_DEAD to @result if the block that the caller runs is dead. */
static inline int pgl_with_running(int result, const struct pgl_tb *running)
{
    return running && !pgl_tb_is_live(running) ? result | PGL_RUNNING_DEAD : result;
}

#endif
