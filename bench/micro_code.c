/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Code pages: linking, storing, killing, ranges, collections; through the library and through plain. */
#include <pagelock/tb.h>

#include "micro_case.h"
#include "plain.h"

enum { PAGE_BITS = 12, PAGE_SIZE = 1 << PAGE_BITS, ADDR_BITS = 48, BLOCK_BYTES = 16, BLOCK_STEP = 64 };

/* The blocks that a collection meets: two of each page cross to another page, or none; or those of one page cross, each
 * to a leaf of its own. */
enum crossing { NONE, TO_NEXT, ANYWHERE, FAN_OUT };

/* A table, and the blocks that are or will be linked in it. */
struct world {
    const struct impl *impl;
    void *table;
    char *blocks;
    uint64_t nblocks;
    uint64_t room;
    uint64_t *addrs; /* of stores, MISSES a thread; or NULL */
    struct tally tally;
};

static struct world *world_new(const struct impl *impl, uint64_t room)
{
    struct world *world = g_aligned_alloc0(1, sizeof(*world), _Alignof(struct world));

    world->impl = impl;
    world->table = impl->table_new(PAGE_BITS, ADDR_BITS);
    world->room = room;
    world->blocks = g_aligned_alloc0(room, impl->block_size, 64);
    return world;
}

static void world_free(void *state)
{
    struct world *world = state;

    world->impl->table_free(world->table);
    g_aligned_free(world->blocks);
    g_free(world->addrs);
    g_aligned_free(world);
}

/* Makes one more block, and returns it unlinked. */
static void *world_block(struct world *world, uint64_t addr, uint32_t size, uint64_t addr1)
{
    const struct trace_block of = {.addr = addr, .addr1 = addr1, .size = size, .equal = TRACE_NO_BLOCK};
    void *block = world->blocks + world->nblocks++ * world->impl->block_size;

    g_assert(world->nblocks <= world->room);
    world->impl->block_init(world->table, block, &of);
    return block;
}

static void world_link(struct world *world, uint64_t addr, uint32_t size, uint64_t addr1)
{
    world->impl->link(world->table, world_block(world, addr, size, addr1), NULL, &world->tally);
}

/* Makes a page exist, without code on it. */
static void world_touch(struct world *world, uint64_t index)
{
    uint64_t addr = index << PAGE_BITS;

    world_link(world, addr, 1, TRACE_NO_ADDR);
    world->impl->range(world->table, addr, addr, &world->tally);
}

/* @n short blocks on one page, at steps of 64 bytes: between them a store hits nothing. */
static void world_fill(struct world *world, uint64_t index, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        world_link(world, (index << PAGE_BITS) + i * BLOCK_STEP, BLOCK_BYTES, TRACE_NO_ADDR);
    }
}

/* ---- linking ---- */

static void *link_setup(const struct variant *variant)
{
    struct world *world = world_new(variant->subject->impl, variant->pages + variant->ops);

    for (uint64_t i = 0; i < variant->pages; i++) {
        world_touch(world, i);
    }
    for (uint64_t i = 0; i < variant->ops; i++) {
        world_block(world, (i % variant->pages << PAGE_BITS) + i / variant->pages, BLOCK_BYTES, TRACE_NO_ADDR);
    }
    return world;
}

static void link_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    struct world *world = state;
    char *block = world->blocks + variant->pages * world->impl->block_size;

    (void)thread;
    for (uint64_t i = 0; i < ops; i++, block += world->impl->block_size) {
        world->impl->link(world->table, block, NULL, &world->tally);
    }
}

/* ---- stores ---- */

enum { BLOCKS_A_PAGE = 40, PAGES_A_THREAD = 16, WARM_UP = 1000, MISSES = 1024 };

/*
 * The place of a store that hits nothing: far from every block, so that the page's mask answers; or between two, so
 * that only an exact map can.
 */
enum miss { FAR_MISS, NEAR_MISS };

