/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every breach of contract is reported, with both places. Built for a lock_debug library only. */
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
    big_lock_held = true;
    emu_fini(&emu);
}

static void wait_for_a_lower_page(struct emu *emu, unsigned *line)
{
    *line = __LINE__ + 1;
    pgl_page_lock(emu->table, pgl_page_get(emu->table, 0x20));
    pgl_page_lock(emu->table, pgl_page_get(emu->table, 0x10));
}

/* What a child that breaks the contract under the default hook writes before it dies by SIGABRT. */
static void test_witness_default_prints_both_places_and_aborts(void **state)
{
    char want[300], text[1000] = "";
    size_t len = 0;
    int fds[2], status;
    struct emu emu;
    unsigned line;
    pid_t child;
    ssize_t n;

    (void)state;
    emu_init(&emu);
    assert_int_equal(pipe(fds), 0);
    child = fork();
    assert_true(child >= 0);
    if (!child) {
        dup2(fds[1], STDERR_FILENO);
        pgl_witness_set_hook(NULL, NULL);
        wait_for_a_lower_page(&emu, &line);
        _exit(0);
    }
    wait_for_a_lower_page(&emu, &line); /* here the hook is told */
    assert_breach(PGL_BREACH_ORDER, 0x10, 0x20, line);
    pgl_page_unlock_pair(emu.table, 0x10, 0x20);
    emu_fini(&emu);
    close(fds[1]);
    while ((n = read(fds[0], text + len, sizeof(text) - 1 - len)) > 0)
        len += (size_t)n;
    close(fds[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    snprintf(want, sizeof(want),
             "%s:%u blocks on a page lower than one it holds (page 0x10); page 0x20 was locked at %s:%u", __FILE__,
             line + 1, __FILE__, line);
    assert_non_null(strstr(text, want));
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
        UNIT(test_witness_default_prints_both_places_and_aborts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
