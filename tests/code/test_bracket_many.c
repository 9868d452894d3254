/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Brackets that hold many pages. */
#include <errno.h>
#include <string.h>

#include "emu.h"

enum {
    MANY = 2 * PGL_BRACKET_INLINE + 1, /* pages: more than room was made for at once */
};

/* Begin a bracket on page @first, and name @n further pages. */
static void begin(struct pgl_bracket *bracket, struct emu *emu, uint64_t first, const uint64_t *pages, unsigned n)
{
    assert_true(pgl_bracket_begin(bracket, emu->table, first));
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(pgl_bracket_cross(bracket, pages[i]), PGL_BRACKET_OK);
    }
}

static void assert_held(const struct emu *emu, const uint64_t *pages, unsigned n, bool held)
{
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(emu_is_locked(emu, pages[i]), held);
    }
}

/* ---- holding ---- */

static void test_bracket_many_holds_each_page_once(void **state)
{
    struct emu *emu = *state;
    static const uint64_t pages[] = {7, 3, 9, 7, 5, 4, 3, 9};
    struct pgl_bracket bracket;

    begin(&bracket, emu, 5, pages, sizeof(pages) / sizeof(*pages));
    assert_string_equal(emu_log(emu), "first 5, first 7, first 3, first 9, first 4");
    assert_held(emu, pages, sizeof(pages) / sizeof(*pages), true);
    assert_false(emu_is_locked(emu, 6));
    assert_false(emu_is_locked(emu, 8));
    pgl_bracket_abort(&bracket);
    emu_fini(emu);
}

/* As many pages as there is room for in the struct, one fewer, one more; and the same of the room on the heap. */
static void test_bracket_many_holds_as_many_as_are_named(void **state)
{
    (void)state;
    for (unsigned n = 1; n <= MANY; n++) {
        struct pgl_bracket bracket;
        uint64_t pages[MANY];
        struct emu emu;

        emu_init(&emu);
        for (unsigned i = 0; i < n; i++) {
            pages[i] = 0x100 + (i * 5 % MANY) * 0x200; /* each in a leaf of its own */
        }
        begin(&bracket, &emu, pages[0], &pages[1], n - 1);
        assert_held(&emu, pages, n, true);
        assert_int_equal(emu.n_first_code, n);
        pgl_bracket_abort(&bracket);
        assert_held(&emu, pages, n, false);
        assert_int_equal(emu.n_no_code, n);
        emu_fini(&emu);
    }
}

/* The middle one of three pages was once unlocked silently, and a store to it missed the block. */
static void test_bracket_many_keeps_the_pages_in_the_middle(void **state)
{
    struct emu *emu = *state;
    static const uint64_t pages[] = {6, 7, 4};
    struct pgl_bracket bracket;

    begin(&bracket, emu, 5, pages, 3);
    assert_held(emu, pages, 3, true);
    assert_false(pgl_store_is_clean(emu->table, 0x6000, 1));
    assert_int_equal(pgl_bracket_store(&bracket, 0x6000, 1), PGL_BRACKET_RESTART);
    pgl_bracket_abort(&bracket);
    emu_fini(emu);
}

static void page_is_locked(struct emu *emu, uint64_t index)
{
    assert_true(emu_is_locked(emu, index));
    assert_false(emu_code_bit(emu, index));
}

static void test_bracket_many_ends_with_no_page_held(void **state)
{
    static const uint64_t pages[] = {6, 3, 9, 0x900000, 4};

    (void)state;
    for (unsigned commits = 0; commits < 2; commits++) {
        struct pgl_bracket bracket;
        struct emu_block block;
        struct emu emu;

        emu_init(&emu);
        emu.at_no_code = page_is_locked;
        emu_init_block(&block, 0x5000, 0x5003);
        pgl_tb_set_bytes(&block.tb, 1, 0x9000, 0x9003);
        begin(&bracket, &emu, 5, pages, 5);
        emu_log(&emu);
        if (commits) {
            assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_OK);
            assert_string_equal(emu_log(&emu), "publish, none 4, none 900000, none 3, none 6");
        } else {
            pgl_bracket_abort(&bracket);
            assert_string_equal(emu_log(&emu), "none 4, none 900000, none 9, none 3, none 6, none 5");
        }
        assert_held(&emu, pages, 5, false);
        assert_false(emu_is_locked(&emu, 5));
        emu_fini(&emu);
    }
}

