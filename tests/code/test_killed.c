/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pages that a thread holds to kill: their filters answer meanwhile, and nobody else's pages do so. */
#include "../../src/code/filter_internal.h"
#include "emu.h"

static uint64_t killed_pages(const struct emu *emu)
{
    return __atomic_load_n(&pgl_leaf_find(emu->table, 0)->killed[0], __ATOMIC_ACQUIRE);
}

static const uint64_t pages_5_and_7 = 1u << 5 | 1u << 7;

/* A call that kills a range of pages, or of one page of a crossing block, while another thread holds the last page. */
struct killer {
    struct emu_block on_5, in_range, on_7;
    struct emu_holder holder;
    struct emu_call call;
};

static void invalidate_5_to_7(struct emu *emu, void *arg)
{
    (void)arg;
    pgl_invalidate_range(emu->table, 0x5800, 0x77ff, NULL);
}

/* The killer holds page 5 and waits for page 7. Its range meets no byte of the block on page 5. */
static void init_killer(struct emu *emu, struct killer *killer)
{
    emu_init(emu);
    emu_link(emu, &killer->on_5, 0x5000, 0x5003);
    emu_link(emu, &killer->in_range, 0x5f00, 0x5f03);
    emu_link(emu, &killer->on_7, 0x7000, 0x7003);
    emu_hold(&killer->holder, emu, 7);
    emu_call(&killer->call, emu, invalidate_5_to_7, NULL);
    assert_true(emu_is_stuck(&killer->call));
    assert_true(emu_is_locked(emu, 5));
}

static void end_killer(struct emu *emu, struct killer *killer)
{
    emu_release(&killer->holder);
    emu_join(&killer->call);
    assert_int_equal(killed_pages(emu), 0);
    assert_false(emu_is_live(&killer->on_7));
}

static void test_killed_clean_store_does_not_wait(void **state)
{
    struct killer killer;
    struct emu emu;

    (void)state;
    init_killer(&emu, &killer);
    assert_int_equal(killed_pages(&emu), 1u << 5);
    assert_int_equal(pgl_store_check(emu.table, 0x5100, 8, NULL), 0);
    assert_true(emu_is_locked(&emu, 5));
    end_killer(&emu, &killer);
    emu_fini(&emu);
}

static int answer;

static void store_to_5000(struct emu *emu, void *arg)
{
    (void)arg;
    answer = pgl_store_check(emu->table, 0x5003, 1, NULL);
}

static void store_to_5800(struct emu *emu, void *arg)
{
    (void)arg;
    answer = pgl_store_check(emu->table, 0x5800, 1, NULL);
}

static void test_killed_hit_waits(void **state)
{
    struct killer killer;
    struct emu_call call;
    struct emu emu;

    (void)state;
    init_killer(&emu, &killer);
    emu_call(&call, &emu, store_to_5000, NULL);
    assert_true(emu_is_stuck(&call));
    end_killer(&emu, &killer);
    emu_join(&call);
    assert_int_equal(answer, PGL_HIT);
    emu_fini(&emu);
}

static struct emu *marked_emu;

static void mark_page_5(void)
{
    pgl_killed_mark(pgl_leaf_find(marked_emu->table, 5), 0, 1u << 5);
}

/* The wait for one holder may become a wait for another, which kills. The waiter itself marks the page, as it yields. */
static void test_killed_waiter_asks_again(void **state)
{
    struct emu_holder holder;
    struct emu_block block;
    struct emu_call call;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &block, 0x5000, 0x5003);
    emu_hold(&holder, &emu, 5);
    marked_emu = &emu;
    emu_at_yield = mark_page_5;
    emu_call(&call, &emu, store_to_5800, NULL);
    emu_join(&call);
    emu_at_yield = NULL;
    assert_int_equal(answer, 0);
    assert_true(emu_is_locked(&emu, 5));
    pgl_killed_unmark(pgl_leaf_find(emu.table, 5), 0, 1u << 5);
    emu_release(&holder);
    emu_fini(&emu);
}

