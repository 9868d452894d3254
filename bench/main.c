/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <pagelock/version.h>

#include "bench.h"
#include "micro.h"
#include "replay.h"

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *what;
} commands[] = {
    {"replay", replay_main, "replay recorded traces"},
    {"micro", micro_main, "measure single operations"},
    {"latency", latency_main, "time single calls while other threads are at work"},
    {"pager", pager_main, "page a file in through userfaultfd and through mmap"},
    {"draw", draw_main, "draw what was measured before"},
    {"record", record_main, "record the pages of its files that a program touches"},
    {"workset", workset_main, "show and combine working sets"},
    {"list", list_main, "what there is to compare"},
    {"machine", machine_main, "the machine and the day, for results that are kept"},
};

/* One thing that can be named on the command line. */
static void print_name(bool json, const char *kind, const char *name, const char *what)
{
    JsonBuilder *row;

    if (!json) {
        print_wrapped(29, "  %-26s %s", name, what);
        return;
    }
    row = row_begin("list");
    row_text(row, "kind", kind);
    row_text(row, "name", name);
    row_text(row, "what", what);
    row_end(row);
}

int list_main(int argc, char **argv)
{
    GPtrArray *cases;
    bool json;

    if (!options_parse(NULL, "- what there is to compare", NULL, &argc, &argv, &json)) {
        return STATUS_USAGE;
    }
    if (argc > 1) {
        return usage_error("list takes no argument: %s", argv[1]);
    }
    if (!json) {
        printf("implementations, for replay --impl on code traces\n");
    }
    for (const struct impl *const *impl = impl_all; *impl; impl++) {
        print_name(json, "impl", (*impl)->name, (*impl)->what);
    }
    if (!json) {
        printf("policies, for replay --policy on fault traces\n");
    }
    for (const struct policy *policy = policies; policy->name; policy++) {
        print_name(json, "policy", policy->name, policy->what);
    }
    if (!json) {
        printf("cases, for micro\n");
    }
    cases = micro_all();
    for (unsigned i = 0; i < cases->len; i++) {
        const struct micro_case *one = g_ptr_array_index(cases, i);

        print_name(json, "case", one->name, one->what);
    }
    g_ptr_array_unref(cases);
    return STATUS_GOOD;
}

static void help(FILE *out)
{
    fprintf(out, "Usage: pagelock-bench COMMAND [OPTION...]\n       pagelock-bench --version\n\nCommands:\n");
    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++) {
        fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].what);
    }
    fprintf(out, "\npagelock-bench COMMAND --help describes the options of one, with their defaults.\n");
}

/* No file that is opened later takes the number of a standard stream; false where standard output was closed. */
static bool streams_open(void)
{
    bool good = true;

    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0) {
            good &= fd != STDOUT_FILENO;
            if (open("/dev/null", O_RDWR) != fd) { /* the lowest that is free */
                _exit(STATUS_FAILED);
            }
        }
    }
    return good;
}

/* However the program ends: what it was to print has been written, or it says that it was not. */
static void output_end(void)
{
    if (!output_flush()) {
        g_printerr("pagelock-bench: cannot write: %s\n", g_strerror(errno));
        _exit(STATUS_FAILED);
    }
}

static int unknown_command(const char *word)
{
    GPtrArray *words = g_ptr_array_new();
    int status;

    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++) {
        g_ptr_array_add(words, (gpointer)commands[i].name);
    }
    g_ptr_array_add(words, (gpointer) "--help");
    g_ptr_array_add(words, (gpointer) "--version");
    status = unknown_word("command", word, words);
    g_ptr_array_unref(words);
    return status;
}

/* The words that stand in place of a command. */
static bool is_alone(const char *word)
{
    return !strcmp(word, "--help") || !strcmp(word, "-h") || !strcmp(word, "--version");
}

int main(int argc, char **argv)
{
    if (!streams_open()) {
        g_printerr("pagelock-bench: cannot write: standard output is closed\n");
        return STATUS_FAILED;
    }
    if (atexit(output_end)) {
        return STATUS_FAILED;
    }
    setlocale(LC_CTYPE, "");
    if (argc < 2) {
        help(stderr);
        return STATUS_USAGE;
    }
    if (argc > 2 && is_alone(argv[1])) {
        return usage_error("%s takes no argument: %s", argv[1], argv[2]);
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
        help(stdout);
        return STATUS_GOOD;
    }
    if (!strcmp(argv[1], "--version")) {
        printf("pagelock-bench %d.%d.%d, library %s%s\n", PGL_VERSION_MAJOR, PGL_VERSION_MINOR, PGL_VERSION_MICRO,
               pgl_version(), pgl_has_lock_debug() ? " (lock_debug)" : "");
        return STATUS_GOOD;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (!strcmp(argv[1], commands[i].name)) {
            char *prgname = g_strdup_printf("pagelock-bench %s", argv[1]);

            g_set_prgname(prgname);
            g_free(prgname);
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    return unknown_command(argv[1]);
}
