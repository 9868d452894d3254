/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The fault driver, one claim a test. Most faults here are of the kind that never sleeps, so that a single thread can
 * stop one at any point and look at what is marked; test_fault_sleeper_* and stress_fault use threads.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "sim.h"

#include "cm.h"

#define NPAGES 256

/* One fault, and how often it was told that it can go on. */
struct probe {
    struct pgl_fault *fault;
    struct pgl_fault_page page;
    unsigned ready;
};

struct fixture {
    struct sim sim;
    struct pgl_object *object;
    struct probe a, b;
};

/* before, after, behind */
static const struct pgl_advice_table table = {{
    [PGL_ADVICE_DEFAULT] = {2, 4, 0},
    [PGL_ADVICE_RANDOM] = {0, 0, 0},
    [PGL_ADVICE_NORMAL] = {3, 3, 0},
    [PGL_ADVICE_SEQUENTIAL] = {0, 7, 8},
}};

static void on_ready(void *arg)
{
    struct probe *probe = arg;

    probe->ready++;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    f->sim.script = sim_now;
    f->sim.tag = 0xaa;
    f->a.fault = pgl_fault_new();
    f->b.fault = pgl_fault_new();
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    bool leaked;

    pgl_fault_free(f->a.fault);
    pgl_fault_free(f->b.fault);
    pgl_object_unref(f->object);
    leaked = f->sim.blocks_used != 0 || f->sim.frames_used != 0;
    free(f);
    return leaked;
}

static struct pgl_object_config config_of(struct fixture *f)
{
    struct pgl_object_config config = sim_config(&f->sim, NPAGES);

    config.table = &table;
    return config;
}

/* The fixture's object as most tests want it: external, all pages at the pager. */
static void make_object(struct fixture *f)
{
    struct pgl_object_config config = config_of(f);

    f->object = pgl_object_new(&config);
    assert_non_null(f->object);
}

static enum pgl_fault_result start(struct probe *probe, const struct pgl_fault_args *args)
{
    probe->ready = 0;
    return pgl_fault_start(probe->fault, args, &probe->page, on_ready, probe);
}

static enum pgl_fault_result fault_on(struct probe *probe, struct pgl_object *object, uint64_t index,
                                      enum pgl_access access, unsigned flags)
{
    const struct pgl_fault_args args = {
        .object = object, .index = index, .access = access, .flags = flags, .cookie = probe->fault};

    return start(probe, &args);
}

static enum pgl_fault_result read_page(struct probe *probe, struct pgl_object *object, uint64_t index)
{
    return fault_on(probe, object, index, PGL_ACCESS_READ, 0);
}

static enum pgl_fault_result write_page(struct probe *probe, struct pgl_object *object, uint64_t index)
{
    return fault_on(probe, object, index, PGL_ACCESS_WRITE, 0);
}

/* The fault was told exactly once that it can go on. */
static enum pgl_fault_result go_on(struct probe *probe)
{
    assert_int_equal(probe->ready, 1);
    probe->ready = 0;
    return pgl_fault_continue(probe->fault, &probe->page);
}

static struct pgl_object_stats stats_of(struct pgl_object *object)
{
    struct pgl_object_stats stats;

    assert_null(pgl_object_check(object));
    pgl_object_stats(object, &stats);
    return stats;
}

/* Nothing marked, no credit in use, nobody waiting. */
static void assert_at_rest(struct pgl_object *object)
{
    struct pgl_object_stats stats = stats_of(object);

    assert_int_equal(stats.busy, 0);
    assert_int_equal(stats.outstanding, 0);
    assert_int_equal(stats.waiting, 0);
}

static void assert_asked(const struct sim *sim, uint64_t first, uint64_t last, uint64_t demand)
{
    const struct pgl_request *request = sim_last(sim);

    assert_int_equal(request->range.first, first);
    assert_int_equal(request->range.last, last);
    assert_int_equal(request->pager_demand, demand);
}

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
        assert_null(pgl_object_check(f->object));
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
    struct pgl_advice_table wide = table;

    make_object(f);
    wide.row[PGL_ADVICE_DEFAULT] = (struct pgl_advice_row){10, 20, 0};
    pgl_object_set_table(f->object, &wide);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 90, 120, 100);
    pgl_object_set_table(f->object, NULL);
    assert_int_equal(read_page(&f->a, f->object, 200), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 197, 212, 200);
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

static void test_fault_that_wires_or_is_retried_does_not_speculate(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    assert_int_equal(fault_on(&f->a, f->object, 50, PGL_ACCESS_READ, PGL_FAULT_WIRE), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 50, 50, 50);
    assert_int_equal(fault_on(&f->a, f->object, 70, PGL_ACCESS_READ, PGL_FAULT_RETRIED), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 70, 70, 70);
}

