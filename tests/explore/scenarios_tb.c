/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Store checks and invalidations against each other, and against brackets. */
#include "acts.h"
#include "scenarios.h"
#include "world.h"

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
    if (!pgl_has_lock_debug()) { /* a witness cannot do without memory */
        explore_fail_allocation(0);
    }
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

/* A flush of page 0 kills in two portions. The first leaves page 1 wide, which then has one block more. */
static void init_partner(void)
{
    world_init();
    world.used_keys = 3;
    explore_check(translate(1, 1, 0, 1));
    explore_check(translate_two(0, 0, 0, 0, 1, 0));
    explore_check(translate(2, 2, 1, 2));
}

static void store_1_2(void)
{
    checked_store(1, 2, 1);
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
    explore_check(pgl_page_get(world.table, FARTHER_PAGE + 1));
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

/* One block of two words of a page: a store to one word kills it, and the thread that stores to the other must know. */
static void init_two_stores(void)
{
    world_init();
    explore_check(translate_two(0, 0, 0, 0, 0, 1));
}

static void store_again(void)
{
    checked_store(0, 1, 1);
}

/* ---- jump caches and the running block ---- */

/* Look up, and cache a live block. */
static void cache_block(void)
{
    struct block *block = find_block(0);

    if (block && pgl_tb_is_live(&block->tb)) {
        pgl_cache_tb(&world.cached[explore_self()], &block->tb);
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

/* A store that meets no code at all: its answer says that the running block is dead all the same. */
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
    if (find_block(0)) {
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
    {"flush-rest", "another thread kills what a portion left", init_two_blocks, {flush, store_0, store_1}, world_final},
    {"flush-flush-rest", "two flushes in portions", init_two_blocks, {flush, flush, store_1}, world_final},
    {"flush-portion-bracket",
     "a bracket between two portions",
     init_two_blocks,
     {store_and_flush, translate_0_again},
     world_final},
    {"flush-portion-hot", "a page becomes hot between two portions", init_nearly_hot, {flush, miss}, world_final},
    {"flush-portion-partner",
     "another thread empties a page that a portion left wide",
     init_partner,
     {kill_page_0, store_1_2},
     world_final},
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
