/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The subcommand replay: reads each trace, and replays it by its kind. */
#include "replay.h"

#include <limits.h>
#include <string.h>

#include "engine.h"

enum { MAX_REPEAT = 1000, DEFAULT_REPEAT = 5, MAX_WINDOW = 1 << 20 };

/* No number that a user may give. */
enum { AS_SHIPPED = INT_MIN };

/* Measured for memory-backed userfaultfd. */
enum { DEFAULT_REQUEST_NS = 3200, DEFAULT_PAGE_NS = 1130, MAX_NS = 1000000000 };

static void *find_impl(const char *name)
{
    return (void *)impl_find(name);
}

static void *find_policy(const char *name)
{
    for (const struct policy *policy = policies; policy->name; policy++) {
        if (!strcmp(policy->name, name))
            return (void *)policy;
    }
    return NULL;
}

/* "plain,pagelock", say: what each name stands for, in that order. */
static bool parse_names(const char *what, const char *names, void *(*find)(const char *name), GPtrArray *found)
{
    char **list = g_strsplit(names, ",", -1);
    bool good = *list;

    if (!good)
        usage_error("no %s is named", what);
    for (char **name = list; *name && good; name++) {
        void *one = find(*name);

        good = one && !g_ptr_array_find(found, one, NULL);
        if (!one)
            usage_error("unknown %s: %s", what, *name);
        else if (!good)
            usage_error("the %s is named twice: %s", what, *name);
        g_ptr_array_add(found, one);
    }
    g_strfreev(list);
    return good;
}

static bool parse_options(int *argc, char ***argv, struct replay_options *options, char **plot_path)
{
    int threads = 1, repeat = DEFAULT_REPEAT, before = AS_SHIPPED, after = AS_SHIPPED;
    int request_ns = DEFAULT_REQUEST_NS, page_ns = DEFAULT_PAGE_NS;
    char *impls = NULL, *names = NULL;
    const GOptionEntry entries[] = {
        {"impl", 0, 0, G_OPTION_ARG_STRING, &impls, "code traces: what to replay them through, in turn", "NAME[,...]"},
        {"threads", 0, 0, G_OPTION_ARG_INT, &threads, "code traces: how many threads share the vCPUs", "N"},
        {"repeat", 0, 0, G_OPTION_ARG_INT, &repeat, "code traces: runs that are timed, after one that is not", "N"},
        {"policy", 0, 0, G_OPTION_ARG_STRING, &names, "fault traces: what to replay them with", "NAME[,...]"},
        {"before", 0, 0, G_OPTION_ARG_INT, &before, "fault traces: pages before the demand page", "N"},
        {"after", 0, 0, G_OPTION_ARG_INT, &after, "fault traces: pages after the demand page", "N"},
        {"request-ns", 0, 0, G_OPTION_ARG_INT, &request_ns, "fault traces: what the model takes for a request", "NS"},
        {"page-ns", 0, 0, G_OPTION_ARG_INT, &page_ns, "fault traces: what the model takes for a page", "NS"},
        {"plot", 0, 0, G_OPTION_ARG_FILENAME, plot_path, "draw what came of it", "FILE"},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    bool good =
        options_parse(entries, "TRACE... - replay recorded traces", NULL, argc, argv, &options->json) &&
        option_in_bounds("--threads", threads, 1, ENGINE_MAX_THREADS) &&
        option_in_bounds("--repeat", repeat, 1, MAX_REPEAT) &&
        (before == AS_SHIPPED || option_in_bounds("--before", before, 0, MAX_WINDOW)) &&
        (after == AS_SHIPPED || option_in_bounds("--after", after, 0, MAX_WINDOW)) &&
        option_in_bounds("--request-ns", request_ns, 0, MAX_NS) && option_in_bounds("--page-ns", page_ns, 0, MAX_NS) &&
        parse_names("implementation", impls ? impls : "plain,global,pagelock", find_impl, options->impls) &&
        parse_names("policy", names ? names : "none,random,normal,sequential,adaptive", find_policy, options->policies);

    options->threads = (unsigned)threads;
    options->repeat = (unsigned)repeat;
    options->before = before;
    options->after = after;
    options->request_ns = (uint64_t)request_ns;
    options->page_ns = (uint64_t)page_ns;
    g_free(impls);
    g_free(names);
    return good;
}

static int replay_file(const struct replay_options *options, const char *path)
{
    GError *error = NULL;
    struct trace *trace = trace_read(path, &error);
    int status;

    if (!trace) {
        g_printerr("%s\n", error->message);
        g_error_free(error);
        return STATUS_USAGE;
    }
    status = trace->kind == TRACE_CODE ? replay_code(options, trace) : replay_fault(options, trace);
    trace_free(trace);
    return status;
}

int replay_main(int argc, char **argv)
{
    struct replay_options options = {.impls = g_ptr_array_new(), .policies = g_ptr_array_new()};
    char *plot_path = NULL;
    int status = STATUS_USAGE;

    if (parse_options(&argc, &argv, &options, &plot_path)) {
        status = argc > 1 ? plot_new(plot_path, &options.plot) : usage_error("replay wants a trace");
        for (int i = 1; i < argc && status == STATUS_GOOD; i++)
            status = replay_file(&options, argv[i]);
    }
    if (options.plot && status == STATUS_GOOD && !plot_draw(options.plot))
        status = STATUS_FAILED;
    plot_free(options.plot);
    g_free(plot_path);
    g_ptr_array_unref(options.impls);
    g_ptr_array_unref(options.policies);
    return status;
}
