/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared memory: pages come once for all mappings, and those that are there already are found. */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../cm.h"
#include "calls.h"

/* Two mappings of a memfd. */
struct shared {
    int memory;
    unsigned char *view[2];
};

static unsigned char *map_view(int memory)
{
    unsigned char *view;

    mappable = true;
    view = mmap(NULL, NPAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    mappable = false;
    assert_true(view != MAP_FAILED);
    return view;
}

static struct shared new_shared(void)
{
    struct shared shared = {.memory = memfd_create("shared", MFD_CLOEXEC)};

    assert_int_equal(ftruncate(shared.memory, NPAGES * PAGE), 0);
    shared.view[0] = map_view(shared.memory);
    shared.view[1] = map_view(shared.memory);
    return shared;
}

static bool try_shared_at(const struct fixture *f, unsigned char *view)
{
    const struct pgl_uffd_region region = {
        .addr = view,
        .length = NPAGES * PAGE,
        .source.fd = f->file,
        .advice = PGL_ADVICE_SEQUENTIAL,
        .memory = PGL_UFFD_SHARED,
    };

    return pgl_uffd_map_region(f->uffd, &region);
}

/* Make a pager, and have both views show the file. */
static void start(struct fixture *f, const struct shared *shared)
{
    assert_true(try_new(f));
    assert_true(try_shared_at(f, shared->view[0]) && try_shared_at(f, shared->view[1]));
}

static void end(struct fixture *f, const struct shared *shared)
{
    pgl_uffd_free(f->uffd);
    f->uffd = NULL;
    munmap(shared->view[0], NPAGES * PAGE);
    munmap(shared->view[1], NPAGES * PAGE);
    close(shared->memory);
}

static void test_uffd_shared_memory_shows_the_same_in_both_mappings(void **state)
{
    struct fixture *f = *state;

    for (int way = PLAIN; way < WAYS && set_way(f, way); way++) {
        struct shared shared = new_shared();

        start(f, &shared);
        for (uint64_t page = 0; page < NPAGES; page++) {
            unsigned char *first = shared.view[page / 3 % 2] + page * PAGE;
            unsigned char *other = shared.view[1 - page / 3 % 2] + page * PAGE;

            assert_true(page % 5 != 0 || is_page(first, page));
            first[page] = (unsigned char)(page + 1);
            assert_int_equal(other[page], (unsigned char)(page + 1));
            other[page + 1]++;
            assert_int_equal(first[page + 1], other[page + 1]);
            assert_memory_equal(first, other, PAGE);
        }
        end(f, &shared);
    }
}

/* Returns the errno of a region whose memory is a mapping of its first half, and another of its second. */
static int error_of(const struct fixture *f, int file, int protection, const int flags[2])
{
    const size_t half = NPAGES / 2 * PAGE;
    unsigned char *view;
    int error = 0;

    mappable = true;
    view = mmap(NULL, 2 * half, protection, flags[0], file, 0);
    assert_ptr_not_equal(view, MAP_FAILED);
    assert_ptr_equal(mmap(view + half, half, protection, flags[1] | MAP_FIXED, file, (off_t)half), view + half);
    mappable = false;
    errno = 0;
    if (!try_shared_at(f, view)) {
        error = errno;
    }
    munmap(view, 2 * half);
    return error;
}

/* A page that the file has would be hidden by a copy. */
static void test_uffd_shared_memory_is_mapped_shared(void **state)
{
    static const int flags[4][2] = {
        {MAP_SHARED, MAP_SHARED}, {MAP_PRIVATE, MAP_PRIVATE}, {MAP_SHARED, MAP_PRIVATE}, {MAP_PRIVATE, MAP_SHARED}};
    struct fixture *f = *state;
    int memory = memfd_create("shared", MFD_CLOEXEC);

    assert_int_equal(ftruncate(memory, NPAGES * PAGE), 0);
    assert_true(try_new(f));
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(error_of(f, memory, PROT_READ | PROT_WRITE, flags[i]), i == 0 ? 0 : EINVAL);
    }
    close(memory);
}

