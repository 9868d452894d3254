/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../cm.h"
#include "calls.h"
#include "waits.h"

struct failing_call mine;
__thread bool is_mine;

/* Of the handlers: so many calls of a kind fail. Under the lock. */
static struct {
    pthread_mutex_t lock;
    enum call call;
    unsigned long request; /* of an ioctl(), the advice of a madvise(), or whence of an lseek() */
    int error;             /* 0: they do less than they were asked to; LIE: and say that they did it all */
    unsigned times, fired;
} theirs = {.lock = PTHREAD_MUTEX_INITIALIZER};

off_t bad_offset = -1;
off_t slow_offset = -1;

bool clock_stopped;
uint64_t clock_now, read_takes;

bool gate_closed;
unsigned at_gate;

unsigned wakes;
static unsigned self_wakes; /* atomic */
unsigned timers;

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
WRAP(int, eventfd, (unsigned n, int flags), (n, flags), CALL_EVENTFD, 0)
WRAP(int, timerfd_create, (int clock, int flags), (clock, flags), CALL_TIMERFD, 0)
WRAP(int, mprotect, (void *addr, size_t length, int prot), (addr, length, prot), CALL_MPROTECT, 0)
WRAP(int, munlock, (const void *addr, size_t length), (addr, length), CALL_MUNLOCK, 0)
WRAP(int, msync, (void *addr, size_t length, int flags), (addr, length, flags), CALL_MSYNC, 0)

bool patient;
unsigned handler_waits, handler_reads, handlers_waiting;

int __real_epoll_wait(int fd, struct epoll_event *events, int n, int timeout);
int __wrap_epoll_wait(int fd, struct epoll_event *events, int n, int timeout);
int __wrap_epoll_wait(int fd, struct epoll_event *events, int n, int timeout)
{
    int result;

    __atomic_fetch_add(&handler_waits, 1, __ATOMIC_RELEASE);
    __atomic_fetch_add(&handlers_waiting, 1, __ATOMIC_RELEASE);
    result = inject(CALL_EPOLL_WAIT, 0) ? -1 : __real_epoll_wait(fd, events, n, timeout);
    __atomic_fetch_sub(&handlers_waiting, 1, __ATOMIC_RELEASE);
    return result;
}

/* Read a message, and wait for it if the test says so. */
static ssize_t read_message(int fd, void *buffer, size_t length)
{
    ssize_t n = __real_read(fd, buffer, length);

    while (n < 0 && errno == EAGAIN && __atomic_load_n(&patient, __ATOMIC_ACQUIRE)) {
        usleep(100);
        n = __real_read(fd, buffer, length);
    }
    __atomic_fetch_add(&handler_reads, 1, __ATOMIC_RELEASE);
    return n;
}

bool swapped;
void (*after_mincore)(const unsigned char *addr, size_t npages, unsigned char *resident);

int __real_mincore(void *addr, size_t length, unsigned char *resident);
int __wrap_mincore(void *addr, size_t length, unsigned char *resident);
int __wrap_mincore(void *addr, size_t length, unsigned char *resident)
{
    void (*change)(const unsigned char *, size_t, unsigned char *) = __atomic_load_n(&after_mincore, __ATOMIC_ACQUIRE);
    int result = inject(CALL_MINCORE, 0) ? -1 : __real_mincore(addr, length, resident);

    for (size_t page = 0; swapped && result == 0 && page < length / PAGE; page++) {
        resident[page] = 0;
    }
    if (change && result == 0) {
        change(addr, length / PAGE, resident);
    }
    return result;
}

off_t told_size = -1;
bool told_foreign;

int __real_fstat64(int fd, struct stat *st);
int __wrap_fstat64(int fd, struct stat *st);
int __wrap_fstat64(int fd, struct stat *st)
{
    off_t size = __atomic_load_n(&told_size, __ATOMIC_ACQUIRE);
    int result = inject(CALL_FSTAT, 0) ? -1 : __real_fstat64(fd, st);

    st->st_size = result == 0 && size >= 0 ? size : st->st_size;
    st->st_uid += told_foreign;
    return result;
}

bool mappable;

void *__real_mmap64(void *addr, size_t length, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *addr, size_t length, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
    if (fd >= 0 && !mappable) {
        errno = ENODEV;
        return MAP_FAILED;
    }
    return inject(CALL_MMAP, fd >= 0) ? MAP_FAILED : __real_mmap64(addr, length, prot, flags, fd, offset);
}

