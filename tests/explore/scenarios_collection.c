/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Collections against collections, translations and kills. A complete collection holds each page of its range and each
 * page of the blocks on it, so counting on all of them is no race; and it reads their lists.
 */
#include "scenarios.h"
#include "world.h"

static unsigned int visits[PAGES];

/* Every block found on a page of the range has its other page in the set. */
static bool has_partner(struct pgl_tb *tb, void *collection)
{
    for (unsigned int which = 0; which < pgl_tb_count_extents(tb); which++) {
        uint64_t index = pgl_tb_first_addr(tb, which) >> PAGE_BITS, at = index;
        explore_check(pgl_collection_next(collection, &at) && at == index);
    }
    return true;
}

static void collect(unsigned int first_page, unsigned int last_page)
{
    struct pgl_collection collection;
    struct pgl_page *page;
    uint64_t last = UINT64_MAX;

    explore_check(pgl_collection_lock(&collection, world.table, ADDR(first_page, 0), LAST_ADDR(last_page, 3)));
    for (uint64_t index = 0; (page = pgl_collection_next(&collection, &index)); index++) {
        unsigned int number = world_page_of(index);
        last = index;
        if (number < PAGES) {
            visits[number]++;
        }
        if (index >= INDEX(first_page) && index <= INDEX(last_page)) {
            pgl_page_foreach_tb(world.table, page, has_partner, &collection);
        }
    }
    explore_check(pgl_collection_max(&collection) == last);
    pgl_collection_unlock(&collection);
}

static void init(void)
{
    world_init();
    for (unsigned int page = 0; page < PAGES; page++) {
        visits[page] = 0;
    }
}

/* Blocks cross pages in falling order: the partner is always below. */
static void init_falling(void)
{
    init();
    explore_check(translate_two(0, 0, 2, 0, 0, 0));
    explore_check(translate_two(1, 1, 1, 0, 0, 1));
}

/* A ring: each page's block leads to the next. */
static void init_ring(void)
{
    init();
    world.used_keys = 3;
    explore_check(translate_two(0, 0, 0, 0, 1, 0));
    explore_check(translate_two(1, 1, 1, 1, 2, 0));
    explore_check(translate_two(2, 2, 2, 1, 0, 1));
}

/* Three leaves. */
static void init_leaves(void)
{
    init();
    world.used_keys = 3;
    explore_check(translate_two(0, 0, 5, 0, 0, 0));
    explore_check(translate_two(1, 1, 5, 1, 4, 0));
    explore_check(translate_two(2, 2, 4, 1, 0, 1));
}

static void collect_0(void)
{
    collect(0, 0);
}

static void collect_1(void)
{
    collect(1, 1);
}

static void collect_2(void)
{
    collect(2, 2);
}

static void collect_12(void)
{
    collect(1, 2);
}

static void collect_farther(void)
{
    collect(5, 5);
}

static void collect_far(void)
{
    collect(4, 4);
}

static void kill_low(void)
{
    kill_block(0);
}

static void kill_range_low(void)
{
    kill_words(0, 0, 0, 3);
}

static void collect_01(void)
{
    collect(0, 1);
}

static void lock_pair_01(void)
{
    explore_check(pgl_page_lock_pair(world.table, 0, 1));
    visits[0]++;
    visits[1]++;
    pgl_page_unlock_pair(world.table, 1, 0);
}

static void lock_page_0(void)
{
    struct pgl_page *page = pgl_page_find(world.table, 0);

    pgl_page_lock(world.table, page);
    visits[0]++;
    pgl_page_unlock(world.table, page);
}

static void translate_down(void)
{
    translate_two(3, 3, 2, 2, 1, 2);
}

static void translate_down_to_0(void)
{
    translate_two(4, 3, 1, 2, 0, 2);
}

static void store_low(void)
{
    checked_store(0, 0, 1);
}

const struct explore_scenario collection_scenarios[] = {
    {"collect-falling", "a busy lower page is taken in order", init_falling, {collect_2, collect_0}, world_final},
    {"collect-falling-range", "a range with lower partners", init_falling, {collect_12, collect_0}, world_final},
    {"collect-ring-two", "collections over a ring of blocks", init_ring, {collect_1, collect_2}, world_final},
    {"collect-ring-three", "three collections over a ring", init_ring, {collect_0, collect_1, collect_2}, world_final},
    {"collect-pair", "collections and pairs have one order", init_falling, {collect_01, lock_pair_01}, world_final},
    {"collect-kill", "a block dies before its page is held", init_falling, {collect_2, kill_low}, world_final},
    {"collect-range", "collection against a range", init_ring, {collect_12, kill_range_low}, world_final},
    {"collect-translate", "a block appears meanwhile", init_falling, {collect_12, translate_down}, world_final},
    {"collect-translate-busy",
     "a block appears on a page that was let go",
     init_falling,
     {collect_2, lock_page_0, translate_down},
     world_final},
    {"collect-translate-kill",
     "one appears while another dies",
     init_falling,
     {collect_2, translate_down_to_0, kill_low},
     world_final},
    {"collect-store", "a crossing block's store", init_ring, {collect_1, store_low}, world_final},
    {"collect-leaves", "a set over three leaves", init_leaves, {collect_farther, collect_far}, world_final},
    {"collect-leaves-kill",
     "a set over three leaves, blocks dying",
     init_leaves,
     {collect_farther, kill_low},
     world_final},
    {.name = NULL},
};
