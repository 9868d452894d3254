/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bracket: it spans from before guest bytes are read until the block that is made of them can be found.
 *
 * OBJECTS      A bracket belongs to one thread and holds the page on which it began and any number of others. While it
 * holds a page that has no blocks, the code bit of the page is set, and `first_code` has been called since the page was
 * locked. The pages stand in the order in which the current decoding has named them; pages that are held since an
 * earlier decoding, and that the current one has not named, come last.
 *
 * LOCK ORDER   Ascending. A page above all held ones is locked outright, any other is tried.
 *
 * OUT OF ORDER When the try fails, the bracket unlocks the pages above that page, waits for it, and locks them again in
 * ascending order. Stores may come in between, therefore the decoded bytes are void, and the caller restarts. Pages
 * below stay held.
 *
 * WRITERS      To take a page is to lock it, set its code bit, and call `first_code`. A full fence follows every take,
 * before the bytes of the page are read. A commit marks the block live, publishes it, lists it, adds it to the filters,
 * and unlocks.
 * The block is published before it is listed, so that a block that turns out to have an equal is never listed. Other
 * threads cannot observe the gap, because the page is locked until both are done: lists and filters are read under that
 * lock, or without it but then ignored while the head is locked.
 *
 * A bracket may remember stores of its thread (bracket_store.c). Before it reports the restart that they cause, it
 * unlocks its pages and kills the blocks that the stores meet.
 *
 * INVARIANTS   B7 is in bracket_store.c.
 *   B1  No guest byte is read between a take and its fence. (stress_bracket, tests/explore)
 *   B2  When a page is unlocked without blocks, its code bit has been cleared and `no_code` called under its lock.
 *       (test_bracket_untraps_under_the_lock, test_bracket_abort_untraps_an_empty_page)
 *   B3  A cross or commit reports a restart only when no remembered store is left.
 *       (test_bracket_store_restarts_the_next_cross, test_bracket_store_to_a_held_page_restarts_the_commit)
 *   B4  A bracket holds its first `npages` pages, which are all different, and no others, whenever no call on it is
 *       running. (test_bracket_many_holds_each_page_once, test_bracket_many_ends_with_no_page_held)
 *   B5  If the bracket's `head` is not 0, it is the head of the first page without the lock bit, there is no other
 *       page, and no store is remembered. (test_bracket_commit_after_a_cross_of_one_extent)
 *   B6  A page that the current decoding has named stays held until the decoding is void or the bracket ends.
 *       (test_bracket_many_keeps_the_pages_in_the_middle)
 *   B8  After a restart the bracket holds the pages that the void decoding had named, with the page that it was about
 *       to name. (test_bracket_many_restart_holds_all_that_was_named)
 *   B9  While a thread waits for a page, it holds none above it. (test_bracket_many_waits_with_the_lower_pages_held,
 *       tests/explore)
 *
 * PROGRESS     A decoding that finds the bytes of the void one names the same pages, which are held (B8). Therefore
 * each page is waited for out of order once at most, unless another thread has stored to the code meanwhile, which is
 * progress of that thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../probe_internal.h"
#include "bracket_internal.h"
#include "fence_internal.h"
#include "filter_internal.h"
#include "kill_internal.h"
#include "spin_internal.h"
#include "table_internal.h"
#include "tally_internal.h"
#include "tblist_internal.h"
#include "witness_internal.h"

/* The position of a held page, or the number of held pages. */
static unsigned position(struct pgl_bracket *bracket, uint64_t index)
{
    const struct pgl_bracket_page *page = pgl_bracket_pages(bracket);
    unsigned at = 0;

    while (at < bracket->npages && page[at].index != index) {
        at++;
    }
    return at;
}

static bool is_held(struct pgl_bracket *bracket, uint64_t index)
{
    return position(bracket, index) < bracket->npages;
}

