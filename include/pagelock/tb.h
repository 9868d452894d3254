/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Translation blocks are linked to the pages that their guest bytes are on, and die when a store writes these bytes.
 *
 * The emulator translates a block inside a bracket (pgl_bracket_begin() ... pgl_bracket_commit()). The bracket holds
 * the pages of the block from before the first guest byte is read until the block can be found. A block dies once, by
 * the first call that claims it. docs/locking.md has the protocol, and says which calls may run at the same time.
 */
#ifndef PGL_PAGELOCK_TB_H
#define PGL_PAGELOCK_TB_H

#include <pagelock/collection.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * enum pgl_tb_state - the life of a block
 * @PGL_TB_NEW: initialized by pgl_tb_init(), never linked
 * @PGL_TB_LIVE: linked
 * @PGL_TB_DEAD: claimed by an invalidation
 */
enum pgl_tb_state {
    PGL_TB_NEW,
    PGL_TB_LIVE,
    PGL_TB_DEAD,
};

/**
 * struct pgl_tb - the part of a caller's translation block that belongs to the library
 *
 * This is a member of the caller's own struct, and is aligned to 16 bytes. malloc() aligns so on 64-bit machines, and
 * the caller does it elsewhere. The caller keeps the memory from pgl_tb_init() until no thread can have a pointer to
 * the block any more. A thread may have one because it runs the block, because pgl_bracket_commit() returned it, or
 * because it is in pgl_invalidate_tb() or pgl_invalidate_tbs() or about to call it. The library follows no pointer to a block after it has
 * called `retired` with it. The members are private.
 */
struct pgl_tb;

/**
 * struct pgl_tb_ops - the emulator's callbacks
 *
 * The library calls all of them with page locks held, except `retired` of a block on no page. A callback locks no
 * page, begins no bracket, invalidates nothing, and calls no function of this library that does. It neither longjmps
 * nor throws (PGL_NOEXCEPT), and passes no cancellation point with cancellation enabled, because each of these would
 * leave the pages locked. In the emulator's lock order, a lock that a callback takes comes after the page locks. A
 * thread that holds such a lock invalidates nothing, not even a block on no page.
 *
 * @first_code: a bracket has locked page @index, which has no code. When this returns, every store to the page that did
 *      not trap is visible, and every later one traps. It never waits for a thread that may want a page. May be NULL.
 * @no_code: page @index has no block, and is about to be unlocked. This is the only place where the emulator may
 *      remove the trap. A vCPU may still be running a dead block of the page, and its stores no longer trap. If a block
 *      must stop as soon as it overwrites itself, let stores test pgl_tb_is_live(), or let `retired` kick out the vCPUs
 *      that run the block. May be NULL.
 * @publish: makes @tb findable and returns NULL or @tb. If an equal block (same page addresses, and same everything
 *      that the emulator compares) can be found already, it returns that one and does not touch @tb. @tb is alive and
 *      about to be listed. An equal block is alive too, because `retired` makes dead blocks unfindable. NULL for an
 *      emulator that finds its blocks only by the lists of their pages.
 * @retired: all blocks of @chain died in one call, or in one portion of it. Make each of them unfindable, and then wipe
 *      the caches that may hold them, once for all. Walk @chain with pgl_tb_chain_next(), and read the next block
 *      before the memory of one is freed. Other threads may wait until it returns: those that lock a page of these
 *      blocks, or that store to the page of a store that killed them, even where it has no code. Must not be NULL.
 */
struct pgl_tb_ops {
    void (*first_code)(uint64_t index, void *opaque) PGL_NOEXCEPT;
    void (*no_code)(uint64_t index, void *opaque) PGL_NOEXCEPT;
    struct pgl_tb *(*publish)(struct pgl_tb *tb, void *opaque)PGL_NOEXCEPT;
    void (*retired)(struct pgl_tb *chain, void *opaque) PGL_NOEXCEPT;
};

