/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The subcommand draw: plots of rows that other subcommands have printed as JSON. */
#include <stdio.h>
#include <string.h>

#include "bench.h"
#include "plot.h"
#include "yardstick.h"

enum kind { CODE, FAULT, CASE, NEITHER };

/* The rows of one trace, or of one case, in the order of the file. */
struct panel {
    const char *name; /* a row's */
    enum kind kind;
    GPtrArray *rows; /* of JsonObject *, borrowed */
};

static void panel_free(void *p)
{
    g_ptr_array_unref(((struct panel *)p)->rows);
    g_free(p);
}

/* A member that is one value, or NULL. */
static JsonNode *value_of(JsonObject *row, const char *key)
{
    JsonNode *node = json_object_get_member(row, key);

    return node && JSON_NODE_HOLDS_VALUE(node) ? node : NULL;
}

/* The text or the number of a member; NULL, or 0, where there is none. */
static const char *text_of(JsonObject *row, const char *key)
{
    JsonNode *node = value_of(row, key);

    return node ? json_node_get_string(node) : NULL;
}

static gint64 count_of(JsonObject *row, const char *key)
{
    JsonNode *node = value_of(row, key);

    return node ? json_node_get_int(node) : 0;
}

static double number_of(JsonObject *row, const char *key)
{
    JsonNode *node = value_of(row, key);

    return node ? json_node_get_double(node) : 0;
}

static struct spread spread_in(JsonObject *row, const char *median)
{
    return (struct spread){number_of(row, median), number_of(row, "ns_min"), number_of(row, "ns_max")};
}

/* The series that a row is a point of; NULL: it is none. */
static const char *series_of(JsonObject *row)
{
    const char *impl = text_of(row, "impl"), *policy = text_of(row, "policy"), *window = text_of(row, "window");

    return impl ? impl : policy ? policy : window ? yardstick_series(window) : NULL;
}

static enum kind kind_of(JsonObject *row)
{
    const char *bench = text_of(row, "bench");

    if (!series_of(row)) {
        return NEITHER;
    }
    if (!g_strcmp0(bench, "micro")) {
        return CASE;
    }
    if (!g_strcmp0(bench, "replay") && text_of(row, "impl")) {
        return CODE;
    }
    return g_strcmp0(bench, "replay") && g_strcmp0(bench, "yardstick") ? NEITHER : FAULT;
}

/* The trace or the case of a row; NULL: it cannot be drawn. */
static const char *name_of(JsonObject *row)
{
    const enum kind kind = kind_of(row);

    return kind == NEITHER ? NULL : text_of(row, kind == CASE ? "case" : "trace");
}

/* Whether rows have these names. Says which name is of none. */
static bool are_known(const GPtrArray *rows, char *const *names)
{
    GPtrArray *known = g_ptr_array_new();
    bool good = true;

    for (unsigned i = 0; i < rows->len; i++) {
        const char *name = name_of(g_ptr_array_index(rows, i));

        if (name) {
            g_ptr_array_add(known, (void *)name);
        }
    }
    for (; *names && good; names++) {
        good = g_ptr_array_find_with_equal_func(known, *names, g_str_equal, NULL);
        if (!good) {
            unknown_word("trace or case", *names, known);
        }
    }
    g_ptr_array_unref(known);
    return good;
}

/* Puts a row into the panel of its trace or case, if it is one that can be drawn, and is named. */
static void keep_row(GPtrArray *panels, JsonObject *row, char **names)
{
    const enum kind kind = kind_of(row);
    const char *name = name_of(row);
    struct panel *panel = NULL;

    if (!name || (*names && !g_strv_contains((const char *const *)names, name))) {
        return;
    }
    for (unsigned i = 0; i < panels->len && !panel; i++) {
        struct panel *one = g_ptr_array_index(panels, i);

        panel = one->kind == kind && !strcmp(one->name, name) ? one : NULL;
    }
    if (!panel) {
        panel = g_new(struct panel, 1);
        *panel = (struct panel){name, kind, g_ptr_array_new()};
        g_ptr_array_add(panels, panel);
    }
    g_ptr_array_add(panel->rows, row);
}

/* Whether the rows differ in a member. */
static bool varies(const struct panel *panel, const char *key)
{
    for (unsigned i = 1; i < panel->rows->len; i++) {
        if (count_of(g_ptr_array_index(panel->rows, i), key) != count_of(g_ptr_array_index(panel->rows, 0), key)) {
            return true;
        }
    }
    return false;
}

static void draw_code(struct plot *plot, const struct panel *panel)
{
    plot_panel(plot, PLOT_BARS, panel->name, "", "ns an event");
    for (unsigned i = 0; i < panel->rows->len; i++) {
        JsonObject *row = g_ptr_array_index(panel->rows, i);
        char *x = g_strdup_printf("threads: %" G_GINT64_FORMAT, count_of(row, "threads"));

        plot_add(plot, series_of(row), x, spread_in(row, "ns_per_event"));
        g_free(x);
    }
}

