/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The services of the system under their names in Windows, which has no fork(). */
#include "os_internal.h"

#include <malloc.h>
#include <windows.h>

void *pgl_os_aligned_alloc(size_t alignment, size_t size)
{
    return _aligned_malloc(size, alignment);
}

void pgl_os_aligned_free(void *memory)
{
    _aligned_free(memory);
}

void *pgl_os_pages_alloc(size_t size)
{
    return VirtualAlloc(NULL, size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
}

void pgl_os_pages_free(void *memory, size_t size)
{
    (void)size;
    VirtualFree(memory, 0, MEM_RELEASE);
}

void pgl_os_at_fork(void (*before)(void), void (*after)(void))
{
    (void)before;
    (void)after;
}
