/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Stores that invalidate first: store brackets on a page, beside a lock and an unlock of it, and through plain. */
#include <pagelock/tb.h>

#include "micro_case.h"
#include "plain.h"

enum { PAGE_BITS = 12, ADDR_BITS = 48, BLOCK_BYTES = 4, BLOCK_STEP = 8, PAGE_INDEX = 5, WARM_UP = 100 };
enum { LONG_FROM = 2048, LONG_BYTES = 8192 }; /* the blocks end before */

/* A page with blocks, between which the stores go. */
struct one_page {
    const struct impl *impl;
    void *table;
    char *blocks;
    struct tally tally;
};

static uint64_t addr_of_block(uint64_t i)
{
    return ((uint64_t)PAGE_INDEX << PAGE_BITS) + i * BLOCK_STEP;
}

static void *page_setup(const struct variant *variant)
{
    struct one_page *page = g_aligned_alloc0(1, sizeof(*page), _Alignof(struct one_page));

    page->impl = variant->subject->impl;
    page->table = page->impl->table_new(PAGE_BITS, ADDR_BITS);
    page->blocks = g_aligned_alloc0(variant->size + 1, page->impl->block_size, 64);
    for (uint64_t i = 0; i <= variant->size; i++) {
        const struct trace_block of = {
            .addr = addr_of_block(i), .addr1 = TRACE_NO_ADDR, .size = BLOCK_BYTES, .equal = TRACE_NO_BLOCK};

        impl_link_new(page->impl, page->table, page->blocks + i * page->impl->block_size, &of, &page->tally);
    }
    /* The last block is one too many, so that the page of none exists. */
    page->impl->range(page->table, addr_of_block(variant->size), addr_of_block(variant->size), &page->tally);
    for (unsigned i = 0; i < WARM_UP; i++) {
        page->impl->store(page->table, addr_of_block(0) + BLOCK_BYTES, BLOCK_BYTES, &page->tally);
    }
    return page;
}

static void page_teardown(void *state)
{
    struct one_page *page = state;

    page->impl->table_free(page->table);
    g_aligned_free(page->blocks);
    g_aligned_free(page);
}

static void begin_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    struct pgl_table *table = ((struct one_page *)state)->table;
    struct pgl_store store;

    (void)variant;
    (void)thread;
    for (uint64_t i = 0; i < ops; i++) {
        pgl_store_begin(&store, table, addr_of_block(0) + BLOCK_BYTES, BLOCK_BYTES, NULL);
        pgl_store_end(&store);
    }
}

/* A store to two places of the page, as an instruction makes that exchanges two operands in memory. */
static void begin_pair_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    struct pgl_table *table = ((struct one_page *)state)->table;
    struct pgl_store store;

    (void)variant;
    (void)thread;
    for (uint64_t i = 0; i < ops; i++) {
        pgl_store_begin_pair(&store, table, addr_of_block(0) + BLOCK_BYTES, BLOCK_BYTES, addr_of_block(2) + BLOCK_BYTES,
                             BLOCK_BYTES, NULL);
        pgl_store_end(&store);
    }
}

/* A device that stores from the middle of a page over the next one to the middle of a third. */
static void long_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    struct pgl_table *table = ((struct one_page *)state)->table;

    (void)variant;
    (void)thread;
    for (uint64_t i = 0; i < ops; i++) {
        pgl_store_check(table, addr_of_block(0) + LONG_FROM, LONG_BYTES, NULL);
    }
}

static void long_plain_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    struct one_page *page = state;

    (void)variant;
    (void)thread;
    for (uint64_t i = 0; i < ops; i++) {
        page->impl->store(page->table, addr_of_block(0) + LONG_FROM, LONG_BYTES, &page->tally);
    }
}

/* Few bytes between two blocks, as a range. */
static void range_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    struct one_page *page = state;
    uint64_t addr = addr_of_block(0) + BLOCK_BYTES;

    (void)variant;
    (void)thread;
    for (uint64_t i = 0; i < ops; i++) {
        page->impl->range(page->table, addr, addr + BLOCK_BYTES - 1, &page->tally);
    }
}

static unsigned char guest[64] __attribute__((aligned(64)));

