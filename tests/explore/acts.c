/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "acts.h"

#include "world.h"

void translate_0(void)
{
    translate(0, 0, 0, 0);
}

void translate_0_again(void)
{
    translate(5, 0, 0, 0);
}

void translate_other_slot(void)
{
    translate(2, 1, 0, 1);
}

void store_0(void)
{
    checked_store(0, 0, 1);
}

void store_1(void)
{
    checked_store(0, 1, 1);
}

void init_linked(void)
{
    world_init();
    explore_check(translate(0, 0, 0, 0));
}

void cross_down(void)
{
    translate_two(1, 1, 1, 1, 0, 1);
}

void store_page_0(void)
{
    checked_store(0, 0, 1);
}

void kill_0(void)
{
    kill_words(0, 0, 0, 0);
}

/* Two blocks with mask bits of their own, and one that shares a bit's bytes with neither. */
void init_two_blocks(void)
{
    world_init();
    explore_check(translate(0, 0, 0, 0));
    explore_check(translate(1, 1, 0, 1));
}

/* One store short of an exact map: misses within the mask's bits, beyond the block's bytes. */
void miss(void)
{
    explore_check(pgl_store_check(world.table, ADDR(0, 0) + 16, SLOT_BYTES, NULL) == 0);
}

void init_nearly_hot(void)
{
    init_two_blocks();
    for (int i = 0; i < 4; i++) {
        miss();
    }
}

void init_hot(void)
{
    init_nearly_hot();
    for (int i = 0; i < 4; i++) {
        miss();
    }
    explore_check(pgl_page_find(world.table, 0)->head & PGL_HEAD_HOT);
}

void kill_first(void)
{
    kill_block(0);
}

void link_known(void)
{
    struct block *made = &world.blocks[0];
    struct pgl_bracket bracket;

    explore_check(pgl_bracket_begin(&bracket, world.table, 0));
    made->key = 0;
    made->parts[0] = (struct part){0, 0, guest_load(0, 0)};
    made->nparts = 1;
    pgl_tb_set_bytes(&made->tb, 0, ADDR(0, 0), LAST_ADDR(0, 0));
    explore_check(pgl_bracket_commit(&bracket, &made->tb, NULL) == PGL_BRACKET_OK);
    made->linked = true;
}
