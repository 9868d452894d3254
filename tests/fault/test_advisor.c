/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The advisor by itself, as a pager uses it that is not the library's: what patterns of first touches cost, and the
 * reasons that it gives. Costs are over those of fetching page by page.
 */
#include <errno.h>
#include <string.h>

#include <pagelock/advice.h>

#include "../cm.h"

#define LAST 99999

static const struct pgl_costs cheap = {3200, 1130};
static const struct pgl_costs dear = {110000, 2600};
static const struct pgl_costs free_pages = {1000000, 1};
static const struct pgl_advice_row wide = {63, 63, 0};

/* Pages of an object. Those of a wide one are resident nowhere but in the blocks that were touched last. */
struct reader {
    struct pgl_advisor *advisor;
    struct pgl_costs costs;
    struct pgl_advice_row row;
    uint64_t last;
    uint64_t budget;
    uint64_t bitmap[LAST / 64 + 1]; /* of the object's first pages */
    uint64_t touches;
    uint64_t requests;
    uint64_t pages;
    uint64_t x;
    struct pgl_cluster cluster; /* the last one */
    enum pgl_reason reason;
};

static struct reader reader;

static struct reader *open_reader(const struct pgl_costs *costs, uint64_t last)
{
    memset(&reader, 0, sizeof(reader));
    reader.advisor = pgl_advisor_new(costs);
    assert_non_null(reader.advisor);
    reader.costs = *costs;
    reader.row = wide;
    reader.last = last;
    reader.budget = UINT64_MAX;
    reader.x = UINT64_C(88172645463325252);
    return &reader;
}

static void close_reader(struct reader *r)
{
    pgl_advisor_free(r->advisor);
}

static uint64_t absent_word(const void *arg, uint64_t number)
{
    const struct reader *r = arg;

    return number <= LAST / 64 ? ~r->bitmap[number] : UINT64_MAX;
}

static bool is_resident(const struct reader *r, uint64_t index)
{
    return (absent_word(r, index / 64) >> index % 64 & 1) == 0;
}

static enum pgl_reason decide(struct reader *r, uint64_t index)
{
    const struct pgl_cluster_args args = {
        .demand = index,
        .object_last = r->last,
        .row = r->row,
        .budget = r->budget,
        .eligible = {.word = absent_word, .arg = r},
    };

    r->reason = pgl_advisor_decide(r->advisor, &args, &r->cluster);
    return r->reason;
}

/* Touch a page, and bring a cluster if it is absent. */
static void touch(struct reader *r, uint64_t index)
{
    r->touches++;
    if (is_resident(r, index)) {
        return;
    }
    decide(r, index);
    r->requests++;
    r->pages += r->cluster.last - r->cluster.first + 1;
    for (uint64_t i = r->cluster.first; i <= r->cluster.last && i <= LAST; i++) {
        r->bitmap[i / 64] |= UINT64_C(1) << i % 64;
    }
}

static uint64_t random_page(struct reader *r)
{
    r->x ^= r->x << 13;
    r->x ^= r->x >> 7;
    r->x ^= r->x << 17;
    return (r->x >> 11) % (r->last + 1);
}

static void touch_at_random(struct reader *r, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        touch(r, random_page(r));
    }
}

/* The cost of the touches since the last call. */
static double cost_so_far(struct reader *r)
{
    double ns = (double)(r->requests * r->costs.fault_ns + r->pages * r->costs.page_ns);

    ns /= (double)(r->touches * (r->costs.fault_ns + r->costs.page_ns));
    r->touches = 0;
    r->requests = 0;
    r->pages = 0;
    return ns;
}

/* In a file of which nothing is touched twice, and in one of which every sixty-fourth page is. */
static void test_advisor_random_costs_no_more_than_page_by_page(void **state)
{
    static const struct pgl_costs costs[] = {{3200, 1130}, {88000, 7600}, {110000, 2600}};

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        struct reader *r = open_reader(&costs[i], UINT64_MAX >> 30);

        touch_at_random(r, 5000);
        assert_true(cost_so_far(r) < 1.05);
        close_reader(r);
        r = open_reader(&costs[i], 65535);
        touch_at_random(r, 1024);
        assert_true(cost_so_far(r) < 1.10);
        close_reader(r);
    }
}

