/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The shim's table of regions, as long as there is room and when there is none. */
#include <errno.h>
#include <sys/mman.h>

#include "../cm.h"
#include "shim_table.h"

#define CAPACITY (1u << 16)
#define PAGE table_page_size()

/* Add a region of three pages at each multiple of four, of no file. */
static void add(unsigned n)
{
    const struct table_region region = {(n + 1) * 4 * PAGE, 3 * PAGE, (off_t)(n * 16 * PAGE), -1, MAP_PRIVATE};

    assert_true(table_reserve());
    table_fill(&region);
}

static size_t length_at(uintptr_t addr)
{
    struct table_region region;

    return table_find(addr, 1, MAP_PRIVATE, &region) ? region.length : 0;
}

/* The last but one slot, the last one, and one more; then a slot that became free. */
static void test_table_that_is_full_refuses_a_cut_and_changes_nothing(void **state)
{
    struct table_region region;

    (void)state;
    for (unsigned n = 0; n < CAPACITY - 2; n++) {
        add(n);
    }
    assert_true(table_forget(5 * PAGE, PAGE)); /* the middle of the first one */
    assert_true(table_reserve());
    errno = 0;
    assert_false(table_forget(9 * PAGE, PAGE)); /* the last slot is reserved */
    assert_int_equal(errno, ENOMEM);
    table_fill(NULL);
    assert_true(table_forget(9 * PAGE, PAGE));
    assert_false(table_reserve());
    assert_false(table_forget(13 * PAGE, PAGE));
    assert_int_equal(length_at(13 * PAGE), 3 * PAGE);
    assert_true(table_forget(12 * PAGE, 2 * PAGE)); /* an end of one takes no slot */
    assert_int_equal(length_at(14 * PAGE), PAGE);
    assert_true(table_forget(14 * PAGE, PAGE));
    assert_true(table_forget(17 * PAGE, PAGE)); /* the slot of the one before */
    assert_true(table_find(18 * PAGE, 1, MAP_PRIVATE, &region));
    assert_int_equal(region.start, 18 * PAGE);
    assert_int_equal(region.offset, 3 * 16 * PAGE + 2 * PAGE);
    assert_int_equal(length_at(16 * PAGE), PAGE);
    assert_int_equal(length_at(17 * PAGE), 0);
}

/* The kernel refuses these. */
static void test_table_range_that_is_none_changes_nothing(void **state)
{
    (void)state;
    assert_true(table_forget(20 * PAGE + 1, PAGE));
    assert_true(table_forget(20 * PAGE, 0));
    assert_true(table_forget(20 * PAGE, SIZE_MAX));
    assert_int_equal(length_at(20 * PAGE), 3 * PAGE);
    assert_true(table_forget(20 * PAGE, 2 * PAGE - 100)); /* ends inside of a page */
    assert_int_equal(length_at(22 * PAGE), PAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_that_is_full_refuses_a_cut_and_changes_nothing),
        cmocka_unit_test(test_table_range_that_is_none_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
