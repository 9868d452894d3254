/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The part of the page lock that is not inline.
 *
 * OBJECTS      The lock bit of a page protects its list (the rest of the head, and the links of the blocks on it), the
 * changes of its mask and exact map, its bit in the code bitmap of its leaf, and its count of misses. Mask, map and
 * code bit are read without the lock; filter.c and docs/locking.md say what such a read means.
 *
 * LOCK ORDER   Ascending page index within one table. A thread waits for a page above all that it holds, and tries any
 * other. A try fails if the page is locked, or if a waiter that starves has its turn (turn.c).
 *
 * INVARIANTS
 *   H1  While the lock bit is set only its holder writes the head, and each of its stores keeps the bit. Therefore a
 *       load and a store unlock the page. (test_page_lock_keeps_list_and_filters)
 *   H2  In an externally locked table the lock bit is never set. (test_external_lock_writes_nothing)
 */
#include <errno.h>

#include "../probe_internal.h"
#include "filter_internal.h"
#include "page_internal.h"
#include "spin_internal.h"
#include "table_internal.h"
#include "tblist_internal.h"
#include "turn_internal.h"
#include "witness_internal.h"

/* Add a wait to the table's figures. */
static void note_wait(struct pgl_table *table, const struct pgl_page *page, const struct pgl_spin_wait *wait)
{
    uint64_t asleep_ns = pgl_spin_asleep_ns(wait);

    if (!wait->rounds) {
        return;
    }
    PGL_PROBE(contention, table, page, wait->rounds, asleep_ns);
    pgl_count(&table->contended, 1);
    if (!asleep_ns) {
        return;
    }
    pgl_count(&table->slept, 1);
    pgl_count_max(&table->slept_ns_max, asleep_ns);
}

/* Lock the page of @turn unless it is locked, or another waiter has its turn. */
static bool try_in_turn(struct pgl_table *table, struct pgl_turn *turn)
{
    return !(pgl_head(turn->page) & PGL_HEAD_LOCK) && pgl_turn_allows(table, turn) &&
           pgl_spin_trylock(&turn->page->head, PGL_HEAD_LOCK);
}

/* A question that a waiter asks the filters while another thread, which kills, holds the page. */
struct question {
    struct pgl_leaf *leaf;
    uint64_t index, first_addr, last_addr;
};

/*
 * Whether no living block meets the bytes, though the page is locked (docs/locking.md, protocol 14). The caller fenced
 * after it stored to them, or needs no fence.
 */
static bool is_answered(const struct pgl_table *table, const struct question *question)
{
    struct pgl_page *page = pgl_leaf_page(question->leaf, question->index);
    /*
     * acquire: pairs with the release in pgl_page_unlock_at(), which the lock of the present holder carries on, and
     * with that in pgl_head_set(). A head that says hot brings the exact map.
     */
    uintptr_t head = __atomic_load_n(&page->head, __ATOMIC_ACQUIRE);

    return (head & PGL_HEAD_LOCK) && pgl_page_is_killed(question->leaf, question->index) &&
           pgl_page_is_clean(table->page_bits, question->leaf, question->index, head, question->first_addr,
                             question->last_addr);
}

/* How the wait of a thread that does not starve ends. */
enum outcome { LOCKED, ANSWERED, STARVES };

/* Try to lock a page, until the thread starves, or the question has an answer, unless it is NULL. */
static enum outcome lock_for_a_while(struct pgl_table *table, struct pgl_turn *turn, const struct question *question,
                                     struct pgl_spin_wait *wait)
{
    while (wait->rounds < PGL_SPIN_STARVING_ROUNDS) {
        if (question && is_answered(table, question)) {
            return ANSWERED;
        }
        if (try_in_turn(table, turn)) {
            return LOCKED;
        }
        pgl_spin_wait_on(wait, &turn->page->head);
    }
    return STARVES;
}

/*
 * Queue for a page, and lock it. The thread has no question any more, because others wait for its lock. It takes short
 * sleeps only, because the page may be kept for it.
 */
static void lock_queued(struct pgl_table *table, struct pgl_turn *turn)
{
    pgl_turn_queue(table, turn);
    while (!try_in_turn(table, turn)) {
        pgl_spin_wait(&turn->page->head, PGL_SPIN_AWAKE_ROUNDS);
    }
    pgl_turn_leave(table, turn);
}

