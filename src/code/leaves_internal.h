/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The leaves of a collection, in ascending order. Four lie within the struct. A set with more keeps all of them in a
 * tree: a GTree of GLib, one node per leaf, or in a library built with -Dglib=disabled a sorted array.
 *
 * A collection belongs to one thread; nothing here locks. Memory that is found stays in its place until the next
 * pgl_leaves_get().
 */
#ifndef PGL_CODE_LEAVES_INTERNAL_H
#define PGL_CODE_LEAVES_INTERNAL_H

#include <pagelock/collection.h>

/* A position in the order. */
struct pgl_leaves_at {
    struct pgl_collection_leaf *member; /* NULL behind the last */
    void *node;                         /* of the tree, if there is one */
};

/* ---- a set of any size ---- */

/* Find a leaf in a set, or insert it without members. Returns NULL with ENOMEM when memory ran out. */
struct pgl_collection_leaf *pgl_leaves_get(struct pgl_collection *set, struct pgl_leaf *leaf);

/* Forget all leaves of a set. */
void pgl_leaves_free(struct pgl_collection *set);

/* ---- a set with a tree: leaves_glib.c, or leaves_array.c ---- */

/* Move the leaves of the struct into a new tree. Returns false, with the set as it was, when memory ran out. */
bool pgl_tree_new(struct pgl_collection *set);

/* As pgl_leaves_get(). */
struct pgl_collection_leaf *pgl_tree_get(struct pgl_collection *set, struct pgl_leaf *leaf);

/* The first leaf at or after @first_index, which is the first index of a leaf. */
struct pgl_leaves_at pgl_tree_from(const struct pgl_collection *set, uint64_t first_index);

/* The leaf behind @at. */
struct pgl_leaves_at pgl_tree_next(const struct pgl_collection *set, struct pgl_leaves_at at);

/* Free the tree, and leave the pointer to it. */
void pgl_tree_free(struct pgl_collection *set);

/* ---- walks ---- */

/* The leaf of the struct in place @n, or none. */
static inline struct pgl_leaves_at pgl_leaves_in_place(const struct pgl_collection *set, unsigned n)
{
    struct pgl_collection *owner = (struct pgl_collection *)set;

    return (struct pgl_leaves_at){n < set->nleaves ? &owner->in_place[n] : NULL, NULL};
}

/* The first leaf that has @index or pages above it. */
static inline struct pgl_leaves_at pgl_leaves_from(const struct pgl_collection *set, uint64_t index)
{
    uint64_t first_index = index - index % PGL_LEVEL_SIZE;
    unsigned n = 0;

    if (PGL_UNLIKELY(set->tree)) {
        return pgl_tree_from(set, first_index);
    }
    while (n < set->nleaves && set->in_place[n].first_index < first_index) {
        n++;
    }
    return pgl_leaves_in_place(set, n);
}

/* The leaf behind @at. */
static inline struct pgl_leaves_at pgl_leaves_next(const struct pgl_collection *set, struct pgl_leaves_at at)
{
    if (PGL_UNLIKELY(set->tree)) {
        return pgl_tree_next(set, at);
    }
    at.member = at.member + 1 < set->in_place + set->nleaves ? at.member + 1 : NULL;
    return at;
}

/* Fill in a leaf without members. */
static inline struct pgl_collection_leaf *pgl_leaves_init(struct pgl_collection_leaf *member, struct pgl_leaf *leaf)
{
    member->first_index = leaf->first_index;
    member->leaf = leaf;
    member->words = 0;
    return member;
}

#endif
