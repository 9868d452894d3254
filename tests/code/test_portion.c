/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Kills in portions: floods, arrays of blocks, and blocks that a predicate chooses. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "emu.h"

enum {
    PORTION = 512, /* the blocks of a portion, at most */
};

/* Link @n blocks on page 5, each 16 bytes long. */
static struct emu_block *link_many(struct emu *emu, unsigned n)
{
    struct emu_block *blocks = aligned_alloc(_Alignof(struct emu_block), n * sizeof(*blocks));

    for (unsigned i = 0; i < n; i++) {
        emu_link(emu, &blocks[i], 0x5000 + i % 255 * 16, 0x500f + i % 255 * 16);
    }
    return blocks;
}

static struct pgl_tb **all_of(struct emu_block *blocks, unsigned n)
{
    struct pgl_tb **tbs = calloc(n, sizeof(struct pgl_tb *));

    for (unsigned i = 0; i < n; i++) {
        tbs[i] = &blocks[i].tb;
    }
    return tbs;
}

/* Let no chain be longer than a portion. */
static void assert_short(struct emu *emu, struct pgl_tb *chain)
{
    unsigned n = 0;

    for (; chain; chain = pgl_tb_chain_next(chain)) {
        n++;
    }
    assert_in_range(n, 1, PORTION);
    *(unsigned *)emu->arg = n;
}

static bool yes(const struct pgl_tb *tb, void *arg)
{
    (void)tb, (void)arg;
    return true;
}

static void check_sizes(unsigned kind)
{
    static const unsigned sizes[] = {1, PORTION - 1, PORTION, PORTION + 1, 2 * PORTION, 2 * PORTION + 1};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        unsigned n = sizes[i], last_chain;
        struct emu_block *blocks;
        struct pgl_tb **tbs;
        struct emu emu;
        int answer = 0;

        emu_init(&emu);
        blocks = link_many(&emu, n);
        tbs = all_of(blocks, n);
        emu.arg = &last_chain;
        emu.at_retired = assert_short;
        switch (kind) {
        case 0:
            answer = pgl_flush(emu.table, NULL);
            break;
        case 1:
            answer = pgl_invalidate_page(emu.table, 5, NULL);
            break;
        case 2:
            answer = pgl_invalidate_tbs(emu.table, tbs, n, NULL);
            break;
        case 3:
            answer = pgl_invalidate_if(emu.table, 0x5000, 0x5fff, yes, NULL, NULL);
            break;
        }
        assert_int_equal(answer, PGL_HIT);
        assert_int_equal(emu.n_retired, (n + PORTION - 1) / PORTION);
        assert_int_equal(last_chain, (n - 1) % PORTION + 1);
        assert_int_equal(emu.n_retired_blocks, n);
        assert_int_equal(emu.n_no_code, 1);
        assert_int_equal(emu_mask(&emu, 5), 0);
        emu_fini(&emu);
        free(tbs);
        free(blocks);
    }
}

static void test_portion_of_a_flush_is_bounded(void **state)
{
    (void)state;
    check_sizes(0);
}

static void test_portion_of_a_page_is_bounded(void **state)
{
    (void)state;
    check_sizes(1);
}

static void test_portion_of_an_array_is_bounded(void **state)
{
    (void)state;
    check_sizes(2);
}

static void test_portion_by_a_predicate_is_bounded(void **state)
{
    (void)state;
    check_sizes(3);
}

/* Pages of one leaf share a portion; pages of two leaves do not. */
static void test_portion_is_of_one_leaf(void **state)
{
    struct emu_block blocks[4];
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &blocks[0], 0, 3);
    emu_link(&emu, &blocks[1], 0x1ff000, 0x1ff003);
    emu_link(&emu, &blocks[2], 0x200000, 0x200003);
    emu_link(&emu, &blocks[3], 0x3ff000, 0x3ff003);
    assert_int_equal(pgl_flush(emu.table, NULL), PGL_HIT);
    assert_int_equal(emu.n_retired, 2);
    emu_fini(&emu);
}

static void assert_pages_of_all_held(struct emu *emu, struct pgl_tb *chain)
{
    for (; chain; chain = pgl_tb_chain_next(chain)) {
        for (unsigned which = 0; which < pgl_tb_count_extents(chain); which++) {
            assert_true(emu_is_locked(emu, pgl_tb_first_addr(chain, which) >> 12));
        }
    }
}

