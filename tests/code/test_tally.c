/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The figures of a table: each is compared with a known value. */
#include "../../src/code/tally_internal.h"
#include "emu.h"

static void assert_figures(const struct emu *emu, unsigned blocks, unsigned kills, unsigned hits, unsigned false_alarms,
                           unsigned restarts)
{
    struct pgl_table_stats stats = emu_stats(emu);

    assert_int_equal(stats.blocks, blocks);
    assert_int_equal(stats.kills, kills);
    assert_int_equal(stats.hits, hits);
    assert_int_equal(stats.false_alarms, false_alarms);
    assert_int_equal(stats.restarts, restarts);
}

static void test_tally_of_a_new_table_is_zero(void **state)
{
    struct emu emu;

    (void)state;
    emu_init(&emu);
    assert_figures(&emu, 0, 0, 0, 0, 0);
    emu_fini(&emu);
}

static void test_tally_counts_each_living_block_once(void **state)
{
    struct emu_block on_empty_page, on_used_page, crossing, on_one_page_twice;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &on_empty_page, 0x5000, 0x5003);
    assert_figures(&emu, 1, 0, 0, 0, 0);
    emu_link(&emu, &on_used_page, 0x5100, 0x5103);
    assert_figures(&emu, 2, 0, 0, 0, 0);
    emu_link2(&emu, &crossing, 0x5ffc, 0x5fff, 0x7000, 0x7003);
    assert_figures(&emu, 3, 0, 0, 0, 0);
    emu_link2(&emu, &on_one_page_twice, 0x9ffc, 0x9fff, 0x9000, 0x9003);
    assert_figures(&emu, 4, 0, 0, 0, 0);
    emu_fini(&emu);
}

static void test_tally_does_not_count_a_block_that_has_an_equal(void **state)
{
    struct emu_block first, second;
    struct pgl_tb *equal;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_init_block(&first, 0x5000, 0x5003);
    emu_init_block(&second, 0x5000, 0x5003);
    first.key = second.key = 1;
    assert_int_equal(emu_translate(&emu, &first, &equal), PGL_BRACKET_OK);
    assert_int_equal(emu_translate(&emu, &second, &equal), PGL_BRACKET_EXISTS);
    assert_figures(&emu, 1, 0, 0, 0, 0);
    emu_fini(&emu);
}

static void test_tally_leaves_out_blocks_on_no_page(void **state)
{
    struct emu_block block = {0};
    struct emu emu;

    (void)state;
    emu_init(&emu);
    pgl_tb_init(&block.tb);
    pgl_tb_link_unlisted(emu.table, &block.tb);
    assert_figures(&emu, 0, 0, 0, 0, 0);
    assert_int_equal(pgl_invalidate_tb(emu.table, &block.tb, NULL), PGL_HIT);
    assert_figures(&emu, 0, 0, 0, 0, 0);
    emu_fini(&emu);
}

/* By a block, a range, a page, a flush; a block on two pages dies once. */
static void test_tally_counts_each_death_once(void **state)
{
    struct emu_block a, b, c, d, e;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &a, 0x5000, 0x5003);
    emu_link(&emu, &b, 0x5010, 0x5013);
    emu_link2(&emu, &c, 0x5ffc, 0x5fff, 0x6000, 0x6003);
    emu_link2(&emu, &d, 0x8ffc, 0x8fff, 0x7000, 0x7003);
    emu_link(&emu, &e, 0xa000, 0xa003);
    assert_int_equal(pgl_invalidate_tb(emu.table, &a.tb, NULL), PGL_HIT);
    assert_figures(&emu, 4, 1, 0, 0, 0);
    assert_int_equal(pgl_invalidate_tb(emu.table, &a.tb, NULL), 0);
    assert_figures(&emu, 4, 1, 0, 0, 0);
    assert_int_equal(pgl_invalidate_range(emu.table, 0x5000, 0x5fff, NULL), PGL_HIT);
    assert_figures(&emu, 2, 3, 0, 0, 0);
    assert_int_equal(pgl_invalidate_page(emu.table, 7, NULL), PGL_HIT);
    assert_figures(&emu, 1, 4, 0, 0, 0);
    assert_int_equal(pgl_flush(emu.table, NULL), PGL_HIT);
    assert_figures(&emu, 0, 5, 0, 0, 0);
    emu_fini(&emu);
}

