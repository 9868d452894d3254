/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The fault driver. A fault finds its page, or marks a cluster and asks a pager for it in one request. If that fails,
 * it removes its marks. docs/fault.md describes the protocol; object.h and map.h have the objects, and the maps that
 * show them.
 */
#ifndef PGL_PAGELOCK_FAULT_H
#define PGL_PAGELOCK_FAULT_H

#include <stdbool.h>
#include <stdint.h>

#include <pagelock/map.h>
#include <pagelock/object.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * struct pgl_fault - the state of one fault; serves any number of faults, one after the other
 */
struct pgl_fault;

/**
 * enum pgl_fault_result - the result of a fault
 * @PGL_FAULT_SUCCESS: the page is resident with the requested access
 * @PGL_FAULT_RETRY: with PGL_FAULT_FLAG_NO_WAIT, there is no credit or the pager is not ready; or the pager returned
 *      EAGAIN
 * @PGL_FAULT_INTERRUPTED: pgl_fault_interrupt() was called, unless the fault has PGL_FAULT_FLAG_UNINTERRUPTIBLE; or the
 *      pager returned EINTR
 * @PGL_FAULT_MEMORY_SHORTAGE: there is no memory for the demand page, or the pager returned ENOMEM
 * @PGL_FAULT_MEMORY_ERROR: the pager failed, or the object was terminated
 * @PGL_FAULT_NO_DATA: the pager has no data for the page; or, with PGL_FAULT_FLAG_RESIDENT, the page is not resident
 * @PGL_FAULT_NO_ENTRY: nothing is mapped there, or the page lies outside the object
 * @PGL_FAULT_PENDING: only from pgl_fault_start() and pgl_fault_continue(): the fault waits, and will call ready()
 * @PGL_FAULT_INVALID: with errno EINVAL: an access or a flag that does not exist, or neither a map nor an object; or a
 *      range that cannot be copied
 */
enum pgl_fault_result {
    PGL_FAULT_SUCCESS,
    PGL_FAULT_RETRY,
    PGL_FAULT_INTERRUPTED,
    PGL_FAULT_MEMORY_SHORTAGE,
    PGL_FAULT_MEMORY_ERROR,
    PGL_FAULT_NO_DATA,
    PGL_FAULT_NO_ENTRY,
    PGL_FAULT_PENDING,
    PGL_FAULT_INVALID,
};

/* The flags of struct pgl_fault_args. A fault with any other flag gets PGL_FAULT_INVALID. */
#define PGL_FAULT_FLAG_WIRE 1u     /* keep the page resident until pgl_object_unwire(); request no neighbours */
#define PGL_FAULT_FLAG_RESIDENT 2u /* succeed only if the page is resident: ask no pager, make no page */
#define PGL_FAULT_FLAG_NO_WAIT 4u  /* without a credit or a ready pager, return PGL_FAULT_RETRY and do not wait */
#define PGL_FAULT_FLAG_RETRIED 8u  /* the caller repeats a fault that failed: request no neighbours */
#define PGL_FAULT_FLAG_UNINTERRUPTIBLE 16u /* pgl_fault_interrupt() waits for the next fault that has not this flag */

/**
 * struct pgl_fault_args - the arguments of a fault
 * @map: the map that the fault is in, or NULL
 * @object: used if @map is NULL: the object that the fault is in, with its own advice and bounds
 * @index: a page of the map, or of the object
 * @access: PGL_ACCESS_READ or PGL_ACCESS_WRITE; or PGL_ACCESS_NONE for a page that need only be resident, whatever
 *      access there is to it. Any other value gets PGL_FAULT_INVALID.
 * @flags: PGL_FAULT_FLAG_...
 * @cookie: passed to the pager with each request of this fault
 */
struct pgl_fault_args {
    struct pgl_map *map;
    struct pgl_object *object;
    uint64_t index;
    enum pgl_access access;
    unsigned flags;
    void *cookie;
};

