/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fork beside collections of more leaves than the struct has room for. Their memory comes from malloc(), and with GLib
 * also from GLib's allocator, whose locks a child may find held before GLib 2.76.
 *
 * Usage: test_fork_leaves [growing]. Without an argument the other threads are in no call while the process forks. With
 * one they go on; G_SLICE=always-malloc makes an old GLib use malloc().
 */
#include <pthread.h>
#include <string.h>

#include "../sanitized.h"
#include "emu.h"

enum {
    N_THREADS = 2,
    N_FORKS = 15,
    N_LEAVES = 12,
};

static unsigned stop;
static unsigned resting; /* the threads shall stay out of the library */
static unsigned n_at_rest;
static unsigned n_rounds;

/* Lock a page of each leaf, again and again. */
static void grow(struct emu *emu, void *arg)
{
    (void)arg;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        struct pgl_collection collection;

        if (pgl_collection_lock(&collection, emu->table, 0, (UINT64_C(1) << 48) - 1)) {
            pgl_collection_unlock(&collection);
        }
        __atomic_fetch_add(&n_rounds, 1, __ATOMIC_RELAXED);
        if (__atomic_load_n(&resting, __ATOMIC_ACQUIRE)) {
            __atomic_fetch_add(&n_at_rest, 1, __ATOMIC_ACQ_REL);
            while (__atomic_load_n(&resting, __ATOMIC_ACQUIRE)) {
                sched_yield();
            }
            __atomic_fetch_sub(&n_at_rest, 1, __ATOMIC_ACQ_REL);
        }
    }
}

/* In the child: grow a collection, and kill by one. 0 when all went well. */
static int use_table(struct emu *emu)
{
    struct pgl_collection collection;
    unsigned n = 0;

    for (unsigned i = 0; i < 100; i++) {
        if (!pgl_collection_lock(&collection, emu->table, 0, (UINT64_C(1) << 48) - 1)) {
            return 1;
        }
        n = 0;
        for (uint64_t index = 0; pgl_collection_next(&collection, &index); index++) {
            n++;
        }
        pgl_collection_unlock(&collection);
    }
    if (n != N_LEAVES * PGL_LEVEL_SIZE || pgl_flush(emu->table, NULL) != PGL_HIT) {
        return 2;
    }
    return pgl_table_check(emu->table, NULL, NULL) ? 3 : 0;
}

static void wait_for_rest(bool at_rest)
{
    while (__atomic_load_n(&n_at_rest, __ATOMIC_ACQUIRE) != (at_rest ? N_THREADS : 0)) {
        sched_yield();
    }
}

static void fork_often(bool at_rest)
{
    struct emu_call calls[N_THREADS];
    struct emu_block blocks[N_LEAVES];
    struct emu emu;

    stop = n_at_rest = n_rounds = 0;
    emu_init(&emu);
    for (uint64_t i = 0; i < N_LEAVES; i++) {
        emu_link(&emu, &blocks[i], i * PGL_LEVEL_SIZE << 12, i * PGL_LEVEL_SIZE << 12);
    }
    for (unsigned i = 0; i < N_THREADS; i++) {
        emu_call(&calls[i], &emu, grow, NULL);
    }
    for (unsigned i = 0; i < N_FORKS; i++) {
        unsigned rounds = __atomic_load_n(&n_rounds, __ATOMIC_RELAXED);
        pid_t child;

        while (__atomic_load_n(&n_rounds, __ATOMIC_RELAXED) < rounds + N_THREADS) {
            sched_yield();
        }
        if (at_rest) {
            __atomic_store_n(&resting, 1, __ATOMIC_RELEASE);
            wait_for_rest(true);
        }
        child = at_rest ? fork() : emu_fork_holding_everything(&emu, 60);
        if (!child) {
            alarm(60);
            _exit(use_table(&emu));
        }
        __atomic_store_n(&resting, 0, __ATOMIC_RELEASE);
        wait_for_rest(false);
        emu_assert_child_succeeds(child);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < N_THREADS; i++) {
        emu_join(&calls[i]);
    }
    emu_fini(&emu);
}

static void test_fork_with_threads_at_rest_leaves_the_child_large_collections(void **state)
{
    (void)state;
    fork_often(true);
}

static void test_fork_under_a_collection_leaves_the_child_large_collections(void **state)
{
    (void)state;
#ifdef SANITIZED
    SKIP_BECAUSE("a forked child may find the lock of a sanitizer's allocator held");
#endif
    fork_often(false);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest at_rest[] = {
        cmocka_unit_test(test_fork_with_threads_at_rest_leaves_the_child_large_collections),
    };
    const struct CMUnitTest growing[] = {
        cmocka_unit_test(test_fork_under_a_collection_leaves_the_child_large_collections),
    };

    if (argc > 1 && !strcmp(argv[1], "growing")) {
        return cmocka_run_group_tests(growing, NULL, NULL);
    }
    return cmocka_run_group_tests(at_rest, NULL, NULL);
}
