/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A thread that is cancelled while it waits in the library goes on to the end of its call, and leaves nothing locked.
 * Linked with --wrap for nanosleep and pthread_cond_wait, which tell that a thread has come to its sleep.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>

#include <pagelock/uffd.h>

#include "code/emu.h"
#include "fault/sim.h"

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

/* A thread that is cancelled. It has a request pending before its call, so that its first sleep would end it. */
struct victim {
    void (*call)(void *arg);
    void *arg;
    pthread_t thread;
    unsigned returned; /* from the call */
    unsigned ended;
};

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

static void start_victim(struct victim *victim, void (*call)(void *arg), void *arg)
{
    *victim = (struct victim){.call = call, .arg = arg};
    sleeps = 0;
    assert_int_equal(pthread_create(&victim->thread, NULL, run_victim, victim), 0);
}

/* Wait until it has come to its @n-th sleep, which the sleeps before have not ended. */
static void await_sleep(struct victim *victim, unsigned n)
{
    EMU_WAIT_UNTIL(__atomic_load_n(&sleeps, __ATOMIC_ACQUIRE) >= n ||
                   __atomic_load_n(&victim->ended, __ATOMIC_ACQUIRE));
    assert_false(__atomic_load_n(&victim->ended, __ATOMIC_ACQUIRE));
}

static void assert_finished(struct victim *victim)
{
    void *result;

    assert_int_equal(pthread_join(victim->thread, &result), 0);
    assert_true(victim->returned);
    assert_true(result == PTHREAD_CANCELED);
}

/* ---- code pages ---- */

static void lock_collection(void *opaque)
{
    struct emu *emu = opaque;
    struct pgl_collection collection;

    if (pgl_collection_lock(&collection, emu->table, 0x1000, 0x4fff)) {
        pgl_collection_unlock(&collection);
    }
}

static void test_cancel_of_a_waiter_for_a_page_leaves_no_other_locked(void **state)
{
    struct emu_holder holder;
    struct victim victim;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    for (uint64_t index = 1; index <= 4; index++) {
        pgl_page_get(emu.table, index);
    }
    emu_hold(&holder, &emu, 4);
    start_victim(&victim, lock_collection, &emu);
    await_sleep(&victim, 3);
    emu_release(&holder);
    assert_finished(&victim);
    for (uint64_t index = 1; index <= 4; index++) {
        assert_false(emu_is_locked(&emu, index));
    }
    emu_fini(&emu);
}

struct killing {
    struct emu *emu;
    struct emu_block *block;
};

static void kill_block(void *opaque)
{
    struct killing *killing = opaque;

    pgl_invalidate_tb(killing->emu->table, &killing->block->tb, NULL);
}

static void kill_block_of_call(struct emu *emu, void *arg)
{
    (void)emu;
    kill_block(arg);
}

static sem_t may_return;

/* Runs with no page locked, because the block is on none. */
static void wait_in_retired(struct emu *emu, struct pgl_tb *chain)
{
    (void)emu, (void)chain;
    while (sem_wait(&may_return)) {
        ;
    }
}

static void test_cancel_of_a_waiter_for_a_dying_block_on_no_page(void **state)
{
    struct emu_block block = {0};
    struct killing killing;
    struct victim victim;
    struct emu_call killer;
    struct emu emu;

    (void)state;
    emu_init(&emu);
    killing = (struct killing){&emu, &block};
    sem_init(&may_return, 0, 0);
    emu.at_retired = wait_in_retired;
    pgl_tb_init(&block.tb);
    pgl_tb_link_unlisted(emu.table, &block.tb);
    emu_call(&killer, &emu, kill_block_of_call, &killing);
    EMU_WAIT_UNTIL(!emu_is_live(&block));
    start_victim(&victim, kill_block, &killing);
    await_sleep(&victim, 3);
    sem_post(&may_return);
    emu_join(&killer);
    assert_finished(&victim);
    sem_destroy(&may_return);
    emu_fini(&emu); /* finds the lock of the dying blocks free */
}

/* ---- faulting pages ---- */

