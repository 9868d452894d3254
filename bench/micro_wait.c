/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How to wait for a lock: the loop of src/code/spin.c with other constants, to choose them by. */
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "../src/code/spin_internal.h"
#include "clock.h"
#include "micro_case.h"
#include "plain.h"

enum { HOLD_NS = 400, FOREVER = INT_MAX, BUSY_LOOPS = 2, HELD_NS = 10000000 };

/* The way threads spend the time between two holds, as variant.kind. */
enum between {
    NOTHING,
    AS_LONG,        /* work of their own, as long as a hold */
    AS_LONG_BESIDE, /* the same, beside busy loops */
};

struct manner {
    unsigned pause_rounds; /* 1, 2, 4 ... 64, 64 ... pauses */
    unsigned yield_rounds;
    long sleep_ns; /* doubled from round to round */
};

struct waiting {
    uint32_t word __attribute__((aligned(64)));
    bool stop __attribute__((aligned(64)));
    unsigned nbusy;
    pthread_t busy[BUSY_LOOPS];
};

static void *loop(void *data)
{
    struct waiting *waiting = data;

    while (!__atomic_load_n(&waiting->stop, __ATOMIC_RELAXED)) {
        ;
    }
    return NULL;
}

static void *waiting_new(const struct variant *variant)
{
    struct waiting *waiting = g_aligned_alloc0(1, sizeof(*waiting), _Alignof(struct waiting));

    while (variant->kind == AS_LONG_BESIDE && waiting->nbusy < BUSY_LOOPS &&
           !pthread_create(&waiting->busy[waiting->nbusy], NULL, loop, waiting)) {
        waiting->nbusy++;
    }
    return waiting;
}

static void waiting_free(void *state)
{
    struct waiting *waiting = state;

    __atomic_store_n(&waiting->stop, true, __ATOMIC_RELAXED);
    while (waiting->nbusy) {
        pthread_join(waiting->busy[--waiting->nbusy], NULL);
    }
    g_aligned_free(waiting);
}

static inline __attribute__((always_inline)) void wait_a_round(struct manner manner, unsigned round)
{
    if (round < manner.pause_rounds) {
        for (unsigned i = 0; i < 1u << MIN(round, PGL_SPIN_PAUSE_DOUBLINGS); i++) {
            cpu_relax();
        }
    } else if (round - manner.pause_rounds < manner.yield_rounds) {
        sched_yield();
    } else {
        unsigned doublings = MIN(round - manner.pause_rounds - manner.yield_rounds, 10);
        struct timespec time = {.tv_nsec = MIN(manner.sleep_ns << doublings, PGL_SPIN_SLEEP_NS_MAX)};

        nanosleep(&time, NULL);
    }
}

static inline __attribute__((always_inline)) bool try(uint32_t *word)
{
    uint32_t value = __atomic_load_n(word, __ATOMIC_RELAXED);

    return !value && __atomic_compare_exchange_n(word, &value, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

static void spend(unsigned ns)
{
    for (uint64_t until = ns ? clock_ns() + ns : 0; ns && clock_ns() < until;) {
        cpu_relax();
    }
}

/* Spread threads over the processors. The scheduler would do so in its own time, and a run is shorter. */
static void spread(unsigned thread)
{
    cpu_set_t allowed, one;
    unsigned n, skip;

    if (sched_getaffinity(0, sizeof(allowed), &allowed)) {
        return;
    }
    n = (unsigned)CPU_COUNT(&allowed);
    skip = thread % n;
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &allowed) && !skip--) {
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            sched_setaffinity(0, sizeof(one), &one);
            return;
        }
    }
}

static inline __attribute__((always_inline)) void work(struct waiting *waiting, struct manner manner,
                                                       const struct variant *variant, uint64_t ops)
{
    for (uint64_t i = 0; i < ops; i++) {
        for (unsigned round = 0; !try(&waiting->word); round++) {
            wait_a_round(manner, round);
        }
        spend(variant->size);
        __atomic_store_n(&waiting->word, 0, __ATOMIC_RELEASE);
        if (variant->kind != NOTHING) {
            spend(variant->size);
        }
    }
}

#define MANNER(id, subject_name, ...)                                                                                  \
    static void id##_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops)                    \
    {                                                                                                                  \
        if (variant->kind != NOTHING) {                                                                                \
            spread(thread);                                                                                            \
        }                                                                                                              \
        work(state, (struct manner){__VA_ARGS__}, variant, ops);                                                       \
    }                                                                                                                  \
    static const struct subject id##_subject = {                                                                       \
        .name = subject_name, .setup = waiting_new, .teardown = waiting_free, .run = id##_run}

