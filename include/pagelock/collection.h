/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The collection: every page of a byte range, and every page of the blocks on them, locked by one thread in ascending
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
 * Lives where the caller likes, usually on the stack, and stays there while it is locked: it is not to be copied. Needs
 * no initialisation before pgl_collection_lock(). The members are private; use the functions below.
 */
struct pgl_collection;

/**
 * pgl_collection_lock(collection, table, first_addr, last_addr) - lock every page of a range, and of the blocks on it
 * @collection: the caller's, filled in
 * @table: borrowed; outlives the collection
 * @first_addr, @last_addr: bytes, inclusive
 *
 * Every page of the range that existed when the call began is locked, and every page of each block listed on one of
 * them; pages of the range that were never allocated are not. A page above all held ones is locked outright; any other
 * is tried, and where it is busy the held pages above it are let go, it is waited for, they are taken again in
 * ascending order, and the lists of those in the range are read again.
 *
 * Locks:    entry: this thread holds no page. Exit: all members, when true; none otherwise.
 * Ordering: acquire on each page; pairs with pgl_page_unlock().
 * Blocks:   spins, yields, sleeps; allocates only for a set that touches more than two leaves: before it locks, for the
 *           leaves of the range; with pages held, for a block's other page in yet another leaf.
 * Owns:     the caller; release with pgl_collection_unlock().
 * Errors:   false; EINVAL when @first_addr > @last_addr or beyond the table; ENOMEM.
 * Source:   QEMU's page_collection (the idea).
 */
PGL_API bool pgl_collection_lock(struct pgl_collection *collection, struct pgl_table *table, uint64_t first_addr,
                                 uint64_t last_addr) PGL_ANNOTATE(try_acquire_capability(true, collection));

/**
 * pgl_collection_unlock(collection) - unlock every member and empty the set; of an empty one, nothing
 *
 * Locks:    entry: all members. Exit: none.
 * Ordering: release on each page.
 */
PGL_API void pgl_collection_unlock(struct pgl_collection *collection) PGL_ANNOTATE(release_capability(collection));

/**
 * pgl_collection_next - walk the set
 * @collection: locked
 * @index: in: where to begin; out: the member's page index when one was found
 *
 * Returns the first member at or after *@index, or NULL. Members outside the range are other pages of its blocks. Walk
 * the set and not the table: pages that were allocated since are not locked.
 *
 * Locks:    entry: all members.
 */
PGL_API struct pgl_page *pgl_collection_next(const struct pgl_collection *collection, uint64_t *index)
    PGL_ANNOTATE(requires_capability(collection));

/**
 * pgl_collection_max - the highest page index in the set, in constant time
 *
 * Errors:   UINT64_MAX for an empty set, which is no page's index.
 */
PGL_INLINE uint64_t pgl_collection_max(const struct pgl_collection *collection);

#ifdef __cplusplus
}
#endif

#include <pagelock/inline/collection.h>

#endif
