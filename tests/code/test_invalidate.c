/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "emu.h"

/* ---- one block ---- */

static void test_invalidate_tb_kills_once(void **state)
{
    struct emu_block block;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link2(&emu, &block, 0x5ff0, 0x5fff, 0x3000, 0x3003);
    assert_int_equal(pgl_invalidate_tb(emu.table, &block.tb, NULL), PGL_HIT);
    assert_int_equal(pgl_invalidate_tb(emu.table, &block.tb, NULL), 0);
    assert_int_equal(pgl_invalidate_tb(emu.table, &block.tb, &block.tb), PGL_RUNNING_DEAD);
    assert_int_equal(block.retired, 1);
    emu_fini(&emu);
}

static void test_invalidate_tb_leaves_the_others(void **state)
{
    struct emu_block blocks[5];
    struct emu emu;

    (void)state;
    for (unsigned victim = 0; victim < 5; victim++) {
        emu_init(&emu);
        emu_link(&emu, &blocks[0], 0x5000, 0x5003);
        emu_link2(&emu, &blocks[1], 0x5ff0, 0x5fff, 0x6000, 0x6003);
        emu_link(&emu, &blocks[2], 0x5000, 0x5003);
        emu_link2(&emu, &blocks[3], 0x6ff0, 0x6fff, 0x5000, 0x5003);
        emu_link2(&emu, &blocks[4], 0x5ff0, 0x5fff, 0x6000, 0x6003);
        pgl_invalidate_tb(emu.table, &blocks[victim].tb, NULL);
        for (unsigned i = 0; i < 5; i++) {
            assert_int_equal(emu_is_live(&blocks[i]), i != victim);
        }
        emu_fini(&emu);
    }
}

struct killing {
    struct emu_call call;
    struct emu_block *block;
    int answer;
    unsigned retired_at_return;
};

static void kill(struct emu *emu, void *arg)
{
    struct killing *killing = arg;

    killing->answer = pgl_invalidate_tb(emu->table, &killing->block->tb, NULL);
    killing->retired_at_return = __atomic_load_n(&killing->block->retired, __ATOMIC_ACQUIRE);
}

static void wait_for_go(struct emu *emu, struct pgl_tb *chain)
{
    (void)chain;
    while (!__atomic_load_n((unsigned *)emu->arg, __ATOMIC_ACQUIRE)) {
        usleep(100);
    }
}

static void test_invalidate_tb_returns_only_after_anothers_retired(void **state)
{
    struct killing first, second;
    struct emu_block block;
    unsigned go = 0;
    struct emu emu;

    (void)state;
    for (unsigned unlisted = 0; unlisted < 2; unlisted++) {
        emu_init(&emu);
        go = 0;
        emu.arg = &go;
        emu.at_retired = wait_for_go;
        if (unlisted) {
            memset(&block, 0, sizeof(block));
            pgl_tb_init(&block.tb);
            pgl_tb_link_unlisted(emu.table, &block.tb);
        } else {
            emu_link2(&emu, &block, 0x5ff0, 0x5fff, 0x3000, 0x3003);
        }
        first.block = second.block = &block;
        emu_call(&first.call, &emu, kill, &first);
        EMU_WAIT_UNTIL(!emu_is_live(&block));
        emu_call(&second.call, &emu, kill, &second);
        assert_true(emu_is_stuck(&second.call));
        __atomic_store_n(&go, 1, __ATOMIC_RELEASE);
        emu_join(&first.call);
        emu_join(&second.call);
        assert_int_equal(first.answer, PGL_HIT);
        assert_int_equal(second.answer, 0);
        assert_int_equal(first.retired_at_return, 1);
        assert_int_equal(second.retired_at_return, 1);
        emu_fini(&emu);
    }
}

/* Each block has its own word of @go, by its key. */
static void wait_for_its_go(struct emu *emu, struct pgl_tb *chain)
{
    unsigned *go = emu->arg;

    while (!__atomic_load_n(&go[((struct emu_block *)chain)->key], __ATOMIC_ACQUIRE)) {
        usleep(100);
    }
}

