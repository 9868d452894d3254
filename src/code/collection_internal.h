/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The collection, for the calls that kill blocks. */
#ifndef PGL_CODE_COLLECTION_INTERNAL_H
#define PGL_CODE_COLLECTION_INTERNAL_H

#include <pagelock/collection.h>

/* Make a set empty. */
void pgl_set_init(struct pgl_collection *set, struct pgl_table *table);

/**
 * enum pgl_set_change - how adding a page changed the set
 * @PGL_SET_NO_MEMORY: not at all, because memory for another leaf ran out
 * @PGL_SET_MEMBER: not at all, because the page was a member
 * @PGL_SET_ADDED: the page was locked
 * @PGL_SET_RELOCKED: the page was locked; the members above it were unlocked and locked again
 */
enum pgl_set_change {
    PGL_SET_NO_MEMORY,
    PGL_SET_MEMBER,
    PGL_SET_ADDED,
    PGL_SET_RELOCKED,
};

/**
 * pgl_set_add - lock a page and make it a member, whether above or below the other members
 * @index: a page whose leaf exists
 *
 * Locks:    entry: all members. Exit: all members, and @index unless memory ran out.
 */
enum pgl_set_change pgl_set_add(struct pgl_collection *set, uint64_t index);

/* Make a page a member without locking it, whose leaf exists. Returns false when memory ran out. */
bool pgl_set_note(struct pgl_collection *set, uint64_t index);

/* The same, but return false rather than allocate. */
bool pgl_set_note_in_place(struct pgl_collection *set, uint64_t index);

/* Lock all members, which have been noted. */
void pgl_set_lock_noted(struct pgl_collection *set);

/*
 * Let store checks that find a member locked ask its filters, until the member is unlocked (C6). For a caller that is
 * going to retire blocks. A set that waits for a page with others held does so by itself, if @code_only made it a set
 * of a caller that kills. Neither does anything unless set->kills, which is for callers that make no block.
 */
void pgl_set_mark(struct pgl_collection *set);

/**
 * pgl_set_lock - lock pages of a byte range, and the other pages of the blocks that meet it
 * @first_addr, @last_addr: inclusive, not rounded; a block that does not meet them adds no page
 * @code_only: lock only pages of the range whose bit is set in the code bitmap of their leaf; the caller has fenced,
 *      and kills blocks and makes none
 *
 * Returns false, with no page held, when memory ran out.
 *
 * Locks:    entry: this thread holds no page. Exit: all members.
 */
bool pgl_set_lock(struct pgl_collection *set, struct pgl_table *table, uint64_t first_addr, uint64_t last_addr,
                  bool code_only);

#endif
