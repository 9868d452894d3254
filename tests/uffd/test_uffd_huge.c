/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memory of huge pages: a fault brings 2 MiB, and none is brought in part. Two huge pages are enough for each test. */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../cm.h"
#include "calls.h"

#define HUGE ((size_t)2 << 20)
#define UNIT (HUGE / PAGE)
#define FIRST 3 /* the file's page that the memory begins with */

static unsigned char *huge; /* two huge pages */
static struct pgl_uffd_region region;

static bool map_huge(int flags, int file)
{
    bool before = mappable;

    mappable = true;
    huge = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE, flags, file, 0);
    mappable = before;
    return huge != MAP_FAILED;
}

/* Map two huge pages, and describe them as a region of the file. */
#define NEED_HUGE(f)                                                                                                   \
    do {                                                                                                               \
        if (!map_huge(MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1)) {                                                \
            SKIP_BECAUSE("no two huge pages of 2 MiB: vm.nr_hugepages is to be 2");                                    \
        }                                                                                                              \
        describe(f);                                                                                                   \
    } while (0)

static void describe(const struct fixture *f)
{
    region = (struct pgl_uffd_region){
        .addr = huge,
        .length = 2 * HUGE,
        .source.fd = f->file,
        .offset = FIRST * PAGE,
        .advice = PGL_ADVICE_SEQUENTIAL,
        .memory = PGL_UFFD_HUGE,
    };
}

static void start(struct fixture *f)
{
    assert_true(try_new(f));
    assert_true(pgl_uffd_map_region(f->uffd, &region));
}

/* End the pager, and have new memory if there is another round. */
static void end(struct fixture *f, bool more)
{
    undo_new(f);
    munmap(huge, 2 * HUGE);
    if (more) {
        assert_true(map_huge(MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1));
        region.addr = huge;
    }
}

/* Whatever the advice: its window would reach into the other huge page. */
static void test_uffd_huge_page_costs_one_fault(void **state)
{
    struct fixture *f = *state;
    struct pgl_advice_table table = {.row[PGL_ADVICE_SEQUENTIAL] = {UNIT + 100, UNIT + 100, 0}};

    NEED_HUGE(f);
    f->config.table = &table;
    fill(f->file, 0, FIRST + 2 * UNIT);
    for (int way = PLAIN; way < 2 * WAYS && set_way(f, way % WAYS); way++) {
        mappable = way >= WAYS;
        start(f);
        for (uint64_t page = 0; page < 2 * UNIT; page++) {
            uint64_t at = (page * 7 + 100) % (2 * UNIT);

            assert_true(is_page(huge + at * PAGE, FIRST + at));
        }
        assert_int_equal(stats_of(f).faults, 2);
        assert_int_equal(stats_of(f).requests, 2);
        assert_int_equal(stats_of(f).pages_fetched, 2 * UNIT);
        assert_int_equal(stats_of(f).bytes_read, 2 * HUGE);
        memset(huge + HUGE, 'w', HUGE);
        assert_int_equal(stats_of(f).faults, way % WAYS == PLAIN || way % WAYS == RECORDED ? 2 : 3);
        assert_true(is_page(huge + HUGE - PAGE, FIRST + UNIT - 1) && huge[HUGE] == 'w' && huge[2 * HUGE - 1] == 'w');
        end(f, way < 2 * WAYS - 1);
    }
}

/* Prefetch a part of two huge pages that has pages of both: they come by a request each, and as a whole. */
static void prefetch_both(struct fixture *f, uint64_t first, uint64_t npages)
{
    fill(f->file, 0, FIRST + 2 * UNIT);
    start(f);
    assert_true(pgl_uffd_prefetch(f->uffd, huge + first * PAGE, npages * PAGE));
    assert_int_equal(stats_of(f).prefetches, 2);
    assert_int_equal(stats_of(f).requests, 2);
    assert_int_equal(stats_of(f).bytes_read, 2 * HUGE);
    for (uint64_t page = 0; page < 2 * UNIT; page++) {
        assert_true(is_page(huge + page * PAGE, FIRST + page));
    }
    assert_int_equal(stats_of(f).faults, 0);
    end(f, false);
}

static void test_uffd_huge_page_is_prefetched_by_one_request(void **state)
{
    struct fixture *f = *state;

    NEED_HUGE(f);
    prefetch_both(f, 0, 2 * UNIT);
}

