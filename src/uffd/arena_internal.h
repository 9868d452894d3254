/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A heap that is not malloc(). A thread that forks holds malloc's locks, and with userfaultfd it sleeps in fork() until
 * a handler has read its event. A handler that called malloc() would wait for that thread, and both would wait for
 * ever. Private.
 */
#ifndef PGL_UFFD_ARENA_INTERNAL_H
#define PGL_UFFD_ARENA_INTERNAL_H

#include <pthread.h>
#include <stddef.h>

#include <pagelock/object.h>

#define PGL_ARENA_CLASSES 11 /* blocks of 64 bytes to 64 KiB; larger blocks are mapped one by one */

struct pgl_arena {
    pthread_mutex_t lock;
    struct pgl_arena_block *free[PGL_ARENA_CLASSES];
    struct pgl_arena_slab *slabs;
    size_t slab_used;
};

/* The heap that these functions take is a struct pgl_arena. */
extern const struct pgl_heap_ops pgl_arena_heap_ops;

/* Returns a block of zeros, or NULL. */
static inline void *pgl_arena_alloc(struct pgl_arena *arena, size_t size)
{
    return pgl_arena_heap_ops.alloc(arena, size);
}

static inline void pgl_arena_free(struct pgl_arena *arena, void *block)
{
    if (block) {
        pgl_arena_heap_ops.free(arena, block);
    }
}

bool pgl_arena_init(struct pgl_arena *arena);

/* Free all blocks but those of more than 64 KiB. */
void pgl_arena_fini(struct pgl_arena *arena);

#endif
