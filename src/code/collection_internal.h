/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The collection, for the invalidating calls. */
#ifndef PGL_CODE_COLLECTION_INTERNAL_H
#define PGL_CODE_COLLECTION_INTERNAL_H

#include <pagelock/collection.h>

/* An empty set. */
void pgl_set_init(struct pgl_collection *set, struct pgl_table *table);

/**
 * enum pgl_set_change - what adding a page did
 * @PGL_SET_NO_MEMORY: nothing, for want of memory for another leaf
 * @PGL_SET_MEMBER: nothing, it was a member
 * @PGL_SET_ADDED: it was locked
 * @PGL_SET_RELOCKED: it was locked; the members above it were let go meanwhile
 */
enum pgl_set_change {
    PGL_SET_NO_MEMORY,
    PGL_SET_MEMBER,
    PGL_SET_ADDED,
    PGL_SET_RELOCKED,
};

/**
 * pgl_set_add - lock a page and make it a member, wherever it lies
 * @index: a page whose leaf exists
 *
 * Locks:    entry: all members. Exit: all members, and @index unless memory ran out.
 */
enum pgl_set_change pgl_set_add(struct pgl_collection *set, uint64_t index);

/**
 * pgl_set_lock - lock pages of a byte range, and the other pages of the blocks that meet it
 * @first_addr, @last_addr: inclusive, not rounded: a block that does not meet them brings in no page
 * @code_only: only pages of the range whose bit is set in their leaf's code bitmap; the caller has fenced
 *
 * Returns false, with nothing held, when memory ran out.
 *
 * Locks:    entry: this thread holds no page. Exit: all members.
 */
bool pgl_set_lock(struct pgl_collection *set, struct pgl_table *table, uint64_t first_addr, uint64_t last_addr,
                  bool code_only);

/* Unlock the members outside the pages [@first, @last] and forget the set: its other members stay locked. */
void pgl_set_keep(struct pgl_collection *set, uint64_t first, uint64_t last);

#endif
