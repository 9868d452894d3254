/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* SIGBUS of others, beside threads that serve themselves in the handler of that signal. */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../cm.h"
#include "calls.h"
#include "waits.h"

#ifdef SANITIZED
#define HAS_OTHER_HANDLERS true /* the sanitizer's */
#else
#define HAS_OTHER_HANDLERS false
#endif

static void show_file(struct fixture *f, enum pgl_advice advice)
{
    f->config.handover = PGL_UFFD_SIGBUS;
    assert_true(try_new(f));
    assert_true(pgl_uffd_map(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, advice));
}

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
static void test_uffd_signal_of_other_memory_goes_to_the_handler_before(void **state)
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
static void test_uffd_signal_without_a_handler_kills_or_is_ignored(void **state)
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
static void test_uffd_signal_child_has_its_own_signals(void **state)
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

static void test_uffd_signal_handler_before_is_restored_with_the_last_pager(void **state)
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
static void test_uffd_signal_handler_above_passes_on_only_once(void **state)
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

/* A userfaultfd of another library, of the same kind, that has registered a page. Returns its descriptor, or -1. */
static int register_elsewhere(void *page)
{
    struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_SIGBUS};
    struct uffdio_register claim = {.range = {(uintptr_t)page, PAGE}, .mode = UFFDIO_REGISTER_MODE_MISSING};
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

    return fd >= 0 && ioctl(fd, UFFDIO_API, &api) == 0 && ioctl(fd, UFFDIO_REGISTER, &claim) == 0 ? fd : -1;
}

/* J4 */
static void test_uffd_signal_page_of_another_userfaultfd_goes_to_the_handler_before(void **state)
{
    unsigned char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int fd = register_elsewhere(page);
    unsigned char resident = 0xff;
    struct fixture *f = *state;

    assert_true(fd >= 0);
    set_handler(NULL, on_signal_info);
    show_file(f, PGL_ADVICE_RANDOM);
    for (unsigned i = 0; i < 2; i++) {
        assert_goes_to_info_handler(page);
        assert_int_equal(mincore(page, PAGE, &resident), 0);
        assert_int_equal(resident & 1, 0);
    }
    close(fd);
    assert_int_equal(page[5], 0); /* no userfaultfd has it now */
    munmap(page, PAGE);
}

/* J4: memory that is broken, an address that is not aligned. */
static void test_uffd_signal_for_another_reason_goes_to_the_handler_before(void **state)
{
    static const int codes[] = {BUS_ADRALN, BUS_OBJERR, BUS_MCEERR_AR, BUS_MCEERR_AO};
    struct fixture *f = *state;
    struct sigaction action;

    set_handler(on_signal, NULL);
    show_file(f, PGL_ADVICE_RANDOM);
    assert_int_equal(sigaction(SIGBUS, NULL, &action), 0);
    for (unsigned i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        siginfo_t info = {.si_signo = SIGBUS, .si_code = codes[i]};
        ucontext_t context = {0};

        info.si_addr = f->memory + 5 * PAGE;
        told_signal = 0;
        if (sigsetjmp(out, 1) == 0) {
            action.sa_sigaction(SIGBUS, &info, &context);
        }
        assert_int_equal(told_signal, SIGBUS);
    }
    assert_int_equal(stats_of(f).faults, 0);
}

static void set_once(struct fixture *f)
{
    struct sigaction action = {.sa_sigaction = on_signal_info, .sa_flags = SA_SIGINFO | SA_RESETHAND};

    undo_new(f);
    sigaction(SIGBUS, &action, NULL);
    if (!try_new(f)) {
        _exit(2);
    }
}

static void touch_once(struct fixture *f)
{
    volatile unsigned char *memory = map_beyond_end(NULL);

    set_once(f);
    if (sigsetjmp(out, 1) == 0) {
        (void)memory[5];
    }
    _exit(told_addr == memory + 5 ? 3 : 4);
}

static void touch_twice(struct fixture *f)
{
    volatile unsigned char *memory = map_beyond_end(NULL);

    set_once(f);
    if (sigsetjmp(out, 1) == 0) {
        (void)memory[5];
    }
    (void)memory[5];
}

/* J4: SA_RESETHAND. */
static void test_uffd_signal_handler_for_one_signal_gets_one(void **state)
{
    struct fixture *f = *state;

    if (HAS_OTHER_HANDLERS) {
        SKIP_BECAUSE("a sanitizer has a handler of its own");
    }
    assert_int_equal(WEXITSTATUS(run_child(f, SIG_DFL, touch_once)), 3);
    assert_int_equal(WTERMSIG(run_child(f, SIG_DFL, touch_twice)), SIGBUS);
}

static void touch_with_default_and_flag(struct fixture *f)
{
    struct sigaction action = {.sa_handler = SIG_DFL, .sa_flags = SA_SIGINFO};

    undo_new(f);
    sigaction(SIGBUS, &action, NULL);
    if (!try_new(f)) {
        _exit(2);
    }
    touch_other(f);
}

/* J4: the flag SA_SIGINFO says nothing where there is no handler. */
static void test_uffd_signal_flag_without_a_handler_is_no_handler(void **state)
{
    struct fixture *f = *state;

    if (HAS_OTHER_HANDLERS) {
        SKIP_BECAUSE("a sanitizer has a handler of its own");
    }
    assert_int_equal(WTERMSIG(run_child(f, SIG_DFL, touch_with_default_and_flag)), SIGBUS);
}

static int flags_above(struct fixture *f, void (*handler)(int), int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};

    assert_int_equal(sigaction(SIGBUS, &action, NULL), 0);
    f->config.handover = PGL_UFFD_SIGBUS;
    assert_true(try_new(f));
    assert_int_equal(sigaction(SIGBUS, NULL, &action), 0);
    undo_new(f);
    return action.sa_flags;
}

/* J4: a system call that another process's SIGBUS interrupts. */
static void test_uffd_signal_system_calls_go_on_as_with_the_handler_before(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(flags_above(f, on_signal, 0) & SA_RESTART, 0);
    assert_int_equal(flags_above(f, on_signal, SA_RESTART) & SA_RESTART, SA_RESTART);
    assert_int_equal(flags_above(f, SIG_IGN, 0) & SA_RESTART, SA_RESTART);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_signal, tear_down_signal)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_signal_of_other_memory_goes_to_the_handler_before),
        TEST(test_uffd_signal_without_a_handler_kills_or_is_ignored),
        TEST(test_uffd_signal_child_has_its_own_signals),
        TEST(test_uffd_signal_handler_before_is_restored_with_the_last_pager),
        TEST(test_uffd_signal_handler_above_passes_on_only_once),
        TEST(test_uffd_signal_page_of_another_userfaultfd_goes_to_the_handler_before),
        TEST(test_uffd_signal_for_another_reason_goes_to_the_handler_before),
        TEST(test_uffd_signal_handler_for_one_signal_gets_one),
        TEST(test_uffd_signal_flag_without_a_handler_is_no_handler),
        TEST(test_uffd_signal_system_calls_go_on_as_with_the_handler_before),
    };
#undef TEST

    return permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
