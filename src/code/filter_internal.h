/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The filters of a page, for the code that links, kills or checks blocks. The caller of a function that takes a page or
 * an index holds that page, unless the comment of the function says otherwise.
 */
#ifndef PGL_CODE_FILTER_INTERNAL_H
#define PGL_CODE_FILTER_INTERNAL_H

#include <pagelock/tb.h>

/* The bits of word @word of a map that stand for bits [@low, @high] of the map. These bits meet the word. */
static inline uint64_t pgl_filter_bits(unsigned word, unsigned low, unsigned high)
{
    return (~UINT64_C(0) << (word == low / 64 ? low % 64 : 0)) &
           (~UINT64_C(0) >> (word == high / 64 ? 63 - high % 64 : 0));
}

/* The words of the exact map of a page. */
static inline unsigned pgl_filter_words(const struct pgl_table *table)
{
    return 1u << (table->page_bits - 6u);
}

/*
 * Set the bits of an extent in @words, which are the words of an exact map for bytes [@first_addr, @last_addr]. Returns
 * whether some of them were set before.
 */
static inline bool pgl_filter_set(uint64_t *words, uint64_t first_addr, uint64_t last_addr, const struct pgl_span *span)
{
    uint64_t bits, before = 0;
    unsigned low, high;

    if (span->first > last_addr || span->last < first_addr) {
        return false;
    }
    low = (unsigned)(span->first > first_addr ? span->first - first_addr : 0);
    high = (unsigned)((span->last < last_addr ? span->last : last_addr) - first_addr);
    for (unsigned word = low / 64; word <= high / 64; word++) {
        bits = pgl_filter_bits(word, low, high);
        before |= words[word] & bits;
        words[word] |= bits;
    }
    return before;
}

struct pgl_buckets;

/*
 * Make a page's exact map, which lies in @buckets, exact where it is stale. Returns @mask, which is the
 * page's, made exact there too.
 */
uint64_t pgl_filter_narrow_map(const struct pgl_table *table, struct pgl_page *page, uint64_t index,
                               struct pgl_buckets *buckets, uint64_t mask);

/* Add the bits of an extent to the mask of its page. */
static inline uint64_t pgl_filter_cover(const struct pgl_table *table, const struct pgl_span *span, uint64_t mask)
{
    return mask | pgl_filter_mask(table->page_bits, span->first, span->last);
}

/* Make all bits of a page's mask and exact map those of @bits, 0 or all ones. The page has no blocks. */
void pgl_filter_fill(const struct pgl_table *table, struct pgl_page *page, uint64_t index, uint64_t bits);

/* Whether the bit of a page in the code bitmap is set. Needs no lock. */
bool pgl_page_has_code(const struct pgl_leaf *leaf, uint64_t index);

/**
 * pgl_filter_trim - narrow a byte range to what the filters do not rule out
 *
 * Move *@first_addr to the first byte, and *@last_addr to the last byte, of the range that lie on a page whose filters
 * may meet code. The caller has fenced since it stored the bytes. The pages between the two need no question of their
 * own, because the range covers each of them: its filters rule it out only if it has no code bit. Absent subtrees are
 * skipped. Returns false when the filters rule out the whole range.
 *
 * Locks:    none.
 */
bool pgl_filter_trim(const struct pgl_table *table, uint64_t *first_addr, uint64_t *last_addr);

/*
 * Mark pages of a leaf as held by a thread that kills and makes no block, and undo it before they are unlocked. @bits
 * stand for pages of word @word of the leaf's bitmaps.
 */
static inline void pgl_killed_mark(struct pgl_leaf *leaf, unsigned word, uint64_t bits)
{
    /* release: pairs with the acquire in pgl_page_is_killed(); what earlier holders added to the filters comes first */
    __atomic_fetch_or(&leaf->killed[word], bits, __ATOMIC_RELEASE);
}

static inline void pgl_killed_unmark(struct pgl_leaf *leaf, unsigned word, uint64_t bits)
{
    /* relaxed: the release of the unlock orders it */
    __atomic_fetch_and(&leaf->killed[word], ~bits, __ATOMIC_RELAXED);
}

/*
 * Whether a page that was found locked, by an acquire, is held by such a thread. If so, the filters answer as on an
 * unlocked page. Needs no lock.
 */
static inline bool pgl_page_is_killed(const struct pgl_leaf *leaf, uint64_t index)
{
    /* acquire: pairs with the release in pgl_killed_mark() */
    return __atomic_load_n(&leaf->killed[index % PGL_LEVEL_SIZE / 64], __ATOMIC_ACQUIRE) >> index % 64 & 1;
}

/*
 * For a page without blocks. pgl_page_claim_code() comes before a block is made. It sets the bit of the page in the
 * code bitmap and calls `first_code`; the caller then passes a full fence before it reads the bytes of the page.
 * pgl_page_drop_code() comes before the page is unlocked without blocks. If the bit is set, it clears the bit and calls
 * `no_code`.
 */
void pgl_page_claim_code(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index);
void pgl_page_drop_code(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index);

/* The first page from @index to @last, which lie in one leaf, with code; or a page behind @last. Needs no lock. */
uint64_t pgl_leaf_next_code(const struct pgl_leaf *leaf, uint64_t index, uint64_t last);

/*
 * Count a walk of the list of a page that is not hot, which hit a block and was long. Returns whether the page should
 * get another filter by pgl_filter_add_hot().
 */
bool pgl_filter_note_walk(const struct pgl_leaf *leaf, uint64_t index);

/* Count a false alarm: a store that the filters of a page did not rule out and that hit no block. Returns as above. */
bool pgl_filter_note_miss(struct pgl_table *table, const struct pgl_leaf *leaf, uint64_t index);

/*
 * Do the same for page @index, if it is a member of @set and its filters do not rule out the part of the set's range on
 * it.
 */
bool pgl_filter_note_miss_in_set(const struct pgl_collection *set, uint64_t index);

/*
 * Give a page the next filter that it lacks, which is the array of counts and maps for its leaf, then its exact map and
 * buckets. If memory or the table's budget runs out, the page keeps its mask alone.
 *
 * Locks:    entry and exit: this thread holds no page. Allocates before it locks the page.
 */
void pgl_filter_add_hot(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index);

/*
 * While no other thread uses the table: clear the filters of a page without blocks, and free its exact map; free the
 * array of counts and maps of a leaf that has no map.
 */
void pgl_filter_drop_hot(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index);
void pgl_filter_drop_counts(struct pgl_table *table, struct pgl_leaf *leaf);

#endif