static uint64_t miss_addr(const struct variant *variant, unsigned thread, uint64_t i)
{
    uint64_t page = thread * PAGES_A_THREAD + i % PAGES_A_THREAD;
    uint64_t block = i / PAGES_A_THREAD % BLOCKS_A_PAGE;

    return (page << PAGE_BITS) + (variant->kind == FAR_MISS ? PAGE_SIZE - 256 + block : block * BLOCK_STEP + 32);
}

static void *miss_setup(const struct variant *variant)
{
    uint64_t npages = (uint64_t)variant->threads * PAGES_A_THREAD;
    struct world *world = world_new(variant->subject->impl, npages * BLOCKS_A_PAGE);

    for (uint64_t i = 0; i < npages; i++) {
        world_fill(world, i, BLOCKS_A_PAGE);
    }
    world->addrs = g_new(uint64_t, (size_t)variant->threads * MISSES);
    for (unsigned thread = 0; thread < variant->threads; thread++) {
        for (uint64_t i = 0; i < (uint64_t)WARM_UP * PAGES_A_THREAD; i++) {
            world->impl->store(world->table, miss_addr(variant, thread, i), 4, &world->tally);
        }
        for (uint64_t i = 0; i < MISSES; i++) {
            world->addrs[thread * MISSES + i] = miss_addr(variant, thread, i);
        }
    }
    return world;
}

static void pagelock_miss_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    struct pgl_table *table = ((struct world *)state)->table;
    const uint64_t *addrs = ((struct world *)state)->addrs + thread * MISSES;

    (void)variant;
    for (uint64_t i = 0; i < ops; i++) {
        pgl_store_check(table, addrs[i % MISSES], 4, NULL);
    }
}

static void plain_miss_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    struct world *world = state;
    const uint64_t *addrs = world->addrs + thread * MISSES;
    struct tally tally = {0};

    (void)variant;
    for (uint64_t i = 0; i < ops; i++) {
        world->impl->store(world->table, addrs[i % MISSES], 4, &tally);
    }
}

/* The yardstick: what it costs to get the address, and the fence. */
static void fence_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    const uint64_t *addrs = ((struct world *)state)->addrs + thread * MISSES;

    (void)variant;
    for (uint64_t i = 0; i < ops; i++) {
        uint64_t addr = addrs[i % MISSES];

        __asm__ volatile("" : : "r"(addr));
        pgl_fence();
    }
}

/* Each page loses one block of its 40. */
static void *hit_setup(const struct variant *variant)
{
    struct world *world = world_new(variant->subject->impl, variant->pages * BLOCKS_A_PAGE);

    for (uint64_t i = 0; i < variant->pages; i++) {
        world_fill(world, i, BLOCKS_A_PAGE);
    }
    return world;
}

static void hit_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    struct world *world = state;

    (void)variant;
    (void)thread;
    for (uint64_t i = 0; i < ops; i++) {
        world->impl->store(world->table, (i << PAGE_BITS) + BLOCKS_A_PAGE / 2 * BLOCK_STEP, 4, &world->tally);
    }
}

/* ---- everything on a page ---- */

/* The blocks lie over each other: a page of 4,096 bytes has room for any number. */
static void *page_setup(const struct variant *variant)
{
    struct world *world = world_new(variant->subject->impl, variant->ops);

    for (uint64_t i = 0; i < variant->ops; i++) {
        world_link(world, (i / variant->size << PAGE_BITS) + i % (PAGE_SIZE - BLOCK_BYTES), BLOCK_BYTES, TRACE_NO_ADDR);
    }
    return world;
}

static void page_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    struct world *world = state;

    (void)thread;
    for (uint64_t page = 0; page < ops / variant->size; page++) {
        world->impl->range(world->table, page << PAGE_BITS, (page << PAGE_BITS) + PAGE_SIZE - 1, &world->tally);
    }
}

/* ---- ranges ---- */

