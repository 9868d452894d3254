/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Working sets: what a recording becomes, how sets combine, and which bytes are refused. One claim per test. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <pagelock/workset.h>

#include "../cm.h"

static const struct pgl_costs two_pages = {2000, 1000};
static const struct pgl_costs no_gap = {1, 1000};

/* The call number `failing` (from 1) of calloc() fails; 0: none does. */
static unsigned callocs, failing;

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

void *__wrap_calloc(size_t n, size_t size)
{
    return ++callocs == failing ? NULL : __real_calloc(n, size);
}

/* A set of ranges, given as first and last in turn, up to a pair of which the first is above the last. */
static struct pgl_workset *set_of(const uint64_t *ranges, const struct pgl_costs *costs)
{
    struct pgl_recording *recording = pgl_recording_new(100000);
    struct pgl_workset *set;

    for (; ranges[0] <= ranges[1]; ranges += 2) {
        for (uint64_t page = ranges[0]; page <= ranges[1]; page++) {
            pgl_recording_touch(recording, page);
        }
    }
    set = pgl_workset_new(recording, "file", costs);
    assert_non_null(set);
    pgl_recording_free(recording);
    return set;
}

#define SET(costs, ...) set_of((const uint64_t[]){__VA_ARGS__, 1, 0}, costs)

/* The clusters are these ranges, and no others. */
static void assert_clusters(const struct pgl_workset *set, const uint64_t *ranges)
{
    struct pgl_pager_range cluster = {0, UINT64_MAX};
    struct pgl_workset_info info;
    uint64_t n = 0, npages = 0;

    for (uint64_t at = 0; ranges[0] <= ranges[1]; ranges += 2, at = cluster.last + 1) {
        assert_true(pgl_workset_next(set, at, &cluster));
        assert_int_equal(cluster.first, ranges[0]);
        assert_int_equal(cluster.last, ranges[1]);
        npages += cluster.last - cluster.first + 1;
        n++;
    }
    assert_false(pgl_workset_next(set, n > 0 ? cluster.last + 1 : 0, &cluster));
    pgl_workset_get_info(set, &info);
    assert_int_equal(info.clusters, n);
    assert_int_equal(info.cluster_pages, npages);
}

#define CLUSTERS(set, ...) assert_clusters(set, (const uint64_t[]){__VA_ARGS__, 1, 0})

static void test_recording_counts_each_page_once(void **state)
{
    struct pgl_recording *recording = pgl_recording_new(130);

    (void)state;
    assert_int_equal(pgl_recording_count(recording), 0);
    for (unsigned times = 0; times < 3; times++) {
        pgl_recording_touch(recording, 0);
        pgl_recording_touch(recording, 63);
        pgl_recording_touch(recording, 64);
    }
    assert_int_equal(pgl_recording_count(recording), 3);
    pgl_recording_free(recording);
}

static void test_recording_has_room_for_its_pages_and_no_more(void **state)
{
    (void)state;
    for (uint64_t npages = 63; npages <= 65; npages++) {
        struct pgl_recording *recording = pgl_recording_new(npages);

        pgl_recording_touch(recording, npages - 1);
        assert_int_equal(pgl_recording_count(recording), 1);
        pgl_recording_touch(recording, npages);
        pgl_recording_touch(recording, UINT64_MAX);
        assert_int_equal(pgl_recording_count(recording), 1);
        pgl_recording_free(recording);
    }
}

static void test_recording_refuses_no_pages_and_too_many(void **state)
{
    (void)state;
    errno = 0;
    assert_null(pgl_recording_new(0));
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_null(pgl_recording_new((uint64_t)PGL_WORKSET_PAGES_MAX + 1));
    assert_int_equal(errno, EINVAL);
}

static void test_workset_of_nothing_has_no_cluster(void **state)
{
    struct pgl_workset *set = SET(NULL, 1, 0);
    struct pgl_pager_range cluster;

    (void)state;
    assert_false(pgl_workset_find(set, 0, &cluster));
    assert_false(pgl_workset_next(set, 0, &cluster));
    pgl_workset_free(set);
}

