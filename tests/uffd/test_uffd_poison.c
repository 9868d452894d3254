/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The remedies of a region for pages that cannot be read, as far as the kernel has them, and when it refuses. */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../cm.h"
#include "calls.h"
#include "sigbus.h"
#include "waits.h"

static bool map_with(struct fixture *f, enum pgl_uffd_remedy on_error, enum pgl_uffd_removed removed)
{
    const struct pgl_uffd_region region = {
        .addr = f->memory,
        .length = NPAGES * PAGE,
        .source.fd = f->file,
        .advice = PGL_ADVICE_RANDOM,
        .removed = removed,
        .on_error = on_error,
    };

    return pgl_uffd_map_region(f->uffd, &region);
}

static void set_bad(off_t page)
{
    __atomic_store_n(&bad_offset, page * PAGE, __ATOMIC_RELEASE);
}

static void test_uffd_poison_outlives_each_error_of_its_call(void **state)
{
    static const int errors[] = {EAGAIN, EEXIST, ENOENT, ESRCH, ENOMEM};
    struct fixture *f = *state;

    SKIP_WITHOUT_POISON();
    sigbus_install();
    for (unsigned i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
        assert_true(try_new(f));
        assert_true(map_with(f, PGL_UFFD_POISON, PGL_UFFD_SOURCE_AGAIN));
        set_bad(8);
        fail_theirs(CALL_IOCTL, IOCTL_POISON, errors[i], 1 + i % 2);
        assert_true(sigbus_at(f->memory + 8 * PAGE, PAGE));
        assert_int_equal(count_fired(), 1 + i % 2);
        assert_true(shows_page(f, 7) && shows_page(f, 9));
        assert_errors(f, 1);
        assert_int_equal(stats_of(f).poisoned, 1);
        undo_new(f);
        renew_memory(f);
    }
}

static unsigned asked; /* atomic */
static enum pgl_uffd_remedy answer;

static enum pgl_uffd_remedy on_failure(void *arg, const void *addr, int error)
{
    (void)arg;
    (void)addr;
    (void)error;
    if (__atomic_add_fetch(&asked, 1, __ATOMIC_RELEASE) >= 3) {
        set_bad(-1);
    }
    return __atomic_load_n(&answer, __ATOMIC_RELAXED);
}

/* Without poison a page is tried again: by default, and if failed() wants poison. */
static void test_uffd_kernel_without_poison_tries_again(void **state)
{
    struct fixture *f = *state;

    no_poison = true;
    f->config.failed = on_failure;
    for (unsigned i = 0; i < 2; i++) {
        __atomic_store_n(&answer, i == 0 ? PGL_UFFD_DEFAULT : PGL_UFFD_POISON, __ATOMIC_RELAXED);
        __atomic_store_n(&asked, 0, __ATOMIC_RELEASE);
        assert_true(try_new(f));
        assert_true(map_with(f, i == 0 ? PGL_UFFD_DEFAULT : PGL_UFFD_ZERO, PGL_UFFD_SOURCE_AGAIN));
        set_bad(8);
        assert_true(shows_page(f, 8));
        assert_int_equal(__atomic_load_n(&asked, __ATOMIC_ACQUIRE), 3);
        assert_errors(f, 0);
        undo_new(f);
        renew_memory(f);
    }
}

static void test_uffd_kernel_without_poison_refuses_it(void **state)
{
    struct fixture *f = *state;

    no_poison = true;
    assert_true(try_new(f));
    errno = 0;
    assert_false(map_with(f, PGL_UFFD_POISON, PGL_UFFD_SOURCE_AGAIN));
    assert_int_equal(errno, EOPNOTSUPP);
    assert_true(map_with(f, PGL_UFFD_ZERO, PGL_UFFD_SOURCE_AGAIN));
    set_bad(8);
    assert_true(shows_zeros(f, 8));
}

/* The answer of failed() comes before that of the region, unless it leaves the answer to the region. */
static void test_uffd_remedy_is_the_callbacks_before_the_regions(void **state)
{
    struct fixture *f = *state;

    SKIP_WITHOUT_POISON();
    sigbus_install();
    f->config.failed = on_failure;
    assert_true(try_new(f));
    assert_true(map_with(f, PGL_UFFD_ZERO, PGL_UFFD_SOURCE_AGAIN));
    __atomic_store_n(&asked, 0, __ATOMIC_RELEASE);
    set_bad(8);
    __atomic_store_n(&answer, PGL_UFFD_POISON, __ATOMIC_RELAXED);
    assert_true(sigbus_at(f->memory + 8 * PAGE, PAGE));
    set_bad(9);
    __atomic_store_n(&answer, PGL_UFFD_DEFAULT, __ATOMIC_RELAXED);
    assert_true(shows_zeros(f, 9));
    assert_errors(f, 2);
    assert_int_equal(stats_of(f).poisoned, 1);
}

