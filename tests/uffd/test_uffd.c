/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pager on the kernel's own faults: every byte is compared with the file. Needs the privilege to use userfaultfd;
 * without it the program says what to set, and exits with 77: skipped.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <pagelock/uffd.h>

#include "../cm.h"
#include "uffd_waits.h"

#ifdef __SANITIZE_THREAD__
#define THREAD_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define THREAD_SANITIZED 1
#endif
#endif
#if defined(THREAD_SANITIZED) || defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif

#ifndef MADV_COLLAPSE /* of Linux 6.1 */
#define MADV_COLLAPSE 25
#endif

#define PAGE 4096
#define NPAGES 512

/* A file in memory whose words tell where they are, some memory, and a pager between the two. */
struct fixture {
    int file;
    unsigned char *memory;
    struct pgl_uffd_config config;
    struct pgl_uffd *uffd;
    unsigned failures; /* told to the failed() callback */
    int last_error;
};

/*
 * The library's and this program's calls of malloc() come here. A handler may make none: a thread that forks holds its
 * locks, and waits for a handler.
 */
static __thread bool may_malloc; /* not in handlers, which do not set it */
static unsigned handlers_malloced;

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void __real_free(void *block);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void __wrap_free(void *block);

static void note_malloc(void)
{
    __atomic_fetch_add(&handlers_malloced, !may_malloc, __ATOMIC_RELAXED);
}

void *__wrap_malloc(size_t size)
{
    note_malloc();
    return __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    note_malloc();
    return __real_calloc(n, size);
}

void __wrap_free(void *block)
{
    note_malloc();
    __real_free(block);
}

static uint64_t word_at(uint64_t offset)
{
    return (offset + 8) * UINT64_C(0x9e3779b97f4a7c15);
}

static void fill(int file, uint64_t first, uint64_t npages)
{
    uint64_t words[PAGE / 8];

    for (uint64_t page = first; page < first + npages; page++) {
        for (uint64_t i = 0; i < PAGE / 8; i++) {
            words[i] = word_at(page * PAGE + i * 8);
        }
        assert_int_equal(pwrite(file, words, PAGE, (off_t)(page * PAGE)), PAGE);
    }
}

static bool is_page(const unsigned char *memory, uint64_t file_page)
{
    const uint64_t *words = (const uint64_t *)(const void *)memory;

    for (uint64_t i = 0; i < PAGE / 8; i++) {
        if (words[i] != word_at(file_page * PAGE + i * 8)) {
            return false;
        }
    }
    return true;
}

static bool is_zero(const unsigned char *memory)
{
    for (size_t i = 0; i < PAGE; i++) {
        if (memory[i] != 0) {
            return false;
        }
    }
    return true;
}

static int set_up(void **state)
{
    struct fixture *f;

    may_malloc = true;
    f = calloc(1, sizeof(*f));
    f->file = memfd_create("pages", MFD_CLOEXEC);
    fill(f->file, 0, NPAGES);
    f->memory = mmap(NULL, NPAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *state = f;
    return f->memory == MAP_FAILED;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    pgl_uffd_free(f->uffd);
    munmap(f->memory, NPAGES * PAGE);
    close(f->file);
    free(f);
    return handlers_malloced != 0;
}

static void start_pager(struct fixture *f)
{
    f->uffd = pgl_uffd_new(&f->config);
    assert_non_null(f->uffd);
}

static void map_all(struct fixture *f, enum pgl_advice advice)
{
    start_pager(f);
    assert_true(pgl_uffd_map(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, advice));
}

static struct pgl_uffd_stats stats_of(struct fixture *f)
{
    struct pgl_uffd_stats stats;

    pgl_uffd_get_stats(f->uffd, &stats);
    return stats;
}

static void assert_count_at(struct fixture *f, size_t at, uint64_t value)
{
    struct pgl_uffd_stats stats = stats_of(f);
    uint64_t now;

    memcpy(&now, (const char *)&stats + at, sizeof(now));
    assert_int_equal(now, value);
}

#define assert_count(f, field, value) assert_count_at(f, offsetof(struct pgl_uffd_stats, field), value)

static void assert_pages(const unsigned char *memory, uint64_t npages, uint64_t file_page)
{
    for (uint64_t i = 0; i < npages; i++) {
        if (!is_page(memory + i * PAGE, file_page + i)) {
            fail_msg("page %" PRIu64 " is not the file's page %" PRIu64, i, file_page + i);
        }
    }
}

static unsigned count_fds(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 256; fd++) {
        n += fcntl(fd, F_GETFD) >= 0;
    }
    return n;
}

/* The last holder of a file may be a handler, which closes it a moment later. */
static void assert_fds(unsigned n)
{
    for (unsigned tries = 0; tries < 2000 && count_fds() != n; tries++) {
        usleep(1000);
    }
    assert_int_equal(count_fds(), n);
}

/* Reading */

static void test_uffd_brings_the_files_bytes_under_every_advice(void **state)
{
    struct fixture *f = *state;

    for (int advice = 0; advice < PGL_ADVICE_COUNT; advice++) {
        f->config.threads = 1 + (unsigned)advice % 2;
        map_all(f, (enum pgl_advice)advice);
        for (uint64_t i = 0; i < NPAGES; i++) {
            uint64_t page = i * 211 % NPAGES; /* in no order that the advice likes */

            assert_true(is_page(f->memory + page * PAGE, page));
        }
        assert_count(f, pages_fetched, NPAGES);
        assert_count(f, bytes_read, NPAGES * PAGE);
        pgl_uffd_free(f->uffd);
        f->uffd = NULL;
        assert_int_equal(madvise(f->memory, NPAGES * PAGE, MADV_DONTNEED), 0);
    }
}

static void test_uffd_sequential_reads_a_window_a_fault(void **state)
{
    struct fixture *f = *state;

    map_all(f, PGL_ADVICE_SEQUENTIAL);
    assert_pages(f->memory, NPAGES, 0);
    assert_count(f, faults, NPAGES / 32);
    assert_count(f, requests, NPAGES / 32);
}

/* One handler answers one fault after the other, and counts it before it wakes: what each has taken is known. */
static void test_uffd_slowest_answer_is_the_largest_of_all(void **state)
{
    struct fixture *f = *state;
    uint64_t total = 0, slowest = 0;

    f->config.threads = 1;
    map_all(f, PGL_ADVICE_RANDOM);
    for (uint64_t page = 0; page < 300; page++) {
        struct pgl_uffd_stats stats;
        uint64_t taken;

        assert_true(is_page(f->memory + page * PAGE, page));
        stats = stats_of(f);
        assert_int_equal(stats.faults, page + 1);
        taken = stats.ns_total - total;
        total = stats.ns_total;
        assert_true(taken > 0);
        slowest = taken > slowest ? taken : slowest;
        assert_int_equal(stats.ns_max, slowest);
    }
}

static void test_uffd_random_reads_no_more_than_is_needed(void **state)
{
    struct fixture *f = *state;

    map_all(f, PGL_ADVICE_RANDOM);
    for (uint64_t i = 0; i < 100; i++) {
        assert_true(is_page(f->memory + (i * 37 % NPAGES) * PAGE, i * 37 % NPAGES));
    }
    assert_count(f, bytes_read, 100 * PAGE);
}

static void test_uffd_maps_a_part_of_the_file(void **state)
{
    struct fixture *f = *state;

    start_pager(f);
    assert_true(pgl_uffd_map(f->uffd, f->memory + 10 * PAGE, 20 * PAGE, f->file, 100 * PAGE, PGL_ADVICE_NORMAL));
    assert_pages(f->memory + 10 * PAGE, 20, 100);
    assert_true(is_zero(f->memory + 9 * PAGE));
    assert_true(is_zero(f->memory + 30 * PAGE));
    assert_count(f, pages_fetched, 20);
}

static void test_uffd_hole_becomes_zero_pages_that_are_not_read(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ftruncate(f->file, 0), 0);
    assert_int_equal(ftruncate(f->file, NPAGES * PAGE), 0);
    fill(f->file, 100, 3);
    fill(f->file, 200, 50);
    map_all(f, PGL_ADVICE_NORMAL);
    for (uint64_t page = 0; page < NPAGES; page++) {
        bool data = (page >= 100 && page < 103) || (page >= 200 && page < 250);

        assert_true(data ? is_page(f->memory + page * PAGE, page) : is_zero(f->memory + page * PAGE));
    }
    assert_count(f, pages_fetched, 53);
    assert_count(f, bytes_read, 53 * PAGE);
    assert_count(f, pages_zeroed, NPAGES - 53);
    assert_int_equal(lseek(f->file, 0, SEEK_CUR), 0); /* the caller's offset is his */
}

/* Holes of one page and more, before, behind and between pages of data: each cluster takes what it may from each. */
static void test_uffd_cluster_takes_holes_and_data_in_turn(void **state)
{
    struct fixture *f = *state;
    struct pgl_advice_table table = *pgl_advice_shipped();
    uint64_t ndata = 0;

    f->config.table = &table;
    assert_int_equal(ftruncate(f->file, 0), 0);
    assert_int_equal(ftruncate(f->file, NPAGES * PAGE), 0);
    for (uint64_t page = 1; page < NPAGES; page += 2 + page % 5) {
        uint64_t npages = 1 + page % 3;

        npages = npages < NPAGES - page ? npages : NPAGES - page;
        fill(f->file, page, npages);
        ndata += npages;
        page += npages;
    }
    for (uint32_t before = 0; before < 8; before++) {
        for (uint32_t after = 0; after < 8; after += 3) {
            table.row[PGL_ADVICE_NORMAL] = (struct pgl_advice_row){.before = before, .after = after};
            map_all(f, PGL_ADVICE_NORMAL);
            for (uint64_t i = 0; i < NPAGES; i++) {
                uint64_t page = i * 211 % NPAGES;

                assert_true(is_page(f->memory + page * PAGE, page) || is_zero(f->memory + page * PAGE));
                assert_int_equal(stats_of(f).present, 0);
            }
            assert_int_equal(stats_of(f).pages_fetched, ndata);
            assert_int_equal(stats_of(f).bytes_read, ndata * PAGE);
            assert_int_equal(stats_of(f).pages_zeroed, NPAGES - ndata);
            pgl_uffd_free(f->uffd);
            f->uffd = NULL;
        }
    }
}

