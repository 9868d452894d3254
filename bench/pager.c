/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The subcommand pager: a real file, touched through userfaultfd and through the kernel's own mmap. */
#include "pager.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"
#include "plot.h"

enum { MAX_MIB = 1 << 20, MAX_REPEAT = 1000, MAX_THREADS = 64 };
enum { MAX_WAYS = 16, MAX_WINDOW = 1 << 20, NOT_GIVEN = INT_MIN };

/* The defaults, which --help tells. */
#define DEFAULT_MIB 256
#define PROGRAM_MIB 200
#define PROGRAM_MAX_MIB 100000
#define DEFAULT_REPEAT 3
#define DEFAULT_THREADS 1

struct options {
    bool json;
    bool program;
    unsigned repeat;
    size_t mib;
    char *file;
    char *plot_path;
    struct plot *plot;
    struct pager_config config;
};

struct result {
    double *seconds; /* of each repeat */
    struct pager_run last;
};

static void print_json(const struct pager_order *order, const struct pager_way *way, const struct pager_run *run,
                       uint64_t bytes_needed, double seconds)
{
    JsonBuilder *row = row_begin("pager");

    row_text(row, "order", order->name);
    row_text(row, "via", way->via);
    row_text(row, "advice", way->name);
    row_flag(row, "cold", run->cold);
    row_count(row, "bytes_needed", bytes_needed);
    row_count(row, "bytes_read", run->bytes_read);
    row_count(row, "faults", run->faults);
    row_count(row, "ns_p50", run->ns_p50);
    row_count(row, "ns_p99", run->ns_p99);
    row_real(row, "mb_per_s", (double)bytes_needed / seconds / 1e6);
    row_real(row, "seconds", seconds);
    row_end(row);
}

static void print_quantile(uint64_t ns)
{
    if (ns > 0) {
        printf(" %8.1f", (double)ns / 1e3);
    } else {
        printf(" %8s", "-");
    }
}

static void print_results(const struct options *options, const struct pager_file *file, const struct pager_order *order,
                          const struct result *results)
{
    uint64_t bytes_needed = order->npages * file->page_size;

    if (options->plot) {
        plot_panel(options->plot, PLOT_BARS, order->name, "", "MB/s");
    }
    if (!options->json) {
        printf("%s: %zu pages of a file of %zu\n  %-5s %-11s %6s %10s %12s %12s %10s %8s %8s\n", order->name,
               order->npages, file->npages, "via", "advice", "cache", "MB/s", "MiB needed", "MiB read", "faults",
               "p50 us", "p99 us");
    }
    for (unsigned i = 0; pager_ways[i].name; i++) {
        const struct pager_way *way = &pager_ways[i];
        const struct pager_run *run = &results[i].last;
        const struct spread seconds = spread_of(results[i].seconds, options->repeat);
        double mb = (double)bytes_needed / 1e6, mb_per_s = mb / seconds.median;

        if (options->json) {
            print_json(order, way, run, bytes_needed, seconds.median);
        } else {
            printf("  %-5s %-11s %6s %10.1f %12.1f %12.1f %10" G_GUINT64_FORMAT, way->via, way->name,
                   run->cold ? "cold" : "warm", mb_per_s, (double)bytes_needed / (1 << 20),
                   (double)run->bytes_read / (1 << 20), run->faults);
            print_quantile(run->ns_p50);
            print_quantile(run->ns_p99);
            printf("\n");
        }
        if (options->plot) {
            plot_add(options->plot, way->name, way->via, (struct spread){mb_per_s, mb / seconds.max, mb / seconds.min});
        }
    }
    if (!options->json) {
        printf("\n");
    }
    output_flush();
}

/* All ways in turn, as often as asked for. */
static int measure(const struct options *options, const struct pager_file *file, const struct pager_order *order)
{
    struct result results[MAX_WAYS];
    unsigned nways = 0;
    bool good = true;

    for (; pager_ways[nways].name; nways++) {
        results[nways].seconds = g_new(double, options->repeat);
    }
    for (unsigned i = 0; i < options->repeat * nways && good; i++) {
        struct result *result = &results[i % nways];

        progress_show(order->name, i, options->repeat * nways);
        good = pager_run_way(&options->config, file, order, &pager_ways[i % nways], &result->last);
        result->seconds[i / nways] = result->last.seconds;
    }
    progress_clear();
    if (good) {
        print_results(options, file, order, results);
    }
    for (unsigned i = 0; i < nways; i++) {
        g_free(results[i].seconds);
    }
    return good ? STATUS_GOOD : STATUS_FAILED;
}

static bool find_handover(const char *name, enum pgl_uffd_handover *handover)
{
    static const char *const names[] = {
        [PGL_UFFD_FOLLOW] = "follow", [PGL_UFFD_ANYWHERE] = "anywhere", [PGL_UFFD_SIGBUS] = "sigbus"};
    GPtrArray *words;

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        if (!strcmp(name, names[i])) {
            *handover = (enum pgl_uffd_handover)i;
            return true;
        }
    }
    words = g_ptr_array_new();
    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        g_ptr_array_add(words, (gpointer)names[i]);
    }
    unknown_word("hand-over", name, words);
    g_ptr_array_unref(words);
    return false;
}