static void test_workset_finds_the_cluster_of_a_page_and_none_elsewhere(void **state)
{
    struct pgl_workset *set = SET(&no_gap, 0, 0, 100, 109, 300, 300);
    struct pgl_pager_range cluster = {7, 7};

    (void)state;
    assert_false(pgl_workset_find(set, 99, &cluster));
    assert_false(pgl_workset_find(set, 110, &cluster));
    assert_false(pgl_workset_find(set, 1, &cluster));
    assert_false(pgl_workset_find(set, UINT64_MAX, &cluster));
    assert_int_equal(cluster.first, 7);
    for (uint64_t page = 100; page <= 109; page++) {
        assert_true(pgl_workset_find(set, page, &cluster));
        assert_int_equal(cluster.first, 100);
        assert_int_equal(cluster.last, 109);
    }
    assert_true(pgl_workset_find(set, 0, &cluster));
    assert_true(pgl_workset_find(set, 300, &cluster));
    pgl_workset_free(set);
}

static void test_workset_bridges_a_gap_that_costs_less_than_a_request(void **state)
{
    struct pgl_workset *set = SET(&two_pages, 10, 10, 12, 12, 15, 15);

    (void)state;
    CLUSTERS(set, 10, 12, 15, 15);
    pgl_workset_free(set);
}

static void test_workset_goes_by_the_costs_of_advice_h_where_none_are_known(void **state)
{
    struct pgl_workset *set = SET(NULL, 10, 10, 10 + PGL_COSTS_FAULT_NS / PGL_COSTS_PAGE_NS + 1,
                                  10 + PGL_COSTS_FAULT_NS / PGL_COSTS_PAGE_NS + 1, 20, 20);

    (void)state;
    CLUSTERS(set, 10, 13, 20, 20);
    pgl_workset_free(set);
}

static void test_workset_cluster_has_127_pages_at_most(void **state)
{
    struct pgl_workset *of_126 = SET(&two_pages, 5, 130);
    struct pgl_workset *of_127 = SET(&two_pages, 5, 131);
    struct pgl_workset *of_128 = SET(&two_pages, 5, 132);
    struct pgl_workset *bridged = SET(&two_pages, 5, 5, 7, 131);
    struct pgl_workset *too_long = SET(&two_pages, 5, 5, 7, 132);

    (void)state;
    CLUSTERS(of_126, 5, 130);
    CLUSTERS(of_127, 5, 131);
    CLUSTERS(of_128, 5, 131, 132, 132);
    CLUSTERS(bridged, 5, 131);
    CLUSTERS(too_long, 5, 5, 7, 132);
    pgl_workset_free(of_126);
    pgl_workset_free(of_127);
    pgl_workset_free(of_128);
    pgl_workset_free(bridged);
    pgl_workset_free(too_long);
}

static void test_workset_cuts_a_long_stretch_and_shares_its_last_part(void **state)
{
    struct pgl_workset *set = SET(&two_pages, 0, 399, 401, 410);
    struct pgl_pager_range cluster;

    (void)state;
    CLUSTERS(set, 0, 126, 127, 253, 254, 380, 381, 410);
    assert_true(pgl_workset_find(set, 253, &cluster));
    assert_int_equal(cluster.first, 127);
    pgl_workset_free(set);
}

/* The least cost of covering pages, which are in ascending order, with clusters of up to 127. */
static uint64_t least_ns(const uint64_t *pages, unsigned npages, const struct pgl_costs *costs)
{
    uint64_t least[3000] = {0};

    assert_true(npages < 3000);
    for (unsigned end = 1; end <= npages; end++) {
        least[end] = UINT64_MAX;
        for (unsigned from = end; from-- > 0 && pages[end - 1] - pages[from] < PGL_WORKSET_CLUSTER;) {
            uint64_t span = pages[end - 1] - pages[from] + 1;
            uint64_t ns = least[from] + costs->fault_ns + span * costs->page_ns;

            least[end] = ns < least[end] ? ns : least[end];
        }
    }
    return least[npages];
}

