/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A table that forgets all its blocks at once, and the pages that it leaves. */
#include <stdlib.h>
#include <string.h>

#include "emu.h"

/* The mask of page 5. Not inline, because gcc takes the page for absent otherwise. */
static uint64_t __attribute__((noinline)) mask_of_5(const struct emu *emu)
{
    return emu_mask(emu, 5);
}

static bool __attribute__((noinline)) has_code_bit_5(const struct emu *emu)
{
    return emu_code_bit(emu, 5);
}

/* A page with code whose exact map exists: page 5, with a block at its beginning and one at its end. */
static void make_hot(struct emu *emu, struct emu_block blocks[2])
{
    emu_link(emu, &blocks[0], 0x5000, 0x5003);
    emu_link(emu, &blocks[1], 0x5ffc, 0x5fff);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(pgl_store_check(emu->table, 0x5010, 4, NULL), 0);
    }
    assert_int_equal(emu_stats(emu).hot_pages, 1);
}

/* Reset a table of the emulator. Its blocks are nowhere any more. */
static void reset(struct emu *emu)
{
    unsigned n_retired = emu->n_retired, n_no_code = emu->n_no_code;

    pgl_table_reset(emu->table);
    emu->findable = NULL;
    assert_int_equal(emu->n_retired, n_retired);
    assert_int_equal(emu->n_no_code, n_no_code);
    assert_int_equal(emu_stats(emu).blocks, 0);
    emu_assert_sound(emu);
}

static void test_reset_forgets_all_blocks(void **state)
{
    struct emu_block blocks[2], crossing, unlisted;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    make_hot(&emu, blocks);
    emu_link2(&emu, &crossing, 0x6ff0, 0x6fff, 0x7000000, 0x7000003);
    memset(&unlisted, 0, sizeof(unlisted));
    pgl_tb_init(&unlisted.tb);
    pgl_tb_link_unlisted(emu.table, &unlisted.tb);
    reset(&emu);
    memset(blocks, 0xa5, sizeof(blocks)); /* the memory is this test's */
    memset(&crossing, 0xa5, sizeof(crossing));
    memset(&unlisted, 0xa5, sizeof(unlisted));
    assert_int_equal(emu_count(&emu, 5), 0);
    assert_int_equal(emu_count(&emu, 6), 0);
    assert_int_equal(emu_count(&emu, 0x7000), 0);
    assert_int_equal(pgl_flush(emu.table, NULL), 0);
    assert_int_equal(emu.n_no_code, 3);
    assert_int_equal(emu.n_retired, 0);
    emu_fini(&emu);
}

enum {
    HIT_CHECK, /* where a block was */
    FAR_CHECK, /* where none was */
    CROSSING_CHECK,
    LONG_CHECK,
    BEGIN,
    RANGE,
    PAGE,
    PREDICATE,
    IN_A_BRACKET,
    KINDS,
};

static bool never(const struct pgl_tb *tb, void *arg)
{
    (void)tb, (void)arg;
    fail();
    return false;
}

static int meet(struct emu *emu, unsigned kind)
{
    struct pgl_bracket bracket;
    struct pgl_store store;
    int answer = 0;

    switch (kind) {
    case HIT_CHECK:
        return pgl_store_check(emu->table, 0x5000, 4, NULL);
    case FAR_CHECK:
        return pgl_store_check(emu->table, 0x5800, 4, NULL);
    case CROSSING_CHECK:
        return pgl_store_check(emu->table, 0x4ffe, 4, NULL);
    case LONG_CHECK:
        return pgl_store_check(emu->table, 0x1000, 0x8000, NULL);
    case BEGIN:
        answer = pgl_store_begin(&store, emu->table, 0x5800, 4, NULL);
        pgl_store_end(&store);
        return answer;
    case RANGE:
        return pgl_invalidate_range(emu->table, 0x5800, 0x5fff, NULL);
    case PAGE:
        return pgl_invalidate_page(emu->table, 5, NULL);
    case PREDICATE:
        return pgl_invalidate_if(emu->table, 0, 0xffff, never, NULL, NULL);
    case IN_A_BRACKET:
        assert_true(pgl_bracket_begin(&bracket, emu->table, 9));
        assert_int_equal(pgl_bracket_store(&bracket, 0x5800, 4), PGL_BRACKET_OK);
        emu->n_no_code -= 1; /* page 9 has no block, and is untrapped too */
        pgl_bracket_abort(&bracket);
        return 0;
    }
    return answer;
}

