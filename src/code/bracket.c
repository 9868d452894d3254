/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bracket: it spans from before guest bytes are read until the block that is made of them can be found.
 *
 * OBJECTS      A bracket belongs to one thread and holds one page or two. While it holds a page that has no blocks, the
 * code bit of the page is set, and `first_code` has been called since the page was locked.
 *
 * LOCK ORDER   The first page, then a higher second page. A lower second page is tried.
 *
 * OUT OF ORDER When the try fails, the bracket unlocks its first page and locks both pages in order. Stores may come in
 * between, therefore the decoded bytes are void, and the caller restarts.
 *
 * WRITERS      To take a page is to lock it, set its code bit, and call `first_code`. A full fence follows every take,
 * before the bytes of the page are read. A commit marks the block live, publishes it, lists it, adds it to the filters,
 * and unlocks.
 * The block is published before it is listed, so that a block that turns out to have an equal is never listed. Other
 * threads cannot observe the gap, because the page is locked until both are done: lists and filters are read under that
 * lock, or without it but then ignored while the head is locked.
 *
 * A store inside the bracket is answered at once if that needs no waiting. Otherwise the bracket remembers
 * it. Before the bracket reports the restart that the store causes, it unlocks its pages and kills the blocks that the
 * store meets. A store that finds no room has the remembered stores answered first; no other store waits.
 *
 * INVARIANTS
 *   B1  No guest byte is read between a take and its fence. (stress_bracket, tests/explore)
 *   B2  When a page is unlocked without blocks, its code bit has been cleared and `no_code` called under its lock.
 *       (test_bracket_untraps_under_the_lock, test_bracket_abort_untraps_an_empty_page)
 *   B3  A cross or commit reports a restart only when no remembered store is left.
 *       (test_bracket_store_restarts_the_next_cross, test_bracket_store_to_a_held_page_restarts_the_commit)
 *   B4  A bracket holds no pages but index[0] and index[1].
 *   B5  If the bracket's `head` is not 0, it is the head of the first page without the lock bit, there is no second
 *       page, the first page has no exact map, and no store is remembered.
 *   B6  A second page to which the current decoding has crossed stays held until the decoding is void or the bracket
 *       ends. A cross to a third page is refused. (test_bracket_cross_to_a_third_page_is_refused)
 *   B7  A remembered store keeps its own bytes; two are never merged. (test_bracket_remembers_each_store_by_its_bytes)
 */
#include <errno.h>

#include "filter_internal.h"
#include "kill_internal.h"
#include "store_internal.h"
#include "table_internal.h"
#include "tally_internal.h"
#include "tblist_internal.h"
#include "witness_internal.h"

#define NO_PAGE UINT64_MAX

/* Make the locked page @index the first or second page of the bracket. */
static void adopt(struct pgl_bracket *bracket, unsigned which, uint64_t index, struct pgl_leaf *leaf)
{
    bracket->index[which] = index;
    bracket->leaf[which] = leaf;
    if (!pgl_list_first(pgl_leaf_page(leaf, index))) {
        pgl_page_claim_code(bracket->table, leaf, index);
    }
}

static void take(struct pgl_bracket *bracket, unsigned which, uint64_t index, struct pgl_leaf *leaf)
{
    pgl_page_lock_at(bracket->table, pgl_leaf_page(leaf, index), pgl_witness_place());
    adopt(bracket, which, index, leaf);
}

/* Unlock the first or second page of the bracket, if it is held. */
static void unlock_page(struct pgl_bracket *bracket, unsigned which)
{
    uint64_t index = bracket->index[which];
    struct pgl_page *page;

    if (index == NO_PAGE) {
        return;
    }
    page = pgl_leaf_page(bracket->leaf[which], index);
    if (!pgl_list_first(page)) {
        pgl_page_drop_code(bracket->table, bracket->leaf[which], index);
    }
    pgl_page_unlock_at(bracket->table, page, pgl_witness_place());
    bracket->index[which] = NO_PAGE;
}

/*
 * Answer the remembered stores. The caller holds no page. store_on_page() fenced after a store to another page. A store
 * to a page of the bracket needs no fence. The page was held when the store was made, so every block of the old bytes
 * is on its list; and a thread that makes a block later locks the page after this thread has unlocked it.
 */
