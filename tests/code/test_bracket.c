/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The translation bracket: begin, abort, cross and commit. */
#include <errno.h>
#include <string.h>

#include "emu.h"

/* ---- begin ---- */

static void test_bracket_begin_holds_the_page_trapped(void **state)
{
    struct emu *emu = *state;
    struct pgl_bracket bracket;

    assert_true(pgl_bracket_begin(&bracket, emu->table, 5));
    assert_true(emu_is_locked(emu, 5));
    assert_true(emu_code_bit(emu, 5));
    assert_string_equal(emu_log(emu), "first 5");
    pgl_bracket_abort(&bracket);
    emu_fini(emu);
}

static void page_is_locked_and_marked(struct emu *emu, uint64_t index)
{
    assert_true(emu_is_locked(emu, index));
    assert_true(emu_code_bit(emu, index));
}

static void test_bracket_traps_under_the_lock_and_after_the_code_bit(void **state)
{
    struct emu *emu = *state;
    struct pgl_bracket bracket;

    emu->at_first_code = page_is_locked_and_marked;
    assert_true(pgl_bracket_begin(&bracket, emu->table, 5));
    assert_int_equal(pgl_bracket_cross(&bracket, 6), PGL_BRACKET_OK);
    assert_int_equal(emu->n_first_code, 2);
    pgl_bracket_abort(&bracket);
    emu_fini(emu);
}

static void test_bracket_traps_a_page_with_code_only_once(void **state)
{
    struct emu *emu = *state;
    struct emu_block a, b;

    emu_link(emu, &a, 0x5000, 0x5003);
    emu_link(emu, &b, 0x5100, 0x5103);
    assert_string_equal(emu_log(emu), "first 5, publish, publish");
    emu_fini(emu);
}

static void test_bracket_begin_beyond_the_table_is_refused(void **state)
{
    struct emu *emu = *state;
    struct pgl_bracket bracket;

    errno = 0;
    assert_false(pgl_bracket_begin(&bracket, emu->table, UINT64_C(1) << 36));
    assert_int_equal(errno, EINVAL);
    assert_string_equal(emu_log(emu), "");
    emu_fini(emu);
}

/* ---- abort ---- */

static void test_bracket_abort_untraps_an_empty_page(void **state)
{
    struct emu *emu = *state;
    struct pgl_bracket bracket;

    pgl_bracket_begin(&bracket, emu->table, 5);
    pgl_bracket_cross(&bracket, 3);
    pgl_bracket_abort(&bracket);
    assert_string_equal(emu_log(emu), "first 5, first 3, none 3, none 5");
    assert_false(emu_code_bit(emu, 5));
    assert_false(emu_code_bit(emu, 3));
    assert_false(emu_is_locked(emu, 5));
    assert_false(emu_is_locked(emu, 3));
    emu_fini(emu);
}

static void test_bracket_abort_leaves_a_page_with_code_trapped(void **state)
{
    struct emu *emu = *state;
    struct pgl_bracket bracket;
    struct emu_block block;

    emu_link(emu, &block, 0x5000, 0x5003);
    emu_log(emu);
    pgl_bracket_begin(&bracket, emu->table, 5);
    pgl_bracket_abort(&bracket);
    assert_string_equal(emu_log(emu), "");
    assert_true(emu_code_bit(emu, 5));
    emu_fini(emu);
}

static void locked_without_code(struct emu *emu, uint64_t index)
{
    assert_true(emu_is_locked(emu, index));
    assert_int_equal(emu_mask(emu, index), 0);
    assert_false(emu_code_bit(emu, index));
}

static void test_bracket_untraps_under_the_lock(void **state)
{
    struct emu *emu = *state;
    struct pgl_bracket bracket;

    emu->at_no_code = locked_without_code;
    pgl_bracket_begin(&bracket, emu->table, 5);
    pgl_bracket_abort(&bracket);
    assert_int_equal(emu->n_no_code, 1);
    emu_fini(emu);
}

/* ---- cross ---- */

static void test_bracket_cross_to_the_same_page_is_nothing(void **state)
{
    struct emu *emu = *state;
    struct pgl_bracket bracket;

    pgl_bracket_begin(&bracket, emu->table, 5);
    emu_log(emu);
    assert_int_equal(pgl_bracket_cross(&bracket, 5), PGL_BRACKET_OK);
    assert_string_equal(emu_log(emu), "");
    assert_true(emu_is_locked(emu, 5));
    pgl_bracket_abort(&bracket);
    assert_string_equal(emu_log(emu), "none 5");
    emu_fini(emu);
}

