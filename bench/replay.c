/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The subcommand replay: reads each trace, and replays it by its kind. */
#include "replay.h"

#include <limits.h>
#include <string.h>

#include "engine.h"
#include "sets.h"

enum { MAX_REPEAT = 1000, MAX_WINDOW = 1 << 20, MAX_NS = 1000000000 };

/* No number that a user may give. */
enum { NOT_GIVEN = INT_MIN };

/* The defaults, which --help tells. */
#define DEFAULT_IMPLS "plain,global,pagelock"
#define DEFAULT_POLICIES "none,random,normal,sequential,adaptive"
#define DEFAULT_THREADS 1
#define DEFAULT_REPEAT 5

static void *find_impl(const char *name, GPtrArray *words)
{
    for (const struct impl *const *impl = impl_all; *impl; impl++) {
        g_ptr_array_add(words, (gpointer)(*impl)->name);
    }
    return (void *)impl_find(name);
}

static void *find_policy(const char *name, GPtrArray *words)
{
    void *found = NULL;

    for (const struct policy *policy = policies; policy->name; policy++) {
        g_ptr_array_add(words, (gpointer)policy->name);
        found = strcmp(policy->name, name) ? found : (void *)policy;
    }
    return found;
}

/* "plain,pagelock", say: what each name stands for, in that order. @find also adds all names that there are. */
static bool parse_names(const char *what, const char *names, void *(*find)(const char *name, GPtrArray *words),
                        GPtrArray *found)
{
    GPtrArray *words = g_ptr_array_new();
    char **list = g_strsplit(names, ",", -1);
    bool good = *list;

    if (!good) {
        usage_error("no %s is named", what);
    }
    for (char **name = list; *name && good; name++) {
        void *one = find(*name, words);

        good = one && !g_ptr_array_find(found, one, NULL);
        if (!one) {
            unknown_word(what, *name, words);
        } else if (!good) {
            usage_error("the %s is named twice: %s", what, *name);
        }
        g_ptr_array_add(found, one);
    }
    g_strfreev(list);
    g_ptr_array_unref(words);
    return good;
}

struct named {
    const char *of_code;  /* an option for code traces that was given, or NULL: an error if there are none */
    const char *of_fault; /* the same for fault traces */
    char *plot_path;
    char *workset_path;
};

static bool any_window(const GPtrArray *chosen)
{
    for (unsigned i = 0; i < chosen->len; i++) {
        if (!((const struct policy *)g_ptr_array_index(chosen, i))->off) {
            return true;
        }
    }
    usage_error("--before and --after are for a window, and the policy none has none");
    return false;
}

static bool given_in_bounds(const char *option, int value, int min, int max)
{
    return value == NOT_GIVEN || option_in_bounds(option, value, min, max);
}

static int given_or(int value, int otherwise)
{
    return value == NOT_GIVEN ? otherwise : value;
}

