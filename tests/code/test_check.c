/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Each invariant of a table is broken on purpose, and pgl_table_check() has to say so. */
#include <stdlib.h>
#include <string.h>

#include "emu.h"

/*
 * A sound table with everything on it: page 5 has a block alone and one that goes on to page 6; page 7 has a block
 * twice and an exact map.
 */
struct fixture {
    struct emu emu;
    struct emu_block alone, crossing, twice;
    struct pgl_page *page5, *page6, *page7;
    struct pgl_leaf *leaf;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    emu_init(&f->emu);
    emu_link(&f->emu, &f->alone, 0x5000, 0x5003);
    emu_link2(&f->emu, &f->crossing, 0x5ff0, 0x5fff, 0x6000, 0x6003);
    emu_link2(&f->emu, &f->twice, 0x7ff0, 0x7fff, 0x7000, 0x7003);
    f->page5 = pgl_page_find(f->emu.table, 5);
    f->page6 = pgl_page_find(f->emu.table, 6);
    f->page7 = pgl_page_find(f->emu.table, 7);
    f->leaf = pgl_leaf_find(f->emu.table, 5);
    for (unsigned i = 0; !(f->page7->head & PGL_HEAD_HOT) && i < 1000; i++) {
        pgl_store_check(f->emu.table, 0x7004, 1, NULL);
    }
    assert_true(f->page7->head & PGL_HEAD_HOT);
    emu_assert_sound(&f->emu);
    *state = f;
    return 0;
}

/* Each test repairs the damage that it did. */
static int teardown(void **state)
{
    struct fixture *f = *state;

    emu_fini(&f->emu);
    free(f);
    return 0;
}

struct said {
    const char *wanted;
    bool heard;
    unsigned n;
};

static void hear(const char *what, void *opaque)
{
    struct said *said = opaque;

    said->n++;
    said->heard |= strstr(what, said->wanted) != NULL;
}

static void assert_says(const struct fixture *f, const char *wanted)
{
    struct said said = {.wanted = wanted};
    unsigned n = pgl_table_check(f->emu.table, hear, &said);

    assert_true(n > 0);
    assert_int_equal(n, said.n);
    if (!said.heard) {
        fail_msg("nobody said \"%s\"", wanted);
    }
    assert_int_equal(pgl_table_check(f->emu.table, NULL, NULL), n);
}

/* Break one object for as long as the assertion takes. */
#define BREAK(f, object, value, wanted)                                                                                \
    do {                                                                                                               \
        __typeof__(object) was_ = (object);                                                                            \
        (object) = (value);                                                                                            \
        assert_says(f, wanted);                                                                                        \
        (object) = was_;                                                                                               \
    } while (0)

static void test_check_finds_a_locked_page(void **state)
{
    struct fixture *f = *state;

    BREAK(f, f->page5->head, f->page5->head | PGL_HEAD_LOCK, "is locked");
}

static void test_check_finds_a_dead_block_on_a_list(void **state)
{
    struct fixture *f = *state;

    BREAK(f, f->alone.tb.state, PGL_TB_DEAD, "not alive");
    BREAK(f, f->alone.tb.state, PGL_TB_NEW, "not alive");
}

static void test_check_finds_a_block_on_a_page_it_has_no_bytes_on(void **state)
{
    struct fixture *f = *state;

    BREAK(f, f->alone.tb.span.first, f->alone.tb.span.last + 1, "no bytes here");
    f->alone.tb.span.last += 0x4000;
    BREAK(f, f->alone.tb.span.first, f->alone.tb.span.first + 0x4000, "no bytes here");
    f->alone.tb.span.last -= 0x4000;
}

static void test_check_finds_a_block_missing_on_its_other_page(void **state)
{
    struct fixture *f = *state;

    BREAK(f, f->page6->head, f->page6->head & (PGL_HEAD_CROSS | PGL_HEAD_HOT), "not once on its page");
}

static void test_check_finds_a_block_whose_other_page_is_absent(void **state)
{
    struct fixture *f = *state;

    f->crossing.tb.rest.second.span.last += UINT64_C(0x80000000);
    BREAK(f, f->crossing.tb.rest.second.span.first, f->crossing.tb.rest.second.span.first + UINT64_C(0x80000000),
          "has no leaf");
    f->crossing.tb.rest.second.span.last -= UINT64_C(0x80000000);
}

static void test_check_finds_a_list_that_runs_in_a_circle(void **state)
{
    struct fixture *f = *state;

    /* one block, two blocks, and one listed twice by one link */
    BREAK(f, f->twice.tb.span.next, (uintptr_t)&f->twice.tb, "circle");
    BREAK(f, f->alone.tb.span.next, (uintptr_t)&f->crossing.tb, "circle");
    BREAK(f, f->alone.tb.span.next, (uintptr_t)&f->alone.tb, "circle");
}

