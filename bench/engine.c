/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine.h"

#include <pthread.h>
#include <stdlib.h>

#include "bench.h"
#include "clock.h"

enum { BLOCK_ALIGN = 64, DEFAULT_ADDR_BITS = 48 };

struct worker {
    struct tally tally;
    struct engine *engine;
    GArray *events; /* of struct trace_event */
    pthread_t thread;
    uint64_t start_ns;
    uint64_t end_ns;
};

struct engine {
    const struct trace *trace;
    const struct impl *impl;
    void *table;
    char *blocks; /* one for each of the trace, of the implementation's kind */
    size_t block_size;
    unsigned addr_bits;
    pthread_barrier_t start;
    unsigned nthreads;
    struct worker *workers;
};

/* 48 bits, as guests have, where the trace needs no more. */
static unsigned addr_bits_of(const struct trace *trace)
{
    uint64_t all = 0;

    for (unsigned i = 0; i < trace->events->len; i++) {
        const struct trace_event *event = &g_array_index(trace->events, struct trace_event, i);

        all |= event->op == TRACE_STORE ? event->addr + (event->arg - 1) : event->addr;
    }
    for (unsigned i = 0; i < trace->range_last->len; i++) {
        all |= g_array_index(trace->range_last, uint64_t, i);
    }
    for (unsigned i = 0; i < trace->blocks->len; i++) {
        uint64_t addr1 = g_array_index(trace->blocks, struct trace_block, i).addr1;

        all |= addr1 == TRACE_NO_ADDR ? 0 : addr1;
    }
    return all >> DEFAULT_ADDR_BITS ? 64 : DEFAULT_ADDR_BITS;
}

struct engine *engine_new(const struct trace *trace, unsigned threads)
{
    struct engine *engine = g_new0(struct engine, 1);

    engine->trace = trace;
    engine->addr_bits = addr_bits_of(trace);
    engine->nthreads = threads;
    engine->workers = g_aligned_alloc0(threads, sizeof(struct worker), _Alignof(struct worker));
    for (unsigned i = 0; i < threads; i++) {
        engine->workers[i].engine = engine;
        engine->workers[i].events = g_array_new(FALSE, FALSE, sizeof(struct trace_event));
    }
    for (unsigned i = 0; i < trace->events->len; i++) {
        const struct trace_event *event = &g_array_index(trace->events, struct trace_event, i);
        unsigned thread = event->vcpu == TRACE_NO_VCPU ? 0 : event->vcpu % threads;

        g_array_append_vals(engine->workers[thread].events, event, 1);
    }
    pthread_barrier_init(&engine->start, NULL, threads);
    return engine;
}

void engine_free(struct engine *engine)
{
    for (unsigned i = 0; i < engine->nthreads; i++) {
        g_array_unref(engine->workers[i].events);
    }
    pthread_barrier_destroy(&engine->start);
    g_aligned_free(engine->workers);
    g_free(engine);
}

static void *block_at(const struct engine *engine, uint32_t number)
{
    return engine->blocks + number * engine->block_size;
}

static void do_event(struct engine *engine, const struct trace_event *event, struct tally *tally)
{
    const struct trace *trace = engine->trace;
    const struct impl *impl = engine->impl;
    uint64_t killed = tally->killed;
    uint32_t equal;

    switch ((enum trace_op)event->op) {
    case TRACE_LINK:
        impl->link(engine->table, block_at(engine, event->arg), NULL, tally);
        break;
    case TRACE_EQUAL:
        equal = g_array_index(trace->blocks, struct trace_block, event->arg).equal;
        impl->link(engine->table, block_at(engine, event->arg), block_at(engine, equal), tally);
        break;
    case TRACE_STORE:
        impl->store(engine->table, event->addr, event->arg, tally);
        tally->stores_hit += tally->killed != killed;
        break;
    case TRACE_RANGE:
        impl->range(engine->table, event->addr, g_array_index(trace->range_last, uint64_t, event->arg), tally);
        break;
    }
}

static void *work(void *data)
{
    struct worker *worker = data;
    const struct trace_event *event = (const struct trace_event *)worker->events->data;
    const struct trace_event *end = event + worker->events->len;

    pthread_barrier_wait(&worker->engine->start);
    worker->start_ns = clock_ns();
    for (; event != end; event++) {
        do_event(worker->engine, event, &worker->tally);
    }
    worker->end_ns = clock_ns();
    return NULL;
}

/* The blocks are made, and their memory is touched, before the clock starts. */
static void prepare(struct engine *engine, const struct impl *impl)
{
    const struct trace *trace = engine->trace;

    engine->impl = impl;
    engine->table = impl->table_new(trace->page_bits, engine->addr_bits);
    engine->block_size = impl->block_size;
    engine->blocks = g_aligned_alloc0(trace->blocks->len + 1, impl->block_size, BLOCK_ALIGN);
    for (unsigned i = 0; i < trace->blocks->len; i++) {
        impl->block_init(engine->table, block_at(engine, i), &g_array_index(trace->blocks, struct trace_block, i));
    }
}

static void add_tally(struct tally *sum, const struct tally *tally)
{
    sum->links += tally->links;
    sum->duplicates += tally->duplicates;
    sum->stores_hit += tally->stores_hit;
    sum->stores_unlocked += tally->stores_unlocked;
    sum->killed += tally->killed;
}

void engine_replay(struct engine *engine, const struct impl *impl, struct engine_run *run)
{
    uint64_t start = UINT64_MAX, end = 0;

    *run = (struct engine_run){0};
    prepare(engine, impl);
    for (unsigned i = 0; i < engine->nthreads; i++) {
        struct worker *worker = &engine->workers[i];

        worker->tally = (struct tally){0};
        if (pthread_create(&worker->thread, NULL, work, worker)) {
            g_printerr("pagelock-bench: cannot start %u threads\n", engine->nthreads);
            exit(STATUS_FAILED);
        }
    }
    for (unsigned i = 0; i < engine->nthreads; i++) {
        struct worker *worker = &engine->workers[i];

        pthread_join(worker->thread, NULL);
        start = MIN(start, worker->start_ns);
        end = MAX(end, worker->end_ns);
        add_tally(&run->tally, &worker->tally);
    }
    run->ns = end - start;
    impl->census(engine->table, &run->census);
    if (!run->census.broken && run->tally.links != run->tally.killed + run->census.alive) {
        run->census.broken = "links are not killed and alive together";
    }
    impl->table_free(engine->table);
    g_aligned_free(engine->blocks);
}