static void test_bracket_cross_to_the_same_pages_again_changes_nothing(void **state)
{
    struct emu *emu = *state;
    struct pgl_bracket bracket;

    pgl_bracket_begin(&bracket, emu->table, 5);
    assert_int_equal(pgl_bracket_cross(&bracket, 5), PGL_BRACKET_OK); /* the first page is no second one */
    assert_int_equal(pgl_bracket_cross(&bracket, 6), PGL_BRACKET_OK);
    assert_int_equal(pgl_bracket_cross(&bracket, 6), PGL_BRACKET_OK);
    assert_int_equal(pgl_bracket_cross(&bracket, 5), PGL_BRACKET_OK);
    assert_string_equal(emu_log(emu), "first 5, first 6");
    assert_true(emu_is_locked(emu, 5));
    assert_true(emu_is_locked(emu, 6));
    pgl_bracket_abort(&bracket);
    emu_fini(emu);
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
        emu_init_block(&block, 0x5ff0, 0x5fff);
        pgl_bracket_begin(&bracket, emu.table, 5);
        assert_int_equal(pgl_bracket_cross(&bracket, 6), PGL_BRACKET_OK);
        assert_int_equal(pgl_bracket_store(&bracket, 0x5000, 1), PGL_BRACKET_RESTART);
        emu_log(&emu);
        if (by_commit) {
            assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_RESTART);
            assert_string_equal(emu_log(&emu), "none 6, none 5, first 5, first 6");
            assert_int_equal(pgl_bracket_cross(&bracket, 4), PGL_BRACKET_OK);
            assert_string_equal(emu_log(&emu), "none 6, first 4");
        } else {
            assert_int_equal(pgl_bracket_cross(&bracket, 7), PGL_BRACKET_RESTART);
            assert_string_equal(emu_log(&emu), "none 6, none 5, first 5, first 6, first 7");
            assert_int_equal(pgl_bracket_cross(&bracket, 4), PGL_BRACKET_OK);
            assert_string_equal(emu_log(&emu), "none 7, none 6, first 4");
        }
        assert_true(emu_is_locked(&emu, 4));
        pgl_bracket_abort(&bracket);
        emu_fini(&emu);
    }
}

/* The second page of the bracket before says nothing about this one. */
static void test_bracket_begin_has_not_crossed(void **state)
{
    struct emu *emu = *state;
    struct pgl_bracket bracket;
    struct emu_block block;

    emu_link(emu, &block, 0x5000, 0x5003); /* the next begin is the inline one */
    for (unsigned i = 0; i < 2; i++) {
        assert_true(pgl_bracket_begin(&bracket, emu->table, 5));
        assert_int_equal(pgl_bracket_cross(&bracket, 6 + i), PGL_BRACKET_OK);
        pgl_bracket_abort(&bracket);
    }
    emu_fini(emu);
}

