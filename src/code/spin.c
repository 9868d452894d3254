/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Waiting for a lock bit.
 *
 * PROGRESS     A waiter tests the bit before it swaps, so that waiters do not take the cache line from the holder. It
 * pauses for stretches that grow to some microseconds, which suits a holder that runs on another core. Then it yields,
 * which suits a holder that was preempted on this core. Then it sleeps, which lets a holder of lower real-time priority
 * run. docs/performance.md has the figures behind the constants. (test_spin_yields_and_then_sleeps)
 *
 * FAIRNESS     A waiter gets the lock when it is awake and finds it free. A waiter for a page that is without it after
 * PGL_SPIN_STARVING_ROUNDS queues for its turn (turn.c). The table counts the waiters that slept, and keeps the longest
 * sleep. (test_spin_counts_the_waits_that_slept_and_the_longest)
 *
 * CANCELLATION A waiter may hold other locks. The sleep would be the only cancellation point here, and PGL_UNCANCELLED
 * keeps it from being one.
 */
#include "spin_internal.h"

#include <sched.h>
#include <time.h>

#include "../cancel_internal.h"

static inline void pause_once(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
    __asm__ volatile("yield" ::: "memory");
#else
    __asm__ volatile("" ::: "memory");
#endif
}

#ifdef PGL_EXPLORE
/* The explorer of interleavings schedules other threads until the word has been written. */
void pgl_explore_wait(const uintptr_t *word);
#endif

void pgl_spin_wait(const uintptr_t *word, unsigned round)
{
#ifdef PGL_EXPLORE
    (void)round;
    (void)pause_once;
    pgl_explore_wait(word);
#else
    (void)word;
    if (round < PGL_SPIN_PAUSE_ROUNDS) {
        unsigned doublings = round < PGL_SPIN_PAUSE_DOUBLINGS ? round : PGL_SPIN_PAUSE_DOUBLINGS;

        for (unsigned i = 0; i < 1u << doublings; i++) {
            pause_once();
        }
    } else if (round < PGL_SPIN_AWAKE_ROUNDS) {
        sched_yield();
    } else {
        struct timespec time = {.tv_nsec = pgl_spin_sleep_ns(round)};
        PGL_UNCANCELLED;

        nanosleep(&time, NULL);
    }
#endif
}

static uint64_t now_ns(void)
{
#ifdef PGL_EXPLORE
    return 0; /* an explored schedule has no clock, so that it repeats exactly */
#else
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * UINT64_C(1000000000) + (uint64_t)time.tv_nsec;
#endif
}

bool pgl_spin_trylock(uintptr_t *word, uintptr_t bit)
{
    uintptr_t value = __atomic_load_n(word, __ATOMIC_RELAXED);

    while (!(value & bit)) {
        /* acquire: pairs with the release in pgl_spin_unlock() and pgl_page_unlock_at() */
        if (__atomic_compare_exchange_n(word, &value, value | bit, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
            return true;
        }
    }
    return false;
}

void pgl_spin_lock(uintptr_t *word, uintptr_t bit)
{
    for (unsigned round = 0; !pgl_spin_trylock(word, bit); round++) {
        pgl_spin_wait(word, round);
    }
}

void pgl_spin_wait_on(struct pgl_spin_wait *wait, const uintptr_t *word)
{
    if (wait->rounds == PGL_SPIN_AWAKE_ROUNDS) {
        wait->asleep_since = now_ns();
    }
    pgl_spin_wait(word, wait->rounds++);
}

uint64_t pgl_spin_asleep_ns(const struct pgl_spin_wait *wait)
{
    return wait->rounds > PGL_SPIN_AWAKE_ROUNDS ? now_ns() - wait->asleep_since : 0;
}
