/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The calls that kill blocks: one, some, those of a range or a page, or all. */
#ifndef PGL_PAGELOCK_INVALIDATE_H
#define PGL_PAGELOCK_INVALIDATE_H

#include <pagelock/block.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The results of the invalidating calls: a set of flags, or PGL_ERROR, a negative number without any of these bits. */
#define PGL_HIT 1                   /* this call killed at least one block */
#define PGL_RUNNING_DEAD 2          /* the block that was passed as running is dead, killed by this call or another */
#define PGL_ERROR (-0x7fffffff - 1) /* the call did nothing; errno says why */

/**
 * pgl_invalidate_tb() - kill one block
 * @table: borrowed
 * @tb: has been linked; may be dead, and another thread may be killing it at the same time
 * @running: the block that this vCPU is in, or NULL
 *
 * When this returns, `retired` has returned for @tb, in this call or in another thread's.
 *
 * Returns PGL_HIT when this call killed @tb, with PGL_RUNNING_DEAD as it applies. Returns 0 for a block that was never
 * linked, and a lock_debug library reports that.
 *
 * Locks:    entry and exit: this thread holds no page, has no bracket, and holds no lock that `retired` takes.
 * Ordering: acquire and release on the pages of @tb; a full fence before `retired`.
 * Blocks:   spins, yields, sleeps; allocates only for a block on more than four leaves, before it locks, and waits until
 *           there is memory.
 */
PGL_API int pgl_invalidate_tb(struct pgl_table *table, struct pgl_tb *tb, const struct pgl_tb *running);

/**
 * pgl_invalidate_tbs() - kill an array of blocks
 * @table: borrowed
 * @tbs: each has been linked; may be dead, and may occur more than once. The caller keeps the memory of each block
 *      until the call returns.
 * @n: their number, may be 0
 * @running: the block that this vCPU is in, or NULL
 *
 * For an emulator that evicts chosen blocks. The call kills in portions, as pgl_invalidate_range(). A portion is at
 * most 512 blocks, or half of those that it looked at if that is more. One walk of a page's list kills all blocks of
 * the array that are on the page; therefore the time for which a page is held grows with the number of its blocks,
 * named or not. Blocks of one leaf (512 neighbouring pages) that come one after the other share a portion. A block on
 * no page is a portion of its own. When this returns, `retired` has returned for each block, in this call or in another
 * thread's.
 *
 * Returns PGL_HIT when this call killed any of them, with PGL_RUNNING_DEAD as it applies. A block that was never linked
 * stays as it is.
 *
 * Locks:    entry and exit: this thread holds no page, has no bracket, and holds no lock that `retired` takes.
 * Ordering: acquire and release on the pages of the blocks; a full fence before each `retired`.
 * Blocks:   as pgl_invalidate_range().
 * Errors:   PGL_ERROR with EINVAL, and nothing killed, when a lock_debug library has reported one of @tbs and the hook
 *           has returned. There is no other error.
 */
PGL_API int pgl_invalidate_tbs(struct pgl_table *table, struct pgl_tb *const *tbs, size_t n,
                               const struct pgl_tb *running);

/**
 * pgl_invalidate_range() - kill the blocks with bytes in a range
 * @table: borrowed
 * @first_addr, @last_addr: bytes, inclusive; byte-exact on every page
 * @running: the block that this vCPU is in, or NULL
 *
 * The caller stores its bytes first. Then every block that was translated from bytes of the range read before this call
 * dies. The call skips absent subtrees, pages without code, and pages whose filters say that the range meets none of
 * their code; a range that meets no code locks nothing.
 *
 * The blocks die in portions, from the lowest page of the range to the highest. A portion is at most 512 blocks on the
 * pages of one leaf (512 neighbouring pages). The call holds all pages of all blocks of a portion before any of them
 * dies, calls `retired` once for the portion, and then holds no page. Other threads may translate, store and kill
 * between two portions; a block that one of them links there was made of bytes that it read after the call began, and
 * may live. If memory runs out for a set of more than four leaves, the portion is smaller. An invalidation never fails
 * for lack of memory. GLib is the exception, because it aborts the process when it has no memory for a node of such a
 * set; a library built with -Dglib=disabled does not use GLib.
 *
 * Returns a set of PGL_HIT and PGL_RUNNING_DEAD, or PGL_ERROR.
 *
 * Locks:    entry and exit: this thread holds no page and has no bracket.
 * Ordering: a full fence between the caller's stores and the look-up; pairs with the fence in pgl_bracket_begin().
 * Blocks:   spins, yields, sleeps. Allocates, with pages held, only when the blocks of a portion are on more than four
 *           leaves.
 * Errors:   PGL_ERROR with EINVAL when @first_addr > @last_addr or beyond the table.
 */
