/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Adaptive advice, through the driver: what patterns of first touches cost, with a pager that has the data at once. The
 * model is that of the benchmark: 3,200 ns a request and 1,130 ns a page; 1.0 is what fetching page by page costs.
 */
#include "sim.h"

#include "cm.h"

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

/* What was touched since the last time, over page by page. */
static double cost_so_far(struct reader *r, struct pgl_object_stats *since)
{
    struct pgl_object_stats now;
    double ns = 0;

    pgl_object_stats(r->object, &now);
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

    assert_null(pgl_object_check(r->object));
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

/* What it has learnt it can unlearn. */
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
        cmocka_unit_test(test_advisor_is_exact_at_both_ends_of_64_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
