/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A very small emulator for the scenarios: guest memory of a few words a page, blocks that remember the words they were
 * made from, a table in which blocks are found by their key, and a jump cache of one entry a thread.
 *
 * Its claim is the library's first promise: once a store's check has returned, no block is found that was made from
 * older bytes; at the end every block is either alive, found and up to date, or was retired exactly once.
 */
#ifndef PGL_TESTS_EXPLORE_WORLD_H
#define PGL_TESTS_EXPLORE_WORLD_H

#include <pagelock/pagelock.h>

#include "explore.h"

#define PAGE_BITS 12u
#define SLOTS 4u /* words a page, far enough from each other to have mask bits of their own */
#define SLOT_BYTES 4u
#define PAGES 8u
#define NO_CROSSING PAGES
#define FAR_PAGE 600u /* pages 4 to 7 lie in leaves of their own */
#define FARTHER_PAGE 1200u
#define PARTS 5u /* words a block is made of, at most */
#define KEYS 4u
#define BLOCKS 6u

#define INDEX(page) ((page) < 4 ? (uint64_t)(page) : ((page)-3u) * (uint64_t)FAR_PAGE)
#define ADDR(page, slot) (INDEX(page) << PAGE_BITS | (slot)*1024u)
#define LAST_ADDR(page, slot) (ADDR(page, slot) + SLOT_BYTES - 1u)

struct block {
    struct pgl_tb tb;
    unsigned int key;
    unsigned int nparts;
    struct part {
        unsigned int page, slot;
        uint64_t seen;
    } parts[PARTS];
    struct pgl_extent extents[PARTS]; /* of a block with more than two parts */
    bool linked;
    unsigned int retired;
};

struct world {
    struct pgl_table *table;
    uint64_t memory[PAGES][SLOTS];
    struct block blocks[BLOCKS];
    struct block *found[KEYS];
    struct pgl_tb *cached[EXPLORE_THREADS];
    bool trapped[PAGES]; /* between first_code and no_code; written under the page's lock */
    bool uses_traps;     /* untrapped stores are not checked: see trapping_store() */
    bool fences_traps;   /* nor here, but a trap is a flag without a lock: see fenced_store() */
    uintptr_t trap_lock;
    unsigned int used_keys;
};
extern struct world world;

/* The number of the page with an index; PAGES for none. */
unsigned int world_page_of(uint64_t index);

/* A new world: whose leaf of pages 0 to 3 exists; without a leaf; without a leaf or the node that is above the leaves.
 */
void world_init(void);
void world_init_empty(void);
void world_init_deep(void);
void world_init_asymmetric(void); /* empty, with asymmetric fences */

/* All blocks are forgotten by pgl_table_reset(), and their memory is new again. Alone, before the threads. */
void world_reset(void);

/* The claim, then everything is killed and freed. */
void world_final(void);

/* Read a guest word as a translator does, write one as a vCPU does. */
uint64_t guest_load(unsigned int page, unsigned int slot);
void guest_store(unsigned int page, unsigned int slot, uint64_t value);

/* Make block @block of one word, or of two; false when an equal one existed. Findable by @key from then on. */
bool translate(unsigned int block, unsigned int key, unsigned int page, unsigned int slot);
bool translate_two(unsigned int block, unsigned int key, unsigned int page, unsigned int slot, unsigned int page2,
                   unsigned int slot2);

/* Make block @block of @n words in this order, one to PARTS, on pages of any order. */
bool translate_many(unsigned int block, unsigned int key, const struct part *parts, unsigned int n);

/* The way of a translator, and the block that it makes: it may cross, and not need the second page's bytes. */
struct shape {
    unsigned int begin;
    unsigned int cross; /* NO_CROSSING, or the page it crosses into */
    unsigned int nparts;
    struct part parts[2]; /* on pages of the bracket */
};
bool translate_shape(unsigned int block, unsigned int key, const struct shape *shape);

/* Store, then check. A word is stored to by one thread, ever growing values. Returns what the check answers. */
int checked_store(unsigned int page, unsigned int slot, uint64_t value);

/* Store, and check only if the page is trapped. */
void trapping_store(unsigned int page, unsigned int slot, uint64_t value);

/* Store, fence, and check only if the page is trapped by then. */
void fenced_store(unsigned int page, unsigned int slot, uint64_t value);

/* Fail if a block is found that read less than @value from the word. */
void expect_fresh(unsigned int page, unsigned int slot, uint64_t value);

/* The block that @key finds, or NULL. */
struct block *find_block(unsigned int key);

int kill_block(unsigned int block);
int kill_words(unsigned int page, unsigned int slot, unsigned int page2, unsigned int slot2);

#endif
