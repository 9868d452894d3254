/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The linked blocks: their table, their bytes, and the place at which each was linked.
 *
 * OBJECTS      `blocks` has a record for each linked block of the process. The address of the block is the key. `lock`
 * protects the records and is held over fork(). While it is held, no call leaves this file except a system call for
 * memory. (test_witness_is_as_it_was_in_a_child)
 *
 * INVARIANTS
 *   W1  A record is added before its block is live. It is removed when the block is dead, and before `retired` can pass
 *       the block on. (test_witness_allows_a_blocks_memory_to_be_used_again)
 *   W2  A thread that holds no page and saw a block live finds a record, with the block live or dead; or it finds no
 *       record and the block dead.
 *   W3  A thread that holds a page finds each block on its list live and as its record says.
 *       (test_witness_reports_and_undoes_each_change_of_a_linked_block)
 *
 * REPAIR       A damaged list of a page is rebuilt from the records, in another order. The damaged block may be on a
 * second page. The list of that page is rebuilt before it is walked next (`stale`).
 * (test_witness_reports_each_of_two_blocks_that_were_changed)
 *
 * The records are the witness's own memory, from mmap(2) and not from malloc(3). The explorer, which runs one thread at
 * a time, does not see the accesses of this file.
 */
#include "witness_internal.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tblist_internal.h"

#ifdef PGL_LOCK_DEBUG

struct record {
    struct pgl_tb *tb; /* NULL: an empty slot */
    const struct pgl_table *table;
    const char *place;
    uint64_t first[2];
    uint64_t last[2];
    bool stale[2]; /* the list that continues through this link must be rebuilt */
};

/* Open addressing. A record is in the first free slot from its home on. At most half of the slots are taken. */
static struct {
    struct record *slots;
    size_t n;
    unsigned bits; /* log2 of how many slots there are; 0 for none */
} blocks;

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
    pthread_atfork(lock_blocks, unlock_blocks, unlock_blocks);
}

#endif

static PGL_UNSEEN size_t n_slots(void)
{
    return blocks.bits ? (size_t)1 << blocks.bits : 0;
}

