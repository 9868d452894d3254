/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The filters of a store check: hot pages and their exact maps. */
#include <string.h>

#include "emu.h"
#include "../../src/code/tblist_internal.h"

/* Store beside the code until the page has its exact map. */
static void heat(struct emu *emu, uint64_t addr)
{
    uint64_t before = emu_stats(emu).hot_bytes;
    unsigned n = 0;

    while (!(pgl_page_find(emu->table, addr >> emu->table->page_bits)->head & PGL_HEAD_HOT)) {
        assert_int_equal(pgl_store_check(emu->table, addr, 1, NULL), 0);
        assert_true(n++ < 1000);
    }
    assert_true(emu_stats(emu).hot_bytes > before);
}

static void test_store_beside_code_makes_a_page_hot(void **state)
{
    struct emu_block block;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &block, 0x5000, 0x5003);
    assert_false(pgl_store_is_clean(emu.table, 0x5004, 1));
    assert_int_equal(emu_stats(&emu).hot_bytes, 0);
    heat(&emu, 0x5004);
    assert_true(pgl_store_is_clean(emu.table, 0x5004, 60));
    assert_false(pgl_store_is_clean(emu.table, 0x5003, 1));
    assert_true(emu_is_live(&block));
    emu_assert_sound(&emu);
    emu_fini(&emu);
}

/* One false alarm gives the leaf its counts; four that are counted give the page its map. */
static void test_store_counts_hot_pages_and_their_bytes(void **state)
{
    static const uint64_t pages[] = {0, 5, PGL_LEVEL_SIZE - 1, PGL_LEVEL_SIZE, 2 * PGL_LEVEL_SIZE - 1};
    enum { N = sizeof(pages) / sizeof(*pages), MAP_BYTES = sizeof(struct pgl_buckets) + 4096 / 8 };
    struct emu_block blocks[N];
    struct emu emu;

    (void)state;
    emu_init(&emu);
    for (unsigned i = 0; i < N; i++) {
        emu_link(&emu, &blocks[i], (pages[i] << 12) + i, (pages[i] << 12) + i);
    }
    for (unsigned i = 0; i < N; i++) {
        bool first_of_leaf = pages[i] % PGL_LEVEL_SIZE == 0;
        uint64_t leaves = pages[i] / PGL_LEVEL_SIZE + 1;

        for (unsigned alarms = first_of_leaf ? 0 : 1; alarms <= 4; alarms++) {
            assert_int_equal(emu_stats(&emu).hot_pages, i);
            assert_int_equal(emu_stats(&emu).hot_bytes,
                             (leaves - (first_of_leaf && !alarms)) * sizeof(struct pgl_hot) + i * MAP_BYTES);
            assert_int_equal(pgl_store_check(emu.table, (pages[i] << 12) + i + 1, 1, NULL), 0);
        }
        assert_int_equal(emu_stats(&emu).hot_pages, i + 1);
    }
    assert_int_equal(emu_stats(&emu).hot_bytes, 2 * sizeof(struct pgl_hot) + N * MAP_BYTES);
    for (unsigned i = 0; i < N; i++) { /* each has a map of its own */
        assert_true(pgl_store_is_clean(emu.table, (pages[i] << 12) + i + 1, 60));
        assert_false(pgl_store_is_clean(emu.table, (pages[i] << 12) + i, 1));
    }
    assert_int_equal(pgl_flush(emu.table, NULL), PGL_HIT); /* which gives no map back */
    assert_int_equal(emu_stats(&emu).hot_pages, N);
    assert_int_equal(emu_stats(&emu).hot_bytes, 2 * sizeof(struct pgl_hot) + N * MAP_BYTES);
    emu_fini(&emu);
}

static void test_store_that_hits_makes_no_page_hot(void **state)
{
    struct emu_block block;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    for (unsigned i = 0; i < 100; i++) {
        emu_link(&emu, &block, 0x5000, 0x5003);
        assert_int_equal(pgl_store_check(emu.table, 0x5000, 1, NULL), PGL_HIT);
    }
    assert_int_equal(emu_stats(&emu).hot_bytes, 0);
    emu_fini(&emu);
}

