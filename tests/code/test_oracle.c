/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The library against an oracle: an array of extents, without pages, lists, filters or locks. Long random sequences of
 * all operations; after each one, every block's fate and every answer is what the oracle says. PGL_SEED repeats a run,
 * PGL_STEPS makes it longer.
 *
 * Compiled with ORACLE_TRYLOCK, and linked with --wrap for pgl_page_trylock_slow, it makes trylock fail on free pages,
 * in patterns: nothing may change but the number of retries.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emu.h"

enum {
    N_BLOCKS = 150,
    N_PAGES = 20,
    N_LEAVES = 4 * N_PAGES,
    STEPS = 10000,
};

#ifdef ORACLE_TRYLOCK
bool __real_pgl_page_trylock_slow(struct pgl_table *table, struct pgl_page *page, const char *place);
bool __wrap_pgl_page_trylock_slow(struct pgl_table *table, struct pgl_page *page, const char *place);

static struct emu_random trylock_random;
static unsigned n_refused;

/* For 16 tries each: refuse all, none, half of them. */
bool __wrap_pgl_page_trylock_slow(struct pgl_table *table, struct pgl_page *page, const char *place)
{
    static unsigned tries, pattern;
    bool refuse;

    if (tries++ % 16 == 0)
        pattern = (unsigned)emu_below(&trylock_random, 3);
    refuse = pattern == 0 || (pattern == 2 && emu_below(&trylock_random, 2));
    n_refused += refuse;
    return !refuse && __real_pgl_page_trylock_slow(table, page, place);
}
#define TRYLOCK_FAILS true
#else
#define TRYLOCK_FAILS false
#endif

struct config {
    unsigned page_bits, addr_bits;
    bool external;
};

/* What the oracle knows of a block. */
struct fate {
    bool live;
    bool listed;
    unsigned retired;
};

struct oracle {
    struct emu emu;
    struct emu_random random;
    uint64_t last_addr, last_index, in_page;
    unsigned page_bits;
    uint64_t pages[N_PAGES]; /* where blocks are: some neighbours, some far apart, the top one */
    bool trapped[N_PAGES];   /* by first_code and no_code */
    uint64_t leaves[N_LEAVES];
    unsigned n_leaves;
    struct emu_block blocks[N_BLOCKS];
    struct fate fates[N_BLOCKS];
    const struct emu_block *running;
    unsigned step;
};

static unsigned page_slot(const struct oracle *o, uint64_t index)
{
    unsigned slot = 0;

    while (slot < N_PAGES && o->pages[slot] != index)
        slot++;
    assert_true(slot < N_PAGES);
    return slot;
}

static void trap(struct emu *emu, uint64_t index)
{
    struct oracle *o = emu->arg;

    o->trapped[page_slot(o, index)] = true;
}

static void untrap(struct emu *emu, uint64_t index)
{
    struct oracle *o = emu->arg;

    o->trapped[page_slot(o, index)] = false;
}

static bool is_new_page(const struct oracle *o, uint64_t index, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (o->pages[i] == index)
            return false;
    return true;
}

static void choose_pages(struct oracle *o)
{
    unsigned n = 0;

    o->pages[n++] = o->last_index;
    o->pages[n++] = 0;
    while (n < N_PAGES) {
        uint64_t index = o->pages[emu_below(&o->random, n)];

        switch (emu_below(&o->random, 4)) {
        case 0: /* a neighbour */
            index += emu_below(&o->random, 2) ? 1 : -UINT64_C(1);
            break;
        case 1: /* across a leaf's edge */
            index = (index & ~UINT64_C(511)) + (emu_below(&o->random, 2) ? 511 : 512);
            break;
        case 2: /* in the same leaf */
            index = (index & ~UINT64_C(511)) + emu_below(&o->random, 512);
            break;
        default:
            index = emu_random(&o->random);
        }
        index &= o->last_index;
        if (is_new_page(o, index, n))
            o->pages[n++] = index;
    }
}

