/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table and the page lock. The locks protect plain data; therefore a lock that does not hold is a race. */
#include <errno.h>

#include "scenarios.h"
#include "world.h"

static unsigned int counters[3];

static void init_counters(void)
{
    world_init();
    for (int i = 0; i < 3; i++) {
        counters[i] = 0;
    }
}

static void count_page(unsigned int page)
{
    struct pgl_page *descriptor = pgl_page_find(world.table, page);

    pgl_page_lock(world.table, descriptor);
    counters[page]++;
    pgl_page_unlock(world.table, descriptor);
}

static void count_twice(void)
{
    count_page(0);
    count_page(0);
}

static void final_four(void)
{
    explore_check(counters[0] == 4);
    world_final();
}

static void final_six(void)
{
    explore_check(counters[0] == 6);
    world_final();
}

/* True means acquired, and a free lock is acquired. */

static unsigned int tries[EXPLORE_THREADS];

static void try_page(void)
{
    struct pgl_page *page = pgl_page_find(world.table, 0);

    tries[explore_self()] = 0;
    for (int i = 0; i < 2; i++) {
        if (pgl_page_trylock(world.table, page)) {
            counters[0]++;
            pgl_page_unlock(world.table, page);
            tries[explore_self()]++;
        }
    }
}

static void final_tries(void)
{
    explore_check(counters[0] == 2 + tries[1] && counters[0] > 0);
    world_final();
}

static void final_tries_only(void)
{
    explore_check(counters[0] == tries[0] + tries[1] && counters[0] > 0);
    world_final();
}

/* Pairs, in every order. */

static void count_pair(unsigned int a, unsigned int b)
{
    explore_check(pgl_page_lock_pair(world.table, a, b));
    counters[a]++;
    if (b != a) {
        counters[b]++;
    }
    pgl_page_unlock_pair(world.table, a, b);
}

static void pair_01(void)
{
    count_pair(0, 1);
}

static void pair_10(void)
{
    count_pair(1, 0);
}

static void pair_12(void)
{
    count_pair(1, 2);
}

static void pair_20(void)
{
    count_pair(2, 0);
}

static void pair_11(void)
{
    count_pair(1, 1);
    count_pair(1, 0);
}

static void final_pairs(void)
{
    explore_check(counters[0] == 2 && counters[1] == 2 && counters[2] == 2);
    world_final();
}

static void final_pair_equal(void)
{
    explore_check(counters[0] == 2 && counters[1] == 3);
    world_final();
}

/* Turns: here a waiter starves after two waits. */

static bool waiter_got_it;

static void init_turn(void)
{
    init_counters();
    waiter_got_it = false;
}

static void starve_on_0(void)
{
    struct pgl_page *page = pgl_page_find(world.table, 0);

    pgl_page_lock(world.table, page);
    waiter_got_it = true;
    counters[0]++;
    pgl_page_unlock(world.table, page);
}

/* A lock that begins after the waiter has queued comes after the waiter's. */
static void lock_again_and_again(void)
{
    struct pgl_page *page = pgl_page_find(world.table, 0);

    for (int i = 0; i < 5; i++) {
        bool starves = pgl_table_special(world.table) & PGL_SPECIAL_STARVING;

        if (i % 2 == 0) {
            pgl_page_lock(world.table, page);
        } else if (!pgl_page_trylock(world.table, page)) {
            counters[1]++;
            continue;
        }
        explore_check(!starves || waiter_got_it);
        counters[0]++;
        pgl_page_unlock(world.table, page);
    }
}

static void final_turn(void)
{
    explore_check(counters[0] + counters[1] == 6);
    explore_check(!(pgl_table_special(world.table) & PGL_SPECIAL_STARVING) && !world.table->turns);
    world_final();
}

static void final_turn_three(void)
{
    explore_check(counters[0] == 6 + tries[3]);
    world_final();
}

/* Turns on two pages, one of which is locked before the other. */

static void count_page_1_twice(void)
{
    count_page(1);
    count_page(1);
}

static void pair_01_twice(void)
{
    count_pair(0, 1);
    count_pair(1, 0);
}

static void final_turn_order(void)
{
    explore_check(counters[0] == 3 && counters[1] == 5);
    explore_check(!(pgl_table_special(world.table) & PGL_SPECIAL_STARVING) && !world.table->turns);
    world_final();
}

