/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Three ways to a userfaultfd, tried in this order:
 *   1. the device /dev/userfaultfd, for users with permission to read and write it;
 *   2. the system call, for processes with CAP_SYS_PTRACE, or for all if vm.unprivileged_userfaultfd is 1;
 *   3. the system call for faults in user mode only, which is granted to all, if the configuration allows it.
 * The first two give the same. Fork events need CAP_SYS_PTRACE in any case.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "uffd_internal.h"

const char *pgl_uffd_explain(int error)
{
    switch (error) {
    case EPERM:
    case EACCES:
        return "userfaultfd is not permitted: give the user access to /dev/userfaultfd (Linux 6.1), run as root or "
               "with CAP_SYS_PTRACE (setcap cap_sys_ptrace+ep on the program), or set vm.unprivileged_userfaultfd=1; "
               "following forks needs CAP_SYS_PTRACE in any case; allow_user_mode needs none of them. Of a region: its "
               "shared memory may not be written, because its descriptor may not, or because of F_SEAL_WRITE";
    case ENOSYS:
        return "this kernel has no userfaultfd: it needs CONFIG_USERFAULTFD";
    case EOPNOTSUPP: /* all that open.c, memory.c, region.c and limit.c ask for, and what they refuse in any case */
        return "not supported: a pager needs Linux 4.14, as do PGL_UFFD_SIGBUS and follow_forks; write_protect and "
               "track_dirty need 5.7, track_dirty with PGL_UFFD_SIGBUS needs 6.7 and /proc, and allow_user_mode needs "
               "5.11; PGL_UFFD_SHARED needs 5.14 and PGL_UFFD_HUGE 5.18, both with write_protect or track_dirty 6.4 "
               "and no PGL_UFFD_SIGBUS; PGL_UFFD_POISON needs 6.6; a limit needs 6.8, PGL_UFFD_PRIVATE and no "
               "PGL_UFFD_CALLBACK; PGL_UFFD_CALLBACK is not for PGL_UFFD_HUGE or PGL_UFFD_SIGBUS, and PGL_UFFD_ZEROS "
               "not for shared memory, nor for PGL_UFFD_HUGE without /proc";
    default:
        return strerror(error); /* NOLINT(concurrency-mt-unsafe): the text of an errno is a constant */
    }
}

static int open_by_device(void)
{
    int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    int fd = -1;

    if (device >= 0) {
        fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
        close(device);
    }
    return fd;
}

static int open_by_call(int flags)
{
    return (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | flags);
}

/* Returns a userfaultfd in the best form that is granted, or -1 with errno. */
static int open_any(bool allow_user_mode)
{
    int fd = open_by_device();

    if (fd < 0) {
        fd = open_by_call(0);
    }
    if (fd < 0 && errno == EPERM && allow_user_mode) {
        fd = open_by_call(UFFD_USER_MODE_ONLY);
    }
    return fd;
}

/* Open a userfaultfd with these features. Returns -1 with errno. */
static int open_with(struct pgl_uffd *uffd, uint64_t features)
{
    struct uffdio_api api = {.api = UFFD_API, .features = features};
    int fd = open_any(uffd->config.allow_user_mode);
    int error;

    if (fd >= 0 && ioctl(fd, UFFDIO_API, &api) == 0) {
        uffd->features = api.features; /* all that the kernel has, also those that were not asked for */
        return fd;
    }
    error = errno == EINVAL ? EOPNOTSUPP : errno; /* this kernel does not know a flag or a feature */
    if (fd >= 0) {
        close(fd);
    }
    errno = error;
    return -1;
}

int pgl_uffd_open(struct pgl_uffd *uffd)
{
    const struct pgl_uffd_config *config = &uffd->config;
    uint64_t features =
        UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_THREAD_ID;
    int fd = -1;

    uffd->protects = config->write_protect || config->track_dirty;
    features |= config->handover == PGL_UFFD_SIGBUS ? UFFD_FEATURE_SIGBUS : 0;
    features |= config->follow_forks ? UFFD_FEATURE_EVENT_FORK : 0;
    features |= uffd->protects ? UFFD_FEATURE_PAGEFAULT_FLAG_WP : 0;
    uffd->pagemap = config->track_dirty ? pgl_pagemap_open() : -1;
    if (uffd->pagemap >= 0 && !config->write_protect) { /* the kernel keeps a record. If it cannot, handlers do */
        fd = open_with(uffd, features | UFFD_FEATURE_WP_ASYNC);
    }
    uffd->withholds = uffd->protects && fd < 0;
    if (uffd->withholds && config->handover == PGL_UFFD_SIGBUS) { /* no thread can serve its own first write */
        errno = EOPNOTSUPP;
        return -1;
    }
    return fd >= 0 ? fd : open_with(uffd, features);
}