static void *touch_zeros(void *arg)
{
    return shows_zeros(arg, 3) ? NULL : arg;
}

static void *give_back(void *arg)
{
    struct fixture *f = arg;

    return madvise(f->memory + 3 * PAGE, PAGE, MADV_DONTNEED) == 0 ? NULL : arg;
}

static void *meet_poison(void *arg)
{
    const struct fixture *f = arg;

    return sigbus_at(f->memory + 8 * PAGE, PAGE) ? NULL : arg;
}

/* While the read goes on that is to fail, and between that and the next touch of the page. */
static void test_uffd_page_that_is_to_be_poison_holds_no_other_up(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;
    void *wrong;

    SKIP_WITHOUT_POISON();
    sigbus_install();
    f->config.threads = 2;
    assert_true(try_new(f));
    assert_true(map_with(f, PGL_UFFD_DEFAULT, PGL_UFFD_SOURCE_AGAIN));
    set_bad(8);
    __atomic_store_n(&slow_offset, 8 * PAGE, __ATOMIC_RELEASE);
    assert_int_equal(pthread_create(&thread, NULL, meet_poison, f), 0);
    while (__atomic_load_n(&slow_offset, __ATOMIC_ACQUIRE) != SLOW_NOW) {
        usleep(100);
    }
    assert_true(shows_page(f, 7) && shows_page(f, 9));
    assert_int_equal(stats_of(f).poisoned, 0);
    __atomic_store_n(&slow_offset, -1, __ATOMIC_RELEASE);
    assert_int_equal(pthread_join(thread, &wrong), 0);
    assert_null(wrong);
    assert_true(shows_page(f, 10));
    assert_int_equal(stats_of(f).poisoned, 1);
}

/* Of SIGBUS for poison. A kernel that is built without CONFIG_MEMORY_FAILURE tells it as any other. */
static int code_of_poison(void)
{
    return access("/proc/sys/vm/memory_failure_recovery", F_OK) == 0 ? BUS_MCEERR_AR : BUS_ADRERR;
}

/* As a page that the hardware has lost: with the byte's address, and with the size of what is lost. */
static void test_uffd_poison_is_reported_as_a_loss_of_the_page(void **state)
{
    struct fixture *f = *state;
    int code = code_of_poison();

    SKIP_WITHOUT_POISON();
    sigbus_install();
    assert_true(try_new(f));
    assert_true(map_with(f, PGL_UFFD_DEFAULT, PGL_UFFD_SOURCE_AGAIN));
    set_bad(8);
    for (unsigned touch = 0; touch < 2; touch++) {
        const unsigned char *byte = f->memory + 8 * PAGE + 100 * touch;

        assert_true(sigbus_at(byte, PAGE));
        assert_int_equal(sigbus_info.si_code, code);
        assert_ptr_equal(sigbus_info.si_addr, byte);
        if (code == BUS_MCEERR_AR) {
            assert_int_equal(UINT64_C(1) << sigbus_info.si_addr_lsb, PAGE);
        }
    }
}

/* S3: a handler has read the page's bytes when the page is given back. */
static void test_uffd_late_bytes_do_not_enter_a_page_given_back(void **state)
{
    struct fixture *f = *state;
    pthread_t toucher, giver;
    void *wrong;

    SKIP_WITHOUT_POISON();
    assert_true(try_new(f));
    assert_true(map_with(f, PGL_UFFD_POISON, PGL_UFFD_ZEROS));
    close_gate();
    assert_int_equal(pthread_create(&toucher, NULL, touch_zeros, f), 0);
    wait_for_gate(1);
    assert_int_equal(pthread_create(&giver, NULL, give_back, f), 0);
    uffd_wait_for_change();
    open_gate();
    assert_int_equal(pthread_join(toucher, &wrong), 0);
    assert_null(wrong);
    assert_int_equal(pthread_join(giver, &wrong), 0);
    assert_null(wrong);
    assert_true(shows_zeros(f, 3));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_poison_outlives_each_error_of_its_call),
        TEST(test_uffd_kernel_without_poison_tries_again),
        TEST(test_uffd_kernel_without_poison_refuses_it),
        TEST(test_uffd_remedy_is_the_callbacks_before_the_regions),
        TEST(test_uffd_page_that_is_to_be_poison_holds_no_other_up),
        TEST(test_uffd_poison_is_reported_as_a_loss_of_the_page),
        TEST(test_uffd_late_bytes_do_not_enter_a_page_given_back),
    };
#undef TEST

    return permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
