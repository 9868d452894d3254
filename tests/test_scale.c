/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The model of pagelock-bench scale, where its answer is known beforehand. */
#include "cm.h"

#include "scale.h"

enum { OPS = 200, SEED = 7 };

static const struct scale_costs costs = {
    .alone = {[SCALE_LOCK] = 6,
              [SCALE_HOLD] = 400,
              [SCALE_CHECK] = 7,
              [SCALE_LINK] = 11,
              [SCALE_ADD] = 6,
              [SCALE_EXCHANGE] = 6,
              [SCALE_PAUSE] = 25,
              [SCALE_YIELD] = 500,
              [SCALE_SLEEP] = 75000},
    .transfer = 25,
    .upgrade = 20,
    .residency = 50,
    .detour = 40,
};

static double time_of(enum scale_op op, enum scale_layout layout, unsigned cores)
{
    struct scale_run run = {op, layout, cores, OPS};

    return scale_simulate(&costs, &run, SEED).ns;
}

static void assert_near(double value, double expected, double share)
{
    assert_true(value > expected * (1 - share) && value < expected * (1 + share));
}

static void test_scale_one_core_takes_what_was_measured(void **state)
{
    (void)state;
    for (enum scale_op op = SCALE_LOCK; op <= SCALE_EXCHANGE; op++)
        assert_near(time_of(op, SCALE_OWN, 1), OPS * costs.alone[op], 0.1);
}

static void test_scale_own_pages_cost_nothing(void **state)
{
    (void)state;
    for (enum scale_op op = SCALE_LOCK; op <= SCALE_LINK; op++)
        assert_near(time_of(op, SCALE_OWN, SCALE_MAX_CORES), time_of(op, SCALE_OWN, 1), 0.05);
}

static void test_scale_readers_share_a_line(void **state)
{
    (void)state;
    assert_near(time_of(SCALE_CHECK, SCALE_SHARED, 8), time_of(SCALE_CHECK, SCALE_OWN, 8) + 8 * costs.transfer, 0.05);
}

static void test_scale_neighbours_hand_their_line_over(void **state)
{
    double two = time_of(SCALE_LOCK, SCALE_NEIGHBOURS, 2), four = time_of(SCALE_LOCK, SCALE_NEIGHBOURS, 4);

    (void)state;
    assert_true(two > 3 * time_of(SCALE_LOCK, SCALE_ADJACENT, 2));
    assert_near(four, 2 * two, 0.1);
    /* a line of their own for each four */
    assert_near(time_of(SCALE_LOCK, SCALE_NEIGHBOURS, 64), four, 0.1);
}

static void test_scale_a_held_page_is_held_by_one(void **state)
{
    struct scale_run run = {SCALE_HOLD, SCALE_SHARED, 4, OPS};
    struct scale_result result = scale_simulate(&costs, &run, SEED);

    (void)state;
    assert_true(result.ns > 4 * OPS * (costs.alone[SCALE_HOLD] - costs.alone[SCALE_LOCK]) * 0.95);
    assert_true(result.contended > 0);
}

static void test_scale_the_seed_decides(void **state)
{
    struct scale_run run = {SCALE_LOCK, SCALE_SHARED, 8, OPS};
    double first = scale_simulate(&costs, &run, SEED).ns;

    (void)state;
    assert_true(first == scale_simulate(&costs, &run, SEED).ns);
    assert_true(first != scale_simulate(&costs, &run, SEED + 1).ns);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scale_one_core_takes_what_was_measured),
        cmocka_unit_test(test_scale_own_pages_cost_nothing),
        cmocka_unit_test(test_scale_readers_share_a_line),
        cmocka_unit_test(test_scale_neighbours_hand_their_line_over),
        cmocka_unit_test(test_scale_a_held_page_is_held_by_one),
        cmocka_unit_test(test_scale_the_seed_decides),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
