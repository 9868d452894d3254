/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Counting what happens to a table. */
#ifndef PGL_CODE_TALLY_INTERNAL_H
#define PGL_CODE_TALLY_INTERNAL_H

#include <pagelock/table.h>

/*
 * With glibc a thread-local variable of the library is found by one load and no call, because glibc keeps room for
 * those of libraries that dlopen() brings. Other C libraries keep none, and musl refuses to load a library that asks
 * for it.
 */
#if defined(__GLIBC__)
#define PGL_TALLY_TLS __attribute__((tls_model("initial-exec")))
#else
#define PGL_TALLY_TLS
#endif

/*
 * The bytes from a table to the tally that belongs to this thread; 0 in a thread that has not counted, or shares one.
 */
extern _Thread_local size_t pgl_tally_own PGL_TALLY_TLS;

/* One more than the number of the tally on which this thread counts; 0 before it counts for the first time. */
extern _Thread_local unsigned pgl_tally_of_thread PGL_TALLY_TLS;

/* pgl_tally_add() of a thread that has not counted before, or shares its tally. Chooses the tally of a new thread. */
void pgl_tally_add_slow(struct pgl_table *table, enum pgl_tally_counter counter, uint64_t n);

/* The sum of a counter over all tallies. */
uint64_t pgl_tally_sum(const struct pgl_table *table, enum pgl_tally_counter counter);

/* Add @n to a counter of a table. The caller may hold pages. */
#if defined(PGL_EXPLORE)
/* Nothing that the explorer looks for depends on the counts, therefore they are no steps of its schedules. */
static __attribute__((no_sanitize_thread, noinline, unused)) void
pgl_tally_add(struct pgl_table *table, enum pgl_tally_counter counter, uint64_t n)
{
    table->tallies[0].of[counter] += n;
}
#else
static inline void pgl_tally_add(struct pgl_table *table, enum pgl_tally_counter counter, uint64_t n)
{
    size_t own = pgl_tally_own;

    if (PGL_LIKELY(own)) {
        struct pgl_tally *tally = (void *)((char *)table + own);

        __atomic_store_n(&tally->of[counter], __atomic_load_n(&tally->of[counter], __ATOMIC_RELAXED) + n,
                         __ATOMIC_RELAXED);
    } else {
        pgl_tally_add_slow(table, counter, n);
    }
}
#endif

#endif