bool direct;

int __real_fcntl64(int fd, int command, long arg);
int __wrap_fcntl64(int fd, int command, long arg);
int __wrap_fcntl64(int fd, int command, long arg)
{
    int result = inject(CALL_FCNTL, (unsigned long)command) ? -1 : __real_fcntl64(fd, command, arg);

    return result >= 0 && command == F_GETFL && direct ? result | O_DIRECT : result;
}

const off_t *extents;

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

bool nothing_drops;

void (*before_populate)(const unsigned char *addr, size_t length);

int __real_madvise(void *addr, size_t length, int advice);
int __wrap_madvise(void *addr, size_t length, int advice);
int __wrap_madvise(void *addr, size_t length, int advice)
{
    void (*note)(const unsigned char *, size_t) = __atomic_load_n(&before_populate, __ATOMIC_ACQUIRE);
    int error = inject(CALL_MADVISE, (unsigned long)advice);

    if (error != 0) {
        return error == LIE ? 0 : -1;
    }
    if (nothing_drops && (advice == MADV_DONTNEED || advice == MADV_DONTNEED_LOCKED)) {
        errno = EINVAL;
        return -1;
    }
    if (note && advice == MADV_POPULATE_READ && !is_mine) {
        note(addr, length);
    }
    return __real_madvise(addr, length, advice);
}

enum record record;

/* Whether the kernel refuses its record of written pages here. */
static bool refuses_record(unsigned long request, const void *arg)
{
    enum record at = __atomic_load_n(&record, __ATOMIC_RELAXED);
    const struct uffdio_api *api = arg;
    const uint64_t asynchronous = 1 << 15;

    if (at == NO_SCAN && request == PAGEMAP_SCAN_REQUEST) {
        errno = ENOTTY;
        return true;
    }
    if (at == NO_ASYNC && request == UFFDIO_API && (api->features & asynchronous) != 0) {
        errno = EINVAL;
        return true;
    }
    return false;
}

unsigned to_open;

