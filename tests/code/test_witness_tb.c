/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The witness reports each misuse of a block, and the place that linked it. */
#include <stdlib.h>
#include <string.h>

#include "witness.h"

static void test_witness_reports_a_block_that_is_not_new(void **state)
{
    struct emu_block block = {0};
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_link(&emu, &block, 0x5000, 0x5003);
    assert_int_equal(emu_translate(&emu, &block, NULL), PGL_BRACKET_ERROR); /* twice */
    assert_int_equal(n_seen, 1);
    assert_int_equal(seen[0].kind, PGL_BREACH_TB_STATE);
    assert_true(seen[0].index == 5);
    assert_non_null(strstr(seen[0].place, "emu.c:"));
    n_seen = 0;
    assert_int_equal(emu_count(&emu, 5), 1);
    assert_false(emu_is_locked(&emu, 5));
    pgl_invalidate_tb(emu.table, &block.tb, NULL);
    assert_int_equal(emu_translate(&emu, &block, NULL), PGL_BRACKET_ERROR); /* dead */
    assert_int_equal(n_seen, 1);
    assert_int_equal(seen[0].kind, PGL_BREACH_TB_STATE);
    n_seen = 0;

    pgl_tb_init(&block.tb);
    assert_int_equal(pgl_invalidate_tb(emu.table, &block.tb, NULL), 0); /* never linked */
    assert_breach(PGL_BREACH_TB_STATE, UINT64_MAX, UINT64_MAX, 0);
    emu_fini(&emu);
}

static struct pgl_tb *say_equal(struct pgl_tb *tb, void *opaque)
{
    (void)tb;
    return *(struct pgl_tb **)opaque;
}

static void note_nothing(struct pgl_tb *chain, void *opaque)
{
    (void)chain;
    (void)opaque;
}

static void test_witness_reports_a_dead_block_called_an_equal(void **state)
{
    struct pgl_tb tb, dead, *equal = NULL, *found;
    const struct pgl_tb_ops ops = {.publish = say_equal, .retired = note_nothing};
    const struct pgl_table_config config = {.page_bits = 12, .addr_bits = 48, .ops = &ops, .opaque = &equal};
    struct pgl_table *table = pgl_table_new(&config);
    struct pgl_bracket bracket;

    (void)state;
    pgl_tb_init(&dead);
    pgl_tb_link_unlisted(table, &dead);
    pgl_invalidate_tb(table, &dead, NULL);
    pgl_tb_init(&tb);
    pgl_tb_set_bytes(&tb, 0, 0x5000, 0x5003);
    assert_true(pgl_bracket_begin(&bracket, table, 5));
    equal = &dead;
    assert_int_equal(pgl_bracket_commit(&bracket, &tb, &found), PGL_BRACKET_EXISTS);
    assert_breach(PGL_BREACH_TB_STATE, 5, UINT64_MAX, 0);
    assert_true(pgl_bracket_begin(&bracket, table, 5));
    equal = &tb; /* itself: linked */
    assert_int_equal(pgl_bracket_commit(&bracket, &tb, &found), PGL_BRACKET_OK);
    assert_int_equal(n_seen, 0);
    pgl_table_free(table);
}

