/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How blocks die on held pages: one page, or a set of pages. invalidate.c and portion.c lock the pages, and unlisted.c
 * kills the blocks that are on no page.
 *
 * OBJECTS      The killer of a block marks it dead. It holds all pages of the block. Any thread may read the state of a
 * block without a lock.
 *
 * WRITERS      A call kills in this order:
 *   1. lock every page of every victim (invalidate.c, portion.c);
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
 *   T7  The library touches no block for which `retired` has returned, except those that a caller passes: as running,
 *       in pgl_invalidate_tb(), in the array of pgl_invalidate_tbs(), and in pgl_tb_lock_pages().
 *       (test_retired_blocks_are_not_touched_by_a_store)
 * The stress tests and tests/explore try the races.
 *
 * NOT PROMISED The chain that `retired` gets is in no particular order.
 *
 * docs/locking.md says which calls may run at the same time.
 */
#include "kill_internal.h"

#include "../probe_internal.h"
#include "collection_internal.h"
#include "filter_internal.h"
#include "table_internal.h"
#include "tally_internal.h"
#include "tblist_internal.h"
#include "witness_internal.h"

static void mark_dead(struct pgl_tb *tb)
{
    /* release: pairs with the acquire in pgl_tb_is_live() */
    __atomic_store_n(&tb->state, PGL_TB_DEAD, __ATOMIC_RELEASE);
}

void pgl_tb_mark_dead(struct pgl_table *table, struct pgl_tb *tb)
{
    mark_dead(tb);
    for (unsigned which = 0; which < tb->nextents; which++) {
        uint64_t first_addr = pgl_tb_span(tb, which)->first, index = first_addr >> table->page_bits;
        struct pgl_buckets *buckets = pgl_page_buckets(pgl_page_find(table, index), index);

        if (buckets) {
            buckets->dead |= UINT64_C(1) << pgl_bucket(table, first_addr);
        }
    }
}

/* Mark dead the blocks of a page that meet the range there. */
static void mark(struct pgl_table *table, struct pgl_page *page, uint64_t index, uint64_t first_addr,
                 uint64_t last_addr)
{
    struct pgl_walk walk;

    for (uintptr_t ref = pgl_walk_begin(&walk, table, page, index, first_addr, last_addr); ref;
         ref = pgl_walk_next(&walk, ref)) {
        if (pgl_span_meets(pgl_ref_span(ref), first_addr, last_addr)) {
            pgl_tb_mark_dead(table, pgl_ref_tb(ref));
        }
    }
}

/*
 * Unlink the extent behind @ref, of a dead block. @before is the reference before it, or 0. A block joins the chain
 * when its extent 0 leaves its list, because the chain uses that link.
 */
static void unlink_extent(struct pgl_page *page, uintptr_t before, uintptr_t ref, struct pgl_chain *chain)
{
    struct pgl_tb *tb = pgl_ref_tb(ref);

    pgl_link_set(page, pgl_link_behind(page, before), *pgl_ref_next(ref));
    if (!(ref & 1)) {
        pgl_witness_unlinked(tb);
        tb->span.next = (uintptr_t)chain->first;
        chain->first = tb;
        chain->n++;
    }
}

/* Kill the block of an extent that meets the range. Returns whether the block is dead, by this call or before. */
static bool dies(struct pgl_table *table, uintptr_t ref, uint64_t first_addr, uint64_t last_addr)
{
    struct pgl_tb *tb = pgl_ref_tb(ref);

    if (!pgl_span_meets(pgl_ref_span(ref), first_addr, last_addr)) {
        return pgl_tb_is_dead(tb);
    }
    if (tb->nextents == 1) {
        mark_dead(tb);
    } else {
        pgl_tb_mark_dead(table, tb); /* the buckets of its other extents too */
    }
    return true;
}

/*
 * Unlink the extents of dead blocks from the list of a page that is not hot, and kill and unlink those blocks that meet
 * the range. Begin behind @before and stop after @n extents.
 */
