/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pgl_uffd_adopt() when the kernel refuses: each system call that it makes returns its errors. Either it fails with
 * that error and leaves everything as it was, or it does without. Then the same of the calls that handlers make for the
 * other process.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../cm.h"
#include "calls.h"
#include "sender.h"

#define EVENTS (UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_FORK)

static struct sender sender;
static uint64_t process;
static enum pgl_uffd_removed removed; /* the region's policy */

static int set_up_sender(void **state)
{
    int error = set_up(state);
    struct fixture *f = *state;

    sender_start(&sender, f->memory, NPAGES * PAGE, EVENTS);
    assert_true(try_new(f));
    return error;
}

static int tear_down_sender(void **state)
{
    fail_theirs(CALL_NONE, 0, 0, 0);
    __atomic_store_n(&no_nowait, false, __ATOMIC_RELAXED);
    removed = PGL_UFFD_SOURCE_AGAIN;
    sender_end(&sender);
    return tear_down(state);
}

static bool try_adopt(struct fixture *f)
{
    const struct pgl_uffd_region region = {
        .addr = f->memory,
        .length = NPAGES * PAGE,
        .source.fd = f->file,
        .advice = PGL_ADVICE_RANDOM,
        .removed = removed,
    };

    process = pgl_uffd_adopt(f->uffd, sender.fd, &region, 1);
    return process != 0;
}

/* The file is opened again, or its descriptor is duplicated; it is not mapped, or is. */
static bool is_spare(void)
{
    return mine.call == CALL_OPEN || mine.call == CALL_LSEEK || mine.call == CALL_MMAP || mine.call == CALL_IOCTL;
}

static void test_uffd_adopt_fails_with_the_errno_of_each_call(void **state)
{
    static const int errors[] = {ENOMEM, EMFILE, EPERM, EINVAL};
    struct fixture *f = *state;
    unsigned nfds = count_fds(), failures = 0;

    for (unsigned i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        unsigned at = 0;

        do {
            bool done = run_failing(f, try_adopt, ++at, errors[i]);

            assert_true(done || errno == errors[i]);
            failures += !done;
            if (done) {
                assert_true(mine.call == CALL_NONE || is_spare());
                assert_true(sender_do(&sender, ORDER_SHOWS_PAGE, at));
                assert_true(pgl_uffd_disown(f->uffd, process));
            }
            assert_fds(nfds);
        } while (mine.call != CALL_NONE);
    }
    assert_true(failures >= 4 * 6); /* three of fcntl(), ioctl(), epoll_ctl(), and those of the file */
}

/* A thread of the process changes memory: the kernel does not say whether a region can be filled. */
static void test_uffd_adopt_does_not_wait_for_a_change_of_memory(void **state)
{
    struct fixture *f = *state;

    for (unsigned at = 1;; at++) {
        bool done = run_failing(f, try_adopt, at, EAGAIN);

        if (done) {
            assert_int_equal(mine.call, CALL_IOCTL);
            assert_int_equal(mine.request, UFFDIO_COPY);
            break;
        }
        assert_int_equal(mine.call, CALL_FCNTL);
    }
    assert_true(sender_do(&sender, ORDER_SHOWS_PAGE, 3));
}

static void test_uffd_adopt_goes_on_when_the_kernel_refuses_a_copy_for_a_while(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_stats stats;

    assert_true(try_adopt(f));
    fail_theirs(CALL_IOCTL, UFFDIO_COPY, EAGAIN, 3);
    assert_true(sender_do(&sender, ORDER_SHOWS_PAGE, 3));
    assert_int_equal(count_fired(), 3);
    pgl_uffd_get_stats(f->uffd, &stats);
    assert_int_equal(stats.again, 1);
}

/* The process seems to have ended: its thread faults again, and gets its page. */
static void test_uffd_adopt_counts_as_gone_what_the_kernel_says_is_gone(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_stats stats;

    assert_true(try_adopt(f));
    fail_theirs(CALL_IOCTL, UFFDIO_COPY, ESRCH, 1);
    assert_true(sender_do(&sender, ORDER_SHOWS_PAGE, 3));
    pgl_uffd_get_stats(f->uffd, &stats);
    assert_int_equal(stats.gone, 1);
}

/* A child whose descriptor cannot be made to not block is not served, and holds no handler up. */
static void test_uffd_adopt_counts_a_child_that_cannot_be_served(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_stats stats;

    for (unsigned at = 1; at <= 2; at++) {
        struct sender other;
        unsigned nfds;

        assert_true(try_adopt(f));
        nfds = count_fds();
        fail_theirs(at == 1 ? CALL_FCNTL : CALL_EPOLL_CTL, at == 1 ? F_SETFL : 0, ENOMEM, 1);
        sender_do(&sender, ORDER_FORK, 3);
        assert_int_equal(count_fired(), 1);
        assert_fds(nfds);
        pgl_uffd_get_stats(f->uffd, &stats);
        assert_int_equal(stats.errors, at);
        assert_true(pgl_uffd_disown(f->uffd, process));
        other = sender;
        sender_start(&sender, f->memory, NPAGES * PAGE, EVENTS);
        sender_end(&other);
    }
}

