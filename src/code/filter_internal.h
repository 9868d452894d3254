/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the bracket and the invalidating calls share. What reads or changes a page's list, mask, map or code bit needs
 * that page's lock. pgl_kill_range() takes its locks itself; what only computes needs none.
 */
#ifndef PGL_CODE_FILTER_INTERNAL_H
#define PGL_CODE_FILTER_INTERNAL_H

#include <pagelock/tb.h>

#define PGL_FILTER_WORDS (PGL_FILTER_BITS / 64u)

/*
 * The bytes, as offsets, that a block has on page @index by way of @which. False when there are none.
 */
static inline bool pgl_tb_bytes_on(const struct pgl_table *table, uint64_t index, const struct pgl_tb *tb,
                                   unsigned which, uint64_t *first, uint64_t *last)
{
    *first = tb->first[which] - (index << table->page_bits);
    *last = tb->last[which] - (index << table->page_bits);
    return !(*first >> table->page_bits);
}

/* The bits of word @word of a map that stand for bits [@low, @high] of the map; they meet the word. */
static inline uint64_t pgl_filter_bits(unsigned word, unsigned low, unsigned high)
{
    return (~UINT64_C(0) << (word == low / 64 ? low % 64 : 0)) &
           (~UINT64_C(0) >> (word == high / 64 ? 63 - high % 64 : 0));
}

/* The exact map of a page, or NULL. */
static inline uint64_t *pgl_filter_map(const struct pgl_leaf *leaf, const struct pgl_page *page, uint64_t index)
{
    if (!(__atomic_load_n(&page->head, __ATOMIC_RELAXED) & PGL_HEAD_HOT))
        return NULL;
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
 * For a page without blocks. Before one is made: set the page's bit in the code bitmap and call `first_code`, to be
 * followed by a full fence before the page's bytes are read. Before it is unlocked: clear the bit and call `no_code`,
 * if the bit is set.
 */
void pgl_page_claim_code(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index);
void pgl_page_drop_code(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index);

/**
 * pgl_page_kill_local - kill the blocks of one page that meet a range, if none of them is on another page
 *
 * Returns false, with nothing killed, when another page is needed. *@killed says how many died.
 */
bool pgl_page_kill_local(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index, uint64_t first_addr,
                         uint64_t last_addr, size_t *killed);

/**
 * pgl_kill_range - kill what meets a byte range; the caller has fenced since it stored
 * @is_store: count the page's misses, and give it an exact map when there are many
 *
 * Returns PGL_HIT or 0.
 *
 * Locks:    entry and exit: this thread holds no page.
 */
int pgl_kill_range(struct pgl_table *table, uint64_t first_addr, uint64_t last_addr, bool is_store, const char *place);

/* Whether a store of 1 to 64 bytes lies in the table; errno is EINVAL otherwise. */
bool pgl_store_is_valid(const struct pgl_table *table, uint64_t addr, unsigned len);

#endif
