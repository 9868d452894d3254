/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "block.h"

#include <sched.h>
#include <stdlib.h>

enum { GRAVES_MAX = 32 }; /* dead blocks before a hart looks whether they can be freed */

void jitter(unsigned odds)
{
    static __thread uint32_t random;

    random = random * 1664525u + 1013904223u + (uint32_t)(uintptr_t)&random;
    if ((random >> 16) % odds == 0) {
        sched_yield();
    } else if (random >> 27 == 1) {
        for (volatile unsigned i = 0; i < (random >> 16 & 255); i++) {
            ;
        }
    }
}

static struct block *block_of(struct pgl_tb *tb)
{
    return (struct block *)tb; /* its first member */
}

struct block *block_new(uint64_t va, uint64_t pa)
{
    struct block *block = aligned_alloc(_Alignof(struct block), sizeof(*block));

    if (!block) {
        abort();
    }
    *block = (struct block){.va = va, .pa = pa};
    pgl_tb_init(&block->tb);
    return block;
}

void block_free(struct block *block)
{
    free(block);
}

/* ---- finding ---- */

static struct block **bucket_of(struct blocks *blocks, uint64_t va, uint64_t pa)
{
    return &blocks->bucket[(va ^ pa >> 3) % HASH_SIZE];
}

static struct block *search(struct block *const *bucket, uint64_t va, uint64_t pa)
{
    struct block *block = __atomic_load_n(bucket, __ATOMIC_ACQUIRE);

    while (block && (block->va != va || block->pa != pa)) {
        block = __atomic_load_n(&block->hash_next, __ATOMIC_ACQUIRE);
    }
    return block;
}

static struct block **cache_slot(const struct finder *finder, uint64_t va)
{
    return (struct block **)&finder->jump_cache[(va ^ va >> 6) % JUMP_CACHE_SIZE];
}

struct block *blocks_chained(const struct jump *from)
{
    return from ? __atomic_load_n(&from->to, __ATOMIC_ACQUIRE) : NULL;
}

struct block *blocks_cached(const struct finder *finder, uint64_t va)
{
    struct block *block = __atomic_load_n(cache_slot(finder, va), __ATOMIC_ACQUIRE);

    return block && block->va == va ? block : NULL;
}

/*
 * A thread that kills a block marks it dead, fences, and then wipes the caches. This function caches, fences, and then
 * asks. Therefore either the wiping finds the block here, or the asking finds it dead.
 */
void blocks_cache(struct finder *finder, struct block *block)
{
    struct block **slot = cache_slot(finder, block->va);

    jitter(256);
    __atomic_store_n(slot, block, __ATOMIC_RELAXED);
    pgl_fence();
    if (!pgl_tb_is_live(&block->tb)) {
        __atomic_store_n(slot, NULL, __ATOMIC_RELAXED);
    }
}

struct block *blocks_find(struct blocks *blocks, struct finder *finder, uint64_t va, uint64_t pa)
{
    struct block *block = search(bucket_of(blocks, va, pa), va, pa);

    if (block) {
        blocks_cache(finder, block);
    }
    return block;
}

