/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The calls that kill blocks: one block, a page, a range, all of a table. They lock pages; kill.c and unlisted.c kill.
 *
 * INVARIANTS   (T3, T6 and T7 are in kill.c.)
 *   Every page of every victim of a call is held before the first of them dies.
 *
 * NOT PROMISED A range need not die at one instant.
 *
 * docs/locking.md says which calls may run at the same time.
 */
#include "kill_internal.h"

#include <errno.h>
#include <sched.h>

#include "collection_internal.h"
#include "filter_internal.h"
#include "table_internal.h"
#include "tally_internal.h"
#include "tblist_internal.h"
#include "witness_internal.h"

/*
 * Note the pages of a block in an empty set, without a lock. If memory for more leaves runs out, wait until there is
 * some, because the block can die only with all its pages held. The leaves of most blocks fit into the set.
 */
static void note_pages(struct pgl_collection *set, struct pgl_table *table, const struct pgl_tb *tb)
{
    pgl_set_init(set, table);
    for (unsigned which = 0; which < tb->nextents; which++) {
        while (!pgl_set_note(set, pgl_tb_page(table, tb, which))) {
            sched_yield();
        }
    }
}

/* Kill a block that is on a page. Returns whether this call killed it. */
static bool kill_listed(struct pgl_table *table, struct pgl_tb *tb)
{
    struct pgl_collection set;
    bool killed = false;

    note_pages(&set, table, tb);
    pgl_set_lock_noted(&set);
    pgl_witness_set_lists(&set);
    if (!pgl_tb_is_dead(tb)) {
        pgl_tb_mark_dead(tb);
        killed = pgl_kill_marked(&set);
    }
    pgl_collection_unlock_at(&set, pgl_witness_place());
    return killed;
}

/* Whether all pages of a block are members of a set. */
static bool is_within(const struct pgl_collection *set, const struct pgl_tb *tb)
{
    for (unsigned which = 0; which < tb->nextents; which++) {
        uint64_t index = pgl_tb_page(set->table, tb, which), at = index;

        if (!pgl_collection_next(set, &at) || at != index) {
            return false;
        }
    }
    return true;
}

/* Note the pages of the first block of a page that meets the range. Returns false when there is none. */
static bool note_victim(struct pgl_collection *set, struct pgl_table *table, struct pgl_page *page, uint64_t index,
                        uint64_t first_addr, uint64_t last_addr)
{
    bool found = false;

    pgl_page_lock_at(table, page, pgl_witness_place());
    pgl_witness_list(table, page, index);
    for (uintptr_t ref = pgl_list_first(page); ref && !found; ref = *pgl_ref_next(ref)) {
        found = pgl_span_meets(pgl_ref_span(ref), first_addr, last_addr);
        if (found) {
            note_pages(set, table, pgl_ref_tb(ref));
        }
    }
    pgl_page_unlock_at(table, page, pgl_witness_place());
    return found;
}

/*
 * Kill the blocks of one page that meet the range, with the pages of one block locked at a time. Find a victim, note
 * its pages, unlock, and lock its pages in order. By then the victim may be gone, or its memory may hold another block;
 * therefore read the list again from its head.
 */
static int kill_page_piecemeal(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index, uint64_t first_addr,
                               uint64_t last_addr)
{
    struct pgl_page *page = pgl_leaf_page(leaf, index);
    struct pgl_collection set;
    int result = 0;

    while (note_victim(&set, table, page, index, first_addr, last_addr)) {
        pgl_set_lock_noted(&set);
        pgl_witness_set_lists(&set);
        for (uintptr_t ref = pgl_list_first(page); ref; ref = *pgl_ref_next(ref)) {
            if (pgl_span_meets(pgl_ref_span(ref), first_addr, last_addr) && is_within(&set, pgl_ref_tb(ref))) {
                pgl_tb_mark_dead(pgl_ref_tb(ref));
            }
        }
        if (pgl_kill_marked(&set)) {
            result = PGL_HIT;
        }
        pgl_collection_unlock_at(&set, pgl_witness_place());
    }
    return result;
}

/* Kill the blocks that meet a range without memory for the set. This is slower and calls `retired` more than once. */
static int kill_piecemeal(struct pgl_table *table, uint64_t first_addr, uint64_t last_addr)
{
    uint64_t first = first_addr >> table->page_bits, last = last_addr >> table->page_bits;
    struct pgl_leaf *leaf;
    int result = 0;

    for (uint64_t index = first; (leaf = pgl_leaf_next(table, index, last)); index++) {
        if (index < leaf->first_index) {
            index = leaf->first_index;
        }
        if (pgl_page_has_code(leaf, index)) {
            result |= kill_page_piecemeal(table, leaf, index, first_addr, last_addr);
        }
    }
    return result;
}

