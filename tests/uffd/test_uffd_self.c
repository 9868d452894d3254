/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Threads that serve their own faults in a handler of SIGBUS, and the other users of that signal. */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../cm.h"
#include "calls.h"
#include "sigbus.h"
#include "waits.h"

#ifdef SANITIZED
#define HAS_OTHER_HANDLERS true /* the sanitizer's */
#else
#define HAS_OTHER_HANDLERS false
#endif

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

/* ---- others' signals ---- */

static sigjmp_buf out;
static void *volatile told_addr;
static volatile sig_atomic_t told_signal;

static void on_signal(int signal)
{
    told_signal = signal;
    siglongjmp(out, 1);
}

static void on_signal_info(int signal, siginfo_t *info, void *context)
{
    (void)context;
    told_addr = info->si_addr;
    on_signal(signal);
}

/* Memory of a file that has become shorter. */
static volatile unsigned char *map_beyond_end(void *at)
{
    int file = memfd_create("short", MFD_CLOEXEC);
    unsigned char *memory;

    mappable = true;
    ftruncate(file, PAGE);
    memory = mmap(at, PAGE, PROT_READ, MAP_SHARED | (at ? MAP_FIXED : 0), file, 0);
    ftruncate(file, 0);
    close(file);
    return memory;
}

static void set_handler(void (*handler)(int), void (*info_handler)(int, siginfo_t *, void *))
{
    struct sigaction action = {.sa_flags = info_handler ? SA_SIGINFO : 0};

    if (info_handler) {
        action.sa_sigaction = info_handler;
    } else {
        action.sa_handler = handler;
    }
    assert_int_equal(sigaction(SIGBUS, &action, NULL), 0);
}

/* Read memory that has no page. The signal comes to on_signal_info(). */
static void assert_goes_to_info_handler(volatile unsigned char *memory)
{
    told_addr = NULL;
    if (sigsetjmp(out, 1) == 0) {
        (void)memory[5];
        fail();
    }
    assert_ptr_equal(told_addr, memory + 5);
}

/* J4 */
static void test_uffd_self_signal_of_other_memory_goes_to_the_handler_before(void **state)
{
    volatile unsigned char *memory = map_beyond_end(NULL);
    struct fixture *f = *state;
    sigset_t mask;

    set_handler(NULL, on_signal_info);
    show_file(f, PGL_ADVICE_RANDOM);
    for (unsigned i = 0; i < 2; i++) {
        assert_goes_to_info_handler(memory);
    }
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    assert_false(sigismember(&mask, SIGBUS));
    assert_true(shows_page(f, 3));
    undo_new(f);
    renew_memory(f);
    set_handler(on_signal, NULL);
    show_file(f, PGL_ADVICE_RANDOM);
    told_signal = 0;
    if (sigsetjmp(out, 1) == 0) {
        (void)memory[5];
        fail();
    }
    assert_int_equal(told_signal, SIGBUS);
    if (sigsetjmp(out, 1) == 0) {
        raise(SIGBUS);
        fail();
    }
    assert_true(shows_page(f, 3));
    munmap((void *)(uintptr_t)memory, PAGE);
}