static void init_oracle(struct oracle *o, const struct config *config, uint64_t seed)
{
    memset(o, 0, sizeof(*o));
    if (config->external)
        emu_init_external(&o->emu, NULL);
    else
        emu_init_bits(&o->emu, config->page_bits, config->addr_bits);
    if (TRYLOCK_FAILS)
        o->emu.table->special |= PGL_SPECIAL_WITNESS; /* no lock is inline */
    o->emu.arg = o;
    o->emu.at_first_code = trap;
    o->emu.at_no_code = untrap;
    o->random.state = seed;
    o->page_bits = config->page_bits;
    o->last_addr = UINT64_MAX >> (64 - config->addr_bits);
    o->last_index = o->last_addr >> config->page_bits;
    o->in_page = (UINT64_C(1) << config->page_bits) - 1;
    choose_pages(o);
}

static uint64_t any_page(struct oracle *o)
{
    return o->pages[emu_below(&o->random, N_PAGES)];
}

static struct emu_block *any_block(struct oracle *o)
{
    return &o->blocks[emu_below(&o->random, N_BLOCKS)];
}

static struct fate *fate_of(struct oracle *o, const struct emu_block *block)
{
    return &o->fates[block - o->blocks];
}

/* An address near the edge of some block's bytes, or anywhere on a page that is used. */
static uint64_t any_addr(struct oracle *o)
{
    const struct emu_block *block = any_block(o);
    unsigned which = (unsigned)emu_below(&o->random, 2);
    uint64_t addr = (any_page(o) << o->page_bits) + (emu_random(&o->random) & o->in_page);

    if (emu_below(&o->random, 4) && block->tb.first[which] <= block->tb.last[which])
        addr = (emu_below(&o->random, 2) ? block->tb.first[which] : block->tb.last[which]) - 1 +
               emu_below(&o->random, 3);
    return addr & o->last_addr;
}

/* Bytes on a page: short and anywhere, or up to its end, or from its start. */
static void any_bytes(struct oracle *o, uint64_t index, uint64_t *first, uint64_t *last)
{
    uint64_t length = emu_below(&o->random, 90), offset = emu_random(&o->random) & o->in_page;

    if (emu_below(&o->random, 3) == 0)
        offset = emu_below(&o->random, 2) ? 0 : o->in_page - (length < o->in_page ? length : 0);
    *first = (index << o->page_bits) + offset;
    *last = (index << o->page_bits) + (offset + length > o->in_page ? o->in_page : offset + length);
}

static void note_leaf(struct oracle *o, uint64_t index)
{
    for (unsigned i = 0; i < o->n_leaves; i++)
        if (o->leaves[i] == index >> 9)
            return;
    assert_true(o->n_leaves < N_LEAVES);
    o->leaves[o->n_leaves++] = index >> 9;
}

static bool meets(const struct emu_block *block, uint64_t first, uint64_t last)
{
    for (unsigned which = 0; which < 2; which++)
        if (block->tb.first[which] <= block->tb.last[which] && block->tb.first[which] <= last &&
            block->tb.last[which] >= first)
            return true;
    return false;
}

static unsigned kill(struct oracle *o, struct emu_block *block)
{
    struct fate *fate = fate_of(o, block);

    if (!fate->live)
        return 0;
    fate->live = false;
    fate->retired++;
    return 1;
}

/* The oracle's own invalidation. How many die. */
static unsigned kill_range(struct oracle *o, uint64_t first, uint64_t last)
{
    unsigned n = 0;

    for (unsigned i = 0; i < N_BLOCKS; i++)
        if (o->fates[i].listed && meets(&o->blocks[i], first, last))
            n += kill(o, &o->blocks[i]);
    return n;
}

static const struct pgl_tb *choose_running(struct oracle *o)
{
    o->running = emu_below(&o->random, 2) ? any_block(o) : NULL;
    return o->running ? &o->running->tb : NULL;
}

