/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The soak: a mix of everything that the library offers, a watchdog for threads that make no progress, and totals. */
#include <getopt.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if __has_include(<execinfo.h>)
#include <execinfo.h>
#endif

#include "code.h"
#include "fault.h"
#include "soak.h"

static const struct mix everything = {
    .name = "soak",
    .kinds =
        {
            {"abort", 20, &code_half, code_abort},
            {"cache", 20, &code_half, code_cache},
            {"choose", 8, &code_half, code_choose},
            {"collection", 40, &code_half, code_collection},
            {"collection-wide", 10, &code_half, code_collection_wide},
            {"evict", 8, &code_half, code_evict},
            {"find", 20, &code_half, code_find},
            {"flush", 1, &code_half, code_flush},
            {"kill", 40, &code_half, code_kill},
            {"leaf", 40, &code_half, code_leaf},
            {"link-higher", 80, &code_half, code_link_higher},
            {"link-lower", 80, &code_half, code_link_lower},
            {"link-super", 40, &code_half, code_link_super},
            {"link-one", 80, &code_half, code_link_one},
            {"link-same", 80, &code_half, code_link_same},
            {"link-storing", 40, &code_half, code_link_storing},
            {"lock", 40, &code_half, code_lock},
            {"lock-block", 20, &code_half, code_lock_block},
            {"page", 8, &code_half, code_page},
            {"pair", 40, &code_half, code_pair},
            {"range", 8, &code_half, code_range},
            {"reset", 1, &code_half, code_reset},
            {"starve", 10, &code_half, code_starve},
            {"store", 200, &code_half, code_store},
            {"store-bracket", 40, &code_half, code_store_bracket},
            {"trim", 1, &code_half, code_trim},
            {"trylock", 40, &code_half, code_trylock},
            {"unlisted", 20, &code_half, code_unlisted},
            {"fault-advise", 10, &fault_half, fault_advise},
            {"fault-check", 5, &fault_half, fault_check},
            {"fault-continued", 100, &fault_half, fault_continued},
            {"fault-interrupt", 4, &fault_half, fault_interrupt},
            {"fault-remap", 10, &fault_half, fault_remap},
            {"fault-remove", 20, &fault_half, fault_remove},
            {"fault-run", 200, &fault_half, fault_run},
            {"fault-teardown", 1, &fault_half, fault_teardown},
            {"fault-withhold", 10, &fault_half, fault_withhold},
        },
};

static unsigned patience = 60; /* seconds without progress that are a hang */
static uint64_t total_ops, longest_ns;

/* ---- the watchdog ---- */

static void print_stack(int signal)
{
    (void)signal;
#if __has_include(<execinfo.h>)
    void *frames[32];

    backtrace_symbols_fd(frames, backtrace(frames, 32), STDERR_FILENO);
#else
    static const char none[] = "no stack: this C library has no backtrace()\n";

    if (write(STDERR_FILENO, none, sizeof(none) - 1) < 0) {
        return;
    }
#endif
    fsync(STDERR_FILENO);
}

/* Print the operation and the stack of each thread, and which thread holds which page; then end as a failed assertion. */
static void report_hang(const struct worker *hung)
{
    uint64_t now = soak_now();

    fprintf(stderr, "worker %u has made no progress for %u s\n", hung->id, patience);
    signal(SIGUSR1, print_stack);
    for (unsigned i = 0; i < soak_workers; i++) {
        struct worker *w = &soak_worker[i];
        unsigned kind = __atomic_load_n(&w->kind, __ATOMIC_RELAXED);

        if (kind == SOAK_ENDED) {
            fprintf(stderr, "worker %u has ended\n", i);
            continue;
        }
        fprintf(stderr, "worker %u: %s for %" PRIu64 " ms\n", i, everything.kinds[kind].name,
                (now - __atomic_load_n(&w->since, __ATOMIC_RELAXED)) / 1000000);
        pthread_kill(w->thread, SIGUSR1);
        usleep(50000);
    }
    soak_report();
    printf("ops=%" PRIu64 " longest_wait_ms=%u hangs=1 violations=%" PRIu64 "\n", total_ops, patience * 1000,
           soak_violations());
    fflush(stdout);
    abort();
}