/* More than a mebibyte of the pager's records: 4,096 holes, and as many stretches of pages far from each other. */
static void test_uffd_keeps_many_records(void **state)
{
    const uint64_t distance = 64;
    struct fixture *f = *state;
    uint64_t npages = 4096 * distance;
    unsigned char *memory =
        mmap(NULL, npages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    assert_true(memory != MAP_FAILED);
    assert_int_equal(ftruncate(f->file, 0), 0);
    assert_int_equal(ftruncate(f->file, (off_t)(npages * PAGE)), 0);
    for (uint64_t page = 0; page < npages; page += distance) {
        fill(f->file, page, 1);
    }
    start_pager(f);
    assert_true(pgl_uffd_map(f->uffd, memory, npages * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
    for (unsigned round = 0; round < 2; round++) {
        for (uint64_t page = 0; page < npages; page += distance) {
            assert_true(is_page(memory + page * PAGE, page));
        }
    }
    assert_count(f, faults, npages / distance);
    pgl_uffd_free(f->uffd);
    f->uffd = NULL;
    munmap(memory, npages * PAGE);
}

/* The holes are those of the file as it was mapped: what becomes data later is not seen there. */
static void test_uffd_hole_that_is_filled_later_stays_zeros(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ftruncate(f->file, 100 * PAGE), 0);
    assert_int_equal(ftruncate(f->file, NPAGES * PAGE), 0);
    map_all(f, PGL_ADVICE_NORMAL);
    fill(f->file, 200, 50);
    for (uint64_t page = 150; page < NPAGES; page++) {
        assert_true(is_zero(f->memory + page * PAGE));
    }
    assert_count(f, bytes_read, 0);
}

/* The thread that writes has locked the file, and waits for its pages: nothing that brings them may want that lock. */
static void test_uffd_region_is_written_to_its_own_sparse_file(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ftruncate(f->file, 20 * PAGE), 0);
    assert_int_equal(ftruncate(f->file, 21 * PAGE), 0);
    fill(f->file, 21, NPAGES - 21);
    map_all(f, PGL_ADVICE_RANDOM);
    alarm(20); /* it would hang for ever */
    assert_int_equal(pwrite(f->file, f->memory, NPAGES * PAGE, 0), NPAGES * PAGE);
    alarm(0);
    for (uint64_t page = 0; page < NPAGES; page++) {
        assert_true(page == 20 ? is_zero(f->memory + page * PAGE) : is_page(f->memory + page * PAGE, page));
    }
}

static void test_uffd_partial_last_page_ends_in_zeros(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ftruncate(f->file, (NPAGES - 1) * PAGE + 100), 0);
    map_all(f, PGL_ADVICE_NORMAL);
    assert_memory_not_equal(f->memory + (NPAGES - 1) * PAGE, (unsigned char[100]){0}, 100);
    for (size_t i = 100; i < PAGE; i++) {
        assert_int_equal(f->memory[(NPAGES - 1) * PAGE + i], 0);
    }
    assert_count(f, errors, 0);
}

/* Files */

