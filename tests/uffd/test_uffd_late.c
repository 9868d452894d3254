/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sources that answer when they can: at once, late, in part, with more than was wanted, with an error, or never. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../cm.h"
#include "pager.h"
#include "sigbus.h"
#include "waits.h"

#define KEPT 256

/* The source: what is wanted of it, in the order in which it was asked. */
static struct {
    pthread_mutex_t lock;
    unsigned char *bytes; /* of the whole source */
    bool at_once;         /* atomic: answer in the callback */
    unsigned n;           /* requests so far */
    uint64_t pages, most; /* wanted and not ended yet; at the most */
    struct pgl_uffd_request *request[KEPT];
    struct pgl_uffd_wanted wanted[KEPT];
} source = {.lock = PTHREAD_MUTEX_INITIALIZER};

static const void *bytes_at(uint64_t offset)
{
    return source.bytes + offset;
}

static bool supply(unsigned i, uint64_t offset, uint64_t length)
{
    return pgl_uffd_request_supply(source.request[i], offset, bytes_at(offset), length);
}

static void end(unsigned i)
{
    pgl_uffd_request_end(source.request[i]);
}

static void answer(unsigned i)
{
    pthread_mutex_lock(&source.lock);
    source.pages -= source.wanted[i].length / PAGE;
    pthread_mutex_unlock(&source.lock);
    assert_true(supply(i, source.wanted[i].offset, source.wanted[i].length));
    end(i);
}

static void on_request(void *arg, struct pgl_uffd_request *request, const struct pgl_uffd_wanted *wanted)
{
    unsigned i;

    (void)arg;
    pthread_mutex_lock(&source.lock);
    i = source.n;
    source.request[i % KEPT] = request;
    source.wanted[i % KEPT] = *wanted;
    source.pages += wanted->length / PAGE;
    source.most = source.pages > source.most ? source.pages : source.most;
    __atomic_store_n(&source.n, i + 1, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&source.lock);
    if (__atomic_load_n(&source.at_once, __ATOMIC_RELAXED)) {
        pgl_uffd_request_supply(request, wanted->offset, bytes_at(wanted->offset), wanted->length);
        end(i % KEPT);
    }
}

static unsigned count_requests(void)
{
    return __atomic_load_n(&source.n, __ATOMIC_ACQUIRE);
}

static void wait_for_requests(unsigned n)
{
    while (count_requests() < n) {
        usleep(100);
    }
}

static struct pgl_uffd_region region_of(const struct fixture *f)
{
    return (struct pgl_uffd_region){
        .addr = f->memory,
        .length = NPAGES * PAGE,
        .source = {.kind = PGL_UFFD_CALLBACK, .request = on_request, .size = NPAGES * PAGE},
        .advice = PGL_ADVICE_RANDOM,
    };
}

static void map_region(struct fixture *f, const struct pgl_uffd_region *region)
{
    start_pager(f);
    assert_true(pgl_uffd_map_region(f->uffd, region));
}

static void map_late(struct fixture *f)
{
    const struct pgl_uffd_region region = region_of(f);

    map_region(f, &region);
}

static void map_late_with_surplus(struct fixture *f, uint64_t surplus)
{
    struct pgl_uffd_region region = region_of(f);

    region.source.surplus = surplus;
    map_region(f, &region);
}

static int set_up_source(void **state)
{
    int error = set_up(state);
    const struct fixture *f = *state;

    source.bytes = mmap(NULL, NPAGES * PAGE, PROT_READ, MAP_SHARED, f->file, 0);
    __atomic_store_n(&source.at_once, false, __ATOMIC_RELAXED);
    source.n = 0;
    source.pages = source.most = 0;
    return error;
}

static int tear_down_source(void **state)
{
    int error = tear_down(state);

    munmap(source.bytes, NPAGES * PAGE);
    return error;
}

/* A thread that touches a page. */
struct toucher {
    pthread_t thread;
    const unsigned char *page;
    uint64_t file_page;
    bool right; /* it showed the page */
    bool zeros;
    bool killed; /* SIGBUS */
};

