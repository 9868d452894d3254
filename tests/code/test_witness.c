/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every breach of contract is reported, with both places. Built for a lock_debug library only. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "emu.h"

#define A_FEW 4

/* What the hook was told. */
static struct pgl_breach seen[A_FEW];
static unsigned n_seen;

static void note_breach(const struct pgl_breach *breach, void *opaque)
{
    assert_ptr_equal(opaque, seen);
    if (n_seen < A_FEW)
        seen[n_seen] = *breach;
    n_seen++;
}

static int set_hook(void **state)
{
    (void)state;
    n_seen = 0;
    pgl_witness_set_hook(note_breach, seen);
    return 0;
}

/* Whether @place is line @line of this file; 0: there is none. */
static void assert_place(const char *place, unsigned line)
{
    char want[200];

    snprintf(want, sizeof(want), "%s:%u", __FILE__, line);
    if (line)
        assert_string_equal(place, want);
    else
        assert_null(place);
}

/* One report since the last, of this kind, about @index, with this file as place, and a held page or none. */
static void assert_breach(enum pgl_breach_kind kind, uint64_t index, uint64_t held_index, unsigned held_line)
{
    char held_place[200];

    assert_int_equal(n_seen, 1);
    assert_int_equal(seen[0].kind, kind);
    assert_true(seen[0].index == index);
    assert_non_null(seen[0].what);
    assert_non_null(strstr(seen[0].place, "test_witness.c:"));
    assert_true(seen[0].held_index == held_index);
    if (held_line) {
        snprintf(held_place, sizeof(held_place), "%s:%u", __FILE__, held_line);
        assert_string_equal(seen[0].held_place, held_place);
        assert_string_not_equal(seen[0].place, held_place);
    } else {
        assert_null(seen[0].held_place);
    }
    n_seen = 0;
}

/* The same of a block, which was linked at @linked_line, or is not linked (0). */
static void assert_block_breach(enum pgl_breach_kind kind, uint64_t index, unsigned linked_line)
{
    assert_breach(kind, index, UINT64_MAX, 0);
    assert_place(seen[0].linked_place, linked_line);
    assert_null(seen[0].callback);
}

static void ready(struct emu_block *block, uint64_t first, uint64_t last, uint64_t first2, uint64_t last2)
{
    pgl_tb_init(&block->tb);
    pgl_tb_set_bytes(&block->tb, 0, first, last);
    pgl_tb_set_bytes(&block->tb, 1, first2, last2);
}

/* The line on which try_link() links. */
static unsigned link_line;

static enum pgl_bracket_result try_link(struct pgl_table *table, struct pgl_tb *tb)
{
    struct pgl_bracket bracket;

    assert_true(pgl_bracket_begin(&bracket, table, tb->first[0] >> 12));
    if (tb->first[1] <= tb->last[1])
        assert_int_equal(pgl_bracket_cross(&bracket, tb->first[1] >> 12), PGL_BRACKET_OK);
    link_line = __LINE__ + 1;
    return pgl_bracket_commit(&bracket, tb, NULL);
}

static void link_block(struct emu *emu, struct emu_block *block, uint64_t first, uint64_t last, uint64_t first2,
                       uint64_t last2)
{
    memset(block, 0, sizeof(*block));
    ready(block, first, last, first2, last2);
    assert_int_equal(try_link(emu->table, &block->tb), PGL_BRACKET_OK);
    assert_int_equal(n_seen, 0);
}

static void test_witness_reports_a_lower_page_waited_for(void **state)
{
    struct pgl_page *low, *high;
    unsigned line;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    low = pgl_page_get(emu.table, 5);
    high = pgl_page_get(emu.table, 700);
    pgl_page_lock(emu.table, high), line = __LINE__;
    pgl_page_lock(emu.table, low);
    assert_breach(PGL_BREACH_ORDER, 5, 700, line);
    assert_true(emu_is_locked(&emu, 5)); /* the call went on */
    pgl_page_unlock(emu.table, low);
    pgl_page_unlock(emu.table, high);
    assert_int_equal(n_seen, 0);
    emu_fini(&emu);
}

static void test_witness_allows_a_lower_page_tried(void **state)
{
    struct emu emu;

    (void)state;
    emu_init(&emu);
    pgl_page_lock(emu.table, pgl_page_get(emu.table, 6));
    assert_true(pgl_page_trylock(emu.table, pgl_page_get(emu.table, 5)));
    pgl_page_lock(emu.table, pgl_page_get(emu.table, 7));
    pgl_page_unlock(emu.table, pgl_page_find(emu.table, 6));
    pgl_page_unlock(emu.table, pgl_page_find(emu.table, 5));
    pgl_page_unlock(emu.table, pgl_page_find(emu.table, 7));
    assert_int_equal(n_seen, 0);
    emu_fini(&emu);
}

static void test_witness_reports_recursion(void **state)
{
    struct pgl_page *page;
    unsigned line;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    page = pgl_page_get(emu.table, 5);
    pgl_page_lock(emu.table, page), line = __LINE__;
    pgl_page_lock(emu.table, page); /* would hang: left out */
    assert_breach(PGL_BREACH_RECURSION, 5, 5, line);
    assert_false(pgl_page_trylock(emu.table, page));
    assert_breach(PGL_BREACH_RECURSION, 5, 5, line);
    pgl_page_unlock(emu.table, page);
    assert_int_equal(n_seen, 0);
    emu_fini(&emu);
}

static bool never(struct pgl_tb *tb, void *opaque)
{
    (void)tb, (void)opaque;
    fail();
    return true;
}

static void test_witness_reports_a_page_not_held(void **state)
{
    struct emu_holder holder;
    struct emu_block block;
    struct pgl_page *page;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &block, 0x5000, 0x5003);
    page = pgl_page_get(emu.table, 5);
    pgl_page_unlock(emu.table, page);
    assert_breach(PGL_BREACH_NOT_HELD, 5, UINT64_MAX, 0);
    pgl_page_assert_held(emu.table, page);
    assert_breach(PGL_BREACH_NOT_HELD, 5, UINT64_MAX, 0);
    assert_false(pgl_page_foreach_tb(emu.table, page, never, NULL));
    assert_breach(PGL_BREACH_NOT_HELD, 5, UINT64_MAX, 0);

    emu_hold(&holder, &emu, 5); /* another's lock is not freed */
    pgl_page_unlock(emu.table, page);
    assert_breach(PGL_BREACH_NOT_HELD, 5, UINT64_MAX, 0);
    assert_true(emu_is_locked(&emu, 5));
    emu_release(&holder);

    pgl_page_lock(emu.table, page);
    pgl_page_unlock(emu.table, page);
    pgl_page_unlock(emu.table, page); /* twice */
    assert_breach(PGL_BREACH_NOT_HELD, 5, UINT64_MAX, 0);
    emu_fini(&emu);
}

static void test_witness_allows_what_is_held(void **state)
{
    struct pgl_page *page;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    page = pgl_page_get(emu.table, 5);
    pgl_page_lock(emu.table, page);
    pgl_page_assert_held(emu.table, page);
    assert_true(pgl_page_foreach_tb(emu.table, page, never, NULL)); /* empty */
    pgl_page_unlock(emu.table, page);
    pgl_assert_none_held();
    assert_int_equal(n_seen, 0);
    emu_fini(&emu);
}

static void test_witness_reports_nesting(void **state)
{
    struct pgl_collection collection;
    struct pgl_bracket bracket;
    struct pgl_store store;
    struct emu_block block;
    struct pgl_page *low;
    unsigned line;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    low = pgl_page_get(emu.table, 1);
    emu_link(&emu, &block, 0x5000, 0x5003);
    pgl_page_lock(emu.table, low), line = __LINE__;

    assert_true(pgl_page_lock_pair(emu.table, 9, 8));
    assert_breach(PGL_BREACH_NESTED, UINT64_MAX, 1, line);
    pgl_page_unlock_pair(emu.table, 9, 8);
    assert_true(pgl_collection_lock(&collection, emu.table, 0x8000, 0x8000));
    assert_breach(PGL_BREACH_NESTED, UINT64_MAX, 1, line);
    pgl_collection_unlock(&collection);
    assert_true(pgl_bracket_begin(&bracket, emu.table, 8));
    assert_breach(PGL_BREACH_NESTED, UINT64_MAX, 1, line);
    pgl_bracket_abort(&bracket);
    assert_int_equal(pgl_store_begin(&store, emu.table, 0x8000, 1, NULL), 0);
    assert_breach(PGL_BREACH_NESTED, UINT64_MAX, 1, line);
    pgl_store_end(&store);
    assert_int_equal(pgl_invalidate_range(emu.table, 0x8000, 0x8000, NULL), 0);
    assert_breach(PGL_BREACH_NESTED, UINT64_MAX, 1, line);
    assert_int_equal(pgl_invalidate_page(emu.table, 8, NULL), 0);
    assert_breach(PGL_BREACH_NESTED, UINT64_MAX, 1, line);
    assert_int_equal(pgl_store_check(emu.table, 0x5000, 1, NULL), PGL_HIT);
    assert_breach(PGL_BREACH_NESTED, UINT64_MAX, 1, line);
    assert_int_equal(pgl_invalidate_tb(emu.table, &block.tb, NULL), 0);
    assert_breach(PGL_BREACH_NESTED, UINT64_MAX, 1, line);
    pgl_page_unlock(emu.table, low);
    assert_int_equal(n_seen, 0);
    emu_fini(&emu);
}

