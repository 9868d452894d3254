/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Brackets against store checks, other brackets, traps and aborts. */
#include "acts.h"
#include "scenarios.h"
#include "world.h"

/* ---- bracket against store check ---- */

static void translate_twice(void)
{
    translate(0, 0, 0, 0);
    translate(1, 1, 0, 1);
}

static void store_0_twice(void)
{
    checked_store(0, 0, 1);
    checked_store(0, 0, 2);
}

/* A store whose bytes begin on the page before, which the inline part of the check passes on. */
static void store_0_long(void)
{
    guest_store(1, 0, 1);
    explore_check(pgl_store_check(world.table, ADDR(1, 0) - 8u, SLOT_BYTES + 8u, NULL) >= 0);
    expect_fresh(1, 0, 1);
}

static void init_neighbour(void)
{
    world_init();
    explore_check(translate(2, 1, 0, 1));
}

static void translate_after_store(void)
{
    checked_store(0, 0, 1);
    translate(1, 0, 0, 0);
}

/* ---- crossing brackets ---- */

static void cross_up(void)
{
    translate_two(0, 0, 0, 0, 1, 0);
}

static void cross_down_same_words(void)
{
    translate_two(1, 1, 1, 0, 0, 0);
}

static void store_page_0_slot_1(void)
{
    checked_store(0, 1, 1);
}

static void store_page_1(void)
{
    checked_store(1, 0, 1);
}

