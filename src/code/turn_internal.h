/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Turns: the order in which waiters that starve get their pages. For the page lock. */
#ifndef PGL_CODE_TURN_INTERNAL_H
#define PGL_CODE_TURN_INTERNAL_H

#include <pagelock/table.h>

/**
 * struct pgl_turn - a waiter that starves; it lives on the stack of the waiting thread
 * @page: the page that it waits for
 * @behind: the waiter that was queued next, for any page of the table, or NULL
 */
struct pgl_turn {
    const struct pgl_page *page;
    struct pgl_turn *behind;
};

/**
 * pgl_turn_allows - whether a thread may lock an unlocked page, because no waiter was queued for it before
 * @mine: the turn of this thread if it has queued, else NULL
 */
bool pgl_turn_allows(struct pgl_table *table, const struct pgl_page *page, const struct pgl_turn *mine);

/* Queue a waiter, and let it go when it has locked its page. */
void pgl_turn_queue(struct pgl_table *table, struct pgl_turn *turn);
void pgl_turn_leave(struct pgl_table *table, const struct pgl_turn *turn);

#endif
