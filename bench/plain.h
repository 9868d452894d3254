/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `plain`: the protocol that emulators run today, as fast as it can be written with its ingredients. One lock per page,
 * locked by plain test-and-set; before anything is invalidated, a collection is locked: a GTree node for each page of
 * the range and for each page of each block on them, and everything let go and taken again in order when a page is
 * busy; every store goes that way, and then walks the list of its page.
 */
#ifndef PGL_BENCH_PLAIN_H
#define PGL_BENCH_PLAIN_H

#include <glib.h>

#include "pages.h"

struct plain {
    struct pages pages;
    uint64_t retries;
};

struct plain_entry {
    uint64_t index;
    struct page *page;
    bool locked;
    bool whole; /* the pages of its blocks are in the set too */
};

struct plain_set {
    GTree *tree;
    struct plain_entry *max;
};

static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static inline void plain_lock(struct page *page)
{
    while (__atomic_exchange_n(&page->lock, 1, __ATOMIC_ACQUIRE)) {
        while (__atomic_load_n(&page->lock, __ATOMIC_RELAXED)) {
            cpu_relax();
        }
    }
}

static inline bool plain_trylock(struct page *page)
{
    return !__atomic_exchange_n(&page->lock, 1, __ATOMIC_ACQUIRE);
}

static inline void plain_unlock(struct page *page)
{
    __atomic_store_n(&page->lock, 0, __ATOMIC_RELEASE);
}

void plain_set_lock(struct plain *plain, struct plain_set *set, uint64_t first, uint64_t last);
void plain_set_unlock(struct plain_set *set);

#endif
