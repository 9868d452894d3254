/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The calls of the userfaultfd pager: new and free, map and unmap, advise, limits, statistics. uffd_internal.h says what
 * the other files do. Locks and their order are in space.c, and the protocol between handlers and threads that change
 * memory is in event.c and serve.c.
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "../cancel_internal.h"
#include "delivery_internal.h"
#include "late_internal.h"
#include "limit_internal.h"

/* Returns the pages of the widest cluster. */
static uint64_t find_widest(const struct pgl_advice_table *table)
{
    uint64_t widest = PGL_WORKSET_CLUSTER; /* more than a prefetch asks for */

    for (int i = 0; i < PGL_ADVICE_COUNT; i++) {
        uint64_t npages = (uint64_t)table->row[i].before + table->row[i].after + 1;

        widest = npages > widest ? npages : widest;
    }
    return widest;
}

static bool config_is_valid(const struct pgl_uffd_config *config)
{
    if (config->handover == PGL_UFFD_SIGBUS &&
        (config->follow_forks || config->write_protect || !pgl_self_has_stack())) {
        return false;
    }
    return config->handover <= PGL_UFFD_SIGBUS && !pgl_costs_explain(&config->costs);
}

/* Allocate a pager with its locks and lists. Returns NULL when there is no memory. */
static struct pgl_uffd *uffd_alloc(const struct pgl_uffd_config *config)
{
    struct pgl_uffd *uffd = calloc(1, sizeof(*uffd));

    if (!uffd || pthread_mutex_init(&uffd->lock, NULL) != 0 || pthread_cond_init(&uffd->unused, NULL) != 0 ||
        pthread_rwlock_init(&uffd->layout, NULL) != 0 || pthread_mutex_init(&uffd->late.lock, NULL) != 0 ||
        pthread_cond_init(&uffd->late.left, NULL) != 0 || !pgl_arena_init(&uffd->arena) ||
        !pgl_files_init(&uffd->files, &uffd->arena) || !pgl_meter_init(&uffd->meter, &config->costs, &uffd->stats)) {
        free(uffd);
        return NULL;
    }
    uffd->config = *config;
    uffd->maker = getpid();
    uffd->table = config->table ? *config->table : *pgl_advice_shipped();
    uffd->widest = find_widest(&uffd->table);
    uffd->page_size = (size_t)sysconf(_SC_PAGESIZE);
    uffd->last_number = PGL_UFFD_NUMBER_LAST;
    return uffd;
}

