/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The subcommand scale: calibrates the model on two cores, checks it there, and simulates more. */
#include "scale.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

enum {
    MAX_WINDOWS = 10000,
    DEFAULT_WINDOWS = 300,
    SEEDS = 11,
    LONG_RUN = 2000,
    FIT_STEPS = 20,
    FIT_MAX_NS = 1000,
    MAX_LIST = 16
};

/* How far a second calibration may differ from the first, as a share. */
#define MAX_CHANGE 0.25

/* How far, in percent, the model may be from what two cores measure in a case. Beyond, it is not believed there. */
#define MAX_ERROR_PCT 20

struct options {
    bool json;
    unsigned windows;
    uint32_t seed;
    unsigned ncores[MAX_LIST]; /* ends with 0 */
};

/* How many operations a run has, so that it is over before the kernel's next tick. */
static const struct {
    const char *name;
    unsigned ops;
} all_ops[SCALE_OPS] = {
    [SCALE_LOCK] = {"lock", 500},   [SCALE_HOLD] = {"hold", 50},
    [SCALE_CHECK] = {"check", 500}, [SCALE_LINK] = {"link", 500},
    [SCALE_ADD] = {"add", 500},     [SCALE_EXCHANGE] = {"exchange", 500},
    [SCALE_PASS] = {"pass", 500},   [SCALE_PASS_SWAP] = {"pass-swap", 500},
    [SCALE_PAUSE] = {"pause", 500}, [SCALE_YIELD] = {"yield", 50},
    [SCALE_SLEEP] = {"sleep", 2},
};

static const char *const layouts[SCALE_LAYOUTS] = {
    [SCALE_OWN] = "own",
    [SCALE_ADJACENT] = "adjacent",
    [SCALE_NEIGHBOURS] = "neighbours",
    [SCALE_SHARED] = "shared",
};

static struct scale_run run_of(enum scale_op op, enum scale_layout layout, unsigned cores)
{
    return (struct scale_run){op, layout, cores, all_ops[op].ops};
}

/* What becomes of one operation: the time it takes its core, and how often it finds its page locked. */
static struct scale_result a_op(struct scale_result all, const struct scale_run *run)
{
    return (struct scale_result){all.ns / run->ops, all.contended / run->ops / run->cores};
}

/* The model's answer: medians over seeds. */
static struct scale_result simulate(const struct options *options, const struct scale_costs *costs,
                                    const struct scale_run *run)
{
    double ns[SEEDS], contended[SEEDS];

    for (unsigned i = 0; i < SEEDS; i++) {
        struct scale_result result = a_op(scale_simulate(costs, run, options->seed + i), run);

        ns[i] = result.ns;
        contended[i] = result.contended;
    }
    return (struct scale_result){spread_of(ns, SEEDS).median, spread_of(contended, SEEDS).median};
}

/* Sets *@cost, on which a run's time depends one way, so that the run takes @target by the model. */
static void fit(const struct options *options, struct scale_costs *costs, double *cost, bool rising,
                const struct scale_run *run, double target)
{
    double low = 0, high = FIT_MAX_NS;

    for (unsigned i = 0; i < FIT_STEPS; i++) {
        *cost = (low + high) / 2;
        if ((simulate(options, costs, run).ns < target) == rising)
            low = *cost;
        else
            high = *cost;
    }
}

/* What was measured, an operation. */
struct measured {
    struct scale_result alone[SCALE_OPS];
    struct scale_result two[SCALE_OPS][SCALE_LAYOUTS];
    struct scale_result swap_again;
};

/* False and a message where it cannot be measured. */
static bool measure(const struct options *options, enum scale_op op, enum scale_layout layout, unsigned cores,
                    struct scale_result *result)
{
    struct scale_run run = run_of(op, layout, cores);

    progress_show("measuring", op, SCALE_OPS);
    *result = a_op(scale_measure(&run, options->windows), &run);
    return result->ns >= 0;
}