/* Fills NPAGES pages of memory from pages of a file, one region each with one page of room, in that order. */
static unsigned char *map_regions(struct fixture *f, unsigned nregions, uint64_t file_pages)
{
    unsigned char *room =
        mmap(NULL, (size_t)nregions * 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_true(room != MAP_FAILED);
    for (unsigned i = 0; i < nregions; i++) {
        off_t offset = (off_t)(i * 7 % file_pages * PAGE);

        assert_true(pgl_uffd_map(f->uffd, room + (size_t)i * 2 * PAGE, PAGE, f->file, offset, PGL_ADVICE_NORMAL));
    }
    return room;
}

static void test_uffd_regions_of_a_file_share_a_descriptor(void **state)
{
    enum { NREGIONS = 2000 };
    struct fixture *f = *state;
    struct rlimit before, few;
    unsigned nfds;
    unsigned char *room;

    start_pager(f);
    nfds = count_fds();
    getrlimit(RLIMIT_NOFILE, &before);
    few = before;
    few.rlim_cur = 256;
    setrlimit(RLIMIT_NOFILE, &few);
    room = map_regions(f, NREGIONS, NPAGES);
    setrlimit(RLIMIT_NOFILE, &before);
    assert_int_equal(count_fds(), nfds + 1);
    for (unsigned i = 0; i < NREGIONS; i++) {
        assert_true(is_page(room + (size_t)i * 2 * PAGE, i * 7 % NPAGES));
    }
    for (unsigned i = 0; i < NREGIONS - 1; i++) { /* the last one keeps it open */
        assert_true(pgl_uffd_unmap(f->uffd, room + (size_t)i * 2 * PAGE, PAGE));
    }
    madvise(room, (size_t)NREGIONS * 2 * PAGE, MADV_DONTNEED);
    assert_true(is_page(room + (size_t)(NREGIONS - 1) * 2 * PAGE, (NREGIONS - 1) * 7 % NPAGES));
    assert_int_equal(count_fds(), nfds + 1);
    assert_true(pgl_uffd_unmap(f->uffd, room + (size_t)(NREGIONS - 1) * 2 * PAGE, PAGE));
    assert_fds(nfds);
    munmap(room, (size_t)NREGIONS * 2 * PAGE);
}

/* Others of the same inode that were opened alike share it; one that was opened otherwise, and another inode, do not. */
static void test_uffd_files_are_told_apart_by_inode_and_flags(void **state)
{
    struct fixture *f = *state;
    int other = memfd_create("other", MFD_CLOEXEC);
    unsigned nfds;
    char path[32];
    int files[4];

    fill(other, 100, 8);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", f->file);
    files[0] = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* which reading does not depend on */
    files[1] = dup(f->file);
    files[2] = open(path, O_RDONLY | O_CLOEXEC | O_NOATIME);
    files[3] = other;
    start_pager(f);
    nfds = count_fds();
    for (unsigned i = 0; i < 4; i++) {
        unsigned char *memory = f->memory + (size_t)i * 8 * PAGE;

        assert_true(files[i] >= 0);
        assert_true(pgl_uffd_map(f->uffd, memory, 8 * PAGE, files[i], 100 * PAGE, PGL_ADVICE_NORMAL));
        close(files[i]); /* the pager has its own */
        assert_int_equal(count_fds(), nfds + (i < 2 ? 1 : i) - (i + 1));
    }
    for (unsigned i = 0; i < 4; i++) {
        assert_pages(f->memory + (size_t)i * 8 * PAGE, 8, 100);
        assert_true(pgl_uffd_unmap(f->uffd, f->memory + (size_t)i * 8 * PAGE, 8 * PAGE));
    }
    assert_fds(nfds - 4);
}

struct mapper {
    pthread_t thread;
    struct fixture *f;
    pthread_barrier_t *barrier;
    unsigned char *memory;
    uint64_t first;
    unsigned failures;
};

/* Now and then no region is left, and the file is closed while another thread opens it. */
static void *map_and_unmap(void *arg)
{
    struct mapper *m = arg;

    pthread_barrier_wait(m->barrier);
    for (unsigned round = 0; round < 300; round++) {
        uint64_t page = (m->first + round) % NPAGES;

        m->failures += !pgl_uffd_map(m->f->uffd, m->memory, PAGE, m->f->file, (off_t)(page * PAGE), PGL_ADVICE_RANDOM);
        m->failures += !is_page(m->memory, page);
        m->failures += !pgl_uffd_unmap(m->f->uffd, m->memory, PAGE);
    }
    return NULL;
}

static void test_uffd_threads_open_and_close_a_file_at_once(void **state)
{
    struct fixture *f = *state;
    pthread_barrier_t barrier;
    struct mapper mappers[4];
    unsigned nfds;

    f->config.threads = 2;
    start_pager(f);
    nfds = count_fds();
    pthread_barrier_init(&barrier, NULL, 4);
    for (unsigned i = 0; i < 4; i++) {
        mappers[i] = (struct mapper){
            .f = f, .barrier = &barrier, .memory = f->memory + (size_t)i * 64 * PAGE, .first = i * UINT64_C(100)};
        assert_int_equal(pthread_create(&mappers[i].thread, NULL, map_and_unmap, &mappers[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(mappers[i].thread, NULL);
        assert_int_equal(mappers[i].failures, 0);
    }
    pthread_barrier_destroy(&barrier);
    assert_fds(nfds);
}

/* How many pages of a file the kernel has cached. */
static uint64_t count_cached(int file, uint64_t npages)
{
    unsigned char resident[NPAGES];
    void *view = mmap(NULL, npages * PAGE, PROT_READ, MAP_SHARED, file, 0);
    uint64_t n = 0;

    assert_true(view != MAP_FAILED);
    assert_int_equal(mincore(view, npages * PAGE, resident), 0);
    for (uint64_t i = 0; i < npages; i++) {
        n += resident[i] & 1;
    }
    munmap(view, npages * PAGE);
    return n;
}

static enum pgl_uffd_remedy on_failure_note(void *arg, const void *addr, int error)
{
    struct fixture *f = arg;

    (void)addr;
    __atomic_store_n(&f->last_error, error, __ATOMIC_RELAXED);
    return PGL_UFFD_ZERO;
}

/* What O_DIRECT asks for: whole blocks, of the partial last page as well, which ends in zeros; and nothing is cached. */
static void test_uffd_reads_directly_what_was_opened_so(void **state)
{
    char name[] = "pagelock-XXXXXX";
    struct fixture *f = *state;
    int file = mkstemp(name);
    int direct = open(name, O_RDONLY | O_CLOEXEC | O_DIRECT);

    assert_true(file >= 0);
    unlink(name);
    fill(file, 0, 64);
    assert_int_equal(ftruncate(file, 63 * PAGE + 100), 0);
    assert_int_equal(fsync(file), 0);
    posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    if (direct < 0 || count_cached(file, 64) > 0) {
        close(file);
        close(direct);
        SKIP_BECAUSE("the file system of the working directory does not know O_DIRECT, or has only memory");
    }
    f->config.failed = on_failure_note;
    f->config.arg = f;
    start_pager(f);
    assert_true(pgl_uffd_map(f->uffd, f->memory, 64 * PAGE, direct, 0, PGL_ADVICE_NORMAL));
    assert_pages(f->memory, 63, 0);
    assert_int_equal(*(uint64_t *)(void *)(f->memory + 63 * PAGE), word_at(63 * PAGE));
    for (size_t i = 100; i < PAGE; i++) {
        assert_int_equal(f->memory[63 * PAGE + i], 0);
    }
    assert_count(f, bytes_read, 63 * PAGE + 100);
    assert_count(f, errors, 0);
    assert_int_equal(count_cached(file, 64), 0);

    assert_int_equal(madvise(f->memory, 64 * PAGE, MADV_DONTNEED), 0);
    assert_int_equal(ftruncate(file, 40 * PAGE + 10), 0); /* it ends in a block */
    assert_pages(f->memory, 40, 0);
    assert_true(is_zero(f->memory + 40 * PAGE));
    assert_count(f, errors, 1);
    assert_int_equal(__atomic_load_n(&f->last_error, __ATOMIC_RELAXED), ENODATA);
    close(file);
    close(direct);
}

/* A file that has grown since it was mapped shows no more than it had: its last page ends in zeros. */
static void test_uffd_file_that_grew_shows_what_it_had(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ftruncate(f->file, 7 * PAGE + 100), 0);
    start_pager(f);
    assert_true(pgl_uffd_map(f->uffd, f->memory, 8 * PAGE, f->file, 0, PGL_ADVICE_NORMAL));
    fill(f->file, 7, 2);
    assert_pages(f->memory, 7, 0);
    assert_memory_not_equal(f->memory + 7 * PAGE, (unsigned char[100]){0}, 100);
    for (size_t i = 100; i < PAGE; i++) {
        assert_int_equal(f->memory[7 * PAGE + i], 0);
    }
    assert_count(f, bytes_read, 7 * PAGE + 100);
}

/* In a jail: 0 when the pages are right and the caller's offset stands; holes are read there. */
static int check_in_jail(struct fixture *f, const char *jail)
{
    struct pgl_uffd_stats stats;

    if (chroot(jail) != 0 || chdir("/") != 0) {
        return 1;
    }
    f->uffd = pgl_uffd_new(&f->config);
    if (!f->uffd || lseek(f->file, 123, SEEK_SET) != 123 ||
        !pgl_uffd_map(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_NORMAL)) {
        return 2;
    }
    for (uint64_t page = 0; page < NPAGES; page++) {
        if (page < 100 ? !is_page(f->memory + page * PAGE, page) : !is_zero(f->memory + page * PAGE)) {
            return 3;
        }
    }
    pgl_uffd_get_stats(f->uffd, &stats);
    if (lseek(f->file, 0, SEEK_CUR) != 123) {
        return 4;
    }
    pgl_uffd_free(f->uffd);
    return stats.pages_zeroed != 0 ? 5 : 0;
}

static void test_uffd_without_proc_leaves_the_callers_offset_alone(void **state)
{
    struct fixture *f = *state;
    char jail[] = P_tmpdir "/pagelock-XXXXXX";
    pid_t child;
    int status;

    assert_non_null(mkdtemp(jail));
    assert_int_equal(ftruncate(f->file, 100 * PAGE), 0);
    assert_int_equal(ftruncate(f->file, NPAGES * PAGE), 0);
    child = fork();
    if (child == 0) {
        _exit(check_in_jail(f, jail));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    rmdir(jail);
    assert_int_equal(status, 0);
}

static void test_uffd_partial_last_page_of_a_hole_is_zeros(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ftruncate(f->file, 10 * PAGE), 0);
    assert_int_equal(ftruncate(f->file, 20 * PAGE + 100), 0);
    start_pager(f);
    assert_true(pgl_uffd_map(f->uffd, f->memory, 21 * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
    assert_true(is_zero(f->memory + 20 * PAGE));
    assert_count(f, pages_zeroed, 1);
    assert_count(f, errors, 0);
}

/* With its cluster, which is the page, and then alone. */
static void test_uffd_counts_the_bytes_that_a_file_still_had(void **state)
{
    struct fixture *f = *state;

    map_all(f, PGL_ADVICE_RANDOM);
    assert_int_equal(ftruncate(f->file, 3 * PAGE + 10), 0);
    assert_true(is_zero(f->memory + 3 * PAGE));
    assert_count(f, errors, 1);
    assert_count(f, requests, 2);
    assert_count(f, bytes_read, 20);
    assert_true(is_page(f->memory + 2 * PAGE, 2));
    assert_count(f, bytes_read, 20 + PAGE);
    assert_count(f, pages_fetched, 1);
}

/* Writing */

static void test_uffd_writes_stay(void **state)
{
    struct fixture *f = *state;

    for (int write_protect = 0; write_protect < 2; write_protect++) {
        f->config.write_protect = write_protect != 0;
        map_all(f, PGL_ADVICE_SEQUENTIAL);
        for (uint64_t page = 0; page < NPAGES; page += 5) {
            memset(f->memory + page * PAGE, 'w', PAGE);
        }
        for (uint64_t page = 0; page < NPAGES; page++) {
            if (page % 5 == 0) {
                assert_int_equal(f->memory[page * PAGE], 'w');
                assert_int_equal(f->memory[page * PAGE + PAGE - 1], 'w');
            } else {
                assert_true(is_page(f->memory + page * PAGE, page));
            }
        }
        pgl_uffd_free(f->uffd);
        f->uffd = NULL;
        assert_int_equal(madvise(f->memory, NPAGES * PAGE, MADV_DONTNEED), 0);
    }
}

/* A write to a page that came for reading is one more fault; a page that a write has asked for is not protected. */
static void test_uffd_write_protect_faults_go_the_unlock_way(void **state)
{
    struct fixture *f = *state;

    f->config.write_protect = true;
    map_all(f, PGL_ADVICE_SEQUENTIAL);
    f->memory[0] = 1;
    assert_count(f, unlocks, 0);
    for (uint64_t page = 1; page < 11; page++) {
        f->memory[page * PAGE] = 1;
        f->memory[page * PAGE + 1] = 1;
    }
    assert_count(f, unlocks, 10);
    assert_count(f, requests, 1);
    assert_int_equal(f->memory[64 * PAGE], (unsigned char)word_at(64 * PAGE)); /* reads are not protected */
    assert_count(f, unlocks, 10);
}

/* Zeros in place of what cannot be read, or that mremap() added, are pages like others. */
static void test_uffd_zeros_are_write_protected_too(void **state)
{
    struct fixture *f = *state;
    unsigned char *small = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char *grown;

    f->config.write_protect = true;
    map_all(f, PGL_ADVICE_RANDOM);
    assert_true(pgl_uffd_map(f->uffd, small, 8 * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
    grown = mremap(small, 8 * PAGE, 64 * PAGE, MREMAP_MAYMOVE);
    assert_int_equal(ftruncate(f->file, 0), 0);
    assert_true(is_zero(f->memory + 2 * PAGE));
    assert_count(f, errors, 1);
    assert_true(is_zero(grown + 20 * PAGE));
    assert_count(f, unlocks, 0);
    f->memory[2 * PAGE] = 'w';
    assert_count(f, unlocks, 1);
    grown[20 * PAGE] = 'w';
    assert_count(f, unlocks, 2);
    f->memory[3 * PAGE] = 'w'; /* a write has asked for it */
    assert_count(f, errors, 2);
    f->memory[3 * PAGE + 1] = 'w';
    assert_true(f->memory[2 * PAGE] == 'w' && f->memory[3 * PAGE] == 'w' && grown[20 * PAGE] == 'w');
    assert_count(f, unlocks, 2);
    munmap(grown, 64 * PAGE);
}

/* Bad input */

static void test_uffd_refuses_what_is_not_page_aligned(void **state)
{
    struct fixture *f = *state;
    const struct {
        size_t addr;
        size_t length;
        off_t offset;
    } bad[] = {{1, PAGE, 0}, {0, PAGE + 1, 0}, {0, 0, 0}, {0, PAGE, 1}, {0, PAGE, -PAGE}};

    start_pager(f);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        errno = 0;
        assert_false(
            pgl_uffd_map(f->uffd, f->memory + bad[i].addr, bad[i].length, f->file, bad[i].offset, PGL_ADVICE_NORMAL));
        assert_int_equal(errno, EINVAL);
    }
    errno = 0;
    assert_false(pgl_uffd_advise(f->uffd, f->memory + 1, PAGE, PGL_ADVICE_NORMAL));
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_false(pgl_uffd_unmap(f->uffd, f->memory, PAGE - 1));
    assert_int_equal(errno, EINVAL);
}

static void test_uffd_refuses_what_the_file_does_not_have(void **state)
{
    struct fixture *f = *state;

    start_pager(f);
    errno = 0;
    assert_false(pgl_uffd_map(f->uffd, f->memory, 2 * PAGE, f->file, (NPAGES - 1) * PAGE, PGL_ADVICE_NORMAL));
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_false(pgl_uffd_map(f->uffd, f->memory, PAGE, f->file, NPAGES * PAGE, PGL_ADVICE_NORMAL));
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_false(pgl_uffd_map(f->uffd, f->memory, PAGE, -1, 0, PGL_ADVICE_NORMAL));
    assert_int_equal(errno, EBADF);
    errno = 0;
    assert_false(pgl_uffd_map(f->uffd, f->memory, PAGE, f->file, 0, (enum pgl_advice)PGL_ADVICE_COUNT));
    assert_int_equal(errno, EINVAL);
}

static void test_uffd_refuses_what_is_no_file_to_read(void **state)
{
    struct fixture *f = *state;
    int pipes[2], sockets[2];
    char path[32];

    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", f->file);

    const struct {
        int fd;
        int error;
    } bad[] = {
        {open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC), EISDIR},
        {dup(pipes[0]), ENODEV},
        {dup(sockets[0]), ENODEV},
        {open("/dev/zero", O_RDWR | O_CLOEXEC), ENODEV},
        {open(path, O_WRONLY | O_CLOEXEC), EBADF},
        {open(path, O_PATH | O_CLOEXEC), EBADF},
        {memfd_create("empty", MFD_CLOEXEC), EINVAL},
    };

    start_pager(f);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_true(bad[i].fd >= 0);
        errno = 0;
        assert_false(pgl_uffd_map(f->uffd, f->memory, PAGE, bad[i].fd, 0, PGL_ADVICE_NORMAL));
        assert_int_equal(errno, bad[i].error);
        close(bad[i].fd);
    }
    assert_true(is_zero(f->memory));
    for (unsigned i = 0; i < 2; i++) {
        close(pipes[i]);
        close(sockets[i]);
    }
}

static void test_uffd_refuses_to_map_memory_twice_or_not_at_all(void **state)
{
    struct fixture *f = *state;

    start_pager(f);
    assert_true(pgl_uffd_map(f->uffd, f->memory, 8 * PAGE, f->file, 0, PGL_ADVICE_NORMAL));
    errno = 0;
    assert_false(pgl_uffd_map(f->uffd, f->memory + 4 * PAGE, 8 * PAGE, f->file, 0, PGL_ADVICE_NORMAL));
    assert_int_equal(errno, EEXIST);
    errno = 0;
    assert_false(pgl_uffd_advise(f->uffd, f->memory + 4 * PAGE, 8 * PAGE, PGL_ADVICE_NORMAL));
    assert_int_equal(errno, ENOENT);
    errno = 0;
    assert_false(pgl_uffd_unmap(f->uffd, f->memory + 4 * PAGE, 8 * PAGE));
    assert_int_equal(errno, ENOENT);
    assert_true(pgl_uffd_unmap(f->uffd, f->memory + 4 * PAGE, 4 * PAGE));
    assert_pages(f->memory, 4, 0);
    assert_true(is_zero(f->memory + 4 * PAGE));
    assert_true(pgl_uffd_map(f->uffd, f->memory + 8 * PAGE, 8 * PAGE, f->file, 0, PGL_ADVICE_NORMAL));
    assert_pages(f->memory + 8 * PAGE, 8, 0);
}

/* Kinds of memory */

static unsigned char *map_kind(int flags, int file)
{
    unsigned char *memory = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, flags, file, 0);

    assert_true(memory != MAP_FAILED);
    return memory;
}

static void assert_refused(struct fixture *f, unsigned char *memory, int error)
{
    errno = 0;
    assert_false(pgl_uffd_map(f->uffd, memory, 8 * PAGE, f->file, 0, PGL_ADVICE_NORMAL));
    assert_int_equal(errno, error);
}

/* Where it begins, where it ends, and between. */
static void assert_refused_with_a_foreign_page(struct fixture *f, int flags, int file)
{
    for (unsigned page = 0; page < 8; page++) {
        unsigned char *memory = map_kind(MAP_PRIVATE | MAP_ANONYMOUS, -1);

        memset(memory, 'x', 8 * PAGE);
        assert_true(mmap(memory + page * PAGE, PAGE, PROT_READ, flags | MAP_FIXED, file, 0) != MAP_FAILED);
        assert_refused(f, memory, EINVAL);
        for (unsigned i = 0; i < 8; i++) {
            assert_true(i == page || memory[i * PAGE] == 'x'); /* nothing was dropped */
        }
        munmap(memory, 8 * PAGE);
    }
}

static void test_uffd_refuses_memory_that_is_not_private_and_anonymous(void **state)
{
    struct fixture *f = *state;
    char name[] = P_tmpdir "/pagelock-XXXXXX";
    int files[] = {f->file, mkstemp(name), open("/dev/zero", O_RDWR | O_CLOEXEC)};

    unlink(name);
    fill(files[1], 0, 8);
    start_pager(f);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(files[i] >= 0);
        for (int shared = 0; shared < 2; shared++) {
            int flags = shared ? MAP_SHARED : MAP_PRIVATE;
            unsigned char *memory = map_kind(flags, files[i]);

            assert_refused(f, memory, EINVAL);
            munmap(memory, 8 * PAGE);
            assert_refused_with_a_foreign_page(f, flags, files[i]);
        }
    }
    assert_refused_with_a_foreign_page(f, MAP_SHARED | MAP_ANONYMOUS, -1);
    assert_true(pgl_uffd_map(f->uffd, f->memory, 8 * PAGE, f->file, 0, PGL_ADVICE_NORMAL));
    assert_pages(f->memory, 8, 0);
    close(files[1]);
    close(files[2]);
}

static void test_uffd_refuses_memory_of_huge_pages(void **state)
{
    struct fixture *f = *state;
    size_t length = 2 << 20;
    unsigned char *memory =
        mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

    if (memory == MAP_FAILED) {
        SKIP_BECAUSE("no huge pages of 2 MiB: vm.nr_hugepages is to be 2");
    }
    start_pager(f);
    assert_refused(f, memory, EINVAL);
    memset(memory, 'x', length); /* and no handler waits for it */
    munmap(memory, length);
}

static void test_uffd_refuses_addresses_without_memory(void **state)
{
    struct fixture *f = *state;

    start_pager(f);
    for (unsigned page = 0; page < 8; page++) {
        unsigned char *memory = map_kind(MAP_PRIVATE | MAP_ANONYMOUS, -1);

        memset(memory, 'x', 8 * PAGE);
        munmap(memory + page * PAGE, PAGE);
        assert_refused(f, memory, EFAULT);
        assert_int_equal(memory[(page + 1) % 8 * PAGE], 'x');
        munmap(memory, 8 * PAGE);
        assert_refused(f, memory, EFAULT);
    }
}

static void test_uffd_refuses_memory_of_another_pager(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd *other;
    pid_t child;
    int status;

    start_pager(f);
    other = pgl_uffd_new(&f->config);
    assert_non_null(other);
    assert_true(pgl_uffd_map(other, f->memory + 4 * PAGE, 8 * PAGE, f->file, 100 * PAGE, PGL_ADVICE_NORMAL));
    memset(f->memory, 'x', 6 * PAGE);
    assert_refused(f, f->memory, EBUSY);
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(f->memory[i * PAGE], 'x');
    }
    assert_pages(f->memory + 6 * PAGE, 6, 102);
    child = fork();
    if (child == 0) { /* what the other pager has asked for holds */
        _exit(msync(f->memory + 4 * PAGE, 8 * PAGE, MS_ASYNC) == 0 || errno != ENOMEM);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    pgl_uffd_free(other);
    assert_true(pgl_uffd_map(f->uffd, f->memory, 8 * PAGE, f->file, 0, PGL_ADVICE_NORMAL));
    assert_pages(f->memory, 8, 0);
}

/* Pages that are there already would never fault. */

static void assert_shows_the_file(struct fixture *f, unsigned char *memory, uint64_t npages)
{
    f->config.write_protect = !f->config.write_protect;
    start_pager(f);
    assert_true(pgl_uffd_map(f->uffd, memory, npages * PAGE, f->file, 0, PGL_ADVICE_NORMAL));
    assert_pages(memory, npages, 0);
    assert_int_equal(stats_of(f).present, 0);
    assert_int_equal(stats_of(f).removes, 0);
    pgl_uffd_free(f->uffd);
    f->uffd = NULL;
}

static void test_uffd_shows_the_file_where_pages_were_before(void **state)
{
    struct fixture *f = *state;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS;
    unsigned char *memory;

    f->memory[7 * PAGE] = 'x';                                              /* one that was written */
    assert_int_equal(*(volatile unsigned char *)(f->memory + 9 * PAGE), 0); /* one that was read */
    assert_shows_the_file(f, f->memory, NPAGES);
    assert_shows_the_file(f, f->memory, NPAGES); /* all of them, of an earlier pager */

    memory = mmap(NULL, NPAGES * PAGE, PROT_READ | PROT_WRITE, flags | MAP_POPULATE, -1, 0);
    assert_true(memory != MAP_FAILED);
    assert_shows_the_file(f, memory, NPAGES);
    munmap(memory, NPAGES * PAGE);
}

static void test_uffd_shows_the_file_in_locked_memory(void **state)
{
    struct fixture *f = *state;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS;
    unsigned char *memory = mmap(NULL, NPAGES * PAGE, PROT_READ | PROT_WRITE, flags | MAP_LOCKED, -1, 0);

    if (memory == MAP_FAILED) {
        SKIP_BECAUSE("no right to lock 2 MiB of memory");
    }
    assert_shows_the_file(f, memory, NPAGES);
    munmap(memory, NPAGES * PAGE);
    if (mlockall(MCL_FUTURE) == 0) { /* which locks the next mapping, and brings its pages */
        memory = mmap(NULL, NPAGES * PAGE, PROT_READ | PROT_WRITE, flags, -1, 0);
        assert_true(memory != MAP_FAILED);
        assert_shows_the_file(f, memory, NPAGES);
        munlockall();
        munmap(memory, NPAGES * PAGE);
    }
}

static bool is_resident(unsigned char *page)
{
    unsigned char resident = 0;

    assert_int_equal(mincore(page, PAGE, &resident), 0);
    return (resident & 1) != 0;
}

/* The first touch of a neighbour makes a huge page that reaches into the region, on both sides; so may the kernel later. */
static void test_uffd_shows_the_file_in_transparent_huge_pages(void **state)
{
    const size_t huge = 2 << 20;
    struct fixture *f = *state;
    unsigned char *room = mmap(NULL, 3 * huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char *memory = room + (huge - (uintptr_t)room % huge);

    assert_true(room != MAP_FAILED);
    madvise(memory, 2 * huge, MADV_HUGEPAGE);
    memory[0] = 'h';
    memory[2 * huge - 1] = 't';
    if (!is_resident(memory + 5 * PAGE)) {
        munmap(room, 3 * huge);
        SKIP_BECAUSE("no transparent huge pages");
    }
    start_pager(f);
    assert_true(pgl_uffd_map(f->uffd, memory + PAGE, (NPAGES - 1) * PAGE, f->file, PAGE, PGL_ADVICE_RANDOM));
    assert_true(pgl_uffd_map(f->uffd, memory + huge, (NPAGES - 1) * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
    for (uint64_t page = 1; page < NPAGES - 1; page += 3) {
        assert_true(is_page(memory + page * PAGE, page) && is_page(memory + huge + page * PAGE, page));
    }
    madvise(memory, 2 * huge, MADV_COLLAPSE); /* the kernel refuses it, or must get it right */
    assert_pages(memory + PAGE, NPAGES - 1, 1);
    assert_pages(memory + huge, NPAGES - 1, 0);
    assert_true(memory[0] == 'h' && memory[2 * huge - 1] == 't'); /* the neighbours have kept what they had */
    pgl_uffd_free(f->uffd);
    f->uffd = NULL;
    munmap(room, 3 * huge);
}

/* Clusters of up to 2^33 pages. A buffer for one that has wrapped to a few would be overrun; 32 TiB are not there. */
static void test_uffd_clusters_too_wide_for_memory_are_refused(void **state)
{
    struct fixture *f = *state;
    struct pgl_advice_table table = *pgl_advice_shipped();
    const size_t limit = sizeof(void *) > 4 ? (size_t)1 << 42 : SIZE_MAX;
    struct rlimit before, small;

#ifdef SANITIZED
    SKIP_BECAUSE("the sanitizer's allocator aborts where malloc() returns NULL");
#endif
    for (int i = 0; i < 2; i++) { /* the sum of the two sides does not fit in 32 bits, then its bytes do not */
        table.row[PGL_ADVICE_NORMAL].before = i == 0 ? UINT32_MAX : 1 << 19;
        table.row[PGL_ADVICE_NORMAL].after = i == 0 ? UINT32_MAX : UINT32_MAX - (1 << 19);
        f->config.table = &table;
        getrlimit(RLIMIT_AS, &before);
        small = before;
        small.rlim_cur = limit; /* whatever the kernel would commit */
        setrlimit(RLIMIT_AS, &small);
        errno = 0;
        f->uffd = pgl_uffd_new(&f->config);
        setrlimit(RLIMIT_AS, &before);
        assert_null(f->uffd);
        assert_int_equal(errno, ENOMEM);
    }
}

static void test_uffd_without_privilege_says_what_to_set(void **state)
{
    int status;
    pid_t child;

    (void)state;
    assert_non_null(strstr(pgl_uffd_explain(EPERM), "CAP_SYS_PTRACE"));
    assert_non_null(strstr(pgl_uffd_explain(EPERM), "vm.unprivileged_userfaultfd"));
    assert_non_null(strstr(pgl_uffd_explain(ENOSYS), "CONFIG_USERFAULTFD"));
    child = fork();
    if (child == 0) {
        const struct pgl_uffd_config config = {0};

        _exit(setuid(65534) != 0 || pgl_uffd_new(&config) ? 1 : errno == EPERM ? 0 : 2);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* Files that fail */

static enum pgl_uffd_remedy on_failure(void *arg, const void *addr, int error)
{
    struct fixture *f = arg;
    unsigned failures = __atomic_add_fetch(&f->failures, 1, __ATOMIC_RELAXED);

    __atomic_store_n(&f->last_error, addr >= (const void *)f->memory ? error : 0, __ATOMIC_RELAXED);
    if (failures == 3) {
        fill(f->file, 300, NPAGES - 300); /* the file grows back */
    }
    return failures <= 3 ? PGL_UFFD_AGAIN : PGL_UFFD_ZERO;
}

static void test_uffd_file_that_shrank_gives_zeros_and_counts_them(void **state)
{
    struct fixture *f = *state;

    map_all(f, PGL_ADVICE_NORMAL);
    assert_int_equal(ftruncate(f->file, 299 * PAGE + 10), 0);
    assert_pages(f->memory, 299, 0);
    for (uint64_t page = 299; page < NPAGES; page++) {
        assert_true(is_zero(f->memory + page * PAGE));
    }
    assert_count(f, errors, NPAGES - 299);
}

static void test_uffd_sparse_file_that_shrank_is_no_hole(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ftruncate(f->file, 300 * PAGE), 0);
    assert_int_equal(ftruncate(f->file, NPAGES * PAGE), 0);
    map_all(f, PGL_ADVICE_NORMAL);
    assert_int_equal(ftruncate(f->file, 400 * PAGE), 0);
    assert_true(is_zero(f->memory + 350 * PAGE));
    assert_count(f, errors, 0);
    assert_true(is_zero(f->memory + 400 * PAGE));
    assert_count(f, errors, 1);
    for (uint64_t page = 380; page < 410; page++) {
        assert_true(is_zero(f->memory + page * PAGE));
    }
    assert_count(f, errors, 10);
}

static void test_uffd_failed_page_is_read_again_if_asked_to(void **state)
{
    struct fixture *f = *state;

    f->config.failed = on_failure;
    f->config.arg = f;
    map_all(f, PGL_ADVICE_RANDOM);
    assert_int_equal(ftruncate(f->file, 300 * PAGE), 0);
    assert_true(is_page(f->memory + 310 * PAGE, 310));
    assert_int_equal(__atomic_load_n(&f->failures, __ATOMIC_RELAXED), 3);
    assert_int_equal(__atomic_load_n(&f->last_error, __ATOMIC_RELAXED), ENODATA);
    assert_count(f, errors, 0);
}

/* A failed() callback that waits until so many of them may answer. Both atomic. */
static unsigned asked;
static unsigned may_answer;

static enum pgl_uffd_remedy on_failure_wait(void *arg, const void *addr, int error)
{
    unsigned number = __atomic_add_fetch(&asked, 1, __ATOMIC_RELEASE);

    (void)arg;
    (void)addr;
    (void)error;
    while (__atomic_load_n(&may_answer, __ATOMIC_ACQUIRE) < number) {
        usleep(1000);
    }
    return PGL_UFFD_ZERO;
}

/* Returns NULL when the page at an address is all zeros. */
static void *touch_zero_page(void *arg)
{
    return is_zero(arg) ? NULL : arg;
}

static void wait_until_asked(unsigned n)
{
    while (__atomic_load_n(&asked, __ATOMIC_ACQUIRE) < n) {
        usleep(100);
    }
}

static void let_answer(unsigned n)
{
    __atomic_store_n(&may_answer, n, __ATOMIC_RELEASE);
}

/* Starts a thread that touches a page which cannot be read, and waits until that is known. */
static pthread_t touch_bad_page(unsigned char *page)
{
    pthread_t thread;

    __atomic_store_n(&asked, 0, __ATOMIC_RELEASE);
    let_answer(0);
    assert_int_equal(pthread_create(&thread, NULL, touch_zero_page, page), 0);
    wait_until_asked(1);
    return thread;
}

/* By the time it is known what becomes of a bad page, another file is mapped there. */
static void test_uffd_zeros_of_a_bad_page_do_not_enter_another_file(void **state)
{
    const int fixed = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    struct fixture *f = *state;
    int other = memfd_create("other", MFD_CLOEXEC);
    pthread_t thread;

    fill(other, 100, NPAGES);
    f->config.threads = 2;
    f->config.failed = on_failure_wait;
    map_all(f, PGL_ADVICE_RANDOM);
    assert_int_equal(ftruncate(f->file, 0), 0);
    thread = touch_bad_page(f->memory + 3 * PAGE);
    assert_int_equal(munmap(f->memory, NPAGES * PAGE), 0);
    assert_ptr_equal(mmap(f->memory, NPAGES * PAGE, PROT_READ | PROT_WRITE, fixed, -1, 0), f->memory);
    assert_true(pgl_uffd_map(f->uffd, f->memory, NPAGES * PAGE, other, 100 * PAGE, PGL_ADVICE_RANDOM));
    let_answer(UINT_MAX);
    pthread_join(thread, NULL);
    assert_pages(f->memory, NPAGES, 100);
    assert_count(f, errors, 0); /* nothing became zeros */
    close(other);
}

static enum pgl_uffd_remedy on_failure_again(void *arg, const void *addr, int error)
{
    (void)arg;
    (void)addr;
    (void)error;
    __atomic_add_fetch(&asked, 1, __ATOMIC_RELEASE);
    return PGL_UFFD_AGAIN;
}

/* A page that is tried again for ever does not keep the only handler from others, nor the pager from ending. */
static void test_uffd_page_that_stays_bad_holds_nothing_else_up(void **state)
{
    enum { NTHREADS = 70 }; /* more than a handler reads at a time */
    struct fixture *f = *state;
    pthread_t threads[NTHREADS];

    f->config.failed = on_failure_again;
    map_all(f, PGL_ADVICE_RANDOM);
    assert_int_equal(ftruncate(f->file, 300 * PAGE), 0);
    __atomic_store_n(&asked, 0, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < NTHREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, touch_zero_page, f->memory + (300 + i) * PAGE), 0);
    }
    alarm(20); /* it would hang for ever */
    wait_until_asked(2 * NTHREADS);
    assert_pages(f->memory, 10, 0);
    pgl_uffd_free(f->uffd);
    f->uffd = NULL;
    for (unsigned i = 0; i < NTHREADS; i++) {
        void *wrong;

        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
    alarm(0);
}

/* While both handlers are detained two threads fault. The handler that is free first is detained by the one's page. */
static void test_uffd_fault_waits_for_no_other_while_a_handler_is_idle(void **state)
{
    struct fixture *f = *state;
    unsigned char *bad = f->memory + 300 * PAGE;
    pthread_t threads[3], toucher;

    f->config.threads = 2;
    f->config.failed = on_failure_wait;
    map_all(f, PGL_ADVICE_RANDOM);
    assert_int_equal(ftruncate(f->file, 300 * PAGE), 0);
    threads[0] = touch_bad_page(bad);
    assert_int_equal(pthread_create(&threads[1], NULL, touch_zero_page, bad + PAGE), 0);
    wait_until_asked(2);
    assert_int_equal(pthread_create(&threads[2], NULL, touch_zero_page, bad + 2 * PAGE), 0);
    uffd_wait_for_pending(1);
    assert_int_equal(pthread_create(&toucher, NULL, touch_zero_page, f->memory), 0);
    uffd_wait_for_pending(2);
    let_answer(1);
    wait_until_asked(3);
    let_answer(2);
    alarm(20);
    assert_int_equal(pthread_join(toucher, NULL), 0);
    alarm(0);
    let_answer(UINT_MAX);
    for (unsigned i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
}

/* Mappings that change */

/* Given back at once: a part, of another advice, and what is beside it. Each page is read once more, in its window. */
static void test_uffd_pages_of_several_entries_are_given_back(void **state)
{
    struct fixture *f = *state;

    map_all(f, PGL_ADVICE_SEQUENTIAL);
    assert_true(pgl_uffd_advise(f->uffd, f->memory + 64 * PAGE, 64 * PAGE, PGL_ADVICE_RANDOM));
    assert_pages(f->memory, 192, 0);
    assert_count(f, requests, 2 + 64 + 2);
    assert_int_equal(madvise(f->memory + 32 * PAGE, 128 * PAGE, MADV_DONTNEED), 0);
    assert_pages(f->memory, 192, 0);
    assert_count(f, requests, 2 + 64 + 2 + 1 + 64 + 1);
    assert_count(f, pages_fetched, 192 + 128);
    assert_count(f, present, 0);
}

static void test_uffd_page_given_back_is_fetched_again(void **state)
{
    struct fixture *f = *state;

    map_all(f, PGL_ADVICE_SEQUENTIAL);
    memset(f->memory, 'x', NPAGES * PAGE);
    assert_int_equal(madvise(f->memory + 10 * PAGE, 100 * PAGE, MADV_DONTNEED), 0);
    assert_pages(f->memory + 10 * PAGE, 100, 10);
    assert_int_equal(f->memory[9 * PAGE], 'x');
    assert_int_equal(f->memory[110 * PAGE], 'x');
    assert_count(f, removes, 1);
    assert_count(f, present, 0); /* the driver knew */
}

static void test_uffd_part_unmapped_is_left_alone(void **state)
{
    struct fixture *f = *state;

    map_all(f, PGL_ADVICE_NORMAL);
    assert_int_equal(munmap(f->memory + 100 * PAGE, 50 * PAGE), 0);
    assert_pages(f->memory, 100, 0);
    assert_pages(f->memory + 150 * PAGE, NPAGES - 150, 150);
    assert_count(f, unmaps, 1);
    assert_count(f, pages_fetched, NPAGES - 50);
    assert_count(f, gone, 0);
}

static void test_uffd_memory_that_moved_goes_on(void **state)
{
    struct fixture *f = *state;
    unsigned char *room = mmap(NULL, NPAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char *moved;

    map_all(f, PGL_ADVICE_NORMAL);
    assert_true(pgl_uffd_advise(f->uffd, f->memory + 300 * PAGE, 20 * PAGE, PGL_ADVICE_RANDOM));
    assert_pages(f->memory + 250 * PAGE, 2, 250);
    moved = mremap(f->memory + 200 * PAGE, 200 * PAGE, 200 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, room);
    assert_ptr_equal(moved, room);
    assert_pages(moved, 200, 200);
    assert_pages(f->memory, 200, 0);
    assert_pages(f->memory + 400 * PAGE, NPAGES - 400, 400);
    assert_count(f, remaps, 1);
    assert_count(f, pages_fetched, NPAGES);
    munmap(room, NPAGES * PAGE);
}

/* Something that a thread does to memory, because it waits for a handler. */
struct change {
    struct fixture *f;
    unsigned char *from;
    unsigned char *to;
    int file;
    pid_t tid; /* atomic, as the next is */
    bool done;
};

static bool is_done(const struct change *c)
{
    return __atomic_load_n(&c->done, __ATOMIC_ACQUIRE);
}

static void *move_away(void *arg)
{
    struct change *c = arg;

    c->done = mremap(c->from, 64 * PAGE, 64 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, c->to) == c->to;
    return NULL;
}

static void *unmap(void *arg)
{
    struct change *c = arg;

    c->done = munmap(c->from, 64 * PAGE) == 0;
    return NULL;
}

static void *map_another(void *arg)
{
    struct change *c = arg;

    __atomic_store_n(&c->tid, gettid(), __ATOMIC_RELEASE);
    __atomic_store_n(&c->done, pgl_uffd_map(c->f->uffd, c->from, 64 * PAGE, c->file, 100 * PAGE, PGL_ADVICE_RANDOM),
                     __ATOMIC_RELEASE);
    return NULL;
}

/*
 * Memory is moved or let go, and the address used again before the only handler, which failed() detains, has read of
 * it. The event that is still to come is the old memory's.
 */
static void use_address_again(struct fixture *f, void *(*let_go)(void *arg), bool moves)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    struct change old = {.f = f, .from = f->memory, .to = f->memory + 128 * PAGE};
    struct change new = {.f = f, .from = f->memory, .file = f->file};
    unsigned char *bad = f->memory + 256 * PAGE;
    pid_t tid;
    int empty = memfd_create("empty", MFD_CLOEXEC);
    pthread_t threads[4];

    f->config.failed = on_failure_wait;
    start_pager(f);
    fill(empty, 0, 8);
    assert_true(pgl_uffd_map(f->uffd, f->memory, 64 * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
    assert_true(pgl_uffd_map(f->uffd, bad, 8 * PAGE, empty, 0, PGL_ADVICE_RANDOM));
    assert_int_equal(ftruncate(empty, 0), 0);
    threads[0] = touch_bad_page(bad);
    assert_int_equal(pthread_create(&threads[1], NULL, touch_zero_page, bad + PAGE), 0);
    uffd_wait_for_pending(1);
    assert_int_equal(pthread_create(&threads[2], NULL, let_go, &old), 0);
    uffd_wait_for_change();
    assert_ptr_equal(mmap(f->memory, 64 * PAGE, PROT_READ | PROT_WRITE, flags, -1, 0), f->memory);
    assert_int_equal(pthread_create(&threads[3], NULL, map_another, &new), 0);
    while ((tid = __atomic_load_n(&new.tid, __ATOMIC_ACQUIRE)) == 0 || !(uffd_sleeps(tid) || is_done(&new))) {
    }
    let_answer(UINT_MAX);
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_true(old.done && new.done);
    assert_pages(f->memory, 64, 100);
    if (moves) {
        assert_pages(old.to, 64, 0);
    }
    close(empty);
}

static void test_uffd_event_of_memory_that_moved_is_not_the_next_regions(void **state)
{
    use_address_again(*state, move_away, true);
}

static void test_uffd_event_of_memory_that_was_unmapped_is_not_the_next_regions(void **state)
{
    use_address_again(*state, unmap, false);
}

static void test_uffd_memory_that_grew_is_plain_beyond_its_file(void **state)
{
    struct fixture *f = *state;
    unsigned char *small = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char *grown;

    start_pager(f);
    assert_true(pgl_uffd_map(f->uffd, small, 8 * PAGE, f->file, 0, PGL_ADVICE_NORMAL));
    grown = mremap(small, 8 * PAGE, 64 * PAGE, MREMAP_MAYMOVE);
    assert_true(grown != MAP_FAILED);
    assert_pages(grown, 8, 0);
    assert_true(is_zero(grown + 8 * PAGE));
    assert_true(is_zero(grown + 63 * PAGE));
    munmap(grown, 64 * PAGE);
}

static void run_idle_child(void)
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/*
 * A child holds the userfaultfd as its parent does. What was added to a region, or left behind when it moved, is let go
 * with it all the same: neither a touch nor another fork() waits for a handler that there is no more.
 */
static void test_uffd_nothing_of_a_region_waits_for_a_pager_that_ended(void **state)
{
    struct fixture *f = *state;
    unsigned char *small = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char *grown, *moved;
    int status, held[2];
    pid_t child;

    f->config.follow_forks = true;
    start_pager(f);
    assert_true(pgl_uffd_map(f->uffd, small, 8 * PAGE, f->file, 0, PGL_ADVICE_NORMAL));
    grown = mremap(small, 8 * PAGE, 64 * PAGE, MREMAP_MAYMOVE);
    assert_true(grown != MAP_FAILED);
    assert_true(pgl_uffd_map(f->uffd, f->memory, 64 * PAGE, f->file, 0, PGL_ADVICE_NORMAL));
    moved = mremap(f->memory, 64 * PAGE, 64 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
    assert_true(moved != MAP_FAILED);
    assert_int_equal(pipe(held), 0);
    child = fork();
    if (child == 0) {
        close(held[1]);
        _exit(read(held[0], &status, 1) != 0); /* until the parent has closed the other end */
    }
    alarm(20);
    pgl_uffd_free(f->uffd);
    f->uffd = NULL;
    assert_true(is_zero(grown + 63 * PAGE));
    assert_true(is_zero(f->memory + 63 * PAGE));
    assert_true(is_zero(moved + 63 * PAGE));
    run_idle_child();
    alarm(0);
    close(held[1]);
    close(held[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    munmap(grown, 64 * PAGE);
    munmap(moved, 64 * PAGE);
}

/* With MREMAP_DONTUNMAP, or because the kernel had no memory to unmap it. */
static void test_uffd_memory_that_stayed_when_it_moved_shows_the_file(void **state)
{
    struct fixture *f = *state;
    unsigned char *moved;

    map_all(f, PGL_ADVICE_SEQUENTIAL);
    memset(f->memory + 5 * PAGE, 'w', PAGE);
    moved = mremap(f->memory, NPAGES * PAGE, NPAGES * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
    assert_true(moved != MAP_FAILED);
    assert_pages(f->memory, NPAGES, 0);
    assert_int_equal(moved[5 * PAGE], 'w');
    assert_pages(moved + 6 * PAGE, NPAGES - 6, 6);
    assert_true(pgl_uffd_unmap(f->uffd, f->memory, NPAGES * PAGE));
    munmap(moved, NPAGES * PAGE);
}

/* A change of protection makes several mappings of one: a cluster across them has to be copied in pieces. */
static void test_uffd_cluster_across_mappings_is_copied_in_pieces(void **state)
{
    struct fixture *f = *state;

    map_all(f, PGL_ADVICE_SEQUENTIAL);
    assert_int_equal(mprotect(f->memory + 8 * PAGE, PAGE, PROT_READ), 0);
    assert_int_equal(munmap(f->memory + 20 * PAGE, PAGE), 0);
    assert_pages(f->memory, 20, 0);
    assert_pages(f->memory + 21 * PAGE, NPAGES - 21, 21);
    assert_count(f, requests, 17); /* 0..19, then 32 at a time from 21 on */
}

/* What a child sees: 0 when all is right. It makes no call that could allocate, or touch the pager. */
static int check_as_child(unsigned char *memory)
{
    for (uint64_t page = 0; page < NPAGES; page++) {
        if (page == 5 ? memory[page * PAGE] != 'p' : !is_page(memory + page * PAGE, page)) {
            return 1;
        }
    }
    memset(memory + 7 * PAGE, 'c', PAGE);
    return memory[7 * PAGE] != 'c';
}

static void run_child(unsigned char *memory)
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        _exit(check_as_child(memory));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void test_uffd_forked_child_is_served_too(void **state)
{
    struct fixture *f = *state;

    f->config.follow_forks = true;
    for (int write_protect = 0; write_protect < 2; write_protect++) {
        f->config.write_protect = write_protect != 0;
        map_all(f, PGL_ADVICE_NORMAL);
        assert_true(pgl_uffd_advise(f->uffd, f->memory, 50 * PAGE, PGL_ADVICE_SEQUENTIAL));
        f->memory[5 * PAGE] = 'p';
        assert_pages(f->memory + 100 * PAGE, 50, 100);
        for (unsigned i = 0; i < 3; i++) {
            run_child(f->memory);
        }
        assert_pages(f->memory + 6 * PAGE, NPAGES - 6, 6); /* what a child wrote is its own */
        assert_count(f, forks, 3);
        assert_count(f, errors, 0);
        assert_true(stats_of(f).present > 0);
        pgl_uffd_free(f->uffd);
        f->uffd = NULL;
        assert_int_equal(madvise(f->memory, NPAGES * PAGE, MADV_DONTNEED), 0);
    }
}

/* What a child inherited is there already when a cluster comes upon it. */
static void test_uffd_inherited_pages_are_counted(void **state)
{
    struct fixture *f = *state;
    pid_t child;
    int status;

    f->config.follow_forks = true;
    map_all(f, PGL_ADVICE_RANDOM);
    assert_true(is_page(f->memory + 5 * PAGE, 5) && is_page(f->memory + 6 * PAGE, 6));
    assert_true(is_page(f->memory + 40 * PAGE, 40));
    assert_true(pgl_uffd_advise(f->uffd, f->memory, NPAGES * PAGE, PGL_ADVICE_SEQUENTIAL));
    child = fork();
    if (child == 0) { /* pages 0 to 31, and 32 to 63 */
        _exit(!is_page(f->memory, 0) || !is_page(f->memory + 32 * PAGE, 32));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_count(f, present, 3);
    assert_count(f, pages_fetched, 3 + 64 - 3);
}

static void test_uffd_children_that_ended_are_forgotten(void **state)
{
    struct fixture *f = *state;
    unsigned nfds;

    f->config.follow_forks = true;
    map_all(f, PGL_ADVICE_NORMAL);
    f->memory[5 * PAGE] = 'p';
    run_child(f->memory);
    nfds = count_fds();
    for (unsigned i = 0; i < 5; i++) {
        run_child(f->memory);
    }
    assert_int_equal(count_fds(), nfds);
    pgl_uffd_free(f->uffd);
    f->uffd = NULL;
    assert_true(count_fds() < nfds);
}

/* Returns whether a child of this process has memory at all of a range. */
static bool child_has(void *memory, size_t length)
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        _exit(msync(memory, length, MS_ASYNC) == 0 ? 1 : errno == ENOMEM ? 0 : 2);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
    return WEXITSTATUS(status) == 1;
}

/* Zeros in place of what was not fetched would look like data. */
static void test_uffd_region_is_not_in_a_child_that_is_not_followed(void **state)
{
    struct fixture *f = *state;

    start_pager(f);
    assert_true(pgl_uffd_map(f->uffd, f->memory, 64 * PAGE, f->file, 0, PGL_ADVICE_NORMAL));
    assert_true(pgl_uffd_map(f->uffd, f->memory + 64 * PAGE, 64 * PAGE, f->file, 0, PGL_ADVICE_NORMAL));
    assert_pages(f->memory, 10, 0);
    for (uint64_t page = 0; page < 128; page++) {
        assert_false(child_has(f->memory + page * PAGE, PAGE));
    }
    assert_true(child_has(f->memory + 128 * PAGE, (NPAGES - 128) * PAGE));
    assert_count(f, forks, 0);
    assert_pages(f->memory, 64, 0);
    assert_true(pgl_uffd_unmap(f->uffd, f->memory, 32 * PAGE)); /* plain memory again */
    assert_true(child_has(f->memory, 32 * PAGE));
    assert_false(child_has(f->memory + 32 * PAGE, PAGE));
    pgl_uffd_free(f->uffd);
    f->uffd = NULL;
    assert_true(child_has(f->memory, NPAGES * PAGE));
}

static void test_uffd_memory_that_was_refused_is_in_a_child(void **state)
{
    struct fixture *f = *state;

    start_pager(f);
    assert_false(pgl_uffd_map(f->uffd, f->memory, 8 * PAGE, f->file, NPAGES * PAGE, PGL_ADVICE_NORMAL));
    assert_true(child_has(f->memory, NPAGES * PAGE));
}

/* In a process of its own, which is not the one that reports: sends 0 when all pages are the file's. */
static void report_pages(const unsigned char *memory, int to)
{
    char wrong = 0;

    for (uint64_t page = 0; page < NPAGES && !wrong; page++) {
        wrong = !is_page(memory + page * PAGE, page);
    }
    _exit(write(to, &wrong, 1) != 1);
}

/* Ends when the other end of a pipe, which another process holds, is closed. */
static void wait_for_end(int from)
{
    char byte;

    while (read(from, &byte, 1) > 0) {
    }
}

static void fetch_and_outlive(struct fixture *f, int to)
{
    int alive[2], fetched[2];

    if (pipe(alive) != 0 || pipe(fetched) != 0) {
        _exit(1);
    }
    f->config.follow_forks = true;
    f->uffd = pgl_uffd_new(&f->config);
    if (!f->uffd || !pgl_uffd_map(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_NORMAL)) {
        _exit(2);
    }
    if (fork() == 0) {
        close(alive[1]);
        if (madvise(f->memory, NPAGES * PAGE, MADV_POPULATE_READ) != 0) {
            _exit(3);
        }
        close(fetched[1]);
        wait_for_end(alive[0]);
        report_pages(f->memory, to);
    }
    close(fetched[1]);
    wait_for_end(fetched[0]);
    _exit(0); /* which ends the handlers that the child was served by, and closes `alive` */
}

static void begin_as_daemon(struct fixture *f, int to)
{
    int alive[2];

    if (pipe(alive) != 0) {
        _exit(1);
    }
    if (fork() == 0) {
        close(alive[1]);
        wait_for_end(alive[0]);
        f->uffd = pgl_uffd_new(&f->config);
        if (!f->uffd || !pgl_uffd_map(f->uffd, f->memory, NPAGES * PAGE, f->file, 0, PGL_ADVICE_NORMAL)) {
            _exit(2);
        }
        report_pages(f->memory, to);
    }
    _exit(0);
}

/* The process that has made a pager, or forked before, ends; its child goes on, and reports to this one. */
static void run_daemon(struct fixture *f, void (*run)(struct fixture *f, int to))
{
    char wrong = 2;
    int report[2], status;
    pid_t child;

    assert_int_equal(pipe(report), 0);
    child = fork();
    if (child == 0) {
        close(report[0]);
        run(f, report[1]);
    }
    close(report[1]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(read(report[0], &wrong, 1), 1);
    assert_int_equal(wrong, 0);
    close(report[0]);
}

static void test_uffd_child_that_fetched_everything_outlives_its_parent(void **state)
{
    run_daemon(*state, fetch_and_outlive);
}

static void test_uffd_daemon_makes_its_pager_after_its_parent_ended(void **state)
{
    run_daemon(*state, begin_as_daemon);
}

/* The last descriptor goes to the event, and then to the next: one child sees no file, and the parent goes on. */
static void test_uffd_forks_without_a_free_descriptor(void **state)
{
    struct fixture *f = *state;
    struct rlimit before, none;
    int top;

    f->config.follow_forks = true;
    f->config.threads = 2;
    map_all(f, PGL_ADVICE_NORMAL);
    f->memory[5 * PAGE] = 'p';
    top = dup(f->file);
    close(top);
    getrlimit(RLIMIT_NOFILE, &before);
    none = before;
    none.rlim_cur = (rlim_t)top;
    setrlimit(RLIMIT_NOFILE, &none);
    alarm(20); /* it would sleep for ever */
    run_idle_child();
    run_idle_child();
    alarm(0);
    assert_count(f, forks, 2);
    assert_count(f, errors, 2); /* before the shortage is over: a handler may be late */
    setrlimit(RLIMIT_NOFILE, &before);
    run_child(f->memory);
    assert_count(f, errors, 2);
}

/* A region of two or three pages is cut in two, at each place: each first touch brings all of it. */
static void test_uffd_region_cut_into_two_mappings_comes_whole(void **state)
{
    struct fixture *f = *state;
    uint64_t at = 0;

    f->config.threads = 1;
    start_pager(f);
    for (uint64_t npages = 2; npages <= 3; npages++) {
        for (uint64_t cut = 1; cut < npages; cut++) {
            for (uint64_t touched = 0; touched < npages; touched++, at += npages) {
                unsigned char *memory = f->memory + at * PAGE;
                struct pgl_uffd_stats before = stats_of(f);

                assert_true(
                    pgl_uffd_map(f->uffd, memory, npages * PAGE, f->file, (off_t)(at * PAGE), PGL_ADVICE_NORMAL));
                assert_int_equal(mprotect(memory + cut * PAGE, (npages - cut) * PAGE, PROT_READ), 0);
                alarm(20); /* it would fault for ever */
                assert_true(is_page(memory + touched * PAGE, at + touched));
                alarm(0);
                assert_pages(memory, npages, at);
                assert_count(f, requests, before.requests + 1);
                assert_count(f, pages_fetched, before.pages_fetched + npages);
            }
        }
    }
    assert_count(f, gone, 0);
}

/* A forked child that goes on when it is told to, and then ends with what check() returns. */
struct waiting_child {
    pid_t pid;
    int told[2];
};

static void fork_waiting(struct waiting_child *child, int (*check)(unsigned char *memory), unsigned char *memory)
{
    char byte;

    assert_int_equal(pipe(child->told), 0);
    child->pid = fork();
    if (child->pid == 0) {
        _exit(read(child->told[0], &byte, 1) != 1 ? 99 : check(memory));
    }
    assert_true(child->pid > 0);
}

static void tell(const struct waiting_child *child)
{
    int status;

    assert_int_equal(write(child->told[1], "", 1), 1);
    assert_int_equal(waitpid(child->pid, &status, 0), child->pid);
    assert_int_equal(status, 0);
    close(child->told[0]);
    close(child->told[1]);
}

static int check_zeros(unsigned char *memory)
{
    alarm(20);
    return !is_zero(memory + 8 * PAGE);
}

/* The pager ends with two children: the userfaultfd of the first is open in the second, and must be of no use. */
static void test_uffd_children_go_on_without_the_pager(void **state)
{
    struct fixture *f = *state;
    struct waiting_child first, second;

    f->config.follow_forks = true;
    map_all(f, PGL_ADVICE_RANDOM);
    fork_waiting(&first, check_zeros, f->memory);
    fork_waiting(&second, check_zeros, f->memory);
    pgl_uffd_free(f->uffd);
    f->uffd = NULL;
    tell(&first);
    tell(&second);
}

static int check_one_page(unsigned char *memory)
{
    return !is_page(memory + 20 * PAGE, 20);
}

/* The advice of a part of a region, other than the region's own. */
static void test_uffd_child_inherits_the_advice(void **state)
{
    struct fixture *f = *state;
    struct waiting_child child;

    f->config.follow_forks = true;
    map_all(f, PGL_ADVICE_NORMAL);
    assert_true(pgl_uffd_advise(f->uffd, f->memory, 100 * PAGE, PGL_ADVICE_RANDOM));
    fork_waiting(&child, check_one_page, f->memory);
    tell(&child);
    assert_count(f, pages_fetched, 1);
}

/* Its parent has the region no more: the child's objects hold the file on their own. */
static void test_uffd_child_keeps_the_file_that_its_parent_has_unmapped(void **state)
{
    struct fixture *f = *state;
    struct waiting_child child;

    f->config.follow_forks = true;
    map_all(f, PGL_ADVICE_RANDOM);
    fork_waiting(&child, check_one_page, f->memory);
    assert_true(pgl_uffd_unmap(f->uffd, f->memory, NPAGES * PAGE));
    tell(&child);
    assert_count(f, errors, 0);
}

/* A child's own changes, which its child inherits. */
static int check_moved(unsigned char *memory)
{
    unsigned char *room = mmap(NULL, 64 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int status;
    pid_t child;

    alarm(20);
    if (mremap(memory + 100 * PAGE, 64 * PAGE, 64 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, room) != room ||
        munmap(memory + 200 * PAGE, 50 * PAGE) != 0) {
        return 2;
    }
    child = fork();
    if (child == 0) {
        alarm(20);
        _exit(is_page(room + 7 * PAGE, 107) && is_page(memory + 250 * PAGE, 250) ? 0 : 3);
    }
    if (waitpid(child, &status, 0) != child || status != 0) {
        return 4;
    }
    return is_page(room + 8 * PAGE, 108) && is_page(memory + 251 * PAGE, 251) ? 0 : 5;
}

static void test_uffd_childs_changes_are_its_own_and_its_childs(void **state)
{
    struct fixture *f = *state;
    struct waiting_child child;

    f->config.follow_forks = true;
    map_all(f, PGL_ADVICE_RANDOM);
    fork_waiting(&child, check_moved, f->memory);
    tell(&child);
    assert_count(f, forks, 2);
    assert_pages(f->memory, NPAGES, 0);
}

struct child_toucher {
    unsigned char *memory;
    uint64_t seed;
    bool stop; /* atomic */
    uint64_t wrong;
};

static void *touch_in_child(void *arg)
{
    struct child_toucher *t = arg;

    while (!__atomic_load_n(&t->stop, __ATOMIC_RELAXED)) {
        uint64_t page = (t->seed = t->seed * UINT64_C(6364136223846793005) + 1442695040888963407) >> 33;

        t->wrong += !is_page(t->memory + page % NPAGES * PAGE, page % NPAGES);
    }
    return NULL;
}

/* More threads fault, all the time, than a handler reads messages at a time. */
static int check_given_back(unsigned char *memory)
{
    enum { NTHREADS = 80, TIMES = 100 };
    static struct child_toucher touchers[NTHREADS];
    static pthread_t threads[NTHREADS];
    uint64_t wrong = 0;

    alarm(60);
    for (unsigned i = 0; i < NTHREADS; i++) {
        touchers[i] = (struct child_toucher){.memory = memory, .seed = i};
        if (pthread_create(&threads[i], NULL, touch_in_child, &touchers[i]) != 0) {
            return 2;
        }
    }
    for (unsigned i = 0; i < TIMES; i++) {
        madvise(memory + 100 * PAGE, 300 * PAGE, MADV_DONTNEED);
    }
    for (unsigned i = 0; i < NTHREADS; i++) {
        __atomic_store_n(&touchers[i].stop, true, __ATOMIC_RELAXED);
    }
    for (unsigned i = 0; i < NTHREADS; i++) {
        pthread_join(threads[i], NULL);
        wrong += touchers[i].wrong;
    }
    return wrong != 0;
}

static void test_uffd_childs_events_are_read_though_its_threads_fault(void **state)
{
    struct fixture *f = *state;

#ifdef THREAD_SANITIZED
    SKIP_BECAUSE("the thread sanitizer's runtime allows a forked child no threads");
#endif
    for (unsigned handlers = 1; handlers <= 4; handlers += 3) {
        struct waiting_child child;

        f->config.follow_forks = true;
        f->config.threads = handlers;
        map_all(f, PGL_ADVICE_RANDOM);
        fork_waiting(&child, check_given_back, f->memory);
        tell(&child);
        assert_count(f, removes, 100);
        assert_count(f, errors, 0);
        pgl_uffd_free(f->uffd);
        f->uffd = NULL;
    }
}

/* Many threads */

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

static void fork_children(struct fixture *f)
{
    (void)f;
    for (unsigned i = 0; i < 5; i++) {
        pid_t child = fork();

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

    f->config.follow_forks = true;
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

#ifdef THREAD_SANITIZED
    SKIP_BECAUSE("the thread sanitizer's runtime is locked while a thread forks, and pgl_uffd_free() waits for it");
#endif
    f->config.follow_forks = true;
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

static bool permitted(void)
{
    const struct pgl_uffd_config config = {.follow_forks = true};
    struct pgl_uffd *uffd;

    may_malloc = true;
    uffd = pgl_uffd_new(&config);
    if (!uffd) {
        printf("SKIP: %s\n", pgl_uffd_explain(errno));
        return false;
    }
    pgl_uffd_free(uffd);
    return true;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_brings_the_files_bytes_under_every_advice),
        TEST(test_uffd_sequential_reads_a_window_a_fault),
        TEST(test_uffd_slowest_answer_is_the_largest_of_all),
        TEST(test_uffd_random_reads_no_more_than_is_needed),
        TEST(test_uffd_maps_a_part_of_the_file),
        TEST(test_uffd_hole_becomes_zero_pages_that_are_not_read),
        TEST(test_uffd_cluster_takes_holes_and_data_in_turn),
        TEST(test_uffd_keeps_many_records),
        TEST(test_uffd_hole_that_is_filled_later_stays_zeros),
        TEST(test_uffd_region_is_written_to_its_own_sparse_file),
        TEST(test_uffd_partial_last_page_ends_in_zeros),
        TEST(test_uffd_regions_of_a_file_share_a_descriptor),
        TEST(test_uffd_files_are_told_apart_by_inode_and_flags),
        TEST(test_uffd_threads_open_and_close_a_file_at_once),
        TEST(test_uffd_reads_directly_what_was_opened_so),
        TEST(test_uffd_file_that_grew_shows_what_it_had),
        TEST(test_uffd_partial_last_page_of_a_hole_is_zeros),
        TEST(test_uffd_counts_the_bytes_that_a_file_still_had),
        TEST(test_uffd_without_proc_leaves_the_callers_offset_alone),
        TEST(test_uffd_writes_stay),
        TEST(test_uffd_write_protect_faults_go_the_unlock_way),
        TEST(test_uffd_zeros_are_write_protected_too),
        TEST(test_uffd_refuses_what_is_not_page_aligned),
        TEST(test_uffd_refuses_what_the_file_does_not_have),
        TEST(test_uffd_refuses_what_is_no_file_to_read),
        TEST(test_uffd_refuses_to_map_memory_twice_or_not_at_all),
        TEST(test_uffd_refuses_memory_that_is_not_private_and_anonymous),
        TEST(test_uffd_refuses_memory_of_huge_pages),
        TEST(test_uffd_refuses_addresses_without_memory),
        TEST(test_uffd_refuses_memory_of_another_pager),
        TEST(test_uffd_shows_the_file_where_pages_were_before),
        TEST(test_uffd_shows_the_file_in_locked_memory),
        TEST(test_uffd_shows_the_file_in_transparent_huge_pages),
        TEST(test_uffd_clusters_too_wide_for_memory_are_refused),
        TEST(test_uffd_without_privilege_says_what_to_set),
        TEST(test_uffd_file_that_shrank_gives_zeros_and_counts_them),
        TEST(test_uffd_sparse_file_that_shrank_is_no_hole),
        TEST(test_uffd_failed_page_is_read_again_if_asked_to),
        TEST(test_uffd_zeros_of_a_bad_page_do_not_enter_another_file),
        TEST(test_uffd_page_that_stays_bad_holds_nothing_else_up),
        TEST(test_uffd_fault_waits_for_no_other_while_a_handler_is_idle),
        TEST(test_uffd_page_given_back_is_fetched_again),
        TEST(test_uffd_pages_of_several_entries_are_given_back),
        TEST(test_uffd_part_unmapped_is_left_alone),
        TEST(test_uffd_memory_that_moved_goes_on),
        TEST(test_uffd_event_of_memory_that_moved_is_not_the_next_regions),
        TEST(test_uffd_event_of_memory_that_was_unmapped_is_not_the_next_regions),
        TEST(test_uffd_memory_that_grew_is_plain_beyond_its_file),
        TEST(test_uffd_nothing_of_a_region_waits_for_a_pager_that_ended),
        TEST(test_uffd_memory_that_stayed_when_it_moved_shows_the_file),
        TEST(test_uffd_cluster_across_mappings_is_copied_in_pieces),
        TEST(test_uffd_forked_child_is_served_too),
        TEST(test_uffd_inherited_pages_are_counted),
        TEST(test_uffd_children_that_ended_are_forgotten),
        TEST(test_uffd_region_is_not_in_a_child_that_is_not_followed),
        TEST(test_uffd_memory_that_was_refused_is_in_a_child),
        TEST(test_uffd_child_that_fetched_everything_outlives_its_parent),
        TEST(test_uffd_daemon_makes_its_pager_after_its_parent_ended),
        TEST(test_uffd_region_cut_into_two_mappings_comes_whole),
        TEST(test_uffd_children_go_on_without_the_pager),
        TEST(test_uffd_child_inherits_the_advice),
        TEST(test_uffd_child_keeps_the_file_that_its_parent_has_unmapped),
        TEST(test_uffd_childs_changes_are_its_own_and_its_childs),
        TEST(test_uffd_childs_events_are_read_though_its_threads_fault),
        TEST(test_uffd_forks_without_a_free_descriptor),
        TEST(test_uffd_threads_and_handlers_at_once),
        TEST(test_uffd_advice_changes_while_running),
        TEST(test_uffd_pages_given_back_while_they_are_touched),
        TEST(test_uffd_handlers_do_not_malloc),
        TEST(test_uffd_forks_while_pages_are_touched),
        TEST(test_uffd_memory_that_shows_another_file_has_none_of_the_old_ones_pages),
        TEST(test_uffd_stops_with_faults_in_flight),
        TEST(test_uffd_stops_while_a_thread_forks),
    };
#undef TEST

    return permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
