/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "emu.h"

static void init_block(struct emu_block *block, uint64_t first, uint64_t last)
{
    memset(block, 0, sizeof(*block));
    pgl_tb_init(&block->tb);
    pgl_tb_set_bytes(&block->tb, 0, first, last);
}

/* ---- begin ---- */

static void test_bracket_begin_holds_the_page_trapped(void **state)
{
    struct pgl_bracket bracket;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    assert_true(pgl_bracket_begin(&bracket, emu.table, 5));
    assert_true(emu_is_locked(&emu, 5));
    assert_true(emu_code_bit(&emu, 5));
    assert_string_equal(emu_log(&emu), "first 5");
    pgl_bracket_abort(&bracket);
    emu_fini(&emu);
}

static void page_is_locked_and_marked(struct emu *emu, uint64_t index)
{
    assert_true(emu_is_locked(emu, index));
    assert_true(emu_code_bit(emu, index));
}

static void test_bracket_traps_under_the_lock_and_after_the_code_bit(void **state)
{
    struct pgl_bracket bracket;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu.at_first_code = page_is_locked_and_marked;
    assert_true(pgl_bracket_begin(&bracket, emu.table, 5));
    assert_int_equal(pgl_bracket_cross(&bracket, 6), PGL_BRACKET_OK);
    assert_int_equal(emu.n_first_code, 2);
    pgl_bracket_abort(&bracket);
    emu_fini(&emu);
}

static void test_bracket_traps_a_page_with_code_only_once(void **state)
{
    struct emu_block a, b;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &a, 0x5000, 0x5003);
    emu_link(&emu, &b, 0x5100, 0x5103);
    assert_string_equal(emu_log(&emu), "first 5, publish, publish");
    emu_fini(&emu);
}

static void test_bracket_begin_beyond_the_table_is_refused(void **state)
{
    struct pgl_bracket bracket;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    errno = 0;
    assert_false(pgl_bracket_begin(&bracket, emu.table, UINT64_C(1) << 36));
    assert_int_equal(errno, EINVAL);
    assert_string_equal(emu_log(&emu), "");
    emu_fini(&emu);
}

/* ---- abort ---- */

static void test_bracket_abort_untraps_an_empty_page(void **state)
{
    struct pgl_bracket bracket;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    pgl_bracket_begin(&bracket, emu.table, 5);
    pgl_bracket_cross(&bracket, 3);
    pgl_bracket_abort(&bracket);
    assert_string_equal(emu_log(&emu), "first 5, first 3, none 3, none 5");
    assert_false(emu_code_bit(&emu, 5));
    assert_false(emu_code_bit(&emu, 3));
    assert_false(emu_is_locked(&emu, 5));
    assert_false(emu_is_locked(&emu, 3));
    emu_fini(&emu);
}

static void test_bracket_abort_leaves_a_page_with_code_trapped(void **state)
{
    struct pgl_bracket bracket;
    struct emu_block block;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &block, 0x5000, 0x5003);
    emu_log(&emu);
    pgl_bracket_begin(&bracket, emu.table, 5);
    pgl_bracket_abort(&bracket);
    assert_string_equal(emu_log(&emu), "");
    assert_true(emu_code_bit(&emu, 5));
    emu_fini(&emu);
}

static void locked_without_code(struct emu *emu, uint64_t index)
{
    assert_true(emu_is_locked(emu, index));
    assert_int_equal(emu_mask(emu, index), 0);
    assert_false(emu_code_bit(emu, index));
}

static void test_bracket_untraps_under_the_lock(void **state)
{
    struct pgl_bracket bracket;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu.at_no_code = locked_without_code;
    pgl_bracket_begin(&bracket, emu.table, 5);
    pgl_bracket_abort(&bracket);
    assert_int_equal(emu.n_no_code, 1);
    emu_fini(&emu);
}

/* ---- cross ---- */

static void test_bracket_cross_to_the_same_page_is_nothing(void **state)
{
    struct pgl_bracket bracket;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    pgl_bracket_begin(&bracket, emu.table, 5);
    emu_log(&emu);
    assert_int_equal(pgl_bracket_cross(&bracket, 5), PGL_BRACKET_OK);
    assert_string_equal(emu_log(&emu), "");
    assert_true(emu_is_locked(&emu, 5));
    pgl_bracket_abort(&bracket);
    assert_string_equal(emu_log(&emu), "none 5");
    emu_fini(&emu);
}