/*
 * Blocks on no page are being retired, by threads that wait for something of this thread's. Another one dies meanwhile.
 * The first is done first, and a second kill of the other one still waits.
 */
static void test_invalidate_tb_on_no_page_waits_for_no_other_block(void **state)
{
    struct emu_block blocks[3];
    struct killing killing[3], again = {.block = &blocks[1]};
    unsigned go[3] = {0, 0, 1};
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu.arg = go;
    emu.at_retired = wait_for_its_go;
    memset(blocks, 0, sizeof(blocks));
    for (unsigned i = 0; i < 3; i++) {
        blocks[i].key = i;
        pgl_tb_init(&blocks[i].tb);
        pgl_tb_link_unlisted(emu.table, &blocks[i].tb);
        killing[i].block = &blocks[i];
    }
    for (unsigned i = 0; i < 2; i++) {
        emu_call(&killing[i].call, &emu, kill, &killing[i]);
        EMU_WAIT_UNTIL(!emu_is_live(&blocks[i]));
    }
    assert_int_equal(pgl_invalidate_tb(emu.table, &blocks[2].tb, NULL), PGL_HIT);
    assert_int_equal(blocks[2].retired, 1);
    assert_false(emu_has_returned(&killing[0].call));
    __atomic_store_n(&go[0], 1, __ATOMIC_RELEASE);
    emu_join(&killing[0].call);
    emu_call(&again.call, &emu, kill, &again);
    assert_true(emu_is_stuck(&again.call));
    __atomic_store_n(&go[1], 1, __ATOMIC_RELEASE);
    emu_join(&killing[1].call);
    emu_join(&again.call);
    assert_int_equal(killing[0].answer, PGL_HIT);
    assert_int_equal(killing[1].answer, PGL_HIT);
    assert_int_equal(again.answer, 0);
    assert_int_equal(again.retired_at_return, 1);
    emu_fini(&emu);
}

static void test_invalidate_tb_claims_only_with_all_pages_held(void **state)
{
    static const uint64_t busy[] = {3, 5};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct emu_holder holder;
        struct emu_block block;
        struct killing killing = {.block = &block};
        struct emu emu;

        emu_init(&emu);
        emu_link2(&emu, &block, 0x5ff0, 0x5fff, 0x3000, 0x3003);
        emu_hold(&holder, &emu, busy[i]);
        emu_call(&killing.call, &emu, kill, &killing);
        assert_true(emu_is_stuck(&killing.call));
        assert_true(emu_is_live(&block)); /* it would be skipped as dead while it can be found */
        emu_release(&holder);
        emu_join(&killing.call);
        assert_int_equal(killing.answer, PGL_HIT);
        emu_fini(&emu);
    }
}

struct range_call {
    struct emu_call call;
    uint64_t first, last;
    int answer;
};

static void kill_range(struct emu *emu, void *arg)
{
    struct range_call *range = arg;

    range->answer = pgl_invalidate_range(emu->table, range->first, range->last, NULL);
}

static void test_invalidate_range_claims_only_with_all_pages_held(void **state)
{
    struct range_call range = {.first = 0x5000, .last = 0x6fff};
    struct emu_block crossing, local;
    struct emu_holder holder;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &local, 0x5000, 0x5003);
    emu_link2(&emu, &crossing, 0x6ff0, 0x6fff, 0x9000, 0x9003);
    emu_hold(&holder, &emu, 9);
    emu_call(&range.call, &emu, kill_range, &range);
    assert_true(emu_is_stuck(&range.call));
    assert_true(emu_is_live(&local));
    assert_true(emu_is_live(&crossing));
    emu_release(&holder);
    emu_join(&range.call);
    assert_int_equal(range.answer, PGL_HIT);
    assert_int_equal(emu.n_retired, 1);
    assert_int_equal(emu.n_retired_blocks, 2);
    emu_fini(&emu);
}

/* ---- what a callback sees ---- */

static struct emu_block seen_block;

