/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How a page lists its blocks: a singly linked list of extents, with its head in the descriptor.
 *
 * The element of a list is a span: the bytes of one extent, and the reference to the next span. A block is on the list
 * of each of its pages once for each extent there. Extent 0 is the block itself. The other extents have a pointer to
 * their block behind their span, and bit 0 of a reference to one of them is set. In the head the bits between that tag
 * and the pointer are the flags of the page.
 *
 * The list of a hot page is in order of buckets: one for each 1/64 of the page, in which an extent begins. `struct
 * pgl_buckets` finds the extents that may meet a range, and the reference before the first of a bucket.
 *
 * A caller that passes a page, or calls pgl_ref_next(), holds the page. The head is also read without the
 * lock, therefore it is stored atomically. The bytes of a block do not change while it is linked. A function that takes
 * only a block therefore needs no lock, if the memory of the block cannot be reused meanwhile: the caller holds one of
 * its pages or owns it.
 */
#ifndef PGL_CODE_TBLIST_INTERNAL_H
#define PGL_CODE_TBLIST_INTERNAL_H

#include <pagelock/tb.h>

#include "table_internal.h"

#define PGL_HEAD_FLAGS ((uintptr_t)(PGL_HEAD_LOCK | PGL_HEAD_CROSS | PGL_HEAD_HOT))

static inline struct pgl_span *pgl_ref_span(uintptr_t ref)
{
    return (struct pgl_span *)(ref & ~(uintptr_t)15);
}

static inline struct pgl_tb *pgl_ref_tb(uintptr_t ref)
{
    uintptr_t at = ref & ~(uintptr_t)15;

    return ref & 1 ? ((struct pgl_extent *)at)->tb : (struct pgl_tb *)at;
}

/* The reference to extent @which of a block. */
static inline uintptr_t pgl_ref(const struct pgl_tb *tb, unsigned which)
{
    return (uintptr_t)pgl_tb_span(tb, which) | (which != 0);
}

/* Make the extents of a block that is about to be linked its own. */
static inline void pgl_tb_own_extents(struct pgl_tb *tb)
{
    for (unsigned which = 1; which < tb->nextents; which++) {
        ((struct pgl_extent *)(uintptr_t)pgl_tb_span(tb, which))->tb = tb;
    }
}

/* The link that holds the reference behind @ref. */
static inline uintptr_t *pgl_ref_next(uintptr_t ref)
{
    return &pgl_ref_span(ref)->next;
}

static inline uintptr_t pgl_head(const struct pgl_page *page)
{
    return __atomic_load_n(&page->head, __ATOMIC_RELAXED);
}

/* Replace the list or the flags of @page. */
static inline void pgl_head_set(struct pgl_page *page, uintptr_t head)
{
    /* release: pairs with the acquire in is_answered(), which reads the flags of a page that is locked */
    __atomic_store_n(&page->head, head, __ATOMIC_RELEASE);
}

/* The reference in @link, which is the head of @page or a link of some span. */
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

/* Whether any byte of a span lies in [@first_addr, @last_addr]. */
static inline bool pgl_span_meets(const struct pgl_span *span, uint64_t first_addr, uint64_t last_addr)
{
    return span->first <= last_addr && span->last >= first_addr;
}

/* Whether a block has extent @which. */
static inline bool pgl_tb_has(const struct pgl_tb *tb, unsigned which)
{
    return which < tb->nextents;
}

/* The page of extent @which of a block. */
static inline uint64_t pgl_tb_page(const struct pgl_table *table, const struct pgl_tb *tb, unsigned which)
{
    return pgl_tb_span(tb, which)->first >> table->page_bits;
}

/* Whether the block is on two different pages or more. */
static inline bool pgl_tb_crosses(const struct pgl_table *table, const struct pgl_tb *tb)
{
    for (unsigned which = 1; which < tb->nextents; which++) {
        if (pgl_tb_page(table, tb, which) != pgl_tb_page(table, tb, 0)) {
            return true;
        }
    }
    return false;
}

/* Find the lowest page of a block that is not below *@index. Returns false when there is none. */
static inline bool pgl_tb_next_page(const struct pgl_table *table, const struct pgl_tb *tb, uint64_t *index)
{
    uint64_t next = UINT64_MAX;

    for (unsigned which = 0; which < tb->nextents; which++) {
        uint64_t at = pgl_tb_page(table, tb, which);

        next = at >= *index && at < next ? at : next;
    }
    *index = next;
    return next != UINT64_MAX;
}

