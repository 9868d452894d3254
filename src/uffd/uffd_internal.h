/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The types that the files of the userfaultfd pager share, and their functions by file. Calls go down only:
 *
 *   uffd.c      the calls
 *   adopt.c     processes that have sent their userfaultfd
 *   prefetch.c  pages that are brought before they are touched
 *   record.c    regions whose faults are recorded, or follow a recording
 *   self.c      threads that serve their own faults
 *   handler.c   the handler threads
 *   serve.c     one fault from its message to its answer
 *   follow.c    the processor that a handler runs on
 *   bad_page.c  pages that failed() wants tried again
 *   wait.c      faults that wait for a source's answer
 *   request.c   what sources are asked for, and their answers
 *   copy.c      how the pages of clusters get into memory: the pager of the fault driver
 *   answer.c    what is done for one page that faulted, and the wake-up of its thread
 *   latency.c   histograms of times
 *   meter.c     what faults and pages cost
 *   event.c     remove, unmap, remap, fork
 *   dirty.c     which pages were written, by epochs
 *   limit.c     regions that keep a limited number of pages in memory
 *   scratch.c   memory that pages are moved to when they are given back
 *   space.c     one address space: its userfaultfd, its map, its end
 *   region.c    what a region shows: its source, and its policies
 *   source.c    the files, and what is read from them
 *   mapping.c   a file in the memory of this process
 *   memory.c    the memory of a region
 *   open.c      the ways to a userfaultfd
 *   proc_maps.c the kernel's list of mappings
 *   pagemap.c   the kernel's table of pages, and its record of written ones
 *   arena.c     a heap that is not malloc()
 *
 * Private.
 */
#ifndef PGL_UFFD_UFFD_INTERNAL_H
#define PGL_UFFD_UFFD_INTERNAL_H

#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <pagelock/fault.h>
#include <pagelock/uffd.h>

#include "arena_internal.h"
#include "linux_internal.h"
#include "source_internal.h"
#include "../fault/map_internal.h"

#define PGL_UFFD_HUGE_SIZE ((size_t)2 << 20)
#define PGL_UFFD_ZERO_PAGES 64
#define PGL_UFFD_BATCH 64      /* messages that one read returns at most, to the only handler or at the end */
#define PGL_UFFD_ENOUGH 100    /* attempts to find a moment in which no thread changes memory */
#define PGL_UFFD_PAUSE_US 1000 /* between two attempts */

/* The numbers by which epoll reports a descriptor: a space's number, or one of these. */
enum {
    PGL_UFFD_NUMBER_STOP = 0,
    PGL_UFFD_NUMBER_TIMER = 1,
    PGL_UFFD_NUMBER_LATE = 2,
    PGL_UFFD_NUMBER_LAST = PGL_UFFD_NUMBER_LATE,
};

/* Requests to sources, and the faults that wait for answers. request.c and wait.c have the protocol. */
struct pgl_late {
    pthread_mutex_t lock;
    pthread_cond_t left; /* a user */
    int event;           /* readable once for each fault on the list `ready` */
    struct pgl_uffd_request *requests;
    uint64_t nrequests;
    unsigned users; /* threads that answer */
    bool closed;    /* no thread answers any more */
    bool freed;     /* the pager is gone, but for the memory of its requests */
    struct pgl_wait *waits;
    struct pgl_wait *ready;
};

/* The contents of one region: the pager of an object. region.c has its protocol. */
struct pgl_shown {
    struct pgl_source *source;     /* referenced */
    struct pgl_pager_range range;  /* the source's pages that the region shows; each bit below is of one of them */
    enum pgl_uffd_remedy on_error; /* not PGL_UFFD_DEFAULT */
    uint64_t *removed;  /* a bit for each page that was given back; NULL: they show the source again. Atomic */
    uint64_t *dirty;    /* a bit for each page that was written; dirty.c has its protocol. NULL: no record. Atomic */
    uint64_t *poisoned; /* and for each page that was poisoned; with `dirty` */
    uint64_t *leaving;  /* and for each page that was given back and may not be gone yet; with `dirty` */
    bool mincore_tells; /* whether mincore() tells which of these are gone; with `dirty` */
    struct pgl_limit *limit; /* or NULL: pages stay */
    uint64_t unit;           /* pages that the kernel maps at a time: 1, or those of a huge page */
};

