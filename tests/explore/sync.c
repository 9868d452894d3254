/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Mutexes, conditions and read-write locks of the threads library, for code that the explorer runs. The linker puts
 * these in their place (-Wl,--wrap). A lock is a word within its own struct, locked and unlocked by a
 * read-modify-write, so that ordering, views and races come out as for any other word. A condition wakes the waiting
 * thread with the lowest number. A thread may also wake by itself, as POSIX allows: that is a deviation of the
 * schedule.
 *
 * Each call is an access to its object, and is checked as one after the scheduling point: to wait and to wake are
 * atomic reads of the condition, to init and to destroy are plain writes of the whole object.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "engine.h"

#define WRAP(type, name, ...)                                                                                          \
    type __real_##name(__VA_ARGS__);                                                                                   \
    type __wrap_##name(__VA_ARGS__);                                                                                   \
    type __wrap_##name(__VA_ARGS__)

#define WRITER 1u
#define READER 2u

static const void *waits_on[EXPLORE_THREADS]; /* a condition */

void sync_reset(void)
{
    memset(waits_on, 0, sizeof waits_on);
}

/* Change a lock's word; false while it cannot change. */

static bool lock_word(uint64_t *word, uint64_t unused, uint64_t unused2)
{
    (void)unused;
    (void)unused2;
    if (*word != 0) {
        return false;
    }
    *word = WRITER;
    return true;
}

static bool share_word(uint64_t *word, uint64_t unused, uint64_t unused2)
{
    (void)unused;
    (void)unused2;
    if (*word & WRITER) {
        return false;
    }
    *word += READER;
    return true;
}

static bool unlock_word(uint64_t *word, uint64_t unused, uint64_t unused2)
{
    (void)unused;
    (void)unused2;
    if (*word == 0) {
        return false;
    }
    *word -= *word & WRITER ? WRITER : READER;
    return true;
}

static bool update(void *lock, bool (*how)(uint64_t *word, uint64_t a, uint64_t b), int order, const void *pc)
{
    bool updated;
    memory_update((uintptr_t)lock, 8, how, 0, 0, order, __ATOMIC_RELAXED, &updated, pc);
    return updated;
}

static void acquire(void *lock, bool (*how)(uint64_t *word, uint64_t a, uint64_t b), const void *pc)
{
    while (!update(lock, how, __ATOMIC_ACQUIRE, pc)) {
        pgl_explore_wait(lock);
    }
}

static void release(void *lock, const void *pc)
{
    if (!update(lock, unlock_word, __ATOMIC_RELEASE, pc)) {
        explore_fail("unlocks what is not locked");
    }
}

/* Init or destroy: whatever other threads do to the object must have happened before, or comes after. */
static void own(const void *object, size_t size, const void *pc)
{
    if (explore_self() != ALONE) {
        memory_plain((uintptr_t)object, size, true, pc);
    }
}

static void init(void *object, size_t size, const void *pc)
{
    own(object, size, pc);
    memset(object, 0, size);
}

static void destroy(const void *lock, size_t size, const void *pc)
{
    uint64_t word;

    own(lock, size, pc);
    memcpy(&word, lock, 8);
    if (word != 0) {
        explore_fail("destroys a lock that is held");
    }
}

WRAP(int, pthread_mutex_init, pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes)
{
    if (!engine_running()) {
        return __real_pthread_mutex_init(mutex, attributes);
    }
    init(mutex, sizeof *mutex, __builtin_return_address(0));
    return 0;
}

WRAP(int, pthread_mutex_destroy, pthread_mutex_t *mutex)
{
    if (!engine_running()) {
        return __real_pthread_mutex_destroy(mutex);
    }
    destroy(mutex, sizeof *mutex, __builtin_return_address(0));
    return 0;
}

WRAP(int, pthread_mutex_lock, pthread_mutex_t *mutex)
{
    if (!engine_running()) {
        return __real_pthread_mutex_lock(mutex);
    }
    acquire(mutex, lock_word, __builtin_return_address(0));
    return 0;
}

WRAP(int, pthread_mutex_trylock, pthread_mutex_t *mutex)
{
    if (!engine_running()) {
        return __real_pthread_mutex_trylock(mutex);
    }
    return update(mutex, lock_word, __ATOMIC_ACQUIRE, __builtin_return_address(0)) ? 0 : EBUSY;
}