static void test_bracket_cross_to_the_same_pages_again_changes_nothing(void **state)
{
    struct pgl_bracket bracket;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    pgl_bracket_begin(&bracket, emu.table, 5);
    assert_int_equal(pgl_bracket_cross(&bracket, 5), PGL_BRACKET_OK); /* the first page is no second one */
    assert_int_equal(pgl_bracket_cross(&bracket, 6), PGL_BRACKET_OK);
    assert_int_equal(pgl_bracket_cross(&bracket, 6), PGL_BRACKET_OK);
    assert_int_equal(pgl_bracket_cross(&bracket, 5), PGL_BRACKET_OK);
    assert_string_equal(emu_log(&emu), "first 5, first 6");
    assert_true(emu_is_locked(&emu, 5));
    assert_true(emu_is_locked(&emu, 6));
    pgl_bracket_abort(&bracket);
    emu_fini(&emu);
}

/* The middle one of three pages was once unlocked silently, and a store to it missed the block. */
static void test_bracket_cross_to_a_third_page_is_refused(void **state)
{
    static const uint64_t third[] = {4, 7, 0x900000}; /* lower, higher, in a leaf that does not exist */

    (void)state;
    for (size_t i = 0; i < sizeof(third) / sizeof(*third); i++) {
        struct pgl_bracket bracket;
        struct emu_block block;
        uint64_t leaves;
        struct emu emu;

        emu_init(&emu);
        init_block(&block, 0x5ff0, 0x5fff);
        pgl_tb_set_bytes(&block.tb, 1, 0x6000, 0x600f);
        pgl_bracket_begin(&bracket, emu.table, 5);
        assert_int_equal(pgl_bracket_cross(&bracket, 6), PGL_BRACKET_OK);
        leaves = emu_stats(&emu).leaves;
        errno = 0;
        assert_int_equal(pgl_bracket_cross(&bracket, third[i]), PGL_BRACKET_ERROR);
        assert_int_equal(errno, EINVAL);
        assert_string_equal(emu_log(&emu), "first 5, first 6");
        assert_int_equal(emu_stats(&emu).leaves, leaves);
        assert_true(emu_is_locked(&emu, 6));
        /* The bracket is as it was: the block can still end on its second page. */
        assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_OK);
        assert_int_equal(pgl_store_check(emu.table, 0x600f, 1, NULL), PGL_HIT);
        emu_fini(&emu);
    }
}

/* A restart makes a decoding void, and the next one may have another second page. */
static void test_bracket_cross_after_a_restart_may_name_another_page(void **state)
{
    (void)state;
    for (unsigned by_commit = 0; by_commit < 2; by_commit++) {
        struct pgl_bracket bracket;
        struct emu_block block;
        struct emu emu;

        emu_init(&emu);
        init_block(&block, 0x5ff0, 0x5fff);
        pgl_bracket_begin(&bracket, emu.table, 5);
        assert_int_equal(pgl_bracket_cross(&bracket, 6), PGL_BRACKET_OK);
        assert_int_equal(pgl_bracket_store(&bracket, 0x5000, 1), PGL_BRACKET_RESTART);
        emu_log(&emu);
        if (by_commit) {
            assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_RESTART);
            assert_string_equal(emu_log(&emu), "none 6, none 5, first 5, first 6");
            assert_int_equal(pgl_bracket_cross(&bracket, 4), PGL_BRACKET_OK);
            assert_string_equal(emu_log(&emu), "none 6, first 4");
        } else { /* the first decoding is void already, so this is no third page of it */
            assert_int_equal(pgl_bracket_cross(&bracket, 7), PGL_BRACKET_RESTART);
            assert_string_equal(emu_log(&emu), "none 6, none 5, first 5, first 7");
            assert_int_equal(pgl_bracket_cross(&bracket, 4), PGL_BRACKET_OK);
            assert_string_equal(emu_log(&emu), "none 7, first 4");
        }
        assert_int_equal(pgl_bracket_cross(&bracket, 8), PGL_BRACKET_ERROR); /* now 4 is the second page */
        assert_true(emu_is_locked(&emu, 4));
        pgl_bracket_abort(&bracket);
        emu_fini(&emu);
    }
}

/* After a restart the second page is still held; crossing to it again counts for the new decoding. */
static void test_bracket_cross_after_a_restart_to_the_same_page_counts(void **state)
{
    struct pgl_bracket bracket;
    struct emu_block block;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    init_block(&block, 0x5ff0, 0x5fff);
    pgl_bracket_begin(&bracket, emu.table, 5);
    pgl_bracket_cross(&bracket, 6);
    pgl_bracket_store(&bracket, 0x5000, 1);
    assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_RESTART);
    assert_int_equal(pgl_bracket_cross(&bracket, 6), PGL_BRACKET_OK);
    assert_int_equal(pgl_bracket_cross(&bracket, 4), PGL_BRACKET_ERROR);
    assert_true(emu_is_locked(&emu, 6));
    pgl_bracket_abort(&bracket);
    emu_fini(&emu);
}

