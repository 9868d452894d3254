/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For how long a flood of deaths holds pages: 500,000 blocks, in many leaves, in one leaf, or on one page. The result
 * of a run is the longest time between two calls of `retired`, or between one and the call's beginning or end. A hold
 * is shorter than this. The time is that of the thread, so that other threads' time slices are not in it.
 */
#include <pagelock/tb.h>

#include "clock.h"
#include "micro_case.h"

enum { PAGE_BITS = 12, ADDR_BITS = 48, BLOCK_BYTES = 16, MANY = 500000, LEAF_PAGES = 512 };

struct held {
    const struct impl *impl;
    void *table;
    char *blocks;
    struct tally tally;
    uint64_t since, longest;
};

static void note_portion(struct held *at)
{
    uint64_t now = clock_read_ns(CLOCK_THREAD_CPUTIME_ID);

    at->longest = MAX(at->longest, now - at->since);
    at->since = now;
}

static void retired(struct pgl_tb *chain, void *opaque)
{
    (void)chain;
    note_portion(opaque);
}

static const struct pgl_tb_ops ops = {.retired = retired};

/* The blocks stand in memory in another order than on their pages, as after hours of translating. */
static uint64_t shuffled(uint64_t i)
{
    return i * UINT64_C(314159) % MANY;
}

static void *hold_setup(const struct variant *variant)
{
    struct held *at = g_aligned_alloc0(1, sizeof(*at), _Alignof(struct held));
    const struct pgl_table_config config = {.page_bits = PAGE_BITS, .addr_bits = ADDR_BITS, .ops = &ops, .opaque = at};

    at->impl = variant->subject->impl;
    at->table = at->impl == &impl_pagelock ? pgl_table_new(&config) : at->impl->table_new(PAGE_BITS, ADDR_BITS);
    at->blocks = g_aligned_alloc0(MANY, at->impl->block_size, 64);
    for (uint64_t i = 0; i < MANY; i++) {
        const struct trace_block of = {.addr = (i % variant->pages << PAGE_BITS) + i / variant->pages % 4080,
                                       .addr1 = TRACE_NO_ADDR,
                                       .size = BLOCK_BYTES,
                                       .equal = TRACE_NO_BLOCK};

        impl_link_new(at->impl, at->table, at->blocks + shuffled(i) * at->impl->block_size, &of, &at->tally);
    }
    return at;
}

static void hold_teardown(void *state)
{
    struct held *at = state;

    at->impl->table_free(at->table);
    g_aligned_free(at->blocks);
    g_aligned_free(at);
}

static void hold_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops_wanted)
{
    struct held *at = state;

    (void)thread;
    (void)ops_wanted;
    at->since = clock_read_ns(CLOCK_THREAD_CPUTIME_ID);
    at->impl->range(at->table, 0, (variant->pages << PAGE_BITS) - 1, &at->tally);
    note_portion(at);
}

static double hold_result(const void *state)
{
    return (double)((const struct held *)state)->longest;
}

static const struct subject pagelock = {"pagelock", &impl_pagelock, hold_setup, hold_teardown, hold_run};
static const struct subject plain = {"plain", &impl_plain, hold_setup, hold_teardown, hold_run};

void micro_hold_cases(GPtrArray *cases)
{
    static const uint64_t pages[] = {12500, LEAF_PAGES, 1};
    struct micro_case *one =
        micro_add(cases, "flush-hold", "the longest hold while 500,000 blocks die, spread over n pages", MICRO_NO_PLOT);

    one->result = hold_result;
    for (unsigned i = 0; i < G_N_ELEMENTS(pages); i++) {
        micro_versus(one, &plain, &pagelock, &(struct variant){.threads = 1, .pages = pages[i], .ops = MANY});
    }
}