static void test_witness_reports_a_second_bracket_and_a_flush_inside_one(void **state)
{
    struct pgl_bracket bracket, second;
    unsigned line;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    pgl_bracket_begin(&bracket, emu.table, 5), line = __LINE__;
    assert_int_equal(n_seen, 0);
    assert_true(pgl_bracket_begin(&second, emu.table, 6));
    assert_breach(PGL_BREACH_NESTED, UINT64_MAX, 5, line);
    pgl_bracket_abort(&second);
    pgl_bracket_abort(&bracket);

    pgl_bracket_begin(&bracket, emu.table, 1000), line = __LINE__;
    assert_int_equal(pgl_invalidate_range(emu.table, 0x8000, 0x8000, NULL), 0);
    assert_breach(PGL_BREACH_NESTED, UINT64_MAX, 1000, line);
    pgl_bracket_abort(&bracket);
    emu_fini(&emu);
}

static void test_witness_reports_a_check_point_passed_with_pages(void **state)
{
    unsigned line;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    pgl_page_lock(emu.table, pgl_page_get(emu.table, 5)), line = __LINE__;
    pgl_assert_none_held();
    assert_breach(PGL_BREACH_CHECKPOINT, UINT64_MAX, 5, line);
    pgl_page_unlock(emu.table, pgl_page_find(emu.table, 5));
    pgl_assert_none_held();
    assert_int_equal(n_seen, 0);
    emu_fini(&emu);
}

static void test_witness_reports_pages_of_two_tables(void **state)
{
    struct emu emu, other;
    unsigned line;

    (void)state;
    emu_init(&emu);
    emu_init(&other);
    pgl_page_lock(emu.table, pgl_page_get(emu.table, 5)), line = __LINE__;
    pgl_page_lock(other.table, pgl_page_get(other.table, 6));
    assert_breach(PGL_BREACH_TABLES, 6, 5, line);
    pgl_page_unlock(other.table, pgl_page_find(other.table, 6));
    assert_true(pgl_page_trylock(other.table, pgl_page_get(other.table, 6)));
    assert_breach(PGL_BREACH_TABLES, 6, 5, line);
    pgl_page_unlock(other.table, pgl_page_find(other.table, 6));
    pgl_page_unlock(emu.table, pgl_page_find(emu.table, 5));
    emu_fini(&other);
    emu_fini(&emu);
}

static void test_witness_reports_a_block_that_is_not_new(void **state)
{
    struct emu_block block = {0};
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &block, 0x5000, 0x5003);
    assert_int_equal(emu_translate(&emu, &block, NULL), PGL_BRACKET_ERROR); /* twice */
    assert_int_equal(n_seen, 1);
    assert_int_equal(seen[0].kind, PGL_BREACH_TB_STATE);
    assert_true(seen[0].index == 5);
    assert_non_null(strstr(seen[0].place, "emu.c:"));
    n_seen = 0;
    assert_int_equal(emu_count(&emu, 5), 1);
    assert_false(emu_is_locked(&emu, 5));
    pgl_invalidate_tb(emu.table, &block.tb, NULL);
    assert_int_equal(emu_translate(&emu, &block, NULL), PGL_BRACKET_ERROR); /* dead */
    assert_int_equal(n_seen, 1);
    assert_int_equal(seen[0].kind, PGL_BREACH_TB_STATE);
    n_seen = 0;

    pgl_tb_init(&block.tb);
    assert_int_equal(pgl_invalidate_tb(emu.table, &block.tb, NULL), 0); /* never linked */
    assert_breach(PGL_BREACH_TB_STATE, UINT64_MAX, UINT64_MAX, 0);
    emu_fini(&emu);
}

static struct pgl_tb *say_equal(struct pgl_tb *tb, void *opaque)
{
    (void)tb;
    return *(struct pgl_tb **)opaque;
}

static void note_nothing(struct pgl_tb *chain, void *opaque)
{
    (void)chain;
    (void)opaque;
}

static void test_witness_reports_a_dead_block_called_an_equal(void **state)
{
    struct pgl_tb tb, dead, *equal = NULL, *found;
    const struct pgl_tb_ops ops = {.publish = say_equal, .retired = note_nothing};
    const struct pgl_table_config config = {.page_bits = 12, .addr_bits = 48, .ops = &ops, .opaque = &equal};
    struct pgl_table *table = pgl_table_new(&config);
    struct pgl_bracket bracket;

    (void)state;
    pgl_tb_init(&dead);
    pgl_tb_link_unlisted(table, &dead);
    pgl_invalidate_tb(table, &dead, NULL);
    pgl_tb_init(&tb);
    pgl_tb_set_bytes(&tb, 0, 0x5000, 0x5003);
    assert_true(pgl_bracket_begin(&bracket, table, 5));
    equal = &dead;
    assert_int_equal(pgl_bracket_commit(&bracket, &tb, &found), PGL_BRACKET_EXISTS);
    assert_breach(PGL_BREACH_TB_STATE, 5, UINT64_MAX, 0);
    assert_true(pgl_bracket_begin(&bracket, table, 5));
    equal = &tb; /* itself: linked */
    assert_int_equal(pgl_bracket_commit(&bracket, &tb, &found), PGL_BRACKET_OK);
    assert_int_equal(n_seen, 0);
    pgl_table_free(table);
}

static void test_witness_reports_steps_of_a_bracket_that_has_ended(void **state)
{
    struct emu_block block = {0};
    struct pgl_bracket bracket;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    for (unsigned end = 0; end < 2; end++) {
        assert_true(pgl_bracket_begin(&bracket, emu.table, 5));
        if (end)
            pgl_bracket_abort(&bracket);
        else {
            pgl_tb_init(&block.tb);
            pgl_tb_set_bytes(&block.tb, 0, 0x5000, 0x5003);
            assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_OK);
        }
        assert_int_equal(n_seen, 0);
        pgl_bracket_abort(&bracket);
        assert_breach(PGL_BREACH_NOT_HELD, UINT64_MAX, UINT64_MAX, 0);
        assert_int_equal(pgl_bracket_cross(&bracket, 6), PGL_BRACKET_ERROR);
        assert_breach(PGL_BREACH_NOT_HELD, UINT64_MAX, UINT64_MAX, 0);
        assert_int_equal(pgl_bracket_store(&bracket, 0x5000, 1), PGL_BRACKET_ERROR);
        assert_breach(PGL_BREACH_NOT_HELD, UINT64_MAX, UINT64_MAX, 0);
        assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_ERROR);
        assert_breach(PGL_BREACH_NOT_HELD, UINT64_MAX, UINT64_MAX, 0);
        pgl_assert_none_held();
    }
    pgl_flush(emu.table, NULL);
    assert_int_equal(n_seen, 0);
    emu_fini(&emu);
}

static void test_witness_reports_a_pair_unlocked_that_was_never_made(void **state)
{
    struct emu emu;

    (void)state;
    emu_init(&emu);
    pgl_page_unlock_pair(emu.table, 0x70000, 0x70000);
    assert_breach(PGL_BREACH_NOT_HELD, 0x70000, UINT64_MAX, 0);
    emu_fini(&emu);
}

