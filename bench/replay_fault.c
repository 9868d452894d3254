/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Replays a fault trace: each touch is a fault of the real driver, with a pager that has the data at once. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <pagelock/fault.h>

#include "clock.h"
#include "replay.h"

enum { BATCH = 1000 };

const struct policy policies[] = {
    {"none", PGL_ADVICE_RANDOM, true, "one page at a time"},
    {"random", PGL_ADVICE_RANDOM, false, "the window of that advice"},
    {"normal", PGL_ADVICE_NORMAL, false, "the window of that advice"},
    {"sequential", PGL_ADVICE_SEQUENTIAL, false, "the window of that advice"},
    {"adaptive", PGL_ADVICE_ADAPTIVE, false, "a window that follows the faults seen so far, within that advice's"},
    {NULL, PGL_ADVICE_DEFAULT, false, NULL},
};

struct result {
    struct pgl_fault_counts counts; /* of all objects and advices */
    double *decide_ns;              /* a decision, by batch */
    unsigned nbatches;
    const char *broken; /* what went wrong, or NULL */
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
    if (request->range.first < demand)
        supply(request, request->range.first, demand - 1, PGL_ACCESS_READ);
    if (request->range.last > demand)
        supply(request, demand + 1, request->range.last, PGL_ACCESS_READ);
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
        if (options->before >= 0)
            table.row[i].before = (uint32_t)options->before;
        if (options->after >= 0)
            table.row[i].after = (uint32_t)options->after;
        if (policy->off)
            table.row[i] = (struct pgl_advice_row){0};
    }
    return table;
}

static void guest_free(struct guest *guest)
{
    pgl_map_free(guest->map);
    for (unsigned i = 0; i < guest->trace->objects->len; i++)
        pgl_object_unref(guest->objects[i]);
    g_free(guest->objects);
    g_free(guest->map_first);
}

/* Returns false, with errno, where something cannot be made; the guest is to be freed all the same. */
static bool guest_make(struct guest *guest, const struct trace *trace, const struct policy *policy,
                       const struct pgl_advice_table *table)
{
    uint64_t first = 0;

    *guest = (struct guest){.trace = trace, .map = pgl_map_new(NULL, NULL)};
    guest->objects = g_new0(struct pgl_object *, trace->objects->len);
    guest->map_first = g_new(uint64_t, trace->entries->len);
    if (!guest->map)
        return false;
    for (unsigned i = 0; i < trace->objects->len; i++) {
        uint64_t last = g_array_index(trace->objects, struct trace_object, i).npages - 1;

        guest->objects[i] = pgl_object_new(&(struct pgl_object_config){
            .last = last,
            .pager_ops = &pager_ops,
            .pager_range = {0, last},
            .advice = policy->advice,
            .table = table,
        });
        if (!guest->objects[i])
            return false;
    }
    for (unsigned i = 0; i < trace->entries->len; i++) {
        const struct trace_entry *entry = &g_array_index(trace->entries, struct trace_entry, i);

        guest->map_first[i] = first;
        if (!pgl_map_enter(guest->map, first, first + (entry->npages - 1), guest->objects[entry->object], entry->first,
                           policy->advice))
            return false;
        first += entry->npages;
    }
    return true;
}

/* The entry that shows a page, or NULL: then the object itself is touched, as by a copy made inside the VM. */
static const struct trace_entry *entry_of(const struct trace *trace, const struct trace_touch *touch, unsigned *number)
{
    for (*number = 0; *number < trace->entries->len; ++*number) {
        const struct trace_entry *entry = &g_array_index(trace->entries, struct trace_entry, *number);

        if (entry->object == touch->object && touch->page >= entry->first && touch->page - entry->first < entry->npages)
            return entry;
    }
    return NULL;
}

static struct pgl_fault_args args_of(const struct guest *guest, const struct trace_touch *touch)
{
    unsigned number;
    const struct trace_entry *entry = entry_of(guest->trace, touch, &number);
    struct pgl_fault_args args = {.access = touch->write ? PGL_ACCESS_WRITE : PGL_ACCESS_READ};

