/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The userfaultfd pager: handler threads that read the kernel's messages, and turn each page fault into a fault of the
 * driver.
 *
 * OBJECTS      A space is an address space that faults: this process, or a forked child. It has a userfaultfd and a map
 *              from page numbers to objects, one object for each pgl_uffd_map() and each fork. The pager's lock
 *              protects the list of spaces, the addresses of parked threads, and the list of bad pages. A space is held
 *              by the list, by each handler that works on it, and by each of its bad pages. The layout is locked for
 *              writing while events are read and applied to a map, in the order in which the kernel sent them, and
 *              where a region is entered or let go; for reading from a look at a map until pages are where it shows
 *              them, or their protection is gone. So what is late does not enter what was mapped there since: a change
 *              that the kernel has told of is in the map, and before that it refuses (EAGAIN).
 * LOCK ORDER   the pager's lock -> layout -> map -> object -> the list of files.
 * READERS      The kernel knows better. (i) A fault on a page that the driver has as resident, found so at the first
 *              look, means that the page was removed (its event raced with a copy): it is forgotten and fetched again.
 *              (ii) The same fault after a wait for another handler's fetch may be an old message: its thread is only
 *              woken, and faults again if the page is not there. (iii) Where the map has nothing, memory was let go or
 *              has grown by mremap(): it gets zeros. (iv) A message is as old as its batch: where this handler has put
 *              the page in place since, its thread is only woken. So threads that want the same page read it once.
 * EVENTS       The kernel refuses to place a page from the beginning of a change of memory until its thread has left the
 *              kernel, which it does when the event has been read; and it hands out every fault before an event.
 *              (i) A handler that was refused keeps what it has read, and reads events until it is not refused any more
 *              (pgl_delivery_persist). (ii) Threads whose faults it reads meanwhile are parked: they sleep until that
 *              handler is done, and what parks also unparks. (iii) A thread that is woken without its page faults again:
 *              it is woken when no event is to be read. So an event waits for one copy, and behind one fault of each
 *              thread, whatever the number of threads, handlers and spaces.
 * BAD PAGES    A page that failed() wants tried again is on a list until a timer expires, and its threads sleep; the
 *              handlers serve others meanwhile. One thread's fault tries it, the others' find it on the list.
 * COUNTS       The kernel wakes nobody who waits for a page; the handler does, when it has counted what it did for that
 *              page. Reading an event wakes its thread: pgl_uffd_get_stats() waits until the event was applied.
 * OUT OF ORDER Nothing is allocated with malloc() by a handler, or under the pager's lock: see arena.h.
 * PROGRESS     Every fault's message ends in a wake-up: by the handler that made the page, or by hand; by the timer where
 *              failed() wants the page tried again; by the handler that parked its thread; when the pager ends, by
 *              letting the region go. Every event is read, whatever is short, and those that come after the handlers'
 *              end, too. A handler waits for another one in two places. In the driver, for a page that the other is
 *              reading: that one waits for the file, and for threads that change memory to leave the kernel, which no
 *              handler keeps them from. At the two locks, of which layout is held while pages are placed and events are
 *              applied, neither of which waits for a handler.
 * NOT PROMISED The right pages in a child that was forked while another thread was in mremap() on a region: the kernel
 *              sends the two events in either order. A page's arrival while threads change memory without a pause: the
 *              kernel refuses it then.
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "../cancel_internal.h"
#include "uffd_internal.h"

struct pgl_uffd *pgl_uffd_new(const struct pgl_uffd_config *config)
{
    PGL_UNCANCELLED;
    unsigned nhandlers = config->threads > 0 ? config->threads : 1;
    struct epoll_event stop = {.events = EPOLLIN, .data.u64 = PGL_UFFD_NUMBER_STOP};
    struct epoll_event timer = {.events = EPOLLIN, .data.u64 = PGL_UFFD_NUMBER_TIMER};
    struct pgl_uffd *uffd = calloc(1, sizeof(*uffd));
    int error = 0;
    int fd;

