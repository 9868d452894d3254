/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tallies: the counters to which every link and every kill of a table adds.
 *
 * OBJECTS      A table has PGL_TALLIES tallies, each on a cache line of its own, and a thread adds to one of them. The
 * first PGL_TALLIES_OWN threads of the process that count have one each, which no other thread writes, and add to it by
 * a load and a store, but for the first time. Other threads share the rest, and add by relaxed read-modify-writes.
 * Counters that all threads share would keep threads on different pages waiting for one cache line.
 *
 * INVARIANTS
 *   N1  When no call is under way, the sum of a counter over all tallies is the number of events.
 *       (pgl_table_check(); test_tally_counts_are_exact_with_many_threads)
 *   N2  A tally that is added to by a load and a store belongs to one thread, as long as the process lives.
 *       (test_tally_of_its_own_is_never_given_twice)
 */
#include "tally_internal.h"

_Static_assert(sizeof(struct pgl_tally) == 64, "a tally is one cache line");

_Thread_local size_t pgl_tally_own;
_Thread_local unsigned pgl_tally_of_thread;

static void choose(void)
{
    static uint64_t threads PGL_ALIGN_ATOMIC; /* does not wrap around */
    uint64_t number = __atomic_fetch_add(&threads, 1, __ATOMIC_RELAXED);

    if (number < PGL_TALLIES_OWN) {
        pgl_tally_own = offsetof(struct pgl_table, tallies) + number * sizeof(struct pgl_tally);
    } else {
        number = PGL_TALLIES_OWN + number % PGL_TALLIES_SHARED;
    }
    pgl_tally_of_thread = (unsigned)number + 1;
}

void pgl_tally_add_slow(struct pgl_table *table, enum pgl_tally_counter counter, uint64_t n)
{
    if (!pgl_tally_of_thread) {
        choose();
    }
    __atomic_fetch_add(&table->tallies[pgl_tally_of_thread - 1].of[counter], n, __ATOMIC_RELAXED);
}

uint64_t pgl_tally_sum(const struct pgl_table *table, enum pgl_tally_counter counter)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < PGL_TALLIES; i++) {
        sum += __atomic_load_n(&table->tallies[i].of[counter], __ATOMIC_RELAXED);
    }
    return sum;
}
