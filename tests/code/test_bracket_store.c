/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Stores that a translation makes inside its bracket. */
#include <errno.h>
#include <string.h>

#include "emu.h"

static void test_bracket_store_elsewhere_without_code_is_nothing(void **state)
{
    struct emu *emu = *state;
    struct pgl_bracket bracket;
    struct emu_block block;

    emu_init_block(&block, 0x5000, 0x5003);
    pgl_bracket_begin(&bracket, emu->table, 5);
    assert_int_equal(pgl_bracket_store(&bracket, 0x9000, 8), PGL_BRACKET_OK);
    assert_int_equal(pgl_bracket_store(&bracket, 0x9ffc, 8), PGL_BRACKET_OK);
    assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_OK);
    emu_fini(emu);
}

static void test_bracket_store_refuses_what_is_no_store(void **state)
{
    struct emu *emu = *state;
    struct pgl_bracket bracket;
    struct emu_block block;

    emu_init_block(&block, 0x5000, 0x5003);
    pgl_bracket_begin(&bracket, emu->table, 5);
    errno = 0;
    assert_int_equal(pgl_bracket_store(&bracket, (UINT64_C(1) << 48) - 1, 2), PGL_BRACKET_ERROR);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(pgl_bracket_store(&bracket, UINT64_MAX, 2), PGL_BRACKET_ERROR);
    assert_int_equal(pgl_bracket_store(&bracket, (UINT64_C(1) << 48) - 1, 1), PGL_BRACKET_OK);
    assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_OK);
    emu_fini(emu);
}

static void test_bracket_store_to_a_held_page_restarts_the_commit(void **state)
{
    (void)state;
    for (unsigned which = 0; which < 2; which++) {
        struct pgl_bracket bracket;
        struct emu_block old, block;
        struct emu emu;

        emu_init(&emu);
        emu_link(&emu, &old, which ? 0x6100 : 0x5100, which ? 0x6103 : 0x5103);
        emu_init_block(&block, 0x5ffc, 0x5fff);
        pgl_tb_set_bytes(&block.tb, 1, 0x6000, 0x6003);
        pgl_bracket_begin(&bracket, emu.table, 5);
        pgl_bracket_cross(&bracket, 6);
        assert_int_equal(pgl_bracket_store(&bracket, which ? 0x6100 : 0x5100, 1), PGL_BRACKET_RESTART);
        assert_true(emu_is_live(&old)); /* its pages are held: not now */
        assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_RESTART);
        assert_false(emu_is_live(&old)); /* but before the restart was said */
        assert_int_equal(old.retired, 1);
        assert_true(emu_is_locked(&emu, 5));
        assert_true(emu_is_locked(&emu, 6));
        assert_int_equal(block.tb.state, PGL_TB_NEW);
        /* The second decoding does not store again. */
        assert_int_equal(pgl_bracket_cross(&bracket, 6), PGL_BRACKET_OK);
        assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_OK);
        emu_fini(&emu);
    }
}

static void test_bracket_store_restarts_the_next_cross(void **state)
{
    static const uint64_t second[] = {3, 5, 9};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct pgl_bracket bracket;
        struct emu_block old, block;
        struct emu emu;

        emu_init(&emu);
        emu_link(&emu, &old, 0x5100, 0x5103);
        emu_init_block(&block, 0x5ffc, 0x5fff);
        pgl_tb_set_bytes(&block.tb, 1, second[i] << 12, (second[i] << 12) + 3);
        pgl_bracket_begin(&bracket, emu.table, 5);
        assert_int_equal(pgl_bracket_store(&bracket, 0x5103, 1), PGL_BRACKET_RESTART);
        assert_int_equal(pgl_bracket_cross(&bracket, second[i]), PGL_BRACKET_RESTART);
        assert_false(emu_is_live(&old));
        assert_true(emu_is_locked(&emu, 5));
        assert_true(emu_is_locked(&emu, second[i]));
        assert_int_equal(pgl_bracket_cross(&bracket, second[i]), PGL_BRACKET_OK);
        assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_OK);
        emu_fini(&emu);
    }
}