/**
 * struct pgl_fault_page - the page that a fault has found
 * @object: the top object, or one below it in the shadow chain; carries no reference of its own
 * @index: the page in @object
 * @frame: NULL if the object has no memory
 * @access: if it is PGL_ACCESS_READ, map the page read-only, so that a write faults again. It is PGL_ACCESS_NONE only
 *      for a fault that asked for no more.
 * @hit: the page was resident at the first look, in the top object or below; the fault has not waited, asked or made
 *      anything
 *
 * If the page was found below the top object, another thread's write may already have copied it up. A caller that maps
 * pages for several threads ensures that the copy stays mapped, and not the page from below.
 */
struct pgl_fault_page {
    struct pgl_object *object;
    uint64_t index;
    void *frame;
    enum pgl_access access;
    bool hit;
};

/**
 * pgl_fault_new() - allocate the state of a fault
 *
 * It serves any number of faults, one after the other. None of them allocates anything in it.
 *
 * Locks:    none.
 * Owns:     the caller; release with pgl_fault_free().
 * Errors:   NULL with errno ENOMEM.
 */
PGL_API struct pgl_fault *pgl_fault_new(void);

/**
 * pgl_fault_free() - free the state of a fault
 * @fault: may be NULL; not under way, and no thread calls pgl_fault_interrupt() on it now or later
 *
 * Locks:    none.
 */
PGL_API void pgl_fault_free(struct pgl_fault *fault);

/**
 * pgl_fault_run() - handle one fault, and sleep while it waits
 * @args: borrowed for the call
 * @page: set with PGL_FAULT_SUCCESS only; may be NULL
 *
 * If the result is not PGL_FAULT_SUCCESS, all marks of the fault's last request are removed, its credits are returned,
 * and faults that waited for its pages are woken. Speculative pages that were supplied stay resident. Speculative pages
 * that are still outstanding after a success, or that belong to an earlier request of the same fault, stay requested
 * until the pager answers.
 *
 * Without PGL_FAULT_FLAG_WIRE the page may be removed before the caller uses it.
 *
 * Locks:    entry: none of the library's.
 * Blocks:   until the pager answers, a credit is free, the pager is ready, or pgl_fault_interrupt() is called. No
 *           cancellation point, but for those in the pager's own functions.
 * Errors:   the result says them. With PGL_FAULT_INVALID errno is EINVAL, and with others it has no meaning.
 */
PGL_API enum pgl_fault_result pgl_fault_run(struct pgl_fault *fault, const struct pgl_fault_args *args,
                                            struct pgl_fault_page *page);

/**
 * pgl_fault_start() - handle one fault without sleeping
 * @args: copied; the fault borrows the map until it ends, and takes references on its objects
 * @page: as for pgl_fault_run()
 * @ready: called once for each PGL_FAULT_PENDING, when the fault can go on. The thread that answers, wakes or
 *      interrupts the fault calls it, with no lock of the library held, maybe before pgl_fault_start() has returned
 * @arg: handed to @ready
 *
 * A pending fault holds no lock and no stack. Any thread may call pgl_fault_continue() after @ready. The fault keeps a
 * copy of its entry with the map's version, and checks the version before it answers.
 *
 * Continue each fault to its end, if necessary after pgl_fault_interrupt(), because other faults may wait for the pages
 * that it has marked, or for the credit that it was woken with.
 *
 * Locks:    entry: none of the library's.
 * Errors:   as pgl_fault_run().
 */
PGL_API enum pgl_fault_result pgl_fault_start(struct pgl_fault *fault, const struct pgl_fault_args *args,
                                              struct pgl_fault_page *page, void (*ready)(void *arg) PGL_NOEXCEPT,
                                              void *arg);

/**
 * pgl_fault_continue() - continue a pending fault, once for each call of its ready()
 * @page: as for pgl_fault_run()
 *
 * Returns PGL_FAULT_PENDING when the fault has to wait again. Its ready() is then called again.
 *
 * Locks:    entry: none of the library's.
 */
PGL_API enum pgl_fault_result pgl_fault_continue(struct pgl_fault *fault, struct pgl_fault_page *page);