/**
 * pgl_tb_init() - initialize a block, on no page
 * @tb: the caller's; fresh memory, or a dead block to which no thread has a pointer
 *
 * Locks:    none.
 */
PGL_API void pgl_tb_init(struct pgl_tb *tb);

/**
 * pgl_tb_set_bytes() - set the guest bytes that a new block was translated from
 * @tb: new
 * @which: 0 for the page on which it begins, 1 for its second page (higher, lower, or the same one again)
 * @first_addr, @last_addr: guest-physical byte addresses, inclusive, on one page
 *
 * Locks:    none.
 */
PGL_INLINE void pgl_tb_set_bytes(struct pgl_tb *tb, unsigned which, uint64_t first_addr, uint64_t last_addr);

/**
 * struct pgl_extent - bytes of a block that lie on one page, and their place on the list of that page
 *
 * A block with one extent or two has room for them in itself. A block with more (a superblock, a literal pool) needs an
 * array of these. The members are private.
 */
struct pgl_extent;

/**
 * pgl_extent_set() - set the guest bytes of an extent that is not yet a block's
 * @extent: the caller's
 * @first_addr, @last_addr: guest-physical byte addresses, inclusive, on one page
 *
 * Locks:    none.
 */
PGL_INLINE void pgl_extent_set(struct pgl_extent *extent, uint64_t first_addr, uint64_t last_addr);

/**
 * pgl_tb_set_extents() - set all guest bytes that a new block was translated from, in any number of extents
 * @tb: new; pgl_tb_set_bytes() is not called for it as well
 * @extents: each set by pgl_extent_set(), in any order, on any pages, several on one page too. The array is copied if
 *      @n is 2 or less. Otherwise it belongs to the block as long as the memory of @tb does.
 * @n: their number
 *
 * Locks:    none.
 * Owns:     @extents stays the caller's.
 */
PGL_INLINE void pgl_tb_set_extents(struct pgl_tb *tb, struct pgl_extent *extents, unsigned n);

/**
 * pgl_tb_count_extents() - return the number of extents of a block
 * pgl_tb_first_addr() - return the first guest byte of an extent
 * pgl_tb_last_addr() - return the last guest byte of an extent
 * @tb: initialized; not being changed by another thread
 * @which: number of the extent, from 0; an extent that the block lacks has the bytes [1, 0]
 *
 * The bytes of a block do not change while it is linked, and stay as they are when it has died.
 *
 * Locks:    none; wait-free.
 */
PGL_INLINE unsigned pgl_tb_count_extents(const struct pgl_tb *tb);
PGL_INLINE uint64_t pgl_tb_first_addr(const struct pgl_tb *tb, unsigned which);
PGL_INLINE uint64_t pgl_tb_last_addr(const struct pgl_tb *tb, unsigned which);

/**
 * pgl_tb_is_live() - tell whether a block is linked and not dead
 * @tb: initialized
 *
 * A vCPU that caches a block without a lock stores it in its cache, calls pgl_fence(), and then calls this. If the
 * result is false, it removes the block from the cache. The killer marks the block dead, fences, and then calls
 * `retired`, which wipes the caches. pgl_cache_tb() does all this for a vCPU.
 *
 * Locks:    none; wait-free.
 * Ordering: acquire; pairs with the release store of the claim.
 */
PGL_INLINE bool pgl_tb_is_live(const struct pgl_tb *tb);

/**
 * pgl_cache_tb() - cache a block without a lock, as long as it is alive
 * @slot: a place in a cache that this thread alone fills, such as its vCPU's jump cache; `retired` may clear it
 * @tb: has been found a moment ago, and its memory is not reused meanwhile
 *
 * The call stores @tb to *@slot, fences, and looks again whether @tb is alive. If it is not, the call stores NULL to
 * the slot. `retired` looks into the slot of each vCPU with atomic accesses, and removes the dead.
 *
 * Returns true when the block stays in the slot, until `retired` removes it. False means that it is dead: look the
 * block up again.
 *
 * Locks:    none; wait-free.
 * Ordering: a full fence between the store to the slot and the look at the block; pairs with the fence before
 *           `retired`.
 */
