/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The common part of the subcommands of pagelock-bench. */
#ifndef PGL_BENCH_BENCH_H
#define PGL_BENCH_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>
#include <json-glib/json-glib.h>

enum status {
    STATUS_GOOD = 0,
    STATUS_FAILED = 1, /* a measurement failed, or a replay broke an invariant */
    STATUS_USAGE = 2,  /* wrong options, or unreadable input */
};

/* Each takes its own name as argv[0], and returns the exit status. */
int replay_main(int argc, char **argv);
int micro_main(int argc, char **argv);
int latency_main(int argc, char **argv);
int pager_main(int argc, char **argv);
int record_main(int argc, char **argv);
int workset_main(int argc, char **argv);
int list_main(int argc, char **argv);
int machine_main(int argc, char **argv);
int draw_main(int argc, char **argv);

/*
 * Parses the options of one subcommand, with --format, which all have. On success *json says which format was asked
 * for, and what is no option is left in argv. Otherwise prints what is wrong.
 */
bool options_parse(const GOptionEntry *entries, const char *usage, const char *summary, int *argc, char ***argv,
                   bool *json);

/* Otherwise prints what is wrong. */
bool option_in_bounds(const char *option, int value, int min, int max);

/* Prints "pagelock-bench: message" on standard error; returns STATUS_USAGE. */
int usage_error(const char *format, ...) G_GNUC_PRINTF(1, 2);

/*
 * The same for a word that is none of an array of strings: "unknown policy: norml (did you mean normal?)". hint_of()
 * returns the end of it, from the blank before the bracket on, or an empty string; the caller frees it.
 */
int unknown_word(const char *what, const char *word, const GPtrArray *words);
char *hint_of(const char *word, const GPtrArray *words);

/* Whether a file can be written there later. Otherwise prints why not. The file and its folder stay as they are. */
bool can_write(const char *path);

/* Sends on what was printed; false, with errno, where that or anything printed before could not be written. */
bool output_flush(void);

/* One JSON object a line on standard output: row_begin(), its members in order, row_end(). */
JsonBuilder *row_begin(const char *bench);
void row_text(JsonBuilder *row, const char *key, const char *value);
void row_count(JsonBuilder *row, const char *key, uint64_t value);
void row_flag(JsonBuilder *row, const char *key, bool value);
void row_real(JsonBuilder *row, const char *key, double value); /* to six digits */
void row_end(JsonBuilder *row);

/* Tables are narrower than 100 columns. */
enum { TABLE_COLUMNS = 99 };

/* A copy of a text, such as a path, whose line ends are question marks. */
char *one_line(const char *text);

/* Prints a line of a table; words that do not fit go to more lines, which begin with @indent blanks. */
void print_wrapped(unsigned indent, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* The columns of the terminal that standard error is, or 80. */
unsigned terminal_columns(void);

/* A progress bar on standard error, where that is a terminal; and its line, which the caller frees. */
void progress_show(const char *what, unsigned done, unsigned total);
void progress_clear(void);
char *progress_line(const char *what, unsigned done, unsigned total, unsigned columns);

struct spread {
    double median;
    double min;
    double max;
};

struct spread spread_of(const double *values, unsigned n);

/* Of a[i] / b[i]: each pair of runs has seen the same state of the machine. */
struct spread spread_of_ratios(const double *a, const double *b, unsigned n);

/* The line that follows two implementations; @key is "trace" or "case", @pages NULL where it is a trace. */
void row_ratio(const char *key, const char *name, unsigned threads, const uint64_t *pages, const char *a, const char *b,
               struct spread ratio);

#endif