/* An invalidating call's answer, and that `retired` was called once for all or not at all. */
static void expect(struct oracle *o, int answer, unsigned killed, unsigned retired_before)
{
    int want = killed ? PGL_HIT : 0;

    if (o->running && !fate_of(o, o->running)->live)
        want |= PGL_RUNNING_DEAD;
    assert_int_equal(answer, want);
    assert_int_equal(o->emu.n_retired - retired_before, killed ? 1 : 0);
}

/* ---- the operations ---- */

static struct emu_block *make_new(struct oracle *o)
{
    struct emu_block *block = any_block(o);
    unsigned kind = (unsigned)emu_below(&o->random, 4);
    uint64_t index = any_page(o), second = any_page(o), first, last;
    unsigned retired = block->retired;

    if (fate_of(o, block)->live)
        return NULL;
    memset(block, 0, sizeof(*block));
    block->retired = retired;
    pgl_tb_init(&block->tb);
    any_bytes(o, index, &first, &last);
    pgl_tb_set_bytes(&block->tb, 0, first, last);
    if (kind) {
        any_bytes(o, kind == 1 ? index : second, &first, &last);
        pgl_tb_set_bytes(&block->tb, 1, first, last);
    }
    return block;
}

/*
 * The page that the bracket of a block crosses into. When all bytes are on one page it may be any page, that one again,
 * or none: a decoder may look at a page of which it uses no byte.
 */
static uint64_t any_second(struct oracle *o, const struct emu_block *block)
{
    uint64_t first = block->tb.first[0] >> o->page_bits, second = block->tb.first[1] >> o->page_bits;

    if (block->tb.first[1] > block->tb.last[1] || second == first) {
        unsigned choice = (unsigned)emu_below(&o->random, 4);

        second = choice == 0 ? any_page(o) : choice == 1 ? first : EMU_NO_PAGE;
    }
    note_leaf(o, first);
    if (second != EMU_NO_PAGE)
        note_leaf(o, second);
    return second;
}

static void op_link(struct oracle *o)
{
    struct emu_block *block = make_new(o);
    struct pgl_tb *equal;

    if (!block)
        return;
    assert_int_equal(emu_translate_across(&o->emu, block, any_second(o, block), &equal), PGL_BRACKET_OK);
    assert_ptr_equal(equal, &block->tb);
    fate_of(o, block)->live = fate_of(o, block)->listed = true;
}

static void op_link_equal(struct oracle *o)
{
    struct emu_block *old = any_block(o), *block = make_new(o);
    struct pgl_tb *equal;

    if (!block || !fate_of(o, old)->live || !fate_of(o, old)->listed)
        return;
    for (unsigned which = 0; which < 2; which++)
        pgl_tb_set_bytes(&block->tb, which, old->tb.first[which], old->tb.last[which]);
    old->key = block->key = (unsigned)(old - o->blocks) + 1;
    assert_int_equal(emu_translate_across(&o->emu, block, any_second(o, block), &equal), PGL_BRACKET_EXISTS);
    assert_ptr_equal(equal, &old->tb);
    fate_of(o, block)->listed = false;
}

static void op_unlisted(struct oracle *o)
{
    struct emu_block *block = any_block(o);

    if (fate_of(o, block)->live)
        return;
    pgl_tb_init(&block->tb);
    pgl_tb_link_unlisted(o->emu.table, &block->tb);
    fate_of(o, block)->live = true;
    fate_of(o, block)->listed = false;
}

static void op_store(struct oracle *o)
{
    uint64_t addr = any_addr(o);
    unsigned len = 1 + (unsigned)emu_below(&o->random, emu_below(&o->random, 2) ? 8 : 64), killed;
    const struct pgl_tb *running = choose_running(o);
    unsigned before = o->emu.n_retired;

    if (o->last_addr - addr < len - 1) {
        assert_int_equal(pgl_store_check(o->emu.table, addr, len, running), PGL_ERROR);
        return;
    }
    killed = kill_range(o, addr, addr + len - 1);
    expect(o, pgl_store_check(o->emu.table, addr, len, running), killed, before);
}

