/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Symbols that the headers' inline functions call only in some states, called in the others: each does the whole job.
 * And what the library says of its structs. The functions with plain names are tested by the other units, compiled a
 * second time.
 */
#include <errno.h>
#include <string.h>

#include <pagelock/pagelock.h>

#include "emu.h"

static void test_exports_slow_lock_of_a_free_page(void **state)
{
    struct pgl_page *page;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    page = pgl_page_get(emu.table, 5);
    pgl_page_lock_slow(emu.table, page, PGL_HERE);
    assert_true(emu_is_locked(&emu, 5));
    assert_int_equal(emu_stats(&emu).contended, 0);
    pgl_page_unlock_slow(emu.table, page, PGL_HERE);
    assert_false(emu_is_locked(&emu, 5));
    assert_true(pgl_page_trylock_slow(emu.table, page, PGL_HERE));
    assert_true(emu_is_locked(&emu, 5));
    pgl_page_unlock_slow(emu.table, page, PGL_HERE);
    emu_fini(&emu);
}

static void test_exports_slow_trylock_of_a_held_page(void **state)
{
    struct emu_holder holder;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_hold(&holder, &emu, 5);
    assert_false(pgl_page_trylock_slow(emu.table, pgl_page_find(emu.table, 5), PGL_HERE));
    emu_release(&holder);
    assert_false(emu_is_locked(&emu, 5));
    emu_fini(&emu);
}

/* The inline part takes such a page: with blocks, and free. */
static void test_exports_slow_begin_on_a_page_with_blocks(void **state)
{
    struct pgl_bracket bracket;
    struct emu_block old, new;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &old, 0x5000, 0x5003);
    emu_log(&emu);
    memset(&new, 0, sizeof(new));
    pgl_tb_init(&new.tb);
    pgl_tb_set_bytes(&new.tb, 0, 0x5010, 0x5013);
    assert_true(pgl_bracket_begin_slow(&bracket, emu.table, 5, PGL_HERE));
    assert_true(emu_is_locked(&emu, 5));
    assert_int_equal(pgl_bracket_commit(&bracket, &new.tb, NULL), PGL_BRACKET_OK);
    assert_false(emu_is_locked(&emu, 5));
    assert_int_equal(emu_count(&emu, 5), 2);
    assert_string_equal(emu_log(&emu), "publish");
    assert_int_equal(pgl_flush(emu.table, NULL), PGL_HIT);
    emu_fini(&emu);
}

/* The inline part answers stores that meet no code, on pages with code and without. */
static void test_exports_fenced_check_of_a_clean_store(void **state)
{
    struct emu_block block, running;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    assert_int_equal(pgl_store_check_fenced(emu.table, 0x9000, 4, NULL, PGL_HERE), 0);
    emu_link(&emu, &block, 0x5000, 0x5003);
    emu_link(&emu, &running, 0x6000, 0x6003);
    assert_int_equal(pgl_store_check_fenced(emu.table, 0x5f00, 4, &running.tb, PGL_HERE), 0);
    assert_int_equal(pgl_store_check_fenced(emu.table, 0x4ffc, 4, &running.tb, PGL_HERE), 0);
    assert_true(emu_is_live(&block));
    assert_int_equal(pgl_invalidate_tb(emu.table, &running.tb, NULL), PGL_HIT);
    assert_int_equal(pgl_store_check_fenced(emu.table, 0x5f00, 4, &running.tb, PGL_HERE), PGL_RUNNING_DEAD);
    assert_int_equal(pgl_store_check_fenced(emu.table, 0x4ffd, 4, NULL, PGL_HERE), PGL_HIT);
    assert_false(emu_is_live(&block));
    errno = 0;
    assert_int_equal(pgl_store_check_fenced(emu.table, UINT64_C(1) << 48, 1, NULL, PGL_HERE), PGL_ERROR);
    assert_int_equal(errno, EINVAL);
    emu_fini(&emu);
}

static void test_exports_sizes_are_those_of_the_structs(void **state)
{
    (void)state;
#define SAME(name) assert_int_equal(pgl_sizeof_##name, sizeof(struct pgl_##name))
    SAME(tb);
    SAME(bracket);
    SAME(collection);
    SAME(store);
    SAME(table_config);
    SAME(table_stats);
    SAME(tb_ops);
    SAME(advice_table);
    SAME(cluster);
    SAME(cluster_args);
    SAME(view);
    SAME(fault_args);
    SAME(fault_page);
    SAME(heap_ops);
    SAME(map_entry);
    SAME(memory_ops);
    SAME(object_config);
    SAME(object_stats);
    SAME(pager_ops);
    SAME(uffd_config);
    SAME(uffd_stats);
    assert_int_equal(pgl_alignof_tb, _Alignof(struct pgl_tb));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exports_slow_lock_of_a_free_page),
        cmocka_unit_test(test_exports_slow_trylock_of_a_held_page),
        cmocka_unit_test(test_exports_slow_begin_on_a_page_with_blocks),
        cmocka_unit_test(test_exports_fenced_check_of_a_clean_store),
        cmocka_unit_test(test_exports_sizes_are_those_of_the_structs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
