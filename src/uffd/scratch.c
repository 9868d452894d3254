/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory of the pager's own that pages are moved to when they are given back, and dropped in.
 *
 * MOVES        madvise() by a handler would wait for the handler that reads its event. UFFDIO_MOVE sends none. The
 *              kernel refuses it (EAGAIN) while an event is unread. Therefore the map is right about the page, as for
 *              copies (S2). That holds only if the scratch memory belongs to the region's userfaultfd. To drop it
 *              without an event, the handler unregisters it for that moment. That costs more than a move; therefore
 *              pages stay in the scratch memory until it is full.
 *
 * Everything here is called with the layout held for writing.
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "limit_internal.h"

#define PAGES 64 /* of the scratch memory */

/* After mlockall(). A page that is not locked moves to memory that is not locked only. */
void pgl_scratch_unlock(const struct pgl_uffd *uffd)
{
    munlock(uffd->scratch.memory, PAGES * uffd->page_size);
}

/* Drop what is in it, or make it. Returns whether it is empty, and registered. */
static bool empty(struct pgl_uffd *uffd)
{
    struct pgl_scratch *scratch = &uffd->scratch;
    size_t size = PAGES * uffd->page_size;
    struct uffdio_range range = {(uintptr_t)scratch->memory, size};
    struct uffdio_register claim = {.range = range, .mode = UFFDIO_REGISTER_MODE_MISSING};

    if (scratch->registered && ioctl(uffd->self->fd, UFFDIO_UNREGISTER, &range) != 0) {
        return false; /* to drop it now would send an event */
    }
    scratch->registered = false;
    pgl_scratch_unlock(uffd);
    if (madvise(scratch->memory, size, MADV_DONTNEED) != 0) {
        return false;
    }
    scratch->registered = ioctl(uffd->self->fd, UFFDIO_REGISTER, &claim) == 0;
    scratch->used = 0;
    return scratch->registered;
}

uint64_t pgl_scratch_room(const struct pgl_uffd *uffd)
{
    return uffd->scratch.registered ? PAGES - uffd->scratch.used : 0;
}

bool pgl_scratch_make_room(struct pgl_uffd *uffd)
{
    return pgl_scratch_room(uffd) > 0 || empty(uffd);
}

int pgl_scratch_take(struct pgl_uffd *uffd, uint64_t addr, uint64_t npages, uint64_t *taken)
{
    size_t size = uffd->page_size;
    uint64_t to = (uintptr_t)uffd->scratch.memory + uffd->scratch.used * size;
    struct uffdio_move move = {to, addr, npages * size, UFFDIO_MOVE_MODE_DONTWAKE, 0};
    int error = ioctl(uffd->self->fd, UFFDIO_MOVE, &move) != 0 ? errno : 0;

    *taken = error == 0 ? npages : move.move > 0 ? (uint64_t)move.move / size : 0;
    uffd->scratch.used += *taken;
    if (*taken == 0 && error == EEXIST) { /* mlockall() has filled it */
        uffd->scratch.used = PAGES;
    }
    return error;
}

int pgl_scratch_open(struct pgl_uffd *uffd)
{
    size_t size = PAGES * uffd->page_size;
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

void pgl_scratch_close(struct pgl_uffd *uffd)
{
    size_t size = PAGES * uffd->page_size;
    struct uffdio_range range = {(uintptr_t)uffd->scratch.memory, size};

    if (uffd->scratch.memory && (!uffd->scratch.registered || ioctl(uffd->self->fd, UFFDIO_UNREGISTER, &range) == 0)) {
        munmap(uffd->scratch.memory, size);
    }
}