static void test_tally_counts_each_store_that_hits_once(void **state)
{
    struct emu_block a, b, c;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &a, 0x5000, 0x5003);
    emu_link(&emu, &b, 0x5002, 0x5005);
    emu_link2(&emu, &c, 0x6ffc, 0x6fff, 0x7000, 0x7003);
    assert_int_equal(pgl_store_check(emu.table, 0x5003, 1, NULL), PGL_HIT); /* two blocks on one page */
    assert_figures(&emu, 1, 2, 1, 0, 0);
    assert_int_equal(pgl_store_check(emu.table, 0x6ffe, 4, NULL), PGL_HIT); /* a store across a page's end */
    assert_figures(&emu, 0, 3, 2, 0, 0);
    assert_int_equal(pgl_store_check(emu.table, 0x6ffe, 4, NULL), 0);
    assert_figures(&emu, 0, 3, 2, 0, 0);
    emu_fini(&emu);
}

static void test_tally_counts_a_store_bracket_that_hits(void **state)
{
    struct pgl_store store;
    struct emu_block a;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &a, 0x5000, 0x5003);
    assert_int_equal(pgl_store_begin(&store, emu.table, 0x5002, 4, NULL), PGL_HIT);
    pgl_store_end(&store);
    assert_figures(&emu, 0, 1, 1, 0, 0);
    emu_fini(&emu);
}

/* The mask says yes, the blocks say no. */
static void test_tally_counts_each_false_alarm(void **state)
{
    struct emu_block a, b;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &a, 0x5000, 0x5003);
    emu_link2(&emu, &b, 0x6ffc, 0x6fff, 0x7000, 0x7003);
    assert_int_equal(pgl_store_check(emu.table, 0x5020, 4, NULL), 0);
    assert_figures(&emu, 2, 0, 0, 1, 0);
    assert_int_equal(pgl_store_check(emu.table, 0x5024, 4, NULL), 0);
    assert_figures(&emu, 2, 0, 0, 2, 0);
    assert_int_equal(pgl_store_check(emu.table, 0x5800, 4, NULL), 0); /* the mask answers */
    assert_int_equal(pgl_store_check(emu.table, 0x9000, 4, NULL), 0); /* no code at all */
    assert_figures(&emu, 2, 0, 0, 2, 0);
    emu_fini(&emu);
}

/* The exact map answers what the mask did not: the fifth of five alike is no alarm any more. */
static void test_tally_counts_no_alarm_on_a_hot_page(void **state)
{
    struct emu_block a;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &a, 0x5000, 0x5003);
    while (!emu_stats(&emu).hot_pages) {
        assert_int_equal(pgl_store_check(emu.table, 0x5020, 4, NULL), 0);
    }
    for (unsigned i = 0, before = (unsigned)emu_stats(&emu).false_alarms; i < 10; i++) {
        assert_int_equal(pgl_store_check(emu.table, 0x5020, 4, NULL), 0);
        assert_figures(&emu, 1, 0, 0, before, 0);
    }
    emu_fini(&emu);
}

/* A store to the page of the bracket makes the commit restart. */
static void test_tally_counts_each_restart(void **state)
{
    struct pgl_bracket bracket;
    struct emu_block a;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_init_block(&a, 0x5000, 0x5003);
    assert_true(pgl_bracket_begin(&bracket, emu.table, 5));
    assert_int_equal(pgl_bracket_store(&bracket, 0x5800, 4), PGL_BRACKET_RESTART);
    assert_figures(&emu, 0, 0, 0, 0, 0);
    assert_int_equal(pgl_bracket_commit(&bracket, &a.tb, NULL), PGL_BRACKET_RESTART);
    assert_figures(&emu, 0, 0, 0, 0, 1);
    assert_int_equal(pgl_bracket_commit(&bracket, &a.tb, NULL), PGL_BRACKET_OK);
    assert_figures(&emu, 1, 0, 0, 0, 1);
    emu_fini(&emu);
}