/* The second page of the bracket before says nothing about this one. */
static void test_bracket_begin_has_not_crossed(void **state)
{
    struct pgl_bracket bracket;
    struct emu_block block;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &block, 0x5000, 0x5003); /* the next begin is the inline one */
    for (unsigned i = 0; i < 2; i++) {
        assert_true(pgl_bracket_begin(&bracket, emu.table, 5));
        assert_int_equal(pgl_bracket_cross(&bracket, 6 + i), PGL_BRACKET_OK);
        pgl_bracket_abort(&bracket);
    }
    emu_fini(&emu);
}

static void test_bracket_cross_beyond_the_table_leaves_it_as_it_was(void **state)
{
    struct pgl_bracket bracket;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    pgl_bracket_begin(&bracket, emu.table, 5);
    pgl_bracket_cross(&bracket, 6);
    emu_log(&emu);
    errno = 0;
    assert_int_equal(pgl_bracket_cross(&bracket, UINT64_C(1) << 36), PGL_BRACKET_ERROR);
    assert_int_equal(errno, EINVAL);
    assert_string_equal(emu_log(&emu), "");
    assert_true(emu_is_locked(&emu, 5));
    assert_true(emu_is_locked(&emu, 6));
    pgl_bracket_abort(&bracket);
    emu_fini(&emu);
}

struct crossing {
    struct emu_block *block;
    enum pgl_bracket_result results[8];
    unsigned n;
};

/* Translate as emu_translate(), and keep the answers. */
static void translate(struct emu *emu, void *arg)
{
    struct crossing *crossing = arg;
    struct pgl_tb *tb = &crossing->block->tb;
    enum pgl_bracket_result result;
    struct pgl_bracket bracket;

    pgl_bracket_begin(&bracket, emu->table, tb->first[0] >> 12);
    do {
        result = tb->first[1] <= tb->last[1] ? pgl_bracket_cross(&bracket, tb->first[1] >> 12) : PGL_BRACKET_OK;
        if (tb->first[1] <= tb->last[1])
            crossing->results[crossing->n++] = result;
        if (result == PGL_BRACKET_OK)
            crossing->results[crossing->n++] = result = pgl_bracket_commit(&bracket, tb, NULL);
    } while (result == PGL_BRACKET_RESTART);
}

static unsigned no_code_calls(struct emu *emu)
{
    unsigned n;

    pthread_mutex_lock(&emu->lock);
    n = emu->n_no_code;
    pthread_mutex_unlock(&emu->lock);
    return n;
}

static void test_bracket_cross_to_a_busy_lower_page_restarts_with_both(void **state)
{
    struct emu_block block;
    struct emu_holder holder;
    struct emu_call call;
    struct crossing crossing = {.block = &block};
    struct emu emu;

    (void)state;
    emu_init(&emu);
    init_block(&block, 0x5ff0, 0x5fff);
    pgl_tb_set_bytes(&block.tb, 1, 0x3000, 0x3003);
    emu_hold(&holder, &emu, 3);
    emu_call(&call, &emu, translate, &crossing);
    EMU_WAIT_UNTIL(no_code_calls(&emu) == 1);
    assert_true(emu_is_stuck(&call));
    assert_false(emu_is_locked(&emu, 5)); /* let go: it waits for the lower one with nothing held */
    emu_release(&holder);
    emu_join(&call);
    assert_int_equal(crossing.n, 3);
    assert_int_equal(crossing.results[0], PGL_BRACKET_RESTART);
    assert_int_equal(crossing.results[1], PGL_BRACKET_OK);
    assert_int_equal(crossing.results[2], PGL_BRACKET_OK);
    /* Page 5 lost its trap when it was let go empty, and got it back when it was taken again. */
    assert_string_equal(emu_log(&emu), "first 5, none 5, first 3, first 5, publish");
    assert_true(emu_is_live(&block));
    emu_fini(&emu);
}

static void hold_5_abort(struct emu *emu, void *arg)
{
    struct pgl_bracket bracket;

    (void)arg;
    pgl_bracket_begin(&bracket, emu->table, 5);
    pgl_bracket_abort(&bracket);
}

/* Another bracket took the page that was let go, found nothing to keep, and took the trap away. */
static void test_bracket_traps_again_after_anothers_abort(void **state)
{
    struct emu_block block;
    struct emu_holder holder;
    struct emu_call call, other;
    struct crossing crossing = {.block = &block};
    struct emu emu;

    (void)state;
    emu_init(&emu);
    init_block(&block, 0x5ff0, 0x5fff);
    pgl_tb_set_bytes(&block.tb, 1, 0x3000, 0x3003);
    emu_hold(&holder, &emu, 3);
    emu_call(&call, &emu, translate, &crossing);
    EMU_WAIT_UNTIL(no_code_calls(&emu) == 1);
    emu_call(&other, &emu, hold_5_abort, NULL);
    emu_join(&other);
    emu_release(&holder);
    emu_join(&call);
    assert_string_equal(emu_log(&emu), "first 5, none 5, first 5, none 5, first 3, first 5, publish");
    emu_fini(&emu);
}

