/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Translation blocks. A block is made of guest bytes, is linked to the pages that these bytes are on, and dies once, by
 * the first call that claims it.
 */
#ifndef PGL_PAGELOCK_BLOCK_H
#define PGL_PAGELOCK_BLOCK_H

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
 * because it is in pgl_invalidate_tb() or pgl_invalidate_tbs() or about to call it. The library follows no pointer to a
 * block after it has called `retired` with it. The members are private.
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
 * @first_addr, @last_addr: guest-physical byte addresses, inclusive, on one page. The bytes [1, 0] remove the extent,
 *      and extent 0 takes extent 1 with it.
 *
 * Locks:    none.
 */
PGL_INLINE void pgl_tb_set_bytes(struct pgl_tb *tb, unsigned which, uint64_t first_addr, uint64_t last_addr);

/**
 * struct pgl_extent - bytes of a block that lie on one page, and their place on the list of that page
 *
 * A block with one extent or two has room for them in itself. A block with more (a superblock, a literal pool) needs an
 * array of these, aligned to 16 bytes as struct pgl_tb is. The members are private.
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
 * @n: their number; 0 for a block without bytes, which pgl_tb_link_unlisted() links
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

#ifdef __cplusplus
}
#endif

#include <pagelock/inline/block.h>
#include <pagelock/inline/fence.h>

#endif
