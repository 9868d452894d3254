/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pager accepts some arguments, files and kinds of memory; memory that had pages before shows the file.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../cm.h"
#include "pager.h"

#ifndef MADV_COLLAPSE /* of Linux 6.1 */
#define MADV_COLLAPSE 25
#endif

/* Bad input */

static void test_uffd_refuses_what_is_not_page_aligned(void **state)
{
    struct fixture *f = *state;
    const struct {
        size_t addr;
        size_t length;
        off_t offset;
    } bad[] = {{1, PAGE, 0}, {0, PAGE + 1, 0}, {0, 0, 0}, {0, PAGE, 1}, {0, PAGE, -PAGE}};

    start_pager(f);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        errno = 0;
        assert_false(
            pgl_uffd_map(f->uffd, f->memory + bad[i].addr, bad[i].length, f->file, bad[i].offset, PGL_ADVICE_NORMAL));
        assert_int_equal(errno, EINVAL);
    }
    errno = 0;
    assert_false(pgl_uffd_advise(f->uffd, f->memory + 1, PAGE, PGL_ADVICE_NORMAL));
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_false(pgl_uffd_unmap(f->uffd, f->memory, PAGE - 1));
    assert_int_equal(errno, EINVAL);
}

static void test_uffd_refuses_what_the_file_does_not_have(void **state)
{
    struct fixture *f = *state;

    start_pager(f);
    errno = 0;
    assert_false(pgl_uffd_map(f->uffd, f->memory, 2 * PAGE, f->file, (NPAGES - 1) * PAGE, PGL_ADVICE_NORMAL));
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_false(pgl_uffd_map(f->uffd, f->memory, PAGE, f->file, NPAGES * PAGE, PGL_ADVICE_NORMAL));
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_false(pgl_uffd_map(f->uffd, f->memory, PAGE, -1, 0, PGL_ADVICE_NORMAL));
    assert_int_equal(errno, EBADF);
    errno = 0;
    assert_false(pgl_uffd_map(f->uffd, f->memory, PAGE, f->file, 0, (enum pgl_advice)PGL_ADVICE_COUNT));
    assert_int_equal(errno, EINVAL);
}

static void test_uffd_refuses_what_is_no_file_to_read(void **state)
{
    struct fixture *f = *state;
    int pipes[2], sockets[2];
    char path[32];

    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", f->file);

    const struct {
        int fd;
        int error;
    } bad[] = {
        {open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC), EISDIR},
        {dup(pipes[0]), ENODEV},
        {dup(sockets[0]), ENODEV},
        {open("/dev/zero", O_RDWR | O_CLOEXEC), ENODEV},
        {open(path, O_WRONLY | O_CLOEXEC), EBADF},
        {open(path, O_PATH | O_CLOEXEC), EBADF},
        {memfd_create("empty", MFD_CLOEXEC), EINVAL},
    };

    start_pager(f);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_true(bad[i].fd >= 0);
        errno = 0;
        assert_false(pgl_uffd_map(f->uffd, f->memory, PAGE, bad[i].fd, 0, PGL_ADVICE_NORMAL));
        assert_int_equal(errno, bad[i].error);
        close(bad[i].fd);
    }
    assert_true(is_zero(f->memory));
    for (unsigned i = 0; i < 2; i++) {
        close(pipes[i]);
        close(sockets[i]);
    }
}

static void test_uffd_refuses_to_map_memory_twice_or_not_at_all(void **state)
{
    struct fixture *f = *state;

    start_pager(f);
    assert_true(pgl_uffd_map(f->uffd, f->memory, 8 * PAGE, f->file, 0, PGL_ADVICE_NORMAL));
    errno = 0;
    assert_false(pgl_uffd_map(f->uffd, f->memory + 4 * PAGE, 8 * PAGE, f->file, 0, PGL_ADVICE_NORMAL));
    assert_int_equal(errno, EEXIST);
    errno = 0;
    assert_false(pgl_uffd_advise(f->uffd, f->memory + 4 * PAGE, 8 * PAGE, PGL_ADVICE_NORMAL));
    assert_int_equal(errno, ENOENT);
    errno = 0;
    assert_false(pgl_uffd_unmap(f->uffd, f->memory + 4 * PAGE, 8 * PAGE));
    assert_int_equal(errno, ENOENT);
    assert_true(pgl_uffd_unmap(f->uffd, f->memory + 4 * PAGE, 4 * PAGE));
    assert_pages(f->memory, 4, 0);
    assert_true(is_zero(f->memory + 4 * PAGE));
    assert_true(pgl_uffd_map(f->uffd, f->memory + 8 * PAGE, 8 * PAGE, f->file, 0, PGL_ADVICE_NORMAL));
    assert_pages(f->memory + 8 * PAGE, 8, 0);
}

