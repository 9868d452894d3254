/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory: each allocation of each call fails in turn, and the state is as before or as stated; what grows is filled to
 * its last place and one beyond.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "allocator.h"
#include "emu.h"

/* ---- leaves ---- */

static void test_alloc_a_table_needs_memory(void **state)
{
    struct pgl_table_config config = {.page_bits = 12, .addr_bits = 48};

    (void)state;
    count_from_here(1);
    errno = 0;
    assert_null(pgl_table_new(&config));
    assert_int_equal(errno, ENOMEM);
    assert_true(did_fail());
}

static void test_alloc_free_gives_everything_back(void **state)
{
    unsigned before = n_living;
    struct emu_block blocks[20];
    struct emu emu;

    (void)state;
    emu_init(&emu);
    for (unsigned i = 0; i < 20; i++) {
        emu_link2(&emu, &blocks[i], 0x5000 + 32 * i, 0x5000 + 32 * i, UINT64_C(1) << (12 + i), UINT64_C(1) << (12 + i));
    }
    for (unsigned i = 0; i < 100; i++) {
        pgl_store_check(emu.table, 0x5001, 1, NULL);
    }
    assert_true(emu_stats(&emu).hot_bytes > 0);
    assert_true(n_living > before);
    emu_fini(&emu);
    assert_int_equal(n_living, before);
}

static struct emu *racing;
static uint64_t racing_index;
static struct pgl_page *winner;

static void win_the_race(void)
{
    winner = pgl_page_get(racing->table, racing_index);
}

/* Another thread puts the leaf, or part of its subtree, in place while ours is being built. */
static void test_alloc_loser_of_a_race_frees_all_of_its_copy(void **state)
{
    static const uint64_t winners[] = {0x1234567, 0x1234568, 0x1234967, 0x1274567};
    const uint64_t node_bytes = PGL_LEVEL_SIZE * sizeof(void *) + PGL_LEVEL_WORDS * sizeof(uint64_t);

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct emu emu;
        uint64_t bytes, bytes_before;
        unsigned living_before;

        emu_init(&emu);
        bytes_before = emu_stats(&emu).bytes;
        living_before = n_living;
        racing = &emu;
        racing_index = winners[i];
        before_leaf = win_the_race;
        assert_non_null(pgl_page_get(emu.table, 0x1234567));
        assert_ptr_equal(winner, pgl_page_find(emu.table, winners[i]));
        bytes = emu_stats(&emu).bytes - bytes_before;
        /* every allocation that lives is a node or a leaf that the figures know */
        assert_int_equal(emu_stats(&emu).leaves, i < 2 ? 1 : 2);
        assert_int_equal(n_living - living_before,
                         emu_stats(&emu).leaves +
                             (bytes - emu_stats(&emu).leaves * sizeof(struct pgl_leaf)) / node_bytes);
        emu_fini(&emu);
    }
}

static void test_alloc_page_get_fails_without_a_trace(void **state)
{
    struct pgl_table_stats before, after;
    struct emu emu;
    unsigned fail = 0;

    (void)state;
    emu_init_bits(&emu, 12, 64);
    pgl_page_get(emu.table, 0);
    before = emu_stats(&emu);
    do {
        unsigned living_before = n_living;
        struct pgl_page *page;

        count_from_here(++fail);
        errno = 0;
        page = pgl_page_get(emu.table, UINT64_C(1) << 50);
        if (!did_fail()) {
            assert_non_null(page);
            break;
        }
        assert_null(page);
        assert_int_equal(errno, ENOMEM);
        assert_int_equal(n_living, living_before);
        assert_null(pgl_page_find(emu.table, UINT64_C(1) << 50));
        after = emu_stats(&emu);
        assert_memory_equal(&before, &after, sizeof(before));
        emu_assert_sound(&emu);
    } while (true);
    assert_int_equal(fail, 6); /* a leaf and four nodes could fail */
    emu_fini(&emu);
}

static void test_alloc_pair_fails_with_nothing_locked(void **state)
{
    unsigned fail = 0;

    (void)state;
    do {
        struct emu emu;
        bool locked;

        emu_init(&emu);
        count_from_here(++fail);
        errno = 0;
        locked = pgl_page_lock_pair(emu.table, 0x900000, 5);
        if (!did_fail()) {
            assert_true(locked);
            pgl_page_unlock_pair(emu.table, 0x900000, 5);
            emu_fini(&emu);
            break;
        }
        assert_false(locked);
        assert_int_equal(errno, ENOMEM);
        emu_fini(&emu); /* finds a locked page */
    } while (true);
    assert_true(fail > 5);
}