/* One after the other without a break: a virtual machine's processors may be moved, and lines take another way then. */
static bool measure_all(const struct options *options, struct measured *measured)
{
    bool good = measure(options, SCALE_PASS_SWAP, SCALE_SHARED, 2, &measured->two[SCALE_PASS_SWAP][SCALE_SHARED]);

    for (enum scale_op op = 0; op < SCALE_OPS && good; op++) {
        if (op != SCALE_PASS && op != SCALE_PASS_SWAP)
            good = measure(options, op, SCALE_OWN, 1, &measured->alone[op]);
    }
    for (enum scale_op op = SCALE_LOCK; op <= SCALE_LINK && good; op++) {
        for (enum scale_layout layout = 0; layout < SCALE_LAYOUTS && good; layout++)
            good = measure(options, op, layout, 2, &measured->two[op][layout]);
    }
    good = good && measure(options, SCALE_ADD, SCALE_NEIGHBOURS, 2, &measured->two[SCALE_ADD][SCALE_NEIGHBOURS]) &&
           measure(options, SCALE_EXCHANGE, SCALE_NEIGHBOURS, 2, &measured->two[SCALE_EXCHANGE][SCALE_NEIGHBOURS]) &&
           measure(options, SCALE_PASS, SCALE_SHARED, 2, &measured->two[SCALE_PASS][SCALE_SHARED]) &&
           measure(options, SCALE_PASS_SWAP, SCALE_SHARED, 2, &measured->swap_again);
    progress_clear();
    return good;
}

/*
 * A word that is handed over by swaps goes there and back once a round; the swap that gets it costs its own time too.
 * By plain accesses it is read first, and upgraded then.
 */
static void calibrate(const struct options *options, const struct measured *measured, struct scale_costs *costs)
{
    struct scale_run add = run_of(SCALE_ADD, SCALE_NEIGHBOURS, 2);
    struct scale_run exchange = run_of(SCALE_EXCHANGE, SCALE_NEIGHBOURS, 2);

    for (enum scale_op op = 0; op < SCALE_OPS; op++)
        costs->alone[op] = measured->alone[op].ns;
    costs->transfer = MAX(measured->two[SCALE_PASS_SWAP][SCALE_SHARED].ns / 2 - costs->alone[SCALE_ADD], 0);
    costs->upgrade = MAX(measured->two[SCALE_PASS][SCALE_SHARED].ns / 2 - costs->transfer, 0);
    fit(options, costs, &costs->residency, false, &add, measured->two[SCALE_ADD][SCALE_NEIGHBOURS].ns);
    fit(options, costs, &costs->detour, true, &exchange, measured->two[SCALE_EXCHANGE][SCALE_NEIGHBOURS].ns);
}

/* The time that is printed is that over the operations of all, as for micro. */
static void print(const struct options *options, const char *name, unsigned cores, const char *kind,
                  struct scale_result result, const double *error)
{
    double ns = result.ns / cores;
    JsonBuilder *row;

    if (!options->json) {
        printf("  %-16s %5u  %-9s %10.2f %12.2f %10.2f %%", name, cores, kind, ns, 1000 / ns, 100 * result.contended);
        if (error)
            printf(" %+8.1f %%", *error);
        printf("\n");
        return;
    }
    row = row_begin("scale");
    row_text(row, "case", name);
    row_count(row, "cores", cores);
    row_text(row, "kind", kind);
    row_real(row, "ns_per_op", ns);
    row_real(row, "ops_per_s", 1e9 / ns);
    row_real(row, "contended_pct", 100 * result.contended);
    if (error)
        row_real(row, "error_pct", *error);
    row_end(row);
}

static void print_cost(const struct options *options, const char *name, double ns)
{
    JsonBuilder *row;

    if (!options->json) {
        printf("  %-16s %18.2f\n", name, ns);
        return;
    }
    row = row_begin("scale");
    row_text(row, "case", name);
    row_text(row, "kind", "calibrated");
    row_real(row, "ns", ns);
    row_end(row);
}

static void print_costs(const struct options *options, const struct scale_costs *costs)
{
    if (!options->json)
        printf("calibrated: one core, and how a line goes from core to core\n  %-16s %18s\n", "", "ns");
    for (enum scale_op op = 0; op < SCALE_OPS; op++) {
        if (costs->alone[op] > 0)
            print_cost(options, all_ops[op].name, costs->alone[op]);
    }
    print_cost(options, "line-transfer", costs->transfer);
    print_cost(options, "line-upgrade", costs->upgrade);
    print_cost(options, "line-residency", costs->residency);
    print_cost(options, "line-detour", costs->detour);
}