/* Kinds of memory */

static unsigned char *map_kind(int flags, int file)
{
    unsigned char *memory = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, flags, file, 0);

    assert_true(memory != MAP_FAILED);
    return memory;
}

static void assert_refused(struct fixture *f, unsigned char *memory, int error)
{
    errno = 0;
    assert_false(pgl_uffd_map(f->uffd, memory, 8 * PAGE, f->file, 0, PGL_ADVICE_NORMAL));
    assert_int_equal(errno, error);
}

/* With the page at its beginning, at its end, and between. */
static void assert_refused_with_a_foreign_page(struct fixture *f, int flags, int file)
{
    for (unsigned page = 0; page < 8; page++) {
        unsigned char *memory = map_kind(MAP_PRIVATE | MAP_ANONYMOUS, -1);

        memset(memory, 'x', 8 * PAGE);
        assert_true(mmap(memory + page * PAGE, PAGE, PROT_READ, flags | MAP_FIXED, file, 0) != MAP_FAILED);
        assert_refused(f, memory, EINVAL);
        for (unsigned i = 0; i < 8; i++) {
            assert_true(i == page || memory[i * PAGE] == 'x'); /* nothing was dropped */
        }
        munmap(memory, 8 * PAGE);
    }
}

static void test_uffd_refuses_memory_that_is_not_private_and_anonymous(void **state)
{
    struct fixture *f = *state;
    char name[] = P_tmpdir "/pagelock-XXXXXX";
    int files[] = {f->file, mkstemp(name), open("/dev/zero", O_RDWR | O_CLOEXEC)};

    unlink(name);
    fill(files[1], 0, 8);
    start_pager(f);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(files[i] >= 0);
        for (int shared = 0; shared < 2; shared++) {
            int flags = shared ? MAP_SHARED : MAP_PRIVATE;
            unsigned char *memory = map_kind(flags, files[i]);

            assert_refused(f, memory, EINVAL);
            munmap(memory, 8 * PAGE);
            assert_refused_with_a_foreign_page(f, flags, files[i]);
        }
    }
    assert_refused_with_a_foreign_page(f, MAP_SHARED | MAP_ANONYMOUS, -1);
    assert_true(pgl_uffd_map(f->uffd, f->memory, 8 * PAGE, f->file, 0, PGL_ADVICE_NORMAL));
    assert_pages(f->memory, 8, 0);
    close(files[1]);
    close(files[2]);
}

static void test_uffd_refuses_memory_of_huge_pages(void **state)
{
    struct fixture *f = *state;
    size_t length = 2 << 20;
    unsigned char *memory;

    lock_huge_pages();
    memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
    if (memory == MAP_FAILED) {
        unlock_huge_pages();
        SKIP_BECAUSE("no huge pages of 2 MiB: vm.nr_hugepages is to be 2");
    }
    start_pager(f);
    assert_refused(f, memory, EINVAL);
    memset(memory, 'x', length); /* and no handler waits for it */
    munmap(memory, length);
    unlock_huge_pages();
}

static void test_uffd_refuses_addresses_without_memory(void **state)
{
    struct fixture *f = *state;

    start_pager(f);
    for (unsigned page = 0; page < 8; page++) {
        unsigned char *memory = map_kind(MAP_PRIVATE | MAP_ANONYMOUS, -1);

        memset(memory, 'x', 8 * PAGE);
        munmap(memory + page * PAGE, PAGE);
        assert_refused(f, memory, EFAULT);
        assert_int_equal(memory[(page + 1) % 8 * PAGE], 'x');
        munmap(memory, 8 * PAGE);
        assert_refused(f, memory, EFAULT);
    }
}

