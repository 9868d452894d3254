/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "emu.h"

static void test_page_trylock_is_true_when_it_acquired(void **state)
{
    struct emu *emu = *state;
    struct pgl_page *page;

    page = pgl_page_get(emu->table, 5);
    assert_true(pgl_page_trylock(emu->table, page));
    assert_true(emu_is_locked(emu, 5));
    pgl_page_unlock(emu->table, page);
    assert_false(emu_is_locked(emu, 5));
    emu_fini(emu);
}

static void test_page_trylock_is_false_when_another_holds(void **state)
{
    struct emu *emu = *state;
    struct emu_holder holder;
    struct pgl_page *page;

    page = pgl_page_get(emu->table, 5);
    emu_hold(&holder, emu, 5);
    assert_false(pgl_page_trylock(emu->table, page));
    assert_true(emu_is_locked(emu, 5));
    emu_release(&holder);
    assert_true(pgl_page_trylock(emu->table, page));
    pgl_page_unlock(emu->table, page);
    emu_fini(emu);
}

static void lock_and_unlock(struct emu *emu, void *arg)
{
    struct pgl_page *page = arg;

    pgl_page_lock(emu->table, page);
    pgl_page_unlock(emu->table, page);
}

static void test_page_lock_waits_for_the_holder(void **state)
{
    struct emu *emu = *state;
    struct emu_holder holder;
    struct emu_call call;

    emu_hold(&holder, emu, 5);
    emu_call(&call, emu, lock_and_unlock, pgl_page_find(emu->table, 5));
    assert_true(emu_is_stuck(&call));
    emu_release(&holder);
    emu_join(&call);
    assert_int_equal(emu_stats(emu).contended, 1);
    emu_fini(emu);
}

static void test_page_lock_keeps_list_and_filters(void **state)
{
    struct emu *emu = *state;
    struct emu_block block, crossing;
    struct pgl_page before, *page;

    emu_link(emu, &block, 0x5010, 0x501f);
    emu_link2(emu, &crossing, 0x5ff0, 0x5fff, 0x6000, 0x6003);
    page = pgl_page_find(emu->table, 5);
    before = *page;
    pgl_page_lock(emu->table, page);
    assert_true(page->head == (before.head | PGL_HEAD_LOCK));
    pgl_page_unlock(emu->table, page);
    assert_memory_equal(page, &before, sizeof(before));
    emu_fini(emu);
}

static void test_page_lock_is_of_one_page(void **state)
{
    struct emu *emu = *state;

    pgl_page_lock(emu->table, pgl_page_get(emu->table, 5));
    assert_false(emu_is_locked(emu, 4));
    assert_false(emu_is_locked(emu, 6));
    pgl_page_unlock(emu->table, pgl_page_find(emu->table, 5));
    emu_fini(emu);
}

static void test_page_pair_locks_in_either_order(void **state)
{
    struct emu *emu = *state;

    for (unsigned i = 0; i < 2; i++) {
        assert_true(pgl_page_lock_pair(emu->table, i ? 7 : 3, i ? 3 : 7));
        assert_true(emu_is_locked(emu, 3));
        assert_true(emu_is_locked(emu, 7));
        pgl_page_unlock_pair(emu->table, i ? 7 : 3, i ? 3 : 7);
        assert_false(emu_is_locked(emu, 3));
        assert_false(emu_is_locked(emu, 7));
    }
    emu_fini(emu);
}

static void test_page_pair_of_equal_pages_locks_once(void **state)
{
    struct emu *emu = *state;

    assert_true(pgl_page_lock_pair(emu->table, 4, 4));
    assert_true(emu_is_locked(emu, 4));
    pgl_page_unlock_pair(emu->table, 4, 4);
    assert_false(emu_is_locked(emu, 4));
    emu_fini(emu);
}

static void lock_pair_7_3(struct emu *emu, void *arg)
{
    (void)arg;
    pgl_page_lock_pair(emu->table, 7, 3);
    pgl_page_unlock_pair(emu->table, 7, 3);
}

static void test_page_pair_takes_the_lower_first(void **state)
{
    struct emu *emu = *state;
    struct emu_holder holder;
    struct emu_call call;

    pgl_page_get(emu->table, 7);
    emu_hold(&holder, emu, 3);
    emu_call(&call, emu, lock_pair_7_3, NULL);
    assert_true(emu_is_stuck(&call));
    assert_false(emu_is_locked(emu, 7));
    emu_release(&holder);
    emu_join(&call);
    emu_fini(emu);
}

