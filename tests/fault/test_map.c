/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "sim.h"

#include "../cm.h"

struct fixture {
    struct sim sim;
    struct sim_injector injector;
    struct pgl_object *object; /* 100 pages */
    struct pgl_map *map;       /* 1000..1099 show all of it */
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct pgl_object_config config = sim_config(&f->sim, 100);

    f->sim.injector = &f->injector;
    f->object = pgl_object_new(&config);
    f->map = pgl_map_new(&sim_heap_ops, &f->sim);
    pgl_map_enter(f->map, 1000, 1099, f->object, 0, PGL_ADVICE_DEFAULT);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    uint64_t leaked;

    pgl_map_free(f->map);
    pgl_object_unref(f->object);
    leaked = f->sim.blocks_used;
    free(f);
    return leaked != 0;
}

static unsigned count_entries(struct pgl_map *map)
{
    struct pgl_map_entry entry;
    unsigned n = 0;

    for (uint64_t at = 0; pgl_map_lookup(map, at, &entry); at = entry.view.last + 1) {
        n++;
        if (entry.view.last == UINT64_MAX) {
            break;
        }
    }
    return n;
}

static void assert_entry(struct pgl_map *map, uint64_t first, uint64_t last, uint64_t object_first,
                         enum pgl_advice advice)
{
    struct pgl_map_entry entry;

    assert_true(pgl_map_lookup(map, first, &entry));
    assert_int_equal(entry.view.first, first);
    assert_int_equal(entry.view.last, last);
    assert_int_equal(entry.view.object_first, object_first);
    assert_int_equal(entry.advice, advice);
}

static void test_map_refuses_an_entry_outside_its_object(void **state)
{
    struct fixture *f = *state;
    static const struct pgl_view outside[] = {{0, 100, 0}, {0, 0, 100}, {0, 1, 99}, {0, UINT64_MAX, 1}, {5, 4, 0}};

    for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
        errno = 0;
        assert_false(pgl_map_enter(f->map, outside[i].first, outside[i].last, f->object, outside[i].object_first,
                                   PGL_ADVICE_DEFAULT));
        assert_int_equal(errno, EINVAL);
    }
    assert_true(pgl_map_enter(f->map, 0, 0, f->object, 99, PGL_ADVICE_DEFAULT));
}

static void test_map_refuses_an_advice_that_does_not_exist(void **state)
{
    struct fixture *f = *state;

    errno = 0;
    assert_false(pgl_map_enter(f->map, 0, 9, f->object, 0, (enum pgl_advice)PGL_ADVICE_COUNT));
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_false(pgl_map_advise(f->map, 1000, 1001, (enum pgl_advice)77));
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_false(pgl_object_advise(f->object, (enum pgl_advice)77));
    assert_int_equal(errno, EINVAL);
    assert_int_equal(count_entries(f->map), 1);
}

static void test_map_refuses_to_map_a_page_twice(void **state)
{
    struct fixture *f = *state;

    errno = 0;
    assert_false(pgl_map_enter(f->map, 950, 1000, f->object, 0, PGL_ADVICE_DEFAULT));
    assert_int_equal(errno, EEXIST);
    assert_false(pgl_map_enter(f->map, 1099, 1099, f->object, 0, PGL_ADVICE_DEFAULT));
    assert_false(pgl_map_enter(f->map, 1010, 1020, f->object, 0, PGL_ADVICE_DEFAULT));
    assert_true(pgl_map_enter(f->map, 999, 999, f->object, 0, PGL_ADVICE_DEFAULT));
    assert_true(pgl_map_enter(f->map, 1100, 1100, f->object, 0, PGL_ADVICE_DEFAULT));
}

static void test_map_advise_splits_where_the_range_ends_inside_an_entry(void **state)
{
    struct fixture *f = *state;

    assert_true(pgl_map_advise(f->map, 1010, 1019, PGL_ADVICE_RANDOM));
    assert_int_equal(count_entries(f->map), 3);
    assert_entry(f->map, 1000, 1009, 0, PGL_ADVICE_DEFAULT);
    assert_entry(f->map, 1010, 1019, 10, PGL_ADVICE_RANDOM);
    assert_entry(f->map, 1020, 1099, 20, PGL_ADVICE_DEFAULT);
}

static void test_map_advise_joins_what_became_equal(void **state)
{
    struct fixture *f = *state;

    assert_true(pgl_map_advise(f->map, 1010, 1019, PGL_ADVICE_RANDOM));
    assert_true(pgl_map_advise(f->map, 1020, 1029, PGL_ADVICE_RANDOM));
    assert_int_equal(count_entries(f->map), 3);
    assert_entry(f->map, 1010, 1029, 10, PGL_ADVICE_RANDOM);
    assert_true(pgl_map_advise(f->map, 1005, 1095, PGL_ADVICE_DEFAULT));
    assert_int_equal(count_entries(f->map), 1);
    assert_entry(f->map, 1000, 1099, 0, PGL_ADVICE_DEFAULT);
}