/* Many pages, let go of from either end and in the middle, and others taken meanwhile: each is known to be held. */
static void test_witness_knows_each_of_many_pages(void **state)
{
    struct pgl_page *pages[300];
    struct emu emu;

    (void)state;
    emu_init(&emu);
    for (uint64_t i = 0; i < 300; i++)
        pages[i] = pgl_page_get(emu.table, i);
    for (unsigned i = 0; i < 300; i++) {
        pgl_page_lock(emu.table, pages[i]);
        if (i >= 40 && i % 3)
            pgl_page_unlock(emu.table, pages[i - 40]);
    }
    for (unsigned i = 0; i < 300; i++) {
        bool held = i >= 260 || (i + 40) % 3 == 0;

        pgl_page_assert_held(emu.table, pages[i]);
        assert_int_equal(n_seen, !held);
        n_seen = 0;
        if (held)
            pgl_page_unlock(emu.table, pages[i]);
    }
    pgl_assert_none_held();
    assert_int_equal(n_seen, 0);
    emu_fini(&emu);
}

static void test_witness_reports_a_block_on_a_page_not_held(void **state)
{
    static const uint64_t bytes[][4] = {
        {0x6000, 0x6003, 1, 0},           /* begins elsewhere */
        {0x5ffc, 0x5fff, 0x6000, 0x6003}, /* its second page was never crossed to */
        {1, 0, 0x5000, 0x5003},           /* begins nowhere */
        {0x5ffc, 0x6003, 1, 0},           /* runs off its page */
    };
    struct emu emu;

    (void)state;
    emu_init(&emu);
    for (size_t i = 0; i < sizeof(bytes) / sizeof(*bytes); i++) {
        struct emu_block block = {0};
        struct pgl_bracket bracket;

        pgl_tb_init(&block.tb);
        pgl_tb_set_bytes(&block.tb, 0, bytes[i][0], bytes[i][1]);
        pgl_tb_set_bytes(&block.tb, 1, bytes[i][2], bytes[i][3]);
        assert_true(pgl_bracket_begin(&bracket, emu.table, 5));
        assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_ERROR);
        assert_int_equal(n_seen, 1);
        assert_int_equal(seen[0].kind, PGL_BREACH_TB_PAGE);
        n_seen = 0;
        assert_false(emu_is_locked(&emu, 5)); /* aborted */
        assert_int_equal(emu_count(&emu, 5), 0);
    }
    emu_fini(&emu);
}

static void test_witness_reports_an_unlisted_block_that_is_not_new_or_has_bytes(void **state)
{
    struct emu_block block = {0};
    struct emu emu;

    (void)state;
    emu_init(&emu);
    pgl_tb_init(&block.tb);
    pgl_tb_set_bytes(&block.tb, 0, 0x5000, 0x5003);
    pgl_tb_link_unlisted(emu.table, &block.tb);
    assert_breach(PGL_BREACH_TB_PAGE, UINT64_MAX, UINT64_MAX, 0);
    assert_false(pgl_tb_is_live(&block.tb));

    pgl_tb_init(&block.tb);
    pgl_tb_link_unlisted(emu.table, &block.tb);
    assert_int_equal(n_seen, 0);
    pgl_tb_link_unlisted(emu.table, &block.tb); /* twice */
    assert_breach(PGL_BREACH_TB_STATE, UINT64_MAX, UINT64_MAX, 0);
    assert_true(pgl_tb_is_live(&block.tb));
    assert_int_equal(pgl_invalidate_tb(emu.table, &block.tb, NULL), PGL_HIT);
    emu_fini(&emu);
}

static bool big_lock_held;

static bool is_big_lock_held(void *opaque)
{
    (void)opaque;
    return big_lock_held;
}

static void test_witness_reports_the_big_lock_missing(void **state)
{
    struct pgl_page *page;
    struct emu emu;

    (void)state;
    emu_init_external(&emu, is_big_lock_held);
    page = pgl_page_get(emu.table, 5);
    big_lock_held = true;
    pgl_page_lock(emu.table, page);
    pgl_page_unlock(emu.table, page);
    assert_true(pgl_page_trylock(emu.table, page));
    pgl_page_unlock(emu.table, page);
    assert_int_equal(n_seen, 0);
    big_lock_held = false;
    pgl_page_lock(emu.table, page);
    assert_breach(PGL_BREACH_EXTERNAL, 5, UINT64_MAX, 0);
    pgl_page_unlock(emu.table, page);
    assert_int_equal(pgl_invalidate_range(emu.table, 0x5000, 0x5fff, NULL), 0); /* takes no page */
    assert_breach(PGL_BREACH_EXTERNAL, UINT64_MAX, UINT64_MAX, 0);
    assert_int_equal(pgl_store_check(emu.table, 0x9000, 1, NULL), 0); /* nor does a clean one */
    assert_breach(PGL_BREACH_EXTERNAL, UINT64_MAX, UINT64_MAX, 0);
    big_lock_held = true;
    emu_fini(&emu);
}

/* The highest of three counts, whichever was locked last. */
static void test_witness_reports_a_page_below_the_highest_of_three(void **state)
{
    static const uint64_t order[][3] = {{1, 5, 9}, {9, 5, 1}, {5, 9, 1}, {1, 9, 5}};
    struct emu emu;

    (void)state;
    emu_init(&emu);
    for (size_t i = 0; i < sizeof(order) / sizeof(*order); i++) {
        unsigned line = 0;

        for (unsigned n = 0; n < 3; n++) {
            assert_true(pgl_page_trylock(emu.table, pgl_page_get(emu.table, order[i][n])));
            line = __LINE__ - 1;
        }
        for (uint64_t index = 2; index < 9; index += index == 4 ? 2 : 1) {
            pgl_page_lock(emu.table, pgl_page_get(emu.table, index));
            assert_breach(PGL_BREACH_ORDER, index, 9, line);
            pgl_page_unlock(emu.table, pgl_page_find(emu.table, index));
        }
        pgl_page_lock(emu.table, pgl_page_get(emu.table, 10));
        assert_int_equal(n_seen, 0);
        pgl_page_unlock(emu.table, pgl_page_find(emu.table, 10));
        pgl_page_unlock(emu.table, pgl_page_find(emu.table, 9)); /* the highest is another now */
        pgl_page_lock(emu.table, pgl_page_get(emu.table, 4));
        assert_breach(PGL_BREACH_ORDER, 4, 5, line);
        pgl_page_unlock(emu.table, pgl_page_find(emu.table, 4));
        pgl_page_unlock(emu.table, pgl_page_find(emu.table, 1));
        pgl_page_unlock(emu.table, pgl_page_find(emu.table, 5));
        pgl_assert_none_held();
        assert_int_equal(n_seen, 0);
    }
    emu_fini(&emu);
}

static void test_witness_tells_equal_indices_of_two_tables_apart(void **state)
{
    struct pgl_page *page, *others;
    struct emu emu, other;
    unsigned line;

    (void)state;
    emu_init(&emu);
    emu_init(&other);
    page = pgl_page_get(emu.table, 5);
    others = pgl_page_get(other.table, 5);
    pgl_page_lock(emu.table, page), line = __LINE__;
    pgl_page_unlock(other.table, others);
    assert_breach(PGL_BREACH_NOT_HELD, 5, UINT64_MAX, 0);
    pgl_page_assert_held(other.table, others);
    assert_breach(PGL_BREACH_NOT_HELD, 5, UINT64_MAX, 0);
    pgl_page_lock(other.table, others);
    assert_breach(PGL_BREACH_TABLES, 5, 5, line);
    assert_true(emu_is_locked(&other, 5));
    pgl_page_unlock(emu.table, page); /* each by itself */
    assert_false(emu_is_locked(&emu, 5));
    assert_true(emu_is_locked(&other, 5));
    pgl_page_unlock(other.table, others);
    assert_int_equal(n_seen, 0);
    emu_fini(&other);
    emu_fini(&emu);
}

