/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The fault driver on one object, one claim a test. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "probe.h"

#include "../cm.h"

/* Finding, asking, replying */

static void test_fault_fetches_one_cluster_in_one_request(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    assert_int_equal(f->sim.nrequests, 1);
    assert_asked(&f->sim, 98, 104, 100);
    assert_true(sim_frame_is(f->a.page.frame, 0xaa, 100));
    assert_false(f->a.page.hit);
    for (uint64_t index = 98; index <= 104; index++) {
        assert_int_equal(read_page(&f->b, f->object, index), PGL_FAULT_SUCCESS);
        assert_true(sim_frame_is(f->b.page.frame, 0xaa, index));
        assert_true(f->b.page.hit);
    }
    assert_int_equal(f->sim.nrequests, 1);
    assert_int_equal(read_page(&f->b, f->object, 105), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 105, 109, 105);
    assert_at_rest(f->object);
}

static void test_fault_random_fetches_no_neighbour(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    assert_true(pgl_object_advise(f->object, PGL_ADVICE_RANDOM));
    for (uint64_t index = 3; index < NPAGES; index += 17) {
        assert_int_equal(read_page(&f->a, f->object, index), PGL_FAULT_SUCCESS);
        assert_asked(&f->sim, index, index, index);
    }
    assert_int_equal(stats_of(f->object).by_advice[PGL_ADVICE_RANDOM].speculative, 0);
}

/* The pager's own offset was once left out of the request. */
static void test_fault_asks_in_the_pagers_pages(void **state)
{
    struct fixture *f = *state;
    struct pgl_object_config config = config_of(f);

    config.pager_range = (struct pgl_pager_range){5000, 5009}; /* the object's 0..9 */
    f->object = pgl_object_new(&config);
    assert_int_equal(read_page(&f->a, f->object, 7), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 5005, 5009, 5007);
    assert_true(sim_frame_is(f->a.page.frame, 0xaa, 5007));
    assert_int_equal(read_page(&f->a, f->object, 9), PGL_FAULT_SUCCESS);
    assert_true(sim_frame_is(f->a.page.frame, 0xaa, 5009));
    assert_int_equal(read_page(&f->a, f->object, 10), PGL_FAULT_NO_DATA);
    assert_int_equal(f->sim.nrequests, 1);
}

/*
 * A pager may read more of its file than it was asked for: the reply begins before its range and ends behind it, and
 * each page still gets its own bytes. Such replies of the other kinds reach no other page either.
 */
static void test_fault_takes_replies_that_are_wider_than_the_pagers_range(void **state)
{
    struct fixture *f = *state;
    const struct pgl_pager_range wide = {4990, 5020};

    for (uint64_t last = 7; last <= 11; last += 2) { /* an object that ends before its pager, with it, and behind it */
        struct pgl_object_config config = config_of(f);
        uint64_t id, end = last < 9 ? last : 9;

        config.last = last;
        config.pager_range = (struct pgl_pager_range){5000, 5009};
        config.advice = PGL_ADVICE_SEQUENTIAL;
        f->object = pgl_object_new(&config);
        f->sim.script = sim_keep;
        assert_int_equal(read_page(&f->a, f->object, 3), PGL_FAULT_PENDING);
        assert_asked(&f->sim, 5003, 5000 + end, 5003);
        assert_int_equal(sim_supply(&f->sim, sim_last(&f->sim), wide.first, wide.last, PGL_ACCESS_READ), end - 2);
        assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
        for (uint64_t index = 3; index <= end; index++) {
            assert_int_equal(read_page(&f->a, f->object, index), PGL_FAULT_SUCCESS);
            assert_true(sim_frame_is(f->a.page.frame, 0xaa, 5000 + index));
        }
        assert_int_equal(stats_of(f->object).aliens, 31 - (end - 2));

        assert_int_equal(pgl_pager_withhold(f->object, wide, PGL_ACCESS_NONE), end - 2);
        assert_int_equal(read_page(&f->a, f->object, 4), PGL_FAULT_PENDING);
        assert_int_equal(pgl_pager_grant(f->object, sim_last(&f->sim)->id, wide, PGL_ACCESS_READ), end - 3);
        assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
        assert_int_equal(read_page(&f->a, f->object, 0), PGL_FAULT_PENDING);
        id = sim_last(&f->sim)->id;
        assert_int_equal(pgl_pager_no_data(f->object, id, (struct pgl_pager_range){0, 5000}), 1);
        assert_int_equal(go_on(&f->a), PGL_FAULT_NO_DATA); /* its neighbours are taken back */
        assert_int_equal(read_page(&f->a, f->object, 1), PGL_FAULT_PENDING);
        assert_int_equal(pgl_pager_error(f->object, sim_last(&f->sim)->id, wide), 2);
        assert_int_equal(go_on(&f->a), PGL_FAULT_MEMORY_ERROR);
        assert_int_equal(stats_of(f->object).resident, end - 2);
        assert_at_rest(f->object);
        pgl_object_unref(f->object);
        f->object = NULL;
    }
}

/* Whoever has a file without a known end says so, and the object ends the range. */
static void test_fault_in_an_open_pager_range_ends_with_the_object(void **state)
{
    struct fixture *f = *state;
    struct pgl_object_config config = config_of(f);

    config.pager_range = (struct pgl_pager_range){UINT64_MAX - 2 * NPAGES, UINT64_MAX};
    f->object = pgl_object_new(&config);
    assert_int_equal(read_page(&f->a, f->object, NPAGES - 1), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, UINT64_MAX - NPAGES - 3, UINT64_MAX - NPAGES - 1, UINT64_MAX - NPAGES - 1);
    assert_int_equal(sim_supply(&f->sim, sim_last(&f->sim), UINT64_MAX - NPAGES, UINT64_MAX, PGL_ACCESS_READ), 0);
    assert_int_equal(stats_of(f->object).aliens, NPAGES + 1); /* past the object, though the pager has them */
    assert_int_equal(pgl_pager_withhold(f->object, config.pager_range, PGL_ACCESS_NONE), 3);
}