static void test_advisor_random_fetches_a_tenth_more_than_needed_at_most(void **state)
{
    struct reader *r = open_reader(&cheap, 65535);

    (void)state;
    touch_at_random(r, 1024);
    assert_true((double)r->pages < 1.1 * 1024);
    close_reader(r);
}

static void test_advisor_follows_a_reader_up_and_down(void **state)
{
    struct reader *r = open_reader(&cheap, 9999);

    (void)state;
    for (uint64_t i = 0; i < 10000; i++) {
        touch(r, i);
    }
    assert_true(cost_so_far(r) < 0.30);
    close_reader(r);
    r = open_reader(&cheap, 9999);
    for (uint64_t i = 10000; i-- > 0;) {
        touch(r, i);
    }
    assert_true(cost_so_far(r) < 0.30);
    close_reader(r);
}

static void test_advisor_follows_several_readers_at_once(void **state)
{
    struct reader *r = open_reader(&cheap, LAST);

    (void)state;
    for (uint64_t i = 0; i < 3000; i++) {
        touch(r, i);
        touch(r, 20000 + i);
        touch(r, 49999 - i);
        touch(r, 60000 + i);
    }
    assert_true(cost_so_far(r) < 0.30);
    close_reader(r);
}

static void test_advisor_follows_a_reader_that_skips(void **state)
{
    struct reader *r = open_reader(&cheap, LAST);

    (void)state;
    for (uint64_t i = 0; i < 20000; i += 1 + i % 3) {
        touch(r, i);
    }
    assert_true(cost_so_far(r) < 0.60);
    close_reader(r);
}

static void test_advisor_unlearns(void **state)
{
    struct reader *r = open_reader(&cheap, LAST);

    (void)state;
    for (unsigned i = 0; i < 2000; i++) {
        touch(r, 50000 + random_page(r) % 50000);
    }
    cost_so_far(r);
    for (uint64_t i = 0; i < 5000; i++) {
        touch(r, i);
    }
    assert_true(cost_so_far(r) < 0.34);
    for (unsigned i = 0; i < 2000; i++) {
        touch(r, 5000 + random_page(r) % 45000);
    }
    assert_true(cost_so_far(r) < 1.15);
    close_reader(r);
}

/* Pages used here and there: one of eight in each block of 64. A page costs a third of a fault, or a fortieth. */
static uint64_t pages_of_a_sparse_reader(const struct pgl_costs *costs)
{
    struct reader *r = open_reader(costs, LAST);
    uint64_t pages;

    for (unsigned i = 0; i < 3000; i++) {
        touch(r, random_page(r) % 24000);
    }
    pages = r->pages;
    close_reader(r);
    return pages;
}

/* A reader that has never come back to a block: a start is worth its page. */
static struct reader *open_scattered_reader(void)
{
    struct reader *r = open_reader(&cheap, UINT64_MAX);

    for (uint64_t i = 0; i < 300; i++) {
        decide(r, UINT64_C(1) << 40 | i << 20);
    }
    return r;
}

/* Eight pages cost less than three faults, and sixteen do not. The twentieth decision before it is the last that counts. */
static void test_advisor_fetches_a_block_in_which_a_start_was_lately(void **state)
{
    (void)state;
    for (uint64_t between = 18; between <= 20; between++) {
        struct reader *r = open_scattered_reader();

        touch(r, 6400);
        assert_int_equal(r->cluster.first, r->cluster.last);
        for (uint64_t i = 0; i < between; i++) {
            decide(r, UINT64_C(2) << 40 | i << 20);
        }
        decide(r, 6407);
        assert_int_equal(r->cluster.last, 6407);
        assert_int_equal(r->cluster.first, between < 20 ? 6401 : 6407);
        close_reader(r);
    }
}

