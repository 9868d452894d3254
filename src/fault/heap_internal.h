/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Zeroed memory from the caller's heap, or from calloc() where @ops is NULL. Private. */
#ifndef PGL_FAULT_HEAP_INTERNAL_H
#define PGL_FAULT_HEAP_INTERNAL_H

#include <stdlib.h>

#include <pagelock/object.h>

static inline void *pgl_heap_alloc(const struct pgl_heap_ops *ops, void *heap, size_t size)
{
    return ops ? ops->alloc(heap, size) : calloc(1, size);
}

static inline void pgl_heap_free(const struct pgl_heap_ops *ops, void *heap, void *block)
{
    if (!block) {
        return;
    }
    if (ops) {
        ops->free(heap, block);
    } else {
        free(block);
    }
}

#endif
