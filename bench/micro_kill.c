/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Code that dies and is translated again: a store kills a block, and the block is linked once more. Therefore pages
 * keep their number of blocks, and those that are hit stay busy.
 */
#include <pagelock/tb.h>

#include "micro_case.h"
#include "plain.h"

enum {
    PAGE_BITS = 12,
    PAGE_SIZE = 1 << PAGE_BITS,
    ADDR_BITS = 48,
    WARM_UP_ROUNDS = 4,
    CROSSING_BYTES = 8,
    LINK_BYTES = 16
};

/* The kinds of blocks that die. */
enum victim { ON_ONE_PAGE, CROSSING };

/* A block that is going to die, and the store that kills it. */
struct planned {
    struct trace_block of;
    void *block;
    uint64_t addr;
};

/* Pages that are full of blocks of one size, side by side, and blocks that are not linked yet. */
struct pages_of_code {
    const struct impl *impl;
    void *table;
    char *blocks;
    uint64_t nblocks;
    uint64_t random;
    struct planned *plan; /* worked out before the clock starts */
    struct tally tally;
};

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static uint64_t block_bytes(const struct variant *variant)
{
    return PAGE_SIZE / variant->size;
}

static bool is_crossing(const struct variant *variant, uint64_t i)
{
    return variant->kind == CROSSING && i % variant->size == variant->size - 1;
}

/* Block @i: of its page, one of @size. The last one of a page may cross to the next page. */
static struct trace_block describe(const struct variant *variant, uint64_t i)
{
    uint64_t bytes = block_bytes(variant), page = i / variant->size << PAGE_BITS;
    struct trace_block of = {.addr = page + i % variant->size * bytes,
                             .addr1 = TRACE_NO_ADDR,
                             .size = (uint32_t)bytes,
                             .equal = TRACE_NO_BLOCK};

    if (is_crossing(variant, i)) {
        of.addr = page + PAGE_SIZE - CROSSING_BYTES;
        of.addr1 = page + PAGE_SIZE;
        of.size = 2 * CROSSING_BYTES;
    }
    return of;
}

/* Plan to kill a block by a store to its last byte on its first page. */
static void plan_kill(struct pages_of_code *code, const struct variant *variant, struct planned *kill)
{
    uint64_t i = next_random(&code->random) % code->nblocks;

    if (variant->kind == CROSSING) {
        i -= i % variant->size;
        i += variant->size - 1;
    }
    kill->of = describe(variant, i);
    kill->block = code->blocks + i * code->impl->block_size;
    kill->addr = kill->of.addr1 == TRACE_NO_ADDR ? kill->of.addr + kill->of.size - 1 : kill->of.addr1 - 1;
}

/* Kill a block, and link it again. */
static void kill_and_link(struct pages_of_code *code, const struct planned *kill)
{
    code->impl->store(code->table, kill->addr, 1, &code->tally);
    impl_link_new(code->impl, code->table, kill->block, &kill->of, &code->tally);
}

static void *code_setup(const struct variant *variant)
{
    struct pages_of_code *code = g_aligned_alloc0(1, sizeof(*code), _Alignof(struct pages_of_code));

    code->impl = variant->subject->impl;
    code->table = code->impl->table_new(PAGE_BITS, ADDR_BITS);
    code->nblocks = variant->pages * variant->size;
    code->random = 88172645463325252u;
    code->blocks = g_aligned_alloc0(code->nblocks + variant->ops, code->impl->block_size, 64);
    for (uint64_t i = 0; i < code->nblocks; i++) {
        const struct trace_block of = describe(variant, i);

        impl_link_new(code->impl, code->table, code->blocks + i * code->impl->block_size, &of, &code->tally);
    }
    for (uint64_t i = 0; i < WARM_UP_ROUNDS * variant->pages; i++) {
        struct planned kill;

        plan_kill(code, variant, &kill);
        kill_and_link(code, &kill);
    }
    return code;
}

static void *kill_setup(const struct variant *variant)
{
    struct pages_of_code *code = code_setup(variant);

    code->plan = g_new(struct planned, variant->ops);
    for (uint64_t i = 0; i < variant->ops; i++) {
        plan_kill(code, variant, &code->plan[i]);
    }
    return code;
}

static void kill_teardown(void *state)
{
    struct pages_of_code *code = state;

    code->impl->table_free(code->table);
    g_aligned_free(code->blocks);
    g_free(code->plan);
    g_aligned_free(code);
}

static void kill_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    struct pages_of_code *code = state;

    (void)variant;
    (void)thread;
    for (uint64_t i = 0; i < ops; i++) {
        kill_and_link(code, &code->plan[i]);
    }
}