/* One start is worth eight pages, and two are worth sixteen: they need not be in the same half. */
static void test_advisor_fetches_more_if_more_starts_were_lately(void **state)
{
    struct reader *r = open_scattered_reader();

    (void)state;
    touch(r, 6400);
    touch(r, 6407);
    assert_int_equal(r->cluster.first, 6401);
    decide(r, 6409);
    assert_int_equal(r->cluster.first, 6408);
    assert_int_equal(r->cluster.last, 6415);
    close_reader(r);
    r = open_scattered_reader();
    touch(r, 6400);
    decide(r, 6408);
    assert_int_equal(r->cluster.first, r->cluster.last);
    close_reader(r);
}

/* The first window of all has the pages that one start is worth. */
static void test_advisor_begins_as_if_a_start_had_been(void **state)
{
    static const uint64_t page_ns[] = {1501, 1500, 376, 375};
    static const uint64_t npages[] = {1, 2, 4, 8};

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        const struct pgl_costs costs = {1000, page_ns[i]};
        struct reader *r = open_reader(&costs, LAST);

        decide(r, 6400);
        assert_int_equal(r->cluster.last - r->cluster.first + 1, npages[i]);
        close_reader(r);
    }
}

/* All pages of a small file, in no order: page by page until it is seen that pages fill up, and in blocks then. */
static void test_advisor_fetches_blocks_of_a_file_that_fills_up(void **state)
{
    struct reader *r = open_reader(&cheap, 4999);

    (void)state;
    touch_at_random(r, 30000);
    assert_true(r->requests < 3600);
    close_reader(r);
}

/* The same if pages are removed at once: there are as many faults on the file, and it does not fill up. */
static void test_advisor_sees_no_crowd_in_pages_that_come_and_go(void **state)
{
    struct reader *r = open_reader(&cheap, 4999);

    (void)state;
    for (unsigned i = 0; i < 10000; i++) {
        touch(r, random_page(r));
        memset(r->bitmap, 0, sizeof(r->bitmap));
    }
    assert_true(cost_so_far(r) < 1.05);
    close_reader(r);
}

static bool absent_page(const void *arg, uint64_t index)
{
    return !is_resident(arg, index);
}

/* An advisor that asks for words and one that asks for pages decide alike while a file fills up. */
static void test_advisor_sees_the_same_in_words_and_in_pages(void **state)
{
    struct pgl_advisor *other = pgl_advisor_new(&cheap);
    struct reader *r = open_reader(&cheap, 4999);

    (void)state;
    for (unsigned i = 0; i < 10000; i++) {
        struct pgl_cluster_args args = {
            .demand = random_page(r),
            .object_last = 4999,
            .row = wide,
            .budget = UINT64_MAX,
            .eligible = {.page = absent_page, .arg = r},
        };
        struct pgl_cluster cluster;

        if (!is_resident(r, args.demand)) {
            pgl_advisor_decide(other, &args, &cluster);
            touch(r, args.demand);
            assert_int_equal(cluster.first, r->cluster.first);
            assert_int_equal(cluster.last, r->cluster.last);
        }
    }
    pgl_advisor_free(other);
    close_reader(r);
}

static void test_advisor_fetches_more_if_faults_are_dear(void **state)
{
    (void)state;
    assert_true(pages_of_a_sparse_reader(&dear) > 3 * pages_of_a_sparse_reader(&cheap));
}

/* The next decision goes by the new costs. */
static void test_advisor_goes_by_new_costs_at_once(void **state)
{
    static const struct pgl_costs free_faults = {1, 1000000};
    struct reader *r = open_reader(&cheap, LAST);

    (void)state;
    assert_true(pgl_advisor_set_costs(r->advisor, &free_pages));
    decide(r, 1000);
    assert_int_equal(r->cluster.last - r->cluster.first + 1, 64);
    assert_true(pgl_advisor_set_costs(r->advisor, &free_faults));
    decide(r, 5000);
    assert_int_equal(r->cluster.last, r->cluster.first);
    close_reader(r);
}

