/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The workers of a run: each chooses operations from the mix and does them. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <pagelock/pagelock.h>

#include "soak.h"

struct worker soak_worker[SOAK_THREADS_MAX];
unsigned soak_workers = 16;
__thread struct worker *soak_self;
enum mistake soak_mistake;

static const struct mix *mix;
static unsigned nkinds, sum_of_shares;
static bool over;           /* atomic */
static uint64_t violations; /* atomic */

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

uint64_t soak_violations(void)
{
    return __atomic_load_n(&violations, __ATOMIC_RELAXED);
}

/* splitmix64 */
uint64_t soak_below(uint64_t *random, uint64_t n)
{
    uint64_t z = *random += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (z ^ z >> 31) % n;
}

static unsigned choose(struct worker *w)
{
    uint64_t choice = below(w, sum_of_shares);
    unsigned kind = 0;

    while (choice >= mix->kinds[kind].share) {
        choice -= mix->kinds[kind++].share;
    }
    return kind;
}

static void do_one(struct worker *w, unsigned kind)
{
    const struct half *half = mix->kinds[kind].half;
    uint64_t start = soak_now(), ns;

    __atomic_store_n(&w->since, start, __ATOMIC_RELAXED);
    __atomic_store_n(&w->kind, kind, __ATOMIC_RELAXED);
    half->enter(w);
    mix->kinds[kind].run(w);
    if (half->leave) {
        half->leave(w);
    }
    pgl_assert_none_held();
    ns = soak_now() - start;
    w->tally[kind].ops++;
    if (ns > w->tally[kind].longest_ns) {
        w->tally[kind].longest_ns = ns;
    }
}

static bool has_more(uint64_t done)
{
    return mix->rounds ? done < mix->rounds / soak_workers : !__atomic_load_n(&over, __ATOMIC_RELAXED);
}

static void *work(void *opaque)
{
    struct worker *w = opaque;

    soak_self = w;
    for (uint64_t done = 0; has_more(done); done++) {
        do_one(w, choose(w));
    }
    __atomic_store_n(&w->quiet, UINT64_MAX, __ATOMIC_SEQ_CST);
    __atomic_store_n(&w->kind, SOAK_ENDED, __ATOMIC_RELAXED);
    return NULL;
}

/* The halves of the mix, each once. */
static unsigned list_halves(const struct half *halves[2])
{
    unsigned n = 0;

    for (unsigned kind = 0; kind < nkinds; kind++) {
        const struct half *half = mix->kinds[kind].half;

        if (n == 0 || (n == 1 && halves[0] != half)) {
            halves[n++] = half;
        }
    }
    return n;
}

void soak_start(const struct mix *new_mix, uint64_t seed)
{
    const struct half *halves[2];
    uint64_t start = soak_now();

    mix = new_mix;
    nkinds = sum_of_shares = 0;
    for (const struct kind *kind = mix->kinds; kind->name; kind++) {
        sum_of_shares += kind->share;
        nkinds++;
    }
    memset(soak_worker, 0, sizeof(soak_worker));
    __atomic_store_n(&over, false, __ATOMIC_RELAXED);
    for (unsigned n = list_halves(halves); n > 0; n--) {
        halves[n - 1]->begin(seed);
    }
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
}

void soak_stop(void)
{
    __atomic_store_n(&over, true, __ATOMIC_RELAXED);
}

void soak_join(void)
{
    const struct half *halves[2];

    for (unsigned i = 0; i < soak_workers; i++) {
        pthread_join(soak_worker[i].thread, NULL);
    }
    for (unsigned n = list_halves(halves); n > 0; n--) {
        halves[n - 1]->end();
    }
}

void soak_report(void)
{
    const struct half *halves[2];

    for (unsigned n = list_halves(halves); n > 0; n--) {
        halves[n - 1]->report();
    }
}