static void test_fault_reaches_the_top_page_of_64_bits(void **state)
{
    struct fixture *f = *state;
    struct pgl_object_config config = config_of(f);

    config.last = UINT64_MAX;
    config.pager_range = (struct pgl_pager_range){0, UINT64_MAX};
    f->object = pgl_object_new(&config);
    assert_int_equal(read_page(&f->a, f->object, UINT64_MAX), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, UINT64_MAX - 2, UINT64_MAX, UINT64_MAX);
    assert_int_equal(read_page(&f->a, f->object, 0), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 0, 4, 0);
    assert_int_equal(pgl_object_remove(f->object, 0, UINT64_MAX), 8);
    assert_int_equal(f->sim.frames_used, 0);
}

static void test_fault_outside_the_object_has_no_entry(void **state)
{
    struct fixture *f = *state;
    struct pgl_map *map = pgl_map_new(NULL, NULL);
    struct pgl_fault_args args = {.map = map, .index = 5, .access = PGL_ACCESS_READ};

    make_object(f);
    assert_int_equal(read_page(&f->a, f->object, NPAGES), PGL_FAULT_NO_ENTRY);
    assert_int_equal(start(&f->a, &args), PGL_FAULT_NO_ENTRY);
    pgl_map_free(map);
}

static void test_fault_ends_when_the_demand_page_is_there(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    f->sim.script = sim_keep;
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    assert_int_equal(sim_supply(&f->sim, sim_last(&f->sim), 100, 100, PGL_ACCESS_READ), 1);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_int_equal(stats_of(f->object).outstanding, 6); /* its speculation holds nobody up */
    assert_int_equal(sim_supply(&f->sim, sim_last(&f->sim), 98, 104, PGL_ACCESS_READ), 6);
    assert_int_equal(stats_of(f->object).duplicates, 1);
    assert_at_rest(f->object);
}

/* A later fault of the same thread fails before it asks: it takes back nothing of the request that succeeded. */
static void test_fault_that_fails_leaves_the_request_before_it_alone(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    f->sim.script = sim_keep;
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    assert_int_equal(sim_supply(&f->sim, sim_last(&f->sim), 100, 100, PGL_ACCESS_READ), 1);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_int_equal(fault_on(&f->a, f->object, 200, PGL_ACCESS_READ, PGL_FAULT_FLAG_RESIDENT), PGL_FAULT_NO_DATA);
    assert_int_equal(stats_of(f->object).outstanding, 6);
    assert_int_equal(sim_supply(&f->sim, sim_last(&f->sim), 98, 104, PGL_ACCESS_READ), 6);
    assert_at_rest(f->object);
}

static void test_fault_takes_replies_in_any_order_and_portions(void **state)
{
    struct fixture *f = *state;
    static const uint64_t order[] = {104, 98, 103, 99, 102, 101, 100};

    make_object(f);
    f->sim.script = sim_keep;
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    for (size_t i = 0; i < 7; i++) {
        assert_int_equal(f->a.ready, 0);
        assert_int_equal(sim_supply(&f->sim, sim_last(&f->sim), order[i], order[i], PGL_ACCESS_READ), 1);
        assert_int_equal(pgl_object_check(f->object, sim_say, NULL), 0);
    }
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_true(sim_frame_is(f->a.page.frame, 0xaa, 100));
    assert_at_rest(f->object);
}

static void test_fault_counts_duplicate_replies_and_keeps_the_first(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    memset(f->a.page.frame, 'x', SIM_PAGE_SIZE); /* the program wrote to it */
    assert_int_equal(sim_supply(&f->sim, sim_last(&f->sim), 98, 104, PGL_ACCESS_READ), 0);
    assert_int_equal(*(char *)f->a.page.frame, 'x');
    assert_int_equal(stats_of(f->object).duplicates, 7);
    assert_int_equal(stats_of(f->object).aliens, 0);
}

static void test_fault_refuses_replies_that_nobody_asked_for(void **state)
{
    struct fixture *f = *state;
    const struct pgl_pager_range everything = {0, UINT64_MAX};
    const struct pgl_pager_range upside_down = {9, 3};
    struct pgl_request alien;

    make_object(f);
    f->sim.script = sim_keep;
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    alien = *sim_last(&f->sim);
    assert_int_equal(sim_supply(&f->sim, &alien, 90, 97, PGL_ACCESS_READ), 0);   /* outside the request */
    assert_int_equal(sim_supply(&f->sim, &alien, 300, 309, PGL_ACCESS_READ), 0); /* outside the object */
    assert_int_equal(pgl_pager_error(f->object, alien.id, upside_down), 0);
    assert_int_equal(stats_of(f->object).aliens, 18);
    alien.id += 1; /* of no request */
    assert_int_equal(pgl_pager_error(f->object, alien.id, alien.range), 0);
    assert_int_equal(pgl_pager_no_data(f->object, 0, alien.range), 0);
    assert_int_equal(pgl_pager_grant(f->object, sim_last(&f->sim)->id, alien.range, PGL_ACCESS_WRITE), 0);
    assert_int_equal(stats_of(f->object).aliens, 18 + 3 * 7);
    assert_int_equal(f->a.ready, 0);
    assert_int_equal(stats_of(f->object).busy, 7);
    assert_int_equal(pgl_pager_error(f->object, sim_last(&f->sim)->id, everything), 7); /* only its own pages */
    assert_int_equal(go_on(&f->a), PGL_FAULT_MEMORY_ERROR);
    assert_at_rest(f->object);
}

