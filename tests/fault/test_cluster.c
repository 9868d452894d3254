/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The calculator against an oracle that tries every interval around the demand page. The oracle knows bounds one page
 * at a time and in 128 bits; it shares nothing with the code but the definition.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pagelock/advice.h>

#include "../cm.h"

__extension__ typedef __int128 wide;

static uint64_t cases; /* decisions compared with the oracle, over all tests */

static uint64_t rng = 1;

static uint64_t next_random(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng;
}

static uint64_t below(uint64_t n)
{
    return next_random() % n;
}

/* Whether a view shows an object's page. */
static bool shows(const struct pgl_view *view, wide index)
{
    wide theirs;

    if (!view) {
        return true;
    }
    theirs = index - view->object_first + view->first;
    return index >= view->object_first && theirs >= view->first && theirs <= view->last;
}

static bool within(const struct pgl_cluster_args *args, wide index)
{
    return index >= 0 && index <= args->object_last && shows(args->entry, index) && shows(args->pager, index);
}

static bool takes(const struct pgl_cluster_args *args, bool (*eligible)(const void *, uint64_t), wide index)
{
    wide distance = index - args->demand;

    return distance >= -(wide)args->row.before && distance <= args->row.after && within(args, index) &&
           eligible(args->eligible.arg, (uint64_t)index);
}

/* Largest interval that keeps every rule; of equals the one that the side rule likes best. */
static bool oracle(const struct pgl_cluster_args *args, bool (*eligible)(const void *, uint64_t),
                   struct pgl_cluster *best)
{
    uint64_t best_pages = 0;
    wide best_miss = 0;

    if (!within(args, args->demand)) {
        return false;
    }
    for (wide first = args->demand; first == args->demand || takes(args, eligible, first); first--) {
        for (wide last = args->demand; last == args->demand || takes(args, eligible, last); last++) {
            wide ideal = args->forward ? args->row.after : (wide)args->budget / 2 + args->budget % 2;
            wide miss = last - args->demand - ideal;
            uint64_t pages = (uint64_t)(last - first);

            miss = miss < 0 ? -miss : miss;
            if (pages > args->budget) {
                break;
            }
            if (pages >= best_pages && (pages > best_pages || first == args->demand || miss < best_miss)) {
                best->first = (uint64_t)first;
                best->last = (uint64_t)last;
                best_pages = pages;
                best_miss = miss;
            }
        }
    }

    best->has_behind = false;
    for (wide index = (wide)best->first - 1; index >= (wide)best->first - args->row.behind; index--) {
        if (!within(args, index)) {
            break;
        }
        best->behind_last = best->first - 1;
        best->behind_first = (uint64_t)index;
        best->has_behind = true;
    }
    return true;
}

/* Compares one decision with the oracle's, and with the promises, one by one. */
static bool agrees(const struct pgl_cluster_args *args, bool (*eligible)(const void *, uint64_t),
                   struct pgl_cluster *cluster)
{
    struct pgl_cluster want = {0};
    bool some = pgl_cluster_decide(args, cluster);

    cases++;
    if (some != oracle(args, eligible, &want)) {
        return false;
    }
    if (!some) {
        return true;
    }
    if (cluster->first > args->demand || cluster->last < args->demand || !within(args, cluster->first) ||
        !within(args, cluster->last) || cluster->last - cluster->first > args->budget) {
        return false;
    }
    return cluster->first == want.first && cluster->last == want.last && cluster->has_behind == want.has_behind &&
           (!want.has_behind ||
            (cluster->behind_first == want.behind_first && cluster->behind_last == want.behind_last));
}

/* The universes: at most 64 pages, of which those set in a mask are resident. */
static bool absent_page(const void *mask, uint64_t index)
{
    return (*(const uint64_t *)mask >> index & 1) == 0;
}

