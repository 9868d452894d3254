/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Many blocks that die in one call: all of a page, chosen ones, and all of a table. */
#include <pagelock/tb.h>

#include "micro_case.h"

enum { PAGE_BITS = 12, ADDR_BITS = 48, BLOCK_BYTES = 16, STEP = 8 };

/* A table, and blocks that are spread over variant.pages pages. Every other block is chosen. */
struct flood {
    struct pgl_table *table;
    struct pgl_tb *blocks, **chosen;
    uint64_t nblocks;
};

static void *flood_setup(const struct variant *variant)
{
    const struct pgl_table_config config = {.page_bits = PAGE_BITS, .addr_bits = ADDR_BITS, .ops = &micro_forget};
    struct flood *flood = g_new0(struct flood, 1);

    flood->table = pgl_table_new(&config);
    flood->nblocks = variant->size;
    flood->blocks = g_aligned_alloc0(flood->nblocks, sizeof(struct pgl_tb), 64);
    flood->chosen = g_new(struct pgl_tb *, flood->nblocks / 2 + 1);
    for (uint64_t i = 0; i < flood->nblocks; i++) {
        uint64_t addr = (i % variant->pages << PAGE_BITS) + i / variant->pages * STEP % 4080;
        struct pgl_tb *tb = &flood->blocks[i];
        struct pgl_bracket bracket;

        pgl_tb_init(tb);
        pgl_tb_set_bytes(tb, 0, addr, addr + BLOCK_BYTES - 1);
        pgl_bracket_begin(&bracket, flood->table, addr >> PAGE_BITS);
        pgl_bracket_commit(&bracket, tb, NULL);
        flood->chosen[i / 2] = i % 2 ? flood->chosen[i / 2] : tb;
    }
    return flood;
}

static void flood_teardown(void *state)
{
    struct flood *flood = state;

    pgl_table_free(flood->table);
    g_aligned_free(flood->blocks);
    g_free(flood->chosen);
    g_free(flood);
}

static void flush_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops_wanted)
{
    (void)variant, (void)thread, (void)ops_wanted;
    pgl_flush(((struct flood *)state)->table, NULL);
}

static void array_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops_wanted)
{
    struct flood *flood = state;

    (void)variant, (void)thread;
    pgl_invalidate_tbs(flood->table, flood->chosen, ops_wanted, NULL);
}

static bool is_chosen(const struct pgl_tb *tb, void *arg)
{
    const struct flood *flood = arg;

    return (tb - flood->blocks) % 2 == 0;
}

static void predicate_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops_wanted)
{
    struct flood *flood = state;

    (void)variant, (void)thread, (void)ops_wanted;
    pgl_invalidate_if(flood->table, 0, (UINT64_C(1) << ADDR_BITS) - 1, is_chosen, flood, NULL);
}

static void reset_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops_wanted)
{
    (void)variant, (void)thread, (void)ops_wanted;
    pgl_table_reset(((struct flood *)state)->table);
}

static const struct subject all = {"flush", &impl_pagelock, flood_setup, flood_teardown, flush_run};
static const struct subject array = {"array", &impl_pagelock, flood_setup, flood_teardown, array_run};
static const struct subject predicate = {"predicate", &impl_pagelock, flood_setup, flood_teardown, predicate_run};
static const struct subject reset = {"reset", &impl_pagelock, flood_setup, flood_teardown, reset_run};

void micro_flood_cases(GPtrArray *cases)
{
    enum { VICTIMS = 20000, MANY = 500000 };
    struct micro_case *one = micro_add(
        cases, "evict", "20,000 chosen blocks of a page that has 40,000; flush: all of 20,000", MICRO_NO_PLOT);
    struct variant variant = {.subject = &all, .threads = 1, .pages = 1, .ops = VICTIMS, .size = VICTIMS};
    unsigned base = micro_variant(one, &variant);

    variant.size = 2 * VICTIMS;
    variant.subject = &array;
    micro_pair(one, micro_variant(one, &variant), base);
    variant.subject = &predicate;
    micro_pair(one, micro_variant(one, &variant), base);

    one = micro_add(cases, "flush", "500,000 blocks on 12,500 pages flushed, or forgotten by a reset, a block",
                    MICRO_NO_PLOT);
    variant = (struct variant){.subject = &all, .threads = 1, .pages = 12500, .ops = MANY, .size = MANY};
    base = micro_variant(one, &variant);
    variant.subject = &reset;
    micro_pair(one, base, micro_variant(one, &variant));
}
