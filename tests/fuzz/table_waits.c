/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Operations of fuzz_table.c beside other threads, which are the marks that these would make: a turn, a killed page. */
#include "../../src/code/filter_internal.h"
#include "../../src/code/spin_internal.h"
#include "table_world.h"

static struct pgl_page elsewhere; /* no page of the table: nobody else's lock waits for the turn */

/* A waiter begins to starve, or gets its page. Between the two all locks take their slow paths. */
void op_starve(struct world *world)
{
    if (world->table->special & PGL_SPECIAL_EXTERNAL) {
        return;
    }
    if (world->turn.page) {
        pgl_turn_leave(world->table, &world->turn);
        world->turn.page = NULL;
    } else {
        world->turn.page = &elsewhere;
        pgl_turn_queue(world->table, &world->turn);
    }
}

/* Store where the filters see no code, on a page that another thread holds to kill. The check does not wait. */
void op_store_to_killed(struct world *world)
{
    uint64_t addr = world_any_addr(world) & world->last_addr, index = addr >> world->page_bits;
    struct pgl_leaf *leaf = pgl_leaf_find(world->table, index);
    unsigned word = index % PGL_LEVEL_SIZE / 64;
    struct pgl_page *page;

    if (!leaf || world->table->special & PGL_SPECIAL_EXTERNAL) {
        return;
    }
    page = pgl_leaf_page(leaf, index);
    CHECK(pgl_spin_trylock(&page->head, PGL_HEAD_LOCK)); /* the other thread's lock, of which no witness knows */
    pgl_killed_mark(leaf, word, UINT64_C(1) << index % 64);
    if (pgl_page_is_clean(world->page_bits, leaf, index, page->head, addr, addr)) {
        for (unsigned i = 0; i < world->nblocks; i++) {
            CHECK(!world_meets(&world->block[i], addr, addr));
        }
        CHECK(pgl_store_check(world->table, addr, 1, NULL) == 0);
    }
    pgl_killed_unmark(leaf, word, UINT64_C(1) << index % 64);
    pgl_spin_unlock(&page->head, PGL_HEAD_LOCK);
}
