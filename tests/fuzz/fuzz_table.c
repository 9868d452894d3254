/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sequences of operations on a small table, against an oracle: an array of extents, and a set of leaves. One thread;
 * but for stores inside a bracket other pages can be busy, as if another thread held them. Memory can run out at any
 * allocation (linked with --wrap for calloc, malloc and posix_memalign).
 */
#include <errno.h>
#include <string.h>

#include <pagelock/pagelock.h>

#include "fuzz.h"

enum {
    NPAGES = 8,
    NBLOCKS = 24,
    NLEAVES = 4 * NPAGES,
    LEAF = 512,
    STORES = PGL_BRACKET_STORES + 4,
};

#define NO_PAGE UINT64_MAX

enum fate {
    FATE_NONE, /* never linked, or memory to be used again */
    FATE_LIVE,
    FATE_DEAD,
};

struct block {
    struct pgl_tb tb;
    enum fate fate;
    bool listed;
    unsigned retired, deaths; /* by the library and by the oracle */
    uint64_t second;          /* the page that its bracket crosses into, or NO_PAGE */
};

struct world {
    struct input input;
    struct pgl_table *table;
    unsigned page_bits;
    uint64_t last_addr, last_index, in_page;
    uint64_t page[NPAGES]; /* all different */
    unsigned npages;
    bool trapped[NPAGES];
    uint64_t leaf[NLEAVES];
    unsigned nleaves;
    struct block block[NBLOCKS];
    struct block *equal; /* what publish is to return */
    unsigned nretired;   /* calls */
};

/* ---- memory ---- */

static unsigned fail_in; /* how many allocations from now one fails; 0: none does */
static bool failed;      /* one has, in this operation */

static bool fails(void)
{
    if (!fail_in || --fail_in)
        return false;
    errno = ENOMEM;
    return failed = true;
}

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
int __real_posix_memalign(void **memory, size_t alignment, size_t size);
int __wrap_posix_memalign(void **memory, size_t alignment, size_t size);

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

int __wrap_posix_memalign(void **memory, size_t alignment, size_t size)
{
    return fails() ? ENOMEM : __real_posix_memalign(memory, alignment, size);
}

/* ---- callbacks ---- */

static bool *trap_of(struct world *world, uint64_t index)
{
    for (unsigned i = 0; i < world->npages; i++)
        if (world->page[i] == index)
            return &world->trapped[i];
    CHECK(!"a callback for a page that has never had code");
    return NULL;
}

static void first_code(uint64_t index, void *opaque)
{
    *trap_of(opaque, index) = true;
}

static void no_code(uint64_t index, void *opaque)
{
    CHECK(*trap_of(opaque, index));
    *trap_of(opaque, index) = false;
}

static struct pgl_tb *publish(struct pgl_tb *tb, void *opaque)
{
    struct world *world = opaque;

    CHECK(pgl_tb_is_live(tb));
    return world->equal ? &world->equal->tb : NULL;
}

static void retired(struct pgl_tb *chain, void *opaque)
{
    struct world *world = opaque;

    world->nretired++;
    for (struct pgl_tb *tb = chain; tb; tb = pgl_tb_chain_next(tb)) {
        CHECK(!pgl_tb_is_live(tb));
        ((struct block *)tb)->retired++;
    }
}

static const struct pgl_tb_ops ops = {first_code, no_code, publish, retired};

/* ---- the oracle ---- */

static void note_leaf(struct world *world, uint64_t index)
{
    for (unsigned i = 0; i < world->nleaves; i++)
        if (world->leaf[i] == index / LEAF)
            return;
    world->leaf[world->nleaves++] = index / LEAF;
}

/* What a call that ran out of memory allocated before it did is there. */
static void note_leaf_if_there(struct world *world, uint64_t index)
{
    CHECK(failed && errno == ENOMEM);
    if (pgl_page_find(world->table, index))
        note_leaf(world, index);
}

static bool leaf_exists(const struct world *world, uint64_t index)
{
    for (unsigned i = 0; i < world->nleaves; i++)
        if (world->leaf[i] == index / LEAF)
            return true;
    return false;
}

static bool has(const struct block *block, unsigned which)
{
    return block->tb.first[which] <= block->tb.last[which];
}

static bool meets(const struct block *block, uint64_t first, uint64_t last)
{
    if (block->fate != FATE_LIVE || !block->listed)
        return false;
    for (unsigned which = 0; which < 2; which++)
        if (has(block, which) && block->tb.first[which] <= last && block->tb.last[which] >= first)
            return true;
    return false;
}

