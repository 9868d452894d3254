/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Kills of chosen blocks, by a predicate or an array, and sets in more leaves than a collection has room for. */
#include <errno.h>

#include "acts.h"
#include "scenarios.h"
#include "world.h"

/* ---- by a predicate ---- */

/* Whether a block was made of a word before it had a value. */
struct question {
    unsigned int page, slot;
    uint64_t value;
};

static bool is_old(const struct pgl_tb *tb, void *arg)
{
    const struct block *block = (const struct block *)tb;
    const struct question *question = arg;

    explore_check(pgl_tb_is_live(tb));
    for (unsigned int i = 0; i < block->nparts; i++) {
        const struct part *part = &block->parts[i];

        if (part->page == question->page && part->slot == question->slot && part->seen < question->value) {
            return true;
        }
    }
    return false;
}

/* Store a word, and then kill the old blocks of a range. */
static void store_and_choose(unsigned int page, unsigned int slot, unsigned int last_page)
{
    struct question question = {page, slot, 1};

    guest_store(page, slot, 1);
    explore_check(pgl_invalidate_if(world.table, ADDR(0, 0), LAST_ADDR(last_page, 3), is_old, &question, NULL) >= 0);
    expect_fresh(page, slot, 1);
}

static void choose_0(void)
{
    store_and_choose(0, 0, 0);
}

static void choose_1(void)
{
    store_and_choose(0, 1, 0);
}

static void choose_on_two_pages(void)
{
    store_and_choose(1, 0, 1);
}

static void choose_far(void)
{
    store_and_choose(7, 0, 7);
}

/* Two blocks that cross, and one that a predicate never chooses. */
static void init_crossing(void)
{
    world_init();
    world.used_keys = 3;
    explore_check(translate_two(0, 0, 1, 0, 0, 0));
    explore_check(translate_two(1, 1, 0, 1, 1, 1));
    explore_check(translate(2, 2, 0, 2));
}

static void cross_again(void)
{
    translate_two(5, 0, 1, 0, 0, 0);
}

/* ---- by an array ---- */

static int answers[EXPLORE_THREADS];

static void name_blocks(unsigned int first, unsigned int second)
{
    struct pgl_tb *const tbs[] = {&world.blocks[first].tb, &world.blocks[second].tb};

    answers[explore_self()] = pgl_invalidate_tbs(world.table, tbs, 2, NULL);
    explore_check(answers[explore_self()] >= 0);
    explore_check(world.blocks[first].retired == 1 && world.blocks[second].retired == 1);
}

static void name_0_and_1(void)
{
    name_blocks(0, 1);
}

static void name_1_and_0(void)
{
    name_blocks(1, 0);
}

static void name_0_twice(void)
{
    name_blocks(0, 0);
}

static void kill_tb_0(void)
{
    answers[explore_self()] = kill_block(0);
}

/* A block that another thread is about to link: it stays new, or it is dead. A witness reports a new one. */
static void name_a_new_one(void)
{
    struct pgl_tb *const tbs[] = {&world.blocks[1].tb, &world.blocks[0].tb};
    bool named = !pgl_has_lock_debug() || __atomic_load_n(&tbs[1]->state, __ATOMIC_RELAXED) != PGL_TB_NEW;

    explore_check(pgl_invalidate_tbs(world.table, tbs, named ? 2 : 1, NULL) == PGL_HIT);
    explore_check(world.blocks[1].retired == 1);
}

static void init_new_and_live(void)
{
    world_init();
    explore_check(translate(1, 1, 0, 1));
}

static void init_answers(void)
{
    for (int t = 0; t < EXPLORE_THREADS; t++) {
        answers[t] = 0;
    }
}

static void init_two(void)
{
    init_two_blocks();
    init_answers();
}

static void init_two_hot(void)
{
    init_hot();
    init_answers();
}

static void init_crossing_named(void)
{
    init_crossing();
    init_answers();
}

/* One block on no page, and one that is listed. */
static void init_unlisted(void)
{
    init_new_and_live();
    init_answers();
    pgl_tb_link_unlisted(world.table, &world.blocks[0].tb);
    world.blocks[0].linked = true;
}

static void final_one_hit(void)
{
    int hits = 0;

    for (int t = 0; t < EXPLORE_THREADS; t++) {
        hits += answers[t] == PGL_HIT;
    }
    explore_check(hits == 1);
    world_final();
}

/* ---- more leaves than four ---- */

/* A block of words in five leaves, the highest first. */
static const struct part in_five_leaves[] = {{7, 0, 0}, {0, 0, 0}, {6, 0, 0}, {4, 0, 0}, {5, 0, 0}};

static void init_five_leaves(void)
{
    world_init();
    explore_check(translate_many(0, 0, in_five_leaves, 5));
}

static void translate_five_leaves(void)
{
    translate_many(5, 0, in_five_leaves, 5);
}

static void store_highest(void)
{
    checked_store(7, 0, 1);
}

static void store_between(void)
{
    checked_store(4, 0, 1);
}

/* Blocks from page 0 to pages in four other leaves. */
static void init_fan(void)
{
    world_init();
    world.used_keys = 4;
    for (unsigned int i = 0; i < 4; i++) {
        explore_check(translate_two(i, i, 0, i, 4 + i, 0));
    }
}

