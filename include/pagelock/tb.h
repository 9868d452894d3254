/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Translation blocks: linked to the pages their guest bytes are on, and killed when those bytes are written.
 *
 * A block is made inside a bracket (pgl_bracket_begin() ... pgl_bracket_commit()), which holds its pages from before
 * the first guest byte is read until the block can be found. It dies once, by whichever call gets to it first. See
 * docs/locking.md for the protocol and for what may run beside what.
 */
#ifndef PGL_PAGELOCK_TB_H
#define PGL_PAGELOCK_TB_H

#include <pagelock/collection.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * enum pgl_tb_state - the life of a block
 * @PGL_TB_NEW: made by pgl_tb_init(), never linked
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
 * A member of the caller's own struct, aligned to 16 bytes: malloc() does so on 64-bit machines, elsewhere the caller
 * sees to it. The memory is the caller's: from pgl_tb_init() until nobody can hold a pointer to it any more, be it to
 * run it, because it was returned by pgl_bracket_commit(), or in or about to call pgl_invalidate_tb(). The library
 * follows no pointer to a block once `retired` has been called with it.
 */
struct pgl_tb;

/**
 * struct pgl_tb_ops - what the library tells the emulator
 *
 * All run with page locks held (but for `retired` of a block on no page): they take no page, start no bracket,
 * invalidate nothing, and call nothing here that does. They neither longjmp nor throw (PGL_NOEXCEPT), and pass no
 * cancellation point with cancellation enabled: each of these would leave the pages locked. Locks of the emulator's own that they take come after the page
 * locks in its lock order; a thread that holds one of those invalidates nothing, not even a block on no page.
 *
 * @first_code: a bracket has locked page @index, which holds no code. When this returns, every store to the page that
 *      was not trapped is visible, and every later one traps. Never waits for a thread that may want a page. May be
 *      NULL.
 * @no_code: page @index is about to be unlocked without any block; only this may take the trap away. A vCPU may be
 *      running a dead block of the page even so, and its next stores find no trap: where a block that overwrites
 *      itself has to be left at once, they ask pgl_tb_is_live() themselves, or `retired` makes whoever runs it leave.
 *      May be NULL.
 * @publish: makes @tb findable and returns NULL or @tb; or returns the equal block (same page addresses, same
 *      everything the emulator compares) that can be found already, and leaves @tb alone. @tb is alive and about to be
 *      listed; an equal one is alive too, since `retired` makes the dead unfindable. NULL for an emulator that finds
 *      its blocks by their pages' lists alone.
 * @retired: @chain has died in one call: make each block unfindable, wipe the caches that may hold it once for all.
 *      Walk it with pgl_tb_chain_next(), which is to be read before a block's memory is given up. Must not be NULL.
 */
struct pgl_tb_ops {
    void (*first_code)(uint64_t index, void *opaque) PGL_NOEXCEPT;
    void (*no_code)(uint64_t index, void *opaque) PGL_NOEXCEPT;
    struct pgl_tb *(*publish)(struct pgl_tb *tb, void *opaque)PGL_NOEXCEPT;
    void (*retired)(struct pgl_tb *chain, void *opaque) PGL_NOEXCEPT;
};

/**
 * pgl_tb_init - make a block new, on no page
 * @tb: the caller's; fresh memory, or dead and out of everybody's reach
 *
 * Locks:    none.
 */
PGL_API void pgl_tb_init(struct pgl_tb *tb);

/**
 * pgl_tb_set_bytes - say which guest bytes a new block was made from
 * @tb: new
 * @which: 0 for the page it begins on, 1 for its second page (higher, lower, or the same one again)
 * @first_addr, @last_addr: guest-physical byte addresses, inclusive, on one page
 *
 * Locks:    none.
 */
PGL_INLINE void pgl_tb_set_bytes(struct pgl_tb *tb, unsigned which, uint64_t first_addr, uint64_t last_addr);