static bool on_page(const struct world *world, const struct block *block, uint64_t index)
{
    return meets(block, index << world->page_bits, index << world->page_bits | world->in_page);
}

static bool kill(struct block *block)
{
    if (block->fate != FATE_LIVE)
        return false;
    block->fate = FATE_DEAD;
    block->deaths++;
    return true;
}

static bool kill_range(struct world *world, uint64_t first, uint64_t last)
{
    bool any = false;

    for (unsigned i = 0; i < NBLOCKS; i++)
        if (meets(&world->block[i], first, last))
            any |= kill(&world->block[i]);
    return any;
}

static void compare_blocks(const struct world *world)
{
    for (unsigned i = 0; i < NBLOCKS; i++) {
        CHECK(pgl_tb_is_live(&world->block[i].tb) == (world->block[i].fate == FATE_LIVE));
        CHECK(world->block[i].retired == world->block[i].deaths);
    }
}

static bool count_tb(struct pgl_tb *tb, void *opaque)
{
    CHECK(pgl_tb_is_live(tb));
    ++*(unsigned *)opaque;
    return true;
}

static void say(const char *what, void *opaque)
{
    (void)opaque;
    fprintf(stderr, "%s\n", what);
}

static void compare_pages(struct world *world)
{
    struct pgl_table_stats stats;

    CHECK(pgl_table_check(world->table, say, NULL) == 0);
    pgl_table_get_stats(world->table, &stats);
    CHECK(stats.leaves == world->nleaves);
    CHECK(stats.retries == 0 && stats.contended == 0);
    for (unsigned i = 0; i < world->npages; i++) {
        struct pgl_page *page = pgl_page_find(world->table, world->page[i]);
        unsigned wanted = 0, found = 0;

        for (unsigned n = 0; n < NBLOCKS; n++)
            wanted += on_page(world, &world->block[n], world->page[i]);
        CHECK(!!page == leaf_exists(world, world->page[i]));
        if (page) {
            pgl_page_lock(world->table, page);
            CHECK(pgl_page_foreach_tb(world->table, page, count_tb, &found));
            pgl_page_unlock(world->table, page);
        }
        CHECK(found == wanted);
        CHECK(world->trapped[i] == (wanted > 0));
    }
}

/* ---- choosing ---- */

static struct block *any_block(struct world *world)
{
    return &world->block[eat(&world->input) % NBLOCKS];
}

static uint64_t any_page(struct world *world)
{
    return world->page[eat(&world->input) % world->npages];
}

/* Near an edge of some block's bytes, or on a page. */
static uint64_t any_addr(struct world *world)
{
    unsigned choice = eat(&world->input);
    uint64_t addr;

    if (choice & 1) {
        const struct block *block = &world->block[(choice >> 3) % NBLOCKS];
        unsigned which = choice >> 1 & 1;

        addr = (choice & 4 ? block->tb.first[which] : block->tb.last[which]) - 2 + eat(&world->input) % 5;
    } else {
        addr = (world->page[(choice >> 1) % world->npages] << world->page_bits) +
               (eat_bytes(&world->input, 3) & world->in_page);
    }
    return addr & world->last_addr;
}

static const struct pgl_tb *any_running(struct world *world, const struct block **running)
{
    unsigned choice = eat(&world->input);

    *running = choice % 2 ? &world->block[choice / 2 % NBLOCKS] : NULL;
    return *running ? &(*running)->tb : NULL;
}

/* Bytes of a block on a page. */
static void any_bytes(struct world *world, struct block *block, unsigned which, uint64_t index)
{
    uint64_t first = eat_bytes(&world->input, 3) & world->in_page, size = eat(&world->input);
    uint64_t base = index << world->page_bits;

    if (size == 255)
        size = world->in_page;
    pgl_tb_set_bytes(&block->tb, which, base + first,
                     base + (first + size > world->in_page ? world->in_page : first + size));
}

/*
 * The page that the bracket of a block crosses into. When all bytes are on one page it may be any page, that one again,
 * or none: a decoder may look at a page of which it uses no byte.
 */
static uint64_t any_second(struct world *world, const struct block *block, unsigned choice)
{
    uint64_t first = block->tb.first[0] >> world->page_bits;

    if (has(block, 1) && block->tb.first[1] >> world->page_bits != first)
        return block->tb.first[1] >> world->page_bits;
    switch (choice % 4) {
    case 0:
        return has(block, 1) ? first : NO_PAGE;
    case 1:
        return has(block, 1) ? NO_PAGE : first;
    default:
        return world->page[choice / 4 % world->npages];
    }
}

