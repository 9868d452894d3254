/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The witness: in a lock_debug build it knows which pages each thread holds, which blocks are linked, and where both
 * came about, and reports what breaks the contract. In a release build every function here is empty.
 */
#ifndef PGL_CODE_WITNESS_INTERNAL_H
#define PGL_CODE_WITNESS_INTERNAL_H

#include <stddef.h>

#include <pagelock/tb.h>

/* The explorer's scheduler does not see what such a function reads and writes. */
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

/* The page that a descriptor is of. */
uint64_t pgl_witness_index(const struct pgl_page *page);

/* Before a lock. False: taking the lock would hang, leave it out. */
bool pgl_witness_may_lock(struct pgl_table *table, struct pgl_page *page, bool blocking, const char *place);

/* After a lock. */
void pgl_witness_locked(struct pgl_table *table, struct pgl_page *page, const char *place);

/* Before an unlock. False: this thread does not hold the page, leave the unlock out. */
bool pgl_witness_unlocking(struct pgl_table *table, struct pgl_page *page, const char *place);

/* Reports unless this thread holds @page. */
bool pgl_witness_holds(struct pgl_table *table, struct pgl_page *page, const char *place);

/* Reports @kind if this thread holds any page. */
void pgl_witness_holds_none(enum pgl_breach_kind kind, const char *place);

/* Reports unless the caller's lock is held, of an externally locked table. @index: the page it is about, or UINT64_MAX.
 */
void pgl_witness_external(const struct pgl_table *table, uint64_t index, const char *place);

/* At a call that no callback may make. False: this thread is inside one, which is reported: leave the call out. */
bool pgl_witness_may_call(const char *place);

/*
 * At the entry of a call that takes pages by itself: reports held pages, and an external lock that is not held. False
 * as pgl_witness_may_call(), with errno EINVAL.
 */
bool pgl_witness_enters(const struct pgl_table *table, const char *place);

/*
 * The place of the call that this thread is in: of its last pgl_witness_may_call() that was true. Functions that this
 * call is made of pass it on to the witness without a parameter of theirs.
 */
const char *pgl_witness_place(void);

/* Around a callback, @name. */
void pgl_witness_calls(const char *name);
void pgl_witness_returns(void);

/*
 * Reports a page of a table that is about to be freed, and forgets those that this thread holds. @first_locked: the
 * lowest page that any thread holds, or UINT64_MAX.
 */
void pgl_witness_frees(struct pgl_table *table, uint64_t first_locked);

/* Reports a breach that is not about a held page. @linked_place: where the block was linked, or NULL. */
void pgl_witness_breach(enum pgl_breach_kind kind, uint64_t index, const char *place, const char *linked_place);

/* ---- blocks (witness_tb.c) ---- */

/* A block is being linked: it is about to become alive. */
void pgl_witness_linked(struct pgl_table *table, struct pgl_tb *tb, const char *place);

/* A block is dead, or is not linked after all. */
void pgl_witness_unlinked(struct pgl_tb *tb);

/* Reports (false) a block that is linked already, not new, or not aligned. @index: a page it is about, or UINT64_MAX. */
bool pgl_witness_may_link(struct pgl_tb *tb, uint64_t index, const char *place);

/*
 * Reports a block that is linked in another table (false), or that was changed since it was linked, which is undone
 * (true). With @linked_once it also reports (false) one that was never linked.
 */
bool pgl_witness_knows(const struct pgl_table *table, const struct pgl_tb *tb, bool linked_once, const char *place);

/*
 * Before the list of a page is walked, which this thread holds, and of which it marked no block dead: reports and
 * repairs what was changed of the blocks on it.
 */
void pgl_witness_list(const struct pgl_table *table, struct pgl_page *page, uint64_t index);

/* Forget every block of a table. */
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