PGL_API int pgl_invalidate_range(struct pgl_table *table, uint64_t first_addr, uint64_t last_addr,
                                 const struct pgl_tb *running);

/**
 * pgl_invalidate_if() - kill the blocks of a range that a predicate chooses
 * @table: borrowed
 * @first_addr, @last_addr: bytes, inclusive
 * @predicate: called with a live block that has bytes in the range, and with @arg; returns whether the block is to die.
 *      It obeys the rules for callbacks (struct pgl_tb_ops). It is called with page locks held, and may be called more
 *      than once for a block as long as it returns false.
 * @arg: passed to @predicate
 * @running: the block that this vCPU is in, or NULL
 *
 * The call is pgl_invalidate_range() for some of the blocks. Each portion asks about all blocks on its pages; therefore
 * the time for which a page is held grows with the number of its blocks, chosen or not. A portion is at most 512
 * blocks, or half of those that it asked about if that is more.
 *
 * Returns a set of PGL_HIT and PGL_RUNNING_DEAD, or PGL_ERROR.
 *
 * Locks:    entry and exit: this thread holds no page and has no bracket.
 * Ordering: as pgl_invalidate_range().
 * Blocks:   as pgl_invalidate_range().
 * Errors:   PGL_ERROR with EINVAL when @first_addr > @last_addr or beyond the table, or when @predicate is NULL.
 */
PGL_API int pgl_invalidate_if(struct pgl_table *table, uint64_t first_addr, uint64_t last_addr,
                              bool (*predicate)(const struct pgl_tb *tb, void *arg) PGL_NOEXCEPT, void *arg,
                              const struct pgl_tb *running);

/**
 * pgl_invalidate_page() - kill every block of a page
 * pgl_flush() - kill every block of the table that is on a page
 * @table: borrowed
 * @index: the page
 * @running: the block that this vCPU is in, or NULL
 *
 * Both do what pgl_invalidate_range() does for the bytes of one page, or of all pages, portion by portion. When
 * pgl_flush() returns, every block that was listed when it began is dead and retired. A block that was linked meanwhile
 * may be alive. A block from pgl_tb_link_unlisted() stays alive. Before the caller reuses its memory (for example when
 * it resets a code buffer), it kills the block by pgl_invalidate_tb(), or makes sure that no thread can reach it any
 * more.
 *
 * Locks:    entry and exit: this thread holds no page and has no bracket.
 * Ordering: as pgl_invalidate_range().
 * Blocks:   as pgl_invalidate_range().
 * Errors:   PGL_ERROR with EINVAL when @index lies beyond the table.
 */
PGL_API int pgl_invalidate_page(struct pgl_table *table, uint64_t index, const struct pgl_tb *running);
PGL_API int pgl_flush(struct pgl_table *table, const struct pgl_tb *running);

/**
 * pgl_table_reset() - forget all blocks of a table at once
 * @table: borrowed; no other thread is in a call on it
 *
 * For an emulator that throws all its translated code away while every vCPU is stopped. The call empties the list of
 * each page. It calls neither `retired` nor `no_code`, and touches no block. From now on the memory of all blocks of
 * the table is the caller's, and so is that of blocks on no page. Nothing may be asked about them: no call gets a
 * pointer to one, as a running block neither, until pgl_tb_init() has made it new.
 *
 * The traps stay. A page that had code counts as a page with code that lists no block. The next store check, store
 * bracket or invalidation that meets the page locks it, calls `no_code` under the lock, once, and reports no hit. The
 * next bracket on the page calls `first_code`, as for every page without blocks.
 *
 * Locks:    entry and exit: no thread holds a page of the table or has a bracket.
 * Ordering: none; the caller's exclusive section orders the call with those of other threads.
 */
PGL_API void pgl_table_reset(struct pgl_table *table);

#ifdef __cplusplus
}
#endif

#include <pagelock/inline/invalidate.h>

#endif
