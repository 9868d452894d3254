/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Kills in portions, for the calls that invalidate. */
#ifndef PGL_CODE_PORTION_INTERNAL_H
#define PGL_CODE_PORTION_INTERNAL_H

#include <pagelock/tb.h>

/**
 * struct pgl_choice - which blocks a call kills
 * @first_addr, @last_addr: only blocks with bytes in this range
 * @chosen: of these only the blocks that are chosen: named by a caller, or by @predicate
 * @predicate: NULL, or asked about each block of the range that is not yet chosen
 * @arg: passed to @predicate
 */
struct pgl_choice {
    uint64_t first_addr, last_addr;
    bool chosen;
    bool (*predicate)(const struct pgl_tb *tb, void *arg) PGL_NOEXCEPT;
    void *arg;
};

/**
 * pgl_kill_portions - kill the blocks that a caller chooses in a range, portion by portion
 *
 * The caller has passed a full fence since the bytes were stored. Returns PGL_HIT or 0.
 *
 * Locks:    entry and exit: this thread holds no page.
 */
int pgl_kill_portions(struct pgl_table *table, const struct pgl_choice *choice);

/**
 * pgl_kill_named - kill an array of blocks, portion by portion
 *
 * When this returns, `retired` has returned for each block of the array that was ever linked. Returns PGL_HIT or 0.
 *
 * Locks:    entry and exit: this thread holds no page.
 */
int pgl_kill_named(struct pgl_table *table, struct pgl_tb *const *tbs, size_t n);

#endif
