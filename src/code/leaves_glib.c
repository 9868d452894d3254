/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * More leaves than a collection has room for, in a GTree of GLib: one node per leaf, whose key is the leaf's record. A
 * node has no value. The tree owns the records.
 *
 * The memory of a record may run out and is reported. GLib has no such answer for the memory of a node, and aborts.
 * Before version 2.76 GLib takes nodes from an allocator of its own, whose locks a forked child may find held; see
 * docs/locking.md, "Fork".
 */
#include <errno.h>
#include <glib.h>
#include <stdlib.h>

#include "leaves_internal.h"

static int compare(const void *a, const void *b, void *data)
{
    uint64_t x = ((const struct pgl_collection_leaf *)a)->first_index;
    uint64_t y = ((const struct pgl_collection_leaf *)b)->first_index;

    (void)data;
    return (x > y) - (x < y);
}

static struct pgl_leaves_at position(GTreeNode *node)
{
    return (struct pgl_leaves_at){node ? g_tree_node_key(node) : NULL, node};
}

/* Find or insert a leaf in @tree, as pgl_tree_get(). */
static struct pgl_collection_leaf *get(GTree *tree, struct pgl_leaf *leaf)
{
    struct pgl_collection_leaf *fresh = malloc(sizeof(*fresh));

    if (!fresh) {
        errno = ENOMEM;
        return NULL;
    }
    /* One descent for both: a tree that has the leaf keeps its own record, and frees this one. */
    return g_tree_node_key(g_tree_insert_node(tree, pgl_leaves_init(fresh, leaf), NULL));
}

bool pgl_tree_new(struct pgl_collection *set)
{
    GTree *tree = g_tree_new_full(compare, NULL, free, NULL);

    for (unsigned n = 0; n < set->nleaves; n++) {
        struct pgl_collection_leaf *member = get(tree, set->in_place[n].leaf);

        if (!member) {
            g_tree_unref(tree);
            return false;
        }
        *member = set->in_place[n];
    }
    set->nleaves = 0;
    set->tree = tree;
    return true;
}

struct pgl_collection_leaf *pgl_tree_get(struct pgl_collection *set, struct pgl_leaf *leaf)
{
    return get(set->tree, leaf);
}

struct pgl_leaves_at pgl_tree_from(const struct pgl_collection *set, uint64_t first_index)
{
    struct pgl_collection_leaf key = {.first_index = first_index};

    return position(g_tree_lower_bound(set->tree, &key));
}

struct pgl_leaves_at pgl_tree_next(const struct pgl_collection *set, struct pgl_leaves_at at)
{
    (void)set;
    return position(g_tree_node_next(at.node));
}

void pgl_tree_free(struct pgl_collection *set)
{
    g_tree_unref(set->tree);
}