static void test_page_pair_refuses_what_lies_beyond(void **state)
{
    struct emu *emu = *state;

    pgl_page_get(emu->table, 3);
    errno = 0;
    assert_false(pgl_page_lock_pair(emu->table, 3, UINT64_C(1) << 36));
    assert_int_equal(errno, EINVAL);
    assert_false(emu_is_locked(emu, 3));
    emu_fini(emu);
}

static void test_page_lock_of_a_block_takes_its_pages(void **state)
{
    struct emu *emu = *state;
    static const uint64_t second[] = {2, 5, 9, UINT64_C(0xfffffffff)};
    struct emu_block block;

    for (size_t i = 0; i < 4; i++) {
        emu_link2(emu, &block, 0x5ff0, 0x5fff, second[i] << 12, (second[i] << 12) + 7);
        pgl_tb_lock_pages(emu->table, &block.tb);
        assert_true(emu_is_locked(emu, 5));
        assert_true(emu_is_locked(emu, second[i]));
        pgl_tb_unlock_pages(emu->table, &block.tb);
        assert_false(emu_is_locked(emu, 5));
        assert_false(emu_is_locked(emu, second[i]));
        assert_int_equal(pgl_invalidate_tb(emu->table, &block.tb, NULL), PGL_HIT);
    }
    pgl_tb_init(&block.tb);
    pgl_tb_link_unlisted(emu->table, &block.tb);
    pgl_tb_lock_pages(emu->table, &block.tb); /* nothing */
    pgl_tb_unlock_pages(emu->table, &block.tb);
    pgl_invalidate_tb(emu->table, &block.tb, NULL);
    emu_fini(emu);
}

struct counter {
    unsigned n;
    unsigned overlaps;
    unsigned inside;
};

static void count_under_lock(struct emu *emu, void *arg)
{
    struct counter *counter = arg;
    struct pgl_page *page = pgl_page_find(emu->table, 1);

    for (unsigned i = 0; i < 20000; i++) {
        if (i % 4) {
            pgl_page_lock(emu->table, page);
        } else if (!pgl_page_trylock(emu->table, page)) {
            continue;
        }
        if (__atomic_add_fetch(&counter->inside, 1, __ATOMIC_RELAXED) != 1) {
            counter->overlaps++;
        }
        counter->n++;
        __atomic_sub_fetch(&counter->inside, 1, __ATOMIC_RELAXED);
        pgl_page_unlock(emu->table, page);
    }
}

static void test_page_lock_excludes(void **state)
{
    struct emu *emu = *state;
    struct counter counter = {0};
    struct emu_call calls[4];

    pgl_page_get(emu->table, 1);
    for (unsigned i = 0; i < 4; i++) {
        emu_call(&calls[i], emu, count_under_lock, &counter);
    }
    for (unsigned i = 0; i < 4; i++) {
        emu_join(&calls[i]);
    }
    assert_int_equal(counter.overlaps, 0);
    assert_in_range(counter.n, 4 * 15000, 4 * 20000);
    emu_fini(emu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_page_trylock_is_true_when_it_acquired, emu_set_up),
        cmocka_unit_test_setup(test_page_trylock_is_false_when_another_holds, emu_set_up),
        cmocka_unit_test_setup(test_page_lock_waits_for_the_holder, emu_set_up),
        cmocka_unit_test_setup(test_page_lock_keeps_list_and_filters, emu_set_up),
        cmocka_unit_test_setup(test_page_lock_is_of_one_page, emu_set_up),
        cmocka_unit_test_setup(test_page_pair_locks_in_either_order, emu_set_up),
        cmocka_unit_test_setup(test_page_pair_of_equal_pages_locks_once, emu_set_up),
        cmocka_unit_test_setup(test_page_pair_takes_the_lower_first, emu_set_up),
        cmocka_unit_test_setup(test_page_pair_refuses_what_lies_beyond, emu_set_up),
        cmocka_unit_test_setup(test_page_lock_of_a_block_takes_its_pages, emu_set_up),
        cmocka_unit_test_setup(test_page_lock_excludes, emu_set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
