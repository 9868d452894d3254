/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The filters of a page: its mask, its exact map, and its bit in the leaf's code bitmap. They say that bytes meet no
 * code without a walk of the page's list.
 *
 * OBJECTS      The page's lock protects every change of its mask, exact map and code bit, and its count of misses.
 * Other threads read mask, map and code bit without the lock. leaf->hot is set once, by a compare-and-swap, and changes
 * again only while no other thread uses the table (trim.c).
 *
 * READERS      A thread without the lock reads descriptors, bitmaps and maps, and never a block's links. It fences
 * after the guest's store and before the look-up (pgl_store_is_clean(), pgl_filter_trim(), pgl_invalidate_range()).
 *   (i)   An unlocked head that was loaded by acquire brings the mask and map of its time, or later ones.
 *   (ii)  A bracket fences after it has locked the page and set the code bit, and before it reads guest bytes. One of
 *         the two fences comes first. Therefore the reader sees the page locked, or what the bracket left when it
 *         unlocked the page, or else the bracket reads the new bytes.
 *   (iii) A bit is cleared after `retired` has returned for every block that it stood for.
 *   (iv)  A locked head brings them too, if the page is marked in `killed`: its holder kills and makes no block (C6).
 *
 * INVARIANTS   (T1 is in tb.c; T3, T6 and T7 are in kill.c.)
 *   T2  Mask and map cover each block from its listing until `retired` has returned for it. Each word is written by a
 *       single store of its new value. (pgl_table_check(); test_store_filters_cover_the_living_at_every_instant)
 *   T4  A page with blocks has its code bit set. (pgl_table_check(); test_check_finds_a_wrong_code_bit)
 *   T5  A page keeps its exact map until the table is trimmed or freed. (test_store_map_stays_with_its_page)
 *   T8  The memory of hot pages stays within the table's budget at every instant, because it is taken before it is
 *       allocated. (pgl_table_check(); test_budget_is_kept_exactly)
 * tests/explore tries the races.
 */
#include "filter_internal.h"

#include <stdlib.h>
#include <string.h>

#include "table_internal.h"
#include "tally_internal.h"
#include "tblist_internal.h"
#include "witness_internal.h"

/*
 * A page gets its exact map and its buckets after this many walks of its list that they would have made shorter: for
 * stores that the mask did not rule out and that hit no block, and for hits that looked at many extents.
 */
#define HOT_MISSES 4

/* The words of an exact map that are computed at a time: those of one bucket of the largest page. */
#define WORDS_AT_ONCE 512u

/* Replace a word of a map by a narrower one. */
static inline void narrow_word(uint64_t *word, uint64_t bits)
{
    /* release: pairs with the acquire in pgl_filter_map_is_clean(); `retired` has returned */
    __atomic_store_n(word, bits, __ATOMIC_RELEASE);
}

/* Compute the words of a map in which the buckets [@low, @high] lie from the list of the page, and which are shared. */
static void compute_words(const struct pgl_table *table, struct pgl_page *page, uint64_t index,
                          struct pgl_buckets *buckets, unsigned low, unsigned high)
{
    const unsigned first = (low << (table->page_bits - 6u)) / 64,
                   last = (((high + 1) << (table->page_bits - 6u)) - 1) / 64;
    const uint64_t first_addr = (index << table->page_bits) + UINT64_C(64) * first,
                   last_addr = first_addr + UINT64_C(64) * (last - first) + 63;
    uint64_t words[WORDS_AT_ONCE];
    struct pgl_walk walk;

    memset(words, 0, (last - first + 1) * sizeof(*words));
    buckets->shared &= ~pgl_bucket_bits(low, high);
    for (uintptr_t ref = pgl_walk_begin(&walk, table, page, index, first_addr, last_addr); ref;
         ref = pgl_walk_next(&walk, ref)) {
        const struct pgl_span *span = pgl_ref_span(ref);

        if (pgl_filter_set(words, first_addr, last_addr, span)) {
            buckets->shared |= pgl_bucket_bits(pgl_bucket(table, span->first), pgl_bucket(table, span->last));
        }
    }
    for (unsigned word = first; word <= last; word++) {
        narrow_word(&buckets->map[word], words[word - first]);
    }
}

