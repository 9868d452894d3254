/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Small measurements: a case is a set of variants that are run in turn, round after round. */
#ifndef PGL_BENCH_MICRO_CASE_H
#define PGL_BENCH_MICRO_CASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#include "impl.h"

struct pgl_tb_ops;
struct variant;

/* How one implementation does what a case measures. */
struct subject {
    const char *name;
    const struct impl *impl; /* where the case goes through it, or NULL */

    /* Off the clock, before and after each run. */
    void *(*setup)(const struct variant *variant);
    void (*teardown)(void *state);

    /*
     * On the clock: do @ops operations as thread number @thread, counted from 0. If the variant leaves their
     * number open, it is called again and again until time is up.
     */
    void (*run)(void *state, const struct variant *variant, unsigned thread, uint64_t ops);
};

struct variant {
    const struct subject *subject;
    unsigned threads;
    uint64_t pages; /* that the case is about */
    uint64_t ops;   /* of one run, a thread; 0: as many as there is time for */
    unsigned size;  /* what else a case varies: blocks a page, nanoseconds */
    unsigned kind;  /* and how */
};

/* A line is printed for the time of variant @a over that of variant @b. */
struct pair {
    unsigned a;
    unsigned b;
};

enum micro_plot {
    MICRO_NO_PLOT,
    MICRO_OVER_THREADS, /* throughput over threads */
    MICRO_OVER_PAGES,   /* time over the size of a set */
};

struct micro_case {
    const char *name;
    const char *what;
    enum micro_plot plot;
    GArray *variants; /* of struct variant */
    GArray *pairs;    /* of struct pair */

    /* The nanoseconds that a run has measured by itself; NULL: the time on the clock over the operations. */
    double (*result)(const void *state);
};

/* A new case at the end of @cases. */
struct micro_case *micro_add(GPtrArray *cases, const char *name, const char *what, enum micro_plot plot);

/* Adds a variant; returns its number. */
unsigned micro_variant(struct micro_case *one, const struct variant *variant);
void micro_pair(struct micro_case *one, unsigned a, unsigned b);

/* Adds the same variant of both subjects, and pairs them. */
void micro_versus(struct micro_case *one, const struct subject *a, const struct subject *b,
                  const struct variant *variant);

/* For tables of blocks that nobody misses. */
extern const struct pgl_tb_ops micro_forget;

/* Frees a case: for the array that cases are added to. */
void micro_free(void *one);

/* The cases of each file that has some, added to @cases. */
void micro_lock_cases(GPtrArray *cases);
void micro_code_cases(GPtrArray *cases);
void micro_fence_cases(GPtrArray *cases);
void micro_flood_cases(GPtrArray *cases);
void micro_fault_cases(GPtrArray *cases);
void micro_handover_cases(GPtrArray *cases);
void micro_hold_cases(GPtrArray *cases);
void micro_kill_cases(GPtrArray *cases);
void micro_memory_cases(GPtrArray *cases);
void micro_pager_cases(GPtrArray *cases);
void micro_store_cases(GPtrArray *cases);
void micro_super_cases(GPtrArray *cases);
void micro_wait_cases(GPtrArray *cases);

#endif
