/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Handlers when the kernel refuses: a page comes all the same, or it becomes zeros and is counted. UFFDIO_WAKE alone is
 * left out, because it fails only for a range that does not exist. Linked with --wrap for clock_gettime(), too.
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include "../cm.h"
#include "calls.h"
#include "clock.h"
#include "waits.h"

enum outcome { BYTES, ZEROS };

static int told_error; /* to the failed() callback. Atomic. */

static enum pgl_uffd_remedy on_failure(void *arg, const void *addr, int error)
{
    (void)arg;
    (void)addr;
    __atomic_store_n(&told_error, error, __ATOMIC_RELEASE);
    return PGL_UFFD_ZERO;
}

/* Faults a page of data and one of a hole in while calls fail so and so often; then everything else is there. */
static void fault_failing(struct fixture *f, enum call call, unsigned long request, int error, unsigned times,
                          enum outcome outcome)
{
    bool hole = request == UFFDIO_ZEROPAGE || call == CALL_FSTAT;
    uint64_t page = hole ? 50 : 10;

    fail_theirs(call, request, error, times);
    if (outcome == BYTES) {
        assert_true(hole ? shows_zeros(f, page) : shows_page(f, page));
    } else {
        assert_true(shows_zeros(f, page));
    }
    f->memory[page * PAGE] = 'w';
    assert_int_equal(f->memory[page * PAGE], 'w');
    assert_errors(f, outcome == ZEROS);
    if (outcome == ZEROS) {
        assert_int_equal(__atomic_load_n(&told_error, __ATOMIC_ACQUIRE), error);
    }
    for (uint64_t i = 0; i < NPAGES; i++) {
        if (i != page) {
            assert_true(i < NPAGES / 2 ? shows_page(f, i) : shows_zeros(f, i));
        }
    }
    assert_true(count_fired() >= 1);
}

static void try_failing(struct fixture *f, enum call call, unsigned long request, int error, unsigned times,
                        enum outcome outcome)
{
    for (int mode = 0; mode < 4; mode++) {
        f->config.write_protect = ((mode & 1) != 0 && request != UFFDIO_ZEROPAGE) || request == UFFDIO_WRITEPROTECT;
        f->config.threads = 1;
        f->config.failed = on_failure;
        assert_true(try_new(f));
        assert_true(map_zeroing(f->uffd, f->memory, NPAGES * PAGE, f->file, 0,
                                mode & 2 ? PGL_ADVICE_SEQUENTIAL : PGL_ADVICE_RANDOM));
        fault_failing(f, call, request, error, times, outcome);
        undo_new(f);
        renew_memory(f);
    }
}

static void make_sparse(struct fixture *f)
{
    assert_int_equal(ftruncate(f->file, NPAGES / 2 * PAGE), 0);
    assert_int_equal(ftruncate(f->file, NPAGES * PAGE), 0);
}