/* Bytes for a block that begins on page @index: on that page, on that page twice, or on it and another. */
static void choose_bytes(struct world *world, struct block *block, unsigned choice, uint64_t index)
{
    unsigned kind = choice % 4;

    pgl_tb_init(&block->tb);
    any_bytes(world, block, 0, index);
    if (kind)
        any_bytes(world, block, 1, kind == 1 ? index : any_page(world));
    block->second = any_second(world, block, choice / 4);
}

/* A block made new, or NULL when the chosen one is alive. */
static struct block *any_new(struct world *world)
{
    struct block *block = any_block(world);
    unsigned choice = eat(&world->input);
    uint64_t index = any_page(world);

    if (block->fate == FATE_LIVE)
        return NULL;
    block->fate = FATE_NONE;
    block->listed = true;
    choose_bytes(world, block, choice, index);
    return block;
}

static void expect(struct world *world, int answer, bool hit, const struct block *running, unsigned nretired)
{
    CHECK(answer == ((hit ? PGL_HIT : 0) | (running && running->fate != FATE_LIVE ? PGL_RUNNING_DEAD : 0)));
    /* without memory for the set of pages the blocks die one by one */
    CHECK(failed ? world->nretired - nretired >= hit : world->nretired - nretired == hit);
}

/* ---- operations ---- */

/* Begin a bracket. False when memory ran out. */
static bool begin_bracket(struct world *world, struct pgl_bracket *bracket, uint64_t index)
{
    if (!pgl_bracket_begin(bracket, world->table, index)) {
        note_leaf_if_there(world, index);
        return false;
    }
    note_leaf(world, index);
    CHECK(*trap_of(world, index));
    return true;
}

/* Cross into a page. False when memory ran out; the bracket is aborted then. */
static bool cross_bracket(struct world *world, struct pgl_bracket *bracket, uint64_t index)
{
    if (pgl_bracket_cross(bracket, index) != PGL_BRACKET_OK) {
        note_leaf_if_there(world, index);
        pgl_bracket_abort(bracket);
        return false;
    }
    note_leaf(world, index);
    CHECK(*trap_of(world, index));
    return true;
}

/* Begin a bracket for @block, and cross. */
static bool open_bracket(struct world *world, struct pgl_bracket *bracket, const struct block *block)
{
    return begin_bracket(world, bracket, block->tb.first[0] >> world->page_bits) &&
           (block->second == NO_PAGE || cross_bracket(world, bracket, block->second));
}

static void op_link(struct world *world)
{
    struct block *block = any_new(world);
    struct pgl_bracket bracket;
    struct pgl_tb *found;

    if (!block || !open_bracket(world, &bracket, block))
        return;
    CHECK(pgl_bracket_commit(&bracket, &block->tb, &found) == PGL_BRACKET_OK);
    CHECK(found == &block->tb);
    block->fate = FATE_LIVE;
}

static void op_link_equal(struct world *world)
{
    struct block *block = any_new(world), *equal = any_block(world);
    struct pgl_bracket bracket;
    struct pgl_tb *found;

    if (!block || equal->fate != FATE_LIVE || !equal->listed || !open_bracket(world, &bracket, block))
        return;
    world->equal = equal;
    CHECK(pgl_bracket_commit(&bracket, &block->tb, &found) == PGL_BRACKET_EXISTS);
    CHECK(found == &equal->tb);
    world->equal = NULL;
}

static void op_link_unlisted(struct world *world)
{
    struct block *block = any_block(world);

    if (block->fate == FATE_LIVE)
        return;
    pgl_tb_init(&block->tb);
    pgl_tb_link_unlisted(world->table, &block->tb);
    block->fate = FATE_LIVE;
    block->listed = false;
}

/* Crosses that come to nothing. The first to another page counts, and a third page is refused. */
static void op_cross_about(struct world *world)
{
    uint64_t index = any_page(world), second = index;
    struct pgl_bracket bracket;

    if (!begin_bracket(world, &bracket, index))
        return;
    for (unsigned n = eat(&world->input) % 4; n; n--) {
        uint64_t next = any_page(world);

        if (second != index && next != index && next != second) {
            CHECK(pgl_bracket_cross(&bracket, next) == PGL_BRACKET_ERROR);
        } else {
            if (!cross_bracket(world, &bracket, next))
                return;
            second = next != index ? next : second;
        }
        CHECK(*trap_of(world, index));
        CHECK(*trap_of(world, second));
    }
    if (world->last_index < UINT64_MAX)
        CHECK(pgl_bracket_cross(&bracket, world->last_index + 1) == PGL_BRACKET_ERROR);
    pgl_bracket_abort(&bracket);
}

