/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A pager on Linux's userfaultfd. It fills memory of this process from files or other memory when the process faults,
 * through the same objects, advice and clusters as in fault.h.
 */
#ifndef PGL_PAGELOCK_UFFD_H
#define PGL_PAGELOCK_UFFD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <pagelock/advice.h>
#include <pagelock/version.h>
#include <pagelock/workset.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * struct pgl_uffd - a pager: its userfaultfd, its regions, its handler threads
 *
 * It belongs to the process that has made it. In a forked child it can do nothing: calls that may fail fail with ESRCH,
 * or with ECANCELED if they answer a request, and change nothing; pgl_uffd_free() and the other answers return at once;
 * pgl_uffd_get_stats() has the figures of the fork.
 */
struct pgl_uffd;

/**
 * struct pgl_uffd_request - what a pager wants from a source that is a callback
 */
struct pgl_uffd_request;

/**
 * enum pgl_uffd_remedy - the answer to a page that could not be read, or for which the kernel has no memory
 * @PGL_UFFD_DEFAULT: from the failed() callback, as a value that does not exist, what the region says; of a region,
 *      PGL_UFFD_POISON if the kernel has it (Linux 6.6), and otherwise PGL_UFFD_AGAIN. In both cases no thread goes on
 *      with wrong bytes
 * @PGL_UFFD_ZERO: install zeros; the program goes on, and the error is counted. While the kernel has no memory for
 *      zeros either, the same as PGL_UFFD_AGAIN
 * @PGL_UFFD_AGAIN: read the page again in about a millisecond; only threads that want this page wait meanwhile
 * @PGL_UFFD_POISON: the threads that touch the page get SIGBUS at its address, now and later, and a system call that
 *      meets it fails with EFAULT. That ends when the program gives the page back (madvise()): its next touch reads it
 *      again. It may end when a source supplies the page later, when pgl_uffd_prefetch() brings it or, where threads
 *      serve themselves, when it can be read.
 *      From the failed() callback, on a kernel without it, the same as PGL_UFFD_AGAIN
 */
enum pgl_uffd_remedy {
    PGL_UFFD_DEFAULT,
    PGL_UFFD_ZERO,
    PGL_UFFD_AGAIN,
    PGL_UFFD_POISON,
};

/**
 * enum pgl_uffd_handover - how a fault gets from its thread to a handler and back
 * @PGL_UFFD_FOLLOW: a handler that serves one thread moves to that thread's processor, because it costs several times
 *      as much to wake a thread on another one. Handlers run at a nice value of -20 if that is permitted (CAP_SYS_NICE,
 *      or RLIMIT_NICE); otherwise the scheduler soon separates the two again. They stay within the processors that they
 *      inherit from the caller of pgl_uffd_new(), and change the affinity of no other thread. The only handler of a
 *      pager finds out now and then whether the thread goes on sooner if the scheduler places the handler, and leaves
 *      its place and its nice value to the scheduler as long as that is so. A thread or a process that a callback
 *      starts has a nice value of 0 if its handler's is lower, and inherits the handler's processors, perhaps one only
 * @PGL_UFFD_ANYWHERE: the scheduler places the handlers
 * @PGL_UFFD_SIGBUS: there is no hand-over. The kernel sends SIGBUS to the thread that touches an absent page, and a
 *      handler of this library for that signal brings the page. The price: a system call that meets an absent page
 *      fails with EFAULT, or does less than it was asked to; no thread that touches a page blocks SIGBUS; the failed()
 *      callback is called in the signal's handler, and calls nothing but async-signal-safe functions; a signal handler
 *      that may interrupt a call of this library touches no absent page; an alternate signal stack has room for
 *      PGL_UFFD_STACK; posix_spawn() and the like are handed nothing that lies in an absent page.
 *      Not with write_protect or follow_forks. The signal of any other address, or for another reason, goes to the
 *      handler that was installed before the first such pager was made. A handler that is installed later passes the
 *      signals that it does not know on to the one that it replaced
 */
enum pgl_uffd_handover {
    PGL_UFFD_FOLLOW,
    PGL_UFFD_ANYWHERE,
    PGL_UFFD_SIGBUS,
};

/*
 * The room that the handler of PGL_UFFD_SIGBUS needs on an alternate signal stack (sigaltstack()), in bytes, beside the
 * kernel's frame, for which sysconf(_SC_MINSIGSTKSZ) says how large it is. The failed() callback needs its own beside
 * it, as do handlers of other signals that run while a page is put off. Measured: 5.0 KiB, and with a sanitizer up to
 * 8.2 KiB. pgl_uffd_new() looks at the stack of the calling thread; a touch on a smaller one by another thread ends the
 * process with a message.
 */
#define PGL_UFFD_STACK ((size_t)12288)