static void op_store_bracket(struct oracle *o)
{
    uint64_t addr = any_addr(o);
    unsigned len = 1 + (unsigned)emu_below(&o->random, 64), killed, before = o->emu.n_retired;
    const struct pgl_tb *running = choose_running(o);
    struct pgl_store store;

    if (o->last_addr - addr < len - 1) {
        assert_int_equal(pgl_store_begin(&store, o->emu.table, addr, len, running), PGL_ERROR);
        return;
    }
    killed = kill_range(o, addr, addr + len - 1);
    expect(o, pgl_store_begin(&store, o->emu.table, addr, len, running), killed, before);
    pgl_store_end(&store);
    note_leaf(o, addr >> o->page_bits);
    note_leaf(o, (addr + len - 1) >> o->page_bits);
}

static void op_range(struct oracle *o)
{
    uint64_t a = any_addr(o), b = any_addr(o);
    unsigned killed, before = o->emu.n_retired;
    const struct pgl_tb *running = choose_running(o);

    if (emu_below(&o->random, 3)) {
        b = a + emu_below(&o->random, 3 * (o->in_page + 1));
        b = b < a || b > o->last_addr ? o->last_addr : b;
    }
    if (a > b) {
        assert_int_equal(pgl_invalidate_range(o->emu.table, a, b, running), PGL_ERROR);
        return;
    }
    killed = kill_range(o, a, b);
    expect(o, pgl_invalidate_range(o->emu.table, a, b, running), killed, before);
}

static void op_page(struct oracle *o)
{
    uint64_t index = any_page(o);
    unsigned killed = kill_range(o, index << o->page_bits, index << o->page_bits | o->in_page);
    unsigned before = o->emu.n_retired;
    const struct pgl_tb *running = choose_running(o);

    expect(o, pgl_invalidate_page(o->emu.table, index, running), killed, before);
}

static void op_flush(struct oracle *o)
{
    unsigned killed, before = o->emu.n_retired;
    const struct pgl_tb *running = choose_running(o);

    if (emu_below(&o->random, 10))
        return;
    killed = kill_range(o, 0, o->last_addr);
    expect(o, pgl_flush(o->emu.table, running), killed, before);
}

static void op_kill_one(struct oracle *o)
{
    struct emu_block *block = any_block(o);
    unsigned killed, before = o->emu.n_retired;
    const struct pgl_tb *running = choose_running(o);

    if (block->tb.state == PGL_TB_NEW)
        return;
    killed = kill(o, block);
    expect(o, pgl_invalidate_tb(o->emu.table, &block->tb, running), killed, before);
}

