/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The list of a page: how extents are put on it, and in which order. tblist_internal.h says how it is laid out; kill.c
 * takes extents off.
 *
 * OBJECTS      The lock of a page protects its list and its buckets.
 *
 * INVARIANTS
 *   L1  The list of a hot page is in order of buckets. (pgl_table_check();
 *       test_buckets_check_finds_a_list_out_of_order)
 *   L2  A bucket is used if and only if an extent begins in it, and `last` is then the last of them on the list.
 *       (pgl_table_check(); test_buckets_check_finds_a_wrong_last, test_buckets_check_finds_a_wrong_used_bit)
 *   L3  If an extent reaches into buckets behind its own, its bucket is marked in `reach` for the class of the extent.
 *       (pgl_table_check(); test_buckets_check_finds_a_far_extent_unmarked)
 *   L6  If two extents have the same byte, the bucket in which the byte lies is marked as shared.
 *       (pgl_table_check(); test_buckets_check_finds_a_shared_byte_unmarked,
 *       test_buckets_check_finds_a_shared_byte_marked_in_another_bucket)
 *   L4  `ncross` counts the listed extents of blocks that are on another page too.
 *       (pgl_table_check(); test_buckets_check_finds_a_wrong_count_of_crossing_extents)
 *   L5  `dead` is clear while no thread holds the page. `stale` is clear then too, except on a page that a call has
 *       left wide (P2), and on one that a reset has left, whose bits are all set until its filters are narrowed.
 *       (pgl_table_check(); test_buckets_check_finds_marks_that_were_left)
 */
#include "filter_internal.h"
#include "tblist_internal.h"

/* Put an extent on the list of a hot page, before the others of its bucket. */
static inline void insert(const struct pgl_table *table, struct pgl_page *page, struct pgl_buckets *buckets,
                          uintptr_t ref, bool crosses)
{
    unsigned bucket = pgl_bucket(table, pgl_ref_span(ref)->first);
    uintptr_t *link = pgl_link_behind(page, pgl_bucket_before(buckets, bucket));
    uint64_t bit = UINT64_C(1) << bucket;

    *pgl_ref_next(ref) = pgl_link_get(page, link);
    pgl_link_set(page, link, ref);
    if (!(buckets->used & bit)) {
        buckets->used |= bit;
        buckets->last[bucket] = ref;
    }
    pgl_reach_mark(buckets->reach, bucket, pgl_bucket(table, pgl_ref_span(ref)->last) - bucket);
    buckets->ncross += crosses;
}

/* Add the bytes of an extent to the exact map of its page. */
static inline void cover(const struct pgl_table *table, const struct pgl_span *span, struct pgl_buckets *buckets)
{
    const unsigned low = pgl_offset(table, span->first), high = pgl_offset(table, span->last);
    const uint64_t high_bits = ~UINT64_C(0) >> (63 - high % 64);
    uint64_t bits = ~UINT64_C(0) << low % 64, before = 0;

    for (unsigned word = low / 64; word <= high / 64; word++) {
        uint64_t old = buckets->map[word];

        bits = word == high / 64 ? bits & high_bits : bits;
        before |= old & bits;
        /* relaxed: the release of the unlock publishes the added bits */
        __atomic_store_n(&buckets->map[word], old | bits, __ATOMIC_RELAXED);
        bits = ~UINT64_C(0);
    }
    if (before) {
        buckets->shared |= pgl_bucket_bits(pgl_bucket(table, low), pgl_bucket(table, high));
    }
}

void pgl_list_add(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index, uintptr_t ref, bool crosses)
{
    struct pgl_page *page = pgl_leaf_page(leaf, index);
    struct pgl_buckets *buckets = pgl_page_buckets(page, index);
    uint64_t mask = pgl_filter_cover(table, pgl_ref_span(ref), page->mask);

    if (buckets) {
        cover(table, pgl_ref_span(ref), buckets);
        __atomic_store_n(&page->mask, mask, __ATOMIC_RELAXED); /* relaxed: as in pgl_list_put() */
        insert(table, page, buckets, ref, crosses);
    } else {
        pgl_head_set(page, pgl_list_put(page, pgl_head(page), ref, mask));
    }
    if (crosses) {
        pgl_head_set(page, pgl_head(page) | PGL_HEAD_CROSS);
    }
}

void pgl_list_order(const struct pgl_table *table, struct pgl_page *page, struct pgl_buckets *buckets)
{
    uintptr_t ref = pgl_list_first(page), next;

    pgl_link_set(page, &page->head, 0);
    for (; ref; ref = next) {
        next = *pgl_ref_next(ref);
        insert(table, page, buckets, ref, pgl_tb_crosses(table, pgl_ref_tb(ref)));
    }
}
