/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The page lock is one bit in the descriptor's head. Threads lock pages in ascending order of page index.
 */
#ifndef PGL_PAGELOCK_PAGE_H
#define PGL_PAGELOCK_PAGE_H

#include <pagelock/table.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * pgl_page_lock() - lock a page
 * @table: borrowed; the table that @page belongs to
 * @page: from pgl_page_find() or pgl_page_get()
 *
 * Locks:    entry: every page that this thread holds has a lower index and is of the same table. Exit: @page too.
 * Ordering: acquire; pairs with the release in pgl_page_unlock().
 * Blocks:   spins, yields, then sleeps; a waiter that has slept for some milliseconds gets the page next. No
 *           cancellation point; not async-signal-safe.
 * Owns:     the caller; release with pgl_page_unlock().
 */
PGL_API void pgl_page_lock(struct pgl_table *table, struct pgl_page *page) PGL_ANNOTATE(acquire_capability(page));

/**
 * pgl_page_trylock() - lock a page if no thread holds it and no waiter starves for it
 * @table: borrowed; the table that @page belongs to
 * @page: from pgl_page_find() or pgl_page_get()
 *
 * Returns true when it has locked the page, and false when a thread holds it, or when another thread has waited for it
 * so long that it gets it next. The call repeats a swap that failed although the page was unlocked. After false, do not
 * try again and again: unlock the pages above this one and call pgl_page_lock().
 *
 * Locks:    entry: this thread does not hold @page; it may hold any other pages of the same table. Exit: @page when
 *           true.
 * Ordering: acquire when true; pairs with the release in pgl_page_unlock().
 * Owns:     the caller when true; release with pgl_page_unlock().
 */
PGL_API bool pgl_page_trylock(struct pgl_table *table, struct pgl_page *page)
    PGL_ANNOTATE(try_acquire_capability(true, page));

/**
 * pgl_page_unlock() - unlock a page
 * @table: borrowed; the table that @page belongs to
 * @page: locked by this thread
 *
 * Locks:    entry: @page. Exit: not @page.
 * Ordering: release; pairs with the acquire of the next thread that locks it.
 */
PGL_API void pgl_page_unlock(struct pgl_table *table, struct pgl_page *page) PGL_ANNOTATE(release_capability(page));

/**
 * pgl_page_lock_pair() - lock two pages, and allocate them if they are absent
 * @table: borrowed
 * @index, @index2: page indices, in any order; equal ones are locked once
 *
 * Returns true when it has locked both, the lower first.
 *
 * Locks:    entry: this thread holds no page. Exit: both, when true.
 * Ordering: acquire on each page; pairs with the release in pgl_page_unlock().
 * Blocks:   allocates before it locks; spins, yields, sleeps.
 * Owns:     the caller; release with pgl_page_unlock_pair().
 * Errors:   false with nothing locked; ENOMEM; EINVAL when an index lies beyond the table.
 */
PGL_API bool pgl_page_lock_pair(struct pgl_table *table, uint64_t index, uint64_t index2);

/**
 * pgl_page_unlock_pair() - unlock the pages that pgl_page_lock_pair() locked
 * @table: borrowed
 * @index, @index2: as for pgl_page_lock_pair()
 *
 * Locks:    entry: both pages. Exit: neither.
 * Ordering: release on each page.
 */
PGL_API void pgl_page_unlock_pair(struct pgl_table *table, uint64_t index, uint64_t index2);

/**
 * pgl_page_assert_held() - in a lock_debug library, report a breach unless this thread holds the page
 * pgl_assert_none_held() - in a lock_debug library, report a breach if this thread holds any page of any table
 * @table: borrowed; the table that @page belongs to
 * @page: from pgl_page_find() or pgl_page_get()
 *
 * A vCPU loop calls pgl_assert_none_held() at its check-points, which are the places at which it may hold no page:
 * before it runs guest code, waits, or sleeps. Both calls do nothing in a release build.
 *
 * Locks:    entry and exit: @page; none.
 */
PGL_API void pgl_page_assert_held(struct pgl_table *table, struct pgl_page *page) PGL_ANNOTATE(assert_capability(page));
PGL_API void pgl_assert_none_held(void);

/**
 * enum pgl_breach_kind - the rule of the contract that a call broke
 * @PGL_BREACH_ORDER: blocking on a page lower than one held
 * @PGL_BREACH_RECURSION: locking a page that this thread holds
 * @PGL_BREACH_NOT_HELD: unlocking, asserting or walking a page that this thread does not hold; a step of a bracket that
 *      has ended
 * @PGL_BREACH_NESTED: a pair, a collection, a second bracket or store bracket, a store check or an invalidation with
 *      pages held
 * @PGL_BREACH_CHECKPOINT: pages held at a check-point
 * @PGL_BREACH_TABLES: pages of two tables held at once
 * @PGL_BREACH_TB_STATE: linking a block that is linked already, that pgl_tb_init() has not initialized, that is not
 *      aligned to 16 bytes, or whose array of extents is not, or is another linked block's; invalidating a block that
 *      was never linked; or a dead block returned by `publish`
 * @PGL_BREACH_TB_PAGE: linking a block on a page that its bracket does not hold, or with bytes that run off their page
 * @PGL_BREACH_EXTERNAL: the caller's big lock is not held
 * @PGL_BREACH_TB_TABLE: invalidating a block, or locking its pages, through another table than its own; or a block of
 *      another table returned by `publish`
 * @PGL_BREACH_TB_CHANGED: the caller changed the bytes, state or links of a linked block: it set the bytes again,
 *      initialized the block again, or used its memory for another purpose
 * @PGL_BREACH_CALLBACK: locking or unlocking pages, invalidating, or a step of a bracket, inside a callback
 * @PGL_BREACH_FREE: freeing, resetting or trimming a table while a thread holds a page of it
 * @PGL_BREACH_THREAD: a thread that ended while it held a page. It is reported on that thread, after its last call; by
 *      no thread that ends with its process, and not on Windows
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
    PGL_BREACH_THREAD,
};

/**
 * struct pgl_breach - a breach of contract, as the witness saw it
 * @kind: the rule
 * @what: the rule in words
 * @index: the page that the breach is about, or UINT64_MAX
 * @place: the place ("file:line") of the call that broke the rule; for pgl_table_free(), its name
 * @held_index: the held page that the call collides with, or UINT64_MAX
 * @held_place: the place at which that page was locked, or NULL
 * @linked_place: the place at which the block in question was linked; NULL without a block, or when it is not linked
 * @callback: the callback from which the call was made, or NULL
 * @callback_place: the place of the call that runs the callback, or NULL
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
 * pgl_witness_set_hook() - set the function that a lock_debug library calls at a breach of contract
 * @hook: called on the thread that broke the contract; NULL for the default, which prints all places and aborts
 * @opaque: passed to @hook
 *
 * When @hook returns, the call that broke the contract goes on as well as it can. It skips a lock that would hang, and
 * an unlock of a page that another thread holds. A call inside a callback does nothing at all, and fails with EINVAL if
 * it has an errno. The library restores a linked block that was changed. The hook is one for the whole process. A
 * release build never calls it.
 *
 * Locks:    entry: no other thread is in the library.
 * Owns:     @hook and @opaque are borrowed until the next call.
 */
PGL_API void pgl_witness_set_hook(void (*hook)(const struct pgl_breach *breach, void *opaque) PGL_NOEXCEPT,
                                  void *opaque);

#ifdef __cplusplus
}
#endif

#include <pagelock/inline/page.h>

#endif
