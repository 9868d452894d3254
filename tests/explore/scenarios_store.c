/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Store brackets, also over two places, and stores that are announced and confirmed. */
#include "acts.h"
#include "scenarios.h"
#include "world.h"

/* ---- store brackets ---- */

/* Store a word of a page that a store bracket holds. */
static void store_under(unsigned int page, unsigned int slot)
{
    expect_fresh(page, slot, 1); /* S1: no block of the old bytes is found from here on */
    guest_store(page, slot, 1);
}

static void store_bracketed(void)
{
    struct pgl_store store;

    explore_check(pgl_store_begin(&store, world.table, ADDR(0, 0), SLOT_BYTES, NULL) >= 0);
    store_under(0, 0);
    pgl_store_end(&store);
    expect_fresh(0, 0, 1);
}

static void translate_0_once_more(void)
{
    translate(4, 0, 0, 0);
}

/* Two words of two pages at once, the higher one first. */
static void store_pair_down(void)
{
    struct pgl_store store;

    explore_check(pgl_store_begin_pair(&store, world.table, ADDR(1, 0), SLOT_BYTES, ADDR(0, 0), SLOT_BYTES, NULL) >= 0);
    store_under(1, 0);
    store_under(0, 0);
    pgl_store_end(&store);
    expect_fresh(0, 0, 1);
    expect_fresh(1, 0, 1);
}

/* Two other words of these pages, the lower one first. */
static void store_pair_up(void)
{
    struct pgl_store store;

    explore_check(pgl_store_begin_pair(&store, world.table, ADDR(0, 1), SLOT_BYTES, ADDR(1, 1), SLOT_BYTES, NULL) >= 0);
    store_under(0, 1);
    store_under(1, 1);
    pgl_store_end(&store);
    expect_fresh(0, 1, 1);
    expect_fresh(1, 1, 1);
}

static void cross_up(void)
{
    translate_two(1, 0, 0, 0, 1, 0);
}

static void cross_up_and_down(void)
{
    translate_two(1, 0, 0, 0, 1, 0);
    translate_two(2, 1, 1, 1, 0, 1);
}

static void init_crossing(void)
{
    world_init();
    explore_check(translate_two(0, 0, 0, 0, 1, 0));
}

/* A store counts as one hit, however often its bracket kills; a store at two places as two at most. */
static void check_hits(uint64_t least, uint64_t most)
{
    struct pgl_table_stats stats;

    pgl_table_get_stats(world.table, &stats);
    explore_check(stats.hits >= least && stats.hits <= most);
}

static void final_one_hit(void)
{
    check_hits(1, 1);
    world_final();
}

static void final_pair(void)
{
    check_hits(1, 2);
    world_final();
}

/* ---- announced and confirmed ---- */

static unsigned int done;

static void init_announced(void)
{
    init_linked();
    done = 0;
}

/* Check, store, check again; then tell the other threads. */
static void announce_and_confirm(void)
{
    explore_check(pgl_store_check(world.table, ADDR(0, 0), SLOT_BYTES, NULL) >= 0);
    guest_store(0, 0, 1);
    explore_check(pgl_store_check(world.table, ADDR(0, 0), SLOT_BYTES, NULL) >= 0);
    expect_fresh(0, 0, 1);
    __atomic_store_n(&done, 1, __ATOMIC_RELEASE);
}

/* A thread that is told of the store finds no block of the old bytes. */
static void follow(void)
{
    if (__atomic_load_n(&done, __ATOMIC_ACQUIRE)) {
        expect_fresh(0, 0, 1);
    }
}

/* A block that stores to its own bytes knows before it stores, and leaves. Its store is run again by itself. */
static void announce_to_running(void)
{
    explore_check(pgl_store_check(world.table, ADDR(0, 0), SLOT_BYTES, &world.blocks[0].tb) & PGL_RUNNING_DEAD);
    guest_store(0, 0, 1);
    explore_check(pgl_store_check(world.table, ADDR(0, 0), SLOT_BYTES, NULL) >= 0);
    expect_fresh(0, 0, 1);
}

/* Two vCPUs that patch a block each, which the other may be running: check, store, check again. */
static void patch(unsigned int page, unsigned int slot, unsigned int running)
{
    const struct pgl_tb *tb = &world.blocks[running].tb;
    bool dead = pgl_store_check(world.table, ADDR(page, slot), SLOT_BYTES, tb) & PGL_RUNNING_DEAD;

    guest_store(page, slot, 1);
    dead |= pgl_store_check(world.table, ADDR(page, slot), SLOT_BYTES, tb) & PGL_RUNNING_DEAD;
    explore_check(!dead || !pgl_tb_is_live(tb));
    expect_fresh(page, slot, 1);
}

/* Block 0 is of page 0, and block 1 of page 1. */
static void init_two_running(void)
{
    world_init();
    explore_check(translate(0, 0, 0, 0));
    explore_check(translate(1, 1, 1, 0));
}

static void patch_low(void)
{
    patch(0, 0, 1);
}

static void patch_high(void)
{
    patch(1, 0, 0);
}

static void translate_both_again(void)
{
    translate(4, 0, 0, 0);
    translate(5, 1, 1, 0);
}

/* Both patch the block that both run: each has been told, before it leaves its second check, that the block is dead. */
static void patch_own(unsigned int slot)
{
    const struct pgl_tb *tb = &world.blocks[0].tb;

    explore_check(pgl_store_check(world.table, ADDR(slot, slot), SLOT_BYTES, tb) & PGL_RUNNING_DEAD);
    guest_store(slot, slot, 1);
    explore_check(pgl_store_check(world.table, ADDR(slot, slot), SLOT_BYTES, tb) & PGL_RUNNING_DEAD);
    expect_fresh(slot, slot, 1);
}

static void init_both_run_one(void)
{
    world_init();
    explore_check(translate_two(0, 0, 0, 0, 1, 1));
}

static void patch_own_0(void)
{
    patch_own(0);
}

static void patch_own_1(void)
{
    patch_own(1);
}

static void cross_up_once_more(void)
{
    translate_two(3, 0, 0, 0, 1, 1);
}

const struct explore_scenario store_scenarios[] = {
    {"store-bracket-translate",
     "no block of the old bytes between begin and store",
     init_linked,
     {store_bracketed, translate_0_again, translate_0_once_more},
     final_one_hit},
    {"store-bracket-fast",
     "the same on a page without blocks",
     world_init,
     {store_bracketed, translate_0_again},
     world_final},
    {"store-bracket-cross",
     "the same where the block is on another page too",
     init_crossing,
     {store_bracketed, cross_up},
     final_one_hit},
    {"store-pair", "the same at two places", init_crossing, {store_pair_down, cross_up}, final_pair},
    {"store-pair-pair",
     "two brackets over two places in opposite order",
     world_init,
     {store_pair_down, store_pair_up, cross_up_and_down},
     world_final},
    {"announce-confirm",
     "no old block after the second check",
     init_announced,
     {announce_and_confirm, translate_0_again, follow},
     world_final},
    {"announce-running",
     "the running block knows before it stores",
     init_announced,
     {announce_to_running, translate_0_again},
     world_final},
    {"announce-each-other",
     "two vCPUs patch what the other runs, and a third makes both again",
     init_two_running,
     {patch_low, patch_high, translate_both_again},
     world_final},
    {"announce-one-block",
     "two vCPUs patch the block that both run",
     init_both_run_one,
     {patch_own_0, patch_own_1, cross_up_once_more},
     world_final},
    {.name = NULL},
};
