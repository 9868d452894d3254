/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The explorer finds the classic mistakes, and the outcomes that are known of litmus tests; it finds no others.
 */
#include <stdlib.h>

#include "litmus.h"

/* Store buffering: both threads store, then read what the other stores. */

static void sb_0(void)
{
    store(&x, 1, __ATOMIC_RELAXED);
    seen[0][0] = load(&y, __ATOMIC_RELAXED);
}

static void sb_1(void)
{
    store(&y, 1, __ATOMIC_RELAXED);
    seen[1][0] = load(&x, __ATOMIC_RELAXED);
}

static void sb_fence_0(void)
{
    store(&x, 1, __ATOMIC_RELAXED);
    fence();
    seen[0][0] = load(&y, __ATOMIC_RELAXED);
}

static void sb_fence_1(void)
{
    store(&y, 1, __ATOMIC_RELAXED);
    fence();
    seen[1][0] = load(&x, __ATOMIC_RELAXED);
}

/* A read-modify-write of another word is a fence on x86, and nowhere else. */
static void sb_update_0(void)
{
    store(&x, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&lock_a, 1, __ATOMIC_SEQ_CST);
    seen[0][0] = load(&y, __ATOMIC_RELAXED);
}

static void sb_update_1(void)
{
    store(&y, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&lock_b, 1, __ATOMIC_SEQ_CST);
    seen[1][0] = load(&x, __ATOMIC_RELAXED);
}

static void sb_final(void)
{
    explore_check(seen[0][0] == 1 || seen[1][0] == 1);
}

static const struct explore_scenario store_buffering = {"sb", "", reset, {sb_0, sb_1}, sb_final};
static const struct explore_scenario store_buffering_one_fence = {"sb1", "", reset, {sb_fence_0, sb_1}, sb_final};
static const struct explore_scenario store_buffering_fences = {"sb2", "", reset, {sb_fence_0, sb_fence_1}, sb_final};
static const struct explore_scenario store_buffering_updates = {"sbu", "", reset, {sb_update_0, sb_update_1}, sb_final};

/* Message passing: data, then a flag. */

static void mp_relaxed_0(void)
{
    store(&x, 1, __ATOMIC_RELAXED);
    store(&y, 1, __ATOMIC_RELAXED);
}

static void mp_release_0(void)
{
    store(&x, 1, __ATOMIC_RELAXED);
    store(&y, 1, __ATOMIC_RELEASE);
}

static void mp_relaxed_1(void)
{
    seen[1][0] = load(&y, __ATOMIC_RELAXED);
    seen[1][1] = load(&x, __ATOMIC_RELAXED);
}

static void mp_acquire_1(void)
{
    seen[1][0] = load(&y, __ATOMIC_ACQUIRE);
    seen[1][1] = load(&x, __ATOMIC_RELAXED);
}

static void mp_final(void)
{
    explore_check(seen[1][0] == 0 || seen[1][1] == 1);
}

static const struct explore_scenario message_relaxed = {"mp", "", reset, {mp_relaxed_0, mp_acquire_1}, mp_final};
static const struct explore_scenario message_no_acquire = {"mpr", "", reset, {mp_release_0, mp_relaxed_1}, mp_final};
static const struct explore_scenario message_passing = {"mpra", "", reset, {mp_release_0, mp_acquire_1}, mp_final};

/* The same with plain data: not a stale value, but a race. */

static void race_release_0(void)
{
    plain = 1;
    store(&y, 1, __ATOMIC_RELEASE);
}

static void race_relaxed_0(void)
{
    plain = 1;
    store(&y, 1, __ATOMIC_RELAXED);
}

static void race_1(void)
{
    if (load(&y, __ATOMIC_ACQUIRE) == 1) {
        explore_check(plain == 1);
    }
}

static const struct explore_scenario race_none = {"race0", "", reset, {race_release_0, race_1}, NULL};
static const struct explore_scenario race_no_release = {"race1", "", reset, {race_relaxed_0, race_1}, NULL};

/* Sizes: one word, accessed as a whole and in parts; or two neighbours, each by itself. */

static union {
    uint64_t whole;
    uint8_t bytes[8];
} sized;

static void size_whole(void)
{
    __atomic_store_n(&sized.whole, 0x0101010101010101, __ATOMIC_RELAXED);
}

static void size_byte_2(void)
{
    seen[1][0] = __atomic_load_n(&sized.bytes[2], __ATOMIC_RELAXED);
}