/**
 * struct pgl_uffd_config - what a pager is made of
 * @threads: number of handler threads; 0 means one
 * @table: copied; NULL means pgl_advice_shipped(). Each thread has a buffer for the widest cluster, before and after
 *      together
 * @write_protect: pages are installed write-protected unless a write asked for them. The first write to such a page is
 *      a fault of its own, and goes the unlock way
 * @follow_forks: a forked child shows the files, too; needs CAP_SYS_PTRACE. Each child costs a descriptor until it has
 *      ended and another one is forked; if there is none left, the child goes on without the file: its absent pages are
 *      zeros, and `errors` counts it. Without follow_forks regions are not in the child (MADV_DONTFORK): a touch there
 *      is SIGSEGV, and does not find zeros that look like data
 * @allow_user_mode: if nothing better is permitted, bring only pages that the program itself touches. A system call
 *      that meets an absent page then fails with EFAULT
 * @failed: called from a handler thread, with no lock held, when a page that the program waits for cannot be had. The
 *      argument error is an errno: ENODATA when the file ended early because it shrank, ENOMEM when the kernel has no
 *      memory for the page, such as a full tmpfs, or no huge page left. The callback touches no page of a region. If
 *      other threads may fork, it takes no lock that fork() takes; malloc's are among them. NULL means PGL_UFFD_DEFAULT
 *      always
 * @arg: handed to @failed
 * @handover: how faults get to handlers
 * @track_dirty: pgl_uffd_dirty_take() can be asked which pages were written. Pages are installed write-protected. If
 *      the kernel keeps a record of writes (Linux 6.7, and /proc), a first write to a page costs what a fault in the
 *      kernel does; otherwise, or with write_protect, it is a fault of its own as with write_protect
 * @costs: what a fault and a page cost, by which PGL_ADVICE_ADAPTIVE decides. A cost that is 0 is measured while faults
 *      are answered, hand-over included; docs/fault.md says how
 */
struct pgl_uffd_config {
    unsigned threads;
    const struct pgl_advice_table *table;
    bool write_protect;
    bool follow_forks;
    bool allow_user_mode;
    enum pgl_uffd_remedy (*failed)(void *arg, const void *addr, int error) PGL_NOEXCEPT;
    void *arg;
    enum pgl_uffd_handover handover;
    bool track_dirty;
    struct pgl_costs costs;
};

#define PGL_UFFD_BUCKETS 40 /* of a histogram of times */

/**
 * struct pgl_uffd_stats - figures of a pager, over all regions and forked children
 * @faults: page-fault messages, write-protect faults included
 * @requests: reads of a cluster
 * @pages_fetched: pages copied to memory
 * @pages_zeroed: pages of holes, installed without reading
 * @bytes_read: bytes read from the sources
 * @unlocks: write-protect faults that were answered
 * @present: pages that were in memory already (EEXIST)
 * @again: how often the kernel refused a handler (EAGAIN), which then read events before it went on
 * @gone: clusters whose mapping or process had ended (ENOENT, ESRCH)
 * @removes: events of madvise() calls that gave pages back
 * @unmaps: events of munmap()
 * @remaps: events of mremap()
 * @forks: events of fork(), with follow_forks; the child's faults are served, too
 * @prefetches: reads of clusters for pgl_uffd_prefetch(); they are among @requests
 * @pages_prefetched: pages that came with them; they are among @pages_fetched, @pages_zeroed and @present
 * @errors: pages that could not be read and became zeros or poison, and children that cannot be served because
 *      descriptors or memory ran out
 * @poisoned: those of these pages that became poison
 * @ns_total: nanoseconds from reading a fault's message to waking its thread, over all faults that were answered
 * @ns_max: the longest of those
 * @latency_read: how many of those faults took a time of each length, by their kind. Bucket i counts times of at least
 *      2^i and less than 2^(i+1) nanoseconds, bucket 0 shorter ones too, and the last bucket longer ones too. This kind
 *      read its page
 * @latency_zero: faults whose page became zeros
 * @latency_unlock: first writes to a write-protected page
 * @latency_found: faults whose page was there already, or was brought for another fault
 * @fault_ns: what a fault costs, as given or as measured; 0 until some requests have been answered. No sum, as the next
 * @page_ns: what each page of a request costs
 * @pages_given_back: pages that handlers gave back because of a limit; a sum again
 *
 * A thread that waited for a page finds everything counted that was done for the page. A thread that changed memory or
 * forked finds its event counted. A page that was read ahead is counted before it can be touched; therefore
 * pages_fetched and pages_zeroed may include pages that a handler is about to install. Two kinds may be counted a
 * moment after they can be seen: in unlocks, ns_total, ns_max and the histograms a fault that was answered together
 * with another thread's; in present and gone a cluster of which some pages were installed. A prefetch is counted as one
 * when it is over. bytes_read counts pages that are copied out of a mapping after they are installed, and before a
 * thread that waits for one is woken.
 *
 * A fault that is put off because the kernel would refuse its page is counted when its thread faults again. A fault
 * whose page is tried again because of @failed is counted each time.
 */
struct pgl_uffd_stats {
    uint64_t faults;
    uint64_t requests;
    uint64_t pages_fetched;
    uint64_t pages_zeroed;
    uint64_t bytes_read;
    uint64_t unlocks;
    uint64_t present;
    uint64_t again;
    uint64_t gone;
    uint64_t removes;
    uint64_t unmaps;
    uint64_t remaps;
    uint64_t forks;
    uint64_t prefetches;
    uint64_t pages_prefetched;
    uint64_t errors;
    uint64_t poisoned;
    uint64_t ns_total;
    uint64_t ns_max;
    uint64_t latency_read[PGL_UFFD_BUCKETS];
    uint64_t latency_zero[PGL_UFFD_BUCKETS];
    uint64_t latency_unlock[PGL_UFFD_BUCKETS];
    uint64_t latency_found[PGL_UFFD_BUCKETS];
    uint64_t fault_ns;
    uint64_t page_ns;
    uint64_t pages_given_back;
};

