/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Replays a fault trace: each touch is a fault of the real driver, with a pager that has the data at once. */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>

#include <pagelock/fault.h>

#include "decisions.h"
#include "replay.h"
#include "resident.h"
#include "sets.h"
#include "yardstick.h"

const struct policy policies[] = {
    {"none", PGL_ADVICE_RANDOM, true, "one page at a time"},
    {"random", PGL_ADVICE_RANDOM, false, "the window of that advice"},
    {"normal", PGL_ADVICE_NORMAL, false, "the window of that advice"},
    {"sequential", PGL_ADVICE_SEQUENTIAL, false, "the window of that advice"},
    {"adaptive", PGL_ADVICE_ADAPTIVE, false, "a window that follows the faults seen so far, within that advice's"},
    {NULL, PGL_ADVICE_DEFAULT, false, NULL},
};

struct result {
    struct pgl_fault_counts counts;    /* of all objects and advices */
    double decide_ns[DECISION_ROUNDS]; /* a decision */
    const char *broken;                /* what went wrong, or NULL */
};

/* A guest: its objects, and one map that shows every entry of the trace, one after the other. */
struct guest {
    const struct trace *trace;
    struct pgl_object **objects;
    struct pgl_map *map;
    uint64_t *map_first; /* of each entry */
};

/* Answers [first, last] of a request, unless that is empty. */
static void supply(const struct pgl_request *request, uint64_t first, uint64_t last, enum pgl_access access)
{
    pgl_pager_supply(request->object, request->id, (struct pgl_pager_range){first, last}, NULL, access);
}

/* The demand page first, with the access that was asked for; its neighbours can only be read. */
static int give_data(void *pager, const struct pgl_request *request)
{
    uint64_t demand = request->pager_demand;

    (void)pager;
    supply(request, demand, demand, request->access);
    if (request->range.first < demand) {
        supply(request, request->range.first, demand - 1, PGL_ACCESS_READ);
    }
    if (request->range.last > demand) {
        supply(request, demand + 1, request->range.last, PGL_ACCESS_READ);
    }
    return 0;
}

static int give_access(void *pager, const struct pgl_request *request)
{
    (void)pager;
    pgl_pager_grant(request->object, request->id, request->range, request->access);
    return 0;
}

static const struct pgl_pager_ops pager_ops = {.data_request = give_data, .access_request = give_access};

static struct pgl_advice_table table_of(const struct replay_options *options, const struct policy *policy)
{
    struct pgl_advice_table table = *pgl_advice_shipped();

    for (unsigned i = 0; i < PGL_ADVICE_COUNT; i++) {
        if (options->before >= 0) {
            table.row[i].before = (uint32_t)options->before;
        }
        if (options->after >= 0) {
            table.row[i].after = (uint32_t)options->after;
        }
        if (policy->off) {
            table.row[i] = (struct pgl_advice_row){0};
        }
    }
    return table;
}

static void guest_free(struct guest *guest)
{
    pgl_map_free(guest->map);
    for (unsigned i = 0; i < guest->trace->objects->len; i++) {
        pgl_object_unref(guest->objects[i]);
    }
    g_free(guest->objects);
    g_free(guest->map_first);
}

/* Returns false, with errno, where something cannot be made; the guest is to be freed all the same. */
static bool guest_make(struct guest *guest, const struct trace *trace, const struct policy *policy,
                       const struct pgl_advice_table *table, const struct replay_options *options)
{
    uint64_t first = 0;

    *guest = (struct guest){.trace = trace, .map = pgl_map_new(NULL, NULL)};
    guest->objects = g_new0(struct pgl_object *, trace->objects->len);
    guest->map_first = g_new(uint64_t, trace->entries->len);
    if (!guest->map) {
        return false;
    }
    for (unsigned i = 0; i < trace->objects->len; i++) {
        const struct trace_object *object = &g_array_index(trace->objects, struct trace_object, i);
        uint64_t last = object->npages - 1;

        guest->objects[i] = pgl_object_new(&(struct pgl_object_config){
            .last = last,
            .pager_ops = &pager_ops,
            .pager_range = {0, last},
            .advice = policy->advice,
            .table = table,
            .costs = options->costs,
        });
        if (!guest->objects[i]) {
            return false;
        }
        pgl_object_set_workset(guest->objects[i], sets_find(options->sets, object->name));
    }
    for (unsigned i = 0; i < trace->entries->len; i++) {
        const struct trace_entry *entry = &g_array_index(trace->entries, struct trace_entry, i);

        guest->map_first[i] = first;
        if (!pgl_map_enter(guest->map, first, first + (entry->npages - 1), guest->objects[entry->object], entry->first,
                           policy->advice)) {
            return false;
        }
        first += entry->npages;
    }
    return true;
}