/**
 * pgl_tb_is_live - whether a block is linked and nobody has killed it
 *
 * A vCPU that puts a block into a cache of its own, without a lock, does so, passes pgl_fence(), and then asks this: a
 * false means to take it out again. The killer marks the block, fences, and then calls `retired`, which wipes the
 * caches.
 *
 * Locks:    none.
 * Ordering: acquire; pairs with the release store of the claim.
 */
PGL_INLINE bool pgl_tb_is_live(const struct pgl_tb *tb);

/**
 * pgl_tb_chain_next - the next block of a chain handed to `retired`, or NULL
 */
PGL_INLINE struct pgl_tb *pgl_tb_chain_next(const struct pgl_tb *tb);

/**
 * pgl_fence - a full memory fence
 *
 * On x86 a locked instruction on the stack's top: as strong as mfence for ordinary memory, at a quarter of its cost.
 * gcc's thread sanitizer knows no fences: under it this is a sequentially consistent read-modify-write.
 */
PGL_INLINE void pgl_fence(void);

/* ---- translating ---- */

/* Stores that a bracket remembers at a time. */
#define PGL_BRACKET_STORES 8u

/**
 * struct pgl_bracket - the span in which a thread translates one block
 *
 * The caller's: on its stack, or in the vCPU where the translator is left by a jump. Private members.
 */
struct pgl_bracket;

/**
 * enum pgl_bracket_result - what became of a step of a bracket
 * @PGL_BRACKET_OK: cross: both pages are held, go on. Commit: the block is linked and findable, nothing is held.
 * @PGL_BRACKET_RESTART: what was decoded is void; the pages are held again (both, after a cross): decode from the
 *      beginning. The second page of the new decoding may be another one.
 * @PGL_BRACKET_EXISTS: commit: an equal block is findable already; nothing is held, the new one was never linked
 * @PGL_BRACKET_ERROR: errno is ENOMEM or EINVAL; the bracket is as it was: abort it, or go on otherwise
 */
enum pgl_bracket_result {
    PGL_BRACKET_OK,
    PGL_BRACKET_RESTART,
    PGL_BRACKET_EXISTS,
    PGL_BRACKET_ERROR,
};

/**
 * pgl_bracket_begin(bracket, table, index) - begin to translate a block
 * @bracket: the caller's, filled in
 * @table: borrowed until the bracket ends
 * @index: the page on which the block begins; allocated where it is absent
 *
 * When this returns true the page is held, trapped (`first_code`) and fenced: guest bytes of the page may be read.
 *
 * Locks:    entry: this thread holds no page and has no bracket. Exit: the page.
 * Ordering: acquire on the page, and a full fence; pairs with the fence of pgl_store_check().
 * Blocks:   allocates before it locks; spins, yields, sleeps.
 * Owns:     the caller; ends with pgl_bracket_commit() or pgl_bracket_abort().
 * Errors:   false with nothing held; ENOMEM, EINVAL.
 */
PGL_API bool pgl_bracket_begin(struct pgl_bracket *bracket, struct pgl_table *table, uint64_t index);

/**
 * pgl_bracket_cross(bracket, index) - the block runs into a second page
 * @index: any page, the first one too
 *
 * Bytes of the second page may be read after PGL_BRACKET_OK. A higher page is locked; a lower one is tried, and when it
 * is busy both are taken anew in order, which makes what was decoded void (PGL_BRACKET_RESTART). A second page from
 * before a restart is kept when it is named again and let go when another is. Within one decoding there is one second
 * page: crossing to it again, or to the first page, changes nothing, and crossing to a third page is refused. A caller
 * that begins a new decoding by itself, and comes to another second page there, aborts the bracket and begins again.
 *
 * Locks:    entry: the bracket's pages. Exit: the first page, and @index unless it failed.
 * Ordering: acquire on each page taken, and a full fence after them.
 * Blocks:   may allocate the page's leaf; spins, yields, sleeps; for remembered stores as pgl_store_check().
 * Errors:   PGL_BRACKET_ERROR with ENOMEM, or with EINVAL for a third page or one beyond the table.
 */
