/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The subcommand pager with --program: sqlite3 on a database that is made for it, whose mapping is the kernel's or,
 * through the recorder's shim, the userfaultfd pager's. The database stays in the page cache.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include "bench.h"
#include "pager.h"
#include "program.h"

enum { ROWS_PER_MIB = 2350, NQUERIES = 6 };

static const struct {
    const char *name;
    const char *sql; /* %d: the number of rows */
} queries[NQUERIES] = {
    {"scan", "SELECT count(*), sum(length(name)) FROM item WHERE 0 < %d"},
    {"range", "SELECT sum(weight + length(name)) FROM item WHERE id BETWEEN %1$d / 4 AND %1$d / 2"},
    {"points", "WITH RECURSIVE k(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM k WHERE i < 2000) "
               "SELECT sum(weight) FROM k JOIN item ON item.id = i * 104729 %% %d"},
    {"index", "SELECT sum(weight) FROM item WHERE owner = 17 AND 0 < %d"},
    {"join", "SELECT city, sum(weight) FROM owner JOIN item ON item.owner = owner.id WHERE city < 2 AND 0 < %d "
             "GROUP BY city"},
    {"order", "SELECT id FROM item WHERE owner BETWEEN 40 AND 42 AND 0 < %d ORDER BY weight DESC LIMIT 10"},
};

/* Ways to get the pages: by the advice of a region, or the kernel's mapping. */
static const struct {
    const char *via;
    const char *name;
    enum pgl_advice advice;
    bool shim;
} ways[] = {
    {"mmap", "normal", PGL_ADVICE_DEFAULT, false},   {"uffd", "random", PGL_ADVICE_RANDOM, true},
    {"uffd", "normal", PGL_ADVICE_NORMAL, true},     {"uffd", "sequential", PGL_ADVICE_SEQUENTIAL, true},
    {"uffd", "adaptive", PGL_ADVICE_ADAPTIVE, true},
};
#define NWAYS ((unsigned)G_N_ELEMENTS(ways))

struct result {
    double *seconds; /* of each repeat, of all queries */
    double *query[NQUERIES];
    struct pgl_uffd_stats last;
};

static bool failed(const char *what, int status)
{
    if (WIFSIGNALED(status)) {
        g_printerr("pagelock-bench: %s: %s\n", what, g_strsignal(WTERMSIG(status)));
    } else {
        g_printerr("pagelock-bench: %s: exit status %d\n", what, WEXITSTATUS(status));
    }
    return false;
}

static bool make_database(const char *path, int nrows)
{
    char *sql =
        g_strdup_printf("PRAGMA page_size = 4096; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
                        "CREATE TABLE owner(id INTEGER PRIMARY KEY, city INTEGER);"
                        "CREATE TABLE item(id INTEGER PRIMARY KEY, owner INTEGER, weight INTEGER, name TEXT);"
                        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999) "
                        "INSERT INTO owner SELECT i, i %% 50 FROM n;"
                        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < %d - 1) "
                        "INSERT INTO item SELECT i, i * 7919 %% 1000, i * 31 %% 10007, printf('%%0400d', i) FROM n;"
                        "CREATE INDEX by_owner ON item(owner);",
                        nrows);
    char *argv[] = {(char *)"sqlite3", (char *)path, sql, NULL};
    uint64_t ns;
    int status = 0;
    bool good = program_run(argv, NULL, true, &status, &ns) && (status == 0 || failed("sqlite3", status));

    g_free(sql);
    return good;
}

/* Run one query in one way. */
static bool run_query(const struct pager_config *config, const char *database, int nrows, unsigned query, unsigned way,
                      struct result *result, double *seconds)
{
    struct area *area = ways[way].shim ? area_new() : NULL;
    char *text, *sql;
    uint64_t ns = 0;
    int status = 0;
    bool good;

