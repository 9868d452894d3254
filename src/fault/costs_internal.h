/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Private. */
#ifndef PGL_FAULT_COSTS_INTERNAL_H
#define PGL_FAULT_COSTS_INTERNAL_H

#include <pagelock/advice.h>

/* Return the costs, with the figures of advice.h in place of those that are not known. */
struct pgl_costs pgl_costs_known(const struct pgl_costs *costs);

#endif
