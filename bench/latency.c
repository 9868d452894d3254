/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The subcommand latency: how long single calls take while other threads translate, invalidate ranges and flush.
 *
 * One thread times its calls and puts the times into histograms. Each of the other threads links its own blocks again
 * and again. The first of them also invalidates ranges, and flushes the table once for each round through its blocks.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <glib.h>
#include <pagelock/tb.h>

#include "bench.h"
#include "clock.h"
#include "histogram.h"

enum {
    PAGE_BITS = 12,
    SLOT_BYTES = 64,
    BLOCK_BYTES = 16,
    BLOCKS_A_PAGE = 40, /* in the first slots of a page; between two blocks a store hits nothing */
    OWN_SLOT = 48,      /* where the blocks of the thread that measures begin */
    OWN_BLOCKS = 8,
    RANGES_A_ROUND = 16,
    MAX_THREADS = 64,
    MAX_BLOCKS = 10000000,
    MAX_SECONDS = 3600,
};

/* The defaults, which --help tells. */
#define DEFAULT_SECONDS 2
#define DEFAULT_THREADS 2
#define DEFAULT_BLOCKS 20000

enum op { CLOCK, CHECK, BRACKET, KILL, OPS };

static const struct {
    const char *name;
    const char *what;
} ops[OPS] = {
    {"clock", "nothing; a part of each time below"},
    {"check", "a store check that hits nothing"},
    {"bracket", "a block translated: begin, commit"},
    {"kill", "a store check that kills a block"},
};

struct block {
    struct pgl_tb tb;
    bool used; /* from before its bracket until `retired` has been called with it */
};

struct latency {
    struct pgl_table *table;
    uint64_t pages;
    uint64_t blocks_a_thread;
    bool stop;
    struct histogram histograms[OPS];
};

/* A thread that keeps the table busy. */
struct worker {
    struct latency *latency;
    unsigned number;
    struct block *blocks;
    pthread_t id;
};

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void retired(struct pgl_tb *chain, void *opaque)
{
    (void)opaque;
    while (chain) {
        struct block *block = (struct block *)chain;

        chain = pgl_tb_chain_next(chain);
        /* release: pairs with the acquire in is_used(); its owner may use it again now */
        __atomic_store_n(&block->used, false, __ATOMIC_RELEASE);
    }
}

static const struct pgl_tb_ops callbacks = {.retired = retired};

static bool is_used(const struct block *block)
{
    return __atomic_load_n(&block->used, __ATOMIC_ACQUIRE);
}

static void prepare(struct block *block, uint64_t addr)
{
    block->used = true;
    pgl_tb_init(&block->tb);
    pgl_tb_set_bytes(&block->tb, 0, addr, addr + BLOCK_BYTES - 1);
}

static void translate(struct latency *latency, struct block *block, uint64_t addr)
{
    struct pgl_bracket bracket;

    if (!pgl_bracket_begin(&bracket, latency->table, addr >> PAGE_BITS)) {
        g_printerr("pagelock-bench: pgl_bracket_begin: %s\n", g_strerror(errno));
        exit(STATUS_FAILED);
    }
    pgl_bracket_commit(&bracket, &block->tb, NULL);
}

/* ---- the threads that keep the table busy ---- */

static void *keep_busy(void *data)
{
    struct worker *worker = data;
    struct latency *latency = worker->latency;
    const uint64_t n = latency->blocks_a_thread;
    const uint64_t range_pages = latency->pages / RANGES_A_ROUND + 1;
    uint64_t random = worker->number + 1;

    for (uint64_t i = 1; !__atomic_load_n(&latency->stop, __ATOMIC_RELAXED); i++) {
        struct block *block = &worker->blocks[i % n];
        uint64_t page = next_random(&random) % latency->pages;

        if (!is_used(block)) {
            uint64_t addr = (page << PAGE_BITS) + next_random(&random) % BLOCKS_A_PAGE * SLOT_BYTES;

            prepare(block, addr);
            translate(latency, block, addr);
        }
        if (worker->number == 0 && i % (n / RANGES_A_ROUND + 1) == 0) {
            pgl_invalidate_range(latency->table, page << PAGE_BITS, ((page + range_pages) << PAGE_BITS) - 1, NULL);
        }
        if (worker->number == 0 && i % n == 0) {
            pgl_flush(latency->table, NULL);
        }
    }
    return NULL;
}