static void test_store_map_is_exact_for_each_size_of_page(void **state)
{
    (void)state;
    for (unsigned page_bits = PGL_PAGE_BITS_MIN; page_bits <= PGL_PAGE_BITS_MAX; page_bits++) {
        uint64_t page = UINT64_C(3) << page_bits, size = UINT64_C(1) << page_bits;
        uint64_t unit = page_bits > 12 ? size / 4096 : 1;
        uint64_t at = size / 2 - 2 * unit; /* before a word's end in the map */
        struct emu_block block, second;
        struct emu emu;

        emu_init_bits(&emu, page_bits, 48);
        emu_link(&emu, &block, page + at, page + at + 4 * unit - 1);
        heat(&emu, page + (at > unit ? at - unit : 0));
        for (unsigned round = 0; round < 2; round++) {
            assert_true(pgl_store_is_clean(emu.table, page + at - 1, 1));
            assert_false(pgl_store_is_clean(emu.table, page + at - 1, 2));
            assert_false(pgl_store_is_clean(emu.table, page + at + unit * 2, 1));
            assert_false(pgl_store_is_clean(emu.table, page + at + unit * 4 - 1, 1));
            assert_true(pgl_store_is_clean(emu.table, page + at + unit * 4, 1));
            /* A block that is linked on a hot page enters the map, and leaves it when it dies. */
            emu_link2(&emu, &second, page + size - 1, page + size - 1, page, page);
            assert_false(pgl_store_is_clean(emu.table, page, 1));
            assert_false(pgl_store_is_clean(emu.table, page + size - 1, 1));
            emu_assert_sound(&emu);
            assert_int_equal(pgl_store_check(emu.table, page, 1, NULL), PGL_HIT);
            assert_true(pgl_store_is_clean(emu.table, page + size - 1, 1));
            emu_assert_sound(&emu);
        }
        emu_fini(&emu);
    }
}

static void test_store_map_keeps_bytes_that_others_cover(void **state)
{
    struct emu_block a, b, c;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &a, 0x5000, 0x50ff);
    emu_link(&emu, &b, 0x5080, 0x5180);
    emu_link2(&emu, &c, 0x5fff, 0x5fff, 0x5090, 0x5090);
    heat(&emu, 0x5190);
    pgl_invalidate_tb(emu.table, &a.tb, NULL);
    assert_true(pgl_store_is_clean(emu.table, 0x507f, 1));
    assert_false(pgl_store_is_clean(emu.table, 0x5080, 1));
    pgl_invalidate_tb(emu.table, &b.tb, NULL);
    assert_false(pgl_store_is_clean(emu.table, 0x5090, 1));
    assert_true(pgl_store_is_clean(emu.table, 0x5091, 1));
    assert_int_equal(pgl_store_check(emu.table, 0x5090, 1, NULL), PGL_HIT);
    emu_fini(&emu);
}

static void test_store_map_stays_with_its_page(void **state)
{
    struct emu_block block, elsewhere;
    struct emu emu;
    uint64_t hot_bytes;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &block, 0x5000, 0x5003);
    heat(&emu, 0x5004);
    hot_bytes = emu_stats(&emu).hot_bytes;
    assert_int_equal(pgl_flush(emu.table, NULL), PGL_HIT);
    assert_int_equal(emu_stats(&emu).hot_bytes, hot_bytes);
    emu_link(&emu, &elsewhere, 0x6000, 0x6003);
    heat(&emu, 0x6004); /* another map, not that one */
    assert_true(emu_stats(&emu).hot_bytes > hot_bytes);
    emu_link(&emu, &block, 0x5100, 0x5103);
    assert_false(pgl_store_is_clean(emu.table, 0x5100, 1));
    assert_true(pgl_store_is_clean(emu.table, 0x5104, 1));
    assert_true(pgl_store_is_clean(emu.table, 0x5000, 1));
    emu_fini(&emu);
}

