/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PGL_BENCH_REPLAY_H
#define PGL_BENCH_REPLAY_H

#include <pagelock/advice.h>

#include "bench.h"
#include "impl.h"
#include "plot.h"

/* A policy with which a fault trace can be replayed. */
struct policy {
    const char *name;
    enum pgl_advice advice;
    bool off; /* clustering is switched off */
    const char *what;
};

extern const struct policy policies[]; /* ends with a name that is NULL */

struct replay_options {
    bool json;
    unsigned threads;
    unsigned repeat;
    GPtrArray *impls;    /* of const struct impl *, in the order named */
    GPtrArray *policies; /* of const struct policy *, in the order named */
    int before;          /* the window of the policies in pages, or negative: as shipped */
    int after;
    bool yardstick; /* print each fixed window, and the clairvoyant */
    struct pgl_costs costs;
    GPtrArray *sets;   /* working sets, by which objects are replayed that have their names; or NULL */
    GArray *standings; /* of struct standing, by policy */
    struct plot *plot; /* gets a panel a trace; or NULL */
};

/* How a policy did on all fault traces so far, against the best fixed window of each and against page by page. */
struct standing {
    unsigned ntraces;
    double log_sum;
    double worst;
    char *worst_trace;
    double worst_to_none;
};

/* Each replays a trace of its kind, prints what came of it, and returns the exit status. */
int replay_code(const struct replay_options *options, const struct trace *trace);
int replay_fault(const struct replay_options *options, const struct trace *trace);

/* Prints how each policy did, after the last of several fault traces. */
void replay_fault_standings(const struct replay_options *options);

#endif
