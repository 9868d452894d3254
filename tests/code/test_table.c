/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>

#include "emu.h"

static struct pgl_table *new_table(unsigned page_bits, unsigned addr_bits)
{
    struct pgl_table_config config = {.page_bits = page_bits, .addr_bits = addr_bits};

    return pgl_table_new(&config);
}

static struct pgl_table_stats stats_of(const struct pgl_table *table)
{
    struct pgl_table_stats stats;

    pgl_table_get_stats(table, &stats);
    return stats;
}

static void test_table_refuses_bad_widths(void **state)
{
    static const unsigned bad[][2] = {{9, 48}, {22, 48}, {12, 11}, {12, 65}, {0, 0}, {10, 9}};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        errno = 0;
        assert_null(new_table(bad[i][0], bad[i][1]));
        assert_int_equal(errno, EINVAL);
    }
}

static void test_table_takes_every_good_width(void **state)
{
    (void)state;
    for (unsigned page_bits = PGL_PAGE_BITS_MIN; page_bits <= PGL_PAGE_BITS_MAX; page_bits++) {
        for (unsigned addr_bits = page_bits; addr_bits <= 64; addr_bits++) {
            uint64_t last = addr_bits == page_bits ? 0 : (UINT64_C(1) << (addr_bits - page_bits)) - 1;
            struct pgl_table *table = new_table(page_bits, addr_bits);

            assert_non_null(table);
            assert_non_null(pgl_page_get(table, last));
            assert_ptr_equal(pgl_page_find(table, last), pgl_page_get(table, last));
            errno = 0;
            assert_null(pgl_page_get(table, last + 1));
            assert_int_equal(errno, EINVAL);
            assert_null(pgl_page_find(table, last + 1));
            assert_int_equal(pgl_table_check(table, NULL, NULL), 0);
            pgl_table_free(table);
        }
    }
    pgl_table_free(NULL);
}

static void test_table_lookup_allocates_nothing(void **state)
{
    struct pgl_table *table = new_table(12, 48);
    struct pgl_table_stats before = stats_of(table), after;

    (void)state;
    assert_null(pgl_page_find(table, 0));
    assert_null(pgl_page_find(table, 12345));
    after = stats_of(table);
    assert_int_equal(after.leaves, 0);
    assert_int_equal(after.bytes, before.bytes);
    pgl_table_free(table);
}

static void test_table_descriptors_never_move(void **state)
{
    struct pgl_table *table = new_table(12, 48);
    struct pgl_page *page = pgl_page_get(table, 1000);
    struct emu_random random = {1};

    (void)state;
    for (unsigned i = 0; i < 200; i++) {
        assert_non_null(pgl_page_get(table, emu_random(&random) & table->last_index));
    }
    assert_ptr_equal(pgl_page_get(table, 1000), page);
    assert_ptr_equal(pgl_page_find(table, 1000), page);
    pgl_table_free(table);
}

static void test_table_neighbours_share_a_leaf(void **state)
{
    struct pgl_table *table = new_table(12, 48);

    (void)state;
    pgl_page_get(table, 512);
    for (uint64_t index = 512; index < 1024; index++) {
        assert_ptr_equal(pgl_page_get(table, index), pgl_page_find(table, index));
    }
    assert_int_equal(stats_of(table).leaves, 1);
    assert_null(pgl_page_find(table, 511));
    assert_null(pgl_page_find(table, 1024));
    pgl_page_get(table, 1024);
    assert_int_equal(stats_of(table).leaves, 2);
    pgl_table_free(table);
}

static void test_table_pages_are_distinct(void **state)
{
    struct pgl_table *table = new_table(12, 64);

    (void)state;
    /* One index bit at a time: each level of the tree has to distinguish them. */
    for (unsigned bit = 0; bit < 52; bit++) {
        struct pgl_page *page = pgl_page_get(table, UINT64_C(1) << bit);

        for (unsigned other = 0; other < bit; other++) {
            assert_ptr_not_equal(page, pgl_page_find(table, UINT64_C(1) << other));
        }
    }
    pgl_table_free(table);
}

static void test_table_page_costs_sixteen_bytes_and_two_percent(void **state)
{
    struct pgl_table *table = new_table(12, 48);
    uint64_t before;

    (void)state;
    pgl_page_get(table, 0);
    before = stats_of(table).bytes;
    pgl_page_get(table, 512); /* another leaf under the same node */
    assert_true(stats_of(table).bytes - before <= 512 * 16 * 102 / 100);
    assert_int_equal(stats_of(table).hot_bytes, 0);
    pgl_table_free(table);
}

static void test_table_figures_count_nodes_and_leaves(void **state)
{
    /* 52 index bits: 7 in the root, 9 in each of four levels of nodes and in the leaf */
    struct pgl_table *table = new_table(12, 64);
    const size_t root = sizeof(struct pgl_table) + 128 * sizeof(void *) + 128 / 8;
    const size_t node = 512 * sizeof(void *) + 512 / 8;

    (void)state;
    assert_int_equal(stats_of(table).bytes, root);
    pgl_page_get(table, 5);
    assert_int_equal(stats_of(table).bytes, root + 4 * node + sizeof(struct pgl_leaf));
    pgl_page_get(table, 5 + (UINT64_C(1) << 18)); /* shares all but the last node */
    assert_int_equal(stats_of(table).bytes, root + 5 * node + 2 * sizeof(struct pgl_leaf));
    assert_int_equal(stats_of(table).leaves, 2);
    assert_int_equal(pgl_table_check(table, NULL, NULL), 0);
    pgl_table_free(table);
}

