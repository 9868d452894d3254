/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The files that a pager reads: how many descriptors they take, how they were opened, and what their sizes do.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../cm.h"
#include "pager.h"

/* Fills NPAGES pages of memory from pages of a file, one region each with one page of room, in that order. */
static unsigned char *map_regions(struct fixture *f, unsigned nregions, uint64_t file_pages)
{
    unsigned char *room =
        mmap(NULL, (size_t)nregions * 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_true(room != MAP_FAILED);
    for (unsigned i = 0; i < nregions; i++) {
        off_t offset = (off_t)(i * 7 % file_pages * PAGE);

        assert_true(map_zeroing(f->uffd, room + (size_t)i * 2 * PAGE, PAGE, f->file, offset, PGL_ADVICE_NORMAL));
    }
    return room;
}

static void test_uffd_regions_of_a_file_share_a_descriptor(void **state)
{
    enum { NREGIONS = 2000 };
    struct fixture *f = *state;
    struct rlimit before, few;
    unsigned nfds;
    unsigned char *room;

    start_pager(f);
    nfds = count_fds();
    getrlimit(RLIMIT_NOFILE, &before);
    few = before;
    few.rlim_cur = 256;
    setrlimit(RLIMIT_NOFILE, &few);
    room = map_regions(f, NREGIONS, NPAGES);
    setrlimit(RLIMIT_NOFILE, &before);
    assert_fds(nfds + 1);
    for (unsigned i = 0; i < NREGIONS; i++) {
        assert_true(is_page(room + (size_t)i * 2 * PAGE, i * 7 % NPAGES));
    }
    for (unsigned i = 0; i < NREGIONS - 1; i++) { /* the last one keeps it open */
        assert_true(pgl_uffd_unmap(f->uffd, room + (size_t)i * 2 * PAGE, PAGE));
    }
    madvise(room, (size_t)NREGIONS * 2 * PAGE, MADV_DONTNEED);
    assert_true(is_page(room + (size_t)(NREGIONS - 1) * 2 * PAGE, (NREGIONS - 1) * 7 % NPAGES));
    assert_fds(nfds + 1);
    assert_true(pgl_uffd_unmap(f->uffd, room + (size_t)(NREGIONS - 1) * 2 * PAGE, PAGE));
    assert_fds(nfds);
    munmap(room, (size_t)NREGIONS * 2 * PAGE);
}

/* Others of the same inode that were opened alike share it; one that was opened otherwise, and another inode, do not. */
static void test_uffd_files_are_told_apart_by_inode_and_flags(void **state)
{
    struct fixture *f = *state;
    int other = memfd_create("other", MFD_CLOEXEC);
    unsigned nfds;
    char path[32];
    int files[4];

    fill(other, 100, 8);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", f->file);
    files[0] = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* which reading does not depend on */
    files[1] = dup(f->file);
    files[2] = open(path, O_RDONLY | O_CLOEXEC | O_NOATIME);
    files[3] = other;
    start_pager(f);
    nfds = count_fds();
    for (unsigned i = 0; i < 4; i++) {
        unsigned char *memory = f->memory + (size_t)i * 8 * PAGE;

        assert_true(files[i] >= 0);
        assert_true(map_zeroing(f->uffd, memory, 8 * PAGE, files[i], 100 * PAGE, PGL_ADVICE_NORMAL));
        close(files[i]); /* the pager has its own */
        assert_int_equal(count_fds(), nfds + (i < 2 ? 1 : i) - (i + 1));
    }
    for (unsigned i = 0; i < 4; i++) {
        assert_pages(f->memory + (size_t)i * 8 * PAGE, 8, 100);
        assert_true(pgl_uffd_unmap(f->uffd, f->memory + (size_t)i * 8 * PAGE, 8 * PAGE));
    }
    assert_fds(nfds - 4);
}

struct mapper {
    pthread_t thread;
    struct fixture *f;
    pthread_barrier_t *barrier;
    unsigned char *memory;
    uint64_t first;
    unsigned failures;
};

/* Now and then no region is left, and the file is closed while another thread opens it. */
static void *map_and_unmap(void *arg)
{
    struct mapper *m = arg;

    pthread_barrier_wait(m->barrier);
    for (unsigned round = 0; round < 300; round++) {
        uint64_t page = (m->first + round) % NPAGES;

        m->failures += !map_zeroing(m->f->uffd, m->memory, PAGE, m->f->file, (off_t)(page * PAGE), PGL_ADVICE_RANDOM);
        m->failures += !is_page(m->memory, page);
        m->failures += !pgl_uffd_unmap(m->f->uffd, m->memory, PAGE);
    }
    return NULL;
}

static void test_uffd_threads_open_and_close_a_file_at_once(void **state)
{
    struct fixture *f = *state;
    pthread_barrier_t barrier;
    struct mapper mappers[4];
    unsigned nfds;

    f->config.threads = 2;
    start_pager(f);
    nfds = count_fds();
    pthread_barrier_init(&barrier, NULL, 4);
    for (unsigned i = 0; i < 4; i++) {
        mappers[i] = (struct mapper){
            .f = f, .barrier = &barrier, .memory = f->memory + (size_t)i * 64 * PAGE, .first = i * UINT64_C(100)};
        assert_int_equal(pthread_create(&mappers[i].thread, NULL, map_and_unmap, &mappers[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(mappers[i].thread, NULL);
        assert_int_equal(mappers[i].failures, 0);
    }
    pthread_barrier_destroy(&barrier);
    assert_fds(nfds);
}

/* How many pages of a file the kernel has cached. */
static uint64_t count_cached(int file, uint64_t npages)
{
    unsigned char resident[NPAGES];
    void *view = mmap(NULL, npages * PAGE, PROT_READ, MAP_SHARED, file, 0);
    uint64_t n = 0;

    assert_true(view != MAP_FAILED);
    assert_int_equal(mincore(view, npages * PAGE, resident), 0);
    for (uint64_t i = 0; i < npages; i++) {
        n += resident[i] & 1;
    }
    munmap(view, npages * PAGE);
    return n;
}

static enum pgl_uffd_remedy on_failure_note(void *arg, const void *addr, int error)
{
    struct fixture *f = arg;

    (void)addr;
    __atomic_store_n(&f->last_error, error, __ATOMIC_RELAXED);
    return PGL_UFFD_ZERO;
}

/* O_DIRECT asks for whole blocks, of the partial last page as well, which ends in zeros; and nothing is cached. */
static void test_uffd_reads_directly_what_was_opened_so(void **state)
{
    char name[] = "pagelock-XXXXXX";
    struct fixture *f = *state;
    int file = mkstemp(name);
    int direct = open(name, O_RDONLY | O_CLOEXEC | O_DIRECT);

    assert_true(file >= 0);
    unlink(name);
    fill(file, 0, 64);
    assert_int_equal(ftruncate(file, 63 * PAGE + 100), 0);
    assert_int_equal(fsync(file), 0);
    posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    if (direct < 0 || count_cached(file, 64) > 0) {
        close(file);
        close(direct);
        SKIP_BECAUSE("the file system of the working directory does not know O_DIRECT, or has only memory");
    }
    f->config.failed = on_failure_note;
    f->config.arg = f;
    start_pager(f);
    assert_true(map_zeroing(f->uffd, f->memory, 64 * PAGE, direct, 0, PGL_ADVICE_NORMAL));
    assert_pages(f->memory, 63, 0);
    assert_int_equal(*(uint64_t *)(void *)(f->memory + 63 * PAGE), word_at(63 * PAGE));
    for (size_t i = 100; i < PAGE; i++) {
        assert_int_equal(f->memory[63 * PAGE + i], 0);
    }
    assert_count(f, bytes_read, 63 * PAGE + 100);
    assert_count(f, errors, 0);
    assert_int_equal(count_cached(file, 64), 0);

    assert_int_equal(madvise(f->memory, 64 * PAGE, MADV_DONTNEED), 0);
    assert_int_equal(ftruncate(file, 40 * PAGE + 10), 0); /* it ends in a block */
    assert_pages(f->memory, 40, 0);
    assert_true(is_zero(f->memory + 40 * PAGE));
    assert_count(f, errors, 1);
    assert_int_equal(__atomic_load_n(&f->last_error, __ATOMIC_RELAXED), ENODATA);
    close(file);
    close(direct);
}

/* A file that has grown since it was mapped shows no more than it had: its last page ends in zeros. */
static void test_uffd_file_that_grew_shows_what_it_had(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ftruncate(f->file, 7 * PAGE + 100), 0);
    start_pager(f);
    assert_true(map_zeroing(f->uffd, f->memory, 8 * PAGE, f->file, 0, PGL_ADVICE_NORMAL));
    fill(f->file, 7, 2);
    assert_pages(f->memory, 7, 0);
    assert_memory_not_equal(f->memory + 7 * PAGE, (unsigned char[100]){0}, 100);
    for (size_t i = 100; i < PAGE; i++) {
        assert_int_equal(f->memory[7 * PAGE + i], 0);
    }
    assert_count(f, bytes_read, 7 * PAGE + 100);
}

/* In a jail: 0 when the pages are right and the caller's offset stands; holes are read there. */
static int check_in_jail(struct fixture *f, const char *jail)
{
    struct pgl_uffd_stats stats;

    if (chroot(jail) != 0 || chdir("/") != 0) {
        return 1;
    }
    f->uffd = pgl_uffd_new(&f->config);
    if (!f->uffd || lseek(f->file, 123, SEEK_SET) != 123 ||
        !map_zeroing(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_NORMAL)) {
        return 2;
    }
    for (uint64_t page = 0; page < NPAGES; page++) {
        if (page < 100 ? !is_page(f->memory + page * PAGE, page) : !is_zero(f->memory + page * PAGE)) {
            return 3;
        }
    }
    pgl_uffd_get_stats(f->uffd, &stats);
    if (lseek(f->file, 0, SEEK_CUR) != 123) {
        return 4;
    }
    pgl_uffd_free(f->uffd);
    return stats.pages_zeroed != 0 ? 5 : 0;
}

static void test_uffd_without_proc_leaves_the_callers_offset_alone(void **state)
{
    struct fixture *f = *state;
    char jail[] = P_tmpdir "/pagelock-XXXXXX";
    pid_t child;
    int status;

    assert_non_null(mkdtemp(jail));
    assert_int_equal(ftruncate(f->file, 100 * PAGE), 0);
    assert_int_equal(ftruncate(f->file, NPAGES * PAGE), 0);
    child = fork();
    if (child == 0) {
        _exit(check_in_jail(f, jail));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    rmdir(jail);
    assert_int_equal(status, 0);
}

static void test_uffd_partial_last_page_of_a_hole_is_zeros(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ftruncate(f->file, 10 * PAGE), 0);
    assert_int_equal(ftruncate(f->file, 20 * PAGE + 100), 0);
    start_pager(f);
    assert_true(map_zeroing(f->uffd, f->memory, 21 * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
    assert_true(is_zero(f->memory + 20 * PAGE));
    assert_count(f, pages_zeroed, 1);
    assert_count(f, errors, 0);
}

/* With its cluster, which is the page, and then alone. */
static void test_uffd_counts_the_bytes_that_a_file_still_had(void **state)
{
    struct fixture *f = *state;

    map_all(f, PGL_ADVICE_RANDOM);
    assert_int_equal(ftruncate(f->file, 3 * PAGE + 10), 0);
    assert_true(is_zero(f->memory + 3 * PAGE));
    assert_count(f, errors, 1);
    assert_count(f, requests, 2);
    assert_count(f, bytes_read, 20);
    assert_true(is_page(f->memory + 2 * PAGE, 2));
    assert_count(f, bytes_read, 20 + PAGE);
    assert_count(f, pages_fetched, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_regions_of_a_file_share_a_descriptor),
        TEST(test_uffd_files_are_told_apart_by_inode_and_flags),
        TEST(test_uffd_threads_open_and_close_a_file_at_once),
        TEST(test_uffd_reads_directly_what_was_opened_so),
        TEST(test_uffd_file_that_grew_shows_what_it_had),
        TEST(test_uffd_partial_last_page_of_a_hole_is_zeros),
        TEST(test_uffd_counts_the_bytes_that_a_file_still_had),
        TEST(test_uffd_without_proc_leaves_the_callers_offset_alone),
    };
#undef TEST

    return pager_permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
