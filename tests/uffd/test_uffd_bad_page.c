/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pages that cannot be read, when threads wait for them and for their neighbours. Linked with --wrap for usleep(), too.
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../cm.h"
#include "calls.h"
#include "sigbus.h"

static unsigned sleeps; /* usleep() on other threads than the first. Atomic. */

/* A cluster that fails because of a neighbour says nothing about the page that the program waits for. */
static void test_uffd_bad_page_spoils_no_neighbour(void **state)
{
    struct fixture *f = *state;

    assert_true(try_new(f));
    assert_true(map_zeroing(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_NORMAL));
    __atomic_store_n(&bad_offset, 8 * PAGE, __ATOMIC_RELEASE);
    for (uint64_t i = 0; i < NPAGES; i++) {
        uint64_t page = (i + 9) % NPAGES;

        assert_true(page == 8 ? shows_zeros(f, page) : shows_page(f, page));
    }
    assert_errors(f, 1);
}

static enum pgl_uffd_remedy remedy;
static unsigned failures; /* atomic */

static enum pgl_uffd_remedy on_failure(void *arg, const void *addr, int error)
{
    (void)arg;
    (void)addr;
    (void)error;
    __atomic_add_fetch(&failures, 1, __ATOMIC_RELAXED);
    return remedy;
}

static void test_uffd_remedy_that_does_not_exist_is_the_regions(void **state)
{
    struct fixture *f = *state;

    f->config.failed = on_failure;
    remedy = (enum pgl_uffd_remedy)9;
    assert_true(try_new(f));
    assert_true(try_map(f));
    __atomic_store_n(&bad_offset, 8 * PAGE, __ATOMIC_RELEASE);
    assert_true(shows_zeros(f, 8));
    assert_errors(f, 1);
}

/* While a page is read, its memory is mapped anew. Then the page cannot be read, in neither mapping. */
static void test_uffd_bad_page_of_a_mapping_that_is_gone_needs_no_remedy(void **state)
{
    struct fixture *f = *state;
    unsigned before;
    pthread_t thread;
    void *wrong;

    f->config.failed = on_failure;
    remedy = PGL_UFFD_ZERO;
    __atomic_store_n(&failures, 0, __ATOMIC_RELAXED);
    assert_true(try_new(f));
    assert_true(try_map(f));
    close_gate();
    assert_int_equal(pthread_create(&thread, NULL, touch_zero_page, f->memory + 8 * PAGE), 0);
    wait_for_gate(1);
    assert_true(try_unmap(f));
    pthread_join(thread, &wrong);
    assert_null(wrong); /* of memory without a pager */
    assert_int_equal(madvise(f->memory, NPAGES * PAGE, MADV_DONTNEED), 0);
    assert_true(try_map(f));
    before = __atomic_load_n(&wakes, __ATOMIC_ACQUIRE);
    __atomic_store_n(&bad_offset, 8 * PAGE, __ATOMIC_RELEASE);
    open_gate();
    while (__atomic_load_n(&wakes, __ATOMIC_ACQUIRE) == before) { /* the fault has not been answered yet */
        usleep(100);
    }
    assert_int_equal(__atomic_load_n(&failures, __ATOMIC_RELAXED), 0);
}

static const struct fixture *looking; /* atomic, as what it finds */
static uint64_t counted_at_wake;

static void look_at_first_wake(unsigned long request)
{
    const struct fixture *f = request == UFFDIO_WAKE ? __atomic_exchange_n(&looking, NULL, __ATOMIC_ACQ_REL) : NULL;

    if (f) {
        __atomic_store_n(&counted_at_wake, stats_of(f).errors, __ATOMIC_RELEASE);
    }
}

