/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The processors of handlers. The kernel's answers are the test's: which processors a handler may use, where the thread
 * that faults runs, and how late it is. Linked with --wrap for clock_gettime(), sched_getaffinity(),
 * sched_setaffinity(), getpriority() and setpriority(), too.
 */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "../cm.h"
#include "calls.h"

#define ALONE 8          /* faults in a row after which a thread is followed */
#define SOON_NS 100000   /* from a move to the next look */
#define LATER_NS 500000  /* between two looks that find the thread in its place */
#define REST_NS 50000000 /* after VAIN moves in vain */
#define VAIN 16
#define GAPS 32              /* times by which the handler decides whether it follows */
#define FORGET_NS 1000000000 /* after which it tries the other way again */
#define MAX_GAP_NS 200000    /* longer ones say nothing while it follows */
#define NICE 5               /* the handler's nice value when it starts */

static pthread_mutex_t kernel_lock = PTHREAD_MUTEX_INITIALIZER;

/* The kernel's view of the handler. Under the lock. */
static struct kernel {
    cpu_set_t set;    /* of the handler, or of all */
    unsigned started; /* handlers that have asked for it */
    unsigned moves;
    int priority;    /* of the handler, as a nice value */
    bool moved_high; /* it has moved at a raised priority */
    bool others;     /* a call was about another thread than the one that made it */
    bool get_fails, set_fails, priority_fails;
} kernel;

int __wrap_sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set);
int __wrap_sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set)
{
    bool fails;

    pthread_mutex_lock(&kernel_lock);
    assert(size == sizeof(*set));
    kernel.others |= pid != 0;
    kernel.started++; /* before the first fault */
    fails = kernel.get_fails;
    *set = kernel.set;
    pthread_mutex_unlock(&kernel_lock);
    errno = fails ? EINVAL : errno;
    return fails ? -1 : 0;
}

int __real_sched_setaffinity(pid_t pid, size_t size, const cpu_set_t *set);
int __wrap_sched_setaffinity(pid_t pid, size_t size, const cpu_set_t *set);
int __wrap_sched_setaffinity(pid_t pid, size_t size, const cpu_set_t *set)
{
    bool fails;

    pthread_mutex_lock(&kernel_lock);
    assert(size == sizeof(*set));
    kernel.others |= pid != 0;
    kernel.moves++;
    kernel.moved_high |= kernel.priority < NICE;
    fails = kernel.set_fails;
    if (!fails) {
        kernel.set = *set;
    }
    pthread_mutex_unlock(&kernel_lock);
    errno = fails ? EINVAL : errno;
    return fails ? -1 : 0;
}

int __wrap_getpriority(int which, id_t who);
int __wrap_getpriority(int which, id_t who)
{
    int priority;

    pthread_mutex_lock(&kernel_lock);
    kernel.others |= which != PRIO_PROCESS || who != (id_t)gettid();
    priority = kernel.priority;
    pthread_mutex_unlock(&kernel_lock);
    return priority;
}