static void test_bracket_store_elsewhere_kills_at_once_what_needs_one_page(void **state)
{
    struct emu *emu = *state;
    struct pgl_bracket bracket;
    struct emu_block old, block;

    emu_link(emu, &old, 0x3100, 0x3103);
    emu_init_block(&block, 0x5000, 0x5003);
    pgl_bracket_begin(&bracket, emu->table, 5);
    assert_int_equal(pgl_bracket_store(&bracket, 0x3100, 1), PGL_BRACKET_OK);
    assert_false(emu_is_live(&old));
    assert_false(emu_is_locked(emu, 3));
    assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_OK);
    emu_fini(emu);
}

static void test_bracket_store_that_kills_across_pages_is_remembered(void **state)
{
    struct emu *emu = *state;
    struct pgl_bracket bracket;
    struct emu_block old, block;

    emu_link2(emu, &old, 0x3ffc, 0x3fff, 0x5000, 0x5003); /* on the bracket's page too */
    emu_init_block(&block, 0x5800, 0x5803);
    pgl_bracket_begin(&bracket, emu->table, 5);
    assert_int_equal(pgl_bracket_store(&bracket, 0x3ffc, 1), PGL_BRACKET_RESTART);
    assert_true(emu_is_live(&old));
    assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_RESTART);
    assert_false(emu_is_live(&old));
    assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_OK);
    emu_fini(emu);
}

static void test_bracket_store_to_a_busy_page_is_remembered_without_waiting(void **state)
{
    struct emu *emu = *state;
    struct pgl_bracket bracket;
    struct emu_holder holder;
    struct emu_block old;

    emu_link(emu, &old, 0x9000, 0x9003);
    emu_hold(&holder, emu, 9);
    pgl_bracket_begin(&bracket, emu->table, 5);
    assert_int_equal(pgl_bracket_store(&bracket, 0x9000, 4), PGL_BRACKET_RESTART);
    emu_release(&holder);
    assert_true(emu_is_live(&old));
    pgl_bracket_abort(&bracket); /* answers it as well */
    assert_false(emu_is_live(&old));
    emu_fini(emu);
}

static void test_bracket_store_across_a_pages_end_counts_on_both(void **state)
{
    struct emu *emu = *state;
    struct pgl_bracket bracket;
    struct emu_block left, right, held;

    emu_link(emu, &left, 0x7fff, 0x7fff);
    emu_link(emu, &right, 0x8000, 0x8000);
    emu_link(emu, &held, 0x5000, 0x5000);
    pgl_bracket_begin(&bracket, emu->table, 5);
    assert_int_equal(pgl_bracket_store(&bracket, 0x7fff, 2), PGL_BRACKET_OK);
    assert_false(emu_is_live(&left));
    assert_false(emu_is_live(&right));
    assert_int_equal(pgl_bracket_store(&bracket, 0x4fff, 2), PGL_BRACKET_RESTART); /* its tail is on the held page */
    pgl_bracket_abort(&bracket);
    assert_false(emu_is_live(&held));
    emu_fini(emu);
}

/* One store, and between every two of them a block that no store meets. */
enum {
    FAR = 3 * PGL_BRACKET_STORES,
};

static struct emu_block hit[FAR], spared[FAR];

static void link_hit_and_spared(struct emu *emu)
{
    for (uint64_t i = 0; i < FAR; i++) {
        emu_link(emu, &hit[i], 0x5010 + 0x20 * i, 0x5013 + 0x20 * i);
        emu_link(emu, &spared[i], 0x5018 + 0x20 * i, 0x501b + 0x20 * i);
    }
}

/* The ninth store was once merged with the eighth, and whatever lay between them died. */
static void test_bracket_remembers_each_store_by_its_bytes(void **state)
{
    static const unsigned counts[] = {1, PGL_BRACKET_STORES - 1, PGL_BRACKET_STORES, PGL_BRACKET_STORES + 1, FAR};

    (void)state;
    for (size_t c = 0; c < sizeof(counts) / sizeof(*counts); c++) {
        for (unsigned by_abort = 0; by_abort < 2; by_abort++) {
            struct pgl_bracket bracket;
            struct emu_block fresh;
            struct emu emu;

            emu_init(&emu);
            link_hit_and_spared(&emu);
            pgl_bracket_begin(&bracket, emu.table, 5);
            for (unsigned i = 0; i < counts[c]; i++) { /* to and fro */
                assert_int_equal(pgl_bracket_store(&bracket, 0x5013 + 0x20 * (i * 7 % FAR), 1), PGL_BRACKET_RESTART);
            }
            emu_init_block(&fresh, 0x5f00, 0x5f03);
            if (by_abort) {
                pgl_bracket_abort(&bracket);
            } else {
                assert_int_equal(pgl_bracket_commit(&bracket, &fresh.tb, NULL), PGL_BRACKET_RESTART);
            }
            for (unsigned i = 0; i < FAR; i++) {
                assert_int_equal(emu_is_live(&hit[i * 7 % FAR]), i >= counts[c]);
                assert_int_equal(hit[i * 7 % FAR].retired, i < counts[c]);
                assert_true(emu_is_live(&spared[i]));
            }
            if (!by_abort) {
                assert_int_equal(pgl_bracket_commit(&bracket, &fresh.tb, NULL), PGL_BRACKET_OK);
            }
            emu_fini(&emu);
        }
    }
}

