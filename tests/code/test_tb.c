/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "emu.h"

/* The second page lower, equal, higher, and far; and once in another leaf on either side. */
static const uint64_t second_pages[] = {0x4ff, 0x500, 0x501, 0x100, 0x1500, UINT64_C(0xfffffffff)};
#define N_SECOND (sizeof(second_pages) / sizeof(*second_pages))

static void test_tb_is_on_both_of_its_pages(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_SECOND; i++) {
        uint64_t second = second_pages[i];
        struct emu_block block;
        struct emu emu;

        emu_init(&emu);
        emu_link2(&emu, &block, 0x500ff0, 0x500fff, second << 12, (second << 12) + 3);
        assert_int_equal(emu_count(&emu, 0x500), 1);
        assert_int_equal(emu_count(&emu, second), 1);
        emu_assert_sound(&emu);
        /* A store to the second page alone kills it, and takes it off the first one. */
        assert_int_equal(pgl_store_check(emu.table, (second << 12) + 3, 1, NULL), PGL_HIT);
        assert_false(emu_is_live(&block));
        assert_int_equal(emu_count(&emu, 0x500), 0);
        assert_int_equal(emu_count(&emu, second), 0);
        assert_int_equal(block.retired, 1);
        emu_fini(&emu);
    }
}

static void test_tb_dies_by_its_first_page_too(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_SECOND; i++) {
        uint64_t second = second_pages[i];
        struct emu_block block;
        struct emu emu;

        emu_init(&emu);
        emu_link2(&emu, &block, 0x500ff0, 0x500fff, second << 12, (second << 12) + 3);
        assert_int_equal(pgl_store_check(emu.table, 0x500fef, 1, NULL), 0);
        assert_int_equal(pgl_store_check(emu.table, 0x500ff0, 1, NULL), PGL_HIT);
        assert_int_equal(emu_count(&emu, second), 0);
        emu_fini(&emu);
    }
}

/* The second page has nothing but the end of the block, and is the higher one or the lower one. */
static void test_tb_dies_by_its_tail_for_each_size_of_page(void **state)
{
    (void)state;
    for (unsigned page_bits = PGL_PAGE_BITS_MIN; page_bits <= PGL_PAGE_BITS_MAX; page_bits++) {
        for (uint64_t tail_page = 2; tail_page <= 4; tail_page += 2) {
            uint64_t end = UINT64_C(4) << page_bits, tail = tail_page << page_bits;
            struct emu_block block;
            struct emu emu;

            emu_init_bits(&emu, page_bits, 48);
            emu_link2(&emu, &block, end - 2, end - 1, tail, tail + 1);
            assert_int_equal(pgl_store_check(emu.table, tail + 2, 8, NULL), 0);
            assert_int_equal(pgl_store_check(emu.table, tail + (UINT64_C(1) << page_bits) - 1, 1, NULL), 0);
            assert_int_equal(pgl_store_check(emu.table, tail + 1, 1, NULL), PGL_HIT);
            assert_false(emu_is_live(&block));
            emu_link2(&emu, &block, end - 2, end - 1, tail, tail + 1);
            assert_int_equal(pgl_invalidate_page(emu.table, tail_page, NULL), PGL_HIT);
            assert_int_equal(emu_count(&emu, 3), 0);
            emu_assert_sound(&emu);
            emu_fini(&emu);
        }
    }
}

static void test_tb_on_one_page_twice_is_visited_once(void **state)
{
    struct emu *emu = *state;
    struct emu_block block;

    emu_link2(emu, &block, 0x5ff0, 0x5fff, 0x5000, 0x5007);
    assert_int_equal(emu_count(emu, 5), 1);
    assert_false(pgl_page_find(emu->table, 5)->head & PGL_HEAD_CROSS);
    emu_fini(emu);
}

