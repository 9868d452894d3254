/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of the fault driver share. Private. */
#ifndef PGL_FAULT_FAULT_INTERNAL_H
#define PGL_FAULT_FAULT_INTERNAL_H

#include "map_internal.h"
#include "object_internal.h"

struct pgl_fault {
    struct pgl_waiter waiter;
    struct pgl_fault_args args;
    bool waiting; /* an outcome is due */
    bool placed;  /* place holds */
    bool counted; /* as a touch: it had its first look */
    bool hit;     /* nothing was missing so far */
    enum pgl_fault_result result;
    struct pgl_fault_page found;

    struct pgl_place place;    /* the top object, and the entry's window on it */
    struct pgl_object *object; /* where the fault is: the top object, or one below it */
    uint64_t index;            /* the page there */
    uint64_t first;            /* the window there */
    uint64_t last;
    bool no_data; /* this object's pager has nothing for the page */

    bool looked;              /* down the chain without a placeholder, in vain */
    uint64_t placeholder;     /* the id of its mark in the top object; 0: none */
    uint64_t id;              /* of its last request; 0: none */
    struct pgl_object *asked; /* where that was made */
    uint64_t asked_first;
    uint64_t asked_last;
};

static inline bool pgl_fault_at_top(const struct pgl_fault *fault)
{
    return fault->object == fault->place.object;
}

/* A lower object is only read from: what is written is a copy above it. */
static inline enum pgl_access pgl_fault_wanted(const struct pgl_fault *fault)
{
    return pgl_fault_at_top(fault) ? fault->args.access : PGL_ACCESS_READ;
}

/* The counts of the advice that the fault follows in its object. Object locked. */
static inline struct pgl_fault_counts *pgl_fault_counts(const struct pgl_fault *fault)
{
    struct pgl_object *object = fault->object;

    return &object->stats.by_advice[pgl_advice_effective(fault->place.advice, object->advice)];
}

/*
 * The page was not to be found by looking: it is no hit from here on. Object locked, and the top one when the page was
 * absent: but for a fault that demands residency, which goes down without a placeholder and is not counted.
 */
static inline void pgl_fault_count_miss(struct pgl_fault *fault, bool resident)
{
    pgl_fault_counts(fault)->faults += fault->hit && !resident && (fault->args.flags & PGL_FAULT_FLAG_RESIDENT) == 0;
    fault->hit = false;
}

/* Where the fault begins, or begins again. */
static inline void pgl_fault_go_to_top(struct pgl_fault *fault)
{
    fault->object = fault->place.object;
    fault->index = fault->place.index;
    fault->first = fault->place.first;
    fault->last = fault->place.last;
    fault->no_data = false;
}

/*
 * The steps: each is entered with fault->object locked and leaves nothing locked. Returns true when the fault is done,
 * with its result; false when it goes on, or waits if fault->waiting says so.
 */

bool pgl_fault_fail(struct pgl_fault *fault, enum pgl_fault_result result);
bool pgl_fault_unlock_and_fail(struct pgl_fault *fault, enum pgl_fault_result result);
bool pgl_fault_wait(struct pgl_fault *fault, struct pgl_waiter **queue);
bool pgl_fault_found(struct pgl_fault *fault, struct pgl_object_page page);
bool pgl_fault_ask(struct pgl_fault *fault, struct pgl_object_page page);
bool pgl_fault_copy_up(struct pgl_fault *fault);
bool pgl_fault_end_of_chain(struct pgl_fault *fault);
bool pgl_fault_go_down(struct pgl_fault *fault);
bool pgl_fault_back_to_top(struct pgl_fault *fault);

#endif
