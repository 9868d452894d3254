/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "litmus.h"

uint64_t x, y, lock_a, lock_b;
uint64_t plain;
uint64_t seen[EXPLORE_THREADS][2];
uint64_t *pointer;

uint64_t load(uint64_t *word, int order)
{
    return order == __ATOMIC_ACQUIRE ? __atomic_load_n(word, __ATOMIC_ACQUIRE)
                                     : __atomic_load_n(word, __ATOMIC_RELAXED);
}

void store(uint64_t *word, uint64_t value, int order)
{
    if (order == __ATOMIC_RELEASE) {
        __atomic_store_n(word, value, __ATOMIC_RELEASE);
    } else {
        __atomic_store_n(word, value, __ATOMIC_RELAXED);
    }
}

void fence(void)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void acquire(uint64_t *lock)
{
    while (__atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE) != 0) {
        while (load(lock, __ATOMIC_RELAXED) != 0) {
            pgl_explore_wait(lock);
        }
    }
}

void release(uint64_t *lock)
{
    store(lock, 0, __ATOMIC_RELEASE);
}

void reset(void)
{
    x = y = lock_a = lock_b = plain = 0;
    pointer = NULL;
    for (int t = 0; t < EXPLORE_THREADS; t++) {
        seen[t][0] = seen[t][1] = 0;
    }
}

static bool fails(const struct explore_scenario *scenario, enum explore_memory memory)
{
    struct search *search = search_new(scenario, 1);
    search_exhaust(search, memory, 4, search_now() + 60);
    const struct tally *tally = search_tally(search);
    bool failed = tally->failed;

    if (failed) {
        char why[512];
        assert_true(search_replay(scenario, memory, false, tally->replay, NULL, why));
        assert_string_equal(why, tally->why);
    } else {
        assert_true(tally->exhausted[memory] || tally->complete[memory] >= 4);
    }
    search_free(search);
    return failed;
}

void assert_verdicts(const struct explore_scenario *scenario, bool sc, bool tso, bool weak)
{
    assert_int_equal(fails(scenario, MEMORY_SC), sc);
    assert_int_equal(fails(scenario, MEMORY_TSO), tso);
    assert_int_equal(fails(scenario, MEMORY_WEAK), weak);
}
