/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The fault driver on one object: how advice sets the cluster, and the pages that it leaves behind. One claim per test. */
#include <errno.h>

#include "probe.h"

#include "../cm.h"

static void test_fault_entry_advice_wins_over_its_objects(void **state)
{
    struct fixture *f = *state;
    struct pgl_map *map = pgl_map_new(NULL, NULL);
    struct pgl_fault_args args = {.map = map, .index = 1050, .access = PGL_ACCESS_READ};

    make_object(f);
    assert_true(pgl_object_advise(f->object, PGL_ADVICE_SEQUENTIAL));
    assert_int_equal(pgl_object_advice(f->object), PGL_ADVICE_SEQUENTIAL);
    assert_true(pgl_map_enter(map, 1000, 1000 + NPAGES - 1, f->object, 0, PGL_ADVICE_DEFAULT));
    assert_true(pgl_map_advise(map, 1100, 1149, PGL_ADVICE_NORMAL));
    assert_int_equal(start(&f->a, &args), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 50, 57, 50);
    args.index = 1101; /* clipped to the part of the mapping that has this advice */
    assert_int_equal(start(&f->a, &args), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 100, 104, 101);
    assert_int_equal(stats_of(f->object).by_advice[PGL_ADVICE_SEQUENTIAL].faults, 1);
    assert_int_equal(stats_of(f->object).by_advice[PGL_ADVICE_NORMAL].faults, 1);
    pgl_map_free(map);
}

/* A copy made inside the VM has no entry: the object's own advice and bounds serve. */
static void test_fault_without_entry_follows_its_object(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    pgl_object_advise(f->object, PGL_ADVICE_SEQUENTIAL);
    assert_int_equal(read_page(&f->a, f->object, NPAGES - 3), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, NPAGES - 3, NPAGES - 1, NPAGES - 3);
}

static void test_fault_follows_a_table_that_was_replaced(void **state)
{
    struct fixture *f = *state;
    struct pgl_advice_table wide = probe_table;

    make_object(f);
    wide.row[PGL_ADVICE_DEFAULT] = (struct pgl_advice_row){10, 20, 0};
    pgl_object_set_table(f->object, &wide);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 90, 120, 100);
    pgl_object_set_table(f->object, NULL);
    assert_int_equal(read_page(&f->a, f->object, 200), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 200, 200, 200);
    assert_true(pgl_object_advise(f->object, PGL_ADVICE_NORMAL));
    assert_int_equal(read_page(&f->a, f->object, 220), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 217, 232, 220);
}

/* It said nothing about advice, and once got fifteen pages with each that it touched. */
static void test_fault_of_a_zeroed_configuration_brings_its_page_alone(void **state)
{
    struct fixture *f = *state;
    const struct pgl_object_config config = {
        .last = 999, .pager_ops = &sim_pager_ops, .pager = &f->sim, .pager_range = {0, 999}};
    struct pgl_map *map = pgl_map_new(NULL, NULL);
    struct pgl_fault_args args = {.map = map, .index = 700, .access = PGL_ACCESS_READ};

    f->object = pgl_object_new(&config);
    for (uint64_t index = 5; index < 1000; index += 90) {
        assert_int_equal(read_page(&f->a, f->object, index), PGL_FAULT_SUCCESS);
        assert_asked(&f->sim, index, index, index);
    }
    assert_true(pgl_map_enter(map, 0, 999, f->object, 0, PGL_ADVICE_DEFAULT));
    assert_int_equal(start(&f->a, &args), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 700, 700, 700);
    assert_int_equal(stats_of(f->object).by_advice[PGL_ADVICE_DEFAULT].speculative, 0);
    pgl_map_free(map);
}

static void test_fault_sequential_tells_the_pager_what_it_left_behind(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    pgl_object_advise(f->object, PGL_ADVICE_SEQUENTIAL);
    assert_int_equal(read_page(&f->a, f->object, 0), PGL_FAULT_SUCCESS);
    assert_int_equal(f->sim.nbehind, 0);
    assert_int_equal(read_page(&f->a, f->object, 8), PGL_FAULT_SUCCESS);
    assert_int_equal(f->sim.nbehind, 1);
    assert_int_equal(f->sim.behind.first, 0);
    assert_int_equal(f->sim.behind.last, 7);
    pgl_object_advise(f->object, PGL_ADVICE_NORMAL);
    assert_int_equal(read_page(&f->a, f->object, 60), PGL_FAULT_SUCCESS);
    assert_int_equal(f->sim.nbehind, 1);
}

static void test_fault_names_what_it_left_behind_in_the_pagers_pages(void **state)
{
    struct fixture *f = *state;
    struct pgl_object_config config = config_of(f);

    config.pager_range = (struct pgl_pager_range){5000, 5099};
    config.advice = PGL_ADVICE_SEQUENTIAL;
    f->object = pgl_object_new(&config);
    assert_int_equal(read_page(&f->a, f->object, 20), PGL_FAULT_SUCCESS);
    assert_int_equal(f->sim.behind.first, 5012);
    assert_int_equal(f->sim.behind.last, 5019);
}

/* The reader has not gone forward: it wants more of what it has. */
static void test_fault_that_asks_for_access_leaves_nothing_behind(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    pgl_object_advise(f->object, PGL_ADVICE_SEQUENTIAL);
    assert_int_equal(read_page(&f->a, f->object, 20), PGL_FAULT_SUCCESS);
    assert_int_equal(f->sim.nbehind, 1);
    assert_int_equal(write_page(&f->a, f->object, 22), PGL_FAULT_SUCCESS);
    assert_int_equal(f->sim.nunlocks, 1);
    assert_int_equal(f->sim.nbehind, 1);
}

