/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The filters of a page, for those who add blocks to it, kill blocks of it, or check it. What takes a page or an index
 * needs that page's lock.
 */
#ifndef PGL_CODE_FILTER_INTERNAL_H
#define PGL_CODE_FILTER_INTERNAL_H

#include <pagelock/tb.h>

#define PGL_FILTER_WORDS (PGL_FILTER_BITS / 64u)

/* The bits of word @word of a map that stand for bits [@low, @high] of the map; they meet the word. */
static inline uint64_t pgl_filter_bits(unsigned word, unsigned low, unsigned high)
{
    return (~UINT64_C(0) << (word == low / 64 ? low % 64 : 0)) &
           (~UINT64_C(0) >> (word == high / 64 ? 63 - high % 64 : 0));
}

/* The exact map of a page, or NULL. */
static inline uint64_t *pgl_filter_map(const struct pgl_leaf *leaf, const struct pgl_page *page, uint64_t index)
{
    if (!(__atomic_load_n(&page->head, __ATOMIC_RELAXED) & PGL_HEAD_HOT)) {
        return NULL;
    }
    /* relaxed: whoever set the flag, under the page's lock, saw the array */
    return __atomic_load_n(&leaf->hot, __ATOMIC_RELAXED)->map[index % PGL_LEVEL_SIZE];
}

/**
 * pgl_filter_from_list - the words [@low_word, @high_word] of a page's exact map, by its list
 * @map: filled in from its beginning
 *
 * Bit n of the page's mask says whether word n of this map has any bit set, whether or not the page keeps the map.
 */
void pgl_filter_from_list(const struct pgl_table *table, const struct pgl_page *page, uint64_t index, uint64_t *map,
                          unsigned low_word, unsigned high_word);

/*
 * Add the bytes that a block has on a page by way of @which to the page's map, if it keeps one, and to @mask, which is
 * returned.
 */
uint64_t pgl_filter_cover(const struct pgl_table *table, uint64_t index, const struct pgl_tb *tb, unsigned which,
                          uint64_t *map, uint64_t mask);

/* Whether a page's bit in the code bitmap is set. Needs no lock. */
bool pgl_page_has_code(const struct pgl_leaf *leaf, uint64_t index);

/*
 * For a page without blocks. Before one is made: set the page's bit in the code bitmap and call `first_code`, to be
 * followed by a full fence before the page's bytes are read. Before it is unlocked: clear the bit and call `no_code`,
 * if the bit is set.
 */
void pgl_page_claim_code(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index);
void pgl_page_drop_code(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index);

/* Count a store that passed the filters of a page and hit nothing. True when the page should get more of one. */
bool pgl_filter_note_miss(struct pgl_leaf *leaf, uint64_t index);

/* The same of a page that a set may hold, for the part of the set's range on it, which may not have passed. */
bool pgl_filter_note_miss_in_set(const struct pgl_collection *set, uint64_t index);

/*
 * Give a page what it lacks: first its leaf's array of counts and maps, then an exact map. Allocates with no page held.
 * When memory runs out the page goes on with its mask alone.
 *
 * Locks:    entry and exit: this thread holds no page.
 */
void pgl_filter_add_hot(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index);

#endif
