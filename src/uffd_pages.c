/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How pages get from a file into memory that waits for them: the pager that the userfaultfd handlers give to the fault
 * driver. Everything happens inside data_request(), in the thread that handles the fault: one pread() and one
 * UFFDIO_COPY for each run of data in the cluster, one fstat() and one UFFDIO_ZEROPAGE for each hole. None of them
 * takes the lock under which most file systems write a file, whose holder may be waiting for this very page.
 *
 * What the kernel may answer, and what it means here:
 *   EEXIST  the page is there already (another handler's, or a forked child inherited it): as good as copied;
 *   EAGAIN  a mapping is being changed, and its event is still to be read: take everything back, try again;
 *   ENOENT  the range is not one registered mapping: page by page, and what is not mapped at all is taken back (so is
 *           what the map does not show there any more: something else may be mapped there since);
 *   ESRCH   the process has gone: taken back.
 * A thread whose page was taken back is woken; if it still wants the page, it faults again.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "object.h"
#include "uffd.h"

/* A description of its own where that can be had, so that looking for holes does not move the caller's offset. */
static int reopen(int fd)
{
    char path[32];
    int own;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    own = open(path, O_RDONLY | O_CLOEXEC);
    return own >= 0 ? own : fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

/* Notes a hole. Returns false, with ENOMEM, when there is no room for it. */
static bool add_hole(struct source *source, struct pgl_pager_range hole, size_t *room)
{
    if (source->nholes == *room) {
        size_t more = *room > 0 ? 2 * *room : 16;
        struct pgl_pager_range *holes = pgl_arena_heap_ops.alloc(source->arena, more * sizeof(*holes));

        if (holes == NULL) {
            errno = ENOMEM;
            return false;
        }
        if (source->holes != NULL) {
            memcpy(holes, source->holes, source->nholes * sizeof(*holes));
            pgl_arena_heap_ops.free(source->arena, source->holes);
        }
        source->holes = holes;
        *room = more;
    }
    source->holes[source->nholes++] = hole;
    return true;
}

/*
 * Finds the holes once: a look at fault time would wait for whoever writes to the file, and he may wait for the page.
 * Where a file system cannot tell, the rest is data. Returns false, with ENOMEM, when there is no room for them.
 */
static bool find_holes(struct source *source, size_t page_size)
{
    off_t size = (off_t)page_size;
    off_t at = (off_t)source->range.first * size;
    off_t end = (off_t)(source->range.last + 1) * size;
    size_t room = 0;

    while (at < end) {
        off_t data = lseek(source->fd, at, SEEK_DATA);
        struct pgl_pager_range hole = {(uint64_t)at / page_size, source->range.last};

        if (data < 0 && errno != ENXIO) {
            return true;
        }
        if (data >= 0 && data < end) {
            hole.last = (uint64_t)data / page_size - 1; /* wraps at page 0, and so does the count */
        }
        if (hole.last + 1 > hole.first && !add_hole(source, hole, &room)) {
            return false;
        }
        at = data >= 0 && data < end ? lseek(source->fd, data, SEEK_HOLE) : end;
        if (at < 0) {
            return true;
        }
        at += size - 1 - (at + size - 1) % size;
    }
    return true;
}

/* The last holder is gone, or there never was one. */
static void source_free(struct source *source)
{
    if (source->fd >= 0) {
        close(source->fd);
    }
    if (source->holes != NULL) {
        pgl_arena_heap_ops.free(source->arena, source->holes);
    }
    pgl_arena_heap_ops.free(source->arena, source);
}

struct source *pgl_source_new(struct arena *arena, int fd, uint64_t offset, uint64_t length, size_t page_size)
{
    struct source *source;
    struct stat st;

    if (fstat(fd, &st) != 0) {
        return NULL;
    }
    if (st.st_size <= 0 || offset >= (uint64_t)st.st_size || length > (uint64_t)st.st_size - offset + page_size - 1) {
        errno = EINVAL;
        return NULL;
    }
    source = pgl_arena_heap_ops.alloc(arena, sizeof(*source));
    if (source == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    source->arena = arena;
    source->refs = 1;
    source->size = (uint64_t)st.st_size;
    source->range = (struct pgl_pager_range){offset / page_size, (offset + length) / page_size - 1};
    source->fd = reopen(fd);
    if (source->fd < 0 || ((uint64_t)st.st_blocks * 512 < source->size && !find_holes(source, page_size))) {
        int error = errno;

        source_free(source);
        errno = error;
        return NULL;
    }
    return source;
}

void pgl_source_unref(struct source *source)
{
    /* acquire and release: the last holder closes what the others have used */
    if (__atomic_sub_fetch(&source->refs, 1, __ATOMIC_ACQ_REL) == 0) {
        source_free(source);
    }
}

void pgl_delivery_wake(const struct delivery *delivery)
{
    struct uffdio_range range = {delivery->addr, delivery->page_size};

    ioctl(delivery->uffd, UFFDIO_WAKE, &range);
}

/* Asks the kernel once for pages of zeros (data NULL) or of data. Returns how many it made, or 0 with errno. */
static uint64_t make_pages(int uffd, uint64_t addr, const unsigned char *data, uint64_t length, uint64_t mode)
{
    struct uffdio_copy copy = {addr, (uint64_t)(uintptr_t)data, length, mode, 0};
    struct uffdio_zeropage zero = {{addr, length}, mode, 0};
    int64_t made;

    if (data != NULL) {
        ioctl(uffd, UFFDIO_COPY, &copy);
        made = copy.copy;
    } else {
        ioctl(uffd, UFFDIO_ZEROPAGE, &zero);
        made = zero.zeropage;
    }
    return made > 0 ? (uint64_t)made : 0;
}

/* Layout locked. Whether the map shows at the page what it showed when its fault was looked at. */
static bool is_same(const struct delivery *delivery)
{
    uint64_t index = delivery->addr / delivery->page_size;
    struct pgl_map_entry entry;

    if (delivery->placed) {
        return pgl_map_has_place(delivery->map, index, &delivery->place);
    }
    return !pgl_map_lookup(delivery->map, index, &entry) || entry.view.first > index;
}

static void note_put(struct delivery *delivery, uint64_t first, uint64_t last)
{
    delivery->put_first = first < delivery->put_first ? first : delivery->put_first;
    delivery->put_last = last > delivery->put_last ? last : delivery->put_last;
}

bool pgl_delivery_zero(struct delivery *delivery)
{
    bool protects = delivery->write_protect && !delivery->writes; /* which the kernel's own zero page cannot be */
    const unsigned char *data = protects ? memset(delivery->buffer, 0, delivery->page_size) : NULL;
    uint64_t mode = protects ? UFFDIO_COPY_MODE_WP : 0;
    bool made;

    pthread_rwlock_rdlock(delivery->layout);
    made = is_same(delivery) && make_pages(delivery->uffd, delivery->addr, data, delivery->page_size, mode) > 0;
    pthread_rwlock_unlock(delivery->layout);
    if (made) {
        delivery->woken = true;
        note_put(delivery, delivery->addr, delivery->addr);
    }
    return made;
}

int pgl_delivery_unprotect(struct delivery *delivery)
{
    struct uffdio_writeprotect protect = {{delivery->addr, delivery->page_size}, 0};
    int error = ENOENT;

    pthread_rwlock_rdlock(delivery->layout);
    if (is_same(delivery)) {
        error = ioctl(delivery->uffd, UFFDIO_WRITEPROTECT, &protect) != 0 ? errno : 0;
    }
    pthread_rwlock_unlock(delivery->layout);
    delivery->woken |= error == 0;
    return error;
}

/* Pages that follow each other in a file, on their way to memory. */
struct stretch {
    uint64_t first; /* the pager's */
    uint64_t npages;
    const unsigned char *data; /* NULL: zeros */
    uint64_t *counter;         /* of pages made */
};

/* Whether the map shows these pages where they are to go. */
static bool is_shown(const struct delivery *delivery, const struct pgl_request *request, const struct stretch *stretch)
{
    uint64_t distance = stretch->first - request->pager_demand; /* wraps before the demand page */
    uint64_t index = delivery->addr / delivery->page_size + distance;
    uint64_t object_index = stretch->first - request->object->config.pager_range.first;
    struct pgl_map_entry entry;

    return pgl_map_lookup(delivery->map, index, &entry) && entry.object == request->object &&
           entry.view.first <= index && stretch->npages <= entry.view.last - index + 1 &&
           entry.view.object_first + (index - entry.view.first) == object_index;
}

/*
 * Puts a stretch in place. Returns 0 or an errno, and in *done how many of its pages are there then. A write fault's
 * thread is not woken by a page that is still protected.
 */
static int install(struct delivery *delivery, const struct pgl_request *request, const struct stretch *stretch,
                   uint64_t *done)
{
    size_t page_size = delivery->page_size;
    bool quiet = delivery->write_protect && request->access == PGL_ACCESS_WRITE;
    uint64_t mode = (delivery->write_protect ? UFFDIO_COPY_MODE_WP : 0) | (quiet ? UFFDIO_COPY_MODE_DONTWAKE : 0);
    uint64_t addr = delivery->addr + (stretch->first - request->pager_demand) * page_size;
    int error;

    pthread_rwlock_rdlock(delivery->layout);
    error = is_shown(delivery, request, stretch) ? 0 : ENOENT;
    for (*done = 0; error == 0 && *done < stretch->npages;) {
        const unsigned char *data = stretch->data != NULL ? stretch->data + *done * page_size : NULL;
        uint64_t length = (stretch->npages - *done) * page_size;
        uint64_t made = make_pages(delivery->uffd, addr + *done * page_size, data, length, mode) / page_size;

        if (made > 0) {
            count(stretch->counter, made);
            delivery->woken |= !quiet && request->pager_demand - (stretch->first + *done) < made;
            *done += made;
        } else if (errno == EEXIST) {
            count(&delivery->stats->present, 1);
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

/* Tells the driver which pages are in place. The demand page may be written to when its protection could be taken. */
static void supply(struct delivery *delivery, const struct pgl_request *request, uint64_t first, uint64_t npages)
{
    uint64_t demand = request->pager_demand;
    enum pgl_access access = delivery->write_protect ? PGL_ACCESS_READ : PGL_ACCESS_WRITE;
    struct pgl_pager_range range = {first, first + npages - 1};

    if (npages == 0) {
        return;
    }
    if (delivery->write_protect && request->access == PGL_ACCESS_WRITE && demand - first < npages &&
        pgl_delivery_unprotect(delivery) == 0) {
        struct pgl_pager_range before = {first, demand - 1};
        struct pgl_pager_range page = {demand, demand};

        pgl_pager_supply(request->object, request->id, page, NULL, PGL_ACCESS_WRITE);
        if (demand > first) {
            pgl_pager_supply(request->object, request->id, before, NULL, access);
        }
        range.first = demand + 1;
    }
    if (range.first <= range.last) {
        pgl_pager_supply(request->object, request->id, range, NULL, access);
    }
}

/* Puts a stretch in place and tells the driver, in one piece or, where memory is not one mapping, page by page. */
static int deliver(struct delivery *delivery, const struct pgl_request *request, struct stretch stretch)
{
    uint64_t done;
    int error = install(delivery, request, &stretch, &done);

    supply(delivery, request, stretch.first, done);
    if (error == ENOENT && stretch.npages > 1) {
        int first_error = 0;

        for (uint64_t i = done; i < stretch.npages; i++) {
            struct stretch page = {stretch.first + i, 1, NULL, stretch.counter};

            page.data = stretch.data != NULL ? stretch.data + i * delivery->page_size : NULL;
            error = install(delivery, request, &page, &done);
            supply(delivery, request, page.first, done);
            first_error = first_error != 0 ? first_error : error;
        }
        error = first_error;
    }
    count(&delivery->stats->again, error == EAGAIN);
    count(&delivery->stats->gone, error == ENOENT || error == ESRCH);
    return error == ENOENT || error == ESRCH ? EAGAIN : error;
}

/* Reads pages of the file into the buffer. Returns 0 or an errno; *whole is how many pages could be read. */
static int read_pages(struct delivery *delivery, const struct source *source, uint64_t first, uint64_t npages,
                      uint64_t *whole)
{
    uint64_t offset = first * delivery->page_size;
    uint64_t length = npages * delivery->page_size;
    uint64_t wanted = source->size - offset < length ? source->size - offset : length;
    uint64_t have = 0;
    int error = 0;

    while (have < wanted && error == 0) {
        ssize_t n = pread(source->fd, delivery->buffer + have, wanted - have, (off_t)(offset + have));

        if (n > 0) {
            have += (uint64_t)n;
        } else if (n == 0) {
            error = ENODATA;
        } else if (errno != EINTR) {
            error = errno;
        }
    }
    count(&delivery->stats->bytes_read, have);
    count(&delivery->stats->requests, 1);
    memset(delivery->buffer + have, 0, length - have);
    *whole = have == wanted ? npages : have / delivery->page_size;
    return error;
}

/* As read_pages(), of a hole: nothing is read, but the file may have shrunk. */
static int measure_hole(const struct source *source, uint64_t first, uint64_t npages, size_t page_size, uint64_t *whole)
{
    struct stat st;
    uint64_t left;

    *whole = 0;
    if (fstat(source->fd, &st) != 0) {
        return errno;
    }
    left = (uint64_t)st.st_size / page_size;
    left = (uint64_t)st.st_size >= source->size ? npages : left > first ? left - first : 0;
    *whole = left < npages ? left : npages;
    return *whole < npages ? ENODATA : 0;
}

/* The part of a range around a page that is all of one hole or (*hole false) to be read. */
static struct pgl_pager_range find_run(const struct source *source, struct pgl_pager_range range, uint64_t page,
                                       bool *hole)
{
    const struct pgl_pager_range *holes = source->holes;
    size_t low = 0;
    size_t high = source->nholes;

    while (low < high) { /* the first hole that ends at or above the page */
        size_t middle = low + (high - low) / 2;

        if (holes[middle].last < page) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *hole = low < source->nholes && holes[low].first <= page;
    if (*hole) {
        range.first = holes[low].first > range.first ? holes[low].first : range.first;
        range.last = holes[low].last < range.last ? holes[low].last : range.last;
        return range;
    }
    if (low > 0 && holes[low - 1].last >= range.first) {
        range.first = holes[low - 1].last + 1;
    }
    if (low < source->nholes && holes[low].first <= range.last) {
        range.last = holes[low].first - 1;
    }
    return range;
}

/* Brings the run around a page of the request, and tells which it was. Returns 0 or an errno. */
static int bring(struct delivery *delivery, const struct pgl_request *request, const struct source *source,
                 uint64_t page, struct pgl_pager_range *run)
{
    struct stretch stretch = {.data = delivery->buffer, .counter = &delivery->stats->pages_fetched};
    uint64_t npages;
    int read_error, error = 0;
    bool hole;

    *run = find_run(source, request->range, page, &hole);
    stretch.first = run->first;
    npages = run->last - run->first + 1;
    if (!hole) {
        read_error = read_pages(delivery, source, run->first, npages, &stretch.npages);
    } else {
        read_error = measure_hole(source, run->first, npages, delivery->page_size, &stretch.npages);
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
    const struct source *source = pager;
    struct delivery *delivery = request->cookie;
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
    struct delivery *delivery = request->cookie;
    int error = pgl_delivery_unprotect(delivery);

    (void)pager;
    if (error != 0) {
        return error == ENOENT || error == ESRCH ? EAGAIN : error;
    }
    pgl_pager_grant(request->object, request->id, demand, PGL_ACCESS_WRITE);
    pgl_pager_grant(request->object, request->id, request->range, PGL_ACCESS_READ);
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
