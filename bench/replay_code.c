/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "engine.h"
#include "replay.h"

/* The results of the runs of one implementation. */
struct result {
    const struct impl *impl;
    struct engine_run last;
    double *ns_per_event; /* of each repeat */
};

static unsigned count_stores(const struct trace *trace)
{
    return trace->events->len - trace->blocks->len - trace->range_last->len;
}

static void print_json(const struct replay_options *options, const struct trace *trace, const struct result *result)
{
    struct spread ns = spread_of(result->ns_per_event, options->repeat);
    const struct tally *tally = &result->last.tally;
    const struct census *census = &result->last.census;
    JsonBuilder *row = row_begin("replay");

    row_text(row, "trace", trace->name);
    row_text(row, "impl", result->impl->name);
    row_count(row, "threads", options->threads);
    row_count(row, "events", trace->events->len);
    row_count(row, "links", tally->links);
    row_count(row, "duplicates", tally->duplicates);
    row_count(row, "stores", count_stores(trace));
    row_count(row, "stores_hit", tally->stores_hit);
    row_count(row, "stores_unlocked", tally->stores_unlocked);
    row_count(row, "ranges", trace->range_last->len);
    row_count(row, "killed", tally->killed);
    row_count(row, "alive", census->alive);
    row_count(row, "retries", census->retries);
    row_real(row, "ns_per_event", ns.median);
    row_real(row, "ns_min", ns.min);
    row_real(row, "ns_max", ns.max);
    row_count(row, "table_bytes", census->table_bytes);
    row_count(row, "hot_bytes", census->hot_bytes);
    row_end(row);
}

/* Of each pair, in the order named. */
static void print_ratios(const struct replay_options *options, const struct trace *trace, const struct result *results,
                         unsigned nresults)
{
    for (unsigned i = 0; i < nresults; i++) {
        for (unsigned j = i + 1; j < nresults; j++) {
            const struct result *a = &results[i], *b = &results[j];
            struct spread ratio = spread_of_ratios(a->ns_per_event, b->ns_per_event, options->repeat);

            if (options->json) {
                row_ratio("trace", trace->name, options->threads, NULL, a->impl->name, b->impl->name, ratio);
            } else {
                printf("  %s takes %.2f times as long as %s (%.2f - %.2f)\n", a->impl->name, ratio.median,
                       b->impl->name, ratio.min, ratio.max);
            }
        }
    }
}

static void print_table(const struct replay_options *options, const struct trace *trace, const struct result *results,
                        unsigned nresults)
{
    print_wrapped(2, "%s, %u thread%s: %u blocks translated, %u stores into code pages, %u ranges invalidated",
                  trace->name, options->threads, options->threads == 1 ? "" : "s", trace->blocks->len,
                  count_stores(trace), trace->range_last->len);
    printf("  %-10s %9s %19s %10s %14s %8s %8s %8s\n", "", "ns/event", "(min - max)", "stores hit", "unlocked",
           "killed", "alive", "retries");
    for (unsigned i = 0; i < nresults; i++) {
        const struct tally *tally = &results[i].last.tally;
        struct spread ns = spread_of(results[i].ns_per_event, options->repeat);
        double misses = (double)(count_stores(trace) - tally->stores_hit);

        printf("  %-10s %9.1f (%7.1f - %7.1f) %10" G_GUINT64_FORMAT " %12.1f %% %8" G_GUINT64_FORMAT
               " %8" G_GUINT64_FORMAT " %8" G_GUINT64_FORMAT "\n",
               results[i].impl->name, ns.median, ns.min, ns.max, tally->stores_hit,
               misses > 0 ? 100 * (double)tally->stores_unlocked / misses : 0, tally->killed,
               results[i].last.census.alive, results[i].last.census.retries);
    }
    print_ratios(options, trace, results, nresults);
    printf("\n");
}

static void plot_results(const struct replay_options *options, const struct trace *trace, const struct result *results,
                         unsigned nresults)
{
    char *x = g_strdup_printf(options->threads == 1 ? "%u thread" : "%u threads", options->threads);

    plot_panel(options->plot, PLOT_BARS, trace->name, "", "ns an event");
    for (unsigned i = 0; i < nresults; i++) {
        plot_add(options->plot, results[i].impl->name, x, spread_of(results[i].ns_per_event, options->repeat));
    }
    g_free(x);
}

/* One warm-up of each, and then all in turn: A B A B. Returns false where an invariant is broken. */
static bool run(const struct replay_options *options, const struct trace *trace, struct result *results,
                unsigned nresults)
{
    struct engine *engine = engine_new(trace, options->threads);
    unsigned rounds = options->repeat + 1;
    const char *broken = NULL;

    for (unsigned i = 0; i < rounds * nresults && !broken; i++) {
        struct result *result = &results[i % nresults];
        unsigned round = i / nresults;

        progress_show(trace->name, i, rounds * nresults);
        engine_replay(engine, result->impl, &result->last);
        broken = result->last.census.broken;
        if (round > 0) {
            result->ns_per_event[round - 1] = (double)result->last.ns / trace->events->len;
        }
        if (broken) {
            g_printerr("pagelock-bench: %s with %s: %s\n", trace->name, result->impl->name, broken);
        }
    }
    progress_clear();
    engine_free(engine);
    return !broken;
}

int replay_code(const struct replay_options *options, const struct trace *trace)
{
    unsigned nresults = options->impls->len;
    struct result *results = g_new0(struct result, nresults);
    bool good;

    for (unsigned i = 0; i < nresults; i++) {
        results[i].impl = g_ptr_array_index(options->impls, i);
        results[i].ns_per_event = g_new(double, options->repeat);
    }
    good = run(options, trace, results, nresults);
    if (good && options->json) {
        for (unsigned i = 0; i < nresults; i++) {
            print_json(options, trace, &results[i]);
        }
        print_ratios(options, trace, results, nresults);
    } else if (good) {
        print_table(options, trace, results, nresults);
    }
    if (good && options->plot) {
        plot_results(options, trace, results, nresults);
    }
    for (unsigned i = 0; i < nresults; i++) {
        g_free(results[i].ns_per_event);
    }
    g_free(results);
    return good ? STATUS_GOOD : STATUS_FAILED;
}
