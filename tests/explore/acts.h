/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Threads of the scenarios of more than one file, and a beginning. Each is named after its act in the world. */
#ifndef PGL_TESTS_EXPLORE_ACTS_H
#define PGL_TESTS_EXPLORE_ACTS_H

void translate_0(void);
void translate_0_again(void);
void translate_other_slot(void);
void store_0(void);
void store_1(void);
void init_linked(void);
void cross_down(void);
void store_page_0(void);
void kill_0(void);

#endif
