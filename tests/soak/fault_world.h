/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The objects of the faulting pages. All workers fault on one object and on a shadow of it, through one map, while
 * pagers of the world's own reply late, in part, twice, with no data, with an error, or never. Now and then the pager
 * is terminated under the faults, and another world takes over. The last thread to leave a world looks for anything
 * left.
 */
#ifndef PGL_TESTS_SOAK_FAULT_WORLD_H
#define PGL_TESTS_SOAK_FAULT_WORLD_H

#include <pagelock/pagelock.h>

#include "../fault/sim.h"
#include "soak.h"

#define FIRST 928u  /* the first page that is touched: the pages lie on both sides of where a stripe ends */
#define NPAGES 192u /* that are touched */
#define SHIFT 16u   /* the shadow's page i is the lower object's i + SHIFT */
#define TOP 1000u   /* where the map shows the shadow */

/* Two objects and a map, until they are torn down; then the pager of the objects, until they are gone. */
struct world {
    struct sim sim; /* first: the pager */
    unsigned refs;  /* under the lock of all worlds */
    struct pgl_object *low, *top;
    struct pgl_map *map;
    pthread_mutex_t remap;
};

struct world *fault_enter_world(void);
void fault_leave_world(struct world *world);

/* Let another world take over, and terminate the objects of this one. */
void fault_change_world(void);

/* Check an object, and report each violation. */
void fault_check_object(struct pgl_object *object);

/* Count how a fault ended. */
void fault_count_result(enum pgl_fault_result result);

#endif
