/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The end of a pager whose threads serve themselves in a signal's handler (src/uffd/self.c). Two threads want a page that
 * cannot be read, and are put off again and again. When both have been in the pager it is freed: it waits for its users,
 * releases its memory, leaves the list and takes the signal's handler away.
 *
 * The kernel's signal comes to a thread some steps after the touch. A touch of registered memory whose page is absent is
 * a signal; one of present or released memory is none.
 *
 * Checked: no thread uses a pager that is freed; no signal comes when the handler is gone, or to a thread for which no
 * pager is found; no deadlock; no cycle in which no page is tried.
 *
 * Each MUTANT_ must be found:
 *   MUTANT_RETURNS       a thread that is put off leaves the handler and touches the page again
 *   MUTANT_NOT_WAITED    the pager does not wait for its users
 *   MUTANT_ENTERS        a thread enters a pager that ends
 *   MUTANT_LEAVES_FIRST  the pager leaves the list before its memory is released
 *   MUTANT_NOT_TOLD      threads that wait for the end are not told
 *   MUTANT_NEW_TO_IT     a thread that finds its pager gone has forgotten that there was one
 */
#define THREADS 2

bool list_locked;
bool listed = true, ending, freed, installed = true, registered = true;
byte users, been;
bool waits[THREADS];

inline lock_list() { atomic { !list_locked -> list_locked = true } }
inline unlock_list() { list_locked = false }
inline broadcast() { d_step { waits[0] = false; waits[1] = false } }

active [THREADS] proctype toucher()
{
    bool known = false, first = true;

touch:
    if
    :: !registered -> goto end /* plain memory: zeros */
    :: registered -> skip
    fi;
    assert(installed); /* when the signal is delivered */
enter:
    lock_list();
    do
#ifndef MUTANT_ENTERS
    :: listed && ending ->
       known = true;
       waits[_pid] = true; /* on a condition */
       unlock_list();
       !waits[_pid];
       lock_list()
    :: listed && !ending -> break
#else
    :: listed -> break
#endif
    :: !listed -> break
    od;
    if
    :: listed -> users++; unlock_list()
    :: !listed ->
       unlock_list();
#ifdef MUTANT_NEW_TO_IT
       known = false;
#endif
       assert(known);
       known = false;
       goto touch
    fi;
progress_tried:
    assert(!freed); /* the page is tried, and cannot be read */
    if
    :: first -> been++; first = false
    :: else -> skip
    fi;
    assert(!freed);
    lock_list();
    users--;
    broadcast();
    unlock_list();
#ifdef MUTANT_RETURNS
    known = false;
    goto touch;
#else
    known = true;
    goto enter;
#endif
end:
    skip
}

active proctype freer()
{
    been == THREADS;
    lock_list();
    ending = true;
#ifndef MUTANT_NOT_WAITED
    do
    :: users == 0 -> break
    :: users > 0 -> unlock_list(); users == 0; lock_list()
    od;
#endif
    unlock_list();
#ifdef MUTANT_LEAVES_FIRST
    lock_list();
    listed = false;
    installed = false;
    broadcast();
    unlock_list();
    registered = false;
#else
    registered = false;
    lock_list();
    listed = false;
    installed = false;
#ifndef MUTANT_NOT_TOLD
    broadcast();
#endif
    unlock_list();
#endif
    freed = true
}