/* A bracket in which a few stores happen, and which ends in a block or not. */
static void op_bracket_stores(struct oracle *o)
{
    struct emu_block *block = make_new(o);
    enum pgl_bracket_result result;
    struct pgl_bracket bracket;
    uint64_t held[2];
    bool two, restart = false;

    if (!block)
        return;
    held[0] = block->tb.first[0] >> o->page_bits;
    held[1] = any_second(o, block);
    two = held[1] != EMU_NO_PAGE;
    assert_true(pgl_bracket_begin(&bracket, o->emu.table, held[0]));
    if (two) {
        result = pgl_bracket_cross(&bracket, held[1]);
        if (TRYLOCK_FAILS && result == PGL_BRACKET_RESTART)
            result = pgl_bracket_cross(&bracket, held[1]);
        assert_int_equal(result, PGL_BRACKET_OK);
    }
    for (unsigned n = (unsigned)emu_below(&o->random, 4); n > 0; n--) {
        uint64_t addr = any_addr(o), last = addr + emu_below(&o->random, 64);

        if (last < addr || last > o->last_addr) {
            assert_int_equal(pgl_bracket_store(&bracket, addr, (unsigned)(last - addr) + 1), PGL_BRACKET_ERROR);
            continue;
        }
        result = pgl_bracket_store(&bracket, addr, (unsigned)(last - addr) + 1);
        kill_range(o, addr, last);
        for (unsigned which = 0; which < 2; which++) /* its decoded bytes may be void */
            if (addr >> o->page_bits == held[which] || last >> o->page_bits == held[which])
                assert_int_equal(result, PGL_BRACKET_RESTART);
        restart |= result == PGL_BRACKET_RESTART;
        if (!restart)
            for (unsigned i = 0; i < N_BLOCKS; i++)
                assert_int_equal(emu_is_live(&o->blocks[i]), o->fates[i].live);
    }
    if (emu_below(&o->random, 4) == 0) {
        pgl_bracket_abort(&bracket);
        fate_of(o, block)->listed = false;
        return;
    }
    if (restart && two && emu_below(&o->random, 2))
        assert_int_equal(pgl_bracket_cross(&bracket, held[1]), PGL_BRACKET_RESTART);
    else if (restart)
        assert_int_equal(pgl_bracket_commit(&bracket, &block->tb, NULL), PGL_BRACKET_RESTART);
    for (unsigned i = 0; i < N_BLOCKS; i++)
        assert_int_equal(emu_is_live(&o->blocks[i]), o->fates[i].live);
    assert_int_equal(pgl_bracket_commit(&bracket, &block->tb, NULL), PGL_BRACKET_OK);
    fate_of(o, block)->live = fate_of(o, block)->listed = true;
}

static bool leaf_exists(const struct oracle *o, uint64_t index)
{
    for (unsigned i = 0; i < o->n_leaves; i++)
        if (o->leaves[i] == index >> 9)
            return true;
    return false;
}

/* Whether some listed block with bytes on a page of [first, last] has others on @index. */
static bool is_partner(const struct oracle *o, uint64_t index, uint64_t first, uint64_t last)
{
    for (unsigned i = 0; i < N_BLOCKS; i++) {
        const struct pgl_tb *tb = &o->blocks[i].tb;
        bool in_range = false, here = false;

        if (!o->fates[i].live || !o->fates[i].listed)
            continue;
        for (unsigned which = 0; which < 2; which++) {
            uint64_t page = tb->first[which] >> o->page_bits;

            if (tb->first[which] > tb->last[which])
                continue;
            in_range |= page >= first && page <= last;
            here |= page == index;
        }
        if (in_range && here)
            return true;
    }
    return false;
}

static void op_collection(struct oracle *o)
{
    uint64_t first = any_page(o), last = first + emu_below(&o->random, 600), index = 0, members = 0, want = 0;
    struct pgl_collection collection;

    if (emu_below(&o->random, 20))
        return;
    last = last > o->last_index ? o->last_index : last;
    assert_true(pgl_collection_lock(&collection, o->emu.table, (first << o->page_bits) + emu_below(&o->random, 9),
                                    (last << o->page_bits | o->in_page) - emu_below(&o->random, 9)));
    for (; pgl_collection_next(&collection, &index); index++, members++) {
        assert_true((index >= first && index <= last) ? leaf_exists(o, index) : is_partner(o, index, first, last));
        assert_true(o->emu.table->special & PGL_SPECIAL_EXTERNAL || emu_is_locked(&o->emu, index));
    }
    for (uint64_t page = first; page <= last; page++)
        want += leaf_exists(o, page);
    for (unsigned i = 0; i < N_PAGES; i++)
        want += (o->pages[i] < first || o->pages[i] > last) && is_partner(o, o->pages[i], first, last);
    assert_true(members == want);
    pgl_collection_unlock(&collection);
}