static void test_store_map_is_made_once(void **state)
{
    struct emu_block block;
    struct emu emu;
    uint64_t hot_bytes;

    (void)state;
    emu_init_bits(&emu, 21, 48); /* a bit stands for 512 bytes: stores beside the code go on to miss */
    emu_link(&emu, &block, 0x600000, 0x600003);
    heat(&emu, 0x600004);
    hot_bytes = emu_stats(&emu).hot_bytes;
    for (unsigned i = 0; i < 300; i++) {
        assert_int_equal(pgl_store_check(emu.table, 0x600004, 1, NULL), 0);
    }
    assert_int_equal(emu_stats(&emu).hot_bytes, hot_bytes);
    emu_fini(&emu);
}

/* The last bytes of 4 GiB, and of the whole space: bits of the map are numbered up to the highest number there is. */
static void test_store_map_is_exact_at_the_highest_addresses(void **state)
{
    static const uint64_t last[] = {UINT32_MAX, UINT64_MAX};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct emu_block block, beside;
        struct emu emu;

        emu_init_bits(&emu, 12, 64);
        emu_link(&emu, &block, last[i] - 4095, last[i] - 4000);
        emu_link(&emu, &beside, last[i] - 9, last[i] - 8);
        heat(&emu, last[i]);
        assert_true(pgl_store_is_clean(emu.table, last[i], 1));
        assert_true(pgl_store_is_clean(emu.table, last[i] - 7, 8));
        assert_false(pgl_store_is_clean(emu.table, last[i] - 8, 8));
        assert_true(pgl_store_is_clean(emu.table, last[i] - 72, 60)); /* over two words */
        assert_int_equal(pgl_store_check(emu.table, last[i] - 63, 64, NULL), PGL_HIT);
        assert_int_equal(pgl_store_check(emu.table, last[i] - 4000, 1, NULL), PGL_HIT);
        emu_fini(&emu);
    }
}

/* Across a page's end, beside code on either page or on both, again and again: the pages with code get their maps. */
static void test_store_across_a_pages_end_beside_code_makes_its_pages_hot(void **state)
{
    (void)state;
    for (unsigned sides = 1; sides <= 3; sides++) {
        struct emu_block low, high;
        struct emu emu;

        emu_init(&emu);
        pgl_page_get(emu.table, 5);
        if (sides & 1) {
            emu_link(&emu, &low, 0x5ff0, 0x5ff7);
        }
        if (sides & 2) {
            emu_link(&emu, &high, 0x6008, 0x600f);
        }
        for (unsigned i = 0; i < 20; i++) {
            assert_int_equal(pgl_store_check(emu.table, 0x5ffc, 8, NULL), 0);
            for (unsigned side = 0; side < 2 && i < 3; side++) { /* not for so few */
                assert_false(pgl_page_find(emu.table, 5 + side)->head & PGL_HEAD_HOT);
            }
        }
        for (unsigned side = 0; side < 2; side++) {
            assert_int_equal(!!(pgl_page_find(emu.table, 5 + side)->head & PGL_HEAD_HOT), sides >> side & 1);
        }
        assert_true(pgl_store_is_clean(emu.table, 0x5ffc, 4));
        assert_true(pgl_store_is_clean(emu.table, 0x6000, 4));
        emu_fini(&emu);
    }
}

static void page_6_is_free(struct emu *emu, struct pgl_tb *chain)
{
    (void)chain;
    assert_true(emu_is_locked(emu, 5));
    assert_false(emu_is_locked(emu, 6));
}

static void test_store_across_a_pages_end_locks_only_the_page_it_hits(void **state)
{
    struct emu_block low, high;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &low, 0x5ff0, 0x5fff);
    emu_link(&emu, &high, 0x6800, 0x680f);
    emu.at_retired = page_6_is_free;
    assert_int_equal(pgl_store_check(emu.table, 0x5ffc, 8, NULL), PGL_HIT);
    assert_int_equal(emu.n_retired, 1);
    emu_fini(&emu);
}

