/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pages.h"

#include <glib.h>

void pages_init(struct pages *pages, unsigned page_bits, unsigned addr_bits)
{
    unsigned index_bits = addr_bits - page_bits;

    *pages = (struct pages){.page_bits = page_bits};
    pages->levels = (index_bits - PAGES_ROOT_BITS_MAX + PAGES_BITS - 1) / PAGES_BITS;
    pages->root_bits = index_bits - pages->levels * PAGES_BITS;
    pages->bytes = sizeof(void *) << pages->root_bits;
    pages->root = g_malloc0(pages->bytes);
}

static void node_free(void *node, unsigned level)
{
    if (node && level > 1) {
        for (unsigned i = 0; i < PAGES_FANOUT; i++) {
            node_free(((void **)node)[i], level - 1);
        }
    }
    g_free(node);
}

void pages_fini(struct pages *pages)
{
    for (size_t i = 0; i < (size_t)1 << pages->root_bits; i++) {
        node_free(pages->root[i], pages->levels);
    }
    g_free(pages->root);
}

/* The node in @slot, made where there is none: of several threads that make it at once, one wins. */
static void *node_make(struct pages *pages, void **slot, unsigned level)
{
    size_t bytes = PAGES_FANOUT * (level > 1 ? sizeof(void *) : sizeof(struct page));
    void *node = __atomic_load_n(slot, __ATOMIC_ACQUIRE), *made;

    if (node) {
        return node;
    }
    made = g_malloc0(bytes);
    if (!__atomic_compare_exchange_n(slot, &node, made, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        g_free(made);
        return node;
    }
    __atomic_fetch_add(&pages->bytes, bytes, __ATOMIC_RELAXED);
    return made;
}

static void last_raise(struct pages *pages, uint64_t index)
{
    uint64_t last_index = __atomic_load_n(&pages->last_index, __ATOMIC_RELAXED);

    while (last_index < index && !__atomic_compare_exchange_n(&pages->last_index, &last_index, index, true,
                                                              __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        ;
    }
}

struct page *pages_make(struct pages *pages, uint64_t index)
{
    struct page *page = pages_find(pages, index);
    unsigned level = pages->levels;
    void **slot = &pages->root[index >> level * PAGES_BITS];

    if (page) {
        return page;
    }
    last_raise(pages, index | (PAGES_FANOUT - 1)); /* before its leaf is put in place by a release */
    for (; level > 1; level--) {
        slot = (void **)node_make(pages, slot, level) + (index >> (level - 1) * PAGES_BITS) % PAGES_FANOUT;
    }
    return (struct page *)node_make(pages, slot, level) + index % PAGES_FANOUT;
}

void block_init(const struct pages *pages, struct block *block, const struct trace_block *of)
{
    uint64_t page_last = of->addr | ((UINT64_C(1) << pages->page_bits) - 1);

    *block = (struct block){.npages = 1, .first = {of->addr, UINT64_MAX}, .last = {of->addr + (of->size - 1), 0}};
    if (of->addr1 != TRACE_NO_ADDR) {
        block->first[1] = of->addr1;
        block->last[1] = of->addr1 + (block->last[0] - page_last - 1);
        block->last[0] = page_last;
        block->npages = of->addr1 >> pages->page_bits == of->addr >> pages->page_bits ? 1 : 2;
    }
}

void block_list(struct block *block, struct page *const page[2])
{
    for (unsigned n = 0; n < block->npages; n++) {
        block->next[n] = page[n]->list;
        page[n]->list = (uintptr_t)block | n;
    }
    block->alive = true;
}

static void unlist_one(struct block *block, struct page *page, unsigned n)
{
    uintptr_t *link = &page->list;

    while (*link != ((uintptr_t)block | n)) {
        link = &block_of(*link)->next[*link & 1];
    }
    *link = block->next[n];
}

void block_unlist(struct block *block, struct page *const page[2])
{
    for (unsigned n = 0; n < block->npages; n++) {
        unlist_one(block, page[n], n);
    }
    block->alive = false;
}

uint64_t page_kill(struct pages *pages, struct page *page, uint64_t first, uint64_t last)
{
    uintptr_t *link = &page->list;
    uint64_t killed = 0;

    while (*link) {
        struct block *block = block_of(*link);
        unsigned n = *link & 1;

        if (!block_meets(block, first, last)) {
            link = &block->next[n];
            continue;
        }
        *link = block->next[n];
        if (block->npages == 2) {
            unlist_one(block, pages_find(pages, block->first[!n] >> pages->page_bits), !n);
        }
        block->alive = false;
        killed++;
    }
    return killed;
}

struct walk {
    const struct pages *pages;
    struct census *census;
    uint64_t seconds_due; /* blocks that must be listed on a second page, less those that are */
};

static void page_census(const struct page *page, uint64_t index, struct walk *walk)
{
    if (page->lock) {
        walk->census->broken = "a page is still locked";
    }
    for (uintptr_t link = page->list; link; link = block_of(link)->next[link & 1]) {
        struct block *block = block_of(link);
        unsigned n = link & 1;

        if (!block->alive) {
            walk->census->broken = "a dead block is listed";
        }
        if (block->first[n] >> walk->pages->page_bits != index || block->last[n] >> walk->pages->page_bits != index) {
            walk->census->broken = "a block is listed on a page where it does not lie";
        }
        if (n == 0) {
            walk->census->alive++;
            walk->seconds_due += block->npages - 1;
        } else {
            walk->seconds_due--;
        }
    }
}

static void node_census(void *node, unsigned level, uint64_t index, struct walk *walk)
{
    if (!node) {
        return;
    }
    for (uint64_t i = 0; i < PAGES_FANOUT; i++) {
        if (level > 1) {
            node_census(((void **)node)[i], level - 1, index << PAGES_BITS | i, walk);
        } else {
            page_census((struct page *)node + i, index << PAGES_BITS | i, walk);
        }
    }
}

void pages_census(const struct pages *pages, struct census *census)
{
    struct walk walk = {.pages = pages, .census = census};

    for (uint64_t i = 0; i < (uint64_t)1 << pages->root_bits; i++) {
        node_census(pages->root[i], pages->levels, i, &walk);
    }
    if (walk.seconds_due) {
        census->broken = "a block is listed on one of its two pages only";
    }
    census->table_bytes = pages->bytes;
}
