/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The filters of a page: its mask, its exact map, and its bit in the leaf's code bitmap. Each answers "does this meet
 * code?" without the page's list.
 *
 * OBJECTS: the page's lock protects every change of mask, exact map, code bit and count of misses. All but the count are
 * read without it. The array leaf->hot is put in place once, by a compare-and-swap, and stays until the table is freed.
 *
 * READERS without a lock read descriptors, bitmaps and maps, never a block's links. They fence after the guest's store
 * and before they look (pgl_store_is_clean(), pgl_invalidate_range()). (i) An unlocked head that was loaded by acquire
 * brings mask and map of its time or later. (ii) A bracket fences after it set the code bit and locked the page, and
 * before it reads guest bytes: of two fences one is first, so either the reader sees the page locked (or whatever the
 * bracket left when it unlocked it), or the bracket reads the new bytes. (iii) A bit that is gone means that `retired`
 * has returned for every block it stood for.
 *
 * INVARIANTS: T2: at every instant mask and map cover each block whose `retired` has not returned; they are written by
 * single stores of their new value. T4: a page with blocks has its code bit set. T5: a map is never taken from a page.
 * (pgl_table_check() verifies T2 and T4 at rest; tests: test_store_*, stress_store; tests/explore for the races.)
 */
#include "filter_internal.h"

#include <stdlib.h>

#include "table_internal.h"
#include "tblist_internal.h"
#include "witness_internal.h"

/* A page gets its exact map after so many stores that passed its mask and hit nothing. */
#define HOT_MISSES 4

void pgl_filter_from_list(const struct pgl_table *table, const struct pgl_page *page, uint64_t index, uint64_t *map,
                          unsigned low_word, unsigned high_word)
{
    uint64_t base = index << table->page_bits;
    uint64_t first_addr = base + (((uint64_t)low_word << table->page_bits) / PGL_FILTER_WORDS);
    uint64_t last_addr = base + (((uint64_t)(high_word + 1) << table->page_bits) / PGL_FILTER_WORDS) - 1;
    uint64_t first, last;
    unsigned low, high;

    for (unsigned word = low_word; word <= high_word; word++) {
        map[word - low_word] = 0;
    }
    for (uintptr_t ref = pgl_list_first(page); ref; ref = *pgl_ref_next(ref)) {
        const struct pgl_tb *tb = pgl_ref_tb(ref);

        if (!pgl_tb_meets(tb, first_addr, last_addr)) {
            continue;
        }
        for (unsigned which = 0; which <= pgl_tb_has(tb, 1); which++) {
            unsigned word;

            if (!pgl_tb_bytes_on(table, index, tb, which, &first, &last)) {
                continue;
            }
            pgl_filter_range(table->page_bits, first, last, &low, &high);
            for (word = low / 64 > low_word ? low / 64 : low_word; word <= high / 64 && word <= high_word; word++) {
                map[word - low_word] |= pgl_filter_bits(word, low, high);
            }
        }
    }
}

static void cover_in_map(const struct pgl_table *table, uint64_t *map, uint64_t first, uint64_t last)
{
    unsigned low, high;

    pgl_filter_range(table->page_bits, first, last, &low, &high);
    /* relaxed: the unlock's release publishes what is added */
    for (unsigned word = low / 64; word <= high / 64; word++) {
        __atomic_store_n(&map[word], map[word] | pgl_filter_bits(word, low, high), __ATOMIC_RELAXED);
    }
}

/* Add the bytes that a block has on a page by way of @which to the page's map, if it keeps one, and to @mask. */
uint64_t pgl_filter_cover(const struct pgl_table *table, uint64_t index, const struct pgl_tb *tb, unsigned which,
                          uint64_t *map, uint64_t mask)
{
    uint64_t first, last;

    if (!pgl_tb_bytes_on(table, index, tb, which, &first, &last)) {
        return mask;
    }
    if (map) {
        cover_in_map(table, map, first, last);
    }
    return mask | pgl_filter_mask(table->page_bits, first, last);
}

bool pgl_page_has_code(const struct pgl_leaf *leaf, uint64_t index)
{
    /* acquire: pairs with the release in pgl_page_drop_code(): a bit that is gone means that `retired` has returned */
    return __atomic_load_n(&leaf->code[index % PGL_LEVEL_SIZE / 64], __ATOMIC_ACQUIRE) >> index % 64 & 1;
}

