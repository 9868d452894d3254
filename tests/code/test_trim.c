/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memory that a table gives back in a quiet moment. */
#include "emu.h"

enum {
    BLOCKS = 8,
    NEVER_HOT = 2,   /* misses */
    SURELY_HOT = 20, /* misses */
};

static uint64_t page_addr(uint64_t index)
{
    return index << 12;
}

/* Store beside the block at the start of a page, @n times. */
static void miss(struct emu *emu, uint64_t index, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(pgl_store_check(emu->table, page_addr(index) + 4, 4, NULL), 0);
    }
}

/* Link a block to the start of a page, and make the page hot. */
static void link_hot(struct emu *emu, struct emu_block *block, uint64_t index)
{
    emu_link(emu, block, page_addr(index), page_addr(index) + 3);
    miss(emu, index, SURELY_HOT);
}

static void test_trim_frees_leaves_and_nodes(void **state)
{
    struct emu_block blocks[BLOCKS];
    struct pgl_table_stats before, full;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    before = emu_stats(&emu);
    for (unsigned i = 0; i < BLOCKS; i++) { /* from neighbouring leaves to other subtrees of the root */
        link_hot(&emu, &blocks[i], UINT64_C(1) << (8 + 3 * i));
    }
    full = emu_stats(&emu);
    assert_int_equal(full.hot_pages, BLOCKS);
    pgl_flush(emu.table, NULL);
    assert_int_equal(pgl_table_trim(emu.table), full.bytes + full.hot_bytes - before.bytes);
    assert_int_equal(emu_stats(&emu).bytes, before.bytes);
    assert_int_equal(emu_stats(&emu).leaves, 0);
    assert_int_equal(emu_stats(&emu).hot_bytes, 0);
    assert_int_equal(emu_stats(&emu).hot_pages, 0);
    for (unsigned i = 0; i < BLOCKS; i++) {
        assert_null(pgl_page_find(emu.table, UINT64_C(1) << (8 + 3 * i)));
    }
    emu_assert_sound(&emu);
    assert_int_equal(pgl_table_trim(emu.table), 0);
    emu_fini(&emu);
}

static void test_trim_leaves_a_table_that_can_be_used(void **state)
{
    struct emu_block block;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    for (unsigned round = 0; round < 3; round++) {
        link_hot(&emu, &block, 0x1234567);
        assert_int_equal(emu_stats(&emu).hot_pages, 1);
        assert_int_equal(pgl_store_check(emu.table, page_addr(0x1234567), 1, &block.tb), PGL_HIT | PGL_RUNNING_DEAD);
        assert_true(pgl_table_trim(emu.table) > 0);
        emu_assert_sound(&emu);
    }
    emu_fini(&emu);
}

static void test_trim_keeps_all_that_a_block_needs(void **state)
{
    const uint64_t kept = 5, neighbour = 6, far = 0x123456;
    struct emu_block crossing, near, other;
    struct pgl_page *page, *page2;
    struct emu emu;
    uint64_t mask;

    (void)state;
    emu_init(&emu);
    emu_link2(&emu, &crossing, page_addr(kept) + 0x800, page_addr(kept) + 0x803, page_addr(far), page_addr(far) + 3);
    link_hot(&emu, &near, kept);
    link_hot(&emu, &other, neighbour);
    page = pgl_page_find(emu.table, kept);
    page2 = pgl_page_find(emu.table, far);
    mask = emu_mask(&emu, kept);
    pgl_invalidate_tb(emu.table, &other.tb, NULL);
    assert_true(pgl_table_trim(emu.table) > 0);
    emu_assert_sound(&emu);
    assert_ptr_equal(pgl_page_find(emu.table, kept), page);
    assert_ptr_equal(pgl_page_find(emu.table, far), page2);
    assert_int_equal(emu_mask(&emu, kept), mask);
    assert_int_equal(emu_stats(&emu).hot_pages, 1);
    assert_true(pgl_store_is_clean(emu.table, page_addr(kept) + 4, 4)); /* by the map */
    assert_int_equal(pgl_store_check(emu.table, page_addr(far), 1, NULL), PGL_HIT);
    assert_int_equal(pgl_store_check(emu.table, page_addr(kept), 1, NULL), PGL_HIT);
    emu_fini(&emu);
}

