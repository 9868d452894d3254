/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Many threads touch pages while advice changes, pages are removed, processes fork and the pager stops.
 */
#include <dirent.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../cm.h"
#include "pager.h"

struct toucher {
    pthread_t thread;
    struct fixture *f;
    pthread_barrier_t *barrier;
    uint64_t seed;
    bool zeros_too; /* a page that is all zeros is right as well */
    uint64_t wrong;
};

static void *touch(void *arg)
{
    struct toucher *t = arg;
    uint64_t x = t->seed;

    pthread_barrier_wait(t->barrier);
    for (unsigned i = 0; i < 2 * NPAGES; i++) {
        uint64_t page;

        x = x * UINT64_C(6364136223846793005) + 1442695040888963407;
        page = (x >> 33) % NPAGES;
        t->wrong +=
            !is_page(t->f->memory + page * PAGE, page) && !(t->zeros_too && is_zero(t->f->memory + page * PAGE));
    }
    return NULL;
}

/* Four threads touch pages at random while this thread does something to them. Returns how many pages were wrong. */
static uint64_t touch_while(struct fixture *f, bool zeros_too, void (*act)(struct fixture *f))
{
    struct toucher touchers[4];
    pthread_barrier_t barrier;
    uint64_t wrong = 0;

    pthread_barrier_init(&barrier, NULL, 5);
    for (unsigned i = 0; i < 4; i++) {
        touchers[i] = (struct toucher){.f = f, .barrier = &barrier, .seed = i + 1, .zeros_too = zeros_too};
        assert_int_equal(pthread_create(&touchers[i].thread, NULL, touch, &touchers[i]), 0);
    }
    pthread_barrier_wait(&barrier);
    act(f);
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(touchers[i].thread, NULL);
        wrong += touchers[i].wrong;
    }
    pthread_barrier_destroy(&barrier);
    return wrong;
}

static void do_nothing(struct fixture *f)
{
    (void)f;
}

static void test_uffd_threads_and_handlers_at_once(void **state)
{
    struct fixture *f = *state;

    for (unsigned handlers = 1; handlers <= 4; handlers++) {
        f->config.threads = handlers;
        f->config.write_protect = handlers % 2 == 0;
        map_all(f, handlers < 3 ? PGL_ADVICE_RANDOM : PGL_ADVICE_NORMAL);
        assert_int_equal(touch_while(f, false, do_nothing), 0);
        pgl_uffd_free(f->uffd);
        f->uffd = NULL;
        assert_int_equal(madvise(f->memory, NPAGES * PAGE, MADV_DONTNEED), 0);
    }
}

/* Whether a thread of this process has a name. */
static bool has_thread(const char *name)
{
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *task;
    bool found = false;
    char wanted[32];

    snprintf(wanted, sizeof(wanted), "%s\n", name);
    while (tasks && (task = readdir(tasks))) {
        char path[300], line[32] = "";
        FILE *comm;

        snprintf(path, sizeof(path), "/proc/self/task/%s/comm", task->d_name);
        comm = fopen(path, "re");
        if (comm) {
            found |= fgets(line, sizeof(line), comm) && strcmp(line, wanted) == 0;
            fclose(comm);
        }
    }
    if (tasks) {
        closedir(tasks);
    }
    return found;
}

static void test_uffd_handlers_have_names_with_their_numbers(void **state)
{
    struct fixture *f = *state;

    f->config.threads = 3;
    map_all(f, PGL_ADVICE_RANDOM);
    for (unsigned i = 0; i < 3; i++) {
        char name[16];

        snprintf(name, sizeof(name), "pagelock/%u", i);
        while (!has_thread(name)) { /* it names itself */
        }
    }
    assert_false(has_thread("pagelock/3"));
}

static void change_advice(struct fixture *f)
{
    for (unsigned i = 0; i < 200; i++) {
        enum pgl_advice advice = (enum pgl_advice)(i % PGL_ADVICE_COUNT);

        pgl_uffd_advise(f->uffd, f->memory + i % 7 * PAGE, (NPAGES - i) * PAGE, advice);
    }
}

static void test_uffd_advice_changes_while_running(void **state)
{
    struct fixture *f = *state;

    f->config.threads = 2;
    map_all(f, PGL_ADVICE_RANDOM);
    assert_int_equal(touch_while(f, false, change_advice), 0);
    assert_true(pgl_uffd_advise(f->uffd, f->memory, NPAGES * PAGE, PGL_ADVICE_RANDOM));
}

static void give_pages_back(struct fixture *f)
{
    for (unsigned i = 0; i < 300; i++) {
        madvise(f->memory + i * 41 % (NPAGES - 64) * PAGE, 64 * PAGE, MADV_DONTNEED);
    }
}