/* ---- commit ---- */

static void pages_are_held(struct emu *emu, struct pgl_tb *tb)
{
    assert_true(pgl_tb_is_live(tb));
    assert_true(emu_is_locked(emu, tb->first[0] >> 12));
    assert_true(emu_is_locked(emu, tb->first[1] >> 12));
}

static void page_5_is_held(struct emu *emu, struct pgl_tb *tb)
{
    (void)tb;
    assert_true(emu_is_locked(emu, 5));
}

static void test_bracket_publishes_with_the_pages_held(void **state)
{
    struct emu_block block, beside;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu.at_publish = pages_are_held;
    emu_link2(&emu, &block, 0x5ff0, 0x5fff, 0x3000, 0x3003);
    assert_true(block.findable);
    assert_false(emu_is_locked(&emu, 5));
    assert_false(emu_is_locked(&emu, 3));
    emu.at_publish = page_5_is_held; /* a page with blocks, and one extent: the short way */
    emu_link(&emu, &beside, 0x5100, 0x5103);
    assert_true(beside.findable);
    assert_false(emu_is_locked(&emu, 5));
    emu_fini(&emu);
}

/* A page keeps its flags when its last block has died: it is as empty as any other. */
static void test_bracket_begin_on_a_hot_page_without_blocks_traps(void **state)
{
    struct pgl_bracket bracket;
    struct emu_block block;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &block, 0x5000, 0x5003);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(pgl_store_check(emu.table, 0x5004, 1, NULL), 0);
    assert_true(pgl_page_find(emu.table, 5)->head & PGL_HEAD_HOT);
    assert_int_equal(pgl_invalidate_tb(emu.table, &block.tb, NULL), PGL_HIT);
    emu_log(&emu);
    assert_true(pgl_bracket_begin(&bracket, emu.table, 5));
    assert_true(emu_code_bit(&emu, 5));
    assert_string_equal(emu_log(&emu), "first 5");
    pgl_bracket_abort(&bracket);
    assert_string_equal(emu_log(&emu), "none 5");
    emu_fini(&emu);
}

static void test_bracket_commit_returns_the_equal_block(void **state)
{
    struct emu_block first, second;
    struct pgl_tb *equal = NULL;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    init_block(&first, 0x5ff0, 0x5fff);
    pgl_tb_set_bytes(&first.tb, 1, 0x3000, 0x3003);
    first.key = 7;
    second = first;
    assert_int_equal(emu_translate(&emu, &first, &equal), PGL_BRACKET_OK);
    assert_ptr_equal(equal, &first.tb);
    emu_log(&emu);
    assert_int_equal(emu_translate(&emu, &second, &equal), PGL_BRACKET_EXISTS);
    assert_ptr_equal(equal, &first.tb);
    assert_string_equal(emu_log(&emu), "equal");
    assert_false(emu_is_live(&second));
    assert_int_equal(emu_count(&emu, 5), 1);
    assert_int_equal(emu_count(&emu, 3), 1);
    assert_false(emu_is_locked(&emu, 5));
    /* The one that was not linked is as new. */
    second.key = 8;
    assert_int_equal(emu_translate(&emu, &second, &equal), PGL_BRACKET_OK);
    assert_int_equal(emu_count(&emu, 5), 2);
    emu_fini(&emu);
}

static struct pgl_tb *find_elsewhere(struct pgl_tb *tb, void *opaque)
{
    (void)tb;
    return opaque;
}

static unsigned untrapped;

static void count_untrapped(uint64_t index, void *opaque)
{
    (void)index, (void)opaque;
    untrapped++;
}

static void ignore_chain(struct pgl_tb *chain, void *opaque)
{
    (void)chain, (void)opaque;
}

static void test_bracket_duplicate_untraps_the_pages_it_leaves_empty(void **state)
{
    struct emu_block elsewhere, block;
    struct pgl_tb_ops ops = {.no_code = count_untrapped, .publish = find_elsewhere, .retired = ignore_chain};
    struct pgl_table_config config = {.page_bits = 12, .addr_bits = 48, .ops = &ops, .opaque = &elsewhere.tb};
    struct emu emu = {.table = pgl_table_new(&config)};

    (void)state;
    untrapped = 0;
    pgl_tb_init(&elsewhere.tb);
    pgl_tb_link_unlisted(emu.table, &elsewhere.tb);
    init_block(&block, 0x5000, 0x5003);
    assert_int_equal(emu_translate(&emu, &block, NULL), PGL_BRACKET_EXISTS);
    assert_int_equal(untrapped, 1);
    assert_false(emu_code_bit(&emu, 5));
    emu_assert_sound(&emu);
    pgl_table_free(emu.table);
}

