/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The budget for hot pages (T8). */
#include <string.h>

#include "emu.h"

enum {
    PAGES = 40, /* of one leaf, and all hot if nothing limits them */
    ROOM = 7,   /* pages that a budget has room for */
    THREADS = 3,
    SURELY_HOT = 20, /* misses */
};

static struct emu_block blocks[PAGES];

/* Begin with a block at the start of each page, and a budget. */
static void begin(struct emu *emu, uint64_t hot_bytes_max)
{
    struct pgl_table_config config = {.page_bits = 12, .addr_bits = 48, .hot_bytes_max = hot_bytes_max};

    emu_init(emu);
    config.ops = emu->table->ops;
    config.opaque = emu;
    pgl_table_free(emu->table);
    emu->table = pgl_table_new(&config);
    assert_non_null(emu->table);
    memset(blocks, 0, sizeof(blocks));
    for (uint64_t i = 0; i < PAGES; i++) {
        emu_link(emu, &blocks[i], i << 12, (i << 12) + 3);
    }
}

static void heat(struct emu *emu, uint64_t index)
{
    for (unsigned i = 0; i < SURELY_HOT; i++) {
        pgl_store_check(emu->table, (index << 12) + 4, 4, NULL);
    }
}

/* Measure the memory of the counts of a leaf, and of an exact map. */
static void measure(uint64_t *counts, uint64_t *map)
{
    struct emu emu;
    uint64_t one;

    begin(&emu, 0);
    heat(&emu, 0);
    one = emu_stats(&emu).hot_bytes;
    heat(&emu, 1);
    *map = emu_stats(&emu).hot_bytes - one;
    *counts = one - *map;
    emu_fini(&emu);
}

static void test_budget_of_zero_is_no_limit(void **state)
{
    struct emu emu;

    (void)state;
    begin(&emu, 0);
    for (uint64_t i = 0; i < PAGES; i++) {
        heat(&emu, i);
    }
    assert_int_equal(emu_stats(&emu).hot_pages, PAGES);
    emu_fini(&emu);
}

static void test_budget_is_kept_exactly(void **state)
{
    uint64_t counts, map;

    (void)state;
    measure(&counts, &map);
    for (int more = -1; more <= 1; more++) { /* bytes */
        const uint64_t max = counts + ROOM * map + (uint64_t)more;
        struct emu emu;

        begin(&emu, max);
        for (uint64_t i = 0; i < PAGES; i++) {
            heat(&emu, i);
            assert_true(emu_stats(&emu).hot_bytes <= max);
        }
        assert_int_equal(emu_stats(&emu).hot_pages, more < 0 ? ROOM - 1 : ROOM);
        emu_assert_sound(&emu);
        for (uint64_t i = 0; i < PAGES; i++) { /* with a map or without */
            assert_int_equal(pgl_store_check(emu.table, (i << 12) + 4, 4, NULL), 0);
            assert_int_equal(pgl_store_check(emu.table, (i << 12) + 3, 4, NULL), PGL_HIT);
        }
        emu_fini(&emu);
    }
}

static void test_budget_too_small_for_a_hot_page_is_not_touched(void **state)
{
    uint64_t counts, map;

    (void)state;
    measure(&counts, &map);
    for (int more = -1; more <= 1; more++) { /* bytes */
        struct emu emu;

        begin(&emu, counts + map + (uint64_t)more);
        heat(&emu, 0);
        assert_int_equal(emu_stats(&emu).hot_pages, more >= 0);
        assert_int_equal(emu_stats(&emu).hot_bytes, more >= 0 ? counts + map : 0);
        emu_fini(&emu);
    }
}

static void test_budget_is_there_again_after_a_trim(void **state)
{
    uint64_t counts, map;
    struct emu emu;

    (void)state;
    measure(&counts, &map);
    begin(&emu, counts + map);
    heat(&emu, 0);
    heat(&emu, 1);
    assert_int_equal(emu_stats(&emu).hot_pages, 1);
    pgl_invalidate_tb(emu.table, &blocks[0].tb, NULL);
    heat(&emu, 1);
    assert_true(!pgl_store_is_clean(emu.table, (1 << 12) + 4, 4)); /* the map stays with its page */
    assert_true(pgl_table_trim(emu.table) >= map);
    heat(&emu, 1);
    assert_true(pgl_store_is_clean(emu.table, (1 << 12) + 4, 4));
    assert_int_equal(emu_stats(&emu).hot_pages, 1);
    emu_fini(&emu);
}

static void heat_all(struct emu *emu, void *arg)
{
    for (uint64_t i = 0; i < PAGES; i++) { /* in different orders, so that they meet on some pages */
        heat(emu, (i * 7 + (uintptr_t)arg * 13) % PAGES);
    }
}

static void test_budget_holds_between_threads(void **state)
{
    uint64_t counts, map;

    (void)state;
    measure(&counts, &map);
    for (unsigned round = 0; round < 20; round++) {
        struct emu_call calls[THREADS];
        bool all = false;
        struct emu emu;

        begin(&emu, counts + ROOM * map);
        for (uintptr_t i = 0; i < THREADS; i++) {
            emu_call(&calls[i], &emu, heat_all, (void *)i);
        }
        while (!all) {
            assert_true(emu_stats(&emu).hot_bytes <= counts + ROOM * map);
            all = true;
            for (unsigned i = 0; i < THREADS; i++) {
                all &= emu_has_returned(&calls[i]);
            }
        }
        for (unsigned i = 0; i < THREADS; i++) {
            emu_join(&calls[i]);
        }
        assert_true(emu_stats(&emu).hot_pages <= ROOM);
        heat_all(&emu, NULL);
        assert_int_equal(emu_stats(&emu).hot_pages, ROOM);
        assert_int_equal(emu_stats(&emu).hot_bytes, counts + ROOM * map);
        emu_fini(&emu);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_budget_of_zero_is_no_limit),
        cmocka_unit_test(test_budget_is_kept_exactly),
        cmocka_unit_test(test_budget_too_small_for_a_hot_page_is_not_touched),
        cmocka_unit_test(test_budget_is_there_again_after_a_trim),
        cmocka_unit_test(test_budget_holds_between_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
