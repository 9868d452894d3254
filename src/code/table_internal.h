/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The tree of a table, for the code that walks it, and the figures of a table. */
#ifndef PGL_CODE_TABLE_INTERNAL_H
#define PGL_CODE_TABLE_INTERNAL_H

#include <pagelock/table.h>

/* Return the leaf of a page, as pgl_page_get() returns the page. */
struct pgl_leaf *pgl_leaf_get(struct pgl_table *table, uint64_t index);

/**
 * pgl_leaf_next - the first leaf with a page in [@index, @last], or NULL
 *
 * The bitmaps of the interior nodes let the walk skip absent subtrees. After a full fence it finds every leaf in which
 * a bracket that fenced before this thread has locked a page (D2 in table.c).
 */
struct pgl_leaf *pgl_leaf_next(const struct pgl_table *table, uint64_t index, uint64_t last);

/* The lowest page of a table that any thread holds, or UINT64_MAX. No thread locks one meanwhile. */
uint64_t pgl_table_first_locked(const struct pgl_table *table);

/* The root of a table, which is a node behind the struct. */
static inline void **pgl_table_root(struct pgl_table *table)
{
    return (void **)(table + 1);
}

/* The number of children of a node whose slots are chosen by index bits from @shift on. */
static inline size_t pgl_node_slots(const struct pgl_table *table, unsigned shift)
{
    return (size_t)1 << (shift == table->top_shift ? table->root_bits : PGL_LEVEL_BITS);
}

/* The bitmap of present children, behind the children of a node. */
static inline uint64_t *pgl_node_present(void **node, size_t slots)
{
    return (uint64_t *)(node + slots);
}

/* The size of a node. */
static inline size_t pgl_node_bytes(size_t slots)
{
    return slots * sizeof(void *) + (slots + 63) / 64 * sizeof(uint64_t);
}

/* The last byte address of a table. */
static inline uint64_t pgl_table_last_addr(const struct pgl_table *table)
{
    return UINT64_MAX >> (64u - table->addr_bits);
}

/* Reduce a range of addresses to its part on a page. If it has none there, the first comes to lie behind the last. */
static inline void pgl_clip_to_page(const struct pgl_table *table, uint64_t index, uint64_t *first_addr,
                                    uint64_t *last_addr)
{
    uint64_t first = index << table->page_bits, last = first | ((UINT64_C(1) << table->page_bits) - 1);

    *first_addr = *first_addr > first ? *first_addr : first;
    *last_addr = *last_addr < last ? *last_addr : last;
}

/* The bits of 64-page word @word of @leaf that stand for page indices in [@first, @last]. */
static inline uint64_t pgl_leaf_bits(const struct pgl_leaf *leaf, unsigned word, uint64_t first, uint64_t last)
{
    uint64_t base = leaf->first_index + 64u * word;

    if (first > base + 63u || last < base) {
        return 0;
    }
    return (~UINT64_C(0) << (first > base ? first - base : 0)) &
           (~UINT64_C(0) >> (last < base + 63u ? base + 63u - last : 0));
}

/* Add to one of the table's counters. */
static inline void pgl_count(uint64_t *counter, uint64_t n)
{
    __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

/* Raise a figure of the table that is the largest value so far. */
static inline void pgl_count_max(uint64_t *counter, uint64_t value)
{
    uint64_t largest = __atomic_load_n(counter, __ATOMIC_RELAXED);

    while (value > largest &&
           !__atomic_compare_exchange_n(counter, &largest, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        ;
    }
}

#endif
