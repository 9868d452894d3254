/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The explorer's inside: engine.c runs threads one step at a time, memory.c is what they read and write, heap.c where
 * they allocate, search.c chooses the schedules.
 */
#ifndef PGL_TESTS_EXPLORE_ENGINE_H
#define PGL_TESTS_EXPLORE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "explore.h"

/* A number no thread has: nothing but the code before and after the threads runs. */
#define ALONE (-1)

/* One thing that may happen next. */
enum choice_kind {
    CHOICE_RUN,   /* thread arg goes on */
    CHOICE_FLUSH, /* the oldest store in thread arg's buffer reaches memory */
    CHOICE_STALE, /* the load returns the value that was overwritten arg stores ago; or a wait ends by itself */
};

struct choice {
    uint8_t kind;
    uint8_t arg;
};

#define MAX_CHOICES 16
#define MAX_DECISIONS 512 /* a schedule goes on with the defaults after so many */

/*
 * A place at which a schedule leaves the default (go on with the running thread; newest value). It is named by the
 * thread and the number of choices that the thread made before; therefore dropping one decision leaves the meaning of
 * the others.
 */
struct decision {
    uint8_t thread;
    uint8_t kind;
    uint8_t arg;
    uint16_t step;
};

/*
 * Choose one of @n choices. The first @nfree cost nothing; each other one is a deviation: a preemption, a store that
 * leaves its buffer early, a stale load. The first is the default.
 */
typedef unsigned int (*explore_pick)(const struct choice *choices, unsigned int n, unsigned int nfree);

struct run {
    const struct explore_scenario *scenario;
    enum explore_memory memory;
    bool plain_points; /* plain accesses are choices too */
    explore_pick pick;
    FILE *trace; /* each step, or NULL */
    /* The answer. */
    bool failed;
    char why[512];
    uint64_t signature; /* of the sequence of steps */
    uint64_t behaviour; /* of what each step read and wrote: the same for schedules that no thread can distinguish */
    unsigned int points;
    unsigned int deviations;
    unsigned int ndecisions;
    struct decision decisions[MAX_DECISIONS];
};

/* Run one schedule. */
void engine_run(struct run *run);

/* The thread that chooses, and how often it did before: a strategy that replays knows its decisions by these. */
unsigned int engine_step(void);
int engine_chooser(void);

/* A choice within the running thread: which of @n values a load returns, or whether it wakes by itself. */
unsigned int engine_choose_value(unsigned int n);

/* A scheduling point of the running thread, before it does something that others may see. */
void engine_point(void);

/* Block the running thread until @ready answers true; @ready looks at nothing but the two words and the runtime. */
void engine_block(bool (*ready)(uintptr_t a, uintptr_t b), uintptr_t a, uintptr_t b);

/* Record in the trace what the running thread does, at which place in the code. */
void engine_trace(const void *pc, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Add a step to the behaviour. */
void engine_event(uint64_t who, uint64_t what, uint64_t where, uint64_t version);

bool engine_running(void);
extern bool engine_concurrent; /* a thread of the scenario runs, and not what comes before and after them */
enum explore_memory engine_memory(void);
bool engine_plain_points(void);
unsigned int engine_threads(void);
bool engine_private(uintptr_t address); /* a stack or thread-local storage */

/* memory.c */
void memory_reset(void);
bool memory_flush_one(int thread);
bool memory_buffered(int thread);
void memory_flush_all(void);
uint64_t memory_writes(int but_thread);
/* Whether @thread read an overwritten value since this was asked last. */
bool memory_read_stale(int thread);

uint64_t memory_load(uintptr_t address, unsigned int size, int order, const void *pc);
void memory_store(uintptr_t address, unsigned int size, uint64_t value, int order, const void *pc);
/* Replace the value by @update's answer; false leaves it. Returns the old value. */
uint64_t memory_update(uintptr_t address, unsigned int size, bool (*update)(uint64_t *value, uint64_t a, uint64_t b),
                       uint64_t a, uint64_t b, int order, int failure_order, bool *updated, const void *pc);
void memory_fence(int order, const void *pc);
void memory_fence_all(const void *pc); /* in every thread, at one moment: membarrier(2) */
/* By a thread of the scenario. */
void memory_plain(uintptr_t address, size_t size, bool write, const void *pc);
/* A scheduling point, and then an access to an object whose state is not in memory: a condition. It conflicts with plain
 * writes and with freeing. */
void memory_touch(uintptr_t address, const void *pc);
/* Freeing conflicts with every access to the memory. */
void memory_freed(uintptr_t address, size_t size, const void *pc);
bool memory_clock_before(int thread,
                         uint32_t clock); /* has @thread's time @clock happened before the running thread? */
uint32_t memory_clock(void);

/* heap.c */
void heap_init(void);
void heap_reset(void);
void heap_check_leaks(void);
/* Fails the schedule for memory that is freed, never allocated, or not yet visible to the running thread. */
void heap_check(uintptr_t address, size_t size, const void *pc);
bool heap_owns(uintptr_t address);

/* sync.c */
void sync_reset(void);

/* kernel.c, which is left out without the userfaultfd pager. */
void kernel_reset(void) __attribute__((weak));

/* history.c */
void hist_reset(void);

/* Stop what walks in a circle, be it alone or between two atomic accesses. */
#define ACCESS_BOUND 10000000
extern unsigned int engine_accesses;

static inline uint64_t mix64(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

#endif
