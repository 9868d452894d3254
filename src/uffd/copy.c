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
 *   EFAULT  the page cannot be read in the mapping of the file: read it. A page of the caller's memory is bad.
 * The thread whose page was rolled back is woken. If it still wants the page, it faults again.
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
    struct pgl_uffd_stats *stats = &delivery->pager->stats;
    uint64_t ns = pgl_now_ns() - delivery->start_ns;
    uint64_t max = __atomic_load_n(&stats->ns_max, __ATOMIC_RELAXED);

    delivery->answered_ns = delivery->start_ns + ns;
    if (delivery->npages > 0) {
        pgl_meter_request(&delivery->pager->meter, delivery->npages, ns, stats);
    }
    pgl_count(&stats->unlocks, delivery->protected);
    pgl_count(&stats->ns_total, ns);
    pgl_count(&delivery->latency[pgl_latency_bucket(ns)], 1);
    while (ns > max &&
           !__atomic_compare_exchange_n(&stats->ns_max, &max, ns, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
}

/* Count the answer if the faulting page is among these, unless another thread does. */
static void note_answer(struct pgl_delivery *delivery, uint64_t addr, uint64_t length)
{
    if (!delivery->answered && delivery->addr - addr < length) {
        if (!delivery->claim || !__atomic_exchange_n(delivery->claim, true, __ATOMIC_RELAXED)) {
            count_answer(delivery);
        }
        delivery->answered = true;
    }
}

/* Wake every thread that waits for these pages. Everything about them has been counted. */
static void wake(struct pgl_delivery *delivery, uint64_t addr, uint64_t length)
{
    struct uffdio_range range = {addr, length};

    note_answer(delivery, addr, length);
    if (!delivery->pager->self_service) { /* otherwise no thread sleeps */
        ioctl(delivery->space->fd, UFFDIO_WAKE, &range);
    }
}

/* The memory that the kernel maps at a time: the page of the fault, or the huge page around it. */
static struct uffdio_range whole_page(const struct pgl_delivery *delivery)
{
    uint64_t length = delivery->unit * delivery->pager->page_size;

    return (struct uffdio_range){delivery->addr - delivery->addr % length, length};
}

void pgl_delivery_wake(struct pgl_delivery *delivery)
{
    struct uffdio_range range = whole_page(delivery);

    wake(delivery, range.start, range.len);
}

/*
 * Ask the kernel once to install pages of data, or of zeros when @data is NULL. Returns the number of bytes that it
 * installed, or 0 with errno. No thread is woken.
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

/* As make_pages(), for pages that are there already, and that this mapping lacks. */
static uint64_t show_pages(int uffd, uint64_t addr, uint64_t length, bool protects)
{
    uint64_t mode = UFFDIO_CONTINUE_MODE_DONTWAKE | (protects ? UFFDIO_CONTINUE_MODE_WP : 0);
    struct uffdio_continue show = {{addr, length}, mode, 0};

    ioctl(uffd, UFFDIO_CONTINUE, &show);
    return show.mapped > 0 ? (uint64_t)show.mapped : 0;
}

/* Whether the map shows the same at the page as when its fault began. The layout is locked. */
static bool is_same(const struct pgl_delivery *delivery)
{
    uint64_t index = delivery->addr / delivery->pager->page_size;
    struct pgl_map *map = delivery->space->map;

    return delivery->placed ? pgl_map_has_place(map, index, &delivery->place) : !pgl_map_shows(map, index);
}

static void note_put(struct pgl_delivery *delivery, uint64_t first, uint64_t last)
{
    delivery->put_first = first < delivery->put_first ? first : delivery->put_first;
    delivery->put_last = last > delivery->put_last ? last : delivery->put_last;
}

/* The page of the fault was installed. The layout is locked. */
static void note_installed(const struct pgl_delivery *delivery)
{
    if (delivery->placed) {
        uint64_t first = delivery->place.index - delivery->place.index % delivery->unit;

        pgl_dirty_note_installed(delivery->place.object, first, delivery->unit);
    }
}

static int make_zeros(struct pgl_delivery *delivery, void *arg)
{
    struct uffdio_range range = whole_page(delivery);
    bool opens = delivery->pager->withholds && delivery->writes;
    bool protects = delivery->pager->protects && !opens;
    /* The kernel's zero page cannot be protected, and none is huge. */
    bool copies = protects || delivery->unit > 1;
    const unsigned char *data = copies ? memset(delivery->buffer, 0, (size_t)range.len) : NULL;
    int error = ENOENT;

    (void)arg;
    pthread_rwlock_rdlock(&delivery->pager->layout);
    if (is_same(delivery)) {
        error = make_pages(delivery->space->fd, range.start, data, range.len, protects) > 0 ? 0 : errno;
    }
    if (error == 0) {
        note_installed(delivery);
    }
    if (error == 0 && opens) {
        pgl_dirty_note(delivery);
        pgl_limit_note_opened(delivery);
    }
    pthread_rwlock_unlock(&delivery->pager->layout);
    return error;
}

static int make_poison(struct pgl_delivery *delivery, void *arg)
{
    struct uffdio_poison poison = {whole_page(delivery), UFFDIO_POISON_MODE_DONTWAKE, 0};
    int error = ENOENT;

    (void)arg;
    pthread_rwlock_rdlock(&delivery->pager->layout);
    if (is_same(delivery)) {
        error = ioctl(delivery->space->fd, UFFDIO_POISON, &poison) != 0 ? errno : 0;
    }
    if (error == 0) {
        pgl_dirty_note_poison(delivery);
    }
    pthread_rwlock_unlock(&delivery->pager->layout);
    return error;
}

bool pgl_delivery_poison(struct pgl_delivery *delivery)
{
    int error = pgl_delivery_persist(delivery, make_poison, NULL);

    delivery->poisoned = error == 0 || error == EEXIST;
    return error == 0;
}

bool pgl_delivery_zero(struct pgl_delivery *delivery)
{
    bool made;

    delivery->latency = delivery->pager->stats.latency_zero;
    made = pgl_delivery_persist(delivery, make_zeros, NULL) == 0;

    if (made) {
        note_put(delivery, delivery->addr, delivery->addr);
    }
    return made;
}

/*
 * Remove the protection of the page. If pages were taken since the fault was read, its thread may have written already:
 * leave the page as it is. The thread is woken in any case, and faults again if it still wants to write.
 */
static int unprotect(struct pgl_delivery *delivery, void *arg)
{
    struct uffdio_writeprotect protect = {whole_page(delivery), UFFDIO_WRITEPROTECT_MODE_DONTWAKE};
    bool opens = false;
    int error = ENOENT;

    (void)arg;
    pthread_rwlock_rdlock(&delivery->pager->layout);
    if (is_same(delivery)) {
        opens = delivery->epoch == delivery->pager->epoch; /* O6 */
        error = opens && ioctl(delivery->space->fd, UFFDIO_WRITEPROTECT, &protect) != 0 ? errno : 0;
    }
    if (error == 0 && opens) {
        pgl_dirty_note(delivery);
        pgl_limit_note_opened(delivery);
    }
    pthread_rwlock_unlock(&delivery->pager->layout);
    return error;
}

int pgl_delivery_unprotect(struct pgl_delivery *delivery)
{
    return pgl_delivery_persist(delivery, unprotect, NULL);
}

static int show(struct pgl_delivery *delivery, void *arg)
{
    struct uffdio_range range = whole_page(delivery);
    int error = ENOENT;

    (void)arg;
    pthread_rwlock_rdlock(&delivery->pager->layout);
    if (is_same(delivery)) {
        error = show_pages(delivery->space->fd, range.start, range.len, delivery->pager->protects) > 0 ? 0 : errno;
    }
    if (error == 0) {
        note_installed(delivery);
    }
    pthread_rwlock_unlock(&delivery->pager->layout);
    return error;
}

void pgl_delivery_show(struct pgl_delivery *delivery)
{
    int error = pgl_delivery_persist(delivery, show, NULL);

    pgl_count(&delivery->pager->stats.present, error == 0);
}

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
        made = stretch->present ? show_pages(uffd, addr + *done * page_size, wanted * page_size, protects)
                                : make_pages(uffd, addr + *done * page_size, data, wanted * page_size, protects);
        made /= page_size;
        pgl_count(stretch->counter, made - wanted); /* subtract the pages that were not installed */
        if (made > 0) {
            pgl_dirty_note_installed(request->object, index + *done, made);
            pgl_limit_note_installed(request->object, index + *done, made);
            *done += made;
        } else if (errno == EEXIST) {
            pgl_count(&delivery->pager->stats.present, delivery->unit);
            pgl_limit_note_found(request->object, index + *done);
            *done += delivery->unit;
        } else {
            error = errno;
        }
    }
    pthread_rwlock_unlock(&delivery->pager->layout);
    if (*done > 0) {
        note_put(delivery, addr, addr + (*done - 1) * page_size);
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
    bool opens = delivery->pager->withholds && request->access == PGL_ACCESS_WRITE && !delivery->offers;
    enum pgl_access access = delivery->pager->withholds ? PGL_ACCESS_READ : PGL_ACCESS_WRITE;
    struct pgl_pager_range range = {first, first + npages - 1};

    if (npages == 0) {
        return;
    }
    if (opens && demand - first < npages && unprotect(delivery, NULL) == 0) {
        struct pgl_pager_range before = {first, demand - 1};
        struct pgl_pager_range page = {demand, demand};

        pgl_pager_supply(request->object, request->id, page, NULL, PGL_ACCESS_WRITE);
        if (demand > first) {
            pgl_pager_supply(request->object, request->id, before, NULL, access);
        }
        range.first = demand + 1;
        pgl_delivery_wake(delivery);
    }
    if (delivery->offers) {
        note_answer(delivery, addr, npages * delivery->pager->page_size); /* N8 */
        pgl_pager_offer(request->object, range, NULL, access);
    } else if (range.first <= range.last) {
        pgl_pager_supply(request->object, request->id, range, NULL, access);
    }
    if (!opens) {
        wake(delivery, addr, npages * delivery->pager->page_size);
    }
}

