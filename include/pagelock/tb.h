/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Translation blocks are linked to the pages that their guest bytes are on, and die when a store writes these bytes.
 *
 * The emulator translates a block inside a bracket (pgl_bracket_begin() ... pgl_bracket_commit()). The bracket holds
 * the pages of the block from before the first guest byte is read until the block can be found. A block dies once, by
 * the first call that claims it. docs/locking.md has the protocol, and says which calls may run at the same time. This
 * header includes those of the subjects: block.h, bracket.h, invalidate.h and store.h.
 */
#ifndef PGL_PAGELOCK_TB_H
#define PGL_PAGELOCK_TB_H

#include <pagelock/block.h>
#include <pagelock/bracket.h>
#include <pagelock/invalidate.h>
#include <pagelock/store.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * pgl_table_check() - verify every invariant of a table at rest
 * @table: borrowed
 * @say: called with each violation in words, or NULL
 * @opaque: passed to @say
 *
 * No page is locked. Every listed block is alive, and each of its extents is listed once on its page, which has a leaf.
 * The mask, exact map, index, code bitmap and crossing flag of each page are exactly those of its list. Every child is
 * in its parent's bitmap. The figures are right.
 *
 * Returns the number of violations: 0 for a sound table.
 *
 * Locks:    entry and exit: no thread holds a page or is in a call on the table.
 */
PGL_API unsigned pgl_table_check(const struct pgl_table *table,
                                 void (*say)(const char *what, void *opaque) PGL_NOEXCEPT, void *opaque);

#ifdef __cplusplus
}
#endif

#endif