static void size_byte_3(void)
{
    __atomic_store_n(&sized.bytes[3], 1, __ATOMIC_RELAXED);
}

static const struct explore_scenario size_mixed = {"mixed", "", reset, {size_whole, size_byte_2}, NULL};
static const struct explore_scenario size_same = {"sizes", "", reset, {size_byte_3, size_byte_2}, NULL};

/* Coherence: two reads of one word never go back. */

static void coherence_0(void)
{
    store(&x, 1, __ATOMIC_RELAXED);
    store(&x, 2, __ATOMIC_RELAXED);
}

static void coherence_1(void)
{
    seen[1][0] = load(&x, __ATOMIC_RELAXED);
    seen[1][1] = load(&x, __ATOMIC_RELAXED);
    explore_check(seen[1][0] <= seen[1][1]);
}

static const struct explore_scenario coherence = {"coherence", "", reset, {coherence_0, coherence_1}, NULL};

/* Independent reads of independent writes: forbidden by fences, and on x86 by itself. */

static void iriw_0(void)
{
    store(&x, 1, __ATOMIC_RELAXED);
}

static void iriw_1(void)
{
    store(&y, 1, __ATOMIC_RELAXED);
}

static void iriw_2(void)
{
    seen[2][0] = load(&x, __ATOMIC_ACQUIRE);
    seen[2][1] = load(&y, __ATOMIC_ACQUIRE);
}

static void iriw_3(void)
{
    seen[3][0] = load(&y, __ATOMIC_ACQUIRE);
    seen[3][1] = load(&x, __ATOMIC_ACQUIRE);
}

static void iriw_fence_2(void)
{
    seen[2][0] = load(&x, __ATOMIC_ACQUIRE);
    fence();
    seen[2][1] = load(&y, __ATOMIC_ACQUIRE);
}

static void iriw_fence_3(void)
{
    seen[3][0] = load(&y, __ATOMIC_ACQUIRE);
    fence();
    seen[3][1] = load(&x, __ATOMIC_ACQUIRE);
}

static void iriw_final(void)
{
    explore_check(!(seen[2][0] && !seen[2][1] && seen[3][0] && !seen[3][1]));
}

static const struct explore_scenario iriw = {"iriw", "", reset, {iriw_0, iriw_1, iriw_2, iriw_3}, iriw_final};
static const struct explore_scenario iriw_fences = {
    "iriwf", "", reset, {iriw_0, iriw_1, iriw_fence_2, iriw_fence_3}, iriw_final};

/* Counting. */

static void count_loads(void)
{
    store(&x, load(&x, __ATOMIC_RELAXED) + 1, __ATOMIC_RELAXED);
}

static void count_updates(void)
{
    __atomic_fetch_add(&x, 1, __ATOMIC_RELAXED);
}

static void count_locked(void)
{
    acquire(&lock_a);
    plain++;
    release(&lock_a);
    __atomic_fetch_add(&x, 1, __ATOMIC_RELAXED);
}

static void count_unlocked_relaxed(void)
{
    acquire(&lock_a);
    plain++;
    store(&lock_a, 0, __ATOMIC_RELAXED);
    __atomic_fetch_add(&x, 1, __ATOMIC_RELAXED);
}

static void count_final(void)
{
    explore_check(x == 2);
}

static const struct explore_scenario lost_update = {"lost", "", reset, {count_loads, count_loads}, count_final};
static const struct explore_scenario no_lost_update = {"add", "", reset, {count_updates, count_updates}, count_final};
static const struct explore_scenario locked = {"lock", "", reset, {count_locked, count_locked}, count_final};
static const struct explore_scenario lock_no_release = {
    "norelease", "", reset, {count_unlocked_relaxed, count_unlocked_relaxed}, count_final};

/* Deadlock, and waiting for ever. */

static void abba_0(void)
{
    acquire(&lock_a);
    acquire(&lock_b);
    release(&lock_b);
    release(&lock_a);
}

static void abba_1(void)
{
    acquire(&lock_b);
    acquire(&lock_a);
    release(&lock_a);
    release(&lock_b);
}

static void yielding(void)
{
    while (load(&x, __ATOMIC_RELAXED) == 0) {
        explore_yield();
    }
}

