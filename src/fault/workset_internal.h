/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A working set, and how it is made. Private.
 *
 * INVARIANTS   of a set. pgl_workset_load() refuses bytes that would break one of the first three.
 *   U11  The stretches are in ascending order and have no page in common. None is empty, and each ends below
 *       PGL_WORKSET_PAGES_MAX.
 *   U12  The times of two stretches differ if one begins right behind the other.
 *   U13  A stretch was touched in at least one of the recorded runs, and at most in all of them.
 *   U14  The pieces are in ascending order and have no page in common. A piece has at most PGL_WORKSET_CLUSTER pages,
 *       or is a part of one stretch that is cut into clusters of that many. Each page of a stretch is in a piece, and
 *       each cluster begins and ends with a page of a stretch.
 */
#ifndef PGL_FAULT_WORKSET_INTERNAL_H
#define PGL_FAULT_WORKSET_INTERNAL_H

#include <pagelock/workset.h>

#define PGL_WORKSET_LONG (4 * PGL_WORKSET_CLUSTER) /* pages of a stretch whose clusters begin where it does */

/* Neighbouring pages that the same number of runs touched. */
struct pgl_stretch {
    uint32_t first;
    uint32_t npages;
    uint32_t times;
};

/* A cluster, or several of PGL_WORKSET_CLUSTER pages each in a row; the last of them may be shorter. */
struct pgl_piece {
    uint32_t first;
    uint32_t last;
};

struct pgl_workset {
    uint32_t recordings;
    uint32_t nstretches;
    uint32_t npieces;
    uint64_t pages;
    uint64_t clusters;
    uint64_t cluster_pages;
    uint32_t block[2]; /* pages of a block for a page of no cluster, with few doubts and with more; powers of two */
    struct pgl_stretch *stretches;
    struct pgl_piece *pieces;
    char name[];
};

/* Returns a set of no pages with room for some stretches, or NULL with errno: EINVAL for a name that is too long. */
struct pgl_workset *pgl_workset_alloc(const char *name, size_t name_length, uint32_t nstretches);

/* Find the cheapest clusters for the stretches, which are all there. Returns false if there is no memory. */
bool pgl_workset_cover(struct pgl_workset *workset, const struct pgl_costs *costs);

/* Make the clusters of all stretches. Returns the set, or frees it and returns NULL with errno. */
struct pgl_workset *pgl_workset_finish(struct pgl_workset *workset, const struct pgl_costs *costs);

/* Find the window around a page that is its cluster. Returns false if there is none, and leaves @row unchanged. */
bool pgl_workset_find_row(const struct pgl_workset *workset, uint64_t page, struct pgl_advice_row *row);

/* Return word @number of a recording: bit b stands for page 64 * number + b. */
uint64_t pgl_recording_word(const struct pgl_recording *recording, uint64_t number);

/* Return the number of its words. */
uint64_t pgl_recording_words(const struct pgl_recording *recording);

#endif
