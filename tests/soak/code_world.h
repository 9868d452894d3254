/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guest of the code pages. Its memory is versions: each granule has a number that a store to it raises, and a block
 * notes the numbers that it was made from. Once the check of a store has returned, a block that can be found with an
 * older number is stale. A block is freed when no thread can hold it any more; therefore a sanitizer sees a later use.
 */
#ifndef PGL_TESTS_SOAK_CODE_WORLD_H
#define PGL_TESTS_SOAK_CODE_WORLD_H

#include <pagelock/pagelock.h>

#include "soak.h"

enum {
    PAGE_BITS = 12,
    GRANULE = 16,
    GRANULES = (1 << PAGE_BITS) / GRANULE,
    EXTENT_MAX = 4, /* granules of an extent */
    EXTENTS = 12,   /* of a superblock, at most */
    N_PAGES = 12,
    N_KEYS = 480,
    MAX_COVER = 24,                  /* keys with bytes in one granule */
    CACHE = 32,                      /* blocks that a worker caches */
    EVICTED = 24,                    /* blocks that are named at once, at most */
    HOT_BYTES = 4 * 4608 + 4 * 1088, /* room for hot pages of half of the runs: not for all that become hot */
};

/*
 * The bytes of a block. A key's class, its number modulo N_CLASSES, says where the second page is. A superblock has
 * three to five extents on any pages, and every fourth one up to EXTENTS, in more leaves than a set has room for.
 */
enum class { ONE, SAME, HIGHER, LOWER, SUPER, N_CLASSES };

struct key {
    unsigned n;                                           /* extents */
    unsigned page[EXTENTS], first[EXTENTS], len[EXTENTS]; /* page number, first granule, granules */
};

struct block {
    struct pgl_tb tb; /* first */
    unsigned key;     /* N_KEYS: on no page */
    unsigned version[EXTENTS][EXTENT_MAX];
    struct pgl_extent extents[EXTENTS];
    unsigned kills; /* atomic: calls that say that they killed it */
    uint64_t epoch; /* when it was retired */
    struct block *next;
};

struct cover {
    unsigned n, key[MAX_COVER];
};

struct code {
    struct pgl_table *table;
    struct key keys[N_KEYS];
    struct cover cover[N_PAGES][GRANULES];
    struct block *found[N_KEYS];                  /* atomic; written with the key's pages held */
    struct block *cache[SOAK_THREADS_MAX][CACHE]; /* atomic; each filled by its worker, and wiped by all */
    unsigned version[N_PAGES][GRANULES];          /* atomic */
    unsigned owner[N_PAGES]; /* which worker holds the page: 0, or its number and one; under the page's lock */
    bool trapped[N_PAGES];   /* under the page's lock */
    bool left[N_PAGES];      /* trapped since before a reset, without blocks; under the page's lock */
    uint64_t killed;         /* atomic */
    uint64_t forgotten;      /* blocks that lived when a reset came; by the worker that has stopped the others */
    bool stopped;            /* atomic: a worker wants no other to be in an operation */
    uint64_t epoch;          /* atomic */
};

extern struct code code;

/* Neighbours, both sides of a leaf's edge, far pages, the top one: on six leaves. */
extern const uint64_t code_index[N_PAGES];

/* The number of the page with this index; N_PAGES for none. */
unsigned code_page_of(uint64_t index);

static inline uint64_t code_addr_of(unsigned page, unsigned granule)
{
    return (code_index[page] << PAGE_BITS) + granule * GRANULE;
}

/* The worker has locked the page; it is about to unlock it. */
void code_own(struct worker *w, uint64_t index);
void code_disown(struct worker *w, uint64_t index);

/* Stop the other workers, each between two operations on code pages. False: another worker does so, or none can. */
bool code_stop(struct worker *w);
void code_go_on(void);

/* All workers are stopped, and the blocks that live are forgotten: their memory is free. */
void code_forget_all(void);

/* Compare the table with what it must be at rest. */
void code_check_table(void);

/* Now and then let other threads run into the pages that are held. */
void code_give_way(struct worker *w);

/* Set @pages to the numbers of the pages of a key, each once. Return how many they are. */
unsigned code_pages_of(const struct key *key, unsigned *pages);

struct block *code_new_block(unsigned key);

/* The block of a key that can be found, or NULL. */
static inline struct block *code_find_block(unsigned key)
{
    return __atomic_load_n(&code.found[key], __ATOMIC_ACQUIRE);
}

/* The oldest version that a block has of a granule; UINT_MAX when it has none of its bytes. */
unsigned code_version_in(const struct block *block, unsigned page, unsigned granule);

/* The check of a store that made this version has returned: no block with an older one can be found. */
void code_check_fresh(unsigned page, unsigned granule, unsigned version);

/* A table that several workers fill with leaves at once (code_lock.c). */
void code_leave_last_scratch(void);

#endif