/* In `retired`: dead, off its lists, still covered by the filters, the pages held and trapped. */
static void dead_unlinked_and_covered(struct emu *emu, struct pgl_tb *chain)
{
    assert_ptr_equal(chain, &seen_block.tb);
    assert_null(pgl_tb_chain_next(chain));
    assert_false(pgl_tb_is_live(chain));
    assert_true(seen_block.findable);
    for (unsigned i = 0; i < 2; i++) {
        uint64_t index = pgl_tb_first_addr(&seen_block.tb, i) >> 12;

        if (pgl_tb_first_addr(&seen_block.tb, i) > pgl_tb_last_addr(&seen_block.tb, i)) {
            continue;
        }
        assert_true(emu_is_locked(emu, index));
        assert_true((pgl_page_find(emu->table, index)->head & ~(uintptr_t)15) == 0);
        assert_true(emu_mask(emu, index) != 0);
        assert_true(emu_code_bit(emu, index));
        assert_false(pgl_store_is_clean(emu->table, pgl_tb_first_addr(&seen_block.tb, i), 1));
    }
}

static void filters_are_narrow(struct emu *emu, uint64_t index)
{
    assert_int_equal(emu_mask(emu, index), 0);
    assert_false(emu_code_bit(emu, index));
    assert_true(emu_is_locked(emu, index));
    assert_int_equal(seen_block.retired, 1);
}

static int kill_by_name(struct emu *emu)
{
    return pgl_invalidate_tb(emu->table, &seen_block.tb, NULL);
}

static int kill_by_page(struct emu *emu)
{
    return pgl_invalidate_page(emu->table, 5, NULL);
}

static int kill_by_store(struct emu *emu)
{
    return pgl_store_check(emu->table, 0x5ff0, 1, NULL);
}

static int kill_by_flush(struct emu *emu)
{
    return pgl_flush(emu->table, NULL);
}

static void test_invalidate_order_is_claim_unlink_retired_narrow_untrap(void **state)
{
    int (*const ways[])(struct emu *) = {kill_by_name, kill_by_page, kill_by_store, kill_by_flush};

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        for (unsigned pages = 1; pages <= 2; pages++) {
            struct emu emu;

            emu_init(&emu);
            if (pages == 1) {
                emu_link(&emu, &seen_block, 0x5ff0, 0x5fff);
            } else {
                emu_link2(&emu, &seen_block, 0x5ff0, 0x5fff, 0x3000, 0x3003);
            }
            emu.at_retired = dead_unlinked_and_covered;
            emu.at_no_code = filters_are_narrow;
            emu_log(&emu);
            assert_int_equal(ways[i](&emu), PGL_HIT);
            assert_string_equal(emu_log(&emu), pages == 1 ? "retired 1, none 5" : "retired 1, none 3, none 5");
            emu_fini(&emu);
        }
    }
}

static void test_invalidate_untraps_a_page_with_its_last_block_only(void **state)
{
    struct emu_block a, b;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &a, 0x5000, 0x5003);
    emu_link2(&emu, &b, 0x5ff0, 0x5fff, 0x6000, 0x6003);
    emu_log(&emu);
    pgl_invalidate_tb(emu.table, &b.tb, NULL);
    assert_string_equal(emu_log(&emu), "retired 1, none 6");
    assert_true(emu_code_bit(&emu, 5));
    assert_true(emu_mask(&emu, 5) == 1);
    pgl_invalidate_tb(emu.table, &a.tb, NULL);
    assert_string_equal(emu_log(&emu), "retired 1, none 5");
    emu_fini(&emu);
}

static void test_invalidate_narrows_no_further_than_the_living(void **state)
{
    struct emu_block a, b, c;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &a, 0x5000, 0x50ff);
    emu_link(&emu, &b, 0x5080, 0x517f);
    emu_link2(&emu, &c, 0x5800, 0x5800, 0x5040, 0x5040);
    pgl_invalidate_tb(emu.table, &a.tb, NULL);
    assert_true(emu_mask(&emu, 5) == (2 | 0x3c | UINT64_C(1) << 32));
    pgl_invalidate_tb(emu.table, &c.tb, NULL);
    assert_true(emu_mask(&emu, 5) == 0x3c);
    emu_fini(&emu);
}

