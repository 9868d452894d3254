/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Adaptive advice through the driver: it decides as the advisor does, counts the reasons, and survives without memory. */
#include <errno.h>

#include "probe.h"

#include "../cm.h"

#define LAST 99999

static const struct pgl_advice_table wide = {.row = {[PGL_ADVICE_ADAPTIVE] = {63, 63, 0}}};
static const struct pgl_costs free_pages = {1000000, 1};
static const struct pgl_costs free_faults = {1, 1000000};

static struct pgl_object *make_adaptive(struct fixture *f, const struct pgl_costs *costs)
{
    struct pgl_object_config config = config_of(f);

    config.last = LAST;
    config.pager_range.last = LAST;
    config.advice = PGL_ADVICE_ADAPTIVE;
    config.table = &wide;
    config.costs = *costs;
    f->object = pgl_object_new(&config);
    assert_non_null(f->object);
    return f->object;
}

/* The same faults on the same pages have the same clusters. */
static void test_fault_adaptive_asks_for_what_the_advisor_says(void **state)
{
    struct fixture *f = *state;
    static const struct pgl_costs costs = {88000, 7600};
    static uint64_t bitmap[LAST / 64 + 1];
    struct pgl_advisor *advisor = pgl_advisor_new(&costs);
    struct pgl_object *object = make_adaptive(f, &costs);
    uint64_t index = 0;

    for (unsigned i = 0; i < 2000; i++) {
        struct pgl_cluster_args args = {
            .object_last = LAST,
            .row = wide.row[PGL_ADVICE_ADAPTIVE],
            .budget = UINT64_MAX,
            .eligible = {.word = pgl_absent_word, .arg = bitmap},
        };
        struct pgl_cluster cluster;

        index = i % 3 == 0 ? (index * 7919 + 13) % 20000 : index + 1 + i % 5;
        args.demand = index;
        if (bitmap[index / 64] >> index % 64 & 1) {
            continue;
        }
        pgl_advisor_decide(advisor, &args, &cluster);
        assert_int_equal(read_page(&f->a, object, index), PGL_FAULT_SUCCESS);
        assert_asked(&f->sim, cluster.first, cluster.last, index);
        for (uint64_t page = cluster.first; page <= cluster.last; page++) {
            bitmap[page / 64] |= UINT64_C(1) << page % 64;
        }
    }
    pgl_advisor_free(advisor);
}

static void test_fault_adaptive_counts_the_reasons(void **state)
{
    struct fixture *f = *state;
    struct pgl_object *object = make_adaptive(f, &free_pages);
    struct pgl_object_stats stats;

    assert_int_equal(read_page(&f->a, object, 1000), PGL_FAULT_SUCCESS); /* 960 to 1023 */
    assert_int_equal(read_page(&f->a, object, 1024), PGL_FAULT_SUCCESS);
    assert_int_equal(read_page(&f->a, object, 5000), PGL_FAULT_SUCCESS); /* 4992 to 5055 */
    assert_int_equal(read_page(&f->a, object, 4991), PGL_FAULT_SUCCESS);
    assert_int_equal(fault_on(&f->a, object, 7000, PGL_ACCESS_READ, PGL_FAULT_FLAG_WIRE), PGL_FAULT_SUCCESS);
    assert_true(pgl_object_unwire(object, 7000));
    stats = stats_of(object);
    assert_int_equal(stats.by_reason[PGL_REASON_START], 2);
    assert_int_equal(stats.by_reason[PGL_REASON_UP], 1);
    assert_int_equal(stats.by_reason[PGL_REASON_DOWN], 1);
    assert_int_equal(stats.by_reason[PGL_REASON_ALONE], 1);
    assert_int_equal(stats.by_reason[PGL_REASON_ROW], 0);
    assert_int_equal(stats.by_reason[PGL_REASON_OUTSIDE], 0);
    assert_int_equal(stats.by_advice[PGL_ADVICE_ADAPTIVE].requests, 5);
}

