/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An object and its pages, and the operations that change the state of a page. object.c has the protocol. Private. */
#ifndef PGL_FAULT_OBJECT_INTERNAL_H
#define PGL_FAULT_OBJECT_INTERNAL_H

#include <pthread.h>

#include <pagelock/fault.h>

#include "advisor_internal.h"
#include "waiter_internal.h"

#define PGL_CHUNK_PAGES 64

/*
 * The states of 64 neighbouring pages, one bit per page. A page is
 *   resident:    usable as far as readable and writable say; with asked, more access was requested;
 *   busy:        marked by a fault; with asked, its data was requested; without, it is a placeholder while the fault
 *                works further down the chain;
 *   in error:    its last request failed; it stays so while it is busy again, until the pager supplies it or answers
 *                that there is no data;
 *   absent:      none of these.
 */
struct pgl_chunk {
    uint64_t number; /* its first page is number * PGL_CHUNK_PAGES */
    uint64_t resident;
    uint64_t busy;
    uint64_t error;
    uint64_t asked;               /* outstanding at the pager: one credit per page */
    uint64_t readable;            /* resident pages only */
    uint64_t writable;            /* readable pages only */
    uint64_t speculative;         /* resident or busy, and not touched since it was requested as a neighbour */
    struct pgl_waiter *queue;     /* faults that wait for these pages */
    uint64_t id[PGL_CHUNK_PAGES]; /* of a busy or asked page: the id of its mark */
    uint32_t wires[PGL_CHUNK_PAGES];
    void *frame[]; /* PGL_CHUNK_PAGES entries, or none if the object has no memory */
};

/* The members above `lock` never change, but for refs. The lock protects the members below. */
struct pgl_object {
    struct pgl_object_config config; /* its advice and table are only the initial ones */
    unsigned refs;                   /* atomic */

    pthread_mutex_t lock;
    struct pgl_chunk **chunks; /* hash table, open addressing; nslots is 0 or a power of two, at most half used */
    uint64_t nslots;
    uint64_t nchunks;
    struct pgl_waiter *queue; /* faults that wait for a credit or for the pager to be ready */
    enum pgl_advice advice;
    struct pgl_advice_table table;
    struct pgl_costs costs;
    struct pgl_advisor *advisor; /* NULL until a fault with adaptive advice is to choose its window */
    bool ready;
    bool terminated;
    uint64_t last_id;
    struct pgl_object_stats stats; /* the page counts follow each change of a page */
};

/* A page of an object, as found by a look-up. Valid until the object is unlocked. */
struct pgl_object_page {
    struct pgl_chunk *chunk; /* NULL: no page of its chunk was ever marked */
    unsigned slot;           /* its position in the chunk */
    uint64_t bit;            /* 1 << slot */
};

/*
 * All functions below are called with the object locked. If a waiter is in a chunk's queue, its index is that of a busy
 * or asked page. pgl_object_queue() returns false if the waiter was interrupted, and pgl_object_dequeue() if it was in
 * no queue of the object any more.
 */
bool pgl_object_queue(struct pgl_object *object, struct pgl_waiter *waiter, struct pgl_waiter **queue, uint64_t index);
bool pgl_object_dequeue(struct pgl_object *object, struct pgl_waiter *waiter);
void pgl_object_settle(struct pgl_object *object, struct pgl_waiter *waiter, enum pgl_outcome outcome,
                       struct pgl_wake_list *list);
void pgl_object_wake_queue(struct pgl_object *object, struct pgl_wake_list *list);

struct pgl_object_page pgl_object_page_find(const struct pgl_object *object, uint64_t index);
/* Find the page, and allocate its chunk if there is none. Returns false if there is no memory. */
bool pgl_object_page_make(struct pgl_object *object, uint64_t index, struct pgl_object_page *page);
/* Allocate the page's frame if it has none. Returns false if there is no memory. */
bool pgl_object_page_has_frame(struct pgl_object *object, struct pgl_object_page page);
void pgl_object_page_settle(struct pgl_object *object, struct pgl_object_page page, enum pgl_outcome outcome,
                            struct pgl_wake_list *list);
void pgl_object_page_mark(struct pgl_object *object, struct pgl_object_page page, uint64_t id, bool asked);
void pgl_object_page_unmark(struct pgl_object *object, struct pgl_object_page page);
void pgl_object_page_drop_frame(struct pgl_object *object, struct pgl_object_page page);
void pgl_object_page_allow(struct pgl_object_page page, enum pgl_access access);
void pgl_object_page_fill(struct pgl_object *object, struct pgl_object_page page, const void *data,
                          enum pgl_access access);
uint64_t pgl_object_absent_word(const void *object, uint64_t number);     /* eligibility for data requests */
uint64_t pgl_object_unreadable_word(const void *object, uint64_t number); /* eligibility for access requests */

typedef void pgl_object_page_visitor(struct pgl_object *object, struct pgl_object_page page, void *arg);

/* Visit every resident or busy page of a range. The cost is bounded both by the range and by the number of chunks. */
void pgl_object_visit(struct pgl_object *object, uint64_t first, uint64_t last, pgl_object_page_visitor *visit,
                      void *arg);

/* Remove the marks that have this id from the pages [first, last], and no others. */
void pgl_object_roll_back(struct pgl_object *object, uint64_t id, uint64_t first, uint64_t last,
                          enum pgl_outcome outcome, struct pgl_wake_list *list);

/* Free all chunks and frames. No fault is under way. */
void pgl_object_pages_free(struct pgl_object *object);

static inline bool pgl_object_has_pager_for(const struct pgl_object *object, uint64_t index)
{
    const struct pgl_pager_range *range = &object->config.pager_range;

    return object->config.pager_ops && index <= range->last - range->first;
}

static inline void *pgl_object_page_frame(const struct pgl_object *object, struct pgl_object_page page)
{
    return object->config.memory_ops ? page.chunk->frame[page.slot] : NULL;
}

static inline bool pgl_object_page_is(struct pgl_object_page page, uint64_t in_chunk)
{
    return (in_chunk & page.bit) != 0;
}

#endif
