/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A heap in slabs of anonymous memory. Blocks have the size of a power of two, and a free one is on the list of its
 * class. Larger blocks are mapped one by one. The lock protects the lists and the slabs.
 */
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "arena_internal.h"

#define SMALLEST 64
#define LARGEST (SMALLEST << (PGL_ARENA_CLASSES - 1))
#define SLAB_SIZE (16 * (size_t)LARGEST)

/* The header of a block. While the block is free, the link to the next one of its class follows. */
struct pgl_arena_block {
    size_t size;   /* bytes, with this header */
    size_t unused; /* keeps the block aligned to 16 bytes */
    struct pgl_arena_block *next[];
};

/* The start of each slab. */
struct pgl_arena_slab {
    struct pgl_arena_slab *next;
};

static void *map_pages(size_t size)
{
    void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return pages != MAP_FAILED ? pages : NULL;
}

/*
 * Cut a block from the newest slab. If it does not fit, map another slab; the rest of the old one stays unused. The
 * arena is locked.
 */
static struct pgl_arena_block *cut(struct pgl_arena *arena, size_t size)
{
    struct pgl_arena_block *block;

    if (!arena->slabs || arena->slab_used + size > SLAB_SIZE) {
        struct pgl_arena_slab *slab = map_pages(SLAB_SIZE);

        if (!slab) {
            return NULL;
        }
        slab->next = arena->slabs;
        arena->slabs = slab;
        arena->slab_used = SMALLEST;
    }
    block = (struct pgl_arena_block *)(void *)((char *)arena->slabs + arena->slab_used);
    arena->slab_used += size;
    return block;
}

static unsigned class_of(size_t size)
{
    return size <= SMALLEST ? 0 : (unsigned)(64 - __builtin_clzll(size - 1)) - (unsigned)__builtin_ctz(SMALLEST);
}

static void *arena_alloc(void *heap, size_t size)
{
    struct pgl_arena *arena = heap;
    struct pgl_arena_block *block;
    unsigned class;

    size += sizeof(*block);
    if (size > LARGEST) {
        block = map_pages(size);
        if (block) {
            block->size = size;
        }
        return block ? block->next : NULL;
    }
    class = class_of(size);
    size = (size_t)SMALLEST << class;
    pthread_mutex_lock(&arena->lock);
    block = arena->free[class];
    if (block) {
        arena->free[class] = block->next[0];
    } else {
        block = cut(arena, size);
    }
    pthread_mutex_unlock(&arena->lock);
    if (!block) {
        return NULL;
    }
    block->size = size;
    return memset(block->next, 0, size - sizeof(*block));
}

static void arena_free(void *heap, void *freed)
{
    struct pgl_arena *arena = heap;
    struct pgl_arena_block *block = (struct pgl_arena_block *)(void *)((char *)freed - sizeof(*block));

    if (block->size > LARGEST) {
        munmap(block, block->size);
        return;
    }
    pthread_mutex_lock(&arena->lock);
    block->next[0] = arena->free[class_of(block->size)];
    arena->free[class_of(block->size)] = block;
    pthread_mutex_unlock(&arena->lock);
}

const struct pgl_heap_ops pgl_arena_heap_ops = {arena_alloc, arena_free};

bool pgl_arena_init(struct pgl_arena *arena)
{
    memset(arena, 0, sizeof(*arena));
    return pthread_mutex_init(&arena->lock, NULL) == 0;
}

void pgl_arena_fini(struct pgl_arena *arena)
{
    while (arena->slabs) {
        struct pgl_arena_slab *slab = arena->slabs;

        arena->slabs = slab->next;
        munmap(slab, SLAB_SIZE);
    }
    pthread_mutex_destroy(&arena->lock);
}