/* Every budget of one universe, each at least as good as the one before. */
static void try_budgets(struct pgl_cluster_args *args, unsigned npages)
{
    struct pgl_cluster before = {0};

    for (args->budget = 0; args->budget <= npages; args->budget++) {
        struct pgl_cluster cluster;

        if (!agrees(args, absent_page, &cluster)) {
            fail_msg("demand %" PRIu64 " of [0, %" PRIu64 "], resident %" PRIx64 ", window -%u +%u, budget %" PRIu64,
                     args->demand, args->object_last, *(const uint64_t *)args->eligible.arg, args->row.before,
                     args->row.after, args->budget);
        }
        if (args->budget > 0 && within(args, args->demand)) {
            assert_true(cluster.first <= before.first && cluster.last >= before.last);
        }
        before = cluster;
    }
}

/* One row an advice, small enough to end inside the small universes. */
static const struct pgl_advice_row rows[PGL_ADVICE_COUNT] = {
    [PGL_ADVICE_DEFAULT] = {3, 3, 0},    [PGL_ADVICE_RANDOM] = {0, 0, 0},   [PGL_ADVICE_NORMAL] = {2, 4, 1},
    [PGL_ADVICE_SEQUENTIAL] = {1, 7, 3}, [PGL_ADVICE_ADAPTIVE] = {6, 1, 2},
};

static void try_advices(struct pgl_cluster_args *args, unsigned npages)
{
    for (int advice = 0; advice < PGL_ADVICE_COUNT; advice++) {
        args->row = rows[advice];
        args->forward = advice == PGL_ADVICE_SEQUENTIAL;
        try_budgets(args, npages);
    }
}

/* Every demand page of one object, and then every bound, with one set of resident pages. */
static void try_demands(unsigned npages, uint64_t resident, const struct pgl_view *entry, const struct pgl_view *pager)
{
    for (unsigned demand = 0; demand < npages; demand++) {
        struct pgl_cluster_args args = {
            .demand = demand,
            .object_last = npages - 1,
            .entry = entry,
            .pager = pager,
            .eligible = {.word = pgl_absent_word, .arg = &resident},
        };

        if (within(&args, demand)) {
            try_advices(&args, npages);
        } else {
            struct pgl_cluster untouched = {7, 7, true, 7, 7};

            assert_false(pgl_cluster_decide(&args, &untouched));
            assert_true(untouched.first == 7 && untouched.behind_last == 7);
        }
    }
}

/* A last page that equals npages is a view that runs past its object. */
static void try_bounds(unsigned npages, uint64_t resident)
{
    for (unsigned first = 0; first < npages; first++) {
        for (unsigned last = first; last <= npages; last++) {
            const struct pgl_view entry = {1000 + 7 * first, 1000 + 6 * first + last, first};

            for (unsigned pager_first = 0; pager_first < npages; pager_first++) {
                for (unsigned pager_last = pager_first; pager_last <= npages; pager_last++) {
                    const struct pgl_view pager = {50, 50 + pager_last - pager_first, pager_first};

                    try_demands(npages, resident, &entry, &pager);
                }
            }
        }
    }
}

static void test_cluster_matches_oracle_in_every_small_universe(void **state)
{
    uint64_t before = cases;

    (void)state;
    for (unsigned npages = 1; npages <= 8; npages++) {
        for (uint64_t resident = 0; resident < 1u << npages; resident++) {
            try_bounds(npages, resident);
        }
    }
    printf("cluster: %" PRIu64 " cases compared, %" PRIu64 " of them in every universe of 1 to 8 pages\n", cases,
           cases - before);
    assert_true(cases - before >= 10 * 1000 * 1000);
}

static void test_cluster_matches_oracle_in_sampled_universes(void **state)
{
    (void)state;
    for (unsigned npages = 9; npages <= 12; npages++) {
        for (unsigned i = 0; i < 6; i++) {
            try_bounds(npages, below(UINT64_C(1) << npages));
        }
    }
    printf("cluster: %" PRIu64 " cases compared\n", cases);
}