/* ---- ranges ---- */

static void test_invalidate_range_is_byte_exact_on_each_page(void **state)
{
    /* [0x5800, 0x7803]: the first page, one in between, the last one */
    static const struct {
        uint64_t first, last;
        bool dies;
    } blocks[] = {
        {0x57f0, 0x57ff, false}, {0x57f0, 0x5800, true},  {0x5800, 0x5800, true},  {0x5000, 0x5fff, true},
        {0x5fff, 0x5fff, true},  {0x6000, 0x6000, true},  {0x6fff, 0x6fff, true},  {0x7000, 0x7000, true},
        {0x7803, 0x7803, true},  {0x7803, 0x7900, true},  {0x7804, 0x7900, false}, {0x4000, 0x4fff, false},
        {0x8000, 0x8003, false}, {0x5000, 0x5003, false}, {0x7ff0, 0x7fff, false},
    };
    enum { N = sizeof(blocks) / sizeof(*blocks) };
    struct emu_block linked[N];
    struct emu emu;

    (void)state;
    emu_init(&emu);
    for (unsigned i = 0; i < N; i++) {
        emu_link(&emu, &linked[i], blocks[i].first, blocks[i].last);
    }
    assert_int_equal(pgl_invalidate_range(emu.table, 0x5800, 0x7803, NULL), PGL_HIT);
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(emu_is_live(&linked[i]), !blocks[i].dies);
    }
    emu_fini(&emu);
}

static void test_invalidate_range_tests_both_extents_of_a_page(void **state)
{
    struct emu_block tail, head;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link2(&emu, &tail, 0x5ff0, 0x5fff, 0x5000, 0x5007); /* wraps round on one page */
    emu_link2(&emu, &head, 0x6ff0, 0x6fff, 0x5100, 0x5107);
    assert_int_equal(pgl_invalidate_range(emu.table, 0x5008, 0x50ff, NULL), 0);
    assert_int_equal(pgl_invalidate_range(emu.table, 0x5004, 0x5004, NULL), PGL_HIT);
    assert_false(emu_is_live(&tail));
    assert_true(emu_is_live(&head));
    assert_int_equal(pgl_invalidate_range(emu.table, 0x5107, 0x5107, NULL), PGL_HIT);
    assert_false(emu_is_live(&head));
    emu_fini(&emu);
}

static void test_invalidate_range_leaves_what_meets_it_on_no_page(void **state)
{
    struct emu_block block;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link2(&emu, &block, 0x5ff0, 0x5fff, 0x3000, 0x3003);
    assert_int_equal(pgl_invalidate_range(emu.table, 0x3004, 0x5fef, NULL), 0); /* between its extents */
    assert_true(emu_is_live(&block));
    emu_fini(&emu);
}

static void test_invalidate_calls_retired_once(void **state)
{
    struct emu_block blocks[40];
    struct emu emu;

    (void)state;
    emu_init(&emu);
    for (unsigned i = 0; i < 40; i++) {
        emu_link2(&emu, &blocks[i], 0x5000 + 16 * i, 0x5003 + 16 * i, 0x10000 * (i + 1), 0x10000 * (i + 1));
    }
    assert_int_equal(pgl_invalidate_page(emu.table, 5, NULL), PGL_HIT);
    assert_int_equal(emu.n_retired, 1);
    assert_int_equal(emu.n_retired_blocks, 40);
    assert_null(emu.findable);
    emu_fini(&emu);
}

static void ignore_chain(struct pgl_tb *chain, void *opaque)
{
    for (; chain; chain = pgl_tb_chain_next(chain)) {
        ++*(unsigned *)opaque;
    }
}