/* A short budget goes to the pages ahead of a sequential reader; any other reader has it on both sides. */
static void test_fault_sequential_spends_a_short_budget_ahead(void **state)
{
    struct fixture *f = *state;
    struct pgl_object_config config = config_of(f);
    const struct pgl_advice_table table = {
        .row = {[PGL_ADVICE_NORMAL] = {8, 8, 0}, [PGL_ADVICE_SEQUENTIAL] = {8, 8, 0}}};

    config.table = &table;
    config.credits = 7;
    config.advice = PGL_ADVICE_SEQUENTIAL;
    f->object = pgl_object_new(&config);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 100, 106, 100);
    pgl_object_advise(f->object, PGL_ADVICE_NORMAL);
    assert_int_equal(read_page(&f->a, f->object, 200), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 197, 203, 200);
}

static void test_fault_that_was_refused_leaves_nothing_behind(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    pgl_object_advise(f->object, PGL_ADVICE_SEQUENTIAL);
    f->sim.script = sim_refuse;
    f->sim.refusal = EAGAIN;
    assert_int_equal(read_page(&f->a, f->object, 8), PGL_FAULT_RETRY);
    assert_int_equal(f->sim.nbehind, 0);
    f->sim.script = sim_now;
    assert_int_equal(read_page(&f->a, f->object, 8), PGL_FAULT_SUCCESS);
    assert_int_equal(f->sim.nbehind, 1);
}

/* The pages left behind end right before the cluster, and not where memory ran short before its first page. */
static void test_fault_with_its_cluster_cut_in_front_leaves_nothing_behind(void **state)
{
    struct fixture *f = *state;
    struct sim_injector injector = {.at = 5}; /* frames of 100, 101, 99, 102, and none for 98 */
    struct sim_injector later = {.at = 6};    /* nor, of the next cluster, for the third page after the demand page */
    struct pgl_object_config config = config_of(f);
    struct pgl_advice_table table = probe_table;

    table.row[PGL_ADVICE_SEQUENTIAL] = (struct pgl_advice_row){2, 4, 8};
    config.internal = true;
    config.table = &table;
    config.advice = PGL_ADVICE_SEQUENTIAL;
    f->object = pgl_object_new(&config);
    assert_int_equal(read_page(&f->a, f->object, 80), PGL_FAULT_SUCCESS);
    assert_int_equal(f->sim.behind.last, 77);
    f->sim.injector = &injector;
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 99, 102, 100);
    assert_int_equal(f->sim.nbehind, 1);
    f->sim.injector = &later;
    assert_int_equal(read_page(&f->a, f->object, 110), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 108, 112, 110); /* cut at its end, and whole in front */
    assert_int_equal(f->sim.nbehind, 2);
    assert_int_equal(f->sim.behind.last, 107);
}

static void test_fault_tells_a_pager_that_wants_no_hints_nothing(void **state)
{
    struct fixture *f = *state;
    static struct pgl_pager_ops no_hints; /* it outlives the object */
    struct pgl_object_config config = config_of(f);

    no_hints.data_request = sim_pager_ops.data_request;
    config.pager_ops = &no_hints;
    config.advice = PGL_ADVICE_SEQUENTIAL;
    f->object = pgl_object_new(&config);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 100, 107, 100);
    assert_int_equal(f->sim.nbehind, 0);
}

static void test_fault_that_wires_or_is_retried_does_not_speculate(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    assert_int_equal(fault_on(&f->a, f->object, 50, PGL_ACCESS_READ, PGL_FAULT_FLAG_WIRE), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 50, 50, 50);
    assert_int_equal(fault_on(&f->a, f->object, 70, PGL_ACCESS_READ, PGL_FAULT_FLAG_RETRIED), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 70, 70, 70);
}

static void test_fault_counts_speculative_pages_that_were_used(void **state)
{
    struct fixture *f = *state;
    const struct pgl_fault_counts *counts;
    struct pgl_object_stats stats;

    make_object(f);
    read_page(&f->a, f->object, 100);
    read_page(&f->a, f->object, 101);
    read_page(&f->a, f->object, 101);
    read_page(&f->a, f->object, 104);
    read_page(&f->a, f->object, 100);
    stats = stats_of(f->object);
    counts = &stats.by_advice[PGL_ADVICE_DEFAULT];
    assert_int_equal(counts->touches, 5);
    assert_int_equal(counts->faults, 1);
    assert_int_equal(counts->requests, 1);
    assert_int_equal(counts->demanded, 1);
    assert_int_equal(counts->speculative, 6);
    assert_int_equal(counts->used, 2);
    assert_int_equal(stats.resident, 7);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_fault_entry_advice_wins_over_its_objects),
        TEST(test_fault_without_entry_follows_its_object),
        TEST(test_fault_follows_a_table_that_was_replaced),
        TEST(test_fault_of_a_zeroed_configuration_brings_its_page_alone),
        TEST(test_fault_sequential_tells_the_pager_what_it_left_behind),
        TEST(test_fault_names_what_it_left_behind_in_the_pagers_pages),
        TEST(test_fault_that_asks_for_access_leaves_nothing_behind),
        TEST(test_fault_sequential_spends_a_short_budget_ahead),
        TEST(test_fault_that_was_refused_leaves_nothing_behind),
        TEST(test_fault_with_its_cluster_cut_in_front_leaves_nothing_behind),
        TEST(test_fault_tells_a_pager_that_wants_no_hints_nothing),
        TEST(test_fault_that_wires_or_is_retried_does_not_speculate),
        TEST(test_fault_counts_speculative_pages_that_were_used),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