static void test_bracket_cross_beyond_the_table_leaves_it_as_it_was(void **state)
{
    struct emu *emu = *state;
    struct pgl_bracket bracket;

    pgl_bracket_begin(&bracket, emu->table, 5);
    pgl_bracket_cross(&bracket, 6);
    emu_log(emu);
    errno = 0;
    assert_int_equal(pgl_bracket_cross(&bracket, UINT64_C(1) << 36), PGL_BRACKET_ERROR);
    assert_int_equal(errno, EINVAL);
    assert_string_equal(emu_log(emu), "");
    assert_true(emu_is_locked(emu, 5));
    assert_true(emu_is_locked(emu, 6));
    pgl_bracket_abort(&bracket);
    emu_fini(emu);
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

    pgl_bracket_begin(&bracket, emu->table, pgl_tb_first_addr(tb, 0) >> 12);
    do {
        result = pgl_tb_first_addr(tb, 1) <= pgl_tb_last_addr(tb, 1)
                     ? pgl_bracket_cross(&bracket, pgl_tb_first_addr(tb, 1) >> 12)
                     : PGL_BRACKET_OK;
        if (pgl_tb_first_addr(tb, 1) <= pgl_tb_last_addr(tb, 1)) {
            crossing->results[crossing->n++] = result;
        }
        if (result == PGL_BRACKET_OK) {
            crossing->results[crossing->n++] = result = pgl_bracket_commit(&bracket, tb, NULL);
        }
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
    struct emu *emu = *state;
    struct emu_block block;
    struct emu_holder holder;
    struct emu_call call;
    struct crossing crossing = {.block = &block};

    emu_init_block(&block, 0x5ff0, 0x5fff);
    pgl_tb_set_bytes(&block.tb, 1, 0x3000, 0x3003);
    emu_hold(&holder, emu, 3);
    emu_call(&call, emu, translate, &crossing);
    EMU_WAIT_UNTIL(no_code_calls(emu) == 1);
    assert_true(emu_is_stuck(&call));
    assert_false(emu_is_locked(emu, 5)); /* unlocked: it waits for the lower one with nothing held */
    emu_release(&holder);
    emu_join(&call);
    assert_int_equal(crossing.n, 3);
    assert_int_equal(crossing.results[0], PGL_BRACKET_RESTART);
    assert_int_equal(crossing.results[1], PGL_BRACKET_OK);
    assert_int_equal(crossing.results[2], PGL_BRACKET_OK);
    /* Page 5 lost its trap when it was unlocked empty, and got it back when it was locked again. */
    assert_string_equal(emu_log(emu), "first 5, none 5, first 3, first 5, publish");
    assert_true(emu_is_live(&block));
    emu_fini(emu);
}

static void hold_5_abort(struct emu *emu, void *arg)
{
    struct pgl_bracket bracket;

    (void)arg;
    pgl_bracket_begin(&bracket, emu->table, 5);
    pgl_bracket_abort(&bracket);
}

/* Another bracket locked the page that was unlocked, made no block, and removed the trap. */
static void test_bracket_traps_again_after_anothers_abort(void **state)
{
    struct emu *emu = *state;
    struct emu_block block;
    struct emu_holder holder;
    struct emu_call call, other;
    struct crossing crossing = {.block = &block};

    emu_init_block(&block, 0x5ff0, 0x5fff);
    pgl_tb_set_bytes(&block.tb, 1, 0x3000, 0x3003);
    emu_hold(&holder, emu, 3);
    emu_call(&call, emu, translate, &crossing);
    EMU_WAIT_UNTIL(no_code_calls(emu) == 1);
    emu_call(&other, emu, hold_5_abort, NULL);
    emu_join(&other);
    emu_release(&holder);
    emu_join(&call);
    assert_string_equal(emu_log(emu), "first 5, none 5, first 5, none 5, first 3, first 5, publish");
    emu_fini(emu);
}

/* ---- commit ---- */

static void pages_are_held(struct emu *emu, struct pgl_tb *tb)
{
    assert_true(pgl_tb_is_live(tb));
    assert_true(emu_is_locked(emu, pgl_tb_first_addr(tb, 0) >> 12));
    assert_true(emu_is_locked(emu, pgl_tb_first_addr(tb, 1) >> 12));
}

static void page_5_is_held(struct emu *emu, struct pgl_tb *tb)
{
    (void)tb;
    assert_true(emu_is_locked(emu, 5));
}

static void test_bracket_publishes_with_the_pages_held(void **state)
{
    struct emu *emu = *state;
    struct emu_block block, beside;

    emu->at_publish = pages_are_held;
    emu_link2(emu, &block, 0x5ff0, 0x5fff, 0x3000, 0x3003);
    assert_true(block.findable);
    assert_false(emu_is_locked(emu, 5));
    assert_false(emu_is_locked(emu, 3));
    emu->at_publish = page_5_is_held; /* a page with blocks, and one extent: the short way */
    emu_link(emu, &beside, 0x5100, 0x5103);
    assert_true(beside.findable);
    assert_false(emu_is_locked(emu, 5));
    emu_fini(emu);
}

/* A page keeps its flags when its last block has died: it is as empty as any other. */
static void test_bracket_begin_on_a_hot_page_without_blocks_traps(void **state)
{
    struct emu *emu = *state;
    struct pgl_bracket bracket;
    struct emu_block block;

    emu_link(emu, &block, 0x5000, 0x5003);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(pgl_store_check(emu->table, 0x5004, 1, NULL), 0);
    }
    assert_true(pgl_page_find(emu->table, 5)->head & PGL_HEAD_HOT);
    assert_int_equal(pgl_invalidate_tb(emu->table, &block.tb, NULL), PGL_HIT);
    emu_log(emu);
    assert_true(pgl_bracket_begin(&bracket, emu->table, 5));
    assert_true(emu_code_bit(emu, 5));
    assert_string_equal(emu_log(emu), "first 5");
    pgl_bracket_abort(&bracket);
    assert_string_equal(emu_log(emu), "none 5");
    emu_fini(emu);
}

