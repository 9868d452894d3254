/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "witness.h"

#include <stdio.h>
#include <string.h>

struct pgl_breach seen[A_FEW];
unsigned n_seen;

bool big_lock_held;

bool is_big_lock_held(void *opaque)
{
    (void)opaque;
    return big_lock_held;
}

static void note_breach(const struct pgl_breach *breach, void *opaque)
{
    assert_ptr_equal(opaque, seen);
    if (n_seen < A_FEW) {
        seen[n_seen] = *breach;
    }
    n_seen++;
}

int set_hook(void **state)
{
    (void)state;
    n_seen = 0;
    pgl_witness_set_hook(note_breach, seen);
    return 0;
}

void assert_place_in(const char *file, const char *place, unsigned line)
{
    char want[200];

    snprintf(want, sizeof(want), "%s:%u", file, line);
    if (line) {
        assert_string_equal(place, want);
    } else {
        assert_null(place);
    }
}

void assert_breach_in(const char *file, enum pgl_breach_kind kind, uint64_t index, uint64_t held_index,
                      unsigned held_line)
{
    char held_place[200];

    assert_int_equal(n_seen, 1);
    assert_int_equal(seen[0].kind, kind);
    assert_true(seen[0].index == index);
    assert_non_null(seen[0].what);
    assert_int_equal(strncmp(seen[0].place, file, strlen(file)), 0);
    assert_int_equal(seen[0].place[strlen(file)], ':');
    assert_true(seen[0].held_index == held_index);
    if (held_line) {
        snprintf(held_place, sizeof(held_place), "%s:%u", file, held_line);
        assert_string_equal(seen[0].held_place, held_place);
        assert_string_not_equal(seen[0].place, held_place);
    } else {
        assert_null(seen[0].held_place);
    }
    n_seen = 0;
}

void assert_block_breach_in(const char *file, enum pgl_breach_kind kind, uint64_t index, unsigned linked_line)
{
    assert_breach_in(file, kind, index, UINT64_MAX, 0);
    assert_place_in(file, seen[0].linked_place, linked_line);
    assert_null(seen[0].callback);
}

void ready(struct emu_block *block, uint64_t first, uint64_t last, uint64_t first2, uint64_t last2)
{
    pgl_tb_init(&block->tb);
    pgl_tb_set_bytes(&block->tb, 0, first, last);
    pgl_tb_set_bytes(&block->tb, 1, first2, last2);
}

enum pgl_bracket_result try_link_at(struct pgl_table *table, struct pgl_tb *tb, const char *place)
{
    struct pgl_bracket bracket;

    assert_true(pgl_bracket_begin_at(&bracket, table, pgl_tb_first_addr(tb, 0) >> 12, place));
    if (pgl_tb_first_addr(tb, 1) <= pgl_tb_last_addr(tb, 1)) {
        assert_int_equal(pgl_bracket_cross_at(&bracket, pgl_tb_first_addr(tb, 1) >> 12, place), PGL_BRACKET_OK);
    }
    return pgl_bracket_commit_at(&bracket, tb, NULL, place);
}

void link_block_at(struct emu *emu, struct emu_block *block, uint64_t first, uint64_t last, uint64_t first2,
                   uint64_t last2, const char *place)
{
    memset(block, 0, sizeof(*block));
    ready(block, first, last, first2, last2);
    assert_int_equal(try_link_at(emu->table, &block->tb, place), PGL_BRACKET_OK);
    assert_int_equal(n_seen, 0);
}

bool never(struct pgl_tb *tb, void *opaque)
{
    (void)tb, (void)opaque;
    fail();
    return true;
}