static void *touch(void *arg)
{
    struct toucher *toucher = arg;

    toucher->killed = sigbus_at(toucher->page, PAGE);
    toucher->right = !toucher->killed && is_page(toucher->page, toucher->file_page);
    toucher->zeros = !toucher->killed && is_zero(toucher->page);
    return NULL;
}

/* Have a thread touch a page that is to show another page of the file. */
static void start_touch_of(struct toucher *toucher, const struct fixture *f, uint64_t page, uint64_t file_page)
{
    *toucher = (struct toucher){.page = f->memory + page * PAGE, .file_page = file_page};
    assert_int_equal(pthread_create(&toucher->thread, NULL, touch, toucher), 0);
}

static void start_touch(struct toucher *toucher, const struct fixture *f, uint64_t page)
{
    start_touch_of(toucher, f, page, page);
}

static void join(struct toucher *toucher)
{
    assert_int_equal(pthread_join(toucher->thread, NULL), 0);
}

static void test_uffd_late_source_may_answer_at_once(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_region region = region_of(f);

    __atomic_store_n(&source.at_once, true, __ATOMIC_RELAXED);
    region.advice = PGL_ADVICE_SEQUENTIAL;
    map_region(f, &region);
    assert_pages(f->memory, NPAGES, 0);
    assert_count(f, requests, count_requests());
    assert_true(count_requests() < NPAGES / 4);
    assert_count(f, pages_fetched, NPAGES);
    assert_count(f, bytes_read, NPAGES * PAGE);
    assert_count(f, present, 0);
}

/* N4: the only handler serves the pages of a file, and other pages of the source, while answers are outstanding. */
static void test_uffd_late_answers_hold_up_no_other_fault(void **state)
{
    enum { NTHREADS = 70 }; /* more than a handler reads at a time */
    struct fixture *f = *state;
    struct pgl_uffd_region region = region_of(f);
    struct toucher touchers[NTHREADS];
    unsigned char *memory = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    map_region(f, &region);
    assert_true(pgl_uffd_map(f->uffd, memory, 8 * PAGE, f->file, 0, PGL_ADVICE_RANDOM));
    for (unsigned i = 0; i < NTHREADS; i++) {
        start_touch(&touchers[i], f, 2 * i);
    }
    wait_for_requests(NTHREADS);
    assert_pages(memory, 8, 0);
    for (unsigned i = NTHREADS; i-- > 0;) { /* the last first */
        unsigned page = (unsigned)(source.wanted[i].demand / PAGE);

        answer(i);
        join(&touchers[page / 2]);
        assert_true(touchers[page / 2].right);
    }
    assert_count(f, pages_fetched, NTHREADS + 8);
    assert_count(f, errors, 0);
    munmap(memory, 8 * PAGE);
}

static void test_uffd_late_threads_that_want_a_page_ask_once(void **state)
{
    enum { NTHREADS = 8 };
    struct fixture *f = *state;
    struct toucher touchers[NTHREADS];

    f->config.threads = 2;
    map_late(f);
    for (unsigned i = 0; i < NTHREADS; i++) {
        start_touch(&touchers[i], f, 5);
    }
    while (stats_of(f).faults < NTHREADS) {
        usleep(100);
    }
    answer(0);
    for (unsigned i = 0; i < NTHREADS; i++) {
        join(&touchers[i]);
        assert_true(touchers[i].right);
    }
    assert_int_equal(count_requests(), 1);
}

/* As far as the surplus goes, on each side of what was wanted; a page more than that, and a byte less. */
static void test_uffd_late_surplus_is_installed(void **state)
{
    struct fixture *f = *state;

    map_late_with_surplus(f, 11 * PAGE - 1);
    for (unsigned touched = 0; touched < 1; touched++) {
        struct toucher toucher;

        start_touch(&toucher, f, 100);
        wait_for_requests(1);
        assert_true(supply(0, 0, NPAGES * PAGE));
        end(0);
        join(&toucher);
        assert_true(toucher.right);
    }
    assert_pages(f->memory + 90 * PAGE, 21, 90);
    assert_int_equal(count_requests(), 1);
    assert_count(f, faults, 1);
    assert_count(f, pages_fetched, 21);
    __atomic_store_n(&source.at_once, true, __ATOMIC_RELAXED);
    assert_true(is_page(f->memory + 89 * PAGE, 89));
    assert_true(is_page(f->memory + 111 * PAGE, 111));
    assert_int_equal(count_requests(), 3);
}

