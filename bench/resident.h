/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The pages of a fault trace, of which each is resident or absent: the state behind decisions without a driver. */
#ifndef PGL_BENCH_RESIDENT_H
#define PGL_BENCH_RESIDENT_H

#include <pagelock/advice.h>

#include "trace.h"

struct resident {
    const struct trace *trace;
    uint64_t **bitmaps;     /* of each object */
    struct pgl_view *views; /* of each entry, in its object's pages */
};

/* Nothing is resident. */
struct resident resident_new(const struct trace *trace);
void resident_reset(struct resident *resident);
void resident_clear(struct resident *resident);

/* The number of the entry that shows a page, or UINT_MAX: the object itself is touched, as by a copy made inside the VM. */
unsigned resident_entry_of(const struct trace *trace, const struct trace_touch *touch);

/* Whether a touch is a fault. Then @args is for a decision without a window. */
bool resident_faults(const struct resident *resident, const struct trace_touch *touch, struct pgl_cluster_args *args);

/* Brings a cluster. */
void resident_bring(struct resident *resident, uint32_t object, const struct pgl_cluster *cluster);

#endif