static const struct explore_scenario abba = {"abba", "", reset, {abba_0, abba_1}, NULL};
static const struct explore_scenario abab = {"abab", "", reset, {abba_0, abba_0}, NULL};
static const struct explore_scenario yield_served = {"yield", "", reset, {yielding, iriw_0}, NULL};
static const struct explore_scenario yield_forever = {"forever", "", reset, {yielding, iriw_1}, NULL};

static void busy(void)
{
    while (load(&x, __ATOMIC_RELAXED) == 0) {
    }
}

static const struct explore_scenario livelock = {"livelock", "", reset, {busy, iriw_1}, NULL};

/* Memory: used after it is freed, leaked, read before what its allocator wrote can be seen. */

static void publish_release(void)
{
    __atomic_store_n(&pointer, calloc(1, sizeof *pointer), __ATOMIC_RELEASE);
}

static void publish_relaxed(void)
{
    __atomic_store_n(&pointer, calloc(1, sizeof *pointer), __ATOMIC_RELAXED);
}

static void look(void)
{
    uint64_t *p = __atomic_load_n(&pointer, __ATOMIC_ACQUIRE);
    seen[1][0] = p ? load(p, __ATOMIC_RELAXED) : 0;
}

static void publish_and_free(void)
{
    uint64_t *p = calloc(1, sizeof *p);
    __atomic_store_n(&pointer, p, __ATOMIC_RELEASE);
    __atomic_store_n(&pointer, NULL, __ATOMIC_RELEASE);
    free(p);
}

static void free_pointer(void)
{
    free(pointer);
}

static const struct explore_scenario published = {"pub", "", reset, {publish_release, look}, free_pointer};
static const struct explore_scenario leaked = {"leak", "", reset, {publish_release, look}, NULL};
static const struct explore_scenario unpublished = {"unpub", "", reset, {publish_relaxed, look}, free_pointer};
static const struct explore_scenario freed = {"uaf", "", reset, {publish_and_free, look}, NULL};

/* Histories: a register that two threads write and read. */

enum { REGISTER_WRITE, REGISTER_READ };

static bool apply_register(void *state, const struct hist_op *op)
{
    uint64_t *value = state;
    if (op->kind == REGISTER_WRITE) {
        *value = op->arg[0];
        return true;
    }
    return op->result == *value;
}

static void register_write(void)
{
    int op = hist_call(REGISTER_WRITE, 1, 0);
    store(&x, 1, __ATOMIC_RELAXED);
    hist_return(op, 0);
}

static void register_read(void)
{
    for (int i = 0; i < 2; i++) {
        int op = hist_call(REGISTER_READ, 0, 0);
        hist_return(op, load(&x, __ATOMIC_RELAXED));
    }
}

/* Reads the value that the writer cached, not the one that it wrote. */
static void stale_read(void)
{
    uint64_t cached = load(&x, __ATOMIC_RELAXED);
    for (int i = 0; i < 2; i++) {
        int op = hist_call(REGISTER_READ, 0, 0);
        hist_return(op, i == 0 ? load(&x, __ATOMIC_RELAXED) : cached);
    }
}

static void register_final(void)
{
    uint64_t initial = 0;
    hist_check(&initial, sizeof initial, apply_register);
}

static const struct explore_scenario reg = {"register", "", reset, {register_write, register_read}, register_final};
static const struct explore_scenario stale = {"stale", "", reset, {register_write, stale_read}, register_final};

/* Static storage, as the code under test may have it: the second thread to come here finds what the first left. */

static unsigned int visits;

void pgl_explore_forget(void)
{
    visits = 0;
}

static void visit(void)
{
    visits++;
    explore_check(visits == 1);
}

static const struct explore_scenario visited_once = {"once", "", reset, {visit}, NULL};
static const struct explore_scenario visited_twice = {"twice", "", reset, {visit, visit}, NULL};

/* Verdicts. */

static void test_explore_needs_both_fences_of_store_buffering(void **state)
{
    (void)state;
    assert_verdicts(&store_buffering, false, true, true);
    assert_verdicts(&store_buffering_one_fence, false, true, true);
    assert_verdicts(&store_buffering_fences, false, false, false);
}

static void test_explore_takes_an_update_for_a_fence_on_x86_only(void **state)
{
    (void)state;
    assert_verdicts(&store_buffering_updates, false, false, true);
}

static void test_explore_needs_release_and_acquire_for_a_message(void **state)
{
    (void)state;
    assert_verdicts(&message_relaxed, false, false, true);
    assert_verdicts(&message_no_acquire, false, false, true);
    assert_verdicts(&message_passing, false, false, false);
}

