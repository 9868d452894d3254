/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "impl.h"

#include <string.h>

const struct impl *const impl_all[] = {&impl_pagelock, &impl_plain, &impl_global, NULL};

const struct impl *impl_find(const char *name)
{
    for (const struct impl *const *impl = impl_all; *impl; impl++) {
        if (!strcmp((*impl)->name, name)) {
            return *impl;
        }
    }
    return NULL;
}
