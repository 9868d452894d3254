/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The memory of a region: it is of a kind that can be filled, it is empty, and it is registered.
 *
 * KIND         Only the kernel knows of which kind memory is, and /proc is not always mounted. The caller says which it
 *              is meant to be, and some calls have documented answers that tell whether it is. msync() fails with
 *              ENOMEM when something is not mapped, and changes nothing. MADV_WIPEONFORK fails with EINVAL for all but
 *              private anonymous memory, and MADV_KEEPONFORK undoes it. Minor faults can be registered for shared
 *              memory and for huge pages only, and huge pages have no UFFDIO_ZEROPAGE.
 *
 * EMPTY        A page that is present never faults. Such pages come from a neighbour's first touch, which may make a
 *              transparent huge page, from MAP_POPULATE and from mlockall(). pgl_memory_claim() goes four steps:
 *              1. register the range, which fails for memory of another userfaultfd before anything is changed;
 *              2. unregister it, because dropping registered pages sends an event, and the caller holds the locks under
 *                 which a handler would read it;
 *              3. drop the pages, and register the range again;
 *              4. look whether it is empty, because a neighbour's huge page may have come in between. After the
 *                 registration none can come any more. If it is not empty, unregister it and go back to 3.
 *              Shared memory keeps its pages, because they are not of this mapping alone. Dropping takes them out of
 *              this mapping only. They are found at their next touch: the kernel maps them or, if writes are to be
 *              noticed, reports a minor fault, and the handler maps them protected. Step 4 is left out.
 *              Beneath a private mapping of huge pages may be a file that has some, which the kernel would show.
 *              mincore() reports those only as long as the mapping has no page table. UFFDIO_CONTINUE fails with
 *              EFAULT if neither mapping nor file has a page, or with EAGAIN while another thread changes memory.
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

/*
 * Have the kernel merge no pages with equal ones (KSM). It would drop their protection, and the next write would be
 * noticed by nobody.
 */
static int keep_apart(const struct uffdio_range *range)
{
    int error = advise(range, MADV_UNMERGEABLE);

    return error == EINVAL ? 0 : error; /* it never does */
}

/* Drop the pages. Old kernels cannot drop locked pages; check_empty() finds those. */
static void drop(const struct uffdio_range *range)
{
    if (advise(range, MADV_DONTNEED) != 0) {
        advise(range, MADV_DONTNEED_LOCKED);
    }
}

/* Returns 0 or an errno: EEXIST if a page is there. */
static int look_for_pages(const struct uffdio_range *range, size_t page_size)
{
    unsigned char resident[PIECE];
    uint64_t npages;

    for (uint64_t at = 0; at < range->len; at += npages * page_size) {
        uint64_t left = (range->len - at) / page_size;

        npages = left < PIECE ? left : PIECE;
        if (mincore((void *)(uintptr_t)(range->start + at), (size_t)(npages * page_size), resident) != 0) {
            return EEXIST;
        }
        for (uint64_t i = 0; i < npages; i++) {
            if ((resident[i] & 1) != 0) {
                return EEXIST;
            }
        }
    }
    return 0;
}

