/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Threads that wait in the kernel for a handler of a userfaultfd pager: states that a test can wait for, in place of a
 * time.
 */
#ifndef PGL_TESTS_UFFD_WAITS_H
#define PGL_TESTS_UFFD_WAITS_H

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define UFFD_WAITS_FDS 256 /* descriptors that are looked at */

/* Read the start of a file. Not with stdio: a thread that forks holds its locks and malloc()'s. */
static inline bool uffd_read_text(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, size - 1) : -1;

    if (fd >= 0) {
        close(fd);
    }
    text[n > 0 ? n : 0] = '\0';
    return n > 0;
}

/* Faults of this descriptor that no handler has read, or -1 when it is no userfaultfd. */
static inline int uffd_count_pending_of(int fd)
{
    char path[64], text[512];
    const char *line;
    int n = -1;

    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
    line = uffd_read_text(path, text, sizeof(text)) ? strstr(text, "pending:") : NULL;
    if (line) {
        sscanf(line, "pending: %d", &n);
    }
    return n;
}

/* Wait until so many faults are unread, those of children included. */
static inline void uffd_wait_for_pending(int n)
{
    for (int sum = -1; sum != n; usleep(100)) {
        sum = 0;
        for (int fd = 0; fd < UFFD_WAITS_FDS; fd++) {
            int pending = uffd_count_pending_of(fd);

            sum += pending > 0 ? pending : 0;
        }
    }
}

/* Whether the kernel places no page, for an event that is to be read: tried in this very code, where none can be. */
static inline bool uffd_is_changing(int fd)
{
    uint64_t page_size = (uint64_t)sysconf(_SC_PAGESIZE);
    struct uffdio_zeropage zero = {{(uintptr_t)uffd_is_changing & ~(page_size - 1), page_size}, 0, 0};

    return ioctl(fd, UFFDIO_ZEROPAGE, &zero) != 0 && errno == EAGAIN;
}

/* Wait until memory of this process or of a child is being changed. */
static inline void uffd_wait_for_change(void)
{
    for (bool changing = false; !changing; usleep(100)) {
        for (int fd = 0; fd < UFFD_WAITS_FDS && !changing; fd++) {
            changing = uffd_count_pending_of(fd) >= 0 && uffd_is_changing(fd);
        }
    }
}

/* Whether a thread of this process sleeps. */
static inline bool uffd_sleeps(pid_t tid)
{
    char path[64], text[512];

    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)tid);
    return uffd_read_text(path, text, sizeof(text)) && strstr(text, ") S ") != NULL;
}

#endif
