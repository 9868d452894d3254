/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Threads of the scenarios of more than one file, and beginnings. Each is named after its act in the world. */
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
void kill_first(void);

/* Translate a word into block 0, which others may know: it was made new before the threads began. */
void link_known(void);

/* Two blocks of page 0; the same, and one miss short of an exact map; the same, and the page is hot. */
void init_two_blocks(void);
void init_nearly_hot(void);
void init_hot(void);

/* A store that the mask of page 0 does not rule out, and that meets no block. */
void miss(void);

#endif