/* A thread that goes on with zeros, or with SIGBUS, finds its page counted. */
static void test_uffd_page_in_error_is_counted_before_its_thread_goes_on(void **state)
{
    struct fixture *f = *state;

    SKIP_WITHOUT_POISON();
    sigbus_install();
    f->config.failed = on_failure;
    for (unsigned i = 0; i < 2; i++) {
        remedy = i == 0 ? PGL_UFFD_ZERO : PGL_UFFD_POISON;
        assert_true(try_new(f));
        assert_true(try_map(f));
        __atomic_store_n(&bad_offset, 8 * PAGE, __ATOMIC_RELEASE);
        __atomic_store_n(&looking, f, __ATOMIC_RELEASE);
        __atomic_store_n(&before_ioctl, look_at_first_wake, __ATOMIC_RELEASE);
        assert_true(remedy == PGL_UFFD_ZERO ? shows_zeros(f, 8) : sigbus_at(f->memory + 8 * PAGE, PAGE));
        undo_new(f); /* joins the handlers */
        __atomic_store_n(&before_ioctl, NULL, __ATOMIC_RELEASE);
        assert_int_equal(__atomic_exchange_n(&counted_at_wake, 0, __ATOMIC_ACQUIRE), 1);
        renew_memory(f);
    }
}

/* Pages that are resident here but not in memory are looked for again, and then it is a first try that fails. */
static void test_uffd_page_looked_for_again_is_read_again_if_it_fails(void **state)
{
    struct fixture *f = *state;

    assert_true(try_new(f));
    assert_true(try_map(f));
    fail_theirs(CALL_IOCTL, UFFDIO_COPY, LIE, 1);
    assert_true(shows_page(f, 0));
    assert_int_equal(count_fired(), 1);
    fail_theirs(CALL_PREAD, 0, EIO, 1);
    assert_true(shows_page(f, 1));
    assert_int_equal(count_fired(), 1);
    assert_errors(f, 0);
}

int __real_usleep(useconds_t us);
int __wrap_usleep(useconds_t us);
int __wrap_usleep(useconds_t us)
{
    __atomic_fetch_add(&sleeps, gettid() != getpid(), __ATOMIC_RELEASE);
    return __real_usleep(us);
}

static unsigned asked; /* atomic, as the other is */
static bool enough;

static enum pgl_uffd_remedy on_failure_again(void *arg, const void *addr, int error)
{
    (void)arg;
    (void)addr;
    (void)error;
    __atomic_fetch_add(&asked, 1, __ATOMIC_RELEASE);
    return __atomic_load_n(&enough, __ATOMIC_ACQUIRE) ? PGL_UFFD_ZERO : PGL_UFFD_AGAIN;
}

/* Sixteen threads wait for a page that is tried again and again: once each time, and no handler sleeps over it. */
static void test_uffd_bad_page_is_tried_once_in_a_while_and_delays_no_handler(void **state)
{
    enum { NTHREADS = 16, NTRIES = 5 };
    struct fixture *f = *state;
    pthread_t threads[NTHREADS];
    unsigned tries;

    f->config.failed = on_failure_again;
    assert_true(try_new(f));
    assert_true(map_zeroing(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
    __atomic_store_n(&asked, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&enough, false, __ATOMIC_RELEASE);
    __atomic_store_n(&bad_offset, 5 * PAGE, __ATOMIC_RELEASE);
    __atomic_store_n(&timers, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&sleeps, 0, __ATOMIC_RELEASE);
    alarm(20);
    for (unsigned i = 0; i < NTHREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, touch_zero_page, f->memory + 5 * PAGE), 0);
    }
    while ((tries = __atomic_load_n(&asked, __ATOMIC_ACQUIRE)) < NTRIES) {
        usleep(100);
    }
    assert_true(tries <= __atomic_load_n(&timers, __ATOMIC_ACQUIRE) + 1);
    for (uint64_t page = 0; page < NPAGES; page++) {
        assert_true(page == 5 || shows_page(f, page));
    }
    assert_int_equal(__atomic_load_n(&sleeps, __ATOMIC_ACQUIRE), 0);
    __atomic_store_n(&enough, true, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < NTHREADS; i++) {
        void *wrong;

        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
    alarm(0);
    assert_errors(f, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_bad_page_spoils_no_neighbour),
        TEST(test_uffd_remedy_that_does_not_exist_is_the_regions),
        TEST(test_uffd_bad_page_of_a_mapping_that_is_gone_needs_no_remedy),
        TEST(test_uffd_page_in_error_is_counted_before_its_thread_goes_on),
        TEST(test_uffd_page_looked_for_again_is_read_again_if_it_fails),
        TEST(test_uffd_bad_page_is_tried_once_in_a_while_and_delays_no_handler),
    };
#undef TEST

    return permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
