/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Calls that promise to allocate nothing allocate nothing. */
#include <stdlib.h>

#include "allocator.h"
#include "emu.h"

static void test_alloc_store_check_that_is_clean_or_hits_allocates_nothing(void **state)
{
    struct emu *emu = *state;
    struct emu_block block, crossing;

    emu_link(emu, &block, 0x5000, 0x5003);
    emu_link2(emu, &crossing, 0x5ff0, 0x5fff, 0x3000, 0x3003);
    count_from_here(0);
    assert_int_equal(pgl_store_check(emu->table, 0x5800, 8, NULL), 0);
    assert_int_equal(pgl_store_check(emu->table, 0x900000000, 8, NULL), 0);
    assert_int_equal(pgl_store_check(emu->table, 0x6ffc, 8, NULL), 0);
    assert_int_equal(pgl_store_check(emu->table, 0x5003, 8, NULL), PGL_HIT);
    assert_int_equal(pgl_store_check(emu->table, 0x3000, 8, NULL), PGL_HIT);
    assert_int_equal(n_allocations, 0);
    emu_fini(emu);
}

static void test_alloc_collection_within_four_leaves_allocates_nothing(void **state)
{
    struct emu *emu = *state;
    struct pgl_collection collection;
    struct emu_block blocks[200];

    for (unsigned i = 0; i < 200; i++) {
        uint64_t second = (UINT64_C(0x9000) + i % 3 * PGL_LEVEL_SIZE + i * 7 % 512) << 12;

        emu_link2(emu, &blocks[i], 0x10000 + i * 0x1000, 0x10003 + i * 0x1000, second, second);
    }
    count_from_here(0);
    assert_true(pgl_collection_lock(&collection, emu->table, 0, 512 * 0x1000 - 1));
    assert_int_equal(n_allocations, 0);
    pgl_collection_unlock(&collection);
    assert_int_equal(n_allocations, 0);
    emu_fini(emu);
}

static void test_alloc_page_with_a_block_crossing_in_and_one_out_allocates_nothing(void **state)
{
    struct emu *emu = *state;
    const uint64_t page = PGL_LEVEL_SIZE << 12, end = 2 * page;
    struct pgl_collection collection;
    struct emu_block in, out, last;

    /* Three leaves: the one page that is all of its leaf's code, and its neighbours in the leaves on both sides. */
    emu_link2(emu, &in, page - 4, page - 1, page, page + 3);
    emu_link2(emu, &out, page + 8, page + 11, end, end + 3);
    count_from_here(0);
    assert_true(pgl_collection_lock(&collection, emu->table, page, page));
    assert_true(emu_is_locked(emu, PGL_LEVEL_SIZE - 1));
    assert_true(emu_is_locked(emu, 2 * PGL_LEVEL_SIZE));
    pgl_collection_unlock(&collection);
    emu_link(emu, &last, page + 16, page + 19);
    assert_int_equal(pgl_invalidate_page(emu->table, PGL_LEVEL_SIZE, &in.tb), PGL_HIT | PGL_RUNNING_DEAD);
    assert_int_equal(emu->n_retired_blocks, 3);
    assert_int_equal(n_allocations, 0);
    emu_fini(emu);
}

static void test_alloc_kills_within_four_leaves_allocate_nothing(void **state)
{
    struct emu *emu = *state;
    struct emu_block blocks[11]; /* so few that no hit leaves a long list, which would make its page hot */
    struct pgl_store store;

    for (unsigned i = 0; i < 11; i++) {
        uint64_t second = 0x9000000 + (uint64_t)(i % 3 * PGL_LEVEL_SIZE << 12) + 16 * i;

        emu_link2(emu, &blocks[i], 0x5000 + 16 * i, 0x5003 + 16 * i, second, second + 3);
    }
    count_from_here(0);
    assert_int_equal(pgl_invalidate_tb(emu->table, &blocks[0].tb, NULL), PGL_HIT);
    assert_int_equal(pgl_invalidate_range(emu->table, 0x5010, 0x5010, NULL), PGL_HIT);
    assert_int_equal(pgl_store_check(emu->table, 0x5020, 4, NULL), PGL_HIT);
    assert_int_equal(pgl_store_begin(&store, emu->table, 0x5030, 4, NULL), PGL_HIT);
    pgl_store_end(&store);
    assert_int_equal(pgl_invalidate_page(emu->table, 5, NULL), PGL_HIT);
    assert_int_equal(pgl_flush(emu->table, NULL), 0);
    assert_int_equal(pgl_invalidate_range(emu->table, 0, UINT64_C(1) << 40, NULL), 0);
    assert_int_equal(n_allocations, 0);
    assert_null(emu->findable);
    emu_fini(emu);
}

