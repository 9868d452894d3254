/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "sim.h"

#include "cm.h"

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
        TEST(test_map_advise_across_a_hole_changes_nothing),
        TEST(test_map_remove_cuts_entries),
        TEST(test_map_top_page_is_an_ordinary_page),
        TEST(test_map_short_of_memory_stays_as_it_was),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
