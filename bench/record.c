/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The subcommand record: runs a program with the shim, and writes the pages that it touched.
 *
 * READERS      A process that the program leaves behind goes on claiming slots. Therefore the touches are read before the
 *              number of the objects: each touch of them is of an object that is counted.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include <zlib.h>

#include "bench.h"
#include "program.h"
#include "sets.h"

/* The touches of an area that were filled in, in the order in which they happened. */
static gint compare_touches(gconstpointer a, gconstpointer b)
{
    const struct area_touch *one = a, *other = b;

    return one->ns < other->ns ? -1 : one->ns > other->ns;
}

static GArray *touches_of(const struct area *area)
{
    GArray *touches = g_array_new(FALSE, FALSE, sizeof(struct area_touch));
    uint64_t n = MIN(area->ntouches, AREA_TOUCHES);

    for (uint64_t i = 0; i < n; i++) {
        if (area->touches[i].object > 0) {
            g_array_append_val(touches, area->touches[i]);
        }
    }
    g_array_sort(touches, compare_touches);
    return touches;
}

static unsigned objects_of(const struct area *area)
{
    return (unsigned)MIN(area->nobjects, AREA_OBJECTS);
}

/* Each entry of the first objects, once. */
static void put_entries(GString *text, const struct area *area, unsigned nobjects)
{
    unsigned n = (unsigned)MIN(area->nentries, AREA_ENTRIES);

    for (unsigned i = 0; i < n; i++) {
        const struct area_entry *entry = &area->entries[i];
        bool is_new = entry->npages > 0 && entry->object < nobjects;

        for (unsigned j = 0; j < i && is_new; j++) {
            is_new = area->entries[j].object != entry->object || area->entries[j].first != entry->first ||
                     area->entries[j].npages != entry->npages;
        }
        if (is_new) {
            g_string_append_printf(text, "# entry %u %" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT "\n", entry->object,
                                   entry->first, entry->npages);
        }
    }
}

/* A file may have grown since it was mapped first. */
static uint64_t npages_of(const struct area *area, unsigned object)
{
    uint64_t npages = MAX(area->objects[object].npages, 1);
    unsigned n = (unsigned)MIN(area->nentries, AREA_ENTRIES);

    for (unsigned i = 0; i < n; i++) {
        if (area->entries[i].object == object) {
            npages = MAX(npages, area->entries[i].first + area->entries[i].npages);
        }
    }
    return npages;
}

static GString *trace_text(const struct area *area, char *const *argv)
{
    GString *text = g_string_new("# pagelock-trace 1 kind=fault page_bits=12\n");
    char *command = g_strjoinv(" ", (char **)argv);
    GArray *touches = touches_of(area);
    unsigned nobjects = objects_of(area);

    g_strdelimit(command, "\n\r", ' ');
    g_string_append_printf(text,
                           "# source: pagelock-bench record, %s: first touch of each page of the files that the "
                           "program maps for reading\n",
                           command);
    for (unsigned i = 0; i < nobjects; i++) {
        char *name = one_line(*area->objects[i].path ? area->objects[i].path : "?");

        g_string_append_printf(text, "# object %u %" G_GUINT64_FORMAT " %s\n", i, npages_of(area, i), name);
        g_free(name);
    }
    put_entries(text, area, nobjects);
    for (unsigned i = 0; i < touches->len; i++) {
        const struct area_touch *touch = &g_array_index(touches, struct area_touch, i);

        g_string_append_printf(text, "%" G_GUINT64_FORMAT " %u %u r\n", touch->ns, touch->object - 1, touch->page);
    }
    g_array_unref(touches);
    g_free(command);
    return text;
}