    if (ways[way].shim && !area) {
        return false;
    }
    if (area) {
        area->advice = ways[way].advice;
        area->handover = config->handover;
    }
    text = g_strdup_printf(queries[query].sql, nrows);
    sql = g_strconcat("PRAGMA mmap_size = 2000000000; ", text, NULL);
    {
        char *argv[] = {(char *)"sqlite3", (char *)"-readonly", (char *)database, sql, NULL};

        good = program_run(argv, area, true, &status, &ns) && (status == 0 || failed("sqlite3", status));
    }
    good = good && !(area && program_explain(area));
    if (area) {
        result->last.faults += area->faults;
        result->last.bytes_read += area->bytes_read;
        area_free(area);
    }
    g_free(text);
    g_free(sql);
    *seconds = (double)ns / 1e9;
    return good;
}

static void print_results(const struct result *results, unsigned repeat, bool json)
{
    if (!json) {
        printf("sqlite3, ms\n  %-5s %-11s", "via", "advice");
        for (unsigned query = 0; query < NQUERIES; query++) {
            printf(" %7s", queries[query].name);
        }
        printf(" %7s %7s %8s %8s\n", "all", "x mmap", "faults", "MiB read");
    }
    for (unsigned way = 0; way < NWAYS; way++) {
        const struct result *result = &results[way];
        double all = spread_of(result->seconds, repeat).median;
        double ratio = spread_of_ratios(result->seconds, results[0].seconds, repeat).median;
        JsonBuilder *row = json ? row_begin("program") : NULL;

        if (json) {
            row_text(row, "via", ways[way].via);
            row_text(row, "advice", ways[way].name);
        } else {
            printf("  %-5s %-11s", ways[way].via, ways[way].name);
        }
        for (unsigned query = 0; query < NQUERIES; query++) {
            double seconds = spread_of(result->query[query], repeat).median;

            if (json) {
                row_real(row, queries[query].name, seconds);
            } else {
                printf(" %7.1f", seconds * 1e3);
            }
        }
        if (json) {
            row_real(row, "seconds", all);
            row_real(row, "times_mmap", ratio);
            row_count(row, "faults", result->last.faults);
            row_count(row, "bytes_read", result->last.bytes_read);
            row_end(row);
        } else {
            printf(" %7.1f %7.2f %8" G_GUINT64_FORMAT " %8.1f\n", all * 1e3, ratio, result->last.faults,
                   (double)result->last.bytes_read / (1 << 20));
        }
    }
    output_flush();
}

/* All ways in turn, as often as asked for. */
static bool measure(const struct pager_config *config, const char *database, int nrows, unsigned repeat, bool json)
{
    struct result results[G_N_ELEMENTS(ways)] = {0};
    bool good = true;

    for (unsigned way = 0; way < NWAYS; way++) {
        results[way].seconds = g_new0(double, repeat);
        for (unsigned query = 0; query < NQUERIES; query++) {
            results[way].query[query] = g_new0(double, repeat);
        }
    }
    for (unsigned i = 0; i < repeat * NWAYS && good; i++) {
        struct result *result = &results[i % NWAYS];

        progress_show("sqlite3", i, repeat * NWAYS);
        result->last = (struct pgl_uffd_stats){0};
        for (unsigned query = 0; query < NQUERIES && good; query++) {
            double *seconds = &result->query[query][i / NWAYS];

            good = run_query(config, database, nrows, query, i % NWAYS, result, seconds);
            result->seconds[i / NWAYS] += *seconds;
        }
    }
    progress_clear();
    if (good) {
        print_results(results, repeat, json);
    }
    for (unsigned way = 0; way < NWAYS; way++) {
        g_free(results[way].seconds);
        for (unsigned query = 0; query < NQUERIES; query++) {
            g_free(results[way].query[query]);
        }
    }
    return good;
}

int pager_program(const struct pager_config *config, size_t mib, unsigned repeat, bool json)
{
    int nrows = (int)(mib * ROWS_PER_MIB);
    GError *error = NULL;
    char *dir = g_dir_make_tmp("pagelock-XXXXXX", &error);
    char *database;
    bool good;

    if (!dir) {
        g_printerr("pagelock-bench: %s\n", error->message);
        g_error_free(error);
        return STATUS_FAILED;
    }
    database = g_build_filename(dir, "items.db", NULL);
    good = make_database(database, nrows) && measure(config, database, nrows, repeat, json);
    g_unlink(database);
    g_rmdir(dir);
    g_free(database);
    g_free(dir);
    return good ? STATUS_GOOD : STATUS_FAILED;
}
