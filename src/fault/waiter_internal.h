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
    PGL_OUTCOME_AGAIN,       /* the mark was rolled back, or a credit is free: try again */
    OUTCOME_NO_DATA,         /* the pager has nothing there */
    PGL_OUTCOME_ERROR,       /* the pager failed */
    PGL_OUTCOME_SHORTAGE,    /* no memory for the page */
    PGL_OUTCOME_INTERRUPTED, /* pgl_fault_interrupt() */
};

/*
 * The lock of the object in which the fault waits protects next, link and index. The waiter's own lock, which is the
 * last in the lock order, protects the other members. queued_on changes under both locks. While it is set, the fault
 * does not go on, and therefore the object that it names is alive.
 */
struct pgl_waiter {
    struct pgl_waiter *next;
    struct pgl_waiter **link; /* what points to this waiter */
    uint64_t index;           /* the page that is waited for */

    pthread_mutex_t lock;
    pthread_cond_t woken;
    struct pgl_object *queued_on;
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

/* Object locked. Returns false without queueing a waiter that was interrupted, and clears the interruption. */
bool pgl_waiter_queue(struct pgl_waiter *waiter, struct pgl_waiter **queue, struct pgl_object *object, uint64_t index);

/* Object locked, waiter queued there. Remove it from its queue without a wake-up. */
void pgl_waiter_dequeue(struct pgl_waiter *waiter);

/* Object locked, waiter queued there. Move it to a list, from which pgl_wake_all() wakes it with this outcome. */
void pgl_waiter_settle(struct pgl_waiter *waiter, enum pgl_outcome outcome, struct pgl_wake_list *list);

/* No object locked. Wake every waiter of a list. */
void pgl_wake_all(struct pgl_wake_list *list);

/*
 * The waiter was queued. Sleep until it is woken, and return true with its outcome. A waiter with ready() never sleeps:
 * if it was not woken yet, the result is false, and the wake-up calls ready().
 */
bool pgl_waiter_await(struct pgl_waiter *waiter, enum pgl_outcome *outcome);

#endif
