/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guest stores: the check after a store that the inline part does not answer, and the store bracket.
 *
 * OBJECTS      A store bracket belongs to one thread. Between begin and end the thread holds every page of the store,
 * at one place or at two.
 *
 * LOCK ORDER   The pages of a store bracket are locked in ascending order, a page of both places once. Blocks that are
 * on other pages too are killed while the bracket holds no page.
 *
 * READERS      As in filter.c; the check fences between the store and the look-up. A store over several pages is
 * narrowed first to the pages that may have code in its way, because mostly one page at most has to be locked.
 * (test_store_across_a_pages_end_locks_only_the_page_it_hits)
 *
 * INVARIANTS
 *   G1  When a store bracket has begun, no live block meets its store, and none is made until it ends.
 *       (test_store_bracket_over_two_places_kills_on_both, tests/explore)
 *
 * PROGRESS     A bracket that finds blocks under its locks unlocks, kills them, and locks again. It does so again only
 * if another thread has meanwhile linked a block that meets the store and is on another page too.
 */
#include "store_internal.h"

#include <errno.h>

#include "filter_internal.h"
#include "kill_internal.h"
#include "table_internal.h"
#include "tally_internal.h"
#include "tblist_internal.h"
#include "witness_internal.h"

#define NO_PAGE UINT64_MAX

bool pgl_store_is_valid(const struct pgl_table *table, uint64_t addr, uint64_t len)
{
    uint64_t last_addr = pgl_table_last_addr(table);

    if (!len || (addr <= last_addr && last_addr - addr >= len - 1u)) {
        return true;
    }
    errno = EINVAL;
    return false;
}

int pgl_store_check_fenced(struct pgl_table *table, uint64_t addr, uint64_t len, const struct pgl_tb *running,
                           const char *place)
{
    uint64_t last_addr = addr + (len - 1u);
    bool alarm = len;

    if (!pgl_witness_enters(table, place) || !pgl_store_is_valid(table, addr, len)) {
        return PGL_ERROR;
    }
    /* The inline part has asked the filters of a single page, except in a lock_debug library. */
    if (len && (PGL_WITNESS || addr >> table->page_bits != last_addr >> table->page_bits)) {
        alarm = pgl_filter_trim(table, &addr, &last_addr);
    }
    if (alarm && pgl_kill_store(table, addr, last_addr)) {
        pgl_tally_add(table, PGL_TALLY_HITS, 1);
        return pgl_with_running(PGL_HIT, running);
    }
    return pgl_with_running(0, running);
}

/* The first page at or after @index that a store bracket holds, or NO_PAGE. */
static uint64_t next_page(const struct pgl_store *store, uint64_t index)
{
    const unsigned page_bits = store->table->page_bits;

    for (unsigned i = 0; i < store->nplaces; i++) {
        uint64_t first = store->places[i].first_addr >> page_bits;

        if (index <= store->places[i].last_addr >> page_bits) {
            return index > first ? index : first;
        }
    }
    return NO_PAGE;
}

/* Allocate the pages of a store bracket, one leaf after the other. Returns false when memory ran out. */
static bool allocate_pages(const struct pgl_store *store)
{
    for (uint64_t index = 0; (index = next_page(store, index)) != NO_PAGE; index = (index | (PGL_LEVEL_SIZE - 1)) + 1) {
        if (!pgl_leaf_get(store->table, index)) {
            return false;
        }
    }
    return true;
}

static void lock_pages(const struct pgl_store *store)
{
    for (uint64_t index = 0; (index = next_page(store, index)) != NO_PAGE; index++) {
        pgl_page_lock_at(store->table, pgl_page_find(store->table, index), pgl_witness_place());
    }
}

static void unlock_pages(const struct pgl_store *store)
{
    for (uint64_t index = 0; (index = next_page(store, index)) != NO_PAGE; index++) {
        pgl_page_unlock_at(store->table, pgl_page_find(store->table, index), pgl_witness_place());
    }
}

/*
 * Whether no block on a held page meets the store. Ask the filters. If they raise an alarm and @may_kill is set, kill
 * the blocks, unless one of them is on another page too. Set in *@hits the bit of each place where a block dies.
 */
static bool is_page_clean(const struct pgl_store *store, uint64_t index, bool may_kill, unsigned *hits)
{
    struct pgl_table *table = store->table;
    struct pgl_leaf *leaf = pgl_leaf_find(table, index);
    const uintptr_t head = pgl_head(pgl_leaf_page(leaf, index));

    for (unsigned i = 0; i < store->nplaces; i++) {
        uint64_t first = store->places[i].first_addr, last = store->places[i].last_addr;
        size_t killed;
        bool is_slow;

        pgl_clip_to_page(table, index, &first, &last);
        if (first > last || pgl_page_is_clean(table->page_bits, leaf, index, head, first, last)) {
            continue;
        }
        if (!may_kill || !pgl_page_kill_local(table, leaf, index, first, last, &killed, &is_slow)) {
            return false;
        }
        if (killed) {
            *hits |= 1u << i;
        }
    }
    return true;
}

static bool are_pages_clean(const struct pgl_store *store, bool may_kill, unsigned *hits)
{
    for (uint64_t index = 0; (index = next_page(store, index)) != NO_PAGE; index++) {
        if (!is_page_clean(store, index, may_kill, hits)) {
            return false;
        }
    }
    return true;
}

/*
 * Lock the pages of a store bracket without a block that meets the store (G1). A place counts as one hit, however often
 * the call kills there.
 */
static int lock_clean_pages(const struct pgl_store *store)
{
    unsigned hits = 0;

    for (bool again = false;; again = true) {
        lock_pages(store);
        if (are_pages_clean(store, again, &hits)) {
            break;
        }
        unlock_pages(store);
        for (unsigned i = 0; i < store->nplaces; i++) {
            if (pgl_kill_store(store->table, store->places[i].first_addr, store->places[i].last_addr)) {
                hits |= 1u << i;
            }
        }
    }
    if (!hits) {
        return 0;
    }
    pgl_tally_add(store->table, PGL_TALLY_HITS, (hits & 1u) + (hits >> 1)); /* one for each of two places */
    return PGL_HIT;
}

/* Add the bytes of a store to its places, which are in ascending order. A store of no bytes adds none. */
static void add_place(struct pgl_store *store, uint64_t addr, uint64_t len)
{
    unsigned at = store->nplaces;

    if (!len) {
        return;
    }
    if (at && addr < store->places[0].first_addr) {
        store->places[1] = store->places[0];
        at = 0;
    }
    store->places[at].first_addr = addr;
    store->places[at].last_addr = addr + (len - 1u);
    store->nplaces++;
}

int pgl_store_begin_pair_at(struct pgl_store *store, struct pgl_table *table, uint64_t addr, uint64_t len,
                            uint64_t addr2, uint64_t len2, const struct pgl_tb *running, const char *place)
{
    if (!pgl_witness_enters(table, place) || !pgl_store_is_valid(table, addr, len) ||
        !pgl_store_is_valid(table, addr2, len2)) {
        return PGL_ERROR;
    }
    store->table = table;
    store->page = NULL;
    store->nplaces = 0;
    add_place(store, addr, len);
    add_place(store, addr2, len2);
    if (!allocate_pages(store)) {
        return PGL_ERROR;
    }
    return pgl_with_running(lock_clean_pages(store), running);
}

void pgl_store_end_slow(struct pgl_store *store, const char *place)
{
    if (store->page) { /* the inline part unlocks it */
        pgl_page_unlock_at(store->table, store->page, place);
    } else if (pgl_witness_may_call(place)) {
        unlock_pages(store);
    }
}