static void test_advisor_keeps_its_costs_if_new_ones_are_refused(void **state)
{
    static const struct pgl_costs refused = {1, PGL_COSTS_MAX_NS + 1};
    struct reader *r = open_reader(&free_pages, LAST);

    (void)state;
    errno = 0;
    assert_false(pgl_advisor_set_costs(r->advisor, &refused));
    assert_int_equal(errno, EINVAL);
    decide(r, 1000);
    assert_int_equal(r->cluster.last - r->cluster.first + 1, 64);
    close_reader(r);
}

/* The shipped windows' costs stand in for those that are not known. */
static void test_advisor_without_costs_takes_the_shipped_ones(void **state)
{
    static const struct pgl_costs shipped = {PGL_COSTS_FAULT_NS, PGL_COSTS_PAGE_NS};
    static const struct pgl_costs unknown;
    static const struct pgl_costs *const given[] = {NULL, &unknown};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct pgl_advisor *other = pgl_advisor_new(given[i]);
        struct reader *r = open_reader(&shipped, LAST);

        for (unsigned n = 0; n < 500; n++) {
            const struct pgl_cluster_args args = {
                .demand = n * n % 5000, .object_last = LAST, .row = wide, .budget = UINT64_MAX};
            struct pgl_cluster a, b;

            assert_int_equal(pgl_advisor_decide(other, &args, &a), pgl_advisor_decide(r->advisor, &args, &b));
            assert_int_equal(a.first, b.first);
            assert_int_equal(a.last, b.last);
        }
        pgl_advisor_free(other);
        close_reader(r);
    }
}

static void test_advisor_stays_inside_its_row(void **state)
{
    struct reader *r = open_reader(&dear, LAST);

    (void)state;
    r->row = (struct pgl_advice_row){1, 2, 0};
    for (uint64_t i = 0; i < 1000; i++) {
        uint64_t index = i % 2 == 0 ? i : 9999 - i;

        touch(r, index);
        assert_true(r->reason == PGL_REASON_OUTSIDE || r->cluster.last - r->cluster.first <= 3);
        if (is_resident(r, index) && r->cluster.first <= index && r->cluster.last >= index) {
            assert_true(index - r->cluster.first <= 3);
        }
    }
    close_reader(r);
}

/* If pages cost nearly nothing, the first window is the widest there is: the block of 64 pages that has the page. */
static void test_advisor_begins_with_an_aligned_block(void **state)
{
    (void)state;
    for (uint64_t index = 1000; index < 1064; index++) {
        struct reader *r = open_reader(&free_pages, LAST);

        assert_int_equal(decide(r, index), PGL_REASON_START);
        assert_int_equal(r->cluster.first, index / 64 * 64);
        assert_int_equal(r->cluster.last, index / 64 * 64 + 63);
        close_reader(r);
    }
}

static void test_advisor_opens_a_streams_window_to_its_side(void **state)
{
    struct reader *r = open_reader(&free_pages, LAST);

    (void)state;
    touch(r, 1000); /* 960 to 1023 */
    assert_int_equal(decide(r, 1024), PGL_REASON_UP);
    assert_int_equal(r->cluster.first, 1024);
    assert_int_equal(r->cluster.last, 1087);
    close_reader(r);
    r = open_reader(&free_pages, LAST);
    touch(r, 1000);
    assert_int_equal(decide(r, 959), PGL_REASON_DOWN);
    assert_int_equal(r->cluster.first, 896);
    assert_int_equal(r->cluster.last, 959);
    close_reader(r);
}

/* A stream is continued on the page next to its cluster, and on no other. */
static void test_advisor_tells_starts_from_streams(void **state)
{
    static const struct {
        uint64_t index;
        enum pgl_reason reason;
    } cases[] = {{958, PGL_REASON_START}, {959, PGL_REASON_DOWN}, {1024, PGL_REASON_UP}, {1025, PGL_REASON_START}};

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct reader *r = open_reader(&free_pages, LAST);

        touch(r, 1000);
        assert_int_equal(decide(r, cases[i].index), cases[i].reason);
        close_reader(r);
    }
}

