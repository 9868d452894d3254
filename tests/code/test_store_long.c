/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Stores of any length. */
#include <errno.h>

#include "emu.h"

#define PAGE UINT64_C(0x1000)

static void test_store_of_no_bytes_meets_no_code(void **state)
{
    struct emu *emu = *state;
    struct emu_block block, running;
    struct pgl_bracket bracket;
    struct pgl_store store;

    emu_link(emu, &block, 0x5000, 0x5003);
    emu_link(emu, &running, 0x6000, 0x6003);
    assert_int_equal(pgl_store_check(emu->table, 0x5000, 0, &running.tb), 0);
    assert_int_equal(pgl_store_check(emu->table, UINT64_MAX, 0, NULL), 0); /* wherever */
    assert_int_equal(pgl_store_begin(&store, emu->table, 0x5000, 0, NULL), 0);
    assert_false(emu_is_locked(emu, 5));
    pgl_store_end(&store);
    assert_true(pgl_bracket_begin(&bracket, emu->table, 5));
    assert_int_equal(pgl_bracket_store(&bracket, 0x5000, 0), PGL_BRACKET_OK);
    pgl_bracket_abort(&bracket);
    assert_true(emu_is_live(&block));
    pgl_invalidate_tb(emu->table, &running.tb, NULL);
    assert_int_equal(pgl_store_check(emu->table, 0x5000, 0, &running.tb), PGL_RUNNING_DEAD);
    emu_fini(emu);
}

/* Lengths at the edges of a filter's bit, of a page, and of a leaf. */
static const uint64_t lengths[] = {63,       64,           65,           512,        PAGE - 1,       PAGE,
                                   PAGE + 1, 2 * PAGE - 1, 2 * PAGE + 1, 511 * PAGE, 512 * PAGE + 1, 2000 * PAGE};

/* Blocks before the bytes of a store, on its first byte, in its middle, on its last byte, and behind it. */
struct around {
    struct emu_block before, head, middle, tail, after;
};

static void link_around(struct emu *emu, struct around *around, uint64_t first, uint64_t last)
{
    uint64_t middle = first + (last - first + 1) / 2;

    emu_link(emu, &around->before, first - 1, first - 1);
    emu_link(emu, &around->head, first, first);
    emu_link(emu, &around->middle, middle, middle);
    emu_link(emu, &around->tail, last, last);
    emu_link(emu, &around->after, last + 1, last + 1);
}

static void assert_killed_by_bytes(const struct around *around)
{
    assert_true(emu_is_live(&around->before));
    assert_false(emu_is_live(&around->head));
    assert_false(emu_is_live(&around->middle));
    assert_false(emu_is_live(&around->tail));
    assert_true(emu_is_live(&around->after));
}

static void test_store_kills_by_each_of_its_bytes_and_no_other(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
        for (uint64_t first = 0x5000; first <= 0x5fff; first += 0xfff) {
            uint64_t last = first + lengths[i] - 1;
            struct around around;
            struct emu emu;

            emu_init(&emu);
            link_around(&emu, &around, first, last);
            assert_int_equal(pgl_store_check(emu.table, first, lengths[i], NULL), PGL_HIT);
            assert_killed_by_bytes(&around);
            emu_assert_sound(&emu);
            emu_fini(&emu);
        }
    }
}

static void test_store_bracket_kills_by_each_of_its_bytes_and_holds_its_pages(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
        uint64_t first = 0x5fff, last = first + lengths[i] - 1;
        struct around around;
        struct pgl_store store;
        struct emu emu;

        emu_init(&emu);
        link_around(&emu, &around, first, last);
        assert_int_equal(pgl_store_begin(&store, emu.table, first, lengths[i], NULL), PGL_HIT);
        assert_killed_by_bytes(&around);
        for (uint64_t index = 5; index <= last / PAGE; index++) {
            assert_true(emu_is_locked(&emu, index));
        }
        pgl_store_end(&store);
        for (uint64_t index = 5; index <= last / PAGE; index++) {
            assert_false(emu_is_locked(&emu, index));
        }
        emu_assert_sound(&emu);
        emu_fini(&emu);
    }
}

static void test_bracket_store_kills_by_each_of_its_bytes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
        uint64_t first = 0x5fff, last = first + lengths[i] - 1;
        struct around around;
        struct pgl_bracket bracket;
        struct emu emu;

        emu_init(&emu);
        link_around(&emu, &around, first, last);
        assert_true(pgl_bracket_begin(&bracket, emu.table, 3));
        assert_int_equal(pgl_bracket_store(&bracket, first, lengths[i]), PGL_BRACKET_OK);
        pgl_bracket_abort(&bracket);
        assert_killed_by_bytes(&around);
        emu_fini(&emu);
    }
}

static void test_bracket_store_over_a_held_page_is_remembered_whole(void **state)
{
    struct emu *emu = *state;
    struct emu_block low, held, high, beyond;
    struct pgl_bracket bracket;

    emu_link(emu, &low, 0x5fff, 0x5fff);
    emu_link(emu, &held, 0x6800, 0x6803);
    emu_link(emu, &high, 0x7000, 0x7000);
    emu_link(emu, &beyond, 0x7001, 0x7001);
    assert_true(pgl_bracket_begin(&bracket, emu->table, 6));
    assert_int_equal(pgl_bracket_store(&bracket, 0x5fff, PAGE + 2), PGL_BRACKET_RESTART);
    pgl_bracket_abort(&bracket);
    assert_false(emu_is_live(&low));
    assert_false(emu_is_live(&held));
    assert_false(emu_is_live(&high));
    assert_true(emu_is_live(&beyond));
    emu_fini(emu);
}

