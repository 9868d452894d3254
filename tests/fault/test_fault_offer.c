/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pages that a pager supplies without having been asked for them. One claim per test. */
#include "probe.h"

#include <errno.h>

#include "../../src/fault/object_internal.h"
#include "../cm.h"

static void assert_shows(struct fixture *f, uint64_t index)
{
    assert_int_equal(read_page(&f->a, f->object, index), PGL_FAULT_SUCCESS);
    assert_true(sim_frame_is(f->a.page.frame, f->sim.tag, index));
}

static void test_fault_offer_fills_absent_pages(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    assert_int_equal(sim_offer(&f->sim, f->object, 60, 70, PGL_ACCESS_READ), 11); /* of two chunks */
    for (uint64_t index = 60; index <= 70; index++) {
        assert_shows(f, index);
        assert_int_equal(f->a.page.access, PGL_ACCESS_READ);
    }
    assert_int_equal(f->sim.nrequests, 0);
    assert_int_equal(stats_of(f->object).resident, 11);
    assert_int_equal(stats_of(f->object).aliens, 0);
    assert_at_rest(f->object);
}

/* Whichever request wants them, and their credits come back. */
static void test_fault_offer_answers_every_request(void **state)
{
    struct fixture *f = *state;

    make_object_with_credits(f, 16);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    assert_int_equal(read_page(&f->b, f->object, 110), PGL_FAULT_PENDING);
    assert_int_equal(f->sim.nrequests, 2);
    assert_true(sim_offer(&f->sim, f->object, 90, 120, PGL_ACCESS_WRITE) == 31);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_int_equal(go_on(&f->b), PGL_FAULT_SUCCESS);
    assert_at_rest(f->object);
    assert_int_equal(sim_supply(&f->sim, &f->sim.log[0], 100, 100, PGL_ACCESS_WRITE), 0);
    assert_int_equal(stats_of(f->object).duplicates, 1);
}

static void test_fault_offer_leaves_resident_pages_alone(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    assert_int_equal(sim_offer(&f->sim, f->object, 5, 5, PGL_ACCESS_READ), 1);
    f->sim.tag++;
    assert_int_equal(sim_offer(&f->sim, f->object, 4, 6, PGL_ACCESS_WRITE), 2);
    assert_shows(f, 4);
    f->sim.tag--;
    assert_shows(f, 5);
    assert_int_equal(f->a.page.access, PGL_ACCESS_READ);
    assert_int_equal(stats_of(f->object).duplicates, 0);
}

static void test_fault_offer_ends_an_error(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    f->sim.script = sim_error;
    assert_int_equal(read_page(&f->a, f->object, 5), PGL_FAULT_MEMORY_ERROR);
    assert_int_equal(sim_offer(&f->sim, f->object, 5, 5, PGL_ACCESS_READ), 1);
    assert_shows(f, 5);
    assert_at_rest(f->object);
}

/* A fault that looks further down the chain has marked the page: its placeholder stays, and it makes the page. */
static void test_fault_offer_leaves_a_placeholder_alone(void **state)
{
    struct fixture *f = *state;
    struct pgl_object_config config = config_of(f);
    struct pgl_object *shadow;

    f->sim.script = sim_keep;
    f->object = pgl_object_new(&config);
    config.backing = f->object;
    shadow = pgl_object_new(&config);
    assert_non_null(shadow);
    pgl_object_advise(shadow, PGL_ADVICE_RANDOM);
    assert_int_equal(write_page(&f->a, shadow, 3), PGL_FAULT_PENDING);
    pgl_pager_no_data(shadow, sim_last(&f->sim)->id, (struct pgl_pager_range){3, 3});
    assert_int_equal(go_on(&f->a), PGL_FAULT_PENDING); /* the lower object's pager is asked */
    assert_int_equal(stats_of(shadow).busy, 1);
    assert_int_equal(sim_offer(&f->sim, shadow, 0, 3, PGL_ACCESS_WRITE), 3);
    assert_int_equal(stats_of(shadow).busy, 1);
    sim_now(&f->sim, sim_last(&f->sim), true);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_int_equal(stats_of(shadow).resident, 4);
    assert_at_rest(shadow);
    pgl_object_unref(shadow);
}

