/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory objects, their pagers, and the replies of a pager. docs/fault.md describes the protocol.
 *
 * There are three coordinate systems: a map's pages, an object's pages (both uint64_t, named map_index or first and
 * last for a map, index for an object) and a pager's pages, which appear only inside struct pgl_pager_range or in names
 * that begin with pager_.
 */
#ifndef PGL_PAGELOCK_OBJECT_H
#define PGL_PAGELOCK_OBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <pagelock/advice.h>
#include <pagelock/version.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * struct pgl_object - memory that a pager fills, or zero-filled memory; may shadow another object
 */
struct pgl_object;

/**
 * enum pgl_access - the access to a page
 * @PGL_ACCESS_NONE: neither reading nor writing
 * @PGL_ACCESS_READ: reading
 * @PGL_ACCESS_WRITE: reading and writing
 */
enum pgl_access {
    PGL_ACCESS_NONE = 0,
    PGL_ACCESS_READ = 1,
    PGL_ACCESS_WRITE = 3,
};

/**
 * struct pgl_pager_range - a range of a pager's own pages
 * @first, @last: inclusive
 */
struct pgl_pager_range {
    uint64_t first;
    uint64_t last;
};

/**
 * struct pgl_request - a request to a pager, borrowed for the call
 * @id: named by the replies; never 0, never used twice by an object
 * @object: alive during the call; a pager that replies later takes a reference
 * @range: the requested pages; contains @pager_demand
 * @pager_demand: the page for which a fault waits; answer it first if possible
 * @access: the access to the demand page
 * @neighbour_access: the access to every other page: reading, or writing too in an access request for writing of an
 *      object with unlock_clusters
 * @cookie: the fault's, from struct pgl_fault_args
 */
struct pgl_request {
    uint64_t id;
    struct pgl_object *object;
    struct pgl_pager_range range;
    uint64_t pager_demand;
    enum pgl_access access;
    enum pgl_access neighbour_access;
    void *cookie;
};

/**
 * struct pgl_pager_ops - the functions of a pager
 * @data_request: bring the pages of a request. Must not be NULL.
 * @access_request: give more access to pages that are resident. NULL for a pager that never withholds access.
 * @behind: a hint, may be NULL: a fault of a forward reader sent a request that the pager accepted, and @range lies
 *      right before it
 * @release: the object was freed, and the pager gets no more calls. May be NULL. It may run with a map locked, and
 *      calls nothing of this library.
 *
 * The functions are called with no lock of the library held, but for @release, and may reply before they return. The
 * two requests return 0 to accept a request. The pager then answers each of its pages at some time, from any thread, in
 * any order and portions.
 *
 * Any other value is an errno and cancels the pages of the request that have not been answered, as pgl_pager_error()
 * would. Three errnos are treated as temporary: EAGAIN, EINTR and ENOMEM end the fault with PGL_FAULT_RETRY,
 * PGL_FAULT_INTERRUPTED or PGL_FAULT_MEMORY_SHORTAGE, and faults that wait for the same pages ask again for themselves.
 */
struct pgl_pager_ops {
    int (*data_request)(void *pager, const struct pgl_request *request) PGL_NOEXCEPT;
    int (*access_request)(void *pager, const struct pgl_request *request) PGL_NOEXCEPT;
    void (*behind)(void *pager, struct pgl_object *object, struct pgl_pager_range range) PGL_NOEXCEPT;
    void (*release)(void *pager) PGL_NOEXCEPT;
};

/**
 * struct pgl_memory_ops - the memory that holds pages
 * @alloc: allocate the frame of one page; NULL if there is none
 * @free: free a frame
 * @spare: the number of frames that speculation may take: the free ones less a reserve
 * @zero: fill a frame with zeros
 * @copy: copy a page into a frame
 *
 * All five are needed. They are called with locks of an object held, and call nothing of this library. Objects that are
 * configured with the same functions and the same memory share it: one thread at a time calls @alloc, @free and @spare
 * for it, and no two faults count on the same spare frame. @zero and @copy may run for several frames at once.
 */
struct pgl_memory_ops {
    void *(*alloc)(void *memory)PGL_NOEXCEPT;
    void (*free)(void *memory, void *frame) PGL_NOEXCEPT;
    uint64_t (*spare)(void *memory) PGL_NOEXCEPT;
    void (*zero)(void *memory, void *frame) PGL_NOEXCEPT;
    void (*copy)(void *memory, void *frame, const void *from) PGL_NOEXCEPT;
};

/**
 * struct pgl_heap_ops - the heap for the library's own records
 * @alloc: allocate zeroed memory; NULL if there is none
 * @free: free a block
 *
 * Both may be called with any lock of the library held, and call nothing of it.
 */
