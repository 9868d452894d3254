/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How blocks die: one block, the blocks of a page, those of a range, and all blocks of a table.
 *
 * OBJECTS      The killer of a block marks it dead. It holds all pages of the block; for a block on no page it holds
 * the lock in the table's `unlisted`. Any thread may read the state of a block without a lock.
 *
 * WRITERS      A call kills in this order:
 *   1. lock every page of every victim;
 *   2. mark the victims dead;
 *   3. unlink them from their pages' lists;
 *   4. full fence;
 *   5. `retired`;
 *   6. narrow mask and exact map; where no block is left, clear the code bit and call `no_code`;
 *   7. unlock.
 * The fence pairs with the fence of a vCPU that caches a block without a lock. The vCPU caches the block, fences and
 * tests the block's state, and therefore it sees the block dead, or `retired` finds the block in the cache.
 * (test_invalidate_order_is_claim_unlink_retired_narrow_untrap)
 *
 * INVARIANTS   (T1 is in tb.c; T2, T4 and T5 are in filter.c.)
 *   T3  A dead block is on a list only while its killer holds that page, so a thread that locks a page finds live
 *       blocks only. (pgl_table_check(); test_check_finds_a_dead_block_on_a_list)
 *   T6  A block is marked dead only when all of its pages are held.
 *       (test_invalidate_tb_claims_only_with_all_pages_held, test_invalidate_range_claims_only_with_all_pages_held)
 *   T7  The library touches no block for which `retired` has returned, except the one that a caller passes as running.
 * The stress tests and tests/explore try the races.
 *
 * NOT PROMISED A range need not die at one instant. The chain that `retired` gets is in no particular order.
 *
 * docs/locking.md says which calls may run at the same time.
 */
#include "kill_internal.h"

#include <errno.h>
#include <stdlib.h>

#include "collection_internal.h"
#include "filter_internal.h"
#include "spin_internal.h"
#include "table_internal.h"
#include "tblist_internal.h"
#include "witness_internal.h"

static void mark_dead(struct pgl_tb *tb)
{
    /* release: pairs with the acquire in pgl_tb_is_live() */
    __atomic_store_n(&tb->state, PGL_TB_DEAD, __ATOMIC_RELEASE);
}

static bool is_dead(const struct pgl_tb *tb)
{
    return __atomic_load_n(&tb->state, __ATOMIC_RELAXED) == PGL_TB_DEAD;
}

/* Mark dead the blocks of a page that meet the range. */
static void mark(struct pgl_page *page, uint64_t first_addr, uint64_t last_addr)
{
    for (uintptr_t ref = pgl_list_first(page); ref; ref = *pgl_ref_next(ref)) {
        if (pgl_tb_meets(pgl_ref_tb(ref), first_addr, last_addr)) {
            mark_dead(pgl_ref_tb(ref));
        }
    }
}

/*
 * Unlink the dead blocks from a page's list, and kill and unlink those that meet the range. Begin at @link and stop
 * after @n blocks. A block joins the chain when it leaves the list of its first page, because the chain uses the link
 * of that list.
 */
static void unlink_dead(struct pgl_page *page, uintptr_t *link, size_t n, uint64_t first_addr, uint64_t last_addr,
                        struct pgl_tb **chain)
{
    for (uintptr_t ref; n && (ref = pgl_link_get(page, link));) {
        struct pgl_tb *tb = pgl_ref_tb(ref);

        if (pgl_tb_meets(tb, first_addr, last_addr)) {
            mark_dead(tb);
        } else if (!is_dead(tb)) {
            link = pgl_ref_next(ref);
            continue;
        }
        pgl_link_set(page, link, *pgl_ref_next(ref));
        if (!(ref & 1)) {
            pgl_witness_unlinked(tb);
            tb->next[0] = (uintptr_t)*chain;
            *chain = tb;
        }
        n--;
    }
}

static void retire(struct pgl_table *table, struct pgl_tb *chain)
{
    /* Pairs with the fence of a thread that caches a block without a lock, before it calls pgl_tb_is_live(). */
    pgl_fence();
    pgl_witness_calls("retired");
    table->ops->retired(chain, table->opaque);
    pgl_witness_returns();
}

/*
 * Fit a page's filters to its list, after blocks died between its offsets @low and @high. Recompute and write only the
 * words for these offsets.
 */
