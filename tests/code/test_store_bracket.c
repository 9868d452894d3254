/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Store brackets over two places, and how they ask the filters. */
#include <errno.h>
#include <string.h>

#include "emu.h"

static void test_store_bracket_over_two_places_kills_on_both(void **state)
{
    static const struct {
        uint64_t addr, addr2;
    } places[] = {{0x5004, 0x9004}, {0x9004, 0x5004}, {0x5004, 0x5804}, {0x5804, 0x5004}, {0x5004, 0x200004}};

    (void)state;
    for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
        uint64_t addr = places[i].addr, addr2 = places[i].addr2;
        struct emu_block hit, hit2, beside, beside2;
        struct pgl_store store;
        struct emu emu;

        emu_init(&emu);
        emu_link(&emu, &hit, addr + 3, addr + 3);
        emu_link(&emu, &beside, addr + 4, addr + 4);
        emu_link(&emu, &hit2, addr2, addr2);
        emu_link(&emu, &beside2, addr2 - 1, addr2 - 1);
        assert_int_equal(pgl_store_begin_pair(&store, emu.table, addr, 4, addr2, 8, &hit2.tb),
                         PGL_HIT | PGL_RUNNING_DEAD);
        assert_false(emu_is_live(&hit));
        assert_false(emu_is_live(&hit2));
        assert_true(emu_is_live(&beside));
        assert_true(emu_is_live(&beside2));
        assert_true(emu_is_locked(&emu, addr >> 12));
        assert_true(emu_is_locked(&emu, addr2 >> 12));
        pgl_store_end(&store);
        assert_false(emu_is_locked(&emu, addr >> 12));
        assert_false(emu_is_locked(&emu, addr2 >> 12));
        emu_assert_sound(&emu);
        emu_fini(&emu);
    }
}

static void test_store_bracket_over_two_places_kills_on_either_alone(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) { /* the lower place or the higher one, named first or second */
        uint64_t hit_addr = i & 1 ? 0x9000 : 0x5000, other_addr = i & 1 ? 0x5000 : 0x9000;
        struct emu_block hit, beside;
        struct pgl_store store;
        struct emu emu;

        emu_init(&emu);
        emu_link(&emu, &hit, hit_addr, hit_addr + 3);
        emu_link(&emu, &beside, other_addr + 0x800, other_addr + 0x803);
        assert_int_equal(pgl_store_begin_pair(&store, emu.table, i & 2 ? hit_addr : other_addr, 4,
                                              i & 2 ? other_addr : hit_addr, 4, NULL),
                         PGL_HIT);
        assert_false(emu_is_live(&hit));
        assert_true(emu_is_live(&beside));
        pgl_store_end(&store);
        emu_fini(&emu);
    }
}

/* Places that share pages: one within the other, one behind the other on a page, and a gap between them. */
static void test_store_bracket_locks_a_page_of_both_places_once(void **state)
{
    static const struct {
        uint64_t addr, len, addr2, len2, first, last, gap;
    } places[] = {
        {0x5000, 0x4000, 0x6800, 8, 5, 8, 0}, {0x6800, 8, 0x5000, 0x4000, 5, 8, 0}, {0x5ffc, 8, 0x6800, 8, 5, 6, 0},
        {0x6800, 8, 0x5ffc, 8, 5, 6, 0},      {0x5000, 1, 0x5000, 1, 5, 5, 0},      {0x5ffc, 8, 0x8ffc, 8, 5, 9, 7},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
        struct pgl_store store;
        struct emu emu;

        emu_init(&emu);
        assert_int_equal(pgl_store_begin_pair(&store, emu.table, places[i].addr, places[i].len, places[i].addr2,
                                              places[i].len2, NULL),
                         0);
        for (uint64_t index = places[i].first - 1; index <= places[i].last + 1; index++) {
            assert_int_equal(emu_is_locked(&emu, index),
                             index >= places[i].first && index <= places[i].last && index != places[i].gap);
        }
        pgl_store_end(&store);
        emu_assert_sound(&emu);
        emu_fini(&emu);
    }
}

