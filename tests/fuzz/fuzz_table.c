/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sequences of operations on a small table, against an oracle (table_world.c). One thread; but for stores inside a
 * bracket other pages can be busy, as if another thread held them. Memory can run out at any allocation, and trylock
 * can fail on free pages (linked with --wrap for calloc, malloc, posix_memalign and pgl_page_trylock_slow).
 */
#include <errno.h>
#include <limits.h>

#include "table_bracket.h"
#include "table_world.h"

static void expect(struct world *world, int answer, bool hit, const struct block *running, unsigned nretired)
{
    CHECK(answer == ((hit ? PGL_HIT : 0) | (running && running->fate != FATE_LIVE ? PGL_RUNNING_DEAD : 0)));
    /* without memory for the set of pages the blocks die one by one */
    CHECK(world->failed ? world->nretired - nretired >= hit : world->nretired - nretired == hit);
}

/* The same for a call that kills in portions: `retired` comes once for each. */
static void expect_portions(struct world *world, int answer, bool hit, const struct block *running, unsigned nretired)
{
    CHECK((world->nretired > nretired) == hit);
    expect(world, answer, hit, running, world->nretired - hit);
}

/* ---- operations ---- */

static void op_link_unlisted(struct world *world)
{
    struct block *block = world_any_block(world);

    if (block->fate == FATE_LIVE) {
        return;
    }
    pgl_tb_init(&block->tb);
    pgl_tb_link_unlisted(world->table, &block->tb);
    block->fate = FATE_LIVE;
    block->listed = false;
}

/* Check a store, or make it with its check when its length is that of a value. */
static int store(struct world *world, uint64_t addr, uint64_t len, const struct pgl_tb *running)
{
    unsigned char guest[16] __attribute__((aligned(8))) = {0}, *host = guest + addr % 8;

    switch (len) {
    case 1:
        return pgl_store_u8(world->table, host, addr, 0x11, running);
    case 2:
        return pgl_store_u16(world->table, host, addr, 0x1111, running);
    case 4:
        return pgl_store_u32(world->table, host, addr, 0x11111111, running);
    case 8:
        return pgl_store_u64(world->table, host, addr, UINT64_C(0x1111111111111111), running);
    default:
        return pgl_store_check(world->table, addr, len, running);
    }
}

static void op_store(struct world *world)
{
    uint64_t addr = world_any_addr(world), len = world_any_len(world);
    unsigned nretired = world->nretired;
    const struct block *running;
    const struct pgl_tb *tb = world_any_running(world, &running);
    bool clean, hit;

    if (!world_is_in_table(world, addr, len)) {
        CHECK(store(world, addr, len, tb) == PGL_ERROR);
        return;
    }
    clean = pgl_store_is_clean(world->table, addr, len);
    hit = len && world_kill_range(world, addr, addr + (len - 1));
    CHECK(!(clean && hit));
    world_note_store(world, hit);
    (len > world->in_page ? expect_portions : expect)(world, store(world, addr, len, tb), hit, running, nretired);
}

/* The leaves of a store bracket exist, or as many of them as it allocated before it ran out of memory. */
static void note_leaves(struct world *world, uint64_t addr, uint64_t len, bool all)
{
    uint64_t last = len ? (addr + (len - 1)) >> world->page_bits : 0;

    for (uint64_t index = addr >> world->page_bits; len && index <= last; index++) {
        if (all || pgl_page_find(world->table, index)) {
            world_note_leaf(world, index);
        }
        CHECK(!all || world->table->special & PGL_SPECIAL_EXTERNAL ||
              pgl_page_find(world->table, index)->head & PGL_HEAD_LOCK);
    }
}

/* Kill by a place of a store bracket, which is a store of its own in the table's figures. */
static bool note_place(struct world *world, uint64_t addr, uint64_t len)
{
    bool hit = len && world_kill_range(world, addr, addr + (len - 1));

    world_note_store(world, hit);
    return hit;
}

