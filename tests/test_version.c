/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include <pagelock/pagelock.h>

#include "cm.h"

static void test_version_has_three_numbers(void **state)
{
    int major, minor, patch;
    char after;

    (void)state;
    assert_int_equal(sscanf(pgl_version(), "%d.%d.%d%c", &major, &minor, &patch, &after), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version_has_three_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
