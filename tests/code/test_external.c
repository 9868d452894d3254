/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tables under a big lock of the caller's: the same answers, and no page is ever locked. */
#include "emu.h"

static unsigned n_asked;

static bool big_lock_is_held(void *opaque)
{
    (void)opaque;
    n_asked++;
    return true;
}

static void no_page_is_locked(struct emu *emu, uint64_t index)
{
    assert_false(emu_is_locked(emu, index));
}

static void test_external_lock_writes_nothing(void **state)
{
    struct pgl_page *page, before;
    struct emu_block block;
    struct emu emu;

    (void)state;
    emu_init_external(&emu, NULL);
    emu_link(&emu, &block, 0x5000, 0x5003);
    page = pgl_page_find(emu.table, 5);
    before = *page;
    pgl_page_lock(emu.table, page);
    assert_memory_equal(page, &before, sizeof(before));
    pgl_page_unlock(emu.table, page);
    assert_true(pgl_page_trylock(emu.table, page));
    assert_memory_equal(page, &before, sizeof(before));
    pgl_page_unlock(emu.table, page);
    assert_memory_equal(page, &before, sizeof(before));
    emu_fini(&emu);
}

static void test_external_table_answers_as_any_other(void **state)
{
    struct emu_block a, b, c;
    struct pgl_collection collection;
    struct pgl_store store;
    uint64_t index = 0;
    struct emu emu;

    (void)state;
    emu_init_external(&emu, big_lock_is_held);
    emu.at_first_code = emu.at_no_code = no_page_is_locked;
    emu_link(&emu, &a, 0x5000, 0x5003);
    emu_link2(&emu, &b, 0x5ff0, 0x5fff, 0x3000, 0x3003);
    assert_true(pgl_collection_lock(&collection, emu.table, 0x5000, 0x5000));
    assert_non_null(pgl_collection_next(&collection, &index));
    assert_int_equal(index, 3);
    pgl_collection_unlock(&collection);
    assert_int_equal(pgl_store_check(emu.table, 0x5800, 8, NULL), 0);
    assert_int_equal(pgl_store_check(emu.table, 0x3003, 8, &b.tb), PGL_HIT | PGL_RUNNING_DEAD);
    assert_int_equal(pgl_store_begin(&store, emu.table, 0x4fff, 2, NULL), PGL_HIT);
    pgl_store_end(&store);
    emu_link(&emu, &c, 0x5000, 0x5003);
    assert_int_equal(pgl_flush(emu.table, NULL), PGL_HIT);
    assert_null(emu.findable);
    assert_true(!pgl_has_lock_debug() || n_asked > 0);
    emu_fini(&emu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_external_lock_writes_nothing),
        cmocka_unit_test(test_external_table_answers_as_any_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
