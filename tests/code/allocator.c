/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "allocator.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
int __real_posix_memalign(void **memory, size_t align, size_t size);
void __real_free(void *memory);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
int __wrap_posix_memalign(void **memory, size_t align, size_t size);
void __wrap_free(void *memory);

unsigned n_allocations;
unsigned n_living;
unsigned n_overruns;
void (*before_leaf)(void);
void (*at_malloc)(void);

static unsigned fail_at;            /* this allocation fails; 0: none */
static void *living[4096];          /* allocated and not freed */
static unsigned char *guards[4096]; /* the bytes behind each, if it has such */

static bool may_allocate(void)
{
    if (++n_allocations != fail_at) {
        return true;
    }
    errno = ENOMEM;
    return false;
}

enum {
    GUARD_BYTES = 256,
    GUARD = 0xa5,
};

static void *note_living(void *memory, unsigned char *guard)
{
    if (memory && n_living < sizeof(living) / sizeof(*living)) {
        guards[n_living] = guard;
        living[n_living++] = memory;
    }
    return memory;
}

static bool is_overwritten(const unsigned char *guard)
{
    for (unsigned i = 0; guard && i < GUARD_BYTES; i++) {
        if (guard[i] != GUARD) {
            return true;
        }
    }
    return false;
}

void *__wrap_malloc(size_t size)
{
    unsigned char *memory = may_allocate() ? __real_malloc(size + GUARD_BYTES) : NULL;

    if (at_malloc) {
        at_malloc();
    }
    if (!memory) {
        return NULL;
    }
    memset(memory + size, GUARD, GUARD_BYTES);
    return note_living(memory, memory + size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return may_allocate() ? note_living(__real_calloc(n, size), NULL) : NULL;
}

int __wrap_posix_memalign(void **memory, size_t align, size_t size)
{
    void (*hook)(void) = before_leaf;
    int error;

    before_leaf = NULL;
    if (hook) {
        hook();
    }
    if (!may_allocate()) {
        return ENOMEM;
    }
    error = __real_posix_memalign(memory, align, size);
    if (!error) {
        note_living(*memory, NULL);
    }
    return error;
}

void __wrap_free(void *memory)
{
    for (unsigned i = n_living; i-- > 0;) {
        if (living[i] == memory) {
            n_overruns += is_overwritten(guards[i]);
            living[i] = living[--n_living];
            guards[i] = guards[n_living];
            break;
        }
    }
    __real_free(memory);
}

void count_from_here(unsigned fail)
{
    n_allocations = 0;
    fail_at = fail;
}

bool did_fail(void)
{
    bool failed = fail_at && n_allocations >= fail_at;

    fail_at = 0;
    return failed;
}
