/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <pagelock/advice.h>

#include "cm.h"

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

/* The table that started it all read one page behind and none ahead: its "after" counted the demand page. */
static void test_advice_shipped_table_reads_ahead(void **state)
{
    const struct pgl_advice_row *row = pgl_advice_shipped()->row;

    (void)state;
    assert_int_equal(row[PGL_ADVICE_RANDOM].before + row[PGL_ADVICE_RANDOM].after, 0);
    assert_true(row[PGL_ADVICE_NORMAL].after > row[PGL_ADVICE_NORMAL].before);
    assert_true(row[PGL_ADVICE_SEQUENTIAL].after > row[PGL_ADVICE_NORMAL].after);
    assert_true(row[PGL_ADVICE_SEQUENTIAL].behind > 0);
    assert_memory_equal(&row[PGL_ADVICE_DEFAULT], &row[PGL_ADVICE_NORMAL], sizeof(*row));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_advice_names_parse_back),
        cmocka_unit_test(test_advice_that_does_not_exist_is_refused),
        cmocka_unit_test(test_advice_of_entry_wins_unless_default),
        cmocka_unit_test(test_advice_shipped_table_reads_ahead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