static void test_fault_waits_for_a_page_that_another_fetches(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    f->sim.script = sim_keep;
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    assert_int_equal(read_page(&f->b, f->object, 103), PGL_FAULT_PENDING);
    assert_int_equal(f->sim.nrequests, 1);
    assert_int_equal(stats_of(f->object).waiting, 2);
    sim_supply(&f->sim, sim_last(&f->sim), 103, 103, PGL_ACCESS_READ);
    assert_int_equal(f->a.ready, 0);
    assert_int_equal(go_on(&f->b), PGL_FAULT_SUCCESS);
    sim_supply(&f->sim, sim_last(&f->sim), 98, 104, PGL_ACCESS_READ);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_int_equal(stats_of(f->object).by_advice[PGL_ADVICE_DEFAULT].retries, 0);
    assert_at_rest(f->object);
}

/* Which page may come along: the truth table of pagein, by states of page 101 while page 100 faults. */
static void test_fault_pagein_eligibility_truth_table(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *state;
        bool eligible;
    } rows[] = {{"absent", true}, {"removed", true}, {"resident", false}, {"busy", false}, {"in error", false}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        make_object(f);
        pgl_object_advise(f->object, PGL_ADVICE_RANDOM);
        f->sim.script = i == 0 || i == 3 ? sim_keep : i == 4 ? sim_error : sim_now;
        if (i != 0) {
            read_page(&f->b, f->object, 101);
        }
        if (i == 1) {
            assert_int_equal(pgl_object_remove(f->object, 101, 101), 1);
        }
        f->sim.script = sim_keep;
        pgl_object_advise(f->object, PGL_ADVICE_DEFAULT);
        assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
        if ((sim_last(&f->sim)->range.last > 100) != rows[i].eligible) {
            fail_msg("a page that is %s was %s", rows[i].state, rows[i].eligible ? "skipped" : "asked for");
        }
        pgl_object_terminate(f->object);
        assert_int_equal(go_on(&f->a), PGL_FAULT_MEMORY_ERROR);
        if (i == 3) {
            assert_int_equal(go_on(&f->b), PGL_FAULT_MEMORY_ERROR);
        }
        assert_at_rest(f->object);
        pgl_object_unref(f->object);
        f->object = NULL;
    }
}

/* Advice */

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

/* A short budget goes to the pages ahead of who reads in sequence; others have it on both sides. */
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

/* What is left behind ends right before the cluster: not where memory ran short before the cluster's first page. */
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

static void test_fault_wired_page_stays_until_it_is_unwired(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    assert_int_equal(fault_on(&f->a, f->object, 50, PGL_ACCESS_READ, PGL_FAULT_FLAG_WIRE), PGL_FAULT_SUCCESS);
    assert_int_equal(fault_on(&f->a, f->object, 50, PGL_ACCESS_READ, PGL_FAULT_FLAG_WIRE), PGL_FAULT_SUCCESS);
    assert_int_equal(pgl_object_remove(f->object, 0, NPAGES - 1), 0);
    assert_true(pgl_object_unwire(f->object, 50));
    assert_int_equal(pgl_object_remove(f->object, 0, NPAGES - 1), 0);
    assert_true(pgl_object_unwire(f->object, 50));
    errno = 0;
    assert_false(pgl_object_unwire(f->object, 50));
    assert_int_equal(errno, EINVAL);
    assert_int_equal(pgl_object_remove(f->object, 0, NPAGES - 1), 1);
    assert_false(pgl_object_resident(f->object, 50));
}

static void test_fault_that_demands_residency_asks_no_pager(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    f->sim.script = sim_keep;
    assert_int_equal(fault_on(&f->a, f->object, 100, PGL_ACCESS_READ, PGL_FAULT_FLAG_RESIDENT), PGL_FAULT_NO_DATA);
    assert_int_equal(f->sim.nrequests, 0);
    assert_at_rest(f->object);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    assert_int_equal(fault_on(&f->b, f->object, 100, PGL_ACCESS_READ, PGL_FAULT_FLAG_RESIDENT), PGL_FAULT_PENDING);
    sim_supply(&f->sim, sim_last(&f->sim), 98, 104, PGL_ACCESS_READ);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_int_equal(go_on(&f->b), PGL_FAULT_SUCCESS);
    assert_int_equal(fault_on(&f->b, f->object, 100, PGL_ACCESS_WRITE, PGL_FAULT_FLAG_RESIDENT), PGL_FAULT_NO_DATA);
    assert_int_equal(f->sim.nunlocks, 0);
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

/* Waiting: a page's queue, and that for credits, with one fault, two and three, of which any one goes first. */

static void test_fault_queue_of_any_length_loses_nobody(void **state)
{
    struct fixture *f = *state;

    for (unsigned n = 1; n <= 3; n++) {
        for (unsigned gone = 0; gone < n; gone++) {
            for (unsigned credits = 0; credits < 2; credits++) { /* they wait for a page, or for a credit */
                struct probe probes[3] = {{.fault = NULL}};

                make_object_with_credits(f, 7);
                assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING); /* takes all seven */
                for (unsigned i = 0; i < n; i++) {
                    probes[i].fault = pgl_fault_new();
                    assert_int_equal(read_page(&probes[i], f->object, credits ? 200 + i : 101), PGL_FAULT_PENDING);
                }
                assert_int_equal(stats_of(f->object).waiting, 1 + n);
                pgl_fault_interrupt(probes[gone].fault);
                assert_int_equal(stats_of(f->object).waiting, n);
                for (unsigned i = 0; i < n; i++) {
                    assert_int_equal(probes[i].ready, i == gone);
                }
                assert_int_equal(go_on(&probes[gone]), PGL_FAULT_INTERRUPTED);
                f->sim.script = sim_now;
                sim_now(&f->sim, sim_last(&f->sim), true);
                assert_int_equal(stats_of(f->object).waiting, 0);
                assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
                for (unsigned i = 0; i < n; i++) {
                    if (i != gone) {
                        assert_int_equal(go_on(&probes[i]), PGL_FAULT_SUCCESS);
                    }
                    pgl_fault_free(probes[i].fault);
                }
                assert_at_rest(f->object);
                pgl_object_unref(f->object);
                f->object = NULL;
            }
        }
    }
}

