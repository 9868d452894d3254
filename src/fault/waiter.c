/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Queues of waiting faults, and their wake-up in two steps: pgl_waiter_settle() under the room's lock, wake() after it
 * was unlocked, because ready() may call the library again.
 *
 * OWNERSHIP    The thread that removes a waiter from its queue, under the room's lock, decides on the outcome. From
 *              then until wake() has set `settled`, the waiter belongs to that thread.
 */
#include <stddef.h>

#include "../cancel_internal.h"
#include "waiter_internal.h"

bool pgl_waiter_init(struct pgl_waiter *waiter)
{
    if (pthread_mutex_init(&waiter->lock, NULL) != 0) {
        return false;
    }
    if (pthread_cond_init(&waiter->woken, NULL) != 0) {
        pthread_mutex_destroy(&waiter->lock);
        return false;
    }
    return true;
}

void pgl_waiter_fini(struct pgl_waiter *waiter)
{
    pthread_cond_destroy(&waiter->woken);
    pthread_mutex_destroy(&waiter->lock);
}

bool pgl_waiter_queue(struct pgl_waiter *waiter, struct pgl_queue *queue, struct pgl_wait_room *room, uint64_t index)
{
    bool interrupted;

    pthread_mutex_lock(&waiter->lock);
    interrupted = waiter->interrupted && !waiter->uninterruptible;
    waiter->interrupted = waiter->interrupted && !interrupted;
    if (!interrupted) {
        waiter->room = room;
    }
    pthread_mutex_unlock(&waiter->lock);
    if (interrupted) {
        return false;
    }

    waiter->index = index;
    waiter->queue = queue;
    waiter->prev = queue->last;
    waiter->next = NULL;
    *(waiter->prev ? &waiter->prev->next : &queue->first) = waiter;
    queue->last = waiter;
    room->waiting++;
    return true;
}

void pgl_waiter_dequeue(struct pgl_waiter *waiter)
{
    struct pgl_queue *queue = waiter->queue;

    *(waiter->prev ? &waiter->prev->next : &queue->first) = waiter->next;
    *(waiter->next ? &waiter->next->prev : &queue->last) = waiter->prev;
    waiter->room->waiting--;
    pthread_mutex_lock(&waiter->lock);
    waiter->room = NULL;
    pthread_mutex_unlock(&waiter->lock);
}

void pgl_waiter_settle(struct pgl_waiter *waiter, enum pgl_outcome outcome, struct pgl_wake_list *list)
{
    pgl_waiter_dequeue(waiter);
    waiter->outcome = outcome;
    waiter->next = list->head;
    list->head = waiter;
}

/* Once the fault sees `settled`, it may reuse or free the waiter. Nothing is read from it after the unlock. */
static void wake(struct pgl_waiter *waiter)
{
    void (*ready)(void *arg);
    void *arg;

    pthread_mutex_lock(&waiter->lock);
    waiter->settled = true;
    ready = waiter->parked ? waiter->ready : NULL;
    arg = waiter->arg;
    waiter->parked = false;
    pthread_cond_signal(&waiter->woken);
    pthread_mutex_unlock(&waiter->lock);
    if (ready) {
        ready(arg);
    }
}

void pgl_wake_all(struct pgl_wake_list *list)
{
    while (list->head) {
        struct pgl_waiter *waiter = list->head;

        list->head = waiter->next;
        wake(waiter);
    }
}

bool pgl_waiter_await(struct pgl_waiter *waiter, enum pgl_outcome *outcome)
{
    bool settled;

    pthread_mutex_lock(&waiter->lock);
    while (!waiter->settled && !waiter->ready) {
        PGL_UNCANCELLED;

        pthread_cond_wait(&waiter->woken, &waiter->lock);
    }
    settled = waiter->settled;
    waiter->settled = false;
    waiter->parked = !settled;
    if (settled) {
        *outcome = waiter->outcome;
    }
    pthread_mutex_unlock(&waiter->lock);
    return settled;
}