static void *map_pages(size_t size, int protection)
{
    void *pages = mmap(NULL, size, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return pages != MAP_FAILED ? pages : NULL;
}

static bool watch(const struct pgl_uffd *uffd, int fd, uint64_t number)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = number};

    return epoll_ctl(uffd->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

/* Open all descriptors, and make what handlers share. Returns 0 or an errno; pgl_uffd_free() undoes it in any case. */
static int open_all(struct pgl_uffd *uffd)
{
    int fd;

    uffd->epoll = epoll_create1(EPOLL_CLOEXEC);
    uffd->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    uffd->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    uffd->pagemap = -1;
    uffd->spare = pgl_event_open_spare();
    uffd->late.event = -1;
    uffd->zeros = map_pages(PGL_UFFD_ZERO_PAGES * uffd->page_size, PROT_READ);
    uffd->unreadable = map_pages(uffd->page_size, PROT_NONE);
    if (uffd->epoll < 0 || uffd->stop < 0 || uffd->timer < 0 || uffd->spare < 0 || !uffd->zeros || !uffd->unreadable ||
        !watch(uffd, uffd->stop, PGL_UFFD_NUMBER_STOP) || !watch(uffd, uffd->timer, PGL_UFFD_NUMBER_TIMER) ||
        !pgl_late_init(uffd) || (fd = pgl_uffd_open(uffd)) < 0 ||
        !(uffd->self = pgl_space_add(uffd, fd, pgl_space_map_new(uffd)))) {
        return errno;
    }
    return 0;
}

/* Start the handlers, and have threads serve themselves if they are to. Returns 0 or an errno. */
static int start_all(struct pgl_uffd *uffd)
{
    unsigned nhandlers = uffd->config.threads > 0 ? uffd->config.threads : 1;
    int error = 0;

    uffd->share = nhandlers > 1 ? 1 : PGL_UFFD_BATCH;
    uffd->handlers = calloc(nhandlers, sizeof(*uffd->handlers));
    if (!uffd->handlers) {
        return ENOMEM;
    }
    if (uffd->config.handover == PGL_UFFD_SIGBUS) {
        error = pgl_self_start(uffd);
    }
    while (error == 0 && uffd->nhandlers < nhandlers) {
        error = pgl_handler_start(uffd, &uffd->handlers[uffd->nhandlers]);
        uffd->nhandlers += error == 0;
    }
    return error;
}

struct pgl_uffd *pgl_uffd_new(const struct pgl_uffd_config *config)
{
    PGL_UNCANCELLED;
    struct pgl_uffd *uffd;
    int error;

    if (!config_is_valid(config)) {
        errno = EINVAL;
        return NULL;
    }
    uffd = uffd_alloc(config);
    if (!uffd) {
        errno = ENOMEM;
        return NULL;
    }
    error = open_all(uffd);
    error = error != 0 ? error : start_all(uffd);
    if (error != 0) {
        pgl_uffd_free(uffd);
        errno = error;
        return NULL;
    }
    return uffd;
}

static void close_open(int fd)
{
    if (fd >= 0) {
        close(fd);
    }
}

static void unmap_pages(const void *pages, size_t size)
{
    if (pages) {
        munmap((void *)(uintptr_t)pages, size);
    }
}

void pgl_uffd_free(struct pgl_uffd *uffd)
{
    PGL_UNCANCELLED;

    if (!uffd || !pgl_uffd_is_ours(uffd)) { /* S4 */
        return;
    }
    if (uffd->self_service) {
        pgl_self_end(uffd->self_service);
    }
    __atomic_store_n(&uffd->ending, true, __ATOMIC_RELAXED);
    eventfd_write(uffd->stop, 1);
    for (unsigned i = 0; i < uffd->nhandlers; i++) {
        pthread_join(uffd->handlers[i].thread, NULL);
    }
    pgl_request_close(uffd);
    pgl_wait_end_all(uffd);
    close_open(uffd->spare);
    pgl_bad_page_wake_all(uffd);
    pgl_scratch_close(uffd);
    while (uffd->spaces) {
        pgl_space_unregister(uffd, uffd->spaces);
        if (uffd->spaces->process == 0) {
            pgl_event_read_last(uffd, uffd->spaces);
        }
        if (uffd->self_service) { /* there is one space: no child is followed */
            pgl_self_free(uffd->self_service);
        }
        pgl_space_drop(uffd, &uffd->spaces);
    }
    for (unsigned i = 0; i < uffd->nhandlers; i++) { /* after the last event: a fork holds malloc's locks */
        pgl_handler_fini(&uffd->handlers[i]);
    }
    close_open(uffd->epoll);
    close_open(uffd->stop);
    close_open(uffd->timer);
    close_open(uffd->pagemap);
    pgl_late_fini(uffd);
    unmap_pages(uffd->zeros, PGL_UFFD_ZERO_PAGES * uffd->page_size);
    unmap_pages(uffd->unreadable, uffd->page_size);
    pgl_meter_fini(&uffd->meter);
    free(uffd->handlers);
    if (pgl_request_release_all(uffd)) { /* otherwise another thread may free the pager from here on */
        pgl_uffd_destroy(uffd);
    }
}

/* Enter the object in the map and register the range. The pager's lock is held, and the layout for writing. */
static bool register_range(struct pgl_uffd *uffd, uint64_t first, uint64_t last, struct pgl_object *object,
                           enum pgl_uffd_memory memory)
{
    const struct uffdio_range range = {first * uffd->page_size, (last - first + 1) * uffd->page_size};
    int error;

    if (!pgl_map_enter(uffd->self->map, first, last, object, 0, PGL_ADVICE_DEFAULT)) {
        return false;
    }
    error = pgl_memory_claim(uffd, &range, memory);
    if (error != 0) {
        pgl_map_remove(uffd->self->map, first, last);
        errno = error;
    }
    return error == 0;
}

/*
 * Add a region. If memory at this address was unmapped or moved a moment ago, its event may still be unread, and would
 * then remove the new entry. Therefore wait for a moment in which the kernel has no change under way
 * (pgl_space_probe() is not EAGAIN): every earlier event has been applied by then. If other threads leave no such
 * moment, add the region after PGL_UFFD_ENOUGH attempts, as soon as the map has no entry there. (Memory that mremap()
 * had added has no entry; that case goes unnoticed.) Private huge pages need such a moment under the locks, too.
 */
static bool enter_region(struct pgl_uffd *uffd, uint64_t first, uint64_t last, struct pgl_object *object,
                         enum pgl_uffd_memory memory)
{
    for (unsigned tries = 0;; tries++) {
        bool settled = pgl_space_probe(uffd, uffd->self) != EAGAIN;

        if (settled || tries >= PGL_UFFD_ENOUGH) {
            bool entered;
            int error;

            pgl_uffd_lock(uffd);
            entered = register_range(uffd, first, last, object, memory);
            error = errno;
            pgl_uffd_unlock(uffd);
            errno = error;
            if (entered || (error != EAGAIN && (settled || error != EEXIST))) {
                return entered;
            }
        }
        usleep(PGL_UFFD_PAUSE_US / 10);
    }
}

struct pgl_object *pgl_uffd_show(struct pgl_uffd *uffd, const struct pgl_uffd_region *region)
{
    const struct pgl_pager_ops *pager_ops =
        region->source.kind == PGL_UFFD_CALLBACK ? &pgl_late_pager_ops : &pgl_uffd_pager_ops;
    struct pgl_shown *shown = pgl_shown_new(uffd, region);
    struct pgl_object *object = shown ? pgl_uffd_object_new(uffd, pager_ops, shown, region->advice) : NULL;

    if (shown && !object) {
        pgl_shown_free(shown);
        errno = ENOMEM;
    }
    return object;
}

bool pgl_uffd_map_region(struct pgl_uffd *uffd, const struct pgl_uffd_region *region)
{
    PGL_UNCANCELLED;
    struct pgl_object *object;
    uint64_t first, last;
    bool mapped;
    int error;

    if (!pgl_uffd_to_pages(uffd, region->addr, region->length, &first, &last)) {
        return false;
    }
    error = region->memory > PGL_UFFD_HUGE ? EINVAL : pgl_limit_check(uffd, region);
    error = error != 0 ? error : pgl_memory_check(uffd, region);
    if (error == 0 && region->limit > 0) {
        error = pgl_scratch_open(uffd);
    }
    if (error != 0) {
        errno = error;
        return false;
    }
    object = pgl_uffd_show(uffd, region);
    if (!object) {
        return false;
    }
    mapped = enter_region(uffd, first, last, object, region->memory);
    error = errno;
    pgl_object_unref(object); /* the map has its own reference */
    errno = error;
    return mapped;
}

bool pgl_uffd_map(struct pgl_uffd *uffd, void *addr, size_t length, int fd, off_t offset, enum pgl_advice advice)
{
    const struct pgl_uffd_region region = {
        .addr = addr,
        .length = length,
        .source = {.kind = PGL_UFFD_FILE, .fd = fd},
        .offset = (uint64_t)offset, /* a negative one is larger than any file */
        .advice = advice,
    };

    return pgl_uffd_map_region(uffd, &region);
}

bool pgl_uffd_unmap(struct pgl_uffd *uffd, void *addr, size_t length)
{
    PGL_UNCANCELLED;
    const struct uffdio_range range = {(uintptr_t)addr, length};
    uint64_t first, last;
    int error = ENOENT;

    if (!pgl_uffd_to_pages(uffd, addr, length, &first, &last)) {
        return false;
    }
    pgl_uffd_lock(uffd);
    if (pgl_space_shows_all(uffd->self, first, last)) {
        error = pgl_memory_release(uffd->self->fd, &range, &uffd->config);
    }
    if (error == 0) {
        pgl_space_note_unmapped(uffd->self, first, last);
        error = pgl_map_remove(uffd->self->map, first, last) ? 0 : errno;
    }
    pgl_uffd_unlock(uffd);
    if (error != 0) {
        errno = error;
    }
    return error == 0;
}

bool pgl_uffd_advise(struct pgl_uffd *uffd, void *addr, size_t length, enum pgl_advice advice)
{
    uint64_t first, last;

    return pgl_uffd_to_pages(uffd, addr, length, &first, &last) && pgl_map_advise(uffd->self->map, first, last, advice);
}

/* Set the limit of each region of a range, or of none. Returns 0 or an errno. The layout is locked. */
static int set_limits(const struct pgl_uffd *uffd, uint64_t first, uint64_t last, uint64_t max)
{
    int error = pgl_space_shows_all(uffd->self, first, last) ? 0 : ENOENT;
    struct pgl_map_entry part;

    for (uint64_t next = first; error == 0 && pgl_space_next_part(uffd->self, &next, last, &part);) {
        error = pgl_limit_is_settable(part.object) ? 0 : ENOTSUP;
    }
    for (uint64_t next = first; error == 0 && pgl_space_next_part(uffd->self, &next, last, &part);) {
        pgl_limit_set(part.object, max);
    }
    return error;
}

/* Give pages of each region of a range back until it is within its limit. */
static void keep_limits(struct pgl_uffd *uffd, uint64_t first, uint64_t last)
{
    struct pgl_place place;

    while (first <= last && pgl_map_copy_place(uffd->self->map, first, &place)) {
        pgl_limit_enforce(uffd, place.object);
        pgl_object_unref(place.object);
        first += place.last - place.index + 1;
    }
}

bool pgl_uffd_set_limit(struct pgl_uffd *uffd, void *addr, size_t length, uint64_t limit)
{
    PGL_UNCANCELLED;
    uint64_t first, last;
    int error;

    if (!pgl_uffd_to_pages(uffd, addr, length, &first, &last)) {
        return false;
    }
    if (limit > 0 && limit < uffd->widest) {
        errno = EINVAL;
        return false;
    }
    pthread_rwlock_rdlock(&uffd->layout);
    error = set_limits(uffd, first, last, limit > 0 ? limit : UINT64_MAX);
    pthread_rwlock_unlock(&uffd->layout);
    if (error != 0) {
        errno = error;
        return false;
    }
    keep_limits(uffd, first, last);
    return true;
}

void pgl_uffd_get_stats(struct pgl_uffd *uffd, struct pgl_uffd_stats *stats)
{
    const uint64_t *from = (const uint64_t *)&uffd->stats;
    uint64_t *to = (uint64_t *)stats;
    bool ours = pgl_uffd_is_ours(uffd); /* a thread that is not in the child may have held the lock */

    if (ours) {
        pthread_mutex_lock(&uffd->lock); /* E6: an event whose thread is awake has been counted */
    }
    for (size_t i = 0; i < sizeof(*stats) / sizeof(uint64_t); i++) {
        to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
    }
    if (ours) {
        pthread_mutex_unlock(&uffd->lock);
    }
}