MANNER(ours, "as the library", PGL_SPIN_PAUSE_ROUNDS, PGL_SPIN_YIELD_ROUNDS, PGL_SPIN_SLEEP_NS);
MANNER(pauses, "pauses only", FOREVER, 0, 0);
MANNER(yields, "never sleeps", PGL_SPIN_PAUSE_ROUNDS, FOREVER, 0);
MANNER(no_yield, "never yields", PGL_SPIN_PAUSE_ROUNDS, 0, PGL_SPIN_SLEEP_NS);
MANNER(pauses_7, "7 rounds", 7, PGL_SPIN_YIELD_ROUNDS, PGL_SPIN_SLEEP_NS);
MANNER(pauses_16, "16 rounds", 16, PGL_SPIN_YIELD_ROUNDS, PGL_SPIN_SLEEP_NS);
MANNER(pauses_32, "32 rounds", 32, PGL_SPIN_YIELD_ROUNDS, PGL_SPIN_SLEEP_NS);
MANNER(pauses_128, "128 rounds", 128, PGL_SPIN_YIELD_ROUNDS, PGL_SPIN_SLEEP_NS);
MANNER(pauses_256, "256 rounds", 256, PGL_SPIN_YIELD_ROUNDS, PGL_SPIN_SLEEP_NS);
MANNER(yields_16, "16 yields", PGL_SPIN_PAUSE_ROUNDS, 16, PGL_SPIN_SLEEP_NS);
MANNER(sleep_5, "5 us", PGL_SPIN_PAUSE_ROUNDS, PGL_SPIN_YIELD_ROUNDS, 5000);
MANNER(sleep_100, "100 us", PGL_SPIN_PAUSE_ROUNDS, PGL_SPIN_YIELD_ROUNDS, 100000);

static const struct subject *const ways[] = {
    &ours_subject,       &pauses_subject,    &yields_subject,  &no_yield_subject,  &pauses_7_subject,
    &pauses_256_subject, &yields_16_subject, &sleep_5_subject, &sleep_100_subject,
};

static const struct subject *const rounds_of_pauses[] = {
    &ours_subject, &pauses_7_subject, &pauses_16_subject, &pauses_32_subject, &pauses_128_subject, &pauses_256_subject,
};

/* Add all of @subjects at each of two numbers of threads, and pair each with the library's, which is the first. */
static void add_all(struct micro_case *one, const struct subject *const *subjects, unsigned n, struct variant variant,
                    unsigned more_threads)
{
    for (variant.threads = 2; variant.threads <= more_threads; variant.threads += more_threads - 2) {
        unsigned ours = 0;

        for (unsigned i = 0; i < n; i++) {
            unsigned number;

            variant.subject = subjects[i];
            number = micro_variant(one, &variant);
            if (i == 0) {
                ours = number;
            } else {
                micro_pair(one, number, ours);
            }
        }
    }
}

static void waiting_case(GPtrArray *cases, const char *name, const char *what, unsigned hold_ns)
{
    add_all(micro_add(cases, name, what, MICRO_NO_PLOT), ways, G_N_ELEMENTS(ways),
            (struct variant){.pages = 1, .size = hold_ns, .kind = NOTHING}, 16);
}

static void hold_case(GPtrArray *cases, const char *name, const char *what, unsigned hold_ns, enum between between)
{
    add_all(micro_add(cases, name, what, MICRO_NO_PLOT), rounds_of_pauses, G_N_ELEMENTS(rounds_of_pauses),
            (struct variant){.pages = 1, .size = hold_ns, .kind = between, .ops = CLAMP(HELD_NS / hold_ns, 200, 4000)},
            4);
}

void micro_wait_cases(GPtrArray *cases)
{
    waiting_case(cases, "waiting", "ways to wait for a page wanted by all", 0);
    waiting_case(cases, "waiting-400", "ways to wait for a page wanted by all, held for 400 ns", HOLD_NS);
    hold_case(cases, "contended-hold-400", "rounds of pauses, page held for 0.4 us", 400, AS_LONG);
    hold_case(cases, "contended-hold-5000", "rounds of pauses, page held for 5 us", 5000, AS_LONG);
    hold_case(cases, "contended-hold-15000", "rounds of pauses, page held for 15 us", 15000, AS_LONG);
    hold_case(cases, "contended-hold-50000", "rounds of pauses, page held for 50 us", 50000, AS_LONG);
    hold_case(cases, "contended-hold-400-busy", "the same beside busy loops, 0.4 us", 400, AS_LONG_BESIDE);
    hold_case(cases, "contended-hold-5000-busy", "the same beside busy loops, 5 us", 5000, AS_LONG_BESIDE);
    hold_case(cases, "contended-hold-15000-busy", "the same beside busy loops, 15 us", 15000, AS_LONG_BESIDE);
    hold_case(cases, "contended-hold-50000-busy", "the same beside busy loops, 50 us", 50000, AS_LONG_BESIDE);
}
