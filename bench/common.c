/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bench.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int usage_error(const char *format, ...)
{
    va_list args;
    char *message;

    va_start(args, format);
    message = g_strdup_vprintf(format, args);
    va_end(args);
    g_printerr("pagelock-bench: %s\n", message);
    g_free(message);
    return STATUS_USAGE;
}

bool options_parse(const GOptionEntry *entries, const char *usage, const char *summary, int *argc, char ***argv,
                   bool *json)
{
    char *format = NULL;
    const GOptionEntry common[] = {
        {"format", 0, 0, G_OPTION_ARG_STRING, &format, "table (for people) or json (an object a line)", "FORMAT"},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    GOptionContext *context = g_option_context_new(usage);
    GError *error = NULL;
    bool good;

    g_option_context_set_summary(context, summary);
    if (entries) {
        g_option_context_add_main_entries(context, entries, NULL);
    }
    g_option_context_add_main_entries(context, common, NULL);
    good = g_option_context_parse(context, argc, argv, &error);
    if (!good) {
        usage_error("%s", error->message);
        g_error_free(error);
    } else if (format && strcmp(format, "json") && strcmp(format, "table")) {
        usage_error("--format is neither table nor json: %s", format);
        good = false;
    }
    *json = format && !strcmp(format, "json");
    g_free(format);
    g_option_context_free(context);
    return good;
}

bool option_in_bounds(const char *option, int value, int min, int max)
{
    if (value < min || value > max) {
        usage_error("%s is not in %d..%d: %d", option, min, max, value);
    }
    return value >= min && value <= max;
}

bool output_flush(void)
{
    static int first_errno; /* what the stream itself does not remember */

    errno = EIO; /* of a write that was not checked */
    if ((fflush(stdout) || ferror(stdout)) && !first_errno) {
        first_errno = errno;
    }
    errno = first_errno;
    return !first_errno;
}

JsonBuilder *row_begin(const char *bench)
{
    JsonBuilder *row = json_builder_new();

    json_builder_begin_object(row);
    row_text(row, "bench", bench);
    return row;
}

void row_text(JsonBuilder *row, const char *key, const char *value)
{
    json_builder_set_member_name(row, key);
    json_builder_add_string_value(row, value);
}

void row_count(JsonBuilder *row, const char *key, uint64_t value)
{
    json_builder_set_member_name(row, key);
    json_builder_add_int_value(row, (gint64)value);
}

void row_flag(JsonBuilder *row, const char *key, bool value)
{
    json_builder_set_member_name(row, key);
    json_builder_add_boolean_value(row, value);
}

void row_real(JsonBuilder *row, const char *key, double value)
{
    json_builder_set_member_name(row, key);
    json_builder_add_double_value(row, value);
}

/* The library prints reals to all 17 digits, of which most are noise. There is no JSON for what is not finite. */
static void add_member(JsonObject *object, const char *key, JsonNode *value, void *p)
{
    GString *line = p;
    char number[G_ASCII_DTOSTR_BUF_SIZE], *text;

    (void)object;
    if (json_node_get_value_type(value) != G_TYPE_DOUBLE) {
        text = json_to_string(value, FALSE);
    } else if (!isfinite(json_node_get_double(value))) {
        text = g_strdup("null");
    } else {
        text = g_strdup(g_ascii_formatd(number, sizeof(number), "%.6g", json_node_get_double(value)));
    }
    g_string_append_printf(line, "%c\"%s\":%s", line->len ? ',' : '{', key, text);
    g_free(text);
}

void row_end(JsonBuilder *row)
{
    GString *line = g_string_new(NULL);
    JsonNode *root;

    json_builder_end_object(row);
    root = json_builder_get_root(row);
    json_object_foreach_member(json_node_get_object(root), add_member, line);
    printf("%s}\n", line->str);
    output_flush();
    g_string_free(line, TRUE);
    json_node_unref(root);
    g_object_unref(row);
}

void progress_show(const char *what, unsigned done, unsigned total)
{
    enum { WIDTH = 30 };
    unsigned filled = done * WIDTH / total;

    if (!isatty(STDERR_FILENO)) {
        return;
    }
    fprintf(stderr, "\r%-24.24s [", what);
    for (unsigned i = 0; i < WIDTH; i++) {
        fputc(i < filled ? '#' : '.', stderr);
    }
    fprintf(stderr, "] %3u %%", done * 100 / total);
    fflush(stderr);
}

void progress_clear(void)
{
    if (isatty(STDERR_FILENO)) {
        fprintf(stderr, "\r%66s\r", "");
    }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

struct spread spread_of(const double *values, unsigned n)
{
    double *sorted = g_memdup2(values, n * sizeof(*values));
    struct spread spread;

    qsort(sorted, n, sizeof(*sorted), compare);
    spread.min = sorted[0];
    spread.max = sorted[n - 1];
    spread.median = n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
    g_free(sorted);
    return spread;
}

struct spread spread_of_ratios(const double *a, const double *b, unsigned n)
{
    double *ratios = g_new(double, n);
    struct spread spread;

    for (unsigned i = 0; i < n; i++) {
        ratios[i] = a[i] / b[i];
    }
    spread = spread_of(ratios, n);
    g_free(ratios);
    return spread;
}

void row_ratio(const char *key, const char *name, unsigned threads, const uint64_t *pages, const char *a, const char *b,
               struct spread ratio)
{
    JsonBuilder *row = row_begin("ratio");

    row_text(row, key, name);
    row_count(row, "threads", threads);
    if (pages) {
        row_count(row, "pages", *pages);
    }
    row_text(row, "a", a);
    row_text(row, "b", b);
    row_real(row, "ratio_median", ratio.median);
    row_real(row, "ratio_min", ratio.min);
    row_real(row, "ratio_max", ratio.max);
    row_end(row);
}