/* Stretches and gaps of up to so many pages, at random. Returns what the clusters cost more than the least. */
static uint64_t waste_of(unsigned npages, uint32_t stretch, uint32_t gap, const struct pgl_costs *costs)
{
    struct pgl_recording *recording = pgl_recording_new(400000);
    static uint32_t random = 1;
    struct pgl_workset_info info;
    struct pgl_workset *set;
    uint64_t pages[3000];
    uint64_t page = 0;

    for (unsigned n = 0, left = 0; n < npages; n++, left--) {
        random = random * 1664525 + 1013904223;
        if (left == 0) {
            left = 1 + (random >> 8) % stretch;
            page += 1 + (random >> 16) % gap;
        }
        pages[n] = page;
        pgl_recording_touch(recording, page++);
    }
    set = pgl_workset_new(recording, NULL, costs);
    assert_non_null(set);
    pgl_workset_get_info(set, &info);
    pgl_workset_free(set);
    pgl_recording_free(recording);
    return info.clusters * costs->fault_ns + info.cluster_pages * costs->page_ns - least_ns(pages, npages, costs);
}

static const struct pgl_costs some_costs[] = {{3200, 1130}, {88000, 7600}, {110000, 2600}, {1, 1000}};

static void test_workset_clusters_cost_least(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        for (unsigned times = 0; times < 20; times++) {
            assert_int_equal(waste_of(600, 20, 30, &some_costs[i]), 0);
            assert_int_equal(waste_of(600, 3, 100, &some_costs[i]), 0);
            assert_int_equal(waste_of(600, 250, 5, &some_costs[i]), 0); /* two in a row may have 500 pages */
        }
    }
}

/* They are found by segments of 1,024 pages. At the end of one, a cluster too many is possible. */
static void test_workset_clusters_of_many_pages_cost_next_to_the_least(void **state)
{
    (void)state;
    for (unsigned npages = 1023; npages <= 1025; npages++) {
        for (unsigned i = 0; i < 4; i++) {
            assert_true(waste_of(npages, 20, 30, &some_costs[i]) <= some_costs[i].fault_ns);
            assert_true(waste_of(npages + 1024, 250, 5, &some_costs[i]) <= 2 * some_costs[i].fault_ns);
        }
    }
}

/* Of each three pages one was touched, and 43 of them have a cluster. The first segment ends in the 24th cluster. */
static void test_workset_cluster_goes_on_in_the_next_segment(void **state)
{
    struct pgl_recording *recording = pgl_recording_new(4000);
    struct pgl_workset_info info;
    struct pgl_workset *set;

    (void)state;
    for (uint64_t i = 0; i < UINT64_C(24) * 43; i++) {
        pgl_recording_touch(recording, 3 * i);
    }
    set = pgl_workset_new(recording, NULL, &some_costs[1]);
    pgl_workset_get_info(set, &info);
    assert_int_equal(info.clusters, 24);
    assert_int_equal(info.cluster_pages, 24 * 127);
    pgl_workset_free(set);
    pgl_recording_free(recording);
}

static void test_workset_cuts_a_stretch_of_508_pages_from_its_beginning(void **state)
{
    struct pgl_workset *of_507 = SET(NULL, 1, 1, 3, 509, 511, 550);
    struct pgl_workset *of_508 = SET(NULL, 1, 1, 3, 510, 512, 550);
    struct pgl_workset *of_509 = SET(NULL, 1, 1, 3, 511, 513, 550);

    (void)state;
    CLUSTERS(of_507, 1, 127, 128, 254, 255, 381, 382, 508, 509, 550);
    CLUSTERS(of_508, 1, 1, 3, 129, 130, 256, 257, 383, 384, 510, 512, 550);
    CLUSTERS(of_509, 1, 1, 3, 129, 130, 256, 257, 383, 384, 510, 511, 550);
    pgl_workset_free(of_507);
    pgl_workset_free(of_508);
    pgl_workset_free(of_509);
}

static void test_workset_knows_its_name_and_its_pages(void **state)
{
    struct pgl_workset *set = SET(&two_pages, 10, 19, 21, 21);
    struct pgl_workset_info info;

    (void)state;
    pgl_workset_get_info(set, &info);
    assert_string_equal(info.name, "file");
    assert_int_equal(info.recordings, 1);
    assert_int_equal(info.pages, 11);
    assert_int_equal(info.clusters, 1);
    assert_int_equal(info.cluster_pages, 12);
    pgl_workset_free(set);
}