static void narrow(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index, uint64_t low, uint64_t high)
{
    struct pgl_page *page = pgl_leaf_page(leaf, index);
    uint64_t *map = pgl_filter_map(leaf, page, index);
    uint64_t words[PGL_FILTER_WORDS], mask = page->mask;
    unsigned low_bit, high_bit;

    pgl_filter_range(table->page_bits, low, high, &low_bit, &high_bit);
    pgl_filter_from_list(table, page, index, words, low_bit / 64, high_bit / 64);
    mask &= ~pgl_filter_mask(table->page_bits, low, high);
    for (unsigned word = low_bit / 64; word <= high_bit / 64; word++) {
        uint64_t bits = words[word - low_bit / 64];

        mask |= (uint64_t)(bits != 0) << word;
        /* release, here and below: pairs with the acquires in pgl_page_is_clean(); `retired` has returned */
        if (map) {
            __atomic_store_n(&map[word], bits, __ATOMIC_RELEASE);
        }
    }
    __atomic_store_n(&page->mask, mask, __ATOMIC_RELEASE);
    if (!pgl_list_first(page)) {
        pgl_page_drop_code(table, leaf, index);
    }
}

/* Narrow all filters of a page, and its crossing flag, when the offsets of the dead blocks are unknown. */
static void narrow_whole(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index)
{
    struct pgl_page *page = pgl_leaf_page(leaf, index);
    uintptr_t ref = pgl_list_first(page);

    while (ref && !pgl_tb_crosses(table, pgl_ref_tb(ref))) {
        ref = *pgl_ref_next(ref);
    }
    if (!ref) {
        pgl_head_set(page, pgl_head(page) & ~(uintptr_t)PGL_HEAD_CROSS);
    }
    narrow(table, leaf, index, 0, (UINT64_C(1) << table->page_bits) - 1);
}

/* The blocks of a page's list that meet a range. */
struct hits {
    size_t n;
    bool cross;         /* one of them is on another page too */
    uintptr_t *first;   /* the link that refers to the first of them */
    uint64_t low, high; /* their bytes on this page lie within these offsets */
};

static struct hits find_hits(const struct pgl_table *table, struct pgl_page *page, uint64_t index, uint64_t first_addr,
                             uint64_t last_addr)
{
    struct hits hits = {.low = UINT64_MAX};
    uintptr_t *link = &page->head;

    pgl_witness_list(table, page, index);
    for (uintptr_t ref = pgl_list_first(page); ref; link = pgl_ref_next(ref), ref = *link) {
        const struct pgl_tb *tb = pgl_ref_tb(ref);

        if (PGL_LIKELY(!pgl_tb_meets(tb, first_addr, last_addr))) {
            continue;
        }
        if (!hits.n++) {
            hits.first = link;
        }
        hits.cross |= pgl_tb_crosses(table, tb);
        for (unsigned which = 0; which <= pgl_tb_has(tb, 1); which++) {
            uint64_t first, last;

            if (!pgl_tb_bytes_on(table, index, tb, which, &first, &last)) {
                continue;
            }
            hits.low = first < hits.low ? first : hits.low;
            hits.high = last > hits.high ? last : hits.high;
        }
    }
    return hits;
}

bool pgl_page_kill_local(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index, uint64_t first_addr,
                         uint64_t last_addr, size_t *killed)
{
    struct pgl_page *page = pgl_leaf_page(leaf, index);
    struct hits hits = find_hits(table, page, index, first_addr, last_addr);
    struct pgl_tb *chain = NULL;

    *killed = hits.cross ? 0 : hits.n;
    if (*killed) {
        unlink_dead(page, hits.first, hits.n, first_addr, last_addr, &chain);
        retire(table, chain);
        narrow(table, leaf, index, hits.low, hits.high);
    }
    return !hits.cross;
}

/* In a lock_debug build, check the lists of all members, before any of them is walked to kill. */
static void witness_lists(struct pgl_collection *set)
{
    struct pgl_page *page;

    for (uint64_t index = 0; PGL_WITNESS && (page = pgl_collection_next(set, &index)); index++) {
        pgl_witness_list(set->table, page, index);
    }
}

/* Unlink the dead from all members' lists, retire them, and narrow the members. Returns whether there were any. */
static bool retire_dead(struct pgl_collection *set)
{
    struct pgl_table *table = set->table;
    struct pgl_tb *chain = NULL;
    struct pgl_page *page;

    for (uint64_t index = 0; (page = pgl_collection_next(set, &index)); index++) {
        unlink_dead(page, &page->head, SIZE_MAX, UINT64_MAX, 0, &chain);
    }
    if (!chain) {
        return false;
    }
    retire(table, chain);
    for (uint64_t index = 0; pgl_collection_next(set, &index); index++) {
        narrow_whole(table, pgl_leaf_find(table, index), index);
    }
    return true;
}

