/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fault_internal.h"

static bool done(struct pgl_fault *fault, enum pgl_fault_result result)
{
    fault->result = result;
    return true;
}

/* Unlocked. Takes the mark in the top object back. Whoever waits for it looks himself, or gets the pager's error. */
static void drop_placeholder(struct pgl_fault *fault, enum pgl_outcome outcome)
{
    struct pgl_object *top = fault->place.object;
    struct pgl_wake_list list = {NULL};

    if (fault->placeholder != 0) {
        pthread_mutex_lock(&top->lock);
        pgl_object_roll_back(top, fault->placeholder, fault->place.index, fault->place.index, outcome, &list);
        pthread_mutex_unlock(&top->lock);
        pgl_wake_all(&list);
        fault->placeholder = 0;
    }
}

/* Unlocked already. Takes back everything that the fault has marked. */
bool pgl_fault_fail(struct pgl_fault *fault, enum pgl_fault_result result)
{
    struct pgl_object *object = fault->asked;
    struct pgl_wake_list list = {NULL};

    if (fault->id != 0) {
        pthread_mutex_lock(&object->lock);
        pgl_object_roll_back(object, fault->id, fault->asked_first, fault->asked_last, PGL_OUTCOME_AGAIN, &list);
        pthread_mutex_unlock(&object->lock);
        pgl_wake_all(&list);
        fault->id = 0;
    }
    drop_placeholder(fault, result == PGL_FAULT_MEMORY_ERROR ? PGL_OUTCOME_ERROR : PGL_OUTCOME_AGAIN);
    return done(fault, result);
}

bool pgl_fault_unlock_and_fail(struct pgl_fault *fault, enum pgl_fault_result result)
{
    pthread_mutex_unlock(&fault->object->lock);
    return pgl_fault_fail(fault, result);
}

bool pgl_fault_wait(struct pgl_fault *fault, struct pgl_waiter **queue)
{
    struct pgl_object *object = fault->object;

    if (!pgl_object_queue(object, &fault->waiter, queue, fault->index)) {
        return pgl_fault_unlock_and_fail(fault, PGL_FAULT_INTERRUPTED);
    }
    fault->waiting = true;
    fault->looked = false; /* a look may do by then */
    pthread_mutex_unlock(&object->lock);
    return false;
}

/* The page is resident and may be used. */
bool pgl_fault_found(struct pgl_fault *fault, struct pgl_object_page page)
{
    struct pgl_object *object = fault->object;
    bool writable = pgl_fault_at_top(fault) && pgl_object_page_is(page, page.chunk->writable);

    pgl_fault_counts(fault)->used += pgl_object_page_is(page, page.chunk->speculative);
    page.chunk->speculative &= ~page.bit;
    page.chunk->wires[page.slot] += (fault->args.flags & PGL_FAULT_FLAG_WIRE) != 0;
    fault->found = (struct pgl_fault_page){
        .object = object,
        .index = fault->index,
        .frame = pgl_object_page_frame(object, page),
        .access = writable ? PGL_ACCESS_WRITE : PGL_ACCESS_READ,
        .hit = fault->hit,
    };
    pthread_mutex_unlock(&object->lock);
    drop_placeholder(fault, PGL_OUTCOME_AGAIN);
    return done(fault, PGL_FAULT_SUCCESS);
}