/* One store inside a bracket that holds the pages of @block. Another page may be busy. True when a restart is due. */
static bool store_in_bracket(struct world *world, struct pgl_bracket *bracket, const struct block *block)
{
    uint64_t addr = any_addr(world), second = block->second;
    uint64_t first = block->tb.first[0] >> world->page_bits, busy = any_page(world);
    unsigned len = eat(&world->input) % 66;
    struct pgl_page *page = eat(&world->input) % 2 ? pgl_page_find(world->table, busy) : NULL;
    enum pgl_bracket_result result;
    bool hit;

    if (!len || len > 64 || world->last_addr - addr < len - 1) {
        CHECK(pgl_bracket_store(bracket, addr, len) == PGL_BRACKET_ERROR);
        return false;
    }
    if (busy == first || busy == second || world->table->special) /* locks of another kind */
        page = NULL;
    if (bracket->nstores + 2 > PGL_BRACKET_STORES) /* the stores before would be answered first, and wait for it */
        page = NULL;
    if (page)
        pgl_page_lock(world->table, page);
    result = pgl_bracket_store(bracket, addr, len);
    if (page)
        pgl_page_unlock(world->table, page);
    CHECK(result == PGL_BRACKET_OK || result == PGL_BRACKET_RESTART);
    for (uint64_t index = addr >> world->page_bits; index <= (addr + len - 1) >> world->page_bits; index++)
        if (index == first || index == second)
            CHECK(result == PGL_BRACKET_RESTART);
    hit = kill_range(world, addr, addr + len - 1);
    if (page && hit && addr >> world->page_bits == busy && (addr + len - 1) >> world->page_bits == busy)
        CHECK(result == PGL_BRACKET_RESTART);
    return result == PGL_BRACKET_RESTART;
}

static void op_bracket_with_stores(struct world *world)
{
    struct block *block = any_new(world);
    unsigned end = eat(&world->input);
    struct pgl_bracket bracket;
    bool restart = false;

    if (!block || !open_bracket(world, &bracket, block))
        return;
    for (unsigned n = eat(&world->input) % STORES; n; n--)
        restart |= store_in_bracket(world, &bracket, block);
    if (!restart)
        compare_blocks(world);
    if (end % 4 == 0) {
        pgl_bracket_abort(&bracket);
        return;
    }
    if (restart && block->second != NO_PAGE && end % 4 == 1)
        CHECK(pgl_bracket_cross(&bracket, block->second) == PGL_BRACKET_RESTART);
    else if (restart)
        CHECK(pgl_bracket_commit(&bracket, &block->tb, NULL) == PGL_BRACKET_RESTART);
    if (restart && end % 4 == 2) { /* the second decoding finds other bytes, on another second page or on none */
        choose_bytes(world, block, end / 4, block->tb.first[0] >> world->page_bits);
        if (block->second != NO_PAGE && !cross_bracket(world, &bracket, block->second))
            return;
    }
    CHECK(pgl_bracket_commit(&bracket, &block->tb, NULL) == PGL_BRACKET_OK);
    block->fate = FATE_LIVE;
}

static void op_store(struct world *world)
{
    uint64_t addr = any_addr(world);
    unsigned len = eat(&world->input) % 66, nretired = world->nretired;
    const struct block *running;
    const struct pgl_tb *tb = any_running(world, &running);
    bool clean, hit;

    if (!len || len > 64 || world->last_addr - addr < len - 1) {
        CHECK(pgl_store_check(world->table, addr, len, tb) == PGL_ERROR);
        return;
    }
    clean = pgl_store_is_clean(world->table, addr, len);
    hit = kill_range(world, addr, addr + len - 1);
    CHECK(!(clean && hit));
    expect(world, pgl_store_check(world->table, addr, len, tb), hit, running, nretired);
}

