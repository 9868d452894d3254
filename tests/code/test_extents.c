/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Blocks with any number of extents. */
#include <stdlib.h>

#include "emu.h"

enum {
    N = 5,
};

/* A block of page 5 whose extents are given as offsets: [i * 0x100, i * 0x100 + 3]. */
static void link_many(struct emu *emu, struct emu_block *block, struct pgl_extent *extents, unsigned n)
{
    emu_init_block(block, 1, 0);
    for (unsigned i = 0; i < n; i++) {
        pgl_extent_set(&extents[i], 0x5000 + 0x100 * i, 0x5003 + 0x100 * i);
    }
    pgl_tb_set_extents(&block->tb, extents, n);
    assert_int_equal(emu_translate(emu, block, NULL), PGL_BRACKET_OK);
}

static void test_extents_of_one_page_each_kill_the_block(void **state)
{
    (void)state;
    for (unsigned n = 1; n <= N; n++) {
        for (unsigned hit = 0; hit < n; hit++) {
            struct pgl_extent extents[N];
            struct emu_block block, beside;
            struct emu emu;

            emu_init(&emu);
            emu_link(&emu, &beside, 0x5804, 0x5807);
            link_many(&emu, &block, extents, n);
            assert_int_equal(pgl_store_check(emu.table, 0x5004 + 0x100 * hit, 4, NULL), 0);
            assert_int_equal(pgl_store_check(emu.table, 0x5003 + 0x100 * hit, 1, NULL), PGL_HIT);
            assert_false(emu_is_live(&block));
            assert_true(emu_is_live(&beside));
            assert_int_equal(block.retired, 1);
            emu_fini(&emu);
        }
    }
}

static void test_extents_of_a_block_are_what_was_set(void **state)
{
    (void)state;
    for (unsigned n = 0; n <= N; n++) {
        struct pgl_extent extents[N];
        struct pgl_tb tb;

        pgl_tb_init(&tb);
        for (unsigned i = 0; i < n; i++) {
            pgl_extent_set(&extents[i], 0x5000 + 0x100 * i, 0x5003 + 0x100 * i);
        }
        pgl_tb_set_extents(&tb, extents, n);
        assert_int_equal(pgl_tb_count_extents(&tb), n);
        for (unsigned i = 0; i < n; i++) {
            assert_int_equal(pgl_tb_first_addr(&tb, i), 0x5000 + 0x100 * i);
            assert_int_equal(pgl_tb_last_addr(&tb, i), 0x5003 + 0x100 * i);
        }
        assert_int_equal(pgl_tb_first_addr(&tb, n), 1);
        assert_int_equal(pgl_tb_last_addr(&tb, n), 0);
    }
}

static void test_extents_without_bytes_are_removed(void **state)
{
    struct pgl_tb tb;

    (void)state;
    pgl_tb_init(&tb);
    pgl_tb_set_bytes(&tb, 0, 0x5000, 0x5003);
    pgl_tb_set_bytes(&tb, 1, 0x6000, 0x6003);
    pgl_tb_set_bytes(&tb, 1, 1, 0);
    assert_int_equal(pgl_tb_count_extents(&tb), 1);
    assert_int_equal(pgl_tb_first_addr(&tb, 0), 0x5000);
    assert_int_equal(pgl_tb_last_addr(&tb, 1), 0);
    pgl_tb_set_bytes(&tb, 1, 0x6000, 0x6003);
    pgl_tb_set_bytes(&tb, 0, 1, 0);
    assert_int_equal(pgl_tb_count_extents(&tb), 0);
}

static void test_extents_up_to_two_are_copied(void **state)
{
    struct pgl_extent extents[2];
    struct emu_block block;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    link_many(&emu, &block, extents, 2);
    pgl_extent_set(&extents[0], 0x9000, 0x9003);
    pgl_extent_set(&extents[1], 0x9000, 0x9003);
    assert_int_equal(pgl_store_check(emu.table, 0x5100, 1, NULL), PGL_HIT);
    emu_fini(&emu);
}

static void test_extents_of_one_page_are_visited_as_one_block(void **state)
{
    (void)state;
    for (unsigned n = 1; n <= N; n++) {
        struct pgl_extent extents[N];
        struct emu_block block;
        struct emu emu;

        emu_init(&emu);
        link_many(&emu, &block, extents, n);
        assert_int_equal(emu_count(&emu, 5), 1);
        emu_fini(&emu);
    }
}

static void test_extents_that_overlap_are_one_victim(void **state)
{
    struct pgl_extent extents[N];
    struct emu_block block;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_init_block(&block, 1, 0);
    for (unsigned i = 0; i < N; i++) {
        pgl_extent_set(&extents[i], 0x5000, 0x5010);
    }
    pgl_tb_set_extents(&block.tb, extents, N);
    assert_int_equal(emu_translate(&emu, &block, NULL), PGL_BRACKET_OK);
    assert_int_equal(pgl_store_check(emu.table, 0x5003, 1, NULL), PGL_HIT);
    assert_int_equal(block.retired, 1);
    assert_int_equal(emu_count(&emu, 5), 0);
    emu_fini(&emu);
}

