/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The store check, and the store bracket. */
#include <errno.h>
#include <string.h>

#include "emu.h"

/* ---- the answer without a lock ---- */

static void test_store_where_no_page_exists_is_clean_and_makes_none(void **state)
{
    struct emu *emu = *state;

    assert_int_equal(pgl_store_check(emu->table, 0x123456, 8, NULL), 0);
    assert_int_equal(pgl_store_check(emu->table, 0x123ffc, 8, NULL), 0);
    assert_int_equal(emu_stats(emu).leaves, 0);
    emu_fini(emu);
}

static void test_store_outside_the_mask_is_clean(void **state)
{
    struct emu *emu = *state;
    struct emu_block block;

    emu_link(emu, &block, 0x5040, 0x507f);
    assert_true(pgl_store_is_clean(emu->table, 0x503f, 1));
    assert_false(pgl_store_is_clean(emu->table, 0x503f, 2));
    assert_false(pgl_store_is_clean(emu->table, 0x5040, 1));
    assert_false(pgl_store_is_clean(emu->table, 0x507f, 64));
    assert_true(pgl_store_is_clean(emu->table, 0x5080, 64));
    assert_true(pgl_store_is_clean(emu->table, 0x6040, 64));
    assert_true(pgl_store_is_clean(emu->table, 0x4ff8, 8));
    assert_false(pgl_store_is_clean(emu->table, 0x4ff8, 9)); /* over the page's end: ask properly */
    emu_fini(emu);
}

struct store_call {
    struct emu_call call;
    uint64_t addr;
    unsigned len;
    int answer;
};

static void check_store(struct emu *emu, void *arg)
{
    struct store_call *store = arg;

    store->answer = pgl_store_check(emu->table, store->addr, store->len, NULL);
}

static void test_store_to_a_locked_page_with_code_waits(void **state)
{
    struct emu *emu = *state;
    struct store_call store = {.addr = 0x5800, .len = 1};
    struct emu_holder holder;
    struct emu_block block;

    emu_link(emu, &block, 0x5000, 0x5003);
    emu_hold(&holder, emu, 5);
    assert_false(pgl_store_is_clean(emu->table, 0x5800, 1));
    emu_call(&store.call, emu, check_store, &store);
    assert_true(emu_is_stuck(&store.call));
    emu_release(&holder);
    emu_join(&store.call);
    assert_int_equal(store.answer, 0);
    emu_fini(emu);
}

static void wait_for_go(struct emu *emu, struct pgl_tb *chain)
{
    (void)chain;
    while (!__atomic_load_n((unsigned *)emu->arg, __ATOMIC_ACQUIRE)) {
        usleep(100);
    }
}

static void kill_page_5(struct emu *emu, void *arg)
{
    (void)arg;
    pgl_invalidate_page(emu->table, 5, NULL);
}

/* The mask must not be narrow while a dead block can still be found. */
static void test_store_check_waits_for_retired(void **state)
{
    struct emu *emu = *state;
    struct store_call store = {.addr = 0x5000, .len = 1};
    struct emu_block block;
    struct emu_call killer;
    unsigned go = 0;

    emu->arg = &go;
    emu->at_retired = wait_for_go;
    emu_link(emu, &block, 0x5000, 0x5003);
    emu_call(&killer, emu, kill_page_5, NULL);
    EMU_WAIT_UNTIL(!emu_is_live(&block));
    emu_call(&store.call, emu, check_store, &store);
    assert_true(emu_is_stuck(&store.call));
    assert_true(block.findable);
    __atomic_store_n(&go, 1, __ATOMIC_RELEASE);
    emu_join(&killer);
    emu_join(&store.call);
    assert_int_equal(store.answer, 0);
    assert_int_equal(block.retired, 1);
    emu_fini(emu);
}

/* ---- what dies ---- */