/* Clear the bits of a map from @first to @last, which belonged to one extent and belong to no other. */
static void clear_bits(uint64_t *map, unsigned first, unsigned last)
{
    const uint64_t high_bits = ~UINT64_C(0) >> (63 - last % 64);
    uint64_t bits = ~UINT64_C(0) << first % 64;

    for (unsigned word = first / 64; word <= last / 64; word++) {
        bits = word == last / 64 ? bits & high_bits : bits;
        narrow_word(&map[word], map[word] & ~bits);
        bits = ~UINT64_C(0);
    }
}

/* Whether any of the 2^@bits bits of a bucket is set in a map. */
static bool has_bits(const uint64_t *map, unsigned bucket, unsigned bits)
{
    unsigned low = bucket << bits, word = low / 64, end = (low + (1u << bits)) / 64;

    if (bits < 6) {
        return map[word] & pgl_filter_bits(word, low, low + (1u << bits) - 1);
    }
    while (word < end && !map[word]) {
        word++;
    }
    return word < end;
}

uint64_t pgl_filter_narrow_map(const struct pgl_table *table, struct pgl_page *page, uint64_t index,
                               struct pgl_buckets *buckets, uint64_t mask)
{
    const unsigned bucket_bits = table->page_bits - 6u; /* log2 of its bytes */
    const unsigned at_once = WORDS_AT_ONCE * 64u >> bucket_bits;
    unsigned low, high;
    uint64_t stale;

    if (!buckets->stale_end) {
        return mask;
    }
    low = buckets->stale_first >> bucket_bits;
    high = (buckets->stale_end - 1) >> bucket_bits;
    stale = pgl_bucket_bits(low, high);
    mask &= ~stale;
    if (!(buckets->shared & stale)) {
        clear_bits(buckets->map, buckets->stale_first, buckets->stale_end - 1);
        stale = UINT64_C(1) << low | UINT64_C(1) << high; /* nothing is left between the two */
    } else {
        for (unsigned bucket = low; bucket <= high; bucket += at_once) {
            compute_words(table, page, index, buckets, bucket, high - bucket < at_once ? high : bucket + at_once - 1);
        }
    }
    for (; stale; stale &= stale - 1) {
        unsigned bucket = (unsigned)__builtin_ctzll(stale);

        mask |= (uint64_t)has_bits(buckets->map, bucket, bucket_bits) << bucket;
    }
    buckets->stale_end = 0;
    return mask;
}

void pgl_filter_fill(const struct pgl_table *table, struct pgl_page *page, uint64_t index, uint64_t bits)
{
    struct pgl_buckets *buckets = pgl_page_buckets(page, index);

    if (buckets) {
        /* relaxed: no block has died, and the unlock or the end of the exclusive section publishes the bits */
        for (unsigned word = 0; word < pgl_filter_words(table); word++) {
            __atomic_store_n(&buckets->map[word], bits, __ATOMIC_RELAXED);
        }
        buckets->used = buckets->dead = buckets->ncross = 0;
        buckets->shared = bits;
        memset(buckets->reach, 0, sizeof(buckets->reach));
        buckets->stale_first = 0;
        buckets->stale_end = bits ? UINT32_C(1) << table->page_bits : 0;
    }
    __atomic_store_n(&page->mask, bits, __ATOMIC_RELAXED);
}

bool pgl_page_has_code(const struct pgl_leaf *leaf, uint64_t index)
{
    /* acquire: pairs with the release in pgl_page_drop_code(); `retired` has returned before a bit is cleared */
    return __atomic_load_n(&leaf->code[index % PGL_LEVEL_SIZE / 64], __ATOMIC_ACQUIRE) >> index % 64 & 1;
}

void pgl_page_claim_code(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index)
{
    struct pgl_page *page = pgl_leaf_page(leaf, index);

    if (PGL_UNLIKELY(page->mask)) {
        pgl_filter_fill(table, page, index, 0); /* the page was left by pgl_table_reset() */
    }
    /* relaxed: the caller's full fence orders it before the reads of guest bytes */
    __atomic_fetch_or(&leaf->code[index % PGL_LEVEL_SIZE / 64], UINT64_C(1) << index % 64, __ATOMIC_RELAXED);
    if (table->ops && table->ops->first_code) {
        pgl_witness_calls("first_code");
        table->ops->first_code(index, table->opaque);
        pgl_witness_returns();
        /*
         * On x86 too, because the fence of the caller is the instruction that locked the page, and the trap is set
         * after it.
         */
        pgl_fence();
    }
}