static void test_store_bracket_of_two_places_may_have_one_or_none(void **state)
{
    struct pgl_store store;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    assert_non_null(pgl_page_get(emu.table, 5));
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pgl_store_begin_pair(&store, emu.table, 0x5000, i & 1, 0x9000, i >> 1, NULL), 0);
        assert_int_equal(emu_is_locked(&emu, 5), i & 1);
        assert_int_equal(emu_is_locked(&emu, 9), i >> 1);
        pgl_store_end(&store);
    }
    emu_fini(&emu);
}

static void test_store_bracket_refuses_either_place_beyond_the_table(void **state)
{
    struct emu_block block;
    struct pgl_store store;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &block, 0x5000, 0x5003);
    for (unsigned second = 0; second < 2; second++) {
        uint64_t beyond = UINT64_C(1) << 48;

        errno = 0;
        assert_int_equal(
            pgl_store_begin_pair(&store, emu.table, second ? 0x5000 : beyond, 1, second ? beyond : 0x5000, 1, NULL),
            PGL_ERROR);
        assert_int_equal(errno, EINVAL);
        assert_true(emu_is_live(&block));
        assert_false(emu_is_locked(&emu, 5));
    }
    emu_fini(&emu);
}

/* A block that is on another page too dies before the bracket holds its own pages. */
static void test_store_bracket_over_two_places_kills_blocks_that_cross(void **state)
{
    struct emu_block down, up, between;
    struct pgl_store store;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link2(&emu, &down, 0x9ff0, 0x9fff, 0x3000, 0x3003);
    emu_link2(&emu, &up, 0x5ff0, 0x5fff, 0xb000, 0xb003);
    emu_link2(&emu, &between, 0x9f00, 0x9f0f, 0x5f00, 0x5f03);
    assert_int_equal(pgl_store_begin_pair(&store, emu.table, 0x5ff8, 1, 0x9ff8, 1, NULL), PGL_HIT);
    assert_false(emu_is_live(&down));
    assert_false(emu_is_live(&up));
    assert_true(emu_is_live(&between));
    assert_false(emu_is_locked(&emu, 3));
    assert_true(emu_is_locked(&emu, 5));
    assert_true(emu_is_locked(&emu, 9));
    assert_false(emu_is_locked(&emu, 11));
    pgl_store_end(&store);
    emu_assert_sound(&emu);
    emu_fini(&emu);
}

static void test_store_bracket_tells_of_a_running_block_that_another_killed(void **state)
{
    struct emu_block running, beside;
    struct pgl_store store;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &running, 0x5000, 0x5003);
    emu_link(&emu, &beside, 0x6000, 0x6003);
    assert_int_equal(pgl_store_begin(&store, emu.table, 0x6800, 8, &running.tb), 0);
    pgl_store_end(&store);
    pgl_invalidate_page(emu.table, 5, NULL);
    for (uint64_t addr = 0x6800; addr <= 0x6ffc; addr += 0x7fc) { /* on one page, and on two */
        assert_int_equal(pgl_store_begin(&store, emu.table, addr, 8, &running.tb), PGL_RUNNING_DEAD);
        pgl_store_end(&store);
        assert_int_equal(pgl_store_begin_pair(&store, emu.table, addr, 8, 0x9000, 8, &running.tb), PGL_RUNNING_DEAD);
        pgl_store_end(&store);
    }
    emu_fini(&emu);
}

/* ---- filters ---- */

enum { MANY = 64 };

static void link_many(struct emu *emu, struct emu_block *blocks)
{
    for (uint64_t i = 0; i < MANY; i++) {
        emu_link(emu, &blocks[i], 0x5000 + 8 * i, 0x5003 + 8 * i);
    }
}

static bool count_walk(struct pgl_tb *tb, void *opaque)
{
    (void)tb;
    ++*(unsigned *)opaque;
    return true;
}

/*
 * A list that is damaged is not noticed, because it is not walked. The link behind the first block is turned back onto
 * that block: a walk would never end.
 */
