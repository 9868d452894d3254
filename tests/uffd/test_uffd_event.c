/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Events of the kernel, and the end, while more faults wait than a handler reads at a time. Linked with --wrap for
 * pthread_join(), too.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../cm.h"
#include "calls.h"
#include "waits.h"

static bool joining;             /* pgl_uffd_free() has told the handlers to end. Atomic. */
static __thread bool is_freeing; /* a thread that calls pgl_uffd_free() */

/* A forked child that cannot be watched is dropped: it goes on without the file, and is counted. */
static void test_uffd_child_that_cannot_be_served_is_counted(void **state)
{
    static const int errors[] = {ENOMEM, ENOSPC};
    struct fixture *f = *state;
    struct pgl_uffd_stats stats;

    FOLLOW_FORKS(f);
    assert_true(try_new(f));
    assert_true(try_map(f));
    assert_true(shows_page(f, 0));
    for (unsigned i = 0; i < 2; i++) {
        pid_t child;
        int status;

        fail_theirs(CALL_EPOLL_CTL, 0, errors[i], 1);
        child = fork();
        if (child == 0) {
            _exit(!shows_page(f, 0) || !shows_zeros(f, NPAGES - 1));
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        pgl_uffd_get_stats(f->uffd, &stats);
        assert_int_equal(stats.errors, i + 1);
    }
    assert_true(shows_page(f, NPAGES - 1));
}

/* Descriptors or memory are short when the event is to be read, and then no more. */
static void test_uffd_fork_whose_event_cannot_be_read_at_once_returns(void **state)
{
    static const struct {
        int error;
        unsigned times;
    } all[] = {{EMFILE, 1}, {ENFILE, 1}, {EMFILE, 5}, {ENOMEM, 1}, {ENOMEM, 5}};
    struct fixture *f = *state;
    unsigned nfds;

    f->config.threads = 2;
    FOLLOW_FORKS(f);
    assert_true(try_new(f));
    assert_true(try_map(f));
    assert_true(shows_page(f, 0));
    nfds = count_fds();
    for (unsigned i = 0; i < sizeof(all) / sizeof(*all); i++) {
        pid_t child;
        int status;

        fail_theirs(CALL_READ, 0, all[i].error, all[i].times);
        child = fork();
        if (child == 0) {
            _exit(!shows_page(f, 0) || !shows_page(f, NPAGES - 1));
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        assert_int_equal(count_fired(), all[i].times);
        assert_errors(f, 0);
        assert_fds(nfds + 1); /* of the last child, until there is another */
    }
    assert_true(shows_page(f, NPAGES - 1));
}

/* More threads than a handler reads messages at a time, each with a page of its own, and some pages that none touches. */
#ifdef THREAD_SANITIZED
#define MANY 70 /* more than a batch still: hundreds of threads take minutes under it on a busy machine */
#else
#define MANY 130
#endif
#define SPARE 8

struct crowd {
    struct fixture *f;
    unsigned char *memory; /* of MANY + SPARE pages */
    unsigned n;            /* threads that were started */
    struct member {
        struct fixture f; /* with that memory */
        uint64_t page;
        pthread_t thread;
        bool right;
    } member[MANY];
};

/* The pager is to be there. */
static void gather(struct crowd *crowd, struct fixture *f)
{
    const size_t length = (size_t)(MANY + SPARE) * PAGE;

    crowd->f = f;
    crowd->n = 0;
    crowd->memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(crowd->memory != MAP_FAILED);
    fill(f->file, 0, MANY + SPARE);
    assert_true(map_zeroing(f->uffd, crowd->memory, length, f->file, 0, PGL_ADVICE_RANDOM));
}

static void *touch_own_page(void *arg)
{
    struct member *member = arg;

    member->right = shows_page(&member->f, member->page);
    return NULL;
}

/* Starts threads until there are n, each on its own page. */
static void crowd_to(struct crowd *crowd, unsigned n)
{
    for (; crowd->n < n; crowd->n++) {
        struct member *member = &crowd->member[crowd->n];

        *member = (struct member){.f = *crowd->f, .page = crowd->n};
        member->f.memory = crowd->memory;
        assert_int_equal(pthread_create(&member->thread, NULL, touch_own_page, member), 0);
    }
}

static void disperse(struct crowd *crowd)
{
    for (unsigned i = 0; i < crowd->n; i++) {
        assert_int_equal(pthread_join(crowd->member[i].thread, NULL), 0);
        assert_true(crowd->member[i].right);
    }
    munmap(crowd->memory, (size_t)(MANY + SPARE) * PAGE);
}

struct change {
    unsigned char *memory; /* of SPARE pages */
    void (*act)(unsigned char *memory);
    pthread_t thread;
};

static void give_back(unsigned char *memory)
{
    madvise(memory, SPARE * PAGE, MADV_DONTNEED);
}

static void let_go(unsigned char *memory)
{
    munmap(memory, SPARE * PAGE);
}

static void move_down(unsigned char *memory)
{
    if (mremap(memory + PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, memory) != memory) {
        abort();
    }
}

#ifndef THREAD_SANITIZED /* whose runtime is locked while a thread forks */
static void fork_a_child(unsigned char *memory)
{
    pid_t child = fork();

    (void)memory;
    if (child == 0) {
        _exit(0);
    }
    if (waitpid(child, NULL, 0) != child) {
        abort();
    }
}
#endif

static void *change(void *arg)
{
    struct change *change = arg;

    change->act(change->memory);
    return NULL;
}

/* The handlers read pages; the other threads' faults wait, and then an event. Returns the counts at the end. */
static struct pgl_uffd_stats run_event_behind_faults(struct fixture *f, unsigned handlers, void (*act)(unsigned char *))
{
    struct change late = {.act = act};
    struct pgl_uffd_stats stats;
    struct crowd crowd;

    f->config.threads = handlers;
    f->config.follow_forks = true;
    assert_true(try_new(f));
    gather(&crowd, f);
    late.memory = crowd.memory + MANY * PAGE;
    close_gate();
    crowd_to(&crowd, handlers);
    wait_for_gate(handlers);
    crowd_to(&crowd, MANY);
    uffd_wait_for_pending(MANY - (int)handlers);
    assert_int_equal(pthread_create(&late.thread, NULL, change, &late), 0);
    uffd_wait_for_change();
    __atomic_store_n(&wakes, 0, __ATOMIC_RELEASE);
    alarm(20);
    open_gate();
    assert_int_equal(pthread_join(late.thread, NULL), 0);
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(pthread_join(crowd.member[i].thread, NULL), 0);
    }
    alarm(0);
    stats = stats_of(f);
    for (unsigned i = 0; i < MANY; i++) {
        assert_true(crowd.member[i].right);
    }
    undo_new(f);
    munmap(crowd.memory, (size_t)(MANY + SPARE) * PAGE);
    return stats;
}

/*
 * The only handler keeps the messages that it has read while it reads the event, and the threads whose faults it finds
 * before it: each is woken once for the event, and once when it has its page.
 */
static void test_uffd_event_is_read_before_faults_are_answered(void **state)
{
    static void (*const acts[])(unsigned char *) = {
        give_back,
        let_go,
        move_down,
#ifndef THREAD_SANITIZED
        fork_a_child,
#endif
    };
    struct fixture *f = *state;

    for (unsigned i = 0; i < sizeof(acts) / sizeof(*acts); i++) {
        struct pgl_uffd_stats stats = run_event_behind_faults(f, 1, acts[i]);

        assert_int_equal(stats.removes + stats.unmaps + stats.remaps + stats.forks, acts[i] == move_down ? 3 : 1);
        assert_int_equal(stats.faults, MANY);
        assert_int_equal(stats.requests, MANY);
        assert_int_equal(stats.bytes_read, MANY * PAGE);
        assert_int_equal(stats.pages_fetched, MANY);
        assert_int_equal(__atomic_load_n(&wakes, __ATOMIC_ACQUIRE), MANY + 1);
        if (acts[i] != move_down) {
            assert_int_equal(stats.again, 1);
        }
    }
}

static void test_uffd_event_is_read_by_whichever_handler_is_refused(void **state)
{
    struct fixture *f = *state;

    for (unsigned handlers = 2; handlers <= 8; handlers *= 2) {
        struct pgl_uffd_stats stats = run_event_behind_faults(f, handlers, give_back);

        assert_int_equal(stats.removes, 1);
        assert_true(stats.again >= 1);
        assert_int_equal(stats.pages_fetched, MANY);
    }
}

/* No copy is refused where nothing can be read: a handler that wants the page tried again reads the event all the same. */
static unsigned tries_before_event; /* atomic */

static enum pgl_uffd_remedy on_failure_look(void *arg, const void *addr, int error)
{
    const struct fixture *f = arg;

    (void)addr;
    (void)error;
    __atomic_fetch_add(&tries_before_event, stats_of(f).removes == 0, __ATOMIC_RELEASE);
    return PGL_UFFD_AGAIN;
}

static void test_uffd_event_is_read_though_every_page_is_bad(void **state)
{
    struct fixture *f = *state;
    struct change late = {.act = give_back};
    struct crowd crowd;

    f->config.failed = on_failure_look;
    f->config.arg = f;
    assert_true(try_new(f));
    gather(&crowd, f);
    late.memory = crowd.memory + MANY * PAGE;
    close_gate();
    fail_theirs(CALL_PREAD, 0, EIO, UINT_MAX);
    crowd_to(&crowd, 1);
    wait_for_gate(1);
    crowd_to(&crowd, MANY);
    uffd_wait_for_pending(MANY - 1);
    assert_int_equal(pthread_create(&late.thread, NULL, change, &late), 0);
    uffd_wait_for_change();
    __atomic_store_n(&tries_before_event, 0, __ATOMIC_RELEASE);
    alarm(20);
    open_gate();
    assert_int_equal(pthread_join(late.thread, NULL), 0);
    fail_theirs(CALL_NONE, 0, 0, 0);
    disperse(&crowd);
    alarm(0);
    assert_int_equal(__atomic_load_n(&tries_before_event, __ATOMIC_ACQUIRE), 1);
}

/* Reading an event wakes its thread: it sees the counts when the event is in them. */
static void test_uffd_event_is_counted_before_its_thread_sees_the_counts(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_stats stats;

    assert_true(try_new(f));
    assert_true(try_map(f));
    __atomic_store_n(&look, LOOK_LATER, __ATOMIC_RELEASE);
    madvise(f->memory, PAGE, MADV_DONTNEED);
    __atomic_store_n(&look, LOOK_NOW, __ATOMIC_RELEASE);
    stats = stats_of(f);
    __atomic_store_n(&look, LOOK_NO, __ATOMIC_RELEASE);
    assert_int_equal(stats.removes, 1);
}

int __real_pthread_join(pthread_t thread, void **result);
int __wrap_pthread_join(pthread_t thread, void **result);
int __wrap_pthread_join(pthread_t thread, void **result)
{
    if (is_freeing) {
        __atomic_store_n(&joining, true, __ATOMIC_RELEASE);
    }
    return __real_pthread_join(thread, result);
}

/* ---- the end ---- */

static void *free_pager(void *arg)
{
    struct fixture *f = arg;

    is_freeing = true;
    undo_new(f);
    return NULL;
}

/* More faults than a batch wait when the pager is told to end. */
static void test_uffd_faults_that_wait_at_the_end_are_answered(void **state)
{
    struct fixture *f = *state;
    struct crowd crowd;
    pthread_t thread;

    assert_true(try_new(f));
    gather(&crowd, f);
    close_gate();
    crowd_to(&crowd, 1);
    wait_for_gate(1);
    crowd_to(&crowd, MANY);
    uffd_wait_for_pending(MANY - 1);
    __atomic_store_n(&joining, false, __ATOMIC_RELEASE);
    assert_int_equal(pthread_create(&thread, NULL, free_pager, f), 0);
    while (!__atomic_load_n(&joining, __ATOMIC_ACQUIRE)) {
        usleep(100);
    }
    alarm(20);
    open_gate();
    assert_int_equal(pthread_join(thread, NULL), 0);
    disperse(&crowd);
    alarm(0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_child_that_cannot_be_served_is_counted),
        TEST(test_uffd_fork_whose_event_cannot_be_read_at_once_returns),
        TEST(test_uffd_event_is_read_before_faults_are_answered),
        TEST(test_uffd_event_is_read_by_whichever_handler_is_refused),
        TEST(test_uffd_event_is_read_though_every_page_is_bad),
        TEST(test_uffd_event_is_counted_before_its_thread_sees_the_counts),
        TEST(test_uffd_faults_that_wait_at_the_end_are_answered),
    };
#undef TEST

    return permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