/* Between `retired`'s call and its return the map covers the dead. */
static void map_covers_the_dead(struct emu *emu, struct pgl_tb *chain)
{
    (void)chain;
    const uint64_t *map = pgl_leaf_find(emu->table, 5)->hot->map[5];

    assert_true(map[0] & 1);
    assert_true(map[63] >> 63);
}

static void test_store_map_is_narrowed_after_retired(void **state)
{
    struct emu_block block;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link2(&emu, &block, 0x5fff, 0x5fff, 0x5000, 0x5000);
    heat(&emu, 0x5001);
    emu.at_retired = map_covers_the_dead;
    assert_int_equal(pgl_store_check(emu.table, 0x5fff, 1, NULL), PGL_HIT);
    assert_int_equal(emu.n_retired, 1);
    emu_fini(&emu);
}

struct watch {
    unsigned stop, lost, looks;
};

/* A block that lives all the while covers the first and the last granule of page 5. */
static void watch_page_5(struct emu *emu, void *arg)
{
    struct watch *watch = arg;

    while (!__atomic_load_n(&watch->stop, __ATOMIC_ACQUIRE)) {
        watch->lost += pgl_store_is_clean(emu->table, 0x5000, 1) || pgl_store_is_clean(emu->table, 0x5fff, 1);
        watch->lost += (emu_mask(emu, 5) & (1 | UINT64_C(1) << 63)) != (1 | UINT64_C(1) << 63);
        watch->lost += !emu_code_bit(emu, 5);
        if (__atomic_load_n(&pgl_page_find(emu->table, 5)->head, __ATOMIC_ACQUIRE) & PGL_HEAD_HOT) {
            watch->lost += !(__atomic_load_n(&pgl_leaf_find(emu->table, 5)->hot->map[5][0], __ATOMIC_ACQUIRE) & 1);
        }
        __atomic_fetch_add(&watch->looks, 1, __ATOMIC_RELAXED);
    }
}

static void test_store_filters_cover_the_living_at_every_instant(void **state)
{
    struct emu_block living, dying, crossing;
    struct watch watch = {0};
    struct emu_call call;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link2(&emu, &living, 0x5fff, 0x5fff, 0x5000, 0x5000);
    emu_call(&call, &emu, watch_page_5, &watch);
    while (!__atomic_load_n(&watch.looks, __ATOMIC_RELAXED)) {
        sched_yield();
    }
    for (unsigned i = 0; i < 20000; i++) {
        if (i == 10000) {
            heat(&emu, 0x5001);
        }
        emu_link2(&emu, &dying, 0x5ff0, 0x5fff, 0x5000, 0x500f);
        emu_link2(&emu, &crossing, 0x5ff0, 0x5fff, 0x6000, 0x600f);
        assert_int_equal(pgl_store_check(emu.table, 0x5002, 1, NULL), PGL_HIT);
        assert_int_equal(pgl_store_check(emu.table, 0x6002, 1, NULL), PGL_HIT);
    }
    __atomic_store_n(&watch.stop, 1, __ATOMIC_RELEASE);
    emu_join(&call);
    assert_int_equal(watch.lost, 0);
    emu_fini(&emu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_store_beside_code_makes_a_page_hot),
        cmocka_unit_test(test_store_counts_hot_pages_and_their_bytes),
        cmocka_unit_test(test_store_that_hits_makes_no_page_hot),
        cmocka_unit_test(test_store_map_is_exact_for_each_size_of_page),
        cmocka_unit_test(test_store_map_keeps_bytes_that_others_cover),
        cmocka_unit_test(test_store_map_stays_with_its_page),
        cmocka_unit_test(test_store_map_is_made_once),
        cmocka_unit_test(test_store_map_is_exact_at_the_highest_addresses),
        cmocka_unit_test(test_store_across_a_pages_end_beside_code_makes_its_pages_hot),
        cmocka_unit_test(test_store_across_a_pages_end_locks_only_the_page_it_hits),
        cmocka_unit_test(test_store_map_is_narrowed_after_retired),
        cmocka_unit_test(test_store_filters_cover_the_living_at_every_instant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
