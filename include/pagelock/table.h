/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table is a radix tree from guest-physical page index to page descriptor. An emulator has one table for each
 * guest-physical address space.
 *
 * A look-up takes no lock. The library allocates a leaf when pgl_page_get() first asks for one of its pages, and frees
 * it with the table, or in pgl_table_trim(). Until then the address of a descriptor never changes.
 */
#ifndef PGL_PAGELOCK_TABLE_H
#define PGL_PAGELOCK_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pagelock/version.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bounds of pgl_table_config.page_bits. */
#define PGL_PAGE_BITS_MIN 10u
#define PGL_PAGE_BITS_MAX 21u

/**
 * struct pgl_page - the descriptor of a page: its lock, and the blocks that are on it. Private members.
 */
struct pgl_page;

/**
 * struct pgl_table - a table of pages. Private members.
 */
struct pgl_table;

struct pgl_tb_ops;

/**
 * struct pgl_table_config - the properties of a new table
 * @page_bits: log2 of the guest's page size in bytes, 10 to 21
 * @addr_bits: width of a guest-physical address, at least @page_bits and at most 64
 * @external_locking: true when one big lock of the caller already protects every call (as in QEMU's user mode). Page
 *      locks then cost no read-modify-write. The caller makes every call on the table under the big lock, store checks
 *      too.
 * @external_held: with @external_locking, a function that tells whether this thread holds the big lock, or NULL. A
 *      lock_debug library calls it at each lock.
 * @asymmetric_fences: true when the guest's stores are checked inline and far outnumber translations, by the factor in
 *      docs/performance.md. A store check then costs no fence. Each bracket pays for it with a call of membarrier(2),
 *      which Linux has. If the process enters a sandbox later that refuses this call, the next bracket aborts the
 *      process, because without the fence stale code would run. Without effect in a table with @external_locking, which
 *      needs neither.
 * @ops: the callbacks of pagelock/block.h, borrowed; they outlive the table. NULL for a table of page locks only, where
 *      pgl_bracket_commit() refuses to link a block to its pages.
 * @opaque: passed to every callback
 * @hot_bytes_max: the most memory, in bytes, for the counts and exact maps of hot pages (pgl_table_stats.hot_bytes), or
 *      0 for no limit. It is never exceeded. A page that finds none left goes on without an exact map: each store
 *      beside its code that its mask does not rule out then takes its lock.
 */
struct pgl_table_config {
    unsigned page_bits;
    unsigned addr_bits;
    bool external_locking;
    bool asymmetric_fences;
    bool (*external_held)(void *opaque) PGL_NOEXCEPT;
    const struct pgl_tb_ops *ops;
    void *opaque;
    uint64_t hot_bytes_max;
};

/**
 * struct pgl_table_stats - figures of a table
 * @leaves: allocated leaves
 * @bytes: memory of the table with its nodes and leaves
 * @hot_bytes: memory of the counts, exact maps and indices of hot pages, not in @bytes. A map stays until
 *      pgl_table_trim() or pgl_table_free() (pgl_flush() keeps it), and the guest decides which pages become hot;
 *      pgl_table_config has a limit. A hot page costs one bit for each of its bytes and 576 bytes, and a leaf that has
 *      one 4,608 more. If all pages are hot, that is 26.8 % of the guest's memory at 4 KiB pages, 70 % at 1 KiB pages,
 *      and 13 % at 2 MiB pages.
 * @hot_pages: pages that have an exact map
 * @blocks: living blocks that are on pages. Blocks from pgl_tb_link_unlisted() are not in these figures.
 * @kills: blocks that were on pages and died
 * @hits: stores, checked by pgl_store_check(), pgl_store_begin() or pgl_bracket_store(), that killed a block. The two
 *      places of pgl_store_begin_pair() count as two stores; so do the two parts of a store that pgl_bracket_store()
 *      checks partly at once and partly later.
 * @false_alarms: how often such a store made a call look at the blocks of a page, and met none of them. A store that
 *      the page's filters answer is not counted; the filters answer most of them.
 * @restarts: how often a bracket unlocked its pages and declared the decoded bytes void
 * @retries: how often a collection unlocked pages and locked them again
 * @contended: how often a thread found a page locked and waited for it
 * @slept: how many of these waits slept
 * @slept_ns_max: the longest of these, in nanoseconds from the beginning of its first sleep. A waiter that has slept
 *      for some milliseconds gets the page next. This figure is therefore not much more than the time for which pages
 *      are held, the waits for higher pages and the scheduler's delays included.
 */
struct pgl_table_stats {
    uint64_t leaves;
    uint64_t bytes;
    uint64_t hot_bytes;
    uint64_t hot_pages;
    uint64_t blocks;
    uint64_t kills;
    uint64_t hits;
    uint64_t false_alarms;
    uint64_t restarts;
    uint64_t retries;
    uint64_t contended;
    uint64_t slept;
    uint64_t slept_ns_max;
};

