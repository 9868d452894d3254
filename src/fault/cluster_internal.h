/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Private. */
#ifndef PGL_FAULT_CLUSTER_INTERNAL_H
#define PGL_FAULT_CLUSTER_INTERNAL_H

#include <pagelock/advice.h>

/* Pages before and after a demand page. */
struct pgl_room {
    uint32_t before;
    uint32_t after;
};

/* The pages that a cluster may have, in the object's pages. */
struct pgl_bounds {
    uint64_t first;
    uint64_t last;
};

/* Find the bounds. Returns false where pgl_cluster_decide() does. */
bool pgl_cluster_bounds(const struct pgl_cluster_args *args, struct pgl_bounds *bounds);

/* Return the eligible pages around the demand page, up to the first gap, at most @limit, and within the bounds. */
struct pgl_room pgl_cluster_room(const struct pgl_cluster_args *args, const struct pgl_bounds *bounds,
                                 struct pgl_room limit);

/* Return how many other pages in the demand page's block of 64 are not eligible, within the bounds. */
uint32_t pgl_cluster_taken(const struct pgl_cluster_args *args, const struct pgl_bounds *bounds);

/* Make a cluster of a room, as far as the budget allows, and of pages behind it. */
void pgl_cluster_fill(const struct pgl_cluster_args *args, const struct pgl_bounds *bounds, struct pgl_room room,
                      uint32_t behind, struct pgl_cluster *cluster);

#endif
