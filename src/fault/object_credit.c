/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Credits: how many pages of an object may be outstanding at its pager, and the faults that wait for one.
 *
 * OBJECTS      The lock of the credits protects their queue and both counts. An object without a limit uses only the
 *              queue, for faults that wait for its pager to be ready.
 * FAIRNESS     A credit that is returned goes to the fault that waits longest, and wakes no other. It stays used
 *              meanwhile, and therefore no fault that comes later takes it.
 * PROGRESS     The fault that is woken owns the credit. It asks with it, or returns it at the end of its next step
 *              (fault.c), because it needs it no more. So the credit reaches a fault that needs it, or is free.
 */
#include "object_internal.h"

/* Whether there is a credit, or no limit. The credits are locked. */
static bool is_free(const struct pgl_object *object)
{
    return object->config.credits == 0 || object->credits.used < object->config.credits;
}

static void take(struct pgl_object *object, uint64_t npages)
{
    if (object->config.credits != 0) {
        object->credits.used += npages;
        object->credits.reserved += npages;
    }
}

/* Hand @npages used credits to faults that wait, or else free them. The credits are locked. */
static void hand_on(struct pgl_object *object, uint64_t npages, struct pgl_wake_list *list)
{
    struct pgl_credits *credits = &object->credits;

    for (; npages > 0 && credits->queue.first; npages--) {
        pgl_waiter_settle(credits->queue.first, PGL_OUTCOME_CREDIT, list);
        credits->reserved++;
    }
    credits->used -= npages;
}

enum pgl_claim pgl_credit_claim(struct pgl_object *object, struct pgl_waiter *waiter, uint64_t index)
{
    struct pgl_credits *credits = &object->credits;
    enum pgl_claim claim = PGL_CLAIM_GRANTED;

    if (object->config.credits == 0 && object->ready) {
        return claim; /* no lock: the fault's shard is locked, and therefore the pager stays ready */
    }
    pthread_mutex_lock(&credits->room.lock);
    if (object->ready && is_free(object)) {
        take(object, 1);
    } else if (waiter && pgl_waiter_queue(waiter, &credits->queue, &credits->room, index)) {
        claim = PGL_CLAIM_QUEUED;
    } else {
        claim = PGL_CLAIM_NONE;
    }
    pthread_mutex_unlock(&credits->room.lock);
    return claim;
}

uint64_t pgl_credit_reserve(struct pgl_object *object, uint64_t npages)
{
    struct pgl_credits *credits = &object->credits;

    if (object->config.credits != 0 && npages > 0) {
        uint64_t left;

        pthread_mutex_lock(&credits->room.lock);
        left = object->config.credits - credits->used;
        npages = npages < left ? npages : left;
        take(object, npages);
        pthread_mutex_unlock(&credits->room.lock);
    }
    return npages;
}

void pgl_credit_spend(struct pgl_object *object, uint64_t reserved, uint64_t spent, struct pgl_wake_list *list)
{
    if (object->config.credits != 0) {
        pthread_mutex_lock(&object->credits.room.lock);
        object->credits.reserved -= reserved;
        hand_on(object, reserved - spent, list);
        pthread_mutex_unlock(&object->credits.room.lock);
    }
}

void pgl_credit_return(struct pgl_object *object, struct pgl_wake_list *list)
{
    if (object->config.credits != 0) {
        pthread_mutex_lock(&object->credits.room.lock);
        hand_on(object, 1, list);
        pthread_mutex_unlock(&object->credits.room.lock);
    }
}
