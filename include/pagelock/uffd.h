/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A pager on Linux's userfaultfd: memory of this process that is filled from files on its own faults, through the same
 * objects, advice and clusters as in fault.h.
 */
#ifndef PGL_PAGELOCK_UFFD_H
#define PGL_PAGELOCK_UFFD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <pagelock/advice.h>
#include <pagelock/version.h>

#ifdef __cplusplus
extern "C" {
#endif

struct pgl_uffd; /* a pager: its userfaultfd, its regions, its handler threads */

/* What becomes of a page that could not be read. */
enum pgl_uffd_remedy {
    PGL_UFFD_ZERO,  /* zeros: the program goes on, and the errors are counted */
    PGL_UFFD_AGAIN, /* read it again in a millisecond or so; who wants the page waits meanwhile, and nobody else */
};

struct pgl_uffd_config {
    unsigned threads;                     /* handler threads; 0: one */
    const struct pgl_advice_table *table; /* copied; NULL: pgl_advice_shipped(). Each thread has a buffer for the widest
                                             cluster, before and after together */
    bool write_protect;                   /* pages come write-protected unless a write asked for them: each first write
                                             is a fault of its own and goes the unlock way */
    bool follow_forks;    /* a forked child shows the files, too; needs CAP_SYS_PTRACE. Otherwise regions are not in the
                             child (MADV_DONTFORK): a touch is SIGSEGV there, and no zeros that look like data */
    bool allow_user_mode; /* where nothing better is permitted, bring only pages that the program itself touches: a
                             system call that meets an absent page fails with EFAULT */
    /*
     * Asked from a handler thread, with no lock held, when a page that the program waits for cannot be read: @error is
     * an errno, ENODATA when the file ended early (it shrank). It touches no page of a region, and, where other threads
     * may fork, takes no lock that fork() takes: malloc's are among them. NULL: always zeros.
     */
    enum pgl_uffd_remedy (*failed)(void *arg, const void *addr, int error) PGL_NOEXCEPT;
    void *arg;
};

/*
 * A thread that waited for a page finds in the counts what was done for that page, and one that changed memory or forked
 * finds its event. A page that was read ahead is counted before it can be touched: pages_fetched and pages_zeroed may
 * be ahead of memory by what a handler is about to place. Two kinds may be counted a moment after they can be seen: in
 * unlocks, ns_total and ns_max, a fault that was answered together with another thread's; in present and gone, what was
 * found in a cluster of which some pages came.
 *
 * A fault that is put off for an event, because the kernel would refuse its page, is counted when its thread faults
 * again. A fault whose page failed() wants tried again is counted each time.
 */
struct pgl_uffd_stats {
    uint64_t faults;        /* page-fault messages, write-protect faults included */
    uint64_t requests;      /* reads of a cluster */
    uint64_t pages_fetched; /* pages copied in */
    uint64_t pages_zeroed;  /* pages of holes, filled without reading */
    uint64_t bytes_read;    /* from the files */
    uint64_t unlocks;       /* write-protect faults answered */
    uint64_t present;       /* pages that were there already (EEXIST) */
    uint64_t again;         /* times that a handler, refused by the kernel (EAGAIN), read events before it went on */
    uint64_t gone;          /* clusters whose mapping or process had gone (ENOENT, ESRCH) */
    uint64_t removes;       /* events: madvise() gave pages back */
    uint64_t unmaps;        /* events: munmap() */
    uint64_t remaps;        /* events: mremap() */
    uint64_t forks;         /* events: fork(), with follow_forks; the child's faults are served too */
    uint64_t errors;   /* pages that could not be read and became zeros; children that cannot be served, for want of a
                          descriptor or of memory */
    uint64_t ns_total; /* from reading a fault message to waking its thread, over all faults that were answered */
    uint64_t ns_max;
};

/**
 * pgl_uffd_new - open a userfaultfd and start its handler threads
 * @config: borrowed for the call
 *
 * The threads take no signals.
 *
 * /dev/userfaultfd is tried first, then the system call. The one needs read and write permission on the device, the
 * other CAP_SYS_PTRACE or vm.unprivileged_userfaultfd=1. Where neither is permitted, allow_user_mode asks for a
 * userfaultfd that is: pages come when the program itself touches them. A system call whose buffer is an absent page
 * fails with EFAULT, or does less than it was asked to; so does one that writes to a page that is write-protected.
 *
 * Locks:    none.
 * Owns:     the caller; release with pgl_uffd_free().
 * Errors:   NULL with errno EPERM: no privilege, or none for follow_forks (pgl_uffd_explain() says what to set);
 *           ENOSYS: the kernel has none; EOPNOTSUPP: it lacks a feature that is needed; ENOMEM: as usual, or the table
 *           has clusters too wide for memory; EMFILE, EAGAIN: as usual.
 */
PGL_API struct pgl_uffd *pgl_uffd_new(const struct pgl_uffd_config *config);

/**
 * pgl_uffd_explain - what to do about an error of pgl_uffd_new()
 * @error: the errno
 *
 * Returns a sentence such as "userfaultfd is not permitted: ..." that names what to set.
 *
 * Locks:    none.
 * Owns:     the library.
 */
PGL_API const char *pgl_uffd_explain(int error);

/**
 * pgl_uffd_free - stop the handler threads, then let every region go
 * @uffd: may be NULL
 *
 * Faults that wait when it is called are answered first, but for those of bad pages and those that are put off because
 * another thread changes memory at that moment. The memory stays mapped; pages that nobody touched are plain
 * anonymous memory afterwards, so that touching them gives zeros, not the file: the caller stops using the regions, or
 * fetches what he still needs, before. A child that was followed keeps what it has, under the same rule; and the end of
 * this process is the end of the pager for it. One that goes on alone fetches everything before, by
 * madvise(MADV_POPULATE_READ) or by touching it; a daemon forks first, and makes the pager in the process that stays.
 *
 * Memory that mremap() has added is let go with its region, while it is one mapping with a page that shows the file.
 * Cut off from that, by mprotect(), munmap() or pgl_uffd_unmap() of the region alone, added in a forked child, or where
 * there is no /proc, it stays registered: touching it may then sleep until every child has ended that was forked
 * before. munmap() it earlier.
 *
 * Locks:    entry: none; not from the failed() callback, and no other call on @uffd beside it.
 * Blocks:   until the handlers have ended.
 */
PGL_API void pgl_uffd_free(struct pgl_uffd *uffd);

/**
 * pgl_uffd_map - fill a range of memory from a file
 * @addr, @length: page-aligned; private anonymous memory of this process, in pages of the usual size
 * @fd: a regular file, open for reading
 * @offset: page-aligned; the file's byte that is seen at @addr
 *
 * The memory shows the file from now on: what it held is dropped, as by mmap() with MAP_FIXED. That includes pages that
 * came without a touch of their own: by MAP_POPULATE, by mlockall(), as part of a transparent huge page. No thread
 * touches the range during the call.
 *
 * Without follow_forks the range gets MADV_DONTFORK, until it is unmapped here: a forked child does not have it. In any
 * case MADV_WIPEONFORK ends.
 *
 * @fd may be closed afterwards. The pager opens the file itself, once for all regions with the same file and the same
 * of the flags O_DIRECT and O_NOATIME. Where it cannot, because there is no /proc or no permission, it duplicates the
 * descriptor, and looks for no holes: the caller's file offset never moves. O_DIRECT is for files whose blocks are no
 * larger than a page.
 *
 * A hole of the file becomes zero pages that are not read; what is written into it after this call is not seen. The
 * last page of the file may be partial; it ends in zeros. Looking for holes costs two system calls and 16 bytes each.
 *
 * Where a file system reads a file under the lock that it writes it under (XFS, some network file systems), an absent
 * page of a region is not to be written to its own file: the writer would wait for the page, and the page for the
 * writer.
 *
 * Locks:    entry: none; not from the failed() callback.
 * Blocks:   while a handler has yet to read that the memory at @addr before was let go or moved; where other threads
 *           change regions without pause, for some ten milliseconds in any case.
 * Errors:   false with errno
 *           EINVAL: not page-aligned, nothing or beyond the file's end, an advice that does not exist; memory that is
 *           shared, or of a file, or of huge pages (MAP_HUGETLB), in part or in whole;
 *           EFAULT: part of the range is not mapped;
 *           EBUSY: part of it belongs to another userfaultfd;
 *           EEXIST: part of it is mapped here already; or it holds pages that do not go: locked ones before Linux 5.18,
 *           or other threads touch it;
 *           EBADF: @fd is not open for reading; EISDIR: it is a directory; ENODEV: a pipe, a socket, a device;
 *           EMFILE, ENFILE, ENOMEM: as usual. The memory keeps what it held, except where pages did not go, or the
 *           kernel ran out of memory.
 */
PGL_API bool pgl_uffd_map(struct pgl_uffd *uffd, void *addr, size_t length, int fd, off_t offset,
                          enum pgl_advice advice);

/**
 * pgl_uffd_unmap - let a range go; it stays mapped as plain anonymous memory
 *
 * What mremap() has added to a region is no part of it: pgl_uffd_free() says what becomes of that.
 *
 * Locks:    entry: none. The caller touches no absent page of the range meanwhile.
 * Errors:   false with errno EINVAL: not page-aligned; ENOENT: part of it is not mapped here; the errors of
 *           UFFDIO_UNREGISTER: all is as it was; ENOMEM: to be called again.
 */
PGL_API bool pgl_uffd_unmap(struct pgl_uffd *uffd, void *addr, size_t length);

/**
 * pgl_uffd_advise - set the advice of a range, also while it is being faulted in
 *
 * Locks:    entry: none.
 * Errors:   false with errno EINVAL: not page-aligned, an advice that does not exist; ENOENT: part of it is not mapped
 *           here; ENOMEM.
 */
PGL_API bool pgl_uffd_advise(struct pgl_uffd *uffd, void *addr, size_t length, enum pgl_advice advice);

/**
 * pgl_uffd_get_stats - what happened so far, over all regions and forked children
 *
 * Each count is exact, as far as struct pgl_uffd_stats says; they are read one by one.
 *
 * Locks:    entry: none.
 * Blocks:   while a handler reads and applies events.
 */
PGL_API void pgl_uffd_get_stats(struct pgl_uffd *uffd, struct pgl_uffd_stats *stats);

#ifdef __cplusplus
}
#endif
#endif