/* Faults against pages that were fetched in vain: those beyond the pages of the row that fetched the fewest. */
static void draw_faults(struct plot *plot, const struct panel *panel)
{
    gint64 needed = G_MAXINT64;

    plot_panel(plot, PLOT_POINTS, panel->name, "pages fetched in vain", "faults");
    for (unsigned i = 0; i < panel->rows->len; i++) {
        needed = MIN(needed, count_of(g_ptr_array_index(panel->rows, i), "pages_fetched"));
    }
    for (unsigned i = 0; i < panel->rows->len; i++) {
        JsonObject *row = g_ptr_array_index(panel->rows, i);
        char *x = g_strdup_printf("%" G_GINT64_FORMAT, count_of(row, "pages_fetched") - needed);
        double faults = (double)count_of(row, "requests");

        plot_add(plot, series_of(row), x, (struct spread){faults, faults, faults});
        g_free(x);
    }
}

/* A case that varies neither threads nor pages has no plot; false then. */
static bool draw_case(struct plot *plot, const struct panel *panel)
{
    const bool threads = varies(panel, "threads");
    const char *key = threads ? "threads" : "pages";

    if (!threads && !varies(panel, key)) {
        return false;
    }
    plot_panel(plot, threads ? PLOT_LINES : PLOT_LOG, panel->name, key, threads ? "million a second" : "ns");
    for (unsigned i = 0; i < panel->rows->len; i++) {
        JsonObject *row = g_ptr_array_index(panel->rows, i);
        char *x = g_strdup_printf("%" G_GINT64_FORMAT, count_of(row, key));
        struct spread ns = spread_in(row, "ns_per_op");

        plot_add(plot, series_of(row), x, threads ? plot_rate(ns) : ns);
        g_free(x);
    }
    return true;
}

/* Reads a file of rows, one a line; false and a message where it is none. */
static bool read_rows(const char *path, GPtrArray *rows)
{
    char *text = NULL, **lines;
    GError *error = NULL;
    bool good = g_file_get_contents(path, &text, NULL, &error);

    lines = g_strsplit(good ? text : "", "\n", -1);
    for (unsigned i = 0; lines[i] && good; i++) {
        JsonNode *node = *lines[i] ? json_from_string(lines[i], &error) : NULL;

        good = !error && (!node || JSON_NODE_HOLDS_OBJECT(node));
        if (good && node) {
            g_ptr_array_add(rows, json_object_ref(json_node_get_object(node)));
        } else if (!good) {
            usage_error("%s:%u: not a row as --format=json prints them", path, i + 1);
        }
        g_clear_pointer(&node, json_node_unref);
    }
    if (!text) {
        usage_error("%s", error->message);
    }
    g_clear_error(&error);
    g_strfreev(lines);
    g_free(text);
    return good;
}

static void set_origin(struct plot *plot, const GPtrArray *rows)
{
    for (unsigned i = 0; i < rows->len; i++) {
        JsonObject *row = g_ptr_array_index(rows, i);

        if (!g_strcmp0(text_of(row, "bench"), "machine") && text_of(row, "processor") && text_of(row, "date")) {
            plot_set_origin(plot, text_of(row, "processor"), text_of(row, "date"));
        }
    }
}

static int draw(const char *plot_path, const char *path, const GPtrArray *rows, char **names)
{
    GPtrArray *panels = g_ptr_array_new_with_free_func(panel_free);
    struct plot *plot = NULL;
    unsigned ndrawn = 0;
    int status;

    for (unsigned i = 0; i < rows->len; i++) {
        keep_row(panels, g_ptr_array_index(rows, i), names);
    }
    status = plot_new(plot_path, &plot);
    for (unsigned i = 0; i < panels->len && status == STATUS_GOOD; i++) {
        const struct panel *panel = g_ptr_array_index(panels, i);

        if (panel->kind == CASE) {
            ndrawn += draw_case(plot, panel);
            continue;
        }
        (panel->kind == CODE ? draw_code : draw_faults)(plot, panel);
        ndrawn++;
    }
    if (status == STATUS_GOOD && !ndrawn) {
        status = usage_error("%s has nothing to draw: no replay, no case that varies threads or pages", path);
    } else if (status == STATUS_GOOD) {
        set_origin(plot, rows);
        status = plot_draw(plot) ? STATUS_GOOD : STATUS_FAILED;
    }
    plot_free(plot);
    g_ptr_array_unref(panels);
    return status;
}

int draw_main(int argc, char **argv)
{
    char *plot_path = NULL;
    const GOptionEntry entries[] = {
        {"plot", 0, 0, G_OPTION_ARG_FILENAME, &plot_path, "draw into a .svg, .png or .pdf; no default", "FILE"},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    GPtrArray *rows = g_ptr_array_new_with_free_func((GDestroyNotify)json_object_unref);
    int status = STATUS_USAGE;
    bool json;

    if (!options_parse(entries, "ROWS.json [TRACE|CASE...] - draw what was measured before", NULL, &argc, &argv,
                       &json)) {
        status = STATUS_USAGE;
    } else if (!plot_path || argc < 2) {
        status = usage_error("draw wants --plot, and a file of rows as --format=json prints them");
    } else if (read_rows(argv[1], rows) && are_known(rows, argv + 2)) {
        status = draw(plot_path, argv[1], rows, argv + 2);
    }
    g_ptr_array_unref(rows);
    g_free(plot_path);
    return status;
}