PGL_API enum pgl_bracket_result pgl_bracket_cross(struct pgl_bracket *bracket, uint64_t index);

/**
 * pgl_bracket_store(bracket, addr, len) - a store was made while translating
 * @addr, @len: the bytes, 1 to 64, already stored (an accessed bit that a page-table walk set, say)
 *
 * Where the store can be answered at once it is; otherwise it is remembered, the next cross or commit answers
 * PGL_BRACKET_RESTART, and the invalidation has happened by then. The second decoding need not store again. Blocks die
 * by the bytes of each store, however many there are. When PGL_BRACKET_STORES stores are remembered and one more has to
 * be, the call unlocks the bracket's pages, answers the remembered ones, and locks the same pages again: what was
 * decoded is void by then, and what the caller read from their lists is too.
 *
 * Locks:    entry and exit: the bracket's pages.
 * Blocks:   not for the first PGL_BRACKET_STORES stores that are remembered; then as pgl_bracket_commit().
 * Ordering: a full fence between the store and the check.
 * Errors:   PGL_BRACKET_OK: the decoded bytes are still good; PGL_BRACKET_RESTART: a restart is due, go on to the next
 *      cross or commit, or to the abort; PGL_BRACKET_ERROR with EINVAL: a length outside 1 to 64 or bytes beyond the
 *      table.
 */
PGL_API enum pgl_bracket_result pgl_bracket_store(struct pgl_bracket *bracket, uint64_t addr, unsigned len);

/**
 * pgl_bracket_commit(bracket, tb, equal) - link a block to its pages and make it findable
 * @tb: new; its bytes lie on the pages of the bracket
 * @equal: out, may be NULL: the block that can be found now: @tb, or the equal one that @publish returned. The caller
 *      keeps it from being reused while it looks at it.
 *
 * Locks:    entry: the bracket's pages. Exit: none; after PGL_BRACKET_RESTART the bracket's pages.
 * Ordering: release on each page; after PGL_BRACKET_RESTART as pgl_bracket_begin().
 * Blocks:   not unless stores are remembered: then as pgl_store_check() and pgl_bracket_begin().
 * Errors:   none: PGL_BRACKET_OK, PGL_BRACKET_EXISTS or PGL_BRACKET_RESTART. (Where a lock_debug library reports @tb,
 *      and the hook returns: PGL_BRACKET_ERROR with EINVAL, and the bracket has been aborted.)
 */
PGL_API enum pgl_bracket_result pgl_bracket_commit(struct pgl_bracket *bracket, struct pgl_tb *tb,
                                                   struct pgl_tb **equal);

/**
 * pgl_bracket_abort(bracket) - end a bracket without a block
 *
 * Stores that were remembered are answered before it returns.
 *
 * Locks:    entry: the bracket's pages. Exit: none.
 * Blocks:   not unless stores are remembered: then as pgl_store_check().
 */
PGL_API void pgl_bracket_abort(struct pgl_bracket *bracket);

/**
 * pgl_tb_link_unlisted(table, tb) - bring a block to life that is on no page (one-shot or uncached code)
 * @tb: new, without bytes
 *
 * It is on no list, and neither a store nor pgl_flush() kills it; pgl_invalidate_tb() claims it and calls `retired`,
 * once.
 *
 * Locks:    none.
 */
PGL_API void pgl_tb_link_unlisted(struct pgl_table *table, struct pgl_tb *tb);

/* ---- the blocks of a page ---- */

/**
 * pgl_page_foreach_tb(table, page, visit, opaque) - walk the blocks of a page that one holds
 * @visit: called once a block; returns false to stop; may neither link nor kill
 *
 * Returns false when @visit did.
 *
 * Locks:    entry and exit: @page.
 */
PGL_API bool pgl_page_foreach_tb(struct pgl_table *table, struct pgl_page *page,
                                 bool (*visit)(struct pgl_tb *tb, void *opaque) PGL_NOEXCEPT, void *opaque)
    PGL_ANNOTATE(requires_capability(page));