PGL_INLINE bool pgl_cache_tb(struct pgl_tb **slot, struct pgl_tb *tb);

/**
 * pgl_tb_chain_next() - return the next block of a chain, or NULL
 * @tb: a block of the chain that `retired` was called with
 *
 * Locks:    none; called inside `retired`.
 * Errors:   NULL after the last block.
 */
PGL_INLINE struct pgl_tb *pgl_tb_chain_next(const struct pgl_tb *tb);

/**
 * pgl_fence() - a full memory fence
 *
 * On x86-64 this is a locked instruction on the top of the stack, which is as strong as mfence for ordinary memory and
 * costs a quarter of it. Under a thread sanitizer it is a sequentially consistent read-modify-write, because
 * gcc's thread sanitizer knows no fences.
 *
 * Locks:    none; wait-free.
 * Ordering: a full fence.
 */
PGL_INLINE void pgl_fence(void);

/* ---- translating ---- */

/* The number of stores that a bracket can remember. */
#define PGL_BRACKET_STORES 8u

/**
 * struct pgl_bracket - the span in which a thread translates one block
 *
 * The caller provides the memory, on its stack, or in the vCPU if a jump may leave the translator. The memory stays
 * where it is while the bracket is open. The members are private.
 */
struct pgl_bracket;

/**
 * enum pgl_bracket_result - the result of a step of a bracket
 * @PGL_BRACKET_OK: after a cross, the page is held too, and decoding goes on. After a commit, the block is linked and
 *      findable, and nothing is held.
 * @PGL_BRACKET_RESTART: the decoded bytes are void, those of every page. All pages are held again, after a cross with
 *      the page that it named. Decode from the beginning; the new decoding may name other pages.
 * @PGL_BRACKET_EXISTS: after a commit, an equal block is findable already. Nothing is held, and the new block was never
 *      linked.
 * @PGL_BRACKET_ERROR: errno is ENOMEM or EINVAL, and the bracket is unchanged. Abort it, or go on in another way.
 */
enum pgl_bracket_result {
    PGL_BRACKET_OK,
    PGL_BRACKET_RESTART,
    PGL_BRACKET_EXISTS,
    PGL_BRACKET_ERROR,
};

/**
 * pgl_bracket_begin() - begin to translate a block
 * @bracket: the caller's, filled in
 * @table: borrowed until the bracket ends
 * @index: the page on which the block begins; allocated if it is absent
 *
 * When this returns true, the page is held, trapped (`first_code`) and fenced, and the caller may read guest bytes of
 * the page.
 *
 * Locks:    entry: this thread holds no page and has no bracket. Exit: the page.
 * Ordering: acquire on the page, and a full fence; pairs with the fence of pgl_store_check().
 * Blocks:   allocates before it locks; spins, yields, sleeps.
 * Owns:     the caller; ends with pgl_bracket_commit() or pgl_bracket_abort().
 * Errors:   false with nothing held; ENOMEM; EINVAL when @index lies beyond the table.
 */
PGL_API bool pgl_bracket_begin(struct pgl_bracket *bracket, struct pgl_table *table, uint64_t index);

/**
 * pgl_bracket_is_open() - tell whether a bracket is open
 * @bracket: in zeroed memory, begun, or ended
 *
 * True from pgl_bracket_begin() until pgl_bracket_commit() or pgl_bracket_abort() has ended the bracket. A bracket whose
 * memory is all zeros is not open. A page-table walker that is called inside a bracket and outside calls this with the
 * bracket of its vCPU to choose between pgl_bracket_store() and pgl_store_check(). The clean-up behind a long jump calls
 * it to know whether there is a bracket to abort.
 *
 * Locks:    none; wait-free. The thread that the bracket belongs to calls it.
 */
PGL_INLINE bool pgl_bracket_is_open(const struct pgl_bracket *bracket);

