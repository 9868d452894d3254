/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Working sets: made of a recording or of other sets, and looked up. workset_internal.h has the invariants,
 * and workset_cover.c makes the clusters.
 *
 * READERS      A set never changes once it is made; therefore a fault reads it without a lock. Its owner frees it when
 *              no object has it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "workset_internal.h"

struct pgl_workset *pgl_workset_alloc(const char *name, size_t name_length, uint32_t nstretches)
{
    size_t size = sizeof(struct pgl_workset) + name_length + 1;
    struct pgl_workset *workset;

    if (name_length > PGL_WORKSET_NAME_MAX) {
        errno = EINVAL;
        return NULL;
    }
    workset = calloc(1, size);
    if (workset) {
        workset->stretches = calloc((size_t)nstretches + 1, sizeof(*workset->stretches));
        memcpy(workset->name, name, name_length);
    }
    if (!workset || !workset->stretches) {
        pgl_workset_free(workset);
        errno = ENOMEM;
        return NULL;
    }
    return workset;
}

void pgl_workset_free(struct pgl_workset *workset)
{
    if (workset) {
        free(workset->stretches);
        free(workset->pieces);
        free(workset);
    }
}

struct pgl_workset *pgl_workset_finish(struct pgl_workset *workset, const struct pgl_costs *costs)
{
    if (!pgl_workset_cover(workset, costs)) {
        pgl_workset_free(workset);
        errno = ENOMEM;
        return NULL;
    }
    return workset;
}

/* Whether costs are accepted; false with EINVAL. */
static bool are_accepted(const struct pgl_costs *costs)
{
    if (costs && pgl_costs_explain(costs)) {
        errno = EINVAL;
        return false;
    }
    return true;
}

/* The first pages of the stretches in a word; @before is the word below it. */
static uint64_t starts_in(uint64_t word, uint64_t before)
{
    return word & ~(word << 1 | before >> 63);
}

/* Returns the number of stretches of a recording. */
static uint64_t count_stretches(const struct pgl_recording *recording)
{
    uint64_t before = 0;
    uint64_t n = 0;

    for (uint64_t i = 0; i < pgl_recording_words(recording); i++) {
        uint64_t word = pgl_recording_word(recording, i);

        n += (unsigned)__builtin_popcountll(starts_in(word, before));
        before = word;
    }
    return n;
}

/*
 * Append pages of one word. They lengthen the last stretch, or begin another one. There is no room for stretches that
 * threads have touched since they were counted: these pages are left out.
 */
static void append_word(struct pgl_workset *workset, uint64_t room, uint64_t first, uint64_t word)
{
    for (; word != 0; word &= word - 1) {
        uint32_t page = (uint32_t)(first + (unsigned)__builtin_ctzll(word));
        struct pgl_stretch *stretch = &workset->stretches[workset->nstretches];

        if (workset->nstretches > 0 && stretch[-1].first + stretch[-1].npages == page) {
            stretch[-1].npages++;
        } else if (workset->nstretches < room) {
            *stretch = (struct pgl_stretch){page, 1, 1};
            workset->nstretches++;
        }
    }
}

struct pgl_workset *pgl_workset_new(const struct pgl_recording *recording, const char *name,
                                    const struct pgl_costs *costs)
{
    struct pgl_workset *workset;
    uint64_t nstretches;

    if (!are_accepted(costs)) {
        return NULL;
    }
    nstretches = count_stretches(recording);
    if (nstretches > PGL_WORKSET_STRETCHES_MAX) {
        errno = E2BIG;
        return NULL;
    }
    workset = pgl_workset_alloc(name ? name : "", name ? strlen(name) : 0, (uint32_t)nstretches);
    if (!workset) {
        return NULL;
    }
    workset->recordings = 1;
    for (uint64_t i = 0; i < pgl_recording_words(recording); i++) {
        append_word(workset, nstretches, 64 * i, pgl_recording_word(recording, i));
    }
    return pgl_workset_finish(workset, costs);
}

/* From this page on, so many runs more or less touched the pages. */
struct step {
    uint32_t page;
    int64_t times;
};

static int compare_steps(const void *a, const void *b)
{
    const struct step *one = a;
    const struct step *other = b;

    return one->page < other->page ? -1 : one->page > other->page;
}

/* Returns the steps of all sets in ascending order, or NULL if there is no memory. */
static struct step *steps_of(const struct pgl_workset *const *sets, size_t nsets, uint64_t nsteps)
{
    struct step *steps = calloc((size_t)nsteps + 1, sizeof(*steps));
    uint64_t n = 0;

    for (size_t i = 0; steps && i < nsets; i++) {
        for (uint32_t j = 0; j < sets[i]->nstretches; j++) {
            const struct pgl_stretch *stretch = &sets[i]->stretches[j];

            steps[n++] = (struct step){stretch->first, stretch->times};
            steps[n++] = (struct step){stretch->first + stretch->npages, -(int64_t)stretch->times};
        }
    }
    if (steps) {
        qsort(steps, (size_t)nsteps, sizeof(*steps), compare_steps);
    }
    return steps;
}