/* The pages before it in its huge page come with it, and cost no request of their own. */
static void test_uffd_huge_page_is_prefetched_from_its_middle_on(void **state)
{
    struct fixture *f = *state;

    NEED_HUGE(f);
    prefetch_both(f, 100, UNIT);
}

/* The set's cluster would reach from the second huge page into the first one. */
static void test_uffd_huge_page_follows_no_working_set(void **state)
{
    struct pgl_recording *recording = pgl_recording_new(FIRST + 2 * UNIT);
    struct fixture *f = *state;
    struct pgl_workset *set;

    for (uint64_t page = UNIT - 10; page < UNIT + 20; page++) {
        pgl_recording_touch(recording, FIRST + page);
    }
    set = pgl_workset_new(recording, NULL, NULL);
    pgl_recording_free(recording);
    if (!map_huge(MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1)) {
        pgl_workset_free(set);
        SKIP_BECAUSE("no two huge pages of 2 MiB: vm.nr_hugepages is to be 2");
    }
    describe(f);
    fill(f->file, 0, FIRST + 2 * UNIT);
    start(f);
    assert_true(pgl_uffd_set_workset(f->uffd, huge, 2 * HUGE, set));
    assert_true(is_page(huge + HUGE, FIRST + UNIT));
    assert_int_equal(stats_of(f).requests, 1);
    assert_int_equal(stats_of(f).bytes_read, HUGE);
    end(f, false);
    pgl_workset_free(set);
}

static void test_uffd_huge_page_is_written_as_a_whole(void **state)
{
    struct fixture *f = *state;

    NEED_HUGE(f);
    fill(f->file, 0, FIRST + 2 * UNIT);
    for (int way = RECORDED; way < WAYS && set_way(f, way); way++) {
        struct pgl_uffd_range written[4], rest;

        start(f);
        assert_true(is_page(huge, FIRST));
        huge[HUGE + 5 * PAGE] = 'w'; /* the first touch is a write */
        for (unsigned epoch = 0; epoch < 3; epoch++) {
            rest = (struct pgl_uffd_range){huge, 2 * HUGE};
            assert_int_equal(pgl_uffd_dirty_take(f->uffd, &rest, written, 4), 1);
            assert_true(written[0].addr == huge + HUGE && written[0].length == HUGE && rest.length == 0);
            rest = (struct pgl_uffd_range){huge, 2 * HUGE};
            assert_int_equal(pgl_uffd_dirty_take(f->uffd, &rest, written, 4), 0);
            huge[HUGE + 100 * PAGE]++;
        }
        end(f, way < WAYS - 1);
    }
}

static void test_uffd_huge_page_that_was_given_back_shows_what_it_is_to_show(void **state)
{
    struct fixture *f = *state;

    NEED_HUGE(f);
    fill(f->file, 0, FIRST + 2 * UNIT);
    for (int way = PLAIN; way < 2 * WAYS && set_way(f, way % WAYS); way++) {
        region.removed = way >= WAYS ? PGL_UFFD_ZEROS : PGL_UFFD_SOURCE_AGAIN;
        start(f);
        memset(huge, 'w', 2 * HUGE);
        assert_int_equal(madvise(huge, HUGE, MADV_DONTNEED), 0);
        for (uint64_t page = 0; page < UNIT; page++) {
            assert_true(way >= WAYS ? is_zero(huge + page * PAGE) : is_page(huge + page * PAGE, FIRST + page));
        }
        assert_true(huge[HUGE] == 'w' && huge[2 * HUGE - 1] == 'w');
        assert_int_equal(stats_of(f).removes, 1);
        end(f, way < 2 * WAYS - 1);
    }
}

/* The first huge page is a hole but for its end, the second is one altogether. */
/* The number of huge pages that are reported. */
static size_t take(struct fixture *f, unsigned char *memory)
{
    struct pgl_uffd_range rest = {memory, 2 * HUGE}, written;
    ssize_t n = pgl_uffd_dirty_take(f->uffd, &rest, &written, 1);

    assert_true(n >= 0 && rest.length == 0);
    return n == 0 ? 0 : written.length / HUGE;
}

