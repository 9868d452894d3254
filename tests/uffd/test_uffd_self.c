/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Threads that serve their own faults in a handler of SIGBUS. */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../cm.h"
#include "../sanitized.h"
#include "calls.h"
#include "sigbus.h"
#include "waits.h"

#define SERVERS 16 /* threads that serve themselves at the same time */

static void show_file(struct fixture *f, enum pgl_advice advice)
{
    f->config.handover = PGL_UFFD_SIGBUS;
    assert_true(try_new(f));
    assert_true(map_zeroing(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, advice));
}

static void test_uffd_self_threads_bring_their_pages(void **state)
{
    struct fixture *f = *state;

    for (enum pgl_advice advice = PGL_ADVICE_DEFAULT; advice < PGL_ADVICE_COUNT; advice++) {
        unsigned before = __atomic_load_n(&wakes, __ATOMIC_ACQUIRE);

        show_file(f, advice);
        for (uint64_t page = 0; page < NPAGES; page++) {
            assert_true(shows_page(f, page));
        }
        assert_true(stats_of(f).faults > 0);
        assert_int_equal(stats_of(f).bytes_read, NPAGES * PAGE);
        assert_int_equal(stats_of(f).errors, 0);
        assert_int_equal(__atomic_load_n(&wakes, __ATOMIC_ACQUIRE), before); /* no thread slept */
        undo_map(f);
        undo_new(f);
    }
}

static void test_uffd_self_refuses_protection_and_forks(void **state)
{
    struct fixture *f = *state;

    f->config.handover = PGL_UFFD_SIGBUS;
    f->config.write_protect = true;
    assert_false(try_new(f));
    assert_int_equal(errno, EINVAL);
    f->config.write_protect = false;
    f->config.follow_forks = true;
    assert_false(try_new(f));
    assert_int_equal(errno, EINVAL);
}

static void test_uffd_self_system_call_on_an_absent_page_fails(void **state)
{
    struct fixture *f = *state;
    int ends[2];

    show_file(f, PGL_ADVICE_RANDOM);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], f->memory, 8), -1);
    assert_int_equal(errno, EFAULT);
    assert_true(shows_page(f, 0));
    assert_int_equal(write(ends[1], f->memory, 8), 8);
    close(ends[0]);
    close(ends[1]);
}

static unsigned tries;

static enum pgl_uffd_remedy on_failure_thrice(void *arg, const void *addr, int error)
{
    (void)arg;
    (void)addr;
    (void)error;
    if (++tries == 3) {
        __atomic_store_n(&bad_offset, -1, __ATOMIC_RELEASE);
    }
    return PGL_UFFD_AGAIN;
}

static void test_uffd_self_page_that_cannot_be_read_is_zeros_or_tried_again(void **state)
{
    struct fixture *f = *state;

    __atomic_store_n(&bad_offset, 8 * PAGE, __ATOMIC_RELEASE);
    show_file(f, PGL_ADVICE_RANDOM);
    assert_true(shows_page(f, 7));
    assert_true(shows_zeros(f, 8));
    assert_errors(f, 1);
    undo_new(f);
    renew_memory(f);
    tries = 0;
    f->config.failed = on_failure_thrice;
    show_file(f, PGL_ADVICE_RANDOM);
    assert_true(shows_page(f, 8));
    assert_int_equal(tries, 3);
    assert_errors(f, 0);
}

/* J4: the first touch, which finds that the page cannot be read, and later ones. */
static void test_uffd_self_poison_is_a_signal_for_the_handler_before(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_region region = {.addr = f->memory, .length = NPAGES * PAGE, .source.fd = f->file};

    SKIP_WITHOUT_POISON();
    sigbus_install();
    __atomic_store_n(&bad_offset, 8 * PAGE, __ATOMIC_RELEASE);
    f->config.handover = PGL_UFFD_SIGBUS;
    assert_true(try_new(f));
    region.advice = PGL_ADVICE_RANDOM;
    assert_true(pgl_uffd_map_region(f->uffd, &region));
    for (unsigned i = 0; i < 3; i++) {
        assert_true(sigbus_at(f->memory + 8 * PAGE + 9, PAGE));
        assert_true(shows_page(f, 7));
    }
    assert_errors(f, 1);
    assert_int_equal(stats_of(f).poisoned, 1);
    undo_new(f); /* before cmocka installs a handler of its own */
}