static void test_witness_reports_a_block_on_a_page_not_held(void **state)
{
    static const uint64_t bytes[][4] = {
        {0x6000, 0x6003, 1, 0},           /* begins elsewhere */
        {0x5ffc, 0x5fff, 0x6000, 0x6003}, /* its second page was never crossed to */
        {1, 0, 0x5000, 0x5003},           /* begins nowhere */
        {0x5ffc, 0x6003, 1, 0},           /* runs off its page */
    };
    struct emu emu;

    (void)state;
    emu_init(&emu);
    for (size_t i = 0; i < sizeof(bytes) / sizeof(*bytes); i++) {
        struct emu_block block = {0};
        struct pgl_bracket bracket;

        pgl_tb_init(&block.tb);
        pgl_tb_set_bytes(&block.tb, 0, bytes[i][0], bytes[i][1]);
        pgl_tb_set_bytes(&block.tb, 1, bytes[i][2], bytes[i][3]);
        assert_true(pgl_bracket_begin(&bracket, emu.table, 5));
        assert_int_equal(pgl_bracket_commit(&bracket, &block.tb, NULL), PGL_BRACKET_ERROR);
        assert_int_equal(n_seen, 1);
        assert_int_equal(seen[0].kind, PGL_BREACH_TB_PAGE);
        n_seen = 0;
        assert_false(emu_is_locked(&emu, 5)); /* aborted */
        assert_int_equal(emu_count(&emu, 5), 0);
    }
    emu_fini(&emu);
}

static void test_witness_reports_an_unlisted_block_that_is_not_new_or_has_bytes(void **state)
{
    struct emu_block block = {0};
    struct emu emu;

    (void)state;
    emu_init(&emu);
    pgl_tb_init(&block.tb);
    pgl_tb_set_bytes(&block.tb, 0, 0x5000, 0x5003);
    pgl_tb_link_unlisted(emu.table, &block.tb);
    assert_breach(PGL_BREACH_TB_PAGE, UINT64_MAX, UINT64_MAX, 0);
    assert_false(pgl_tb_is_live(&block.tb));

    pgl_tb_init(&block.tb);
    pgl_tb_link_unlisted(emu.table, &block.tb);
    assert_int_equal(n_seen, 0);
    pgl_tb_link_unlisted(emu.table, &block.tb); /* twice */
    assert_breach(PGL_BREACH_TB_STATE, UINT64_MAX, UINT64_MAX, 0);
    assert_true(pgl_tb_is_live(&block.tb));
    assert_int_equal(pgl_invalidate_tb(emu.table, &block.tb, NULL), PGL_HIT);
    emu_fini(&emu);
}

static void test_witness_reports_a_live_block_linked_again(void **state)
{
    struct emu_block block, before, behind;
    struct emu emu, other;

    (void)state;
    emu_init(&emu);
    emu_init(&other);
    link_block(&emu, &behind, 0x5100, 0x5103, 1, 0);
    link_block(&emu, &block, 0x5000, 0x5003, 0x4ff0, 0x4fff);
    link_block(&emu, &before, 0x5200, 0x5203, 0x4000, 0x4003);
    assert_int_equal(try_link(emu.table, &block.tb), PGL_BRACKET_ERROR); /* as it is */
    assert_block_breach(PGL_BREACH_TB_STATE, 5, LINK_LINE);
    ready(&block, 0x5000, 0x5003, 0x4ff0, 0x4fff); /* the same, made new */
    assert_int_equal(try_link(emu.table, &block.tb), PGL_BRACKET_ERROR);
    assert_block_breach(PGL_BREACH_TB_STATE, 5, LINK_LINE);
    ready(&block, 0x7000, 0x7003, 1, 0); /* elsewhere */
    assert_int_equal(try_link(emu.table, &block.tb), PGL_BRACKET_ERROR);
    assert_block_breach(PGL_BREACH_TB_STATE, 7, LINK_LINE);
    ready(&block, 0x8000, 0x8003, 1, 0); /* in another table */
    assert_int_equal(try_link(other.table, &block.tb), PGL_BRACKET_ERROR);
    assert_block_breach(PGL_BREACH_TB_STATE, 8, LINK_LINE);
    pgl_tb_init(&block.tb);
    pgl_tb_link_unlisted(emu.table, &block.tb);
    assert_block_breach(PGL_BREACH_TB_STATE, UINT64_MAX, LINK_LINE);

    /* It is linked as it was, and so are the others of its pages. */
    assert_int_equal(emu_count(&emu, 5), 3);
    assert_int_equal(emu_count(&emu, 4), 2);
    assert_false(emu_is_locked(&emu, 7));
    emu_assert_sound(&emu);
    assert_int_equal(pgl_store_check(emu.table, 0x4fff, 1, NULL), PGL_HIT);
    assert_int_equal(block.retired, 1);
    assert_int_equal(before.retired + behind.retired, 0);
    assert_int_equal(pgl_flush(emu.table, NULL), PGL_HIT);
    assert_int_equal(before.retired + behind.retired, 2);
    assert_int_equal(n_seen, 0);
    emu_fini(&other);
    emu_fini(&emu);
}