/**
 * pgl_tb_lock_pages(table, tb) - lock the pages of a block, in order, equal ones once
 * pgl_tb_unlock_pages(table, tb) - unlock them
 * @tb: linked, alive or dead; nothing is locked for a block on no page
 *
 * Whether the block is still alive is to be asked after locking.
 *
 * Locks:    entry: none, exit: the pages of @tb; and the other way round.
 * Ordering: acquire; release.
 */
PGL_API void pgl_tb_lock_pages(struct pgl_table *table, const struct pgl_tb *tb);
PGL_API void pgl_tb_unlock_pages(struct pgl_table *table, const struct pgl_tb *tb);

/* ---- invalidating ---- */

/* Answers of the invalidating calls: a set of flags, or PGL_ERROR, which shares no bit with them and is negative. */
#define PGL_HIT 1                   /* this call killed at least one block */
#define PGL_RUNNING_DEAD 2          /* the block that was passed as running is dead, whoever killed it */
#define PGL_ERROR (-0x7fffffff - 1) /* the call did nothing; errno says why */

/**
 * pgl_invalidate_tb(table, tb, running) - kill one block
 * @tb: was linked at some time; may be dead by now, may be being killed by others at this moment
 * @running: the block that this vCPU is in, or NULL
 *
 * When this returns `retired` has returned for @tb, in this call or in another's.
 *
 * Returns PGL_HIT when this call killed it, with PGL_RUNNING_DEAD as it applies; 0 for a block that was never linked,
 * which a lock_debug library reports.
 *
 * Locks:    entry and exit: this thread holds no page, has no bracket, and holds no lock that `retired` takes.
 * Ordering: acquire and release on the pages of @tb; a full fence before `retired`.
 * Blocks:   spins, yields, sleeps; does not allocate.
 */
PGL_API int pgl_invalidate_tb(struct pgl_table *table, struct pgl_tb *tb, const struct pgl_tb *running);

/**
 * pgl_invalidate_range(table, first_addr, last_addr, running) - kill the blocks with bytes in a range
 * @first_addr, @last_addr: bytes, inclusive; byte-exact on every page
 * @running: the block that this vCPU is in, or NULL
 *
 * No block made from bytes read before this call survives it, once the caller has stored its own bytes first. Absent
 * subtrees and pages without code are skipped. All pages that are needed are held before anything dies, and `retired`
 * is called once for all. Should memory run out for a set of more than two leaves, the blocks die by pairs of pages
 * instead, with a `retired` and a walk of the page's list for each, until none is left that meets the range: slower,
 * but an invalidation never fails for want of memory.
 *
 * Returns a set of PGL_HIT and PGL_RUNNING_DEAD, or PGL_ERROR.
 *
 * Locks:    entry and exit: this thread holds no page and has no bracket.
 * Ordering: a full fence between the caller's stores and the look-up; pairs with the fence in pgl_bracket_begin().
 * Blocks:   spins, yields, sleeps; allocates only for a set that touches more than two leaves, and then, where a
 *           block's other page lies in yet another leaf, with pages held.
 * Errors:   PGL_ERROR with EINVAL when @first_addr > @last_addr or beyond the table.
 */
PGL_API int pgl_invalidate_range(struct pgl_table *table, uint64_t first_addr, uint64_t last_addr,
                                 const struct pgl_tb *running);

/**
 * pgl_invalidate_page(table, index, running) - kill every block of a page; otherwise as pgl_invalidate_range()
 * pgl_flush(table, running) - kill every block of the table that is on a page; otherwise as pgl_invalidate_range()
 *
 * A block that pgl_tb_link_unlisted() brought to life stays alive. Before its memory is used for something else (a code
 * buffer that is reset, say) the caller kills it by pgl_invalidate_tb(), or sees that no thread can reach it any more.
 */
PGL_API int pgl_invalidate_page(struct pgl_table *table, uint64_t index, const struct pgl_tb *running);
PGL_API int pgl_flush(struct pgl_table *table, const struct pgl_tb *running);

