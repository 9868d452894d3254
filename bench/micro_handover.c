/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The hand-over of a fault: the pager beside handlers of userfaultfd that do nothing but bring pages. Some are as others
 * write them, and some are floors: the smallest loops that make the pager's system calls, or the fewest that there can
 * be. They bring the pages of a file in memory. The cases are left out where userfaultfd cannot be used.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <pagelock/uffd.h>

#include "bench.h"
#include "micro_case.h"

enum { PAGE = 4096, REGION_PAGES = 1 << 14, TOUCHED = 1 << 12, WIDE = 32, ODD = 40503, PRIME = 251 };

/* Kinds: who brings the pages, and how. */
enum kind {
    FOLLOW, /* the pager, by each of its hand-overs */
    ANYWHERE,
    SIGBUS_PAGER,
    PLAIN,  /* epoll_wait(), read(), pread(), and a copy that wakes */
    QUEUE,  /* the same, but a second thread reads and copies what the first one hands to it */
    SAME,   /* epoll_wait(), read(), pread(), a copy, and a wake-up; on the processor of the thread that faults */
    FEWEST, /* a read() that waits, pread(), and a copy that wakes; on that processor */
    SIGNAL, /* pread() and a copy, in a handler of SIGBUS */
};

struct world {
    const struct variant *variant;
    unsigned char *memory;
    int file;
    struct pgl_uffd *pager; /* or, where it is NULL: */
    int uffd;
    int epoll;
    unsigned char *buffer;
    int queue[2]; /* a pipe of addresses */
    pthread_t handler;
    pthread_t worker;
    struct sigaction before;
};

static struct world *of_signals; /* whose faults are signals */

static enum kind kind_of(const struct world *world)
{
    return (enum kind)world->variant->kind;
}

/* Runs a thread on the first of the processors that it may use. */
static void place(pthread_t thread)
{
    cpu_set_t set;
    size_t first = 0;

    if (pthread_getaffinity_np(thread, sizeof(set), &set) == 0) {
        while (first < CPU_SETSIZE - 1 && !CPU_ISSET(first, &set)) {
            first++;
        }
        CPU_ZERO(&set);
        CPU_SET(first, &set);
        pthread_setaffinity_np(thread, sizeof(set), &set);
    }
}

/* Brings as many pages as the variant says, from the one at @addr on. */
static void bring(const struct world *world, uint64_t addr)
{
    uint64_t start = addr & ~(uint64_t)(PAGE - 1);
    size_t offset = start - (uintptr_t)world->memory;
    size_t length = MIN((size_t)world->variant->size * PAGE, (size_t)REGION_PAGES * PAGE - offset);
    struct uffdio_copy copy = {start, (uintptr_t)world->buffer, length, 0, 0};
    struct uffdio_range range = {start, length};

    copy.mode = kind_of(world) == SAME ? UFFDIO_COPY_MODE_DONTWAKE : 0;
    if (pread(world->file, world->buffer, length, (off_t)offset) != (ssize_t)length ||
        (ioctl(world->uffd, UFFDIO_COPY, &copy) != 0 && errno != EEXIST)) {
        abort();
    }
    if (kind_of(world) == SAME) {
        ioctl(world->uffd, UFFDIO_WAKE, &range);
    }
}

/* The second thread of a queue. */
static void *work(void *arg)
{
    const struct world *world = arg;
    uint64_t addr;

    while (read(world->queue[0], &addr, sizeof(addr)) == sizeof(addr)) {
        bring(world, addr);
    }
    return NULL;
}

static void *handle(void *arg)
{
    const struct world *world = arg;
    struct epoll_event event;
    struct uffd_msg message;

    for (;;) {
        if ((world->epoll >= 0 && epoll_wait(world->epoll, &event, 1, -1) != 1) ||
            read(world->uffd, &message, sizeof(message)) != sizeof(message)) {
            continue;
        }
        if (kind_of(world) != QUEUE) {
            bring(world, message.arg.pagefault.address);
        } else if (write(world->queue[1], &message.arg.pagefault.address, sizeof(uint64_t)) != sizeof(uint64_t)) {
            abort();
        }
    }
    return NULL;
}

static void on_sigbus(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    bring(of_signals, (uintptr_t)info->si_addr);
}

static bool start_pager(struct world *world)
{
    const struct pgl_uffd_config config = {
        .allow_user_mode = true,
        .handover = kind_of(world) == FOLLOW     ? PGL_UFFD_FOLLOW
                    : kind_of(world) == ANYWHERE ? PGL_UFFD_ANYWHERE
                                                 : PGL_UFFD_SIGBUS,
    };

    world->pager = pgl_uffd_new(&config);
    return world->pager && pgl_uffd_map(world->pager, world->memory, (size_t)REGION_PAGES * PAGE, world->file, 0,
                                        world->variant->size == 1 ? PGL_ADVICE_RANDOM : PGL_ADVICE_SEQUENTIAL);
}

static bool start_thread(struct world *world, pthread_t *thread, void *(*start)(void *))
{
    return pthread_create(thread, NULL, start, world) == 0;
}

