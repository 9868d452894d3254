/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The tests of the userfaultfd pager share this: a file whose words tell their places, memory that shows it, and
 * descriptors.
 */
#ifndef PGL_TESTS_UFFD_PAGES_H
#define PGL_TESTS_UFFD_PAGES_H

#include <stdbool.h>
#include <stdint.h>

#include <pagelock/uffd.h>

#include "../sanitized.h"

#define PAGE 4096

/* Of newer headers. */
#define FEATURE_POISON (1 << 14)
#define IOCTL_POISON 0xc020aa08UL

/* A file in memory whose words tell where they are, some memory, and a pager between the two. */
struct fixture {
    int file;
    unsigned char *memory;
    struct pgl_uffd_config config;
    struct pgl_uffd *uffd;
    unsigned failures; /* reported to the failed() callback */
    int last_error;
};

/*
 * Have the pager follow forks, in a test that forks. fork() holds locks of the thread sanitizer's runtime while it
 * waits for the handler that reads its event. The handler runs into them sooner or later, and both wait for ever.
 */
#ifdef THREAD_SANITIZED
#define FOLLOW_FORKS(f)                                                                                                \
    do {                                                                                                               \
        (void)(f);                                                                                                     \
        SKIP_BECAUSE("fork() holds locks of the thread sanitizer while it waits for a handler");                       \
    } while (0)
#else
#define FOLLOW_FORKS(f) ((f)->config.follow_forks = true)
#endif

/* Whether the kernel has UFFDIO_POISON. */
bool kernel_has_poison(void);

#define SKIP_WITHOUT_POISON()                                                                                          \
    do {                                                                                                               \
        if (!kernel_has_poison()) {                                                                                    \
            SKIP_BECAUSE("the kernel has no UFFDIO_POISON, which came with Linux 6.6");                                \
        }                                                                                                              \
    } while (0)

/* The word at an offset of a file: each names its place. */
uint64_t word_at(uint64_t offset);

/* Write pages of a file. */
void fill(int file, uint64_t first, uint64_t npages);

/* Whether memory shows a page of a file. */
bool is_page(const unsigned char *memory, uint64_t file_page);

/* Whether a page of memory is all zeros. */
bool is_zero(const unsigned char *memory);

/* The same for a thread. Returns NULL when the page at an address is all zeros. */
void *touch_zero_page(void *arg);

/* Assert that memory shows pages of a file, beginning with @file_page. */
void assert_pages(const unsigned char *memory, uint64_t npages, uint64_t file_page);

/* The number of open descriptors. */
unsigned count_fds(void);

/*
 * Assert how many descriptors are open. A handler may have one open for a moment: it closes a file as its last holder,
 * or looks where a thread runs.
 */
void assert_fds(unsigned n);

/* As pgl_uffd_map(), but pages that cannot be read become zeros. */
bool map_zeroing(struct pgl_uffd *uffd, void *addr, size_t length, int fd, off_t offset, enum pgl_advice advice);

struct pgl_uffd_stats stats_of(const struct fixture *f);

/* Whether this process may use userfaultfd, on pages of PAGE bytes. Otherwise print what to set, or that it cannot. */
bool permitted(void);

/*
 * Wait until no other process has huge pages, of which the machine has few. A process whose test has failed with them
 * has them still. Returns whether the machine can have any.
 */
bool lock_huge_pages(void);
void unlock_huge_pages(void);

/* Those that are not in use. Some may be reserved. */
unsigned count_free_huge_pages(void);

#endif
