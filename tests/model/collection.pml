/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ordered collection with partial release, three threads on three pages.
 *
 * A page is a lock; a block is a pair of pages, listed on both or on neither, and changed only with both locked. Each
 * thread, for ever or until it has enough: locks a collection over a range and may kill what it finds; or translates a block, whose second page
 * may be the lower one; or kills one block by locking its pages in order.
 *
 * The collection as one rule: take the lowest page that is in the set and not held. Above all that is held, wait for it;
 * else try, and when it is busy let the pages above it go. A page of the range, once taken, adds the partners on its
 * list to the set; when nothing is missing, the next page of the range joins.
 *
 * Checked: no deadlock; a complete collection holds its range and every page of every block listed there; a collection
 * lets go at most once for each page; and some thread always gets through (no non-progress cycle).
 *
 * One step is one attempt to lock, with what the thread does by itself until the next one: what it reads is protected
 * by locks that it holds, and unlocking later than possible adds nothing that unlocking at once does not allow.
 *
 * Each MUTANT_ is one wrong turn of the protocol, and must be found:
 *   MUTANT_KEEP_ABOVE     a busy page is waited for with the pages above it held
 *   MUTANT_RELEASE_BELOW  the pages below the busy one are let go instead of those above
 *   MUTANT_NO_RESCAN      the list of a page that was let go is not read again
 *   MUTANT_DESCENDING     the highest missing page is taken first, waiting for it
 *   MUTANT_FORGET         pages that were let go leave the set
 *   MUTANT_READ_UNLOCKED  a page's list is read before the page is locked
 *   MUTANT_CROSS_BLOCKS   a bracket waits for its lower page with the higher one held
 *   MUTANT_LINK_ONE_PAGE  a block is linked with its first page locked only
 *   MUTANT_KILL_UNORDERED one block's pages are locked as they come
 */
#define PAGES 3
#define THREADS 3
#define NOBODY 255

#define BIT(p) (1 << (p))
#define ABOVE(p) (7 & ~((2 << (p)) - 1))
#define BELOW(p) (BIT(p) - 1)
#define LOWEST(mask) (((mask) & 1) -> 0 : (((mask) & 2) -> 1 : 2))
#define HIGHEST(mask) (((mask) & 4) -> 2 : (((mask) & 2) -> 1 : 0))

byte owner[PAGES] = NOBODY;
/* Blocks: 0 on pages 0 and 1, 1 on 0 and 2, 2 on 1 and 2. */
bool linked[PAGES];
#define LOW(b) ((b) == 2)
#define HIGH(b) (1 + ((b) > 0))

/* The pages that share a listed block with page p, as a mask. */
#define PARTNERS(p)                                                                                                    \
    ((p) == 0 -> (linked[0] * 2 + linked[1] * 4) :                                                                     \
     ((p) == 1 -> (linked[0] * 1 + linked[2] * 4) : (linked[1] * 1 + linked[2] * 2)))
#define LOST(p) ((range & BIT(p)) && (PARTNERS(p) & ~held))

#define FREE(p) (owner[p] == NOBODY)

inline unlock(mask)
{
    owner[0] = ((mask) & 1 -> NOBODY : owner[0]);
    owner[1] = ((mask) & 2 -> NOBODY : owner[1]);
    owner[2] = ((mask) & 4 -> NOBODY : owner[2])
}

/* What to lock next: no page when the collection is complete. */
inline choose()
{
    if
    :: !(set & ~held) && (range & ~set) ->
        want = LOWEST(range & ~set);
        set = set | BIT(want);
#ifdef MUTANT_READ_UNLOCKED
        set = set | PARTNERS(want);
#endif
    :: else -> skip
    fi;
    if
#ifdef MUTANT_DESCENDING
    :: set & ~held -> want = HIGHEST(set & ~held)
#else
    :: set & ~held -> want = LOWEST(set & ~held)
#endif
    :: else -> want = NOBODY
    fi
}

