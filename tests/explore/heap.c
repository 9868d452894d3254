/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The allocations of a schedule. Each thread takes from its own part of one region, never twice from the same place, so
 * that addresses depend on nothing but the thread's own past; all is forgotten at the end. An access outside what is
 * allocated fails the schedule, one to memory whose initialisation is not visible to the thread yet does, and memory
 * still allocated when the scenario is over is a leak.
 *
 * The linker puts these functions in the place of the allocator's (-Wl,--wrap), for the library's and the scenarios'
 * calls.
 */
#include "engine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define GRAIN 16
#define PART ((size_t)1 << 20)
#define PARTS (EXPLORE_THREADS + 1)
#define MAX_CHUNKS 4096
#define LARGE ((size_t)64 << 10) /* what is larger has a slot of its own, and accesses to it are not checked */
#define SLOT ((size_t)2 << 20)
#define SLOTS 4

struct chunk {
    uintptr_t address;
    size_t size;
    int thread;
    uint32_t clock;
    bool live;
};

static struct {
    char *region;
    char *slots;
    bool slot_used[SLOTS];
    size_t used[PARTS];
    uint16_t owner[PARTS * PART / GRAIN]; /* chunk + 1 of each grain */
    struct chunk chunks[MAX_CHUNKS];
    unsigned int nchunks;
    unsigned int fail_in[PARTS]; /* 1: the next allocation fails */
} heap;

void *__real_malloc(size_t size);
void __real_free(void *memory);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void __wrap_free(void *memory);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
int __wrap_posix_memalign(void **memory, size_t alignment, size_t size);

/* Aligned to @alignment, so that what is aligned within it is aligned. */
static char *reserve(size_t size, size_t alignment)
{
    char *memory =
        mmap(NULL, size + alignment, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        perror("explore: heap");
        exit(1);
    }
    return memory + (-(uintptr_t)memory & (alignment - 1));
}

void heap_init(void)
{
    heap.region = reserve(PARTS * PART, PART);
    heap.slots = reserve(SLOTS * SLOT, SLOT);
}

bool heap_owns(uintptr_t address)
{
    return address - (uintptr_t)heap.region < PARTS * PART;
}

void heap_reset(void)
{
    for (size_t part = 0; part < PARTS; part++) {
        memset(&heap.owner[part * PART / GRAIN], 0, heap.used[part] / GRAIN * sizeof *heap.owner);
        heap.used[part] = 0;
        heap.fail_in[part] = 0;
    }
    heap.nchunks = 0;
    memset(heap.slot_used, 0, sizeof heap.slot_used);
}

static struct chunk *find_chunk(uintptr_t address)
{
    unsigned int owner = heap.owner[(address - (uintptr_t)heap.region) / GRAIN];
    return owner == 0 ? NULL : &heap.chunks[owner - 1];
}

void heap_check(uintptr_t address, size_t size, const void *pc)
{
    if (!heap_owns(address)) {
        return;
    }
    const struct chunk *chunk = find_chunk(address);
    if (!chunk || address + size > chunk->address + chunk->size) {
        engine_trace(pc, "access to [%zx]", (size_t)address);
        explore_fail("access outside of what was allocated");
    }
    if (!chunk->live) {
        engine_trace(pc, "access to [%zx]", (size_t)address);
        explore_fail("access to freed memory");
    }
    if (chunk->thread != ALONE && chunk->thread != explore_self() &&
        !memory_clock_before(chunk->thread, chunk->clock)) {
        engine_trace(pc, "access to [%zx]", (size_t)address);
        explore_fail("data race: access to memory that thread %d allocated, without synchronization", chunk->thread);
    }
}

void heap_check_leaks(void)
{
    for (unsigned int i = 0; i < heap.nchunks; i++) {
        if (heap.chunks[i].live) {
            explore_fail("leak: %zu bytes allocated by thread %d", heap.chunks[i].size, heap.chunks[i].thread);
        }
    }
    for (size_t i = 0; i < SLOTS; i++) {
        if (heap.slot_used[i]) {
            explore_fail("leak: a large block");
        }
    }
}

