/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How pages get from a file into memory that waits for them: the pager that the userfaultfd handlers give to the fault
 * driver. Everything happens inside data_request(), in the thread that handles the fault: one pread() and one
 * UFFDIO_COPY a cluster, or one UFFDIO_ZEROPAGE for a hole.
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
    source->sparse = (uint64_t)st.st_blocks * 512 < source->size;
    source->range = (struct pgl_pager_range){offset / page_size, (offset + length) / page_size - 1};
    source->fd = reopen(fd);
    if (source->fd < 0) {
        pgl_arena_heap_ops.free(arena, source);
        return NULL;
    }
    return source;
}

void pgl_source_unref(struct source *source)
{
    /* acquire and release: the last holder closes what the others have used */
    if (__atomic_sub_fetch(&source->refs, 1, __ATOMIC_ACQ_REL) == 0) {
        close(source->fd);
        pgl_arena_heap_ops.free(source->arena, source);
    }
}

void pgl_delivery_wake(const struct delivery *delivery)
{
    struct uffdio_range range = {delivery->addr, delivery->page_size};

    ioctl(delivery->uffd, UFFDIO_WAKE, &range);
}

int pgl_delivery_unprotect(struct delivery *delivery)
{
    struct uffdio_writeprotect protect = {{delivery->addr, delivery->page_size}, 0};

    if (ioctl(delivery->uffd, UFFDIO_WRITEPROTECT, &protect) != 0) {
        return errno;
    }
    delivery->woken = true;
    return 0;
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

void pgl_delivery_zero(struct delivery *delivery)
{
    make_pages(delivery->uffd, delivery->addr, NULL, delivery->page_size, 0);
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
        uint64_t last = addr + (*done - 1) * page_size;

        delivery->put_first = addr < delivery->put_first ? addr : delivery->put_first;
        delivery->put_last = last > delivery->put_last ? last : delivery->put_last;
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

/*
 * How many of the pages from first on are one hole, or (*hole false) are to be read. Past the file's end, where it
 * shrank, there is no hole: reading will tell.
 */
static uint64_t find_stretch(const struct source *source, uint64_t first, uint64_t npages, size_t page_size, bool *hole)
{
    off_t size = (off_t)page_size;
    off_t at = (off_t)first * size;
    off_t end = at + (off_t)npages * size;
    off_t data = source->sparse ? lseek(source->fd, at, SEEK_DATA) : at;
    off_t limit;

    if (data < 0) {
        off_t file_end = lseek(source->fd, 0, SEEK_END);

        *hole = errno == ENXIO && at < file_end; /* another errno: the file system cannot tell */
        limit = *hole ? file_end + size - 1 : end;
    } else if (data >= at + size) {
        *hole = true;
        limit = data;
    } else {
        off_t data_end = source->sparse ? lseek(source->fd, data, SEEK_HOLE) : -1;

        *hole = false;
        limit = data_end >= 0 ? data_end + size - 1 : end; /* it fails where the file shrank since */
    }
    return (uint64_t)((limit < end ? limit : end) - at) / page_size;
}

static int data_request(void *pager, const struct pgl_request *request)
{
    struct source *source = pager;
    struct delivery *delivery = request->cookie;
    uint64_t first = request->range.first;
    int error = 0;

    while (error == 0 && first <= request->range.last) {
        struct stretch stretch = {first, request->range.last - first + 1, delivery->buffer, NULL};
        int read_error = 0;
        uint64_t whole;
        bool hole;

        stretch.npages = find_stretch(source, first, stretch.npages, delivery->page_size, &hole);
        first += stretch.npages;
        if (!hole) {
            stretch.counter = &delivery->stats->pages_fetched;
            read_error = read_pages(delivery, source, stretch.first, stretch.npages, &whole);
            stretch.npages = whole;
        } else {
            stretch.counter = &delivery->stats->pages_zeroed;
            stretch.data = NULL;
            if (delivery->write_protect) { /* the kernel's zero page cannot be protected */
                stretch.data = memset(delivery->buffer, 0, stretch.npages * delivery->page_size);
            }
        }
        error = deliver(delivery, request, stretch);
        error = error != 0 ? error : read_error;
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
