/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "soak.h"

#include <execinfo.h>
#include <getopt.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <pagelock/pagelock.h>

const struct kind soak_kind[] = {
    {"abort", 20, false, code_abort},
    {"collection", 40, false, code_collection},
    {"collection-wide", 10, false, code_collection_wide},
    {"find", 20, false, code_find},
    {"flush", 1, false, code_flush},
    {"kill", 40, false, code_kill},
    {"leaf", 40, false, code_leaf},
    {"link-higher", 80, false, code_link_higher},
    {"link-lower", 80, false, code_link_lower},
    {"link-one", 80, false, code_link_one},
    {"link-same", 80, false, code_link_same},
    {"link-storing", 40, false, code_link_storing},
    {"lock", 40, false, code_lock},
    {"lock-block", 20, false, code_lock_block},
    {"page", 8, false, code_page},
    {"pair", 40, false, code_pair},
    {"range", 8, false, code_range},
    {"store", 200, false, code_store},
    {"store-bracket", 40, false, code_store_bracket},
    {"trylock", 40, false, code_trylock},
    {"unlisted", 20, false, code_unlisted},
    {"fault-advise", 10, true, fault_advise},
    {"fault-check", 5, true, fault_check},
    {"fault-continued", 100, true, fault_continued},
    {"fault-interrupt", 4, true, fault_interrupt},
    {"fault-remap", 10, true, fault_remap},
    {"fault-remove", 20, true, fault_remove},
    {"fault-run", 200, true, fault_run},
    {"fault-teardown", 1, true, fault_teardown},
    {"fault-withhold", 10, true, fault_withhold},
};
const unsigned soak_kinds = sizeof(soak_kind) / sizeof(*soak_kind);

struct worker soak_worker[SOAK_THREADS_MAX];
unsigned soak_workers = 16;
__thread struct worker *soak_self;
enum mistake soak_mistake;

static bool over;              /* atomic */
static uint64_t violations;    /* atomic */
static unsigned patience = 60; /* seconds without progress that are a hang */
static uint64_t total_ops, longest_ns;

uint64_t soak_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void soak_broken(const char *format, ...)
{
    va_list args;

    if (__atomic_fetch_add(&violations, 1, __ATOMIC_RELAXED) >= 10) {
        return;
    }
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

/* splitmix64 */
uint64_t soak_below(uint64_t *random, uint64_t n)
{
    uint64_t z = *random += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (z ^ z >> 31) % n;
}

/* ---- the workers ---- */

static unsigned choose(struct worker *w, unsigned sum)
{
    uint64_t choice = soak_below(&w->random, sum);
    unsigned kind = 0;

    while (choice >= soak_kind[kind].share) {
        choice -= soak_kind[kind++].share;
    }
    return kind;
}

static void do_one(struct worker *w, unsigned kind)
{
    uint64_t start = soak_now(), ns;

    __atomic_store_n(&w->since, start, __ATOMIC_RELAXED);
    __atomic_store_n(&w->kind, kind, __ATOMIC_RELAXED);
    if (soak_kind[kind].faults) {
        __atomic_store_n(&w->quiet, UINT64_MAX, __ATOMIC_SEQ_CST);
    } else {
        code_enter(w);
    }
    soak_kind[kind].run(w);
    pgl_assert_none_held();
    ns = soak_now() - start;
    w->tally[kind].ops++;
    if (ns > w->tally[kind].longest_ns) {
        w->tally[kind].longest_ns = ns;
    }
}

static void *work(void *opaque)
{
    struct worker *w = opaque;
    unsigned sum = 0;

    soak_self = w;
    for (unsigned kind = 0; kind < soak_kinds; kind++) {
        sum += soak_kind[kind].share;
    }
    if (soak_mistake == MISTAKE_HANG && w->id == 0) {
        code_hang(w);
    } else {
        while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
            do_one(w, choose(w, sum));
        }
    }
    __atomic_store_n(&w->quiet, UINT64_MAX, __ATOMIC_SEQ_CST);
    __atomic_store_n(&w->kind, soak_kinds, __ATOMIC_RELAXED);
    return NULL;
}

/* ---- the watchdog ---- */

static void print_stack(int signal)
{
    void *frames[32];

    (void)signal;
    backtrace_symbols_fd(frames, backtrace(frames, 32), STDERR_FILENO);
    fsync(STDERR_FILENO);
}