static void print_case(const struct options *options, const struct scale_costs *costs, enum scale_op op,
                       enum scale_layout layout, struct scale_result measured)
{
    struct scale_run run = run_of(op, layout, 2);
    struct scale_result predicted = simulate(options, costs, &run);
    char *name = g_strdup_printf("%s-%s", all_ops[op].name, layouts[layout]);
    double error = 100 * (predicted.ns / measured.ns - 1);

    print(options, name, 2, "measured", measured, NULL);
    print(options, name, 2, "predicted", predicted, &error);
    run.ops = LONG_RUN;
    if (error < -MAX_ERROR_PCT || error > MAX_ERROR_PCT)
        g_printerr("pagelock-bench: %s is not simulated: the model is more than %d %% from what two cores measure\n",
                   name, MAX_ERROR_PCT);
    else
        for (const unsigned *cores = options->ncores; *cores; cores++) {
            run.cores = *cores;
            print(options, name, *cores, "simulated", simulate(options, costs, &run), NULL);
        }
    g_free(name);
}

static bool run_all(const struct options *options)
{
    struct measured *measured = g_new0(struct measured, 1);
    bool good = measure_all(options, measured);
    struct scale_costs costs = {0};
    double change = measured->swap_again.ns / measured->two[SCALE_PASS_SWAP][SCALE_SHARED].ns;

    if (good) {
        if (change < 1 - MAX_CHANGE || change > 1 + MAX_CHANGE)
            g_printerr("pagelock-bench: what a line's way costs has changed meanwhile, by %.1f times: run it again\n",
                       change);
        calibrate(options, measured, &costs);
        print_costs(options, &costs);
        if (!options->json)
            printf("\n  %-16s %5s  %-9s %10s %12s %12s %10s\n", "", "cores", "", "ns/op", "million/s", "found locked",
                   "error");
        for (enum scale_op op = SCALE_LOCK; op <= SCALE_LINK; op++) {
            for (enum scale_layout layout = 0; layout < SCALE_LAYOUTS; layout++)
                print_case(options, &costs, op, layout, measured->two[op][layout]);
        }
    }
    g_free(measured);
    return good;
}

/* "8,64" */
static bool parse_cores(const char *list, unsigned *ncores)
{
    char **words = g_strsplit(list, ",", -1);
    unsigned n = 0;
    bool good = *list;

    if (!good)
        usage_error("--cores takes up to %u numbers in 1..%u", MAX_LIST - 1, SCALE_MAX_CORES);
    for (char **word = words; *word && good; word++) {
        guint64 number;

        good = n < MAX_LIST - 1 && g_ascii_string_to_unsigned(*word, 10, 1, SCALE_MAX_CORES, &number, NULL);
        if (good)
            ncores[n++] = (unsigned)number;
        else
            usage_error("--cores takes up to %u numbers in 1..%u: %s", MAX_LIST - 1, SCALE_MAX_CORES, list);
    }
    g_strfreev(words);
    return good;
}

int scale_main(int argc, char **argv)
{
    int windows = DEFAULT_WINDOWS, seed = 1;
    char *cores = NULL;
    const GOptionEntry entries[] = {
        {"cores", 0, 0, G_OPTION_ARG_STRING, &cores, "what to simulate (default 8,64)", "N[,...]"},
        {"windows", 0, 0, G_OPTION_ARG_INT, &windows, "short runs a measurement", "N"},
        {"seed", 0, 0, G_OPTION_ARG_INT, &seed, "of the model", "N"},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    struct options options = {0};
    int status = STATUS_USAGE;

    if (options_parse(entries, "- simulate more cores than there are", NULL, &argc, &argv, &options.json) &&
        option_in_bounds("--windows", windows, 1, MAX_WINDOWS) && option_in_bounds("--seed", seed, 0, G_MAXINT) &&
        parse_cores(cores ? cores : "8,64", options.ncores)) {
        options.windows = (unsigned)windows;
        options.seed = (uint32_t)seed;
        if (argc > 1)
            status = usage_error("scale takes no argument: %s", argv[1]);
        else
            status = run_all(&options) ? STATUS_GOOD : STATUS_FAILED;
    }
    g_free(cores);
    return status;
}