static void test_witness_reports_a_live_block_linked_again(void **state)
{
    struct emu_block block, before, behind;
    struct emu emu, other;

    (void)state;
    emu_init(&emu);
    emu_init(&other);
    link_block(&emu, &behind, 0x5100, 0x5103, 1, 0);
    link_block(&emu, &block, 0x5000, 0x5003, 0x4ff0, 0x4fff);
    link_block(&emu, &before, 0x5200, 0x5203, 0x4000, 0x4003);
    assert_int_equal(try_link(emu.table, &block.tb), PGL_BRACKET_ERROR); /* as it is */
    assert_block_breach(PGL_BREACH_TB_STATE, 5, link_line);
    ready(&block, 0x5000, 0x5003, 0x4ff0, 0x4fff); /* the same, made new */
    assert_int_equal(try_link(emu.table, &block.tb), PGL_BRACKET_ERROR);
    assert_block_breach(PGL_BREACH_TB_STATE, 5, link_line);
    ready(&block, 0x7000, 0x7003, 1, 0); /* elsewhere */
    assert_int_equal(try_link(emu.table, &block.tb), PGL_BRACKET_ERROR);
    assert_block_breach(PGL_BREACH_TB_STATE, 7, link_line);
    ready(&block, 0x8000, 0x8003, 1, 0); /* in another table */
    assert_int_equal(try_link(other.table, &block.tb), PGL_BRACKET_ERROR);
    assert_block_breach(PGL_BREACH_TB_STATE, 8, link_line);
    pgl_tb_init(&block.tb);
    pgl_tb_link_unlisted(emu.table, &block.tb);
    assert_block_breach(PGL_BREACH_TB_STATE, UINT64_MAX, link_line);

    /* It is linked as it was, and so are the others of its pages. */
    assert_int_equal(emu_count(&emu, 5), 3);
    assert_int_equal(emu_count(&emu, 4), 2);
    assert_false(emu_is_locked(&emu, 7));
    emu_assert_sound(&emu);
    assert_int_equal(pgl_store_check(emu.table, 0x4fff, 1, NULL), PGL_HIT);
    assert_int_equal(block.retired, 1);
    assert_int_equal(before.retired + behind.retired, 0);
    assert_int_equal(pgl_flush(emu.table, NULL), PGL_HIT);
    assert_int_equal(before.retired + behind.retired, 2);
    assert_int_equal(n_seen, 0);
    emu_fini(&other);
    emu_fini(&emu);
}

static void test_witness_reports_an_unlisted_block_that_is_linked_again(void **state)
{
    struct emu_block block = {0};
    struct emu emu;
    unsigned line;

    (void)state;
    emu_init(&emu);
    pgl_tb_init(&block.tb);
    pgl_tb_link_unlisted(emu.table, &block.tb), line = __LINE__;
    ready(&block, 0x5000, 0x5003, 1, 0);
    assert_int_equal(try_link(emu.table, &block.tb), PGL_BRACKET_ERROR);
    assert_block_breach(PGL_BREACH_TB_STATE, 5, line);
    assert_true(pgl_tb_is_live(&block.tb));
    memset(&block.tb, 0, sizeof(block.tb)); /* reused */
    assert_int_equal(pgl_invalidate_tb(emu.table, &block.tb, NULL), PGL_HIT);
    assert_block_breach(PGL_BREACH_TB_CHANGED, UINT64_MAX, line);
    assert_int_equal(block.retired, 1);
    assert_int_equal(pgl_invalidate_tb(emu.table, &block.tb, NULL), 0);
    assert_int_equal(n_seen, 0);
    emu_fini(&emu);
}

static void test_witness_reports_a_block_of_another_table(void **state)
{
    struct emu_block block, unlisted = {0};
    struct emu emu, other;
    unsigned line;

    (void)state;
    emu_init(&emu);
    emu_init(&other);
    link_block(&emu, &block, 0x5000, 0x5003, 1, 0);
    pgl_tb_init(&unlisted.tb);
    pgl_tb_link_unlisted(emu.table, &unlisted.tb), line = __LINE__;
    for (unsigned with_page = 0; with_page < 2; with_page++) {
        if (with_page)
            pgl_page_get(other.table, 5);
        assert_int_equal(pgl_invalidate_tb(other.table, &block.tb, NULL), 0);
        assert_block_breach(PGL_BREACH_TB_TABLE, UINT64_MAX, link_line);
    }
    pgl_tb_lock_pages(other.table, &block.tb);
    assert_block_breach(PGL_BREACH_TB_TABLE, UINT64_MAX, link_line);
    assert_false(emu_is_locked(&other, 5));
    pgl_tb_unlock_pages(other.table, &block.tb);
    assert_block_breach(PGL_BREACH_TB_TABLE, UINT64_MAX, link_line);
    assert_int_equal(pgl_invalidate_tb(other.table, &unlisted.tb, NULL), 0);
    assert_block_breach(PGL_BREACH_TB_TABLE, UINT64_MAX, line);
    assert_true(emu_is_live(&block) && emu_is_live(&unlisted));
    assert_int_equal(pgl_invalidate_tb(emu.table, &block.tb, NULL), PGL_HIT);
    assert_int_equal(pgl_invalidate_tb(emu.table, &unlisted.tb, NULL), PGL_HIT);
    assert_int_equal(n_seen, 0);
    emu_fini(&other);
    emu_fini(&emu);
}

static void test_witness_reports_an_equal_of_another_table_or_of_none(void **state)
{
    struct pgl_tb tb, elsewhere, *equal = NULL;
    const struct pgl_tb_ops ops = {.publish = say_equal, .retired = note_nothing};
    const struct pgl_table_config config = {.page_bits = 12, .addr_bits = 48, .ops = &ops, .opaque = &equal};
    struct pgl_table *table = pgl_table_new(&config), *other = pgl_table_new(&config);

    (void)state;
    pgl_tb_init(&elsewhere);
    pgl_tb_set_bytes(&elsewhere, 0, 0x5000, 0x5003);
    assert_int_equal(try_link(other, &elsewhere), PGL_BRACKET_OK);
    pgl_tb_init(&tb);
    pgl_tb_set_bytes(&tb, 0, 0x5000, 0x5003);
    equal = &elsewhere;
    assert_int_equal(try_link(table, &tb), PGL_BRACKET_EXISTS);
    assert_block_breach(PGL_BREACH_TB_TABLE, UINT64_MAX, link_line);
    elsewhere.state = PGL_TB_DEAD; /* the table that it is linked in has gone */
    pgl_table_free(other);
    elsewhere.state = PGL_TB_LIVE;
    assert_int_equal(try_link(table, &tb), PGL_BRACKET_EXISTS);
    assert_block_breach(PGL_BREACH_TB_STATE, UINT64_MAX, 0);
    pgl_table_free(table);
}

/* A copy of a block is not linked. */
static void test_witness_reports_a_copy_of_a_block_that_is_invalidated(void **state)
{
    struct emu_block block, copy;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    link_block(&emu, &block, 0x5000, 0x5003, 1, 0);
    copy = block;
    assert_int_equal(pgl_invalidate_tb(emu.table, &copy.tb, NULL), 0);
    assert_block_breach(PGL_BREACH_TB_STATE, UINT64_MAX, 0);
    assert_true(emu_is_live(&block));
    assert_int_equal(pgl_invalidate_tb(emu.table, &block.tb, NULL), PGL_HIT);
    copy = block;
    assert_int_equal(pgl_invalidate_tb(emu.table, &copy.tb, NULL), 0); /* a dead one cannot be told from the block */
    assert_int_equal(n_seen, 0);
    emu_fini(&emu);
}

static bool go_on(struct pgl_tb *tb, void *opaque)
{
    (void)tb, (void)opaque;
    return true;
}

/* Calls that read the list of page 5, and kill nothing on it but @block in the last one. */

static void walk(struct emu *emu, struct emu_block *block)
{
    struct pgl_page *page = pgl_page_get(emu->table, 5);

    (void)block;
    pgl_page_lock(emu->table, page);
    assert_true(pgl_page_foreach_tb(emu->table, page, go_on, NULL));
    assert_true(emu_is_locked(emu, 5));
    pgl_page_unlock(emu->table, page);
}

static void store(struct emu *emu, struct emu_block *block)
{
    (void)block;
    assert_int_equal(pgl_store_check(emu->table, 0x5f00, 1, NULL), 0);
}

static void store_over_two_pages(struct emu *emu, struct emu_block *block)
{
    (void)block;
    assert_int_equal(pgl_store_check(emu->table, 0x4fff, 2, NULL), 0);
}

static void begin_store(struct emu *emu, struct emu_block *block)
{
    struct pgl_store bracket;

    (void)block;
    assert_int_equal(pgl_store_begin(&bracket, emu->table, 0x5f00, 1, NULL), 0);
    pgl_store_end(&bracket);
}

static void kill_range(struct emu *emu, struct emu_block *block)
{
    (void)block;
    assert_int_equal(pgl_invalidate_range(emu->table, 0x5f80, 0x6fff, NULL), 0);
}

static void store_in_a_bracket(struct emu *emu, struct emu_block *block)
{
    struct pgl_bracket bracket;

    (void)block;
    assert_true(pgl_bracket_begin(&bracket, emu->table, 9));
    assert_int_equal(pgl_bracket_store(&bracket, 0x5f00, 1), PGL_BRACKET_OK);
    pgl_bracket_abort(&bracket);
}

