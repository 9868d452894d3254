/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Private: the filters of a page, which are its mask and, if it is hot, its exact map. */
#ifndef PGL_PAGELOCK_INLINE_FILTER_H
#define PGL_PAGELOCK_INLINE_FILTER_H

#include <pagelock/inline/table.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Return the bits of a page's mask that stand for its bytes [@first, @last], offsets or addresses. */
static inline uint64_t pgl_filter_mask(unsigned page_bits, uint64_t first, uint64_t last)
{
    return (UINT64_C(2) << (last >> (page_bits - 6u) & 63u)) - (UINT64_C(1) << (first >> (page_bits - 6u) & 63u));
}

/* Return the bits [@low, @high] of a word, shifted, and no others. They lie in one word; @low counts modulo 64. */
static inline uint64_t pgl_word_bits(uint64_t word, uint64_t low, uint64_t high)
{
    return word >> (low & 63u) << (63u - (high - low));
}

/* Tell whether the bits of a hot page's map for [@first_addr, @last_addr], which lie on the page, are all clear. */
static inline bool pgl_filter_map_is_clean(unsigned page_bits, const struct pgl_leaf *leaf, uint64_t index,
                                           uint64_t first_addr, uint64_t last_addr)
{
    /* relaxed: the acquire of the head that showed the hot flag made both pointers visible */
    const struct pgl_hot *hot = __atomic_load_n(&leaf->hot, __ATOMIC_RELAXED);
    const uint64_t *map = __atomic_load_n(&hot->map[index % PGL_LEVEL_SIZE], __ATOMIC_RELAXED);
    /* The map has one bit for each byte of the page. */
    unsigned low = (unsigned)(first_addr & ((UINT64_C(1) << page_bits) - 1u)), end;
    const unsigned high = low + (unsigned)(last_addr - first_addr);

    for (;; low = end + 1u) {
        end = (low | 63u) < high ? low | 63u : high;
        /* acquire: pairs with the release in narrow_word(), as for the mask */
        if (pgl_word_bits(__atomic_load_n(&map[low / 64u], __ATOMIC_ACQUIRE), low, end)) {
            return false;
        }
        if (end == high) {
            return true;
        }
    }
}

/*
 * Tell whether the filters of a page say that no listed block has bytes in [@first_addr, @last_addr], which lie on it.
 * @head was read by acquire. This function and the next are part of each store check: a call would cost a quarter more.
 */
static inline __attribute__((always_inline)) bool pgl_page_is_clean(unsigned page_bits, struct pgl_leaf *leaf,
                                                                    uint64_t index, uintptr_t head, uint64_t first_addr,
                                                                    uint64_t last_addr)
{
    /* acquire: pairs with the release in narrow(). If a bit was cleared, `retired` has returned. */
    uint64_t mask = __atomic_load_n(&pgl_leaf_page(leaf, index)->mask, __ATOMIC_ACQUIRE);

    if (!pgl_word_bits(mask, first_addr >> (page_bits - 6u), last_addr >> (page_bits - 6u))) {
        return true;
    }
    return (head & PGL_HEAD_HOT) && pgl_filter_map_is_clean(page_bits, leaf, index, first_addr, last_addr);
}

/*
 * Tell whether the filters of page @index say, without its lock, that no block has bytes in [@first_addr, @last_addr],
 * which lie on it. The caller has fenced since the bytes were stored. The answer is false while a thread holds the
 * page.
 */
static inline __attribute__((always_inline)) bool pgl_filter_passes(const struct pgl_table *table, unsigned page_bits,
                                                                    uint64_t index, uint64_t first_addr,
                                                                    uint64_t last_addr)
{
    struct pgl_leaf *leaf = pgl_leaf_find(table, index);
    uintptr_t head;

    if (!leaf) {
        return true;
    }
    /* acquire: pairs with the release in pgl_page_unlock_at(). An unlocked head brings the mask of its time. */
    head = __atomic_load_n(&pgl_leaf_page(leaf, index)->head, __ATOMIC_ACQUIRE);
    if (head & PGL_HEAD_LOCK) {
        return false;
    }
    return pgl_page_is_clean(page_bits, leaf, index, head, first_addr, last_addr);
}

#ifdef __cplusplus
}
#endif
#endif
