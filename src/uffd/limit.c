/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Regions that keep a limited number of pages in memory. A handler that has answered a fault gives clean pages back
 * until the region is within its limit: first those that a forward reader has left behind, then the oldest. The
 * kernel's UFFDIO_MOVE takes a page out of the region, and into scratch memory, which is then dropped.
 *
 * OBJECTS      A region with a limit has a list of its clean pages in the order of their age, and a bit for each page
 *              that was written. Both are protected by the lock of the limit, the last in the order of locks. They are
 *              changed with the layout held, so that the holder for writing finds them complete. A forked child has no
 *              limit. The scratch memory is the pager's, and changes with the layout held for writing.
 * MOVES        madvise() by a handler would wait for the handler that reads its event. UFFDIO_MOVE sends none. The
 *              kernel refuses it (EAGAIN) while an event is unread. Therefore the map is right about the page, as for
 *              copies (S2). That holds only if the scratch memory belongs to the region's userfaultfd. To drop it
 *              without an event, the handler unregisters it for that moment. That costs more than a move; therefore
 *              pages stay in the scratch memory until it is full.
 * INVARIANTS   O9: a page that was written is listed again when it is installed anew: it was absent, because the
 *              program has given it back. Its event may be older than the write, and the kernel drops the page after
 *              both.
 *              O10: the page at an address is the listed one, because the map shows the object there, and mremap() has
 *              never moved a part of it.
 *              O11: a listed page was installed protected, and no protection was removed since. A page that was there
 *              already counts as written.
 *              O12: pages are taken out with the layout held for writing. A handler removes a protection, and unlists
 *              the page, in one hold for reading. Therefore no page is written between the look at the list and the
 *              move.
 *              (test_uffd_limit_*)
 * PROGRESS     The newest pages are kept, as many as the widest cluster has: a thread finds the page it waited for.
 *              A page that the kernel refuses (locked, pinned, shared with a child) becomes the newest, and is tried
 *              again when its turn comes. A round ends after some refusals.
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "bits_internal.h"
#include "delivery_internal.h"
#include "limit_internal.h"

#define SCRATCH_PAGES 64 /* that are taken out in one hold of the layout */
#define REFUSALS 16      /* that end a round */
#define HEAD 0           /* of the list; the page with index i has the link i + 1 */

/* Neighbours in the list. The newer neighbour of the head is the oldest page. */
struct pgl_age {
    uint32_t older;
    uint32_t newer;
};

struct pgl_limit {
    pthread_mutex_t lock;
    uint64_t max;    /* this and the next two never change */
    uint64_t enough; /* clean pages that are kept in any case */
    uint64_t base;   /* the page number of the region's first page */
    bool moved;      /* mremap() has moved a part: nothing is given back any more */
    uint32_t behind; /* the last link of the pages left behind, which come before all others; HEAD: none */
    uint64_t nclean; /* listed */
    uint64_t nwritten;
    uint64_t *written;   /* a bit for each page */
    struct pgl_age *age; /* a link for the head, and for each page; unlisted pages have zeros */
};

static struct pgl_limit *limit_of(const struct pgl_object *object)
{
    return pgl_shown_of(object)->limit;
}

static bool is_listed(const struct pgl_limit *limit, uint64_t index)
{
    return limit->age[index + 1].older != HEAD || limit->age[HEAD].newer == index + 1;
}

static void unlist(struct pgl_limit *limit, uint64_t index)
{
    struct pgl_age *link = &limit->age[index + 1];

    limit->behind = limit->behind == index + 1 ? link->older : limit->behind;
    limit->age[link->older].newer = link->newer;
    limit->age[link->newer].older = link->older;
    *link = (struct pgl_age){HEAD, HEAD};
    limit->nclean--;
}

/* List a page right after another one, or as the first after the head. */
static void list_after(struct pgl_limit *limit, uint64_t index, uint32_t older)
{
    uint32_t newer = limit->age[older].newer;

    limit->age[index + 1] = (struct pgl_age){older, newer};
    limit->age[older].newer = (uint32_t)(index + 1);
    limit->age[newer].older = (uint32_t)(index + 1);
    limit->nclean++;
}

static void list_as_newest(struct pgl_limit *limit, uint64_t index)
{
    list_after(limit, index, limit->age[HEAD].older);
}

static void set_written(struct pgl_limit *limit, uint64_t index)
{
    if (is_listed(limit, index)) {
        unlist(limit, index);
    }
    limit->nwritten += !pgl_bits_have(limit->written, index);
    pgl_bits_set(limit->written, index, index + 1);
}

static void set_unwritten(struct pgl_limit *limit, uint64_t index, uint64_t end)
{
    for (uint64_t at = index; (at = pgl_bits_find(limit->written, at, end, true)) < end; at++) {
        limit->nwritten--;
    }
    pgl_bits_clear(limit->written, index, end);
}

