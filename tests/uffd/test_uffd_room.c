/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pages for which the kernel has no memory: in tmpfs that is full, huge pages, or because it says so. Each is an error
 * of the page, and nobody tries for ever.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>

#include "../cm.h"
#include "calls.h"
#include "sigbus.h"

#define EVER 1000000 /* failures that are more than any test has tries */
#define HUGE ((size_t)2 << 20)
#define ROOM 16 /* pages of the small tmpfs */

static unsigned told;             /* calls of failed(). Atomic, as the next one. */
static int told_error;            /* the last one's */
static enum pgl_uffd_remedy then; /* its answer */

static enum pgl_uffd_remedy on_failure(void *arg, const void *addr, int error)
{
    (void)arg;
    (void)addr;
    __atomic_store_n(&told_error, error, __ATOMIC_RELAXED);
    __atomic_fetch_add(&told, 1, __ATOMIC_RELEASE);
    return then;
}

/* Make a pager whose errors are told, and map the memory. */
static void start(struct fixture *f, enum pgl_uffd_remedy remedy)
{
    then = remedy;
    told = 0;
    told_error = 0;
    f->config.failed = on_failure;
    assert_true(try_new(f));
    assert_true(try_map(f));
}

static void assert_told(unsigned n)
{
    assert_int_equal(__atomic_load_n(&told, __ATOMIC_ACQUIRE), n);
    assert_int_equal(__atomic_load_n(&told_error, __ATOMIC_RELAXED), n > 0 ? ENOMEM : 0);
}

static void wait_until_told(unsigned n)
{
    while (__atomic_load_n(&told, __ATOMIC_ACQUIRE) < n) {
        sched_yield();
    }
}

static void test_uffd_page_without_memory_is_an_error(void **state)
{
    struct fixture *f = *state;

    start(f, PGL_UFFD_ZERO);
    fail_theirs(CALL_IOCTL, UFFDIO_COPY, ENOMEM, EVER);
    assert_true(shows_zeros(f, 5));
    assert_told(1);
    assert_errors(f, 1);
    fail_theirs(CALL_NONE, 0, 0, 0);
    assert_true(shows_page(f, 6));
}

/* A shortage that ends is none. */
static void test_uffd_page_that_gets_its_memory_late_is_no_error(void **state)
{
    struct fixture *f = *state;

    start(f, PGL_UFFD_ZERO);
    fail_theirs(CALL_IOCTL, UFFDIO_COPY, ENOMEM, 16);
    assert_true(shows_page(f, 5));
    assert_int_equal(count_fired(), 16);
    assert_told(0);
    assert_errors(f, 0);
}

static void *touch_page_7(void *arg)
{
    const struct fixture *f = arg;

    return shows_page(f, 7) ? NULL : arg;
}

/* Zeros need memory, too: until there is some the thread sleeps, and others are served. */
static void test_uffd_page_without_memory_for_zeros_is_tried_again(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;
    void *wrong;

    f->config.write_protect = true; /* zeros are copied */
    start(f, PGL_UFFD_ZERO);
    assert_true(shows_page(f, 8));
    __atomic_store_n(&timers, 0, __ATOMIC_RELAXED);
    fail_theirs(CALL_IOCTL, UFFDIO_COPY, ENOMEM, EVER);
    assert_int_equal(pthread_create(&thread, NULL, touch_page_7, f), 0);
    wait_until_told(3);
    assert_true(__atomic_load_n(&timers, __ATOMIC_RELAXED) >= 2);
    f->memory[8 * PAGE] = 'w';
    fail_theirs(CALL_NONE, 0, 0, 0);
    assert_int_equal(pthread_join(thread, &wrong), 0);
    assert_null(wrong);
    assert_errors(f, 0);
}

/* For what the pager itself needs it waits, and neither gives up nor runs without a pause. */
static void test_uffd_page_without_memory_to_read_it_is_tried_again(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;
    void *wrong;

    start(f, PGL_UFFD_ZERO);
    __atomic_store_n(&timers, 0, __ATOMIC_RELAXED);
    fail_theirs(CALL_PREAD, 0, ENOMEM, EVER);
    assert_int_equal(pthread_create(&thread, NULL, touch_page_7, f), 0);
    while (__atomic_load_n(&timers, __ATOMIC_RELAXED) < 3) {
        sched_yield();
    }
    fail_theirs(CALL_NONE, 0, 0, 0);
    assert_int_equal(pthread_join(thread, &wrong), 0);
    assert_null(wrong);
    assert_told(0);
    assert_errors(f, 0);
}

/* Answers each request at once, with bytes of a file. */
static struct {
    unsigned requests; /* atomic */
    unsigned char bytes[NPAGES * PAGE];
} source;

static void on_request(void *arg, struct pgl_uffd_request *request, const struct pgl_uffd_wanted *wanted)
{
    (void)arg;
    __atomic_fetch_add(&source.requests, 1, __ATOMIC_RELAXED);
    pgl_uffd_request_supply(request, wanted->offset, source.bytes + wanted->offset, wanted->length);
    pgl_uffd_request_end(request);
}