static bool parse_options(int *argc, char ***argv, struct replay_options *options, struct named *named)
{
    int threads = NOT_GIVEN, repeat = NOT_GIVEN, before = NOT_GIVEN, after = NOT_GIVEN;
    int fault_ns = NOT_GIVEN, page_ns = NOT_GIVEN;
    gboolean yardstick = FALSE;
    char *impls = NULL, *names = NULL;
    const GOptionEntry entries[] = {
        {"impl", 0, 0, G_OPTION_ARG_STRING, &impls, "code traces: through what, in turn; default: " DEFAULT_IMPLS,
         "NAME[,...]"},
        {"threads", 0, 0, G_OPTION_ARG_INT, &threads,
         "code traces: threads that share the vCPUs; default: " G_STRINGIFY(DEFAULT_THREADS), "N"},
        {"repeat", 0, 0, G_OPTION_ARG_INT, &repeat,
         "code traces: timed runs, after one that is not; default: " G_STRINGIFY(DEFAULT_REPEAT), "N"},
        {"policy", 0, 0, G_OPTION_ARG_STRING, &names, "fault traces: how; default: " DEFAULT_POLICIES, "NAME[,...]"},
        {"before", 0, 0, G_OPTION_ARG_INT, &before, "fault traces: pages before the demand page; default: as shipped",
         "N"},
        {"after", 0, 0, G_OPTION_ARG_INT, &after, "fault traces: pages after the demand page; default: as shipped",
         "N"},
        {"fault-ns", 0, 0, G_OPTION_ARG_INT, &fault_ns,
         "fault traces: the cost of a request; default: " G_STRINGIFY(PGL_COSTS_FAULT_NS), "NS"},
        {"page-ns", 0, 0, G_OPTION_ARG_INT, &page_ns,
         "fault traces: the cost of a page; default: " G_STRINGIFY(PGL_COSTS_PAGE_NS), "NS"},
        {"workset", 0, 0, G_OPTION_ARG_FILENAME, &named->workset_path,
         "fault traces: bring clusters of these sets; default: none", "FILE"},
        {"yardstick", 0, 0, G_OPTION_ARG_NONE, &yardstick,
         "fault traces: print every fixed window; default: the best one", NULL},
        {"plot", 0, 0, G_OPTION_ARG_FILENAME, &named->plot_path, "draw into a .svg, .png or .pdf; default: none",
         "FILE"},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    bool good =
        options_parse(entries, "TRACE... - replay recorded traces", NULL, argc, argv, &options->json) &&
        given_in_bounds("--threads", threads, 1, ENGINE_MAX_THREADS) &&
        given_in_bounds("--repeat", repeat, 1, MAX_REPEAT) && given_in_bounds("--before", before, 0, MAX_WINDOW) &&
        given_in_bounds("--after", after, 0, MAX_WINDOW) && given_in_bounds("--fault-ns", fault_ns, 1, MAX_NS) &&
        given_in_bounds("--page-ns", page_ns, 1, MAX_NS) &&
        parse_names("implementation", impls ? impls : DEFAULT_IMPLS, find_impl, options->impls) &&
        parse_names("policy", names ? names : DEFAULT_POLICIES, find_policy, options->policies) &&
        ((before == NOT_GIVEN && after == NOT_GIVEN) || any_window(options->policies));

    options->threads = (unsigned)given_or(threads, DEFAULT_THREADS);
    options->repeat = (unsigned)given_or(repeat, DEFAULT_REPEAT);
    options->before = before;
    options->after = after;
    options->yardstick = yardstick;
    options->costs.fault_ns = (uint64_t)given_or(fault_ns, PGL_COSTS_FAULT_NS);
    options->costs.page_ns = (uint64_t)given_or(page_ns, PGL_COSTS_PAGE_NS);
    named->of_code = impls ? "--impl" : threads != NOT_GIVEN ? "--threads" : repeat != NOT_GIVEN ? "--repeat" : NULL;
    named->of_fault = names                   ? "--policy"
                      : before != NOT_GIVEN   ? "--before"
                      : after != NOT_GIVEN    ? "--after"
                      : fault_ns != NOT_GIVEN ? "--fault-ns"
                      : page_ns != NOT_GIVEN  ? "--page-ns"
                      : yardstick             ? "--yardstick"
                      : named->workset_path   ? "--workset"
                                              : NULL;
    g_free(impls);
    g_free(names);
    return good;
}

/* Read the working sets, for the costs of the replay. Returns false after it has said what is wrong. */
static bool read_sets(const struct named *named, struct replay_options *options)
{
    if (named->workset_path) {
        options->sets = sets_read_combined(named->workset_path, &options->costs);
    }
    return !named->workset_path || options->sets;
}

/* A set that is not followed looks like one that is of no use. */
static void warn_of_other_sets(const GPtrArray *sets, const struct trace *trace)
{
    bool known = !sets;

    for (unsigned i = 0; i < trace->objects->len && !known; i++) {
        known = sets_find(sets, g_array_index(trace->objects, struct trace_object, i).name);
    }
    if (!known) {
        g_printerr("pagelock-bench: warning: no set is of an object of %s\n", trace->name);
    }
}

static int replay_file(const struct replay_options *options, const char *path, unsigned *nkinds)
{
    GError *error = NULL;
    struct trace *trace = trace_read(path, &error);
    int status;

    if (!trace) {
        g_printerr("%s\n", error->message);
        g_error_free(error);
        return STATUS_USAGE;
    }
    nkinds[trace->kind]++;
    if (trace->kind == TRACE_FAULT) {
        warn_of_other_sets(options->sets, trace);
    }
    status = trace->kind == TRACE_CODE ? replay_code(options, trace) : replay_fault(options, trace);
    trace_free(trace);
    return status;
}

static void warn_unused(const struct named *named, const unsigned *nkinds)
{
    if (named->of_code && !nkinds[TRACE_CODE]) {
        g_printerr("pagelock-bench: warning: %s is for code traces, and there was none\n", named->of_code);
    }
    if (named->of_fault && !nkinds[TRACE_FAULT]) {
        g_printerr("pagelock-bench: warning: %s is for fault traces, and there was none\n", named->of_fault);
    }
}

static void standing_clear(void *p)
{
    g_free(((struct standing *)p)->worst_trace);
}

int replay_main(int argc, char **argv)
{
    struct replay_options options = {.impls = g_ptr_array_new(), .policies = g_ptr_array_new()};
    unsigned nkinds[] = {[TRACE_CODE] = 0, [TRACE_FAULT] = 0};
    struct named named = {0};
    int status = STATUS_USAGE;

    options.standings = g_array_new(FALSE, TRUE, sizeof(struct standing));
    g_array_set_clear_func(options.standings, standing_clear);
    if (parse_options(&argc, &argv, &options, &named)) {
        g_array_set_size(options.standings, options.policies->len);
        status = argc <= 1                      ? usage_error("replay wants a trace")
                 : !read_sets(&named, &options) ? STATUS_USAGE
                                                : plot_new(named.plot_path, &options.plot);
        for (int i = 1; i < argc && status == STATUS_GOOD; i++) {
            status = replay_file(&options, argv[i], nkinds);
        }
        if (status == STATUS_GOOD && nkinds[TRACE_FAULT] > 1) {
            replay_fault_standings(&options);
        }
        if (status == STATUS_GOOD) {
            warn_unused(&named, nkinds);
        }
    }
    if (options.plot && status == STATUS_GOOD && !plot_draw(options.plot)) {
        status = STATUS_FAILED;
    }
    plot_free(options.plot);
    g_free(named.plot_path);
    g_free(named.workset_path);
    if (options.sets) {
        g_ptr_array_unref(options.sets);
    }
    g_array_unref(options.standings);
    g_ptr_array_unref(options.impls);
    g_ptr_array_unref(options.policies);
    return status;
}
