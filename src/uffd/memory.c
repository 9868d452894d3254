/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The memory of a region: that it is of the kind that can be filled, that it is empty, and that it is the pager's.
 *
 * Which kind memory is, the kernel alone knows, and /proc is not always there. Of two calls the answer is documented:
 * msync() fails with ENOMEM where something is not mapped, and MADV_WIPEONFORK with EINVAL for all but private
 * anonymous memory. The one changes nothing, and MADV_KEEPONFORK undoes the other.
 *
 * A page that exists never faults: a transparent huge page that a neighbour's first touch has made, or those that
 * MAP_POPULATE or mlockall() have. What is there is dropped. That is an event where memory is registered, for which the
 * caller would wait with the locks held that a handler reads it under; so it is dropped while it is not. It is
 * registered before that, too: memory of another userfaultfd is refused without being touched. And it is looked at
 * again when it is registered for good, because a neighbour's huge page may have come between; nothing comes later.
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "uffd_internal.h"

#define ATTEMPTS 16 /* to find memory empty, which other threads may touch */
#define PIECE 1024  /* pages looked at in one call */

static int advise(const struct uffdio_range *range, int advice)
{
    if (madvise((void *)(uintptr_t)range->start, (size_t)range->len, advice) == 0) {
        return 0;
    }
    return errno == EAGAIN ? ENOMEM : errno; /* no memory to cut a mapping in two */
}

int pgl_memory_check(const struct uffdio_range *range)
{
    int error, undo_error;

    if (msync((void *)(uintptr_t)range->start, (size_t)range->len, MS_ASYNC) != 0) {
        return errno == ENOMEM ? EFAULT : errno;
    }
    error = advise(range, MADV_WIPEONFORK);
    undo_error = advise(range, MADV_KEEPONFORK);
    return error != 0 ? error : undo_error;
}

/* Where it fails, because old kernels drop no locked pages, they are found. */
static void drop(const struct uffdio_range *range)
{
    if (advise(range, MADV_DONTNEED) != 0) {
        advise(range, MADV_DONTNEED_LOCKED);
    }
}

static bool is_empty(const struct uffdio_range *range, size_t page_size)
{
    unsigned char resident[PIECE];
    uint64_t npages;

    for (uint64_t at = 0; at < range->len; at += npages * page_size) {
        uint64_t left = (range->len - at) / page_size;

        npages = left < PIECE ? left : PIECE;
        if (mincore((void *)(uintptr_t)(range->start + at), (size_t)(npages * page_size), resident) != 0) {
            return false;
        }
        for (uint64_t i = 0; i < npages; i++) {
            if ((resident[i] & 1) != 0) {
                return false;
            }
        }
    }
    return true;
}

/* Registers a range. Returns 0 or an errno. */
static int enlist(int uffd, struct uffdio_register *claim)
{
    return ioctl(uffd, UFFDIO_REGISTER, claim) != 0 ? errno : 0;
}

static int leave(int uffd, const struct uffdio_range *range)
{
    struct uffdio_range all = *range;

    return ioctl(uffd, UFFDIO_UNREGISTER, &all) != 0 ? errno : 0;
}

int pgl_memory_claim(int uffd, const struct uffdio_range *range, const struct pgl_uffd_config *config, size_t page_size)
{
    struct uffdio_register claim = {
        .range = *range,
        .mode = UFFDIO_REGISTER_MODE_MISSING | (config->write_protect ? UFFDIO_REGISTER_MODE_WP : 0),
    };
    int error = enlist(uffd, &claim);

    if (error == 0) {
        error = leave(uffd, range);
    }
    if (error != 0) {
        return error;
    }
    error = config->follow_forks ? 0 : advise(range, MADV_DONTFORK);
    for (unsigned tries = 0; error == 0 && tries < ATTEMPTS; tries++) {
        drop(range);
        error = enlist(uffd, &claim);
        if (error == 0 && is_empty(range, page_size)) {
            return 0;
        }
        if (error == 0) {
            error = leave(uffd, range);
        }
    }
    if (!config->follow_forks) {
        advise(range, MADV_DOFORK);
    }
    return error != 0 ? error : EEXIST;
}

int pgl_memory_release(int uffd, const struct uffdio_range *range, const struct pgl_uffd_config *config)
{
    int error = leave(uffd, range);

    return error != 0 || config->follow_forks ? error : advise(range, MADV_DOFORK);
}
