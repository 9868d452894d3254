/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Counting what happens to a table. */
#ifndef PGL_CODE_TALLY_INTERNAL_H
#define PGL_CODE_TALLY_INTERNAL_H

#include <pagelock/table.h>

/*
 * With glibc a thread-local variable of the library is found by one load and no call, because glibc keeps room for those
 * of libraries that dlopen() brings. Other C libraries keep none, and musl refuses to load a library that asks for it.
 */
#if defined(__GLIBC__)
#define PGL_TALLY_TLS __attribute__((tls_model("initial-exec")))
#else
#define PGL_TALLY_TLS
#endif

/* One more than the number of the tally on which this thread counts; 0 before it counts for the first time. */
extern _Thread_local unsigned pgl_tally_of_thread PGL_TALLY_TLS;

/* Choose the tally of this thread. Returns the new pgl_tally_of_thread. */
unsigned pgl_tally_choose(void);

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
    unsigned own = pgl_tally_of_thread;
    uint64_t *count;

    if (PGL_UNLIKELY(!own)) {
        own = pgl_tally_choose();
    }
    count = &table->tallies[own - 1].of[counter];
    if (PGL_LIKELY(own <= PGL_TALLIES_OWN)) {
        __atomic_store_n(count, __atomic_load_n(count, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
    } else {
        __atomic_fetch_add(count, n, __ATOMIC_RELAXED);
    }
}
#endif

#endif