/* More blocks on pages that have been hit. */
static void link_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    struct pages_of_code *code = state;

    (void)thread;
    for (uint64_t i = 0; i < ops; i++) {
        const struct trace_block of = {.addr = (i % variant->pages << PAGE_BITS) +
                                               i / variant->pages % (PAGE_SIZE - LINK_BYTES),
                                       .addr1 = TRACE_NO_ADDR,
                                       .size = LINK_BYTES,
                                       .equal = TRACE_NO_BLOCK};

        impl_link_new(code->impl, code->table, code->blocks + (code->nblocks + i) * code->impl->block_size, &of,
                      &code->tally);
    }
}

/* ---- what an emulator does without a lock ---- */

static void cache_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    struct pages_of_code *code = state;
    static struct pgl_tb *slots[64];

    (void)variant;
    (void)thread;
    for (uint64_t i = 0; i < ops; i++) {
        uint64_t number = i % code->nblocks;

        pgl_cache_tb(&slots[i % G_N_ELEMENTS(slots)],
                     (struct pgl_tb *)(void *)(code->blocks + number * code->impl->block_size));
    }
}

/* A store where the mask answers, with a check after it, or with one before it as well. */
static inline void store_run(struct pages_of_code *code, uint64_t ops, bool announced)
{
    static unsigned char guest[PAGE_SIZE];

    for (uint64_t i = 0; i < ops; i++) {
        uint64_t addr = (code->nblocks << PAGE_BITS) + i % PAGE_SIZE;

        if (announced) {
            pgl_store_check(code->table, addr, 1, NULL);
        }
        __atomic_store_n(&guest[i % PAGE_SIZE], (unsigned char)i, __ATOMIC_RELAXED);
        pgl_store_check(code->table, addr, 1, NULL);
    }
}

static void announced_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    (void)variant;
    (void)thread;
    store_run(state, ops, true);
}

static void checked_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    (void)variant;
    (void)thread;
    store_run(state, ops, false);
}

static const struct subject kill_pagelock = {"pagelock", &impl_pagelock, kill_setup, kill_teardown, kill_run};
static const struct subject kill_plain = {"plain", &impl_plain, kill_setup, kill_teardown, kill_run};
static const struct subject link_pagelock = {"pagelock", &impl_pagelock, code_setup, kill_teardown, link_run};
static const struct subject link_plain = {"plain", &impl_plain, code_setup, kill_teardown, link_run};
static const struct subject cache = {"pagelock", &impl_pagelock, code_setup, kill_teardown, cache_run};
static const struct subject announced = {"pagelock", &impl_pagelock, code_setup, kill_teardown, announced_run};
static const struct subject checked = {"one check", &impl_pagelock, code_setup, kill_teardown, checked_run};

static void kill_case(GPtrArray *cases, const char *name, const char *what, const struct variant *variant)
{
    micro_versus(micro_add(cases, name, what, MICRO_NO_PLOT), &kill_plain, &kill_pagelock, variant);
}

void micro_kill_cases(GPtrArray *cases)
{
    const struct variant one = {.threads = 1, .pages = 1, .ops = 1000000, .size = 40};
    struct micro_case *stores;

    kill_case(cases, "store-hit-16", "a store kills one of 16 blocks of a page, which is linked again",
              &(struct variant){.threads = 1, .pages = 1, .ops = 20000, .size = 16});
    kill_case(cases, "store-hit-40", "the same of 40 blocks",
              &(struct variant){.threads = 1, .pages = 1, .ops = 20000, .size = 40});
    kill_case(cases, "store-hit-256", "the same of 256 blocks",
              &(struct variant){.threads = 1, .pages = 1, .ops = 10000, .size = 256});
    kill_case(cases, "store-hit-1024", "the same of 1,024 blocks",
              &(struct variant){.threads = 1, .pages = 1, .ops = 2000, .size = 1024});
    kill_case(cases, "store-hit-4096", "the same of 4,096 blocks",
              &(struct variant){.threads = 1, .pages = 1, .ops = 500, .size = 4096});
    kill_case(cases, "store-hit-cold", "the same of 40 blocks on each of 2,000 pages",
              &(struct variant){.threads = 1, .pages = 2000, .ops = 8000, .size = 40});
    kill_case(cases, "store-hit-crossing", "a store kills the block of 40 that crosses to the next page",
              &(struct variant){.threads = 1, .pages = 64, .ops = 8000, .size = 40, .kind = CROSSING});
    micro_versus(micro_add(cases, "busy-link", "link a block into a page that has been hit", MICRO_NO_PLOT),
                 &link_plain, &link_pagelock, &(struct variant){.threads = 1, .pages = 64, .ops = 16384, .size = 40});
    micro_variant(micro_add(cases, "cache", "cache a block without a lock: pgl_cache_tb()", MICRO_NO_PLOT),
                  &(struct variant){&cache, one.threads, one.pages, one.ops, one.size, one.kind});
    stores = micro_add(cases, "announce", "a store that hits nothing, with a check before it and one after it",
                       MICRO_NO_PLOT);
    micro_versus(stores, &announced, &checked, &one);
}