/* Were the list read once a victim, this would take minutes. */
static void test_invalidate_of_many_reads_a_list_once(void **state)
{
    enum { N = 200000 };
    struct emu_block *blocks = aligned_alloc(16, N * sizeof(*blocks));
    struct pgl_tb_ops ops = {.retired = ignore_chain};
    unsigned killed = 0;
    struct pgl_table_config config = {.page_bits = 12, .addr_bits = 48, .ops = &ops, .opaque = &killed};
    struct emu emu = {.table = pgl_table_new(&config)};

    (void)state;
    memset(blocks, 0, N * sizeof(*blocks));
    for (unsigned i = 0; i < N; i++) {
        pgl_tb_init(&blocks[i].tb);
        pgl_tb_set_bytes(&blocks[i].tb, 0, i % 2 ? 0x5800 : 0x5000, i % 2 ? 0x5803 : 0x5003);
        if (i % 4 < 2) { /* half of those that die are on another page too */
            pgl_tb_set_bytes(&blocks[i].tb, 1, 0x6000, 0x6003);
        }
        assert_int_equal(emu_translate(&emu, &blocks[i], NULL), PGL_BRACKET_OK);
    }
    assert_int_equal(pgl_store_check(emu.table, 0x5000, 1, NULL), PGL_HIT);
    assert_int_equal(killed, N / 2);
    assert_int_equal(pgl_invalidate_page(emu.table, 6, NULL), PGL_HIT);
    assert_int_equal(killed, N / 2 + N / 4);
    assert_int_equal(pgl_flush(emu.table, NULL), PGL_HIT);
    assert_int_equal(killed, N);
    emu_assert_sound(&emu);
    pgl_table_free(emu.table);
    free(blocks);
}

static void test_invalidate_that_hits_nothing_calls_nothing(void **state)
{
    struct emu_block block;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &block, 0x5000, 0x5003);
    emu_log(&emu);
    assert_int_equal(pgl_invalidate_range(emu.table, 0x5004, 0x5fff, NULL), 0);
    assert_int_equal(pgl_invalidate_range(emu.table, 0x6000, 0xffffff, NULL), 0);
    assert_int_equal(pgl_invalidate_page(emu.table, 6, NULL), 0);
    assert_string_equal(emu_log(&emu), "");
    emu_fini(&emu);
}

static void test_invalidate_page_is_that_page(void **state)
{
    struct emu_block below, first, last, above;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &below, 0x4fff, 0x4fff);
    emu_link(&emu, &first, 0x5000, 0x5000);
    emu_link(&emu, &last, 0x5fff, 0x5fff);
    emu_link(&emu, &above, 0x6000, 0x6000);
    assert_int_equal(pgl_invalidate_page(emu.table, 5, NULL), PGL_HIT);
    assert_true(emu_is_live(&below));
    assert_false(emu_is_live(&first));
    assert_false(emu_is_live(&last));
    assert_true(emu_is_live(&above));
    emu_fini(&emu);
}

static void test_invalidate_flush_kills_everything_listed(void **state)
{
    struct emu_block blocks[64];
    struct emu_random random = {emu_seed("flush")};
    struct emu emu;

    (void)state;
    emu_init_bits(&emu, 12, 64);
    for (unsigned i = 0; i < 64; i++) {
        uint64_t first = emu_random(&random) & ~UINT64_C(0xff), second = emu_random(&random) & ~UINT64_C(0xff);

        if (i == 0) { /* the top page alone, and the bottom one */
            first = UINT64_MAX - 0xff;
            second = first - 0x100;
        } else if (i == 1) {
            first = 0;
            second = 0x100;
        }
        emu_link2(&emu, &blocks[i], first, first + 0xff, second, second + 0xff);
    }
    assert_int_equal(pgl_flush(emu.table, NULL), PGL_HIT);
    assert_in_range(emu.n_retired, 2, 64); /* a leaf is a portion */
    assert_int_equal(emu.n_retired_blocks, 64);
    for (unsigned i = 0; i < 64; i++) {
        assert_int_equal(blocks[i].retired, 1);
    }
    assert_int_equal(pgl_flush(emu.table, NULL), 0);
    emu_fini(&emu);
}

