/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The costs that a pager measures, and by which its objects decide. */
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "../../src/fault/object_internal.h"
#include "../../src/uffd/uffd_internal.h"
#include "../cm.h"
#include "calls.h"
#include "clock.h"

enum { FEW = 32, GAPS = 32 };

struct metered {
    struct pgl_meter meter;
    struct pgl_uffd_stats stats;
};

static void begin(struct metered *metered, uint64_t fault_ns, uint64_t page_ns)
{
    const struct pgl_costs given = {fault_ns, page_ns};

    metered->stats = (struct pgl_uffd_stats){0};
    assert_true(pgl_meter_init(&metered->meter, &given, &metered->stats));
}

/* Requests of 1 to 32 pages. */
static void request(struct metered *metered, unsigned n, uint64_t per_request, uint64_t per_page)
{
    for (unsigned i = 0; i < n; i++) {
        uint64_t npages = UINT64_C(1) << i % 6;

        pgl_meter_request(&metered->meter, npages, per_request + npages * per_page, &metered->stats);
    }
}

static void hand_over(struct metered *metered, unsigned n, uint64_t ns)
{
    for (unsigned i = 0; i < n; i++) {
        pgl_meter_handover(&metered->meter, ns);
    }
}

static void assert_near(uint64_t value, uint64_t wanted, uint64_t by)
{
    assert_in_range(value, wanted - by, wanted + by);
}

static void test_uffd_costs_are_those_of_the_requests(void **state)
{
    struct metered metered;

    (void)state;
    begin(&metered, 0, 0);
    request(&metered, 600, 5000, 1130);
    assert_near(metered.stats.page_ns, 1130, 2);
    assert_near(metered.stats.fault_ns, 5000 + PGL_COSTS_FAULT_NS, 20); /* no hand-over is known */
    hand_over(&metered, 1, 20000);
    request(&metered, 600, 90000, 300); /* other storage */
    assert_near(metered.stats.page_ns, 300, 40);
    assert_near(metered.stats.fault_ns, 90000 + 20000, 800);
    pgl_meter_fini(&metered.meter);
}

static void test_uffd_costs_that_are_given_are_not_measured(void **state)
{
    struct metered metered;

    (void)state;
    begin(&metered, 7777, 0);
    assert_int_equal(metered.stats.fault_ns, 7777);
    request(&metered, 100, 5000, 1130);
    assert_int_equal(metered.stats.fault_ns, 7777);
    assert_near(metered.stats.page_ns, 1130, 2);
    pgl_meter_fini(&metered.meter);
    begin(&metered, 0, 99);
    request(&metered, 100, 5000, 1130);
    assert_int_equal(metered.stats.page_ns, 99);
    assert_near(metered.stats.fault_ns, 5000 + PGL_COSTS_FAULT_NS, 20);
    pgl_meter_fini(&metered.meter);
}

static void test_uffd_costs_are_unknown_until_there_were_some_requests(void **state)
{
    struct metered metered;

    (void)state;
    begin(&metered, 0, 0);
    request(&metered, FEW - 1, 5000, 1130);
    assert_int_equal(metered.stats.fault_ns, 0);
    assert_int_equal(metered.stats.page_ns, 0);
    request(&metered, 1, 5000, 1130);
    assert_true(metered.stats.fault_ns > 0);
    assert_true(metered.stats.page_ns > 0);
    pgl_meter_fini(&metered.meter);
}

/* Requests of one size tell nothing about a page. */
static void test_uffd_costs_of_one_size_split_as_usual(void **state)
{
    struct metered metered;

    (void)state;
    begin(&metered, 0, 0);
    for (unsigned i = 0; i < 100; i++) {
        pgl_meter_request(&metered.meter, 16, 40000, &metered.stats);
    }
    assert_near(metered.stats.page_ns, PGL_COSTS_PAGE_NS, 1);
    assert_near(metered.stats.fault_ns, 40000 - 16 * PGL_COSTS_PAGE_NS + PGL_COSTS_FAULT_NS, 20);
    for (unsigned i = 0; i < 1000; i++) {
        pgl_meter_request(&metered.meter, 16, 4000, &metered.stats); /* less than the pages usually take */
    }
    assert_near(metered.stats.page_ns, 250, 1);
    assert_near(metered.stats.fault_ns, PGL_COSTS_FAULT_NS, 1);
    pgl_meter_fini(&metered.meter);
}

