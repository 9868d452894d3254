/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The buckets of a hot page: its list in order, and what finds the extents that a range may meet. */
#include <stdlib.h>
#include <string.h>

#include "../../src/code/tblist_internal.h"
#include "emu.h"

/* Make page 5 hot. A block at its end, @heater, is hit by nothing else. */
static void heat(struct emu *emu, struct emu_block *heater)
{
    emu_link(emu, heater, 0x5ff8, 0x5ffb);
    for (unsigned i = 0; !(pgl_page_find(emu->table, 5)->head & PGL_HEAD_HOT); i++) {
        assert_true(i < 1000);
        assert_int_equal(pgl_store_check(emu->table, 0x5ffc, 1, NULL), 0);
    }
}

static struct pgl_buckets *buckets_of(const struct emu *emu, uint64_t index)
{
    return pgl_page_buckets(pgl_page_find(emu->table, index), index);
}

/* ---- pages become hot ---- */

static void hit_at_depth(unsigned depth, bool becomes_hot)
{
    struct emu_block blocks[16], victim;
    struct emu emu;

    emu_init(&emu);
    for (unsigned round = 0; round < 8; round++) {
        emu_link(&emu, &victim, 0x5f00, 0x5f03);
        for (unsigned i = 0; i + 1 < depth; i++) {
            emu_link(&emu, &blocks[i], 0x5000 + 8 * i, 0x5003 + 8 * i);
        }
        assert_int_equal(pgl_store_check(emu.table, 0x5f00, 1, NULL), PGL_HIT);
        pgl_invalidate_page(emu.table, 5, NULL);
    }
    assert_int_equal(buckets_of(&emu, 5) != NULL, becomes_hot);
    emu_fini(&emu);
}

static void test_buckets_come_with_hits_that_walk_long_lists(void **state)
{
    (void)state;
    hit_at_depth(1, false);
    hit_at_depth(8, false);
    hit_at_depth(9, true);
    hit_at_depth(10, true);
}

/* Kill blocks that cross between pages 5 and 6, by stores to page 5, while page @index lists @n more blocks. */
static void cross_beside(uint64_t index, unsigned n, bool becomes_hot)
{
    struct emu_block blocks[16], victim;
    struct emu emu;

    emu_init(&emu);
    for (unsigned i = 0; i < n; i++) {
        emu_link(&emu, &blocks[i], (index << 12) + 0x100 + 8 * i, (index << 12) + 0x103 + 8 * i);
    }
    for (unsigned round = 0; round < 8; round++) {
        emu_link2(&emu, &victim, 0x5ffe, 0x5fff, 0x6000, 0x6001);
        assert_int_equal(pgl_store_check(emu.table, 0x5fff, 1, NULL), PGL_HIT);
        assert_false(emu_is_live(&victim));
        emu_assert_sound(&emu);
    }
    assert_int_equal(buckets_of(&emu, index) != NULL, becomes_hot);
    assert_int_equal(emu_stats(&emu).hot_pages, becomes_hot);
    emu_fini(&emu);
}

static void test_buckets_come_with_crossing_hits_beside_long_lists(void **state)
{
    (void)state;
    for (uint64_t index = 5; index <= 6; index++) { /* the page of the store, and the other page of the block */
        cross_beside(index, 7, false);
        cross_beside(index, 8, false);
        cross_beside(index, 9, true);
    }
}

/* A store bracket that hits counts as a store check does. */
static void test_buckets_come_with_store_brackets_that_hit(void **state)
{
    struct emu_block blocks[9], victim;
    struct pgl_store store;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    for (unsigned i = 0; i < 9; i++) {
        emu_link(&emu, &blocks[i], 0x6100 + 8 * i, 0x6103 + 8 * i);
    }
    for (unsigned round = 0; round < 8; round++) {
        emu_link2(&emu, &victim, 0x5ffe, 0x5fff, 0x6000, 0x6001);
        assert_int_equal(pgl_store_begin(&store, emu.table, 0x5fff, 1, NULL), PGL_HIT);
        pgl_store_end(&store);
    }
    assert_non_null(buckets_of(&emu, 6));
    emu_assert_sound(&emu);
    emu_fini(&emu);
}

