/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Brackets, in which the emulator translates blocks. A bracket holds the pages of its block from before the first guest
 * byte is read until the block can be found.
 */
#ifndef PGL_PAGELOCK_BRACKET_H
#define PGL_PAGELOCK_BRACKET_H

#include <pagelock/block.h>

#ifdef __cplusplus
extern "C" {
#endif

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
 * @PGL_BRACKET_ERROR: errno is ENOMEM or EINVAL. The bracket is unchanged: abort it, or go on in another way. After a
 *      commit it has been aborted.
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
 * Ordering: acquire on the page, and a full fence; pairs with the fence of pgl_store_check(). In a table with
 *           asymmetric fences, membarrier(2) makes every thread of the process fence.
 * Blocks:   allocates before it locks; spins, yields, sleeps.
 * Owns:     the caller; ends with pgl_bracket_commit() or pgl_bracket_abort().
 * Errors:   false with nothing held; ENOMEM; EINVAL when @index lies beyond the table.
 */
PGL_API bool pgl_bracket_begin(struct pgl_bracket *bracket, struct pgl_table *table, uint64_t index);

/**
 * pgl_bracket_is_open() - tell whether a bracket is open
 * @bracket: in zeroed memory, begun, or ended
 *
 * True from pgl_bracket_begin() until pgl_bracket_commit() or pgl_bracket_abort() has ended the bracket. A bracket in
 * zeroed memory is not open, and a begin that fails leaves the memory as it is. A page-table walker that is called
 * inside a bracket and outside calls this with the bracket of its vCPU to choose between pgl_bracket_store() and
 * pgl_store_check(). The clean-up behind a long jump calls it to know whether there is a bracket to abort.
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

#ifdef __cplusplus
}
#endif

#include <pagelock/inline/bracket.h>

#endif
