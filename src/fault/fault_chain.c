/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The chain of objects: how a fault goes down, copies a page up, and makes a page at the end. fault.c explains the
 * placeholder.
 *
 * LOCK ORDER   Two objects are locked together only to copy a page up, the upper one first. For that the lower one is
 *              unlocked first, and its page is looked up again.
 */
#include "fault_internal.h"

/*
 * Make the page in the top object, which is locked: a copy of @frame, or zeros. @lower, if not NULL, is locked too and
 * is unlocked here. In the top object the page is absent, or busy with the placeholder of this fault.
 */
static bool make_in_top(struct pgl_fault *fault, struct pgl_object *lower, const void *frame)
{
    struct pgl_object *top = fault->place.object;
    struct pgl_wake_list list = {NULL};
    struct pgl_object_page page;
    bool made;

    fault->object = top;
    fault->index = fault->place.index;
    made = pgl_object_page_make(top, fault->index, &page) && pgl_object_page_has_frame(top, page);
    if (made) {
        pgl_object_page_fill(top, page, frame, PGL_ACCESS_WRITE);
        pgl_object_page_settle(top, page, PGL_OUTCOME_SUPPLIED, &list);
    }
    if (lower) {
        pthread_mutex_unlock(&lower->lock);
    }
    if (!made) {
        return pgl_fault_unlock_and_fail(fault, PGL_FAULT_MEMORY_SHORTAGE);
    }
    fault->placeholder = 0;
    pgl_fault_found(fault, page);
    pgl_wake_all(&list);
    return true;
}

/* Copy a page that is to be written from a lower object to the top object, where it replaces the placeholder. */
bool pgl_fault_copy_up(struct pgl_fault *fault)
{
    struct pgl_object *lower = fault->object;
    struct pgl_object_page page;

    pthread_mutex_unlock(&lower->lock);
    pthread_mutex_lock(&fault->place.object->lock);
    pthread_mutex_lock(&lower->lock);
    page = pgl_object_page_find(lower, fault->index);
    if (!pgl_object_page_is(page, page.chunk->readable)) { /* removed or withheld meanwhile: look again */
        pthread_mutex_unlock(&fault->place.object->lock);
        pthread_mutex_unlock(&lower->lock);
        return false;
    }
    pgl_fault_counts(fault)->used += pgl_object_page_is(page, page.chunk->speculative);
    page.chunk->speculative &= ~page.bit;
    return make_in_top(fault, lower, pgl_object_page_frame(lower, page));
}

/* The chain ends here and no object has the page: make zeros, or answer that there is no data. */
bool pgl_fault_end_of_chain(struct pgl_fault *fault)
{
    const struct pgl_object_config *config = &fault->object->config;

    if ((config->pager_ops && !config->internal) || (fault->args.flags & PGL_FAULT_FLAG_RESIDENT) != 0) {
        return pgl_fault_unlock_and_fail(fault, PGL_FAULT_NO_DATA);
    }
    if (!pgl_fault_at_top(fault)) {
        pthread_mutex_unlock(&fault->object->lock);
        pthread_mutex_lock(&fault->place.object->lock);
    }
    return make_in_top(fault, NULL, NULL);
}

/*
 * Whether a fault in the top object may go down without a placeholder. If the top object's pager has answered that
 * there is no data, the fault needs one, because a second walk from the top would ask that pager again.
 */
static bool may_look(const struct pgl_fault *fault)
{
    return (fault->args.flags & PGL_FAULT_FLAG_RESIDENT) != 0 ||
           (fault->args.access == PGL_ACCESS_READ && !fault->looked && !fault->no_data);
}

/* Go on in the object that this one shadows. */
bool pgl_fault_go_down(struct pgl_fault *fault)
{
    struct pgl_object *object = fault->object;
    struct pgl_object *backing = object->config.backing;
    uint64_t shift = object->config.backing_first;
    struct pgl_object_page page;

    if (pgl_fault_at_top(fault) && !may_look(fault)) {
        pgl_fault_count_miss(fault, false);
        if (!pgl_object_page_make(object, fault->index, &page)) {
            return pgl_fault_unlock_and_fail(fault, PGL_FAULT_MEMORY_SHORTAGE);
        }
        fault->placeholder = ++object->last_id;
        pgl_object_page_mark(object, page, fault->placeholder, false);
    }
    pthread_mutex_unlock(&object->lock);

    if (fault->last > backing->config.last - shift) {
        fault->last = backing->config.last - shift;
    }
    fault->object = backing;
    fault->index += shift;
    fault->first += shift;
    fault->last += shift;
    fault->no_data = false;
    return false;
}

/* The walk without a placeholder has not found the page: start again at the top object. */
bool pgl_fault_back_to_top(struct pgl_fault *fault)
{
    pthread_mutex_unlock(&fault->object->lock);
    pgl_fault_go_to_top(fault);
    fault->looked = true;
    return false;
}