/* J1 */
static void test_uffd_self_no_signal_interrupts_the_service(void **state)
{
    struct fixture *f = *state;
    struct sigaction action;

    show_file(f, PGL_ADVICE_RANDOM);
    assert_int_equal(sigaction(SIGBUS, NULL, &action), 0);
    for (int signal = 1; signal < NSIG; signal++) {
        if (signal != SIGKILL && signal != SIGSTOP && (signal < 32 || signal > 33)) { /* the C library's own */
            assert_true(sigismember(&action.sa_mask, signal));
        }
    }
}

/* J2 */
static void test_uffd_self_touch_leaves_errno_alone(void **state)
{
    struct fixture *f = *state;

    show_file(f, PGL_ADVICE_RANDOM);
    fail_theirs(CALL_PREAD, 0, EINTR, 1);
    errno = ENOTTY;
    f->memory[0]++;
    assert_int_equal(errno, ENOTTY);
    assert_int_equal(count_fired(), 1);
}

static struct {
    struct fixture *f;
    bool ready, cancelled, passed; /* atomic */
} victim;

static void *touch_when_cancelled(void *arg)
{
    (void)arg;
    __atomic_store_n(&victim.ready, true, __ATOMIC_RELEASE);
    while (!__atomic_load_n(&victim.cancelled, __ATOMIC_ACQUIRE)) {
    }
    victim.f->memory[5 * PAGE]++;
    __atomic_store_n(&victim.passed, true, __ATOMIC_RELEASE);
    pthread_testcancel();
    return NULL;
}

/* J2 */
static void test_uffd_self_touch_is_no_cancellation_point(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;
    void *result;

    show_file(f, PGL_ADVICE_RANDOM);
    memset(&victim, 0, sizeof(victim));
    victim.f = f;
    assert_int_equal(pthread_create(&thread, NULL, touch_when_cancelled, NULL), 0);
    while (!__atomic_load_n(&victim.ready, __ATOMIC_ACQUIRE)) {
    }
    pthread_cancel(thread);
    __atomic_store_n(&victim.cancelled, true, __ATOMIC_RELEASE);
    pthread_join(thread, &result);
    assert_true(__atomic_load_n(&victim.passed, __ATOMIC_ACQUIRE));
    assert_ptr_equal(result, PTHREAD_CANCELED);
}

static struct fixture *shared;

static void *check_pages(void *arg)
{
    uint64_t first = (uintptr_t)arg;

    for (uint64_t i = 0; i < NPAGES; i++) {
        if (!shows_page(shared, (first + i) % NPAGES)) {
            return shared;
        }
    }
    return NULL;
}

/* More threads than can serve themselves at the same time: the others wait for one of them. */
static void test_uffd_self_more_threads_than_servers_wait_for_one(void **state)
{
    struct fixture *f = *state;
    pthread_t threads[SERVERS + 4];
    void *wrong;

    show_file(f, PGL_ADVICE_RANDOM);
    shared = f;
    close_gate();
    for (uintptr_t i = 0; i < SERVERS + 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, check_pages, (void *)i), 0);
    }
    wait_for_gate(SERVERS);
    open_gate();
    for (unsigned i = 0; i < SERVERS + 4; i++) {
        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
    assert_int_equal(stats_of(f).pages_fetched, NPAGES);
}