/* A stretch of a request, installed in one piece or, if its memory is not one mapping, page by page of the kernel's. */
struct placing {
    const struct pgl_request *request;
    struct stretch rest; /* not installed yet */
    bool in_pieces;
    bool mapped; /* it is copied out of a mapping: its bytes are counted as they are installed */
    int error;   /* of the first page that could not be installed */
};

/* Pages that were offered could not be installed. The faults that wait for them look again. */
static void take_back(const struct pgl_delivery *delivery, const struct pgl_request *request, uint64_t first,
                      uint64_t npages)
{
    uint64_t object_first = first - request->object->config.pager_range.first;

    if (delivery->offers) {
        pgl_object_cancel(request->object, request->id, object_first, object_first + npages - 1);
    }
}

static void skip(struct stretch *stretch, uint64_t npages, size_t page_size)
{
    stretch->first += npages;
    stretch->npages -= npages;
    stretch->data += stretch->data ? npages * page_size : 0;
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
        supply(delivery, placing->request, stretch.first, done);
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
            placing->error = placing->error != 0 ? placing->error : error;
            stretch.npages = placing->in_pieces ? delivery->unit : rest->npages;
            take_back(delivery, placing->request, rest->first, stretch.npages);
            skip(rest, stretch.npages, delivery->pager->page_size);
        }
    }
    return placing->error;
}

/* Install what is left of a stretch. Returns 0 or an errno: EFAULT leaves some of it. */
static int deliver(struct pgl_delivery *delivery, struct placing *placing)
{
    int error = pgl_delivery_persist(delivery, place, placing);

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
    uint64_t first = page - (page - shown->source->range.first) % shown->unit;

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
    const struct pgl_source *source = shown->source;
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

    delivery->unit = shown->unit;
    error = delivery->present ? bring_present(delivery, request, &awaited)
                              : pgl_delivery_bring(delivery, request, request->pager_demand, &awaited);
    for (uint64_t page = request->range.first; error == 0 && page <= request->range.last; page = run.last + 1) {
        run = awaited;
        if (page != awaited.first) {
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