static void expect_clean_store_waits(struct emu *emu, struct emu_call *call)
{
    emu_call(call, emu, store_to_5800, NULL);
    assert_true(emu_is_stuck(call));
    assert_int_equal(killed_pages(emu), 0);
}

static void test_killed_is_no_page_of_a_bracket(void **state)
{
    struct emu_block block;
    struct pgl_bracket bracket;
    struct emu_call call;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &block, 0x5000, 0x5003);
    assert_true(pgl_bracket_begin(&bracket, emu.table, 5));
    expect_clean_store_waits(&emu, &call);
    pgl_bracket_abort(&bracket);
    emu_join(&call);
    emu_fini(&emu);
}

static void lock_5_to_7(struct emu *emu, void *arg)
{
    struct pgl_collection set;

    (void)arg;
    pgl_collection_lock(&set, emu->table, 0x5000, 0x7fff);
    pgl_collection_unlock(&set);
}

/* The emulator may do under its own collection what the library does not know. */
static void test_killed_is_no_page_of_the_emulators_collection(void **state)
{
    struct emu_holder holder;
    struct emu_block block;
    struct emu_call locker, call;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &block, 0x5000, 0x5003);
    emu_hold(&holder, &emu, 7);
    emu_call(&locker, &emu, lock_5_to_7, NULL);
    assert_true(emu_is_stuck(&locker));
    expect_clean_store_waits(&emu, &call);
    emu_release(&holder);
    emu_join(&locker);
    emu_join(&call);
    emu_fini(&emu);
}

static void test_killed_is_no_page_of_a_store_bracket(void **state)
{
    struct emu_block block, other;
    struct pgl_store store;
    struct emu_call call;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link2(&emu, &block, 0x5000, 0x5003, 0x6000, 0x6003);
    emu_link(&emu, &other, 0x5100, 0x5103);
    assert_int_equal(pgl_store_begin(&store, emu.table, 0x5000, 4, NULL), PGL_HIT);
    expect_clean_store_waits(&emu, &call);
    pgl_store_end(&store);
    emu_join(&call);
    emu_fini(&emu);
}

static struct emu_call in_retired[2];

static void store_during_retired(struct emu *emu, struct pgl_tb *chain)
{
    (void)chain;
    emu->at_retired = NULL;
    emu_call(&in_retired[0], emu, store_to_5800, NULL);
    EMU_WAIT_UNTIL(emu_has_returned(&in_retired[0]));
    emu_join(&in_retired[0]);
    emu_call(&in_retired[1], emu, store_to_5000, NULL);
    assert_true(emu_is_stuck(&in_retired[1]));
}

static void test_killed_clean_store_does_not_wait_for_retired(void **state)
{
    struct emu_block block;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link2(&emu, &block, 0x5000, 0x5003, 0x6000, 0x6003);
    emu.at_retired = store_during_retired;
    assert_int_equal(pgl_invalidate_tb(emu.table, &block.tb, NULL), PGL_HIT);
    emu_join(&in_retired[1]);
    assert_int_equal(answer, 0); /* the block was dead and unfindable by then */
    assert_int_equal(killed_pages(&emu), 0);
    emu_fini(&emu);
}

static void invalidate_5_to_8(struct emu *emu, void *arg)
{
    (void)arg;
    pgl_invalidate_range(emu->table, 0x5000, 0x8fff, NULL);
}

/* Pages that are unlocked to wait for a lower one are not marked meanwhile. */
static void test_killed_no_mark_outlives_the_lock(void **state)
{
    struct emu_block on_5, on_7, crossing;
    struct emu_holder holder_3, holder_8;
    struct emu_call call;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &on_7, 0x7000, 0x7003);
    emu_link(&emu, &on_5, 0x8000, 0x8003);
    emu_link2(&emu, &crossing, 0x5000, 0x5003, 0x3000, 0x3003);
    emu_hold(&holder_3, &emu, 3);
    emu_hold(&holder_8, &emu, 8);
    emu_call(&call, &emu, invalidate_5_to_8, NULL);
    assert_true(emu_is_stuck(&call));
    assert_int_equal(killed_pages(&emu), pages_5_and_7);
    emu_release(&holder_8);
    assert_true(emu_is_stuck_again(&call));
    EMU_WAIT_UNTIL(!emu_is_locked(&emu, 5) && !emu_is_locked(&emu, 8));
    assert_int_equal(killed_pages(&emu), 0);
    emu_release(&holder_3);
    emu_join(&call);
    assert_int_equal(killed_pages(&emu), 0);
    emu_fini(&emu);
}