static void test_bracket_store_remembers_from_the_busy_page_on(void **state)
{
    struct emu *emu = *state;
    struct emu_block low, busy, high;
    struct pgl_bracket bracket;
    struct emu_holder holder;

    emu_link(emu, &low, 0x5ff0, 0x5fff);
    emu_link(emu, &busy, 0x6800, 0x6803);
    emu_link(emu, &high, 0x7000, 0x7000);
    emu_hold(&holder, emu, 6);
    assert_true(pgl_bracket_begin(&bracket, emu->table, 3));
    assert_int_equal(pgl_bracket_store(&bracket, 0x5ffc, PAGE + 8), PGL_BRACKET_RESTART);
    assert_false(emu_is_live(&low));
    assert_true(emu_is_live(&high));
    emu_release(&holder);
    pgl_bracket_abort(&bracket);
    assert_false(emu_is_live(&busy));
    assert_false(emu_is_live(&high));
    emu_fini(emu);
}

/* A store over a terabyte costs what exists in it. */
static void test_store_skips_what_does_not_exist(void **state)
{
    struct emu *emu = *state;
    struct emu_block near, far;

    assert_int_equal(pgl_store_check(emu->table, 0x5001, UINT64_C(1) << 40, NULL), 0);
    assert_int_equal(emu_stats(emu).leaves, 0);
    emu_link(emu, &near, 0x5000, 0x5000);
    emu_link(emu, &far, UINT64_C(0xfedcba987654), UINT64_C(0xfedcba987654));
    assert_int_equal(pgl_store_check(emu->table, 0x5001, (UINT64_C(1) << 48) - 0x5001, NULL), PGL_HIT);
    assert_true(emu_is_live(&near));
    assert_false(emu_is_live(&far));
    assert_int_equal(emu_stats(emu).leaves, 2);
    emu_fini(emu);
}

struct long_call {
    struct emu_call call;
    uint64_t addr, len;
    int answer;
};

static void check_long(struct emu *emu, void *arg)
{
    struct long_call *call = arg;

    call->answer = pgl_store_check(emu->table, call->addr, call->len, NULL);
}

/* Pages at both ends whose filters rule the store out are not locked. */
static void test_store_locks_from_the_first_alarm_to_the_last(void **state)
{
    struct emu *emu = *state;
    struct long_call call = {.addr = 0x5800, .len = 4 * PAGE};
    struct emu_block low, hit, high;
    struct emu_holder holders[3];

    emu_link(emu, &low, 0x5000, 0x5003);
    emu_link(emu, &hit, 0x7000, 0x7003);
    emu_link(emu, &high, 0x9f00, 0x9f03);
    emu_hold(&holders[0], emu, 4); /* another page */
    emu_hold(&holders[1], emu, 6); /* without code: no bracket has it */
    emu_hold(&holders[2], emu, 10);
    emu_call(&call.call, emu, check_long, &call);
    emu_join(&call.call);
    assert_int_equal(call.answer, PGL_HIT);
    assert_true(emu_is_live(&low));
    assert_false(emu_is_live(&hit));
    assert_true(emu_is_live(&high));
    for (unsigned i = 0; i < 3; i++) {
        emu_release(&holders[i]);
    }
    emu_fini(emu);
}

static void test_store_waits_for_a_locked_page_with_code_in_its_middle(void **state)
{
    struct emu *emu = *state;
    struct long_call call = {.addr = 0x5800, .len = 4 * PAGE};
    struct emu_holder holder;
    struct emu_block block;

    emu_link(emu, &block, 0x7000, 0x7003);
    emu_hold(&holder, emu, 7);
    emu_call(&call.call, emu, check_long, &call);
    assert_true(emu_is_stuck(&call.call));
    emu_release(&holder);
    emu_join(&call.call);
    assert_int_equal(call.answer, PGL_HIT);
    emu_fini(emu);
}

static void test_store_of_the_whole_top_half_of_64_bits(void **state)
{
    struct emu_block block, below;
    struct emu emu;

    (void)state;
    emu_init_bits(&emu, 12, 64);
    emu_link(&emu, &below, UINT64_MAX / 2, UINT64_MAX / 2);
    emu_link(&emu, &block, UINT64_MAX, UINT64_MAX);
    assert_int_equal(pgl_store_check(emu.table, UINT64_MAX / 2 + 1, UINT64_C(1) << 63, NULL), PGL_HIT);
    assert_true(emu_is_live(&below));
    assert_false(emu_is_live(&block));
    assert_int_equal(pgl_store_check(emu.table, 0, UINT64_MAX, NULL), PGL_HIT);
    assert_false(emu_is_live(&below));
    errno = 0;
    assert_int_equal(pgl_store_check(emu.table, 2, UINT64_MAX, NULL), PGL_ERROR); /* wraps to the same page */
    assert_int_equal(errno, EINVAL);
    emu_fini(&emu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_store_of_no_bytes_meets_no_code, emu_set_up),
        cmocka_unit_test(test_store_kills_by_each_of_its_bytes_and_no_other),
        cmocka_unit_test(test_store_bracket_kills_by_each_of_its_bytes_and_holds_its_pages),
        cmocka_unit_test(test_bracket_store_kills_by_each_of_its_bytes),
        cmocka_unit_test_setup(test_bracket_store_over_a_held_page_is_remembered_whole, emu_set_up),
        cmocka_unit_test_setup(test_bracket_store_remembers_from_the_busy_page_on, emu_set_up),
        cmocka_unit_test_setup(test_store_skips_what_does_not_exist, emu_set_up),
        cmocka_unit_test_setup(test_store_locks_from_the_first_alarm_to_the_last, emu_set_up),
        cmocka_unit_test_setup(test_store_waits_for_a_locked_page_with_code_in_its_middle, emu_set_up),
        cmocka_unit_test(test_store_of_the_whole_top_half_of_64_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
