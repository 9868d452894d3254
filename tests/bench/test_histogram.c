/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "../../bench/histogram.h"
#include "../cm.h"

static struct histogram histogram;

static int clear(void **state)
{
    (void)state;
    memset(&histogram, 0, sizeof(histogram));
    return 0;
}

static void test_histogram_that_is_empty_answers_zero(void **state)
{
    (void)state;
    assert_int_equal(histogram_quantile(&histogram, 0), 0);
    assert_int_equal(histogram_quantile(&histogram, 0.5), 0);
    assert_int_equal(histogram_quantile(&histogram, 1), 0);
}

static void test_histogram_tells_small_values_apart(void **state)
{
    (void)state;
    for (uint64_t value = 1; value <= 30; value++) {
        histogram_add(&histogram, value);
    }
    assert_int_equal(histogram_quantile(&histogram, 0), 1);
    for (unsigned i = 1; i <= 30; i++) {
        assert_int_equal(histogram_quantile(&histogram, (i - 0.5) / 30), i);
    }
    assert_int_equal(histogram_quantile(&histogram, 1), 30);
}

/* Of 1,000 values 999 are 100, which shares its bucket with 100 to 103. */
static void test_histogram_quantiles_are_those_of_the_values(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 999; i++) {
        histogram_add(&histogram, 100);
    }
    histogram_add(&histogram, 1000000);
    assert_int_equal(histogram.n, 1000);
    assert_int_equal(histogram_quantile(&histogram, 0.5), 103);
    assert_int_equal(histogram_quantile(&histogram, 0.999), 103);
    assert_int_equal(histogram_quantile(&histogram, 0.9991), 1000000);
    assert_int_equal(histogram.max, 1000000);
}

static void test_histogram_is_exact_to_a_sixteenth(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 64; bit++) {
        for (int off = -1; off <= 1; off++) {
            uint64_t value = (UINT64_C(1) << bit) + (uint64_t)off, found;

            clear(state);
            histogram_add(&histogram, value);
            histogram_add(&histogram, UINT64_MAX); /* so that the largest value hides nothing */
            found = histogram_quantile(&histogram, 0.5);
            assert_true(found >= value);
            assert_true(found - value <= value / 16);
        }
    }
}

static void test_histogram_takes_every_value(void **state)
{
    (void)state;
    histogram_add(&histogram, 0);
    histogram_add(&histogram, UINT64_MAX);
    assert_int_equal(histogram_quantile(&histogram, 0.5), 0);
    assert_true(histogram_quantile(&histogram, 1) == UINT64_MAX);
    assert_int_equal(histogram.counts[HISTOGRAM_BUCKETS - 1], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_histogram_that_is_empty_answers_zero, clear),
        cmocka_unit_test_setup(test_histogram_tells_small_values_apart, clear),
        cmocka_unit_test_setup(test_histogram_quantiles_are_those_of_the_values, clear),
        cmocka_unit_test_setup(test_histogram_is_exact_to_a_sixteenth, clear),
        cmocka_unit_test_setup(test_histogram_takes_every_value, clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