static void op_store_bracket(struct world *world)
{
    uint64_t addr = any_addr(world);
    unsigned len = eat(&world->input) % 66, nretired = world->nretired;
    const struct block *running;
    const struct pgl_tb *tb = any_running(world, &running);
    struct pgl_store store;
    int answer;

    if (!len || len > 64 || world->last_addr - addr < len - 1) {
        CHECK(pgl_store_begin(&store, world->table, addr, len, tb) == PGL_ERROR);
        return;
    }
    answer = pgl_store_begin(&store, world->table, addr, len, tb);
    if (answer < 0) {
        note_leaf_if_there(world, addr >> world->page_bits);
        note_leaf_if_there(world, (addr + len - 1) >> world->page_bits);
        return;
    }
    expect(world, answer, kill_range(world, addr, addr + len - 1), running, nretired);
    for (uint64_t index = addr >> world->page_bits; index <= (addr + len - 1) >> world->page_bits; index++) {
        note_leaf(world, index);
        CHECK(pgl_page_find(world->table, index)->head & PGL_HEAD_LOCK || world->table->special);
    }
    pgl_store_end(&store);
}

static void op_invalidate_tb(struct world *world)
{
    struct block *block = any_block(world);
    unsigned nretired = world->nretired;
    const struct block *running;
    const struct pgl_tb *tb = any_running(world, &running);

    if (block->fate == FATE_NONE)
        return;
    expect(world, pgl_invalidate_tb(world->table, &block->tb, tb), kill(block), running, nretired);
}

static void op_invalidate_range(struct world *world)
{
    uint64_t first = any_addr(world), last = any_addr(world);
    unsigned nretired = world->nretired;
    const struct block *running;
    const struct pgl_tb *tb = any_running(world, &running);

    if (first > last)
        CHECK(pgl_invalidate_range(world->table, first, last, tb) == PGL_ERROR);
    else
        expect(world, pgl_invalidate_range(world->table, first, last, tb), kill_range(world, first, last), running,
               nretired);
}

static void op_invalidate_page(struct world *world)
{
    uint64_t index = any_page(world), first = index << world->page_bits;
    unsigned nretired = world->nretired;
    const struct block *running;
    const struct pgl_tb *tb = any_running(world, &running);

    expect(world, pgl_invalidate_page(world->table, index, tb), kill_range(world, first, first | world->in_page),
           running, nretired);
}

static void op_flush(struct world *world)
{
    unsigned nretired = world->nretired;
    const struct block *running;
    const struct pgl_tb *tb = any_running(world, &running);

    expect(world, pgl_flush(world->table, tb), kill_range(world, 0, world->last_addr), running, nretired);
}

/* Whether a page shares a live block with a page of a range. */
static bool is_partner(const struct world *world, uint64_t index, uint64_t first, uint64_t last)
{
    for (unsigned i = 0; i < NBLOCKS; i++)
        if (on_page(world, &world->block[i], index) &&
            meets(&world->block[i], first << world->page_bits, last << world->page_bits | world->in_page))
            return true;
    return false;
}

static void op_collection(struct world *world)
{
    uint64_t first_addr = any_addr(world), last_addr = any_addr(world), index = 0, n = 0, max = UINT64_MAX;
    uint64_t first = first_addr >> world->page_bits, last = last_addr >> world->page_bits;
    struct pgl_collection collection;
    size_t wanted = 0;

    if (first_addr > last_addr) {
        CHECK(!pgl_collection_lock(&collection, world->table, first_addr, last_addr));
        return;
    }
    if (!pgl_collection_lock(&collection, world->table, first_addr, last_addr)) {
        CHECK(failed && errno == ENOMEM);
        return;
    }
    for (; pgl_collection_next(&collection, &index); max = index++, n++)
        CHECK(index >= first && index <= last ? leaf_exists(world, index) : is_partner(world, index, first, last));
    CHECK(max == pgl_collection_max(&collection));
    for (unsigned i = 0; i < world->nleaves; i++)
        for (index = world->leaf[i] * LEAF; index - world->leaf[i] * LEAF < LEAF; index++)
            wanted += index >= first && index <= last;
    for (unsigned i = 0; i < world->npages; i++)
        wanted += (world->page[i] < first || world->page[i] > last) && is_partner(world, world->page[i], first, last);
    CHECK(n == wanted);
    pgl_collection_unlock(&collection);
}

static void op_walk(struct world *world)
{
    uint64_t index = any_addr(world) >> world->page_bits, last = any_addr(world) >> world->page_bits;
    uint64_t wanted = UINT64_MAX, at = index;
    struct pgl_page *page = pgl_page_next(world->table, &at, last);

    for (unsigned i = 0; i < world->nleaves; i++) {
        uint64_t low = world->leaf[i] * LEAF, high = low + LEAF - 1;

        if (high >= index && (low > index ? low : index) <= last && (low > index ? low : index) < wanted)
            wanted = low > index ? low : index;
    }
    CHECK(!!page == (wanted != UINT64_MAX));
    if (page)
        CHECK(at == wanted && page == pgl_page_find(world->table, wanted));
}