/* ---- brackets ---- */

static void test_alloc_begin_fails_with_nothing_held(void **state)
{
    struct emu *emu = *state;
    struct pgl_bracket bracket;

    for (unsigned fail = 1; fail <= 3; fail++) {
        count_from_here(fail);
        errno = 0;
        assert_false(pgl_bracket_begin(&bracket, emu->table, 5));
        assert_int_equal(errno, ENOMEM);
        assert_true(did_fail());
    }
    assert_string_equal(emu_log(emu), "");
    emu_fini(emu);
}

static void test_alloc_cross_fails_with_the_bracket_as_it_was(void **state)
{
    struct emu *emu = *state;
    struct pgl_bracket bracket;
    struct emu_block block = {0};

    assert_true(pgl_bracket_begin(&bracket, emu->table, 5));
    assert_int_equal(pgl_bracket_cross(&bracket, 6), PGL_BRACKET_OK);
    assert_int_equal(pgl_bracket_store(&bracket, 0x5000, 1), PGL_BRACKET_RESTART);
    pgl_tb_init(&block.tb);
    pgl_tb_set_bytes(&block.tb, 0, 0x5ffc, 0x5fff);
    pgl_tb_set_bytes(&block.tb, 1, 0x6000, 0x6003);
    assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_RESTART);
    count_from_here(1);
    errno = 0;
    assert_int_equal(pgl_bracket_cross(&bracket, 0x900000), PGL_BRACKET_ERROR); /* the new decoding's second page */
    assert_int_equal(errno, ENOMEM);
    assert_true(did_fail());
    assert_true(emu_is_locked(emu, 5));
    assert_true(emu_is_locked(emu, 6));
    assert_int_equal(pgl_bracket_cross(&bracket, 6), PGL_BRACKET_OK);
    assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_OK);
    emu_fini(emu);
}

static void test_alloc_stores_of_a_bracket_are_answered_without_memory(void **state)
{
    struct emu *emu = *state;
    struct emu_block blocks[4], fresh = {0};
    struct pgl_bracket bracket;

    for (unsigned i = 0; i < 4; i++) { /* their partners lie in more leaves than a set has room for */
        emu_link2(emu, &blocks[i], 0x5000 + 16 * i, 0x5000 + 16 * i, 0x1000000 * (i + 1), 0x1000000 * (i + 1));
    }
    pgl_tb_init(&fresh.tb);
    pgl_tb_set_bytes(&fresh.tb, 0, 0x5800, 0x5803);
    assert_true(pgl_bracket_begin(&bracket, emu->table, 5));
    assert_int_equal(pgl_bracket_store(&bracket, 0x5000, 64), PGL_BRACKET_RESTART);
    count_from_here(1);
    assert_int_equal(pgl_bracket_commit(&bracket, &fresh.tb, NULL), PGL_BRACKET_RESTART);
    assert_true(did_fail());
    for (unsigned i = 0; i < 4; i++) {
        assert_false(emu_is_live(&blocks[i]));
    }
    assert_int_equal(pgl_bracket_commit(&bracket, &fresh.tb, NULL), PGL_BRACKET_OK);
    emu_fini(emu);
}

/* ---- collections and invalidations ---- */

/* Blocks from page 5 to other leaves, which are more than an array has room for at first. */
enum { FAR = 20 };

static void link_far(struct emu *emu, struct emu_block blocks[FAR])
{
    for (unsigned i = 0; i < FAR; i++) {
        uint64_t second = UINT64_C(0x1000000) * (i * 7 % FAR + 1);

        emu_link2(emu, &blocks[i], 0x5000 + 16 * i, 0x5003 + 16 * i, second, second + 3);
    }
}

static void test_alloc_collection_fails_with_nothing_held(void **state)
{
    static const uint64_t ranges[][2] = {{0x5000, 0x5fff}, {0, (UINT64_C(1) << 48) - 1}};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct pgl_collection collection;
        struct emu_block blocks[FAR];
        struct emu emu;
        unsigned fail = 0, living_before;

        emu_init(&emu);
        link_far(&emu, blocks);
        living_before = n_living;
        do {
            bool locked;

            count_from_here(++fail);
            errno = 0;
            locked = pgl_collection_lock(&collection, emu.table, ranges[i][0], ranges[i][1]);
            if (!did_fail()) {
                assert_true(locked);
                pgl_collection_unlock(&collection);
                break;
            }
            assert_false(locked);
            assert_int_equal(errno, ENOMEM);
            assert_int_equal(n_living, living_before);
            emu_assert_sound(&emu);
        } while (true);
        assert_true(fail > 1);
        assert_int_equal(n_living, living_before);
        emu_fini(&emu);
    }
}

