/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The costs of a pager: which are accepted, and what each refusal says. */
#include <errno.h>

#include <pagelock/advice.h>

#include "../cm.h"

static void assert_refused(uint64_t fault_ns, uint64_t page_ns, const char *why)
{
    const struct pgl_costs costs = {fault_ns, page_ns};

    assert_string_equal(pgl_costs_explain(&costs), why);
}

static void assert_accepted(uint64_t fault_ns, uint64_t page_ns)
{
    const struct pgl_costs costs = {fault_ns, page_ns};

    assert_null(pgl_costs_explain(&costs));
}

static void test_costs_may_be_unknown(void **state)
{
    (void)state;
    assert_accepted(0, 0);
    assert_accepted(1, 0);
    assert_accepted(0, 1);
    assert_accepted(PGL_COSTS_MAX_NS, 0);
    assert_accepted(0, PGL_COSTS_MAX_NS);
}

static void test_costs_of_ten_seconds_are_the_most(void **state)
{
    (void)state;
    assert_accepted(PGL_COSTS_MAX_NS, PGL_COSTS_MAX_NS);
    assert_refused(PGL_COSTS_MAX_NS + 1, PGL_COSTS_MAX_NS, "fault_ns is more than ten seconds");
    assert_refused(PGL_COSTS_MAX_NS, PGL_COSTS_MAX_NS + 1, "page_ns is more than ten seconds");
    assert_refused(UINT64_MAX, 0, "fault_ns is more than ten seconds");
    assert_refused(0, UINT64_MAX, "page_ns is more than ten seconds");
}

static void test_costs_differ_by_a_million_times_at_most(void **state)
{
    (void)state;
    assert_accepted(3000000, 3);
    assert_accepted(3, 3000000);
    assert_refused(4000000, 3, "fault_ns is more than a million times page_ns");
    assert_refused(3, 4000000, "page_ns is more than a million times fault_ns");
}

static void test_costs_that_are_refused_make_no_advisor(void **state)
{
    const struct pgl_costs costs = {PGL_COSTS_MAX_NS + 1, 1};

    (void)state;
    errno = 0;
    assert_null(pgl_advisor_new(&costs));
    assert_int_equal(errno, EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_costs_may_be_unknown),
        cmocka_unit_test(test_costs_of_ten_seconds_are_the_most),
        cmocka_unit_test(test_costs_differ_by_a_million_times_at_most),
        cmocka_unit_test(test_costs_that_are_refused_make_no_advisor),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
