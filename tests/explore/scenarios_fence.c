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
    {0},
};