bool pgl_kill_in_set(struct pgl_collection *set)
{
    uint64_t last = set->last_addr >> set->table->page_bits;
    struct pgl_page *page;

    witness_lists(set);
    for (uint64_t index = set->first_addr >> set->table->page_bits;
         (page = pgl_collection_next(set, &index)) && index <= last; index++) {
        mark(page, set->first_addr, set->last_addr);
    }
    return retire_dead(set);
}

/* Lock the pages of a block, or two pages, as a set. Its at most two leaves fit into the set without an allocation. */
static void lock_two(struct pgl_collection *set, struct pgl_table *table, uint64_t index, uint64_t index2)
{
    pgl_set_init(set, table);
    pgl_set_add(set, index < index2 ? index : index2);
    pgl_set_add(set, index < index2 ? index2 : index);
    witness_lists(set);
}

/* Kill a block that is on a page. Returns whether this call killed it. */
static bool kill_listed(struct pgl_table *table, struct pgl_tb *tb)
{
    uint64_t index = pgl_tb_page(table, tb, 0);
    struct pgl_collection set;
    bool killed = false;

    lock_two(&set, table, index, pgl_tb_has(tb, 1) ? pgl_tb_page(table, tb, 1) : index);
    if (!is_dead(tb)) {
        mark_dead(tb);
        killed = retire_dead(&set);
    }
    pgl_collection_unlock_at(&set, pgl_witness_place());
    return killed;
}

/*
 * Record of an unlisted block that is being retired. It lives on the stack of the killing thread, and is linked into
 * table->unlisted until `retired` has returned. Bit PGL_HEAD_LOCK of that word is the list's spin lock; it is not held
 * while `retired` runs.
 */
struct dying {
    const struct pgl_tb *tb;
    uintptr_t next;
} __attribute__((aligned(16)));

/* The record that a link refers to. Atomic, because threads that want the lock read and swap the first link. */
static struct dying *dying_at(const uintptr_t *link)
{
    return (struct dying *)(__atomic_load_n(link, __ATOMIC_RELAXED) & ~(uintptr_t)PGL_HEAD_LOCK);
}

/* The link that refers to the record of a block, or NULL. The caller holds the lock of the list. */
static uintptr_t *find_dying(struct pgl_table *table, const struct pgl_tb *tb)
{
    uintptr_t *link = &table->unlisted;

    for (struct dying *dying; (dying = dying_at(link)); link = &dying->next) {
        if (dying->tb == tb) {
            return link;
        }
    }
    return NULL;
}

/* Kill a block that is on no page. Returns whether this call killed it; `retired` has returned in any case. */
static bool kill_unlisted(struct pgl_table *table, struct pgl_tb *tb)
{
    struct dying self = {.tb = tb};
    uintptr_t *link;

    pgl_spin_lock(&table->unlisted, PGL_HEAD_LOCK);
    if (is_dead(tb)) {
        for (unsigned round = 0; find_dying(table, tb); round++) { /* until `retired` has returned */
            const struct dying *first = dying_at(&table->unlisted);

            pgl_spin_unlock(&table->unlisted, PGL_HEAD_LOCK);
            if (dying_at(&table->unlisted) == first) {
                pgl_spin_wait(&table->unlisted, round);
            }
            pgl_spin_lock(&table->unlisted, PGL_HEAD_LOCK);
        }
        pgl_spin_unlock(&table->unlisted, PGL_HEAD_LOCK);
        return false;
    }
    mark_dead(tb);
    pgl_witness_unlinked(tb);
    self.next = (uintptr_t)dying_at(&table->unlisted);
    __atomic_store_n(&table->unlisted, (uintptr_t)&self | PGL_HEAD_LOCK, __ATOMIC_RELAXED);
    pgl_spin_unlock(&table->unlisted, PGL_HEAD_LOCK);

    tb->next[0] = 0;
    retire(table, tb);

    pgl_spin_lock(&table->unlisted, PGL_HEAD_LOCK);
    link = find_dying(table, tb);
    __atomic_store_n(link, self.next | (link == &table->unlisted ? PGL_HEAD_LOCK : 0), __ATOMIC_RELAXED);
    pgl_spin_unlock(&table->unlisted, PGL_HEAD_LOCK);
    return true;
}

