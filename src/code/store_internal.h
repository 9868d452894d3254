/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PGL_CODE_STORE_INTERNAL_H
#define PGL_CODE_STORE_INTERNAL_H

#include <pagelock/tb.h>

/* Whether a store of 1 to 64 bytes lies in the table; errno is EINVAL otherwise. */
bool pgl_store_is_valid(const struct pgl_table *table, uint64_t addr, unsigned len);

#endif