/* Only data requests that may speculate are part of a stream: neither those for access nor for a wire. */
static void test_fault_adaptive_looks_at_no_fault_that_it_does_not_decide(void **state)
{
    struct fixture *f = *state;
    struct pgl_object *object = make_adaptive(f, &free_pages);

    assert_int_equal(read_page(&f->a, object, 1000), PGL_FAULT_SUCCESS); /* 960 to 1023 */
    assert_int_equal(pgl_pager_withhold(object, (struct pgl_pager_range){0, LAST}, PGL_ACCESS_NONE), 64);
    assert_int_equal(read_page(&f->a, object, 990), PGL_FAULT_SUCCESS);
    assert_int_equal(f->sim.nunlocks, 1);
    assert_asked(&f->sim, 960, 1023, 990);                       /* as far as the row says */
    for (uint64_t index = 10000; index < 20000; index += 1000) { /* more than there are streams */
        assert_int_equal(fault_on(&f->a, object, index, PGL_ACCESS_READ, PGL_FAULT_FLAG_WIRE), PGL_FAULT_SUCCESS);
        assert_asked(&f->sim, index, index, index);
        assert_true(pgl_object_unwire(object, index));
    }
    assert_int_equal(read_page(&f->a, object, 1024), PGL_FAULT_SUCCESS);
    assert_int_equal(stats_of(object).by_reason[PGL_REASON_UP], 1);
}

static void test_fault_adaptive_goes_by_the_objects_costs(void **state)
{
    struct fixture *f = *state;
    struct pgl_object *object = make_adaptive(f, &free_faults);

    assert_int_equal(read_page(&f->a, object, 1000), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 1000, 1000, 1000);
    assert_true(pgl_object_set_costs(object, &free_pages));
    assert_int_equal(read_page(&f->a, object, 5000), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 4992, 5055, 5000);
    assert_true(pgl_object_set_costs(object, &free_faults));
    assert_int_equal(read_page(&f->a, object, 9000), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 9000, 9000, 9000);
}

/* The advisor is made at the first fault that it decides: costs that were set before it count. */
static void test_fault_adaptive_goes_by_costs_that_were_set_before_the_first_fault(void **state)
{
    struct fixture *f = *state;
    struct pgl_object *object = make_adaptive(f, &free_faults);

    assert_true(pgl_object_set_costs(object, &free_pages));
    assert_int_equal(read_page(&f->a, object, 1000), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 960, 1023, 1000);
}

static void test_fault_object_refuses_unreasonable_costs(void **state)
{
    static const struct pgl_costs refused = {PGL_COSTS_MAX_NS + 1, 1};
    struct fixture *f = *state;
    struct pgl_object_config config = config_of(f);
    struct pgl_object *object = make_adaptive(f, &free_pages);

    errno = 0;
    assert_false(pgl_object_set_costs(object, &refused));
    assert_int_equal(errno, EINVAL);
    assert_int_equal(read_page(&f->a, object, 1000), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 960, 1023, 1000);
    config.costs = refused;
    errno = 0;
    assert_null(pgl_object_new(&config));
    assert_int_equal(errno, EINVAL);
}

/* A heap that refuses blocks as large as an advisor. */
static void *alloc_small(void *heap, size_t size)
{
    return size > 4096 ? NULL : sim_heap_ops.alloc(heap, size);
}

static void free_small(void *heap, void *block)
{
    sim_heap_ops.free(heap, block);
}

static void test_fault_adaptive_without_memory_for_an_advisor_brings_its_page_alone(void **state)
{
    static const struct pgl_heap_ops heap_ops = {alloc_small, free_small};
    struct fixture *f = *state;
    struct pgl_object_config config = config_of(f);

    config.advice = PGL_ADVICE_ADAPTIVE;
    config.table = &wide;
    config.heap_ops = &heap_ops;
    f->object = pgl_object_new(&config);
    assert_int_equal(read_page(&f->a, f->object, 100), PGL_FAULT_SUCCESS);
    assert_asked(&f->sim, 100, 100, 100);
    assert_int_equal(stats_of(f->object).by_reason[PGL_REASON_ALONE], 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_fault_adaptive_asks_for_what_the_advisor_says),
        TEST(test_fault_adaptive_counts_the_reasons),
        TEST(test_fault_adaptive_looks_at_no_fault_that_it_does_not_decide),
        TEST(test_fault_adaptive_goes_by_the_objects_costs),
        TEST(test_fault_adaptive_goes_by_costs_that_were_set_before_the_first_fault),
        TEST(test_fault_object_refuses_unreasonable_costs),
        TEST(test_fault_adaptive_without_memory_for_an_advisor_brings_its_page_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
