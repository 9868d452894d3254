/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A region with a limit, and which of its pages are in memory. */
#ifndef PGL_TESTS_UFFD_LIMITED_H
#define PGL_TESTS_UFFD_LIMITED_H

#include <errno.h>
#include <sched.h>
#include <sys/mman.h>

#include "calls.h"

#define PAGES 512
#define LIMIT 128
#define ENOUGH 127 /* pages of the widest cluster */

/* Returns how many of the pages are in memory. */
static inline unsigned count_resident(const unsigned char *memory, uint64_t npages)
{
    unsigned char resident[PAGES];
    unsigned n = 0;

    assert_int_equal(mincore((void *)(uintptr_t)memory, npages * PAGE, resident), 0);
    for (uint64_t i = 0; i < npages; i++) {
        n += resident[i] & 1;
    }
    return n;
}

static inline void wait_until_resident(const unsigned char *memory, unsigned n)
{
    while (count_resident(memory, PAGES) != n) {
        sched_yield();
    }
}

static inline bool map_limited(struct fixture *f, unsigned char *memory, enum pgl_advice advice, uint64_t limit)
{
    const struct pgl_uffd_region region = {
        .addr = memory,
        .length = PAGES * PAGE,
        .source = {.kind = PGL_UFFD_FILE, .fd = f->file},
        .advice = advice,
        .limit = limit,
    };

    return pgl_uffd_map_region(f->uffd, &region);
}

static inline unsigned char *new_pages(void)
{
    unsigned char *memory =
        mmap(NULL, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_ptr_not_equal(memory, MAP_FAILED);
    return memory;
}

/* Make the pager, and a region with a limit. Returns its memory, or NULL when the kernel has no UFFDIO_MOVE. */
static inline unsigned char *start(struct fixture *f, enum pgl_advice advice, unsigned threads)
{
    unsigned char *memory = new_pages();

    fill(f->file, 0, PAGES);
    f->config.threads = threads;
    f->config.write_protect = true;
    assert_true(try_new(f));
    if (!map_limited(f, memory, advice, LIMIT)) {
        assert_int_equal(errno, EOPNOTSUPP);
        munmap(memory, (size_t)PAGES * PAGE);
        return NULL;
    }
    return memory;
}

static inline void finish(struct fixture *f, unsigned char *memory)
{
    pgl_uffd_free(f->uffd);
    f->uffd = NULL;
    munmap(memory, (size_t)PAGES * PAGE);
}

#define START(memory, f, advice, threads)                                                                              \
    unsigned char *memory = start(f, advice, threads);                                                                 \
    if (!memory) {                                                                                                     \
        SKIP_BECAUSE("the kernel has no UFFDIO_MOVE, which came with Linux 6.8");                                      \
    }

/* Read all pages from this one on. */
static inline void read_from(const unsigned char *memory, uint64_t first)
{
    for (uint64_t page = first; page < PAGES; page++) {
        assert_true(is_page(memory + page * PAGE, page));
    }
}

#endif