static void test_witness_reports_an_unlisted_block_that_is_linked_again(void **state)
{
    struct emu_block block = {0};
    struct emu emu;
    unsigned line;

    (void)state;
    emu_init(&emu);
    pgl_tb_init(&block.tb);
    pgl_tb_link_unlisted(emu.table, &block.tb), line = __LINE__;
    ready(&block, 0x5000, 0x5003, 1, 0);
    assert_int_equal(try_link(emu.table, &block.tb), PGL_BRACKET_ERROR);
    assert_block_breach(PGL_BREACH_TB_STATE, 5, line);
    assert_true(pgl_tb_is_live(&block.tb));
    memset(&block.tb, 0, sizeof(block.tb)); /* reused */
    assert_int_equal(pgl_invalidate_tb(emu.table, &block.tb, NULL), PGL_HIT);
    assert_block_breach(PGL_BREACH_TB_CHANGED, UINT64_MAX, line);
    assert_int_equal(block.retired, 1);
    assert_int_equal(pgl_invalidate_tb(emu.table, &block.tb, NULL), 0);
    assert_int_equal(n_seen, 0);
    emu_fini(&emu);
}

static void test_witness_reports_a_block_of_another_table(void **state)
{
    struct emu_block block, unlisted = {0};
    struct emu emu, other;
    unsigned line;

    (void)state;
    emu_init(&emu);
    emu_init(&other);
    link_block(&emu, &block, 0x5000, 0x5003, 1, 0);
    pgl_tb_init(&unlisted.tb);
    pgl_tb_link_unlisted(emu.table, &unlisted.tb), line = __LINE__;
    for (unsigned with_page = 0; with_page < 2; with_page++) {
        if (with_page) {
            pgl_page_get(other.table, 5);
        }
        assert_int_equal(pgl_invalidate_tb(other.table, &block.tb, NULL), 0);
        assert_block_breach(PGL_BREACH_TB_TABLE, UINT64_MAX, LINK_LINE);
    }
    pgl_tb_lock_pages(other.table, &block.tb);
    assert_block_breach(PGL_BREACH_TB_TABLE, UINT64_MAX, LINK_LINE);
    assert_false(emu_is_locked(&other, 5));
    pgl_tb_unlock_pages(other.table, &block.tb);
    assert_block_breach(PGL_BREACH_TB_TABLE, UINT64_MAX, LINK_LINE);
    assert_int_equal(pgl_invalidate_tb(other.table, &unlisted.tb, NULL), 0);
    assert_block_breach(PGL_BREACH_TB_TABLE, UINT64_MAX, line);
    assert_true(emu_is_live(&block) && emu_is_live(&unlisted));
    assert_int_equal(pgl_invalidate_tb(emu.table, &block.tb, NULL), PGL_HIT);
    assert_int_equal(pgl_invalidate_tb(emu.table, &unlisted.tb, NULL), PGL_HIT);
    assert_int_equal(n_seen, 0);
    emu_fini(&other);
    emu_fini(&emu);
}