/**
 * pgl_bracket_cross() - go on to another page of the block
 * @bracket: begun
 * @index: any page; one that the bracket holds needs no lock
 *
 * After PGL_BRACKET_OK the caller may read bytes of the page, as of all pages that it has named since the bracket began
 * or restarted. A block may lie on any number of pages, in any order (a superblock, a literal pool, the target of an
 * EXECUTE). The call locks a page above all held ones outright, and tries any other. If the other is busy, the call
 * unlocks the pages above it and locks them in order again, which makes all decoded bytes void (PGL_BRACKET_RESTART).
 *
 * The pages of a void decoding stay held. When the new decoding comes to a page that is not held, those that it has not
 * named by then are unlocked; those that it never names are unlocked at the end of the bracket. A decoding that finds
 * the bytes unchanged therefore restarts at most once for each page. A caller that begins a new decoding by itself goes
 * on with the bracket as it is, and the pages that it does not need stay held until the end.
 *
 * Locks:    entry: the bracket's pages. Exit: the pages that this decoding has named, with @index; if the call failed,
 *           the same as before.
 * Ordering: acquire on each page that it locks, and a full fence after them.
 * Blocks:   may allocate the page's leaf, and memory for more than four pages; spins, yields, sleeps; for remembered
 *           stores as pgl_store_check().
 * Errors:   PGL_BRACKET_ERROR with the bracket unchanged; ENOMEM; EINVAL when @index lies beyond the table.
 */
PGL_API enum pgl_bracket_result pgl_bracket_cross(struct pgl_bracket *bracket, uint64_t index);

/**
 * pgl_bracket_store() - check a store that was made while translating
 * @bracket: begun
 * @addr, @len: the bytes, any number, already stored (for example an accessed bit that a page-table walk has set)
 *
 * The call checks the store at once if it can do so without waiting. Otherwise, and always for a page of the bracket,
 * the bracket remembers the store. The next cross or commit then invalidates, and returns PGL_BRACKET_RESTART. The
 * second decoding need not store again. Blocks die by the bytes of each store, for any number of stores. When the
 * bracket has remembered PGL_BRACKET_STORES stores and has to remember one more, the call unlocks the bracket's pages,
 * checks the remembered stores, and locks the same pages again. The decoded bytes are void then, and so is all that
 * the caller read from the lists of these pages.
 *
 * Returns PGL_BRACKET_OK when the decoded bytes are still good, and PGL_BRACKET_RESTART when a restart is due. In that
 * case go on to the next cross or commit, or to the abort.
 *
 * Locks:    entry and exit: the bracket's pages.
 * Ordering: a full fence between the store and the check.
 * Blocks:   not for the first PGL_BRACKET_STORES stores that are remembered; then as pgl_bracket_commit().
 * Errors:   PGL_BRACKET_ERROR with EINVAL for bytes beyond the table.
 */
PGL_API enum pgl_bracket_result pgl_bracket_store(struct pgl_bracket *bracket, uint64_t addr, uint64_t len);

/**
 * pgl_bracket_commit() - link a block to its pages and make it findable
 * @bracket: begun; ended by this call unless it returns PGL_BRACKET_RESTART
 * @tb: new; its bytes lie on the pages of the bracket. They are all bytes that the block depends on. A page that the
 *      decoder has looked at, and that has none of them, needs no extent.
 * @equal: out, may be NULL: the block that can be found now, which is @tb or the equal one that `publish` returned. The
 *      caller prevents its reuse while it looks at it.
 *
 * Returns PGL_BRACKET_OK, PGL_BRACKET_EXISTS or PGL_BRACKET_RESTART.
 *
 * Locks:    entry: the bracket's pages. Exit: none; after PGL_BRACKET_RESTART the bracket's pages.
 * Ordering: release on each page; after PGL_BRACKET_RESTART as pgl_bracket_begin().
 * Blocks:   only when stores are remembered; then as pgl_store_check() and pgl_bracket_begin().
 * Owns:     @tb stays the caller's, and the library links it until `retired` is called with it.
 * Errors:   PGL_BRACKET_ERROR with EINVAL, and the bracket aborted, when the table has no callbacks, or a lock_debug
 *           library has reported @tb and the hook has returned. There is no other error.
 */