static void answer_stores(struct pgl_bracket *bracket)
{
    for (unsigned i = 0; i < bracket->nstores; i++) {
        pgl_kill_range(bracket->table, bracket->stores[i].first_addr, bracket->stores[i].last_addr, true);
    }
    bracket->nstores = 0;
}

/* Unlock the pages, answer the stores, and take the first page and page @second in order. @second may be NO_PAGE. */
static enum pgl_bracket_result restart(struct pgl_bracket *bracket, uint64_t second, struct pgl_leaf *second_leaf)
{
    uint64_t first = bracket->index[0];
    struct pgl_leaf *first_leaf = bracket->leaf[0];

    pgl_tally_add(bracket->table, PGL_TALLY_RESTARTS, 1);
    bracket->crossed = false;
    unlock_page(bracket, 1);
    unlock_page(bracket, 0);
    answer_stores(bracket);
    if (second < first) {
        take(bracket, 1, second, second_leaf);
    }
    take(bracket, 0, first, first_leaf);
    if (second != NO_PAGE && second > first) {
        take(bracket, 1, second, second_leaf);
    }
    pgl_fence_after_lock();
    return PGL_BRACKET_RESTART;
}

static enum pgl_bracket_result restart_with_the_same(struct pgl_bracket *bracket)
{
    return restart(bracket, bracket->index[1], bracket->index[1] == NO_PAGE ? NULL : bracket->leaf[1]);
}

/* Whether the current decoding has crossed, and may have read the second page, which stays held until it is void. */
static bool has_crossed(const struct pgl_bracket *bracket)
{
    return bracket->index[1] != NO_PAGE && bracket->crossed && !bracket->nstores;
}

/*
 * In a lock_debug build, report a bracket that has ended or is not of this thread, and a call inside a callback; then
 * return false. A release build trusts the caller.
 */
static bool is_under_way(const struct pgl_bracket *bracket, const char *place)
{
    if (!PGL_WITNESS) {
        return true;
    }
    if (!pgl_witness_may_call(place)) {
        return false;
    }
    if (bracket->index[0] == NO_PAGE) {
        pgl_witness_breach(PGL_BREACH_NOT_HELD, UINT64_MAX, place, NULL);
        return false;
    }
    return pgl_witness_holds(bracket->table, pgl_leaf_page(bracket->leaf[0], bracket->index[0]), place);
}

static enum pgl_bracket_result refuse(int number)
{
    errno = number;
    return PGL_BRACKET_ERROR;
}

bool pgl_bracket_begin_slow(struct pgl_bracket *bracket, struct pgl_table *table, uint64_t index, const char *place)
{
    struct pgl_leaf *leaf;

    if (!pgl_witness_enters(table, place)) {
        return false;
    }
    leaf = pgl_leaf_get(table, index);
    if (!leaf) {
        return false;
    }
    bracket->table = table;
    bracket->index[1] = NO_PAGE;
    bracket->head = 0;
    bracket->nstores = 0;
    take(bracket, 0, index, leaf);
    pgl_fence_after_lock();
    return true;
}

enum pgl_bracket_result pgl_bracket_cross_at(struct pgl_bracket *bracket, uint64_t index, const char *place)
{
    struct pgl_leaf *leaf;

    if (PGL_UNLIKELY(!is_under_way(bracket, place))) {
        return refuse(EINVAL);
    }
    if (has_crossed(bracket) && index != bracket->index[1]) {
        return index == bracket->index[0] ? PGL_BRACKET_OK : refuse(EINVAL);
    }
    bracket->head = 0;
    leaf = pgl_leaf_get(bracket->table, index);
    if (!leaf) {
        return PGL_BRACKET_ERROR;
    }
    if (bracket->nstores) {
        return restart(bracket, index, leaf);
    }
    bracket->crossed = true;
    if (index == bracket->index[1]) {
        return PGL_BRACKET_OK;
    }
    unlock_page(bracket, 1);
    if (index == bracket->index[0]) {
        return PGL_BRACKET_OK;
    }
    if (index > bracket->index[0]) {
        take(bracket, 1, index, leaf);
    } else if (pgl_page_trylock_at(bracket->table, pgl_leaf_page(leaf, index), place)) {
        adopt(bracket, 1, index, leaf);
    } else {
        return restart(bracket, index, leaf);
    }
    pgl_fence_after_lock();
    return PGL_BRACKET_OK;
}

