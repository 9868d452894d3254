/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stores that a thread makes while it translates.
 *
 * OBJECTS      The stores that a bracket remembers, at most PGL_BRACKET_STORES of them. They belong to the thread of
 * the bracket. The guest's bytes are stored already, and the bracket holds its pages.
 *
 * WRITERS      A store is answered at once if that needs no waiting: it lies off the pages of the bracket, each page
 * whose filters raise an alarm can be locked by a try, and the blocks that die there are on no other page. The full
 * fence before the filters are asked is the one of every store check; it pairs with the fence in the brackets of other
 * threads.
 *
 * OUT OF ORDER Otherwise the bracket remembers the part of the store that is left. From then on the decoded bytes are
 * void, until a cross or commit has answered the stores and has reported the restart, or an abort has answered them
 * (bracket.c). A store that finds no room has the remembered stores answered first; no other store waits.
 *
 * INVARIANTS   B1 to B6, B8 and B9 are in bracket.c.
 *   B7  A remembered store keeps its own bytes; two are never merged. (test_bracket_remembers_each_store_by_its_bytes)
 */
#include <errno.h>

#include "bracket_internal.h"
#include "fence_internal.h"
#include "filter_internal.h"
#include "kill_internal.h"
#include "store_internal.h"
#include "table_internal.h"
#include "tally_internal.h"
#include "tblist_internal.h"

/*
 * Remember a store. If there is no room, first answer the remembered stores, which unlocks the pages for a while. No
 * work is lost, because those stores have made the decoded bytes void. The new store keeps the restart due.
 */
static void remember(struct pgl_bracket *bracket, uint64_t first_addr, uint64_t last_addr)
{
    bracket->head = 0;
    if (bracket->nstores == PGL_BRACKET_STORES) {
        pgl_bracket_answer_and_retake(bracket);
    }
    bracket->stores[bracket->nstores].first_addr = first_addr;
    bracket->stores[bracket->nstores].last_addr = last_addr;
    bracket->nstores++;
}

/* Whether the bracket holds a page of [@first, @last]. */
static bool holds_page_of(struct pgl_bracket *bracket, uint64_t first, uint64_t last)
{
    const struct pgl_bracket_page *page = pgl_bracket_pages(bracket);
    unsigned at = 0;

    while (at < bracket->npages && (page[at].index < first || page[at].index > last)) {
        at++;
    }
    return at < bracket->npages;
}

/*
 * Answer the part of a store that lies on one page. Returns false when it cannot be answered without waiting. Set *@hit
 * if a block dies.
 */
static bool store_on_page(struct pgl_table *table, uint64_t first_addr, uint64_t last_addr, bool *hit)
{
    uint64_t index = first_addr >> table->page_bits;
    struct pgl_leaf *leaf = pgl_leaf_find(table, index);
    struct pgl_page *page = pgl_leaf_page(leaf, index);
    bool done = true, is_slow;
    size_t killed;

    if (!pgl_page_trylock_at(table, page, pgl_witness_place())) {
        return false;
    }
    /* The page may have been locked and no more, as in kill_on_one_page(). Or a reset left it, without blocks. */
    if (!pgl_page_is_clean(table->page_bits, leaf, index, pgl_head(page), first_addr, last_addr)) {
        done = pgl_page_kill_local(table, leaf, index, first_addr, last_addr, &killed, &is_slow);
        if (killed) {
            *hit = true;
        } else if (done && pgl_list_first(page)) {
            pgl_tally_add(table, PGL_TALLY_FALSE_ALARMS, 1);
        }
    }
    pgl_page_unlock_at(table, page, pgl_witness_place());
    return done;
}

/*
 * Answer a store, page by page, without waiting. Returns false when some part is left, and then narrows the range to
 * it. Set *@hit if a block dies.
 */
static bool answer_at_once(struct pgl_bracket *bracket, uint64_t *first_addr, uint64_t *last_addr, bool *hit)
{
    struct pgl_table *table = bracket->table;
    const uint64_t in_page = (UINT64_C(1) << table->page_bits) - 1;
    const uint64_t first = *first_addr >> table->page_bits, last = *last_addr >> table->page_bits;
    const bool is_own = holds_page_of(bracket, first, last);

    if (!is_own || first != last) { /* bytes may lie on a page that the bracket does not hold */
        pgl_table_fence_check(table);
    }
    if (is_own) {
        return false;
    }
    while (pgl_filter_trim(table, first_addr, last_addr)) {
        uint64_t page_last = *first_addr | in_page;

        if (!store_on_page(table, *first_addr, page_last < *last_addr ? page_last : *last_addr, hit)) {
            return false;
        }
        if (page_last >= *last_addr) {
            return true;
        }
        *first_addr = page_last + 1;
    }
    return true;
}

enum pgl_bracket_result pgl_bracket_store_at(struct pgl_bracket *bracket, uint64_t addr, uint64_t len,
                                             const char *place)
{
    uint64_t last_addr = addr + (len - 1u);
    bool hit = false;

    if (PGL_UNLIKELY(!pgl_bracket_is_under_way(bracket, place))) {
        return pgl_bracket_refuse(EINVAL);
    }
    if (!pgl_store_is_valid(bracket->table, addr, len)) {
        return PGL_BRACKET_ERROR;
    }
    if (len && !answer_at_once(bracket, &addr, &last_addr, &hit)) {
        remember(bracket, addr, last_addr);
    }
    if (hit) {
        pgl_tally_add(bracket->table, PGL_TALLY_HITS, 1);
    }
    return bracket->nstores ? PGL_BRACKET_RESTART : PGL_BRACKET_OK;
}