/**
 * pgl_uffd_new() - open a userfaultfd and start its handler threads
 * @config: borrowed for the call
 *
 * The threads take no signals. Their names are pagelock/0, pagelock/1 and so on, for `top -H` and debuggers.
 *
 * The device /dev/userfaultfd is tried first, then the system call. The device needs read and write permission, the
 * system call CAP_SYS_PTRACE or vm.unprivileged_userfaultfd=1. If neither is permitted, allow_user_mode asks for a
 * userfaultfd that needs no privilege, and brings a page when the program itself touches it. A system call whose buffer
 * is an absent page then fails with EFAULT, or does less than it was asked to. The same happens to a system call that
 * writes to a write-protected page.
 *
 * Locks:    none.
 * Owns:     the caller; release with pgl_uffd_free().
 * Errors:   NULL with errno EINVAL: write_protect, follow_forks or a too small alternate signal stack with
 *           PGL_UFFD_SIGBUS; a handover that does not exist; costs for which pgl_costs_explain() has a reason; EPERM:
 *           no privilege, or none for follow_forks (pgl_uffd_explain() says what to set); ENOSYS: the kernel has no
 *           userfaultfd; EOPNOTSUPP: its userfaultfd lacks a feature that is needed, which includes a record of writes
 *           if track_dirty is wanted with PGL_UFFD_SIGBUS; ENOMEM: as usual, or the table has clusters too wide for
 *           memory; EMFILE, EAGAIN: as usual.
 */
PGL_API struct pgl_uffd *pgl_uffd_new(const struct pgl_uffd_config *config);

/**
 * pgl_uffd_explain() - say what to do about an error of pgl_uffd_new() or pgl_uffd_map_region()
 * @error: the errno
 *
 * Returns a sentence such as "userfaultfd is not permitted: ..." that names what to set.
 *
 * Locks:    none.
 * Owns:     the library.
 */
PGL_API const char *pgl_uffd_explain(int error);

/**
 * pgl_uffd_free() - stop the handler threads, then release every region
 * @uffd: may be NULL
 *
 * Faults that wait when it is called are answered first, except those of bad pages, those that wait for the answer of a
 * source, and those that are put off because another thread changes memory at that moment. It waits for calls that
 * supply bytes at that moment, and not for requests that are outstanding: they may be answered and ended later. The
 * memory stays mapped. Pages that were never touched are plain anonymous memory afterwards, and show zeros instead of
 * the file. Before this call, the caller stops using the regions or fetches the pages that it still needs.
 *
 * A forked child that was followed keeps the pages that it has, under the same rule. For the child the pager also ends
 * when this process ends. A child that goes on alone fetches everything before, by madvise(MADV_POPULATE_READ) or by
 * touching it. A daemon forks first, and makes the pager in the process that stays.
 *
 * Memory that mremap() added to a region is released with the region as long as the kernel keeps both in one mapping,
 * of which some page shows the file. munmap() it before this call if mprotect(), munmap() or pgl_uffd_unmap() separated
 * it from its region, if a forked child added it, or if /proc is not mounted. In these cases it stays registered, and a
 * touch may sleep until every child forked earlier has ended.
 *
 * Locks:    entry: none; not from a callback of the pager, and no other call on @uffd beside it.
 * Blocks:   until the handlers have ended, and with them the callbacks that they are in.
 */
PGL_API void pgl_uffd_free(struct pgl_uffd *uffd);

/**
 * enum pgl_uffd_source_kind - where the bytes of a region come from
 * @PGL_UFFD_FILE: a file
 * @PGL_UFFD_MEMORY: memory of this process
 * @PGL_UFFD_CALLBACK: a function that answers at once, or later from any thread
 */
enum pgl_uffd_source_kind {
    PGL_UFFD_FILE,
    PGL_UFFD_MEMORY,
    PGL_UFFD_CALLBACK,
};

/**
 * struct pgl_uffd_wanted - what a request wants from its source
 * @offset, @length: bytes of the source, whole pages
 * @demand: the offset of the page among them that a thread waits for; the others are its neighbours, as the advice says
 */
struct pgl_uffd_wanted {
    uint64_t offset;
    uint64_t length;
    uint64_t demand;
};