int __wrap_setpriority(int which, id_t who, int value);
int __wrap_setpriority(int which, id_t who, int value)
{
    bool fails;

    pthread_mutex_lock(&kernel_lock);
    kernel.others |= which != PRIO_PROCESS || who != (id_t)gettid();
    fails = kernel.priority_fails;
    kernel.priority = fails ? kernel.priority : value;
    pthread_mutex_unlock(&kernel_lock);
    errno = fails ? EACCES : errno;
    return fails ? -1 : 0;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
    uint64_t ns = __atomic_load_n(&clock_now, __ATOMIC_RELAXED);

    (void)clock;
    *now = (struct timespec){(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    return 0;
}

/* Let the handler run on processors @first to @last. */
static void allow(int first, int last)
{
    pthread_mutex_lock(&kernel_lock);
    CPU_ZERO(&kernel.set);
    for (int i = first; i <= last; i++) {
        CPU_SET((size_t)i, &kernel.set);
    }
    pthread_mutex_unlock(&kernel_lock);
}

static struct kernel copy_kernel(void)
{
    struct kernel now;

    pthread_mutex_lock(&kernel_lock);
    now = kernel;
    pthread_mutex_unlock(&kernel_lock);
    return now;
}

/* Assert that the handler may run on processors @first to @last, and on no other. */
static void assert_runs_on(int first, int last)
{
    struct kernel now = copy_kernel();

    for (int i = 0; i < CPU_SETSIZE; i++) {
        assert_int_equal(!!CPU_ISSET((size_t)i, &now.set), i >= first && i <= last);
    }
    assert_false(now.others);
}

static unsigned count_looks(void)
{
    return __atomic_load_n(&looks, __ATOMIC_ACQUIRE);
}

static bool is_on_one_processor(void)
{
    struct kernel now = copy_kernel();

    return CPU_COUNT(&now.set) == 1;
}

static uint64_t touched; /* so many touches, each of the next page */

/* Touch so many pages, and give them all back when they have been touched. The handlers have ended their work then. */
static void touch(struct fixture *f, unsigned n)
{
    unsigned nhandlers = f->config.threads > 0 ? f->config.threads : 1;

    for (; n > 0; n--, touched++) {
        if (touched > 0 && touched % NPAGES == 0) {
            assert_int_equal(madvise(f->memory, NPAGES * PAGE, MADV_DONTNEED), 0);
        }
        assert_true(shows_page(f, touched % NPAGES));
        while (__atomic_load_n(&handlers_waiting, __ATOMIC_ACQUIRE) < nhandlers) {
            usleep(10);
        }
    }
}

static void *touch_one(void *arg)
{
    touch(arg, 1);
    return NULL;
}

static void touch_on_another_thread(struct fixture *f)
{
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, touch_one, f), 0);
    pthread_join(thread, NULL);
}

static void let_time_pass(uint64_t ns)
{
    __atomic_fetch_add(&clock_now, ns, __ATOMIC_RELAXED);
}

