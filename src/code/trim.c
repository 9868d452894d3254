/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory that no block needs is given back.
 *
 * OBJECTS      The caller guarantees a quiet moment: no thread is in a call on the table, holds a page, or has a
 * bracket. Therefore this thread writes everything, and no store here is ordered. The caller's own synchronization
 * orders them before the calls that follow.
 *
 * INVARIANTS
 *   M1  A page with blocks keeps its leaf, its code bit, its filters and its list.
 *       (test_trim_keeps_all_that_a_block_needs)
 *   M2  Afterwards each leaf has a page with blocks, each node but the root has a child, and each exact map belongs to
 *       a page with blocks. (test_trim_frees_leaves_and_nodes, test_trim_frees_maps_of_pages_without_blocks)
 *   M3  A page without blocks that pgl_table_reset() left with code loses its code bit, and `no_code` is called for it,
 *       before its leaf is freed. (test_trim_untraps_the_pages_that_a_reset_left)
 */
#include <stdlib.h>

#include "../os_internal.h"
#include "filter_internal.h"
#include "table_internal.h"
#include "tblist_internal.h"
#include "witness_internal.h"

/* Free all that a page without blocks has besides its descriptor. */
static void trim_page(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index)
{
    struct pgl_page *page = pgl_leaf_page(leaf, index);

    if (pgl_page_has_code(leaf, index)) {
        pgl_page_lock_at(table, page, pgl_witness_place());
        pgl_page_drop_code(table, leaf, index);
        pgl_page_unlock_at(table, page, pgl_witness_place());
    }
    pgl_filter_drop_hot(table, leaf, index);
}

/* Free what the pages of a leaf do not need. Returns whether any of them has blocks. */
static bool trim_leaf(struct pgl_table *table, struct pgl_leaf *leaf)
{
    bool has_blocks = false;

    for (unsigned slot = 0; slot < PGL_LEVEL_SIZE; slot++) {
        if (pgl_list_first(&leaf->pages[slot])) {
            has_blocks = true;
        } else {
            trim_page(table, leaf, leaf->first_index + slot);
        }
    }
    pgl_filter_drop_counts(table, leaf);
    return has_blocks;
}

/* Free the subtrees below a node that have no blocks. Returns whether any is left. */
static bool trim_children(struct pgl_table *table, void **node, unsigned shift)
{
    size_t slots = pgl_node_slots(table, shift);
    uint64_t *present = pgl_node_present(node, slots);
    bool is_leaf = shift == PGL_LEVEL_BITS, any = false;

    for (size_t slot = 0; slot < slots; slot++) {
        void *child = node[slot];

        if (!child) {
            continue;
        }
        if (is_leaf ? trim_leaf(table, child) : trim_children(table, child, shift - PGL_LEVEL_BITS)) {
            any = true;
            continue;
        }
        __atomic_store_n(&node[slot], NULL, __ATOMIC_RELAXED);
        __atomic_fetch_and(&present[slot / 64], ~(UINT64_C(1) << slot % 64), __ATOMIC_RELAXED);
        if (is_leaf) {
            pgl_os_aligned_free(child);
        } else {
            free(child);
        }
        pgl_count(&table->leaves, -(uint64_t)is_leaf);
        pgl_count(&table->bytes, -(uint64_t)(is_leaf ? sizeof(struct pgl_leaf) : pgl_node_bytes(PGL_LEVEL_SIZE)));
    }
    return any;
}

uint64_t pgl_table_trim_at(struct pgl_table *table, const char *place)
{
    struct pgl_table_stats before, after;

    if (!pgl_witness_may_call(place) ||
        (PGL_WITNESS && !pgl_witness_resets(table, pgl_table_first_locked(table), place))) {
        return 0;
    }
    pgl_table_get_stats(table, &before);
    trim_children(table, pgl_table_root(table), table->top_shift);
    pgl_table_get_stats(table, &after);
    return before.bytes + before.hot_bytes - after.bytes - after.hot_bytes;
}