/* A store that hits on several pages is one store, as it is outside a bracket. */
static void test_tally_counts_a_store_over_several_pages_inside_a_bracket_once(void **state)
{
    struct pgl_bracket bracket;
    struct emu_block a, b, c;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &a, 0x7ffc, 0x7fff);
    emu_link(&emu, &b, 0x8800, 0x8803);
    emu_link(&emu, &c, 0x9000, 0x9003);
    assert_true(pgl_bracket_begin(&bracket, emu.table, 5));
    assert_int_equal(pgl_bracket_store(&bracket, 0x7ffe, 0x1004), PGL_BRACKET_OK);
    pgl_bracket_abort(&bracket);
    assert_figures(&emu, 0, 3, 1, 0, 0);
    emu_fini(&emu);
}

/* The list of the page is empty, therefore no block is looked at. */
static void test_tally_counts_no_alarm_on_a_page_that_a_reset_left(void **state)
{
    struct pgl_bracket bracket;
    struct emu_block a, b;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &a, 0x7000, 0x7003);
    emu_link(&emu, &b, 0x9000, 0x9003);
    pgl_table_reset(emu.table);
    assert_int_equal(pgl_store_check(emu.table, 0x7002, 4, NULL), 0);
    assert_figures(&emu, 0, 0, 0, 0, 0);
    assert_true(pgl_bracket_begin(&bracket, emu.table, 5));
    assert_int_equal(pgl_bracket_store(&bracket, 0x9002, 4), PGL_BRACKET_OK);
    pgl_bracket_abort(&bracket);
    assert_figures(&emu, 0, 0, 0, 0, 0);
    emu_fini(&emu);
}

static void test_tally_counts_a_hit_inside_a_bracket(void **state)
{
    struct pgl_bracket bracket;
    struct emu_block a;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &a, 0x7000, 0x7003);
    assert_true(pgl_bracket_begin(&bracket, emu.table, 5));
    assert_int_equal(pgl_bracket_store(&bracket, 0x7002, 4), PGL_BRACKET_OK);
    pgl_bracket_abort(&bracket);
    assert_figures(&emu, 0, 1, 1, 0, 0);
    emu_fini(&emu);
}

enum { THREADS = 80, ROUNDS = 200 };

struct counting {
    unsigned number;
    unsigned tally; /* one more than the number of the tally of the thread */
    size_t own;     /* the bytes from the table to that tally, if it is the thread's own */
    struct emu_block blocks[2];
};

/* Link two blocks on a page of the thread's own, kill one by a store and the other with its page, again and again. */
static void count_on_a_page(struct emu *emu, void *arg)
{
    struct counting *counting = arg;
    uint64_t addr = (uint64_t)(counting->number + 1) << 12;

    for (unsigned i = 0; i < ROUNDS; i++) {
        emu_init_block(&counting->blocks[0], addr, addr + 3);
        emu_translate(emu, &counting->blocks[0], NULL);
        emu_init_block(&counting->blocks[1], addr + 512, addr + 515);
        emu_translate(emu, &counting->blocks[1], NULL);
        pgl_store_check(emu->table, addr, 4, NULL);
        pgl_invalidate_page(emu->table, counting->number + 1, NULL);
    }
    counting->tally = pgl_tally_of_thread;
    counting->own = pgl_tally_own;
}

/* More threads than tallies, so that some count on one tally together. */
static void test_tally_counts_are_exact_with_many_threads(void **state)
{
    static struct counting counting[THREADS];
    static struct emu_call calls[THREADS];
    struct emu emu;

    (void)state;
    emu_init(&emu);
    assert_true(THREADS > 2 * PGL_TALLIES);
    for (unsigned i = 0; i < THREADS; i++) {
        counting[i] = (struct counting){.number = i};
        emu_call(&calls[i], &emu, count_on_a_page, &counting[i]);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        emu_join(&calls[i]);
    }
    assert_figures(&emu, 0, 2 * THREADS * ROUNDS, THREADS * ROUNDS, 0, 0);
    emu_fini(&emu);
}

static size_t way_to_own(unsigned tally)
{
    size_t way = offsetof(struct pgl_table, tallies) + (tally - 1) * sizeof(struct pgl_tally);

    return tally <= PGL_TALLIES_OWN ? way : 0;
}