static void test_fault_offer_takes_no_more_than_there_are_frames(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    f->sim.nframes = 3;
    assert_int_equal(sim_offer(&f->sim, f->object, 10, 20, PGL_ACCESS_READ), 3);
    assert_shows(f, 12);
    f->sim.nframes = 4;
    assert_shows(f, 13);
    assert_int_equal(f->sim.nrequests, 1);
}

static void test_fault_offer_is_limited_to_the_object(void **state)
{
    struct fixture *f = *state;
    struct pgl_object_config config = config_of(f);

    config.pager_range = (struct pgl_pager_range){50, 50 + NPAGES - 1};
    f->object = pgl_object_new(&config);
    assert_int_equal(sim_offer(&f->sim, f->object, 40, 51, PGL_ACCESS_READ), 2);
    assert_int_equal(read_page(&f->a, f->object, 1), PGL_FAULT_SUCCESS);
    assert_true(sim_frame_is(f->a.page.frame, f->sim.tag, 51));
    assert_int_equal(sim_offer(&f->sim, f->object, 50 + NPAGES - 1, 50 + NPAGES, PGL_ACCESS_READ), 1);
    assert_int_equal(sim_offer(&f->sim, f->object, 50 + NPAGES, 60 + NPAGES, PGL_ACCESS_READ), 0);
    assert_int_equal(sim_offer(&f->sim, f->object, 0, 49, PGL_ACCESS_READ), 0);
}

static void test_fault_offer_with_no_such_access_is_refused(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    errno = 0;
    assert_int_equal(sim_offer(&f->sim, f->object, 0, 5, (enum pgl_access)77), 0);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(stats_of(f->object).resident, 0);
}

static void test_fault_offer_to_a_terminated_object_is_void(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    pgl_object_terminate(f->object);
    assert_int_equal(sim_offer(&f->sim, f->object, 0, 5, PGL_ACCESS_READ), 0);
    assert_int_equal(stats_of(f->object).resident, 0);
}

/* Offer pages of zeros at a moment. */
static void offer_at(struct fixture *f, uint64_t first, uint64_t last, uint64_t moment)
{
    struct pgl_wake_list list = {NULL};
    struct pgl_pager_range range = {first, last};

    assert_int_equal(pgl_object_offer(f->object, range, NULL, PGL_ACCESS_READ, moment, &list), last - first + 1);
    pgl_wake_all(&list);
}

static void test_fault_offer_after_a_moment_is_not_removed_for_it(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    offer_at(f, 60, 70, 7); /* of two chunks */
    assert_false(pgl_object_remove_older(f->object, 63, 6));
    assert_true(pgl_object_resident(f->object, 63));
    assert_true(pgl_object_remove_older(f->object, 63, 7));
    assert_false(pgl_object_resident(f->object, 63));
    offer_at(f, 63, 63, 5); /* an offer that is late changes nothing */
    assert_false(pgl_object_remove_older(f->object, 63, 6));
    assert_true(pgl_object_resident(f->object, 64));
    assert_true(pgl_object_remove_older(f->object, 128, 0)); /* nothing was offered there */
    assert_int_equal(stats_of(f->object).resident, 11);
    assert_at_rest(f->object);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_fault_offer_fills_absent_pages),
        TEST(test_fault_offer_answers_every_request),
        TEST(test_fault_offer_leaves_resident_pages_alone),
        TEST(test_fault_offer_ends_an_error),
        TEST(test_fault_offer_leaves_a_placeholder_alone),
        TEST(test_fault_offer_takes_no_more_than_there_are_frames),
        TEST(test_fault_offer_is_limited_to_the_object),
        TEST(test_fault_offer_with_no_such_access_is_refused),
        TEST(test_fault_offer_to_a_terminated_object_is_void),
        TEST(test_fault_offer_after_a_moment_is_not_removed_for_it),
    };
#undef TEST

    return cmocka_run_group_tests(tests, NULL, NULL);
}
