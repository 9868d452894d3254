/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Processes that have sent their userfaultfd to this one. Such a process is a space like a forked child. It has
 * registered its memory itself, and nothing here changes that.
 *
 * OBJECTS      An adopted space has its own descriptor of the userfaultfd. Its number is the process's. The spaces of
 *              children that it forks have the number of the space that was adopted.
 * INVARIANTS   A7: no page is installed by a question. The copies that ask have a source that cannot be read, because
 *              any address may be in a region of the other process. (test_uffd_adopt_installs_no_page_by_asking)
 *              A8: a space is in the map whole, or not at all, before a handler reads its first message, because memory
 *              without an entry becomes zeros. (test_uffd_adopt_serves_a_fault_that_waits_already)
 *              A9: its userfaultfd is closed when no handler, bad page or request holds the space any more.
 *              (test_uffd_adopt_disown_with_faults_outstanding)
 * PROGRESS     pgl_uffd_disown() waits for handlers that work on the space, for the timer if it has a bad page, and for
 *              sources that answer later. A handler finds the space ended, asks no source for it, and tries no copy for
 *              ever. It waits for no thread of the process.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <unistd.h>

#include "../cancel_internal.h"
#include "../fault/object_internal.h"
#include "uffd_internal.h"

/* Whether a region may exist in any process. */
static bool is_possible(const struct pgl_uffd *uffd, const struct pgl_uffd_region *region)
{
    uint64_t unit = region->memory == PGL_UFFD_HUGE ? PGL_UFFD_HUGE_SIZE : uffd->page_size;
    uint64_t first, last;

    return pgl_uffd_to_pages(uffd, region->addr, region->length, &first, &last) && region->memory <= PGL_UFFD_HUGE &&
           (uintptr_t)region->addr % unit == 0 && region->length % unit == 0;
}

/*
 * Whether the first page of a region can be filled. While a thread of the process changes memory the kernel does not
 * say; that thread may wait until this process has adopted the other.
 */
static int check_region(const struct pgl_uffd *uffd, int fd, const struct pgl_uffd_region *region)
{
    uint64_t addr = (uintptr_t)region->addr;
    bool huge = region->memory == PGL_UFFD_HUGE;
    int error;

    if (!is_possible(uffd, region)) {
        return EINVAL;
    }
    if (region->limit > 0) {
        return ENOTSUP;
    }
    error = pgl_space_try_copy(uffd, fd, addr, uffd->page_size);
    if (huge && (error == EFAULT || error == EEXIST)) { /* huge pages refuse small ones, and only they do */
        return EINVAL;
    }
    if (huge && error == EINVAL) {
        error = pgl_space_try_copy(uffd, fd, addr, PGL_UFFD_HUGE_SIZE);
    }
    return error == EFAULT || error == EEXIST || error == EAGAIN ? 0 : error;
}

/* Enter the regions in a map that no other thread knows. Returns 0 or an errno. */
static int enter(struct pgl_uffd *uffd, struct pgl_map *map, const struct pgl_uffd_region *regions, size_t nregions)
{
    int error = 0;

    for (size_t i = 0; error == 0 && i < nregions; i++) {
        struct pgl_object *object = pgl_uffd_show(uffd, &regions[i]);
        uint64_t first = 0, last = 0;

        if (!object) {
            return errno;
        }
        pgl_uffd_to_pages(uffd, regions[i].addr, regions[i].length, &first, &last);
        error = pgl_map_enter(map, first, last, object, 0, PGL_ADVICE_DEFAULT) ? 0 : errno;
        pgl_object_unref(object);
    }
    return error;
}

/* Add the space of a process with its map. Returns its number, or 0 with errno. */
static uint64_t add(struct pgl_uffd *uffd, int fd, struct pgl_map *map)
{
    struct pgl_space *space;
    uint64_t process = 0;
    int error;

    pthread_mutex_lock(&uffd->lock);
    space = pgl_space_add(uffd, fd, map);
    error = errno;
    if (space) {
        process = space->process = space->number;
    }
    pthread_mutex_unlock(&uffd->lock);
    errno = error;
    return process;
}

/* Returns a descriptor of the userfaultfd that does not block, or -1 with errno. */
static int take(const struct pgl_uffd *uffd, int fd, const struct pgl_uffd_region *regions, size_t nregions)
{
    int flags = fcntl(fd, F_GETFL);
    int error = flags < 0 ? errno : nregions == 0 ? EINVAL : 0;

    for (size_t i = 0; error == 0 && i < nregions; i++) {
        error = check_region(uffd, fd, &regions[i]);
    }
    if (error == 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) {
        error = errno;
    }
    if (error != 0) {
        errno = error;
        return -1;
    }
    return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

uint64_t pgl_uffd_adopt(struct pgl_uffd *uffd, int fd, const struct pgl_uffd_region *regions, size_t nregions)
{
    PGL_UNCANCELLED;
    struct pgl_map *map;
    int error, own;

    if (!pgl_uffd_is_ours(uffd)) {
        return 0;
    }
    if (uffd->self_service || uffd->protects) {
        errno = ENOTSUP;
        return 0;
    }
    own = take(uffd, fd, regions, nregions);
    if (own < 0) {
        return 0;
    }
    map = pgl_space_map_new(uffd);
    error = map ? enter(uffd, map, regions, nregions) : ENOMEM;
    if (error != 0) {
        close(own);
        pgl_map_free(map);
        errno = error;
        return 0;
    }
    return add(uffd, own, map); /* A8 */
}

/* Take the spaces of a process off the list. Returns the first of them. */
static struct pgl_space *unlink_spaces(struct pgl_uffd *uffd, uint64_t process)
{
    struct pgl_space **link = &uffd->spaces;
    struct pgl_space *spaces = NULL;

    while (*link) {
        struct pgl_space *space = *link;

        if (space->process != process) {
            link = &space->next;
            continue;
        }
        pgl_space_unlink(uffd, link);
        __atomic_store_n(&space->ended, true, __ATOMIC_RELAXED);
        space->next = spaces;
        spaces = space;
    }
    return spaces;
}

bool pgl_uffd_disown(struct pgl_uffd *uffd, uint64_t process)
{
    PGL_UNCANCELLED;
    struct pgl_space *space;
    bool found = false;

    if (!pgl_uffd_is_ours(uffd)) {
        return false;
    }
    pthread_mutex_lock(&uffd->lock);
    /* A handler that still works on a space may read the event of a fork, and add a child's. */
    while (process != 0 && (space = unlink_spaces(uffd, process))) {
        found = true;
        while (space) {
            struct pgl_space *next = space->next;

            while (space->refs > 1) { /* A9 */
                pthread_cond_wait(&uffd->unused, &uffd->lock);
            }
            pgl_space_unregister(uffd, space);
            pgl_space_unref_locked(uffd, space);
            space = next;
        }
    }
    pthread_mutex_unlock(&uffd->lock);
    if (!found) {
        errno = ENOENT;
    }
    return found;
}
