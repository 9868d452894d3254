/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "yardstick.h"

#include <string.h>

#include "resident.h"

enum { WIDEST = 64 };

const struct window yardstick_windows[YARDSTICK_WINDOWS] = {
    {"none", WINDOW_FORWARD, 1},        {"forward-2", WINDOW_FORWARD, 2},   {"forward-4", WINDOW_FORWARD, 4},
    {"forward-8", WINDOW_FORWARD, 8},   {"forward-16", WINDOW_FORWARD, 16}, {"forward-32", WINDOW_FORWARD, 32},
    {"forward-64", WINDOW_FORWARD, 64}, {"centred-2", WINDOW_CENTRED, 2},   {"centred-4", WINDOW_CENTRED, 4},
    {"centred-8", WINDOW_CENTRED, 8},   {"centred-16", WINDOW_CENTRED, 16}, {"centred-32", WINDOW_CENTRED, 32},
    {"centred-64", WINDOW_CENTRED, 64}, {"aligned-4", WINDOW_ALIGNED, 4},   {"aligned-8", WINDOW_ALIGNED, 8},
    {"aligned-16", WINDOW_ALIGNED, 16}, {"aligned-32", WINDOW_ALIGNED, 32}, {"aligned-64", WINDOW_ALIGNED, 64},
};

const char *yardstick_shape(enum window_shape shape)
{
    static const char *const names[] = {
        [WINDOW_FORWARD] = "forward 1 to 64",
        [WINDOW_CENTRED] = "centred 2 to 64",
        [WINDOW_ALIGNED] = "aligned 4 to 64",
    };

    return names[shape];
}

const char *yardstick_series(const char *window)
{
    for (unsigned i = 0; i < YARDSTICK_WINDOWS; i++) {
        if (!strcmp(yardstick_windows[i].name, window)) {
            return yardstick_shape(yardstick_windows[i].shape);
        }
    }
    return window;
}

uint64_t fetches_ns(const struct fetches *fetches, const struct pgl_costs *costs)
{
    return fetches->requests * costs->fault_ns + fetches->pages * costs->page_ns;
}

static struct pgl_advice_row row_of(const struct window *window, uint64_t page)
{
    uint32_t beside = window->npages - 1;
    uint32_t before = window->shape == WINDOW_FORWARD   ? 0
                      : window->shape == WINDOW_CENTRED ? beside / 2
                                                        : (uint32_t)(page % window->npages);

    return (struct pgl_advice_row){.before = before, .after = beside - before};
}

struct fetches yardstick_fixed(const struct trace *trace, const struct window *window)
{
    struct resident resident = resident_new(trace);
    struct fetches fetches = {0, 0};

    for (unsigned i = 0; i < trace->touches->len; i++) {
        const struct trace_touch *touch = &g_array_index(trace->touches, struct trace_touch, i);
        struct pgl_cluster_args args;
        struct pgl_cluster cluster;

        if (resident_faults(&resident, touch, &args)) {
            args.row = row_of(window, touch->page);
            pgl_cluster_decide(&args, &cluster);
            resident_bring(&resident, touch->object, &cluster);
            fetches.requests++;
            fetches.pages += cluster.last - cluster.first + 1;
        }
    }
    resident_clear(&resident);
    return fetches;
}

/* A page that is touched, and where clusters that cover it may lie. */
struct touched {
    uint32_t object;
    unsigned entry;
    uint64_t page;
};

static gint compare(gconstpointer a, gconstpointer b)
{
    const struct touched *x = a, *y = b;

    if (x->object != y->object) {
        return x->object < y->object ? -1 : 1;
    }
    if (x->entry != y->entry) {
        return x->entry < y->entry ? -1 : 1;
    }
    return x->page < y->page ? -1 : x->page > y->page;
}

/* Each page that is touched, once, in order. */
static GArray *touched_of(const struct trace *trace)
{
    GArray *touched = g_array_new(FALSE, FALSE, sizeof(struct touched));
    unsigned n = 0;

    for (unsigned i = 0; i < trace->touches->len; i++) {
        const struct trace_touch *touch = &g_array_index(trace->touches, struct trace_touch, i);
        struct touched one = {touch->object, resident_entry_of(trace, touch), touch->page};

        g_array_append_val(touched, one);
    }
    g_array_sort(touched, compare);
    for (unsigned i = 0; i < touched->len; i++) {
        struct touched *all = (struct touched *)(void *)touched->data;

        if (n == 0 || compare(&all[n - 1], &all[i])) {
            all[n++] = all[i];
        }
    }
    g_array_set_size(touched, n);
    return touched;
}

/* The cheapest way to cover the first pages of the list: its cost, and the first page of its last cluster. */
struct cover {
    uint64_t ns;
    unsigned from;
};

/* One cluster may cover pages @from to @to of the list. */
static bool fits(const struct touched *touched, unsigned from, unsigned to)
{
    return touched[from].object == touched[to].object && touched[from].entry == touched[to].entry &&
           touched[to].page - touched[from].page < WIDEST;
}

struct fetches yardstick_clairvoyant(const struct trace *trace, const struct pgl_costs *costs)
{
    GArray *list = touched_of(trace);
    const struct touched *touched = (const struct touched *)(void *)list->data;
    struct cover *covers = g_new0(struct cover, list->len + 1);
    struct fetches fetches = {0, 0};

    for (unsigned to = 0; to < list->len; to++) {
        covers[to + 1].ns = UINT64_MAX;
        for (unsigned from = to + 1; from-- > 0 && fits(touched, from, to);) {
            struct fetches last = {1, touched[to].page - touched[from].page + 1};
            uint64_t ns = covers[from].ns + fetches_ns(&last, costs);

            if (ns < covers[to + 1].ns) {
                covers[to + 1] = (struct cover){ns, from};
            }
        }
    }
    for (unsigned end = list->len; end > 0; end = covers[end].from) {
        fetches.requests++;
        fetches.pages += touched[end - 1].page - touched[covers[end].from].page + 1;
    }
    g_free(covers);
    g_array_unref(list);
    return fetches;
}

unsigned yardstick_best(const struct fetches fixed[YARDSTICK_WINDOWS], const struct pgl_costs *costs)
{
    unsigned best = 0;

    for (unsigned i = 1; i < YARDSTICK_WINDOWS; i++) {
        if (fetches_ns(&fixed[i], costs) < fetches_ns(&fixed[best], costs)) {
            best = i;
        }
    }
    return best;
}
