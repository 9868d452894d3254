/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ways to a userfaultfd, what a user without privilege has of each, and the sentence about each feature that is
 * not there.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
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

static void test_uffd_handover_that_does_not_exist_is_refused(void **state)
{
    struct fixture *f = *state;

    f->config.handover = (enum pgl_uffd_handover)(PGL_UFFD_SIGBUS + 1);
    errno = 0;
    assert_false(try_new(f));
    assert_int_equal(errno, EINVAL);
}

/* Pagers and regions that need features of the kernel. */
static const struct wish {
    struct pgl_uffd_config config;
    struct pgl_uffd_region region;
} wishes[] = {
    {.region.length = 0},
    {.config.handover = PGL_UFFD_SIGBUS},
    {.config = {.handover = PGL_UFFD_SIGBUS, .track_dirty = true}},
    {.config.follow_forks = true},
    {.config.write_protect = true},
    {.config.track_dirty = true},
    {.config.write_protect = true, .region.limit = NPAGES * 4},
    {.region.on_error = PGL_UFFD_POISON},
    {.region.memory = PGL_UFFD_SHARED},
    {.region.memory = PGL_UFFD_HUGE},
    {.config.write_protect = true, .region.memory = PGL_UFFD_SHARED},
    {.config.track_dirty = true, .region.memory = PGL_UFFD_HUGE},
};

/* The words about each feature, by its bit. The next ones are of newer headers. */
static const char *const sentences[64] = {
    [0] = "write_protect and track_dirty need 5.7",      /* UFFD_FEATURE_PAGEFAULT_FLAG_WP */
    [1] = "follow_forks",                                /* UFFD_FEATURE_EVENT_FORK */
    [2] = "a pager needs Linux 4.14",                    /* UFFD_FEATURE_EVENT_REMAP */
    [3] = "a pager needs Linux 4.14",                    /* UFFD_FEATURE_EVENT_REMOVE */
    [6] = "a pager needs Linux 4.14",                    /* UFFD_FEATURE_EVENT_UNMAP */
    [7] = "PGL_UFFD_SIGBUS",                             /* UFFD_FEATURE_SIGBUS */
    [8] = "a pager needs Linux 4.14",                    /* UFFD_FEATURE_THREAD_ID */
    [9] = "PGL_UFFD_HUGE 5.18",                          /* UFFD_FEATURE_MINOR_HUGETLBFS */
    [10] = "PGL_UFFD_SHARED needs 5.14",                 /* UFFD_FEATURE_MINOR_SHMEM */
    [12] = "with write_protect or track_dirty 6.4",      /* UFFD_FEATURE_WP_HUGETLBFS_SHMEM */
    [13] = "with write_protect or track_dirty 6.4",      /* UFFD_FEATURE_WP_UNPOPULATED */
    [14] = "PGL_UFFD_POISON needs 6.6",                  /* UFFD_FEATURE_POISON */
    [15] = "track_dirty with PGL_UFFD_SIGBUS needs 6.7", /* UFFD_FEATURE_WP_ASYNC */
    [16] = "a limit needs 6.8",                          /* UFFD_FEATURE_MOVE */
};

/* Whether a wish is refused as what is not supported. */
static bool is_refused(struct fixture *f, const struct wish *wish, uint64_t hidden)
{
    struct pgl_uffd_region region = wish->region;
    bool refused;

    hidden_features = hidden;
    f->config = wish->config;
    refused = !try_new(f) && errno == EOPNOTSUPP;
    if (f->uffd) {
        region.addr = f->memory;
        region.length = NPAGES * PAGE;
        region.source.fd = f->file;
        refused = !pgl_uffd_map_region(f->uffd, &region) && errno == EOPNOTSUPP;
        undo_new(f);
        renew_memory(f);
    }
    hidden_features = 0;
    return refused;
}

/* Each feature of the kernel without which something is refused. */
static void test_uffd_explain_has_a_sentence_for_each_feature(void **state)
{
    const char *text = pgl_uffd_explain(EOPNOTSUPP);
    struct fixture *f = *state;
    uint64_t has = 0;

    for (unsigned i = 0; i < sizeof(wishes) / sizeof(wishes[0]); i++) {
        for (unsigned bit = 0; bit < 64 && !is_refused(f, &wishes[i], 0); bit++) {
            if (is_refused(f, &wishes[i], UINT64_C(1) << bit)) {
                assert_non_null(sentences[bit]);
                assert_non_null(strstr(text, sentences[bit]));
                has |= UINT64_C(1) << bit;
            }
        }
    }
    assert_int_equal(has & 0x1cf, 0x1cf); /* those of Linux 5.7, which the library needs: some wish wants each */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_user_with_the_device_pages_a_file_in),
        TEST(test_uffd_user_without_the_device_has_user_mode),
        TEST(test_uffd_user_mode_is_the_last_resort),
        TEST(test_uffd_handover_that_does_not_exist_is_refused),
        TEST(test_uffd_explain_has_a_sentence_for_each_feature),
    };
#undef TEST

    return permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
