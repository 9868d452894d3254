/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Private: the structs of a table, its leaves and its descriptors, and the look-up. */
#ifndef PGL_PAGELOCK_INLINE_TABLE_H
#define PGL_PAGELOCK_INLINE_TABLE_H

#include <pagelock/table.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The bits of a page index that one level of the tree uses, and the children or pages of one node. */
#define PGL_LEVEL_BITS 9u
#define PGL_LEVEL_SIZE (1u << PGL_LEVEL_BITS)
#define PGL_LEVEL_WORDS (PGL_LEVEL_SIZE / 64u)

/* Flags in a descriptor's head, below the tagged pointer to the first block of its list. Bit 0 is the pointer's tag. */
#define PGL_HEAD_LOCK 2u  /* a thread holds the page */
#define PGL_HEAD_CROSS 4u /* some listed block has bytes on another page too */
#define PGL_HEAD_HOT 8u   /* the page has an exact map of its code bytes */

/* A page descriptor, of 16 bytes. */
struct PGL_ANNOTATE(capability("page")) pgl_page {
    uintptr_t head;                 /* lock, flags, first block of the list */
    uint64_t mask PGL_ALIGN_ATOMIC; /* one bit for each 1/64 of the page: a listed block may have bytes there */
};

/*
 * The exact maps of the pages of one leaf, and how often each page had a false alarm, or a hit that walked a long list.
 * The library allocates it at the first of these in the leaf.
 */
struct pgl_hot {
    uint64_t *map[PGL_LEVEL_SIZE];
    uint8_t misses[PGL_LEVEL_SIZE];
};

/* A leaf has 512 neighbouring descriptors, and 144 bytes of its own behind them. */
struct pgl_leaf {
    struct pgl_page pages[PGL_LEVEL_SIZE];
    uint64_t code[PGL_LEVEL_WORDS];   /* one bit per page: it has code, or a bracket is translating on it */
    uint64_t killed[PGL_LEVEL_WORDS]; /* one bit per page: a thread that kills, and makes no block, holds it */
    uint64_t first_index;
    struct pgl_hot *hot;
};

/*
 * An interior node is an array of children, which are nodes or leaves, and behind it a bitmap of the children that are
 * present. A child's bit is set before its pointer. The root has 2 to 4,096 children, and follows
 * the table's struct. The other nodes have PGL_LEVEL_SIZE children.
 */
#define PGL_ROOT_BITS_MAX 12u

/* The reasons why a table does not use all of the plain inline code. */
#define PGL_SPECIAL_EXTERNAL 1u   /* the caller's own lock protects the whole table */
#define PGL_SPECIAL_WITNESS 2u    /* a lock_debug library watches each lock */
#define PGL_SPECIAL_STARVING 4u   /* a waiter starves, and others leave its page to it */
#define PGL_SPECIAL_ASYMMETRIC 8u /* brackets fence for the store checks of all threads */
/* Those that concern the locks of pages, and those that spare a store check its fence. */
#define PGL_SPECIAL_LOCKS (PGL_SPECIAL_EXTERNAL | PGL_SPECIAL_WITNESS | PGL_SPECIAL_STARVING)
#define PGL_SPECIAL_FENCES (PGL_SPECIAL_EXTERNAL | PGL_SPECIAL_ASYMMETRIC)

struct pgl_turn;

/* The counters of a tally: blocks listed on pages, those of them that died, and events by their name in stats. */
enum pgl_tally_counter {
    PGL_TALLY_LINKS,
    PGL_TALLY_KILLS,
    PGL_TALLY_HITS,
    PGL_TALLY_FALSE_ALARMS,
    PGL_TALLY_RESTARTS,
    PGL_TALLY_COUNTERS,
};

/* A cache line on which some of the threads count. */
struct pgl_tally {
    uint64_t of[PGL_TALLY_COUNTERS];
} __attribute__((aligned(64)));

/* The tallies that belong to one thread each, and those that the other threads share. */
#define PGL_TALLIES_OWN 16u
#define PGL_TALLIES_SHARED 16u
#define PGL_TALLIES (PGL_TALLIES_OWN + PGL_TALLIES_SHARED)

/* NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): two groups of members, each on cache lines of its own */
struct pgl_table {
    uint64_t last_index;
    uint8_t page_bits;
    uint8_t top_shift; /* shifts a page index to its slot in the root */
    uint8_t root_bits;
    uint8_t addr_bits;
    uint8_t special;
    const struct pgl_tb_ops *ops;
    void *opaque;
    bool (*external_held)(void *opaque) PGL_NOEXCEPT;
    uint64_t hot_bytes_max;
    uint64_t ordinary; /* the inline store check fences and answers for lower pages: all, or none in a special table */
    /* Written while the table is in use. These members have a cache line of their own, because every look-up reads the
     * members above. */
    uint64_t leaves __attribute__((aligned(64)));
    uint64_t bytes;
    uint64_t hot_bytes;
    uint64_t hot_pages;
    uint64_t retries;
    uint64_t contended;
    uint64_t slept;
    uint64_t slept_ns_max;
    uintptr_t unlisted; /* list of the unlisted blocks that are being retired, with PGL_HEAD_LOCK, its lock */
    /* The waiters that starve. */
    uintptr_t turns_lock;    /* the number of the process that holds the list; 0 while no thread does */
    uintptr_t turns_process; /* the number of the process that wrote the list */
    struct pgl_turn *turns;
    struct pgl_tally tallies[PGL_TALLIES];
};

#define pgl_table_new(config) pgl_table_new_for(config, PGL_LAYOUT)

#define pgl_table_trim(table) pgl_table_trim_at(table, PGL_HERE)
PGL_API uint64_t pgl_table_trim_at(struct pgl_table *table, const char *place);

/* Return the bits PGL_SPECIAL_. */
static inline unsigned pgl_table_special(const struct pgl_table *table)
{
    /* relaxed: a lock that misses a waiter that starves passes it once; the other bits never change */
    return __atomic_load_n(&table->special, __ATOMIC_RELAXED);
}

/* Return a child of a node, or NULL. Acquire: pairs with the release that installed it, in pgl_page_get(). */
static inline void *pgl_node_child(void *const *node, uint64_t slot)
{
    return __atomic_load_n(&node[slot], __ATOMIC_ACQUIRE);
}

/*
 * Find the leaf of a page index without a lock, or return NULL when none of its pages was ever allocated. @index is not
 * above the table's last. Acquire on each level: pairs with the release that installed the level, in pgl_page_get().
 */
static inline struct pgl_leaf *pgl_leaf_find(const struct pgl_table *table, uint64_t index)
{
    void *const *node = (void *const *)(table + 1);
    unsigned shift = table->top_shift;

    /* The usual depth (43 to 51 address bits at 4 KiB pages), with shifts that the compiler knows. */
    if (PGL_LIKELY(shift == 3u * PGL_LEVEL_BITS)) {
        node = (void *const *)pgl_node_child(node, index >> (3u * PGL_LEVEL_BITS));
        if (PGL_UNLIKELY(!node)) {
            return NULL;
        }
        node = (void *const *)pgl_node_child(node, (index >> (2u * PGL_LEVEL_BITS)) % PGL_LEVEL_SIZE);
        if (PGL_UNLIKELY(!node)) {
            return NULL;
        }
        return (struct pgl_leaf *)pgl_node_child(node, (index >> PGL_LEVEL_BITS) % PGL_LEVEL_SIZE);
    }
    for (uint64_t slot = index >> shift;; slot = (index >> shift) % PGL_LEVEL_SIZE) {
        node = (void *const *)pgl_node_child(node, slot);
        if (!node || shift == PGL_LEVEL_BITS) {
            return (struct pgl_leaf *)(uintptr_t)node;
        }
        shift -= PGL_LEVEL_BITS;
    }
}

/* Return the descriptor of a page index in its leaf. */
static inline struct pgl_page *pgl_leaf_page(struct pgl_leaf *leaf, uint64_t index)
{
    return &leaf->pages[index % PGL_LEVEL_SIZE];
}

PGL_INLINE struct pgl_page *pgl_page_find(const struct pgl_table *table, uint64_t index)
{
    struct pgl_leaf *leaf;

    if (PGL_UNLIKELY(index > table->last_index)) {
        return NULL;
    }
    leaf = pgl_leaf_find(table, index);
    return leaf ? pgl_leaf_page(leaf, index) : NULL;
}

#ifdef __cplusplus
}
#endif
#endif
