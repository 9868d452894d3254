/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pages of the userfaultfd pager that are written, taken, and given back, on a kernel of our own: a few pages whose
 * steps are whole. A thread that faults is its own handler, and runs the pager's code from the message to the answer.
 *
 * Checked: the bytes that a taker read after each report add up to the memory, and no write is lost.
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "../../src/uffd/bits_internal.h"
#include "../../src/uffd/delivery_internal.h"
#include "kernel.h"
#include "scenarios.h"

#define NPAGES 4u
#define PAGE 4096u
#define BASE UINT64_C(0x100000000) /* of the memory; nothing is mapped there */
#define UFFD 1000001               /* descriptors */
#define PAGEMAP 1000002
#define SOURCE 7u /* the first word of each page of the source is this and the page's number */

/* By the kernel's numbers. */
#define IOCTL_MOVE 0xc028aa05ul
#define PAGEMAP_SCAN_REQUEST 0xc0606610ul
#define WRITTEN (UINT64_C(1) << 1)
#define PRESENT (UINT64_C(1) << 3)

/* The compiler's checks leave the kernel out: each of its steps is one of the schedule. */
#define KERNEL __attribute__((no_sanitize("thread")))

struct page {
    bool present;
    bool protected;
    uint64_t value;
};

static struct {
    struct pgl_uffd uffd;
    struct pgl_space space;
    struct pgl_handler handlers[EXPLORE_THREADS + 1]; /* and one for what runs alone */
    struct pgl_object *object;
    uint64_t saved[NPAGES]; /* by the taker */
} world;

static struct {
    struct page pages[NPAGES];
    unsigned changing; /* threads whose event is unread */
    uintptr_t steps;
} kernel;

static _Alignas(4096) unsigned char source[NPAGES * PAGE], scratch[64 * PAGE];

/* A point at which other threads may run. */
static void step(void)
{
    __atomic_fetch_add(&kernel.steps, 1, __ATOMIC_SEQ_CST);
}

/* ---- the kernel's calls ---- */

static KERNEL bool has(uint64_t addr)
{
    return addr >= BASE && addr < BASE + NPAGES * PAGE;
}

static KERNEL struct page *page_at(uint64_t addr)
{
    return &kernel.pages[(addr - BASE) / PAGE];
}

static KERNEL int copy(struct uffdio_copy *copy)
{
    struct page *page = has(copy->dst) ? page_at(copy->dst) : NULL;

    copy->copy = !page ? -ENOENT : kernel.changing ? -EAGAIN : page->present ? -EEXIST : (int64_t)PAGE;
    if (copy->copy < 0) {
        return (int)-copy->copy;
    }
    *page = (struct page){true, (copy->mode & UFFDIO_COPY_MODE_WP) != 0, *(const uint64_t *)(uintptr_t)copy->src};
    return copy->copy == (int64_t)copy->len ? 0 : EAGAIN;
}

static KERNEL int protect(const struct uffdio_writeprotect *range)
{
    for (uint64_t addr = range->range.start; !kernel.changing && addr < range->range.start + range->range.len;
         addr += PAGE) {
        if (page_at(addr)->present) {
            page_at(addr)->protected = (range->mode & UFFDIO_WRITEPROTECT_MODE_WP) != 0;
        }
    }
    return kernel.changing ? EAGAIN : 0;
}

/* struct pm_scan_arg, by its words. */
static KERNEL int scan(uint64_t *words)
{
    uint64_t *regions = (uint64_t *)(uintptr_t)words[5]; /* NOLINT(performance-no-int-to-ptr) */
    int n = 0;

    for (uint64_t addr = words[2]; addr < words[3]; addr += PAGE) {
        struct page *page = page_at(addr);

        if (page->present && ((words[9] & WRITTEN) == 0 || !page->protected)) {
            page->protected = page->protected || words[1] != 0;
            regions[3 * n] = addr;
            regions[3 * n + 1] = addr + PAGE;
            regions[3 * n++ + 2] = PRESENT;
        }
    }
    words[4] = words[3];
    return n;
}

