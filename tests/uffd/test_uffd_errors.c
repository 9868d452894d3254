/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pgl_uffd_new(), pgl_uffd_map() and pgl_uffd_unmap() when the kernel refuses: each system call that they make returns
 * each of its errors. Either the function fails with that error and leaves everything as it was, or it does without.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../cm.h"
#include "calls.h"

/* The errors of a call that a call of the library has to report. */
static const int *errors_of(enum call call, unsigned long request)
{
    static const int limits[] = {EMFILE, ENFILE, ENOMEM, 0};
    static const int watches[] = {ENOMEM, ENOSPC, 0};
    static const int memory[] = {ENOMEM, 0};
    static const int threads[] = {EAGAIN, EPERM, 0};
    static const int files[] = {EBADF, EOVERFLOW, ENOMEM, 0};
    static const int permission[] = {EPERM, ENOSYS, EMFILE, ENFILE, ENOMEM, EINVAL, 0};
    static const int handshake[] = {EINVAL, EPERM, EFAULT, 0};
    static const int ranges[] = {EINVAL, EBUSY, EPERM, ENOMEM, 0};
    static const int advices[] = {EINVAL, EAGAIN, ENOMEM, 0};
    static const int mappings[] = {ENOMEM, EINVAL, 0};

    switch (call) {
    case CALL_EPOLL_CTL:
        return watches;
    case CALL_MMAP:
        return memory;
    case CALL_THREAD:
        return threads;
    case CALL_MADVISE:
        return advices;
    case CALL_MSYNC:
        return mappings;
    case CALL_FSTAT:
        return files;
    case CALL_USERFAULTFD:
        return permission;
    case CALL_IOCTL:
        return request == UFFDIO_API ? handshake : ranges;
    default:
        return limits;
    }
}

/*
 * Whether the library can do without that call: there is another way to a userfaultfd; a file is duplicated, or has no
 * holes, or no mapping; an error of the probe is no EAGAIN; what was not dropped is found, or else looked for once
 * more.
 */
static bool is_spare(void)
{
    return mine.call == CALL_OPEN || mine.call == CALL_LSEEK || mine.call == CALL_MINCORE ||
           mine.call == CALL_MUNLOCK || mine.call == CALL_MPROTECT || (mine.call == CALL_MMAP && mine.request == 1) ||
           (mine.call == CALL_IOCTL && (mine.request == UFFDIO_ZEROPAGE || mine.request == USERFAULTFD_IOC_NEW)) ||
           (mine.call == CALL_MADVISE && (mine.request == MADV_DONTNEED || mine.request == MADV_DONTNEED_LOCKED));
}

/* As is_spare(), for a pager that wants the kernel's record of written pages, and can do without. */
static bool is_spare_of_record(void)
{
    return mine.call == CALL_USERFAULTFD ||
           (mine.call == CALL_IOCTL && (mine.request == PAGEMAP_SCAN_REQUEST || mine.request == UFFDIO_API));
}

/* The errno that the library reports for an error. */
static int told(int error)
{
    if (mine.call == CALL_IOCTL && mine.request == UFFDIO_API && error == EINVAL) {
        return EOPNOTSUPP;
    }
    if (mine.call == CALL_USERFAULTFD && error == EINVAL) {
        return EOPNOTSUPP;
    }
    if (mine.call == CALL_MADVISE && error == EAGAIN) {
        return ENOMEM;
    }
    if (mine.call == CALL_MSYNC && error == ENOMEM) {
        return EFAULT;
    }
    return error;
}

/* Each call that try() makes returns each of its errors. Returns the failures. */
static unsigned each_fails(struct fixture *f, bool (*try)(struct fixture *f), void (*undo)(struct fixture *f))
{
    unsigned nfds = count_fds(), failures = 0;

    for (unsigned at = 1;; at++) {
        bool done = run_failing(f, try, at, ENOMEM);

        if (done) {
            undo(f);
            assert_fds(nfds);
            if (mine.call == CALL_NONE) {
                return failures; /* there are no more calls */
            }
            assert_true(is_spare() || (f->config.track_dirty && is_spare_of_record()));
            continue;
        }
        for (const int *error = errors_of(mine.call, mine.request); *error; error++) {
            assert_false(run_failing(f, try, at, *error));
            assert_int_equal(errno, told(*error));
            assert_fds(nfds);
            failures++;
        }
    }
}

static void test_uffd_new_fails_with_the_errno_of_each_call(void **state)
{
    struct fixture *f = *state;

    f->config.threads = 2;
    assert_true(each_fails(f, try_new, undo_new) >= 20);
    f->config.follow_forks = true;
    doors.device = __real_open64("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    if (doors.device >= 0) {
        assert_true(each_fails(f, try_new, undo_new) >= 15);
    }
    f->config.follow_forks = false;
    f->config.handover = PGL_UFFD_SIGBUS;
    assert_true(each_fails(f, try_new, undo_new) >= 15);
    f->config.handover = PGL_UFFD_FOLLOW;
    f->config.track_dirty = true;
    assert_true(each_fails(f, try_new, undo_new) >= 15);
}

/* The file has holes, and both ends of one are looked for. */
static void test_uffd_map_fails_with_the_errno_of_each_call(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ftruncate(f->file, 20 * PAGE), 0);
    assert_int_equal(ftruncate(f->file, NPAGES * PAGE), 0);
    fill(f->file, 40, 10);
    mappable = true;
    assert_true(try_new(f));
    assert_true(each_fails(f, try_map, undo_map) >= 7);
    assert_true(try_map(f));
    for (uint64_t page = 0; page < NPAGES; page++) {
        assert_true(page < 20 || (page >= 40 && page < 50) ? shows_page(f, page) : shows_zeros(f, page));
    }
}