static void test_workset_name_has_its_limit(void **state)
{
    struct pgl_recording *recording = pgl_recording_new(1);
    char name[PGL_WORKSET_NAME_MAX + 2];
    struct pgl_workset *set;

    (void)state;
    memset(name, 'x', sizeof(name));
    name[PGL_WORKSET_NAME_MAX] = '\0';
    set = pgl_workset_new(recording, name, NULL);
    assert_non_null(set);
    pgl_workset_free(set);
    name[PGL_WORKSET_NAME_MAX] = 'x';
    name[PGL_WORKSET_NAME_MAX + 1] = '\0';
    errno = 0;
    assert_null(pgl_workset_new(recording, name, NULL));
    assert_int_equal(errno, EINVAL);
    pgl_recording_free(recording);
}

static void test_workset_refuses_unreasonable_costs(void **state)
{
    static const struct pgl_costs refused = {PGL_COSTS_MAX_NS + 1, 1};
    struct pgl_recording *recording = pgl_recording_new(1);
    const struct pgl_workset *set = SET(NULL, 0, 0);
    unsigned char bytes[100];
    size_t size = pgl_workset_save(set, bytes, sizeof(bytes));
    const char *why = NULL;

    (void)state;
    errno = 0;
    assert_null(pgl_workset_new(recording, NULL, &refused));
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_null(pgl_workset_combine(&set, 1, 1, &refused));
    assert_int_equal(errno, EINVAL);
    assert_null(pgl_workset_load(bytes, size, &refused, NULL, &why));
    assert_string_equal(why, pgl_costs_explain(&refused));
    pgl_workset_free((struct pgl_workset *)(uintptr_t)set);
    pgl_recording_free(recording);
}

static void test_workset_combined_has_the_pages_of_each(void **state)
{
    const struct pgl_workset *sets[] = {SET(&no_gap, 0, 9, 50, 50), SET(&no_gap, 5, 14, 80, 81), SET(&no_gap, 1, 0)};
    struct pgl_workset *all = pgl_workset_combine(sets, 3, 1, &no_gap);
    struct pgl_workset *both = pgl_workset_combine(sets, 3, 2, &no_gap);
    struct pgl_workset *none = pgl_workset_combine(sets, 3, 3, &no_gap);
    struct pgl_workset_info info;

    (void)state;
    pgl_workset_get_info(all, &info);
    assert_int_equal(info.recordings, 3);
    assert_int_equal(info.pages, 18);
    assert_string_equal(info.name, "file");
    CLUSTERS(all, 0, 14, 50, 50, 80, 81);
    CLUSTERS(both, 5, 9);
    CLUSTERS(none, 1, 0);
    pgl_workset_get_info(both, &info);
    assert_int_equal(info.pages, 5);
    assert_int_equal(pgl_workset_save(both, NULL, 0), 24 + 4 + 12 + 4); /* one stretch */
    pgl_workset_free(all);
    pgl_workset_free(both);
    pgl_workset_free(none);
    for (unsigned i = 0; i < 3; i++) {
        pgl_workset_free((struct pgl_workset *)(uintptr_t)sets[i]);
    }
}

/* A set that was combined before counts as often as it was recorded. */
static void test_workset_combined_twice_counts_all_runs(void **state)
{
    const struct pgl_workset *two[] = {SET(&no_gap, 0, 4), SET(&no_gap, 3, 9)};
    const struct pgl_workset *again[] = {pgl_workset_combine(two, 2, 1, NULL), SET(&no_gap, 4, 4)};
    struct pgl_workset *thrice = pgl_workset_combine(again, 2, 3, &no_gap);
    struct pgl_workset_info info;

    (void)state;
    pgl_workset_get_info(thrice, &info);
    assert_int_equal(info.recordings, 3);
    CLUSTERS(thrice, 4, 4);
    pgl_workset_free(thrice);
    for (unsigned i = 0; i < 2; i++) {
        pgl_workset_free((struct pgl_workset *)(uintptr_t)two[i]);
        pgl_workset_free((struct pgl_workset *)(uintptr_t)again[i]);
    }
}

static void test_workset_of_no_set_is_refused(void **state)
{
    (void)state;
    errno = 0;
    assert_null(pgl_workset_combine(NULL, 0, 1, NULL));
    assert_int_equal(errno, EINVAL);
}

