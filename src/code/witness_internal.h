/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The witness. In a lock_debug build it knows the pages that each thread holds, the blocks that are linked, and the
 * places of the calls that locked or linked them, and it reports breaches of the contract. In a release build every
 * function here is empty.
 */
#ifndef PGL_CODE_WITNESS_INTERNAL_H
#define PGL_CODE_WITNESS_INTERNAL_H

#include <stddef.h>

#include <pagelock/tb.h>

/* The scheduler of the explorer does not see the reads and writes of such a function. */
#ifdef PGL_EXPLORE
#define PGL_UNSEEN __attribute__((no_sanitize("thread")))
#else
#define PGL_UNSEEN
#endif

#ifdef PGL_LOCK_DEBUG
#define PGL_WITNESS true

/* In a lock_debug build leaves are aligned to this, so that the witness finds a descriptor's page index. */
#define PGL_LEAF_ALIGN sizeof(struct pgl_page[PGL_LEVEL_SIZE])

/* ---- pages (witness.c) ---- */

/* The page index of a descriptor. */
uint64_t pgl_witness_index(const struct pgl_page *page);

/* Call before a lock. Returns false if the caller must leave the lock out because it would hang. */
bool pgl_witness_may_lock(struct pgl_table *table, struct pgl_page *page, bool blocking, const char *place);

/* Call after a lock. */
void pgl_witness_locked(struct pgl_table *table, struct pgl_page *page, const char *place);

/*
 * Call before an unlock. Returns false if the caller must leave the unlock out because this thread does not hold the
 * page.
 */
bool pgl_witness_unlocking(struct pgl_table *table, struct pgl_page *page, const char *place);

/* Report unless this thread holds @page. */
bool pgl_witness_holds(struct pgl_table *table, struct pgl_page *page, const char *place);

/* Report @kind if this thread holds any page. */
void pgl_witness_holds_none(enum pgl_breach_kind kind, const char *place);

/* Report if the table is externally locked and its lock is not held. @index: the page of the call, or UINT64_MAX. */
void pgl_witness_external(const struct pgl_table *table, uint64_t index, const char *place);

/*
 * Enter a call that no callback may make. In a callback, report it and return false: the caller leaves the call out.
 * Otherwise keep @place as the place of the call and return true.
 */
bool pgl_witness_may_call(const char *place);

/*
 * Enter a call that locks pages by itself. Report held pages, and an external lock that is not held. Returns false as
 * pgl_witness_may_call(), with errno EINVAL.
 */
bool pgl_witness_enters(const struct pgl_table *table, const char *place);

/*
 * The place of the call that this thread is in, as the last pgl_witness_may_call() that returned true kept it. The
 * functions of which a call is made use it and need no parameter for the place.
 */
const char *pgl_witness_place(void);

/* Call around a callback of that name. */
void pgl_witness_calls(const char *name);
void pgl_witness_returns(void);

/*
 * Report a locked page of a table that is about to be freed, and forget those that this thread holds. @first_locked:
 * the lowest page that any thread holds, or UINT64_MAX.
 */
void pgl_witness_frees(struct pgl_table *table, uint64_t first_locked);

/*
 * Report a locked page of a table that is about to be reset, and return false. Report an external lock that is not
 * held. @first_locked: as for pgl_witness_frees()
 */
bool pgl_witness_resets(const struct pgl_table *table, uint64_t first_locked, const char *place);

/* Report a breach that is not about a held page. @linked_place: the place at which the block was linked, or NULL. */
void pgl_witness_breach(enum pgl_breach_kind kind, uint64_t index, const char *place, const char *linked_place);

/* ---- blocks (witness_tb.c) ---- */

/* Call before a block becomes live. */
void pgl_witness_linked(struct pgl_table *table, struct pgl_tb *tb, const char *place);

/* Call when a block is dead, or is new again because it has an equal. */
void pgl_witness_unlinked(struct pgl_tb *tb);