/*
 * The allocations for a set of leaves: none for four. A tree has its head, and records in chunks of eleven. An array
 * grows by four times.
 */
static unsigned allocations_for(unsigned n_leaves)
{
    unsigned n = 0;

#ifdef LEAVES_IN_GTREE
    n = n_leaves > PGL_COLLECTION_INLINE ? 1 + (n_leaves + 10) / 11 : 0;
#else
    for (unsigned room = PGL_COLLECTION_INLINE; room < n_leaves; room *= 4) {
        n++;
    }
#endif
    return n;
}

static void assert_one_member_of_each_leaf(struct emu *emu, const struct pgl_collection *collection, unsigned n_leaves)
{
    uint64_t index = 0;

    for (unsigned i = 0; i < n_leaves; i++, index++) {
        assert_non_null(pgl_collection_next(collection, &index));
        assert_int_equal(index, i * PGL_LEVEL_SIZE + i);
        assert_true(emu_is_locked(emu, index));
    }
    assert_null(pgl_collection_next(collection, &index));
    assert_int_equal(pgl_collection_max(collection), (n_leaves - 1) * PGL_LEVEL_SIZE + n_leaves - 1);
}

/* A collection of one page of each of some leaves, which come by the range, or by partners in an order that falls. */
static void test_alloc_collection_grows_at_its_edges(void **state)
{
    enum { MOST = 65 };
    static const unsigned counts[] = {1, 3, 4, 5, 10, 11, 12, 15, 16, 17, 22, 23, 63, 64, MOST};
    static struct emu_block blocks[MOST];

    (void)state;
    for (size_t c = 0; c < sizeof(counts) / sizeof(*counts); c++) {
        for (unsigned by_partners = 0; by_partners < 2; by_partners++) {
            const unsigned n = counts[c];
            const uint64_t last = (n - 1) * PGL_LEVEL_SIZE + n - 1;
            struct pgl_collection collection;
            unsigned living_before;
            struct emu emu;

            emu_init(&emu);
            for (unsigned i = 0; i < n; i++) {
                uint64_t addr = (uint64_t)(i * PGL_LEVEL_SIZE + i) << 12;

                if (by_partners && i + 1 < n) { /* the last one linked is met first */
                    emu_link2(&emu, &blocks[i], last << 12, last << 12, addr, addr);
                } else {
                    emu_link(&emu, &blocks[i], addr, addr);
                }
            }
            living_before = n_living;
            n_overruns = 0;
            if (by_partners) {
                count_from_here(0);
                assert_true(pgl_collection_lock(&collection, emu.table, last << 12, last << 12));
                assert_int_equal(n_allocations, allocations_for(n));
                assert_one_member_of_each_leaf(&emu, &collection, n);
                pgl_collection_unlock(&collection);
            }
            assert_int_equal(n_living, living_before);
            count_from_here(0);
            assert_int_equal(pgl_invalidate_range(emu.table, 0, last << 12, NULL), PGL_HIT); /* by the code bits */
            assert_int_equal(n_allocations, 0); /* each leaf is a portion */
            assert_int_equal(emu.n_retired, n);
            assert_int_equal(emu.n_retired_blocks, n);
            assert_int_equal(n_living, living_before);
            assert_int_equal(n_overruns, 0);
            emu_fini(&emu);
        }
    }
}

/* Pages without a leaf lie before, between and behind those with blocks. */
static void test_alloc_invalidation_passes_over_gaps_without_memory(void **state)
{
    struct emu *emu = *state;
    static struct emu_block blocks[5];

    for (uint64_t i = 0; i < 5; i++) {
        uint64_t addr = ((3 + 2 * i) * PGL_LEVEL_SIZE + 100 * i) << 12;

        emu_link(emu, &blocks[i], addr + 8, addr + 15);
    }
    count_from_here(1);
    assert_int_equal(pgl_invalidate_range(emu->table, 0x5008, UINT64_C(20) * PGL_LEVEL_SIZE << 12, NULL), PGL_HIT);
    assert_false(did_fail());
    for (unsigned i = 0; i < 5; i++) {
        assert_false(emu_is_live(&blocks[i]));
    }
    assert_int_equal(emu->n_retired_blocks, 5);
    emu_fini(emu);
}

