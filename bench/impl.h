/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The implementations for a code trace: the library, and the two protocols that it is compared with. */
#ifndef PGL_BENCH_IMPL_H
#define PGL_BENCH_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trace.h"

/* One thread's counts, on cache lines of its own. */
struct tally {
    uint64_t links;
    uint64_t duplicates;
    uint64_t stores_hit;
    uint64_t stores_unlocked; /* answered without taking a lock */
    uint64_t killed;
} __attribute__((aligned(128)));

/* The content of a table once all threads are done. */
struct census {
    uint64_t alive; /* blocks, counted by walking all lists */
    uint64_t retries;
    size_t table_bytes;
    size_t hot_bytes;
    const char *broken; /* the first invariant that does not hold, or NULL */
};

struct impl {
    const char *name;
    const char *what;  /* one line for people */
    size_t block_size; /* bytes of its own block struct, a multiple of its alignment; at most 64 */

    void *(*table_new)(unsigned page_bits, unsigned addr_bits);
    void (*table_free)(void *table);

    /* Before the clock starts: everything about @block that does not depend on the table's state. */
    void (*block_init)(void *table, void *block, const struct trace_block *of);

    /* Links @block, or counts a duplicate where @equal, which may be NULL, is alive. */
    void (*link)(void *table, void *block, const void *equal, struct tally *tally);
    void (*store)(void *table, uint64_t addr, unsigned len, struct tally *tally);
    void (*range)(void *table, uint64_t first, uint64_t last, struct tally *tally);

    void (*census)(void *table, struct census *census);
};

extern const struct impl impl_pagelock, impl_plain, impl_global;

/* Makes @block a new one, and links it. */
static inline void impl_link_new(const struct impl *impl, void *table, void *block, const struct trace_block *of,
                                 struct tally *tally)
{
    impl->block_init(table, block, of);
    impl->link(table, block, NULL, tally);
}

/* The implementation of that name, or NULL. */
const struct impl *impl_find(const char *name);

/* All of them, the library first; ends with NULL. */
extern const struct impl *const impl_all[];

#endif