static void test_fault_wired_page_stays_until_it_is_unwired(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    assert_int_equal(fault_on(&f->a, f->object, 50, PGL_ACCESS_READ, PGL_FAULT_WIRE), PGL_FAULT_SUCCESS);
    assert_int_equal(fault_on(&f->a, f->object, 50, PGL_ACCESS_READ, PGL_FAULT_WIRE), PGL_FAULT_SUCCESS);
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
    assert_int_equal(fault_on(&f->a, f->object, 100, PGL_ACCESS_READ, PGL_FAULT_RESIDENT), PGL_FAULT_NO_DATA);
    assert_int_equal(f->sim.nrequests, 0);
    assert_at_rest(f->object);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    assert_int_equal(fault_on(&f->b, f->object, 100, PGL_ACCESS_READ, PGL_FAULT_RESIDENT), PGL_FAULT_PENDING);
    sim_supply(&f->sim, sim_last(&f->sim), 98, 104, PGL_ACCESS_READ);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_int_equal(go_on(&f->b), PGL_FAULT_SUCCESS);
    assert_int_equal(fault_on(&f->b, f->object, 100, PGL_ACCESS_WRITE, PGL_FAULT_RESIDENT), PGL_FAULT_NO_DATA);
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

static void make_object_with_credits(struct fixture *f, uint64_t credits)
{
    struct pgl_object_config config = config_of(f);

    config.credits = credits;
    f->object = pgl_object_new(&config);
    f->sim.script = sim_keep;
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
    assert_int_equal(fault_on(&f->b, f->object, 200, PGL_ACCESS_READ, PGL_FAULT_NO_WAIT), PGL_FAULT_RETRY);
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
    assert_int_equal(fault_on(&f->a, f->object, 5, PGL_ACCESS_READ, PGL_FAULT_NO_WAIT), PGL_FAULT_RETRY);
    assert_int_equal(read_page(&f->a, f->object, 5), PGL_FAULT_PENDING);
    assert_int_equal(read_page(&f->b, f->object, 9), PGL_FAULT_PENDING);
    assert_int_equal(f->sim.nrequests, 0);
    pgl_fault_interrupt(f->b.fault);
    assert_int_equal(go_on(&f->b), PGL_FAULT_INTERRUPTED);
    pgl_object_set_ready(f->object);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_at_rest(f->object);
}

/* Failure */

static void test_fault_error_reaches_every_waiter(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    f->sim.script = sim_keep;
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    assert_int_equal(write_page(&f->b, f->object, 100), PGL_FAULT_PENDING);
    assert_int_equal(pgl_pager_error(f->object, sim_last(&f->sim)->id, sim_last(&f->sim)->range), 7);
    assert_int_equal(go_on(&f->a), PGL_FAULT_MEMORY_ERROR);
    assert_int_equal(go_on(&f->b), PGL_FAULT_MEMORY_ERROR);
    assert_at_rest(f->object);
}

/* The demand page fails: whoever waits for a neighbour asks for it himself, and is not told another page's error. */
static void test_fault_error_of_one_page_is_not_its_neighbours(void **state)
{
    struct fixture *f = *state;
    struct pgl_request first;

    make_object(f);
    f->sim.script = sim_keep;
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    first = *sim_last(&f->sim);
    assert_int_equal(read_page(&f->b, f->object, 101), PGL_FAULT_PENDING);
    assert_int_equal(pgl_pager_error(f->object, first.id, (struct pgl_pager_range){100, 100}), 1);
    assert_int_equal(go_on(&f->a), PGL_FAULT_MEMORY_ERROR);
    assert_int_equal(go_on(&f->b), PGL_FAULT_PENDING);
    assert_asked(&f->sim, 101, 105, 101); /* page 100 is in error, and not asked for again */
    assert_int_equal(sim_supply(&f->sim, &first, 98, 104, PGL_ACCESS_READ), 0); /* what was rolled back is alien */
    sim_supply(&f->sim, sim_last(&f->sim), 101, 105, PGL_ACCESS_READ);
    assert_int_equal(go_on(&f->b), PGL_FAULT_SUCCESS);
    assert_at_rest(f->object);
}

static void test_fault_on_a_page_in_error_asks_for_it_alone(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    f->sim.script = sim_error;
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_MEMORY_ERROR);
    f->sim.script = sim_now;
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 100, 100, 100);
    assert_int_equal(read_page(&f->a, f->object, 96), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 94, 97, 96);
    assert_at_rest(f->object);
}

/* "Retry" half way once left pages marked busy that nobody would ever fill. */
static void test_fault_retry_takes_back_every_mark(void **state)
{
    struct fixture *f = *state;
    static const struct {
        int error;
        enum pgl_fault_result result;
    } rows[] = {{EAGAIN, PGL_FAULT_RETRY},
                {EINTR, PGL_FAULT_INTERRUPTED},
                {ENOMEM, PGL_FAULT_MEMORY_SHORTAGE},
                {EIO, PGL_FAULT_MEMORY_ERROR}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct pgl_object_config config = config_of(f);

        config.internal = i % 2 == 1;
        f->object = pgl_object_new(&config);
        f->sim.script = sim_refuse;
        f->sim.refusal = rows[i].error;
        assert_int_equal(read_page(&f->a, f->object, 100), rows[i].result);
        assert_at_rest(f->object);
        assert_int_equal(f->sim.frames_used, 0);
        f->sim.script = sim_now;
        assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
        pgl_object_unref(f->object);
        f->object = NULL;
    }
}

static int supply_some_then_fail(struct sim *sim, const struct pgl_request *request, bool data)
{
    (void)data;
    sim_supply(sim, request, request->range.first, request->pager_demand, PGL_ACCESS_READ);
    return EIO;
}

static void test_fault_request_that_fails_half_way_keeps_what_was_supplied(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    f->sim.script = supply_some_then_fail;
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    assert_int_equal(stats_of(f->object).resident, 3);
    assert_at_rest(f->object);
}