static void test_reset_page_is_untrapped_once_by_each_kind_of_call(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < KINDS; kind++) {
        for (unsigned hot = 0; hot < 2; hot++) {
            struct emu_block blocks[2];
            struct emu emu;

            emu_init(&emu);
            if (hot) {
                make_hot(&emu, blocks);
            } else {
                emu_link(&emu, &blocks[0], 0x5000, 0x5003);
            }
            reset(&emu);
            assert_true(has_code_bit_5(&emu));
            for (unsigned round = 0; round < 2; round++) {
                assert_int_equal(meet(&emu, kind), 0);
                assert_int_equal(emu.n_no_code, 1);
                assert_false(has_code_bit_5(&emu));
                assert_int_equal(mask_of_5(&emu), 0);
            }
            assert_int_equal(emu.n_retired, 0);
            assert_true(pgl_store_is_clean(emu.table, 0x5000, 4));
            emu_fini(&emu);
        }
    }
}

static void test_reset_page_is_trapped_again_by_a_bracket(void **state)
{
    (void)state;
    for (unsigned hot = 0; hot < 2; hot++) {
        struct emu_block blocks[2], block;
        unsigned n_first_code;
        struct emu emu;

        emu_init(&emu);
        if (hot) {
            make_hot(&emu, blocks);
        } else {
            emu_link(&emu, &blocks[0], 0x5000, 0x5003);
        }
        reset(&emu);
        n_first_code = emu.n_first_code;
        emu_link2(&emu, &block, 0x5100, 0x5103, 0x6000, 0x6003);
        assert_int_equal(emu.n_first_code, n_first_code + 2);
        assert_int_equal(emu.n_no_code, 0);
        emu_assert_sound(&emu); /* the filters fit the one block */
        assert_true(pgl_store_is_clean(emu.table, 0x5000, 4));
        assert_int_equal(pgl_store_check(emu.table, 0x5100, 1, NULL), PGL_HIT);
        assert_int_equal(emu.n_no_code, 2);
        emu_fini(&emu);
    }
}

static void test_reset_page_is_untrapped_by_a_bracket_without_a_block(void **state)
{
    struct pgl_bracket bracket;
    struct emu_block block;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &block, 0x5000, 0x5003);
    reset(&emu);
    assert_true(pgl_bracket_begin(&bracket, emu.table, 5));
    pgl_bracket_abort(&bracket);
    assert_int_equal(emu.n_no_code, 1);
    assert_int_equal(mask_of_5(&emu), 0);
    emu_fini(&emu);
}

static void test_reset_of_a_reset_table_changes_nothing(void **state)
{
    struct emu_block block;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    reset(&emu);
    emu_link(&emu, &block, 0x5000, 0x5003);
    reset(&emu);
    reset(&emu);
    assert_int_equal(pgl_store_check(emu.table, 0x5000, 1, NULL), 0);
    assert_int_equal(emu.n_no_code, 1);
    emu_fini(&emu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reset_forgets_all_blocks),
        cmocka_unit_test(test_reset_page_is_untrapped_once_by_each_kind_of_call),
        cmocka_unit_test(test_reset_page_is_trapped_again_by_a_bracket),
        cmocka_unit_test(test_reset_page_is_untrapped_by_a_bracket_without_a_block),
        cmocka_unit_test(test_reset_of_a_reset_table_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
