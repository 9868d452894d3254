/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How blocks die on held pages: one page, or a set of pages. invalidate.c locks the pages, and unlisted.c kills the
 * blocks that are on no page.
 *
 * OBJECTS      The killer of a block marks it dead. It holds all pages of the block. Any thread may read the state of a
 * block without a lock.
 *
 * WRITERS      A call kills in this order:
 *   1. lock every page of every victim (invalidate.c);
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
 * NOT PROMISED The chain that `retired` gets is in no particular order.
 *
 * docs/locking.md says which calls may run at the same time.
 */
#include "kill_internal.h"

#include "collection_internal.h"
#include "filter_internal.h"
#include "table_internal.h"
#include "tally_internal.h"
#include "tblist_internal.h"
#include "witness_internal.h"

/* Mark dead the blocks of a page that meet the range there. */
static void mark(struct pgl_page *page, uint64_t first_addr, uint64_t last_addr)
{
    for (uintptr_t ref = pgl_list_first(page); ref; ref = *pgl_ref_next(ref)) {
        if (pgl_span_meets(pgl_ref_span(ref), first_addr, last_addr)) {
            pgl_tb_mark_dead(pgl_ref_tb(ref));
        }
    }
}

/*
 * Unlink the extents of dead blocks from a page's list, and kill and unlink those blocks that meet the range. Begin at
 * @link and stop after @n extents. A block joins the chain when its extent 0 leaves its list, because the chain uses
 * that link.
 */
static void unlink_dead(struct pgl_page *page, uintptr_t *link, size_t n, uint64_t first_addr, uint64_t last_addr,
                        struct pgl_chain *chain)
{
    for (uintptr_t ref; n && (ref = pgl_link_get(page, link));) {
        struct pgl_tb *tb = pgl_ref_tb(ref);

        if (pgl_span_meets(pgl_ref_span(ref), first_addr, last_addr)) {
            pgl_tb_mark_dead(tb);
        } else if (!pgl_tb_is_dead(tb)) {
            link = pgl_ref_next(ref);
            continue;
        }
        pgl_link_set(page, link, *pgl_ref_next(ref));
        if (!(ref & 1)) {
            pgl_witness_unlinked(tb);
            tb->span.next = (uintptr_t)chain->first;
            chain->first = tb;
            chain->n++;
        }
        n--;
    }
}

void pgl_kill_retire(struct pgl_table *table, struct pgl_chain chain)
{
    pgl_tally_add(table, PGL_TALLY_KILLS, chain.n);
    /* Pairs with the fence of a thread that caches a block without a lock, before it calls pgl_tb_is_live(). */
    pgl_fence();
    if (table->ops) {
        pgl_witness_calls("retired");
        table->ops->retired(chain.first, table->opaque);
        pgl_witness_returns();
    }
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

void pgl_page_narrow(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index)
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

/* The extents of a page's list that meet a range. */
struct hits {
    size_t n;
    bool several;       /* the block of one of them has another extent */
    bool cross;         /* one that is on another page */
    uintptr_t *first;   /* the link that refers to the first of them */
    uint64_t low, high; /* their bytes lie within these offsets */
};

static struct hits find_hits(const struct pgl_table *table, struct pgl_page *page, uint64_t index, uint64_t first_addr,
                             uint64_t last_addr)
{
    uint64_t base = index << table->page_bits;
    struct hits hits = {.low = UINT64_MAX};
    uintptr_t *link = &page->head;

    pgl_witness_list(table, page, index);
    for (uintptr_t ref = pgl_list_first(page); ref; link = pgl_ref_next(ref), ref = *link) {
        const struct pgl_span *span = pgl_ref_span(ref);

        if (PGL_LIKELY(!pgl_span_meets(span, first_addr, last_addr))) {
            continue;
        }
        if (!hits.n++) {
            hits.first = link;
        }
        if (pgl_ref_tb(ref)->nextents > 1) {
            hits.several = true;
            hits.cross |= pgl_tb_crosses(table, pgl_ref_tb(ref));
        }
        hits.low = span->first - base < hits.low ? span->first - base : hits.low;
        hits.high = span->last - base > hits.high ? span->last - base : hits.high;
    }
    return hits;
}

bool pgl_page_kill_local(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index, uint64_t first_addr,
                         uint64_t last_addr, size_t *killed)
{
    struct pgl_page *page = pgl_leaf_page(leaf, index);
    struct hits hits;
    struct pgl_chain chain = {0};

    *killed = 0;
    if (PGL_UNLIKELY(!pgl_list_first(page))) {
        pgl_page_narrow(table, leaf, index); /* the page was left by pgl_table_reset() */
        return true;
    }
    hits = find_hits(table, page, index, first_addr, last_addr);
    *killed = hits.cross ? 0 : hits.n;
    if (!*killed) {
        return !hits.cross;
    }
    if (hits.several) { /* the other extents of the victims are on this page, and need not meet the range */
        mark(page, first_addr, last_addr);
        unlink_dead(page, &page->head, SIZE_MAX, UINT64_MAX, 0, &chain);
        hits.low = 0;
        hits.high = (UINT64_C(1) << table->page_bits) - 1;
    } else {
        unlink_dead(page, hits.first, hits.n, first_addr, last_addr, &chain);
    }
    pgl_kill_retire(table, chain);
    narrow(table, leaf, index, hits.low, hits.high);
    return true;
}

void pgl_witness_set_lists(struct pgl_collection *set)
{
    struct pgl_page *page;

    for (uint64_t index = 0; PGL_WITNESS && (page = pgl_collection_next(set, &index)); index++) {
        pgl_witness_list(set->table, page, index);
    }
}

/* How many extents of the dead are on the list of page @index, at most. */
static size_t refs_on(const struct pgl_refs *dead, uint64_t index)
{
    if (!dead || index - dead->first_index >= PGL_LEVEL_SIZE) {
        return SIZE_MAX;
    }
    return dead->on[index - dead->first_index];
}

bool pgl_kill_marked(struct pgl_collection *set, const struct pgl_refs *dead)
{
    struct pgl_table *table = set->table;
    struct pgl_chain chain = {0};
    struct pgl_page *page;

    for (uint64_t index = 0; (page = pgl_collection_next(set, &index)); index++) {
        unlink_dead(page, &page->head, refs_on(dead, index), UINT64_MAX, 0, &chain);
    }
    if (chain.first) {
        pgl_kill_retire(table, chain);
    }
    for (uint64_t index = 0; (page = pgl_collection_next(set, &index)); index++) {
        bool has_changed = chain.first && refs_on(dead, index) && !(dead && dead->rest == index);

        if (has_changed || !pgl_list_first(page)) {
            pgl_page_narrow(table, pgl_leaf_find(table, index), index);
        }
    }
    return chain.first;
}

bool pgl_kill_in_set(struct pgl_collection *set)
{
    uint64_t last = set->last_addr >> set->table->page_bits;
    struct pgl_page *page;

    pgl_witness_set_lists(set);
    for (uint64_t index = set->first_addr >> set->table->page_bits;
         (page = pgl_collection_next(set, &index)) && index <= last; index++) {
        mark(page, set->first_addr, set->last_addr);
    }
    return pgl_kill_marked(set, NULL);
}