/*
 * Lock a page, and wait as long as necessary, or until the question has an answer, unless it is NULL. Returns whether
 * the page is locked. A refused thread waits for a write to the head: the holder unlocks it, and the waiter that has
 * its turn locks it.
 */
static bool lock_in_turn(struct pgl_table *table, struct pgl_page *page, const struct question *question)
{
    struct pgl_turn turn = {.page = page};
    struct pgl_spin_wait wait = {0};
    enum outcome outcome = lock_for_a_while(table, &turn, question, &wait);

    if (outcome == STARVES) {
        lock_queued(table, &turn);
    }
    note_wait(table, page, &wait);
    return outcome != ANSWERED;
}

void pgl_page_lock_slow(struct pgl_table *table, struct pgl_page *page, const char *place)
{
    if (!pgl_witness_may_lock(table, page, true, place)) {
        return;
    }
    if (!(pgl_table_special(table) & PGL_SPECIAL_EXTERNAL)) {
        lock_in_turn(table, page, NULL);
    }
    pgl_witness_locked(table, page, place);
}

bool pgl_page_lock_unless_clean(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index, uint64_t first_addr,
                                uint64_t last_addr)
{
    const struct question question = {leaf, index, first_addr, last_addr};
    const char *place = pgl_witness_place();
    struct pgl_page *page = pgl_leaf_page(leaf, index);
    uintptr_t head;

    if (PGL_LIKELY(!pgl_table_special(table) && pgl_page_lock_fast(page, &head))) {
        return true;
    }
    if (pgl_witness_may_lock(table, page, true, place)) {
        if (!(pgl_table_special(table) & PGL_SPECIAL_EXTERNAL) && !lock_in_turn(table, page, &question)) {
            return false;
        }
        pgl_witness_locked(table, page, place);
    }
    return true;
}

bool pgl_page_trylock_slow(struct pgl_table *table, struct pgl_page *page, const char *place)
{
    struct pgl_turn turn = {.page = page};

    if (!pgl_witness_may_lock(table, page, false, place)) {
        return false;
    }
    if (!(pgl_table_special(table) & PGL_SPECIAL_EXTERNAL) && !try_in_turn(table, &turn)) {
        return false;
    }
    pgl_witness_locked(table, page, place);
    return true;
}

void pgl_page_unlock_slow(struct pgl_table *table, struct pgl_page *page, const char *place)
{
    if (pgl_witness_unlocking(table, page, place) && !(pgl_table_special(table) & PGL_SPECIAL_EXTERNAL)) {
        pgl_spin_unlock(&page->head, PGL_HEAD_LOCK);
    }
}

bool pgl_page_lock_pair_at(struct pgl_table *table, uint64_t index, uint64_t index2, const char *place)
{
    uint64_t low = index < index2 ? index : index2;
    uint64_t high = index < index2 ? index2 : index;
    struct pgl_page *low_page, *high_page;

    if (!pgl_witness_enters(table, place)) {
        return false;
    }
    low_page = pgl_page_get(table, low);
    high_page = pgl_page_get(table, high);
    if (!low_page || !high_page) {
        return false;
    }
    pgl_page_lock_at(table, low_page, place);
    if (high != low) {
        pgl_page_lock_at(table, high_page, place);
    }
    return true;
}

static void unlock_by_index(struct pgl_table *table, uint64_t index)
{
    struct pgl_page *page = pgl_page_find(table, index);

    if (PGL_WITNESS && !page) {
        pgl_witness_breach(PGL_BREACH_NOT_HELD, index, pgl_witness_place(), NULL);
    } else {
        pgl_page_unlock_at(table, page, pgl_witness_place());
    }
}

void pgl_page_unlock_pair_at(struct pgl_table *table, uint64_t index, uint64_t index2, const char *place)
{
    if (!pgl_witness_may_call(place)) {
        return;
    }
    unlock_by_index(table, index);
    if (index2 != index) {
        unlock_by_index(table, index2);
    }
}

void pgl_page_assert_held_at(struct pgl_table *table, struct pgl_page *page, const char *place)
{
    pgl_witness_holds(table, page, place);
}

void pgl_assert_none_held_at(const char *place)
{
    pgl_witness_holds_none(PGL_BREACH_CHECKPOINT, place);
}