/* ---- the thread that measures ---- */

static void note(struct latency *latency, enum op op, uint64_t start)
{
    histogram_add(&latency->histograms[op], clock_ns() - start);
}

/* Time one call of each kind. */
static void measure_once(struct latency *latency, struct block *own, uint64_t *random)
{
    uint64_t page = next_random(random) % latency->pages << PAGE_BITS;
    uint64_t start = clock_ns();

    note(latency, CLOCK, start);

    page += next_random(random) % BLOCKS_A_PAGE * SLOT_BYTES;
    start = clock_ns();
    pgl_store_check(latency->table, page + SLOT_BYTES / 2, 4, NULL);
    note(latency, CHECK, start);

    if (is_used(own)) {
        return; /* another thread is killing it */
    }
    page = next_random(random) % latency->pages << PAGE_BITS;
    page += (OWN_SLOT + next_random(random) % OWN_BLOCKS) * SLOT_BYTES;
    prepare(own, page);
    start = clock_ns();
    translate(latency, own, page);
    note(latency, BRACKET, start);

    start = clock_ns();
    if (pgl_store_check(latency->table, page, 4, NULL) & PGL_HIT) {
        note(latency, KILL, start);
    }
}

static void measure(struct latency *latency, double seconds)
{
    static struct block own[OWN_BLOCKS];
    const uint64_t end = clock_ns() + (uint64_t)(seconds * 1e9);
    uint64_t random = 88172645463325252u;

    for (uint64_t i = 0; clock_ns() < end; i++) {
        measure_once(latency, &own[i % OWN_BLOCKS], &random);
    }
}

/* ---- the command ---- */

static void print(const struct latency *latency, unsigned threads, uint64_t blocks, bool json)
{
    if (!json) {
        print_wrapped(2,
                      "times in ns, beside %u threads with %" G_GUINT64_FORMAT " blocks on %" G_GUINT64_FORMAT
                      " pages that translate, invalidate ranges and flush",
                      threads, blocks, latency->pages);
        printf("  %-8s %11s %8s %8s %8s %11s\n", "", "calls", "p50", "p99", "p99.9", "longest");
    }
    for (enum op op = 0; op < OPS; op++) {
        const struct histogram *histogram = &latency->histograms[op];
        const uint64_t p50 = histogram_quantile(histogram, 0.5), p99 = histogram_quantile(histogram, 0.99),
                       p999 = histogram_quantile(histogram, 0.999);
        JsonBuilder *row;

        if (!json) {
            printf("  %-8s %11" G_GUINT64_FORMAT " %8" G_GUINT64_FORMAT " %8" G_GUINT64_FORMAT " %8" G_GUINT64_FORMAT
                   " %11" G_GUINT64_FORMAT "   %s\n",
                   ops[op].name, histogram->n, p50, p99, p999, histogram->max, ops[op].what);
            continue;
        }
        row = row_begin("latency");
        row_text(row, "op", ops[op].name);
        row_count(row, "threads", threads);
        row_count(row, "blocks", blocks);
        row_count(row, "calls", histogram->n);
        row_count(row, "ns_p50", p50);
        row_count(row, "ns_p99", p99);
        row_count(row, "ns_p999", p999);
        row_count(row, "ns_max", histogram->max);
        row_end(row);
    }
}

