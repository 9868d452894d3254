/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Operations of the target fuzz_table.c that make blocks in brackets, and stores inside these. */
#include "table_bracket.h"

enum {
    STORES = PGL_BRACKET_STORES + 4,
    CROSSINGS = 2 * PGL_BRACKET_INLINE,
};

/* Begin a bracket. False when memory ran out. */
static bool begin_bracket(struct world *world, struct pgl_bracket *bracket, uint64_t index)
{
    if (!pgl_bracket_begin(bracket, world->table, index)) {
        world_note_leaf_if_there(world, index);
        return false;
    }
    world_note_leaf(world, index);
    CHECK(*world_trap_of(world, index));
    return true;
}

/* Cross into a page. False when memory ran out; the bracket is aborted then. */
static bool cross_bracket(struct world *world, struct pgl_bracket *bracket, uint64_t index)
{
    unsigned nrefused = world->nrefused;
    enum pgl_bracket_result result = pgl_bracket_cross(bracket, index);

    if (result == PGL_BRACKET_RESTART) { /* the second time it has both pages */
        CHECK(world->nrefused > nrefused);
        result = pgl_bracket_cross(bracket, index);
    }
    if (result != PGL_BRACKET_OK) {
        world_note_leaf_if_there(world, index);
        pgl_bracket_abort(bracket);
        return false;
    }
    world_note_leaf(world, index);
    CHECK(*world_trap_of(world, index));
    return true;
}

/* Begin a bracket for @block, and cross. */
static bool open_bracket(struct world *world, struct pgl_bracket *bracket, const struct block *block)
{
    return begin_bracket(world, bracket, pgl_tb_first_addr(&block->tb, 0) >> world->page_bits) &&
           (block->second == WORLD_NO_PAGE || cross_bracket(world, bracket, block->second));
}

void table_bracket_link(struct world *world)
{
    struct block *block = world_any_new(world);
    struct pgl_bracket bracket;
    struct pgl_tb *found;

    if (!block || !open_bracket(world, &bracket, block)) {
        return;
    }
    CHECK(pgl_bracket_commit(&bracket, &block->tb, &found) == PGL_BRACKET_OK);
    CHECK(found == &block->tb);
    block->fate = FATE_LIVE;
}

void table_bracket_link_equal(struct world *world)
{
    struct block *block = world_any_new(world), *equal = world_any_block(world);
    struct pgl_bracket bracket;
    struct pgl_tb *found;

    if (!block || equal->fate != FATE_LIVE || !equal->listed || !open_bracket(world, &bracket, block)) {
        return;
    }
    world->equal = equal;
    CHECK(pgl_bracket_commit(&bracket, &block->tb, &found) == PGL_BRACKET_EXISTS);
    CHECK(found == &equal->tb);
    world->equal = NULL;
}

static void check_held(struct world *world, const uint64_t *pages, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        CHECK(*world_trap_of(world, pages[i]));
        CHECK(world->table->special & PGL_SPECIAL_EXTERNAL ||
              pgl_page_find(world->table, pages[i])->head & PGL_HEAD_LOCK);
    }
}

/*
 * Cross into page @n of @pages. After a restart the decoding begins again, and finds the pages held. False when memory
 * ran out; the bracket is aborted then.
 */
static bool cross_next(struct world *world, struct pgl_bracket *bracket, const uint64_t *pages, unsigned n)
{
    if (!cross_bracket(world, bracket, pages[n])) {
        return false;
    }
    check_held(world, pages, n + 1);
    for (unsigned i = 0; i < n; i++) {
        CHECK(pgl_bracket_cross(bracket, pages[i]) == PGL_BRACKET_OK);
    }
    return true;
}

/* A bracket that comes to nothing, on up to CROSSINGS + 1 pages, of which some are named twice. */
void table_bracket_cross_about(struct world *world)
{
    uint64_t pages[CROSSINGS + 1] = {world_any_page(world)};
    unsigned n = 1, end = eat(&world->input) % CROSSINGS + 1;
    struct pgl_bracket bracket;

    if (!begin_bracket(world, &bracket, pages[0])) {
        return;
    }
    for (; n < end; n++) {
        pages[n] = world_any_page(world);
        if (!cross_next(world, &bracket, pages, n)) {
            return;
        }
    }
    if (world->last_index < UINT64_MAX) {
        CHECK(pgl_bracket_cross(&bracket, world->last_index + 1) == PGL_BRACKET_ERROR);
    }
    if (eat(&world->input) % 2) { /* a store to the last page makes the decoding void; all pages are held again */
        uint64_t addr = pages[n - 1] << world->page_bits;

        CHECK(pgl_bracket_store(&bracket, addr, 1) == PGL_BRACKET_RESTART);
        world_note_store(world, world_kill_range(world, addr, addr));
        CHECK(pgl_bracket_cross(&bracket, pages[0]) == PGL_BRACKET_RESTART);
        check_held(world, pages, n);
        if (!cross_bracket(world, &bracket, world_any_page(world))) {
            return;
        }
    }
    CHECK(pgl_bracket_is_open(&bracket));
    pgl_bracket_abort(&bracket);
    CHECK(!pgl_bracket_is_open(&bracket));
}