/* Returns how a child ends that makes a pager over a disposition and then runs attempt(). */
static int run_child(struct fixture *f, void (*disposition)(int), void (*attempt)(struct fixture *f))
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        signal(SIGBUS, disposition);
        f->config.handover = PGL_UFFD_SIGBUS;
        if (!try_new(f) || !try_map(f)) {
            _exit(2);
        }
        attempt(f);
        _exit(shows_page(f, 3) ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void touch_other(struct fixture *f)
{
    (void)f;
    (void)*map_beyond_end(NULL);
}

static void raise_it(struct fixture *f)
{
    (void)f;
    raise(SIGBUS);
}

/* J4: as without the pager. An ignored signal is ignored only if it comes from a process. */
static void test_uffd_self_signal_without_a_handler_kills_or_is_ignored(void **state)
{
    struct fixture *f = *state;

    if (HAS_OTHER_HANDLERS) {
        SKIP_BECAUSE("a sanitizer has a handler of its own");
    }
    assert_int_equal(WTERMSIG(run_child(f, SIG_DFL, touch_other)), SIGBUS);
    assert_int_equal(WTERMSIG(run_child(f, SIG_DFL, raise_it)), SIGBUS);
    assert_int_equal(WTERMSIG(run_child(f, SIG_IGN, touch_other)), SIGBUS);
    assert_int_equal(run_child(f, SIG_IGN, raise_it), 0);
}

/* J5, also in a child that was not made by fork(). */
static void test_uffd_self_child_has_its_own_signals(void **state)
{
    struct fixture *f = *state;

    set_handler(SIG_DFL, NULL);
    show_file(f, PGL_ADVICE_RANDOM);
    assert_true(shows_page(f, 1));
    for (unsigned i = 0; i < 2; i++) {
        pid_t child = i == 0 ? fork() : _Fork();
        int status;

        if (child == 0) {
            struct sigaction action = {.sa_handler = SIG_DFL};

            alarm(20);
            if (map_beyond_end(f->memory) != f->memory) {
                _exit(1);
            }
            (void)*(volatile unsigned char *)f->memory;
            sigaction(SIGBUS, &action, NULL);
            _exit(0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) || HAS_OTHER_HANDLERS);
        assert_true(HAS_OTHER_HANDLERS || WTERMSIG(status) == SIGBUS);
    }
    assert_true(shows_page(f, 0));
}

static void *current_handler(void)
{
    struct sigaction action;

    sigaction(SIGBUS, NULL, &action);
    return (action.sa_flags & SA_SIGINFO) != 0 ? (void *)(uintptr_t)action.sa_sigaction
                                               : (void *)(uintptr_t)action.sa_handler;
}

static void test_uffd_self_handler_before_is_restored_with_the_last_pager(void **state)
{
    struct fixture *f = *state, other = *f;

    set_handler(NULL, on_signal_info);
    show_file(f, PGL_ADVICE_RANDOM);
    other.config.handover = PGL_UFFD_SIGBUS;
    assert_true(try_new(&other));
    assert_ptr_not_equal(current_handler(), (void *)(uintptr_t)on_signal_info);
    undo_new(&other);
    assert_ptr_not_equal(current_handler(), (void *)(uintptr_t)on_signal_info);
    assert_true(shows_page(f, 3));
    undo_new(f);
    assert_ptr_equal(current_handler(), (void *)(uintptr_t)on_signal_info);
}

static struct sigaction below; /* the handler that on_signal_above() replaced */

static void on_signal_above(int signal, siginfo_t *info, void *context)
{
    below.sa_sigaction(signal, info, context);
}

/* J4: a handler that was installed above the pager's outlives the pager, and another pager is made. */
static void test_uffd_self_handler_above_passes_on_only_once(void **state)
{
    volatile unsigned char *memory = map_beyond_end(NULL);
    struct fixture *f = *state;

    set_handler(NULL, on_signal_info);
    show_file(f, PGL_ADVICE_RANDOM);
    assert_int_equal(sigaction(SIGBUS, NULL, &below), 0);
    set_handler(NULL, on_signal_above);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(shows_page(f, i));
        assert_goes_to_info_handler(memory);
        undo_new(f);
        assert_ptr_equal(current_handler(), (void *)(uintptr_t)on_signal_above);
        renew_memory(f);
        show_file(f, PGL_ADVICE_RANDOM);
    }
    assert_int_equal(sigaction(SIGBUS, &below, NULL), 0);
    undo_new(f);
    assert_ptr_equal(current_handler(), (void *)(uintptr_t)on_signal_info);
    munmap((void *)(uintptr_t)memory, PAGE);
}

static __thread bool is_freer;
static bool freer_waits; /* atomic */

int __real_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex);
int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex);
int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
    if (is_freer) {
        __atomic_store_n(&freer_waits, true, __ATOMIC_RELEASE);
    }
    return __real_pthread_cond_wait(cond, mutex);
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

static int set_up_signal(void **state)
{
    signal(SIGBUS, SIG_DFL);
    return set_up(state);
}

static int tear_down_signal(void **state)
{
    int result = tear_down(state);

    signal(SIGBUS, SIG_DFL);
    return result;
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
        TEST(test_uffd_self_signal_of_other_memory_goes_to_the_handler_before),
        TEST(test_uffd_self_signal_without_a_handler_kills_or_is_ignored),
        TEST(test_uffd_self_child_has_its_own_signals),
        TEST(test_uffd_self_handler_before_is_restored_with_the_last_pager),
        TEST(test_uffd_self_handler_above_passes_on_only_once),
        TEST(test_uffd_self_pager_is_not_freed_while_a_thread_is_in_it),
        TEST(test_uffd_self_thread_of_a_bad_page_outlives_the_pager),
    };
#undef TEST

    return permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