/* Watch until all workers have ended, and stop them after so many ns. */
static void watch(uint64_t ns)
{
    uint64_t end = soak_now() + ns;
    bool busy = true;

    while (busy) {
        usleep(20000);
        busy = false;
        for (unsigned i = 0; i < soak_workers; i++) {
            struct worker *w = &soak_worker[i];
            bool works = __atomic_load_n(&w->kind, __ATOMIC_RELAXED) != SOAK_ENDED;
            uint64_t since = __atomic_load_n(&w->since, __ATOMIC_RELAXED), now = soak_now();

            busy |= works;
            if (works && now > since && now - since > (uint64_t)patience * 1000000000) {
                report_hang(w);
            }
        }
        if (soak_now() > end) {
            soak_stop();
        }
    }
}

/* ---- runs ---- */

static void print_tallies(double seconds, unsigned cores)
{
    uint64_t ops = 0;

    printf("%-16s %12s %12s %12s\n", "kind", "ops", "ops/s", "longest ms");
    for (unsigned kind = 0; everything.kinds[kind].name; kind++) {
        struct tally sum = {0};

        for (unsigned i = 0; i < soak_workers; i++) {
            const struct tally *tally = &soak_worker[i].tally[kind];

            sum.ops += tally->ops;
            sum.longest_ns = tally->longest_ns > sum.longest_ns ? tally->longest_ns : sum.longest_ns;
        }
        ops += sum.ops;
        longest_ns = sum.longest_ns > longest_ns ? sum.longest_ns : longest_ns;
        printf("%-16s %12" PRIu64 " %12.0f %12.1f\n", everything.kinds[kind].name, sum.ops, (double)sum.ops / seconds,
               (double)sum.longest_ns / 1e6);
    }
    printf("cores=%u threads=%u seconds=%.0f ops=%" PRIu64 " ops_per_s=%.0f\n", cores, soak_workers, seconds, ops,
           (double)ops / seconds);
    total_ops += ops;
}

/* Use only so many of the cores that the process may use. Returns how many those are. */
static unsigned use_cores(const cpu_set_t *all, unsigned n)
{
    cpu_set_t some;

    CPU_ZERO(&some);
    for (unsigned cpu = 0; cpu < CPU_SETSIZE && (unsigned)CPU_COUNT(&some) < n; cpu++) {
        if (CPU_ISSET(cpu, all)) {
            CPU_SET(cpu, &some);
        }
    }
    sched_setaffinity(0, sizeof(some), &some);
    return (unsigned)CPU_COUNT(&some);
}

static void run(double seconds, unsigned cores, uint64_t seed)
{
    uint64_t start = soak_now();

    soak_start(&everything, seed);
    watch((uint64_t)(seconds * 1e9));
    seconds = (double)(soak_now() - start) / 1e9;
    soak_join();
    print_tallies(seconds, cores);
    fflush(stdout);
}

static void usage(void)
{
    fprintf(stderr, "usage: soak [--minutes N | --seconds N] [--threads N] [--patience SECONDS] [--seed N]\n"
                    "            [--mistake hang|stale]\n"
                    "Half of the time runs on two cores, half on one.\n");
    exit(2);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"minutes", required_argument, NULL, 'm'},
        {"seconds", required_argument, NULL, 's'},
        {"threads", required_argument, NULL, 't'},
        {"patience", required_argument, NULL, 'p'},
        {"mistake", required_argument, NULL, 'x'},
        {"seed", required_argument, NULL, 'r'},
        {0},
    };
    uint64_t seed = soak_now();
    double seconds = 600;
    cpu_set_t all;

    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'm':
            seconds = strtod(optarg, NULL) * 60;
            break;
        case 's':
            seconds = strtod(optarg, NULL);
            break;
        case 't':
            soak_workers = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'p':
            patience = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'r':
            seed = strtoull(optarg, NULL, 0);
            break;
        case 'x':
            soak_mistake = strcmp(optarg, "hang") == 0    ? MISTAKE_HANG
                           : strcmp(optarg, "stale") == 0 ? MISTAKE_STALE
                                                          : MISTAKE_NONE;
            if (soak_mistake == MISTAKE_NONE) {
                usage();
            }
            break;
        default:
            usage();
        }
    }
    if (optind < argc || !(seconds > 0) || soak_workers == 0 || soak_workers > SOAK_THREADS_MAX || patience == 0) {
        usage();
    }
    printf("seed=%" PRIu64 "\n", seed);
    sched_getaffinity(0, sizeof(all), &all);
    for (unsigned cores = 2; cores > 0; cores--) {
        run(seconds / 2, use_cores(&all, cores), seed + cores);
    }
    printf("ops=%" PRIu64 " longest_wait_ms=%" PRIu64 " hangs=0 violations=%" PRIu64 "\n", total_ops,
           longest_ns / 1000000, soak_violations());
    return soak_violations() ? 1 : 0;
}
