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

/* ---- lists in order of buckets ---- */

/* Stores beside a block at a word make its page hot. */
static void make_hot(unsigned int page, unsigned int slot)
{
    for (int i = 0; i < 5; i++) {
        explore_check(pgl_store_check(world.table, ADDR(page, slot) + 16, SLOT_BYTES, NULL) == 0);
    }
    explore_check(pgl_page_find(world.table, INDEX(page))->head & PGL_HEAD_HOT);
}

/* Make a block of all bytes from one word of page 0 to another. It begins in one bucket and reaches over many. */
static void translate_wide(unsigned int number, unsigned int key, unsigned int first, unsigned int last)
{
    struct block *block = &world.blocks[number];
    struct pgl_bracket bracket;

    explore_check(pgl_bracket_begin(&bracket, world.table, 0));
    block->key = key;
    block->nparts = 2;
    block->parts[0] = (struct part){0, first, guest_load(0, first)};
    block->parts[1] = (struct part){0, last, guest_load(0, last)};
    pgl_tb_set_bytes(&block->tb, 0, ADDR(0, first), LAST_ADDR(0, last));
    block->linked = pgl_bracket_commit(&bracket, &block->tb, NULL) == PGL_BRACKET_OK;
}

/* A hot page with a block over words 0 to 2, and one at word 1, in the middle of its bytes. */
static void init_wide(void)
{
    world_init();
    explore_check(translate(1, 1, 0, 1));
    make_hot(0, 1);
    translate_wide(0, 0, 0, 2);
}

static void store_2(void)
{
    checked_store(0, 2, 1);
}

static void translate_wide_again(void)
{
    translate_wide(5, 0, 0, 2);
}

static void translate_1_again(void)
{
    translate(4, 1, 0, 1);
}

/* Bytes that begin behind the beginnings of both blocks, of which one reaches into them. */
static void kill_behind_word_1(void)
{
    kill_words(0, 2, 0, 3);
    explore_check(world.blocks[0].retired == 1);
}

static void kill_all_of_page_0(void)
{
    kill_words(0, 0, 0, 3);
    explore_check(world.blocks[0].retired == 1 && world.blocks[1].retired == 1);
}

/* Two hot pages with blocks that cross either way, and on each a block of its own. */
static void init_crossing_hot(void)
{
    world_init();
    world.used_keys = 4;
    explore_check(translate(2, 2, 0, 2));
    explore_check(translate(3, 3, 1, 2));
    make_hot(0, 2);
    make_hot(1, 2);
    explore_check(translate_two(0, 0, 0, 0, 1, 0));
    explore_check(translate_two(1, 1, 1, 1, 0, 1));
}

/* Page 0 is hot, and page 1 is not. */
static void init_half_hot(void)
{
    world_init();
    explore_check(translate(2, 2, 0, 2));
    make_hot(0, 2);
    explore_check(translate_two(0, 0, 0, 0, 1, 0));
    explore_check(translate_two(1, 1, 1, 1, 0, 1));
}

static void store_1_0(void)
{
    checked_store(1, 0, 1);
}

static void store_1_1(void)
{
    checked_store(1, 1, 1);
}

static void store_1_2(void)
{
    checked_store(1, 2, 1);
}

static void cross_up_again(void)
{
    translate_two(4, 0, 0, 0, 1, 0);
}

static void cross_down_again(void)
{
    translate_two(5, 1, 1, 1, 0, 1);
}

static void flush(void)
{
    explore_check(pgl_flush(world.table, NULL) >= 0);
    explore_check(world.blocks[0].retired == 1 && world.blocks[1].retired == 1);
}

/* A block on three hot pages. */
static void init_super_hot(void)
{
    world_init();
    world.used_keys = 4;
    explore_check(translate(1, 1, 0, 1));
    explore_check(translate(2, 2, 1, 1));
    make_hot(0, 1);
    make_hot(1, 1);
    explore_check(translate_many(0, 0, (const struct part[]){{2, 0, 0}, {0, 0, 0}, {1, 0, 0}}, 3));
}

static void super_again(void)
{
    translate_many(5, 0, (const struct part[]){{2, 0, 0}, {0, 0, 0}, {1, 0, 0}}, 3);
}

/* ---- left by a reset ---- */

static void init_reset(void)
{
    init_two_blocks();
    world_reset();
}

static void init_reset_hot(void)
{
    init_hot();
    world_reset();
}

static void store_clean(void)
{
    explore_check(checked_store(0, 0, 1) == 0);
}

static void store_1_clean(void)
{
    explore_check(checked_store(0, 1, 1) == 0);
}

static void store_in_bracket_clean(void)
{
    struct pgl_store store;

    explore_check(pgl_store_begin(&store, world.table, ADDR(0, 2), SLOT_BYTES, NULL) == 0);
    guest_store(0, 2, 1);
    pgl_store_end(&store);
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
    {"hot-kills-links",
     "two stores kill while both blocks are made again",
     init_hot,
     {store_0, store_1, translate_0_again, translate_1_again},
     world_final},
    {"hot-reach",
     "a store to the end of a block that reaches over many buckets",
     init_wide,
     {store_2, store_1},
     world_final},
    {"hot-reach-link",
     "such a block dies while its like is linked behind another",
     init_wide,
     {store_2, translate_wide_again, translate_1_again},
     world_final},
    {"hot-reach-range",
     "a range that only its reach comes to",
     init_wide,
     {kill_behind_word_1, store_1, translate_wide_again},
     world_final},
    {"hot-portions",
     "a hot page dies in portions, and a store hits what is left",
     init_wide,
     {kill_all_of_page_0, store_1, translate_wide_again},
     world_final},
    {"hot-cross-kills",
     "crossing blocks of two hot pages die at once",
     init_crossing_hot,
     {store_0, store_1_1, store_1_2},
     world_final},
    {"hot-cross-kill-block",
     "stores to both pages of a block",
     init_crossing_hot,
     {store_0, store_1_0, kill_first},
     world_final},
    {"hot-cross-links",
     "crossing blocks die while they are made again",
     init_crossing_hot,
     {store_0, cross_up_again, cross_down_again},
     world_final},
    {"hot-cross-flush", "a flush in portions against a store", init_crossing_hot, {flush, store_1_1}, world_final},
    {"hot-cross-half",
     "the same where one of the pages is hot",
     init_half_hot,
     {store_1_1, cross_up_again, store_0},
     world_final},
    {"hot-super",
     "a block on three pages, two of them hot",
     init_super_hot,
     {store_0, store_1_0, super_again},
     world_final},
    {"reset-stores", "stores to a page that a reset left", init_reset, {store_clean, store_1_clean}, world_final},
    {"reset-bracket",
     "a store and a bracket on such a page",
     init_reset,
     {store_0, translate_0_again, store_in_bracket_clean},
     world_final},
    {"reset-flush", "a flush and a bracket on such a page", init_reset, {kill_0, translate_0_again}, world_final},
    {"reset-hot",
     "the same of a page that was hot",
     init_reset_hot,
     {store_0, translate_0_again, store_1_clean},
     world_final},
    {.name = NULL},
};
