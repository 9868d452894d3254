/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Private: full fences. */
#ifndef PGL_PAGELOCK_INLINE_FENCE_H
#define PGL_PAGELOCK_INLINE_FENCE_H

#include <pagelock/inline/macros.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__SANITIZE_THREAD__)
#define PGL_FENCE_BY_RMW 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PGL_FENCE_BY_RMW 1
#endif
#endif
PGL_INLINE void pgl_fence(void)
{
#if defined(PGL_EXPLORE)
    void pgl_explore_fence(void);
    pgl_explore_fence();
#elif defined(PGL_FENCE_BY_RMW)
    unsigned char word = 0;

    __atomic_fetch_add(&word, 0, __ATOMIC_SEQ_CST);
#elif defined(__x86_64__)
    __asm__ volatile("lock; orl $0, (%%rsp)" ::: "memory", "cc");
#else
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/*
 * The full fence of a bracket. It stands between the read-modify-write that locked a page, or that set its code bit
 * after that, and the reads of the page's bytes. On x86 that instruction is a full fence itself, and
 * pgl_page_claim_code() fences the writes of `first_code`.
 *
 * Pairs with the fences in pgl_store_passes() and pgl_table_fence_check(), which stand between a store and its look-up.
 * Either the look-up sees that the page is locked and has its code bit set, or the reads after this fence see the bytes
 * that were stored.
 */
static inline void pgl_fence_after_lock(void)
{
#if defined(PGL_EXPLORE)
    void pgl_explore_fence_after_update(void); /* nothing where memory is x86's */
    pgl_explore_fence_after_update();
#elif (defined(__x86_64__) || defined(__i386__)) && !defined(PGL_FENCE_BY_RMW)
    __asm__ volatile("" ::: "memory");
#else
    pgl_fence();
#endif
}

#ifdef __cplusplus
}
#endif
#endif