/* At both ends of the region, and with a surplus that has no end. */
static void test_uffd_late_surplus_ends_with_the_region(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_region region = region_of(f);
    struct toucher toucher;

    region.source.surplus = UINT64_MAX;
    region.offset = 16 * PAGE;
    region.length = 32 * PAGE;
    map_region(f, &region);
    start_touch_of(&toucher, f, 8, 24);
    wait_for_requests(1);
    assert_true(supply(0, 0, NPAGES * PAGE));
    end(0);
    join(&toucher);
    assert_pages(f->memory, 32, 16);
    assert_count(f, faults, 1);
    assert_true(is_zero(f->memory + 32 * PAGE));
}

/* Pages are written meanwhile, given back, or there already: what a page has is kept. */
static void test_uffd_late_surplus_spares_what_is_there(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_region region = region_of(f);
    struct toucher toucher;

    region.source.surplus = UINT64_MAX;
    region.removed = PGL_UFFD_ZEROS;
    map_region(f, &region);
    __atomic_store_n(&source.at_once, true, __ATOMIC_RELAXED);
    memset(f->memory + 4 * PAGE, 'w', PAGE);
    assert_int_equal(madvise(f->memory + 6 * PAGE, PAGE, MADV_DONTNEED), 0);
    __atomic_store_n(&source.at_once, false, __ATOMIC_RELAXED);
    start_touch(&toucher, f, 10);
    wait_for_requests(2);
    assert_true(supply(1, 0, NPAGES * PAGE));
    end(1);
    join(&toucher);
    assert_true(toucher.right);
    assert_int_equal(f->memory[4 * PAGE], 'w');
    assert_true(is_zero(f->memory + 6 * PAGE));
    assert_pages(f->memory + 7 * PAGE, NPAGES - 7, 7);
    assert_int_equal(count_requests(), 2);
}

/* The faults whose answers were counted. */
static uint64_t count_answers(const struct fixture *f)
{
    struct pgl_uffd_stats stats = stats_of(f);
    uint64_t n = 0;

    for (unsigned i = 0; i < PGL_UFFD_BUCKETS; i++) {
        n += stats.latency_read[i] + stats.latency_zero[i] + stats.latency_unlock[i] + stats.latency_found[i];
    }
    return n;
}

/* N7: an answer to one request brings the page of another, and the other finds that it is not wanted any more. */
static void test_uffd_late_answer_serves_other_requests(void **state)
{
    struct fixture *f = *state;
    struct toucher touchers[2];

    map_late_with_surplus(f, UINT64_MAX);
    start_touch(&touchers[0], f, 3);
    wait_for_requests(1);
    start_touch(&touchers[1], f, 7);
    wait_for_requests(2);
    assert_true(pgl_uffd_request_is_wanted(source.request[1]));
    assert_true(supply(0, 0, 8 * PAGE));
    for (unsigned i = 0; i < 2; i++) {
        join(&touchers[i]);
        assert_true(touchers[i].right);
        assert_false(pgl_uffd_request_is_wanted(source.request[i]));
    }
    while (count_answers(f) < 2) {
        usleep(100);
    }
    for (unsigned i = 0; i < 2; i++) { /* N8: what was counted is not counted again */
        answer(i);
    }
    assert_int_equal(count_answers(f), 2);
    assert_pages(f->memory, 8, 0);
    assert_count(f, pages_fetched, 8);
    assert_int_equal(count_requests(), 2);
}

/* Bytes that begin and end inside of pages; a page that comes in two halves is none. */
static void test_uffd_late_bytes_count_in_whole_pages(void **state)
{
    struct fixture *f = *state;
    struct toucher toucher;

    map_late_with_surplus(f, UINT64_MAX);
    start_touch(&toucher, f, 3);
    wait_for_requests(1);
    assert_true(supply(0, 3 * PAGE + 1, 2 * PAGE));
    assert_true(supply(0, 2 * PAGE, 2 * PAGE - 1));
    assert_true(supply(0, 0, PAGE - 1));
    assert_true(supply(0, 5, 0));
    assert_true(supply(0, 3 * PAGE, 0));
    assert_true(pgl_uffd_request_is_wanted(source.request[0]));
    assert_count(f, pages_fetched, 2); /* 4, and 2 */
    assert_true(supply(0, 3 * PAGE - 1, PAGE + 2));
    end(0);
    join(&toucher);
    assert_true(toucher.right);
    assert_count(f, pages_fetched, 3);
    assert_pages(f->memory + 2 * PAGE, 3, 2);
    assert_count(f, faults, 1);
}