static void test_uffd_huge_page_that_was_given_back_is_reported_until_it_is_gone(void **state)
{
    struct fixture *f = *state;

    NEED_HUGE(f);
    fill(f->file, 0, FIRST + 2 * UNIT);
    for (int way = RECORDED; way < WAYS && set_way(f, way); way++) {
        start(f);
        huge[HUGE] = 'w';
        assert_int_equal(take(f, huge), 1);
        assert_int_equal(madvise(huge + HUGE, HUGE, MADV_DONTNEED), 0);
        assert_int_equal(take(f, huge), 1);
        assert_int_equal(take(f, huge), 0);
        assert_true(is_page(huge + HUGE, FIRST + UNIT));
        assert_int_equal(take(f, huge), 0);
        end(f, way < WAYS - 1);
    }
}

static void test_uffd_huge_page_of_a_hole_is_zeros(void **state)
{
    struct fixture *f = *state;

    NEED_HUGE(f);
    assert_int_equal(ftruncate(f->file, 0), 0);
    assert_int_equal(ftruncate(f->file, (off_t)((FIRST + 2 * UNIT) * PAGE)), 0);
    fill(f->file, FIRST + UNIT - 1, 1);
    for (int way = PLAIN; way < WAYS && set_way(f, way); way++) {
        start(f);
        for (uint64_t page = 0; page < 2 * UNIT; page++) {
            assert_true(page == UNIT - 1 ? is_page(huge + page * PAGE, FIRST + page) : is_zero(huge + page * PAGE));
        }
        assert_int_equal(stats_of(f).faults, 2);
        assert_int_equal(stats_of(f).pages_zeroed, UNIT);
        end(f, way < WAYS - 1);
    }
}

/* One bad page in it makes zeros of all, and is read again after they were given back. */
static void test_uffd_huge_page_that_cannot_be_read_is_given_up_as_a_whole(void **state)
{
    struct fixture *f = *state;

    NEED_HUGE(f);
    fill(f->file, 0, FIRST + 2 * UNIT);
    region.on_error = PGL_UFFD_ZERO;
    for (int way = PLAIN; way < WAYS && set_way(f, way); way++) {
        start(f);
        __atomic_store_n(&bad_offset, (FIRST + 77) * PAGE, __ATOMIC_RELEASE);
        for (uint64_t page = 0; page < UNIT; page++) {
            assert_true(is_zero(huge + page * PAGE));
        }
        assert_errors(f, 1);
        __atomic_store_n(&bad_offset, -1, __ATOMIC_RELEASE);
        huge[9] = 'w';
        assert_true(huge[9] == 'w' && is_page(huge + HUGE, FIRST + UNIT));
        assert_int_equal(madvise(huge, HUGE, MADV_DONTNEED), 0);
        assert_true(is_page(huge + 77 * PAGE, FIRST + 77));
        end(f, way < WAYS - 1);
    }
}

static void test_uffd_huge_page_comes_whatever_the_kernel_answers(void **state)
{
    static const int errors[] = {EAGAIN, EEXIST, ENOENT, ESRCH, ENOMEM};
    struct fixture *f = *state;

    NEED_HUGE(f);
    fill(f->file, 0, FIRST + 2 * UNIT);
    region.on_error = PGL_UFFD_AGAIN;
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        start(f);
        fail_theirs(CALL_IOCTL, UFFDIO_COPY, errors[i], 3);
        assert_true(is_page(huge + 5 * PAGE, FIRST + 5) && is_page(huge + HUGE - PAGE, FIRST + UNIT - 1));
        assert_int_equal(count_fired(), 3);
        assert_true(is_page(huge + HUGE, FIRST + UNIT));
        end(f, true);
    }
    munmap(huge, 2 * HUGE);
}

static void assert_refused(struct fixture *f, int error)
{
    errno = 0;
    assert_false(pgl_uffd_map_region(f->uffd, &region));
    assert_int_equal(errno, error);
    describe(f);
}

static void test_uffd_huge_memory_is_what_it_is_said_to_be(void **state)
{
    struct fixture *f = *state;

    NEED_HUGE(f);
    fill(f->file, 0, FIRST + 2 * UNIT);
    assert_true(try_new(f));
    region.memory = PGL_UFFD_PRIVATE;
    assert_refused(f, EINVAL);
    region.memory = PGL_UFFD_SHARED;
    assert_refused(f, EINVAL);
    region.length = HUGE + PAGE;
    assert_refused(f, EINVAL);
    region.addr = huge + PAGE;
    region.length = HUGE;
    assert_refused(f, EINVAL);
    region.addr = f->memory;
    region.length = NPAGES * PAGE;
    assert_refused(f, EINVAL);
    region.memory = (enum pgl_uffd_memory)(PGL_UFFD_HUGE + 1);
    assert_refused(f, EINVAL);
    assert_true(pgl_uffd_map_region(f->uffd, &region));
    errno = 0;
    assert_false(pgl_uffd_unmap(f->uffd, huge + PAGE, PAGE));
    assert_int_equal(errno, EINVAL);
    assert_true(pgl_uffd_unmap(f->uffd, huge + HUGE, HUGE));
    assert_true(is_page(huge, FIRST) && is_zero(huge + HUGE));
    undo_new(f);
    hidden_features = UFFD_FEATURE_MINOR_HUGETLBFS;
    assert_true(try_new(f));
    assert_refused(f, EOPNOTSUPP);
    end(f, false);
}

