/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Calls on a range of pages: one fault for each, and what is kept of it until the call ends, or until the caller is
 * done.
 *
 * OBJECTS      A page that is kept is wired and carries a reference on its object. Therefore neither the page nor its
 *              frame goes away, whatever becomes of the map and of the object's other pages.
 * LOCK ORDER   A fault that waits keeps the pages that the call has brought before it. That is no circle, because no
 *              fault waits for a page that is resident. The bytes are copied with the page that is written locked, and
 *              no other page; the page that is read is wired only.
 * ROLL-BACK    A call that fails keeps no page. Pages that it has brought stay resident, and pages that it has copied
 *              stay copied.
 */
#include <errno.h>

#include "fault_internal.h"

/* Let a page go. The object may be freed here. */
static void drop_page(const struct pgl_fault_page *page)
{
    pgl_object_unwire(page->object, page->index);
    pgl_object_unref(page->object);
}

void pgl_fault_page_list_free(const struct pgl_fault_page *pages, uint64_t npages)
{
    for (uint64_t i = 0; i < npages; i++) {
        drop_page(&pages[i]);
    }
}

/* Bring page @i of a range and keep it. */
static enum pgl_fault_result keep_page(struct pgl_fault *fault, const struct pgl_fault_args *range, uint64_t i,
                                       enum pgl_access access, struct pgl_fault_page *page)
{
    struct pgl_fault_args args = *range;

    if (i > UINT64_MAX - args.index) {
        return PGL_FAULT_NO_ENTRY;
    }
    args.index += i;
    args.access = access;
    return pgl_fault_keep(fault, &args, page);
}

static bool range_is_valid(const struct pgl_fault_args *range)
{
    if ((range->flags & PGL_FAULT_FLAG_WIRE) != 0) {
        errno = EINVAL;
        return false;
    }
    return true;
}

enum pgl_fault_result pgl_fault_page_list(struct pgl_fault *fault, const struct pgl_fault_args *args,
                                          struct pgl_fault_page *pages, uint64_t *npages)
{
    enum pgl_fault_result result = range_is_valid(args) ? PGL_FAULT_SUCCESS : PGL_FAULT_INVALID;
    uint64_t n = 0;

    while (n < *npages && result == PGL_FAULT_SUCCESS) {
        result = keep_page(fault, args, n, args->access, &pages[n]);
        n += result == PGL_FAULT_SUCCESS;
    }
    if (result != PGL_FAULT_SUCCESS) {
        pgl_fault_page_list_free(pages, n);
    }
    *npages = n;
    return result;
}

/* Drop a wire of the page in the topmost object of a chain that has it wired. */
static bool unwire_in_chain(struct pgl_object *object, uint64_t index)
{
    while (object && index <= object->config.last) {
        if (pgl_object_drop_wire(object, index)) {
            return true;
        }
        if (object->config.backing && index > UINT64_MAX - object->config.backing_first) {
            return false;
        }
        index += object->config.backing_first;
        object = object->config.backing;
    }
    return false;
}

static bool unwire_page(const struct pgl_fault_args *args, uint64_t index)
{
    struct pgl_place place;
    bool unwired;

    if (!args->map) {
        return unwire_in_chain(args->object, index);
    }
    if (!pgl_map_copy_place(args->map, index, &place)) {
        return false;
    }
    unwired = unwire_in_chain(place.object, place.index);
    pgl_object_unref(place.object);
    return unwired;
}

uint64_t pgl_fault_unwire(const struct pgl_fault_args *args, uint64_t npages)
{
    uint64_t unwired = 0;

    for (uint64_t i = 0; i < npages && i <= UINT64_MAX - args->index; i++) {
        unwired += unwire_page(args, args->index + i);
    }
    if (unwired < npages) {
        errno = EINVAL;
    }
    return unwired;
}

/* Both pages are kept; @from is NULL for zeros. */
static bool can_copy(const struct pgl_fault_page *from, const struct pgl_fault_page *to)
{
    return to->frame && (!from || (from->frame && from->object->config.page_size == to->object->config.page_size));
}

/* Copy the bytes, unless the pager has withheld write access since the page was brought. */
static bool copy_bytes(const struct pgl_fault_page *from, const struct pgl_fault_page *to)
{
    const struct pgl_object_config *config = &to->object->config;
    struct pgl_object_page page;
    bool writable;

    pgl_object_lock(to->object, to->index, to->index);
    page = pgl_object_page_find(to->object, to->index);
    writable = pgl_object_page_is(page, page.chunk->writable);
    if (writable && from && from->frame != to->frame) {
        config->memory_ops->copy(config->memory, to->frame, from->frame);
    } else if (writable && !from) {
        config->memory_ops->zero(config->memory, to->frame);
    }
    pgl_object_unlock(to->object, to->index, to->index);
    return writable;
}

/* Copy page @i of the range, with the page that is read kept, or NULL. */
static enum pgl_fault_result copy_page(struct pgl_fault *fault, const struct pgl_fault_page *from,
                                       const struct pgl_fault_args *to, uint64_t i)
{
    enum pgl_fault_result result = PGL_FAULT_SUCCESS;
    struct pgl_fault_page page;
    bool copied = false;

    while (!copied && (result = keep_page(fault, to, i, PGL_ACCESS_WRITE, &page)) == PGL_FAULT_SUCCESS) {
        if (!can_copy(from, &page)) {
            drop_page(&page);
            errno = EINVAL;
            return PGL_FAULT_INVALID;
        }
        copied = copy_bytes(from, &page);
        drop_page(&page);
    }
    return result;
}

enum pgl_fault_result pgl_fault_copy(struct pgl_fault *fault, const struct pgl_fault_args *from,
                                     const struct pgl_fault_args *to, uint64_t *npages)
{
    bool valid = range_is_valid(to) && (!from || range_is_valid(from));
    enum pgl_fault_result result = valid ? PGL_FAULT_SUCCESS : PGL_FAULT_INVALID;
    struct pgl_fault_page page;
    uint64_t n = 0;

    while (n < *npages && result == PGL_FAULT_SUCCESS) {
        if (from) {
            result = keep_page(fault, from, n, PGL_ACCESS_READ, &page);
        }
        if (result == PGL_FAULT_SUCCESS) {
            result = copy_page(fault, from ? &page : NULL, to, n);
            if (from) {
                drop_page(&page);
            }
        }
        n += result == PGL_FAULT_SUCCESS;
    }
    *npages = n;
    return result;
}
