/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The services of the system under their names in POSIX. */
#include "os_internal.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

void *pgl_os_aligned_alloc(size_t alignment, size_t size)
{
    void *memory;

    return posix_memalign(&memory, alignment, size) ? NULL : memory;
}

void pgl_os_aligned_free(void *memory)
{
    free(memory);
}

void *pgl_os_pages_alloc(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return memory == MAP_FAILED ? NULL : memory;
}

void pgl_os_pages_free(void *memory, size_t size)
{
    munmap(memory, size);
}

void pgl_os_at_fork(void (*before)(void), void (*after)(void))
{
    pthread_atfork(before, after, after);
}