static void test_buckets_keep_the_blocks_of_a_page_that_becomes_hot(void **state)
{
    enum { N = 70 };
    struct emu_block blocks[N], crossing, twice, heater;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    for (unsigned i = 0; i < N; i++) {
        uint64_t addr = 0x5000 + i * 37 % N * 56; /* in no order */

        emu_link(&emu, &blocks[i], addr, addr + 7);
    }
    emu_link2(&emu, &crossing, 0x6000, 0x6003, 0x5f80, 0x5f83);
    emu_link2(&emu, &twice, 0x5f90, 0x5f93, 0x5004, 0x5005);
    heat(&emu, &heater);
    emu_assert_sound(&emu);
    assert_int_equal(emu_count(&emu, 5), N + 3);
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(pgl_store_check(emu.table, pgl_tb_last_addr(&blocks[i].tb, 0), 1, NULL), PGL_HIT);
        assert_false(emu_is_live(&blocks[i]));
        emu_assert_sound(&emu);
    }
    emu_fini(&emu);
}

/* Two blocks share bytes of bucket 2 only, and one of them lies in buckets 1 to 3. */
static void test_buckets_keep_bytes_that_were_shared_before_the_page_became_hot(void **state)
{
    (void)state;
    for (unsigned long_first = 0; long_first < 2; long_first++) {
        struct emu_block blocks[64], lasting, other, heater;
        struct emu emu;

        emu_init(&emu);
        if (long_first) {
            emu_link(&emu, &lasting, 0x5070, 0x50c3);
        }
        emu_link(&emu, &other, 0x5080, 0x508f);
        if (!long_first) {
            emu_link(&emu, &lasting, 0x5070, 0x50c3);
        }
        for (unsigned i = 0; i < 64; i++) {
            emu_link(&emu, &blocks[i], 0x5200 + 16 * i, 0x5203 + 16 * i);
        }
        heat(&emu, &heater);
        emu_assert_sound(&emu);
        pgl_invalidate_tb(emu.table, &other.tb, NULL);
        assert_int_equal(pgl_store_check(emu.table, 0x5084, 1, NULL), PGL_HIT);
        assert_false(emu_is_live(&lasting));
        emu_fini(&emu);
    }
}

/* ---- every extent that meets a range dies, and no other ---- */

/* Link a block [@first, @last] on the hot page, and store to each byte near its ends and to each bucket's edges. */
static void test_buckets_find_an_extent_from_each_of_its_bytes(void **state)
{
    /* the last four at the edges of the classes of reach: 3, 4, 15 and 16 buckets */
    static const struct {
        unsigned first, last;
    } extents[] = {{0, 0},    {0, 63},      {63, 63},   {63, 64},   {64, 64},     {60, 130},
                   {0, 4087}, {100, 900},   {128, 255}, {192, 256}, {4000, 4087}, {4031, 4032},
                   {1, 4080}, {2048, 2048}, {320, 512}, {320, 576}, {320, 1280},  {320, 1344}};

    (void)state;
    for (size_t i = 0; i < sizeof(extents) / sizeof(*extents); i++) {
        struct emu_block block, heater, before, behind;
        struct emu emu;

        emu_init(&emu);
        heat(&emu, &heater);
        emu_link(&emu, &before, 0x5000, 0x5000); /* others, which must not be taken for it */
        emu_link(&emu, &behind, 0x5ff7, 0x5ff7);
        for (unsigned at = 0; at < 4096; at++) {
            bool meets = at >= extents[i].first && at <= extents[i].last;

            if (at % 64 > 1 && at % 64 < 62 && at != extents[i].first && at != extents[i].last &&
                at + 1 != extents[i].first && at != extents[i].last + 1) {
                continue; /* not at an edge */
            }
            emu_link(&emu, &block, 0x5000 + extents[i].first, 0x5000 + extents[i].last);
            pgl_store_check(emu.table, 0x5000 + at, 1, NULL);
            assert_int_equal(emu_is_live(&block), !meets);
            pgl_invalidate_tb(emu.table, &block.tb, NULL);
            emu_assert_sound(&emu);
            if (!emu_is_live(&before)) {
                emu_link(&emu, &before, 0x5000, 0x5000);
            }
            if (!emu_is_live(&behind)) {
                emu_link(&emu, &behind, 0x5ff7, 0x5ff7);
            }
            if (!emu_is_live(&heater)) {
                emu_link(&emu, &heater, 0x5ff8, 0x5ffb);
            }
        }
        emu_fini(&emu);
    }
}