#ifdef MUTANT_NO_RESCAN
#define UNREAD let_go
#else
#define UNREAD 0
#endif

inline acquired()
{
    owner[want] = _pid;
    held = held | BIT(want);
#ifndef MUTANT_READ_UNLOCKED
    if
    :: range & BIT(want) & ~UNREAD -> set = set | PARTNERS(want)
    :: else -> skip
    fi;
#endif
    choose()
}

inline busy()
{
    retries++;
    assert(retries <= PAGES);
#ifdef MUTANT_RELEASE_BELOW
    let_go = let_go | held & BELOW(want);
#else
    let_go = let_go | held & ABOVE(want);
#endif
    unlock(held & let_go);
    held = held & ~let_go;
#ifdef MUTANT_FORGET
    set = set & ~(let_go & ~range);
#endif
#ifndef MUTANT_NO_RESCAN
    let_go = 0;
#endif
}

#ifdef MUTANT_KEEP_ABOVE
#define MUST_TRY false
#elif defined(MUTANT_DESCENDING)
#define MUST_TRY (held & ABOVE(want) && !(set & ~held & ~BIT(want)))
#else
#define MUST_TRY (held & ABOVE(want))
#endif

inline collect()
{
    atomic {
        if
        :: range = 1
        :: range = 2
        :: range = 4
        :: range = 3
        :: range = 6
        :: range = 7
        fi;
        choose()
    }
    do
    :: atomic { want != NOBODY && FREE(want) -> acquired() }
    :: atomic { want != NOBODY && !FREE(want) && MUST_TRY -> busy() }
    :: atomic { want == NOBODY -> assert((range & ~held) == 0); assert(!LOST(0) && !LOST(1) && !LOST(2)); break }
    od;
    atomic {
        if
        :: linked[0] = linked[0] && !(range & 3);
           linked[1] = linked[1] && !(range & 5);
           linked[2] = linked[2] && !(range & 6)
        :: skip
        fi;
        unlock(held);
        held = 0;
        set = 0;
        range = 0;
        want = 0;
        let_go = 0;
        retries = 0
    }
}

/* Lock one page of the block, which is page a, and then its other. */
inline lock_both(a, b)
{
    atomic { FREE(a) -> owner[a] = _pid };
    atomic { FREE(b) -> owner[b] = _pid }
}

inline end_block(alive)
{
    atomic { linked[block] = alive; unlock(BIT(LOW(block)) | BIT(HIGH(block))); block = 0 }
}

inline select_block()
{
    if
    :: block = 0
    :: block = 1
    :: block = 2
    fi
}

/* The second page in order, or by trying; busy: both again, in order, and decode again. */
inline translate()
{
    select_block();
    if
    :: lock_both(LOW(block), HIGH(block))
    :: atomic { FREE(HIGH(block)) -> owner[HIGH(block)] = _pid };
       if
       :: atomic { FREE(LOW(block)) -> owner[LOW(block)] = _pid }
#ifndef MUTANT_CROSS_BLOCKS
       :: atomic { !FREE(LOW(block)) -> owner[HIGH(block)] = NOBODY };
          lock_both(LOW(block), HIGH(block))
#endif
       fi
#ifdef MUTANT_LINK_ONE_PAGE
    :: atomic { FREE(LOW(block)) -> linked[block] = true };
       lock_both(LOW(block), HIGH(block))
#endif
    fi;
    end_block(true)
}

inline kill_one()
{
    select_block();
#ifdef MUTANT_KILL_UNORDERED
    if
    :: lock_both(HIGH(block), LOW(block))
    :: lock_both(LOW(block), HIGH(block))
    fi;
#else
    lock_both(LOW(block), HIGH(block));
#endif
    end_block(false)
}

active [THREADS] proctype thread()
{
    byte held, set, range, want, let_go;
    byte block, retries;

end:
    do
    :: collect();
progress_collected:
       skip
    :: translate();
progress_translated:
       skip
    :: kill_one();
progress_killed:
       skip
    :: break
    od
}
