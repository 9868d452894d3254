/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Each call is one step of its thread: it is a read-modify-write of the file's word, which orders it among the calls
 * for that file, and makes what its thread did before visible to those after. The state itself is the runtime's, and no
 * part of the schedule's memory. Time passes when a timer is asked for: one that is set has expired.
 *
 * A userfaultfd behaves as userfaultfd(2) and ioctl_userfaultfd(2) say. A thread that gives pages back sleeps until its
 * event was read, and from the event until the thread runs again no page can be installed.
 */
#include "kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdarg.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "../../src/uffd/linux_internal.h"
#include "engine.h"

#define FIRST_FD 1000
#define NFDS 24
#define NFILES 16
#define ALL_THREADS EXPLORE_THREADS

#define WRAP(type, name, ...)                                                                                          \
    type __real_##name(__VA_ARGS__);                                                                                   \
    type __wrap_##name(__VA_ARGS__);                                                                                   \
    type __wrap_##name(__VA_ARGS__)

#define PC __builtin_return_address(0)

enum kind { NO_FILE, EVENT, TIMER, EPOLL, USERFAULTFD };
enum { ABSENT = 0, POISON = -1 }; /* a page; otherwise its first byte + 1 */

struct file {
    enum kind kind;
    unsigned int nfds;
    uint64_t counter; /* of an event or a timer */
    struct {
        int fd; /* 0: none */
        uint64_t data;
    } watched[NFDS];
    /* Of a userfaultfd. */
    bool kept;
    bool dead;
    bool registered;
    unsigned int changing;
    int pages[KERNEL_PAGES];
};

static struct {
    struct file files[NFILES];
    struct file *fds[NFDS];
    uint64_t words[NFILES]; /* each file's, in the schedule's memory */
    /* The thread of a process that sleeps in a fault, or until its event is read. */
    struct {
        struct file *file;
        unsigned int page;
        bool removes;
        bool unread;
    } asleep[ALL_THREADS];
    struct {
        void *(*start)(void *arg);
        void *arg;
        bool ended;
    } threads[ALL_THREADS];
    uint64_t thread_words[ALL_THREADS];
    unsigned int nthreads;
    const void *unreadable;
    uint64_t now;
    const struct kernel_calls *calls; /* of the scenario */
} kernel;

void kernel_reset(void)
{
    memset(&kernel, 0, sizeof(kernel));
}

void kernel_use(const struct kernel_calls *calls)
{
    kernel.calls = calls;
}

static bool add_one(uint64_t *word, uint64_t a, uint64_t b)
{
    (void)a;
    (void)b;
    ++*word;
    return true;
}

static void step_at(uint64_t *word, const void *pc)
{
    bool updated;

    memory_update((uintptr_t)word, 8, add_one, 0, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED, &updated, pc);
}

static void step(const struct file *file, const void *pc)
{
    step_at(&kernel.words[file - kernel.files], pc);
}

static bool is_ours(int fd)
{
    return engine_running() && fd >= FIRST_FD && fd < FIRST_FD + NFDS;
}

static struct file *file_of(int fd)
{
    struct file *file = fd >= FIRST_FD && fd < FIRST_FD + NFDS ? kernel.fds[fd - FIRST_FD] : NULL;

    if (!file) {
        explore_fail("a call for descriptor %d, which is closed", fd);
    }
    return file;
}

static int open_file(struct file *file)
{
    for (int i = 0; i < NFDS; i++) {
        if (!kernel.fds[i]) {
            kernel.fds[i] = file;
            file->nfds++;
            return FIRST_FD + i;
        }
    }
    explore_fail("the explorer's kernel has no descriptor left");
}

static int new_file(enum kind kind)
{
    for (int i = 0; i < NFILES; i++) {
        if (kernel.files[i].kind == NO_FILE) {
            kernel.files[i] = (struct file){.kind = kind};
            return open_file(&kernel.files[i]);
        }
    }
    explore_fail("the explorer's kernel has no file left");
}

/* Threads that sleep in a fault of these pages go on. */
static void wake(const struct file *file, uint64_t first, uint64_t npages)
{
    for (int t = 0; t < ALL_THREADS; t++) {
        if (kernel.asleep[t].file == file && !kernel.asleep[t].removes && kernel.asleep[t].page - first < npages) {
            kernel.asleep[t].file = NULL;
        }
    }
}

