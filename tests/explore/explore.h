/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The explorer, as a scenario sees it.
 *
 * A scenario is code run by a few threads that are coroutines of one process. It is compiled, as the library under it,
 * with -fsanitize=thread, and linked with a runtime of our own: each atomic operation calls the explorer, which decides
 * who runs next and what a load returns. A schedule is a run from init to final; the explorer makes as many different
 * ones as it is told to. docs/testing.md says what that proves.
 */
#ifndef PGL_TESTS_EXPLORE_EXPLORE_H
#define PGL_TESTS_EXPLORE_EXPLORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXPLORE_THREADS 4

/* The memory model between the threads. */
enum explore_memory {
    MEMORY_SC,   /* interleaving only */
    MEMORY_TSO,  /* a store buffer a thread, as x86 has; emptying it is a step of the schedule */
    MEMORY_WEAK, /* a load may return any store that release, acquire and fences do not forbid */
    MEMORY_MODES,
};

struct explore_scenario {
    const char *name;
    const char *claim;  /* what every schedule of it must show */
    void (*init)(void); /* runs alone, before the threads */
    void (*threads[EXPLORE_THREADS])(void);
    void (*final)(void); /* runs alone, after the threads; memory still allocated after it is a failure */
};

/* Report a failed schedule and give it up. Does not return when called inside a schedule. */
void explore_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

#define explore_check(condition)                                                                                       \
    ((condition) ? (void)0 : explore_fail("%s:%d: not true: %s", __FILE__, __LINE__, #condition))

/* The number of the running thread, from 0. */
int explore_self(void);

/* The memory model of this run: an oracle of real time holds under SC only. */
enum explore_memory explore_memory(void);

/* True in one of @n schedules, and always or never in a given one: for checks too long to make each time. */
bool explore_sample(unsigned int n);

/* Let the next allocation of this thread but @skip fail. */
void explore_fail_allocation(unsigned int skip);

/*
 * The library calls these when it is compiled with PGL_EXPLORE: a full fence, and the wait of its spin lock, which
 * blocks until another thread has written the 8-byte word around @word since this thread last read it.
 */
void pgl_explore_fence(void);
void pgl_explore_wait(const uintptr_t *word);

/*
 * The library defines this: forget all that static storage holds. Called before each schedule, since one that failed
 * was given up with locks held and with pointers to memory that is gone.
 */
void pgl_explore_forget(void) __attribute__((weak));

/* Block until another thread has done something. For loops that wait for what the explorer cannot see. */
void explore_yield(void);

/*
 * Histories. An operation is called and returns; hist_check() asks whether some order of all operations, in which each
 * that returned before another was called comes first, satisfies the sequential specification. "Before" is real time
 * under SC, and happens-before where a store may take effect after its operation returned.
 */
struct hist_op {
    int thread;
    int kind;
    uint64_t arg[2];
    uint64_t result;
};

/* Begin an operation; its number is for hist_return(). */
int hist_call(int kind, uint64_t arg0, uint64_t arg1);
void hist_return(int op, uint64_t result);

/* @apply changes @state as @op would and tells whether @op may return what it returned. @state is copied. */
void hist_check(const void *state, size_t size, bool (*apply)(void *state, const struct hist_op *op));

#endif