static void test_store_honours_its_length(void **state)
{
    (void)state;
    for (unsigned len = 1; len <= 64; len++) {
        struct emu_block before, last, after;
        struct emu emu;

        emu_init(&emu);
        emu_link(&emu, &before, 0x57ff, 0x57ff);
        emu_link(&emu, &last, 0x5800 + len - 1, 0x5800 + len - 1);
        emu_link(&emu, &after, 0x5800 + len, 0x5800 + len);
        assert_int_equal(pgl_store_check(emu.table, 0x5800, len, NULL), PGL_HIT);
        assert_true(emu_is_live(&before));
        assert_false(emu_is_live(&last));
        assert_true(emu_is_live(&after));
        emu_fini(&emu);
    }
}

static void test_store_across_a_pages_end_kills_on_both(void **state)
{
    (void)state;
    for (unsigned len = 2; len <= 64; len++) {
        struct emu_block blocks[4];
        struct emu emu;

        emu_init(&emu);
        emu_link(&emu, &blocks[0], 0x5ffe, 0x5ffe);
        emu_link(&emu, &blocks[1], 0x5fff, 0x5fff);
        emu_link(&emu, &blocks[2], 0x6000 + len - 2, 0x6000 + len - 2);
        emu_link(&emu, &blocks[3], 0x6000 + len - 1, 0x6000 + len - 1);
        assert_int_equal(pgl_store_check(emu.table, 0x5fff, len, NULL), PGL_HIT);
        assert_true(emu_is_live(&blocks[0]));
        assert_false(emu_is_live(&blocks[1]));
        assert_false(emu_is_live(&blocks[2]));
        assert_true(emu_is_live(&blocks[3]));
        assert_int_equal(emu.n_retired, 1);
        emu_fini(&emu);
    }
}

static void test_store_across_a_pages_end_with_code_on_one_side(void **state)
{
    (void)state;
    for (unsigned side = 0; side < 2; side++) {
        struct emu_block block;
        struct emu emu;

        emu_init(&emu);
        emu_link(&emu, &block, side ? 0x6000 : 0x5fff, side ? 0x6000 : 0x5fff);
        assert_int_equal(pgl_store_check(emu.table, 0x5fff, 2, NULL), PGL_HIT);
        assert_false(emu_is_live(&block));
        emu_fini(&emu);
    }
}

static void test_store_refuses_what_is_no_store(void **state)
{
    struct emu *emu = *state;
    static const struct {
        uint64_t addr, len;
    } bad[] = {
        {(UINT64_C(1) << 48) - 1, 2},
        {UINT64_C(1) << 48, 1},
        {UINT64_MAX, 1},
        {UINT64_MAX, 2},
        {0x5000, (UINT64_C(1) << 48) - 0x4fff},
        {0x5000, UINT64_MAX - 0x4fff},
        {0x5000, UINT64_MAX},
        {0x5002, UINT64_MAX}, /* ends on the page on which it begins */
    };
    struct emu_block block;
    struct pgl_store store;

    emu_link(emu, &block, 0x5000, 0x5003);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        errno = 0;
        assert_int_equal(pgl_store_check(emu->table, bad[i].addr, bad[i].len, NULL), PGL_ERROR);
        assert_int_equal(errno, EINVAL);
        errno = 0;
        assert_int_equal(pgl_store_begin(&store, emu->table, bad[i].addr, bad[i].len, NULL), PGL_ERROR);
        assert_int_equal(errno, EINVAL);
    }
    assert_true(emu_is_live(&block));
    assert_int_equal(pgl_store_check(emu->table, (UINT64_C(1) << 48) - 1, 1, NULL), 0);
    emu_fini(emu);
}

