/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Replays a fault trace: each touch is a fault of the real driver, with a pager that has the data at once. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <pagelock/fault.h>

#include "../src/fault/advisor_internal.h"
#include "clock.h"
#include "replay.h"

enum { BATCH = 1000, ROUNDS = 5 };

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
                       const struct pgl_advice_table *table)
{
    uint64_t first = 0;

    *guest = (struct guest){.trace = trace, .map = pgl_map_new(NULL, NULL)};
    guest->objects = g_new0(struct pgl_object *, trace->objects->len);
    guest->map_first = g_new(uint64_t, trace->entries->len);
    if (!guest->map) {
        return false;
    }
    for (unsigned i = 0; i < trace->objects->len; i++) {
        uint64_t last = g_array_index(trace->objects, struct trace_object, i).npages - 1;

        guest->objects[i] = pgl_object_new(&(struct pgl_object_config){
            .last = last,
            .pager_ops = &pager_ops,
            .pager_range = {0, last},
            .advice = policy->advice,
            .table = table,
        });
        if (!guest->objects[i]) {
            return false;
        }
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

/* The entry that shows a page, or NULL: then the object itself is touched, as by a copy made inside the VM. */
static const struct trace_entry *entry_of(const struct trace *trace, const struct trace_touch *touch, unsigned *number)
{
    for (*number = 0; *number < trace->entries->len; ++*number) {
        const struct trace_entry *entry = &g_array_index(trace->entries, struct trace_entry, *number);

        if (entry->object == touch->object && touch->page >= entry->first &&
            touch->page - entry->first < entry->npages) {
            return entry;
        }
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

static void set_bits(uint64_t *bitmap, uint64_t first, uint64_t last)
{
    for (uint64_t i = first; i <= last; i++) {
        bitmap[i / 64] |= UINT64_C(1) << i % 64;
    }
}

/* One decision, as the fault driver makes it, of which @noted pages are reported to the advisor. */
static void decide(const struct policy *policy, const struct pgl_advice_row *row, struct pgl_advisor *advisor,
                   struct pgl_cluster_args *args, struct pgl_cluster *cluster, const struct pgl_cluster *noted)
{
    bool adapts = policy->advice == PGL_ADVICE_ADAPTIVE;

    args->row = adapts ? pgl_advisor_window(advisor, args->demand, row) : *row;
    pgl_cluster_decide(args, cluster);
    if (adapts) {
        pgl_advisor_note(advisor, noted);
    }
}

/* The state behind the decisions of a trace: an object has its own pages, and its own advisor. */
struct decisions {
    uint64_t **resident;
    struct pgl_advisor *advisors;
    struct pgl_view *views;
};

static void decisions_reset(struct decisions *decisions, const struct trace *trace)
{
    for (unsigned i = 0; i < trace->objects->len; i++) {
        uint64_t npages = g_array_index(trace->objects, struct trace_object, i).npages;

        memset(decisions->resident[i], 0, (npages / 64 + 1) * sizeof(uint64_t));
        decisions->advisors[i] = (struct pgl_advisor){.confidence = PGL_ADVISOR_SURE};
    }
}

static struct decisions decisions_new(const struct trace *trace)
{
    struct decisions decisions = {
        .resident = g_new(uint64_t *, trace->objects->len),
        .advisors = g_new(struct pgl_advisor, trace->objects->len),
        .views = g_new(struct pgl_view, trace->entries->len),
    };

    for (unsigned i = 0; i < trace->objects->len; i++) {
        decisions.resident[i] = g_new(uint64_t, g_array_index(trace->objects, struct trace_object, i).npages / 64 + 1);
    }
    for (unsigned i = 0; i < trace->entries->len; i++) {
        const struct trace_entry *entry = &g_array_index(trace->entries, struct trace_entry, i);

        decisions.views[i] = (struct pgl_view){entry->first, entry->first + (entry->npages - 1), entry->first};
    }
    return decisions;
}

static void decisions_clear(struct decisions *decisions, const struct trace *trace)
{
    for (unsigned i = 0; i < trace->objects->len; i++) {
        g_free(decisions->resident[i]);
    }
    g_free(decisions->resident);
    g_free(decisions->advisors);
    g_free(decisions->views);
}

/* A decision to come. */
struct decision {
    uint32_t object;
    struct pgl_cluster_args args;
    struct pgl_cluster cluster; /* what came of it */
};

/* Off the clock: the decisions that the faults of a trace take, in order. */
static GArray *decisions_find(struct decisions *decisions, const struct trace *trace, const struct policy *policy,
                              const struct pgl_advice_row *row)
{
    GArray *found = g_array_new(FALSE, FALSE, sizeof(struct decision));

    decisions_reset(decisions, trace);
    for (unsigned i = 0; i < trace->touches->len; i++) {
        const struct trace_touch *touch = &g_array_index(trace->touches, struct trace_touch, i);
        uint64_t *resident = decisions->resident[touch->object];
        struct decision decision = {
            .object = touch->object,
            .args =
                {
                    .demand = touch->page,
                    .object_last = g_array_index(trace->objects, struct trace_object, touch->object).npages - 1,
                    .budget = UINT64_MAX,
                    .eligible = {.word = pgl_absent_word, .arg = resident},
                },
        };
        unsigned number;

        if (resident[touch->page / 64] >> touch->page % 64 & 1) {
            continue;
        }
        if (entry_of(trace, touch, &number)) {
            decision.args.entry = &decisions->views[number];
        }
        decide(policy, row, &decisions->advisors[touch->object], &decision.args, &decision.cluster, &decision.cluster);
        set_bits(resident, decision.cluster.first, decision.cluster.last);
        g_array_append_val(found, decision);
    }
    return found;
}

/*
 * Times the decisions alone, in batches. Those of a batch see what was resident when it began; then, off the clock,
 * what they brought in is set for the next one to see. Too few for a batch at the end are left out, unless there is no
 * whole one.
 */
static void decide_batches(struct decisions *decisions, struct decision *all, unsigned n, const struct policy *policy,
                           const struct pgl_advice_row *row, struct result *result)
{
    unsigned size = MIN(n, BATCH);
    struct pgl_cluster cluster;

    for (unsigned from = 0; from + size <= n; from += size) {
        uint64_t start = clock_ns();

        for (unsigned i = from; i < from + size; i++) {
            decide(policy, row, &decisions->advisors[all[i].object], &all[i].args, &cluster, &all[i].cluster);
        }
        result->decide_ns[result->nbatches++] = (double)(clock_ns() - start) / size;
        for (unsigned i = from; i < from + size; i++) {
            set_bits(decisions->resident[all[i].object], all[i].cluster.first, all[i].cluster.last);
        }
    }
}

static void decide_all(const struct trace *trace, const struct policy *policy, const struct pgl_advice_row *row,
                       struct result *result)
{
    struct decisions decisions = decisions_new(trace);
    GArray *found = decisions_find(&decisions, trace, policy, row);

    if (found->len != result->counts.requests) {
        result->broken = "the decisions that are timed are not those that were taken";
    }
    result->decide_ns = g_new(double, ROUNDS * found->len);
    for (unsigned round = 0; round < ROUNDS; round++) {
        decisions_reset(&decisions, trace);
        decide_batches(&decisions, (struct decision *)found->data, found->len, policy, row, result);
    }
    g_array_unref(found);
    decisions_clear(&decisions, trace);
}

static void run(const struct replay_options *options, const struct trace *trace, const struct policy *policy,
                struct result *result)
{
    struct pgl_advice_table table = table_of(options, policy);
    struct guest guest;

    if (guest_make(&guest, trace, policy, &table)) {
        touch_all(&guest, result);
        count_all(&guest, result);
        if (!result->broken) {
            decide_all(trace, policy, &table.row[policy->advice], result);
        }
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
    if (options->plot) {
        plot_panel(options->plot, PLOT_BARS, trace->name, "", "ms");
    }
    for (unsigned i = 0; i < options->policies->len && good; i++) {
        const struct policy *policy = g_ptr_array_index(options->policies, i);
        struct result result = {0};

        progress_show(trace->name, i, options->policies->len);
        run(options, trace, policy, &result);
        progress_clear();
        good = !result.broken;
        if (!good) {
            g_printerr("pagelock-bench: %s with %s: %s\n", trace->name, policy->name, result.broken);
        } else if (options->json) {
            print_json(options, trace, policy, &result);
        } else {
            print_line(options, policy, &result);
        }
        if (good && options->plot) {
            plot_add(options->plot, "by the model", policy->name, (double)model_ns(options, &result.counts) / 1e6);
        }
        g_free(result.decide_ns);
    }
    if (!options->json) {
        printf("\n");
    }
    return good ? STATUS_GOOD : STATUS_FAILED;
}