static void test_table_48_bit_lookup_loads_three_pointers(void **state)
{
    struct pgl_table *table = new_table(12, 48);

    (void)state;
    assert_true(table->top_shift / PGL_LEVEL_BITS <= 3);
    pgl_table_free(table);
}

static void test_table_tables_are_independent(void **state)
{
    struct pgl_table *a = new_table(12, 48), *b = new_table(21, 48);

    (void)state;
    pgl_page_get(a, 7);
    assert_null(pgl_page_find(b, 7));
    assert_ptr_not_equal(pgl_page_get(b, 7), pgl_page_find(a, 7));
    pgl_table_free(a);
    assert_non_null(pgl_page_find(b, 7));
    pgl_table_free(b);
}

/* ---- walking ---- */

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* The pages that a walk of [first, last] finds are exactly those of the leaves whose first indices are in the array. */
static void assert_walk(const struct pgl_table *table, const uint64_t *leaves, size_t n, uint64_t first, uint64_t last)
{
    struct pgl_page *page;
    uint64_t index = first;

    for (size_t i = 0; i < n; i++) {
        if (i && leaves[i] == leaves[i - 1]) {
            continue;
        }
        for (uint64_t want = leaves[i]; want < leaves[i] + PGL_LEVEL_SIZE && want <= table->last_index; want++) {
            if (want < first || want > last) {
                continue;
            }
            page = pgl_page_next(table, &index, last);
            assert_non_null(page);
            assert_true(index == want);
            assert_ptr_equal(page, pgl_page_find(table, want));
            index++;
        }
    }
    assert_null(pgl_page_next(table, &index, last));
}

static void test_table_walk_finds_what_exists(void **state)
{
    static const unsigned widths[][2] = {{10, 32}, {12, 12}, {12, 21}, {12, 22},
                                         {12, 48}, {16, 64}, {10, 64}, {21, 64}};
    struct emu_random random = {emu_seed("walk")};

    (void)state;
    for (size_t i = 0; i < sizeof(widths) / sizeof(*widths); i++) {
        struct pgl_table *table = new_table(widths[i][0], widths[i][1]);
        uint64_t leaves[12];
        size_t n = 0;

        leaves[n++] = table->last_index & ~UINT64_C(511);
        pgl_page_get(table, table->last_index);
        while (n < 12) {
            /* near the last one, or anywhere */
            uint64_t near = leaves[n - 1] + (emu_below(&random, 5) << 9);
            uint64_t index = (emu_below(&random, 2) ? near : emu_random(&random)) & table->last_index;

            leaves[n++] = index & ~UINT64_C(511);
            assert_non_null(pgl_page_get(table, index));
        }
        qsort(leaves, n, sizeof(*leaves), compare);
        assert_walk(table, leaves, n, 0, UINT64_MAX);
        for (unsigned j = 0; j < 20; j++) {
            uint64_t first = leaves[emu_below(&random, n)] + emu_below(&random, 1024) - 512;
            uint64_t last = first + emu_below(&random, 5000);

            if (first <= last) {
                assert_walk(table, leaves, n, first, last);
            }
        }
        pgl_table_free(table);
    }
}

/* Page by page or leaf by leaf this would take years. */
static void test_table_walk_of_everything_follows_what_exists(void **state)
{
    struct pgl_table *table = new_table(10, 64);
    uint64_t leaves[] = {0, UINT64_C(1) << 40, table->last_index & ~UINT64_C(511)};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        pgl_page_get(table, leaves[i] + 3);
    }
    for (unsigned i = 0; i < 100; i++) {
        assert_walk(table, leaves, 3, 0, table->last_index);
    }
    pgl_table_free(table);
}

static void test_table_walk_ends_inclusively(void **state)
{
    struct pgl_table *table = new_table(12, 48);
    uint64_t index;

    (void)state;
    pgl_page_get(table, 512);
    index = 0;
    assert_null(pgl_page_next(table, &index, 511));
    index = 0;
    assert_non_null(pgl_page_next(table, &index, 512));
    assert_int_equal(index, 512);
    index = 1023;
    assert_non_null(pgl_page_next(table, &index, 1023));
    index = 1024;
    assert_null(pgl_page_next(table, &index, UINT64_MAX));
    pgl_table_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_refuses_bad_widths),
        cmocka_unit_test(test_table_takes_every_good_width),
        cmocka_unit_test(test_table_lookup_allocates_nothing),
        cmocka_unit_test(test_table_descriptors_never_move),
        cmocka_unit_test(test_table_neighbours_share_a_leaf),
        cmocka_unit_test(test_table_pages_are_distinct),
        cmocka_unit_test(test_table_page_costs_sixteen_bytes_and_two_percent),
        cmocka_unit_test(test_table_figures_count_nodes_and_leaves),
        cmocka_unit_test(test_table_48_bit_lookup_loads_three_pointers),
        cmocka_unit_test(test_table_tables_are_independent),
        cmocka_unit_test(test_table_walk_finds_what_exists),
        cmocka_unit_test(test_table_walk_of_everything_follows_what_exists),
        cmocka_unit_test(test_table_walk_ends_inclusively),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