static bool is_awake(uintptr_t thread, uintptr_t unused)
{
    (void)unused;
    return !kernel.asleep[thread].file;
}

static void sleep_in(struct file *file, unsigned int page, bool removes)
{
    int me = explore_self();

    kernel.asleep[me].file = file;
    kernel.asleep[me].page = page;
    kernel.asleep[me].removes = removes;
    kernel.asleep[me].unread = true;
    engine_trace(PC, removes ? "sleeps until its event is read" : "sleeps in a fault");
    engine_block(is_awake, (uintptr_t)me, 0);
}

/* ---- processes ---- */

int kernel_process(bool keeps)
{
    int fd = new_file(USERFAULTFD);

    file_of(fd)->kept = keeps;
    file_of(fd)->registered = true;
    return fd;
}

static bool serves(const struct file *file)
{
    return file->registered && (file->kept || file->nfds > 0);
}

static int touch(struct file *file, unsigned int page)
{
    for (;;) {
        step(file, PC);
        if (file->dead) {
            return KERNEL_KILLED;
        }
        if (file->pages[page] == ABSENT && !serves(file)) {
            file->pages[page] = 1;
        }
        if (file->pages[page] != ABSENT) {
            return file->pages[page] == POISON ? KERNEL_SIGBUS : file->pages[page] - 1;
        }
        sleep_in(file, page, false);
    }
}

/* A file stays, and processes are made before anything is closed. */
static struct file *process_of(int fd)
{
    return &kernel.files[fd - FIRST_FD];
}

int kernel_touch(int fd, unsigned int page)
{
    return touch(process_of(fd), page);
}

void kernel_give_back(int fd, unsigned int page)
{
    struct file *file = process_of(fd);

    step(file, PC);
    if (serves(file) && !file->dead) {
        file->changing++;
        sleep_in(file, page, true);
        step(file, PC);
        file->changing--;
    }
    step(file, PC);
    if (!file->dead) {
        file->pages[page] = ABSENT;
    }
}

void kernel_kill(int fd)
{
    struct file *file = process_of(fd);

    step(file, PC);
    file->dead = true;
    file->kept = false;
    for (int t = 0; t < ALL_THREADS; t++) {
        if (kernel.asleep[t].file == file) {
            kernel.asleep[t].file = NULL;
        }
    }
}

void kernel_check(void)
{
    for (int i = 0; i < NFDS; i++) {
        if (kernel.fds[i]) {
            explore_fail("descriptor %d is not closed", FIRST_FD + i);
        }
    }
}

/* ---- descriptors ---- */

void kernel_close(int fd)
{
    struct file *file = file_of(fd);

    step(file, PC);
    kernel.fds[fd - FIRST_FD] = NULL;
    file->nfds--;
    if (file->kind == USERFAULTFD && !serves(file)) {
        wake(file, 0, KERNEL_PAGES);
    }
}

WRAP(int, close, int fd)
{
    if (!is_ours(fd)) {
        return __real_close(fd);
    }
    kernel_close(fd);
    return 0;
}

WRAP(int, open64, const char *path, int flags)
{
    if (!engine_running()) {
        return __real_open64(path, flags);
    }
    errno = ENOENT;
    return -1;
}

WRAP(long, syscall, long number, long arg)
{
    return engine_running() && number == SYS_userfaultfd ? new_file(USERFAULTFD) : __real_syscall(number, arg);
}

WRAP(int, fcntl64, int fd, int command, long arg)
{
    if (!is_ours(fd)) {
        return __real_fcntl64(fd, command, arg);
    }
    step(file_of(fd), PC);
    return command == F_DUPFD_CLOEXEC ? open_file(file_of(fd)) : command == F_GETFL ? O_NONBLOCK : 0;
}

WRAP(int, eventfd, unsigned int n, int flags)
{
    return engine_running() ? new_file(EVENT) : __real_eventfd(n, flags);
}