/* Copies race with removals: EAGAIN, removed pages that the driver has as resident, messages that are old. */
static void test_uffd_pages_given_back_while_they_are_touched(void **state)
{
    struct fixture *f = *state;

    f->config.threads = 3;
    map_all(f, PGL_ADVICE_SEQUENTIAL);
    assert_int_equal(touch_while(f, false, give_pages_back), 0);
    printf("uffd: %" PRIu64 " removes, %" PRIu64 " put off, %" PRIu64 " present\n", stats_of(f).removes,
           stats_of(f).again, stats_of(f).present);
    assert_count(f, removes, 300);
    assert_count(f, errors, 0);
}

static void prefetch_and_give_back(struct fixture *f)
{
    for (unsigned i = 0; i < 100; i++) {
        madvise(f->memory + i * 41 % (NPAGES - 64) * PAGE, 64 * PAGE, MADV_DONTNEED);
        pgl_uffd_prefetch(f->uffd, f->memory + i * 7 % 100 * PAGE, (NPAGES - 100) * PAGE);
    }
}

/* The caller of a prefetch meets the same answers of the kernel as a handler, and reads events as one. */
static void test_uffd_prefetches_while_pages_are_touched_and_given_back(void **state)
{
    struct fixture *f = *state;

    f->config.threads = 2;
    map_all(f, PGL_ADVICE_NORMAL);
    assert_int_equal(touch_while(f, false, prefetch_and_give_back), 0);
    assert_count(f, removes, 100);
    assert_count(f, errors, 0);
    assert_true(pgl_uffd_prefetch(f->uffd, f->memory, NPAGES * PAGE));
    assert_pages(f->memory, NPAGES, 0);
}

static void change_sets(struct fixture *f)
{
    struct pgl_recording *recording = pgl_recording_new(NPAGES);

    for (unsigned i = 0; i < 200; i++) {
        struct pgl_workset *set;

        pgl_recording_touch(recording, i * 13 % NPAGES);
        set = pgl_workset_new(recording, NULL, NULL);
        assert_true(pgl_uffd_set_workset(f->uffd, f->memory, NPAGES * PAGE, set));
        assert_true(pgl_uffd_watch(f->uffd, f->memory, NPAGES * PAGE, pgl_recording_touch, recording));
        assert_true(pgl_uffd_set_workset(f->uffd, f->memory, NPAGES * PAGE, NULL));
        pgl_workset_free(set);
    }
    assert_true(pgl_uffd_watch(f->uffd, f->memory, NPAGES * PAGE, NULL, NULL));
    pgl_recording_free(recording);
}

/* A set and a watcher are freed as soon as they were replaced. */
static void test_uffd_sets_and_watchers_change_while_running(void **state)
{
    struct fixture *f = *state;

    f->config.threads = 2;
    map_all(f, PGL_ADVICE_RANDOM);
    assert_int_equal(touch_while(f, false, change_sets), 0);
}

#ifdef THREAD_SANITIZED
/* Fork behind the back of the sanitizer, whose locks then stay free (see FOLLOW_FORKS()). The child ends at once. */
__attribute__((no_sanitize("thread"))) static pid_t fork_and_exit(void)
{
    pid_t child = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

    if (child == 0) {
        syscall(SYS_exit_group, 0);
    }
    return child;
}
#endif

static void fork_children(struct fixture *f)
{
    for (unsigned i = 0; i < 5; i++) {
#ifdef THREAD_SANITIZED
        pid_t child = fork_and_exit();
#else
        pid_t child = fork();
#endif

        if (child == 0) {
            _exit(!is_page(f->memory + 17 * i * PAGE, 17 * i) || !is_page(f->memory + 500 * PAGE, 500));
        }
        if (child > 0) {
            int status;

            waitpid(child, &status, 0);
            f->failures += status != 0;
        }
    }
}

/* Every way in which handlers get memory: chunks of pages, a child's space and objects, a map that grows. */
static void test_uffd_handlers_do_not_malloc(void **state)
{
    struct fixture *f = *state;

    FOLLOW_FORKS(f);
    map_all(f, PGL_ADVICE_RANDOM);
    f->memory[5 * PAGE] = 'p';
    for (uint64_t page = 0; page < 32; page += 2) {
        assert_true(pgl_uffd_advise(f->uffd, f->memory + page * PAGE, PAGE, PGL_ADVICE_SEQUENTIAL));
    }
    run_child(f->memory);
    run_child(f->memory);
    assert_int_equal(munmap(f->memory + 33 * PAGE, PAGE), 0);
    assert_int_equal(madvise(f->memory, 10 * PAGE, MADV_DONTNEED), 0);
    assert_pages(f->memory, 33, 0);
    assert_int_equal(__atomic_load_n(&handlers_malloced, __ATOMIC_RELAXED), 0);
}

static void test_uffd_forks_while_pages_are_touched(void **state)
{
    struct fixture *f = *state;

    f->config.follow_forks = true;
    f->config.threads = 2;
    map_all(f, PGL_ADVICE_NORMAL);
    assert_int_equal(touch_while(f, false, fork_children), 0);
    assert_int_equal(f->failures, 0);
    assert_count(f, forks, 5);
}

