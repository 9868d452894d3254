/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Holes that the file system cannot tell, blocks smaller than a page, whole pages for O_DIRECT, and one file for two
 * threads that open it at once.
 */
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../cm.h"
#include "calls.h"

/* A file system that cannot tell where holes are, or not all of them: the file is read, and right. */
static void test_uffd_file_whose_holes_cannot_be_told_is_read(void **state)
{
    static const struct {
        unsigned long whence;
        int error;
    } all[] = {{SEEK_DATA, EINVAL}, {SEEK_HOLE, EINVAL}, {SEEK_HOLE, ENXIO}};
    struct fixture *f = *state;

    assert_int_equal(ftruncate(f->file, 20 * PAGE), 0);
    assert_int_equal(ftruncate(f->file, NPAGES * PAGE), 0);
    assert_true(try_new(f));
    for (unsigned i = 0; i < 3; i++) {
        struct pgl_uffd_stats before, after;

        pgl_uffd_get_stats(f->uffd, &before);
        fail_theirs(CALL_LSEEK, all[i].whence, all[i].error, 1);
        assert_true(try_map(f));
        assert_int_equal(count_fired(), 1);
        for (uint64_t page = 0; page < NPAGES; page++) {
            assert_true(page < 20 ? shows_page(f, page) : shows_zeros(f, page));
        }
        pgl_uffd_get_stats(f->uffd, &after);
        assert_int_equal(after.bytes_read - before.bytes_read, NPAGES * PAGE);
        undo_map(f);
    }
}

/* A block of data is less than a page: the page is data, and only a page without any data is a hole. */
static void test_uffd_holes_are_whole_pages(void **state)
{
    static const off_t blocks[] = {
        -1, 1024, 20 * PAGE + 1024, 30 * PAGE + 3072, 31 * PAGE - 512, 40 * PAGE, 63 * PAGE + 512, NPAGES * PAGE,
    };
    struct fixture *f = *state;

    assert_int_equal(ftruncate(f->file, 0), 0);
    assert_int_equal(ftruncate(f->file, NPAGES * PAGE), 0);
    fill(f->file, 0, 21);
    fill(f->file, 30, 1);
    fill(f->file, 40, NPAGES - 40);
    extents = blocks;
    assert_true(try_new(f));
    assert_true(try_map(f));
    for (uint64_t page = 0; page < NPAGES; page++) {
        assert_true(page <= 20 || page == 30 || page >= 40 ? shows_page(f, page) : shows_zeros(f, page));
    }
    assert_int_equal(stats_of(f).pages_zeroed, 9 + 9);
    assert_int_equal(stats_of(f).pages_fetched, NPAGES - 9 - 9);
}

/* The end of the last page is not an off_t. */
static void test_uffd_holes_of_the_longest_file_are_found(void **state)
{
    struct fixture *f = *state;

    if (ftruncate(f->file, INT64_MAX) != 0) {
        SKIP_BECAUSE("no file may be as long as an off_t permits");
    }
    assert_true(try_new(f));
    assert_true(pgl_uffd_map(f->uffd, f->memory, NPAGES * PAGE, f->file, (off_t)(INT64_MAX - NPAGES * PAGE + 1),
                             PGL_ADVICE_SEQUENTIAL));
    for (uint64_t page = 0; page < NPAGES; page++) {
        assert_true(shows_zeros(f, page));
    }
    assert_int_equal(stats_of(f).pages_zeroed, NPAGES);
    assert_int_equal(stats_of(f).errors, 0);
}

/* As O_DIRECT asks for, also when less was read than asked for. */
static void test_uffd_file_is_read_in_whole_pages(void **state)
{
    struct fixture *f = *state;

    direct = true;
    assert_int_equal(ftruncate(f->file, (NPAGES - 1) * PAGE + 100), 0);
    assert_true(try_new(f));
    assert_true(try_map(f));
    fail_theirs(CALL_PREAD, 0, 0, 1);
    for (uint64_t page = 0; page < NPAGES - 1; page++) {
        assert_true(shows_page(f, page));
    }
    assert_int_equal(count_fired(), 1);
    assert_int_equal(*(uint64_t *)(void *)(f->memory + (NPAGES - 1) * PAGE), word_at((NPAGES - 1) * PAGE));
    assert_int_equal(stats_of(f).bytes_read, (NPAGES - 1) * PAGE + 100);
    assert_int_equal(stats_of(f).errors, 0);
}

static void *map_file(void *arg)
{
    struct fixture *f = arg;

    return try_map(f) && shows_page(f, 3) ? NULL : arg;
}

static void test_uffd_file_that_two_threads_open_is_one(void **state)
{
    struct fixture *f = *state, other = *f;
    pthread_t threads[2];
    unsigned nfds;

    assert_true(try_new(f));
    new_memory(&other);
    other.uffd = f->uffd;
    nfds = count_fds();
    __atomic_store_n(&to_open, 2, __ATOMIC_RELEASE);
    assert_int_equal(pthread_create(&threads[0], NULL, map_file, f), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, map_file, &other), 0);
    for (unsigned i = 0; i < 2; i++) {
        void *wrong;

        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
    assert_fds(nfds + 1);
    assert_true(try_unmap(f));
    assert_true(shows_page(&other, 40)); /* it is still open */
    assert_true(try_unmap(&other));
    assert_fds(nfds);
    munmap(other.memory, NPAGES * PAGE);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_file_whose_holes_cannot_be_told_is_read), TEST(test_uffd_holes_are_whole_pages),
        TEST(test_uffd_holes_of_the_longest_file_are_found),     TEST(test_uffd_file_is_read_in_whole_pages),
        TEST(test_uffd_file_that_two_threads_open_is_one),
    };
#undef TEST

    return permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
