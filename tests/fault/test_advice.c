/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <pagelock/advice.h>

#include "../cm.h"

static const enum pgl_advice all[] = {PGL_ADVICE_DEFAULT, PGL_ADVICE_RANDOM, PGL_ADVICE_NORMAL, PGL_ADVICE_SEQUENTIAL,
                                      PGL_ADVICE_ADAPTIVE};

static void test_advice_names_parse_back(void **state)
{
    (void)state;
    for (size_t i = 0; i < PGL_ADVICE_COUNT; i++) {
        enum pgl_advice advice = PGL_ADVICE_COUNT;

        assert_true(pgl_advice_parse(pgl_advice_name(all[i]), &advice));
        assert_int_equal(advice, all[i]);
    }
}

static void test_advice_that_does_not_exist_is_refused(void **state)
{
    enum pgl_advice advice = PGL_ADVICE_NORMAL;

    (void)state;
    assert_false(pgl_advice_valid(-1));
    assert_false(pgl_advice_valid(PGL_ADVICE_COUNT));
    assert_null(pgl_advice_name((enum pgl_advice)PGL_ADVICE_COUNT));
    assert_false(pgl_advice_parse("wilful", &advice));
    assert_false(pgl_advice_parse("", &advice));
    assert_int_equal(advice, PGL_ADVICE_NORMAL);
}

static void test_advice_of_entry_wins_unless_default(void **state)
{
    (void)state;
    for (size_t object = 0; object < PGL_ADVICE_COUNT; object++) {
        assert_int_equal(pgl_advice_effective(PGL_ADVICE_DEFAULT, all[object]), all[object]);
        for (size_t entry = 1; entry < PGL_ADVICE_COUNT; entry++) {
            assert_int_equal(pgl_advice_effective(all[entry], all[object]), all[entry]);
        }
    }
}

static void assert_row(const struct pgl_advice_row *row, uint32_t before, uint32_t after, uint32_t behind)
{
    assert_int_equal(row->before, before);
    assert_int_equal(row->after, after);
    assert_int_equal(row->behind, behind);
}

/*
 * A zeroed configuration says nothing about its neighbours, and fetches none. The table that started it all, of a Mach
 * patch of 2012, says the same in other words: 0 before and 1 after, where "after" counts the demand page.
 */
static void test_advice_shipped_default_is_the_demand_page_alone(void **state)
{
    const struct pgl_advice_row *row = pgl_advice_shipped()->row;

    (void)state;
    assert_int_equal(PGL_ADVICE_DEFAULT, 0);
    assert_row(&row[PGL_ADVICE_DEFAULT], 0, 0, 0);
    assert_row(&row[PGL_ADVICE_RANDOM], 0, 0, 0);
}

/* The figures of docs/performance.md are those of these windows. */
static void test_advice_shipped_table_reads_ahead(void **state)
{
    const struct pgl_advice_row *row = pgl_advice_shipped()->row;

    (void)state;
    assert_row(&row[PGL_ADVICE_NORMAL], 3, 12, 0);
    assert_row(&row[PGL_ADVICE_SEQUENTIAL], 0, 31, 32);
    assert_row(&row[PGL_ADVICE_ADAPTIVE], 63, 63, 0);
    assert_true(row[PGL_ADVICE_NORMAL].after > row[PGL_ADVICE_NORMAL].before);
    assert_true(row[PGL_ADVICE_SEQUENTIAL].after > row[PGL_ADVICE_NORMAL].after);
    assert_true(row[PGL_ADVICE_SEQUENTIAL].behind > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_advice_names_parse_back),
        cmocka_unit_test(test_advice_that_does_not_exist_is_refused),
        cmocka_unit_test(test_advice_of_entry_wins_unless_default),
        cmocka_unit_test(test_advice_shipped_default_is_the_demand_page_alone),
        cmocka_unit_test(test_advice_shipped_table_reads_ahead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
