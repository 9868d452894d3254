/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which pages were written since they were last reported: by the kernel's record, and by faults where the kernel
 * refuses it. Linked with --wrap for two functions of locks, too.
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../cm.h"
#include "calls.h"
#include "waits.h"

static void start_with(struct fixture *f, enum record at, enum pgl_advice advice, enum pgl_uffd_remedy remedy)
{
    const struct pgl_uffd_region region = {
        .addr = f->memory,
        .length = NPAGES * PAGE,
        .source.fd = f->file,
        .advice = advice,
        .on_error = remedy,
    };

    __atomic_store_n(&record, at, __ATOMIC_RELAXED);
    f->config.track_dirty = true;
    assert_true(try_new(f));
    assert_true(pgl_uffd_map_region(f->uffd, &region));
}

/* Make a pager whose record is kept in one way or the other, and map all of the memory. */
static void start(struct fixture *f, enum record at, enum pgl_advice advice)
{
    start_with(f, at, advice, PGL_UFFD_DEFAULT);
}

/* The ways to test: the kernel may have no record. */
static enum record first_record(struct fixture *f)
{
    enum pgl_uffd_handover before = f->config.handover;
    bool has;

    f->config.handover = PGL_UFFD_SIGBUS; /* which needs one */
    f->config.track_dirty = true;
    has = try_new(f);
    undo_new(f);
    f->config.handover = before;
    return has ? RECORD : RECORD + 1;
}

static void end(struct fixture *f)
{
    pgl_uffd_free(f->uffd);
    f->uffd = NULL;
    renew_memory(f);
}

/* Take the written pages, into one bit for each page. The answers have room for so many ranges. */
static uint64_t take(struct fixture *f, size_t room)
{
    struct pgl_uffd_range rest = {f->memory, NPAGES * PAGE};
    struct pgl_uffd_range written[NPAGES];
    uint64_t pages = 0;

    while (rest.length > 0) {
        ssize_t n = pgl_uffd_dirty_take(f->uffd, &rest, written, room);

        assert_true(n >= 0 && (size_t)n <= room);
        assert_true(rest.length == 0 || (size_t)n == room);
        for (ssize_t i = 0; i < n; i++) {
            uint64_t first = (uint64_t)((unsigned char *)written[i].addr - f->memory) / PAGE;

            assert_true(written[i].length > 0 && written[i].length % PAGE == 0);
            for (uint64_t page = first; page < first + written[i].length / PAGE; page++) {
                assert_true((pages >> page & 1) == 0); /* no page twice */
                pages |= UINT64_C(1) << page;
            }
        }
    }
    return pages;
}

static void write_to(struct fixture *f, uint64_t pages)
{
    for (uint64_t page = 0; page < NPAGES; page++) {
        if ((pages >> page & 1) != 0) {
            f->memory[page * PAGE + page] = (unsigned char)(f->memory[page * PAGE + page] + 1);
        }
    }
}

static void read_all(const struct fixture *f)
{
    for (uint64_t page = 0; page < NPAGES; page++) {
        (void)*(volatile unsigned char *)(f->memory + page * PAGE);
    }
}

static void test_uffd_dirty_reports_what_was_written_since_the_last_report(void **state)
{
    static const uint64_t epochs[] = {0x8000000000000001, 0x0ff0, 0x0ff0, 1, UINT64_MAX, 0, 0x5555555555555555};
    struct fixture *f = *state;

    for (enum record at = first_record(f); at < RECORDS; at++) {
        start(f, at, PGL_ADVICE_SEQUENTIAL);
        assert_int_equal(take(f, 8), 0); /* nothing is there yet */
        read_all(f);
        for (size_t i = 0; i < sizeof(epochs) / sizeof(epochs[0]); i++) {
            assert_int_equal(take(f, NPAGES), 0);
            write_to(f, epochs[i]);
            write_to(f, epochs[i]);
            assert_int_equal(take(f, NPAGES), epochs[i]);
        }
        assert_true(shows_page(f, 63) == false && shows(f, 1, 1) == false);
        assert_int_equal(stats_of(f).unlocks == 0, at == RECORD);
        end(f);
    }
}