/**
 * struct pgl_uffd_source - where the bytes of a region come from
 * @kind: which of the other members are read
 * @fd: PGL_UFFD_FILE: a regular file, open for reading
 * @size: PGL_UFFD_MEMORY, PGL_UFFD_CALLBACK: the number of bytes
 * @memory: PGL_UFFD_MEMORY: the bytes, which stay mapped and readable as long as the region does, forked children
 *      included, and are not themselves in a region of any pager. Their address need not be page-aligned. A page of
 *      them that cannot be read is an error of the region's page
 * @request: PGL_UFFD_CALLBACK: called on a handler thread, with no lock of the library held, each time that bytes are
 *      wanted. It may answer by the pgl_uffd_request_...() functions, or have another thread answer later; meanwhile
 *      the handlers serve other faults. It does not wait for a page of any region, and makes no call that is not to be
 *      made from the failed() callback. If the pager follows forks and other threads may fork, it takes no lock that
 *      fork() takes; malloc's are among them
 * @arg: handed to @request, which may be under way, or be called, for a moment after pgl_uffd_unmap(), and is not after
 *      pgl_uffd_free() or pgl_uffd_disown(): what it points to is freed then
 * @surplus: PGL_UFFD_CALLBACK: of bytes that are supplied beyond those that were wanted, so many before them and so
 *      many behind them are installed at most, rounded down to pages; the others are ignored. 0: none
 * @outstanding: PGL_UFFD_CALLBACK: at most so many pages are wanted at a time. A fault that would want more waits, and
 *      neighbours are left out. 0: no limit
 */
struct pgl_uffd_source {
    enum pgl_uffd_source_kind kind;
    int fd;
    const void *memory;
    uint64_t size;
    void (*request)(void *arg, struct pgl_uffd_request *request, const struct pgl_uffd_wanted *wanted) PGL_NOEXCEPT;
    void *arg;
    uint64_t surplus;
    uint64_t outstanding;
};

/**
 * enum pgl_uffd_removed - what a page shows after the program has given it back (MADV_DONTNEED, MADV_REMOVE)
 * @PGL_UFFD_SOURCE_AGAIN: the source, as before its first touch
 * @PGL_UFFD_ZEROS: zeros, as after the ballooning of a guest. It stays so, also in memory that mremap() moves, and in
 *      children that are forked later. Costs one bit per page. Not for shared memory, of which the kernel reports only
 *      what this mapping gives back: PGL_UFFD_SHARED is refused, and PGL_UFFD_HUGE if it is shared. Huge pages need
 *      /proc, because nothing else tells which they are; those of an adopted process are not asked
 */
enum pgl_uffd_removed {
    PGL_UFFD_SOURCE_AGAIN,
    PGL_UFFD_ZEROS,
};

/**
 * enum pgl_uffd_memory - the kind of a region's memory
 * @PGL_UFFD_PRIVATE: private and anonymous, in pages of the usual size. Its former contents are dropped
 * @PGL_UFFD_SHARED: a memfd, a file in tmpfs, or shared anonymous memory, mapped with MAP_SHARED, in pages of the usual
 *      size. The pages that it has already are kept, and found. Every mapping through which absent pages may be touched
 *      is a region of its own that shows the same source at the same places: the first touch fills the page for all of
 *      them. A touch through any other mapping, also of another process, makes zeros. Needs Linux 5.14, and with
 *      write_protect or track_dirty 6.4 and a handover that is not PGL_UFFD_SIGBUS
 * @PGL_UFFD_HUGE: huge pages of 2 MiB (MAP_HUGETLB), private or shared. A fault brings its huge page, and none beside
 *      it, whatever the advice. Figures count pages of the usual size. Private ones are dropped, and shared ones kept,
 *      as above. A private mapping of a file that has huge pages already would show those. It is refused if /proc tells
 *      that it is private. Addresses and lengths are multiples of 2 MiB, also for pgl_uffd_unmap() and
 *      pgl_uffd_dirty_take(). A huge page is written, poisoned and zeroed as a whole. Needs Linux 5.18, and what
 *      PGL_UFFD_SHARED needs
 */
enum pgl_uffd_memory {
    PGL_UFFD_PRIVATE,
    PGL_UFFD_SHARED,
    PGL_UFFD_HUGE,
};

/**
 * struct pgl_uffd_region - a range of memory, and how it is filled
 * @addr, @length: page-aligned; memory of this process, in pages of the usual size
 * @source: where its bytes come from
 * @offset: page-aligned; the byte of the source that is seen at @addr
 * @advice: of the range, until pgl_uffd_advise() sets another one
 * @memory: what kind of memory it is
 * @removed: what pages show that the program has given back
 * @on_error: the answer to a page that could not be read, unless the failed() callback gives another one
 * @limit: how many pages of it stay in memory; 0: all. When there are more, pages that were never written are given
 *      back before others come, or as soon as a fault was answered: first those that a forward reader has left behind,
 *      then the oldest. Their next touch brings them again. Written pages count, and stay until the program gives them
 *      back (madvise()), also after pgl_uffd_dirty_take() has reported them. Beside them the newest others stay, as
 *      many as the widest cluster has (127 with the shipped table); the pages of the last 32 faults are among those
 *      that stay, because an instruction may need several. Each handler may have one more cluster under way. A page
 *      that is locked, pinned or shared with a forked child stays, and so does one that became zeros because it
 *      could not be read. There is no limit in a forked child, and none any more when mremap() has moved a part.
 *      pgl_uffd_set_limit() changes it; a region that is to have one later gets UINT64_MAX at first. Costs nine bytes
 *      per page, and 64 pages for all regions of a pager. Needs write_protect, PGL_UFFD_PRIVATE, no PGL_UFFD_CALLBACK,
 *      and Linux 6.8
 *
 * A member that is zero has its usual meaning. Later versions may have more members; therefore initialize the struct
 * with zeros, or with designated members.
 */