    if (!uffd || pthread_mutex_init(&uffd->lock, NULL) != 0 || pthread_rwlock_init(&uffd->layout, NULL) != 0 ||
        !pgl_arena_init(&uffd->arena) || !pgl_files_init(&uffd->files, &uffd->arena)) {
        free(uffd);
        errno = ENOMEM;
        return NULL;
    }
    uffd->config = *config;
    uffd->table = config->table ? *config->table : *pgl_advice_shipped();
    uffd->page_size = (size_t)sysconf(_SC_PAGESIZE);
    uffd->epoll = epoll_create1(EPOLL_CLOEXEC);
    uffd->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    uffd->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    uffd->spare = pgl_event_open_spare();
    uffd->last_number = PGL_UFFD_NUMBER_LAST;
    uffd->share = nhandlers > 1 ? 1 : PGL_UFFD_BATCH;
    uffd->handlers = calloc(nhandlers, sizeof(*uffd->handlers));
    if (uffd->epoll < 0 || uffd->stop < 0 || uffd->timer < 0 || uffd->spare < 0 || !uffd->handlers ||
        epoll_ctl(uffd->epoll, EPOLL_CTL_ADD, uffd->stop, &stop) != 0 ||
        epoll_ctl(uffd->epoll, EPOLL_CTL_ADD, uffd->timer, &timer) != 0 || (fd = pgl_uffd_open(config)) < 0 ||
        !(uffd->self = pgl_space_add(uffd, fd))) {
        error = errno;
    }
    while (error == 0 && uffd->nhandlers < nhandlers) {
        error = pgl_handler_start(uffd, &uffd->handlers[uffd->nhandlers]);
        uffd->nhandlers += error == 0;
    }
    if (error != 0) {
        pgl_uffd_free(uffd);
        errno = error;
        return NULL;
    }
    return uffd;
}

void pgl_uffd_free(struct pgl_uffd *uffd)
{
    PGL_UNCANCELLED;

    if (!uffd) {
        return;
    }
    __atomic_store_n(&uffd->ending, true, __ATOMIC_RELAXED);
    eventfd_write(uffd->stop, 1);
    for (unsigned i = 0; i < uffd->nhandlers; i++) {
        pthread_join(uffd->handlers[i].thread, NULL);
    }
    if (uffd->spare >= 0) {
        close(uffd->spare);
    }
    pgl_bad_page_wake_all(uffd);
    while (uffd->spaces) {
        pgl_space_unregister(uffd, uffd->spaces);
        pgl_event_read_last(uffd, uffd->spaces);
        pgl_space_drop(uffd, &uffd->spaces);
    }
    for (unsigned i = 0; i < uffd->nhandlers; i++) { /* not before: a thread that forks may hold malloc's locks */
        pgl_fault_free(uffd->handlers[i].fault);
        free(uffd->handlers[i].buffer);
    }
    if (uffd->epoll >= 0) {
        close(uffd->epoll);
    }
    if (uffd->stop >= 0) {
        close(uffd->stop);
    }
    if (uffd->timer >= 0) {
        close(uffd->timer);
    }
    pgl_files_fini(&uffd->files);
    pgl_arena_fini(&uffd->arena);
    pthread_rwlock_destroy(&uffd->layout);
    pthread_mutex_destroy(&uffd->lock);
    free(uffd->handlers);
    free(uffd);
}

/* Page numbers of a range of memory. Returns false, with EINVAL, when it is not page-aligned, or empty. */
static bool to_pages(const struct pgl_uffd *uffd, const void *addr, size_t length, uint64_t *first, uint64_t *last)
{
    uintptr_t start = (uintptr_t)addr;

    if (start % uffd->page_size != 0 || length % uffd->page_size != 0 || length == 0 || start + length < start) {
        errno = EINVAL;
        return false;
    }
    *first = start / uffd->page_size;
    *last = *first + length / uffd->page_size - 1;
    return true;
}

/* The pager's lock is held, and the layout locked for writing. Shows the object, and asks the kernel for faults. */
static bool register_range(struct pgl_uffd *uffd, uint64_t first, uint64_t last, struct pgl_object *object)
{
    const struct uffdio_range range = {first * uffd->page_size, (last - first + 1) * uffd->page_size};
    int error;

    if (!pgl_map_enter(uffd->self->map, first, last, object, 0, PGL_ADVICE_DEFAULT)) {
        return false;
    }
    error = pgl_memory_claim(uffd->self->fd, &range, &uffd->config, uffd->page_size);
    if (error != 0) {
        pgl_map_remove(uffd->self->map, first, last);
        errno = error;
    }
    return error == 0;
}