static void test_witness_reports_an_equal_of_another_table_or_of_none(void **state)
{
    struct pgl_tb tb, elsewhere, *equal = NULL;
    const struct pgl_tb_ops ops = {.publish = say_equal, .retired = note_nothing};
    const struct pgl_table_config config = {.page_bits = 12, .addr_bits = 48, .ops = &ops, .opaque = &equal};
    struct pgl_table *table = pgl_table_new(&config), *other = pgl_table_new(&config);

    (void)state;
    pgl_tb_init(&elsewhere);
    pgl_tb_set_bytes(&elsewhere, 0, 0x5000, 0x5003);
    assert_int_equal(try_link(other, &elsewhere), PGL_BRACKET_OK);
    pgl_tb_init(&tb);
    pgl_tb_set_bytes(&tb, 0, 0x5000, 0x5003);
    equal = &elsewhere;
    assert_int_equal(try_link(table, &tb), PGL_BRACKET_EXISTS);
    assert_block_breach(PGL_BREACH_TB_TABLE, UINT64_MAX, LINK_LINE);
    elsewhere.state = PGL_TB_DEAD; /* the table that it is linked in has gone */
    pgl_table_free(other);
    elsewhere.state = PGL_TB_LIVE;
    assert_int_equal(try_link(table, &tb), PGL_BRACKET_EXISTS);
    assert_block_breach(PGL_BREACH_TB_STATE, UINT64_MAX, 0);
    pgl_table_free(table);
}

/* A copy of a block is not linked. */
static void test_witness_reports_a_copy_of_a_block_that_is_invalidated(void **state)
{
    struct emu_block block, copy;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    link_block(&emu, &block, 0x5000, 0x5003, 1, 0);
    copy = block;
    assert_int_equal(pgl_invalidate_tb(emu.table, &copy.tb, NULL), 0);
    assert_block_breach(PGL_BREACH_TB_STATE, UINT64_MAX, 0);
    assert_true(emu_is_live(&block));
    assert_int_equal(pgl_invalidate_tb(emu.table, &block.tb, NULL), PGL_HIT);
    copy = block;
    assert_int_equal(pgl_invalidate_tb(emu.table, &copy.tb, NULL), 0); /* a dead copy is as the dead block */
    assert_int_equal(n_seen, 0);
    emu_fini(&emu);
}

static bool go_on(struct pgl_tb *tb, void *opaque)
{
    (void)tb, (void)opaque;
    return true;
}

/* Calls that read the list of page 5, and kill nothing on it but @block in the last one. */

static void walk(struct emu *emu, struct emu_block *block)
{
    struct pgl_page *page = pgl_page_get(emu->table, 5);

    (void)block;
    pgl_page_lock(emu->table, page);
    assert_true(pgl_page_foreach_tb(emu->table, page, go_on, NULL));
    assert_true(emu_is_locked(emu, 5));
    pgl_page_unlock(emu->table, page);
}

static void store(struct emu *emu, struct emu_block *block)
{
    (void)block;
    assert_int_equal(pgl_store_check(emu->table, 0x5f00, 1, NULL), 0);
}

static void store_over_two_pages(struct emu *emu, struct emu_block *block)
{
    (void)block;
    assert_int_equal(pgl_store_check(emu->table, 0x4fff, 2, NULL), 0);
}

static void begin_store(struct emu *emu, struct emu_block *block)
{
    struct pgl_store bracket;

    (void)block;
    assert_int_equal(pgl_store_begin(&bracket, emu->table, 0x5f00, 1, NULL), 0);
    pgl_store_end(&bracket);
}

static void kill_range(struct emu *emu, struct emu_block *block)
{
    (void)block;
    assert_int_equal(pgl_invalidate_range(emu->table, 0x5f30, 0x6fff, NULL), 0);
}

static void store_in_a_bracket(struct emu *emu, struct emu_block *block)
{
    struct pgl_bracket bracket;

    (void)block;
    assert_true(pgl_bracket_begin(&bracket, emu->table, 9));
    assert_int_equal(pgl_bracket_store(&bracket, 0x5f00, 1), PGL_BRACKET_OK);
    pgl_bracket_abort(&bracket);
}

