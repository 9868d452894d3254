/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ways to a userfaultfd, and what a user without privilege has of each.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../cm.h"
#include "calls.h"

/* A copy by the kernel of a word in each page. Returns 0, or the errno of the first that failed. */
static int copy_words(const struct fixture *f)
{
    int pipes[2], error = 0;
    uint64_t word;

    if (pipe(pipes) != 0) {
        return errno;
    }
    for (uint64_t page = 0; page < NPAGES && error == 0; page++) {
        if (write(pipes[1], f->memory + page * PAGE, 8) != 8) {
            error = errno;
        } else if (__real_read(pipes[0], &word, 8) != 8 || word != word_at(page * PAGE)) {
            error = EIO;
        }
    }
    close(pipes[0]);
    close(pipes[1]);
    return error;
}

enum { NOT_NOBODY = 100, NO_PAGER, NO_REGION, WRONG_PAGES };

/* As a user without any privilege, in a child: tries to page the file in, for the kernel first, or for itself. */
static int page_in_as_nobody(struct fixture *f, bool kernel_first)
{
    int error = 0;

    if (setgid(65534) != 0 || setuid(65534) != 0) {
        return NOT_NOBODY;
    }
    f->uffd = pgl_uffd_new(&f->config);
    if (!f->uffd) {
        return errno == EPERM ? EPERM : NO_PAGER;
    }
    if (!try_map(f)) {
        return NO_REGION;
    }
    if (kernel_first) {
        error = copy_words(f);
    }
    for (uint64_t page = 0; page < NPAGES; page++) {
        if (!shows_page(f, page)) {
            return WRONG_PAGES;
        }
    }
    if (!kernel_first) {
        error = copy_words(f);
    }
    pgl_uffd_free(f->uffd);
    return error;
}

static int run_as_nobody(struct fixture *f, bool kernel_first)
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        _exit(page_in_as_nobody(f, kernel_first));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* The device alone is enough; forks are followed with privilege only. */
static void test_uffd_user_with_the_device_pages_a_file_in(void **state)
{
    struct fixture *f = *state;

    doors.restricted = true;
    doors.device = __real_open64("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    if (doors.device < 0) {
        SKIP_BECAUSE("no /dev/userfaultfd: it needs Linux 6.1");
    }
    assert_int_equal(run_as_nobody(f, true), 0);
    f->config.write_protect = true;
    assert_int_equal(run_as_nobody(f, true), 0);
    f->config.follow_forks = true;
    assert_int_equal(run_as_nobody(f, true), EPERM);
}

/* Without it, and asked to: what the program touches comes, and what a system call meets comes not. */
static void test_uffd_user_without_the_device_has_user_mode(void **state)
{
    struct fixture *f = *state;

    doors.restricted = true;
    assert_int_equal(run_as_nobody(f, false), EPERM);
    f->config.allow_user_mode = true;
    assert_int_equal(run_as_nobody(f, false), 0);
    assert_int_equal(run_as_nobody(f, true), EFAULT);
    f->config.write_protect = true;
    assert_int_equal(run_as_nobody(f, false), 0);
    f->config.follow_forks = true;
    assert_int_equal(run_as_nobody(f, false), EPERM);
}

/* User mode is for want of better: with privilege system calls meet pages all the same. */
static void test_uffd_user_mode_is_the_last_resort(void **state)
{
    struct fixture *f = *state;

    f->config.allow_user_mode = true;
    assert_true(try_new(f));
    assert_true(try_map(f));
    assert_int_equal(copy_words(f), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_user_with_the_device_pages_a_file_in),
        TEST(test_uffd_user_without_the_device_has_user_mode),
        TEST(test_uffd_user_mode_is_the_last_resort),
    };
#undef TEST

    return permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
