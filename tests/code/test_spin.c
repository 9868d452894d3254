/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How a waiter waits, and how its waits are counted. Linked with --wrap for nanosleep and clock_gettime: the clock goes
 * on by what is slept, and by nothing else.
 */
#include <sched.h>
#include <time.h>

#include "emu.h"

int __real_nanosleep(const struct timespec *time, struct timespec *left);
int __wrap_nanosleep(const struct timespec *time, struct timespec *left);
int __wrap_clock_gettime(clockid_t clock, struct timespec *time);

static unsigned sleeps, yields, yields_before_sleep;
static long longest;
static uint64_t clock_ns = UINT64_C(1000000000000);

/* The holder unlocks its page when its waiter comes to so many yields and sleeps; 0: it does not. */
static struct emu_holder *unlocks;
static unsigned unlocks_at_yield, unlocks_at_sleep;

static void unlock_at(unsigned *at, unsigned n)
{
    if (*at != n) {
        return;
    }
    *at = 0;
    sem_post(&unlocks->let_go);
    while (emu_is_locked(unlocks->emu, unlocks->index)) {
        sched_yield();
    }
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *time)
{
    uint64_t ns = __atomic_load_n(&clock_ns, __ATOMIC_RELAXED);

    (void)clock;
    *time = (struct timespec){.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
    return 0;
}

static void count_yield(void)
{
    unlock_at(&unlocks_at_yield, ++yields);
}

int __wrap_nanosleep(const struct timespec *time, struct timespec *left)
{
    if (!sleeps) {
        yields_before_sleep = emu_yields();
    }
    if (time->tv_nsec > longest) {
        longest = time->tv_nsec;
    }
    __atomic_fetch_add(&clock_ns, (uint64_t)time->tv_nsec, __ATOMIC_RELAXED);
    unlock_at(&unlocks_at_sleep, __atomic_add_fetch(&sleeps, 1, __ATOMIC_RELAXED));
    return __real_nanosleep(time, left);
}

static void lock_5(struct emu *emu, void *arg)
{
    (void)arg;
    pgl_page_lock(emu->table, pgl_page_find(emu->table, 5));
    pgl_page_unlock(emu->table, pgl_page_find(emu->table, 5));
}

/* A lock that only spins lost 13 times its throughput with 16 threads on 2 cores. */
static void test_spin_yields_and_then_sleeps(void **state)
{
    struct emu_holder holder;
    struct emu_call call;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    emu_hold(&holder, &emu, 5);
    emu_call(&call, &emu, lock_5, NULL);
    EMU_WAIT_UNTIL(__atomic_load_n(&sleeps, __ATOMIC_RELAXED) > 20);
    emu_release(&holder);
    emu_join(&call);
    assert_in_range(yields_before_sleep, 1, 100);
    assert_in_range(longest, 1, 2000000); /* a free lock is taken soon */
    emu_fini(&emu);
}

static void test_spin_of_a_free_lock_neither_yields_nor_sleeps(void **state)
{
    unsigned yields_before = emu_yields(), sleeps_before = sleeps;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    pgl_page_get(emu.table, 5);
    for (unsigned i = 0; i < 1000; i++) {
        lock_5(&emu, NULL);
    }
    assert_int_equal(emu_yields(), yields_before);
    assert_int_equal(sleeps, sleeps_before);
    assert_int_equal(emu_stats(&emu).contended, 0);
    emu_fini(&emu);
}

/* Wait for page 5 until the waiter has yielded, or slept, so often. */
static struct pgl_table_stats wait_once(struct emu *emu, unsigned n_yields, unsigned n_sleeps)
{
    struct emu_holder holder;
    struct emu_call call;

    emu_hold(&holder, emu, 5);
    yields = sleeps = 0;
    unlocks = &holder;
    unlocks_at_yield = n_yields;
    unlocks_at_sleep = n_sleeps;
    emu_at_yield = count_yield;
    emu_call(&call, emu, lock_5, NULL);
    emu_join(&call);
    pthread_join(holder.thread, NULL);
    emu_at_yield = NULL;
    return emu_stats(emu);
}

static void assert_waits(struct pgl_table_stats stats, uint64_t contended, uint64_t slept, uint64_t slept_ns_max)
{
    assert_int_equal(stats.contended, contended);
    assert_int_equal(stats.slept, slept);
    assert_int_equal(stats.slept_ns_max, slept_ns_max);
}

/* Sleeps of 20, 40, 80, 160, 320 and 640 us, then of 1 ms: a waiter that starves is seen in the figures. */
static void test_spin_counts_the_waits_that_slept_and_the_longest(void **state)
{
    struct emu emu;

    (void)state;
    emu_init(&emu);
    assert_waits(wait_once(&emu, 2, 0), 1, 0, 0);
    assert_waits(wait_once(&emu, 0, 3), 2, 1, 140000);
    assert_waits(wait_once(&emu, 0, 1), 3, 2, 140000);
    assert_waits(wait_once(&emu, 4, 0), 4, 2, 140000);
    assert_waits(wait_once(&emu, 0, 8), 5, 3, 3260000);
    assert_waits(wait_once(&emu, 0, 7), 6, 4, 3260000);
    emu_fini(&emu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spin_yields_and_then_sleeps),
        cmocka_unit_test(test_spin_of_a_free_lock_neither_yields_nor_sleeps),
        cmocka_unit_test(test_spin_counts_the_waits_that_slept_and_the_longest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