static void test_uffd_handler_outlives_each_error_of_its_calls(void **state)
{
    static const struct {
        enum call call;
        unsigned long request;
        int error;
        enum outcome outcome;
    } all[] = {
        {CALL_EPOLL_WAIT, 0, EINTR, BYTES},
        {CALL_READ, 0, EINTR, BYTES},
        {CALL_READ, 0, EAGAIN, BYTES},
        {CALL_READ, 0, EMFILE, BYTES},
        {CALL_READ, 0, ENFILE, BYTES},
        {CALL_READ, 0, ENOMEM, BYTES},
        {CALL_PREAD, 0, EINTR, BYTES},
        {CALL_PREAD, 0, 0, BYTES}, /* it reads half */
        {CALL_PREAD, 0, EIO, ZEROS},
        {CALL_PREAD, 0, EAGAIN, BYTES},
        {CALL_PREAD, 0, EBADF, ZEROS},
        {CALL_PREAD, 0, EISDIR, ZEROS},
        {CALL_PREAD, 0, ENOMEM, BYTES},
        {CALL_FSTAT, 0, EIO, ZEROS},
        {CALL_IOCTL, UFFDIO_COPY, 0, BYTES}, /* it copies one page of the cluster */
        {CALL_IOCTL, UFFDIO_COPY, EAGAIN, BYTES},
        {CALL_IOCTL, UFFDIO_COPY, EEXIST, BYTES},
        {CALL_IOCTL, UFFDIO_COPY, ENOENT, BYTES},
        {CALL_IOCTL, UFFDIO_COPY, ESRCH, BYTES},
        {CALL_IOCTL, UFFDIO_COPY, ENOMEM, BYTES},
        {CALL_IOCTL, UFFDIO_COPY, EFAULT, ZEROS},
        {CALL_IOCTL, UFFDIO_COPY, ENOSPC, ZEROS},
        {CALL_IOCTL, UFFDIO_ZEROPAGE, EAGAIN, BYTES},
        {CALL_IOCTL, UFFDIO_ZEROPAGE, EEXIST, BYTES},
        {CALL_IOCTL, UFFDIO_ZEROPAGE, ENOENT, BYTES},
        {CALL_IOCTL, UFFDIO_ZEROPAGE, ESRCH, BYTES},
        {CALL_IOCTL, UFFDIO_ZEROPAGE, ENOMEM, BYTES},
        {CALL_IOCTL, UFFDIO_WRITEPROTECT, EAGAIN, BYTES},
        {CALL_IOCTL, UFFDIO_WRITEPROTECT, ENOENT, BYTES},
        {CALL_IOCTL, UFFDIO_WRITEPROTECT, ESRCH, BYTES},
    };
    struct fixture *f = *state;

    make_sparse(f);
    for (unsigned i = 0; i < sizeof(all) / sizeof(*all); i++) {
        printf("call %u, request %#lx: errno %d\n", all[i].call, all[i].request, all[i].error);
        try_failing(f, all[i].call, all[i].request, all[i].error, 1, BYTES);
        if (all[i].outcome == ZEROS) { /* with its cluster, and alone */
            try_failing(f, all[i].call, all[i].request, all[i].error, 2, ZEROS);
        } else {
            try_failing(f, all[i].call, all[i].request, all[i].error, 3, all[i].outcome);
        }
    }
}