/* A store bracket over one place, or over two. */
static void op_store_bracket(struct world *world)
{
    uint64_t addr = world_any_addr(world), len = world_any_len(world) % (UINT64_C(4) << world->page_bits);
    uint64_t addr2 = world_any_addr(world), len2 = eat(&world->input) % 2 ? world_any_len(world) % 66 : 0;
    uint64_t first = addr2 < addr ? addr2 : addr, first_len = addr2 < addr ? len2 : len; /* the lower place */
    unsigned nretired = world->nretired, nhits;
    const struct block *running;
    const struct pgl_tb *tb = world_any_running(world, &running);
    struct pgl_store store;
    int answer = len2 ? pgl_store_begin_pair(&store, world->table, addr, len, addr2, len2, tb)
                      : pgl_store_begin(&store, world->table, addr, len, tb);

    if (!world_is_in_table(world, addr, len) || !world_is_in_table(world, addr2, len2)) {
        CHECK(answer == PGL_ERROR);
        return;
    }
    CHECK(answer >= 0 || (world->failed && errno == ENOMEM));
    note_leaves(world, addr, len, answer >= 0);
    note_leaves(world, addr2, len2, answer >= 0);
    if (answer < 0) {
        return;
    }
    nhits = note_place(world, first, first_len) + note_place(world, addr + addr2 - first, len + len2 - first_len);
    CHECK(answer == ((nhits ? PGL_HIT : 0) | (running && running->fate != FATE_LIVE ? PGL_RUNNING_DEAD : 0)));
    CHECK(!nhits == (world->nretired == nretired));
    /* once for each place, or for each portion of a place over more than two pages */
    CHECK(world->failed || len > world->in_page || world->nretired - nretired <= 2);
    pgl_store_end(&store);
}

static void op_invalidate_tb(struct world *world)
{
    struct block *block = world_any_block(world);
    unsigned nretired = world->nretired;
    const struct block *running;
    const struct pgl_tb *tb = world_any_running(world, &running);

    if (block->fate == FATE_NONE) {
        return;
    }
    expect(world, pgl_invalidate_tb(world->table, &block->tb, tb), world_kill(block), running, nretired);
}

/* Some blocks, dead and new ones too, perhaps one twice. */
static void op_invalidate_tbs(struct world *world)
{
    struct pgl_tb *tbs[16];
    size_t n = 0;
    unsigned nretired = world->nretired, before = nretired;
    const struct block *running;
    const struct pgl_tb *tb = world_any_running(world, &running);
    bool hit = false;
    int answer;

    for (unsigned choices = eat(&world->input) % 16; choices; choices--) {
        struct block *block = world_any_block(world);

        if (block->fate != FATE_NONE) {
            tbs[n++] = &block->tb;
            hit |= world_kill(block);
        }
    }
    answer = pgl_invalidate_tbs(world->table, tbs, n, tb);
    CHECK(world->nretired - before <= n);
    expect_portions(world, answer, hit, running, nretired);
}

/* Choose the end of a range: mostly after at most @npages pages, or anywhere. */
static uint64_t any_last(struct world *world, uint64_t first, uint64_t npages)
{
    uint64_t last = first + eat_bytes(&world->input, 2) % npages * (world->in_page + 1);

    if (eat(&world->input) % 8 == 0) {
        return world_any_addr(world);
    }
    last += eat_bytes(&world->input, 3) & world->in_page;
    return last < first || last > world->last_addr ? world->last_addr : last;
}

struct chosen {
    struct world *world;
    uint64_t first, last;
    unsigned remainder;
};

/* Every third block. */
static bool is_third(const struct pgl_tb *tb, void *arg)
{
    const struct chosen *chosen = arg;
    const struct block *block = (const struct block *)tb;

    CHECK(block->fate == FATE_LIVE && block->listed && pgl_tb_is_live(tb));
    CHECK(world_meets(block, chosen->first, chosen->last));
    return (size_t)(block - chosen->world->block) % 3 == chosen->remainder;
}