/* After a page was locked: see that it has its code bit, and that `first_code` was called for it. */
static void claim(struct pgl_table *table, const struct pgl_bracket_page *page)
{
    if (!pgl_list_first(pgl_leaf_page(page->leaf, page->index))) {
        pgl_page_claim_code(table, page->leaf, page->index);
    }
}

static void take(struct pgl_table *table, const struct pgl_bracket_page *page)
{
    pgl_page_lock_at(table, pgl_leaf_page(page->leaf, page->index), pgl_witness_place());
    claim(table, page);
}

/* Take the bracket's pages from page @from on again, in ascending order. Each page is one pass over the few pages. */
static void take_from(struct pgl_bracket *bracket, uint64_t from)
{
    PGL_PROBE(restart, bracket->table, from, bracket->npages);
    pgl_tally_add(bracket->table, PGL_TALLY_RESTARTS, 1);
    for (;;) {
        const struct pgl_bracket_page *page = pgl_bracket_pages(bracket), *lowest = NULL;

        for (unsigned at = 0; at < bracket->npages; at++) {
            if (page[at].index >= from && (!lowest || page[at].index < lowest->index)) {
                lowest = &page[at];
            }
        }
        if (!lowest) {
            break;
        }
        take(bracket->table, lowest);
        from = lowest->index + 1;
    }
    pgl_table_fence_bracket(bracket->table);
}

static void unlock(struct pgl_table *table, const struct pgl_bracket_page *at)
{
    struct pgl_page *page = pgl_leaf_page(at->leaf, at->index);

    if (!pgl_list_first(page)) {
        pgl_page_drop_code(table, at->leaf, at->index);
    }
    pgl_page_unlock_at(table, page, pgl_witness_place());
}

/* Unlock the bracket's pages from page @from on. They stay in the bracket until the caller takes or forgets them. */
static void unlock_from(struct pgl_bracket *bracket, uint64_t from)
{
    const struct pgl_bracket_page *page = pgl_bracket_pages(bracket);

    for (unsigned at = bracket->npages; at > 0; at--) {
        if (page[at - 1].index >= from) {
            unlock(bracket->table, &page[at - 1]);
        }
    }
}

/* Unlock and forget the pages that the current decoding has not named. */
static void drop_unnamed(struct pgl_bracket *bracket)
{
    const struct pgl_bracket_page *page = pgl_bracket_pages(bracket);

    while (bracket->npages > bracket->nnamed) {
        unlock(bracket->table, &page[--bracket->npages]);
    }
}

/* Unlock all pages and end the bracket. */
static void end(struct pgl_bracket *bracket)
{
    bracket->nnamed = 0;
    drop_unnamed(bracket);
    if (bracket->room > PGL_BRACKET_INLINE) {
        free(bracket->more);
        bracket->room = PGL_BRACKET_INLINE;
    }
}

/*
 * Answer the remembered stores. The caller holds no page. answer_at_once() fenced after a store with bytes on another
 * page. A store to a page of the bracket alone needs no fence. The page was held when the store was made, so every
 * block of the old bytes is on its list; and a thread that makes a block later locks the page after this thread has
 * unlocked it.
 */
static void answer_stores(struct pgl_bracket *bracket)
{
    for (unsigned i = 0; i < bracket->nstores; i++) {
        if (pgl_kill_store(bracket->table, bracket->stores[i].first_addr, bracket->stores[i].last_addr)) {
            pgl_tally_add(bracket->table, PGL_TALLY_HITS, 1);
        }
    }
    bracket->nstores = 0;
}

void pgl_bracket_answer_and_retake(struct pgl_bracket *bracket)
{
    unlock_from(bracket, 0);
    answer_stores(bracket);
    take_from(bracket, 0);
}

/* Begin another decoding, which has named no page but the first. */
static enum pgl_bracket_result decode_again(struct pgl_bracket *bracket)
{
    bracket->nnamed = 1;
    return PGL_BRACKET_RESTART;
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
    pgl_bracket_init(bracket, table, index, leaf);
    bracket->head = 0;
    take(table, bracket->in_place);
    pgl_table_fence_bracket(table);
    return true;
}

