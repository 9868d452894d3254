/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table: a radix tree from guest-physical page index to page descriptor, one for each guest-physical address space.
 *
 * A look-up takes no lock. Leaves are allocated when a page is first asked for and live until the table is freed, so a
 * descriptor's address never changes. The structs below are visible for the sake of the inline look-up and store check;
 * their members belong to the library.
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

#define PGL_PAGE_BITS_MIN 10u
#define PGL_PAGE_BITS_MAX 21u

struct pgl_page;
struct pgl_table;
struct pgl_tb_ops;

/**
 * struct pgl_table_config - what a table is made of
 * @page_bits: log2 of the guest's page size in bytes, 10 to 21
 * @addr_bits: width of a guest-physical address, at least @page_bits and at most 64
 * @external_locking: true when one big lock of the caller's already protects every call (as in QEMU's user mode): page
 *      locks then cost no read-modify-write, and every call on the table is made under the big lock, store checks too
 * @external_held: with @external_locking, NULL or the test whether this thread holds the big lock; called by a
 *      lock_debug library at each lock
 * @ops: the callbacks of pagelock/tb.h, borrowed, outlives the table; NULL when no block will be linked
 * @opaque: handed to every callback
 */
struct pgl_table_config {
    unsigned page_bits;
    unsigned addr_bits;
    bool external_locking;
    bool (*external_held)(void *opaque) PGL_NOEXCEPT;
    const struct pgl_tb_ops *ops;
    void *opaque;
};

/**
 * struct pgl_table_stats - figures of a table
 * @leaves: allocated leaves
 * @bytes: memory of the table with its nodes and leaves
 * @hot_bytes: memory of the counts and exact maps of hot pages, not in @bytes. It only grows: a map stays until
 *      pgl_table_free(), pgl_flush() keeps it too, and the guest decides which pages become hot. A hot page costs 512
 *      bytes, and a leaf that has one 4,608 more: where all pages are hot that is 12.7 % of the guest's memory at 4 KiB
 *      pages, and 50.9 % at 1 KiB pages.
 * @hot_pages: pages that have an exact map
 * @retries: how often a collection let pages go and took them again
 * @contended: how often a page lock was found taken and waited for
 * @slept: how many of these waits came to sleeping
 * @slept_ns_max: the longest of those, in nanoseconds from the beginning of its first sleep. Page locks are not fair: a
 *      thread that takes a page again and again can keep a sleeper from it for seconds, and this shows it.
 */
struct pgl_table_stats {
    uint64_t leaves;
    uint64_t bytes;
    uint64_t hot_bytes;
    uint64_t hot_pages;
    uint64_t retries;
    uint64_t contended;
    uint64_t slept;
    uint64_t slept_ns_max;
};

/**
 * pgl_table_new - make a table
 * @config: borrowed for the call
 *
 * Locks:    none.
 * Owns:     the caller; free with pgl_table_free().
 * Errors:   NULL; EINVAL for a @config out of its bounds, ENOMEM.
 */
PGL_API struct pgl_table *pgl_table_new(const struct pgl_table_config *config);

/**
 * pgl_table_free - free a table, its descriptors and its maps
 * @table: owned, or NULL
 *
 * Blocks that are still linked are the caller's and are not touched.
 *
 * Locks:    entry: no thread holds a page of @table or is in a call on it.
 */
PGL_API void pgl_table_free(struct pgl_table *table);

/**
 * pgl_table_get_stats - read a table's figures
 * @table: borrowed
 * @stats: filled in
 *
 * Locks:    none. The figures may be from slightly different moments when other threads are at work.
 */
PGL_API void pgl_table_get_stats(const struct pgl_table *table, struct pgl_table_stats *stats);

/**
 * pgl_page_find - look a page up
 * @table: borrowed
 * @index: page index (guest-physical address >> page_bits)
 *
 * A NULL means that the page was never allocated at some moment of the call; only after a full fence does that say
 * anything about what other threads do (see pgl_store_check()).
 *
 * Locks:    none; wait-free. At 4 KiB pages three dependent loads for 48-bit addresses, two for 42, one for 33.
 * Ordering: acquire.
 * Owns:     the table; the descriptor stays where it is until pgl_table_free().
 * Errors:   NULL when absent, or when @index lies beyond the table.
 */
PGL_INLINE struct pgl_page *pgl_page_find(const struct pgl_table *table, uint64_t index);

/**
 * pgl_page_get - look a page up, allocating it where it is absent
 * @table: borrowed
 * @index: page index
 *
 * The missing part of the tree is built aside and put in place by one compare-and-swap; who loses that race frees all
 * of its copy and uses the winner's.
 *
 * Locks:    none; better called with no page held, since it allocates.
 * Ordering: release of the new part, acquire of what others put in place.
 * Owns:     the table.
 * Errors:   NULL; ENOMEM, the table is as it was; EINVAL, @index lies beyond the table.
 */
PGL_API struct pgl_page *pgl_page_get(struct pgl_table *table, uint64_t index);

/**
 * pgl_page_next - the first page that exists in a range of page indices
 * @table: borrowed
 * @index: in: where to begin; out: the page's index when one was found
 * @last: inclusive
 *
 * Absent subtrees are skipped: the cost of a walk follows the pages that exist, not the width of the range.
 *
 * Locks:    none.
 * Ordering: acquire, as pgl_page_find().
 * Errors:   NULL when no page of [*@index, @last] exists. Indices beyond the table exist nowhere.
 */
PGL_API struct pgl_page *pgl_page_next(const struct pgl_table *table, uint64_t *index, uint64_t last);

#ifdef __cplusplus
}
#endif

#include <pagelock/inline/table.h>

#endif
