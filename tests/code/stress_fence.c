/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two threads meet again and again at one place where both store and then look at what the other stored, with nothing
 * but a full fence of the library's between. One of them has to see the other. The version of the guest's bytes is a
 * plain store here: no other fence helps.
 */
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "emu.h"

enum {
    MAX_ROUNDS = 30000,
    MAX_NS = 1000000000, /* a case ends after a second, whatever it came to */
    MAX_BIAS = 3000,
};

struct duel {
    struct pgl_table *table;
    struct emu_random random[2];
    unsigned arrived; /* at the barrier, ever */
    unsigned round;
    bool stop;
    uint64_t page;
    unsigned version; /* of the guest's bytes */
    unsigned made_from;
    struct pgl_tb tb;
    struct pgl_tb *cache;
    bool wiped; /* by the last death */
    int bias;   /* so much later comes the first; negative, the second */
    unsigned stale, first_was_first;
    unsigned crowd[24][16]; /* lines that both write, so that a store behind them is late */
    void (*first)(struct duel *d);
    void (*second)(struct duel *d);
};

static void retired(struct pgl_tb *chain, void *opaque)
{
    struct duel *d = opaque;

    d->wiped = __atomic_load_n(&d->cache, __ATOMIC_RELAXED) == chain;
    if (d->wiped) {
        __atomic_store_n(&d->cache, NULL, __ATOMIC_RELAXED);
    }
}

static const struct pgl_tb_ops ops = {.retired = retired};

/* Both pass this together; the @n-th time. */
static void meet(struct duel *d, unsigned n)
{
    unsigned spins = 0;

    __atomic_fetch_add(&d->arrived, 1, __ATOMIC_ACQ_REL);
    while (__atomic_load_n(&d->arrived, __ATOMIC_ACQUIRE) < 2 * n) {
        if (++spins % 1000 == 0) {
            sched_yield();
        }
    }
}

/* Come a little later, at random. The thread that was first too often comes later still. */
static void wander(struct duel *d, unsigned which)
{
    int late = which ? -d->bias : d->bias;

    for (int n = (int)emu_below(&d->random[which], 60) + (late > 0 ? late : 0); n > 0; n--) {
        __asm__ volatile("" ::: "memory");
    }
}

/* ---- the cases ---- */

static void link_block(struct duel *d)
{
    struct pgl_bracket bracket;

    pgl_bracket_begin(&bracket, d->table, d->page);
    d->made_from = __atomic_load_n(&d->version, __ATOMIC_RELAXED);
    pgl_bracket_commit(&bracket, &d->tb, NULL);
}

/* The guest's store, which other stores keep waiting in this processor. */
static void store(struct duel *d)
{
    for (unsigned i = 0; i < 24; i++) {
        __atomic_store_n(&d->crowd[i][0], d->round, __ATOMIC_RELAXED);
    }
    __atomic_store_n(&d->version, d->round, __ATOMIC_RELAXED);
}

static void store_and_check(struct duel *d)
{
    store(d);
    pgl_store_check(d->table, d->page << 12, 4, NULL);
}

/* Across a page's end, which the inline part passes on. */
static void store_and_check_across(struct duel *d)
{
    store(d);
    pgl_store_check(d->table, (d->page << 12) - 1, 4, NULL);
}

static void store_and_invalidate_page(struct duel *d)
{
    store(d);
    pgl_invalidate_page(d->table, d->page, NULL);
}

static void store_and_flush(struct duel *d)
{
    store(d);
    pgl_flush(d->table, NULL);
}

static void cache_block(struct duel *d)
{
    pgl_cache_tb(&d->cache, &d->tb);
}

static void kill_block(struct duel *d)
{
    pgl_invalidate_page(d->table, d->page, NULL);
}

/* ---- rounds ---- */

static bool asymmetric_fences;

static void new_table(struct duel *d)
{
    struct pgl_table_config config = {
        .page_bits = 12, .addr_bits = 48, .asymmetric_fences = asymmetric_fences, .ops = &ops, .opaque = d};

    pgl_table_free(d->table);
    d->table = pgl_table_new(&config);
}

static void prepare(struct duel *d, bool new_leaf)
{
    if (d->round % 1000 == 0 && new_leaf) {
        new_table(d);
    }
    d->round++;
    if (new_leaf) {
        d->page += 512;
    }
    d->cache = NULL;
    pgl_tb_init(&d->tb);
    pgl_tb_set_bytes(&d->tb, 0, d->page << 12, (d->page << 12) + 3);
    if (d->second == cache_block) {
        link_block(d);
    }
}

