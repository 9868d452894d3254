/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How a page lists its blocks: a singly linked list through the blocks, with its head in the descriptor.
 *
 * A reference is a pointer to a block. Its bit 0 says which of the block's two links continues the list: link 0 on the
 * page on which the block begins, link 1 on its second page. A block whose two pages are one page is listed once, by
 * link 0. In the head the bits between that tag and the pointer are the flags of the page.
 *
 * A caller that passes a page, or calls pgl_ref_next(), holds the page. The head is also read without the
 * lock, therefore it is stored atomically. The bytes of a block do not change while it is linked. A function that takes
 * only a block therefore needs no lock, if the memory of the block cannot be reused meanwhile: the caller holds one of
 * its pages or owns it.
 */
#ifndef PGL_CODE_TBLIST_INTERNAL_H
#define PGL_CODE_TBLIST_INTERNAL_H

#include <pagelock/tb.h>

#define PGL_HEAD_FLAGS ((uintptr_t)(PGL_HEAD_LOCK | PGL_HEAD_CROSS | PGL_HEAD_HOT))

static inline struct pgl_tb *pgl_ref_tb(uintptr_t ref)
{
    return (struct pgl_tb *)(ref & ~(uintptr_t)15);
}

static inline uintptr_t pgl_ref(struct pgl_tb *tb, unsigned which)
{
    return (uintptr_t)tb | which;
}

/* The link that holds the reference behind @ref. */
static inline uintptr_t *pgl_ref_next(uintptr_t ref)
{
    return &pgl_ref_tb(ref)->next[ref & 1];
}

static inline uintptr_t pgl_head(const struct pgl_page *page)
{
    return __atomic_load_n(&page->head, __ATOMIC_RELAXED);
}

/* Replace the list or the flags of @page. Relaxed, because the release of the unlock publishes it. */
static inline void pgl_head_set(struct pgl_page *page, uintptr_t head)
{
    __atomic_store_n(&page->head, head, __ATOMIC_RELAXED);
}

/* The reference in @link, which is the head of @page or a link of some block. */
static inline uintptr_t pgl_link_get(const struct pgl_page *page, const uintptr_t *link)
{
    return link == &page->head ? pgl_head(page) & ~PGL_HEAD_FLAGS : *link;
}

static inline void pgl_link_set(struct pgl_page *page, uintptr_t *link, uintptr_t ref)
{
    if (link == &page->head) {
        pgl_head_set(page, (pgl_head(page) & PGL_HEAD_FLAGS) | ref);
    } else {
        *link = ref;
    }
}

/* The first reference of a list, or 0 when it is empty. */
static inline uintptr_t pgl_list_first(const struct pgl_page *page)
{
    return pgl_head(page) & ~PGL_HEAD_FLAGS;
}

/* Whether a block has extent @which, 0 or 1. */
static inline bool pgl_tb_has(const struct pgl_tb *tb, unsigned which)
{
    return tb->first[which] <= tb->last[which];
}

/* The page of extent @which of a block. */
static inline uint64_t pgl_tb_page(const struct pgl_table *table, const struct pgl_tb *tb, unsigned which)
{
    return tb->first[which] >> table->page_bits;
}

/* Whether the block is on two different pages. */
static inline bool pgl_tb_crosses(const struct pgl_table *table, const struct pgl_tb *tb)
{
    return pgl_tb_has(tb, 1) && pgl_tb_page(table, tb, 0) != pgl_tb_page(table, tb, 1);
}

/* Whether any byte of the block, on either page, lies in [@first_addr, @last_addr]. */
static inline bool pgl_tb_meets(const struct pgl_tb *tb, uint64_t first_addr, uint64_t last_addr)
{
    return (tb->first[0] <= last_addr && tb->last[0] >= first_addr) ||
           (pgl_tb_has(tb, 1) && tb->first[1] <= last_addr && tb->last[1] >= first_addr);
}

/*
 * Set *@first and *@last to the offsets of the bytes of extent @which on page @index. Returns false when it has none
 * there.
 */
static inline bool pgl_tb_bytes_on(const struct pgl_table *table, uint64_t index, const struct pgl_tb *tb,
                                   unsigned which, uint64_t *first, uint64_t *last)
{
    *first = tb->first[which] - (index << table->page_bits);
    *last = tb->last[which] - (index << table->page_bits);
    return !(*first >> table->page_bits);
}

#endif
