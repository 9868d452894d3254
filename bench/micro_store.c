/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Stores that invalidate first: store brackets on a page, beside a lock and an unlock of it, and through plain. */
#include <pagelock/tb.h>

#include "micro_case.h"
#include "plain.h"

enum { PAGE_BITS = 12, ADDR_BITS = 48, BLOCK_BYTES = 4, BLOCK_STEP = 8, PAGE_INDEX = 5, WARM_UP = 100 };

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
        void *block = page->blocks + i * page->impl->block_size;

        page->impl->block_init(page->table, block, &of);
        page->impl->link(page->table, block, NULL, &page->tally);
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
static const struct subject lock = {"lock", &impl_pagelock, page_setup, page_teardown, lock_run};
static const struct subject plain = {"plain", &impl_plain, page_setup, page_teardown, plain_run};

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
}