/* Memory shows another part of the file again and again, without ever being gone. */
static void show_other_pages(struct fixture *f)
{
    const int fixed = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
#ifdef SYS_mmap2
    const long number = SYS_mmap2;
#else
    const long number = SYS_mmap;
#endif

    for (uint64_t i = 1; i < 150; i++) {
        uint64_t shift = i % 2 * 100;

        if (i % 3 == 0) {
            pgl_uffd_unmap(f->uffd, f->memory, 256 * PAGE);
        }
        syscall(number, f->memory, 256 * PAGE, PROT_READ | PROT_WRITE, fixed, -1, 0); /* to tsan mmap() is a write */
        f->failures += !pgl_uffd_map(f->uffd, f->memory, 256 * PAGE, f->file, (off_t)(shift * PAGE), PGL_ADVICE_NORMAL);
        for (uint64_t page = i % 16; page < 256; page += 16) {
            f->failures += !is_page(f->memory + page * PAGE, page + shift) &&
                           !is_zero(f->memory + page * PAGE); /* touched before */
        }
    }
}

/* A handler that has read a fault, but not copied yet, must not copy the old file's page to memory that shows another.
 */
static void test_uffd_memory_that_shows_another_file_has_none_of_the_old_ones_pages(void **state)
{
    struct fixture *f = *state;

    f->config.threads = 3;
    map_all(f, PGL_ADVICE_NORMAL);
    touch_while(f, true, show_other_pages);
    assert_int_equal(f->failures, 0);
}

static void stop(struct fixture *f)
{
    struct timespec wait = {0, 500 * 1000};

    nanosleep(&wait, NULL);
    pgl_uffd_free(f->uffd);
    f->uffd = NULL;
}

static void test_uffd_stops_with_faults_in_flight(void **state)
{
    struct fixture *f = *state;

    for (unsigned round = 0; round < 10; round++) {
        f->config.threads = 1 + round % 3;
        map_all(f, PGL_ADVICE_RANDOM);
        assert_int_equal(touch_while(f, true, stop), 0);
        assert_int_equal(madvise(f->memory, NPAGES * PAGE, MADV_DONTNEED), 0);
    }
}

static void *fork_and_fork(void *arg)
{
    struct toucher *t = arg;

    may_malloc = true;
    while (!__atomic_load_n(&t->zeros_too, __ATOMIC_RELAXED)) {
        pid_t child = fork();
        int status;

        if (child == 0) {
            _exit(0);
        }
        t->wrong += child < 0 || waitpid(child, &status, 0) != child || status != 0;
    }
    return NULL;
}

/* fork() sleeps until its event is read: the last one's, too, for which no handler may be left. */
static void test_uffd_stops_while_a_thread_forks(void **state)
{
    struct fixture *f = *state;
    struct toucher t = {.f = f};
    pid_t holder;
    int held[2], status;

    FOLLOW_FORKS(f);
    for (unsigned round = 0; round < 100; round++) {
        map_all(f, PGL_ADVICE_RANDOM);
        (void)*(volatile unsigned char *)f->memory;
        assert_int_equal(pipe(held), 0);
        holder = fork(); /* keeps the userfaultfd open */
        if (holder == 0) {
            close(held[1]);
            _exit(read(held[0], &status, 1) != 0);
        }
        t.zeros_too = false;
        assert_int_equal(pthread_create(&t.thread, NULL, fork_and_fork, &t), 0);
        usleep(round % 10 * 100);
        alarm(20);
        pgl_uffd_free(f->uffd);
        f->uffd = NULL;
        __atomic_store_n(&t.zeros_too, true, __ATOMIC_RELAXED);
        pthread_join(t.thread, NULL);
        alarm(0);
        close(held[1]);
        close(held[0]);
        assert_int_equal(waitpid(holder, &status, 0), holder);
        assert_int_equal(madvise(f->memory, NPAGES * PAGE, MADV_DONTNEED), 0);
    }
    assert_int_equal(t.wrong, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_threads_and_handlers_at_once),
        TEST(test_uffd_handlers_have_names_with_their_numbers),
        TEST(test_uffd_advice_changes_while_running),
        TEST(test_uffd_pages_given_back_while_they_are_touched),
        TEST(test_uffd_prefetches_while_pages_are_touched_and_given_back),
        TEST(test_uffd_sets_and_watchers_change_while_running),
        TEST(test_uffd_handlers_do_not_malloc),
        TEST(test_uffd_forks_while_pages_are_touched),
        TEST(test_uffd_memory_that_shows_another_file_has_none_of_the_old_ones_pages),
        TEST(test_uffd_stops_with_faults_in_flight),
        TEST(test_uffd_stops_while_a_thread_forks),
    };
#undef TEST

    return pager_permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