static void meet_to_open(void)
{
    unsigned n = __atomic_load_n(&to_open, __ATOMIC_ACQUIRE);

    while (n && !__atomic_compare_exchange_n(&to_open, &n, n - 1, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
    }
    while (__atomic_load_n(&to_open, __ATOMIC_ACQUIRE)) {
    }
}

struct doors doors = {.device = -1};

int processor = PROCESSOR_REAL;
unsigned looks;

/* Opens a file that says where a thread runs. Its name is one that could be taken for more fields. */
static int open_processor(int at)
{
    int fd = memfd_create("stat", MFD_CLOEXEC);

    __atomic_fetch_add(&looks, 1, __ATOMIC_RELEASE);
    if (at >= 0) {
        dprintf(fd,
                "7 (a) b 1) S 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 "
                "35 36 37 38 %d 40 41 42\n",
                at);
    } else if (at == PROCESSOR_NO_FIELD) {
        dprintf(fd, "7 (a) S 3 4\n");
    }
    lseek(fd, 0, SEEK_SET);
    if (at == PROCESSOR_NO_FILE) {
        close(fd);
        errno = ENOENT;
        return -1;
    }
    return fd;
}

int __real_open64(const char *path, int flags);
int __wrap_open64(const char *path, int flags);
int __wrap_open64(const char *path, int flags)
{
    if (inject(CALL_OPEN, 0)) {
        return -1;
    }
    int at = __atomic_load_n(&processor, __ATOMIC_RELAXED);

    if (strncmp(path, "/proc/self/task/", 16) == 0 && at != PROCESSOR_REAL) {
        return open_processor(at);
    }
    if (strncmp(path, "/proc/self/fd/", 14) == 0) {
        meet_to_open();
    }
    if (strcmp(path, "/proc/self/pagemap") == 0 && __atomic_load_n(&record, __ATOMIC_RELAXED) == NO_PAGEMAP) {
        errno = ENOENT;
        return -1;
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

int look;

bool no_nowait;

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
    bool messages = length >= sizeof(struct uffd_msg) && length % sizeof(struct uffd_msg) == 0;
    int error = inject(CALL_READ, 0);
    size_t less = error < 0 && messages ? sizeof(struct uffd_msg) : length;
    ssize_t n = error > 0 ? -1 : messages ? read_message(fd, buffer, less) : __real_read(fd, buffer, less);

    if (n == sizeof(struct uffd_msg) && ((struct uffd_msg *)buffer)->event != UFFD_EVENT_PAGEFAULT) {
        hold_event();
    }
    __atomic_fetch_add(&timers, n == sizeof(uint64_t), __ATOMIC_RELEASE); /* messages are longer */
    return n;
}

#ifdef PGL_NOWAIT
ssize_t __real_preadv64v2(int fd, const struct iovec *parts, int n, off_t offset, int flags);
ssize_t __wrap_preadv64v2(int fd, const struct iovec *parts, int n, off_t offset, int flags);
ssize_t __wrap_preadv64v2(int fd, const struct iovec *parts, int n, off_t offset, int flags)
{
    struct iovec part = *parts;
    int error;

    if (__atomic_load_n(&no_nowait, __ATOMIC_RELAXED)) {
        errno = EOPNOTSUPP;
        return -1;
    }
    error = inject(CALL_READ, 0);
    part.iov_len = error < 0 ? sizeof(struct uffd_msg) : part.iov_len;
    return error > 0 ? -1 : __real_preadv64v2(fd, &part, n, offset, flags);
}
#endif

static void wait_at_gate(void)
{
    if (!__atomic_load_n(&gate_closed, __ATOMIC_ACQUIRE)) {
        return;
    }
    __atomic_fetch_add(&at_gate, 1, __ATOMIC_RELEASE);
    while (__atomic_load_n(&gate_closed, __ATOMIC_ACQUIRE)) {
        usleep(100);
    }
    __atomic_fetch_sub(&at_gate, 1, __ATOMIC_RELEASE);
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

/* Whether the kernel wakes the threads that wait for a page as soon as this call has installed it. */
static bool wakes_by_itself(unsigned long request, const void *arg)
{
    const struct uffdio_copy *copy = arg;
    const struct uffdio_zeropage *zero = arg;
    const struct uffdio_continue *show = arg;

    return (request == UFFDIO_CONTINUE && !(show->mode & UFFDIO_CONTINUE_MODE_DONTWAKE)) ||
           (request == UFFDIO_COPY && !(copy->mode & UFFDIO_COPY_MODE_DONTWAKE)) ||
           (request == UFFDIO_ZEROPAGE && !(zero->mode & UFFDIO_ZEROPAGE_MODE_DONTWAKE));
}

void (*before_ioctl)(unsigned long request);

bool no_poison;
uint64_t hidden_features;

int __real_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
    void (*before)(unsigned long request);
    struct uffdio_copy *copy = arg;
    int error = inject(CALL_IOCTL, request);
    int result;

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
    if (error > 0 || refuses_record(request, arg)) {
        return -1;
    }
    before = __atomic_load_n(&before_ioctl, __ATOMIC_RELAXED);
    if (before) {
        before(request);
    }
    if (request == UFFDIO_API && (((struct uffdio_api *)arg)->features & hidden_features) != 0) {
        errno = EINVAL; /* as the kernel of what it does not know */
        return -1;
    }
    result = __real_ioctl(fd, request, arg);
    if (request == UFFDIO_API && no_poison) {
        ((struct uffdio_api *)arg)->features &= ~(__u64)FEATURE_POISON;
    }
    if (request == UFFDIO_API) {
        ((struct uffdio_api *)arg)->features &= ~hidden_features;
    }
    __atomic_fetch_add(&self_wakes, result == 0 && wakes_by_itself(request, arg), __ATOMIC_RELAXED);
    return result;
}

void fail_theirs(enum call call, unsigned long request, int error, unsigned times)
{
    pthread_mutex_lock(&theirs.lock);
    theirs.call = call;
    theirs.request = request;
    theirs.error = error;
    theirs.times = times;
    theirs.fired = 0;
    pthread_mutex_unlock(&theirs.lock);
}

unsigned count_fired(void)
{
    unsigned fired;

    pthread_mutex_lock(&theirs.lock);
    fired = theirs.fired;
    pthread_mutex_unlock(&theirs.lock);
    return fired;
}

bool shows(const struct fixture *f, uint64_t page, uint64_t file_page)
{
    return is_page(f->memory + page * PAGE, file_page);
}

bool shows_page(const struct fixture *f, uint64_t page)
{
    return shows(f, page, page);
}

bool shows_zeros(const struct fixture *f, uint64_t page)
{
    return is_zero(f->memory + page * PAGE);
}

void new_memory(struct fixture *f)
{
    f->memory = mmap(NULL, NPAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(f->memory != MAP_FAILED);
}

void renew_memory(struct fixture *f)
{
    munmap(f->memory, NPAGES * PAGE);
    new_memory(f);
}

int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    f->file = memfd_create("pages", MFD_CLOEXEC);
    fill(f->file, 0, NPAGES);
    new_memory(f);
    *state = f;
    return 0;
}

int tear_down(void **state)
{
    struct fixture *f = *state;

    is_mine = false;
    fail_theirs(CALL_NONE, 0, 0, 0);
    __atomic_store_n(&bad_offset, -1, __ATOMIC_RELEASE);
    __atomic_store_n(&slow_offset, -1, __ATOMIC_RELEASE);
    __atomic_store_n(&told_size, -1, __ATOMIC_RELEASE);
    __atomic_store_n(&gate_closed, false, __ATOMIC_RELEASE);
    __atomic_store_n(&clock_stopped, false, __ATOMIC_RELEASE);
    pgl_uffd_free(f->uffd);
    if (doors.device >= 0) {
        close(doors.device);
    }
    doors.device = -1;
    doors.restricted = false;
    __atomic_store_n(&processor, PROCESSOR_REAL, __ATOMIC_RELAXED);
    direct = mappable = nothing_drops = no_poison = swapped = told_foreign = false;
    __atomic_store_n(&before_populate, NULL, __ATOMIC_RELAXED);
    __atomic_store_n(&after_mincore, NULL, __ATOMIC_RELAXED);
    hidden_features = 0;
    __atomic_store_n(&before_ioctl, NULL, __ATOMIC_RELAXED);
    __atomic_store_n(&record, RECORD, __ATOMIC_RELAXED);
    extents = NULL;
    munmap(f->memory, NPAGES * PAGE);
    close(f->file);
    free(f);
    /* A handler wakes threads itself, after it has counted its work for them. */
    return __atomic_exchange_n(&self_wakes, 0, __ATOMIC_RELAXED) != 0;
}

void assert_errors(const struct fixture *f, unsigned n)
{
    assert_int_equal(stats_of(f).errors, n);
}

void assert_unlocks(const struct fixture *f, unsigned n)
{
    for (unsigned tries = 0; tries < 2000 && stats_of(f).unlocks < n; tries++) {
        usleep(1000);
    }
    assert_int_equal(stats_of(f).unlocks, n);
}

void close_gate(void)
{
    __atomic_store_n(&gate_closed, true, __ATOMIC_RELEASE);
}

void open_gate(void)
{
    __atomic_store_n(&gate_closed, false, __ATOMIC_RELEASE);
}

void wait_for_gate(unsigned n)
{
    while (__atomic_load_n(&at_gate, __ATOMIC_ACQUIRE) != n) {
        usleep(100);
    }
}

bool run_failing(struct fixture *f, bool (*try)(struct fixture *f), unsigned at, int error)
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

bool try_new(struct fixture *f)
{
    f->uffd = pgl_uffd_new(&f->config);
    return f->uffd != NULL;
}

void undo_new(struct fixture *f)
{
    pgl_uffd_free(f->uffd);
    f->uffd = NULL;
}

bool try_map(struct fixture *f)
{
    return map_zeroing(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_SEQUENTIAL);
}

bool try_unmap(struct fixture *f)
{
    return pgl_uffd_unmap(f->uffd, f->memory, NPAGES * PAGE);
}

void undo_map(struct fixture *f)
{
    assert_true(shows_page(f, 3));
    assert_true(pgl_uffd_unmap(f->uffd, f->memory, NPAGES * PAGE));
    renew_memory(f);
}

bool set_way(struct fixture *f, int way)
{
    f->config.write_protect = way == PROTECTED;
    f->config.track_dirty = way == RECORDED || way == BY_FAULTS;
    __atomic_store_n(&record, way == BY_FAULTS ? NO_ASYNC : RECORD, __ATOMIC_RELAXED);
    return true;
}

int set_up_signal(void **state)
{
    signal(SIGBUS, SIG_DFL);
    return set_up(state);
}

int tear_down_signal(void **state)
{
    int result = tear_down(state);

    signal(SIGBUS, SIG_DFL);
    return result;
}