/*
 * Remember a store. If there is no room, first answer the remembered stores, which unlocks the pages for a while. No
 * work is lost, because those stores have made the decoded bytes void. The new store keeps the restart due.
 */
static void remember(struct pgl_bracket *bracket, uint64_t first_addr, uint64_t last_addr)
{
    bracket->head = 0;
    if (bracket->nstores == PGL_BRACKET_STORES) {
        restart_with_the_same(bracket);
    }
    bracket->stores[bracket->nstores].first_addr = first_addr;
    bracket->stores[bracket->nstores].last_addr = last_addr;
    bracket->nstores++;
}

/* Answer the part of a store that lies on one page. Returns false when it cannot be answered at once. */
static bool store_on_page(struct pgl_bracket *bracket, uint64_t first_addr, uint64_t last_addr)
{
    struct pgl_table *table = bracket->table;
    uint64_t index = first_addr >> table->page_bits;
    struct pgl_leaf *leaf;
    struct pgl_page *page;
    size_t killed;
    bool done;

    if (index == bracket->index[0] || index == bracket->index[1]) {
        return false;
    }
    if (pgl_store_is_clean(table, first_addr, (unsigned)(last_addr - first_addr) + 1u)) {
        return true;
    }
    leaf = pgl_leaf_find(table, index);
    page = pgl_leaf_page(leaf, index);
    if (!pgl_page_trylock_at(table, page, pgl_witness_place())) {
        return false;
    }
    done = pgl_page_kill_local(table, leaf, index, first_addr, last_addr, &killed);
    if (done) {
        pgl_tally_add(table, killed ? PGL_TALLY_HITS : PGL_TALLY_FALSE_ALARMS, 1);
    }
    pgl_page_unlock_at(table, page, pgl_witness_place());
    return done;
}

enum pgl_bracket_result pgl_bracket_store_at(struct pgl_bracket *bracket, uint64_t addr, unsigned len,
                                             const char *place)
{
    struct pgl_table *table = bracket->table;
    uint64_t last_addr = addr + len - 1u;
    uint64_t second_page = last_addr >> table->page_bits << table->page_bits;

    if (PGL_UNLIKELY(!is_under_way(bracket, place))) {
        return refuse(EINVAL);
    }
    if (!pgl_store_is_valid(table, addr, len)) {
        return PGL_BRACKET_ERROR;
    }
    if (second_page > addr) {
        if (!store_on_page(bracket, addr, second_page - 1)) {
            remember(bracket, addr, second_page - 1);
        }
        addr = second_page;
    }
    if (!store_on_page(bracket, addr, last_addr)) {
        remember(bracket, addr, last_addr);
    }
    return bracket->nstores ? PGL_BRACKET_RESTART : PGL_BRACKET_OK;
}

/* List a block on its pages and add it to their filters. */
static void list(struct pgl_bracket *bracket, struct pgl_tb *tb)
{
    bool crosses = pgl_tb_crosses(bracket->table, tb);

    for (unsigned which = 0; which < tb->nextents; which++) {
        uint64_t index = pgl_tb_page(bracket->table, tb, which);

        pgl_list_add(bracket->table, bracket->leaf[index == bracket->index[1]], index, pgl_ref(tb, which), crosses);
    }
}

/* In a lock_debug build, report a block that may not be linked and return false. A release build trusts the caller. */
static bool may_link(const struct pgl_bracket *bracket, struct pgl_tb *tb)
{
    if (!PGL_WITNESS) {
        return true;
    }
    if (!pgl_witness_may_link(tb, bracket->index[0], pgl_witness_place())) {
        return false;
    }
    if (!tb->nextents) {
        pgl_witness_breach(PGL_BREACH_TB_PAGE, UINT64_MAX, pgl_witness_place(), NULL);
        return false;
    }
    for (unsigned which = 0; which < tb->nextents; which++) {
        const struct pgl_span *span = pgl_tb_span(tb, which);
        uint64_t index = span->first >> bracket->table->page_bits;
        bool on_one_page = span->first <= span->last && span->last >> bracket->table->page_bits == index;
        bool held = index == bracket->index[0] || index == bracket->index[1];

        if (!on_one_page || !held) {
            pgl_witness_breach(PGL_BREACH_TB_PAGE, index, pgl_witness_place(), NULL);
            return false;
        }
    }
    return true;
}

