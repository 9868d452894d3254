/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "victim.h"

#include <stdbool.h>
#include <time.h>

#include "code/emu.h"

int __real_nanosleep(const struct timespec *time, struct timespec *left);
int __wrap_nanosleep(const struct timespec *time, struct timespec *left);
int __real_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *lock);
int __wrap_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *lock);

static unsigned sleeps;

int __wrap_nanosleep(const struct timespec *time, struct timespec *left)
{
    __atomic_fetch_add(&sleeps, 1, __ATOMIC_RELEASE);
    return __real_nanosleep(time, left);
}

int __wrap_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *lock)
{
    __atomic_fetch_add(&sleeps, 1, __ATOMIC_RELEASE);
    return __real_pthread_cond_wait(condition, lock);
}

static void note_end(void *opaque)
{
    struct victim *victim = opaque;

    __atomic_store_n(&victim->ended, 1, __ATOMIC_RELEASE);
}

static void *run_victim(void *opaque)
{
    struct victim *victim = opaque;

    pthread_cleanup_push(note_end, victim);
    pthread_cancel(pthread_self());
    victim->call(victim->arg);
    victim->returned = 1;
    pthread_testcancel(); /* the request is still pending, and cancellation is enabled again */
    pthread_cleanup_pop(1);
    return NULL;
}

void victim_start(struct victim *victim, void (*call)(void *arg), void *arg)
{
    *victim = (struct victim){.call = call, .arg = arg};
    sleeps = 0;
    assert_int_equal(pthread_create(&victim->thread, NULL, run_victim, victim), 0);
}

void victim_await_sleep(struct victim *victim, unsigned n)
{
    EMU_WAIT_UNTIL(__atomic_load_n(&sleeps, __ATOMIC_ACQUIRE) >= n ||
                   __atomic_load_n(&victim->ended, __ATOMIC_ACQUIRE));
    assert_false(__atomic_load_n(&victim->ended, __ATOMIC_ACQUIRE));
}

void victim_assert_finished(struct victim *victim)
{
    void *result;

    assert_int_equal(pthread_join(victim->thread, &result), 0);
    assert_true(victim->returned);
    assert_true(result == PTHREAD_CANCELED);
}