/* The bytes of consecutive pages. */
enum pgl_run {
    PGL_RUN_DATA,
    PGL_RUN_HOLE,    /* of the file: zeros if the file still reaches there */
    PGL_RUN_REMOVED, /* zeros, whatever the source has */
};

/* An address space that faults: this process, one that was adopted, or a child that either has forked. */
struct pgl_space {
    struct pgl_space *next;
    uint64_t number;
    uint64_t process;      /* the number of the adopted space that it is, or is forked from; 0: this process's */
    bool ended;            /* atomic: its process has, or it was disowned */
    unsigned refs;         /* protected by the pager's lock, as are the next two */
    uint64_t parked_first; /* parked threads wait between these addresses; none while parked_first > parked_last */
    uint64_t parked_last;
    int fd;
    struct pgl_map *map;
};

/* The addresses of pages that one fault has installed, and of some between them. */
struct pgl_put {
    uint64_t first;
    uint64_t last;
};

/* The costs of faults, as far as they are known. Sums over requests; each counts less the older it is. */
struct pgl_meter {
    pthread_mutex_t lock;
    struct pgl_costs given; /* by the configuration; 0: measured */
    uint64_t nrequests;
    double weight;
    double pages;
    double ns;
    double pages_pages;
    double pages_ns;
    double per_request; /* nanoseconds, of a request of no pages */
    double per_page;
    unsigned ngaps; /* since shortest_ns began */
    uint64_t shortest_ns;
    uint64_t shortest_before_ns;
};

#define PGL_FOLLOW_GAPS 32 /* times by which a handler decides whether it follows */

/* The processor of a handler, and the thread because of which it is there. */
struct pgl_follow {
    bool able;             /* it has more than one processor to choose from */
    bool raised;           /* its priority was raised */
    int nice;              /* before that */
    cpu_set_t allowed;     /* the processors that it may use */
    cpu_set_t set;         /* its affinity as it has set or found it last */
    int processor;         /* the one that it stays on, or -1 */
    uint32_t thread;       /* the thread of the last fault, or 0: several */
    uint64_t faults;       /* of this thread, in a row */
    uint64_t next_look_ns; /* when to look where the thread runs */
    int target;            /* the processor that it moves to when it has woken the thread again, or -1 */
    unsigned vain;         /* moves in a row after which the thread was elsewhere */
    bool only;             /* the pager has no other handler */
    bool leaves;           /* its place is left to the scheduler */
    uint64_t answered_ns;  /* when the thread was woken last, or 0 */
    uint64_t cost_ns[2];   /* of a hand-over if the handler follows, and if it leaves; 0: unknown */
    uint64_t forget_ns;    /* when the cost of the other way is to be forgotten */
    unsigned ngaps;        /* times so far, in ascending order: */
    uint64_t gap_ns[PGL_FOLLOW_GAPS];
};

/* Memory that pages are moved to when they are given back. Protected by the layout, held for writing. */
struct pgl_scratch {
    void *memory; /* or NULL */
    size_t used;  /* pages */
    bool registered;
};

/* A handler thread. */
struct pgl_handler {
    struct pgl_uffd *uffd;
    pthread_t thread;
    struct pgl_follow follow;
    struct pgl_fault *fault;
    unsigned char *buffer;              /* holds the widest cluster */
    uint32_t last_thread;               /* of the fault that was answered last, or 0 */
    uint64_t answered_ns;               /* when that was */
    struct pgl_put put[PGL_UFFD_BATCH]; /* one for each fault of the batch that was handled */
    uint64_t epoch;                     /* of the pager when the batch was read */
    uint64_t moment;                    /* and its count of reads before that one */
    unsigned nput;
    unsigned patience; /* waits before it reads on again without one */
};