static void op_walk(struct oracle *o)
{
    uint64_t first = any_page(o), last = first + emu_below(&o->random, 600), index = first;
    struct pgl_page *page;

    last = last > o->last_index ? o->last_index : last;
    page = pgl_page_next(o->emu.table, &index, last);
    for (uint64_t want = first; want <= last; want++) {
        if (leaf_exists(o, want)) {
            assert_ptr_equal(page, pgl_page_find(o->emu.table, want));
            assert_true(index == want);
            return;
        }
        assert_null(pgl_page_find(o->emu.table, want));
    }
    assert_null(page);
}

/* ---- comparing ---- */

static void compare_fates(const struct oracle *o)
{
    for (unsigned i = 0; i < N_BLOCKS; i++) {
        assert_int_equal(emu_is_live(&o->blocks[i]), o->fates[i].live);
        assert_int_equal(o->blocks[i].retired, o->fates[i].retired);
    }
}

static void compare_pages(struct oracle *o)
{
    emu_assert_sound(&o->emu);
    assert_int_equal(emu_stats(&o->emu).leaves, o->n_leaves);
    assert_true(TRYLOCK_FAILS || emu_stats(&o->emu).retries == 0);
    assert_int_equal(emu_stats(&o->emu).contended, 0);
    for (unsigned i = 0; i < N_PAGES; i++) {
        uint64_t first = o->pages[i] << o->page_bits, last = first | o->in_page;
        unsigned want = 0;

        for (unsigned j = 0; j < N_BLOCKS; j++)
            want += o->fates[j].live && o->fates[j].listed && meets(&o->blocks[j], first, last);
        assert_int_equal(emu_count(&o->emu, o->pages[i]), want);
        assert_int_equal(o->trapped[i], want > 0);
    }
}

static void test_oracle_agrees(void **state)
{
    static void (*const ops[])(struct oracle *) = {
        op_link,     op_link,  op_link,  op_link,  op_link,          op_link,  op_link_equal,
        op_unlisted, op_store, op_store, op_store, op_store_bracket, op_range, op_page,
        op_flush,    op_walk,  op_kill_one,        op_bracket_stores,          op_collection,
    };
    const struct config *config = *state;
    const char *text = getenv("PGL_STEPS");
    unsigned steps = text ? (unsigned)strtoul(text, NULL, 0) : STEPS;
    struct oracle *o = calloc(1, sizeof(*o));

    init_oracle(o, config, emu_seed("oracle"));
    for (unsigned i = 0; i < N_BLOCKS; i++)
        pgl_tb_init(&o->blocks[i].tb);
    for (o->step = 0; o->step < steps; o->step++) {
        ops[emu_below(&o->random, sizeof(ops) / sizeof(*ops))](o);
        compare_fates(o);
        if (o->step % 128 == 0)
            compare_pages(o);
    }
    compare_pages(o);
#ifdef ORACLE_TRYLOCK
    assert_true(n_refused > 0 && emu_stats(&o->emu).retries > 0);
#endif
    emu_fini(&o->emu);
    free(o);
}

int main(void)
{
    static struct config configs[] = {
        {10, 32, false}, {10, 48, false}, {10, 64, false}, {12, 32, false}, {12, 48, false},
        {12, 64, false}, {12, 48, true},  {16, 32, false}, {16, 48, false}, {16, 64, false},
        {21, 32, false}, {21, 48, false}, {21, 64, false}, {12, 19, false}, {10, 20, false}, {13, 22, false},
    };
    enum { N = sizeof(configs) / sizeof(*configs) };
    struct CMUnitTest tests[N];
    char names[N][60];

    for (unsigned i = 0; i < N; i++) {
        snprintf(names[i], sizeof(names[i]), "test_oracle_agrees_%u_%u%s", configs[i].page_bits, configs[i].addr_bits,
                 configs[i].external ? "_external" : "");
        tests[i] = (struct CMUnitTest){names[i], test_oracle_agrees, NULL, NULL, &configs[i]};
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