/* A pure and scattered set of pages for the whole 64-bit space, by page and by word. */
static bool hashed_page(const void *salt, uint64_t index)
{
    uint64_t x = (index ^ *(const uint64_t *)salt) * UINT64_C(0x9e3779b97f4a7c15);

    return (x >> 60) != 0;
}

static uint64_t hashed_word(const void *salt, uint64_t number)
{
    uint64_t word = 0;

    for (unsigned bit = 0; bit < 64; bit++) {
        word |= (uint64_t)hashed_page(salt, 64 * number + bit) << bit;
    }
    return word;
}

/* A page near 0, near 2^64 - 1, or near another one. */
static uint64_t near_an_end(uint64_t other)
{
    switch (below(3)) {
    case 0:
        return below(150);
    case 1:
        return UINT64_MAX - below(150);
    default:
        return other + below(80) - 40;
    }
}

static void test_cluster_matches_oracle_at_both_ends_of_64_bits(void **state)
{
    uint64_t decided = 0;

    (void)state;
    for (unsigned i = 0; i < 400 * 1000; i++) {
        uint64_t salt = next_random();
        uint64_t demand = near_an_end(0);
        struct pgl_view entry = {near_an_end(0), 0, near_an_end(demand)};
        struct pgl_view pager = {near_an_end(0), 0, near_an_end(demand)};
        struct pgl_cluster_args args = {
            .demand = demand,
            .object_last = near_an_end(demand),
            .row = {(uint32_t)below(i % 64 ? 24 : 140), (uint32_t)below(i % 64 ? 24 : 140), (uint32_t)below(40)},
            .budget = below(3) ? below(40) : UINT64_MAX - below(2),
            .forward = below(2),
            .eligible = {.page = hashed_page, .arg = &salt},
        };
        struct pgl_cluster by_page = {0};
        struct pgl_cluster by_word = {0};

        entry.last = below(4) ? entry.first + below(200) : near_an_end(entry.first);
        pager.last = below(4) ? pager.first + below(200) : near_an_end(pager.first);
        args.entry = below(3) && entry.first <= entry.last ? &entry : NULL;
        args.pager = below(3) && pager.first <= pager.last ? &pager : NULL;
        assert_true(agrees(&args, hashed_page, &by_page));
        args.eligible = (struct pgl_eligible){.word = hashed_word, .arg = &salt};
        assert_true(agrees(&args, hashed_page, &by_word));
        assert_memory_equal(&by_page, &by_word, sizeof(by_page));
        decided += within(&args, demand);
    }
    printf("cluster: %" PRIu64 " cases compared, %" PRIu64 " of the last ones decided\n", cases, decided);
    assert_true(decided > 50 * 1000);
}

static void test_cluster_with_no_budget_is_the_demand_page(void **state)
{
    struct pgl_cluster_args args = {.demand = 5, .object_last = 9, .row = {4, 4, 0}, .budget = 0};
    struct pgl_cluster cluster;

    (void)state;
    assert_true(pgl_cluster_decide(&args, &cluster));
    assert_int_equal(cluster.first, 5);
    assert_int_equal(cluster.last, 5);
}

static void test_cluster_counts_the_demand_page_on_neither_side(void **state)
{
    struct pgl_cluster_args args = {.demand = 50, .object_last = 99, .row = {1, 1, 0}, .budget = UINT64_MAX};
    struct pgl_cluster cluster;

    (void)state;
    assert_true(pgl_cluster_decide(&args, &cluster));
    assert_int_equal(cluster.first, 49);
    assert_int_equal(cluster.last, 51);
}

/* Long stretches before and after: each side is cut around the demand page, which never falls out. */
static void test_cluster_cuts_each_side_around_the_demand_page(void **state)
{
    struct pgl_cluster_args args = {.demand = 500, .object_last = 999, .row = {400, 400, 0}, .budget = 10};
    struct pgl_cluster cluster;

    (void)state;
    assert_true(pgl_cluster_decide(&args, &cluster));
    assert_int_equal(cluster.first, 495);
    assert_int_equal(cluster.last, 505);
    args.budget = 9; /* the odd page goes after */
    assert_true(pgl_cluster_decide(&args, &cluster));
    assert_int_equal(cluster.first, 496);
    assert_int_equal(cluster.last, 505);
}