static void test_uffd_huge_page_comes_to_a_thread_that_serves_itself(void **state)
{
    struct fixture *f = *state;

    NEED_HUGE(f);
    fill(f->file, 0, FIRST + 2 * UNIT);
    f->config.handover = PGL_UFFD_SIGBUS;
    start(f);
    for (uint64_t page = 0; page < 2 * UNIT; page++) { /* the first one begins no huge page */
        uint64_t at = (page * 7 + 100) % (2 * UNIT);

        assert_true(is_page(huge + at * PAGE, FIRST + at));
    }
    assert_int_equal(stats_of(f).faults, 2);
    assert_int_equal(stats_of(f).requests, 2);
    assert_int_equal(stats_of(f).bytes_read, 2 * HUGE);
    end(f, false);
}

#define GIGABYTE ((size_t)1 << 30)

/* A memfd of huge pages that is mapped twice. */
struct twice {
    int file;
    unsigned char *first, *room;
};

/* Map the second time at a place that has no page table: its gigabyte holds nothing else. It is `huge`. */
static bool map_apart(struct twice *twice, int flags)
{
    uintptr_t at;

    twice->room = mmap(NULL, 2 * GIGABYTE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (twice->room == MAP_FAILED) {
        return false;
    }
    at = ((uintptr_t)twice->room + GIGABYTE - 1) & ~(uintptr_t)(GIGABYTE - 1);
    mappable = true;
    huge = mmap((void *)at, 2 * HUGE, PROT_READ | PROT_WRITE, flags | MAP_FIXED, twice->file, 0);
    mappable = false;
    return huge != MAP_FAILED;
}

static bool map_twice(struct twice *twice, int flags)
{
    twice->file = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB);
    if (twice->file < 0 || ftruncate(twice->file, 2 * HUGE) != 0 || !map_huge(MAP_SHARED, twice->file)) {
        return false;
    }
    twice->first = huge;
    return map_apart(twice, flags);
}

static void unmap_twice(struct twice *twice)
{
    munmap(twice->first, 2 * HUGE);
    munmap(twice->room, 2 * GIGABYTE);
    close(twice->file);
}

/* One of them is there already. */
static void test_uffd_huge_shared_pages_are_found_and_shown_in_both_mappings(void **state)
{
    struct fixture *f = *state;
    struct twice twice;

    if (!map_twice(&twice, MAP_SHARED)) {
        SKIP_BECAUSE("no two huge pages of 2 MiB: vm.nr_hugepages is to be 2");
    }
    fill(f->file, 0, FIRST + 2 * UNIT);
    for (int way = PLAIN; way < WAYS && set_way(f, way); way++) {
        unsigned char *first = twice.first;

        assert_int_equal(madvise(first, 2 * HUGE, MADV_REMOVE), 0);
        memset(first, 'x', HUGE);
        describe(f);
        start(f);
        region.addr = first;
        assert_true(pgl_uffd_map_region(f->uffd, &region));
        assert_true(huge[0] == 'x' && first[HUGE - 1] == 'x');
        assert_true(is_page(first + HUGE + 5 * PAGE, FIRST + UNIT + 5));
        assert_true(is_page(huge + HUGE + 9 * PAGE, FIRST + UNIT + 9));
        huge[HUGE] = first[1] = 'w';
        assert_true(first[HUGE] == 'w' && huge[1] == 'w');
        undo_new(f);
    }
    unmap_twice(&twice);
}