/* Memory and credits */

static void test_fault_without_spare_memory_asks_for_the_demand_page(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    f->sim.nframes = 10;
    f->sim.reserve = 10;
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 100, 100, 100);
    f->sim.reserve = 5; /* one frame is used; the next demand page takes one; three are left for speculation */
    assert_int_equal(read_page(&f->a, f->object, 200), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 199, 202, 200);
}

/*
 * The frames of an external object are taken when the reply comes, and are owed until then; those of an internal one were
 * taken when it asked.
 */
static void test_fault_speculates_on_frames_that_nobody_is_owed(void **state)
{
    struct fixture *f = *state;

    for (unsigned internal = 0; internal < 2; internal++) {
        struct pgl_object_config config = config_of(f);

        config.internal = internal;
        f->object = pgl_object_new(&config);
        f->sim.script = sim_keep;
        f->sim.nframes = 11;
        assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
        assert_asked(&f->sim, 98, 104, 100); /* seven, of eleven */
        assert_int_equal(read_page(&f->b, f->object, 200), PGL_FAULT_PENDING);
        assert_asked(&f->sim, 199, 202, 200); /* the other four */
        assert_int_equal(f->sim.frames_used, internal ? 11 : 0);
        pgl_object_terminate(f->object);
        assert_int_equal(go_on(&f->a), PGL_FAULT_MEMORY_ERROR);
        assert_int_equal(go_on(&f->b), PGL_FAULT_MEMORY_ERROR);
        pgl_object_unref(f->object);
        f->object = NULL;
    }
}

/* Running short in the middle must cost speculation at the edges, never the demand page. */
static void test_fault_short_of_memory_cuts_speculation_not_the_demand(void **state)
{
    struct fixture *f = *state;
    struct sim_injector injector = {0};
    struct pgl_object_config config = config_of(f);

    config.internal = true;
    f->object = pgl_object_new(&config);
    read_page(&f->a, f->object, 0); /* the chunks are there: from now on only frames are allocated */
    read_page(&f->a, f->object, 64);
    read_page(&f->a, f->object, 128);
    f->sim.injector = &injector;
    f->sim.script = sim_keep;
    injector.at = 4; /* frames: 100, 101, 99, and none for 102 */
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    assert_asked(&f->sim, 99, 101, 100);
    assert_int_equal(stats_of(f->object).outstanding, 3);
    f->sim.injector = NULL;
    sim_now(&f->sim, sim_last(&f->sim), true);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_at_rest(f->object);
}

static void test_fault_without_memory_for_the_demand_page_is_a_shortage(void **state)
{
    struct fixture *f = *state;
    struct pgl_object_config config = config_of(f);

    config.internal = true;
    f->object = pgl_object_new(&config);
    f->sim.nframes = 1;
    assert_int_equal(read_page(&f->a, f->object, 5), PGL_FAULT_SUCCESS);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_MEMORY_SHORTAGE);
    assert_int_equal(f->sim.nrequests, 1); /* memory is reserved before the pager is asked */
    assert_at_rest(f->object);
}

static void test_fault_shortage_at_the_reply_reaches_every_waiter(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    f->sim.nframes = 1;
    f->sim.script = sim_keep;
    pgl_object_advise(f->object, PGL_ADVICE_RANDOM);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    assert_int_equal(read_page(&f->b, f->object, 100), PGL_FAULT_PENDING);
    f->sim.frames_used++; /* somebody else took the last one */
    assert_int_equal(sim_supply(&f->sim, sim_last(&f->sim), 100, 100, PGL_ACCESS_READ), 0);
    f->sim.frames_used--;
    assert_int_equal(go_on(&f->a), PGL_FAULT_MEMORY_SHORTAGE);
    assert_int_equal(go_on(&f->b), PGL_FAULT_MEMORY_SHORTAGE);
    assert_int_equal(stats_of(f->object).aliens, 0);
    assert_at_rest(f->object);
}

static void test_fault_credits_cut_speculation(void **state)
{
    struct fixture *f = *state;

    make_object_with_credits(f, 4);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    assert_asked(&f->sim, 99, 102, 100);
    assert_int_equal(stats_of(f->object).outstanding, 4);
    pgl_object_terminate(f->object);
    assert_int_equal(go_on(&f->a), PGL_FAULT_MEMORY_ERROR);
}

static void test_fault_without_a_credit_waits_for_one(void **state)
{
    struct fixture *f = *state;
    struct pgl_request first;

    make_object_with_credits(f, 4);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    first = *sim_last(&f->sim);
    assert_int_equal(read_page(&f->b, f->object, 200), PGL_FAULT_PENDING);
    assert_int_equal(f->sim.nrequests, 1);
    sim_supply(&f->sim, &first, 102, 102, PGL_ACCESS_READ);
    assert_int_equal(go_on(&f->b), PGL_FAULT_PENDING);
    assert_asked(&f->sim, 200, 200, 200);
    sim_supply(&f->sim, &first, 99, 101, PGL_ACCESS_READ);
    sim_supply(&f->sim, sim_last(&f->sim), 200, 200, PGL_ACCESS_READ);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_int_equal(go_on(&f->b), PGL_FAULT_SUCCESS);
    assert_at_rest(f->object);
}

