/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Working sets: the pages that a run touches, recorded once, and brought in whole clusters when a later run touches one
 * of them. The functions call no pager and wait for nothing.
 */
#ifndef PGL_PAGELOCK_WORKSET_H
#define PGL_PAGELOCK_WORKSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pagelock/advice.h>
#include <pagelock/object.h>
#include <pagelock/version.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PGL_WORKSET_PAGES_MAX UINT32_MAX /* a recording or a working set has pages below this number only */
#define PGL_WORKSET_STRETCHES_MAX (UINT32_C(1) << 22) /* stretches of neighbouring pages that a working set may have */
#define PGL_WORKSET_NAME_MAX 4095                     /* bytes of a name */
#define PGL_WORKSET_CLUSTER 127 /* pages that a cluster of a working set has at most, as the widest shipped advice */

/**
 * struct pgl_recording - the pages that a run has touched; one bit per page
 */
struct pgl_recording;

/**
 * pgl_recording_new() - make a recording of no page
 * @npages: it has room for the pages 0 to @npages - 1
 *
 * Locks:    none.
 * Owns:     the caller; release with pgl_recording_free().
 * Errors:   NULL with errno EINVAL: no pages, or more than PGL_WORKSET_PAGES_MAX; ENOMEM.
 */
PGL_API struct pgl_recording *pgl_recording_new(uint64_t npages);

/**
 * pgl_recording_free() - release a recording
 * @recording: may be NULL; no thread touches it now or later
 *
 * Locks:    none.
 */
PGL_API void pgl_recording_free(struct pgl_recording *recording);

/**
 * pgl_recording_touch() - record that a page was touched
 * @recording: struct pgl_recording *
 * @index: the page; a page beyond the recording is left out
 *
 * It has the form of a watcher: hand it to pgl_object_watch() or pgl_uffd_watch() with the recording. Any number of
 * threads may call it. It is async-signal-safe.
 *
 * Locks:    none.
 * Ordering: relaxed. To have every page, read the recording after the threads that touch pages have ended, or after the
 *           watch has.
 */
PGL_API void pgl_recording_touch(void *recording, uint64_t index);

/**
 * pgl_recording_count() - return the number of pages that were touched
 *
 * Locks:    none.
 */
PGL_API uint64_t pgl_recording_count(const struct pgl_recording *recording);

/**
 * struct pgl_workset - a working set: the pages that recorded runs touched, and clusters that cover them
 *
 * It never changes once it is made. Therefore any number of threads and objects may use it at the same time.
 */
struct pgl_workset;

/**
 * pgl_workset_new() - make a working set of the pages of a recording
 * @recording: borrowed for the call
 * @name: a name for the set, such as the path of the file whose pages they are; copied; NULL: the empty one
 * @costs: by which the pages are put into clusters; NULL: none are known
 *
 * The clusters cover all its pages at the least cost, give or take one cluster in 1,024 pages, and one for each stretch
 * of 508 pages or more. It takes time in proportion to the number of pages. Pages that other threads touch meanwhile
 * may be left out.
 *
 * Locks:    none.
 * Owns:     the caller; release with pgl_workset_free().
 * Errors:   NULL with errno EINVAL: pgl_costs_explain() says why, or the name is too long; E2BIG: more than
 *           PGL_WORKSET_STRETCHES_MAX stretches of pages; ENOMEM.
 */
PGL_API struct pgl_workset *pgl_workset_new(const struct pgl_recording *recording, const char *name,
                                            const struct pgl_costs *costs);

/**
 * pgl_workset_combine() - make a working set of the pages of several
 * @sets: borrowed for the call
 * @nsets: how many there are, at least 1
 * @least: in how many of the recorded runs a page was touched at least; 1 takes each page of each set
 * @costs: as for pgl_workset_new(); also with one set, to have its pages in clusters of other costs
 *
 * The new set has the name of the first one, and knows for each page how many of the runs touched it.
 *
 * Locks:    none.
 * Owns:     the caller; release with pgl_workset_free().
 * Errors:   NULL with errno EINVAL: no set, costs that pgl_costs_explain() refuses, more than UINT32_MAX runs together;
 *           E2BIG, ENOMEM: as for pgl_workset_new().
 */
PGL_API struct pgl_workset *pgl_workset_combine(const struct pgl_workset *const *sets, size_t nsets, uint32_t least,
                                                const struct pgl_costs *costs);

/**
 * pgl_workset_free() - release a working set
 * @workset: may be NULL; no object and no pager uses it
 *
 * Locks:    none.
 */
PGL_API void pgl_workset_free(struct pgl_workset *workset);

/**
 * struct pgl_workset_info - what a working set consists of
 * @name: as it was given; never NULL; lives as long as the set
 * @recordings: the number of recorded runs
 * @pages: pages that they touched
 * @clusters: the number of clusters
 * @cluster_pages: pages of all clusters; those that no run touched lie between two that one did
 */
struct pgl_workset_info {
    const char *name;
    uint32_t recordings;
    uint64_t pages;
    uint64_t clusters;
    uint64_t cluster_pages;
};