/* Cleaning up once freed the page at offset 0, and resident dirty pages: data lost. */
static void test_fault_roll_back_spares_resident_pages(void **state)
{
    struct fixture *f = *state;
    void *dirty[2];

    make_object(f);
    pgl_object_advise(f->object, PGL_ADVICE_RANDOM);
    for (uint64_t i = 0; i < 2; i++) {
        assert_int_equal(write_page(&f->a, f->object, 4 * i), PGL_FAULT_SUCCESS);
        dirty[i] = f->a.page.frame;
        memset(dirty[i], 'd', SIM_PAGE_SIZE);
    }
    pgl_object_advise(f->object, PGL_ADVICE_DEFAULT);
    for (unsigned round = 0; round < 3; round++) {
        f->sim.script = sim_keep;
        assert_int_equal(read_page(&f->a, f->object, 2), PGL_FAULT_PENDING);
        if (round == 0) {
            pgl_fault_interrupt(f->a.fault);
            assert_int_equal(go_on(&f->a), PGL_FAULT_INTERRUPTED);
        } else if (round == 1) {
            pgl_pager_error(f->object, sim_last(&f->sim)->id, (struct pgl_pager_range){0, UINT64_MAX});
            assert_int_equal(go_on(&f->a), PGL_FAULT_MEMORY_ERROR);
        } else {
            pgl_object_terminate(f->object);
            assert_int_equal(go_on(&f->a), PGL_FAULT_MEMORY_ERROR);
        }
        assert_int_equal(stats_of(f->object).resident, 2); /* none lost, none invented */
        assert_at_rest(f->object);
        for (uint64_t i = 0; i < 2; i++) {
            assert_int_equal(read_page(&f->b, f->object, 4 * i), PGL_FAULT_SUCCESS);
            assert_ptr_equal(f->b.page.frame, dirty[i]);
            assert_int_equal(*(char *)dirty[i], 'd');
        }
    }
}

/* An interrupted fault's pages were marked again by another: neither its reply nor its roll-back may touch them. */
static void test_fault_roll_back_is_by_identity(void **state)
{
    struct fixture *f = *state;
    struct pgl_request old, new;

    make_object(f);
    f->sim.script = sim_keep;
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    old = *sim_last(&f->sim);
    assert_int_equal(pgl_pager_no_data(f->object, old.id, (struct pgl_pager_range){101, 104}), 4);
    assert_int_equal(read_page(&f->b, f->object, 102), PGL_FAULT_PENDING); /* 101..106, inside the old range too */
    new = *sim_last(&f->sim);
    assert_int_equal(new.range.first, 101);
    pgl_fault_interrupt(f->a.fault);
    assert_int_equal(go_on(&f->a), PGL_FAULT_INTERRUPTED); /* rolls 98..104 back, as far as it is its own */
    assert_int_equal(stats_of(f->object).busy, 6);
    assert_int_equal(f->b.ready, 0);
    assert_int_equal(pgl_pager_error(f->object, old.id, old.range), 0);
    assert_int_equal(f->b.ready, 0);
    assert_int_equal(sim_supply(&f->sim, &new, 101, 106, PGL_ACCESS_READ), 6);
    assert_int_equal(go_on(&f->b), PGL_FAULT_SUCCESS);
    assert_at_rest(f->object);
}

static void test_fault_interrupted_leaves_its_waiters_to_try_themselves(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    f->sim.script = sim_keep;
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    assert_int_equal(read_page(&f->b, f->object, 100), PGL_FAULT_PENDING);
    pgl_fault_interrupt(f->a.fault);
    assert_int_equal(f->b.ready, 0);
    assert_int_equal(go_on(&f->a), PGL_FAULT_INTERRUPTED);
    f->sim.script = sim_now;
    assert_int_equal(go_on(&f->b), PGL_FAULT_SUCCESS);
    assert_int_equal(f->sim.nrequests, 2);
    assert_at_rest(f->object);
}

static void test_fault_interruption_ends_the_next_wait_only(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    pgl_fault_interrupt(f->a.fault);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS); /* needs no waiting */
    assert_int_equal(read_page(&f->a, f->object, 200), PGL_FAULT_INTERRUPTED);
    assert_int_equal(f->sim.nrequests, 1);
    assert_at_rest(f->object);
    assert_int_equal(read_page(&f->a, f->object, 200), PGL_FAULT_SUCCESS);
}

static void test_fault_of_a_terminated_object_never_waits(void **state)
{
    struct fixture *f = *state;

    make_object_with_credits(f, 4);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    assert_int_equal(read_page(&f->b, f->object, 200), PGL_FAULT_PENDING); /* for a credit */
    pgl_object_terminate(f->object);
    assert_int_equal(go_on(&f->a), PGL_FAULT_MEMORY_ERROR);
    assert_int_equal(go_on(&f->b), PGL_FAULT_MEMORY_ERROR);
    assert_int_equal(read_page(&f->a, f->object, 5), PGL_FAULT_MEMORY_ERROR);
    assert_int_equal(sim_supply(&f->sim, sim_last(&f->sim), 99, 102, PGL_ACCESS_READ), 0);
    assert_int_equal(stats_of(f->object).aliens, 4);
    assert_at_rest(f->object);
}

static void test_fault_no_data_is_a_result(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    f->sim.script = sim_keep;
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    assert_int_equal(read_page(&f->b, f->object, 100), PGL_FAULT_PENDING);
    assert_int_equal(pgl_pager_no_data(f->object, sim_last(&f->sim)->id, (struct pgl_pager_range){0, NPAGES}), 7);
    assert_int_equal(go_on(&f->a), PGL_FAULT_NO_DATA);
    assert_int_equal(go_on(&f->b), PGL_FAULT_NO_DATA);
    assert_at_rest(f->object);
}