static void test_fault_without_a_credit_retries_if_asked_to(void **state)
{
    struct fixture *f = *state;

    make_object_with_credits(f, 1);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    assert_int_equal(fault_on(&f->b, f->object, 200, PGL_ACCESS_READ, PGL_FAULT_FLAG_NO_WAIT), PGL_FAULT_RETRY);
    sim_supply(&f->sim, sim_last(&f->sim), 100, 100, PGL_ACCESS_READ);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_at_rest(f->object);
}

static void test_fault_waiting_for_a_credit_can_be_interrupted(void **state)
{
    struct fixture *f = *state;

    make_object_with_credits(f, 1);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    assert_int_equal(read_page(&f->b, f->object, 200), PGL_FAULT_PENDING);
    pgl_fault_interrupt(f->b.fault);
    assert_int_equal(go_on(&f->b), PGL_FAULT_INTERRUPTED);
    assert_int_equal(stats_of(f->object).waiting, 1);
    sim_supply(&f->sim, sim_last(&f->sim), 100, 100, PGL_ACCESS_READ);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_at_rest(f->object);
}

/* A credit wakes everybody: the one that is woken first may no longer want it. */
static void test_fault_credit_is_not_lost_with_an_interrupted_waiter(void **state)
{
    struct fixture *f = *state;
    struct probe c = {.fault = pgl_fault_new()};

    make_object_with_credits(f, 1);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    assert_int_equal(read_page(&f->b, f->object, 200), PGL_FAULT_PENDING);
    assert_int_equal(read_page(&c, f->object, 201), PGL_FAULT_PENDING);
    sim_supply(&f->sim, sim_last(&f->sim), 100, 100, PGL_ACCESS_READ);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_int_equal(stats_of(f->object).waiting, 0);
    pgl_fault_interrupt(f->b.fault); /* too late for this wait, in time for the next */
    assert_int_equal(go_on(&f->b), PGL_FAULT_INTERRUPTED);
    f->sim.script = sim_now;
    assert_int_equal(go_on(&c), PGL_FAULT_SUCCESS);
    assert_at_rest(f->object);
    pgl_fault_free(c.fault);
}

static void test_fault_waits_for_a_pager_that_is_not_ready(void **state)
{
    struct fixture *f = *state;
    struct pgl_object_config config = config_of(f);

    config.pager_unready = true;
    f->object = pgl_object_new(&config);
    assert_int_equal(fault_on(&f->a, f->object, 5, PGL_ACCESS_READ, PGL_FAULT_FLAG_NO_WAIT), PGL_FAULT_RETRY);
    assert_int_equal(read_page(&f->a, f->object, 5), PGL_FAULT_PENDING);
    assert_int_equal(read_page(&f->b, f->object, 9), PGL_FAULT_PENDING);
    assert_int_equal(f->sim.nrequests, 0);
    pgl_fault_interrupt(f->b.fault);
    assert_int_equal(go_on(&f->b), PGL_FAULT_INTERRUPTED);
    pgl_object_set_ready(f->object);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_at_rest(f->object);
    pgl_object_unref(f->object);
    f->object = pgl_object_new(&config);
    pgl_object_set_ready(f->object); /* before anybody waits for it */
    assert_int_equal(read_page(&f->a, f->object, 5), PGL_FAULT_SUCCESS);
    assert_at_rest(f->object);
}

/* Access */

static void test_fault_speculation_asks_for_reading_only(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    assert_int_equal(write_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    assert_int_equal(sim_last(&f->sim)->access, PGL_ACCESS_WRITE);
    assert_int_equal(sim_last(&f->sim)->pager_demand, 100); /* the access is for this page alone */
    assert_int_equal(f->a.page.access, PGL_ACCESS_WRITE);
    assert_int_equal(read_page(&f->a, f->object, 101), PGL_FAULT_SUCCESS);
    assert_int_equal(f->a.page.access, PGL_ACCESS_READ);
    assert_int_equal(write_page(&f->a, f->object, 101), PGL_FAULT_SUCCESS); /* so that a write asks for access */
    assert_int_equal(f->sim.nunlocks, 1);
    assert_int_equal(f->sim.nrequests, 1);
    assert_asked(&f->sim, 101, 101, 101); /* neighbours can be read already, and speculation asks for no more */
    assert_int_equal(f->a.page.access, PGL_ACCESS_WRITE);
    assert_int_equal(stats_of(f->object).by_advice[PGL_ADVICE_DEFAULT].unlocks, 1);
}

/* Which page may come along in an access request: by states of page 101 while page 100 lacks access. */
static void test_fault_unlock_eligibility_truth_table(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *state;
        enum pgl_access has;
        bool eligible;
    } rows[] = {
        {"resident without access", PGL_ACCESS_NONE, true},   {"resident and readable", PGL_ACCESS_READ, false},
        {"resident and writable", PGL_ACCESS_WRITE, false},   {"absent", PGL_ACCESS_NONE, false},
        {"asked for access already", PGL_ACCESS_NONE, false}, {"busy", PGL_ACCESS_NONE, false},
    };

    for (size_t i = 0; i < 2 * sizeof(rows) / sizeof(rows[0]); i++) {
        enum pgl_access wanted = i % 2 != 0 ? PGL_ACCESS_WRITE : PGL_ACCESS_READ;
        size_t row = i / 2;

        make_object(f);
        pgl_object_advise(f->object, PGL_ADVICE_RANDOM);
        f->sim.script = sim_now;
        write_page(&f->a, f->object, 100);
        pgl_pager_withhold(f->object, (struct pgl_pager_range){100, 100}, PGL_ACCESS_NONE);
        f->sim.script = row == 5 ? sim_keep : sim_now;
        if (row != 3) {
            write_page(&f->b, f->object, 101);
            pgl_pager_withhold(f->object, (struct pgl_pager_range){101, 101}, rows[row].has);
        }
        f->sim.script = sim_keep;
        if (row == 4) {
            assert_int_equal(read_page(&f->b, f->object, 101), PGL_FAULT_PENDING);
        }
        pgl_object_advise(f->object, PGL_ADVICE_DEFAULT);
        assert_int_equal(fault_on(&f->a, f->object, 100, wanted, 0), PGL_FAULT_PENDING);
        assert_int_equal(sim_last(&f->sim)->access, wanted);
        if ((sim_last(&f->sim)->range.last > 100) != rows[row].eligible) {
            fail_msg("a page that is %s was %s", rows[row].state, rows[row].eligible ? "skipped" : "asked for");
        }
        pgl_object_terminate(f->object);
        assert_int_equal(go_on(&f->a), PGL_FAULT_MEMORY_ERROR);
        if (row >= 4) {
            assert_int_equal(go_on(&f->b), PGL_FAULT_MEMORY_ERROR);
        }
        assert_at_rest(f->object);
        pgl_object_unref(f->object);
        f->object = NULL;
    }
}