static void show_file(struct fixture *f)
{
    touched = 0;
    assert_true(try_new(f));
    assert_true(pgl_uffd_map(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
}

static int set_up_kernel(void **state)
{
    allow(0, 3);
    kernel.started = 0;
    kernel.moves = 0;
    kernel.priority = NICE;
    kernel.moved_high = false;
    kernel.others = kernel.get_fails = kernel.set_fails = kernel.priority_fails = false;
    __atomic_store_n(&looks, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&processor, 2, __ATOMIC_RELAXED);
    return set_up(state);
}

/* Z1, Z4 */
static void test_uffd_follow_handler_moves_to_the_thread_that_faults_alone(void **state)
{
    struct fixture *f = *state;

    show_file(f);
    touch(f, ALONE - 1);
    assert_int_equal(count_looks(), 0);
    touch(f, 1);
    assert_int_equal(count_looks(), 1);
    assert_int_equal(copy_kernel().moves, 0);
    __atomic_store_n(&processor, 1, __ATOMIC_RELAXED);
    touch(f, 1);
    assert_int_equal(count_looks(), 1);
    assert_runs_on(2, 2);
    assert_int_equal(copy_kernel().moves, 1);
    assert_int_equal(copy_kernel().priority, -20);
    assert_false(copy_kernel().moved_high);
}

static void test_uffd_follow_fewer_faults_are_not_followed(void **state)
{
    struct fixture *f = *state;

    show_file(f);
    touch(f, ALONE - 1);
    touch_on_another_thread(f);
    touch(f, 1);
    assert_int_equal(count_looks(), 0);
    assert_int_equal(copy_kernel().moves, 0);
}

/* Z4 */
static void test_uffd_follow_looks_are_rare(void **state)
{
    struct fixture *f = *state;

    show_file(f);
    touch(f, 2 * ALONE);
    assert_int_equal(count_looks(), 1);
    let_time_pass(SOON_NS);
    touch(f, 3);
    assert_int_equal(count_looks(), 2);
    let_time_pass(LATER_NS - 1);
    touch(f, 3);
    assert_int_equal(count_looks(), 2);
    let_time_pass(1);
    touch(f, 3);
    assert_int_equal(count_looks(), 3);
}

/* Z3 */
static void test_uffd_follow_two_threads_leave_the_handler_all_its_processors(void **state)
{
    struct fixture *f = *state;

    show_file(f);
    touch(f, ALONE + 1);
    assert_runs_on(2, 2);
    touch_on_another_thread(f);
    touch(f, 1);
    assert_runs_on(0, 3);
    for (unsigned i = 0; i < ALONE; i++) {
        let_time_pass(LATER_NS);
        touch_on_another_thread(f);
        touch(f, 1);
    }
    assert_int_equal(count_looks(), 1);
    assert_runs_on(0, 3);
}

/* Z4: where the thread was when another one faulted, or before the handler left it, is no place to move to. */
static void test_uffd_follow_handler_looks_again_before_it_moves(void **state)
{
    struct fixture *f = *state;

    show_file(f);
    touch(f, ALONE);
    touch_on_another_thread(f);
    touch(f, ALONE);
    assert_int_equal(count_looks(), 2);
    assert_runs_on(0, 3);
    touch(f, GAPS - ALONE - 1);
    assert_runs_on(2, 2);
    __atomic_store_n(&processor, 3, __ATOMIC_RELAXED);
    let_time_pass(SOON_NS);
    touch(f, 1);
    assert_int_equal(count_looks(), 3);
    touch(f, 1); /* the handler has GAPS times, and leaves */
    assert_runs_on(0, 3);
    for (unsigned i = 0; i < GAPS; i++) {
        assert_int_equal(count_looks(), 3);
        let_time_pass(5000);
        touch(f, 1);
    }
    assert_int_equal(count_looks(), 4);
    assert_runs_on(0, 3);
}

/* Z2 */
static void test_uffd_follow_handler_stays_within_its_processors(void **state)
{
    struct fixture *f = *state;

    allow(0, 1);
    show_file(f);
    touch(f, ALONE + 1);
    assert_int_equal(count_looks(), 1);
    assert_runs_on(0, 1);
    assert_int_equal(copy_kernel().moves, 0);
}

/* Z2 */
static void test_uffd_follow_handler_obeys_a_new_affinity(void **state)
{
    struct fixture *f = *state;

    show_file(f);
    touch(f, ALONE + 1);
    assert_runs_on(2, 2);
    allow(4, 6);
    for (unsigned i = 0; i < 4; i++) {
        let_time_pass(LATER_NS);
        __atomic_store_n(&processor, 3, __ATOMIC_RELAXED);
        touch(f, 2);
        assert_runs_on(4, 6);
    }
    __atomic_store_n(&processor, 5, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < 5; i++) {
        let_time_pass(LATER_NS);
        touch(f, 2);
    }
    assert_runs_on(5, 5);
    touch_on_another_thread(f);
    touch(f, 1);
    assert_runs_on(4, 6);
}

/* Have the thread be elsewhere at each of @n looks. Returns how often the handler has moved. */
static unsigned move_on(struct fixture *f, unsigned n)
{
    unsigned moves = 0;

    for (unsigned i = 0; i < n; i++) {
        cpu_set_t before = copy_kernel().set, after;

        __atomic_store_n(&processor, (int)(i % 4), __ATOMIC_RELAXED);
        let_time_pass(LATER_NS);
        touch(f, 2);
        after = copy_kernel().set;
        moves += CPU_COUNT(&after) == 1 && !CPU_EQUAL(&before, &after);
    }
    return moves;
}

/* Z5 */
static void test_uffd_follow_handler_rests_after_many_moves_in_vain(void **state)
{
    struct fixture *f = *state;

    show_file(f);
    touch(f, ALONE - 1);
    assert_int_equal(move_on(f, VAIN + 6), VAIN);
    assert_int_equal(count_looks(), VAIN + 1);
    assert_runs_on(0, 3);
    let_time_pass(REST_NS);
    touch(f, 2);
    assert_int_equal(count_looks(), VAIN + 2);
    assert_true(is_on_one_processor());
}

static void test_uffd_follow_move_that_lasts_ends_the_row(void **state)
{
    struct fixture *f = *state;

    show_file(f);
    touch(f, ALONE - 1);
    assert_int_equal(move_on(f, VAIN / 2 + 3), VAIN / 2 + 3);
    let_time_pass(LATER_NS);
    touch(f, 2); /* it is there */
    assert_int_equal(move_on(f, VAIN / 2 + 3), VAIN / 2 + 3);
}

/* Touch @n pages, each so long after the one before. */
static void touch_after(struct fixture *f, unsigned n, uint64_t gap_ns)
{
    for (; n > 0; n--) {
        let_time_pass(gap_ns);
        touch(f, 1);
    }
}

/* Touch a page at once. */
static void assert_leaves(struct fixture *f, bool leaves)
{
    touch(f, 1);
    if (leaves) {
        assert_runs_on(0, 3);
    } else {
        assert_true(is_on_one_processor());
    }
    assert_int_equal(copy_kernel().priority, leaves ? NICE : -20);
}

/* Z6 */
static void test_uffd_follow_handler_leaves_a_thread_that_is_faster_so(void **state)
{
    struct fixture *f = *state;
    unsigned seen;

    show_file(f);
    touch(f, 1);
    touch_after(f, GAPS - 2, 4000);
    assert_leaves(f, false);
    touch(f, 1);
    assert_leaves(f, true);
    seen = count_looks();
    touch_after(f, 2 * GAPS, 3000);
    assert_leaves(f, true);
    assert_int_equal(count_looks(), seen);
}

/* Z6: also if the thread is so slow that it seems to do something else. */
static void test_uffd_follow_handler_returns_to_a_thread_that_is_faster_so(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < 2; i++) {
        show_file(f);
        touch(f, 1);
        touch_after(f, GAPS, 4000);
        assert_leaves(f, true);
        touch_after(f, GAPS - 3, i == 0 ? 5000 : 2 * MAX_GAP_NS);
        assert_leaves(f, true);
        touch(f, 1);
        assert_leaves(f, false);
        touch_after(f, GAPS, 4000);
        assert_leaves(f, false);
        undo_new(f);
        renew_memory(f);
        allow(0, 3);
        kernel.priority = NICE;
    }
}

/* Z6 */
static void test_uffd_follow_handler_tries_the_other_way_again(void **state)
{
    struct fixture *f = *state;

    show_file(f);
    touch(f, 1);
    touch_after(f, GAPS, 4000);
    touch_after(f, GAPS, 8000);
    assert_leaves(f, false);
    let_time_pass(FORGET_NS);
    touch_after(f, GAPS, 4000);
    touch(f, 1);
    assert_leaves(f, true);
}

/* Z6: the times between faults of two threads say nothing, nor do long ones. */
static void test_uffd_follow_handler_decides_by_short_times_of_one_thread(void **state)
{
    struct fixture *f = *state;

    show_file(f);
    touch(f, GAPS);
    touch_on_another_thread(f);
    let_time_pass(LATER_NS);
    touch(f, GAPS - 1);
    assert_leaves(f, false);
    touch_on_another_thread(f);
    let_time_pass(LATER_NS);
    touch(f, ALONE);
    touch_after(f, 2 * GAPS, MAX_GAP_NS + 1);
    assert_leaves(f, false);
}

/*
 * Z6. One handler has served ALONE faults or more, and looks at its next one, perhaps after its thread has gone on. The
 * other one may serve as many before it looks.
 */
static void test_uffd_follow_one_of_several_handlers_follows(void **state)
{
    struct fixture *f = *state;
    unsigned seen;

    f->config.threads = 2;
    show_file(f);
    while (copy_kernel().started < 2) { /* one that started later would find the processor to which the other moved */
        usleep(100);
    }
    touch(f, 1);
    touch_after(f, 6 * GAPS, 4000);
    seen = count_looks();
    for (unsigned i = 0; i < ALONE + 2 && count_looks() == seen; i++) {
        touch_after(f, 1, LATER_NS);
    }
    assert_true(count_looks() > seen);
}

static void test_uffd_follow_handler_with_one_processor_asks_nothing(void **state)
{
    struct fixture *f = *state;

    allow(0, 0);
    show_file(f);
    touch(f, 2 * ALONE);
    assert_int_equal(count_looks(), 0);
    assert_int_equal(copy_kernel().moves, 0);
    assert_int_equal(copy_kernel().priority, NICE);
}

static void test_uffd_follow_handler_anywhere_asks_nothing(void **state)
{
    struct fixture *f = *state;

    f->config.handover = PGL_UFFD_ANYWHERE;
    show_file(f);
    touch(f, 2 * ALONE);
    assert_int_equal(count_looks(), 0);
    assert_int_equal(copy_kernel().moves, 0);
    assert_int_equal(copy_kernel().priority, NICE);
}

/* Each call fails, at first or after the handler has moved; the pages come. */
static void test_uffd_follow_handler_serves_though_each_call_fails(void **state)
{
    struct fixture *f = *state;
    static const int last[] = {PROCESSOR_NO_FILE, PROCESSOR_NO_TEXT, PROCESSOR_NO_FIELD, 2};

    for (unsigned call = 0; call < 8; call++) {
        allow(0, 3);
        __atomic_store_n(&processor, 2, __ATOMIC_RELAXED);
        kernel.get_fails = call == 0;
        kernel.set_fails = call == 1;
        kernel.priority_fails = call == 2;
        show_file(f);
        touch(f, 2 * ALONE);
        pthread_mutex_lock(&kernel_lock);
        kernel.get_fails = call == 3;
        kernel.set_fails = call == 4;
        pthread_mutex_unlock(&kernel_lock);
        __atomic_store_n(&processor, last[call % 4], __ATOMIC_RELAXED);
        while (touched < NPAGES) {
            let_time_pass(LATER_NS);
            touch(f, 1);
        }
        undo_new(f);
        renew_memory(f);
        assert_false(copy_kernel().others);
    }
}

/* A handler that cannot learn where the thread is lets the scheduler place it. */
static void test_uffd_follow_thread_that_is_nowhere_is_not_followed(void **state)
{
    static const int nowhere[] = {PROCESSOR_NO_FILE, PROCESSOR_NO_TEXT, PROCESSOR_NO_FIELD};
    struct fixture *f = *state;

    show_file(f);
    for (unsigned i = 0; i < 3; i++) {
        __atomic_store_n(&processor, 1, __ATOMIC_RELAXED);
        while (touched < ALONE || (!is_on_one_processor() && touched < NPAGES - 4)) {
            let_time_pass(REST_NS);
            touch(f, 1);
        }
        touch(f, 1);
        assert_runs_on(1, 1);
        __atomic_store_n(&processor, nowhere[i], __ATOMIC_RELAXED);
        let_time_pass(LATER_NS);
        touch(f, 2);
        assert_runs_on(0, 3);
    }
}

/* The kernel's own file says where this thread is. */
static void test_uffd_follow_handler_reads_the_processor_of_the_thread(void **state)
{
    struct fixture *f = *state;
    cpu_set_t here;
    int cpu = sched_getcpu();

    assert_true(cpu >= 0 && cpu < CPU_SETSIZE);
    CPU_ZERO(&here);
    CPU_SET((size_t)cpu, &here);
    assert_int_equal(__real_sched_setaffinity(0, sizeof(here), &here), 0);
    __atomic_store_n(&processor, PROCESSOR_REAL, __ATOMIC_RELAXED);
    allow(0, CPU_SETSIZE - 1);
    show_file(f);
    touch(f, ALONE + 1);
    assert_runs_on(cpu, cpu);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_kernel, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_follow_handler_moves_to_the_thread_that_faults_alone),
        TEST(test_uffd_follow_fewer_faults_are_not_followed),
        TEST(test_uffd_follow_looks_are_rare),
        TEST(test_uffd_follow_two_threads_leave_the_handler_all_its_processors),
        TEST(test_uffd_follow_handler_looks_again_before_it_moves),
        TEST(test_uffd_follow_handler_stays_within_its_processors),
        TEST(test_uffd_follow_handler_obeys_a_new_affinity),
        TEST(test_uffd_follow_handler_rests_after_many_moves_in_vain),
        TEST(test_uffd_follow_move_that_lasts_ends_the_row),
        TEST(test_uffd_follow_handler_leaves_a_thread_that_is_faster_so),
        TEST(test_uffd_follow_handler_returns_to_a_thread_that_is_faster_so),
        TEST(test_uffd_follow_handler_tries_the_other_way_again),
        TEST(test_uffd_follow_handler_decides_by_short_times_of_one_thread),
        TEST(test_uffd_follow_one_of_several_handlers_follows),
        TEST(test_uffd_follow_handler_with_one_processor_asks_nothing),
        TEST(test_uffd_follow_handler_anywhere_asks_nothing),
        TEST(test_uffd_follow_handler_serves_though_each_call_fails),
        TEST(test_uffd_follow_thread_that_is_nowhere_is_not_followed),
        TEST(test_uffd_follow_handler_reads_the_processor_of_the_thread),
    };

    return permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