/* Three extents on page 5 and two on page 6: each call that kills by one of them unlinks all. */
static void kill_crossing(void (*kill)(struct emu *emu, struct emu_block *block))
{
    struct pgl_extent extents[N];
    struct emu_block block;
    struct emu emu;

    emu_init(&emu);
    emu_init_block(&block, 1, 0);
    for (unsigned i = 0; i < N; i++) {
        uint64_t addr = (i % 2 ? 0x6000 : 0x5000) + 0x200 * i;

        pgl_extent_set(&extents[i], addr, addr + 7);
    }
    pgl_tb_set_extents(&block.tb, extents, N);
    assert_int_equal(emu_translate_across(&emu, &block, 6, NULL), PGL_BRACKET_OK);
    assert_int_equal(emu_count(&emu, 5), 1);
    assert_int_equal(emu_count(&emu, 6), 1);
    emu_assert_sound(&emu);
    kill(&emu, &block);
    assert_int_equal(block.retired, 1);
    assert_int_equal(emu_count(&emu, 5), 0);
    assert_int_equal(emu_count(&emu, 6), 0);
    emu_fini(&emu);
}

static void by_block(struct emu *emu, struct emu_block *block)
{
    assert_int_equal(pgl_invalidate_tb(emu->table, &block->tb, NULL), PGL_HIT);
}

static void by_page(struct emu *emu, struct emu_block *block)
{
    (void)block;
    assert_int_equal(pgl_invalidate_page(emu->table, 6, NULL), PGL_HIT);
}

static void by_last_extent(struct emu *emu, struct emu_block *block)
{
    assert_int_equal(pgl_store_check(emu->table, pgl_tb_last_addr(&block->tb, N - 1), 1, NULL), PGL_HIT);
}

static void by_flush(struct emu *emu, struct emu_block *block)
{
    (void)block;
    assert_int_equal(pgl_flush(emu->table, NULL), PGL_HIT);
}

static void test_extents_on_two_pages_die_by_each_call(void **state)
{
    (void)state;
    kill_crossing(by_block);
    kill_crossing(by_page);
    kill_crossing(by_last_extent);
    kill_crossing(by_flush);
}

static void test_extents_pages_are_locked_once_each(void **state)
{
    struct pgl_extent extents[N];
    struct emu_block block;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    link_many(&emu, &block, extents, N);
    pgl_tb_lock_pages(emu.table, &block.tb);
    assert_true(emu_is_locked(&emu, 5));
    pgl_tb_unlock_pages(emu.table, &block.tb);
    assert_false(emu_is_locked(&emu, 5));
    emu_fini(&emu);
}

static void test_extents_pages_are_all_unlocked(void **state)
{
    struct emu_block block;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link2(&emu, &block, 0x5ff0, 0x5fff, 0x6000, 0x6003);
    pgl_tb_lock_pages(emu.table, &block.tb);
    assert_true(emu_is_locked(&emu, 5));
    assert_true(emu_is_locked(&emu, 6));
    pgl_tb_unlock_pages(emu.table, &block.tb);
    assert_false(emu_is_locked(&emu, 5));
    assert_false(emu_is_locked(&emu, 6));
    emu_fini(&emu);
}

static void test_extents_of_the_living_stay_covered(void **state)
{
    struct emu_block blocks[4];
    struct emu emu;

    (void)state;
    for (unsigned dying = 0; dying < 4; dying++) {
        emu_init(&emu);
        for (unsigned i = 0; i < 4; i++) {
            emu_link(&emu, &blocks[i], 0x5000 + 0x100 * i, 0x5003 + 0x100 * i);
        }
        assert_int_equal(pgl_store_check(emu.table, 0x5000 + 0x100 * dying, 1, NULL), PGL_HIT);
        emu_assert_sound(&emu);
        emu_fini(&emu);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_extents_of_one_page_each_kill_the_block),
        cmocka_unit_test(test_extents_of_a_block_are_what_was_set),
        cmocka_unit_test(test_extents_without_bytes_are_removed),
        cmocka_unit_test(test_extents_up_to_two_are_copied),
        cmocka_unit_test(test_extents_of_one_page_are_visited_as_one_block),
        cmocka_unit_test(test_extents_that_overlap_are_one_victim),
        cmocka_unit_test(test_extents_on_two_pages_die_by_each_call),
        cmocka_unit_test(test_extents_pages_are_locked_once_each),
        cmocka_unit_test(test_extents_pages_are_all_unlocked),
        cmocka_unit_test(test_extents_of_the_living_stay_covered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
