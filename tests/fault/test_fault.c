/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The fault driver on one object: requests, replies and waiting. One claim per test. */
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
        assert_int_equal(go_on(&f->a), PGL_FAULT_NO_DATA); /* its neighbours are rolled back */
        assert_int_equal(read_page(&f->a, f->object, 1), PGL_FAULT_PENDING);
        assert_int_equal(pgl_pager_error(f->object, sim_last(&f->sim)->id, wide), 2);
        assert_int_equal(go_on(&f->a), PGL_FAULT_MEMORY_ERROR);
        assert_int_equal(stats_of(f->object).resident, end - 2);
        assert_at_rest(f->object);
        pgl_object_unref(f->object);
        f->object = NULL;
    }
}

/* The range of a file without a known end is open, and the object ends it. */
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
    assert_int_equal(stats_of(f->object).outstanding, 6); /* its speculation delays no other fault */
    assert_int_equal(sim_supply(&f->sim, sim_last(&f->sim), 98, 104, PGL_ACCESS_READ), 6);
    assert_int_equal(stats_of(f->object).duplicates, 1);
    assert_at_rest(f->object);
}

/* A later fault of the same thread fails before it asks: it rolls back nothing of the request that succeeded. */
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

/* Wired and resident pages */

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

/* A pager that is not ready */

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
    pgl_object_set_ready(f->object); /* before any fault waits for it */
    assert_int_equal(read_page(&f->a, f->object, 5), PGL_FAULT_SUCCESS);
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
        TEST(test_fault_wired_page_stays_until_it_is_unwired),
        TEST(test_fault_that_demands_residency_asks_no_pager),
        TEST(test_fault_queue_of_any_length_loses_nobody),
        TEST(test_fault_waits_for_a_pager_that_is_not_ready),
        TEST(test_fault_sleepers_all_wake_with_the_page),
        TEST(test_fault_sleeper_of_a_silent_pager_is_woken_by_interruption),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
