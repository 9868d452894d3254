/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Private: the members of a block, and the macros that add the place of a call. */
#ifndef PGL_PAGELOCK_INLINE_BLOCK_H
#define PGL_PAGELOCK_INLINE_BLOCK_H

#include <stddef.h>

#include <pagelock/block.h>
#include <pagelock/inline/fence.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The element of a page's list. Blocks and extents begin with it, therefore a walk reads both alike. */
struct pgl_span {
    uint64_t first; /* bytes, inclusive */
    uint64_t last;
    uintptr_t next; /* the reference behind this one on the list (src/code/tblist_internal.h) */
};

struct pgl_extent {
    struct pgl_span span;
    struct pgl_tb *tb; /* set when the block is linked */
} __attribute__((aligned(16)));

struct pgl_tb {
    struct pgl_span span; /* of extent 0 */
    uint16_t state;
    uint16_t chosen; /* a call is going to kill the block */
    uint32_t nextents;
    union {
        struct pgl_extent second; /* extent 1 of a block with two */
        struct pgl_extent *more;  /* the caller's array of a block with more than two: extents 1, 2, ... */
    } rest;
} __attribute__((aligned(16)));

PGL_INLINE void pgl_tb_set_bytes(struct pgl_tb *tb, unsigned which, uint64_t first_addr, uint64_t last_addr)
{
    struct pgl_span *span = which ? &tb->rest.second.span : &tb->span;

    span->first = first_addr;
    span->last = last_addr;
    if (first_addr > last_addr) {
        tb->nextents = tb->nextents < which ? tb->nextents : which;
    } else if (tb->nextents <= which) {
        tb->nextents = which + 1u;
    }
}

PGL_INLINE void pgl_extent_set(struct pgl_extent *extent, uint64_t first_addr, uint64_t last_addr)
{
    extent->span.first = first_addr;
    extent->span.last = last_addr;
}

PGL_INLINE void pgl_tb_set_extents(struct pgl_tb *tb, struct pgl_extent *extents, unsigned n)
{
    tb->nextents = n;
    if (n) {
        tb->span = extents[0].span;
    }
    if (n == 2) {
        tb->rest.second.span = extents[1].span;
    } else if (n > 2) {
        tb->rest.more = extents + 1;
    }
}

PGL_INLINE unsigned pgl_tb_count_extents(const struct pgl_tb *tb)
{
    return tb->nextents;
}

/* Return the element of extent @which, which the block has. */
static inline const struct pgl_span *pgl_tb_span(const struct pgl_tb *tb, unsigned which)
{
    if (!which) {
        return &tb->span;
    }
    return tb->nextents <= 2 ? &tb->rest.second.span : &tb->rest.more[which - 1].span;
}

PGL_INLINE uint64_t pgl_tb_first_addr(const struct pgl_tb *tb, unsigned which)
{
    return which < tb->nextents ? pgl_tb_span(tb, which)->first : 1;
}

PGL_INLINE uint64_t pgl_tb_last_addr(const struct pgl_tb *tb, unsigned which)
{
    return which < tb->nextents ? pgl_tb_span(tb, which)->last : 0;
}

PGL_INLINE bool pgl_tb_is_live(const struct pgl_tb *tb)
{
    return __atomic_load_n(&tb->state, __ATOMIC_ACQUIRE) == PGL_TB_LIVE;
}

PGL_INLINE bool pgl_cache_tb(struct pgl_tb **slot, struct pgl_tb *tb)
{
    __atomic_store_n(slot, tb, __ATOMIC_RELAXED);
    /* Pairs with the fence in pgl_kill_retire(). Either the block is seen dead here, or `retired` finds it cached. */
    pgl_fence();
    if (PGL_LIKELY(pgl_tb_is_live(tb))) {
        return true;
    }
    __atomic_store_n(slot, (struct pgl_tb *)NULL, __ATOMIC_RELAXED);
    return false;
}

PGL_INLINE struct pgl_tb *pgl_tb_chain_next(const struct pgl_tb *tb)
{
    return (struct pgl_tb *)tb->span.next;
}

#define pgl_tb_link_unlisted(table, tb) pgl_tb_link_unlisted_at(table, tb, PGL_HERE)
PGL_API void pgl_tb_link_unlisted_at(struct pgl_table *table, struct pgl_tb *tb, const char *place);

#define pgl_page_foreach_tb(table, page, visit, opaque) pgl_page_foreach_tb_at(table, page, visit, opaque, PGL_HERE)
PGL_API bool pgl_page_foreach_tb_at(struct pgl_table *table, struct pgl_page *page,
                                    bool (*visit)(struct pgl_tb *tb, void *opaque) PGL_NOEXCEPT, void *opaque,
                                    const char *place) PGL_ANNOTATE(requires_capability(page));

#define pgl_tb_lock_pages(table, tb) pgl_tb_lock_pages_at(table, tb, PGL_HERE)
#define pgl_tb_unlock_pages(table, tb) pgl_tb_unlock_pages_at(table, tb, PGL_HERE)
PGL_API void pgl_tb_lock_pages_at(struct pgl_table *table, const struct pgl_tb *tb, const char *place);
PGL_API void pgl_tb_unlock_pages_at(struct pgl_table *table, const struct pgl_tb *tb, const char *place);

#ifdef __cplusplus
}
#endif
#endif