/* A page whose first touch is a write is never protected before it, if handlers keep the record. */
static void test_uffd_dirty_reports_a_page_that_a_write_has_asked_for(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ftruncate(f->file, 32 * PAGE), 0);
    assert_int_equal(ftruncate(f->file, NPAGES * PAGE), 0); /* zeros that are not read */
    for (enum record at = first_record(f); at < RECORDS; at++) {
        start(f, at, PGL_ADVICE_SEQUENTIAL);
        write_to(f, UINT64_C(1) << 40 | 0x10);
        assert_int_equal(take(f, NPAGES), UINT64_C(1) << 40 | 0x10);
        write_to(f, UINT64_C(1) << 40 | 0x30);
        assert_int_equal(take(f, NPAGES), UINT64_C(1) << 40 | 0x30);
        end(f);
    }
}

/* Its zeros are installed in another way, and a write may have asked for them. */
static void test_uffd_dirty_reports_a_page_that_could_not_be_read(void **state)
{
    struct fixture *f = *state;

    for (enum record at = first_record(f); at < RECORDS; at++) {
        for (uint64_t first = 0; first < 2; first++) {
            start_with(f, at, PGL_ADVICE_RANDOM, PGL_UFFD_ZERO);
            __atomic_store_n(&bad_offset, 3 * PAGE, __ATOMIC_RELEASE);
            if (first == 0) {
                assert_true(shows_zeros(f, 3));
                assert_int_equal(take(f, NPAGES), 0);
            }
            write_to(f, 8);
            assert_errors(f, 1);
            assert_int_equal(take(f, NPAGES), 8);
            assert_int_equal(take(f, NPAGES), 0);
            __atomic_store_n(&bad_offset, -1, __ATOMIC_RELEASE);
            end(f);
        }
    }
}

/* Have a page poisoned, because it cannot be read. Returns false when the kernel has no poison. */
static bool poison(struct fixture *f, uint64_t page)
{
    ssize_t n;

    __atomic_store_n(&bad_offset, (off_t)page * PAGE, __ATOMIC_RELEASE);
    n = pwrite(f->file, f->memory + page * PAGE, 1, 0); /* a system call that touches the page */
    __atomic_store_n(&bad_offset, -1, __ATOMIC_RELEASE);
    return n != 1;
}

/* Poison is no page: nobody can write to it, or save it. */
static void test_uffd_dirty_reports_no_poison(void **state)
{
    struct fixture *f = *state;

    for (enum record at = first_record(f); at < RECORDS; at++) {
        start_with(f, at, PGL_ADVICE_RANDOM, PGL_UFFD_DEFAULT);
        if (!poison(f, 3)) {
            SKIP_BECAUSE("the kernel has no poison: it needs Linux 6.6");
        }
        write_to(f, 0x20);
        assert_int_equal(take(f, NPAGES), 0x20);
        assert_int_equal(take(f, NPAGES), 0);
        assert_int_equal(pwrite(f->file, f->memory + 3 * PAGE, 1, 0), -1);
        assert_int_equal(madvise(f->memory + 3 * PAGE, PAGE, MADV_DONTNEED), 0);
        assert_true(shows_page(f, 3)); /* it was read again, and is a page like others */
        assert_int_equal(take(f, NPAGES), 8);
        write_to(f, 8);
        assert_int_equal(take(f, NPAGES), 8);
        end(f);
    }
}

/* Poison that a prefetch has replaced is a page. */
static void test_uffd_dirty_reports_a_page_that_was_poison(void **state)
{
    struct fixture *f = *state;

    for (enum record at = first_record(f); at < RECORDS; at++) {
        start_with(f, at, PGL_ADVICE_RANDOM, PGL_UFFD_DEFAULT);
        if (!poison(f, 3)) {
            SKIP_BECAUSE("the kernel has no poison: it needs Linux 6.6");
        }
        assert_true(pgl_uffd_prefetch(f->uffd, f->memory, NPAGES * PAGE));
        assert_true(shows_page(f, 3));
        assert_int_equal(take(f, NPAGES), 0);
        write_to(f, 8);
        assert_int_equal(take(f, NPAGES), 8);
        end(f);
    }
}

static void test_uffd_dirty_goes_on_where_the_answer_was_full(void **state)
{
    const uint64_t pages = 0x8c31000000000ff1; /* 6 ranges */
    struct fixture *f = *state;

    for (enum record at = first_record(f); at < RECORDS; at++) {
        start(f, at, PGL_ADVICE_SEQUENTIAL);
        for (size_t room = 1; room <= 8; room++) {
            write_to(f, pages);
            assert_int_equal(take(f, room), pages);
            assert_int_equal(take(f, room), 0);
        }
        end(f);
    }
}