/* R5: the signal comes late, when another thread has brought the page. */
static void test_uffd_self_page_that_is_there_is_not_read_again(void **state)
{
    siginfo_t info = {.si_signo = SIGBUS, .si_code = BUS_ADRERR};
    struct fixture *f = *state;
    struct sigaction action;
    ucontext_t context = {0};

    show_file(f, PGL_ADVICE_RANDOM);
    assert_true(shows_page(f, 6));
    assert_int_equal(sigaction(SIGBUS, NULL, &action), 0);
    info.si_addr = f->memory + 6 * PAGE;
    action.sa_sigaction(SIGBUS, &info, &context);
    assert_int_equal(stats_of(f).requests, 1);
    assert_int_equal(stats_of(f).latency_found[0] > 0 || stats_of(f).faults == 2, true);
    fail_theirs(CALL_MINCORE, 0, EAGAIN, 1);
    action.sa_sigaction(SIGBUS, &info, &context); /* read once more, and found */
    assert_int_equal(count_fired(), 1);
    assert_int_equal(stats_of(f).present, 1);
    assert_true(shows_page(f, 6));
}

static void test_uffd_self_memory_that_changes_is_followed(void **state)
{
    struct fixture *f = *state;
    unsigned char *moved;

    show_file(f, PGL_ADVICE_NORMAL);
    assert_true(shows_page(f, 9));
    f->memory[9 * PAGE] = 'x';
    assert_int_equal(madvise(f->memory, NPAGES * PAGE, MADV_DONTNEED), 0);
    assert_true(shows_page(f, 9));
    moved = mremap(f->memory, NPAGES * PAGE, 2 * NPAGES * PAGE, MREMAP_MAYMOVE);
    assert_true(moved != MAP_FAILED);
    f->memory = moved;
    assert_true(shows_page(f, 40));
    assert_true(shows_zeros(f, NPAGES + 3)); /* mremap() added it */
    assert_int_equal(munmap(f->memory + NPAGES * PAGE, NPAGES * PAGE), 0);
    assert_true(shows_page(f, NPAGES - 1));
}

static __thread bool is_freer;
static bool freer_waits;     /* atomic */
static unsigned other_waits; /* of threads that do not free a pager. Atomic */
static bool holds_end;       /* a pager ends only when another thread has waited */

int __real_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex);
int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex);
int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
    if (is_freer) {
        __atomic_store_n(&freer_waits, true, __ATOMIC_RELEASE);
    } else {
        __atomic_fetch_add(&other_waits, 1, __ATOMIC_RELEASE);
    }
    return __real_pthread_cond_wait(cond, mutex);
}

int __real_pthread_join(pthread_t thread, void **result);
int __wrap_pthread_join(pthread_t thread, void **result);
int __wrap_pthread_join(pthread_t thread, void **result)
{
    while (holds_end && !__atomic_load_n(&other_waits, __ATOMIC_ACQUIRE)) {
        usleep(100);
    }
    return __real_pthread_join(thread, result);
}

static void *free_pager(void *arg)
{
    struct fixture *f = arg;

    is_freer = true;
    pgl_uffd_free(f->uffd);
    __atomic_store_n(&f->uffd, NULL, __ATOMIC_RELEASE);
    return NULL;
}

static void *touch_page_0(void *arg)
{
    return shows_page(arg, 0) ? NULL : arg;
}

/* J3 */
static void test_uffd_self_pager_is_not_freed_while_a_thread_is_in_it(void **state)
{
    struct fixture *f = *state;
    pthread_t toucher, freer;
    struct fixture copy;
    void *wrong;

    show_file(f, PGL_ADVICE_RANDOM);
    copy = *f;
    f->uffd = NULL;
    __atomic_store_n(&freer_waits, false, __ATOMIC_RELEASE);
    close_gate();
    assert_int_equal(pthread_create(&toucher, NULL, touch_page_0, f), 0);
    wait_for_gate(1);
    assert_int_equal(pthread_create(&freer, NULL, free_pager, &copy), 0);
    while (!__atomic_load_n(&freer_waits, __ATOMIC_ACQUIRE) && __atomic_load_n(&copy.uffd, __ATOMIC_ACQUIRE)) {
        usleep(100);
    }
    assert_true(__atomic_load_n(&freer_waits, __ATOMIC_ACQUIRE));
    assert_non_null(__atomic_load_n(&copy.uffd, __ATOMIC_ACQUIRE));
    open_gate();
    pthread_join(freer, NULL);
    assert_int_equal(pthread_join(toucher, &wrong), 0);
    assert_null(wrong);
}