/* The first and the last of five pages have the block, and those between are free. */
static void test_bracket_many_links_a_block_on_pages_of_its(void **state)
{
    static const uint64_t pages[] = {6, 3, 9, 0x900000, 4};
    struct pgl_bracket bracket;
    struct emu_block block;
    struct emu emu;

    (void)state;
    for (unsigned second = 0; second < 5; second++) {
        uint64_t addr = pages[second] << 12;

        emu_init(&emu);
        emu_init_block(&block, 0x5000, 0x5003);
        pgl_tb_set_bytes(&block.tb, 1, addr, addr + 3);
        begin(&bracket, &emu, 5, pages, 5);
        assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_OK);
        for (unsigned i = 0; i < 5; i++) {
            assert_int_equal(emu_count(&emu, pages[i]), i == second);
        }
        emu_assert_sound(&emu);
        assert_int_equal(pgl_store_check(emu.table, addr + 3, 1, NULL), PGL_HIT);
        assert_false(emu_is_live(&block));
        emu_fini(&emu);
    }
}

/* A block with an extent on each of the bracket's pages, named in no order. */
static void make_superblock(struct emu_block *block, struct pgl_extent *extents, const uint64_t *pages, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        pgl_extent_set(&extents[i], pages[i] << 12, (pages[i] << 12) + 3);
    }
    emu_init_block(block, 1, 0);
    pgl_tb_set_extents(&block->tb, extents, n);
}

static void test_bracket_many_links_a_superblock_on_each_page(void **state)
{
    static const uint64_t pages[] = {5, 6, 3, 9, 0x900000, 4};

    (void)state;
    for (unsigned n = 1; n <= 6; n++) {
        for (unsigned hit = 0; hit < n; hit++) {
            struct pgl_extent extents[6];
            struct pgl_bracket bracket;
            struct emu_block block;
            struct emu emu;

            emu_init(&emu);
            make_superblock(&block, extents, pages, n);
            begin(&bracket, &emu, 5, &pages[1], n - 1);
            assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_OK);
            assert_held(&emu, pages, n, false);
            for (unsigned i = 0; i < n; i++) {
                assert_int_equal(emu_count(&emu, pages[i]), 1);
                assert_true(emu_code_bit(&emu, pages[i]));
            }
            emu_assert_sound(&emu);
            assert_int_equal(pgl_store_check(emu.table, (pages[hit] << 12) + 3, 1, NULL), PGL_HIT);
            assert_false(emu_is_live(&block));
            assert_int_equal(block.retired, 1);
            assert_int_equal(emu.n_no_code, n);
            emu_fini(&emu);
        }
    }
}

static void test_bracket_many_leaves_no_trace_of_a_superblock_with_an_equal(void **state)
{
    struct emu *emu = *state;
    static const uint64_t pages[] = {5, 6, 3, 9, 4};
    struct pgl_extent extents[2][5];
    struct emu_block first, second;
    struct pgl_bracket bracket;
    struct pgl_tb *equal;

    make_superblock(&first, extents[0], pages, 5);
    make_superblock(&second, extents[1], pages, 5);
    first.key = second.key = 1;
    begin(&bracket, emu, 5, &pages[1], 4);
    assert_int_equal(pgl_bracket_commit(&bracket, &first.tb, NULL), PGL_BRACKET_OK);
    begin(&bracket, emu, 5, &pages[1], 4);
    assert_int_equal(pgl_bracket_commit(&bracket, &second.tb, &equal), PGL_BRACKET_EXISTS);
    assert_ptr_equal(equal, &first.tb);
    assert_held(emu, pages, 5, false);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(emu_count(emu, pages[i]), 1);
    }
    assert_int_equal(emu->n_no_code, 0);
    emu_fini(emu);
}

static void test_bracket_many_beyond_the_table_changes_nothing(void **state)
{
    struct emu *emu = *state;
    static const uint64_t pages[] = {6, 7};
    struct pgl_bracket bracket;

    begin(&bracket, emu, 5, pages, 2);
    emu_log(emu);
    errno = 0;
    assert_int_equal(pgl_bracket_cross(&bracket, UINT64_C(1) << 36), PGL_BRACKET_ERROR);
    assert_int_equal(errno, EINVAL);
    assert_string_equal(emu_log(emu), "");
    assert_held(emu, pages, 2, true);
    pgl_bracket_abort(&bracket);
    emu_fini(emu);
}

/* ---- restarts ---- */