/* What each thread does, where it stands, and who holds what; then the process ends as it would by a failed assertion.
 */
static void report_hang(const struct worker *hung)
{
    uint64_t now = soak_now();

    fprintf(stderr, "worker %u has made no progress for %u s\n", hung->id, patience);
    signal(SIGUSR1, print_stack);
    for (unsigned i = 0; i < soak_workers; i++) {
        struct worker *w = &soak_worker[i];
        unsigned kind = __atomic_load_n(&w->kind, __ATOMIC_RELAXED);

        if (kind == soak_kinds) {
            fprintf(stderr, "worker %u has ended\n", i);
            continue;
        }
        fprintf(stderr, "worker %u: %s for %" PRIu64 " ms\n", i, soak_kind[kind].name,
                (now - __atomic_load_n(&w->since, __ATOMIC_RELAXED)) / 1000000);
        pthread_kill(w->thread, SIGUSR1);
        usleep(50000);
    }
    code_report();
    fault_report();
    printf("ops=%" PRIu64 " longest_wait_ms=%u hangs=1 violations=%" PRIu64 "\n", total_ops, patience * 1000,
           violations);
    fflush(stdout);
    abort();
}

/* Watches until all workers have ended, and lets them end after so many ns. */
static void watch(uint64_t ns)
{
    uint64_t end = soak_now() + ns;
    bool busy = true;

    while (busy) {
        uint64_t now;

        usleep(20000);
        busy = false;
        for (unsigned i = 0; i < soak_workers; i++) {
            struct worker *w = &soak_worker[i];
            bool works = __atomic_load_n(&w->kind, __ATOMIC_RELAXED) != soak_kinds;
            uint64_t since = __atomic_load_n(&w->since, __ATOMIC_RELAXED);

            now = soak_now();
            busy |= works;
            if (works && now > since && now - since > (uint64_t)patience * 1000000000) {
                report_hang(w);
            }
        }
        now = soak_now();
        if (now > end) {
            __atomic_store_n(&over, true, __ATOMIC_RELAXED);
        }
    }
}

/* ---- runs ---- */

static void print_tallies(double seconds, unsigned cores)
{
    uint64_t ops = 0;

    printf("%-16s %12s %12s %12s\n", "kind", "ops", "ops/s", "longest ms");
    for (unsigned kind = 0; kind < soak_kinds; kind++) {
        struct tally sum = {0};

        for (unsigned i = 0; i < soak_workers; i++) {
            const struct tally *tally = &soak_worker[i].tally[kind];

            sum.ops += tally->ops;
            sum.longest_ns = tally->longest_ns > sum.longest_ns ? tally->longest_ns : sum.longest_ns;
        }
        ops += sum.ops;
        longest_ns = sum.longest_ns > longest_ns ? sum.longest_ns : longest_ns;
        printf("%-16s %12" PRIu64 " %12.0f %12.1f\n", soak_kind[kind].name, sum.ops, (double)sum.ops / seconds,
               (double)sum.longest_ns / 1e6);
    }
    printf("cores=%u threads=%u seconds=%.0f ops=%" PRIu64 " ops_per_s=%.0f\n", cores, soak_workers, seconds, ops,
           (double)ops / seconds);
    total_ops += ops;
}

/* Only so many of the cores that the process may use. Returns how many those are. */
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

    memset(soak_worker, 0, sizeof(soak_worker));
    __atomic_store_n(&over, false, __ATOMIC_RELAXED);
    code_begin(seed);
    fault_begin(seed);
    for (unsigned i = 0; i < soak_workers; i++) {
        struct worker *w = &soak_worker[i];

        w->id = i;
        w->random = seed + i * UINT64_C(0x2545f4914f6cdd1d);
        w->quiet = UINT64_MAX;
        w->since = start;
    }
    for (unsigned i = 0; i < soak_workers; i++) {
        pthread_create(&soak_worker[i].thread, NULL, work, &soak_worker[i]);
    }
    watch((uint64_t)(seconds * 1e9));
    for (unsigned i = 0; i < soak_workers; i++) {
        pthread_join(soak_worker[i].thread, NULL);
    }
    print_tallies((double)(soak_now() - start) / 1e9, cores);
    fault_end();
    code_end();
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
           longest_ns / 1000000, violations);
    return violations ? 1 : 0;
}
