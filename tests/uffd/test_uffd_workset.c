/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Regions that are recorded, regions that follow a recording, and pages that are brought before they are touched. */
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../cm.h"
#include "pager.h"

/* Pages 10 to 19 and 100 to 163 of the file. */
static struct pgl_workset *record(void)
{
    struct pgl_recording *recording = pgl_recording_new(NPAGES);
    struct pgl_workset *set;

    for (uint64_t page = 0; page < NPAGES; page++) {
        if ((page >= 10 && page < 20) || (page >= 100 && page < 164)) {
            pgl_recording_touch(recording, page);
        }
    }
    set = pgl_workset_new(recording, NULL, NULL);
    pgl_recording_free(recording);
    return set;
}

static void test_uffd_fault_brings_its_recorded_cluster(void **state)
{
    struct fixture *f = *state;
    struct pgl_workset *set = record();

    map_all(f, PGL_ADVICE_RANDOM);
    assert_true(pgl_uffd_set_workset(f->uffd, f->memory, NPAGES * PAGE, set));
    assert_true(is_page(f->memory + 15 * PAGE, 15));
    assert_count(f, pages_fetched, 10);
    assert_pages(f->memory + 10 * PAGE, 10, 10);
    assert_pages(f->memory + 100 * PAGE, 64, 100);
    assert_count(f, faults, 2);
    assert_count(f, pages_fetched, 74);
    assert_true(is_page(f->memory + 20 * PAGE, 20));
    assert_count(f, pages_fetched, 75);
    end_pager(f);
    pgl_workset_free(set);
}

/* The cluster is wider than that of any advice in the table. Protected zeros go through the buffer. */
static void test_uffd_recorded_cluster_needs_no_wide_advice(void **state)
{
    static const struct pgl_advice_table narrow;
    struct fixture *f = *state;
    struct pgl_workset *set = record();

    assert_int_equal(ftruncate(f->file, 0), 0);
    assert_int_equal(ftruncate(f->file, NPAGES * PAGE), 0);
    f->config.table = &narrow;
    f->config.write_protect = true;
    map_all(f, PGL_ADVICE_NORMAL);
    assert_true(pgl_uffd_set_workset(f->uffd, f->memory, NPAGES * PAGE, set));
    for (uint64_t page = 100; page < 164; page++) {
        assert_true(is_zero(f->memory + page * PAGE));
    }
    assert_count(f, faults, 1);
    end_pager(f);
    pgl_workset_free(set);
}

/* The set is of pages of the file, wherever they are shown. */
static void test_uffd_region_of_a_part_follows_the_files_pages(void **state)
{
    struct fixture *f = *state;
    struct pgl_workset *set = record();

    start_pager(f);
    assert_true(pgl_uffd_map(f->uffd, f->memory, 100 * PAGE, f->file, 50 * PAGE, PGL_ADVICE_RANDOM));
    assert_true(pgl_uffd_set_workset(f->uffd, f->memory, PAGE, set)); /* of the whole region */
    assert_true(is_page(f->memory + 60 * PAGE, 110));
    assert_count(f, pages_fetched, 50); /* file pages 100 to 149: the region ends there */
    end_pager(f);
    pgl_workset_free(set);
}

static void test_uffd_region_without_a_set_follows_its_advice_again(void **state)
{
    struct fixture *f = *state;
    struct pgl_workset *set = record();

    map_all(f, PGL_ADVICE_RANDOM);
    assert_true(pgl_uffd_set_workset(f->uffd, f->memory, NPAGES * PAGE, set));
    assert_true(pgl_uffd_set_workset(f->uffd, f->memory, NPAGES * PAGE, NULL));
    pgl_workset_free(set);
    assert_true(is_page(f->memory + 15 * PAGE, 15));
    assert_count(f, pages_fetched, 1);
}