struct pgl_uffd_region {
    void *addr;
    size_t length;
    struct pgl_uffd_source source;
    uint64_t offset;
    enum pgl_advice advice;
    enum pgl_uffd_memory memory;
    enum pgl_uffd_removed removed;
    enum pgl_uffd_remedy on_error;
    uint64_t limit;
};

/**
 * pgl_uffd_map_region() - fill a range of memory when it is touched
 * @region: borrowed for the call
 *
 * The memory shows its source from now on. Its former contents are dropped, as by mmap() with MAP_FIXED. That includes
 * pages that exist without a touch of their own: by MAP_POPULATE, by mlockall(), or as part of a transparent huge page.
 * No thread touches the range during the call. Shared memory keeps its pages.
 *
 * From now on a signal handler that may interrupt a call of this library on this pager touches no absent page of the
 * region, because the page may wait for the thread that it has interrupted. A thread whose signal handlers do, blocks
 * these signals around the calls.
 *
 * Without follow_forks the range gets MADV_DONTFORK until pgl_uffd_unmap(): a forked child does not have it. In both
 * cases MADV_WIPEONFORK ends. With write_protect or track_dirty, MADV_MERGEABLE ends, too, and is not asked for again
 * while the range is mapped here: the kernel drops the protection of pages that it merges (KSM), and writes would be
 * lost.
 *
 * The descriptor may be closed afterwards, and the caller's file offset never moves. The pager opens the file itself,
 * once for all regions with the same file and the same of the flags O_DIRECT and O_NOATIME. If it cannot, because there
 * is no /proc or no permission, it duplicates the descriptor, and does not look for holes. O_DIRECT is for files whose
 * blocks are no larger than a page. Without O_DIRECT the pager also maps this part of the file, and copies clusters of
 * four pages and more out of the mapping; if it cannot map the file, it reads them.
 *
 * mlockall(MCL_CURRENT) after this call brings and locks the whole region, and this mapping of the file with it. With
 * MCL_ONFAULT it does not.
 *
 * A hole of the file becomes zero pages that are not read. Data that is written into a hole after this call is not
 * seen. The last page of the file may be partial; it ends in zeros. Looking for holes costs two system calls and 16
 * bytes each.
 *
 * Some file systems read a file under the lock under which they write it (XFS, some network file systems). On these, do
 * not write an absent page of a region to its own file: the writer would wait for the page, and the page for the
 * writer.
 *
 * Locks:    entry: none; not from the failed() callback.
 * Blocks:   while a handler has yet to read that memory at @addr was unmapped or moved; for some ten milliseconds if
 *           other threads change regions without pause, and longer while the pager still has an entry at @addr, or if
 *           the memory is of private huge pages.
 * Errors:   false with errno
 *           EINVAL: not page-aligned, empty, or beyond the source's end; a limit below the widest cluster, without
 *           write_protect, or of a region of 2^32 - 1 pages or more; a member with a value that does not exist;
 *           some of the memory is not of its kind; huge pages that are not of 2 MiB; some of the source's memory is
 *           in a region of this pager;
 *           EOPNOTSUPP: the kernel has no PGL_UFFD_POISON, or cannot fill or limit this kind of memory; or the source
 *           is a callback, and the memory is of huge pages, or threads serve themselves (PGL_UFFD_SIGBUS); or
 *           PGL_UFFD_ZEROS with shared memory, or with huge pages and no /proc. pgl_uffd_explain() names what each
 *           needs;
 *           EPERM: the memory is shared, and may not be mapped for writing: its descriptor is not open for that, or
 *           it is sealed;
 *           EFAULT: part of the range is not mapped;
 *           EBUSY: part of it belongs to another userfaultfd;
 *           EEXIST: part of it is mapped here already; or it has pages that cannot be dropped, because they are locked
 *           (before Linux 5.18), because other threads touch it, or because they are huge pages of a file that is
 *           mapped private;
 *           EBADF: the descriptor is not open for reading; EISDIR: it is a directory; ENODEV: a pipe, a socket, a
 *           device; EMFILE, ENFILE, ENOMEM: as usual. The memory keeps its contents unless pages could not be dropped
 *           or the kernel ran out of memory.
 */
PGL_API bool pgl_uffd_map_region(struct pgl_uffd *uffd, const struct pgl_uffd_region *region);

/**
 * pgl_uffd_map() - fill a range of memory from a file
 * @addr, @length: page-aligned; private anonymous memory of this process
 * @fd: a regular file, open for reading
 * @offset: page-aligned; the byte of the file that is seen at @addr
 * @advice: of the range, until pgl_uffd_advise() sets another one
 *
 * As pgl_uffd_map_region() with a region whose other members are zero.
 *
 * Locks:    as pgl_uffd_map_region().
 * Blocks:   as pgl_uffd_map_region().
 * Errors:   as pgl_uffd_map_region().
 */
PGL_API bool pgl_uffd_map(struct pgl_uffd *uffd, void *addr, size_t length, int fd, off_t offset,
                          enum pgl_advice advice);

