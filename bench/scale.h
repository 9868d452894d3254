/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the library's operations cost on more cores than this machine has: a model, and the figures it is fed with. */
#ifndef BENCH_SCALE_H
#define BENCH_SCALE_H

#include <stdbool.h>
#include <stdint.h>

enum { SCALE_MAX_CORES = 64, SCALE_HOLD_NS = 400 };

enum scale_op {
    /* What the model is about. */
    SCALE_LOCK,  /* a page locked and unlocked */
    SCALE_HOLD,  /* the same, held for SCALE_HOLD_NS */
    SCALE_CHECK, /* a store that hits nothing */
    SCALE_LINK,  /* a block linked into a page */

    /* What it is calibrated by. */
    SCALE_ADD,       /* an atomic addition */
    SCALE_EXCHANGE,  /* an exchange and a store */
    SCALE_PASS,      /* a word handed to and fro by stores and loads: two hand-overs */
    SCALE_PASS_SWAP, /* and by compare-and-swap */
    SCALE_PAUSE,
    SCALE_YIELD,
    SCALE_SLEEP, /* the first sleep of a waiter */
    SCALE_OPS,
};

/* Where the page lies on which a core works, again and again. */
enum scale_layout {
    SCALE_OWN,        /* a page a core, far from each other */
    SCALE_ADJACENT,   /* a page a core, on cache lines side by side */
    SCALE_NEIGHBOURS, /* a page a core, side by side: four share a line */
    SCALE_SHARED,     /* one page for all */
    SCALE_LAYOUTS,
};

enum { SCALE_PAGES_A_LINE = 4 };

/* In nanoseconds. */
struct scale_costs {
    double alone[SCALE_OPS]; /* of an operation, with nobody else about */
    double transfer;         /* to get a line that another core has written */
    double upgrade;          /* to get the right to write a line that others read */
    double residency;        /* how long a core keeps a line that another one wants to write */
    double detour;           /* what a transfer takes longer where the line is wanted for plain stores too */
};

/* Each core does so many operations; all start at once. */
struct scale_run {
    enum scale_op op;
    enum scale_layout layout;
    unsigned cores;
    unsigned ops;
};

struct scale_result {
    double ns;        /* until the last core has done its operations; negative where it could not be measured */
    double contended; /* how often a page was found locked */
};

/* The same seed gives the same result. */
struct scale_result scale_simulate(const struct scale_costs *costs, const struct scale_run *run, uint32_t seed);

/*
 * The same on this machine, for one core or two: the medians of so many runs that nothing interrupted. Prints what is
 * wrong where there are not two cores to run on, or too few such runs.
 */
struct scale_result scale_measure(const struct scale_run *run, unsigned windows);

#endif