/* Append the stretches between the steps that enough runs touched. Without a set, only count them. */
static uint64_t append_steps(struct pgl_workset *workset, const struct step *steps, uint64_t nsteps, uint32_t least)
{
    int64_t times = 0, before = 0;
    uint64_t n = 0;

    for (uint64_t i = 0; i < nsteps; i++) {
        times += steps[i].times;
        if (i + 1 < nsteps && steps[i + 1].page == steps[i].page) {
            continue;
        }
        if (times == before) {
            continue;
        }
        if (workset && before >= least) {
            workset->stretches[n - 1].npages = steps[i].page - workset->stretches[n - 1].first;
        }
        if (times >= least) {
            if (workset) {
                workset->stretches[n] = (struct pgl_stretch){steps[i].page, 0, (uint32_t)times};
            }
            n++;
        }
        before = times;
    }
    return n;
}

/* Sum up sets. Returns false with EINVAL if there is none, or too many recordings. */
static bool sum_up(const struct pgl_workset *const *sets, size_t nsets, uint64_t *recordings, uint64_t *nsteps)
{
    *recordings = *nsteps = 0;
    for (size_t i = 0; i < nsets && *recordings <= UINT32_MAX; i++) {
        *recordings += sets[i]->recordings;
        *nsteps += 2 * (uint64_t)sets[i]->nstretches;
    }
    if (nsets == 0 || *recordings > UINT32_MAX) {
        errno = EINVAL;
        return false;
    }
    return true;
}

/* Returns a set of the pages between the steps, without its clusters, or NULL with errno. */
static struct pgl_workset *set_of_steps(const struct step *steps, uint64_t nsteps, uint32_t least, const char *name)
{
    uint64_t nstretches = append_steps(NULL, steps, nsteps, least);
    struct pgl_workset *workset;

    if (nstretches > PGL_WORKSET_STRETCHES_MAX) {
        errno = E2BIG;
        return NULL;
    }
    workset = pgl_workset_alloc(name, strlen(name), (uint32_t)nstretches);
    if (workset) {
        workset->nstretches = (uint32_t)append_steps(workset, steps, nsteps, least);
    }
    return workset;
}

struct pgl_workset *pgl_workset_combine(const struct pgl_workset *const *sets, size_t nsets, uint32_t least,
                                        const struct pgl_costs *costs)
{
    uint64_t recordings, nsteps;
    struct pgl_workset *workset;
    struct step *steps;

    if (!are_accepted(costs) || !sum_up(sets, nsets, &recordings, &nsteps)) {
        return NULL;
    }
    steps = steps_of(sets, nsets, nsteps);
    if (!steps) {
        errno = ENOMEM;
        return NULL;
    }
    workset = set_of_steps(steps, nsteps, least > 0 ? least : 1, sets[0]->name);
    free(steps);
    if (!workset) {
        return NULL;
    }
    workset->recordings = (uint32_t)recordings;
    return pgl_workset_finish(workset, costs);
}

void pgl_workset_get_info(const struct pgl_workset *workset, struct pgl_workset_info *info)
{
    *info = (struct pgl_workset_info){
        .name = workset->name,
        .recordings = workset->recordings,
        .pages = workset->pages,
        .clusters = workset->clusters,
        .cluster_pages = workset->cluster_pages,
    };
}

bool pgl_workset_next(const struct pgl_workset *workset, uint64_t index, struct pgl_pager_range *cluster)
{
    const struct pgl_piece *piece;
    uint32_t low = 0;
    uint32_t high = workset->npieces;

    while (low < high) { /* for the first piece that ends at the page or above it */
        uint32_t middle = low + (high - low) / 2;

        if (workset->pieces[middle].last < index) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == workset->npieces) {
        return false;
    }
    piece = &workset->pieces[low];
    cluster->first = piece->first;
    if (index > piece->first) {
        cluster->first += (index - piece->first) / PGL_WORKSET_CLUSTER * PGL_WORKSET_CLUSTER;
    }
    cluster->last = cluster->first + (PGL_WORKSET_CLUSTER - 1);
    cluster->last = cluster->last < piece->last ? cluster->last : piece->last;
    return true;
}

bool pgl_workset_find(const struct pgl_workset *workset, uint64_t index, struct pgl_pager_range *cluster)
{
    struct pgl_pager_range next;

    if (!pgl_workset_next(workset, index, &next) || next.first > index) {
        return false;
    }
    *cluster = next;
    return true;
}

bool pgl_workset_find_row(const struct pgl_workset *workset, uint64_t page, struct pgl_advice_row *row)
{
    struct pgl_pager_range cluster;

    if (!pgl_workset_find(workset, page, &cluster)) {
        return false;
    }
    *row =
        (struct pgl_advice_row){.before = (uint32_t)(page - cluster.first), .after = (uint32_t)(cluster.last - page)};
    return true;
}