static void test_bracket_many_restart_holds_all_that_was_named(void **state)
{
    static const uint64_t pages[] = {7, 3, 9};
    struct pgl_bracket bracket;
    struct emu emu;

    (void)state;
    for (unsigned index = 3; index <= 4; index++) { /* a page of the bracket, and another one */
        emu_init(&emu);
        begin(&bracket, &emu, 5, pages, 3);
        assert_int_equal(pgl_bracket_store(&bracket, 0x9000, 1), PGL_BRACKET_RESTART);
        emu_log(&emu);
        assert_int_equal(pgl_bracket_cross(&bracket, index), PGL_BRACKET_RESTART);
        assert_string_equal(emu_log(&emu), index == 3
                                               ? "none 9, none 3, none 7, none 5, first 3, first 5, first 7, first 9"
                                               : "none 9, none 3, none 7, none 5, first 3, first 4, first 5, first 7, "
                                                 "first 9");
        assert_held(&emu, pages, 3, true);
        assert_true(emu_is_locked(&emu, index));
        pgl_bracket_abort(&bracket);
        emu_fini(&emu);
    }
}

/* The second decoding names the same pages: it finds them held and restarts no more. */
static void test_bracket_many_second_decoding_finds_its_pages_held(void **state)
{
    struct emu *emu = *state;
    static const uint64_t pages[] = {7, 3, 9};
    struct pgl_bracket bracket;
    struct emu_block block;

    emu_init_block(&block, 0x5000, 0x5003);
    begin(&bracket, emu, 5, pages, 3);
    assert_int_equal(pgl_bracket_store(&bracket, 0x7000, 1), PGL_BRACKET_RESTART);
    assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_RESTART);
    emu_log(emu);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(pgl_bracket_cross(&bracket, pages[i]), PGL_BRACKET_OK);
    }
    assert_string_equal(emu_log(emu), "");
    assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_OK);
    assert_string_equal(emu_log(emu), "publish, none 9, none 3, none 7");
    emu_fini(emu);
}

/* The second decoding names page 7, which is held, and then 8, which is not: those that it has not named are dropped. */
static void test_bracket_many_drops_the_pages_of_a_void_decoding(void **state)
{
    struct emu *emu = *state;
    static const uint64_t pages[] = {3, 9, 7, 4};
    struct pgl_bracket bracket;

    begin(&bracket, emu, 5, pages, 4);
    assert_int_equal(pgl_bracket_store(&bracket, 0x5000, 1), PGL_BRACKET_RESTART);
    assert_int_equal(pgl_bracket_cross(&bracket, 7), PGL_BRACKET_RESTART);
    assert_int_equal(pgl_bracket_cross(&bracket, 7), PGL_BRACKET_OK);
    emu_log(emu);
    assert_int_equal(pgl_bracket_cross(&bracket, 8), PGL_BRACKET_OK);
    assert_string_equal(emu_log(emu), "none 4, none 3, none 9, first 8");
    assert_true(emu_is_locked(emu, 5));
    assert_true(emu_is_locked(emu, 7));
    assert_true(emu_is_locked(emu, 8));
    pgl_bracket_abort(&bracket);
    assert_string_equal(emu_log(emu), "none 8, none 7, none 5");
    emu_fini(emu);
}

/* A page that has a block is dropped with its trap. */
static void test_bracket_many_drops_a_page_with_code_trapped(void **state)
{
    struct emu *emu = *state;
    static const uint64_t pages[] = {3, 9};
    struct pgl_bracket bracket;
    struct emu_block old;

    emu_link(emu, &old, 0x9000, 0x9003);
    begin(&bracket, emu, 5, pages, 2);
    assert_int_equal(pgl_bracket_store(&bracket, 0x5000, 1), PGL_BRACKET_RESTART);
    assert_int_equal(pgl_bracket_cross(&bracket, 3), PGL_BRACKET_RESTART);
    emu_log(emu);
    assert_int_equal(pgl_bracket_cross(&bracket, 6), PGL_BRACKET_OK);
    assert_string_equal(emu_log(emu), "none 3, first 6");
    assert_true(emu_code_bit(emu, 9));
    assert_false(emu_is_locked(emu, 9));
    pgl_bracket_abort(&bracket);
    assert_true(emu_is_live(&old));
    emu_fini(emu);
}

static void test_bracket_many_store_to_any_held_page_restarts(void **state)
{
    static const uint64_t pages[] = {7, 3, 9, 4, 8};

    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        struct pgl_bracket bracket;
        struct emu_block old, block;
        struct emu emu;

        emu_init(&emu);
        emu_link(&emu, &old, pages[i] << 12, (pages[i] << 12) + 3);
        emu_init_block(&block, 0x5000, 0x5003);
        begin(&bracket, &emu, 5, pages, 5);
        assert_int_equal(pgl_bracket_store(&bracket, pages[i] << 12, 1), PGL_BRACKET_RESTART);
        assert_true(emu_is_live(&old));
        assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_RESTART);
        assert_false(emu_is_live(&old));
        assert_held(&emu, pages, 5, true);
        assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_OK);
        emu_fini(&emu);
    }
}

