/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An emulator has these with or without libpagelock: translated blocks, a hash table to find them in, one jump cache
 * per hart, jumps from block to block that are patched in place, and a way to free blocks that some hart may still be
 * running.
 */
#ifndef PGL_TESTS_GUEST_BLOCK_H
#define PGL_TESTS_GUEST_BLOCK_H

#include <pthread.h>

#include <pagelock/pagelock.h>

#include "isa.h"
#include "program.h"

enum {
    BLOCK_INSNS = 8,
    SUPERBLOCK_INSNS = 24, /* of a block that goes on behind direct jumps */
    BLOCK_BYTES = SUPERBLOCK_INSNS * INSN_MAX,
    EXTENTS_MAX = 2 * SUPERBLOCK_INSNS,
    HASH_SIZE = 256,
    JUMP_CACHE_SIZE = 64,
};

/* A direct jump at a block's end; @to is NULL until it is chained. */
struct jump {
    struct block *to;
    struct jump *next; /* in the list of jumps that lead to the same block */
};

struct block {
    struct pgl_tb tb;
    uint64_t va; /* the key: where it begins, in virtual and in physical addresses */
    uint64_t pa;
    unsigned ninsns, size;
    struct insn insn[SUPERBLOCK_INSNS];
    struct jump jump[2]; /* to the next instruction, to where a branch leads */
    struct jump *incoming;
    struct block *hash_next;
    struct block *grave_next;
    uint64_t grave_epoch;
    struct pgl_extent extents[EXTENTS_MAX];
    uint64_t at[BLOCK_BYTES];      /* where each byte lies */
    uint64_t version[BLOCK_BYTES]; /* for the test: what it was made from */
};

/* One hart's part in finding blocks and in letting them be freed. */
struct finder {
    struct block *jump_cache[JUMP_CACHE_SIZE];
    uint64_t seen; /* the epoch in which it last held no block; UINT64_MAX: it never holds one again */
};

/* The lock comes after all page locks. Everything is read without it, and written with it held. */
struct blocks {
    pthread_mutex_t lock;
    struct block *bucket[HASH_SIZE];
    struct block *graves; /* dead, but a hart may still run them; the youngest first */
    uint64_t ngraves;
    uint64_t epoch;
    struct finder *finder[HARTS_MAX];
    unsigned nfinders;
    bool keep_caches; /* a mistake on purpose: the dead stay in the jump caches (and their memory stays too) */
};

void blocks_init(struct blocks *blocks);

/* Every block has been retired. */
void blocks_fini(struct blocks *blocks);

/* Before any hart runs. */
void blocks_add_finder(struct blocks *blocks, struct finder *finder);

struct block *block_new(uint64_t va, uint64_t pa);
void block_free(struct block *block);

/* Make a block findable, or return the equal one that is. */
struct block *blocks_publish(struct blocks *blocks, struct block *block);

/* Make a chain of dead blocks unfindable; returns how many. */
unsigned blocks_bury(struct blocks *blocks, struct pgl_tb *chain);

/*
 * The three ways to find a block, the fastest first; none takes a lock. A block from the hash table goes into the
 * hart's jump cache.
 */
struct block *blocks_chained(const struct jump *from);
struct block *blocks_cached(const struct finder *finder, uint64_t va);
struct block *blocks_find(struct blocks *blocks, struct finder *finder, uint64_t va, uint64_t pa);

/* Put a live block into a jump cache. */
void blocks_cache(struct finder *finder, struct block *block);

/* Let the jump @from, of the block @of, lead straight to @to, if both are alive. */
void blocks_chain(struct blocks *blocks, struct block *of, struct jump *from, struct block *to);

/* The hart holds no pointer to any block. Frees the dead that no hart can hold any more. */
void blocks_quiesce(struct blocks *blocks, struct finder *finder);

/* The hart never looks at a block again. */
void blocks_leave(struct finder *finder);

/* Lose some time at random, so that other harts get in between; once in @odds calls a turn of the processor. */
void jitter(unsigned odds);

#endif