static void test_invalidate_refuses_bad_ranges(void **state)
{
    struct emu emu;

    (void)state;
    emu_init(&emu);
    errno = 0;
    assert_int_equal(pgl_invalidate_range(emu.table, 6, 5, NULL), PGL_ERROR);
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_int_equal(pgl_invalidate_range(emu.table, 0, UINT64_C(1) << 48, NULL), PGL_ERROR);
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_int_equal(pgl_invalidate_page(emu.table, UINT64_C(1) << 36, NULL), PGL_ERROR);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(pgl_invalidate_range(emu.table, 0, (UINT64_C(1) << 48) - 1, NULL), 0);
    emu_fini(&emu);
}

static void test_invalidate_takes_the_top_page_of_64_bits(void **state)
{
    struct emu_block block;
    struct emu emu;

    (void)state;
    emu_init_bits(&emu, 12, 64);
    emu_link(&emu, &block, UINT64_MAX - 3, UINT64_MAX);
    assert_int_equal(pgl_invalidate_range(emu.table, UINT64_MAX - 0xfff, UINT64_MAX - 4, NULL), 0);
    assert_int_equal(pgl_invalidate_range(emu.table, UINT64_MAX, UINT64_MAX, NULL), PGL_HIT);
    emu_link(&emu, &block, UINT64_MAX - 3, UINT64_MAX);
    assert_int_equal(pgl_invalidate_page(emu.table, UINT64_MAX >> 12, NULL), PGL_HIT);
    emu_link(&emu, &block, UINT64_MAX - 3, UINT64_MAX);
    assert_int_equal(pgl_invalidate_range(emu.table, 0, UINT64_MAX, NULL), PGL_HIT);
    emu_fini(&emu);
}

/* Page by page, or leaf by leaf, these would take years. */
static void test_invalidate_of_nearly_nothing_follows_what_exists(void **state)
{
    struct emu_block block;
    struct emu emu;

    (void)state;
    emu_init_bits(&emu, 10, 64);
    for (unsigned i = 0; i < 100; i++) {
        emu_link2(&emu, &block, UINT64_MAX - 3, UINT64_MAX, 0x1000, 0x1003);
        assert_int_equal(pgl_invalidate_range(emu.table, 0x2000, UINT64_MAX - 4, NULL), 0);
        assert_int_equal(pgl_flush(emu.table, NULL), PGL_HIT);
    }
    emu_fini(&emu);
}

static void test_invalidate_waits_for_no_page_without_code(void **state)
{
    struct emu_holder holder;
    struct emu_block block;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &block, 0x5000, 0x5003);
    emu_hold(&holder, &emu, 6); /* would hang, were it locked */
    assert_int_equal(pgl_invalidate_range(emu.table, 0x4000, 0x8fff, NULL), PGL_HIT);
    assert_int_equal(pgl_flush(emu.table, NULL), 0);
    emu_release(&holder);
    emu_fini(&emu);
}

static void begin_5(struct emu *emu, void *arg)
{
    struct pgl_bracket bracket;

    pgl_bracket_begin(&bracket, emu->table, 5);
    __atomic_store_n((unsigned *)arg, 1, __ATOMIC_RELEASE);
    while (__atomic_load_n((unsigned *)arg, __ATOMIC_ACQUIRE) != 2) {
        usleep(100);
    }
    pgl_bracket_abort(&bracket);
}

static void test_invalidate_waits_for_a_bracket_that_may_have_read_its_bytes(void **state)
{
    struct range_call range = {.first = 0x4000, .last = 0x8fff};
    struct emu_call bracket;
    unsigned step = 0;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_call(&bracket, &emu, begin_5, &step);
    EMU_WAIT_UNTIL(__atomic_load_n(&step, __ATOMIC_ACQUIRE) == 1);
    emu_call(&range.call, &emu, kill_range, &range);
    assert_true(emu_is_stuck(&range.call));
    __atomic_store_n(&step, 2, __ATOMIC_RELEASE);
    emu_join(&bracket);
    emu_join(&range.call);
    assert_int_equal(range.answer, 0);
    emu_fini(&emu);
}

/* ---- the running block ---- */

