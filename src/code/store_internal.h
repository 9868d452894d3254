/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The checks of stores that brackets share. */
#ifndef PGL_CODE_STORE_INTERNAL_H
#define PGL_CODE_STORE_INTERNAL_H

#include <pagelock/tb.h>

/* Whether a store has 1 to 64 bytes and lies in the table. Sets errno to EINVAL otherwise. */
bool pgl_store_is_valid(const struct pgl_table *table, uint64_t addr, unsigned len);

#endif