static void test_uffd_shared_memory_may_be_written(void **state)
{
    static const int flags[2] = {MAP_SHARED, MAP_SHARED};
    struct fixture *f = *state;
    int memory = memfd_create("shared", MFD_CLOEXEC);
    char path[32];
    int file;

    assert_int_equal(ftruncate(memory, NPAGES * PAGE), 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", memory);
    file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        close(memory);
        SKIP_BECAUSE("no /proc");
    }
    assert_true(try_new(f));
    assert_int_equal(error_of(f, file, PROT_READ, flags), EPERM);
    assert_non_null(strstr(pgl_uffd_explain(EPERM), "shared memory may not be written"));
    assert_int_equal(error_of(f, memory, PROT_READ, flags), 0);
    close(file);
    close(memory);
}

/* Also those that were touched through the mapping itself. */
static void test_uffd_shared_pages_that_are_there_are_found(void **state)
{
    struct fixture *f = *state;

    for (int way = PLAIN; way < WAYS && set_way(f, way); way++) {
        struct shared shared = new_shared();
        unsigned char byte;

        assert_int_equal(pwrite(shared.memory, "found", 5, 7 * PAGE), 5);
        memset(shared.view[0] + 20 * PAGE, 'x', 2 * PAGE);
        start(f, &shared);
        for (unsigned i = 0; i < 2; i++) {
            for (uint64_t page = 0; page < NPAGES; page++) {
                const unsigned char *bytes = shared.view[i] + page * PAGE;

                if (page == 7) {
                    assert_memory_equal(bytes, "found", 6);
                } else if (page == 20 || page == 21) {
                    assert_true(bytes[0] == 'x' && bytes[PAGE - 1] == 'x');
                } else {
                    assert_true(is_page(bytes, page));
                }
            }
        }
        assert_int_equal(stats_of(f).pages_fetched, NPAGES - 3);
        assert_int_equal(pread(shared.memory, &byte, 1, 40 * PAGE + 8), 1); /* not through a mapping */
        assert_int_equal(byte, shared.view[0][40 * PAGE + 8]);
        end(f, &shared);
    }
}

/* A page that is found is protected too, and each mapping has its own record. */
static void test_uffd_shared_writes_are_noticed_in_their_mapping(void **state)
{
    struct fixture *f = *state;

    for (int way = RECORDED; way < WAYS && set_way(f, way); way++) {
        struct shared shared = new_shared();

        memset(shared.view[1] + 8 * PAGE, 'x', PAGE);
        start(f, &shared);
        for (uint64_t page = 0; page < NPAGES; page++) { /* the second view finds what the first has brought */
            assert_true(shared.view[0][page * PAGE] == shared.view[1][page * PAGE]);
        }
        for (unsigned i = 0; i < 2; i++) {
            struct pgl_uffd_range rest = {shared.view[i], NPAGES * PAGE}, dirty[4];

            assert_int_equal(pgl_uffd_dirty_take(f->uffd, &rest, dirty, 4), 0);
        }
        shared.view[1][8 * PAGE] = shared.view[1][30 * PAGE] = 'w';
        for (unsigned i = 0; i < 2; i++) {
            struct pgl_uffd_range rest = {shared.view[i], NPAGES * PAGE}, dirty[4];

            assert_int_equal(pgl_uffd_dirty_take(f->uffd, &rest, dirty, 4), i == 0 ? 0 : 2);
            assert_true(i == 0 || (dirty[0].addr == shared.view[1] + 8 * PAGE && dirty[0].length == PAGE));
            assert_true(i == 0 || (dirty[1].addr == shared.view[1] + 30 * PAGE && dirty[1].length == PAGE));
        }
        assert_true(stats_of(f).present >= NPAGES);
        end(f, &shared);
    }
}

struct writer {
    struct shared *shared;
    unsigned number;
};