static void test_alloc_invalidation_never_fails_for_want_of_memory(void **state)
{
    unsigned fail = 0;
    bool failed;

    (void)state;
    do {
        struct emu_block blocks[FAR], local, beside;
        struct emu emu;

        emu_init(&emu);
        link_far(&emu, blocks);
        emu_link(&emu, &local, 0x5f00, 0x5f03);
        emu_link(&emu, &beside, 0x4ffc, 0x4fff);
        count_from_here(++fail);
        assert_int_equal(pgl_invalidate_page(emu.table, 5, &blocks[3].tb), PGL_HIT | PGL_RUNNING_DEAD);
        failed = did_fail();
        for (unsigned i = 0; i < FAR; i++) {
            assert_false(emu_is_live(&blocks[i]));
            assert_int_equal(blocks[i].retired, 1);
        }
        assert_int_equal(local.retired, 1);
        assert_true(emu_is_live(&beside));
        if (!failed) {
            assert_int_equal(emu.n_retired, 1);
        }

        link_far(&emu, blocks);
        count_from_here(fail);
        assert_int_equal(pgl_invalidate_range(emu.table, 0x5010, 0x5020, NULL), PGL_HIT);
        did_fail();
        for (unsigned i = 0; i < FAR; i++) {
            assert_int_equal(emu_is_live(&blocks[i]), i != 1 && i != 2);
        }
        count_from_here(fail);
        assert_int_equal(pgl_flush(emu.table, NULL), PGL_HIT);
        failed |= did_fail();
        assert_false(emu_is_live(&blocks[0]));
        assert_false(emu_is_live(&beside));
        emu_fini(&emu);
    } while (failed);
    assert_true(fail > 2);
}

/* A block on six leaves, whose pages are not to be locked while its set is allocated. */
enum { LEAVES = 6 };

static struct emu *of_leaves;
static unsigned n_mallocs, n_with_a_page;

static uint64_t page_of_leaf(unsigned leaf)
{
    return 5 + (uint64_t)leaf * PGL_LEVEL_SIZE;
}

static void look_for_locked_pages(void)
{
    n_mallocs++;
    for (unsigned leaf = 0; leaf < LEAVES; leaf++) {
        n_with_a_page += emu_is_locked(of_leaves, page_of_leaf(leaf));
    }
}

static void test_alloc_kill_of_one_block_allocates_with_no_page_held(void **state)
{
    struct pgl_extent extents[LEAVES];
    struct pgl_bracket bracket;
    struct emu_block block;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_init_block(&block, 1, 0);
    for (unsigned leaf = 0; leaf < LEAVES; leaf++) {
        pgl_extent_set(&extents[leaf], page_of_leaf(leaf) << 12, page_of_leaf(leaf) << 12 | 3);
    }
    pgl_tb_set_extents(&block.tb, extents, LEAVES);
    assert_true(pgl_bracket_begin(&bracket, emu.table, page_of_leaf(0)));
    for (unsigned leaf = 1; leaf < LEAVES; leaf++) {
        assert_int_equal(pgl_bracket_cross(&bracket, page_of_leaf(leaf)), PGL_BRACKET_OK);
    }
    assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_OK);
    of_leaves = &emu;
    n_mallocs = n_with_a_page = 0;
    at_malloc = look_for_locked_pages;
    assert_int_equal(pgl_invalidate_tb(emu.table, &block.tb, NULL), PGL_HIT);
    at_malloc = NULL;
    assert_true(n_mallocs > 0);
    assert_int_equal(n_with_a_page, 0);
    assert_int_equal(block.retired, 1);
    emu_fini(&emu);
}

static void test_alloc_store_bracket_fails_with_nothing_held_for_want_of_its_pages_only(void **state)
{
    struct emu *emu = *state;
    struct emu_block blocks[FAR];
    struct pgl_store store;

    link_far(emu, blocks);
    count_from_here(1); /* the page of the store is absent */
    errno = 0;
    assert_int_equal(pgl_store_begin(&store, emu->table, UINT64_C(0x800000000000), 8, NULL), PGL_ERROR);
    assert_int_equal(errno, ENOMEM);
    assert_true(did_fail());
    emu_assert_sound(emu);
    count_from_here(1); /* meets four blocks, in leaves of their own */
    assert_int_equal(pgl_store_begin(&store, emu->table, 0x5000, 64, NULL), PGL_HIT);
    for (unsigned i = 0; i < FAR; i++) {
        assert_int_equal(emu_is_live(&blocks[i]), i >= 4);
    }
    pgl_store_end(&store);
    emu_fini(emu);
}