/* Blocks on other pages of all leaves, higher and lower. */
static void test_portion_holds_its_pages_before_a_block_dies(void **state)
{
    struct emu_block blocks[40];
    struct emu emu;

    (void)state;
    for (unsigned by_name = 0; by_name < 2; by_name++) {
        struct pgl_tb **tbs = all_of(blocks, 40);

        emu_init(&emu);
        for (uint64_t i = 0; i < 40; i++) {
            uint64_t other = (i * 7 % 5 << 21) + (i << 12);

            emu_link2(&emu, &blocks[i], 0x200000 + (i << 12), 0x200003 + (i << 12), other, other + 3);
        }
        emu.at_retired = assert_pages_of_all_held;
        if (by_name) {
            assert_int_equal(pgl_invalidate_tbs(emu.table, tbs, 40, NULL), PGL_HIT);
        } else {
            assert_int_equal(pgl_invalidate_range(emu.table, 0x200000, 0x3fffff, NULL), PGL_HIT);
        }
        assert_int_equal(emu.n_retired, 1);
        assert_int_equal(emu.n_retired_blocks, 40);
        emu_fini(&emu);
        free(tbs);
    }
}

/* A page loses some of its blocks in the first portion, and the others stay: its filters fit at the end. */
static void test_portion_narrows_a_page_that_it_left(void **state)
{
    const unsigned n = 2 * PORTION;
    struct emu_block *blocks, stays;
    struct pgl_tb **tbs;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &stays, 0x5ffc, 0x5fff);
    blocks = link_many(&emu, n);
    tbs = all_of(blocks, n);
    assert_int_equal(pgl_invalidate_tbs(emu.table, tbs, n, NULL), PGL_HIT);
    assert_true(emu_is_live(&stays));
    assert_int_equal(emu_mask(&emu, 5), UINT64_C(1) << 63);
    assert_int_equal(emu.n_no_code, 0);
    emu_fini(&emu);
    free(tbs);
    free(blocks);
}

/*
 * Three portions of blocks on page 5, each also on page @partner: those of one portion in one bit of its mask. Another
 * block stays on the partner.
 */
static void link_crossing(struct emu *emu, struct emu_block blocks[3 * PORTION], struct emu_block *stays,
                          uint64_t partner)
{
    emu_link(emu, stays, partner * 0x1000 + 0xffc, partner * 0x1000 + 0xfff);
    for (unsigned i = 0; i < 3 * PORTION; i++) {
        uint64_t addr = partner * 0x1000 + i / PORTION * 64;

        emu_link2(emu, &blocks[i], 0x5000 + i, 0x5000 + i, addr, addr + 3);
    }
}

struct partner {
    uint64_t index;
    unsigned n_wide; /* calls of `retired` that found its filters as before the first */
};

static void look_at_partner(struct emu *emu, struct pgl_tb *chain)
{
    struct partner *partner = emu->arg;

    (void)chain;
    partner->n_wide += emu_mask(emu, partner->index) == (UINT64_C(1) << 63 | 7);
}

/* Kill the blocks of page 5 as a page, or by name. Returns how often `retired` found the partner's filters wide. */
static unsigned kill_crossing(uint64_t index, bool by_name)
{
    struct emu_block *blocks = aligned_alloc(_Alignof(struct emu_block), 3 * PORTION * sizeof(*blocks)), stays;
    struct pgl_tb **tbs = all_of(blocks, 3 * PORTION);
    struct partner partner = {index, 0};
    struct emu emu;

    emu_init(&emu);
    link_crossing(&emu, blocks, &stays, index);
    emu.arg = &partner;
    emu.at_retired = look_at_partner;
    if (by_name) {
        assert_int_equal(pgl_invalidate_tbs(emu.table, tbs, 3 * PORTION, NULL), PGL_HIT);
    } else {
        assert_int_equal(pgl_invalidate_page(emu.table, 5, NULL), PGL_HIT);
    }
    assert_int_equal(emu.n_retired, 3);
    assert_true(emu_is_live(&stays));
    assert_int_equal(emu_mask(&emu, index), UINT64_C(1) << 63);
    emu_fini(&emu);
    free(tbs);
    free(blocks);
    return partner.n_wide;
}