struct pgl_heap_ops {
    void *(*alloc)(void *heap, size_t size)PGL_NOEXCEPT;
    void (*free)(void *heap, void *block) PGL_NOEXCEPT;
};

/**
 * struct pgl_object_config - the configuration of an object
 * @last: its pages are [0, last]
 * @pager_ops: the pager, or NULL
 * @pager: handed to @pager_ops
 * @pager_range: object page i is the pager's page pager_range.first + i. The pager has nothing beyond pager_range.last,
 *      which may lie beyond the object; UINT64_MAX means up to the end of the object.
 * @pager_unready: faults that need the pager wait until pgl_object_set_ready()
 * @internal: frames are allocated before the pager is asked, and at the end of the chain a page without data is zero.
 *      An external object allocates frames at the reply, and a fault that ends there gets PGL_FAULT_NO_DATA.
 * @unlock_clusters: a fault that needs write access to a resident page asks for its neighbours in the same access
 *      request: the resident pages of the advice's window that cannot be written either. Otherwise it asks for its page
 *      alone, and for neighbours that cannot even be read.
 * @credits: the number of pages that may be outstanding at the pager; 0: no limit
 * @memory_ops: the memory of the pages, or NULL. Without memory a page is only a state, and the pager or the caller
 *      keeps its bytes.
 * @memory: handed to @memory_ops
 * @page_size: the distance of pages in the data for pgl_pager_supply()
 * @backing: the object that this one shadows, or NULL. Page i that is not in this object is searched there. Both
 *      objects have memory, or neither.
 * @backing_first: the page of @backing that page 0 of this object shadows
 * @advice: the object's advice
 * @table: copied; NULL: pgl_advice_shipped()
 * @costs: the costs of the pager, by which adaptive advice decides; each may be 0, not known
 * @heap_ops: the heap for the records; NULL: calloc() and free()
 * @heap: handed to @heap_ops
 *
 * With all members zero but @last, it is a zero-filled object without frames, with the shipped table and
 * PGL_ADVICE_DEFAULT.
 */
struct pgl_object_config {
    uint64_t last;

    const struct pgl_pager_ops *pager_ops;
    void *pager;
    struct pgl_pager_range pager_range;
    bool pager_unready;
    bool internal;
    bool unlock_clusters;
    uint64_t credits;

    const struct pgl_memory_ops *memory_ops;
    void *memory;
    size_t page_size;

    struct pgl_object *backing;
    uint64_t backing_first;

    enum pgl_advice advice;
    const struct pgl_advice_table *table;
    struct pgl_costs costs;

    const struct pgl_heap_ops *heap_ops;
    void *heap;
};

/**
 * struct pgl_fault_counts - the counts of the faults that followed one advice
 * @touches: faults of any kind, on resident pages too
 * @faults: faults whose page was absent, and was waited for, requested, copied up or made
 * @requests: data requests sent
 * @demanded: pages requested because a fault needed them
 * @speculative: pages requested beside them
 * @used: speculative pages that were touched later
 * @unlocks: access requests sent
 * @retries: restarts of a fault, because its entry had changed, or because it was woken to try again
 *
 * @touches and @faults are counted in the object that was faulted on, for the whole chain. A fault with
 * PGL_FAULT_FLAG_RESIDENT counts as a touch only. The others are counted in the object where they happened.
 */
struct pgl_fault_counts {
    uint64_t touches;
    uint64_t faults;
    uint64_t requests;
    uint64_t demanded;
    uint64_t speculative;
    uint64_t used;
    uint64_t unlocks;
    uint64_t retries;
};

/**
 * struct pgl_object_stats - the counts of an object
 * @by_advice: the counts of its faults, by enum pgl_advice
 * @by_reason: the data requests sent, by enum pgl_reason
 * @resident: pages that are resident now
 * @busy: pages that are marked now, as requested or as placeholders
 * @outstanding: credits in use now: pages requested for their data or for access
 * @waiting: faults that wait now
 * @duplicates: pages that a reply brought although they were resident
 * @aliens: pages that a reply named although they were not, or no longer, requested from it
 */
struct pgl_object_stats {
    struct pgl_fault_counts by_advice[PGL_ADVICE_COUNT];
    uint64_t by_reason[PGL_REASON_COUNT];
    uint64_t resident;
    uint64_t busy;
    uint64_t outstanding;
    uint64_t waiting;
    uint64_t duplicates;
    uint64_t aliens;
};

/**
 * pgl_object_new() - create an object
 * @config: borrowed for the call; everything that it points to, but for the table, outlives the object
 *
 * Returns the object with one reference, which the caller owns.
 *
 * Locks:    none.
 * Owns:     the caller; release with pgl_object_unref(). Takes a reference on the backing object.
 * Errors:   NULL with errno EINVAL: an advice that does not exist, a pager range whose first is above its last, a
 *           backing_first outside the backing object, a pager without data_request, memory that lacks a function or a
 *           page_size, memory in only one of the object and its backing object, costs that pgl_costs_explain() refuses.
 *           NULL with errno ENOMEM.
 */