void blocks_chain(struct blocks *blocks, struct block *of, struct jump *from, struct block *to)
{
    pthread_mutex_lock(&blocks->lock);
    /* A thread that kills one of them marks it before it takes this lock to undo its jumps. */
    if (pgl_tb_is_live(&of->tb) && pgl_tb_is_live(&to->tb) && !from->to) {
        from->next = to->incoming;
        to->incoming = from;
        __atomic_store_n(&from->to, to, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&blocks->lock);
}

/* ---- publishing and burying, with pages held ---- */

struct block *blocks_publish(struct blocks *blocks, struct block *block)
{
    struct block **bucket = bucket_of(blocks, block->va, block->pa);
    struct block *equal;

    pthread_mutex_lock(&blocks->lock);
    equal = search(bucket, block->va, block->pa);
    if (!equal) {
        block->hash_next = *bucket;
        __atomic_store_n(bucket, block, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&blocks->lock);
    return equal;
}

/* A hart that stands on @block in the bucket goes on from there: its own link stays. */
static void take_from_hash(struct blocks *blocks, struct block *block)
{
    struct block **link = bucket_of(blocks, block->va, block->pa);

    while (*link != block) {
        link = &(*link)->hash_next;
    }
    __atomic_store_n(link, block->hash_next, __ATOMIC_RELEASE);
}

static void undo_jump(struct jump *jump)
{
    struct jump **link;

    if (!jump->to) {
        return;
    }
    for (link = &jump->to->incoming; *link != jump; link = &(*link)->next) {
        ;
    }
    *link = jump->next;
    __atomic_store_n(&jump->to, NULL, __ATOMIC_RELAXED);
}

static void undo_jumps(struct block *block)
{
    while (block->incoming) {
        undo_jump(block->incoming);
    }
    undo_jump(&block->jump[0]);
    undo_jump(&block->jump[1]);
}

static void wipe_caches(struct blocks *blocks, const struct block *block)
{
    for (unsigned i = 0; i < blocks->nfinders && !blocks->keep_caches; i++) {
        struct block **slot = cache_slot(blocks->finder[i], block->va);

        if (__atomic_load_n(slot, __ATOMIC_RELAXED) == block) {
            __atomic_store_n(slot, NULL, __ATOMIC_RELAXED);
        }
    }
}

unsigned blocks_bury(struct blocks *blocks, struct pgl_tb *chain)
{
    unsigned n = 0;

    pthread_mutex_lock(&blocks->lock);
    for (struct pgl_tb *tb = chain; tb; tb = pgl_tb_chain_next(tb), n++) {
        struct block *block = block_of(tb);

        take_from_hash(blocks, block);
        undo_jumps(block);
        wipe_caches(blocks, block);
        block->grave_next = blocks->graves;
        block->grave_epoch = blocks->epoch;
        blocks->graves = block;
    }
    __atomic_store_n(&blocks->ngraves, blocks->ngraves + n, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&blocks->lock);
    return n;
}

/* ---- freeing ---- */

/*
 * A hart that was without blocks in an epoch later than the one a block was buried in cannot have found it since. With
 * the lock held: take the blocks of which that is true of every hart.
 */
static struct block *take_graves(struct blocks *blocks)
{
    uint64_t oldest = blocks->epoch + 1, freed_count = 0;
    struct block **link = &blocks->graves, *freed;

    __atomic_store_n(&blocks->epoch, oldest, __ATOMIC_RELEASE); /* pairs with the acquire in blocks_quiesce() */
    for (unsigned i = 0; i < blocks->nfinders; i++) {
        uint64_t seen = __atomic_load_n(&blocks->finder[i]->seen, __ATOMIC_ACQUIRE);

        if (seen < oldest) {
            oldest = seen;
        }
    }
    while (*link && (*link)->grave_epoch >= oldest) {
        link = &(*link)->grave_next;
    }
    freed = *link;
    *link = NULL;
    for (const struct block *block = freed; block; block = block->grave_next) {
        freed_count++;
    }
    __atomic_store_n(&blocks->ngraves, blocks->ngraves - freed_count, __ATOMIC_RELAXED);
    return freed;
}

void blocks_quiesce(struct blocks *blocks, struct finder *finder)
{
    struct block *block, *next;

    /* release: this hart's uses of blocks are over. acquire: it sees the burials of the epochs before. */
    __atomic_store_n(&finder->seen, __atomic_load_n(&blocks->epoch, __ATOMIC_ACQUIRE), __ATOMIC_RELEASE);
    if (blocks->keep_caches || __atomic_load_n(&blocks->ngraves, __ATOMIC_RELAXED) < GRAVES_MAX) {
        return;
    }
    pthread_mutex_lock(&blocks->lock);
    block = take_graves(blocks);
    pthread_mutex_unlock(&blocks->lock);
    for (; block; block = next) {
        next = block->grave_next;
        block_free(block);
    }
}

void blocks_leave(struct finder *finder)
{
    __atomic_store_n(&finder->seen, UINT64_MAX, __ATOMIC_RELEASE);
}

void blocks_init(struct blocks *blocks)
{
    *blocks = (struct blocks){.epoch = 1};
    pthread_mutex_init(&blocks->lock, NULL);
}

void blocks_fini(struct blocks *blocks)
{
    struct block *block, *next;

    for (block = blocks->graves; block; block = next) {
        next = block->grave_next;
        block_free(block);
    }
    pthread_mutex_destroy(&blocks->lock);
}

void blocks_add_finder(struct blocks *blocks, struct finder *finder)
{
    blocks->finder[blocks->nfinders++] = finder;
}
