/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BENCH_REPLAY_H
#define BENCH_REPLAY_H

#include "bench.h"
#include "impl.h"

struct replay_options {
    bool json;
    unsigned threads;
    unsigned repeat;
    GPtrArray *impls; /* of const struct impl *, in the order named */
};

/* Each replays a trace of its kind, prints what came of it, and returns the exit status. */
int replay_code(const struct replay_options *options, const struct trace *trace);

#endif
