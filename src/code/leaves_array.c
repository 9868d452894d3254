/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * More leaves than a collection has room for, in a sorted array, for a library without GLib. The records stand in their
 * order of arrival, and beside them stand their numbers in ascending order. A new leaf therefore moves four bytes for
 * each leaf above it. Want of memory is reported.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "leaves_internal.h"

struct array {
    size_t n;
    size_t room;
    uint32_t *order; /* numbers of records, ascending by page index; behind the records */
    struct pgl_collection_leaf leaves[];
};

/* An array with more room than @old, with the leaves of it. NULL with ENOMEM when memory ran out. */
static struct array *grow(const struct array *old, size_t room)
{
    struct array *array = malloc(sizeof(*array) + room * (sizeof(*array->leaves) + sizeof(*array->order)));

    if (!array) {
        errno = ENOMEM;
        return NULL;
    }
    array->n = old ? old->n : 0;
    array->room = room;
    array->order = (uint32_t *)(array->leaves + room);
    if (old) {
        memcpy(array->leaves, old->leaves, old->n * sizeof(*old->leaves));
        memcpy(array->order, old->order, old->n * sizeof(*old->order));
    }
    return array;
}

static struct pgl_collection_leaf *in_order(struct array *array, size_t at)
{
    return &array->leaves[array->order[at]];
}

/* The number of leaves below @first_index. */
static size_t position(struct array *array, uint64_t first_index)
{
    size_t low = 0, high = array->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (in_order(array, middle)->first_index < first_index) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct pgl_leaves_at leaf_at(struct array *array, size_t at)
{
    if (at == array->n) {
        return (struct pgl_leaves_at){NULL, NULL};
    }
    return (struct pgl_leaves_at){in_order(array, at), &array->order[at]};
}

bool pgl_tree_new(struct pgl_collection *set)
{
    struct array *array = grow(NULL, 4 * PGL_COLLECTION_INLINE);

    if (!array) {
        return false;
    }
    for (unsigned n = 0; n < set->nleaves; n++) {
        array->leaves[n] = set->in_place[n];
        array->order[n] = n;
    }
    array->n = set->nleaves;
    set->nleaves = 0;
    set->tree = array;
    return true;
}

struct pgl_collection_leaf *pgl_tree_get(struct pgl_collection *set, struct pgl_leaf *leaf)
{
    struct array *array = set->tree;
    size_t at = position(array, leaf->first_index);

    if (at < array->n && in_order(array, at)->leaf == leaf) {
        return in_order(array, at);
    }
    if (array->n == array->room) {
        array = grow(array, 4 * array->room);
        if (!array) {
            return NULL;
        }
        free(set->tree);
        set->tree = array;
    }
    memmove(&array->order[at + 1], &array->order[at], (array->n - at) * sizeof(*array->order));
    array->order[at] = (uint32_t)array->n;
    return pgl_leaves_init(&array->leaves[array->n++], leaf);
}

struct pgl_leaves_at pgl_tree_from(const struct pgl_collection *set, uint64_t first_index)
{
    return leaf_at(set->tree, position(set->tree, first_index));
}

struct pgl_leaves_at pgl_tree_next(const struct pgl_collection *set, struct pgl_leaves_at at)
{
    struct array *array = set->tree;

    return leaf_at(array, (size_t)((uint32_t *)at.node - array->order) + 1);
}

void pgl_tree_free(struct pgl_collection *set)
{
    free(set->tree);
}