/* The one that is read has EFD_SEMAPHORE. */
WRAP(int, eventfd_read, int fd, eventfd_t *value)
{
    struct file *file;

    if (!is_ours(fd)) {
        return __real_eventfd_read(fd, value);
    }
    file = file_of(fd);
    step(file, PC);
    if (file->counter == 0) {
        errno = EAGAIN;
        return -1;
    }
    file->counter--;
    *value = 1;
    return 0;
}

WRAP(int, eventfd_write, int fd, eventfd_t value)
{
    if (!is_ours(fd)) {
        return __real_eventfd_write(fd, value);
    }
    step(file_of(fd), PC);
    file_of(fd)->counter += value;
    return 0;
}

WRAP(int, timerfd_create, int clock, int flags)
{
    return engine_running() ? new_file(TIMER) : __real_timerfd_create(clock, flags);
}

WRAP(int, timerfd_settime, int fd, int flags, const struct itimerspec *when, struct itimerspec *before)
{
    if (!is_ours(fd)) {
        return __real_timerfd_settime(fd, flags, when, before);
    }
    step(file_of(fd), PC);
    file_of(fd)->counter = 1;
    return 0;
}

static bool has_message(const struct file *file)
{
    bool has = false;

    for (int t = 0; t < ALL_THREADS; t++) {
        has = has || (kernel.asleep[t].file == file && kernel.asleep[t].unread);
    }
    return has;
}

/* The faults first, and then the events. */
static size_t read_messages(const struct file *file, struct uffd_msg *messages, size_t max)
{
    size_t n = 0;

    for (int i = 0; i < 2 * ALL_THREADS && n < max; i++) {
        int t = i % ALL_THREADS;
        bool removes = i >= ALL_THREADS;
        uint64_t addr = KERNEL_BASE + (uint64_t)kernel.asleep[t].page * KERNEL_PAGE;

        if (kernel.asleep[t].file != file || !kernel.asleep[t].unread || kernel.asleep[t].removes != removes) {
            continue;
        }
        kernel.asleep[t].unread = false;
        memset(&messages[n], 0, sizeof(*messages));
        messages[n].event = removes ? UFFD_EVENT_REMOVE : UFFD_EVENT_PAGEFAULT;
        if (removes) {
            messages[n].arg.remove.start = addr;
            messages[n].arg.remove.end = addr + KERNEL_PAGE;
            kernel.asleep[t].file = NULL;
        } else {
            messages[n].arg.pagefault.address = addr;
        }
        n++;
    }
    return n;
}

WRAP(ssize_t, read, int fd, void *buffer, size_t length)
{
    struct file *file;
    size_t n;

    if (!is_ours(fd) && !(engine_running() && kernel.calls)) {
        return __real_read(fd, buffer, length);
    }
    if (!is_ours(fd)) { /* there is nothing to read */
        errno = EAGAIN;
        return -1;
    }
    file = file_of(fd);
    step(file, PC);
    if (file->kind == TIMER) {
        n = file->counter > 0 ? sizeof(uint64_t) : 0;
        file->counter = 0;
    } else {
        n = read_messages(file, buffer, length / sizeof(struct uffd_msg)) * sizeof(struct uffd_msg);
    }
    if (n == 0) {
        errno = EAGAIN;
        return -1;
    }
    return (ssize_t)n;
}

#ifdef PGL_NOWAIT
WRAP(ssize_t, preadv64v2, int fd, const struct iovec *parts, int n, off_t offset, int flags)
{
    return engine_running() ? __wrap_read(fd, parts->iov_base, parts->iov_len)
                            : __real_preadv64v2(fd, parts, n, offset, flags);
}
#endif

WRAP(int, epoll_create1, int flags)
{
    return engine_running() ? new_file(EPOLL) : __real_epoll_create1(flags);
}

WRAP(int, epoll_ctl, int fd, int op, int of, struct epoll_event *event)
{
    struct file *file;

    if (!is_ours(fd)) {
        return __real_epoll_ctl(fd, op, of, event);
    }
    file = file_of(fd);
    step(file, PC);
    for (int i = 0; i < NFDS; i++) {
        if (file->watched[i].fd == (op == EPOLL_CTL_ADD ? 0 : of)) {
            file->watched[i].fd = op == EPOLL_CTL_ADD ? of : 0;
            file->watched[i].data = event ? event->data.u64 : 0;
            return 0;
        }
    }
    errno = ENOENT;
    return -1;
}

