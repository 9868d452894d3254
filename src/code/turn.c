/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Turns. A waiter that has slept for some milliseconds starves: it wakes too late each time, because other threads lock
 * the page again and again. It queues, and from then on the other threads leave the page to it.
 *
 * OBJECTS      A table has a list of the waiters that starve, oldest first. The list, the members of a queued turn, and
 * bit PGL_SPECIAL_STARVING of the table's `special` belong to the thread that has set `turns_lock`. The bit is set
 * while the list is not empty. It sends each lock and trylock of the table to its slow path, which asks
 * pgl_turn_allows(). Without a waiter that starves, nothing here costs anything.
 *
 * LOCK ORDER   `turns_lock` comes after every page lock. No other lock is taken while it is held.
 *
 * INVARIANTS
 *   W1  A lock of a page that begins after a waiter for this page has queued is granted after that waiter's.
 *       (test_turn_a_lock_begun_later_comes_later, explorer: turn-later)
 *   W2  Queued waiters for one page get it in the order in which they queued. (test_turn_first_queued_first_served)
 *   W3  A queued waiter holds up no other page. (test_turn_is_of_one_page)
 *   W4  At rest the list is empty and the bit is clear. (test_turn_leaves_the_inline_locks_as_they_were)
 *   W5  A queued waiter is running pgl_page_lock_slow() or pgl_page_lock_unless_clean(), and does not hold its page.
 *       Therefore its turn, on its stack, outlives its place in the list.
 *
 * PROGRESS     A thread that wants a page waits for the page's holder, or for the first waiter queued for it, which
 * waits for the holder only. The holder may wait too, for a higher page than all it holds. Therefore each chain of
 * waiting threads climbs, at every second step at least, and ends at a thread that waits for no page. Between two turns
 * on a page a thread that had seen the bit clear may lock it once; no thread does so twice.
 * (explorer: turn-order, tests/model/turn.pml)
 *
 * FORK         A child has none of the threads whose turns it inherits, and perhaps their lock. The lock is the number
 * of the process that holds it, and the list has the number of the process that wrote it. A child takes the lock from
 * another process, and begins with an empty list. (test_turn_does_not_outlive_fork)
 *
 * NOT PROMISED A child that has the number of the process that wrote the list takes the list for its own:
 * docs/locking.md, "Fork", says when two processes have one number.
 */
#include "turn_internal.h"

#include <unistd.h>

#include "spin_internal.h"

/* Say in `special` whether any waiter starves. A store is enough, because the other bits never change. */
static void set_starving(struct pgl_table *table, bool starving)
{
    unsigned special = pgl_table_special(table) & ~PGL_SPECIAL_STARVING;

    /* relaxed: W1 is about locks that begin after this store has reached their threads */
    __atomic_store_n(&table->special, (uint8_t)(special | (starving ? PGL_SPECIAL_STARVING : 0)), __ATOMIC_RELAXED);
}

/* Return the number of this process. A fork() during a wait leaves the waiting thread to the parent. */
static uintptr_t own_process(struct pgl_turn *turn)
{
    if (!turn->process) {
        turn->process = (uintptr_t)getpid();
    }
    return turn->process;
}

static void lock_turns(struct pgl_table *table, struct pgl_turn *turn)
{
    const uintptr_t self = own_process(turn);
    uintptr_t holder;

    for (unsigned round = 0;; round++) {
        holder = __atomic_load_n(&table->turns_lock, __ATOMIC_RELAXED);
        /* acquire: pairs with the release in unlock_turns() */
        if (holder != self &&
            __atomic_compare_exchange_n(&table->turns_lock, &holder, self, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
            break;
        }
        pgl_spin_wait(&table->turns_lock, round);
    }
    if (table->turns_process != self) {
        table->turns_process = self;
        table->turns = NULL;
        set_starving(table, false);
    }
}

static void unlock_turns(struct pgl_table *table)
{
    /* release: pairs with the acquire in lock_turns() */
    __atomic_store_n(&table->turns_lock, 0, __ATOMIC_RELEASE);
}

bool pgl_turn_allows(struct pgl_table *table, struct pgl_turn *turn)
{
    const struct pgl_turn *first;

    if (!(pgl_table_special(table) & PGL_SPECIAL_STARVING)) {
        return true;
    }
    lock_turns(table, turn);
    for (first = table->turns; first && first->page != turn->page;) {
        first = first->behind;
    }
    unlock_turns(table);
    return !first || first == turn;
}

void pgl_turn_queue(struct pgl_table *table, struct pgl_turn *turn)
{
    struct pgl_turn **link;

    lock_turns(table, turn);
    for (link = &table->turns; *link;) {
        link = &(*link)->behind;
    }
    turn->behind = NULL;
    *link = turn;
    set_starving(table, true);
    unlock_turns(table);
}

void pgl_turn_leave(struct pgl_table *table, struct pgl_turn *turn)
{
    struct pgl_turn **link;

    lock_turns(table, turn);
    for (link = &table->turns; *link != turn;) {
        link = &(*link)->behind;
    }
    *link = turn->behind;
    set_starving(table, table->turns);
    unlock_turns(table);
}
