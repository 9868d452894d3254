/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The window for adaptive advice: what an object's faults so far say about the next one. Private.
 *
 * STREAMS      Faults that follow each other's clusters are a stream. A fault is of a stream when it comes right after
 *              its last cluster, or right before it, or misses it by no more than half its window and a little: the
 *              reader skipped some pages. The next window opens to that side only, and is twice the last; half of it
 *              when the reader turned round. A few streams are remembered, the last used ones.
 * CONFIDENCE   Any other fault is a new start, and what is worth fetching with it depends on how many faults continue
 *              a stream: confidence is a moving average of that. A start's window is in proportion, and nothing when
 *              hardly any do: at the model's prices a page that comes along and is not used costs a quarter of what a
 *              fault for it would have. So random look-ups soon fetch what they need, and no more.
 * BEHIND       Only a stream that goes up leaves pages behind: below the cluster of one that goes down lie those that
 *              it comes to next, and below that of a start nobody knows what.
 *
 * Only faults are looked at, never touches of pages that are there: the kernel does not tell of those. The constants
 * were chosen on the recorded faults; docs/performance.md shows what they give.
 */
#ifndef PGL_FAULT_ADVISOR_INTERNAL_H
#define PGL_FAULT_ADVISOR_INTERNAL_H

#include <pagelock/advice.h>

#define PGL_ADVISOR_STREAMS 8

struct pgl_stream {
    uint64_t first; /* its last cluster */
    uint64_t last;
    uint32_t npages; /* the window that was */
    int side;        /* 1: it goes up; -1: down; 0: a start */
};

/* All zero but confidence, which begins at PGL_ADVISOR_SURE. Belongs to the object's lock. */
struct pgl_advisor {
    struct pgl_stream streams[PGL_ADVISOR_STREAMS]; /* the last used one first; npages 0: none */
    unsigned confidence;
};

#define PGL_ADVISOR_SURE 65536u

/* The window for a fault: no more on a side than the limit says. pgl_advisor_note() follows. */
struct pgl_advice_row pgl_advisor_window(struct pgl_advisor *advisor, uint64_t index,
                                         const struct pgl_advice_row *limit);

/* What became of the window. */
void pgl_advisor_note(struct pgl_advisor *advisor, const struct pgl_cluster *cluster);

#endif
