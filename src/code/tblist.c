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
 *   L3  If an extent reaches into the bucket behind its own, its bucket is marked as over; if beyond that, as far too.
 *       (pgl_table_check(); test_buckets_check_finds_a_far_extent_unmarked)
 *   L4  `ncross` counts the listed extents of blocks that are on another page too.
 *       (pgl_table_check(); test_buckets_check_finds_a_wrong_count_of_crossing_extents)
 *   L5  `dead` is clear while no thread holds the page. `stale` is clear then too, except on a page that a call has
 *       left wide (P2), and on one that a reset has left, whose bits are all set until its filters are narrowed.
 *       (pgl_table_check(); test_buckets_check_finds_marks_that_were_left)
 */
#include "filter_internal.h"
#include "tblist_internal.h"

/* Put an extent on the list of a hot page, before the others of its bucket. */
static void insert(const struct pgl_table *table, struct pgl_page *page, struct pgl_buckets *buckets, uintptr_t ref,
                   bool crosses)
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
    buckets->over |= pgl_reaches_over(table, pgl_ref_span(ref), 1) ? bit : 0;
    buckets->far |= pgl_reaches_over(table, pgl_ref_span(ref), 2) ? bit : 0;
    buckets->ncross += crosses;
}

void pgl_list_add(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index, uintptr_t ref, bool crosses)
{
    struct pgl_page *page = pgl_leaf_page(leaf, index);
    struct pgl_buckets *buckets = pgl_page_buckets(page, index);
    uint64_t mask = pgl_filter_cover(table, pgl_ref_span(ref), buckets ? buckets->map : NULL, page->mask);

    if (buckets) {
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