/* An error was once -1, which a test of either flag took for a hit. */
static void test_store_errors_look_like_no_flag(void **state)
{
    struct emu *emu = *state;
    struct pgl_store store;
    int answers[8];
    size_t n = 0;

    answers[n++] = pgl_store_check(emu->table, 0x5000, UINT64_MAX, NULL);
    answers[n++] = pgl_store_check(emu->table, UINT64_C(1) << 48, 8, NULL);
    answers[n++] = pgl_store_begin(&store, emu->table, 0x5000, UINT64_MAX, NULL);
    answers[n++] = pgl_store_begin(&store, emu->table, UINT64_C(1) << 48, 8, NULL);
    answers[n++] = pgl_invalidate_range(emu->table, 6, 5, NULL);
    answers[n++] = pgl_invalidate_range(emu->table, 0, UINT64_MAX, NULL);
    answers[n++] = pgl_invalidate_page(emu->table, UINT64_C(1) << 36, NULL);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(answers[i], PGL_ERROR);
        assert_true(answers[i] < 0);
        assert_int_equal(answers[i] & (PGL_HIT | PGL_RUNNING_DEAD), 0);
    }
    emu_fini(emu);
}

static void test_store_to_the_top_of_64_bits(void **state)
{
    struct emu_block block;
    struct emu emu;

    (void)state;
    emu_init_bits(&emu, 12, 64);
    emu_link(&emu, &block, UINT64_MAX, UINT64_MAX);
    assert_int_equal(pgl_store_check(emu.table, UINT64_MAX - 64, 64, NULL), 0);
    errno = 0;
    assert_int_equal(pgl_store_check(emu.table, UINT64_MAX, 2, NULL), PGL_ERROR);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(pgl_store_check(emu.table, UINT64_MAX - 63, 64, NULL), PGL_HIT);
    emu_fini(&emu);
}

static void test_store_answers_by_the_running_blocks_state_whoever_killed_it(void **state)
{
    struct emu *emu = *state;
    struct emu_block running, other;

    emu_link(emu, &running, 0x5000, 0x5003);
    emu_link(emu, &other, 0x5100, 0x5103);
    assert_int_equal(pgl_store_check(emu->table, 0x9000, 1, &running.tb), 0);
    assert_int_equal(pgl_store_check(emu->table, 0x5100, 1, &running.tb), PGL_HIT);
    assert_int_equal(pgl_store_check(emu->table, 0x5002, 1, &running.tb), PGL_HIT | PGL_RUNNING_DEAD);
    assert_true(pgl_store_is_clean(emu->table, 0x5002, 1));
    assert_int_equal(pgl_store_check(emu->table, 0x5002, 1, &running.tb), PGL_RUNNING_DEAD); /* without a lock */
    assert_int_equal(pgl_store_check(emu->table, 0x5fff, 2, &running.tb), PGL_RUNNING_DEAD); /* over the page's end */
    emu_fini(emu);
}

/* Pages that were only locked: nothing passed their filters, whatever the check had to wait for. */
static void test_store_across_a_pages_end_that_only_waited_is_no_miss(void **state)
{
    struct emu *emu = *state;
    struct store_call store = {.addr = 0x5ffc, .len = 8};
    struct emu_block low, high;

    emu_link(emu, &low, 0x5100, 0x5103);
    emu_link(emu, &high, 0x6800, 0x6803);
    for (unsigned i = 0; i < 10; i++) {
        assert_true(pgl_page_lock_pair(emu->table, 5, 6));
        emu_call(&store.call, emu, check_store, &store);
        assert_true(emu_is_stuck(&store.call));
        pgl_page_unlock_pair(emu->table, 5, 6);
        emu_join(&store.call);
        assert_int_equal(store.answer, 0);
    }
    assert_int_equal(emu_stats(emu).hot_bytes, 0);
    emu_fini(emu);
}

/* ---- the store bracket ---- */