/* Neighbours that show different parts of the object stay two. */
static void test_map_advise_joins_no_strangers(void **state)
{
    struct fixture *f = *state;

    assert_true(pgl_map_enter(f->map, 1100, 1109, f->object, 50, PGL_ADVICE_RANDOM));
    assert_true(pgl_map_advise(f->map, 1000, 1109, PGL_ADVICE_NORMAL));
    assert_int_equal(count_entries(f->map), 2);
    assert_entry(f->map, 1100, 1109, 50, PGL_ADVICE_NORMAL);
}

/* Two entries with the same advice stay two where another object, or nothing, is in the place of the second. */
static void test_map_advise_joins_no_other_object_and_across_no_hole(void **state)
{
    struct fixture *f = *state;
    struct pgl_object_config config = sim_config(&f->sim, 200);
    struct pgl_object *other = pgl_object_new(&config);

    assert_true(pgl_map_enter(f->map, 1100, 1109, other, 100, PGL_ADVICE_RANDOM));
    assert_true(pgl_map_advise(f->map, 1000, 1099, PGL_ADVICE_RANDOM));
    assert_int_equal(count_entries(f->map), 2);
    assert_entry(f->map, 1100, 1109, 100, PGL_ADVICE_RANDOM);
    assert_true(pgl_map_enter(f->map, 2000, 2009, other, 0, PGL_ADVICE_RANDOM));
    assert_true(pgl_map_enter(f->map, 2011, 2019, other, 11, PGL_ADVICE_NORMAL));
    assert_true(pgl_map_advise(f->map, 2011, 2019, PGL_ADVICE_RANDOM));
    assert_int_equal(count_entries(f->map), 4);
    assert_entry(f->map, 2000, 2009, 0, PGL_ADVICE_RANDOM);
    assert_entry(f->map, 2011, 2019, 11, PGL_ADVICE_RANDOM);
    pgl_object_unref(other);
}

static void test_map_advise_across_a_hole_changes_nothing(void **state)
{
    struct fixture *f = *state;

    assert_true(pgl_map_enter(f->map, 1101, 1110, f->object, 0, PGL_ADVICE_DEFAULT));
    errno = 0;
    assert_false(pgl_map_advise(f->map, 1050, 1105, PGL_ADVICE_RANDOM));
    assert_int_equal(errno, ENOENT);
    assert_false(pgl_map_advise(f->map, 900, 1005, PGL_ADVICE_RANDOM));
    assert_false(pgl_map_advise(f->map, 1105, 1111, PGL_ADVICE_RANDOM));
    assert_false(pgl_map_advise(f->map, 5000, 6000, PGL_ADVICE_RANDOM));
    errno = 0;
    assert_false(pgl_map_advise(f->map, 1006, 1005, PGL_ADVICE_RANDOM));
    assert_int_equal(errno, EINVAL);
    assert_int_equal(count_entries(f->map), 2);
    assert_entry(f->map, 1000, 1099, 0, PGL_ADVICE_DEFAULT);
}

static void test_map_remove_cuts_entries(void **state)
{
    struct fixture *f = *state;
    struct pgl_map_entry entry;

    assert_true(pgl_map_remove(f->map, 1040, 1059));
    assert_int_equal(count_entries(f->map), 2);
    assert_entry(f->map, 1000, 1039, 0, PGL_ADVICE_DEFAULT);
    assert_entry(f->map, 1060, 1099, 60, PGL_ADVICE_DEFAULT);
    assert_true(pgl_map_lookup(f->map, 1040, &entry));
    assert_int_equal(entry.view.first, 1060);
    assert_true(pgl_map_remove(f->map, 0, UINT64_MAX));
    assert_false(pgl_map_lookup(f->map, 0, &entry));
    assert_true(pgl_map_remove(f->map, 7, 8));
    errno = 0;
    assert_false(pgl_map_remove(f->map, 8, 7));
    assert_int_equal(errno, EINVAL);
}

static void test_map_top_page_is_an_ordinary_page(void **state)
{
    struct fixture *f = *state;

    assert_true(pgl_map_enter(f->map, UINT64_MAX - 9, UINT64_MAX, f->object, 90, PGL_ADVICE_DEFAULT));
    assert_true(pgl_map_advise(f->map, UINT64_MAX, UINT64_MAX, PGL_ADVICE_RANDOM));
    assert_entry(f->map, UINT64_MAX, UINT64_MAX, 99, PGL_ADVICE_RANDOM);
    assert_entry(f->map, UINT64_MAX - 9, UINT64_MAX - 1, 90, PGL_ADVICE_DEFAULT);
    assert_true(pgl_map_remove(f->map, UINT64_MAX, UINT64_MAX));
    assert_int_equal(count_entries(f->map), 2);
}

