/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The witness reports misuses of brackets that hold many pages. */
#include <string.h>

#include "witness.h"

enum {
    N = 5, /* pages 5 to 9 */
};

/* Begin a bracket on the last @n of the pages. */
static void begin_on_last(struct pgl_bracket *bracket, const struct emu *emu, unsigned n)
{
    assert_true(pgl_bracket_begin(bracket, emu->table, 5 + N - n));
    for (unsigned i = N - n + 1; i < N; i++) {
        assert_int_equal(pgl_bracket_cross(bracket, 5 + i), PGL_BRACKET_OK);
    }
}

static void begin(struct pgl_bracket *bracket, struct emu *emu)
{
    emu_init(emu);
    begin_on_last(bracket, emu, N);
}

static void set_extents(struct emu_block *block, struct pgl_extent *extents)
{
    pgl_tb_init(&block->tb);
    for (unsigned i = 0; i < N; i++) {
        pgl_extent_set(&extents[i], (5 + i) << 12, ((5 + i) << 12) + 3);
    }
}

static void assert_nothing_held(struct emu *emu)
{
    for (unsigned i = 0; i < N; i++) {
        assert_false(emu_is_locked(emu, 5 + i));
        assert_false(emu_code_bit(emu, 5 + i));
    }
}

/* Each of the extents in turn lies on a page that the bracket does not hold, or runs off its page. */
static void test_witness_reports_an_extent_off_the_pages_of_its_bracket(void **state)
{
    (void)state;
    for (unsigned off = 0; off < N; off++) {
        for (unsigned runs_off = 0; runs_off < 2; runs_off++) {
            struct emu_block block = {.key = 0};
            struct pgl_extent extents[N];
            struct pgl_bracket bracket;
            struct emu emu;

            begin(&bracket, &emu);
            set_extents(&block, extents);
            if (runs_off) {
                pgl_extent_set(&extents[off], (5 + off) << 12, (6 + off) << 12);
            } else {
                pgl_extent_set(&extents[off], 0x4000, 0x4003);
            }
            pgl_tb_set_extents(&block.tb, extents, N);
            assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_ERROR);
            assert_breach(PGL_BREACH_TB_PAGE, runs_off ? 5 + off : 4, UINT64_MAX, 0);
            assert_false(pgl_bracket_is_open(&bracket));
            assert_false(pgl_tb_is_live(&block.tb));
            assert_nothing_held(&emu);
            emu_fini(&emu);
        }
    }
}

/* An array that lies 8 bytes beside the places at which a reference to an extent can name it. */
static void test_witness_reports_an_array_of_extents_that_is_not_aligned(void **state)
{
    static unsigned char memory[N * sizeof(struct pgl_extent) + 16] __attribute__((aligned(16)));

    (void)state;
    for (unsigned off = 0; off <= 16; off += 8) {
        bool aligned = off % 16 == 0;
        struct emu_block block = {.key = 0};
        struct pgl_extent extents[N];
        struct pgl_bracket bracket;
        struct emu emu;

        begin(&bracket, &emu);
        set_extents(&block, extents);
        pgl_tb_set_extents(&block.tb, extents, N);
        memcpy(memory + off, extents + 1, (N - 1) * sizeof(*extents));
        block.tb.rest.more = (struct pgl_extent *)(void *)(memory + off);
        assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), aligned ? PGL_BRACKET_OK : PGL_BRACKET_ERROR);
        if (aligned) {
            assert_int_equal(n_seen, 0);
            assert_int_equal(pgl_invalidate_tb(emu.table, &block.tb, NULL), PGL_HIT);
        } else {
            assert_block_breach(PGL_BREACH_TB_STATE, 5, 0);
        }
        assert_nothing_held(&emu);
        emu_fini(&emu);
    }
}