static void test_store_bracket_kills_and_keeps_its_page(void **state)
{
    struct emu *emu = *state;
    struct pgl_store store;
    struct emu_block block, beside;

    emu_link2(emu, &block, 0x5ff0, 0x5fff, 0x3000, 0x3003);
    emu_link(emu, &beside, 0x5000, 0x5003);
    assert_int_equal(pgl_store_begin(&store, emu->table, 0x5ff8, 8, &block.tb), PGL_HIT | PGL_RUNNING_DEAD);
    assert_int_equal(block.retired, 1);
    assert_true(emu_is_live(&beside));
    assert_true(emu_is_locked(emu, 5));
    assert_false(emu_is_locked(emu, 3)); /* a partner, needed no longer */
    pgl_store_end(&store);
    assert_false(emu_is_locked(emu, 5));
    emu_fini(emu);
}

static void test_store_bracket_keeps_both_pages(void **state)
{
    struct emu *emu = *state;
    struct pgl_store store;
    struct emu_block left, right;

    emu_link(emu, &left, 0x5fff, 0x5fff);
    emu_link2(emu, &right, 0x6ff0, 0x6fff, 0x6001, 0x6001);
    assert_int_equal(pgl_store_begin(&store, emu->table, 0x5fff, 3, NULL), PGL_HIT);
    assert_false(emu_is_live(&left));
    assert_false(emu_is_live(&right));
    assert_int_equal(emu->n_retired, 1);
    assert_true(emu_is_locked(emu, 5));
    assert_true(emu_is_locked(emu, 6));
    pgl_store_end(&store);
    assert_false(emu_is_locked(emu, 5));
    assert_false(emu_is_locked(emu, 6));
    emu_fini(emu);
}

static void translate_page_5(struct emu *emu, void *arg)
{
    emu_translate(emu, arg, NULL);
}

static void test_store_bracket_lets_nobody_translate_the_old_bytes(void **state)
{
    struct emu *emu = *state;
    struct emu_block block;
    struct pgl_store store;
    struct emu_call call;

    memset(&block, 0, sizeof(block));
    pgl_tb_init(&block.tb);
    pgl_tb_set_bytes(&block.tb, 0, 0x5000, 0x5003);
    /* The page does not exist before: it is made, or there would be nothing to hold. */
    assert_int_equal(pgl_store_begin(&store, emu->table, 0x5000, 4, NULL), 0);
    emu_call(&call, emu, translate_page_5, &block);
    assert_true(emu_is_stuck(&call));
    assert_int_equal(emu->n_first_code, 0);
    pgl_store_end(&store);
    emu_join(&call);
    assert_true(emu_is_live(&block));
    emu_fini(emu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_store_where_no_page_exists_is_clean_and_makes_none, emu_set_up),
        cmocka_unit_test_setup(test_store_outside_the_mask_is_clean, emu_set_up),
        cmocka_unit_test_setup(test_store_to_a_locked_page_with_code_waits, emu_set_up),
        cmocka_unit_test_setup(test_store_check_waits_for_retired, emu_set_up),
        cmocka_unit_test(test_store_honours_its_length),
        cmocka_unit_test(test_store_across_a_pages_end_kills_on_both),
        cmocka_unit_test(test_store_across_a_pages_end_with_code_on_one_side),
        cmocka_unit_test_setup(test_store_refuses_what_is_no_store, emu_set_up),
        cmocka_unit_test_setup(test_store_errors_look_like_no_flag, emu_set_up),
        cmocka_unit_test(test_store_to_the_top_of_64_bits),
        cmocka_unit_test_setup(test_store_answers_by_the_running_blocks_state_whoever_killed_it, emu_set_up),
        cmocka_unit_test_setup(test_store_across_a_pages_end_that_only_waited_is_no_miss, emu_set_up),
        cmocka_unit_test_setup(test_store_bracket_kills_and_keeps_its_page, emu_set_up),
        cmocka_unit_test_setup(test_store_bracket_keeps_both_pages, emu_set_up),
        cmocka_unit_test_setup(test_store_bracket_lets_nobody_translate_the_old_bytes, emu_set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
