/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The spin lock in one bit of a word: the slow path of the page lock, and the lock of the blocks on no page.
 *
 * The word's other bits belong to the holder, who may change them by plain atomic stores that keep the bit.
 */
#ifndef PGL_SPIN_H
#define PGL_SPIN_H

#include <stdbool.h>
#include <stdint.h>

/**
 * pgl_spin_lock - set @bit of @word, waiting while somebody else has it set
 *
 * Returns how many rounds it waited: 0 when the lock was free.
 *
 * Ordering: acquire; pairs with the release in pgl_spin_unlock() and in pgl_page_unlock_at().
 * Blocks:   spins with a growing back-off, then yields, then sleeps.
 */
unsigned pgl_spin_lock(uintptr_t *word, uintptr_t bit);

/* True when it set @bit; tries again as long as the bit is clear. Acquire when true. */
bool pgl_spin_trylock(uintptr_t *word, uintptr_t bit);

/* Clear @bit. Release; pairs with the acquires above. */
static inline void pgl_spin_unlock(uintptr_t *word, uintptr_t bit)
{
    __atomic_store_n(word, __atomic_load_n(word, __ATOMIC_RELAXED) & ~bit, __ATOMIC_RELEASE);
}

#endif