static bool write_trace(const char *path, const struct area *area, char *const *argv)
{
    GString *text = trace_text(area, argv);
    gzFile gz = gzopen(path, "wbe9");
    bool good = gz && gzwrite(gz, text->str, (unsigned)text->len) == (int)text->len;

    good = gz && gzclose(gz) == Z_OK && good;
    if (!good) {
        g_printerr("pagelock-bench: %s: %s\n", path, g_strerror(errno));
    }
    g_string_free(text, TRUE);
    return good;
}

/* A fault trace of the area, for sets_of_trace(). */
static struct trace *trace_of(const struct area *area)
{
    struct trace *trace = trace_new("record");
    GArray *touches = touches_of(area);

    for (unsigned i = 0; i < objects_of(area); i++) {
        struct trace_object object = {npages_of(area, i), g_strdup(area->objects[i].path)};

        g_array_append_val(trace->objects, object);
    }
    for (unsigned i = 0; i < touches->len; i++) {
        const struct area_touch *touch = &g_array_index(touches, struct area_touch, i);
        struct trace_touch one = {.page = touch->page, .object = touch->object - 1};

        g_array_append_val(trace->touches, one);
    }
    g_array_unref(touches);
    return trace;
}

static bool write_sets(const char *path, const struct area *area)
{
    GPtrArray *sets = sets_new();
    struct trace *trace = trace_of(area);
    bool good = sets_of_trace(trace, NULL, sets) && sets_write(path, sets);

    trace_free(trace);
    g_ptr_array_unref(sets);
    return good;
}

static gint compare_pages(gconstpointer a, gconstpointer b)
{
    const struct area_touch *one = a, *other = b;

    if (one->object != other->object) {
        return one->object < other->object ? -1 : 1;
    }
    return one->page < other->page ? -1 : one->page > other->page;
}

/* Count the pages of each file, each once: a page is touched again after its file was mapped again. */
static void count_pages(GArray *touches, uint64_t *touched)
{
    g_array_sort(touches, compare_pages);
    for (unsigned i = 0; i < touches->len; i++) {
        const struct area_touch *touch = &g_array_index(touches, struct area_touch, i);

        touched[touch->object - 1] += i == 0 || compare_pages(touch - 1, touch) != 0;
    }
}

/* Each file of each process, with the number of its pages that were touched. */
static void print_objects(const struct area *area, bool json)
{
    GArray *touches = touches_of(area);
    unsigned n = objects_of(area);
    uint64_t *touched = g_new0(uint64_t, n + 1);

    count_pages(touches, touched);
    g_array_unref(touches);
    for (unsigned i = 0; i < n; i++) {
        if (json) {
            JsonBuilder *row = row_begin("record");

            row_text(row, "file", area->objects[i].path);
            row_count(row, "pages", npages_of(area, i));
            row_count(row, "touched", touched[i]);
            row_end(row);
        } else {
            char *name = one_line(area->objects[i].path);

            printf("%10" G_GUINT64_FORMAT " of %10" G_GUINT64_FORMAT " pages of %s\n", touched[i], npages_of(area, i),
                   name);
            g_free(name);
        }
    }
    g_free(touched);
}

static void warn_of_losses(const struct area *area)
{
    if (area->ntouches > AREA_TOUCHES || area->nobjects > AREA_OBJECTS || area->nentries > AREA_ENTRIES) {
        g_printerr("pagelock-bench: warning: there were more touches, files or mappings than can be recorded\n");
    }
    if (area->refused > 0) {
        g_printerr("pagelock-bench: warning: %" G_GUINT64_FORMAT " mappings could not be recorded: %s\n", area->refused,
                   g_strerror((int)area->error));
    }
}

/* Says so if the program has failed. */
static int judge(const char *program, int status)
{
    if (WIFSIGNALED(status)) {
        g_printerr("pagelock-bench: %s was ended by signal %d\n", program, WTERMSIG(status));
    } else if (WEXITSTATUS(status) != 0) {
        g_printerr("pagelock-bench: %s ended with status %d\n", program, WEXITSTATUS(status));
    }
    return status == 0 ? STATUS_GOOD : STATUS_FAILED;
}

