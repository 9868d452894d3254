/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Turns: the order in which waiters that starve get their pages. For the page lock. */
#ifndef PGL_CODE_TURN_INTERNAL_H
#define PGL_CODE_TURN_INTERNAL_H

#include <pagelock/table.h>

/**
 * struct pgl_turn - one wait for a page, queued if the waiter starves; it lives on the stack of the waiting thread
 * @page: the page that it waits for
 * @behind: the waiter that was queued next, for any page of the table, or NULL
 * @process: the number of this process, or 0 until a call below needs it. A wait asks the system for it once
 */
struct pgl_turn {
    struct pgl_page *page;
    struct pgl_turn *behind;
    uintptr_t process;
};

/* Tell whether a thread may lock its page, which is unlocked, because no other waiter was queued for it before. */
bool pgl_turn_allows(struct pgl_table *table, struct pgl_turn *turn);

/* Queue a waiter, and let it go when it has locked its page. */
void pgl_turn_queue(struct pgl_table *table, struct pgl_turn *turn);
void pgl_turn_leave(struct pgl_table *table, struct pgl_turn *turn);

#endif
