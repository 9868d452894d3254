/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pages that become hot, and hot pages, whose lists are in order of buckets, while blocks come and die. */
#include "acts.h"
#include "scenarios.h"
#include "world.h"

/* ---- becoming hot ---- */

static void miss_1(void)
{
    explore_check(pgl_store_check(world.table, ADDR(1, 0) + 16, SLOT_BYTES, NULL) == 0);
}

static void miss_2(void)
{
    explore_check(pgl_store_check(world.table, ADDR(2, 0) + 16, SLOT_BYTES, NULL) == 0);
}

/* Two pages are one store short of an exact map, and there is memory for one map. */
static void init_budget(void)
{
    uint64_t before;

    init_nearly_hot();
    before = world.table->hot_bytes;
    miss();
    world.used_keys = 4;
    explore_check(translate(2, 2, 1, 0));
    explore_check(translate(3, 3, 2, 0));
    for (int i = 0; i < 3; i++) {
        miss_1();
        miss_2();
    }
    world.table->hot_bytes_max = 2 * world.table->hot_bytes - before;
    explore_check(world.table->hot_bytes_max > world.table->hot_bytes);
}

static void miss_1_looking(void)
{
    miss_1();
    explore_check(__atomic_load_n(&world.table->hot_bytes, __ATOMIC_RELAXED) <= world.table->hot_bytes_max);
}

static void final_budget(void)
{
    explore_check(world.table->hot_bytes == world.table->hot_bytes_max);
    explore_check(world.table->hot_pages == 2);
    world_final();
}

static void miss_twice(void)
{
    miss();
    miss();
}

static void init_first_misses(void)
{
    init_two_blocks();
}

const struct explore_scenario hot_scenarios[] = {
    {"hot-array", "the leaf's array is made once", init_first_misses, {miss_twice, miss}, world_final},
    {"hot-map", "an exact map is made once, and covers", init_nearly_hot, {miss, miss, store_0}, world_final},
    {"hot-map-link",
     "a block is linked while the map is made",
     init_nearly_hot,
     {miss, kill_0, translate_0_again},
     world_final},
    {"hot-budget", "two maps, and memory for one", init_budget, {miss_1_looking, miss_2}, final_budget},
    {"hot-kill-store", "the map is narrowed after retired", init_hot, {kill_first, store_0}, world_final},
    {"hot-kill-link", "the map against a new block", init_hot, {kill_first, translate_0_again, store_0}, world_final},
    {.name = NULL},
};