    if (entry) {
        args.map = guest->map;
        args.index = guest->map_first[number] + (touch->page - entry->first);
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

    if (!fault)
        result->broken = g_strerror(errno);
    for (unsigned i = 0; i < touches->len && !result->broken; i++) {
        struct pgl_fault_args args = args_of(guest, &g_array_index(touches, struct trace_touch, i));

        if (pgl_fault_run(fault, &args, NULL) != PGL_FAULT_SUCCESS)
            result->broken = "a fault was not answered";
    }
    pgl_fault_free(fault);
}

static void count_all(const struct guest *guest, struct result *result)
{
    for (unsigned i = 0; i < guest->trace->objects->len && !result->broken; i++) {
        struct pgl_object_stats stats;

        result->broken = pgl_object_check(guest->objects[i]);
        pgl_object_stats(guest->objects[i], &stats);
        if (stats.busy || stats.outstanding || stats.waiting || stats.duplicates || stats.aliens)
            result->broken = "something is left over after the last fault";
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

static void set_bits(uint64_t *bitmap, uint64_t first, uint64_t last)
{
    for (uint64_t i = first; i <= last; i++)
        bitmap[i / 64] |= UINT64_C(1) << i % 64;
}

/*
 * Times the decisions alone, in batches. Those of a batch see what was resident when it began; then, off the clock, it
 * is replayed for the next one to see.
 */
static void decide_all(const struct trace *trace, const struct pgl_advice_row *row, struct result *result)
{
    unsigned ntouches = trace->touches->len;
    uint64_t **resident = g_new(uint64_t *, trace->objects->len);
    struct pgl_cluster_args *args = g_new0(struct pgl_cluster_args, ntouches);
    struct pgl_view *views = g_new(struct pgl_view, ntouches);
    struct pgl_cluster cluster;

    for (unsigned i = 0; i < trace->objects->len; i++)
        resident[i] = g_new0(uint64_t, g_array_index(trace->objects, struct trace_object, i).npages / 64 + 1);
    for (unsigned i = 0; i < ntouches; i++) {
        const struct trace_touch *touch = &g_array_index(trace->touches, struct trace_touch, i);
        unsigned number;
        const struct trace_entry *entry = entry_of(trace, touch, &number);

        args[i] = (struct pgl_cluster_args){
            .demand = touch->page,
            .object_last = g_array_index(trace->objects, struct trace_object, touch->object).npages - 1,
            .row = *row,
            .budget = UINT64_MAX,
            .eligible = {.word = pgl_absent_word, .arg = resident[touch->object]},
        };
        if (entry) {
            views[i] = (struct pgl_view){entry->first, entry->first + (entry->npages - 1), entry->first};
            args[i].entry = &views[i];
        }
    }
    result->decide_ns = g_new(double, ntouches / BATCH + 1);
    for (unsigned from = 0; from < ntouches; from += BATCH) {
        unsigned to = MIN(from + BATCH, ntouches);
        uint64_t start = clock_ns();

        for (unsigned i = from; i < to; i++)
            pgl_cluster_decide(&args[i], &cluster);
        result->decide_ns[result->nbatches++] = (double)(clock_ns() - start) / (to - from);
        for (unsigned i = from; i < to; i++) {
            uint64_t *bitmap = resident[g_array_index(trace->touches, struct trace_touch, i).object];

            if (!(bitmap[args[i].demand / 64] >> args[i].demand % 64 & 1) && pgl_cluster_decide(&args[i], &cluster))
                set_bits(bitmap, cluster.first, cluster.last);
        }
    }
    for (unsigned i = 0; i < trace->objects->len; i++)
        g_free(resident[i]);
    g_free(resident);
    g_free(args);
    g_free(views);
}

static void run(const struct replay_options *options, const struct trace *trace, const struct policy *policy,
                struct result *result)
{
    struct pgl_advice_table table = table_of(options, policy);
    struct guest guest;

    if (guest_make(&guest, trace, policy, &table)) {
        touch_all(&guest, result);
        count_all(&guest, result);
        decide_all(trace, &table.row[policy->advice], result);
    } else {
        result->broken = g_strerror(errno);
    }
    guest_free(&guest);
}

static uint64_t fetched(const struct pgl_fault_counts *counts)
{
    return counts->demanded + counts->speculative;
}

static uint64_t used(const struct pgl_fault_counts *counts)
{
    return counts->demanded + counts->used;
}

static uint64_t model_ns(const struct replay_options *options, const struct pgl_fault_counts *counts)
{
    return options->request_ns * counts->requests + options->page_ns * fetched(counts);
}

static void print_json(const struct replay_options *options, const struct trace *trace, const struct policy *policy,
                       const struct result *result)
{
    const struct pgl_fault_counts *counts = &result->counts;
    JsonBuilder *row = row_begin("replay");

    row_text(row, "trace", trace->name);
    row_text(row, "policy", policy->name);
    row_count(row, "touches", counts->touches);
    row_count(row, "faults", counts->faults);
    row_count(row, "requests", counts->requests);
    row_count(row, "pages_fetched", fetched(counts));
    row_count(row, "pages_used", used(counts));
    row_count(row, "unlocks", counts->unlocks);
    row_count(row, "model_ns", model_ns(options, counts));
    row_real(row, "decide_ns", spread_of(result->decide_ns, result->nbatches).median);
    row_end(row);
}

static void print_line(const struct replay_options *options, const struct policy *policy, const struct result *result)
{
    const struct pgl_fault_counts *counts = &result->counts;

    printf("  %-12s %8" G_GUINT64_FORMAT " %9" G_GUINT64_FORMAT " %14" G_GUINT64_FORMAT " %7.1f %% %8" G_GUINT64_FORMAT
           " %10.2f %10.1f\n",
           policy->name, counts->faults, counts->requests, fetched(counts),
           100 * (double)used(counts) / (double)fetched(counts), counts->unlocks,
           (double)model_ns(options, counts) / 1e6, spread_of(result->decide_ns, result->nbatches).median);
}

int replay_fault(const struct replay_options *options, const struct trace *trace)
{
    bool good = true;

    if (!options->json) {
        printf("%s: %u touches\n", trace->name, trace->touches->len);
        printf("  %-12s %8s %9s %14s %9s %8s %10s %10s\n", "policy", "faults", "requests", "pages fetched", "used",
               "unlocks", "model ms", "decide ns");
    }
    if (options->plot)
        plot_panel(options->plot, PLOT_BARS, trace->name, "", "ms");
    for (unsigned i = 0; i < options->policies->len && good; i++) {
        const struct policy *policy = g_ptr_array_index(options->policies, i);
        struct result result = {0};

        progress_show(trace->name, i, options->policies->len);
        run(options, trace, policy, &result);
        progress_clear();
        good = !result.broken;
        if (!good)
            g_printerr("pagelock-bench: %s with %s: %s\n", trace->name, policy->name, result.broken);
        else if (options->json)
            print_json(options, trace, policy, &result);
        else
            print_line(options, policy, &result);
        if (good && options->plot)
            plot_add(options->plot, "by the model", policy->name, (double)model_ns(options, &result.counts) / 1e6);
        g_free(result.decide_ns);
    }
    if (!options->json)
        printf("\n");
    return good ? STATUS_GOOD : STATUS_FAILED;
}