/* Mark a block live and publish it. Returns the equal that can be found already, or NULL. */
static struct pgl_tb *publish(struct pgl_table *table, struct pgl_tb *tb)
{
    struct pgl_tb *other;

    pgl_witness_linked(table, tb, pgl_witness_place());
    /* release: pairs with the acquire in pgl_tb_is_live() */
    __atomic_store_n(&tb->state, PGL_TB_LIVE, __ATOMIC_RELEASE);
    pgl_witness_calls("publish");
    other = table->ops->publish ? table->ops->publish(tb, table->opaque) : NULL;
    pgl_witness_returns();
    return other != tb ? other : NULL;
}

/* End the bracket of a published block. List the block, or make it new again when @other is its equal. */
static enum pgl_bracket_result __attribute__((noinline))
finish(struct pgl_bracket *bracket, struct pgl_tb *tb, struct pgl_tb *other)
{
    if (other) {
        pgl_witness_unlinked(tb);
        __atomic_store_n(&tb->state, PGL_TB_NEW, __ATOMIC_RELAXED);
    } else {
        list(bracket, tb);
        pgl_tally_add(bracket->table, PGL_TALLY_LINKS, 1);
    }
    unlock_page(bracket, 1);
    unlock_page(bracket, 0);
    return other ? PGL_BRACKET_EXISTS : PGL_BRACKET_OK;
}

static enum pgl_bracket_result __attribute__((noinline))
commit_slow(struct pgl_bracket *bracket, struct pgl_tb *tb, struct pgl_tb **equal, const char *place)
{
    struct pgl_tb *other;

    if (!is_under_way(bracket, place)) {
        return refuse(EINVAL);
    }
    if (bracket->nstores) {
        return restart_with_the_same(bracket);
    }
    if (!may_link(bracket, tb)) {
        pgl_bracket_abort_at(bracket, place);
        return refuse(EINVAL);
    }
    pgl_tb_own_extents(tb);
    other = publish(bracket->table, tb);
    if (PGL_WITNESS && other && pgl_witness_knows(bracket->table, other, true, place) && !pgl_tb_is_live(other)) {
        pgl_witness_breach(PGL_BREACH_TB_STATE, bracket->index[0], place, NULL);
    }
    if (equal) {
        *equal = other ? other : tb;
    }
    return finish(bracket, tb, other);
}

enum pgl_bracket_result pgl_bracket_commit_at(struct pgl_bracket *bracket, struct pgl_tb *tb, struct pgl_tb **equal,
                                              const char *place)
{
    struct pgl_page *page;
    struct pgl_tb *other;
    uintptr_t head;

    /* The common case: one extent, no remembered store, and one page that has blocks and no exact map and was free. */
    if (PGL_UNLIKELY(!bracket->head || tb->nextents != 1)) {
        return commit_slow(bracket, tb, equal, place);
    }
    other = publish(bracket->table, tb);
    if (equal) {
        *equal = other ? other : tb;
    }
    if (PGL_UNLIKELY(other)) {
        return finish(bracket, tb, other);
    }
    pgl_tally_add(bracket->table, PGL_TALLY_LINKS, 1);
    page = pgl_leaf_page(bracket->leaf[0], bracket->index[0]);
    head = pgl_list_put(page, bracket->head, pgl_ref(tb, 0),
                        page->mask | pgl_filter_mask(bracket->table->page_bits, tb->span.first, tb->span.last));
    /* release: as in pgl_page_unlock_at(). The head was read before the lock, so the lock bit is clear in it. */
    __atomic_store_n(&page->head, head, __ATOMIC_RELEASE);
    return PGL_BRACKET_OK;
}

void pgl_bracket_abort_at(struct pgl_bracket *bracket, const char *place)
{
    if (PGL_UNLIKELY(!is_under_way(bracket, place))) {
        return;
    }
    unlock_page(bracket, 1);
    unlock_page(bracket, 0);
    answer_stores(bracket);
}
