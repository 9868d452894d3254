/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Leaves and nodes put in place by many threads at once: one wins, all see the same, nothing is lost or leaked. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "emu.h"

enum {
    MAX_THREADS = 16,
    ROUNDS = 60,
    N_PAGES = 24,
};

struct race {
    struct pgl_table *table;
    pthread_barrier_t start;
    uint64_t index[N_PAGES];
};

struct racer {
    struct race *race;
    pthread_t thread;
    unsigned turn; /* where it begins */
    struct pgl_page *page[N_PAGES];
    unsigned wrong;
};

static void *run(void *opaque)
{
    struct racer *racer = opaque;
    struct race *race = racer->race;

    pthread_barrier_wait(&race->start);
    for (unsigned i = 0; i < N_PAGES; i++) {
        /* Half of the threads go the same way at the same time, the others each their own. */
        unsigned at = (racer->turn % 2 ? i : i + racer->turn) % N_PAGES;
        uint64_t index = race->index[at];
        struct pgl_page *page;

        racer->page[at] = pgl_page_get(race->table, race->index[at]);
        racer->wrong += !racer->page[at] || racer->page[at] != pgl_page_find(race->table, race->index[at]);
        page = pgl_page_next(race->table, &index, index);
        racer->wrong += page != racer->page[at];
        pgl_page_lock(race->table, racer->page[at]);
        pgl_page_unlock(race->table, racer->page[at]);
    }
    return NULL;
}

static unsigned run_round(unsigned n_threads, struct emu_random *random)
{
    struct pgl_table_config config = {.page_bits = 12, .addr_bits = 64};
    static struct racer racers[MAX_THREADS];
    struct race race = {.table = pgl_table_new(&config)};
    unsigned wrong = 0;

    pthread_barrier_init(&race.start, NULL, n_threads);
    for (unsigned i = 0; i < N_PAGES; i++) { /* in the same leaf as the one before, under the same node, or anywhere */
        race.index[i] = i % 3 == 0   ? emu_random(random) >> 12
                        : i % 3 == 1 ? race.index[i - 1] ^ emu_below(random, 512)
                                     : race.index[i - 1] ^ emu_below(random, 1 << 18);
    }
    for (unsigned i = 0; i < n_threads; i++) {
        racers[i] = (struct racer){.race = &race, .turn = i};
        pthread_create(&racers[i].thread, NULL, run, &racers[i]);
    }
    for (unsigned i = 0; i < n_threads; i++) {
        pthread_join(racers[i].thread, NULL);
        wrong += racers[i].wrong;
        for (unsigned at = 0; at < N_PAGES; at++) {
            wrong += racers[i].page[at] != racers[0].page[at];
        }
    }
    wrong += pgl_table_check(race.table, NULL, NULL); /* the figures too: no leaf was counted that lost */
    pthread_barrier_destroy(&race.start);
    pgl_table_free(race.table);
    return wrong;
}

int main(void)
{
    const char *times = getenv("PGL_STRESS"), *threads = getenv("PGL_THREADS");
    unsigned rounds = ROUNDS * (times ? (unsigned)strtoul(times, NULL, 0) : 1), all_wrong = 0;
    struct emu_random random = {emu_seed("table")};

    for (unsigned n = 2; n <= MAX_THREADS; n *= 2) {
        unsigned wrong = 0;

        if (threads && strtoul(threads, NULL, 0) != n) {
            continue;
        }
        for (unsigned i = 0; i < rounds; i++) {
            wrong += run_round(n, &random);
        }
        printf("table: threads=%u rounds=%u wrong=%u\n", n, rounds, wrong);
        all_wrong += wrong;
    }
    return all_wrong ? 1 : 0;
}