static void collect(struct emu *emu, struct emu_block *block)
{
    struct pgl_collection collection;

    (void)block;
    assert_true(pgl_collection_lock(&collection, emu->table, 0x5f00, 0x5fff));
    pgl_collection_unlock(&collection);
}

static void kill_it(struct emu *emu, struct emu_block *block)
{
    assert_int_equal(pgl_invalidate_tb(emu->table, &block->tb, NULL), PGL_HIT);
}

/* Changes of a block. */

static void set_bytes(struct pgl_tb *tb)
{
    pgl_tb_set_bytes(tb, 0, 0x5800, 0x5810);
}

static void set_second_bytes(struct pgl_tb *tb)
{
    pgl_tb_set_bytes(tb, 1, 0x6000, 0x6003);
}

static void zero(struct pgl_tb *tb)
{
    memset(tb, 0, sizeof(*tb));
}

static void fill(struct pgl_tb *tb)
{
    memset(tb, 0xa5, sizeof(*tb));
}

static void mark_dead(struct pgl_tb *tb)
{
    tb->state = PGL_TB_DEAD;
}

static void cut(struct pgl_tb *tb)
{
    tb->next[0] = tb->next[1] = 0x1230;
}

enum {
    N_LISTED = 4,
};

/* The @which'th block of page 5 is changed: @call reports it and where it was linked, and all is as it was. */
static void check_change(void (*change)(struct pgl_tb *tb), void (*call)(struct emu *emu, struct emu_block *block),
                         unsigned which, bool crosses)
{
    struct emu_block blocks[N_LISTED], decoy;
    struct emu emu;

    emu_init(&emu);
    link_block(&emu, &decoy, 0x5f20, 0x5f23, 1, 0); /* so that no store of above is clean */
    for (unsigned i = 0; i < N_LISTED; i++)
        link_block(&emu, &blocks[i], 0x5010 + 8 * i, 0x5013 + 8 * i, crosses ? 0x7010 + 8 * i : 1,
                   crosses ? 0x7013 + 8 * i : 0);
    change(&blocks[which].tb);
    call(&emu, &blocks[which]);
    assert_block_breach(PGL_BREACH_TB_CHANGED, call == kill_it && change != cut ? UINT64_MAX : 5, link_line);
    call(&emu, &decoy);
    assert_int_equal(n_seen, 0);
    if (call == kill_it)
        link_block(&emu, &decoy, 0x5f20, 0x5f23, 1, 0);
    assert_int_equal(emu_count(&emu, 5), N_LISTED + 1 - (call == kill_it));
    assert_int_equal(emu_count(&emu, 7), crosses ? N_LISTED - (call == kill_it) : 0);
    emu_assert_sound(&emu);
    for (unsigned i = 0; i < N_LISTED; i++) {
        bool lived = call != kill_it || i != which;

        assert_int_equal(blocks[i].retired, !lived);
        assert_int_equal(pgl_store_check(emu.table, (crosses ? 0x7013 : 0x5013) + 8 * i, 1, NULL), lived ? PGL_HIT : 0);
        assert_int_equal(blocks[i].retired, 1);
    }
    assert_int_equal(n_seen, 0);
    emu_fini(&emu);
}

static void test_witness_reports_and_undoes_each_change_of_a_linked_block(void **state)
{
    static void (*const change[])(struct pgl_tb * tb) = {set_bytes, set_second_bytes, zero, fill, pgl_tb_init, cut};
    static void (*const call[])(struct emu * emu, struct emu_block * block) = {
        walk, store, store_over_two_pages, begin_store, kill_range, store_in_a_bracket, kill_it,
    };

    (void)state;
    for (unsigned which = 0; which < N_LISTED; which++) {
        for (size_t i = 0; i < sizeof(change) / sizeof(*change); i++) {
            for (size_t k = 0; k < sizeof(call) / sizeof(*call); k++) {
                check_change(change[i], call[k], which, false);
                check_change(change[i], call[k], which, true);
            }
            check_change(change[i], collect, which, true);
        }
        check_change(mark_dead, store, which, false);
    }
}

static void test_witness_reports_each_of_two_blocks_that_were_changed(void **state)
{
    struct emu_block blocks[3];
    struct emu emu;

    (void)state;
    emu_init(&emu);
    for (unsigned i = 0; i < 3; i++)
        link_block(&emu, &blocks[i], 0x5010 + 8 * i, 0x5013 + 8 * i, 1, 0);
    zero(&blocks[0].tb);
    zero(&blocks[2].tb);
    assert_int_equal(pgl_store_check(emu.table, 0x5000, 1, NULL), 0);
    assert_int_equal(n_seen, 2);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(seen[i].kind, PGL_BREACH_TB_CHANGED);
        assert_place(seen[i].linked_place, link_line);
    }
    n_seen = 0;
    assert_int_equal(emu_count(&emu, 5), 3);
    emu_fini(&emu);
}

/* What a program may do to blocks that are not linked, or no longer. */
static void test_witness_allows_a_blocks_memory_to_be_used_again(void **state)
{
    struct emu_block block = {0}, twin = {0};
    struct pgl_tb *equal;
    struct emu emu, other;

    (void)state;
    emu_init(&emu);
    emu_init(&other);
    for (unsigned i = 0; i < 3; i++) { /* dead, and linked again elsewhere */
        struct emu *here = i % 2 ? &other : &emu;

        link_block(here, &block, 0x5000, 0x5003, 0x6000 + 0x1000 * i, 0x6003 + 0x1000 * i);
        assert_int_equal(pgl_invalidate_range(here->table, 0x5000, 0x5003, NULL), PGL_HIT);
        assert_int_equal(pgl_invalidate_tb(here->table, &block.tb, NULL), 0);
        memset(&block, 0xa5, sizeof(block));
    }
    for (unsigned i = 0; i < 2; i++) { /* on no page */
        memset(&block, 0, sizeof(block));
        pgl_tb_init(&block.tb);
        pgl_tb_link_unlisted(emu.table, &block.tb);
        assert_int_equal(pgl_invalidate_tb(emu.table, &block.tb, NULL), PGL_HIT);
    }
    link_block(&emu, &block, 0x5000, 0x5003, 1, 0); /* an equal one, which was not linked */
    block.key = twin.key = 7;
    for (unsigned i = 0; i < 2; i++) {
        ready(&twin, 0x5000, 0x5003, 1, 0);
        assert_int_equal(emu_translate(&emu, &twin, &equal), PGL_BRACKET_EXISTS);
        assert_ptr_equal(equal, &block.tb);
    }
    zero(&twin.tb);
    link_block(&other, &twin, 0x5000, 0x5003, 1, 0);
    /* The running block may be of another table, for only its state is asked. */
    assert_int_equal(pgl_store_check(emu.table, 0x5000, 1, &twin.tb), PGL_HIT);
    assert_int_equal(pgl_store_check(other.table, 0x5000, 1, &twin.tb), PGL_HIT | PGL_RUNNING_DEAD);
    assert_int_equal(n_seen, 0);
    emu_fini(&other);
    emu_fini(&emu);
}

static void test_witness_forgets_the_blocks_of_a_table_that_is_freed(void **state)
{
    struct emu_block blocks[40];
    struct emu emu, other;

    (void)state;
    emu_init(&other);
    for (unsigned round = 0; round < 3; round++) {
        emu_init(&emu);
        for (unsigned i = 0; i < 40; i++)
            link_block(i % 4 ? &emu : &other, &blocks[i], 0x5000 + 8 * i, 0x5003 + 8 * i, 1, 0);
        emu_fini(&emu);
        link_block(&other, &blocks[1], 0x5000, 0x5003, 1, 0);
        for (unsigned i = 0; i < 40; i += 4) {
            assert_int_equal(pgl_invalidate_tb(other.table, &blocks[i].tb, NULL), PGL_HIT);
            assert_int_equal(blocks[i].retired, 1);
        }
        assert_int_equal(pgl_invalidate_tb(other.table, &blocks[1].tb, NULL), PGL_HIT);
    }
    assert_int_equal(n_seen, 0);
    emu_fini(&other);
}

/* Whether the witness takes a block for linked: its pages, locked by way of another table, are a breach then. */
static bool is_known(struct pgl_table *other, const struct emu_block *block)
{
    unsigned n;

    pgl_tb_unlock_pages(other, &block->tb);
    n = n_seen;
    n_seen = 0;
    return n && seen[0].kind == PGL_BREACH_TB_TABLE;
}