static void test_trim_frees_maps_of_pages_without_blocks(void **state)
{
    struct emu_block dying, living;
    struct pgl_table_stats full, trimmed;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    link_hot(&emu, &dying, 5);
    emu_link(&emu, &living, page_addr(6), page_addr(6) + 3);
    miss(&emu, 6, NEVER_HOT);
    full = emu_stats(&emu);
    pgl_invalidate_tb(emu.table, &dying.tb, NULL);
    assert_int_equal(pgl_table_trim(emu.table), full.hot_bytes); /* the counts of the leaf too */
    trimmed = emu_stats(&emu);
    assert_int_equal(trimmed.hot_bytes, 0);
    assert_int_equal(trimmed.hot_pages, 0);
    assert_int_equal(trimmed.leaves, 1);
    emu_assert_sound(&emu);
    emu_link(&emu, &dying, page_addr(5), page_addr(5) + 3);
    miss(&emu, 5, NEVER_HOT); /* its count begins again */
    assert_int_equal(emu_stats(&emu).hot_pages, 0);
    miss(&emu, 5, SURELY_HOT);
    assert_int_equal(emu_stats(&emu).hot_bytes, full.hot_bytes);
    emu_fini(&emu);
}

static void test_trim_keeps_the_map_of_the_last_page_of_a_leaf(void **state)
{
    const uint64_t last = PGL_LEVEL_SIZE - 1;
    struct emu_block block, other;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    link_hot(&emu, &other, 0);
    link_hot(&emu, &block, last);
    pgl_invalidate_tb(emu.table, &other.tb, NULL);
    assert_true(pgl_table_trim(emu.table) > 0);
    assert_true(pgl_store_is_clean(emu.table, page_addr(last) + 4, 4));
    emu_assert_sound(&emu);
    emu_link(&emu, &other, page_addr(0), page_addr(0) + 3);
    miss(&emu, 0, NEVER_HOT); /* the count of the trimmed page begins again */
    assert_int_equal(emu_stats(&emu).hot_pages, 1);
    emu_fini(&emu);
}

static void test_trim_untraps_the_pages_that_a_reset_left(void **state)
{
    struct emu_block blocks[3];
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &blocks[0], page_addr(5), page_addr(5) + 3);
    link_hot(&emu, &blocks[1], 6);
    emu_link(&emu, &blocks[2], page_addr(0x123456), page_addr(0x123456) + 3);
    pgl_table_reset(emu.table);
    emu_log(&emu);
    assert_true(pgl_table_trim(emu.table) > 0);
    assert_string_equal(emu_log(&emu), "none 5, none 6, none 123456");
    assert_int_equal(emu_stats(&emu).leaves, 0);
    assert_int_equal(emu_stats(&emu).hot_bytes, 0);
    emu.findable = NULL;
    emu_fini(&emu);
}

static void test_trim_of_a_reset_page_beside_a_block_clears_its_filters(void **state)
{
    struct emu_block gone, fresh;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    link_hot(&emu, &gone, 5);
    pgl_table_reset(emu.table);
    emu.findable = NULL;
    emu_link(&emu, &fresh, page_addr(6), page_addr(6) + 3);
    assert_true(pgl_table_trim(emu.table) > 0);
    assert_int_equal(emu_mask(&emu, 5), 0);
    assert_int_equal(emu_stats(&emu).hot_pages, 0);
    emu_assert_sound(&emu);
    emu_fini(&emu);
}

/* A guest that maps and unmaps for ever: the table has at most the leaves, nodes and maps of a few rounds. */
static void test_trim_keeps_the_table_of_a_guest_that_moves_on_small(void **state)
{
    enum { ROUNDS = 400, KEPT = 8 };
    uint64_t most = 0;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    for (uint64_t i = 0; i < ROUNDS; i++) {
        struct emu_block block;
        struct pgl_table_stats stats;

        link_hot(&emu, &block, i << 27); /* below a child of its own of the root */
        assert_int_equal(pgl_invalidate_tb(emu.table, &block.tb, NULL), PGL_HIT);
        stats = emu_stats(&emu);
        if (i < KEPT) {
            most = stats.bytes + stats.hot_bytes;
        }
        assert_true(stats.bytes + stats.hot_bytes <= most);
        if (i % KEPT == KEPT - 1) {
            pgl_table_trim(emu.table);
        }
    }
    assert_int_equal(emu_stats(&emu).leaves, 0);
    emu_fini(&emu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trim_frees_leaves_and_nodes),
        cmocka_unit_test(test_trim_leaves_a_table_that_can_be_used),
        cmocka_unit_test(test_trim_keeps_all_that_a_block_needs),
        cmocka_unit_test(test_trim_frees_maps_of_pages_without_blocks),
        cmocka_unit_test(test_trim_keeps_the_map_of_the_last_page_of_a_leaf),
        cmocka_unit_test(test_trim_untraps_the_pages_that_a_reset_left),
        cmocka_unit_test(test_trim_of_a_reset_page_beside_a_block_clears_its_filters),
        cmocka_unit_test(test_trim_keeps_the_table_of_a_guest_that_moves_on_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