/* Cross into all pages of a superblock but the first. */
static bool cross_all(struct world *world, struct pgl_bracket *bracket, const uint64_t *pages, unsigned n)
{
    for (unsigned i = 1; i < n; i++) {
        if (!cross_next(world, bracket, pages, i)) {
            return false;
        }
    }
    return true;
}

/* A block of up to WORLD_EXTENTS extents. A store to one of its pages, now and then, makes the first decoding void. */
void table_bracket_link_super(struct world *world)
{
    struct block *block = world_any_block(world);
    uint64_t pages[WORLD_EXTENTS];
    struct pgl_bracket bracket;
    unsigned n, choice = eat(&world->input);

    if (block->fate == FATE_LIVE) {
        return;
    }
    block->fate = FATE_NONE;
    block->listed = true;
    n = world_choose_extents(world, block, pages);
    if (!begin_bracket(world, &bracket, pages[0]) || !cross_all(world, &bracket, pages, n)) {
        return;
    }
    if (choice % 4 == 0) {
        uint64_t addr = pages[choice / 4 % n] << world->page_bits;

        CHECK(pgl_bracket_store(&bracket, addr, 1) == PGL_BRACKET_RESTART);
        world_note_store(world, world_kill_range(world, addr, addr));
        CHECK(pgl_bracket_commit(&bracket, &block->tb, NULL) == PGL_BRACKET_RESTART);
        check_held(world, pages, n);
        /* The second decoding goes another way. */
        n = world_choose_extents(world, block, pages);
        if (!cross_bracket(world, &bracket, pages[0]) || !cross_all(world, &bracket, pages, n)) {
            return;
        }
    }
    CHECK(pgl_bracket_commit(&bracket, &block->tb, NULL) == PGL_BRACKET_OK);
    block->fate = FATE_LIVE;
}

/* One store inside a bracket that holds the pages of @block. Another page may be busy. True when a restart is due. */
static bool store_in_bracket(struct world *world, struct pgl_bracket *bracket, const struct block *block)
{
    uint64_t addr = world_any_addr(world), second = block->second;
    uint64_t first = pgl_tb_first_addr(&block->tb, 0) >> world->page_bits, busy = world_any_page(world);
    uint64_t len = world_any_len(world), last = addr + (len - 1);
    struct pgl_page *page = eat(&world->input) % 2 ? pgl_page_find(world->table, busy) : NULL;
    enum pgl_bracket_result result;
    bool hit;

    if (!world_is_in_table(world, addr, len)) {
        CHECK(pgl_bracket_store(bracket, addr, len) == PGL_BRACKET_ERROR);
        return false;
    }
    if (!len) {
        CHECK(pgl_bracket_store(bracket, addr, 0) == (bracket->nstores ? PGL_BRACKET_RESTART : PGL_BRACKET_OK));
        return bracket->nstores;
    }
    if (busy == first || busy == second || world->table->special) { /* locks of another kind */
        page = NULL;
    }
    if (bracket->nstores + 2 > PGL_BRACKET_STORES) { /* the stores before would be answered first, and wait for it */
        page = NULL;
    }
    if (page) {
        pgl_page_lock(world->table, page);
    }
    result = pgl_bracket_store(bracket, addr, len);
    hit = world_kill_range(world, addr, last);
    if (result == PGL_BRACKET_OK) {
        world_note_store(world, hit);
    } else { /* in two parts, perhaps, and a later store may have met some of its blocks before */
        world->most_hits += 2;
    }
    if (page) {
        pgl_page_unlock(world->table, page);
    }
    CHECK(result == PGL_BRACKET_OK || result == PGL_BRACKET_RESTART);
    addr >>= world->page_bits;
    if ((first >= addr && first <= last >> world->page_bits) ||
        (second >= addr && second <= last >> world->page_bits)) {
        CHECK(result == PGL_BRACKET_RESTART);
    }
    if (page && hit && addr == busy && last >> world->page_bits == busy) {
        CHECK(result == PGL_BRACKET_RESTART);
    }
    return result == PGL_BRACKET_RESTART;
}

void table_bracket_link_with_stores(struct world *world)
{
    struct block *block = world_any_new(world);
    unsigned end = eat(&world->input);
    struct pgl_bracket bracket;
    bool restart = false;

    if (!block || !open_bracket(world, &bracket, block)) {
        return;
    }
    for (unsigned n = eat(&world->input) % STORES; n; n--) {
        restart |= store_in_bracket(world, &bracket, block);
    }
    if (!restart) {
        world_compare_blocks(world);
    }
    if (end % 4 == 0) {
        pgl_bracket_abort(&bracket);
        return;
    }
    if (restart && block->second != WORLD_NO_PAGE && end % 4 == 1) {
        CHECK(pgl_bracket_cross(&bracket, block->second) == PGL_BRACKET_RESTART);
    } else if (restart) {
        CHECK(pgl_bracket_commit(&bracket, &block->tb, NULL) == PGL_BRACKET_RESTART);
    }
    if (restart && end % 4 == 2) { /* the second decoding finds other bytes, on another second page or on none */
        world_choose_bytes(world, block, end / 4, pgl_tb_first_addr(&block->tb, 0) >> world->page_bits);
        if (block->second != WORLD_NO_PAGE && !cross_bracket(world, &bracket, block->second)) {
            return;
        }
    }
    CHECK(pgl_bracket_commit(&bracket, &block->tb, NULL) == PGL_BRACKET_OK);
    block->fate = FATE_LIVE;
}