/* A page that did not fit is still to be reported, and is not protected before. */
static void test_uffd_dirty_keeps_what_did_not_fit(void **state)
{
    struct fixture *f = *state;

    for (enum record at = first_record(f); at < RECORDS; at++) {
        struct pgl_uffd_range rest = {f->memory, NPAGES * PAGE}, written;

        start(f, at, PGL_ADVICE_SEQUENTIAL);
        write_to(f, 0x111);
        assert_int_equal(pgl_uffd_dirty_take(f->uffd, &rest, &written, 1), 1);
        assert_ptr_equal(written.addr, f->memory);
        assert_int_equal(written.length, PAGE);
        assert_ptr_equal(rest.addr, f->memory + 4 * PAGE);
        assert_int_equal(rest.length, (NPAGES - 4) * PAGE);
        write_to(f, 0x003);
        assert_int_equal(take(f, NPAGES), 0x113);
        end(f);
    }
}

/* Whether the kernel tells which pages are there. Otherwise one that was given back is reported until it was touched. */
static bool has_table(enum record at)
{
    return at == RECORD || at == NO_ASYNC;
}

static void test_uffd_dirty_reports_pages_that_were_given_back(void **state)
{
    struct fixture *f = *state;

    for (enum record at = first_record(f); at < RECORDS; at++) {
        start(f, at, PGL_ADVICE_SEQUENTIAL);
        read_all(f);
        write_to(f, 4);
        assert_int_equal(take(f, NPAGES), 4);
        assert_int_equal(madvise(f->memory + 2 * PAGE, 3 * PAGE, MADV_DONTNEED), 0);
        assert_int_equal(take(f, NPAGES), 0x1c);
        assert_true(shows_page(f, 2));
        assert_int_equal(take(f, NPAGES), has_table(at) ? 0 : 0x1c);
        assert_int_equal(take(f, NPAGES), 0);
        write_to(f, 0x14);
        assert_int_equal(take(f, NPAGES), 0x14);
        end(f);
    }
}

/* As while its madvise() has yet to drop it: after MADV_FREE the page is still there, and may vanish at any moment. */
static void test_uffd_dirty_reports_a_page_until_it_is_gone(void **state)
{
    struct fixture *f = *state;

    for (enum record at = first_record(f); at < RECORDS; at++) {
        start(f, at, PGL_ADVICE_RANDOM);
        write_to(f, 0x1c);
        assert_int_equal(take(f, NPAGES), 0x1c);
        assert_int_equal(madvise(f->memory + 2 * PAGE, 2 * PAGE, MADV_FREE), 0);
        assert_int_equal(take(f, NPAGES), 0x0c);
        assert_int_equal(take(f, NPAGES), 0x0c);
        assert_int_equal(madvise(f->memory + 2 * PAGE, PAGE, MADV_DONTNEED), 0);
        assert_true(shows_page(f, 2)); /* it was installed anew */
        assert_int_equal(take(f, NPAGES), 0x0c);
        assert_int_equal(madvise(f->memory + 3 * PAGE, PAGE, MADV_DONTNEED), 0);
        assert_int_equal(take(f, NPAGES), 8); /* it is gone */
        assert_int_equal(take(f, NPAGES), has_table(at) ? 0 : 8);
        assert_true(shows_page(f, 3));
        assert_int_equal(take(f, NPAGES), has_table(at) ? 0 : 8);
        assert_int_equal(take(f, NPAGES), 0);
        end(f);
    }
}

/* Two regions side by side, one of them cut, and a page that moved. */
static void test_uffd_dirty_looks_at_every_region(void **state)
{
    struct fixture *f = *state;

    for (enum record at = first_record(f); at < RECORDS; at++) {
        __atomic_store_n(&record, at, __ATOMIC_RELAXED);
        assert_true(try_new(f));
        assert_true(pgl_uffd_map(f->uffd, f->memory, 16 * PAGE, f->file, 16 * PAGE, PGL_ADVICE_RANDOM));
        assert_true(
            pgl_uffd_map(f->uffd, f->memory + 16 * PAGE, (NPAGES - 16) * PAGE, f->file, 0, PGL_ADVICE_SEQUENTIAL));
        assert_true(pgl_uffd_advise(f->uffd, f->memory + 20 * PAGE, 4 * PAGE, PGL_ADVICE_RANDOM));
        assert_int_equal(madvise(f->memory + 33 * PAGE, PAGE, MADV_SEQUENTIAL), 0); /* three mappings of the kernel */
        write_to(f, 0x0000000f00ff8001);
        assert_int_equal(take(f, NPAGES), 0x0000000f00ff8001);
        assert_int_equal(take(f, NPAGES), 0);
        assert_true(shows(f, 1, 17) && shows(f, 24, 8));
        end(f);
    }
}

