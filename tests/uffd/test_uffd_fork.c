/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Forked children: followed, not followed, with changes of their own, and without the pager.
 */
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../cm.h"
#include "pager.h"

static void test_uffd_forked_child_is_served_too(void **state)
{
    struct fixture *f = *state;

    FOLLOW_FORKS(f);
    for (int write_protect = 0; write_protect < 2; write_protect++) {
        f->config.write_protect = write_protect != 0;
        map_all(f, PGL_ADVICE_NORMAL);
        assert_true(pgl_uffd_advise(f->uffd, f->memory, 50 * PAGE, PGL_ADVICE_SEQUENTIAL));
        f->memory[5 * PAGE] = 'p';
        assert_pages(f->memory + 100 * PAGE, 50, 100);
        for (unsigned i = 0; i < 3; i++) {
            run_child(f->memory);
        }
        assert_pages(f->memory + 6 * PAGE, NPAGES - 6, 6); /* what a child wrote is its own */
        assert_count(f, forks, 3);
        assert_count(f, errors, 0);
        assert_true(stats_of(f).present > 0);
        pgl_uffd_free(f->uffd);
        f->uffd = NULL;
        assert_int_equal(madvise(f->memory, NPAGES * PAGE, MADV_DONTNEED), 0);
    }
}

/* A page that a child inherited is there already when a cluster comes upon it. */
static void test_uffd_inherited_pages_are_counted(void **state)
{
    struct fixture *f = *state;
    pid_t child;
    int status;

    FOLLOW_FORKS(f);
    map_all(f, PGL_ADVICE_RANDOM);
    assert_true(is_page(f->memory + 5 * PAGE, 5) && is_page(f->memory + 6 * PAGE, 6));
    assert_true(is_page(f->memory + 40 * PAGE, 40));
    assert_true(pgl_uffd_advise(f->uffd, f->memory, NPAGES * PAGE, PGL_ADVICE_SEQUENTIAL));
    child = fork();
    if (child == 0) { /* pages 0 to 31, and 32 to 63 */
        _exit(!is_page(f->memory, 0) || !is_page(f->memory + 32 * PAGE, 32));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_count(f, present, 3);
    assert_count(f, pages_fetched, 3 + 64 - 3);
}

static void test_uffd_children_that_ended_are_forgotten(void **state)
{
    struct fixture *f = *state;
    unsigned nfds;

    FOLLOW_FORKS(f);
    map_all(f, PGL_ADVICE_NORMAL);
    f->memory[5 * PAGE] = 'p';
    run_child(f->memory);
    nfds = count_fds();
    for (unsigned i = 0; i < 5; i++) {
        run_child(f->memory);
    }
    assert_int_equal(count_fds(), nfds);
    pgl_uffd_free(f->uffd);
    f->uffd = NULL;
    assert_true(count_fds() < nfds);
}

/* Returns whether a child of this process has memory at all of a range. */
static bool child_has(void *memory, size_t length)
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        _exit(msync(memory, length, MS_ASYNC) == 0 ? 1 : errno == ENOMEM ? 0 : 2);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
    return WEXITSTATUS(status) == 1;
}

/* Zeros in place of a page that was not fetched would look like data. */
static void test_uffd_region_is_not_in_a_child_that_is_not_followed(void **state)
{
    struct fixture *f = *state;

    start_pager(f);
    assert_true(pgl_uffd_map(f->uffd, f->memory, 64 * PAGE, f->file, 0, PGL_ADVICE_NORMAL));
    assert_true(pgl_uffd_map(f->uffd, f->memory + 64 * PAGE, 64 * PAGE, f->file, 0, PGL_ADVICE_NORMAL));
    assert_pages(f->memory, 10, 0);
    for (uint64_t page = 0; page < 128; page++) {
        assert_false(child_has(f->memory + page * PAGE, PAGE));
    }
    assert_true(child_has(f->memory + 128 * PAGE, (NPAGES - 128) * PAGE));
    assert_count(f, forks, 0);
    assert_pages(f->memory, 64, 0);
    assert_true(pgl_uffd_unmap(f->uffd, f->memory, 32 * PAGE)); /* plain memory again */
    assert_true(child_has(f->memory, 32 * PAGE));
    assert_false(child_has(f->memory + 32 * PAGE, PAGE));
    pgl_uffd_free(f->uffd);
    f->uffd = NULL;
    assert_true(child_has(f->memory, NPAGES * PAGE));
}

static void test_uffd_memory_that_was_refused_is_in_a_child(void **state)
{
    struct fixture *f = *state;

    start_pager(f);
    assert_false(pgl_uffd_map(f->uffd, f->memory, 8 * PAGE, f->file, NPAGES * PAGE, PGL_ADVICE_NORMAL));
    assert_true(child_has(f->memory, NPAGES * PAGE));
}