/* 98..104 are resident and may not even be read. */
static void make_locked_pages(struct fixture *f)
{
    make_object(f);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    assert_int_equal(pgl_pager_withhold(f->object, (struct pgl_pager_range){0, UINT64_MAX}, PGL_ACCESS_NONE), 7);
    f->sim.script = sim_keep;
}

static void test_fault_unlocks_a_cluster_in_one_request(void **state)
{
    struct fixture *f = *state;

    make_locked_pages(f);
    f->sim.nframes = f->sim.frames_used; /* access takes no memory */
    assert_int_equal(write_page(&f->a, f->object, 101), PGL_FAULT_PENDING);
    assert_int_equal(f->sim.nunlocks, 1);
    assert_int_equal(f->sim.nrequests, 1);
    assert_asked(&f->sim, 99, 104, 101);
    assert_int_equal(sim_last(&f->sim)->access, PGL_ACCESS_WRITE);
    assert_int_equal(read_page(&f->b, f->object, 103), PGL_FAULT_PENDING);
    assert_int_equal(f->sim.nunlocks, 1);
    sim_now(&f->sim, sim_last(&f->sim), false);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_int_equal(go_on(&f->b), PGL_FAULT_SUCCESS);
    assert_int_equal(f->a.page.access, PGL_ACCESS_WRITE);
    assert_int_equal(f->b.page.access, PGL_ACCESS_READ);
    assert_at_rest(f->object);
}