/*
 * Kill the blocks of one page that meet the range, with one pair of pages locked at a time. Find a victim, note its
 * pages, unlock, and lock its pages in order. By then the victim may be gone, or its memory may hold another block;
 * therefore read the list again from its head.
 */
static int kill_page_by_pairs(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index, uint64_t first_addr,
                              uint64_t last_addr)
{
    struct pgl_page *page = pgl_leaf_page(leaf, index);
    int result = 0;

    for (;;) {
        struct pgl_collection set;
        uint64_t other = index;
        bool found = false;

        pgl_page_lock_at(table, page, pgl_witness_place());
        pgl_witness_list(table, page, index);
        for (uintptr_t ref = pgl_list_first(page); ref && !found; ref = *pgl_ref_next(ref)) {
            const struct pgl_tb *tb = pgl_ref_tb(ref);

            found = pgl_tb_meets(tb, first_addr, last_addr);
            if (found && pgl_tb_crosses(table, tb)) {
                other = pgl_tb_page(table, tb, !(ref & 1));
            }
        }
        pgl_page_unlock_at(table, page, pgl_witness_place());
        if (!found) {
            return result;
        }

        lock_two(&set, table, index, other);
        for (uintptr_t ref = pgl_list_first(page); ref; ref = *pgl_ref_next(ref)) {
            struct pgl_tb *tb = pgl_ref_tb(ref);

            if (pgl_tb_meets(tb, first_addr, last_addr) &&
                (!pgl_tb_crosses(table, tb) || pgl_tb_page(table, tb, !(ref & 1)) == other)) {
                mark_dead(tb);
            }
        }
        if (retire_dead(&set)) {
            result = PGL_HIT;
        }
        pgl_collection_unlock_at(&set, pgl_witness_place());
    }
}

/* Kill the blocks that meet a range without memory for the set. This is slower and calls `retired` more than once. */
static int kill_by_pairs(struct pgl_table *table, uint64_t first_addr, uint64_t last_addr)
{
    uint64_t first = first_addr >> table->page_bits, last = last_addr >> table->page_bits;
    struct pgl_leaf *leaf;
    int result = 0;

    for (uint64_t index = first; (leaf = pgl_leaf_next(table, index, last)); index++) {
        if (index < leaf->first_index) {
            index = leaf->first_index;
        }
        if (pgl_page_has_code(leaf, index)) {
            result |= kill_page_by_pairs(table, leaf, index, first_addr, last_addr);
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
        wants_more = is_store && done && !killed && pgl_filter_note_miss(leaf, index);
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

int pgl_kill_range(struct pgl_table *table, uint64_t first_addr, uint64_t last_addr, bool is_store)
{
    const uint64_t index[2] = {first_addr >> table->page_bits, last_addr >> table->page_bits};
    bool wants_more[2] = {false, false};
    struct pgl_collection set;
    int result;

    if (index[0] == index[1] && kill_on_one_page(table, first_addr, last_addr, is_store, &result)) {
        return result;
    }
    if (!pgl_set_lock(&set, table, first_addr, last_addr, true)) {
        return kill_by_pairs(table, first_addr, last_addr);
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

int pgl_invalidate_tb_at(struct pgl_table *table, struct pgl_tb *tb, const struct pgl_tb *running, const char *place)
{
    bool killed;

    if (!pgl_witness_enters(table, place) || !pgl_witness_knows(table, tb, true, place) ||
        __atomic_load_n(&tb->state, __ATOMIC_ACQUIRE) == PGL_TB_NEW) {
        return 0;
    }
    killed = pgl_tb_has(tb, 0) ? kill_listed(table, tb) : kill_unlisted(table, tb);
    return pgl_with_running(killed ? PGL_HIT : 0, running);
}

int pgl_invalidate_range_at(struct pgl_table *table, uint64_t first_addr, uint64_t last_addr,
                            const struct pgl_tb *running, const char *place)
{
    if (!pgl_witness_enters(table, place) || first_addr > last_addr || last_addr > pgl_table_last_addr(table)) {
        errno = EINVAL;
        return PGL_ERROR;
    }
    /* Pairs with pgl_fence_after_lock() of a bracket, as in pgl_store_is_clean(). */
    pgl_fence();
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