/* A store with its check in one call, and the two by hand. */
static void value_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    struct pgl_table *table = ((struct one_page *)state)->table;

    (void)variant;
    (void)thread;
    for (uint64_t i = 0; i < ops; i++) {
        pgl_store_u32(table, &guest[4 * (i % 16)], addr_of_block(0) + BLOCK_BYTES, (uint32_t)i, NULL);
    }
}

static void by_hand_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    struct pgl_table *table = ((struct one_page *)state)->table;

    (void)variant;
    (void)thread;
    for (uint64_t i = 0; i < ops; i++) {
        __atomic_store_n((uint32_t *)(void *)&guest[4 * (i % 16)], (uint32_t)i, __ATOMIC_RELAXED);
        pgl_store_check(table, addr_of_block(0) + BLOCK_BYTES, BLOCK_BYTES, NULL);
    }
}

static void lock_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    struct pgl_table *table = ((struct one_page *)state)->table;

    (void)variant;
    (void)thread;
    for (uint64_t i = 0; i < ops; i++) {
        struct pgl_page *page = pgl_page_get(table, PAGE_INDEX);

        pgl_page_lock(table, page);
        pgl_page_unlock(table, page);
    }
}

static void plain_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    struct one_page *page = state;

    (void)variant;
    (void)thread;
    for (uint64_t i = 0; i < ops; i++) {
        page->impl->store(page->table, addr_of_block(0) + BLOCK_BYTES, BLOCK_BYTES, &page->tally);
    }
}

static const struct subject begin = {"pagelock", &impl_pagelock, page_setup, page_teardown, begin_run};
static const struct subject begin_pair = {"pair", &impl_pagelock, page_setup, page_teardown, begin_pair_run};
static const struct subject lock = {"lock", &impl_pagelock, page_setup, page_teardown, lock_run};
static const struct subject plain = {"plain", &impl_plain, page_setup, page_teardown, plain_run};
static const struct subject over_pages = {"pagelock", &impl_pagelock, page_setup, page_teardown, long_run};
static const struct subject over_pages_plain = {"plain", &impl_plain, page_setup, page_teardown, long_plain_run};
static const struct subject range = {"pagelock", &impl_pagelock, page_setup, page_teardown, range_run};
static const struct subject range_plain = {"plain", &impl_plain, page_setup, page_teardown, range_run};
static const struct subject value = {"pgl_store_u32", &impl_pagelock, page_setup, page_teardown, value_run};
static const struct subject by_hand = {"by hand", &impl_pagelock, page_setup, page_teardown, by_hand_run};

static void begin_case(GPtrArray *cases, const char *name, const char *what, unsigned nblocks)
{
    struct micro_case *one = micro_add(cases, name, what, MICRO_NO_PLOT);
    struct variant variant = {.subject = &begin, .threads = 1, .pages = 1, .ops = 100000, .size = nblocks};
    unsigned ours = micro_variant(one, &variant), yardstick;

    variant.subject = &lock;
    yardstick = micro_variant(one, &variant);
    variant.subject = &plain;
    variant.ops /= nblocks ? 100 : 10;
    micro_pair(one, micro_variant(one, &variant), ours);
    micro_pair(one, ours, yardstick);
}

void micro_store_cases(GPtrArray *cases)
{
    begin_case(cases, "store-begin-empty", "a store bracket on a page without blocks; lock: its page alone", 0);
    begin_case(cases, "store-begin-256", "a store bracket between two of 256 blocks; lock: its page alone", 256);
    micro_versus(micro_add(cases, "store-begin-pair",
                           "a store bracket over two places between 256 blocks, and over one", MICRO_NO_PLOT),
                 &begin_pair, &begin, &(struct variant){.threads = 1, .pages = 1, .ops = 100000, .size = 256});
    micro_versus(micro_add(cases, "store-long", "a store of 8 KiB behind 200 blocks of its first page", MICRO_NO_PLOT),
                 &over_pages_plain, &over_pages,
                 &(struct variant){.threads = 1, .pages = 1, .ops = 10000, .size = 200});
    micro_versus(micro_add(cases, "range-near", "a range between two of 256 blocks invalidated", MICRO_NO_PLOT),
                 &range_plain, &range, &(struct variant){.threads = 1, .pages = 1, .ops = 5000, .size = 256});
    micro_versus(micro_add(cases, "store-value", "a store and its check in one call, or by hand", MICRO_NO_PLOT),
                 &value, &by_hand, &(struct variant){.threads = 1, .pages = 1, .ops = 1000000, .size = 256});
}