/* A partner in the leaf of page 5, below or above it, or in another leaf. */
static const uint64_t partners[] = {3, 7, 1000};

static void test_portion_narrows_the_partner_of_a_page_that_it_left(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2 * sizeof(partners) / sizeof(*partners); i++) {
        kill_crossing(partners[i / 2], i % 2);
    }
}

/* No portion narrows it for itself, which would walk its list each time. */
static void test_portion_narrows_a_partner_once(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2 * sizeof(partners) / sizeof(*partners); i++) {
        assert_int_equal(kill_crossing(partners[i / 2], i % 2), 3);
    }
}

/* Another thread kills the rest of the page between two portions, if it gets there first. */
struct rest {
    struct emu_call call;
    bool called;
};

static void store_to_all(struct emu *emu, void *arg)
{
    (void)arg;
    for (uint64_t addr = 0x5000; addr < 0x6000; addr += 16) {
        pgl_store_check(emu->table, addr, 1, NULL);
    }
}

static void call_other(struct emu *emu, struct pgl_tb *chain)
{
    struct rest *rest = emu->arg;

    (void)chain;
    if (!rest->called) {
        rest->called = true;
        emu_call(&rest->call, emu, store_to_all, NULL);
        assert_true(emu_is_stuck(&rest->call));
    }
}

static void test_portion_leaves_the_rest_to_another_killer(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 20; round++) {
        const unsigned n = PORTION + 1 + round;
        struct emu_block *blocks;
        struct rest rest = {.called = false};
        struct emu emu;

        emu_init(&emu);
        blocks = link_many(&emu, n);
        emu.arg = &rest;
        emu.at_retired = call_other;
        assert_int_equal(pgl_flush(emu.table, NULL), PGL_HIT);
        emu_join(&rest.call);
        assert_int_equal(emu.n_retired_blocks, n);
        assert_int_equal(emu_mask(&emu, 5), 0);
        emu_fini(&emu);
        free(blocks);
    }
}

/* Between two portions another thread kills the last block of a page that the first portion has left wide. */
static void store_to_partner(struct emu *emu, void *arg)
{
    (void)arg;
    pgl_store_check(emu->table, 0x7ffc, 4, NULL);
}

static void call_at_second(struct emu *emu, struct pgl_tb *chain)
{
    struct rest *rest = emu->arg;

    (void)chain;
    if (emu->n_retired == 1 && !rest->called) {
        rest->called = true;
        emu_call(&rest->call, emu, store_to_partner, NULL);
        emu_join(&rest->call);
    }
}

static void test_portion_leaves_the_narrowing_to_another_killer(void **state)
{
    struct emu_block *blocks, crossing, stays;
    struct rest rest = {.called = false};
    struct emu emu;

    (void)state;
    emu_init(&emu);
    blocks = link_many(&emu, 2 * PORTION);
    emu_link2(&emu, &crossing, 0x5ff8, 0x5ffb, 0x7000, 0x7003); /* the latest: the first that a portion meets */
    emu_link(&emu, &stays, 0x7ffc, 0x7fff);
    emu.arg = &rest;
    emu.at_retired = call_at_second;
    assert_int_equal(pgl_invalidate_page(emu.table, 5, NULL), PGL_HIT);
    assert_true(rest.called);
    assert_false(emu_is_live(&stays));
    assert_int_equal(emu_mask(&emu, 7), 0);
    emu_fini(&emu); /* finds the crossing flag as it should be */
    free(blocks);
}

/* ---- ranges and the filters ---- */

static void test_range_that_meets_no_code_waits_for_nobody(void **state)
{
    struct emu_holder holder;
    struct emu_block block;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &block, 0x5000, 0x5003);
    emu_hold(&holder, &emu, 5);
    assert_int_equal(pgl_invalidate_range(emu.table, 0, 0x4fff, NULL), 0);
    assert_int_equal(pgl_invalidate_range(emu.table, 0x6000, UINT64_C(1) << 40, NULL), 0);
    emu_release(&holder);
    assert_int_equal(pgl_invalidate_range(emu.table, 0x5800, 0x6fff, NULL), 0);
    assert_true(emu_is_live(&block));
    emu_fini(&emu);
}

/* ---- arrays ---- */

