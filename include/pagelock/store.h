/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Guest stores, which kill the blocks whose bytes they write: the check after a store, and the bracket around it. */
#ifndef PGL_PAGELOCK_STORE_H
#define PGL_PAGELOCK_STORE_H

#include <pagelock/invalidate.h>

#ifdef __cplusplus
extern "C" {
#endif

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
 * Blocks:   not when the page is unlocked and its filters say that the store meets no code. Otherwise it waits for the
 *           page, unless the filters answer for a call that holds it to kill (docs/locking.md, test 14). It allocates
 *           an exact map, with no page held, for a page whose filters have raised several false alarms, or where hits
 *           have walked long lists several times, and goes on without one if there is no memory. For blocks that die
 *           on two pages as pgl_invalidate_range().
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

#ifdef __cplusplus
}
#endif

#include <pagelock/inline/store.h>

#endif
