/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memory that follows content: stores between the blocks of pages of any size, and leaves that come and go. */
#include <pagelock/tb.h>

#include "micro_case.h"

enum { PAGE_BITS = 12, ADDR_BITS = 48, BLOCK_BYTES = 16, BLOCK_STEP = 64, WARM_UP = 100, LEAF_BITS = 9 };

/* ---- a near miss, by the size of the page ---- */

/* A page full of blocks, one in every 64 bytes. variant.kind is log2 of the bytes of the page. */
struct full_page {
    const struct impl *impl;
    void *table;
    char *blocks;
    struct tally tally;
};

/* A place between two blocks, not near the one before. */
static uint64_t addr_between(const struct variant *variant, uint64_t i)
{
    uint64_t blocks = (UINT64_C(1) << variant->kind) / BLOCK_STEP;

    return i * 37 % blocks * BLOCK_STEP + BLOCK_BYTES + 8;
}

static void *near_setup(const struct variant *variant)
{
    struct full_page *page = g_aligned_alloc0(1, sizeof(*page), _Alignof(struct full_page));
    uint64_t nblocks = (UINT64_C(1) << variant->kind) / BLOCK_STEP;

    page->impl = variant->subject->impl;
    page->table = page->impl->table_new(variant->kind, ADDR_BITS);
    page->blocks = g_aligned_alloc0(nblocks, page->impl->block_size, 64);
    for (uint64_t i = 0; i < nblocks; i++) {
        const struct trace_block of = {
            .addr = i * BLOCK_STEP, .addr1 = TRACE_NO_ADDR, .size = BLOCK_BYTES, .equal = TRACE_NO_BLOCK};

        impl_link_new(page->impl, page->table, page->blocks + i * page->impl->block_size, &of, &page->tally);
    }
    for (uint64_t i = 0; i < WARM_UP; i++) {
        page->impl->store(page->table, addr_between(variant, i), 4, &page->tally);
    }
    return page;
}

static void near_teardown(void *state)
{
    struct full_page *page = state;

    page->impl->table_free(page->table);
    g_aligned_free(page->blocks);
    g_aligned_free(page);
}

static void near_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    struct full_page *page = state;

    (void)thread;
    for (uint64_t i = 0; i < ops; i++) {
        pgl_store_check(page->table, addr_between(variant, i), 4, NULL);
    }
}

static void near_plain_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    struct full_page *page = state;

    (void)thread;
    for (uint64_t i = 0; i < ops; i++) {
        page->impl->store(page->table, addr_between(variant, i), 4, &page->tally);
    }
}

static void near_cases(GPtrArray *cases)
{
    static const struct {
        struct subject ours, plain;
        unsigned page_bits;
        uint64_t plain_ops;
    } sizes[] = {
        {{"4 KiB", &impl_pagelock, near_setup, near_teardown, near_run},
         {"plain, 4 KiB", &impl_plain, near_setup, near_teardown, near_plain_run},
         12,
         10000},
        {{"64 KiB", &impl_pagelock, near_setup, near_teardown, near_run},
         {"plain, 64 KiB", &impl_plain, near_setup, near_teardown, near_plain_run},
         16,
         1000},
        {{"2 MiB", &impl_pagelock, near_setup, near_teardown, near_run},
         {"plain, 2 MiB", &impl_plain, near_setup, near_teardown, near_plain_run},
         21,
         50},
    };
    struct micro_case *one =
        micro_add(cases, "near-miss", "a store between two blocks of a full page, by its size", MICRO_NO_PLOT);
    unsigned base = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
        struct variant variant = {
            .subject = &sizes[i].ours, .threads = 1, .pages = 1, .ops = 100000, .kind = sizes[i].page_bits};
        unsigned ours = micro_variant(one, &variant);

        variant.subject = &sizes[i].plain;
        variant.ops = sizes[i].plain_ops;
        micro_pair(one, micro_variant(one, &variant), ours);
        if (i == 0) {
            base = ours;
        } else {
            micro_pair(one, ours, base);
        }
    }
}

/* ---- a guest that maps and unmaps ---- */

/* One block, which is linked in one leaf after the other. */
struct mover {
    struct pgl_table *table;
    struct pgl_tb tb;
};

static void *growth_setup(const struct variant *variant)
{
    const struct pgl_table_config config = {.page_bits = PAGE_BITS, .addr_bits = ADDR_BITS, .ops = &micro_forget};
    struct mover *mover = g_aligned_alloc0(1, sizeof(*mover), 16);

    (void)variant;
    mover->table = pgl_table_new(&config);
    return mover;
}

static void growth_teardown(void *state)
{
    struct mover *mover = state;

    pgl_table_free(mover->table);
    g_aligned_free(mover);
}

/* Link the block in @ops leaves, and kill it in each. Trim after every 64 of them, or never. */
static inline void move(struct mover *mover, uint64_t ops_wanted, bool trims)
{
    for (uint64_t i = 0; i < ops_wanted; i++) {
        uint64_t addr = i << (PAGE_BITS + LEAF_BITS);
        struct pgl_bracket bracket;

        pgl_tb_init(&mover->tb);
        pgl_tb_set_bytes(&mover->tb, 0, addr, addr + BLOCK_BYTES - 1);
        pgl_bracket_begin(&bracket, mover->table, addr >> PAGE_BITS);
        pgl_bracket_commit(&bracket, &mover->tb, NULL);
        pgl_invalidate_page(mover->table, addr >> PAGE_BITS, NULL);
        if (trims && i % 64 == 63) {
            pgl_table_trim(mover->table);
        }
    }
}

static void kept_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops_wanted)
{
    (void)variant;
    (void)thread;
    move(state, ops_wanted, false);
}

static void trimmed_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops_wanted)
{
    (void)variant;
    (void)thread;
    move(state, ops_wanted, true);
}

static const struct subject kept = {"kept", &impl_pagelock, growth_setup, growth_teardown, kept_run};
static const struct subject trimmed = {"trimmed", &impl_pagelock, growth_setup, growth_teardown, trimmed_run};

void micro_memory_cases(GPtrArray *cases)
{
    near_cases(cases);
    micro_versus(micro_add(cases, "growth",
                           "a leaf that comes to exist for one block; trimmed: every 64 leaves are freed",
                           MICRO_NO_PLOT),
                 &trimmed, &kept, &(struct variant){.threads = 1, .pages = 4096, .ops = 4096});
}
