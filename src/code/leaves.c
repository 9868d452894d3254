/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The leaves of a collection.
 *
 * OBJECTS      A set belongs to one thread. Either the struct holds its leaves in ascending order, and there is no
 * tree; or the tree holds all of them, and the struct holds none.
 *
 * INVARIANTS
 *   A1  A set has each leaf once, and walks go through them in ascending order.
 *       (test_leaves_come_in_order_whatever_the_order_of_arrival)
 *   A2  A set of at most PGL_COLLECTION_INLINE leaves allocates nothing.
 *       (test_alloc_collection_within_four_leaves_allocates_nothing)
 *   A3  A leaf that finds no memory leaves the set as it was. (test_leaves_survive_want_of_memory)
 */
#include "leaves_internal.h"

#include <string.h>

struct pgl_collection_leaf *pgl_leaves_get(struct pgl_collection *set, struct pgl_leaf *leaf)
{
    struct pgl_collection_leaf *member;
    unsigned n = 0;

    if (set->tree) {
        return pgl_tree_get(set, leaf);
    }
    while (n < set->nleaves && set->in_place[n].first_index < leaf->first_index) {
        n++;
    }
    member = &set->in_place[n];
    if (n < set->nleaves && member->leaf == leaf) {
        return member;
    }
    if (set->nleaves == PGL_COLLECTION_INLINE) {
        return pgl_tree_new(set) ? pgl_tree_get(set, leaf) : NULL;
    }
    memmove(member + 1, member, (set->nleaves - n) * sizeof(*member));
    set->nleaves++;
    return pgl_leaves_init(member, leaf);
}

void pgl_leaves_free(struct pgl_collection *set)
{
    if (set->tree) {
        pgl_tree_free(set);
        set->tree = NULL;
    }
    set->nleaves = 0;
}