void pgl_page_claim_code(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index)
{
    /* relaxed: the caller's full fence keeps it before the reading of guest bytes */
    __atomic_fetch_or(&leaf->code[index % PGL_LEVEL_SIZE / 64], UINT64_C(1) << index % 64, __ATOMIC_RELAXED);
    if (table->ops && table->ops->first_code) {
        pgl_witness_calls("first_code");
        table->ops->first_code(index, table->opaque);
        pgl_witness_returns();
        /* On x86 too, where the caller's fence is the instruction that locked the page: the trap is set after that. */
        pgl_fence();
    }
}

void pgl_page_drop_code(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index)
{
    if (!pgl_page_has_code(leaf, index)) {
        return;
    }
    /* release: pairs with the acquires of those who skip pages without code */
    __atomic_fetch_and(&leaf->code[index % PGL_LEVEL_SIZE / 64], ~(UINT64_C(1) << index % 64), __ATOMIC_RELEASE);
    if (table->ops && table->ops->no_code) {
        pgl_witness_calls("no_code");
        table->ops->no_code(index, table->opaque);
        pgl_witness_returns();
    }
}

/* Count a store that passed the filters of a page and hit nothing. True when the page should get more of one. */
bool pgl_filter_note_miss(struct pgl_leaf *leaf, uint64_t index)
{
    struct pgl_hot *hot =
        __atomic_load_n(&leaf->hot, __ATOMIC_ACQUIRE); /* pairs with the swap in pgl_filter_add_hot() */
    unsigned slot = index % PGL_LEVEL_SIZE;

    return !hot || (!hot->map[slot] && ++hot->misses[slot] >= HOT_MISSES);
}

/* The same of a page that a set may hold, for the part of the set's range on it, which may not have passed. */
bool pgl_filter_note_miss_in_set(const struct pgl_collection *set, uint64_t index)
{
    const unsigned page_bits = set->table->page_bits;
    uint64_t first = index << page_bits, last = first | ((UINT64_C(1) << page_bits) - 1), at = index;
    struct pgl_page *page = pgl_collection_next(set, &at);
    struct pgl_leaf *leaf;

    if (!page || at != index) {
        return false;
    }
    leaf = pgl_leaf_find(set->table, index);
    first = first > set->first_addr ? first : set->first_addr;
    last = last < set->last_addr ? last : set->last_addr;
    return !pgl_page_is_clean(page_bits, leaf, index, pgl_head(page), first, last) && pgl_filter_note_miss(leaf, index);
}

/*
 * Give a page what it lacks: first its leaf's array of counts and maps, then an exact map. Allocates with no page held.
 * When memory runs out the page goes on with its mask alone.
 */
void pgl_filter_add_hot(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index)
{
    struct pgl_hot *hot = __atomic_load_n(&leaf->hot, __ATOMIC_ACQUIRE);
    struct pgl_page *page = pgl_leaf_page(leaf, index);
    unsigned slot = index % PGL_LEVEL_SIZE;
    uint64_t *map;

    if (!hot) {
        struct pgl_hot *fresh = calloc(1, sizeof(*fresh));

        /* release: pairs with the acquires of leaf->hot */
        if (fresh && __atomic_compare_exchange_n(&leaf->hot, &hot, fresh, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
            pgl_count(&table->hot_bytes, sizeof(*fresh));
        } else {
            free(fresh);
        }
        return;
    }
    map = calloc(PGL_FILTER_WORDS, sizeof(*map));
    if (!map) {
        return;
    }
    pgl_page_lock_at(table, page, pgl_witness_place());
    /* Another may have made it meanwhile; or only the array, and the page is not that hot yet. */
    if (!hot->map[slot] && hot->misses[slot] >= HOT_MISSES) {
        pgl_witness_list(table, page, index);
        pgl_filter_from_list(table, page, index, map, 0, PGL_FILTER_WORDS - 1);
        __atomic_store_n(&hot->map[slot], map, __ATOMIC_RELAXED);
        pgl_head_set(page, pgl_head(page) | PGL_HEAD_HOT); /* published by the unlock's release */
        pgl_count(&table->hot_bytes, PGL_FILTER_WORDS * sizeof(*map));
        pgl_count(&table->hot_pages, 1);
        map = NULL;
    }
    pgl_page_unlock_at(table, page, pgl_witness_place());
    free(map);
}