/* Nothing came before it: the first fault is a start wherever it is. */
static void test_advisor_begins_with_a_start(void **state)
{
    (void)state;
    for (uint64_t index = 0; index < 6; index++) {
        struct reader *r = open_reader(&cheap, LAST);

        assert_int_equal(decide(r, index), PGL_REASON_START);
        close_reader(r);
    }
}

/* With one reader more, in turn, each stream has been forgotten when its reader comes back. */
static void test_advisor_remembers_eight_streams(void **state)
{
    (void)state;
    for (uint64_t nreaders = 7; nreaders <= 9; nreaders++) {
        struct reader *r = open_reader(&cheap, UINT64_MAX);
        uint64_t next[9];

        for (uint64_t i = 0; i < nreaders; i++) {
            decide(r, (i + 1) << 32);
            next[i] = r->cluster.last + 1;
        }
        for (uint64_t i = 0; i < nreaders; i++) {
            assert_int_equal(decide(r, next[i]), nreaders <= 8 ? PGL_REASON_UP : PGL_REASON_START);
        }
        close_reader(r);
    }
}

/* The most recently used ones: a stream that goes on is no older than one that began meanwhile. */
static void test_advisor_forgets_the_stream_that_was_used_least_recently(void **state)
{
    struct reader *r = open_reader(&cheap, UINT64_MAX);
    uint64_t next, forgotten;

    (void)state;
    decide(r, UINT64_C(1) << 32);
    next = r->cluster.last + 1;
    decide(r, UINT64_C(2) << 32);
    forgotten = r->cluster.last + 1;
    for (uint64_t i = 3; i <= 12; i++) {
        decide(r, i << 32);
        assert_int_equal(decide(r, next), PGL_REASON_UP);
        next = r->cluster.last + 1;
    }
    assert_int_equal(decide(r, forgotten), PGL_REASON_START);
    close_reader(r);
}

static void test_advisor_says_what_lies_outside(void **state)
{
    struct reader *r = open_reader(&cheap, 99);
    struct pgl_cluster before = {.first = 7, .last = 8};

    (void)state;
    r->cluster = before;
    assert_int_equal(decide(r, 100), PGL_REASON_OUTSIDE);
    assert_int_equal(r->cluster.first, before.first);
    assert_int_equal(r->cluster.last, before.last);
    close_reader(r);
}

/* A fault that may bring its page only is no part of a stream, and no start. */
static void test_advisor_looks_at_no_fault_that_it_does_not_decide(void **state)
{
    struct reader *r = open_reader(&cheap, LAST);
    uint64_t next;

    (void)state;
    decide(r, 1000);
    next = r->cluster.last + 1;
    for (uint64_t i = 0; i < 20; i++) { /* more than there are streams */
        r->budget = i % 2 == 0 ? 0 : UINT64_MAX;
        r->row = i % 2 == 0 ? wide : (struct pgl_advice_row){0, 0, 0};
        assert_int_equal(decide(r, 10000 + 1000 * i), PGL_REASON_ALONE);
        assert_int_equal(r->cluster.first, 10000 + 1000 * i);
        assert_int_equal(r->cluster.last, 10000 + 1000 * i);
    }
    r->budget = UINT64_MAX;
    r->row = wide;
    assert_int_equal(decide(r, next), PGL_REASON_UP);
    close_reader(r);
}

/* A reader has passed what lies below it only when it goes up. */
static void test_advisor_leaves_behind_what_a_reader_has_passed_on_its_way_up(void **state)
{
    struct reader *r = open_reader(&cheap, LAST);
    uint64_t first, next;

    (void)state;
    r->row.behind = 32;
    decide(r, 1000);
    assert_false(r->cluster.has_behind);
    first = r->cluster.first;
    next = r->cluster.last + 1;
    decide(r, next);
    assert_true(r->cluster.has_behind);
    assert_int_equal(r->cluster.behind_first, next - 32);
    assert_int_equal(r->cluster.behind_last, next - 1);
    close_reader(r);
    r = open_reader(&cheap, LAST);
    r->row.behind = 32;
    decide(r, 1000);
    assert_int_equal(decide(r, first - 1), PGL_REASON_DOWN);
    assert_false(r->cluster.has_behind);
    close_reader(r);
}