/* Whether a call for a watched descriptor would not wait. A closed one is not watched any more. */
static bool is_ready(const struct file *epoll, int i)
{
    int fd = epoll->watched[i].fd;
    const struct file *file = fd != 0 ? kernel.fds[fd - FIRST_FD] : NULL;

    return file && (file->kind == USERFAULTFD ? has_message(file) : file->counter > 0);
}

static bool any_is_ready(uintptr_t epoll, uintptr_t unused)
{
    bool any = false;

    (void)unused;
    for (int i = 0; i < NFDS; i++) {
        any = any || is_ready((const struct file *)epoll, i);
    }
    return any;
}

WRAP(int, epoll_wait, int fd, struct epoll_event *events, int max, int timeout)
{
    struct file *file;
    unsigned int n = 0, chosen;
    int ready[NFDS];

    if (!is_ours(fd)) {
        return __real_epoll_wait(fd, events, max, timeout);
    }
    file = file_of(fd);
    step(file, PC);
    while (!any_is_ready((uintptr_t)file, 0)) {
        engine_block(any_is_ready, (uintptr_t)file, 0);
    }
    for (int i = 0; i < NFDS; i++) {
        if (is_ready(file, i)) {
            ready[n++] = i;
        }
    }
    chosen = n > 1 ? engine_choose_value(n) : 0;
    events->events = EPOLLIN;
    events->data.u64 = file->watched[ready[chosen]].data;
    step(kernel.fds[file->watched[ready[chosen]].fd - FIRST_FD], PC);
    return 1;
}

/* ---- the calls of a userfaultfd ---- */

/* Returns how far into its memory an address is, or KERNEL_PAGES. */
static unsigned int page_of(const struct file *file, uint64_t addr)
{
    uint64_t page = (addr - KERNEL_BASE) / KERNEL_PAGE;

    return file->registered && page < KERNEL_PAGES ? (unsigned int)page : KERNEL_PAGES;
}

/* Returns an errno, or 0 when the page was absent and is this now. */
static int install(struct file *file, uint64_t addr, int value)
{
    unsigned int page = page_of(file, addr);

    if (file->changing > 0) {
        return EAGAIN;
    }
    if (file->dead) {
        return ESRCH;
    }
    if (page == KERNEL_PAGES) {
        return ENOENT;
    }
    if (file->pages[page] != ABSENT) {
        return EEXIST;
    }
    file->pages[page] = value;
    return 0;
}

/* Install bytes, or zeros when @source is NULL. Returns the bytes that were installed, or an errno as a negative. */
static int64_t install_range(struct file *file, uint64_t addr, uint64_t length, const unsigned char *source)
{
    for (uint64_t done = 0; done < length; done += KERNEL_PAGE) {
        int error = source && source == kernel.unreadable && !file->dead && file->changing == 0 ? EFAULT : 0;

        if (error == EFAULT && page_of(file, addr) == KERNEL_PAGES) {
            error = ENOENT;
        }
        if (error == 0) {
            error = install(file, addr + done, source ? source[done] + 1 : 1);
        }
        if (error != 0) {
            return done > 0 ? (int64_t)done : -error;
        }
    }
    return (int64_t)length;
}

static int call(struct file *file, unsigned long request, void *arg)
{
    struct uffdio_copy *copy = arg;
    struct uffdio_zeropage *zero = arg;
    struct uffdio_range *range = arg;
    struct uffdio_poison *poison = arg;
    int64_t done = 0;

    switch (request) {
    case UFFDIO_API:
        ((struct uffdio_api *)arg)->features = UINT64_MAX;
        return 0;
    case UFFDIO_COPY:
        done = copy->copy = install_range(file, copy->dst, copy->len, (const unsigned char *)(uintptr_t)copy->src);
        return done == (int64_t)copy->len ? 0 : done < 0 ? (int)-done : EAGAIN;
    case UFFDIO_ZEROPAGE:
        done = zero->zeropage = install_range(file, zero->range.start, zero->range.len, NULL);
        return done == (int64_t)zero->range.len ? 0 : done < 0 ? (int)-done : EAGAIN;
    case UFFDIO_POISON:
        return install(file, poison->range.start, POISON);
    case UFFDIO_UNREGISTER:
        file->registered = false;
        wake(file, 0, KERNEL_PAGES);
        return 0;
    case UFFDIO_WAKE:
        wake(file, page_of(file, range->start), range->len / KERNEL_PAGE);
        return 0;
    default:
        explore_fail("the explorer's kernel does not know ioctl %lx", request);
    }
}

