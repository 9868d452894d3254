/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The common part of `plain` and `global`: a radix tree of pages, and on each page a list of the blocks that lie on it.
 *
 * Lists are intrusive: a link is the address of a block with bit 0 telling which of its two pages it is listed on. A
 * block that lies on one page twice is listed there once. Only the tree may be read without a lock.
 */
#ifndef PGL_BENCH_PAGES_H
#define PGL_BENCH_PAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "impl.h"

enum { PAGES_BITS = 10, PAGES_ROOT_BITS_MAX = 16, PAGES_FANOUT = 1 << PAGES_BITS };

struct page {
    uintptr_t list;
    uint32_t lock; /* of plain; global has its mutex */
};

struct block {
    uintptr_t next[2];
    uint64_t first[2]; /* its bytes on each page; without a second page no range meets [UINT64_MAX, 0] */
    uint64_t last[2];
    uint32_t npages; /* that list it: 1 or 2 */
    bool alive;
} __attribute__((aligned(16)));

struct pages {
    unsigned page_bits;
    unsigned root_bits;
    unsigned levels; /* of nodes below the root, leaves included */
    void **root;
    size_t bytes;
    uint64_t last_index; /* of all pages that were ever made, and of the rest of their leaf */
};

static inline struct block *block_of(uintptr_t link)
{
    return (struct block *)(link & ~(uintptr_t)1);
}

static inline bool block_meets(const struct block *block, uint64_t first, uint64_t last)
{
    return (block->first[0] <= last && first <= block->last[0]) || (block->first[1] <= last && first <= block->last[1]);
}

/* The page of @index, or NULL where it was never made. */
static inline struct page *pages_find(const struct pages *pages, uint64_t index)
{
    unsigned shift = pages->levels * PAGES_BITS;
    void *node = __atomic_load_n(&pages->root[index >> shift], __ATOMIC_ACQUIRE);

    while (node && (shift -= PAGES_BITS)) {
        node = __atomic_load_n((void **)node + (index >> shift) % PAGES_FANOUT, __ATOMIC_ACQUIRE);
    }
    return node ? (struct page *)node + index % PAGES_FANOUT : NULL;
}

/* The page at which a walk over the pages up to @index ends: beyond it there was none when the walk began. */
static inline uint64_t pages_clip(const struct pages *pages, uint64_t index)
{
    /* relaxed: a thread that finds a page, by the acquire in pages_find(), reads an index that is not below it */
    uint64_t last_index = __atomic_load_n(&pages->last_index, __ATOMIC_RELAXED);

    return index < last_index ? index : last_index;
}

void pages_init(struct pages *pages, unsigned page_bits, unsigned addr_bits);
void pages_fini(struct pages *pages);

/* The page of @index, made where it is not there yet; from any number of threads. */
struct page *pages_make(struct pages *pages, uint64_t index);

void block_init(const struct pages *pages, struct block *block, const struct trace_block *of);

/* The caller holds the pages of the block. */
void block_list(struct block *block, struct page *const page[2]);
void block_unlist(struct block *block, struct page *const page[2]);

/* Kills every block of @page that meets the range; the caller holds the pages of each. Returns how many died. */
uint64_t page_kill(struct pages *pages, struct page *page, uint64_t first, uint64_t last);

/* Walks everything, with no thread at work. */
void pages_census(const struct pages *pages, struct census *census);

#endif