static void print_figures(const struct latency *latency, bool json)
{
    struct pgl_table_stats stats;
    JsonBuilder *row;

    pgl_table_get_stats(latency->table, &stats);
    if (!json) {
        print_wrapped(2,
                      "figures of the table: %" G_GUINT64_FORMAT " kills, %" G_GUINT64_FORMAT
                      " hits, %" G_GUINT64_FORMAT " false alarms, %" G_GUINT64_FORMAT " waits, %" G_GUINT64_FORMAT
                      " with a sleep, the longest %" G_GUINT64_FORMAT " ns",
                      stats.kills, stats.hits, stats.false_alarms, stats.contended, stats.slept, stats.slept_ns_max);
        output_flush();
        return;
    }
    row = row_begin("figures");
    row_count(row, "kills", stats.kills);
    row_count(row, "hits", stats.hits);
    row_count(row, "false_alarms", stats.false_alarms);
    row_count(row, "contended", stats.contended);
    row_count(row, "slept", stats.slept);
    row_count(row, "slept_ns_max", stats.slept_ns_max);
    row_end(row);
}

static int run(unsigned threads, uint64_t blocks, double seconds, bool json)
{
    static struct latency latency;
    const struct pgl_table_config config = {.page_bits = PAGE_BITS, .addr_bits = 48, .ops = &callbacks};
    struct worker *workers = g_new0(struct worker, threads);
    bool sound;

    latency.table = pgl_table_new(&config);
    latency.pages = (blocks + BLOCKS_A_PAGE - 1) / BLOCKS_A_PAGE;
    latency.blocks_a_thread = (blocks + threads - 1) / threads;
    if (!latency.table) {
        g_printerr("pagelock-bench: pgl_table_new: %s\n", g_strerror(errno));
        return STATUS_FAILED;
    }
    for (unsigned i = 0; i < threads; i++) {
        struct block *own = g_aligned_alloc0(latency.blocks_a_thread, sizeof(struct block), SLOT_BYTES);

        workers[i] = (struct worker){.latency = &latency, .number = i, .blocks = own};
        if (pthread_create(&workers[i].id, NULL, keep_busy, &workers[i])) {
            g_printerr("pagelock-bench: cannot start %u threads\n", threads);
            exit(STATUS_FAILED);
        }
    }
    measure(&latency, seconds);
    __atomic_store_n(&latency.stop, true, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(workers[i].id, NULL);
    }
    print(&latency, threads, blocks, json);
    print_figures(&latency, json);
    sound = !pgl_table_check(latency.table, NULL, NULL);
    if (!sound) {
        g_printerr("pagelock-bench: the table is not sound\n");
    }
    pgl_table_free(latency.table);
    for (unsigned i = 0; i < threads; i++) {
        g_aligned_free(workers[i].blocks);
    }
    g_free(workers);
    return sound ? STATUS_GOOD : STATUS_FAILED;
}

int latency_main(int argc, char **argv)
{
    int threads = DEFAULT_THREADS, blocks = DEFAULT_BLOCKS;
    double seconds = DEFAULT_SECONDS;
    bool json;
    const GOptionEntry entries[] = {
        {"seconds", 0, 0, G_OPTION_ARG_DOUBLE, &seconds, "how long to measure; default: " G_STRINGIFY(DEFAULT_SECONDS),
         "SECONDS"},
        {"threads", 0, 0, G_OPTION_ARG_INT, &threads,
         "threads beside the one that measures; default: " G_STRINGIFY(DEFAULT_THREADS), "N"},
        {"blocks", 0, 0, G_OPTION_ARG_INT, &blocks,
         "blocks of these threads, 40 for each page; default: " G_STRINGIFY(DEFAULT_BLOCKS), "N"},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };

    if (!options_parse(entries, "- time single calls while other threads are at work", NULL, &argc, &argv, &json) ||
        !option_in_bounds("--threads", threads, 1, MAX_THREADS) ||
        !option_in_bounds("--blocks", blocks, 1, MAX_BLOCKS)) {
        return STATUS_USAGE;
    }
    if (!(seconds > 0 && seconds <= MAX_SECONDS)) {
        return usage_error("--seconds is not above 0 and at most %d: %g", MAX_SECONDS, seconds);
    }
    if (argc > 1) {
        return usage_error("latency takes no argument: %s", argv[1]);
    }
    return run((unsigned)threads, (uint64_t)blocks, seconds, json);
}
