/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Private: the members of a collection. */
#ifndef PGL_PAGELOCK_INLINE_COLLECTION_H
#define PGL_PAGELOCK_INLINE_COLLECTION_H

#include <pagelock/collection.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The number of leaves whose pages a collection can hold without allocating. */
#define PGL_COLLECTION_INLINE 4u

/* The locked pages of one leaf. */
struct pgl_collection_leaf {
    uint64_t first_index; /* of the leaf; the order of a set */
    struct pgl_leaf *leaf;
    unsigned words;                 /* one bit for each word of held that has members; the other words are undefined */
    uint64_t held[PGL_LEVEL_WORDS]; /* one bit for each page */
};

struct PGL_ANNOTATE(capability("collection")) pgl_collection {
    struct pgl_table *table;
    uint64_t first_addr;
    uint64_t last_addr;
    uint64_t max;
    unsigned members; /* 0 for none, 1 for one that is quick to unlock, or any greater number */
    bool kills;       /* the caller kills blocks, and makes none */
    bool marked;      /* some members may be marked in the leaves' bitmaps `killed` */
    unsigned nleaves; /* in in_place, or 0 if there is a tree */
    void *tree;       /* the leaves of a set that has more than its struct has room for, or NULL */
    struct pgl_collection_leaf in_place[PGL_COLLECTION_INLINE]; /* ascending */
};

#define pgl_collection_lock(collection, table, first_addr, last_addr)                                                  \
    pgl_collection_lock_at(collection, table, first_addr, last_addr, PGL_HERE)
PGL_API bool pgl_collection_lock_at(struct pgl_collection *collection, struct pgl_table *table, uint64_t first_addr,
                                    uint64_t last_addr, const char *place)
    PGL_ANNOTATE(try_acquire_capability(true, collection));

#define pgl_collection_unlock(collection) pgl_collection_unlock_at(collection, PGL_HERE)
PGL_API void pgl_collection_unlock_at(struct pgl_collection *collection, const char *place)
    PGL_ANNOTATE(release_capability(collection));

PGL_INLINE uint64_t pgl_collection_max(const struct pgl_collection *collection)
{
    return collection->members ? collection->max : UINT64_MAX;
}

#ifdef __cplusplus
}
#endif
#endif
