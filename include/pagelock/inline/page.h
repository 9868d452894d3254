/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Private: the page lock. */
#ifndef PGL_PAGELOCK_INLINE_PAGE_H
#define PGL_PAGELOCK_INLINE_PAGE_H

#include <pagelock/page.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The operations below in the general case, out of line. */
PGL_API void pgl_page_lock_slow(struct pgl_table *table, struct pgl_page *page, const char *place);
PGL_API bool pgl_page_trylock_slow(struct pgl_table *table, struct pgl_page *page, const char *place);
PGL_API void pgl_page_unlock_slow(struct pgl_table *table, struct pgl_page *page, const char *place);

/* Lock a page of an ordinary table if its head is still *@head and unlocked; otherwise set *@head to its value. */
static inline bool pgl_page_lock_seen(struct pgl_page *page, uintptr_t *head)
{
    /* acquire: pairs with the release in pgl_page_unlock_at() */
    return !(*head & PGL_HEAD_LOCK) && __atomic_compare_exchange_n(&page->head, head, *head | PGL_HEAD_LOCK, false,
                                                                   __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

/* Try once to lock a page of an ordinary table, and set *@head to the value that its head had. */
static inline bool pgl_page_lock_fast(struct pgl_page *page, uintptr_t *head)
{
    *head = __atomic_load_n(&page->head, __ATOMIC_RELAXED);
    return pgl_page_lock_seen(page, head);
}

#define pgl_page_lock(table, page) pgl_page_lock_at(table, page, PGL_HERE)
PGL_INLINE void pgl_page_lock_at(struct pgl_table *table, struct pgl_page *page, const char *place)
    PGL_ANNOTATE(acquire_capability(page));
PGL_UNCHECKED
PGL_INLINE void pgl_page_lock_at(struct pgl_table *table, struct pgl_page *page, const char *place)
{
    uintptr_t head;

    if (PGL_UNLIKELY((pgl_table_special(table) & PGL_SPECIAL_LOCKS) || !pgl_page_lock_fast(page, &head))) {
        pgl_page_lock_slow(table, page, place);
    }
}

#define pgl_page_trylock(table, page) pgl_page_trylock_at(table, page, PGL_HERE)
PGL_INLINE bool pgl_page_trylock_at(struct pgl_table *table, struct pgl_page *page, const char *place)
    PGL_ANNOTATE(try_acquire_capability(true, page));
PGL_UNCHECKED
PGL_INLINE bool pgl_page_trylock_at(struct pgl_table *table, struct pgl_page *page, const char *place)
{
    uintptr_t head;

    if (PGL_UNLIKELY(pgl_table_special(table) & PGL_SPECIAL_LOCKS)) {
        return pgl_page_trylock_slow(table, page, place);
    }
    head = __atomic_load_n(&page->head, __ATOMIC_RELAXED);
    while (!(head & PGL_HEAD_LOCK)) {
        /* acquire: pairs with the release in pgl_page_unlock_at() */
        if (__atomic_compare_exchange_n(&page->head, &head, head | PGL_HEAD_LOCK, false, __ATOMIC_ACQUIRE,
                                        __ATOMIC_RELAXED)) {
            return true;
        }
    }
    return false;
}

#define pgl_page_unlock(table, page) pgl_page_unlock_at(table, page, PGL_HERE)
PGL_INLINE void pgl_page_unlock_at(struct pgl_table *table, struct pgl_page *page, const char *place)
    PGL_ANNOTATE(release_capability(page));
PGL_UNCHECKED
PGL_INLINE void pgl_page_unlock_at(struct pgl_table *table, struct pgl_page *page, const char *place)
{
    if (PGL_UNLIKELY(pgl_table_special(table) & PGL_SPECIAL_LOCKS)) {
        pgl_page_unlock_slow(table, page, place);
        return;
    }
    /* release: pairs with the acquires above and with the store check's load of the head. A load and a store are
     * enough, because only the holder writes the word while the bit is set. */
    __atomic_store_n(&page->head, __atomic_load_n(&page->head, __ATOMIC_RELAXED) & ~(uintptr_t)PGL_HEAD_LOCK,
                     __ATOMIC_RELEASE);
}

#define pgl_page_lock_pair(table, index, index2) pgl_page_lock_pair_at(table, index, index2, PGL_HERE)
PGL_API bool pgl_page_lock_pair_at(struct pgl_table *table, uint64_t index, uint64_t index2, const char *place);

#define pgl_page_unlock_pair(table, index, index2) pgl_page_unlock_pair_at(table, index, index2, PGL_HERE)
PGL_API void pgl_page_unlock_pair_at(struct pgl_table *table, uint64_t index, uint64_t index2, const char *place);

#define pgl_page_assert_held(table, page) pgl_page_assert_held_at(table, page, PGL_HERE)
#define pgl_assert_none_held() pgl_assert_none_held_at(PGL_HERE)
PGL_API void pgl_page_assert_held_at(struct pgl_table *table, struct pgl_page *page, const char *place)
    PGL_ANNOTATE(assert_capability(page));
PGL_API void pgl_assert_none_held_at(const char *place);

#ifdef __cplusplus
}
#endif
#endif