static void op_invalidate_if(struct world *world)
{
    struct chosen chosen = {.world = world, .first = world_any_addr(world)};
    unsigned nretired = world->nretired;
    const struct block *running;
    const struct pgl_tb *tb = world_any_running(world, &running);
    bool hit = false;
    int answer;

    chosen.last = any_last(world, chosen.first, 600);
    chosen.remainder = eat(&world->input) % 3;
    answer = pgl_invalidate_if(world->table, chosen.first, chosen.last, is_third, &chosen, tb);
    if (chosen.first > chosen.last) {
        CHECK(answer == PGL_ERROR);
        return;
    }
    for (unsigned i = chosen.remainder; i < world->nblocks; i += 3) {
        hit |= world_meets(&world->block[i], chosen.first, chosen.last) && world_kill(&world->block[i]);
    }
    expect_portions(world, answer, hit, running, nretired);
}

static void op_reset(struct world *world)
{
    unsigned nretired = world->nretired;

    if (eat(&world->input) % 8) {
        return;
    }
    pgl_table_reset(world->table);
    CHECK(world->nretired == nretired);
    world_reset(world);
}

static void op_invalidate_range(struct world *world)
{
    uint64_t first = world_any_addr(world), last = any_last(world, first, 3);
    unsigned nretired = world->nretired;
    const struct block *running;
    const struct pgl_tb *tb = world_any_running(world, &running);

    if (first > last) {
        CHECK(pgl_invalidate_range(world->table, first, last, tb) == PGL_ERROR);
        return;
    }
    expect_portions(world, pgl_invalidate_range(world->table, first, last, tb), world_kill_range(world, first, last),
                    running, nretired);
}

static void op_invalidate_page(struct world *world)
{
    uint64_t index = world_any_page(world), first = index << world->page_bits;
    unsigned nretired = world->nretired;
    const struct block *running;
    const struct pgl_tb *tb = world_any_running(world, &running);

    expect_portions(world, pgl_invalidate_page(world->table, index, tb),
                    world_kill_range(world, first, first | world->in_page), running, nretired);
}

static void op_flush(struct world *world)
{
    unsigned nretired = world->nretired;
    const struct block *running;
    const struct pgl_tb *tb = world_any_running(world, &running);
    unsigned choice = eat(&world->input) % 8;

    if (choice == 1) {
        pgl_table_trim(world->table);
        world_trim(world);
        world_compare_pages(world);
    }
    if (choice) {
        return;
    }
    expect_portions(world, pgl_flush(world->table, tb), world_kill_range(world, 0, world->last_addr), running,
                    nretired);
}

/* How many pages of a range have a leaf. */
static uint64_t count_pages(const struct world *world, uint64_t first, uint64_t last)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < world->nleaves; i++) {
        uint64_t low = world->leaf[i] * WORLD_LEAF, high = low + WORLD_LEAF - 1;

        low = low > first ? low : first;
        high = high < last ? high : last;
        n += low <= high ? high - low + 1 : 0;
    }
    return n;
}

static void op_collection(struct world *world)
{
    uint64_t first_addr = world_any_addr(world), last_addr = any_last(world, first_addr, 600);
    uint64_t first = first_addr >> world->page_bits, last = last_addr >> world->page_bits;
    uint64_t index = 0, n = 0, max = UINT64_MAX, wanted;
    struct pgl_collection collection;

    if (first_addr > last_addr) {
        CHECK(!pgl_collection_lock(&collection, world->table, first_addr, last_addr));
        return;
    }
    if (!pgl_collection_lock(&collection, world->table, first_addr, last_addr)) {
        CHECK(world->failed && errno == ENOMEM);
        return;
    }
    for (; pgl_collection_next(&collection, &index); max = index++, n++) {
        if (index >= first && index <= last) {
            CHECK(world_leaf_exists(world, index));
        } else {
            CHECK(world_is_partner(world, index, first, last));
        }
        CHECK(world->table->special & PGL_SPECIAL_EXTERNAL || pgl_page_find(world->table, index)->head & PGL_HEAD_LOCK);
    }
    CHECK(max == pgl_collection_max(&collection));
    wanted = count_pages(world, first, last);
    for (unsigned i = 0; i < world->npages; i++) {
        wanted +=
            (world->page[i] < first || world->page[i] > last) && world_is_partner(world, world->page[i], first, last);
    }
    CHECK(n == wanted);
    pgl_collection_unlock(&collection);
}