static struct pgl_fault_args args_of(const struct guest *guest, const struct trace_touch *touch)
{
    unsigned number = resident_entry_of(guest->trace, touch);
    struct pgl_fault_args args = {.access = touch->write ? PGL_ACCESS_WRITE : PGL_ACCESS_READ};

    if (number != UINT_MAX) {
        args.map = guest->map;
        args.index = guest->map_first[number] +
                     (touch->page - g_array_index(guest->trace->entries, struct trace_entry, number).first);
    } else {
        args.object = guest->objects[touch->object];
        args.index = touch->page;
    }
    return args;
}

static void touch_all(const struct guest *guest, struct result *result)
{
    const GArray *touches = guest->trace->touches;
    struct pgl_fault *fault = pgl_fault_new();

    if (!fault) {
        result->broken = g_strerror(errno);
    }
    for (unsigned i = 0; i < touches->len && !result->broken; i++) {
        struct pgl_fault_args args = args_of(guest, &g_array_index(touches, struct trace_touch, i));

        if (pgl_fault_run(fault, &args, NULL) != PGL_FAULT_SUCCESS) {
            result->broken = "a fault was not answered";
        }
    }
    pgl_fault_free(fault);
}

static void say(const char *what, void *opaque)
{
    ((struct result *)opaque)->broken = what;
}

static void count_all(const struct guest *guest, struct result *result)
{
    for (unsigned i = 0; i < guest->trace->objects->len && !result->broken; i++) {
        struct pgl_object_stats stats;

        pgl_object_check(guest->objects[i], say, result);
        pgl_object_get_stats(guest->objects[i], &stats);
        if (stats.busy || stats.outstanding || stats.waiting || stats.duplicates || stats.aliens) {
            result->broken = "something is left over after the last fault";
        }
        for (unsigned advice = 0; advice < PGL_ADVICE_COUNT; advice++) {
            const struct pgl_fault_counts *counts = &stats.by_advice[advice];

            result->counts.touches += counts->touches;
            result->counts.faults += counts->faults;
            result->counts.requests += counts->requests;
            result->counts.demanded += counts->demanded;
            result->counts.speculative += counts->speculative;
            result->counts.used += counts->used;
            result->counts.unlocks += counts->unlocks;
        }
    }
}

static void run(const struct replay_options *options, const struct trace *trace, const struct policy *policy,
                struct result *result)
{
    struct pgl_advice_table table = table_of(options, policy);
    struct guest guest;

    if (guest_make(&guest, trace, policy, &table, options)) {
        touch_all(&guest, result);
        count_all(&guest, result);
        if (!result->broken) {
            result->broken = decisions_time(trace, policy, &table.row[policy->advice], options, result->counts.requests,
                                            result->decide_ns);
        }
    } else {
        result->broken = g_strerror(errno);
    }
    guest_free(&guest);
}

static struct fetches fetches_of(const struct pgl_fault_counts *counts)
{
    return (struct fetches){counts->requests, counts->demanded + counts->speculative};
}

static uint64_t used(const struct pgl_fault_counts *counts)
{
    return counts->demanded + counts->used;
}

static double against(const struct fetches *fetches, const struct fetches *best, const struct pgl_costs *costs)
{
    return (double)fetches_ns(fetches, costs) / (double)fetches_ns(best, costs);
}

/* The yardsticks of a trace, at the costs of the options. */
struct yard {
    struct fetches fixed[YARDSTICK_WINDOWS];
    struct fetches clairvoyant;
    unsigned best;
};

static struct yard yard_of(const struct replay_options *options, const struct trace *trace)
{
    struct yard yard = {.clairvoyant = yardstick_clairvoyant(trace, &options->costs)};

