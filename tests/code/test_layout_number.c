/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The number of the layout: programs that were compiled with the headers of another one. */
#include <errno.h>
#include <limits.h>

#include <pagelock/pagelock.h>

#include "cm.h"

static const struct pgl_table_config config = {.page_bits = 12, .addr_bits = 48};

static void test_layout_number_constant_is_that_of_the_headers(void **state)
{
    (void)state;
    assert_int_equal(pgl_layout, PGL_LAYOUT);
}

static void test_layout_number_of_the_headers_is_accepted(void **state)
{
    struct pgl_table *table = pgl_table_new(&config);

    (void)state;
    assert_non_null(table);
    pgl_table_free(table);
}

static void test_layout_number_does_not_matter_without_inline_code(void **state)
{
    struct pgl_table *table = (pgl_table_new)(&config);

    (void)state;
    assert_non_null(table);
    pgl_table_free(table);
}

static void test_layout_number_other_than_the_librarys_is_refused(void **state)
{
    static const unsigned others[] = {0, PGL_LAYOUT - 1, PGL_LAYOUT + 1, UINT_MAX};

    (void)state;
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
        errno = 0;
        assert_null(pgl_table_new_for(&config, others[i]));
        assert_int_equal(errno, ENOEXEC);
    }
}

/* The structs of another layout cannot be read. */
static void test_layout_number_is_looked_at_before_the_config(void **state)
{
    (void)state;
    errno = 0;
    assert_null(pgl_table_new_for(NULL, PGL_LAYOUT + 1));
    assert_int_equal(errno, ENOEXEC);
}

/* From here on this file is compiled as if with the headers of another version. */
enum { LAYOUT = PGL_LAYOUT };
#undef PGL_LAYOUT
#define PGL_LAYOUT (LAYOUT + 1u)

static void test_layout_number_of_other_headers_is_refused(void **state)
{
    (void)state;
    errno = 0;
    assert_null(pgl_table_new(&config));
    assert_int_equal(errno, ENOEXEC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout_number_constant_is_that_of_the_headers),
        cmocka_unit_test(test_layout_number_of_the_headers_is_accepted),
        cmocka_unit_test(test_layout_number_does_not_matter_without_inline_code),
        cmocka_unit_test(test_layout_number_other_than_the_librarys_is_refused),
        cmocka_unit_test(test_layout_number_is_looked_at_before_the_config),
        cmocka_unit_test(test_layout_number_of_other_headers_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