/* In a process of its own, which is not the one that reports: sends 0 when all pages are the file's. */
static void report_pages(const unsigned char *memory, int to)
{
    char wrong = 0;

    for (uint64_t page = 0; page < NPAGES && !wrong; page++) {
        wrong = !is_page(memory + page * PAGE, page);
    }
    _exit(write(to, &wrong, 1) != 1);
}

/* Ends when the other end of a pipe, which another process holds, is closed. */
static void wait_for_end(int from)
{
    char byte;

    while (read(from, &byte, 1) > 0) {
    }
}

static void fetch_and_outlive(struct fixture *f, int to)
{
    int alive[2], fetched[2];

    if (pipe(alive) != 0 || pipe(fetched) != 0) {
        _exit(1);
    }
    f->uffd = pgl_uffd_new(&f->config);
    if (!f->uffd || !pgl_uffd_map(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_NORMAL)) {
        _exit(2);
    }
    if (fork() == 0) {
        close(alive[1]);
        if (madvise(f->memory, NPAGES * PAGE, MADV_POPULATE_READ) != 0) {
            _exit(3);
        }
        close(fetched[1]);
        wait_for_end(alive[0]);
        report_pages(f->memory, to);
    }
    close(fetched[1]);
    wait_for_end(fetched[0]);
    _exit(0); /* which ends the handlers that the child was served by, and closes `alive` */
}

static void begin_as_daemon(struct fixture *f, int to)
{
    int alive[2];

    if (pipe(alive) != 0) {
        _exit(1);
    }
    if (fork() == 0) {
        close(alive[1]);
        wait_for_end(alive[0]);
        f->uffd = pgl_uffd_new(&f->config);
        if (!f->uffd || !pgl_uffd_map(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_NORMAL)) {
            _exit(2);
        }
        report_pages(f->memory, to);
    }
    _exit(0);
}