/*
 * Report a block that is linked already, not new, or not aligned, and return false. @index: a page of the call, or
 * UINT64_MAX.
 */
bool pgl_witness_may_link(struct pgl_tb *tb, uint64_t index, const char *place);

/*
 * Report a block that is linked in another table, and return false. Report a block that was changed since it was
 * linked, undo the change, and return true. With @linked_once, also report a block that was never linked, and return
 * false.
 */
bool pgl_witness_knows(const struct pgl_table *table, const struct pgl_tb *tb, bool linked_once, const char *place);

/*
 * Call before a walk of the list of a page that this thread holds, as long as it has marked no block on the list dead.
 * Report and repair changed blocks on it.
 */
void pgl_witness_list(const struct pgl_table *table, struct pgl_page *page, uint64_t index);

/* Forget all blocks of a table. */
void pgl_witness_forget(const struct pgl_table *table);

#else

#define PGL_WITNESS false
#define PGL_LEAF_ALIGN 64

static inline bool pgl_witness_may_lock(struct pgl_table *table, struct pgl_page *page, bool blocking,
                                        const char *place)
{
    (void)table, (void)page, (void)blocking, (void)place;
    return true;
}

static inline void pgl_witness_locked(struct pgl_table *table, struct pgl_page *page, const char *place)
{
    (void)table, (void)page, (void)place;
}

static inline bool pgl_witness_unlocking(struct pgl_table *table, struct pgl_page *page, const char *place)
{
    (void)table, (void)page, (void)place;
    return true;
}

static inline bool pgl_witness_holds(struct pgl_table *table, struct pgl_page *page, const char *place)
{
    (void)table, (void)page, (void)place;
    return true;
}

static inline void pgl_witness_holds_none(enum pgl_breach_kind kind, const char *place)
{
    (void)kind, (void)place;
}

static inline void pgl_witness_external(const struct pgl_table *table, uint64_t index, const char *place)
{
    (void)table, (void)index, (void)place;
}

static inline bool pgl_witness_may_call(const char *place)
{
    (void)place;
    return true;
}

static inline bool pgl_witness_enters(const struct pgl_table *table, const char *place)
{
    (void)table, (void)place;
    return true;
}

static inline const char *pgl_witness_place(void)
{
    return NULL;
}

static inline uint64_t pgl_witness_index(const struct pgl_page *page)
{
    (void)page;
    return 0;
}

static inline void pgl_witness_calls(const char *name)
{
    (void)name;
}

static inline void pgl_witness_returns(void)
{
}

static inline bool pgl_witness_resets(const struct pgl_table *table, uint64_t first_locked, const char *place)
{
    (void)table, (void)first_locked, (void)place;
    return true;
}

static inline void pgl_witness_frees(struct pgl_table *table, uint64_t first_locked)
{
    (void)table, (void)first_locked;
}

static inline void pgl_witness_breach(enum pgl_breach_kind kind, uint64_t index, const char *place,
                                      const char *linked_place)
{
    (void)kind, (void)index, (void)place, (void)linked_place;
}

static inline void pgl_witness_linked(struct pgl_table *table, struct pgl_tb *tb, const char *place)
{
    (void)table, (void)tb, (void)place;
}

static inline void pgl_witness_unlinked(struct pgl_tb *tb)
{
    (void)tb;
}

static inline bool pgl_witness_may_link(struct pgl_tb *tb, uint64_t index, const char *place)
{
    (void)tb, (void)index, (void)place;
    return true;
}

static inline bool pgl_witness_knows(const struct pgl_table *table, const struct pgl_tb *tb, bool linked_once,
                                     const char *place)
{
    (void)table, (void)tb, (void)linked_once, (void)place;
    return true;
}

static inline void pgl_witness_list(const struct pgl_table *table, struct pgl_page *page, uint64_t index)
{
    (void)table, (void)page, (void)index;
}

static inline void pgl_witness_forget(const struct pgl_table *table)
{
    (void)table;
}

#endif
#endif