static void test_uffd_late_zeros_may_be_supplied(void **state)
{
    struct fixture *f = *state;

    for (int protects = 0; protects < 2; protects++) {
        struct toucher toucher;

        f->config.write_protect = protects;
        source.n = 0;
        map_late_with_surplus(f, UINT64_MAX);
        start_touch(&toucher, f, 3);
        wait_for_requests(1);
        assert_true(pgl_uffd_request_supply(source.request[0], 0, NULL, 200 * PAGE));
        end(0);
        join(&toucher);
        assert_true(toucher.zeros);
        for (uint64_t page = 0; page < 200; page++) {
            assert_true(is_zero(f->memory + page * PAGE));
        }
        f->memory[7 * PAGE] = 'w';
        assert_int_equal(f->memory[7 * PAGE], 'w');
        assert_count(f, pages_zeroed, 200);
        assert_count(f, unlocks, protects);
        assert_true(pgl_uffd_unmap(f->uffd, f->memory, NPAGES * PAGE));
        pgl_uffd_free(f->uffd);
        f->uffd = NULL;
        madvise(f->memory, NPAGES * PAGE, MADV_DONTNEED);
    }
}

static void *write_page(void *arg)
{
    *(unsigned char *)arg = 'w';
    return NULL;
}

/* A write waits for a page that comes protected. */
static void test_uffd_late_page_is_written_to(void **state)
{
    struct fixture *f = *state;
    pthread_t thread;

    f->config.write_protect = true;
    map_late(f);
    assert_int_equal(pthread_create(&thread, NULL, write_page, f->memory + 3 * PAGE), 0);
    wait_for_requests(1);
    answer(0);
    pthread_join(thread, NULL);
    assert_int_equal(f->memory[3 * PAGE], 'w');
    assert_int_equal(memcmp(f->memory + 3 * PAGE + 1, source.bytes + 3 * PAGE + 1, PAGE - 1), 0);
}

static int told_error; /* atomic */

static enum pgl_uffd_remedy on_failure(void *arg, const void *addr, int error)
{
    (void)arg;
    (void)addr;
    __atomic_store_n(&told_error, error, __ATOMIC_RELEASE);
    return PGL_UFFD_ZERO;
}

/* The page is wanted once more, alone, and then it is zeros as failed() says. Its neighbours are not concerned. */
static void test_uffd_late_error_is_told(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_region region = region_of(f);
    struct toucher toucher;

    f->config.failed = on_failure;
    region.advice = PGL_ADVICE_NORMAL;
    map_region(f, &region);
    start_touch(&toucher, f, 100);
    wait_for_requests(1);
    assert_true(source.wanted[0].length > PAGE);
    pgl_uffd_request_fail(source.request[0], 100 * PAGE + 7, 1, EREMOTEIO);
    wait_for_requests(2);
    assert_int_equal(source.wanted[1].offset, 100 * PAGE);
    assert_int_equal(source.wanted[1].length, PAGE);
    pgl_uffd_request_fail(source.request[1], 0, UINT64_MAX, EHOSTDOWN);
    join(&toucher);
    assert_true(toucher.zeros);
    assert_int_equal(__atomic_load_n(&told_error, __ATOMIC_ACQUIRE), EHOSTDOWN);
    assert_false(pgl_uffd_request_is_wanted(source.request[0])); /* its neighbours went with it, and may still come */
    answer(0);
    end(1);
    __atomic_store_n(&source.at_once, true, __ATOMIC_RELAXED);
    assert_pages(f->memory + 101 * PAGE, 3, 101);
    assert_int_equal(count_requests(), 2);
    assert_count(f, errors, 1);
}