static void assert_refused(struct fixture *f, unsigned char *addr, size_t length, size_t room, int error)
{
    struct pgl_uffd_range rest = {addr, length}, written[4];

    errno = 0;
    assert_int_equal(pgl_uffd_dirty_take(f->uffd, &rest, written, room), -1);
    assert_int_equal(errno, error);
    assert_true(rest.addr == addr && rest.length == length);
}

static void test_uffd_dirty_refuses_what_it_cannot_answer(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_range rest = {f->memory, 0}, written;

    for (enum record at = first_record(f); at < RECORDS; at++) {
        start(f, at, PGL_ADVICE_RANDOM);
        assert_refused(f, f->memory + 1, PAGE, 4, EINVAL);
        assert_refused(f, f->memory, PAGE + 1, 4, EINVAL);
        assert_refused(f, f->memory, PAGE, 0, EINVAL);
        assert_refused(f, f->memory, (size_t)0 - PAGE, 4, EINVAL);
        assert_int_equal(pgl_uffd_dirty_take(f->uffd, &rest, &written, 1), 0);
        write_to(f, 0xc1);
        assert_true(pgl_uffd_unmap(f->uffd, f->memory + 4 * PAGE, PAGE));
        rest.length = NPAGES * PAGE;
        assert_int_equal(pgl_uffd_dirty_take(f->uffd, &rest, &written, 1), 1); /* the pages before the gap */
        assert_ptr_equal(rest.addr, f->memory + 4 * PAGE);
        assert_refused(f, rest.addr, rest.length, 4, ENOENT);
        rest = (struct pgl_uffd_range){f->memory + 5 * PAGE, (NPAGES - 5) * PAGE};
        assert_int_equal(pgl_uffd_dirty_take(f->uffd, &rest, &written, 1), 1);
        assert_true(written.addr == f->memory + 6 * PAGE && written.length == 2 * PAGE && rest.length == 0);
        end(f);
        rest.addr = f->memory;
    }
    f->config.track_dirty = false;
    assert_true(try_new(f) && try_map(f));
    assert_refused(f, f->memory, PAGE, 4, ENOTSUP);
}

/* Nothing is lost by an error: the next call reports it. */
static void test_uffd_dirty_survives_each_error_of_its_calls(void **state)
{
    static const int errors[] = {EFAULT, ENOMEM, ENOENT, EAGAIN, EINTR};
    struct fixture *f = *state;

    for (enum record at = first_record(f); at < NO_SCAN; at++) {
        start(f, at, PGL_ADVICE_SEQUENTIAL);
        for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
            struct pgl_uffd_range rest = {f->memory, NPAGES * PAGE}, written[4];
            bool again = errors[i] == (at == RECORD ? EINTR : EAGAIN) || (at != RECORD && errors[i] == ENOENT);
            ssize_t n;

            write_to(f, 0xf1);
            mine = (struct failing_call){.at = 1, .error = errors[i]};
            is_mine = true;
            errno = 0;
            n = pgl_uffd_dirty_take(f->uffd, &rest, written, 4);
            is_mine = false;
            assert_int_equal(mine.request, at == RECORD ? PAGEMAP_SCAN_REQUEST : UFFDIO_WRITEPROTECT);
            if (at == RECORD && errors[i] == EAGAIN) {
                again = true; /* as with an event that is unread */
            }
            assert_int_equal(n, again ? 2 : -1);
            assert_true(again || errno == errors[i]);
            assert_int_equal(take(f, NPAGES), again ? 0 : 0xf1);
        }
        end(f);
    }
}

