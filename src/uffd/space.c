/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One address space that faults: its userfaultfd, the map of what it shows, and its end.
 *
 * OBJECTS      A space is this process, an adopted one, or a child that one of them has forked. It has a userfaultfd
 *              and a map from page numbers to objects. Each pgl_uffd_map_region() makes one object, as each region of
 *              an adopted process does, and each fork one for every object that the parent shows.
 *              The pager's lock protects the list of spaces, their counts of references, the addresses of parked
 *              threads, and the list of bad pages.
 *              The layout protects the maps. It is held for writing while events are read and applied, and while a
 *              region is added or removed. It is held for reading from the look-up that validates a copy until the
 *              pages have been installed, or until their protection has been removed.
 * LOCK ORDER   the pager's lock -> layout -> map -> object -> the list of files.
 * INVARIANTS   S1: a space is held by the list, by each handler that works on it, and by each of its bad pages, of its
 *              faults that wait for a source, and of their requests. (explorer: uffd-late-disown, uffd-late-end)
 *              S2: a late copy does not land in memory that was mapped at its address since. Either the map shows the
 *              change already, or its event is unread and the kernel refuses the copy (EAGAIN).
 *              (test_uffd_late_pages_do_not_enter_what_is_mapped_next)
 *              S4: a forked child changes nothing of its parent's memory, although it has the parent's descriptors.
 *              Each call in the child is refused. (test_uffd_parents_pager_is_refused_in_a_child)
 * NOT PROMISED S2 for memory that mremap() has added to a region, which has no entry: if it is unmapped, and another
 *              userfaultfd registers memory at its address before a handler answers a fault on it, a page becomes
 *              zeros.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "../fault/object_internal.h"
#include "uffd_internal.h"

void pgl_uffd_lock(struct pgl_uffd *uffd)
{
    pthread_mutex_lock(&uffd->lock);
    pthread_rwlock_wrlock(&uffd->layout);
}

void pgl_uffd_unlock(struct pgl_uffd *uffd)
{
    pthread_rwlock_unlock(&uffd->layout);
    pthread_mutex_unlock(&uffd->lock);
}

struct pgl_map *pgl_space_map_new(struct pgl_uffd *uffd)
{
    return pgl_map_new(&pgl_arena_heap_ops, &uffd->arena);
}

struct pgl_space *pgl_space_add(struct pgl_uffd *uffd, int fd, struct pgl_map *map)
{
    struct pgl_space *space = pgl_arena_alloc(&uffd->arena, sizeof(*space));
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = uffd->last_number + 1};
    int error = ENOMEM;

    if (space && map) {
        error = epoll_ctl(uffd->epoll, EPOLL_CTL_ADD, fd, &event) != 0 ? errno : 0;
    }
    if (error != 0) {
        pgl_map_free(map);
        pgl_arena_free(&uffd->arena, space);
        close(fd);
        errno = error;
        return NULL;
    }
    *space = (struct pgl_space){
        .next = uffd->spaces,
        .number = ++uffd->last_number,
        .refs = 1,
        .parked_first = UINT64_MAX,
        .fd = fd,
        .map = map,
    };
    uffd->spaces = space;
    return space;
}

void pgl_space_unref_locked(struct pgl_uffd *uffd, struct pgl_space *space)
{
    space->refs--;
    if (space->refs == 1 && space->process != 0) {
        pthread_cond_broadcast(&uffd->unused);
    }
    if (space->refs == 0) {
        close(space->fd);
        pgl_map_free(space->map);
        pgl_arena_free(&uffd->arena, space);
    }
}

void pgl_space_ref(struct pgl_uffd *uffd, struct pgl_space *space)
{
    pthread_mutex_lock(&uffd->lock);
    space->refs++;
    pthread_mutex_unlock(&uffd->lock);
}

void pgl_space_unref(struct pgl_uffd *uffd, struct pgl_space *space)
{
    pthread_mutex_lock(&uffd->lock);
    pgl_space_unref_locked(uffd, space);
    pthread_mutex_unlock(&uffd->lock);
}

