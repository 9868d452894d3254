/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The subcommand micro: runs the cases that are named, or all. */
#include "micro.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "clock.h"
#include "plot.h"

enum { MAX_REPEAT = 1000, MAX_MS = 60000 };
enum { BURST = 8 }; /* operations between two looks at whether time is up */

/* The defaults, which --help tells. */
#define DEFAULT_REPEAT 5
#define DEFAULT_MS 50

struct options {
    bool json;
    unsigned repeat;
    unsigned ms;
};

struct result {
    uint64_t ops;
    double *ns_per_op; /* of each repeat */
};

struct runner {
    const struct variant *variant;
    void *state;
    pthread_barrier_t *start;
    const bool *stop;
    unsigned thread;
    uint64_t ops;
    uint64_t start_ns;
    uint64_t end_ns;
    pthread_t id;
} __attribute__((aligned(128)));

GPtrArray *micro_all(void)
{
    GPtrArray *cases = g_ptr_array_new_with_free_func(micro_free);

    micro_lock_cases(cases);
    micro_code_cases(cases);
    micro_fence_cases(cases);
    micro_flood_cases(cases);
    micro_fault_cases(cases);
    micro_handover_cases(cases);
    micro_hold_cases(cases);
    micro_kill_cases(cases);
    micro_memory_cases(cases);
    micro_pager_cases(cases);
    micro_store_cases(cases);
    micro_super_cases(cases);
    micro_wait_cases(cases);
    return cases;
}

static void *run_thread(void *data)
{
    struct runner *runner = data;
    const struct variant *variant = runner->variant;

    pthread_barrier_wait(runner->start);
    runner->start_ns = clock_ns();
    if (variant->ops) {
        variant->subject->run(runner->state, variant, runner->thread, variant->ops);
        runner->ops = variant->ops;
    } else {
        while (!__atomic_load_n(runner->stop, __ATOMIC_RELAXED)) {
            variant->subject->run(runner->state, variant, runner->thread, BURST);
            runner->ops += BURST;
        }
    }
    runner->end_ns = clock_ns();
    return NULL;
}

/* Runs a variant once; returns what the run has measured, or wall nanoseconds over the operations of all threads. */
static double run_variant(const struct options *options, const struct micro_case *one, const struct variant *variant,
                          uint64_t *ops)
{
    struct runner *runners = g_aligned_alloc0(variant->threads, sizeof(*runners), _Alignof(struct runner));
    uint64_t start = UINT64_MAX, end = 0;
    double ns;
    pthread_barrier_t barrier;
    bool stop = false;
    void *state = variant->subject->setup(variant);

    pthread_barrier_init(&barrier, NULL, variant->threads + 1);
    for (unsigned i = 0; i < variant->threads; i++) {
        runners[i] = (struct runner){variant, state, &barrier, &stop, i, 0, 0, 0, 0};
        if (pthread_create(&runners[i].id, NULL, run_thread, &runners[i])) {
            g_printerr("pagelock-bench: cannot start %u threads\n", variant->threads);
            exit(STATUS_FAILED);
        }
    }
    pthread_barrier_wait(&barrier);
    if (!variant->ops) {
        g_usleep(options->ms * 1000);
        __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    }
    *ops = 0;
    for (unsigned i = 0; i < variant->threads; i++) {
        pthread_join(runners[i].id, NULL);
        start = MIN(start, runners[i].start_ns);
        end = MAX(end, runners[i].end_ns);
        *ops += runners[i].ops;
    }
    pthread_barrier_destroy(&barrier);
    ns = one->result ? one->result(state) : (double)(end - start) / (double)*ops;
    variant->subject->teardown(state);
    g_aligned_free(runners);
    return ns;
}

static const struct variant *variant_at(const struct micro_case *one, unsigned number)
{
    return &g_array_index(one->variants, struct variant, number);
}

/* One warm-up of each, and then all in turn. */
static void run_case(const struct options *options, const struct micro_case *one, struct result *results)
{
    unsigned n = one->variants->len, rounds = options->repeat + 1;

    for (unsigned i = 0; i < rounds * n; i++) {
        struct result *result = &results[i % n];
        double ns;

        progress_show(one->name, i, rounds * n);
        ns = run_variant(options, one, variant_at(one, i % n), &result->ops);
        if (i >= n) {
            result->ns_per_op[i / n - 1] = ns;
        }
    }
    progress_clear();
}