static void test_bracket_commit_returns_the_equal_block(void **state)
{
    struct emu *emu = *state;
    struct emu_block first, second;
    struct pgl_tb *equal = NULL;

    emu_init_block(&first, 0x5ff0, 0x5fff);
    pgl_tb_set_bytes(&first.tb, 1, 0x3000, 0x3003);
    first.key = 7;
    second = first;
    assert_int_equal(emu_translate(emu, &first, &equal), PGL_BRACKET_OK);
    assert_ptr_equal(equal, &first.tb);
    emu_log(emu);
    assert_int_equal(emu_translate(emu, &second, &equal), PGL_BRACKET_EXISTS);
    assert_ptr_equal(equal, &first.tb);
    assert_string_equal(emu_log(emu), "equal");
    assert_false(emu_is_live(&second));
    assert_int_equal(emu_count(emu, 5), 1);
    assert_int_equal(emu_count(emu, 3), 1);
    assert_false(emu_is_locked(emu, 5));
    /* The one that was not linked is as new. */
    second.key = 8;
    assert_int_equal(emu_translate(emu, &second, &equal), PGL_BRACKET_OK);
    assert_int_equal(emu_count(emu, 5), 2);
    emu_fini(emu);
}

static void kill_block(struct emu *emu, void *arg)
{
    pgl_invalidate_tb(emu->table, arg, NULL);
}

/* A thread that evicts all blocks of a buffer, say, names one while its bracket publishes it. */
static void kill_beside_publish(struct emu *emu, struct pgl_tb *tb)
{
    struct emu_call *call = emu->arg;

    emu_call(call, emu, kill_block, tb);
    EMU_WAIT_UNTIL(emu_is_stuck(call));
}

/* The other thread has seen the block live, and then waits for its page. */
static void test_bracket_block_with_an_equal_stays_new_beside_its_killer(void **state)
{
    struct emu *emu = *state;
    struct emu_block first, second;
    struct emu_call call;

    emu_init_block(&first, 0x5000, 0x5003);
    first.key = 7;
    second = first;
    assert_int_equal(emu_translate(emu, &first, NULL), PGL_BRACKET_OK);
    emu->arg = &call;
    emu->at_publish = kill_beside_publish;
    assert_int_equal(emu_translate(emu, &second, NULL), PGL_BRACKET_EXISTS);
    emu_join(&call);
    assert_int_equal(second.tb.state, PGL_TB_NEW);
    assert_true(emu_is_live(&first));
    assert_int_equal(second.retired, 0);
    emu_fini(emu);
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
    emu_init_block(&block, 0x5000, 0x5003);
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
    emu_init_block(&block, 0x5000, 0x5003);
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
    struct emu *emu = *state;
    struct pgl_bracket bracket;
    struct emu_block block;

    emu_init_block(&block, 0x5000, 0x5003);
    pgl_bracket_begin(&bracket, emu->table, 5);
    pgl_bracket_cross(&bracket, 6);
    assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_OK);
    assert_string_equal(emu_log(emu), "first 5, first 6, publish, none 6");
    assert_false(emu_is_locked(emu, 6));
    emu_fini(emu);
}

static void test_bracket_locks_out_a_store_check_until_it_ends(void **state)
{
    struct emu *emu = *state;
    struct pgl_bracket bracket;

    pgl_page_get(emu->table, 5);
    assert_true(pgl_store_is_clean(emu->table, 0x5000, 4));
    pgl_bracket_begin(&bracket, emu->table, 5);
    assert_false(pgl_store_is_clean(emu->table, 0x5000, 4)); /* it may be reading these bytes */
    assert_true(pgl_store_is_clean(emu->table, 0x6000, 4));
    pgl_bracket_abort(&bracket);
    assert_true(pgl_store_is_clean(emu->table, 0x5000, 4));
    emu_fini(emu);
}