static void test_witness_knows_each_of_many_blocks(void **state)
{
    enum { N = 1100 };
    struct emu_random random = {emu_seed("test_witness_knows_each_of_many_blocks")};
    struct emu_block *blocks = aligned_alloc(16, N * sizeof(*blocks));
    struct emu emu, other;

    (void)state;
    emu_init(&emu);
    emu_init(&other);
    memset(blocks, 0, N * sizeof(*blocks));
    for (unsigned i = 0; i < N; i++) /* as many as fit, and one more, for each size that the witness grows to */
        link_block(&emu, &blocks[i], i % 50 << 12, (i % 50 << 12) + 3, 1, 0);
    for (unsigned step = 0; step < 4 * N; step++) {
        struct emu_block *block = &blocks[emu_below(&random, N)];

        if (!emu_is_live(block))
            link_block(&emu, block, 0x5000, 0x5003, 1, 0);
        else
            assert_int_equal(pgl_invalidate_tb(emu.table, &block->tb, NULL), PGL_HIT);
        if (step % N == 0 || step == 4 * N - 1)
            for (unsigned i = 0; i < N; i++)
                if (emu_is_live(&blocks[i]))
                    assert_true(is_known(other.table, &blocks[i]));
    }
    pgl_flush(emu.table, NULL);
    for (unsigned i = 0; i < N; i++) {
        ready(&blocks[i], 1, 0, 1, 0); /* as a dead block it would lock its page */
        assert_false(is_known(other.table, &blocks[i]));
    }
    assert_int_equal(n_seen, 0);
    emu_fini(&other);
    emu_fini(&emu);
    free(blocks);
}

/* ---- callbacks ---- */

/* A call that no callback may make, on pages 5 and 9, of which 5 has the block that the callback is about. */
struct misuse {
    struct emu *emu;
    struct pgl_bracket *bracket; /* under way, or NULL */
    struct emu_block *block;
};

static void misuse_lock(struct misuse *m)
{
    pgl_page_lock(m->emu->table, pgl_page_find(m->emu->table, 9));
}

static void misuse_trylock(struct misuse *m)
{
    assert_false(pgl_page_trylock(m->emu->table, pgl_page_find(m->emu->table, 9)));
}

static void misuse_unlock(struct misuse *m)
{
    pgl_page_unlock(m->emu->table, pgl_page_find(m->emu->table, 5));
}

static void misuse_lock_pair(struct misuse *m)
{
    assert_false(pgl_page_lock_pair(m->emu->table, 9, 10));
    assert_int_equal(errno, EINVAL);
}

static void misuse_unlock_pair(struct misuse *m)
{
    pgl_page_unlock_pair(m->emu->table, 5, 5);
}

static void misuse_collection(struct misuse *m)
{
    struct pgl_collection collection;

    assert_false(pgl_collection_lock(&collection, m->emu->table, 0x9000, 0x9fff));
    assert_int_equal(errno, EINVAL);
    pgl_collection_unlock(&collection);
}

static void misuse_begin(struct misuse *m)
{
    struct pgl_bracket bracket;

    assert_false(pgl_bracket_begin(&bracket, m->emu->table, 9));
    assert_int_equal(errno, EINVAL);
}

static void misuse_cross(struct misuse *m)
{
    assert_int_equal(pgl_bracket_cross(m->bracket, 9), PGL_BRACKET_ERROR);
    assert_int_equal(errno, EINVAL);
}

static void misuse_bracket_store(struct misuse *m)
{
    assert_int_equal(pgl_bracket_store(m->bracket, 0x9000, 1), PGL_BRACKET_ERROR);
}

static void misuse_commit(struct misuse *m)
{
    assert_int_equal(pgl_bracket_commit(m->bracket, &m->block->tb, NULL), PGL_BRACKET_ERROR);
}

static void misuse_abort(struct misuse *m)
{
    pgl_bracket_abort(m->bracket);
}

static void misuse_foreach(struct misuse *m)
{
    assert_false(pgl_page_foreach_tb(m->emu->table, pgl_page_find(m->emu->table, 5), never, NULL));
}

static void misuse_lock_pages(struct misuse *m)
{
    struct pgl_tb tb = {.first = {0x9000, 1}, .last = {0x9003, 0}, .state = PGL_TB_DEAD};

    pgl_tb_lock_pages(m->emu->table, &tb);
}

static void misuse_invalidate_tb(struct misuse *m)
{
    assert_int_equal(pgl_invalidate_tb(m->emu->table, &m->block->tb, NULL), 0);
}

static void misuse_invalidate_range(struct misuse *m)
{
    assert_int_equal(pgl_invalidate_range(m->emu->table, 0x9000, 0x9003, NULL), PGL_ERROR);
    assert_int_equal(errno, EINVAL);
}

static void misuse_flush(struct misuse *m)
{
    assert_int_equal(pgl_flush(m->emu->table, NULL), PGL_ERROR);
}

static void misuse_clean_check(struct misuse *m)
{
    assert_true(pgl_store_is_clean(m->emu->table, 0x9000, 8)); /* which may be asked anywhere */
    assert_int_equal(n_seen, 0);
    assert_int_equal(pgl_store_check(m->emu->table, 0x9000, 8, NULL), PGL_ERROR);
    assert_int_equal(errno, EINVAL);
}

static void misuse_check(struct misuse *m)
{
    assert_int_equal(pgl_store_check(m->emu->table, 0x5000, 1, NULL), PGL_ERROR);
}

static void misuse_store(struct misuse *m)
{
    struct pgl_store bracket;

    assert_int_equal(pgl_store_begin(&bracket, m->emu->table, 0x9000, 8, NULL), PGL_ERROR);
    assert_int_equal(errno, EINVAL);
}

static void (*const misuses[])(struct misuse *m) = {
    misuse_lock,  misuse_trylock, misuse_unlock,     misuse_lock_pair,   misuse_unlock_pair,   misuse_collection,
    misuse_begin, misuse_foreach, misuse_lock_pages, misuse_clean_check, misuse_invalidate_tb, misuse_invalidate_range,
    misuse_flush, misuse_check,   misuse_store,      misuse_cross,       misuse_bracket_store, misuse_commit,
    misuse_abort,
};

enum {
    N_MISUSES = sizeof(misuses) / sizeof(*misuses),
    N_MISUSES_OF_A_BRACKET = 4, /* the last ones */
};

/* The callback that is to come, and what it does there. */
static struct {
    struct misuse misuse;
    const char *name;
    unsigned line;      /* of the call that runs it */
    unsigned held_line; /* of the call that locked page 5, 0: no page is held */
    unsigned n;
} inside;

static void misuse_all(const char *name)
{
    struct emu *emu = inside.misuse.emu;
    struct pgl_table_stats stats;
    struct pgl_tb tb;

    if (strcmp(name, inside.name) != 0)
        return;
    inside.n++;
    for (unsigned i = 0; i < N_MISUSES - (inside.misuse.bracket ? 0 : N_MISUSES_OF_A_BRACKET); i++) {
        if (!inside.held_line && (misuses[i] == misuse_unlock || misuses[i] == misuse_unlock_pair))
            continue;
        misuses[i](&inside.misuse);
        assert_breach(PGL_BREACH_CALLBACK, UINT64_MAX, inside.held_line ? 5 : UINT64_MAX, inside.held_line);
        assert_string_equal(seen[0].callback, name);
        assert_place(seen[0].callback_place, inside.line);
        assert_null(seen[0].linked_place);
    }
    /* What it may do. */
    assert_non_null(pgl_page_find(emu->table, 9));
    pgl_table_get_stats(emu->table, &stats);
    pgl_tb_init(&tb);
    pgl_tb_is_live(&tb);
    if (inside.held_line)
        pgl_page_assert_held(emu->table, pgl_page_find(emu->table, 5));
    assert_int_equal(n_seen, 0);
}

static void at_first_code(struct emu *emu, uint64_t index)
{
    (void)emu, (void)index;
    misuse_all("first_code");
}

static void at_no_code(struct emu *emu, uint64_t index)
{
    (void)emu, (void)index;
    misuse_all("no_code");
}

static void at_publish(struct emu *emu, struct pgl_tb *tb)
{
    (void)emu, (void)tb;
    misuse_all("publish");
}

static void at_retired(struct emu *emu, struct pgl_tb *chain)
{
    (void)emu, (void)chain;
    misuse_all("retired");
}

static void expect_callback(const char *name, unsigned line, unsigned held_line)
{
    assert_int_equal(inside.n, 0);
    inside.name = name;
    inside.line = line;
    inside.held_line = held_line;
}