/* Add to a counter of each page, through one mapping and the other: each page's first touch is a race. */
static void *add_to_all(void *arg)
{
    struct writer *writer = arg;

    for (uint64_t i = 0; i < NPAGES; i++) {
        uint64_t page = writer->number % 2 == 0 ? i : NPAGES - 1 - i;
        unsigned char *view = writer->shared->view[(i + writer->number / 2) % 2];

        __atomic_fetch_add((uint64_t *)(void *)(view + page * PAGE), 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void test_uffd_shared_pages_come_once_for_threads_in_both_mappings(void **state)
{
    struct fixture *f = *state;

    f->config.threads = 3;
    for (int round = 0; round < 20 * WAYS && set_way(f, round % WAYS); round++) {
        struct shared shared = new_shared();
        struct writer writers[4];
        pthread_t threads[4];

        start(f, &shared);
        for (unsigned i = 0; i < 4; i++) {
            writers[i] = (struct writer){&shared, i};
            assert_int_equal(pthread_create(&threads[i], NULL, add_to_all, &writers[i]), 0);
        }
        for (unsigned i = 0; i < 4; i++) {
            pthread_join(threads[i], NULL);
        }
        for (uint64_t page = 0; page < NPAGES; page++) {
            assert_true(*(uint64_t *)(void *)(shared.view[0] + page * PAGE) == word_at(page * PAGE) + 4);
        }
        end(f, &shared);
    }
}

static void *touch_page_nine(void *view)
{
    return is_page((unsigned char *)view + 9 * PAGE, 9) ? NULL : view;
}

/* Both read it, and one finds it there: the driver has it then, and its mapping has not. */
static void test_uffd_shared_page_that_came_by_the_other_mapping_is_shown(void **state)
{
    struct fixture *f = *state;

    f->config.threads = 2;
    for (int way = PLAIN; way < WAYS && set_way(f, way); way++) {
        struct shared shared = new_shared();
        pthread_t threads[2];
        void *wrong;

        start(f, &shared);
        close_gate();
        for (unsigned i = 0; i < 2; i++) {
            assert_int_equal(pthread_create(&threads[i], NULL, touch_page_nine, shared.view[i]), 0);
        }
        wait_for_gate(2);
        open_gate();
        for (unsigned i = 0; i < 2; i++) {
            pthread_join(threads[i], &wrong);
            assert_null(wrong);
        }
        end(f, &shared);
    }
}

/* MADV_REMOVE takes pages out of the memory, MADV_DONTNEED out of a mapping only. */
static void test_uffd_shared_pages_that_are_removed_show_the_source_again(void **state)
{
    struct fixture *f = *state;

    for (int way = PLAIN; way < WAYS && set_way(f, way); way++) {
        struct shared shared = new_shared();

        start(f, &shared);
        memset(shared.view[0] + 3 * PAGE, 'w', 4 * PAGE);
        assert_int_equal(madvise(shared.view[0] + 3 * PAGE, 2 * PAGE, MADV_DONTNEED), 0);
        assert_int_equal(shared.view[0][3 * PAGE], 'w');
        assert_int_equal(shared.view[1][4 * PAGE], 'w');
        assert_int_equal(madvise(shared.view[1] + 4 * PAGE, 2 * PAGE, MADV_REMOVE), 0);
        assert_true(is_page(shared.view[0] + 4 * PAGE, 4) && is_page(shared.view[1] + 5 * PAGE, 5));
        assert_true(is_page(shared.view[1] + 4 * PAGE, 4) && is_page(shared.view[0] + 5 * PAGE, 5));
        assert_true(shared.view[1][3 * PAGE] == 'w' && shared.view[1][6 * PAGE] == 'w');
        end(f, &shared);
    }
}

static void assert_refused(struct fixture *f, void *memory, enum pgl_uffd_memory kind, int error)
{
    const struct pgl_uffd_region region = {.addr = memory, .length = 8 * PAGE, .source.fd = f->file, .memory = kind};

    errno = 0;
    assert_false(pgl_uffd_map_region(f->uffd, &region));
    assert_int_equal(errno, error);
}

static void test_uffd_shared_memory_is_what_it_is_said_to_be(void **state)
{
    struct fixture *f = *state;
    struct shared shared = new_shared();
    char name[] = P_tmpdir "/pagelock-XXXXXX";
    int file = mkstemp(name);
    unsigned char *of_file;

    unlink(name);
    fill(file, 0, 8);
    of_file = map_view(file);
    assert_true(try_new(f));
    assert_refused(f, f->memory, PGL_UFFD_SHARED, EINVAL);
    assert_refused(f, of_file, PGL_UFFD_SHARED, EINVAL);
    assert_refused(f, shared.view[0], PGL_UFFD_PRIVATE, EINVAL);
    assert_refused(f, shared.view[0], (enum pgl_uffd_memory)(PGL_UFFD_HUGE + 1), EINVAL);
    assert_true(mmap(shared.view[0] + 4 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
                MAP_FAILED);
    assert_refused(f, shared.view[0], PGL_UFFD_SHARED, EINVAL);
    munmap(shared.view[0] + 4 * PAGE, PAGE);
    assert_refused(f, shared.view[0], PGL_UFFD_SHARED, EFAULT);
    munmap(of_file, NPAGES * PAGE);
    close(file);
    end(f, &shared);
}

/* A region that is refused because another one is there leaves that one as it is. */
static void test_uffd_shared_region_outlives_another_that_is_refused(void **state)
{
    struct fixture *f = *state;

    for (int way = PLAIN; way < WAYS && set_way(f, way); way++) {
        struct shared shared = new_shared();

        start(f, &shared);
        assert_true(is_page(shared.view[0], 0));
        errno = 0;
        assert_false(try_shared_at(f, shared.view[0]));
        assert_int_equal(errno, EEXIST);
        for (uint64_t page = 0; page < NPAGES; page++) {
            assert_true(is_page(shared.view[0] + page * PAGE, page));
        }
        end(f, &shared);
    }
}

/* Each feature that is needed, where it is needed. */
static void test_uffd_shared_memory_is_refused_where_the_kernel_lacks_a_feature(void **state)
{
    static const struct {
        uint64_t feature;
        bool always; /* needed; otherwise to notice writes */
    } needs[] = {{UFFD_FEATURE_MINOR_SHMEM, true}, {UFFD_FEATURE_WP_HUGETLBFS_SHMEM, false}, {1 << 13, false}};
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof(needs) / sizeof(needs[0]); i++) {
        for (int way = PLAIN; way < WAYS && set_way(f, way); way++) {
            struct shared shared = new_shared();

            hidden_features = needs[i].feature;
            assert_true(try_new(f));
            if (way == PLAIN && !needs[i].always) {
                assert_true(try_shared_at(f, shared.view[0]));
            } else {
                assert_refused(f, shared.view[0], PGL_UFFD_SHARED, EOPNOTSUPP);
                assert_true(shared.view[0][8 * PAGE] == 0); /* it is not registered */
            }
            end(f, &shared);
        }
    }
}

/* A page that one mapping gives back would be the source again through the other. */
static void test_uffd_shared_memory_that_is_to_become_zeros_is_refused(void **state)
{
    struct fixture *f = *state;
    struct shared shared = new_shared();
    const struct pgl_uffd_region region = {
        .addr = shared.view[0],
        .length = NPAGES * PAGE,
        .source.fd = f->file,
        .memory = PGL_UFFD_SHARED,
        .removed = PGL_UFFD_ZEROS,
    };

    assert_true(try_new(f));
    assert_false(pgl_uffd_map_region(f->uffd, &region));
    assert_int_equal(errno, EOPNOTSUPP);
    assert_int_equal(shared.view[0][8 * PAGE], 0); /* it is not registered */
    end(f, &shared);
}

/* A thread that serves itself does not learn that its page is there already. */
static void test_uffd_shared_memory_with_self_service_is_not_protected(void **state)
{
    struct fixture *f = *state;
    struct shared shared = new_shared();

    f->config.handover = PGL_UFFD_SIGBUS;
    start(f, &shared);
    for (uint64_t page = 0; page < NPAGES; page++) {
        assert_true(is_page(shared.view[page % 2] + page * PAGE, page));
        assert_true(is_page(shared.view[1 - page % 2] + page * PAGE, page));
    }
    undo_new(f);
    f->config.track_dirty = true;
    if (try_new(f)) {
        assert_refused(f, shared.view[0], PGL_UFFD_SHARED, EOPNOTSUPP);
    }
    end(f, &shared);
}

/* A page that is there is shown all the same, or brought if it was removed meanwhile. */
static void test_uffd_shared_page_is_shown_whatever_the_kernel_answers(void **state)
{
    static const int errors[] = {EAGAIN, EEXIST, EFAULT, ENOENT, ENOMEM, ESRCH, EINVAL};
    struct fixture *f = *state;

    set_way(f, PROTECTED);
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        for (unsigned times = 1; times <= 3; times++) {
            struct shared shared = new_shared();

            memset(shared.view[0] + 8 * PAGE, 'x', PAGE);
            start(f, &shared);
            assert_true(is_page(shared.view[0] + 9 * PAGE, 9));
            fail_theirs(CALL_IOCTL, UFFDIO_CONTINUE, errors[i], times);
            assert_int_equal(shared.view[0][8 * PAGE + 5], 'x');
            assert_true(count_fired() >= 1);
            shared.view[0][8 * PAGE + 5] = 'w';
            assert_int_equal(shared.view[1][8 * PAGE + 5], 'w');
            end(f, &shared);
        }
    }
}

/* Each call that maps the region returns an error. */
static void test_uffd_shared_map_fails_with_the_errno_of_each_call(void **state)
{
    struct fixture *f = *state;
    struct shared shared = new_shared();
    unsigned at = 0, failures = 0, nfds;
    bool mapped;

    set_way(f, PROTECTED);
    assert_true(try_new(f));
    nfds = count_fds();
    do {
        mine = (struct failing_call){.at = ++at, .error = ENOMEM};
        is_mine = true;
        errno = 0;
        mapped = try_shared_at(f, shared.view[0]);
        is_mine = false;
        if (!mapped) {
            assert_int_equal(errno, mine.call == CALL_MSYNC ? EFAULT : ENOMEM);
            assert_fds(nfds);
            failures++;
        } else {
            assert_true(pgl_uffd_unmap(f->uffd, shared.view[0], NPAGES * PAGE));
        }
    } while (mine.call != CALL_NONE);
    assert_true(failures >= 7);
    end(f, &shared);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_shared_memory_shows_the_same_in_both_mappings),
        TEST(test_uffd_shared_memory_is_mapped_shared),
        TEST(test_uffd_shared_memory_may_be_written),
        TEST(test_uffd_shared_pages_that_are_there_are_found),
        TEST(test_uffd_shared_writes_are_noticed_in_their_mapping),
        TEST(test_uffd_shared_pages_come_once_for_threads_in_both_mappings),
        TEST(test_uffd_shared_page_that_came_by_the_other_mapping_is_shown),
        TEST(test_uffd_shared_pages_that_are_removed_show_the_source_again),
        TEST(test_uffd_shared_memory_is_what_it_is_said_to_be),
        TEST(test_uffd_shared_region_outlives_another_that_is_refused),
        TEST(test_uffd_shared_memory_is_refused_where_the_kernel_lacks_a_feature),
        TEST(test_uffd_shared_memory_that_is_to_become_zeros_is_refused),
        TEST(test_uffd_shared_memory_with_self_service_is_not_protected),
        TEST(test_uffd_shared_page_is_shown_whatever_the_kernel_answers),
        TEST(test_uffd_shared_map_fails_with_the_errno_of_each_call),
    };
#undef TEST

    return permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
