/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../cm.h"
#include "pages.h"

bool kernel_has_poison(void)
{
    struct uffdio_api api = {.api = UFFD_API};
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
    bool has = fd >= 0 && ioctl(fd, UFFDIO_API, &api) == 0 && (api.features & FEATURE_POISON) != 0;

    if (fd >= 0) {
        close(fd);
    }
    return has;
}

uint64_t word_at(uint64_t offset)
{
    return (offset + 8) * UINT64_C(0x9e3779b97f4a7c15);
}

void fill(int file, uint64_t first, uint64_t npages)
{
    uint64_t words[PAGE / 8];

    for (uint64_t page = first; page < first + npages; page++) {
        for (uint64_t i = 0; i < PAGE / 8; i++) {
            words[i] = word_at(page * PAGE + i * 8);
        }
        assert_int_equal(pwrite(file, words, PAGE, (off_t)(page * PAGE)), PAGE);
    }
}

bool is_page(const unsigned char *memory, uint64_t file_page)
{
    const uint64_t *words = (const uint64_t *)(const void *)memory;

    for (uint64_t i = 0; i < PAGE / 8; i++) {
        if (words[i] != word_at(file_page * PAGE + i * 8)) {
            return false;
        }
    }
    return true;
}

bool is_zero(const unsigned char *memory)
{
    for (size_t i = 0; i < PAGE; i++) {
        if (memory[i] != 0) {
            return false;
        }
    }
    return true;
}

void *touch_zero_page(void *arg)
{
    return is_zero(arg) ? NULL : arg;
}

void assert_pages(const unsigned char *memory, uint64_t npages, uint64_t file_page)
{
    for (uint64_t i = 0; i < npages; i++) {
        if (!is_page(memory + i * PAGE, file_page + i)) {
            fail_msg("page %" PRIu64 " is not the file's page %" PRIu64, i, file_page + i);
        }
    }
}

unsigned count_fds(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 256; fd++) {
        n += fcntl(fd, F_GETFD) >= 0;
    }
    return n;
}

void assert_fds(unsigned n)
{
    for (unsigned tries = 0; tries < 2000 && count_fds() != n; tries++) {
        usleep(1000);
    }
    assert_int_equal(count_fds(), n);
}

bool map_zeroing(struct pgl_uffd *uffd, void *addr, size_t length, int fd, off_t offset, enum pgl_advice advice)
{
    const struct pgl_uffd_region region = {
        .addr = addr,
        .length = length,
        .source.fd = fd,
        .offset = (uint64_t)offset,
        .advice = advice,
        .on_error = PGL_UFFD_ZERO,
    };

    return pgl_uffd_map_region(uffd, &region);
}

struct pgl_uffd_stats stats_of(const struct fixture *f)
{
    struct pgl_uffd_stats stats;

    pgl_uffd_get_stats(f->uffd, &stats);
    return stats;
}

bool permitted(void)
{
    const struct pgl_uffd_config config = {.follow_forks = true};
    struct pgl_uffd *uffd = pgl_uffd_new(&config);

    if (!uffd) {
        printf("SKIP: %s\n", pgl_uffd_explain(errno));
        return false;
    }
    pgl_uffd_free(uffd);
    if (sysconf(_SC_PAGESIZE) != PAGE) {
        printf("SKIP: this test is for pages of %d bytes, and here they have %ld\n", PAGE, sysconf(_SC_PAGESIZE));
        return false;
    }
    return true;
}

static int huge_pages = -1;

bool lock_huge_pages(void)
{
    if (huge_pages < 0) {
        huge_pages = open("/proc/sys/vm/nr_hugepages", O_RDONLY | O_CLOEXEC);
    }
    return huge_pages >= 0 && flock(huge_pages, LOCK_EX) == 0;
}

void unlock_huge_pages(void)
{
    if (huge_pages >= 0) {
        close(huge_pages);
        huge_pages = -1;
    }
}

unsigned count_free_huge_pages(void)
{
    FILE *meminfo = fopen("/proc/meminfo", "re");
    char line[128];
    unsigned n = 0;

    while (meminfo && fgets(line, sizeof(line), meminfo) && sscanf(line, "HugePages_Free: %u", &n) != 1) {
    }
    if (meminfo) {
        fclose(meminfo);
    }
    return n;
}
