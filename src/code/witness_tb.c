/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The linked blocks: their table, their bytes, and the place at which each was linked.
 *
 * OBJECTS      `extents` has a record for each extent of each linked block of the process, and one for a block without
 * bytes. The address of the extent's span is the key, which for extent 0 is the address of the block. `lock` protects
 * the records and is held over fork(). While it is held, no call leaves this file except a system call for
 * memory. (test_witness_fork_waits_for_the_lock_of_the_records)
 *
 * INVARIANTS
 *   X1  A record is added before its block is live. It is removed when the block is dead, and before `retired` can pass
 *       the block on. (test_witness_allows_a_blocks_memory_to_be_used_again)
 *   X2  A thread that holds no page and saw a block live finds a record, with the block live or dead; or it finds no
 *       record and the block dead.
 *   X3  A thread that holds a page finds each block on its list live and as its record says.
 *       (test_witness_reports_and_undoes_each_change_of_a_linked_block)
 *
 * REPAIR       A damaged list of a page is rebuilt from the records, in another order. The damaged block may be on a
 * second page. The list of that page is rebuilt before it is walked next (`stale`).
 * (test_witness_reports_each_of_two_blocks_that_were_changed)
 *
 * The records are the witness's own memory, and do not come from malloc(3). The explorer, which runs one thread at
 * a time, does not see the accesses of this file.
 */
#include "witness_internal.h"

#include <pthread.h>
#include <string.h>

#include "../message_internal.h"
#include "../os_internal.h"
#include "tblist_internal.h"

#ifdef PGL_LOCK_DEBUG

struct record {
    struct pgl_span *span; /* NULL: an empty slot */
    struct pgl_tb *tb;
    const struct pgl_table *table;
    const char *place;
    uint64_t first;
    uint64_t last;
    struct pgl_extent *more; /* the array of a block with more than two extents */
    uint32_t nextents;       /* of the block */
    bool is_block;           /* this is extent 0 */
    bool stale;              /* the list of the page must be rebuilt */
};

/* Open addressing. A record is in the first free slot from its home on. At most half of the slots are taken. */
static struct {
    struct record *slots;
    size_t n;
    unsigned bits; /* log2 of how many slots there are; 0 for none */
} extents;

#ifdef PGL_EXPLORE

/* Make the earlier writes of this thread visible, as a lock would. */
static void lock_blocks(void)
{
    pgl_fence();
}

static void unlock_blocks(void)
{
}

#else

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void lock_blocks(void)
{
    pthread_mutex_lock(&lock);
}

static void unlock_blocks(void)
{
    pthread_mutex_unlock(&lock);
}

static void __attribute__((constructor)) hold_over_fork(void)
{
    pgl_os_at_fork(lock_blocks, unlock_blocks);
}

#endif

static PGL_UNSEEN size_t n_slots(void)
{
    return extents.bits ? (size_t)1 << extents.bits : 0;
}