int pgl_limit_check(const struct pgl_uffd *uffd, const struct pgl_uffd_region *region)
{
    if (region->limit == 0) {
        return 0;
    }
    if (!uffd->config.write_protect || region->limit < uffd->widest || region->length / uffd->page_size >= UINT32_MAX) {
        return EINVAL;
    }
    return region->memory != PGL_UFFD_PRIVATE || region->source.kind == PGL_UFFD_CALLBACK ||
                   (uffd->features & UFFD_FEATURE_MOVE) == 0
               ? EOPNOTSUPP
               : 0;
}

struct pgl_limit *pgl_limit_new(struct pgl_uffd *uffd, const struct pgl_uffd_region *region)
{
    uint64_t npages = region->length / uffd->page_size;
    struct pgl_limit *limit = pgl_arena_heap_ops.alloc(&uffd->arena, sizeof(*limit));

    if (!limit) {
        return NULL;
    }
    limit->written = pgl_arena_heap_ops.alloc(&uffd->arena, pgl_bits_size(npages));
    limit->age = pgl_arena_heap_ops.alloc(&uffd->arena, (size_t)(npages + 1) * sizeof(*limit->age));
    if (!limit->written || !limit->age || pthread_mutex_init(&limit->lock, NULL) != 0) {
        if (limit->written) {
            pgl_arena_heap_ops.free(&uffd->arena, limit->written);
        }
        if (limit->age) {
            pgl_arena_heap_ops.free(&uffd->arena, limit->age);
        }
        pgl_arena_heap_ops.free(&uffd->arena, limit);
        return NULL;
    }
    limit->max = region->limit;
    limit->enough = uffd->widest;
    limit->base = (uintptr_t)region->addr / uffd->page_size;
    return limit;
}

void pgl_limit_free(struct pgl_limit *limit, struct pgl_arena *arena)
{
    pthread_mutex_destroy(&limit->lock);
    pgl_arena_heap_ops.free(arena, limit->written);
    pgl_arena_heap_ops.free(arena, limit->age);
    pgl_arena_heap_ops.free(arena, limit);
}

void pgl_limit_note_installed(const struct pgl_object *object, uint64_t index, uint64_t npages)
{
    struct pgl_limit *limit = limit_of(object);

    if (limit) {
        pthread_mutex_lock(&limit->lock);
        for (uint64_t end = index + npages; index < end; index++) {
            set_unwritten(limit, index, index + 1); /* O9 */
            if (!is_listed(limit, index)) {
                list_as_newest(limit, index);
            }
        }
        pthread_mutex_unlock(&limit->lock);
    }
}

void pgl_limit_note_found(const struct pgl_object *object, uint64_t index)
{
    struct pgl_limit *limit = limit_of(object);

    if (limit) {
        pthread_mutex_lock(&limit->lock);
        if (!is_listed(limit, index)) { /* O11 */
            set_written(limit, index);
        }
        pthread_mutex_unlock(&limit->lock);
    }
}

void pgl_limit_note_opened(const struct pgl_delivery *delivery)
{
    struct pgl_limit *limit = delivery->placed ? limit_of(delivery->place.object) : NULL;

    if (limit) {
        pthread_mutex_lock(&limit->lock);
        set_written(limit, delivery->place.index);
        pthread_mutex_unlock(&limit->lock);
    }
}

void pgl_limit_note_removed(struct pgl_limit *limit, uint64_t first, uint64_t last)
{
    pthread_mutex_lock(&limit->lock);
    for (uint64_t index = first; index <= last; index++) {
        if (is_listed(limit, index)) {
            unlist(limit, index);
        }
    }
    set_unwritten(limit, first, last + 1);
    pthread_mutex_unlock(&limit->lock);
}

void pgl_limit_note_moved(const struct pgl_object *object)
{
    struct pgl_limit *limit = limit_of(object);

    if (limit) {
        pthread_mutex_lock(&limit->lock);
        limit->moved = true; /* O10 */
        pthread_mutex_unlock(&limit->lock);
    }
}

void pgl_limit_note_behind(const struct pgl_shown *shown, const struct pgl_pager_range *range)
{
    struct pgl_limit *limit = shown->limit;

    if (limit) {
        uint64_t first = range->first - shown->range.first;

        pthread_mutex_lock(&limit->lock);
        for (uint64_t index = first; index <= first + (range->last - range->first); index++) {
            if (is_listed(limit, index)) {
                unlist(limit, index);
                list_after(limit, index, limit->behind);
                limit->behind = (uint32_t)(index + 1);
            }
        }
        pthread_mutex_unlock(&limit->lock);
    }
}

