/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The witness reports misuse of the calls that kill many blocks, and of a reset. */
#include <errno.h>

#include "witness.h"

static bool call_back(const struct pgl_tb *tb, void *arg)
{
    struct emu *emu = arg;

    (void)tb;
    assert_int_equal(pgl_invalidate_page(emu->table, 9, NULL), PGL_ERROR);
    return false;
}

static void test_witness_reports_a_predicate_that_invalidates(void **state)
{
    struct emu_block block;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    link_block(&emu, &block, 0x5000, 0x5003, 1, 0);
    assert_int_equal(pgl_invalidate_if(emu.table, 0x5000, 0x5fff, call_back, &emu, NULL), 0);
    assert_int_equal(n_seen, 1);
    assert_int_equal(seen[0].kind, PGL_BREACH_CALLBACK);
    assert_string_equal(seen[0].callback, "predicate");
    n_seen = 0;
    assert_true(emu_is_live(&block));
    emu_fini(&emu);
}

static void test_witness_reports_an_array_with_a_block_that_was_never_linked(void **state)
{
    struct emu_block block, fresh;
    struct pgl_tb *tbs[] = {&block.tb, &fresh.tb};
    struct emu emu;

    (void)state;
    emu_init(&emu);
    link_block(&emu, &block, 0x5000, 0x5003, 1, 0);
    ready(&fresh, 0x5000, 0x5003, 1, 0);
    errno = 0;
    assert_int_equal(pgl_invalidate_tbs(emu.table, tbs, 2, NULL), PGL_ERROR);
    assert_int_equal(errno, EINVAL);
    assert_block_breach(PGL_BREACH_TB_STATE, UINT64_MAX, 0);
    assert_true(emu_is_live(&block));
    emu_fini(&emu);
}

static void test_witness_reports_a_reset_with_a_page_held(void **state)
{
    struct emu_block block;
    struct emu emu;
    unsigned line;

    (void)state;
    emu_init(&emu);
    link_block(&emu, &block, 0x5000, 0x5003, 1, 0);
    line = __LINE__ + 1;
    pgl_page_lock(emu.table, pgl_page_find(emu.table, 9));
    pgl_table_reset(emu.table);
    assert_breach(PGL_BREACH_FREE, 9, 9, line);
    pgl_page_unlock(emu.table, pgl_page_find(emu.table, 9));
    assert_int_equal(emu_count(&emu, 5), 1); /* nothing was forgotten */
    emu_fini(&emu);
}

static void test_witness_reports_a_reset_with_a_bracket_open(void **state)
{
    struct emu_holder holder;
    struct pgl_bracket bracket;
    struct emu emu;
    unsigned line;

    (void)state;
    emu_init(&emu);
    line = __LINE__ + 1;
    assert_true(pgl_bracket_begin(&bracket, emu.table, 5));
    pgl_table_reset(emu.table);
    assert_breach(PGL_BREACH_FREE, 5, 5, line);
    pgl_bracket_abort(&bracket);
    emu_hold(&holder, &emu, 5); /* another thread's page */
    pgl_table_reset(emu.table);
    assert_breach(PGL_BREACH_FREE, 5, UINT64_MAX, 0);
    emu_release(&holder);
    emu_fini(&emu);
}

static unsigned n_asked;

static bool count_asked(void *opaque)
{
    (void)opaque;
    n_asked++;
    return true;
}

/* Each lock of a page asks for the big lock, and so does each call. */
static void test_witness_sees_a_range_that_meets_no_code_lock_nothing(void **state)
{
    struct emu_block block;
    struct emu emu;

    (void)state;
    emu_init_external(&emu, count_asked);
    link_block(&emu, &block, 0x5000, 0x5003, 1, 0);
    n_asked = 0;
    assert_int_equal(pgl_invalidate_range(emu.table, 0x4000, 0x4fff, NULL), 0);
    assert_int_equal(n_asked, 1);
    assert_int_equal(pgl_invalidate_range(emu.table, 0x5800, 0x6fff, NULL), 0);
    assert_int_equal(n_asked, 2);
    assert_int_equal(pgl_invalidate_range(emu.table, 0x5000, 0x6fff, NULL), PGL_HIT);
    assert_true(n_asked > 3);
    emu_fini(&emu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_witness_reports_a_predicate_that_invalidates),
        cmocka_unit_test(test_witness_reports_an_array_with_a_block_that_was_never_linked),
        cmocka_unit_test(test_witness_reports_a_reset_with_a_page_held),
        cmocka_unit_test(test_witness_reports_a_reset_with_a_bracket_open),
        cmocka_unit_test(test_witness_sees_a_range_that_meets_no_code_lock_nothing),
    };

    return cmocka_run_group_tests(tests, set_hook, NULL);
}