static void print_json(const struct options *options, const struct micro_case *one, const struct variant *variant,
                       const struct result *result)
{
    struct spread ns = spread_of(result->ns_per_op, options->repeat);
    JsonBuilder *row = row_begin("micro");

    row_text(row, "case", one->name);
    row_text(row, "impl", variant->subject->name);
    row_count(row, "threads", variant->threads);
    row_count(row, "pages", variant->pages);
    row_count(row, "ops", result->ops);
    row_real(row, "ns_per_op", ns.median);
    row_real(row, "ns_min", ns.min);
    row_real(row, "ns_max", ns.max);
    row_end(row);
}

/* The name of one side of a pair, with its difference from the other. */
static char *label(const struct variant *variant, const struct variant *other)
{
    GString *text = g_string_new(variant->subject->name);

    if (variant->threads != other->threads) {
        g_string_append_printf(text, " on %u threads", variant->threads);
    }
    if (variant->pages != other->pages) {
        g_string_append_printf(text, " of %" G_GUINT64_FORMAT " pages", variant->pages);
    }
    return g_string_free(text, FALSE);
}

/* A row of JSON, or the end of a line of the table. */
static void print_pair(const struct options *options, const struct micro_case *one, const struct pair *pair,
                       const struct result *results, GString *line)
{
    const struct variant *a = variant_at(one, pair->a), *b = variant_at(one, pair->b);
    struct spread ratio = spread_of_ratios(results[pair->a].ns_per_op, results[pair->b].ns_per_op, options->repeat);
    char *a_label = label(a, b), *b_label = label(b, a);

    if (options->json) {
        row_ratio("case", one->name, b->threads, &b->pages, a_label, b_label, ratio);
    } else {
        g_string_append_printf(line, "   %.2f x %s", ratio.median, b_label);
    }
    g_free(a_label);
    g_free(b_label);
}

/* A line of the table: a variant, and the pairs that it is the first one of. */
static void print_variant(const struct options *options, const struct micro_case *one, unsigned number,
                          const struct result *results)
{
    const struct variant *variant = variant_at(one, number);
    struct spread ns = spread_of(results[number].ns_per_op, options->repeat);
    GString *line = g_string_new(NULL);

    g_string_printf(line, "  %-14s %7u %10" G_GUINT64_FORMAT " %12.1f (%11.1f - %11.1f)", variant->subject->name,
                    variant->threads, variant->pages, ns.median, ns.min, ns.max);
    for (unsigned i = 0; i < one->pairs->len; i++) {
        const struct pair *pair = &g_array_index(one->pairs, struct pair, i);

        if (pair->a == number) {
            print_pair(options, one, pair, results, line);
        }
    }
    print_wrapped(17, "%s", line->str);
    g_string_free(line, TRUE);
}

/* JSON has the pairs after all variants. */
static void print_case(const struct options *options, const struct micro_case *one, const struct result *results)
{
    if (!options->json) {
        print_wrapped(2, "%s: %s", one->name, one->what);
        printf("  %-14s %7s %10s %12s %27s\n", "", "threads", "pages", "ns/op", "(min - max)");
    }
    for (unsigned i = 0; i < one->variants->len; i++) {
        if (options->json) {
            print_json(options, one, variant_at(one, i), &results[i]);
        } else {
            print_variant(options, one, i, results);
        }
    }
    for (unsigned i = 0; i < one->pairs->len && options->json; i++) {
        print_pair(options, one, &g_array_index(one->pairs, struct pair, i), results, NULL);
    }
    if (!options->json) {
        printf("\n");
    }
    output_flush();
}

static void plot_case(const struct options *options, struct plot *plot, const struct micro_case *one,
                      const struct result *results)
{
    bool threads = one->plot == MICRO_OVER_THREADS;
    char x[32];

    if (!plot || one->plot == MICRO_NO_PLOT) {
        return;
    }
    plot_panel(plot, threads ? PLOT_LINES : PLOT_LOG, one->name, threads ? "threads" : "pages",
               threads ? "million a second" : "ns");
    for (unsigned i = 0; i < one->variants->len; i++) {
        const struct variant *variant = variant_at(one, i);
        const struct spread ns = spread_of(results[i].ns_per_op, options->repeat);

        snprintf(x, sizeof(x), "%" G_GUINT64_FORMAT, threads ? variant->threads : variant->pages);
        plot_add(plot, variant->subject->name, x, threads ? plot_rate(ns) : ns);
    }
}