/* Drop what is in the scratch memory, or make it. Returns whether it is empty, and registered. */
static bool empty_scratch(struct pgl_uffd *uffd)
{
    struct pgl_scratch *scratch = &uffd->scratch;
    size_t size = SCRATCH_PAGES * uffd->page_size;
    struct uffdio_range range = {(uintptr_t)scratch->memory, size};
    struct uffdio_register claim = {.range = range, .mode = UFFDIO_REGISTER_MODE_MISSING};

    if (scratch->registered && ioctl(uffd->self->fd, UFFDIO_UNREGISTER, &range) != 0) {
        return false; /* to drop it now would send an event */
    }
    scratch->registered = false;
    munlock(scratch->memory, size); /* after mlockall() */
    if (madvise(scratch->memory, size, MADV_DONTNEED) != 0) {
        return false;
    }
    scratch->registered = ioctl(uffd->self->fd, UFFDIO_REGISTER, &claim) == 0;
    scratch->used = 0;
    return scratch->registered;
}

int pgl_limit_open_scratch(struct pgl_uffd *uffd)
{
    size_t size = SCRATCH_PAGES * uffd->page_size;
    void *memory = MAP_FAILED;
    int error = 0;

    pthread_rwlock_wrlock(&uffd->layout);
    if (!uffd->scratch.memory) {
        memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        error = memory == MAP_FAILED || madvise(memory, size, MADV_DONTFORK) != 0 ? errno : 0;
    }
    if (error == 0 && memory != MAP_FAILED) {
        uffd->scratch.memory = memory;
    } else if (memory != MAP_FAILED) {
        munmap(memory, size);
    }
    pthread_rwlock_unlock(&uffd->layout);
    return error;
}

void pgl_limit_close_scratch(struct pgl_uffd *uffd)
{
    size_t size = SCRATCH_PAGES * uffd->page_size;
    struct uffdio_range range = {(uintptr_t)uffd->scratch.memory, size};

    if (uffd->scratch.memory && (!uffd->scratch.registered || ioctl(uffd->self->fd, UFFDIO_UNREGISTER, &range) == 0)) {
        munmap(uffd->scratch.memory, size);
    }
}

/* Returns the link of the page that is to go next, or HEAD when the region is within its limit. */
static uint32_t find_surplus(struct pgl_limit *limit)
{
    uint32_t link = HEAD;

    pthread_mutex_lock(&limit->lock);
    if (!limit->moved && limit->nclean > limit->enough && limit->nclean + limit->nwritten > limit->max) {
        link = limit->age[HEAD].newer;
    }
    pthread_mutex_unlock(&limit->lock);
    return link;
}

/* Take a page out of the memory. Returns 0 or an errno. */
static int take_out(struct pgl_uffd *uffd, const struct pgl_object *object, uint64_t index)
{
    uint64_t at = limit_of(object)->base + index;
    uint64_t scratch = (uintptr_t)uffd->scratch.memory + uffd->scratch.used * uffd->page_size;
    struct uffdio_move move = {scratch, at * uffd->page_size, uffd->page_size, UFFDIO_MOVE_MODE_DONTWAKE, 0};
    struct pgl_map_entry entry;

    if (!pgl_map_lookup(uffd->self->map, at, &entry) || entry.view.first > at || entry.object != object) { /* O10 */
        return ENOENT;
    }
    return ioctl(uffd->self->fd, UFFDIO_MOVE, &move) != 0 ? errno : 0;
}

/* Give pages back until one stays, or the scratch memory is full. Returns whether it is. The layout is held. */
static bool give_some_back(struct pgl_uffd *uffd, struct pgl_object *object)
{
    struct pgl_limit *limit = limit_of(object);
    unsigned refusals = 0;
    uint32_t link;
    int error = 0;

    munlock(uffd->scratch.memory, SCRATCH_PAGES * uffd->page_size); /* a locked page moves to locked memory only */
    while (uffd->scratch.used < SCRATCH_PAGES && refusals < REFUSALS && (link = find_surplus(limit)) != HEAD) {
        uint64_t index = link - 1;

        error = take_out(uffd, object, index);
        if (error == EAGAIN || error == ESRCH) {
            break;
        }
        pthread_mutex_lock(&limit->lock);
        unlist(limit, index);
        if (error != 0 && error != ENOENT) { /* it stays */
            list_as_newest(limit, index);
            refusals++;
        }
        pthread_mutex_unlock(&limit->lock);
        if (error == 0) {
            uffd->scratch.used++;
            pgl_object_remove(object, index, index);
            pgl_count(&uffd->stats.pages_given_back, 1);
        } else if (error == EEXIST) { /* mlockall() has filled the scratch memory */
            uffd->scratch.used = SCRATCH_PAGES;
            return false;
        }
    }
    return uffd->scratch.used == SCRATCH_PAGES;
}

void pgl_limit_keep(struct pgl_uffd *uffd, struct pgl_object *object)
{
    struct pgl_limit *limit = limit_of(object);
    bool more = limit != NULL;

    while (more && find_surplus(limit) != HEAD) {
        pthread_rwlock_wrlock(&uffd->layout); /* O12 */
        more = (uffd->scratch.registered && uffd->scratch.used < SCRATCH_PAGES) || empty_scratch(uffd);
        more = more && give_some_back(uffd, object);
        pthread_rwlock_unlock(&uffd->layout);
    }
}