/* Each change with each of its allocations failing: the map is then as it was. */
static void test_map_short_of_memory_stays_as_it_was(void **state)
{
    struct fixture *f = *state;
    struct pgl_map *map;

    for (uint64_t i = 0; i < 7; i++) { /* the first eight entries fit without asking for memory */
        assert_true(pgl_map_enter(f->map, 2000 + 2 * i, 2000 + 2 * i, f->object, i, PGL_ADVICE_DEFAULT));
    }
    f->injector.at = f->injector.calls + 1;
    errno = 0;
    assert_false(pgl_map_enter(f->map, 3000, 3000, f->object, 0, PGL_ADVICE_DEFAULT));
    assert_int_equal(errno, ENOMEM);
    f->injector.at = f->injector.calls + 1;
    assert_false(pgl_map_advise(f->map, 1010, 1019, PGL_ADVICE_RANDOM));
    f->injector.at = f->injector.calls + 1;
    assert_false(pgl_map_remove(f->map, 1010, 1019));
    assert_int_equal(count_entries(f->map), 8);
    assert_entry(f->map, 1000, 1099, 0, PGL_ADVICE_DEFAULT);
    assert_true(pgl_map_advise(f->map, 1010, 1019, PGL_ADVICE_RANDOM));
    f->injector.at = f->injector.calls + 1;
    map = pgl_map_new(&sim_heap_ops, &f->sim);
    assert_null(map);
}

/* No allocation may happen. */
static void be_short_of_memory(struct fixture *f)
{
    f->injector.at = f->injector.calls + 1;
}

static void assert_nothing_was_allocated(struct fixture *f)
{
    assert_int_equal(f->injector.calls, f->injector.at - 1);
}

/* The array is full: 1000..1099, and seven of ten pages. */
static void fill_map(struct fixture *f)
{
    for (uint64_t i = 0; i < 7; i++) {
        assert_true(pgl_map_enter(f->map, 2000 + 20 * i, 2009 + 20 * i, f->object, 10 * i, PGL_ADVICE_NORMAL));
    }
    be_short_of_memory(f);
}

/* A full array once made every removal fail, of whole entries too. */
static void test_map_remove_needs_memory_only_where_two_parts_are_left(void **state)
{
    struct fixture *f = *state;

    fill_map(f);
    errno = 0;
    assert_false(pgl_map_remove(f->map, 1001, 1098));
    assert_int_equal(errno, ENOMEM);
    assert_entry(f->map, 1000, 1099, 0, PGL_ADVICE_DEFAULT);
    assert_int_equal(count_entries(f->map), 8);

    be_short_of_memory(f);
    assert_true(pgl_map_remove(f->map, 1000, 1000)); /* its front */
    assert_entry(f->map, 1001, 1099, 1, PGL_ADVICE_DEFAULT);
    assert_true(pgl_map_remove(f->map, 1099, 1999)); /* its end, and a hole */
    assert_entry(f->map, 1001, 1098, 1, PGL_ADVICE_DEFAULT);
    assert_true(pgl_map_remove(f->map, 2005, 2044)); /* an end, a whole one and a front */
    assert_entry(f->map, 2000, 2004, 0, PGL_ADVICE_NORMAL);
    assert_entry(f->map, 2045, 2049, 25, PGL_ADVICE_NORMAL);
    assert_int_equal(count_entries(f->map), 7);
    assert_true(pgl_map_remove(f->map, 2080, 2089)); /* one exactly */
    assert_int_equal(count_entries(f->map), 6);
    assert_true(pgl_map_remove(f->map, 1050, 1059)); /* two parts, and there is room */
    assert_entry(f->map, 1001, 1049, 1, PGL_ADVICE_DEFAULT);
    assert_entry(f->map, 1060, 1098, 60, PGL_ADVICE_DEFAULT);
    assert_true(pgl_map_remove(f->map, 0, UINT64_MAX));
    assert_int_equal(count_entries(f->map), 0);
    assert_nothing_was_allocated(f);
}