void pgl_uffd_destroy(struct pgl_uffd *uffd)
{
    pgl_files_fini(&uffd->files);
    pgl_arena_fini(&uffd->arena);
    pthread_cond_destroy(&uffd->late.left);
    pthread_mutex_destroy(&uffd->late.lock);
    pthread_rwlock_destroy(&uffd->layout);
    pthread_cond_destroy(&uffd->unused);
    pthread_mutex_destroy(&uffd->lock);
    free(uffd);
}

int pgl_space_try_copy(const struct pgl_uffd *uffd, int fd, uint64_t addr, uint64_t length)
{
    struct uffdio_copy copy = {addr, (uintptr_t)uffd->unreadable, length, UFFDIO_COPY_MODE_DONTWAKE, 0};

    return ioctl(fd, UFFDIO_COPY, &copy) != 0 ? errno : 0;
}

/* In this process and its children the address is in this library's code. In an adopted one it may be anything. */
int pgl_space_probe(const struct pgl_uffd *uffd, const struct pgl_space *space)
{
    uint64_t code = (uintptr_t)pgl_space_probe & ~(uint64_t)(uffd->page_size - 1);
    struct uffdio_zeropage zero = {{code, uffd->page_size}, 0, 0};

    if (space->process != 0) {
        return pgl_space_try_copy(uffd, space->fd, code, uffd->page_size);
    }
    return ioctl(space->fd, UFFDIO_ZEROPAGE, &zero) != 0 ? errno : 0;
}

bool pgl_space_has_ended(const struct pgl_uffd *uffd, struct pgl_space *space)
{
    if (space != uffd->self && pgl_space_probe(uffd, space) == ESRCH) {
        __atomic_store_n(&space->ended, true, __ATOMIC_RELAXED);
    }
    return __atomic_load_n(&space->ended, __ATOMIC_RELAXED);
}

static void unregister(const struct pgl_uffd *uffd, const struct pgl_space *space, uint64_t start, uint64_t end)
{
    struct uffdio_range range = {start, end - start};

    if (space == uffd->self) {
        pgl_memory_release(space->fd, &range, &uffd->config);
    } else if (space->process != 0) {
        ioctl(space->fd, UFFDIO_WAKE, &range);
    } else {
        ioctl(space->fd, UFFDIO_UNREGISTER, &range);
    }
}

/*
 * The kernel merges a region with memory that mremap() added to it, but it never merges ranges of different
 * userfaultfds. If any page of a mapping is in our map, the whole mapping is therefore registered with us, and one call
 * unregisters it.
 */
static void unregister_mapping(void *arg, uint64_t start, uint64_t end, bool shared)
{
    const struct pgl_uffd *uffd = arg;
    struct pgl_map_entry entry;

    (void)shared;
    if (pgl_map_lookup(uffd->self->map, start / uffd->page_size, &entry) && entry.view.first < end / uffd->page_size) {
        unregister(uffd, uffd->self, start, end);
    }
}

void pgl_space_unregister(const struct pgl_uffd *uffd, const struct pgl_space *space)
{
    struct pgl_map_entry entry;

    if (space == uffd->self) {
        pgl_proc_maps_walk(unregister_mapping, (void *)(uintptr_t)uffd);
    }
    for (uint64_t first = 0; pgl_map_lookup(space->map, first, &entry); first = entry.view.last + 1) {
        unregister(uffd, space, entry.view.first * uffd->page_size, (entry.view.last + 1) * uffd->page_size);
    }
}

void pgl_space_unlink(struct pgl_uffd *uffd, struct pgl_space **link)
{
    struct pgl_space *space = *link;

    *link = space->next;
    epoll_ctl(uffd->epoll, EPOLL_CTL_DEL, space->fd, NULL);
}

void pgl_space_drop(struct pgl_uffd *uffd, struct pgl_space **link)
{
    struct pgl_space *space = *link;

    pgl_space_unlink(uffd, link);
    pgl_space_unref_locked(uffd, space);
}

