/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Adaptive advice, through the driver: what patterns of first touches cost, with a pager that has the data at once. The
 * model is that of the benchmark: 3,200 ns a request and 1,130 ns a page; 1.0 is what fetching page by page costs.
 */
#include "sim.h"

#include "../cm.h"

struct reader {
    struct sim sim;
    struct pgl_object *object;
    struct pgl_fault *fault;
    uint64_t touches;
    uint64_t x;
};

static void open_reader(struct reader *r, enum pgl_advice advice, uint64_t last, const struct pgl_advice_table *table)
{
    const struct pgl_object_config config = {
        .last = last,
        .pager_ops = &sim_pager_ops,
        .pager = &r->sim,
        .pager_range = {0, last},
        .advice = advice,
        .table = table,
    };

    *r = (struct reader){.sim = {.script = sim_now}, .x = 88172645463325252};
    r->object = pgl_object_new(&config);
    r->fault = pgl_fault_new();
}

static void touch(struct reader *r, uint64_t index)
{
    const struct pgl_fault_args args = {.object = r->object, .index = index, .access = PGL_ACCESS_READ};

    assert_int_equal(pgl_fault_run(r->fault, &args, NULL), PGL_FAULT_SUCCESS);
    r->touches++;
}

/* Runs of pages, here and there. */
static void touch_runs(struct reader *r, unsigned n, unsigned npages)
{
    for (unsigned i = 0; i < n; i++) {
        r->x ^= r->x << 13;
        r->x ^= r->x >> 7;
        r->x ^= r->x << 17;
        for (unsigned page = 0; page < npages; page++) {
            touch(r, (r->x >> 31) + page);
        }
    }
}

static void touch_at_random(struct reader *r, unsigned n)
{
    touch_runs(r, n, 1);
}

/* The cost of the touches since the last call, over that of going page by page. */
static double cost_so_far(struct reader *r, struct pgl_object_stats *since)
{
    struct pgl_object_stats now;
    double ns = 0;

    pgl_object_get_stats(r->object, &now);
    for (int i = 0; i < PGL_ADVICE_COUNT; i++) {
        uint64_t requests = now.by_advice[i].requests - since->by_advice[i].requests;
        uint64_t speculative = now.by_advice[i].speculative - since->by_advice[i].speculative;

        ns += 3200.0 * (double)requests + 1130.0 * (double)(requests + speculative);
    }
    ns /= 4330.0 * (double)r->touches;
    r->touches = 0;
    *since = now;
    return ns;
}

static double close_reader(struct reader *r)
{
    struct pgl_object_stats since = {0};
    double cost = cost_so_far(r, &since);

    assert_int_equal(pgl_object_check(r->object, sim_say, NULL), 0);
    pgl_fault_free(r->fault);
    pgl_object_unref(r->object);
    return cost;
}

/* A fixed window makes random look-ups cost several times as much: here it is all but page by page. */
static void test_advisor_random_costs_no_more_than_page_by_page(void **state)
{
    struct reader r;

    (void)state;
    open_reader(&r, PGL_ADVICE_NORMAL, UINT64_MAX >> 30, NULL);
    touch_at_random(&r, 5000);
    assert_true(close_reader(&r) > 2.0);
    open_reader(&r, PGL_ADVICE_ADAPTIVE, UINT64_MAX >> 30, NULL);
    touch_at_random(&r, 5000);
    assert_true(close_reader(&r) < 1.05);
}

static void test_advisor_follows_a_reader_up_and_down(void **state)
{
    struct reader r;

    (void)state;
    open_reader(&r, PGL_ADVICE_ADAPTIVE, 9999, NULL);
    for (uint64_t i = 0; i < 10000; i++) {
        touch(&r, i);
    }
    assert_true(close_reader(&r) < 0.30);
    open_reader(&r, PGL_ADVICE_ADAPTIVE, 9999, NULL);
    for (uint64_t i = 10000; i-- > 0;) {
        touch(&r, i);
    }
    assert_true(close_reader(&r) < 0.30);
}