/* The store that finds no room answers those before it, takes the pages again, and keeps the restart due. */
static void test_bracket_store_without_room_answers_the_others_at_once(void **state)
{
    (void)state;
    for (unsigned second = 4; second <= 6; second += 2) { /* lower and higher */
        struct pgl_bracket bracket;
        struct emu_block fresh;
        struct emu emu;

        emu_init(&emu);
        link_hit_and_spared(&emu);
        pgl_bracket_begin(&bracket, emu.table, 5);
        pgl_bracket_cross(&bracket, second);
        for (unsigned i = 0; i < PGL_BRACKET_STORES; i++) {
            pgl_bracket_store(&bracket, 0x5010 + 0x20 * i, 1);
        }
        assert_true(emu_is_live(&hit[0]));
        emu_log(&emu);
        assert_int_equal(pgl_bracket_store(&bracket, 0x5010 + 0x20 * PGL_BRACKET_STORES, 1), PGL_BRACKET_RESTART);
        for (unsigned i = 0; i < PGL_BRACKET_STORES; i++) {
            assert_false(emu_is_live(&hit[i]));
        }
        assert_true(emu_is_live(&hit[PGL_BRACKET_STORES]));
        assert_true(emu_is_locked(&emu, 5)); /* both are held and trapped again */
        assert_true(emu_is_locked(&emu, second));
        assert_true(emu_code_bit(&emu, second));
        assert_int_equal(emu.n_first_code, emu.n_no_code + 2);
        emu_init_block(&fresh, 0x5f00, 0x5f03);
        assert_int_equal(pgl_bracket_cross(&bracket, 9), PGL_BRACKET_RESTART); /* no third page: all is void */
        assert_false(emu_is_live(&hit[PGL_BRACKET_STORES]));
        assert_int_equal(pgl_bracket_commit(&bracket, &fresh.tb, NULL), PGL_BRACKET_OK);
        emu_fini(&emu);
    }
}

static void test_bracket_abort_answers_what_was_remembered(void **state)
{
    struct emu *emu = *state;
    struct pgl_bracket bracket;
    struct emu_block old;

    emu_link(emu, &old, 0x5100, 0x5103);
    pgl_bracket_begin(&bracket, emu->table, 5);
    pgl_bracket_store(&bracket, 0x5100, 8);
    pgl_bracket_abort(&bracket);
    assert_false(emu_is_live(&old));
    assert_int_equal(old.retired, 1);
    emu_fini(emu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_bracket_store_elsewhere_without_code_is_nothing, emu_set_up),
        cmocka_unit_test_setup(test_bracket_store_refuses_what_is_no_store, emu_set_up),
        cmocka_unit_test(test_bracket_store_to_a_held_page_restarts_the_commit),
        cmocka_unit_test(test_bracket_store_restarts_the_next_cross),
        cmocka_unit_test_setup(test_bracket_store_elsewhere_kills_at_once_what_needs_one_page, emu_set_up),
        cmocka_unit_test_setup(test_bracket_store_that_kills_across_pages_is_remembered, emu_set_up),
        cmocka_unit_test_setup(test_bracket_store_to_a_busy_page_is_remembered_without_waiting, emu_set_up),
        cmocka_unit_test_setup(test_bracket_store_across_a_pages_end_counts_on_both, emu_set_up),
        cmocka_unit_test(test_bracket_remembers_each_store_by_its_bytes),
        cmocka_unit_test(test_bracket_store_without_room_answers_the_others_at_once),
        cmocka_unit_test_setup(test_bracket_abort_answers_what_was_remembered, emu_set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