WRAP(int, ioctl, int fd, unsigned long request, void *arg)
{
    int error;

    if (!is_ours(fd)) {
        return engine_running() && kernel.calls ? kernel.calls->ioctl(request, arg) : __real_ioctl(fd, request, arg);
    }
    step(file_of(fd), PC);
    error = call(file_of(fd), request, arg);
    engine_trace(PC, "ioctl %lx of descriptor %d: errno %d", request, fd, error);
    if (error != 0) {
        errno = error;
        return -1;
    }
    return 0;
}

/* ---- memory, time and threads ---- */

void *__wrap_aligned_alloc(size_t alignment, size_t size);
void __wrap_free(void *memory);

WRAP(void *, mmap64, void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
    void *memory;

    if (!engine_running()) {
        return __real_mmap64(addr, length, prot, flags, fd, offset);
    }
    memory = __wrap_aligned_alloc(KERNEL_PAGE, length);
    kernel.unreadable = prot == PROT_NONE ? memory : kernel.unreadable;
    return memory ? memory : MAP_FAILED;
}

WRAP(int, munmap, void *memory, size_t length)
{
    if (!engine_running()) {
        return __real_munmap(memory, length);
    }
    __wrap_free(memory);
    return 0;
}

/* The list of linked blocks in a lock_debug build is kept from one schedule to the next: it is in no schedule's heap. */

void *__wrap_pgl_os_pages_alloc(size_t size);
void *__wrap_pgl_os_pages_alloc(size_t size)
{
    void *memory = __real_mmap64(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return memory == MAP_FAILED ? NULL : memory;
}

void __wrap_pgl_os_pages_free(void *memory, size_t size);
void __wrap_pgl_os_pages_free(void *memory, size_t size)
{
    __real_munmap(memory, size);
}

WRAP(int, madvise, void *memory, size_t length, int advice)
{
    return engine_running() ? 0 : __real_madvise(memory, length, advice);
}

WRAP(int, mprotect, void *memory, size_t length, int prot)
{
    return engine_running() ? 0 : __real_mprotect(memory, length, prot);
}

WRAP(int, mincore, void *addr, size_t length, unsigned char *resident)
{
    if (!engine_running() || !kernel.calls) {
        return __real_mincore(addr, length, resident);
    }
    *resident = kernel.calls->is_resident((uintptr_t)addr);
    return 0;
}

WRAP(int, clock_gettime, clockid_t clock, struct timespec *now)
{
    if (!engine_running()) {
        return __real_clock_gettime(clock, now);
    }
    kernel.now += 1000;
    *now = (struct timespec){(time_t)(kernel.now / 1000000000), (long)(kernel.now % 1000000000)};
    return 0;
}

WRAP(int, usleep, useconds_t us)
{
    if (!engine_running()) {
        return __real_usleep(us);
    }
    explore_yield();
    return 0;
}

WRAP(int, pthread_create, pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg)
{
    if (!engine_running()) {
        return __real_pthread_create(thread, attr, start, arg);
    }
    kernel.threads[kernel.nthreads].start = start;
    kernel.threads[kernel.nthreads].arg = arg;
    *thread = (pthread_t)kernel.nthreads++;
    return 0;
}

void kernel_run_thread(unsigned int number)
{
    kernel.threads[number].start(kernel.threads[number].arg);
    step_at(&kernel.thread_words[number], PC);
    kernel.threads[number].ended = true;
}

static bool has_ended(uintptr_t number, uintptr_t unused)
{
    (void)unused;
    return kernel.threads[number].ended;
}

WRAP(int, pthread_join, pthread_t thread, void **result)
{
    if (!engine_running()) {
        return __real_pthread_join(thread, result);
    }
    while (!kernel.threads[thread].ended) {
        engine_block(has_ended, (uintptr_t)thread, 0);
    }
    step_at(&kernel.thread_words[thread], PC);
    return 0;
}
