/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Stores to pages that a thread holds to kill: the filters answer meanwhile, against brackets and later holders. */
#include "../../src/code/filter_internal.h"
#include "../../src/code/page_internal.h"
#include "acts.h"
#include "scenarios.h"
#include "world.h"

/* Blocks of pages 0 and 1, and one of both pages that is listed behind them. */
static void init_two_pages(void)
{
    world_init();
    world.used_keys = 3;
    explore_check(translate(0, 0, 0, 0));
    explore_check(translate(1, 1, 1, 0));
}

static void init_crossing(void)
{
    world_init();
    world.used_keys = 3;
    explore_check(translate_two(0, 0, 1, 0, 0, 0));
    explore_check(translate(1, 1, 1, 2));
}

static void init_asymmetric(void)
{
    world_init_asymmetric();
    world.used_keys = 3;
    explore_check(translate_two(0, 0, 1, 0, 0, 0));
    explore_check(translate(1, 1, 1, 2));
}

/*
 * Page 1 is hot. It lists a block of pages 1 and 0, and one that begins just behind slot 1: the mask does not rule out a
 * store to this slot, and the exact map does.
 */
static void init_hot_crossing(void)
{
    struct block *beside = &world.blocks[1];
    struct pgl_bracket bracket;

    world_init();
    world.used_keys = 3;
    explore_check(pgl_bracket_begin(&bracket, world.table, 1));
    beside->key = 1;
    beside->nparts = 1;
    beside->parts[0] = (struct part){1, 3, guest_load(1, 3)};
    pgl_tb_set_bytes(&beside->tb, 0, LAST_ADDR(1, 1) + 1, LAST_ADDR(1, 3));
    beside->linked = pgl_bracket_commit(&bracket, &beside->tb, NULL) == PGL_BRACKET_OK;
    for (int i = 0; i < 5; i++) {
        explore_check(pgl_store_check(world.table, ADDR(1, 1), SLOT_BYTES, NULL) == 0);
    }
    explore_check(pgl_page_find(world.table, 1)->head & PGL_HEAD_HOT);
    explore_check(translate_two(0, 0, 1, 0, 0, 0));
}

/* A range that ends before the slots that are stored to below. */
static void kill_pages(void)
{
    kill_words(0, 0, 1, 0);
}

static void kill_upper_page(void)
{
    kill_words(1, 0, 1, 0);
}

static void kill_crossing(void)
{
    kill_block(0);
}

static void store_low(void)
{
    checked_store(0, 3, 1);
}

static void store_high(void)
{
    checked_store(1, 1, 1);
}

static void store_high_hit(void)
{
    checked_store(1, 0, 1);
}

static void translate_high(void)
{
    translate(2, 2, 1, 1);
}

static void translate_high_and_kill(void)
{
    translate(2, 2, 1, 1);
    kill_words(0, 0, 1, 0);
}

static void translate_low(void)
{
    translate(3, 2, 0, 1);
}

/* Slot 1 of page 0 lies in the range of kill_pages(), slot 1 of page 1 does not. */
static void store_low_1(void)
{
    checked_store(0, 1, 1);
}

static void lock_page_0(void)
{
    struct pgl_page *page = pgl_page_find(world.table, 0);

    pgl_page_lock(world.table, page);
    pgl_page_unlock(world.table, page);
}

static void lock_page_1(void)
{
    struct pgl_page *page = pgl_page_find(world.table, 1);

    pgl_page_lock(world.table, page);
    pgl_page_unlock(world.table, page);
}

/* The two sides alone, for the orderings between them: a bracket of few steps, and a killer that only marks. */

static uint64_t seen;
static bool clean;

static void init_bare(void)
{
    init_two_pages();
    seen = UINT64_MAX;
    clean = false;
}

static void cover_and_mark(void)
{
    struct pgl_leaf *leaf = pgl_leaf_find(world.table, 1);
    struct pgl_page *page = pgl_leaf_page(leaf, 1);
    uint64_t mask = page->mask | pgl_filter_mask(PAGE_BITS, ADDR(1, 1), LAST_ADDR(1, 1));

    pgl_page_lock(world.table, page);
    pgl_fence_after_lock();
    seen = guest_load(1, 1);
    __atomic_store_n(&page->mask, mask, __ATOMIC_RELAXED);
    pgl_page_unlock(world.table, page);
    pgl_page_lock(world.table, page);
    pgl_killed_mark(leaf, 0, 2);
    pgl_killed_unmark(leaf, 0, 2);
    pgl_page_unlock(world.table, page);
}

static void store_and_ask(void)
{
    struct pgl_leaf *leaf = pgl_leaf_find(world.table, 1);

    guest_store(1, 1, 1);
    pgl_fence();
    clean = !pgl_page_lock_unless_clean(world.table, leaf, 1, ADDR(1, 1), LAST_ADDR(1, 1));
    if (!clean) {
        pgl_page_unlock(world.table, pgl_leaf_page(leaf, 1));
    }
}

static void final_bare(void)
{
    explore_check(!clean || seen == 1);
    pgl_page_find(world.table, 1)->mask = pgl_filter_mask(PAGE_BITS, ADDR(1, 0), LAST_ADDR(1, 0));
    world_final();
}

const struct explore_scenario killed_scenarios[] = {
    {"killed-above",
     "a page that the killer waits for is not marked",
     init_two_pages,
     {kill_pages, translate_high, store_high},
     world_final},
    {"killed-before",
     "a block linked before the killer came is covered",
     init_two_pages,
     {translate_high_and_kill, store_high, lock_page_1},
     world_final},
    {"killed-asked", "its mask comes with the mark", init_bare, {cover_and_mark, store_and_ask}, final_bare},
    {"killed-after",
     "a bracket after the killer is not taken for it",
     init_two_pages,
     {kill_pages, translate_low, store_low_1},
     world_final},
    {"killed-waits",
     "a clean store beside a killer that waits",
     init_two_pages,
     {kill_pages, lock_page_1, store_low},
     world_final},
    {"killed-turn",
     "a clean store beside a killer that waits, and that has queued for its turn meanwhile",
     init_two_pages,
     {kill_pages, lock_page_1, store_low, lock_page_0},
     world_final},
    {"killed-hit",
     "a hit waits until `retired` has returned",
     init_crossing,
     {kill_crossing, store_high_hit, store_page_0},
     world_final},
    {"killed-hot",
     "a store that the exact map answers, beside a bracket that widens it",
     init_hot_crossing,
     {kill_crossing, store_high, translate_high},
     world_final},
    {"killed-asymmetric",
     "a store without a fence of its own, beside a bracket",
     init_asymmetric,
     {kill_crossing, store_high, translate_high},
     world_final},
    {"killed-relocked",
     "pages that are unlocked to wait are not marked",
     init_crossing,
     {kill_upper_page, translate_high, store_high, store_low},
     world_final},
    {.name = NULL},
};