void pgl_page_drop_code(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index)
{
    if (!pgl_page_has_code(leaf, index)) {
        return;
    }
    /* release: pairs with the acquires in pgl_page_has_code(), pgl_leaf_next_code(), wanted_bits() and lock_single() */
    __atomic_fetch_and(&leaf->code[index % PGL_LEVEL_SIZE / 64], ~(UINT64_C(1) << index % 64), __ATOMIC_RELEASE);
    if (table->ops && table->ops->no_code) {
        pgl_witness_calls("no_code");
        table->ops->no_code(index, table->opaque);
        pgl_witness_returns();
    }
}

uint64_t pgl_leaf_next_code(const struct pgl_leaf *leaf, uint64_t index, uint64_t last)
{
    while (index <= last) {
        unsigned word = index % PGL_LEVEL_SIZE / 64;
        /* acquire: pairs with the release in pgl_page_drop_code(), as in pgl_page_has_code() */
        uint64_t bits = __atomic_load_n(&leaf->code[word], __ATOMIC_ACQUIRE) >> index % 64;

        if (bits) {
            return index + (unsigned)__builtin_ctzll(bits);
        }
        index = (index | 63) + 1;
    }
    return index;
}

/* The first page of [@index, @last] whose code bit is set, or UINT64_MAX, which is no page's index. */
static uint64_t next_with_code(const struct pgl_table *table, uint64_t index, uint64_t last)
{
    const struct pgl_leaf *leaf;

    while (index <= last && (leaf = pgl_leaf_next(table, index, last))) {
        uint64_t first = leaf->first_index, end = first + (PGL_LEVEL_SIZE - 1);

        end = end < last ? end : last;
        index = pgl_leaf_next_code(leaf, index > first ? index : first, end);
        if (index <= end) {
            return index;
        }
    }
    return UINT64_MAX;
}

bool pgl_filter_trim(const struct pgl_table *table, uint64_t *first_addr, uint64_t *last_addr)
{
    const unsigned page_bits = table->page_bits;
    const uint64_t first = *first_addr >> page_bits, last = *last_addr >> page_bits;
    uint64_t index = first;

    if (first == last) {
        return !pgl_filter_passes(table, page_bits, first, *first_addr, *last_addr);
    }
    while ((index = next_with_code(table, index, last)) != UINT64_MAX) {
        uint64_t page_first = *first_addr, page_last = *last_addr;

        pgl_clip_to_page(table, index, &page_first, &page_last);
        if (!pgl_filter_passes(table, page_bits, index, page_first, page_last)) {
            *first_addr = page_first;
            if (index < last && pgl_filter_passes(table, page_bits, last, last << page_bits, *last_addr)) {
                *last_addr = (last << page_bits) - 1;
            }
            return true;
        }
        index++;
    }
    return false;
}

bool pgl_filter_note_walk(const struct pgl_leaf *leaf, uint64_t index)
{
    struct pgl_hot *hot =
        __atomic_load_n(&leaf->hot, __ATOMIC_ACQUIRE); /* pairs with the swap in pgl_filter_add_hot() */
    unsigned slot = index % PGL_LEVEL_SIZE;

    return !hot || (!hot->map[slot] && ++hot->misses[slot] >= HOT_MISSES);
}

bool pgl_filter_note_miss(struct pgl_table *table, const struct pgl_leaf *leaf, uint64_t index)
{
    pgl_tally_add(table, PGL_TALLY_FALSE_ALARMS, 1);
    return pgl_filter_note_walk(leaf, index);
}

bool pgl_filter_note_miss_in_set(const struct pgl_collection *set, uint64_t index)
{
    uint64_t first = set->first_addr, last = set->last_addr, at = index;
    struct pgl_page *page = pgl_collection_next(set, &at);
    struct pgl_leaf *leaf;

    if (!page || at != index) {
        return false;
    }
    leaf = pgl_leaf_find(set->table, index);
    pgl_clip_to_page(set->table, index, &first, &last);
    return !pgl_page_is_clean(set->table->page_bits, leaf, index, pgl_head(page), first, last) &&
           pgl_filter_note_miss(set->table, leaf, index);
}