/* The first, the middle and the last page of the range exist. */
static void *range_setup(const struct variant *variant)
{
    struct world *world = world_new(variant->subject->impl, 3);

    world_touch(world, 0);
    world_touch(world, variant->pages / 2);
    world_touch(world, variant->pages - 1);
    return world;
}

static void range_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    struct world *world = state;

    (void)thread;
    for (uint64_t i = 0; i < ops; i++) {
        world->impl->range(world->table, 0, (variant->pages << PAGE_BITS) - 1, &world->tally);
    }
}

/* ---- collections ---- */

enum { ANYWHERE_PAGES = 1 << 16 };

static void *collection_setup(const struct variant *variant)
{
    struct world *world = world_new(variant->subject->impl, variant->pages * (variant->size + 1));
    uint32_t random = 1;

    for (uint64_t page = 0; page < variant->pages; page++) {
        unsigned ncrossing = variant->kind == NONE ? 0 : 2;

        world_touch(world, page);
        world_fill(world, page, variant->size - ncrossing);
        for (unsigned i = 0; i < ncrossing; i++) {
            uint64_t other = page + 1;

            random = random * 1664525u + 1013904223u;
            if (variant->kind == ANYWHERE) {
                other = random % ANYWHERE_PAGES;
            }
            world_link(world, (page << PAGE_BITS) + PAGE_SIZE - BLOCK_BYTES, 2 * BLOCK_BYTES, other << PAGE_BITS);
        }
    }
    return world;
}

static uint64_t range_last(const struct variant *variant)
{
    return variant->kind == FAN_OUT ? PAGE_SIZE - 1 : (variant->pages << PAGE_BITS) - 1;
}

/* One page, whose blocks cross to @pages others, far from each other, and come in falling order of these. */
static void *fan_setup(const struct variant *variant)
{
    struct world *world = world_new(variant->subject->impl, variant->pages);

    for (uint64_t i = 1; i <= variant->pages; i++) {
        world_link(world, PAGE_SIZE - BLOCK_BYTES, 2 * BLOCK_BYTES, i << (PAGE_BITS + 9));
    }
    return world;
}

static void pagelock_collection_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    struct pgl_table *table = ((struct world *)state)->table;
    struct pgl_collection collection;

    (void)thread;
    for (uint64_t i = 0; i < ops; i++) {
        if (pgl_collection_lock(&collection, table, 0, range_last(variant))) {
            pgl_collection_unlock(&collection);
        }
    }
}

static void plain_collection_run(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    struct plain *plain = ((struct world *)state)->table;
    struct plain_set set;

    (void)thread;
    for (uint64_t i = 0; i < ops; i++) {
        plain_set_lock(plain, &set, 0, range_last(variant));
        plain_set_unlock(&set);
    }
}

#define BOTH(id, make, pagelock_work, plain_work)                                                                      \
    static const struct subject id##_pagelock = {"pagelock", &impl_pagelock, make, world_free, pagelock_work};         \
    static const struct subject id##_plain = {"plain", &impl_plain, make, world_free, plain_work}

BOTH(link, link_setup, link_run, link_run);
BOTH(miss, miss_setup, pagelock_miss_run, plain_miss_run);
BOTH(hit, hit_setup, hit_run, hit_run);
BOTH(page, page_setup, page_run, page_run);
BOTH(range, range_setup, range_run, range_run);
BOTH(collection, collection_setup, pagelock_collection_run, plain_collection_run);
BOTH(fan, fan_setup, pagelock_collection_run, plain_collection_run);
static const struct subject fence = {"fence", &impl_plain, miss_setup, world_free, fence_run};

static void miss_case(GPtrArray *cases, const char *name, const char *what, enum miss kind)
{
    struct micro_case *one = micro_add(cases, name, what, MICRO_NO_PLOT);
    struct variant variant = {.threads = 1, .pages = PAGES_A_THREAD, .ops = 100000, .kind = kind};
    unsigned alone, both;

    variant.subject = &miss_plain;
    micro_variant(one, &variant);
    variant.ops = 4000000; /* long enough for two threads to start together */
    variant.subject = &fence;
    micro_variant(one, &variant);
    variant.subject = &miss_pagelock;
    alone = micro_variant(one, &variant);
    variant.threads = 2;
    variant.pages *= 2;
    both = micro_variant(one, &variant);
    micro_pair(one, 0, alone);
    micro_pair(one, 1, alone);
    micro_pair(one, alone, both);
}