static void test_bracket_callbacks_but_retired_may_be_absent(void **state)
{
    struct pgl_tb_ops ops = {.retired = ignore_chain};
    struct pgl_table_config config = {.page_bits = 12, .addr_bits = 48, .ops = &ops};
    struct emu emu = {.table = pgl_table_new(&config)};
    struct emu_block block;

    (void)state;
    init_block(&block, 0x5000, 0x5003);
    assert_int_equal(emu_translate(&emu, &block, NULL), PGL_BRACKET_OK);
    assert_int_equal(pgl_flush(emu.table, NULL), PGL_HIT);
    emu_assert_sound(&emu);
    pgl_table_free(emu.table);
}

static void test_bracket_without_callbacks_is_aborted(void **state)
{
    struct pgl_table_config config = {.page_bits = 12, .addr_bits = 48};
    struct emu emu = {.table = pgl_table_new(&config)};
    struct pgl_bracket bracket;

    (void)state;
    assert_true(pgl_bracket_begin(&bracket, emu.table, 5));
    assert_int_equal(pgl_bracket_cross(&bracket, 6), PGL_BRACKET_OK);
    pgl_bracket_abort(&bracket);
    emu_assert_sound(&emu);
    pgl_table_free(emu.table);
}

static void test_bracket_commit_lets_an_unused_second_page_go(void **state)
{
    struct pgl_bracket bracket;
    struct emu_block block;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    init_block(&block, 0x5000, 0x5003);
    pgl_bracket_begin(&bracket, emu.table, 5);
    pgl_bracket_cross(&bracket, 6);
    assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_OK);
    assert_string_equal(emu_log(&emu), "first 5, first 6, publish, none 6");
    assert_false(emu_is_locked(&emu, 6));
    emu_fini(&emu);
}

static void test_bracket_locks_out_a_store_check_until_it_ends(void **state)
{
    struct pgl_bracket bracket;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    pgl_page_get(emu.table, 5);
    assert_true(pgl_store_is_clean(emu.table, 0x5000, 4));
    pgl_bracket_begin(&bracket, emu.table, 5);
    assert_false(pgl_store_is_clean(emu.table, 0x5000, 4)); /* it may be reading these bytes */
    assert_true(pgl_store_is_clean(emu.table, 0x6000, 4));
    pgl_bracket_abort(&bracket);
    assert_true(pgl_store_is_clean(emu.table, 0x5000, 4));
    emu_fini(&emu);
}

/* ---- stores inside a bracket ---- */

static void test_bracket_store_elsewhere_without_code_is_nothing(void **state)
{
    struct pgl_bracket bracket;
    struct emu_block block;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    init_block(&block, 0x5000, 0x5003);
    pgl_bracket_begin(&bracket, emu.table, 5);
    assert_int_equal(pgl_bracket_store(&bracket, 0x9000, 8), PGL_BRACKET_OK);
    assert_int_equal(pgl_bracket_store(&bracket, 0x9ffc, 8), PGL_BRACKET_OK);
    assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_OK);
    emu_fini(&emu);
}

static void test_bracket_store_refuses_what_is_no_store(void **state)
{
    struct pgl_bracket bracket;
    struct emu_block block;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    init_block(&block, 0x5000, 0x5003);
    pgl_bracket_begin(&bracket, emu.table, 5);
    errno = 0;
    assert_int_equal(pgl_bracket_store(&bracket, 0x9000, 0), PGL_BRACKET_ERROR);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(pgl_bracket_store(&bracket, 0x9000, 65), PGL_BRACKET_ERROR);
    assert_int_equal(pgl_bracket_store(&bracket, (UINT64_C(1) << 48) - 1, 2), PGL_BRACKET_ERROR);
    assert_int_equal(pgl_bracket_store(&bracket, UINT64_MAX, 2), PGL_BRACKET_ERROR);
    assert_int_equal(pgl_bracket_store(&bracket, (UINT64_C(1) << 48) - 1, 1), PGL_BRACKET_OK);
    assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_OK);
    emu_fini(&emu);
}

