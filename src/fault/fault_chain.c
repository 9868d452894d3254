/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The chain of objects: how a fault goes down, copies a page up, and makes a page at the end. fault.c explains the
 * placeholder.
 *
 * LOCK ORDER   Pages of two objects are locked together only to copy a page up, the upper one first. For that the lower
 *              one is unlocked first, and looked up again.
 */
#include "fault_internal.h"

/*
 * Make the page in the top object, where it is locked: a copy of @frame, or zeros. The page @lower_index of @lower, if
 * that is not NULL, is locked too and is unlocked here. In the top object the page is absent, or busy with the
 * placeholder of this fault.
 */
static bool make_in_top(struct pgl_fault *fault, struct pgl_object *lower, uint64_t lower_index, const void *frame)
{
    struct pgl_object *top = fault->object;
    struct pgl_wake_list list = {NULL};
    struct pgl_object_page page;
    bool made;

    made = pgl_object_page_make(top, fault->index, &page) && pgl_object_page_has_frame(top, page);
    if (made) {
        pgl_object_page_fill(top, page, frame, PGL_ACCESS_WRITE, &list);
        pgl_object_page_settle(page, PGL_OUTCOME_SUPPLIED, &list);
    }
    if (lower) {
        pgl_object_unlock(lower, lower_index, lower_index);
    }
    if (!made) {
        return pgl_fault_unlock_and_fail(fault, PGL_FAULT_MEMORY_SHORTAGE);
    }
    fault->placeholder = 0;
    pgl_fault_found(fault, page);
    pgl_wake_all(&list);
    return true;
}

/* The page is locked in the top object, which becomes the current one. */
static void stand_at_top(struct pgl_fault *fault)
{
    fault->object = fault->place.object;
    fault->index = fault->locked_first = fault->locked_last = fault->place.index;
}

/* Copy a page that is to be written from a lower object to the top object, where it replaces the placeholder. */
bool pgl_fault_copy_up(struct pgl_fault *fault)
{
    struct pgl_object *lower = fault->object;
    struct pgl_object *top = fault->place.object;
    uint64_t index = fault->index;
    struct pgl_object_page page;

    pgl_fault_unlock(fault);
    pgl_object_lock(top, fault->place.index, fault->place.index);
    pgl_fault_lock(fault, index, index);
    page = pgl_object_page_find(lower, index);
    if (!pgl_object_page_is(page, page.chunk->readable)) { /* removed or withheld meanwhile: look again */
        pgl_fault_unlock(fault);
        pgl_object_unlock(top, fault->place.index, fault->place.index);
        return false;
    }
    pgl_fault_count_use(fault, page);
    stand_at_top(fault);
    return make_in_top(fault, lower, index, pgl_object_page_frame(lower, page));
}

/* The chain ends here and no object has the page: make zeros, or answer that there is no data. */
bool pgl_fault_end_of_chain(struct pgl_fault *fault)
{
    const struct pgl_object_config *config = &fault->object->config;

    if ((config->pager_ops && !config->internal) || (fault->args.flags & PGL_FAULT_FLAG_RESIDENT) != 0) {
        return pgl_fault_unlock_and_fail(fault, PGL_FAULT_NO_DATA);
    }
    if (!pgl_fault_at_top(fault)) {
        pgl_fault_unlock(fault);
        pgl_object_lock(fault->place.object, fault->place.index, fault->place.index);
        stand_at_top(fault);
    }
    return make_in_top(fault, NULL, 0, NULL);
}

/*
 * Whether a fault in the top object may go down without a placeholder. If the top object's pager has answered that
 * there is no data, the fault needs one, because a second walk from the top would ask that pager again.
 */
static bool may_look(const struct pgl_fault *fault)
{
    return (fault->args.flags & PGL_FAULT_FLAG_RESIDENT) != 0 ||
           (fault->args.access != PGL_ACCESS_WRITE && !fault->looked && !fault->no_data);
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
        fault->placeholder = pgl_object_new_id(object, fault->index);
        pgl_object_page_mark(object, page, fault->placeholder, false);
    }
    pgl_fault_unlock(fault);

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
    pgl_fault_unlock(fault);
    pgl_fault_go_to_top(fault);
    fault->looked = true;
    return false;
}