/* Of a page that is not one mapping with its neighbours, each alone is protected; an error of one is reported. */
static void test_uffd_dirty_survives_an_error_of_one_page(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_range rest = {f->memory, NPAGES * PAGE}, written[4];

    start(f, NO_ASYNC, PGL_ADVICE_SEQUENTIAL);
    write_to(f, 0xf0);
    fail_theirs(CALL_IOCTL, UFFDIO_WRITEPROTECT, ENOENT, 2); /* of the four together, and of the first */
    assert_int_equal(pgl_uffd_dirty_take(f->uffd, &rest, written, 4), 1);
    assert_true(written[0].addr == f->memory + 4 * PAGE && written[0].length == 4 * PAGE);
    write_to(f, 0xe0);
    assert_int_equal(take(f, NPAGES), 0xe0); /* these three are protected again */
}

/* The lock that a taker locks for writing; handlers wait before they lock it for reading until a step is allowed. */
static pthread_rwlock_t *layout;
static bool steps_on; /* atomic */
static unsigned waiting_steps, allowed_steps;
static __thread bool is_taker;

int __real_pthread_rwlock_wrlock(pthread_rwlock_t *lock);
int __wrap_pthread_rwlock_wrlock(pthread_rwlock_t *lock);
int __wrap_pthread_rwlock_wrlock(pthread_rwlock_t *lock)
{
    if (is_taker) {
        layout = lock;
    }
    return __real_pthread_rwlock_wrlock(lock);
}

int __real_pthread_rwlock_rdlock(pthread_rwlock_t *lock);
int __wrap_pthread_rwlock_rdlock(pthread_rwlock_t *lock);
int __wrap_pthread_rwlock_rdlock(pthread_rwlock_t *lock)
{
    if (__atomic_load_n(&steps_on, __ATOMIC_ACQUIRE) && lock == layout) {
        unsigned step = __atomic_add_fetch(&waiting_steps, 1, __ATOMIC_ACQ_REL);

        while (__atomic_load_n(&steps_on, __ATOMIC_ACQUIRE) &&
               __atomic_load_n(&allowed_steps, __ATOMIC_ACQUIRE) < step) {
        }
    }
    return __real_pthread_rwlock_rdlock(lock);
}

static bool written; /* atomic */

static void *write_page_three(void *arg)
{
    __atomic_store_n((unsigned char *)arg, 'w', __ATOMIC_RELAXED);
    __atomic_store_n(&written, true, __ATOMIC_RELEASE);
    return NULL;
}

/* Before each step of a handler the pages are taken: the byte of the last report is the one that the page keeps. */
static void test_uffd_dirty_taken_at_each_step_of_a_handler_loses_no_write(void **state)
{
    struct fixture *f = *state;
    unsigned char *byte = f->memory + 3 * PAGE;
    unsigned char saved = (unsigned char)word_at(3 * PAGE);
    pthread_t writer;

    start(f, NO_ASYNC, PGL_ADVICE_SEQUENTIAL);
    read_all(f);
    is_taker = true;
    assert_int_equal(take(f, NPAGES), 0);
    is_taker = false;
    __atomic_store_n(&written, false, __ATOMIC_RELEASE);
    waiting_steps = allowed_steps = 0;
    __atomic_store_n(&steps_on, true, __ATOMIC_RELEASE);
    assert_int_equal(pthread_create(&writer, NULL, write_page_three, byte), 0);
    while (!__atomic_load_n(&written, __ATOMIC_ACQUIRE)) {
        if (__atomic_load_n(&waiting_steps, __ATOMIC_ACQUIRE) > allowed_steps) {
            if (take(f, NPAGES) == 8) {
                saved = __atomic_load_n(byte, __ATOMIC_RELAXED);
            }
            __atomic_fetch_add(&allowed_steps, 1, __ATOMIC_ACQ_REL);
        }
    }
    __atomic_store_n(&steps_on, false, __ATOMIC_RELEASE);
    pthread_join(writer, NULL);
    assert_true(allowed_steps > 0);
    if (take(f, NPAGES) == 8) {
        saved = __atomic_load_n(byte, __ATOMIC_RELAXED);
    }
    assert_true(saved == 'w' && *byte == 'w');
}