/**
 * pgl_fault_interrupt() - interrupt the wait of the fault that is under way, or else of the next one
 * @fault: not freed meanwhile
 *
 * The fault returns PGL_FAULT_INTERRUPTED from the wait that it is in or comes to. A fault that does not have to wait
 * still succeeds. While a fault has PGL_FAULT_FLAG_UNINTERRUPTIBLE, the interruption stays pending for the next one
 * that has not. Any thread may call this.
 *
 * Locks:    entry: none of the library's.
 */
PGL_API void pgl_fault_interrupt(struct pgl_fault *fault);

/**
 * pgl_fault_unwire() - undo the faults with PGL_FAULT_FLAG_WIRE of a range
 * @args: borrowed for the call: map or object, and index, which is the first page; the other members are not read
 * @npages: the number of pages; they may lie in several entries
 *
 * Drops one wire of each page: of the topmost object of its chain that has the page wired. A page that is to be wired
 * for a while is therefore wired with the access that its users have: a page that was wired for reading below the top
 * object is still wired there when a write makes a copy above it.
 *
 * Returns the number of pages that were wired.
 *
 * Locks:    entry: none.
 * Errors:   fewer than @npages with errno EINVAL: the others were not wired, or nothing is mapped there.
 * Source:   Mach's vm_fault_unwire() (the idea).
 */
PGL_API uint64_t pgl_fault_unwire(const struct pgl_fault_args *args, uint64_t npages);

/**
 * pgl_fault_page_list() - bring the pages of a range and keep them, for a caller that reads or writes them
 * @args: as for pgl_fault_run(), without PGL_FAULT_FLAG_WIRE; index is the first page
 * @pages: receives the pages
 * @npages: in: the number of pages; out: the number of pages that were brought
 *
 * Each page is wired and carries a reference on its object, until pgl_fault_page_list_free(). Unlike with
 * PGL_FAULT_FLAG_WIRE, a page is requested with its neighbours.
 *
 * Returns the result of the first fault that does not succeed. Then *npages is its number in the range, and no page of
 * the list is kept.
 *
 * Locks:    entry: none of the library's.
 * Blocks:   as pgl_fault_run().
 * Owns:     the caller; release with pgl_fault_page_list_free().
 * Errors:   as pgl_fault_run(); PGL_FAULT_FLAG_WIRE gets PGL_FAULT_INVALID.
 * Source:   Mach's page lists (the idea).
 */
PGL_API enum pgl_fault_result pgl_fault_page_list(struct pgl_fault *fault, const struct pgl_fault_args *args,
                                                  struct pgl_fault_page *pages, uint64_t *npages);

/**
 * pgl_fault_page_list_free() - let the pages of a list go
 * @pages: from pgl_fault_page_list(); any part of the list, each page once
 * @npages: how many there are
 *
 * Locks:    entry: none.
 */
PGL_API void pgl_fault_page_list_free(const struct pgl_fault_page *pages, uint64_t npages);

/**
 * pgl_fault_copy() - copy a range of pages, through the driver on both sides
 * @from: as for pgl_fault_run(), index is the first page; NULL: zeros
 * @to: the same; the ranges do not overlap
 * @npages: in: the number of pages; out: the number of pages that were copied
 *
 * Copies page by page: brings the page of @from for reading and the page of @to for writing, keeps both resident,
 * copies the bytes with the memory's copy() or zero() while the page of @to is locked, and lets both go. The access in
 * @from and @to is not read, and neither has PGL_FAULT_FLAG_WIRE. All objects have memory and the same page_size. The
 * page of @from is not locked: a store into it, or another copy to it, may run meanwhile, and may then be copied in
 * part.
 *
 * Returns the result of the first fault that does not succeed, on either side. Then the first *npages pages have been
 * copied, and no page is kept.
 *
 * Locks:    entry: none of the library's.
 * Blocks:   as pgl_fault_run().
 * Errors:   as pgl_fault_run(); PGL_FAULT_FLAG_WIRE, an object without memory, or one with another page_size gets
 *           PGL_FAULT_INVALID.
 * Source:   Mach's vm_fault_copy() (the idea).
 */
PGL_API enum pgl_fault_result pgl_fault_copy(struct pgl_fault *fault, const struct pgl_fault_args *from,
                                             const struct pgl_fault_args *to, uint64_t *npages);

#ifdef __cplusplus
}
#endif
#endif