static void test_tb_on_one_page_twice_has_two_extents(void **state)
{
    static const struct {
        uint64_t addr;
        int answer;
    } stores[] = {{0x5000, PGL_HIT}, {0x5007, PGL_HIT}, {0x5ff0, PGL_HIT}, {0x5fff, PGL_HIT},
                  {0x5008, 0},       {0x5fef, 0},       {0x5800, 0}};

    (void)state;
    for (size_t i = 0; i < sizeof(stores) / sizeof(*stores); i++) {
        struct emu_block block;
        struct emu emu;

        emu_init(&emu);
        emu_link2(&emu, &block, 0x5ff0, 0x5fff, 0x5000, 0x5007);
        assert_int_equal(pgl_store_check(emu.table, stores[i].addr, 1, NULL), stores[i].answer);
        assert_int_equal(emu_is_live(&block), !stores[i].answer);
        emu_fini(&emu);
    }
}

static void test_tb_unlisted_dies_by_name_only_and_once(void **state)
{
    struct emu *emu = *state;
    struct emu_block block = {0};

    pgl_tb_init(&block.tb);
    assert_false(emu_is_live(&block));
    pgl_tb_link_unlisted(emu->table, &block.tb);
    assert_true(emu_is_live(&block));
    assert_int_equal(pgl_flush(emu->table, &block.tb), 0);
    assert_true(emu_is_live(&block));
    assert_int_equal(pgl_invalidate_tb(emu->table, &block.tb, &block.tb), PGL_HIT | PGL_RUNNING_DEAD);
    assert_int_equal(pgl_invalidate_tb(emu->table, &block.tb, NULL), 0);
    assert_int_equal(block.retired, 1);
    assert_string_equal(emu_log(emu), "retired 1");
    emu_fini(emu);
}

/* As before a code buffer is reset: the flush does not know the blocks on no page, and their owner kills them. */
static void test_tb_on_no_page_survives_a_flush_until_its_owner_kills_it(void **state)
{
    struct emu *emu = *state;
    struct emu_block listed, unlisted = {0};

    for (unsigned round = 0; round < 2; round++) {
        emu_link(emu, &listed, 0x5000, 0x5003);
        pgl_tb_init(&unlisted.tb);
        pgl_tb_link_unlisted(emu->table, &unlisted.tb);
        assert_int_equal(pgl_flush(emu->table, NULL), PGL_HIT);
        assert_false(emu_is_live(&listed));
        assert_true(emu_is_live(&unlisted));
        assert_int_equal(unlisted.retired, round);
        assert_int_equal(pgl_invalidate_tb(emu->table, &unlisted.tb, NULL), PGL_HIT);
        assert_false(emu_is_live(&unlisted));
        assert_int_equal(unlisted.retired, round + 1);
    }
    emu_fini(emu);
}

static void test_tb_may_be_made_new_again(void **state)
{
    struct emu *emu = *state;
    struct emu_block block;

    for (unsigned i = 0; i < 5; i++) {
        emu_link2(emu, &block, 0x5ff0, 0x5fff, 0x3000 + 0x1000 * i, 0x3003 + 0x1000 * i);
        assert_int_equal(pgl_invalidate_tb(emu->table, &block.tb, NULL), PGL_HIT);
        assert_false(emu_is_live(&block));
    }
    emu_fini(emu);
}

struct visits {
    struct pgl_tb *seen[8];
    unsigned n, stop_after;
};

static bool visit(struct pgl_tb *tb, void *opaque)
{
    struct visits *visits = opaque;

    visits->seen[visits->n++] = tb;
    return visits->n != visits->stop_after;
}

static void test_tb_walk_visits_each_block_of_the_page_once(void **state)
{
    struct emu *emu = *state;
    struct visits all = {0}, some = {.stop_after = 2};
    struct emu_block blocks[4];
    struct pgl_page *page;

    emu_link(emu, &blocks[0], 0x5000, 0x5003);
    emu_link2(emu, &blocks[1], 0x5ffc, 0x5fff, 0x6000, 0x6003);
    emu_link2(emu, &blocks[2], 0x4ffc, 0x4fff, 0x5000, 0x5003);
    emu_link(emu, &blocks[3], 0x6100, 0x6103); /* not on page 5 */
    page = pgl_page_find(emu->table, 5);
    pgl_page_lock(emu->table, page);
    assert_true(pgl_page_foreach_tb(emu->table, page, visit, &all));
    assert_false(pgl_page_foreach_tb(emu->table, page, visit, &some));
    pgl_page_unlock(emu->table, page);
    assert_int_equal(all.n, 3);
    assert_int_equal(some.n, 2);
    for (unsigned i = 0; i < 3; i++) {
        unsigned times = 0;

        for (unsigned j = 0; j < 3; j++) {
            times += all.seen[j] == &blocks[i].tb;
        }
        assert_int_equal(times, 1);
    }
    emu_fini(emu);
}

