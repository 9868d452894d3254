/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The page lock: a bit in the word that also heads the page's list, three threads.
 *
 * A holder edits the list with the bit kept and unlocks by a store. A waiter tests, and only swaps a word that it saw
 * unlocked; then it backs off, yields, and at last sleeps for a while: each is a pause that ends by itself, since nobody
 * wakes anybody. trylock() answers false for a word seen locked only, and swaps again when the list has changed under it.
 *
 * Checked: one holder at a time; a holder finds the list as the holder before left it; no deadlock; while somebody
 * wants the lock, somebody gets it (no non-progress cycle under weak fairness: a thread that can run, runs).
 *
 * Each MUTANT_ must be found:
 *   MUTANT_TEST_THEN_SET   the swap is a test and a store
 *   MUTANT_SLEEP_FOR_WAKE  a sleeper waits to be woken, and the unlocker looks for sleepers before it unlocks
 *   MUTANT_UNLOCK_STALE    unlocking stores the word as it was when it was locked
 *   MUTANT_EDIT_DROPS_BIT  an edit of the list forgets the bit
 *   MUTANT_NO_RELOAD       a failed swap is repeated with the old word
 *   MUTANT_TRY_SPURIOUS    trylock() answers false when the swap failed on an unlocked word
 */
#define THREADS 3
#define PAUSES 3 /* spin, yield, sleep */

bool locked;
bool list; /* what the list is, as a bit */
byte holders;
bool truth; /* what the last holder made it */
#ifdef MUTANT_SLEEP_FOR_WAKE
byte sleepers;
bool woken;
#endif

#ifdef MUTANT_TEST_THEN_SET
#define SWAP(done)                                                                                                     \
    if                                                                                                                 \
    :: !locked && list == seen -> locked = true; done = true                                                           \
    :: else -> done = false                                                                                            \
    fi
#else
#define SWAP(done)                                                                                                     \
    atomic {                                                                                                           \
        if                                                                                                             \
        :: !locked && list == seen -> locked = true; done = true                                                       \
        :: else -> done = false                                                                                        \
        fi                                                                                                             \
    }
#endif

inline wait_a_while()
{
    if
    :: pauses < PAUSES - 1 -> pauses++
    :: pauses == PAUSES - 1 ->
#ifdef MUTANT_SLEEP_FOR_WAKE
       sleepers++;
       atomic { woken -> woken = false };
       sleepers--
#else
       skip
#endif
    fi
}

/* One word, so one step. */
inline load()
{
    atomic { busy = locked; seen = list }
}

inline lock()
{
    load();
    do
    :: busy -> wait_a_while(); load()
    :: !busy ->
        SWAP(got);
        if
        :: got -> break
        :: !got ->
#ifndef MUTANT_NO_RELOAD
           load()
#else
           skip
#endif
        fi
    od;
    atomic { pauses = 0; busy = false; got = false }
}

/* got: whether it was acquired. */
inline trylock()
{
    load();
    do
    :: busy -> break
    :: !busy ->
        SWAP(got);
        if
        :: got -> break
        :: !got ->
           load();
#ifdef MUTANT_TRY_SPURIOUS
           break
#endif
        fi
    od;
    assert(got || busy)
}

inline hold()
{
    d_step { holders++; assert(holders == 1); assert(list == truth); seen = list };
    if
    :: d_step { list = !list; truth = !truth
#ifdef MUTANT_EDIT_DROPS_BIT
       ; locked = false
#endif
       }
    :: skip
    fi;
    d_step { holders--; assert(list == truth) };
#ifdef MUTANT_SLEEP_FOR_WAKE
    if
    :: sleepers > 0 -> woken = true
    :: sleepers == 0 -> skip
    fi;
#endif
    d_step {
        locked = false;
#ifdef MUTANT_UNLOCK_STALE
        list = seen;
#endif
        seen = false
    }
}

active [THREADS] proctype thread()
{
    byte pauses;
    bool busy, seen, got;

end:
    do
    :: lock();
progress_locked:
       hold()
    :: trylock();
       if
       :: got -> got = false;
progress_tried:
          hold()
       :: else -> atomic { busy = false; seen = false }
       fi
    :: break
    od
}