/* Every other page of 8,192 is a hole: more of them than fit in the pager's own memory. */
static void test_uffd_map_of_more_holes_than_there_is_memory_for_fails(void **state)
{
    const uint64_t npages = 8192;
    struct fixture *f = *state;
    unsigned char *memory = mmap(NULL, npages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct pgl_uffd_stats stats;
    unsigned nfds;

    assert_int_equal(ftruncate(f->file, 0), 0);
    assert_int_equal(ftruncate(f->file, (off_t)(npages * PAGE)), 0);
    for (uint64_t page = 0; page < npages; page += 2) {
        fill(f->file, page, 1);
    }
    assert_true(try_new(f));
    nfds = count_fds();
    fail_theirs(CALL_MMAP, 0, ENOMEM, 1);
    errno = 0;
    assert_false(pgl_uffd_map(f->uffd, memory, npages * PAGE, f->file, 0, PGL_ADVICE_NORMAL));
    assert_int_equal(errno, ENOMEM);
    assert_fds(nfds);
    assert_true(pgl_uffd_map(f->uffd, memory, npages * PAGE, f->file, 0, PGL_ADVICE_NORMAL));
    for (uint64_t page = 0; page < npages; page++) {
        assert_true(*(uint64_t *)(void *)(memory + page * PAGE) == (page % 2 == 0 ? word_at(page * PAGE) : 0));
    }
    pgl_uffd_get_stats(f->uffd, &stats);
    assert_int_equal(stats.bytes_read, npages / 2 * PAGE);
    munmap(memory, npages * PAGE);
}

static bool is_in_a_child(const struct fixture *f)
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        _exit(__real_msync(f->memory, NPAGES * PAGE, MS_ASYNC) != 0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return status == 0;
}

/* Wherever the page is that stays: memory is looked at in pieces. */
static void test_uffd_map_finds_each_page_that_stays(void **state)
{
    static const uint64_t pages[] = {0, 1, 1022, 1023, 1024, 1025, 2047, 2048};
    const uint64_t npages = 2049;
    struct fixture *f = *state;

    assert_int_equal(ftruncate(f->file, (off_t)(npages * PAGE)), 0);
    assert_true(try_new(f));
    nothing_drops = true;
    for (unsigned i = 0; i < sizeof(pages) / sizeof(*pages); i++) {
        unsigned char *memory = mmap(NULL, npages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        assert_true(memory != MAP_FAILED);
        memory[pages[i] * PAGE] = 'x';
        errno = 0;
        assert_false(pgl_uffd_map(f->uffd, memory, npages * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
        assert_int_equal(errno, EEXIST);
        assert_int_equal(memory[pages[i] * PAGE], 'x');
        munmap(memory, npages * PAGE);
    }
}

/*
 * The content of the memory is dropped, with the one call or with the other. If neither does it, as on old kernels in
 * locked memory, or if pages come between again and again, memory is refused as it is.
 */
static void test_uffd_map_refuses_memory_that_does_not_become_empty(void **state)
{
    struct fixture *f = *state;

    assert_true(try_new(f));
    memset(f->memory, 'x', NPAGES * PAGE);
    fail_theirs(CALL_MADVISE, MADV_DONTNEED, EINVAL, 1);
    assert_true(try_map(f));
    assert_int_equal(count_fired(), 1);
    undo_map(f);

    f->memory =
        mmap(f->memory, NPAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_LOCKED, -1,
             0); /* so that MADV_DONTNEED fails, too */
    f->memory[40 * PAGE] = 'x';
    fail_theirs(CALL_MADVISE, MADV_DONTNEED_LOCKED, EINVAL, 1000);
    assert_false(try_map(f));
    assert_int_equal(errno, EEXIST);
    assert_int_equal(f->memory[40 * PAGE], 'x');
    fail_theirs(CALL_MADVISE, MADV_DONTNEED_LOCKED, EINVAL, 1);
    assert_true(try_map(f)); /* it was found, and tried again */
    undo_map(f);

    fail_theirs(CALL_MINCORE, 0, EAGAIN, 1000);
    assert_false(try_map(f));
    assert_int_equal(errno, EEXIST);
    fail_theirs(CALL_NONE, 0, 0, 0);
    assert_true(shows_zeros(f, 3)); /* and it is not registered */
    assert_true(is_in_a_child(f));
    assert_true(try_map(f));
    undo_map(f);
}

static void test_uffd_unmap_fails_with_the_errno_of_the_kernel(void **state)
{
    struct fixture *f = *state;

    assert_true(try_new(f));
    assert_true(try_map(f));
    assert_true(shows_page(f, 40));
    assert_false(run_failing(f, try_unmap, 1, ENOMEM));
    assert_int_equal(mine.request, UFFDIO_UNREGISTER);
    assert_int_equal(errno, ENOMEM);
    assert_true(shows_page(f, 20)); /* as it was */
    assert_false(run_failing(f, try_unmap, 2, EAGAIN));
    assert_int_equal(mine.request, MADV_DOFORK);
    assert_int_equal(errno, ENOMEM);
    assert_true(try_unmap(f)); /* again */
    assert_true(shows_zeros(f, 0));
    assert_false(try_unmap(f));
    assert_int_equal(errno, ENOENT);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_new_fails_with_the_errno_of_each_call),
        TEST(test_uffd_map_fails_with_the_errno_of_each_call),
        TEST(test_uffd_map_of_more_holes_than_there_is_memory_for_fails),
        TEST(test_uffd_map_finds_each_page_that_stays),
        TEST(test_uffd_map_refuses_memory_that_does_not_become_empty),
        TEST(test_uffd_unmap_fails_with_the_errno_of_the_kernel),
    };
#undef TEST

    return permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
