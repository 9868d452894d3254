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

static void test_witness_reports_a_trim_with_a_page_held(void **state)
{
    struct emu_holder holder;
    struct pgl_bracket bracket;
    struct emu_block block;
    struct emu emu;
    unsigned line;

    (void)state;
    emu_init(&emu);
    link_block(&emu, &block, 0x5000, 0x5003, 1, 0);
    line = __LINE__ + 1;
    assert_true(pgl_bracket_begin(&bracket, emu.table, 0x9000)); /* a leaf without blocks, which a trim would free */
    assert_int_equal(pgl_table_trim(emu.table), 0);
    assert_breach(PGL_BREACH_FREE, 0x9000, 0x9000, line);
    pgl_bracket_abort(&bracket);
    emu_hold(&holder, &emu, 0x9000); /* another thread's page */
    assert_int_equal(pgl_table_trim(emu.table), 0);
    assert_breach(PGL_BREACH_FREE, 0x9000, UINT64_MAX, 0);
    emu_release(&holder);
    assert_true(pgl_table_trim(emu.table) > 0);
    assert_int_equal(n_seen, 0);
    assert_true(emu_is_live(&block));
    emu_fini(&emu);
}

static bool choose_all(const struct pgl_tb *tb, void *arg)
{
    (void)tb, (void)arg;
    return true;
}

static void test_witness_reports_kills_of_many_with_a_page_held(void **state)
{
    struct emu_block blocks[3];
    struct pgl_tb *tbs[] = {&blocks[0].tb};
    struct pgl_store store;
    struct pgl_page *low;
    uint32_t host;
    unsigned line;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    low = pgl_page_get(emu.table, 1);
    for (unsigned i = 0; i < 3; i++) {
        link_block(&emu, &blocks[i], 0x5000 + 8 * i, 0x5003 + 8 * i, 1, 0);
    }
    pgl_page_lock(emu.table, low), line = __LINE__;
    assert_int_equal(pgl_invalidate_tbs(emu.table, tbs, 1, NULL), PGL_HIT);
    assert_breach(PGL_BREACH_NESTED, UINT64_MAX, 1, line);
    assert_int_equal(pgl_invalidate_if(emu.table, 0x5008, 0x5008, choose_all, NULL, NULL), PGL_HIT);
    assert_breach(PGL_BREACH_NESTED, UINT64_MAX, 1, line);
    assert_int_equal(pgl_flush(emu.table, NULL), PGL_HIT);
    assert_breach(PGL_BREACH_NESTED, UINT64_MAX, 1, line);
    assert_int_equal(pgl_store_begin_pair(&store, emu.table, 0x8000, 1, 0x9000, 1, NULL), 0);
    assert_breach(PGL_BREACH_NESTED, UINT64_MAX, 1, line);
    pgl_store_end(&store);
    assert_int_equal(pgl_store_u32(emu.table, &host, 0x8000, 1, NULL), 0);
    assert_breach(PGL_BREACH_NESTED, UINT64_MAX, 1, line);
    pgl_page_unlock(emu.table, low);
    assert_int_equal(n_seen, 0);
    emu_fini(&emu);
}

/* No block of the array dies. */
static void test_witness_reports_an_array_with_a_block_of_another_table(void **state)
{
    struct emu_block block, foreign;
    struct pgl_tb *tbs[] = {&block.tb, &foreign.tb};
    struct emu emu, other;

    (void)state;
    emu_init(&emu);
    emu_init(&other);
    link_block(&emu, &block, 0x5000, 0x5003, 1, 0);
    link_block(&other, &foreign, 0x5000, 0x5003, 1, 0);
    assert_int_equal(pgl_invalidate_tbs(emu.table, tbs, 2, NULL), PGL_ERROR);
    assert_block_breach(PGL_BREACH_TB_TABLE, UINT64_MAX, LINK_LINE);
    assert_true(emu_is_live(&block) && emu_is_live(&foreign));
    emu_fini(&emu);
    emu_fini(&other);
}

static void test_witness_reports_a_block_that_a_reset_forgot(void **state)
{
    struct emu_block block;
    struct pgl_tb *tbs[] = {&block.tb};
    struct emu emu;

    (void)state;
    emu_init(&emu);
    link_block(&emu, &block, 0x5000, 0x5003, 1, 0);
    pgl_table_reset(emu.table);
    assert_int_equal(pgl_invalidate_tb(emu.table, &block.tb, NULL), 0);
    assert_block_breach(PGL_BREACH_TB_STATE, UINT64_MAX, 0);
    assert_int_equal(pgl_invalidate_tbs(emu.table, tbs, 1, NULL), PGL_ERROR);
    assert_block_breach(PGL_BREACH_TB_STATE, UINT64_MAX, 0);
    assert_int_equal(try_link(emu.table, &block.tb), PGL_BRACKET_ERROR); /* not made new */
    assert_block_breach(PGL_BREACH_TB_STATE, 5, 0);
    assert_int_equal(block.retired, 0);
    pgl_tb_init(&block.tb);
    pgl_tb_set_bytes(&block.tb, 0, 0x5000, 0x5003);
    assert_int_equal(try_link(emu.table, &block.tb), PGL_BRACKET_OK);
    assert_int_equal(n_seen, 0);
    emu_fini(&emu);
}

static void test_witness_reports_the_big_lock_missing_at_kills_of_many(void **state)
{
    struct pgl_store store;
    uint32_t host;
    struct emu emu;

    (void)state;
    big_lock_held = true;
    emu_init_external(&emu, is_big_lock_held);
    pgl_page_get(emu.table, 9);
    big_lock_held = false;
    assert_int_equal(pgl_invalidate_tbs(emu.table, NULL, 0, NULL), 0);
    assert_breach(PGL_BREACH_EXTERNAL, UINT64_MAX, UINT64_MAX, 0);
    assert_int_equal(pgl_invalidate_if(emu.table, 0x9000, 0x9000, choose_all, NULL, NULL), 0);
    assert_breach(PGL_BREACH_EXTERNAL, UINT64_MAX, UINT64_MAX, 0);
    pgl_table_reset(emu.table);
    assert_breach(PGL_BREACH_EXTERNAL, UINT64_MAX, UINT64_MAX, 0);
    pgl_table_trim(emu.table);
    assert_breach(PGL_BREACH_EXTERNAL, UINT64_MAX, UINT64_MAX, 0);
    assert_int_equal(pgl_store_u32(emu.table, &host, 0x9000, 1, NULL), 0);
    assert_breach(PGL_BREACH_EXTERNAL, UINT64_MAX, UINT64_MAX, 0);
    assert_int_equal(pgl_store_begin_pair(&store, emu.table, 0x9000, 1, 0x9010, 1, NULL), 0);
    assert_int_equal(n_seen, 2); /* the call, and its page */
    assert_int_equal(seen[0].kind, PGL_BREACH_EXTERNAL);
    n_seen = 0;
    big_lock_held = true;
    pgl_store_end(&store);
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
        cmocka_unit_test(test_witness_reports_a_trim_with_a_page_held),
        cmocka_unit_test(test_witness_reports_kills_of_many_with_a_page_held),
        cmocka_unit_test(test_witness_reports_an_array_with_a_block_of_another_table),
        cmocka_unit_test(test_witness_reports_a_block_that_a_reset_forgot),
        cmocka_unit_test(test_witness_reports_the_big_lock_missing_at_kills_of_many),
        cmocka_unit_test(test_witness_sees_a_range_that_meets_no_code_lock_nothing),
    };

    return cmocka_run_group_tests(tests, set_hook, NULL);
}
