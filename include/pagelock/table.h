/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table: a radix tree from guest-physical page index to page descriptor, one for each guest-physical address space.
 *
 * A look-up takes no lock. Leaves are allocated when a page is first asked for and live until the table is freed, so a
 * descriptor's address never changes. The structs below are visible for the sake of the inline look-up and store check;
 * their members belong to the library.
 */
#ifndef PAGELOCK_TABLE_H
#define PAGELOCK_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pagelock/version.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Where a call stands in the source, for the reports of a lock_debug library. An operation that is reported is a macro
 * around the function of its name with _at behind it, which takes this place. The library exports both: the one with
 * the plain name, for other languages and for pointers to it, reports that no place is known.
 */
#define PGL_STRING_(x) #x
#define PGL_STRING(x) PGL_STRING_(x)
#define PGL_HERE __FILE__ ":" PGL_STRING(__LINE__)

#define PGL_LIKELY(x) __builtin_expect(!!(x), 1)
#define PGL_UNLIKELY(x) __builtin_expect(!!(x), 0)

/*
 * clang's thread-safety analysis (-Wthread-safety) knows pages and collections: it warns of a path that unlocks twice,
 * or not at all. What a bracket holds depends on its answers, which the analysis cannot follow.
 */
#if defined(__clang__)
#define PGL_ANNOTATE(...) __attribute__((__VA_ARGS__))
#else
#define PGL_ANNOTATE(...)
#endif
#define PGL_UNCHECKED PGL_ANNOTATE(no_thread_safety_analysis)

#define PGL_LEVEL_BITS 9u
#define PGL_LEVEL_SIZE (1u << PGL_LEVEL_BITS)
#define PGL_LEVEL_WORDS (PGL_LEVEL_SIZE / 64u)

#define PGL_PAGE_BITS_MIN 10u
#define PGL_PAGE_BITS_MAX 21u

/* Flags in a descriptor's head, below the tagged pointer to the first block of its list. Bit 0 is the pointer's tag. */
#define PGL_HEAD_LOCK 2u  /* somebody holds the page */
#define PGL_HEAD_CROSS 4u /* some listed block has bytes on another page too */
#define PGL_HEAD_HOT 8u   /* the page has an exact map of its code bytes */

/* Bits of an exact map, whatever the size of the page: one for 1/4 byte of the smallest page to 512 bytes of the
 * largest. */
#define PGL_FILTER_BITS 4096u

struct pgl_tb_ops;

/* What is read and written atomically is aligned to its size, which i386 by itself would not do. */
#define PGL_ALIGN_ATOMIC __attribute__((aligned(8)))

/* A page descriptor: 16 bytes. */
struct PGL_ANNOTATE(capability("page")) pgl_page {
    uintptr_t head;                 /* lock, flags, first block of the list */
    uint64_t mask PGL_ALIGN_ATOMIC; /* a bit for each 1/64 of the page: some listed block may have bytes there */
};

/* What the pages of one leaf need once stores begin to miss there: counts of misses, and exact maps of hot pages. */
struct pgl_hot {
    uint64_t *map[PGL_LEVEL_SIZE];
    uint8_t misses[PGL_LEVEL_SIZE];
};

/* A leaf: 512 neighbouring descriptors, and a header of 80 bytes behind them. */
struct pgl_leaf {
    struct pgl_page pages[PGL_LEVEL_SIZE];
    uint64_t code[PGL_LEVEL_WORDS]; /* a bit a page: holds code, or a bracket is making some */
    uint64_t first_index;
    struct pgl_hot *hot;
};

/*
 * An interior node: an array of children, which are nodes or leaves, and behind it a bitmap of those that are present.
 * A child's bit is set before its pointer, and never cleared. The root, of 2 to 4,096 children, follows the table's
 * struct; the other nodes have PGL_LEVEL_SIZE children.
 */
#define PGL_ROOT_BITS_MAX 12u

/* How the locks of a table differ from the plain inline ones. */
#define PGL_SPECIAL_EXTERNAL 1u /* the caller's own lock protects the whole table */
#define PGL_SPECIAL_WITNESS 2u  /* a lock_debug library watches each lock */

struct pgl_table {
    uint64_t last_index;
    uint8_t page_bits;
    uint8_t top_shift; /* of a page index, to its slot in the root */
    uint8_t root_bits;
    uint8_t addr_bits;
    uint8_t special;
    const struct pgl_tb_ops *ops;
    void *opaque;
    bool (*external_held)(void *opaque) PGL_NOEXCEPT;
    uint64_t unwatched; /* the inline store check answers for pages below this: all, or none in a lock_debug library */
    /* What is written while the table is in use, on a line of its own: every look-up reads what stands around it. */
    uint64_t leaves __attribute__((aligned(64)));
    uint64_t bytes;
    uint64_t hot_bytes;
    uint64_t hot_pages;
    uint64_t retries;
    uint64_t contended;
    uint64_t slept;
    uint64_t slept_ns_max;
    uintptr_t unlisted; /* the blocks on no page that are being retired; and PGL_HEAD_LOCK, the lock of their list */
};

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

/* A child of a node, or NULL. Acquire: pairs with the release that put it there, in pgl_page_get(). */
static inline void *pgl_node_child(void *const *node, uint64_t slot)
{
    return __atomic_load_n(&node[slot], __ATOMIC_ACQUIRE);
}

/*
 * The leaf of a page index, without a lock; NULL when no page of it was ever allocated. @index is not above the table's
 * last. Acquire on each level; pairs with the release that put the level in place, in pgl_page_get().
 */
static inline struct pgl_leaf *pgl_leaf_find(const struct pgl_table *table, uint64_t index)
{
    void *const *node = (void *const *)(table + 1);
    unsigned shift = table->top_shift;

    /* The usual depth, of 43 to 51 address bits at 4 KiB pages, with shifts that the compiler knows. */
    if (PGL_LIKELY(shift == 3u * PGL_LEVEL_BITS)) {
        node = (void *const *)pgl_node_child(node, index >> (3u * PGL_LEVEL_BITS));
        if (PGL_UNLIKELY(!node))
            return NULL;
        node = (void *const *)pgl_node_child(node, (index >> (2u * PGL_LEVEL_BITS)) % PGL_LEVEL_SIZE);
        if (PGL_UNLIKELY(!node))
            return NULL;
        return (struct pgl_leaf *)pgl_node_child(node, (index >> PGL_LEVEL_BITS) % PGL_LEVEL_SIZE);
    }
    for (uint64_t slot = index >> shift;; slot = (index >> shift) % PGL_LEVEL_SIZE) {
        node = (void *const *)pgl_node_child(node, slot);
        if (!node || shift == PGL_LEVEL_BITS)
            return (struct pgl_leaf *)node;
        shift -= PGL_LEVEL_BITS;
    }
}

/* The descriptor of a page index in its leaf. */
static inline struct pgl_page *pgl_leaf_page(struct pgl_leaf *leaf, uint64_t index)
{
    return &leaf->pages[index % PGL_LEVEL_SIZE];
}

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
PGL_INLINE struct pgl_page *pgl_page_find(const struct pgl_table *table, uint64_t index)
{
    struct pgl_leaf *leaf;

    if (PGL_UNLIKELY(index > table->last_index))
        return NULL;
    leaf = pgl_leaf_find(table, index);
    return leaf ? pgl_leaf_page(leaf, index) : NULL;
}

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
#endif