/* Streams that end at either end of 64 bits: page 0 does not come right after page 2^64 - 1, nor before it. */
static void test_advisor_is_exact_at_both_ends_of_64_bits(void **state)
{
    struct reader *r = open_reader(&dear, UINT64_MAX);

    (void)state;
    assert_int_equal(decide(r, UINT64_MAX), PGL_REASON_START);
    assert_int_equal(r->cluster.last, UINT64_MAX);
    assert_int_equal(decide(r, 0), PGL_REASON_START);
    assert_int_equal(r->cluster.first, 0);
    assert_int_equal(decide(r, UINT64_MAX - 200), PGL_REASON_START);
    for (uint64_t i = 0; i < 1000; i++) {
        decide(r, i % 2 == 0 ? UINT64_MAX - i % 300 : i % 300);
        assert_true(r->cluster.first <= r->cluster.last);
        assert_true(r->cluster.last - r->cluster.first < 64);
    }
    close_reader(r);
}

static void test_advisor_names_its_reasons(void **state)
{
    static const char *const names[] = {"outside", "alone", "row", "up", "down", "start", "recorded", "prefetch"};

    (void)state;
    assert_int_equal(sizeof(names) / sizeof(names[0]), PGL_REASON_COUNT);
    for (unsigned i = 0; i < PGL_REASON_COUNT; i++) {
        assert_string_equal(pgl_reason_name((enum pgl_reason)i), names[i]);
    }
    assert_null(pgl_reason_name((enum pgl_reason)PGL_REASON_COUNT));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_advisor_random_costs_no_more_than_page_by_page),
        cmocka_unit_test(test_advisor_random_fetches_a_tenth_more_than_needed_at_most),
        cmocka_unit_test(test_advisor_follows_a_reader_up_and_down),
        cmocka_unit_test(test_advisor_follows_several_readers_at_once),
        cmocka_unit_test(test_advisor_follows_a_reader_that_skips),
        cmocka_unit_test(test_advisor_unlearns),
        cmocka_unit_test(test_advisor_fetches_blocks_of_a_file_that_fills_up),
        cmocka_unit_test(test_advisor_sees_no_crowd_in_pages_that_come_and_go),
        cmocka_unit_test(test_advisor_sees_the_same_in_words_and_in_pages),
        cmocka_unit_test(test_advisor_fetches_more_if_faults_are_dear),
        cmocka_unit_test(test_advisor_fetches_a_block_in_which_a_start_was_lately),
        cmocka_unit_test(test_advisor_fetches_more_if_more_starts_were_lately),
        cmocka_unit_test(test_advisor_begins_as_if_a_start_had_been),
        cmocka_unit_test(test_advisor_goes_by_new_costs_at_once),
        cmocka_unit_test(test_advisor_keeps_its_costs_if_new_ones_are_refused),
        cmocka_unit_test(test_advisor_without_costs_takes_the_shipped_ones),
        cmocka_unit_test(test_advisor_stays_inside_its_row),
        cmocka_unit_test(test_advisor_begins_with_an_aligned_block),
        cmocka_unit_test(test_advisor_opens_a_streams_window_to_its_side),
        cmocka_unit_test(test_advisor_tells_starts_from_streams),
        cmocka_unit_test(test_advisor_begins_with_a_start),
        cmocka_unit_test(test_advisor_remembers_eight_streams),
        cmocka_unit_test(test_advisor_forgets_the_stream_that_was_used_least_recently),
        cmocka_unit_test(test_advisor_says_what_lies_outside),
        cmocka_unit_test(test_advisor_looks_at_no_fault_that_it_does_not_decide),
        cmocka_unit_test(test_advisor_leaves_behind_what_a_reader_has_passed_on_its_way_up),
        cmocka_unit_test(test_advisor_is_exact_at_both_ends_of_64_bits),
        cmocka_unit_test(test_advisor_names_its_reasons),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