static void test_witness_reports_an_array_of_extents_that_two_blocks_share(void **state)
{
    struct emu_block block = {.key = 0}, other = {.key = 1};
    struct pgl_extent extents[N];
    struct pgl_bracket bracket;
    struct emu emu;

    (void)state;
    begin(&bracket, &emu);
    set_extents(&block, extents);
    pgl_tb_set_extents(&block.tb, extents, N);
    assert_int_equal(pgl_bracket_commit_at(&bracket, &block.tb, NULL, LINK_PLACE), PGL_BRACKET_OK);
    for (unsigned n = 3; n <= N; n++) { /* of the array, or of its last extents */
        begin_on_last(&bracket, &emu, n);
        pgl_tb_init(&other.tb);
        pgl_tb_set_extents(&other.tb, extents + N - n, n);
        assert_int_equal(pgl_bracket_commit(&bracket, &other.tb, NULL), PGL_BRACKET_ERROR);
        assert_block_breach(PGL_BREACH_TB_STATE, 5 + N - n, LINK_LINE);
        assert_false(emu_is_locked(&emu, 9));
    }
    assert_int_equal(pgl_invalidate_tb(emu.table, &block.tb, NULL), PGL_HIT);
    begin_on_last(&bracket, &emu, N); /* now the array is free for the other */
    pgl_tb_init(&other.tb);
    pgl_tb_set_extents(&other.tb, extents, N);
    assert_int_equal(pgl_bracket_commit(&bracket, &other.tb, NULL), PGL_BRACKET_OK);
    assert_int_equal(n_seen, 0);
    emu_fini(&emu);
}

static void test_witness_reports_a_step_of_an_ended_bracket(void **state)
{
    struct pgl_bracket bracket;
    struct emu_block block;
    struct emu emu;

    (void)state;
    begin(&bracket, &emu);
    emu_init_block(&block, 0x5000, 0x5003);
    pgl_bracket_abort(&bracket);
    assert_int_equal(pgl_bracket_cross(&bracket, 6), PGL_BRACKET_ERROR);
    assert_breach(PGL_BREACH_NOT_HELD, UINT64_MAX, UINT64_MAX, 0);
    assert_int_equal(pgl_bracket_store(&bracket, 0x5000, 1), PGL_BRACKET_ERROR);
    assert_breach(PGL_BREACH_NOT_HELD, UINT64_MAX, UINT64_MAX, 0);
    assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_ERROR);
    assert_breach(PGL_BREACH_NOT_HELD, UINT64_MAX, UINT64_MAX, 0);
    pgl_bracket_abort(&bracket);
    assert_breach(PGL_BREACH_NOT_HELD, UINT64_MAX, UINT64_MAX, 0);
    emu_fini(&emu);
}

/* A page locked singly inside the bracket stands in the way when the bracket locks a higher page. */
static void test_witness_reports_a_page_in_the_way_of_a_cross(void **state)
{
    struct pgl_bracket bracket;
    struct pgl_page *page;
    unsigned line;
    struct emu emu;

    (void)state;
    begin(&bracket, &emu);
    page = pgl_page_get(emu.table, 0x30);
    line = __LINE__ + 1;
    pgl_page_lock(emu.table, page);
    assert_int_equal(pgl_bracket_cross(&bracket, 0x20), PGL_BRACKET_OK);
    assert_breach(PGL_BREACH_ORDER, 0x20, 0x30, line);
    pgl_page_unlock(emu.table, page);
    pgl_bracket_abort(&bracket);
    emu_fini(&emu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_witness_reports_an_extent_off_the_pages_of_its_bracket),
        cmocka_unit_test(test_witness_reports_an_array_of_extents_that_is_not_aligned),
        cmocka_unit_test(test_witness_reports_an_array_of_extents_that_two_blocks_share),
        cmocka_unit_test(test_witness_reports_a_step_of_an_ended_bracket),
        cmocka_unit_test(test_witness_reports_a_page_in_the_way_of_a_cross),
    };
    return cmocka_run_group_tests(tests, set_hook, NULL);
}
