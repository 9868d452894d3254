/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The two fences between which a store or a translation is the first: one in a bracket, one in the check of a store. */
#ifndef PGL_CODE_FENCE_INTERNAL_H
#define PGL_CODE_FENCE_INTERNAL_H

#include <pagelock/tb.h>

/* Prepare this process for pgl_fence_all_threads(). False with ENOTSUP when the system cannot do it. */
bool pgl_fence_register(void);

/* A full fence in this thread and, between the call and its return, in every other thread of the process. */
void pgl_fence_all_threads(void);

/* Fence after a bracket has locked pages and set their code bits, before it reads their bytes. */
static inline void pgl_table_fence_bracket(const struct pgl_table *table)
{
    if (!(pgl_table_special(table) & PGL_SPECIAL_FENCES)) {
        pgl_fence_after_lock();
    } else if (pgl_table_special(table) & PGL_SPECIAL_ASYMMETRIC) {
        pgl_fence_all_threads();
    }
}

#endif