    for (unsigned i = 0; i < YARDSTICK_WINDOWS; i++) {
        yard.fixed[i] = yardstick_fixed(trace, &yardstick_windows[i]);
    }
    yard.best = yardstick_best(yard.fixed, &options->costs);
    return yard;
}

static void print_json(const struct replay_options *options, const struct trace *trace, const struct policy *policy,
                       const struct result *result, const struct yard *yard)
{
    const struct pgl_fault_counts *counts = &result->counts;
    const struct fetches fetches = fetches_of(counts);
    JsonBuilder *row = row_begin("replay");

    row_text(row, "trace", trace->name);
    row_text(row, "policy", policy->name);
    row_count(row, "touches", counts->touches);
    row_count(row, "faults", counts->faults);
    row_count(row, "requests", fetches.requests);
    row_count(row, "pages_fetched", fetches.pages);
    row_count(row, "pages_used", used(counts));
    row_count(row, "unlocks", counts->unlocks);
    row_count(row, "model_ns", fetches_ns(&fetches, &options->costs));
    row_real(row, "to_best", against(&fetches, &yard->fixed[yard->best], &options->costs));
    row_real(row, "decide_ns", spread_of(result->decide_ns, DECISION_ROUNDS).median);
    row_end(row);
}

static void print_line(const struct replay_options *options, const struct policy *policy, const struct result *result,
                       const struct yard *yard)
{
    const struct pgl_fault_counts *counts = &result->counts;
    const struct fetches fetches = fetches_of(counts);

    printf("  %-12s %8" G_GUINT64_FORMAT " %9" G_GUINT64_FORMAT " %14" G_GUINT64_FORMAT " %7.1f %% %8" G_GUINT64_FORMAT
           " %10.2f %8.3f %10.1f\n",
           policy->name, counts->faults, fetches.requests, fetches.pages,
           100 * (double)used(counts) / (double)fetches.pages, counts->unlocks,
           (double)fetches_ns(&fetches, &options->costs) / 1e6,
           against(&fetches, &yard->fixed[yard->best], &options->costs),
           spread_of(result->decide_ns, DECISION_ROUNDS).median);
}

/* One window, or the clairvoyant. */
static void print_yardstick(const struct replay_options *options, const struct trace *trace, const char *name,
                            const struct fetches *fetches, const struct yard *yard)
{
    double ns = (double)fetches_ns(fetches, &options->costs);
    double to_best = against(fetches, &yard->fixed[yard->best], &options->costs);
    JsonBuilder *row;

    if (!options->json) {
        printf("  %-12s %8s %9" G_GUINT64_FORMAT " %14" G_GUINT64_FORMAT " %9s %8s %10.2f %8.3f\n", name, "",
               fetches->requests, fetches->pages, "", "", ns / 1e6, to_best);
        return;
    }
    row = row_begin("yardstick");
    row_text(row, "trace", trace->name);
    row_text(row, "window", name);
    row_count(row, "requests", fetches->requests);
    row_count(row, "pages_fetched", fetches->pages);
    row_count(row, "model_ns", (uint64_t)ns);
    row_real(row, "to_best", to_best);
    row_end(row);
}

static void print_yardsticks(const struct replay_options *options, const struct trace *trace, const struct yard *yard)
{
    for (unsigned i = 0; options->yardstick && i < YARDSTICK_WINDOWS; i++) {
        print_yardstick(options, trace, yardstick_windows[i].name, &yard->fixed[i], yard);
    }
    if (options->yardstick) {
        print_yardstick(options, trace, "clairvoyant", &yard->clairvoyant, yard);
    }
    if (!options->json) {
        printf("  best fixed window: %s; the clairvoyant takes %.3f of it\n\n", yardstick_windows[yard->best].name,
               against(&yard->clairvoyant, &yard->fixed[yard->best], &options->costs));
    }
}

/* A point: faults against pages that were fetched in vain. */
static void plot_point(struct plot *plot, const char *series, const struct fetches *fetches,
                       const struct fetches *needed)
{
    char *x = g_strdup_printf("%" G_GUINT64_FORMAT, fetches->pages - needed->pages);
    double faults = (double)fetches->requests; /* the same each time */

    plot_add(plot, series, x, (struct spread){faults, faults, faults});
    g_free(x);
}