static void assert_called_back(void)
{
    assert_int_equal(inside.n, 1);
    inside.n = 0;
    inside.name = "";
}

static void test_witness_reports_calls_that_no_callback_may_make(void **state)
{
    struct pgl_bracket bracket;
    struct emu_block block = {0}, unlisted = {0};
    unsigned held_line;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    pgl_page_get(emu.table, 9);
    emu.at_first_code = at_first_code;
    emu.at_no_code = at_no_code;
    emu.at_publish = at_publish;
    emu.at_retired = at_retired;
    memset(&inside, 0, sizeof(inside));
    inside.misuse = (struct misuse){.emu = &emu, .block = &block};
    ready(&block, 0x5000, 0x5003, 1, 0);

    held_line = __LINE__ + 2;
    expect_callback("first_code", held_line, held_line);
    assert_true(pgl_bracket_begin(&bracket, emu.table, 5));
    assert_called_back();
    inside.misuse.bracket = &bracket;
    expect_callback("no_code", __LINE__ + 1, held_line);
    pgl_bracket_abort(&bracket);
    assert_called_back();

    held_line = __LINE__ + 1;
    assert_true(pgl_bracket_begin(&bracket, emu.table, 5));
    expect_callback("publish", __LINE__ + 1, held_line);
    assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_OK);
    assert_called_back();

    inside.misuse.bracket = NULL;
    expect_callback("retired", __LINE__ + 1, __LINE__ + 1);
    assert_int_equal(pgl_store_check(emu.table, 0x5000, 1, NULL), PGL_HIT);
    assert_called_back();

    pgl_tb_init(&unlisted.tb);
    pgl_tb_link_unlisted(emu.table, &unlisted.tb);
    inside.misuse.block = &unlisted; /* to invalidate it there would hang */
    expect_callback("retired", __LINE__ + 1, 0);
    assert_int_equal(pgl_invalidate_tb(emu.table, &unlisted.tb, NULL), PGL_HIT);
    assert_called_back();

    assert_int_equal(block.retired + unlisted.retired, 2);
    assert_int_equal(n_seen, 0);
    emu_fini(&emu);
}

/* ---- checks and store brackets where pages are held ---- */

/* A check that no filter stops, too. */
static void assert_nested(struct emu *emu, unsigned held_line)
{
    assert_int_equal(pgl_store_check(emu->table, 0x9000, 8, NULL), 0); /* a page that does not exist */
    assert_breach(PGL_BREACH_NESTED, UINT64_MAX, 5, held_line);
    assert_int_equal(pgl_store_check(emu->table, 0x6000, 8, NULL), 0);
    assert_breach(PGL_BREACH_NESTED, UINT64_MAX, 5, held_line);
}

static void test_witness_reports_a_clean_check_while_pages_are_held(void **state)
{
    struct pgl_collection collection;
    struct pgl_bracket bracket;
    struct pgl_store stored;
    struct emu_block block;
    struct emu emu;
    unsigned line;

    (void)state;
    emu_init(&emu);
    pgl_page_get(emu.table, 6);
    link_block(&emu, &block, 0x5000, 0x5003, 1, 0);
    pgl_bracket_begin(&bracket, emu.table, 5), line = __LINE__;
    assert_nested(&emu, line);
    pgl_bracket_abort(&bracket);
    pgl_store_begin(&stored, emu.table, 0x5800, 1, NULL), line = __LINE__;
    assert_nested(&emu, line);
    pgl_store_end(&stored);
    assert_true(pgl_collection_lock(&collection, emu.table, 0x5000, 0x5fff));
    assert_nested(&emu, __LINE__ - 1);
    pgl_collection_unlock(&collection);
    pgl_page_lock(emu.table, pgl_page_find(emu.table, 5)), line = __LINE__;
    assert_nested(&emu, line);
    pgl_page_unlock(emu.table, pgl_page_find(emu.table, 5));
    assert_int_equal(pgl_store_check(emu.table, 0x9000, 8, NULL), 0);
    assert_int_equal(pgl_store_check(emu.table, 0x6000, 8, &block.tb), 0);
    assert_int_equal(pgl_store_check(emu.table, 0x5000, 8, &block.tb), PGL_HIT | PGL_RUNNING_DEAD);
    assert_int_equal(pgl_store_check(emu.table, 0x6000, 8, &block.tb), PGL_RUNNING_DEAD);
    assert_int_equal(n_seen, 0);
    emu_fini(&emu);
}

/* An atomic exchange of two places, with a bracket around each: another thread in the other order would hang. */
static void test_witness_reports_two_store_brackets_at_once(void **state)
{
    static const struct {
        uint64_t addr[2];
        unsigned len;
    } cases[] = {
        {{0x5000, 0x9000}, 8}, /* unrelated, higher */
        {{0x9000, 0x5000}, 8}, /* unrelated, lower */
        {{0x5000, 0x5800}, 8}, /* the same page */
        {{0x5000, 0x5000}, 8}, {{0x5ffc, 0x5ffc}, 8}, {{0x5ffc, 0x6ffc}, 8}, {{0x6ffc, 0x5ffc}, 8},
    };
    struct emu emu;

    (void)state;
    emu_init(&emu);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct pgl_store stores[2];
        unsigned line;

        pgl_store_begin(&stores[0], emu.table, cases[i].addr[0], cases[i].len, NULL), line = __LINE__;
        assert_int_equal(n_seen, 0);
        pgl_store_begin(&stores[1], emu.table, cases[i].addr[1], cases[i].len, NULL);
        assert_true(n_seen > 0); /* what is left out is reported after that */
        assert_int_equal(seen[0].kind, PGL_BREACH_NESTED);
        assert_place(seen[0].place, line + 2);
        assert_true(seen[0].held_index == cases[i].addr[0] >> 12);
        assert_place(seen[0].held_place, line);
        pgl_store_end(&stores[1]);
        pgl_store_end(&stores[0]);
        n_seen = 0;
        pgl_assert_none_held();
        assert_int_equal(n_seen, 0);
        emu_assert_sound(&emu); /* nothing is left locked */
    }
    emu_fini(&emu);
}

/* ---- tables that are freed ---- */

static void test_witness_reports_a_table_freed_with_pages_held(void **state)
{
    struct emu emu, other;
    unsigned line;

    (void)state;
    emu_init(&emu);
    emu_init(&other);
    pgl_page_lock(emu.table, pgl_page_get(emu.table, 0x70005)), line = __LINE__;
    pgl_table_free(other.table); /* nothing of it is held */
    assert_int_equal(n_seen, 0);
    pgl_table_free(emu.table);
    assert_int_equal(n_seen, 1);
    assert_int_equal(seen[0].kind, PGL_BREACH_FREE);
    assert_string_equal(seen[0].place, "pgl_table_free()");
    assert_true(seen[0].index == 0x70005 && seen[0].held_index == 0x70005);
    assert_place(seen[0].held_place, line);
    n_seen = 0;
    pgl_assert_none_held(); /* the page is gone */
    assert_int_equal(n_seen, 0);
}

/* ---- fork ---- */

static unsigned stop;

static void ask(struct emu *emu, void *block)
{
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
        pgl_tb_lock_pages(emu->table, block); /* it is on none */
}

