/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The memory of a region: it is of a kind that can be filled, it is empty, and it is registered.
 *
 * KIND         Only the kernel knows of which kind memory is, and /proc is not always mounted. Two calls have
 *              documented answers. msync() fails with ENOMEM when something is not mapped, and changes nothing.
 *              MADV_WIPEONFORK fails with EINVAL for all but private anonymous memory, and MADV_KEEPONFORK undoes it.
 *
 * EMPTY        A page that is present never faults. Such pages come from a neighbour's first touch, which may make a
 *              transparent huge page, from MAP_POPULATE and from mlockall(). pgl_memory_claim() goes four steps:
 *              1. register the range, which fails for memory of another userfaultfd before anything is changed;
 *              2. unregister it, because dropping registered pages sends an event, and the caller holds the locks under
 *                 which a handler would read it;
 *              3. drop the pages, and register the range again;
 *              4. look whether it is empty, because a neighbour's huge page may have come in between. After the
 *                 registration none can come any more. If it is not empty, unregister it and go back to 3.
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "uffd_internal.h"

#define ATTEMPTS 16 /* to find memory empty that other threads may touch */
#define PIECE 1024  /* pages that one call of mincore() looks at */

static int advise(const struct uffdio_range *range, int advice)
{
    if (madvise((void *)(uintptr_t)range->start, (size_t)range->len, advice) == 0) {
        return 0;
    }
    return errno == EAGAIN ? ENOMEM : errno; /* the kernel has no memory to split a mapping */
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

/* Drop the pages. Old kernels cannot drop locked pages; is_empty() finds those. */
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

/* Register a range. Returns 0 or an errno. */
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
        .mode =
            UFFDIO_REGISTER_MODE_MISSING | (config->write_protect || config->track_dirty ? UFFDIO_REGISTER_MODE_WP : 0),
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
