/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How pages get from a file into memory that waits for them: the pager that the handlers give to the fault driver.
 * Everything happens inside data_request(), in the thread that handles the fault. Each run of data in the cluster costs
 * one pread() and one UFFDIO_COPY or, if it is copied out of a mapping of the file, one fstat(), one madvise() and one
 * UFFDIO_COPY. Each hole costs one fstat() and one UFFDIO_ZEROPAGE, or with write protection one UFFDIO_COPY of zeros.
 * Both cost one UFFDIO_WAKE. The thread that holds the lock under which most file systems write a file may be waiting
 * for this page; none of these calls takes that lock.
 *
 * The answers of the kernel, and what follows from each:
 *   EEXIST  the page is there already: another handler installed it, or a forked child inherited it. It counts as
 *           copied.
 *   EAGAIN  a thread changes memory, and its event is unread: read events and go on with the same bytes.
 *   ENOENT  the range is not one registered mapping: copy page by page, and roll back the pages that are not mapped.
 *           The same error stands for pages that the map does not show there any more, because another file may be
 *           mapped there since.
 *   ESRCH   the process has ended: roll back.
 *   ENOMEM  there is no memory for the page: a full tmpfs, no free huge page, a limit of a control group. Try it again
 *           some times. If there still is none, the page cannot be had.
 *   EFAULT  the page cannot be read in the mapping of the file: read it. A page of the caller's memory is bad.
 * The thread whose page was rolled back is woken. If it still wants the page, it faults again.
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/mman.h>

#include "../fault/object_internal.h"
#include "delivery_internal.h"
#include "limit_internal.h"

/* Consecutive pages of a file on their way to memory. */
struct stretch {
    uint64_t first; /* a page of the file */
    uint64_t npages;
    const unsigned char *data; /* NULL: zeros */
    bool zeros;                /* the data is */
    bool present;              /* the pages are there already */
    uint64_t *counter;         /* of pages that were installed */
};

/*
 * Whether the map shows these pages at the addresses where they are to be installed, and none of them shows zeros
 * instead because it was given back (S3). The layout is locked.
 */
static bool is_shown(const struct pgl_delivery *delivery, const struct pgl_request *request,
                     const struct stretch *stretch)
{
    uint64_t distance = stretch->first - request->pager_demand; /* wraps before the demand page */
    uint64_t index = delivery->addr / delivery->pager->page_size + distance;
    uint64_t object_index = stretch->first - request->object->config.pager_range.first;
    struct pgl_map_entry entry;

    return pgl_map_lookup(delivery->space->map, index, &entry) && entry.object == request->object &&
           entry.view.first <= index && stretch->npages <= entry.view.last - index + 1 &&
           entry.view.object_first + (index - entry.view.first) == object_index &&
           (stretch->zeros || stretch->present ||
            !pgl_shown_was_given_back(request->object->config.pager, stretch->first, stretch->npages));
}

/*
 * Whether a page is there of which the kernel says so (EEXIST). It says it of a huge page, too, when it has none left.
 * A shared one may be there, and be missing in this mapping only: then it is shown. Those of other processes cannot be
 * told apart.
 */
static bool is_there(const struct pgl_delivery *delivery, uint64_t addr)
{
    const struct pgl_uffd *uffd = delivery->pager;
    unsigned char resident = 1;

    if (delivery->unit == 1 || delivery->space != uffd->self ||
        mincore((void *)(uintptr_t)addr, uffd->page_size, &resident) != 0 || (resident & 1) != 0) {
        return true;
    }
    return pgl_delivery_show_pages(uffd->self->fd, addr, delivery->unit * uffd->page_size, uffd->protects) > 0;
}