static PGL_UNSEEN size_t home(const struct pgl_span *span)
{
    return (size_t)(((uint64_t)(uintptr_t)span >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> (64 - extents.bits));
}

/* The slot of a span, or the empty slot in which it would be put. The caller has made sure that there are slots. */
static PGL_UNSEEN struct record *slot_of(const struct pgl_span *span)
{
    size_t at = home(span);

    while (extents.slots[at].span && extents.slots[at].span != span) {
        at = (at + 1) & (n_slots() - 1);
    }
    return &extents.slots[at];
}

static PGL_UNSEEN struct record *find(const struct pgl_span *span)
{
    struct record *record = extents.n ? slot_of(span) : NULL;

    return record && record->span ? record : NULL;
}

/* The record of a linked block, or NULL. */
static PGL_UNSEEN struct record *find_block(const struct pgl_tb *tb)
{
    struct record *record = find(&tb->span);

    return record && record->is_block ? record : NULL;
}

/* The element of extent @which of a block, as its record says. */
static PGL_UNSEEN struct pgl_span *span_of(const struct record *block, unsigned which)
{
    if (!which) {
        return &block->tb->span;
    }
    return block->nextents <= 2 ? &block->tb->rest.second.span : &block->more[which - 1].span;
}

static PGL_UNSEEN void grow(void)
{
    struct record *old = extents.slots;
    size_t n_old = n_slots();

    extents.bits = extents.bits ? extents.bits + 1 : 8;
    extents.slots = pgl_os_pages_alloc(n_slots() * sizeof(*old));
    if (!extents.slots) {
        pgl_abort("no memory for the list of linked blocks");
    }
    for (size_t i = 0; i < n_old; i++) {
        if (old[i].span) {
            *slot_of(old[i].span) = old[i];
        }
    }
    if (old) {
        pgl_os_pages_free(old, n_old * sizeof(*old));
    }
}

/* Empty a slot, and move the records behind it closer to their homes. */
static PGL_UNSEEN void remove_record(struct record *record)
{
    size_t mask = n_slots() - 1, hole = (size_t)(record - extents.slots), at = hole;

    while (extents.slots[at = (at + 1) & mask].span) {
        if (((at - home(extents.slots[at].span)) & mask) < ((at - hole) & mask)) {
            continue; /* its home lies behind the hole */
        }
        extents.slots[hole] = extents.slots[at];
        hole = at;
    }
    extents.slots[hole].span = NULL;
    extents.n--;
}

/* Add the record of extent @which of a block. The bytes of a block without extents are of no page. */
static PGL_UNSEEN void add(struct pgl_table *table, struct pgl_tb *tb, unsigned which, const char *place)
{
    struct record record = {.tb = tb, .table = table, .place = place, .nextents = tb->nextents, .is_block = !which};

    if (2 * (extents.n + 1) > n_slots()) {
        grow();
    }
    record.more = tb->nextents > 2 ? tb->rest.more : NULL;
    record.span = span_of(&record, which);
    record.first = which < tb->nextents ? record.span->first : 1;
    record.last = which < tb->nextents ? record.span->last : 0;
    *slot_of(record.span) = record;
    extents.n++;
}

PGL_UNSEEN void pgl_witness_linked(struct pgl_table *table, struct pgl_tb *tb, const char *place)
{
    lock_blocks();
    add(table, tb, 0, place);
    for (unsigned which = 1; which < tb->nextents; which++) {
        add(table, tb, which, place);
    }
    unlock_blocks();
}

PGL_UNSEEN void pgl_witness_unlinked(struct pgl_tb *tb)
{
    struct record *record;

    lock_blocks();
    record = find_block(tb);
    if (record) {
        struct record block = *record; /* records move when one is removed */

        for (unsigned which = block.nextents; which-- > 1;) {
            remove_record(find(span_of(&block, which)));
        }
        remove_record(find_block(tb));
    }
    unlock_blocks();
}

PGL_UNSEEN void pgl_witness_forget(const struct pgl_table *table)
{
    lock_blocks();
    for (size_t at = 0; at < n_slots();) {
        if (extents.slots[at].span && extents.slots[at].table == table) {
            remove_record(&extents.slots[at]); /* another record may be here now */
        } else {
            at++;
        }
    }
    unlock_blocks();
}

static PGL_UNSEEN uint32_t state_of(const struct pgl_tb *tb)
{
    return __atomic_load_n(&tb->state, __ATOMIC_RELAXED);
}

/* Whether a block is as its records say, but for its state. */
static PGL_UNSEEN bool has_its_bytes(const struct record *block)
{
    const struct pgl_tb *tb = block->tb;

    if (tb->nextents != block->nextents || (block->nextents > 2 && tb->rest.more != block->more)) {
        return false;
    }
    for (unsigned which = 0; which < block->nextents; which++) {
        const struct pgl_span *span = span_of(block, which);
        const struct record *record = find(span);

        if (span->first != record->first || span->last != record->last ||
            (which && ((const struct pgl_extent *)(uintptr_t)span)->tb != tb)) {
            return false;
        }
    }
    return true;
}

/* Restore a block as it was when it was linked. */
static PGL_UNSEEN void restore(const struct record *block)
{
    struct pgl_tb *tb = block->tb;

    tb->nextents = block->nextents;
    if (block->nextents > 2) {
        tb->rest.more = block->more;
    }
    for (unsigned which = 0; which < block->nextents; which++) {
        struct pgl_span *span = span_of(block, which);
        struct record *record = find(span);

        span->first = record->first;
        span->last = record->last;
        record->stale = true;
        if (which) {
            ((struct pgl_extent *)(uintptr_t)span)->tb = tb;
        }
    }
    __atomic_store_n(&tb->state, PGL_TB_LIVE, __ATOMIC_RELEASE);
}

/*
 * Whether the extents of a new block may be listed: their array is aligned, and no extent of it is linked, for another
 * block. Sets *@linked_place to the place at which that one was.
 */
static PGL_UNSEEN bool may_list_extents(const struct pgl_tb *tb, const char **linked_place)
{
    if (tb->nextents > 2 && (uintptr_t)tb->rest.more % _Alignof(struct pgl_extent)) {
        return false;
    }
    for (unsigned which = 1; which < tb->nextents; which++) {
        const struct record *record = find(pgl_tb_span(tb, which));

        if (record) {
            *linked_place = record->place;
            return false;
        }
    }
    return true;
}

PGL_UNSEEN bool pgl_witness_may_link(struct pgl_tb *tb, uint64_t index, const char *place)
{
    const char *linked_place = NULL;
    struct record *record;
    bool may;

    lock_blocks();
    record = find_block(tb);
    if (record) {
        linked_place = record->place;
        if (state_of(tb) == PGL_TB_NEW || !has_its_bytes(record)) {
            restore(record);
        }
    }
    may = !record && state_of(tb) == PGL_TB_NEW && (uintptr_t)tb % 16 == 0 && may_list_extents(tb, &linked_place);
    unlock_blocks();
    if (!may) {
        pgl_witness_breach(PGL_BREACH_TB_STATE, index, place, linked_place);
    }
    return may;
}

PGL_UNSEEN bool pgl_witness_knows(const struct pgl_table *table, const struct pgl_tb *tb, bool linked_once,
                                  const char *place)
{
    enum { FINE, ELSEWHERE, CHANGED, NEVER_LINKED } verdict = FINE;
    const char *linked_place = NULL;
    struct record *record;

    lock_blocks();
    record = find_block(tb);
    if (record) {
        uint32_t state = state_of(tb);

        linked_place = record->place;
        if (record->table != table) {
            verdict = ELSEWHERE;
        } else if (state != PGL_TB_DEAD && (state != PGL_TB_LIVE || !has_its_bytes(record))) {
            verdict = CHANGED;
            restore(record);
        }
    } else if (linked_once && state_of(tb) != PGL_TB_DEAD) {
        verdict = NEVER_LINKED;
    }
    unlock_blocks();
    if (verdict == ELSEWHERE) {
        pgl_witness_breach(PGL_BREACH_TB_TABLE, UINT64_MAX, place, linked_place);
    }
    if (verdict == CHANGED) {
        pgl_witness_breach(PGL_BREACH_TB_CHANGED, UINT64_MAX, place, linked_place);
    }
    if (verdict == NEVER_LINKED) {
        pgl_witness_breach(PGL_BREACH_TB_STATE, UINT64_MAX, place, NULL);
    }
    return verdict == FINE || verdict == CHANGED;
}

/* Whether a record is of an extent on a page. */
static PGL_UNSEEN bool is_on(const struct record *record, const struct pgl_table *table, uint64_t index)
{
    return record->table == table && record->first <= record->last && record->first >> table->page_bits == index;
}

/* Rebuild the list of a page from the records. */
static PGL_UNSEEN void relist(const struct pgl_table *table, struct pgl_page *page, uint64_t index)
{
    struct pgl_buckets *buckets = pgl_page_buckets(page, index);
    uintptr_t list = 0;

    for (size_t at = 0; at < n_slots(); at++) {
        struct record *record = &extents.slots[at];

        if (record->span && is_on(record, table, index)) {
            record->span->next = list;
            record->stale = false;
            list = (uintptr_t)record->span | !record->is_block;
        }
    }
    /* release: as in pgl_head_set(), which the explorer would see */
    __atomic_store_n(&page->head, (__atomic_load_n(&page->head, __ATOMIC_RELAXED) & PGL_HEAD_FLAGS) | list,
                     __ATOMIC_RELEASE);
    if (buckets) {
        buckets->used = buckets->ncross = 0;
        memset(buckets->reach, 0, sizeof(buckets->reach));
        pgl_list_order(table, page, buckets);
    }
}

/* The record of the extent behind a reference on the list of a page, or NULL. */
static PGL_UNSEEN struct record *find_on(const struct pgl_table *table, uint64_t index, uintptr_t ref)
{
    struct record *record = find((struct pgl_span *)(ref & ~(uintptr_t)15));

    return record && is_on(record, table, index) && record->is_block == !(ref & 1) ? record : NULL;
}

/*
 * Find the first damage of a list and repair it. Set *@linked_place to the place at which the damaged block was linked,
 * or to NULL when that is not known. A reference that leads to no block was damaged in the block before it.
 */
static PGL_UNSEEN bool repair(const struct pgl_table *table, struct pgl_page *page, uint64_t index,
                              const char **linked_place)
{
    uintptr_t ref = __atomic_load_n(&page->head, __ATOMIC_RELAXED) & ~PGL_HEAD_FLAGS;
    struct record *before = NULL;

    for (size_t n = 0; ref; n++, ref = before->span->next) {
        struct record *record = n < extents.n ? find_on(table, index, ref) : NULL;
        struct record *block = record ? find_block(record->tb) : before ? find_block(before->tb) : NULL;

        if (!record || state_of(block->tb) != PGL_TB_LIVE || !has_its_bytes(block)) {
            *linked_place = block ? block->place : NULL;
            if (block) {
                restore(block);
            }
            relist(table, page, index);
            return true;
        }
        if (record->stale) { /* known already: start again at the head */
            relist(table, page, index);
            return repair(table, page, index, linked_place);
        }
        before = record;
    }
    return false;
}

PGL_UNSEEN void pgl_witness_list(const struct pgl_table *table, struct pgl_page *page, uint64_t index)
{
    const char *linked_place;
    bool damaged;

    do {
        lock_blocks();
        damaged = repair(table, page, index, &linked_place);
        unlock_blocks();
        if (damaged) {
            pgl_witness_breach(PGL_BREACH_TB_CHANGED, index, pgl_witness_place(), linked_place);
        }
    } while (damaged);
}

#endif
