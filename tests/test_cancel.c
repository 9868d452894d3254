/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A thread that is cancelled while it waits in the library goes on to the end of its call, and leaves nothing locked.
 */
#include "code/emu.h"
#include "fault/sim.h"
#include "victim.h"

/* ---- code pages ---- */

static void lock_collection(void *opaque)
{
    struct emu *emu = opaque;
    struct pgl_collection collection;

    if (pgl_collection_lock(&collection, emu->table, 0x1000, 0x4fff)) {
        pgl_collection_unlock(&collection);
    }
}

static void test_cancel_of_a_waiter_for_a_page_leaves_no_other_locked(void **state)
{
    struct emu_holder holder;
    struct victim victim;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    for (uint64_t index = 1; index <= 4; index++) {
        pgl_page_get(emu.table, index);
    }
    emu_hold(&holder, &emu, 4);
    victim_start(&victim, lock_collection, &emu);
    victim_await_sleep(&victim, 3);
    emu_release(&holder);
    victim_assert_finished(&victim);
    for (uint64_t index = 1; index <= 4; index++) {
        assert_false(emu_is_locked(&emu, index));
    }
    emu_fini(&emu);
}

struct killing {
    struct emu *emu;
    struct emu_block *block;
};

static void kill_block(void *opaque)
{
    struct killing *killing = opaque;

    pgl_invalidate_tb(killing->emu->table, &killing->block->tb, NULL);
}

static void kill_block_of_call(struct emu *emu, void *arg)
{
    (void)emu;
    kill_block(arg);
}

static sem_t may_return;

/* Runs with no page locked, because the block is on none. */
static void wait_in_retired(struct emu *emu, struct pgl_tb *chain)
{
    (void)emu, (void)chain;
    while (sem_wait(&may_return)) {
        ;
    }
}

static void test_cancel_of_a_waiter_for_a_dying_block_on_no_page(void **state)
{
    struct emu_block block = {0};
    struct killing killing;
    struct victim victim;
    struct emu_call killer;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    killing = (struct killing){&emu, &block};
    sem_init(&may_return, 0, 0);
    emu.at_retired = wait_in_retired;
    pgl_tb_init(&block.tb);
    pgl_tb_link_unlisted(emu.table, &block.tb);
    emu_call(&killer, &emu, kill_block_of_call, &killing);
    EMU_WAIT_UNTIL(!emu_is_live(&block));
    victim_start(&victim, kill_block, &killing);
    victim_await_sleep(&victim, 3);
    sem_post(&may_return);
    emu_join(&killer);
    victim_assert_finished(&victim);
    sem_destroy(&may_return);
    emu_fini(&emu); /* finds the lock of the dying blocks free */
}

/* ---- faulting pages ---- */

struct faulting {
    struct pgl_fault *fault;
    struct pgl_object *object;
    enum pgl_fault_result result;
};

static void fault_on_page_3(void *opaque)
{
    struct faulting *faulting = opaque;
    const struct pgl_fault_args args = {.object = faulting->object, .index = 3, .access = PGL_ACCESS_READ};
    struct pgl_fault_page page;

    faulting->result = pgl_fault_run(faulting->fault, &args, &page);
}

static void test_cancel_of_a_fault_that_waits_for_its_pager(void **state)
{
    struct sim sim = {.script = sim_keep, .tag = 0xaa};
    struct pgl_object_config config = sim_config(&sim, 16);
    struct pgl_object_stats stats;
    struct faulting faulting;
    struct victim victim;

    (void)state;
    faulting = (struct faulting){.fault = pgl_fault_new(), .object = pgl_object_new(&config)};
    victim_start(&victim, fault_on_page_3, &faulting);
    victim_await_sleep(&victim, 1);
    sim_supply(&sim, sim_last(&sim), 3, 3, PGL_ACCESS_WRITE);
    victim_assert_finished(&victim);
    assert_int_equal(faulting.result, PGL_FAULT_SUCCESS);
    pgl_object_get_stats(faulting.object, &stats);
    assert_int_equal(stats.waiting, 0);
    pgl_fault_free(faulting.fault);
    pgl_object_unref(faulting.object);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cancel_of_a_waiter_for_a_page_leaves_no_other_locked),
        cmocka_unit_test(test_cancel_of_a_waiter_for_a_dying_block_on_no_page),
        cmocka_unit_test(test_cancel_of_a_fault_that_waits_for_its_pager),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
