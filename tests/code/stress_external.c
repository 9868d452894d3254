/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Many threads on a table whose every call is made under one mutex of theirs. The library writes nothing outside the
 * calls: valgrind's helgrind, which knows mutexes but no atomics, can tell.
 *
 * PGL_SEED repeats a run's choices (not its schedule), PGL_STRESS multiplies its length.
 */
#include <stdio.h>
#include <stdlib.h>

#include "emu.h"

enum {
    N_THREADS = 4,
    N_PAGES = 6,
    N_BLOCKS = 64,
    ROUNDS = 4000,
};

struct block {
    struct pgl_tb tb; /* first */
    bool live;
    unsigned deaths;
};

/* All under the lock, which the threads hold when they call. */
static struct {
    pthread_mutex_t lock;
    struct pgl_table *table;
    struct block blocks[N_BLOCKS];
    unsigned links, deaths, wrong;
    bool trapped[N_PAGES];
} run = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Neighbours, and one each on three more leaves. */
static const uint64_t page_index[N_PAGES] = {5, 6, 7, 600, 5000, 0xfffffffff};

static void set_trapped(uint64_t index, bool trapped)
{
    for (unsigned i = 0; i < N_PAGES; i++) {
        if (page_index[i] == index) {
            run.trapped[i] = trapped;
        }
    }
}

static void first_code(uint64_t index, void *opaque)
{
    (void)opaque;
    set_trapped(index, true);
}

static void no_code(uint64_t index, void *opaque)
{
    (void)opaque;
    set_trapped(index, false);
}

static void retired(struct pgl_tb *chain, void *opaque)
{
    (void)opaque;
    for (struct pgl_tb *tb = chain; tb; tb = pgl_tb_chain_next(tb)) {
        struct block *block = (struct block *)tb;

        run.wrong += !block->live;
        block->live = false;
        block->deaths++;
        run.deaths++;
    }
}

static const struct pgl_tb_ops ops = {.first_code = first_code, .no_code = no_code, .retired = retired};

static uint64_t any_addr(struct emu_random *random)
{
    return page_index[emu_below(random, N_PAGES)] << 12 | emu_below(random, 64) << 6;
}

static void link_block(struct block *block, struct emu_random *random)
{
    uint64_t addr = any_addr(random), addr2 = any_addr(random);
    enum pgl_bracket_result result;
    struct pgl_bracket bracket;

    pgl_tb_init(&block->tb);
    pgl_tb_set_bytes(&block->tb, 0, addr, addr + 63);
    pgl_tb_set_bytes(&block->tb, 1, addr2, addr2 + 63);
    if (!pgl_bracket_begin(&bracket, run.table, addr >> 12)) {
        run.wrong++;
        return;
    }
    do {
        result = pgl_bracket_cross(&bracket, addr2 >> 12);
        if (result == PGL_BRACKET_OK) {
            result = pgl_bracket_commit(&bracket, &block->tb, NULL);
        }
    } while (result == PGL_BRACKET_RESTART);
    run.wrong += result != PGL_BRACKET_OK;
    block->live = true;
    run.links++;
}

static void step(struct emu_random *random)
{
    struct block *block = &run.blocks[emu_below(random, N_BLOCKS)];
    struct pgl_collection collection;
    uint64_t addr = any_addr(random);

    switch (emu_below(random, 8)) {
    case 0:
        if (block->live) {
            run.wrong += pgl_invalidate_tb(run.table, &block->tb, NULL) != PGL_HIT || block->live;
        }
        break;
    case 1:
        run.wrong += pgl_invalidate_range(run.table, addr, addr | 0xfff, NULL) < 0;
        break;
    case 2:
    case 3:
        run.wrong += pgl_store_check(run.table, addr, 8, &block->tb) < 0;
        break;
    case 4:
        if (pgl_collection_lock(&collection, run.table, 0, addr)) {
            pgl_collection_unlock(&collection);
        } else {
            run.wrong++;
        }
        break;
    default:
        if (!block->live) {
            link_block(block, random);
        }
    }
}

static void *work(void *opaque)
{
    struct emu_random *random = opaque;
    const char *times = getenv("PGL_STRESS");
    unsigned long rounds = ROUNDS * (times ? strtoul(times, NULL, 0) : 1);

    while (rounds--) {
        pthread_mutex_lock(&run.lock);
        step(random);
        pthread_mutex_unlock(&run.lock);
    }
    return NULL;
}

int main(void)
{
    const struct pgl_table_config config = {.page_bits = 12, .addr_bits = 48, .external_locking = true, .ops = &ops};
    struct emu_random random[N_THREADS];
    uint64_t seed = emu_seed("external");
    pthread_t threads[N_THREADS];
    unsigned live = 0;

    run.table = pgl_table_new(&config);
    for (unsigned i = 0; i < N_THREADS; i++) {
        random[i].state = seed + i;
        pthread_create(&threads[i], NULL, work, &random[i]);
    }
    for (unsigned i = 0; i < N_THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    for (unsigned i = 0; i < N_BLOCKS; i++) {
        live += run.blocks[i].live;
    }
    run.wrong += pgl_table_check(run.table, NULL, NULL) + (run.links != run.deaths + live);
    printf("external: links=%u deaths=%u live=%u", run.links, run.deaths, live);
    pgl_flush(run.table, NULL);
    for (unsigned i = 0; i < N_PAGES; i++) {
        run.wrong += run.trapped[i];
    }
    printf(" wrong=%u\n", run.wrong);
    pgl_table_free(run.table);
    return run.wrong ? 1 : 0;
}
