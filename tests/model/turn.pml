/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Turns: a waiter that starves gets the page. Two pages, three threads that lock and unlock for ever. Thread 0 locks
 * page 0 or page 1, thread 1 locks page 1, thread 2 locks page 0 and then page 1.
 *
 * A lock looks at the flag that a waiter starves. While it is clear, the thread tests and swaps. Otherwise, and after a
 * swap that failed, it asks the list whether it may, and then swaps. A waiter queues after its second failure. The list
 * and the flag change in one step each, because they have a lock of their own.
 *
 * Checked: one holder per page; no deadlock; thread 0 gets what it wants again and again (no non-progress cycle under
 * weak fairness, and nothing that another thread does is progress).
 *
 * Each MUTANT_ must be found:
 *   MUTANT_INLINE_PASSES   a lock does not look at the flag
 *   MUTANT_NEVER_QUEUES    a waiter only waits
 *   MUTANT_LAST_FIRST      a waiter queues before the others
 *   MUTANT_ANY_PAGE        the first waiter of the list holds up every page
 *   MUTANT_FLAG_CLEARED    a waiter that leaves clears the flag although others starve
 */
#define THREADS 3

bool locked[2];
byte holders[2];
bool starving;
byte queue[THREADS];
byte queued;
byte want[THREADS];

inline wait_a_round()
{
    if
    :: mine || waits == 0 -> waits = 1
    :: !mine && waits == 1 ->
#ifdef MUTANT_NEVER_QUEUES
       skip
#else
       d_step {
           i = queued;
#ifdef MUTANT_LAST_FIRST
           do
           :: i > 0 -> queue[i] = queue[i - 1]; i--
           :: else -> break
           od;
#endif
           queue[i] = _pid;
           queued++;
           i = 0;
           starving = true;
           mine = true
       }
#endif
    fi
}

inline swap(page)
{
    atomic {
        if
        :: !locked[page] -> locked[page] = true; got = true
        :: else -> skip
        fi
    }
}

inline ask(page)
{
    d_step {
        i = 0;
#ifndef MUTANT_ANY_PAGE
        do
        :: i < queued && want[queue[i]] != page -> i++
        :: else -> break
        od;
#endif
        may = (i == queued || queue[i] == _pid);
        i = 0
    }
}

inline leave()
{
    d_step {
        i = 0;
        do
        :: queue[i] != _pid -> i++
        :: else -> break
        od;
        do
        :: i + 1 < queued -> queue[i] = queue[i + 1]; i++
        :: else -> break
        od;
        queued--;
        queue[queued] = 0;
        i = 0;
        starving = queued > 0;
#ifdef MUTANT_FLAG_CLEARED
        starving = false;
#endif
        mine = false
    }
}

inline lock(page)
{
    d_step { want[_pid] = page; got = false; waits = 0 };
#ifdef MUTANT_INLINE_PASSES
    swap(page);
#else
    if
    :: starving
    :: else -> swap(page)
    fi;
#endif
    do
    :: got -> break
    :: !got && locked[page] -> wait_a_round()
    :: !got && !locked[page] ->
       may = true;
       if
       :: starving -> ask(page)
       :: else -> skip
       fi;
       if
       :: may -> swap(page)
       :: else -> skip
       fi;
       if
       :: !got -> wait_a_round()
       :: else -> skip
       fi
    od;
    if
    :: mine -> leave()
    :: else -> skip
    fi;
    d_step { holders[page]++; assert(holders[page] == 1); may = false; waits = 0; got = false }
}

inline unlock(page)
{
    atomic { holders[page]--; locked[page] = false }
}

active proctype starves()
{
    bool got, mine, may;
    byte waits, i;

    do
    :: lock(0);
progress_0:
       unlock(0)
    :: lock(1);
progress_1:
       unlock(1)
    od
}

active proctype locks_1()
{
    bool got, mine, may;
    byte waits, i;

    do
    :: lock(1); unlock(1)
    od
}

active proctype locks_both()
{
    bool got, mine, may;
    byte waits, i;

    do
    :: lock(0); lock(1); unlock(1); unlock(0)
    od
}