static void test_uffd_late_request_without_answer_is_an_error(void **state)
{
    struct fixture *f = *state;
    struct toucher toucher;

    SKIP_WITHOUT_POISON();
    sigbus_install();
    map_late(f);
    start_touch(&toucher, f, 3);
    wait_for_requests(1);
    end(0);
    wait_for_requests(2);
    end(1);
    join(&toucher);
    assert_true(toucher.killed);
    assert_count(f, poisoned, 1);
    __atomic_store_n(&source.at_once, true, __ATOMIC_RELAXED);
    assert_true(is_page(f->memory + 2 * PAGE, 2));
}

static void test_uffd_late_data_that_cannot_be_read_is_refused(void **state)
{
    struct fixture *f = *state;
    void *none = mmap(NULL, 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct toucher toucher;

    map_late(f);
    start_touch(&toucher, f, 3);
    wait_for_requests(1);
    errno = 0;
    assert_false(pgl_uffd_request_supply(source.request[0], 3 * PAGE, none, PAGE));
    assert_int_equal(errno, EFAULT);
    assert_true(pgl_uffd_request_is_wanted(source.request[0]));
    answer(0);
    join(&toucher);
    assert_true(toucher.right);
    assert_int_equal(count_requests(), 1);
    munmap(none, 2 * PAGE);
}

/* The limit less one, the limit, and more faults than that. */
static void test_uffd_late_outstanding_pages_have_a_limit(void **state)
{
    enum { NTHREADS = 8, LIMIT = 3 };
    struct fixture *f = *state;
    struct pgl_uffd_region region = region_of(f);
    struct toucher touchers[NTHREADS];
    unsigned answered = 0;

    region.source.outstanding = LIMIT;
    map_region(f, &region);
    for (unsigned i = 0; i < NTHREADS; i++) {
        start_touch(&touchers[i], f, 10 * i);
        wait_for_requests(i < LIMIT ? i + 1 : LIMIT);
    }
    while (stats_of(f).faults < NTHREADS) {
        usleep(100);
    }
    for (; answered < NTHREADS; answered++) {
        wait_for_requests(answered + 1);
        answer(answered);
    }
    for (unsigned i = 0; i < NTHREADS; i++) {
        join(&touchers[i]);
        assert_true(touchers[i].right);
    }
    assert_true(source.most <= LIMIT);
    assert_int_equal(count_requests(), NTHREADS);
}

/* S3, when the page is given back while it is wanted: its thread gets zeros, and the source is not asked again. */
static void test_uffd_late_bytes_of_a_page_given_back_are_dropped(void **state)
{
    struct fixture *f = *state;
    struct pgl_uffd_region region = region_of(f);
    struct toucher toucher;

    region.removed = PGL_UFFD_ZEROS;
    map_region(f, &region);
    start_touch(&toucher, f, 3);
    wait_for_requests(1);
    assert_int_equal(madvise(f->memory + 3 * PAGE, PAGE, MADV_DONTNEED), 0);
    assert_true(supply(0, 0, NPAGES * PAGE));
    join(&toucher); /* before the request has ended */
    assert_true(toucher.zeros);
    assert_int_equal(count_requests(), 1);
    end(0);
}

/* The memory is unmapped, and shows a file by the time of the answer. */
static void test_uffd_late_answer_does_not_enter_another_region(void **state)
{
    const int fixed = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    struct fixture *f = *state;
    struct toucher toucher;

    map_late_with_surplus(f, UINT64_MAX);
    start_touch(&toucher, f, 3);
    wait_for_requests(1);
    assert_ptr_equal(mmap(f->memory, NPAGES * PAGE, PROT_READ | PROT_WRITE, fixed, -1, 0), f->memory);
    assert_true(pgl_uffd_map(f->uffd, f->memory, (NPAGES - 8) * PAGE, f->file, 8 * PAGE, PGL_ADVICE_RANDOM));
    assert_true(supply(0, 0, NPAGES * PAGE));
    end(0);
    join(&toucher);
    assert_pages(f->memory, NPAGES - 8, 8);
}

static void test_uffd_late_region_is_unmapped_while_pages_are_wanted(void **state)
{
    struct fixture *f = *state;
    struct toucher toucher;
    uint64_t ns_total;

    map_late(f);
    start_touch(&toucher, f, 3);
    wait_for_requests(1);
    ns_total = stats_of(f).ns_total;
    assert_true(pgl_uffd_unmap(f->uffd, f->memory, NPAGES * PAGE));
    join(&toucher);
    assert_true(toucher.zeros); /* it is plain memory now */
    answer(0);
    while (stats_of(f).ns_total == ns_total) { /* until a handler is done with the fault */
        usleep(100);
    }
    assert_int_equal(count_requests(), 1);
}

/* N5 and N6: the pager ends before its requests do, with one of them unanswered. */
static void test_uffd_late_requests_outlive_their_pager(void **state)
{
    struct fixture *f = *state;
    unsigned nfds = count_fds();
    struct toucher touchers[2];

    map_late_with_surplus(f, UINT64_MAX);
    start_touch(&touchers[0], f, 3);
    wait_for_requests(1);
    start_touch(&touchers[1], f, 300);
    wait_for_requests(2);
    assert_true(supply(1, 300 * PAGE, PAGE));
    join(&touchers[1]);
    pgl_uffd_free(f->uffd);
    f->uffd = NULL;
    join(&touchers[0]);
    assert_true(touchers[0].zeros);
    assert_fds(nfds);
    for (unsigned i = 0; i < 2; i++) {
        assert_false(pgl_uffd_request_is_wanted(source.request[i]));
        errno = 0;
        assert_false(supply(i, source.wanted[i].offset, PAGE));
        assert_int_equal(errno, ECANCELED);
        pgl_uffd_request_fail(source.request[i], 0, UINT64_MAX, EIO);
        end(i);
    }
    assert_true(is_zero(f->memory + 3 * PAGE));
}

static bool stop; /* atomic */

/* Answer one request after the other with everything, until told to stop. */
static void *answer_all(void *arg)
{
    unsigned *next = arg;

    may_malloc = true; /* it may free the pager */
    for (;;) {
        unsigned i = __atomic_fetch_add(next, 1, __ATOMIC_RELAXED);

        while (count_requests() <= i) {
            if (__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
                return NULL;
            }
            usleep(20);
        }
        pgl_uffd_request_supply(source.request[i % KEPT], 0, source.bytes, NPAGES * PAGE);
        end(i % KEPT);
    }
}

/* Two threads answer everything at once, while pages are given back and touched, and the pager ends at any moment. */
static void test_uffd_late_answers_meet_changes_and_the_end(void **state)
{
    enum { NROUNDS = 20 };
    struct fixture *f = *state;

    f->config.threads = 2;
    for (unsigned round = 0; round < NROUNDS; round++) {
        struct toucher touchers[8];
        pthread_t answerers[2];
        unsigned next = 0;

        source.n = 0;
        __atomic_store_n(&stop, false, __ATOMIC_RELEASE);
        map_late_with_surplus(f, (uint64_t)(round % 4) * 16 * PAGE);
        for (unsigned i = 0; i < 2; i++) {
            assert_int_equal(pthread_create(&answerers[i], NULL, answer_all, &next), 0);
        }
        for (unsigned i = 0; i < 8; i++) {
            start_touch(&touchers[i], f, (round * 8 + i * 61) % NPAGES);
        }
        for (unsigned i = 0; i < 64; i++) {
            assert_int_equal(madvise(f->memory + i * 8 * PAGE, 4 * PAGE, MADV_DONTNEED), 0);
        }
        if (round % 2 == 0) {
            for (unsigned i = 0; i < 8; i++) {
                join(&touchers[i]);
                assert_true(touchers[i].right);
            }
        }
        pgl_uffd_free(f->uffd);
        f->uffd = NULL;
        for (unsigned i = 0; i < 8 && round % 2 != 0; i++) {
            join(&touchers[i]);
            assert_true(touchers[i].right || touchers[i].zeros);
        }
        __atomic_store_n(&stop, true, __ATOMIC_RELEASE);
        for (unsigned i = 0; i < 2; i++) {
            pthread_join(answerers[i], NULL);
        }
        assert_int_equal(madvise(f->memory, NPAGES * PAGE, MADV_DONTNEED), 0);
    }
}

static void test_uffd_late_pages_are_in_a_child(void **state)
{
    struct fixture *f = *state;
    int status;
    pid_t child;

    FOLLOW_FORKS(f);
    map_late_with_surplus(f, UINT64_MAX);
    child = fork();
    if (child == 0) {
        _exit(!is_page(f->memory + 11 * PAGE, 11) || !is_page(f->memory + 12 * PAGE, 12));
    }
    wait_for_requests(1);
    assert_true(supply(0, 0, NPAGES * PAGE));
    end(0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    __atomic_store_n(&source.at_once, true, __ATOMIC_RELAXED);
    assert_true(is_page(f->memory + 12 * PAGE, 12)); /* not the child's */
    assert_int_equal(count_requests(), 2);
}

/* A child ends while its page is wanted. */
static void test_uffd_late_answer_for_a_child_that_has_ended(void **state)
{
    struct fixture *f = *state;
    int status;
    pid_t child;

    FOLLOW_FORKS(f);
    map_late(f);
    child = fork();
    if (child == 0) {
        _exit(f->memory[3 * PAGE]);
    }
    wait_for_requests(1);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    answer(0);
    __atomic_store_n(&source.at_once, true, __ATOMIC_RELAXED);
    assert_pages(f->memory, 8, 0);
    assert_true(count_requests() <= 10);
}

static void test_uffd_late_source_is_refused(void **state)
{
    enum { HUGE = 2 << 20 };
    struct fixture *f = *state;
    struct pgl_uffd_region region = region_of(f);
    int lock = lock_huge_pages();
    void *huge = mmap(NULL, HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

    start_pager(f);
    region.source.request = NULL;
    assert_false(pgl_uffd_map_region(f->uffd, &region));
    assert_int_equal(errno, EINVAL);
    region = region_of(f);
    region.source.size = NPAGES * PAGE - 1;
    assert_false(pgl_uffd_map_region(f->uffd, &region));
    assert_int_equal(errno, EINVAL);
    region = region_of(f);
    region.addr = huge;
    region.length = region.source.size = HUGE;
    region.memory = PGL_UFFD_HUGE;
    if (huge != MAP_FAILED) {
        assert_false(pgl_uffd_map_region(f->uffd, &region));
        assert_int_equal(errno, EOPNOTSUPP);
        munmap(huge, HUGE);
    }
    close(lock);
    pgl_uffd_free(f->uffd);
    f->config.handover = PGL_UFFD_SIGBUS;
    start_pager(f);
    region = region_of(f);
    assert_false(pgl_uffd_map_region(f->uffd, &region));
    assert_int_equal(errno, EOPNOTSUPP);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_source, tear_down_source)
    const struct CMUnitTest tests[] = {
        TEST(test_uffd_late_source_may_answer_at_once),
        TEST(test_uffd_late_answers_hold_up_no_other_fault),
        TEST(test_uffd_late_threads_that_want_a_page_ask_once),
        TEST(test_uffd_late_surplus_is_installed),
        TEST(test_uffd_late_surplus_ends_with_the_region),
        TEST(test_uffd_late_surplus_spares_what_is_there),
        TEST(test_uffd_late_answer_serves_other_requests),
        TEST(test_uffd_late_bytes_count_in_whole_pages),
        TEST(test_uffd_late_zeros_may_be_supplied),
        TEST(test_uffd_late_page_is_written_to),
        TEST(test_uffd_late_error_is_told),
        TEST(test_uffd_late_request_without_answer_is_an_error),
        TEST(test_uffd_late_data_that_cannot_be_read_is_refused),
        TEST(test_uffd_late_outstanding_pages_have_a_limit),
        TEST(test_uffd_late_bytes_of_a_page_given_back_are_dropped),
        TEST(test_uffd_late_answer_does_not_enter_another_region),
        TEST(test_uffd_late_region_is_unmapped_while_pages_are_wanted),
        TEST(test_uffd_late_requests_outlive_their_pager),
        TEST(test_uffd_late_answers_meet_changes_and_the_end),
        TEST(test_uffd_late_pages_are_in_a_child),
        TEST(test_uffd_late_answer_for_a_child_that_has_ended),
        TEST(test_uffd_late_source_is_refused),
    };
#undef TEST

    return pager_permitted() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