static void test_buckets_remember_the_reach_of_those_that_stay(void **state)
{
    struct emu_block far, over, dying, heater;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    heat(&emu, &heater);
    emu_link(&emu, &far, 0x5010, 0x5100);
    emu_link(&emu, &over, 0x5010, 0x5040);
    emu_link(&emu, &dying, 0x5000, 0x5003);
    assert_int_equal(pgl_store_check(emu.table, 0x5000, 1, NULL), PGL_HIT);
    emu_assert_sound(&emu);
    assert_int_equal(pgl_store_check(emu.table, 0x5100, 1, NULL), PGL_HIT);
    assert_false(emu_is_live(&far));
    assert_int_equal(pgl_store_check(emu.table, 0x5040, 1, NULL), PGL_HIT);
    assert_false(emu_is_live(&over));
    emu_fini(&emu);
}

static void test_buckets_let_the_other_extents_of_a_victim_go(void **state)
{
    struct pgl_extent extents[5];
    struct emu_block block, heater, beside[5];
    struct emu emu;

    (void)state;
    for (unsigned hit = 0; hit < 5; hit++) {
        emu_init(&emu);
        heat(&emu, &heater);
        emu_init_block(&block, 1, 0);
        for (unsigned i = 0; i < 5; i++) {
            pgl_extent_set(&extents[i], 0x5000 + 0x111 * (i * 3 % 5), 0x5003 + 0x111 * (i * 3 % 5));
            emu_link(&emu, &beside[i], 0x5008 + 0x111 * i, 0x5009 + 0x111 * i);
        }
        pgl_tb_set_extents(&block.tb, extents, 5);
        assert_int_equal(emu_translate(&emu, &block, NULL), PGL_BRACKET_OK);
        emu_assert_sound(&emu);
        assert_int_equal(pgl_store_check(emu.table, 0x5000 + 0x111 * hit, 1, NULL), PGL_HIT);
        assert_int_equal(block.retired, 1);
        assert_int_equal(emu_count(&emu, 5), 6);
        emu_fini(&emu);
    }
}

static void test_buckets_unlink_a_crossing_block_on_each_page(void **state)
{
    struct emu_block block, heater, here[40], there[40];
    struct emu emu;

    (void)state;
    emu_init(&emu);
    heat(&emu, &heater);
    for (unsigned i = 0; i < 40; i++) {
        emu_link(&emu, &here[i], 0x5000 + 64 * i, 0x5003 + 64 * i);
        emu_link(&emu, &there[i], 0x6000 + 64 * i, 0x6003 + 64 * i);
    }
    for (unsigned i = 0; i < 40; i++) {
        uint64_t addr = i % 2 ? 0x5008 + 64 * i : 0x6008 + 64 * i;

        emu_link2(&emu, &block, 0x5008 + 64 * i, 0x5009 + 64 * i, 0x6008 + 64 * i, 0x6009 + 64 * i);
        assert_int_equal(pgl_store_check(emu.table, addr, 1, NULL), PGL_HIT);
        assert_int_equal(block.retired, 1);
        assert_false(pgl_page_find(emu.table, 5)->head & PGL_HEAD_CROSS);
        emu_assert_sound(&emu);
    }
    assert_int_equal(emu_count(&emu, 5), 41);
    assert_int_equal(emu_count(&emu, 6), 40);
    emu_fini(&emu);
}

/* ---- pgl_table_check() finds each broken invariant ---- */

struct said {
    const char *wanted;
    bool heard;
};

static void hear(const char *what, void *opaque)
{
    struct said *said = opaque;

    said->heard |= strstr(what, said->wanted) != NULL;
}

static void assert_says(const struct emu *emu, const char *wanted)
{
    struct said said = {.wanted = wanted};

    assert_true(pgl_table_check(emu->table, hear, &said) > 0);
    if (!said.heard) {
        fail_msg("nobody said \"%s\"", wanted);
    }
}

