/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The witness: in a lock_debug build it knows which pages each thread holds and where they were locked, and reports
 * what breaks the contract. In a release build every function here is empty.
 */
#ifndef PGL_WITNESS_H
#define PGL_WITNESS_H

#include <pagelock/page.h>

#ifdef PGL_LOCK_DEBUG
#define PGL_WITNESS true

/* In a lock_debug build leaves are aligned to this, so that the witness finds a descriptor's page index. */
#define PGL_LEAF_ALIGN sizeof(struct pgl_page[PGL_LEVEL_SIZE])

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

/* At the entry of a call that takes pages by itself: reports held pages, and an external lock that is not held. */
void pgl_witness_enters(const struct pgl_table *table, const char *place);

/* Reports a breach that is not about a held page. */
void pgl_witness_breach(enum pgl_breach_kind kind, uint64_t index, const char *place);

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

static inline void pgl_witness_enters(const struct pgl_table *table, const char *place)
{
    (void)table, (void)place;
}

static inline void pgl_witness_breach(enum pgl_breach_kind kind, uint64_t index, const char *place)
{
    (void)kind, (void)index, (void)place;
}

#endif
#endif