PGL_API enum pgl_bracket_result pgl_bracket_commit(struct pgl_bracket *bracket, struct pgl_tb *tb,
                                                   struct pgl_tb **equal);

/**
 * pgl_bracket_abort() - end a bracket without a block
 * @bracket: begun
 *
 * The call checks the stores that the bracket has remembered before it returns.
 *
 * Locks:    entry: the bracket's pages. Exit: none.
 * Ordering: release on each page.
 * Blocks:   only when stores are remembered; then as pgl_store_check().
 */
PGL_API void pgl_bracket_abort(struct pgl_bracket *bracket);

/**
 * pgl_tb_link_unlisted() - make a block live that is on no page (one-shot or uncached code)
 * @table: borrowed
 * @tb: new, without bytes
 *
 * The block is on no list, therefore neither a store nor pgl_flush() kills it. pgl_invalidate_tb() claims it and calls
 * `retired` once.
 *
 * Locks:    none.
 * Ordering: release; pairs with the acquire of pgl_tb_is_live().
 * Owns:     @tb stays the caller's.
 */
PGL_API void pgl_tb_link_unlisted(struct pgl_table *table, struct pgl_tb *tb);

/* ---- the blocks of a page ---- */

/**
 * pgl_page_foreach_tb() - walk the blocks of a page
 * @table: borrowed
 * @page: locked by this thread
 * @visit: called once for each block; returns false to stop the walk; neither links nor kills a block
 * @opaque: passed to @visit
 *
 * Returns false when @visit has returned false.
 *
 * Locks:    entry and exit: @page.
 */
PGL_API bool pgl_page_foreach_tb(struct pgl_table *table, struct pgl_page *page,
                                 bool (*visit)(struct pgl_tb *tb, void *opaque) PGL_NOEXCEPT, void *opaque)
    PGL_ANNOTATE(requires_capability(page));

/**
 * pgl_tb_lock_pages() - lock the pages of a block, in order, equal ones once
 * pgl_tb_unlock_pages() - unlock the pages of a block
 * @table: borrowed
 * @tb: linked, alive or dead; a block on no page has nothing to lock
 *
 * Test pgl_tb_is_live() after locking, because the block may have died before.
 *
 * Locks:    lock: entry: this thread holds no page; exit: the pages of @tb. Unlock: the other way round.
 * Ordering: lock: acquire on each page. Unlock: release on each page.
 * Blocks:   lock: spins, yields, sleeps.
 * Owns:     lock: the caller; release with pgl_tb_unlock_pages().
 */
PGL_API void pgl_tb_lock_pages(struct pgl_table *table, const struct pgl_tb *tb);
PGL_API void pgl_tb_unlock_pages(struct pgl_table *table, const struct pgl_tb *tb);

/* ---- invalidating ---- */

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
 * Blocks:   spins, yields, sleeps; does not allocate.
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
 * For an emulator that evicts chosen blocks. The call kills in portions, as pgl_invalidate_range(); a portion is larger
 * if it looked at twice as many blocks as it kills. One walk of a page's
 * list kills all blocks of the array that are on the page. Blocks of one leaf (512 neighbouring pages) that come one
 * after the other share a portion. A block on no page is a portion of its own. When this returns, `retired` has returned
 * for each block, in this call or in another thread's.
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
 * the time for which a page is held grows with the number of its blocks, chosen or not.
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
 * each page. It calls neither `retired` nor `no_code`, and touches no block. From now on the memory of all blocks of the
 * table, those on no page too, is the caller's, and nothing may be asked about them: no call gets a pointer to one, as a
 * running block neither, until pgl_tb_init() has made it new.
 *
 * The traps stay. A page that had code counts as a page with code that lists no block. The next store check, store
 * bracket or invalidation that meets the page locks it, calls `no_code` under the lock, once, and reports no hit. The
 * next bracket on the page calls `first_code`, as for every page without blocks.
 *
 * Locks:    entry and exit: no thread holds a page of the table or has a bracket.
 * Ordering: none; the caller's exclusive section orders the call with those of other threads.
 */