/* Note that the current decoding has named the held page at @at. */
static void name(struct pgl_bracket *bracket, unsigned at)
{
    struct pgl_bracket_page *page = pgl_bracket_pages(bracket), named = page[at];

    if (at >= bracket->nnamed) {
        page[at] = page[bracket->nnamed];
        page[bracket->nnamed] = named;
        bracket->nnamed++;
    }
}

/* Make room for one page behind those that the current decoding has named. Returns false when memory ran out. */
static bool make_room(struct pgl_bracket *bracket)
{
    struct pgl_bracket_page *more;

    if (PGL_LIKELY(bracket->nnamed < bracket->room)) {
        return true;
    }
    more = malloc(2 * bracket->room * sizeof(*more));
    if (!more) {
        errno = ENOMEM;
        return false;
    }
    memcpy(more, pgl_bracket_pages(bracket), bracket->npages * sizeof(*more));
    if (bracket->room > PGL_BRACKET_INLINE) {
        free(bracket->more);
    }
    bracket->more = more;
    bracket->room *= 2;
    return true;
}

/* Add a page to the bracket, as one that the current decoding has named. Make_room() has found the room. */
static const struct pgl_bracket_page *add(struct pgl_bracket *bracket, uint64_t index, struct pgl_leaf *leaf)
{
    struct pgl_bracket_page *page = &pgl_bracket_pages(bracket)[bracket->npages];

    page->index = index;
    page->leaf = leaf;
    bracket->nnamed = ++bracket->npages;
    return page;
}

/* Whether a page is above all pages of the bracket. */
static bool is_highest(struct pgl_bracket *bracket, uint64_t index)
{
    const struct pgl_bracket_page *page = pgl_bracket_pages(bracket);
    unsigned at = 0;

    while (at < bracket->npages && page[at].index < index) {
        at++;
    }
    return at == bracket->npages;
}

/* Hold one more page. If stores are remembered, or the page is busy and not the highest, the decoding is void. */
static enum pgl_bracket_result cross_to(struct pgl_bracket *bracket, uint64_t index, struct pgl_leaf *leaf)
{
    uint64_t from = bracket->nstores ? 0 : index;

    bracket->head = 0;
    drop_unnamed(bracket);
    if (!bracket->nstores && is_highest(bracket, index)) {
        take(bracket->table, add(bracket, index, leaf));
    } else if (!bracket->nstores &&
               pgl_page_trylock_at(bracket->table, pgl_leaf_page(leaf, index), pgl_witness_place())) {
        claim(bracket->table, add(bracket, index, leaf));
    } else {
        unlock_from(bracket, from);
        add(bracket, index, leaf);
        answer_stores(bracket);
        take_from(bracket, from);
        return decode_again(bracket);
    }
    pgl_table_fence_bracket(bracket->table);
    return PGL_BRACKET_OK;
}

enum pgl_bracket_result pgl_bracket_cross_at(struct pgl_bracket *bracket, uint64_t index, const char *place)
{
    struct pgl_leaf *leaf;
    unsigned at;

    if (PGL_UNLIKELY(!pgl_bracket_is_under_way(bracket, place))) {
        return pgl_bracket_refuse(EINVAL);
    }
    at = position(bracket, index);
    if (at == bracket->npages) {
        leaf = pgl_leaf_get(bracket->table, index);
        return leaf && make_room(bracket) ? cross_to(bracket, index, leaf) : PGL_BRACKET_ERROR;
    }
    if (bracket->nstores) {
        pgl_bracket_answer_and_retake(bracket);
        return decode_again(bracket);
    }
    name(bracket, at);
    return PGL_BRACKET_OK;
}