static void test_witness_is_as_it_was_in_a_child(void **state)
{
    struct emu_block block = {0}, mine = {0};
    struct emu_call calls[2];
    struct emu emu;

    (void)state;
    stop = 0;
    emu_init(&emu);
    pgl_tb_init(&block.tb);
    pgl_tb_link_unlisted(emu.table, &block.tb);
    for (unsigned i = 0; i < 2; i++)
        emu_call(&calls[i], &emu, ask, &block.tb);
    for (unsigned i = 0; i < 300; i++) {
        pid_t child = fork();
        int status;

        assert_true(child >= 0);
        if (!child) {
            alarm(20); /* a lock that nobody unlocks */
            pgl_tb_link_unlisted(emu.table, &block.tb);
            if (n_seen != 1 || seen[0].kind != PGL_BREACH_TB_STATE || !seen[0].linked_place)
                _exit(1);
            pgl_tb_init(&mine.tb);
            pgl_tb_link_unlisted(emu.table, &mine.tb);
            _exit(pgl_invalidate_tb(emu.table, &mine.tb, NULL) != PGL_HIT || n_seen != 1);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < 2; i++)
        emu_join(&calls[i]);
    assert_int_equal(pgl_invalidate_tb(emu.table, &block.tb, NULL), PGL_HIT);
    assert_int_equal(n_seen, 0);
    emu_fini(&emu);
}

/* ---- what the default hook prints ---- */

/*
 * Each of these breaks the contract as its last call, and prints before that what the report will be, with the lines of
 * its calls, counted from the one that says so.
 */
#define EXPECT(format, ...) fprintf(stderr, "libpagelock: the call at " format "\n", __VA_ARGS__)

static void wait_for_a_lower_page(struct emu *emu)
{
    unsigned line = __LINE__;

    EXPECT("%s:%u blocks on a page lower than one it holds (page 0x10); page 0x20 was locked at %s:%u", __FILE__,
           line + 5, __FILE__, line + 4);
    pgl_page_lock(emu->table, pgl_page_get(emu->table, 0x20));
    pgl_page_lock(emu->table, pgl_page_get(emu->table, 0x10));
}

static void begin_two_stores(struct emu *emu)
{
    struct pgl_store stores[2];
    unsigned line = __LINE__;

    EXPECT("%s:%u begins a pair, collection, bracket, store check or invalidation while it holds a page; page 0x5 was "
           "locked at %s:%u",
           __FILE__, line + 6, __FILE__, line + 5);
    pgl_store_begin(&stores[0], emu->table, 0x5000, 8, NULL);
    pgl_store_begin(&stores[1], emu->table, 0x9000, 8, NULL);
}

static void link_twice(struct emu *emu)
{
    struct emu_block block;

    link_block(emu, &block, 0x5000, 0x5003, 1, 0);
    EXPECT("%s:%u links a block that is linked already, not new, or not aligned to 16 bytes, invalidates one that was "
           "never linked, or calls a dead one an equal (page 0x5); the block was linked at %s:%u",
           __FILE__, link_line, __FILE__, link_line);
    pgl_tb_init(&block.tb);
    pgl_tb_set_bytes(&block.tb, 0, 0x5000, 0x5003);
    try_link(emu->table, &block.tb);
}

static void invalidate_in_another_table(struct emu *emu)
{
    struct emu_block block;
    struct emu other;
    unsigned line;

    emu_init(&other);
    link_block(&other, &block, 0x5000, 0x5003, 1, 0);
    line = __LINE__ + 2;
    EXPECT("%s:%u uses a block of another table; the block was linked at %s:%u", __FILE__, line, __FILE__, link_line);
    pgl_invalidate_tb(emu->table, &block.tb, NULL);
}

static void reuse_memory(struct emu *emu)
{
    struct emu_block block;
    unsigned line;

    link_block(emu, &block, 0x5000, 0x5003, 1, 0);
    memset(&block, 0, sizeof(block));
    line = __LINE__ + 4;
    EXPECT("%s:%u meets a linked block whose bytes, state or links were changed, or whose memory was reused (page "
           "0x5); the block was linked at %s:%u",
           __FILE__, line, __FILE__, link_line);
    pgl_store_check(emu->table, 0x5000, 1, NULL);
}

static unsigned check_line;

static void check_in_retired(struct emu *emu, struct pgl_tb *chain)
{
    unsigned line = __LINE__ + 6;

    (void)chain;
    EXPECT("%s:%u stands in a callback, which may not make it; page 0x5 was locked at %s:%u; the callback `retired` "
           "was called by the call at %s:%u",
           __FILE__, line, __FILE__, check_line, __FILE__, check_line);
    pgl_store_check(emu->table, 0x9000, 1, NULL);
}

static void call_in_a_callback(struct emu *emu)
{
    struct emu_block block;

    link_block(emu, &block, 0x5000, 0x5003, 1, 0);
    emu->at_retired = check_in_retired;
    check_line = __LINE__ + 1;
    pgl_store_check(emu->table, 0x5000, 1, NULL);
}

static void free_while_held(struct emu *emu)
{
    unsigned line = __LINE__ + 4;

    EXPECT("pgl_table_free() frees a table of which a page is held (page 0x5); page 0x5 was locked at %s:%u", __FILE__,
           line);
    pgl_page_lock(emu->table, pgl_page_get(emu->table, 5));
    pgl_table_free(emu->table);
}

/* The page of another thread, which the child does not have. */
static void free_while_another_holds(struct emu *emu)
{
    struct emu_holder holder;

    emu_hold(&holder, emu, 0x70005);
    EXPECT("%s", "pgl_table_free() frees a table of which a page is held (page 0x70005)");
    pgl_table_free(emu->table);
}

/* A child that breaks the contract under the default hook prints what it expects, and dies by SIGABRT. */
static void test_witness_default_prints_all_places_and_aborts(void **state)
{
    static void (*const breach[])(struct emu * emu) = {
        wait_for_a_lower_page, begin_two_stores,   link_twice,      invalidate_in_another_table,
        reuse_memory,          call_in_a_callback, free_while_held, free_while_another_holds,
    };

    (void)state;
    for (size_t i = 0; i < sizeof(breach) / sizeof(*breach); i++) {
        char text[2000] = "", *second;
        size_t len = 0;
        int fds[2], status;
        struct emu emu;
        pid_t child;
        ssize_t n;

        emu_init(&emu);
        assert_int_equal(pipe(fds), 0);
        child = fork();
        assert_true(child >= 0);
        if (!child) {
            dup2(fds[1], STDERR_FILENO);
            pgl_witness_set_hook(NULL, NULL);
            breach[i](&emu);
            _exit(0);
        }
        close(fds[1]);
        while ((n = read(fds[0], text + len, sizeof(text) - 1 - len)) > 0)
            len += (size_t)n;
        close(fds[0]);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGABRT);
        second = strchr(text, '\n');
        assert_non_null(second);
        *second++ = '\0';
        assert_true(text[0]);
        assert_non_null(strchr(second, '\n'));
        *strchr(second, '\n') = '\0';
        assert_string_equal(second, text);
        emu_fini(&emu);
    }
    assert_int_equal(n_seen, 0);
}

#define UNIT(test) cmocka_unit_test_setup(test, set_hook)

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(test_witness_reports_a_lower_page_waited_for),
        UNIT(test_witness_allows_a_lower_page_tried),
        UNIT(test_witness_reports_recursion),
        UNIT(test_witness_reports_a_page_not_held),
        UNIT(test_witness_allows_what_is_held),
        UNIT(test_witness_reports_nesting),
        UNIT(test_witness_reports_a_second_bracket_and_a_flush_inside_one),
        UNIT(test_witness_reports_a_check_point_passed_with_pages),
        UNIT(test_witness_reports_pages_of_two_tables),
        UNIT(test_witness_reports_a_block_that_is_not_new),
        UNIT(test_witness_reports_a_dead_block_called_an_equal),
        UNIT(test_witness_reports_steps_of_a_bracket_that_has_ended),
        UNIT(test_witness_reports_a_pair_unlocked_that_was_never_made),
        UNIT(test_witness_knows_each_of_many_pages),
        UNIT(test_witness_reports_a_block_on_a_page_not_held),
        UNIT(test_witness_reports_an_unlisted_block_that_is_not_new_or_has_bytes),
        UNIT(test_witness_reports_the_big_lock_missing),
        UNIT(test_witness_reports_a_page_below_the_highest_of_three),
        UNIT(test_witness_tells_equal_indices_of_two_tables_apart),
        UNIT(test_witness_reports_a_live_block_linked_again),
        UNIT(test_witness_reports_an_unlisted_block_that_is_linked_again),
        UNIT(test_witness_reports_a_block_of_another_table),
        UNIT(test_witness_reports_an_equal_of_another_table_or_of_none),
        UNIT(test_witness_reports_a_copy_of_a_block_that_is_invalidated),
        UNIT(test_witness_reports_and_undoes_each_change_of_a_linked_block),
        UNIT(test_witness_reports_each_of_two_blocks_that_were_changed),
        UNIT(test_witness_allows_a_blocks_memory_to_be_used_again),
        UNIT(test_witness_forgets_the_blocks_of_a_table_that_is_freed),
        UNIT(test_witness_knows_each_of_many_blocks),
        UNIT(test_witness_reports_calls_that_no_callback_may_make),
        UNIT(test_witness_reports_a_clean_check_while_pages_are_held),
        UNIT(test_witness_reports_two_store_brackets_at_once),
        UNIT(test_witness_reports_a_table_freed_with_pages_held),
        UNIT(test_witness_is_as_it_was_in_a_child),
        UNIT(test_witness_default_prints_all_places_and_aborts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