static void judge(struct duel *d)
{
    bool was_first = d->second == cache_block ? !d->wiped : pgl_tb_is_live(&d->tb);

    if (d->second == cache_block) {
        d->stale += d->cache && !pgl_tb_is_live(d->cache);
    } else {
        d->stale += pgl_tb_is_live(&d->tb) && d->made_from != d->round;
    }
    d->first_was_first += was_first;
    if (was_first ? d->bias < MAX_BIAS : d->bias > -MAX_BIAS) {
        d->bias += was_first ? 3 : -3;
    }
    if (pgl_tb_is_live(&d->tb)) {
        pgl_invalidate_tb(d->table, &d->tb, NULL);
    }
}

static cpu_set_t processors; /* that we may use */

/* Run on one processor, the @which-th: two threads on one never meet. */
static void settle(unsigned which)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &processors) && which-- == 0) {
            CPU_SET(cpu, &one);
            pthread_setaffinity_np(pthread_self(), sizeof(one), &one);
            return;
        }
    }
}

static void *second_thread(void *opaque)
{
    struct duel *d = opaque;

    settle(1);
    for (unsigned n = 1;; n += 2) {
        for (unsigned i = 0; i < 24; i++) {
            __atomic_fetch_add(&d->crowd[i][0], 1, __ATOMIC_RELAXED);
        }
        meet(d, n);
        if (d->stop) {
            return NULL;
        }
        wander(d, 1);
        d->second(d);
        meet(d, n + 1);
    }
}

static bool run(const char *name, void (*first)(struct duel *), void (*second)(struct duel *), bool new_leaf,
                uint64_t seed)
{
    struct duel *d = aligned_alloc(16, (sizeof(*d) + 15) & ~(size_t)15);
    struct timespec start, now;
    pthread_t thread;
    unsigned n = 1, stale;

    memset(d, 0, sizeof(*d));
    d->first = first;
    d->second = second;
    d->page = 5;
    d->random[0].state = seed;
    d->random[1].state = seed + 1;
    new_table(d);
    clock_gettime(CLOCK_MONOTONIC, &start);
    pthread_create(&thread, NULL, second_thread, d);
    settle(0);
    do {
        prepare(d, new_leaf);
        meet(d, n++);
        wander(d, 0);
        d->first(d);
        meet(d, n++);
        judge(d);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (d->round < MAX_ROUNDS &&
             (now.tv_sec - start.tv_sec) * INT64_C(1000000000) + now.tv_nsec - start.tv_nsec < MAX_NS);
    d->stop = true;
    meet(d, n);
    pthread_join(thread, NULL);
    stale = d->stale + (pgl_table_check(d->table, NULL, NULL) != 0);
    printf("fence: case=%s rounds=%u first=%u stale=%u\n", name, d->round, d->first_was_first, stale);
    pgl_table_free(d->table);
    free(d);
    return stale == 0;
}

/* Whether this system has them. */
static bool has_asymmetric_fences(void)
{
    struct pgl_table_config config = {.page_bits = 12, .addr_bits = 48, .asymmetric_fences = true};
    struct pgl_table *table = pgl_table_new(&config);

    pgl_table_free(table);
    return table;
}

int main(void)
{
    uint64_t seed = emu_seed("fence");
    bool good = true;

    sched_getaffinity(0, sizeof(processors), &processors);
    good &= run("store-bracket", store_and_check, link_block, false, seed);
    good &= run("store-new-leaf", store_and_check, link_block, true, seed);
    good &= run("store-across-bracket", store_and_check_across, link_block, false, seed);
    good &= run("page-bracket", store_and_invalidate_page, link_block, false, seed);
    good &= run("flush-bracket", store_and_flush, link_block, false, seed);
    good &= run("flush-new-leaf", store_and_flush, link_block, true, seed);
    good &= run("kill-cache", kill_block, cache_block, false, seed);
    asymmetric_fences = has_asymmetric_fences();
    if (asymmetric_fences) {
        good &= run("asymmetric-bracket", store_and_check, link_block, false, seed);
        good &= run("asymmetric-new-leaf", store_and_check, link_block, true, seed);
        good &= run("asymmetric-flush", store_and_flush, link_block, false, seed);
    }
    return good ? 0 : 1;
}