static PGL_UNSEEN size_t home(const struct pgl_tb *tb)
{
    return (size_t)(((uint64_t)(uintptr_t)tb >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> (64 - blocks.bits));
}

/* The slot of a block, or the empty slot in which it would be put. The caller has made sure that there are slots. */
static PGL_UNSEEN struct record *slot_of(const struct pgl_tb *tb)
{
    size_t at = home(tb);

    while (blocks.slots[at].tb && blocks.slots[at].tb != tb) {
        at = (at + 1) & (n_slots() - 1);
    }
    return &blocks.slots[at];
}

static PGL_UNSEEN struct record *find(const struct pgl_tb *tb)
{
    struct record *record = blocks.n ? slot_of(tb) : NULL;

    return record && record->tb ? record : NULL;
}

static PGL_UNSEEN void grow(void)
{
    struct record *old = blocks.slots;
    size_t n_old = n_slots();

    blocks.bits = blocks.bits ? blocks.bits + 1 : 8;
    blocks.slots = mmap(NULL, n_slots() * sizeof(*old), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (blocks.slots == MAP_FAILED) {
        fputs("libpagelock: no memory for the list of linked blocks\n", stderr);
        abort();
    }
    for (size_t i = 0; i < n_old; i++) {
        if (old[i].tb) {
            *slot_of(old[i].tb) = old[i];
        }
    }
    if (old) {
        munmap(old, n_old * sizeof(*old));
    }
}

/* Empty a slot, and move the records behind it closer to their homes. */
static PGL_UNSEEN void remove_record(struct record *record)
{
    size_t mask = n_slots() - 1, hole = (size_t)(record - blocks.slots), at = hole;

    while (blocks.slots[at = (at + 1) & mask].tb) {
        if (((at - home(blocks.slots[at].tb)) & mask) < ((at - hole) & mask)) {
            continue; /* its home lies behind the hole */
        }
        blocks.slots[hole] = blocks.slots[at];
        hole = at;
    }
    blocks.slots[hole].tb = NULL;
    blocks.n--;
}

PGL_UNSEEN void pgl_witness_linked(struct pgl_table *table, struct pgl_tb *tb, const char *place)
{
    lock_blocks();
    if (2 * (blocks.n + 1) > n_slots()) {
        grow();
    }
    *slot_of(tb) = (struct record){.tb = tb,
                                   .table = table,
                                   .place = place,
                                   .first = {tb->first[0], tb->first[1]},
                                   .last = {tb->last[0], tb->last[1]}};
    blocks.n++;
    unlock_blocks();
}

PGL_UNSEEN void pgl_witness_unlinked(struct pgl_tb *tb)
{
    struct record *record;

    lock_blocks();
    record = find(tb);
    if (record) {
        remove_record(record);
    }
    unlock_blocks();
}

PGL_UNSEEN void pgl_witness_forget(const struct pgl_table *table)
{
    lock_blocks();
    for (size_t at = 0; at < n_slots();) {
        if (blocks.slots[at].tb && blocks.slots[at].table == table) {
            remove_record(&blocks.slots[at]); /* another record may be here now */
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

static PGL_UNSEEN bool has_its_bytes(const struct record *record)
{
    const struct pgl_tb *tb = record->tb;

    return tb->first[0] == record->first[0] && tb->last[0] == record->last[0] && tb->first[1] == record->first[1] &&
           tb->last[1] == record->last[1];
}

/* Restore a block as it was when it was linked. */
static PGL_UNSEEN void restore(struct record *record)
{
    struct pgl_tb *tb = record->tb;

    for (unsigned which = 0; which < 2; which++) {
        tb->first[which] = record->first[which];
        tb->last[which] = record->last[which];
        record->stale[which] = true;
    }
    __atomic_store_n(&tb->state, PGL_TB_LIVE, __ATOMIC_RELEASE);
}

PGL_UNSEEN bool pgl_witness_may_link(struct pgl_tb *tb, uint64_t index, const char *place)
{
    const char *linked_place = NULL;
    struct record *record;
    bool may;

    lock_blocks();
    record = find(tb);
    if (record) {
        linked_place = record->place;
        if (state_of(tb) == PGL_TB_NEW || !has_its_bytes(record)) {
            restore(record);
        }
    }
    may = !record && state_of(tb) == PGL_TB_NEW && (uintptr_t)tb % 16 == 0;
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
    record = find(tb);
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

/* The link by which a linked block is on the list of a page, or 2 when it is not on that list. */
static PGL_UNSEEN unsigned link_on(const struct record *record, uint64_t index)
{
    const unsigned page_bits = record->table->page_bits;

    for (unsigned which = 0; which < 2; which++) {
        if (record->first[which] <= record->last[which] && record->first[which] >> page_bits == index) {
            return which;
        }
    }
    return 2;
}

/* Rebuild the list of a page from the records. */
static PGL_UNSEEN void relist(const struct pgl_table *table, struct pgl_page *page, uint64_t index)
{
    uintptr_t list = 0;

    for (size_t at = 0; at < n_slots(); at++) {
        struct record *record = &blocks.slots[at];
        unsigned which = record->tb && record->table == table ? link_on(record, index) : 2;

        if (which == 2) {
            continue;
        }
        record->tb->next[which] = list;
        record->stale[which] = false;
        list = pgl_ref(record->tb, which);
    }
    __atomic_store_n(&page->head, (__atomic_load_n(&page->head, __ATOMIC_RELAXED) & PGL_HEAD_FLAGS) | list,
                     __ATOMIC_RELAXED);
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

    for (size_t n = 0; ref; n++, ref = pgl_ref_tb(ref)->next[ref & 1]) {
        struct record *record = n < blocks.n ? find(pgl_ref_tb(ref)) : NULL;

        if (!record || record->table != table || link_on(record, index) != (ref & 1)) {
            *linked_place = before ? before->place : NULL;
            if (before) {
                restore(before);
            }
            relist(table, page, index);
            return true;
        }
        if (state_of(record->tb) != PGL_TB_LIVE || !has_its_bytes(record)) {
            *linked_place = record->place;
            restore(record);
            relist(table, page, index);
            return true;
        }
        if (record->stale[ref & 1]) { /* known already: start again at the head */
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