#define PGL_BUCKETS 64u

/* The classes of extents by how many buckets they reach beyond the one in which they begin: 1 to 3, to 15, to 63. */
#define PGL_REACHES 3u

/* A hot page has these besides its descriptor. Its lock protects all but the map, which others read without it. */
struct pgl_buckets {
    uint64_t used;               /* one bit for each bucket that has extents */
    uint64_t reach[PGL_REACHES]; /* one bit for each bucket that may have an extent of this class */
    uint64_t shared;             /* two extents may have the same byte in this bucket */
    uint64_t dead;               /* the block of one of the extents that begin here may have been marked dead */
    uint32_t stale_first;        /* extents with bytes from this offset to before the other one were unlinked, */
    uint32_t stale_end;          /* and the filters still cover them; 0 if there are none */
    size_t ncross;               /* listed extents whose block is on another page too */
    uintptr_t last[PGL_BUCKETS]; /* the last reference of each used bucket */
    /* The exact map, to which pgl_hot.map points: one bit for each byte. */
    uint64_t map[] PGL_ALIGN_ATOMIC;
};

/* The memory of the buckets and the exact map of a page. */
static inline size_t pgl_buckets_bytes(const struct pgl_table *table)
{
    return sizeof(struct pgl_buckets) + ((size_t)1 << (table->page_bits - 3u));
}

/* The buckets whose map @map is. */
static inline struct pgl_buckets *pgl_buckets_of(uint64_t *map)
{
    return (struct pgl_buckets *)(void *)((char *)map - offsetof(struct pgl_buckets, map));
}

/* The buckets of a page, or NULL if it is not hot. */
static inline struct pgl_buckets *pgl_page_buckets(const struct pgl_page *page, uint64_t index)
{
    const struct pgl_leaf *leaf = (const struct pgl_leaf *)(const void *)(page - index % PGL_LEVEL_SIZE);

    if (!(pgl_head(page) & PGL_HEAD_HOT)) {
        return NULL;
    }
    /* relaxed: the thread that set the flag, under the lock of the page, had seen the array */
    return pgl_buckets_of(__atomic_load_n(&leaf->hot, __ATOMIC_RELAXED)->map[index % PGL_LEVEL_SIZE]);
}

/* The offset of a byte in its page. */
static inline uint32_t pgl_offset(const struct pgl_table *table, uint64_t addr)
{
    return (uint32_t)(addr & ((UINT64_C(1) << table->page_bits) - 1));
}

/* The bucket in which a byte of a page lies. */
static inline unsigned pgl_bucket(const struct pgl_table *table, uint64_t addr)
{
    return addr >> (table->page_bits - 6u) & (PGL_BUCKETS - 1u);
}

/* The buckets [@low, @high], as bits. */
static inline uint64_t pgl_bucket_bits(unsigned low, unsigned high)
{
    return (UINT64_C(2) << high) - (UINT64_C(1) << low);
}

/* Mark a bucket in which an extent begins, which reaches @n buckets beyond it. */
static inline void pgl_reach_mark(uint64_t reach[PGL_REACHES], unsigned bucket, unsigned n)
{
    if (n) {
        reach[(31u - (unsigned)__builtin_clz(n)) / 2] |= UINT64_C(1) << bucket;
    }
}

/* The last reference before bucket @bucket, or 0. */
static inline uintptr_t pgl_bucket_before(const struct pgl_buckets *buckets, unsigned bucket)
{
    uint64_t before = buckets->used & ((UINT64_C(1) << bucket) - 1);

    return before ? buckets->last[63 - __builtin_clzll(before)] : 0;
}

/*
 * Note that bytes [@first, @last] of the page, as offsets, belong to an extent that was unlinked. If it is not the only
 * one, living extents may have some of the bytes between them.
 */
static inline void pgl_stale_add(const struct pgl_table *table, struct pgl_buckets *buckets, uint32_t first,
                                 uint32_t last)
{
    if (!buckets->stale_end) {
        buckets->stale_first = first;
        buckets->stale_end = last + 1;
        return;
    }
    buckets->stale_first = first < buckets->stale_first ? first : buckets->stale_first;
    buckets->stale_end = last >= buckets->stale_end ? last + 1 : buckets->stale_end;
    buckets->shared |=
        pgl_bucket_bits(pgl_bucket(table, buckets->stale_first), pgl_bucket(table, buckets->stale_end - 1));
}

