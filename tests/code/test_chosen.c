/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Blocks that a call names while other threads link them. */
#include "emu.h"

static void evict(struct emu *emu, void *arg)
{
    struct pgl_tb *tb = arg;

    pgl_invalidate_tbs(emu->table, &tb, 1, NULL);
}

static void evict_two(struct emu *emu, void *arg)
{
    pgl_invalidate_tbs(emu->table, arg, 2, NULL);
}

/* Have another thread evict the block that is being committed, until it waits for the page of the block. */
static void evict_now(struct emu *emu, struct pgl_tb *tb)
{
    struct emu_call *call = emu->arg;

    emu->at_publish = NULL;
    emu_call(call, emu, evict, tb);
    EMU_WAIT_UNTIL(emu_is_stuck(call));
}

static bool no(const struct pgl_tb *tb, void *arg)
{
    (void)tb, (void)arg;
    return false;
}

static void test_portion_leaves_no_mark_on_a_block_that_had_an_equal(void **state)
{
    struct emu_block first, second;
    struct emu_call call;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_init_block(&first, 0x5000, 0x5003);
    emu_init_block(&second, 0x5000, 0x5003);
    first.key = second.key = 1;
    assert_int_equal(emu_translate(&emu, &first, NULL), PGL_BRACKET_OK);
    emu.arg = &call;
    emu.at_publish = evict_now;
    assert_int_equal(emu_translate(&emu, &second, NULL), PGL_BRACKET_EXISTS);
    emu_join(&call);
    second.key = 2;
    assert_int_equal(emu_translate(&emu, &second, NULL), PGL_BRACKET_OK);
    assert_int_equal(pgl_invalidate_if(emu.table, 0x5000, 0x5fff, no, NULL, NULL), 0);
    assert_true(emu_is_live(&first));
    assert_true(emu_is_live(&second));
    emu_fini(&emu);
}

static void test_invalidate_tbs_kills_a_block_that_is_linked_meanwhile(void **state)
{
    struct emu_block first, second;
    struct emu_holder holder;
    struct emu_call call;
    struct emu emu;

    (void)state;
    if (pgl_has_lock_debug()) { /* which reports the call with a block that was never linked */
        SKIP_BECAUSE("lock_debug reports a block that was never linked");
    }
    emu_init(&emu);
    emu_link(&emu, &first, 0x5000, 0x5003);
    emu_init_block(&second, 0x7000, 0x7003);
    emu.arg = (struct pgl_tb *[]){&first.tb, &second.tb};
    emu_hold(&holder, &emu, 5);
    emu_call(&call, &emu, evict_two, emu.arg);
    EMU_WAIT_UNTIL(emu_is_stuck(&call));
    assert_int_equal(emu_translate(&emu, &second, NULL), PGL_BRACKET_OK);
    emu_release(&holder);
    emu_join(&call);
    assert_false(emu_is_live(&second));
    emu_fini(&emu);
}

static void test_invalidate_tbs_kills_a_block_that_is_being_linked(void **state)
{
    struct emu_block block;
    struct emu_call call;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_init_block(&block, 0x5000, 0x5003);
    emu.arg = &call;
    emu.at_publish = evict_now;
    assert_int_equal(emu_translate(&emu, &block, NULL), PGL_BRACKET_OK);
    emu_join(&call);
    assert_false(emu_is_live(&block));
    emu_fini(&emu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_portion_leaves_no_mark_on_a_block_that_had_an_equal),
        cmocka_unit_test(test_invalidate_tbs_kills_a_block_that_is_linked_meanwhile),
        cmocka_unit_test(test_invalidate_tbs_kills_a_block_that_is_being_linked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
