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