/* The process that has made a pager, or forked before, ends; its child goes on, and reports to this one. */
static void run_daemon(struct fixture *f, void (*run)(struct fixture *f, int to))
{
    char wrong = 2;
    int report[2], status;
    pid_t child;

    assert_int_equal(pipe(report), 0);
    child = fork();
    if (child == 0) {
        close(report[0]);
        run(f, report[1]);
    }
    close(report[1]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(read(report[0], &wrong, 1), 1);
    assert_int_equal(wrong, 0);
    close(report[0]);
}

static void test_uffd_child_that_fetched_everything_outlives_its_parent(void **state)
{
    struct fixture *f = *state;

    FOLLOW_FORKS(f);
    run_daemon(f, fetch_and_outlive);
}

static void test_uffd_daemon_makes_its_pager_after_its_parent_ended(void **state)
{
    run_daemon(*state, begin_as_daemon);
}

/* The last descriptor goes to the event, and then to the next: one child sees no file, and the parent goes on. */
static void test_uffd_forks_without_a_free_descriptor(void **state)
{
    struct fixture *f = *state;
    struct rlimit before, none;
    int top;

    FOLLOW_FORKS(f);
    f->config.threads = 2;
    map_all(f, PGL_ADVICE_NORMAL);
    f->memory[5 * PAGE] = 'p';
    top = dup(f->file);
    close(top);
    getrlimit(RLIMIT_NOFILE, &before);
    none = before;
    none.rlim_cur = (rlim_t)top;
    setrlimit(RLIMIT_NOFILE, &none);
    alarm(20); /* it would sleep for ever */
    run_idle_child();
    run_idle_child();
    alarm(0);
    assert_count(f, forks, 2);
    assert_count(f, errors, 2); /* before the shortage is over: a handler may be late */
    setrlimit(RLIMIT_NOFILE, &before);
    run_child(f->memory);
    assert_count(f, errors, 2);
}

/* A forked child that goes on when it is told to, and then ends with what check() returns. */
struct waiting_child {
    pid_t pid;
    int told[2];
};

static void fork_waiting(struct waiting_child *child, int (*check)(unsigned char *memory), unsigned char *memory)
{
    char byte;

    assert_int_equal(pipe(child->told), 0);
    child->pid = fork();
    if (child->pid == 0) {
        _exit(read(child->told[0], &byte, 1) != 1 ? 99 : check(memory));
    }
    assert_true(child->pid > 0);
}

static void tell(const struct waiting_child *child)
{
    int status;

    assert_int_equal(write(child->told[1], "", 1), 1);
    assert_int_equal(waitpid(child->pid, &status, 0), child->pid);
    assert_int_equal(status, 0);
    close(child->told[0]);
    close(child->told[1]);
}

static int check_zeros(unsigned char *memory)
{
    alarm(20);
    return !is_zero(memory + 8 * PAGE);
}

/* The pager ends with two children: the userfaultfd of the first is open in the second, and must be of no use. */
static void test_uffd_children_go_on_without_the_pager(void **state)
{
    struct fixture *f = *state;
    struct waiting_child first, second;

    FOLLOW_FORKS(f);
    map_all(f, PGL_ADVICE_RANDOM);
    fork_waiting(&first, check_zeros, f->memory);
    fork_waiting(&second, check_zeros, f->memory);
    pgl_uffd_free(f->uffd);
    f->uffd = NULL;
    tell(&first);
    tell(&second);
}

static int check_one_page(unsigned char *memory)
{
    return !is_page(memory + 20 * PAGE, 20);
}

/* The advice of a part of a region, other than the region's own. */
static void test_uffd_child_inherits_the_advice(void **state)
{
    struct fixture *f = *state;
    struct waiting_child child;

    FOLLOW_FORKS(f);
    map_all(f, PGL_ADVICE_NORMAL);
    assert_true(pgl_uffd_advise(f->uffd, f->memory, 100 * PAGE, PGL_ADVICE_RANDOM));
    fork_waiting(&child, check_one_page, f->memory);
    tell(&child);
    assert_count(f, pages_fetched, 1);
}

/* Its parent has the region no more: the child's objects hold the file on their own. */
static void test_uffd_child_keeps_the_file_that_its_parent_has_unmapped(void **state)
{
    struct fixture *f = *state;
    struct waiting_child child;

    FOLLOW_FORKS(f);
    map_all(f, PGL_ADVICE_RANDOM);
    fork_waiting(&child, check_one_page, f->memory);
    assert_true(pgl_uffd_unmap(f->uffd, f->memory, NPAGES * PAGE));
    tell(&child);
    assert_count(f, errors, 0);
}

/* A child's own changes, which its child inherits. */
static int check_moved(unsigned char *memory)
{
    unsigned char *room = mmap(NULL, 64 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int status;
    pid_t child;

    alarm(20);
    if (mremap(memory + 100 * PAGE, 64 * PAGE, 64 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, room) != room ||
        munmap(memory + 200 * PAGE, 50 * PAGE) != 0) {
        return 2;
    }
    child = fork();
    if (child == 0) {
        alarm(20);
        _exit(is_page(room + 7 * PAGE, 107) && is_page(memory + 250 * PAGE, 250) ? 0 : 3);
    }
    if (waitpid(child, &status, 0) != child || status != 0) {
        return 4;
    }
    return is_page(room + 8 * PAGE, 108) && is_page(memory + 251 * PAGE, 251) ? 0 : 5;
}

static void test_uffd_childs_changes_are_its_own_and_its_childs(void **state)
{
    struct fixture *f = *state;
    struct waiting_child child;

    FOLLOW_FORKS(f);
    map_all(f, PGL_ADVICE_RANDOM);
    fork_waiting(&child, check_moved, f->memory);
    tell(&child);
    assert_count(f, forks, 2);
    assert_pages(f->memory, NPAGES, 0);
}

static bool is_refused(bool done)
{
    bool refused = !done && errno == ESRCH;

    errno = 0;
    return refused;
}

/* In a child: the number of calls that do not refuse a pager of the parent's. */
static int count_accepted(struct fixture *f, unsigned char *memory)
{
    struct pgl_uffd_range rest = {memory, NPAGES * PAGE}, written;
    struct pgl_uffd_region region = {.addr = memory, .length = PAGE, .source.fd = f->file};
    int accepted = 0;

    errno = 0;
    accepted += !is_refused(pgl_uffd_map_region(f->uffd, &region));
    accepted += !is_refused(pgl_uffd_map(f->uffd, memory, PAGE, f->file, 0, PGL_ADVICE_NORMAL));
    accepted += !is_refused(pgl_uffd_advise(f->uffd, memory, PAGE, PGL_ADVICE_NORMAL));
    accepted += !is_refused(pgl_uffd_set_limit(f->uffd, memory, PAGE, 0));
    accepted += !is_refused(pgl_uffd_watch(f->uffd, memory, PAGE, NULL, NULL));
    accepted += !is_refused(pgl_uffd_set_workset(f->uffd, memory, PAGE, NULL));
    accepted += !is_refused(pgl_uffd_prefetch(f->uffd, memory, PAGE));
    accepted += !is_refused(pgl_uffd_dirty_take(f->uffd, &rest, &written, 1) >= 0);
    accepted += !is_refused(pgl_uffd_adopt(f->uffd, 0, &region, 1) != 0);
    accepted += !is_refused(pgl_uffd_disown(f->uffd, 1));
    accepted += !is_refused(pgl_uffd_unmap(f->uffd, memory, NPAGES * PAGE));
    accepted += stats_of(f).faults != 1;
    pgl_uffd_free(f->uffd);
    return accepted;
}

/* It has the descriptors, and the parent's memory and its record of writes stay as they are all the same (S4). */
static void test_uffd_parents_pager_is_refused_in_a_child(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_range rest = {f->memory, NPAGES * PAGE}, written;
    int status;
    pid_t child;

    f->config.track_dirty = true;
    map_all(f, PGL_ADVICE_RANDOM);
    f->memory[5 * PAGE] = 'w';
    child = fork();
    if (child == 0) {
        alarm(20);
        _exit(count_accepted(f, f->memory));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_count(f, requests, 1);
    assert_int_equal(pgl_uffd_dirty_take(f->uffd, &rest, &written, 1), 1);
    assert_ptr_equal(written.addr, f->memory + 5 * PAGE);
    assert_pages(f->memory + 6 * PAGE, NPAGES - 6, 6);
}

struct child_toucher {
    unsigned char *memory;
    uint64_t seed;
    bool stop; /* atomic */
    uint64_t wrong;
};

static void *touch_in_child(void *arg)
{
    struct child_toucher *t = arg;

    while (!__atomic_load_n(&t->stop, __ATOMIC_RELAXED)) {
        uint64_t page = (t->seed = t->seed * UINT64_C(6364136223846793005) + 1442695040888963407) >> 33;

        t->wrong += !is_page(t->memory + page % NPAGES * PAGE, page % NPAGES);
    }
    return NULL;
}

/* More threads fault, all the time, than a handler reads messages at a time. */
static int check_given_back(unsigned char *memory)
{
    enum { NTHREADS = 80, TIMES = 30 };
    static struct child_toucher touchers[NTHREADS];
    static pthread_t threads[NTHREADS];
    uint64_t wrong = 0;

    alarm(100); /* it would hang for ever */
    for (unsigned i = 0; i < NTHREADS; i++) {
        touchers[i] = (struct child_toucher){.memory = memory, .seed = i};
        if (pthread_create(&threads[i], NULL, touch_in_child, &touchers[i]) != 0) {
            return 2;
        }
    }
    for (unsigned i = 0; i < TIMES; i++) {
        madvise(memory + 100 * PAGE, 300 * PAGE, MADV_DONTNEED);
    }
    for (unsigned i = 0; i < NTHREADS; i++) {
        __atomic_store_n(&touchers[i].stop, true, __ATOMIC_RELAXED);
    }
    for (unsigned i = 0; i < NTHREADS; i++) {
        pthread_join(threads[i], NULL);
        wrong += touchers[i].wrong;
    }
    return wrong != 0;
}

static void test_uffd_childs_events_are_read_though_its_threads_fault(void **state)
{
    struct fixture *f = *state;

#ifdef SANITIZED
    SKIP_BECAUSE("a forked child may find the lock of a sanitizer's allocator held when it starts threads");
#endif
    for (unsigned handlers = 1; handlers <= 4; handlers += 3) {
        struct waiting_child child;

        FOLLOW_FORKS(f);
        f->config.threads = handlers;
        map_all(f, PGL_ADVICE_RANDOM);
        fork_waiting(&child, check_given_back, f->memory);
        tell(&child);
        assert_count(f, removes, 30);
        assert_count(f, errors, 0);
        pgl_uffd_free(f->uffd);
        f->uffd = NULL;
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_forked_child_is_served_too),
        TEST(test_uffd_inherited_pages_are_counted),
        TEST(test_uffd_children_that_ended_are_forgotten),
        TEST(test_uffd_region_is_not_in_a_child_that_is_not_followed),
        TEST(test_uffd_memory_that_was_refused_is_in_a_child),
        TEST(test_uffd_child_that_fetched_everything_outlives_its_parent),
        TEST(test_uffd_daemon_makes_its_pager_after_its_parent_ended),
        TEST(test_uffd_children_go_on_without_the_pager),
        TEST(test_uffd_child_inherits_the_advice),
        TEST(test_uffd_child_keeps_the_file_that_its_parent_has_unmapped),
        TEST(test_uffd_childs_changes_are_its_own_and_its_childs),
        TEST(test_uffd_parents_pager_is_refused_in_a_child),
        TEST(test_uffd_childs_events_are_read_though_its_threads_fault),
        TEST(test_uffd_forks_without_a_free_descriptor),
    };
#undef TEST

    return pager_permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