/* List a block on its pages and add it to their filters. */
static void list(struct pgl_bracket *bracket, struct pgl_tb *tb)
{
    bool crosses = pgl_tb_crosses(bracket->table, tb);

    for (unsigned which = 0; which < tb->nextents; which++) {
        uint64_t index = pgl_tb_page(bracket->table, tb, which);
        struct pgl_leaf *leaf = pgl_bracket_pages(bracket)[position(bracket, index)].leaf;

        pgl_list_add(bracket->table, leaf, index, pgl_ref(tb, which), crosses);
    }
}

/* In a lock_debug build, report a block that may not be linked and return false. A release build trusts the caller. */
static bool may_link(struct pgl_bracket *bracket, struct pgl_tb *tb)
{
    if (!PGL_WITNESS) {
        return true;
    }
    if (!pgl_witness_may_link(tb, pgl_bracket_pages(bracket)->index, pgl_witness_place())) {
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

        if (!on_one_page || !is_held(bracket, index)) {
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
    /* release: pairs with the acquire in choose(). An earlier commit that found an equal may have shown it live too. */
    __atomic_store_n(&tb->chosen, false, __ATOMIC_RELEASE);
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
    end(bracket);
    return other ? PGL_BRACKET_EXISTS : PGL_BRACKET_OK;
}

static enum pgl_bracket_result __attribute__((noinline))
commit_slow(struct pgl_bracket *bracket, struct pgl_tb *tb, struct pgl_tb **equal, const char *place)
{
    struct pgl_tb *other;

    if (!pgl_bracket_is_under_way(bracket, place)) {
        return pgl_bracket_refuse(EINVAL);
    }
    if (bracket->nstores) {
        pgl_bracket_answer_and_retake(bracket);
        return decode_again(bracket);
    }
    if (!bracket->table->ops || !may_link(bracket, tb)) {
        pgl_bracket_abort_at(bracket, place);
        return pgl_bracket_refuse(EINVAL);
    }
    pgl_tb_own_extents(tb);
    other = publish(bracket->table, tb);
    if (PGL_WITNESS && other && pgl_witness_knows(bracket->table, other, true, place) && !pgl_tb_is_live(other)) {
        pgl_witness_breach(PGL_BREACH_TB_STATE, pgl_bracket_pages(bracket)->index, place, NULL);
    }
    if (equal) {
        *equal = other ? other : tb;
    }
    return finish(bracket, tb, other);
}

enum pgl_bracket_result pgl_bracket_commit_at(struct pgl_bracket *bracket, struct pgl_tb *tb, struct pgl_tb **equal,
                                              const char *place)
{
    struct pgl_table *table;
    struct pgl_page *page;
    struct pgl_tb *other;
    uintptr_t head;

    /* The common case: one extent, no remembered store, and one page that has blocks and was free. */
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
    table = bracket->table;
    pgl_tally_add(table, PGL_TALLY_LINKS, 1);
    bracket->npages = 0;
    page = pgl_leaf_page(bracket->in_place->leaf, bracket->in_place->index);
    if (bracket->head & PGL_HEAD_HOT) {
        pgl_list_add(table, bracket->in_place->leaf, bracket->in_place->index, pgl_ref(tb, 0), false);
        pgl_spin_unlock(&page->head, PGL_HEAD_LOCK);
        return PGL_BRACKET_OK;
    }
    head = pgl_list_put(page, bracket->head, pgl_ref(tb, 0),
                        page->mask | pgl_filter_mask(table->page_bits, tb->span.first, tb->span.last));
    /* release: as in pgl_page_unlock_at(). The head was read before the lock, so the lock bit is clear in it. */
    __atomic_store_n(&page->head, head, __ATOMIC_RELEASE);
    return PGL_BRACKET_OK;
}

void pgl_bracket_abort_at(struct pgl_bracket *bracket, const char *place)
{
    if (PGL_UNLIKELY(!pgl_bracket_is_under_way(bracket, place))) {
        return;
    }
    end(bracket);
    answer_stores(bracket);
}