static void test_tb_mask_covers_each_64th_that_is_touched(void **state)
{
    (void)state;
    for (unsigned page_bits = PGL_PAGE_BITS_MIN; page_bits <= PGL_PAGE_BITS_MAX; page_bits++) {
        uint64_t unit = (UINT64_C(1) << page_bits) / 64;
        struct emu_block block;
        struct emu emu;

        emu_init_bits(&emu, page_bits, 48);
        for (uint64_t low = 0; low < 64; low++) {
            for (uint64_t high = low; high < 64; high++) {
                uint64_t want = 0;

                for (uint64_t bit = low; bit <= high; bit++) {
                    want |= UINT64_C(1) << bit;
                }
                emu_link(&emu, &block, low * unit, high * unit);
                assert_true(emu_mask(&emu, 0) == want);
                pgl_invalidate_tb(emu.table, &block.tb, NULL);
                emu_link(&emu, &block, low * unit + unit - 1, high * unit + unit - 1);
                assert_true(emu_mask(&emu, 0) == want);
                pgl_invalidate_tb(emu.table, &block.tb, NULL);
            }
        }
        emu_fini(&emu);
    }
}

static void test_tb_pages_mask_is_the_union_of_its_blocks(void **state)
{
    struct emu *emu = *state;
    struct emu_block blocks[3];

    emu_link(emu, &blocks[0], 0x5000, 0x503f);
    assert_true(emu_mask(emu, 5) == 1);
    emu_link2(emu, &blocks[1], 0x5fc0, 0x5fff, 0x6040, 0x6080);
    assert_true(emu_mask(emu, 5) == (1 | UINT64_C(1) << 63));
    assert_true(emu_mask(emu, 6) == 6);
    emu_link2(emu, &blocks[2], 0x5100, 0x5100, 0x5200, 0x5200); /* both extents count */
    assert_true(emu_mask(emu, 5) == (1 | UINT64_C(1) << 63 | 1 << 4 | 1 << 8));
    emu_fini(emu);
}

static void test_tb_unlocked_test_answers_by_state(void **state)
{
    struct emu *emu = *state;
    struct emu_block block = {0};

    pgl_tb_init(&block.tb);
    assert_int_equal(block.tb.state, PGL_TB_NEW);
    assert_false(pgl_tb_is_live(&block.tb));
    emu_link(emu, &block, 0x5000, 0x5000);
    assert_true(pgl_tb_is_live(&block.tb));
    pgl_flush(emu->table, NULL);
    assert_int_equal(block.tb.state, PGL_TB_DEAD);
    assert_false(pgl_tb_is_live(&block.tb));
    emu_fini(emu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tb_is_on_both_of_its_pages),
        cmocka_unit_test(test_tb_dies_by_its_first_page_too),
        cmocka_unit_test(test_tb_dies_by_its_tail_for_each_size_of_page),
        cmocka_unit_test_setup(test_tb_on_one_page_twice_is_visited_once, emu_set_up),
        cmocka_unit_test(test_tb_on_one_page_twice_has_two_extents),
        cmocka_unit_test_setup(test_tb_unlisted_dies_by_name_only_and_once, emu_set_up),
        cmocka_unit_test_setup(test_tb_on_no_page_survives_a_flush_until_its_owner_kills_it, emu_set_up),
        cmocka_unit_test_setup(test_tb_may_be_made_new_again, emu_set_up),
        cmocka_unit_test_setup(test_tb_walk_visits_each_block_of_the_page_once, emu_set_up),
        cmocka_unit_test(test_tb_mask_covers_each_64th_that_is_touched),
        cmocka_unit_test_setup(test_tb_pages_mask_is_the_union_of_its_blocks, emu_set_up),
        cmocka_unit_test_setup(test_tb_unlocked_test_answers_by_state, emu_set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