/* Install a stretch. Returns 0 or an errno; *done is how many of its first pages are in memory then. */
static int install(struct pgl_delivery *delivery, const struct pgl_request *request, const struct stretch *stretch,
                   uint64_t *done)
{
    size_t page_size = delivery->pager->page_size;
    bool protects = delivery->pager->protects;
    int uffd = delivery->space->fd;
    uint64_t addr = delivery->addr + (stretch->first - request->pager_demand) * page_size;
    uint64_t index = stretch->first - request->object->config.pager_range.first;
    int error;

    pthread_rwlock_rdlock(&delivery->pager->layout);
    error = is_shown(delivery, request, stretch) ? 0 : ENOENT;
    for (*done = 0; error == 0 && *done < stretch->npages;) {
        const unsigned char *data = stretch->data ? stretch->data + *done * page_size : NULL;
        uint64_t wanted = stretch->npages - *done;
        uint64_t made;

        if (!data && protects) { /* the kernel's zero page cannot be protected */
            data = delivery->pager->zeros;
            wanted = wanted < PGL_UFFD_ZERO_PAGES ? wanted : PGL_UFFD_ZERO_PAGES;
        }
        pgl_count(stretch->counter, wanted); /* now, because a thread may touch a page at once */
        made = stretch->present
                   ? pgl_delivery_show_pages(uffd, addr + *done * page_size, wanted * page_size, protects)
                   : pgl_delivery_make_pages(uffd, addr + *done * page_size, data, wanted * page_size, protects);
        made /= page_size;
        pgl_count(stretch->counter, made - wanted); /* subtract the pages that were not installed */
        if (made > 0) {
            (stretch->present ? pgl_dirty_note_shown : pgl_dirty_note_installed)(request->object, index + *done, made);
            pgl_limit_note_installed(request->object, index + *done, made);
            *done += made;
        } else if (errno != EEXIST) {
            error = errno;
        } else if (!is_there(delivery, addr + *done * page_size)) {
            error = ENOMEM;
        } else {
            pgl_count(&delivery->pager->stats.present, delivery->unit);
            pgl_limit_note_found(request->object, index + *done);
            *done += delivery->unit;
        }
    }
    pthread_rwlock_unlock(&delivery->pager->layout);
    if (*done > 0) {
        pgl_delivery_note_put(delivery, addr, addr + (*done - 1) * page_size);
    }
    return error;
}

/*
 * Report pages that are in memory to the driver, and wake the threads that wait for them. For a write, first remove the
 * protection of the demand page, and report that page as writable. The thread of a write is not woken while its page is
 * protected.
 */