#define BREAK(emu, object, value, wanted)                                                                              \
    do {                                                                                                               \
        __typeof__(object) was_ = (object);                                                                            \
        (object) = (value);                                                                                            \
        assert_says(emu, wanted);                                                                                      \
        (object) = was_;                                                                                               \
    } while (0)

/* A hot page 5 with blocks in buckets 0, 1 (into 2), 4 (into 9) and 63, and one that crosses. */
struct fixture {
    struct emu emu;
    struct emu_block heater, first, second, far, crossing;
    struct pgl_buckets *buckets;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    emu_init(&f->emu);
    heat(&f->emu, &f->heater);
    emu_link(&f->emu, &f->first, 0x5000, 0x5003);
    emu_link(&f->emu, &f->second, 0x507f, 0x5080);
    emu_link(&f->emu, &f->far, 0x5100, 0x5240);
    emu_link2(&f->emu, &f->crossing, 0x5ff0, 0x5ff3, 0x6000, 0x6003);
    f->buckets = buckets_of(&f->emu, 5);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    emu_fini(&f->emu);
    free(f);
    return 0;
}

static void test_buckets_check_finds_a_list_out_of_order(void **state)
{
    struct fixture *f = *state;
    struct pgl_page *page = pgl_page_find(f->emu.table, 5);
    uintptr_t head = page->head;

    /* the second block before the first */
    f->first.tb.span.next = f->second.tb.span.next;
    f->second.tb.span.next = (uintptr_t)&f->first.tb;
    page->head = (head & PGL_HEAD_FLAGS) | (uintptr_t)&f->second.tb;
    assert_says(&f->emu, "not in order");
    page->head = head;
    f->second.tb.span.next = f->first.tb.span.next;
    f->first.tb.span.next = (uintptr_t)&f->second.tb;
}

static void test_buckets_check_finds_a_wrong_last(void **state)
{
    struct fixture *f = *state;

    BREAK(&f->emu, f->buckets->last[0], (uintptr_t)&f->second.tb, "last extent of bucket 0");
    BREAK(&f->emu, f->buckets->last[63], (uintptr_t)&f->crossing.tb, "last extent of bucket 63");
}

static void test_buckets_check_finds_a_wrong_used_bit(void **state)
{
    struct fixture *f = *state;

    BREAK(&f->emu, f->buckets->used, f->buckets->used & ~UINT64_C(1), "are used");
    BREAK(&f->emu, f->buckets->used, f->buckets->used | 4, "are used");
}

static void test_buckets_check_finds_a_far_extent_unmarked(void **state)
{
    struct fixture *f = *state;

    BREAK(&f->emu, f->buckets->reach[0], f->buckets->reach[0] & ~UINT64_C(2), "reach of the extents");
    BREAK(&f->emu, f->buckets->reach[1], f->buckets->reach[1] & ~UINT64_C(16), "reach of the extents");
    BREAK(&f->emu, f->buckets->reach[2], f->buckets->reach[2] | 4, "reach of the extents");
}

static void test_buckets_check_finds_a_shared_byte_unmarked(void **state)
{
    struct fixture *f = *state;
    struct emu_block other;

    emu_link(&f->emu, &other, 0x5003, 0x5003);
    BREAK(&f->emu, f->buckets->shared, f->buckets->shared & ~UINT64_C(1), "share a byte");
    pgl_invalidate_tb(f->emu.table, &other.tb, NULL);
}

static void test_buckets_check_finds_a_shared_byte_marked_in_another_bucket(void **state)
{
    struct fixture *f = *state;
    struct emu_block other;

    emu_link(&f->emu, &other, 0x5080, 0x50c0); /* buckets 2 and 3 are marked */
    BREAK(&f->emu, f->buckets->shared, f->buckets->shared & ~UINT64_C(4), "share a byte");
    pgl_invalidate_tb(f->emu.table, &other.tb, NULL);
}

static void test_buckets_check_finds_a_wrong_count_of_crossing_extents(void **state)
{
    struct fixture *f = *state;

    BREAK(&f->emu, f->buckets->ncross, 0, "crossing extents counted");
    BREAK(&f->emu, f->buckets->ncross, 2, "crossing extents counted");
}

