/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The page lock, for the calls that kill blocks. */
#ifndef PGL_CODE_PAGE_INTERNAL_H
#define PGL_CODE_PAGE_INTERNAL_H

#include <pagelock/table.h>

/**
 * pgl_page_lock_unless_clean - lock a page, unless the answer is had without the lock
 * @first_addr, @last_addr: bytes on the page; the caller fenced after it stored to them, or needs no fence
 *
 * Returns true when it has locked the page. Returns false, with the page not locked, when another thread that kills
 * holds the page and the filters say that no living block meets the bytes.
 */
bool pgl_page_lock_unless_clean(struct pgl_table *table, struct pgl_leaf *leaf, uint64_t index, uint64_t first_addr,
                                uint64_t last_addr);

#endif
