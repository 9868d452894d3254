/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One fault on its way from its message to its answer. Private. */
#ifndef PGL_UFFD_DELIVERY_INTERNAL_H
#define PGL_UFFD_DELIVERY_INTERNAL_H

#include "../fault/object_internal.h"
#include "uffd_internal.h"

/*
 * One page fault on its way through the driver: its cookie. The pages of a cluster are at the same distances in memory
 * as in the file, because a cluster never leaves its entry.
 */
struct pgl_delivery {
    struct pgl_uffd *pager;
    struct pgl_space *space;        /* the address space that faulted */
    uint64_t start_ns;              /* when the message was read */
    uint64_t epoch;                 /* of the pager at that moment */
    uint64_t moment;                /* the count of reads before that of the message */
    uint64_t *latency;              /* the histogram of faults of its kind */
    uint64_t npages;                /* that were read together with the page; 0: none */
    uint64_t answered_ns;           /* when the thread was woken */
    uint64_t addr;                  /* the page that faulted */
    uint64_t unit;                  /* of the region; 1 for memory of no region */
    unsigned char *buffer;          /* holds the widest cluster */
    bool *claim;                    /* atomic: set by the one that counts the answer; or NULL: there is no other */
    struct pgl_uffd_request *asked; /* the last request of this fault, referenced; or NULL */
    uint64_t put_first;             /* between these addresses pages were installed; none while put_first > put_last */
    uint64_t put_last;
    struct pgl_wake_list *offered; /* the driver's faults whose pages a source has supplied; NULL: no source has */
    struct pgl_place place;
    int error;      /* the reason why the demand page could not be read or installed */
    unsigned tries; /* for which there was no memory */
    bool placed;    /* the map had an entry at addr before the fault was handled; `place` is its copy */
    bool protected; /* the page was there, and the fault a write to it */
    bool writes;    /* the fault was a write */
    bool present;   /* the page is there, and only this mapping lacks it: a minor fault */
    bool alone;     /* the thread has caused the fault before, too, and there is no other handler */
    bool begun;     /* pages were asked for, once at least */
    bool answered;  /* the faulting thread was woken */
    bool failed;    /* its page could not be read once, maybe because of a neighbour */
    bool put_off;   /* the faulting thread sleeps until its page is due */
    bool poisoned;  /* the page was */
    bool no_room;   /* the kernel had no memory to install the page in */
};

/* Whether the pager or the space ends: nobody waits for more than has been done. */
static inline bool pgl_delivery_is_ending(const struct pgl_delivery *delivery)
{
    return __atomic_load_n(&delivery->pager->ending, __ATOMIC_RELAXED) ||
           __atomic_load_n(&delivery->space->ended, __ATOMIC_RELAXED);
}

/* The first page of the object that the kernel maps together with the page of the fault, which is placed. */
static inline uint64_t pgl_delivery_first(const struct pgl_delivery *delivery)
{
    return delivery->place.index - delivery->place.index % delivery->unit;
}

/* The contents of the region that an object shows. */
static inline const struct pgl_shown *pgl_shown_of(const struct pgl_object *object)
{
    return object->config.pager;
}

/* answer.c */

/* Install a zero page at the fault's address unless there is another page by now. Returns whether it did. */
bool pgl_delivery_zero(struct pgl_delivery *delivery);

/* Poison the fault's address unless there is a page by now. Returns whether it did. */
bool pgl_delivery_poison(struct pgl_delivery *delivery);

/* Show the page of a minor fault, if the map still shows the same one. */
void pgl_delivery_show(struct pgl_delivery *delivery);

/* Remove the write protection of the page if the map still shows the same one. Returns 0 or an errno. */
int pgl_delivery_unprotect(struct pgl_delivery *delivery);

/* Wake the faulting thread, which tries its access again, and count the answer if it is the first. */
void pgl_delivery_wake(struct pgl_delivery *delivery);

/* Count the answer if the faulting page is among these, unless another thread does. */
void pgl_delivery_note_answer(struct pgl_delivery *delivery, uint64_t addr, uint64_t length);

/* Wake every thread that waits for these pages. Everything about them has been counted. */
void pgl_delivery_wake_pages(struct pgl_delivery *delivery, uint64_t addr, uint64_t length);

/*
 * Ask the kernel once to install pages of data, or of zeros when @data is NULL. Returns the number of bytes that it
 * installed, or 0 with errno. No thread is woken.
 */
uint64_t pgl_delivery_make_pages(int fd, uint64_t addr, const unsigned char *data, uint64_t length, bool protects);

/* As pgl_delivery_make_pages(), for pages that are there already, and that this mapping lacks. */
uint64_t pgl_delivery_show_pages(int fd, uint64_t addr, uint64_t length, bool protects);

/*
 * Whether the map shows the same at the page as when its fault began, and not something that was mapped since, or
 * nothing. While the layout is locked it stays so.
 */
bool pgl_delivery_is_same(const struct pgl_delivery *delivery);

/* Pages between these addresses were installed. */
void pgl_delivery_note_put(struct pgl_delivery *delivery, uint64_t first, uint64_t last);

/* As pgl_delivery_unprotect(), once; EAGAIN while an event is unread. @arg is ignored. */
int pgl_delivery_try_unprotect(struct pgl_delivery *delivery, void *arg);

/* copy.c */

extern const struct pgl_pager_ops pgl_uffd_pager_ops;

/* Bring the run around a page of the request, and return it in *run. Returns 0 or an errno. */
int pgl_delivery_bring(struct pgl_delivery *delivery, const struct pgl_request *request, uint64_t page,
                       struct pgl_pager_range *run);

/*
 * Install pages that somebody has supplied: @data, or zeros when it is NULL. Pages of the request that cannot be
 * installed are taken back, and their faults try again. The caller wakes the faults in @delivery->offered. Returns 0 or
 * an errno: EFAULT when the data cannot be read.
 */
int pgl_delivery_offer(struct pgl_delivery *delivery, const struct pgl_request *request, uint64_t first,
                       uint64_t npages, const void *data);

/* event.c */

/*
 * Call attempt(), which asks the kernel for something, until the kernel does not refuse it with EAGAIN because an event
 * is unread; read the events between the attempts. Threads that fault meanwhile sleep until the last attempt. No lock
 * is held. Returns the last result of attempt(): EAGAIN only when the pager ends.
 */
int pgl_delivery_persist(struct pgl_delivery *delivery, int (*attempt)(struct pgl_delivery *delivery, void *arg),
                         void *arg);

/* dirty.c */

/* The page of the fault has no protection any more. The layout is locked for reading since before that. */
void pgl_dirty_note(const struct pgl_delivery *delivery);

/* The page of the fault was poisoned. The layout is locked for reading since before that. */
void pgl_dirty_note_poison(const struct pgl_delivery *delivery);

/* Pages of an object were installed where none were, or poison. The layout is locked for reading since before that. */
void pgl_dirty_note_installed(const struct pgl_object *object, uint64_t index, uint64_t npages);

/* As pgl_dirty_note_installed(), of pages that were in memory, and that this mapping lacked. */
void pgl_dirty_note_shown(const struct pgl_object *object, uint64_t index, uint64_t npages);

/* The pages of an entry were moved, and another object shows them and no others. The layout is locked for writing. */
void pgl_dirty_note_moved(const struct pgl_map_entry *from, const struct pgl_object *to);

/* These pages were given back. The layout is locked for writing. */
void pgl_dirty_note_removed(struct pgl_space *space, uint64_t first, uint64_t last);

#endif