static void test_uffd_refuses_memory_of_another_pager(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd *other;
    pid_t child;
    int status;

    start_pager(f);
    other = pgl_uffd_new(&f->config);
    assert_non_null(other);
    assert_true(pgl_uffd_map(other, f->memory + 4 * PAGE, 8 * PAGE, f->file, 100 * PAGE, PGL_ADVICE_NORMAL));
    memset(f->memory, 'x', 6 * PAGE);
    assert_refused(f, f->memory, EBUSY);
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(f->memory[i * PAGE], 'x');
    }
    assert_pages(f->memory + 6 * PAGE, 6, 102);
    child = fork();
    if (child == 0) { /* what the other pager has asked for holds */
        _exit(msync(f->memory + 4 * PAGE, 8 * PAGE, MS_ASYNC) == 0 || errno != ENOMEM);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    pgl_uffd_free(other);
    assert_true(pgl_uffd_map(f->uffd, f->memory, 8 * PAGE, f->file, 0, PGL_ADVICE_NORMAL));
    assert_pages(f->memory, 8, 0);
}

/* Pages that are there already would never fault. */

static void assert_shows_the_file(struct fixture *f, unsigned char *memory, uint64_t npages)
{
    f->config.write_protect = !f->config.write_protect;
    start_pager(f);
    assert_true(pgl_uffd_map(f->uffd, memory, npages * PAGE, f->file, 0, PGL_ADVICE_NORMAL));
    assert_pages(memory, npages, 0);
    assert_int_equal(stats_of(f).present, 0);
    assert_int_equal(stats_of(f).removes, 0);
    pgl_uffd_free(f->uffd);
    f->uffd = NULL;
}

static void test_uffd_shows_the_file_where_pages_were_before(void **state)
{
    struct fixture *f = *state;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS;
    unsigned char *memory;

    f->memory[7 * PAGE] = 'x';                                              /* one that was written */
    assert_int_equal(*(volatile unsigned char *)(f->memory + 9 * PAGE), 0); /* one that was read */
    assert_shows_the_file(f, f->memory, NPAGES);
    assert_shows_the_file(f, f->memory, NPAGES); /* all of them, of an earlier pager */

    memory = mmap(NULL, NPAGES * PAGE, PROT_READ | PROT_WRITE, flags | MAP_POPULATE, -1, 0);
    assert_true(memory != MAP_FAILED);
    assert_shows_the_file(f, memory, NPAGES);
    munmap(memory, NPAGES * PAGE);
}

static void test_uffd_shows_the_file_in_locked_memory(void **state)
{
    struct fixture *f = *state;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS;
    unsigned char *memory = mmap(NULL, NPAGES * PAGE, PROT_READ | PROT_WRITE, flags | MAP_LOCKED, -1, 0);

    if (memory == MAP_FAILED) {
        SKIP_BECAUSE("no right to lock 2 MiB of memory");
    }
    assert_shows_the_file(f, memory, NPAGES);
    munmap(memory, NPAGES * PAGE);
    if (mlockall(MCL_FUTURE) == 0) { /* which locks the next mapping, and brings its pages */
        memory = mmap(NULL, NPAGES * PAGE, PROT_READ | PROT_WRITE, flags, -1, 0);
        assert_true(memory != MAP_FAILED);
        assert_shows_the_file(f, memory, NPAGES);
        munlockall();
        munmap(memory, NPAGES * PAGE);
    }
}

static bool is_resident(unsigned char *page)
{
    unsigned char resident = 0;

    assert_int_equal(mincore(page, PAGE, &resident), 0);
    return (resident & 1) != 0;
}