/* One store too many to remember: the bracket answers the others, and holds the same pages again. */
static void test_bracket_many_store_without_room_keeps_the_pages(void **state)
{
    struct emu *emu = *state;
    static const uint64_t pages[] = {7, 3, 9, 4, 8};
    struct pgl_bracket bracket;

    begin(&bracket, emu, 5, pages, 5);
    for (unsigned i = 0; i <= PGL_BRACKET_STORES; i++) {
        assert_int_equal(pgl_bracket_store(&bracket, 0x5000 + 8 * i, 1), PGL_BRACKET_RESTART);
    }
    assert_held(emu, pages, 5, true);
    emu_log(emu);
    assert_int_equal(pgl_bracket_cross(&bracket, 6), PGL_BRACKET_RESTART); /* the restart is still due */
    assert_held(emu, pages, 5, true);
    assert_true(emu_is_locked(emu, 6));
    pgl_bracket_abort(&bracket);
    emu_fini(emu);
}

/* ---- waiting ---- */

/* A thread that holds pages 2, 5 and 8 comes to page 4, and then ends its bracket. */
struct crossing {
    enum pgl_bracket_result first, again;
};

static void cross_into_4(struct emu *emu, void *arg)
{
    struct crossing *crossing = arg;
    struct pgl_bracket bracket;

    pgl_bracket_begin(&bracket, emu->table, 5);
    pgl_bracket_cross(&bracket, 8);
    pgl_bracket_cross(&bracket, 2);
    crossing->first = pgl_bracket_cross(&bracket, 4);
    crossing->again = pgl_bracket_cross(&bracket, 4);
    pgl_bracket_abort(&bracket);
}

static void test_bracket_many_waits_with_the_lower_pages_held(void **state)
{
    struct emu *emu = *state;
    struct crossing crossing;
    struct emu_holder holder;
    struct emu_call call;

    emu_hold(&holder, emu, 4);
    emu_call(&call, emu, cross_into_4, &crossing);
    EMU_WAIT_UNTIL(emu_is_stuck(&call));
    assert_true(emu_is_locked(emu, 2));
    assert_false(emu_is_locked(emu, 5));
    assert_false(emu_is_locked(emu, 8));
    emu_release(&holder);
    emu_join(&call);
    assert_int_equal(crossing.first, PGL_BRACKET_RESTART);
    assert_int_equal(crossing.again, PGL_BRACKET_OK);
    assert_string_equal(emu_log(emu), "first 5, first 8, first 2, none 8, none 5, first 4, first 5, first 8, "
                                      "none 8, none 2, none 4, none 5");
    emu_fini(emu);
}

/* Hold every page in turn that the bracket comes to out of order: it restarts once for each. */
static void cross_down(struct emu *emu, void *arg)
{
    unsigned *restarts = arg;
    struct pgl_bracket bracket;
    enum pgl_bracket_result result;

    pgl_bracket_begin(&bracket, emu->table, 9);
    do {
        result = pgl_bracket_cross(&bracket, 5);
        if (result == PGL_BRACKET_OK) {
            result = pgl_bracket_cross(&bracket, 2);
        }
        *restarts += result == PGL_BRACKET_RESTART;
    } while (result == PGL_BRACKET_RESTART);
    pgl_bracket_abort(&bracket);
}

static void test_bracket_many_restarts_once_for_each_busy_page(void **state)
{
    struct emu *emu = *state;
    struct emu_holder low, high;
    struct emu_call call;
    unsigned restarts = 0;

    emu_hold(&low, emu, 2);
    emu_hold(&high, emu, 5);
    emu_call(&call, emu, cross_down, &restarts);
    EMU_WAIT_UNTIL(emu_is_stuck(&call));
    emu_release(&high);
    EMU_WAIT_UNTIL(emu_is_stuck_again(&call));
    emu_release(&low);
    emu_join(&call);
    assert_int_equal(restarts, 2);
    emu_fini(emu);
}

/* ---- whether a bracket is open ---- */

