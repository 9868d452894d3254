/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A table and the oracle beside it: an array of extents, and a set of leaves, without lists, filters or locks. The
 * target fuzz_table.c takes its operations from an input of a fuzzer or of a random generator (test_oracle).
 */
#ifndef PGL_TESTS_FUZZ_TABLE_WORLD_H
#define PGL_TESTS_FUZZ_TABLE_WORLD_H

#include <pagelock/pagelock.h>

#include "../../src/code/turn_internal.h"
#include "fuzz.h"

enum {
    WORLD_PAGES = 20,
    WORLD_BLOCKS = 150,
    WORLD_EXTENTS = 6, /* of one block */
    WORLD_LEAVES = 4 * WORLD_PAGES,
    WORLD_LEAF = 512, /* pages of one leaf */
};

/* The third byte of an input. The first two are the page's bits and the number of bits above them. */
enum {
    WORLD_EXTERNAL = 1,
    WORLD_TRYLOCK_FAILS = 2, /* on free pages too, in patterns: only the number of retries changes */
    WORLD_LARGE = 4,         /* 20 pages and 150 blocks, not 8 and 24 */
    WORLD_ASYMMETRIC = 8,    /* where the system has such fences */
    WORLD_BUDGETS = 16,      /* times a choice of the memory for hot pages: no limit, none at all, one page, some */
};

#define WORLD_NO_PAGE UINT64_MAX

enum fate {
    FATE_NONE, /* never linked, or memory that can be used again */
    FATE_LIVE,
    FATE_DEAD,
};

struct block {
    struct pgl_tb tb;
    struct pgl_extent extents[WORLD_EXTENTS]; /* of a superblock */
    enum fate fate;
    bool listed;
    unsigned retired, deaths; /* by the library and by the oracle */
    uint64_t second;          /* the page that its bracket crosses into, or WORLD_NO_PAGE */
};

struct world {
    struct input input;
    struct pgl_table *table;
    unsigned page_bits;
    uint64_t last_addr, last_index, in_page;
    uint64_t budget;            /* of hot pages */
    uint64_t page[WORLD_PAGES]; /* all different */
    unsigned npages, nblocks;
    bool trapped[WORLD_PAGES];
    bool left[WORLD_PAGES]; /* by a reset: trapped, without blocks */
    uint64_t leaf[WORLD_LEAVES];
    unsigned nleaves;
    struct block block[WORLD_BLOCKS];
    struct block *equal; /* the block that publish returns */
    unsigned nretired;   /* calls */

    uint64_t hits;       /* stores that killed a block, by the table's figures after the last operation */
    unsigned least_hits; /* how many more of them there are by the oracle, at least and at most */
    unsigned most_hits;

    unsigned fail_in; /* how many allocations from now one fails; 0: none does */
    bool failed;      /* one has, in this operation */

    bool trylock_fails;
    unsigned tries, pattern; /* of trylock: how many follow the pattern */
    unsigned nrefused;

    struct pgl_turn turn; /* of a waiter that starves, if it has a page */
};

/* Operations (table_waits.c). */
void op_starve(struct world *world);
void op_store_to_killed(struct world *world);

/* Run at most @nsteps operations of an input. Return how often trylock was refused. */
unsigned fuzz_table_run(const uint8_t *data, size_t size, unsigned nsteps);

/* Begin with a table, pages and blocks as the input says. One world at a time. */
void world_begin(struct world *world);
void world_end(struct world *world);

/* The oracle. */
bool *world_trap_of(struct world *world, uint64_t index);
void world_note_leaf(struct world *world, uint64_t index);
void world_note_leaf_if_there(struct world *world, uint64_t index);
void world_trim(struct world *world);
bool world_is_in_table(const struct world *world, uint64_t addr, uint64_t len);
bool world_leaf_exists(const struct world *world, uint64_t index);
bool world_is_partner(const struct world *world, uint64_t index, uint64_t first, uint64_t last);
bool world_kill(struct block *block);
void world_reset(struct world *world);
bool world_meets(const struct block *block, uint64_t first, uint64_t last);
bool world_kill_range(struct world *world, uint64_t first, uint64_t last);
void world_note_store(struct world *world, bool hit);
void world_compare_blocks(struct world *world);
void world_compare_pages(struct world *world);

/* Choices that the input makes. */
struct block *world_any_block(struct world *world);
uint64_t world_any_page(struct world *world);
uint64_t world_any_addr(struct world *world);
uint64_t world_any_len(struct world *world); /* of a store */
const struct pgl_tb *world_any_running(struct world *world, const struct block **running);
struct block *world_any_new(struct world *world);
unsigned world_choose_extents(struct world *world, struct block *block, uint64_t *pages);
void world_choose_bytes(struct world *world, struct block *block, unsigned choice, uint64_t index);

#endif