static void test_bracket_store_to_a_held_page_restarts_the_commit(void **state)
{
    (void)state;
    for (unsigned which = 0; which < 2; which++) {
        struct pgl_bracket bracket;
        struct emu_block old, block;
        struct emu emu;

        emu_init(&emu);
        emu_link(&emu, &old, which ? 0x6100 : 0x5100, which ? 0x6103 : 0x5103);
        init_block(&block, 0x5ffc, 0x5fff);
        pgl_tb_set_bytes(&block.tb, 1, 0x6000, 0x6003);
        pgl_bracket_begin(&bracket, emu.table, 5);
        pgl_bracket_cross(&bracket, 6);
        assert_int_equal(pgl_bracket_store(&bracket, which ? 0x6100 : 0x5100, 1), PGL_BRACKET_RESTART);
        assert_true(emu_is_live(&old)); /* its pages are held: not now */
        assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_RESTART);
        assert_false(emu_is_live(&old)); /* but before the restart was said */
        assert_int_equal(old.retired, 1);
        assert_true(emu_is_locked(&emu, 5));
        assert_true(emu_is_locked(&emu, 6));
        assert_int_equal(block.tb.state, PGL_TB_NEW);
        /* The second decoding does not store again. */
        assert_int_equal(pgl_bracket_cross(&bracket, 6), PGL_BRACKET_OK);
        assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_OK);
        emu_fini(&emu);
    }
}

static void test_bracket_store_restarts_the_next_cross(void **state)
{
    static const uint64_t second[] = {3, 5, 9};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct pgl_bracket bracket;
        struct emu_block old, block;
        struct emu emu;

        emu_init(&emu);
        emu_link(&emu, &old, 0x5100, 0x5103);
        init_block(&block, 0x5ffc, 0x5fff);
        pgl_tb_set_bytes(&block.tb, 1, second[i] << 12, (second[i] << 12) + 3);
        pgl_bracket_begin(&bracket, emu.table, 5);
        assert_int_equal(pgl_bracket_store(&bracket, 0x5103, 1), PGL_BRACKET_RESTART);
        assert_int_equal(pgl_bracket_cross(&bracket, second[i]), PGL_BRACKET_RESTART);
        assert_false(emu_is_live(&old));
        assert_true(emu_is_locked(&emu, 5));
        assert_true(emu_is_locked(&emu, second[i]));
        assert_int_equal(pgl_bracket_cross(&bracket, second[i]), PGL_BRACKET_OK);
        assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_OK);
        emu_fini(&emu);
    }
}

static void test_bracket_store_elsewhere_kills_at_once_what_needs_one_page(void **state)
{
    struct pgl_bracket bracket;
    struct emu_block old, block;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &old, 0x3100, 0x3103);
    init_block(&block, 0x5000, 0x5003);
    pgl_bracket_begin(&bracket, emu.table, 5);
    assert_int_equal(pgl_bracket_store(&bracket, 0x3100, 1), PGL_BRACKET_OK);
    assert_false(emu_is_live(&old));
    assert_false(emu_is_locked(&emu, 3));
    assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_OK);
    emu_fini(&emu);
}

static void test_bracket_store_that_kills_across_pages_is_remembered(void **state)
{
    struct pgl_bracket bracket;
    struct emu_block old, block;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link2(&emu, &old, 0x3ffc, 0x3fff, 0x5000, 0x5003); /* on the bracket's page too */
    init_block(&block, 0x5800, 0x5803);
    pgl_bracket_begin(&bracket, emu.table, 5);
    assert_int_equal(pgl_bracket_store(&bracket, 0x3ffc, 1), PGL_BRACKET_RESTART);
    assert_true(emu_is_live(&old));
    assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_RESTART);
    assert_false(emu_is_live(&old));
    assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_OK);
    emu_fini(&emu);
}

static void test_bracket_store_to_a_busy_page_is_remembered_without_waiting(void **state)
{
    struct pgl_bracket bracket;
    struct emu_holder holder;
    struct emu_block old;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &old, 0x9000, 0x9003);
    emu_hold(&holder, &emu, 9);
    pgl_bracket_begin(&bracket, emu.table, 5);
    assert_int_equal(pgl_bracket_store(&bracket, 0x9000, 4), PGL_BRACKET_RESTART);
    emu_release(&holder);
    assert_true(emu_is_live(&old));
    pgl_bracket_abort(&bracket); /* answers it as well */
    assert_false(emu_is_live(&old));
    emu_fini(&emu);
}

static void test_bracket_store_across_a_pages_end_counts_on_both(void **state)
{
    struct pgl_bracket bracket;
    struct emu_block left, right, held;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &left, 0x7fff, 0x7fff);
    emu_link(&emu, &right, 0x8000, 0x8000);
    emu_link(&emu, &held, 0x5000, 0x5000);
    pgl_bracket_begin(&bracket, emu.table, 5);
    assert_int_equal(pgl_bracket_store(&bracket, 0x7fff, 2), PGL_BRACKET_OK);
    assert_false(emu_is_live(&left));
    assert_false(emu_is_live(&right));
    assert_int_equal(pgl_bracket_store(&bracket, 0x4fff, 2), PGL_BRACKET_RESTART); /* its tail is on the held page */
    pgl_bracket_abort(&bracket);
    assert_false(emu_is_live(&held));
    emu_fini(&emu);
}