/* A page of the file would be shown instead of the source's, whether the private mapping has a page table or none. */
static void test_uffd_huge_private_memory_is_refused_while_its_file_has_a_page(void **state)
{
    struct fixture *f = *state;
    struct twice twice;

    if (!map_twice(&twice, MAP_PRIVATE | MAP_NORESERVE)) {
        SKIP_BECAUSE("no two huge pages of 2 MiB: vm.nr_hugepages is to be 2");
    }
    fill(f->file, 0, FIRST + 2 * UNIT);
    for (int way = PLAIN; way < WAYS && set_way(f, way); way++) {
        describe(f);
        assert_true(try_new(f));
        for (int page = 0; page < 2; page++) {
            twice.first[page * HUGE] = 'x';
            assert_refused(f, EEXIST);
            assert_int_equal(madvise(twice.first, 2 * HUGE, MADV_REMOVE), 0);
        }
        assert_true(pgl_uffd_map_region(f->uffd, &region));
        assert_true(is_page(huge, FIRST) && is_page(huge + HUGE + 5 * PAGE, FIRST + UNIT + 5));
        undo_new(f);
        assert_int_equal(madvise(huge, 2 * HUGE, MADV_DONTNEED), 0);
    }
    unmap_twice(&twice);
}

static bool try_huge(struct fixture *f)
{
    return pgl_uffd_map_region(f->uffd, &region);
}

/* The kernel looks for no page while another thread changes memory. */
static void test_uffd_huge_private_memory_is_mapped_after_a_change_of_other_memory(void **state)
{
    struct fixture *f = *state;
    unsigned looked = 0;
    bool all = false;

    NEED_HUGE(f);
    fill(f->file, 0, FIRST + 2 * UNIT);
    assert_true(try_new(f));
    for (unsigned at = 1; !all; at++) {
        bool done = run_failing(f, try_huge, at, EAGAIN);

        if (mine.call == CALL_IOCTL && mine.request == UFFDIO_CONTINUE) {
            looked++;
            assert_true(done);
        }
        all = mine.n < at;
        assert_true(!done || pgl_uffd_unmap(f->uffd, huge, 2 * HUGE));
    }
    assert_int_equal(looked, 2); /* one for each huge page */
    end(f, false);
}

/* Nothing tells whether the file still has a huge page that its mapping does not have. */
static void test_uffd_huge_shared_page_that_was_given_back_is_reported_until_it_is_touched(void **state)
{
    struct fixture *f = *state;

    if (!map_huge(MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB, -1)) {
        SKIP_BECAUSE("no two huge pages of 2 MiB: vm.nr_hugepages is to be 2");
    }
    fill(f->file, 0, FIRST + 2 * UNIT);
    describe(f);
    for (int way = RECORDED; way < WAYS && set_way(f, way); way++) {
        start(f);
        huge[HUGE] = 'w';
        assert_int_equal(take(f, huge), 1);
        assert_int_equal(madvise(huge + HUGE, HUGE, MADV_DONTNEED), 0);
        for (unsigned i = 0; i < 3; i++) {
            assert_int_equal(take(f, huge), 1);
        }
        assert_int_equal(huge[HUGE], 'w');
        assert_int_equal(take(f, huge), 1);
        undo_new(f);
        assert_int_equal(madvise(huge, 2 * HUGE, MADV_REMOVE), 0);
    }
    munmap(huge, 2 * HUGE);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_huge_page_costs_one_fault),
        TEST(test_uffd_huge_page_is_prefetched_by_one_request),
        TEST(test_uffd_huge_page_is_prefetched_from_its_middle_on),
        TEST(test_uffd_huge_page_follows_no_working_set),
        TEST(test_uffd_huge_page_is_written_as_a_whole),
        TEST(test_uffd_huge_page_that_was_given_back_shows_what_it_is_to_show),
        TEST(test_uffd_huge_page_that_was_given_back_is_reported_until_it_is_gone),
        TEST(test_uffd_huge_page_of_a_hole_is_zeros),
        TEST(test_uffd_huge_page_that_cannot_be_read_is_given_up_as_a_whole),
        TEST(test_uffd_huge_page_comes_whatever_the_kernel_answers),
        TEST(test_uffd_huge_memory_is_what_it_is_said_to_be),
        TEST(test_uffd_huge_page_comes_to_a_thread_that_serves_itself),
        TEST(test_uffd_huge_shared_pages_are_found_and_shown_in_both_mappings),
        TEST(test_uffd_huge_shared_page_that_was_given_back_is_reported_until_it_is_touched),
        TEST(test_uffd_huge_private_memory_is_refused_while_its_file_has_a_page),
        TEST(test_uffd_huge_private_memory_is_mapped_after_a_change_of_other_memory),
    };
#undef TEST

    lock_huge_pages(); /* until the end */
    return permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