static void collect(struct emu *emu, struct emu_block *block)
{
    struct pgl_collection collection;

    (void)block;
    assert_true(pgl_collection_lock(&collection, emu->table, 0x5f00, 0x5fff));
    pgl_collection_unlock(&collection);
}

static void kill_it(struct emu *emu, struct emu_block *block)
{
    assert_int_equal(pgl_invalidate_tb(emu->table, &block->tb, NULL), PGL_HIT);
}

/* Changes of a block. */

static void set_bytes(struct pgl_tb *tb)
{
    pgl_tb_set_bytes(tb, 0, 0x5800, 0x5810);
}

static void set_second_bytes(struct pgl_tb *tb)
{
    pgl_tb_set_bytes(tb, 1, 0x6000, 0x6003);
}

static void zero(struct pgl_tb *tb)
{
    memset(tb, 0, sizeof(*tb));
}

static void fill(struct pgl_tb *tb)
{
    memset(tb, 0xa5, sizeof(*tb));
}

static void mark_dead(struct pgl_tb *tb)
{
    tb->state = PGL_TB_DEAD;
}

static void cut(struct pgl_tb *tb)
{
    tb->span.next = tb->rest.second.span.next = 0x1230;
}

enum {
    N_LISTED = 4,
};

/* The @which'th block of page 5 is changed: @call reports it and where it was linked, and all is as it was. */
static void check_change(void (*change)(struct pgl_tb *tb), void (*call)(struct emu *emu, struct emu_block *block),
                         unsigned which, bool crosses)
{
    struct emu_block blocks[N_LISTED], decoy;
    struct emu emu;

    emu_init(&emu);
    link_block(&emu, &decoy, 0x5f20, 0x5f23, 1, 0); /* so that no store of above is clean */
    for (unsigned i = 0; i < N_LISTED; i++) {
        link_block(&emu, &blocks[i], 0x5010 + 8 * i, 0x5013 + 8 * i, crosses ? 0x7010 + 8 * i : 1,
                   crosses ? 0x7013 + 8 * i : 0);
    }
    change(&blocks[which].tb);
    call(&emu, &blocks[which]);
    assert_block_breach(PGL_BREACH_TB_CHANGED, call == kill_it && change != cut ? UINT64_MAX : 5, LINK_LINE);
    call(&emu, &decoy);
    assert_int_equal(n_seen, 0);
    if (call == kill_it) {
        link_block(&emu, &decoy, 0x5f20, 0x5f23, 1, 0);
    }
    assert_int_equal(emu_count(&emu, 5), N_LISTED + 1 - (call == kill_it));
    assert_int_equal(emu_count(&emu, 7), crosses ? N_LISTED - (call == kill_it) : 0);
    emu_assert_sound(&emu);
    for (unsigned i = 0; i < N_LISTED; i++) {
        bool lived = call != kill_it || i != which;

        assert_int_equal(blocks[i].retired, !lived);
        assert_int_equal(pgl_store_check(emu.table, (crosses ? 0x7013 : 0x5013) + 8 * i, 1, NULL), lived ? PGL_HIT : 0);
        assert_int_equal(blocks[i].retired, 1);
    }
    assert_int_equal(n_seen, 0);
    emu_fini(&emu);
}

static void test_witness_reports_and_undoes_each_change_of_a_linked_block(void **state)
{
    static void (*const change[])(struct pgl_tb * tb) = {set_bytes, set_second_bytes, zero, fill, pgl_tb_init, cut};
    static void (*const call[])(struct emu * emu, struct emu_block * block) = {
        walk, store, store_over_two_pages, begin_store, kill_range, store_in_a_bracket, kill_it,
    };

    (void)state;
    for (unsigned which = 0; which < N_LISTED; which++) {
        for (size_t i = 0; i < sizeof(change) / sizeof(*change); i++) {
            for (size_t k = 0; k < sizeof(call) / sizeof(*call); k++) {
                check_change(change[i], call[k], which, false);
                check_change(change[i], call[k], which, true);
            }
            check_change(change[i], collect, which, true);
        }
        check_change(mark_dead, store, which, false);
    }
}

