/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The page lock: one bit in the descriptor's head. Pages are locked in ascending order of page index.
 */
#ifndef PGL_PAGELOCK_PAGE_H
#define PGL_PAGELOCK_PAGE_H

#include <pagelock/table.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * pgl_page_lock(table, page) - lock a page
 * @table: borrowed; the table that @page belongs to
 * @page: from pgl_page_find() or pgl_page_get()
 *
 * Locks:    entry: every page this thread holds has a lower index and is of the same table. Exit: @page too.
 * Ordering: acquire; pairs with the release in pgl_page_unlock().
 * Blocks:   spins, yields, then sleeps, without fairness or a bound; no cancellation point; not async-signal-safe.
 */
PGL_API void pgl_page_lock(struct pgl_table *table, struct pgl_page *page) PGL_ANNOTATE(acquire_capability(page));

/**
 * pgl_page_trylock(table, page) - lock a page if nobody holds it
 *
 * Returns true when it acquired the page. A swap that failed on an unlocked word is tried again.
 *
 * Locks:    entry: not @page; any other page of the same table, in any order. Exit: @page when true.
 * Ordering: acquire when true.
 */
PGL_API bool pgl_page_trylock(struct pgl_table *table, struct pgl_page *page)
    PGL_ANNOTATE(try_acquire_capability(true, page));

/**
 * pgl_page_unlock(table, page) - unlock a page
 *
 * Locks:    entry: this thread holds @page. Exit: not @page.
 * Ordering: release; pairs with the acquire of the next one to lock it.
 */
PGL_API void pgl_page_unlock(struct pgl_table *table, struct pgl_page *page) PGL_ANNOTATE(release_capability(page));

/**
 * pgl_page_lock_pair(table, index, index2) - lock two pages, allocating them where they are absent
 * @index, @index2: page indices, in any order; equal ones are locked once
 *
 * Returns true with both locked, the lower first.
 *
 * Locks:    entry: this thread holds no page. Exit: both, when true.
 * Ordering: acquire.
 * Blocks:   allocates before it locks; spins, yields, sleeps.
 * Errors:   false with nothing locked; ENOMEM, EINVAL (an index beyond the table).
 */
PGL_API bool pgl_page_lock_pair(struct pgl_table *table, uint64_t index, uint64_t index2);

/**
 * pgl_page_unlock_pair(table, index, index2) - unlock what pgl_page_lock_pair() locked
 *
 * Locks:    entry: both pages. Exit: neither.
 * Ordering: release.
 */
PGL_API void pgl_page_unlock_pair(struct pgl_table *table, uint64_t index, uint64_t index2);

/**
 * pgl_page_assert_held(table, page) - in a lock_debug library, report unless this thread holds the page
 * pgl_assert_none_held() - a check-point: in a lock_debug library, report if this thread holds any page of any table
 *
 * A vCPU loop passes the second where no page may be held: before it runs guest code, waits, or sleeps. Both do nothing
 * in a release build.
 */
PGL_API void pgl_page_assert_held(struct pgl_table *table, struct pgl_page *page) PGL_ANNOTATE(assert_capability(page));
PGL_API void pgl_assert_none_held(void);

/**
 * enum pgl_breach_kind - how the contract was broken
 * @PGL_BREACH_ORDER: blocking on a page lower than one held
 * @PGL_BREACH_RECURSION: locking a page that this thread holds
 * @PGL_BREACH_NOT_HELD: unlocking, asserting or walking a page that this thread does not hold; a step of a bracket that
 *      has ended
 * @PGL_BREACH_NESTED: a pair, a collection, a second bracket or store bracket, a store check or an invalidation with
 *      pages held
 * @PGL_BREACH_CHECKPOINT: pages held at a check-point
 * @PGL_BREACH_TABLES: pages of two tables held at once
 * @PGL_BREACH_TB_STATE: a block linked that is linked already, was not made new by pgl_tb_init() first, or is not
 *      aligned to 16 bytes; one invalidated that was never linked; or a dead one that `publish` calls an equal
 * @PGL_BREACH_TB_PAGE: a block linked on a page that its bracket does not hold, or with bytes that run off their page
 * @PGL_BREACH_EXTERNAL: the caller's big lock is not held
 * @PGL_BREACH_TB_TABLE: a block invalidated, or its pages locked, through another table than its own; or a block of
 *      another table that `publish` calls an equal
 * @PGL_BREACH_TB_CHANGED: the bytes, state or links of a linked block are not as the library left them: they were set
 *      again, the block was made new again, or its memory serves another purpose
 * @PGL_BREACH_CALLBACK: a call that takes or unlocks pages, invalidates, or is a step of a bracket, inside a callback
 * @PGL_BREACH_FREE: a table freed while a page of it is held
 */
enum pgl_breach_kind {
    PGL_BREACH_ORDER,
    PGL_BREACH_RECURSION,
    PGL_BREACH_NOT_HELD,
    PGL_BREACH_NESTED,
    PGL_BREACH_CHECKPOINT,
    PGL_BREACH_TABLES,
    PGL_BREACH_TB_STATE,
    PGL_BREACH_TB_PAGE,
    PGL_BREACH_EXTERNAL,
    PGL_BREACH_TB_TABLE,
    PGL_BREACH_TB_CHANGED,
    PGL_BREACH_CALLBACK,
    PGL_BREACH_FREE,
};

/**
 * struct pgl_breach - a breach of contract, as the witness saw it
 * @kind: which
 * @what: the same in words
 * @index: the page it is about, or UINT64_MAX
 * @place: the call that broke it ("file:line"); of pgl_table_free() its name
 * @held_index, @held_place: the held page it collides with and where that was locked; UINT64_MAX and NULL without one
 * @linked_place: where the block that it is about was linked; NULL without a block, or when it is not linked
 * @callback, @callback_place: the callback in which the call stands, and the call that runs the callback; NULL outside
 */
struct pgl_breach {
    enum pgl_breach_kind kind;
    const char *what;
    uint64_t index;
    const char *place;
    uint64_t held_index;
    const char *held_place;
    const char *linked_place;
    const char *callback;
    const char *callback_place;
};

/**
 * pgl_witness_set_hook - replace what a lock_debug library does at a breach of contract
 * @hook: called on the thread that broke it; NULL for the default, which prints all places and aborts
 * @opaque: handed to @hook
 *
 * When @hook returns, the call that broke the contract goes on as well as it can: it leaves out a lock that would hang
 * and an unlock that would free another's, and a call inside a callback is left out altogether (EINVAL where it has an
 * errno). A linked block that was changed becomes what it was when it was linked. A release build never calls it.
 *
 * Locks:    none. For the whole process; set it while no other thread is in the library.
 */
PGL_API void pgl_witness_set_hook(void (*hook)(const struct pgl_breach *breach, void *opaque) PGL_NOEXCEPT,
                                  void *opaque);

#ifdef __cplusplus
}
#endif

#include <pagelock/inline/page.h>

#endif
