/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The userfaultfd pager when the kernel says no: each system call it makes returns each of its errors. Either the call
 * of the library fails with that error and leaves everything as it was, or the page comes all the same, or it becomes
 * zeros and is counted. UFFDIO_WAKE alone is left out: it can only fail for a range that is none.
 *
 * Linked with --wrap for every call in wraps below. Needs the privilege to use userfaultfd, as test_uffd.c does.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <pagelock/uffd.h>

#include "../cm.h"
#include "uffd_waits.h"

#define PAGE 4096
#define NPAGES 64

/* ---- the calls ---- */

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
    CALL_MSYNC,
    CALL_OPEN,
    CALL_PREAD,
    CALL_READ,
    CALL_THREAD,
    CALL_TIMERFD,
    CALL_USERFAULTFD,
};

/* Of the thread that calls the library: its call number `at` (from 1) fails. */
static struct {
    unsigned n, at;
    int error;
    enum call call;        /* which that is */
    unsigned long request; /* of an ioctl(), or the advice of a madvise() */
} mine;
static __thread bool is_mine;

#define LIE (-2)

/* Of the handlers: so many calls of a kind fail. Under the lock. */
static struct {
    pthread_mutex_t lock;
    enum call call;
    unsigned long request; /* of an ioctl(), the advice of a madvise(), or whence of an lseek() */
    int error;             /* 0: they do less than they were asked to; LIE: and say that they did it all */
    unsigned times, fired;
} theirs = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Of the file. Both atomic. */
static off_t bad_offset = -1;  /* a page that cannot be read */
static off_t slow_offset = -1; /* a page that is read slowly: SLOW_NOW once that has begun, it ends when that changes */

#define SLOW_NOW (-2)

/* Of the clock, in nanoseconds, while it is stopped: it goes on with each read of the file. Both atomic. */
static bool clock_stopped;
static uint64_t clock_now, read_takes;

/* While the gate is closed every read of the file waits: so many of them are at it. Both atomic. */
static bool gate_closed;
static unsigned at_gate;

static unsigned wakes;           /* UFFDIO_WAKE. Atomic, as the others here. */
static unsigned sleeps;          /* usleep() on other threads than the first */
static unsigned timers;          /* expirations that were read */
static bool joining;             /* pgl_uffd_free() has told the handlers to end */
static __thread bool is_freeing; /* a thread that calls pgl_uffd_free() */

static int inject_mine(enum call call, unsigned long request)
{
    if (++mine.n != mine.at) {
        return 0;
    }
    mine.call = call;
    mine.request = request;
    return mine.error;
}

static int inject_theirs(enum call call, unsigned long request)
{
    int error = 0;

    pthread_mutex_lock(&theirs.lock);
    if (call == theirs.call && request == theirs.request && theirs.times) {
        theirs.times--;
        theirs.fired++;
        error = theirs.error ? theirs.error : -1;
    }
    pthread_mutex_unlock(&theirs.lock);
    return error;
}

/* 0: go on; otherwise the errno, or -1: do less, or LIE. */
static int inject(enum call call, unsigned long request)
{
    int before = errno, error = is_mine ? inject_mine(call, request) : inject_theirs(call, request);

    errno = error > 0 ? error : before;
    return error;
}

/* By the names that the linker sees where files are large. */
#define WRAP(result, name, parameters, arguments, call, request)                                                       \
    result __real_##name parameters;                                                                                   \
    result __wrap_##name parameters;                                                                                   \
    result __wrap_##name parameters                                                                                    \
    {                                                                                                                  \
        return inject(call, (unsigned long)(request)) ? (result)-1 : __real_##name arguments;                          \
    }

WRAP(int, epoll_create1, (int flags), (flags), CALL_EPOLL_CREATE, 0)
WRAP(int, epoll_ctl, (int fd, int op, int of, struct epoll_event *event), (fd, op, of, event), CALL_EPOLL_CTL, 0)
WRAP(int, epoll_wait, (int fd, struct epoll_event *events, int n, int timeout), (fd, events, n, timeout),
     CALL_EPOLL_WAIT, 0)
WRAP(int, eventfd, (unsigned n, int flags), (n, flags), CALL_EVENTFD, 0)
WRAP(int, fstat64, (int fd, struct stat *st), (fd, st), CALL_FSTAT, 0)
WRAP(void *, mmap64, (void *addr, size_t length, int prot, int flags, int fd, off_t offset),
     (addr, length, prot, flags, fd, offset), CALL_MMAP, 0)
WRAP(int, timerfd_create, (int clock, int flags), (clock, flags), CALL_TIMERFD, 0)
WRAP(int, mincore, (void *addr, size_t length, unsigned char *resident), (addr, length, resident), CALL_MINCORE, 0)
WRAP(int, msync, (void *addr, size_t length, int flags), (addr, length, flags), CALL_MSYNC, 0)

/* Of the files: all are open with O_DIRECT, and are read in whole pages only. */
static bool direct;

int __real_fcntl64(int fd, int command, long arg);
int __wrap_fcntl64(int fd, int command, long arg);
int __wrap_fcntl64(int fd, int command, long arg)
{
    int result = inject(CALL_FCNTL, 0) ? -1 : __real_fcntl64(fd, command, arg);

    return result >= 0 && command == F_GETFL && direct ? result | O_DIRECT : result;
}

/* Where data begins and ends, in turn, in bytes, after a hole before the first: of a file whose blocks are smaller than a page. NULL: ask the kernel. */
static const off_t *extents;

off_t __real_lseek64(int fd, off_t offset, int whence);
off_t __wrap_lseek64(int fd, off_t offset, int whence);
off_t __wrap_lseek64(int fd, off_t offset, int whence)
{
    unsigned i = 0;

    if (inject(CALL_LSEEK, (unsigned long)whence)) {
        return -1;
    }
    if (!extents) {
        return __real_lseek64(fd, offset, whence);
    }
    while (extents[i + 1] <= offset) {
        i++;
    }
    if (i % 2 == (whence == SEEK_DATA)) {
        return offset; /* it is in such a one */
    }
    return extents[i + 1];
}

/* Memory keeps its pages, whatever is advised. */
static bool nothing_drops;

int __real_madvise(void *addr, size_t length, int advice);
int __wrap_madvise(void *addr, size_t length, int advice);
int __wrap_madvise(void *addr, size_t length, int advice)
{
    if (inject(CALL_MADVISE, (unsigned long)advice)) {
        return -1;
    }
    if (nothing_drops && (advice == MADV_DONTNEED || advice == MADV_DONTNEED_LOCKED)) {
        errno = EINVAL;
        return -1;
    }
    return __real_madvise(addr, length, advice);
}

/* So many threads open the file at the same time: each waits for the others. Atomic. */
static unsigned to_open;