/* Free memory of hot pages, or none, and give its bytes back to the budget. */
static void give_back(struct pgl_table *table, void *memory, uint64_t bytes)
{
    free(memory);
    pgl_count(&table->hot_bytes, -bytes);
}

/*
 * Take bytes out of the table's budget for hot pages, and allocate them, as zeros. Returns NULL when the budget has no
 * room for @more bytes besides, or the memory ran out.
 */
static void *take(struct pgl_table *table, uint64_t bytes, uint64_t more)
{
    uint64_t taken = __atomic_load_n(&table->hot_bytes, __ATOMIC_RELAXED);
    void *memory;

    do {
        if (bytes + more > table->hot_bytes_max - taken) {
            return NULL;
        }
    } while (!__atomic_compare_exchange_n(&table->hot_bytes, &taken, taken + bytes, true, __ATOMIC_RELAXED,
                                          __ATOMIC_RELAXED));
    memory = calloc(1, bytes);
    if (!memory) {
        give_back(table, NULL, bytes);
    }
    return memory;
}

void pgl_filter_drop_hot(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index)
{
    struct pgl_page *page = pgl_leaf_page(leaf, index);
    struct pgl_buckets *buckets = pgl_page_buckets(page, index);

    __atomic_store_n(&page->mask, 0, __ATOMIC_RELAXED);
    if (!buckets) {
        return;
    }
    pgl_head_set(page, pgl_head(page) & ~(uintptr_t)PGL_HEAD_HOT);
    __atomic_store_n(&leaf->hot->map[index % PGL_LEVEL_SIZE], NULL, __ATOMIC_RELAXED);
    leaf->hot->misses[index % PGL_LEVEL_SIZE] = 0;
    give_back(table, buckets, pgl_buckets_bytes(table));
    pgl_count(&table->hot_pages, -UINT64_C(1));
}

void pgl_filter_drop_counts(struct pgl_table *table, struct pgl_leaf *leaf)
{
    struct pgl_hot *hot = leaf->hot;

    for (unsigned slot = 0; hot && slot < PGL_LEVEL_SIZE; slot++) {
        if (hot->map[slot]) {
            return;
        }
    }
    if (hot) {
        __atomic_store_n(&leaf->hot, NULL, __ATOMIC_RELAXED);
        give_back(table, hot, sizeof(*hot));
    }
}

void pgl_filter_add_hot(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index)
{
    struct pgl_hot *hot = __atomic_load_n(&leaf->hot, __ATOMIC_ACQUIRE); /* pairs with the swap below */
    struct pgl_page *page = pgl_leaf_page(leaf, index);
    unsigned slot = index % PGL_LEVEL_SIZE;
    struct pgl_buckets *buckets;

    if (!hot) {
        struct pgl_hot *fresh = take(table, sizeof(*fresh), pgl_buckets_bytes(table)); /* of use with a map only */

        /* release: pairs with the acquires of leaf->hot */
        if (fresh && !__atomic_compare_exchange_n(&leaf->hot, &hot, fresh, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
            give_back(table, fresh, sizeof(*fresh));
        }
        return;
    }
    buckets = take(table, pgl_buckets_bytes(table), 0);
    if (!buckets) {
        return;
    }
    pgl_page_lock_at(table, page, pgl_witness_place());
    /* Another thread may have added the map meanwhile, or else the array, and then the page is not hot yet. */
    if (!hot->map[slot] && hot->misses[slot] >= HOT_MISSES) {
        pgl_witness_list(table, page, index);
        /* The mask too: a call that kills in portions may have left it wide. Release: as in narrow(). */
        buckets->shared = UINT64_MAX;
        buckets->stale_end = UINT32_C(1) << table->page_bits;
        __atomic_store_n(&page->mask, pgl_filter_narrow_map(table, page, index, buckets, 0), __ATOMIC_RELEASE);
        pgl_list_order(table, page, buckets);
        __atomic_store_n(&hot->map[slot], buckets->map, __ATOMIC_RELAXED);
        pgl_head_set(page, pgl_head(page) | PGL_HEAD_HOT);
        pgl_count(&table->hot_pages, 1);
        buckets = NULL;
    }
    pgl_page_unlock_at(table, page, pgl_witness_place());
    if (buckets) {
        give_back(table, buckets, pgl_buckets_bytes(table));
    }
}