/* As posix_spawn() makes its child: it shares the memory, and its parent's thread waits. Returns how it ends. */
static int run_sharing_child(int (*run)(void *arg), void *arg)
{
    enum { STACK = 1 << 18 };
    unsigned char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pid_t child = clone(run, stack + STACK, CLONE_VM | CLONE_VFORK | SIGCHLD, arg);
    int status = -1;

    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    munmap(stack, STACK);
    return status;
}

static int touch_as_child(void *arg)
{
    return shows_page(arg, 7) && shows_page(arg, 8) ? 0 : 1;
}

/* J5: however faults get to handlers. */
static void test_uffd_self_child_that_shares_the_memory_is_served(void **state)
{
    struct fixture *f = *state;

#ifdef THREAD_SANITIZED
    SKIP_BECAUSE("the thread sanitizer takes such a child for one of fork(), and ends the program at the next thread");
#endif
    for (enum pgl_uffd_handover handover = PGL_UFFD_FOLLOW; handover <= PGL_UFFD_SIGBUS; handover++) {
        f->config.handover = handover;
        assert_true(try_new(f));
        assert_true(pgl_uffd_map(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
        assert_int_equal(run_sharing_child(touch_as_child, f), 0);
        assert_int_equal(stats_of(f).requests, 2);
        assert_true(shows_page(f, 9));
        undo_new(f);
        renew_memory(f);
    }
}

/*
 * The kernel does not read a path out of an absent page; nothing else is wrong with programs that are started. The path
 * goes to the kernel directly, because the sanitizers' posix_spawn() reads it.
 */
static void test_uffd_self_program_is_started_beside_absent_pages(void **state)
{
    char *argv[] = {(char *)"true", NULL};
    struct fixture *f = *state;
    pid_t child;
    int status;

    show_file(f, PGL_ADVICE_RANDOM);
    assert_int_equal(posix_spawnp(&child, "true", NULL, NULL, argv, environ), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(syscall(SYS_execve, f->memory, argv, environ), -1);
    assert_int_equal(errno, EFAULT);
    assert_true(shows_page(f, 0));
}

static unsigned asked; /* atomic */

static enum pgl_uffd_remedy on_failure_again(void *arg, const void *addr, int error)
{
    (void)arg;
    (void)addr;
    (void)error;
    __atomic_fetch_add(&asked, 1, __ATOMIC_RELEASE);
    return PGL_UFFD_AGAIN;
}

static void *touch_bad_page(void *arg)
{
    return shows_zeros(arg, 5) ? NULL : arg;
}

/* J3 */
static void test_uffd_self_thread_of_a_bad_page_outlives_the_pager(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;
    void *wrong;

    f->config.failed = on_failure_again;
    show_file(f, PGL_ADVICE_RANDOM);
    __atomic_store_n(&asked, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&bad_offset, 5 * PAGE, __ATOMIC_RELEASE);
    assert_int_equal(pthread_create(&thread, NULL, touch_bad_page, f), 0);
    while (__atomic_load_n(&asked, __ATOMIC_ACQUIRE) < 2) {
        usleep(100);
    }
    undo_new(f);
    assert_int_equal(pthread_join(thread, &wrong), 0);
    assert_null(wrong);
}

static struct sigaction below; /* the handler that on_signal_counted() replaced */
static unsigned signals;       /* atomic */

static void on_signal_counted(int signal, siginfo_t *info, void *context)
{
    __atomic_fetch_add(&signals, 1, __ATOMIC_RELEASE);
    below.sa_sigaction(signal, info, context);
}

/* Have on_signal_counted() count the signals of a pager whose page 5 is bad, until a thread has tried it twice. */
static void begin_bad_page(struct fixture *f, pthread_t *thread)
{
    struct sigaction action = {.sa_sigaction = on_signal_counted, .sa_flags = SA_SIGINFO};

    sigfillset(&action.sa_mask); /* as the pager's */
    f->config.failed = on_failure_again;
    show_file(f, PGL_ADVICE_RANDOM);
    assert_int_equal(sigaction(SIGBUS, &action, &below), 0);
    __atomic_store_n(&signals, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&asked, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&bad_offset, 5 * PAGE, __ATOMIC_RELEASE);
    assert_int_equal(pthread_create(thread, NULL, touch_bad_page, f), 0);
    while (__atomic_load_n(&asked, __ATOMIC_ACQUIRE) < 2) {
        usleep(100);
    }
}

static void end_bad_page(pthread_t thread)
{
    void *wrong;

    assert_int_equal(pthread_join(thread, &wrong), 0);
    assert_null(wrong);
    assert_int_equal(__atomic_load_n(&signals, __ATOMIC_ACQUIRE), 1);
    assert_int_equal(sigaction(SIGBUS, &below, NULL), 0);
}

/* J6 */
static void test_uffd_self_thread_of_a_bad_page_stays_in_the_handler(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;

    begin_bad_page(f, &thread);
    __atomic_store_n(&other_waits, 0, __ATOMIC_RELEASE);
    alarm(10);
    holds_end = true;
    undo_new(f);
    holds_end = false;
    end_bad_page(thread);
    alarm(0);
}

/* J6: the memory is plain. */
static void test_uffd_self_thread_of_a_bad_page_outlives_the_region(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;

    begin_bad_page(f, &thread);
    assert_true(try_unmap(f));
    end_bad_page(thread);
}

static void on_signal_make_zeros(int signal)
{
    (void)signal;
    ftruncate(shared->file, 5 * PAGE);
    __atomic_store_n(&bad_offset, -1, __ATOMIC_RELEASE);
    fill(shared->file, 6, 1); /* page 5 is a hole of the file: zeros */
}

/* J6 */
static void test_uffd_self_thread_of_a_bad_page_takes_its_signals(void **state)
{
    const struct sigaction action = {.sa_handler = on_signal_make_zeros};
    struct fixture *f = *state;
    pthread_t thread;

    shared = f;
    assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
    begin_bad_page(f, &thread);
    alarm(10);
    assert_int_equal(pthread_kill(thread, SIGUSR1), 0);
    end_bad_page(thread);
    alarm(0);
    signal(SIGUSR1, SIG_DFL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_signal, tear_down_signal)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_self_threads_bring_their_pages),
        TEST(test_uffd_self_refuses_protection_and_forks),
        TEST(test_uffd_self_system_call_on_an_absent_page_fails),
        TEST(test_uffd_self_page_that_cannot_be_read_is_zeros_or_tried_again),
        TEST(test_uffd_self_poison_is_a_signal_for_the_handler_before),
        TEST(test_uffd_self_no_signal_interrupts_the_service),
        TEST(test_uffd_self_touch_leaves_errno_alone),
        TEST(test_uffd_self_touch_is_no_cancellation_point),
        TEST(test_uffd_self_more_threads_than_servers_wait_for_one),
        TEST(test_uffd_self_page_that_is_there_is_not_read_again),
        TEST(test_uffd_self_memory_that_changes_is_followed),
        TEST(test_uffd_self_pager_is_not_freed_while_a_thread_is_in_it),
        TEST(test_uffd_self_child_that_shares_the_memory_is_served),
        TEST(test_uffd_self_program_is_started_beside_absent_pages),
        TEST(test_uffd_self_thread_of_a_bad_page_outlives_the_pager),
        TEST(test_uffd_self_thread_of_a_bad_page_stays_in_the_handler),
        TEST(test_uffd_self_thread_of_a_bad_page_outlives_the_region),
        TEST(test_uffd_self_thread_of_a_bad_page_takes_its_signals),
    };
#undef TEST

    return permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
