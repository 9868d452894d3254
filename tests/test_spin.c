/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How a waiter waits. Linked with --wrap for nanosleep. */
#include <time.h>

#include "emu.h"

int __real_nanosleep(const struct timespec *time, struct timespec *left);
int __wrap_nanosleep(const struct timespec *time, struct timespec *left);

static unsigned sleeps, yields_before_sleep;
static long longest;

int __wrap_nanosleep(const struct timespec *time, struct timespec *left)
{
    if (!sleeps)
        yields_before_sleep = emu_yields();
    if (time->tv_nsec > longest)
        longest = time->tv_nsec;
    __atomic_fetch_add(&sleeps, 1, __ATOMIC_RELAXED);
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
    for (unsigned i = 0; i < 1000; i++)
        lock_5(&emu, NULL);
    assert_int_equal(emu_yields(), yields_before);
    assert_int_equal(sleeps, sleeps_before);
    assert_int_equal(emu_stats(&emu).contended, 0);
    emu_fini(&emu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spin_yields_and_then_sleeps),
        cmocka_unit_test(test_spin_of_a_free_lock_neither_yields_nor_sleeps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