static void test_witness_reports_each_of_two_blocks_that_were_changed(void **state)
{
    struct emu_block blocks[3];
    struct emu emu;

    (void)state;
    emu_init(&emu);
    for (unsigned i = 0; i < 3; i++) {
        link_block(&emu, &blocks[i], 0x5010 + 8 * i, 0x5013 + 8 * i, 1, 0);
    }
    zero(&blocks[0].tb);
    zero(&blocks[2].tb);
    assert_int_equal(pgl_store_check(emu.table, 0x5000, 1, NULL), 0);
    assert_int_equal(n_seen, 2);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(seen[i].kind, PGL_BREACH_TB_CHANGED);
        assert_place(seen[i].linked_place, LINK_LINE);
    }
    n_seen = 0;
    assert_int_equal(emu_count(&emu, 5), 3);
    emu_fini(&emu);
}

/* A program may do this to blocks that are not linked, or no longer. */
static void test_witness_allows_a_blocks_memory_to_be_used_again(void **state)
{
    struct emu_block block = {0}, twin = {0};
    struct pgl_tb *equal;
    struct emu emu, other;

    (void)state;
    emu_init(&emu);
    emu_init(&other);
    for (unsigned i = 0; i < 3; i++) { /* dead, and linked again elsewhere */
        struct emu *here = i % 2 ? &other : &emu;

        link_block(here, &block, 0x5000, 0x5003, 0x6000 + 0x1000 * i, 0x6003 + 0x1000 * i);
        assert_int_equal(pgl_invalidate_range(here->table, 0x5000, 0x5003, NULL), PGL_HIT);
        assert_int_equal(pgl_invalidate_tb(here->table, &block.tb, NULL), 0);
        memset(&block, 0xa5, sizeof(block));
    }
    for (unsigned i = 0; i < 2; i++) { /* on no page */
        memset(&block, 0, sizeof(block));
        pgl_tb_init(&block.tb);
        pgl_tb_link_unlisted(emu.table, &block.tb);
        assert_int_equal(pgl_invalidate_tb(emu.table, &block.tb, NULL), PGL_HIT);
    }
    link_block(&emu, &block, 0x5000, 0x5003, 1, 0); /* an equal one, which was not linked */
    block.key = twin.key = 7;
    for (unsigned i = 0; i < 2; i++) {
        ready(&twin, 0x5000, 0x5003, 1, 0);
        assert_int_equal(emu_translate(&emu, &twin, &equal), PGL_BRACKET_EXISTS);
        assert_ptr_equal(equal, &block.tb);
    }
    zero(&twin.tb);
    link_block(&other, &twin, 0x5000, 0x5003, 1, 0);
    /* The running block may be of another table, for only its state is asked. */
    assert_int_equal(pgl_store_check(emu.table, 0x5000, 1, &twin.tb), PGL_HIT);
    assert_int_equal(pgl_store_check(other.table, 0x5000, 1, &twin.tb), PGL_HIT | PGL_RUNNING_DEAD);
    assert_int_equal(n_seen, 0);
    emu_fini(&other);
    emu_fini(&emu);
}

static void test_witness_forgets_the_blocks_of_a_table_that_is_freed(void **state)
{
    struct emu_block blocks[40];
    struct emu emu, other;

    (void)state;
    emu_init(&other);
    for (unsigned round = 0; round < 3; round++) {
        emu_init(&emu);
        for (unsigned i = 0; i < 40; i++) {
            link_block(i % 4 ? &emu : &other, &blocks[i], 0x5000 + 8 * i, 0x5003 + 8 * i, 1, 0);
        }
        emu_fini(&emu);
        link_block(&other, &blocks[1], 0x5000, 0x5003, 1, 0);
        for (unsigned i = 0; i < 40; i += 4) {
            assert_int_equal(pgl_invalidate_tb(other.table, &blocks[i].tb, NULL), PGL_HIT);
            assert_int_equal(blocks[i].retired, 1);
        }
        assert_int_equal(pgl_invalidate_tb(other.table, &blocks[1].tb, NULL), PGL_HIT);
    }
    assert_int_equal(n_seen, 0);
    emu_fini(&other);
}

