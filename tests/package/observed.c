/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A program for gdb to look at (observe.py): a table with locked pages, an object with a fault that waits, and then
 * each event that has a probe. It is the same each time it runs: a holder lets its page go when the main thread waits.
 */
#include "../code/emu.h"
#include "../fault/sim.h"

void stop(const char *where);

void __attribute__((noinline)) stop(const char *where)
{
    __asm__ volatile("" ::"r"(where) : "memory");
}

/* For gdb to name. */
struct emu emu;
struct emu_block local, crossing, unlisted;
struct pgl_object *object;
struct pgl_map *map;
struct pgl_page *waited_for;

static struct emu_holder holder;
static bool held;

static void let_go_once(void)
{
    if (held) {
        held = false;
        emu_release(&holder);
    }
}

/* Have another thread hold a page until this one waits for it. */
static void hold_until_waited_for(uint64_t index)
{
    waited_for = pgl_page_get(emu.table, index);
    emu_hold(&holder, &emu, index);
    held = true;
}

static void show_locks(void)
{
    emu_link(&emu, &local, 0x7010, 0x7043);
    emu_link2(&emu, &crossing, 0x5ff0, 0x5fff, 0x8000, 0x8003);
    emu_hold(&holder, &emu, 7);
    pgl_page_lock(emu.table, pgl_page_get(emu.table, 9));
    stop("locks");
    pgl_page_unlock(emu.table, pgl_page_find(emu.table, 9));
    emu_release(&holder);
}

static void ready(void *arg)
{
    (void)arg;
}

static void show_faults(struct sim *sim, struct pgl_fault *fault)
{
    const struct pgl_fault_args args = {.map = map, .index = 103, .access = PGL_ACCESS_READ};
    struct pgl_fault_page page;

    sim->script = sim_keep;
    pgl_fault_start(fault, &args, &page, ready, NULL);
    stop("faults");
    sim_supply(sim, sim_last(sim), 3, 3, PGL_ACCESS_READ);
    pgl_fault_continue(fault, &page);
    sim->script = sim_now;
}

static void meet_others(void)
{
    struct pgl_collection collection;
    struct pgl_bracket bracket;

    emu_at_yield = let_go_once;
    hold_until_waited_for(9);
    pgl_page_lock(emu.table, waited_for);
    pgl_page_unlock(emu.table, waited_for);

    hold_until_waited_for(5);
    pgl_collection_lock(&collection, emu.table, 0x8000, 0x8fff);
    pgl_collection_unlock(&collection);

    hold_until_waited_for(5);
    pgl_bracket_begin(&bracket, emu.table, 8);
    pgl_bracket_cross(&bracket, 5);
    pgl_bracket_abort(&bracket);
}

static void kill_blocks(void)
{
    pgl_store_check(emu.table, 0x7010, 4, NULL);
    emu_init_block(&unlisted, 1, 0);
    pgl_tb_link_unlisted(emu.table, &unlisted.tb);
    pgl_invalidate_tb(emu.table, &unlisted.tb, NULL);
}

static void fault_once(struct pgl_fault *fault)
{
    const struct pgl_fault_args args = {.object = object, .index = 4, .access = PGL_ACCESS_READ};
    struct pgl_fault_page page;

    pgl_fault_run(fault, &args, &page);
}

int main(void)
{
    struct sim sim = {.tag = 0xaa};
    struct pgl_object_config config = sim_config(&sim, 16);
    struct pgl_fault *fault = pgl_fault_new();

    emu_init(&emu);
    object = pgl_object_new(&config);
    map = pgl_map_new(NULL, NULL);
    pgl_map_enter(map, 100, 115, object, 0, PGL_ADVICE_RANDOM);
    show_locks();
    show_faults(&sim, fault);
    stop("events");
    meet_others();
    kill_blocks();
    fault_once(fault);
    stop("end");
    pgl_map_free(map);
    pgl_fault_free(fault);
    pgl_object_unref(object);
    pgl_flush(emu.table, NULL);
    emu_fini(&emu);
    return 0;
}