static void unlink_from_list(struct pgl_table *table, struct pgl_page *page, uintptr_t before, size_t n,
                             uint64_t first_addr, uint64_t last_addr, struct pgl_chain *chain)
{
    for (uintptr_t ref; n && (ref = pgl_link_get(page, pgl_link_behind(page, before)));) {
        if (dies(table, ref, first_addr, last_addr)) {
            unlink_extent(page, before, ref, chain);
            n--;
        } else {
            before = ref;
        }
    }
}

/* Make the marks of a bucket exact after extents left it. @kept is the last that stayed, or 0. */
static void mark_bucket(const struct pgl_table *table, struct pgl_page *page, struct pgl_buckets *buckets,
                        unsigned bucket, uintptr_t kept)
{
    uint64_t bit = UINT64_C(1) << bucket;
    bool reached = (buckets->reach[0] | buckets->reach[1] | buckets->reach[2]) & bit;
    uintptr_t ref = pgl_bucket_before(buckets, bucket);

    buckets->last[bucket] = kept;
    buckets->used &= kept ? ~UINT64_C(0) : ~bit;
    if (!reached) {
        return;
    }
    for (unsigned class = 0; class < PGL_REACHES; class ++) {
        buckets->reach[class] &= ~bit;
    }
    while (kept && ref != kept) {
        ref = pgl_link_get(page, pgl_link_behind(page, ref));
        pgl_reach_mark(buckets->reach, bucket, pgl_bucket(table, pgl_ref_span(ref)->last) - bucket);
    }
}

/* Unlink as unlink_from_list() does, but from one bucket of a hot page. */
static inline void unlink_from_bucket(struct pgl_table *table, struct pgl_page *page, struct pgl_buckets *buckets,
                                      unsigned bucket, uint64_t first_addr, uint64_t last_addr, struct pgl_chain *chain)
{
    uintptr_t before = pgl_bucket_before(buckets, bucket), last = buckets->last[bucket], kept = 0, next;
    bool any = false;

    for (uintptr_t ref = pgl_link_get(page, pgl_link_behind(page, before)); ref; ref = next) {
        const struct pgl_span *span = pgl_ref_span(ref);

        next = ref == last ? 0 : *pgl_ref_next(ref);
        if (PGL_LIKELY(!dies(table, ref, first_addr, last_addr))) {
            before = kept = ref;
            continue;
        }
        pgl_stale_add(table, buckets, pgl_offset(table, span->first), pgl_offset(table, span->last));
        buckets->ncross -= pgl_tb_crosses(table, pgl_ref_tb(ref));
        unlink_extent(page, before, ref, chain);
        any = true;
    }
    if (any) {
        mark_bucket(table, page, buckets, bucket, kept);
    }
}

/* Do so from the buckets @which of a hot page, as bits. */
static void unlink_from_buckets(struct pgl_table *table, struct pgl_page *page, struct pgl_buckets *buckets,
                                uint64_t which, uint64_t first_addr, uint64_t last_addr, struct pgl_chain *chain)
{
    for (; which; which &= which - 1) {
        unlink_from_bucket(table, page, buckets, (unsigned)__builtin_ctzll(which), first_addr, last_addr, chain);
    }
}

/* Unlink all extents of dead blocks from the list of a page, which are @n at most. */
static void unlink_dead(struct pgl_table *table, struct pgl_page *page, uint64_t index, size_t n,
                        struct pgl_chain *chain)
{
    struct pgl_buckets *buckets = pgl_page_buckets(page, index);

    if (buckets) {
        unlink_from_buckets(table, page, buckets, buckets->dead & buckets->used, UINT64_MAX, 0, chain);
        buckets->dead = 0;
    } else {
        unlink_from_list(table, page, 0, n, UINT64_MAX, 0, chain);
    }
}