static void collection_case(GPtrArray *cases, const char *name, const char *what, unsigned blocks, enum crossing kind)
{
    static const unsigned sizes[] = {1, 2, 8, 64, 512};
    struct micro_case *one = micro_add(cases, name, what, MICRO_OVER_PAGES);

    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
        micro_versus(
            one, &collection_plain, &collection_pagelock,
            &(struct variant){.threads = 1, .pages = sizes[i], .ops = 16384 / sizes[i], .size = blocks, .kind = kind});
    }
}

static void fan_case(GPtrArray *cases)
{
    static const unsigned sizes[] = {16, 128, 1024, 16384};
    struct micro_case *one = micro_add(cases, "collection-fan",
                                       "lock and unlock a page with n blocks that cross to n leaves", MICRO_OVER_PAGES);

    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
        micro_versus(one, &fan_plain, &fan_pagelock,
                     &(struct variant){.threads = 1, .pages = sizes[i], .ops = 16384 / sizes[i], .kind = FAN_OUT});
    }
}

static void page_case(GPtrArray *cases, const char *name, const char *what, unsigned blocks, unsigned pages)
{
    micro_versus(micro_add(cases, name, what, MICRO_NO_PLOT), &page_plain, &page_pagelock,
                 &(struct variant){.threads = 1, .pages = pages, .ops = (uint64_t)blocks * pages, .size = blocks});
}

void micro_code_cases(GPtrArray *cases)
{
    struct micro_case *one;
    unsigned narrow, wide;

    micro_versus(micro_add(cases, "link", "link a block into a page that nobody else wants", MICRO_NO_PLOT),
                 &link_plain, &link_pagelock, &(struct variant){.threads = 1, .pages = 64, .ops = 16384});
    miss_case(cases, "store-far", "a store that hits nothing, away from all code of its page", FAR_MISS);
    miss_case(cases, "store-near", "a store that hits nothing, between two blocks", NEAR_MISS);
    micro_versus(micro_add(cases, "store-hit", "a store that kills one block of 40", MICRO_NO_PLOT), &hit_plain,
                 &hit_pagelock, &(struct variant){.threads = 1, .pages = 1024, .ops = 1024});
    page_case(cases, "page-100", "a page with 100 blocks invalidated at once, a block", 100, 100);
    page_case(cases, "page-10000", "a page with 10,000 blocks invalidated at once, a block", 10000, 1);

    one = micro_add(cases, "range", "a range without code invalidated, three of its pages exist", MICRO_NO_PLOT);
    narrow = micro_variant(one, &(struct variant){&range_pagelock, 1, 1 << 12, 1000, 0, 0});
    wide = micro_variant(one, &(struct variant){&range_pagelock, 1, 1 << 28, 1000, 0, 0});
    micro_pair(one, micro_variant(one, &(struct variant){&range_plain, 1, 1 << 12, 10, 0, 0}), narrow);
    micro_pair(one, micro_variant(one, &(struct variant){&range_plain, 1, 1 << 28, 1, 0, 0}), wide);
    micro_pair(one, wide, narrow);

    collection_case(cases, "collection-empty", "lock and unlock n pages without blocks", 0, NONE);
    collection_case(cases, "collection-16", "lock and unlock n pages with 16 blocks each", 16, NONE);
    collection_case(cases, "collection-next", "the same, 2 of 16 cross to the next page", 16, TO_NEXT);
    collection_case(cases, "collection-far", "the same, 2 of 16 cross to any page", 16, ANYWHERE);
    fan_case(cases);
}