/* Its source is asked with the neighbours and once alone, and not for ever. */
static void test_uffd_supplied_page_without_memory_is_an_error(void **state)
{
    struct fixture *f = *state;
    const struct pgl_uffd_region region = {
        .addr = f->memory,
        .length = NPAGES * PAGE,
        .source = {.kind = PGL_UFFD_CALLBACK, .size = NPAGES * PAGE, .request = on_request},
        .advice = PGL_ADVICE_NORMAL,
    };

    assert_int_equal(pread(f->file, source.bytes, sizeof(source.bytes), 0), sizeof(source.bytes));
    f->config.failed = on_failure;
    told = 0;
    then = PGL_UFFD_ZERO;
    assert_true(try_new(f));
    assert_true(pgl_uffd_map_region(f->uffd, &region));
    fail_theirs(CALL_IOCTL, UFFDIO_COPY, ENOMEM, EVER);
    assert_true(shows_zeros(f, 5));
    assert_int_equal(__atomic_load_n(&source.requests, __ATOMIC_RELAXED), 2);
    assert_told(1);
    assert_errors(f, 1);
    fail_theirs(CALL_NONE, 0, 0, 0);
    assert_true(shows_page(f, 6));
}

/* The first request waits until the test answers it. */
static struct {
    struct pgl_uffd_request *request; /* atomic */
    struct pgl_uffd_wanted wanted;
    bool is_wanted; /* after the answer */
} first;

static void on_first_request(void *arg, struct pgl_uffd_request *request, const struct pgl_uffd_wanted *wanted)
{
    if (__atomic_load_n(&first.request, __ATOMIC_ACQUIRE)) {
        on_request(arg, request, wanted);
        return;
    }
    first.wanted = *wanted;
    __atomic_store_n(&first.request, request, __ATOMIC_RELEASE);
}

static void *answer_first_request(void *arg)
{
    uint64_t offset = first.wanted.offset;

    pgl_uffd_request_supply(first.request, offset, source.bytes + offset, first.wanted.length);
    first.is_wanted = pgl_uffd_request_is_wanted(first.request);
    pgl_uffd_request_end(first.request);
    return arg;
}

/* Pages without memory are answered although another one of the same answer was unmapped meanwhile. */
static void test_uffd_supplied_page_without_memory_is_an_error_beside_an_unmapped_one(void **state)
{
    struct fixture *f = *state;
    const struct pgl_uffd_region region = {
        .addr = f->memory,
        .length = NPAGES * PAGE,
        .source = {.kind = PGL_UFFD_CALLBACK, .size = NPAGES * PAGE, .request = on_first_request},
        .advice = PGL_ADVICE_NORMAL,
    };
    pthread_t toucher, answerer;
    void *wrong;

    first.request = NULL;
    f->config.failed = on_failure;
    told = 0;
    then = PGL_UFFD_ZERO;
    assert_true(try_new(f));
    assert_true(pgl_uffd_map_region(f->uffd, &region));
    assert_int_equal(pthread_create(&toucher, NULL, touch_zero_page, f->memory + 5 * PAGE), 0);
    while (!__atomic_load_n(&first.request, __ATOMIC_ACQUIRE)) {
        sched_yield();
    }
    assert_true(first.wanted.offset < 5 * PAGE);
    assert_int_equal(munmap(f->memory + first.wanted.offset, PAGE), 0);
    fail_theirs(CALL_IOCTL, UFFDIO_COPY, ENOMEM, EVER);
    assert_int_equal(pthread_create(&answerer, NULL, answer_first_request, NULL), 0);
    pthread_join(answerer, NULL);
    assert_int_equal(pthread_join(toucher, &wrong), 0);
    assert_null(wrong);
    assert_false(first.is_wanted);
    assert_told(1);
    assert_errors(f, 1);
}