static void collect_page_0(void)
{
    struct pgl_collection collection;
    uint64_t index = 0;
    unsigned int n = 0;

    explore_check(pgl_collection_lock(&collection, world.table, ADDR(0, 0), LAST_ADDR(0, 3)));
    for (; pgl_collection_next(&collection, &index); index++) {
        explore_check(world_page_of(index) < PAGES);
        n++;
    }
    explore_check(n >= 1 && n <= 5);
    pgl_collection_unlock(&collection);
}

static void store_fan_high(void)
{
    checked_store(7, 0, 1);
}

static void translate_fan_down(void)
{
    translate_two(5, 3, 7, 0, 0, 3);
}

static void kill_page_0(void)
{
    kill_words(0, 0, 0, 3);
}

/* The first allocation of the kill fails: of a leaf's record, or of the array of leaves. */
static void kill_page_0_no_memory(void)
{
    if (!pgl_has_lock_debug()) { /* a witness cannot do without memory */
        explore_fail_allocation(0);
    }
    kill_page_0();
    explore_check(world.blocks[0].retired == 1);
}

static void kill_tb_0_no_memory(void)
{
    if (!pgl_has_lock_debug()) {
        explore_fail_allocation(0);
    }
    kill_block(0);
}

static void collect_no_memory(void)
{
    struct pgl_collection collection;

    if (!pgl_has_lock_debug()) {
        explore_fail_allocation(0);
    }
    if (!pgl_collection_lock(&collection, world.table, ADDR(0, 0), LAST_ADDR(0, 3))) {
        explore_check(errno == ENOMEM);
        return;
    }
    pgl_collection_unlock(&collection);
}

static void lock_page_0(void)
{
    struct pgl_page *page = pgl_page_find(world.table, 0);

    pgl_page_lock(world.table, page);
    pgl_page_unlock(world.table, page);
}

const struct explore_scenario choice_scenarios[] = {
    {"if-commit",
     "a bracket reads the new bytes, or the predicate is asked about its block",
     world_init,
     {choose_0, translate_0},
     world_final},
    {"if-commit-again",
     "a block dies by the choice, and its like is made",
     init_linked,
     {choose_0, translate_0_again, store_1},
     world_final},
    {"if-store", "a store kills what was chosen", init_two_blocks, {choose_0, store_1, store_0}, world_final},
    {"if-if", "two choices from one page", init_two_blocks, {choose_0, choose_1, translate_0_again}, world_final},
    {"if-hot", "the same on a hot page", init_hot, {choose_0, choose_1, translate_0_again}, world_final},
    {"if-crossing",
     "a choice of a block whose other page is busy",
     init_crossing,
     {choose_on_two_pages, lock_page_0, cross_again},
     world_final},
    {"tbs-store", "a store hits a block of the array", init_two, {name_0_and_1, store_0}, world_final},
    {"tbs-store-hot", "the same on a hot page", init_two_hot, {name_0_and_1, store_0, translate_0_again}, world_final},
    {"tbs-kill",
     "another call kills one of them: both return behind `retired`",
     init_two,
     {name_0_twice, kill_tb_0},
     final_one_hit},
    {"tbs-tbs",
     "two arrays of crossing blocks in opposite order",
     init_crossing_named,
     {name_0_and_1, name_1_and_0, store_0},
     world_final},
    {"tbs-new",
     "a block of the array is linked meanwhile",
     init_new_and_live,
     {name_a_new_one, link_known},
     world_final},
    {"tbs-unlisted", "a block on no page, in two arrays", init_unlisted, {name_0_twice, kill_tb_0}, final_one_hit},
    {"tbs-choice",
     "an array against a predicate and a portion that it leaves",
     init_two,
     {name_1_and_0, choose_0},
     world_final},
    {"leaves-super",
     "a bracket in five leaves against a store",
     world_init,
     {translate_five_leaves, store_between},
     world_final},
    {"leaves-kill",
     "stores to both ends of a block in five leaves",
     init_five_leaves,
     {store_0, store_highest},
     world_final},
    {"leaves-kill-bracket",
     "such a block dies while its like is made",
     init_five_leaves,
     {store_between, translate_five_leaves},
     world_final},
    {"leaves-kill-block",
     "a range and a call kill it; memory runs out for both",
     init_five_leaves,
     {kill_page_0_no_memory, kill_tb_0_no_memory},
     world_final},
    {"leaves-if", "a choice over all leaves", init_five_leaves, {choose_far, store_between}, world_final},
    {"leaves-collect",
     "collections of five leaves against a store and a bracket",
     init_fan,
     {collect_page_0, store_fan_high, translate_fan_down},
     world_final},
    {"leaves-collect-no-memory",
     "a collection without memory leaves nothing locked",
     init_fan,
     {collect_no_memory, store_fan_high, lock_page_0},
     world_final},
    {"leaves-range",
     "a range whose victims have partners in four other leaves",
     init_fan,
     {kill_page_0, store_fan_high, translate_fan_down},
     world_final},
    {.name = NULL},
};