/* Of the last 32 to 64: a short one counts that long. */
static void test_uffd_costs_take_the_shortest_hand_over_of_late(void **state)
{
    struct metered metered;

    (void)state;
    for (unsigned later = 2 * GAPS - 2; later <= 2 * GAPS; later++) {
        begin(&metered, 0, 1000);
        hand_over(&metered, 1, 10000);
        hand_over(&metered, later, 50000);
        request(&metered, 600, 5000, 1000);
        assert_near(metered.stats.fault_ns, 5000 + (later < 2 * GAPS ? 10000 : 50000), 200);
        pgl_meter_fini(&metered.meter);
    }
}

/* The thread did something else between its faults. */
static void test_uffd_costs_take_no_long_time_for_a_hand_over(void **state)
{
    struct metered metered;

    (void)state;
    begin(&metered, 0, 1000);
    hand_over(&metered, 2 * GAPS, UINT64_C(5000000000));
    request(&metered, 600, 5000, 1000);
    assert_near(metered.stats.fault_ns, 205000, 200);
    pgl_meter_fini(&metered.meter);
}

static void test_uffd_costs_bear_one_long_request(void **state)
{
    struct metered metered;

    (void)state;
    begin(&metered, 0, 1000);
    request(&metered, 600, 5000, 1000);
    pgl_meter_request(&metered.meter, 1, UINT64_C(5000000000), &metered.stats);
    assert_in_range(metered.stats.fault_ns, 5000 + PGL_COSTS_FAULT_NS, 5000 + PGL_COSTS_FAULT_NS + 1000);
    pgl_meter_fini(&metered.meter);
}

/* G3 */
static void test_uffd_costs_are_accepted_whatever_the_times(void **state)
{
    static const uint64_t times[] = {0, 1, UINT64_C(20000000000), UINT64_MAX};
    static const uint64_t given[] = {0, 1, PGL_COSTS_MAX_NS};
    struct metered metered;

    (void)state;
    for (unsigned i = 0; i < sizeof(times) / sizeof(*times) * 9; i++) {
        struct pgl_costs costs = {given[i / 3 % 3], given[i % 3]};

        if (pgl_costs_explain(&costs)) {
            continue;
        }
        begin(&metered, costs.fault_ns, costs.page_ns);
        for (unsigned n = 0; n < 100; n++) {
            pgl_meter_request(&metered.meter, 1 + n % 2 * UINT32_MAX, times[i / 9], &metered.stats);
            costs = (struct pgl_costs){metered.stats.fault_ns, metered.stats.page_ns};
            assert_null(pgl_costs_explain(&costs));
        }
        pgl_meter_fini(&metered.meter);
    }
}

/* G4: a thread that is stopped at the meter delays no other one. */
static void test_uffd_costs_are_not_waited_for(void **state)
{
    struct metered metered;

    (void)state;
    begin(&metered, 0, 0);
    pthread_mutex_lock(&metered.meter.lock);
    alarm(20);
    request(&metered, 100, 5000, 1130);
    hand_over(&metered, 1, 10);
    alarm(0);
    assert_int_equal(metered.stats.fault_ns, 0);
    assert_int_equal(metered.meter.ngaps, 0);
    pthread_mutex_unlock(&metered.meter.lock);
    pgl_meter_fini(&metered.meter);
}

/* ---- a pager ---- */

static struct pgl_costs costs_of(const struct fixture *f)
{
    struct pgl_map_entry entry;
    struct pgl_costs costs;

    assert_true(pgl_map_lookup(f->uffd->self->map, (uintptr_t)f->memory / PAGE, &entry));
    pthread_mutex_lock(&entry.object->advisor_lock);
    costs = entry.object->costs;
    pthread_mutex_unlock(&entry.object->advisor_lock);
    return costs;
}

