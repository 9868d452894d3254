/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The spin lock in one bit of a word. It is the slow path of the page lock, and the lock of the unlisted blocks that
 * die.
 *
 * The other bits of the word belong to the holder, which may change them by plain atomic stores that keep the lock bit.
 */
#ifndef PGL_CODE_SPIN_INTERNAL_H
#define PGL_CODE_SPIN_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

/* Rounds of pauses, then rounds of yields, then sleeps. A build may try another number of rounds of pauses. */
#ifndef PGL_SPIN_PAUSES
#define PGL_SPIN_PAUSES 64
#endif
enum {
    PGL_SPIN_PAUSE_ROUNDS = PGL_SPIN_PAUSES, /* 1, 2, 4 ... 64, 64 ... 64 pauses: 3,775 in all */
    PGL_SPIN_PAUSE_DOUBLINGS = 6,
    PGL_SPIN_YIELD_ROUNDS = 4,
    PGL_SPIN_AWAKE_ROUNDS = PGL_SPIN_PAUSE_ROUNDS + PGL_SPIN_YIELD_ROUNDS,
    PGL_SPIN_SLEEP_NS = 20000, /* doubled from round to round */
    PGL_SPIN_SLEEP_NS_MAX = 1000000,
};

/* A waiter for a page that is still without it after so many rounds starves. */
#ifdef PGL_EXPLORE
#define PGL_SPIN_STARVING_ROUNDS 2u /* so that short schedules come to it */
#else
#define PGL_SPIN_STARVING_ROUNDS (PGL_SPIN_AWAKE_ROUNDS + 8u)
#endif

/* How long a waiter sleeps in a round after those for pauses and yields. */
static inline long pgl_spin_sleep_ns(unsigned round)
{
    unsigned doublings = round - PGL_SPIN_AWAKE_ROUNDS;

    return doublings < 6 ? (long)PGL_SPIN_SLEEP_NS << doublings : PGL_SPIN_SLEEP_NS_MAX;
}

/**
 * pgl_spin_lock - set @bit of @word, and wait while another thread has it set
 *
 * Ordering: acquire; pairs with the release in pgl_spin_unlock().
 * Blocks:   spins with a growing back-off, then yields, then sleeps; no cancellation point.
 */
void pgl_spin_lock(uintptr_t *word, uintptr_t bit);

/* Wait for a while, longer from round to round, before @word is read again. No cancellation point. */
void pgl_spin_wait(const uintptr_t *word, unsigned round);

/**
 * struct pgl_spin_wait - how long a thread has waited
 * @rounds: of pgl_spin_wait(); 0 when the lock was free
 * @asleep_since: when the first sleep began, in nanoseconds
 */
struct pgl_spin_wait {
    unsigned rounds;
    uint64_t asleep_since;
};

/* Wait for another round. */
void pgl_spin_wait_on(struct pgl_spin_wait *wait, const uintptr_t *word);

/* The time since the beginning of the first sleep; 0 without a sleep. */
uint64_t pgl_spin_asleep_ns(const struct pgl_spin_wait *wait);

/*
 * Set @bit and return true if it is clear; a swap that fails while the bit is clear is tried again. Acquire when true.
 */
bool pgl_spin_trylock(uintptr_t *word, uintptr_t bit);

/* Clear @bit. Release; pairs with the acquires in pgl_spin_trylock() and the inline page locks. */
static inline void pgl_spin_unlock(uintptr_t *word, uintptr_t bit)
{
    __atomic_store_n(word, __atomic_load_n(word, __ATOMIC_RELAXED) & ~bit, __ATOMIC_RELEASE);
}

#endif
