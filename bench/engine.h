/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Replays a code trace through an implementation, once, with any number of threads. */
#ifndef PGL_BENCH_ENGINE_H
#define PGL_BENCH_ENGINE_H

#include "impl.h"

enum { ENGINE_MAX_THREADS = 256 };

/* A trace divided among threads: thread i takes the events of the vCPUs v with v mod threads = i, in order. */
struct engine;

struct engine_run {
    struct tally tally; /* of all threads */
    struct census census;
    uint64_t ns; /* from the first thread's start to the last one's end */
};

struct engine *engine_new(const struct trace *trace, unsigned threads);
void engine_free(struct engine *engine);

/* Replays the trace once. @run->census.broken says which invariant does not hold at the end, or is NULL. */
void engine_replay(struct engine *engine, const struct impl *impl, struct engine_run *run);

#endif
