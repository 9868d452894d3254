/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pages that are brought before they are touched, while the system calls of that fail. */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#include "../cm.h"
#include "calls.h"

static bool try_prefetch(struct fixture *f)
{
    return pgl_uffd_prefetch(f->uffd, f->memory, NPAGES * PAGE);
}

/* The pages before and behind one that cannot be read come without a fault. Nothing asks failed() about it. */
static void test_uffd_prefetch_goes_on_behind_a_bad_page(void **state)
{
    struct fixture *f = *state;

    assert_true(try_new(f));
    assert_true(pgl_uffd_map(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
    __atomic_store_n(&bad_offset, 5 * PAGE, __ATOMIC_RELEASE);
    errno = 0;
    assert_false(try_prefetch(f));
    assert_int_equal(errno, EIO);
    assert_int_equal(stats_of(f).pages_fetched, NPAGES - 1);
    for (uint64_t page = 0; page < NPAGES; page++) {
        assert_true(page == 5 || shows_page(f, page));
    }
    assert_int_equal(stats_of(f).faults, 0);
    assert_int_equal(stats_of(f).errors, 0);
    __atomic_store_n(&bad_offset, -1, __ATOMIC_RELEASE);
    assert_true(try_prefetch(f));
    assert_true(shows_page(f, 5));
    assert_int_equal(stats_of(f).faults, 0);
}

/* Whatever fails, each page shows the file afterwards, and nothing became zeros. Returns the number of calls. */
static unsigned each_call_fails(struct fixture *f, int error)
{
    for (unsigned at = 1;; at++) {
        bool done;

        assert_true(pgl_uffd_map(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
        done = run_failing(f, try_prefetch, at, error);
        assert_true(done || errno != 0);
        for (uint64_t page = 0; page < NPAGES; page++) {
            assert_true(shows_page(f, page));
        }
        assert_int_equal(stats_of(f).errors, 0);
        assert_true(pgl_uffd_unmap(f->uffd, f->memory, NPAGES * PAGE));
        renew_memory(f);
        if (done && mine.call == CALL_NONE) {
            return at - 1; /* there are no more calls */
        }
    }
}

static void test_uffd_prefetch_survives_each_call_that_fails(void **state)
{
    static const int errors[] = {EIO, EINTR, EAGAIN, ENOMEM, EFAULT, ENOENT};
    struct fixture *f = *state;

    assert_true(try_new(f));
    for (int mapped = 0; mapped < 2; mapped++) {
        mappable = mapped != 0;
        for (unsigned i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
            assert_true(each_call_fails(f, errors[i]) >= 2);
        }
    }
}

/* The mapping cannot be copied: the pages are read, into the buffer of the call. */
static void test_uffd_prefetch_reads_what_cannot_be_copied(void **state)
{
    struct fixture *f = *state;

    mappable = true;
    assert_true(try_new(f));
    assert_true(pgl_uffd_map(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
    assert_true(run_failing(f, try_prefetch, 2, ENOMEM));
    for (uint64_t page = 0; page < NPAGES; page++) {
        assert_true(shows_page(f, page));
    }
    assert_int_equal(stats_of(f).faults, 0);
    assert_int_equal(stats_of(f).prefetches, 1);
    assert_int_equal(stats_of(f).pages_prefetched, NPAGES);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_prefetch_goes_on_behind_a_bad_page),
        TEST(test_uffd_prefetch_survives_each_call_that_fails),
        TEST(test_uffd_prefetch_reads_what_cannot_be_copied),
    };
#undef TEST

    return permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