static void test_advisor_follows_several_readers_at_once(void **state)
{
    struct reader r;

    (void)state;
    open_reader(&r, PGL_ADVICE_ADAPTIVE, 99999, NULL);
    for (uint64_t i = 0; i < 3000; i++) {
        touch(&r, i);
        touch(&r, 20000 + i);
        touch(&r, 49999 - i);
        touch(&r, 60000 + i);
    }
    assert_true(close_reader(&r) < 0.30);
}

static void test_advisor_follows_a_reader_that_skips(void **state)
{
    struct reader r;

    (void)state;
    open_reader(&r, PGL_ADVICE_ADAPTIVE, 99999, NULL);
    for (uint64_t i = 0; i < 20000; i += 1 + i % 3) {
        touch(&r, i);
    }
    assert_true(close_reader(&r) < 0.60);
}

/* The advisor can unlearn. */
static void test_advisor_recovers_confidence(void **state)
{
    struct pgl_object_stats since = {0};
    struct reader r;

    (void)state;
    open_reader(&r, PGL_ADVICE_ADAPTIVE, UINT64_MAX >> 30, NULL);
    touch_at_random(&r, 3000);
    cost_so_far(&r, &since);
    for (uint64_t i = 0; i < 3000; i++) {
        touch(&r, i);
    }
    assert_true(cost_so_far(&r, &since) < 0.32);
    touch_runs(&r, 500, 40); /* each begins with more than its page again */
    cost_so_far(&r, &since);
    touch_runs(&r, 500, 40);
    assert_true(cost_so_far(&r, &since) < 0.51);
    touch_at_random(&r, 3000);
    assert_true(cost_so_far(&r, &since) < 1.15);
    close_reader(&r);
}

static void test_advisor_stays_inside_its_row(void **state)
{
    const struct pgl_advice_table table = {.row = {[PGL_ADVICE_ADAPTIVE] = {1, 2, 0}}};
    struct reader r;

    (void)state;
    open_reader(&r, PGL_ADVICE_ADAPTIVE, 9999, &table);
    for (uint64_t i = 0; i < 1000; i++) {
        const struct pgl_request *request;

        touch(&r, i % 2 == 0 ? i : 9999 - i);
        request = sim_last(&r.sim);
        assert_true(request->pager_demand - request->range.first <= 1);
        assert_true(request->range.last - request->pager_demand <= 2);
    }
    close_reader(&r);
}

/* The fault on a page asks for exactly these, by an advisor that has seen the faults before. */
static void assert_asks(struct reader *r, uint64_t index, uint64_t first, uint64_t last)
{
    unsigned nrequests = r->sim.nrequests;

    touch(r, index);
    assert_int_equal(r->sim.nrequests, nrequests + 1);
    assert_int_equal(sim_last(&r->sim)->range.first, first);
    assert_int_equal(sim_last(&r->sim)->range.last, last);
}

/* A start has up to sixteen pages, a third of them before it; each that continues has twice the last, on its side only. */
static void test_advisor_doubles_its_window_and_halves_it_where_the_reader_turns(void **state)
{
    struct reader r;

    (void)state;
    open_reader(&r, PGL_ADVICE_ADAPTIVE, 99999, NULL);
    assert_asks(&r, 1000, 995, 1011);
    assert_asks(&r, 1012, 1012, 1043); /* 32, of which the row allows 31 */
    close_reader(&r);
    open_reader(&r, PGL_ADVICE_ADAPTIVE, 99999, NULL);
    assert_asks(&r, 1000, 995, 1011);
    assert_asks(&r, 994, 963, 994);
    assert_asks(&r, 1012, 1012, 1027); /* turned round: half of 31 */
    assert_asks(&r, 1028, 1028, 1058);
    close_reader(&r);
}