/* Returns a file in a tmpfs of ROOM pages, which has gone from the tree already, or -1. */
static int open_small_file(void)
{
    char path[] = "/tmp/pgl-room-XXXXXX";
    int fd = -1;

    if (mkdtemp(path) && mount("room", path, "tmpfs", 0, "size=64k") == 0) {
        fd = open(path, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
        umount2(path, MNT_DETACH);
    }
    rmdir(path);
    return fd;
}

static void refuse_reads(unsigned long request)
{
    if (request == UFFDIO_COPY) {
        fail_theirs(CALL_PREAD, 0, ENOMEM, EVER);
    }
}

/* The last try counts: it is the pager that has no memory then. */
static void test_uffd_page_of_a_full_tmpfs_without_memory_to_read_it_is_tried_again(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_region region = {
        .length = NPAGES * PAGE, .memory = PGL_UFFD_SHARED, .source.fd = f->file, .advice = PGL_ADVICE_RANDOM};
    int small = open_small_file();
    unsigned char *own = f->memory;
    pthread_t thread;
    void *wrong;

    if (small < 0 || ftruncate(small, NPAGES * PAGE) != 0) {
        SKIP_BECAUSE("a tmpfs of its own needs the permission to mount it");
    }
    f->config.failed = on_failure;
    told = 0;
    told_error = 0;
    then = PGL_UFFD_AGAIN;
    mappable = true;
    f->memory = region.addr = mmap(NULL, NPAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, small, 0);
    mappable = false;
    assert_ptr_not_equal(region.addr, MAP_FAILED);
    assert_true(try_new(f));
    assert_true(pgl_uffd_map_region(f->uffd, &region));
    for (uint64_t page = NPAGES - ROOM; page < NPAGES; page++) {
        assert_true(shows_page(f, page));
    }
    __atomic_store_n(&timers, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&before_ioctl, refuse_reads, __ATOMIC_RELAXED);
    assert_int_equal(pthread_create(&thread, NULL, touch_page_7, f), 0);
    while (__atomic_load_n(&timers, __ATOMIC_RELAXED) < 3) {
        sched_yield();
    }
    assert_told(0);
    __atomic_store_n(&before_ioctl, NULL, __ATOMIC_RELAXED);
    assert_int_equal(madvise(f->memory + (NPAGES - 1) * PAGE, PAGE, MADV_REMOVE), 0);
    fail_theirs(CALL_NONE, 0, 0, 0);
    assert_int_equal(pthread_join(thread, &wrong), 0);
    assert_null(wrong);
    undo_new(f);
    munmap(region.addr, NPAGES * PAGE);
    close(small);
    f->memory = own;
}

static void test_uffd_page_of_a_full_tmpfs_is_poison(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_region region = {.length = NPAGES * PAGE, .memory = PGL_UFFD_SHARED, .source.fd = f->file};
    int small;

    SKIP_WITHOUT_POISON();
    small = open_small_file();
    if (small < 0 || ftruncate(small, NPAGES * PAGE) != 0) {
        SKIP_BECAUSE("a tmpfs of its own needs the permission to mount it");
    }
    mappable = true;
    region.addr = mmap(NULL, NPAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, small, 0);
    mappable = false;
    assert_ptr_not_equal(region.addr, MAP_FAILED);
    sigbus_install();
    assert_true(try_new(f));
    assert_true(pgl_uffd_map_region(f->uffd, &region));
    for (unsigned page = 0; page < NPAGES; page++) {
        const unsigned char *byte = (unsigned char *)region.addr + page * PAGE;

        assert_int_equal(sigbus_at(byte, PAGE), page >= ROOM);
        assert_true(page >= ROOM || is_page(byte, page));
    }
    assert_int_equal(stats_of(f).poisoned, NPAGES - ROOM);
    undo_new(f);
    munmap(region.addr, NPAGES * PAGE);
    close(small);
}

/* The kernel says of a huge page that it does not have that it is there already. */
static void test_uffd_huge_page_that_the_kernel_does_not_have_is_poison(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_region region = {.memory = PGL_UFFD_HUGE, .source.fd = f->file};
    size_t length, at = 0;

    SKIP_WITHOUT_POISON();
    lock_huge_pages();
    length = (count_free_huge_pages() + 1) * HUGE;
    region.length = length;
    mappable = true;
    region.addr =
        mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE, -1, 0);
    mappable = false;
    if (region.addr == MAP_FAILED || length == HUGE) {
        unlock_huge_pages();
        SKIP_BECAUSE("no huge pages of 2 MiB: vm.nr_hugepages is to be 2");
    }
    sigbus_install();
    assert_int_equal(ftruncate(f->file, (off_t)length), 0);
    assert_true(try_new(f));
    assert_true(pgl_uffd_map_region(f->uffd, &region));
    while (at < length && !sigbus_at((unsigned char *)region.addr + at, HUGE)) {
        at += HUGE;
    }
    assert_true(at > 0 && at < length && is_page(region.addr, 0));
    assert_int_equal(stats_of(f).poisoned, 1);
    undo_new(f);
    munmap(region.addr, length);
    unlock_huge_pages();
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_page_without_memory_is_an_error),
        TEST(test_uffd_page_that_gets_its_memory_late_is_no_error),
        TEST(test_uffd_page_without_memory_for_zeros_is_tried_again),
        TEST(test_uffd_page_without_memory_to_read_it_is_tried_again),
        TEST(test_uffd_supplied_page_without_memory_is_an_error),
        TEST(test_uffd_supplied_page_without_memory_is_an_error_beside_an_unmapped_one),
        TEST(test_uffd_page_of_a_full_tmpfs_without_memory_to_read_it_is_tried_again),
        TEST(test_uffd_page_of_a_full_tmpfs_is_poison),
        TEST(test_uffd_huge_page_that_the_kernel_does_not_have_is_poison),
    };
#undef TEST

    return permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