PGL_API struct pgl_object *pgl_object_new(const struct pgl_object_config *config);

/**
 * pgl_object_ref() - take another reference
 *
 * Returns the object.
 *
 * Locks:    none.
 */
PGL_API struct pgl_object *pgl_object_ref(struct pgl_object *object);

/**
 * pgl_object_unref() - drop a reference
 * @object: may be NULL
 *
 * The last unref frees the object and its frames, calls the pager's release(), and drops the reference on the backing
 * object. At that moment no fault is under way in the object and no request is outstanding; a pager that may still
 * reply holds a reference.
 *
 * pgl_fault_interrupt() holds a reference while it runs, and therefore the object may live a moment longer than its
 * faults. The caller may free the things that the configuration points to once release() is called.
 *
 * Locks:    entry: none.
 */
PGL_API void pgl_object_unref(struct pgl_object *object);

/**
 * pgl_object_set_ready() - declare the pager ready, and wake the faults that wait for that
 *
 * Locks:    entry: none.
 */
PGL_API void pgl_object_set_ready(struct pgl_object *object);

/**
 * pgl_object_terminate() - cancel all requests, because the pager is gone
 *
 * All outstanding requests are cancelled. The faults that wait for them get PGL_FAULT_MEMORY_ERROR, and so does each
 * later fault that would have to ask. Resident pages stay. Later replies are counted as aliens.
 *
 * A fault that is about to send a request may still call the pager after this has returned. Its request is cancelled
 * already, and it ends in the same error. Therefore the things that the configuration points to are needed until the
 * pager's release().
 *
 * Locks:    entry: none.
 */
PGL_API void pgl_object_terminate(struct pgl_object *object);

/**
 * pgl_object_advise() - set an object's advice
 *
 * Faults that have chosen their cluster keep it.
 *
 * Locks:    entry: none.
 * Errors:   false with errno EINVAL for an advice that does not exist.
 */
PGL_API bool pgl_object_advise(struct pgl_object *object, enum pgl_advice advice);

/**
 * pgl_object_advice() - return an object's advice
 *
 * Locks:    entry: none.
 */
PGL_API enum pgl_advice pgl_object_advice(struct pgl_object *object);

/**
 * pgl_object_set_table() - replace an object's advice table
 * @table: copied; NULL: pgl_advice_shipped()
 *
 * Locks:    entry: none.
 */
PGL_API void pgl_object_set_table(struct pgl_object *object, const struct pgl_advice_table *table);

/**
 * pgl_object_set_costs() - replace the costs of an object's pager
 * @costs: borrowed for the call
 *
 * The next decision goes by them. The object keeps all that it has learned about its faults.
 *
 * Locks:    entry: none.
 * Errors:   false with errno EINVAL: pgl_costs_explain() says why.
 */
PGL_API bool pgl_object_set_costs(struct pgl_object *object, const struct pgl_costs *costs);

/**
 * pgl_object_remove() - remove resident pages
 * @first, @last: inclusive
 *
 * Frees the pages' frames; the next fault asks the pager again. Pages that are marked by a fault, requested, or wired
 * are left as they are. Returns the number of pages removed. The cost depends on the pages that were ever touched, not
 * on the width of the range.
 *
 * Locks:    entry: none.
 */
PGL_API uint64_t pgl_object_remove(struct pgl_object *object, uint64_t first, uint64_t last);

/**
 * pgl_object_unwire() - undo one successful fault with PGL_FAULT_FLAG_WIRE
 * @object: from that fault's struct pgl_fault_page
 * @index: from there, too
 *
 * Locks:    entry: none.
 * Errors:   false with errno EINVAL when the page is not wired.
 */
PGL_API bool pgl_object_unwire(struct pgl_object *object, uint64_t index);

/**
 * pgl_object_resident() - return whether a page is resident in this object, backing objects left aside
 *
 * Unless the page is wired, the answer may be stale when it arrives.
 *
 * Locks:    entry: none.
 */
PGL_API bool pgl_object_resident(struct pgl_object *object, uint64_t index);

/**
 * pgl_object_get_stats() - read an object's counts
 *
 * The counts are consistent with each other, because they are read while all of the object is locked. Only touches of
 * resident pages may be added meanwhile.
 *
 * Locks:    entry: none.
 */
PGL_API void pgl_object_get_stats(struct pgl_object *object, struct pgl_object_stats *stats);

