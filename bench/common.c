/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bench.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "closest.h"

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

char *hint_of(const char *word, const GPtrArray *words)
{
    const char *meant = closest(word, words);

    return meant ? g_strdup_printf(" (did you mean %s?)", meant) : g_strdup("");
}

int unknown_word(const char *what, const char *word, const GPtrArray *words)
{
    char *hint = hint_of(word, words);
    int status = usage_error("unknown %s: %s%s", what, word, hint);

    g_free(hint);
    return status;
}

bool can_write(const char *path)
{
    char *folder = g_path_get_dirname(path);
    int error = 0;

    if (g_file_test(path, G_FILE_TEST_IS_DIR)) {
        error = EISDIR;
    } else if (access(g_file_test(path, G_FILE_TEST_EXISTS) ? path : folder, W_OK) != 0) {
        error = errno;
    }
    if (error) {
        g_printerr("pagelock-bench: cannot write %s: %s\n", path, g_strerror(error));
    }
    g_free(folder);
    return !error;
}

/* Of an option that is not known GLib says "Unknown option --thread". */
static void option_error(const GError *error, const GOptionEntry *const *entries, unsigned nentries)
{
    GPtrArray *words = g_ptr_array_new_with_free_func(g_free);
    const char *word = strrchr(error->message, ' ');
    char *hint;

    g_ptr_array_add(words, g_strdup("--help"));
    for (unsigned i = 0; i < nentries; i++) {
        for (const GOptionEntry *entry = entries[i]; entry && entry->long_name; entry++) {
            g_ptr_array_add(words, g_strconcat("--", entry->long_name, NULL));
        }
    }
    if (g_error_matches(error, G_OPTION_ERROR, G_OPTION_ERROR_UNKNOWN_OPTION) && word) {
        hint = hint_of(word + 1, words);
    } else {
        hint = g_strdup("");
    }
    usage_error("%s%s", error->message, hint);
    g_free(hint);
    g_ptr_array_unref(words);
}

static bool format_good(const char *format)
{
    GPtrArray *words = g_ptr_array_new();
    char *hint;
    bool good = !format || !strcmp(format, "json") || !strcmp(format, "table");

    if (!good) {
        g_ptr_array_add(words, (gpointer) "json");
        g_ptr_array_add(words, (gpointer) "table");
        hint = hint_of(format, words);
        usage_error("--format is neither table nor json: %s%s", format, hint);
        g_free(hint);
    }
    g_ptr_array_unref(words);
    return good;
}

bool options_parse(const GOptionEntry *entries, const char *usage, const char *summary, int *argc, char ***argv,
                   bool *json)
{
    char *format = NULL;
    const GOptionEntry common[] = {
        {"format", 0, 0, G_OPTION_ARG_STRING, &format, "json: an object a line; default: table, for people", "FORMAT"},
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
        option_error(error, (const GOptionEntry *const[]){entries, common}, 2);
        g_error_free(error);
    }
    good = good && format_good(format);
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
    char *valid = g_utf8_make_valid(value, -1); /* a path may have any bytes */

    json_builder_set_member_name(row, key);
    json_builder_add_string_value(row, valid);
    g_free(valid);
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

char *one_line(const char *text)
{
    return g_strdelimit(g_strdup(text), "\n\r", '?');
}

void print_wrapped(unsigned indent, const char *format, ...)
{
    unsigned column = 0;
    va_list args;
    char *text, **words;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    words = g_strsplit(text, " ", -1); /* of two blanks one is an empty word */
    for (char **word = words; *word; word++) {
        unsigned length = (unsigned)g_utf8_strlen(*word, -1);
        bool first = word == words;

        if (!first && column + 1 + length > TABLE_COLUMNS) {
            printf("\n%*s%s", (int)indent, "", *word);
            column = indent + length;
        } else {
            printf("%s%s", first ? "" : " ", *word);
            column += length + !first;
        }
    }
    printf("\n");
    g_strfreev(words);
    g_free(text);
}

unsigned terminal_columns(void)
{
    enum { USUAL = 80 };
    struct winsize size;

    return !ioctl(STDERR_FILENO, TIOCGWINSZ, &size) && size.ws_col > 0 ? size.ws_col : USUAL;
}

/* The last column stays empty: a terminal may begin a new line after it. On a narrow one only the share is left. */
char *progress_line(const char *what, unsigned done, unsigned total, unsigned columns)
{
    enum { LABEL = 24, SHARE = 8, LEAST = 5 }; /* "] 100 %" and a blank; the shortest bar worth while */
    unsigned room = columns > LABEL + SHARE + LEAST + 2 ? columns - LABEL - SHARE - 2 : 0, share = done * 100 / total;
    unsigned filled = room * done / total;
    GString *line = g_string_new(NULL);
    char *valid = g_utf8_make_valid(what, -1);
    char *label = g_utf8_substring(valid, 0, MIN((long)LABEL, g_utf8_strlen(valid, -1)));

    if (room > 0) {
        g_string_printf(line, "%s%*s [", label, LABEL - (int)g_utf8_strlen(label, -1), "");
        for (unsigned i = 0; i < room; i++) {
            g_string_append_c(line, i < filled ? '#' : '.');
        }
        g_string_append_printf(line, "] %3u %%", share);
    } else if (columns > SHARE) {
        g_string_printf(line, "%3u %%", share);
    }
    g_free(label);
    g_free(valid);
    return g_string_free(line, FALSE);
}

void progress_show(const char *what, unsigned done, unsigned total)
{
    char *line;

    if (!isatty(STDERR_FILENO)) {
        return;
    }
    line = progress_line(what, done, total, terminal_columns());
    fprintf(stderr, "\r%s", line);
    fflush(stderr);
    g_free(line);
}

void progress_clear(void)
{
    if (isatty(STDERR_FILENO)) {
        fprintf(stderr, "\r%*s\r", (int)terminal_columns() - 1, "");
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