/**
 * pgl_workset_get_info() - describe a working set
 * @info: filled in
 *
 * Locks:    none.
 */
PGL_API void pgl_workset_get_info(const struct pgl_workset *workset, struct pgl_workset_info *info);

/**
 * pgl_workset_find() - find the cluster that contains a page
 * @cluster: receives the cluster; unchanged if there is none
 *
 * Returns whether there is one. Async-signal-safe.
 *
 * Locks:    none.
 */
PGL_API bool pgl_workset_find(const struct pgl_workset *workset, uint64_t index, struct pgl_pager_range *cluster);

/**
 * pgl_workset_next() - find the first cluster that contains a page or lies above it
 * @cluster: receives the cluster; unchanged if there is none
 *
 * Returns whether there is one. From page 0, and then from cluster->last + 1, it leads through all clusters in
 * ascending order; pgl_uffd_prefetch() fetches them before they are touched. Async-signal-safe.
 *
 * Locks:    none.
 */
PGL_API bool pgl_workset_next(const struct pgl_workset *workset, uint64_t index, struct pgl_pager_range *cluster);

/**
 * pgl_workset_decide() - choose the pages to ask for with a demand page that is absent, by a working set
 * @doubts: how far the faults of an object have disagreed with the set; 0 at first, and changed by each call; NULL:
 *      only pages of clusters get an answer
 * @args: as for pgl_advisor_decide(); the pages of @args->pager are those of the set, and without it those of the
 *      object
 * @cluster: receives the decision; unchanged with PGL_REASON_OUTSIDE
 *
 * A page of a cluster gets the cluster. Any other page gets an aligned block of a power of two of pages, up to 64, as
 * far as it is within @args->row. Once many more faults were on other pages than on those of clusters, the other pages
 * get no answer, because this run is another one.
 *
 * Returns PGL_REASON_RECORDED for a cluster, PGL_REASON_START for a block, and PGL_REASON_OUTSIDE if the advice is to
 * decide. The function is async-signal-safe if the eligibility function is.
 *
 * Locks:    entry: the caller keeps other calls with @doubts away.
 */
PGL_API enum pgl_reason pgl_workset_decide(const struct pgl_workset *workset, uint32_t *doubts,
                                           const struct pgl_cluster_args *args, struct pgl_cluster *cluster);

/**
 * pgl_workset_save() - write a working set as bytes that can be kept in a file
 * @bytes: receives them; may be NULL if @size is 0
 * @size: of @bytes
 *
 * The bytes are the same on every machine, and have a version and a checksum. Several sets may follow one another in a
 * file. Returns the number of bytes; if that is more than @size, none was written.
 *
 * Locks:    none.
 */
PGL_API size_t pgl_workset_save(const struct pgl_workset *workset, void *bytes, size_t size);

/**
 * pgl_workset_load() - make a working set of bytes that pgl_workset_save() has written
 * @bytes: borrowed for the call; they may come from anywhere
 * @size: how many there are
 * @costs: as for pgl_workset_new()
 * @used: receives the number of bytes of the set, with which they begin; NULL: there are no others
 * @why: receives, with EINVAL, a sentence such as "its checksum is wrong"; may be NULL
 *
 * Bytes of which one was changed, lost or added are refused. The memory that the call takes is in proportion to @size.
 *
 * Locks:    none.
 * Owns:     the caller; release with pgl_workset_free(). The library owns the sentence.
 * Errors:   NULL with errno EINVAL: no working set, or a damaged one, or costs that pgl_costs_explain() refuses;
 *           ENOMEM.
 */
PGL_API struct pgl_workset *pgl_workset_load(const void *bytes, size_t size, const struct pgl_costs *costs,
                                             size_t *used, const char **why);

/**
 * pgl_object_watch() - have each page reported that a fault needs from an object's pager
 * @touched: called with a page of the pager, with locks of the object held; calls nothing of this library but
 *      pgl_recording_touch(). NULL ends the watch
 * @arg: passed to @touched
 *
 * A page is reported when a fault asks the pager for it, or touches it for the first time after it came as a neighbour.
 * It may be reported again when it was removed. Once the call returns, the previous watcher is not called any more.
 *
 * Locks:    entry: none.
 */
PGL_API void pgl_object_watch(struct pgl_object *object, void (*touched)(void *arg, uint64_t index) PGL_NOEXCEPT,
                              void *arg);

/**
 * pgl_object_set_workset() - have the faults of an object ask for whole clusters of a working set
 * @workset: of the pager's pages; borrowed until another one is set, or until the object is freed; NULL: none
 *
 * A fault on a page of a cluster asks for the absent pages of that cluster around its page. Any other fault follows its
 * advice; if that is adaptive, pgl_workset_decide() is asked first. Faults that have chosen their cluster keep it. Once
 * the call returns, the previous set is not read any more.
 *
 * Locks:    entry: none.
 */
PGL_API void pgl_object_set_workset(struct pgl_object *object, const struct pgl_workset *workset);

#ifdef __cplusplus
}
#endif
#endif
