/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The stack on which threads serve themselves: how much of it the handler uses, and one that is too small. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../cm.h"
#include "calls.h"

#define LARGE ((size_t)1 << 20)
#define PAINT 0xa5

/* The kernel's frame. Not every C library knows _SC_MINSIGSTKSZ. */
static size_t frame_size(void)
{
#ifdef AT_MINSIGSTKSZ
    unsigned long size = getauxval(AT_MINSIGSTKSZ);

    return size > 0 ? (size_t)size : MINSIGSTKSZ;
#else
    return MINSIGSTKSZ;
#endif
}

static size_t needed(void)
{
    return frame_size() + PGL_UFFD_STACK;
}

static stack_t before;
static uintptr_t signalled; /* where on_user() was */

static void on_user(int number)
{
    (void)number;
    signalled = (uintptr_t)__builtin_frame_address(0);
}

/* Give the calling thread an alternate stack of a size, which ends where LARGE bytes do. */
static unsigned char *begin_stack(size_t size)
{
    unsigned char *memory = mmap(NULL, LARGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const stack_t stack = {.ss_sp = memory + LARGE - size, .ss_size = size};

    memset(memory, PAINT, LARGE);
    assert_int_equal(sigaltstack(&stack, &before), 0);
    return memory;
}

static void end_stack(unsigned char *memory)
{
    assert_int_equal(sigaltstack(&before, NULL), 0);
    munmap(memory, LARGE);
}

/* The bytes that were used, the kernel's frame among them. */
static size_t measure(const unsigned char *memory)
{
    size_t at = 0;

    while (at < LARGE && memory[at] == PAINT) {
        at++;
    }
    return LARGE - at;
}

static void nothing(void *arg, uint64_t index)
{
    (void)arg;
    (void)index;
}

static enum pgl_uffd_remedy on_failure(void *arg, const void *addr, int error)
{
    (void)arg;
    (void)addr;
    (void)error;
    return PGL_UFFD_ZERO;
}

/* Read pages by each advice, of a mapped file and of one that is read; see bad pages, and memory that has changed. */
static void touch_in_all_ways(struct fixture *f)
{
    f->config.handover = PGL_UFFD_SIGBUS;
    f->config.failed = on_failure;
    for (int round = 0; round < 2 * PGL_ADVICE_COUNT; round++) {
        mappable = round % 2 == 0;
        assert_true(try_new(f));
        assert_true(pgl_uffd_map(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, (enum pgl_advice)(round / 2)));
        assert_true(pgl_uffd_watch(f->uffd, f->memory, NPAGES * PAGE, nothing, NULL));
        assert_true(shows_page(f, 40));
        __atomic_store_n(&bad_offset, 8 * PAGE, __ATOMIC_RELEASE);
        for (uint64_t page = 0; page < NPAGES; page++) {
            assert_true(shows_page(f, page) || page == 8);
        }
        __atomic_store_n(&bad_offset, -1, __ATOMIC_RELEASE);
        assert_int_equal(madvise(f->memory, NPAGES * PAGE, MADV_DONTNEED), 0);
        assert_true(shows_page(f, 8));
        undo_new(f);
        renew_memory(f);
    }
}

/* A quarter of the room is kept for other machines and compilers. */
static void test_uffd_stack_has_a_margin(void **state)
{
    unsigned char *memory = begin_stack(LARGE);
    size_t used;

    touch_in_all_ways(*state);
    used = measure(memory);
    end_stack(memory);
    assert_true(used > 0);
    print_message("used: %zu bytes, the kernel's frame of up to %zu among them\n", used, frame_size());
    assert_true(used <= frame_size() + PGL_UFFD_STACK / 4 * 3);
}

/* J7: a byte less than what is needed, that, and a byte more; the stack that is accepted is used. */
static void test_uffd_stack_that_is_too_small_is_refused(void **state)
{
    struct fixture *f = *state;

    f->config.handover = PGL_UFFD_SIGBUS;
    for (size_t more = 0; more < 3; more++) {
        unsigned char *memory = begin_stack(needed() - 1 + more);

        errno = 0;
        assert_int_equal(try_new(f), more > 0);
        if (more == 0) {
            assert_int_equal(errno, EINVAL);
        } else {
            assert_true(try_map(f));
            assert_true(shows_page(f, 3));
            assert_true(measure(memory) > 0);
            undo_new(f);
            renew_memory(f);
        }
        end_stack(memory);
    }
}

/* The kernel's frame in this process. It can be much smaller than the largest one: with AMX by 8 KiB, until it is used. */
static size_t frame_now(void)
{
    const struct sigaction action = {.sa_handler = on_user, .sa_flags = SA_ONSTACK};
    unsigned char *memory = begin_stack(LARGE);
    size_t size;

    assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
    raise(SIGUSR1);
    size = (uintptr_t)memory + LARGE - signalled;
    end_stack(memory);
    return size;
}

/* In a child whose standard error is a pipe: touches a page on a stack that became too small later. */
static void touch_on_small_stack(struct fixture *f)
{
    f->config.handover = PGL_UFFD_SIGBUS;
    if (try_new(f) && try_map(f)) {
        begin_stack(frame_now() + PGL_UFFD_STACK / 4 * 3);
        _exit(shows_page(f, 3) ? 3 : 4);
    }
    _exit(2);
}

/* J7 */
static void test_uffd_stack_that_is_too_small_ends_the_process(void **state)
{
    struct fixture *f = *state;
    char said[256] = "";
    int ends[2], status;
    pid_t child;

#ifdef THREAD_SANITIZED
    SKIP_BECAUSE("a forked child that starts threads can hang under the thread sanitizer");
#endif
    assert_int_equal(pipe(ends), 0);
    child = fork();
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], STDERR_FILENO);
        touch_on_small_stack(f);
    }
    close(ends[1]);
    assert_true(__real_read(ends[0], said, sizeof(said) - 1) > 0);
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(said, "PGL_UFFD_STACK"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_signal, tear_down_signal)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_stack_has_a_margin),
        TEST(test_uffd_stack_that_is_too_small_is_refused),
        TEST(test_uffd_stack_that_is_too_small_ends_the_process),
    };
#undef TEST

    return permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
