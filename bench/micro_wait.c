/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How to wait for a lock: the loop of src/code/spin.c with other constants, to choose them by. */
#include <limits.h>
#include <sched.h>
#include <time.h>

#include "../src/code/spin_internal.h"
#include "clock.h"
#include "micro_case.h"
#include "plain.h"

enum { HOLD_NS = 400, LINE = 64, FOREVER = INT_MAX };

struct manner {
    unsigned pause_rounds; /* 1, 2, 4 ... pauses */
    unsigned yield_rounds;
    long sleep_ns; /* doubled from round to round */
};

static void *word_new(const struct variant *variant)
{
    (void)variant;
    return g_aligned_alloc0(1, LINE, LINE);
}

static inline __attribute__((always_inline)) void wait_a_round(struct manner manner, unsigned round)
{
    if (round < manner.pause_rounds) {
        for (unsigned i = 0; i < 1u << MIN(round, 10); i++) {
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

static inline __attribute__((always_inline)) void work(uint32_t *word, struct manner manner, unsigned hold_ns,
                                                       uint64_t ops)
{
    for (uint64_t i = 0; i < ops; i++) {
        for (unsigned round = 0; !try(word); round++) {
            wait_a_round(manner, round);
        }
        for (uint64_t until = hold_ns ? clock_ns() + hold_ns : 0; hold_ns && clock_ns() < until;) {
            cpu_relax();
        }
        __atomic_store_n(word, 0, __ATOMIC_RELEASE);
    }
}

#define MANNER(id, subject_name, ...)                                                                                  \
    static void id##_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops)                    \
    {                                                                                                                  \
        (void)thread;                                                                                                  \
        work(state, (struct manner){__VA_ARGS__}, variant->size, ops);                                                 \
    }                                                                                                                  \
    static const struct subject id##_subject = {                                                                       \
        .name = subject_name, .setup = word_new, .teardown = g_aligned_free, .run = id##_run}

MANNER(ours, "as the library", PGL_SPIN_PAUSE_ROUNDS, PGL_SPIN_YIELD_ROUNDS, PGL_SPIN_SLEEP_NS);
MANNER(pauses, "pauses only", FOREVER, 0, 0);
MANNER(yields, "never sleeps", PGL_SPIN_PAUSE_ROUNDS, FOREVER, 0);
MANNER(no_yield, "never yields", PGL_SPIN_PAUSE_ROUNDS, 0, PGL_SPIN_SLEEP_NS);
MANNER(pauses_4, "4 pauses", 4, PGL_SPIN_YIELD_ROUNDS, PGL_SPIN_SLEEP_NS);
MANNER(pauses_10, "10 pauses", 10, PGL_SPIN_YIELD_ROUNDS, PGL_SPIN_SLEEP_NS);
MANNER(yields_16, "16 yields", PGL_SPIN_PAUSE_ROUNDS, 16, PGL_SPIN_SLEEP_NS);
MANNER(sleep_5, "5 us", PGL_SPIN_PAUSE_ROUNDS, PGL_SPIN_YIELD_ROUNDS, 5000);
MANNER(sleep_100, "100 us", PGL_SPIN_PAUSE_ROUNDS, PGL_SPIN_YIELD_ROUNDS, 100000);

static const struct subject *const subjects[] = {
    &ours_subject,      &pauses_subject,    &yields_subject,  &no_yield_subject,  &pauses_4_subject,
    &pauses_10_subject, &yields_16_subject, &sleep_5_subject, &sleep_100_subject,
};

/* Each paired with the library's. */
static void waiting_case(GPtrArray *cases, const char *name, const char *what, unsigned hold_ns)
{
    struct micro_case *one = micro_add(cases, name, what, MICRO_NO_PLOT);

    for (unsigned threads = 2; threads <= 16; threads *= 8) {
        struct variant variant = {.threads = threads, .pages = 1, .size = hold_ns};
        unsigned ours = 0;

        for (unsigned i = 0; i < G_N_ELEMENTS(subjects); i++) {
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

void micro_wait_cases(GPtrArray *cases)
{
    waiting_case(cases, "waiting", "ways to wait for a page wanted by all", 0);
    waiting_case(cases, "waiting-400", "ways to wait for a page wanted by all, held for 400 ns", HOLD_NS);
}