static void test_uffd_forked_child_follows_its_parents_set(void **state)
{
    struct fixture *f = *state;
    struct pgl_workset *set = record();
    pid_t child;
    int status;

    FOLLOW_FORKS(f);
    map_all(f, PGL_ADVICE_RANDOM);
    assert_true(pgl_uffd_set_workset(f->uffd, f->memory, NPAGES * PAGE, set));
    child = fork();
    if (child == 0) {
        _exit(!is_page(f->memory + 15 * PAGE, 15));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_count(f, pages_fetched, 10);
    end_pager(f);
    pgl_workset_free(set);
}

static void test_uffd_recording_has_each_page_that_was_touched(void **state)
{
    struct fixture *f = *state;
    struct pgl_recording *recording = pgl_recording_new(NPAGES);
    struct pgl_workset *set;
    struct pgl_pager_range cluster;
    struct pgl_workset_info info;

    start_pager(f);
    assert_true(pgl_uffd_map(f->uffd, f->memory, 100 * PAGE, f->file, 200 * PAGE, PGL_ADVICE_RANDOM));
    assert_true(pgl_uffd_watch(f->uffd, f->memory, 100 * PAGE, pgl_recording_touch, recording));
    for (unsigned i = 0; i < 10; i++) {
        assert_true(is_page(f->memory + 3 * i * PAGE, 200 + 3 * i));
    }
    assert_true(pgl_uffd_watch(f->uffd, f->memory, 100 * PAGE, NULL, NULL));
    assert_true(is_page(f->memory + 50 * PAGE, 250));
    set = pgl_workset_new(recording, NULL, NULL);
    pgl_workset_get_info(set, &info);
    assert_int_equal(info.pages, 10);
    assert_true(pgl_workset_find(set, 227, &cluster));
    assert_false(pgl_workset_find(set, 250, &cluster));
    pgl_workset_free(set);
    pgl_recording_free(recording);
}

/* Fork a child that touches pages 15 and 300 when a byte is written to *order. */
static pid_t fork_waiting_child(const struct fixture *f, int *order)
{
    int pipes[2];
    pid_t child;

    assert_int_equal(pipe(pipes), 0);
    child = fork();
    if (child == 0) {
        char byte;

        _exit(read(pipes[0], &byte, 1) != 1 || !is_page(f->memory + 15 * PAGE, 15) ||
              !is_page(f->memory + 300 * PAGE, 300));
    }
    close(pipes[0]);
    *order = pipes[1];
    return child;
}

static void run_waiting_child(pid_t child, int order)
{
    int status;

    assert_int_equal(write(order, "", 1), 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    close(order);
}

static void count_touch(void *arg, uint64_t index)
{
    (void)index;
    __atomic_fetch_add((unsigned *)arg, 1, __ATOMIC_RELAXED);
}

/* The recording may be freed then. */
static void test_uffd_watch_ends_in_forked_children_too(void **state)
{
    struct fixture *f = *state;
    unsigned ntouched = 0;
    int order;
    pid_t child;

    FOLLOW_FORKS(f);
    map_all(f, PGL_ADVICE_RANDOM);
    assert_true(pgl_uffd_watch(f->uffd, f->memory, NPAGES * PAGE, count_touch, &ntouched));
    child = fork_waiting_child(f, &order);
    run_waiting_child(child, order);
    assert_int_equal(__atomic_load_n(&ntouched, __ATOMIC_RELAXED), 2);
    child = fork_waiting_child(f, &order);
    assert_true(pgl_uffd_watch(f->uffd, f->memory, NPAGES * PAGE, NULL, NULL));
    run_waiting_child(child, order);
    assert_int_equal(__atomic_load_n(&ntouched, __ATOMIC_RELAXED), 2);
}

/* Only of the region that has it: page 300 is in another one. */
static void test_uffd_set_reaches_forked_children(void **state)
{
    struct fixture *f = *state;
    struct pgl_workset *set = record();
    int order;
    pid_t child;

    FOLLOW_FORKS(f);
    start_pager(f);
    assert_true(pgl_uffd_map(f->uffd, f->memory, 200 * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
    assert_true(pgl_uffd_map(f->uffd, f->memory + 200 * PAGE, 312 * PAGE, f->file, 200 * PAGE, PGL_ADVICE_RANDOM));
    child = fork_waiting_child(f, &order);
    assert_true(pgl_uffd_set_workset(f->uffd, f->memory, 200 * PAGE, set));
    run_waiting_child(child, order);
    assert_count(f, pages_fetched, 10 + 1);
    end_pager(f);
    pgl_workset_free(set);
}

static void test_uffd_watch_and_set_are_of_mapped_pages(void **state)
{
    struct fixture *f = *state;
    struct pgl_workset *set = record();

    start_pager(f);
    assert_true(pgl_uffd_map(f->uffd, f->memory, 10 * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
    errno = 0;
    assert_false(pgl_uffd_set_workset(f->uffd, f->memory, 11 * PAGE, set));
    assert_int_equal(errno, ENOENT);
    errno = 0;
    assert_false(pgl_uffd_watch(f->uffd, f->memory, 11 * PAGE, NULL, NULL));
    assert_int_equal(errno, ENOENT);
    errno = 0;
    assert_false(pgl_uffd_set_workset(f->uffd, f->memory + 1, PAGE, set));
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_false(pgl_uffd_watch(f->uffd, f->memory, 0, NULL, NULL));
    assert_int_equal(errno, EINVAL);
    end_pager(f);
    pgl_workset_free(set);
}

/* ---- prefetch ---- */

static void test_uffd_prefetched_pages_are_no_faults(void **state)
{
    struct fixture *f = *state;

    map_all(f, PGL_ADVICE_RANDOM);
    assert_true(pgl_uffd_prefetch(f->uffd, f->memory + 100 * PAGE, 150 * PAGE));
    assert_pages(f->memory + 100 * PAGE, 150, 100);
    assert_count(f, faults, 0);
    assert_count(f, ns_total, 0);
    assert_count(f, prefetches, 3); /* 64, 64 and 22 pages */
    assert_count(f, pages_prefetched, 150);
    assert_count(f, pages_fetched, 150);
    assert_count(f, requests, 3);
    assert_true(is_page(f->memory + 99 * PAGE, 99));
    assert_true(is_page(f->memory + 250 * PAGE, 250));
    assert_count(f, faults, 2);
    assert_count(f, prefetches, 3);
}

static void test_uffd_prefetch_brings_only_what_is_absent(void **state)
{
    struct fixture *f = *state;

    map_all(f, PGL_ADVICE_RANDOM);
    assert_true(is_page(f->memory + 20 * PAGE, 20));
    f->memory[20 * PAGE] = 'w';
    assert_true(pgl_uffd_prefetch(f->uffd, f->memory, 64 * PAGE));
    assert_int_equal(f->memory[20 * PAGE], 'w');
    assert_count(f, pages_fetched, 64);
    assert_count(f, pages_prefetched, 63);
    assert_true(pgl_uffd_prefetch(f->uffd, f->memory, 64 * PAGE));
    assert_count(f, pages_prefetched, 63);
    assert_count(f, prefetches, 2);
}

static void test_uffd_prefetch_makes_zeros_of_holes(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ftruncate(f->file, 0), 0);
    assert_int_equal(ftruncate(f->file, NPAGES * PAGE), 0);
    fill(f->file, 10, 10);
    map_all(f, PGL_ADVICE_RANDOM);
    assert_true(pgl_uffd_prefetch(f->uffd, f->memory, 30 * PAGE));
    assert_pages(f->memory + 10 * PAGE, 10, 10);
    assert_true(is_zero(f->memory + 9 * PAGE) && is_zero(f->memory + 20 * PAGE));
    assert_count(f, faults, 0);
    assert_count(f, pages_zeroed, 20);
    assert_count(f, pages_prefetched, 30);
}

/* Two regions side by side. */
static void test_uffd_prefetch_goes_from_region_to_region(void **state)
{
    struct fixture *f = *state;

    start_pager(f);
    assert_true(pgl_uffd_map(f->uffd, f->memory, 10 * PAGE, f->file, 50 * PAGE, PGL_ADVICE_RANDOM));
    assert_true(pgl_uffd_map(f->uffd, f->memory + 10 * PAGE, 10 * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
    assert_true(pgl_uffd_prefetch(f->uffd, f->memory, 20 * PAGE));
    assert_pages(f->memory, 10, 50);
    assert_pages(f->memory + 10 * PAGE, 10, 0);
    assert_count(f, faults, 0);
    assert_count(f, prefetches, 2);
}

static void test_uffd_prefetch_is_of_mapped_pages(void **state)
{
    struct fixture *f = *state;

    start_pager(f);
    assert_true(pgl_uffd_map(f->uffd, f->memory, 10 * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
    errno = 0;
    assert_false(pgl_uffd_prefetch(f->uffd, f->memory, 11 * PAGE));
    assert_int_equal(errno, ENOENT);
    errno = 0;
    assert_false(pgl_uffd_prefetch(f->uffd, f->memory + 1, PAGE));
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_false(pgl_uffd_prefetch(f->uffd, f->memory, 0));
    assert_int_equal(errno, EINVAL);
    assert_count(f, pages_fetched, 0);
}

static enum pgl_uffd_remedy on_failure(void *arg, const void *addr, int error)
{
    struct fixture *f = arg;

    (void)addr;
    (void)error;
    __atomic_add_fetch(&f->failures, 1, __ATOMIC_RELAXED);
    return PGL_UFFD_ZERO;
}

/* The file has shrunk. The pages that it still has come, and the others are the business of their faults. */
static void test_uffd_prefetch_leaves_bad_pages_to_their_faults(void **state)
{
    struct fixture *f = *state;

    f->config.failed = on_failure;
    f->config.arg = f;
    map_all(f, PGL_ADVICE_RANDOM);
    assert_int_equal(ftruncate(f->file, 40 * PAGE), 0);
    errno = 0;
    assert_false(pgl_uffd_prefetch(f->uffd, f->memory + 10 * PAGE, 50 * PAGE));
    assert_int_equal(errno, ENODATA);
    assert_int_equal(__atomic_load_n(&f->failures, __ATOMIC_RELAXED), 0);
    assert_pages(f->memory + 10 * PAGE, 30, 10);
    assert_count(f, faults, 0);
    assert_true(is_zero(f->memory + 45 * PAGE));
    assert_int_equal(__atomic_load_n(&f->failures, __ATOMIC_RELAXED), 1);
    assert_count(f, faults, 1);
}

/* Clusters of a set, before anything is touched. */
static void test_uffd_prefetch_brings_a_working_set(void **state)
{
    struct fixture *f = *state;
    struct pgl_workset *set = record();
    struct pgl_pager_range cluster;

    map_all(f, PGL_ADVICE_RANDOM);
    for (uint64_t at = 0; pgl_workset_next(set, at, &cluster); at = cluster.last + 1) {
        assert_true(
            pgl_uffd_prefetch(f->uffd, f->memory + cluster.first * PAGE, (cluster.last - cluster.first + 1) * PAGE));
    }
    assert_count(f, pages_prefetched, 74);
    assert_pages(f->memory + 10 * PAGE, 10, 10);
    assert_pages(f->memory + 100 * PAGE, 64, 100);
    assert_count(f, faults, 0);
    pgl_workset_free(set);
}

static void *touch_all(void *arg)
{
    const struct fixture *f = arg;

    may_malloc = true;
    for (uint64_t page = NPAGES; page-- > 0;) {
        if (!is_page(f->memory + page * PAGE, page)) {
            return arg;
        }
    }
    return NULL;
}

static void *prefetch_all(void *arg)
{
    struct fixture *f = arg;

    may_malloc = true;
    return pgl_uffd_prefetch(f->uffd, f->memory, NPAGES * PAGE) ? NULL : arg;
}

/* Every page comes once, whichever thread asks for it, and however often the range is emptied in between. */
static void test_uffd_prefetch_and_faults_bring_each_page_once(void **state)
{
    struct fixture *f = *state;

    f->config.threads = 2;
    map_all(f, PGL_ADVICE_NORMAL);
    for (unsigned round = 1; round <= 20; round++) {
        pthread_t threads[4];

        for (unsigned i = 0; i < 4; i++) {
            assert_int_equal(pthread_create(&threads[i], NULL, i < 2 ? prefetch_all : touch_all, f), 0);
        }
        for (unsigned i = 0; i < 4; i++) {
            void *wrong;

            assert_int_equal(pthread_join(threads[i], &wrong), 0);
            assert_null(wrong);
        }
        assert_count(f, pages_fetched, round * NPAGES);
        assert_int_equal(madvise(f->memory, NPAGES * PAGE, MADV_DONTNEED), 0);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_fault_brings_its_recorded_cluster),
        TEST(test_uffd_recorded_cluster_needs_no_wide_advice),
        TEST(test_uffd_region_of_a_part_follows_the_files_pages),
        TEST(test_uffd_region_without_a_set_follows_its_advice_again),
        TEST(test_uffd_forked_child_follows_its_parents_set),
        TEST(test_uffd_recording_has_each_page_that_was_touched),
        TEST(test_uffd_watch_ends_in_forked_children_too),
        TEST(test_uffd_set_reaches_forked_children),
        TEST(test_uffd_watch_and_set_are_of_mapped_pages),
        TEST(test_uffd_prefetched_pages_are_no_faults),
        TEST(test_uffd_prefetch_brings_only_what_is_absent),
        TEST(test_uffd_prefetch_makes_zeros_of_holes),
        TEST(test_uffd_prefetch_goes_from_region_to_region),
        TEST(test_uffd_prefetch_is_of_mapped_pages),
        TEST(test_uffd_prefetch_leaves_bad_pages_to_their_faults),
        TEST(test_uffd_prefetch_brings_a_working_set),
        TEST(test_uffd_prefetch_and_faults_bring_each_page_once),
    };
#undef TEST

    return pager_permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