static bool parse_options(int *argc, char ***argv, struct options *options)
{
    int mib = NOT_GIVEN, repeat = DEFAULT_REPEAT, threads = DEFAULT_THREADS, before = NOT_GIVEN, after = NOT_GIVEN;
    char *handover = NULL;
    const GOptionEntry entries[] = {
        {"file", 0, 0, G_OPTION_ARG_FILENAME, &options->file, "what to page in; default: a file is made", "FILE"},
        {"size", 0, 0, G_OPTION_ARG_INT, &mib, "size of the file that is made; default: " G_STRINGIFY(DEFAULT_MIB),
         "MIB"},
        {"threads", 0, 0, G_OPTION_ARG_INT, &threads,
         "handler threads of userfaultfd; default: " G_STRINGIFY(DEFAULT_THREADS), "N"},
        {"before", 0, 0, G_OPTION_ARG_INT, &before, "userfaultfd: pages before the demand page; default: as shipped",
         "N"},
        {"after", 0, 0, G_OPTION_ARG_INT, &after, "userfaultfd: pages after the demand page; default: as shipped", "N"},
        {"handover", 0, 0, G_OPTION_ARG_STRING, &handover, "userfaultfd: anywhere or sigbus; default: follow", "HOW"},
        {"program", 0, 0, G_OPTION_ARG_NONE, &options->program,
         "time sqlite3 on a database of --size (default: " G_STRINGIFY(PROGRAM_MIB) ")", NULL},
        {"repeat", 0, 0, G_OPTION_ARG_INT, &repeat, "timed runs; default: " G_STRINGIFY(DEFAULT_REPEAT), "N"},
        {"plot", 0, 0, G_OPTION_ARG_FILENAME, &options->plot_path, "draw into a .svg, .png or .pdf; default: none",
         "FILE"},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    bool good = options_parse(entries, "[sequential|random|TRACE...] - userfaultfd against mmap", NULL, argc, argv,
                              &options->json) &&
                (mib == NOT_GIVEN || option_in_bounds("--size", mib, 1, MAX_MIB)) &&
                option_in_bounds("--threads", threads, 1, MAX_THREADS) &&
                (before == NOT_GIVEN || option_in_bounds("--before", before, 0, MAX_WINDOW)) &&
                (after == NOT_GIVEN || option_in_bounds("--after", after, 0, MAX_WINDOW)) &&
                option_in_bounds("--repeat", repeat, 1, MAX_REPEAT);

    if (good && mib != NOT_GIVEN && options->file) {
        usage_error("--size is for a file that is made, and --file names one");
        good = false;
    }
    if (good && options->program &&
        (*argc > 1 || options->file || options->plot_path || threads != 1 || before != NOT_GIVEN ||
         after != NOT_GIVEN || mib > PROGRAM_MAX_MIB)) {
        usage_error("--program goes with --size up to " G_STRINGIFY(
            PROGRAM_MAX_MIB) ", --handover, --repeat and --format alone");
        good = false;
    }
    options->mib = mib != NOT_GIVEN ? (size_t)mib : options->program ? PROGRAM_MIB : DEFAULT_MIB;
    options->repeat = (unsigned)repeat;
    options->config = (struct pager_config){(unsigned)threads, before, after, PGL_UFFD_FOLLOW};
    if (good && handover) {
        good = find_handover(handover, &options->config.handover);
    }
    g_free(handover);
    return good;
}

static int measure_order(const struct options *options, struct pager_file *file, const char *name)
{
    struct pager_order order;
    int status = pager_order_make(&order, name, file, (options->mib << 20) / file->page_size);

    if (status == STATUS_GOOD) {
        status = measure(options, file, &order);
    }
    pager_order_clear(&order);
    return status;
}

int pager_main(int argc, char **argv)
{
    static const char *const usual[] = {"sequential", "random"};
    struct options options = {0};
    struct pager_file file;
    int status = STATUS_USAGE;

    if (parse_options(&argc, &argv, &options)) {
        if (options.program) {
            return pager_program(&options.config, options.mib, options.repeat, options.json);
        }
        status = pager_file_open(&file, options.file);
        if (status == STATUS_GOOD) {
            status = plot_new(options.plot_path, &options.plot);
        }
        for (unsigned i = 0; i < G_N_ELEMENTS(usual) && argc == 1 && status == STATUS_GOOD; i++) {
            status = measure_order(&options, &file, usual[i]);
        }
        for (int i = 1; i < argc && status == STATUS_GOOD; i++) {
            status = measure_order(&options, &file, argv[i]);
        }
        pager_file_close(&file);
    }
    if (options.plot && status == STATUS_GOOD && !plot_draw(options.plot)) {
        status = STATUS_FAILED;
    }
    plot_free(options.plot);
    g_free(options.plot_path);
    g_free(options.file);
    return status;
}