/* It shares its flags with the process, which may let it block again. */
static void test_uffd_adopt_waits_for_no_message_where_each_read_may_block(void **state)
{
    struct fixture *f = *state;
    int flags;

    __atomic_store_n(&no_nowait, true, __ATOMIC_RELAXED);
    assert_true(try_adopt(f));
    flags = fcntl(sender.fd, F_GETFL);
    assert_int_equal(fcntl(sender.fd, F_SETFL, flags & ~O_NONBLOCK), 0);
    assert_true(sender_do(&sender, ORDER_SHOWS_PAGE, 1));
    while ((fcntl(sender.fd, F_GETFL) & O_NONBLOCK) == 0) {
        usleep(100);
    }
    assert_true(sender_do(&sender, ORDER_SHOWS_PAGE, 2));
    assert_true(pgl_uffd_disown(f->uffd, process));
}

/* The page comes all the same. */
static void test_uffd_adopt_outlives_each_error_of_each_call(void **state)
{
    static const struct {
        enum call call;
        unsigned long request;
    } calls[] = {{CALL_READ, 0}, {CALL_EPOLL_WAIT, 0}, {CALL_IOCTL, UFFDIO_COPY}, {CALL_IOCTL, UFFDIO_ZEROPAGE}};
    static const int errors[] = {ESRCH, EAGAIN, ENOENT, EINTR, 0}; /* 0: it does less */
    struct fixture *f = *state;

    removed = PGL_UFFD_ZEROS;
    assert_true(try_adopt(f));
    for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        bool zeros = calls[i].request == UFFDIO_ZEROPAGE;

        for (unsigned j = 0; j < sizeof(errors) / sizeof(errors[0]); j++) {
            uint64_t page = 10 * i + j;

            assert_true(!zeros || sender_do(&sender, ORDER_GIVE_BACK, page));
            is_mine = true; /* and is not meant */
            fail_theirs(calls[i].call, calls[i].request, errors[j], 1);
            assert_true(sender_do(&sender, zeros ? ORDER_SHOWS_ZEROS : ORDER_SHOWS_PAGE, page));
            is_mine = false;
            assert_true(count_fired() == 1 || calls[i].call == CALL_EPOLL_WAIT); /* which began before */
        }
    }
    assert_errors(f, 0);
}

/* Calls until the process is killed. Atomic. */
static int lives;

static void kill_at_last(unsigned long request)
{
    siginfo_t info;

    (void)request;
    if (!is_mine && __atomic_sub_fetch(&lives, 1, __ATOMIC_RELAXED) == 0) {
        kill(sender.pid, SIGKILL);
        waitid(P_PID, (id_t)sender.pid, &info, WEXITED | WNOWAIT); /* its memory has gone */
    }
}

/* A handler reads an event, brings a page and makes zeros, and the process dies before any call that it makes for them. */
static void test_uffd_adopt_outlives_a_death_before_each_call(void **state)
{
    struct fixture *f = *state;
    unsigned nfds = count_fds();
    int at = 0;

    removed = PGL_UFFD_ZEROS;
    do {
        struct sender other = sender;

        assert_true(try_adopt(f));
        __atomic_store_n(&lives, ++at, __ATOMIC_RELAXED);
        __atomic_store_n(&before_ioctl, kill_at_last, __ATOMIC_RELAXED);
        assert_int_not_equal(sender_try(&sender, ORDER_GIVE_BACK, 3), 0);
        assert_int_not_equal(sender_try(&sender, ORDER_SHOWS_PAGE, 4), 0);
        assert_int_not_equal(sender_try(&sender, ORDER_SHOWS_ZEROS, 3), 0);
        is_mine = true;
        assert_true(pgl_uffd_disown(f->uffd, process));
        is_mine = false;
        __atomic_store_n(&before_ioctl, NULL, __ATOMIC_RELAXED);
        assert_fds(nfds);
        sender_start(&sender, f->memory, NPAGES * PAGE, EVENTS);
        sender_end(&other);
    } while (__atomic_load_n(&lives, __ATOMIC_RELAXED) <= 0);
    assert_true(at > 4);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_sender, tear_down_sender)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_adopt_fails_with_the_errno_of_each_call),
        TEST(test_uffd_adopt_does_not_wait_for_a_change_of_memory),
        TEST(test_uffd_adopt_goes_on_when_the_kernel_refuses_a_copy_for_a_while),
        TEST(test_uffd_adopt_counts_as_gone_what_the_kernel_says_is_gone),
        TEST(test_uffd_adopt_counts_a_child_that_cannot_be_served),
        TEST(test_uffd_adopt_waits_for_no_message_where_each_read_may_block),
        TEST(test_uffd_adopt_outlives_each_error_of_each_call),
        TEST(test_uffd_adopt_outlives_a_death_before_each_call),
    };
#undef TEST

    return permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
