/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The subcommand replay: reads each trace, and replays it by its kind. */
#include "replay.h"

#include "engine.h"

enum { MAX_REPEAT = 1000, DEFAULT_REPEAT = 5 };

/* "plain,pagelock" */
static bool parse_impls(const char *names, GPtrArray *impls)
{
    char **list = g_strsplit(names, ",", -1);
    bool good = true;

    for (char **name = list; *name && good; name++) {
        const struct impl *impl = impl_find(*name);

        if (!impl)
            usage_error("unknown implementation: %s", *name);
        else if (g_ptr_array_find(impls, impl, NULL))
            usage_error("an implementation is named twice: %s", *name);
        else
            g_ptr_array_add(impls, (void *)impl);
        good = impl && impls->len == (unsigned)(name - list) + 1;
    }
    g_strfreev(list);
    return good;
}

static bool parse_options(int *argc, char ***argv, struct replay_options *options)
{
    int threads = 1, repeat = DEFAULT_REPEAT;
    char *impls = NULL;
    const GOptionEntry entries[] = {
        {"impl", 0, 0, G_OPTION_ARG_STRING, &impls, "code traces: what to replay them through, in turn", "NAME[,...]"},
        {"threads", 0, 0, G_OPTION_ARG_INT, &threads, "code traces: how many threads share the vCPUs", "N"},
        {"repeat", 0, 0, G_OPTION_ARG_INT, &repeat, "runs that are timed, after one that is not", "N"},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    bool good = options_parse(entries, "TRACE... - replay recorded traces", NULL, argc, argv, &options->json) &&
                option_in_bounds("--threads", threads, 1, ENGINE_MAX_THREADS) &&
                option_in_bounds("--repeat", repeat, 1, MAX_REPEAT);

    options->threads = (unsigned)threads;
    options->repeat = (unsigned)repeat;
    good = good && parse_impls(impls ? impls : "plain,pagelock", options->impls);
    g_free(impls);
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
    status = replay_code(options, trace);
    trace_free(trace);
    return status;
}

int replay_main(int argc, char **argv)
{
    struct replay_options options = {.impls = g_ptr_array_new()};
    int status = STATUS_USAGE;

    if (parse_options(&argc, &argv, &options)) {
        status = argc > 1 ? STATUS_GOOD : usage_error("replay wants a trace");
        for (int i = 1; i < argc && status == STATUS_GOOD; i++)
            status = replay_file(&options, argv[i]);
    }
    g_ptr_array_unref(options.impls);
    return status;
}