static void op_get_and_lock(struct world *world)
{
    uint64_t index = any_page(world), second = any_page(world);
    struct pgl_page *page = pgl_page_get(world->table, index);

    if (!page) {
        note_leaf_if_there(world, index);
        return;
    }
    CHECK(page == pgl_page_find(world->table, index));
    note_leaf(world, index);
    CHECK(pgl_page_trylock(world->table, page));
    pgl_page_unlock(world->table, page);
    if (!pgl_page_lock_pair(world->table, index, second)) {
        note_leaf_if_there(world, second);
        return;
    }
    note_leaf(world, second);
    pgl_page_unlock_pair(world->table, index, second);
    if (world->last_index < UINT64_MAX) {
        CHECK(!pgl_page_find(world->table, world->last_index + 1));
        CHECK(!pgl_page_get(world->table, world->last_index + 1));
        CHECK(pgl_invalidate_page(world->table, world->last_index + 1, NULL) == PGL_ERROR);
    }
}

static void op_lock_tb(struct world *world)
{
    const struct block *block = any_block(world);

    if (block->fate == FATE_NONE)
        return;
    pgl_tb_lock_pages(world->table, &block->tb);
    CHECK(pgl_tb_is_live(&block->tb) == (block->fate == FATE_LIVE));
    pgl_tb_unlock_pages(world->table, &block->tb);
}

static void op_run_short(struct world *world)
{
    fail_in = 1 + eat(&world->input) % 4;
}

/* ---- a run ---- */

static void (*const operations[])(struct world *) = {
    op_link,
    op_link,
    op_link,
    op_link,
    op_store,
    op_store,
    op_store_bracket,
    op_link_equal,
    op_link_unlisted,
    op_bracket_with_stores,
    op_invalidate_tb,
    op_invalidate_range,
    op_invalidate_page,
    op_flush,
    op_collection,
    op_walk,
    op_get_and_lock,
    op_lock_tb,
    op_cross_about,
    op_run_short,
};

static void add_page(struct world *world, uint64_t index)
{
    for (unsigned i = 0; i < world->npages; i++)
        if (world->page[i] == (index & world->last_index))
            return;
    world->page[world->npages++] = index & world->last_index;
}

/* Neighbours, pages of one leaf and of others, the first and the last page of the table. */
static void choose_pages(struct world *world)
{
    static const uint64_t distances[] = {0, 1, 2, 300, 511, 512};
    unsigned choice = eat(&world->input);
    uint64_t base = choice & 8 ? eat_bytes(&world->input, 8) : 0;

    if (choice & 1)
        base = world->last_index - eat(&world->input) % 8;
    for (unsigned i = 0; i < sizeof(distances) / sizeof(distances[0]); i++)
        add_page(world, base + distances[i]);
    add_page(world, choice & 2 ? world->last_index : base + 3);
    add_page(world, choice & 4 ? 0 : base + 5 * LEAF);
}

static void begin(struct world *world)
{
    static const uint8_t addr_bits[] = {24, 32, 40, 48, 57, 64};
    unsigned choice = eat(&world->input);
    struct pgl_table_config config = {
        .page_bits = PGL_PAGE_BITS_MIN + choice % 12,
        .addr_bits = addr_bits[choice / 12 % 6],
        .external_locking = choice / 72 == 2,
        .ops = &ops,
        .opaque = world,
    };

    if (choice / 72 == 3)
        config.addr_bits = config.page_bits + choice % 4;
    world->table = pgl_table_new(&config);
    CHECK(world->table);
    world->page_bits = config.page_bits;
    world->last_addr = UINT64_MAX >> (64 - config.addr_bits);
    world->last_index = world->last_addr >> config.page_bits;
    world->in_page = (UINT64_C(1) << config.page_bits) - 1;
    choose_pages(world);
    for (unsigned i = 0; i < NBLOCKS; i++)
        pgl_tb_init(&world->block[i].tb);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world world = {.input = {data, data + size}};

    begin(&world);
    for (unsigned step = 1; world.input.at < world.input.end; step++) {
        failed = false;
        operations[eat(&world.input) % (sizeof(operations) / sizeof(operations[0]))](&world);
        compare_blocks(&world);
        if (step % 32 == 0)
            compare_pages(&world);
    }
    fail_in = 0;
    compare_pages(&world);
    pgl_table_free(world.table);
    return 0;
}