/* The first touch of a neighbour makes a huge page that reaches into the region, on both sides; so may the kernel later. */
static void test_uffd_shows_the_file_in_transparent_huge_pages(void **state)
{
    const size_t huge = 2 << 20;
    struct fixture *f = *state;
    unsigned char *room = mmap(NULL, 3 * huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char *memory = room + (huge - (uintptr_t)room % huge);

    assert_true(room != MAP_FAILED);
    madvise(memory, 2 * huge, MADV_HUGEPAGE);
    memory[0] = 'h';
    memory[2 * huge - 1] = 't';
    if (!is_resident(memory + 5 * PAGE)) {
        munmap(room, 3 * huge);
        SKIP_BECAUSE("no transparent huge pages");
    }
    start_pager(f);
    assert_true(pgl_uffd_map(f->uffd, memory + PAGE, (NPAGES - 1) * PAGE, f->file, PAGE, PGL_ADVICE_RANDOM));
    assert_true(pgl_uffd_map(f->uffd, memory + huge, (NPAGES - 1) * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
    for (uint64_t page = 1; page < NPAGES - 1; page += 3) {
        assert_true(is_page(memory + page * PAGE, page) && is_page(memory + huge + page * PAGE, page));
    }
    madvise(memory, 2 * huge, MADV_COLLAPSE); /* the kernel refuses it, or must get it right */
    assert_pages(memory + PAGE, NPAGES - 1, 1);
    assert_pages(memory + huge, NPAGES - 1, 0);
    assert_true(memory[0] == 'h' && memory[2 * huge - 1] == 't'); /* the neighbours have kept their pages */
    pgl_uffd_free(f->uffd);
    f->uffd = NULL;
    munmap(room, 3 * huge);
}

/* Clusters of up to 2^33 pages. A buffer for one that has wrapped to a few would be overrun; 32 TiB are not there. */
static void test_uffd_clusters_too_wide_for_memory_are_refused(void **state)
{
    struct fixture *f = *state;
    struct pgl_advice_table table = *pgl_advice_shipped();
    const size_t limit = sizeof(void *) > 4 ? (size_t)1 << 42 : SIZE_MAX;
    struct rlimit before, small;

#ifdef SANITIZED
    SKIP_BECAUSE("the sanitizer's allocator aborts where malloc() returns NULL");
#endif
    for (int i = 0; i < 2; i++) { /* the sum of the two sides does not fit in 32 bits, then its bytes do not */
        table.row[PGL_ADVICE_NORMAL].before = i == 0 ? UINT32_MAX : 1 << 19;
        table.row[PGL_ADVICE_NORMAL].after = i == 0 ? UINT32_MAX : UINT32_MAX - (1 << 19);
        f->config.table = &table;
        getrlimit(RLIMIT_AS, &before);
        small = before;
        small.rlim_cur = limit; /* whatever the kernel would commit */
        setrlimit(RLIMIT_AS, &small);
        errno = 0;
        f->uffd = pgl_uffd_new(&f->config);
        setrlimit(RLIMIT_AS, &before);
        assert_null(f->uffd);
        assert_int_equal(errno, ENOMEM);
    }
}

static void test_uffd_without_privilege_says_what_to_set(void **state)
{
    int status;
    pid_t child;

    (void)state;
    assert_non_null(strstr(pgl_uffd_explain(EPERM), "CAP_SYS_PTRACE"));
    assert_non_null(strstr(pgl_uffd_explain(EPERM), "vm.unprivileged_userfaultfd"));
    assert_non_null(strstr(pgl_uffd_explain(ENOSYS), "CONFIG_USERFAULTFD"));
    child = fork();
    if (child == 0) {
        const struct pgl_uffd_config config = {0};

        _exit(setuid(65534) != 0 || pgl_uffd_new(&config) ? 1 : errno == EPERM ? 0 : 2);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_refuses_what_is_not_page_aligned),
        TEST(test_uffd_refuses_what_the_file_does_not_have),
        TEST(test_uffd_refuses_what_is_no_file_to_read),
        TEST(test_uffd_refuses_to_map_memory_twice_or_not_at_all),
        TEST(test_uffd_refuses_memory_that_is_not_private_and_anonymous),
        TEST(test_uffd_refuses_memory_of_huge_pages),
        TEST(test_uffd_refuses_addresses_without_memory),
        TEST(test_uffd_refuses_memory_of_another_pager),
        TEST(test_uffd_shows_the_file_where_pages_were_before),
        TEST(test_uffd_shows_the_file_in_locked_memory),
        TEST(test_uffd_shows_the_file_in_transparent_huge_pages),
        TEST(test_uffd_clusters_too_wide_for_memory_are_refused),
        TEST(test_uffd_without_privilege_says_what_to_set),
    };
#undef TEST

    return pager_permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