static void test_invalidate_tbs_kills_those_of_the_array_only(void **state)
{
    struct emu_block blocks[30];
    struct pgl_tb *tbs[10];
    struct emu emu;

    (void)state;
    emu_init(&emu);
    for (uint64_t i = 0; i < 30; i++) {
        emu_link2(&emu, &blocks[i], 0x5000 + 16 * i, 0x500f + 16 * i, (i << 21) + 0x800, (i << 21) + 0x803);
        if (i % 3 == 0) {
            tbs[i / 3] = &blocks[i].tb;
        }
    }
    assert_int_equal(pgl_invalidate_tbs(emu.table, tbs, 10, &blocks[3].tb), PGL_HIT | PGL_RUNNING_DEAD);
    for (unsigned i = 0; i < 30; i++) {
        assert_int_equal(emu_is_live(&blocks[i]), i % 3 != 0);
        assert_int_equal(blocks[i].retired, i % 3 == 0);
    }
    emu_fini(&emu);
}

static void test_invalidate_tbs_takes_none_one_twice_and_dead_ones(void **state)
{
    struct emu_block block, dead, fresh;
    struct pgl_tb *tbs[] = {&fresh.tb, &dead.tb, &block.tb, &block.tb, &dead.tb};
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &block, 0x5000, 0x5003);
    emu_link(&emu, &dead, 0x5000, 0x5003);
    assert_int_equal(pgl_invalidate_tb(emu.table, &dead.tb, NULL), PGL_HIT);
    assert_int_equal(pgl_invalidate_tbs(emu.table, tbs, 0, NULL), 0);
    assert_int_equal(pgl_invalidate_tbs(emu.table, tbs, 0, &dead.tb), PGL_RUNNING_DEAD);
    assert_true(emu_is_live(&block));
    if (!pgl_has_lock_debug()) { /* which reports it */
        emu_init_block(&fresh, 0x5000, 0x5003);
        assert_int_equal(pgl_invalidate_tbs(emu.table, tbs, 1, NULL), 0);
        assert_int_equal(fresh.tb.state, PGL_TB_NEW);
    }
    assert_int_equal(pgl_invalidate_tbs(emu.table, tbs + 1, 4, NULL), PGL_HIT);
    assert_int_equal(pgl_invalidate_tbs(emu.table, tbs + 1, 4, NULL), 0);
    assert_int_equal(block.retired, 1);
    assert_int_equal(dead.retired, 1);
    emu_fini(&emu);
}

static void test_invalidate_tbs_kills_blocks_on_no_page(void **state)
{
    struct emu_block blocks[4];
    struct pgl_tb **tbs = all_of(blocks, 4);
    struct emu emu;

    (void)state;
    emu_init(&emu);
    for (unsigned i = 0; i < 4; i++) {
        memset(&blocks[i], 0, sizeof(blocks[i]));
        if (i % 2) {
            pgl_tb_init(&blocks[i].tb);
            pgl_tb_link_unlisted(emu.table, &blocks[i].tb);
        } else {
            emu_link(&emu, &blocks[i], 0x5000, 0x5003);
        }
    }
    assert_int_equal(pgl_invalidate_tbs(emu.table, tbs, 4, NULL), PGL_HIT);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(blocks[i].retired, 1);
    }
    emu_fini(&emu);
    free(tbs);
}

static void wait_for_go(struct emu *emu, struct pgl_tb *chain)
{
    (void)chain;
    while (!__atomic_load_n((unsigned *)emu->arg, __ATOMIC_ACQUIRE)) {
        usleep(100);
    }
}

static void kill_array(struct emu *emu, void *arg)
{
    struct emu_block *block = arg;
    struct pgl_tb *tb = &block->tb;

    pgl_invalidate_tbs(emu->table, &tb, 1, NULL);
    block->key = __atomic_load_n(&block->retired, __ATOMIC_ACQUIRE);
}

static void kill_one(struct emu *emu, void *arg)
{
    pgl_invalidate_tb(emu->table, &((struct emu_block *)arg)->tb, NULL);
}