static void test_fault_unlock_failure_takes_back_the_request_never_the_page(void **state)
{
    struct fixture *f = *state;
    void *frame;

    make_locked_pages(f);
    frame = f->a.page.frame;
    assert_int_equal(write_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    assert_int_equal(pgl_pager_error(f->object, sim_last(&f->sim)->id, sim_last(&f->sim)->range), 7);
    assert_int_equal(go_on(&f->a), PGL_FAULT_MEMORY_ERROR);
    f->sim.script = sim_refuse;
    f->sim.refusal = EIO;
    assert_int_equal(write_page(&f->a, f->object, 100), PGL_FAULT_MEMORY_ERROR);
    f->sim.script = sim_keep;
    assert_int_equal(write_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    pgl_fault_interrupt(f->a.fault);
    assert_int_equal(go_on(&f->a), PGL_FAULT_INTERRUPTED);
    assert_int_equal(stats_of(f->object).resident, 7);
    assert_at_rest(f->object);
    f->sim.script = sim_now;
    assert_int_equal(write_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    assert_ptr_equal(f->a.page.frame, frame);
}

static void test_fault_asks_again_when_too_little_was_granted(void **state)
{
    struct fixture *f = *state;

    make_locked_pages(f);
    assert_int_equal(write_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    pgl_pager_grant(f->object, sim_last(&f->sim)->id, sim_last(&f->sim)->range, PGL_ACCESS_READ);
    f->sim.script = sim_now;
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_int_equal(f->sim.nunlocks, 2);
    assert_int_equal(f->a.page.access, PGL_ACCESS_WRITE);
}

/* Such a pager never withholds access; where one did so all the same, nobody can be asked. */
static void test_fault_without_anybody_to_ask_for_access_is_an_error(void **state)
{
    struct fixture *f = *state;
    static struct pgl_pager_ops no_access; /* it outlives the object */
    struct pgl_object_config config = config_of(f);

    no_access.data_request = sim_pager_ops.data_request;
    config.pager_ops = &no_access;
    f->object = pgl_object_new(&config);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    assert_int_equal(write_page(&f->a, f->object, 100), PGL_FAULT_MEMORY_ERROR);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    assert_at_rest(f->object);
}

static void test_fault_a_page_supplied_without_access_is_unlocked_before_use(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    f->sim.script = sim_keep;
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    sim_supply(&f->sim, sim_last(&f->sim), 98, 104, PGL_ACCESS_NONE);
    assert_int_equal(go_on(&f->a), PGL_FAULT_PENDING);
    assert_int_equal(f->sim.nunlocks, 1);
    assert_int_equal(pgl_object_remove(f->object, 98, 104), 0); /* asked for: it stays */
    sim_now(&f->sim, sim_last(&f->sim), false);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_at_rest(f->object);
}

/* Bad input */

static void test_fault_refuses_an_access_or_a_flag_that_does_not_exist(void **state)
{
    struct fixture *f = *state;
    static const struct {
        int access;
        unsigned flags;
    } rows[] = {{PGL_ACCESS_NONE, 0}, {2, 0}, {4, 0}, {-1, 0}, {PGL_ACCESS_READ, 16}, {PGL_ACCESS_READ, 1u << 31}};
    const struct pgl_fault_args nowhere = {.access = PGL_ACCESS_READ};

    make_object(f);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        errno = 0;
        assert_int_equal(fault_on(&f->a, f->object, 100, (enum pgl_access)rows[i].access, rows[i].flags),
                         PGL_FAULT_INVALID);
        assert_int_equal(errno, EINVAL);
    }
    errno = 0;
    assert_int_equal(start(&f->a, &nowhere), PGL_FAULT_INVALID);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(f->sim.nrequests + f->sim.nunlocks, 0);
    assert_int_equal(stats_of(f->object).by_advice[PGL_ADVICE_DEFAULT].touches, 0);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS); /* it is as good as before */
}

static void test_fault_replies_with_an_access_that_does_not_exist_are_refused(void **state)
{
    struct fixture *f = *state;
    static const int accesses[] = {2, 4, -1};
    const struct pgl_pager_range page = {100, 100};
    uint64_t id;

    make_object(f);
    pgl_object_advise(f->object, PGL_ADVICE_RANDOM);
    f->sim.script = sim_keep;
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    for (size_t i = 0; i < sizeof(accesses) / sizeof(accesses[0]); i++) {
        errno = 0;
        assert_int_equal(sim_supply(&f->sim, sim_last(&f->sim), 100, 100, (enum pgl_access)accesses[i]), 0);
        assert_int_equal(errno, EINVAL);
    }
    assert_int_equal(sim_supply(&f->sim, sim_last(&f->sim), 100, 100, PGL_ACCESS_READ), 1);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);

    assert_int_equal(write_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    id = sim_last(&f->sim)->id;
    for (size_t i = 0; i < sizeof(accesses) / sizeof(accesses[0]); i++) {
        errno = 0;
        assert_int_equal(pgl_pager_grant(f->object, id, page, (enum pgl_access)accesses[i]), 0);
        assert_int_equal(errno, EINVAL);
        errno = 0;
        assert_int_equal(pgl_pager_withhold(f->object, page, (enum pgl_access)accesses[i]), 0);
        assert_int_equal(errno, EINVAL);
    }
    assert_int_equal(f->a.ready, 0);
    assert_int_equal(stats_of(f->object).aliens, 0);
    assert_int_equal(pgl_pager_grant(f->object, id, page, PGL_ACCESS_WRITE), 1);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_int_equal(f->a.page.access, PGL_ACCESS_WRITE);
    assert_at_rest(f->object);
}

static void test_fault_object_refuses_bad_configurations(void **state)
{
    struct fixture *f = *state;
    struct pgl_pager_ops no_request = sim_pager_ops;
    struct pgl_memory_ops no_copy = sim_memory_ops;

    make_object(f);
    no_request.data_request = NULL;
    no_copy.copy = NULL;
    for (unsigned i = 0; i < 7; i++) {
        struct pgl_object_config config = config_of(f);

        switch (i) {
        case 0:
            config.advice = (enum pgl_advice)PGL_ADVICE_COUNT;
            break;
        case 1:
            config.pager_ops = &no_request;
            break;
        case 2:
            config.pager_range = (struct pgl_pager_range){9, 8};
            break;
        case 3:
            config.memory_ops = &no_copy;
            break;
        case 4:
            config.page_size = 0;
            break;
        case 5:
            config.backing = f->object;
            config.backing_first = NPAGES;
            break;
        case 6:
            config.backing = f->object;
            config.memory_ops = NULL;
            break;
        }
        errno = 0;
        assert_null(pgl_object_new(&config));
        assert_int_equal(errno, EINVAL);
    }
}

static void test_fault_object_without_memory_keeps_states_only(void **state)
{
    struct fixture *f = *state;
    struct pgl_object_config config = config_of(f);

    config.memory_ops = NULL;
    f->object = pgl_object_new(&config);
    assert_int_equal(write_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    assert_null(f->a.page.frame);
    assert_asked(&f->sim, 98, 104, 100);
    assert_true(pgl_object_resident(f->object, 104));
    assert_at_rest(f->object);
}

static void *count_bytes(void *heap, size_t size)
{
    *(size_t *)heap += size;
    return calloc(1, size);
}

static void free_block(void *heap, void *block)
{
    (void)heap;
    free(block);
}

/* A pager on userfaultfd keeps the states of very many pages. */
static void test_fault_object_without_memory_has_no_room_for_frames(void **state)
{
    struct fixture *f = *state;
    const struct pgl_heap_ops heap_ops = {count_bytes, free_block};
    size_t bytes[2] = {0, 0};

    for (unsigned memory = 0; memory < 2; memory++) {
        struct pgl_object_config config = config_of(f);
        size_t before;

        config.memory_ops = memory ? &sim_memory_ops : NULL;
        config.heap_ops = &heap_ops;
        config.heap = &bytes[memory];
        f->object = pgl_object_new(&config);
        assert_int_equal(read_page(&f->a, f->object, 10), PGL_FAULT_SUCCESS);
        before = bytes[memory];
        assert_int_equal(fault_on(&f->a, f->object, 100, PGL_ACCESS_READ, PGL_FAULT_FLAG_WIRE), PGL_FAULT_SUCCESS);
        bytes[memory] -= before; /* one record of 64 pages is left */
        assert_int_equal(pgl_object_remove(f->object, 0, NPAGES - 1), 7);
        assert_true(pgl_object_unwire(f->object, 100)); /* wires need none */
        assert_int_equal(pgl_object_check(f->object, sim_say, NULL), 0);
        pgl_object_unref(f->object);
        f->object = NULL;
    }
    assert_int_equal(bytes[1] - bytes[0], 64 * sizeof(void *));
}

/* Sleeping faults */

struct sleeper {
    pthread_t thread;
    struct pgl_fault *fault;
    struct pgl_fault_args args;
    struct pgl_fault_page page;
    enum pgl_fault_result result;
};

static void *sleep_on(void *arg)
{
    struct sleeper *sleeper = arg;

    sleeper->result = pgl_fault_run(sleeper->fault, &sleeper->args, &sleeper->page);
    return NULL;
}

static void start_sleeper(struct sleeper *sleeper, struct pgl_object *object, uint64_t index)
{
    sleeper->fault = pgl_fault_new();
    sleeper->args = (struct pgl_fault_args){.object = object, .index = index, .access = PGL_ACCESS_READ};
    assert_int_equal(pthread_create(&sleeper->thread, NULL, sleep_on, sleeper), 0);
}

static void end_sleeper(struct sleeper *sleeper)
{
    pthread_join(sleeper->thread, NULL);
    pgl_fault_free(sleeper->fault);
}

/* They wait, and the first one's request is in the log. */
static void await_sleepers(struct fixture *f, uint64_t n)
{
    while (stats_of(f->object).waiting < n || __atomic_load_n(&f->sim.nrequests, __ATOMIC_ACQUIRE) == 0) {
        sched_yield();
    }
}

static void test_fault_sleepers_all_wake_with_the_page(void **state)
{
    struct fixture *f = *state;
    struct sleeper sleepers[4];

    make_object(f);
    f->sim.script = sim_keep;
    start_sleeper(&sleepers[0], f->object, 100);
    await_sleepers(f, 1);
    for (unsigned i = 1; i < 4; i++) {
        start_sleeper(&sleepers[i], f->object, 100 + i);
    }
    await_sleepers(f, 4);
    sim_now(&f->sim, sim_last(&f->sim), true);
    for (unsigned i = 0; i < 4; i++) {
        end_sleeper(&sleepers[i]);
        assert_int_equal(sleepers[i].result, PGL_FAULT_SUCCESS);
        assert_true(sim_frame_is(sleepers[i].page.frame, 0xaa, 100 + i));
    }
    assert_int_equal(f->sim.nrequests, 1);
    assert_at_rest(f->object);
}

static void test_fault_sleeper_of_a_silent_pager_is_woken_by_interruption(void **state)
{
    struct fixture *f = *state;
    struct sleeper sleeper;

    make_object(f);
    f->sim.script = sim_keep;
    start_sleeper(&sleeper, f->object, 100);
    await_sleepers(f, 1);
    pgl_fault_interrupt(sleeper.fault);
    end_sleeper(&sleeper);
    assert_int_equal(sleeper.result, PGL_FAULT_INTERRUPTED);
    assert_at_rest(f->object);
    assert_int_equal(sim_supply(&f->sim, sim_last(&f->sim), 98, 104, PGL_ACCESS_READ), 0); /* too late: alien */
    assert_int_equal(stats_of(f->object).aliens, 7);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_fault_fetches_one_cluster_in_one_request),
        TEST(test_fault_random_fetches_no_neighbour),
        TEST(test_fault_asks_in_the_pagers_pages),
        TEST(test_fault_takes_replies_that_are_wider_than_the_pagers_range),
        TEST(test_fault_in_an_open_pager_range_ends_with_the_object),
        TEST(test_fault_reaches_the_top_page_of_64_bits),
        TEST(test_fault_outside_the_object_has_no_entry),
        TEST(test_fault_ends_when_the_demand_page_is_there),
        TEST(test_fault_that_fails_leaves_the_request_before_it_alone),
        TEST(test_fault_takes_replies_in_any_order_and_portions),
        TEST(test_fault_counts_duplicate_replies_and_keeps_the_first),
        TEST(test_fault_refuses_replies_that_nobody_asked_for),
        TEST(test_fault_waits_for_a_page_that_another_fetches),
        TEST(test_fault_pagein_eligibility_truth_table),
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
        TEST(test_fault_wired_page_stays_until_it_is_unwired),
        TEST(test_fault_that_demands_residency_asks_no_pager),
        TEST(test_fault_counts_speculative_pages_that_were_used),
        TEST(test_fault_queue_of_any_length_loses_nobody),
        TEST(test_fault_without_spare_memory_asks_for_the_demand_page),
        TEST(test_fault_speculates_on_frames_that_nobody_is_owed),
        TEST(test_fault_short_of_memory_cuts_speculation_not_the_demand),
        TEST(test_fault_without_memory_for_the_demand_page_is_a_shortage),
        TEST(test_fault_shortage_at_the_reply_reaches_every_waiter),
        TEST(test_fault_credits_cut_speculation),
        TEST(test_fault_without_a_credit_waits_for_one),
        TEST(test_fault_without_a_credit_retries_if_asked_to),
        TEST(test_fault_waiting_for_a_credit_can_be_interrupted),
        TEST(test_fault_credit_is_not_lost_with_an_interrupted_waiter),
        TEST(test_fault_waits_for_a_pager_that_is_not_ready),
        TEST(test_fault_speculation_asks_for_reading_only),
        TEST(test_fault_unlock_eligibility_truth_table),
        TEST(test_fault_unlocks_a_cluster_in_one_request),
        TEST(test_fault_unlock_failure_takes_back_the_request_never_the_page),
        TEST(test_fault_asks_again_when_too_little_was_granted),
        TEST(test_fault_without_anybody_to_ask_for_access_is_an_error),
        TEST(test_fault_a_page_supplied_without_access_is_unlocked_before_use),
        TEST(test_fault_refuses_an_access_or_a_flag_that_does_not_exist),
        TEST(test_fault_replies_with_an_access_that_does_not_exist_are_refused),
        TEST(test_fault_object_refuses_bad_configurations),
        TEST(test_fault_object_without_memory_keeps_states_only),
        TEST(test_fault_object_without_memory_has_no_room_for_frames),
        TEST(test_fault_sleepers_all_wake_with_the_page),
        TEST(test_fault_sleeper_of_a_silent_pager_is_woken_by_interruption),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
