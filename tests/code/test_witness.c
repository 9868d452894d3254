/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The witness reports each misuse of page locks and of calls, with both places. */
#include "witness.h"

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

static void test_witness_reports_steps_of_a_bracket_that_has_ended(void **state)
{
    struct emu_block block = {0};
    struct pgl_bracket bracket;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    for (unsigned end = 0; end < 2; end++) {
        assert_true(pgl_bracket_begin(&bracket, emu.table, 5));
        if (end) {
            pgl_bracket_abort(&bracket);
        } else {
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

/* Many pages, unlocked from either end and in the middle, and others locked meanwhile: each is known to be held. */
static void test_witness_knows_each_of_many_pages(void **state)
{
    struct pgl_page *pages[300];
    struct emu emu;

    (void)state;
    emu_init(&emu);
    for (uint64_t i = 0; i < 300; i++) {
        pages[i] = pgl_page_get(emu.table, i);
    }
    for (unsigned i = 0; i < 300; i++) {
        pgl_page_lock(emu.table, pages[i]);
        if (i >= 40 && i % 3) {
            pgl_page_unlock(emu.table, pages[i - 40]);
        }
    }
    for (unsigned i = 0; i < 300; i++) {
        bool held = i >= 260 || (i + 40) % 3 == 0;

        pgl_page_assert_held(emu.table, pages[i]);
        assert_int_equal(n_seen, !held);
        n_seen = 0;
        if (held) {
            pgl_page_unlock(emu.table, pages[i]);
        }
    }
    pgl_assert_none_held();
    assert_int_equal(n_seen, 0);
    emu_fini(&emu);
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

/* One bracket over both places is what it takes, in whichever order they are named; not with a page held. */
static void test_witness_allows_one_store_bracket_over_two_places(void **state)
{
    struct pgl_store store;
    struct emu emu;
    unsigned line;

    (void)state;
    emu_init(&emu);
    assert_int_equal(pgl_store_begin_pair(&store, emu.table, 0x9000, 8, 0x5ffc, 8, NULL), 0);
    pgl_store_end(&store);
    pgl_assert_none_held();
    assert_int_equal(n_seen, 0);
    pgl_page_lock(emu.table, pgl_page_find(emu.table, 5)), line = __LINE__;
    pgl_store_begin_pair(&store, emu.table, 0x9000, 8, 0x7000, 8, NULL);
    assert_true(n_seen > 0);
    assert_int_equal(seen[0].kind, PGL_BREACH_NESTED);
    assert_place(seen[0].held_place, line);
    pgl_store_end(&store);
    pgl_page_unlock(emu.table, pgl_page_find(emu.table, 5));
    n_seen = 0;
    pgl_assert_none_held();
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

/* Run a thread to its end. */
static void run(void *(*start)(void *arg), struct emu *emu)
{
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, start, emu), 0);
    pthread_join(thread, NULL);
}

static unsigned lock_line, last_line;

static void *end_with_a_page(void *arg)
{
    struct emu *emu = arg;

    pgl_page_lock(emu->table, pgl_page_get(emu->table, 5)), lock_line = __LINE__;
    pgl_page_lock(emu->table, pgl_page_get(emu->table, 6));
    pgl_page_unlock(emu->table, pgl_page_get(emu->table, 6)), last_line = __LINE__;
    return NULL;
}

static void *end_with_a_collection(void *arg)
{
    struct pgl_collection collection;
    struct emu *emu = arg;

    pgl_page_get(emu->table, 5);
    pgl_collection_lock(&collection, emu->table, 0x5000, 0x9fff), lock_line = last_line = __LINE__;
    return NULL;
}

static void assert_thread_breach(struct emu *emu)
{
    assert_int_equal(n_seen, 1);
    assert_int_equal(seen[0].kind, PGL_BREACH_THREAD);
    assert_true(seen[0].index == 5 && seen[0].held_index == 5);
    assert_place(seen[0].place, last_line);
    assert_place(seen[0].held_place, lock_line);
    pgl_table_free(emu->table); /* of which no thread can unlock the page any more */
    assert_int_equal(n_seen, 2);
    assert_int_equal(seen[1].kind, PGL_BREACH_FREE);
    n_seen = 0;
}

static void test_witness_reports_a_thread_that_ended_with_a_page(void **state)
{
    struct emu emu;

    (void)state;
    emu_init(&emu);
    run(end_with_a_page, &emu);
    assert_thread_breach(&emu);
}

static void test_witness_reports_a_thread_that_ended_with_a_collection(void **state)
{
    struct emu emu;

    (void)state;
    emu_init(&emu);
    run(end_with_a_collection, &emu);
    assert_thread_breach(&emu);
}

/* Its first page, several at a time in any order, and again. */
static void *end_with_nothing(void *arg)
{
    struct pgl_collection collection;
    struct emu *emu = arg;

    for (unsigned round = 0; round < 2; round++) {
        pgl_page_lock(emu->table, pgl_page_get(emu->table, 5));
        pgl_page_lock(emu->table, pgl_page_get(emu->table, 6));
        pgl_page_unlock(emu->table, pgl_page_get(emu->table, 5));
        pgl_page_unlock(emu->table, pgl_page_get(emu->table, 6));
        pgl_collection_lock(&collection, emu->table, 0x5000, 0x9fff);
        pgl_collection_unlock(&collection);
    }
    return NULL;
}

static void test_witness_lets_a_thread_end_that_holds_nothing(void **state)
{
    struct emu emu;

    (void)state;
    emu_init(&emu);
    run(end_with_nothing, &emu);
    assert_int_equal(n_seen, 0);
    emu_fini(&emu);
}

static pthread_key_t unlocking_key;

static void unlock_at_the_end(void *arg)
{
    struct emu *emu = arg;

    pgl_page_unlock(emu->table, pgl_page_get(emu->table, 5));
}

static void *leave_a_page_to_its_destructor(void *arg)
{
    struct emu *emu = arg;

    pthread_setspecific(unlocking_key, emu);
    pgl_page_lock(emu->table, pgl_page_get(emu->table, 5));
    return NULL;
}

/* The witness has its key already. Therefore the destructor of this one comes later. */
static void test_witness_lets_the_destructors_of_a_thread_unlock_its_pages(void **state)
{
    struct emu emu;

    (void)state;
    emu_init(&emu);
    run(end_with_nothing, &emu);
    assert_int_equal(pthread_key_create(&unlocking_key, unlock_at_the_end), 0);
    run(leave_a_page_to_its_destructor, &emu);
    assert_int_equal(n_seen, 0);
    pthread_key_delete(unlocking_key);
    emu_fini(&emu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_witness_reports_a_lower_page_waited_for, set_hook),
        cmocka_unit_test_setup(test_witness_allows_a_lower_page_tried, set_hook),
        cmocka_unit_test_setup(test_witness_reports_recursion, set_hook),
        cmocka_unit_test_setup(test_witness_reports_a_page_not_held, set_hook),
        cmocka_unit_test_setup(test_witness_allows_what_is_held, set_hook),
        cmocka_unit_test_setup(test_witness_reports_nesting, set_hook),
        cmocka_unit_test_setup(test_witness_reports_a_second_bracket_and_a_flush_inside_one, set_hook),
        cmocka_unit_test_setup(test_witness_reports_a_check_point_passed_with_pages, set_hook),
        cmocka_unit_test_setup(test_witness_reports_pages_of_two_tables, set_hook),
        cmocka_unit_test_setup(test_witness_reports_steps_of_a_bracket_that_has_ended, set_hook),
        cmocka_unit_test_setup(test_witness_reports_a_pair_unlocked_that_was_never_made, set_hook),
        cmocka_unit_test_setup(test_witness_knows_each_of_many_pages, set_hook),
        cmocka_unit_test_setup(test_witness_reports_the_big_lock_missing, set_hook),
        cmocka_unit_test_setup(test_witness_reports_a_page_below_the_highest_of_three, set_hook),
        cmocka_unit_test_setup(test_witness_tells_equal_indices_of_two_tables_apart, set_hook),
        cmocka_unit_test_setup(test_witness_reports_a_clean_check_while_pages_are_held, set_hook),
        cmocka_unit_test_setup(test_witness_allows_one_store_bracket_over_two_places, set_hook),
        cmocka_unit_test_setup(test_witness_reports_two_store_brackets_at_once, set_hook),
        cmocka_unit_test_setup(test_witness_reports_a_table_freed_with_pages_held, set_hook),
        cmocka_unit_test_setup(test_witness_reports_a_thread_that_ended_with_a_page, set_hook),
        cmocka_unit_test_setup(test_witness_reports_a_thread_that_ended_with_a_collection, set_hook),
        cmocka_unit_test_setup(test_witness_lets_a_thread_end_that_holds_nothing, set_hook),
        cmocka_unit_test_setup(test_witness_lets_the_destructors_of_a_thread_unlock_its_pages, set_hook),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
