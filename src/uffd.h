/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the userfaultfd pager's two files share: the handlers and events (uffd.c), and the pages (uffd_pages.c). */
#ifndef PGL_SRC_UFFD_H
#define PGL_SRC_UFFD_H

#include <pagelock/fault.h>
#include <pagelock/uffd.h>

#include "arena.h"
#include "map.h"

/* A part of a file that some memory shows: the pager of an object. A forked child's object shares it. */
struct source {
    struct arena *arena; /* where it lives */
    unsigned refs;       /* atomic */
    int fd;
    uint64_t size;                 /* bytes of the file when mapped: what is missing of them later is an error */
    struct pgl_pager_range range;  /* the file's pages */
    struct pgl_pager_range *holes; /* of whole pages, when mapped: ascending */
    size_t nholes;
};

struct space;

/*
 * One page fault on its way through the driver: its cookie. The pages of a cluster are at the same distances in memory
 * as in the file, since a cluster never leaves its entry.
 */
struct delivery {
    struct pgl_uffd *pager;
    struct space *space;          /* the address space that faulted */
    struct pgl_uffd_stats *stats; /* each count is atomic */
    pthread_rwlock_t *layout;     /* held for reading while pages are put where the map shows them */
    struct pgl_map *map;          /* the space's */
    int uffd;                     /* the space's */
    uint64_t start_ns;            /* when the message was read */
    uint64_t addr;                /* the page that faulted */
    bool placed;                  /* the map showed something there, before anything was done about it: */
    struct place place;
    bool protected; /* the page was there, and the fault a write to it */
    bool writes;    /* the fault was a write */
    bool write_protect;
    size_t page_size;
    unsigned char *buffer; /* holds the widest cluster */
    bool answered;         /* the faulting thread was woken */
    bool put_off;          /* it sleeps on until its page is due */
    uint64_t put_first;    /* addresses of what was put in place, about; none while put_first > put_last */
    uint64_t put_last;
    int error; /* why the demand page could not be had */
};

extern const struct pgl_pager_ops pgl_uffd_pager_ops;

static inline void count(uint64_t *counter, uint64_t n)
{
    __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

/* Returns NULL, with errno, when pages of the file from offset on cannot be shown. One reference. */
struct source *pgl_source_new(struct arena *arena, int fd, uint64_t offset, uint64_t length, size_t page_size);
void pgl_source_unref(struct source *source);

uint64_t pgl_now_ns(void);

/*
 * Calls attempt(), which asks the kernel for something, until the kernel does not refuse it (EAGAIN) because an event
 * is to be read first: reads the events between the attempts. Threads that fault meanwhile sleep until the attempt is
 * over. No lock is held. Returns what attempt() has returned last: EAGAIN only where the pager ends.
 */
int pgl_delivery_persist(struct delivery *delivery, int (*attempt)(struct delivery *delivery, void *arg), void *arg);

/* Puts a zero page where the fault was, unless something else is there by now. Returns whether it made one. */
bool pgl_delivery_zero(struct delivery *delivery);

/* Removes the write protection of the page, if it is still the same one. Returns 0 or an errno. */
int pgl_delivery_unprotect(struct delivery *delivery);

/* Wakes the faulting thread, which looks again, and counts the answer if it is the first. */
void pgl_delivery_wake(struct delivery *delivery);

#endif
