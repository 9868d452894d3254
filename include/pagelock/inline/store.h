/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Private: the store check without a lock, and the store bracket on one page. */
#ifndef PGL_PAGELOCK_INLINE_STORE_H
#define PGL_PAGELOCK_INLINE_STORE_H

#include <string.h>

#include <pagelock/inline/fence.h>
#include <pagelock/inline/filter.h>
#include <pagelock/inline/page.h>
#include <pagelock/store.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The fence between a store and its look-up, for every kind of table. With PGL_SPECIAL_FENCES no instruction is needed:
 * the compiler keeps the two in order, and either the big lock covers both, or brackets fence for this thread.
 * Pairs with pgl_table_fence_bracket().
 */
static inline void pgl_table_fence_check(const struct pgl_table *table)
{
    if (pgl_table_special(table) & PGL_SPECIAL_FENCES) {
        __asm__ volatile("" ::: "memory");
    } else {
        pgl_fence();
    }
}

/*
 * Begin to check a store, except for the common case below: fence, and tell whether the inline part answers. It answers
 * for 1 byte or more on one page. A length of 0 is not above 0. One so large that the sum wraps around to the same page
 * is negative as a signed number.
 */
static inline bool pgl_store_begins(const struct pgl_table *table, uint64_t addr, uint64_t len, bool watched)
{
    uint64_t index;

    pgl_table_fence_check(table);
    /* Computed again behind the fence, so that the common case keeps no register for it. */
    index = addr >> table->page_bits;
    return (int64_t)len > 0 && (addr + (len - 1u)) >> table->page_bits == index && index <= table->last_index &&
           !(watched && (pgl_table_special(table) & PGL_SPECIAL_WITNESS));
}

/*
 * Check a store without a lock, for the two functions below. @watched is known at compile time. The call has fenced
 * when it returns, whatever it answers.
 */
static inline __attribute__((always_inline)) bool pgl_store_passes(const struct pgl_table *table, uint64_t addr,
                                                                   uint64_t len, bool watched)
{
    const unsigned page_bits = table->page_bits;
    uint64_t last_addr = addr + (len - 1u), index = addr >> page_bits;

    if (PGL_LIKELY((int64_t)len > 0 && last_addr >> page_bits == index && index < table->ordinary)) {
        /*
         * Pairs with pgl_table_fence_bracket(). Either the look-up below sees the bracket's writes to the tree and the
         * head, or the bracket reads the bytes that were stored.
         */
        pgl_fence();
    } else if (!pgl_store_begins(table, addr, len, watched)) {
        return false;
    }
    return pgl_filter_passes(table, page_bits, index, addr, last_addr);
}

PGL_INLINE bool pgl_store_is_clean(const struct pgl_table *table, uint64_t addr, uint64_t len)
{
    return pgl_store_passes(table, addr, len, false);
}

/* The same for pgl_store_check(). False in a lock_debug library, which watches every one of these calls. */
static inline bool pgl_store_is_clean_unwatched(const struct pgl_table *table, uint64_t addr, uint64_t len)
{
    return pgl_store_passes(table, addr, len, true);
}

/*
 * pgl_store_check() in the general case, for a caller that has passed a full fence since its store. Other languages
 * bind pgl_store_check(), which fences.
 */
PGL_API int pgl_store_check_fenced(struct pgl_table *table, uint64_t addr, uint64_t len, const struct pgl_tb *running,
                                   const char *place);

#define pgl_store_check(table, addr, len, running) pgl_store_check_at(table, addr, len, running, PGL_HERE)
PGL_INLINE int pgl_store_check_at(struct pgl_table *table, uint64_t addr, uint64_t len, const struct pgl_tb *running,
                                  const char *place)
{
    if (PGL_LIKELY(pgl_store_is_clean_unwatched(table, addr, len))) {
        return running && !pgl_tb_is_live(running) ? PGL_RUNNING_DEAD : 0;
    }
    return pgl_store_check_fenced(table, addr, len, running, place);
}

/*
 * Store a value into guest memory, relaxed: pgl_store_check() fences after it. A value that lies at a multiple of its
 * size is stored by a single access. The accesses of guest memory may have any type.
 */
#define PGL_STORE_VALUE(bits, host, value)                                                                             \
    do {                                                                                                               \
        typedef uint##bits##_t guest_value __attribute__((may_alias, aligned((bits) / 8)));                            \
                                                                                                                       \
        if (PGL_LIKELY((uintptr_t)(host) % sizeof(guest_value) == 0)) {                                                \
            __atomic_store_n((guest_value *)(host), value, __ATOMIC_RELAXED);                                          \
        } else {                                                                                                       \
            memcpy(host, &(value), sizeof(guest_value));                                                               \
        }                                                                                                              \
    } while (0)