static void note_marks(struct emu *emu, struct pgl_tb *chain)
{
    (void)chain;
    *(uint64_t *)emu->arg = killed_pages(emu);
}

static bool is_held(void *opaque)
{
    (void)opaque;
    return true;
}

/* Nobody waits for such a page. */
static void test_killed_marks_no_page_of_a_table_with_external_locking(void **state)
{
    struct emu_block on_5, on_7;
    uint64_t marks;
    struct emu emu;

    (void)state;
    for (unsigned external = 0; external <= 1; external++) {
        if (external) {
            emu_init_external(&emu, is_held);
        } else {
            emu_init(&emu);
        }
        emu.arg = &marks;
        emu.at_retired = note_marks;
        emu_link(&emu, &on_5, 0x5000, 0x5003);
        emu_link(&emu, &on_7, 0x7000, 0x7003);
        assert_int_equal(pgl_invalidate_range(emu.table, 0x5000, 0x7fff, NULL), PGL_HIT);
        assert_int_equal(marks, external ? 0 : pages_5_and_7);
        emu_fini(&emu);
    }
}

/* The page of a range, and that of a block. A store that kills on one page alone marks nothing. */
static void test_killed_marks_one_page_of_a_call_but_not_of_a_store(void **state)
{
    struct emu_block of_range, of_store, of_call;
    uint64_t marks = 0;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu.arg = &marks;
    emu.at_retired = note_marks;
    emu_link(&emu, &of_range, 0x5000, 0x5003);
    emu_link(&emu, &of_store, 0x6000, 0x6003);
    emu_link(&emu, &of_call, 0x7000, 0x7003);
    assert_int_equal(pgl_invalidate_page(emu.table, 5, NULL), PGL_HIT);
    assert_int_equal(marks, 1u << 5);
    assert_int_equal(pgl_store_check(emu.table, 0x6000, 1, NULL), PGL_HIT);
    assert_int_equal(marks, 0);
    assert_int_equal(pgl_invalidate_tb(emu.table, &of_call.tb, NULL), PGL_HIT);
    assert_int_equal(marks, 1u << 7);
    emu_fini(&emu);
}

static void test_killed_mark_at_rest_is_found(void **state)
{
    struct emu emu;

    (void)state;
    emu_init(&emu);
    pgl_page_get(emu.table, 5);
    pgl_leaf_find(emu.table, 5)->killed[0] = 1u << 5;
    assert_int_equal(pgl_table_check(emu.table, NULL, NULL), 1);
    pgl_leaf_find(emu.table, 5)->killed[0] = 0;
    emu_fini(&emu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed_clean_store_does_not_wait),
        cmocka_unit_test(test_killed_hit_waits),
        cmocka_unit_test(test_killed_waiter_asks_again),
        cmocka_unit_test(test_killed_is_no_page_of_a_bracket),
        cmocka_unit_test(test_killed_is_no_page_of_the_emulators_collection),
        cmocka_unit_test(test_killed_is_no_page_of_a_store_bracket),
        cmocka_unit_test(test_killed_clean_store_does_not_wait_for_retired),
        cmocka_unit_test(test_killed_no_mark_outlives_the_lock),
        cmocka_unit_test(test_killed_marks_no_page_of_a_table_with_external_locking),
        cmocka_unit_test(test_killed_marks_one_page_of_a_call_but_not_of_a_store),
        cmocka_unit_test(test_killed_mark_at_rest_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