/*
 * Enters a region. Its address may have been let go or moved away from a moment ago, and the event that takes the old
 * memory from the map would take the new one. At any moment since when nothing is under way, it has been applied. Other
 * threads may leave no such moment: after a while the region is entered all the same, unless the map still shows
 * something there; only what mremap() had added is not in it.
 */
static bool enter_region(struct pgl_uffd *uffd, uint64_t first, uint64_t last, struct pgl_object *object)
{
    for (unsigned tries = 0;; tries++) {
        bool settled = pgl_space_probe(uffd, uffd->self) != EAGAIN;

        if (settled || tries >= PGL_UFFD_ENOUGH) {
            bool entered;
            int error;

            pgl_uffd_lock(uffd);
            entered = register_range(uffd, first, last, object);
            error = errno;
            pgl_uffd_unlock(uffd);
            errno = error;
            if (entered || settled || error != EEXIST) {
                return entered;
            }
        }
        usleep(PGL_UFFD_PAUSE_US / 10);
    }
}

bool pgl_uffd_map(struct pgl_uffd *uffd, void *addr, size_t length, int fd, off_t offset, enum pgl_advice advice)
{
    PGL_UNCANCELLED;
    const struct uffdio_range range = {(uintptr_t)addr, length};
    struct pgl_object *object;
    struct pgl_source *source;
    uint64_t first, last;
    bool mapped;
    int error;

    if (!pgl_advice_valid((int)advice) || offset < 0 || offset % (off_t)uffd->page_size != 0) {
        errno = EINVAL;
        return false;
    }
    if (!to_pages(uffd, addr, length, &first, &last)) {
        return false;
    }
    error = pgl_memory_check(&range);
    if (error != 0) {
        errno = error;
        return false;
    }
    source = pgl_source_new(&uffd->files, fd, (uint64_t)offset, length, uffd->page_size);
    if (!source) {
        return false;
    }
    object = pgl_uffd_object_new(uffd, &pgl_uffd_pager_ops, source, advice);
    if (!object) {
        pgl_source_unref(source);
        errno = ENOMEM;
        return false;
    }
    mapped = enter_region(uffd, first, last, object);
    error = errno;
    pgl_object_unref(object); /* the map has its own reference */
    errno = error;
    return mapped;
}

static bool is_mapped(const struct pgl_space *space, uint64_t first, uint64_t last)
{
    struct pgl_map_entry part;
    uint64_t next = first;

    while (next <= last && pgl_space_next_part(space, &next, last, &part) && part.view.first == first) {
        first = next;
    }
    return first > last;
}

bool pgl_uffd_unmap(struct pgl_uffd *uffd, void *addr, size_t length)
{
    PGL_UNCANCELLED;
    const struct uffdio_range range = {(uintptr_t)addr, length};
    uint64_t first, last;
    int error = ENOENT;

    if (!to_pages(uffd, addr, length, &first, &last)) {
        return false;
    }
    pgl_uffd_lock(uffd);
    if (is_mapped(uffd->self, first, last)) {
        error = pgl_memory_release(uffd->self->fd, &range, &uffd->config);
    }
    if (error == 0 && !pgl_map_remove(uffd->self->map, first, last)) {
        error = errno;
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

    return to_pages(uffd, addr, length, &first, &last) && pgl_map_advise(uffd->self->map, first, last, advice);
}

void pgl_uffd_get_stats(struct pgl_uffd *uffd, struct pgl_uffd_stats *stats)
{
    const uint64_t *from = (const uint64_t *)&uffd->stats;
    uint64_t *to = (uint64_t *)stats;

    pthread_mutex_lock(&uffd->lock); /* reading an event wakes its thread: it is applied before the lock is free */
    for (size_t i = 0; i < sizeof(*stats) / sizeof(uint64_t); i++) {
        to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
    }
    pthread_mutex_unlock(&uffd->lock);
}