WRAP(int, pthread_mutex_unlock, pthread_mutex_t *mutex)
{
    if (!engine_running()) {
        return __real_pthread_mutex_unlock(mutex);
    }
    release(mutex, __builtin_return_address(0));
    return 0;
}

WRAP(int, pthread_rwlock_init, pthread_rwlock_t *lock, const pthread_rwlockattr_t *attributes)
{
    if (!engine_running()) {
        return __real_pthread_rwlock_init(lock, attributes);
    }
    init(lock, sizeof *lock, __builtin_return_address(0));
    return 0;
}

WRAP(int, pthread_rwlock_destroy, pthread_rwlock_t *lock)
{
    if (!engine_running()) {
        return __real_pthread_rwlock_destroy(lock);
    }
    destroy(lock, sizeof *lock, __builtin_return_address(0));
    return 0;
}

WRAP(int, pthread_rwlock_rdlock, pthread_rwlock_t *lock)
{
    if (!engine_running()) {
        return __real_pthread_rwlock_rdlock(lock);
    }
    acquire(lock, share_word, __builtin_return_address(0));
    return 0;
}

WRAP(int, pthread_rwlock_wrlock, pthread_rwlock_t *lock)
{
    if (!engine_running()) {
        return __real_pthread_rwlock_wrlock(lock);
    }
    acquire(lock, lock_word, __builtin_return_address(0));
    return 0;
}

WRAP(int, pthread_rwlock_unlock, pthread_rwlock_t *lock)
{
    if (!engine_running()) {
        return __real_pthread_rwlock_unlock(lock);
    }
    release(lock, __builtin_return_address(0));
    return 0;
}

WRAP(int, pthread_cond_init, pthread_cond_t *cond, const pthread_condattr_t *attributes)
{
    if (!engine_running()) {
        return __real_pthread_cond_init(cond, attributes);
    }
    init(cond, sizeof *cond, __builtin_return_address(0));
    return 0;
}

WRAP(int, pthread_cond_destroy, pthread_cond_t *cond)
{
    if (!engine_running()) {
        return __real_pthread_cond_destroy(cond);
    }
    own(cond, sizeof *cond, __builtin_return_address(0));
    for (int t = 0; t < EXPLORE_THREADS; t++) {
        if (waits_on[t] == cond) {
            explore_fail("destroys a condition that thread %d waits on", t);
        }
    }
    return 0;
}

static bool is_woken(uintptr_t thread, uintptr_t unused)
{
    (void)unused;
    return !waits_on[thread];
}

WRAP(int, pthread_cond_wait, pthread_cond_t *cond, pthread_mutex_t *mutex)
{
    int me = explore_self();

    if (!engine_running()) {
        return __real_pthread_cond_wait(cond, mutex);
    }
    if (me == ALONE) {
        explore_fail("deadlock: code that runs alone waits");
    }
    /* No thread can signal in between: the unlock is the first step of the wait. */
    memory_touch((uintptr_t)cond, __builtin_return_address(0));
    waits_on[me] = cond;
    engine_trace(__builtin_return_address(0), "waits on a condition");
    release(mutex, __builtin_return_address(0));
    if (engine_choose_value(2) == 1 && waits_on[me]) {
        engine_trace(__builtin_return_address(0), "wakes by itself");
        waits_on[me] = NULL;
    } else {
        engine_block(is_woken, (uintptr_t)me, 0);
    }
    acquire(mutex, lock_word, __builtin_return_address(0));
    return 0;
}

static void wake(const void *cond, bool all, const void *pc)
{
    memory_touch((uintptr_t)cond, pc);
    for (int t = 0; t < EXPLORE_THREADS; t++) {
        if (waits_on[t] == cond) {
            waits_on[t] = NULL;
            engine_trace(pc, "wakes T%d", t);
            if (!all) {
                break;
            }
        }
    }
}

WRAP(int, pthread_cond_signal, pthread_cond_t *cond)
{
    if (!engine_running()) {
        return __real_pthread_cond_signal(cond);
    }
    wake(cond, false, __builtin_return_address(0));
    return 0;
}

WRAP(int, pthread_cond_broadcast, pthread_cond_t *cond)
{
    if (!engine_running()) {
        return __real_pthread_cond_broadcast(cond);
    }
    wake(cond, true, __builtin_return_address(0));
    return 0;
}