/* struct uffdio_move, by its words. */
static KERNEL int move(uint64_t *words)
{
    uint64_t at = 0;
    int error = 0;

    for (; error == 0 && at < words[2]; at += error == 0 ? PAGE : 0) {
        struct page *page = page_at(words[1] + at);

        error = kernel.changing ? EAGAIN : page->present ? 0 : ENOENT;
        if (error == 0) {
            *page = (struct page){.present = false};
        }
    }
    words[4] = at > 0 ? at : (uint64_t)-error;
    return at > 0 && error != 0 ? EAGAIN : error;
}

static KERNEL int call(unsigned long request, void *arg)
{
    switch (request) {
    case UFFDIO_COPY:
        return copy(arg);
    case UFFDIO_WRITEPROTECT:
        return protect(arg);
    case PAGEMAP_SCAN_REQUEST:
        return scan(arg);
    case IOCTL_MOVE:
        return move(arg);
    case UFFDIO_ZEROPAGE: /* a probe */
        return kernel.changing ? EAGAIN : ENOENT;
    default:
        return 0;
    }
}

static int call_in_a_step(unsigned long request, void *arg)
{
    int result;

    step();
    result = call(request, arg);
    if (request == PAGEMAP_SCAN_REQUEST) {
        return result;
    }
    errno = result;
    return result != 0 ? -1 : 0;
}

static KERNEL bool is_resident(uintptr_t addr)
{
    return page_at(addr)->present;
}

static const struct kernel_calls calls = {call_in_a_step, is_resident};

/* ---- the program's threads ---- */

/* Touch a page. Returns false when that faults, with the flags of the fault. */
static KERNEL bool touch(unsigned n, bool writes, uint64_t *value, uint64_t *flags)
{
    struct page *page = &kernel.pages[n];

    *flags = (writes ? UFFD_PAGEFAULT_FLAG_WRITE : 0) | (page->present ? UFFD_PAGEFAULT_FLAG_WP : 0);
    if (page->present && writes && page->protected && !world.uffd.withholds) {
        page->protected = false; /* the kernel's record */
    }
    if (!page->present || (writes && page->protected)) {
        return false;
    }
    if (writes) {
        page->value = *value;
    } else {
        *value = page->value;
    }
    return true;
}

/* Be the handler of one's own fault. */
static void serve(unsigned n, uint64_t flags)
{
    struct pgl_handler *handler = &world.handlers[explore_self() + 1];
    const struct uffd_msg message = {
        .event = UFFD_EVENT_PAGEFAULT,
        .arg.pagefault = {.address = BASE + n * PAGE, .flags = flags},
    };

    pgl_uffd_lock(&world.uffd);
    handler->epoch = world.uffd.epoch;
    handler->nput = 0;
    pgl_uffd_unlock(&world.uffd);
    pgl_handler_fault(handler, &world.space, &message, 0);
}

static void access_page(unsigned n, bool writes, uint64_t *value)
{
    uint64_t flags;

    for (step(); !touch(n, writes, value, &flags); step()) {
        serve(n, flags);
    }
}

static void write_page(unsigned n, uint64_t value)
{
    access_page(n, true, &value);
}

static uint64_t read_page(unsigned n)
{
    uint64_t value = 0;

    access_page(n, false, &value);
    return value;
}

static KERNEL void begin_change(void)
{
    kernel.changing++;
}

static KERNEL void end_change(void)
{
    kernel.changing--;
}

static KERNEL void drop(unsigned n)
{
    kernel.pages[n] = (struct page){.present = false};
}

/* madvise(): the event is sent and read, and some time later the kernel drops the page. */
static void give_back(unsigned n)
{
    const struct uffd_msg message = {
        .event = UFFD_EVENT_REMOVE,
        .arg.remove = {.start = BASE + n * PAGE, .end = BASE + (n + 1) * PAGE},
    };

    step();
    begin_change();
    pgl_uffd_lock(&world.uffd);
    pgl_event_apply(&world.uffd, &world.space, &message);
    end_change();
    pgl_uffd_unlock(&world.uffd);
    step();
    drop(n);
}