/* Whether the witness takes a block for linked: its pages, locked by way of another table, are a breach then. */
static bool is_known(struct pgl_table *other, const struct emu_block *block)
{
    unsigned n;

    pgl_tb_unlock_pages(other, &block->tb);
    n = n_seen;
    n_seen = 0;
    return n && seen[0].kind == PGL_BREACH_TB_TABLE;
}

static void test_witness_knows_each_of_many_blocks(void **state)
{
    enum { N = 1100 };
    struct emu_random random = {emu_seed("test_witness_knows_each_of_many_blocks")};
    struct emu_block *blocks = aligned_alloc(16, N * sizeof(*blocks));
    struct emu emu, other;

    (void)state;
    emu_init(&emu);
    emu_init(&other);
    memset(blocks, 0, N * sizeof(*blocks));
    for (unsigned i = 0; i < N; i++) { /* as many as fit, and one more, for each size that the witness grows to */
        link_block(&emu, &blocks[i], i % 50 << 12, (i % 50 << 12) + 3, 1, 0);
    }
    for (unsigned step = 0; step < 4 * N; step++) {
        struct emu_block *block = &blocks[emu_below(&random, N)];

        if (!emu_is_live(block)) {
            link_block(&emu, block, 0x5000, 0x5003, 1, 0);
        } else {
            assert_int_equal(pgl_invalidate_tb(emu.table, &block->tb, NULL), PGL_HIT);
        }
        if (step % N == 0 || step == 4 * N - 1) {
            for (unsigned i = 0; i < N; i++) {
                if (emu_is_live(&blocks[i])) {
                    assert_true(is_known(other.table, &blocks[i]));
                }
            }
        }
    }
    pgl_flush(emu.table, NULL);
    for (unsigned i = 0; i < N; i++) {
        ready(&blocks[i], 1, 0, 1, 0); /* as a dead block it would lock its page */
        assert_false(is_known(other.table, &blocks[i]));
    }
    assert_int_equal(n_seen, 0);
    emu_fini(&other);
    emu_fini(&emu);
    free(blocks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_witness_reports_a_block_that_is_not_new, set_hook),
        cmocka_unit_test_setup(test_witness_reports_a_dead_block_called_an_equal, set_hook),
        cmocka_unit_test_setup(test_witness_reports_a_block_on_a_page_not_held, set_hook),
        cmocka_unit_test_setup(test_witness_reports_an_unlisted_block_that_is_not_new_or_has_bytes, set_hook),
        cmocka_unit_test_setup(test_witness_reports_a_live_block_linked_again, set_hook),
        cmocka_unit_test_setup(test_witness_reports_an_unlisted_block_that_is_linked_again, set_hook),
        cmocka_unit_test_setup(test_witness_reports_a_block_of_another_table, set_hook),
        cmocka_unit_test_setup(test_witness_reports_an_equal_of_another_table_or_of_none, set_hook),
        cmocka_unit_test_setup(test_witness_reports_a_copy_of_a_block_that_is_invalidated, set_hook),
        cmocka_unit_test_setup(test_witness_reports_and_undoes_each_change_of_a_linked_block, set_hook),
        cmocka_unit_test_setup(test_witness_reports_each_of_two_blocks_that_were_changed, set_hook),
        cmocka_unit_test_setup(test_witness_allows_a_blocks_memory_to_be_used_again, set_hook),
        cmocka_unit_test_setup(test_witness_forgets_the_blocks_of_a_table_that_is_freed, set_hook),
        cmocka_unit_test_setup(test_witness_knows_each_of_many_blocks, set_hook),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