/**
 * pgl_table_new() - allocate a table
 * @config: borrowed for the call
 *
 * Locks:    none.
 * Blocks:   allocates.
 * Owns:     the caller; free with pgl_table_free().
 * Errors:   NULL; EINVAL for a @config out of its bounds, ENOMEM; ENOTSUP for asymmetric fences where the system has
 *           none; ENOEXEC when the caller was compiled with headers of another layout (PGL_LAYOUT) than the library's.
 */
PGL_API struct pgl_table *pgl_table_new(const struct pgl_table_config *config);

/**
 * pgl_table_new_for() - allocate a table for inline functions of a given layout
 * @config: borrowed for the call
 * @layout: the PGL_LAYOUT of the headers whose inline functions will use the table
 *
 * In C and C++ pgl_table_new() is a macro that passes the PGL_LAYOUT of its headers to this function. The exported
 * function pgl_table_new(), which other languages bind, passes the library's own: code that calls the library for each
 * operation needs no check.
 *
 * Locks:    none.
 * Blocks:   allocates.
 * Owns:     the caller; free with pgl_table_free().
 * Errors:   as pgl_table_new(). With ENOEXEC the library has read nothing of @config.
 */
PGL_API struct pgl_table *pgl_table_new_for(const struct pgl_table_config *config, unsigned layout);

/**
 * pgl_table_free() - free a table, its descriptors and its maps
 * @table: owned, or NULL
 *
 * The library does not touch blocks that are still linked: they belong to the caller.
 *
 * Locks:    entry: no thread holds a page of @table or is in a call on it.
 * Owns:     the library frees @table.
 */
PGL_API void pgl_table_free(struct pgl_table *table);

/**
 * pgl_table_trim() - free the memory of a table that no block needs
 * @table: borrowed; no other thread is in a call on it
 *
 * For an emulator whose guest maps and unmaps for weeks, or that has thrown its translated code away. In a moment in
 * which every vCPU is stopped, the call frees each leaf (512 neighbouring pages) and each node of the tree without
 * blocks, and the exact maps of all pages without blocks. The addresses of the descriptors of pages without blocks are
 * void afterwards, and no block that has died before is passed to a call that locks its pages. A page that
 * pgl_table_reset() left with its trap loses it. The call locks that page and calls `no_code`.
 *
 * Returns how many bytes were freed: the difference in @bytes and @hot_bytes of struct pgl_table_stats.
 *
 * Locks:    entry and exit: no thread holds a page of @table or has a bracket.
 * Ordering: none; the caller's exclusive section orders the call with those of other threads.
 * Blocks:   not at all; frees memory.
 */
PGL_API uint64_t pgl_table_trim(struct pgl_table *table);

/**
 * pgl_table_get_stats() - read the figures of a table
 * @table: borrowed
 * @stats: filled in
 *
 * While other threads use the table, the figures may be from slightly different moments.
 *
 * Locks:    none.
 * Ordering: relaxed.
 */
PGL_API void pgl_table_get_stats(const struct pgl_table *table, struct pgl_table_stats *stats);

/**
 * pgl_page_find() - look a page up
 * @table: borrowed
 * @index: page index (guest-physical address >> page_bits)
 *
 * NULL means that at some moment of the call the page had not been allocated. The caller may conclude from that what
 * other threads do only after a full fence (see pgl_store_check()). At 4 KiB pages a look-up costs three dependent
 * loads for 48-bit addresses, two for 42, and one for 33.
 *
 * Locks:    none; wait-free.
 * Ordering: acquire on each level; pairs with the release in pgl_page_get().
 * Owns:     the table; the descriptor stays where it is until pgl_table_trim() or pgl_table_free().
 * Errors:   NULL when absent, or when @index lies beyond the table.
 */
PGL_INLINE struct pgl_page *pgl_page_find(const struct pgl_table *table, uint64_t index);

/**
 * pgl_page_get() - look a page up, and allocate it if it is absent
 * @table: borrowed
 * @index: page index
 *
 * The call builds the missing part of the tree aside and installs it by one compare-and-swap. The loser of a race frees
 * all of its copy and uses the winner's.
 *
 * Locks:    none. Because it allocates, call it with no page held.
 * Ordering: release of the new part; acquire of a part that another thread installed.
 * Blocks:   allocates when the page is absent.
 * Owns:     the table; the descriptor stays where it is until pgl_table_trim() or pgl_table_free().
 * Errors:   NULL with the table unchanged; ENOMEM; EINVAL when @index lies beyond the table.
 */
PGL_API struct pgl_page *pgl_page_get(struct pgl_table *table, uint64_t index);

/**
 * pgl_page_next() - find the first page that exists in a range of page indices
 * @table: borrowed
 * @index: in: the first index of the range; out: the page's index when one was found
 * @last: inclusive
 *
 * The walk skips absent subtrees. Its cost follows the number of pages that exist, and not the width of the range.
 *
 * Locks:    none.
 * Ordering: acquire, as pgl_page_find().
 * Owns:     the table, as pgl_page_find().
 * Errors:   NULL when no page of [*@index, @last] exists. No page exists beyond the table.
 */
PGL_API struct pgl_page *pgl_page_next(const struct pgl_table *table, uint64_t *index, uint64_t last);

#ifdef __cplusplus
}
#endif

#include <pagelock/inline/table.h>

#endif
