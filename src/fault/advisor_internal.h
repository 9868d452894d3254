/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The window for adaptive advice, derived from the earlier faults of an object. Private.
 *
 * STREAMS      A stream is a sequence of faults, each next to the cluster of the previous one. A fault continues a
 *              stream if it lies after or before the stream's last cluster, at a distance of at most half the window
 *              and a few pages more, because readers skip pages. The new window opens to that side only. It is twice
 *              the last one, or half of it if the reader turned round. The most recently used streams are remembered.
 * CONFIDENCE   Any other fault is a start. Confidence is a moving average of the share of faults that continue a
 *              stream. A start's window is proportional to it, and empty below a tenth, because a page that is fetched
 *              and not used costs about a quarter of a fault. Therefore random look-ups soon fetch their demand pages
 *              alone.
 * BEHIND       Only a stream that goes up leaves pages behind. Below the cluster of a stream that goes down lie the
 *              pages that the reader comes to next, and nothing is known about the pages below the cluster of a start.
 *
 * The advisor sees faults only, because the kernel does not report touches of resident pages. The constants were chosen
 * on the recorded faults, and docs/performance.md shows their effect.
 */
#ifndef PGL_FAULT_ADVISOR_INTERNAL_H
#define PGL_FAULT_ADVISOR_INTERNAL_H

#include <pagelock/advice.h>

#define PGL_ADVISOR_STREAMS 8

struct pgl_stream {
    uint64_t first; /* its last cluster */
    uint64_t last;
    uint32_t npages; /* its last window */
    int side;        /* 1: it goes up; -1: it goes down; 0: a start */
};

/* Initially zero, but confidence is PGL_ADVISOR_SURE. Protected by the object's lock. */
struct pgl_advisor {
    struct pgl_stream streams[PGL_ADVISOR_STREAMS]; /* the most recently used one first; npages 0: unused */
    unsigned confidence;
};

#define PGL_ADVISOR_SURE 65536u

/* Choose the window for a fault, on each side at most @limit. The caller calls pgl_advisor_note() afterwards. */
struct pgl_advice_row pgl_advisor_window(struct pgl_advisor *advisor, uint64_t index,
                                         const struct pgl_advice_row *limit);

/* Record the cluster that was chosen with the window. */
void pgl_advisor_note(struct pgl_advisor *advisor, const struct pgl_cluster *cluster);

#endif
