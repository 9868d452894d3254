/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pages that cannot be read become zeros or are read again, as failed() says, and delay no other page.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../cm.h"
#include "pager.h"
#include "waits.h"

static enum pgl_uffd_remedy on_failure(void *arg, const void *addr, int error)
{
    struct fixture *f = arg;
    unsigned failures = __atomic_add_fetch(&f->failures, 1, __ATOMIC_RELAXED);

    __atomic_store_n(&f->last_error, addr >= (const void *)f->memory ? error : 0, __ATOMIC_RELAXED);
    if (failures == 3) {
        fill(f->file, 300, NPAGES - 300); /* the file grows back */
    }
    return failures <= 3 ? PGL_UFFD_AGAIN : PGL_UFFD_ZERO;
}

static void test_uffd_file_that_shrank_gives_zeros_and_counts_them(void **state)
{
    struct fixture *f = *state;

    map_all(f, PGL_ADVICE_NORMAL);
    assert_int_equal(ftruncate(f->file, 299 * PAGE + 10), 0);
    assert_pages(f->memory, 299, 0);
    for (uint64_t page = 299; page < NPAGES; page++) {
        assert_true(is_zero(f->memory + page * PAGE));
    }
    assert_count(f, errors, NPAGES - 299);
}

static void test_uffd_sparse_file_that_shrank_is_no_hole(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ftruncate(f->file, 300 * PAGE), 0);
    assert_int_equal(ftruncate(f->file, NPAGES * PAGE), 0);
    map_all(f, PGL_ADVICE_NORMAL);
    assert_int_equal(ftruncate(f->file, 400 * PAGE), 0);
    assert_true(is_zero(f->memory + 350 * PAGE));
    assert_count(f, errors, 0);
    assert_true(is_zero(f->memory + 400 * PAGE));
    assert_count(f, errors, 1);
    for (uint64_t page = 380; page < 410; page++) {
        assert_true(is_zero(f->memory + page * PAGE));
    }
    assert_count(f, errors, 10);
}

static void test_uffd_failed_page_is_read_again_if_asked_to(void **state)
{
    struct fixture *f = *state;

    f->config.failed = on_failure;
    f->config.arg = f;
    map_all(f, PGL_ADVICE_RANDOM);
    assert_int_equal(ftruncate(f->file, 300 * PAGE), 0);
    assert_true(is_page(f->memory + 310 * PAGE, 310));
    assert_int_equal(__atomic_load_n(&f->failures, __ATOMIC_RELAXED), 3);
    assert_int_equal(__atomic_load_n(&f->last_error, __ATOMIC_RELAXED), ENODATA);
    assert_count(f, errors, 0);
}

/* By the time it is known what becomes of a bad page, another file is mapped there. */
static void map_another_while_a_page_is_bad(struct fixture *f)
{
    const int fixed = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    int other = memfd_create("other", MFD_CLOEXEC);
    pthread_t thread;
    uint64_t ns_total;

    fill(other, 100, NPAGES);
    f->config.threads = 2;
    f->config.failed = on_failure_wait;
    map_all(f, PGL_ADVICE_RANDOM);
    assert_int_equal(ftruncate(f->file, 0), 0);
    thread = touch_bad_page(f->memory + 3 * PAGE);
    assert_int_equal(munmap(f->memory, NPAGES * PAGE), 0);
    assert_ptr_equal(mmap(f->memory, NPAGES * PAGE, PROT_READ | PROT_WRITE, fixed, -1, 0), f->memory);
    assert_true(map_zeroing(f->uffd, f->memory, NPAGES * PAGE, other, 100 * PAGE, PGL_ADVICE_RANDOM));
    /* The thread sees the other file. Then its page is absent again, and no thread waits for it. */
    assert_true(is_page(f->memory + 3 * PAGE, 103));
    pthread_join(thread, NULL);
    assert_int_equal(madvise(f->memory + 3 * PAGE, PAGE, MADV_DONTNEED), 0);
    ns_total = stats_of(f).ns_total;
    let_answer(UINT_MAX);
    while (stats_of(f).ns_total == ns_total) { /* the first fault has not been answered yet */
        usleep(100);
    }
    assert_pages(f->memory, NPAGES, 100);
    assert_count(f, errors, 0);
    close(other);
}