/*
 * The answers of a source that is a callback. A request is the source's from the callback until pgl_uffd_request_end(),
 * which it calls once for each. It may answer from any thread, in any order, in any number of parts; each page's first
 * answer counts. A request outlives its region, the process whose memory it is for, and even the pager: answers change
 * nothing then, but end it all the same. None of these functions is called with a lock held that the request() or
 * failed() callback takes.
 */

/**
 * pgl_uffd_request_supply() - supply bytes, those that are wanted and others
 * @offset, @length: of the source; only whole pages among them are used
 * @data: the bytes, in memory that needs no pager; NULL: zeros
 *
 * Pages that were wanted, by this request or by another one, are installed, and their threads go on. Others are
 * installed as far as the source's surplus goes, unless they are there already, or show zeros because they were given
 * back.
 *
 * Locks:    entry: none.
 * Blocks:   while the kernel lets no page be installed because a thread changes memory.
 * Errors:   false with errno EFAULT: @data cannot be read; the pages from there on are still wanted. ECANCELED: the
 *           pager has ended.
 */
PGL_API bool pgl_uffd_request_supply(struct pgl_uffd_request *request, uint64_t offset, const void *data,
                                     uint64_t length);

/**
 * pgl_uffd_request_fail() - say that bytes cannot be had
 * @offset, @length: of the source; each page that was wanted by this request and lies in it, even in part, has failed
 * @error: an errno, for the failed() callback
 *
 * A page whose thread waits is wanted once more, alone. If it fails then, too, the region's on_error says what happens.
 *
 * Locks:    entry: none.
 */
PGL_API void pgl_uffd_request_fail(struct pgl_uffd_request *request, uint64_t offset, uint64_t length, int error);

/**
 * pgl_uffd_request_is_wanted() - whether any page of a request is still wanted
 *
 * It is not if the answers to other requests have brought all its pages, or if the pager or the process has ended.
 *
 * Locks:    entry: none.
 */
PGL_API bool pgl_uffd_request_is_wanted(struct pgl_uffd_request *request);

/**
 * pgl_uffd_request_end() - end a request
 *
 * Pages that have no answer have failed, with the error of the last pgl_uffd_request_fail(), or with ENODATA.
 *
 * Locks:    entry: none.
 */
PGL_API void pgl_uffd_request_end(struct pgl_uffd_request *request);

/**
 * pgl_uffd_unmap() - release a range; it stays mapped as plain anonymous memory
 * @addr, @length: page-aligned; all of it was mapped by pgl_uffd_map_region()
 *
 * When it returns, no thread waits for a page of the range any more, and no page is copied to it. But it waits for no
 * callback. A handler that has read a fault of the range before may be in the request() callback of its source, in
 * failed(), or in the function of a watch, or may call one a moment later. All of these calls have returned when
 * pgl_uffd_free() returns; therefore what the @arg of a callback points to is not freed before. For a watch there is an
 * earlier moment: if it was ended before the range is unmapped (pgl_uffd_watch() with NULL), its function is called no
 * more. Requests that are outstanding are ended all the same.
 *
 * Memory that mremap() added to a region is no part of it; pgl_uffd_free() says what becomes of that.
 *
 * Locks:    entry: none. The caller touches no absent page of the range meanwhile.
 * Blocks:   while handlers install pages.
 * Errors:   false with errno EINVAL: not page-aligned; ENOENT: part of it is not mapped here; the errors of
 *           UFFDIO_UNREGISTER: nothing was changed; ENOMEM: call it again.
 */
PGL_API bool pgl_uffd_unmap(struct pgl_uffd *uffd, void *addr, size_t length);

/**
 * pgl_uffd_advise() - set the advice of a range, also while threads fault on it
 * @addr, @length: page-aligned; all of it was mapped by pgl_uffd_map_region()
 *
 * Locks:    entry: none.
 * Errors:   false with errno EINVAL: not page-aligned, an advice that does not exist; ENOENT: part of it is not mapped
 *           here; ENOMEM.
 */
PGL_API bool pgl_uffd_advise(struct pgl_uffd *uffd, void *addr, size_t length, enum pgl_advice advice);

/**
 * pgl_uffd_set_limit() - set how many pages of a region stay in memory, also while threads fault on it
 * @addr, @length: page-aligned; all of it was mapped by pgl_uffd_map_region() with a limit. The limit is of each whole
 *      region that has a part in the range
 * @limit: as in struct pgl_uffd_region; 0: all pages stay
 *
 * If there are more pages than that, the calling thread gives them back before it returns, and never one that was
 * written. Pages that the kernel refuses to take, because they are locked or pinned, or because another thread changes
 * memory at that moment, are given back after a later fault.
 *
 * Locks:    entry: none; not from the failed() callback.
 * Blocks:   while handlers install pages.
 * Errors:   false with errno EINVAL: not page-aligned, or a limit below the widest cluster; ENOENT: part of it is not
 *           mapped here; ENOTSUP: a region was mapped without a limit, or mremap() has moved a part of it. Nothing was
 *           changed.
 */
PGL_API bool pgl_uffd_set_limit(struct pgl_uffd *uffd, void *addr, size_t length, uint64_t limit);

/**
 * struct pgl_uffd_range - a range of memory
 * @addr, @length: page-aligned
 */
