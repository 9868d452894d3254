/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Turns of waiters that starve. Most tests queue a waiter by hand, so that nothing depends on how fast threads are. */
#include "../../src/code/turn_internal.h"

#include "../../src/code/table_internal.h"
#include "emu.h"

static bool someone_starves(const struct emu *emu)
{
    return pgl_table_special(emu->table) & PGL_SPECIAL_STARVING;
}

/* An emulator with pages 5 and 6, and a waiter for page 5 that starves. */
static void init_queued(struct emu *emu, struct pgl_turn *turn)
{
    emu_init(emu);
    *turn = (struct pgl_turn){.page = pgl_page_get(emu->table, 5)};
    pgl_turn_queue(emu->table, turn);
}

/* Run a call that wants page 5. It waits until the queued waiter has had its turn. */
static void assert_waits_for_turn(struct emu *emu, struct pgl_turn *turn, void (*run)(struct emu *emu, void *arg))
{
    struct emu_call call;

    emu_call(&call, emu, run, NULL);
    assert_true(emu_is_stuck(&call));
    assert_false(emu_is_locked(emu, 5));
    assert_false(emu_is_locked(emu, 6));
    pgl_turn_leave(emu->table, turn);
    emu_join(&call);
}

static void lock_5(struct emu *emu, void *arg)
{
    (void)arg;
    pgl_page_lock(emu->table, pgl_page_find(emu->table, 5));
    pgl_page_unlock(emu->table, pgl_page_find(emu->table, 5));
}

static void test_turn_a_lock_begun_later_comes_later(void **state)
{
    struct pgl_turn turn;
    struct emu emu;

    (void)state;
    init_queued(&emu, &turn);
    assert_waits_for_turn(&emu, &turn, lock_5);
    assert_int_equal(emu_stats(&emu).contended, 1);
    emu_fini(&emu);
}

static void test_turn_a_try_fails_during_anothers(void **state)
{
    struct pgl_turn turn;
    struct pgl_page *page;
    struct emu emu;

    (void)state;
    init_queued(&emu, &turn);
    page = pgl_page_find(emu.table, 5);
    assert_false(pgl_page_trylock(emu.table, page));
    pgl_turn_leave(emu.table, &turn);
    assert_true(pgl_page_trylock(emu.table, page));
    pgl_page_unlock(emu.table, page);
    emu_fini(&emu);
}

static void begin_on_5(struct emu *emu, void *arg)
{
    struct pgl_bracket bracket;

    (void)arg;
    pgl_bracket_begin(&bracket, emu->table, 5);
    pgl_bracket_abort(&bracket);
}

/* On a page with blocks a bracket begins inline. */
static void test_turn_a_bracket_comes_later(void **state)
{
    struct emu_block block;
    struct pgl_turn turn;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &block, 0x5000, 0x5003);
    turn = (struct pgl_turn){.page = pgl_page_find(emu.table, 5)};
    pgl_turn_queue(emu.table, &turn);
    assert_waits_for_turn(&emu, &turn, begin_on_5);
    emu_fini(&emu);
}

static void lock_range(struct emu *emu, void *arg)
{
    struct pgl_collection set;

    (void)arg;
    pgl_collection_lock(&set, emu->table, 0x6000, 0x6fff);
    pgl_collection_unlock(&set);
}

/* The try for the lower page fails, and the collection waits for it without the higher one. */
static void test_turn_a_collection_unlocks_and_waits(void **state)
{
    struct emu_block block;
    struct pgl_turn turn;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link2(&emu, &block, 0x6000, 0x6003, 0x5000, 0x5003);
    turn = (struct pgl_turn){.page = pgl_page_find(emu.table, 5)};
    pgl_turn_queue(emu.table, &turn);
    assert_waits_for_turn(&emu, &turn, lock_range);
    assert_int_equal(emu_stats(&emu).retries, 1);
    emu_fini(&emu);
}

static void test_turn_is_of_one_page(void **state)
{
    struct pgl_turn turn;
    struct pgl_page *page;
    struct emu emu;

    (void)state;
    init_queued(&emu, &turn);
    page = pgl_page_get(emu.table, 6);
    assert_true(pgl_page_trylock(emu.table, page));
    pgl_page_unlock(emu.table, page);
    pgl_page_lock(emu.table, page);
    pgl_page_unlock(emu.table, page);
    pgl_turn_leave(emu.table, &turn);
    emu_fini(&emu);
}