static void test_store_bracket_walks_no_list_when_the_filters_rule_the_store_out(void **state)
{
    struct emu_block blocks[MANY];
    struct pgl_store store;
    unsigned n = 0;
    struct emu emu;
    uintptr_t link;

    (void)state;
    if (pgl_has_lock_debug()) { /* its witness walks lists to check them */
        return;
    }
    emu_init(&emu);
    link_many(&emu, blocks);
    for (unsigned i = 0; i < 10; i++) { /* between two blocks: the page gets its exact map */
        assert_int_equal(pgl_store_begin(&store, emu.table, 0x5104, 4, NULL), 0);
        pgl_store_end(&store);
    }
    assert_int_equal(emu_stats(&emu).hot_pages, 1);
    link = blocks[MANY - 1].tb.span.next;
    blocks[MANY - 1].tb.span.next = (uintptr_t)&blocks[MANY - 1].tb;
    assert_int_equal(pgl_store_begin(&store, emu.table, 0x5f00, 8, NULL), 0); /* by the mask */
    pgl_store_end(&store);
    assert_int_equal(pgl_store_begin(&store, emu.table, 0x5104, 4, NULL), 0); /* by the map */
    pgl_store_end(&store);
    blocks[MANY - 1].tb.span.next = link;
    pgl_page_lock(emu.table, pgl_page_find(emu.table, 5));
    pgl_page_foreach_tb(emu.table, pgl_page_find(emu.table, 5), count_walk, &n);
    pgl_page_unlock(emu.table, pgl_page_find(emu.table, 5));
    assert_int_equal(n, MANY);
    emu_fini(&emu);
}

/* A page whose filter stands for more than a byte a bit cannot rule out a store beside a block. */
static void test_store_bracket_begins_beside_a_block_that_no_filter_tells_apart(void **state)
{
    struct emu_block block;
    struct pgl_store store;
    struct emu emu;

    (void)state;
    emu_init_bits(&emu, 21, 48);
    emu_link(&emu, &block, 0x200000, 0x200003);
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(pgl_store_begin(&store, emu.table, 0x200004, 4, NULL), 0);
        assert_true(emu_is_locked(&emu, 1));
        pgl_store_end(&store);
    }
    assert_int_equal(pgl_store_begin_pair(&store, emu.table, 0x200004, 4, 0x200003, 1, NULL), PGL_HIT);
    pgl_store_end(&store);
    assert_false(emu_is_live(&block));
    emu_fini(&emu);
}

struct begin_call {
    struct emu_call call;
    struct pgl_store store;
    uint64_t addr, addr2;
    int answer;
};

static void begin_and_end(struct emu *emu, void *arg)
{
    struct begin_call *call = arg;

    call->answer = pgl_store_begin_pair(&call->store, emu->table, call->addr, 1, call->addr2, 1, NULL);
    pgl_store_end(&call->store);
}

/* Two threads whose places are in opposite order take the pages in one order. */
static void test_store_bracket_locks_in_ascending_order_whatever_its_places_are(void **state)
{
    struct begin_call call = {.addr = 0x9000, .addr2 = 0x5000};
    struct emu_holder holder;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    assert_non_null(pgl_page_get(emu.table, 9));
    emu_hold(&holder, &emu, 5);
    emu_call(&call.call, &emu, begin_and_end, &call);
    assert_true(emu_is_stuck(&call.call));
    assert_false(emu_is_locked(&emu, 9));
    emu_release(&holder);
    emu_join(&call.call);
    assert_int_equal(call.answer, 0);
    emu_fini(&emu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_store_bracket_over_two_places_kills_on_both),
        cmocka_unit_test(test_store_bracket_over_two_places_kills_on_either_alone),
        cmocka_unit_test(test_store_bracket_locks_a_page_of_both_places_once),
        cmocka_unit_test(test_store_bracket_of_two_places_may_have_one_or_none),
        cmocka_unit_test(test_store_bracket_refuses_either_place_beyond_the_table),
        cmocka_unit_test(test_store_bracket_over_two_places_kills_blocks_that_cross),
        cmocka_unit_test(test_store_bracket_tells_of_a_running_block_that_another_killed),
        cmocka_unit_test(test_store_bracket_walks_no_list_when_the_filters_rule_the_store_out),
        cmocka_unit_test(test_store_bracket_begins_beside_a_block_that_no_filter_tells_apart),
        cmocka_unit_test(test_store_bracket_locks_in_ascending_order_whatever_its_places_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