/* The answer of the kernel for a page, its errno, is counted once for each cluster or page. */
static void test_uffd_answers_of_the_kernel_are_counted(void **state)
{
    static const struct {
        int error;
        uint64_t present, gone, again;
    } all[] = {{EEXIST, 1, 0, 0}, {ENOENT, 0, 1, 0}, {ESRCH, 0, 1, 0}, {EAGAIN, 0, 0, 1}};
    struct fixture *f = *state;

    for (unsigned i = 0; i < sizeof(all) / sizeof(*all); i++) {
        struct pgl_uffd_stats stats;

        assert_true(try_new(f));
        assert_true(map_zeroing(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
        assert_true(shows_page(f, 7));
        fail_theirs(CALL_IOCTL, UFFDIO_COPY, all[i].error, 1);
        assert_true(shows_page(f, 9));
        assert_int_equal(count_fired(), 1);
        stats = stats_of(f);
        assert_int_equal(stats.present, all[i].present);
        assert_int_equal(stats.gone, all[i].gone);
        assert_int_equal(stats.again, all[i].again);
        assert_int_equal(stats.pages_fetched, 2);
        assert_int_equal(stats.errors, 0);
        undo_new(f);
    }
}

/* Three faults, of which the second takes longest. */
static void test_uffd_latencies_are_those_of_the_clock(void **state)
{
    static const uint64_t takes[] = {5000, UINT64_C(3000000009), 700};
    struct fixture *f = *state;
    uint64_t total = 0;

    assert_true(try_new(f));
    assert_true(map_zeroing(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
    __atomic_store_n(&clock_stopped, true, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < 3; i++) {
        __atomic_store_n(&read_takes, takes[i], __ATOMIC_RELAXED);
        total += takes[i];
        assert_true(shows_page(f, i));
        assert_int_equal(stats_of(f).ns_total, total);
        assert_int_equal(stats_of(f).ns_max, takes[i > 0]);
    }
}

static uint64_t sum(const uint64_t *latency)
{
    uint64_t all = 0;

    for (unsigned i = 0; i < PGL_UFFD_BUCKETS; i++) {
        all += latency[i];
    }
    return all;
}

/* Times at both ends of a bucket, and beyond the first and the last one. */
static void test_uffd_latencies_are_in_their_buckets(void **state)
{
    static const struct {
        uint64_t ns;
        unsigned bucket;
    } all[] = {{0, 0},
               {1, 0},
               {2, 1},
               {1023, 9},
               {1024, 10},
               {(UINT64_C(1) << (PGL_UFFD_BUCKETS - 1)) - 1, PGL_UFFD_BUCKETS - 2},
               {UINT64_C(1) << (PGL_UFFD_BUCKETS - 1), PGL_UFFD_BUCKETS - 1},
               {UINT64_C(1) << PGL_UFFD_BUCKETS, PGL_UFFD_BUCKETS - 1}};
    struct fixture *f = *state;

    assert_true(try_new(f));
    assert_true(map_zeroing(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
    __atomic_store_n(&clock_stopped, true, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < sizeof(all) / sizeof(*all); i++) {
        struct pgl_uffd_stats before = stats_of(f), after;

        __atomic_store_n(&read_takes, all[i].ns, __ATOMIC_RELAXED);
        assert_true(shows_page(f, i));
        after = stats_of(f);
        assert_int_equal(after.latency_read[all[i].bucket], before.latency_read[all[i].bucket] + 1);
        assert_int_equal(sum(after.latency_read), i + 1);
    }
    assert_int_equal(sum(stats_of(f).latency_zero) + sum(stats_of(f).latency_unlock) + sum(stats_of(f).latency_found),
                     0);
}

static void *read_page_3(void *arg)
{
    return shows_page(arg, 3) ? NULL : arg;
}

static void test_uffd_latencies_are_counted_by_the_kind_of_fault(void **state)
{
    struct fixture *f = *state;
    pthread_t threads[2];
    void *wrong;

    make_sparse(f);
    f->config.threads = 2;
    f->config.write_protect = true;
    assert_true(try_new(f));
    assert_true(map_zeroing(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
    assert_true(shows_zeros(f, 50));
    f->memory[50 * PAGE] = 'w';
    assert_unlocks(f, 1);
    assert_true(shows_page(f, 7));
    close_gate();
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, read_page_3, f), 0);
    }
    uffd_wait_for_pending(0);
    while (stats_of(f).faults != 5) {
        usleep(100);
    }
    open_gate();
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
    while (sum(stats_of(f).latency_found) + sum(stats_of(f).latency_read) !=
           3) { /* they may be counted a moment later */
        usleep(100);
    }
    assert_int_equal(sum(stats_of(f).latency_zero), 1);
    assert_int_equal(sum(stats_of(f).latency_unlock), 1);
    assert_int_equal(sum(stats_of(f).latency_read), 2);
    assert_int_equal(sum(stats_of(f).latency_found), 1);
}

static void *write_page_3(void *arg)
{
    const struct fixture *f = arg;

    f->memory[3 * PAGE] = 'w';
    return NULL;
}

/* A write to a protected page is answered late, when another file's page is there: that one stays protected. */
static void test_uffd_late_write_unprotects_no_other_file(void **state)
{
    const int fixed = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    struct fixture *f = *state;
    pthread_t thread;

    f->config.threads = 2;
    f->config.write_protect = true;
    assert_true(try_new(f));
    assert_true(map_zeroing(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
    assert_int_equal(ftruncate(f->file, 0), 0);
    assert_true(shows_zeros(f, 3)); /* protected, and not from the file */
    assert_errors(f, 1);
    fill(f->file, 0, NPAGES);
    __atomic_store_n(&slow_offset, 3 * PAGE, __ATOMIC_RELEASE);
    assert_int_equal(pthread_create(&thread, NULL, write_page_3, f), 0);
    while (__atomic_load_n(&slow_offset, __ATOMIC_ACQUIRE) != SLOW_NOW) {
        usleep(100);
    }
    assert_int_equal(munmap(f->memory, NPAGES * PAGE), 0);
    assert_ptr_equal(mmap(f->memory, NPAGES * PAGE, PROT_READ | PROT_WRITE, fixed, -1, 0), f->memory);
    assert_true(map_zeroing(f->uffd, f->memory, 8 * PAGE, f->file, 20 * PAGE, PGL_ADVICE_RANDOM));
    assert_int_equal(pthread_join(thread, NULL), 0); /* the old memory was unmapped, and its thread woken */
    assert_unlocks(f, 0);
    assert_int_equal(madvise(f->memory, PAGE * NPAGES, MADV_DONTNEED), 0);
    assert_true(shows(f, 3, 23)); /* protected */
    __atomic_store_n(&slow_offset, -1, __ATOMIC_RELEASE);
    assert_unlocks(f, 1); /* the late one */
    f->memory[3 * PAGE] = 'w';
    assert_unlocks(f, 2);
}

/* The page that the program waits for is there, the rest of its cluster is on its way, and something else comes in. */
static void test_uffd_late_pages_do_not_enter_what_is_mapped_next(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ftruncate(f->file, PAGE), 0); /* page 0, a hole, and the rest */
    fill(f->file, 2, NPAGES - 2);
    assert_true(try_new(f));
    assert_true(try_map(f));
    __atomic_store_n(&slow_offset, 2 * PAGE, __ATOMIC_RELEASE);
    assert_true(shows_page(f, 0));
    while (__atomic_load_n(&slow_offset, __ATOMIC_ACQUIRE) != SLOW_NOW) {
        usleep(100);
    }
    assert_true(try_unmap(f));
    assert_true(map_zeroing(f->uffd, f->memory + 2 * PAGE, 8 * PAGE, f->file, 20 * PAGE, PGL_ADVICE_RANDOM));
    __atomic_store_n(&slow_offset, -1, __ATOMIC_RELEASE);
    for (uint64_t page = 2; page < 10; page++) {
        assert_true(shows(f, page, page + 18));
    }
    assert_true(shows_zeros(f, 11));
}

struct waiting {
    struct fixture *f;
    unsigned char value;
    bool came; /* atomic */
};

static void *touch_page_30(void *arg)
{
    struct waiting *w = arg;

    w->value = w->f->memory[30 * PAGE];
    __atomic_store_n(&w->came, true, __ATOMIC_RELEASE);
    return NULL;
}

/* Its cluster has data before and behind a hole: the data before does not delay it. */
static void test_uffd_page_that_is_waited_for_comes_first(void **state)
{
    struct fixture *f = *state;
    struct waiting w = {.f = f};
    struct pgl_advice_table table = *pgl_advice_shipped();
    pthread_t thread;

    table.row[PGL_ADVICE_NORMAL] = (struct pgl_advice_row){.before = 10, .after = 10};
    f->config.table = &table;
    assert_int_equal(ftruncate(f->file, 25 * PAGE), 0);
    assert_int_equal(ftruncate(f->file, 26 * PAGE), 0); /* page 25 is a hole */
    fill(f->file, 26, NPAGES - 26);
    assert_true(try_new(f));
    assert_true(map_zeroing(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_NORMAL));
    __atomic_store_n(&slow_offset, 20 * PAGE, __ATOMIC_RELEASE);
    assert_int_equal(pthread_create(&thread, NULL, touch_page_30, &w), 0);
    for (unsigned tries = 0; tries < 2000 && !__atomic_load_n(&w.came, __ATOMIC_ACQUIRE); tries++) {
        usleep(1000);
    }
    assert_true(__atomic_load_n(&w.came, __ATOMIC_ACQUIRE));
    __atomic_store_n(&slow_offset, -1, __ATOMIC_RELEASE);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(w.value, (unsigned char)word_at(30 * PAGE));
    for (uint64_t page = 0; page < NPAGES; page++) {
        assert_true(page == 25 ? shows_zeros(f, page) : shows_page(f, page));
    }
}

/* ---- signals ---- */

static __thread bool is_programs; /* a thread of the program, not of the pager */
static struct fixture *signalled; /* whose memory the signal's handler touches */
static unsigned signals, strays;  /* both atomic: strays ran on a thread of the pager */

static void on_signal(int number)
{
    uint64_t page = __atomic_add_fetch(&signals, 1, __ATOMIC_RELAXED) * 7 % NPAGES;
    int error = errno;

    (void)number;
    if (is_programs) {
        (void)*(volatile unsigned char *)(signalled->memory + page * PAGE);
    } else {
        __atomic_fetch_add(&strays, 1, __ATOMIC_RELAXED);
    }
    errno = error;
}

/* All pages, again and again, until so many signals have come. */
static void touch_under_signals(struct fixture *f, unsigned enough)
{
    for (unsigned round = 0; __atomic_load_n(&signals, __ATOMIC_RELAXED) < enough || round < 50; round++) {
        for (uint64_t page = 0; page < NPAGES; page++) {
            assert_true(shows_page(f, (page * 13 + round) % NPAGES));
        }
        assert_int_equal(madvise(f->memory, NPAGES * PAGE, MADV_DONTNEED), 0);
    }
}

/* Faults are interrupted by signals whose handlers fault themselves; the pager's only thread never runs one. */
static void test_uffd_signals_run_on_no_thread_of_the_pager(void **state)
{
    const struct itimerval often = {{0, 300}, {0, 300}}, never = {0};
    struct sigaction action = {.sa_handler = on_signal}, before;
    struct fixture *f = *state;
    sigset_t set;

    signalled = f;
    is_programs = true;
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    sigaction(SIGALRM, &action, &before);
    f->config.threads = 1;
    assert_true(try_new(f));
    assert_true(map_zeroing(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
    setitimer(ITIMER_REAL, &often, NULL);
    touch_under_signals(f, 50);
    pthread_sigmask(SIG_BLOCK, &set, NULL); /* now they can only go to other threads */
    touch_under_signals(f, 0);
    setitimer(ITIMER_REAL, &never, NULL);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    sigaction(SIGALRM, &before, NULL);
    assert_int_equal(__atomic_load_n(&strays, __ATOMIC_RELAXED), 0);
    assert_true(__atomic_load_n(&signals, __ATOMIC_RELAXED) >= 50);
}

static void *touch_page_20(void *arg)
{
    const struct fixture *f = arg;

    return shows_page(f, 20) ? NULL : arg;
}

static void *touch_page_0(void *arg)
{
    const struct fixture *f = arg;

    return shows_page(f, 0) ? NULL : arg;
}

/* While the handler reads page 0, three threads come to want page 20: their messages are one batch. */
static void test_uffd_threads_that_want_a_page_read_it_once(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_stats stats;
    pthread_t threads[4];

    assert_true(try_new(f));
    assert_true(map_zeroing(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
    __atomic_store_n(&slow_offset, 0, __ATOMIC_RELEASE);
    assert_int_equal(pthread_create(&threads[0], NULL, touch_page_0, f), 0);
    while (__atomic_load_n(&slow_offset, __ATOMIC_ACQUIRE) != SLOW_NOW) {
        usleep(100);
    }
    for (unsigned i = 1; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, touch_page_20, f), 0);
    }
    uffd_wait_for_pending(3);
    __atomic_store_n(&slow_offset, -1, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < 4; i++) {
        void *wrong;

        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
    assert_true(shows_page(f, 40)); /* by then the rest of the batch has been answered */
    pgl_uffd_get_stats(f->uffd, &stats);
    assert_int_equal(stats.bytes_read, 3 * PAGE);
    assert_int_equal(stats.present, 0);
}

/* Zeros and the end of a protection are refused as copies are: the same fault goes on with them. */
static void test_uffd_whatever_is_refused_is_done_by_the_same_fault(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_stats stats;
    unsigned char *grown;

    f->config.write_protect = true;
    assert_true(try_new(f));
    assert_true(map_zeroing(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
    assert_true(shows_page(f, 1));
    fail_theirs(CALL_IOCTL, UFFDIO_WRITEPROTECT, EAGAIN, 2);
    f->memory[PAGE] = 'w'; /* a page that is there */
    assert_int_equal(count_fired(), 2);
    stats = stats_of(f);
    assert_int_equal(stats.faults, 2);
    assert_int_equal(stats.unlocks, 1);
    assert_int_equal(stats.again, 1);
    fail_theirs(CALL_IOCTL, UFFDIO_WRITEPROTECT, EAGAIN, 2);
    f->memory[2 * PAGE] = 'w'; /* and one that is not */
    assert_int_equal(count_fired(), 2);
    stats = stats_of(f);
    assert_int_equal(stats.faults, 3);
    assert_int_equal(stats.unlocks, 1);
    grown = mremap(f->memory, NPAGES * PAGE, 2 * NPAGES * PAGE, MREMAP_MAYMOVE);
    assert_true(grown != MAP_FAILED);
    f->memory = grown;
    fail_theirs(CALL_IOCTL, UFFDIO_ZEROPAGE, EAGAIN, 1);
    f->memory[NPAGES * PAGE] = 'w';
    assert_int_equal(count_fired(), 1);
    assert_int_equal(stats_of(f).faults, 4);
    munmap(grown + NPAGES * PAGE, NPAGES * PAGE);
}

/* Each fault has its message when the handler reads again: it waits once for each 33 of them. */
static void test_uffd_handler_reads_on_but_not_for_ever(void **state)
{
    struct fixture *f = *state;

    __atomic_store_n(&handler_waits, 0, __ATOMIC_RELEASE);
    assert_true(try_new(f));
    assert_true(map_zeroing(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
    __atomic_store_n(&patient, true, __ATOMIC_RELEASE);
    for (uint64_t page = 0; page < NPAGES; page++) {
        assert_true(shows_page(f, page));
    }
    assert_int_equal(__atomic_load_n(&handler_waits, __ATOMIC_ACQUIRE), 2);
    __atomic_store_n(&patient, false, __ATOMIC_RELEASE);
}

/* No fault has its message when the handler reads again: it tries that after one wait of nine. */
static void test_uffd_handler_does_not_read_in_vain_again_and_again(void **state)
{
    struct fixture *f = *state;
    unsigned reads_before;

    __atomic_store_n(&handler_waits, 0, __ATOMIC_RELEASE);
    assert_true(try_new(f));
    assert_true(map_zeroing(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
    reads_before = __atomic_load_n(&handler_reads, __ATOMIC_ACQUIRE);
    for (uint64_t page = 0; page < 18; page++) {
        while (__atomic_load_n(&handler_waits, __ATOMIC_ACQUIRE) <= page) {
            usleep(100);
        }
        assert_true(shows_page(f, page));
    }
    while (__atomic_load_n(&handler_waits, __ATOMIC_ACQUIRE) <= 18) {
        usleep(100);
    }
    assert_int_equal(__atomic_load_n(&handler_reads, __ATOMIC_ACQUIRE) - reads_before, 18 + 2);
}

static enum { WAKE_FREELY, HOLD_WAKE, WAKE_HELD } wake_state; /* atomic */

static void hold_one_wake(unsigned long request)
{
    if (request == UFFDIO_WAKE && __atomic_load_n(&wake_state, __ATOMIC_ACQUIRE) == HOLD_WAKE) {
        __atomic_store_n(&wake_state, WAKE_HELD, __ATOMIC_RELEASE);
        while (__atomic_load_n(&wake_state, __ATOMIC_ACQUIRE) == WAKE_HELD) {
            usleep(100);
        }
    }
}

static void *touch_page_three(void *memory)
{
    return is_page((unsigned char *)memory + 3 * PAGE, 3) ? memory : NULL;
}

/* A thread has its page, and its memory is mapped anew before the driver is done with the fault. */
static void test_uffd_handler_reads_nothing_of_a_region_that_no_thread_touches(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;
    unsigned before;
    void *right;

    assert_true(try_new(f));
    assert_true(map_zeroing(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
    __atomic_store_n(&wake_state, HOLD_WAKE, __ATOMIC_RELEASE);
    __atomic_store_n(&before_ioctl, hold_one_wake, __ATOMIC_RELAXED);
    assert_int_equal(pthread_create(&thread, NULL, touch_page_three, f->memory), 0);
    while (__atomic_load_n(&wake_state, __ATOMIC_ACQUIRE) != WAKE_HELD) {
        usleep(100);
    }
    assert_true(try_unmap(f)); /* wakes it */
    pthread_join(thread, &right);
    assert_non_null(right);
    assert_int_equal(madvise(f->memory, NPAGES * PAGE, MADV_DONTNEED), 0);
    assert_true(map_zeroing(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
    before = __atomic_load_n(&handler_waits, __ATOMIC_ACQUIRE);
    __atomic_store_n(&wake_state, WAKE_FREELY, __ATOMIC_RELEASE);
    while (__atomic_load_n(&handler_waits, __ATOMIC_ACQUIRE) == before) {
        usleep(100);
    }
    assert_int_equal(stats_of(f).requests, 1);
    assert_true(shows_page(f, 3));
    assert_int_equal(stats_of(f).requests, 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_handler_outlives_each_error_of_its_calls),
        TEST(test_uffd_answers_of_the_kernel_are_counted),
        TEST(test_uffd_latencies_are_those_of_the_clock),
        TEST(test_uffd_latencies_are_in_their_buckets),
        TEST(test_uffd_latencies_are_counted_by_the_kind_of_fault),
        TEST(test_uffd_late_write_unprotects_no_other_file),
        TEST(test_uffd_threads_that_want_a_page_read_it_once),
        TEST(test_uffd_late_pages_do_not_enter_what_is_mapped_next),
        TEST(test_uffd_page_that_is_waited_for_comes_first),
        TEST(test_uffd_signals_run_on_no_thread_of_the_pager),
        TEST(test_uffd_whatever_is_refused_is_done_by_the_same_fault),
        TEST(test_uffd_handler_reads_on_but_not_for_ever),
        TEST(test_uffd_handler_does_not_read_in_vain_again_and_again),
        TEST(test_uffd_handler_reads_nothing_of_a_region_that_no_thread_touches),
    };
#undef TEST

    return permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
