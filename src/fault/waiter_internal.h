/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A fault's entry in a queue, and its wake-up. A fault that sleeps is woken through a condition variable. A fault that
 * must not sleep has a function ready(), which is called instead. Private.
 */
#ifndef PGL_FAULT_WAITER_INTERNAL_H
#define PGL_FAULT_WAITER_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct pgl_object;

/* The outcome of a wait. */
enum pgl_outcome {
    PGL_OUTCOME_SUPPLIED,    /* the page is resident, or its access has changed: look again */
    PGL_OUTCOME_AGAIN,       /* the mark was rolled back, or the pager is ready: try again */
    PGL_OUTCOME_CREDIT,      /* the fault owns a credit: try again, and return the credit if it is not needed */
    PGL_OUTCOME_NO_DATA,     /* the pager has nothing there */
    PGL_OUTCOME_ERROR,       /* the pager failed */
    PGL_OUTCOME_SHORTAGE,    /* no memory for the page */
    PGL_OUTCOME_INTERRUPTED, /* pgl_fault_interrupt() */
};

/* A lock of an object, and the number of the faults that wait in the queues under it. */
struct pgl_wait_room {
    struct pgl_object *object;
    pthread_mutex_t lock;
    uint64_t waiting;
};

/* Waiting faults, the first that came first. The lock of a room protects it. */
struct pgl_queue {
    struct pgl_waiter *first;
    struct pgl_waiter *last;
};

/*
 * The lock of the room in which the fault waits protects queue, prev, next, index and removals. The waiter's own lock,
 * which is the last in the lock order, protects the members below it. `room` changes under both locks. While it is set,
 * the fault does not go on, and therefore the object of the room is alive.
 */
struct pgl_waiter {
    struct pgl_queue *queue;
    struct pgl_waiter *prev;
    struct pgl_waiter *next;
    uint64_t index;       /* the page that is waited for */
    uint64_t removals;    /* when its pager last had no data: the removals from its chunk until then */
    bool uninterruptible; /* belongs to the fault; changes only while it is in no queue */

    pthread_mutex_t lock;
    pthread_cond_t woken;
    struct pgl_wait_room *room;
    bool interrupted; /* end the next wait, or this one */
    bool settled;     /* outcome is valid, and no other thread touches the waiter any more */
    bool parked;      /* pgl_waiter_await() returned false: the wake-up calls ready() */
    enum pgl_outcome outcome;
    void (*ready)(void *arg); /* NULL: sleep */
    void *arg;
};

/* Waiters that are in no queue any more and will be woken when no object is locked. */
struct pgl_wake_list {
    struct pgl_waiter *head;
};

bool pgl_waiter_init(struct pgl_waiter *waiter);
void pgl_waiter_fini(struct pgl_waiter *waiter);

/*
 * Room locked. Returns false without queueing a waiter that was interrupted, and clears the interruption. One that
 * cannot be interrupted is queued, and the interruption stays.
 */
bool pgl_waiter_queue(struct pgl_waiter *waiter, struct pgl_queue *queue, struct pgl_wait_room *room, uint64_t index);

/* Room locked, waiter queued there. Remove it from its queue without a wake-up. */
void pgl_waiter_dequeue(struct pgl_waiter *waiter);

/* Room locked, waiter queued there. Move it to a list, from which pgl_wake_all() wakes it with this outcome. */
void pgl_waiter_settle(struct pgl_waiter *waiter, enum pgl_outcome outcome, struct pgl_wake_list *list);

/* Nothing locked. Wake every waiter of a list. */
void pgl_wake_all(struct pgl_wake_list *list);

/*
 * The waiter was queued. Sleep until it is woken, and return true with its outcome. A waiter with ready() never sleeps:
 * if it was not woken yet, the result is false, and the wake-up calls ready().
 */
bool pgl_waiter_await(struct pgl_waiter *waiter, enum pgl_outcome *outcome);

#endif