/* The same for private huge pages, and those of a file beneath them. EAGAIN: another thread changes memory. */
static int look_for_huge_pages(int uffd, const struct uffdio_range *range)
{
    int error = EFAULT;

    for (uint64_t at = 0; error == EFAULT && at < range->len; at += PGL_UFFD_HUGE_SIZE) {
        struct uffdio_continue show = {
            .range = {range->start + at, PGL_UFFD_HUGE_SIZE},
            .mode = UFFDIO_CONTINUE_MODE_DONTWAKE,
        };

        error = ioctl(uffd, UFFDIO_CONTINUE, &show) != 0 ? errno : EEXIST;
    }
    return error != EFAULT ? error : 0;
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

/* Whether the kernel can do with shared memory, or with huge pages, what the pager wants. */
static bool can_fill(const struct pgl_uffd *uffd, enum pgl_uffd_memory memory)
{
    const uint64_t with_protection = UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_WP_UNPOPULATED;
    const uint64_t minor = memory == PGL_UFFD_HUGE ? UFFD_FEATURE_MINOR_HUGETLBFS : UFFD_FEATURE_MINOR_SHMEM;

    return (uffd->features & minor) != 0 &&
           (!uffd->protects || ((uffd->features & with_protection) == with_protection && !uffd->self_service));
}

/* Register memory for minor faults, and undo it: private memory in pages of the usual size has none. */
static int try_minor(const struct pgl_uffd *uffd, const struct uffdio_range *range, bool huge)
{
    struct uffdio_register trial = {
        .range = *range,
        .mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR,
    };
    int error = enlist(uffd->self->fd, &trial);

    if (error == 0) {
        error = leave(uffd->self->fd, range);
    }
    if (error == 0 && ((trial.ioctls & (uint64_t)1 << _UFFDIO_ZEROPAGE) == 0) != huge) {
        error = EINVAL;
    }
    return error;
}

/*
 * Whether the memory is shared, or of huge pages. The map has shown nothing there until now: memory of another region
 * would not be registered any more after this. A part of 2 MiB can be registered only if no page is larger.
 */
static int check_kind(const struct pgl_uffd *uffd, const struct uffdio_range *range, enum pgl_uffd_memory memory)
{
    const struct uffdio_range page = {range->start, PGL_UFFD_HUGE_SIZE};
    bool huge = memory == PGL_UFFD_HUGE;
    int error = huge ? try_minor(uffd, &page, true) : 0;

    return error != 0 ? error : try_minor(uffd, range, huge);
}

static int check_private(const struct uffdio_range *range)
{
    int error = advise(range, MADV_WIPEONFORK);
    int undo_error = advise(range, MADV_KEEPONFORK);

    return error != 0 ? error : undo_error;
}

/* Whether some mapping of a range is shared, and some is private; and whether the kernel has told of all. */
struct sharing {
    struct uffdio_range range;
    bool shared, private, known;
};

static void look_for_sharing(void *arg, uint64_t start, uint64_t end, bool shared)
{
    struct sharing *sharing = arg;

    if (start < sharing->range.start + sharing->range.len && end > sharing->range.start) {
        sharing->shared |= shared;
        sharing->private |= !shared;
    }
}

/* No call but the list of mappings tells whether a memfd, or memory of huge pages, is mapped shared. */
static struct sharing sharing_of(const struct uffdio_range *range)
{
    struct sharing sharing = {.range = *range};

    sharing.known = pgl_proc_maps_walk(look_for_sharing, &sharing);
    return sharing;
}

/*
 * Each mapping of shared memory reports only what is given back through itself; the others would bring the source into
 * what is to be zeros (S3).
 */
static bool is_private(const struct uffdio_range *range)
{
    struct sharing sharing = sharing_of(range);

    return sharing.known && !sharing.shared;
}

bool pgl_memory_is_told_by_mincore(const struct pgl_uffd_region *region)
{
    const struct uffdio_range range = {(uintptr_t)region->addr, region->length};

    return region->memory == PGL_UFFD_SHARED || (region->memory == PGL_UFFD_HUGE && is_private(&range));
}

int pgl_memory_check(const struct pgl_uffd *uffd, const struct pgl_uffd_region *region)
{
    const struct uffdio_range range = {(uintptr_t)region->addr, region->length};

    if (msync(region->addr, region->length, MS_ASYNC) != 0) {
        return errno == ENOMEM ? EFAULT : errno;
    }
    if (region->memory == PGL_UFFD_PRIVATE) {
        return check_private(&range);
    }
    if (!can_fill(uffd, region->memory)) {
        return EOPNOTSUPP;
    }
    if (region->memory == PGL_UFFD_SHARED) { /* a copy to a private mapping would hide the page that the file has */
        return sharing_of(&range).private ? EINVAL : 0;
    }
    if (range.start % PGL_UFFD_HUGE_SIZE != 0 || range.len % PGL_UFFD_HUGE_SIZE != 0) {
        return EINVAL;
    }
    return region->removed == PGL_UFFD_ZEROS && !is_private(&range) ? EOPNOTSUPP : 0;
}

/* Look whether memory that was registered is empty, if it is to be. Returns 0 or an errno. */
static int check_empty(const struct pgl_uffd *uffd, const struct uffdio_range *range, enum pgl_uffd_memory memory)
{
    if (memory == PGL_UFFD_PRIVATE) {
        return look_for_pages(range, uffd->page_size);
    }
    return memory == PGL_UFFD_HUGE && is_private(range) ? look_for_huge_pages(uffd->self->fd, range) : 0;
}

/* Steps 3 and 4. Returns 0 or an errno: EEXIST if a page came in between. */
static int empty(const struct pgl_uffd *uffd, struct uffdio_register *claim, enum pgl_uffd_memory memory)
{
    int error, undo_error;

    drop(&claim->range);
    error = enlist(uffd->self->fd, claim);
    if (error != 0) {
        return error;
    }
    error = check_empty(uffd, &claim->range, memory);
    undo_error = error != 0 ? leave(uffd->self->fd, &claim->range) : 0;
    return undo_error != 0 ? undo_error : error;
}

int pgl_memory_claim(const struct pgl_uffd *pager, const struct uffdio_range *range, enum pgl_uffd_memory memory)
{
    const struct pgl_uffd_config *config = &pager->config;
    int uffd = pager->self->fd;
    struct uffdio_register claim = {
        .range = *range,
        .mode = UFFDIO_REGISTER_MODE_MISSING | (pager->protects ? UFFDIO_REGISTER_MODE_WP : 0) |
                (pager->protects && memory != PGL_UFFD_PRIVATE ? UFFDIO_REGISTER_MODE_MINOR : 0),
    };
    int error = memory == PGL_UFFD_PRIVATE ? 0 : check_kind(pager, range, memory);

    if (error == 0) {
        error = enlist(uffd, &claim);
    }
    if (error == 0) {
        error = leave(uffd, range);
    }
    if (error != 0) {
        return error;
    }
    error = pager->protects ? keep_apart(range) : 0;
    if (error == 0 && !config->follow_forks) {
        error = advise(range, MADV_DONTFORK);
    }
    if (error == 0) {
        unsigned tries = 0;

        do {
            error = empty(pager, &claim, memory);
        } while (error == EEXIST && ++tries < ATTEMPTS);
    }
    if (error != 0 && !config->follow_forks) {
        advise(range, MADV_DOFORK);
    }
    return error;
}

int pgl_memory_release(int uffd, const struct uffdio_range *range, const struct pgl_uffd_config *config)
{
    int error = leave(uffd, range);

    return error != 0 || config->follow_forks ? error : advise(range, MADV_DOFORK);
}
