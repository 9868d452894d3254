/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The end of a step: the page was found, the fault failed, or it waits.
 *
 * ROLL-BACK    A fault that fails removes the marks of its last request and its placeholder, and wakes every fault that
 *              waits for them. Marks are removed by id, so that pages that were answered meanwhile stay as they are.
 */
#include "fault_internal.h"

static bool done(struct pgl_fault *fault, enum pgl_fault_result result)
{
    fault->result = result;
    return true;
}

/* Nothing locked. Remove the placeholder. Faults that wait for it look for themselves, or get the pager's error. */
static void drop_placeholder(struct pgl_fault *fault, enum pgl_outcome outcome)
{
    const struct pgl_place *place = &fault->place;

    if (fault->placeholder != 0) {
        pgl_object_cancel(place->object, fault->placeholder, place->index, place->index, outcome);
        fault->placeholder = 0;
    }
}

/* Nothing locked. Remove all marks of the last request, and the placeholder. */
bool pgl_fault_fail(struct pgl_fault *fault, enum pgl_fault_result result)
{
    if (fault->id != 0) {
        pgl_object_cancel(fault->asked, fault->id, fault->asked_first, fault->asked_last, PGL_OUTCOME_AGAIN);
        fault->id = 0;
    }
    drop_placeholder(fault, result == PGL_FAULT_MEMORY_ERROR ? PGL_OUTCOME_ERROR : PGL_OUTCOME_AGAIN);
    return done(fault, result);
}

bool pgl_fault_unlock_and_fail(struct pgl_fault *fault, enum pgl_fault_result result)
{
    pgl_fault_unlock(fault);
    return pgl_fault_fail(fault, result);
}

/* The fault is in a queue. */
void pgl_fault_unlock_and_wait(struct pgl_fault *fault)
{
    fault->waiting = true;
    fault->looked = false; /* after the wait, a walk without a placeholder may find the page */
    pgl_fault_unlock(fault);
}

/* Wait for a page that is busy or asked for. */
bool pgl_fault_wait(struct pgl_fault *fault, struct pgl_object_page page)
{
    if (!pgl_waiter_queue(&fault->waiter, &page.chunk->queue, &page.shard->room, fault->index)) {
        return pgl_fault_unlock_and_fail(fault, PGL_FAULT_INTERRUPTED);
    }
    pgl_fault_unlock_and_wait(fault);
    return false;
}

/* The page is resident and usable: answer the fault. */
bool pgl_fault_found(struct pgl_fault *fault, struct pgl_object_page page)
{
    struct pgl_object *object = fault->object;
    bool writable = pgl_fault_at_top(fault) && pgl_object_page_is(page, page.chunk->writable);
    bool readable = pgl_object_page_is(page, page.chunk->readable);

    pgl_fault_count_use(fault, page);
    if (pgl_fault_wires(fault)) {
        page.chunk->wires[page.slot]++;
    }
    fault->found = (struct pgl_fault_page){
        .object = object,
        .index = fault->index,
        .frame = pgl_object_page_frame(object, page),
        .access = writable   ? PGL_ACCESS_WRITE
                  : readable ? PGL_ACCESS_READ
                             : PGL_ACCESS_NONE,
        .hit = fault->hit,
    };
    pgl_fault_unlock(fault);
    drop_placeholder(fault, PGL_OUTCOME_AGAIN);
    return done(fault, PGL_FAULT_SUCCESS);
}
