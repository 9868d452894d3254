/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The exact map of a hot page has one bit for each byte, whatever the size of the page. */
#include "emu.h"

enum { SURELY_HOT = 20 }; /* misses */

static const unsigned sizes[] = {PGL_PAGE_BITS_MIN, 11, 12, 13, 16, PGL_PAGE_BITS_MAX};

/* Store behind a block until its page is hot. */
static void heat(struct emu *emu, uint64_t addr)
{
    for (unsigned i = 0; i < SURELY_HOT; i++) {
        assert_int_equal(pgl_store_check(emu->table, addr, 1, NULL), 0);
    }
    assert_int_equal(emu_stats(emu).hot_pages, 1);
}

static void test_map_size_answers_a_store_beside_a_block_on_every_page(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        const uint64_t base = UINT64_C(5) << sizes[i], end = base + (UINT64_C(1) << sizes[i]);
        struct emu_block first, middle, last;
        struct emu emu;

        emu_init_bits(&emu, sizes[i], 48);
        emu_link(&emu, &first, base, base + 2);
        emu_link(&emu, &middle, base + 63, base + 64);
        emu_link(&emu, &last, end - 3, end - 1);
        heat(&emu, base + 3);
        assert_true(pgl_store_is_clean(emu.table, base + 3, 60));
        assert_false(pgl_store_is_clean(emu.table, base + 3, 61));
        assert_true(pgl_store_is_clean(emu.table, base + 65, 8));
        assert_true(pgl_store_is_clean(emu.table, end - 11, 8));
        assert_false(pgl_store_is_clean(emu.table, end - 10, 8));
        assert_false(pgl_store_is_clean(emu.table, base + 2, 1));
        emu_assert_sound(&emu);
        emu_fini(&emu);
    }
}

static void test_map_size_is_narrowed_and_widened_by_the_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        const uint64_t base = UINT64_C(5) << sizes[i], end = base + (UINT64_C(1) << sizes[i]);
        struct emu_block first, all, last;
        struct emu emu;

        emu_init_bits(&emu, sizes[i], 48);
        emu_link(&emu, &first, base, base + 2);
        heat(&emu, base + 3);
        emu_link(&emu, &all, base, end - 1); /* reaches into every word */
        emu_link(&emu, &last, end - 3, end - 1);
        assert_false(pgl_store_is_clean(emu.table, base + 100, 1));
        emu_assert_sound(&emu);
        assert_int_equal(pgl_store_check(emu.table, base + 100, 1, NULL), PGL_HIT);
        emu_assert_sound(&emu);
        assert_true(emu_is_live(&first) && emu_is_live(&last));
        assert_true(pgl_store_is_clean(emu.table, base + 3, 64));
        assert_true(pgl_store_is_clean(emu.table, end - 11, 8));
        assert_int_equal(pgl_invalidate_page(emu.table, 5, NULL), PGL_HIT);
        emu_assert_sound(&emu);
        emu_fini(&emu);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_map_size_answers_a_store_beside_a_block_on_every_page),
        cmocka_unit_test(test_map_size_is_narrowed_and_widened_by_the_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