/* Four pages and half the window may be skipped, either way; one more is a new start. */
static void test_advisor_takes_a_skip_of_half_its_window_either_way(void **state)
{
    struct reader r;

    (void)state;
    for (uint64_t more = 0; more < 2; more++) {
        open_reader(&r, PGL_ADVICE_ADAPTIVE, 99999, NULL);
        assert_asks(&r, 1000, 995, 1011);
        assert_asks(&r, 1023 + more, more ? 1019 : 1023, more ? 1034 : 1054);
        close_reader(&r);
        open_reader(&r, PGL_ADVICE_ADAPTIVE, 99999, NULL);
        assert_asks(&r, 1000, 995, 1011);
        assert_asks(&r, 983 - more, more ? 977 : 952, more ? 992 : 983);
        close_reader(&r);
    }
}

/* Nothing came before it: the first fault is a start wherever it is, also right behind page 0. */
static void test_advisor_begins_with_a_start(void **state)
{
    struct reader r;

    (void)state;
    for (uint64_t index = 0; index < 6; index++) {
        open_reader(&r, PGL_ADVICE_ADAPTIVE, 99999, NULL);
        assert_asks(&r, index, 0, index + 11);
        close_reader(&r);
    }
}

/* Confidence loses a part in 32 with each start: a tenth is left after 72, and then a start brings its page alone. */
static void test_advisor_gives_up_where_a_tenth_of_its_confidence_is_left(void **state)
{
    struct reader r;

    (void)state;
    open_reader(&r, PGL_ADVICE_ADAPTIVE, UINT64_MAX, NULL);
    for (uint64_t i = 1; i <= 200; i++) {
        touch(&r, i << 32);
        assert_true((sim_last(&r.sim)->range.first < sim_last(&r.sim)->range.last) == (i <= 72));
    }
    close_reader(&r);
}

/* Eight streams are remembered: with one more, in turn, each has been forgotten when its reader comes back. */
static void test_advisor_remembers_eight_streams(void **state)
{
    (void)state;
    for (uint64_t nreaders = 7; nreaders <= 9; nreaders++) {
        struct reader r;
        uint64_t next[9];

        open_reader(&r, PGL_ADVICE_ADAPTIVE, UINT64_MAX, NULL);
        for (uint64_t i = 0; i < nreaders; i++) {
            touch(&r, i << 32);
            next[i] = sim_last(&r.sim)->range.last + 1;
        }
        for (uint64_t i = 0; i < nreaders; i++) {
            touch(&r, next[i]);
            assert_int_equal(sim_last(&r.sim)->pager_demand, next[i]);
            if (nreaders <= 8) {
                assert_int_equal(sim_last(&r.sim)->range.first, next[i]);
                assert_true(sim_last(&r.sim)->range.last > next[i] + 16);
            } else {
                assert_true(sim_last(&r.sim)->range.last < next[i] + 12);
            }
        }
        close_reader(&r);
    }
}

/* Only data requests that may speculate are part of a stream, or a start: neither those for access nor for a wire. */
static void test_advisor_looks_at_no_fault_that_it_does_not_decide(void **state)
{
    struct pgl_fault_args wired = {.access = PGL_ACCESS_READ, .flags = PGL_FAULT_FLAG_WIRE};
    struct reader r;

    (void)state;
    open_reader(&r, PGL_ADVICE_ADAPTIVE, 99999, NULL);
    assert_asks(&r, 1000, 995, 1011);
    assert_int_equal(pgl_pager_withhold(r.object, (struct pgl_pager_range){0, 99999}, PGL_ACCESS_NONE), 17);
    touch(&r, 1005);
    assert_int_equal(r.sim.nunlocks, 1);
    assert_int_equal(sim_last(&r.sim)->range.first, 995); /* as far as the row says */
    assert_int_equal(sim_last(&r.sim)->range.last, 1011);
    wired.object = r.object;
    for (wired.index = 10000; wired.index < 20000; wired.index += 1000) { /* more than there are streams */
        assert_int_equal(pgl_fault_run(r.fault, &wired, NULL), PGL_FAULT_SUCCESS);
        assert_int_equal(sim_last(&r.sim)->range.last, wired.index);
        assert_true(pgl_object_unwire(r.object, wired.index));
    }
    assert_asks(&r, 1012, 1012, 1043);
    close_reader(&r);
}