struct pgl_uffd_range {
    void *addr;
    size_t length;
};

/**
 * pgl_uffd_dirty_take() - report the pages that were written, and protect them again
 * @rest: in: the memory to look at, all of it mapped by pgl_uffd_map_region(); out: the part that was not looked at,
 *      because the answer is full
 * @written: receives ranges in ascending order
 * @nwritten: the room for them, at least 1
 *
 * A page is reported if it was written since it was fetched, or since it was last reported. It is protected again
 * before this returns: the caller reads its bytes afterwards, and finds every write that the report stands for. A write
 * beside that reading shows in the next report. Therefore the bytes of all reports, saved one over the other after each
 * of them, are the memory's as soon as no thread writes any more. Threads may write, fault and change memory meanwhile.
 *
 *     struct pgl_uffd_range rest = {memory, length};
 *
 *     while (rest.length > 0 && (n = pgl_uffd_dirty_take(pager, &rest, written, 64)) >= 0) {
 *         ...save the n ranges
 *     }
 *
 * A page that was given back (madvise()) counts as written, because it shows other bytes than before. It is reported
 * again until it is gone: beside the madvise(), with MADV_FREE, and in shared memory after MADV_DONTNEED. If the kernel
 * cannot be asked for it, it is reported until it was touched again: shared huge pages, and private memory in small
 * pages without PAGEMAP_SCAN (Linux 6.7, and /proc). Memory that mremap() has moved counts as written, at its new place
 * and, after MREMAP_DONTUNMAP, at the old one. A page of a transparent huge page is reported with all of it;
 * MADV_NOHUGEPAGE keeps the kernel from making one.
 *
 * Not reported are writes through another mapping, by a forked child, or by a device that holds a page while it is
 * taken (direct I/O that is under way, VFIO), and pages that go without an event: by fallocate() on the file of
 * shared memory, or by MADV_GUARD_INSTALL. A thread that writes to a page beside the madvise() that gives it back may
 * find either bytes there, and so may the reports.
 *
 * Returns the number of ranges, or -1 with errno. After an error some pages may have been left out, and no report was
 * lost: the call can be repeated.
 *
 * Locks:    entry: none; not from the failed() callback. One thread at a time asks about the same memory.
 * Blocks:   while handlers install pages; while the event of a change of memory is unread.
 * Errors:   EINVAL: not page-aligned, or no room for an answer; ENOTSUP: the pager has no track_dirty; ENOENT: part of
 *           the memory is not mapped here; the errors of UFFDIO_WRITEPROTECT and PAGEMAP_SCAN.
 */
PGL_API ssize_t pgl_uffd_dirty_take(struct pgl_uffd *uffd, struct pgl_uffd_range *rest, struct pgl_uffd_range *written,
                                    size_t nwritten);

/**
 * pgl_uffd_watch() - have each page reported that a fault on a region asks for
 * @addr, @length: page-aligned; all of it was mapped by pgl_uffd_map_region(). The watch is of each whole region that
 *      has a part in the range, and of the region in forked children that are followed
 * @touched: as for pgl_object_watch(), with a page of the region's source. NULL ends the watch
 * @arg: handed to @touched; outlives the watch. If the region is unmapped before the watch was ended, the watch goes on
 *      in forked children until pgl_uffd_free()
 *
 * A page that comes as a neighbour is not reported, because its touch is no fault. Therefore a region that is to be
 * recorded has PGL_ADVICE_RANDOM. @touched is called by a handler, or with PGL_UFFD_SIGBUS by the thread itself in its
 * signal handler; it follows the rules of the failed() callback.
 *
 * Locks:    entry: none; not from the failed() callback.
 * Errors:   false with errno EINVAL: not page-aligned; ENOENT: part of it is not mapped here.
 */
PGL_API bool pgl_uffd_watch(struct pgl_uffd *uffd, void *addr, size_t length,
                            void (*touched)(void *arg, uint64_t index) PGL_NOEXCEPT, void *arg);

/**
 * pgl_uffd_set_workset() - have the faults of a region ask for whole clusters of a working set
 * @addr, @length: as for pgl_uffd_watch()
 * @workset: of pages of the region's source; borrowed until the pager is freed, or without follow_forks until another
 *      set was set for each region that has it; NULL: none
 *
 * As pgl_object_set_workset(). A forked child that is followed has the sets of its parent, also those that are set
 * later. Regions of huge pages have no set, because each fault brings a huge page as a whole.
 *
 * Locks:    entry: none; not from the failed() callback.
 * Errors:   false with errno EINVAL: not page-aligned; ENOENT: part of it is not mapped here.
 */
PGL_API bool pgl_uffd_set_workset(struct pgl_uffd *uffd, void *addr, size_t length, const struct pgl_workset *workset);

/**
 * pgl_uffd_prefetch() - bring the absent pages of a range before they are touched
 * @addr, @length: page-aligned; all of it was mapped by pgl_uffd_map_region()
 *
 * The calling thread brings them in ascending order, 64 at a time, and waits for pages that are on
 * their way already. A fault on any page is served meanwhile; on a page of the cluster that is being brought it waits
 * for that cluster. Pages that are given back or unmapped meanwhile may stay absent.
 *
 * A page that cannot be read is left to its fault; the others of the range are brought all the same.
 *
 * Locks:    entry: none; not from the failed() callback. The range may be touched meanwhile.
 * Blocks:   until all pages are there; allocates.
 * Errors:   false with errno EINVAL: not page-aligned; ENOENT: part of it is not mapped here; ENOMEM; the first error
 *           of a page that cannot be read.
 */