static void test_buckets_check_finds_marks_that_were_left(void **state)
{
    struct fixture *f = *state;

    BREAK(&f->emu, f->buckets->dead, 1, "marks of a kill");
    BREAK(&f->emu, f->buckets->stale_end, 1, "marks of a kill");
}

/* ---- bytes of two extents ---- */

static void test_buckets_keep_a_byte_that_is_shared_behind_the_first_bucket(void **state)
{
    struct fixture *f = *state;
    struct emu_block other;

    emu_link(&f->emu, &other, 0x5010, 0x50c0);
    pgl_invalidate_tb(f->emu.table, &f->second.tb, NULL);
    assert_int_equal(pgl_store_check(f->emu.table, 0x5080, 1, NULL), PGL_HIT);
    assert_false(emu_is_live(&other));
}

static void test_buckets_keep_a_byte_that_two_share_when_a_third_dies(void **state)
{
    struct fixture *f = *state;
    struct emu_block low, high;

    emu_link(&f->emu, &high, 0x5070, 0x50c0);
    emu_link(&f->emu, &low, 0x5060, 0x507f);
    pgl_invalidate_tb(f->emu.table, &f->second.tb, NULL);
    pgl_invalidate_tb(f->emu.table, &low.tb, NULL);
    assert_int_equal(pgl_store_check(f->emu.table, 0x5070, 1, NULL), PGL_HIT);
    assert_false(emu_is_live(&high));
}

static void test_buckets_keep_a_byte_that_is_shared_beside_the_dead(void **state)
{
    struct fixture *f = *state;
    struct emu_block equal, blocks[2];

    emu_link(&f->emu, &equal, 0x507f, 0x5080);
    emu_link(&f->emu, &blocks[0], 0x50c0, 0x50c3);
    emu_link(&f->emu, &blocks[1], 0x50c0, 0x50c3);
    pgl_invalidate_tb(f->emu.table, &f->second.tb, NULL); /* in buckets 1 and 2 */
    pgl_invalidate_tb(f->emu.table, &blocks[0].tb, NULL);
    assert_int_equal(pgl_store_check(f->emu.table, 0x50c0, 1, NULL), PGL_HIT);
    assert_false(emu_is_live(&blocks[1]));
    pgl_invalidate_tb(f->emu.table, &equal.tb, NULL);
}

#define UNIT(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buckets_come_with_hits_that_walk_long_lists),
        cmocka_unit_test(test_buckets_come_with_crossing_hits_beside_long_lists),
        cmocka_unit_test(test_buckets_come_with_store_brackets_that_hit),
        cmocka_unit_test(test_buckets_keep_the_blocks_of_a_page_that_becomes_hot),
        cmocka_unit_test(test_buckets_keep_bytes_that_were_shared_before_the_page_became_hot),
        cmocka_unit_test(test_buckets_find_an_extent_from_each_of_its_bytes),
        cmocka_unit_test(test_buckets_remember_the_reach_of_those_that_stay),
        cmocka_unit_test(test_buckets_let_the_other_extents_of_a_victim_go),
        cmocka_unit_test(test_buckets_unlink_a_crossing_block_on_each_page),
        UNIT(test_buckets_check_finds_a_list_out_of_order),
        UNIT(test_buckets_check_finds_a_wrong_last),
        UNIT(test_buckets_check_finds_a_wrong_used_bit),
        UNIT(test_buckets_check_finds_a_far_extent_unmarked),
        UNIT(test_buckets_check_finds_a_shared_byte_unmarked),
        UNIT(test_buckets_check_finds_a_shared_byte_marked_in_another_bucket),
        UNIT(test_buckets_check_finds_a_wrong_count_of_crossing_extents),
        UNIT(test_buckets_check_finds_marks_that_were_left),
        UNIT(test_buckets_keep_a_byte_that_is_shared_behind_the_first_bucket),
        UNIT(test_buckets_keep_a_byte_that_two_share_when_a_third_dies),
        UNIT(test_buckets_keep_a_byte_that_is_shared_beside_the_dead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
