/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How pages get from a file into memory that waits for them: the pager that the userfaultfd handlers give to the fault
 * driver. Everything happens inside data_request(), in the thread that handles the fault: one pread() and one
 * UFFDIO_COPY for each run of data in the cluster, one fstat() and one UFFDIO_ZEROPAGE (with write protection, one
 * UFFDIO_COPY of zeros) for each hole, and one UFFDIO_WAKE for each run. None of them takes the lock under which most
 * file systems write a file, whose holder may be waiting for this very page.
 *
 * What the kernel may answer, and what it means here:
 *   EEXIST  the page is there already (another handler's, or a forked child inherited it): as good as copied;
 *   EAGAIN  a mapping is being changed, and its event is still to be read: read it, and go on with the same bytes;
 *   ENOENT  the range is not one registered mapping: page by page, and what is not mapped at all is taken back (so is
 *           what the map does not show there any more: something else may be mapped there since);
 *   ESRCH   the process has gone: taken back.
 * A thread whose page was taken back is woken; if it still wants the page, it faults again.
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include "../fault/object_internal.h"
#include "uffd_internal.h"

uint64_t pgl_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void count_answer(struct pgl_delivery *delivery)
{
    struct pgl_uffd_stats *stats = delivery->stats;
    uint64_t ns = pgl_now_ns() - delivery->start_ns;
    uint64_t max = __atomic_load_n(&stats->ns_max, __ATOMIC_RELAXED);

    delivery->answered = true;
    pgl_count(&stats->unlocks, delivery->protected);
    pgl_count(&stats->ns_total, ns);
    while (ns > max &&
           !__atomic_compare_exchange_n(&stats->ns_max, &max, ns, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
}

/* Wakes every thread that waits for these pages. Everything about them was counted before. */
static void wake(struct pgl_delivery *delivery, uint64_t addr, uint64_t length)
{
    struct uffdio_range range = {addr, length};

    if (!delivery->answered && delivery->addr - addr < length) {
        count_answer(delivery);
    }
    ioctl(delivery->uffd, UFFDIO_WAKE, &range);
}

void pgl_delivery_wake(struct pgl_delivery *delivery)
{
    wake(delivery, delivery->addr, delivery->page_size);
}

/*
 * Asks the kernel once for pages of zeros (data NULL) or of data. Returns how many bytes it made, or 0 with errno. It
 * wakes nobody.
 */
static uint64_t make_pages(int uffd, uint64_t addr, const unsigned char *data, uint64_t length, bool protects)
{
    uint64_t mode = UFFDIO_COPY_MODE_DONTWAKE | (protects ? UFFDIO_COPY_MODE_WP : 0);
    struct uffdio_copy copy = {addr, (uint64_t)(uintptr_t)data, length, mode, 0};
    struct uffdio_zeropage zero = {{addr, length}, UFFDIO_ZEROPAGE_MODE_DONTWAKE, 0};
    int64_t made;

    if (data) {
        ioctl(uffd, UFFDIO_COPY, &copy);
        made = copy.copy;
    } else {
        ioctl(uffd, UFFDIO_ZEROPAGE, &zero);
        made = zero.zeropage;
    }
    return made > 0 ? (uint64_t)made : 0;
}

/* Layout locked. Whether the map shows at the page what it showed when its fault was looked at. */
static bool is_same(const struct pgl_delivery *delivery)
{
    uint64_t index = delivery->addr / delivery->page_size;
    struct pgl_map_entry entry;

    if (delivery->placed) {
        return pgl_map_has_place(delivery->map, index, &delivery->place);
    }
    return !pgl_map_lookup(delivery->map, index, &entry) || entry.view.first > index;
}

static void note_put(struct pgl_delivery *delivery, uint64_t first, uint64_t last)
{
    delivery->put_first = first < delivery->put_first ? first : delivery->put_first;
    delivery->put_last = last > delivery->put_last ? last : delivery->put_last;
}

static int make_zeros(struct pgl_delivery *delivery, void *arg)
{
    bool protects = delivery->write_protect && !delivery->writes; /* which the kernel's own zero page cannot be */
    const unsigned char *data = protects ? memset(delivery->buffer, 0, delivery->page_size) : NULL;
    int error = ENOENT;

    (void)arg;
    pthread_rwlock_rdlock(delivery->layout);
    if (is_same(delivery)) {
        error = make_pages(delivery->uffd, delivery->addr, data, delivery->page_size, protects) > 0 ? 0 : errno;
    }
    pthread_rwlock_unlock(delivery->layout);
    return error;
}

bool pgl_delivery_zero(struct pgl_delivery *delivery)
{
    bool made = pgl_delivery_persist(delivery, make_zeros, NULL) == 0;

    if (made) {
        note_put(delivery, delivery->addr, delivery->addr);
    }
    return made;
}

static int unprotect(struct pgl_delivery *delivery, void *arg)
{
    struct uffdio_writeprotect protect = {{delivery->addr, delivery->page_size}, UFFDIO_WRITEPROTECT_MODE_DONTWAKE};
    int error = ENOENT;

    (void)arg;
    pthread_rwlock_rdlock(delivery->layout);
    if (is_same(delivery)) {
        error = ioctl(delivery->uffd, UFFDIO_WRITEPROTECT, &protect) != 0 ? errno : 0;
    }
    pthread_rwlock_unlock(delivery->layout);
    return error;
}

int pgl_delivery_unprotect(struct pgl_delivery *delivery)
{
    return pgl_delivery_persist(delivery, unprotect, NULL);
}

/* Pages that follow each other in a file, on their way to memory. */
struct stretch {
    uint64_t first; /* the pager's */
    uint64_t npages;
    const unsigned char *data; /* NULL: zeros */
    uint64_t *counter;         /* of pages made */
};

/* Whether the map shows these pages where they are to go. */
static bool is_shown(const struct pgl_delivery *delivery, const struct pgl_request *request,
                     const struct stretch *stretch)
{
    uint64_t distance = stretch->first - request->pager_demand; /* wraps before the demand page */
    uint64_t index = delivery->addr / delivery->page_size + distance;
    uint64_t object_index = stretch->first - request->object->config.pager_range.first;
    struct pgl_map_entry entry;

    return pgl_map_lookup(delivery->map, index, &entry) && entry.object == request->object &&
           entry.view.first <= index && stretch->npages <= entry.view.last - index + 1 &&
           entry.view.object_first + (index - entry.view.first) == object_index;
}

/* Puts a stretch in place. Returns 0 or an errno, and in *done how many of its pages are there then. */
static int install(struct pgl_delivery *delivery, const struct pgl_request *request, const struct stretch *stretch,
                   uint64_t *done)
{
    size_t page_size = delivery->page_size;
    uint64_t addr = delivery->addr + (stretch->first - request->pager_demand) * page_size;
    int error;

    pthread_rwlock_rdlock(delivery->layout);
    error = is_shown(delivery, request, stretch) ? 0 : ENOENT;
    for (*done = 0; error == 0 && *done < stretch->npages;) {
        const unsigned char *data = stretch->data ? stretch->data + *done * page_size : NULL;
        uint64_t wanted = stretch->npages - *done;
        uint64_t made;

        pgl_count(stretch->counter, wanted); /* before a thread sees one of them */
        made = make_pages(delivery->uffd, addr + *done * page_size, data, wanted * page_size, delivery->write_protect) /
               page_size;
        pgl_count(stretch->counter, made - wanted); /* 0, or less */
        if (made > 0) {
            *done += made;
        } else if (errno == EEXIST) {
            pgl_count(&delivery->stats->present, 1);
            *done += 1;
        } else {
            error = errno;
        }
    }
    pthread_rwlock_unlock(delivery->layout);
    if (*done > 0) {
        note_put(delivery, addr, addr + (*done - 1) * page_size);
    }
    return error;
}

/*
 * Tells the driver which pages are in place, and wakes the threads that wait for them. The demand page of a write may be
 * written to if its protection can be removed; its thread is not woken to a page that is still protected.
 */
static void supply(struct pgl_delivery *delivery, const struct pgl_request *request, uint64_t first, uint64_t npages)
{
    uint64_t demand = request->pager_demand;
    uint64_t addr = delivery->addr + (first - demand) * delivery->page_size;
    bool protects = delivery->write_protect && request->access == PGL_ACCESS_WRITE;
    enum pgl_access access = delivery->write_protect ? PGL_ACCESS_READ : PGL_ACCESS_WRITE;
    struct pgl_pager_range range = {first, first + npages - 1};

    if (npages == 0) {
        return;
    }
    if (protects && demand - first < npages && unprotect(delivery, NULL) == 0) {
        struct pgl_pager_range before = {first, demand - 1};
        struct pgl_pager_range page = {demand, demand};

        pgl_pager_supply(request->object, request->id, page, NULL, PGL_ACCESS_WRITE);
        if (demand > first) {
            pgl_pager_supply(request->object, request->id, before, NULL, access);
        }
        range.first = demand + 1;
        pgl_delivery_wake(delivery);
    }
    if (range.first <= range.last) {
        pgl_pager_supply(request->object, request->id, range, NULL, access);
    }
    if (!protects) {
        wake(delivery, addr, npages * delivery->page_size);
    }
}

/* A stretch of a request that is put in place in one piece or, where memory is not one mapping, page by page. */
struct placing {
    const struct pgl_request *request;
    struct stretch rest; /* what is still to do */
    bool in_pieces;
    int error; /* the first page's that could not be placed */
};

static void skip(struct stretch *stretch, uint64_t npages, size_t page_size)
{
    stretch->first += npages;
    stretch->npages -= npages;
    stretch->data += stretch->data ? npages * page_size : 0;
}

/* Goes on until the kernel refuses a page for an event, which is EAGAIN, or nothing is left to do. */
static int place(struct pgl_delivery *delivery, void *arg)
{
    struct placing *placing = arg;
    struct stretch *rest = &placing->rest;

    while (rest->npages > 0) {
        struct stretch stretch = *rest;
        uint64_t done;
        int error;

        stretch.npages = placing->in_pieces ? 1 : rest->npages;
        error = install(delivery, placing->request, &stretch, &done);
        supply(delivery, placing->request, stretch.first, done);
        skip(rest, done, delivery->page_size);
        if (error == EAGAIN) {
            return error;
        }
        if (error == ENOENT && rest->npages > 1 && !placing->in_pieces) {
            placing->in_pieces = true;
        } else if (error != 0) {
            placing->error = placing->error != 0 ? placing->error : error;
            skip(rest, placing->in_pieces ? 1 : rest->npages, delivery->page_size);
        }
    }
    return placing->error;
}

static int deliver(struct pgl_delivery *delivery, const struct pgl_request *request, struct stretch stretch)
{
    struct placing placing = {.request = request, .rest = stretch};
    int error = pgl_delivery_persist(delivery, place, &placing);

    pgl_count(&delivery->stats->gone, error == ENOENT || error == ESRCH);
    return error == ENOENT || error == ESRCH ? EAGAIN : error;
}

/* Brings the run around a page of the request, and tells which it was. Returns 0 or an errno. */
static int bring(struct pgl_delivery *delivery, const struct pgl_request *request, const struct pgl_source *source,
                 uint64_t page, struct pgl_pager_range *run)
{
    struct stretch stretch = {.data = delivery->buffer, .counter = &delivery->stats->pages_fetched};
    uint64_t npages;
    int read_error, error = 0;
    bool hole;

    *run = pgl_source_find_run(source, request->range, page, &hole);
    stretch.first = run->first;
    npages = run->last - run->first + 1;
    if (!hole) {
        read_error = pgl_source_read(delivery, source, run->first, npages, &stretch.npages);
    } else {
        read_error = pgl_source_measure_hole(source, run->first, npages, delivery->page_size, &stretch.npages);
        stretch.counter = &delivery->stats->pages_zeroed;
        stretch.data = NULL;
        if (delivery->write_protect) { /* the kernel's zero page cannot be protected */
            stretch.data = memset(delivery->buffer, 0, stretch.npages * delivery->page_size);
        }
    }
    if (stretch.npages > 0) {
        error = deliver(delivery, request, stretch);
    }
    return error != 0 ? error : read_error;
}

/* The run with the page that somebody waits for comes first, and the others in ascending order. */
static int data_request(void *pager, const struct pgl_request *request)
{
    const struct pgl_source *source = pager;
    struct pgl_delivery *delivery = request->cookie;
    struct pgl_pager_range awaited, run;
    int error = bring(delivery, request, source, request->pager_demand, &awaited);

    for (uint64_t page = request->range.first; error == 0 && page <= request->range.last; page = run.last + 1) {
        run = awaited;
        if (page != awaited.first) {
            error = bring(delivery, request, source, page, &run);
        }
    }
    delivery->error = error;
    return error;
}

static int access_request(void *pager, const struct pgl_request *request)
{
    const struct pgl_pager_range demand = {request->pager_demand, request->pager_demand};
    struct pgl_delivery *delivery = request->cookie;
    int error = pgl_delivery_unprotect(delivery);

    (void)pager;
    if (error != 0) {
        return error == ENOENT || error == ESRCH ? EAGAIN : error;
    }
    pgl_pager_grant(request->object, request->id, demand, PGL_ACCESS_WRITE);
    pgl_pager_grant(request->object, request->id, request->range, PGL_ACCESS_READ);
    pgl_delivery_wake(delivery);
    return 0;
}

static void release(void *pager)
{
    pgl_source_unref(pager);
}

const struct pgl_pager_ops pgl_uffd_pager_ops = {
    .data_request = data_request,
    .access_request = access_request,
    .release = release,
};