static void test_explore_finds_the_race_of_a_missing_release(void **state)
{
    (void)state;
    assert_verdicts(&race_none, false, false, false);
    assert_verdicts(&race_no_release, true, true, true);
    assert_verdicts(&lock_no_release, true, true, true);
}

static void test_explore_finds_mixed_sizes(void **state)
{
    (void)state;
    assert_verdicts(&size_same, false, false, false);
    assert_verdicts(&size_mixed, true, true, true);
}

static void test_explore_keeps_a_word_coherent(void **state)
{
    (void)state;
    assert_verdicts(&coherence, false, false, false);
}

static void test_explore_needs_fences_for_independent_reads(void **state)
{
    (void)state;
    assert_verdicts(&iriw, false, false, true);
    assert_verdicts(&iriw_fences, false, false, false);
}

static void test_explore_finds_the_lost_update(void **state)
{
    (void)state;
    assert_verdicts(&lost_update, true, true, true);
    assert_verdicts(&no_lost_update, false, false, false);
    assert_verdicts(&locked, false, false, false);
}

static void test_explore_finds_deadlock_and_lost_progress(void **state)
{
    (void)state;
    assert_verdicts(&abba, true, true, true);
    assert_verdicts(&abab, false, false, false);
    assert_verdicts(&yield_served, false, false, false);
    assert_verdicts(&yield_forever, true, true, true);
    assert_verdicts(&livelock, true, true, true);
}

static void test_explore_finds_misuse_of_memory(void **state)
{
    (void)state;
    assert_verdicts(&published, false, false, false);
    assert_verdicts(&unpublished, true, true, true);
    assert_verdicts(&leaked, true, true, true);
    assert_verdicts(&freed, true, true, true);
}

static void test_explore_finds_the_history_that_is_not_linearizable(void **state)
{
    (void)state;
    assert_verdicts(&reg, false, false, false);
    assert_verdicts(&stale, true, true, true);
}

static void test_explore_no_schedule_inherits_what_another_left(void **state)
{
    (void)state;
    assert_verdicts(&visited_twice, true, true, true);
    assert_verdicts(&visited_once, false, false, false);
}

/* Two threads of n steps (the first leads to the first access) can be interleaved in C(2n, n) ways. */
static void test_explore_enumerates_each_interleaving_once(void **state)
{
    static const struct {
        const struct explore_scenario *scenario;
        unsigned int interleavings, behaviours;
    } cases[] = {{&no_lost_update, 6, 2}, {&store_buffering, 20, 3}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct search *search = search_new(cases[i].scenario, 1);
        search_exhaust(search, MEMORY_SC, 100, search_now() + 60);
        assert_true(search_tally(search)->exhausted[MEMORY_SC]);
        assert_int_equal(search_tally(search)->distinct, cases[i].interleavings);
        assert_int_equal(search_tally(search)->behaviours, cases[i].behaviours);
        search_free(search);
    }
}

static void test_explore_random_strategies_find_it_too(void **state)
{
    (void)state;
    for (int m = 0; m < MEMORY_MODES; m++) {
        struct search *search = search_new(&lost_update, 1);
        search_mixed(search, (enum explore_memory)m, search_now() + 60);
        assert_true(search_tally(search)->failed);
        search_free(search);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_explore_needs_both_fences_of_store_buffering),
        cmocka_unit_test(test_explore_takes_an_update_for_a_fence_on_x86_only),
        cmocka_unit_test(test_explore_needs_release_and_acquire_for_a_message),
        cmocka_unit_test(test_explore_finds_the_race_of_a_missing_release),
        cmocka_unit_test(test_explore_finds_mixed_sizes),
        cmocka_unit_test(test_explore_keeps_a_word_coherent),
        cmocka_unit_test(test_explore_needs_fences_for_independent_reads),
        cmocka_unit_test(test_explore_finds_the_lost_update),
        cmocka_unit_test(test_explore_finds_deadlock_and_lost_progress),
        cmocka_unit_test(test_explore_finds_misuse_of_memory),
        cmocka_unit_test(test_explore_finds_the_history_that_is_not_linearizable),
        cmocka_unit_test(test_explore_no_schedule_inherits_what_another_left),
        cmocka_unit_test(test_explore_enumerates_each_interleaving_once),
        cmocka_unit_test(test_explore_random_strategies_find_it_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