void pgl_space_drop_ended(struct pgl_uffd *uffd)
{
    struct pgl_space **link = &uffd->spaces;

    while (*link) {
        bool disownable = (*link)->process == (*link)->number;

        if (!disownable && pgl_space_has_ended(uffd, *link)) {
            pgl_space_drop(uffd, link);
        } else {
            link = &(*link)->next;
        }
    }
}

struct pgl_object *pgl_uffd_object_new(struct pgl_uffd *uffd, const struct pgl_pager_ops *pager_ops,
                                       struct pgl_shown *shown, enum pgl_advice advice)
{
    static const struct pgl_advice_table alone; /* a huge page is enough for a fault */
    const struct pgl_source *source = shown->source;
    const struct pgl_object_config config = {
        .last = shown->range.last - shown->range.first,
        .pager_ops = pager_ops,
        .pager = shown,
        .pager_range = shown->range,
        .credits = source->from.kind == PGL_UFFD_CALLBACK ? source->from.outstanding : 0,
        .advice = advice,
        .table = shown->unit > 1 ? &alone : &uffd->table,
        .costs = uffd->config.costs,
        .heap_ops = &pgl_arena_heap_ops,
        .heap = &uffd->arena,
    };

    return pgl_object_new(&config);
}

bool pgl_space_next_part(const struct pgl_space *space, uint64_t *first, uint64_t last, struct pgl_map_entry *part)
{
    if (*first > last || !pgl_map_lookup(space->map, *first, part) || part->view.first > last) {
        return false;
    }
    if (part->view.first < *first) {
        part->view.object_first += *first - part->view.first;
        part->view.first = *first;
    }
    if (part->view.last > last) {
        part->view.last = last;
    }
    *first = part->view.last + 1;
    return true;
}

bool pgl_space_shows_all(const struct pgl_space *space, uint64_t first, uint64_t last)
{
    struct pgl_map_entry part;
    uint64_t next = first;

    while (next <= last && pgl_space_next_part(space, &next, last, &part) && part.view.first == first) {
        first = next;
    }
    return first > last;
}

bool pgl_uffd_is_ours(const struct pgl_uffd *uffd)
{
    bool ours = uffd->maker == getpid();

    if (!ours) {
        errno = ESRCH;
    }
    return ours;
}

bool pgl_uffd_to_pages(const struct pgl_uffd *uffd, const void *addr, size_t length, uint64_t *first, uint64_t *last)
{
    uintptr_t start = (uintptr_t)addr;

    if (!pgl_uffd_is_ours(uffd)) {
        return false;
    }
    if (start % uffd->page_size != 0 || length % uffd->page_size != 0 || length == 0 || start + length < start) {
        errno = EINVAL;
        return false;
    }
    *first = start / uffd->page_size;
    *last = *first + length / uffd->page_size - 1;
    return true;
}

bool pgl_space_forget(struct pgl_space *space, uint64_t index, uint64_t moment)
{
    struct pgl_map_entry part;
    uint64_t first = index;

    return !pgl_space_next_part(space, &first, index, &part) ||
           pgl_object_remove_older(part.object, part.view.object_first, moment);
}

void pgl_space_give_back(struct pgl_space *space, uint64_t first, uint64_t last)
{
    struct pgl_map_entry part;

    for (uint64_t next = first; pgl_space_next_part(space, &next, last, &part);) {
        pgl_shown_give_back(part.object->config.pager, part.view.object_first, pgl_map_entry_object_last(&part));
    }
    while (pgl_space_next_part(space, &first, last, &part)) {
        pgl_object_remove(part.object, part.view.object_first, pgl_map_entry_object_last(&part));
    }
}

void pgl_space_note_unmapped(const struct pgl_space *space, uint64_t first, uint64_t last)
{
    struct pgl_map_entry part;

    while (pgl_space_next_part(space, &first, last, &part)) {
        pgl_shown_note_unmapped(part.object->config.pager, part.view.object_first, pgl_map_entry_object_last(&part));
    }
}