/* Take what was written, and read it. */
static void take(size_t room)
{
    struct pgl_uffd_range rest = {(void *)BASE, NPAGES * PAGE}, written[NPAGES];

    while (rest.length > 0) {
        ssize_t n = pgl_uffd_dirty_take(&world.uffd, &rest, written, room);

        explore_check(n >= 0);
        for (ssize_t i = 0; i < n; i++) {
            unsigned first = (unsigned)(((uintptr_t)written[i].addr - BASE) / PAGE);

            for (unsigned page = first; page < first + written[i].length / PAGE; page++) {
                world.saved[page] = read_page(page);
            }
        }
    }
}

/* ---- scenarios ---- */

static void init_world(bool tracks, bool withholds, uint64_t limit)
{
    static unsigned char buffers[EXPLORE_THREADS + 1][PAGE];
    struct pgl_uffd *uffd = &world.uffd;
    const struct pgl_uffd_region region = {
        .addr = (void *)BASE,
        .length = NPAGES * PAGE,
        .source = {.kind = PGL_UFFD_MEMORY, .memory = source, .size = sizeof(source)},
        .advice = PGL_ADVICE_RANDOM,
        .limit = limit,
    };

    memset(&world, 0, sizeof(world));
    memset(&kernel, 0, sizeof(kernel));
    kernel_use(&calls);
    for (unsigned i = 0; i < NPAGES; i++) {
        *(uint64_t *)(void *)(source + i * PAGE) = world.saved[i] = SOURCE + i;
    }
    pthread_mutex_init(&uffd->lock, NULL);
    pthread_rwlock_init(&uffd->layout, NULL);
    explore_check(pgl_arena_init(&uffd->arena) && pgl_files_init(&uffd->files, &uffd->arena));
    explore_check(pgl_meter_init(&uffd->meter, &(struct pgl_costs){1, 1}, &uffd->stats));
    uffd->config.track_dirty = tracks;
    uffd->config.write_protect = withholds;
    uffd->page_size = PAGE;
    uffd->maker = getpid();
    uffd->widest = 1;
    uffd->protects = true;
    uffd->withholds = withholds;
    uffd->pagemap = PAGEMAP;
    uffd->zeros = source;
    uffd->scratch.memory = scratch;
    uffd->self = uffd->spaces = &world.space;
    world.space = (struct pgl_space){.fd = UFFD, .refs = 2, .parked_first = UINT64_MAX, .map = pgl_map_new(NULL, NULL)};
    world.object = pgl_uffd_show(uffd, &region);
    explore_check(world.space.map && world.object);
    explore_check(
        pgl_map_enter(world.space.map, BASE / PAGE, BASE / PAGE + NPAGES - 1, world.object, 0, PGL_ADVICE_RANDOM));
    for (unsigned i = 0; i <= EXPLORE_THREADS; i++) {
        world.handlers[i] = (struct pgl_handler){.uffd = uffd, .fault = pgl_fault_new(), .buffer = buffers[i]};
    }
}

static void init_faults(void)
{
    init_world(true, true, 0);
}

static void init_recorded(void)
{
    init_world(true, false, 0);
}

static void init_limited(void)
{
    init_world(false, true, 1);
}

static void final_world(void)
{
    if (world.uffd.config.track_dirty) {
        take(NPAGES);
        for (unsigned i = 0; i < NPAGES; i++) {
            explore_check(world.saved[i] == (kernel.pages[i].present ? kernel.pages[i].value : SOURCE + i));
        }
    }
    for (unsigned i = 0; i <= EXPLORE_THREADS; i++) {
        pgl_fault_free(world.handlers[i].fault);
    }
    pgl_object_unref(world.object);
    pgl_map_free(world.space.map);
    pgl_meter_fini(&world.uffd.meter);
    pgl_files_fini(&world.uffd.files);
    pgl_arena_fini(&world.uffd.arena);
}

/* All pages are in memory, and the limit lets them stay. */
static void init_unlimited(void)
{
    init_world(false, true, NPAGES);
    for (unsigned n = 0; n < NPAGES; n++) {
        explore_check(read_page(n) == SOURCE + n);
    }
}