/* A pager. */
struct pgl_uffd {
    struct pgl_uffd_config config;
    pid_t maker; /* the process whose memory it fills */
    struct pgl_advice_table table;
    uint64_t widest; /* pages of the widest cluster */
    size_t page_size;
    uint64_t features; /* UFFD_FEATURE_... of the kernel */
    bool protects;     /* pages come write-protected */
    bool withholds;    /* the first write to a page is a fault; otherwise the kernel keeps a record of it */
    int pagemap;       /* the kernel's table of pages, which has that record; or -1 */
    uint64_t epoch;    /* how often pages were protected again; protected by the layout */
    struct pgl_scratch scratch;
    int epoll;
    int stop;                   /* readable when the handlers are to end */
    int timer;                  /* readable when the bad pages are due */
    const unsigned char *zeros; /* PGL_UFFD_ZERO_PAGES pages */
    void *unreadable;           /* a page */
    int spare;                  /* a descriptor to close when a fork's event needs one and there is no other; or -1 */
    struct pgl_space *self;
    struct pgl_arena arena; /* the heap of everything that handlers allocate, or that is allocated under the lock */
    struct pgl_files files; /* shown by regions */
    struct pgl_late late;
    struct pgl_handler *handlers;
    unsigned nhandlers;            /* running */
    struct pgl_self *self_service; /* NULL: faults come to the handlers */
    size_t share; /* messages that a handler reads at a time: with several handlers one, so that none waits */

    pthread_mutex_t lock;
    pthread_cond_t unused; /* nothing but its list holds an adopted space any more */
    struct pgl_space *spaces;
    uint64_t last_number;
    uint64_t moment;                /* how often handlers have read messages; atomic: also read without the lock */
    struct pgl_bad_page *bad_pages; /* atomic: also read without the lock. The timer runs while the list has a page */
    bool ending;                    /* atomic: give up after some attempts that the kernel refused */
    pthread_rwlock_t layout;        /* of every space's map */
    struct pgl_meter meter;

    struct pgl_uffd_stats stats; /* each count is atomic */
};