/* Against counts per page. */
static void test_workset_agrees_with_counts_of_each_page(void **state)
{
    enum { SETS = 5, PAGES = 600 };
    const struct pgl_workset *sets[SETS];
    unsigned counts[PAGES] = {0};
    uint32_t random = 1;

    (void)state;
    for (unsigned i = 0; i < SETS; i++) {
        struct pgl_recording *recording = pgl_recording_new(PAGES);

        for (unsigned page = 0; page < PAGES; page++) {
            random = random * 1664525 + 1013904223;
            if (random >> 30 != 0 || (page > 200 && page < 400)) {
                pgl_recording_touch(recording, page);
                counts[page]++;
            }
        }
        sets[i] = pgl_workset_new(recording, NULL, NULL);
        pgl_recording_free(recording);
    }
    for (unsigned least = 1; least <= SETS; least++) {
        struct pgl_workset *set = pgl_workset_combine(sets, SETS, least, &no_gap);
        struct pgl_pager_range cluster;

        for (unsigned page = 0; page < PAGES; page++) {
            assert_int_equal(pgl_workset_find(set, page, &cluster), counts[page] >= least);
            if (counts[page] >= least) {
                assert_true(cluster.first <= page && page <= cluster.last &&
                            cluster.last - cluster.first < PGL_WORKSET_CLUSTER);
            }
        }
        pgl_workset_free(set);
    }
    for (unsigned i = 0; i < SETS; i++) {
        pgl_workset_free((struct pgl_workset *)(uintptr_t)sets[i]);
    }
}

/* Each allocation in turn fails. */
static void test_workset_without_memory_is_none(void **state)
{
    struct pgl_recording *recording = pgl_recording_new(1000);
    const struct pgl_workset *set;
    unsigned char bytes[100];
    size_t size;

    (void)state;
    pgl_recording_touch(recording, 5);
    set = pgl_workset_new(recording, NULL, NULL);
    size = pgl_workset_save(set, bytes, sizeof(bytes));
    callocs = 0;
    failing = 1;
    assert_null(pgl_recording_new(1));
    for (unsigned way = 0; way < 3; way++) {
        struct pgl_workset *made = NULL;
        unsigned nfailed = 0;

        for (unsigned at = 1; !made; at++, nfailed++) {
            callocs = 0;
            failing = at;
            errno = 0;
            made = way == 0   ? pgl_workset_new(recording, NULL, NULL)
                   : way == 1 ? pgl_workset_combine(&set, 1, 1, NULL)
                              : pgl_workset_load(bytes, size, NULL, NULL, NULL);
            assert_true(made || errno == ENOMEM);
        }
        assert_true(nfailed > 3);
        pgl_workset_free(made);
    }
    failing = 0;
    pgl_workset_free((struct pgl_workset *)(uintptr_t)set);
    pgl_recording_free(recording);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recording_counts_each_page_once),
        cmocka_unit_test(test_recording_has_room_for_its_pages_and_no_more),
        cmocka_unit_test(test_recording_refuses_no_pages_and_too_many),
        cmocka_unit_test(test_workset_of_nothing_has_no_cluster),
        cmocka_unit_test(test_workset_finds_the_cluster_of_a_page_and_none_elsewhere),
        cmocka_unit_test(test_workset_bridges_a_gap_that_costs_less_than_a_request),
        cmocka_unit_test(test_workset_goes_by_the_costs_of_advice_h_where_none_are_known),
        cmocka_unit_test(test_workset_cluster_has_127_pages_at_most),
        cmocka_unit_test(test_workset_cuts_a_long_stretch_and_shares_its_last_part),
        cmocka_unit_test(test_workset_clusters_cost_least),
        cmocka_unit_test(test_workset_clusters_of_many_pages_cost_next_to_the_least),
        cmocka_unit_test(test_workset_cluster_goes_on_in_the_next_segment),
        cmocka_unit_test(test_workset_cuts_a_stretch_of_508_pages_from_its_beginning),
        cmocka_unit_test(test_workset_knows_its_name_and_its_pages),
        cmocka_unit_test(test_workset_name_has_its_limit),
        cmocka_unit_test(test_workset_refuses_unreasonable_costs),
        cmocka_unit_test(test_workset_combined_has_the_pages_of_each),
        cmocka_unit_test(test_workset_combined_twice_counts_all_runs),
        cmocka_unit_test(test_workset_of_no_set_is_refused),
        cmocka_unit_test(test_workset_agrees_with_counts_of_each_page),
        cmocka_unit_test(test_workset_without_memory_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
