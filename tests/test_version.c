/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include <pagelock/pagelock.h>

#include "cm.h"

static void test_version_has_three_numbers(void **state)
{
    int major, minor, micro;
    char after;

    (void)state;
    assert_int_equal(sscanf(pgl_version(), "%d.%d.%d%c", &major, &minor, &micro, &after), 3);
}

/* The library has its version from meson, which reads it in the header. */
static void test_version_of_headers_is_the_librarys(void **state)
{
    int major, minor, micro;

    (void)state;
    assert_int_equal(sscanf(pgl_version(), "%d.%d.%d", &major, &minor, &micro), 3);
    assert_int_equal(major, PGL_VERSION_MAJOR);
    assert_int_equal(minor, PGL_VERSION_MINOR);
    assert_int_equal(micro, PGL_VERSION_MICRO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version_has_three_numbers),
        cmocka_unit_test(test_version_of_headers_is_the_librarys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