#define pgl_store_u8(table, host, addr, value, running) pgl_store_u8_at(table, host, addr, value, running, PGL_HERE)
PGL_INLINE int pgl_store_u8_at(struct pgl_table *table, void *host, uint64_t addr, uint8_t value,
                               const struct pgl_tb *running, const char *place)
{
    PGL_STORE_VALUE(8, host, value);
    return pgl_store_check_at(table, addr, sizeof(value), running, place);
}

#define pgl_store_u16(table, host, addr, value, running) pgl_store_u16_at(table, host, addr, value, running, PGL_HERE)
PGL_INLINE int pgl_store_u16_at(struct pgl_table *table, void *host, uint64_t addr, uint16_t value,
                                const struct pgl_tb *running, const char *place)
{
    PGL_STORE_VALUE(16, host, value);
    return pgl_store_check_at(table, addr, sizeof(value), running, place);
}

#define pgl_store_u32(table, host, addr, value, running) pgl_store_u32_at(table, host, addr, value, running, PGL_HERE)
PGL_INLINE int pgl_store_u32_at(struct pgl_table *table, void *host, uint64_t addr, uint32_t value,
                                const struct pgl_tb *running, const char *place)
{
    PGL_STORE_VALUE(32, host, value);
    return pgl_store_check_at(table, addr, sizeof(value), running, place);
}

#define pgl_store_u64(table, host, addr, value, running) pgl_store_u64_at(table, host, addr, value, running, PGL_HERE)
PGL_INLINE int pgl_store_u64_at(struct pgl_table *table, void *host, uint64_t addr, uint64_t value,
                                const struct pgl_tb *running, const char *place)
{
    PGL_STORE_VALUE(64, host, value);
    return pgl_store_check_at(table, addr, sizeof(value), running, place);
}

struct pgl_store {
    struct pgl_table *table;
    struct pgl_page *page; /* the only page, if the inline part has locked it; else NULL, and the places count */
    unsigned nplaces;
    struct {
        uint64_t first_addr, last_addr;
    } places[2]; /* by ascending address */
};

#define pgl_store_begin_pair(store, table, addr, len, addr2, len2, running)                                            \
    pgl_store_begin_pair_at(store, table, addr, len, addr2, len2, running, PGL_HERE)
PGL_API int pgl_store_begin_pair_at(struct pgl_store *store, struct pgl_table *table, uint64_t addr, uint64_t len,
                                    uint64_t addr2, uint64_t len2, const struct pgl_tb *running, const char *place);

#define pgl_store_begin(store, table, addr, len, running) pgl_store_begin_at(store, table, addr, len, running, PGL_HERE)
/* Begin a store bracket. Inline is the common case: the filters of its one page, asked under the lock, rule it out. */
PGL_UNCHECKED
PGL_INLINE int pgl_store_begin_at(struct pgl_store *store, struct pgl_table *table, uint64_t addr, uint64_t len,
                                  const struct pgl_tb *running, const char *place)
{
    const unsigned page_bits = table->page_bits;
    uint64_t last_addr = addr + (len - 1u), index = addr >> page_bits;
    struct pgl_leaf *leaf;
    uintptr_t head;

    /* As in pgl_store_passes(). */
    if (PGL_UNLIKELY(pgl_table_special(table) || (int64_t)len <= 0 || last_addr >> page_bits != index ||
                     index > table->last_index)) {
        return pgl_store_begin_pair_at(store, table, addr, len, 0, 0, running, place);
    }
    leaf = pgl_leaf_find(table, index);
    if (PGL_UNLIKELY(!leaf || !pgl_page_lock_fast(pgl_leaf_page(leaf, index), &head))) {
        return pgl_store_begin_pair_at(store, table, addr, len, 0, 0, running, place);
    }
    if (PGL_UNLIKELY(!pgl_page_is_clean(page_bits, leaf, index, head, addr, last_addr))) {
        pgl_page_unlock_at(table, pgl_leaf_page(leaf, index), place);
        return pgl_store_begin_pair_at(store, table, addr, len, 0, 0, running, place);
    }
    store->table = table;
    store->page = pgl_leaf_page(leaf, index);
    return running && !pgl_tb_is_live(running) ? PGL_RUNNING_DEAD : 0;
}

#define pgl_store_end(store) pgl_store_end_at(store, PGL_HERE)
/* End a store bracket in the general case. */
PGL_API void pgl_store_end_slow(struct pgl_store *store, const char *place);
PGL_UNCHECKED
PGL_INLINE void pgl_store_end_at(struct pgl_store *store, const char *place)
{
    if (PGL_LIKELY(store->page)) {
        pgl_page_unlock_at(store->table, store->page, place);
    } else {
        pgl_store_end_slow(store, place);
    }
}

#ifdef __cplusplus
}
#endif
#endif
