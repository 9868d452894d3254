/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Private: the store check without a lock, and the members of a store bracket. */
#ifndef PGL_PAGELOCK_INLINE_STORE_H
#define PGL_PAGELOCK_INLINE_STORE_H

#include <pagelock/inline/fence.h>
#include <pagelock/inline/filter.h>
#include <pagelock/inline/tb.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Check a store without a lock, for the two functions below. @watched is known at compile time. */
static inline __attribute__((always_inline)) bool pgl_store_passes(const struct pgl_table *table, uint64_t addr,
                                                                   unsigned len, bool watched)
{
    const unsigned page_bits = table->page_bits;
    uint64_t last_addr = addr + (len - 1u), index = addr >> page_bits;
    struct pgl_leaf *leaf;
    uintptr_t head;

    if (PGL_UNLIKELY(len - 1u >= 64u || last_addr >> page_bits != index ||
                     (watched ? index >= table->unwatched : index > table->last_index))) {
        return false;
    }
    /* Pairs with pgl_fence_after_lock(). Either the loads below see the bracket's writes to the tree and the head, or
     * the bracket reads the bytes that were stored. */
    pgl_fence();
    leaf = pgl_leaf_find(table, index);
    if (!leaf) {
        return true;
    }
    /* acquire: pairs with the release in pgl_page_unlock_at(). An unlocked head brings the mask of its time. */
    head = __atomic_load_n(&pgl_leaf_page(leaf, index)->head, __ATOMIC_ACQUIRE);
    if (head & PGL_HEAD_LOCK) {
        return false;
    }
    return pgl_page_is_clean(page_bits, leaf, index, head, addr, last_addr);
}

PGL_INLINE bool pgl_store_is_clean(const struct pgl_table *table, uint64_t addr, unsigned len)
{
    return pgl_store_passes(table, addr, len, false);
}

/* The same for pgl_store_check(). False in a lock_debug library, which watches every one of these calls. */
static inline bool pgl_store_is_clean_unwatched(const struct pgl_table *table, uint64_t addr, unsigned len)
{
    return pgl_store_passes(table, addr, len, true);
}

/* pgl_store_check() in the general case, for a store that the filters do not answer. It has its own fence. */
PGL_API int pgl_store_check_slow(struct pgl_table *table, uint64_t addr, unsigned len, const struct pgl_tb *running,
                                 const char *place);

#define pgl_store_check(table, addr, len, running) pgl_store_check_at(table, addr, len, running, PGL_HERE)
PGL_INLINE int pgl_store_check_at(struct pgl_table *table, uint64_t addr, unsigned len, const struct pgl_tb *running,
                                  const char *place)
{
    if (PGL_LIKELY(pgl_store_is_clean_unwatched(table, addr, len))) {
        return running && !pgl_tb_is_live(running) ? PGL_RUNNING_DEAD : 0;
    }
    return pgl_store_check_slow(table, addr, len, running, place);
}

struct pgl_store {
    struct pgl_table *table;
    uint64_t index[2];
};

#define pgl_store_begin(store, table, addr, len, running) pgl_store_begin_at(store, table, addr, len, running, PGL_HERE)
PGL_API int pgl_store_begin_at(struct pgl_store *store, struct pgl_table *table, uint64_t addr, unsigned len,
                               const struct pgl_tb *running, const char *place);

#define pgl_store_end(store) pgl_store_end_at(store, PGL_HERE)
PGL_API void pgl_store_end_at(struct pgl_store *store, const char *place);

#ifdef __cplusplus
}
#endif
#endif