static void test_turn_first_queued_first_served(void **state)
{
    struct pgl_turn first, other, second, third, unqueued;
    struct pgl_page *page;
    struct emu emu;

    (void)state;
    init_queued(&emu, &first);
    page = first.page;
    other = (struct pgl_turn){.page = pgl_page_get(emu.table, 6)};
    second = third = unqueued = (struct pgl_turn){.page = page};
    pgl_turn_queue(emu.table, &other);
    pgl_turn_queue(emu.table, &second);
    pgl_turn_queue(emu.table, &third);
    assert_true(pgl_turn_allows(emu.table, &first));
    assert_true(pgl_turn_allows(emu.table, &other));
    assert_false(pgl_turn_allows(emu.table, &second));
    pgl_turn_leave(emu.table, &first);
    assert_true(pgl_turn_allows(emu.table, &second));
    assert_false(pgl_turn_allows(emu.table, &third));
    assert_false(pgl_turn_allows(emu.table, &unqueued));
    pgl_turn_leave(emu.table, &second);
    assert_true(pgl_turn_allows(emu.table, &third));
    pgl_turn_leave(emu.table, &third);
    assert_true(pgl_turn_allows(emu.table, &unqueued));
    assert_true(someone_starves(&emu));
    pgl_turn_leave(emu.table, &other);
    emu_fini(&emu);
}

static void test_turn_leaves_the_inline_locks_as_they_were(void **state)
{
    struct pgl_turn turn;
    unsigned before;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    before = pgl_table_special(emu.table);
    turn = (struct pgl_turn){.page = pgl_page_get(emu.table, 5)};
    pgl_turn_queue(emu.table, &turn);
    assert_int_equal(pgl_table_special(emu.table), before | PGL_SPECIAL_STARVING);
    pgl_turn_leave(emu.table, &turn);
    assert_int_equal(pgl_table_special(emu.table), before);
    assert_null(emu.table->turns);
    emu_fini(&emu);
}

static void test_turn_is_taken_by_a_waiter_that_has_slept(void **state)
{
    struct emu_holder holder;
    struct emu_call call;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_hold(&holder, &emu, 5);
    emu_call(&call, &emu, lock_5, NULL);
    EMU_WAIT_UNTIL(someone_starves(&emu));
    emu_release(&holder);
    emu_join(&call);
    assert_false(someone_starves(&emu));
    assert_int_equal(emu_stats(&emu).slept, 1);
    emu_fini(&emu);
}

/* Run lock_5() in a child. A child that cannot lock the page ends by an alarm. */
static void assert_child_locks_5(struct emu *emu)
{
    pid_t child = fork();

    if (!child) {
        alarm(5);
        lock_5(emu, NULL);
        _exit(someone_starves(emu) || !pgl_page_trylock(emu->table, pgl_page_find(emu->table, 5)));
    }
    emu_assert_child_succeeds(child);
}

static void test_turn_does_not_outlive_fork(void **state)
{
    struct pgl_turn turn, unqueued;
    struct emu emu;

    (void)state;
    init_queued(&emu, &turn);
    unqueued = (struct pgl_turn){.page = turn.page};
    assert_child_locks_5(&emu);
    assert_false(pgl_turn_allows(emu.table, &unqueued));
    emu.table->turns_lock = (uintptr_t)getpid(); /* as a thread of the parent would have it at fork() */
    assert_child_locks_5(&emu);
    emu.table->turns_lock = 0;
    pgl_turn_leave(emu.table, &turn);
    emu_fini(&emu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_turn_a_lock_begun_later_comes_later),
        cmocka_unit_test(test_turn_a_try_fails_during_anothers),
        cmocka_unit_test(test_turn_a_bracket_comes_later),
        cmocka_unit_test(test_turn_a_collection_unlocks_and_waits),
        cmocka_unit_test(test_turn_is_of_one_page),
        cmocka_unit_test(test_turn_first_queued_first_served),
        cmocka_unit_test(test_turn_leaves_the_inline_locks_as_they_were),
        cmocka_unit_test(test_turn_is_taken_by_a_waiter_that_has_slept),
        cmocka_unit_test(test_turn_does_not_outlive_fork),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