static inline void pgl_count(uint64_t *counter, uint64_t n)
{
    __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

static inline uint64_t pgl_least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* uffd.c */

/* Make an object that shows what a region does. Returns a reference, or NULL with errno. */
struct pgl_object *pgl_uffd_show(struct pgl_uffd *uffd, const struct pgl_uffd_region *region);

/* self.c */

struct pgl_self;

/* Whether the handler of a signal has enough stack on the calling thread, as far as the kernel tells. */
bool pgl_self_has_stack(void);

/* Have threads serve their own faults. Returns 0 or an errno. */
int pgl_self_start(struct pgl_uffd *uffd);

/* Wait for the threads that serve themselves. Others wait in the signal's handler until the memory is plain. */
void pgl_self_end(struct pgl_self *self);

/* The pager has ended, and its memory is released. */
void pgl_self_free(struct pgl_self *self);

/* handler.c */

/* Make what a handler needs to serve a fault. Returns false when there is no memory. */
bool pgl_handler_init(struct pgl_uffd *uffd, struct pgl_handler *handler);
void pgl_handler_fini(struct pgl_handler *handler);

/* Start a handler thread. Returns 0 or an errno. */
int pgl_handler_start(struct pgl_uffd *uffd, struct pgl_handler *handler);

/* serve.c */

struct pgl_wait;

/* The outcome of a fault. */
enum pgl_served {
    PGL_SERVED_WOKEN,    /* its thread tries its access again */
    PGL_SERVED_PUT_OFF,  /* its thread waits until the page is tried again */
    PGL_SERVED_POISONED, /* its thread gets SIGBUS when it tries again */
    PGL_SERVED_LATER,    /* its thread goes on when a source has answered, or did already */
};

/* Serve a fault. @message: the kernel's, read at @start_ns. */
enum pgl_served pgl_handler_fault(struct pgl_handler *handler, struct pgl_space *space, const struct uffd_msg *message,
                                  uint64_t start_ns);

/* Begin with a fault that may wait for its source, or go on with it. */
void pgl_handler_continue(struct pgl_handler *handler, struct pgl_wait *wait);

/* follow.c */

/* Look up the processors of the calling handler, and raise its priority. @only: the pager has no other handler. */
void pgl_follow_start(struct pgl_follow *follow, bool only);

/*
 * The calling handler has read a fault of a thread, and answered it, or not yet: then @answered_ns is 0. Thread 0
 * stands for several.
 */
void pgl_follow_fault(struct pgl_follow *follow, uint32_t thread, uint64_t read_ns, uint64_t answered_ns);

/* bad_page.c */

/* Whether the page failed and is not due yet. */
bool pgl_bad_page_is_listed(struct pgl_uffd *uffd, const struct pgl_space *space, uint64_t addr);

/* Leave the threads that wait for a page asleep until the timer expires. Returns false when there is no memory. */
bool pgl_bad_page_add(struct pgl_uffd *uffd, struct pgl_space *space, uint64_t addr);

/* Empty the list and wake the threads. The pager's lock is held, or no handler is left. */
void pgl_bad_page_wake_all(struct pgl_uffd *uffd);

/* Wake the threads when the timer has expired. No lock is held. */
void pgl_bad_page_expire(struct pgl_uffd *uffd);

/* answer.c */

uint64_t pgl_now_ns(void);

/* latency.c */

/* Returns the bucket of a histogram for a time. */
unsigned pgl_latency_bucket(uint64_t ns);

/* meter.c */

/* Returns false when there is no memory. */
bool pgl_meter_init(struct pgl_meter *meter, const struct pgl_costs *given, struct pgl_uffd_stats *stats);
void pgl_meter_fini(struct pgl_meter *meter);

/* A request for some pages took a time, until its thread was woken. */
void pgl_meter_request(struct pgl_meter *meter, uint64_t npages, uint64_t ns, struct pgl_uffd_stats *stats);

/* A thread was woken, and this time later a handler had its next fault. */
void pgl_meter_handover(struct pgl_meter *meter, uint64_t ns);

/* Have an object decide by the costs in the statistics. */
void pgl_meter_tell(const struct pgl_uffd_stats *stats, struct pgl_object *object);

/* event.c */

/* Open a descriptor to keep in reserve, or return -1. It is a file of its own because files may run out as well. */
int pgl_event_open_spare(void);

/*
 * Read up to @max messages of a space, and return how many there were. If the kernel lacks a descriptor or memory for a
 * fork's event, the event stays unread and is not reported again; therefore this function retries until it has read it.
 * Both locks are held; they are unlocked for a pause when closing the spare descriptor did not help.
 */
size_t pgl_event_read(struct pgl_uffd *uffd, const struct pgl_space *space, struct uffd_msg *messages, size_t max);

/* Apply an event to the maps, and ignore a page fault. Both locks are held, the layout for writing. */
void pgl_event_apply(struct pgl_uffd *uffd, struct pgl_space *space, const struct uffd_msg *message);

/* Release the threads that wait until their event is read. No handler is left, and nothing is registered. */
void pgl_event_read_last(const struct pgl_uffd *uffd, const struct pgl_space *space);

/* space.c */

/* Free the memory of a pager that has ended. */
void pgl_uffd_destroy(struct pgl_uffd *uffd);

/* Lock the pager, and the layout for writing. */
void pgl_uffd_lock(struct pgl_uffd *uffd);
void pgl_uffd_unlock(struct pgl_uffd *uffd);

/* Make an empty map for a space. Returns NULL when there is no memory. */
struct pgl_map *pgl_space_map_new(struct pgl_uffd *uffd);

/*
 * Add a space to the list. It owns the descriptor, which is closed on failure, and the map, which is freed then. Without
 * a map it fails. Returns NULL with errno. The pager's lock is held, or no other thread knows the pager yet.
 */
struct pgl_space *pgl_space_add(struct pgl_uffd *uffd, int fd, struct pgl_map *map);

/* Add a reference, and drop one. No lock is held; for the last function the pager's is. */
void pgl_space_ref(struct pgl_uffd *uffd, struct pgl_space *space);
void pgl_space_unref(struct pgl_uffd *uffd, struct pgl_space *space);
void pgl_space_unref_locked(struct pgl_uffd *uffd, struct pgl_space *space);

/* Take a space off the list. Handlers that work on it still hold it. The pager's lock is held. */
void pgl_space_drop(struct pgl_uffd *uffd, struct pgl_space **link);

/*
 * Drop the forked children that have ended. Nothing reports their end; therefore this is called at every fork. The
 * pager's lock is held.
 */
void pgl_space_drop_ended(struct pgl_uffd *uffd);

/*
 * Ask for a page that cannot be installed. Returns the errno: EAGAIN while a thread changes memory and its event is
 * unread or the thread is still in the kernel, ESRCH when the process has ended.
 */
int pgl_space_probe(const struct pgl_uffd *uffd, const struct pgl_space *space);

/* Whether the process has ended, or was disowned. The caller holds the space. */
bool pgl_space_has_ended(const struct pgl_uffd *uffd, struct pgl_space *space);

/*
 * Ask a userfaultfd to copy to an address from a page that cannot be read. Returns the errno: EFAULT when everything
 * but the page was in order.
 */
int pgl_space_try_copy(const struct pgl_uffd *uffd, int fd, uint64_t addr, uint64_t length);

/*
 * Unregister all memory of a space. Closing its userfaultfd is not enough, because a forked child may hold it, too. The
 * memory of an adopted space stays registered, because that is its own process's affair. Its threads that wait try
 * their accesses again.
 */
void pgl_space_unregister(const struct pgl_uffd *uffd, const struct pgl_space *space);

/* Take a space off the list, and keep the list's reference. The pager's lock is held. */
void pgl_space_unlink(struct pgl_uffd *uffd, struct pgl_space **link);

/* Make an object of what a region shows, which it owns from then on. Returns NULL when there is no memory. */
struct pgl_object *pgl_uffd_object_new(struct pgl_uffd *uffd, const struct pgl_pager_ops *pager_ops,
                                       struct pgl_shown *shown, enum pgl_advice advice);

/* Fill in the first part of an entry in [*first, last], and move *first behind it. Returns false at the end. */
bool pgl_space_next_part(const struct pgl_space *space, uint64_t *first, uint64_t last, struct pgl_map_entry *part);

/* Whether all pages of a range have an entry. The layout is locked. */
bool pgl_space_shows_all(const struct pgl_space *space, uint64_t first, uint64_t last);

/* Whether this process has made the pager. Otherwise it is a forked child with a copy (S4): errno is ESRCH. */
bool pgl_uffd_is_ours(const struct pgl_uffd *uffd);

/* Convert a range to page numbers. Returns false with EINVAL: empty, or not page-aligned; ESRCH: a forked child. */
bool pgl_uffd_to_pages(const struct pgl_uffd *uffd, const void *addr, size_t length, uint64_t *first, uint64_t *last);

/*
 * Remove a page from its object, because the kernel did not have it at the moment when a message was read. Returns
 * false if it may have come since (R7). The layout is locked.
 */
bool pgl_space_forget(struct pgl_space *space, uint64_t index, uint64_t moment);

/* These pages are about to leave the map. The layout is locked for writing. */
void pgl_space_note_unmapped(const struct pgl_space *space, uint64_t first, uint64_t last);

/* Remove pages that the program has given back from their objects. The layout is locked for writing. */
void pgl_space_give_back(struct pgl_space *space, uint64_t first, uint64_t last);

/* region.c */

/* Returns NULL with errno when the region cannot be filled that way. */
struct pgl_shown *pgl_shown_new(struct pgl_uffd *uffd, const struct pgl_uffd_region *region);

/*
 * The same for pages [first, last] of a region, in a forked child or where memory was moved to; with or without a
 * record of written pages, which is empty. Returns NULL when there is no memory.
 */
struct pgl_shown *pgl_shown_copy(const struct pgl_shown *shown, uint64_t first, uint64_t last, bool records);

void pgl_shown_free(struct pgl_shown *shown);

/* The pages [first, last] of the object are to leave the map, or were given back. The layout is locked for writing. */
void pgl_shown_note_unmapped(struct pgl_shown *shown, uint64_t first, uint64_t last);
void pgl_shown_give_back(struct pgl_shown *shown, uint64_t first, uint64_t last);

/* Whether one of these pages of the source shows zeros because it was given back. Exact while the layout is locked. */
bool pgl_shown_was_given_back(const struct pgl_shown *shown, uint64_t first, uint64_t npages);

/* Returns the part of a range around a page whose bytes come from one place, and which that is. */
struct pgl_pager_range pgl_shown_find_run(const struct pgl_shown *shown, struct pgl_pager_range range, uint64_t page,
                                          enum pgl_run *kind);

/* memory.c */

/*
 * Returns 0 when a region is all memory of its kind, or an errno: EFAULT, EINVAL, EBUSY, ENOMEM, or EOPNOTSUPP when the
 * kernel cannot fill it, or when its pages cannot be zeros after they were given back.
 */
int pgl_memory_check(const struct pgl_uffd *uffd, const struct pgl_uffd_region *region);

/* Whether mincore() knows each page of a region that is in memory, and none of its pages can be swapped out unseen. */
bool pgl_memory_is_told_by_mincore(const struct pgl_uffd_region *region);

/*
 * Empty the range and register it as the configuration says. After an errno it is as it was, or empty. EAGAIN: a thread
 * changes memory at this moment, and its event is unread.
 */
int pgl_memory_claim(const struct pgl_uffd *uffd, const struct uffdio_range *range, enum pgl_uffd_memory memory);

/* Undo pgl_memory_claim(), but keep the pages. Returns 0, or an errno when some of it is still to be undone. */
int pgl_memory_release(int uffd, const struct uffdio_range *range, const struct pgl_uffd_config *config);

/* proc_maps.c */

/*
 * Have found() called for each mapping of this process, in ascending order. Returns false when the kernel's list cannot
 * be read to its end.
 */
bool pgl_proc_maps_walk(void (*found)(void *arg, uint64_t start, uint64_t end, bool shared), void *arg);

/* open.c */

/*
 * Returns a userfaultfd of the form that the pager's configuration asks for, or -1 with errno. Sets how the pager
 * protects pages.
 */
int pgl_uffd_open(struct pgl_uffd *uffd);

/* pagemap.c */

/* Returns a descriptor of the kernel's table of this process's pages, or -1 when it has none that can be scanned. */
int pgl_pagemap_open(void);

/*
 * Find the written pages between two addresses, and protect them: found() gets their ranges in ascending order. Returns
 * 0 or an errno.
 */
int pgl_pagemap_take(int pagemap, uint64_t start, uint64_t end, void (*found)(void *arg, uint64_t start, uint64_t end),
                     void *arg);

/* As pgl_pagemap_take(), but find the pages that are in memory, or swapped out, and leave them as they are. */
int pgl_pagemap_find(int pagemap, uint64_t start, uint64_t end, void (*found)(void *arg, uint64_t start, uint64_t end),
                     void *arg);

#endif