static void store_page_1_slot_1(void)
{
    checked_store(1, 1, 1);
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

/* A store across the page's end: the first word of page 1 is behind the last bytes of page 0. */
static void store_both_pages(void)
{
    guest_store(1, 0, 1);
    explore_check(pgl_store_check(world.table, ADDR(1, 0) - 2, 4, NULL) >= 0);
    expect_fresh(1, 0, 1);
}

/* The same page twice: two extents, locked once. */
static void cross_same(void)
{
    translate_two(0, 0, 0, 0, 0, 1);
}

static void translate_page_1_slot_0(void)
{
    translate(1, 1, 1, 0);
}

static void translate_0_slot_1(void)
{
    translate(1, 1, 0, 1);
}

/* Two extents on one page without a crossing. */
static void two_extents(void)
{
    translate_shape(0, 0, &(struct shape){0, NO_CROSSING, 2, {{0, 0, 0}, {0, 1, 0}}});
}

/* A crossing that the block does not need: one extent, on the first page. */
static void cross_up_for_nothing(void)
{
    translate_shape(0, 0, &(struct shape){0, 1, 1, {{0, 0, 0}}});
}

static void cross_down_for_nothing(void)
{
    translate_shape(0, 0, &(struct shape){1, 0, 1, {{1, 0, 0}}});
}

/* One extent, on the second page. */
static void cross_up_to_all(void)
{
    translate_shape(0, 0, &(struct shape){0, 1, 1, {{1, 1, 0}}});
}

static void cross_down_to_all(void)
{
    translate_shape(0, 0, &(struct shape){1, 0, 1, {{0, 0, 0}}});
}

/* Both extents on one page of the two. */
static void cross_up_two_on_first(void)
{
    translate_shape(0, 0, &(struct shape){0, 1, 2, {{0, 0, 0}, {0, 1, 0}}});
}

static void cross_down_two_on_second(void)
{
    translate_shape(0, 0, &(struct shape){1, 0, 2, {{0, 0, 0}, {0, 1, 0}}});
}

static void init_neighbours(void)
{
    world_init();
    world.used_keys = 4;
    explore_check(translate(2, 2, 0, 2));
    explore_check(translate(3, 3, 1, 2));
}

/* ---- traps ---- */

static void init_traps(void)
{
    world_init();
    world.uses_traps = true;
}

static void trap_store_0(void)
{
    trapping_store(0, 0, 1);
}

static void trap_store_1(void)
{
    trapping_store(1, 1, 1);
}

static void init_fenced_traps(void)
{
    world_init();
    world.fences_traps = true;
}

static void fenced_store_0(void)
{
    fenced_store(0, 0, 1);
}

static void trap_store_page_1(void)
{
    trapping_store(1, 0, 1);
}

static void abort_bracket(void)
{
    struct pgl_bracket bracket;

    explore_check(pgl_bracket_begin(&bracket, world.table, 0));
    guest_load(0, 0);
    pgl_bracket_abort(&bracket);
}

static void abort_bracket_1(void)
{
    struct pgl_bracket bracket;

    explore_check(pgl_bracket_begin(&bracket, world.table, 1));
    pgl_bracket_abort(&bracket);
}

/* ---- stores inside a bracket ---- */

/* A page-table walk sets a bit, once: the second decoding finds it set. The bracket hears of it @times times. */
static void translate_storing(unsigned int block, unsigned int key, unsigned int page, unsigned int store_page,
                              unsigned int times)
{
    struct pgl_bracket bracket;
    struct block *made = &world.blocks[block];
    enum pgl_bracket_result result;
    bool stored = false;

    made->key = key;
    explore_check(pgl_bracket_begin(&bracket, world.table, INDEX(page)));
    do {
        pgl_tb_init(&made->tb);
        made->parts[0] = (struct part){page, 0, guest_load(page, 0)};
        made->nparts = 1;
        pgl_tb_set_bytes(&made->tb, 0, ADDR(page, 0), LAST_ADDR(page, 0));
        if (!stored) {
            guest_store(store_page, 0, 1);
            for (unsigned int n = 0; n < times; n++) {
                explore_check(pgl_bracket_store(&bracket, ADDR(store_page, 0), SLOT_BYTES) != PGL_BRACKET_ERROR);
            }
            stored = true;
        }
        result = pgl_bracket_commit(&bracket, &made->tb, NULL);
    } while (result == PGL_BRACKET_RESTART);
    made->linked = result == PGL_BRACKET_OK;
    expect_fresh(store_page, 0, 1);
}

static void storing_own_page(void)
{
    translate_storing(0, 0, 0, 0, 1);
}

static void storing_own_page_beyond_its_room(void)
{
    translate_storing(0, 0, 0, 0, PGL_BRACKET_STORES + 1);
}

static void storing_1_from_0(void)
{
    translate_storing(0, 0, 0, 1, 1);
}

static void storing_0_from_1(void)
{
    translate_storing(1, 1, 1, 0, 1);
}

/* A store whose bytes begin on the bracket's page and end on the next one, which is not held. */
static void storing_across_from_0(void)
{
    struct pgl_bracket bracket;

    explore_check(pgl_bracket_begin(&bracket, world.table, 0));
    guest_store(1, 0, 1);
    explore_check(pgl_bracket_store(&bracket, ADDR(1, 0) - 2, SLOT_BYTES + 2) == PGL_BRACKET_RESTART);
    pgl_bracket_abort(&bracket);
    expect_fresh(1, 0, 1);
}

static void translate_page_1(void)
{
    translate(2, 1, 1, 0);
}

/* A store to a page with code, beside the code. Another thread may hold the page. */
static void storing_beside_from_0(void)
{
    struct pgl_bracket bracket;

    explore_check(pgl_bracket_begin(&bracket, world.table, 0));
    guest_store(1, 1, 1);
    explore_check(pgl_bracket_store(&bracket, ADDR(1, 1), SLOT_BYTES) != PGL_BRACKET_ERROR);
    pgl_bracket_abort(&bracket);
}

/* A page that was only locked has raised no false alarm. */
static void final_no_alarm(void)
{
    struct pgl_table_stats stats;

    pgl_table_get_stats(world.table, &stats);
    explore_check(stats.false_alarms == 0);
    world_final();
}

static void init_linked_page_1(void)
{
    world_init();
    explore_check(translate(3, 1, 1, 0));
}

static void init_linked_both(void)
{
    world_init();
    world.used_keys = 3;
    explore_check(translate_two(3, 2, 0, 0, 1, 0));
}

/* ---- store brackets ---- */

static void store_bracketed(void)
{
    struct pgl_store store;

    explore_check(pgl_store_begin(&store, world.table, ADDR(0, 0), SLOT_BYTES, NULL) >= 0);
    guest_store(0, 0, 1);
    pgl_store_end(&store);
    expect_fresh(0, 0, 1);
}

static void store_bracketed_both(void)
{
    struct pgl_store store;

    explore_check(pgl_store_begin(&store, world.table, ADDR(1, 0) - 2, 4, NULL) >= 0);
    guest_store(1, 0, 1);
    pgl_store_end(&store);
    expect_fresh(1, 0, 1);
}

const struct explore_scenario bracket_scenarios[] = {
    {"bracket-store", "a bracket reads new bytes or its block dies", world_init, {translate_0, store_0}, world_final},
    {"bracket-store-long",
     "the same with a store over two pages",
     world_init,
     {translate_page_1_slot_0, store_0_long},
     world_final},
    {"bracket-store-twice", "the same for each store", world_init, {translate_0, store_0_twice}, world_final},
    {"bracket-bracket-store",
     "equal blocks: one is made, and it dies",
     world_init,
     {translate_0, translate_0_again, store_0},
     world_final},
    {"bracket-neighbour",
     "a store beside the block's bytes",
     init_linked,
     {translate_other_slot, store_1, store_0},
     world_final},
    {"bracket-two-stores",
     "two blocks, two storing threads",
     world_init,
     {translate_twice, store_0, store_1},
     world_final},
    {"bracket-fast-store", "a page that has blocks already", init_neighbour, {translate_0, store_0}, world_final},
    {"bracket-own-store",
     "translate what one stored oneself",
     init_linked,
     {translate_after_store, translate_0_again},
     world_final},
    {"bracket-store-bracket",
     "both threads do both",
     init_linked,
     {translate_after_store, store_1, translate_other_slot},
     world_final},
    {"cross-store-low", "a store to the lower page", world_init, {cross_down, store_page_0_slot_1}, world_final},
    {"cross-store-high", "a store to the higher page", world_init, {cross_down, store_page_1_slot_1}, world_final},
    {"cross-up-store", "crossing upwards", world_init, {cross_up, store_page_0, store_page_1}, world_final},
    {"cross-cross", "crossing both ways at once", world_init, {cross_up, cross_down}, world_final},
    {"cross-cross-store",
     "restart with a store in between",
     world_init,
     {cross_up, cross_down_same_words, store_page_0},
     world_final},
    {"cross-busy-store",
     "restart because the lower page is busy",
     world_init,
     {cross_down, lock_page_0, store_page_1_slot_1},
     world_final},
    {"cross-store-across", "a store across the page's end", world_init, {cross_up, store_both_pages}, world_final},
    {"cross-same-page", "one page twice", world_init, {cross_same, store_1}, world_final},
    {"bracket-two-extents", "two extents without a crossing", world_init, {two_extents, store_0, store_1}, world_final},
    {"bracket-two-extents-fast",
     "on a page that has blocks",
     init_neighbours,
     {two_extents, store_0, store_1},
     world_final},
    {"cross-for-nothing",
     "the second page is not needed after all",
     world_init,
     {cross_up_for_nothing, translate_page_1_slot_0, store_page_1},
     world_final},
    {"cross-for-nothing-fast",
     "where both pages have blocks",
     init_neighbours,
     {cross_up_for_nothing, translate_page_1_slot_0, store_page_0},
     world_final},
    {"cross-for-nothing-down",
     "the lower page is not needed after all",
     init_neighbours,
     {cross_down_for_nothing, store_page_1, lock_page_0},
     world_final},
    {"cross-to-all",
     "nothing of the first page is needed",
     world_init,
     {cross_up_to_all, store_page_1_slot_1},
     world_final},
    {"cross-to-all-fast",
     "where both pages have blocks",
     init_neighbours,
     {cross_up_to_all, store_page_1_slot_1, translate_0_slot_1},
     world_final},
    {"cross-to-all-down",
     "the lower page has it all",
     init_neighbours,
     {cross_down_to_all, store_page_0, lock_page_0},
     world_final},
    {"cross-two-on-first",
     "both extents on the first page",
     init_neighbours,
     {cross_up_two_on_first, store_0, store_1},
     world_final},
    {"cross-two-on-second",
     "both extents on the second page",
     init_neighbours,
     {cross_down_two_on_second, store_0, store_1},
     world_final},
    {"trap-cross-for-nothing",
     "the page that is not needed keeps no trap, and another's block keeps its own",
     init_traps,
     {cross_up_for_nothing, translate_page_1_slot_0, trap_store_page_1},
     world_final},
    {"trap-store", "only trapped stores are checked", init_traps, {translate_0, trap_store_0}, world_final},
    {"trap-abort",
     "an aborted bracket leaves the other's trap",
     init_traps,
     {translate_0, abort_bracket, trap_store_0},
     world_final},
    {"trap-cross",
     "a page let go and taken again is trapped again",
     init_traps,
     {cross_down, cross_up, trap_store_1},
     world_final},
    {"trap-cross-abort",
     "the same against an abort",
     init_traps,
     {cross_down, abort_bracket_1, trap_store_1},
     world_final},
    {"trap-cross-busy",
     "the same where the lower page is busy",
     init_traps,
     {cross_down, lock_page_0, trap_store_1},
     world_final},
    {"trap-fenced",
     "the bracket fences after first_code: a trap may be a flag that who stores looks at behind a fence",
     init_fenced_traps,
     {translate_0, fenced_store_0},
     world_final},
    {"trap-fenced-kill",
     "a flag that no_code has cleared means that retired has returned",
     init_fenced_traps,
     {translate_0, kill_0, fenced_store_0},
     world_final},
    {"trap-kill",
     "the last block's death against a new one",
     init_traps,
     {translate_0, kill_0, trap_store_0},
     world_final},
    {"inner-store-own",
     "a store to the bracket's own page",
     world_init,
     {storing_own_page, translate_0_again},
     world_final},
    {"inner-store-full",
     "a store that the bracket has no room for",
     world_init,
     {storing_own_page_beyond_its_room, translate_0_again},
     world_final},
    {"inner-store-other",
     "a store to a page another translates",
     world_init,
     {storing_1_from_0, translate_page_1},
     world_final},
    {"inner-store-across",
     "a store to the bracket's page and the next one",
     init_linked,
     {storing_across_from_0, translate_page_1},
     world_final},
    {"inner-store-linked", "a store that kills", init_linked_page_1, {storing_1_from_0, lock_page_0}, world_final},
    {"inner-store-beside",
     "a store beside code, to a page that another holds",
     init_linked_page_1,
     {storing_beside_from_0, lock_page_1},
     final_no_alarm},
    {"inner-store-crosswise",
     "two brackets store to each other's page",
     world_init,
     {storing_1_from_0, storing_0_from_1},
     world_final},
    {"inner-store-crossing",
     "a store that kills a block on both",
     init_linked_both,
     {storing_1_from_0, store_page_0_slot_1},
     world_final},
    {"store-bracket",
     "no translation between kill and store",
     init_linked,
     {store_bracketed, translate_0_again},
     world_final},
    {"store-bracket-pages",
     "the same across a page's end",
     init_linked_page_1,
     {store_bracketed_both, cross_up, translate_page_1},
     world_final},
    {.name = NULL},
};