/*
 * Three portions of a page. The blocks of each have partners in three leaves of their own, where another block lives
 * on: the call has more partners to narrow than it can note.
 */
static void test_alloc_portions_with_partners_in_many_leaves_allocate_nothing(void **state)
{
    enum { PORTION = 512, PORTIONS = 3, LEAVES = 3 * PORTIONS };
    struct emu *emu = *state;
    struct emu_block *blocks = aligned_alloc(_Alignof(struct emu_block), PORTIONS * PORTION * sizeof(*blocks));
    struct emu_block survivors[LEAVES];

    for (uint64_t i = 0; i < LEAVES; i++) {
        uint64_t page = (i + 1) * PGL_LEVEL_SIZE << 12;

        emu_link(emu, &survivors[i], page + 0x800, page + 0x803);
    }
    for (uint64_t i = 0; i < PORTIONS * PORTION; i++) {
        uint64_t leaf = i / PORTION * 3 + i % 3 + 1;

        emu_link2(emu, &blocks[i], 0x5000, 0x5003, leaf * PGL_LEVEL_SIZE << 12, (leaf * PGL_LEVEL_SIZE << 12) + 3);
    }
    count_from_here(0);
    assert_int_equal(pgl_invalidate_page(emu->table, 5, NULL), PGL_HIT);
    assert_int_equal(n_allocations, 0);
    assert_int_equal(emu->n_retired, PORTIONS);
    for (uint64_t i = 0; i < LEAVES; i++) {
        assert_true(emu_mask(emu, (i + 1) * PGL_LEVEL_SIZE) == UINT64_C(1) << 32);
    }
    emu_fini(emu);
    free(blocks);
}

static void test_alloc_range_over_leaves_without_code_allocates_nothing(void **state)
{
    struct emu *emu = *state;
    struct emu_block block;

    for (uint64_t index = 0; index < 20; index++) {
        pgl_page_get(emu->table, index * 512);
    }
    emu_link2(emu, &block, 0x5000, 0x5003, UINT64_C(9 * 512) << 12, UINT64_C(9 * 512) << 12);
    count_from_here(0);
    assert_int_equal(pgl_invalidate_range(emu->table, 0x6000, (UINT64_C(9 * 512) << 12) - 1, NULL), 0);
    assert_int_equal(pgl_flush(emu->table, NULL), PGL_HIT);
    assert_int_equal(n_allocations, 0);
    emu_fini(emu);
}

static void test_alloc_links_on_known_pages_allocate_nothing(void **state)
{
    struct emu *emu = *state;
    struct emu_block block;

    pgl_page_get(emu->table, 5);
    pgl_page_get(emu->table, 0x9000);
    count_from_here(0);
    for (unsigned i = 0; i < 100; i++) {
        emu_link2(emu, &block, 0x5ff0, 0x5fff, 0x9000000, 0x9000003);
        pgl_invalidate_tb(emu->table, &block.tb, NULL);
    }
    assert_int_equal(n_allocations, 0);
    emu_fini(emu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_alloc_store_check_that_is_clean_or_hits_allocates_nothing, emu_set_up),
        cmocka_unit_test_setup(test_alloc_collection_within_four_leaves_allocates_nothing, emu_set_up),
        cmocka_unit_test_setup(test_alloc_page_with_a_block_crossing_in_and_one_out_allocates_nothing, emu_set_up),
        cmocka_unit_test_setup(test_alloc_kills_within_four_leaves_allocate_nothing, emu_set_up),
        cmocka_unit_test_setup(test_alloc_portions_with_partners_in_many_leaves_allocate_nothing, emu_set_up),
        cmocka_unit_test_setup(test_alloc_range_over_leaves_without_code_allocates_nothing, emu_set_up),
        cmocka_unit_test_setup(test_alloc_links_on_known_pages_allocate_nothing, emu_set_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
