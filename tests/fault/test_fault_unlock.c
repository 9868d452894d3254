/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Access requests for writing that take the neighbours along. */
#include <errno.h>

#include "probe.h"

#include "../cm.h"

enum { MANY = 1024 };

/* Each page may be read and no page may be written; sequential reading fetches 32 at a time. */
static void make_read_object(struct fixture *f, uint64_t npages, bool unlock_clusters)
{
    struct pgl_object_config config = sim_config(&f->sim, npages);

    config.advice = PGL_ADVICE_SEQUENTIAL;
    config.unlock_clusters = unlock_clusters;
    f->object = pgl_object_new(&config);
    assert_non_null(f->object);
    for (uint64_t i = 0; i < npages; i++) {
        assert_int_equal(read_page(&f->a, f->object, i), PGL_FAULT_SUCCESS);
    }
}

/* The same, which then takes three pages along on each side. */
static void make_narrow_object(struct fixture *f)
{
    make_read_object(f, NPAGES, true);
    pgl_object_set_table(f->object, &probe_table);
    pgl_object_advise(f->object, PGL_ADVICE_NORMAL);
}

static void test_fault_writing_what_was_read_costs_a_request_a_cluster(void **state)
{
    struct fixture *f = *state;

    make_read_object(f, MANY, true);
    assert_int_equal(f->sim.nrequests, MANY / 32);
    for (uint64_t i = 0; i < MANY; i++) {
        assert_int_equal(write_page(&f->a, f->object, i), PGL_FAULT_SUCCESS);
        assert_int_equal(f->a.page.access, PGL_ACCESS_WRITE);
    }
    assert_int_equal(f->sim.nunlocks, MANY / 32);
    assert_int_equal(f->sim.nrequests, MANY / 32);
    assert_at_rest(f->object);
}

static void test_fault_writing_what_was_read_costs_a_request_a_page_unless_configured(void **state)
{
    struct fixture *f = *state;

    make_read_object(f, MANY, false);
    for (uint64_t i = 0; i < MANY; i++) {
        assert_int_equal(write_page(&f->a, f->object, i), PGL_FAULT_SUCCESS);
        assert_int_equal(sim_last(&f->sim)->neighbour_access, PGL_ACCESS_READ);
    }
    assert_int_equal(f->sim.nunlocks, MANY);
    assert_at_rest(f->object);
}

static void assert_unlocks(struct fixture *f, uint64_t page, uint64_t first, uint64_t last)
{
    unsigned n = f->sim.nunlocks;

    assert_int_equal(write_page(&f->a, f->object, page), PGL_FAULT_SUCCESS);
    assert_int_equal(f->sim.nunlocks, n + 1);
    assert_asked(&f->sim, first, last, page);
    assert_int_equal(sim_last(&f->sim)->access, PGL_ACCESS_WRITE);
    assert_int_equal(sim_last(&f->sim)->neighbour_access, PGL_ACCESS_WRITE);
}

/* The window is the advice's, and ends at the first page that is absent, in error, asked for, or writable already. */
static void test_fault_unlock_cluster_is_bounded_by_advice_and_neighbours(void **state)
{
    struct fixture *f = *state;

    make_narrow_object(f);
    assert_unlocks(f, 100, 97, 103);
    assert_unlocks(f, 104, 104, 107); /* 103 is writable */
    assert_int_equal(pgl_object_remove(f->object, 112, 112), 1);
    assert_unlocks(f, 110, 108, 111); /* 107 is writable, 112 is absent */
    pgl_object_advise(f->object, PGL_ADVICE_RANDOM);
    assert_unlocks(f, 50, 50, 50);
    pgl_object_advise(f->object, PGL_ADVICE_DEFAULT);
    assert_unlocks(f, 0, 0, 4);
    assert_unlocks(f, NPAGES - 1, NPAGES - 3, NPAGES - 1);
    assert_at_rest(f->object);
}

static void test_fault_unlock_cluster_ends_at_a_page_that_is_asked_for(void **state)
{
    struct fixture *f = *state;
    struct pgl_request first;

    make_narrow_object(f);
    f->sim.script = sim_keep;
    assert_int_equal(fault_on(&f->b, f->object, 102, PGL_ACCESS_WRITE, PGL_FAULT_FLAG_RETRIED), PGL_FAULT_PENDING);
    first = *sim_last(&f->sim);
    f->sim.script = sim_now;
    assert_unlocks(f, 100, 97, 101);
    sim_now(&f->sim, &first, false);
    assert_int_equal(go_on(&f->b), PGL_FAULT_SUCCESS);
    assert_at_rest(f->object);
}

/* A page that cannot even be read is taken along, and gets both. */
static void test_fault_unlock_cluster_takes_pages_without_any_access_along(void **state)
{
    struct fixture *f = *state;

    make_narrow_object(f);
    pgl_pager_withhold(f->object, (struct pgl_pager_range){101, 102}, PGL_ACCESS_NONE);
    assert_unlocks(f, 100, 97, 103);
    assert_int_equal(fault_on(&f->a, f->object, 101, PGL_ACCESS_WRITE, PGL_FAULT_FLAG_RESIDENT), PGL_FAULT_SUCCESS);
}

