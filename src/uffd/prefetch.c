/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pages that are brought before they are touched, in the thread of the caller and by the same driver as for a fault.
 *
 * PROGRESS     A thread that touches a page which is being brought waits for its cluster, and for no other one. The
 *              caller waits for pages that handlers bring; no handler waits for the caller but in that way.
 * COUNTS       A prefetch is no fault: it is in no histogram, and the driver counts its pages as neighbours. They count
 *              as fetched before a thread can touch them, and as prefetched a moment later.
 */
#include <errno.h>

#include "../cancel_internal.h"
#include "../fault/fault_internal.h"
#include "delivery_internal.h"
#include "late_internal.h"
#include "limit_internal.h"

#define PART 64 /* pages that are asked for together */

/* The next page of [index, last] behind @index that may be absent. A huge page comes as a whole. */
static uint64_t next_of(const struct pgl_place *place, uint64_t index, uint64_t last)
{
    uint64_t unit = pgl_shown_of(place->object)->unit;
    uint64_t npages = place->last - place->index < last - index ? place->last - place->index : last - index;

    if (unit > 1) {
        return index + unit - place->index % unit;
    }
    return index + (pgl_object_next_missing(place->object, place->index + 1, place->index + npages) - place->index);
}

/* Returns 0, or an errno if the page of a prefetch cannot be had. */
static int error_of(enum pgl_fault_result result, const struct pgl_delivery *delivery)
{
    switch (result) {
    case PGL_FAULT_MEMORY_ERROR:
        return pgl_delivery_error(delivery);
    case PGL_FAULT_MEMORY_SHORTAGE:
        return ENOMEM;
    default: /* the page is there, or its memory was changed meanwhile */
        return 0;
    }
}

/*
 * Bring a page, and others up to @last that are absent after it. Returns 0, or an errno if the page cannot be had.
 * *next receives the page to go on with.
 */
static int bring_from(struct pgl_handler *handler, uint64_t index, uint64_t last, uint64_t *next)
{
    struct pgl_uffd *uffd = handler->uffd;
    struct pgl_delivery delivery = {
        .unit = 1,
        .pager = uffd,
        .space = uffd->self,
        .latency = uffd->stats.latency_found,
        .addr = index * uffd->page_size,
        .put_first = UINT64_MAX,
        .buffer = handler->buffer,
        .answered = true, /* no thread waits for it here */
    };
    const struct pgl_fault_args args = {
        .map = uffd->self->map,
        .index = index,
        .access = PGL_ACCESS_READ,
        .cookie = &delivery,
    };
    const struct pgl_fault *fault = handler->fault;
    uint64_t npages = last - index < PART ? last - index + 1 : PART;
    enum pgl_fault_result result;
    int error;

    *next = index + 1;
    delivery.placed = pgl_map_copy_place(uffd->self->map, index, &delivery.place);
    if (delivery.placed) {
        delivery.unit = pgl_shown_of(delivery.place.object)->unit;
        npages = delivery.unit > 1 ? 1 : npages;
    }
    result = pgl_fault_prefetch(handler->fault, &args, npages);
    if (result == PGL_FAULT_SUCCESS && fault->id != 0) {
        pgl_count(&uffd->stats.prefetches, 1);
        pgl_count(&uffd->stats.pages_prefetched, fault->asked_last - fault->asked_first + 1);
    }
    if (delivery.placed) {
        *next = next_of(&delivery.place, index, last);
        pgl_limit_make_room(uffd, delivery.place.object, 0);
        pgl_object_unref(delivery.place.object);
    }
    error = error_of(result, &delivery);
    if (delivery.asked) {
        pgl_request_unref(delivery.asked);
    }
    return error;
}

static bool is_mapped(struct pgl_uffd *uffd, uint64_t first, uint64_t last)
{
    bool mapped;

    pthread_rwlock_rdlock(&uffd->layout);
    mapped = pgl_space_shows_all(uffd->self, first, last);
    pthread_rwlock_unlock(&uffd->layout);
    return mapped;
}

bool pgl_uffd_prefetch(struct pgl_uffd *uffd, const void *addr, size_t length)
{
    PGL_UNCANCELLED;
    struct pgl_handler handler = {0};
    uint64_t first, last, next;
    int error = 0;

    if (!pgl_uffd_to_pages(uffd, addr, length, &first, &last)) {
        return false;
    }
    if (!is_mapped(uffd, first, last)) {
        errno = ENOENT;
        return false;
    }
    if (!pgl_handler_init(uffd, &handler)) {
        errno = ENOMEM;
        return false;
    }
    for (uint64_t index = first; index <= last; index = next) {
        int failed = bring_from(&handler, index, last, &next);

        error = error != 0 ? error : failed;
    }
    pgl_handler_fini(&handler);
    if (error != 0) {
        errno = error;
    }
    return error == 0;
}