/* The used buckets with extents that may meet bytes [@first_addr, @last_addr] of the page, as bits. */
static inline uint64_t pgl_buckets_meeting(const struct pgl_table *table, const struct pgl_buckets *buckets,
                                           uint64_t first_addr, uint64_t last_addr)
{
    unsigned low = pgl_bucket(table, first_addr), high = pgl_bucket(table, last_addr);
    uint64_t meeting = buckets->used & pgl_bucket_bits(low, high), below = (UINT64_C(1) << low) - 1;

    meeting |= buckets->reach[0] & below & ~(below >> 3);
    meeting |= buckets->reach[1] & below & ~(below >> 15);
    return meeting | (buckets->reach[2] & below);
}

/* The link that holds the reference behind @ref, which may be 0 for the head of @page. */
static inline uintptr_t *pgl_link_behind(struct pgl_page *page, uintptr_t ref)
{
    return ref ? pgl_ref_next(ref) : &page->head;
}

/*
 * A walk of the extents of a page that may meet a range: all of a page that is not hot.
 *     for (ref = pgl_walk_begin(&walk, ...); ref; ref = pgl_walk_next(&walk, ref))
 */
struct pgl_walk {
    struct pgl_page *page;
    const struct pgl_buckets *buckets;
    uint64_t left;  /* the buckets behind this one, as bits */
    uintptr_t last; /* of this bucket; 0 for a page that is not hot */
};

static inline uintptr_t pgl_walk_next(struct pgl_walk *walk, uintptr_t ref)
{
    unsigned bucket;

    if (ref != walk->last) {
        return *pgl_ref_next(ref);
    }
    if (!walk->left) {
        return 0;
    }
    bucket = (unsigned)__builtin_ctzll(walk->left);
    walk->left &= walk->left - 1;
    walk->last = walk->buckets->last[bucket];
    return pgl_link_get(walk->page, pgl_link_behind(walk->page, pgl_bucket_before(walk->buckets, bucket)));
}

/* Begin a walk. The part of [@first_addr, @last_addr] that lies on the page counts; some of it does. */
static inline uintptr_t pgl_walk_begin(struct pgl_walk *walk, const struct pgl_table *table, struct pgl_page *page,
                                       uint64_t index, uint64_t first_addr, uint64_t last_addr)
{
    walk->page = page;
    walk->buckets = pgl_page_buckets(page, index);
    walk->last = 0;
    walk->left = 0;
    if (!walk->buckets) {
        return pgl_list_first(page);
    }
    pgl_clip_to_page(table, index, &first_addr, &last_addr);
    walk->left = pgl_buckets_meeting(table, walk->buckets, first_addr, last_addr);
    return pgl_walk_next(walk, 0);
}

/*
 * Put the extent behind @ref on the list of one of its pages, and set the mask of the page. @head is the head of the
 * page. Returns its new value, which the caller stores by release or under the lock.
 */
static inline uintptr_t pgl_list_put(struct pgl_page *page, uintptr_t head, uintptr_t ref, uint64_t mask)
{
    /*
     * Relaxed is enough. A reader that loads this value instead of the one that narrow() stored earlier still sees
     * everything that narrow() ordered before it: the full fence of the bracket precedes this store and pairs with the
     * acquire of the reader (docs/locking.md, protocol 5).
     */
    __atomic_store_n(&page->mask, mask, __ATOMIC_RELAXED);
    *pgl_ref_next(ref) = head & ~PGL_HEAD_FLAGS;
    return (head & PGL_HEAD_FLAGS) | ref;
}

/**
 * pgl_list_add - put an extent of a new block on the list of its page, and add it to the filters of the page
 * @ref: to the extent
 * @crosses: the block is on another page too
 *
 * Locks:    entry and exit: the page, and the other pages of the block.
 */
void pgl_list_add(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index, uintptr_t ref, bool crosses);

/*
 * Put the list of a page that becomes hot, or whose list was rebuilt, in order of @buckets. Before, all of them but the
 * map are clear.
 */
void pgl_list_order(const struct pgl_table *table, struct pgl_page *page, struct pgl_buckets *buckets);

#endif
