/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Breaches of the contract: the hook that keeps them, and assertions about them. For a lock_debug library only. */
#ifndef PGL_TESTS_CODE_WITNESS_H
#define PGL_TESTS_CODE_WITNESS_H

#include "emu.h"

#define A_FEW 4

/* The first breaches since the last assertion, and the number of all. */
extern struct pgl_breach seen[A_FEW];
extern unsigned n_seen;

/* An external_held callback, and its answer. */
extern bool big_lock_held;
bool is_big_lock_held(void *opaque);

/* For cmocka. */
int set_hook(void **state);

/* Assert that @place is line @line of the test's file, or absent if @line is 0. */
#define assert_place(place, line) assert_place_in(__FILE__, place, line)
void assert_place_in(const char *file, const char *place, unsigned line);

/* Assert one breach since the last, of this kind, about @index, in the test's file, with a held page or none. */
#define assert_breach(kind, index, held_index, held_line) assert_breach_in(__FILE__, kind, index, held_index, held_line)
void assert_breach_in(const char *file, enum pgl_breach_kind kind, uint64_t index, uint64_t held_index,
                      unsigned held_line);

/* Assert the same of a block, which was linked at @linked_line, or is not linked (0). */
#define assert_block_breach(kind, index, linked_line) assert_block_breach_in(__FILE__, kind, index, linked_line)
void assert_block_breach_in(const char *file, enum pgl_breach_kind kind, uint64_t index, unsigned linked_line);

void ready(struct emu_block *block, uint64_t first, uint64_t last, uint64_t first2, uint64_t last2);

/* The calls of these two stand on this line of the test's file, as the witness sees it. No other call stands there. */
#define LINK_LINE 1
#define LINK_PLACE __FILE__ ":" PGL_STRING(LINK_LINE)

#define try_link(table, tb) try_link_at(table, tb, LINK_PLACE)
enum pgl_bracket_result try_link_at(struct pgl_table *table, struct pgl_tb *tb, const char *place);

#define link_block(emu, block, first, last, first2, last2)                                                             \
    link_block_at(emu, block, first, last, first2, last2, LINK_PLACE)
void link_block_at(struct emu *emu, struct emu_block *block, uint64_t first, uint64_t last, uint64_t first2,
                   uint64_t last2, const char *place);

/* Fail the test: it is called for no block. */
bool never(struct pgl_tb *tb, void *opaque);

#endif