static void test_bracket_is_open_from_begin_to_its_end(void **state)
{
    struct emu *emu = *state;
    struct pgl_bracket bracket;
    struct emu_block blocks[4];

    memset(&bracket, 0, sizeof(bracket));
    assert_false(pgl_bracket_is_open(&bracket));
    for (unsigned i = 0; i < 4; i++) { /* where the page has blocks, begin and commit take the short way */
        emu_init_block(&blocks[i], 0x5000 + 16 * i, 0x5003 + 16 * i);
        assert_true(pgl_bracket_begin(&bracket, emu->table, 5));
        assert_true(pgl_bracket_is_open(&bracket));
        if (i == 2) {
            assert_int_equal(pgl_bracket_cross(&bracket, 4), PGL_BRACKET_OK);
            assert_true(pgl_bracket_is_open(&bracket));
        }
        if (i == 3) {
            pgl_bracket_abort(&bracket);
        } else {
            assert_int_equal(pgl_bracket_commit(&bracket, &blocks[i].tb, NULL), PGL_BRACKET_OK);
        }
        assert_false(pgl_bracket_is_open(&bracket));
    }
    emu_fini(emu);
}

static void test_bracket_is_open_after_a_restart(void **state)
{
    struct emu *emu = *state;
    struct pgl_bracket bracket;
    struct emu_block block;

    emu_init_block(&block, 0x5000, 0x5003);
    assert_true(pgl_bracket_begin(&bracket, emu->table, 5));
    assert_int_equal(pgl_bracket_store(&bracket, 0x5000, 1), PGL_BRACKET_RESTART);
    assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_RESTART);
    assert_true(pgl_bracket_is_open(&bracket));
    pgl_bracket_abort(&bracket);
    emu_fini(emu);
}

static void test_bracket_is_open_after_a_failed_begin_is_false(void **state)
{
    struct emu *emu = *state;
    struct pgl_bracket bracket;

    memset(&bracket, 0, sizeof(bracket));
    assert_false(pgl_bracket_begin(&bracket, emu->table, UINT64_C(1) << 36));
    assert_false(pgl_bracket_is_open(&bracket));
    emu_fini(emu);
}

static void test_bracket_begin_that_fails_leaves_its_memory_as_it_is(void **state)
{
    struct pgl_bracket bracket, before;
    struct emu *emu = *state;

    memset(&bracket, 0x5a, sizeof(bracket));
    before = bracket;
    assert_false(pgl_bracket_begin(&bracket, emu->table, UINT64_C(1) << 36));
    assert_memory_equal(&bracket, &before, sizeof(bracket));
    emu_fini(emu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_bracket_many_holds_each_page_once, emu_set_up),
        cmocka_unit_test(test_bracket_many_holds_as_many_as_are_named),
        cmocka_unit_test_setup(test_bracket_many_keeps_the_pages_in_the_middle, emu_set_up),
        cmocka_unit_test(test_bracket_many_ends_with_no_page_held),
        cmocka_unit_test(test_bracket_many_links_a_block_on_pages_of_its),
        cmocka_unit_test(test_bracket_many_links_a_superblock_on_each_page),
        cmocka_unit_test_setup(test_bracket_many_leaves_no_trace_of_a_superblock_with_an_equal, emu_set_up),
        cmocka_unit_test_setup(test_bracket_many_beyond_the_table_changes_nothing, emu_set_up),
        cmocka_unit_test(test_bracket_many_restart_holds_all_that_was_named),
        cmocka_unit_test_setup(test_bracket_many_second_decoding_finds_its_pages_held, emu_set_up),
        cmocka_unit_test_setup(test_bracket_many_drops_the_pages_of_a_void_decoding, emu_set_up),
        cmocka_unit_test_setup(test_bracket_many_drops_a_page_with_code_trapped, emu_set_up),
        cmocka_unit_test(test_bracket_many_store_to_any_held_page_restarts),
        cmocka_unit_test_setup(test_bracket_many_store_without_room_keeps_the_pages, emu_set_up),
        cmocka_unit_test_setup(test_bracket_many_waits_with_the_lower_pages_held, emu_set_up),
        cmocka_unit_test_setup(test_bracket_many_restarts_once_for_each_busy_page, emu_set_up),
        cmocka_unit_test_setup(test_bracket_is_open_from_begin_to_its_end, emu_set_up),
        cmocka_unit_test_setup(test_bracket_is_open_after_a_restart, emu_set_up),
        cmocka_unit_test_setup(test_bracket_is_open_after_a_failed_begin_is_false, emu_set_up),
        cmocka_unit_test_setup(test_bracket_begin_that_fails_leaves_its_memory_as_it_is, emu_set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