/* Store beside a block while allocation number @fail from here fails, if there are so many. */
static void store_beside(struct emu *emu, unsigned fail)
{
    count_from_here(fail);
    assert_int_equal(pgl_store_check(emu->table, 0x5004, 1, NULL), 0);
    did_fail();
}

static void test_alloc_a_page_goes_on_with_its_mask_when_a_map_fails(void **state)
{
    struct emu *emu = *state;
    struct emu_block block;

    emu_link(emu, &block, 0x5000, 0x5003);
    for (unsigned i = 0; i < 600; i++) { /* longer than any count of misses goes */
        store_beside(emu, 1);
    }
    assert_int_equal(emu_stats(emu).hot_bytes, 0);
    emu_assert_sound(emu);
    for (unsigned i = 0; i < 20; i++) { /* now the first succeeds and the second fails */
        store_beside(emu, 2);
        emu_assert_sound(emu);
    }
    assert_int_equal(pgl_store_check(emu->table, 0x5003, 1, NULL), PGL_HIT);
    emu_fini(emu);
}

/* The bytes of a map that could not be allocated are not taken out of the budget for good. */
static void test_alloc_a_map_that_fails_leaves_its_bytes_in_the_budget(void **state)
{
    struct emu *emu = *state;
    struct emu_block block;
    uint64_t one_page;

    emu_link(emu, &block, 0x5000, 0x5003);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(pgl_store_check(emu->table, 0x5004, 1, NULL), 0);
    }
    assert_int_equal(emu_stats(emu).hot_pages, 1);
    one_page = emu_stats(emu).hot_bytes;
    pgl_invalidate_tb(emu->table, &block.tb, NULL);
    pgl_table_trim(emu->table);

    emu->table->hot_bytes_max = one_page;
    emu_link(emu, &block, 0x5000, 0x5003);
    for (unsigned fail = 1; fail <= 2; fail++) { /* the counts of the leaf, the map */
        for (unsigned i = 0; i < 20; i++) {
            store_beside(emu, fail);
            assert_true(emu_stats(emu).hot_bytes <= one_page);
        }
    }
    for (unsigned i = 0; i < 20; i++) {
        store_beside(emu, 1); /* the map alone */
    }
    assert_int_equal(pgl_store_check(emu->table, 0x5004, 1, NULL), 0);
    assert_int_equal(emu_stats(emu).hot_bytes, one_page);
    assert_int_equal(emu_stats(emu).hot_pages, 1);
    assert_true(pgl_store_is_clean(emu->table, 0x5004, 1));
    assert_int_equal(pgl_store_check(emu->table, 0x5003, 1, NULL), PGL_HIT);
    emu_assert_sound(emu);
    emu_fini(emu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alloc_a_table_needs_memory),
        cmocka_unit_test(test_alloc_free_gives_everything_back),
        cmocka_unit_test(test_alloc_loser_of_a_race_frees_all_of_its_copy),
        cmocka_unit_test(test_alloc_page_get_fails_without_a_trace),
        cmocka_unit_test(test_alloc_pair_fails_with_nothing_locked),
        cmocka_unit_test_setup(test_alloc_begin_fails_with_nothing_held, emu_set_up),
        cmocka_unit_test_setup(test_alloc_cross_fails_with_the_bracket_as_it_was, emu_set_up),
        cmocka_unit_test_setup(test_alloc_stores_of_a_bracket_are_answered_without_memory, emu_set_up),
        cmocka_unit_test(test_alloc_collection_fails_with_nothing_held),
        cmocka_unit_test(test_alloc_collection_grows_at_its_edges),
        cmocka_unit_test_setup(test_alloc_invalidation_passes_over_gaps_without_memory, emu_set_up),
        cmocka_unit_test(test_alloc_invalidation_never_fails_for_want_of_memory),
        cmocka_unit_test(test_alloc_kill_of_one_block_allocates_with_no_page_held),
        cmocka_unit_test_setup(test_alloc_store_bracket_fails_with_nothing_held_for_want_of_its_pages_only, emu_set_up),
        cmocka_unit_test_setup(test_alloc_a_page_goes_on_with_its_mask_when_a_map_fails, emu_set_up),
        cmocka_unit_test_setup(test_alloc_a_map_that_fails_leaves_its_bytes_in_the_budget, emu_set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
