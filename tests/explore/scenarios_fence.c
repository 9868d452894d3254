/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Stores and translations in a table with asymmetric fences: the check of a store has none of its own. */
#include "acts.h"
#include "scenarios.h"
#include "world.h"

static void init_leaf(void)
{
    world_init_asymmetric();
    explore_check(pgl_page_get(world.table, 0));
}

static void init_block(void)
{
    init_leaf();
    explore_check(translate(0, 0, 0, 0));
}

static void range_0(void)
{
    guest_store(0, 0, 1);
    kill_words(0, 0, 0, 3);
    expect_fresh(0, 0, 1);
}

/* A store over two pages asks the filters of both behind one fence. */
static void store_over_two(void)
{
    guest_store(0, 3, 1);
    guest_store(1, 0, 1);
    explore_check(pgl_store_check(world.table, ADDR(0, 3), ADDR(1, 1) - ADDR(0, 3), NULL) >= 0);
    expect_fresh(0, 3, 1);
    expect_fresh(1, 0, 1);
}

static void translate_end(void)
{
    translate(1, 1, 0, 3);
}

static void store_bracketed(void)
{
    struct pgl_store store;

    explore_check(pgl_store_begin(&store, world.table, ADDR(0, 0), SLOT_BYTES, NULL) >= 0);
    guest_store(0, 0, 1);
    pgl_store_end(&store);
    expect_fresh(0, 0, 1);
}

/* A store inside a bracket on another page. */
static void store_in_bracket(void)
{
    struct pgl_bracket bracket;

    explore_check(pgl_bracket_begin(&bracket, world.table, 1));
    guest_store(0, 0, 1);
    explore_check(pgl_bracket_store(&bracket, ADDR(0, 0), SLOT_BYTES) != PGL_BRACKET_ERROR);
    pgl_bracket_abort(&bracket);
    expect_fresh(0, 0, 1);
}

const struct explore_scenario fence_scenarios[] = {
    {"asymmetric-store",
     "the bracket sees a store, or the store's check sees the bracket",
     init_leaf,
     {translate_0, store_0},
     world_final},
    {"asymmetric-new-leaf",
     "the same where the bracket makes the leaf",
     world_init_asymmetric,
     {translate_0, store_0},
     world_final},
    {"asymmetric-stores",
     "two stores to the bytes of one block",
     init_leaf,
     {translate_0, store_0, store_1},
     world_final},
    {"asymmetric-cross",
     "the second page of a bracket, which is lower than its first",
     init_leaf,
     {cross_down, store_0},
     world_final},
    {"asymmetric-kill",
     "a store that finds the filters narrowed by another's kill",
     init_block,
     {kill_0, store_0, translate_0_again},
     world_final},
    {"asymmetric-range", "a range that finds no code", init_leaf, {translate_0, range_0}, world_final},
    {"asymmetric-long", "a store over two pages", init_leaf, {translate_end, store_over_two}, world_final},
    {"asymmetric-inner", "a store inside a bracket", init_leaf, {translate_0, store_in_bracket}, world_final},
    {"asymmetric-bracket",
     "a store bracket, which has no fence in any table",
     init_block,
     {store_bracketed, translate_0_again, store_1},
     world_final},
    {0},
};
