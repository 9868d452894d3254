/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A fault, and the steps of which the driver consists. fault.c has the protocol. Private. */
#ifndef PGL_FAULT_FAULT_INTERNAL_H
#define PGL_FAULT_FAULT_INTERNAL_H

#include "map_internal.h"
#include "object_internal.h"

/* The thread that runs or continues the fault owns all members but `waiter`. */
struct pgl_fault {
    struct pgl_waiter waiter;
    struct pgl_fault_args args;
    bool waiting; /* the fault is or was queued, and its outcome was not read yet */
    bool placed;  /* place is valid */
    bool held;    /* place.object carries a reference of the fault's */
    bool keeps;   /* wire the page, and reference its object, for a call of fault_range.c */
    bool widened; /* more was locked: look again in the same step */
    bool counted; /* it was counted as a touch, at the first look */
    bool hit;     /* the page was found at each look so far */
    enum pgl_fault_result result;
    uint64_t prefetch; /* it is no fault, but brings so many pages before they are touched; otherwise 0 */
    struct pgl_fault_page found;
    const struct pgl_object *hits_of; /* the object in which hit_slot is valid, maybe freed since */
    unsigned hit_slot;

    struct pgl_place place;    /* the page in the top object, and the window of the entry */
    struct pgl_object *object; /* the current object: the top object, or one below it */
    uint64_t index;            /* the page in the current object */
    uint64_t first;            /* the window in the current object */
    uint64_t last;
    uint64_t locked_first; /* the shards of these pages of the current object are locked during a step */
    uint64_t locked_last;
    bool no_data; /* the current object's pager has answered that there is no data */

    struct pgl_object *credit; /* the fault owns a credit of this object and has not asked with it yet; or NULL */

    bool looked;              /* it has walked down the chain without a placeholder and found nothing */
    uint64_t placeholder;     /* the id of its mark in the top object; 0: none */
    uint64_t id;              /* the id of its last request; 0: none */
    struct pgl_object *asked; /* the object in which that request was made */
    uint64_t asked_first;
    uint64_t asked_last;

    char apart[128]; /* two faults share no cache line, wherever an allocator puts them */
};

/* Make a fault in the caller's memory. Returns false when there is no memory for its lock. */
bool pgl_fault_init(struct pgl_fault *fault);
void pgl_fault_fini(struct pgl_fault *fault);

static inline bool pgl_fault_at_top(const struct pgl_fault *fault)
{
    return fault->object == fault->place.object;
}

/* The access that the fault needs in its current object. Lower objects are only read, because writes go to a copy. */
static inline enum pgl_access pgl_fault_wanted(const struct pgl_fault *fault)
{
    return pgl_fault_at_top(fault) || fault->args.access == PGL_ACCESS_NONE ? fault->args.access : PGL_ACCESS_READ;
}

static inline bool pgl_fault_wires(const struct pgl_fault *fault)
{
    return (fault->args.flags & PGL_FAULT_FLAG_WIRE) != 0 || fault->keeps;
}

/* Lock the pages [first, last] of the current object for a step. */
static inline void pgl_fault_lock(struct pgl_fault *fault, uint64_t first, uint64_t last)
{
    fault->locked_first = first;
    fault->locked_last = last;
    pgl_object_lock(fault->object, first, last);
}

static inline void pgl_fault_unlock(const struct pgl_fault *fault)
{
    pgl_object_unlock(fault->object, fault->locked_first, fault->locked_last);
}

/* The counts of the advice that the fault follows in its current object, whose page is locked. */
static inline struct pgl_fault_counts *pgl_fault_counts(const struct pgl_fault *fault)
{
    const struct pgl_object *object = fault->object;
    struct pgl_shard *shard = pgl_object_shard(object, fault->index);

    return &shard->by_advice[pgl_advice_effective(fault->place.advice, object->advice)];
}

/*
 * The page was not usable: the fault is no hit any more, and counts as a fault if the page was absent. The page is
 * locked. If it was absent, its object is the top one: only a fault with PGL_FAULT_FLAG_RESIDENT may be below that,
 * because it goes down without a placeholder, and such a fault is not counted.
 */
static inline void pgl_fault_count_miss(struct pgl_fault *fault, bool resident)
{
    pgl_fault_counts(fault)->faults += fault->hit && !resident && (fault->args.flags & PGL_FAULT_FLAG_RESIDENT) == 0;
    fault->hit = false;
}

/* Count the first touch of a page that was requested as a neighbour. The page is locked. */
static inline void pgl_fault_count_use(const struct pgl_fault *fault, struct pgl_object_page page)
{
    if (pgl_object_page_is(page, page.chunk->speculative) && fault->prefetch == 0) {
        pgl_fault_counts(fault)->used++;
        pgl_object_page_speculate(page, false);
        pgl_object_report_touch(fault->object, fault->index);
    }
}

/* Start at the top object, or start there again. */
static inline void pgl_fault_go_to_top(struct pgl_fault *fault)
{
    fault->object = fault->place.object;
    fault->index = fault->place.index;
    fault->first = fault->place.first;
    fault->last = fault->place.last;
    fault->no_data = false;
}

/*
 * pgl_fault_keep() and pgl_fault_prefetch() run a whole fault. The others are its steps. Each is entered with the page
 * of fault->object locked, by pgl_fault_lock(), and returns with nothing locked; only pgl_fault_hit(), pgl_fault_fail()
 * and pgl_fault_drop_credit() are entered with nothing locked. The result is true if the fault is done, with
 * fault->result set. If it is false, the fault goes on, and waits first if fault->waiting is set. pgl_fault_ask() may
 * return with the page locked, and fault->widened set: then the step begins again.
 */
enum pgl_fault_result pgl_fault_keep(struct pgl_fault *fault, const struct pgl_fault_args *args,
                                     struct pgl_fault_page *page);
enum pgl_fault_result pgl_fault_prefetch(struct pgl_fault *fault, const struct pgl_fault_args *args, uint64_t npages);
bool pgl_fault_hit(struct pgl_fault *fault);
bool pgl_fault_fail(struct pgl_fault *fault, enum pgl_fault_result result);
bool pgl_fault_unlock_and_fail(struct pgl_fault *fault, enum pgl_fault_result result);
void pgl_fault_unlock_and_wait(struct pgl_fault *fault);
bool pgl_fault_wait(struct pgl_fault *fault, struct pgl_object_page page);
bool pgl_fault_found(struct pgl_fault *fault, struct pgl_object_page page);
bool pgl_fault_ask(struct pgl_fault *fault, struct pgl_object_page page);
void pgl_fault_drop_credit(struct pgl_fault *fault);
bool pgl_fault_copy_up(struct pgl_fault *fault);
bool pgl_fault_end_of_chain(struct pgl_fault *fault);
bool pgl_fault_go_down(struct pgl_fault *fault);
bool pgl_fault_back_to_top(struct pgl_fault *fault);

#endif