/* ---- stores ---- */

/**
 * pgl_store_is_clean - whether a store, already made, surely met no code; without a lock
 * @addr, @len: the bytes; on one page, or false is the answer
 *
 * The inline part of pgl_store_check(). False means only that the question needs a lock.
 *
 * Locks:    none; wait-free.
 * Ordering: a full fence between the store and the look-up.
 */
PGL_INLINE bool pgl_store_is_clean(const struct pgl_table *table, uint64_t addr, unsigned len);

/**
 * pgl_store_check(table, addr, len, running) - a guest store has been made: kill the blocks whose bytes it wrote
 * @addr, @len: the bytes, 1 to 64, possibly across a page's end (the next page is then the next guest-physical one)
 * @running: the block that this vCPU is in, or NULL
 *
 * The order is: store, then this. Until it returns another vCPU may see the new bytes and still run the old block; an
 * emulator that must invalidate before it stores uses pgl_store_begin(). A store that meets no code costs a fence and a
 * few loads, and where the page's filters raise a false alarm a lock of the page and the walk of its list besides.
 *
 * Returns a set of PGL_HIT and PGL_RUNNING_DEAD, or PGL_ERROR. After PGL_RUNNING_DEAD the vCPU leaves its block before
 * it runs another guest instruction.
 *
 * Locks:    entry and exit: this thread holds no page and has no bracket.
 * Ordering: a full fence between the store and the look-up.
 * Blocks:   not when the page's filters say that the store meets no code. Else waits for the page; a page on which the
 *           filters have raised several false alarms is given an exact map, allocated with no page held (without memory
 *           it goes on as it is); for blocks that die on two pages as pgl_invalidate_range().
 * Errors:   PGL_ERROR with EINVAL for a length outside 1 to 64 or bytes beyond the table: nothing was killed. For a
 *           longer store call pgl_invalidate_range() after it.
 */
PGL_API int pgl_store_check(struct pgl_table *table, uint64_t addr, unsigned len, const struct pgl_tb *running);

/**
 * struct pgl_store - a store bracket: the pages of a store, held over invalidation and store. Private members.
 */
struct pgl_store;

/**
 * pgl_store_begin(store, table, addr, len, running) - kill the blocks a store will meet, and keep its pages locked
 * @store: the caller's, filled in
 * @addr, @len: the bytes to be stored, 1 to 64, possibly across a page's end
 *
 * The caller stores, then calls pgl_store_end(): no thread translates the old bytes in between. It costs far more than
 * pgl_store_check(), because it locks the pages and walks their lists whether or not the store meets code. A thread has
 * one store bracket at a time: with two, threads that open them in opposite order wait for each other for ever.
 *
 * Returns a set of PGL_HIT and PGL_RUNNING_DEAD, or PGL_ERROR.
 *
 * Locks:    entry: this thread holds no page and has no bracket, a store bracket neither. Exit: the pages of the store
 *           (none after PGL_ERROR).
 * Blocks:   may allocate the pages, and for a set that touches more than two leaves; spins, yields, sleeps.
 * Errors:   PGL_ERROR with nothing held; EINVAL (as pgl_store_check()), ENOMEM.
 */
PGL_API int pgl_store_begin(struct pgl_store *store, struct pgl_table *table, uint64_t addr, unsigned len,
                            const struct pgl_tb *running);

/**
 * pgl_store_end(store) - the store has been made
 *
 * Locks:    entry: the pages of the store. Exit: none.
 * Ordering: release; pairs with the acquire of the next bracket on the page.
 */
PGL_API void pgl_store_end(struct pgl_store *store);

/* ---- checking ---- */

/**
 * pgl_table_check - verify every invariant of a table at rest
 * @say: called with each violation in words, or NULL
 * @opaque: handed to @say
 *
 * No page locked; every listed block alive, listed once on each of its pages, which have leaves; mask, exact map, code
 * bitmap and crossing flag exactly what the lists say; every child in its parent's bitmap; the figures right.
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
