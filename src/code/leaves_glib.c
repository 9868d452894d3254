/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * More leaves than a collection has room for, in a GTree of GLib: one node per leaf, whose key is the leaf's record. A
 * node has no value. The records lie in chunks.
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

/* So many records and their head are a kibibyte, which malloc() finds in its cache of small pieces. */
enum { RECORDS = 11 };

/* Records in the order of arrival. */
struct chunk {
    struct chunk *older;
    unsigned used;
    struct pgl_collection_leaf leaves[RECORDS];
};

struct tree {
    GTree *nodes;
    struct chunk *newest;
};

/* The next record that is free; the same one again until it is used. NULL with ENOMEM when memory ran out. */
static struct pgl_collection_leaf *free_record(struct tree *tree)
{
    struct chunk *chunk = tree->newest;

    if (!chunk || chunk->used == RECORDS) {
        chunk = malloc(sizeof(*chunk));
        if (!chunk) {
            errno = ENOMEM;
            return NULL;
        }
        chunk->older = tree->newest;
        chunk->used = 0;
        tree->newest = chunk;
    }
    return &chunk->leaves[chunk->used];
}

/* Find or insert a leaf, as pgl_tree_get(). */
static struct pgl_collection_leaf *get(struct tree *tree, struct pgl_leaf *leaf)
{
    struct pgl_collection_leaf *record, *fresh = free_record(tree);

    if (!fresh) {
        return NULL;
    }
    /* One descent for both: a tree that has the leaf keeps its own record, and this one stays free. */
    record = g_tree_node_key(g_tree_insert_node(tree->nodes, pgl_leaves_init(fresh, leaf), NULL));
    tree->newest->used += record == fresh;
    return record;
}

static void tree_free(struct tree *tree)
{
    struct chunk *older;

    g_tree_unref(tree->nodes);
    for (struct chunk *chunk = tree->newest; chunk; chunk = older) {
        older = chunk->older;
        free(chunk);
    }
    free(tree);
}

bool pgl_tree_new(struct pgl_collection *set)
{
    struct tree *tree = malloc(sizeof(*tree));

    if (!tree) {
        errno = ENOMEM;
        return false;
    }
    *tree = (struct tree){.nodes = g_tree_new_with_data(compare, NULL)};
    for (unsigned n = 0; n < set->nleaves; n++) {
        struct pgl_collection_leaf *member = get(tree, set->in_place[n].leaf);

        if (!member) {
            tree_free(tree);
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

static GTree *nodes_of(const struct pgl_collection *set)
{
    const struct tree *tree = set->tree;

    return tree->nodes;
}

struct pgl_leaves_at pgl_tree_from(const struct pgl_collection *set, uint64_t first_index)
{
    struct pgl_collection_leaf key = {.first_index = first_index};

    return position(g_tree_lower_bound(nodes_of(set), &key));
}

struct pgl_leaves_at pgl_tree_next(const struct pgl_collection *set, struct pgl_leaves_at at)
{
    (void)set;
    return position(g_tree_node_next(at.node));
}

void pgl_tree_free(struct pgl_collection *set)
{
    tree_free(set->tree);
}