static void test_cluster_gives_one_sides_unused_share_to_the_other(void **state)
{
    struct pgl_cluster_args args = {.demand = 998, .object_last = 999, .row = {20, 20, 0}, .budget = 10};
    struct pgl_cluster cluster;

    (void)state;
    assert_true(pgl_cluster_decide(&args, &cluster));
    assert_int_equal(cluster.first, 989);
    assert_int_equal(cluster.last, 999);
    args.demand = 2;
    assert_true(pgl_cluster_decide(&args, &cluster));
    assert_int_equal(cluster.first, 0);
    assert_int_equal(cluster.last, 10);
}

/* Without an entry the object's end was once computed with an offset subtracted twice. */
static void test_cluster_without_entry_reads_ahead_to_the_objects_end(void **state)
{
    struct pgl_cluster_args args = {.demand = 95, .object_last = 99, .row = {0, 31, 0}, .budget = UINT64_MAX};
    struct pgl_cluster cluster;

    (void)state;
    assert_true(pgl_cluster_decide(&args, &cluster));
    assert_int_equal(cluster.last, 99);
    args.demand = 50;
    assert_true(pgl_cluster_decide(&args, &cluster));
    assert_int_equal(cluster.last, 81);
}

static void test_cluster_of_entry_larger_than_object_ends_with_the_object(void **state)
{
    const struct pgl_view entry = {700, UINT64_MAX, 90};
    struct pgl_cluster_args args = {
        .demand = 95, .object_last = 99, .entry = &entry, .row = {31, 31, 0}, .budget = UINT64_MAX};
    struct pgl_cluster cluster;

    (void)state;
    assert_true(pgl_cluster_decide(&args, &cluster));
    assert_int_equal(cluster.first, 90);
    assert_int_equal(cluster.last, 99);
}

/* Bounds in three coordinate systems whose numbers have nothing in common. */
static void test_cluster_clips_each_view_through_its_own_offset(void **state)
{
    const struct pgl_view entry = {100000, 100019, 40}; /* the object's 40..59 */
    const struct pgl_view pager = {7, 60, 0};           /* the object's 0..53 */
    struct pgl_cluster_args args = {
        .demand = 45, .object_last = 99, .entry = &entry, .pager = &pager, .row = {31, 31, 0}, .budget = UINT64_MAX};
    struct pgl_cluster cluster;

    (void)state;
    assert_true(pgl_cluster_decide(&args, &cluster));
    assert_int_equal(cluster.first, 40);
    assert_int_equal(cluster.last, 53);
}

static void test_cluster_of_the_whole_64_bit_space_is_exact(void **state)
{
    struct pgl_cluster_args args = {
        .demand = UINT64_MAX - 1, .object_last = UINT64_MAX, .row = {2, 31, 9}, .budget = UINT64_MAX};
    struct pgl_cluster cluster;

    (void)state;
    assert_true(pgl_cluster_decide(&args, &cluster));
    assert_int_equal(cluster.first, UINT64_MAX - 3);
    assert_int_equal(cluster.last, UINT64_MAX);
    assert_int_equal(cluster.behind_first, UINT64_MAX - 12);
    assert_int_equal(cluster.behind_last, UINT64_MAX - 4);
    args.demand = 0;
    args.object_last = 0;
    assert_true(pgl_cluster_decide(&args, &cluster));
    assert_true(cluster.first == 0 && cluster.last == 0 && !cluster.has_behind);
}

