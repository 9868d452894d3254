/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A collection is every page of a byte range, and every page of the blocks on them. One thread locks them in ascending
 * order of page index.
 */
#ifndef PGL_PAGELOCK_COLLECTION_H
#define PGL_PAGELOCK_COLLECTION_H

#include <pagelock/page.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * struct pgl_collection - a set of locked pages
 *
 * The caller provides the memory, usually on its stack, and does not move or copy the struct while it is locked.
 * pgl_collection_lock() initializes it. The members are private.
 */
struct pgl_collection;

/**
 * pgl_collection_lock() - lock every page of a range, and of the blocks on it
 * @collection: the caller's, filled in
 * @table: borrowed; outlives the collection
 * @first_addr, @last_addr: bytes, inclusive
 *
 * The call locks every page of the range that existed when it began, and every page of each block listed on one of
 * them. It skips pages of the range that were never allocated. It locks a page above all held ones outright, and tries
 * any other. If that one is busy, the call unlocks the held pages above it, waits for it, locks them again in ascending
 * order, and reads the lists of the pages in the range again.
 *
 * Locks:    entry: this thread holds no page. Exit: all members, when true; none otherwise.
 * Ordering: acquire on each page; pairs with pgl_page_unlock().
 * Blocks:   spins, yields, sleeps. Allocates only for a set that touches more than four leaves: before it locks, for
 *           the leaves of the range; with pages held, for a block's other page in yet another leaf. GLib aborts the
 *           process when it has no memory for a node of such a set; a library built with -Dglib=disabled says ENOMEM.
 * Owns:     the caller; release with pgl_collection_unlock().
 * Errors:   false; EINVAL when @first_addr > @last_addr or beyond the table; ENOMEM.
 * Source:   QEMU's page_collection (the idea).
 */
PGL_API bool pgl_collection_lock(struct pgl_collection *collection, struct pgl_table *table, uint64_t first_addr,
                                 uint64_t last_addr) PGL_ANNOTATE(try_acquire_capability(true, collection));

/**
 * pgl_collection_unlock() - unlock every member and empty the set
 * @collection: locked or empty
 *
 * Locks:    entry: all members. Exit: none.
 * Ordering: release on each page.
 */
PGL_API void pgl_collection_unlock(struct pgl_collection *collection) PGL_ANNOTATE(release_capability(collection));

/**
 * pgl_collection_next() - find the first member at or after a page index
 * @collection: locked
 * @index: in: the first index of the walk; out: the member's page index when one was found
 *
 * Members outside the range are other pages of its blocks. Walk the set and not the table, because pages that were
 * allocated later are not locked.
 *
 * Locks:    entry and exit: all members.
 * Owns:     the table, as pgl_page_find().
 * Errors:   NULL when no member is left.
 */
PGL_API struct pgl_page *pgl_collection_next(const struct pgl_collection *collection, uint64_t *index)
    PGL_ANNOTATE(requires_capability(collection));

/**
 * pgl_collection_max() - return the highest page index in the set, in constant time
 * @collection: locked or empty
 *
 * Locks:    entry and exit: all members.
 * Errors:   UINT64_MAX, which is no page's index, for an empty set.
 */
PGL_INLINE uint64_t pgl_collection_max(const struct pgl_collection *collection);

#ifdef __cplusplus
}
#endif

#include <pagelock/inline/collection.h>

#endif