/* The options of the command. */
struct wanted {
    char *trace;
    char *workset;
    char *replay;
};

/* Hands the sets of a file to the shim. Returns them, or NULL after it has said what is wrong. */
static GPtrArray *give_sets(struct area *area, const char *path)
{
    GPtrArray *sets = sets_read_combined(path, NULL);
    bool good = !sets || sets->len <= AREA_NSETS;

    for (unsigned i = 0; sets && i < sets->len && good; i++) {
        size_t room = AREA_SETS - area->set_size;
        size_t size = pgl_workset_save(g_ptr_array_index(sets, i), area->sets + area->set_size, room);

        good = size <= room;
        area->set_size += good ? size : 0;
    }
    if (!good) {
        g_printerr("pagelock-bench: %s: the sets are too large, or more than %d\n", path, AREA_NSETS);
        g_clear_pointer(&sets, g_ptr_array_unref);
    }
    return sets;
}

/* A set that is not followed looks like one that is of no use. */
static void warn_of_other_sets(const struct area *area, const GPtrArray *sets)
{
    bool known = !sets;

    for (unsigned i = 0; i < objects_of(area) && !known; i++) {
        known = sets_find(sets, area->objects[i].path);
    }
    if (!known) {
        g_printerr("pagelock-bench: warning: no set is of a file that the program maps\n");
    }
}

static int record(char *const *argv, const struct wanted *wanted, bool json)
{
    struct area *area = area_new();
    GPtrArray *sets = NULL;
    int status = STATUS_FAILED;
    int ended;
    uint64_t ns;

    if (!area) {
        return STATUS_FAILED;
    }
    area->advice = PGL_ADVICE_RANDOM; /* each first touch is a fault */
    area->records = true;
    if (wanted->replay) {
        sets = give_sets(area, wanted->replay);
    }
    if (wanted->replay && !sets) {
        status = STATUS_USAGE;
    } else if (program_run(argv, area, false, &ended, &ns) && !program_explain(area)) {
        warn_of_losses(area);
        warn_of_other_sets(area, sets);
        print_objects(area, json);
        status = judge(argv[0], ended);
        if ((wanted->trace && !write_trace(wanted->trace, area, argv)) ||
            (wanted->workset && !write_sets(wanted->workset, area))) {
            status = STATUS_FAILED;
        }
    }
    if (sets) {
        g_ptr_array_unref(sets);
    }
    area_free(area);
    return status;
}

int record_main(int argc, char **argv)
{
    struct wanted wanted = {0};
    const GOptionEntry entries[] = {
        {"trace", 0, 0, G_OPTION_ARG_FILENAME, &wanted.trace, "write the touches, for replay; default: none", "FILE"},
        {"workset", 0, 0, G_OPTION_ARG_FILENAME, &wanted.workset, "write a working set of each file; default: none",
         "FILE"},
        {"replay", 0, 0, G_OPTION_ARG_FILENAME, &wanted.replay, "bring clusters of these sets meanwhile; default: none",
         "FILE"},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    int status = STATUS_USAGE;
    bool json;

    if (options_parse(entries, "-- PROGRAM... - record the pages that it touches", NULL, &argc, &argv, &json)) {
        int first = argc > 1 && !strcmp(argv[1], "--") ? 2 : 1;

        if (first >= argc) {
            status = usage_error("record wants a program");
        } else if (!wanted.trace && !wanted.workset) {
            status = usage_error("record wants --trace or --workset, or both");
        } else if ((wanted.trace && !can_write(wanted.trace)) || (wanted.workset && !can_write(wanted.workset))) {
            status = STATUS_FAILED; /* before the program runs */
        } else {
            status = record(argv + first, &wanted, json);
        }
    }
    g_free(wanted.trace);
    g_free(wanted.workset);
    g_free(wanted.replay);
    return status;
}