struct faulting {
    struct pgl_fault *fault;
    struct pgl_object *object;
    enum pgl_fault_result result;
};

static void fault_on_page_3(void *opaque)
{
    struct faulting *faulting = opaque;
    const struct pgl_fault_args args = {.object = faulting->object, .index = 3, .access = PGL_ACCESS_READ};
    struct pgl_fault_page page;

    faulting->result = pgl_fault_run(faulting->fault, &args, &page);
}

static void test_cancel_of_a_fault_that_waits_for_its_pager(void **state)
{
    struct sim sim = {.script = sim_keep, .tag = 0xaa};
    struct pgl_object_config config = sim_config(&sim, 16);
    struct pgl_object_stats stats;
    struct faulting faulting;
    struct victim victim;

    (void)state;
    faulting = (struct faulting){.fault = pgl_fault_new(), .object = pgl_object_new(&config)};
    start_victim(&victim, fault_on_page_3, &faulting);
    await_sleep(&victim, 1);
    sim_supply(&sim, sim_last(&sim), 3, 3, PGL_ACCESS_WRITE);
    assert_finished(&victim);
    assert_int_equal(faulting.result, PGL_FAULT_SUCCESS);
    pgl_object_get_stats(faulting.object, &stats);
    assert_int_equal(stats.waiting, 0);
    pgl_fault_free(faulting.fault);
    pgl_object_unref(faulting.object);
}

/* ---- memory filled from a file ---- */

struct paging {
    struct pgl_uffd *uffd;
    unsigned char *memory;
    size_t length;
    int file;
    bool done;
};

static void new_pager(void *opaque)
{
    struct paging *paging = opaque;
    const struct pgl_uffd_config config = {.threads = 2};

    paging->uffd = pgl_uffd_new(&config);
}

static void map_file(void *opaque)
{
    struct paging *paging = opaque;

    paging->done = pgl_uffd_map(paging->uffd, paging->memory, paging->length, paging->file, 0, PGL_ADVICE_NORMAL);
}

static void unmap_file(void *opaque)
{
    struct paging *paging = opaque;

    paging->done = pgl_uffd_unmap(paging->uffd, paging->memory, paging->length);
}

static void free_pager(void *opaque)
{
    struct paging *paging = opaque;

    pgl_uffd_free(paging->uffd);
}

static void call_cancelled(void (*call)(void *arg), struct paging *paging)
{
    struct victim victim;

    start_victim(&victim, call, paging);
    assert_finished(&victim);
}

static void test_cancel_of_a_call_of_the_pager_is_answered_after_it(void **state)
{
    struct paging paging = {.length = 4 * (size_t)sysconf(_SC_PAGESIZE), .file = memfd_create("pages", MFD_CLOEXEC)};
    const struct pgl_uffd_config config = {0};

    (void)state;
    paging.uffd = pgl_uffd_new(&config);
    if (!paging.uffd) {
        SKIP_BECAUSE(pgl_uffd_explain(errno));
    }
    pgl_uffd_free(paging.uffd);
    assert_int_equal(pwrite(paging.file, "page", 4, (off_t)paging.length - 1), 4);
    paging.memory = mmap(NULL, paging.length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(paging.memory != MAP_FAILED);

    call_cancelled(new_pager, &paging);
    assert_non_null(paging.uffd);
    call_cancelled(map_file, &paging);
    assert_true(paging.done);
    paging.done = false;
    call_cancelled(unmap_file, &paging); /* no handler has the file yet; therefore this closes it */
    assert_true(paging.done);
    paging.done = false;
    call_cancelled(map_file, &paging);
    assert_true(paging.done);
    assert_int_equal(paging.memory[paging.length - 1], 'p');
    call_cancelled(free_pager, &paging);
    munmap(paging.memory, paging.length);
    close(paging.file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cancel_of_a_waiter_for_a_page_leaves_no_other_locked),
        cmocka_unit_test(test_cancel_of_a_waiter_for_a_dying_block_on_no_page),
        cmocka_unit_test(test_cancel_of_a_fault_that_waits_for_its_pager),
        cmocka_unit_test(test_cancel_of_a_call_of_the_pager_is_answered_after_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