static void measure(const struct options *options, const struct micro_case *one, struct plot *plot)
{
    struct result *results = g_new0(struct result, one->variants->len);

    for (unsigned i = 0; i < one->variants->len; i++) {
        results[i].ns_per_op = g_new(double, options->repeat);
    }
    run_case(options, one, results);
    print_case(options, one, results);
    plot_case(options, plot, one, results);
    for (unsigned i = 0; i < one->variants->len; i++) {
        g_free(results[i].ns_per_op);
    }
    g_free(results);
}

/* A case is named by its name, or by the beginning of it that ends before a dash. */
static bool names(const char *word, const struct micro_case *one)
{
    size_t length = strlen(word);

    return !strncmp(one->name, word, length) && (!one->name[length] || one->name[length] == '-');
}

static bool is_named(const struct micro_case *one, int argc, char **argv)
{
    bool named = argc == 1;

    for (int i = 1; i < argc; i++) {
        named |= names(argv[i], one);
    }
    return named;
}

/* All words by which cases can be named. */
static GPtrArray *case_words(const GPtrArray *cases)
{
    GPtrArray *words = g_ptr_array_new_with_free_func(g_free);

    for (unsigned i = 0; i < cases->len; i++) {
        const char *name = ((const struct micro_case *)g_ptr_array_index(cases, i))->name;

        for (const char *dash = strchr(name, '-'); dash; dash = strchr(dash + 1, '-')) {
            g_ptr_array_add(words, g_strndup(name, (gsize)(dash - name)));
        }
        g_ptr_array_add(words, g_strdup(name));
    }
    return words;
}

static int check_names(const GPtrArray *cases, int argc, char **argv)
{
    GPtrArray *words = case_words(cases);
    int status = STATUS_GOOD;

    for (int i = 1; i < argc && status == STATUS_GOOD; i++) {
        if (!g_ptr_array_find_with_equal_func(words, argv[i], g_str_equal, NULL)) {
            status = unknown_word("case", argv[i], words);
        }
    }
    g_ptr_array_unref(words);
    return status;
}

static bool any_drawn(const GPtrArray *cases, int argc, char **argv)
{
    for (unsigned i = 0; i < cases->len; i++) {
        const struct micro_case *one = g_ptr_array_index(cases, i);

        if (one->plot != MICRO_NO_PLOT && is_named(one, argc, argv)) {
            return true;
        }
    }
    return false;
}

int micro_main(int argc, char **argv)
{
    int repeat = DEFAULT_REPEAT, ms = DEFAULT_MS;
    char *plot_path = NULL;
    const GOptionEntry entries[] = {
        {"repeat", 0, 0, G_OPTION_ARG_INT, &repeat,
         "timed runs, after one that is not; default: " G_STRINGIFY(DEFAULT_REPEAT), "N"},
        {"ms", 0, 0, G_OPTION_ARG_INT, &ms,
         "length of a run of threads that contend; default: " G_STRINGIFY(DEFAULT_MS), "MS"},
        {"plot", 0, 0, G_OPTION_ARG_FILENAME, &plot_path,
         "draw cases over threads or pages: .svg, .png or .pdf; default: none", "FILE"},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    GPtrArray *cases = micro_all();
    struct options options;
    struct plot *plot = NULL;
    int status = STATUS_USAGE;

    if (options_parse(entries, "[CASE...] - measure single operations", NULL, &argc, &argv, &options.json) &&
        option_in_bounds("--repeat", repeat, 1, MAX_REPEAT) && option_in_bounds("--ms", ms, 1, MAX_MS)) {
        status = check_names(cases, argc, argv);
    }
    if (status == STATUS_GOOD && plot_path && !any_drawn(cases, argc, argv)) {
        status =
            usage_error("there is nothing to draw in %s: no case that is named varies threads or pages", plot_path);
    }
    if (status == STATUS_GOOD) {
        status = plot_new(plot_path, &plot);
    }
    options.repeat = (unsigned)repeat;
    options.ms = (unsigned)ms;
    for (unsigned i = 0; i < cases->len && status == STATUS_GOOD; i++) {
        const struct micro_case *one = g_ptr_array_index(cases, i);

        if (is_named(one, argc, argv)) {
            measure(&options, one, plot);
        }
    }
    if (plot && status == STATUS_GOOD && !plot_draw(plot)) {
        status = STATUS_FAILED;
    }
    plot_free(plot);
    g_ptr_array_unref(cases);
    g_free(plot_path);
    return status;
}