static void test_invalidate_tbs_returns_only_after_anothers_retired(void **state)
{
    struct emu_call first, second;
    struct emu_block block;
    unsigned go = 0;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu.arg = &go;
    emu.at_retired = wait_for_go;
    emu_link2(&emu, &block, 0x5ff0, 0x5fff, 0x3000, 0x3003);
    emu_call(&first, &emu, kill_one, &block);
    EMU_WAIT_UNTIL(!emu_is_live(&block));
    emu_call(&second, &emu, kill_array, &block);
    assert_true(emu_is_stuck(&second));
    __atomic_store_n(&go, 1, __ATOMIC_RELEASE);
    emu_join(&first);
    emu_join(&second);
    assert_int_equal(block.key, 1);
    emu_fini(&emu);
}

/* A block that has been evicted and is linked again is no longer chosen. */
static void test_invalidate_tbs_forgets_a_block_that_is_made_new(void **state)
{
    struct emu_block block, other;
    struct pgl_tb *tbs[] = {&block.tb, &other.tb};
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &block, 0x5000, 0x5003);
    assert_int_equal(pgl_invalidate_tbs(emu.table, tbs, 1, NULL), PGL_HIT);
    emu_link(&emu, &block, 0x5000, 0x5003);
    emu_link(&emu, &other, 0x5000, 0x5003);
    assert_int_equal(pgl_invalidate_tbs(emu.table, tbs + 1, 1, NULL), PGL_HIT);
    assert_true(emu_is_live(&block));
    emu_fini(&emu);
}

/* ---- predicates ---- */

struct asked {
    struct emu *emu;
    unsigned n;
};

static bool is_odd(const struct pgl_tb *tb, void *arg)
{
    struct asked *asked = arg;

    assert_true(pgl_tb_is_live(tb));
    assert_true(emu_is_locked(asked->emu, pgl_tb_first_addr(tb, 0) >> 12));
    asked->n++;
    return pgl_tb_first_addr(tb, 0) / 16 % 2;
}

static void test_invalidate_if_kills_those_that_the_predicate_chooses(void **state)
{
    struct emu_block blocks[100];
    struct asked asked;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    asked = (struct asked){.emu = &emu};
    for (unsigned i = 0; i < 100; i++) {
        emu_link(&emu, &blocks[i], 0x5f00 + 16 * i, 0x5f0f + 16 * i);
    }
    assert_int_equal(pgl_invalidate_if(emu.table, 0x5f80, 0x637f, is_odd, &asked, &blocks[9].tb),
                     PGL_HIT | PGL_RUNNING_DEAD);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(emu_is_live(&blocks[i]), !(i >= 8 && i < 72 && i % 2));
    }
    assert_int_equal(asked.n, 64);
    assert_int_equal(pgl_invalidate_if(emu.table, 0x5f80, 0x637f, is_odd, &asked, NULL), 0);
    assert_int_equal(asked.n, 64 + 32);
    emu_fini(&emu);
}

/* Two extents of each block are seen on the page, and a portion is full of blocks, not of extents. */
static void test_invalidate_if_asks_about_all_blocks_with_two_extents(void **state)
{
    enum { N = PORTION + 88 };
    struct emu_block *blocks = aligned_alloc(_Alignof(struct emu_block), N * sizeof(*blocks));
    struct emu emu;

    (void)state;
    emu_init(&emu);
    for (unsigned i = 0; i < N; i++) {
        emu_link2(&emu, &blocks[i], 0x5000 + i, 0x5000 + i, 0x5800 + i, 0x5800 + i);
    }
    assert_int_equal(pgl_invalidate_if(emu.table, 0x5000, 0x5fff, yes, NULL, NULL), PGL_HIT);
    assert_int_equal(emu_count(&emu, 5), 0);
    emu_fini(&emu);
    free(blocks);
}

static void test_portion_of_a_part_of_a_page_is_bounded(void **state)
{
    enum { N = 8 * PORTION };
    struct emu_block *blocks = aligned_alloc(_Alignof(struct emu_block), N * sizeof(*blocks));
    struct emu emu;
    unsigned last_chain;

    (void)state;
    emu_init(&emu);
    emu.arg = &last_chain;
    emu.at_retired = assert_short;
    for (unsigned i = 0; i < N; i++) {
        uint64_t addr = (i % 2 ? 0x5000 : 0x5800) + i / 2 % 2048;

        emu_link(&emu, &blocks[i], addr, addr);
    }
    assert_int_equal(pgl_invalidate_range(emu.table, 0x5000, 0x57ff, NULL), PGL_HIT);
    assert_int_equal(emu_count(&emu, 5), N / 2);
    emu.at_retired = NULL;
    emu_fini(&emu);
    free(blocks);
}