void pgl_kill_retire(struct pgl_table *table, struct pgl_chain chain)
{
    PGL_PROBE(kill, table, chain.first, chain.n);
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
 * Fit the filters of a page to its list, after blocks died, of which none was on another page or none is left. @mask is
 * that of the list of a page that is not hot. For a hot page recompute only the bytes between those of extents that
 * died.
 */
static void narrow(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index, struct pgl_buckets *buckets,
                   uint64_t mask)
{
    struct pgl_page *page = pgl_leaf_page(leaf, index);

    if (buckets) {
        mask = pgl_filter_narrow_map(table, page, index, buckets, page->mask);
    }
    /* release: pairs with the acquire in pgl_page_is_clean(); `retired` has returned */
    __atomic_store_n(&page->mask, mask, __ATOMIC_RELEASE);
    if (!pgl_list_first(page)) {
        pgl_head_set(page, pgl_head(page) & ~(uintptr_t)PGL_HEAD_CROSS); /* a portion may have left it (P2) */
        pgl_page_drop_code(table, leaf, index);
    }
}

size_t pgl_page_narrow(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index)
{
    struct pgl_page *page = pgl_leaf_page(leaf, index);
    struct pgl_buckets *buckets = pgl_page_buckets(page, index);
    uint64_t mask = buckets ? page->mask : 0;
    bool crosses = buckets && buckets->ncross;
    size_t seen = 0;

    for (uintptr_t ref = buckets ? 0 : pgl_list_first(page); ref; ref = *pgl_ref_next(ref)) {
        seen++;
        mask = pgl_filter_cover(table, pgl_ref_span(ref), mask);
        crosses = crosses || pgl_tb_crosses(table, pgl_ref_tb(ref));
    }
    if (!crosses) {
        pgl_head_set(page, pgl_head(page) & ~(uintptr_t)PGL_HEAD_CROSS);
    }
    narrow(table, leaf, index, buckets, mask);
    return seen;
}

/* A hit that looks at more extents than this makes the page hot in the end. */
#define LONG_WALK 8

/* The extents of a page that meet a range. */
struct hits {
    size_t n;
    size_t seen;      /* extents that were looked at */
    bool several;     /* the block of one of the hits has another extent */
    bool cross;       /* one that is on another page */
    uintptr_t before; /* the reference before the first hit, or 0 */
    uint64_t mask;    /* of the extents that were looked at and are no hits */
};

static struct hits find_hits(const struct pgl_table *table, struct pgl_page *page, uint64_t index, uint64_t first_addr,
                             uint64_t last_addr)
{
    struct hits hits = {0};
    uintptr_t before = 0;
    struct pgl_walk walk;

    for (uintptr_t ref = pgl_walk_begin(&walk, table, page, index, first_addr, last_addr); ref;
         before = ref, ref = pgl_walk_next(&walk, ref)) {
        const struct pgl_span *span = pgl_ref_span(ref);

        hits.seen++;
        if (PGL_LIKELY(!pgl_span_meets(span, first_addr, last_addr))) {
            hits.mask |= pgl_filter_mask(table->page_bits, span->first, span->last);
            continue;
        }
        if (!hits.n++) {
            hits.before = before;
        }
        if (pgl_ref_tb(ref)->nextents > 1) {
            hits.several = true;
            hits.cross |= pgl_tb_crosses(table, pgl_ref_tb(ref));
        }
    }
    return hits;
}

/* Kill the blocks of a hot page that meet a range, which are on no other page. Returns how many died. */
static size_t kill_in_buckets(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index,
                              struct pgl_buckets *buckets, uint64_t first_addr, uint64_t last_addr)
{
    struct pgl_page *page = pgl_leaf_page(leaf, index);
    struct pgl_chain chain = {0};

    unlink_from_buckets(table, page, buckets, pgl_buckets_meeting(table, buckets, first_addr, last_addr), first_addr,
                        last_addr, &chain);
    if (PGL_UNLIKELY(buckets->dead)) { /* other extents of the victims, which need not meet the range */
        unlink_dead(table, page, index, SIZE_MAX, &chain);
    }
    if (chain.first) {
        pgl_kill_retire(table, chain);
        narrow(table, leaf, index, buckets, page->mask);
    }
    return chain.n;
}

/* Kill the blocks of a page that is not hot: those of @hits, all of whose extents are on the page. */
static void kill_hits(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index, uint64_t first_addr,
                      uint64_t last_addr, const struct hits *hits)
{
    struct pgl_page *page = pgl_leaf_page(leaf, index);
    struct pgl_chain chain = {0};

    if (hits->several) { /* other extents of the victims need not meet the range, and were taken for the living */
        unlink_from_list(table, page, hits->before, SIZE_MAX, first_addr, last_addr, &chain);
        unlink_dead(table, page, index, SIZE_MAX, &chain);
        pgl_kill_retire(table, chain);
        pgl_page_narrow(table, leaf, index);
    } else {
        unlink_from_list(table, page, hits->before, hits->n, first_addr, last_addr, &chain);
        pgl_kill_retire(table, chain);
        narrow(table, leaf, index, NULL, hits->mask);
    }
}

bool pgl_page_kill_local(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index, uint64_t first_addr,
                         uint64_t last_addr, size_t *killed, bool *is_slow)
{
    struct pgl_page *page = pgl_leaf_page(leaf, index);
    struct pgl_buckets *buckets = pgl_page_buckets(page, index);
    struct hits hits = {0};

    *killed = 0;
    *is_slow = false;
    if (PGL_UNLIKELY(!pgl_list_first(page))) {
        pgl_page_narrow(table, leaf, index); /* the page was left by pgl_table_reset() */
        return true;
    }
    pgl_witness_list(table, page, index);
    if (!buckets || (pgl_head(page) & PGL_HEAD_CROSS)) {
        hits = find_hits(table, page, index, first_addr, last_addr);
        if (hits.cross) {
            return false;
        }
    }
    if (buckets) {
        *killed = kill_in_buckets(table, leaf, index, buckets, first_addr, last_addr);
    } else if (hits.n) {
        *killed = hits.n;
        *is_slow = hits.seen > LONG_WALK;
        kill_hits(table, leaf, index, first_addr, last_addr, &hits);
    }
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
    return dead ? dead->on[index % PGL_LEVEL_SIZE] : SIZE_MAX;
}

/*
 * Whether a member from which extents were taken stays wide until the next portion, or the caller, narrows it. The note
 * for the caller takes no memory, because there might be none.
 */
static bool stays_wide(const struct pgl_refs *dead, uint64_t index)
{
    if (!dead || (index >= dead->first && index < dead->end)) {
        return false;
    }
    return index == dead->rest || (dead->wide && pgl_set_note_in_place(dead->wide, index));
}

/*
 * Narrow the members from which extents were taken, except those that stay wide, and all members without blocks. @any:
 * whether any block died. @slow: as for pgl_kill_marked()
 */
static void narrow_members(struct pgl_collection *set, const struct pgl_refs *dead, bool any, uint64_t *slow)
{
    struct pgl_table *table = set->table;
    struct pgl_page *page;

    for (uint64_t index = 0; (page = pgl_collection_next(set, &index)); index++) {
        const bool has_changed = any && refs_on(dead, index);
        struct pgl_leaf *leaf;
        bool is_slow;

        if (pgl_list_first(page) && (!has_changed || stays_wide(dead, index))) {
            continue;
        }
        leaf = pgl_leaf_find(table, index);
        is_slow = pgl_page_narrow(table, leaf, index) > LONG_WALK;
        if (slow && is_slow && pgl_filter_note_walk(leaf, index)) {
            *slow = index;
        }
    }
}

bool pgl_kill_marked(struct pgl_collection *set, const struct pgl_refs *dead, uint64_t *slow)
{
    struct pgl_chain chain = {0};
    struct pgl_page *page;

    for (uint64_t index = 0; (page = pgl_collection_next(set, &index)); index++) {
        unlink_dead(set->table, page, index, refs_on(dead, index), &chain);
    }
    if (chain.first) {
        pgl_set_mark(set);
        pgl_kill_retire(set->table, chain);
    }
    narrow_members(set, dead, chain.first, slow);
    return chain.first;
}

bool pgl_kill_in_set(struct pgl_collection *set, uint64_t *slow)
{
    uint64_t last = set->last_addr >> set->table->page_bits;
    struct pgl_page *page;

    pgl_witness_set_lists(set);
    for (uint64_t index = set->first_addr >> set->table->page_bits;
         (page = pgl_collection_next(set, &index)) && index <= last; index++) {
        mark(set->table, page, index, set->first_addr, set->last_addr);
    }
    *slow = UINT64_MAX;
    return pgl_kill_marked(set, NULL, slow);
}