/* Leaves: the thread that loses the race frees all of its copy and gets the winner's. */

static struct pgl_page *got[EXPLORE_THREADS];

static void init_deep(void)
{
    world_init_deep();
    for (int t = 0; t < EXPLORE_THREADS; t++) {
        got[t] = NULL;
    }
}

static void get_same(void)
{
    got[explore_self()] = pgl_page_get(world.table, 1);
    explore_check(got[explore_self()]);
    explore_check(pgl_page_find(world.table, 1) == got[explore_self()]);
    pgl_page_lock(world.table, got[explore_self()]);
    pgl_page_unlock(world.table, got[explore_self()]);
}

static void get_neighbour(void)
{
    got[explore_self()] = pgl_page_get(world.table, FAR_PAGE);
    explore_check(got[explore_self()] && pgl_page_find(world.table, FAR_PAGE) == got[explore_self()]);
}

static void get_failing(void)
{
    explore_fail_allocation(1); /* the leaf is had, a node above it is not, where there is one */
    got[explore_self()] = pgl_page_get(world.table, 1);
    if (!got[explore_self()]) {
        explore_check(errno == ENOMEM);
        got[explore_self()] = pgl_page_get(world.table, 1);
    }
    explore_check(got[explore_self()]);
}

/* Found pages exist for good, in ascending order; a page that existed before the walk is found. */
static void walk(void)
{
    uint64_t index = 0, after = 0;
    unsigned int n = 0;
    struct pgl_page *page;

    while ((page = pgl_page_next(world.table, &index, UINT64_MAX)) && n < 3) {
        explore_check(index >= after && pgl_page_find(world.table, index) == page);
        after = index = (index | 511) + 1;
        n++;
    }
    explore_check(n == 1 || n == 2);
}

static void init_one_leaf(void)
{
    init_deep();
    explore_check(pgl_page_get(world.table, FARTHER_PAGE));
}

static void final_leaves(uint64_t expected)
{
    struct pgl_table_stats stats;

    pgl_table_get_stats(world.table, &stats);
    explore_check(stats.leaves == expected);
    world_final();
}

static void final_same_leaf(void)
{
    for (int t = 1; t < EXPLORE_THREADS; t++) {
        explore_check(!got[t] || got[t] == got[0]);
    }
    final_leaves(1);
}

static void final_two_leaves(void)
{
    final_leaves(2);
}

const struct explore_scenario page_scenarios[] = {
    {"lock-two", "one holder at a time", init_counters, {count_twice, count_twice}, final_four},
    {"lock-three", "one holder at a time", init_counters, {count_twice, count_twice, count_twice}, final_six},
    {"lock-try", "trylock acquires when it says so", init_counters, {count_twice, try_page}, final_tries},
    {"lock-try-try", "a free lock is acquired", init_counters, {try_page, try_page}, final_tries_only},
    {"pair-crosswise", "pairs are locked in ascending order", init_counters, {pair_01, pair_12, pair_20}, final_pairs},
    {"pair-equal", "a page that is both is locked once", init_counters, {pair_10, pair_11}, final_pair_equal},
    {"turn-later",
     "a lock begun later comes after a waiter that starves",
     init_turn,
     {lock_again_and_again, starve_on_0},
     final_turn},
    {"turn-three",
     "one holder at a time, and all get the page",
     init_counters,
     {count_twice, count_twice, count_twice, try_page},
     final_turn_three},
    {"turn-order",
     "turns on two pages do not wait in a circle",
     init_counters,
     {pair_01_twice, count_page_1_twice, pair_01},
     final_turn_order},
    {"leaf-two", "losers free their copy and use the winner's", init_deep, {get_same, get_same}, final_same_leaf},
    {"leaf-three", "losers free their copy", init_deep, {get_same, get_same, get_same}, final_same_leaf},
    {"leaf-neighbours", "two leaves below one node", init_deep, {get_same, get_neighbour}, final_two_leaves},
    {"leaf-no-memory", "a failed allocation changes nothing", init_deep, {get_failing, get_same}, final_same_leaf},
    {"leaf-walk", "a walk sees whole leaves only, in order", init_one_leaf, {get_same, walk}, final_two_leaves},
    {.name = NULL},
};