static void *allocate_slot(size_t size)
{
    for (size_t i = 0; i < SLOTS && size <= SLOT; i++) {
        if (!heap.slot_used[i]) {
            heap.slot_used[i] = true;
            return heap.slots + i * SLOT;
        }
    }
    explore_fail("the explorer's heap has no slot left");
}

static bool release_slot(const void *memory)
{
    size_t offset = (size_t)((uintptr_t)memory - (uintptr_t)heap.slots);
    bool owned = offset < SLOTS * SLOT;

    if (owned && (offset % SLOT != 0 || !heap.slot_used[offset / SLOT])) {
        explore_fail("free of what was not allocated");
    }
    if (owned) {
        heap.slot_used[offset / SLOT] = false;
    }
    return owned;
}

void explore_fail_allocation(unsigned int skip)
{
    heap.fail_in[explore_self() + 1] = skip + 1;
}

static void *allocate(size_t alignment, size_t size, int fill)
{
    size_t part = (size_t)(explore_self() + 1);
    size_t start = (part * PART + heap.used[part] + GRAIN + alignment - 1) & ~(alignment - 1);
    size_t grains = size / GRAIN + 1; /* with a gap behind it */

    if (heap.fail_in[part] > 0 && --heap.fail_in[part] == 0) {
        engine_trace(__builtin_return_address(0), "allocation of %zu bytes fails", size);
        errno = ENOMEM;
        return NULL;
    }
    if (size > LARGE) {
        return allocate_slot(size);
    }
    if (start + grains * GRAIN > (part + 1) * PART || heap.nchunks == MAX_CHUNKS) {
        explore_fail("the explorer's heap is full");
    }
    heap.used[part] = start + grains * GRAIN - part * PART;
    heap.chunks[heap.nchunks++] = (struct chunk){
        .address = (uintptr_t)heap.region + start,
        .size = size,
        .thread = explore_self(),
        .clock = explore_self() == ALONE ? 0 : memory_clock(),
        .live = true,
    };
    for (size_t i = 0; i < grains; i++) {
        heap.owner[start / GRAIN + i] = (uint16_t)heap.nchunks;
    }
    return memset(heap.region + start, fill, size);
}

static void release(void *memory)
{
    struct chunk *chunk = find_chunk((uintptr_t)memory);

    if (!chunk || chunk->address != (uintptr_t)memory) {
        explore_fail("free of what was not allocated");
    }
    if (!chunk->live) {
        explore_fail("freed twice");
    }
    if (explore_self() != ALONE) {
        memory_freed(chunk->address, chunk->size, __builtin_return_address(0));
    }
    chunk->live = false;
}

void *__wrap_malloc(size_t size)
{
    return engine_running() ? allocate(GRAIN, size, 0xa5) : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    size_t total;

    if (!engine_running()) {
        return __real_calloc(n, size);
    }
    if (__builtin_mul_overflow(n, size, &total)) {
        errno = ENOMEM;
        return NULL;
    }
    return allocate(GRAIN, total, 0);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return engine_running() ? allocate(alignment > GRAIN ? alignment : GRAIN, size, 0xa5)
                            : __real_aligned_alloc(alignment, size);
}

int __wrap_posix_memalign(void **memory, size_t alignment, size_t size)
{
    void *allocated = __wrap_aligned_alloc(alignment, size);

    if (!allocated) {
        return ENOMEM;
    }
    *memory = allocated;
    return 0;
}

void __wrap_free(void *memory)
{
    if (!memory) {
        return;
    }
    if (heap_owns((uintptr_t)memory)) {
        release(memory);
    } else if (!release_slot(memory)) {
        __real_free(memory);
    }
}

void *__wrap_realloc(void *memory, size_t size)
{
    if (!engine_running()) {
        return __real_realloc(memory, size);
    }
    void *moved = allocate(GRAIN, size, 0xa5);
    if (memory && moved) {
        size_t old = find_chunk((uintptr_t)memory)->size;
        memcpy(moved, memory, old < size ? old : size);
        release(memory);
    }
    return moved;
}