PGL_API void pgl_table_reset(struct pgl_table *table);

/* ---- stores ---- */

/**
 * pgl_store_is_clean() - tell without a lock that a store, already made, has met no code
 * @table: borrowed
 * @addr, @len: the bytes; the result is false unless they are 1 or more on one page
 *
 * This is the inline part of pgl_store_check(). False means only that the question needs a lock.
 *
 * Locks:    none; wait-free.
 * Ordering: a full fence between the store and the look-up.
 */
PGL_INLINE bool pgl_store_is_clean(const struct pgl_table *table, uint64_t addr, uint64_t len);

/**
 * pgl_store_check() - kill the blocks whose bytes a guest store, already made, has written
 * @table: borrowed
 * @addr, @len: the bytes, any number, possibly across a page's end (the next page is then the next guest-physical
 *      one). A store of no bytes meets no code, whatever @addr is.
 * @running: the block that this vCPU is in, or NULL
 *
 * The caller stores first, and then calls this. Until the call returns, another vCPU may see the new bytes and still
 * run the old block. An emulator that must invalidate before it stores uses pgl_store_begin(). A store that meets no
 * code costs a fence and a few loads. A false alarm of the page's filters costs a lock of the page and a walk of its
 * list besides. A store over several pages asks the filters of each page that has code, skips absent subtrees, and
 * locks only between the first and the last page whose filters raise an alarm.
 *
 * Returns a set of PGL_HIT and PGL_RUNNING_DEAD, or PGL_ERROR. After PGL_RUNNING_DEAD the vCPU leaves its block before
 * it runs another guest instruction.
 *
 * Locks:    entry and exit: this thread holds no page and has no bracket.
 * Ordering: a full fence between the store and the look-up.
 * Blocks:   not when the page's filters say that the store meets no code. Otherwise it waits for the page. It allocates
 *           an exact map, with no page held, for a page whose filters have raised several false alarms, and goes on
 *           without one if there is no memory. For blocks that die on two pages as pgl_invalidate_range().
 * Errors:   PGL_ERROR with EINVAL, and nothing killed, for bytes beyond the table.
 */
PGL_API int pgl_store_check(struct pgl_table *table, uint64_t addr, uint64_t len, const struct pgl_tb *running);

/**
 * pgl_store_u8() - store a byte into guest memory, and check the store
 * pgl_store_u16() - the same for 2 bytes
 * pgl_store_u32() - the same for 4 bytes
 * pgl_store_u64() - the same for 8 bytes
 * @table: borrowed
 * @host: where the guest's bytes lie in the memory of this process
 * @addr: the guest-physical address of the same bytes
 * @value: in the byte order of the host; the caller swaps the bytes of a guest of the other order
 * @running: the block that this vCPU is in, or NULL
 *
 * The call stores and does what pgl_store_check() does. The store is a single atomic access when @host is a multiple of
 * its size. Otherwise other threads may see some of its bytes before the others, and the bytes may lie on two pages
 * only if these two pages are neighbours in the memory of this process too.
 *
 * Returns, locks, orders and waits as pgl_store_check().
 *
 * Locks:    entry and exit: this thread holds no page and has no bracket.
 * Ordering: a full fence between the store and the look-up.
 * Blocks:   as pgl_store_check().
 * Errors:   PGL_ERROR with EINVAL, after the store, for bytes beyond the table.
 */
PGL_API int pgl_store_u8(struct pgl_table *table, void *host, uint64_t addr, uint8_t value,
                         const struct pgl_tb *running);