static void test_tally_of_its_own_is_never_given_twice(void **state)
{
    static struct counting counting[THREADS];
    unsigned owners[PGL_TALLIES + 1] = {0}, shared = 0;
    struct emu_call call;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    for (unsigned i = 0; i < THREADS; i++) { /* a thread that has ended keeps its tally */
        counting[i] = (struct counting){.number = i};
        emu_call(&call, &emu, count_on_a_page, &counting[i]);
        emu_join(&call);
        assert_in_range(counting[i].tally, 1, PGL_TALLIES);
        assert_int_equal(counting[i].own, way_to_own(counting[i].tally));
        owners[counting[i].tally]++;
        shared += counting[i].tally > PGL_TALLIES_OWN;
    }
    for (unsigned tally = 1; tally <= PGL_TALLIES_OWN; tally++) {
        assert_in_range(owners[tally], 0, 1);
    }
    assert_true(shared >= THREADS - PGL_TALLIES_OWN);
    emu_fini(&emu);
}

/* Two threads that count on one tally until one has often seen the other count between two additions of its own. */
struct sharing {
    bool done;
    uint64_t added;
};

enum { JUMPS = 200, MAX_ADDS = 100000000 };

static void add_to_a_shared_tally(struct emu *emu, void *arg)
{
    struct sharing *sharing = arg;
    const uint64_t *count = &emu->table->tallies[PGL_TALLIES_OWN].of[PGL_TALLY_HITS];
    uint64_t before = 0, added = 0;
    unsigned jumps = 0;

    pgl_tally_of_thread = PGL_TALLIES_OWN + 1;
    while (!__atomic_load_n(&sharing->done, __ATOMIC_RELAXED) && added < MAX_ADDS) {
        uint64_t now;

        pgl_tally_add(emu->table, PGL_TALLY_HITS, 1);
        added++;
        now = __atomic_load_n(count, __ATOMIC_RELAXED);
        jumps += now != before + 1;
        before = now;
        if (jumps == JUMPS) {
            __atomic_store_n(&sharing->done, true, __ATOMIC_RELAXED);
        }
    }
    __atomic_fetch_add(&sharing->added, added, __ATOMIC_RELAXED);
}

static void test_tally_that_threads_share_loses_nothing(void **state)
{
    struct sharing sharing = {0};
    struct emu_call calls[2];
    struct emu emu;

    (void)state;
    emu_init(&emu);
    for (unsigned i = 0; i < 2; i++) {
        emu_call(&calls[i], &emu, add_to_a_shared_tally, &sharing);
    }
    for (unsigned i = 0; i < 2; i++) {
        emu_join(&calls[i]);
    }
    assert_int_equal(emu_stats(&emu).hits, sharing.added);
    emu_fini(&emu);
}

static void say_nothing(const char *what, void *opaque)
{
    (void)what;
    ++*(unsigned *)opaque;
}

static void test_tally_that_is_wrong_fails_the_check_of_the_table(void **state)
{
    struct emu_block a;
    unsigned said = 0;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &a, 0x5000, 0x5003);
    emu.table->tallies[3].of[PGL_TALLY_LINKS]++;
    assert_int_equal(pgl_table_check(emu.table, say_nothing, &said), 1);
    assert_int_equal(said, 1);
    emu.table->tallies[3].of[PGL_TALLY_LINKS]--;
    emu_fini(&emu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tally_of_a_new_table_is_zero),
        cmocka_unit_test(test_tally_counts_each_living_block_once),
        cmocka_unit_test(test_tally_does_not_count_a_block_that_has_an_equal),
        cmocka_unit_test(test_tally_leaves_out_blocks_on_no_page),
        cmocka_unit_test(test_tally_counts_each_death_once),
        cmocka_unit_test(test_tally_counts_each_store_that_hits_once),
        cmocka_unit_test(test_tally_counts_a_store_bracket_that_hits),
        cmocka_unit_test(test_tally_counts_each_false_alarm),
        cmocka_unit_test(test_tally_counts_no_alarm_on_a_hot_page),
        cmocka_unit_test(test_tally_counts_each_restart),
        cmocka_unit_test(test_tally_counts_a_store_over_several_pages_inside_a_bracket_once),
        cmocka_unit_test(test_tally_counts_no_alarm_on_a_page_that_a_reset_left),
        cmocka_unit_test(test_tally_counts_a_hit_inside_a_bracket),
        cmocka_unit_test(test_tally_of_its_own_is_never_given_twice), /* first of those with threads */
        cmocka_unit_test(test_tally_counts_are_exact_with_many_threads),
        cmocka_unit_test(test_tally_that_threads_share_loses_nothing),
        cmocka_unit_test(test_tally_that_is_wrong_fails_the_check_of_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
