/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Operations of the target fuzz_table.c in brackets. */
#ifndef PGL_TESTS_FUZZ_TABLE_BRACKET_H
#define PGL_TESTS_FUZZ_TABLE_BRACKET_H

#include "table_world.h"

/* Link a new block. */
void table_bracket_link(struct world *world);

/* Try to link a block that has an equal: `publish` returns a block that is alive. */
void table_bracket_link_equal(struct world *world);

/* Link a block of up to WORLD_EXTENTS extents. */
void table_bracket_link_super(struct world *world);

/* Open a bracket on many pages, and abort it. */
void table_bracket_cross_about(struct world *world);

/* Store inside a bracket, then link its block or abort it. */
void table_bracket_link_with_stores(struct world *world);

#endif
