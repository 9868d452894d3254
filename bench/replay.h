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
    uint64_t request_ns; /* what the model takes for a request, and for a page fetched with it */
    uint64_t page_ns;
    struct plot *plot; /* gets a panel a trace; or NULL */
};

/* Each replays a trace of its kind, prints what came of it, and returns the exit status. */
int replay_code(const struct replay_options *options, const struct trace *trace);
int replay_fault(const struct replay_options *options, const struct trace *trace);

#endif
