/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The checks of stores that brackets share. */
#ifndef PGL_CODE_STORE_INTERNAL_H
#define PGL_CODE_STORE_INTERNAL_H

#include <pagelock/tb.h>

/* Whether the bytes of a store lie in the table, or it has none. Sets errno to EINVAL otherwise. */
bool pgl_store_is_valid(const struct pgl_table *table, uint64_t addr, uint64_t len);

#endif