/* Two faults on a page; both threads have written when the second one is served, and pages were taken in between. */
static void test_uffd_dirty_late_fault_opens_no_page(void **state)
{
    struct fixture *f = *state;
    pthread_t writers[2];
    uint64_t before;

    f->config.threads = 2;
    start(f, NO_ASYNC, PGL_ADVICE_SEQUENTIAL);
    read_all(f);
    is_taker = true;
    assert_int_equal(take(f, NPAGES), 0);
    is_taker = false;
    before = stats_of(f).faults;
    waiting_steps = allowed_steps = 0;
    __atomic_store_n(&steps_on, true, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&writers[i], NULL, write_page_three, f->memory + 3 * PAGE), 0);
    }
    while (stats_of(f).faults < before + 2 || __atomic_load_n(&waiting_steps, __ATOMIC_ACQUIRE) < 1) {
    }
    __atomic_store_n(&allowed_steps, 1, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < 2; i++) {
        pthread_join(writers[i], NULL);
    }
    while (__atomic_load_n(&waiting_steps, __ATOMIC_ACQUIRE) < 2) {
    }
    assert_int_equal(take(f, NPAGES), 8);
    __atomic_store_n(&steps_on, false, __ATOMIC_RELEASE);
    assert_unlocks(f, 2);
    assert_int_equal(take(f, NPAGES), 0);
}