/* One store, and between every two of them a block that no store meets. */
enum {
    FAR = 3 * PGL_BRACKET_STORES,
};

static struct emu_block hit[FAR], spared[FAR];

static void link_hit_and_spared(struct emu *emu)
{
    for (uint64_t i = 0; i < FAR; i++) {
        emu_link(emu, &hit[i], 0x5010 + 0x20 * i, 0x5013 + 0x20 * i);
        emu_link(emu, &spared[i], 0x5018 + 0x20 * i, 0x501b + 0x20 * i);
    }
}

/* The ninth store was once merged with the eighth, and whatever lay between them died. */
static void test_bracket_remembers_each_store_by_its_bytes(void **state)
{
    static const unsigned counts[] = {1, PGL_BRACKET_STORES - 1, PGL_BRACKET_STORES, PGL_BRACKET_STORES + 1, FAR};

    (void)state;
    for (size_t c = 0; c < sizeof(counts) / sizeof(*counts); c++) {
        for (unsigned by_abort = 0; by_abort < 2; by_abort++) {
            struct pgl_bracket bracket;
            struct emu_block fresh;
            struct emu emu;

            emu_init(&emu);
            link_hit_and_spared(&emu);
            pgl_bracket_begin(&bracket, emu.table, 5);
            for (unsigned i = 0; i < counts[c]; i++) /* to and fro */
                assert_int_equal(pgl_bracket_store(&bracket, 0x5013 + 0x20 * (i * 7 % FAR), 1), PGL_BRACKET_RESTART);
            init_block(&fresh, 0x5f00, 0x5f03);
            if (by_abort)
                pgl_bracket_abort(&bracket);
            else
                assert_int_equal(pgl_bracket_commit(&bracket, &fresh.tb, NULL), PGL_BRACKET_RESTART);
            for (unsigned i = 0; i < FAR; i++) {
                assert_int_equal(emu_is_live(&hit[i * 7 % FAR]), i >= counts[c]);
                assert_int_equal(hit[i * 7 % FAR].retired, i < counts[c]);
                assert_true(emu_is_live(&spared[i]));
            }
            if (!by_abort)
                assert_int_equal(pgl_bracket_commit(&bracket, &fresh.tb, NULL), PGL_BRACKET_OK);
            emu_fini(&emu);
        }
    }
}

/* The store that finds no room answers those before it, takes the pages again, and keeps the restart due. */
static void test_bracket_store_without_room_answers_the_others_at_once(void **state)
{
    (void)state;
    for (unsigned second = 4; second <= 6; second += 2) { /* lower and higher */
        struct pgl_bracket bracket;
        struct emu_block fresh;
        struct emu emu;

        emu_init(&emu);
        link_hit_and_spared(&emu);
        pgl_bracket_begin(&bracket, emu.table, 5);
        pgl_bracket_cross(&bracket, second);
        for (unsigned i = 0; i < PGL_BRACKET_STORES; i++)
            pgl_bracket_store(&bracket, 0x5010 + 0x20 * i, 1);
        assert_true(emu_is_live(&hit[0]));
        emu_log(&emu);
        assert_int_equal(pgl_bracket_store(&bracket, 0x5010 + 0x20 * PGL_BRACKET_STORES, 1), PGL_BRACKET_RESTART);
        for (unsigned i = 0; i < PGL_BRACKET_STORES; i++)
            assert_false(emu_is_live(&hit[i]));
        assert_true(emu_is_live(&hit[PGL_BRACKET_STORES]));
        assert_true(emu_is_locked(&emu, 5)); /* both are held and trapped again */
        assert_true(emu_is_locked(&emu, second));
        assert_true(emu_code_bit(&emu, second));
        assert_int_equal(emu.n_first_code, emu.n_no_code + 2);
        init_block(&fresh, 0x5f00, 0x5f03);
        assert_int_equal(pgl_bracket_cross(&bracket, 9), PGL_BRACKET_RESTART); /* no third page: all is void */
        assert_false(emu_is_live(&hit[PGL_BRACKET_STORES]));
        assert_int_equal(pgl_bracket_commit(&bracket, &fresh.tb, NULL), PGL_BRACKET_OK);
        emu_fini(&emu);
    }
}

/* A block with two extents on the bracket's page: the mask of both is set, though the bracket never crossed. */
static void test_bracket_commit_of_two_extents_without_a_cross(void **state)
{
    struct pgl_bracket bracket;
    struct emu_block old, block;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &old, 0x5000, 0x5003); /* so that begin and commit may take their short ways */
    init_block(&block, 0x5ff0, 0x5fff);
    pgl_tb_set_bytes(&block.tb, 1, 0x5800, 0x5803);
    assert_true(pgl_bracket_begin(&bracket, emu.table, 5));
    assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_OK);
    emu_assert_sound(&emu);
    assert_int_equal(pgl_store_check(emu.table, 0x5803, 1, NULL), PGL_HIT);
    assert_false(emu_is_live(&block));
    emu_fini(&emu);
}

