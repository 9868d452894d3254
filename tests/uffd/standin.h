/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A stand-in for a virtual machine's monitor: it hands its memory over as Firecracker does, touches pages at random
 * from several threads, compares each with the snapshot, and gives pages back. It ends when its handler does.
 */
#ifndef PGL_TESTS_UFFD_STANDIN_H
#define PGL_TESTS_UFFD_STANDIN_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STANDIN_PAGE 4096
#define STANDIN_HUGE_PAGE ((size_t)2 << 20)
#define STANDIN_STEP 16 /* pages of a thread between two bytes that tell its progress */

/* Its exit status. */
enum { STANDIN_WRONG = 10, STANDIN_BROKEN = 11, STANDIN_NO_HANDLER = 12 };

/* Write the bytes that it expects. */
bool standin_write_snapshot(int fd, size_t length);

/*
 * The forms of the message, as Firecracker has sent them: the size of a page is not told, which is a small one; or by a
 * name that says KiB, and in bytes, or in KiB as its documents say; or by two names.
 */
enum standin_form { STANDIN_BOTH_NAMES, STANDIN_BYTES_AS_KIB, STANDIN_KIB, STANDIN_NO_SIZE, STANDIN_FORMS };

struct standin_config {
    const char *path; /* of the handler's socket */
    size_t length;    /* of its memory */
    unsigned nthreads;
    unsigned seed;
    bool huge; /* its pages are of 2 MiB */
    enum standin_form form;
    bool closes; /* the connection, when it has sent its message, as Firecracker does; then it notices no end */
};

/* Be the monitor: returns never. A byte is written to @progress from time to time. */
_Noreturn void standin_run(const struct standin_config *config, int progress);

#endif
