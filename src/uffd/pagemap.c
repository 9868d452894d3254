/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The kernel's table of pages, and its own record of written ones. With UFFD_FEATURE_WP_ASYNC it removes the protection
 * of a page on the first write to it, and tells no handler. PAGEMAP_SCAN finds the pages without protection and
 * protects them again, each in one step with respect to the threads that write. Both came with Linux 6.7. The headers
 * of a distribution may be older; therefore the request is described here.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/ioctl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "uffd_internal.h"

#define REGIONS 64 /* that one call of the kernel finds at most */

/* Categories of pages, by the kernel's numbers. */
#define WRITTEN (UINT64_C(1) << 1) /* not protected: absent pages, too */
#define PRESENT (UINT64_C(1) << 3)
#define SWAPPED (UINT64_C(1) << 4)

#define PROTECT_MATCHING 1 /* a flag: protect the pages that are found */

/* The layout of struct page_region, and of struct pm_scan_arg below. */
struct region {
    uint64_t start;
    uint64_t end;
    uint64_t categories;
};

struct scan {
    uint64_t size;
    uint64_t flags;
    uint64_t start;
    uint64_t end;
    uint64_t walk_end; /* set by the kernel: where it stopped */
    uint64_t regions;
    uint64_t nregions;
    uint64_t max_pages;
    uint64_t inverted; /* categories that a page must not be in, of the next two */
    uint64_t all_of;
    uint64_t any_of;
    uint64_t returned;
};

#define SCAN _IOWR('f', 16, struct scan)

int pgl_pagemap_open(void)
{
    struct scan nothing = {.size = sizeof(nothing)};
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

    if (fd >= 0 && ioctl(fd, SCAN, &nothing) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* Have found() called for the pages of these categories, and of others that are any of PRESENT and SWAPPED. */
static int walk(int pagemap, uint64_t start, uint64_t end, uint64_t flags, uint64_t all_of,
                void (*found)(void *arg, uint64_t start, uint64_t end), void *arg)
{
    struct region regions[REGIONS];

    while (start < end) {
        struct scan scan = {
            .size = sizeof(scan),
            .flags = flags,
            .start = start,
            .end = end,
            .regions = (uintptr_t)regions,
            .nregions = REGIONS,
            .all_of = all_of,
            .any_of = PRESENT | SWAPPED,
            .returned = PRESENT | SWAPPED,
        };
        int n = ioctl(pagemap, SCAN, &scan);

        if (n < 0 && errno != EINTR) {
            return errno;
        }
        for (int i = 0; i < n; i++) {
            found(arg, regions[i].start, regions[i].end);
        }
        start = n < 0 ? start : scan.walk_end;
    }
    return 0;
}

/*
 * To ask for written pages alone would find absent ones as well, and leave protection where no page is: the kernel
 * then refuses to install its zero page.
 */
int pgl_pagemap_take(int pagemap, uint64_t start, uint64_t end, void (*found)(void *arg, uint64_t start, uint64_t end),
                     void *arg)
{
    return walk(pagemap, start, end, PROTECT_MATCHING, WRITTEN, found, arg);
}

int pgl_pagemap_find(int pagemap, uint64_t start, uint64_t end, void (*found)(void *arg, uint64_t start, uint64_t end),
                     void *arg)
{
    return walk(pagemap, start, end, 0, 0, found, arg);
}
