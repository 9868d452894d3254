/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tables with the fences that a test asks for, where the system has them. */
#ifndef PGL_TESTS_FENCES_H
#define PGL_TESTS_FENCES_H

#include <errno.h>

#include <pagelock/table.h>

/* Make a table. @config says afterwards which fences it has. */
static inline struct pgl_table *new_table_with_fences(struct pgl_table_config *config)
{
    struct pgl_table *table = pgl_table_new(config);

    if (!table && errno == ENOTSUP) {
        config->asymmetric_fences = false;
        table = pgl_table_new(config);
    }
    return table;
}

#endif