/* Registers the memory, and starts who brings its pages. */
static bool start_handler(struct world *world)
{
    const int flags = O_CLOEXEC | UFFD_USER_MODE_ONLY | (kind_of(world) == FEWEST ? 0 : O_NONBLOCK);
    const struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_NODEFER};
    struct uffdio_api api = {.api = UFFD_API, .features = kind_of(world) == SIGNAL ? UFFD_FEATURE_SIGBUS : 0};
    struct uffdio_register all = {
        {(uintptr_t)world->memory, (uint64_t)REGION_PAGES * PAGE}, UFFDIO_REGISTER_MODE_MISSING, 0};
    struct epoll_event readable = {.events = EPOLLIN};

    world->uffd = (int)syscall(SYS_userfaultfd, flags);
    world->buffer = g_aligned_alloc(WIDE, PAGE, PAGE);
    if (world->uffd < 0 || ioctl(world->uffd, UFFDIO_API, &api) != 0 ||
        ioctl(world->uffd, UFFDIO_REGISTER, &all) != 0) {
        return false;
    }
    if (kind_of(world) == SIGNAL) {
        of_signals = world;
        return sigaction(SIGBUS, &action, &world->before) == 0;
    }
    if (kind_of(world) != FEWEST) {
        world->epoll = epoll_create1(EPOLL_CLOEXEC);
        if (world->epoll < 0 || epoll_ctl(world->epoll, EPOLL_CTL_ADD, world->uffd, &readable) != 0) {
            return false;
        }
    }
    if (kind_of(world) == QUEUE && (pipe(world->queue) != 0 || !start_thread(world, &world->worker, work))) {
        return false;
    }
    if (!start_thread(world, &world->handler, handle)) {
        return false;
    }
    if (kind_of(world) >= SAME) {
        place(world->handler);
    }
    return true;
}

static void end_thread(pthread_t thread)
{
    pthread_cancel(thread);
    pthread_join(thread, NULL);
}

static void end_handler(struct world *world)
{
    if (kind_of(world) == SIGNAL) {
        sigaction(SIGBUS, &world->before, NULL);
    } else {
        end_thread(world->handler);
    }
    if (kind_of(world) == QUEUE) {
        end_thread(world->worker);
        close(world->queue[0]);
        close(world->queue[1]);
    }
    if (world->epoll >= 0) {
        close(world->epoll);
    }
    close(world->uffd);
    g_aligned_free(world->buffer);
}

static unsigned char first_byte(size_t page)
{
    return (unsigned char)(page % PRIME + 1);
}

/* A file in memory, all of whose pages are data. */
static bool make_file(struct world *world)
{
    unsigned char bytes[PAGE] = {0};
    bool good;

    world->file = memfd_create("pages", MFD_CLOEXEC);
    good = world->file >= 0;
    for (size_t page = 0; page < REGION_PAGES && good; page++) {
        bytes[0] = first_byte(page);
        good = write(world->file, bytes, PAGE) == PAGE;
    }
    return good;
}

static void *setup(const struct variant *variant)
{
    struct world *world = g_new0(struct world, 1);
    const size_t length = (size_t)REGION_PAGES * PAGE;

    world->variant = variant;
    world->epoll = -1;
    world->memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (world->memory == MAP_FAILED || madvise(world->memory, length, MADV_NOHUGEPAGE) != 0 || !make_file(world) ||
        !(kind_of(world) <= SIGBUS_PAGER ? start_pager : start_handler)(world)) {
        g_error("micro: cannot page in: %s", g_strerror(errno));
    }
    return world;
}

static void teardown(void *state)
{
    struct world *world = state;

    if (world->pager) {
        pgl_uffd_free(world->pager);
    } else {
        end_handler(world);
    }
    munmap(world->memory, (size_t)REGION_PAGES * PAGE);
    close(world->file);
    g_free(world);
}

/* The thread's part of the pages: in order if they come by several, otherwise in no order. */
static void run(void *state, const struct variant *variant, unsigned thread, uint64_t ops)
{
    const struct world *world = state;

    if (kind_of(world) >= SAME) {
        place(pthread_self());
    }
    for (uint64_t i = 0; i < ops; i++) {
        size_t page = variant->size > 1 ? thread * ops + i : (i * variant->threads + thread) * ODD % REGION_PAGES;

        if (*(volatile unsigned char *)(world->memory + page * PAGE) != first_byte(page)) {
            g_error("micro: a page is not that of its file");
        }
    }
}

/* The cases are those of pages of PAGE bytes. */
static bool is_permitted(void)
{
    int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

    if (uffd >= 0) {
        close(uffd);
    }
    return uffd >= 0 && sysconf(_SC_PAGESIZE) == PAGE;
}

/* The pager's ways over those of others. */
static void add(GPtrArray *cases, const char *name, const char *what, unsigned npages, uint64_t touched)
{
    static const struct subject subjects[] = {
        [FOLLOW] = {"pager", NULL, setup, teardown, run},
        [ANYWHERE] = {"pager-anywhere", NULL, setup, teardown, run},
        [SIGBUS_PAGER] = {"pager-sigbus", NULL, setup, teardown, run},
        [PLAIN] = {"plain", NULL, setup, teardown, run},
        [QUEUE] = {"queue", NULL, setup, teardown, run},
        [SAME] = {"same-calls", NULL, setup, teardown, run},
        [FEWEST] = {"fewest-calls", NULL, setup, teardown, run},
        [SIGNAL] = {"signal", NULL, setup, teardown, run},
    };
    struct micro_case *one = micro_add(cases, name, what, MICRO_NO_PLOT);

    for (unsigned i = 0; i < G_N_ELEMENTS(subjects); i++) {
        micro_variant(one, &(struct variant){&subjects[i], 1, REGION_PAGES, touched, npages, i});
    }
    for (unsigned i = PLAIN; i <= FEWEST; i++) {
        micro_pair(one, FOLLOW, i);
    }
    micro_pair(one, SIGBUS_PAGER, SIGNAL);
}

void micro_handover_cases(GPtrArray *cases)
{
    if (!is_permitted()) {
        return;
    }
    add(cases, "hand-over", "a page at random, through the pager, and by handlers that only bring pages", 1, TOUCHED);
    add(cases, "hand-over-32", "a page in order, 32 at a time, by the same", WIDE, REGION_PAGES);
}
