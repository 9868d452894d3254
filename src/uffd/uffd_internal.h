/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of the userfaultfd pager share: the handlers and events (uffd.c), the pages (uffd_pages.c), the files
 * that are shown (uffd_source.c), the memory that shows them (uffd_memory.c), and the userfaultfd (uffd_open.c).
 */
#ifndef PGL_UFFD_UFFD_INTERNAL_H
#define PGL_UFFD_UFFD_INTERNAL_H

#include <linux/userfaultfd.h>
#include <sys/types.h>

#include <pagelock/fault.h>
#include <pagelock/uffd.h>

#include "arena_internal.h"
#include "../fault/map_internal.h"

/* An open file, of all sources that read it. */
struct file {
    struct file *next;
    unsigned refs; /* belongs to the lock of the list */
    int fd;
    bool own; /* a description of the pager's own, whose offset is nobody's */
    dev_t dev;
    ino_t ino;
    int flags; /* those of open() that tell it from others of the same inode */
};

struct files {
    pthread_mutex_t lock;
    struct arena *arena; /* where they, and their sources, live */
    struct file *first;
};

/* A part of a file that some memory shows: the pager of an object. A forked child's object shares it. */
struct source {
    struct files *files;
    struct file *file;             /* referenced */
    unsigned refs;                 /* atomic */
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

bool pgl_files_init(struct files *files, struct arena *arena);

/* Every source has gone. */
void pgl_files_fini(struct files *files);

/* Returns NULL, with errno, when pages of the file from offset on cannot be shown. One reference. */
struct source *pgl_source_new(struct files *files, int fd, uint64_t offset, uint64_t length, size_t page_size);
void pgl_source_unref(struct source *source);

uint64_t pgl_now_ns(void);

/*
 * Calls attempt(), which asks the kernel for something, until the kernel does not refuse it (EAGAIN) because an event
 * is to be read first: reads the events between the attempts. Threads that fault meanwhile sleep until the attempt is
 * over. No lock is held. Returns what attempt() has returned last: EAGAIN only where the pager ends.
 */
int pgl_delivery_persist(struct delivery *delivery, int (*attempt)(struct delivery *delivery, void *arg), void *arg);

/* Returns a userfaultfd of the form that the configuration asks for, or -1 with errno. */
int pgl_uffd_open(const struct pgl_uffd_config *config);

/* Returns 0 where the range is all private anonymous memory, or EFAULT, EINVAL or ENOMEM. */
int pgl_memory_check(const struct uffdio_range *range);

/* Registers the range, empty, as the configuration says. Returns 0, or an errno where it stays as it was, or empty. */
int pgl_memory_claim(int uffd, const struct uffdio_range *range, const struct pgl_uffd_config *config,
                     size_t page_size);

/* Undoes that; what is there stays. Returns 0, or an errno when there is something left to be undone. */
int pgl_memory_release(int uffd, const struct uffdio_range *range, const struct pgl_uffd_config *config);

/* Puts a zero page where the fault was, unless something else is there by now. Returns whether it made one. */
bool pgl_delivery_zero(struct delivery *delivery);

/* Removes the write protection of the page, if it is still the same one. Returns 0 or an errno. */
int pgl_delivery_unprotect(struct delivery *delivery);

/* Wakes the faulting thread, which looks again, and counts the answer if it is the first. */
void pgl_delivery_wake(struct delivery *delivery);

#endif