static void test_invalidate_says_whether_the_running_block_is_dead(void **state)
{
    struct emu_block running, other;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &running, 0x5000, 0x5003);
    emu_link(&emu, &other, 0x5100, 0x5103);
    assert_int_equal(pgl_invalidate_range(emu.table, 0x5100, 0x5100, &running.tb), PGL_HIT);
    assert_int_equal(pgl_invalidate_range(emu.table, 0x5000, 0x5000, &running.tb), PGL_HIT | PGL_RUNNING_DEAD);
    assert_int_equal(pgl_invalidate_range(emu.table, 0x9000, 0x9000, &running.tb), PGL_RUNNING_DEAD);
    assert_int_equal(pgl_invalidate_page(emu.table, 9, &running.tb), PGL_RUNNING_DEAD);
    assert_int_equal(pgl_flush(emu.table, &running.tb), PGL_RUNNING_DEAD);
    assert_int_equal(pgl_invalidate_tb(emu.table, &other.tb, &running.tb), PGL_RUNNING_DEAD);
    emu_fini(&emu);
}

/* ---- between looking and locking ---- */

/* The partner's page is busy below; while the range waits, its block dies and another one comes. */
static void test_invalidate_starts_again_at_the_head_after_waiting(void **state)
{
    struct range_call range = {.first = 0x5000, .last = 0x5fff};
    struct emu_block waited_for, local, late;
    struct emu_holder holder;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link2(&emu, &waited_for, 0x5000, 0x5003, 0x3000, 0x3003);
    emu_link(&emu, &local, 0x5100, 0x5103);
    emu_hold(&holder, &emu, 3);
    emu_call(&range.call, &emu, kill_range, &range);
    EMU_WAIT_UNTIL(emu_stats(&emu).retries == 1 && !emu_is_locked(&emu, 5));
    assert_int_equal(pgl_invalidate_tb(emu.table, &local.tb, NULL), PGL_HIT);
    emu_link2(&emu, &late, 0x5ff0, 0x5fff, 0x9000, 0x9003);
    emu_release(&holder);
    emu_join(&range.call);
    assert_int_equal(range.answer, PGL_HIT);
    assert_false(emu_is_live(&waited_for));
    assert_false(emu_is_live(&late));
    assert_int_equal(local.retired, 1);
    emu_fini(&emu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_invalidate_tb_kills_once),
        cmocka_unit_test(test_invalidate_tb_leaves_the_others),
        cmocka_unit_test(test_invalidate_tb_returns_only_after_anothers_retired),
        cmocka_unit_test(test_invalidate_tb_on_no_page_waits_for_no_other_block),
        cmocka_unit_test(test_invalidate_tb_claims_only_with_all_pages_held),
        cmocka_unit_test(test_invalidate_range_claims_only_with_all_pages_held),
        cmocka_unit_test(test_invalidate_order_is_claim_unlink_retired_narrow_untrap),
        cmocka_unit_test(test_invalidate_untraps_a_page_with_its_last_block_only),
        cmocka_unit_test(test_invalidate_narrows_no_further_than_the_living),
        cmocka_unit_test(test_invalidate_range_is_byte_exact_on_each_page),
        cmocka_unit_test(test_invalidate_range_tests_both_extents_of_a_page),
        cmocka_unit_test(test_invalidate_range_leaves_what_meets_it_on_no_page),
        cmocka_unit_test(test_invalidate_calls_retired_once),
        cmocka_unit_test(test_invalidate_of_many_reads_a_list_once),
        cmocka_unit_test(test_invalidate_that_hits_nothing_calls_nothing),
        cmocka_unit_test(test_invalidate_page_is_that_page),
        cmocka_unit_test(test_invalidate_flush_kills_everything_listed),
        cmocka_unit_test(test_invalidate_refuses_bad_ranges),
        cmocka_unit_test(test_invalidate_takes_the_top_page_of_64_bits),
        cmocka_unit_test(test_invalidate_of_nearly_nothing_follows_what_exists),
        cmocka_unit_test(test_invalidate_waits_for_no_page_without_code),
        cmocka_unit_test(test_invalidate_waits_for_a_bracket_that_may_have_read_its_bytes),
        cmocka_unit_test(test_invalidate_says_whether_the_running_block_is_dead),
        cmocka_unit_test(test_invalidate_starts_again_at_the_head_after_waiting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