/* Page 0 was written last, by whichever thread. */
static void final_limited(void)
{
    uint64_t value = read_page(0);

    explore_check(value == 100 || value == 101);
    explore_check(read_page(1) == SOURCE + 1);
    final_world();
}

/* The limit is 1: beside the written page the newest other one stays. */
static void final_lowered(void)
{
    unsigned n = 0;

    for (unsigned i = 0; i < NPAGES; i++) {
        n += kernel.pages[i].present;
    }
    explore_check(n <= 2);
    final_limited();
}

static void lower(void)
{
    explore_check(pgl_uffd_set_limit(&world.uffd, (void *)BASE, NPAGES * PAGE, 1));
}

static void lift_and_lower(void)
{
    explore_check(pgl_uffd_set_limit(&world.uffd, (void *)BASE, NPAGES * PAGE, 0));
    lower();
}

static void write_0(void)
{
    write_page(0, 100);
}

static void write_0_again(void)
{
    write_page(0, 101);
}

static void write_0_and_1(void)
{
    write_page(0, 100);
    write_page(1, 101);
}

static void write_0_twice(void)
{
    write_page(0, 100);
    write_page(0, 101);
}

static void write_2(void)
{
    write_page(2, 102);
}

static void take_all(void)
{
    take(NPAGES);
}

static void take_one_by_one(void)
{
    take(1);
    take(1);
}

/* The page was written before. */
static void init_faults_0(void)
{
    init_faults();
    write_page(0, 99);
    write_page(1, 99);
}

static void init_recorded_0(void)
{
    init_recorded();
    write_page(0, 99);
    write_page(1, 99);
}

/* A page that was only read is protected. */
static void init_faults_read(void)
{
    init_faults();
    explore_check(read_page(0) == SOURCE);
}

static void give_back_1(void)
{
    give_back(1);
}

static void read_1_to_3(void)
{
    for (unsigned n = 1; n < NPAGES; n++) {
        explore_check(read_page(n) == SOURCE + n);
    }
}

static void read_0_and_1(void)
{
    uint64_t value = read_page(0);

    explore_check(value == SOURCE || value == 100 || value == 101);
    explore_check(read_page(1) == SOURCE + 1);
}

static void give_back_2(void)
{
    give_back(2);
}

const struct explore_scenario dirty_scenarios[] = {
    {"dirty-fault", "two write to a page that is taken", init_faults, {write_0, write_0_again, take_all}, final_world},
    {"dirty-fault-twice",
     "it was written before, and is written twice",
     init_faults_0,
     {write_0_twice, take_all},
     final_world},
    {"dirty-fault-read", "it was read before", init_faults_read, {write_0, write_0_again, take_all}, final_world},
    {"dirty-fault-full", "answers are full", init_faults, {write_0_and_1, write_2, take_one_by_one}, final_world},
    {"dirty-fault-gone", "a page is given back", init_faults_0, {give_back_1, write_0, take_all}, final_world},
    {"dirty-record", "the kernel's record", init_recorded, {write_0, write_0_again, take_all}, final_world},
    {"dirty-record-full", "answers are full", init_recorded, {write_0_and_1, write_2, take_one_by_one}, final_world},
    {"dirty-record-gone", "a page is given back", init_recorded_0, {give_back_1, write_0, take_all}, final_world},
    {"limit-written", "a page that is written beside others", init_limited, {write_0, read_1_to_3}, final_limited},
    {"limit-opened", "two write to it", init_limited, {write_0, write_0_again, read_1_to_3}, final_limited},
    {"limit-read",
     "it is read and given back meanwhile",
     init_limited,
     {read_0_and_1, write_0, read_1_to_3},
     final_limited},
    {"limit-gone",
     "the program gives pages back, too",
     init_limited,
     {write_0, read_1_to_3, give_back_2},
     final_limited},
    {"limit-lowered", "it is lowered beside a write", init_unlimited, {write_0, lower, read_1_to_3}, final_lowered},
    {"limit-lifted", "two set it", init_unlimited, {write_0, lower, lift_and_lower}, final_lowered},
    {.name = NULL},
};