static void meet_to_open(void)
{
    unsigned n = __atomic_load_n(&to_open, __ATOMIC_ACQUIRE);

    while (n && !__atomic_compare_exchange_n(&to_open, &n, n - 1, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
    }
    while (__atomic_load_n(&to_open, __ATOMIC_ACQUIRE)) {
    }
}

/* The ways to a userfaultfd that there are. */
static struct {
    int device;      /* what /dev/userfaultfd is opened as; -1: nobody has it */
    bool restricted; /* the system call is permitted for user mode only */
} doors = {.device = -1};

int __real_open64(const char *path, int flags);
int __wrap_open64(const char *path, int flags);
int __wrap_open64(const char *path, int flags)
{
    if (inject(CALL_OPEN, 0)) {
        return -1;
    }
    if (strncmp(path, "/proc/self/fd/", 14) == 0) {
        meet_to_open();
    }
    if (strcmp(path, "/dev/userfaultfd") != 0) {
        return __real_open64(path, direct ? flags & ~O_DIRECT : flags);
    }
    if (doors.device < 0) {
        errno = EACCES;
    }
    return doors.device < 0 ? -1 : dup(doors.device);
}

long __real_syscall(long number, long arg);
long __wrap_syscall(long number, long arg);
long __wrap_syscall(long number, long arg)
{
    if (inject(CALL_USERFAULTFD, 0)) {
        return -1;
    }
    if (doors.restricted && !(arg & UFFD_USER_MODE_ONLY)) {
        errno = EPERM;
        return -1;
    }
    return __real_syscall(number, arg);
}

/* The first thread looks at the counts: the handler that has read its event waits until it has done so, or sleeps. */
enum { LOOK_NO, LOOK_LATER, LOOK_NOW };
static int look; /* atomic */

static void hold_event(void)
{
    while (__atomic_load_n(&look, __ATOMIC_ACQUIRE) == LOOK_LATER) {
    }
    while (__atomic_load_n(&look, __ATOMIC_ACQUIRE) == LOOK_NOW && !uffd_sleeps(getpid())) {
    }
}

ssize_t __real_read(int fd, void *buffer, size_t length);
ssize_t __wrap_read(int fd, void *buffer, size_t length);
ssize_t __wrap_read(int fd, void *buffer, size_t length)
{
    ssize_t n = inject(CALL_READ, 0) ? -1 : __real_read(fd, buffer, length);

    if (n == sizeof(struct uffd_msg) && ((struct uffd_msg *)buffer)->event != UFFD_EVENT_PAGEFAULT) {
        hold_event();
    }
    __atomic_fetch_add(&timers, n == sizeof(uint64_t), __ATOMIC_RELEASE); /* messages are longer */
    return n;
}

int __real_usleep(useconds_t us);
int __wrap_usleep(useconds_t us);
int __wrap_usleep(useconds_t us)
{
    __atomic_fetch_add(&sleeps, gettid() != getpid(), __ATOMIC_RELEASE);
    return __real_usleep(us);
}

int __real_pthread_join(pthread_t thread, void **result);
int __wrap_pthread_join(pthread_t thread, void **result);
int __wrap_pthread_join(pthread_t thread, void **result)
{
    if (is_freeing) {
        __atomic_store_n(&joining, true, __ATOMIC_RELEASE);
    }
    return __real_pthread_join(thread, result);
}

static void wait_at_gate(void)
{
    if (!__atomic_load_n(&gate_closed, __ATOMIC_ACQUIRE)) {
        return;
    }
    __atomic_fetch_add(&at_gate, 1, __ATOMIC_RELEASE);
    while (__atomic_load_n(&gate_closed, __ATOMIC_ACQUIRE)) {
        __real_usleep(100);
    }
    __atomic_fetch_sub(&at_gate, 1, __ATOMIC_RELEASE);
}

int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
    uint64_t ns = __atomic_load_n(&clock_now, __ATOMIC_RELAXED);

    if (!__atomic_load_n(&clock_stopped, __ATOMIC_ACQUIRE)) {
        return __real_clock_gettime(clock, now);
    }
    *now = (struct timespec){(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    return 0;
}

ssize_t __real_pread64(int fd, void *buffer, size_t length, off_t offset);
ssize_t __wrap_pread64(int fd, void *buffer, size_t length, off_t offset);
ssize_t __wrap_pread64(int fd, void *buffer, size_t length, off_t offset)
{
    wait_at_gate();

    int error = inject(CALL_PREAD, 0);
    off_t bad = __atomic_load_n(&bad_offset, __ATOMIC_ACQUIRE);
    off_t slow = offset;

    if (__atomic_compare_exchange_n(&slow_offset, &slow, SLOW_NOW, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
        while (__atomic_load_n(&slow_offset, __ATOMIC_ACQUIRE) == SLOW_NOW) {
            usleep(100);
        }
    }
    __atomic_fetch_add(&clock_now, __atomic_load_n(&read_takes, __ATOMIC_RELAXED), __ATOMIC_RELAXED);
    if (direct && (offset % PAGE != 0 || length % PAGE != 0)) {
        errno = EINVAL;
        return -1;
    }
    if (offset == bad) {
        errno = EIO;
        return -1;
    }
    if (offset < bad && (off_t)length > bad - offset) {
        length = (size_t)(bad - offset);
    }
    return error > 0 ? -1 : __real_pread64(fd, buffer, error ? length / 2 + 1 : length, offset);
}

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg)
{
    int error = inject(CALL_THREAD, 0);

    return error ? error : __real_pthread_create(thread, attr, start, arg);
}

int __real_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
    struct uffdio_copy *copy = arg;
    int error = inject(CALL_IOCTL, request);

    __atomic_fetch_add(&wakes, request == UFFDIO_WAKE, __ATOMIC_RELEASE);

    if (error < 0 && copy->len > PAGE) { /* as the kernel does when a mapping is changed meanwhile */
        __u64 length = copy->len;

        copy->len = PAGE;
        __real_ioctl(fd, request, copy);
        copy->len = length;
        if (error == LIE) { /* as if the other pages had been removed at once */
            copy->copy = (__s64)length;
            return 0;
        }
        errno = EAGAIN;
        return -1;
    }
    return error > 0 ? -1 : __real_ioctl(fd, request, arg);
}

static void fail_theirs(enum call call, unsigned long request, int error, unsigned times)
{
    pthread_mutex_lock(&theirs.lock);
    theirs.call = call;
    theirs.request = request;
    theirs.error = error;
    theirs.times = times;
    theirs.fired = 0;
    pthread_mutex_unlock(&theirs.lock);
}

static unsigned count_fired(void)
{
    unsigned fired;

    pthread_mutex_lock(&theirs.lock);
    fired = theirs.fired;
    pthread_mutex_unlock(&theirs.lock);
    return fired;
}

/* ---- a file, some memory ---- */

struct fixture {
    int file;
    unsigned char *memory;
    struct pgl_uffd_config config;
    struct pgl_uffd *uffd;
};

static uint64_t word_at(uint64_t offset)
{
    return (offset + 8) * UINT64_C(0x9e3779b97f4a7c15);
}

static void fill(int file, uint64_t first, uint64_t npages)
{
    uint64_t words[PAGE / 8];

    for (uint64_t page = first; page < first + npages; page++) {
        for (uint64_t i = 0; i < PAGE / 8; i++) {
            words[i] = word_at(page * PAGE + i * 8);
        }
        assert_int_equal(pwrite(file, words, PAGE, (off_t)(page * PAGE)), PAGE);
    }
}

static bool shows(const struct fixture *f, uint64_t page, uint64_t file_page)
{
    const uint64_t *words = (const uint64_t *)(const void *)(f->memory + page * PAGE);

    for (uint64_t i = 0; i < PAGE / 8; i++) {
        if (words[i] != word_at(file_page * PAGE + i * 8)) {
            return false;
        }
    }
    return true;
}

static bool is_page(const struct fixture *f, uint64_t page)
{
    return shows(f, page, page);
}

static bool is_zero(const struct fixture *f, uint64_t page)
{
    for (size_t i = 0; i < PAGE; i++) {
        if (f->memory[page * PAGE + i] != 0) {
            return false;
        }
    }
    return true;
}

static void new_memory(struct fixture *f)
{
    f->memory = mmap(NULL, NPAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(f->memory != MAP_FAILED);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    f->file = memfd_create("pages", MFD_CLOEXEC);
    fill(f->file, 0, NPAGES);
    new_memory(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    is_mine = false;
    fail_theirs(CALL_NONE, 0, 0, 0);
    __atomic_store_n(&bad_offset, -1, __ATOMIC_RELEASE);
    __atomic_store_n(&slow_offset, -1, __ATOMIC_RELEASE);
    __atomic_store_n(&gate_closed, false, __ATOMIC_RELEASE);
    __atomic_store_n(&clock_stopped, false, __ATOMIC_RELEASE);
    pgl_uffd_free(f->uffd);
    if (doors.device >= 0) {
        close(doors.device);
    }
    doors.device = -1;
    doors.restricted = false;
    direct = nothing_drops = false;
    extents = NULL;
    munmap(f->memory, NPAGES * PAGE);
    close(f->file);
    free(f);
    return 0;
}

static unsigned count_fds(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 256; fd++) {
        n += fcntl(fd, F_GETFD) >= 0;
    }
    return n;
}

/* A handler may hold what it worked on for a moment after its page was there. */
static void assert_fds(unsigned n)
{
    for (unsigned tries = 0; tries < 2000 && count_fds() != n; tries++) {
        usleep(1000);
    }
    assert_int_equal(count_fds(), n);
}

static struct pgl_uffd_stats stats_of(const struct fixture *f)
{
    struct pgl_uffd_stats stats;

    pgl_uffd_get_stats(f->uffd, &stats);
    return stats;
}

static void assert_errors(const struct fixture *f, unsigned n)
{
    assert_int_equal(stats_of(f).errors, n);
}

/* A fault that is answered together with another thread's is counted a moment later. */
static void assert_unlocks(const struct fixture *f, unsigned n)
{
    for (unsigned tries = 0; tries < 2000 && stats_of(f).unlocks < n; tries++) {
        usleep(1000);
    }
    assert_int_equal(stats_of(f).unlocks, n);
}

/* ---- what waits in the kernel ---- */

static void close_gate(void)
{
    __atomic_store_n(&gate_closed, true, __ATOMIC_RELEASE);
}

static void open_gate(void)
{
    __atomic_store_n(&gate_closed, false, __ATOMIC_RELEASE);
}

static void wait_for_gate(unsigned n)
{
    while (__atomic_load_n(&at_gate, __ATOMIC_ACQUIRE) != n) {
        usleep(100);
    }
}

/* More threads than a handler reads messages at a time, each with a page of its own, and some pages that none touches. */
#define MANY 130
#define SPARE 8

struct crowd {
    struct fixture *f;
    unsigned char *memory; /* of MANY + SPARE pages */
    unsigned n;            /* threads that were started */
    struct member {
        struct fixture f; /* with that memory */
        uint64_t page;
        pthread_t thread;
        bool right;
    } member[MANY];
};

/* The pager is to be there. */
static void gather(struct crowd *crowd, struct fixture *f)
{
    const size_t length = (size_t)(MANY + SPARE) * PAGE;

    crowd->f = f;
    crowd->n = 0;
    crowd->memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(crowd->memory != MAP_FAILED);
    fill(f->file, 0, MANY + SPARE);
    assert_true(pgl_uffd_map(f->uffd, crowd->memory, length, f->file, 0, PGL_ADVICE_RANDOM));
}

static void *touch_own_page(void *arg)
{
    struct member *member = arg;

    member->right = is_page(&member->f, member->page);
    return NULL;
}

/* Starts threads until there are n, each on its own page. */
static void crowd_to(struct crowd *crowd, unsigned n)
{
    for (; crowd->n < n; crowd->n++) {
        struct member *member = &crowd->member[crowd->n];

        *member = (struct member){.f = *crowd->f, .page = crowd->n};
        member->f.memory = crowd->memory;
        assert_int_equal(pthread_create(&member->thread, NULL, touch_own_page, member), 0);
    }
}

static void disperse(struct crowd *crowd)
{
    for (unsigned i = 0; i < crowd->n; i++) {
        assert_int_equal(pthread_join(crowd->member[i].thread, NULL), 0);
        assert_true(crowd->member[i].right);
    }
    munmap(crowd->memory, (size_t)(MANY + SPARE) * PAGE);
}

/* ---- calls of the library ---- */

/* The errors of a call that a library's call has to tell of. */
static const int *errors_of(enum call call, unsigned long request)
{
    static const int limits[] = {EMFILE, ENFILE, ENOMEM, 0};
    static const int watches[] = {ENOMEM, ENOSPC, 0};
    static const int memory[] = {ENOMEM, 0};
    static const int threads[] = {EAGAIN, EPERM, 0};
    static const int files[] = {EBADF, EOVERFLOW, ENOMEM, 0};
    static const int permission[] = {EPERM, ENOSYS, EMFILE, ENFILE, ENOMEM, EINVAL, 0};
    static const int handshake[] = {EINVAL, EPERM, EFAULT, 0};
    static const int ranges[] = {EINVAL, EBUSY, EPERM, ENOMEM, 0};
    static const int advices[] = {EINVAL, EAGAIN, ENOMEM, 0};
    static const int mappings[] = {ENOMEM, EINVAL, 0};

    switch (call) {
    case CALL_EPOLL_CTL:
        return watches;
    case CALL_MMAP:
        return memory;
    case CALL_THREAD:
        return threads;
    case CALL_MADVISE:
        return advices;
    case CALL_MSYNC:
        return mappings;
    case CALL_FSTAT:
        return files;
    case CALL_USERFAULTFD:
        return permission;
    case CALL_IOCTL:
        return request == UFFDIO_API ? handshake : ranges;
    default:
        return limits;
    }
}

/* Calls try() with its call number `at` failing. Returns whether try() succeeded. */
static bool run_failing(struct fixture *f, bool (*try)(struct fixture *f), unsigned at, int error)
{
    bool done;

    mine.n = 0;
    mine.at = at;
    mine.error = error;
    mine.call = CALL_NONE;
    errno = 0;
    is_mine = true;
    done = try(f);
    is_mine = false;
    return done;
}

/*
 * Whether the library can do without that call: there is another way to a userfaultfd; a file is duplicated, or has no
 * holes; an error of the probe is no EAGAIN; what was not dropped is found, or else looked for once more.
 */
static bool is_spare(void)
{
    return mine.call == CALL_OPEN || mine.call == CALL_LSEEK || mine.call == CALL_MINCORE ||
           (mine.call == CALL_IOCTL && (mine.request == UFFDIO_ZEROPAGE || mine.request == USERFAULTFD_IOC_NEW)) ||
           (mine.call == CALL_MADVISE && (mine.request == MADV_DONTNEED || mine.request == MADV_DONTNEED_LOCKED));
}

/* What the library makes of an error. */
static int told(int error)
{
    if (mine.call == CALL_IOCTL && mine.request == UFFDIO_API && error == EINVAL) {
        return EOPNOTSUPP;
    }
    if (mine.call == CALL_USERFAULTFD && error == EINVAL) {
        return EOPNOTSUPP;
    }
    if (mine.call == CALL_MADVISE && error == EAGAIN) {
        return ENOMEM;
    }
    if (mine.call == CALL_MSYNC && error == ENOMEM) {
        return EFAULT;
    }
    return error;
}

/* Each call that try() makes returns each of its errors. Returns the failures. */
static unsigned each_fails(struct fixture *f, bool (*try)(struct fixture *f), void (*undo)(struct fixture *f))
{
    unsigned nfds = count_fds(), failures = 0;

    for (unsigned at = 1;; at++) {
        bool done = run_failing(f, try, at, ENOMEM);

        if (done) {
            undo(f);
            assert_fds(nfds);
            if (mine.call == CALL_NONE) {
                return failures; /* there are no more calls */
            }
            assert_true(is_spare());
            continue;
        }
        for (const int *error = errors_of(mine.call, mine.request); *error; error++) {
            assert_false(run_failing(f, try, at, *error));
            assert_int_equal(errno, told(*error));
            assert_fds(nfds);
            failures++;
        }
    }
}

static bool try_new(struct fixture *f)
{
    f->uffd = pgl_uffd_new(&f->config);
    return f->uffd != NULL;
}

static void undo_new(struct fixture *f)
{
    pgl_uffd_free(f->uffd);
    f->uffd = NULL;
}

static void test_uffd_new_fails_with_the_errno_of_each_call(void **state)
{
    struct fixture *f = *state;

    f->config.threads = 2;
    assert_true(each_fails(f, try_new, undo_new) >= 20);
    f->config.follow_forks = true;
    doors.device = __real_open64("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    if (doors.device >= 0) {
        assert_true(each_fails(f, try_new, undo_new) >= 15);
    }
}

static bool try_map(struct fixture *f)
{
    return pgl_uffd_map(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_SEQUENTIAL);
}

static bool try_unmap(struct fixture *f)
{
    return pgl_uffd_unmap(f->uffd, f->memory, NPAGES * PAGE);
}

static void undo_map(struct fixture *f)
{
    assert_true(is_page(f, 3));
    assert_true(pgl_uffd_unmap(f->uffd, f->memory, NPAGES * PAGE));
    munmap(f->memory, NPAGES * PAGE);
    new_memory(f);
}

/* The file has holes, and both ends of one are looked for. */
static void test_uffd_map_fails_with_the_errno_of_each_call(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ftruncate(f->file, 20 * PAGE), 0);
    assert_int_equal(ftruncate(f->file, NPAGES * PAGE), 0);
    fill(f->file, 40, 10);
    assert_true(try_new(f));
    assert_true(each_fails(f, try_map, undo_map) >= 7);
    assert_true(try_map(f));
    for (uint64_t page = 0; page < NPAGES; page++) {
        assert_true(page < 20 || (page >= 40 && page < 50) ? is_page(f, page) : is_zero(f, page));
    }
}

/* A file system that cannot tell where holes are, or not all of them: the file is read, and right. */
static void test_uffd_file_whose_holes_cannot_be_told_is_read(void **state)
{
    static const struct {
        unsigned long whence;
        int error;
    } all[] = {{SEEK_DATA, EINVAL}, {SEEK_HOLE, EINVAL}, {SEEK_HOLE, ENXIO}};
    struct fixture *f = *state;

    assert_int_equal(ftruncate(f->file, 20 * PAGE), 0);
    assert_int_equal(ftruncate(f->file, NPAGES * PAGE), 0);
    assert_true(try_new(f));
    for (unsigned i = 0; i < 3; i++) {
        struct pgl_uffd_stats before, after;

        pgl_uffd_get_stats(f->uffd, &before);
        fail_theirs(CALL_LSEEK, all[i].whence, all[i].error, 1);
        assert_true(try_map(f));
        assert_int_equal(count_fired(), 1);
        for (uint64_t page = 0; page < NPAGES; page++) {
            assert_true(page < 20 ? is_page(f, page) : is_zero(f, page));
        }
        pgl_uffd_get_stats(f->uffd, &after);
        assert_int_equal(after.bytes_read - before.bytes_read, NPAGES * PAGE);
        undo_map(f);
    }
}

/* A block of data is less than a page: the page is data, and only what is all hole is a hole. */
static void test_uffd_holes_are_whole_pages(void **state)
{
    static const off_t blocks[] = {
        -1, 1024, 20 * PAGE + 1024, 30 * PAGE + 3072, 31 * PAGE - 512, 40 * PAGE, 63 * PAGE + 512, NPAGES * PAGE,
    };
    struct fixture *f = *state;

    assert_int_equal(ftruncate(f->file, 0), 0);
    assert_int_equal(ftruncate(f->file, NPAGES * PAGE), 0);
    fill(f->file, 0, 21);
    fill(f->file, 30, 1);
    fill(f->file, 40, NPAGES - 40);
    extents = blocks;
    assert_true(try_new(f));
    assert_true(try_map(f));
    for (uint64_t page = 0; page < NPAGES; page++) {
        assert_true(page <= 20 || page == 30 || page >= 40 ? is_page(f, page) : is_zero(f, page));
    }
    assert_int_equal(stats_of(f).pages_zeroed, 9 + 9);
    assert_int_equal(stats_of(f).pages_fetched, NPAGES - 9 - 9);
}

/* What O_DIRECT asks for, also when less was read than asked for. */
static void test_uffd_file_is_read_in_whole_pages(void **state)
{
    struct fixture *f = *state;

    direct = true;
    assert_int_equal(ftruncate(f->file, (NPAGES - 1) * PAGE + 100), 0);
    assert_true(try_new(f));
    assert_true(try_map(f));
    fail_theirs(CALL_PREAD, 0, 0, 1);
    for (uint64_t page = 0; page < NPAGES - 1; page++) {
        assert_true(is_page(f, page));
    }
    assert_int_equal(count_fired(), 1);
    assert_int_equal(*(uint64_t *)(void *)(f->memory + (NPAGES - 1) * PAGE), word_at((NPAGES - 1) * PAGE));
    assert_int_equal(stats_of(f).bytes_read, (NPAGES - 1) * PAGE + 100);
    assert_int_equal(stats_of(f).errors, 0);
}

static void *map_file(void *arg)
{
    struct fixture *f = arg;

    return try_map(f) && is_page(f, 3) ? NULL : arg;
}

static void test_uffd_file_that_two_threads_open_is_one(void **state)
{
    struct fixture *f = *state, other = *f;
    pthread_t threads[2];
    unsigned nfds;

    assert_true(try_new(f));
    new_memory(&other);
    other.uffd = f->uffd;
    nfds = count_fds();
    __atomic_store_n(&to_open, 2, __ATOMIC_RELEASE);
    assert_int_equal(pthread_create(&threads[0], NULL, map_file, f), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, map_file, &other), 0);
    for (unsigned i = 0; i < 2; i++) {
        void *wrong;

        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
    assert_fds(nfds + 1);
    assert_true(try_unmap(f));
    assert_true(is_page(&other, 40)); /* it is still open */
    assert_true(try_unmap(&other));
    assert_fds(nfds);
    munmap(other.memory, NPAGES * PAGE);
}

/* Every other page of 8,192 is a hole: more of them than fit in the pager's own memory. */
static void test_uffd_map_of_more_holes_than_there_is_memory_for_fails(void **state)
{
    const uint64_t npages = 8192;
    struct fixture *f = *state;
    unsigned char *memory = mmap(NULL, npages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct pgl_uffd_stats stats;
    unsigned nfds;

    assert_int_equal(ftruncate(f->file, 0), 0);
    assert_int_equal(ftruncate(f->file, (off_t)(npages * PAGE)), 0);
    for (uint64_t page = 0; page < npages; page += 2) {
        fill(f->file, page, 1);
    }
    assert_true(try_new(f));
    nfds = count_fds();
    fail_theirs(CALL_MMAP, 0, ENOMEM, 1);
    errno = 0;
    assert_false(pgl_uffd_map(f->uffd, memory, npages * PAGE, f->file, 0, PGL_ADVICE_NORMAL));
    assert_int_equal(errno, ENOMEM);
    assert_fds(nfds);
    assert_true(pgl_uffd_map(f->uffd, memory, npages * PAGE, f->file, 0, PGL_ADVICE_NORMAL));
    for (uint64_t page = 0; page < npages; page++) {
        assert_true(*(uint64_t *)(void *)(memory + page * PAGE) == (page % 2 == 0 ? word_at(page * PAGE) : 0));
    }
    pgl_uffd_get_stats(f->uffd, &stats);
    assert_int_equal(stats.bytes_read, npages / 2 * PAGE);
    munmap(memory, npages * PAGE);
}

static bool is_in_a_child(const struct fixture *f)
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        _exit(__real_msync(f->memory, NPAGES * PAGE, MS_ASYNC) != 0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return status == 0;
}

/* Wherever the page is that stays: memory is looked at in pieces. */
static void test_uffd_map_finds_each_page_that_stays(void **state)
{
    static const uint64_t pages[] = {0, 1, 1022, 1023, 1024, 1025, 2047, 2048};
    const uint64_t npages = 2049;
    struct fixture *f = *state;

    assert_int_equal(ftruncate(f->file, (off_t)(npages * PAGE)), 0);
    assert_true(try_new(f));
    nothing_drops = true;
    for (unsigned i = 0; i < sizeof(pages) / sizeof(*pages); i++) {
        unsigned char *memory = mmap(NULL, npages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        assert_true(memory != MAP_FAILED);
        memory[pages[i] * PAGE] = 'x';
        errno = 0;
        assert_false(pgl_uffd_map(f->uffd, memory, npages * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
        assert_int_equal(errno, EEXIST);
        assert_int_equal(memory[pages[i] * PAGE], 'x');
        munmap(memory, npages * PAGE);
    }
}

/*
 * What was in the memory is dropped, with the one call or with the other; where neither does it, as on old kernels in
 * locked memory, or where pages come between again and again, memory is refused as it is.
 */
static void test_uffd_map_refuses_memory_that_does_not_become_empty(void **state)
{
    struct fixture *f = *state;

    assert_true(try_new(f));
    memset(f->memory, 'x', NPAGES * PAGE);
    fail_theirs(CALL_MADVISE, MADV_DONTNEED, EINVAL, 1);
    assert_true(try_map(f));
    assert_int_equal(count_fired(), 1);
    undo_map(f);

    f->memory =
        mmap(f->memory, NPAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_LOCKED, -1,
             0); /* so that MADV_DONTNEED fails, too */
    f->memory[40 * PAGE] = 'x';
    fail_theirs(CALL_MADVISE, MADV_DONTNEED_LOCKED, EINVAL, 1000);
    assert_false(try_map(f));
    assert_int_equal(errno, EEXIST);
    assert_int_equal(f->memory[40 * PAGE], 'x');
    fail_theirs(CALL_MADVISE, MADV_DONTNEED_LOCKED, EINVAL, 1);
    assert_true(try_map(f)); /* it was found, and tried again */
    undo_map(f);

    fail_theirs(CALL_MINCORE, 0, EAGAIN, 1000);
    assert_false(try_map(f));
    assert_int_equal(errno, EEXIST);
    fail_theirs(CALL_NONE, 0, 0, 0);
    assert_true(is_zero(f, 3)); /* and it is not registered */
    assert_true(is_in_a_child(f));
    assert_true(try_map(f));
    undo_map(f);
}

/* ---- who may have a userfaultfd ---- */

/* A copy by the kernel of a word in each page. Returns 0, or the errno of the first that failed. */
static int copy_words(const struct fixture *f)
{
    int pipes[2], error = 0;
    uint64_t word;

    if (pipe(pipes) != 0) {
        return errno;
    }
    for (uint64_t page = 0; page < NPAGES && error == 0; page++) {
        if (write(pipes[1], f->memory + page * PAGE, 8) != 8) {
            error = errno;
        } else if (__real_read(pipes[0], &word, 8) != 8 || word != word_at(page * PAGE)) {
            error = EIO;
        }
    }
    close(pipes[0]);
    close(pipes[1]);
    return error;
}

enum { NOT_NOBODY = 100, NO_PAGER, NO_REGION, WRONG_PAGES };

/* As a user without any privilege, in a child: tries to page the file in, for the kernel first, or for itself. */
static int page_in_as_nobody(struct fixture *f, bool kernel_first)
{
    int error = 0;

    if (setgid(65534) != 0 || setuid(65534) != 0) {
        return NOT_NOBODY;
    }
    f->uffd = pgl_uffd_new(&f->config);
    if (!f->uffd) {
        return errno == EPERM ? EPERM : NO_PAGER;
    }
    if (!try_map(f)) {
        return NO_REGION;
    }
    if (kernel_first) {
        error = copy_words(f);
    }
    for (uint64_t page = 0; page < NPAGES; page++) {
        if (!is_page(f, page)) {
            return WRONG_PAGES;
        }
    }
    if (!kernel_first) {
        error = copy_words(f);
    }
    pgl_uffd_free(f->uffd);
    return error;
}

static int run_as_nobody(struct fixture *f, bool kernel_first)
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        _exit(page_in_as_nobody(f, kernel_first));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* The device alone is enough; forks are followed with privilege only. */
static void test_uffd_user_with_the_device_pages_a_file_in(void **state)
{
    struct fixture *f = *state;

    doors.restricted = true;
    doors.device = __real_open64("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    if (doors.device < 0) {
        SKIP_BECAUSE("no /dev/userfaultfd: it needs Linux 6.1");
    }
    assert_int_equal(run_as_nobody(f, true), 0);
    f->config.write_protect = true;
    assert_int_equal(run_as_nobody(f, true), 0);
    f->config.follow_forks = true;
    assert_int_equal(run_as_nobody(f, true), EPERM);
}

/* Without it, and asked to: what the program touches comes, and what a system call meets comes not. */
static void test_uffd_user_without_the_device_has_user_mode(void **state)
{
    struct fixture *f = *state;

    doors.restricted = true;
    assert_int_equal(run_as_nobody(f, false), EPERM);
    f->config.allow_user_mode = true;
    assert_int_equal(run_as_nobody(f, false), 0);
    assert_int_equal(run_as_nobody(f, true), EFAULT);
    f->config.write_protect = true;
    assert_int_equal(run_as_nobody(f, false), 0);
    f->config.follow_forks = true;
    assert_int_equal(run_as_nobody(f, false), EPERM);
}

/* User mode is for want of better: with privilege system calls meet pages all the same. */
static void test_uffd_user_mode_is_the_last_resort(void **state)
{
    struct fixture *f = *state;

    f->config.allow_user_mode = true;
    assert_true(try_new(f));
    assert_true(try_map(f));
    assert_int_equal(copy_words(f), 0);
}

static void test_uffd_unmap_fails_with_the_errno_of_the_kernel(void **state)
{
    struct fixture *f = *state;

    assert_true(try_new(f));
    assert_true(try_map(f));
    assert_true(is_page(f, 40));
    assert_false(run_failing(f, try_unmap, 1, ENOMEM));
    assert_int_equal(mine.request, UFFDIO_UNREGISTER);
    assert_int_equal(errno, ENOMEM);
    assert_true(is_page(f, 20)); /* as it was */
    assert_false(run_failing(f, try_unmap, 2, EAGAIN));
    assert_int_equal(mine.request, MADV_DOFORK);
    assert_int_equal(errno, ENOMEM);
    assert_true(try_unmap(f)); /* again */
    assert_true(is_zero(f, 0));
    assert_false(try_unmap(f));
    assert_int_equal(errno, ENOENT);
}

/* ---- handlers ---- */

enum outcome { BYTES, ZEROS };

static int told_error; /* to the failed() callback. Atomic. */

static enum pgl_uffd_remedy on_failure(void *arg, const void *addr, int error)
{
    (void)arg;
    (void)addr;
    __atomic_store_n(&told_error, error, __ATOMIC_RELEASE);
    return PGL_UFFD_ZERO;
}

/* Faults a page of data and one of a hole in while calls fail so and so often; then everything else is there. */
static void fault_failing(struct fixture *f, enum call call, unsigned long request, int error, unsigned times,
                          enum outcome outcome)
{
    bool hole = request == UFFDIO_ZEROPAGE || call == CALL_FSTAT;
    uint64_t page = hole ? 50 : 10;

    fail_theirs(call, request, error, times);
    if (outcome == BYTES) {
        assert_true(hole ? is_zero(f, page) : is_page(f, page));
    } else {
        assert_true(is_zero(f, page));
    }
    f->memory[page * PAGE] = 'w';
    assert_int_equal(f->memory[page * PAGE], 'w');
    assert_errors(f, outcome == ZEROS);
    if (outcome == ZEROS) {
        assert_int_equal(__atomic_load_n(&told_error, __ATOMIC_ACQUIRE), error);
    }
    for (uint64_t i = 0; i < NPAGES; i++) {
        if (i != page) {
            assert_true(i < NPAGES / 2 ? is_page(f, i) : is_zero(f, i));
        }
    }
    assert_true(count_fired() >= 1);
}

static void try_failing(struct fixture *f, enum call call, unsigned long request, int error, unsigned times,
                        enum outcome outcome)
{
    for (int mode = 0; mode < 4; mode++) {
        f->config.write_protect = ((mode & 1) != 0 && request != UFFDIO_ZEROPAGE) || request == UFFDIO_WRITEPROTECT;
        f->config.threads = 1;
        f->config.failed = on_failure;
        assert_true(try_new(f));
        assert_true(pgl_uffd_map(f->uffd, f->memory, NPAGES * PAGE, f->file, 0,
                                 mode & 2 ? PGL_ADVICE_SEQUENTIAL : PGL_ADVICE_RANDOM));
        fault_failing(f, call, request, error, times, outcome);
        undo_new(f);
        munmap(f->memory, NPAGES * PAGE);
        new_memory(f);
    }
}

static void make_sparse(struct fixture *f)
{
    assert_int_equal(ftruncate(f->file, NPAGES / 2 * PAGE), 0);
    assert_int_equal(ftruncate(f->file, NPAGES * PAGE), 0);
}

static void test_uffd_handler_outlives_each_error_of_its_calls(void **state)
{
    static const struct {
        enum call call;
        unsigned long request;
        int error;
        enum outcome outcome;
    } all[] = {
        {CALL_EPOLL_WAIT, 0, EINTR, BYTES},
        {CALL_READ, 0, EINTR, BYTES},
        {CALL_READ, 0, EAGAIN, BYTES},
        {CALL_READ, 0, EMFILE, BYTES},
        {CALL_READ, 0, ENFILE, BYTES},
        {CALL_READ, 0, ENOMEM, BYTES},
        {CALL_PREAD, 0, EINTR, BYTES},
        {CALL_PREAD, 0, 0, BYTES}, /* it reads half */
        {CALL_PREAD, 0, EIO, ZEROS},
        {CALL_PREAD, 0, EAGAIN, BYTES},
        {CALL_PREAD, 0, EBADF, ZEROS},
        {CALL_PREAD, 0, EISDIR, ZEROS},
        {CALL_PREAD, 0, ENOMEM, BYTES},
        {CALL_FSTAT, 0, EIO, ZEROS},
        {CALL_IOCTL, UFFDIO_COPY, 0, BYTES}, /* it copies one page of the cluster */
        {CALL_IOCTL, UFFDIO_COPY, EAGAIN, BYTES},
        {CALL_IOCTL, UFFDIO_COPY, EEXIST, BYTES},
        {CALL_IOCTL, UFFDIO_COPY, ENOENT, BYTES},
        {CALL_IOCTL, UFFDIO_COPY, ESRCH, BYTES},
        {CALL_IOCTL, UFFDIO_COPY, ENOMEM, BYTES},
        {CALL_IOCTL, UFFDIO_COPY, EFAULT, ZEROS},
        {CALL_IOCTL, UFFDIO_COPY, ENOSPC, ZEROS},
        {CALL_IOCTL, UFFDIO_ZEROPAGE, EAGAIN, BYTES},
        {CALL_IOCTL, UFFDIO_ZEROPAGE, EEXIST, BYTES},
        {CALL_IOCTL, UFFDIO_ZEROPAGE, ENOENT, BYTES},
        {CALL_IOCTL, UFFDIO_ZEROPAGE, ESRCH, BYTES},
        {CALL_IOCTL, UFFDIO_ZEROPAGE, ENOMEM, BYTES},
        {CALL_IOCTL, UFFDIO_WRITEPROTECT, EAGAIN, BYTES},
        {CALL_IOCTL, UFFDIO_WRITEPROTECT, ENOENT, BYTES},
        {CALL_IOCTL, UFFDIO_WRITEPROTECT, ESRCH, BYTES},
    };
    struct fixture *f = *state;

    make_sparse(f);
    for (unsigned i = 0; i < sizeof(all) / sizeof(*all); i++) {
        printf("call %u, request %#lx: errno %d\n", all[i].call, all[i].request, all[i].error);
        try_failing(f, all[i].call, all[i].request, all[i].error, 1, BYTES);
        if (all[i].outcome == ZEROS) { /* with its cluster, and alone */
            try_failing(f, all[i].call, all[i].request, all[i].error, 2, ZEROS);
        } else {
            try_failing(f, all[i].call, all[i].request, all[i].error, 3, all[i].outcome);
        }
    }
}

/* What the kernel says of a page, by its errno, is counted once for each cluster or page. */
static void test_uffd_answers_of_the_kernel_are_counted(void **state)
{
    static const struct {
        int error;
        uint64_t present, gone, again;
    } all[] = {{EEXIST, 1, 0, 0}, {ENOENT, 0, 1, 0}, {ESRCH, 0, 1, 0}, {EAGAIN, 0, 0, 1}};
    struct fixture *f = *state;

    for (unsigned i = 0; i < sizeof(all) / sizeof(*all); i++) {
        struct pgl_uffd_stats stats;

        assert_true(try_new(f));
        assert_true(pgl_uffd_map(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
        assert_true(is_page(f, 7));
        fail_theirs(CALL_IOCTL, UFFDIO_COPY, all[i].error, 1);
        assert_true(is_page(f, 9));
        assert_int_equal(count_fired(), 1);
        stats = stats_of(f);
        assert_int_equal(stats.present, all[i].present);
        assert_int_equal(stats.gone, all[i].gone);
        assert_int_equal(stats.again, all[i].again);
        assert_int_equal(stats.pages_fetched, 2);
        assert_int_equal(stats.errors, 0);
        undo_new(f);
    }
}

/* Three faults, of which the second takes longest. */
static void test_uffd_latencies_are_those_of_the_clock(void **state)
{
    static const uint64_t takes[] = {5000, UINT64_C(3000000009), 700};
    struct fixture *f = *state;
    uint64_t total = 0;

    assert_true(try_new(f));
    assert_true(pgl_uffd_map(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
    __atomic_store_n(&clock_stopped, true, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < 3; i++) {
        __atomic_store_n(&read_takes, takes[i], __ATOMIC_RELAXED);
        total += takes[i];
        assert_true(is_page(f, i));
        assert_int_equal(stats_of(f).ns_total, total);
        assert_int_equal(stats_of(f).ns_max, takes[i > 0]);
    }
}

/* A cluster that fails because of a neighbour says nothing about the page that the program waits for. */
static void test_uffd_bad_page_spoils_no_neighbour(void **state)
{
    struct fixture *f = *state;

    assert_true(try_new(f));
    assert_true(pgl_uffd_map(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_NORMAL));
    __atomic_store_n(&bad_offset, 8 * PAGE, __ATOMIC_RELEASE);
    for (uint64_t i = 0; i < NPAGES; i++) {
        uint64_t page = (i + 9) % NPAGES;

        assert_true(page == 8 ? is_zero(f, page) : is_page(f, page));
    }
    assert_errors(f, 1);
}

/* Pages that are resident here but not in memory are looked for again, and then it is a first try that fails. */
static void test_uffd_page_looked_for_again_is_read_again_if_it_fails(void **state)
{
    struct fixture *f = *state;

    assert_true(try_new(f));
    assert_true(try_map(f));
    fail_theirs(CALL_IOCTL, UFFDIO_COPY, LIE, 1);
    assert_true(is_page(f, 0));
    assert_int_equal(count_fired(), 1);
    fail_theirs(CALL_PREAD, 0, EIO, 1);
    assert_true(is_page(f, 1));
    assert_int_equal(count_fired(), 1);
    assert_errors(f, 0);
}

static void *write_page_3(void *arg)
{
    const struct fixture *f = arg;

    f->memory[3 * PAGE] = 'w';
    return NULL;
}

/* A write to a protected page is answered late, when another file's page is there: that one stays protected. */
static void test_uffd_late_write_unprotects_no_other_file(void **state)
{
    const int fixed = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    struct fixture *f = *state;
    pthread_t thread;

    f->config.threads = 2;
    f->config.write_protect = true;
    assert_true(try_new(f));
    assert_true(pgl_uffd_map(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
    assert_int_equal(ftruncate(f->file, 0), 0);
    assert_true(is_zero(f, 3)); /* protected, and not from the file */
    assert_errors(f, 1);
    fill(f->file, 0, NPAGES);
    __atomic_store_n(&slow_offset, 3 * PAGE, __ATOMIC_RELEASE);
    assert_int_equal(pthread_create(&thread, NULL, write_page_3, f), 0);
    while (__atomic_load_n(&slow_offset, __ATOMIC_ACQUIRE) != SLOW_NOW) {
        usleep(100);
    }
    assert_int_equal(munmap(f->memory, NPAGES * PAGE), 0);
    assert_ptr_equal(mmap(f->memory, NPAGES * PAGE, PROT_READ | PROT_WRITE, fixed, -1, 0), f->memory);
    assert_true(pgl_uffd_map(f->uffd, f->memory, 8 * PAGE, f->file, 20 * PAGE, PGL_ADVICE_RANDOM));
    assert_int_equal(pthread_join(thread, NULL), 0); /* the old memory was let go, and its thread woken */
    assert_unlocks(f, 0);
    assert_int_equal(madvise(f->memory, PAGE * NPAGES, MADV_DONTNEED), 0);
    assert_true(shows(f, 3, 23)); /* protected */
    __atomic_store_n(&slow_offset, -1, __ATOMIC_RELEASE);
    assert_unlocks(f, 1); /* the late one */
    f->memory[3 * PAGE] = 'w';
    assert_unlocks(f, 2);
}

/* The page that the program waits for is there, the rest of its cluster is on its way, and something else comes in. */
static void test_uffd_late_pages_do_not_enter_what_is_mapped_next(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ftruncate(f->file, PAGE), 0); /* page 0, a hole, and the rest */
    fill(f->file, 2, NPAGES - 2);
    assert_true(try_new(f));
    assert_true(try_map(f));
    __atomic_store_n(&slow_offset, 2 * PAGE, __ATOMIC_RELEASE);
    assert_true(is_page(f, 0));
    while (__atomic_load_n(&slow_offset, __ATOMIC_ACQUIRE) != SLOW_NOW) {
        usleep(100);
    }
    assert_true(try_unmap(f));
    assert_true(pgl_uffd_map(f->uffd, f->memory + 2 * PAGE, 8 * PAGE, f->file, 20 * PAGE, PGL_ADVICE_RANDOM));
    __atomic_store_n(&slow_offset, -1, __ATOMIC_RELEASE);
    for (uint64_t page = 2; page < 10; page++) {
        assert_true(shows(f, page, page + 18));
    }
    assert_true(is_zero(f, 11));
}

struct waiting {
    struct fixture *f;
    unsigned char value;
    bool came; /* atomic */
};

static void *touch_page_30(void *arg)
{
    struct waiting *w = arg;

    w->value = w->f->memory[30 * PAGE];
    __atomic_store_n(&w->came, true, __ATOMIC_RELEASE);
    return NULL;
}

/* Its cluster has data before and behind a hole: what is before does not delay it. */
static void test_uffd_page_that_is_waited_for_comes_first(void **state)
{
    struct fixture *f = *state;
    struct waiting w = {.f = f};
    struct pgl_advice_table table = *pgl_advice_shipped();
    pthread_t thread;

    table.row[PGL_ADVICE_NORMAL] = (struct pgl_advice_row){.before = 10, .after = 10};
    f->config.table = &table;
    assert_int_equal(ftruncate(f->file, 25 * PAGE), 0);
    assert_int_equal(ftruncate(f->file, 26 * PAGE), 0); /* page 25 is a hole */
    fill(f->file, 26, NPAGES - 26);
    assert_true(try_new(f));
    assert_true(pgl_uffd_map(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_NORMAL));
    __atomic_store_n(&slow_offset, 20 * PAGE, __ATOMIC_RELEASE);
    assert_int_equal(pthread_create(&thread, NULL, touch_page_30, &w), 0);
    for (unsigned tries = 0; tries < 2000 && !__atomic_load_n(&w.came, __ATOMIC_ACQUIRE); tries++) {
        usleep(1000);
    }
    assert_true(__atomic_load_n(&w.came, __ATOMIC_ACQUIRE));
    __atomic_store_n(&slow_offset, -1, __ATOMIC_RELEASE);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(w.value, (unsigned char)word_at(30 * PAGE));
    for (uint64_t page = 0; page < NPAGES; page++) {
        assert_true(page == 25 ? is_zero(f, page) : is_page(f, page));
    }
}

/* A forked child that cannot be watched is let go: it goes on without the file, and is counted. */
static void test_uffd_child_that_cannot_be_served_is_counted(void **state)
{
    static const int errors[] = {ENOMEM, ENOSPC};
    struct fixture *f = *state;
    struct pgl_uffd_stats stats;

    f->config.follow_forks = true;
    assert_true(try_new(f));
    assert_true(try_map(f));
    assert_true(is_page(f, 0));
    for (unsigned i = 0; i < 2; i++) {
        pid_t child;
        int status;

        fail_theirs(CALL_EPOLL_CTL, 0, errors[i], 1);
        child = fork();
        if (child == 0) {
            _exit(!is_page(f, 0) || !is_zero(f, NPAGES - 1));
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        pgl_uffd_get_stats(f->uffd, &stats);
        assert_int_equal(stats.errors, i + 1);
    }
    assert_true(is_page(f, NPAGES - 1));
}

#ifdef __SANITIZE_THREAD__
#define THREAD_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define THREAD_SANITIZED 1
#endif
#endif

/*
 * How often a read of the event fails. The thread sanitizer's runtime is locked while a thread forks, and handlers that
 * take turns come to want it.
 */
#ifdef THREAD_SANITIZED
#define OFTEN 1
#else
#define OFTEN 5
#endif

/* Descriptors or memory are short when the event is to be read, and then no more. */
static void test_uffd_fork_whose_event_cannot_be_read_at_once_returns(void **state)
{
    static const struct {
        int error;
        unsigned times;
    } all[] = {{EMFILE, 1}, {ENFILE, 1}, {EMFILE, OFTEN}, {ENOMEM, 1}, {ENOMEM, OFTEN}};
    struct fixture *f = *state;
    unsigned nfds;

    f->config.threads = 2;
    f->config.follow_forks = true;
    assert_true(try_new(f));
    assert_true(try_map(f));
    assert_true(is_page(f, 0));
    nfds = count_fds();
    for (unsigned i = 0; i < sizeof(all) / sizeof(*all); i++) {
        pid_t child;
        int status;

        fail_theirs(CALL_READ, 0, all[i].error, all[i].times);
        child = fork();
        if (child == 0) {
            _exit(!is_page(f, 0) || !is_page(f, NPAGES - 1));
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        assert_int_equal(count_fired(), all[i].times);
        assert_errors(f, 0);
        assert_fds(nfds + 1); /* of the last child, until there is another */
    }
    assert_true(is_page(f, NPAGES - 1));
}

/* ---- signals ---- */

static __thread bool is_programs; /* a thread of the program, not of the pager */
static struct fixture *signalled; /* whose memory the signal's handler touches */
static unsigned signals, strays;  /* both atomic: strays ran on a thread of the pager */

static void on_signal(int number)
{
    uint64_t page = __atomic_add_fetch(&signals, 1, __ATOMIC_RELAXED) * 7 % NPAGES;
    int error = errno;

    (void)number;
    if (is_programs) {
        (void)*(volatile unsigned char *)(signalled->memory + page * PAGE);
    } else {
        __atomic_fetch_add(&strays, 1, __ATOMIC_RELAXED);
    }
    errno = error;
}

/* All pages, again and again, until so many signals have come. */
static void touch_under_signals(struct fixture *f, unsigned enough)
{
    for (unsigned round = 0; __atomic_load_n(&signals, __ATOMIC_RELAXED) < enough || round < 50; round++) {
        for (uint64_t page = 0; page < NPAGES; page++) {
            assert_true(is_page(f, (page * 13 + round) % NPAGES));
        }
        assert_int_equal(madvise(f->memory, NPAGES * PAGE, MADV_DONTNEED), 0);
    }
}

/* Faults are interrupted by signals whose handlers fault themselves; the pager's only thread never runs one. */
static void test_uffd_signals_run_on_no_thread_of_the_pager(void **state)
{
    const struct itimerval often = {{0, 300}, {0, 300}}, never = {0};
    struct sigaction action = {.sa_handler = on_signal}, before;
    struct fixture *f = *state;
    sigset_t set;

    signalled = f;
    is_programs = true;
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    sigaction(SIGALRM, &action, &before);
    f->config.threads = 1;
    assert_true(try_new(f));
    assert_true(pgl_uffd_map(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
    setitimer(ITIMER_REAL, &often, NULL);
    touch_under_signals(f, 50);
    pthread_sigmask(SIG_BLOCK, &set, NULL); /* now they can only go to other threads */
    touch_under_signals(f, 0);
    setitimer(ITIMER_REAL, &never, NULL);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    sigaction(SIGALRM, &before, NULL);
    assert_int_equal(__atomic_load_n(&strays, __ATOMIC_RELAXED), 0);
    assert_true(__atomic_load_n(&signals, __ATOMIC_RELAXED) >= 50);
}

static void *touch_page_20(void *arg)
{
    const struct fixture *f = arg;

    return is_page(f, 20) ? NULL : arg;
}

static void *touch_page_0(void *arg)
{
    const struct fixture *f = arg;

    return is_page(f, 0) ? NULL : arg;
}

/* While the handler reads page 0, three threads come to want page 20: their messages are one batch. */
static void test_uffd_threads_that_want_a_page_read_it_once(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_stats stats;
    pthread_t threads[4];

    assert_true(try_new(f));
    assert_true(pgl_uffd_map(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
    __atomic_store_n(&slow_offset, 0, __ATOMIC_RELEASE);
    assert_int_equal(pthread_create(&threads[0], NULL, touch_page_0, f), 0);
    while (__atomic_load_n(&slow_offset, __ATOMIC_ACQUIRE) != SLOW_NOW) {
        usleep(100);
    }
    for (unsigned i = 1; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, touch_page_20, f), 0);
    }
    uffd_wait_for_pending(3);
    __atomic_store_n(&slow_offset, -1, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < 4; i++) {
        void *wrong;

        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
    assert_true(is_page(f, 40)); /* by then the rest of the batch has been answered */
    pgl_uffd_get_stats(f->uffd, &stats);
    assert_int_equal(stats.bytes_read, 3 * PAGE);
    assert_int_equal(stats.present, 0);
}

/* ---- events ---- */

struct change {
    unsigned char *memory; /* of SPARE pages */
    void (*act)(unsigned char *memory);
    pthread_t thread;
};

static void give_back(unsigned char *memory)
{
    madvise(memory, SPARE * PAGE, MADV_DONTNEED);
}

static void let_go(unsigned char *memory)
{
    munmap(memory, SPARE * PAGE);
}

static void move_down(unsigned char *memory)
{
    if (mremap(memory + PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, memory) != memory) {
        abort();
    }
}

#ifndef THREAD_SANITIZED /* whose runtime is locked while a thread forks */
static void fork_a_child(unsigned char *memory)
{
    pid_t child = fork();

    (void)memory;
    if (child == 0) {
        _exit(0);
    }
    if (waitpid(child, NULL, 0) != child) {
        abort();
    }
}
#endif

static void *change(void *arg)
{
    struct change *change = arg;

    change->act(change->memory);
    return NULL;
}

/* The handlers read pages; the other threads' faults wait, and then an event. Returns the counts at the end. */
static struct pgl_uffd_stats run_event_behind_faults(struct fixture *f, unsigned handlers, void (*act)(unsigned char *))
{
    struct change late = {.act = act};
    struct pgl_uffd_stats stats;
    struct crowd crowd;

    f->config.threads = handlers;
    f->config.follow_forks = true;
    assert_true(try_new(f));
    gather(&crowd, f);
    late.memory = crowd.memory + MANY * PAGE;
    close_gate();
    crowd_to(&crowd, handlers);
    wait_for_gate(handlers);
    crowd_to(&crowd, MANY);
    uffd_wait_for_pending(MANY - (int)handlers);
    assert_int_equal(pthread_create(&late.thread, NULL, change, &late), 0);
    uffd_wait_for_change();
    __atomic_store_n(&wakes, 0, __ATOMIC_RELEASE);
    alarm(20);
    open_gate();
    assert_int_equal(pthread_join(late.thread, NULL), 0);
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(pthread_join(crowd.member[i].thread, NULL), 0);
    }
    alarm(0);
    stats = stats_of(f);
    for (unsigned i = 0; i < MANY; i++) {
        assert_true(crowd.member[i].right);
    }
    undo_new(f);
    munmap(crowd.memory, (size_t)(MANY + SPARE) * PAGE);
    return stats;
}

/*
 * What the only handler has read is kept while it reads the event, and so are the threads whose faults it finds before
 * it: each is woken once for the event, and once when it has its page.
 */
static void test_uffd_event_is_read_before_faults_are_answered(void **state)
{
    static void (*const acts[])(unsigned char *) = {
        give_back,
        let_go,
        move_down,
#ifndef THREAD_SANITIZED
        fork_a_child,
#endif
    };
    struct fixture *f = *state;

    for (unsigned i = 0; i < sizeof(acts) / sizeof(*acts); i++) {
        struct pgl_uffd_stats stats = run_event_behind_faults(f, 1, acts[i]);

        assert_int_equal(stats.removes + stats.unmaps + stats.remaps + stats.forks, acts[i] == move_down ? 3 : 1);
        assert_int_equal(stats.faults, MANY);
        assert_int_equal(stats.requests, MANY);
        assert_int_equal(stats.bytes_read, MANY * PAGE);
        assert_int_equal(stats.pages_fetched, MANY);
        assert_int_equal(__atomic_load_n(&wakes, __ATOMIC_ACQUIRE), MANY + 1);
        if (acts[i] != move_down) {
            assert_int_equal(stats.again, 1);
        }
    }
}

static void test_uffd_event_is_read_by_whichever_handler_is_refused(void **state)
{
    struct fixture *f = *state;

    for (unsigned handlers = 2; handlers <= 8; handlers *= 2) {
        struct pgl_uffd_stats stats = run_event_behind_faults(f, handlers, give_back);

        assert_int_equal(stats.removes, 1);
        assert_true(stats.again >= 1);
        assert_int_equal(stats.pages_fetched, MANY);
    }
}

/* No copy is refused where nothing can be read: a handler that wants the page tried again reads the event all the same. */
static unsigned tries_before_event; /* atomic */

static enum pgl_uffd_remedy on_failure_look(void *arg, const void *addr, int error)
{
    const struct fixture *f = arg;

    (void)addr;
    (void)error;
    __atomic_fetch_add(&tries_before_event, stats_of(f).removes == 0, __ATOMIC_RELEASE);
    return PGL_UFFD_AGAIN;
}

static void test_uffd_event_is_read_though_every_page_is_bad(void **state)
{
    struct fixture *f = *state;
    struct change late = {.act = give_back};
    struct crowd crowd;

    f->config.failed = on_failure_look;
    f->config.arg = f;
    assert_true(try_new(f));
    gather(&crowd, f);
    late.memory = crowd.memory + MANY * PAGE;
    close_gate();
    fail_theirs(CALL_PREAD, 0, EIO, UINT_MAX);
    crowd_to(&crowd, 1);
    wait_for_gate(1);
    crowd_to(&crowd, MANY);
    uffd_wait_for_pending(MANY - 1);
    assert_int_equal(pthread_create(&late.thread, NULL, change, &late), 0);
    uffd_wait_for_change();
    __atomic_store_n(&tries_before_event, 0, __ATOMIC_RELEASE);
    alarm(20);
    open_gate();
    assert_int_equal(pthread_join(late.thread, NULL), 0);
    fail_theirs(CALL_NONE, 0, 0, 0);
    disperse(&crowd);
    alarm(0);
    assert_int_equal(__atomic_load_n(&tries_before_event, __ATOMIC_ACQUIRE), 1);
}

/* Reading an event wakes its thread: it sees the counts when the event is in them. */
static void test_uffd_event_is_counted_before_its_thread_sees_the_counts(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_stats stats;

    assert_true(try_new(f));
    assert_true(try_map(f));
    __atomic_store_n(&look, LOOK_LATER, __ATOMIC_RELEASE);
    madvise(f->memory, PAGE, MADV_DONTNEED);
    __atomic_store_n(&look, LOOK_NOW, __ATOMIC_RELEASE);
    stats = stats_of(f);
    __atomic_store_n(&look, LOOK_NO, __ATOMIC_RELEASE);
    assert_int_equal(stats.removes, 1);
}

/* Zeros and the end of a protection are refused as copies are: the same fault goes on with them. */
static void test_uffd_whatever_is_refused_is_done_by_the_same_fault(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_stats stats;
    unsigned char *grown;

    f->config.write_protect = true;
    assert_true(try_new(f));
    assert_true(pgl_uffd_map(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
    assert_true(is_page(f, 1));
    fail_theirs(CALL_IOCTL, UFFDIO_WRITEPROTECT, EAGAIN, 2);
    f->memory[PAGE] = 'w'; /* a page that is there */
    assert_int_equal(count_fired(), 2);
    stats = stats_of(f);
    assert_int_equal(stats.faults, 2);
    assert_int_equal(stats.unlocks, 1);
    assert_int_equal(stats.again, 1);
    fail_theirs(CALL_IOCTL, UFFDIO_WRITEPROTECT, EAGAIN, 2);
    f->memory[2 * PAGE] = 'w'; /* and one that is not */
    assert_int_equal(count_fired(), 2);
    stats = stats_of(f);
    assert_int_equal(stats.faults, 3);
    assert_int_equal(stats.unlocks, 1);
    grown = mremap(f->memory, NPAGES * PAGE, 2 * NPAGES * PAGE, MREMAP_MAYMOVE);
    assert_true(grown != MAP_FAILED);
    f->memory = grown;
    fail_theirs(CALL_IOCTL, UFFDIO_ZEROPAGE, EAGAIN, 1);
    f->memory[NPAGES * PAGE] = 'w';
    assert_int_equal(count_fired(), 1);
    assert_int_equal(stats_of(f).faults, 4);
    munmap(grown + NPAGES * PAGE, NPAGES * PAGE);
}

/* ---- bad pages ---- */

static unsigned asked; /* atomic, as the other is */
static bool enough;

static enum pgl_uffd_remedy on_failure_again(void *arg, const void *addr, int error)
{
    (void)arg;
    (void)addr;
    (void)error;
    __atomic_fetch_add(&asked, 1, __ATOMIC_RELEASE);
    return __atomic_load_n(&enough, __ATOMIC_ACQUIRE) ? PGL_UFFD_ZERO : PGL_UFFD_AGAIN;
}

static void *touch_bad_page(void *arg)
{
    const struct fixture *f = arg;

    return is_zero(f, 5) ? NULL : arg;
}

/* Sixteen threads wait for a page that is tried again and again: once each time, and no handler sleeps over it. */
static void test_uffd_bad_page_is_tried_once_in_a_while_and_delays_no_handler(void **state)
{
    enum { NTHREADS = 16, NTRIES = 5 };
    struct fixture *f = *state;
    pthread_t threads[NTHREADS];
    unsigned tries;

    f->config.failed = on_failure_again;
    assert_true(try_new(f));
    assert_true(pgl_uffd_map(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
    __atomic_store_n(&asked, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&enough, false, __ATOMIC_RELEASE);
    __atomic_store_n(&bad_offset, 5 * PAGE, __ATOMIC_RELEASE);
    __atomic_store_n(&timers, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&sleeps, 0, __ATOMIC_RELEASE);
    alarm(20);
    for (unsigned i = 0; i < NTHREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, touch_bad_page, f), 0);
    }
    while ((tries = __atomic_load_n(&asked, __ATOMIC_ACQUIRE)) < NTRIES) {
        usleep(100);
    }
    assert_true(tries <= __atomic_load_n(&timers, __ATOMIC_ACQUIRE) + 1);
    for (uint64_t page = 0; page < NPAGES; page++) {
        assert_true(page == 5 || is_page(f, page));
    }
    assert_int_equal(__atomic_load_n(&sleeps, __ATOMIC_ACQUIRE), 0);
    __atomic_store_n(&enough, true, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < NTHREADS; i++) {
        void *wrong;

        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
    alarm(0);
    assert_errors(f, 1);
}

/* ---- the end ---- */

static void *free_pager(void *arg)
{
    struct fixture *f = arg;

    is_freeing = true;
    undo_new(f);
    return NULL;
}

/* More faults than a batch wait when the pager is told to end. */
static void test_uffd_faults_that_wait_at_the_end_are_answered(void **state)
{
    struct fixture *f = *state;
    struct crowd crowd;
    pthread_t thread;

    assert_true(try_new(f));
    gather(&crowd, f);
    close_gate();
    crowd_to(&crowd, 1);
    wait_for_gate(1);
    crowd_to(&crowd, MANY);
    uffd_wait_for_pending(MANY - 1);
    __atomic_store_n(&joining, false, __ATOMIC_RELEASE);
    assert_int_equal(pthread_create(&thread, NULL, free_pager, f), 0);
    while (!__atomic_load_n(&joining, __ATOMIC_ACQUIRE)) {
        usleep(100);
    }
    alarm(20);
    open_gate();
    assert_int_equal(pthread_join(thread, NULL), 0);
    disperse(&crowd);
    alarm(0);
}

static bool permitted(void)
{
    const struct pgl_uffd_config config = {.follow_forks = true};
    struct pgl_uffd *uffd = pgl_uffd_new(&config);

    if (!uffd) {
        printf("SKIP: %s\n", pgl_uffd_explain(errno));
        return false;
    }
    pgl_uffd_free(uffd);
    return true;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_new_fails_with_the_errno_of_each_call),
        TEST(test_uffd_map_fails_with_the_errno_of_each_call),
        TEST(test_uffd_file_whose_holes_cannot_be_told_is_read),
        TEST(test_uffd_holes_are_whole_pages),
        TEST(test_uffd_file_is_read_in_whole_pages),
        TEST(test_uffd_file_that_two_threads_open_is_one),
        TEST(test_uffd_map_of_more_holes_than_there_is_memory_for_fails),
        TEST(test_uffd_map_finds_each_page_that_stays),
        TEST(test_uffd_map_refuses_memory_that_does_not_become_empty),
        TEST(test_uffd_user_with_the_device_pages_a_file_in),
        TEST(test_uffd_user_without_the_device_has_user_mode),
        TEST(test_uffd_user_mode_is_the_last_resort),
        TEST(test_uffd_unmap_fails_with_the_errno_of_the_kernel),
        TEST(test_uffd_handler_outlives_each_error_of_its_calls),
        TEST(test_uffd_answers_of_the_kernel_are_counted),
        TEST(test_uffd_latencies_are_those_of_the_clock),
        TEST(test_uffd_bad_page_spoils_no_neighbour),
        TEST(test_uffd_page_looked_for_again_is_read_again_if_it_fails),
        TEST(test_uffd_late_write_unprotects_no_other_file),
        TEST(test_uffd_threads_that_want_a_page_read_it_once),
        TEST(test_uffd_late_pages_do_not_enter_what_is_mapped_next),
        TEST(test_uffd_page_that_is_waited_for_comes_first),
        TEST(test_uffd_child_that_cannot_be_served_is_counted),
        TEST(test_uffd_fork_whose_event_cannot_be_read_at_once_returns),
        TEST(test_uffd_signals_run_on_no_thread_of_the_pager),
        TEST(test_uffd_event_is_read_before_faults_are_answered),
        TEST(test_uffd_event_is_read_by_whichever_handler_is_refused),
        TEST(test_uffd_event_is_read_though_every_page_is_bad),
        TEST(test_uffd_event_is_counted_before_its_thread_sees_the_counts),
        TEST(test_uffd_whatever_is_refused_is_done_by_the_same_fault),
        TEST(test_uffd_bad_page_is_tried_once_in_a_while_and_delays_no_handler),
        TEST(test_uffd_faults_that_wait_at_the_end_are_answered),
    };
#undef TEST

    return permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
