/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which pages a working set chooses for a page that it has, and for one that it has not. */
#include <pagelock/workset.h>

#include "../cm.h"

/* A fault costs as much as ten pages: blocks have 8 pages, and 16 after some doubts. */
static const struct pgl_costs costs = {10000, 1000};

static struct pgl_workset *set_of(uint64_t first, uint64_t last)
{
    struct pgl_recording *recording = pgl_recording_new(2000);
    struct pgl_workset *set;

    for (uint64_t page = first; page <= last; page++) {
        pgl_recording_touch(recording, page);
    }
    set = pgl_workset_new(recording, NULL, &costs);
    assert_non_null(set);
    pgl_recording_free(recording);
    return set;
}

static enum pgl_reason decide(const struct pgl_workset *set, uint32_t *doubts, uint64_t page,
                              struct pgl_cluster *cluster)
{
    const struct pgl_cluster_args args = {
        .demand = page, .object_last = 1999, .row = {.before = 63, .after = 63}, .budget = UINT64_MAX};

    return pgl_workset_decide(set, doubts, &args, cluster);
}

static void assert_cluster(const struct pgl_workset *set, uint32_t doubts, uint64_t page, uint64_t first, uint64_t last)
{
    struct pgl_cluster cluster = {0};

    assert_int_equal(decide(set, &doubts, page, &cluster), PGL_REASON_START);
    assert_int_equal(cluster.first, first);
    assert_int_equal(cluster.last, last);
}

static void test_workset_chooses_the_cluster_of_a_recorded_page(void **state)
{
    struct pgl_workset *set = set_of(100, 109);
    struct pgl_cluster cluster = {0};
    uint32_t doubts = 0;

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(decide(set, i == 0 ? &doubts : NULL, 107, &cluster), PGL_REASON_RECORDED);
        assert_int_equal(cluster.first, 100);
        assert_int_equal(cluster.last, 109);
    }
    assert_int_equal(doubts, 0);
    pgl_workset_free(set);
}

static void test_workset_chooses_a_block_for_a_page_that_it_has_not(void **state)
{
    struct pgl_workset *set = set_of(100, 109);

    (void)state;
    assert_cluster(set, 0, 50, 48, 55);
    assert_cluster(set, 3, 50, 48, 55);
    assert_cluster(set, 4, 50, 48, 63);
    assert_cluster(set, 35, 50, 48, 63);
    assert_cluster(set, 0, 1999, 1992, 1999);
    pgl_workset_free(set);
}

/* At 36 doubts. There are never more, and each recorded page takes one away. */
static void test_workset_that_disagrees_leaves_other_pages_to_the_advice(void **state)
{
    struct pgl_workset *set = set_of(100, 109);
    struct pgl_cluster cluster = {.first = 7, .last = 7};
    uint32_t doubts = 0;

    (void)state;
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(decide(set, &doubts, 500, &cluster), i < 36 ? PGL_REASON_START : PGL_REASON_OUTSIDE);
        cluster = i < 36 ? (struct pgl_cluster){.first = 7, .last = 7} : cluster;
    }
    assert_int_equal(cluster.first, 7);
    assert_int_equal(doubts, 36);
    assert_int_equal(decide(set, &doubts, 100, &cluster), PGL_REASON_RECORDED);
    assert_int_equal(cluster.last, 109);
    assert_int_equal(doubts, 35);
    assert_int_equal(decide(set, &doubts, 500, &cluster), PGL_REASON_START);
    assert_int_equal(doubts, 36);
    pgl_workset_free(set);
}

static void test_workset_without_doubts_has_only_its_clusters(void **state)
{
    struct pgl_workset *set = set_of(100, 109);
    struct pgl_cluster cluster;

    (void)state;
    assert_int_equal(decide(set, NULL, 99, &cluster), PGL_REASON_OUTSIDE);
    pgl_workset_free(set);
}

/* Pages of clusters are in it as any others. */
static void test_workset_block_is_aligned(void **state)
{
    struct pgl_workset *set = set_of(100, 109);

    (void)state;
    assert_cluster(set, 0, 98, 96, 103);
    assert_cluster(set, 0, 110, 104, 111);
    assert_cluster(set, 0, 95, 88, 95);
    pgl_workset_free(set);
}

/* If pages cost nearly nothing. */
static void test_workset_block_has_64_pages_at_most(void **state)
{
    static const struct pgl_costs cheap_pages = {1000000, 1};
    const struct pgl_cluster_args args = {
        .demand = 200, .object_last = 1999, .row = {.before = 500, .after = 500}, .budget = UINT64_MAX};
    struct pgl_recording *recording = pgl_recording_new(2000);
    struct pgl_workset *set = pgl_workset_new(recording, NULL, &cheap_pages);
    struct pgl_cluster cluster = {0};

    (void)state;
    for (uint32_t doubts = 3; doubts < 5;) { /* each call adds one */
        assert_int_equal(pgl_workset_decide(set, &doubts, &args, &cluster), PGL_REASON_START);
        assert_int_equal(cluster.first, 192);
        assert_int_equal(cluster.last, 255);
    }
    pgl_workset_free(set);
    pgl_recording_free(recording);
}

/* The row limits a block, and no recorded cluster. */
static void test_workset_block_stays_within_the_row(void **state)
{
    struct pgl_workset *set = set_of(100, 109);
    struct pgl_cluster_args args = {
        .demand = 52, .object_last = 1999, .row = {.before = 1, .after = 2}, .budget = UINT64_MAX};
    struct pgl_cluster cluster = {0};
    uint32_t doubts = 0;

    (void)state;
    assert_int_equal(pgl_workset_decide(set, &doubts, &args, &cluster), PGL_REASON_START);
    assert_int_equal(cluster.first, 51);
    assert_int_equal(cluster.last, 54);
    args.row = (struct pgl_advice_row){0};
    assert_int_equal(pgl_workset_decide(set, &doubts, &args, &cluster), PGL_REASON_OUTSIDE);
    args.demand = 104;
    assert_int_equal(pgl_workset_decide(set, &doubts, &args, &cluster), PGL_REASON_RECORDED);
    assert_int_equal(cluster.first, 100);
    pgl_workset_free(set);
}

static void test_workset_decides_on_the_pagers_pages(void **state)
{
    struct pgl_workset *set = set_of(1100, 1109);
    const struct pgl_view pager = {1000, 1999, 0};
    struct pgl_cluster_args args = {
        .demand = 105, .object_last = 999, .pager = &pager, .row = {.before = 63, .after = 63}, .budget = UINT64_MAX};
    struct pgl_cluster cluster = {0};
    uint32_t doubts = 0;

    (void)state;
    assert_int_equal(pgl_workset_decide(set, &doubts, &args, &cluster), PGL_REASON_RECORDED);
    assert_int_equal(cluster.first, 100);
    args.demand = 1000;
    assert_int_equal(pgl_workset_decide(set, &doubts, &args, &cluster), PGL_REASON_OUTSIDE);
    pgl_workset_free(set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_workset_chooses_the_cluster_of_a_recorded_page),
        cmocka_unit_test(test_workset_chooses_a_block_for_a_page_that_it_has_not),
        cmocka_unit_test(test_workset_that_disagrees_leaves_other_pages_to_the_advice),
        cmocka_unit_test(test_workset_without_doubts_has_only_its_clusters),
        cmocka_unit_test(test_workset_block_is_aligned),
        cmocka_unit_test(test_workset_block_has_64_pages_at_most),
        cmocka_unit_test(test_workset_block_stays_within_the_row),
        cmocka_unit_test(test_workset_decides_on_the_pagers_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