/* A child has the pages and not the record. */
static void test_uffd_dirty_leaves_out_what_a_child_writes(void **state)
{
    struct fixture *f = *state;

    if (geteuid() != 0) {
        SKIP_BECAUSE("following forks needs CAP_SYS_PTRACE");
    }
    FOLLOW_FORKS(f);
    for (enum record at = first_record(f); at < RECORDS; at++) {
        int status;
        pid_t child;

        start(f, at, PGL_ADVICE_SEQUENTIAL);
        assert_true(shows_page(f, 5));
        child = fork();
        if (child == 0) {
            f->memory[5 * PAGE] = f->memory[50 * PAGE] = 'c';
            _exit(f->memory[5 * PAGE] != 'c');
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        assert_int_equal(take(f, NPAGES), 0);
        write_to(f, 0x20);
        assert_int_equal(take(f, NPAGES), 0x20);
        end(f);
    }
}

/* A thread that serves itself cannot serve its first write, but with the kernel's record it need not. */
static void test_uffd_dirty_with_self_service_needs_the_kernels_record(void **state)
{
    struct fixture *f = *state;

    if (first_record(f) != RECORD) {
        SKIP_BECAUSE("the kernel keeps no record of written pages: it needs Linux 6.7");
    }
    f->config.handover = PGL_UFFD_SIGBUS;
    start(f, RECORD, PGL_ADVICE_SEQUENTIAL);
    write_to(f, 0xf1);
    assert_int_equal(take(f, NPAGES), 0xf1);
    write_to(f, 0x80);
    assert_int_equal(take(f, NPAGES), 0x80);
    end(f);
    for (enum record at = RECORD + 1; at < RECORDS; at++) {
        __atomic_store_n(&record, at, __ATOMIC_RELAXED);
        errno = 0;
        assert_false(try_new(f));
        assert_int_equal(errno, EOPNOTSUPP);
    }
}

/* Every first write is a fault with write_protect, which the program wants to be told of. */
static void test_uffd_dirty_with_write_protect_counts_unlocks(void **state)
{
    struct fixture *f = *state;

    f->config.write_protect = true;
    start(f, RECORD, PGL_ADVICE_SEQUENTIAL);
    read_all(f);
    for (unsigned epoch = 1; epoch <= 3; epoch++) {
        write_to(f, 0xff);
        assert_unlocks(f, epoch * 8);
        assert_int_equal(take(f, NPAGES), 0xff);
    }
}

/* Memory that was moved has what its pages had: given back, poisoned, or neither. */
static void test_uffd_dirty_of_memory_that_was_moved_is_its_pages(void **state)
{
    enum { FIRST = 5, MOVED = 9 };
    struct fixture *f = *state;

    for (enum record at = first_record(f); at < RECORDS; at++) {
        struct pgl_uffd_region region = {
            .addr = f->memory,
            .length = NPAGES * PAGE,
            .source.fd = f->file,
            .advice = PGL_ADVICE_RANDOM,
            .removed = PGL_UFFD_ZEROS,
        };
        unsigned char *there = mmap(NULL, MOVED * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        struct pgl_uffd_range rest = {there, MOVED * PAGE}, reported[NPAGES];

        __atomic_store_n(&record, at, __ATOMIC_RELAXED);
        f->config.track_dirty = true;
        assert_true(try_new(f) && pgl_uffd_map_region(f->uffd, &region));
        for (uint64_t page = FIRST + 1; page < FIRST + MOVED; page += 2) {
            assert_int_equal(madvise(f->memory + page * PAGE, PAGE, MADV_DONTNEED), 0);
        }
        assert_ptr_equal(
            mremap(f->memory + FIRST * PAGE, MOVED * PAGE, MOVED * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, there), there);
        for (uint64_t page = 0; page < MOVED; page++) {
            assert_true(page % 2 == 1 ? is_zero(there + page * PAGE) : is_page(there + page * PAGE, FIRST + page));
        }
        assert_int_equal(pgl_uffd_dirty_take(f->uffd, &rest, reported, NPAGES), 1);
        assert_int_equal(reported[0].length, MOVED * PAGE);
        there[3 * PAGE] = 'w';
        rest = (struct pgl_uffd_range){there, MOVED * PAGE};
        assert_int_equal(pgl_uffd_dirty_take(f->uffd, &rest, reported, NPAGES), 1);
        assert_ptr_equal(reported[0].addr, there + 3 * PAGE);
        assert_int_equal(reported[0].length, PAGE);
        end(f);
        munmap(there, MOVED * PAGE);
    }
}

/* Returns the bytes of all mappings. */
static size_t count_mapped(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    unsigned long npages = 0;

    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lu", &npages), 1);
    fclose(file);
    return npages * PAGE;
}

/* O8: as large as what was moved, and not as the region: 16 KiB for each set of bits. */
static void test_uffd_dirty_record_of_a_page_that_was_moved_is_small(void **state)
{
    enum { MANY = 1 << 17, MOVES = 64 }; /* a 32-bit process has room for it */
    const size_t length = (size_t)MANY * PAGE;
    struct fixture *f = *state;
    unsigned char *memory =
        mmap(NULL, length + MOVES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    size_t before;

    assert_ptr_not_equal(memory, MAP_FAILED);
    assert_int_equal(ftruncate(f->file, (off_t)length), 0);
    f->config.track_dirty = true;
    assert_true(try_new(f));
    assert_true(pgl_uffd_map(f->uffd, memory, length, f->file, 0, PGL_ADVICE_RANDOM));
    before = count_mapped();
    for (unsigned i = 0; i < MOVES; i++) {
        unsigned char *there = memory + length + i * PAGE;

        assert_ptr_equal(mremap(memory + (size_t)i * 9 * PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, there),
                         there);
        assert_true(is_zero(there) || is_page(there, (uint64_t)i * 9));
    }
    assert_true(count_mapped() < before + (size_t)MOVES * MANY / 4);
    pgl_uffd_free(f->uffd);
    f->uffd = NULL;
    munmap(memory, length + MOVES * PAGE);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_dirty_reports_what_was_written_since_the_last_report),
        TEST(test_uffd_dirty_reports_a_page_that_a_write_has_asked_for),
        TEST(test_uffd_dirty_reports_a_page_that_could_not_be_read),
        TEST(test_uffd_dirty_reports_no_poison),
        TEST(test_uffd_dirty_reports_a_page_that_was_poison),
        TEST(test_uffd_dirty_goes_on_where_the_answer_was_full),
        TEST(test_uffd_dirty_keeps_what_did_not_fit),
        TEST(test_uffd_dirty_reports_pages_that_were_given_back),
        TEST(test_uffd_dirty_reports_a_page_until_it_is_gone),
        TEST(test_uffd_dirty_looks_at_every_region),
        TEST(test_uffd_dirty_refuses_what_it_cannot_answer),
        TEST(test_uffd_dirty_survives_each_error_of_its_calls),
        TEST(test_uffd_dirty_survives_an_error_of_one_page),
        TEST(test_uffd_dirty_taken_at_each_step_of_a_handler_loses_no_write),
        TEST(test_uffd_dirty_late_fault_opens_no_page),
        TEST(test_uffd_dirty_leaves_out_what_a_child_writes),
        TEST(test_uffd_dirty_with_self_service_needs_the_kernels_record),
        TEST(test_uffd_dirty_with_write_protect_counts_unlocks),
        TEST(test_uffd_dirty_of_memory_that_was_moved_is_its_pages),
        TEST(test_uffd_dirty_record_of_a_page_that_was_moved_is_small),
    };
#undef TEST

    return permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
