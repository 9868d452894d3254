/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The clusters of a working set: the cheapest way to cover its pages.
 *
 * COVER        A cover costs fault_ns for each cluster and page_ns for each page of it. The cheapest cover of the first
 *              pages is found from the cheapest covers of fewer pages, which differ by one cluster. A segment has so
 *              many pages; when it is full, its last cluster begins the next segment, because pages that follow may
 *              change that one. A stretch of PGL_WORKSET_LONG pages and more is cut into whole clusters from its
 *              beginning, which are one piece, and only its rest shares a cluster with what follows. Therefore the
 *              memory is in proportion to the number of stretches, and the time to the number of their pages, of
 *              which a stretch counts with at most PGL_WORKSET_LONG.
 */
#include <stdlib.h>

#include "costs_internal.h"
#include "workset_internal.h"

#define SEGMENT 1024
#define WIDEST_BLOCK 64

/* Pages that have yet to be covered. Clusters cover the first n of them, the last of which begins at from[n]. */
struct segment {
    uint64_t fault_ns;
    uint64_t page_ns;
    uint32_t npages;
    uint32_t page[SEGMENT];
    uint64_t ns[SEGMENT + 1];
    uint32_t from[SEGMENT + 1];
};

static void add_piece(struct pgl_workset *workset, uint32_t first, uint32_t last)
{
    workset->pieces[workset->npieces++] = (struct pgl_piece){first, last};
}

/* Append a page, which is above all others, to a segment that is not full. */
static void append(struct segment *segment, uint32_t page)
{
    uint32_t at = segment->npages++;
    uint64_t least = UINT64_MAX;

    segment->page[at] = page;
    for (uint32_t from = at + 1; from-- > 0 && page - segment->page[from] < PGL_WORKSET_CLUSTER;) {
        uint64_t npages = page - segment->page[from] + 1;
        uint64_t ns = segment->ns[from] + segment->fault_ns + npages * segment->page_ns;

        if (ns < least) {
            least = ns;
            segment->from[at + 1] = from;
        }
    }
    segment->ns[at + 1] = least;
}

/* Make pieces of all clusters of a segment but its last one, and of that too if no other page can share it. */
static void flush(struct pgl_workset *workset, struct segment *segment, bool whole)
{
    uint32_t end = segment->npages;
    uint32_t until = whole || end == 0 ? end : segment->from[end];
    uint32_t next[SEGMENT + 1] = {0};
    uint32_t page[PGL_WORKSET_CLUSTER];

    for (uint32_t at = until; at > 0; at = segment->from[at]) {
        next[segment->from[at]] = at;
    }
    for (uint32_t at = 0; at < until; at = next[at]) {
        add_piece(workset, segment->page[at], segment->page[next[at] - 1]);
    }
    for (uint32_t i = until; i < end; i++) {
        page[i - until] = segment->page[i];
    }
    segment->npages = 0;
    for (uint32_t i = until; i < end; i++) {
        append(segment, page[i - until]);
    }
}

static void cover_stretch(struct pgl_workset *workset, struct segment *segment, const struct pgl_stretch *stretch)
{
    uint32_t whole = stretch->npages < PGL_WORKSET_LONG ? 0 : stretch->npages - stretch->npages % PGL_WORKSET_CLUSTER;

    if (whole > 0) {
        flush(workset, segment, true);
        add_piece(workset, stretch->first, stretch->first + (whole - 1));
    }
    for (uint32_t i = whole; i < stretch->npages; i++) {
        if (segment->npages == SEGMENT) {
            flush(workset, segment, false);
        }
        append(segment, stretch->first + i);
    }
}

/*
 * The largest number of pieces. Two clusters in a row that begin in one stretch have more than PGL_WORKSET_CLUSTER
 * pages together, because one would be cheaper. A segment that is full may end a pair.
 */
static size_t room_for_pieces(const struct pgl_workset *workset)
{
    size_t n = 0;

    for (uint32_t i = 0; i < workset->nstretches; i++) {
        uint32_t npages = workset->stretches[i].npages;

        n += 4 + (npages < PGL_WORKSET_LONG ? npages / (PGL_WORKSET_CLUSTER / 2) : 0);
    }
    return n;
}

/* The largest power of two, up to WIDEST_BLOCK, of pages that cost so many halves of a request at most. At least one. */
static uint32_t block_of(const struct pgl_costs *costs, unsigned halves)
{
    uint32_t npages = 1;

    while (npages < WIDEST_BLOCK && 2 * (2 * npages) * costs->page_ns <= halves * costs->fault_ns) {
        npages *= 2;
    }
    return npages;
}

static void sum_up(struct pgl_workset *workset)
{
    for (uint32_t i = 0; i < workset->nstretches; i++) {
        workset->pages += workset->stretches[i].npages;
    }
    for (uint32_t i = 0; i < workset->npieces; i++) {
        uint64_t npages = (uint64_t)workset->pieces[i].last - workset->pieces[i].first + 1;

        workset->cluster_pages += npages;
        workset->clusters += (npages - 1) / PGL_WORKSET_CLUSTER + 1;
    }
}

bool pgl_workset_cover(struct pgl_workset *workset, const struct pgl_costs *costs)
{
    static const struct pgl_costs unknown;
    struct pgl_costs known = pgl_costs_known(costs ? costs : &unknown);
    struct segment *segment = calloc(1, sizeof(*segment));

    workset->pieces = calloc(room_for_pieces(workset) + 1, sizeof(*workset->pieces));
    if (!segment || !workset->pieces) {
        free(segment);
        return false;
    }
    segment->fault_ns = known.fault_ns;
    segment->page_ns = known.page_ns;
    workset->block[0] = block_of(&known, 3);
    workset->block[1] = block_of(&known, 6);
    for (uint32_t i = 0; i < workset->nstretches; i++) {
        cover_stretch(workset, segment, &workset->stretches[i]);
    }
    flush(workset, segment, true);
    free(segment);
    sum_up(workset);
    return true;
}