static void test_check_finds_an_extent_that_is_not_listed(void **state)
{
    struct fixture *f = *state;

    /* the second of two on one page */
    BREAK(f, f->page7->head, (f->page7->head & PGL_HEAD_HOT) | (uintptr_t)&f->twice.tb, "not once on its page");
}

static void test_check_finds_an_extent_of_another_block(void **state)
{
    struct fixture *f = *state;

    BREAK(f, f->twice.tb.rest.second.tb, &f->alone.tb, "none of its block's");
}

static void test_check_finds_a_wrong_mask(void **state)
{
    struct fixture *f = *state;

    BREAK(f, f->page5->mask, f->page5->mask & (f->page5->mask - 1), "the mask is");
    BREAK(f, f->page5->mask, f->page5->mask | 1 << 9, "the mask is");
    BREAK(f, pgl_page_find(f->emu.table, 9)->mask, 1, "the mask is");
}

static void test_check_finds_a_wrong_crossing_flag(void **state)
{
    struct fixture *f = *state;

    BREAK(f, f->page5->head, f->page5->head & ~(uintptr_t)PGL_HEAD_CROSS, "crossing flag");
    BREAK(f, f->page6->head, f->page6->head & ~(uintptr_t)PGL_HEAD_CROSS, "crossing flag");
    BREAK(f, f->page7->head, f->page7->head | PGL_HEAD_CROSS, "crossing flag");
}

static void test_check_finds_a_wrong_code_bit(void **state)
{
    struct fixture *f = *state;

    BREAK(f, f->leaf->code[0], f->leaf->code[0] & ~UINT64_C(0x20), "code bit is clear");
    BREAK(f, f->leaf->code[7], 1, "code bit is set");
}

static void test_check_finds_a_wrong_exact_map(void **state)
{
    struct fixture *f = *state;
    uint64_t *map = f->leaf->hot->map[7];

    BREAK(f, map[0], map[0] & ~UINT64_C(1), "exact map");
    BREAK(f, map[63], map[63] & ~(UINT64_C(1) << 63), "exact map");
    BREAK(f, map[30], 1, "exact map");
    BREAK(f, f->page7->head, f->page7->head & ~(uintptr_t)PGL_HEAD_HOT, "hot flag");
    BREAK(f, f->page5->head, f->page5->head | PGL_HEAD_HOT, "hot flag");
}

static void test_check_finds_a_child_that_its_parent_does_not_know(void **state)
{
    struct fixture *f = *state;
    void **root = (void **)(f->emu.table + 1), **node = root[0];
    uint64_t *root_present = (uint64_t *)(root + ((size_t)1 << f->emu.table->root_bits));
    uint64_t *node_present = (uint64_t *)(node + PGL_LEVEL_SIZE);

    BREAK(f, root_present[0], 0, "its bit is clear");
    BREAK(f, root_present[0], 3, "its bit is set");
    BREAK(f, node_present[0], 0, "its bit is clear");
}

static void test_check_finds_a_leaf_in_the_wrong_place(void **state)
{
    struct fixture *f = *state;

    BREAK(f, f->leaf->first_index, 512, "says 0x200");
}

static void test_check_finds_wrong_figures(void **state)
{
    struct fixture *f = *state;
    struct pgl_table *table = f->emu.table;

    BREAK(f, table->leaves, 2, "leaves counted");
    BREAK(f, table->bytes, table->bytes + 16, "count of bytes");
    BREAK(f, table->hot_bytes, 0, "count of hot bytes");
}

static void test_check_finds_the_lock_of_unlisted_blocks_held(void **state)
{
    struct fixture *f = *state;

    BREAK(f, f->emu.table->unlisted, PGL_HEAD_LOCK, "blocks on no page");
}

#define UNIT(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(test_check_finds_a_locked_page),
        UNIT(test_check_finds_a_dead_block_on_a_list),
        UNIT(test_check_finds_a_block_on_a_page_it_has_no_bytes_on),
        UNIT(test_check_finds_a_block_missing_on_its_other_page),
        UNIT(test_check_finds_a_block_whose_other_page_is_absent),
        UNIT(test_check_finds_a_list_that_runs_in_a_circle),
        UNIT(test_check_finds_an_extent_that_is_not_listed),
        UNIT(test_check_finds_an_extent_of_another_block),
        UNIT(test_check_finds_a_wrong_mask),
        UNIT(test_check_finds_a_wrong_crossing_flag),
        UNIT(test_check_finds_a_wrong_code_bit),
        UNIT(test_check_finds_a_wrong_exact_map),
        UNIT(test_check_finds_a_child_that_its_parent_does_not_know),
        UNIT(test_check_finds_a_leaf_in_the_wrong_place),
        UNIT(test_check_finds_wrong_figures),
        UNIT(test_check_finds_the_lock_of_unlisted_blocks_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