static void op_walk(struct world *world)
{
    uint64_t index = world_any_addr(world) >> world->page_bits, last = world_any_addr(world) >> world->page_bits;
    uint64_t wanted = UINT64_MAX, at = index;
    struct pgl_page *page = pgl_page_next(world->table, &at, last);

    for (unsigned i = 0; i < world->nleaves; i++) {
        uint64_t low = world->leaf[i] * WORLD_LEAF, high = low + WORLD_LEAF - 1;

        if (high >= index && (low > index ? low : index) <= last && (low > index ? low : index) < wanted) {
            wanted = low > index ? low : index;
        }
    }
    CHECK(!!page == (wanted != UINT64_MAX));
    if (page) {
        CHECK(at == wanted && page == pgl_page_find(world->table, wanted));
    }
}

static void op_get_and_lock(struct world *world)
{
    uint64_t index = world_any_page(world), second = world_any_page(world);
    struct pgl_page *page = pgl_page_get(world->table, index);
    unsigned nrefused = world->nrefused;

    if (!page) {
        world_note_leaf_if_there(world, index);
        return;
    }
    CHECK(page == pgl_page_find(world->table, index));
    world_note_leaf(world, index);
    if (pgl_page_trylock(world->table, page)) {
        pgl_page_unlock(world->table, page);
    } else {
        CHECK(world->nrefused > nrefused);
    }
    if (!pgl_page_lock_pair(world->table, index, second)) {
        world_note_leaf_if_there(world, second);
        return;
    }
    world_note_leaf(world, second);
    pgl_page_unlock_pair(world->table, index, second);
    if (world->last_index < UINT64_MAX) {
        CHECK(!pgl_page_find(world->table, world->last_index + 1));
        CHECK(!pgl_page_get(world->table, world->last_index + 1));
        CHECK(pgl_invalidate_page(world->table, world->last_index + 1, NULL) == PGL_ERROR);
    }
}

static void op_lock_tb(struct world *world)
{
    const struct block *block = world_any_block(world);

    if (block->fate == FATE_NONE) {
        return;
    }
    pgl_tb_lock_pages(world->table, &block->tb);
    CHECK(pgl_tb_is_live(&block->tb) == (block->fate == FATE_LIVE));
    pgl_tb_unlock_pages(world->table, &block->tb);
}

static void op_run_short(struct world *world)
{
    world->fail_in = 1 + eat(&world->input) % 4;
}

/* ---- a run ---- */

static void (*const operations[])(struct world *) = {
    table_bracket_link,
    table_bracket_link,
    table_bracket_link,
    table_bracket_link,
    table_bracket_link,
    table_bracket_link,
    op_store,
    op_store,
    op_store,
    op_store_bracket,
    table_bracket_link_equal,
    op_link_unlisted,
    table_bracket_link_with_stores,
    op_invalidate_tb,
    op_invalidate_range,
    op_invalidate_tbs,
    op_invalidate_if,
    op_reset,
    op_invalidate_page,
    op_flush,
    op_collection,
    op_walk,
    op_get_and_lock,
    op_lock_tb,
    table_bracket_cross_about,
    table_bracket_link_super,
    table_bracket_link_super,
    op_run_short,
    op_starve,
    op_store_to_killed,
};

unsigned fuzz_table_run(const uint8_t *data, size_t size, unsigned nsteps)
{
    struct world world = {.input = {data, data + size}};

    world_begin(&world);
    for (unsigned step = 1; step <= nsteps && world.input.at < world.input.end; step++) {
        world.failed = false;
        operations[eat(&world.input) % (sizeof(operations) / sizeof(operations[0]))](&world);
        world_compare_blocks(&world);
        if (step % 64 == 0) {
            world_compare_pages(&world);
        }
    }
    world_end(&world);
    return world.nrefused;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_table_run(data, size, UINT_MAX);
    return 0;
}