static void test_uffd_zeros_of_a_bad_page_do_not_enter_another_file(void **state)
{
    map_another_while_a_page_is_bad(*state);
}

static void test_uffd_poison_of_a_bad_page_does_not_enter_another_file(void **state)
{
    SKIP_WITHOUT_POISON();
    answer_after_wait = PGL_UFFD_POISON;
    map_another_while_a_page_is_bad(*state);
    answer_after_wait = PGL_UFFD_ZERO;
}

static enum pgl_uffd_remedy on_failure_again(void *arg, const void *addr, int error)
{
    (void)arg;
    (void)addr;
    (void)error;
    __atomic_add_fetch(&asked, 1, __ATOMIC_RELEASE);
    return PGL_UFFD_AGAIN;
}

/* A page that is tried again for ever does not keep the only handler from others, nor the pager from ending. */
static void test_uffd_page_that_stays_bad_holds_nothing_else_up(void **state)
{
    enum { NTHREADS = 70 }; /* more than a handler reads at a time */
    struct fixture *f = *state;
    pthread_t threads[NTHREADS];

    f->config.failed = on_failure_again;
    map_all(f, PGL_ADVICE_RANDOM);
    assert_int_equal(ftruncate(f->file, 300 * PAGE), 0);
    __atomic_store_n(&asked, 0, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < NTHREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, touch_zero_page, f->memory + (300 + i) * PAGE), 0);
    }
    alarm(20); /* it would hang for ever */
    wait_until_asked(2 * NTHREADS);
    assert_pages(f->memory, 10, 0);
    pgl_uffd_free(f->uffd);
    f->uffd = NULL;
    for (unsigned i = 0; i < NTHREADS; i++) {
        void *wrong;

        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
    alarm(0);
}

/* While both handlers are detained two threads fault. The handler that is free first is detained by the one's page. */
static void test_uffd_fault_waits_for_no_other_while_a_handler_is_idle(void **state)
{
    struct fixture *f = *state;
    unsigned char *bad = f->memory + 300 * PAGE;
    pthread_t threads[3], toucher;

    f->config.threads = 2;
    f->config.failed = on_failure_wait;
    map_all(f, PGL_ADVICE_RANDOM);
    assert_int_equal(ftruncate(f->file, 300 * PAGE), 0);
    threads[0] = touch_bad_page(bad);
    assert_int_equal(pthread_create(&threads[1], NULL, touch_zero_page, bad + PAGE), 0);
    wait_until_asked(2);
    assert_int_equal(pthread_create(&threads[2], NULL, touch_zero_page, bad + 2 * PAGE), 0);
    uffd_wait_for_pending(1);
    assert_int_equal(pthread_create(&toucher, NULL, touch_zero_page, f->memory), 0);
    uffd_wait_for_pending(2);
    let_answer(1);
    wait_until_asked(3);
    let_answer(2);
    alarm(20);
    assert_int_equal(pthread_join(toucher, NULL), 0);
    alarm(0);
    let_answer(UINT_MAX);
    for (unsigned i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_file_that_shrank_gives_zeros_and_counts_them),
        TEST(test_uffd_sparse_file_that_shrank_is_no_hole),
        TEST(test_uffd_failed_page_is_read_again_if_asked_to),
        TEST(test_uffd_zeros_of_a_bad_page_do_not_enter_another_file),
        TEST(test_uffd_poison_of_a_bad_page_does_not_enter_another_file),
        TEST(test_uffd_page_that_stays_bad_holds_nothing_else_up),
        TEST(test_uffd_fault_waits_for_no_other_while_a_handler_is_idle),
    };
#undef TEST

    return pager_permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