/* Kill the blocks that meet a range of one page. Returns false when another page is needed. */
static bool kill_on_one_page(struct pgl_table *table, uint64_t first_addr, uint64_t last_addr, bool is_store,
                             int *result)
{
    uint64_t index = first_addr >> table->page_bits;
    struct pgl_leaf *leaf = pgl_leaf_find(table, index);
    struct pgl_page *page;
    bool done = true, wants_more = false;
    size_t killed = 0;

    *result = 0;
    if (!leaf || !pgl_page_has_code(leaf, index)) {
        return true;
    }
    page = pgl_leaf_page(leaf, index);
    pgl_page_lock_at(table, page, pgl_witness_place());
    /* The page may have been locked and no more. Ask the filters again while they cannot change. */
    if (!pgl_page_is_clean(table->page_bits, leaf, index, pgl_head(page), first_addr, last_addr)) {
        done = pgl_page_kill_local(table, leaf, index, first_addr, last_addr, &killed);
        wants_more = is_store && done && !killed && pgl_filter_note_miss(table, leaf, index);
    }
    pgl_page_unlock_at(table, page, pgl_witness_place());
    if (wants_more) {
        pgl_filter_add_hot(table, leaf, index);
    }
    if (killed) {
        *result = PGL_HIT;
    }
    return done;
}

static int kill_range(struct pgl_table *table, uint64_t first_addr, uint64_t last_addr, bool is_store)
{
    const uint64_t index[2] = {first_addr >> table->page_bits, last_addr >> table->page_bits};
    bool wants_more[2] = {false, false};
    struct pgl_collection set;
    int result;

    if (index[0] == index[1] && kill_on_one_page(table, first_addr, last_addr, is_store, &result)) {
        return result;
    }
    if (!pgl_set_lock(&set, table, first_addr, last_addr, true)) {
        return kill_piecemeal(table, first_addr, last_addr);
    }
    result = pgl_kill_in_set(&set) ? PGL_HIT : 0;
    if (is_store && !result) {
        wants_more[0] = pgl_filter_note_miss_in_set(&set, index[0]);
        wants_more[1] = index[1] != index[0] && pgl_filter_note_miss_in_set(&set, index[1]);
    }
    pgl_collection_unlock_at(&set, pgl_witness_place());
    for (unsigned i = 0; i < 2; i++) {
        if (wants_more[i]) {
            pgl_filter_add_hot(table, pgl_leaf_find(table, index[i]), index[i]);
        }
    }
    return result;
}

int pgl_kill_range(struct pgl_table *table, uint64_t first_addr, uint64_t last_addr, bool is_store)
{
    int result = kill_range(table, first_addr, last_addr, is_store);

    if (is_store && result) {
        pgl_tally_add(table, PGL_TALLY_HITS, 1);
    }
    return result;
}

int pgl_invalidate_tb_at(struct pgl_table *table, struct pgl_tb *tb, const struct pgl_tb *running, const char *place)
{
    bool killed;

    if (!pgl_witness_enters(table, place) || !pgl_witness_knows(table, tb, true, place) ||
        __atomic_load_n(&tb->state, __ATOMIC_ACQUIRE) == PGL_TB_NEW) {
        return 0;
    }
    killed = pgl_tb_has(tb, 0) ? kill_listed(table, tb) : pgl_kill_unlisted(table, tb);
    return pgl_with_running(killed ? PGL_HIT : 0, running);
}

int pgl_invalidate_range_at(struct pgl_table *table, uint64_t first_addr, uint64_t last_addr,
                            const struct pgl_tb *running, const char *place)
{
    if (!pgl_witness_enters(table, place) || first_addr > last_addr || last_addr > pgl_table_last_addr(table)) {
        errno = EINVAL;
        return PGL_ERROR;
    }
    /* Pairs with pgl_table_fence_bracket(), as in pgl_store_is_clean(). */
    pgl_table_fence_check(table);
    return pgl_with_running(pgl_kill_range(table, first_addr, last_addr, false), running);
}

int pgl_invalidate_page_at(struct pgl_table *table, uint64_t index, const struct pgl_tb *running, const char *place)
{
    uint64_t in_page = (UINT64_C(1) << table->page_bits) - 1;

    if (index > table->last_index) {
        errno = EINVAL;
        return PGL_ERROR;
    }
    return pgl_invalidate_range_at(table, index << table->page_bits, index << table->page_bits | in_page, running,
                                   place);
}

int pgl_flush_at(struct pgl_table *table, const struct pgl_tb *running, const char *place)
{
    return pgl_invalidate_range_at(table, 0, pgl_table_last_addr(table), running, place);
}