static void test_map_advise_needs_memory_only_where_an_entry_is_split(void **state)
{
    struct fixture *f = *state;

    fill_map(f);
    errno = 0;
    assert_false(pgl_map_advise(f->map, 2000, 2004, PGL_ADVICE_RANDOM));
    assert_int_equal(errno, ENOMEM);
    be_short_of_memory(f);
    errno = 0;
    assert_false(pgl_map_advise(f->map, 2005, 2009, PGL_ADVICE_RANDOM));
    assert_int_equal(errno, ENOMEM);
    assert_entry(f->map, 2000, 2009, 0, PGL_ADVICE_NORMAL);
    assert_int_equal(count_entries(f->map), 8);

    be_short_of_memory(f);
    assert_true(pgl_map_advise(f->map, 2020, 2029, PGL_ADVICE_RANDOM)); /* one exactly */
    assert_entry(f->map, 2020, 2029, 10, PGL_ADVICE_RANDOM);
    assert_true(pgl_map_advise(f->map, 2005, 2007, PGL_ADVICE_NORMAL)); /* the advice that it has already */
    assert_int_equal(count_entries(f->map), 8);
    assert_entry(f->map, 2000, 2009, 0, PGL_ADVICE_NORMAL);
    assert_true(pgl_map_remove(f->map, 2120, 2129));
    assert_true(pgl_map_advise(f->map, 1000, 1049, PGL_ADVICE_RANDOM)); /* one split, and there is room for one */
    assert_int_equal(count_entries(f->map), 8);
    assert_nothing_was_allocated(f);
    assert_true(pgl_map_remove(f->map, 2100, 2109));
    errno = 0;
    assert_false(pgl_map_advise(f->map, 2043, 2045, PGL_ADVICE_RANDOM)); /* two splits */
    assert_int_equal(errno, ENOMEM);
    assert_entry(f->map, 2040, 2049, 20, PGL_ADVICE_NORMAL);
}

/* Entries 0, 1, ... of a map: each shows pages 1..9 at ten times its number. */
static struct pgl_map *make_map(struct fixture *f, uint64_t nentries)
{
    struct pgl_map *map = pgl_map_new(&sim_heap_ops, &f->sim);

    assert_non_null(map);
    for (uint64_t i = 0; i < nentries; i++) {
        assert_true(pgl_map_enter(map, 10 * i, 10 * i + 8, f->object, 1, PGL_ADVICE_NORMAL));
    }
    return map;
}

/* Up to three times the room that a map begins with: one less than there is room for, as many, and more. */
static void test_map_grows_with_whatever_adds_to_it(void **state)
{
    struct fixture *f = *state;

    for (uint64_t n = 1; n <= 33; n++) {
        for (unsigned end = 0; end < 2; end++) { /* in the first entry, and in the last */
            uint64_t at = end == 0 ? 0 : n - 1;
            struct pgl_map *map = make_map(f, n);

            assert_true(pgl_map_advise(map, 10 * at + 3, 10 * at + 5, PGL_ADVICE_RANDOM));
            assert_int_equal(count_entries(map), n + 2);
            assert_entry(map, 10 * at, 10 * at + 2, 1, PGL_ADVICE_NORMAL);
            assert_entry(map, 10 * at + 3, 10 * at + 5, 4, PGL_ADVICE_RANDOM);
            assert_entry(map, 10 * at + 6, 10 * at + 8, 7, PGL_ADVICE_NORMAL);
            pgl_map_free(map);

            map = make_map(f, n);
            assert_true(pgl_map_remove(map, 10 * at + 3, 10 * at + 5));
            assert_int_equal(count_entries(map), n + 1);
            assert_entry(map, 10 * at, 10 * at + 2, 1, PGL_ADVICE_NORMAL);
            assert_entry(map, 10 * at + 6, 10 * at + 8, 7, PGL_ADVICE_NORMAL);
            for (uint64_t i = 0; i < n; i++) {
                if (i != at) {
                    assert_entry(map, 10 * i, 10 * i + 8, 1, PGL_ADVICE_NORMAL);
                }
            }
            pgl_map_free(map);
        }
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_map_refuses_an_entry_outside_its_object),
        TEST(test_map_refuses_an_advice_that_does_not_exist),
        TEST(test_map_refuses_to_map_a_page_twice),
        TEST(test_map_advise_splits_where_the_range_ends_inside_an_entry),
        TEST(test_map_advise_joins_what_became_equal),
        TEST(test_map_advise_joins_no_strangers),
        TEST(test_map_advise_joins_no_other_object_and_across_no_hole),
        TEST(test_map_advise_across_a_hole_changes_nothing),
        TEST(test_map_remove_cuts_entries),
        TEST(test_map_top_page_is_an_ordinary_page),
        TEST(test_map_short_of_memory_stays_as_it_was),
        TEST(test_map_remove_needs_memory_only_where_two_parts_are_left),
        TEST(test_map_advise_needs_memory_only_where_an_entry_is_split),
        TEST(test_map_grows_with_whatever_adds_to_it),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
