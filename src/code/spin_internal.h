/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The spin lock in one bit of a word: the slow path of the page lock, and the lock of the blocks on no page.
 *
 * The word's other bits belong to the holder, who may change them by plain atomic stores that keep the bit.
 */
#ifndef PGL_CODE_SPIN_INTERNAL_H
#define PGL_CODE_SPIN_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

/* How a waiter waits: rounds of pauses, rounds of yields, then sleeps. */
enum {
    PGL_SPIN_PAUSE_ROUNDS = 7, /* 1, 2, 4 ... 64 pauses */
    PGL_SPIN_YIELD_ROUNDS = 4,
    PGL_SPIN_AWAKE_ROUNDS = PGL_SPIN_PAUSE_ROUNDS + PGL_SPIN_YIELD_ROUNDS,
    PGL_SPIN_SLEEP_NS = 20000, /* doubled from round to round */
    PGL_SPIN_SLEEP_NS_MAX = 1000000,
};

/* How long a waiter sleeps in a round that is neither for pauses nor for yields. */
static inline long pgl_spin_sleep_ns(unsigned round)
{
    unsigned doublings = round - PGL_SPIN_AWAKE_ROUNDS;

    return doublings < 6 ? (long)PGL_SPIN_SLEEP_NS << doublings : PGL_SPIN_SLEEP_NS_MAX;
}

/**
 * struct pgl_spin_wait - how a lock was waited for
 * @rounds: 0 when it was free
 * @asleep_ns: from the beginning of the first sleep to the taking of the lock; 0 without a sleep
 */
struct pgl_spin_wait {
    unsigned rounds;
    uint64_t asleep_ns;
};

/**
 * pgl_spin_lock - set @bit of @word, waiting while somebody else has it set
 *
 * Ordering: acquire; pairs with the release in pgl_spin_unlock() and in pgl_page_unlock_at().
 * Blocks:   spins with a growing back-off, then yields, then sleeps; no cancellation point.
 */
struct pgl_spin_wait pgl_spin_lock(uintptr_t *word, uintptr_t bit);

/* Wait a while for @word to change; longer from round to round. No cancellation point. */
void pgl_spin_wait(const uintptr_t *word, unsigned round);

/* True when it set @bit; tries again as long as the bit is clear. Acquire when true. */
bool pgl_spin_trylock(uintptr_t *word, uintptr_t bit);

/* Clear @bit. Release; pairs with the acquires above. */
static inline void pgl_spin_unlock(uintptr_t *word, uintptr_t bit)
{
    __atomic_store_n(word, __atomic_load_n(word, __ATOMIC_RELAXED) & ~bit, __ATOMIC_RELEASE);
}

#endif
