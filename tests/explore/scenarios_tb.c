/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Brackets against store checks and invalidations, and these against each other. */
#include "scenarios.h"
#include "world.h"

/* ---- bracket against store check ---- */

static void translate_0(void)
{
    translate(0, 0, 0, 0);
}

static void translate_0_again(void)
{
    translate(5, 0, 0, 0);
}

static void translate_other_slot(void)
{
    translate(2, 1, 0, 1);
}

static void translate_twice(void)
{
    translate(0, 0, 0, 0);
    translate(1, 1, 0, 1);
}

static void store_0(void)
{
    checked_store(0, 0, 1);
}

static void store_0_twice(void)
{
    checked_store(0, 0, 1);
    checked_store(0, 0, 2);
}

/* The part of the store check that is not inline, called alone. */
static void store_0_slow(void)
{
    guest_store(0, 0, 1);
    explore_check(pgl_store_check_slow(world.table, ADDR(0, 0), SLOT_BYTES, NULL, PGL_HERE) >= 0);
    expect_fresh(0, 0, 1);
}

static void store_1(void)
{
    checked_store(0, 1, 1);
}

static void init_linked(void)
{
    world_init();
    explore_check(translate(0, 0, 0, 0));
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

static void cross_down(void)
{
    translate_two(1, 1, 1, 1, 0, 1);
}

static void cross_down_same_words(void)
{
    translate_two(1, 1, 1, 0, 0, 0);
}

static void store_page_0(void)
{
    checked_store(0, 0, 1);
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

static void kill_0(void)
{
    kill_words(0, 0, 0, 0);
}

/* ---- stores inside a bracket ---- */

/* A page-table walk that sets a bit, once: the second decoding finds it set. The bracket is told of it @times times. */
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

static void translate_page_1(void)
{
    translate(2, 1, 1, 0);
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

/* ---- dying once ---- */

static int answers[EXPLORE_THREADS];

static void kill_tb_0(void)
{
    answers[explore_self()] = kill_block(0);
}

static void kill_page_0(void)
{
    answers[explore_self()] = pgl_invalidate_page(world.table, 0, NULL);
    explore_check(world.blocks[0].retired == 1);
}

static void kill_page_1(void)
{
    answers[explore_self()] = pgl_invalidate_page(world.table, 1, NULL);
}

static void kill_pages_01(void)
{
    answers[explore_self()] = kill_words(0, 0, 1, 3);
    explore_check(world.blocks[0].retired == 1);
}

static void kill_page_0_no_memory(void)
{
    if (!pgl_has_lock_debug()) /* a witness cannot do without memory */
        explore_fail_allocation(0);
    kill_words(0, 0, 0, 3);
}

static void flush(void)
{
    answers[explore_self()] = pgl_flush(world.table, NULL);
}

static void init_answers(void)
{
    for (int t = 0; t < EXPLORE_THREADS; t++) {
        answers[t] = 0;
    }
}

static void init_dying(void)
{
    init_linked();
    init_answers();
}

static void init_dying_crossing(void)
{
    world_init();
    init_answers();
    explore_check(translate_two(0, 0, 1, 0, 0, 0));
}

static void init_unlisted(void)
{
    world_init();
    init_answers();
    pgl_tb_link_unlisted(world.table, &world.blocks[0].tb);
    world.blocks[0].linked = true;
}

/* Blocks of page 0 in three leaves, so that killing them wants memory for the set. */
static void init_leaves(void)
{
    world_init();
    world.used_keys = 3;
    explore_check(translate_two(0, 0, 5, 0, 0, 0));
    explore_check(translate_two(1, 1, 4, 0, 0, 1));
    explore_check(translate(2, 2, 0, 2));
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

/* ---- leaves ---- */

static void translate_far(void)
{
    translate(0, 0, 4, 0);
}

/* Behind a leaf that is absent, which a walk skips by the bits. */
static void get_farther(void)
{
    explore_check(pgl_page_get(world.table, FARTHER_PAGE + 1) != NULL);
}

static void translate_farther(void)
{
    translate(0, 0, 5, 0);
}

static void store_farther_and_kill_range(void)
{
    guest_store(5, 0, 1);
    kill_words(0, 0, 5, 3);
    expect_fresh(5, 0, 1);
}

static void store_far(void)
{
    checked_store(4, 0, 1);
}

static void store_and_kill_range(void)
{
    guest_store(4, 0, 1);
    kill_words(0, 0, 5, 3);
    expect_fresh(4, 0, 1);
}

static void store_and_flush(void)
{
    guest_store(0, 0, 1);
    explore_check(pgl_flush(world.table, NULL) >= 0);
    expect_fresh(0, 0, 1);
}

/* ---- filters ---- */

/* Two blocks with mask bits of their own, and one that shares a bit's bytes with neither. */
static void init_two_blocks(void)
{
    world_init();
    explore_check(translate(0, 0, 0, 0));
    explore_check(translate(1, 1, 0, 1));
}

/* One block of two words of a page: whoever stores to one kills it, whoever stores to the other must know. */
static void init_two_stores(void)
{
    world_init();
    explore_check(translate_two(0, 0, 0, 0, 0, 1));
}

static void store_again(void)
{
    checked_store(0, 1, 1);
}

static void kill_first(void)
{
    kill_block(0);
}

/* One store short of an exact map: misses within the mask's bits, beyond the block's bytes. */
static void miss(void)
{
    explore_check(pgl_store_check(world.table, ADDR(0, 0) + 16, SLOT_BYTES, NULL) == 0);
}

static void init_nearly_hot(void)
{
    init_two_blocks();
    for (int i = 0; i < 4; i++) {
        miss();
    }
}

static void init_hot(void)
{
    init_nearly_hot();
    for (int i = 0; i < 4; i++) {
        miss();
    }
    explore_check(pgl_page_find(world.table, 0)->head & PGL_HEAD_HOT);
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

/* ---- jump caches and the running block ---- */

/* Look up, cache, fence, test again: what is cached is alive or taken out again. */
static void cache_block(void)
{
    struct block *block = find_block(0);

    if (block == NULL || !pgl_tb_is_live(&block->tb)) {
        return;
    }
    __atomic_store_n(&world.cached[explore_self()], block, __ATOMIC_RELAXED);
    pgl_fence();
    if (!pgl_tb_is_live(&block->tb)) {
        __atomic_store_n(&world.cached[explore_self()], NULL, __ATOMIC_RELAXED);
    }
}

/* A store to the running block's own bytes: it is dead when the check has answered, by this thread or another. */
static void store_to_running(void)
{
    guest_store(0, 0, 1);
    int result = pgl_store_check(world.table, ADDR(0, 0), SLOT_BYTES, &world.blocks[0].tb);
    explore_check(result & PGL_RUNNING_DEAD);
    expect_fresh(0, 0, 1);
}

static uint64_t killed_flag;

static void init_flag(void)
{
    init_linked();
    killed_flag = 0;
}

static void kill_and_tell(void)
{
    kill_block(0);
    __atomic_store_n(&killed_flag, 1, __ATOMIC_RELEASE);
}

/* A store that meets no code at all: its answer tells that the running block is dead all the same. */
static void run_block(void)
{
    bool told = __atomic_load_n(&killed_flag, __ATOMIC_ACQUIRE);

    guest_store(1, 0, 1);
    int result = pgl_store_check(world.table, ADDR(1, 0), SLOT_BYTES, &world.blocks[0].tb);
    explore_check(!told || (result & PGL_RUNNING_DEAD));
    explore_check(!(result & PGL_HIT));
}

/* Without a lock, the state alone: a thread that sees the block dead sees what the killer did before. */

static void store_and_kill(void)
{
    guest_store(1, 0, 1);
    kill_block(0);
}

static void leave_dead(void)
{
    if (!pgl_tb_is_live(&world.blocks[0].tb)) {
        explore_check(guest_load(1, 0) == 1);
    }
}

/* A thread that sees it alive, or no longer new, sees what the maker wrote into it. Made new before the threads begin. */

static void link_known(void)
{
    struct block *made = &world.blocks[0];
    struct pgl_bracket bracket;

    explore_check(pgl_bracket_begin(&bracket, world.table, 0));
    made->key = 0;
    made->parts[0] = (struct part){0, 0, guest_load(0, 0)};
    made->nparts = 1;
    pgl_tb_set_bytes(&made->tb, 0, ADDR(0, 0), LAST_ADDR(0, 0));
    explore_check(pgl_bracket_commit(&bracket, &made->tb, NULL) == PGL_BRACKET_OK);
    made->linked = true;
}

static void link_known_unlisted(void)
{
    world.blocks[0].nparts = 0;
    pgl_tb_link_unlisted(world.table, &world.blocks[0].tb);
    world.blocks[0].linked = true;
}

static void look_into_live(void)
{
    const struct block *block = &world.blocks[0];

    explore_check(!pgl_tb_is_live(&block->tb) || block->nparts == 1);
}

static void look_into_unlisted(void)
{
    const struct block *block = &world.blocks[0];

    explore_check(!pgl_tb_is_live(&block->tb) || block->nparts == 0);
}

/* A block that is found can be killed: it is alive before it is published. */
static void kill_found(void)
{
    if (find_block(0) != NULL) {
        kill_block(0);
    }
}

static void kill_known(void)
{
    if (__atomic_load_n(&world.blocks[0].tb.state, __ATOMIC_RELAXED) != PGL_TB_NEW) {
        explore_check(kill_block(0) == PGL_HIT);
    }
}

/* ---- histories: link, invalidate, check on one word ---- */

enum { LINK, INVALIDATE, CHECK };

static bool apply(void *state, const struct hist_op *op)
{
    bool *live = state;
    bool was = *live;

    if (op->kind == LINK) {
        *live = true;
        return op->result == !was;
    }
    *live = false;
    return op->result == was;
}

static void hist_link(unsigned int block)
{
    int op = hist_call(LINK, block, 0);
    hist_return(op, translate(block, 0, 0, 0));
}

static void hist_invalidate(void)
{
    int op = hist_call(INVALIDATE, 0, 0);
    hist_return(op, kill_words(0, 0, 0, 0) & PGL_HIT);
}

static void hist_store(uint64_t value)
{
    int op = hist_call(CHECK, 0, 0);
    guest_store(0, 0, value);
    hist_return(op, pgl_store_check(world.table, ADDR(0, 0), SLOT_BYTES, NULL) & PGL_HIT);
}

static void hist_link_store(void)
{
    hist_link(0);
    hist_store(1);
}

static void hist_link_link(void)
{
    hist_link(1);
    hist_link(2);
}

static void hist_invalidate_link(void)
{
    hist_invalidate();
    hist_link(3);
}

static void hist_final(void)
{
    bool live = false;
    hist_check(&live, sizeof live, apply);
    world_final();
}

const struct explore_scenario tb_scenarios[] = {
    {"bracket-store", "a bracket reads new bytes or its block dies", world_init, {translate_0, store_0}, world_final},
    {"bracket-store-slow", "the same without the inline check", world_init, {translate_0, store_0_slow}, world_final},
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
    {"inner-store-linked", "a store that kills", init_linked_page_1, {storing_1_from_0, lock_page_0}, world_final},
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
    {"kill-kill", "a block dies once", init_dying, {kill_tb_0, kill_tb_0}, final_one_hit},
    {"kill-kill-store", "whoever kills it", init_dying, {kill_tb_0, kill_page_0, store_0}, world_final},
    {"kill-crossing",
     "a crossing block dies once",
     init_dying_crossing,
     {kill_tb_0, kill_page_0, kill_page_1},
     final_one_hit},
    {"kill-crossing-range",
     "a range against one page",
     init_dying_crossing,
     {kill_pages_01, kill_page_0},
     final_one_hit},
    {"kill-unlisted", "a block on no page dies once", init_unlisted, {kill_tb_0, kill_tb_0}, final_one_hit},
    {"kill-no-memory",
     "without memory blocks die one by one",
     init_leaves,
     {kill_page_0_no_memory, store_page_0},
     world_final},
    {"kill-translate",
     "a kill against an equal block's making",
     init_dying,
     {kill_tb_0, translate_0_again},
     world_final},
    {"leaf-bracket-store", "a store while the leaf is made", world_init_empty, {translate_0, store_0}, world_final},
    {"leaf-bracket-far", "a store while a second leaf is made", world_init, {translate_far, store_far}, world_final},
    {"leaf-bracket-range",
     "a range while its leaf is made",
     world_init,
     {translate_far, store_and_kill_range},
     world_final},
    {"leaf-bracket-get-range",
     "a leaf that another made is in every walk",
     world_init,
     {get_farther, translate_farther, store_farther_and_kill_range},
     world_final},
    {"leaf-brackets",
     "two brackets make one leaf",
     world_init_empty,
     {translate_0, translate_0_again, store_0},
     world_final},
    {"flush-bracket", "flush against a bracket", world_init, {translate_0, store_and_flush}, world_final},
    {"flush-cross", "flush against crossing brackets", init_linked, {cross_down, store_and_flush}, world_final},
    {"flush-flush", "everything dies once", init_dying_crossing, {flush, flush, kill_tb_0}, final_one_hit},
    {"narrow-store-store", "whichever store kills", init_two_stores, {store_0, store_again}, world_final},
    {"narrow-kill-store",
     "a cleared bit means that retired has returned",
     init_two_blocks,
     {kill_first, store_0},
     world_final},
    {"narrow-kill-other", "the other block stays covered", init_two_blocks, {kill_first, store_1}, world_final},
    {"narrow-kill-link",
     "narrowing against linking",
     init_two_blocks,
     {kill_first, translate_0_again, store_1},
     world_final},
    {"hot-array", "the leaf's array is made once", init_first_misses, {miss_twice, miss}, world_final},
    {"hot-map", "an exact map is made once, and covers", init_nearly_hot, {miss, miss, store_0}, world_final},
    {"hot-map-link",
     "a block is linked while the map is made",
     init_nearly_hot,
     {miss, kill_0, translate_0_again},
     world_final},
    {"hot-kill-store", "the map is narrowed after retired", init_hot, {kill_first, store_0}, world_final},
    {"hot-kill-link", "the map against a new block", init_hot, {kill_first, translate_0_again, store_0}, world_final},
    {"cache-kill", "no dead block stays cached", init_linked, {cache_block, kill_first}, world_final},
    {"cache-two-kill", "in no cache", init_linked, {cache_block, cache_block, store_0}, world_final},
    {"running-dead",
     "the answer is the block's state, whoever killed it",
     init_flag,
     {run_block, kill_and_tell},
     world_final},
    {"running-sees-killer",
     "what the killer did before shows with the death",
     init_linked,
     {store_and_kill, leave_dead},
     world_final},
    {"running-sees-maker", "what is alive is finished", world_init, {link_known, look_into_live}, world_final},
    {"running-sees-unlisted", "on no page, too", world_init, {link_known_unlisted, look_into_unlisted}, world_final},
    {"kill-sees-maker", "what is killed is finished", world_init, {link_known, kill_known}, world_final},
    {"kill-found", "what is found can be killed", world_init, {translate_0, kill_found, store_0}, world_final},
    {"kill-sees-unlisted", "on no page, too", world_init, {link_known_unlisted, kill_known}, world_final},
    {"running-kill-link",
     "the running block is dead, though a third thread wrote the mask since",
     init_linked,
     {store_to_running, kill_first, translate_other_slot},
     world_final},
    {"running-kill-link-hot",
     "the same of an exact map",
     init_hot,
     {store_to_running, kill_first, translate_other_slot},
     world_final},
    {"history-link-store",
     "link, invalidate, check are linearizable",
     world_init,
     {hist_link_store, hist_invalidate},
     hist_final},
    {"history-link-link", "with equal blocks", world_init, {hist_link_store, hist_link_link}, hist_final},
    {"history-three", "three threads", world_init, {hist_link_store, hist_link_link, hist_invalidate_link}, hist_final},
    {.name = NULL},
};