/* A sequential reader leaves the pages before its cluster behind, and nothing below its entry. */
static void test_cluster_leaves_behind_what_a_sequential_reader_passed(void **state)
{
    const struct pgl_view entry = {0, 99, 20};
    struct pgl_cluster_args args = {
        .demand = 64, .object_last = 199, .entry = &entry, .row = {0, 31, 32}, .budget = UINT64_MAX, .forward = true};
    struct pgl_cluster cluster;

    (void)state;
    assert_true(pgl_cluster_decide(&args, &cluster));
    assert_true(cluster.has_behind);
    assert_int_equal(cluster.behind_first, 32);
    assert_int_equal(cluster.behind_last, 63);
    args.demand = 30;
    assert_true(pgl_cluster_decide(&args, &cluster));
    assert_int_equal(cluster.behind_first, 20);
    args.demand = 20;
    assert_true(pgl_cluster_decide(&args, &cluster));
    assert_false(cluster.has_behind);
}

/* Only words that hold a page of the window are read: a bitmap may end with the object. */
static uint64_t counted_word(const void *arg, uint64_t number)
{
    *(uint64_t *)(uintptr_t)arg += 1;
    assert_in_range(number, 0, 1);
    return UINT64_MAX;
}

static void test_cluster_reads_words_not_pages(void **state)
{
    uint64_t reads = 0;
    struct pgl_cluster_args args = {
        .demand = 70,
        .object_last = 127,
        .row = {16, 57, 0},
        .budget = UINT64_MAX,
        .eligible = {NULL, counted_word, &reads},
    };
    struct pgl_cluster cluster;

    (void)state;
    assert_true(pgl_cluster_decide(&args, &cluster));
    assert_int_equal(cluster.first, 54);
    assert_int_equal(cluster.last, 127);
    assert_int_equal(reads, 3); /* one word after, two before */
}

static void test_cluster_bitmaps_mean_what_their_names_say(void **state)
{
    const uint64_t bitmap[2] = {UINT64_C(0xff00000000000000), 0x0f};
    struct pgl_cluster_args args = {
        .demand = 60,
        .object_last = 127,
        .row = {64, 64, 0},
        .budget = UINT64_MAX,
        .eligible = {NULL, pgl_set_word, bitmap},
    };
    struct pgl_cluster cluster;

    (void)state;
    assert_true(pgl_cluster_decide(&args, &cluster));
    assert_int_equal(cluster.first, 56);
    assert_int_equal(cluster.last, 67);
    args.demand = 55;
    args.eligible.word = pgl_absent_word;
    assert_true(pgl_cluster_decide(&args, &cluster));
    assert_int_equal(cluster.first, 0);
    assert_int_equal(cluster.last, 55);
}

int main(void)
{
    const char *seed = getenv("PGL_SEED");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cluster_with_no_budget_is_the_demand_page),
        cmocka_unit_test(test_cluster_counts_the_demand_page_on_neither_side),
        cmocka_unit_test(test_cluster_cuts_each_side_around_the_demand_page),
        cmocka_unit_test(test_cluster_gives_one_sides_unused_share_to_the_other),
        cmocka_unit_test(test_cluster_without_entry_reads_ahead_to_the_objects_end),
        cmocka_unit_test(test_cluster_of_entry_larger_than_object_ends_with_the_object),
        cmocka_unit_test(test_cluster_clips_each_view_through_its_own_offset),
        cmocka_unit_test(test_cluster_of_the_whole_64_bit_space_is_exact),
        cmocka_unit_test(test_cluster_leaves_behind_what_a_sequential_reader_passed),
        cmocka_unit_test(test_cluster_reads_words_not_pages),
        cmocka_unit_test(test_cluster_bitmaps_mean_what_their_names_say),
        cmocka_unit_test(test_cluster_matches_oracle_in_sampled_universes),
        cmocka_unit_test(test_cluster_matches_oracle_at_both_ends_of_64_bits),
        cmocka_unit_test(test_cluster_matches_oracle_in_every_small_universe),
    };

    rng = seed ? strtoull(seed, NULL, 0) | 1 : UINT64_C(0x5eed);
    printf("PGL_SEED=%#" PRIx64 "\n", rng);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
