/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The fault driver on one object: short of memory and of credits. One claim per test. */
#include "probe.h"

#include "../cm.h"

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
 * The frames of an external object are taken when the reply comes, and are owed until then; those of an internal one
 * were taken when it asked.
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

/* A request for access takes no frame. */
static void test_fault_access_requests_owe_no_frames(void **state)
{
    struct fixture *f = *state;

    make_object(f);
    f->sim.nframes = 14;
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    f->sim.script = sim_keep;
    assert_int_equal(write_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    assert_int_equal(read_page(&f->b, f->object, 200), PGL_FAULT_PENDING);
    assert_asked(&f->sim, 198, 204, 200); /* the other seven */
    pgl_object_terminate(f->object);
    assert_int_equal(go_on(&f->a), PGL_FAULT_MEMORY_ERROR);
    assert_int_equal(go_on(&f->b), PGL_FAULT_MEMORY_ERROR);
}

static void test_fault_objects_that_share_a_memory_count_on_no_frame_twice(void **state)
{
    struct fixture *f = *state;
    struct pgl_object_config config = config_of(f);
    struct pgl_object *other = pgl_object_new(&config);

    make_object(f);
    f->sim.script = sim_keep;
    f->sim.nframes = 11;
    assert_int_equal(read_page(&f->a, other, 100), PGL_FAULT_PENDING);
    assert_asked(&f->sim, 98, 104, 100); /* seven, of eleven */
    assert_int_equal(read_page(&f->b, f->object, 200), PGL_FAULT_PENDING);
    assert_asked(&f->sim, 199, 202, 200); /* the other four */
    assert_int_equal(sim_supply(&f->sim, sim_last(&f->sim), 199, 202, PGL_ACCESS_READ), 4);
    assert_int_equal(go_on(&f->b), PGL_FAULT_SUCCESS);
    assert_int_equal(read_page(&f->b, f->object, 50), PGL_FAULT_PENDING);
    assert_asked(&f->sim, 50, 50, 50);

    /* Frames that no reply will take any more are promised to none. */
    pgl_fault_interrupt(f->a.fault);
    assert_int_equal(go_on(&f->a), PGL_FAULT_INTERRUPTED);
    assert_int_equal(read_page(&f->a, other, 150), PGL_FAULT_PENDING);
    assert_asked(&f->sim, 148, 153, 150); /* six: the seventh is for page 50 */
    assert_int_equal(sim_supply(&f->sim, sim_last(&f->sim), 150, 150, PGL_ACCESS_READ), 1);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    pgl_object_unref(other); /* with five pages that were asked for */
    pgl_fault_interrupt(f->b.fault);
    assert_int_equal(go_on(&f->b), PGL_FAULT_INTERRUPTED);
    assert_int_equal(read_page(&f->b, f->object, 20), PGL_FAULT_PENDING);
    assert_asked(&f->sim, 18, 24, 20); /* all that are not in use */
    pgl_object_terminate(f->object);
    assert_int_equal(go_on(&f->b), PGL_FAULT_MEMORY_ERROR);
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
    f->sim.frames_used++; /* another fault took the last one */
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

/* It goes to the fault that waits longest; the others sleep on. */
static void test_fault_credit_wakes_one_fault(void **state)
{
    struct fixture *f = *state;
    struct probe c = {.fault = pgl_fault_new()};

    make_object_with_credits(f, 1);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    assert_int_equal(read_page(&f->b, f->object, 200), PGL_FAULT_PENDING);
    assert_int_equal(read_page(&c, f->object, 150), PGL_FAULT_PENDING);
    sim_supply(&f->sim, sim_last(&f->sim), 100, 100, PGL_ACCESS_READ);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_int_equal(c.ready, 0);
    assert_int_equal(stats_of(f->object).waiting, 1);
    assert_int_equal(go_on(&f->b), PGL_FAULT_PENDING);
    assert_asked(&f->sim, 200, 200, 200);
    assert_int_equal(c.ready, 0);
    sim_supply(&f->sim, sim_last(&f->sim), 200, 200, PGL_ACCESS_READ);
    assert_int_equal(go_on(&f->b), PGL_FAULT_SUCCESS);
    assert_int_equal(go_on(&c), PGL_FAULT_PENDING);
    sim_supply(&f->sim, sim_last(&f->sim), 150, 150, PGL_ACCESS_READ);
    assert_int_equal(go_on(&c), PGL_FAULT_SUCCESS);
    assert_at_rest(f->object);
    pgl_fault_free(c.fault);
}

/* The credit that was handed to it is nobody else's, even before it goes on. */
static void test_fault_that_comes_later_does_not_take_a_credit_that_was_handed_on(void **state)
{
    struct fixture *f = *state;

    make_object_with_credits(f, 1);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    assert_int_equal(read_page(&f->b, f->object, 200), PGL_FAULT_PENDING);
    sim_supply(&f->sim, sim_last(&f->sim), 100, 100, PGL_ACCESS_READ);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_int_equal(fault_on(&f->a, f->object, 150, PGL_ACCESS_READ, PGL_FAULT_FLAG_NO_WAIT), PGL_FAULT_RETRY);
    f->sim.script = sim_now;
    assert_int_equal(go_on(&f->b), PGL_FAULT_SUCCESS);
    assert_int_equal(fault_on(&f->a, f->object, 150, PGL_ACCESS_READ, PGL_FAULT_FLAG_NO_WAIT), PGL_FAULT_SUCCESS);
    assert_at_rest(f->object);
}

/* Another fault brought the page meanwhile: the credit goes on to the next that waits, or is free. */
static void test_fault_that_needs_its_credit_no_more_hands_it_on(void **state)
{
    struct fixture *f = *state;
    struct probe c = {.fault = pgl_fault_new()};

    make_object_with_credits(f, 2);
    pgl_object_advise(f->object, PGL_ADVICE_RANDOM);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_PENDING);
    assert_int_equal(read_page(&c, f->object, 101), PGL_FAULT_PENDING);
    assert_int_equal(read_page(&f->b, f->object, 200), PGL_FAULT_PENDING); /* waits for a credit */
    sim_supply(&f->sim, &f->sim.log[0], 100, 100, PGL_ACCESS_READ);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_int_equal(f->b.ready, 1); /* owns the credit of page 100 */
    sim_supply(&f->sim, &f->sim.log[1], 101, 101, PGL_ACCESS_READ);
    assert_int_equal(go_on(&c), PGL_FAULT_SUCCESS);
    f->sim.script = sim_now;
    assert_int_equal(read_page(&f->a, f->object, 200), PGL_FAULT_SUCCESS);
    f->sim.script = sim_keep;
    assert_int_equal(read_page(&f->a, f->object, 102), PGL_FAULT_PENDING);
    assert_int_equal(read_page(&c, f->object, 103), PGL_FAULT_PENDING); /* waits for a credit */
    assert_int_equal(go_on(&f->b), PGL_FAULT_SUCCESS);
    f->sim.script = sim_now;
    assert_int_equal(go_on(&c), PGL_FAULT_SUCCESS);
    sim_supply(&f->sim, &f->sim.log[3], 102, 102, PGL_ACCESS_READ);
    assert_int_equal(go_on(&f->a), PGL_FAULT_SUCCESS);
    assert_at_rest(f->object);
    pgl_fault_free(c.fault);
}

/* It hands its credit on, and the next fault that waits gets it. */
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
    assert_int_equal(stats_of(f->object).waiting, 1);
    pgl_fault_interrupt(f->b.fault); /* too late for this wait, in time for the next */
    assert_int_equal(go_on(&f->b), PGL_FAULT_INTERRUPTED);
    f->sim.script = sim_now;
    assert_int_equal(go_on(&c), PGL_FAULT_SUCCESS);
    assert_at_rest(f->object);
    pgl_fault_free(c.fault);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_fault_without_spare_memory_asks_for_the_demand_page),
        TEST(test_fault_speculates_on_frames_that_nobody_is_owed),
        TEST(test_fault_access_requests_owe_no_frames),
        TEST(test_fault_objects_that_share_a_memory_count_on_no_frame_twice),
        TEST(test_fault_short_of_memory_cuts_speculation_not_the_demand),
        TEST(test_fault_without_memory_for_the_demand_page_is_a_shortage),
        TEST(test_fault_shortage_at_the_reply_reaches_every_waiter),
        TEST(test_fault_credits_cut_speculation),
        TEST(test_fault_without_a_credit_waits_for_one),
        TEST(test_fault_without_a_credit_retries_if_asked_to),
        TEST(test_fault_waiting_for_a_credit_can_be_interrupted),
        TEST(test_fault_credit_wakes_one_fault),
        TEST(test_fault_that_comes_later_does_not_take_a_credit_that_was_handed_on),
        TEST(test_fault_that_needs_its_credit_no_more_hands_it_on),
        TEST(test_fault_credit_is_not_lost_with_an_interrupted_waiter),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