static void test_fault_internal_object_has_zeros_where_its_pager_has_no_data(void **state)
{
    struct fixture *f = *state;
    struct pgl_object_config config = config_of(f);

    config.internal = true;
    f->object = pgl_object_new(&config);
    f->sim.script = sim_no_data;
    assert_int_equal(write_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    assert_true(sim_frame_is_zero(f->a.page.frame));
    assert_int_equal(f->a.page.access, PGL_ACCESS_WRITE);
    assert_int_equal(stats_of(f->object).resident, 1);
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

/* Shadow chains */

struct chain {
    struct sim sims[3];
    struct pgl_object *objects[3]; /* top, middle, bottom; the first two have no pager */
};

/* The top object's page i is the middle one's 10 + i, and the bottom one's 110 + i, at its pager 1110 + i. */
static void make_chain(struct chain *chain, bool bottom_has_pager)
{
    memset(chain, 0, sizeof(*chain));
    for (int i = 2; i >= 0; i--) {
        struct pgl_object_config config = sim_config(&chain->sims[i], i == 2 ? 150 : i == 1 ? 60 : 40);

        chain->sims[i].tag = 0xc0 + (unsigned)i;
        chain->sims[i].script = sim_now;
        config.table = &table;
        if (i < 2) {
            config.pager_ops = NULL;
            config.backing = chain->objects[i + 1];
            config.backing_first = i == 0 ? 10 : 100;
        } else {
            config.pager_ops = bottom_has_pager ? &sim_pager_ops : NULL;
            config.pager_range = (struct pgl_pager_range){1000, 1149};
        }
        chain->objects[i] = pgl_object_new(&config);
        assert_non_null(chain->objects[i]);
    }
}

static void free_chain(struct chain *chain)
{
    for (int i = 0; i < 3; i++) {
        assert_at_rest(chain->objects[i]);
        pgl_object_unref(chain->objects[i]);
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(chain->sims[i].blocks_used, 0);
        assert_int_equal(chain->sims[i].frames_used, 0);
    }
}

static void test_fault_carries_offsets_down_the_chain(void **state)
{
    struct fixture *f = *state;
    struct chain chain;
    struct pgl_map *map = pgl_map_new(NULL, NULL);
    struct pgl_fault_args args = {.map = map, .index = 7001, .access = PGL_ACCESS_READ};

    make_chain(&chain, true);
    assert_true(pgl_map_enter(map, 7000, 7003, chain.objects[0], 5, PGL_ADVICE_NORMAL)); /* the bottom's 115..118 */
    assert_int_equal(start(&f->a, &args), PGL_FAULT_SUCCESS);
    assert_asked(&chain.sims[2], 1115, 1118, 1116);
    assert_ptr_equal(f->a.page.object, chain.objects[2]);
    assert_int_equal(f->a.page.index, 116);
    assert_true(sim_frame_is(f->a.page.frame, 0xc2, 1116));
    assert_int_equal(f->a.page.access, PGL_ACCESS_READ);
    assert_int_equal(stats_of(chain.objects[0]).resident, 0);
    pgl_map_free(map);
    free_chain(&chain);
}

/* What the top object shows of the lower one bounds the cluster there, with an entry or without. */
static void test_fault_in_a_lower_object_stays_inside_what_is_shown(void **state)
{
    struct fixture *f = *state;
    struct chain chain;

    make_chain(&chain, true);
    assert_int_equal(read_page(&f->a, chain.objects[0], 0), PGL_FAULT_SUCCESS);
    assert_asked(&chain.sims[2], 1110, 1114, 1110);
    assert_int_equal(read_page(&f->a, chain.objects[0], 39), PGL_FAULT_SUCCESS);
    assert_asked(&chain.sims[2], 1147, 1149, 1149);
    free_chain(&chain);
}

static void test_fault_write_copies_a_lower_page_up(void **state)
{
    struct fixture *f = *state;
    struct chain chain;

    make_chain(&chain, true);
    assert_int_equal(write_page(&f->a, chain.objects[0], 6), PGL_FAULT_SUCCESS);
    assert_int_equal(sim_last(&chain.sims[2])->access, PGL_ACCESS_READ); /* the lower page is only read */
    assert_ptr_equal(f->a.page.object, chain.objects[0]);
    assert_int_equal(f->a.page.access, PGL_ACCESS_WRITE);
    assert_true(sim_frame_is(f->a.page.frame, 0xc2, 1116));
    memset(f->a.page.frame, 'w', SIM_PAGE_SIZE);
    assert_int_equal(read_page(&f->b, chain.objects[2], 116), PGL_FAULT_SUCCESS);
    assert_true(sim_frame_is(f->b.page.frame, 0xc2, 1116)); /* and stays as it was */
    assert_int_equal(read_page(&f->b, chain.objects[0], 6), PGL_FAULT_SUCCESS);
    assert_ptr_equal(f->b.page.frame, f->a.page.frame);
    assert_int_equal(stats_of(chain.objects[1]).resident, 0);
    free_chain(&chain);
}

/* The page is resident below; a write would need another one above. */
static void test_fault_that_demands_residency_makes_no_copy(void **state)
{
    struct fixture *f = *state;
    struct chain chain;

    make_chain(&chain, true);
    assert_int_equal(read_page(&f->a, chain.objects[0], 6), PGL_FAULT_SUCCESS);
    assert_int_equal(fault_on(&f->a, chain.objects[0], 6, PGL_ACCESS_READ, PGL_FAULT_RESIDENT), PGL_FAULT_SUCCESS);
    assert_ptr_equal(f->a.page.object, chain.objects[2]);
    assert_int_equal(fault_on(&f->a, chain.objects[0], 6, PGL_ACCESS_WRITE, PGL_FAULT_RESIDENT), PGL_FAULT_NO_DATA);
    assert_int_equal(stats_of(chain.objects[0]).resident, 0);
    free_chain(&chain);
}

static void test_fault_chain_without_a_pager_ends_in_a_zero_page(void **state)
{
    struct fixture *f = *state;
    struct chain chain;

    make_chain(&chain, false);
    assert_int_equal(read_page(&f->a, chain.objects[0], 6), PGL_FAULT_SUCCESS);
    assert_ptr_equal(f->a.page.object, chain.objects[0]);
    assert_true(sim_frame_is_zero(f->a.page.frame));
    assert_int_equal(write_page(&f->a, chain.objects[2], 6), PGL_FAULT_SUCCESS);
    assert_true(sim_frame_is_zero(f->a.page.frame));
    free_chain(&chain);
}

/* The middle object covers the bottom's last 50 pages only. */
static void test_fault_beyond_the_lower_objects_end_gives_a_zero_page(void **state)
{
    struct fixture *f = *state;
    struct chain chain;

    make_chain(&chain, true);
    assert_int_equal(read_page(&f->a, chain.objects[1], 49), PGL_FAULT_SUCCESS);
    assert_true(sim_frame_is(f->a.page.frame, 0xc2, 1149));
    assert_int_equal(read_page(&f->a, chain.objects[1], 50), PGL_FAULT_SUCCESS);
    assert_true(sim_frame_is_zero(f->a.page.frame));
    free_chain(&chain);
}

static void test_fault_placeholder_holds_others_while_a_lower_object_is_asked(void **state)
{
    struct fixture *f = *state;
    struct chain chain;

    make_chain(&chain, true);
    chain.sims[2].script = sim_keep;
    assert_int_equal(write_page(&f->a, chain.objects[0], 6), PGL_FAULT_PENDING);
    assert_int_equal(stats_of(chain.objects[0]).busy, 1);
    assert_int_equal(stats_of(chain.objects[0]).outstanding, 0); /* a placeholder costs no credit */
    assert_int_equal(read_page(&f->b, chain.objects[0], 6), PGL_FAULT_PENDING);
    assert_int_equal(stats_of(chain.objects[0]).waiting, 1);
    sim_now(&chain.sims[2], sim_last(&chain.sims[2]), true);
    assert_int_equal(f->b.ready, 0);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_int_equal(go_on(&f->b), PGL_FAULT_SUCCESS);
    assert_ptr_equal(f->b.page.frame, f->a.page.frame); /* one copy */
    free_chain(&chain);
}

static void test_fault_failing_below_takes_its_placeholder_back(void **state)
{
    struct fixture *f = *state;
    struct chain chain;

    make_chain(&chain, true);
    chain.sims[2].script = sim_keep;
    assert_int_equal(write_page(&f->a, chain.objects[0], 6), PGL_FAULT_PENDING);
    assert_int_equal(read_page(&f->b, chain.objects[0], 6), PGL_FAULT_PENDING);
    pgl_pager_error(chain.objects[2], sim_last(&chain.sims[2])->id, sim_last(&chain.sims[2])->range);
    assert_int_equal(go_on(&f->a), PGL_FAULT_MEMORY_ERROR);
    assert_int_equal(go_on(&f->b), PGL_FAULT_MEMORY_ERROR);
    assert_at_rest(chain.objects[0]);
    assert_int_equal(write_page(&f->a, chain.objects[0], 6), PGL_FAULT_PENDING);
    assert_int_equal(read_page(&f->b, chain.objects[0], 6), PGL_FAULT_PENDING);
    pgl_fault_interrupt(f->a.fault);
    assert_int_equal(go_on(&f->a), PGL_FAULT_INTERRUPTED);
    chain.sims[2].script = sim_now;
    assert_int_equal(go_on(&f->b), PGL_FAULT_SUCCESS); /* tried itself */
    free_chain(&chain);
}

/* An internal top object whose pager has part of it, over an external one. */
static void test_fault_no_data_above_looks_below(void **state)
{
    struct fixture *f = *state;
    struct sim lower_sim = {.script = sim_now, .tag = 0xbb};
    struct pgl_object_config lower_config = sim_config(&lower_sim, NPAGES);
    struct pgl_object *lower = pgl_object_new(&lower_config);
    struct pgl_object_config config = config_of(f);

    config.internal = true;
    config.backing = lower;
    config.pager_range = (struct pgl_pager_range){0, 99};
    f->object = pgl_object_new(&config);
    f->sim.script = sim_no_data;
    assert_int_equal(read_page(&f->a, f->object, 50), PGL_FAULT_SUCCESS);
    assert_true(sim_frame_is(f->a.page.frame, 0xbb, 50));
    assert_int_equal(read_page(&f->a, f->object, 150), PGL_FAULT_SUCCESS); /* past the upper pager's range */
    assert_true(sim_frame_is(f->a.page.frame, 0xbb, 150));
    assert_int_equal(f->sim.nrequests, 1);
    f->sim.script = sim_now;
    assert_int_equal(read_page(&f->a, f->object, 50), PGL_FAULT_SUCCESS); /* now the upper pager has it, and hides */
    assert_true(sim_frame_is(f->a.page.frame, 0xaa, 50));
    assert_int_equal(fault_on(&f->a, f->object, 150, PGL_ACCESS_READ, PGL_FAULT_RESIDENT), PGL_FAULT_SUCCESS);
    assert_int_equal(fault_on(&f->a, f->object, 250, PGL_ACCESS_READ, PGL_FAULT_RESIDENT), PGL_FAULT_NO_DATA);
    assert_at_rest(f->object);
    assert_at_rest(lower);
    pgl_object_unref(f->object);
    f->object = NULL;
    pgl_object_unref(lower);
    assert_int_equal(lower_sim.frames_used + lower_sim.blocks_used, 0);
}

/* Continued faults and changing maps */

struct pending {
    struct fixture *f;
    struct pgl_map *map;
    struct pgl_object *other;
    struct sim other_sim;
};

/* A fault is pending on map page 100, the object's page 100. */
static void make_pending(struct pending *p, struct fixture *f, unsigned flags)
{
    struct pgl_object_config config;
    struct pgl_fault_args args = {.index = 100, .access = PGL_ACCESS_READ, .flags = flags};

    *p = (struct pending){.f = f, .map = pgl_map_new(NULL, NULL), .other_sim = {.script = sim_now, .tag = 0xbb}};
    make_object(f);
    config = sim_config(&p->other_sim, NPAGES);
    p->other = pgl_object_new(&config);
    assert_true(pgl_map_enter(p->map, 0, NPAGES - 1, f->object, 0, PGL_ADVICE_DEFAULT));
    f->sim.script = sim_keep;
    args.map = p->map;
    assert_int_equal(start(&f->a, &args), PGL_FAULT_PENDING);
}

static enum pgl_fault_result end_pending(struct pending *p)
{
    enum pgl_fault_result result;

    sim_now(&p->f->sim, sim_last(&p->f->sim), true);
    result = go_on(&p->f->a);
    assert_at_rest(p->f->object);
    assert_at_rest(p->other);
    pgl_map_free(p->map);
    return result;
}

static void free_pending(struct pending *p)
{
    pgl_object_unref(p->other);
    assert_int_equal(p->other_sim.frames_used + p->other_sim.blocks_used, 0);
}

static void test_fault_pending_finds_its_entry_changed(void **state)
{
    struct fixture *f = *state;
    struct pending p;

    make_pending(&p, f, PGL_FAULT_WIRE);
    assert_true(pgl_map_remove(p.map, 50, 150));
    assert_true(pgl_map_enter(p.map, 50, 150, p.other, 7, PGL_ADVICE_DEFAULT));
    assert_int_equal(end_pending(&p), PGL_FAULT_SUCCESS);
    assert_ptr_equal(f->a.page.object, p.other);
    assert_int_equal(f->a.page.index, 57);
    assert_true(sim_frame_is(f->a.page.frame, 0xbb, 57));
    assert_int_equal(stats_of(f->object).by_advice[PGL_ADVICE_DEFAULT].retries, 1);
    assert_false(pgl_object_unwire(f->object, 100)); /* the first page was not left wired */
    assert_true(pgl_object_unwire(p.other, 57));
    free_pending(&p);
}

static void test_fault_pending_finds_its_entry_shifted(void **state)
{
    struct fixture *f = *state;
    struct pending p;

    make_pending(&p, f, 0);
    assert_true(pgl_map_remove(p.map, 0, NPAGES - 1));
    assert_true(pgl_map_enter(p.map, 90, 110, f->object, 93, PGL_ADVICE_DEFAULT));
    assert_int_equal(end_pending(&p), PGL_FAULT_SUCCESS);
    assert_int_equal(f->a.page.index, 103);
    free_pending(&p);
}

static void test_fault_pending_finds_its_entry_gone(void **state)
{
    struct fixture *f = *state;
    struct pending p;

    make_pending(&p, f, 0);
    assert_true(pgl_map_remove(p.map, 100, 100));
    assert_int_equal(end_pending(&p), PGL_FAULT_NO_ENTRY);
    assert_true(pgl_object_resident(f->object, 100)); /* the data is good, only nobody maps it */
    free_pending(&p);
}

static void test_fault_pending_does_not_mind_other_changes_of_the_map(void **state)
{
    struct fixture *f = *state;
    struct pending p;

    make_pending(&p, f, 0);
    assert_true(pgl_map_advise(p.map, 95, 105, PGL_ADVICE_RANDOM));
    assert_true(pgl_map_remove(p.map, 0, 50));
    assert_int_equal(end_pending(&p), PGL_FAULT_SUCCESS);
    assert_int_equal(f->a.page.index, 100);
    assert_int_equal(stats_of(f->object).by_advice[PGL_ADVICE_DEFAULT].retries, 0);
    free_pending(&p);
}

/* The map may forget the object altogether while a fault on it is pending. */
static void test_fault_pending_keeps_its_object_alive(void **state)
{
    struct fixture *f = *state;
    struct pending p;
    struct pgl_object *object;

    make_pending(&p, f, 0);
    object = f->object;
    f->object = NULL;
    assert_true(pgl_map_remove(p.map, 0, NPAGES - 1));
    pgl_object_unref(object); /* the fault's reference is the last */
    pgl_object_ref(object);   /* as a pager has to for its replies */
    sim_now(&f->sim, sim_last(&f->sim), true);
    assert_int_equal(go_on(&f->a), PGL_FAULT_NO_ENTRY);
    assert_at_rest(object);
    assert_int_equal(f->sim.nreleased, 0);
    pgl_object_unref(object);
    assert_int_equal(f->sim.nreleased, 1); /* the pager may go too */
    assert_int_equal(f->sim.frames_used, 0);
    pgl_map_free(p.map);
    free_pending(&p);
}

/* Bad configurations */

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

/* A failure at every step */

static int fail_with_partial_then_error(struct sim *sim, const struct pgl_request *request, bool data)
{
    sim_supply(sim, request, request->range.first, request->range.first, PGL_ACCESS_READ);
    return sim_error(sim, request, data);
}

static int fail_with_interruption(struct sim *sim, const struct pgl_request *request, bool data)
{
    (void)sim;
    (void)data;
    pgl_fault_interrupt(request->cookie);
    return 0; /* and no answer, ever */
}

static int fail_with_termination(struct sim *sim, const struct pgl_request *request, bool data)
{
    (void)sim;
    (void)data;
    pgl_object_terminate(request->object);
    return 0;
}

static const struct {
    const char *name;
    int error;
    sim_script *fail;
} ways[] = {
    {"EIO", EIO, NULL},
    {"EAGAIN", EAGAIN, NULL},
    {"EINTR", EINTR, NULL},
    {"ENOMEM", ENOMEM, NULL},
    {"an error reply", 0, sim_error},
    {"no data", 0, sim_no_data},
    {"a partial reply, then an error", 0, fail_with_partial_then_error},
    {"interruption", 0, fail_with_interruption},
    {"termination", 0, fail_with_termination},
};

/* A shadow over an object, both with a pager, memory and few credits; and two faults that wait for what others ask. */
struct scenario {
    struct sim_injector injector;
    struct sim top_sim, low_sim;
    struct pgl_object *top, *low;
    struct pgl_map *map;
    struct probe *waiters[2];
    bool wait[2];  /* the next request gets this waiter; */
    bool waits[2]; /* it has it */
    unsigned nwaits;
};

/* Somebody else faults on the demand page, and on the last page of its cluster, while they are asked for. */
static void add_waiters(void *arg, const struct pgl_request *request)
{
    struct scenario *s = arg;
    uint64_t index[2] = {request->pager_demand, request->range.last};

    for (unsigned i = 0; i < 2; i++) {
        if (s->wait[i]) {
            s->wait[i] = false;
            s->waits[i] = read_page(s->waiters[i], request->object, index[i]) == PGL_FAULT_PENDING;
            s->nwaits += s->waits[i];
        }
    }
}

/* Whoever waited was woken, once for each wait, and comes to an end himself. */
static void end_waiters(struct scenario *s)
{
    for (unsigned i = 0; i < 2; i++) {
        while (s->waits[i]) {
            s->waits[i] = go_on(s->waiters[i]) == PGL_FAULT_PENDING;
        }
    }
}

static void build(struct scenario *s, struct fixture *f, uint64_t at, size_t way, bool internal)
{
    struct pgl_object_config config;

    *s = (struct scenario){
        .injector = {0, at, ways[way].error, SIM_HOOKS, ways[way].fail, add_waiters, s},
        .top_sim = {.script = sim_no_data, .tag = 1},
        .low_sim = {.script = sim_now, .tag = 2},
        .waiters = {&f->a, &f->b},
    };
    config = sim_config(&s->low_sim, NPAGES);
    config.table = &table;
    config.internal = internal;
    config.credits = 6;
    s->low = pgl_object_new(&config);
    config = sim_config(&s->top_sim, 128);
    config.table = &table;
    config.internal = true;
    config.credits = 6;
    config.backing = s->low;
    config.backing_first = 60;
    s->top = pgl_object_new(&config);
    s->map = pgl_map_new(NULL, NULL);
    pgl_map_enter(s->map, 1000, 1127, s->top, 0, PGL_ADVICE_NORMAL);
    s->top_sim.injector = &s->injector;
    s->low_sim.injector = &s->injector;
}

static void demolish(struct scenario *s)
{
    pgl_map_free(s->map);
    pgl_object_unref(s->top);
    pgl_object_unref(s->low);
    assert_int_equal(s->top_sim.frames_used + s->low_sim.frames_used, 0);
    assert_int_equal(s->top_sim.blocks_used + s->low_sim.blocks_used, 0);
}

/* One fault, with others waiting; and nothing is left over whatever became of it. */
static enum pgl_fault_result fault_amid_waiters(struct scenario *s, struct pgl_fault *fault, uint64_t map_index,
                                                enum pgl_access access, struct pgl_fault_page *page)
{
    struct pgl_fault_args args = {.map = s->map, .index = map_index, .access = access, .cookie = fault};
    enum pgl_fault_result result;

    s->wait[0] = s->wait[1] = true;
    result = pgl_fault_run(fault, &args, page);
    s->wait[0] = s->wait[1] = false;
    end_waiters(s);
    assert_at_rest(s->top);
    assert_at_rest(s->low);
    assert_int_equal(stats_of(s->top).resident, s->top_sim.frames_used);
    assert_int_equal(stats_of(s->low).resident, s->low_sim.frames_used);
    return result;
}

/*
 * Three faults that together take every step: a write that asks above, finds nothing, asks below and copies up; a write
 * to the copy after access was withheld from it; a read at the end of the window, across a chunk's edge. Returns how
 * many succeeded.
 */
static unsigned take_every_step(struct scenario *s, struct pgl_fault *fault, struct pgl_fault_page *page)
{
    unsigned succeeded = 0;

    succeeded += fault_amid_waiters(s, fault, 1066, PGL_ACCESS_WRITE, page) == PGL_FAULT_SUCCESS;
    pgl_pager_withhold(s->top, (struct pgl_pager_range){0, 127}, PGL_ACCESS_NONE);
    s->top_sim.script = sim_now;
    succeeded += fault_amid_waiters(s, fault, 1066, PGL_ACCESS_WRITE, page) == PGL_FAULT_SUCCESS;
    s->top_sim.script = sim_no_data;
    succeeded += fault_amid_waiters(s, fault, 1003, PGL_ACCESS_READ, page) == PGL_FAULT_SUCCESS;
    return succeeded;
}

static void test_fault_takes_every_step_with_waiters(void **state)
{
    struct fixture *f = *state;
    struct pgl_fault *fault = pgl_fault_new();
    struct pgl_fault_page page;
    struct scenario s;

    for (int internal = 0; internal < 2; internal++) {
        build(&s, f, 0, 0, internal);
        assert_int_equal(take_every_step(&s, fault, &page), 3);
        assert_int_equal(s.nwaits, 6);
        assert_ptr_equal(page.object, s.low);
        assert_true(sim_frame_is(page.frame, 2, 63));
        demolish(&s);
    }
    pgl_fault_free(fault);
}

/* Fails one step, and returns at which hook; SIM_HOOKS when there are not so many. */
static enum sim_hook fail_step(struct fixture *f, uint64_t at, size_t way, bool internal)
{
    struct pgl_fault *fault = pgl_fault_new();
    struct pgl_fault_page page;
    struct scenario s;
    enum sim_hook fired;

    build(&s, f, at, way, internal);
    take_every_step(&s, fault, &page);
    fired = s.injector.fired;
    s.injector.at = 0;
    s.top_sim.script = sim_now;
    if (fired != SIM_REQUEST || ways[way].fail != fail_with_termination) { /* which is for good */
        assert_int_equal(fault_amid_waiters(&s, fault, 1066, PGL_ACCESS_WRITE, &page), PGL_FAULT_SUCCESS);
        assert_true(sim_frame_is(page.frame, 2, 126) || sim_frame_is(page.frame, 1, 66) ||
                    (internal && sim_frame_is_zero(page.frame)));
    }
    demolish(&s);
    pgl_fault_free(fault);
    return fired;
}

static void test_fault_survives_a_failure_at_every_step(void **state)
{
    unsigned fired[SIM_HOOKS] = {0};

    for (int internal = 0; internal < 2; internal++) {
        for (size_t way = 0; way < sizeof(ways) / sizeof(ways[0]); way++) {
            enum sim_hook hook;

            for (uint64_t at = 1; (hook = fail_step(*state, at, way, internal)) != SIM_HOOKS; at++) {
                fired[hook]++;
            }
        }
    }
    printf("fault: failed at %u heap, %u frame and %u request steps\n", fired[SIM_HEAP], fired[SIM_FRAME],
           fired[SIM_REQUEST]);
    assert_true(fired[SIM_HEAP] > 50 && fired[SIM_FRAME] > 50 && fired[SIM_REQUEST] > 50);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_fault_fetches_one_cluster_in_one_request),
        TEST(test_fault_random_fetches_no_neighbour),
        TEST(test_fault_asks_in_the_pagers_pages),
        TEST(test_fault_reaches_the_top_page_of_64_bits),
        TEST(test_fault_outside_the_object_has_no_entry),
        TEST(test_fault_ends_when_the_demand_page_is_there),
        TEST(test_fault_takes_replies_in_any_order_and_portions),
        TEST(test_fault_counts_duplicate_replies_and_keeps_the_first),
        TEST(test_fault_refuses_replies_that_nobody_asked_for),
        TEST(test_fault_waits_for_a_page_that_another_fetches),
        TEST(test_fault_pagein_eligibility_truth_table),
        TEST(test_fault_entry_advice_wins_over_its_objects),
        TEST(test_fault_without_entry_follows_its_object),
        TEST(test_fault_follows_a_table_that_was_replaced),
        TEST(test_fault_sequential_tells_the_pager_what_it_left_behind),
        TEST(test_fault_that_wires_or_is_retried_does_not_speculate),
        TEST(test_fault_wired_page_stays_until_it_is_unwired),
        TEST(test_fault_that_demands_residency_asks_no_pager),
        TEST(test_fault_counts_speculative_pages_that_were_used),
        TEST(test_fault_without_spare_memory_asks_for_the_demand_page),
        TEST(test_fault_short_of_memory_cuts_speculation_not_the_demand),
        TEST(test_fault_without_memory_for_the_demand_page_is_a_shortage),
        TEST(test_fault_shortage_at_the_reply_reaches_every_waiter),
        TEST(test_fault_credits_cut_speculation),
        TEST(test_fault_without_a_credit_waits_for_one),
        TEST(test_fault_without_a_credit_retries_if_asked_to),
        TEST(test_fault_waiting_for_a_credit_can_be_interrupted),
        TEST(test_fault_credit_is_not_lost_with_an_interrupted_waiter),
        TEST(test_fault_waits_for_a_pager_that_is_not_ready),
        TEST(test_fault_error_reaches_every_waiter),
        TEST(test_fault_error_of_one_page_is_not_its_neighbours),
        TEST(test_fault_on_a_page_in_error_asks_for_it_alone),
        TEST(test_fault_retry_takes_back_every_mark),
        TEST(test_fault_request_that_fails_half_way_keeps_what_was_supplied),
        TEST(test_fault_roll_back_spares_resident_pages),
        TEST(test_fault_roll_back_is_by_identity),
        TEST(test_fault_interrupted_leaves_its_waiters_to_try_themselves),
        TEST(test_fault_interruption_ends_the_next_wait_only),
        TEST(test_fault_of_a_terminated_object_never_waits),
        TEST(test_fault_no_data_is_a_result),
        TEST(test_fault_internal_object_has_zeros_where_its_pager_has_no_data),
        TEST(test_fault_speculation_asks_for_reading_only),
        TEST(test_fault_unlock_eligibility_truth_table),
        TEST(test_fault_unlocks_a_cluster_in_one_request),
        TEST(test_fault_unlock_failure_takes_back_the_request_never_the_page),
        TEST(test_fault_asks_again_when_too_little_was_granted),
        TEST(test_fault_a_page_supplied_without_access_is_unlocked_before_use),
        TEST(test_fault_carries_offsets_down_the_chain),
        TEST(test_fault_in_a_lower_object_stays_inside_what_is_shown),
        TEST(test_fault_write_copies_a_lower_page_up),
        TEST(test_fault_that_demands_residency_makes_no_copy),
        TEST(test_fault_chain_without_a_pager_ends_in_a_zero_page),
        TEST(test_fault_beyond_the_lower_objects_end_gives_a_zero_page),
        TEST(test_fault_placeholder_holds_others_while_a_lower_object_is_asked),
        TEST(test_fault_failing_below_takes_its_placeholder_back),
        TEST(test_fault_no_data_above_looks_below),
        TEST(test_fault_pending_finds_its_entry_changed),
        TEST(test_fault_pending_finds_its_entry_shifted),
        TEST(test_fault_pending_finds_its_entry_gone),
        TEST(test_fault_pending_does_not_mind_other_changes_of_the_map),
        TEST(test_fault_pending_keeps_its_object_alive),
        TEST(test_fault_object_refuses_bad_configurations),
        TEST(test_fault_object_without_memory_keeps_states_only),
        TEST(test_fault_sleepers_all_wake_with_the_page),
        TEST(test_fault_sleeper_of_a_silent_pager_is_woken_by_interruption),
        TEST(test_fault_takes_every_step_with_waiters),
        TEST(test_fault_survives_a_failure_at_every_step),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