/**
 * pgl_object_check() - verify every invariant of an object
 * @say: called with each violation in words, or NULL; the object is locked, and @say calls nothing of this library
 * @opaque: passed to @say
 *
 * Returns the number of violations: 0 for a sound object. May be called at any time. The cost depends on the pages that
 * were ever touched.
 *
 * Locks:    entry: none.
 */
PGL_API unsigned pgl_object_check(struct pgl_object *object, void (*say)(const char *what, void *opaque) PGL_NOEXCEPT,
                                  void *opaque);

/*
 * A pager's replies. Each names a request by its id, and any part of the request's range. Pages outside that range,
 * pages of another request, pages that were answered before, and cancelled pages are not changed, and are counted as
 * duplicates or aliens. Replies may come in any order, from any thread, with no lock of the library held, and inside
 * data_request().
 */

/**
 * pgl_pager_supply() - supply requested pages
 * @id: of the request
 * @range: in the pager's pages
 * @data: the pages' bytes, page_size apart, beginning with range.first; NULL: the object has no memory, or the pages
 *      are zero
 * @access: the access to the pages; with PGL_ACCESS_NONE they are resident, and an access request precedes any use
 *
 * Returns the number of pages that became resident. A page of an external object stays absent if there is no frame for
 * it, and the faults that wait for it get PGL_FAULT_MEMORY_SHORTAGE.
 *
 * Locks:    entry: none.
 * Errors:   0 with errno EINVAL: an access that does not exist. The pages stay requested.
 */
PGL_API uint64_t pgl_pager_supply(struct pgl_object *object, uint64_t id, struct pgl_pager_range range,
                                  const void *data, enum pgl_access access);

/**
 * pgl_pager_offer() - supply pages, whether or not they were requested
 * @range: in the pager's pages; may reach beyond the object
 * @data: as for pgl_pager_supply()
 * @access: as for pgl_pager_supply()
 *
 * For a pager that gets more than it was asked for, such as a compressed chunk. Pages that are requested become
 * resident as if they were supplied, whichever request they belong to. So do absent pages, and pages in error, as far
 * as there are frames. Resident pages, and the placeholders of faults that are further down the chain, are left alone.
 * No page of an offer counts as a duplicate or an alien.
 *
 * Returns the number of pages that became resident.
 *
 * Locks:    entry: none.
 * Errors:   0 with errno EINVAL: an access that does not exist.
 */
PGL_API uint64_t pgl_pager_offer(struct pgl_object *object, struct pgl_pager_range range, const void *data,
                                 enum pgl_access access);

/**
 * pgl_pager_no_data() - answer that the pager has no data for these pages
 * @id: of the request
 * @range: in the pager's pages
 *
 * Returns the number of pages that were still requested. The faults that wait for them look in the backing object. At
 * the end of the chain an internal object gets zeros, and for an external one the fault gets PGL_FAULT_NO_DATA.
 *
 * Locks:    entry: none.
 */
PGL_API uint64_t pgl_pager_no_data(struct pgl_object *object, uint64_t id, struct pgl_pager_range range);

/**
 * pgl_pager_error() - answer that the pager cannot supply these pages, or cannot give access to them
 * @id: of the request
 * @range: in the pager's pages
 *
 * Returns the number of pages that were still requested. The faults that wait for them get PGL_FAULT_MEMORY_ERROR. A
 * page whose data failed is in error until it is supplied or the pager answers that there is no data. While it is, it
 * is never requested as a neighbour, and a fault on it asks for it alone. A page that only lacked access stays
 * resident.
 *
 * Locks:    entry: none.
 */
PGL_API uint64_t pgl_pager_error(struct pgl_object *object, uint64_t id, struct pgl_pager_range range);

/**
 * pgl_pager_grant() - answer an access request
 * @id: of the request
 * @range: in the pager's pages
 * @access: the access to the pages from now on; of a request that asks for more of its demand page than of the others,
 *      grant the two kinds of pages one after the other
 *
 * Returns the number of pages that were still requested. A fault that still lacks access asks again.
 *
 * Locks:    entry: none.
 * Errors:   0 with errno EINVAL: an access that does not exist. The pages stay requested.
 */
PGL_API uint64_t pgl_pager_grant(struct pgl_object *object, uint64_t id, struct pgl_pager_range range,
                                 enum pgl_access access);

/**
 * pgl_pager_withhold() - reduce the access to resident pages, without a request
 * @range: in the pager's pages
 * @access: the access that is left; a page that has less keeps less
 *
 * Returns the number of resident pages in the range. Their frames and wires stay.
 *
 * Locks:    entry: none.
 * Errors:   0 with errno EINVAL: an access that does not exist.
 */
PGL_API uint64_t pgl_pager_withhold(struct pgl_object *object, struct pgl_pager_range range, enum pgl_access access);

#ifdef __cplusplus
}
#endif
#endif
