/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of the fault driver share: an object's pages, and the primitives that change their state. Private. */
#ifndef PGL_FAULT_OBJECT_INTERNAL_H
#define PGL_FAULT_OBJECT_INTERNAL_H

#include <pthread.h>

#include <pagelock/fault.h>

#include "advisor_internal.h"
#include "waiter_internal.h"

#define PGL_CHUNK_PAGES 64

/*
 * The states of 64 neighbouring pages, a bit each. A page is
 *   absent:      none of the first three;
 *   resident:    it may be used as far as readable and writable say; with asked, more access was asked for;
 *   busy:        a fault marked it: with asked, its data was asked for, else it is a placeholder while the fault looks
 *                further down the chain;
 *   in error:    its last request failed; also while it is busy again, until somebody brings it, or says there is none.
 */
struct pgl_chunk {
    uint64_t number; /* of the chunk: its first page is number * PGL_CHUNK_PAGES */
    uint64_t resident;
    uint64_t busy;
    uint64_t error;
    uint64_t asked;               /* outstanding at the pager: one credit a page */
    uint64_t readable;            /* of the resident ones */
    uint64_t writable;            /* of the readable ones */
    uint64_t speculative;         /* resident or busy, and not touched since it was asked for beside another */
    struct pgl_waiter *queue;     /* faults that wait for these pages */
    uint64_t id[PGL_CHUNK_PAGES]; /* of a busy or asked page: who marked it */
    uint32_t wires[PGL_CHUNK_PAGES];
    void *frame[]; /* PGL_CHUNK_PAGES of them where the object has memory, or none */
};

/* Above the lock: never changes. Below: belongs to it. */
struct pgl_object {
    struct pgl_object_config config; /* but advice and table, which are below */
    unsigned refs;                   /* atomic */

    pthread_mutex_t lock;
    struct pgl_chunk **chunks; /* open addressing by chunk number; nslots is 0 or a power of two, at most half used */
    uint64_t nslots;
    uint64_t nchunks;
    struct pgl_waiter *queue; /* faults that wait for a credit or for the pager to be ready */
    enum pgl_advice advice;
    struct pgl_advice_table table;
    struct pgl_advisor advisor;
    bool ready;
    bool terminated;
    uint64_t last_id;
    struct pgl_object_stats stats; /* the page counts in it are kept as pages change */
};

/* A page of an object, looked up once and used while the object stays locked. */
struct pgl_object_page {
    struct pgl_chunk *chunk; /* NULL: nothing near it was ever touched */
    unsigned slot;           /* in the chunk */
    uint64_t bit;            /* 1 << slot */
};

/*
 * Object locked, all of these. A waiter's index is of a page that is busy or asked for when its queue is a chunk's.
 * pgl_object_queue() returns false when the waiter was interrupted, pgl_object_dequeue() when it was not queued here
 * any more.
 */
bool pgl_object_queue(struct pgl_object *object, struct pgl_waiter *waiter, struct pgl_waiter **queue, uint64_t index);
bool pgl_object_dequeue(struct pgl_object *object, struct pgl_waiter *waiter);
void pgl_object_settle(struct pgl_object *object, struct pgl_waiter *waiter, enum pgl_outcome outcome,
                       struct pgl_wake_list *list);
void pgl_object_wake_queue(struct pgl_object *object, struct pgl_wake_list *list);

struct pgl_object_page pgl_object_page_find(const struct pgl_object *object, uint64_t index);
bool pgl_object_page_make(struct pgl_object *object, uint64_t index,
                          struct pgl_object_page *page);                                /* false: no memory */
bool pgl_object_page_has_frame(struct pgl_object *object, struct pgl_object_page page); /* makes it when it can */
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

/* Every resident or busy page of a range. Walks the chunks that exist where the range is wider than they are many. */
void pgl_object_visit(struct pgl_object *object, uint64_t first, uint64_t last, pgl_object_page_visitor *visit,
                      void *arg);

/* Takes back what is still marked with id in [first, last], and nothing else. */
void pgl_object_roll_back(struct pgl_object *object, uint64_t id, uint64_t first, uint64_t last,
                          enum pgl_outcome outcome, struct pgl_wake_list *list);

/* No fault is under way. Frees the records of all pages, and their frames. */
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
