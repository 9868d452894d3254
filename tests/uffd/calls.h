/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The calls between the userfaultfd pager and the kernel: each returns an error, does less than it was asked to, or
 * waits, as a test says. Programs that link it are linked with --wrap for each call that calls.c wraps.
 */
#ifndef PGL_TESTS_UFFD_CALLS_H
#define PGL_TESTS_UFFD_CALLS_H

#include <sys/types.h>

#include "pages.h"

#define NPAGES 64

enum call {
    CALL_NONE,
    CALL_EPOLL_CREATE,
    CALL_EPOLL_CTL,
    CALL_EPOLL_WAIT,
    CALL_EVENTFD,
    CALL_FCNTL,
    CALL_FSTAT,
    CALL_IOCTL,
    CALL_LSEEK,
    CALL_MADVISE,
    CALL_MINCORE,
    CALL_MMAP,
    CALL_MPROTECT,
    CALL_MSYNC,
    CALL_MUNLOCK,
    CALL_OPEN,
    CALL_PREAD,
    CALL_READ,
    CALL_THREAD,
    CALL_TIMERFD,
    CALL_USERFAULTFD,
};

/* Of the thread that calls the library: its call number `at` (from 1) fails. */
struct failing_call {
    unsigned n, at;
    int error;
    enum call call;        /* which that is */
    unsigned long request; /* of an ioctl(), the advice of a madvise(), the command of a fcntl() */
};

extern struct failing_call mine;
extern __thread bool is_mine;

/* Called before each ioctl() that is no failure; or NULL. */
extern void (*before_ioctl)(unsigned long request);

#define LIE (-2)

/* Of the file. Both atomic. */
extern off_t bad_offset;  /* a page that cannot be read */
extern off_t slow_offset; /* a page that is read slowly: SLOW_NOW once that has begun, it ends when that changes */

#define SLOW_NOW (-2)

extern off_t told_size;   /* the size that each file is said to have, or -1. Atomic. */
extern bool told_foreign; /* each file is said to belong to another user */

/* Of the clock, in nanoseconds, while it is stopped: it goes on with each read of the file. Both atomic. */
extern bool clock_stopped;
extern uint64_t clock_now, read_takes;

/* While the gate is closed every read of the file waits: so many of them are at it. Both atomic. */
extern bool gate_closed;
extern unsigned at_gate;

/*
 * Of handlers, all atomic: whether their reads wait for a message; how often they have begun to wait, and have read; and
 * how many wait now.
 */
extern bool patient;
extern unsigned handler_waits, handler_reads, handlers_waiting;

extern unsigned wakes;  /* UFFDIO_WAKE. Atomic, as the others here. */
extern unsigned timers; /* expirations that were read */

/* Files can be mapped. Otherwise each page is read. */
extern bool mappable;

/* Of the files: all are open with O_DIRECT, and are read in whole pages only. */
extern bool direct;

/*
 * The offsets at which data begins and ends, in turn, in bytes, after a hole before the first: of a file whose blocks
 * are smaller than a page. NULL: ask the kernel.
 */
extern const off_t *extents;

/* Memory keeps its pages, whatever is advised. */
extern bool nothing_drops;

/* mincore() finds no page in memory, as if all were swapped out. */
extern bool swapped;

/*
 * Called before each MADV_POPULATE_READ of a handler that does not fail, and after each mincore() to change what it has
 * found; or NULL. Both atomic.
 */
extern void (*before_populate)(const unsigned char *addr, size_t length);
extern void (*after_mincore)(const unsigned char *addr, size_t npages, unsigned char *resident);

/* The kernel does not know UFFDIO_POISON. */
extern bool no_poison;

extern uint64_t hidden_features; /* UFFD_FEATURE_... that the kernel does not seem to have */

/* So many threads open the file at the same time: each waits for the others. Atomic. */
extern unsigned to_open;

/* The processor that the kernel's file on a thread tells, or one of these. Atomic. */
enum {
    PROCESSOR_REAL = -1,     /* ask the kernel */
    PROCESSOR_NO_FILE = -2,  /* there is no such file */
    PROCESSOR_NO_TEXT = -3,  /* it cannot be read */
    PROCESSOR_NO_FIELD = -4, /* it ends early */
};

extern int processor;
extern unsigned looks; /* at that file. Atomic. */

/* The kernel's record of written pages: it has one, or refuses it at one of these places. Atomic. */
enum record { RECORD, NO_PAGEMAP, NO_SCAN, NO_ASYNC, RECORDS };

extern enum record record;

#define PAGEMAP_SCAN_REQUEST 0xc0606610ul /* the number of that ioctl() */

/* The ways to a userfaultfd that there are. */
struct doors {
    int device;      /* the descriptor that /dev/userfaultfd is opened as; -1: there is none */
    bool restricted; /* the system call is permitted for user mode only */
};

extern struct doors doors;

/* The first thread looks at the counts: the handler that has read its event waits until it has done so, or sleeps. */
enum { LOOK_NO, LOOK_LATER, LOOK_NOW };
extern int look; /* atomic */

/* The kernel has no read of a userfaultfd that does not wait. Atomic. */
extern bool no_nowait;

int __real_msync(void *addr, size_t length, int flags);
int __real_open64(const char *path, int flags);
ssize_t __real_read(int fd, void *buffer, size_t length);

/*
 * The next calls of other threads than the test's fail so many times. LIE: they do half, or a madvise() nothing, and
 * claim to have done all.
 */
void fail_theirs(enum call call, unsigned long request, int error, unsigned times);

/* How many calls have failed since fail_theirs(). */
unsigned count_fired(void);

/* Whether a page of the memory shows a page of the file, the page with its own number, or zeros. */
bool shows(const struct fixture *f, uint64_t page, uint64_t file_page);
bool shows_page(const struct fixture *f, uint64_t page);
bool shows_zeros(const struct fixture *f, uint64_t page);

/* Map empty memory for the fixture. */
void new_memory(struct fixture *f);

/* Unmap that memory, and map other memory instead. */
void renew_memory(struct fixture *f);

/* For cmocka. The tear-down undoes every failure that a test has ordered. */
int set_up(void **state);
int tear_down(void **state);

/* Assert how many pages became zeros because they could not be read. */
void assert_errors(const struct fixture *f, unsigned n);

/* A fault that is answered together with another thread's is counted a moment later. */
void assert_unlocks(const struct fixture *f, unsigned n);

/* Have each read of the file wait; let all go on; wait until so many are waiting. */
void close_gate(void);
void open_gate(void);
void wait_for_gate(unsigned n);

/* Call try() with its call number `at` failing. Returns whether try() succeeded. */
bool run_failing(struct fixture *f, bool (*try)(struct fixture *f), unsigned at, int error);

/* Calls of the library for run_failing(), and their opposites. */
bool try_new(struct fixture *f);
void undo_new(struct fixture *f);
bool try_map(struct fixture *f);
bool try_unmap(struct fixture *f);
void undo_map(struct fixture *f);

/* The ways to have pages: as they are, and so that writes are noticed. */
enum { PLAIN, PROTECTED, RECORDED, BY_FAULTS, WAYS };

/* Configure a pager for one of them. Returns true, for the condition of a loop over them. */
bool set_way(struct fixture *f, int way);

/* As set_up() and tear_down(), with no handler for SIGBUS before and after. */
int set_up_signal(void **state);
int tear_down_signal(void **state);

#endif