/* A reader has passed what lies below it only when it goes up. */
static void test_advisor_leaves_behind_what_a_reader_has_passed_on_its_way_up(void **state)
{
    const struct pgl_advice_table table = {.row = {[PGL_ADVICE_ADAPTIVE] = {31, 31, 32}}};
    struct reader r;

    (void)state;
    open_reader(&r, PGL_ADVICE_ADAPTIVE, 9999, &table);
    assert_asks(&r, 1000, 995, 1011); /* a start */
    assert_int_equal(r.sim.nbehind, 0);
    assert_asks(&r, 1012, 1012, 1043);
    assert_int_equal(r.sim.nbehind, 1);
    assert_int_equal(r.sim.behind.first, 980);
    assert_int_equal(r.sim.behind.last, 1011);
    assert_asks(&r, 1044, 1044, 1075);
    assert_int_equal(r.sim.nbehind, 2);
    assert_int_equal(r.sim.behind.last, 1043);
    assert_asks(&r, 5000, 4995, 5010); /* another start */
    assert_asks(&r, 4994, 4964, 4994); /* and down from there */
    assert_asks(&r, 4963, 4932, 4963);
    assert_int_equal(r.sim.nbehind, 2);
    close_reader(&r);
}

/* Streams that end at either end of 64 bits, and look-ups that jump from one to the other. */
static void test_advisor_is_exact_at_both_ends_of_64_bits(void **state)
{
    struct reader r;

    (void)state;
    open_reader(&r, PGL_ADVICE_ADAPTIVE, UINT64_MAX, NULL);
    for (uint64_t i = 0; i < 100; i++) {
        touch(&r, UINT64_MAX - 99 + i);
        touch(&r, 99 - i);
    }
    assert_true(close_reader(&r) < 0.45);
    open_reader(&r, PGL_ADVICE_ADAPTIVE, UINT64_MAX, NULL);
    touch(&r, UINT64_MAX);
    assert_int_equal(sim_last(&r.sim)->range.last, UINT64_MAX);
    touch(&r, 0);
    assert_int_equal(sim_last(&r.sim)->range.first, 0);
    assert_true(sim_last(&r.sim)->range.last < 64); /* 0 does not come right after 2^64 - 1 */
    close_reader(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_advisor_random_costs_no_more_than_page_by_page),
        cmocka_unit_test(test_advisor_follows_a_reader_up_and_down),
        cmocka_unit_test(test_advisor_follows_several_readers_at_once),
        cmocka_unit_test(test_advisor_follows_a_reader_that_skips),
        cmocka_unit_test(test_advisor_recovers_confidence),
        cmocka_unit_test(test_advisor_stays_inside_its_row),
        cmocka_unit_test(test_advisor_doubles_its_window_and_halves_it_where_the_reader_turns),
        cmocka_unit_test(test_advisor_takes_a_skip_of_half_its_window_either_way),
        cmocka_unit_test(test_advisor_begins_with_a_start),
        cmocka_unit_test(test_advisor_gives_up_where_a_tenth_of_its_confidence_is_left),
        cmocka_unit_test(test_advisor_remembers_eight_streams),
        cmocka_unit_test(test_advisor_looks_at_no_fault_that_it_does_not_decide),
        cmocka_unit_test(test_advisor_leaves_behind_what_a_reader_has_passed_on_its_way_up),
        cmocka_unit_test(test_advisor_is_exact_at_both_ends_of_64_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