static void test_invalidate_if_refuses_bad_ranges_and_no_predicate(void **state)
{
    struct emu emu;

    (void)state;
    emu_init(&emu);
    errno = 0;
    assert_int_equal(pgl_invalidate_if(emu.table, 0, 1, NULL, NULL, NULL), PGL_ERROR);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(pgl_invalidate_if(emu.table, 1, 0, yes, NULL, NULL), PGL_ERROR);
    assert_int_equal(pgl_invalidate_if(emu.table, 0, UINT64_C(1) << 48, yes, NULL, NULL), PGL_ERROR);
    emu_fini(&emu);
}

/* Count the questions, and choose every @step'th block of page 5. */
struct census {
    const struct emu_block *blocks;
    unsigned step, asked;
};

static bool is_every(const struct pgl_tb *tb, void *arg)
{
    struct census *census = arg;

    census->asked++;
    return (size_t)((const struct emu_block *)tb - census->blocks) % census->step == 0;
}

/* The time to evict chosen blocks grows with the length of the list, and not with its product by their number. */
static void test_portion_walks_of_chosen_blocks_grow_with_the_list(void **state)
{
    enum { N = 8192 };

    (void)state;
    for (unsigned step = 1; step <= 128; step *= 2) {
        struct pgl_tb *tbs[N];
        struct emu_block *blocks;
        struct census census = {.step = step};
        struct emu emu;

        emu_init(&emu);
        blocks = link_many(&emu, N);
        for (unsigned i = 0; i < N / step; i++) {
            tbs[i] = &blocks[i * step].tb;
        }
        assert_int_equal(pgl_invalidate_tbs(emu.table, tbs, N / step, NULL), PGL_HIT);
        assert_int_equal(emu.n_retired_blocks, N / step);
        assert_in_range(emu.n_retired, 1, N / PORTION);
        pgl_flush(emu.table, NULL);
        emu_fini(&emu);
        free(blocks);

        emu_init(&emu);
        blocks = link_many(&emu, N);
        census.blocks = blocks;
        assert_int_equal(pgl_invalidate_if(emu.table, 0x5000, 0x5fff, is_every, &census, NULL), PGL_HIT);
        assert_int_equal(emu.n_retired_blocks, N / step);
        assert_in_range(census.asked, N, 3 * N);
        emu_fini(&emu);
        free(blocks);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_portion_of_a_flush_is_bounded),
        cmocka_unit_test(test_portion_of_a_page_is_bounded),
        cmocka_unit_test(test_portion_of_an_array_is_bounded),
        cmocka_unit_test(test_portion_by_a_predicate_is_bounded),
        cmocka_unit_test(test_portion_is_of_one_leaf),
        cmocka_unit_test(test_portion_holds_its_pages_before_a_block_dies),
        cmocka_unit_test(test_portion_narrows_a_page_that_it_left),
        cmocka_unit_test(test_portion_narrows_the_partner_of_a_page_that_it_left),
        cmocka_unit_test(test_portion_narrows_a_partner_once),
        cmocka_unit_test(test_portion_leaves_the_rest_to_another_killer),
        cmocka_unit_test(test_portion_leaves_the_narrowing_to_another_killer),
        cmocka_unit_test(test_range_that_meets_no_code_waits_for_nobody),
        cmocka_unit_test(test_invalidate_tbs_kills_those_of_the_array_only),
        cmocka_unit_test(test_invalidate_tbs_takes_none_one_twice_and_dead_ones),
        cmocka_unit_test(test_invalidate_tbs_kills_blocks_on_no_page),
        cmocka_unit_test(test_invalidate_tbs_returns_only_after_anothers_retired),
        cmocka_unit_test(test_invalidate_tbs_forgets_a_block_that_is_made_new),
        cmocka_unit_test(test_invalidate_if_kills_those_that_the_predicate_chooses),
        cmocka_unit_test(test_invalidate_if_asks_about_all_blocks_with_two_extents),
        cmocka_unit_test(test_portion_of_a_part_of_a_page_is_bounded),
        cmocka_unit_test(test_portion_walks_of_chosen_blocks_grow_with_the_list),
        cmocka_unit_test(test_invalidate_if_refuses_bad_ranges_and_no_predicate),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