static void plot_yardsticks(struct plot *plot, const struct yard *yard)
{
    for (unsigned i = 0; i < YARDSTICK_WINDOWS; i++) {
        plot_point(plot, yardstick_shape(yardstick_windows[i].shape), &yard->fixed[i], &yard->fixed[0]);
    }
    plot_point(plot, "clairvoyant", &yard->clairvoyant, &yard->fixed[0]);
}

static void keep_standing(const struct replay_options *options, unsigned number, const struct trace *trace,
                          const struct result *result, const struct yard *yard)
{
    struct standing *standing = &g_array_index(options->standings, struct standing, number);
    const struct fetches fetches = fetches_of(&result->counts);
    double to_best = against(&fetches, &yard->fixed[yard->best], &options->costs);
    double to_none = against(&fetches, &yard->fixed[0], &options->costs);

    standing->ntraces++;
    standing->log_sum += log(to_best);
    if (to_best > standing->worst) {
        standing->worst = to_best;
        g_free(standing->worst_trace);
        standing->worst_trace = g_strdup(trace->name);
    }
    standing->worst_to_none = MAX(standing->worst_to_none, to_none);
}

static bool replay_policy(const struct replay_options *options, const struct trace *trace, unsigned number,
                          const struct yard *yard)
{
    const struct policy *policy = g_ptr_array_index(options->policies, number);
    struct result result = {0};
    struct fetches fetches;

    progress_show(trace->name, number, options->policies->len);
    run(options, trace, policy, &result);
    progress_clear();
    if (result.broken) {
        g_printerr("pagelock-bench: %s with %s: %s\n", trace->name, policy->name, result.broken);
        return false;
    }
    if (options->json) {
        print_json(options, trace, policy, &result, yard);
    } else {
        print_line(options, policy, &result, yard);
    }
    if (options->plot) {
        fetches = fetches_of(&result.counts);
        plot_point(options->plot, policy->name, &fetches, &yard->fixed[0]);
    }
    keep_standing(options, number, trace, &result, yard);
    return true;
}

int replay_fault(const struct replay_options *options, const struct trace *trace)
{
    struct yard yard = yard_of(options, trace);
    bool good = true;

    if (!options->json) {
        printf("%s: %u touches\n", trace->name, trace->touches->len);
        printf("  %-12s %8s %9s %14s %9s %8s %10s %8s %10s\n", "policy", "faults", "requests", "pages fetched", "used",
               "unlocks", "model ms", "to best", "decide ns");
    }
    if (options->plot) {
        plot_panel(options->plot, PLOT_POINTS, trace->name, "pages fetched in vain", "faults");
        plot_yardsticks(options->plot, &yard);
    }
    for (unsigned i = 0; i < options->policies->len && good; i++) {
        good = replay_policy(options, trace, i, &yard);
    }
    if (good) {
        print_yardsticks(options, trace, &yard);
    }
    return good ? STATUS_GOOD : STATUS_FAILED;
}

void replay_fault_standings(const struct replay_options *options)
{
    if (!options->json) {
        printf("against the best fixed window, %u traces:\n  %-12s %8s %8s  %-24s %s\n",
               g_array_index(options->standings, struct standing, 0).ntraces, "policy", "mean", "worst", "on",
               "worst to none");
    }
    for (unsigned i = 0; i < options->policies->len; i++) {
        const struct policy *policy = g_ptr_array_index(options->policies, i);
        const struct standing *standing = &g_array_index(options->standings, struct standing, i);
        double mean = exp(standing->log_sum / standing->ntraces);
        JsonBuilder *row;

        if (!options->json) {
            printf("  %-12s %8.3f %8.3f  %-24s %.3f\n", policy->name, mean, standing->worst, standing->worst_trace,
                   standing->worst_to_none);
            continue;
        }
        row = row_begin("standing");
        row_text(row, "policy", policy->name);
        row_count(row, "traces", standing->ntraces);
        row_real(row, "to_best_mean", mean);
        row_real(row, "to_best_worst", standing->worst);
        row_text(row, "worst_trace", standing->worst_trace);
        row_real(row, "to_none_worst", standing->worst_to_none);
        row_end(row);
    }
}
