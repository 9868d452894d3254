/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Brackets that hold three pages, and blocks that lie on them, against stores, kills and other brackets. */
#include "acts.h"
#include "scenarios.h"
#include "world.h"

/* ---- translating ---- */

static void super_up(void)
{
    translate_many(0, 0, (const struct part[]){{0, 0, 0}, {1, 0, 0}, {2, 0, 0}}, 3);
}

/* The lowest page comes last, and the pages between are held when it is tried. */
static void super_down(void)
{
    translate_many(1, 1, (const struct part[]){{2, 1, 0}, {1, 1, 0}, {0, 1, 0}}, 3);
}

/* The page in the middle comes last: it is tried with one page held below it and one above. */
static void super_between(void)
{
    translate_many(0, 0, (const struct part[]){{2, 0, 0}, {0, 0, 0}, {1, 0, 0}}, 3);
}

static void super_equal(void)
{
    translate_many(2, 0, (const struct part[]){{0, 0, 0}, {1, 0, 0}, {2, 0, 0}}, 3);
}

/* The word on page 1 says whether the block goes on to page 0 or to page 2. A new decoding may come to the other. */
static void super_branching(void)
{
    struct block *block = &world.blocks[0];
    struct pgl_bracket bracket;
    enum pgl_bracket_result result;

    explore_check(pgl_bracket_begin(&bracket, world.table, INDEX(1)));
    do {
        uint64_t seen = guest_load(1, 0);
        unsigned int next = seen ? 2 : 0;

        pgl_tb_init(&block->tb);
        block->parts[0] = (struct part){1, 0, seen};
        pgl_tb_set_bytes(&block->tb, 0, ADDR(1, 0), LAST_ADDR(1, 0));
        result = pgl_bracket_cross(&bracket, INDEX(next));
        if (result == PGL_BRACKET_OK) {
            block->parts[1] = (struct part){next, 0, guest_load(next, 0)};
            block->nparts = 2;
            pgl_tb_set_bytes(&block->tb, 1, ADDR(next, 0), LAST_ADDR(next, 0));
            result = pgl_bracket_commit(&bracket, &block->tb, NULL);
        }
    } while (result == PGL_BRACKET_RESTART);
    block->linked = result == PGL_BRACKET_OK;
}

/* A walk of the page table, between the second page and the third, stores to the first. */
static void super_storing(void)
{
    struct block *block = &world.blocks[0];
    struct pgl_bracket bracket;
    enum pgl_bracket_result result;
    bool stored = false;

    explore_check(pgl_bracket_begin(&bracket, world.table, INDEX(1)));
    do {
        pgl_tb_init(&block->tb);
        block->parts[0] = (struct part){1, 0, guest_load(1, 0)};
        result = pgl_bracket_cross(&bracket, INDEX(2));
        block->parts[1] = (struct part){2, 0, guest_load(2, 0)};
        if (result == PGL_BRACKET_OK && !stored) {
            guest_store(1, 0, 1);
            explore_check(pgl_bracket_store(&bracket, ADDR(1, 0), SLOT_BYTES) == PGL_BRACKET_RESTART);
            stored = true;
        }
        if (result == PGL_BRACKET_OK) {
            result = pgl_bracket_cross(&bracket, INDEX(0));
        }
        if (result == PGL_BRACKET_OK) {
            block->parts[2] = (struct part){0, 0, guest_load(0, 0)};
            block->nparts = 3;
            for (unsigned int i = 0; i < 3; i++) {
                pgl_extent_set(&block->extents[i], ADDR(block->parts[i].page, 0), LAST_ADDR(block->parts[i].page, 0));
            }
            pgl_tb_set_extents(&block->tb, block->extents, 3);
            result = pgl_bracket_commit(&bracket, &block->tb, NULL);
        }
    } while (result == PGL_BRACKET_RESTART);
    block->linked = result == PGL_BRACKET_OK;
    expect_fresh(1, 0, 1);
}

/* ---- storing and killing ---- */

static void store_low(void)
{
    checked_store(0, 0, 1);
}

static void store_middle(void)
{
    checked_store(1, 0, 1);
}

static void store_high(void)
{
    checked_store(2, 0, 1);
}

static void store_low_slot_1(void)
{
    checked_store(0, 1, 1);
}

static void trap_store_middle(void)
{
    trapping_store(1, 0, 1);
}

static void trap_store_high(void)
{
    trapping_store(2, 0, 1);
}

static void lock_page_1(void)
{
    struct pgl_page *page = pgl_page_find(world.table, 1);

    pgl_page_lock(world.table, page);
    pgl_page_unlock(world.table, page);
}

static void lock_page_0(void)
{
    struct pgl_page *page = pgl_page_find(world.table, 0);

    pgl_page_lock(world.table, page);
    pgl_page_unlock(world.table, page);
}

static void kill_pages_0_and_1(void)
{
    kill_words(0, 0, 1, SLOTS - 1);
}

static void kill_super(void)
{
    kill_block(3);
}

static void init_traps(void)
{
    world_init();
    world.uses_traps = true;
}

static void init_super(void)
{
    world_init();
    world.used_keys = 4;
    explore_check(translate_many(3, 3, (const struct part[]){{1, 0, 0}, {2, 0, 0}, {0, 0, 0}}, 3));
}

const struct explore_scenario super_scenarios[] = {
    {"super-store-low",
     "a store to the lowest of three pages",
     world_init,
     {super_down, store_low_slot_1},
     world_final},
    {"super-store-middle", "a store to the page in the middle", world_init, {super_up, store_middle}, world_final},
    {"super-store-last", "a store to the page that came last", world_init, {super_between, store_middle}, world_final},
    {"super-stores", "stores to two of the pages", world_init, {super_up, store_low, store_high}, world_final},
    {"super-opposite",
     "two brackets take the pages in opposite order",
     world_init,
     {super_up, super_down},
     world_final},
    {"super-three",
     "three brackets, each in another order",
     world_init,
     {super_equal, super_down, super_between},
     world_final},
    {"super-equal", "equal blocks: one is made", world_init, {super_up, super_equal, store_high}, world_final},
    {"super-busy",
     "the page in the middle is busy: the one below it stays held",
     world_init,
     {super_between, lock_page_1, store_high},
     world_final},
    {"super-cross",
     "against a bracket on two of the pages",
     world_init,
     {super_between, cross_down, store_middle},
     world_final},
    {"super-branching",
     "another decoding comes to another page",
     world_init,
     {super_branching, store_middle, lock_page_0},
     world_final},
    {"super-storing",
     "a store inside the bracket, and all pages are held again",
     world_init,
     {super_storing, store_high, super_down},
     world_final},
    {"super-kill-store", "one store kills, another finds it dead", init_super, {store_low, store_high}, world_final},
    {"super-kill-block", "a store and a call that kill the block", init_super, {kill_super, store_middle}, world_final},
    {"super-kill-range",
     "a range that two of the pages are in, against a bracket",
     init_super,
     {kill_pages_0_and_1, super_down, store_high},
     world_final},
    {"super-kill-bracket", "a block dies while its like is made", init_super, {store_high, super_between}, world_final},
    {"super-trap", "only trapped stores are checked", init_traps, {super_between, trap_store_middle}, world_final},
    {"super-trap-branching",
     "a page that the new decoding does not name loses its trap, and only then its lock",
     init_traps,
     {super_branching, trap_store_high, lock_page_0},
     world_final},
    {.name = NULL},
};
