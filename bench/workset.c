/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The subcommand workset: working sets of traces or of other sets, combined, shown and written. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"
#include "sets.h"

static bool is_set_file(const char *path)
{
    char magic[8] = "";
    FILE *file = fopen(path, "rbe");
    bool is_set = file && fread(magic, 1, sizeof(magic), file) == sizeof(magic) && !memcmp(magic, "pglwsets", 8);

    if (file) {
        fclose(file);
    }
    return is_set;
}

/* Appends the sets of a file of sets, or of a fault trace. Returns false after it has said what is wrong. */
static bool add_file(const char *path, GPtrArray *sets)
{
    GError *error = NULL;
    struct trace *trace;
    bool good;

    if (is_set_file(path)) {
        return sets_read(path, NULL, sets);
    }
    trace = trace_read(path, &error);
    if (!trace) {
        g_printerr("%s\n", error->message);
        g_error_free(error);
        return false;
    }
    good = trace->kind == TRACE_FAULT;
    if (!good) {
        g_printerr("pagelock-bench: %s is no fault trace\n", path);
    }
    good = good && sets_of_trace(trace, NULL, sets);
    trace_free(trace);
    return good;
}

static void print_sets(const GPtrArray *sets, bool json)
{
    if (!json) {
        printf("%6s %10s %10s %14s  %s\n", "runs", "pages", "clusters", "their pages", "of");
    }
    for (unsigned i = 0; i < sets->len; i++) {
        struct pgl_workset_info info;
        JsonBuilder *row;

        pgl_workset_get_info(g_ptr_array_index(sets, i), &info);
        if (!json) {
            char *name = one_line(info.name);

            printf("%6u %10" G_GUINT64_FORMAT " %10" G_GUINT64_FORMAT " %14" G_GUINT64_FORMAT "  %s\n", info.recordings,
                   info.pages, info.clusters, info.cluster_pages, name);
            g_free(name);
            continue;
        }
        row = row_begin("workset");
        row_text(row, "name", info.name);
        row_count(row, "runs", info.recordings);
        row_count(row, "pages", info.pages);
        row_count(row, "clusters", info.clusters);
        row_count(row, "cluster_pages", info.cluster_pages);
        row_end(row);
    }
}

static int run(int nfiles, char **files, const char *output, unsigned least, bool json)
{
    GPtrArray *sets = sets_new(), *combined;
    int status = STATUS_GOOD;

    for (int i = 0; i < nfiles && status == STATUS_GOOD; i++) {
        status = add_file(files[i], sets) ? STATUS_GOOD : STATUS_USAGE;
    }
    combined = status == STATUS_GOOD ? sets_combine(sets, least, NULL) : NULL;
    if (combined) {
        print_sets(combined, json);
        status = !output || sets_write(output, combined) ? STATUS_GOOD : STATUS_FAILED;
        g_ptr_array_unref(combined);
    } else if (status == STATUS_GOOD) {
        status = STATUS_FAILED;
    }
    g_ptr_array_unref(sets);
    return status;
}

int workset_main(int argc, char **argv)
{
    char *output = NULL;
    int least = 1;
    const GOptionEntry entries[] = {
        {"output", 0, 0, G_OPTION_ARG_FILENAME, &output, "write the sets; default: none", "FILE"},
        {"least", 0, 0, G_OPTION_ARG_INT, &least, "pages that so many runs touched; default: 1", "N"},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    int status = STATUS_USAGE;
    bool json;

    if (options_parse(entries, "FILE... - show and combine working sets", NULL, &argc, &argv, &json) &&
        option_in_bounds("--least", least, 1, INT_MAX)) {
        status = argc > 1 ? run(argc - 1, argv + 1, output, (unsigned)least, json)
                          : usage_error("workset wants a trace or a file of working sets");
    }
    g_free(output);
    return status;
}