/* A request for reading takes only those along that cannot be read, as without the option. */
static void test_fault_unlock_cluster_for_reading_asks_for_reading(void **state)
{
    struct fixture *f = *state;

    make_narrow_object(f);
    pgl_pager_withhold(f->object, (struct pgl_pager_range){100, 101}, PGL_ACCESS_NONE);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 100, 101, 100);
    assert_int_equal(sim_last(&f->sim)->neighbour_access, PGL_ACCESS_READ);
    assert_int_equal(f->a.page.access, PGL_ACCESS_READ);
}

static void test_fault_that_wires_or_is_repeated_unlocks_its_page_alone(void **state)
{
    struct fixture *f = *state;

    make_read_object(f, NPAGES, true);
    assert_int_equal(fault_on(&f->a, f->object, 100, PGL_ACCESS_WRITE, PGL_FAULT_FLAG_RETRIED), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 100, 100, 100);
    assert_int_equal(fault_on(&f->a, f->object, 50, PGL_ACCESS_WRITE, PGL_FAULT_FLAG_WIRE), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 50, 50, 50);
    assert_true(pgl_object_unwire(f->object, 50));
}

/* Refused, failed or interrupted: every page stays resident and readable, and none stays asked for. */
static void test_fault_unlock_cluster_that_fails_leaves_pages_as_they_were(void **state)
{
    struct fixture *f = *state;
    static const int errors[] = {EAGAIN, EINTR, ENOMEM, EIO};

    make_read_object(f, NPAGES, true);
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        f->sim.script = sim_refuse;
        f->sim.refusal = errors[i];
        assert_int_not_equal(write_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
        assert_at_rest(f->object);
    }
    f->sim.script = sim_error;
    assert_int_equal(write_page(&f->a, f->object, 100), PGL_FAULT_MEMORY_ERROR);
    assert_at_rest(f->object);
    f->sim.script = sim_keep;
    assert_int_equal(write_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    assert_int_equal(stats_of(f->object).outstanding, 32);
    pgl_fault_interrupt(f->a.fault);
    assert_int_equal(go_on(&f->a), PGL_FAULT_INTERRUPTED);
    assert_at_rest(f->object);
    for (uint64_t i = 0; i < NPAGES; i++) {
        assert_int_equal(fault_on(&f->a, f->object, i, PGL_ACCESS_READ, PGL_FAULT_FLAG_RESIDENT), PGL_FAULT_SUCCESS);
        assert_int_equal(f->a.page.access, PGL_ACCESS_READ);
    }
}

/* Of two faults on one cluster, the second waits for the first one's request. */
static void test_fault_unlock_cluster_serves_the_faults_that_wait_for_its_neighbours(void **state)
{
    struct fixture *f = *state;

    make_read_object(f, NPAGES, true);
    f->sim.script = sim_keep;
    assert_int_equal(write_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    assert_int_equal(write_page(&f->b, f->object, 110), PGL_FAULT_PENDING);
    assert_int_equal(f->sim.nunlocks, 1);
    sim_now(&f->sim, sim_last(&f->sim), false);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_int_equal(go_on(&f->b), PGL_FAULT_SUCCESS);
    assert_int_equal(f->sim.nunlocks, 1);
    assert_at_rest(f->object);
}

/* Credits bound it as they bound any request. */
static void test_fault_unlock_cluster_is_cut_by_credits(void **state)
{
    struct fixture *f = *state;
    struct pgl_object_config config = config_of(f);

    config.credits = 3;
    config.unlock_clusters = true;
    f->object = pgl_object_new(&config);
    for (uint64_t i = 96; i < 110; i++) {
        assert_int_equal(read_page(&f->a, f->object, i), PGL_FAULT_SUCCESS);
    }
    f->sim.script = sim_keep;
    assert_int_equal(write_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    assert_asked(&f->sim, 99, 101, 100);
    assert_int_equal(stats_of(f->object).outstanding, 3);
    sim_now(&f->sim, sim_last(&f->sim), false);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_at_rest(f->object);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_fault_writing_what_was_read_costs_a_request_a_cluster),
        TEST(test_fault_writing_what_was_read_costs_a_request_a_page_unless_configured),
        TEST(test_fault_unlock_cluster_is_bounded_by_advice_and_neighbours),
        TEST(test_fault_unlock_cluster_ends_at_a_page_that_is_asked_for),
        TEST(test_fault_unlock_cluster_takes_pages_without_any_access_along),
        TEST(test_fault_unlock_cluster_for_reading_asks_for_reading),
        TEST(test_fault_that_wires_or_is_repeated_unlocks_its_page_alone),
        TEST(test_fault_unlock_cluster_that_fails_leaves_pages_as_they_were),
        TEST(test_fault_unlock_cluster_serves_the_faults_that_wait_for_its_neighbours),
        TEST(test_fault_unlock_cluster_is_cut_by_credits),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