static void supply(struct pgl_delivery *delivery, const struct pgl_request *request, uint64_t first, uint64_t npages)
{
    uint64_t demand = request->pager_demand;
    uint64_t addr = delivery->addr + (first - demand) * delivery->pager->page_size;
    bool opens = delivery->pager->withholds && request->access == PGL_ACCESS_WRITE;
    enum pgl_access access = delivery->pager->withholds ? PGL_ACCESS_READ : PGL_ACCESS_WRITE;
    struct pgl_pager_range range = {first, first + npages - 1};

    if (npages == 0) {
        return;
    }
    if (opens && demand - first < npages && pgl_delivery_try_unprotect(delivery, NULL) == 0) {
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
    if (!opens) {
        pgl_delivery_wake_pages(delivery, addr, npages * delivery->pager->page_size);
    }
}

/*
 * As supply(), for pages that a source has supplied. Count the answer and wake the threads, and then read the moment:
 * the kernel orders the wake-up among the reads of handlers, each of which counts before it reads (R7).
 */
static void offer(struct pgl_delivery *delivery, const struct pgl_request *request, uint64_t first, uint64_t npages)
{
    uint64_t addr = delivery->addr + (first - request->pager_demand) * delivery->pager->page_size;
    enum pgl_access access = delivery->pager->withholds ? PGL_ACCESS_READ : PGL_ACCESS_WRITE;
    struct pgl_pager_range range = {first, first + npages - 1};
    uint64_t moment;

    if (npages == 0) {
        return;
    }
    pgl_delivery_wake_pages(delivery, addr, npages * delivery->pager->page_size);
    moment = __atomic_load_n(&delivery->pager->moment, __ATOMIC_RELAXED);
    pgl_object_offer(request->object, range, NULL, access, moment, delivery->offered);
}

/* A stretch of a request, installed in one piece or, if its memory is not one mapping, page by page of the kernel's. */
struct placing {
    const struct pgl_request *request;
    struct stretch rest; /* not installed yet */
    bool in_pieces;
    bool mapped; /* it is copied out of a mapping: its bytes are counted as they are installed */
    int error;   /* of the first page that could not be installed, or ENOMEM if there was no memory for any of them */
};

/*
 * Pages that were offered could not be installed. The faults that wait for them look again, unless there is no memory:
 * then they fail (request.c).
 */
static void take_back(const struct pgl_delivery *delivery, const struct pgl_request *request, uint64_t first,
                      uint64_t npages, int error)
{
    uint64_t object_first = first - request->object->config.pager_range.first;

    if (delivery->offered && error != ENOMEM) {
        pgl_object_cancel(request->object, request->id, object_first, object_first + npages - 1, PGL_OUTCOME_AGAIN);
    }
}

static void skip(struct stretch *stretch, uint64_t npages, size_t page_size)
{
    stretch->first += npages;
    stretch->npages -= npages;
    if (stretch->data) {
        stretch->data += npages * page_size;
    }
}

/*
 * Install pages until the kernel refuses one because of an event (EAGAIN) or of a mapping that it cannot read (EFAULT),
 * or until none is left.
 */
static int place(struct pgl_delivery *delivery, void *arg)
{
    struct placing *placing = arg;
    struct stretch *rest = &placing->rest;

    while (rest->npages > 0) {
        struct stretch stretch = *rest;
        uint64_t done;
        int error;

        stretch.npages = placing->in_pieces ? delivery->unit : rest->npages;
        error = install(delivery, placing->request, &stretch, &done);
        pgl_count(&delivery->pager->stats.bytes_read, placing->mapped ? done * delivery->pager->page_size : 0);
        (delivery->offered ? offer : supply)(delivery, placing->request, stretch.first, done);
        skip(rest, done, delivery->pager->page_size);
        if (error == EAGAIN || error == EFAULT) {
            return error;
        }
        if (error == ESRCH) { /* before pages are taken back: their faults ask for nothing more */
            __atomic_store_n(&delivery->space->ended, true, __ATOMIC_RELAXED);
        }
        if (error == ENOENT && rest->npages > delivery->unit && !placing->in_pieces) {
            placing->in_pieces = true;
        } else if (error != 0) {
            placing->error = placing->error == 0 || error == ENOMEM ? error : placing->error;
            stretch.npages = placing->in_pieces ? delivery->unit : rest->npages;
            take_back(delivery, placing->request, rest->first, stretch.npages, error);
            skip(rest, stretch.npages, delivery->pager->page_size);
        }
    }
    return placing->error;
}

/* Install what is left of a stretch. Returns 0 or an errno: EFAULT leaves some of it. */
static int deliver(struct pgl_delivery *delivery, struct placing *placing)
{
    int error = pgl_delivery_persist(delivery, place, placing);

    delivery->no_room = error == ENOMEM;
    pgl_count(&delivery->pager->stats.gone, error == ENOENT || error == ESRCH);
    return error == ENOENT || error == ESRCH ? EAGAIN : error;
}

/*
 * Copy pages out of the mapping of their file. Returns 0 or an errno: EFAULT leaves some of the pages, which have to be
 * read.
 */
static int bring_mapped(struct pgl_delivery *delivery, struct placing *placing, const unsigned char *mapped)
{
    int error;

    pgl_count(&delivery->pager->stats.requests, 1);
    placing->rest.data = mapped;
    placing->mapped = true;
    error = deliver(delivery, placing);
    placing->mapped = false;
    return error;
}

/* Read pages, and copy those that could be read. Returns 0 or an errno. */
static int bring_read(struct pgl_delivery *delivery, struct placing *placing, const struct pgl_source *source)
{
    struct stretch *rest = &placing->rest;
    int read_error = pgl_source_read(delivery, source, rest->first, rest->npages, &rest->npages);
    int error;

    rest->npages -= rest->npages % delivery->unit;
    rest->data = delivery->buffer;
    error = rest->npages > 0 ? deliver(delivery, placing) : placing->error;
    return error != 0 ? error : read_error;
}

/* Make pages of zeros, those of a hole as far as the file still reaches. Returns 0 or an errno. */
static int bring_zeros(struct pgl_delivery *delivery, struct placing *placing, const struct pgl_source *hole_of)
{
    struct stretch *rest = &placing->rest;
    int size_error = 0;
    int error;

    if (hole_of) {
        size_error =
            pgl_source_measure_hole(hole_of, rest->first, rest->npages, delivery->pager->page_size, &rest->npages);
    }
    rest->npages -= rest->npages % delivery->unit;
    rest->zeros = true;
    rest->counter = &delivery->pager->stats.pages_zeroed;
    if (delivery->pager->protects || delivery->unit > 1) { /* the kernel's zero page cannot be protected, or huge */
        rest->data = memset(delivery->buffer, 0, rest->npages * delivery->pager->page_size);
    }
    error = rest->npages > 0 ? deliver(delivery, placing) : 0;
    return error != 0 ? error : size_error;
}

/* Returns the pages that the kernel maps together with a page of the source. A region begins with such pages. */
static struct pgl_pager_range whole_around(const struct pgl_shown *shown, uint64_t page)
{
    uint64_t first = page - (page - shown->range.first) % shown->unit;

    return (struct pgl_pager_range){first, first + shown->unit - 1};
}

/* Show the page of a minor fault. Returns 0 or an errno; the thread faults again if the page is gone meanwhile. */
static int bring_present(struct pgl_delivery *delivery, const struct pgl_request *request, struct pgl_pager_range *run)
{
    struct placing placing = {
        .request = request,
        .rest = {.npages = delivery->unit, .present = true, .counter = &delivery->pager->stats.present},
    };

    *run = whole_around(request->object->config.pager, request->pager_demand);
    placing.rest.first = run->first;
    return deliver(delivery, &placing);
}

int pgl_delivery_bring(struct pgl_delivery *delivery, const struct pgl_request *request, uint64_t page,
                       struct pgl_pager_range *run)
{
    const struct pgl_shown *shown = request->object->config.pager;
    struct pgl_source *source = shown->source;
    struct placing placing = {.request = request, .rest.counter = &delivery->pager->stats.pages_fetched};
    const unsigned char *mapped;
    int error = EFAULT;
    enum pgl_run kind;

    if (shown->unit > 1) {
        struct pgl_pager_range whole = whole_around(shown, page);

        *run = pgl_shown_find_run(shown, whole, page, &kind);
        kind = kind == PGL_RUN_HOLE && run->last - run->first < whole.last - whole.first ? PGL_RUN_DATA : kind;
        *run = whole;
    } else {
        *run = pgl_shown_find_run(shown, request->range, page, &kind);
    }
    placing.rest.first = run->first;
    placing.rest.npages = run->last - run->first + 1;
    if (page == request->pager_demand) {
        delivery->latency =
            kind == PGL_RUN_DATA ? delivery->pager->stats.latency_read : delivery->pager->stats.latency_zero;
        delivery->npages = kind == PGL_RUN_DATA ? placing.rest.npages : 0;
    }
    if (kind != PGL_RUN_DATA) {
        return bring_zeros(delivery, &placing, kind == PGL_RUN_HOLE ? source : NULL);
    }
    mapped = pgl_mapping_find(source, run->first, placing.rest.npages, delivery->pager->page_size);
    if (mapped) {
        error = bring_mapped(delivery, &placing, mapped);
    }
    return error == EFAULT && source->file ? bring_read(delivery, &placing, source) : error;
}

int pgl_delivery_offer(struct pgl_delivery *delivery, const struct pgl_request *request, uint64_t first,
                       uint64_t npages, const void *data)
{
    struct pgl_uffd_stats *stats = &delivery->pager->stats;
    struct placing placing = {
        .request = request,
        .rest = {first, npages, data, .counter = data ? &stats->pages_fetched : &stats->pages_zeroed},
    };

    pgl_count(&stats->bytes_read, data ? npages * delivery->pager->page_size : 0);
    return deliver(delivery, &placing);
}

/* Bring the run with the demand page first, and the others in ascending order. */
static int data_request(void *pager, const struct pgl_request *request)
{
    const struct pgl_shown *shown = pager;
    struct pgl_delivery *delivery = request->cookie;
    struct pgl_pager_range awaited, run;
    int error;

    if (delivery->begun && !pgl_delivery_is_same(delivery)) { /* R9 */
        return EAGAIN;
    }
    delivery->begun = true;
    delivery->unit = shown->unit;
    if (delivery->alone) { /* O13 */
        pgl_limit_make_room(delivery->pager, request->object, request->range.last - request->range.first + 1);
    }
    error = delivery->present ? bring_present(delivery, request, &awaited)
                              : pgl_delivery_bring(delivery, request, request->pager_demand, &awaited);
    for (uint64_t page = request->range.first; error == 0 && page <= request->range.last; page = run.last + 1) {
        run = awaited;
        if (page < awaited.first || page > awaited.last) { /* it may begin within a huge page */
            error = pgl_delivery_bring(delivery, request, page, &run);
        }
    }
    delivery->error = error;
    pgl_meter_tell(&delivery->pager->stats, request->object);
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

static void behind(void *pager, struct pgl_object *object, struct pgl_pager_range range)
{
    (void)object;
    pgl_limit_note_behind(pager, &range);
}

static void release(void *pager)
{
    pgl_shown_free(pager);
}

const struct pgl_pager_ops pgl_uffd_pager_ops = {
    .data_request = data_request,
    .access_request = access_request,
    .behind = behind,
    .release = release,
};