/* The bracket crossed, but the block ended before: commit unlocks both, on a page with code too. */
static void test_bracket_commit_after_a_cross_of_one_extent(void **state)
{
    struct pgl_bracket bracket;
    struct emu_block old, block;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &old, 0x5000, 0x5003);
    init_block(&block, 0x5ffc, 0x5fff);
    assert_true(pgl_bracket_begin(&bracket, emu.table, 5));
    assert_int_equal(pgl_bracket_cross(&bracket, 6), PGL_BRACKET_OK);
    assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_OK);
    assert_false(emu_is_locked(&emu, 5));
    assert_false(emu_is_locked(&emu, 6));
    emu_fini(&emu);
}

static void test_bracket_abort_answers_what_was_remembered(void **state)
{
    struct pgl_bracket bracket;
    struct emu_block old;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &old, 0x5100, 0x5103);
    pgl_bracket_begin(&bracket, emu.table, 5);
    pgl_bracket_store(&bracket, 0x5100, 8);
    pgl_bracket_abort(&bracket);
    assert_false(emu_is_live(&old));
    assert_int_equal(old.retired, 1);
    emu_fini(&emu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bracket_begin_holds_the_page_trapped),
        cmocka_unit_test(test_bracket_traps_under_the_lock_and_after_the_code_bit),
        cmocka_unit_test(test_bracket_traps_a_page_with_code_only_once),
        cmocka_unit_test(test_bracket_begin_beyond_the_table_is_refused),
        cmocka_unit_test(test_bracket_abort_untraps_an_empty_page),
        cmocka_unit_test(test_bracket_abort_leaves_a_page_with_code_trapped),
        cmocka_unit_test(test_bracket_untraps_under_the_lock),
        cmocka_unit_test(test_bracket_cross_to_the_same_page_is_nothing),
        cmocka_unit_test(test_bracket_cross_to_the_same_pages_again_changes_nothing),
        cmocka_unit_test(test_bracket_cross_to_a_third_page_is_refused),
        cmocka_unit_test(test_bracket_cross_after_a_restart_may_name_another_page),
        cmocka_unit_test(test_bracket_cross_after_a_restart_to_the_same_page_counts),
        cmocka_unit_test(test_bracket_begin_has_not_crossed),
        cmocka_unit_test(test_bracket_cross_beyond_the_table_leaves_it_as_it_was),
        cmocka_unit_test(test_bracket_cross_to_a_busy_lower_page_restarts_with_both),
        cmocka_unit_test(test_bracket_traps_again_after_anothers_abort),
        cmocka_unit_test(test_bracket_publishes_with_the_pages_held),
        cmocka_unit_test(test_bracket_begin_on_a_hot_page_without_blocks_traps),
        cmocka_unit_test(test_bracket_commit_returns_the_equal_block),
        cmocka_unit_test(test_bracket_duplicate_untraps_the_pages_it_leaves_empty),
        cmocka_unit_test(test_bracket_callbacks_but_retired_may_be_absent),
        cmocka_unit_test(test_bracket_without_callbacks_is_aborted),
        cmocka_unit_test(test_bracket_commit_lets_an_unused_second_page_go),
        cmocka_unit_test(test_bracket_locks_out_a_store_check_until_it_ends),
        cmocka_unit_test(test_bracket_store_elsewhere_without_code_is_nothing),
        cmocka_unit_test(test_bracket_store_refuses_what_is_no_store),
        cmocka_unit_test(test_bracket_store_to_a_held_page_restarts_the_commit),
        cmocka_unit_test(test_bracket_store_restarts_the_next_cross),
        cmocka_unit_test(test_bracket_store_elsewhere_kills_at_once_what_needs_one_page),
        cmocka_unit_test(test_bracket_store_that_kills_across_pages_is_remembered),
        cmocka_unit_test(test_bracket_store_to_a_busy_page_is_remembered_without_waiting),
        cmocka_unit_test(test_bracket_store_across_a_pages_end_counts_on_both),
        cmocka_unit_test(test_bracket_remembers_each_store_by_its_bytes),
        cmocka_unit_test(test_bracket_store_without_room_answers_the_others_at_once),
        cmocka_unit_test(test_bracket_commit_of_two_extents_without_a_cross),
        cmocka_unit_test(test_bracket_commit_after_a_cross_of_one_extent),
        cmocka_unit_test(test_bracket_abort_answers_what_was_remembered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
