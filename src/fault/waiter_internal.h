/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One fault's place in a queue, and how it is woken: asleep on a condition, or by its caller's ready(). Private. */
#ifndef PGL_FAULT_WAITER_INTERNAL_H
#define PGL_FAULT_WAITER_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct pgl_object;

/* What a waiting fault is told. */
enum pgl_outcome {
    PGL_OUTCOME_SUPPLIED,    /* the page is there, or its access has changed: look */
    PGL_OUTCOME_AGAIN,       /* what was waited for was taken back, or a credit is free: try for yourself */
    OUTCOME_NO_DATA,         /* the pager has nothing there */
    PGL_OUTCOME_ERROR,       /* the pager failed */
    PGL_OUTCOME_SHORTAGE,    /* no memory for the page */
    PGL_OUTCOME_INTERRUPTED, /* pgl_fault_interrupt() */
};

/*
 * queue, next, link and index belong to the lock of the object that is waited in; the rest to the waiter's own lock,
 * which is a leaf. queued_on changes under both. While it is set, the waiter's thread does not go on, so the object
 * that it names is alive.
 */
struct pgl_waiter {
    struct pgl_waiter *next;
    struct pgl_waiter **link; /* what points to this waiter */
    uint64_t index;           /* the page that is waited for */

    pthread_mutex_t lock;
    pthread_cond_t woken;
    struct pgl_object *queued_on;
    bool interrupted; /* end the next wait, or this one */
    bool settled;     /* outcome holds, and nobody but the waiter will touch it */
    bool parked;      /* ready() is owed */
    enum pgl_outcome outcome;
    void (*ready)(void *arg); /* NULL: sleep */
    void *arg;
};

/* Waiters that were taken from their queues, to be woken when no object is locked. */
struct pgl_wake_list {
    struct pgl_waiter *head;
};

bool pgl_waiter_init(struct pgl_waiter *waiter);
void pgl_waiter_fini(struct pgl_waiter *waiter);

/* Object locked. Returns false, not queued, when the waiter was interrupted; that is forgotten then. */
bool pgl_waiter_queue(struct pgl_waiter *waiter, struct pgl_waiter **queue, struct pgl_object *object, uint64_t index);

/* Object locked, waiter queued there. Its wait ends without being woken. */
void pgl_waiter_dequeue(struct pgl_waiter *waiter);

/* Object locked, waiter queued there. pgl_wake_all() will wake it with this outcome. */
void pgl_waiter_settle(struct pgl_waiter *waiter, enum pgl_outcome outcome, struct pgl_wake_list *list);

/* No object locked. */
void pgl_wake_all(struct pgl_wake_list *list);

/* The waiter was queued. Sleeps until it is woken; one with ready() returns false instead, and ready() is called. */
bool pgl_waiter_await(struct pgl_waiter *waiter, enum pgl_outcome *outcome);

#endif