PGL_API bool pgl_uffd_prefetch(struct pgl_uffd *uffd, const void *addr, size_t length);

/**
 * pgl_uffd_adopt() - fill the memory of another process, which has sent its userfaultfd
 * @fd: the userfaultfd, after UFFDIO_API. The caller may close it after the call. It does not block from then on
 *      (O_NONBLOCK), also not for the process that has made it. Before Linux 6.10 a process that undoes this again and
 *      again can make handlers wait, and with them the other processes
 * @regions: borrowed for the call; their addresses are the other process's. All of them are empty, and registered by
 *      that process for missing pages; private ones were never touched
 * @nregions: how many there are, at least 1
 *
 * The faults of that process go to the handlers of this pager. Threads that wait already are served. The events that
 * the process has asked for are applied: removed, unmapped and moved memory, and with UFFD_FEATURE_EVENT_FORK its
 * forked children are served, too. If it has not asked for UFFD_FEATURE_EVENT_REMOVE, pages that it gives back show the
 * source again, whatever the region says, and a copy that is under way then may bring one back. If it has not asked for
 * the events of munmap() and mremap(), it changes no region by them. Memory that it has registered and that is in no
 * region becomes zeros.
 *
 * Nothing reports the end of the process. Copies to it fail then, which counts as gone, and no handler waits. The
 * caller learns it by other means, such as the end of the socket by which the userfaultfd came, and calls
 * pgl_uffd_disown(). The memory of a process is served once at a time: no other handler reads the same userfaultfd.
 *
 * The functions that take an address, such as pgl_uffd_unmap() and pgl_uffd_prefetch(), are for this process's memory.
 *
 * Returns a number that stands for the process and its children, or 0 with errno.
 *
 * Locks:    entry: none; not from the failed() callback.
 * Errors:   ENOTSUP: the pager has write_protect, track_dirty or PGL_UFFD_SIGBUS, or a region has a limit; EOPNOTSUPP:
 *           the kernel has no PGL_UFFD_POISON; or a region has PGL_UFFD_ZEROS with PGL_UFFD_SHARED, or
 *           PGL_UFFD_CALLBACK with PGL_UFFD_HUGE;
 *           EBADF, ENOTTY: no userfaultfd;
 *           EINVAL: no region; a region that is empty or not aligned; what is EINVAL for pgl_uffd_map_region(); a
 *           userfaultfd before UFFDIO_API; huge pages that are not said to be, or the other way round;
 *           ENOENT: the first page of a region is not registered with this userfaultfd;
 *           ESRCH: the process has ended;
 *           EEXIST: regions overlap;
 *           the errors of pgl_uffd_map_region() that are about its source; EMFILE, ENOMEM, ENOSPC: as usual.
 */
PGL_API uint64_t pgl_uffd_adopt(struct pgl_uffd *uffd, int fd, const struct pgl_uffd_region *regions, size_t nregions);

/**
 * pgl_uffd_disown() - end what pgl_uffd_adopt() began
 * @process: the number that it returned; it stands for nothing afterwards
 *
 * The pager closes its descriptors of the userfaultfd, those of the process's children too, and releases the sources.
 * If no other descriptor of a userfaultfd is open anywhere, its memory is ordinary from then on: threads that wait go
 * on with zeros. If the process has kept one, its threads wait, and whoever adopts it next serves them. pgl_uffd_free()
 * does the same for all processes.
 *
 * Locks:    entry: none; not from the failed() callback, nor from the request() callback of a source.
 * Blocks:   until no handler works for the process, and until the sources of its regions have ended their requests,
 *           which are not wanted any more (pgl_uffd_request_is_wanted()).
 * Errors:   false with errno ENOENT: there is no such process.
 */
PGL_API bool pgl_uffd_disown(struct pgl_uffd *uffd, uint64_t process);

/**
 * pgl_uffd_get_stats() - read the figures of a pager
 * @stats: filled in
 *
 * Each figure is exact, as far as struct pgl_uffd_stats says. They are read one by one.
 *
 * Locks:    entry: none.
 * Blocks:   while a handler reads and applies events.
 */
PGL_API void pgl_uffd_get_stats(struct pgl_uffd *uffd, struct pgl_uffd_stats *stats);

/**
 * pgl_uffd_quantile() - the time that a share of the faults did not exceed
 * @latency: PGL_UFFD_BUCKETS buckets, such as the latency_read of struct pgl_uffd_stats, or a sum of several
 * @permille: the share: 500 for the median, 990 for the 99th percentile
 *
 * Returns nanoseconds, as if the times of a bucket were evenly spread over it; 0 when there are none.
 *
 * Locks:    none.
 */
PGL_API uint64_t pgl_uffd_quantile(const uint64_t *latency, unsigned permille);

#ifdef __cplusplus
}
#endif
#endif