/* The clock goes on in reads of the file only, which take 5 us each: the hand-over takes no time. */
static void test_uffd_costs_that_a_pager_measures_are_its_objects(void **state)
{
    static const enum pgl_uffd_handover handovers[] = {PGL_UFFD_FOLLOW, PGL_UFFD_SIGBUS};
    struct fixture *f = *state;

    for (unsigned i = 0; i < 2; i++) {
        f->config.handover = handovers[i];
        assert_true(try_new(f));
        assert_true(pgl_uffd_map(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
        __atomic_store_n(&read_takes, 5000, __ATOMIC_RELAXED);
        __atomic_store_n(&clock_stopped, true, __ATOMIC_RELEASE);
        for (uint64_t page = 0; page < FEW - 1; page++) {
            assert_true(shows_page(f, page));
            assert_int_equal(costs_of(f).fault_ns, 0);
        }
        for (uint64_t page = FEW - 1; page < NPAGES; page++) {
            assert_true(shows_page(f, page));
        }
        assert_near(stats_of(f).fault_ns, 5000 - PGL_COSTS_PAGE_NS, 10);
        assert_near(stats_of(f).page_ns, PGL_COSTS_PAGE_NS, 1);
        assert_true(costs_of(f).fault_ns > 0);
        __atomic_store_n(&clock_stopped, false, __ATOMIC_RELEASE);
        undo_map(f);
        undo_new(f);
    }
}

static void test_uffd_costs_that_are_given_are_its_objects(void **state)
{
    struct fixture *f = *state;

    f->config.costs = (struct pgl_costs){90000, 2000};
    assert_true(try_new(f));
    assert_true(try_map(f));
    assert_int_equal(costs_of(f).fault_ns, 90000);
    for (uint64_t page = 0; page < NPAGES; page++) {
        assert_true(shows_page(f, page));
    }
    assert_int_equal(costs_of(f).fault_ns, 90000);
    assert_int_equal(costs_of(f).page_ns, 2000);
    assert_int_equal(stats_of(f).fault_ns, 90000);
    assert_int_equal(stats_of(f).page_ns, 2000);
}

static void *read_page_3(void *arg)
{
    return shows_page(arg, 3) ? NULL : arg;
}

static unsigned count_gaps(const struct fixture *f)
{
    unsigned n;

    pthread_mutex_lock(&f->uffd->meter.lock);
    n = f->uffd->meter.ngaps;
    pthread_mutex_unlock(&f->uffd->meter.lock);
    return n;
}

static void test_uffd_costs_know_the_hand_over_of_one_thread_only(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;
    void *wrong;

    assert_true(try_new(f));
    assert_true(pgl_uffd_map(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
    assert_int_equal(pthread_create(&thread, NULL, read_page_3, f), 0);
    assert_int_equal(pthread_join(thread, &wrong), 0);
    assert_null(wrong);
    assert_true(shows_page(f, 4));
    assert_int_equal(count_gaps(f), 0);
    assert_true(shows_page(f, 5));
    assert_int_equal(count_gaps(f), 1);
}

static void test_uffd_costs_that_cannot_be_are_refused(void **state)
{
    struct fixture *f = *state;

    f->config.costs.page_ns = PGL_COSTS_MAX_NS + 1;
    assert_false(try_new(f));
    assert_int_equal(errno, EINVAL);
    f->config.costs.page_ns = PGL_COSTS_MAX_NS;
    assert_true(try_new(f));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_uffd_costs_are_those_of_the_requests),
        cmocka_unit_test(test_uffd_costs_that_are_given_are_not_measured),
        cmocka_unit_test(test_uffd_costs_are_unknown_until_there_were_some_requests),
        cmocka_unit_test(test_uffd_costs_of_one_size_split_as_usual),
        cmocka_unit_test(test_uffd_costs_take_the_shortest_hand_over_of_late),
        cmocka_unit_test(test_uffd_costs_take_no_long_time_for_a_hand_over),
        cmocka_unit_test(test_uffd_costs_bear_one_long_request),
        cmocka_unit_test(test_uffd_costs_are_accepted_whatever_the_times),
        cmocka_unit_test(test_uffd_costs_are_not_waited_for),
        TEST(test_uffd_costs_that_a_pager_measures_are_its_objects),
        TEST(test_uffd_costs_that_are_given_are_its_objects),
        TEST(test_uffd_costs_know_the_hand_over_of_one_thread_only),
        TEST(test_uffd_costs_that_cannot_be_are_refused),
    };
#undef TEST

    return permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