/* ---- stores inside a bracket ---- */

/* A block with two extents on the bracket's page: the mask of both is set, though the bracket never crossed. */
static void test_bracket_commit_of_two_extents_without_a_cross(void **state)
{
    struct emu *emu = *state;
    struct pgl_bracket bracket;
    struct emu_block old, block;

    emu_link(emu, &old, 0x5000, 0x5003); /* so that begin and commit may take their short ways */
    emu_init_block(&block, 0x5ff0, 0x5fff);
    pgl_tb_set_bytes(&block.tb, 1, 0x5800, 0x5803);
    assert_true(pgl_bracket_begin(&bracket, emu->table, 5));
    assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_OK);
    emu_assert_sound(emu);
    assert_int_equal(pgl_store_check(emu->table, 0x5803, 1, NULL), PGL_HIT);
    assert_false(emu_is_live(&block));
    emu_fini(emu);
}

/* The bracket crossed, but the block ended before: commit unlocks both, on a page with code too. */
static void test_bracket_commit_after_a_cross_of_one_extent(void **state)
{
    struct emu *emu = *state;
    struct pgl_bracket bracket;
    struct emu_block old, block;

    emu_link(emu, &old, 0x5000, 0x5003);
    emu_init_block(&block, 0x5ffc, 0x5fff);
    assert_true(pgl_bracket_begin(&bracket, emu->table, 5));
    assert_int_equal(pgl_bracket_cross(&bracket, 6), PGL_BRACKET_OK);
    assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_OK);
    assert_false(emu_is_locked(emu, 5));
    assert_false(emu_is_locked(emu, 6));
    emu_fini(emu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_bracket_begin_holds_the_page_trapped, emu_set_up),
        cmocka_unit_test_setup(test_bracket_traps_under_the_lock_and_after_the_code_bit, emu_set_up),
        cmocka_unit_test_setup(test_bracket_traps_a_page_with_code_only_once, emu_set_up),
        cmocka_unit_test_setup(test_bracket_begin_beyond_the_table_is_refused, emu_set_up),
        cmocka_unit_test_setup(test_bracket_abort_untraps_an_empty_page, emu_set_up),
        cmocka_unit_test_setup(test_bracket_abort_leaves_a_page_with_code_trapped, emu_set_up),
        cmocka_unit_test_setup(test_bracket_untraps_under_the_lock, emu_set_up),
        cmocka_unit_test_setup(test_bracket_cross_to_the_same_page_is_nothing, emu_set_up),
        cmocka_unit_test_setup(test_bracket_cross_to_the_same_pages_again_changes_nothing, emu_set_up),
        cmocka_unit_test(test_bracket_cross_after_a_restart_may_name_another_page),
        cmocka_unit_test_setup(test_bracket_begin_has_not_crossed, emu_set_up),
        cmocka_unit_test_setup(test_bracket_cross_beyond_the_table_leaves_it_as_it_was, emu_set_up),
        cmocka_unit_test_setup(test_bracket_cross_to_a_busy_lower_page_restarts_with_both, emu_set_up),
        cmocka_unit_test_setup(test_bracket_traps_again_after_anothers_abort, emu_set_up),
        cmocka_unit_test_setup(test_bracket_publishes_with_the_pages_held, emu_set_up),
        cmocka_unit_test_setup(test_bracket_begin_on_a_hot_page_without_blocks_traps, emu_set_up),
        cmocka_unit_test_setup(test_bracket_commit_returns_the_equal_block, emu_set_up),
        cmocka_unit_test_setup(test_bracket_block_with_an_equal_stays_new_beside_its_killer, emu_set_up),
        cmocka_unit_test(test_bracket_duplicate_untraps_the_pages_it_leaves_empty),
        cmocka_unit_test(test_bracket_callbacks_but_retired_may_be_absent),
        cmocka_unit_test(test_bracket_without_callbacks_is_aborted),
        cmocka_unit_test_setup(test_bracket_commit_lets_an_unused_second_page_go, emu_set_up),
        cmocka_unit_test_setup(test_bracket_locks_out_a_store_check_until_it_ends, emu_set_up),
        cmocka_unit_test_setup(test_bracket_commit_of_two_extents_without_a_cross, emu_set_up),
        cmocka_unit_test_setup(test_bracket_commit_after_a_cross_of_one_extent, emu_set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
