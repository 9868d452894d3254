/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Quantiles of a histogram of times. */
#include <pagelock/uffd.h>

#include "../cm.h"

static void test_quantile_of_nothing_is_zero(void **state)
{
    const uint64_t latency[PGL_UFFD_BUCKETS] = {0};

    (void)state;
    assert_int_equal(pgl_uffd_quantile(latency, 500), 0);
    assert_int_equal(pgl_uffd_quantile(latency, 1000), 0);
}

/* Four times in [1024, 2048), evenly spread: the first is 1280. */
static void test_quantile_spreads_the_times_of_a_bucket(void **state)
{
    uint64_t latency[PGL_UFFD_BUCKETS] = {0};

    (void)state;
    latency[10] = 4;
    assert_int_equal(pgl_uffd_quantile(latency, 0), 1280);
    assert_int_equal(pgl_uffd_quantile(latency, 250), 1280);
    assert_int_equal(pgl_uffd_quantile(latency, 251), 1536);
    assert_int_equal(pgl_uffd_quantile(latency, 500), 1536);
    assert_int_equal(pgl_uffd_quantile(latency, 1000), 2048);
    assert_int_equal(pgl_uffd_quantile(latency, 2000), 2048);
}

static void test_quantile_counts_the_buckets_below(void **state)
{
    uint64_t latency[PGL_UFFD_BUCKETS] = {0};

    (void)state;
    latency[0] = 98;
    latency[20] = 1;
    latency[PGL_UFFD_BUCKETS - 1] = 1;
    assert_int_equal(pgl_uffd_quantile(latency, 980), 2);
    assert_int_equal(pgl_uffd_quantile(latency, 990), UINT64_C(2) << 20);
    assert_int_equal(pgl_uffd_quantile(latency, 991), UINT64_C(2) << (PGL_UFFD_BUCKETS - 1));
}

/* A product of counts and a share would not fit. */
static void test_quantile_of_many_times_does_not_overflow(void **state)
{
    uint64_t latency[PGL_UFFD_BUCKETS] = {0};

    (void)state;
    latency[3] = UINT64_C(1) << 61;
    latency[5] = UINT64_C(1) << 61;
    assert_int_equal(pgl_uffd_quantile(latency, 500), 16);
    assert_int_equal(pgl_uffd_quantile(latency, 1000), 64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantile_of_nothing_is_zero),
        cmocka_unit_test(test_quantile_spreads_the_times_of_a_bucket),
        cmocka_unit_test(test_quantile_counts_the_buckets_below),
        cmocka_unit_test(test_quantile_of_many_times_does_not_overflow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