PGL_API int pgl_store_u16(struct pgl_table *table, void *host, uint64_t addr, uint16_t value,
                          const struct pgl_tb *running);
PGL_API int pgl_store_u32(struct pgl_table *table, void *host, uint64_t addr, uint32_t value,
                          const struct pgl_tb *running);
PGL_API int pgl_store_u64(struct pgl_table *table, void *host, uint64_t addr, uint64_t value,
                          const struct pgl_tb *running);

/**
 * struct pgl_store - a store bracket, which holds the pages of a store over invalidation and store. Private members.
 */
struct pgl_store;

/**
 * pgl_store_begin() - kill the blocks that a store will meet, and keep its pages locked
 * pgl_store_begin_pair() - the same for a store to two places
 * @store: the caller's, filled in
 * @table: borrowed until pgl_store_end()
 * @addr, @len: the bytes to be stored, any number, possibly across a page's end; with no byte, nothing is held
 * @addr2, @len2: the bytes at the second place, anywhere, on the pages of the first too
 * @running: the block that this vCPU is in, or NULL
 *
 * The caller stores, and then calls pgl_store_end(). No thread translates the old bytes in between. A store that the
 * filters of its pages rule out costs a lock and an unlock of each page. The call asks the filters when it holds all
 * pages of the store. If they raise an alarm, it unlocks the pages, does what pgl_store_check() does, and locks them
 * again.
 *
 * A thread has one store bracket at a time. With two, threads that begin them in opposite order would wait for each
 * other for ever. An instruction that stores to two places at once, such as an exchange of two operands in memory, has
 * one bracket over both.
 *
 * Returns a set of PGL_HIT and PGL_RUNNING_DEAD, or PGL_ERROR.
 *
 * Locks:    entry: this thread holds no page and has no bracket, a store bracket neither. Exit: the pages of the store
 *           (none after PGL_ERROR).
 * Ordering: acquire on each page; pairs with the release in pgl_page_unlock().
 * Blocks:   allocates the pages that are absent, before it locks any; spins, yields, sleeps; after an alarm as
 *           pgl_store_check().
 * Owns:     the caller; ends with pgl_store_end().
 * Errors:   PGL_ERROR with nothing held; EINVAL for bytes beyond the table; ENOMEM.
 */
PGL_API int pgl_store_begin(struct pgl_store *store, struct pgl_table *table, uint64_t addr, uint64_t len,
                            const struct pgl_tb *running);
PGL_API int pgl_store_begin_pair(struct pgl_store *store, struct pgl_table *table, uint64_t addr, uint64_t len,
                                 uint64_t addr2, uint64_t len2, const struct pgl_tb *running);

/**
 * pgl_store_end() - end a store bracket after the store
 * @store: begun
 *
 * Locks:    entry: the pages of the store. Exit: none.
 * Ordering: release; pairs with the acquire of the next bracket on the page.
 */
PGL_API void pgl_store_end(struct pgl_store *store);

/* ---- checking ---- */

/**
 * pgl_table_check() - verify every invariant of a table at rest
 * @table: borrowed
 * @say: called with each violation in words, or NULL
 * @opaque: passed to @say
 *
 * No page is locked. Every listed block is alive, and each of its extents is listed once on its page, which has a leaf.
 * The mask, exact map, index, code bitmap and crossing flag of each page are exactly those of its list. Every child is
 * in its parent's bitmap. The figures are right.
 *
 * Returns the number of violations: 0 for a sound table.
 *
 * Locks:    entry and exit: no thread holds a page or is in a call on the table.
 */
PGL_API unsigned pgl_table_check(const struct pgl_table *table,
                                 void (*say)(const char *what, void *opaque) PGL_NOEXCEPT, void *opaque);

#ifdef __cplusplus
}
#endif

#include <pagelock/inline/tb.h>
#include <pagelock/inline/fence.h>
#include <pagelock/inline/bracket.h>
#include <pagelock/inline/filter.h>
#include <pagelock/inline/store.h>

#endif
